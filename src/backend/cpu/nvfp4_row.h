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

#define NVFP4_ROWS      (LANES == 16 ? 12 : 6) /* of x in a tile; for more w is widened as a panel: measured */
#define NVFP4_SOME_COLS (LANES == 16 ? NVFP4_TILE_COLS : 2) /* with 2 to 5 rows of x: as the registers allow */
#define NVFP4_MORE_COLS 2                                   /* with more */

typedef vf nvfp4_sums[NVFP4_ROWS][FEW_COLS_MOST];

#define NVFP4_PART 32 /* columns: two blocks */

#if LANES == 16
typedef const cpu_kernels *nvfp4_scales;
typedef __m512i nvfp4_part;
ALWAYS_INLINE nvfp4_part nvfp4_open(nvfp4_scales k, const uint8_t *codes, const uint8_t *scales) {
  return v_nvfp4_blocks(codes, k->nvfp4_bf16[scales[0]], k->nvfp4_bf16[scales[1]]);
}
ALWAYS_INLINE vf nvfp4_vector(const nvfp4_part *part, int v) { return v_nvfp4_block(*part, v); }
#else
typedef const float *nvfp4_scales;
typedef struct nvfp4_part {
  nvfp4_words words;
  vf scales[NVFP4_PART / NVFP4_BLOCK];
} nvfp4_part;
ALWAYS_INLINE nvfp4_part nvfp4_open(nvfp4_scales e4m3, const uint8_t *codes, const uint8_t *scales) {
  return (nvfp4_part){v_nvfp4_words(codes), {v_set(e4m3[scales[0]]), v_set(e4m3[scales[1]])}};
}
ALWAYS_INLINE vf nvfp4_vector(const nvfp4_part *part, int v) {
  return v_mul(v_nvfp4_vector(&part->words, v), part->scales[v * LANES / NVFP4_BLOCK]);
}
#endif

ALWAYS_INLINE void nvfp4_rows_step(int x_rows, int tile_cols, const uint8_t *const codes[],
                                   const uint8_t *const scales[], nvfp4_scales e4m3, const float *x, size_t x_stride,
                                   size_t columns, nvfp4_sums sums) {
  UNROLL
  for (size_t c = 0; c < STEP; c += NVFP4_PART) {
    nvfp4_part part[FEW_COLS_MOST];
    UNROLL
    for (int j = 0; j < tile_cols; j++) part[j] = nvfp4_open(e4m3, codes[j] + c / 2, scales[j] + c / NVFP4_BLOCK);
    UNROLL
    for (int v = 0; v < NVFP4_PART / LANES; v++) {
      const size_t at = c + (size_t)v * LANES;
      vf w[FEW_COLS_MOST];
      if (at >= columns) break;
      UNROLL
      for (int j = 0; j < tile_cols; j++) w[j] = nvfp4_vector(&part[j], v);
      UNROLL
      for (int i = 0; i < x_rows; i++) {
        const vf xv = v_load(x + (size_t)i * x_stride + at);
        UNROLL
        for (int j = 0; j < tile_cols; j++) sums[i][j] = v_fma(w[j], xv, sums[i][j]);
      }
    }
  }
}

ALWAYS_INLINE void nvfp4_rows_tile(int x_rows, int tile_cols, const cpu_kernels *k, const linear_args *a,
                                   const cpu_input *in, nvfp4_scales e4m3, size_t i0, size_t n0) {
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

/* The scales of `tile`s: AVX-512 has them in its table. */
#if LANES == 16
#define NVFP4_SCALES const nvfp4_scales e4m3 = k;
#else
#define NVFP4_SCALES                                                                                                   \
  float e4m3[CPU_E4M3_CODES];                                                                                          \
  fill_e4m3(e4m3);
#endif
#define NVFP4_FEW(x_rows, cols)                                                                                        \
  static __attribute__((noinline)) void nvfp4_few_##x_rows(const cpu_kernels *k, const linear_args *a,                 \
                                                           const cpu_input *in, size_t i0, size_t begin, size_t end) { \
    size_t n = begin;                                                                                                  \
    NVFP4_SCALES                                                                                                       \
    for (; n + (cols) <= end; n += (cols)) nvfp4_rows_tile(x_rows, cols, k, a, in, e4m3, i0, n);                       \
    for (; n < end; n++) nvfp4_rows_tile(x_rows, 1, k, a, in, e4m3, i0, n);                                            \
  }
NVFP4_FEW(2, NVFP4_SOME_COLS)
NVFP4_FEW(3, NVFP4_SOME_COLS)
NVFP4_FEW(4, NVFP4_SOME_COLS)
NVFP4_FEW(5, NVFP4_SOME_COLS)
NVFP4_FEW(6, NVFP4_MORE_COLS)
#if LANES == 16
NVFP4_FEW(7, NVFP4_MORE_COLS)
NVFP4_FEW(8, NVFP4_MORE_COLS)
NVFP4_FEW(9, NVFP4_MORE_COLS)
NVFP4_FEW(10, NVFP4_MORE_COLS)
NVFP4_FEW(11, NVFP4_MORE_COLS)
NVFP4_FEW(12, NVFP4_MORE_COLS)
#define NVFP4_MORE_NAMES , nvfp4_few_7, nvfp4_few_8, nvfp4_few_9, nvfp4_few_10, nvfp4_few_11, nvfp4_few_12
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
  if (a->m <= NVFP4_ROWS)
    few_in_tiles(of, NVFP4_ROWS, k, a, in, begin, end);
  else
    k->few_any(k, a, in, begin, end);
}

static void nvfp4_kernels(cpu_kernels *k) {
#if LANES == 16
  for (size_t scale = 0; scale < CPU_E4M3_CODES; scale++) {
    for (size_t code = 0; code < CPU_E2M1_CODES; code++) /* exact, so it may be to nearest */
      k->nvfp4_bf16[scale][code] = bf16_from_f32(e4m3_to_f32((uint8_t)scale) * e2m1_to_f32((uint8_t)code));
  }
#endif
  k->product[1][WEIGHT_NVFP4][INPUT_FLOAT].few = nvfp4_few;
  k->product[1][WEIGHT_NVFP4][INPUT_E4M3].few = nvfp4_few;
}

#endif
