/* tensor/choose.c: the largest, and what stands at a place of the order: top-k, percentiles, the median. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/along.h"
#include "tensor/radix.h"
#include "tensor/view.h"

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

viva_status viva_tensor_top_k(const viva_tensor *a, uint64_t k, int32_t axis, viva_tensor **values,
                              viva_tensor **indices, viva_error *error) {
  uint32_t at;
  char text[128];
  if (values) *values = NULL;
  if (indices) *indices = NULL;
  TRY(operand_need(a, "a", error));
  if (!dtype_is_compute(a->dtype)) return operand_refuse("top_k", a->dtype, VIVA_DTYPE_NONE, error);
  TRY(operand_axis(a, axis, &at, error));
  const uint64_t n = a->shape[at];
  if (k > n)
    return error_set(error, VIVA_E_SIZE, "top_k: k is %llu; axis %u of the tensor %s has fewer", (unsigned long long)k,
                     (unsigned)at, tensor_shape_text(a, text));
  const size_t rest = radix_argsort_scratch((size_t)n);
  const top t = {a->dtype, (size_t)k};
  lanes l = {.a = a,
             .axis = axis,
             .type = a->dtype,
             .out_type = a->dtype,
             .result = a->dtype,
             .length = k,
             .second = 1,
             .fn = top_row,
             .arg = &t};
  if (rest == SIZE_MAX || __builtin_add_overflow(rest, (size_t)n * sizeof(int64_t), &l.scratch))
    return error_set(error, VIVA_E_LIMIT, "top_k: axis %u of the tensor %s is too long", (unsigned)at,
                     tensor_shape_text(a, text));
  return lanes_new(&l, values, indices, error);
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

static viva_status quantile_new(const char *name, const viva_tensor *a, double percent, int32_t axis, int keepdims,
                                viva_tensor **out, viva_error *error) {
  uint32_t at = 0;
  char text[128];
  viva_tensor *found, *held = NULL;
  const viva_tensor *rows = a;
  if (!(percent >= 0 && percent <= 100))
    return error_set(error, VIVA_E_ARGUMENT, "%s: percent is %g; expected 0 to 100", name, percent);
  if (!dtype_is_compute(a->dtype)) return operand_refuse(name, a->dtype, VIVA_DTYPE_NONE, error);
  if (axis != VIVA_AXIS_ALL) TRY(operand_axis(a, axis, &at, error));
  const uint64_t n = axis == VIVA_AXIS_ALL ? a->elements : a->shape[at];
  if (n == 0)
    return error_set(error, VIVA_E_ARGUMENT, "%s of nothing has no value: the tensor is %s", name,
                     tensor_shape_text(a, text));
  if (axis == VIVA_AXIS_ALL) {
    const uint64_t shape[1] = {a->elements};
    TRY(view_reshape(a, 1, shape, &held, error));
    rows = held;
  }
  const viva_dtype result = dtype_is_float(a->dtype) ? a->dtype : VIVA_F64;
  const quantile q = {dtype_kernel(result), percent / 100};
  lanes l = {.a = rows,
             .axis = axis == VIVA_AXIS_ALL ? 0 : axis,
             .type = q.type,
             .out_type = VIVA_F64,
             .result = result,
             .length = 1,
             .fn = quantile_row,
             .arg = &q,
             .scratch = radix_sort_scratch(VIVA_F64, (size_t)n)};
  viva_status status = VIVA_OK;
  if (l.scratch == SIZE_MAX || __builtin_add_overflow(l.scratch, (size_t)n * sizeof(double), &l.scratch))
    status = error_set(error, VIVA_E_LIMIT, "%s: the tensor %s is too long", name, tensor_shape_text(a, text));
  if (status == VIVA_OK) status = lanes_new(&l, &found, NULL, error);
  viva_tensor_release(held);
  if (status != VIVA_OK) return status;
  view v = view_of(found); /* the axis goes, or all axes stand again */
  if (axis == VIVA_AXIS_ALL) {
    v.rank = keepdims ? a->rank : 0;
    for (uint32_t i = 0; i < v.rank; i++) v.shape[i] = 1, v.strides[i] = 1;
  } else if (!keepdims) {
    v.rank--;
    for (uint32_t i = at; i < v.rank; i++) v.shape[i] = v.shape[i + 1], v.strides[i] = v.strides[i + 1];
  }
  status = view_make(found, &v, out, error);
  viva_tensor_release(found);
  return status;
}

viva_status viva_tensor_percentile(const viva_tensor *a, double percent, int32_t axis, int32_t keepdims,
                                   viva_tensor **out, viva_error *error) {
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  return quantile_new("percentile", a, percent, axis, keepdims != 0, out, error);
}

viva_status viva_tensor_median(const viva_tensor *a, int32_t axis, int32_t keepdims, viva_tensor **out,
                               viva_error *error) {
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  return quantile_new("median", a, 50, axis, keepdims != 0, out, error);
}
