/* backend/cpu/cpu_outer.c: rows of other types and strides to FP32 and back: load_rows, store_rows. */
#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

#include "number/number.h"

#define PART 256 /* columns that go through the stack */

/* A type of the outside: how its elements become FP32 and back. */
typedef struct outer_type {
  size_t bytes;
  void (*to_f32)(const void *from, void *to, size_t count);
  void (*from_f32)(const void *from, void *to, size_t count);
  float limit; /* magnitudes from here on become infinite */
  uint32_t nan;
} outer_type;

static void copy_f32(const void *from, void *to, size_t count) { memcpy(to, from, count * sizeof(float)); }

static const outer_type f32_type = {4, copy_f32, copy_f32, INFINITY, 0x7fc00000u};
static const outer_type f16_type = {2, f16_to_f32_n, f16_from_f32_n, 65520.0f, 0x7e00u};
static const outer_type bf16_type = {2, bf16_to_f32_n, bf16_from_f32_n, 0x1.ffp127f, 0x7fc0u};

static const outer_type *type_of(viva_dtype dtype) {
  return dtype == VIVA_F32 ? &f32_type : dtype == VIVA_F16 ? &f16_type : dtype == VIVA_BF16 ? &bf16_type : NULL;
}

static viva_status refuse(viva_dtype dtype, viva_error *error) {
  return error_set(error, VIVA_E_ARGUMENT, "rows of element type %d; expected F32, F16 or BF16", (int)dtype);
}

static char *row_of(const outer_rows *rows, const outer_type *type, size_t row) {
  return (char *)rows->data + (ptrdiff_t)row * rows->row_stride * (ptrdiff_t)type->bytes;
}

/* Elements `step` bytes apart, to or from a dense run. */
static void gather(const char *from, ptrdiff_t step, char *to, size_t bytes, size_t count) {
  for (size_t i = 0; i < count; i++) memcpy(to + i * bytes, from + (ptrdiff_t)i * step, bytes);
}
static void scatter(const char *from, char *to, ptrdiff_t step, size_t bytes, size_t count) {
  for (size_t i = 0; i < count; i++) memcpy(to + (ptrdiff_t)i * step, from + i * bytes, bytes);
}

typedef struct outer_job {
  const outer_rows *outer;
  const outer_type *type;
  size_t cols, stride; /* stride: of the FP32 rows */
  float *to;
  uint8_t *bad_out;
  const float *from, *bias;
  const uint8_t *bad;
  _Atomic uint64_t overflows;
} outer_job;

/* -- load */

static void load_some(void *arg, size_t begin, size_t end, size_t t) {
  const outer_job *job = arg;
  const outer_type *type = job->type;
  const ptrdiff_t step = job->outer->col_stride * (ptrdiff_t)type->bytes;
  (void)t;
  for (size_t r = begin; r < end; r++) {
    const char *from = row_of(job->outer, type, r);
    float *to = job->to + r * job->stride;
    int nonfinite = 0;
    for (size_t c = 0; c < job->cols; c += PART) {
      const size_t part = job->cols - c < PART ? job->cols - c : PART;
      char dense[PART * sizeof(float)];
      const char *source = from + (ptrdiff_t)c * step;
      if (job->outer->col_stride != 1) gather(source, step, dense, type->bytes, part), source = dense;
      type->to_f32(source, to + c, part);
    }
    f32_absmax_n(to, job->cols, &nonfinite);
    job->bad_out[r] = (uint8_t)nonfinite;
  }
}

viva_status cpu_load_rows(backend *b, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                          uint8_t *bad, viva_error *error) {
  outer_job job = {
      .outer = from, .type = type_of(from->dtype), .cols = cols, .stride = to_stride, .to = to, .bad_out = bad};
  if (!job.type) return refuse(from->dtype, error);
  cpu_spread(cpu_of(b), rows, cols, load_some, &job);
  return VIVA_OK;
}

/* -- store */

/* Sums of a part; returns how many the type makes infinite, those that FP32 made so included. */
static uint64_t stored_values(const outer_job *job, size_t row, size_t col, size_t count, float *values) {
  const float *from = job->from + row * job->stride + col;
  uint64_t overflows = 0;
  for (size_t i = 0; i < count; i++) values[i] = job->bias ? from[i] + job->bias[col + i] : from[i];
  int nonfinite = 0;
  if (f32_absmax_n(values, count, &nonfinite) < job->type->limit && !nonfinite) return 0;
  for (size_t i = 0; i < count; i++) overflows += fabsf(values[i]) >= job->type->limit; /* a NaN is not */
  return overflows;
}

static void fill_nan(const outer_type *type, char *to, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const uint16_t half = (uint16_t)type->nan;
    if (type->bytes == sizeof half)
      memcpy(to + i * sizeof half, &half, sizeof half);
    else
      memcpy(to + i * type->bytes, &type->nan, type->bytes);
  }
}

static void store_some(void *arg, size_t begin, size_t end, size_t t) {
  outer_job *job = arg;
  const outer_type *type = job->type;
  const ptrdiff_t step = job->outer->col_stride * (ptrdiff_t)type->bytes;
  uint64_t overflows = 0;
  (void)t;
  for (size_t r = begin; r < end; r++) {
    char *to = row_of(job->outer, type, r);
    for (size_t c = 0; c < job->cols; c += PART) {
      const size_t part = job->cols - c < PART ? job->cols - c : PART;
      float values[PART];
      char dense[PART * sizeof(float)], *target = to + (ptrdiff_t)c * step;
      char *codes = job->outer->col_stride == 1 ? target : dense;
      if (job->bad && job->bad[r]) {
        fill_nan(type, codes, part);
      } else {
        overflows += stored_values(job, r, c, part, values);
        type->from_f32(values, codes, part);
      }
      if (codes == dense) scatter(dense, target, step, type->bytes, part);
    }
  }
  if (overflows > 0) atomic_fetch_add_explicit(&job->overflows, overflows, memory_order_relaxed);
}

viva_status cpu_store_rows(backend *b, const float *from, size_t from_stride, size_t rows, size_t cols,
                           const float *bias, const uint8_t *bad, const outer_rows *to, uint64_t *overflows,
                           viva_error *error) {
  outer_job job = {.outer = to,
                   .type = type_of(to->dtype),
                   .cols = cols,
                   .stride = from_stride,
                   .from = from,
                   .bias = bias,
                   .bad = bad};
  if (!job.type) return refuse(to->dtype, error);
  cpu_spread(cpu_of(b), rows, cols, store_some, &job);
  if (overflows) *overflows += atomic_load_explicit(&job.overflows, memory_order_relaxed);
  return VIVA_OK;
}
