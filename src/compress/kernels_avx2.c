/* compress/kernels_avx2.c: AVX2 forms of kernels_plain.c, equal bit for bit. Whole blocks of a multiple of 8 values; what is
 * left goes to the plain form. */
#include "compress/kernels.h"

#ifdef __AVX2__

#include <immintrin.h>

static inline __m256 magnitudes(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

/* -- encode */

/* The largest of each half, in both halves' lanes: {high: max of `most`, low: max of `other`}. */
static inline void fold_two(__m256 most, __m256 other, float *a, float *b) {
  const __m256 low = _mm256_permute2f128_ps(most, other, 0x20), high = _mm256_permute2f128_ps(most, other, 0x31);
  __m256 m = _mm256_max_ps(low, high);
  m = _mm256_max_ps(m, _mm256_permute_ps(m, _MM_SHUFFLE(1, 0, 3, 2)));
  m = _mm256_max_ps(m, _mm256_permute_ps(m, _MM_SHUFFLE(2, 3, 0, 1)));
  *a = _mm256_cvtss_f32(m);
  *b = _mm_cvtss_f32(_mm256_extractf128_ps(m, 1));
}

/* n = values / global of a block, and its least and largest. */
static inline void normalise(const float *values, size_t count, __m256 global, float *n, float *least, float *most) {
  __m256 high = _mm256_set1_ps(-__builtin_inff()), low = high; /* low: of −n */
  for (size_t i = 0; i < count; i += 8) {
    const __m256 v = _mm256_div_ps(_mm256_loadu_ps(values + i), global);
    _mm256_storeu_ps(n + i, v);
    high = _mm256_max_ps(high, v);
    low = _mm256_max_ps(low, _mm256_xor_ps(v, _mm256_set1_ps(-0.0f)));
  }
  fold_two(high, low, most, least);
  *least = -*least;
}

/* Codes of 8 values in 32 bits each. */
static inline __m256i codes8(const float *n, __m256 zero, __m256 scale, __m256 low, __m256 high) {
  const __m256 t = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(n), zero), scale);
  const __m256 inside = _mm256_max_ps(_mm256_min_ps(t, high), low);
  const __m256i whole = _mm256_cvttps_epi32(inside);
  const __m256 rest = _mm256_sub_ps(inside, _mm256_cvtepi32_ps(whole));
  const __m256i up = _mm256_castps_si256(_mm256_cmp_ps(rest, _mm256_set1_ps(0.5f), _CMP_GE_OQ));
  const __m256i down = _mm256_castps_si256(_mm256_cmp_ps(rest, _mm256_set1_ps(-0.5f), _CMP_LE_OQ));
  return _mm256_add_epi32(_mm256_sub_epi32(whole, up), down);
}

/* 8 codes as bytes, cut to the bits of mask. */
static inline uint64_t bytes8(__m256i codes, __m256i mask) {
  const __m256i cut = _mm256_and_si256(codes, mask);
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(cut), _mm256_extracti128_si256(cut, 1));
  return (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}

static inline void store_codes(const affine *a, __m256i codes, __m256i mask, uint8_t *to) {
  const uint64_t word = codes_pack(bytes8(codes, mask), a->bits);
  memcpy(to, &word, a->bits); /* x86 is little-endian */
}

static inline void encode_block(const affine *a, const float *values, __m256 global, float *scale, float *zero,
                                uint8_t *codes) {
  const int levels = affine_levels(a);
  const __m256 high = _mm256_set1_ps((float)levels), low = _mm256_set1_ps(a->symmetric ? -(float)levels : 0);
  const __m256i mask = _mm256_set1_epi32((1 << a->bits) - 1);
  float n[AFFINE_BLOCK_MOST], least, most;
  normalise(values, a->block, global, n, &least, &most);
  *zero = a->symmetric ? 0 : least + 0.0f;
  const float range = a->symmetric ? (most > -least ? most : -least) : most - least;
  const float exact = (float)levels / range;
  *scale = range > 0 && exact <= 3.402823466e38f ? exact : 1;
  const __m256 s = _mm256_set1_ps(*scale), z = _mm256_set1_ps(*zero);
  for (size_t i = 0; i < a->block; i += 8, codes += a->bits)
    store_codes(a, codes8(n + i, z, s, low, high), mask, codes);
}

static void encode(const affine *a, const float *values, size_t count, float *scales, float *zeros, uint8_t *codes) {
  const size_t blocks = a->block % 8 == 0 ? count / a->block : 0, bytes = affine_block_bytes(a);
  const __m256 global = _mm256_set1_ps(a->global);
  for (size_t b = 0; b < blocks; b++)
    encode_block(a, values + b * a->block, global, scales + b, zeros + b, codes + b * bytes);
  const size_t done = blocks * a->block;
  compress_kernels_plain()->encode(a, values + done, count - done, scales + blocks, zeros + blocks,
                                   codes + blocks * bytes);
}

/* -- decode */

static inline __m256i load_codes(const affine *a, const uint8_t *codes) {
  uint64_t word = 0;
  memcpy(&word, codes, a->bits);
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)codes_unpack(word, a->bits)));
}

static void decode(const affine *a, const float *scales, const float *zeros, const uint8_t *codes, size_t count,
                   float *to) {
  const size_t blocks = a->block % 8 == 0 ? count / a->block : 0, bytes = affine_block_bytes(a);
  const __m256 global = _mm256_set1_ps(a->global);
  const __m256i sign = _mm256_set1_epi32(a->symmetric ? 1 << (a->bits - 1) : 0);
  for (size_t b = 0; b < blocks; b++) {
    const __m256 scale = _mm256_set1_ps(scales[b]), zero = _mm256_set1_ps(zeros[b]);
    const uint8_t *from = codes + b * bytes;
    float *at = to + b * a->block;
    for (size_t i = 0; i < a->block; i += 8, from += a->bits) {
      const __m256i code = _mm256_sub_epi32(_mm256_xor_si256(load_codes(a, from), sign), sign);
      const __m256 n = _mm256_add_ps(_mm256_div_ps(_mm256_cvtepi32_ps(code), scale), zero);
      _mm256_storeu_ps(at + i, _mm256_mul_ps(n, global));
    }
  }
  const size_t done = blocks * a->block;
  compress_kernels_plain()->decode(a, scales + blocks, zeros + blocks, codes + blocks * bytes, count - done, to + done);
}

/* -- errors */

#define RUN 128

static inline void widen(__m256 v, __m256d *low, __m256d *high) {
  *low = _mm256_add_pd(*low, _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
  *high = _mm256_add_pd(*high, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
}

/* The plain form's tree: (0 4)(2 6) and (1 5)(3 7). */
static inline double fold(__m256d low, __m256d high) {
  const __m256d four = _mm256_add_pd(low, high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

static void errors(const float *x, const float *y, size_t count, float unit, error_sums *sums) {
  const __m256 inverse = _mm256_set1_ps(1 / unit), infinity = _mm256_set1_ps(__builtin_inff());
  const size_t whole = count / RUN * RUN;
  __m256d sum[6];
  __m256 largest = _mm256_setzero_ps();
  for (int i = 0; i < 6; i++) sum[i] = _mm256_setzero_pd();
  for (size_t at = 0; at < whole; at += RUN) {
    __m256 absolute = _mm256_setzero_ps(), square = absolute, signal = absolute;
    for (size_t i = at; i < at + RUN; i += 8) {
      const __m256 original = _mm256_loadu_ps(x + i);
      const __m256 finite = _mm256_cmp_ps(magnitudes(original), infinity, _CMP_LT_OQ);
      const __m256 v = _mm256_and_ps(_mm256_mul_ps(original, inverse), finite);
      const __m256 d = _mm256_and_ps(_mm256_sub_ps(v, _mm256_mul_ps(_mm256_loadu_ps(y + i), inverse)), finite);
      absolute = _mm256_add_ps(absolute, magnitudes(d));
      square = _mm256_add_ps(square, _mm256_mul_ps(d, d));
      signal = _mm256_add_ps(signal, _mm256_mul_ps(v, v));
      largest = _mm256_max_ps(magnitudes(d), largest);
    }
    widen(absolute, &sum[0], &sum[1]);
    widen(square, &sum[2], &sum[3]);
    widen(signal, &sum[4], &sum[5]);
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, largest);
  for (int i = 0; i < 8; i++)
    if ((double)lanes[i] > sums->largest) sums->largest = (double)lanes[i];
  sums->absolute += fold(sum[0], sum[1]);
  sums->square += fold(sum[2], sum[3]);
  sums->signal += fold(sum[4], sum[5]);
  compress_kernels_plain()->errors(x + whole, y + whole, count - whole, unit, sums);
}

/* -- the machine */

static inline uint64_t lanes_sum(__m256i v) {
  const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return (uint64_t)_mm_cvtsi128_si64(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two)));
}

#define PARTS 8 /* registers that do not wait for each other */

static uint64_t read_words(const uint64_t *words, size_t count) {
  __m256i sum[PARTS];
  for (int p = 0; p < PARTS; p++) sum[p] = _mm256_setzero_si256();
  for (size_t i = 0; i < count; i += 4 * PARTS)
    for (size_t p = 0; p < PARTS; p++)
      sum[p] = _mm256_add_epi64(sum[p], _mm256_loadu_si256((const __m256i *)(const void *)(words + i + 4 * p)));
  for (int p = 1; p < PARTS; p++) sum[0] = _mm256_add_epi64(sum[0], sum[p]);
  return lanes_sum(sum[0]);
}

static uint64_t work(size_t rounds) {
  __m256i v[PARTS];
  const __m256i one = _mm256_set1_epi64x(1);
  for (int p = 0; p < PARTS; p++) v[p] = _mm256_set1_epi64x(p);
  for (size_t i = 0; i < rounds; i++)
    for (int p = 0; p < PARTS; p++) {
      v[p] = _mm256_add_epi64(v[p], one);
      __asm__ __volatile__("" : "+x"(v[p]));
    }
  for (int p = 1; p < PARTS; p++) v[0] = _mm256_add_epi64(v[0], v[p]);
  return lanes_sum(v[0]);
}

const compress_kernels *compress_kernels_avx2(void) {
  static const compress_kernels table = {encode, decode, errors, read_words, work, PARTS * 2 * sizeof(__m256i)};
  return &table;
}

#else

const compress_kernels *compress_kernels_avx2(void) { return NULL; }

#endif
