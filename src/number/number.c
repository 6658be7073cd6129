/* number/number.c: encoders of the small formats: what number.h declares and does not hold itself. */
#include "number/number.h"

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
