/* backend/cpu/ref_attention.c: attention in plain C: row by row and head by head, over blocks of positions. Any
 * head_dim; the sums live in out. */
#include <math.h>
#include <string.h>

#include "backend/cpu/ref.h"
#include "number/number.h"

/* Elements [from, from + count) of a cache, as FP32. */
static void load_cache(const void *cache, kv_type type, size_t from, float *to, size_t count) {
  if (type == KV_F16)
    f16_to_f32_n((const uint16_t *)cache + from, to, count);
  else
    memcpy(to, (const float *)cache + from, count * sizeof *to);
}

#define PART 64 /* elements of a head widened at a time; a multiple of the lanes */

/* scale · (q · key), the key in the cache at element `from`. */
static float score(const attend_tile *t, const float *q, size_t from) {
  const size_t dim = t->a->h.head_dim;
  ref_lanes lanes = {0};
  float key[PART];
  for (size_t d = 0; d < dim; d += PART) {
    const size_t part = dim - d < PART ? dim - d : PART;
    load_cache(t->span->k, t->a->type, from + d, key, part);
    ref_accumulate(q + d, key, part, &lanes);
  }
  return ref_sum(&lanes) * t->a->scale;
}

static void add_value(const attend_tile *t, float factor, size_t from, float *out) {
  const size_t dim = t->a->h.head_dim;
  float value[PART];
  for (size_t d = 0; d < dim; d += PART) {
    const size_t part = dim - d < PART ? dim - d : PART;
    load_cache(t->span->v, t->a->type, from + d, value, part);
    for (size_t i = 0; i < part; i++) out[d + i] += factor * value[i];
  }
}

/* Positions [begin, end) of one block: the running sums in out are scaled down when a larger score appears. */
static void attend_block(const attend_tile *t, const float *q, size_t begin, size_t end, softmax_state *state,
                         float *out) {
  const size_t dim = t->a->h.head_dim, head = t->kv_head * t->span->capacity;
  float weights[CPU_KV_BLOCK], max = state->max, sum = 0;
  for (size_t p = begin; p < end; p++) {
    weights[p - begin] = score(t, q, (head + p) * dim);
    if (weights[p - begin] > max) max = weights[p - begin];
  }
  const float base = max == -INFINITY ? 0 : max; /* no −inf − −inf */
  const float shrink = ref_exp(state->max - base);
  for (size_t d = 0; d < dim; d++) out[d] *= shrink;
  for (size_t p = begin; p < end; p++) {
    const float e = ref_exp(weights[p - begin] - base);
    sum += e;
    add_value(t, e, (head + p) * dim, out);
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
      float *out = a->out + (t->span->first_row + r) * a->out_stride + h * dim;
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
