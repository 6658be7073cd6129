/* tensor/loops_math.h: exp, log, tanh and the sigmoid of floats, in a form that compilers turn into vectors, and the
 * operations that C has otherwise than NumPy.
 *
 * No branch, no call, no fused operation: each instruction set gives the same bits. Polynomials are those of Cephes (S.
 * Moshier, single precision). Largest errors, found by comparing with double precision over all floats: see
 * tests/tensor/test_loops.c.
 */
#ifndef TENSOR_LOOPS_MATH_H
#define TENSOR_LOOPS_MATH_H

#include <math.h>
#include <stdint.h>

#include "number/number.h"

#define LOG2_E   1.44269504088896341f
#define LN2_HIGH 0.693359375f /* 9 bits: n·LN2_HIGH is exact */
#define LN2_LOW  (-2.12194440e-4f)
#define ROUNDER  12582912.0f /* 1.5·2^23: adding it leaves the nearest integer in the low bits */

/* 2^n for −126 ≤ n ≤ 127. */
static inline float pow2_f32(int32_t n) { return f32_from_bits((uint32_t)(n + 127) << 23); }

/* e^x − 1 − r … for |r| ≤ 0.35 is r + r²·P(r). */
static inline float exp_tail(float r) {
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * r * r;
}

static inline float exp_f32(float x) {
  const float limited = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x; /* NaN stays */
  const float shifted = limited * LOG2_E + ROUNDER;
  const int32_t n = (int32_t)f32_bits(shifted) - (int32_t)0x4b400000;
  const float k = shifted - ROUNDER;
  const float r = (limited - k * LN2_HIGH) - k * LN2_LOW;
  const int32_t half = n >> 1; /* in two steps: 2^n may be infinite or subnormal where the result is not */
  const float y = (exp_tail(r) + r + 1.0f) * pow2_f32(half) * pow2_f32(n - half);
  return x != x ? x : y;
}

static inline float log_f32(float x) {
  const int tiny = x < 1.17549435e-38f;
  const uint32_t bits = f32_bits(tiny ? x * 8388608.0f : x);
  int32_t e = (int32_t)(bits >> 23) - 126 - (tiny ? 23 : 0);
  float m = f32_from_bits((bits & 0x007fffffu) | 0x3f000000u); /* [0.5, 1) */
  const int low = m < 0.707106781186547524f;
  e -= low;
  m = (low ? m + m : m) - 1.0f;
  const float k = (float)e, z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  float y = m * z * p;
  y += LN2_LOW * k;
  y += -0.5f * z;
  y = m + y;
  y += LN2_HIGH * k;
  y = x == f32_from_bits(0x7f800000u) ? x : y;
  y = x == 0.0f ? f32_from_bits(0xff800000u) : y;
  return x >= 0.0f ? y : f32_from_bits(0x7fc00000u);
}

static inline float tanh_f32(float x) {
  const float a = fabsf(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float small = x + x * z * p;
  const float big = 1.0f - 2.0f / (exp_f32(a + a) + 1.0f);
  return a < 0.625f ? small : copysignf(big, x); /* NaN: from exp */
}

static inline double exp_f64(double x) { return exp(x); }
static inline double log_f64(double x) { return log(x); }
static inline double tanh_f64(double x) { return tanh(x); }

/* From e^-|x|, which cannot overflow. */
static inline float sigmoid_f32(float x) {
  const float e = exp_f32(-fabsf(x));
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

static inline double sigmoid_f64(double x) {
  const double e = exp(-fabs(x));
  return (x < 0 ? e : 1.0) / (1.0 + e);
}

/* x·Φ(x); erfc keeps its digits where 1 + erf would lose them. What the rounding of x/√2 loses is added back through
 * erfc's slope: it would count x² times. */
static inline double gelu_f64(double x) {
  const double root = 0.70710678118654752440, root_low = -4.8336466567264567e-17, slope = 1.12837916709551257390;
  const double t = -x * root, lost = fma(-x, root, -t) - x * root_low;
  if (!(x < 40.0)) return x; /* NaN too */
  if (x < -40.0) return -0.0;
  return 0.5 * x * (erfc(t) - slope * exp(-t * t) * lost);
}
static inline float gelu_f32(float x) { return (float)gelu_f64((double)x); }

/* -- division as NumPy (Python) has it: rounded down, the remainder has the divisor's sign */

static inline double remainder_f64(double a, double b) {
  const double m = fmod(a, b);
  if (b == 0) return m;
  if (m == 0) return copysign(0.0, b);
  return (b < 0) != (m < 0) ? m + b : m;
}

static inline double floor_divide_f64(double a, double b) {
  if (b == 0) return a / b;
  double m = fmod(a, b), q = (a - m) / b;
  if (m != 0 && (b < 0) != (m < 0)) q -= 1.0;
  if (q == 0) return copysign(0.0, a / b);
  m = floor(q);
  return q - m > 0.5 ? m + 1.0 : m;
}

static inline float remainder_f32(float a, float b) {
  const float m = fmodf(a, b);
  if (b == 0) return m;
  if (m == 0) return copysignf(0.0f, b);
  return (b < 0) != (m < 0) ? m + b : m;
}

static inline float floor_divide_f32(float a, float b) {
  if (b == 0) return a / b;
  float m = fmodf(a, b), q = (a - m) / b;
  if (m != 0 && (b < 0) != (m < 0)) q -= 1.0f;
  if (q == 0) return copysignf(0.0f, a / b);
  m = floorf(q);
  return q - m > 0.5f ? m + 1.0f : m;
}

static inline int64_t floor_divide_i64(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return (int64_t)(0 - (uint64_t)a);
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static inline int64_t remainder_i64(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  const int64_t m = a % b;
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}

static inline uint64_t floor_divide_u64(uint64_t a, uint64_t b) { return b == 0 ? 0 : a / b; }
static inline uint64_t remainder_u64(uint64_t a, uint64_t b) { return b == 0 ? 0 : a % b; }

/* b ≥ 0: checked before the loop. Wraps. */
static inline uint64_t power_u64(uint64_t a, uint64_t b) {
  uint64_t y = 1;
  for (; b > 0; b >>= 1, a *= a)
    if (b & 1) y *= a;
  return y;
}

#endif
