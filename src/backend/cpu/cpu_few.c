/* backend/cpu/cpu_few.c: few rows of x through panels that stay in L1. */
#include "backend/cpu/kernels.h"

#define FEW_PANEL_BYTES ((size_t)12 << 10)
#define FEW_TILE_MOST   6 /* rows of x in a panel's tile at most: lane sums are kept for whole tiles */

static size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

#define FEW_AHEAD 8192 /* bytes: memory is asked for at least this far ahead, and whole groups of rows */
#define LINE      64

/* Where the rows lie that are as many as these further on, in memory of `row_bytes` for each row. */
static const char *ahead_of(const void *data, size_t row_bytes, size_t n0, size_t rows) {
  const size_t group = rows * row_bytes, far = group < FEW_AHEAD ? FEW_AHEAD / group * group : group;
  return (const char *)data + n0 * row_bytes + far;
}

/* Rows [n0, n0 + rows) of w, CPU_PANEL_GROUP at most. */
static void few_group(const cpu_panel *form, const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t n0,
                      size_t rows) {
  const weight *w = a->w;
  _Alignas(64) float panel[FEW_PANEL_BYTES / sizeof(float)];
  _Alignas(64) float lanes[(CPU_FEW_ROWS + FEW_TILE_MOST) * CPU_PANEL_GROUP * CPU_MAX_LANES];
  float w_scales[CPU_PANEL_GROUP] = {0};
  for (size_t j = 0; j < rows && !weight_dense(w->format); j++) w_scales[j] = cpu_row_factor(k, w, n0 + j);
  panel_job job = {.x_stride = in->x_stride,
                   .m = a->m,
                   .code_stride = in->code_stride,
                   .w = panel,
                   .n = rows,
                   .w_scales = weight_dense(w->format) ? NULL : w_scales,
                   .x_scales = in->scales,
                   .weight = w,
                   .row = n0,
                   .bias = a->bias ? a->bias + n0 : NULL,
                   .residual = a->residual ? a->residual + n0 : NULL,
                   .y = a->y + n0,
                   .y_stride = a->y_stride};
  const size_t most = FEW_PANEL_BYTES / CPU_PANEL_GROUP / form->column_bytes, parts = (w->cols + most - 1) / most;
  const size_t part = parts == 1 ? w->cols : (w->cols / parts + CPU_CUT_UNIT - 1) / CPU_CUT_UNIT * CPU_CUT_UNIT;
  const size_t row_bytes = rows * w->row_bytes;
  const char *ahead = ahead_of(w->data, w->row_bytes, n0, rows);
  for (size_t at = 0; weight_blocked(w) && at < rows * w->scale_row_bytes; at += LINE)
    __builtin_prefetch(ahead_of(w->scales, w->scale_row_bytes, n0, rows) + at, 0, 3);
  for (size_t col = 0; col < w->cols; col += part) {
    job.k = w->cols - col < part ? w->cols - col : part;
    job.w_stride = round_up(job.k, form->unit);
    job.col = col;
    job.x = in->x + col;
    if (form->codes) job.codes = (const int8_t *)in->codes + col;
    job.first = col == 0;
    job.last = col + job.k == w->cols;
    job.lanes = job.first && job.last ? NULL : lanes;
    job.ahead = (read_ahead){ahead + col * row_bytes / w->cols, job.k * row_bytes / w->cols};
    form->fill(k, w, n0, rows, col, job.k, job.w_stride, panel);
    form->multiply(&job);
  }
}

void kernels_few_panel(const cpu_panel *form, const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                       size_t begin, size_t end) {
  for (size_t n = begin; n < end; n += CPU_PANEL_GROUP)
    few_group(form, k, a, in, n, end - n < CPU_PANEL_GROUP ? end - n : CPU_PANEL_GROUP);
}
