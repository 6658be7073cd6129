/* number/number.c: the scalar definitions that number.h declares and does not hold itself. */
#include "number/number.h"

/* E4M3 "fn": bias 7, no infinity, S.1111.111 is NaN. */
float e4m3_to_f32(uint8_t code) {
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
float e5m2_to_f32(uint8_t code) { return f16_to_f32((uint16_t)(code << 8)); }

float e8m0_to_f32(uint8_t code) {
  if (code == 255) return f32_from_bits(0x7fc00000u);
  if (code == 0) return f32_from_bits(0x00400000u); /* 2^-127 is a subnormal FP32 */
  return f32_from_bits((uint32_t)code << 23);
}

float e2m1_to_f32(uint8_t code) {
  static const float values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                   -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
  return values[code & 0xfu];
}

float f16_to_f32(uint16_t code) {
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

uint16_t f16_from_f32(float value) {
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

/* What the encoders need to know of a small format with a sign bit. */
typedef struct small_float {
  uint32_t mantissa_bits;
  uint32_t min_exponent; /* of the normal numbers, as FP32 has it: e + 127 */
  float largest;
  uint8_t sign, largest_code, nan_code; /* nan_code: with its sign, or 0 */
} small_float;

static uint32_t small_from_f32(float value, const small_float *format) {
  uint32_t magnitude = f32_bits(value) & 0x7fffffffu;
  uint32_t sign = f32_bits(value) >> 31 ? format->sign : 0u;
  if (magnitude > 0x7f800000u) return format->nan_code ? sign | format->nan_code : 0u;
  if (magnitude >= f32_bits(format->largest)) return sign | format->largest_code;
  uint32_t dropped = 23u - format->mantissa_bits;
  if (magnitude >> 23 < format->min_exponent) {
    /* A multiple of the smallest subnormal, which is the last place of shift. The addition rounds to nearest even. */
    uint32_t shift = (format->min_exponent + dropped) << 23;
    float shifted = f32_from_bits(magnitude) + f32_from_bits(shift);
    return sign | (f32_bits(shifted) - shift);
  }
  magnitude += (1u << (dropped - 1)) - 1u + ((magnitude >> dropped) & 1u);
  return sign | (magnitude - ((format->min_exponent - 1u) << 23)) >> dropped;
}

uint8_t e4m3_from_f32(float value) {
  static const small_float format = {3, 127 - 6, 448.0f, 0x80, 0x7e, 0x7f};
  return (uint8_t)small_from_f32(value, &format);
}

uint8_t e5m2_from_f32(float value) {
  static const small_float format = {2, 127 - 14, 57344.0f, 0x80, 0x7b, 0x7e};
  return (uint8_t)small_from_f32(value, &format);
}

uint8_t e2m1_from_f32(float value) {
  static const small_float format = {1, 127, 6.0f, 0x8, 0x7, 0};
  return (uint8_t)small_from_f32(value, &format);
}

uint8_t e8m0_from_f32(float value) {
  uint32_t bits = f32_bits(value);
  if (bits == 0x80000000u || bits <= 0x00400000u) return 0;
  if (bits > 0x7f800000u) return 0xff; /* NaN and negative values */
  uint32_t code = (bits + 0x00400000u) >> 23;
  return (uint8_t)(code < 254 ? code : 254);
}

uint8_t e8m0_from_f32_up(float value) {
  uint32_t bits = f32_bits(value);
  if (bits == 0x80000000u || bits <= 0x00400000u) return 0;
  if (bits > 0x7f000000u) return 0xff; /* NaN and negative values too */
  return (uint8_t)((bits + 0x007fffffu) >> 23);
}

int8_t int4_to_int(uint8_t code) { return (int8_t)(((code & 0xf) ^ 0x8) - 0x8); }

/* The integer nearest to value, ties to even, within ±limit; NaN: 0. */
static int32_t integer_from_f32(float value, float limit) {
  const float shift = 0x1.8p23f; /* its last place is 1: the addition rounds */
  if (value != value) return 0;
  if (value > limit) value = limit;
  if (value < -limit) value = -limit;
  return (int32_t)(f32_bits(value + shift) - f32_bits(shift));
}

uint8_t int4_from_f32(float value) { return (uint8_t)(integer_from_f32(value, 7.0f) & 0xf); }
int8_t int8_from_f32(float value) { return (int8_t)integer_from_f32(value, 127.0f); }
