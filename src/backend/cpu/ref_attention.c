/* backend/cpu/ref_attention.c: attention in plain C: row by row and head by head, over blocks of positions. Any
 * head_dim; the sums live in out. */
#include <math.h>
#include <string.h>

#include "backend/cpu/ref.h"
#include "number/number.h"

/* Elements [at, at + count) of a head's vectors in a page, as FP32. */
static void load_cache(const char *head, kv_type type, size_t at, float *to, size_t count) {
  switch (type) {
  case KV_F16: f16_to_f32_n((const uint16_t *)(const void *)head + at, to, count); return;
  case KV_FP8:
    for (size_t i = 0; i < count; i++) to[i] = e4m3_to_f32((uint8_t)head[at + i]);
    return;
  default: memcpy(to, (const float *)(const void *)head + at, count * sizeof *to); return;
  }
}

#define PART 64 /* elements of a head widened at a time; a multiple of the lanes */

/* Keys or values of one head of a page, and their scales. */
typedef struct page_head {
  const char *vectors;
  const uint16_t *scales; /* FP8: [KV_PAGE], else NULL */
} page_head;

static page_head head_of(const attend_tile *t, const char *page, size_t vectors_at, size_t scales_at) {
  const kv_layout *kv = &t->a->step->kv;
  const char *scales = kv->type == KV_FP8 ? page + scales_at + t->kv_head * KV_PAGE * sizeof(uint16_t) : NULL;
  return (page_head){page + vectors_at + t->kv_head * kv->head_bytes, (const uint16_t *)(const void *)scales};
}

static float scale_of(const page_head *h, size_t p) { return h->scales ? f16_to_f32(h->scales[p]) : 1; }

/* scale · (q · key) at position p of the page. */
static float score(const attend_tile *t, const page_head *keys, const float *q, size_t p) {
  const size_t dim = t->a->h.head_dim;
  ref_lanes lanes = {0};
  float key[PART];
  for (size_t d = 0; d < dim; d += PART) {
    const size_t part = dim - d < PART ? dim - d : PART;
    load_cache(keys->vectors, t->a->step->kv.type, p * dim + d, key, part);
    ref_accumulate(q + d, key, part, &lanes);
  }
  return ref_sum(&lanes) * scale_of(keys, p) * t->a->scale;
}

static void add_value(const attend_tile *t, const page_head *values, float factor, size_t p, float *out) {
  const size_t dim = t->a->h.head_dim;
  float value[PART];
  for (size_t d = 0; d < dim; d += PART) {
    const size_t part = dim - d < PART ? dim - d : PART;
    load_cache(values->vectors, t->a->step->kv.type, p * dim + d, value, part);
    for (size_t i = 0; i < part; i++) out[d + i] += factor * value[i];
  }
}

/* Positions [begin, end) of one block: the running sums in out are scaled down when a larger score appears. */
static void attend_block(const attend_tile *t, const float *q, size_t begin, size_t end, softmax_state *state,
                         float *out) {
  const size_t dim = t->a->h.head_dim;
  const kv_layout *kv = &t->a->step->kv;
  const char *page = attention_page(t->a, t->span, begin);
  const page_head keys = head_of(t, page, 0, kv->key_scales_at);
  const page_head values = head_of(t, page, kv->values_at, kv->value_scales_at);
  float weights[CPU_KV_BLOCK], max = state->max, sum = 0;
  for (size_t p = begin; p < end; p++) {
    weights[p - begin] = score(t, &keys, q, p % KV_PAGE);
    if (weights[p - begin] > max) max = weights[p - begin];
  }
  const float base = max == -INFINITY ? 0 : max; /* no −inf − −inf */
  const float shrink = ref_exp(state->max - base);
  for (size_t d = 0; d < dim; d++) out[d] *= shrink;
  for (size_t p = begin; p < end; p++) {
    const float e = ref_exp(weights[p - begin] - base);
    sum += e;
    add_value(t, &values, e * scale_of(&values, p % KV_PAGE), p % KV_PAGE, out);
  }
  state->max = max;
  state->weight = state->weight * shrink + sum;
}

void ref_attend(const attend_tile *t) {
  const attention_args *a = t->a;
  const size_t dim = a->h.head_dim;
  for (size_t r = t->row; r < t->row + t->rows; r++) {
    const size_t end = t->span->position + r + 1, first = attention_first(end - 1, a->window);
    for (size_t h = t->head; h < t->head + t->heads; h++) {
      const float *q = a->q + (t->span->first_row + r) * a->q_stride + h * dim;
      float *out = a->out + (t->span->out_row + r) * a->out_stride + h * dim;
      softmax_state state = {-INFINITY, 0};
      for (size_t d = 0; d < dim; d++) out[d] = 0;
      for (size_t p = first, next; p < end; p = next) {
        next = (p / CPU_KV_BLOCK + 1) * CPU_KV_BLOCK;
        if (next > end) next = end;
        attend_block(t, q, p, next, &state, out);
      }
      for (size_t d = 0; d < dim; d++) out[d] /= state.weight;
    }
  }
}

void kernels_reference(cpu_kernels *k) {
  *k = (cpu_kernels){.name = "reference", .attend = ref_attend, .attend_rows = 1, .attend_dim = (size_t)-1};
  ref_linear(k);
  ref_packed(k);
  ref_activations(k);
  ref_rows(k);
}
