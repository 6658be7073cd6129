/* model/real.c: argument reduction and Taylor series: plain, and good to the last bits that matter for FP32. */
#include "model/real.h"

#include <stdint.h>
#include <string.h>

#include "text/sampling_inner.h"

#define LN2_HIGH 0x1.62e42fefp-1 /* the first 33 bits of ln 2: k · LN2_HIGH is exact for |k| < 2^20 */
#define LN2_LOW  0x1.473de6af278edp-34
#define SQRT_2   0x1.6a09e667f3bcdp+0

/* pi/2 in parts of 30, 30 and 53 bits: k · part is exact for the first two while |k| < 2^23. */
#define HALF_PI_1   0x1.921fb540p+0
#define HALF_PI_2   0x1.10b46118p-30
#define HALF_PI_3   0x1.313198a2e037p-61
#define TWO_OVER_PI 0x1.45f306dc9c883p-1

static double nearest(double x) { return (double)(int64_t)(x < 0 ? x - 0.5 : x + 0.5); }

/* log x = e · ln 2 + 2 · artanh((m − 1) / (m + 1)) with x = m · 2^e and √½ < m ≤ √2 */
double real_log(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  int e = (int)(bits >> 52) - 1023;
  bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
  double m;
  memcpy(&m, &bits, sizeof m);
  if (m > SQRT_2) {
    m *= 0.5;
    e++;
  }
  double s = (m - 1) / (m + 1), s2 = s * s; /* s ≤ 0.1716: the term s^25 / 25 is below 2^-68 */
  double sum = 0;
  for (int i = 23; i > 1; i -= 2) sum = (sum + 1.0 / i) * s2;
  return e * LN2_HIGH + (2 * s + (2 * s * sum + e * LN2_LOW));
}

double real_pow(double base, double exponent) {
  double x = exponent * real_log(base);
  return x > 0 ? 1 / sampling_exp(-x) : sampling_exp(x);
}

void real_sin_cos(double x, double *sine, double *cosine) {
  double k = nearest(x * TWO_OVER_PI);
  double r = ((x - k * HALF_PI_1) - k * HALF_PI_2) - k * HALF_PI_3; /* |r| ≤ pi/4 */
  double r2 = r * r, s = 1, c = 1;
  for (int i = 18; i > 0; i -= 2) { /* the first left-out terms, r^21 / 21! and r^20 / 20!, are below 2^-67 */
    s = 1 - s * (r2 / ((i + 1) * i));
    c = 1 - c * (r2 / ((i - 1) * i));
  }
  s *= r;
  switch ((uint64_t)(int64_t)k & 3) {
  case 0: *sine = s, *cosine = c; break;
  case 1: *sine = c, *cosine = -s; break;
  case 2: *sine = -s, *cosine = -c; break;
  default: *sine = -c, *cosine = s; break;
  }
}
