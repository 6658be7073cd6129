/* tensor/loops_math.h: exp, log, tanh, sin, cos and the sigmoid of floats, in a form that compilers turn into vectors, and the
 * operations that C has otherwise than NumPy.
 *
 * No branch, no call; fused operations are written as such: each instruction set gives the same bits. (A processor without them
 * has the C library's, which are slow.) Polynomials are those of Cephes (S. Moshier, single precision). Largest errors, found by
 * comparing with double precision over floats: see tests/tensor/test_ops.c.
 */
#ifndef TENSOR_LOOPS_MATH_H
#define TENSOR_LOOPS_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "number/number.h"

#define LOG2_E       1.44269504088896341f
#define LN2_HIGH     0.693359375f /* 9 bits: n·LN2_HIGH is exact */
#define LN2_LOW      (-2.12194440e-4f)
#define ROUNDER      12582912.0f /* 1.5·2^23: adding it leaves the nearest integer in the low bits */
#define ROOT_OF_HALF 0x3f3504f3u /* its bits */
#define TANH_IS_ONE  9.1f

/* Polynomials are written once, for the forms by hand too (loops_math_avx2.h, loops_math_avx512.h): fma is the fused operation
 * and of(x) the constant x, in numbers or in vectors. */
#define EXP_TERMS_F32(fma, of, r)                                                                                      \
  fma(fma(fma(fma(fma(of(1.9875691500e-4f), r, of(1.3981999507e-3f)), r, of(8.3334519073e-3f)), r,                     \
              of(4.1665795894e-2f)),                                                                                   \
          r, of(1.6666665459e-1f)),                                                                                    \
      r, of(5.0000001201e-1f))
#define LOG_TERMS_F32(fma, of, m)                                                                                      \
  fma(fma(fma(fma(fma(fma(fma(fma(of(7.0376836292e-2f), m, of(-1.1514610310e-1f)), m, of(1.1676998740e-1f)), m,        \
                          of(-1.2420140846e-1f)),                                                                      \
                      m, of(1.4249322787e-1f)),                                                                        \
                  m, of(-1.6668057665e-1f)),                                                                           \
              m, of(2.0000714765e-1f)),                                                                                \
          m, of(-2.4999993993e-1f)),                                                                                   \
      m, of(3.3333331174e-1f))

/* 2^n for −126 ≤ n ≤ 127. */
static inline float pow2_f32(int32_t n) { return f32_from_bits((uint32_t)(n + 127) << 23); }

/* e^r − 1, |r| ≤ 0.35, and n: e^x is e^r·2^n. NaN stays. */
static inline float exp_series_f32(float x, int32_t *n) {
  const float shifted = fmaf(x, LOG2_E, ROUNDER), k = shifted - ROUNDER;
  const float r = fmaf(-k, LN2_LOW, fmaf(-k, LN2_HIGH, x));
  const float p = EXP_TERMS_F32(fmaf, (float), r);
  *n = (int32_t)f32_bits(shifted) - (int32_t)0x4b400000;
  return fmaf(p * r, r, r);
}

static inline float exp_f32(float x) {
  const float limited = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x;
  int32_t n;
  const float y = exp_series_f32(limited, &n) + 1.0f;
  const int32_t half = n >> 1; /* in two steps: 2^n may be infinite or subnormal where the result is not */
  return x != x ? x : y * pow2_f32(half) * pow2_f32(n - half);
}

static inline float log_f32(float x) {
  const int tiny = x < 1.17549435e-38f;
  const uint32_t bits = f32_bits(tiny ? x * 8388608.0f : x) - ROOT_OF_HALF;
  const float k = (float)((int32_t)bits >> 23) - (tiny ? 23.0f : 0.0f);
  const float m = f32_from_bits((bits & 0x007fffffu) + ROOT_OF_HALF) - 1.0f; /* root of 1/2 to root of 2, less 1 */
  const float z = m * m;
  const float p = LOG_TERMS_F32(fmaf, (float), m);
  const float y = fmaf(LN2_HIGH, k, m + fmaf(-0.5f, z, fmaf(LN2_LOW, k, m * z * p)));
  const float edge = x == 0.0f ? f32_from_bits(0xff800000u) : x > 0.0f ? x : f32_from_bits(0x7fc00000u);
  return x > 0.0f && x < f32_from_bits(0x7f800000u) ? y : edge;
}

/* d / (d + 2), d = e^2|x| − 1, which keeps all its digits near 0; then what the sum and the quotient lost by rounding. NaN
 * stays. */
static inline float tanh_f32(float x) {
  const float a = fabsf(x), limited = a > TANH_IS_ONE ? TANH_IS_ONE : a;
  int32_t n;
  const float series = exp_series_f32(limited + limited, &n), scale = pow2_f32(n);
  const float d = fmaf(series, scale, scale - 1.0f);
  const float sum = d + 2.0f, inverse = 1.0f / sum, q = d * inverse, lost = d - (sum - 2.0f);
  return copysignf(fmaf(fmaf(-q, lost, fmaf(-q, sum, d)), inverse, q), x);
}

/* -- F64: Taylor's series of exp on |r| ≤ ln 2/2 (to r^13: what is left out is below 2^-57), log by a table, Cephes's tanh */

#define LN2_HIGH_64 6.93147180369123816490e-01 /* 32 bits: n·LN2_HIGH_64 is exact */
#define LN2_LOW_64  1.90821492927058770002e-10
#define LOG2_E_64   1.44269504088896338700
#define ROUNDER_64  6755399441055744.0 /* 1.5·2^52 */
#define EXP_MOST    710.0              /* e^x is infinite beyond */
#define EXP_LEAST   (-746.0)           /* and 0 below */

#define EXP_TERMS_F64(fma, of, r)                                                                                      \
  fma(fma(fma(fma(fma(fma(fma(fma(fma(fma(fma(of(1.6059043836821615e-10) /* 1/13! */, r, of(2.0876756987868099e-09)),  \
                                          r, of(2.5052108385441719e-08)),                                              \
                                      r, of(2.7557319223985891e-07)),                                                  \
                                  r, of(2.7557319223985891e-06)),                                                      \
                              r, of(2.4801587301587302e-05)),                                                          \
                          r, of(1.9841269841269841e-04)),                                                              \
                      r, of(1.3888888888888889e-03)),                                                                  \
                  r, of(8.3333333333333332e-03)),                                                                      \
              r, of(4.1666666666666664e-02)),                                                                          \
          r, of(1.6666666666666666e-01)),                                                                              \
      r, of(0.5))

/* log x = k·ln 2 − log(1/c) + log(1 + r), x = m·2^k, r = m/c − 1. Element i is 1/c and −log(1/c) for the m from 3/4 to 3/2 whose
 * highest four bits after the point are i: from 1 to 3/2, then from 3/4 to 1. Beside 1 c is 1, so that nothing is subtracted
 * there. Other 1/c are doubles near that of the middle whose logarithms are multiples of 2^-42 but for 2^-63: k·LN2_HIGH_64 −
 * log(1/c) is exact. */
static const _Alignas(64) double log_inverse[16] = {
    0x1.0000000000000p+0, 0x1.d41d39873c44cp-1, 0x1.bacfaafd747d9p-1, 0x1.a41a13d701f7ap-1,
    0x1.8f9c1db2e4b04p-1, 0x1.7d06098f185a7p-1, 0x1.6c16e83f7ad23p-1, 0x1.5c9874d825c5fp-1,
    0x1.4e5e0ca3ab582p+0, 0x1.414164ecce3b0p+0, 0x1.3521afdc22828p+0, 0x1.29e40257ee431p+0,
    0x1.1f703c9654f6cp+0, 0x1.15b1c8007d8dfp+0, 0x1.0c971a4687077p+0, 0x1.0000000000000p+0,
};
static const _Alignas(64) double log_of_c[16] = {
    0x0.0p+0,
    0x1.6f0d714f08000p-4,
    0x1.2954b8adc8000p-3,
    0x1.9526891728000p-3,
    0x1.fb916ea110000p-3,
    0x1.2e8df1fd82000p-2,
    0x1.5d1b6ec2fd000p-2,
    0x1.89a3613126000p-2,
    -0x1.1178eed7bb000p-2,
    -0x1.d104628bec000p-3,
    -0x1.823b436774000p-3,
    -0x1.365f5b1ddc000p-3,
    -0x1.da71d5967c000p-4,
    -0x1.4d2f5bd92c000p-4,
    -0x1.894b42b110000p-5,
    0x0.0p+0,
};
enum { LOG_CELL_SHIFT = 48 }; /* to the four bits */

/* (log(1 + r) − r) / r² for −1/32 ≤ r ≤ 1/16, by Remez's algorithm: what is left out is below 2^-56 of the result. */
#define LOG_TERMS_F64(fma, of, r)                                                                                      \
  fma(fma(fma(fma(fma(fma(fma(fma(of(-0x1.66322c792e09cp-4), r, of(0x1.c57c55eca5804p-4)), r,                          \
                              of(-0x1.0009cd314e3d0p-3)),                                                              \
                          r, of(0x1.2492d6d29f9f5p-3)),                                                                \
                      r, of(-0x1.555554a769839p-3)),                                                                   \
                  r, of(0x1.99999980cafd7p-3)),                                                                        \
              r, of(-0x1.fffffffff3bf7p-3)),                                                                           \
          r, of(0x1.5555555555f56p-2)),                                                                                \
      r, of(-0x1.0000000000002p-1))

static inline uint64_t f64_to_bits(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline double f64_of_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* 2^n; n as the bits that two's complement has. */
static inline double pow2_f64(uint64_t n) { return f64_of_bits((n + 1023) << 52); }

/* e^r − 1, |r| below ln 2 / 2, and n: e^x is e^r·2^n, n as the bits that two's complement has. NaN stays. */
static inline double exp_series(double x, uint64_t *n) {
  const double shifted = fma(x, LOG2_E_64, ROUNDER_64), k = shifted - ROUNDER_64;
  const double r = fma(-k, LN2_LOW_64, fma(-k, LN2_HIGH_64, x));
  const double p = EXP_TERMS_F64(fma, (double), r);
  *n = f64_to_bits(shifted) - f64_to_bits(ROUNDER_64);
  return fma(p * r, r, r);
}

static inline double exp_f64(double x) {
  const double limited = x > EXP_MOST ? EXP_MOST : x < EXP_LEAST ? EXP_LEAST : x;
  uint64_t n;
  const double y = exp_series(limited, &n) + 1.0;
  const uint64_t half = ((n + 4096) >> 1) - 2048; /* n/2, rounded down; shifts of signed numbers have no vectors */
  return x != x ? x : y * pow2_f64(half) * pow2_f64(n - half);
}

static inline double log_f64(double x) {
  const int tiny = x < 2.2250738585072014e-308;
  const uint64_t bits = f64_to_bits(tiny ? x * 18014398509481984.0 : x);      /* 2^54 */
  const uint64_t octave = (bits + 0x0008000000000000u) & 0xfff0000000000000u; /* 3/2 and more becomes 3/4 and more */
  const double raw = f64_of_bits(octave >> 52 | 0x4330000000000000u) - 4503599627370496.0;
  const double k = raw - (tiny ? 1077.0 : 1023.0);
  const double m = f64_of_bits(bits - octave + 0x3ff0000000000000u);
  const uint64_t cell = bits >> LOG_CELL_SHIFT & 15;
  const double r = fma(m, log_inverse[cell], -1.0), high = fma(k, LN2_HIGH_64, log_of_c[cell]);
  const double low = fma(r * r, LOG_TERMS_F64(fma, (double), r), k * LN2_LOW_64);
  const double y = high + (r + low);
  const double infinity = f64_of_bits(0x7ff0000000000000u);
  const double edge = x == 0.0 ? -infinity : x > 0.0 ? x : f64_of_bits(0x7ff8000000000000u);
  return x > 0.0 && x < infinity ? y : edge;
}

/* As in F32; beyond 20 it is 1. */
static inline double tanh_f64(double x) {
  const double a = fabs(x), limited = a > 20.0 ? 20.0 : a;
  uint64_t n;
  const double series = exp_series(limited + limited, &n), scale = pow2_f64(n);
  const double d = fma(series, scale, scale - 1.0);
  const double sum = d + 2.0, inverse = 1.0 / sum, q = d * inverse, lost = d - (sum - 2.0);
  return copysign(fma(fma(-q, lost, fma(-q, sum, d)), inverse, q), x);
}

/* -- sin and cos of F32: the angle less a multiple of π/2 in three parts, the first of which leaves no rounding; then Cephes's
 * polynomials for |r| ≤ π/4 */

#define HALF_PI_HIGH   1.57079637050628662109f
#define HALF_PI_MIDDLE (-4.37113900018624283e-8f)
#define HALF_PI_LOW    (-1.71512449e-15f)
#define SIN_LIMIT      100000.0f /* beyond, the C library's */

static inline float sin_cos_f32(float x, int32_t quarter) {
  const float shifted = fmaf(x, 0.636619772367581343f, ROUNDER), k = shifted - ROUNDER;
  const float r = fmaf(-k, HALF_PI_LOW, fmaf(-k, HALF_PI_MIDDLE, fmaf(-k, HALF_PI_HIGH, x))), z = r * r;
  const uint32_t turn = f32_bits(shifted) + (uint32_t)quarter;
  const float s = fmaf(fmaf(fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f) * z, r, r);
  const float c = fmaf(fmaf(fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f) * z, z,
                       fmaf(-0.5f, z, 1.0f));
  const float y = f32_from_bits(f32_bits(turn & 1 ? c : s) ^ (turn & 2) << 30);
  return quarter == 0 && x == 0.0f ? x : y; /* -0 stays */
}

/* e^x to 2^-32 for −150 ≤ x ≤ 0 (Taylor's series to r^8): for results of F32, which so are rounded once, and have all their
 * digits where e^x would be subnormal in F32. */
static inline double exp_short(double x) {
  const double shifted = fma(x, LOG2_E_64, ROUNDER_64);
  const uint64_t n = f64_to_bits(shifted) - f64_to_bits(ROUNDER_64);
  const double r = fma(shifted - ROUNDER_64, -6.93147180559945286227e-01, x);
  double p = 2.4801587301587302e-05;
  p = fma(p, r, 1.9841269841269841e-04);
  p = fma(p, r, 1.3888888888888889e-03);
  p = fma(p, r, 8.3333333333333332e-03);
  p = fma(p, r, 4.1666666666666664e-02);
  p = fma(p, r, 1.6666666666666666e-01);
  p = fma(p, r, 0.5);
  p = fma(p, r, 1.0);
  p = fma(p, r, 1.0);
  return p * pow2_f64(n);
}

/* From e^-|x|, which cannot overflow; below e^-150 it is 0. */
static inline double sigmoid_short(float x) {
  const double a = -fabs((double)x), e = exp_short(a < -150.0 ? -150.0 : a);
  return a < -150.0 ? (x < 0 ? 0.0 : 1.0) : (x < 0 ? e : 1.0) / (1.0 + e);
}

static inline float sigmoid_f32(float x) { return (float)sigmoid_short(x); }
static inline float silu_f32(float x) { return (float)((double)x * sigmoid_short(x)); }

/* e^x = (y + low)·2^n, |low| below half a unit of the last place of y. x is within ±760. */
static inline double exp_parts(double x, double *low, uint64_t *n) {
  const double tail = exp_series(x, n), y = tail + 1.0;
  *low = tail - (y - 1.0);
  return y;
}

/* e/(1 + e) or 1/(1 + e), e = e^-|x|; then, times the slope, what e and 1 + e lost by rounding. */
static inline double sigmoid_f64(double x) {
  const double a = -fabs(x), limited = a < EXP_LEAST ? EXP_LEAST : a; /* NaN stays */
  double low;
  uint64_t n;
  const double y = exp_parts(limited, &low, &n);
  const uint64_t half = ((n + 4096) >> 1) - 2048; /* as in exp_f64 */
  const double first = f64_of_bits((half + 1023) << 52), second = f64_of_bits((n - half + 1023) << 52);
  const double e = y * first * second, e_low = low * first * second;
  const double sum = 1.0 + e, lost = (e - (sum - 1.0)) + e_low;
  const double q = (x < 0 ? e : 1.0) / sum, inverse = x < 0 ? 1.0 - q : q;
  return q + ((x < 0 ? e_low : 0.0) - q * lost) * inverse;
}

/* x / (1 + e^-x), with the same correction. Where e^-x nears the largest number, it is computed less 2^128, by which the quotient
 * is divided: it may be subnormal, its parts are not. */
static inline double silu_f64(double x) {
  const double t = -x < -700.0 ? -700.0 : -x > 760.0 ? 760.0 : -x; /* NaN stays */
  double low;
  uint64_t n;
  const double y = exp_parts(t, &low, &n);
  const int far = t > 600.0;
  const double scale = f64_of_bits((n - (far ? 128u : 0u) + 1023) << 52), one = far ? 0.0 : 1.0;
  const double e = y * scale, sum = one + e, least = e < one ? e : one, most = e < one ? one : e;
  const double lost = (least - (sum - most)) + low * scale;
  const double q = x / sum, near = copysign(q - q * (lost * (1.0 / sum)), x); /* of -0: 0 - 0 has lost the sign */
  const double y_near = near * (far ? 0x1p-128 : 1.0);
  return x > 700.0 ? x : x < -760.0 ? x * 0.0 : y_near; /* −inf: NaN, as x / (1 + e^-x) */
}

/* x·Φ(x); erfc keeps its digits where 1 + erf would lose them. What the rounding of x/√2 loses is added back through
 * erfc's slope: it would count x² times. Where erfc is subnormal it has fewer digits than the result: there in long double. */
static inline double gelu_f64(double x) {
  const double root = 0.70710678118654752440, root_low = -4.8336466567264567e-17, slope = 1.12837916709551257390;
  const double t = -x * root, lost = fma(-x, root, -t) - x * root_low;
  if (!(x < 40.0)) return x; /* NaN too */
  if (x < -40.0) return -0.0;
  if (t > 26.0) return (double)(0.5L * x * erfcl(-(long double)x * 0.70710678118654752440084436210484904L));
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
