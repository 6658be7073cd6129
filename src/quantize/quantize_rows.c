/* quantize/quantize_rows.c: one matrix: its rows are cut into slices that the threads read, unpack, pack and compare.
 *
 * Only the packed matrix is held as a whole; FP32 values exist a few slices at a time. Sums of errors are added slice after
 * slice, so that they do not depend on the number of threads.
 */
#include <stdatomic.h>
#include <string.h>

#include "load/budget.h"
#include "load/slice.h"
#include "quantize/quantize.h"

enum { SLICES_PER_THREAD = 4 }; /* in one slab: progress is counted between slabs */

/* What one thread works with. */
typedef struct buffers {
  uint8_t *raw;            /* plan_raw_bytes */
  float *values, *written; /* [rows][cols] of a slice */
} buffers;

/* What came out of one slice. */
typedef struct slice_result {
  pack_survey survey;
  double error2, original2;
} slice_result;

typedef struct rows_run {
  quantize_job *j;
  quantize_output *out;
  size_t slice_rows;
  size_t first, end; /* rows of this slab */
  int survey;
  uint8_t *data; /* packed: the whole matrix; dense: this slab */
  buffers *threads;
  slice_result *slices; /* of this slab */
  _Atomic int stop;     /* cancelled in the middle of a slab */
} rows_run;

/* ---- reading */

/* to[rows] = from[rows] in the model's order. A slice begins with a head. */
static void unpermute(const quantize_output *out, const void *from, void *to, size_t rows, size_t row_bytes) {
  for (size_t r = 0; r < rows; r++)
    memcpy((uint8_t *)to + slice_row(r, out->item->head_rows) * row_bytes, (const uint8_t *)from + r * row_bytes,
           row_bytes);
}

/* Rows [row, row + rows) as FP32 in the model's order, in t->values. */
static viva_status read_values(const rows_run *run, size_t row, size_t rows, const buffers *t, viva_error *error) {
  const plan_item *item = run->out->item;
  slice w = {.item = item, .row = row, .rows = rows};
  slice_buffers b = {t->raw, item->head_rows ? t->written : t->values};
  TRY(slice_values(&run->j->p, &w, &b, error));
  if (item->head_rows) unpermute(run->out, b.values, t->values, rows, item->cols * sizeof(float));
  return VIVA_OK;
}

/* ---- one slice */

static viva_status not_finite(const rows_run *run, pack_place bad, viva_error *error) {
  const quantize_output *out = run->out;
  const tensor_view *view = out->item->view;
  if (out->item->slot == &names_global[NAMES_EMBEDDING] || run->j->dense) /* no rule has an exception for these */
    return checkpoint_fail(run->j->ck, view, error, VIVA_E_NUMERIC,
                           "row %zu, column %zu is NaN or infinite: the file is damaged", bad.row, bad.col);
  return checkpoint_fail(run->j->ck, view, error, VIVA_E_NUMERIC,
                         "row %zu, column %zu is NaN or infinite%s; the file is damaged, or leave this matrix as it is "
                         "with a rule such as \"…,%s=stored\"",
                         bad.row, bad.col, out->packed ? ", which a packed format cannot hold" : "", out->name);
}

static void compare(const float *values, const float *written, size_t count, slice_result *result) {
  double error2 = 0, original2 = 0;
  for (size_t i = 0; i < count; i++) {
    double difference = (double)written[i] - (double)values[i];
    error2 += difference * difference;
    original2 += (double)values[i] * (double)values[i];
  }
  result->error2 = error2;
  result->original2 = original2;
}

static viva_status pack_slice(const rows_run *run, size_t row, size_t rows, const buffers *t, slice_result *result,
                              viva_error *error) {
  quantize_output *out = run->out;
  size_t all = out->item->rows, cols = out->item->cols;
  pack_place bad = {0};
  pack_rows(&out->spec, all, cols, run->data, row, rows, t->values, cols, NULL, &bad);
  if (bad.found) return not_finite(run, bad, error);
  weight w = pack_view(&out->spec, all, cols, run->data);
  unpack_rows(&w, row, rows, t->written, cols);
  compare(t->values, t->written, rows * cols, result);
  return VIVA_OK;
}

/* Rounded to nearest even. What is not finite is refused, and a finite value that has no finite form in 16 bits. */
static viva_status narrow_slice(const rows_run *run, size_t row, size_t rows, const buffers *t, slice_result *result,
                                viva_error *error) {
  quantize_output *out = run->out;
  size_t count = rows * out->item->cols, bad = f32_find_nonfinite_n(t->values, count);
  if (bad < count) return not_finite(run, (pack_place){1, row + bad / out->item->cols, bad % out->item->cols}, error);
  void *to = run->data + (row - run->first) * out->item->cols * weight_element_bytes(out->spec.format);
  switch (out->spec.format) {
  case WEIGHT_BF16:
    bf16_from_f32_n(t->values, to, count);
    bf16_to_f32_n(to, t->written, count);
    break;
  case WEIGHT_F16:
    f16_from_f32_n(t->values, to, count);
    f16_to_f32_n(to, t->written, count);
    break;
  default: memcpy(to, t->values, count * sizeof(float)); return VIVA_OK;
  }
  if (f32_find_nonfinite_n(t->written, count) < count)
    return checkpoint_fail(run->j->ck, out->item->view, error, VIVA_E_NUMERIC,
                           "the tensor has values that are beyond the range of %s; write it as %s",
                           out->spec.format == WEIGHT_F16 ? "F16 (65504)" : "BF16",
                           out->spec.format == WEIGHT_F16 ? "bf16" : "f32");
  compare(t->values, t->written, count, result);
  return VIVA_OK;
}

/* The caller's own thread asks before each of its slices, so that a cancel does not wait for a slab. */
static int stopped(rows_run *run, size_t thread) {
  const viva_quantize_options *o = run->j->options;
  if (thread == 0 && o->progress && o->progress(o->progress_user, run->j->done, run->j->total))
    atomic_store(&run->stop, 1);
  return atomic_load(&run->stop);
}

static viva_status cancelled(viva_error *error) {
  return error_set(error, VIVA_E_CANCELLED, "quantizing was cancelled");
}

static viva_status run_slice(void *arg, size_t i, size_t thread, viva_error *error) {
  rows_run *run = arg;
  const buffers *t = &run->threads[thread];
  const size_t row = run->first + i * run->slice_rows, left = run->end - row, cols = run->out->item->cols;
  const size_t rows = left < run->slice_rows ? left : run->slice_rows;
  slice_result *result = &run->slices[i];
  *result = (slice_result){.error2 = 0};
  if (stopped(run, thread)) return cancelled(error);
  TRY(read_values(run, row, rows, t, error));
  if (!run->survey)
    return run->out->packed ? pack_slice(run, row, rows, t, result, error)
                            : narrow_slice(run, row, rows, t, result, error);
  pack_survey_rows(&run->out->spec, t->values, cols, row, rows, cols, &result->survey);
  return VIVA_OK;
}

/* ---- batches */

static viva_status begin_run(rows_run *run, size_t threads, size_t data_bytes, viva_error *error) {
  mem *m = &run->j->engine->rt->mem;
  size_t values = run->slice_rows * run->out->item->cols;
  run->threads = mem_array(m, threads, sizeof *run->threads);
  run->slices = mem_array(m, threads * SLICES_PER_THREAD, sizeof *run->slices);
  run->data = data_bytes ? mem_zalloc(m, data_bytes) : NULL;
  int enough = run->threads && run->slices && (run->data || !data_bytes);
  for (size_t t = 0; t < threads && enough; t++) {
    buffers *b = &run->threads[t];
    b->raw = mem_alloc(m, plan_raw_bytes(run->out->item, run->slice_rows));
    b->values = mem_array(m, values, sizeof(float));
    b->written = mem_array(m, values, sizeof(float));
    enough = b->raw && b->values && b->written;
  }
  return enough ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory to pack %s", run->out->name);
}

static void end_run(rows_run *run, size_t threads) {
  mem *m = &run->j->engine->rt->mem;
  for (size_t t = 0; t < threads && run->threads; t++) {
    mem_free(m, run->threads[t].raw);
    mem_free(m, run->threads[t].values);
    mem_free(m, run->threads[t].written);
  }
  mem_free(m, run->threads);
  mem_free(m, run->slices);
  mem_free(m, run->data);
}

viva_status quantize_progress(quantize_job *j, uint64_t bytes, viva_error *error) {
  j->done += bytes;
  if (j->options->progress && j->options->progress(j->options->progress_user, j->done, j->total))
    return cancelled(error);
  return VIVA_OK;
}

/* Adds up what the slices of a slab gave; a dense slab goes to its file. */
static viva_status finish_batch(rows_run *run, size_t count, stream *s, pack_survey *survey, viva_error *error) {
  quantize_output *out = run->out;
  size_t rows = run->end - run->first;
  for (size_t i = 0; i < count; i++) {
    if (run->survey) pack_survey_merge(survey, &run->slices[i].survey);
    out->error2 += run->slices[i].error2;
    out->original2 += run->slices[i].original2;
  }
  if (!out->packed) { /* these need no survey */
    size_t row_bytes = out->item->cols * weight_element_bytes(out->spec.format);
    TRY(stream_write(s, out->first_tensor, (uint64_t)run->first * row_bytes, run->data, (uint64_t)rows * row_bytes,
                     error));
  }
  uint64_t done = out->bytes_before * run->end / out->item->rows - out->bytes_before * run->first / out->item->rows;
  return quantize_progress(run->j, done, error);
}

static viva_status run_batches(rows_run *run, stream *s, pack_survey *survey, viva_error *error) {
  pool *workers = run->j->engine->pool;
  size_t threads = (size_t)pool_threads(workers), slab = run->slice_rows * threads * SLICES_PER_THREAD;
  size_t all = run->out->item->rows;
  for (run->first = 0; run->first < all; run->first = run->end) {
    run->end = all - run->first < slab ? all : run->first + slab;
    size_t count = (run->end - run->first + run->slice_rows - 1) / run->slice_rows;
    TRY(pool_try(workers, count, run_slice, run, error));
    TRY(finish_batch(run, count, s, survey, error));
  }
  return VIVA_OK;
}

/* ---- whole matrices */

/* What is written must be readable: its own number must not look like the other dialect's. */
static viva_status check_global(const quantize_output *out, float absmax, viva_error *error) {
  const pack_spec *spec = &out->spec;
  if (spec->format != WEIGHT_NVFP4 || quant_nvfp4_clear(spec->global, !spec->multiplier)) return VIVA_OK;
  error_set(
      error, VIVA_E_NUMERIC,
      "its largest weight is %g: beyond 268800, files in NVFP4 are taken for ModelOpt's; give this matrix another "
      "format",
      (double)absmax);
  error_at(error, NULL, out->name, -1, VIVA_NO_OFFSET);
  return VIVA_E_NUMERIC;
}

viva_status quantize_survey(quantize_job *j, quantize_output *out, viva_error *error) {
  size_t threads = (size_t)pool_threads(j->engine->pool);
  rows_run run = {.j = j, .out = out, .survey = 1, .slice_rows = plan_slice_rows(out->item)};
  pack_survey survey = {0};
  viva_status status = begin_run(&run, threads, 0, error);
  if (!status) status = run_batches(&run, NULL, &survey, error);
  if (!status && survey.bad.found) status = not_finite(&run, survey.bad, error);
  if (!status) pack_settle(&out->spec, &survey);
  if (!status) status = check_global(out, survey.absmax, error);
  end_run(&run, threads);
  return status;
}

/* The small tensors behind codes and scales: quantize_plan.c has their order. */
static viva_status write_numbers(const quantize_job *j, const quantize_output *out, stream *s, viva_error *error) {
  size_t next = out->first_tensor + 2;
  if (out->spec.format == WEIGHT_NVFP4)
    TRY(stream_write(s, next++, 0, &out->spec.global, sizeof out->spec.global, error));
  if (!j->own) return VIVA_OK;
  int64_t shape[2] = {(int64_t)out->item->rows, (int64_t)out->item->cols};
  return stream_write(s, next, 0, shape, sizeof shape, error);
}

static viva_status write_packed(quantize_job *j, quantize_output *out, const uint8_t *data, stream *s,
                                viva_error *error) {
  pack_sizes sizes;
  size_t rows = out->item->rows;
  if (pack_measure(&out->spec, rows, out->item->cols, &sizes))
    return error_set(error, VIVA_E_LIMIT, "a packed matrix is too large");
  TRY(stream_write(s, out->first_tensor, 0, data, (uint64_t)rows * sizes.row_bytes, error));
  TRY(stream_write(s, out->first_tensor + 1, 0, data + sizes.scales_offset, (uint64_t)rows * sizes.scale_row_bytes,
                   error));
  return write_numbers(j, out, s, error);
}

static viva_status convert_matrix(quantize_job *j, quantize_output *out, stream *s, viva_error *error) {
  size_t threads = (size_t)pool_threads(j->engine->pool), cols = out->item->cols, rows = out->item->rows;
  rows_run run = {.j = j, .out = out, .slice_rows = plan_slice_rows(out->item)};
  size_t slab = run.slice_rows * threads * SLICES_PER_THREAD;
  pack_sizes sizes = {.bytes = (slab < rows ? slab : rows) * cols * weight_element_bytes(out->spec.format)};
  if (out->packed && pack_measure(&out->spec, rows, cols, &sizes))
    return error_set(error, VIVA_E_LIMIT, "a packed matrix is too large");
  viva_status status = begin_run(&run, threads, sizes.bytes, error);
  if (!status) status = run_batches(&run, s, NULL, error);
  if (!status && out->packed) status = write_packed(j, out, run.data, s, error);
  end_run(&run, threads);
  return status;
}

/* Rows of the file's bytes, in the model's order, without looking at the values. */
static viva_status copy_rows(quantize_job *j, quantize_output *out, const tensor_view *view, stream *s,
                             viva_error *error) {
  mem *m = &j->engine->rt->mem;
  size_t rows = out->item->rows, step = plan_slice_rows(out->item);
  uint64_t row_bytes = view->bytes / rows;
  uint8_t *data = mem_alloc(m, (size_t)row_bytes * step), *turned = mem_alloc(m, (size_t)row_bytes * step);
  viva_status status = data && turned ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory to copy %s", out->name);
  for (size_t row = 0; row < rows && !status; row += step) {
    size_t count = rows - row < step ? rows - row : step, bytes = (size_t)row_bytes * count;
    status = checkpoint_read_part(j->ck, view, row * row_bytes, data, bytes, error);
    if (!status && out->item->head_rows) unpermute(out, data, turned, count, (size_t)row_bytes);
    if (!status)
      status = stream_write(s, out->first_tensor, row * row_bytes, out->item->head_rows ? turned : data, bytes, error);
    if (!status) status = quantize_progress(j, bytes, error);
  }
  mem_free(m, data);
  mem_free(m, turned);
  return status;
}

/* Codes and scales of a packed matrix as the file has them; scales that several rows share are written for each. */
static viva_status copy_packed(quantize_job *j, quantize_output *out, stream *s, viva_error *error) {
  mem *m = &j->engine->rt->mem;
  slice all = {.item = out->item, .rows = out->item->rows};
  pack_sizes sizes;
  if (pack_measure(&out->spec, all.rows, out->item->cols, &sizes))
    return error_set(error, VIVA_E_LIMIT, "a packed matrix is too large");
  size_t scales = budget_mul(all.rows, out->item->source.scale_cols);
  uint8_t *data = mem_zalloc(m, sizes.bytes);
  slice_buffers b = {mem_alloc(m, plan_raw_bytes(out->item, all.rows)), mem_array(m, scales, sizeof(float))};
  viva_status status =
      data && b.raw && b.values ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory to copy %s", out->name);
  if (!status) status = slice_native(&j->p, &all, &b, &out->spec, data, all.rows, 0, error);
  if (!status) status = write_packed(j, out, data, s, error);
  if (!status) status = quantize_progress(j, out->bytes_before, error);
  mem_free(m, b.values);
  mem_free(m, b.raw);
  mem_free(m, data);
  return status;
}

/* F64, which nothing needs in full, as F32; every other type of vector stays what it is. */
static viva_status narrow_vector(quantize_job *j, quantize_output *out, stream *s, viva_error *error) {
  mem *m = &j->engine->rt->mem;
  const tensor_view *view = out->item->view;
  size_t count = (size_t)view->elements;
  void *raw = mem_alloc(m, (size_t)view->bytes);
  float *values = mem_array(m, 2 * count, sizeof(float)), *turned = values ? values + count : NULL;
  viva_status status = raw && values ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory to copy %s", out->name);
  if (!status) status = checkpoint_read_part(j->ck, view, 0, raw, (size_t)view->bytes, error);
  if (!status) status = type_dequant(view->type, raw, values, count, error);
  if (!status && out->item->head_rows) unpermute(out, values, turned, count, sizeof(float));
  if (!status)
    status =
        stream_write(s, out->first_tensor, 0, out->item->head_rows ? turned : values, count * sizeof(float), error);
  if (!status) status = quantize_progress(j, view->bytes, error);
  mem_free(m, raw);
  mem_free(m, values);
  return status;
}

static int same_type(weight_format format, file_type type) {
  static const file_type types[] = {[WEIGHT_F32] = TYPE_F32, [WEIGHT_BF16] = TYPE_BF16, [WEIGHT_F16] = TYPE_F16};
  return types[format] == type;
}

viva_status quantize_write(quantize_job *j, quantize_output *out, stream *s, viva_error *error) {
  if (out->copied) return copy_packed(j, out, s, error);
  if (out->packed) return convert_matrix(j, out, s, error);
  const tensor_view *view = out->item->view;
  int dense = out->item->source.kind == QUANT_DENSE;
  if (dense && same_type(out->spec.format, view->type)) return copy_rows(j, out, view, s, error);
  return out->item->vector ? narrow_vector(j, out, s, error) : convert_matrix(j, out, s, error);
}

/* ---- memory */

static uint64_t convert_memory(const quantize_output *out, size_t threads) {
  size_t rows = plan_slice_rows(out->item), cols = out->item->cols;
  uint64_t thread = budget_add(plan_raw_bytes(out->item, rows), budget_mul(budget_mul(rows, cols), 2 * sizeof(float)));
  uint64_t slab = budget_mul(budget_mul(rows, threads), SLICES_PER_THREAD);
  if (slab > out->item->rows) slab = out->item->rows;
  uint64_t data = budget_mul(budget_mul(slab, cols), out->packed ? 0 : weight_element_bytes(out->spec.format));
  return budget_add(budget_mul(thread, threads), data);
}

static uint64_t packed_memory(const quantize_output *out) {
  pack_sizes sizes;
  return pack_measure(&out->spec, out->item->rows, out->item->cols, &sizes) ? UINT64_MAX : sizes.bytes;
}

uint64_t quantize_memory(const quantize_job *j) {
  size_t threads = (size_t)pool_threads(j->engine->pool);
  uint64_t most = 0;
  for (size_t i = 0; i < j->output_count; i++) {
    const quantize_output *out = &j->outputs[i];
    uint64_t bytes = out->item->vector ? budget_mul(out->bytes_before, 3) : convert_memory(out, threads);
    if (out->packed) bytes = budget_add(bytes, packed_memory(out));
    if (out->copied) bytes = budget_add(bytes, out->bytes_before);
    if (bytes > most) most = bytes;
  }
  return most;
}
