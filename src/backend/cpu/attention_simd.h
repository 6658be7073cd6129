/* backend/cpu/attention_simd.h: the tuned attention, in the vector words of simd.h.
 *
 * A tile is up to CPU_ATTEND_QUERIES queries (rows × heads that share a kv head), so that each block of K and V is
 * widened once for all of them. A query's arithmetic does not depend on its tile:
 *
 *   block  64 positions from a multiple of 64: scores by dot products in the order of linear; their maximum; weights
 *          e^(score − max); Σ weights in lanes by position, Σ weight · value in the order of positions
 *   chunk  blocks added up one after the other, scaled down when a larger maximum appears
 *   row    chunks added up the same way; the chunk's size depends on the row alone (attention_chunk)
 *
 * Positions a query must not see are left out, not multiplied by 0: what they hold (NaN) stays out of its result.
 */
#ifndef BACKEND_CPU_ATTENTION_SIMD_H
#define BACKEND_CPU_ATTENTION_SIMD_H

#include <math.h>
#include <string.h>

#include "backend/cpu/attention_fp8.h"
#include "backend/cpu/attention_work.h"
#include "backend/cpu/exp_simd.h"
#include "backend/cpu/linear_simd.h"

static attend_work work_begin(const attend_tile *t) {
  attend_work w = {.dim = t->a->h.head_dim, .queries = t->rows * t->heads};
  const size_t unit = t->a->step->kv.type == KV_FP8 ? KV_FP8_STEP : LANES;
  w.padded = (w.dim + unit - 1) / unit * unit;
  float *at = t->scratch;
  w.q = at, at += CPU_ATTEND_QUERIES * CPU_ATTEND_DIM;
  w.chunk_sums = at, at += CPU_ATTEND_QUERIES * CPU_ATTEND_DIM;
  w.row_sums = at, at += CPU_ATTEND_QUERIES * CPU_ATTEND_DIM;
  w.k = at, at += CPU_KV_BLOCK * CPU_ATTEND_DIM;
  w.v = at, at += CPU_KV_BLOCK * CPU_ATTEND_DIM;
  w.scores = at, at += CPU_ATTEND_QUERIES * CPU_KV_BLOCK;
  w.chunk_state = (softmax_state *)(void *)at, at += 2 * CPU_ATTEND_QUERIES;
  w.row_state = (softmax_state *)(void *)at;
  return w;
}

static size_t row_position(const attend_tile *t, size_t query) { return t->span->position + t->row + query / t->heads; }

static void gather_queries(const attend_tile *t, const attend_work *w) {
  const vf scale = v_set(t->a->scale);
  for (size_t i = 0; i < w->queries; i++) {
    const float *from =
        t->a->q + (t->span->first_row + t->row + i / t->heads) * t->a->q_stride + (t->head + i % t->heads) * w->dim;
    float *to = w->q + i * w->padded;
    if (t->a->step->kv.type == KV_FP8) {
      memset(to + w->padded - KV_FP8_STEP, 0, KV_FP8_STEP * sizeof *to);
      kv_fp8_lay(from, t->a->scale * KV_FP8_QUERY, to, w->dim);
      continue;
    }
    size_t d = 0;
    for (; d + LANES <= w->dim; d += LANES) v_store(to + d, v_mul(v_load(from + d), scale));
    if (d < w->dim) v_store(to + d, v_mul(v_load_part(from + d, w->dim - d), scale));
  }
}

static void clear_sums(const attend_work *w, float *sums, softmax_state *states) {
  memset(sums, 0, w->queries * w->padded * sizeof *sums);
  for (size_t i = 0; i < w->queries; i++) states[i] = (softmax_state){-INFINITY, 0};
}

/* Positions `in` of one head of a page, widened and padded. Of FP8 the codes, without their scales. */
static void load_rows(const attend_tile *t, const attend_work *w, const char *head, block_range in, float *to) {
  const kv_type type = t->a->step->kv.type;
  const size_t count = in.end - in.begin, from = in.begin * w->dim;
  if (type == KV_F16 && w->dim == w->padded) {
    widen_f16_n((const uint16_t *)(const void *)head + from, to, count * w->dim);
    return;
  }
  for (size_t i = 0; i < count; i++, to += w->padded) {
    const size_t at = from + i * w->dim;
    if (type == KV_F16)
      widen_f16_n((const uint16_t *)(const void *)head + at, to, w->dim);
    else if (type == KV_F32)
      memcpy(to, (const float *)(const void *)head + at, w->dim * sizeof *to);
    if (type == KV_FP8)
      widen_kv_fp8((const uint8_t *)head + at, to, w->dim);
    else
      memset(to + w->dim, 0, (w->padded - w->dim) * sizeof *to);
  }
}

/* The softmax of a block's queries goes in two passes over all of them, so that one's maximum does not wait for another's
 * exponentials. */

/* Scores of `in` times factors, if there are any; -INFINITY beside them in their vectors. Returns the largest. */
static float top_of_block(float *scores, block_range in, const float *factors) {
  const vf lowest = v_set(-INFINITY);
  vf top = lowest;
  for (size_t i = in.begin / LANES * LANES; i < in.end; i += LANES) {
    vf v = v_load(scores + i);
    if (factors) v = v_mul(v, v_load(factors + i));
    const size_t first = in.begin > i ? in.begin - i : 0, end = in.end - i < LANES ? in.end - i : LANES;
    if (first != 0 || end != LANES) v = v_between(v, lowest, first, end);
    v_store(scores + i, v);
    top = v_max(top, v);
  }
  return v_max_of(top);
}

/* Turns what top_of_block left into weights, times factors, if there are any, and moves the state on. Returns what the sums so far
 * must be multiplied by. */
static float weigh_block(float *scores, block_range in, const float *factors, float block_max, softmax_state *state) {
  const float max = block_max > state->max ? block_max : state->max;
  const vf base = v_set(max == -INFINITY ? 0 : max); /* no −inf − −inf */
  vf sum = v_zero();
  for (size_t i = in.begin / LANES * LANES; i < in.end; i += LANES) {
    const vf e = v_exp(v_sub(v_load(scores + i), base));
    v_store(scores + i, factors ? v_mul(e, v_load(factors + i)) : e);
    sum = v_add(sum, e);
  }
  float shrink = 1;
  if (max != state->max) {
    float lanes[LANES];
    v_store(lanes, v_exp(v_sub(v_set(state->max), base)));
    shrink = lanes[0];
  }
  state->max = max;
  state->weight = state->weight * shrink + v_sum(sum);
  return shrink;
}

/* rows queries × 4 positions (or 1) from position p: their scores. Nothing is padded: head_dim is whole vectors. */
ALWAYS_INLINE void score_tile(weight_format format, int rows, int positions, const attend_work *w, size_t query,
                              const block_rows *keys, const block_rows *values, size_t p) {
  const size_t bytes = weight_element_bytes(format);
  const float *q = w->q + query * w->padded;
  const char *key = keys->from + p * keys->stride;
  float *scores = w->scores + query * CPU_KV_BLOCK + p;
  vf sums[SUM_TILE_ROWS][4];
  UNROLL
  for (int i = 0; i < rows; i++) {
    UNROLL
    for (int j = 0; j < positions; j++) sums[i][j] = v_zero();
  }
  if (keys->next) ask_for(keys->next + p * keys->stride, (size_t)positions * keys->stride);
  if (values->cold) ask_for(values->from + p * values->stride, (size_t)positions * values->stride);
  for (size_t d = 0; d < w->dim; d += LANES) {
    vf k[4];
    UNROLL
    for (int j = 0; j < positions; j++) k[j] = load_as(format, key + (size_t)j * keys->stride + d * bytes);
    UNROLL
    for (int i = 0; i < rows; i++) {
      const vf x = v_load(q + (size_t)i * w->padded + d);
      UNROLL
      for (int j = 0; j < positions; j++) sums[i][j] = v_fma(k[j], x, sums[i][j]);
    }
  }
  UNROLL
  for (int i = 0; i < rows; i++) {
    if (positions == 4)
      _mm_storeu_ps(scores + i * CPU_KV_BLOCK, v_sum4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]));
    else
      scores[i * CPU_KV_BLOCK] = v_sum(sums[i][0]);
  }
}

ALWAYS_INLINE void score_rows(weight_format format, int rows, const attend_work *w, size_t query,
                              const block_rows *keys, const block_rows *values, block_range in) {
  size_t p = in.begin;
  for (; p + 4 <= in.end; p += 4) score_tile(format, rows, 4, w, query, keys, values, p);
  for (; p < in.end; p++) score_tile(format, rows, 1, w, query, keys, values, p);
}

/* rows queries × cols vectors of head_dim: sums · shrink + Σ weight · value over `in`. */
ALWAYS_INLINE void weigh_tile(weight_format format, int rows, int cols, const attend_work *w, size_t query, size_t d,
                              const block_rows *values, block_range in, const float *shrink) {
  const size_t bytes = weight_element_bytes(format);
  float *sums = w->chunk_sums + query * w->padded + d;
  const float *weights = w->scores + query * CPU_KV_BLOCK;
  const char *value = values->from + in.begin * values->stride + d * bytes;
  vf sum[SUM_TILE_ROWS][SUM_TILE_COLS];
  UNROLL
  for (int i = 0; i < rows; i++) {
    UNROLL
    for (int j = 0; j < cols; j++)
      sum[i][j] = v_mul(v_load(sums + (size_t)i * w->padded + (size_t)j * LANES), v_set(shrink[i]));
  }
  for (size_t p = in.begin; p < in.end; p++, value += values->stride) {
    vf v[SUM_TILE_COLS];
    if (values->next) ask_for(values->next + (value - values->from), (size_t)cols * LANES * bytes);
    UNROLL
    for (int j = 0; j < cols; j++) v[j] = load_as(format, value + (size_t)j * LANES * bytes);
    UNROLL
    for (int i = 0; i < rows; i++) {
      const vf factor = v_set(weights[(size_t)i * CPU_KV_BLOCK + p]);
      UNROLL
      for (int j = 0; j < cols; j++) sum[i][j] = v_fma(factor, v[j], sum[i][j]);
    }
  }
  UNROLL
  for (int i = 0; i < rows; i++) {
    UNROLL
    for (int j = 0; j < cols; j++) v_store(sums + (size_t)i * w->padded + (size_t)j * LANES, sum[i][j]);
  }
}

ALWAYS_INLINE void weigh_rows(weight_format format, int rows, const attend_work *w, size_t query,
                              const block_rows *values, block_range in, const float *shrink) {
  size_t d = 0;
  for (; d + SUM_TILE_COLS * LANES <= w->padded; d += SUM_TILE_COLS * LANES)
    weigh_tile(format, rows, SUM_TILE_COLS, w, query, d, values, in, shrink);
  for (; d < w->padded; d += LANES) weigh_tile(format, rows, 1, w, query, d, values, in, shrink);
}

/* Both with the number of rows and the format as constants. */
#define ATTEND_ROWS(rows)                                                                                              \
  static void score_f16_##rows(const attend_work *w, size_t query, const block_rows *keys, const block_rows *values,   \
                               block_range in) {                                                                       \
    score_rows(WEIGHT_F16, rows, w, query, keys, values, in);                                                          \
  }                                                                                                                    \
  static void score_f32_##rows(const attend_work *w, size_t query, const block_rows *keys, const block_rows *values,   \
                               block_range in) {                                                                       \
    score_rows(WEIGHT_F32, rows, w, query, keys, values, in);                                                          \
  }                                                                                                                    \
  static void weigh_f16_##rows(const attend_work *w, size_t query, const block_rows *values, block_range in,           \
                               const float *shrink) {                                                                  \
    weigh_rows(WEIGHT_F16, rows, w, query, values, in, shrink);                                                        \
  }                                                                                                                    \
  static void weigh_f32_##rows(const attend_work *w, size_t query, const block_rows *values, block_range in,           \
                               const float *shrink) {                                                                  \
    weigh_rows(WEIGHT_F32, rows, w, query, values, in, shrink);                                                        \
  }
ATTEND_ROWS(1)
ATTEND_ROWS(2)
ATTEND_ROWS(3)
#if SUM_TILE_ROWS > 3
ATTEND_ROWS(4)
ATTEND_ROWS(5)
ATTEND_ROWS(6)
#endif

#define ATTEND_ENTRY(rows)                                                                                             \
  {                                                                                                                    \
    {score_f32_##rows, weigh_f32_##rows}, {score_f16_##rows, weigh_f16_##rows}, { score_fp8_##rows, weigh_fp8_##rows } \
  }
static const attend_pair attend_rows[SUM_TILE_ROWS][3] = {
    ATTEND_ENTRY(1), ATTEND_ENTRY(2), ATTEND_ENTRY(3),
#if SUM_TILE_ROWS > 3
    ATTEND_ENTRY(4), ATTEND_ENTRY(5), ATTEND_ENTRY(6),
#endif
};

/* The pair for as many of `rows` as a tile has. */
static const attend_pair *rows_of(const block_rows *r, size_t rows) {
  const attend_pair *of = attend_rows[(rows < SUM_TILE_ROWS ? rows : SUM_TILE_ROWS) - 1];
  return &of[r->format == WEIGHT_FP8 ? 2 : r->format == WEIGHT_F16 ? 1 : 0];
}

/* What a query sees of the block that begins at `block`; empty: begin == end. */
static block_range seen(const attend_tile *t, size_t query, size_t block) {
  const size_t end = row_position(t, query) + 1, first = attention_first(end - 1, t->a->window);
  block_range in = {first > block ? first - block : 0, end > block ? end - block : 0};
  if (in.end > CPU_KV_BLOCK) in.end = CPU_KV_BLOCK;
  if (in.begin > in.end) in.begin = in.end;
  return in;
}

/* With so few queries (decode) the caches are read as they are stored: widening a block first would cost more than it
 * saves. */
#define DIRECT_QUERIES (2 * SUM_TILE_ROWS)

static int is_direct(const attend_work *w) { return w->queries <= DIRECT_QUERIES && w->dim == w->padded; }

/* Keys (at 0) or values of a page, of the tile's head. */
static const char *head_in(const attend_tile *t, size_t position, size_t at) {
  return attention_page(t->a, t->span, position) + at + t->kv_head * t->a->step->kv.head_bytes;
}

/* FP8: factors[KV_PAGE] of a block's keys or values, whose scales are `at` in a page; else NULL. */
static const float *factors_in(const attend_tile *t, size_t position, size_t at, float by, block_range in,
                               float *factors) {
  if (t->a->step->kv.type != KV_FP8) return NULL;
  const char *scales = attention_page(t->a, t->span, position) + at + t->kv_head * KV_PAGE * sizeof(uint16_t);
  kv_fp8_factors((const uint16_t *)(const void *)scales, by, in, factors);
  return factors;
}

/* A block of a cache in place. */
static block_rows cache_block(const attend_tile *t, const attend_work *w, size_t at, size_t block, int cold,
                              const float *factors) {
  const kv_layout *kv = &t->a->step->kv;
  const size_t next = block + CPU_KV_BLOCK, last = row_position(t, w->queries - 1);
  return (block_rows){.format = kv->type == KV_FP8   ? WEIGHT_FP8
                                : kv->type == KV_F16 ? WEIGHT_F16
                                                     : WEIGHT_F32,
                      .from = head_in(t, block, at),
                      .factors = factors,
                      .next = next <= last ? head_in(t, next, at) : NULL,
                      .stride = w->dim * kv->element_bytes,
                      .cold = cold};
}

/* What multiplies codes of FP8, for a block. */
typedef struct block_factors {
  float keys[CPU_KV_BLOCK], values[CPU_KV_BLOCK];
} block_factors;

/* Scores of all queries for positions `in` of a block, those of FP8 without the keys' factors. Returns where its values are. */
static block_rows score_block(const attend_tile *t, const attend_work *w, size_t block, block_range in, int cold,
                              block_factors *room) {
  const kv_layout *kv = &t->a->step->kv;
  factors_in(t, block, kv->key_scales_at, KV_FP8_KEY, in, room->keys);
  const float *factors = factors_in(t, block, kv->value_scales_at, KV_FP8_VALUE, in, room->values);
  block_rows values;
  if (is_direct(w)) {
    const block_rows keys = cache_block(t, w, 0, block, cold, NULL);
    values = cache_block(t, w, kv->values_at, block, cold, factors);
    for (size_t i = 0; i < w->queries; i += SUM_TILE_ROWS)
      rows_of(&keys, w->queries - i)->score(w, i, &keys, &values, in);
  } else {
    load_rows(t, w, head_in(t, block, 0), in, w->k);
    load_rows(t, w, head_in(t, block, kv->values_at), in, w->v + in.begin * w->padded);
    panel(&(panel_job){.x = w->q,
                       .x_stride = w->padded,
                       .m = w->queries,
                       .w = w->k,
                       .w_stride = w->padded,
                       .n = in.end - in.begin,
                       .k = w->padded,
                       .first = 1,
                       .last = 1,
                       .y = w->scores + in.begin,
                       .y_stride = CPU_KV_BLOCK});
    values = (block_rows){.format = WEIGHT_F32,
                          .from = (const char *)(const void *)w->v,
                          .factors = factors,
                          .stride = w->padded * sizeof(float)};
  }
  return values;
}

/* How many queries from the i-th on, at most a tile of them, see the same of a block; in: what. */
static size_t alike(const attend_tile *t, const attend_work *w, size_t i, size_t block, block_range *in) {
  size_t rows = 1;
  for (*in = seen(t, i, block); rows < SUM_TILE_ROWS && i + rows < w->queries; rows++) {
    const block_range other = seen(t, i + rows, block);
    if (other.begin != in->begin || other.end != in->end) break;
  }
  return rows;
}

/* All queries of the tile over positions `all` of the block that begins at `block`. */
static void attend_block(const attend_tile *t, const attend_work *w, size_t block, block_range all, int cold) {
  block_factors factors;
  const block_rows values = score_block(t, w, block, all, cold, &factors);
  size_t rows;
  for (size_t i = 0; i < w->queries; i += rows) {
    block_range in;
    float top[SUM_TILE_ROWS], shrink[SUM_TILE_ROWS], *scores = w->scores + i * CPU_KV_BLOCK;
    rows = alike(t, w, i, block, &in);
    if (in.begin == in.end) continue;
    for (size_t r = 0; r < rows; r++)
      top[r] = top_of_block(scores + r * CPU_KV_BLOCK, in, values.factors ? factors.keys : NULL);
    for (size_t r = 0; r < rows; r++)
      shrink[r] = weigh_block(scores + r * CPU_KV_BLOCK, in, values.factors, top[r], &w->chunk_state[i + r]);
    rows_of(&values, rows)->weigh(w, i, &values, in, shrink);
  }
}

/* The chunk [begin, end): its sums and states from zero. */
static void attend_positions(const attend_tile *t, const attend_work *w, size_t begin, size_t end) {
  const size_t first = attention_first(row_position(t, 0), t->a->window);
  const size_t last = row_position(t, w->queries - 1) + 1;
  clear_sums(w, w->chunk_sums, w->chunk_state);
  if (begin < first) begin = first;
  if (end > last) end = last;
  for (size_t block = begin / CPU_KV_BLOCK * CPU_KV_BLOCK; block < end; block += CPU_KV_BLOCK) {
    const size_t last_of = end - block < CPU_KV_BLOCK ? end - block : CPU_KV_BLOCK;
    attend_block(t, w, block, (block_range){block > begin ? 0 : begin - block, last_of}, block <= first);
  }
}

/* Adds a chunk to a row. */
static void merge_state(softmax_state *row, float *row_sums, softmax_state chunk, const float *chunk_sums,
                        size_t padded) {
  const float max = chunk.max > row->max ? chunk.max : row->max;
  const vf base = v_set(max == -INFINITY ? 0 : max);
  const vf a = v_exp(v_sub(v_set(row->max), base)), b = v_exp(v_sub(v_set(chunk.max), base));
  for (size_t d = 0; d < padded; d += LANES)
    v_store(row_sums + d, v_fma(v_load(chunk_sums + d), b, v_mul(v_load(row_sums + d), a)));
  float lanes[LANES];
  v_store(lanes, v_fma(v_set(chunk.weight), b, v_mul(v_set(row->weight), a)));
  row->weight = lanes[0];
  row->max = max;
}

static void write_out(const attend_tile *t, const attend_work *w) {
  for (size_t i = 0; i < w->queries; i++) {
    float *from = w->row_sums + i * w->padded;
    float *to =
        t->a->out + (t->span->out_row + t->row + i / t->heads) * t->a->out_stride + (t->head + i % t->heads) * w->dim;
    const vf total = v_set(w->row_state[i].weight);
    if (t->a->step->kv.type == KV_FP8) {
      for (size_t d = 0; d < w->padded; d += LANES)
        v_store(from + d, v_div(v_mul(v_load(from + d), v_set(KV_FP8_OUT)), total));
      kv_fp8_take(from, to, w->dim);
      continue;
    }
    size_t d = 0;
    for (; d + LANES <= w->dim; d += LANES) v_store(to + d, v_div(v_load(from + d), total));
    if (d < w->dim) v_store_part(to + d, v_div(v_load(from + d), total), w->dim - d);
  }
}

/* Positions of a chunk of this tile's rows. */
static size_t tile_chunk(const attend_tile *t) {
  const size_t position = row_position(t, 0);
  return attention_chunk(position + 1 - attention_first(position, t->a->window));
}

static void attend(const attend_tile *t) {
  const attend_work w = work_begin(t);
  const size_t chunk = tile_chunk(t), first = attention_first(row_position(t, 0), t->a->window);
  const size_t end = row_position(t, w.queries - 1) + 1;
  gather_queries(t, &w);
  clear_sums(&w, w.row_sums, w.row_state);
  for (size_t begin = first / chunk * chunk; begin < end; begin += chunk) {
    attend_positions(t, &w, begin, begin + chunk);
    for (size_t i = 0; i < w.queries; i++) {
      const size_t position = row_position(t, i);
      if (position < begin || attention_first(position, t->a->window) >= begin + chunk) continue;
      merge_state(&w.row_state[i], w.row_sums + i * w.padded, w.chunk_state[i], w.chunk_sums + i * w.padded, w.padded);
    }
  }
  write_out(t, &w);
}

static void attend_chunk(const attend_tile *t, size_t chunk, float *partial) {
  const attend_work w = work_begin(t);
  const size_t size = tile_chunk(t), sums = w.queries * w.padded;
  gather_queries(t, &w);
  attend_positions(t, &w, chunk * size, (chunk + 1) * size);
  memcpy(partial, w.chunk_sums, sums * sizeof *partial);
  memcpy(partial + sums, w.chunk_state, w.queries * sizeof *w.chunk_state);
}

static void merge(const attend_tile *t, const float *partial, size_t count, size_t stride) {
  const attend_work w = work_begin(t);
  const size_t sums = w.queries * w.padded;
  clear_sums(&w, w.row_sums, w.row_state);
  for (size_t c = 0; c < count; c++, partial += stride) {
    for (size_t i = 0; i < w.queries; i++) {
      softmax_state state;
      memcpy(&state, partial + sums + 2 * i, sizeof state);
      merge_state(&w.row_state[i], w.row_sums + i * w.padded, state, partial + i * w.padded, w.padded);
    }
  }
  write_out(t, &w);
}

static void attention_kernels(cpu_kernels *k) {
  k->attend = attend;
  k->attend_chunk = attend_chunk;
  k->merge = merge;
  k->attend_rows = CPU_ATTEND_QUERIES;
  k->attend_dim = CPU_ATTEND_DIM;
}

#endif
