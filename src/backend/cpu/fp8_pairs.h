/* backend/cpu/fp8_pairs.h: FP8 weights with one scale a row times rows of codes, both as BF16, which holds E4M3, INT8 and
 * INT4 exactly: AVX-512 with AVX512_BF16 and AVX512_VBMI.
 *
 * Order of the sums. 64 columns are two vectors of 16 pairs: the first has the pairs of columns 0–7, 16–23, 32–39 and 48–55,
 * the second those between (so unpacking bytes leaves them). Lane l of an output adds of each vector first the odd column of
 * its pair, then the even one, each fused: what VDPBF16PS does (products of such codes are exact in FP32, no sum of them is
 * subnormal, so its flushing changes nothing). K is padded with zeros to 64; lanes are added up as everywhere.
 */
#ifndef BACKEND_CPU_FP8_PAIRS_H
#define BACKEND_CPU_FP8_PAIRS_H

#include <string.h>

#include "backend/cpu/few_simd.h"
#include "backend/cpu/fp8_scales.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/pairs_words.h"
#include "backend/cpu/panel_simd.h"

/* -- words */

/* sum += the two products of each pair, the odd one first. */
ALWAYS_INLINE vf pairs_fma(vf sum, __m512i x, __m512i w) { return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)x); }

/* The same with x where it lies in memory, for tiles that have no register left for it. */
ALWAYS_INLINE vf pairs_fma_at(vf sum, const uint16_t *x, __m512i w) { return pairs_fma(sum, _mm512_loadu_si512(x), w); }

/* -- few rows */

#define PAIRS_ROWS FEW_LONG_ROWS
#define PAIRS_COLS FEW_COLS_MOST

ALWAYS_INLINE void pairs_few(int rows, int cols, const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                             size_t i0, size_t n0) {
  (void)k;
  fp8_ahead ahead = fp8_ahead_of(a->w, cols, n0);
  const size_t width = a->w->cols;
  const pairs_words p = pairs_ready();
  const uint16_t *x = in->pairs + i0 * in->code_stride;
  const uint8_t *w[PAIRS_COLS];
  vf sums[PAIRS_ROWS][PAIRS_COLS];
  UNROLL
  for (int j = 0; j < cols; j++) {
    w[j] = (const uint8_t *)a->w->data + (n0 + (size_t)j) * a->w->row_bytes;
    UNROLL
    for (int i = 0; i < rows; i++) sums[i][j] = v_zero();
  }
  for (size_t c = 0; c < width; c += PAIRS_UNIT) {
    __m512i wide[PAIRS_COLS][2];
    if (i0 == 0) fp8_ask(cols, 0, &ahead); /* the other rows of x find the codes in L1 */
    UNROLL
    for (int j = 0; j < cols; j++) {
      pairs_widen(&p, pairs_codes(w[j] + c, width - c), wide[j]);
    }
    UNROLL
    for (int h = 0; h < 2; h++) {
      UNROLL
      for (int i = 0; i < rows; i++) {
        const __m512i xv = _mm512_loadu_si512(x + (size_t)i * in->code_stride + c + (size_t)h * PAIRS_UNIT / 2);
        UNROLL
        for (int j = 0; j < cols; j++) sums[i][j] = pairs_fma(sums[i][j], xv, wide[j][h]);
      }
    }
  }
  float scales[PAIRS_COLS] = {0};
  for (int j = 0; j < cols; j++) scales[j] = weight_row_scale(a->w, n0 + (size_t)j);
  few_finish_tile(rows, cols, a, in, i0, n0, sums, scales);
}

FEW_OF_LONG_TILES(few_pairs, pairs_few, 4)

/* -- many rows */

/* Two bytes a column, rows of whole units. */
static void pairs_fill(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col, size_t cols,
                       size_t stride, void *panel) {
  const pairs_words p = pairs_ready();
  uint16_t *to = panel;
  (void)k;
  for (size_t i = 0; i < rows; i++, to += stride) {
    const uint8_t *codes = (const uint8_t *)w->data + (row + i) * w->row_bytes + col;
    for (size_t c = 0; c < cols; c += PAIRS_UNIT) {
      __m512i wide[2];
      pairs_widen(&p, pairs_codes(codes + c, cols - c), wide);
      _mm512_storeu_si512(to + c, wide[0]);
      _mm512_storeu_si512(to + c + PAIRS_UNIT / 2, wide[1]);
    }
  }
  memset(to, 0, (CPU_PANEL_GROUP - 1 - (rows + CPU_PANEL_GROUP - 1) % CPU_PANEL_GROUP) * stride * sizeof *to);
}

ALWAYS_INLINE void pairs_tile(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  const uint16_t *x = (const uint16_t *)job->codes + row * job->code_stride;
  const uint16_t *w = (const uint16_t *)job->w + col * job->w_stride;
  panel_sums sums;
  panel_begin(tile_rows, job, lanes, sums);
  for (size_t c = 0; c < job->w_stride; c += PAIRS_UNIT / 2) {
    __m512i wv[CPU_PANEL_GROUP];
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) wv[j] = _mm512_loadu_si512(w + (size_t)j * job->w_stride + c);
    UNROLL
    for (int i = 0; i < tile_rows; i++) {
      const __m512i xv = _mm512_loadu_si512(x + (size_t)i * job->code_stride + c);
      UNROLL
      for (int j = 0; j < CPU_PANEL_GROUP; j++) sums[i][j] = pairs_fma(sums[i][j], xv, wv[j]);
    }
  }
  panel_end(tile_rows, job, row, col, lanes, sums);
}

PANEL_OF_TILES(pairs_panel, pairs_tile)

static const cpu_panel pairs_form = {.column_bytes = sizeof(uint16_t),
                                     .most_columns = 2 * CPU_PANEL_K,
                                     .unit = PAIRS_UNIT,
                                     .codes = 1,
                                     .pairs = 1,
                                     .whole = 1,
                                     .fill = pairs_fill,
                                     .multiply = pairs_panel};

/* BF16 codes of rows, in the order of pairs_widen: 8 of each 16 go to each vector. They are exact: high halves. */
static void pairs_order(const float *values, uint16_t *codes, size_t count) {
  for (size_t c = 0; c < count; c += 16) {
    const __m512i bits = _mm512_srli_epi32(_mm512_castps_si512(v_load(values + c)), 16);
    const __m256i words = _mm512_cvtepi32_epi16(bits);
    uint16_t *to = codes + c / PAIRS_UNIT * PAIRS_UNIT + c % PAIRS_UNIT / 2;
    _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(words));
    _mm_storeu_si128((__m128i *)(void *)(to + PAIRS_UNIT / 2), _mm256_extracti128_si256(words, 1));
  }
}

static void pairs_kernels(cpu_kernels *k) {
  k->bf16_codes = pairs_order;
  k->integer_pairs = 1;
  for (input_mode mode = INPUT_E4M3; mode <= INPUT_INT4; mode++)
    k->product[0][WEIGHT_FP8][mode] = (cpu_product){few_pairs, &pairs_form};
}

#endif
