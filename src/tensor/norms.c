/* tensor/norms.c: norms of vectors of any order over any axes, and of matrices: sums and extremes of powers of absolute
 * values. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/along.h"
#include "tensor/few.h"
#include "tensor/fold.h"
#include "viva/tensor_into.h"

/* t = t^power, in place. */
static viva_status raise_to(viva_tensor *t, double power, viva_error *error) {
  return viva_tensor_binary_scalar_into(VIVA_POWER, t, power, t, error);
}

/* sum(|x|^order)^(1/order). */
static viva_status power_norm(viva_tensor *sizes, double order, const int32_t *axes, uint32_t count, int32_t keepdims,
                              viva_tensor **out, viva_error *error) {
  TRY(raise_to(sizes, order, error));
  TRY(reduce_as("norm", VIVA_SUM, sizes, axes, count, keepdims, out, error));
  const viva_status status = raise_to(*out, 1 / order, error);
  if (status != VIVA_OK) viva_tensor_release(*out), *out = NULL;
  return status;
}

/* Of absolute values, which may be written; in their type. Of order 2 it is a reduction of its own. */
static viva_status norm_of(viva_tensor *sizes, double order, const int32_t *axes, uint32_t count, int32_t keepdims,
                           viva_tensor **out, viva_error *error) {
  if (isinf(order)) return reduce_as("norm", order > 0 ? VIVA_MAX : VIVA_MIN, sizes, axes, count, keepdims, out, error);
  if (order == 1) return reduce_as("norm", VIVA_SUM, sizes, axes, count, keepdims, out, error);
  if (order != 0) return power_norm(sizes, order, axes, count, keepdims, out, error);
  return reduce_as("norm", VIVA_COUNT_NONZERO, sizes, axes, count, keepdims, out, error);
}

static viva_status check_operand(const char *name, const viva_tensor *a, viva_error *error) {
  TRY(operand_need(a, "a", error));
  return dtype_is_compute(a->dtype) ? VIVA_OK : operand_refuse(name, a->dtype, VIVA_DTYPE_NONE, error);
}

static viva_dtype result_of(const viva_tensor *a) { return dtype_is_float(a->dtype) ? a->dtype : VIVA_F64; }

/* Absolute values in the type to compute in, in room when they are few; the caller's to write and release. */
static viva_status magnitudes(const viva_tensor *a, tensor_local *room, viva_tensor **sizes, viva_error *error) {
  TRY(operand_copy_in(room, a, dtype_kernel(result_of(a)), sizes, error));
  const viva_status status = viva_tensor_unary_into(VIVA_ABSOLUTE, *sizes, *sizes, error);
  if (status != VIVA_OK) viva_tensor_release(*sizes);
  return status;
}

/* -- few elements */

/* sizes[n] = |a[n]|, of F64 or F32. */
static void absolutes(viva_dtype type, const void *a, size_t n, void *sizes) {
  row_unary(VIVA_ABSOLUTE, type, a, n, sizes);
}

/* As an element of the type and back: what a reduction makes of its sum. */
static double rounded(viva_dtype type, double x) { return type == VIVA_F32 ? (double)(float)x : x; }

/* Of n absolute values, which are written. */
static double line_norm(viva_dtype type, double order, void *sizes, size_t n) {
  _Alignas(8) char root[sizeof(double)];
  if (isinf(order)) return row_extreme(type, sizes, n, order > 0);
  if (order == 1) return rounded(type, row_sum(type, sizes, n));
  if (order == 0) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += type == VIVA_F64 ? ((double *)sizes)[i] != 0 : ((float *)sizes)[i] != 0;
    return (double)count;
  }
  row_scalar(VIVA_POWER, type, sizes, n, order, sizes);
  const double sum = row_sum(type, sizes, n);
  const float narrow = (float)sum;
  memcpy(root, type == VIVA_F64 ? (const void *)&sum : (const void *)&narrow, tensor_element_bytes(type));
  row_scalar(VIVA_POWER, type, root, 1, 1 / order, root);
  return type == VIVA_F64 ? *(double *)(void *)root : (double)*(float *)(void *)root;
}

/* The axes that are named, as bits; 0: not all are there, or one is named twice. */
static uint32_t mask_of(const viva_tensor *a, const int32_t *axes, uint32_t count) {
  uint32_t mask = 0;
  if (!axes) return (1u << a->rank) - 1;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t at = axes[i] < 0 ? (uint32_t)axes[i] + a->rank : (uint32_t)axes[i];
    if (at >= a->rank || mask >> at & 1) return 0;
    mask |= 1u << at;
  }
  return mask;
}

/* The shape without the axes of the mask, or with 1 in their place. */
static uint32_t kept_shape(const viva_tensor *a, uint32_t mask, int keep, uint64_t *shape) {
  uint32_t rank = 0;
  for (uint32_t i = 0; i < a->rank; i++)
    if (keep || !(mask >> i & 1)) shape[rank++] = mask >> i & 1 ? 1 : a->shape[i];
  return rank;
}

/* Of lines over the axes of the mask. */
static viva_status few_norms(const viva_tensor *a, double order, uint32_t mask, int keep, goal *g, viva_error *error) {
  const viva_dtype result = result_of(a), type = dtype_kernel(result);
  const size_t size = tensor_element_bytes(type);
  few_room room, sizes;
  double values[FEW];
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  size_t n = 1, count = 0;
  for (uint32_t i = 0; i < a->rank; i++) n *= mask >> i & 1 ? (size_t)a->shape[i] : 1;
  absolutes(type, few_lines(a, a->rank, a->shape, mask, type, &room), a->elements, sizes.bytes);
  for (size_t i = 0; i < a->elements; i += n) values[count++] = line_norm(type, order, sizes.bytes + i * size, n);
  const uint32_t rank = kept_shape(a, mask, keep, shape);
  return few_give(g, a->storage->rt, result, rank, shape, VIVA_F64, values, error);
}

/* Sums of the columns (or the rows) of a dense matrix, as a reduction has them. */
static size_t matrix_sums(viva_dtype type, int columns, const char *matrix, size_t high, size_t wide, double *sums) {
  const size_t line = wide * tensor_element_bytes(type), count = columns ? wide : high;
  if (columns) {
    for (size_t i = 0; i < wide; i++) sums[i] = 0;
    fold_columns(RED_SUM, type, matrix, high, wide, sums);
  }
  for (size_t i = 0; !columns && i < high; i++) sums[i] = row_sum(type, matrix + i * line, wide);
  for (size_t i = 0; i < count; i++) sums[i] = rounded(type, sums[i]);
  return count;
}

/* The largest (or the least) of the sums along one of the last two axes. */
static viva_status few_matrix_norms(const viva_tensor *a, double order, int keep, goal *g, viva_error *error) {
  const viva_dtype result = result_of(a), type = dtype_kernel(result);
  const size_t high = (size_t)a->shape[a->rank - 2], wide = (size_t)a->shape[a->rank - 1];
  const size_t size = tensor_element_bytes(type);
  few_room room, sizes;
  double values[FEW], sums[FEW];
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  size_t count = 0;
  absolutes(type, few_hold(a, type, &room), a->elements, sizes.bytes);
  for (size_t i = 0; i < a->elements; i += high * wide) {
    const size_t n = matrix_sums(type, !isinf(order), sizes.bytes + i * size, high, wide, sums);
    values[count++] = row_extreme(VIVA_F64, (const char *)sums, n, order > 0);
  }
  const uint32_t rank = kept_shape(a, 3u << (a->rank - 2), keep, shape);
  return few_give(g, a->storage->rt, result, rank, shape, VIVA_F64, values, error);
}

/* -- public */

static viva_status norm(const viva_tensor *a, double order, const int32_t *axes, uint32_t count, int32_t keepdims,
                        goal *g, viva_error *error) {
  tensor_local room;
  viva_tensor *sizes, *wide;
  TRY(check_operand("norm", a, error));
  if (isnan(order)) return error_set(error, VIVA_E_ARGUMENT, "norm: order is NaN; expected a number or infinity");
  if (order == 2 && g->fresh) return viva_tensor_reduce(VIVA_NORM, a, axes, count, keepdims, g->fresh, error);
  if (order == 2) return viva_tensor_reduce_into(VIVA_NORM, a, axes, count, keepdims, g->into, error);
  const uint32_t mask = few_fits(a) ? mask_of(a, axes, count) : 0;
  if (mask) return few_norms(a, order, mask, keepdims != 0, g, error);
  TRY(magnitudes(a, &room, &sizes, error));
  const viva_status status = norm_of(sizes, order, axes, count, keepdims, &wide, error);
  viva_tensor_release(sizes);
  if (status != VIVA_OK) return status;
  return goal_give(g, wide, result_of(a), error);
}
GOAL_CALLS(norm, LIST(const viva_tensor *a, double order, const int32_t *axes, uint32_t count, int32_t keepdims), a,
           order, axes, count, keepdims)

static viva_status refuse_order(double order, viva_error *error) {
  return error_set(
      error, VIVA_E_ARGUMENT,
      "matrix_norm: order is %g; expected 1, -1, infinity or -infinity (Frobenius's norm is viva_tensor_norm "
      "of order 2 over both axes; those of singular values are not there)",
      order);
}

/* None of the axes in front of the last two is empty. */
static int has_matrices(const viva_tensor *a) {
  for (uint32_t i = 0; i + 2 < a->rank; i++)
    if (a->shape[i] == 0) return 0;
  return 1;
}

static viva_status matrix_norm(const viva_tensor *a, double order, int32_t keepdims, goal *g, viva_error *error) {
  static const int32_t row_and_column[2] = {-2, -1};
  tensor_local room;
  viva_tensor *sizes, *sums, *wide;
  char text[128];
  TRY(check_operand("matrix_norm", a, error));
  if (a->rank < 2)
    return error_set(error, VIVA_E_ARGUMENT, "matrix_norm: the tensor %s has %u axes; expected 2 or more",
                     tensor_shape_text(a, text), (unsigned)a->rank);
  if (fabs(order) != 1 && !isinf(order)) return refuse_order(order, error);
  const uint32_t last = a->rank - (isinf(order) ? 2 : 1); /* the axis along which one of the sums is looked for */
  if (a->shape[last] == 0 && has_matrices(a)) return operand_nothing("matrix_norm", a, last, error);
  if (few_fits(a)) return few_matrix_norms(a, order, keepdims != 0, g, error);
  TRY(magnitudes(a, &room, &sizes, error));
  const int32_t summed = isinf(order) ? -1 : -2;
  viva_status status = viva_tensor_reduce(VIVA_SUM, sizes, &summed, 1, 1, &sums, error);
  viva_tensor_release(sizes);
  if (status != VIVA_OK) return status;
  status = viva_tensor_reduce(order > 0 ? VIVA_MAX : VIVA_MIN, sums, row_and_column, 2, keepdims, &wide, error);
  viva_tensor_release(sums);
  if (status != VIVA_OK) return status;
  return goal_give(g, wide, result_of(a), error);
}
GOAL_CALLS(matrix_norm, LIST(const viva_tensor *a, double order, int32_t keepdims), a, order, keepdims)
