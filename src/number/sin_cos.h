/* number/sin_cos.h: sine and cosine in double precision by additions, multiplications and divisions in a fixed order, so that
 * a kernel gives the bits of the host. math_f64.h says how exact they are. */
#ifndef NUMBER_SIN_COS_H
#define NUMBER_SIN_COS_H

#include "number/number.h"

/* pi/2 in parts of 30, 30 and 53 bits: k · part is exact for the first two while |k| < 2^23. */
#define HALF_PI_1   0x1.921fb540p+0
#define HALF_PI_2   0x1.10b46118p-30
#define HALF_PI_3   0x1.313198a2e037p-61
#define TWO_OVER_PI 0x1.45f306dc9c883p-1

/* A product that no compiler joins with a sum. */
NUMBER_SHARED double sin_cos_product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

NUMBER_SHARED void sin_cos_of(double x, double *sine, double *cosine) {
  const double turns = sin_cos_product(x, TWO_OVER_PI);
  const double k = (double)(int64_t)(turns < 0 ? turns - 0.5 : turns + 0.5);
  const double r =
      ((x - sin_cos_product(k, HALF_PI_1)) - sin_cos_product(k, HALF_PI_2)) - sin_cos_product(k, HALF_PI_3);
  const double r2 = sin_cos_product(r, r); /* |r| ≤ pi/4 */
  double s = 1, c = 1;
  for (int i = 18; i > 0; i -= 2) { /* the first left-out terms, r^21 / 21! and r^20 / 20!, are below 2^-67 */
    s = 1 - sin_cos_product(s, r2 / ((i + 1) * i));
    c = 1 - sin_cos_product(c, r2 / ((i - 1) * i));
  }
  s = sin_cos_product(s, r);
  switch ((uint64_t)(int64_t)k & 3) {
  case 0: *sine = s, *cosine = c; break;
  case 1: *sine = c, *cosine = -s; break;
  case 2: *sine = -s, *cosine = -c; break;
  default: *sine = -c, *cosine = s; break;
  }
}

#endif
