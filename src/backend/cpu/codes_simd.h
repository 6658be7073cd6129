/* backend/cpu/codes_simd.h: NVFP4, INT8 2:4 and INT4 2:4 times rows of INT8 and INT4 codes, in the words of
 * packed_words.h.
 *
 * v_dot64 multiplies and adds 64 columns exactly, into L lanes of 32 bits. Without scales of blocks they are added up as
 * integers. NVFP4's L sums of each 64 columns become FP32 (exact: below 2^24), are multiplied with their scales and
 * added to the L lanes of the row, in the order of the columns; in the end the lanes are added as a tree. One row and
 * panels do the same operations. blocks_simd.h has INT4 2:4 with scales of blocks. The codes of x are even columns first
 * in each 64, see packed_avx2.h. */
#ifndef BACKEND_CPU_CODES_SIMD_H
#define BACKEND_CPU_CODES_SIMD_H

#include <math.h>
#include <string.h>

#include "backend/cpu/few_simd.h"
#include "backend/cpu/packed_simd.h"
#include "backend/cpu/panel_simd.h"
#include "backend/cpu/span_simd.h"

/* -- panels */

ALWAYS_INLINE void fill_row(weight_format format, int blocked, const weight *w, size_t row, size_t col, size_t cols,
                            int8_t *to, float *to_scales) {
  const packed_row r = row_of(w, row);
  const size_t first = col / STEP, end = (col + cols + STEP - 1) / STEP;
  scale_run p;
  last_step last;
  for (size_t step = first; step < end; step++, to += STEP, to_scales += LANES) {
    v_store_codes(to, step_codes(format, step_of(format, w, r, step, &last)));
    if (!blocked) continue;
    if ((step - first) % RUN_STEPS == 0)
      scales_fill(format, w, r, step, end - step < RUN_STEPS ? end - step : RUN_STEPS, &p);
    v_store(to_scales, v_scales_quarters(scales_at(format, &p, &p, step, 0)));
  }
}

/* rows × stride codes, each row followed by its scales. */
ALWAYS_INLINE void fill_codes(weight_format format, int blocked, const weight *w, size_t row, size_t rows, size_t col,
                              size_t cols, size_t stride, void *panel) {
  for (size_t i = 0; i < (rows + CPU_PANEL_GROUP - 1) / CPU_PANEL_GROUP * CPU_PANEL_GROUP; i++) {
    int8_t *to = (int8_t *)panel + i * stride * CODES_BYTES;
    if (i < rows)
      fill_row(format, blocked, w, row + i, col, cols, to, (float *)(void *)(to + stride));
    else
      memset(to, 0, stride * CODES_BYTES);
  }
}

typedef union lane_sums {
  vf f;
  vi i;
} lane_sums;

ALWAYS_INLINE void codes_add(int blocked, vf *f, vi *i, vi dot, vf scales) {
  if (blocked)
    *f = v_fma(vi_float(dot), scales, *f);
  else
    *i = vi_add(*i, dot);
}

/* tile_rows rows of x times 4 rows of w. lanes: this tile's sums between blocks of K. */
ALWAYS_INLINE void codes_tile(weight_format format, int blocked, int tile_rows, const panel_job *job, size_t row,
                              size_t col, float *lanes) {
  const size_t w_stride = job->w_stride * CODES_BYTES;
  const int8_t *x = (const int8_t *)job->codes + row * job->code_stride;
  const int8_t *w = (const int8_t *)(const void *)job->w + col * w_stride;
  lane_sums sums[CODES_TILE_ROWS][CPU_PANEL_GROUP];
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++)
      sums[i][j].i = job->first ? vi_zero() : vi_load(lanes + (i * CPU_PANEL_GROUP + j) * LANES);
  }
  for (size_t c = 0; c < job->k; c += STEP) {
    input64 xv[CODES_TILE_ROWS];
    UNROLL
    for (int i = 0; i < tile_rows; i++)
      xv[i] = step_input(format, job->weight->pairs, x + (size_t)i * job->code_stride + c);
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) {
      const int8_t *from = w + (size_t)j * w_stride;
      const codes64 wv = v_load_codes(from + c);
      const float *at = (const float *)(const void *)(from + job->w_stride) + c / STEP * LANES;
      const vf scales = blocked ? v_load(at) : v_zero();
      UNROLL
      for (int i = 0; i < tile_rows; i++) codes_add(blocked, &sums[i][j].f, &sums[i][j].i, v_dot64(wv, xv[i]), scales);
    }
  }
  for (int i = 0; i < tile_rows; i++) {
    for (int j = 0; j < CPU_PANEL_GROUP; j++) {
      const size_t y_row = row + (size_t)i, y_col = col + (size_t)j;
      if (!job->last) {
        vi_store(lanes + (i * CPU_PANEL_GROUP + j) * LANES, sums[i][j].i);
      } else if (y_col < job->n) {
        float sum = codes_sum(blocked, sums[i][j].f, sums[i][j].i) * job->w_scales[y_col] * job->x_scales[y_row];
        if (job->bias) sum += job->bias[y_col];
        if (job->residual) sum += job->residual[y_row * job->y_stride + y_col];
        job->y[y_row * job->y_stride + y_col] = sum;
      }
    }
  }
}

ALWAYS_INLINE void codes_tile_nvfp4(int rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  codes_tile(WEIGHT_NVFP4, 1, rows, job, row, col, lanes);
}
/* Panels of both formats hold a byte a column. */
ALWAYS_INLINE void codes_tile_24(int rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  codes_tile(WEIGHT_INT8_24, 0, rows, job, row, col, lanes);
}

CODES_PANEL(codes_panel_nvfp4, codes_tile_nvfp4)
CODES_PANEL(codes_panel_24, codes_tile_24)

/* -- one row of x */

/* NaN when one of NVFP4's scales of a row is: then every product with the row is. v_scales_e4m3 does not know it. */
ALWAYS_INLINE float nan_of(const weight *w, packed_row r) {
  const size_t blocks = (w->cols + NVFP4_BLOCK - 1) / NVFP4_BLOCK;
  size_t i = 0;
  int found = 0;
  for (; i + sizeof(vi) <= blocks; i += sizeof(vi)) found |= v_any_nan_e4m3(r.scales + i);
  for (; i < blocks; i++) found |= (r.scales[i] & 0x7f) == 0x7f;
  return found ? NAN : 0;
}

ALWAYS_INLINE void codes_row_tile(weight_format format, int blocked, int tile_cols, const cpu_kernels *k,
                                  const linear_args *a, const cpu_input *in, size_t n0) {
  const weight *w = a->w;
  const size_t whole = w->cols / STEP, rest = w->cols % STEP;
  const int8_t *x = in->codes;
  packed_row r[TILE_COLS];
  vf floats[TILE_COLS];
  vi ints[TILE_COLS];
  UNROLL
  for (int j = 0; j < tile_cols; j++) r[j] = row_of(w, n0 + (size_t)j), floats[j] = v_zero(), ints[j] = vi_zero();
  for (size_t step = 0; step < whole; step++) {
    const input64 xv = step_input(format, w->pairs, x + step * STEP);
    step_ahead(format, tile_cols, w, r[0], step);
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      const vf scales = blocked ? v_scales_e4m3(r[j].scales + step * STEP_SCALES) : v_zero();
      codes_add(blocked, &floats[j], &ints[j], v_dot64(step_codes(format, whole_step(format, r[j], step)), xv), scales);
    }
  }
  if (rest > 0) {
    const input64 xv = step_input(format, w->pairs, x + whole * STEP);
    for (int j = 0; j < tile_cols; j++) {
      last_step last;
      uint8_t codes[STEP_SCALES] = {0};
      vf scales = v_zero();
      if (blocked) {
        memcpy(codes, r[j].scales + whole * STEP_SCALES, (rest + NVFP4_BLOCK - 1) / NVFP4_BLOCK);
        scales = v_scales_e4m3(codes);
      }
      codes_add(blocked, &floats[j], &ints[j], v_dot64(step_codes(format, step_of(format, w, r[j], whole, &last)), xv),
                scales);
    }
  }
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const size_t n = n0 + (size_t)j;
    float sum = codes_sum(blocked, floats[j], ints[j]);
    if (format == WEIGHT_NVFP4) sum = sum * (NVFP4_UNIT * E4M3_UNIT) + nan_of(w, r[j]);
    few_finish(a, in, 0, n, sum * cpu_row_factor(k, w, n));
  }
}

/* -- few rows of x: a row of w has its signs taken apart for all of them */

#define CODES_ROWS 6 /* of x in a tile */

/* x_rows rows of x from i0 times tile_cols rows of w. */
ALWAYS_INLINE void codes_rows_tile(weight_format format, int blocked, int x_rows, int tile_cols, const cpu_kernels *k,
                                   const linear_args *a, const cpu_input *in, size_t i0, size_t n0) {
  const weight *w = a->w;
  const size_t steps = (w->cols + STEP - 1) / STEP, whole = w->cols / STEP, x_stride = in->code_stride;
  const int8_t *x = (const int8_t *)in->codes + i0 * x_stride;
  packed_row r[TILE_COLS];
  vf floats[CODES_ROWS][TILE_COLS];
  vi ints[CODES_ROWS][TILE_COLS];
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    r[j] = row_of(w, n0 + (size_t)j);
    UNROLL
    for (int i = 0; i < x_rows; i++) floats[i][j] = v_zero(), ints[i][j] = vi_zero();
  }
  for (size_t step = 0; step < steps; step++) {
    if (i0 == 0) step_ahead(format, tile_cols, w, r[0], step); /* the other rows of x find the codes near */
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      const uint8_t *codes = whole_step(format, r[j], step), *scales = r[j].scales + step * STEP_SCALES;
      last_step last;
      uint8_t last_scales[STEP_SCALES] = {0};
      if (format == WEIGHT_NVFP4 && step == whole) {
        codes = step_of(format, w, r[j], step, &last);
        memcpy(last_scales, scales, (w->cols % STEP + NVFP4_BLOCK - 1) / NVFP4_BLOCK);
        scales = last_scales;
      }
      const input64 wv = v_input(step_codes(format, codes));
      const vf factors = blocked ? v_scales_e4m3(scales) : v_zero();
      UNROLL
      for (int i = 0; i < x_rows; i++) {
        const codes64 xv = step_x(format, w->pairs, x + (size_t)i * x_stride + step * STEP);
        codes_add(blocked, &floats[i][j], &ints[i][j], v_dot64(xv, wv), factors);
      }
    }
  }
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const size_t n = n0 + (size_t)j;
    const float factor = cpu_row_factor(k, w, n), nan = format == WEIGHT_NVFP4 ? nan_of(w, r[j]) : 0;
    UNROLL
    for (int i = 0; i < x_rows; i++) {
      float sum = codes_sum(blocked, floats[i][j], ints[i][j]);
      if (format == WEIGHT_NVFP4) sum = sum * (NVFP4_UNIT * E4M3_UNIT) + nan;
      few_finish(a, in, i0 + (size_t)i, n, sum * factor);
    }
  }
}

#define CODES_TILE(name, format, blocked, x_rows, cols)                                                                \
  static __attribute__((noinline)) void name##_##x_rows(const cpu_kernels *k, const linear_args *a,                    \
                                                        const cpu_input *in, size_t i0, size_t begin, size_t end) {    \
    size_t n = begin;                                                                                                  \
    for (; n + (cols) <= end; n += (cols)) codes_rows_tile(format, blocked, x_rows, cols, k, a, in, i0, n);            \
    for (; n < end; n++) codes_rows_tile(format, blocked, x_rows, 1, k, a, in, i0, n);                                 \
  }
#define CODES_TILES(name, format, blocked)                                                                             \
  CODES_TILE(name, format, blocked, 2, TILE_COLS)                                                                      \
  CODES_TILE(name, format, blocked, 3, 2)                                                                              \
  CODES_TILE(name, format, blocked, 4, 2)                                                                              \
  CODES_TILE(name, format, blocked, 5, 2)                                                                              \
  CODES_TILE(name, format, blocked, 6, 2)                                                                              \
  static const few_rows_fn name##_of[CODES_ROWS + 1] = {NULL, NULL, name##_2, name##_3, name##_4, name##_5, name##_6};
CODES_TILES(codes_tile_few_nvfp4, WEIGHT_NVFP4, 1)
CODES_TILES(codes_tile_few_int8, WEIGHT_INT8_24, 0)
CODES_TILES(codes_tile_few_int4, WEIGHT_INT4_24, 0)

/* Panels of 2:4 take less reading than codes: with more rows they are better. */
ALWAYS_INLINE void few_codes(weight_format format, int blocked, const cpu_panel *form, const cpu_kernels *k,
                             const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  const few_rows_fn *of = format == WEIGHT_NVFP4     ? codes_tile_few_nvfp4_of
                          : format == WEIGHT_INT8_24 ? codes_tile_few_int8_of
                                                     : codes_tile_few_int4_of;
  if (a->m > CODES_ROWS && format != WEIGHT_NVFP4) {
    kernels_few_panel(form, k, a, in, begin, end);
    return;
  }
  if (a->m > 1) {
    few_in_tiles(of, CODES_ROWS, k, a, in, begin, end);
    return;
  }
  size_t n = begin;
  for (; n + TILE_COLS <= end; n += TILE_COLS) codes_row_tile(format, blocked, TILE_COLS, k, a, in, n);
  for (; n < end; n++) codes_row_tile(format, blocked, 1, k, a, in, n);
}

/* Even columns first in each step. */
static void even_first(int8_t *codes, size_t count) {
  for (size_t c = 0; c < count; c += STEP) {
    int8_t step[STEP];
    memcpy(step, codes + c, STEP);
    for (size_t i = 0; i < STEP / 2; i++) {
      codes[c + i] = step[2 * i];
      codes[c + STEP / 2 + i] = step[2 * i + 1];
    }
  }
}

/* -- the table */

#define CODES_FORM .column_bytes = CODES_BYTES, .most_columns = CODES_MOST, .unit = STEP, .codes = 1

PACKED_KERNELS(codes_nvfp4, WEIGHT_NVFP4, 1, INPUT_INT8, INPUT_INT4, few_codes, fill_codes, codes_panel_nvfp4,
               CODES_FORM)
PACKED_KERNELS(codes_int8_24, WEIGHT_INT8_24, 0, INPUT_INT8, INPUT_INT4, few_codes, fill_codes, codes_panel_24,
               CODES_FORM)
PACKED_KERNELS(codes_int4_24, WEIGHT_INT4_24, 0, INPUT_INT8, INPUT_INT4, few_codes, fill_codes, codes_panel_24,
               CODES_FORM)

static void codes_kernels(cpu_kernels *k) {
  k->int8_codes = even_first;
  codes_nvfp4_set(k);
  codes_int8_24_set(k);
  codes_int4_24_set(k);
}

#endif
