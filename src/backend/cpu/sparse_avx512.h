/* backend/cpu/sparse_avx512.h: INT8 2:4 and INT4 2:4 times rows of INT8 and INT4 codes with AVX512_VNNI and AVX512_VBMI:
 * the order of the sums is that of codes_simd.h and blocks_simd.h, so the bits are the same.
 *
 * Few rows of x: they are made ready once; w stays as it is stored. A vector holds the 64 kept codes of 128 columns, byte
 * 2g and 2g + 1 those of group g; from the index comes, byte for byte, which of the 128 codes of x belongs to it, and one permutation of two
 * registers puts them there. So lane l has columns 8l … 8l + 7. VPDPBUSD wants one factor without sign: x is taken 128
 * too large, and 128 Σw, made by a second VPDPBUSD, is taken off again.
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

#define SPARSE_ROWS 8 /* of x: w is unpacked once for all of them; more go through panels: measured */
#define SPARSE_COLS 4 /* rows of w; 2 with 4 rows of x (INT4 in blocks: 5) and more, as the registers allow */
#define SPARSE_X    ((size_t)96 << 10) /* bytes of x made ready, on the stack; longer rows go through panels */

/* Where the codes of a block's columns are in 64 codes of x, which are even columns first; pairs as weight.h says. */
ALWAYS_INLINE __m512i sparse_order(int pairs) {
  const __m512i eights =
      _mm512_setr_epi64(0, 0x0404040404040404, 0x0808080808080808, 0x0c0c0c0c0c0c0c0c, 0x1010101010101010,
                        0x1414141414141414, 0x1818181818181818, 0x1c1c1c1c1c1c1c1c);
  return _mm512_add_epi8(eights, _mm512_set1_epi64(pairs ? 0x2322212003020100 : 0x2303220221012000));
}

ALWAYS_INLINE size_t sparse_spans(const weight *w) { return (w->cols + SPAN - 1) / SPAN; }

/* Rows of x for a tile: span by span the codes of each, in their blocks' order and without sign. A last step that is not
 * there has no weights. */
static inline void sparse_ready(const weight *w, const cpu_input *in, size_t rows, int8_t *to) {
  const __m512i order = sparse_order(w->pairs);
  for (size_t col = 0; col < sparse_spans(w) * SPAN; col += SPAN) {
    for (size_t i = 0; i < rows; i++, to += SPAN) {
      const int8_t *from = (const int8_t *)in->codes + i * in->code_stride + col;
      const __m512i first = sparse_unsigned(_mm512_permutexvar_epi8(order, v_load_codes(from)));
      v_store_codes(to, first);
      v_store_codes(to + STEP, col + STEP < in->code_stride
                                   ? sparse_unsigned(_mm512_permutexvar_epi8(order, v_load_codes(from + STEP)))
                                   : first);
    }
  }
}

/* 64 kept codes (INT4: 16 times too large), and in the low 16 bits of each 64 the index of the same 8 codes. */
typedef struct kept128 {
  __m512i codes, index;
} kept128;

/* both: all ones, or 0 where a row's second step is not there. */
ALWAYS_INLINE kept128 sparse_kept_int8(__mmask64 both, const uint8_t *at) {
  const uint8_t *second = at + sizeof(int8_24_block);
  const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)at);
  const __m256i high = _mm256_maskz_loadu_epi64((__mmask8)both, second);
  const __m128i index = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(at + SPARSE_24_KEPT)),
                                           _mm_maskz_loadu_epi64((__mmask8)both & 1, second + SPARSE_24_KEPT));
  kept128 kept = {v_half_pairs(low, high), _mm512_cvtepu16_epi64(index)};
  return kept;
}

ALWAYS_INLINE kept128 sparse_kept_int4(__mmask64 both, const uint8_t *at) {
  /* bytes of the two blocks of 24: 4 of codes, and 2 of the index, to each 64 bits */
  const __m512i codes_at =
      _mm512_setr_epi64(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x1b1a1918, 0x1f1e1d1c, 0x23222120, 0x27262524);
  const __m512i index_at = _mm512_setr_epi64(0x1110, 0x1312, 0x1514, 0x1716, 0x2928, 0x2b2a, 0x2d2c, 0x2f2e);
  const __m512i nibbles = _mm512_set1_epi64(0x1814100c0804003c); /* bits −4, 0, 4 … 24 */
  const __mmask64 one = ((__mmask64)1 << sizeof(int4_24_block)) - 1;
  const __m512i bytes = _mm512_maskz_loadu_epi8(one | (both & one << sizeof(int4_24_block)), at);
  kept128 kept = {_mm512_and_si512(_mm512_multishift_epi64_epi8(nibbles, _mm512_permutexvar_epi8(codes_at, bytes)),
                                   _mm512_set1_epi8((char)0xf0)),
                  _mm512_permutexvar_epi8(index_at, bytes)};
  return kept;
}

/* Which of the codes of x of 128 columns belong to the kept ones. */
ALWAYS_INLINE __m512i sparse_places(__m512i index) {
  const __m512i fields = _mm512_set1_epi64(0x0e0c0a0806040200);
  const __m512i group =
      _mm512_add_epi8(_mm512_setr_epi64(0, 0x1010101010101010, 0x2020202020202020, 0x3030303030303030,
                                        0x4040404040404040, 0x5050505050505050, 0x6060606060606060, 0x7070707070707070),
                      _mm512_set1_epi64(0x0c0c080804040000));
  /* (shifted & 3) | group */
  return _mm512_ternarylogic_epi64(_mm512_multishift_epi64_epi8(fields, index), _mm512_set1_epi8(3), group, 0xea);
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

/* A tile: its sums. */
typedef struct sparse_sums {
  vf floats[SPARSE_ROWS][FEW_COLS_MOST];
  vi ints[SPARSE_ROWS][FEW_COLS_MOST], excess[FEW_COLS_MOST];
} sparse_sums;

/* A span of x_rows rows of x, which are ready; scales: of the span's lanes. */
ALWAYS_INLINE void sparse_span(weight_format format, int blocked, int x_rows, int tile_cols, __mmask64 both,
                               const packed_row *r, size_t span, const int8_t *x, const vf *scales, sparse_sums *sums) {
  __m512i codes[SPARSE_COLS], places[SPARSE_COLS], excess[SPARSE_COLS];
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const uint8_t *at = r[j].codes + span * SPAN_STEPS * step_bytes(format);
    const kept128 w = format == WEIGHT_INT8_24 ? sparse_kept_int8(both, at) : sparse_kept_int4(both, at);
    codes[j] = w.codes, places[j] = sparse_places(w.index);
    if (blocked)
      excess[j] = _mm512_sub_epi32(vi_zero(), sparse_excess(vi_zero(), w.codes));
    else
      sums->excess[j] = sparse_excess(sums->excess[j], w.codes);
  }
  UNROLL
  for (int i = 0; i < x_rows; i++) {
    const __m512i a = _mm512_loadu_si512(x + i * SPAN);
    const __m512i b = _mm512_loadu_si512(x + i * SPAN + STEP);
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      const __m512i selected = _mm512_permutex2var_epi8(a, places[j], b);
      if (blocked)
        sums->floats[i][j] =
            v_fma(vi_float(_mm512_dpbusd_epi32(excess[j], selected, codes[j])), scales[j], sums->floats[i][j]);
      else
        sums->ints[i][j] = _mm512_dpbusd_epi32(sums->ints[i][j], selected, codes[j]);
    }
  }
}

/* The sums of 4 vectors as FP32. */
ALWAYS_INLINE __m128 vi_sum4(vi a, vi b, vi c, vi d) {
  const vi ab = _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xee));
  const vi cd = _mm512_add_epi32(_mm512_shuffle_i64x2(c, d, 0x44), _mm512_shuffle_i64x2(c, d, 0xee));
  vi q = _mm512_add_epi32(_mm512_shuffle_i64x2(ab, cd, 0x88), _mm512_shuffle_i64x2(ab, cd, 0xdd));
  q = _mm512_add_epi32(q, _mm512_shuffle_epi32(q, 0x4e));
  q = _mm512_add_epi32(q, _mm512_shuffle_epi32(q, 0xb1));
  const vi lanes = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm_cvtepi32_ps(_mm512_castsi512_si128(_mm512_permutexvar_epi32(lanes, q)));
}

/* As few_finish_tile, of integer sums, which any order adds up. */
ALWAYS_INLINE void sparse_finish_ints(int x_rows, int tile_cols, const linear_args *a, const cpu_input *in, size_t n0,
                                      sparse_sums *s, const float factors[FEW_COLS_MOST]) {
  UNROLL
  for (int i = 0; i < x_rows; i++) {
    UNROLL
    for (int j = 0; j < tile_cols; j++) s->ints[i][j] = _mm512_sub_epi32(s->ints[i][j], s->excess[j]);
  }
  int i = 0;
  if (tile_cols == 4) {
    UNROLL
    for (; i < x_rows; i++)
      few_write4(
          a, in, (size_t)i, n0,
          _mm_mul_ps(vi_sum4(s->ints[i][0], s->ints[i][1], s->ints[i][2], s->ints[i][3]), _mm_loadu_ps(factors)));
  }
  if (tile_cols == 2) {
    UNROLL
    for (; i + 2 <= x_rows; i += 2)
      few_write2(a, in, (size_t)i, n0,
                 _mm_mul_ps(vi_sum4(s->ints[i][0], s->ints[i][1], s->ints[i + 1][0], s->ints[i + 1][1]),
                            few_two(factors, factors)));
  }
  UNROLL
  for (; i < x_rows; i++) {
    UNROLL
    for (int j = 0; j < tile_cols; j++)
      few_finish(a, in, (size_t)i, n0 + (size_t)j, (float)vi_sum(s->ints[i][j]) * factors[j]);
  }
}

/* All x_rows rows of x, which are ready, times tile_cols rows of w, from n0. */
ALWAYS_INLINE void sparse_few_tile(weight_format format, int blocked, int x_rows, int tile_cols, const cpu_kernels *k,
                                   const linear_args *a, const cpu_input *in, const int8_t *x, size_t n0) {
  const weight *w = a->w;
  const size_t spans = sparse_spans(w);
  const size_t whole = w->cols > (spans - 1) * SPAN + STEP ? spans : spans - 1;
  const int shift = blocked ? __builtin_ctz(w->block) : 0;
  const vi of_lane = blocked ? v_blocks_of_lanes(shift) : vi_zero();
  float runs[SPARSE_COLS][RUN_STEPS * STEP_SCALES], factors[FEW_COLS_MOST] = {0};
  packed_row r[SPARSE_COLS];
  sparse_sums sums;
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    r[j] = row_of(w, n0 + (size_t)j);
    factors[j] = cpu_row_factor(k, w, n0 + (size_t)j);
    sums.excess[j] = vi_zero();
    UNROLL
    for (int i = 0; i < x_rows; i++) sums.floats[i][j] = v_zero(), sums.ints[i][j] = vi_zero();
  }
  const sparse_ahead ahead = sparse_ahead_of(tile_cols, w, r[0]);
  vf scales[SPARSE_COLS];
  for (size_t span = 0; span < (blocked ? spans : whole); span++, x += x_rows * SPAN) {
    if (blocked && span % SPANS == 0) {
      for (int j = 0; j < tile_cols; j++) sparse_scales(w, r[j], span, runs[j]);
    }
    const size_t at = (span * SPAN >> shift) - (span / SPANS * SPANS * SPAN >> shift);
    UNROLL
    for (int j = 0; j < tile_cols && blocked; j++) scales[j] = v_scales_of_lanes(&runs[j][at], of_lane);
    sparse_ask(format, blocked, tile_cols, &ahead, span);
    sparse_span(format, blocked, x_rows, tile_cols, blocked && span >= whole ? 0 : ~(__mmask64)0, r, span, x, scales,
                &sums);
  }
  if (!blocked && whole < spans) sparse_span(format, blocked, x_rows, tile_cols, 0, r, whole, x, scales, &sums);
  if (blocked)
    few_finish_tile(x_rows, tile_cols, a, in, 0, n0, sums.floats, factors);
  else
    sparse_finish_ints(x_rows, tile_cols, a, in, n0, &sums, factors);
}

typedef void (*sparse_fn)(const cpu_kernels *k, const linear_args *a, const cpu_input *in, const int8_t *x,
                          size_t begin, size_t end);

#define SPARSE_FEW(name, format, blocked, x_rows, cols)                                                                \
  static __attribute__((noinline)) void name##_##x_rows(                                                               \
      const cpu_kernels *k, const linear_args *a, const cpu_input *in, const int8_t *x, size_t begin, size_t end) {    \
    size_t n = begin;                                                                                                  \
    for (; n + (cols) <= end; n += (cols)) sparse_few_tile(format, blocked, x_rows, cols, k, a, in, x, n);             \
    for (; n < end; n++) sparse_few_tile(format, blocked, x_rows, 1, k, a, in, x, n);                                  \
  }
#define SPARSE_FEW_ALL(name, format, blocked, four)                                                                    \
  SPARSE_FEW(name, format, blocked, 1, 4)                                                                              \
  SPARSE_FEW(name, format, blocked, 2, 4)                                                                              \
  SPARSE_FEW(name, format, blocked, 3, 4)                                                                              \
  SPARSE_FEW(name, format, blocked, 4, four)                                                                           \
  SPARSE_FEW(name, format, blocked, 5, 2)                                                                              \
  SPARSE_FEW(name, format, blocked, 6, 2)                                                                              \
  SPARSE_FEW(name, format, blocked, 7, 2)                                                                              \
  SPARSE_FEW(name, format, blocked, 8, 2)                                                                              \
  static const sparse_fn name##_of[SPARSE_ROWS + 1] = {NULL,     name##_1, name##_2, name##_3, name##_4,               \
                                                       name##_5, name##_6, name##_7, name##_8};
SPARSE_FEW_ALL(sparse_few_int8, WEIGHT_INT8_24, 0, 2)
SPARSE_FEW_ALL(sparse_few_int4, WEIGHT_INT4_24, 0, 2)
SPARSE_FEW_ALL(sparse_few_int4_blocks, WEIGHT_INT4_24, 1, 4)

ALWAYS_INLINE void few_sparse(weight_format format, int blocked, const cpu_panel *form, const cpu_kernels *k,
                              const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  _Alignas(64) int8_t ready[SPARSE_X];
  const sparse_fn *of = format == WEIGHT_INT8_24 ? sparse_few_int8_of
                        : blocked                ? sparse_few_int4_blocks_of
                                                 : sparse_few_int4_of;
  const size_t row_bytes = sparse_spans(a->w) * SPAN;
  if (a->m > SPARSE_ROWS || a->m * row_bytes > SPARSE_X) {
    kernels_few_panel(form, k, a, in, begin, end);
    return;
  }
  sparse_ready(a->w, in, a->m, ready);
  of[a->m](k, a, in, ready, begin, end);
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
      panel_write(job, row + (size_t)i, col, vi_sum4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]));
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
