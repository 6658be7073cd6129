/* number/math_f64.c: argument reduction and Taylor series: plain, and good to the last bits that matter for FP32. */
#include "number/math_f64.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "number/sin_cos.h"

#define LN2_HIGH 0x1.62e42fefp-1 /* the first 33 bits of ln 2: k · LN2_HIGH is exact for |k| < 2^20 */
#define LN2_LOW  0x1.473de6af278edp-34
#define SQRT_2   0x1.6a09e667f3bcdp+0

/* 1 / k! for k = 13 … 2. On |r| ≤ ln 2 / 2 the series' rest after r^13 is below 5e-18 of the value. */
static const double inverse_factorials[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
                                            1.0 / 362880.0,     1.0 / 40320.0,     1.0 / 5040.0,     1.0 / 720.0,
                                            1.0 / 120.0,        1.0 / 24.0,        1.0 / 6.0,        1.0 / 2.0};

/* ln 2 in two parts: the first has 32 bits, so that its product with k (11 bits) is exact. */
#define EXP_LN2_HIGH 0x1.62e42feep-1
#define EXP_LN2_LOW  0x1.a39ef35793c76p-33
#define LOG2_E       0x1.71547652b82fep+0

double math_exp(double x) {
  if (!(x >= MATH_EXP_LOWEST)) return 0;
  /* x = k ln 2 + r; x ≤ 0, so adding -1/2 and cutting rounds to the nearest. */
  int64_t k = (int64_t)(x * LOG2_E - 0.5);
  double r = (x - (double)k * EXP_LN2_HIGH) - (double)k * EXP_LN2_LOW;
  double sum = inverse_factorials[0];
  for (size_t i = 1; i < sizeof inverse_factorials / sizeof *inverse_factorials; i++)
    sum = sum * r + inverse_factorials[i];
  double value = 1.0 + (r + r * r * sum);
  uint64_t bits = (uint64_t)(1023 + k) << 52; /* 2^k: k ≥ -1022 above MATH_EXP_LOWEST */
  double power;
  memcpy(&power, &bits, sizeof power);
  return value * power;
}

/* log x = e · ln 2 + 2 · artanh((m − 1) / (m + 1)) with x = m · 2^e and √½ < m ≤ √2 */
double math_log(double x) {
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

double math_pow(double base, double exponent) {
  double x = exponent * math_log(base);
  return x > 0 ? 1 / math_exp(-x) : math_exp(x);
}

void math_sin_cos(double x, double *sine, double *cosine) { sin_cos_of(x, sine, cosine); }
