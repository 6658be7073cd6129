/* number/avx2.h: what the AVX2 files share: unaligned loads and stores, and the variants of the 8-bit and 4-bit formats
 * (bulk.h says what they do) for the one table in number_avx2.c.
 */
#ifndef NUMBER_AVX2_H
#define NUMBER_AVX2_H

#include <stddef.h>
#include <stdint.h>

#ifdef __AVX2__

#include <immintrin.h>

static inline __m256i load256(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
static inline __m128i load128(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
static inline __m128i load64(const uint8_t *p) { return _mm_loadl_epi64((const __m128i *)(const void *)p); }
static inline void store256(uint8_t *p, __m256i v) { _mm256_storeu_si256((__m256i *)(void *)p, v); }
static inline void store128(uint8_t *p, __m128i v) { _mm_storeu_si128((__m128i *)(void *)p, v); }

#endif

void e4m3_to_f32_avx2(const void *from, void *to, size_t count);
void e4m3_from_f32_avx2(const void *from, void *to, size_t count);
void e5m2_to_f32_avx2(const void *from, void *to, size_t count);
void e5m2_from_f32_avx2(const void *from, void *to, size_t count);
void e8m0_to_f32_avx2(const void *from, void *to, size_t count);
void e8m0_from_f32_avx2(const void *from, void *to, size_t count);
void e2m1_to_f32_avx2(const void *from, void *to, size_t count);
void e2m1_from_f32_avx2(const void *from, void *to, size_t count);
void int4_to_f32_avx2(const void *from, void *to, size_t count);
void int4_from_f32_avx2(const void *from, void *to, size_t count);
void e4m3_scaled_from_f32_avx2(const void *from, float scale, void *to, size_t count);
void int8_scaled_from_f32_avx2(const void *from, float scale, void *to, size_t count);
float f32_absmax_avx2(const void *from, size_t count, int *nonfinite);

#endif
