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

/* To nearest, ties to even, saturating: infinity and what is beyond the largest value become the largest value, with its
 * sign; subnormals are kept; −0 keeps its sign. NaN becomes the format's quiet NaN with its sign (E4M3 0x7f, E5M2 0x7e);
 * E2M1, INT4 and INT8 have none: 0. */
uint8_t e4m3_from_f32(float value);
uint8_t e5m2_from_f32(float value);
uint8_t e2m1_from_f32(float value); /* 0 … 15 */
/* The power of two nearest to value, 2^−127 … 2^127, ±0 and what is below included. The middle goes up, and FP32 subnormals
 * above 2^−127 become 2^−126: both as ml_dtypes does it. NaN and negative values: 0xff; infinity: 2^127. */
uint8_t e8m0_from_f32(float value);
uint8_t e8m0_from_f32_up(float value); /* the smallest power of two ≥ value; above 2^127: 0xff */
int8_t int4_to_int(uint8_t code);      /* low 4 bits, two's complement: −8 … 7 */
uint8_t int4_from_f32(float value);    /* −7 … 7, as 4 bits of two's complement */
int8_t int8_from_f32(float value);     /* −127 … 127 */

/* Bulk, count elements; from and to may be unaligned and must not overlap. The best twin for this CPU is chosen. */
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
