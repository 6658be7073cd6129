/* engine/linear_run.c: a checked linear call on the backend's table: as one operation (linear_outer) where the backend has
 * one for it, else
 *
 *   input ─ load_rows ─► x ─ quantize_rows ─► xq ─ linear ─► y (gate, up ─ silu_mul) ─ store_rows ─► output
 *
 * Rows go through in chunks, so that the work space is bounded; their bits do not depend on the cut. */
#include "base/ck.h"
#include "engine/linear.h"

#define PAD 16 /* floats: rows begin at a cache line */

/* Parts of one block of device memory. */
typedef struct workspace {
  float *x;    /* [chunk][x_stride] */
  void *xq;    /* quantised x; NULL: none */
  float *y;    /* [chunk][y_stride]; SwiGLU: gate */
  float *up;   /* [chunk][y_stride] or NULL */
  float *bias; /* each [n] or NULL */
  float *up_bias, *after_bias;
  uint8_t *bad; /* [chunk] */
  size_t chunk, x_stride, y_stride;
  void *memory;
} workspace;

/* Takes room for count floats of the space at *bytes; 1 on overflow. */
static int take(uint64_t rows, uint64_t bytes_each, uint64_t *bytes, uint64_t *at) {
  uint64_t size;
  *at = *bytes;
  return ck_mul(rows, bytes_each, &size) || ck_add(*bytes, size, bytes) || ck_align(*bytes, MEM_ALIGN, bytes);
}

static viva_status too_big(const linear_job *job, viva_error *error) {
  return error_set(error, VIVA_E_LIMIT, "the work space for rows of %zu and %zu overflows", job->k, job->n);
}

/* Rows for which weights are read once. */
static size_t chunk_of(const linear_job *job) {
  const size_t most = job->engine->backend->ops->pass_rows;
  return job->rows < most ? job->rows : most;
}

static viva_status make_workspace(const linear_job *job, workspace *s, viva_error *error) {
  backend *b = job->engine->backend;
  uint64_t x_stride, y_stride, bytes = 0, x, xq, y, up, bias, up_bias, after, bad;
  *s = (workspace){.chunk = chunk_of(job)};
  if (ck_align(job->k, PAD, &x_stride) || ck_align(job->n, PAD, &y_stride)) return too_big(job, error);
  const size_t widest = SIZE_MAX / sizeof(float) / b->ops->pass_rows;
  int overflow = x_stride > widest || y_stride > widest;
  if (overflow) return too_big(job, error);
  s->x_stride = (size_t)x_stride, s->y_stride = (size_t)y_stride;
  const size_t quantised = job->mode == INPUT_FLOAT ? 0 : b->ops->quantized_bytes(b, job->mode, s->chunk, job->k);
  const uint64_t line = y_stride * sizeof(float);
  overflow = take(s->chunk, x_stride * sizeof(float), &bytes, &x) || take(1, quantised, &bytes, &xq) ||
             take(s->chunk, line, &bytes, &y) || take(job->up ? s->chunk : 0, line, &bytes, &up) ||
             take(job->bias != NULL, line, &bytes, &bias) || take(job->up_bias != NULL, line, &bytes, &up_bias) ||
             take(job->after_bias != NULL, line, &bytes, &after) || take(s->chunk, 1, &bytes, &bad) || bytes > SIZE_MAX;
  if (overflow) return too_big(job, error);
  TRY(b->ops->alloc(b, (size_t)bytes, &s->memory, error));
  uint8_t *at = s->memory;
  s->x = (float *)(void *)(at + x);
  s->xq = quantised ? at + xq : NULL;
  s->y = (float *)(void *)(at + y);
  s->up = job->up ? (float *)(void *)(at + up) : NULL;
  s->bias = job->bias ? (float *)(void *)(at + bias) : NULL;
  s->up_bias = job->up_bias ? (float *)(void *)(at + up_bias) : NULL;
  s->after_bias = job->after_bias ? (float *)(void *)(at + after) : NULL;
  s->bad = at + bad;
  return VIVA_OK;
}

/* NULL without one. */
static const outer_rows *bias_rows(const viva_tensor *bias, outer_rows *rows) {
  if (!bias) return NULL;
  *rows = (outer_rows){.dtype = bias->dtype, .data = bias->data, .col_stride = (ptrdiff_t)bias->strides[0]};
  return rows;
}

/* A bias as FP32: one row. What is NaN in it stays so, in its column. */
static viva_status load_bias(const linear_job *job, const workspace *s, const viva_tensor *from, float *to,
                             viva_error *error) {
  backend *b = job->engine->backend;
  outer_rows row;
  if (!bias_rows(from, &row)) return VIVA_OK;
  return b->ops->load_rows(b, &row, 1, job->n, to, s->y_stride, s->bad, error);
}

static viva_status load(const linear_job *job, const workspace *s, size_t first, size_t rows, viva_error *error) {
  backend *b = job->engine->backend;
  for (size_t i = 0; i < rows;) {
    outer_rows from;
    const size_t count = tensor_rows_at(&job->input, first + i, rows - i, &from);
    TRY(b->ops->load_rows(b, &from, count, job->k, s->x + i * s->x_stride, s->x_stride, s->bad + i, error));
    i += count;
  }
  return VIVA_OK;
}

static viva_status store(linear_job *job, const workspace *s, size_t first, size_t rows, viva_error *error) {
  backend *b = job->engine->backend;
  for (size_t i = 0; i < rows;) {
    outer_rows to;
    const size_t count = tensor_rows_at(&job->output, first + i, rows - i, &to);
    TRY(b->ops->store_rows(b, s->y + i * s->y_stride, s->y_stride, count, job->n, s->after_bias, s->bad + i, &to,
                           &job->overflows, error));
    i += count;
  }
  return VIVA_OK;
}

static viva_status multiply(const linear_job *job, const workspace *s, size_t rows, viva_error *error) {
  backend *b = job->engine->backend;
  if (job->mode != INPUT_FLOAT) TRY(b->ops->quantize_rows(b, job->mode, s->x, s->x_stride, rows, job->k, s->xq, error));
  linear_args args[2] = {{.m = rows,
                          .x = s->x,
                          .x_stride = s->x_stride,
                          .input = job->mode,
                          .xq = s->xq,
                          .accumulate = job->accumulate,
                          .w = job->weight,
                          .bias = s->bias,
                          .act = job->act,
                          .y = s->y,
                          .y_stride = s->y_stride}};
  args[1] = args[0];
  args[1].w = job->up, args[1].bias = s->up_bias, args[1].y = s->up;
  if (job->up && b->ops->linear_gated) {
    const viva_status status = b->ops->linear_gated(b, args, error);
    if (status != VIVA_E_UNSUPPORTED) return status;
  }
  TRY(b->ops->linear(b, args, job->up ? 2 : 1, error));
  return job->up ? b->ops->silu_mul(b, s->y, s->up, s->y, rows, job->n, s->y_stride, error) : VIVA_OK;
}

static viva_status run(linear_job *job, const workspace *s, viva_error *error) {
  TRY(load_bias(job, s, job->bias, s->bias, error));
  TRY(load_bias(job, s, job->up_bias, s->up_bias, error));
  TRY(load_bias(job, s, job->after_bias, s->after_bias, error));
  for (size_t first = 0; first < job->rows; first += s->chunk) {
    const size_t rows = job->rows - first < s->chunk ? job->rows - first : s->chunk;
    TRY(load(job, s, first, rows, error));
    TRY(multiply(job, s, rows, error));
    TRY(store(job, s, first, rows, error));
  }
  return VIVA_OK;
}

/* -- as one operation */

/* E_UNSUPPORTED: the backend has none for this job; nothing was done. */
static viva_status run_outer(linear_job *job, viva_error *error) {
  backend *b = job->engine->backend;
  outer_rows bias, up_bias, after_bias;
  linear_outer_args a = {.rows = job->rows,
                         .mode = job->mode,
                         .accumulate = job->accumulate,
                         .w = job->weight,
                         .up = job->up,
                         .act = job->act,
                         .bias = bias_rows(job->bias, &bias),
                         .up_bias = bias_rows(job->up_bias, &up_bias),
                         .after_bias = bias_rows(job->after_bias, &after_bias),
                         .overflows = job->counts ? &job->overflows : NULL};
  if (!b->ops->linear_outer || tensor_rows_at(&job->input, 0, job->rows, &a.x) < job->rows ||
      tensor_rows_at(&job->output, 0, job->rows, &a.y) < job->rows)
    return VIVA_E_UNSUPPORTED;
  TRY(b->ops->linear_outer(b, &a, error));
  return b->ops->upload_wait ? b->ops->upload_wait(b, error) : VIVA_OK; /* the output is written when a call returns */
}

viva_status linear_run(linear_job *job, viva_error *error) {
  backend *b = job->engine->backend;
  viva_status status = run_outer(job, error);
  if (status != VIVA_E_UNSUPPORTED) return status;
  const size_t chunk = chunk_of(job);
  workspace s;
  TRY(b->ops->reserve(b, chunk, 0, job->k > job->n ? job->k : job->n, error));
  TRY(make_workspace(job, &s, error));
  status = run(job, &s, error);
  b->ops->free(b, s.memory, NULL);
  return status;
}
