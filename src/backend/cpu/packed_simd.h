/* backend/cpu/packed_simd.h: NVFP4, INT8 2:4 and INT4 2:4, written once in the words of packed_avx2.h or packed_avx512.h.
 * 64 columns are one step: 32, 40 or 24 bytes.
 *
 * Float input (and E4M3, whose codes are there as FP32): codes become FP32 in the order of the columns, are multiplied
 * with the scale of their block and added up as kernels.h says: lane = column mod L. So one row, few rows and panels of
 * widened weights give the same bits.
 *
 * INT8 and INT4 input: v_dot64 multiplies and adds 64 columns exactly, into L lanes of 32 bits. Without scales of blocks
 * they are added up as integers. With them the L sums of each step become FP32 (exact), are multiplied with their scales
 * and added to the L lanes of the row, in the order of the steps; in the end the lanes are added as a tree. One row and
 * panels do the same operations. The codes of x are even columns first in each 64, see packed_avx2.h. */
#ifndef BACKEND_CPU_PACKED_SIMD_H
#define BACKEND_CPU_PACKED_SIMD_H

#include "backend/cpu/linear_simd.h"

#define STEP      64 /* columns */
#define STEP_VF   (STEP / LANES)
#define TILE_COLS 4 /* rows of w at a time: as many chains of additions hide the adder */

/* -- steps */

/* A row of w: where its steps and scales lie. format and blocked are constants wherever this is inlined. */
typedef struct packed_row {
  const uint8_t *codes, *scales;
} packed_row;

ALWAYS_INLINE size_t step_bytes(weight_format format) {
  if (format == WEIGHT_INT8_24) return sizeof(int8_24_block);
  if (format == WEIGHT_INT4_24) return sizeof(int4_24_block);
  return STEP / NVFP4_BLOCK * NVFP4_BLOCK_BYTES;
}

ALWAYS_INLINE packed_row row_of(const weight *w, size_t row) {
  packed_row r = {(const uint8_t *)w->data + row * w->row_bytes, (const uint8_t *)w->scales + row * w->scale_row_bytes};
  return r;
}

/* NVFP4's last blocks when they are not 4, filled up with zeros. */
typedef struct last_step {
  uint8_t codes[STEP / 2], scales[STEP / NVFP4_BLOCK];
} last_step;

ALWAYS_INLINE packed_row step_of(weight_format format, const weight *w, packed_row r, size_t step, last_step *last) {
  packed_row at = {r.codes + step * step_bytes(format), r.scales};
  if (format != WEIGHT_NVFP4) return at;
  at.scales = r.scales + step * (STEP / NVFP4_BLOCK);
  const size_t left = w->cols - step * STEP;
  if (left > STEP - NVFP4_BLOCK) return at;
  const size_t blocks = (left + NVFP4_BLOCK - 1) / NVFP4_BLOCK;
  memset(last, 0, sizeof *last);
  memcpy(last->codes, at.codes, blocks * NVFP4_BLOCK_BYTES);
  memcpy(last->scales, at.scales, blocks);
  at.codes = last->codes;
  at.scales = last->scales;
  return at;
}

ALWAYS_INLINE codes64 step_codes(weight_format format, packed_row at) {
  if (format == WEIGHT_NVFP4) return v_nvfp4(at.codes);
  return format == WEIGHT_INT8_24 ? v_int8_24(at.codes) : v_int4_24(at.codes);
}

/* Codes of x in the order of the weight's columns: with `pairs` they move, not the weights, which stay 2 of 4. */
ALWAYS_INLINE input64 step_input(weight_format format, int pairs, const int8_t *from) {
  const codes64 codes = v_load_codes(from);
  return v_input(format != WEIGHT_NVFP4 && pairs ? v_pair(codes) : codes);
}

/* INT4's scale of the block that column is in; past the end the last one. */
ALWAYS_INLINE float int4_scale(const weight *w, packed_row at, size_t column) {
  const size_t block = (column < w->cols ? column : w->cols - 1) / w->block;
  if (w->scale_type == SCALE_F16) {
    unsigned short half;
    memcpy(&half, at.scales + block * sizeof half, sizeof half);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
  }
  float scale;
  memcpy(&scale, at.scales + block * sizeof scale, sizeof scale);
  return scale;
}

#define INT4_UNIT   (1.0f / 16) /* v_int4_24 gives 16 × the codes */
#define NVFP4_UNIT  0.5f        /* v_nvfp4 gives 2 × the values */
#define SCALES_UNIT 256.0f      /* v_scales_e4m3 gives 2^−8 × the scales */
#define E4M3_CODES  256

/* The weights of a step. e4m3: NVFP4_UNIT × the value of each code. */
ALWAYS_INLINE void step_values(weight_format format, int blocked, const weight *w, packed_row at, size_t step,
                               const float *e4m3, vf out[STEP_VF]) {
  const codes64 codes = step_codes(format, at);
  v_codes_to_float(format != WEIGHT_NVFP4 && w->pairs ? v_unpair(codes) : codes, out);
  if (!blocked) return;
  if (format == WEIGHT_NVFP4) {
    UNROLL
    for (int v = 0; v < STEP_VF; v++) out[v] = v_mul(out[v], v_set(e4m3[at.scales[v * LANES / NVFP4_BLOCK]]));
    return;
  }
  const vf first = v_set(int4_scale(w, at, step * STEP) * INT4_UNIT);
  const vf second = w->block < STEP ? v_set(int4_scale(w, at, step * STEP + STEP / 2) * INT4_UNIT) : first;
  UNROLL
  for (int v = 0; v < STEP_VF; v++) out[v] = v_mul(out[v], v < STEP_VF / 2 ? first : second);
}

/* The scales of the lanes of v_dot64. */
ALWAYS_INLINE vf step_scales(weight_format format, const weight *w, packed_row at, size_t step) {
  if (format == WEIGHT_NVFP4) return v_scales_e4m3(at.scales);
  const float first = int4_scale(w, at, step * STEP);
  return w->block < STEP ? v_scales_halves(first, int4_scale(w, at, step * STEP + STEP / 2)) : v_set(first);
}

/* What sums of integer products are multiplied with, exactly. */
ALWAYS_INLINE float int_unit(weight_format format, int blocked) {
  if (format == WEIGHT_NVFP4) return NVFP4_UNIT * SCALES_UNIT;
  return format == WEIGHT_INT4_24 && blocked ? INT4_UNIT : 1; /* not blocked: the row's factor holds it */
}

static void fill_e4m3(float e4m3[E4M3_CODES]) {
  uint8_t codes[E4M3_CODES];
  for (size_t i = 0; i < E4M3_CODES; i++) codes[i] = (uint8_t)i;
  e4m3_to_f32_n(codes, e4m3, E4M3_CODES);
  for (size_t i = 0; i < E4M3_CODES; i++) e4m3[i] *= NVFP4_UNIT;
}

/* Asks for what follows tile_cols rows' steps, in the order of memory, see linear_simd.h. */
ALWAYS_INLINE void step_ahead(weight_format format, int tile_cols, const uint8_t *codes, const uint8_t *scales,
                              size_t step) {
  const size_t bytes = (size_t)tile_cols * step_bytes(format);
  const uint8_t *next = codes + FEW_AHEAD + step * bytes;
  UNROLL
  for (size_t at = 0; at < bytes; at += LINE) __builtin_prefetch(next + at, 0, 3);
  if (format == WEIGHT_NVFP4) __builtin_prefetch(scales + FEW_AHEAD / 8 + step * (size_t)tile_cols * 4, 0, 3);
}

/* -- widening */

ALWAYS_INLINE void widen_steps(weight_format format, int blocked, const weight *w, size_t row, size_t col, float *to,
                               size_t count) {
  const packed_row r = row_of(w, row);
  float e4m3[E4M3_CODES];
  if (format == WEIGHT_NVFP4) fill_e4m3(e4m3);
  last_step last;
  vf out[STEP_VF];
  for (size_t step = col / STEP; count > 0; step++) {
    step_values(format, blocked, w, step_of(format, w, r, step, &last), step, e4m3, out);
    size_t v = 0;
    for (; (v + 1) * LANES <= count && v < STEP_VF; v++) v_store(to + v * LANES, out[v]);
    if (v < STEP_VF && v * LANES < count) v_store_part(to + v * LANES, out[v], count - v * LANES);
    if (count <= STEP) return;
    to += STEP;
    count -= STEP;
  }
}

static void widen_nvfp4(const weight *w, size_t row, size_t col, float *to, size_t count) {
  widen_steps(WEIGHT_NVFP4, 1, w, row, col, to, count);
}
static void widen_int8_24(const weight *w, size_t row, size_t col, float *to, size_t count) {
  widen_steps(WEIGHT_INT8_24, 0, w, row, col, to, count);
}
static void widen_int4_24(const weight *w, size_t row, size_t col, float *to, size_t count) {
  if (w->block)
    widen_steps(WEIGHT_INT4_24, 1, w, row, col, to, count);
  else
    widen_steps(WEIGHT_INT4_24, 0, w, row, col, to, count);
}

/* -- one row of x, FP32 */

ALWAYS_INLINE void row_tile(weight_format format, int blocked, int tile_cols, const cpu_kernels *k,
                            const linear_args *a, const cpu_input *in, const float *e4m3, size_t n0) {
  const weight *w = a->w;
  const size_t steps = w->cols / STEP, rest = w->cols % STEP;
  packed_row r[TILE_COLS];
  vf sums[TILE_COLS], out[STEP_VF];
  last_step last;
  UNROLL
  for (int j = 0; j < tile_cols; j++) r[j] = row_of(w, n0 + (size_t)j), sums[j] = v_zero();
  for (size_t step = 0; step < steps; step++) {
    step_ahead(format, tile_cols, r[0].codes, r[0].scales, step);
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      const packed_row at = {r[j].codes + step * step_bytes(format),
                             format == WEIGHT_NVFP4 ? r[j].scales + step * (STEP / NVFP4_BLOCK) : r[j].scales};
      step_values(format, blocked, w, at, step, e4m3, out);
      UNROLL
      for (int v = 0; v < STEP_VF; v++) sums[j] = v_fma(out[v], v_load(in->x + step * STEP + v * LANES), sums[j]);
    }
  }
  if (rest > 0) {
    float x[STEP] = {0};
    memcpy(x, in->x + steps * STEP, rest * sizeof *x);
    for (int j = 0; j < tile_cols; j++) {
      step_values(format, blocked, w, step_of(format, w, r[j], steps, &last), steps, e4m3, out);
      for (size_t v = 0; v * LANES < rest; v++) sums[j] = v_fma(out[v], v_load(x + v * LANES), sums[j]);
    }
  }
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const size_t n = n0 + (size_t)j;
    few_finish(a, in, 0, n, v_sum(sums[j]) * cpu_row_factor(k, w, n));
  }
}

ALWAYS_INLINE void few_float(weight_format format, int blocked, const cpu_kernels *k, const linear_args *a,
                             const cpu_input *in, size_t begin, size_t end) {
  if (a->m > 1) {
    few_widened(k, a, in, begin, end);
    return;
  }
  float e4m3[E4M3_CODES];
  if (format == WEIGHT_NVFP4) fill_e4m3(e4m3);
  size_t n = begin;
  for (; n + TILE_COLS <= end; n += TILE_COLS) row_tile(format, blocked, TILE_COLS, k, a, in, e4m3, n);
  for (; n < end; n++) row_tile(format, blocked, 1, k, a, in, e4m3, n);
}

/* -- panels of codes, for integer rows */

#define CODES_BYTES 2    /* a column: its code; and L scales of 4 bytes for each 64, where the weights have any */
#define CODES_MOST  4096 /* columns of a panel */

ALWAYS_INLINE void fill_codes(weight_format format, int blocked, const weight *w, size_t row, size_t rows, size_t col,
                              size_t cols, size_t stride, void *panel) {
  last_step last;
  for (size_t i = 0; i < (rows + CPU_PANEL_GROUP - 1) / CPU_PANEL_GROUP * CPU_PANEL_GROUP; i++) {
    int8_t *to = (int8_t *)panel + i * stride * CODES_BYTES;
    float *scales = (float *)(void *)(to + stride);
    if (i >= rows) {
      memset(to, 0, stride * CODES_BYTES);
      continue;
    }
    const packed_row r = row_of(w, row + i);
    for (size_t c = 0; c < cols; c += STEP) {
      const size_t step = (col + c) / STEP;
      const packed_row at = step_of(format, w, r, step, &last);
      v_store_codes(to + c, step_codes(format, at));
      if (blocked) v_store(scales + c / STEP * LANES, step_scales(format, w, at, step));
    }
  }
}

typedef union lane_sums {
  vf f;
  vi i;
} lane_sums;

ALWAYS_INLINE void codes_add(int blocked, lane_sums *sum, vi dot, vf scales) {
  if (blocked)
    sum->f = v_fma(vi_float(dot), scales, sum->f);
  else
    sum->i = vi_add(sum->i, dot);
}
ALWAYS_INLINE float codes_sum(weight_format format, int blocked, const lane_sums *sum) {
  return (blocked ? v_sum(sum->f) : (float)vi_sum(sum->i)) * int_unit(format, blocked);
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
      for (int i = 0; i < tile_rows; i++) codes_add(blocked, &sums[i][j], v_dot64(wv, xv[i]), scales);
    }
  }
  for (int i = 0; i < tile_rows; i++) {
    for (int j = 0; j < CPU_PANEL_GROUP; j++) {
      const size_t y_row = row + (size_t)i, y_col = col + (size_t)j;
      if (!job->last) {
        vi_store(lanes + (i * CPU_PANEL_GROUP + j) * LANES, sums[i][j].i);
      } else if (y_col < job->n) {
        float sum = codes_sum(format, blocked, &sums[i][j]) * job->w_scales[y_col] * job->x_scales[y_row];
        if (job->bias) sum += job->bias[y_col];
        if (job->residual) sum += job->residual[y_row * job->y_stride + y_col];
        job->y[y_row * job->y_stride + y_col] = sum;
      }
    }
  }
}

ALWAYS_INLINE void codes_panel(weight_format format, int blocked, const panel_job *job) {
  const size_t row_tiles = (job->m + CODES_TILE_ROWS - 1) / CODES_TILE_ROWS;
  const size_t tile_count = row_tiles * ((job->n + CPU_PANEL_GROUP - 1) / CPU_PANEL_GROUP);
  const size_t ahead_each = (job->ahead.bytes / tile_count / LINE + 1) * LINE;
  size_t ahead = 0;
  float *lanes = job->lanes;
  for (size_t row = 0; row < job->m; row += CODES_TILE_ROWS) {
    for (size_t col = 0; col < job->n; col += CPU_PANEL_GROUP) {
      for (const size_t end = ahead + ahead_each; ahead < end && ahead < job->ahead.bytes; ahead += LINE)
        __builtin_prefetch(job->ahead.from + ahead, 0, 2);
      if (row + CODES_TILE_ROWS <= job->m) {
        codes_tile(format, blocked, CODES_TILE_ROWS, job, row, col, lanes);
      } else {
        float *part = lanes;
        for (size_t i = row; i < job->m; i++) {
          codes_tile(format, blocked, 1, job, i, col, part);
          if (part) part += CPU_PANEL_GROUP * LANES;
        }
      }
      if (lanes) lanes += CODES_TILE_ROWS * CPU_PANEL_GROUP * LANES;
    }
  }
}

/* -- one row of integer codes */

ALWAYS_INLINE void codes_row_tile(weight_format format, int blocked, int tile_cols, const cpu_kernels *k,
                                  const linear_args *a, const cpu_input *in, size_t n0) {
  const weight *w = a->w;
  const size_t steps = w->cols / STEP;
  const int8_t *x = in->codes;
  packed_row r[TILE_COLS];
  lane_sums sums[TILE_COLS];
  last_step last;
  UNROLL
  for (int j = 0; j < tile_cols; j++) r[j] = row_of(w, n0 + (size_t)j), sums[j].i = vi_zero();
  for (size_t step = 0; step < steps; step++) {
    const input64 xv = step_input(format, w->pairs, x + step * STEP);
    step_ahead(format, tile_cols, r[0].codes, r[0].scales, step);
    UNROLL
    for (int j = 0; j < tile_cols; j++) {
      const packed_row at = {r[j].codes + step * step_bytes(format),
                             format == WEIGHT_NVFP4 ? r[j].scales + step * (STEP / NVFP4_BLOCK) : r[j].scales};
      const vf scales = blocked ? step_scales(format, w, at, step) : v_zero();
      codes_add(blocked, &sums[j], v_dot64(step_codes(format, at), xv), scales);
    }
  }
  if (w->cols % STEP > 0) {
    const input64 xv = step_input(format, w->pairs, x + steps * STEP);
    for (int j = 0; j < tile_cols; j++) {
      const packed_row at = step_of(format, w, r[j], steps, &last);
      const vf scales = blocked ? step_scales(format, w, at, steps) : v_zero();
      codes_add(blocked, &sums[j], v_dot64(step_codes(format, at), xv), scales);
    }
  }
  UNROLL
  for (int j = 0; j < tile_cols; j++) {
    const size_t n = n0 + (size_t)j;
    few_finish(a, in, 0, n, codes_sum(format, blocked, &sums[j]) * cpu_row_factor(k, w, n));
  }
}

#define CODES_PIECE 1024 /* columns of TILE_COLS rows of w that are unpacked together for few rows of x */

/* A few rows: as a panel of 4 rows of w, which stays in L1. */
ALWAYS_INLINE void few_codes_rows(weight_format format, int blocked, const cpu_kernels *k, const linear_args *a,
                                  const cpu_input *in, size_t n0, size_t rows) {
  const weight *w = a->w;
  _Alignas(64) float panel[TILE_COLS * CODES_PIECE * CODES_BYTES / sizeof(float)];
  _Alignas(64) float lanes[(CPU_FEW_ROWS + CODES_TILE_ROWS) * TILE_COLS * LANES];
  float w_scales[TILE_COLS] = {0};
  for (size_t j = 0; j < rows; j++) w_scales[j] = cpu_row_factor(k, w, n0 + j);
  panel_job job = {.m = a->m,
                   .code_stride = in->code_stride,
                   .w = panel,
                   .n = rows,
                   .w_scales = w_scales,
                   .x_scales = in->scales,
                   .weight = w,
                   .lanes = lanes,
                   .bias = a->bias ? a->bias + n0 : NULL,
                   .residual = a->residual ? a->residual + n0 : NULL,
                   .y = a->y + n0,
                   .y_stride = a->y_stride};
  for (size_t col = 0; col < w->cols; col += CODES_PIECE) {
    job.k = w->cols - col < CODES_PIECE ? w->cols - col : CODES_PIECE;
    job.w_stride = (job.k + STEP - 1) / STEP * STEP;
    job.codes = (const int8_t *)in->codes + col;
    job.first = col == 0;
    job.last = col + job.k == w->cols;
    fill_codes(format, blocked, w, n0, rows, col, job.k, job.w_stride, panel);
    codes_panel(format, blocked, &job);
  }
}

ALWAYS_INLINE void few_codes(weight_format format, int blocked, const cpu_kernels *k, const linear_args *a,
                             const cpu_input *in, size_t begin, size_t end) {
  size_t n = begin;
  if (a->m > 1) {
    for (; n < end; n += TILE_COLS)
      few_codes_rows(format, blocked, k, a, in, n, end - n < TILE_COLS ? end - n : TILE_COLS);
    return;
  }
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

#define PACKED_KERNELS(name, format, blocked)                                                                          \
  static __attribute__((noinline)) void few_float_##name(const cpu_kernels *k, const linear_args *a,                   \
                                                         const cpu_input *in, size_t begin, size_t end) {              \
    few_float(format, blocked, k, a, in, begin, end);                                                                  \
  }                                                                                                                    \
  static __attribute__((noinline)) void few_codes_##name(const cpu_kernels *k, const linear_args *a,                   \
                                                         const cpu_input *in, size_t begin, size_t end) {              \
    few_codes(format, blocked, k, a, in, begin, end);                                                                  \
  }                                                                                                                    \
  static void fill_codes_##name(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col,            \
                                size_t cols, size_t stride, void *panel) {                                             \
    (void)k;                                                                                                           \
    fill_codes(format, blocked, w, row, rows, col, cols, stride, panel);                                               \
  }                                                                                                                    \
  static __attribute__((noinline)) void codes_panel_##name(const panel_job *job) {                                     \
    codes_panel(format, blocked, job);                                                                                 \
  }                                                                                                                    \
  static const cpu_panel panel_##name = {.column_bytes = CODES_BYTES,                                                  \
                                         .most_columns = CODES_MOST,                                                   \
                                         .unit = STEP,                                                                 \
                                         .codes = 1,                                                                   \
                                         .fill = fill_codes_##name,                                                    \
                                         .multiply = codes_panel_##name};                                              \
  static void set_##name(cpu_kernels *k) {                                                                             \
    k->product[blocked][format][INPUT_FLOAT].few = few_float_##name;                                                   \
    k->product[blocked][format][INPUT_E4M3].few = few_float_##name;                                                    \
    k->product[blocked][format][INPUT_INT8] = (cpu_product){few_codes_##name, &panel_##name};                          \
    k->product[blocked][format][INPUT_INT4] = (cpu_product){few_codes_##name, &panel_##name};                          \
  }

PACKED_KERNELS(nvfp4, WEIGHT_NVFP4, 1)
PACKED_KERNELS(int8_24, WEIGHT_INT8_24, 0)
PACKED_KERNELS(int4_24, WEIGHT_INT4_24, 0)
PACKED_KERNELS(int4_24_blocks, WEIGHT_INT4_24, 1)

static void packed_kernels(cpu_kernels *k) {
  k->widen[WEIGHT_NVFP4] = widen_nvfp4;
  k->widen[WEIGHT_INT8_24] = widen_int8_24;
  k->widen[WEIGHT_INT4_24] = widen_int4_24;
  k->factor[WEIGHT_INT4_24] = INT4_UNIT;
  k->int8_codes = even_first;
  set_nvfp4(k);
  set_int8_24(k);
  set_int4_24(k);
  set_int4_24_blocks(k);
}

#endif
