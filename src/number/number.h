/* number/number.h: the scalar definition of each small number format, and bulk conversion.
 *
 * This header is the definition: the SIMD variants give the same bits. Conversions to a smaller format round to
 * nearest, ties to even. It compiles as C, C++ and CUDA; what is NUMBER_SHARED can be called in a kernel too.
 */
#ifndef NUMBER_NUMBER_H
#define NUMBER_NUMBER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define NUMBER_SHARED static inline __host__ __device__
#else
#define NUMBER_SHARED static inline
#endif

NUMBER_SHARED float f32_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

NUMBER_SHARED uint32_t f32_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

NUMBER_SHARED float bf16_to_f32(uint16_t code) { return f32_from_bits((uint32_t)code << 16); }

/* NaN stays NaN (quiet, sign kept); overflow gives infinity. */
NUMBER_SHARED uint16_t bf16_from_f32(float value) {
  uint32_t bits = f32_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x0040u);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

NUMBER_SHARED float f16_to_f32(uint16_t code) {
  uint32_t sign = (uint32_t)(code & 0x8000u) << 16;
  uint32_t exponent = (code >> 10) & 0x1fu;
  uint32_t mantissa = code & 0x3ffu;
  if (exponent == 0x1f) { /* NaN becomes quiet, as F16C does it */
    return f32_from_bits(sign | 0x7f800000u | mantissa << 13 | (mantissa ? 0x00400000u : 0u));
  }
  if (exponent == 0) {
    float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return f32_from_bits(sign | (exponent + (127 - 15)) << 23 | mantissa << 13);
}

/* Overflow gives infinity; subnormals kept; NaN quiet, payload's high bits kept. */
NUMBER_SHARED uint16_t f16_from_f32(float value) {
  uint32_t bits = f32_bits(value);
  uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
  if (magnitude < 0x38800000u) {
    /* Below 2^-14: a multiple of 2^-24, which is the last place of 0.5. The addition rounds to nearest even. */
    float shifted = f32_from_bits(magnitude) + 0.5f;
    return (uint16_t)(sign | (f32_bits(shifted) - 0x3f000000u));
  }
  magnitude += 0xfffu + ((magnitude >> 13) & 1u);
  return (uint16_t)(sign | ((magnitude - ((127u - 15u) << 23)) >> 13));
}

/* E4M3 "fn" of OCP: bias 7, no infinity, S.1111.111 is NaN. */
NUMBER_SHARED float e4m3_to_f32(uint8_t code) {
  uint32_t sign = (uint32_t)(code & 0x80u) << 24;
  uint32_t exponent = (code >> 3) & 0xfu;
  uint32_t mantissa = code & 0x7u;
  if ((code & 0x7fu) == 0x7fu) return f32_from_bits(sign | 0x7fc00000u);
  if (exponent == 0) {
    float magnitude = (float)mantissa * 0x1p-9f;
    return sign ? -magnitude : magnitude;
  }
  return f32_from_bits(sign | (exponent + (127 - 7)) << 23 | mantissa << 20);
}

/* E5M2 is F16 without its 8 lowest mantissa bits. */
NUMBER_SHARED float e5m2_to_f32(uint8_t code) { return f16_to_f32((uint16_t)(code << 8)); }

/* 2^(code − 127); 255 is NaN. */
NUMBER_SHARED float e8m0_to_f32(uint8_t code) {
  if (code == 255) return f32_from_bits(0x7fc00000u);
  if (code == 0) return f32_from_bits(0x00400000u); /* 2^-127 is a subnormal FP32 */
  return f32_from_bits((uint32_t)code << 23);
}

/* Low 4 bits: 0 .5 1 1.5 2 3 4 6, and a sign. */
NUMBER_SHARED float e2m1_to_f32(uint8_t code) {
  const uint32_t sign = (uint32_t)(code & 8u) << 28, exponent = (code >> 1) & 3u, mantissa = code & 1u;
  if (exponent == 0) return f32_from_bits(sign | (mantissa ? 0x3f000000u : 0u));
  return f32_from_bits(sign | (exponent + (127 - 1)) << 23 | mantissa << 22);
}

NUMBER_SHARED int8_t int4_to_int(uint8_t code) { return (int8_t)(((code & 0xf) ^ 0x8) - 0x8); } /* −8 … 7 */

/* ---- encoders of the small formats
 *
 * To nearest, ties to even, saturating: infinity and what is beyond the largest value become the largest value, with its
 * sign; subnormals are kept; −0 keeps its sign. NaN becomes the format's quiet NaN with its sign (E4M3 0x7f, E5M2 0x7e);
 * E2M1, INT4 and INT8 have none: 0. */

/* What the encoders need to know of a small format with a sign bit. */
typedef struct small_float {
  uint32_t mantissa_bits;
  uint32_t min_exponent; /* of the normal numbers, as FP32 has it: e + 127 */
  float largest;
  uint8_t sign, largest_code, nan_code; /* nan_code: with its sign, or 0 */
} small_float;

NUMBER_SHARED uint32_t small_from_f32(float value, small_float format) {
  uint32_t magnitude = f32_bits(value) & 0x7fffffffu;
  uint32_t sign = f32_bits(value) >> 31 ? format.sign : 0u;
  if (magnitude > 0x7f800000u) return format.nan_code ? sign | format.nan_code : 0u;
  if (magnitude >= f32_bits(format.largest)) return sign | format.largest_code;
  uint32_t dropped = 23u - format.mantissa_bits;
  if (magnitude >> 23 < format.min_exponent) {
    /* A multiple of the smallest subnormal, which is the last place of shift. The addition rounds to nearest even. */
    uint32_t shift = (format.min_exponent + dropped) << 23;
    float shifted = f32_from_bits(magnitude) + f32_from_bits(shift);
    return sign | (f32_bits(shifted) - shift);
  }
  magnitude += (1u << (dropped - 1)) - 1u + ((magnitude >> dropped) & 1u);
  return sign | (magnitude - ((format.min_exponent - 1u) << 23)) >> dropped;
}

NUMBER_SHARED uint8_t e4m3_from_f32(float value) {
  const small_float format = {3, 127 - 6, 448.0f, 0x80, 0x7e, 0x7f};
  return (uint8_t)small_from_f32(value, format);
}

NUMBER_SHARED uint8_t e5m2_from_f32(float value) {
  const small_float format = {2, 127 - 14, 57344.0f, 0x80, 0x7b, 0x7e};
  return (uint8_t)small_from_f32(value, format);
}

/* 0 … 15 */
NUMBER_SHARED uint8_t e2m1_from_f32(float value) {
  const small_float format = {1, 127, 6.0f, 0x8, 0x7, 0};
  return (uint8_t)small_from_f32(value, format);
}

/* The power of two nearest to value, 2^−127 … 2^127, ±0 and what is below included. The middle goes up, and FP32 subnormals
 * above 2^−127 become 2^−126: both as ml_dtypes does it. NaN and negative values: 0xff; infinity: 2^127. */
NUMBER_SHARED uint8_t e8m0_from_f32(float value) {
  uint32_t bits = f32_bits(value);
  if (bits == 0x80000000u || bits <= 0x00400000u) return 0;
  if (bits > 0x7f800000u) return 0xff; /* NaN and negative values */
  uint32_t code = (bits + 0x00400000u) >> 23;
  return (uint8_t)(code < 254 ? code : 254);
}

/* The smallest power of two ≥ value; above 2^127: 0xff. */
NUMBER_SHARED uint8_t e8m0_from_f32_up(float value) {
  uint32_t bits = f32_bits(value);
  if (bits == 0x80000000u || bits <= 0x00400000u) return 0;
  if (bits > 0x7f000000u) return 0xff; /* NaN and negative values too */
  return (uint8_t)((bits + 0x007fffffu) >> 23);
}

/* The integer nearest to value, ties to even, within ±limit; NaN: 0. */
NUMBER_SHARED int32_t integer_from_f32(float value, float limit) {
  const float shift = 0x1.8p23f; /* its last place is 1: the addition rounds */
  if (value != value) return 0;
  if (value > limit) value = limit;
  if (value < -limit) value = -limit;
  return (int32_t)(f32_bits(value + shift) - f32_bits(shift));
}

/* −7 … 7, as 4 bits of two's complement. */
NUMBER_SHARED uint8_t int4_from_f32(float value) { return (uint8_t)(integer_from_f32(value, 7.0f) & 0xf); }
/* −127 … 127 */
NUMBER_SHARED int8_t int8_from_f32(float value) { return (int8_t)integer_from_f32(value, 127.0f); }

/* ---- bulk
 *
 * Count elements; from and to may be unaligned and must not overlap. The best variant for this CPU is chosen. */
void bf16_to_f32_n(const void *from, void *to, size_t count);
void bf16_from_f32_n(const void *from, void *to, size_t count);
void f16_to_f32_n(const void *from, void *to, size_t count);
void f16_from_f32_n(const void *from, void *to, size_t count);

void e4m3_to_f32_n(const void *from, void *to, size_t count);
void e4m3_from_f32_n(const void *from, void *to, size_t count);
void e5m2_to_f32_n(const void *from, void *to, size_t count);
void e5m2_from_f32_n(const void *from, void *to, size_t count);
void e8m0_to_f32_n(const void *from, void *to, size_t count);
void e8m0_from_f32_n(const void *from, void *to, size_t count);
/* Two codes to a byte, the first in the low half; with an odd count the last high half is not read, written as 0. */
void e2m1_to_f32_n(const void *from, void *to, size_t count);
void e2m1_from_f32_n(const void *from, void *to, size_t count);
void int4_to_f32_n(const void *from, void *to, size_t count);
void int4_from_f32_n(const void *from, void *to, size_t count);

/* to[i] = code of from[i] / scale, the division in FP32: one rounding, then that of the format. */
void e4m3_scaled_from_f32_n(const void *from, float scale, void *to, size_t count);
void int8_scaled_from_f32_n(const void *from, float scale, void *to, size_t count);

/* Largest magnitude of the finite values, 0 when there is none; *nonfinite (not NULL) is set to 1 when a value is NaN or
 * infinite, else left alone. */
float f32_absmax_n(const void *from, size_t count, int *nonfinite);

/* Index of the first value that is NaN or infinite, or count: for refusing damaged weights. from may be unaligned. */
size_t f32_find_nonfinite_n(const void *from, size_t count);
size_t bf16_find_nonfinite_n(const void *from, size_t count);
size_t f16_find_nonfinite_n(const void *from, size_t count);

#endif
