/* tensor/norms.c: norms of any order over any axes: sums and extremes of powers of absolute values. */
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

/* Of absolute values, which may be written; in their type. */
static viva_status norm_of(viva_tensor *sizes, double order, const int32_t *axes, uint32_t count, int32_t keepdims,
                           viva_tensor **out, viva_error *error) {
  if (isinf(order))
    return viva_tensor_reduce(order > 0 ? VIVA_MAX : VIVA_MIN, sizes, axes, count, keepdims, out, error);
  if (order == 1) return viva_tensor_reduce(VIVA_SUM, sizes, axes, count, keepdims, out, error);
  if (order == 2) return viva_tensor_reduce(VIVA_NORM, sizes, axes, count, keepdims, out, error);
  if (order != 0) return power_norm(sizes, order, axes, count, keepdims, out, error);
  return viva_tensor_reduce(VIVA_COUNT_NONZERO, sizes, axes, count, keepdims, out, error);
}

viva_status viva_tensor_norm(const viva_tensor *a, double order, const int32_t *axes, uint32_t count, int32_t keepdims,
                             viva_tensor **out, viva_error *error) {
  viva_tensor *sizes, *wide;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  if (isnan(order)) return error_set(error, VIVA_E_ARGUMENT, "norm: order is NaN; expected a number or infinity");
  if (!dtype_is_compute(a->dtype)) return operand_refuse("norm", a->dtype, VIVA_DTYPE_NONE, error);
  const viva_dtype result = dtype_is_float(a->dtype) ? a->dtype : VIVA_F64;
  TRY(operand_copy(a, dtype_kernel(result), &sizes, error));
  viva_status status = viva_tensor_unary_into(VIVA_ABSOLUTE, sizes, sizes, error);
  if (status == VIVA_OK) status = norm_of(sizes, order, axes, count, keepdims, &wide, error);
  viva_tensor_release(sizes);
  if (status != VIVA_OK) return status;
  status = operand_dense(wide, result, out, error);
  viva_tensor_release(wide);
  return status;
}
