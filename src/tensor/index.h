/* tensor/index.h: indices as operands. */
#ifndef TENSOR_INDEX_H
#define TENSOR_INDEX_H

#include "tensor/operand.h"
#include "viva/tensor_select.h"

/* *held = indices as dense I64, to be released. Errors: E_DTYPE. */
viva_status index_hold(const viva_tensor *indices, viva_tensor **held, viva_error *error);
/* E_SIZE, naming it. */
viva_status index_refuse(int64_t index, uint64_t size, viva_error *error);

/* The place that an index means; what is not below size is outside. */
static inline uint64_t index_place(int64_t index, uint64_t size) { return (uint64_t)index + (index < 0 ? size : 0); }

#endif
