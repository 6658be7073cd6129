/* backend/cpu/nvfp4_pairs.h: NVFP4 times rows of codes, both as BF16: AVX-512 with AVX512_BF16.
 *
 * The value of a weight times the scale of its block has at most 6 significant bits and lies within 2^−10 … 2688: BF16 holds
 * it exactly. So weights become BF16 with their scales in them, and the products, the order of the sums and the panels'
 * tiles are those of fp8_pairs.h. k->nvfp4_bf16 has the 16 values of every scale; NaN scales have 16 NaN.
 */
#ifndef BACKEND_CPU_NVFP4_PAIRS_H
#define BACKEND_CPU_NVFP4_PAIRS_H

#include "backend/cpu/fp8_pairs.h"
#include "backend/cpu/packed_simd.h"

/* -- words */

typedef const uint16_t nvfp4_values[CPU_E2M1_CODES]; /* of one scale */

/* The values of two scales. */
ALWAYS_INLINE __m512i nvfp4_two(nvfp4_values *values, const uint8_t scales[2]) {
  const __m256i first = _mm256_loadu_si256((const __m256i *)(const void *)values[scales[0]]);
  return _mm512_inserti64x4(_mm512_castsi256_si512(first),
                            _mm256_loadu_si256((const __m256i *)(const void *)values[scales[1]]), 1);
}

/* 4 blocks as two vectors of pairs. A quarter of a register is a block: its 8 bytes, and the same shifted, so that even
 * and odd columns are both low halves of bytes; their high halves become the block's number. Shuffled so that each byte is
 * the low one of its column's word, they are indices of 4 × 16 values. */
ALWAYS_INLINE void nvfp4_widen(nvfp4_values *values, __m256i codes, const uint8_t scales[STEP_SCALES], __m512i to[2]) {
  const __m512i shift = _mm512_setr_epi64(0, 4, 0, 4, 0, 4, 0, 4);
  const __m512i block = _mm512_setr_epi64(0, 0, 0x1010101010101010, 0x1010101010101010, 0x2020202020202020,
                                          0x2020202020202020, 0x3030303030303030, 0x3030303030303030);
  const __m512i twice =
      _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), _mm512_castsi256_si512(codes));
  const __m512i nibbles = _mm512_and_si512(_mm512_srlv_epi64(twice, shift), _mm512_set1_epi8(15));
  const __m512i at = _mm512_or_si512(nibbles, block);
  const __m512i low = v_quarters(_mm_setr_epi8(0, -1, 8, -1, 1, -1, 9, -1, 2, -1, 10, -1, 3, -1, 11, -1));
  const __m512i high = v_quarters(_mm_setr_epi8(4, -1, 12, -1, 5, -1, 13, -1, 6, -1, 14, -1, 7, -1, 15, -1));
  const __m512i first = nvfp4_two(values, scales), second = nvfp4_two(values, scales + 2);
  to[0] = _mm512_permutex2var_epi16(first, _mm512_shuffle_epi8(at, low), second);
  to[1] = _mm512_permutex2var_epi16(first, _mm512_shuffle_epi8(at, high), second);
}

/* Step `step` of a row, of which `columns` are left: what lies beyond is zero. */
ALWAYS_INLINE void nvfp4_widen_step(nvfp4_values *values, packed_row r, size_t step, size_t columns, __m512i to[2]) {
  const uint8_t *codes = whole_step(WEIGHT_NVFP4, r, step), *scales = r.scales + step * STEP_SCALES;
  uint8_t last_codes[STEP / 2] = {0}, last_scales[STEP_SCALES] = {0};
  if (columns <= STEP - NVFP4_BLOCK) {
    const size_t blocks = (columns + NVFP4_BLOCK - 1) / NVFP4_BLOCK;
    memcpy(last_codes, codes, blocks * NVFP4_BLOCK_BYTES);
    memcpy(last_scales, scales, blocks);
    codes = last_codes, scales = last_scales;
  }
  nvfp4_widen(values, _mm256_loadu_si256((const __m256i *)(const void *)codes), scales, to);
}

/* -- few rows */

ALWAYS_INLINE void nvfp4_pairs_step(int rows, int cols, nvfp4_values *values, const packed_row r[], size_t step,
                                    size_t columns, const uint16_t *x, size_t x_stride,
                                    vf sums[PAIRS_ROWS][PAIRS_COLS]) {
  __m512i wide[PAIRS_COLS][2];
  UNROLL
  for (int j = 0; j < cols; j++) nvfp4_widen_step(values, r[j], step, columns, wide[j]);
  UNROLL
  for (int h = 0; h < 2; h++) {
    UNROLL
    for (int i = 0; i < rows; i++) {
      const __m512i xv = _mm512_loadu_si512(x + (size_t)i * x_stride + step * STEP + (size_t)h * STEP / 2);
      UNROLL
      for (int j = 0; j < cols; j++) sums[i][j] = pairs_fma(sums[i][j], xv, wide[j][h]);
    }
  }
}

ALWAYS_INLINE void nvfp4_pairs_tile(int rows, int cols, const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                                    size_t i0, size_t n0) {
  const size_t whole = a->w->cols / STEP, rest = a->w->cols % STEP;
  const uint16_t *x = in->pairs + i0 * in->code_stride;
  packed_row r[PAIRS_COLS];
  vf sums[PAIRS_ROWS][PAIRS_COLS];
  UNROLL
  for (int j = 0; j < cols; j++) {
    r[j] = row_of(a->w, n0 + (size_t)j);
    UNROLL
    for (int i = 0; i < rows; i++) sums[i][j] = v_zero();
  }
  for (size_t step = 0; step < whole; step++) {
    if (i0 == 0) step_ahead(WEIGHT_NVFP4, cols, a->w, r[0], step); /* the other rows of x find the codes in L1 */
    nvfp4_pairs_step(rows, cols, k->nvfp4_bf16, r, step, STEP, x, in->code_stride, sums);
  }
  if (rest > 0) nvfp4_pairs_step(rows, cols, k->nvfp4_bf16, r, whole, rest, x, in->code_stride, sums);
  float scales[PAIRS_COLS] = {0};
  for (int j = 0; j < cols; j++) scales[j] = cpu_row_factor(k, a->w, n0 + (size_t)j);
  few_finish_tile(rows, cols, a, in, i0, n0, sums, scales);
}

FEW_OF_LONG_TILES(few_nvfp4_pairs, nvfp4_pairs_tile, 4)

/* -- many rows */

/* Two bytes a column, rows of whole steps. */
static void nvfp4_fill(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col, size_t cols,
                       size_t stride, void *panel) {
  uint16_t *to = panel;
  for (size_t i = 0; i < rows; i++, to += stride) {
    const packed_row r = row_of(w, row + i);
    for (size_t c = 0; c < cols; c += STEP) {
      __m512i wide[2];
      nvfp4_widen_step(k->nvfp4_bf16, r, (col + c) / STEP, cols - c, wide);
      _mm512_storeu_si512(to + c, wide[0]);
      _mm512_storeu_si512(to + c + STEP / 2, wide[1]);
    }
  }
  memset(to, 0, (CPU_PANEL_GROUP - 1 - (rows + CPU_PANEL_GROUP - 1) % CPU_PANEL_GROUP) * stride * sizeof *to);
}

static const cpu_panel nvfp4_pairs_form = {.column_bytes = sizeof(uint16_t),
                                           .most_columns = 2 * CPU_PANEL_K,
                                           .unit = STEP,
                                           .codes = 1,
                                           .pairs = 1,
                                           .fill = nvfp4_fill,
                                           .multiply = pairs_panel};

static void nvfp4_pairs_kernels(cpu_kernels *k) {
  for (input_mode mode = INPUT_E4M3; mode <= INPUT_INT4; mode++)
    k->product[1][WEIGHT_NVFP4][mode] = (cpu_product){few_nvfp4_pairs, &nvfp4_pairs_form};
}

#endif
