/* tensor/into.c: calls that make a tensor, into one that is there: the result is made apart, then moved, so that out may
 * overlap what it is made from and stays as it was after an error. */
#include "viva/tensor_into.h"

#include "tensor/operand.h"

/* out = made, which is released. */
static viva_status put(viva_tensor *made, viva_tensor *out, viva_error *error) {
  const viva_status status = operand_out(out, made->rank, made->shape, error);
  if (status == VIVA_OK) operand_move(out, made);
  viva_tensor_release(made);
  return status;
}

/* name: of the call; parameters: as declared, arguments: passed on. */
#define INTO(name, parameters, ...)                                                                                    \
  viva_status viva_tensor_##name##_into parameters {                                                                   \
    viva_tensor *made;                                                                                                 \
    TRY(operand_need(out, "out", error));                                                                              \
    TRY(viva_tensor_##name(__VA_ARGS__, &made, error));                                                                \
    return put(made, out, error);                                                                                      \
  }
#define OUT viva_tensor *out, viva_error *error

INTO(dot, (const viva_tensor *a, const viva_tensor *b, OUT), a, b)
INTO(outer, (const viva_tensor *a, const viva_tensor *b, OUT), a, b)
INTO(einsum, (const char *text, const viva_tensor *const *tensors, uint32_t count, OUT), text, tensors, count)
INTO(norm, (const viva_tensor *a, double order, const int32_t *axes, uint32_t count, int32_t keepdims, OUT), a, order,
     axes, count, keepdims)
INTO(layer_norm,
     (const viva_tensor *a, int32_t axis, const viva_tensor *weight, const viva_tensor *bias, double epsilon, OUT), a,
     axis, weight, bias, epsilon)
INTO(rms_norm, (const viva_tensor *a, int32_t axis, const viva_tensor *weight, double epsilon, OUT), a, axis, weight,
     epsilon)
INTO(percentile, (const viva_tensor *a, double percent, int32_t axis, int32_t keepdims, OUT), a, percent, axis,
     keepdims)
INTO(median, (const viva_tensor *a, int32_t axis, int32_t keepdims, OUT), a, axis, keepdims)
INTO(conv2d,
     (const viva_tensor *a, const viva_tensor *kernels, const viva_tensor *bias, const viva_window_options *options,
      OUT),
     a, kernels, bias, options)
INTO(pool2d, (viva_pooling op, const viva_tensor *a, const viva_window_options *options, OUT), op, a, options)
INTO(similarity, (viva_similarity op, const viva_tensor *a, const viva_tensor *b, int32_t axis, OUT), op, a, b, axis)
INTO(is_close, (const viva_tensor *a, const viva_tensor *b, double relative, double absolute, OUT), a, b, relative,
     absolute)
INTO(gather, (const viva_tensor *a, const viva_tensor *indices, int32_t axis, OUT), a, indices, axis)
INTO(concatenate, (const viva_tensor *const *tensors, uint32_t count, int32_t axis, OUT), tensors, count, axis)
INTO(stack, (const viva_tensor *const *tensors, uint32_t count, int32_t axis, OUT), tensors, count, axis)
INTO(roll, (const viva_tensor *a, int64_t shift, int32_t axis, OUT), a, shift, axis)
INTO(pad, (const viva_tensor *a, const uint64_t *before, const uint64_t *after, double value, OUT), a, before, after,
     value)
INTO(tile, (const viva_tensor *a, const uint64_t *times, OUT), a, times)
INTO(repeat, (const viva_tensor *a, uint64_t times, int32_t axis, OUT), a, times, axis)
