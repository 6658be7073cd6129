/* engine/prepack.c: a tensor's rows, as FP32, into a packed matrix: on all threads, with memory for a few rows each.
 *
 *   slab:   rows between two calls of progress
 *     slice:  rows converted to FP32 at once, packed while they are in the cache
 *
 * FP32 rows that lie together need no conversion: they are packed from where they are. A tensor on a device is copied to the
 * host first, unless the device packs (prepack_device.c): then a slab goes to it as it is. */
#include "engine/prepack.h"

#include <math.h>
#include <string.h>

#include "base/ck.h"
#include "tensor/view.h"

#define SLICE_BYTES        ((size_t)256 << 10) /* FP32 of a slice: stays in the second cache */
#define TURNED_SLICE_BYTES ((size_t)1 << 20)   /* of a transposed view: more rows, so that whole cache lines are read */
#define TURNED_SLICE_ROWS  16                  /* at least: a cache line of F32 */
#define MOST_SLICE_ROWS    64
#define SLAB_VALUES        ((size_t)8 << 20) /* a few milliseconds of work */

typedef struct prepack_job {
  const prepack_plan *plan;
  const viva_tensor *source, *mask; /* of the plan, in the host's memory; source NULL: only the device reads it */
  int by_device;                    /* it packs; the survey, if there is one, is the host's work */
  pack_spec spec;
  size_t rows, cols, slice;
  size_t first, slab;   /* row of this slab, and its rows */
  void *data;           /* the packed matrix (by_device: dev); NULL: survey */
  float *values;        /* [threads][slice][cols]; NULL: packed in place */
  uint8_t *keep;        /* [threads][slice][cols]; NULL: none, or in place */
  pack_survey *surveys; /* [threads] */
} prepack_job;

/* -- rows of the source */

static int read_in_place(const viva_tensor *t) {
  return t->dtype == VIVA_F32 && t->strides[1] == 1 && t->strides[0] >= 0;
}

static int keep_in_place(const viva_tensor *t) { return t->strides[1] == 1 && t->strides[0] >= 0; }

static size_t slice_rows(const viva_tensor *t) {
  const int turned = t->strides[0] == 1 && t->strides[1] != 1;
  const size_t least = turned ? TURNED_SLICE_ROWS : 1;
  const size_t fits = (turned ? TURNED_SLICE_BYTES : SLICE_BYTES) / sizeof(float) / (size_t)t->shape[1];
  return fits < least ? least : fits > MOST_SLICE_ROWS ? MOST_SLICE_ROWS : fits;
}

static const float *values_of(const prepack_job *j, size_t t, size_t row, size_t rows, size_t *stride) {
  const viva_tensor *source = j->source;
  if (!j->values) {
    *stride = (size_t)source->strides[0];
    return (const float *)(const void *)source->data + row * *stride;
  }
  float *to = j->values + t * j->slice * j->cols;
  *stride = j->cols;
  tensor_rows_f32(source, row, rows, to, j->cols);
  return to;
}

static pack_keep keep_of(const prepack_job *j, size_t t, size_t row, size_t rows) {
  const viva_tensor *keep = j->mask;
  if (!keep) return (pack_keep){0};
  const uint8_t *from = (const uint8_t *)keep->data;
  if (!j->keep) return (pack_keep){from + row * (size_t)keep->strides[0], (size_t)keep->strides[0]};
  uint8_t *to = j->keep + t * j->slice * j->cols;
  for (size_t c = 0; c < j->cols; c++) /* rows inside: what is not in place is mostly a transposed view */
    for (size_t r = 0; r < rows; r++)
      to[r * j->cols + c] = from[(int64_t)(row + r) * keep->strides[0] + (int64_t)c * keep->strides[1]];
  return (pack_keep){to, j->cols};
}

/* -- what a thread does */

/* Smallest magnitude that F16 and BF16 round to infinity; the others take every float. */
static float dense_limit(weight_format format) {
  return format == WEIGHT_F16 ? 65520.0f : format == WEIGHT_BF16 ? 0x1.ffp127f : INFINITY;
}

/* The first finite value that has no place in the format. */
static pack_place too_large(const prepack_job *j, size_t row, size_t rows, const float *values, size_t stride) {
  const float limit = dense_limit(j->spec.format);
  for (size_t r = 0; r < rows && limit < INFINITY; r++) {
    const float *line = values + r * stride;
    if (f32_absmax_n(line, j->cols, NULL) < limit) continue;
    for (size_t c = 0; c < j->cols; c++)
      if (isfinite(line[c]) && fabsf(line[c]) >= limit) return (pack_place){1, row + r, c};
  }
  return (pack_place){0};
}

/* -- refusals */

/* The value as the tensor has it: F64 may be finite where FP32 is not. */
static viva_status source_value(const prepack_job *j, pack_place at, double *value, viva_error *error) {
  const viva_tensor *source = j->source ? j->source : j->plan->source; /* the host's, where it has one */
  const viva_tensor row = view_part(source, 0, at.row, 1), cell = view_part(&row, 1, at.col, 1);
  viva_tensor *copy = NULL;
  if (cell.storage->device) TRY(device_to_host(cell.storage->rt, &cell, &copy, error));
  const viva_tensor *here = copy ? copy : &cell;
  float narrow;
  if (here->dtype == VIVA_F64) {
    memcpy(value, here->data, sizeof *value);
  } else {
    tensor_row_f32(here, 0, 0, 1, &narrow);
    *value = narrow;
  }
  viva_tensor_release(copy);
  return VIVA_OK;
}

static viva_status refuse_value(const prepack_job *j, pack_place bad, viva_error *error) {
  double value;
  TRY(source_value(j, bad, &value, error));
  if (isfinite(value) && isinf((float)value)) {
    error_set(error, VIVA_E_NUMERIC,
              "the weight at row %zu, column %zu is beyond the largest value of F32 (3.4e38), which every format is "
              "packed from; scale the weights down",
              bad.row, bad.col);
  } else if (isfinite(value)) {
    error_set(
        error, VIVA_E_NUMERIC,
        "the weight at row %zu, column %zu is beyond the largest value of %s; choose a format with a wider range, "
        "such as F32",
        bad.row, bad.col, j->spec.format == WEIGHT_F16 ? "F16 (65504)" : "BF16");
  } else {
    error_set(error, VIVA_E_NUMERIC,
              "the weight at row %zu, column %zu is %s; expected finite numbers (the option "
              "allow_nonfinite accepts them)",
              bad.row, bad.col, isnan(value) ? "NaN" : "infinite");
  }
  error_at(error, NULL, "weight", -1, VIVA_NO_OFFSET);
  return VIVA_E_NUMERIC;
}

static viva_status refuse_keep(const prepack_job *j, pack_place bad, viva_error *error) {
  const size_t left = j->cols - bad.col;
  error_set(error, VIVA_E_ARGUMENT, "keep does not keep %s of the %zu weights at row %zu, columns %zu to %zu",
            left < SPARSE_24_GROUP ? "at most 2" : "exactly 2", left < SPARSE_24_GROUP ? left : SPARSE_24_GROUP,
            bad.row, bad.col, bad.col + (left < SPARSE_24_GROUP ? left : SPARSE_24_GROUP) - 1);
  error_at(error, NULL, "keep", -1, VIVA_NO_OFFSET);
  return VIVA_E_ARGUMENT;
}

/* -- a slab */

static viva_status check_keep(const prepack_job *j, const pack_keep *keep, size_t row, size_t rows, viva_error *error) {
  pack_place bad = pack_check_keep(keep, rows, j->cols);
  bad.row += row;
  return bad.found ? refuse_keep(j, bad, error) : VIVA_OK;
}

static viva_status pack_slice(prepack_job *j, size_t t, size_t row, size_t rows, viva_error *error) {
  size_t stride;
  const pack_keep keep = keep_of(j, t, row, rows);
  if (keep.bytes) TRY(check_keep(j, &keep, row, rows, error));
  const float *values = values_of(j, t, row, rows, &stride);
  pack_survey all = {.bad = too_large(j, row, rows, values, stride)}, bad = {0};
  pack_rows(&j->spec, j->rows, j->cols, j->data, row, rows, values, stride, keep.bytes ? &keep : NULL, &bad.bad);
  pack_survey_merge(&all, &bad);
  return all.bad.found ? refuse_value(j, all.bad, error) : VIVA_OK;
}

static viva_status survey_slice(prepack_job *j, size_t t, size_t row, size_t rows, viva_error *error) {
  size_t stride;
  const float *values = values_of(j, t, row, rows, &stride);
  pack_survey_rows(&j->spec, values, stride, row, rows, j->cols, &j->surveys[t]);
  return j->surveys[t].bad.found ? refuse_value(j, j->surveys[t].bad, error) : VIVA_OK;
}

static viva_status do_slice(void *arg, size_t i, size_t thread, viva_error *error) {
  prepack_job *j = arg;
  const size_t at = i * j->slice, row = j->first + at;
  const size_t rows = j->slab - at < j->slice ? j->slab - at : j->slice;
  return j->data ? pack_slice(j, thread, row, rows, error) : survey_slice(j, thread, row, rows, error);
}

/* -- the whole */

static viva_status pack_by_device(viva_engine *e, const prepack_job *j, size_t rows, viva_error *error) {
  pack_place bad = {0};
  TRY(prepack_slab(e, j->plan->source, &j->spec, j->first, rows, j->data, &bad, error));
  return bad.found ? refuse_value(j, bad, error) : VIVA_OK;
}

static viva_status do_slab(viva_engine *e, prepack_job *j, size_t rows, viva_error *error) {
  if (j->data && j->by_device) return pack_by_device(e, j, rows, error);
  j->slab = rows;
  return pool_try(e->pool, (rows + j->slice - 1) / j->slice, do_slice, j, error);
}

/* One pass over all rows: pass `pass` of `passes`, for progress. */
static viva_status run_pass(viva_engine *e, prepack_job *j, size_t threads, size_t pass, size_t passes,
                            viva_error *error) {
  const prepack_plan *plan = j->plan;
  const size_t fits = SLAB_VALUES / j->cols, least = threads * j->slice;
  const size_t slab = fits < least ? least : fits;
  for (size_t row = 0; row < j->rows;) {
    const size_t rows = j->rows - row < slab ? j->rows - row : slab;
    j->first = row;
    TRY(do_slab(e, j, rows, error));
    row += rows;
    const uint64_t done = (pass * (uint64_t)j->rows + row) / passes;
    if (plan->progress && plan->progress(plan->progress_user, done, j->rows) != 0)
      return error_set(error, VIVA_E_CANCELLED, "cancelled by the caller after %llu of %zu rows",
                       (unsigned long long)done, j->rows);
  }
  return VIVA_OK;
}

static viva_status survey(viva_engine *e, prepack_job *j, size_t threads, viva_error *error) {
  TRY(run_pass(e, j, threads, 0, 2, error));
  pack_survey all = {0};
  for (size_t t = 0; t < threads; t++) pack_survey_merge(&all, &j->surveys[t]);
  pack_settle(&j->spec, &all);
  memset(j->surveys, 0, threads * sizeof *j->surveys);
  return VIVA_OK;
}

static viva_status too_big(const prepack_job *j, viva_error *error) {
  return error_set(error, VIVA_E_LIMIT, "the size of a packed matrix of %zu x %zu overflows", j->rows, j->cols);
}

/* Where the packed matrix goes. */
typedef struct room {
  void *memory; /* of the backend */
  void *data;   /* the same when it is written there, else the host's */
  size_t bytes;
} room;

static void leave_room(viva_engine *e, room *r) {
  if (r->data != r->memory) mem_free(&e->rt->mem, r->data);
  e->backend->ops->free(e->backend, r->memory, NULL);
  *r = (room){0};
}

/* direct: rows are written there, by the host or by the device itself. */
static viva_status take_room(viva_engine *e, size_t bytes, int direct, room *r, viva_error *error) {
  backend *b = e->backend;
  *r = (room){.bytes = bytes};
  const viva_status status = b->ops->alloc(b, bytes, &r->memory, error);
  if (status && status != VIVA_E_MEMORY) return status;
  r->data = r->memory && !direct ? mem_alloc(&e->rt->mem, bytes) : r->memory;
  if (r->data) return VIVA_OK;
  leave_room(e, r);
  return error_set(error, VIVA_E_MEMORY, "no memory for a packed matrix of %zu bytes", bytes);
}

/* The most bytes that it can become: the survey may widen narrow scales to F32. */
static int most_bytes(const prepack_job *j, size_t *bytes) {
  pack_spec wide = j->spec;
  pack_sizes as_asked, widened;
  if (wide.format != WEIGHT_NVFP4) wide.scale = SCALE_F32;
  if (pack_measure(&j->spec, j->rows, j->cols, &as_asked) || pack_measure(&wide, j->rows, j->cols, &widened)) return 1;
  *bytes = as_asked.bytes > widened.bytes ? as_asked.bytes : widened.bytes;
  return 0;
}

/* Packs into the room, which becomes the handle's on success. */
static viva_status pack(viva_engine *e, prepack_job *j, size_t threads, size_t passes, const room *r,
                        const pack_sizes *sizes, viva_packed_weight **packed, viva_error *error) {
  backend *b = e->backend;
  const size_t codes = sizes->row_bytes * j->rows, gap = sizes->scales_offset - codes; /* which is zero */
  j->data = r->data;
  if (j->by_device)
    TRY(device_zeros(&e->device, (char *)j->data + codes, gap, error));
  else
    memset((char *)j->data + codes, 0, gap);
  TRY(run_pass(e, j, threads, passes - 1, passes, error));
  if (r->data != r->memory) TRY(b->ops->upload(b, r->memory, r->data, sizes->bytes, error));
  const weight matrix = pack_view(&j->spec, j->rows, j->cols, r->memory);
  TRY(packed_own(e, &matrix, r->memory, packed, error));
  if (r->data != r->memory) mem_free(&e->rt->mem, r->data);
  return VIVA_OK;
}

/* Memory comes first: a matrix that has no place is refused before its rows, which may take hours, are read. */
static viva_status run_passes(viva_engine *e, prepack_job *j, size_t threads, viva_packed_weight **packed,
                              viva_error *error) {
  const int surveyed = pack_needs_survey(&j->spec), direct = e->backend->host_memory || j->by_device;
  size_t most;
  pack_sizes sizes;
  room r;
  if (most_bytes(j, &most)) return too_big(j, error);
  TRY(take_room(e, most, direct, &r, error));
  viva_status status = surveyed ? survey(e, j, threads, error) : VIVA_OK;
  if (status == VIVA_OK && pack_measure(&j->spec, j->rows, j->cols, &sizes)) status = too_big(j, error);
  if (status == VIVA_OK && sizes.bytes < r.bytes) { /* what stays is no larger than it must be */
    leave_room(e, &r);
    TRY(take_room(e, sizes.bytes, direct, &r, error));
  }
  if (status == VIVA_OK) status = pack(e, j, threads, surveyed ? 2 : 1, &r, &sizes, packed, error);
  if (status != VIVA_OK) leave_room(e, &r);
  return status;
}

/* Memory of the threads, and all passes. */
static viva_status run_threads(viva_engine *engine, prepack_job *j, viva_packed_weight **packed, viva_error *error) {
  mem *m = &engine->rt->mem;
  uint64_t values;
  j->slice = j->source ? slice_rows(j->source) : 1;
  if (j->slice > j->rows) j->slice = j->rows;
  size_t threads = (size_t)pool_threads(engine->pool);
  if (threads > j->rows) threads = j->rows; /* a row is the least that one takes */
  if (ck_mul(threads * j->slice, j->cols, &values) || values > SIZE_MAX / sizeof(float)) return too_big(j, error);
  const int convert = j->source && !read_in_place(j->source), turn = j->mask && !keep_in_place(j->mask);
  j->surveys = mem_array(m, threads, sizeof *j->surveys);
  if (convert) j->values = mem_alloc(m, (size_t)values * sizeof *j->values);
  if (turn) j->keep = mem_alloc(m, (size_t)values);
  viva_status status = VIVA_OK;
  if (!j->surveys || (convert && !j->values) || (turn && !j->keep))
    status = error_set(error, VIVA_E_MEMORY, "no memory to pack a matrix of %zu x %zu on %zu threads", j->rows, j->cols,
                       threads);
  if (status == VIVA_OK) status = run_passes(engine, j, threads, packed, error);
  mem_free(m, j->keep);
  mem_free(m, j->values);
  mem_free(m, j->surveys);
  return status;
}

/* *readable = t, or its copy in the host's memory, which is *copy. */
static viva_status bring(viva_engine *engine, const viva_tensor *t, const viva_tensor **readable, viva_tensor **copy,
                         viva_error *error) {
  *readable = t;
  if (!t || !t->storage->device) return VIVA_OK;
  TRY(device_to_host(engine->rt, t, copy, error));
  *readable = *copy;
  return VIVA_OK;
}

viva_status prepack_run(viva_engine *engine, const prepack_plan *plan, viva_packed_weight **packed, viva_error *error) {
  prepack_job j = {.plan = plan,
                   .by_device = prepack_by_device(engine, plan),
                   .spec = plan->spec,
                   .rows = plan->source->shape[0],
                   .cols = plan->source->shape[1]};
  viva_tensor *source = NULL, *mask = NULL;
  viva_status status = VIVA_OK;
  *packed = NULL;
  if (!j.by_device || pack_needs_survey(&j.spec)) status = bring(engine, plan->source, &j.source, &source, error);
  if (status == VIVA_OK) status = bring(engine, plan->keep, &j.mask, &mask, error);
  if (status == VIVA_OK) status = run_threads(engine, &j, packed, error);
  viva_tensor_release(source);
  viva_tensor_release(mask);
  return status;
}
