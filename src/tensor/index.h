/* tensor/index.h: indices as operands. */
#ifndef TENSOR_INDEX_H
#define TENSOR_INDEX_H

#include "tensor/operand.h"
#include "viva/tensor_select.h"

/* *held = indices into a as dense I64, in room when they are few, to be released. Errors: E_DTYPE, E_SIZE (above I64). */
viva_status index_hold(const viva_tensor *indices, const viva_tensor *a, tensor_local *room, viva_tensor **held,
                       viva_error *error);
/* E_SIZE unless all are within the axis; axis: a's rank: its elements, counted row by row. */
viva_status index_check(const viva_tensor *held, const viva_tensor *a, uint32_t axis, viva_error *error);
/* E_SIZE, naming the index, the axis and the tensor. */
viva_status index_refuse(int64_t index, const viva_tensor *a, uint32_t axis, viva_error *error);

/* The place that an index means; what is not below size is outside. */
static inline uint64_t index_place(int64_t index, uint64_t size) { return (uint64_t)index + (index < 0 ? size : 0); }

#endif
