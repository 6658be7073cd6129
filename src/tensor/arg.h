/* tensor/arg.h: where the largest and the smallest elements are. */
#ifndef TENSOR_ARG_H
#define TENSOR_ARG_H

#include "tensor/operand.h"

/* A new dense I64 tensor of this shape: for each index of the axes that stay the index of the first extreme along
 * the axis that goes (mask has one bit), or, counted row by row, of all (every bit). NaN is the extreme when there
 * is one. E_ARGUMENT: other masks. There must be an element for each result.
 * room: where the tensor lies when it is small; NULL: nowhere. */
viva_status arg_new(const viva_tensor *a, uint32_t mask, int largest, uint32_t rank, const uint64_t *shape,
                    tensor_local *room, viva_tensor **out, viva_error *error);
/* The same of one line of n > 0 dense elements of a. */
int64_t arg_line(const viva_tensor *a, const char *line, size_t n, int largest);

#endif
