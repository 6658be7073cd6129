/* backend/kv.h: how keys and values lie in memory.
 *
 * The cache is made of pages of KV_PAGE positions. A page holds its positions of all layers, keys and values, so one table of
 * pages serves a sequence in every layer, and the layers differ by a constant offset:
 *
 *   page:   layer 0 | layer 1 | ...                       layer_bytes each
 *   layer:  keys [kv_heads][KV_PAGE][head_dim] | values, the same | FP8: scales of keys [kv_heads][KV_PAGE], of values
 *
 * KV_PAGE is the block in which attention adds up, so that a kernel never meets two pages at once.
 */
#ifndef BACKEND_KV_H
#define BACKEND_KV_H

#include "backend/decoder.h"

#define KV_PAGE 64

/* F16, F32: the values, rounded. FP8: E4M3 codes and one F16 scale for each head and token (absmax / 448,
 * rounded up); value = code · scale. */
typedef enum kv_type { KV_F16 = 0, KV_F32 = 1, KV_FP8 = 2, KV_TYPES = 3 } kv_type;

typedef struct kv_layout {
  kv_type type;
  size_t element_bytes, head_bytes;      /* of one value; of one head's KV_PAGE positions */
  size_t values_at;                      /* of keys: 0 */
  size_t key_scales_at, value_scales_at; /* FP8 only */
  size_t layer_bytes;                    /* a multiple of 64 */
} kv_layout;

static inline kv_layout kv_layout_of(kv_type type, head_shape heads) {
  kv_layout l = {.type = type, .element_bytes = type == KV_F32 ? 4u : type == KV_F16 ? 2u : 1u};
  const size_t scales = type == KV_FP8 ? heads.kv_heads * KV_PAGE * 2 : 0;
  l.head_bytes = KV_PAGE * heads.head_dim * l.element_bytes;
  l.values_at = heads.kv_heads * l.head_bytes;
  l.key_scales_at = 2 * l.values_at;
  l.value_scales_at = l.key_scales_at + scales;
  l.layer_bytes = l.value_scales_at + scales;
  return l;
}

#endif
