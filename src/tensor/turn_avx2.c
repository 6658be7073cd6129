/* tensor/turn_avx2.c: tiles of 16 × 16 elements of 4 and 8 bytes, turned in registers. */
#include "tensor/turn.h"

#include <stddef.h>

#ifdef __AVX2__

#include <immintrin.h>

/* to[r][c] = from[c][r] for 8 × 8 elements of 4 bytes: pairs, fours, halves. */
static void turn_8x8(char *to, int64_t to_step, const char *from, int64_t from_step) {
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

static void turn_4x4(char *to, int64_t to_step, const char *from, int64_t from_step) {
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

static void tile_4(char *to, int64_t to_step, const char *from, int64_t from_step) {
  for (int r = 0; r < TURN_TILE; r += 8)
    for (int c = 0; c < TURN_TILE; c += 8)
      turn_8x8(to + r * to_step + (ptrdiff_t)c * 4, to_step, from + c * from_step + (ptrdiff_t)r * 4, from_step);
}

static void tile_8(char *to, int64_t to_step, const char *from, int64_t from_step) {
  for (int r = 0; r < TURN_TILE; r += 4)
    for (int c = 0; c < TURN_TILE; c += 4)
      turn_4x4(to + r * to_step + (ptrdiff_t)c * 8, to_step, from + c * from_step + (ptrdiff_t)r * 8, from_step);
}

turn_tile turn_tile_avx2(size_t element) { return element == 4 ? tile_4 : element == 8 ? tile_8 : NULL; }

#else

turn_tile turn_tile_avx2(size_t element) {
  (void)element;
  return NULL;
}

#endif
