/* backend/cpu/nvfp4_row.h: NVFP4 times few rows of FP32 (or of E4M3, whose codes are there as FP32), in the words of
 * packed_words.h.
 *
 * Values are multiplied with the scale of their block, which is exact (2 bits times 4), and added up as kernels.h says:
 * lane = column mod L. AVX-512 has the lanes in another place (v_nvfp4_x) until the end: so one row, few rows and panels of
 * widened weights give the same bits. */
#ifndef BACKEND_CPU_NVFP4_ROW_H
#define BACKEND_CPU_NVFP4_ROW_H

#include "backend/cpu/packed_simd.h"

/* Scales are looked up: NVFP4_UNIT × the value of each code of E4M3. */
static void fill_e4m3(float e4m3[CPU_E4M3_CODES]) {
  uint8_t codes[CPU_E4M3_CODES];
  for (size_t i = 0; i < CPU_E4M3_CODES; i++) codes[i] = (uint8_t)i;
  e4m3_to_f32_n(codes, e4m3, CPU_E4M3_CODES);
  for (size_t i = 0; i < CPU_E4M3_CODES; i++) e4m3[i] *= NVFP4_UNIT;
}

#define NVFP4_VF (NVFP4_AT_ONCE / LANES)

/* A step of tile_cols rows of w times x; of the last step only the vectors that hold columns. */
ALWAYS_INLINE void nvfp4_step(int tile_cols, const uint8_t *const codes[], const uint8_t *const scales[],
                              const float *e4m3, const float *x, size_t columns, vf sums[]) {
  UNROLL
  for (size_t c = 0; c < STEP; c += NVFP4_AT_ONCE) {
    vf xv[NVFP4_VF];
    UNROLL
    for (int v = 0; v < NVFP4_VF; v++) xv[v] = v_nvfp4_x(x + c + v * LANES);
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      vf value[NVFP4_VF];
      v_nvfp4_lanes(codes[j] + c / 2, value);
      UNROLL
      for (size_t v = 0; v < NVFP4_VF; v++) {
        const vf scale = v_set(e4m3[scales[j][(c + v * LANES) / NVFP4_BLOCK]]);
        if (c + v * LANES < columns) sums[j] = v_fma(v_mul(value[v], scale), xv[v], sums[j]);
      }
    }
  }
}

ALWAYS_INLINE void nvfp4_tile(int tile_cols, const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                              const float *e4m3, size_t n0) {
  const weight *w = a->w;
  const size_t whole = w->cols / STEP, rest = w->cols % STEP;
  const uint8_t *codes[NVFP4_TILE_COLS], *scales[NVFP4_TILE_COLS];
  const packed_row first = row_of(w, n0);
  vf sums[NVFP4_TILE_COLS];
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const packed_row r = row_of(w, n0 + (size_t)j);
    codes[j] = r.codes, scales[j] = r.scales, sums[j] = v_zero();
  }
  for (size_t step = 0; step < whole; step++) {
    step_ahead(WEIGHT_NVFP4, tile_cols, w, first, step);
    nvfp4_step(tile_cols, codes, scales, e4m3, in->x + step * STEP, STEP, sums);
    UNROLL
    for (int j = 0; j < tile_cols; j++) codes[j] += STEP / 2, scales[j] += STEP_SCALES;
  }
  if (rest > 0) {
    float x[STEP] = {0};
    memcpy(x, in->x + whole * STEP, rest * sizeof *x);
    const size_t blocks = (rest + NVFP4_BLOCK - 1) / NVFP4_BLOCK;
    uint8_t last_codes[NVFP4_TILE_COLS][STEP / 2] = {{0}}, last_scales[NVFP4_TILE_COLS][STEP_SCALES] = {{0}};
    for (int j = 0; j < tile_cols; j++) {
      memcpy(last_codes[j], codes[j], blocks * NVFP4_BLOCK_BYTES);
      memcpy(last_scales[j], scales[j], blocks);
      codes[j] = last_codes[j], scales[j] = last_scales[j];
    }
    nvfp4_step(tile_cols, codes, scales, e4m3, x, rest, sums);
  }
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const size_t n = n0 + (size_t)j;
    few_finish(a, in, 0, n, v_sum(v_nvfp4_in_order(sums[j])) * cpu_row_factor(k, w, n));
  }
}

/* -- few rows of x: the columns stay in their order, as each row of x would have to be brought into another */

#define NVFP4_ROWS      (LANES == 16 ? 8 : 6)               /* of x in a tile */
#define NVFP4_MOST      (LANES == 16 ? 12 : 6)              /* of x; for more w is widened as a panel: measured */
#define NVFP4_SOME_COLS (LANES == 16 ? NVFP4_TILE_COLS : 2) /* with 4 and 5 rows of x: as the registers allow */
#define NVFP4_MORE_COLS 2                                   /* with more */

typedef vf nvfp4_sums[NVFP4_ROWS][FEW_COLS_MOST];

ALWAYS_INLINE void nvfp4_rows_step(int x_rows, int tile_cols, const uint8_t *const codes[],
                                   const uint8_t *const scales[], const float *e4m3, const float *x, size_t x_stride,
                                   size_t columns, nvfp4_sums sums) {
  UNROLL
  for (size_t c = 0; c < STEP; c += NVFP4_PART) {
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      vf value[NVFP4_PART / LANES];
      v_nvfp4_part(codes[j] + c / 2, value);
      UNROLL
      for (size_t v = 0; v < NVFP4_PART / LANES; v++) {
        const size_t at = c + v * LANES;
        if (at >= columns) break;
        const vf wv = v_mul(value[v], v_set(e4m3[scales[j][at / NVFP4_BLOCK]]));
        UNROLL
        for (int i = 0; i < x_rows; i++) sums[i][j] = v_fma(wv, v_load(x + (size_t)i * x_stride + at), sums[i][j]);
      }
    }
  }
}

ALWAYS_INLINE void nvfp4_rows_tile(int x_rows, int tile_cols, const cpu_kernels *k, const linear_args *a,
                                   const cpu_input *in, const float *e4m3, size_t i0, size_t n0) {
  const weight *w = a->w;
  const size_t whole = w->cols / STEP, rest = w->cols % STEP;
  const uint8_t *codes[NVFP4_TILE_COLS], *scales[NVFP4_TILE_COLS];
  const packed_row first = row_of(w, n0);
  const float *from = in->x + i0 * in->x_stride;
  nvfp4_sums sums;
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const packed_row r = row_of(w, n0 + (size_t)j);
    codes[j] = r.codes, scales[j] = r.scales;
    UNROLL
    for (int i = 0; i < x_rows; i++) sums[i][j] = v_zero();
  }
  for (size_t step = 0; step < whole; step++) {
    if (i0 == 0) step_ahead(WEIGHT_NVFP4, tile_cols, w, first, step); /* the other rows of x find the blocks in L1 */
    nvfp4_rows_step(x_rows, tile_cols, codes, scales, e4m3, from + step * STEP, in->x_stride, STEP, sums);
    UNROLL
    for (int j = 0; j < tile_cols; j++) codes[j] += STEP / 2, scales[j] += STEP_SCALES;
  }
  if (rest > 0) {
    float x[NVFP4_ROWS * STEP] = {0};
    for (int i = 0; i < x_rows; i++)
      memcpy(x + i * STEP, from + (size_t)i * in->x_stride + whole * STEP, rest * sizeof *x);
    const size_t blocks = (rest + NVFP4_BLOCK - 1) / NVFP4_BLOCK;
    uint8_t last_codes[NVFP4_TILE_COLS][STEP / 2] = {{0}}, last_scales[NVFP4_TILE_COLS][STEP_SCALES] = {{0}};
    for (int j = 0; j < tile_cols; j++) {
      memcpy(last_codes[j], codes[j], blocks * NVFP4_BLOCK_BYTES);
      memcpy(last_scales[j], scales[j], blocks);
      codes[j] = last_codes[j], scales[j] = last_scales[j];
    }
    nvfp4_rows_step(x_rows, tile_cols, codes, scales, e4m3, x, STEP, rest, sums);
  }
  float factors[FEW_COLS_MOST] = {0};
  for (int j = 0; j < tile_cols; j++) factors[j] = cpu_row_factor(k, w, n0 + (size_t)j);
#if LANES == 16
  few_finish_tile(x_rows, tile_cols, a, in, i0, n0, sums, factors);
#else
  for (int j = 0; j < tile_cols; j++)
    for (int i = 0; i < x_rows; i++) few_finish(a, in, i0 + (size_t)i, n0 + (size_t)j, v_sum(sums[i][j]) * factors[j]);
#endif
}

#define NVFP4_FEW(x_rows, cols)                                                                                        \
  static __attribute__((noinline)) void nvfp4_few_##x_rows(const cpu_kernels *k, const linear_args *a,                 \
                                                           const cpu_input *in, size_t i0, size_t begin, size_t end) { \
    size_t n = begin;                                                                                                  \
    float e4m3[CPU_E4M3_CODES];                                                                                        \
    fill_e4m3(e4m3);                                                                                                   \
    for (; n + (cols) <= end; n += (cols)) nvfp4_rows_tile(x_rows, cols, k, a, in, e4m3, i0, n);                       \
    for (; n < end; n++) nvfp4_rows_tile(x_rows, 1, k, a, in, e4m3, i0, n);                                            \
  }
NVFP4_FEW(2, NVFP4_TILE_COLS)
NVFP4_FEW(3, NVFP4_TILE_COLS)
NVFP4_FEW(4, NVFP4_SOME_COLS)
NVFP4_FEW(5, NVFP4_SOME_COLS)
NVFP4_FEW(6, NVFP4_MORE_COLS)
#if LANES == 16
NVFP4_FEW(7, NVFP4_MORE_COLS)
NVFP4_FEW(8, NVFP4_MORE_COLS)
#define NVFP4_MORE_NAMES , nvfp4_few_7, nvfp4_few_8
#else
#define NVFP4_MORE_NAMES
#endif

static __attribute__((noinline)) void nvfp4_few_1(const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                                                  size_t i0, size_t begin, size_t end) {
  (void)i0; /* one row of x is alone */
  float e4m3[CPU_E4M3_CODES];
  fill_e4m3(e4m3);
  size_t n = begin;
  for (; n + NVFP4_TILE_COLS <= end; n += NVFP4_TILE_COLS) nvfp4_tile(NVFP4_TILE_COLS, k, a, in, e4m3, n);
  for (; n < end; n++) nvfp4_tile(1, k, a, in, e4m3, n);
}

static void nvfp4_few(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  static const few_rows_fn of[NVFP4_ROWS + 1] = {
      NULL, nvfp4_few_1, nvfp4_few_2, nvfp4_few_3, nvfp4_few_4, nvfp4_few_5, nvfp4_few_6 NVFP4_MORE_NAMES};
  if (a->m <= NVFP4_MOST)
    few_in_tiles(of, NVFP4_ROWS, k, a, in, begin, end);
  else
    k->few_any(k, a, in, begin, end);
}

static void nvfp4_kernels(cpu_kernels *k) {
  k->product[1][WEIGHT_NVFP4][INPUT_FLOAT].few = nvfp4_few;
  k->product[1][WEIGHT_NVFP4][INPUT_E4M3].few = nvfp4_few;
}

#endif
