/* tensor/elementwise.h: a loop of the table over whole tensors. */
#ifndef TENSOR_ELEMENTWISE_H
#define TENSOR_ELEMENTWISE_H

#include "tensor/operand.h"
#include "tensor/ops.h"
#include "tensor/walk.h"

/* out = loop(inputs, broadcast): into a tensor whose shape is checked and which may overlap inputs, and into a new one
 * of type result. wanted: the types that the loop has, the result's first. */
viva_status elementwise_into(loop_fn loop, const viva_dtype *wanted, viva_tensor *out, const viva_tensor *const *inputs,
                             int count, viva_error *error);
viva_status elementwise_new(loop_fn loop, const viva_dtype *wanted, viva_dtype result, viva_tensor **out,
                            const viva_tensor *const *inputs, int count, viva_error *error);

#endif
