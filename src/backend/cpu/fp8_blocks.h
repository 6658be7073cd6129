/* backend/cpu/fp8_blocks.h: FP8 weights with scales of blocks times rows of codes, both as BF16 as in fp8_pairs.h: AVX-512.
 *
 * Order of the sums. In the two vectors of pairs that 64 columns (a unit) become, lanes 4q … 4q + 3 have the columns of
 * quarter q: 16 columns, which lie in one block when a block is a multiple of 16 columns. Each lane adds up the unit's four
 * products in the order of fp8_pairs.h, starting from zero, and the unit's sum times the block's scale is added to the
 * lane's sum, fused. K is padded with zeros to 64; lanes are added up as everywhere. Other blocks are multiplied as FP32.
 */
#ifndef BACKEND_CPU_FP8_BLOCKS_H
#define BACKEND_CPU_FP8_BLOCKS_H

#include "backend/cpu/fp8_pairs.h"
#include "backend/cpu/fp8_scales.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/pairs_words.h"
#include "backend/cpu/panel_simd.h"

#define SCALED_QUARTER (PAIRS_UNIT / 4)

static int scaled_fit(const weight *w) { return w->block % SCALED_QUARTER == 0; }

/* sum + scales × the products of a unit. */
ALWAYS_INLINE vf scaled_fma(vf sum, const uint16_t *x, const __m512i w[2], vf scales) {
  const vf unit = pairs_fma_at(v_zero(), x, w[0]);
  return v_fma(pairs_fma_at(unit, x + PAIRS_UNIT / 2, w[1]), scales, sum);
}

/* Four scales, one for each quarter, into its lanes. */
ALWAYS_INLINE vf scaled_spread4(const float *scales) {
  const __m512i quarter = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(scales)), quarter);
}

/* Two scales, one for each half. */
ALWAYS_INLINE vf scaled_spread2(const float *scales) {
  const __m512i half = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  double both;
  memcpy(&both, scales, sizeof both);
  return _mm512_permutevar_ps(_mm512_castpd_ps(_mm512_set1_pd(both)), half);
}

/* A scale for each quarter of the columns [col, col + cols), at most FP8_SCALES of them; zeros up to a whole unit. */
static void scaled_quarters(const weight *w, size_t row, size_t col, size_t cols, float *to) {
  const size_t count = (cols + SCALED_QUARTER - 1) / SCALED_QUARTER, block = w->block, first = col / block;
  float raw[FP8_SCALES];
  fp8_scales(w, row, first, (col + cols - 1) / block - first + 1, 1, raw);
  const float *scale = raw;
  size_t left = block - col % block;
  for (size_t i = 0; i < count; i++) {
    to[i] = *scale;
    if ((left -= SCALED_QUARTER) == 0) scale++, left = block;
  }
  for (size_t i = count; i % 4 != 0; i++) to[i] = 0;
}

/* -- few rows */

/* The scales of a chunk's first columns on, as `lanes` finds them: one for each 16 columns, for each 32, or for a multiple
 * of 64. */
ALWAYS_INLINE vf scaled_lanes(int each, const float *scales) {
  return each == 16 ? scaled_spread4(scales) : each == 32 ? scaled_spread2(scales) : v_set(*scales);
}

/* rows rows of x from i0 times cols rows of w from n0. each: columns to a scale, 64 for all multiples of it. */
ALWAYS_INLINE void scaled_few(int rows, int cols, int each, const linear_args *a, const cpu_input *in, size_t i0,
                              size_t n0) {
  const weight *w = a->w;
  const size_t width = w->cols, chunk = FP8_SCALES * (each < 64 ? (size_t)each : w->block);
  const pairs_words p = pairs_ready();
  const uint16_t *x = in->pairs + i0 * in->code_stride;
  fp8_ahead ahead = fp8_ahead_of(w, cols, n0);
  const uint8_t *codes[PAIRS_COLS];
  float scales[PAIRS_COLS][FP8_SCALES];
  vf sums[PAIRS_ROWS][PAIRS_COLS];
  UNROLL
  for (int j = 0; j < cols; j++) {
    codes[j] = (const uint8_t *)w->data + (n0 + (size_t)j) * w->row_bytes;
    UNROLL
    for (int i = 0; i < rows; i++) sums[i][j] = v_zero();
  }
  for (size_t c = 0; c < width;) {
    const size_t first = c, end = width - c < chunk ? width : c + chunk;
    for (int j = 0; j < cols; j++) {
      if (each == 16 && w->block != 16)
        scaled_quarters(w, n0 + (size_t)j, first, end - first, scales[j]);
      else
        fp8_scales(w, n0 + (size_t)j, first / w->block, (end - first + w->block - 1) / w->block, 1, scales[j]);
    }
    size_t s = 0, left = w->block; /* scale of the chunk, and its columns to come */
    for (; c < end; c += PAIRS_UNIT) {
      if (i0 == 0) fp8_ask(cols, 1, &ahead);
      UNROLL
      for (int j = 0; j < cols; j++) {
        __m512i wide[2];
        pairs_widen(&p, pairs_codes(codes[j] + c, width - c), wide);
        const vf lanes = scaled_lanes(each, scales[j] + s);
        UNROLL
        for (int i = 0; i < rows; i++)
          sums[i][j] = scaled_fma(sums[i][j], x + (size_t)i * in->code_stride + c, wide, lanes);
      }
      if (each < 64) s += PAIRS_UNIT / (size_t)each;
      if (each == 64 && (left -= PAIRS_UNIT) == 0) s++, left = w->block;
    }
  }
  UNROLL
  for (int j = 0; j < cols; j++) {
    const size_t n = n0 + (size_t)j;
    UNROLL
    for (int i = 0; i < rows; i++) few_finish(a, in, i0 + (size_t)i, n, v_sum(sums[i][j]));
  }
}

#define SCALED_FEW(each)                                                                                               \
  ALWAYS_INLINE void scaled_few_of_##each(int rows, int cols, const cpu_kernels *k, const linear_args *a,              \
                                          const cpu_input *in, size_t i0, size_t n0) {                                 \
    (void)k;                                                                                                           \
    scaled_few(rows, cols, each, a, in, i0, n0);                                                                       \
  }                                                                                                                    \
  FEW_OF_TILES(scaled_few_##each, scaled_few_of_##each, 4)
SCALED_FEW(16)
SCALED_FEW(32)
SCALED_FEW(64)

static void few_scaled(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  const uint32_t block = a->w->block;
  (block % 64 == 0 ? scaled_few_64 : block == 32 ? scaled_few_32 : scaled_few_16)(k, a, in, begin, end);
}

/* -- many rows: a panel's row is units of two vectors of pairs and the scales of their lanes */

#define SCALED_COLUMN_BYTES 3
#define SCALED_UNIT_BYTES   (SCALED_COLUMN_BYTES * PAIRS_UNIT)
#define SCALED_CHUNK        (FP8_SCALES * SCALED_QUARTER)

static void scaled_fill(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col, size_t cols,
                        size_t stride, void *panel) {
  const pairs_words p = pairs_ready();
  char *to = panel;
  (void)k;
  for (size_t i = 0; i < rows; i++) {
    const uint8_t *codes = (const uint8_t *)w->data + (row + i) * w->row_bytes + col;
    float scales[FP8_SCALES];
    for (size_t c = 0; c < cols; c += PAIRS_UNIT, to += SCALED_UNIT_BYTES) {
      const size_t in_chunk = c % SCALED_CHUNK, left = cols - c;
      if (in_chunk == 0) scaled_quarters(w, row + i, col + c, left < SCALED_CHUNK ? left : SCALED_CHUNK, scales);
      __m512i wide[2];
      pairs_widen(&p, pairs_codes(codes + c, left), wide);
      _mm512_storeu_si512(to, wide[0]);
      _mm512_storeu_si512(to + 64, wide[1]);
      _mm512_storeu_ps(to + 128, scaled_spread4(scales + in_chunk / SCALED_QUARTER));
    }
  }
  memset(to, 0, (CPU_PANEL_GROUP - 1 - (rows + CPU_PANEL_GROUP - 1) % CPU_PANEL_GROUP) * stride * SCALED_COLUMN_BYTES);
}

/* Row by row of w: the sums of a whole tile leave registers for one unit and its scales. */
ALWAYS_INLINE void scaled_tile(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  const uint16_t *x = (const uint16_t *)job->codes + row * job->code_stride;
  const size_t stride = job->w_stride * SCALED_COLUMN_BYTES;
  const char *w = (const char *)job->w + col * stride;
  panel_sums sums;
  panel_begin(tile_rows, job, lanes, sums);
  for (size_t c = 0; c < job->w_stride; c += PAIRS_UNIT, w += SCALED_UNIT_BYTES) {
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) {
      const char *from = w + (size_t)j * stride;
      const __m512i wide[2] = {_mm512_loadu_si512(from), _mm512_loadu_si512(from + 64)};
      const vf scales = _mm512_loadu_ps(from + 128);
      UNROLL
      for (int i = 0; i < tile_rows; i++)
        sums[i][j] = scaled_fma(sums[i][j], x + (size_t)i * job->code_stride + c, wide, scales);
    }
  }
  panel_end(tile_rows, job, row, col, lanes, sums);
}

PANEL_OF_TILES(scaled_panel, scaled_tile)

#define SCALED_MOST_COLUMNS (CPU_PANEL_FLOATS * 4 / 16 / SCALED_UNIT_BYTES * PAIRS_UNIT)

static const cpu_panel scaled_form = {.column_bytes = SCALED_COLUMN_BYTES,
                                      .most_columns = SCALED_MOST_COLUMNS,
                                      .unit = PAIRS_UNIT,
                                      .codes = 1,
                                      .pairs = 1,
                                      .whole = 1,
                                      .fits = scaled_fit,
                                      .fill = scaled_fill,
                                      .multiply = scaled_panel};

static void scaled_kernels(cpu_kernels *k) {
  for (input_mode mode = INPUT_E4M3; mode <= INPUT_INT4; mode++)
    k->product[1][WEIGHT_FP8][mode] = (cpu_product){few_scaled, &scaled_form};
}

#endif
