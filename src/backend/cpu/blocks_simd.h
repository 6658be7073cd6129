/* backend/cpu/blocks_simd.h: INT4 2:4 with scales of blocks times rows of INT8 and INT4 codes, in the words of
 * packed_words.h.
 *
 * Order of the sums: a span is 8·L columns, lane l of it columns 8l … 8l + 7. Each lane's sum is exact in 32 bits,
 * becomes FP32, is multiplied with the scale of its block and added (fused) to the lane of the row, in the order of the
 * columns; in the end the lanes are added as a tree. One row and panels do the same operations. */
#ifndef BACKEND_CPU_BLOCKS_SIMD_H
#define BACKEND_CPU_BLOCKS_SIMD_H

#include <string.h>

#include "backend/cpu/few_simd.h"
#include "backend/cpu/packed_simd.h"
#include "backend/cpu/panel_simd.h"
#include "backend/cpu/span_simd.h"

/* The codes of a span of w and of x, of which `left` columns are there. */
ALWAYS_INLINE void span_codes(packed_row r, size_t span, size_t left, codes64 to[SPAN_STEPS]) {
  static const int8_t none[STEP] = {0};
  UNROLL
  for (size_t i = 0; i < SPAN_STEPS; i++) {
    const uint8_t *at = whole_step(WEIGHT_INT4_24, r, span * SPAN_STEPS + i);
    to[i] = i * STEP < left ? step_codes(WEIGHT_INT4_24, at) : v_load_codes(none);
  }
}
ALWAYS_INLINE void span_input(const weight *w, const int8_t *x, size_t left, input64 to[SPAN_STEPS]) {
  UNROLL
  for (size_t i = 0; i < SPAN_STEPS; i++)
    to[i] = step_input(WEIGHT_INT4_24, w->pairs, i * STEP < left ? x + i * STEP : x);
}
ALWAYS_INLINE vi span_dot(const codes64 w[SPAN_STEPS], const input64 x[SPAN_STEPS]) {
  vi dots[SPAN_STEPS];
  UNROLL
  for (int i = 0; i < SPAN_STEPS; i++) dots[i] = v_dot64(w[i], x[i]);
  return v_join(dots);
}

/* -- one row of x */

ALWAYS_INLINE void blocks_row_span(int tile_cols, const weight *w, const packed_row *r, const int8_t *x, size_t span,
                                   size_t left, const scale_run *p, vi of_lane, vf *sums) {
  input64 xv[SPAN_STEPS];
  span_input(w, x + span * SPAN, left, xv);
  UNROLL
  for (size_t i = 0; i < SPAN_STEPS; i++) step_ahead(WEIGHT_INT4_24, tile_cols, w, r[0], span * SPAN_STEPS + i);
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    codes64 codes[SPAN_STEPS];
    span_codes(r[j], span, left, codes);
    sums[j] = v_fma(vi_float(span_dot(codes, xv)), span_scales(&p[j], &p[0], of_lane, span), sums[j]);
  }
}

ALWAYS_INLINE void blocks_row_tile(int tile_cols, const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                                   size_t n0) {
  const weight *w = a->w;
  const size_t whole = w->cols / SPAN, rest = w->cols % SPAN;
  const vi of_lane = v_blocks_of_lanes(__builtin_ctz(w->block));
  packed_row r[TILE_COLS];
  vf sums[TILE_COLS];
  scale_run p[TILE_COLS];
  UNROLL
  for (int j = 0; j < tile_cols; j++) r[j] = row_of(w, n0 + (size_t)j), sums[j] = v_zero();
  for (size_t first = 0; first < whole; first += SPANS) {
    const size_t end = whole - first < SPANS ? whole : first + SPANS;
    for (int j = 0; j < tile_cols; j++) spans_fill(w, r[j], first, &p[j]);
    for (size_t span = first; span < end; span++)
      blocks_row_span(tile_cols, w, r, in->codes, span, SPAN, p, of_lane, sums);
  }
  if (rest > 0) {
    for (int j = 0; j < tile_cols; j++) spans_fill(w, r[j], whole, &p[j]);
    blocks_row_span(tile_cols, w, r, in->codes, whole, rest, p, of_lane, sums);
  }
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const size_t n = n0 + (size_t)j;
    few_finish(a, in, 0, n, v_sum(sums[j]) * cpu_row_factor(k, w, n));
  }
}

/* -- few rows of x: a row of w has its signs taken apart for all of them */

/* Of x; more are multiplied with panels, and those of weights with `pairs`, for which x would have to move for each tile. */
#define BLOCKS_ROWS 6

typedef vf blocks_sums[BLOCKS_ROWS][TILE_COLS];

ALWAYS_INLINE void blocks_few_span(int x_rows, int tile_cols, const weight *w, const packed_row *r, const int8_t *x,
                                   size_t x_stride, size_t span, size_t left, const scale_run *p, vi of_lane,
                                   blocks_sums sums) {
  UNROLL
  for (size_t i = 0; i < SPAN_STEPS; i++) step_ahead(WEIGHT_INT4_24, tile_cols, w, r[0], span * SPAN_STEPS + i);
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    codes64 codes[SPAN_STEPS];
    input64 wv[SPAN_STEPS];
    span_codes(r[j], span, left, codes);
    UNROLL
    for (int s = 0; s < SPAN_STEPS; s++) wv[s] = v_input(codes[s]);
    const vf scales = span_scales(&p[j], &p[0], of_lane, span);
    UNROLL
    for (int i = 0; i < x_rows; i++) {
      codes64 xv[SPAN_STEPS];
      UNROLL
      for (size_t s = 0; s < SPAN_STEPS; s++) /* a step that is not there: its w is 0 */
        xv[s] = v_load_codes(x + (size_t)i * x_stride + (s * STEP < left ? s * STEP : 0));
      sums[i][j] = v_fma(vi_float(span_dot(xv, wv)), scales, sums[i][j]);
    }
  }
}

/* All x_rows rows of x times tile_cols rows of w. */
ALWAYS_INLINE void blocks_few_tile(int x_rows, int tile_cols, const cpu_kernels *k, const linear_args *a,
                                   const cpu_input *in, size_t n0) {
  const weight *w = a->w;
  const size_t whole = w->cols / SPAN, rest = w->cols % SPAN, stride = in->code_stride;
  const vi of_lane = v_blocks_of_lanes(__builtin_ctz(w->block));
  const int8_t *x = in->codes;
  packed_row r[TILE_COLS];
  blocks_sums sums;
  scale_run p[TILE_COLS];
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    r[j] = row_of(w, n0 + (size_t)j);
    UNROLL
    for (int i = 0; i < x_rows; i++) sums[i][j] = v_zero();
  }
  for (size_t span = 0; span < whole; span++, x += SPAN) {
    if (span % SPANS == 0)
      for (int j = 0; j < tile_cols; j++) spans_fill(w, r[j], span, &p[j]);
    blocks_few_span(x_rows, tile_cols, w, r, x, stride, span, SPAN, p, of_lane, sums);
  }
  if (rest > 0) {
    if (whole % SPANS == 0)
      for (int j = 0; j < tile_cols; j++) spans_fill(w, r[j], whole, &p[j]);
    blocks_few_span(x_rows, tile_cols, w, r, x, stride, whole, rest, p, of_lane, sums);
  }
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const size_t n = n0 + (size_t)j;
    const float factor = cpu_row_factor(k, w, n);
    UNROLL
    for (int i = 0; i < x_rows; i++) few_finish(a, in, (size_t)i, n, v_sum(sums[i][j]) * factor);
  }
}

#define BLOCKS_FEW(x_rows, cols)                                                                                       \
  static __attribute__((noinline)) void blocks_few_##x_rows(const cpu_kernels *k, const linear_args *a,                \
                                                            const cpu_input *in, size_t begin, size_t end) {           \
    size_t n = begin;                                                                                                  \
    for (; n + (cols) <= end; n += (cols)) blocks_few_tile(x_rows, cols, k, a, in, n);                                 \
    for (; n < end; n++) blocks_few_tile(x_rows, 1, k, a, in, n);                                                      \
  }
BLOCKS_FEW(2, TILE_COLS)
BLOCKS_FEW(3, 2)
BLOCKS_FEW(4, 2)
BLOCKS_FEW(5, 2)
BLOCKS_FEW(6, 2)

/* -- panels: of each row, span by span, the codes of its steps and then the scales of its lanes */

ALWAYS_INLINE void fill_blocks(weight_format format, int blocked, const weight *w, size_t row, size_t rows, size_t col,
                               size_t cols, size_t stride, void *panel) {
  const vi of_lane = v_blocks_of_lanes(__builtin_ctz(w->block));
  const size_t first = col / SPAN, end = (col + cols + SPAN - 1) / SPAN;
  char *to = panel;
  scale_run p;
  (void)format;
  (void)blocked;
  for (size_t i = 0; i < rows; i++, to += stride * CODES_BYTES) {
    const packed_row r = row_of(w, row + i);
    char *at = to;
    for (size_t span = first; span < end; span++, at += SPAN_BYTES) {
      codes64 codes[SPAN_STEPS];
      if ((span - first) % SPANS == 0) spans_fill(w, r, span, &p);
      span_codes(r, span, w->cols - span * SPAN, codes);
      for (size_t s = 0; s < SPAN_STEPS; s++) v_store_codes((int8_t *)at + s * STEP, codes[s]);
      v_store((float *)(void *)(at + SPAN), span_scales(&p, &p, of_lane, span));
    }
  }
  memset(to, 0, (CPU_PANEL_GROUP - 1 - (rows + CPU_PANEL_GROUP - 1) % CPU_PANEL_GROUP) * stride * CODES_BYTES);
}

ALWAYS_INLINE void blocks_tile(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  const int8_t *x = (const int8_t *)job->codes + row * job->code_stride;
  const char *w = (const char *)(const void *)job->w + col * job->w_stride * CODES_BYTES;
  panel_sums sums;
  panel_begin(tile_rows, job, lanes, sums);
  for (size_t c = 0; c < job->k; c += SPAN) {
    input64 xv[CODES_TILE_ROWS][SPAN_STEPS];
    UNROLL
    for (int i = 0; i < tile_rows; i++)
      span_input(job->weight, x + (size_t)i * job->code_stride + c, job->k - c, xv[i]);
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) {
      const char *at = w + ((size_t)j * job->w_stride + c) * CODES_BYTES;
      codes64 wv[SPAN_STEPS];
      UNROLL
      for (int s = 0; s < SPAN_STEPS; s++) wv[s] = v_load_codes((const int8_t *)at + s * STEP);
      const vf scales = v_load((const float *)(const void *)(at + SPAN));
      UNROLL
      for (int i = 0; i < tile_rows; i++) sums[i][j] = v_fma(vi_float(span_dot(wv, xv[i])), scales, sums[i][j]);
    }
  }
  panel_end(tile_rows, job, row, col, lanes, sums);
}

CODES_PANEL(blocks_panel, blocks_tile)

/* -- the table */

ALWAYS_INLINE void few_blocks(weight_format format, int blocked, const cpu_panel *form, const cpu_kernels *k,
                              const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  static const few_fn of[BLOCKS_ROWS + 1] = {NULL,         NULL,         blocks_few_2, blocks_few_3,
                                             blocks_few_4, blocks_few_5, blocks_few_6};
  size_t n = begin;
  (void)format;
  (void)blocked;
  if (a->m > BLOCKS_ROWS || (a->m > 1 && a->w->pairs)) {
    kernels_few_panel(form, k, a, in, begin, end);
    return;
  }
  if (a->m > 1) {
    of[a->m](k, a, in, begin, end);
    return;
  }
  for (; n + TILE_COLS <= end; n += TILE_COLS) blocks_row_tile(TILE_COLS, k, a, in, n);
  for (; n < end; n++) blocks_row_tile(1, k, a, in, n);
}

PACKED_KERNELS(blocks_int4_24, WEIGHT_INT4_24, 1, INPUT_INT8, INPUT_INT4, few_blocks, fill_blocks, blocks_panel,
               .column_bytes = CODES_BYTES, .most_columns = CODES_MOST, .unit = SPAN, .codes = 1)

static void blocks_kernels(cpu_kernels *k) { blocks_int4_24_set(k); }

#endif
