/* tests/lib/paged_kit.c */
#include "lib/paged_kit.h"

#include <stdlib.h>
#include <string.h>

#include "number/number.h"

static size_t pages_of(const kit_range *r) { return (r->position + r->rows + KV_PAGE - 1) / KV_PAGE; }

static size_t page_bytes(const paged_kit *k) { return k->layers * k->b.kv.layer_bytes; }

paged_kit paged_kit_make(head_shape h, kv_type type, size_t layers, const kit_range *ranges, size_t count) {
  paged_kit k = {.b = {.kv = kv_layout_of(type, h), .span_count = count}, .h = h, .layers = layers};
  for (size_t i = 0; i < count; i++) {
    k.spans[i] = (batch_span){.first_row = (uint32_t)k.b.rows,
                              .rows = (uint32_t)ranges[i].rows,
                              .out_row = (uint32_t)k.b.rows,
                              .position = (uint32_t)ranges[i].position,
                              .first_page = (uint32_t)k.b.page_count};
    k.b.rows += ranges[i].rows;
    k.b.page_count += pages_of(&ranges[i]);
  }
  k.positions = malloc(k.b.rows * sizeof *k.positions);
  k.sequence = malloc(k.b.rows * sizeof *k.sequence);
  k.pages = malloc(k.b.page_count * sizeof *k.pages);
  for (size_t i = 0; i < count; i++)
    for (uint32_t r = 0; r < k.spans[i].rows; r++) {
      k.positions[k.spans[i].first_row + r] = k.spans[i].position + r;
      k.sequence[k.spans[i].first_row + r] = (uint32_t)i;
    }
  for (size_t i = 0; i < k.b.page_count; i++) k.pages[i] = kit_guarded(page_bytes(&k));
  k.b.positions = k.positions;
  k.b.sequence = k.sequence;
  k.b.pages = k.pages;
  return k; /* the caller sets b.spans: the array moves with the struct */
}

void paged_kit_free(paged_kit *k) {
  for (size_t i = 0; i < k->b.page_count; i++) kit_guarded_free(k->pages[i], page_bytes(k));
  free(k->positions);
  free(k->sequence);
  free(k->pages);
}

/* The vector's first byte, and its scale. */
static char *vector_at(const paged_kit *k, size_t span, kit_side side, size_t head, size_t position, uint16_t **scale) {
  const kv_layout *kv = &k->b.kv;
  const size_t offset = position % KV_PAGE;
  char *page = k->pages[k->spans[span].first_page + position / KV_PAGE];
  *scale = (uint16_t *)(void *)(page + (side == KIT_KEY ? kv->key_scales_at : kv->value_scales_at)) + head * KV_PAGE +
           offset;
  return page + (side == KIT_KEY ? 0 : kv->values_at) + head * kv->head_bytes +
         offset * k->h.head_dim * kv->element_bytes;
}

double paged_kit_get(const paged_kit *k, size_t span, kit_side side, size_t head, size_t position, size_t d) {
  uint16_t *scale, half;
  const char *vector = vector_at(k, span, side, head, position, &scale);
  float single;
  switch (k->b.kv.type) {
  case KV_F16: memcpy(&half, vector + 2 * d, 2); return (double)f16_to_f32(half);
  case KV_FP8: return (double)e4m3_to_f32((uint8_t)vector[d]) * (double)f16_to_f32(*scale);
  default: memcpy(&single, vector + 4 * d, 4); return (double)single;
  }
}

void paged_kit_set(const paged_kit *k, size_t span, kit_side side, size_t head, size_t position, size_t d,
                   float value) {
  static const float scales[] = {1, 0.7f, 0.3f};
  uint16_t *scale, half;
  char *vector = vector_at(k, span, side, head, position, &scale);
  const float unit = scales[position % 3];
  switch (k->b.kv.type) {
  case KV_F16:
    half = f16_from_f32(value);
    memcpy(vector + 2 * d, &half, 2);
    break;
  case KV_FP8:
    vector[d] = (char)e4m3_from_f32(value / unit);
    *scale = f16_from_f32(unit);
    break;
  default: memcpy(vector + 4 * d, &value, 4); break;
  }
}

void paged_kit_fill(const paged_kit *k, uint64_t *state) {
  for (size_t i = 0; i < k->b.span_count; i++)
    for (size_t p = 0; p < (size_t)k->spans[i].position + k->spans[i].rows; p++)
      for (size_t head = 0; head < k->h.kv_heads; head++)
        for (size_t d = 0; d < k->h.head_dim; d++) {
          paged_kit_set(k, i, KIT_KEY, head, p, d, kit_uniform(state));
          paged_kit_set(k, i, KIT_VALUE, head, p, d, kit_uniform(state));
        }
}
