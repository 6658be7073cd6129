/* tensor/choose.c: the largest, and what stands at a place of the order: top-k, percentiles, the median. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/along.h"
#include "tensor/few.h"
#include "tensor/radix.h"
#include "tensor/view.h"
#include "viva/tensor_into.h"

/* -- top-k */

typedef struct top {
  viva_dtype type;
  size_t k;
} top;

static void top_row(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  const top *t = arg;
  const size_t size = tensor_element_bytes(t->type);
  int64_t *places = scratch;
  radix_argsort(t->type, RADIX_ROUNDS, 1, in, n, places, (char *)scratch + n * sizeof *places);
  memcpy(second, places, t->k * sizeof *places);
  for (size_t i = 0; i < t->k; i++) memcpy(out + i * size, in + (size_t)places[i] * size, size);
}

/* The rows; t is theirs. */
static viva_status plan_top(const viva_tensor *a, uint64_t k, int32_t axis, top *t, lanes *l, viva_error *error) {
  uint32_t at;
  char text[128];
  TRY(operand_need(a, "a", error));
  if (!dtype_is_compute(a->dtype)) return operand_refuse("top_k", a->dtype, VIVA_DTYPE_NONE, error);
  TRY(operand_axis(a, axis, &at, error));
  const uint64_t n = a->shape[at];
  if (k > n)
    return error_set(error, VIVA_E_SIZE, "top_k: k is %llu; axis %u of the tensor %s has fewer", (unsigned long long)k,
                     (unsigned)at, tensor_shape_text(a, text));
  const size_t rest = radix_argsort_scratch((size_t)n);
  *t = (top){a->dtype, (size_t)k};
  *l = (lanes){.a = a,
               .axis = axis,
               .type = a->dtype,
               .out_type = a->dtype,
               .result = a->dtype,
               .length = k,
               .second = 1,
               .fn = top_row,
               .arg = t};
  if (rest == SIZE_MAX || __builtin_add_overflow(rest, (size_t)n * sizeof(int64_t), &l->scratch))
    return error_set(error, VIVA_E_LIMIT, "top_k: axis %u of the tensor %s is too long", (unsigned)at,
                     tensor_shape_text(a, text));
  return VIVA_OK;
}

viva_status viva_tensor_top_k(const viva_tensor *a, uint64_t k, int32_t axis, viva_tensor **values,
                              viva_tensor **indices, viva_error *error) {
  top t;
  lanes l;
  if (values) *values = NULL;
  if (indices) *indices = NULL;
  TRY(plan_top(a, k, axis, &t, &l, error));
  return lanes_new(&l, values, indices, error);
}

/* Both or neither are written. */
viva_status viva_tensor_top_k_into(const viva_tensor *a, uint64_t k, int32_t axis, viva_tensor *values,
                                   viva_tensor *indices, viva_error *error) {
  top t;
  lanes l;
  uint32_t at;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  if (values) TRY(operand_need(values, "values", error));
  if (indices) TRY(operand_need(indices, "indices", error));
  if (values && indices && tensor_overlap(values, indices))
    return error_set(error, VIVA_E_ARGUMENT, "top_k: values and indices share memory");
  TRY(plan_top(a, k, axis, &t, &l, error));
  TRY(operand_axis(a, axis, &at, error));
  for (uint32_t i = 0; i < a->rank; i++) shape[i] = i == at ? k : a->shape[i];
  if (values) TRY(operand_target(values, "values", a->rank, shape, error));
  if (indices) TRY(operand_target(indices, "indices", a->rank, shape, error));
  return lanes_into(&l, values, indices, error);
}

/* -- percentiles */

typedef struct quantile {
  viva_dtype type; /* of the sorted rows */
  double part;     /* 0 to 1 */
} quantile;

/* As NumPy: from below up to the middle, from above from there on, so that the order is kept. */
static double between(double a, double b, double t) {
  if (a == b || t == 0) return a;
  return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
}

static double at_place(viva_dtype type, const char *sorted, size_t i) {
  double wide;
  float narrow;
  if (type == VIVA_F64) {
    memcpy(&wide, sorted + i * sizeof wide, sizeof wide);
    return wide;
  }
  memcpy(&narrow, sorted + i * sizeof narrow, sizeof narrow);
  return (double)narrow;
}

static void quantile_row(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  const quantile *q = arg;
  char *sorted = scratch;
  (void)second;
  radix_sort(q->type, RADIX_ROUNDS, in, n, sorted, sorted + n * sizeof(double));
  const double place = (double)(n - 1) * q->part, below = floor(place);
  const size_t low = (size_t)below, high = low + 1 < n ? low + 1 : low;
  double value = between(at_place(q->type, sorted, low), at_place(q->type, sorted, high), place - below);
  const double last = at_place(q->type, sorted, n - 1);
  if (isnan(last)) value = last;
  memcpy(out, &value, sizeof value);
}

/* The shape without the axis (VIVA_AXIS_ALL: any), or with 1 in its place. */
static uint32_t shape_without(const viva_tensor *a, int all, uint32_t at, int keepdims, uint64_t *shape) {
  uint32_t rank = 0;
  for (uint32_t i = 0; i < a->rank; i++) {
    const int goes = all || i == at;
    if (!goes || keepdims) shape[rank++] = goes ? 1 : a->shape[i];
  }
  return rank;
}

enum { FEW_SCRATCH = 1024 /* bytes */ };

/* Few elements: lines of n, sorted on the stack. */
static viva_status few_quantiles(const viva_tensor *a, const quantile *q, uint32_t last, size_t n, uint32_t rank,
                                 const uint64_t *shape, goal *g, viva_error *error) {
  few_room room;
  _Alignas(32) char scratch[FEW_SCRATCH];
  double values[FEW];
  const viva_dtype result = dtype_is_float(a->dtype) ? a->dtype : VIVA_F64;
  const size_t size = tensor_element_bytes(q->type);
  const char *lines = few_lines(a, a->rank, a->shape, last, q->type, &room);
  for (size_t i = 0; i < a->elements; i += n)
    quantile_row(q, lines + i * size, n, (char *)&values[i / n], NULL, scratch);
  return few_give(g, a->storage->rt, result, rank, shape, VIVA_F64, values, error);
}

static viva_status quantiles(const char *name, const viva_tensor *a, double percent, int32_t axis, int keepdims,
                             goal *g, viva_error *error) {
  uint32_t at = 0;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  char text[128];
  viva_tensor *made, *held = NULL;
  const viva_tensor *rows = a;
  const int all = axis == VIVA_AXIS_ALL;
  TRY(operand_need(a, "a", error));
  if (!(percent >= 0 && percent <= 100))
    return error_set(error, VIVA_E_ARGUMENT, "%s: percent is %g; expected 0 to 100", name, percent);
  if (!dtype_is_compute(a->dtype)) return operand_refuse(name, a->dtype, VIVA_DTYPE_NONE, error);
  if (!all) TRY(operand_axis(a, axis, &at, error));
  const uint64_t n = all ? a->elements : a->shape[at];
  if (n == 0) {
    while (all && a->shape[at] > 0) at++;
    return operand_nothing(name, a, at, error);
  }
  const viva_dtype result = dtype_is_float(a->dtype) ? a->dtype : VIVA_F64;
  const quantile q = {dtype_kernel(result), percent / 100};
  const uint32_t rank = shape_without(a, all, at, keepdims, shape);
  size_t scratch = radix_sort_scratch(VIVA_F64, (size_t)n);
  if (scratch == SIZE_MAX || __builtin_add_overflow(scratch, (size_t)n * sizeof(double), &scratch))
    return error_set(error, VIVA_E_LIMIT, "%s: the tensor %s is too long", name, tensor_shape_text(a, text));
  if (few_fits(a) && scratch <= FEW_SCRATCH)
    return few_quantiles(a, &q, all ? (1u << a->rank) - 1 : 1u << at, (size_t)n, rank, shape, g, error);
  if (all) {
    const uint64_t line[1] = {a->elements};
    TRY(view_reshape(a, 1, line, &held, error));
    rows = held;
  }
  const lanes l = {.a = rows,
                   .axis = all ? 0 : axis,
                   .type = q.type,
                   .out_type = VIVA_F64,
                   .result = result,
                   .length = 1,
                   .fn = quantile_row,
                   .arg = &q,
                   .scratch = scratch};
  const viva_status status = lanes_new(&l, &made, NULL, error);
  viva_tensor_release(held);
  if (status != VIVA_OK) return status;
  made->rank = rank; /* nobody else knows it: as many elements, row by row */
  int64_t step = 1;
  for (uint32_t i = rank; i-- > 0; step *= (int64_t)shape[i]) made->shape[i] = shape[i], made->strides[i] = step;
  return goal_give(g, made, result, error);
}

static viva_status percentile(const viva_tensor *a, double percent, int32_t axis, int32_t keepdims, goal *g,
                              viva_error *error) {
  return quantiles("percentile", a, percent, axis, keepdims != 0, g, error);
}
GOAL_CALLS(percentile, LIST(const viva_tensor *a, double percent, int32_t axis, int32_t keepdims), a, percent, axis,
           keepdims)

static viva_status median(const viva_tensor *a, int32_t axis, int32_t keepdims, goal *g, viva_error *error) {
  return quantiles("median", a, 50, axis, keepdims != 0, g, error);
}
GOAL_CALLS(median, LIST(const viva_tensor *a, int32_t axis, int32_t keepdims), a, axis, keepdims)
