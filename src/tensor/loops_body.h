/* tensor/loops_body.h: the loops of the table of operations, one after another. Included by loops_plain.c,
 * loops_avx2.c and loops_avx512.c, each with its own compiler flags; LOOPS is the name of the function that returns the table.
 *
 * Each loop has a form for dense operands (and for one that repeats a single element), which the compiler turns into
 * vectors, and one for any strides.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "number/number.h"
#include "tensor/loops_math.h"
#include "tensor/ops.h"

/* A result that is exactly its operand may be computed in vectors; nothing else overlaps (loop_fn). */
#if defined(__clang__)
/* Loops over sin, remainders and their like stay scalar, and that is no fault. */
#pragma clang diagnostic ignored "-Wpass-failed"
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/* The code of a type in names, the type of an element. */
typedef double f64;
typedef float f32;
typedef int64_t i64;
typedef int32_t i32;
typedef int16_t i16;
typedef int8_t i8;
typedef uint64_t u64;
typedef uint32_t u32;
typedef uint16_t u16;
typedef uint8_t u8;
typedef uint8_t b8; /* BOOL: any byte but 0 is true; 0 and 1 are written */

#define UNARY(name, T, R, expression)                                                                                  \
  static void name(char *const *p, const int64_t *step, size_t n) {                                                    \
    if (step[0] == (int64_t)sizeof(R) && step[1] == (int64_t)sizeof(T)) {                                              \
      R *r = (R *)(void *)p[0];                                                                                        \
      const T *a = (const T *)(const void *)p[1];                                                                      \
      INDEPENDENT for (size_t i = 0; i < n; i++) {                                                                     \
        const T x = a[i];                                                                                              \
        r[i] = (R)(expression);                                                                                        \
      }                                                                                                                \
      return;                                                                                                          \
    }                                                                                                                  \
    char *to = p[0];                                                                                                   \
    const char *from = p[1];                                                                                           \
    for (size_t i = 0; i < n; i++, to += step[0], from += step[1]) {                                                   \
      const T x = *(const T *)(const void *)from;                                                                      \
      *(R *)(void *)to = (R)(expression);                                                                              \
    }                                                                                                                  \
  }

#define BINARY(name, T, R, expression)                                                                                 \
  static void name(char *const *p, const int64_t *step, size_t n) {                                                    \
    const int64_t dense = (int64_t)sizeof(T);                                                                          \
    if (step[0] == (int64_t)sizeof(R) && step[1] == dense && step[2] == dense) {                                       \
      R *r = (R *)(void *)p[0];                                                                                        \
      const T *a = (const T *)(const void *)p[1], *b = (const T *)(const void *)p[2];                                  \
      INDEPENDENT for (size_t i = 0; i < n; i++) {                                                                     \
        const T x = a[i], y = b[i];                                                                                    \
        r[i] = (R)(expression);                                                                                        \
      }                                                                                                                \
      return;                                                                                                          \
    }                                                                                                                  \
    if (step[0] == (int64_t)sizeof(R) && step[1] == dense && step[2] == 0) {                                           \
      R *r = (R *)(void *)p[0];                                                                                        \
      const T *a = (const T *)(const void *)p[1], y = *(const T *)(const void *)p[2];                                  \
      INDEPENDENT for (size_t i = 0; i < n; i++) {                                                                     \
        const T x = a[i];                                                                                              \
        r[i] = (R)(expression);                                                                                        \
      }                                                                                                                \
      return;                                                                                                          \
    }                                                                                                                  \
    if (step[0] == (int64_t)sizeof(R) && step[1] == 0 && step[2] == dense) {                                           \
      R *r = (R *)(void *)p[0];                                                                                        \
      const T x = *(const T *)(const void *)p[1], *b = (const T *)(const void *)p[2];                                  \
      INDEPENDENT for (size_t i = 0; i < n; i++) {                                                                     \
        const T y = b[i];                                                                                              \
        r[i] = (R)(expression);                                                                                        \
      }                                                                                                                \
      return;                                                                                                          \
    }                                                                                                                  \
    char *to = p[0];                                                                                                   \
    const char *from_a = p[1], *from_b = p[2];                                                                         \
    for (size_t i = 0; i < n; i++, to += step[0], from_a += step[1], from_b += step[2]) {                              \
      const T x = *(const T *)(const void *)from_a, y = *(const T *)(const void *)from_b;                              \
      *(R *)(void *)to = (R)(expression);                                                                              \
    }                                                                                                                  \
  }

/* -- every type: comparisons and tests */

#define ANY_TYPE(T)                                                                                                    \
  BINARY(T##_equal, T, b8, x == y)                                                                                     \
  BINARY(T##_not_equal, T, b8, x != y)                                                                                 \
  BINARY(T##_greater, T, b8, x > y)                                                                                    \
  BINARY(T##_greater_equal, T, b8, x >= y)                                                                             \
  BINARY(T##_less, T, b8, x < y)                                                                                       \
  BINARY(T##_less_equal, T, b8, x <= y)                                                                                \
  BINARY(T##_logical_and, T, b8, (x != 0) & (y != 0))                                                                  \
  BINARY(T##_logical_or, T, b8, (x != 0) | (y != 0))                                                                   \
  BINARY(T##_logical_xor, T, b8, (x != 0) ^ (y != 0))                                                                  \
  UNARY(T##_logical_not, T, b8, x == 0)
ANY_TYPE(f64)
ANY_TYPE(f32)
ANY_TYPE(i64)
ANY_TYPE(i32)
ANY_TYPE(i16)
ANY_TYPE(i8)
ANY_TYPE(u64)
ANY_TYPE(u32)
ANY_TYPE(u16)
ANY_TYPE(u8)

/* -- floats; f: the suffix of C's functions */

#define FLOAT_TYPE(T, f)                                                                                               \
  BINARY(T##_add, T, T, x + y)                                                                                         \
  BINARY(T##_subtract, T, T, x - y)                                                                                    \
  BINARY(T##_multiply, T, T, x *y)                                                                                     \
  BINARY(T##_divide, T, T, x / y)                                                                                      \
  BINARY(T##_floor_divide, T, T, floor_divide_##T(x, y))                                                               \
  BINARY(T##_remainder, T, T, remainder_##T(x, y))                                                                     \
  BINARY(T##_power, T, T, pow##f(x, y))                                                                                \
  BINARY(T##_maximum, T, T, ((x >= y) | (x != x)) ? x : y)                                                             \
  BINARY(T##_minimum, T, T, ((x <= y) | (x != x)) ? x : y)                                                             \
  UNARY(T##_negative, T, T, -x)                                                                                        \
  UNARY(T##_absolute, T, T, fabs##f(x))                                                                                \
  UNARY(T##_sign, T, T, x > 0 ? (T)1 : x < 0 ? (T)-1 : x == 0 ? (T)0 : x)                                              \
  UNARY(T##_square, T, T, x *x)                                                                                        \
  UNARY(T##_sqrt, T, T, sqrt##f(x))                                                                                    \
  UNARY(T##_reciprocal, T, T, (T)1 / x)                                                                                \
  UNARY(T##_expm1, T, T, expm1##f(x))                                                                                  \
  UNARY(T##_log1p, T, T, log1p##f(x))                                                                                  \
  UNARY(T##_log2, T, T, log2##f(x))                                                                                    \
  UNARY(T##_log10, T, T, log10##f(x))                                                                                  \
  UNARY(T##_floor, T, T, floor##f(x))                                                                                  \
  UNARY(T##_ceil, T, T, ceil##f(x))                                                                                    \
  UNARY(T##_trunc, T, T, trunc##f(x))                                                                                  \
  UNARY(T##_rint, T, T, rint##f(x))                                                                                    \
  UNARY(T##_isnan, T, b8, x != x)                                                                                      \
  UNARY(T##_isinf, T, b8, (x == x) & (x - x != 0))                                                                     \
  UNARY(T##_isfinite, T, b8, x - x == 0)                                                                               \
  UNARY(T##_relu, T, T, x > 0 ? x : x != x ? x : (T)0)                                                                 \
  UNARY(T##_sigmoid, T, T, sigmoid_##T(x))                                                                             \
  UNARY(T##_silu, T, T, silu_##T(x))                                                                                   \
  UNARY(T##_gelu, T, T, gelu_##T(x))
FLOAT_TYPE(f64, )
FLOAT_TYPE(f32, f)

/* exp, log and tanh: loops that compilers turn into vectors; where the file of a set has included such, dense operands are
 * computed by hand. */
#define AS_WRITTEN(T, name) UNARY(T##_##name, T, T, name##_##T(x))
#define BY_HAND(T, name)                                                                                               \
  static void T##_##name(char *const *p, const int64_t *step, size_t n) {                                              \
    char *to = p[0];                                                                                                   \
    const char *from = p[1];                                                                                           \
    if (step[0] == (int64_t)sizeof(T) && step[1] == (int64_t)sizeof(T)) {                                              \
      name##_##T##_dense((T *)(void *)to, (const T *)(const void *)from, n);                                           \
      return;                                                                                                          \
    }                                                                                                                  \
    for (size_t i = 0; i < n; i++, to += step[0], from += step[1])                                                     \
      *(T *)(void *)to = name##_##T(*(const T *)(const void *)from);                                                   \
  }
#ifndef F64_EXP_LOOP
#define F64_EXP_LOOP AS_WRITTEN
#endif
#ifndef F64_LOG_LOOP
#define F64_LOG_LOOP AS_WRITTEN
#endif
#ifndef F32_LOG_LOOP
#define F32_LOG_LOOP AS_WRITTEN
#endif
#ifndef F32_TANH_LOOP
#define F32_TANH_LOOP AS_WRITTEN
#endif
F64_EXP_LOOP(f64, exp)
F64_LOG_LOOP(f64, log)
AS_WRITTEN(f64, tanh)
AS_WRITTEN(f32, exp)
F32_LOG_LOOP(f32, log)
F32_TANH_LOOP(f32, tanh)

UNARY(f64_sin, f64, f64, sin(x))
UNARY(f64_cos, f64, f64, cos(x))

/* A piece is vectors when no element is beyond the limit; an element's value does not depend on that. */
#define SIN_OR_COS(name, quarter, library)                                                                             \
  UNARY(name##_few, f32, f32, fabsf(x) <= SIN_LIMIT ? sin_cos_f32(x, quarter) : library(x))                            \
  UNARY(name##_all, f32, f32, sin_cos_f32(x, quarter))                                                                 \
  static void name(char *const *p, const int64_t *step, size_t n) {                                                    \
    enum { PART = 256 };                                                                                               \
    for (size_t done = 0; done < n; done += PART) {                                                                    \
      const size_t part = n - done < PART ? n - done : PART;                                                           \
      char *q[2] = {p[0] + (int64_t)done * step[0], p[1] + (int64_t)done * step[1]};                                   \
      int beyond = 0;                                                                                                  \
      for (size_t i = 0; i < part; i++) {                                                                              \
        const f32 x = *(const f32 *)(const void *)(q[1] + (int64_t)i * step[1]);                                       \
        beyond |= !(fabsf(x) <= SIN_LIMIT);                                                                            \
      }                                                                                                                \
      (beyond ? name##_few : name##_all)(q, step, part);                                                               \
    }                                                                                                                  \
  }
SIN_OR_COS(f32_sin, 0, sinf)
SIN_OR_COS(f32_cos, 1, cosf)

/* -- integers; U: an unsigned type of at least its size, in which nothing is undefined; W: of 64 bits and its sign */

#define INTEGER_TYPE(T, U, W, w)                                                                                       \
  BINARY(T##_add, T, T, (U)x + (U)y)                                                                                   \
  BINARY(T##_subtract, T, T, (U)x - (U)y)                                                                              \
  BINARY(T##_multiply, T, T, (U)x *(U)y)                                                                               \
  BINARY(T##_floor_divide, T, T, floor_divide_##w((W)x, (W)y))                                                         \
  BINARY(T##_remainder, T, T, remainder_##w((W)x, (W)y))                                                               \
  BINARY(T##_power, T, T, power_u64((u64)x, (u64)y))                                                                   \
  BINARY(T##_maximum, T, T, x >= y ? x : y)                                                                            \
  BINARY(T##_minimum, T, T, x <= y ? x : y)                                                                            \
  UNARY(T##_negative, T, T, (U)0 - (U)x)                                                                               \
  UNARY(T##_square, T, T, (U)x *(U)x)                                                                                  \
  UNARY(T##_same, T, T, x)                                                                                             \
  UNARY(T##_never, T, b8, x & 0)                                                                                       \
  UNARY(T##_always, T, b8, (x & 0) == 0)
#define SIGNED_TYPE(T, U)                                                                                              \
  INTEGER_TYPE(T, U, int64_t, i64)                                                                                     \
  UNARY(T##_absolute, T, T, x < 0 ? (U)0 - (U)x : (U)x)                                                                \
  UNARY(T##_sign, T, T, (x > 0) - (x < 0))                                                                             \
  UNARY(T##_reciprocal, T, T, x == 1 || x == -1 ? x : 0)                                                               \
  UNARY(T##_relu, T, T, x > 0 ? x : 0)
#define UNSIGNED_TYPE(T, U)                                                                                            \
  INTEGER_TYPE(T, U, uint64_t, u64)                                                                                    \
  UNARY(T##_sign, T, T, x != 0)                                                                                        \
  UNARY(T##_reciprocal, T, T, x == 1)
SIGNED_TYPE(i64, u64)
SIGNED_TYPE(i32, u32)
SIGNED_TYPE(i16, u32)
SIGNED_TYPE(i8, u32)
UNSIGNED_TYPE(u64, u64)
UNSIGNED_TYPE(u32, u32)
UNSIGNED_TYPE(u16, u32)
UNSIGNED_TYPE(u8, u32)

/* -- BOOL */

BINARY(b8_equal, b8, b8, (x != 0) == (y != 0))
BINARY(b8_not_equal, b8, b8, (x != 0) != (y != 0))
BINARY(b8_greater, b8, b8, (x != 0) & (y == 0))
BINARY(b8_greater_equal, b8, b8, (x != 0) | (y == 0))
BINARY(b8_less, b8, b8, (x == 0) & (y != 0))
BINARY(b8_less_equal, b8, b8, (x == 0) | (y != 0))
BINARY(b8_and, b8, b8, (x != 0) & (y != 0))
BINARY(b8_or, b8, b8, (x != 0) | (y != 0))
UNARY(b8_same, b8, b8, x != 0)

/* -- conversions: [to][from]. F16 and the 8-bit floats go through F32 (cast.c) */

#define CUT(R, T, low, high, x) ((x) != (x) ? (R)0 : (x) <= (T)(low) ? (R)(low) : (x) >= (T)(high) ? (R)(high) : (R)(x))
#define CASTS_FROM(T)                                                                                                  \
  UNARY(f64_from_##T, T, f64, x)                                                                                       \
  UNARY(f32_from_##T, T, f32, x)                                                                                       \
  UNARY(b8_from_##T, T, b8, x != 0)
#define CASTS_FROM_FLOAT(T)                                                                                            \
  CASTS_FROM(T)                                                                                                        \
  UNARY(i64_from_##T, T, i64, CUT(i64, T, INT64_MIN, INT64_MAX, x))                                                    \
  UNARY(i32_from_##T, T, i32, CUT(i32, T, INT32_MIN, INT32_MAX, x))                                                    \
  UNARY(i16_from_##T, T, i16, CUT(i16, T, INT16_MIN, INT16_MAX, x))                                                    \
  UNARY(i8_from_##T, T, i8, CUT(i8, T, INT8_MIN, INT8_MAX, x))                                                         \
  UNARY(u64_from_##T, T, u64, CUT(u64, T, 0, UINT64_MAX, x))                                                           \
  UNARY(u32_from_##T, T, u32, CUT(u32, T, 0, UINT32_MAX, x))                                                           \
  UNARY(u16_from_##T, T, u16, CUT(u16, T, 0, UINT16_MAX, x))                                                           \
  UNARY(u8_from_##T, T, u8, CUT(u8, T, 0, UINT8_MAX, x))
#define CASTS_FROM_INTEGER(T)                                                                                          \
  CASTS_FROM(T)                                                                                                        \
  UNARY(u64_from_##T, T, u64, x)                                                                                       \
  UNARY(u32_from_##T, T, u32, x)                                                                                       \
  UNARY(u16_from_##T, T, u16, x)                                                                                       \
  UNARY(u8_from_##T, T, u8, x)
CASTS_FROM_FLOAT(f64)
CASTS_FROM_FLOAT(f32)
CASTS_FROM_INTEGER(i64)
CASTS_FROM_INTEGER(i32)
CASTS_FROM_INTEGER(i16)
CASTS_FROM_INTEGER(i8)
CASTS_FROM_INTEGER(u64)
CASTS_FROM_INTEGER(u32)
CASTS_FROM_INTEGER(u16)
CASTS_FROM_INTEGER(u8)

/* -- choice by the size of an element; operands: BOOL, a, b */

#define WHERE(T)                                                                                                       \
  static void where_##T(char *const *p, const int64_t *step, size_t n) {                                               \
    const int64_t size = (int64_t)sizeof(T);                                                                           \
    if (step[0] == size && step[1] == 1 && step[2] == size && step[3] == size) {                                       \
      T *r = (T *)(void *)p[0];                                                                                        \
      const b8 *c = (const b8 *)p[1];                                                                                  \
      const T *a = (const T *)(const void *)p[2], *b = (const T *)(const void *)p[3];                                  \
      INDEPENDENT for (size_t i = 0; i < n; i++) {                                                                     \
        const T x = a[i], y = b[i];                                                                                    \
        r[i] = c[i] ? x : y;                                                                                           \
      }                                                                                                                \
      return;                                                                                                          \
    }                                                                                                                  \
    for (size_t i = 0; i < n; i++) {                                                                                   \
      const int64_t k = (int64_t)i;                                                                                    \
      *(T *)(void *)(p[0] + k * step[0]) =                                                                             \
          *(const T *)(const void *)(p[1][k * step[1]] ? p[2] + k * step[2] : p[3] + k * step[3]);                     \
    }                                                                                                                  \
  }
WHERE(u8)
WHERE(u16)
WHERE(u32)
WHERE(u64)

/* -- between two bounds, which repeat: as maximum, then minimum */

#define CLIP(T)                                                                                                        \
  static void clip_##T(char *const *p, const int64_t *step, size_t n) {                                                \
    const T low = *(const T *)(const void *)p[2], high = *(const T *)(const void *)p[3];                               \
    if (step[0] == (int64_t)sizeof(T) && step[1] == (int64_t)sizeof(T)) {                                              \
      T *r = (T *)(void *)p[0];                                                                                        \
      const T *a = (const T *)(const void *)p[1];                                                                      \
      INDEPENDENT for (size_t i = 0; i < n; i++) {                                                                     \
        const T x = a[i], y = ((x >= low) | (x != x)) ? x : low;                                                       \
        r[i] = ((y <= high) | (y != y)) ? y : high;                                                                    \
      }                                                                                                                \
      return;                                                                                                          \
    }                                                                                                                  \
    for (size_t i = 0; i < n; i++) {                                                                                   \
      const int64_t k = (int64_t)i;                                                                                    \
      const T x = *(const T *)(const void *)(p[1] + k * step[1]), y = ((x >= low) | (x != x)) ? x : low;               \
      *(T *)(void *)(p[0] + k * step[0]) = ((y <= high) | (y != y)) ? y : high;                                        \
    }                                                                                                                  \
  }
CLIP(f64)
CLIP(f32)
CLIP(i64)
CLIP(i32)
CLIP(i16)
CLIP(i8)
CLIP(u64)
CLIP(u32)
CLIP(u16)
CLIP(u8)

/* -- the table */

#define ANY_ROWS(T, D)                                                                                                 \
  .binary[VIVA_LOGICAL_AND][D] = T##_logical_and, .binary[VIVA_LOGICAL_OR][D] = T##_logical_or,                        \
  .binary[VIVA_LOGICAL_XOR][D] = T##_logical_xor, .binary[VIVA_EQUAL][D] = T##_equal,                                  \
  .binary[VIVA_NOT_EQUAL][D] = T##_not_equal, .binary[VIVA_GREATER][D] = T##_greater,                                  \
  .binary[VIVA_GREATER_EQUAL][D] = T##_greater_equal, .binary[VIVA_LESS][D] = T##_less,                                \
  .binary[VIVA_LESS_EQUAL][D] = T##_less_equal, .unary[VIVA_LOGICAL_NOT][D] = T##_logical_not,                         \
  .binary[VIVA_ADD][D] = T##_add, .binary[VIVA_SUBTRACT][D] = T##_subtract, .binary[VIVA_MULTIPLY][D] = T##_multiply,  \
  .binary[VIVA_FLOOR_DIVIDE][D] = T##_floor_divide, .binary[VIVA_REMAINDER][D] = T##_remainder,                        \
  .binary[VIVA_POWER][D] = T##_power, .binary[VIVA_MAXIMUM][D] = T##_maximum, .binary[VIVA_MINIMUM][D] = T##_minimum,  \
  .unary[VIVA_NEGATIVE][D] = T##_negative, .unary[VIVA_SIGN][D] = T##_sign, .unary[VIVA_SQUARE][D] = T##_square,       \
  .unary[VIVA_RECIPROCAL][D] = T##_reciprocal, .cast[VIVA_F64][D] = f64_from_##T, .cast[VIVA_F32][D] = f32_from_##T,   \
  .cast[VIVA_BOOL][D] = b8_from_##T, .cast[VIVA_U64][D] = u64_from_##T, .cast[VIVA_U32][D] = u32_from_##T,             \
  .cast[VIVA_U16][D] = u16_from_##T, .cast[VIVA_U8][D] = u8_from_##T

#define FLOAT_ROWS(T, D)                                                                                               \
  ANY_ROWS(T, D),                                                                                                      \
      .binary[VIVA_DIVIDE][D] = T##_divide, .unary[VIVA_ABSOLUTE][D] = T##_absolute, .unary[VIVA_SQRT][D] = T##_sqrt,  \
      .unary[VIVA_EXP][D] = T##_exp, .unary[VIVA_EXPM1][D] = T##_expm1, .unary[VIVA_LOG][D] = T##_log,                 \
      .unary[VIVA_LOG1P][D] = T##_log1p, .unary[VIVA_LOG2][D] = T##_log2, .unary[VIVA_LOG10][D] = T##_log10,           \
      .unary[VIVA_SIN][D] = T##_sin, .unary[VIVA_COS][D] = T##_cos, .unary[VIVA_TANH][D] = T##_tanh,                   \
      .unary[VIVA_FLOOR][D] = T##_floor, .unary[VIVA_CEIL][D] = T##_ceil, .unary[VIVA_TRUNC][D] = T##_trunc,           \
      .unary[VIVA_RINT][D] = T##_rint, .unary[VIVA_ISNAN][D] = T##_isnan, .unary[VIVA_ISINF][D] = T##_isinf,           \
      .unary[VIVA_ISFINITE][D] = T##_isfinite, .unary[VIVA_RELU][D] = T##_relu, .unary[VIVA_SIGMOID][D] = T##_sigmoid, \
      .unary[VIVA_SILU][D] = T##_silu, .unary[VIVA_GELU][D] = T##_gelu, .cast[VIVA_I64][D] = i64_from_##T,             \
      .cast[VIVA_I32][D] = i32_from_##T, .cast[VIVA_I16][D] = i16_from_##T, .cast[VIVA_I8][D] = i8_from_##T

/* Wrapping does not know signs: what is converted to U32 is also the I32. */
#define INTEGER_ROWS(T, D)                                                                                             \
  ANY_ROWS(T, D), .unary[VIVA_FLOOR][D] = T##_same, .unary[VIVA_CEIL][D] = T##_same, .unary[VIVA_TRUNC][D] = T##_same, \
                  .unary[VIVA_ISNAN][D] = T##_never, .unary[VIVA_ISINF][D] = T##_never,                                \
                  .unary[VIVA_ISFINITE][D] = T##_always, .cast[VIVA_I64][D] = u64_from_##T,                            \
                  .cast[VIVA_I32][D] = u32_from_##T, .cast[VIVA_I16][D] = u16_from_##T,                                \
                  .cast[VIVA_I8][D] = u8_from_##T
#define SIGNED_ROWS(T, D)   INTEGER_ROWS(T, D), .unary[VIVA_ABSOLUTE][D] = T##_absolute, .unary[VIVA_RELU][D] = T##_relu
#define UNSIGNED_ROWS(T, D) INTEGER_ROWS(T, D), .unary[VIVA_ABSOLUTE][D] = T##_same, .unary[VIVA_RELU][D] = T##_same

static const loops table = {
    FLOAT_ROWS(f64, VIVA_F64),
    FLOAT_ROWS(f32, VIVA_F32),
    SIGNED_ROWS(i64, VIVA_I64),
    SIGNED_ROWS(i32, VIVA_I32),
    SIGNED_ROWS(i16, VIVA_I16),
    SIGNED_ROWS(i8, VIVA_I8),
    UNSIGNED_ROWS(u64, VIVA_U64),
    UNSIGNED_ROWS(u32, VIVA_U32),
    UNSIGNED_ROWS(u16, VIVA_U16),
    UNSIGNED_ROWS(u8, VIVA_U8),
    .binary[VIVA_ADD][VIVA_BOOL] = b8_or,
    .binary[VIVA_MULTIPLY][VIVA_BOOL] = b8_and,
    .binary[VIVA_MAXIMUM][VIVA_BOOL] = b8_or,
    .binary[VIVA_MINIMUM][VIVA_BOOL] = b8_and,
    .binary[VIVA_EQUAL][VIVA_BOOL] = b8_equal,
    .binary[VIVA_NOT_EQUAL][VIVA_BOOL] = b8_not_equal,
    .binary[VIVA_GREATER][VIVA_BOOL] = b8_greater,
    .binary[VIVA_GREATER_EQUAL][VIVA_BOOL] = b8_greater_equal,
    .binary[VIVA_LESS][VIVA_BOOL] = b8_less,
    .binary[VIVA_LESS_EQUAL][VIVA_BOOL] = b8_less_equal,
    .binary[VIVA_LOGICAL_AND][VIVA_BOOL] = b8_and,
    .binary[VIVA_LOGICAL_OR][VIVA_BOOL] = b8_or,
    .binary[VIVA_LOGICAL_XOR][VIVA_BOOL] = b8_not_equal,
    .unary[VIVA_ABSOLUTE][VIVA_BOOL] = b8_same,
    .unary[VIVA_FLOOR][VIVA_BOOL] = b8_same,
    .unary[VIVA_CEIL][VIVA_BOOL] = b8_same,
    .unary[VIVA_TRUNC][VIVA_BOOL] = b8_same,
    .unary[VIVA_ISNAN][VIVA_BOOL] = u8_never,
    .unary[VIVA_ISINF][VIVA_BOOL] = u8_never,
    .unary[VIVA_ISFINITE][VIVA_BOOL] = u8_always,
    .unary[VIVA_LOGICAL_NOT][VIVA_BOOL] = u8_logical_not,
    .where[1] = where_u8,
    .where[2] = where_u16,
    .where[4] = where_u32,
    .where[8] = where_u64,
    .clip = {[VIVA_F64] = clip_f64,
             [VIVA_F32] = clip_f32,
             [VIVA_I64] = clip_i64,
             [VIVA_I32] = clip_i32,
             [VIVA_I16] = clip_i16,
             [VIVA_I8] = clip_i8,
             [VIVA_U64] = clip_u64,
             [VIVA_U32] = clip_u32,
             [VIVA_U16] = clip_u16,
             [VIVA_U8] = clip_u8},
};

const loops *LOOPS(void) { return &table; }
