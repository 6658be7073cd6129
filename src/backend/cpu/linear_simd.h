/* backend/cpu/linear_simd.h: the tuned matrix products, written once in the vector words of simd_avx2.h or
 * simd_avx512.h and compiled by kernels_avx2.c and kernels_avx512.c. kernels.h states the order of the sums. */
#ifndef BACKEND_CPU_LINEAR_SIMD_H
#define BACKEND_CPU_LINEAR_SIMD_H

#include <string.h>

#include "backend/cpu/few_simd.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/panel_simd.h"
#include "backend/cpu/simd.h"

/* -- widening */

ALWAYS_INLINE vf load_as(weight_format format, const char *from) {
  if (format == WEIGHT_BF16) return v_load_bf16(from);
  if (format == WEIGHT_F16) return v_load_f16(from);
  return v_load((const float *)(const void *)from);
}

ALWAYS_INLINE vf load_part_as(weight_format format, const char *from, size_t count) {
  if (format == WEIGHT_BF16) return v_load_part_bf16(from, count);
  if (format == WEIGHT_F16) return v_load_part_f16(from, count);
  return v_load_part((const float *)(const void *)from, count);
}

ALWAYS_INLINE void widen_as(weight_format format, const void *from, float *to, size_t count) {
  const char *codes = from;
  const size_t bytes = weight_element_bytes(format);
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) v_store(to + i, load_as(format, codes + i * bytes));
  if (i < count) v_store_part(to + i, load_part_as(format, codes + i * bytes, count - i), count - i);
}

static void widen_f16_n(const void *from, float *to, size_t count) { widen_as(WEIGHT_F16, from, to, count); }

static void widen_bf16(const weight *w, size_t row, size_t col, float *to, size_t count) {
  widen_as(WEIGHT_BF16, (const char *)w->data + row * w->row_bytes + 2 * col, to, count);
}
static void widen_f16(const weight *w, size_t row, size_t col, float *to, size_t count) {
  widen_f16_n((const char *)w->data + row * w->row_bytes + 2 * col, to, count);
}

static void narrow_f16(const float *from, uint16_t *to, size_t count) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) v_store_f16(to + i, v_load(from + i));
  if (i < count) v_store_part_f16(to + i, v_load_part(from + i, count - i), count - i);
}

/* -- few rows of x: the weights are read once, as they are stored */

typedef vf few_sums[FEW_TILE_ROWS][FEW_PAIR_COLS];

/* One step: LANES columns, or the first part of them where part is not 0. */
ALWAYS_INLINE void few_step(weight_format format, int tile_rows, int tile_cols, const float *x, size_t x_stride,
                            const char *w, size_t w_stride, size_t part, few_sums sums) {
  vf wv[FEW_PAIR_COLS];
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const char *from = w + (size_t)j * w_stride;
    wv[j] = part == 0 ? load_as(format, from) : load_part_as(format, from, part);
  }
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    const float *row = x + (size_t)i * x_stride;
    vf xv = part == 0 ? v_load(row) : v_load_part(row, part);
    UNROLL
    for (int j = 0; j < tile_cols; j++) sums[i][j] = v_fma(wv[j], xv, sums[i][j]);
  }
}

/* tile_rows rows of x from i0 times tile_cols rows of w from n0. */
ALWAYS_INLINE void few_tile(weight_format format, int tile_rows, int tile_cols, const linear_args *a,
                            const cpu_input *in, size_t i0, size_t n0) {
  const size_t bytes = weight_element_bytes(format), k = a->w->cols, w_stride = a->w->row_bytes;
  const size_t line = LINE / bytes; /* elements */
  const float *x = in->x + i0 * in->x_stride;
  const char *w = (const char *)a->w->data + n0 * w_stride, *next = w + few_ahead(tile_cols, w_stride);
  few_sums sums;
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    UNROLL
    for (int j = 0; j < tile_cols; j++) sums[i][j] = v_zero();
  }
  size_t c = 0;
  for (; c + line <= k; c += line) {
    UNROLL
    for (int j = 0; j < tile_cols && i0 == 0; j++) __builtin_prefetch(next + j * LINE, 0, 3);
    next += tile_cols * LINE;
    UNROLL
    for (size_t s = 0; s < line; s += LANES)
      few_step(format, tile_rows, tile_cols, x + c + s, in->x_stride, w + (c + s) * bytes, w_stride, 0, sums);
  }
  for (; c + LANES <= k; c += LANES)
    few_step(format, tile_rows, tile_cols, x + c, in->x_stride, w + c * bytes, w_stride, 0, sums);
  if (c < k) few_step(format, tile_rows, tile_cols, x + c, in->x_stride, w + c * bytes, w_stride, k - c, sums);
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    UNROLL
    for (int j = 0; j < tile_cols; j++) few_finish(a, in, i0 + (size_t)i, n0 + (size_t)j, v_sum(sums[i][j]));
  }
}

/* m rows of x from i0 times rows [begin, end) of w. Rows of w beyond the last whole tile are few: one of them and one of x at
 * a time. */
ALWAYS_INLINE void few_rows(weight_format format, int m, int tile_cols, const linear_args *a, const cpu_input *in,
                            size_t i0, size_t begin, size_t end) {
  size_t n = begin;
  for (; n + (size_t)tile_cols <= end; n += (size_t)tile_cols) few_tile(format, m, tile_cols, a, in, i0, n);
  for (; n < end; n++)
    for (size_t i = 0; i < (size_t)m; i++) few_tile(format, 1, 1, a, in, i0 + i, n);
}

#define FEW_ROWS(name, format, m, cols)                                                                                \
  static __attribute__((noinline)) void name##_##m(const cpu_kernels *k, const linear_args *a, const cpu_input *in,    \
                                                   size_t i0, size_t begin, size_t end) {                              \
    (void)k;                                                                                                           \
    few_rows(format, m, cols, a, in, i0, begin, end);                                                                  \
  }
#define FEW_DENSE(name, format)                                                                                        \
  FEW_ROWS(name, format, 1, FEW_ROW_COLS)                                                                              \
  FEW_ROWS(name, format, 2, FEW_PAIR_COLS)                                                                             \
  FEW_ROWS(name, format, 3, FEW_TILE_COLS)                                                                             \
  FEW_ROWS(name, format, 4, FEW_TILE_COLS)                                                                             \
  FEW_ROWS(name, format, 5, FEW_TILE_COLS)                                                                             \
  FEW_ROWS(name, format, 6, FEW_TILE_COLS)                                                                             \
  static void name(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {        \
    static const few_rows_fn of[FEW_TILE_ROWS + 1] = {                                                                 \
        NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6};                                             \
    few_in_tiles(of, FEW_TILE_ROWS, k, a, in, begin, end);                                                             \
  }

FEW_DENSE(few_f32, WEIGHT_F32)
FEW_DENSE(few_bf16, WEIGHT_BF16)
FEW_DENSE(few_f16, WEIGHT_F16)

/* -- many rows of x: a panel of widened weights */

ALWAYS_INLINE void panel_step(int tile_rows, const float *x, size_t x_stride, const float *w, size_t w_stride,
                              size_t part, panel_sums sums) {
  vf wv[CPU_PANEL_GROUP];
  UNROLL
  for (int j = 0; j < CPU_PANEL_GROUP; j++) wv[j] = v_load(w + (size_t)j * w_stride);
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    const float *row = x + (size_t)i * x_stride;
    vf xv = part == 0 ? v_load(row) : v_load_part(row, part);
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) sums[i][j] = v_fma(wv[j], xv, sums[i][j]);
  }
}

/* tile_rows rows of x times 4 rows of w. */
ALWAYS_INLINE void panel_tile(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  const float *x = job->x + row * job->x_stride, *w = job->w + col * job->w_stride;
  panel_sums sums;
  panel_begin(tile_rows, job, lanes, sums);
  size_t c = 0;
  for (; c + LANES <= job->k; c += LANES) panel_step(tile_rows, x + c, job->x_stride, w + c, job->w_stride, 0, sums);
  if (c < job->k) panel_step(tile_rows, x + c, job->x_stride, w + c, job->w_stride, job->k - c, sums);
  panel_end(tile_rows, job, row, col, lanes, sums);
}

PANEL_OF_TILES(panel, panel_tile)

static const cpu_panel float_panel = {.column_bytes = sizeof(float),
                                      .most_columns = CPU_PANEL_K,
                                      .unit = LANES,
                                      .fill = kernels_fill_float,
                                      .multiply = panel};

/* Any format: rows of w are widened as a panel. */
static void few_widened(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  kernels_few_panel(&float_panel, k, a, in, begin, end);
}

static void linear_kernels(cpu_kernels *k) {
  k->lanes = LANES;
  k->tile_rows = PANEL_TILE_ROWS;
  k->widen[WEIGHT_BF16] = widen_bf16;
  k->widen[WEIGHT_F16] = widen_f16;
  k->narrow_f16 = narrow_f16;
  k->few_any = few_widened;
  kernels_set_float(k, (cpu_product){few_widened, &float_panel});
  for (size_t mode = 0; mode < CPU_INPUT_MODES; mode++) {
    k->product[0][WEIGHT_F32][mode].few = few_f32;
    k->product[0][WEIGHT_BF16][mode].few = few_bf16;
    k->product[0][WEIGHT_F16][mode].few = few_f16;
  }
}

#endif
