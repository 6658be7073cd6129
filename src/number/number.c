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
