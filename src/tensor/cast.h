/* tensor/cast.h: lines of elements from one type to another. */
#ifndef TENSOR_CAST_H
#define TENSOR_CAST_H

#include "tensor/ops.h"

/* to[i·to_step] = from[i·from_step], steps in bytes; the rules are those of viva_tensor_astype. Any two types of
 * tensors. The lines may be exactly the same memory, but not overlap in any other way. */
void cast_line(viva_dtype to_type, char *to, int64_t to_step, viva_dtype from_type, const char *from, int64_t from_step,
               size_t n);

#endif
