/* backend/cpu/select_simd.h: INT8 2:4 and INT4 2:4 times rows of FP32 (and E4M3, whose codes are there as FP32), in the
 * words of packed_words.h. The weights are not widened to all their columns: x is put beside the kept
 * ones, which halves the products.
 *
 * A vector has L columns of x, L/4 groups of 4, and as many places for two rows of w, a pair: in each 4 lanes first and
 * second kept code of a group of the one row, then those of the other. A permutation brings the columns there.
 *
 * Order of the sums: a row has L/2 lanes. Kept code 2g + s (s: first or second) times its column is added, fused, to lane
 * 2 · (g mod L/4) + s, in the order of g; in the end the lanes of different groups are added as a tree, then first and
 * second. Weights are rounded once where blocks have scales. One row, few rows and panels do the same.
 *
 * Columns that are not kept are not looked at: kept_only in kernels.h. */
#ifndef BACKEND_CPU_SELECT_SIMD_H
#define BACKEND_CPU_SELECT_SIMD_H

#include <string.h>

#include "backend/cpu/few_simd.h"
#include "backend/cpu/packed_simd.h"
#include "backend/cpu/panel_simd.h"

#define SELECT_PAIRS 2 /* pairs of rows of w at a time: CPU_PANEL_GROUP rows */

/* -- words */

/* A step of two rows of w: the kept weights, and which column of its group each belongs to (in the low 2 bits). */
typedef struct pair_step {
  vf w[STEP_VF];
  vi fields[STEP_VF];
} pair_step;

/* first, second: the rows' blocks; scales: of their halves, where blocks have any. */
ALWAYS_INLINE void select_step(weight_format format, int blocked, const uint8_t *first, const uint8_t *second,
                               const step_scales scales[2], pair_step *to) {
  const size_t kept = step_bytes(format) - SPARSE_24_GROUPS / 2;
  const vi index = v_pair_words(first + kept, second + kept);
  if (format == WEIGHT_INT8_24)
    v_pair_int8(first, second, to->w);
  else
    v_pair_int4(first, second, to->w);
  UNROLL
  for (int v = 0; v < STEP_VF; v++) to->fields[v] = v_pair_fields(index, v);
  if (!blocked) return;
  const vf low = v_pair_scales(scales[0].of[0], scales[1].of[0]),
           high = v_pair_scales(scales[0].of[1], scales[1].of[1]);
  UNROLL
  for (int v = 0; v < STEP_VF; v++) to->w[v] = v_mul(to->w[v], v < STEP_VF / 2 ? low : high);
}

/* -- one row of x */

ALWAYS_INLINE void select_row_tile(weight_format format, int blocked, const cpu_kernels *k, const linear_args *a,
                                   const cpu_input *in, size_t n0, size_t rows) {
  const weight *w = a->w;
  const size_t steps = (w->cols + STEP - 1) / STEP;
  packed_row r[TILE_COLS];
  vf sums[SELECT_PAIRS];
  scale_run p[TILE_COLS];
  UNROLL
  for (int j = 0; j < TILE_COLS; j++) r[j] = row_of(w, n0 + ((size_t)j < rows ? (size_t)j : rows - 1));
  UNROLL
  for (int i = 0; i < SELECT_PAIRS; i++) sums[i] = v_zero();
  for (size_t step = 0; step < steps; step++) {
    const float *x = in->x + step * STEP;
    const size_t left = w->cols - step * STEP;
    float ordered[STEP];
    if (blocked && step % RUN_STEPS == 0)
      for (int j = 0; j < TILE_COLS; j++)
        scales_fill(format, w, r[j], step, steps - step < RUN_STEPS ? steps - step : RUN_STEPS, &p[j]);
    step_ahead(format, TILE_COLS, w, r[0], step);
    if (left < STEP) {
      memset(ordered, 0, sizeof ordered);
      memcpy(ordered, x, left * sizeof *x);
      x = ordered;
    }
    if (w->pairs) {
      UNROLL
      for (int v = 0; v < STEP_VF; v++) v_store(ordered + v * LANES, v_paired(v_load(x + v * LANES)));
      x = ordered;
    }
    UNROLL
    for (int i = 0; i < SELECT_PAIRS; i++) {
      pair_step pair;
      step_scales s[2] = {{{NULL}}, {{NULL}}};
      UNROLL
      for (int j = 0; j < 2 && blocked; j++) s[j] = scales_of_step(format, &p[2 * i + j], &p[0], step);
      select_step(format, blocked, whole_step(format, r[2 * i], step), whole_step(format, r[2 * i + 1], step), s,
                  &pair);
      UNROLL
      for (int v = 0; v < STEP_VF; v++)
        sums[i] = v_fma(pair.w[v], v_select(v_load(x + v * LANES), pair.fields[v]), sums[i]);
    }
  }
  float out[TILE_COLS];
  _mm_storeu_ps(out, v_sum_pairs(sums[0], sums[1]));
  for (size_t j = 0; j < rows; j++) few_finish(a, in, 0, n0 + j, out[j] * cpu_row_factor(k, w, n0 + j));
}

/* -- few rows of x */

#define SELECT_ROWS      (LANES == 16 ? 8 : 6)  /* of x in a tile */
#define SELECT_MOST      (LANES == 16 ? 12 : 6) /* rows of x; more are multiplied with panels: measured */
#define SELECT_INT8_ROWS 4                      /* gcc keeps the sums of 5 in memory, and two tiles are faster */

/* A step of x as blocks have its columns (weight.pairs), and zeros where there are no more than `left`. */
ALWAYS_INLINE void select_order(int x_rows, int pairs, const float *x, size_t x_stride, size_t left, float *to) {
  for (int i = 0; i < x_rows; i++, x += x_stride, to += STEP) {
    if (left < STEP) {
      memset(to, 0, STEP * sizeof *to);
      memcpy(to, x, left * sizeof *to);
    }
    UNROLL
    for (int v = 0; v < STEP_VF && pairs; v++)
      v_store(to + v * LANES, v_paired(v_load((left < STEP ? to : x) + v * LANES)));
  }
}

/* x_rows rows of x from i0 times rows [n0, n0 + rows) of w, TILE_COLS at most. */
ALWAYS_INLINE void select_tile_few(weight_format format, int blocked, int x_rows, const cpu_kernels *k,
                                   const linear_args *a, const cpu_input *in, size_t i0, size_t n0, size_t rows) {
  const weight *w = a->w;
  const size_t steps = (w->cols + STEP - 1) / STEP;
  packed_row r[TILE_COLS];
  vf sums[SELECT_ROWS][SELECT_PAIRS];
  scale_run p[TILE_COLS];
  UNROLL
  for (int j = 0; j < TILE_COLS; j++) r[j] = row_of(w, n0 + ((size_t)j < rows ? (size_t)j : rows - 1));
  UNROLL
  for (int i = 0; i < x_rows; i++) sums[i][0] = sums[i][1] = v_zero();
  for (size_t step = 0; step < steps; step++) {
    const float *x = in->x + i0 * in->x_stride + step * STEP;
    const size_t left = w->cols - step * STEP;
    size_t x_stride = in->x_stride;
    float ordered[SELECT_ROWS * STEP];
    if (blocked && step % RUN_STEPS == 0)
      for (int j = 0; j < TILE_COLS; j++)
        scales_fill(format, w, r[j], step, steps - step < RUN_STEPS ? steps - step : RUN_STEPS, &p[j]);
    if (i0 == 0) step_ahead(format, TILE_COLS, w, r[0], step); /* the other rows of x find the blocks in L1 */
    if (left < STEP || w->pairs) {
      select_order(x_rows, w->pairs, x, x_stride, left, ordered);
      x = ordered, x_stride = STEP;
    }
    UNROLL
    for (int j = 0; j < SELECT_PAIRS; j++) {
      pair_step pair;
      step_scales s[2] = {{{NULL}}, {{NULL}}};
      UNROLL
      for (int h = 0; h < 2 && blocked; h++) s[h] = scales_of_step(format, &p[2 * j + h], &p[0], step);
      select_step(format, blocked, whole_step(format, r[2 * j], step), whole_step(format, r[2 * j + 1], step), s,
                  &pair);
      UNROLL
      for (int v = 0; v < STEP_VF; v++) {
        UNROLL
        for (int i = 0; i < x_rows; i++) {
          const vf xv = v_load(x + (size_t)i * x_stride + v * LANES);
          sums[i][j] = v_fma(pair.w[v], v_select(xv, pair.fields[v]), sums[i][j]);
        }
      }
    }
  }
  float factors[TILE_COLS];
  for (size_t j = 0; j < rows; j++) factors[j] = cpu_row_factor(k, w, n0 + j);
  for (int i = 0; i < x_rows; i++) {
    float out[TILE_COLS];
    _mm_storeu_ps(out, v_sum_pairs(sums[i][0], sums[i][1]));
    for (size_t j = 0; j < rows; j++) few_finish(a, in, i0 + (size_t)i, n0 + j, out[j] * factors[j]);
  }
}

/* `few` of a format: rows of x in tiles of nearly the same size. */
typedef void (*select_tile_fn)(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t i0, size_t n0,
                               size_t rows);
#define SELECT_TILE(name, format, blocked, x_rows)                                                                     \
  static __attribute__((noinline)) void name##_##x_rows(const cpu_kernels *k, const linear_args *a,                    \
                                                        const cpu_input *in, size_t i0, size_t n0, size_t rows) {      \
    select_tile_few(format, blocked, x_rows, k, a, in, i0, n0, rows);                                                  \
  }
#if LANES == 16
#define SELECT_MORE_TILES(name, format, blocked)                                                                       \
  SELECT_TILE(name, format, blocked, 7)                                                                                \
  SELECT_TILE(name, format, blocked, 8)
#define SELECT_MORE_NAMES(name) , name##_7, name##_8
#else
#define SELECT_MORE_TILES(name, format, blocked)
#define SELECT_MORE_NAMES(name)
#endif
#define SELECT_TILES(name, format, blocked)                                                                            \
  SELECT_TILE(name, format, blocked, 2)                                                                                \
  SELECT_TILE(name, format, blocked, 3)                                                                                \
  SELECT_TILE(name, format, blocked, 4)                                                                                \
  SELECT_TILE(name, format, blocked, 5)                                                                                \
  SELECT_TILE(name, format, blocked, 6)                                                                                \
  SELECT_MORE_TILES(name, format, blocked)                                                                             \
  static const select_tile_fn name##_of[SELECT_ROWS + 1] = {                                                           \
      NULL, NULL, name##_2, name##_3, name##_4, name##_5, name##_6 SELECT_MORE_NAMES(name)};
SELECT_TILES(select_tile_int8, WEIGHT_INT8_24, 0)
SELECT_TILES(select_tile_int4, WEIGHT_INT4_24, 0)
SELECT_TILES(select_tile_int4_blocks, WEIGHT_INT4_24, 1)

ALWAYS_INLINE void few_select(weight_format format, int blocked, const cpu_panel *form, const cpu_kernels *k,
                              const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  const select_tile_fn *of = format == WEIGHT_INT8_24 ? select_tile_int8_of
                             : blocked                ? select_tile_int4_blocks_of
                                                      : select_tile_int4_of;
  const size_t most = format == WEIGHT_INT8_24 ? SELECT_INT8_ROWS : SELECT_ROWS, parts = (a->m + most - 1) / most;
  if (a->m > SELECT_MOST) {
    kernels_few_panel(form, k, a, in, begin, end);
    return;
  }
  for (size_t n = begin; n < end && a->m == 1; n += TILE_COLS)
    select_row_tile(format, blocked, k, a, in, n, end - n < TILE_COLS ? end - n : TILE_COLS);
  for (size_t n = begin; n < end && a->m > 1; n += TILE_COLS) {
    size_t i = 0;
    for (size_t part = 0; part < parts; part++) {
      const size_t x_rows = a->m / parts + (part < a->m % parts);
      of[x_rows](k, a, in, i, n, end - n < TILE_COLS ? end - n : TILE_COLS);
      i += x_rows;
    }
  }
}

/* -- panels: of each pair of rows, the weights, and then a byte for each: the lane of x that belongs to it. (Panels are
 * read from L2 for every few rows of x, and with 4 bytes a lane that is what takes the time.) */

#define SELECT_BYTES 3 /* a column of a row: half of its 5, rounded up */

ALWAYS_INLINE size_t select_pair_bytes(size_t stride) { return 2 * SELECT_BYTES * stride; }

ALWAYS_INLINE void fill_select(weight_format format, int blocked, const weight *w, size_t row, size_t rows, size_t col,
                               size_t cols, size_t stride, void *to_panel) {
  char *panel = to_panel;
  const size_t first = col / STEP, end = (col + cols + STEP - 1) / STEP;
  scale_run p[2];
  for (size_t i = 0; i < rows; i += 2, panel += select_pair_bytes(stride)) {
    const packed_row r[2] = {row_of(w, row + i), row_of(w, row + (i + 1 < rows ? i + 1 : i))};
    float *to = (float *)(void *)panel;
    uint8_t *lanes = (uint8_t *)(to + stride);
    for (size_t step = first; step < end; step++) {
      pair_step pair;
      step_scales s[2] = {{{NULL}}, {{NULL}}};
      for (int j = 0; j < 2 && blocked; j++) {
        if ((step - first) % RUN_STEPS == 0)
          scales_fill(format, w, r[j], step, end - step < RUN_STEPS ? end - step : RUN_STEPS, &p[j]);
        s[j] = scales_of_step(format, &p[j], &p[0], step);
      }
      select_step(format, blocked, whole_step(format, r[0], step), whole_step(format, r[1], step), s, &pair);
      UNROLL
      for (int v = 0; v < STEP_VF; v++, to += LANES, lanes += LANES) {
        v_store(to, pair.w[v]);
        v_store_lanes(lanes, v_pair_lanes(pair.fields[v], w->pairs));
      }
    }
  }
  if ((rows - 1) % CPU_PANEL_GROUP < 2) memset(panel, 0, select_pair_bytes(stride));
}

typedef vf select_sums[PANEL_TILE_ROWS][SELECT_PAIRS];

/* One vector of columns, or the first part of them where part is not 0. */
ALWAYS_INLINE void select_columns(int tile_rows, const float *x, size_t x_stride, const char *w, const char *at,
                                  size_t pair_bytes, size_t part, select_sums sums) {
  vf wv[SELECT_PAIRS];
  vi lanes[SELECT_PAIRS];
  UNROLL
  for (int j = 0; j < SELECT_PAIRS; j++) {
    wv[j] = v_load((const float *)(const void *)(w + (size_t)j * pair_bytes));
    lanes[j] = v_load_lanes((const uint8_t *)at + (size_t)j * pair_bytes);
  }
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    const float *row = x + (size_t)i * x_stride;
    const vf xv = part == 0 ? v_load(row) : v_load_part(row, part);
    UNROLL
    for (int j = 0; j < SELECT_PAIRS; j++) sums[i][j] = v_fma(wv[j], v_permute(xv, lanes[j]), sums[i][j]);
  }
}

/* tile_rows rows of x times 4 rows of w. */
ALWAYS_INLINE void select_tile(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  const float *x = job->x + row * job->x_stride;
  const size_t pair_bytes = select_pair_bytes(job->w_stride);
  const char *w = (const char *)(const void *)job->w + col / 2 * pair_bytes, *at = w + job->w_stride * sizeof(float);
  select_sums sums;
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    UNROLL
    for (int j = 0; j < SELECT_PAIRS; j++)
      sums[i][j] = job->first ? v_zero() : v_load(lanes + (i * SELECT_PAIRS + j) * LANES);
  }
  size_t c = 0;
  for (; c + LANES <= job->k; c += LANES)
    select_columns(tile_rows, x + c, job->x_stride, w + c * sizeof(float), at + c, pair_bytes, 0, sums);
  if (c < job->k)
    select_columns(tile_rows, x + c, job->x_stride, w + c * sizeof(float), at + c, pair_bytes, job->k - c, sums);
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    if (job->last) {
      panel_write(job, row + (size_t)i, col, v_sum_pairs(sums[i][0], sums[i][1]));
      continue;
    }
    UNROLL
    for (int j = 0; j < SELECT_PAIRS; j++) v_store(lanes + (i * SELECT_PAIRS + j) * LANES, sums[i][j]);
  }
}

PANEL_OF_TILES(select_panel, select_tile)

/* -- the table */

#define SELECT_FORM .column_bytes = SELECT_BYTES, .most_columns = CPU_PANEL_K, .unit = STEP, .kept_only = 1

PACKED_KERNELS(select_int8, WEIGHT_INT8_24, 0, INPUT_FLOAT, INPUT_E4M3, few_select, fill_select, select_panel,
               SELECT_FORM)
PACKED_KERNELS(select_int4, WEIGHT_INT4_24, 0, INPUT_FLOAT, INPUT_E4M3, few_select, fill_select, select_panel,
               SELECT_FORM)
PACKED_KERNELS(select_int4_blocks, WEIGHT_INT4_24, 1, INPUT_FLOAT, INPUT_E4M3, few_select, fill_select, select_panel,
               SELECT_FORM)

static void select_kernels(cpu_kernels *k) {
  select_int8_set(k);
  select_int4_set(k);
  select_int4_blocks_set(k);
}

#endif
