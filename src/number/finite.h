/* number/finite.h: FP32 values that were rounded beyond its end, for C and CUDA. */
#ifndef NUMBER_FINITE_H
#define NUMBER_FINITE_H

#include <float.h>

#include "number/number.h"

/* Infinity becomes FP32's largest number, with its sign; NaN stays. */
NUMBER_SHARED float f32_kept_finite(float value) {
  return value > FLT_MAX ? FLT_MAX : value < -FLT_MAX ? -FLT_MAX : value;
}

#endif
