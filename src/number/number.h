/* number/number.h: the scalar definition of each small number format, and bulk conversion.
 *
 * This header is the definition: the SIMD twins give the same bits. Conversions to a smaller format round to nearest,
 * ties to even. It compiles as C and (later) as CUDA.
 */
#ifndef NUMBER_NUMBER_H
#define NUMBER_NUMBER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline float f32_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t f32_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float bf16_to_f32(uint16_t code) { return f32_from_bits((uint32_t)code << 16); }

/* NaN stays NaN (quiet, sign kept); overflow gives infinity. */
static inline uint16_t bf16_from_f32(float value) {
  uint32_t bits = f32_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x0040u);
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float f16_to_f32(uint16_t code);
uint16_t f16_from_f32(float value); /* overflow gives infinity; subnormals kept; NaN quiet, payload's high bits kept */
float e4m3_to_f32(uint8_t code);    /* OCP fn */
float e8m0_to_f32(uint8_t code);    /* 2^(code − 127); 255 is NaN */
float e5m2_to_f32(uint8_t code);
float e2m1_to_f32(uint8_t code); /* low 4 bits */

/* Bulk, count elements; from and to may be unaligned and must not overlap. The best twin for this CPU is chosen. */
void bf16_to_f32_n(const void *from, void *to, size_t count);
void bf16_from_f32_n(const void *from, void *to, size_t count);
void f16_to_f32_n(const void *from, void *to, size_t count);
void f16_from_f32_n(const void *from, void *to, size_t count);

/* Index of the first value that is NaN or infinite, or count: for refusing damaged weights. from may be unaligned. */
size_t f32_find_nonfinite_n(const void *from, size_t count);
size_t bf16_find_nonfinite_n(const void *from, size_t count);
size_t f16_find_nonfinite_n(const void *from, size_t count);

#endif
