/* compress/kernels_avx512.h: what the files of AVX-512 kernels share: quotients and the order of codes. */
#ifndef COMPRESS_KERNELS_AVX512_H
#define COMPRESS_KERNELS_AVX512_H

#include <immintrin.h>

#include "compress/kernels_avx2.h"

/* A number, its inverse rounded to nearest, and what the inverse is short of. */
typedef struct divisor {
  __m512 by, inverse, rest;
} divisor;

static inline __m512 rest_of(__m512 by, __m512 inverse) {
  return _mm512_mul_ps(_mm512_fnmadd_ps(by, inverse, _mm512_set1_ps(1)), inverse);
}

/* x / by rounded to nearest, without dividing: `near` is within a unit of the last place of it, so that what is left over is a
 * number of FP32, and one correction by the inverse rounds as a division does (Markstein 1990). Where x or the quotient is below
 * 2^-100 digits may be missing; nothing may overflow. */
static inline __m512 quotient(__m512 x, const divisor *d) {
  const __m512 near = _mm512_fmadd_ps(x, d->inverse, _mm512_mul_ps(x, d->rest));
  return _mm512_fmadd_ps(_mm512_fnmadd_ps(near, d->by, x), d->inverse, near);
}

/* 64 numbers below 256, each a byte, in their order; what is packed is so within each 128 bits. */
static inline __m512i bytes64(const __m512i v[4]) {
  const __m512i packed = _mm512_packus_epi16(_mm512_packus_epi32(v[0], v[1]), _mm512_packus_epi32(v[2], v[3]));
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), packed);
}

/* 64 codes of 4 bits, each a byte, into 32 bytes. */
static inline void store_nibbles(uint8_t *to, __m512i codes) {
  const __m512i pairs = _mm512_maddubs_epi16(codes, _mm512_set1_epi16(0x1001)); /* first + 16 · second */
  _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtepi16_epi8(pairs));
}

#endif
