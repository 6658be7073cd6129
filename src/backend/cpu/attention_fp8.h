/* backend/cpu/attention_fp8.h: attention over keys and values in FP8 as they are stored, in the vector words of simd.h.
 *
 * A page has E4M3 codes and one F16 scale for each head and position. KV_FP8_STEP codes become FP32 at once
 * (v_load_kv_fp8), divided by a power of two and in an order of lanes that suits the instructions: queries are laid in that
 * order, results are taken out of it. The powers of two go where a number is multiplied anyway (KV_FP8_QUERY and on):
 *
 *   score  = (Σ q · code) · factor of the key          out += (e^(score − max) · factor of the value) · code
 *
 * Widened blocks (more queries, a head_dim of no whole steps) do the same, so a query's bits are the same in both. A vector
 * that was not finite has the scale NaN or infinity (cpu_rows.c), and codes of its own that need no look.
 */
#ifndef BACKEND_CPU_ATTENTION_FP8_H
#define BACKEND_CPU_ATTENTION_FP8_H

#include <string.h>

#include "backend/cpu/attention_work.h"
#include "backend/cpu/linear_simd.h"

#define KV_FP8_STEP (KV_FP8_VECTORS * LANES)
_Static_assert(CPU_ATTEND_UNIT % KV_FP8_STEP == 0, "padded vectors are whole steps");

/* Factors of the vectors that hold positions `in`. */
static void kv_fp8_factors(const uint16_t *scales, float by, block_range in, float *factors) {
  for (size_t i = in.begin / LANES * LANES; i < in.end; i += LANES)
    v_store(factors + i, v_mul(v_load_f16(scales + i), v_set(by)));
}

/* A query's `dim` values times `by` into the order of the lanes; what lies beyond is left alone. */
static void kv_fp8_lay(const float *from, float by, float *to, size_t dim) {
  for (size_t d = 0; d < dim; d++) to[d / KV_FP8_STEP * KV_FP8_STEP + kv_fp8_place(d % KV_FP8_STEP)] = from[d] * by;
}

/* Results out of that order. */
static void kv_fp8_take(const float *from, float *to, size_t dim) {
  for (size_t d = 0; d < dim; d++) to[d] = from[d / KV_FP8_STEP * KV_FP8_STEP + kv_fp8_place(d % KV_FP8_STEP)];
}

/* As many whole steps as hold count codes; those beyond are zero. */
static void widen_kv_fp8(const uint8_t *codes, float *to, size_t count) {
  for (size_t d = 0; d < count; d += KV_FP8_STEP) {
    uint8_t part[KV_FP8_STEP] = {0};
    const int whole = d + KV_FP8_STEP <= count;
    if (!whole) memcpy(part, codes + d, count - d);
    UNROLL
    for (int v = 0; v < KV_FP8_VECTORS; v++)
      v_store(to + d + (size_t)v * LANES, v_load_kv_fp8(whole ? codes + d : part, v));
  }
}

/* rows queries × 4 positions (or 1) from position p: their scores, without the keys' factors. As many positions at a time
 * as the registers hold the sums of; a vector of q is read once for them. */
ALWAYS_INLINE void score_fp8_tile(int rows, int positions, const attend_work *w, size_t query, const block_rows *keys,
                                  const block_rows *values, size_t p) {
  const int together = positions == 1 ? 1 : KV_FP8_KEYS;
  const float *q = w->q + query * w->padded;
  float *scores = w->scores + query * CPU_KV_BLOCK + p;
  vf sums[SUM_TILE_ROWS][4];
  if (keys->next) ask_for(keys->next + p * keys->stride, (size_t)positions * keys->stride);
  if (values->cold) ask_for(values->from + p * values->stride, (size_t)positions * values->stride);
  UNROLL
  for (int j = 0; j < positions; j += together) {
    const char *key = keys->from + (p + (size_t)j) * keys->stride;
    UNROLL
    for (int i = 0; i < rows; i++) {
      UNROLL
      for (int o = 0; o < together; o++) sums[i][j + o] = v_zero();
    }
    for (size_t d = 0; d < w->dim; d += KV_FP8_STEP) {
      UNROLL
      for (int v = 0; v < KV_FP8_VECTORS; v++) {
        vf k[KV_FP8_KEYS];
        UNROLL
        for (int o = 0; o < together; o++) k[o] = v_load_kv_fp8(key + (size_t)o * keys->stride + d, v);
        UNROLL
        for (int i = 0; i < rows; i++) {
          const vf x = v_load(q + (size_t)i * w->padded + d + (size_t)v * LANES);
          UNROLL
          for (int o = 0; o < together; o++) sums[i][j + o] = v_fma(k[o], x, sums[i][j + o]);
        }
      }
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

/* rows queries × `steps` steps of head_dim from d: sums · shrink + Σ weight · code over `in`; the weights have the values'
 * factors. */
ALWAYS_INLINE void weigh_fp8_tile(int rows, int steps, const attend_work *w, size_t query, size_t d,
                                  const block_rows *values, block_range in, const float *shrink) {
  float *sums = w->chunk_sums + query * w->padded + d;
  const float *weights = w->scores + query * CPU_KV_BLOCK;
  const char *value = values->from + in.begin * values->stride + d, *next = values->next;
  const size_t stride = values->stride, ahead = next ? (size_t)(next - values->from) : 0;
  vf sum[SUM_TILE_ROWS][SUM_TILE_COLS];
  UNROLL
  for (int i = 0; i < rows; i++) {
    UNROLL
    for (int j = 0; j < steps * KV_FP8_VECTORS; j++)
      sum[i][j] = v_mul(v_load(sums + (size_t)i * w->padded + (size_t)j * LANES), v_set(shrink[i]));
  }
  for (size_t p = in.begin; p < in.end; p++, value += stride) {
    if (next) ask_for(value + ahead, (size_t)steps * KV_FP8_STEP);
    UNROLL
    for (int j = 0; j < steps * KV_FP8_VECTORS; j++) {
      const vf v = v_load_kv_fp8_lean(value + j / KV_FP8_VECTORS * KV_FP8_STEP, j % KV_FP8_VECTORS);
      UNROLL
      for (int i = 0; i < rows; i++) sum[i][j] = v_fma(v_set(weights[(size_t)i * CPU_KV_BLOCK + p]), v, sum[i][j]);
    }
  }
  UNROLL
  for (int i = 0; i < rows; i++) {
    UNROLL
    for (int j = 0; j < steps * KV_FP8_VECTORS; j++)
      v_store(sums + (size_t)i * w->padded + (size_t)j * LANES, sum[i][j]);
  }
}

ALWAYS_INLINE void score_fp8_rows(int rows, const attend_work *w, size_t query, const block_rows *keys,
                                  const block_rows *values, block_range in) {
  size_t p = in.begin;
  for (; p + 4 <= in.end; p += 4) score_fp8_tile(rows, 4, w, query, keys, values, p);
  for (; p < in.end; p++) score_fp8_tile(rows, 1, w, query, keys, values, p);
}

ALWAYS_INLINE void weigh_fp8_rows(int rows, const attend_work *w, size_t query, const block_rows *values,
                                  block_range in, const float *shrink) {
  const size_t whole = SUM_TILE_COLS * LANES;
  size_t d = 0;
  for (; d + whole <= w->dim; d += whole)
    weigh_fp8_tile(rows, SUM_TILE_COLS / KV_FP8_VECTORS, w, query, d, values, in, shrink);
  for (; d < w->dim; d += KV_FP8_STEP) weigh_fp8_tile(rows, 1, w, query, d, values, in, shrink);
}

#define ATTEND_FP8_ROWS(rows)                                                                                          \
  static void score_fp8_##rows(const attend_work *w, size_t query, const block_rows *keys, const block_rows *values,   \
                               block_range in) {                                                                       \
    score_fp8_rows(rows, w, query, keys, values, in);                                                                  \
  }                                                                                                                    \
  static void weigh_fp8_##rows(const attend_work *w, size_t query, const block_rows *values, block_range in,           \
                               const float *shrink) {                                                                  \
    weigh_fp8_rows(rows, w, query, values, in, shrink);                                                                \
  }
ATTEND_FP8_ROWS(1)
ATTEND_FP8_ROWS(2)
ATTEND_FP8_ROWS(3)
#if SUM_TILE_ROWS > 3
ATTEND_FP8_ROWS(4)
ATTEND_FP8_ROWS(5)
ATTEND_FP8_ROWS(6)
#endif

#endif
