/* backend/cpu/attention_fp8.h: attention over keys and values in FP8 as they are stored, in the vector words of simd.h.
 *
 * A page has E4M3 codes and one F16 scale for each head and position. Codes become FP32 as in fp8_simd.h, 1/256 of their value,
 * KV_FP8_STEP at once; the scale times 256 (a position's factor) multiplies the score, and the weight of the value:
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

#define KV_FP8_STEP   (2 * LANES)
#define KV_FP8_FACTOR 256.0f

/* Factors of the vectors that hold positions `in`. */
static void kv_fp8_factors(const uint16_t *scales, block_range in, float *factors) {
  const vf by = v_set(KV_FP8_FACTOR);
  for (size_t i = in.begin / LANES * LANES; i < in.end; i += LANES)
    v_store(factors + i, v_mul(v_load_f16(scales + i), by));
}

/* values[p] *= factors[p], for the vectors that hold positions `in`. */
static void kv_fp8_scale(float *values, const float *factors, block_range in) {
  for (size_t i = in.begin / LANES * LANES; i < in.end; i += LANES)
    v_store(values + i, v_mul(v_load(values + i), v_load(factors + i)));
}

static void widen_kv_fp8(const uint8_t *codes, float *to, size_t count) {
  vf value[2];
  size_t d = 0;
  for (; d + KV_FP8_STEP <= count; d += KV_FP8_STEP) {
    v_load2_fp8(codes + d, value);
    v_store(to + d, value[0]);
    v_store(to + d + LANES, value[1]);
  }
  if (d == count) return;
  uint8_t part[KV_FP8_STEP] = {0};
  float last[KV_FP8_STEP];
  memcpy(part, codes + d, count - d);
  v_load2_fp8(part, value);
  v_store(last, value[0]);
  v_store(last + LANES, value[1]);
  memcpy(to + d, last, (count - d) * sizeof *to);
}

/* rows queries × 4 positions (or 1) from position p: their scores, without the keys' factors. */
ALWAYS_INLINE void score_fp8_tile(int rows, int positions, const attend_work *w, size_t query, const block_rows *keys,
                                  const block_rows *values, size_t p) {
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
  for (size_t d = 0; d < w->dim; d += KV_FP8_STEP) {
    UNROLL
    for (int j = 0; j < positions; j++) {
      vf k[2];
      v_load2_fp8(key + (size_t)j * keys->stride + d, k);
      UNROLL
      for (int i = 0; i < rows; i++) {
        sums[i][j] = v_fma(k[0], v_load(q + (size_t)i * w->padded + d), sums[i][j]);
        sums[i][j] = v_fma(k[1], v_load(q + (size_t)i * w->padded + d + LANES), sums[i][j]);
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

/* rows queries × 2 pairs vectors of head_dim: sums · shrink + Σ weight · code over `in`; the weights have the values' factors. */
ALWAYS_INLINE void weigh_fp8_tile(int rows, int pairs, const attend_work *w, size_t query, size_t d,
                                  const block_rows *values, block_range in, const float *shrink) {
  float *sums = w->chunk_sums + query * w->padded + d;
  const float *weights = w->scores + query * CPU_KV_BLOCK;
  const char *value = values->from + in.begin * values->stride + d;
  vf sum[SUM_TILE_ROWS][SUM_TILE_COLS];
  UNROLL
  for (int i = 0; i < rows; i++) {
    UNROLL
    for (int j = 0; j < 2 * pairs; j++)
      sum[i][j] = v_mul(v_load(sums + (size_t)i * w->padded + (size_t)j * LANES), v_set(shrink[i]));
  }
  for (size_t p = in.begin; p < in.end; p++, value += values->stride) {
    if (values->next) ask_for(values->next + (value - values->from), (size_t)pairs * KV_FP8_STEP);
    UNROLL
    for (int j = 0; j < pairs; j++) {
      vf v[2];
      v_load2_fp8(value + (size_t)j * KV_FP8_STEP, v);
      UNROLL
      for (int i = 0; i < rows; i++) {
        const vf factor = v_set(weights[(size_t)i * CPU_KV_BLOCK + p]);
        sum[i][2 * j] = v_fma(factor, v[0], sum[i][2 * j]);
        sum[i][2 * j + 1] = v_fma(factor, v[1], sum[i][2 * j + 1]);
      }
    }
  }
  UNROLL
  for (int i = 0; i < rows; i++) {
    UNROLL
    for (int j = 0; j < 2 * pairs; j++) v_store(sums + (size_t)i * w->padded + (size_t)j * LANES, sum[i][j]);
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
  for (; d + whole <= w->dim; d += whole) weigh_fp8_tile(rows, SUM_TILE_COLS / 2, w, query, d, values, in, shrink);
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
