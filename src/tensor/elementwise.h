/* tensor/elementwise.h: a loop of the table over whole tensors. */
#ifndef TENSOR_ELEMENTWISE_H
#define TENSOR_ELEMENTWISE_H

#include "tensor/operand.h"
#include "tensor/ops.h"
#include "tensor/walk.h"

/* out = loop(operands[1 …], broadcast): into a tensor whose shape is checked and which may overlap them, and into a new one of
 * type result. operands: a place for the result, then the inputs, count in all; wanted: the types that the loop has. */
viva_status elementwise_into(loop_fn loop, const viva_dtype *wanted, viva_tensor *out, const viva_tensor **operands,
                             int count, viva_error *error);
viva_status elementwise_new(loop_fn loop, const viva_dtype *wanted, viva_dtype result, viva_tensor **out,
                            const viva_tensor **operands, int count, viva_error *error);

#endif
