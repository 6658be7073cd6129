/* pack/nvfp4_math.h: NVFP4 value by value, in compressed-tensors' order of operations, for C and CUDA: the code of a block's
 * scale, a value's code, how far a value is from its code. Every operation is FP32's and rounded once: on a GPU too, where the
 * compiler would else fuse products with sums.
 */
#ifndef PACK_NVFP4_MATH_H
#define PACK_NVFP4_MATH_H

#include "number/layout.h"
#include "number/number.h"

/* NVFP4: for each code of a scale from −NVFP4_TABLE_BEFORE on: what a weight is multiplied with, and the scale's square.
 * Codes that no scale has stand for the nearest that one has, so that the search takes 16 in a row everywhere. */
#define NVFP4_LARGEST_SCALE 0x7e /* 448 */
#define NVFP4_TABLE_BEFORE  8    /* E4M3 codes from one power of two to the next */
#define NVFP4_NEAR_BEFORE   1    /* NVFP4_SEARCH_NEAR: from one below the code of absmax / 6 on */
#define NVFP4_NEAR_SIX      3    /* so many codes, about absmax / 6, */
#define NVFP4_NEAR_FOUR_AT  4    /* and from so many above it on */
#define NVFP4_NEAR_FOUR     2    /* so many, about absmax / 4 */
#define NVFP4_NEAR                                                                                                     \
  (((1u << NVFP4_NEAR_SIX) - 1) | ((1u << NVFP4_NEAR_FOUR) - 1) << (NVFP4_NEAR_BEFORE + NVFP4_NEAR_FOUR_AT))
#define NVFP4_FOUR   4.0f /* Four-over-Six: the block's largest weight becomes 4 in place of 6 */
#define NVFP4_ANCHOR (129.0f / 128)
#define NVFP4_TABLE  (2 * NVFP4_TABLE_BEFORE + NVFP4_LARGEST_SCALE + 1)
typedef struct nvfp4_table {
  float factor[NVFP4_TABLE], square[NVFP4_TABLE];
} nvfp4_table;

#define NVFP4_SCALE_OF_NONE 0x20    /* 0.125, E4M3's epsilon: for a block whose scale rounds to 0 */
#define NVFP4_SMALL         0x1p-6f /* E4M3's least normal number */

#ifdef __CUDA_ARCH__
NUMBER_SHARED float nvfp4_mul(float a, float b) { return __fmul_rn(a, b); }
NUMBER_SHARED float nvfp4_add(float a, float b) { return __fadd_rn(a, b); }
#else
NUMBER_SHARED float nvfp4_mul(float a, float b) { return a * b; }
NUMBER_SHARED float nvfp4_add(float a, float b) { return a + b; }
#endif

/* The E4M3 code nearest to absmax / 6 · G, ties to even, at most 448; 0 stands for NVFP4_SCALE_OF_NONE. absmax: finite, not
 * negative. */
NUMBER_SHARED uint32_t nvfp4_scale_code(float absmax, float number) {
  const float exact = nvfp4_mul(absmax / NVFP4_LARGEST, number), s = exact < FP8_LARGEST ? exact : FP8_LARGEST;
  if (s < NVFP4_SMALL) return f32_bits(nvfp4_add(s, 0x1p14f)) - f32_bits(0x1p14f); /* 2^-9 is 2^14's last place */
  const uint32_t bits = f32_bits(s);
  return ((bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20) - ((127u - 7u) << 3);
}

/* As the search keeps it: 0 and what is below 1 become 1. */
NUMBER_SHARED uint32_t nvfp4_scale_within(int code) {
  return code < 1 ? 1 : code > NVFP4_LARGEST_SCALE ? NVFP4_LARGEST_SCALE : (uint32_t)code;
}

/* What a code of 1 is worth. */
NUMBER_SHARED float nvfp4_step(uint32_t scale, float number) { return e4m3_to_f32((uint8_t)scale) / number; }

/* 2^22 times y's power of two, at least 2^22: added to y, it leaves a multiple of half that power, at least of 1/2: E2M1's
 * values, ties to even. */
NUMBER_SHARED float nvfp4_rounder(float y) {
  const uint32_t power = f32_bits(y) & 0x7f800000u;
  return f32_from_bits((power < 127u << 23 ? 127u << 23 : power) + (22u << 23));
}

/* E2M1 of y, −0 as 0. The sum's lowest bits are k of the multiple k · 2^(e − 1), its bits from 22 on 2 · (149 + e); the code is
 * k + 2e. y finite. */
NUMBER_SHARED uint32_t nvfp4_code_of(float y) {
  const uint32_t magnitude = f32_bits(y) & 0x7fffffffu;
  const float size = f32_from_bits(magnitude) < NVFP4_LARGEST ? f32_from_bits(magnitude) : NVFP4_LARGEST;
  const uint32_t bits = f32_bits(nvfp4_add(size, nvfp4_rounder(size)));
  const uint32_t code = (bits + (bits >> 22) - 298u) & 7u;
  return magnitude == 0 ? 0 : code | (f32_bits(y) >> 28 & 8u);
}

/* E2M1 of x / step. x finite, step above 0. */
NUMBER_SHARED uint32_t nvfp4_code(float x, float step) { return nvfp4_code_of(x / step); }

NUMBER_SHARED float nvfp4_square(float d) { return nvfp4_mul(d, d); }

/* (y − its code's value)², y not negative. */
NUMBER_SHARED float nvfp4_distance(float y) {
  const float inside = y < NVFP4_LARGEST ? y : NVFP4_LARGEST, by = nvfp4_rounder(inside);
  return nvfp4_square(nvfp4_add(y, -nvfp4_add(nvfp4_add(inside, by), -by)));
}

/* What rounds y, and any number from 8/9 to 9/8 of it, to E2M1's multiples, ties anyhow: a c of about 2^22 y, at least of
 * 2^22. c − (c − y) is a multiple of the last place of c − y: half of y's power of two, at least 1/2, if c / 2^22 lies between
 * the same powers of two as y. Where it does not, a power of two p lies between both, and y is less than an eighth of p from
 * it: by the multiples of either side y becomes p. (The factor keeps that so: p at 1.764 or 2.233, in place of 1.778 or 2.25,
 * times a y's power of two.) y finite, not negative. */
NUMBER_SHARED float nvfp4_anchor(float y) {
  const float c = nvfp4_mul(y, 0x1p22f * NVFP4_ANCHOR);
  return c > 0x1.8p22f ? c : 0x1.8p22f;
}

/* E2M1's value nearest to a y below 7, by such an anchor; any of two at a tie. From 7 on: 8. */
NUMBER_SHARED float nvfp4_value_by(float y, float anchor) { return nvfp4_add(anchor, -nvfp4_add(anchor, -y)); }

#endif
