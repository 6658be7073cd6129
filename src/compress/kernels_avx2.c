/* compress/kernels_avx2.c: measuring errors and the machine with AVX2, equal to kernels_plain.c bit for bit; and the tables of
 * all AVX2 and AVX-512 forms. */
#include "compress/kernels.h"

#ifdef __AVX2__

#include "compress/kernels_avx2.h"

static inline __m256 magnitudes(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

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

/* With AVX-512 only encoding is another. */
#define KERNELS(affine_encoder, nvfp4_encoder)                                                                         \
  {                                                                                                                    \
    .encode = affine_encoder, .decode = affine_decode_avx2, .nvfp4_codes = nvfp4_encoder,                              \
    .nvfp4_values = nvfp4_values_avx2, .errors = errors, .read = read_words, .work = work,                             \
    .work_bytes = PARTS * 2 * sizeof(__m256i)                                                                          \
  }

const compress_kernels *compress_kernels_avx2(void) {
  static const compress_kernels table = KERNELS(affine_encode_avx2, nvfp4_codes_avx2);
  return &table;
}

const compress_kernels *compress_kernels_avx512(void) {
  static const compress_kernels table = KERNELS(affine_encode_avx512, nvfp4_codes_avx512);
  return &table;
}

#else

const compress_kernels *compress_kernels_avx2(void) { return NULL; }
const compress_kernels *compress_kernels_avx512(void) { return NULL; }

#endif
