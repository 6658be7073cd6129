/* compress/affine_avx2.c: the affine codec with AVX2, equal to kernels_plain.c bit for bit. Whole blocks of a multiple of 8
 * values, eight blocks at a time, so that their least and largest values and their scales are found together; what is left
 * goes to the plain form.
 */
#include "compress/kernels.h"

#ifdef __AVX2__

#include <float.h>

#include "compress/kernels_avx2.h"

#define TOGETHER 8 /* blocks */

/* -- encode */

/* Of each of eight vectors the largest, in their order. */
static inline __m256 largest8(const __m256 v[8]) {
  __m256 two[4], four[2];
  for (int i = 0; i < 4; i++)
    two[i] = _mm256_max_ps(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 2; i++)
    four[i] = _mm256_max_ps(_mm256_shuffle_ps(two[2 * i], two[2 * i + 1], _MM_SHUFFLE(1, 0, 1, 0)),
                            _mm256_shuffle_ps(two[2 * i], two[2 * i + 1], _MM_SHUFFLE(3, 2, 3, 2)));
  return _mm256_max_ps(_mm256_permute2f128_ps(four[0], four[1], 0x20), _mm256_permute2f128_ps(four[0], four[1], 0x31));
}

/* The largest and the negated least value of eight blocks, a lane for each. */
static inline void extremes(const float *values, size_t block, __m256 *most, __m256 *least_negated) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 high[TOGETHER], low[TOGETHER];
  for (size_t b = 0; b < TOGETHER; b++, values += block) {
    high[b] = low[b] = _mm256_loadu_ps(values);
    ask_ahead(values);
    for (size_t i = 8; i < block; i += 8) {
      if (i % LINE_VALUES == 0) ask_ahead(values + i);
      high[b] = _mm256_max_ps(high[b], _mm256_loadu_ps(values + i));
      low[b] = _mm256_min_ps(low[b], _mm256_loadu_ps(values + i));
    }
    low[b] = _mm256_xor_ps(low[b], sign);
  }
  *most = largest8(high);
  *least_negated = largest8(low);
}

/* A quotient rises with its dividend: the largest n is the largest value's. */
static inline void find_scales(const affine *a, __m256 most, __m256 least_negated, float *scales, float *zeros) {
  const __m256 none = _mm256_setzero_ps(), global = _mm256_set1_ps(a->global);
  const __m256 high = _mm256_div_ps(most, global), low_negated = _mm256_div_ps(least_negated, global);
  const __m256 range = a->symmetric ? _mm256_max_ps(high, low_negated) : _mm256_add_ps(high, low_negated);
  const __m256 exact = _mm256_div_ps(_mm256_set1_ps((float)affine_levels(a)), range);
  const __m256 good =
      _mm256_and_ps(_mm256_cmp_ps(range, none, _CMP_GT_OQ), _mm256_cmp_ps(exact, _mm256_set1_ps(FLT_MAX), _CMP_LE_OQ));
  _mm256_storeu_ps(scales, _mm256_blendv_ps(_mm256_set1_ps(1), exact, good));
  _mm256_storeu_ps(zeros, a->symmetric ? none : _mm256_sub_ps(none, low_negated)); /* never −0 */
}

/* What a block's codes are made with, in all lanes. */
typedef struct code_lanes {
  __m256 global, zero, scale;
} code_lanes;

/* To nearest, ties away from zero: the greatest float below 1/2 is added, and the fraction cut off. Adding 1/2 itself would
 * carry 0.49999997 to 1. */
static inline __m256i round_away(__m256 t, int symmetric) {
  const __m256 half = _mm256_set1_ps(0x1.fffffep-2f), sign = _mm256_set1_ps(-0.0f);
  return _mm256_cvttps_epi32(_mm256_add_ps(t, symmetric ? _mm256_or_ps(half, _mm256_and_ps(t, sign)) : half));
}

/* Codes of 8 values in 32 bits each. Nothing is clamped: with the block's own range no product is below 0 or above the levels
 * by more than two roundings, which rounding takes away. */
FOR_EACH __m256i codes8(const float *values, const code_lanes *l, uint32_t bits, int symmetric) {
  const __m256 n = _mm256_div_ps(_mm256_loadu_ps(values), l->global);
  const __m256i codes = round_away(_mm256_mul_ps(_mm256_sub_ps(n, l->zero), l->scale), symmetric);
  return symmetric ? _mm256_and_si256(codes, _mm256_set1_epi32((1 << bits) - 1)) : codes;
}

/* 16 codes as bytes. */
static inline __m128i bytes16(__m256i first, __m256i second) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(first, second), _MM_SHUFFLE(3, 1, 2, 0));
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* 8 or 16 codes, each a byte, into 1 or 2 times `bits` bytes. x86 is little-endian. */
FOR_EACH void store_codes(__m128i bytes, uint32_t bits, int sixteen, uint8_t *to) {
  if (bits == 8) {
    if (sixteen)
      _mm_storeu_si128((__m128i *)(void *)to, bytes);
    else
      _mm_storel_epi64((__m128i *)(void *)to, bytes);
    return;
  }
  if (bits == 4) {
    const __m128i joined = _mm_maddubs_epi16(bytes, _mm_set1_epi16(0x1001)); /* first + 16 · second */
    const uint64_t word = (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(joined, joined));
    memcpy(to, &word, sixteen ? 8 : 4);
    return;
  }
  const uint64_t low = codes_pack((uint64_t)_mm_cvtsi128_si64(bytes), bits);
  memcpy(to, &low, bits);
  if (!sixteen) return;
  const uint64_t high = codes_pack((uint64_t)_mm_extract_epi64(bytes, 1), bits);
  memcpy(to + bits, &high, bits);
}

/* 32 codes into 4 times `bits` bytes. The packing works on halves of 128 bits. */
FOR_EACH void store_32(const __m256i v[4], uint32_t bits, uint8_t *to) {
  const __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(v[0], v[1]), _mm256_packus_epi32(v[2], v[3]));
  if (bits == 4) {
    const __m256i pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi16(0x1001));
    const __m256i joined = _mm256_packus_epi16(pairs, pairs);
    _mm_storeu_si128((__m128i *)(void *)to,
                     _mm_unpacklo_epi16(_mm256_castsi256_si128(joined), _mm256_extracti128_si256(joined, 1)));
    return;
  }
  const __m256i in_order = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  store_codes(_mm256_castsi256_si128(in_order), bits, 1, to);
  store_codes(_mm256_extracti128_si256(in_order, 1), bits, 1, to + 2 * bits);
}

/* 32 values: of one block, or the two of 16. */
FOR_EACH void encode_32(const float *values, const code_lanes *first, const code_lanes *second, uint32_t bits,
                        int symmetric, uint8_t *codes) {
  const __m256i v[4] = {codes8(values, first, bits, symmetric), codes8(values + 8, first, bits, symmetric),
                        codes8(values + 16, second, bits, symmetric), codes8(values + 24, second, bits, symmetric)};
  store_32(v, bits, codes);
}

FOR_EACH void encode_block(const float *values, size_t block, const code_lanes *l, uint32_t bits, int symmetric,
                           uint8_t *codes) {
  size_t i = 0;
  for (; i + 32 <= block; i += 32, codes += 4 * bits) encode_32(values + i, l, l, bits, symmetric, codes);
  for (; i + 16 <= block; i += 16, codes += 2 * bits)
    store_codes(bytes16(codes8(values + i, l, bits, symmetric), codes8(values + i + 8, l, bits, symmetric)), bits, 1,
                codes);
  if (i == block) return;
  const __m256i last = codes8(values + i, l, bits, symmetric);
  store_codes(bytes16(last, last), bits, 0, codes);
}

FOR_EACH code_lanes lanes_of(float global, const float *scale, const float *zero) {
  return (code_lanes){_mm256_set1_ps(global), _mm256_broadcast_ss(zero), _mm256_broadcast_ss(scale)};
}

FOR_EACH void encode_blocks(const affine *a, size_t block, uint32_t bits, int symmetric, const float *values,
                            size_t blocks, float *scales, float *zeros, uint8_t *codes) {
  const size_t bytes = block / 8 * bits;
  for (size_t b = 0; b < blocks; b += TOGETHER, values += TOGETHER * block, codes += TOGETHER * bytes) {
    __m256 most, least_negated;
    extremes(values, block, &most, &least_negated);
    find_scales(a, most, least_negated, scales + b, zeros + b);
    for (size_t i = 0; i < TOGETHER; i++) {
      const code_lanes l = lanes_of(a->global, scales + b + i, zeros + b + i);
      if (block == 16) {
        const code_lanes next = lanes_of(a->global, scales + b + i + 1, zeros + b + i + 1);
        encode_32(values + i * block, &l, &next, bits, symmetric, codes + i * bytes);
        i++;
      } else {
        encode_block(values + i * block, block, &l, bits, symmetric, codes + i * bytes);
      }
    }
  }
}

FOR_EACH void encode_bits(const affine *a, uint32_t bits, const float *values, size_t blocks, float *scales,
                          float *zeros, uint8_t *codes) {
  if (a->symmetric)
    encode_blocks(a, a->block, bits, 1, values, blocks, scales, zeros, codes);
  else if (a->block == 16)
    encode_blocks(a, 16, bits, 0, values, blocks, scales, zeros, codes);
  else
    encode_blocks(a, a->block, bits, 0, values, blocks, scales, zeros, codes);
}

static void encode_whole(const affine *a, const float *values, size_t blocks, float *scales, float *zeros,
                         uint8_t *codes) {
  switch (a->bits) {
  case 2: encode_bits(a, 2, values, blocks, scales, zeros, codes); return;
  case 3: encode_bits(a, 3, values, blocks, scales, zeros, codes); return;
  case 4: encode_bits(a, 4, values, blocks, scales, zeros, codes); return;
  case 5: encode_bits(a, 5, values, blocks, scales, zeros, codes); return;
  case 6: encode_bits(a, 6, values, blocks, scales, zeros, codes); return;
  case 7: encode_bits(a, 7, values, blocks, scales, zeros, codes); return;
  default: encode_bits(a, 8, values, blocks, scales, zeros, codes); return;
  }
}

/* Blocks that come eight together. */
static size_t together(const affine *a, size_t count) {
  return a->block % 8 == 0 ? count / a->block / TOGETHER * TOGETHER : 0;
}

void affine_encode_avx2(const affine *a, const float *values, size_t count, float *scales, float *zeros,
                        uint8_t *codes) {
  const size_t blocks = together(a, count), done = blocks * a->block;
  encode_whole(a, values, blocks, scales, zeros, codes);
  compress_kernels_plain()->encode(a, values + done, count - done, scales + blocks, zeros + blocks,
                                   codes + blocks * affine_block_bytes(a));
}

/* -- decode */

/* 2 to 7 bytes as one number, by loads that overlap: a copy through memory would wait until its pieces are stored. */
FOR_EACH uint64_t load_few(const uint8_t *from, uint32_t bytes) {
  uint16_t two[2];
  uint32_t four[2];
  if (bytes < 4) {
    memcpy(&two[0], from, 2), memcpy(&two[1], from + bytes - 2, 2);
    return two[0] | (uint64_t)two[1] << 8 * (bytes - 2);
  }
  memcpy(&four[0], from, 4), memcpy(&four[1], from + bytes - 4, 4);
  return four[0] | (uint64_t)four[1] << 8 * (bytes - 4);
}

/* 8 codes of `bits` bits, in 32 bits each: a lane takes the two bytes its code lies in, and moves it down. */
FOR_EACH __m256i load_codes(const uint8_t *codes, uint32_t bits) {
  if (bits == 8) return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)codes));
  if (bits == 4) {
    int32_t eight;
    memcpy(&eight, codes, sizeof eight);
    const __m256i down = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(eight), down), _mm256_set1_epi32(15));
  }
  const uint64_t word = load_few(codes, bits);
  const int b = (int)bits;
#define LANE(i) ((int)0x80800100u + (i)*b / 8 * 0x0101)
  const __m256i bytes = _mm256_setr_epi32(LANE(0), LANE(1), LANE(2), LANE(3), LANE(4), LANE(5), LANE(6), LANE(7));
#undef LANE
  const __m256i down = _mm256_setr_epi32(0, b % 8, 2 * b % 8, 3 * b % 8, 4 * b % 8, 5 * b % 8, 6 * b % 8, 7 * b % 8);
  const __m256i pairs = _mm256_shuffle_epi8(_mm256_set1_epi64x((long long)word), bytes);
  return _mm256_and_si256(_mm256_srlv_epi32(pairs, down), _mm256_set1_epi32((1 << b) - 1));
}

/* A block's numbers in all lanes. */
typedef struct block_lanes {
  __m256 scale, inverse, zero, global;
} block_lanes;

/* code / scale, rounded once: the product with the rounded inverse, mended by what is left over. Where scale and inverse are
 * far from FP32's ends this is the quotient for every code (test_affine tries all of FP32's mantissas). */
static inline __m256 quotient(__m256 code, const block_lanes *b) {
  const __m256 near = _mm256_mul_ps(code, b->inverse);
  return _mm256_fmadd_ps(_mm256_fnmadd_ps(near, b->scale, code), b->inverse, near);
}

FOR_EACH void decode_block(const block_lanes *b, uint32_t bits, int symmetric, size_t block, const uint8_t *codes,
                           int exact, int past, float *to) {
  const __m256i sign = _mm256_set1_epi32(1 << (bits - 1));
  for (size_t i = 0; i < block; i += 8, codes += bits) {
    __m256i code = load_codes(codes, bits);
    if (symmetric) code = _mm256_sub_epi32(_mm256_xor_si256(code, sign), sign);
    const __m256 c = _mm256_cvtepi32_ps(code);
    const __m256 n = _mm256_add_ps(exact ? quotient(c, b) : _mm256_div_ps(c, b->scale), b->zero);
    store8(to + i, _mm256_mul_ps(n, b->global), past);
  }
}

/* 1 when the quotients of all eight scales may be had without dividing. */
static inline int are_ordinary(__m256 scales) {
  const __m256 good = _mm256_and_ps(_mm256_cmp_ps(scales, _mm256_set1_ps(0x1p-60f), _CMP_GE_OQ),
                                    _mm256_cmp_ps(scales, _mm256_set1_ps(0x1p60f), _CMP_LE_OQ));
  return _mm256_movemask_ps(good) == 0xff;
}

FOR_EACH void decode_blocks(const affine *a, size_t block, uint32_t bits, int symmetric, const float *scales,
                            const float *zeros, const uint8_t *codes, size_t blocks, int past, float *to) {
  const size_t bytes = block / 8 * bits;
  block_lanes lanes = {.global = _mm256_set1_ps(a->global)};
  for (size_t b = 0; b < blocks; b += TOGETHER) {
    float inverse[TOGETHER];
    const __m256 all = _mm256_loadu_ps(scales + b);
    const int exact = are_ordinary(all);
    _mm256_storeu_ps(inverse, _mm256_div_ps(_mm256_set1_ps(1), all));
    for (size_t i = 0; i < TOGETHER; i++, codes += bytes, to += block) {
      lanes.scale = _mm256_set1_ps(scales[b + i]);
      lanes.inverse = _mm256_set1_ps(inverse[i]);
      lanes.zero = _mm256_set1_ps(zeros[b + i]);
      if (!exact)
        decode_block(&lanes, bits, symmetric, block, codes, 0, 0, to);
      else if (past)
        decode_block(&lanes, bits, symmetric, block, codes, 1, 1, to);
      else
        decode_block(&lanes, bits, symmetric, block, codes, 1, 0, to);
    }
  }
}

FOR_EACH void decode_bits(const affine *a, uint32_t bits, const float *scales, const float *zeros, const uint8_t *codes,
                          size_t blocks, int past, float *to) {
  if (a->symmetric)
    decode_blocks(a, a->block, bits, 1, scales, zeros, codes, blocks, past, to);
  else if (a->block == 16) /* the original's: two vectors, no loop */
    decode_blocks(a, 16, bits, 0, scales, zeros, codes, blocks, past, to);
  else
    decode_blocks(a, a->block, bits, 0, scales, zeros, codes, blocks, past, to);
}

static void decode_whole(const affine *a, const float *scales, const float *zeros, const uint8_t *codes, size_t blocks,
                         int past, float *to) {
  switch (a->bits) {
  case 2: decode_bits(a, 2, scales, zeros, codes, blocks, past, to); return;
  case 3: decode_bits(a, 3, scales, zeros, codes, blocks, past, to); return;
  case 4: decode_bits(a, 4, scales, zeros, codes, blocks, past, to); return;
  case 5: decode_bits(a, 5, scales, zeros, codes, blocks, past, to); return;
  case 6: decode_bits(a, 6, scales, zeros, codes, blocks, past, to); return;
  case 7: decode_bits(a, 7, scales, zeros, codes, blocks, past, to); return;
  default: decode_bits(a, 8, scales, zeros, codes, blocks, past, to); return;
  }
}

void affine_decode_avx2(const affine *a, const float *scales, const float *zeros, const uint8_t *codes, size_t count,
                        int past, float *to) {
  const size_t blocks = together(a, count), done = blocks * a->block;
  past = may_pass(to, past);
  decode_whole(a, scales, zeros, codes, blocks, past, to);
  if (past) _mm_sfence();
  compress_kernels_plain()->decode(a, scales + blocks, zeros + blocks, codes + blocks * affine_block_bytes(a),
                                   count - done, 0, to + done);
}

#endif
