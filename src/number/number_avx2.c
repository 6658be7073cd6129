/* number/number_avx2.c: AVX2 and F16C variants of the 16-bit formats, and the table of all variants. They equal
 * bulk.c's bit for bit; tails of BF16 go to the scalar variants.
 */
#include "number/avx2.h"
#include "number/bulk.h"

#ifdef __AVX2__

#include <string.h>

#include "number/number.h"

static void bf16_to_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256i low = _mm256_cvtepu16_epi32(load128(in + i * 2));
    __m256i high = _mm256_cvtepu16_epi32(load128(in + i * 2 + 16));
    store256(out + i * 4, _mm256_slli_epi32(low, 16));
    store256(out + i * 4 + 32, _mm256_slli_epi32(high, 16));
  }
  if (i + 8 <= count) { /* small tensors have few elements */
    store256(out + i * 4, _mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(in + i * 2)), 16));
    i += 8;
  }
  if (i + 4 <= count) {
    store128(out + i * 4, _mm_slli_epi32(_mm_cvtepu16_epi32(load64(in + i * 2)), 16));
    i += 4;
  }
  for (; i < count; i++) {
    uint16_t code;
    memcpy(&code, in + i * 2, sizeof code);
    const float value = bf16_to_f32(code);
    memcpy(out + i * 4, &value, sizeof value);
  }
}

/* Eight BF16 codes, each in the low half of its 32 bits. */
static __m256i bf16_codes(__m256i bits) {
  __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
  __m256i is_nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
  __m256i high = _mm256_srli_epi32(bits, 16);
  __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  __m256i round = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
  __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, round), 16);
  __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x0040));
  return _mm256_blendv_epi8(rounded, quiet, is_nan);
}

static void bf16_from_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256i low = bf16_codes(load256(in + i * 4));
    __m256i high = bf16_codes(load256(in + i * 4 + 32));
    /* packus works on 128-bit halves: the permutation puts the four quarters in order */
    __m256i packed = _mm256_packus_epi32(low, high);
    store256(out + i * 2, _mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0)));
  }
  if (i + 8 <= count) {
    const __m256i codes = bf16_codes(load256(in + i * 4));
    store128(out + i * 2, _mm_packus_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)));
    i += 8;
  }
  for (; i < count; i++) {
    float value;
    memcpy(&value, in + i * 4, sizeof value);
    const uint16_t code = bf16_from_f32(value);
    memcpy(out + i * 2, &code, sizeof code);
  }
}

static void f16_to_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256 low = _mm256_cvtph_ps(load128(in + i * 2));
    __m256 high = _mm256_cvtph_ps(load128(in + i * 2 + 16));
    store256(out + i * 4, _mm256_castps_si256(low));
    store256(out + i * 4 + 32, _mm256_castps_si256(high));
  }
  if (i + 8 <= count) {
    store256(out + i * 4, _mm256_castps_si256(_mm256_cvtph_ps(load128(in + i * 2))));
    i += 8;
  }
  if (i + 4 <= count) {
    store128(out + i * 4, _mm_castps_si128(_mm_cvtph_ps(load64(in + i * 2))));
    i += 4;
  }
  for (; i < count; i++) { /* one by one, the same instruction */
    uint16_t code;
    memcpy(&code, in + i * 2, sizeof code);
    const float value = _cvtsh_ss(code);
    memcpy(out + i * 4, &value, sizeof value);
  }
}

static void f16_from_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256 low = _mm256_castsi256_ps(load256(in + i * 4));
    __m256 high = _mm256_castsi256_ps(load256(in + i * 4 + 32));
    store128(out + i * 2, _mm256_cvtps_ph(low, _MM_FROUND_TO_NEAREST_INT));
    store128(out + i * 2 + 16, _mm256_cvtps_ph(high, _MM_FROUND_TO_NEAREST_INT));
  }
  if (i + 8 <= count) {
    const __m256 values = _mm256_castsi256_ps(load256(in + i * 4));
    store128(out + i * 2, _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT));
    i += 8;
  }
  for (; i < count; i++) {
    float value;
    memcpy(&value, in + i * 4, sizeof value);
    const uint16_t code = _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
    memcpy(out + i * 2, &code, sizeof code);
  }
}

static size_t f32_find_avx2(const void *from, size_t count) {
  const uint8_t *in = from;
  const __m256i exponent = _mm256_set1_epi32(0x7f800000);
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    __m256i hit = _mm256_cmpeq_epi32(_mm256_and_si256(load256(in + i * 4), exponent), exponent);
    if (_mm256_movemask_epi8(hit) != 0) break;
  }
  return i + number_bulk_scalar()->f32_find_nonfinite(in + i * 4, count - i);
}

/* Elements before the first chunk of 16 in which one has all bits of exponent set. */
static size_t clean16(const uint8_t *in, size_t count, short bits) {
  const __m256i exponent = _mm256_set1_epi16(bits);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256i hit = _mm256_cmpeq_epi16(_mm256_and_si256(load256(in + i * 2), exponent), exponent);
    if (_mm256_movemask_epi8(hit) != 0) break;
  }
  return i;
}

static size_t bf16_find_avx2(const void *from, size_t count) {
  const uint8_t *in = from;
  size_t i = clean16(in, count, 0x7f80);
  return i + number_bulk_scalar()->bf16_find_nonfinite(in + i * 2, count - i);
}

static size_t f16_find_avx2(const void *from, size_t count) {
  const uint8_t *in = from;
  size_t i = clean16(in, count, 0x7c00);
  return i + number_bulk_scalar()->f16_find_nonfinite(in + i * 2, count - i);
}

const number_bulk *number_bulk_avx2(void) {
  static const number_bulk table = {.bf16_to_f32 = bf16_to_f32_avx2,
                                    .bf16_from_f32 = bf16_from_f32_avx2,
                                    .f16_to_f32 = f16_to_f32_avx2,
                                    .f16_from_f32 = f16_from_f32_avx2,
                                    .e4m3_to_f32 = e4m3_to_f32_avx2,
                                    .e4m3_from_f32 = e4m3_from_f32_avx2,
                                    .e5m2_to_f32 = e5m2_to_f32_avx2,
                                    .e5m2_from_f32 = e5m2_from_f32_avx2,
                                    .e8m0_to_f32 = e8m0_to_f32_avx2,
                                    .e8m0_from_f32 = e8m0_from_f32_avx2,
                                    .e2m1_to_f32 = e2m1_to_f32_avx2,
                                    .e2m1_from_f32 = e2m1_from_f32_avx2,
                                    .int4_to_f32 = int4_to_f32_avx2,
                                    .int4_from_f32 = int4_from_f32_avx2,
                                    .e4m3_scaled_from_f32 = e4m3_scaled_from_f32_avx2,
                                    .int8_scaled_from_f32 = int8_scaled_from_f32_avx2,
                                    .f32_absmax = f32_absmax_avx2,
                                    .f32_find_nonfinite = f32_find_avx2,
                                    .bf16_find_nonfinite = bf16_find_avx2,
                                    .f16_find_nonfinite = f16_find_avx2};
  return &table;
}

#else

const number_bulk *number_bulk_avx2(void) { return NULL; }

#endif
