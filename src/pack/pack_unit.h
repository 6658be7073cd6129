/* pack/pack_unit.h: packing by units of 16 neighbouring columns, for C and CUDA: what a device's thread does where the host's
 * kernels take whole rows (pack.h has the rules, and pack_rows's bytes are these). A unit is NVFP4's block, a part of FP8's
 * and INT4's blocks, and a quarter of a 2:4 block:
 *
 *   2:4 block of 64 columns    codes of unit 0  1  2  3 │ index of unit 0  1  2  3      codes: 8 bytes (INT8) or 4 (INT4)
 *
 * Values behind the last column are zeros. A scale is made of the largest magnitude of all its units. */
#ifndef PACK_PACK_UNIT_H
#define PACK_PACK_UNIT_H

#include <float.h>
#include <math.h>

#include "pack/nvfp4_math.h"
#include "pack/pack.h"

#define PACK_UNIT       16                                     /* columns */
#define PACK_UNIT_KEPT  (PACK_UNIT / 2)                        /* codes of 2:4 */
#define PACK_UNIT_INDEX (PACK_UNIT / SPARSE_24_GROUP / 2)      /* bytes */
#define PACK_UNITS      ((int)(SPARSE_24_COLUMNS / PACK_UNIT)) /* of a 2:4 block */

#define PACK_LEAST_SCALE 0x1p-149f /* the smallest subnormal of FP32 */
#define PACK_INFINITE    0x7f800000u

NUMBER_SHARED uint32_t pack_magnitude(float v) { return f32_bits(v) & 0x7fffffffu; } /* in the order of the values */

/* The bits of the largest finite magnitude; *nonfinite: the place of the first value that is NaN or infinite, PACK_UNIT when
 * all are finite. */
NUMBER_SHARED uint32_t pack_unit_largest(const float v[PACK_UNIT], int *nonfinite) {
  uint32_t all = 0, finite = 0;
  for (int i = 0; i < PACK_UNIT; i++) all = pack_magnitude(v[i]) > all ? pack_magnitude(v[i]) : all;
  *nonfinite = PACK_UNIT;
  if (all < PACK_INFINITE) return all;
  for (int i = PACK_UNIT - 1; i >= 0; i--) {
    const uint32_t magnitude = pack_magnitude(v[i]);
    if (magnitude >= PACK_INFINITE)
      *nonfinite = i;
    else if (magnitude > finite)
      finite = magnitude;
  }
  return finite;
}

/* ---- scales of FP8 and of 2:4 */

/* For codes up to `largest`, before it is stored. absmax: finite. */
NUMBER_SHARED float pack_exact_scale(float largest, float absmax) {
  if (absmax == 0) return 1;
  const float scale = absmax / largest;
  if (scale * largest > FLT_MAX)
    return f32_from_bits(f32_bits(scale) - 1); /* else the largest code would be infinite */
  return scale == 0 ? PACK_LEAST_SCALE : scale;
}

/* The bits that are stored, and what they are worth. */
NUMBER_SHARED uint32_t pack_scale_code(scale_type type, float scale) {
  return type == SCALE_F16 ? f16_from_f32(scale) : type == SCALE_E8M0 ? e8m0_from_f32_up(scale) : f32_bits(scale);
}

NUMBER_SHARED float pack_scale_value(scale_type type, uint32_t code) {
  return type == SCALE_F16    ? f16_to_f32((uint16_t)code)
         : type == SCALE_E8M0 ? e8m0_to_f32((uint8_t)code)
                              : f32_from_bits(code);
}

/* ---- division by a scale, rounded to nearest. On a GPU, whose division takes some 20 instructions, with the scale's reciprocal
 * (rounded to nearest) and one step of Newton's (Markstein 1990), where nothing is subnormal on the way that a code could
 * see; values that are NaN or infinite and scales near FP32's ends take the division. */

typedef struct pack_division {
  float scale, reciprocal;
  int plain; /* to be set for a unit with a NaN or an infinity */
} pack_division;

NUMBER_SHARED pack_division pack_divide_by(float scale) {
  const pack_division by = {scale, 1 / scale, !(scale > 0x1p-80f && scale < 0x1p80f)};
  return by;
}

NUMBER_SHARED float pack_quotient(pack_division by, float x) {
#ifdef __CUDA_ARCH__
  if (!by.plain) {
    const float near = __fmul_rn(x, by.reciprocal);
    return copysignf(fmaf(fmaf(-near, by.scale, x), by.reciprocal, near), x);
  }
  if (x != x) return x; /* whose sign a division there would drop */
#endif
  return x / by.scale;
}

/* ---- FP8 */

/* Two codes, the first in the low byte. */
NUMBER_SHARED uint32_t pack_e4m3_pair(pack_division by, float x, float y) {
  const float low = pack_quotient(by, x), high = pack_quotient(by, y);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint16_t pair; /* a NaN has no sign there */
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  if (!by.plain) return pair;
#endif
  return (uint32_t)e4m3_from_f32(low) | (uint32_t)e4m3_from_f32(high) << 8;
}

NUMBER_SHARED void pack_unit_fp8(const float v[PACK_UNIT], pack_division by, uint32_t words[PACK_UNIT / 4]) {
  for (int w = 0; w < PACK_UNIT / 4; w++)
    words[w] = pack_e4m3_pair(by, v[4 * w], v[4 * w + 1]) | pack_e4m3_pair(by, v[4 * w + 2], v[4 * w + 3]) << 16;
}

/* ---- 2:4 */

/* What the choice of 2 in 4 goes by: the magnitude, 0 for NaN. */
NUMBER_SHARED float pack_size(float v) {
  const uint32_t magnitude = pack_magnitude(v);
  return f32_from_bits(magnitude > PACK_INFINITE ? 0 : magnitude);
}

/* 1 for each of 4 that is among the 2 largest, ties to the lower: a later one goes before an earlier one only where it is
 * larger, and who has fewer than two before it stays. */
NUMBER_SHARED void pack_two_largest(const float size[SPARSE_24_GROUP], int stays[SPARSE_24_GROUP]) {
  const int b01 = size[1] > size[0], b02 = size[2] > size[0], b03 = size[3] > size[0];
  const int b12 = size[2] > size[1], b13 = size[3] > size[1], b23 = size[3] > size[2];
  stays[0] = b01 + b02 + b03 < 2;
  stays[1] = 1 - b01 + b12 + b13 < 2;
  stays[2] = 2 - b02 - b12 + b23 < 2;
  stays[3] = 3 - b03 - b13 - b23 < 2;
}

/* The group's index, and what stays. */
NUMBER_SHARED uint32_t pack_group_choose(const float value[SPARSE_24_GROUP], const float size[SPARSE_24_GROUP],
                                         float kept[2]) {
  int stays[SPARSE_24_GROUP];
  pack_two_largest(size, stays);
  kept[0] = stays[0] ? value[0] : stays[1] ? value[1] : value[2];
  kept[1] = stays[3] ? value[3] : stays[2] ? value[2] : value[1];
  const uint32_t first = stays[0] ? 0 : stays[1] ? 1 : 2, second = stays[3] ? 3 : stays[2] ? 2 : 1;
  return first | second << 2;
}

/* kept[0 .. 8): the values that stay. pairs: weight.h. Returns the unit's index, 4 nibbles. */
NUMBER_SHARED uint32_t pack_unit_choose(const float v[PACK_UNIT], int pairs, float kept[PACK_UNIT_KEPT]) {
  uint32_t index = 0;
  for (int g = 0; g < PACK_UNIT / SPARSE_24_GROUP; g++) {
    float value[SPARSE_24_GROUP], size[SPARSE_24_GROUP];
    for (int i = 0; i < SPARSE_24_GROUP; i++) {
      const int at = pairs ? g / 2 * 8 + 2 * i + g % 2 : g * SPARSE_24_GROUP + i;
      value[i] = v[at];
      size[i] = pairs ? nvfp4_add(pack_size(v[at]), pack_size(v[at ^ 1])) : pack_size(v[at]);
    }
    index |= pack_group_choose(value, size, kept + 2 * g) << (4 * g);
  }
  return index;
}

/* Where unit u's codes and index lie in a row. */
NUMBER_SHARED size_t pack_unit_code_at(weight_format format, size_t u) {
  const size_t block = u / PACK_UNITS, part = u % PACK_UNITS;
  switch (format) {
  case WEIGHT_INT8_24: return block * sizeof(int8_24_block) + part * PACK_UNIT_KEPT;
  case WEIGHT_INT4_24: return block * sizeof(int4_24_block) + part * PACK_UNIT_KEPT / 2;
  case WEIGHT_NVFP4: return u * NVFP4_BLOCK_BYTES;
  default: return u * PACK_UNIT;
  }
}

NUMBER_SHARED size_t pack_unit_index_at(weight_format format, size_t u) {
  const size_t block = u / PACK_UNITS, part = u % PACK_UNITS;
  return format == WEIGHT_INT8_24 ? block * sizeof(int8_24_block) + SPARSE_24_KEPT + part * PACK_UNIT_INDEX
                                  : block * sizeof(int4_24_block) + SPARSE_24_KEPT / 2 + part * PACK_UNIT_INDEX;
}

/* Units of a row that are written: whole blocks. */
NUMBER_SHARED size_t pack_unit_count(weight_format format, size_t cols) {
  const size_t block = format == WEIGHT_INT8_24 || format == WEIGHT_INT4_24 ? SPARSE_24_COLUMNS : PACK_UNIT;
  return (cols + block - 1) / block * (block / PACK_UNIT);
}

/* Returns the index. */
NUMBER_SHARED uint32_t pack_unit_int8(const float v[PACK_UNIT], int pairs, pack_division by, uint32_t words[2]) {
  float kept[PACK_UNIT_KEPT];
  const uint32_t index = pack_unit_choose(v, pairs, kept);
  words[0] = words[1] = 0;
  for (int i = 0; i < PACK_UNIT_KEPT; i++)
    words[i / 4] |= (uint32_t)(uint8_t)int8_from_f32(pack_quotient(by, kept[i])) << (8 * (i % 4));
  return index;
}

NUMBER_SHARED uint32_t pack_unit_int4(const float v[PACK_UNIT], int pairs, pack_division by, uint32_t *word) {
  float kept[PACK_UNIT_KEPT];
  const uint32_t index = pack_unit_choose(v, pairs, kept);
  *word = 0;
  for (int i = 0; i < PACK_UNIT_KEPT; i++) *word |= (uint32_t)int4_from_f32(pack_quotient(by, kept[i])) << (4 * i);
  return index;
}

/* ---- NVFP4 */

/* The code of the scale nearest to absmax / code_value. */
NUMBER_SHARED uint32_t pack_nvfp4_nearest(const pack_spec *spec, float absmax, float code_value) {
  const float quotient = absmax / code_value;
  return e4m3_from_f32(spec->multiplier ? quotient / spec->global : nvfp4_mul(quotient, spec->global));
}

/* Σ (w − value)² by the table's entry at. */
NUMBER_SHARED float pack_nvfp4_error(const nvfp4_table *table, const float v[NVFP4_BLOCK], int at) {
  const float factor = table->factor[at];
  float sum = 0;
  for (int i = 0; i < NVFP4_BLOCK; i++)
    sum = nvfp4_add(sum, nvfp4_distance(nvfp4_mul(f32_from_bits(pack_magnitude(v[i])), factor)));
  return nvfp4_mul(sum, table->square[at]);
}

/* Of the codes from six − before on, those whose bit is set. */
NUMBER_SHARED uint32_t pack_nvfp4_search(const nvfp4_table *table, const float v[NVFP4_BLOCK], int six, int before,
                                         uint32_t tried) {
  float least = f32_from_bits(PACK_INFINITE);
  uint32_t best = (uint32_t)six;
  for (int t = 0; tried >> t; t++) {
    if (!(tried >> t & 1)) continue;
    const float error = pack_nvfp4_error(table, v, NVFP4_TABLE_BEFORE + six - before + t);
    if (error < least) least = error, best = nvfp4_scale_within(six - before + t);
  }
  return best;
}

/* The block's scale, by the spec's rule. */
NUMBER_SHARED uint32_t pack_nvfp4_scale(const pack_spec *spec, const nvfp4_table *table, const float v[NVFP4_BLOCK],
                                        float absmax) {
  const uint32_t six = pack_nvfp4_nearest(spec, absmax, NVFP4_LARGEST);
  if (six == 0) return NVFP4_SCALE_OF_NONE;
  switch (spec->search) {
  case NVFP4_SEARCH_MSE: return pack_nvfp4_search(table, v, (int)six, NVFP4_TABLE_BEFORE, 0xffffu);
  case NVFP4_SEARCH_NEAR: return pack_nvfp4_search(table, v, (int)six, NVFP4_NEAR_BEFORE, NVFP4_NEAR);
  case NVFP4_SEARCH_FOUR_OVER_SIX: {
    const uint32_t four = pack_nvfp4_nearest(spec, absmax, NVFP4_FOUR);
    const float by_six = pack_nvfp4_error(table, v, NVFP4_TABLE_BEFORE + (int)six), none = f32_from_bits(PACK_INFINITE);
    const float least = by_six < none ? by_six : none;
    return pack_nvfp4_error(table, v, NVFP4_TABLE_BEFORE + (int)four) < least ? four : six;
  }
  default: return six;
  }
}

/* e2m1_from_f32, on a GPU by nvfp4_code_of, which has no sign of zero and takes no NaN. */
NUMBER_SHARED uint32_t pack_e2m1(float y) {
#ifdef __CUDA_ARCH__
  if (y == y) return nvfp4_code_of(y) | (f32_bits(y) >> 28 & 8u);
#endif
  return e2m1_from_f32(y);
}

NUMBER_SHARED void pack_unit_nvfp4(const nvfp4_table *table, const float v[NVFP4_BLOCK], uint32_t scale,
                                   uint32_t words[2]) {
  const float factor = table->factor[NVFP4_TABLE_BEFORE + scale];
  words[0] = words[1] = 0;
  for (int i = 0; i < NVFP4_BLOCK; i++) words[i / 8] |= pack_e2m1(nvfp4_mul(v[i], factor)) << (4 * (i % 8));
}

#endif
