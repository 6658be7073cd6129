/* compress/affine_avx512.c: affine codes of 4 and 8 bits with AVX-512, equal to kernels_plain.c bit for bit. Whole blocks of a
 * multiple of 16 values, sixteen blocks at a time; what is left, and other blocks, are the AVX2 form's.
 *
 * Dividing by the global scale takes the processor longer than all else, so quotients are had without (kernels_avx512.h) where no
 * code can tell: with a range of n of 2^-20 and more, and a global scale of 2^-40 to 2^60, only n below 2^-60 may lack digits.
 * Beside a zero point of 2^-32 and more they vanish when it is taken off; beside a smaller one the code is 0 either way.
 */
#include "compress/kernels.h"

#ifdef __AVX512F__

#include <float.h>

#include "compress/kernels_avx2.h"
#include "compress/kernels_avx512.h"

#define TOGETHER     16 /* blocks, and values of a vector */
#define LEAST_GLOBAL 0x1p-40f
#define MOST_GLOBAL  0x1p60f
#define LEAST_RANGE  0x1p-20f

/* Of each of sixteen vectors the largest, in their order. */
static inline __m512 largest16(const __m512 v[16]) {
  __m512 two[8], four[4], half[2];
  for (int i = 0; i < 8; i++)
    two[i] = _mm512_max_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 4; i++)
    four[i] = _mm512_max_ps(_mm512_shuffle_ps(two[2 * i], two[2 * i + 1], _MM_SHUFFLE(1, 0, 1, 0)),
                            _mm512_shuffle_ps(two[2 * i], two[2 * i + 1], _MM_SHUFFLE(3, 2, 3, 2)));
  for (int i = 0; i < 2; i++)
    half[i] = _mm512_max_ps(_mm512_shuffle_f32x4(four[2 * i], four[2 * i + 1], _MM_SHUFFLE(1, 0, 1, 0)),
                            _mm512_shuffle_f32x4(four[2 * i], four[2 * i + 1], _MM_SHUFFLE(3, 2, 3, 2)));
  return _mm512_max_ps(_mm512_shuffle_f32x4(half[0], half[1], _MM_SHUFFLE(2, 0, 2, 0)),
                       _mm512_shuffle_f32x4(half[0], half[1], _MM_SHUFFLE(3, 1, 3, 1)));
}

/* The largest and the negated least value of sixteen blocks, a lane for each; symmetric: both the largest magnitude. */
FOR_EACH void extremes(const float *values, size_t block, int symmetric, __m512 *most, __m512 *least_negated) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  __m512 high[TOGETHER], low[TOGETHER];
  for (size_t b = 0; b < TOGETHER; b++, values += block) {
    const __m512 first = _mm512_loadu_ps(values);
    high[b] = symmetric ? _mm512_andnot_ps(sign, first) : first, low[b] = first;
    ask_ahead(values);
    for (size_t i = TOGETHER; i < block; i += TOGETHER) {
      const __m512 next = _mm512_loadu_ps(values + i);
      ask_ahead(values + i);
      high[b] = _mm512_max_ps(high[b], symmetric ? _mm512_andnot_ps(sign, next) : next);
      low[b] = symmetric ? low[b] : _mm512_min_ps(low[b], next);
    }
    low[b] = _mm512_xor_ps(low[b], sign);
  }
  *most = largest16(high);
  *least_negated = symmetric ? *most : largest16(low);
}

/* 1 where quotients may be had without dividing. */
static inline int find_scales(const affine *a, int symmetric, __m512 most, __m512 least_negated, float *scales,
                              float *zeros) {
  const __m512 none = _mm512_setzero_ps(), global = _mm512_set1_ps(a->global);
  const __m512 high = _mm512_div_ps(most, global),
               low_negated = symmetric ? high : _mm512_div_ps(least_negated, global);
  const __m512 range = symmetric ? high : _mm512_add_ps(high, low_negated);
  const __m512 exact = _mm512_div_ps(_mm512_set1_ps((float)affine_levels(a)), range);
  const __mmask16 good =
      _mm512_cmp_ps_mask(range, none, _CMP_GT_OQ) & _mm512_cmp_ps_mask(exact, _mm512_set1_ps(FLT_MAX), _CMP_LE_OQ);
  _mm512_storeu_ps(scales, _mm512_mask_blend_ps(good, _mm512_set1_ps(1), exact));
  _mm512_storeu_ps(zeros, symmetric ? none : _mm512_sub_ps(none, low_negated)); /* never −0 */
  return _mm512_cmp_ps_mask(range, _mm512_set1_ps(LEAST_RANGE), _CMP_GE_OQ) == 0xffff && a->global >= LEAST_GLOBAL &&
         a->global <= MOST_GLOBAL;
}

/* Codes of 16 values, in 32 bits each: as in affine_avx2.c. */
FOR_EACH __m512i codes16(const float *values, const divisor *global, __m512 zero, __m512 scale, uint32_t bits,
                         int symmetric, int ordinary) {
  const __m512 x = _mm512_loadu_ps(values), half = _mm512_set1_ps(0x1.fffffep-2f), sign = _mm512_set1_ps(-0.0f);
  const __m512 n = ordinary ? quotient(x, global) : _mm512_div_ps(x, global->by);
  const __m512 t = _mm512_mul_ps(symmetric ? n : _mm512_sub_ps(n, zero), scale);
  const __m512 away = symmetric ? _mm512_or_ps(half, _mm512_and_ps(t, sign)) : half;
  const __m512i codes = _mm512_cvttps_epi32(_mm512_add_ps(t, away));
  return symmetric ? _mm512_and_si512(codes, _mm512_set1_epi32((1 << bits) - 1)) : codes;
}

FOR_EACH void store_64(uint8_t *to, const __m512i v[4], uint32_t bits) {
  if (bits == 4)
    store_nibbles(to, bytes64(v));
  else
    _mm512_storeu_si512(to, bytes64(v));
}

/* Sixteen blocks, of which scales and zeros are known. */
FOR_EACH void encode_sixteen(const float *values, size_t block, const divisor *global, const float *scales,
                             const float *zeros, uint32_t bits, int symmetric, int ordinary, uint8_t *codes) {
  const size_t vectors = block / TOGETHER;
  for (size_t v = 0; v < TOGETHER * vectors; v += 4, values += 64, codes += 8 * bits) {
    __m512i four[4];
    for (size_t i = 0; i < 4; i++) {
      const size_t b = (v + i) / vectors;
      four[i] = codes16(values + 16 * i, global, _mm512_set1_ps(zeros[b]), _mm512_set1_ps(scales[b]), bits, symmetric,
                        ordinary);
    }
    store_64(codes, four, bits);
  }
}

FOR_EACH void encode_blocks(const affine *a, size_t block, uint32_t bits, int symmetric, const float *values,
                            size_t blocks, float *scales, float *zeros, uint8_t *codes) {
  const __m512 by = _mm512_set1_ps(a->global), inverse = _mm512_div_ps(_mm512_set1_ps(1), by);
  const divisor global = {by, inverse, rest_of(by, inverse)};
  for (size_t b = 0; b < blocks; b += TOGETHER, values += TOGETHER * block, codes += TOGETHER * block / 8 * bits) {
    __m512 most, least_negated;
    extremes(values, block, symmetric, &most, &least_negated);
    if (find_scales(a, symmetric, most, least_negated, scales + b, zeros + b))
      encode_sixteen(values, block, &global, scales + b, zeros + b, bits, symmetric, 1, codes);
    else
      encode_sixteen(values, block, &global, scales + b, zeros + b, bits, symmetric, 0, codes);
  }
}

FOR_EACH void encode_mode(const affine *a, uint32_t bits, const float *values, size_t blocks, float *scales,
                          float *zeros, uint8_t *codes) {
  if (!a->symmetric && a->block == 16)
    encode_blocks(a, 16, bits, 0, values, blocks, scales, zeros, codes);
  else if (!a->symmetric)
    encode_blocks(a, a->block, bits, 0, values, blocks, scales, zeros, codes);
  else if (a->block == 32)
    encode_blocks(a, 32, bits, 1, values, blocks, scales, zeros, codes);
  else
    encode_blocks(a, a->block, bits, 1, values, blocks, scales, zeros, codes);
}

void affine_encode_avx512(const affine *a, const float *values, size_t count, float *scales, float *zeros,
                          uint8_t *codes) {
  const int mine = (a->bits == 4 || a->bits == 8) && a->block % TOGETHER == 0;
  const size_t blocks = mine ? count / a->block / TOGETHER * TOGETHER : 0, done = blocks * a->block;
  if (blocks > 0 && a->bits == 4)
    encode_mode(a, 4, values, blocks, scales, zeros, codes);
  else if (blocks > 0)
    encode_mode(a, 8, values, blocks, scales, zeros, codes);
  affine_encode_avx2(a, values + done, count - done, scales + blocks, zeros + blocks,
                     codes + blocks * affine_block_bytes(a));
}

#endif
