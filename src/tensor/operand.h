/* tensor/operand.h: what every operation does with the tensors that it is given, before it computes. */
#ifndef TENSOR_OPERAND_H
#define TENSOR_OPERAND_H

#include "tensor/dtype.h"
#include "tensor/tensor.h"

/* There: enough for views, which read nothing. name: the parameter's. */
viva_status operand_given(const viva_tensor *t, const char *name, viva_error *error);
/* There, and in memory that the CPU can read. */
viva_status operand_need(const viva_tensor *t, const char *name, viva_error *error);
/* The place for a result; set to NULL. */
viva_status operand_place(viva_tensor **out, viva_error *error);
/* With this shape, and no two elements in one place. */
viva_status operand_target(const viva_tensor *to, const char *name, uint32_t rank, const uint64_t *shape,
                           viva_error *error);
/* The same, there, and in memory that the CPU can write. */
viva_status operand_out(const viva_tensor *out, uint32_t rank, const uint64_t *shape, viva_error *error);

/* An axis counted from the end when negative; E_ARGUMENT, with the tensor's shape, when there is no such axis. */
viva_status operand_axis(const viva_tensor *t, int32_t axis, uint32_t *found, viva_error *error);

/* E_DTYPE: "OP is not defined for T (and U)". b: VIVA_DTYPE_NONE when there is no second operand. */
viva_status operand_refuse(const char *op, viva_dtype a, viva_dtype b, viva_error *error);

/* 1 when writing out element by element while reading t in the same order could read what was already written: they
 * overlap, and are not the same elements in the same places. */
int operand_clashes(const viva_tensor *out, const viva_tensor *t);

/* A new row-major tensor with t's elements as this type; the caller's to release. Types and memory were checked. */
viva_status operand_copy(const viva_tensor *t, viva_dtype dtype, viva_tensor **out, viva_error *error);
/* *held = t itself, retained, when it is row-major and of this type, else such a copy. */
viva_status operand_dense(const viva_tensor *t, viva_dtype dtype, viva_tensor **held, viva_error *error);
/* *out = t as this type. t, a new row-major tensor that nobody else knows, is given up, also after an error. */
viva_status operand_become(viva_tensor *t, viva_dtype dtype, viva_tensor **out, viva_error *error);
/* to = from, converted and broadcast; shapes were checked, and they do not overlap. */
void operand_move(const viva_tensor *to, const viva_tensor *from);

int operand_contiguous(const viva_tensor *t);

#endif
