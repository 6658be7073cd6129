/* format/gguf/dequant_avx2.c: AVX2 variants of dequant_32.c and dequant_k.c, equal bit for bit: the codes of a block
 * become 32 signed bytes, then FP32, then one multiplication and at most one addition each (never fused: two
 * roundings).
 */
#include "format/gguf/dequant.h"

#ifdef __AVX2__

#include <immintrin.h>

#include "format/gguf/blocks.h"

static inline __m128i load16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
static inline __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

/* An F16 number in all eight places. */
static inline __m256 f16_all(const uint8_t bytes[2]) {
  return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(block_u16(bytes))));
}

static inline __m256 to_floats(__m128i codes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)); }

/* to[0..16) = code · scale */
static inline void scaled16(float *to, __m128i codes, __m256 scale) {
  _mm256_storeu_ps(to, _mm256_mul_ps(to_floats(codes), scale));
  _mm256_storeu_ps(to + 8, _mm256_mul_ps(to_floats(_mm_srli_si128(codes, 8)), scale));
}

/* to[0..16) = code · scale + offset */
static inline void affine16(float *to, __m128i codes, __m256 scale, __m256 offset) {
  _mm256_storeu_ps(to, _mm256_add_ps(_mm256_mul_ps(to_floats(codes), scale), offset));
  _mm256_storeu_ps(to + 8, _mm256_add_ps(_mm256_mul_ps(to_floats(_mm_srli_si128(codes, 8)), scale), offset));
}

static inline void scaled32(float *to, __m256i codes, __m256 scale) {
  scaled16(to, _mm256_castsi256_si128(codes), scale);
  scaled16(to + 16, _mm256_extracti128_si256(codes, 1), scale);
}

static inline void affine32(float *to, __m256i codes, __m256 scale, __m256 offset) {
  affine16(to, _mm256_castsi256_si128(codes), scale, offset);
  affine16(to + 16, _mm256_extracti128_si256(codes, 1), scale, offset);
}

/* 16 bytes: their low halves, then their high halves. */
static inline __m256i nibbles32(const uint8_t *p) {
  __m128i bytes = load16(p);
  __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
  return _mm256_and_si256(both, _mm256_set1_epi8(0x0f));
}

/* Byte j is 0x10 when bit j is set, else 0. */
static inline __m256i fifth32(const uint8_t bits[4]) {
  const __m256i byte_of = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, /* */
                                           2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201u);
  __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)block_u32(bits)), byte_of);
  __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit_of), bit_of);
  return _mm256_and_si256(is_set, _mm256_set1_epi8(0x10));
}

/* Bits [shift, shift + width) of each byte; mask = 2^width − 1. */
static inline __m256i bits32(__m256i bytes, int shift, char mask) {
  return _mm256_and_si256(_mm256_srl_epi16(bytes, _mm_cvtsi32_si128(shift)), _mm256_set1_epi8(mask));
}

static inline __m256i code_book(const int8_t values[16]) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)values));
}

static void q4_0(const void *from, float *to, size_t count) {
  const block_q4_0 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    scaled32(to, _mm256_sub_epi8(nibbles32(block->nibbles), _mm256_set1_epi8(8)), f16_all(block->d));
  }
}

static void q4_1(const void *from, float *to, size_t count) {
  const block_q4_1 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    affine32(to, nibbles32(block->nibbles), f16_all(block->d), f16_all(block->m));
  }
}

static void q5_0(const void *from, float *to, size_t count) {
  const block_q5_0 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    __m256i codes = _mm256_or_si256(nibbles32(block->nibbles), fifth32(block->fifth));
    scaled32(to, _mm256_sub_epi8(codes, _mm256_set1_epi8(16)), f16_all(block->d));
  }
}

static void q5_1(const void *from, float *to, size_t count) {
  const block_q5_1 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    __m256i codes = _mm256_or_si256(nibbles32(block->nibbles), fifth32(block->fifth));
    affine32(to, codes, f16_all(block->d), f16_all(block->m));
  }
}

static void q8_0(const void *from, float *to, size_t count) {
  const block_q8_0 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    scaled32(to, load32(block->codes), f16_all(block->d));
  }
}

static void iq4_nl(const void *from, float *to, size_t count) {
  const block_iq4_nl *block = from;
  const __m256i book = code_book(iq4_values);
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    scaled32(to, _mm256_shuffle_epi8(book, nibbles32(block->nibbles)), f16_all(block->d));
  }
}

static void mxfp4(const void *from, float *to, size_t count) {
  const block_mxfp4 *block = from;
  const __m256i book = code_book(fp4_doubled);
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    __m256 scale = _mm256_set1_ps(mxfp4_half_scale(block->exponent));
    scaled32(to, _mm256_shuffle_epi8(book, nibbles32(block->nibbles)), scale);
  }
}

static void nvfp4(const void *from, float *to, size_t count) {
  const block_nvfp4 *block = from;
  const __m256i book = code_book(fp4_doubled);
  for (size_t n = count / BLOCK_NVFP4; n > 0; n--, block++, to += BLOCK_NVFP4) {
    for (int pair = 0; pair < 2; pair++) { /* of runs of 16 values = 8 bytes */
      __m256i values = _mm256_shuffle_epi8(book, nibbles32(block->nibbles + 16 * pair));
      __m128i low = _mm256_castsi256_si128(values), high = _mm256_extracti128_si256(values, 1);
      float *run = to + 32 * pair;
      scaled16(run, _mm_unpacklo_epi64(low, high), _mm256_set1_ps(nvfp4_half_scale(block->scales[2 * pair])));
      scaled16(run + 16, _mm_unpackhi_epi64(low, high), _mm256_set1_ps(nvfp4_half_scale(block->scales[2 * pair + 1])));
    }
  }
}

static void q2_k(const void *from, float *to, size_t count) {
  const block_q2_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    __m256 d = f16_all(block->d), dmin = f16_all(block->dmin);
    for (int s = 0; s < 8; s++) {
      __m256i codes = bits32(load32(block->codes + s / 4 * 32), 2 * (s % 4), 0x03);
      for (int half = 0; half < 2; half++) {
        uint8_t packed = block->scales[2 * s + half];
        __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps((float)(packed & 0x0f)));
        __m256 min = _mm256_mul_ps(dmin, _mm256_set1_ps((float)(packed >> 4)));
        __m128i part = half ? _mm256_extracti128_si256(codes, 1) : _mm256_castsi256_si128(codes);
        affine16(to + 32 * s + 16 * half, part, scale, _mm256_xor_ps(min, _mm256_set1_ps(-0.0f)));
      }
    }
  }
}

static void q3_k(const void *from, float *to, size_t count) {
  const block_q3_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    __m256 d = f16_all(block->d);
    __m256i high = load32(block->high);
    for (int s = 0; s < 8; s++) {
      __m256i codes = bits32(load32(block->codes + s / 4 * 32), 2 * (s % 4), 0x03);
      __m256i missing = _mm256_xor_si256(bits32(high, s, 0x01), _mm256_set1_epi8(1)); /* 1: four is taken off */
      codes = _mm256_sub_epi8(codes, _mm256_slli_epi16(missing, 2));
      __m256 first = _mm256_mul_ps(d, _mm256_set1_ps((float)q3_k_scale(block->scales, 2 * s)));
      __m256 second = _mm256_mul_ps(d, _mm256_set1_ps((float)q3_k_scale(block->scales, 2 * s + 1)));
      scaled16(to + 32 * s, _mm256_castsi256_si128(codes), first);
      scaled16(to + 32 * s + 16, _mm256_extracti128_si256(codes, 1), second);
    }
  }
}

/* The scale and the negated minimum of run s in block_q4_k and block_q5_k. */
static inline void k_affine(const uint8_t scales[12], int s, __m256 d, __m256 dmin, __m256 *scale, __m256 *offset) {
  uint8_t scale_code, min_code;
  k_scale_min(scales, s, &scale_code, &min_code);
  *scale = _mm256_mul_ps(d, _mm256_set1_ps((float)scale_code));
  __m256 min = _mm256_mul_ps(dmin, _mm256_set1_ps((float)min_code));
  *offset = _mm256_xor_ps(min, _mm256_set1_ps(-0.0f));
}

static void q4_k(const void *from, float *to, size_t count) {
  const block_q4_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    __m256 d = f16_all(block->d), dmin = f16_all(block->dmin), scale, offset;
    for (int s = 0; s < 8; s++) {
      k_affine(block->scales, s, d, dmin, &scale, &offset);
      affine32(to + 32 * s, bits32(load32(block->nibbles + s / 2 * 32), 4 * (s % 2), 0x0f), scale, offset);
    }
  }
}

static void q5_k(const void *from, float *to, size_t count) {
  const block_q5_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    __m256 d = f16_all(block->d), dmin = f16_all(block->dmin), scale, offset;
    __m256i fifth = load32(block->fifth);
    for (int s = 0; s < 8; s++) {
      k_affine(block->scales, s, d, dmin, &scale, &offset);
      __m256i codes = bits32(load32(block->nibbles + s / 2 * 32), 4 * (s % 2), 0x0f);
      codes = _mm256_or_si256(codes, _mm256_slli_epi16(bits32(fifth, s, 0x01), 4));
      affine32(to + 32 * s, codes, scale, offset);
    }
  }
}

static void q6_k(const void *from, float *to, size_t count) {
  const block_q6_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    __m256 d = f16_all(block->d);
    for (int s = 0; s < 8; s++) {
      int half = s / 4, quarter = s % 4;
      __m256i codes = bits32(load32(block->low + 64 * half + 32 * (quarter % 2)), 4 * (quarter / 2), 0x0f);
      __m256i high = bits32(load32(block->high + 32 * half), 2 * quarter, 0x03);
      codes = _mm256_sub_epi8(_mm256_or_si256(codes, _mm256_slli_epi16(high, 4)), _mm256_set1_epi8(32));
      __m256 first = _mm256_mul_ps(d, _mm256_set1_ps((float)(int8_t)block->scales[2 * s]));
      __m256 second = _mm256_mul_ps(d, _mm256_set1_ps((float)(int8_t)block->scales[2 * s + 1]));
      scaled16(to + 32 * s, _mm256_castsi256_si128(codes), first);
      scaled16(to + 32 * s + 16, _mm256_extracti128_si256(codes, 1), second);
    }
  }
}

static void iq4_xs(const void *from, float *to, size_t count) {
  const block_iq4_xs *block = from;
  const __m256i book = code_book(iq4_values);
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    __m256 d = f16_all(block->d);
    for (int s = 0; s < 8; s++) {
      __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps((float)iq4_xs_scale(block, s)));
      scaled32(to + 32 * s, _mm256_shuffle_epi8(book, nibbles32(block->nibbles + 16 * s)), scale);
    }
  }
}

dequant_fn dequant_avx2(file_type type) {
  static const dequant_fn variants[TYPE_COUNT] = {
      [TYPE_Q4_0] = q4_0,     [TYPE_Q4_1] = q4_1,   [TYPE_Q5_0] = q5_0,   [TYPE_Q5_1] = q5_1,     [TYPE_Q8_0] = q8_0,
      [TYPE_IQ4_NL] = iq4_nl, [TYPE_MXFP4] = mxfp4, [TYPE_NVFP4] = nvfp4, [TYPE_Q2_K] = q2_k,     [TYPE_Q3_K] = q3_k,
      [TYPE_Q4_K] = q4_k,     [TYPE_Q5_K] = q5_k,   [TYPE_Q6_K] = q6_k,   [TYPE_IQ4_XS] = iq4_xs,
  };
  return variants[type];
}

#else

dequant_fn dequant_avx2(file_type type) {
  (void)type;
  return NULL;
}

#endif
