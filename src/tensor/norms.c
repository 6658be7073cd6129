/* tensor/norms.c: norms of vectors of any order over any axes, and of matrices: sums and extremes of powers of absolute
 * values. */
#include <math.h>

#include "base/error.h"
#include "tensor/operand.h"
#include "viva/tensor_algebra.h"

/* t = t^power, in place. */
static viva_status raise_to(viva_tensor *t, double power, viva_error *error) {
  return viva_tensor_binary_scalar_into(VIVA_POWER, t, power, t, error);
}

/* sum(|x|^order)^(1/order). */
static viva_status power_norm(viva_tensor *sizes, double order, const int32_t *axes, uint32_t count, int32_t keepdims,
                              viva_tensor **out, viva_error *error) {
  TRY(raise_to(sizes, order, error));
  TRY(viva_tensor_reduce(VIVA_SUM, sizes, axes, count, keepdims, out, error));
  const viva_status status = raise_to(*out, 1 / order, error);
  if (status != VIVA_OK) viva_tensor_release(*out), *out = NULL;
  return status;
}

/* Of absolute values, which may be written; in their type. Of order 2 it is a reduction of its own. */
static viva_status norm_of(viva_tensor *sizes, double order, const int32_t *axes, uint32_t count, int32_t keepdims,
                           viva_tensor **out, viva_error *error) {
  if (isinf(order))
    return viva_tensor_reduce(order > 0 ? VIVA_MAX : VIVA_MIN, sizes, axes, count, keepdims, out, error);
  if (order == 1) return viva_tensor_reduce(VIVA_SUM, sizes, axes, count, keepdims, out, error);
  if (order != 0) return power_norm(sizes, order, axes, count, keepdims, out, error);
  return viva_tensor_reduce(VIVA_COUNT_NONZERO, sizes, axes, count, keepdims, out, error);
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

viva_status viva_tensor_norm(const viva_tensor *a, double order, const int32_t *axes, uint32_t count, int32_t keepdims,
                             viva_tensor **out, viva_error *error) {
  tensor_local room;
  viva_tensor *sizes, *wide;
  TRY(operand_place(out, error));
  TRY(check_operand("norm", a, error));
  if (isnan(order)) return error_set(error, VIVA_E_ARGUMENT, "norm: order is NaN; expected a number or infinity");
  if (order == 2) return viva_tensor_reduce(VIVA_NORM, a, axes, count, keepdims, out, error);
  TRY(magnitudes(a, &room, &sizes, error));
  const viva_status status = norm_of(sizes, order, axes, count, keepdims, &wide, error);
  viva_tensor_release(sizes);
  if (status != VIVA_OK) return status;
  return operand_become(wide, result_of(a), out, error);
}

viva_status viva_tensor_matrix_norm(const viva_tensor *a, double order, int32_t keepdims, viva_tensor **out,
                                    viva_error *error) {
  static const int32_t row_and_column[2] = {-2, -1};
  tensor_local room;
  viva_tensor *sizes, *sums, *wide;
  char text[128];
  TRY(operand_place(out, error));
  TRY(check_operand("matrix_norm", a, error));
  if (a->rank < 2)
    return error_set(error, VIVA_E_ARGUMENT, "matrix_norm: the tensor %s has %u axes; expected 2 or more",
                     tensor_shape_text(a, text), (unsigned)a->rank);
  if (fabs(order) != 1 && !isinf(order))
    return error_set(
        error, VIVA_E_ARGUMENT,
        "matrix_norm: order is %g; expected 1, -1, infinity or -infinity (Frobenius's norm is viva_tensor_norm "
        "of order 2 over both axes; those of singular values are not there)",
        order);
  TRY(magnitudes(a, &room, &sizes, error));
  const int32_t summed = isinf(order) ? -1 : -2;
  viva_status status = viva_tensor_reduce(VIVA_SUM, sizes, &summed, 1, 1, &sums, error);
  viva_tensor_release(sizes);
  if (status != VIVA_OK) return status;
  status = viva_tensor_reduce(order > 0 ? VIVA_MAX : VIVA_MIN, sums, row_and_column, 2, keepdims, &wide, error);
  viva_tensor_release(sums);
  if (status != VIVA_OK) return status;
  return operand_become(wide, result_of(a), out, error);
}
