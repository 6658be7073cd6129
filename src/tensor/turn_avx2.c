/* tensor/turn_avx2.c: blocks of 8 × 8 elements (of 8 bytes: 4 × 4), turned in registers. */
#include "tensor/turn.h"

#include <stddef.h>

#ifdef __AVX2__

#include <immintrin.h>

/* Lines are interleaved in pairs of elements, then of pairs, then of fours: what stood in a column stands in a line. */

static void block_1(char *to, int64_t to_step, const char *from, int64_t from_step) {
  __m128i r[8], t[4];
  for (int i = 0; i < 8; i++) r[i] = _mm_loadl_epi64((const __m128i *)(const void *)(from + i * from_step));
  for (int i = 0; i < 4; i++) t[i] = _mm_unpacklo_epi8(r[2 * i], r[2 * i + 1]);
  for (int i = 0; i < 4; i += 2) {
    r[i] = _mm_unpacklo_epi16(t[i], t[i + 1]);
    r[i + 1] = _mm_unpackhi_epi16(t[i], t[i + 1]);
  }
  for (int i = 0; i < 2; i++) {
    t[2 * i] = _mm_unpacklo_epi32(r[i], r[i + 2]);
    t[2 * i + 1] = _mm_unpackhi_epi32(r[i], r[i + 2]);
  }
  for (int i = 0; i < 4; i++) {
    _mm_storel_epi64((__m128i *)(void *)(to + 2 * i * to_step), t[i]);
    _mm_storel_epi64((__m128i *)(void *)(to + (2 * i + 1) * to_step), _mm_unpackhi_epi64(t[i], t[i]));
  }
}

static void block_2(char *to, int64_t to_step, const char *from, int64_t from_step) {
  __m128i r[8], t[8];
  for (int i = 0; i < 8; i++) r[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + i * from_step));
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm_unpacklo_epi16(r[i], r[i + 1]);
    t[i + 1] = _mm_unpackhi_epi16(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; k++) {
      r[i + 2 * k] = _mm_unpacklo_epi32(t[i + k], t[i + k + 2]);
      r[i + 2 * k + 1] = _mm_unpackhi_epi32(t[i + k], t[i + k + 2]);
    }
  for (int i = 0; i < 4; i++) {
    _mm_storeu_si128((__m128i *)(void *)(to + 2 * i * to_step), _mm_unpacklo_epi64(r[i], r[i + 4]));
    _mm_storeu_si128((__m128i *)(void *)(to + (2 * i + 1) * to_step), _mm_unpackhi_epi64(r[i], r[i + 4]));
  }
}

static void block_4(char *to, int64_t to_step, const char *from, int64_t from_step) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps((const float *)(const void *)(from + i * from_step));
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps((float *)(void *)(to + i * to_step), _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps((float *)(void *)(to + (i + 4) * to_step), _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

static void block_8(char *to, int64_t to_step, const char *from, int64_t from_step) {
  __m256d r[4], t[4];
  for (int i = 0; i < 4; i++) r[i] = _mm256_loadu_pd((const double *)(const void *)(from + i * from_step));
  for (int i = 0; i < 4; i += 2) {
    t[i] = _mm256_unpacklo_pd(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_pd(r[i], r[i + 1]);
  }
  for (int i = 0; i < 2; i++) {
    _mm256_storeu_pd((double *)(void *)(to + i * to_step), _mm256_permute2f128_pd(t[i], t[i + 2], 0x20));
    _mm256_storeu_pd((double *)(void *)(to + (i + 2) * to_step), _mm256_permute2f128_pd(t[i], t[i + 2], 0x31));
  }
}

/* The last block of each direction ends with the matrix, and may turn again what the one before it has turned. */
#define TURN(element, SIDE)                                                                                            \
  static void turn_##element(char *to, int64_t to_step, const char *from, int64_t from_step, size_t rows,              \
                             size_t cols) {                                                                            \
    for (size_t next = 0; next < cols; next += SIDE) {                                                                 \
      const int64_t c = (int64_t)(next + SIDE <= cols ? next : cols - SIDE);                                           \
      for (size_t below = 0; below < rows; below += SIDE) {                                                            \
        const int64_t r = (int64_t)(below + SIDE <= rows ? below : rows - SIDE);                                       \
        block_##element(to + r * to_step + c * element, to_step, from + c * from_step + r * element, from_step);       \
      }                                                                                                                \
    }                                                                                                                  \
  }
TURN(1, 8)
TURN(2, 8)
TURN(4, 8)
TURN(8, 4)

turn_fn turn_avx2(size_t element) {
  return element == 1 ? turn_1 : element == 2 ? turn_2 : element == 4 ? turn_4 : turn_8;
}

#else

turn_fn turn_avx2(size_t element) {
  (void)element;
  return NULL;
}

#endif
