/* tensor/loops_math_avx2.h: log of F64 in vectors by hand: compilers read a table by gathers, which are slow. The same bits as
 * loops_math.h.
 */
#ifndef TENSOR_LOOPS_MATH_AVX2_H
#define TENSOR_LOOPS_MATH_AVX2_H

#include <immintrin.h>

#include "tensor/loops_math.h"

#define F64_LOG_LOOP BY_HAND

static inline __m256d log_cells(const double *table, __m256i cell) {
  return _mm256_set_pd(table[_mm256_extract_epi64(cell, 3)], table[_mm256_extract_epi64(cell, 2)],
                       table[_mm256_extract_epi64(cell, 1)], table[_mm256_extract_epi64(cell, 0)]);
}

static inline __m256d log_f64_vector(__m256d x) {
  const __m256d tiny = _mm256_cmp_pd(x, _mm256_set1_pd(2.2250738585072014e-308), _CMP_LT_OQ);
  const __m256i bits =
      _mm256_castpd_si256(_mm256_blendv_pd(x, _mm256_mul_pd(x, _mm256_set1_pd(18014398509481984.0)), tiny));
  const __m256i octave = _mm256_and_si256(_mm256_add_epi64(bits, _mm256_set1_epi64x(0x0008000000000000)),
                                          _mm256_set1_epi64x((int64_t)0xfff0000000000000u));
  const __m256i exponent = _mm256_or_si256(_mm256_srli_epi64(octave, 52), _mm256_set1_epi64x(0x4330000000000000));
  const __m256d raw = _mm256_sub_pd(_mm256_castsi256_pd(exponent), _mm256_set1_pd(4503599627370496.0));
  const __m256d k = _mm256_sub_pd(raw, _mm256_blendv_pd(_mm256_set1_pd(1023.0), _mm256_set1_pd(1077.0), tiny));
  const __m256d m =
      _mm256_castsi256_pd(_mm256_add_epi64(_mm256_sub_epi64(bits, octave), _mm256_set1_epi64x(0x3ff0000000000000)));
  const __m256i cell = _mm256_and_si256(_mm256_srli_epi64(bits, LOG_CELL_SHIFT), _mm256_set1_epi64x(15));
  const __m256d r = _mm256_fmadd_pd(m, log_cells(log_inverse, cell), _mm256_set1_pd(-1.0));
  const __m256d high = _mm256_fmadd_pd(k, _mm256_set1_pd(LN2_HIGH_64), log_cells(log_of_c, cell));
  const __m256d low = _mm256_fmadd_pd(_mm256_mul_pd(r, r), LOG_TERMS_F64(_mm256_fmadd_pd, _mm256_set1_pd, r),
                                      _mm256_mul_pd(k, _mm256_set1_pd(LN2_LOW_64)));
  const __m256d y = _mm256_add_pd(high, _mm256_add_pd(r, low));
  const __m256d zero = _mm256_setzero_pd(), infinity = _mm256_set1_pd(f64_of_bits(0x7ff0000000000000u));
  const __m256d positive = _mm256_cmp_pd(x, zero, _CMP_GT_OQ);
  __m256d edge = _mm256_blendv_pd(_mm256_set1_pd(f64_of_bits(0x7ff8000000000000u)), x, positive);
  edge = _mm256_blendv_pd(edge, _mm256_set1_pd(f64_of_bits(0xfff0000000000000u)), _mm256_cmp_pd(x, zero, _CMP_EQ_OQ));
  return _mm256_blendv_pd(edge, y, _mm256_and_pd(positive, _mm256_cmp_pd(x, infinity, _CMP_LT_OQ)));
}

static inline void log_f64_dense(double *r, const double *a, size_t n) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) _mm256_storeu_pd(r + i, log_f64_vector(_mm256_loadu_pd(a + i)));
  if (i == n) return;
  const __m256i rest = _mm256_cmpgt_epi64(_mm256_set1_epi64x((int64_t)(n - i)), _mm256_set_epi64x(3, 2, 1, 0));
  _mm256_maskstore_pd(r + i, rest, log_f64_vector(_mm256_maskload_pd(a + i, rest)));
}

#endif
