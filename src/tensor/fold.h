/* tensor/fold.h: one reduction of a tensor over some of its axes, into a dense tensor of what was kept. */
#ifndef TENSOR_FOLD_H
#define TENSOR_FOLD_H

#include "tensor/operand.h"
#include "tensor/reducers.h"
#include "viva/tensor_ops.h"

typedef struct fold {
  reducer_op op;
  viva_dtype type; /* F64, F32, I64 or U64: elements are converted to it */
  const viva_tensor *in;
  uint32_t reduced;          /* bit i: axis i goes */
  const viva_tensor *shifts; /* for RED_SQUARES: F64, the shape of the result with keepdims; NULL: 0 */
} fold;

/* The type in which values come out. */
viva_dtype fold_result(reducer_op op, viva_dtype type);

/* to: dense, of fold_result's type, one element for each index of the kept axes. The order of additions depends on the shape and the
 * strides alone, not on the number of threads. RED_MAX and RED_MIN need at least one element for each result. */
void fold_run(const fold *f, viva_tensor *to);

/* viva_tensor_reduce, in whose messages the operation has this name. */
viva_status reduce_as(const char *name, viva_reduction op, const viva_tensor *a, const int32_t *axes, uint32_t count,
                      int32_t keepdims, viva_tensor **out, viva_error *error);

/* A line of n ≤ RED_PIECE dense elements of F64, F32, I64 or U64, to a value of fold_result's type. */
void fold_line(reducer_op op, viva_dtype type, const void *line, size_t n, double shift, red_value *value);
/* values[columns], 8 bytes each, ∘= rows of that many dense elements. Not for extremes. */
void fold_columns(reducer_op op, viva_dtype type, const void *rows, size_t count, size_t columns, void *values);

#endif
