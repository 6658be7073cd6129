/* tensor/loops_math_avx512.h: exp and log of F64, log and tanh of F32 in vectors by hand. AVX-512 takes numbers apart, scales them
 * and reads small tables in single instructions, for which C has no words. The same bits as loops_math.h.
 */
#ifndef TENSOR_LOOPS_MATH_AVX512_H
#define TENSOR_LOOPS_MATH_AVX512_H

#include <immintrin.h>

#include "tensor/loops_math.h"

#define F64_EXP_LOOP  BY_HAND
#define F64_LOG_LOOP  BY_HAND
#define F32_LOG_LOOP  BY_HAND
#define F32_TANH_LOOP BY_HAND

static inline __m512d exp_f64_vector(__m512d x) {
  const __m512d rounder = _mm512_set1_pd(ROUNDER_64);
  const __m512d limited =
      _mm512_max_pd(_mm512_set1_pd(EXP_LEAST), _mm512_min_pd(_mm512_set1_pd(EXP_MOST), x)); /* or NaN */
  const __m512d k = _mm512_sub_pd(_mm512_fmadd_pd(limited, _mm512_set1_pd(LOG2_E_64), rounder), rounder);
  const __m512d r =
      _mm512_fnmadd_pd(k, _mm512_set1_pd(LN2_LOW_64), _mm512_fnmadd_pd(k, _mm512_set1_pd(LN2_HIGH_64), limited));
  const __m512d p = EXP_TERMS_F64(_mm512_fmadd_pd, _mm512_set1_pd, r);
  const __m512d y = _mm512_add_pd(_mm512_fmadd_pd(_mm512_mul_pd(p, r), r, r), _mm512_set1_pd(1.0));
  return _mm512_mask_scalef_pd(x, _mm512_cmp_pd_mask(x, x, _CMP_ORD_Q), y, k); /* rounds once, as the two steps of C */
}

/* Of 0 and infinity k is infinite, and so is the sum. */
static inline __m512d log_f64_vector(__m512d x) {
  const __m512d m = _mm512_getmant_pd(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
  const __m512d k = _mm512_sub_pd(_mm512_getexp_pd(x), _mm512_getexp_pd(m));
  const __m512i cell =
      _mm512_srli_epi64(_mm512_castpd_si512(m), LOG_CELL_SHIFT); /* the permutation takes the low bits */
  const __m512d inverse = _mm512_permutex2var_pd(_mm512_load_pd(log_inverse), cell, _mm512_load_pd(log_inverse + 8));
  const __m512d of_c = _mm512_permutex2var_pd(_mm512_load_pd(log_of_c), cell, _mm512_load_pd(log_of_c + 8));
  const __m512d r = _mm512_fmadd_pd(m, inverse, _mm512_set1_pd(-1.0));
  const __m512d high = _mm512_fmadd_pd(k, _mm512_set1_pd(LN2_HIGH_64), of_c);
  const __m512d low = _mm512_fmadd_pd(_mm512_mul_pd(r, r), LOG_TERMS_F64(_mm512_fmadd_pd, _mm512_set1_pd, r),
                                      _mm512_mul_pd(k, _mm512_set1_pd(LN2_LOW_64)));
  const __mmask8 none = _mm512_cmp_pd_mask(x, _mm512_setzero_pd(), _CMP_NGE_UQ);
  return _mm512_mask_mov_pd(_mm512_add_pd(high, _mm512_add_pd(r, low)), none,
                            _mm512_set1_pd(f64_of_bits(0x7ff8000000000000u)));
}

/* The number of vfixupimm for each class of operands is four bits: zero (the third) becomes -inf, +inf (the sixth) +inf, others
 * are left. */
enum { LOG_EDGES = 4 << 8 | 5 << 20 };

static inline __m512 log_f32_vector(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f), half = _mm512_getmant_ps(x, _MM_MANT_NORM_p5_1, _MM_MANT_SIGN_zero);
  const __mmask16 low = _mm512_cmp_ps_mask(half, _mm512_set1_ps(f32_from_bits(ROOT_OF_HALF)), _CMP_LT_OQ);
  const __m512 exponent = _mm512_getexp_ps(x), k = _mm512_mask_add_ps(exponent, _knot_mask16(low), exponent, one);
  const __m512 m = _mm512_sub_ps(_mm512_mask_add_ps(half, low, half, half), one), z = _mm512_mul_ps(m, m);
  const __m512 p = LOG_TERMS_F32(_mm512_fmadd_ps, _mm512_set1_ps, m);
  const __m512 rest = _mm512_fmadd_ps(_mm512_set1_ps(LN2_LOW), k, _mm512_mul_ps(_mm512_mul_ps(m, z), p));
  const __m512 y =
      _mm512_fmadd_ps(_mm512_set1_ps(LN2_HIGH), k, _mm512_add_ps(m, _mm512_fmadd_ps(_mm512_set1_ps(-0.5f), z, rest)));
  const __mmask16 none = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NGE_UQ);
  return _mm512_mask_mov_ps(_mm512_fixupimm_ps(y, x, _mm512_set1_epi32(LOG_EDGES), 0), none,
                            _mm512_set1_ps(f32_from_bits(0x7fc00000u)));
}

static inline __m512 tanh_f32_vector(__m512 x) {
  const __m512 sign = _mm512_set1_ps(-0.0f), one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
  const __m512 a = _mm512_min_ps(_mm512_set1_ps(TANH_IS_ONE), _mm512_andnot_ps(sign, x)); /* or NaN */
  const __m512 twice = _mm512_add_ps(a, a), rounder = _mm512_set1_ps(ROUNDER);
  const __m512 shifted = _mm512_fmadd_ps(twice, _mm512_set1_ps(LOG2_E), rounder), k = _mm512_sub_ps(shifted, rounder);
  const __m512 r = _mm512_fnmadd_ps(k, _mm512_set1_ps(LN2_LOW), _mm512_fnmadd_ps(k, _mm512_set1_ps(LN2_HIGH), twice));
  const __m512 p = EXP_TERMS_F32(_mm512_fmadd_ps, _mm512_set1_ps, r);
  const __m512 series = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r);
  const __m512 scale = _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(shifted), 23), _mm512_castps_si512(one)));
  const __m512 d = _mm512_fmadd_ps(series, scale, _mm512_sub_ps(scale, one)), sum = _mm512_add_ps(d, two);
  const __m512 inverse = _mm512_div_ps(one, sum), q = _mm512_mul_ps(d, inverse);
  const __m512 lost = _mm512_sub_ps(d, _mm512_sub_ps(sum, two));
  const __m512 y = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, lost, _mm512_fnmadd_ps(q, sum, d)), inverse, q);
  return _mm512_or_ps(_mm512_andnot_ps(sign, y), _mm512_and_ps(sign, x));
}

/* The last vector is loaded and stored in part. */
#define DENSE(name, T, M, LANES, p)                                                                                    \
  static inline void name##_dense(T *r, const T *a, size_t n) {                                                        \
    size_t i = 0;                                                                                                      \
    for (; i + LANES <= n; i += LANES) _mm512_storeu_##p(r + i, name##_vector(_mm512_loadu_##p(a + i)));               \
    const M rest = (M)((1u << (n - i)) - 1);                                                                           \
    if (rest) _mm512_mask_storeu_##p(r + i, rest, name##_vector(_mm512_maskz_loadu_##p(rest, a + i)));                 \
  }
DENSE(exp_f64, double, __mmask8, 8, pd)
DENSE(log_f64, double, __mmask8, 8, pd)
DENSE(log_f32, float, __mmask16, 16, ps)
DENSE(tanh_f32, float, __mmask16, 16, ps)
#undef DENSE

#endif
