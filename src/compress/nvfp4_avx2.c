/* compress/nvfp4_avx2.c: NVFP4's codes with AVX2, equal to kernels_plain.c bit for bit. Whole blocks; what is left goes to
 * the plain form.
 */
#include "compress/kernels.h"

#ifdef __AVX2__

#include "compress/kernels_avx2.h"
#include "number/layout.h"
#include "number/number.h"

#define CHUNK_BLOCKS 64 /* whose steps are found together */

/* steps[0 .. blocks) = the scales / global; room for CHUNK_BLOCKS. */
static void find_steps(float global, const uint8_t *scales, size_t blocks, float *steps) {
  const __m256 g = _mm256_set1_ps(global);
  e4m3_to_f32_n(scales, steps, blocks);
  for (size_t i = 0; i < blocks; i += 8) _mm256_storeu_ps(steps + i, _mm256_div_ps(_mm256_loadu_ps(steps + i), g));
}

/* -- codes */

/* Of 8 values, in 32 bits each: *sizes 2 more than the codes of the magnitudes, modulo 8; *below all bits where the value is
 * below 0. E2M1's values are multiples of 1/2 below 2, of 1 below 4, of 2 below 8: of half of y's power of two 2^e, at least of
 * 1/2. Adding 2^22 powers rounds to such a multiple, ties to even, and leaves it in the lowest bits, k; in bits 22 and above
 * stand 2 · (149 + e). The code is k + 2e: both together, less 298, which is 2 modulo 8. */
static inline void codes8(__m256 x, __m256 step, __m256i *sizes, __m256i *below) {
  const __m256 y = _mm256_div_ps(x, step);
  const __m256 size = _mm256_min_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), y), _mm256_set1_ps(NVFP4_LARGEST));
  const __m256 power = _mm256_and_ps(size, _mm256_castsi256_ps(_mm256_set1_epi32(0x7f800000)));
  const __m256 unit = _mm256_max_ps(power, _mm256_set1_ps(1));
  const __m256i bits = _mm256_castps_si256(_mm256_fmadd_ps(unit, _mm256_set1_ps(0x1p22f), size));
  *sizes = _mm256_and_si256(_mm256_add_epi32(bits, _mm256_srli_epi32(bits, 22)), _mm256_set1_epi32(7));
  *below = _mm256_castps_si256(_mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_LT_OQ)); /* not −0 */
}

/* 32 values' codes into 16 bytes. The packing works on halves of 128 bits; the last interleaving puts the pairs in order. */
static inline __m128i join32(const __m256i sizes[4], const __m256i below[4]) {
  const __m256i bytes =
      _mm256_packus_epi16(_mm256_packus_epi32(sizes[0], sizes[1]), _mm256_packus_epi32(sizes[2], sizes[3]));
  const __m256i signs =
      _mm256_packs_epi16(_mm256_packs_epi32(below[0], below[1]), _mm256_packs_epi32(below[2], below[3]));
  const __m256i three = _mm256_and_si256(_mm256_sub_epi8(bytes, _mm256_set1_epi8(2)), _mm256_set1_epi8(7));
  const __m256i codes = _mm256_or_si256(three, _mm256_and_si256(signs, _mm256_set1_epi8(8)));
  const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x1001)); /* first + 16 · second */
  const __m256i joined = _mm256_packus_epi16(pairs, pairs);
  return _mm_unpacklo_epi16(_mm256_castsi256_si128(joined), _mm256_extracti128_si256(joined, 1));
}

/* Two blocks. */
static inline void code_two(const float *values, const float *steps, uint8_t *codes) {
  __m256i sizes[4], below[4];
  for (size_t i = 0; i < 2; i++) ask_ahead(values + i * LINE_VALUES);
  for (size_t i = 0; i < 4; i++)
    codes8(_mm256_loadu_ps(values + 8 * i), _mm256_broadcast_ss(steps + i / 2), &sizes[i], &below[i]);
  _mm_storeu_si128((__m128i *)(void *)codes, join32(sizes, below));
}

void nvfp4_codes_avx2(float global, const uint8_t *scales, const float *values, size_t count, uint8_t *codes) {
  const size_t blocks = count / NVFP4_BLOCK / 2 * 2, done = blocks * NVFP4_BLOCK;
  float steps[CHUNK_BLOCKS] = {0};
  for (size_t b = 0; b < blocks; b += CHUNK_BLOCKS) {
    const size_t some = blocks - b < CHUNK_BLOCKS ? blocks - b : CHUNK_BLOCKS;
    find_steps(global, scales + b, some, steps);
    for (size_t i = 0; i < some; i += 2)
      code_two(values + (b + i) * NVFP4_BLOCK, steps + i, codes + (b + i) * NVFP4_BLOCK_BYTES);
  }
  compress_kernels_plain()->nvfp4_codes(global, scales + blocks, values + done, count - done,
                                        codes + blocks * NVFP4_BLOCK_BYTES);
}

/* -- values */

/* Lane i takes code i of a word; the permutation looks at its three lowest bits. */
static inline __m256 values8(const uint8_t *codes, __m256 step) {
  const __m256 table = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
  uint32_t word;
  memcpy(&word, codes, sizeof word); /* x86 is little-endian */
  const __m256i code = _mm256_srlv_epi32(_mm256_set1_epi32((int)word), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
  const __m256 sign = _mm256_and_ps(_mm256_castsi256_ps(_mm256_slli_epi32(code, 28)), _mm256_set1_ps(-0.0f));
  return _mm256_mul_ps(_mm256_xor_ps(_mm256_permutevar8x32_ps(table, code), sign), step);
}

FOR_EACH void decode_some(const float *steps, const uint8_t *codes, size_t blocks, int past, float *to) {
  for (size_t b = 0; b < blocks; b++, codes += NVFP4_BLOCK_BYTES, to += NVFP4_BLOCK) {
    const __m256 step = _mm256_set1_ps(steps[b]);
    store8(to, values8(codes, step), past);
    store8(to + 8, values8(codes + 4, step), past);
  }
}

void nvfp4_values_avx2(float global, const uint8_t *scales, const uint8_t *codes, size_t count, int past, float *to) {
  const size_t blocks = count / NVFP4_BLOCK, done = blocks * NVFP4_BLOCK;
  float steps[CHUNK_BLOCKS] = {0};
  past = may_pass(to, past);
  for (size_t b = 0; b < blocks; b += CHUNK_BLOCKS) {
    const size_t some = blocks - b < CHUNK_BLOCKS ? blocks - b : CHUNK_BLOCKS;
    find_steps(global, scales + b, some, steps);
    if (past)
      decode_some(steps, codes + b * NVFP4_BLOCK_BYTES, some, 1, to + b * NVFP4_BLOCK);
    else
      decode_some(steps, codes + b * NVFP4_BLOCK_BYTES, some, 0, to + b * NVFP4_BLOCK);
  }
  if (past) _mm_sfence();
  compress_kernels_plain()->nvfp4_values(global, scales + blocks, codes + blocks * NVFP4_BLOCK_BYTES, count - done, 0,
                                         to + done);
}

#endif
