/* backend/cpu/sparse_avx512.h: INT8 2:4 and INT4 2:4 times rows of INT8 and INT4 codes with AVX512_VNNI and AVX512_VBMI:
 * the order of the sums is that of codes_simd.h and blocks_simd.h, so the bits are the same.
 *
 * Few rows of x: they are made ready once; w stays as it is stored. A vector holds the 32 kept codes of 64 columns of each
 * of two rows of w, a pair, byte 2g and 2g + 1 of a half those of group g; from the index comes, byte for byte, which of the
 * 64 codes of x belongs to it, and one permutation puts them there. (Of 128 columns of one row it would be a permutation of
 * two registers, which takes a multiplier's pipe too.) So lane l of a half has columns 8l … 8l + 7 of 64; with scales of
 * blocks even and odd steps have sums of their own, which together are the 16 lanes of a span. VPDPBUSD wants one factor
 * without sign: x is taken 128 too large, and 128 Σw, made by a second VPDPBUSD, is taken off again.
 *
 * Panels: w widened to 64 codes a step, the rows' −128 Σw beside them. */
#ifndef BACKEND_CPU_SPARSE_AVX512_H
#define BACKEND_CPU_SPARSE_AVX512_H

#include "backend/cpu/few_simd.h"
#include "backend/cpu/packed_simd.h"
#include "backend/cpu/span_simd.h"

/* -- words */

#define CODE_SIGN 128 /* flipped, that bit makes a signed code one without sign, 128 larger */

ALWAYS_INLINE __m512i sparse_unsigned(__m512i codes) {
  return _mm512_xor_si512(codes, _mm512_set1_epi8((char)CODE_SIGN));
}
/* + 128 Σw */
ALWAYS_INLINE __m512i sparse_excess(__m512i sums, __m512i w) {
  return _mm512_dpbusd_epi32(sums, _mm512_set1_epi8((char)CODE_SIGN), w);
}

/* -- few rows of x */

#define SPARSE_ROWS  12 /* of x in a tile: w is unpacked once for all of them */
#define SPARSE_PAIRS 2  /* pairs of rows of w at a time, or one, as the registers allow */
#define SPARSE_COLS  (2 * SPARSE_PAIRS)
#define SPARSE_X     ((size_t)96 << 10) /* bytes of x made ready, on the stack; longer rows go through panels */

/* Where the codes of a block's columns are in 64 codes of x, which are even columns first; pairs as weight.h says. */
ALWAYS_INLINE __m512i sparse_order(int pairs) {
  const __m512i eights =
      _mm512_setr_epi64(0, 0x0404040404040404, 0x0808080808080808, 0x0c0c0c0c0c0c0c0c, 0x1010101010101010,
                        0x1414141414141414, 0x1818181818181818, 0x1c1c1c1c1c1c1c1c);
  return _mm512_add_epi8(eights, _mm512_set1_epi64(pairs ? 0x2322212003020100 : 0x2303220221012000));
}

ALWAYS_INLINE size_t sparse_steps(const weight *w) { return (w->cols + STEP - 1) / STEP; }

/* rows rows of x from i0 for a tile: step by step the codes of each, in their blocks' order and without sign. */
static inline void sparse_ready(const weight *w, const cpu_input *in, size_t i0, size_t rows, int8_t *to) {
  const __m512i order = sparse_order(w->pairs);
  for (size_t step = 0; step < sparse_steps(w); step++) {
    for (size_t i = 0; i < rows; i++, to += STEP) {
      const int8_t *from = (const int8_t *)in->codes + (i0 + i) * in->code_stride + step * STEP;
      v_store_codes(to, sparse_unsigned(_mm512_permutexvar_epi8(order, v_load_codes(from))));
    }
  }
}

/* A step of a pair: 64 kept codes (INT4: 16 times too large), and which of the codes of x belongs to each. */
typedef struct sparse_kept {
  __m512i codes, places;
} sparse_kept;

/* index: in the low 16 bits of each 64 that of the same 8 codes. */
ALWAYS_INLINE __m512i sparse_places(__m512i index) {
  const __m512i fields = _mm512_set1_epi64(0x0e0c0a0806040200);
  const __m512i group =
      _mm512_add_epi8(_mm512_setr_epi64(0, 0x1010101010101010, 0x2020202020202020, 0x3030303030303030, /**/
                                        0, 0x1010101010101010, 0x2020202020202020, 0x3030303030303030),
                      _mm512_set1_epi64(0x0c0c080804040000));
  /* (shifted & 3) | group */
  return _mm512_ternarylogic_epi64(_mm512_multishift_epi64_epi8(fields, index), _mm512_set1_epi8(3), group, 0xea);
}

ALWAYS_INLINE sparse_kept sparse_int8(const uint8_t *first, const uint8_t *second) {
  const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)first);
  const __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)second);
  const __m128i index = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(first + SPARSE_24_KEPT)),
                                           _mm_loadl_epi64((const __m128i *)(const void *)(second + SPARSE_24_KEPT)));
  return (sparse_kept){v_half_pairs(low, high), sparse_places(_mm512_cvtepu16_epi64(index))};
}

/* 4 bytes of each 64 bits as 8 codes, 16 times too large. */
ALWAYS_INLINE __m512i sparse_nibbles(__m512i bytes) {
  const __m512i nibbles = _mm512_set1_epi64(0x1814100c0804003c); /* bits −4, 0, 4 … 24 */
  return _mm512_and_si512(_mm512_multishift_epi64_epi8(nibbles, bytes), _mm512_set1_epi8((char)0xf0));
}

ALWAYS_INLINE sparse_kept sparse_int4(const uint8_t *first, const uint8_t *second) {
  /* bytes of the two blocks of 24: 4 of codes, and 2 of the index, to each 64 bits */
  const __m512i codes_at =
      _mm512_setr_epi64(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x23222120, 0x27262524, 0x2b2a2928, 0x2f2e2d2c);
  const __m512i index_at = _mm512_setr_epi64(0x1110, 0x1312, 0x1514, 0x1716, 0x3130, 0x3332, 0x3534, 0x3736);
  const __mmask8 block = (1 << sizeof(int4_24_block) / sizeof(int64_t)) - 1;
  const __m512i bytes = v_half_pairs(_mm256_maskz_loadu_epi64(block, first), _mm256_maskz_loadu_epi64(block, second));
  return (sparse_kept){sparse_nibbles(_mm512_permutexvar_epi8(codes_at, bytes)),
                       sparse_places(_mm512_permutexvar_epi8(index_at, bytes))};
}

/* Scales of spans [span, span + SPANS) of a row as FP32, 0 past its end, and past those that a vector holds. */
ALWAYS_INLINE void sparse_scales(const weight *w, packed_row r, size_t span, float to[RUN_STEPS * STEP_SCALES]) {
  const int shift = __builtin_ctz(w->block);
  const size_t first = span * SPAN >> shift, left = ((w->cols - 1) >> shift) + 1 - first;
  const size_t most = (size_t)(SPANS * SPAN) >> shift, count = left < most ? left : most;
  for (size_t i = 0; i < count || i == 0; i += LANES) {
    const __mmask16 here = (__mmask16)(left - i < LANES ? (1u << (left - i)) - 1 : 0xffff);
    const vf scales = w->scales_type == SCALE_F16
                          ? _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(here, r.scales + 2 * (first + i)))
                          : _mm512_maskz_loadu_ps(here, r.scales + sizeof(float) * (first + i));
    v_store(to + i, v_mul(scales, v_set(INT4_UNIT)));
  }
}

/* What the tile asks for as it goes: the codes of the next rows, as step_ahead does, and their scales. */
typedef struct sparse_ahead {
  const uint8_t *codes, *scales;
  size_t scales_step; /* bytes for a span of all rows of the tile */
} sparse_ahead;

ALWAYS_INLINE sparse_ahead sparse_ahead_of(int tile_cols, const weight *w, packed_row first) {
  const size_t tile = (size_t)tile_cols * w->row_bytes,
               rows = tile > FEW_AHEAD ? (size_t)tile_cols : FEW_AHEAD / w->row_bytes;
  sparse_ahead ahead = {first.codes + (tile > FEW_AHEAD ? tile : FEW_AHEAD), first.scales + rows * w->scale_row_bytes,
                        0};
  if (w->block) ahead.scales_step = (size_t)tile_cols * SPAN * scale_bytes(w->scales_type) / w->block;
  return ahead;
}

ALWAYS_INLINE void sparse_ask(weight_format format, int blocked, int tile_cols, const sparse_ahead *ahead,
                              size_t span) {
  const size_t bytes = (size_t)tile_cols * SPAN_STEPS * step_bytes(format);
  UNROLL
  for (size_t i = 0; i < bytes; i += LINE) __builtin_prefetch(ahead->codes + span * bytes + i, 0, 3);
  if (blocked) __builtin_prefetch(ahead->scales + span * ahead->scales_step, 0, 3);
}

/* A tile's sums, pair by pair; excess: 128 Σw. */
typedef struct sparse_sums {
  vf floats[SPARSE_ROWS][SPARSE_PAIRS][SPAN_STEPS];
  vi ints[SPARSE_ROWS][SPARSE_PAIRS], excess[SPARSE_PAIRS];
} sparse_sums;

/* Step `step` of x_rows rows of x, which are ready; scales: of its lanes. */
ALWAYS_INLINE void sparse_step(weight_format format, int blocked, int x_rows, int pairs, const packed_row *r,
                               size_t step, int odd, const int8_t *x, const vf *scales, sparse_sums *sums) {
  sparse_kept w[SPARSE_PAIRS];
  vi excess[SPARSE_PAIRS];
  UNROLL
  for (int p = 0; p < pairs; p++) {
    const uint8_t *first = whole_step(format, r[2 * p], step), *second = whole_step(format, r[2 * p + 1], step);
    w[p] = format == WEIGHT_INT8_24 ? sparse_int8(first, second) : sparse_int4(first, second);
    if (blocked)
      excess[p] = _mm512_sub_epi32(vi_zero(), sparse_excess(vi_zero(), w[p].codes));
    else
      sums->excess[p] = sparse_excess(sums->excess[p], w[p].codes);
  }
  UNROLL
  for (int i = 0; i < x_rows; i++) {
    UNROLL
    for (int p = 0; p < pairs; p++) {
      const __m512i selected = _mm512_permutexvar_epi8(w[p].places, v_load_codes(x + i * STEP));
      vf *sum = &sums->floats[i][p][odd];
      if (blocked)
        *sum = v_fma(vi_float(_mm512_dpbusd_epi32(excess[p], selected, w[p].codes)), scales[p], *sum);
      else
        sums->ints[i][p] = _mm512_dpbusd_epi32(sums->ints[i][p], selected, w[p].codes);
    }
  }
}

/* The sums of the quarters as FP32. */
ALWAYS_INLINE __m128 sparse_sum_quarters(vi q) {
  q = _mm512_add_epi32(q, _mm512_shuffle_epi32(q, 0x4e));
  q = _mm512_add_epi32(q, _mm512_shuffle_epi32(q, 0xb1));
  const vi lanes = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm_cvtepi32_ps(_mm512_castsi512_si128(_mm512_permutexvar_epi32(lanes, q)));
}

/* The sums of the halves of two vectors: of the rows of two pairs. */
ALWAYS_INLINE __m128 sparse_sum_halves(vi a, vi b) {
  return sparse_sum_quarters(_mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd)));
}

/* The sums of 4 vectors. */
ALWAYS_INLINE __m128 sparse_sum4(vi a, vi b, vi c, vi d) {
  return sparse_sum_halves(_mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xee)),
                           _mm512_add_epi32(_mm512_shuffle_i64x2(c, d, 0x44), _mm512_shuffle_i64x2(c, d, 0xee)));
}

/* As few_finish_tile, of integer sums, which any order adds up. */
ALWAYS_INLINE void sparse_finish_ints(int x_rows, int tile_cols, const linear_args *a, const cpu_input *in, size_t i0,
                                      size_t n0, sparse_sums *s, const float factors[FEW_COLS_MOST]) {
  const __m128 by = tile_cols == 4 ? _mm_loadu_ps(factors) : few_two(factors, factors);
  UNROLL
  for (int i = 0; i < x_rows; i++) {
    UNROLL
    for (int p = 0; p < (tile_cols + 1) / 2; p++) s->ints[i][p] = _mm512_sub_epi32(s->ints[i][p], s->excess[p]);
  }
  int i = 0;
  if (tile_cols == 4) {
    UNROLL
    for (; i < x_rows; i++)
      few_write4(a, in, i0 + (size_t)i, n0, _mm_mul_ps(sparse_sum_halves(s->ints[i][0], s->ints[i][1]), by));
  }
  if (tile_cols == 2) {
    UNROLL
    for (; i + 2 <= x_rows; i += 2)
      few_write2(a, in, i0 + (size_t)i, n0, _mm_mul_ps(sparse_sum_halves(s->ints[i][0], s->ints[i + 1][0]), by));
  }
  UNROLL
  for (; i < x_rows; i++) {
    float out[4];
    _mm_storeu_ps(out, _mm_mul_ps(sparse_sum_halves(s->ints[i][0], s->ints[i][0]), by));
    for (int j = 0; j < tile_cols; j++) few_finish(a, in, i0 + (size_t)i, n0 + (size_t)j, out[j]);
  }
}

/* Floating sums, row by row of w with the 16 lanes of a span: two steps of 8. */
ALWAYS_INLINE void sparse_finish_floats(int x_rows, int tile_cols, const linear_args *a, const cpu_input *in, size_t i0,
                                        size_t n0, sparse_sums *s, const float factors[FEW_COLS_MOST]) {
  vf sums[SPARSE_ROWS][FEW_COLS_MOST];
  UNROLL
  for (int i = 0; i < x_rows; i++) {
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      const vf even = s->floats[i][j / 2][0], odd = s->floats[i][j / 2][1];
      sums[i][j] = j % 2 == 0 ? _mm512_shuffle_f32x4(even, odd, 0x44) : _mm512_shuffle_f32x4(even, odd, 0xee);
    }
  }
  few_finish_tile(x_rows, tile_cols, a, in, i0, n0, sums, factors);
}

/* Where a step's scales are in `sparse_pair_scales`: blocks of 32 columns have two for each row. */
ALWAYS_INLINE vi sparse_scale_lanes(const weight *w) {
  return w->block == 32 ? _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)
                        : _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2);
}
ALWAYS_INLINE vf sparse_pair_scales(const float *first, const float *second, vi lanes) {
  return _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(few_two(first, second)));
}

/* x_rows rows of x from i0, ready in x, times tile_cols rows of w, from n0. One row of w is a pair with itself. */
ALWAYS_INLINE void sparse_few_tile(weight_format format, int blocked, int x_rows, int tile_cols, const cpu_kernels *k,
                                   const linear_args *a, const cpu_input *in, const int8_t *x, size_t i0, size_t n0) {
  const weight *w = a->w;
  const size_t steps = sparse_steps(w);
  const int shift = blocked ? __builtin_ctz(w->block) : 0, pairs = (tile_cols + 1) / 2;
  const vi lanes = blocked ? sparse_scale_lanes(w) : vi_zero();
  float runs[SPARSE_COLS][RUN_STEPS * STEP_SCALES], factors[FEW_COLS_MOST] = {0};
  packed_row r[SPARSE_COLS];
  sparse_sums sums;
  vf scales[SPARSE_PAIRS];
  UNROLL
  for (int j = 0; j < 2 * pairs; j++) {
    const size_t n = n0 + (size_t)(j < tile_cols ? j : j - 1);
    r[j] = row_of(w, n);
    factors[j] = cpu_row_factor(k, w, n);
  }
  UNROLL
  for (int p = 0; p < pairs; p++) {
    sums.excess[p] = vi_zero();
    UNROLL
    for (int i = 0; i < x_rows; i++)
      sums.ints[i][p] = vi_zero(), sums.floats[i][p][0] = sums.floats[i][p][1] = v_zero();
  }
  const sparse_ahead ahead = sparse_ahead_of(tile_cols, w, r[0]);
  for (size_t step = 0; step < steps; step += SPAN_STEPS) {
    const size_t span = step / SPAN_STEPS;
    if (blocked && step % RUN_STEPS == 0) {
      for (int j = 0; j < 2 * pairs; j++) sparse_scales(w, r[j], span, runs[j]);
    }
    if (i0 == 0) sparse_ask(format, blocked, tile_cols, &ahead, span); /* the other rows of x find it in L1 */
    UNROLL
    for (int odd = 0; odd < SPAN_STEPS; odd++, x += x_rows * STEP) {
      if (step + (size_t)odd >= steps) break;
      const size_t at = ((step + (size_t)odd) * STEP >> shift) - (step / RUN_STEPS * RUN_STEPS * STEP >> shift);
      for (int p = 0; p < pairs && blocked && (odd == 0 || w->block < SPAN); p++)
        scales[p] = sparse_pair_scales(&runs[2 * p][at], &runs[2 * p + 1][at], lanes);
      sparse_step(format, blocked, x_rows, pairs, r, step + (size_t)odd, odd, x, scales, &sums);
    }
  }
  if (blocked)
    sparse_finish_floats(x_rows, tile_cols, a, in, i0, n0, &sums, factors);
  else
    sparse_finish_ints(x_rows, tile_cols, a, in, i0, n0, &sums, factors);
}

/* -- one row of x, INT4 with scales of blocks: a vector holds the kept codes of 128 columns of one row of w, which need fewer
 * operations to unpack; with one row that is most of the time */

ALWAYS_INLINE __m512i sparse_row_places(__m512i index) {
  const __m512i second =
      _mm512_setr_epi64(0, 0, 0, 0, 0x4040404040404040, 0x4040404040404040, 0x4040404040404040, 0x4040404040404040);
  return _mm512_or_si512(sparse_places(index), second);
}

/* both: all ones, or 0 where a row's second step is not there. */
ALWAYS_INLINE sparse_kept sparse_row_int4(__mmask64 both, const uint8_t *at) {
  const __m512i codes_at =
      _mm512_setr_epi64(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x1b1a1918, 0x1f1e1d1c, 0x23222120, 0x27262524);
  const __m512i index_at = _mm512_setr_epi64(0x1110, 0x1312, 0x1514, 0x1716, 0x2928, 0x2b2a, 0x2d2c, 0x2f2e);
  const __mmask64 one = ((__mmask64)1 << sizeof(int4_24_block)) - 1;
  const __m512i bytes = _mm512_maskz_loadu_epi8(one | (both & one << sizeof(int4_24_block)), at);
  return (sparse_kept){sparse_nibbles(_mm512_permutexvar_epi8(codes_at, bytes)),
                       sparse_row_places(_mm512_permutexvar_epi8(index_at, bytes))};
}

/* The row of x, which is ready, times tile_cols rows of w, from n0. */
ALWAYS_INLINE void sparse_row_tile(int tile_cols, const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                                   const int8_t *x, size_t n0) {
  const weight *w = a->w;
  const size_t steps = sparse_steps(w);
  const int shift = __builtin_ctz(w->block);
  const vi of_lane = v_blocks_of_lanes(shift);
  float runs[SPARSE_COLS][RUN_STEPS * STEP_SCALES], factors[FEW_COLS_MOST] = {0};
  packed_row r[SPARSE_COLS];
  vf sums[1][FEW_COLS_MOST];
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    r[j] = row_of(w, n0 + (size_t)j);
    factors[j] = cpu_row_factor(k, w, n0 + (size_t)j);
    sums[0][j] = v_zero();
  }
  const sparse_ahead ahead = sparse_ahead_of(tile_cols, w, r[0]);
  for (size_t step = 0; step < steps; step += SPAN_STEPS) {
    if (step % RUN_STEPS == 0) {
      for (int j = 0; j < tile_cols; j++) sparse_scales(w, r[j], step / SPAN_STEPS, runs[j]);
    }
    const size_t at = (step * STEP >> shift) - (step / RUN_STEPS * RUN_STEPS * STEP >> shift);
    const __mmask64 both = step + 1 < steps ? ~(__mmask64)0 : 0;
    const __m512i first = v_load_codes(x + step * STEP);
    const __m512i second = both ? v_load_codes(x + (step + 1) * STEP) : first;
    sparse_ask(WEIGHT_INT4_24, 1, tile_cols, &ahead, step / SPAN_STEPS);
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      const sparse_kept kept = sparse_row_int4(both, whole_step(WEIGHT_INT4_24, r[j], step));
      const __m512i selected = _mm512_permutex2var_epi8(first, kept.places, second);
      const vi excess = _mm512_sub_epi32(vi_zero(), sparse_excess(vi_zero(), kept.codes));
      const vf dot = vi_float(_mm512_dpbusd_epi32(excess, selected, kept.codes));
      sums[0][j] = v_fma(dot, v_scales_of_lanes(&runs[j][at], of_lane), sums[0][j]);
    }
  }
  few_finish_tile(1, tile_cols, a, in, 0, n0, sums, factors);
}

typedef void (*sparse_fn)(const cpu_kernels *k, const linear_args *a, const cpu_input *in, const int8_t *x, size_t i0,
                          size_t begin, size_t end);

#define SPARSE_FEW(name, format, blocked, x_rows, cols)                                                                \
  static                                                                                                               \
      __attribute__((noinline)) void name##_##x_rows(const cpu_kernels *k, const linear_args *a, const cpu_input *in,  \
                                                     const int8_t *x, size_t i0, size_t begin, size_t end) {           \
    size_t n = begin;                                                                                                  \
    for (; n + (cols) <= end; n += (cols)) sparse_few_tile(format, blocked, x_rows, cols, k, a, in, x, i0, n);         \
    for (; n < end; n++) sparse_few_tile(format, blocked, x_rows, 1, k, a, in, x, i0, n);                              \
  }
/* one: the function of one row of x; five, eight: rows of w with 5, and with 6 to 8 rows of x. */
#define SPARSE_FEW_ALL(name, format, blocked, one, five, eight)                                                        \
  SPARSE_FEW(name, format, blocked, 2, 4)                                                                              \
  SPARSE_FEW(name, format, blocked, 3, 4)                                                                              \
  SPARSE_FEW(name, format, blocked, 4, 4)                                                                              \
  SPARSE_FEW(name, format, blocked, 5, five)                                                                           \
  SPARSE_FEW(name, format, blocked, 6, eight)                                                                          \
  SPARSE_FEW(name, format, blocked, 7, eight)                                                                          \
  SPARSE_FEW(name, format, blocked, 8, eight)                                                                          \
  SPARSE_FEW(name, format, blocked, 9, 2)                                                                              \
  SPARSE_FEW(name, format, blocked, 10, 2)                                                                             \
  SPARSE_FEW(name, format, blocked, 11, 2)                                                                             \
  SPARSE_FEW(name, format, blocked, 12, 2)                                                                             \
  static const sparse_fn name##_of[SPARSE_ROWS + 1] = {NULL,      one,       name##_2, name##_3, name##_4,             \
                                                       name##_5,  name##_6,  name##_7, name##_8, name##_9,             \
                                                       name##_10, name##_11, name##_12};
SPARSE_FEW(sparse_few_int8, WEIGHT_INT8_24, 0, 1, 4)
SPARSE_FEW_ALL(sparse_few_int8, WEIGHT_INT8_24, 0, sparse_few_int8_1, 4, 4)
SPARSE_FEW(sparse_few_int4, WEIGHT_INT4_24, 0, 1, 4)
SPARSE_FEW_ALL(sparse_few_int4, WEIGHT_INT4_24, 0, sparse_few_int4_1, 4, 4)
static __attribute__((noinline)) void sparse_row_int4_blocks(const cpu_kernels *k, const linear_args *a,
                                                             const cpu_input *in, const int8_t *x, size_t i0,
                                                             size_t begin, size_t end) {
  size_t n = begin;
  (void)i0; /* one row of x is alone */
  for (; n + SPARSE_COLS <= end; n += SPARSE_COLS) sparse_row_tile(SPARSE_COLS, k, a, in, x, n);
  for (; n < end; n++) sparse_row_tile(1, k, a, in, x, n);
}
SPARSE_FEW_ALL(sparse_few_int4_blocks, WEIGHT_INT4_24, 1, sparse_row_int4_blocks, 4, 2)

ALWAYS_INLINE void few_sparse(weight_format format, int blocked, const cpu_panel *form, const cpu_kernels *k,
                              const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  _Alignas(64) int8_t ready[SPARSE_X];
  const sparse_fn *of = format == WEIGHT_INT8_24 ? sparse_few_int8_of
                        : blocked                ? sparse_few_int4_blocks_of
                                                 : sparse_few_int4_of;
  const size_t row_bytes = sparse_steps(a->w) * STEP, tiles = (a->m + SPARSE_ROWS - 1) / SPARSE_ROWS;
  size_t block = end - begin;
  if (a->m * row_bytes > SPARSE_X) {
    kernels_few_panel(form, k, a, in, begin, end);
    return;
  }
  if (tiles > 1) block = few_block(a->w);
  for (size_t n = begin; n < end; n += block) {
    size_t i = 0;
    for (size_t t = 0; t < tiles; t++) {
      const size_t rows = a->m / tiles + (t < a->m % tiles);
      if (n == begin) sparse_ready(a->w, in, i, rows, ready + i * row_bytes);
      of[rows](k, a, in, ready + i * row_bytes, i, n, end - n < block ? end : n + block);
      i += rows;
    }
  }
}

/* -- panels: of each row the codes of its steps and then −128 Σw for each lane of them; with scales of blocks, span by
 * span, the codes with the lanes of blocks_simd.h, that sum and the scales of the lanes */

/* Two steps with the sums of lane l belonging to columns 8l … 8l + 7 of both: the even and the odd ones. */
ALWAYS_INLINE void sparse_lanes(__m512i first, __m512i second, __m512i to[2]) {
  to[0] = _mm512_shuffle_i64x2(first, second, 0x44);
  to[1] = _mm512_shuffle_i64x2(first, second, 0xee);
}

ALWAYS_INLINE codes64 sparse_codes(weight_format format, const weight *w, packed_row r, size_t step) {
  const codes64 codes = step_codes(format, whole_step(format, r, step));
  return w->pairs ? v_unpair(codes) : codes;
}

ALWAYS_INLINE void sparse_fill_row(weight_format format, const weight *w, packed_row r, size_t col, size_t cols,
                                   size_t stride, char *to) {
  const size_t first = col / STEP, end = (col + cols + STEP - 1) / STEP;
  vi excess = vi_zero();
  for (size_t step = first; step < end; step++) {
    const codes64 codes = sparse_codes(format, w, r, step);
    v_store_codes((int8_t *)to + (step - first) * STEP, codes);
    excess = sparse_excess(excess, codes);
  }
  vi_store((float *)(void *)(to + stride), _mm512_sub_epi32(vi_zero(), excess));
}

ALWAYS_INLINE void sparse_fill_blocks(const weight *w, packed_row r, size_t col, size_t cols, vi of_lane, char *to) {
  const size_t first = col / SPAN, end = (col + cols + SPAN - 1) / SPAN;
  scale_run p;
  for (size_t span = first; span < end; span++, to += SPAN_BYTES) {
    const size_t step = span * SPAN_STEPS;
    __m512i codes[2];
    if ((span - first) % SPANS == 0) spans_fill(w, r, span, &p);
    sparse_lanes(sparse_codes(WEIGHT_INT4_24, w, r, step),
                 (step + 1) * STEP < w->cols ? sparse_codes(WEIGHT_INT4_24, w, r, step + 1) : vi_zero(), codes);
    v_store_codes((int8_t *)to, codes[0]);
    v_store_codes((int8_t *)to + STEP, codes[1]);
    const vi excess = sparse_excess(sparse_excess(vi_zero(), codes[0]), codes[1]);
    vi_store((float *)(void *)(to + SPAN), _mm512_sub_epi32(vi_zero(), excess));
    v_store((float *)(void *)(to + SPAN + STEP), span_scales(&p, &p, of_lane, span));
  }
}

ALWAYS_INLINE void sparse_fill(weight_format format, int blocked, const weight *w, size_t row, size_t rows, size_t col,
                               size_t cols, size_t stride, void *panel) {
  const vi of_lane = blocked ? v_blocks_of_lanes(__builtin_ctz(w->block)) : vi_zero();
  char *to = panel;
  for (size_t i = 0; i < rows; i++, to += stride * CODES_BYTES) {
    const packed_row r = row_of(w, row + i);
    if (blocked)
      sparse_fill_blocks(w, r, col, cols, of_lane, to);
    else
      sparse_fill_row(format, w, r, col, cols, stride, to);
  }
  memset(to, 0, (CPU_PANEL_GROUP - 1 - (rows + CPU_PANEL_GROUP - 1) % CPU_PANEL_GROUP) * stride * CODES_BYTES);
}

/* tile_rows rows of x times 4 rows of w. */
ALWAYS_INLINE void sparse_tile(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  const int8_t *x = (const int8_t *)job->codes + row * job->code_stride;
  const size_t w_stride = job->w_stride * CODES_BYTES;
  const int8_t *w = (const int8_t *)(const void *)job->w + col * w_stride;
  vi sums[CODES_TILE_ROWS][CPU_PANEL_GROUP];
  UNROLL
  for (int j = 0; j < CPU_PANEL_GROUP; j++) {
    const vi excess = _mm512_loadu_si512(w + (size_t)j * w_stride + job->w_stride);
    UNROLL
    for (int i = 0; i < tile_rows; i++)
      sums[i][j] = job->first ? excess : vi_add(excess, vi_load(lanes + (i * CPU_PANEL_GROUP + j) * LANES));
  }
  for (size_t c = 0; c < job->k; c += STEP) {
    __m512i xv[CODES_TILE_ROWS];
    UNROLL
    for (int i = 0; i < tile_rows; i++) xv[i] = sparse_unsigned(v_load_codes(x + (size_t)i * job->code_stride + c));
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) {
      const __m512i wv = v_load_codes(w + (size_t)j * w_stride + c);
      UNROLL
      for (int i = 0; i < tile_rows; i++) sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], xv[i], wv);
    }
  }
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    if (job->last) {
      panel_write(job, row + (size_t)i, col, sparse_sum4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]));
      continue;
    }
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) vi_store(lanes + (i * CPU_PANEL_GROUP + j) * LANES, sums[i][j]);
  }
}

ALWAYS_INLINE void sparse_blocks_tile(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  const int8_t *x = (const int8_t *)job->codes + row * job->code_stride;
  const int8_t *w = (const int8_t *)(const void *)job->w + col * job->w_stride * CODES_BYTES;
  panel_sums sums;
  panel_begin(tile_rows, job, lanes, sums);
  for (size_t c = 0; c < job->k; c += SPAN) {
    __m512i xv[CODES_TILE_ROWS][2];
    UNROLL
    for (int i = 0; i < tile_rows; i++) {
      const int8_t *from = x + (size_t)i * job->code_stride + c;
      const __m512i first = sparse_unsigned(v_load_codes(from)); /* the second step may not be there; its w is 0 */
      sparse_lanes(first, c + STEP < job->k ? sparse_unsigned(v_load_codes(from + STEP)) : first, xv[i]);
    }
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) {
      const int8_t *at = w + ((size_t)j * job->w_stride + c) * CODES_BYTES;
      const __m512i w0 = v_load_codes(at), w1 = v_load_codes(at + STEP), excess = v_load_codes(at + SPAN);
      const vf scales = v_load((const float *)(const void *)(at + SPAN + STEP));
      UNROLL
      for (int i = 0; i < tile_rows; i++) {
        const vi dot = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(excess, xv[i][0], w0), xv[i][1], w1);
        sums[i][j] = v_fma(vi_float(dot), scales, sums[i][j]);
      }
    }
  }
  panel_end(tile_rows, job, row, col, lanes, sums);
}

/* -- the table */

#define SPARSE_FORM .column_bytes = CODES_BYTES, .most_columns = CODES_MOST, .codes = 1

CODES_PANEL(sparse_panel, sparse_tile)
CODES_PANEL(sparse_blocks_panel, sparse_blocks_tile)

PACKED_KERNELS(sparse_int8, WEIGHT_INT8_24, 0, INPUT_INT8, INPUT_INT4, few_sparse, sparse_fill, sparse_panel,
               SPARSE_FORM, .unit = STEP)
PACKED_KERNELS(sparse_int4, WEIGHT_INT4_24, 0, INPUT_INT8, INPUT_INT4, few_sparse, sparse_fill, sparse_panel,
               SPARSE_FORM, .unit = STEP)
PACKED_KERNELS(sparse_int4_blocks, WEIGHT_INT4_24, 1, INPUT_INT8, INPUT_INT4, few_sparse, sparse_fill,
               sparse_blocks_panel, SPARSE_FORM, .unit = SPAN)

static void sparse_kernels(cpu_kernels *k) {
  sparse_int8_set(k);
  sparse_int4_set(k);
  sparse_int4_blocks_set(k);
}

#endif
