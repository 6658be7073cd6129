/* backend/cpu/ref_linear.c: matrix products in plain C, for any processor. */
#include <string.h>

#include "backend/cpu/ref.h"
#include "number/number.h"

#define TILE     2   /* rows of x and rows of w in a register tile: 8 of SSE2's 16 registers hold sums */
#define FEW_COLS 256 /* columns widened at a time on the stack; a multiple of the lanes */

static ref_f4 load4(const float *from) {
  ref_f4 v;
  memcpy(&v, from, sizeof v);
  return v;
}

void ref_accumulate(const float *a, const float *b, size_t k, ref_lanes *lanes) {
  size_t c = 0;
  for (; c + REF_LANES <= k; c += REF_LANES) {
    lanes->low += load4(a + c) * load4(b + c);
    lanes->high += load4(a + c + 4) * load4(b + c + 4);
  }
  for (size_t l = 0; c + l < k; l++) {
    if (l < 4)
      lanes->low[l] += a[c + l] * b[c + l];
    else
      lanes->high[l - 4] += a[c + l] * b[c + l];
  }
}

float ref_sum(const ref_lanes *lanes) {
  const ref_f4 four = lanes->low + lanes->high;
  return (four[0] + four[2]) + (four[1] + four[3]);
}

/* 2 rows of x (x_stride apart) times 2 rows of w: sums[2 · row + col]. */
static void accumulate_2x2(const float *x, size_t x_stride, const float *w, size_t w_stride, size_t k,
                           ref_lanes sums[TILE * TILE]) {
  ref_lanes s00 = sums[0], s01 = sums[1], s10 = sums[2], s11 = sums[3];
  const size_t whole = k - k % REF_LANES;
  for (size_t c = 0; c < whole; c += REF_LANES) {
    const ref_f4 x0 = load4(x + c), x1 = load4(x + x_stride + c);
    const ref_f4 w0 = load4(w + c), w1 = load4(w + w_stride + c);
    s00.low += x0 * w0, s01.low += x0 * w1, s10.low += x1 * w0, s11.low += x1 * w1;
    const ref_f4 x2 = load4(x + c + 4), x3 = load4(x + x_stride + c + 4);
    const ref_f4 w2 = load4(w + c + 4), w3 = load4(w + w_stride + c + 4);
    s00.high += x2 * w2, s01.high += x2 * w3, s10.high += x3 * w2, s11.high += x3 * w3;
  }
  sums[0] = s00, sums[1] = s01, sums[2] = s10, sums[3] = s11;
  for (size_t i = 0; i < TILE; i++)
    for (size_t j = 0; j < TILE && whole < k; j++)
      ref_accumulate(x + i * x_stride + whole, w + j * w_stride + whole, k - whole, &sums[TILE * i + j]);
}

/* rows × cols (each 1 or 2) sums of a tile go on over k more columns. */
static void accumulate(const float *x, size_t x_stride, size_t rows, const float *w, size_t w_stride, size_t cols,
                       size_t k, ref_lanes sums[TILE * TILE]) {
  if (rows == TILE && cols == TILE) {
    accumulate_2x2(x, x_stride, w, w_stride, k, sums);
    return;
  }
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < cols; j++) ref_accumulate(x + i * x_stride, w + j * w_stride, k, &sums[TILE * i + j]);
}

static size_t at_most(size_t count, size_t limit) { return count < limit ? count : limit; }

void ref_finish(const linear_args *a, const cpu_input *in, float w_scale, size_t row, size_t col, float sum) {
  if (!weight_dense(a->w->format)) sum *= w_scale;
  if (in->scales) sum *= in->scales[row];
  if (a->bias) sum += a->bias[col];
  if (a->residual) sum += a->residual[row * a->y_stride + col];
  a->y[row * a->y_stride + col] = sum;
}

static void few(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  const size_t cols = a->w->cols;
  for (size_t n = begin; n < end; n += TILE) {
    const size_t wide = at_most(end - n, TILE);
    ref_lanes sums[CPU_FEW_ROWS / TILE][TILE * TILE];
    memset(sums, 0, sizeof sums);
    for (size_t c = 0; c < cols; c += FEW_COLS) {
      const size_t part = at_most(cols - c, FEW_COLS);
      float w[TILE * FEW_COLS];
      for (size_t j = 0; j < wide; j++) k->widen[a->w->format](a->w, n + j, c, w + j * FEW_COLS, part);
      for (size_t i = 0; i < a->m; i += TILE)
        accumulate(in->x + i * in->x_stride + c, in->x_stride, at_most(a->m - i, TILE), w, FEW_COLS, wide, part,
                   sums[i / TILE]);
    }
    for (size_t j = 0; j < wide; j++) {
      const float scale = cpu_row_factor(k, a->w, n + j);
      for (size_t i = 0; i < a->m; i++)
        ref_finish(a, in, scale, i, n + j, ref_sum(&sums[i / TILE][TILE * (i % TILE) + j]));
    }
  }
}

static const char *dense_at(const weight *w, size_t row, size_t col) {
  return (const char *)w->data + row * w->row_bytes + col * weight_element_bytes(w->format);
}

static void widen_f32(const weight *w, size_t row, size_t col, float *to, size_t count) {
  memcpy(to, dense_at(w, row, col), count * sizeof *to);
}
static void widen_bf16(const weight *w, size_t row, size_t col, float *to, size_t count) {
  bf16_to_f32_n(dense_at(w, row, col), to, count);
}
static void widen_f16(const weight *w, size_t row, size_t col, float *to, size_t count) {
  f16_to_f32_n(dense_at(w, row, col), to, count);
}
static void narrow_f16(const float *from, uint16_t *to, size_t count) { f16_from_f32_n(from, to, count); }

static void panel_tile(const panel_job *job, size_t row, size_t rows, size_t col, size_t cols, float *lanes) {
  ref_lanes sums[TILE * TILE];
  if (job->first)
    memset(sums, 0, sizeof sums);
  else
    memcpy(sums, lanes, sizeof sums);
  accumulate(job->x + row * job->x_stride, job->x_stride, rows, job->w + col * job->w_stride, job->w_stride, cols,
             job->k, sums);
  if (!job->last) {
    memcpy(lanes, sums, sizeof sums);
    return;
  }
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < cols; j++) {
      float sum = ref_sum(&sums[TILE * i + j]);
      if (job->w_scales) sum *= job->w_scales[col + j];
      if (job->x_scales) sum *= job->x_scales[row + i];
      if (job->bias) sum += job->bias[col + j];
      if (job->residual) sum += job->residual[(row + i) * job->y_stride + col + j];
      job->y[(row + i) * job->y_stride + col + j] = sum;
    }
  }
}

static void panel(const panel_job *job) {
  float *lanes = job->lanes;
  for (size_t row = 0; row < job->m; row += TILE) {
    for (size_t col = 0; col < job->n; col += TILE) {
      panel_tile(job, row, at_most(job->m - row, TILE), col, at_most(job->n - col, TILE), lanes);
      if (lanes) lanes += TILE * TILE * REF_LANES;
    }
  }
}

void kernels_set_float(cpu_kernels *k, cpu_product product) {
  for (int blocked = 0; blocked < 2; blocked++)
    for (size_t f = 0; f < WEIGHT_FORMATS; f++)
      for (size_t mode = 0; mode < CPU_INPUT_MODES; mode++)
        if ((f != WEIGHT_INT8_24 && f != WEIGHT_INT4_24) || mode == INPUT_FLOAT || mode == INPUT_E4M3)
          k->product[blocked][f][mode] = product;
}

static const cpu_panel float_panel = {.column_bytes = sizeof(float),
                                      .most_columns = CPU_PANEL_K,
                                      .unit = REF_LANES,
                                      .fill = kernels_fill_float,
                                      .multiply = panel};

static void bf16_codes(const float *values, uint16_t *codes, size_t count) { bf16_from_f32_n(values, codes, count); }

void ref_linear(cpu_kernels *k) {
  k->lanes = REF_LANES;
  k->tile_rows = TILE;
  k->widen[WEIGHT_F32] = widen_f32;
  k->widen[WEIGHT_BF16] = widen_bf16;
  k->widen[WEIGHT_F16] = widen_f16;
  k->narrow_f16 = narrow_f16;
  k->bf16_codes = bf16_codes;
  kernels_set_float(k, (cpu_product){few, &float_panel});
}
