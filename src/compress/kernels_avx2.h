/* compress/kernels_avx2.h: what the files of AVX2 and AVX-512 kernels share. */
#ifndef COMPRESS_KERNELS_AVX2_H
#define COMPRESS_KERNELS_AVX2_H

#include <immintrin.h>

#include "compress/kernels.h"

/* The compiler makes one form for each constant. */
#define FOR_EACH __attribute__((always_inline)) static inline

/* As in compress_kernels. */
void affine_encode_avx2(const affine *a, const float *values, size_t count, float *scales, float *zeros,
                        uint8_t *codes);
void affine_decode_avx2(const affine *a, const float *scales, const float *zeros, const uint8_t *codes, size_t count,
                        int past, float *to);
void nvfp4_codes_avx2(float global, const uint8_t *scales, const float *values, size_t count, uint8_t *codes);
void nvfp4_values_avx2(float global, const uint8_t *scales, const uint8_t *codes, size_t count, int past, float *to);

void affine_encode_avx512(const affine *a, const float *values, size_t count, float *scales, float *zeros,
                          uint8_t *codes);
void nvfp4_codes_avx512(float global, const uint8_t *scales, const float *values, size_t count, uint8_t *codes);

#define LINE_VALUES 16   /* in a cache's line */
#define AHEAD       1024 /* values asked for: the processor itself looks ahead within a page of 4 KiB only */
static inline void ask_ahead(const float *values) { _mm_prefetch((const char *)(values + AHEAD), _MM_HINT_T0); }

/* Stores that go past the caches write whole aligned vectors. */
static inline int may_pass(const float *to, int past) { return past && (uintptr_t)to % sizeof(__m256) == 0; }
static inline void store8(float *to, __m256 v, int past) {
  if (past)
    _mm256_stream_ps(to, v);
  else
    _mm256_storeu_ps(to, v);
}

#endif
