/* tensor/cast.h: lines of elements from one type to another. */
#ifndef TENSOR_CAST_H
#define TENSOR_CAST_H

#include "number/number.h"
#include "tensor/ops.h"

/* F64 to F32 with "round to odd": what is lost leaves a mark in the last bit, so that the next, narrower rounding sees it. */
static inline float cast_odd(double x) {
  const float y = (float)x;
  const double back = (double)y;
  if (back == x || x != x) return y;
  uint32_t bits = f32_bits(y);
  if ((back < 0 ? -back : back) > (x < 0 ? -x : x)) bits--; /* towards 0 */
  return f32_from_bits(bits | 1);
}

/* to[i·to_step] = from[i·from_step], steps in bytes; the rules are those of viva_tensor_astype. Any two types of
 * tensors. The lines may be exactly the same memory, but not overlap in any other way. */
void cast_line(viva_dtype to_type, char *to, int64_t to_step, viva_dtype from_type, const char *from, int64_t from_step,
               size_t n);

#endif
