/* backend/cpu/simd_avx2.h: the vector words of *_simd.h in AVX2 with FMA and F16C: 8 lanes. */
#ifndef BACKEND_CPU_SIMD_AVX2_H
#define BACKEND_CPU_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backend/cpu/unroll.h"

#define LANES           8
#define SIMD_NAME(name) name##_avx2

/* Register tiles: 3 × 4 sums, 3 of x, 1 of w: all 16 registers. */
#define PANEL_TILE_ROWS 3
#define FEW_TILE_ROWS   6 /* of x, times 2 of w: as many chains of sums hide the adder */
#define FEW_TILE_COLS   2
#define FEW_PAIR_COLS   4 /* two rows of x */
#define FEW_ROW_COLS    2
#define SUM_TILE_ROWS   3 /* attention's weighted sum: 3 queries × 4 vectors */
#define SUM_TILE_COLS   4

typedef __m256 vf;

static inline vf v_zero(void) { return _mm256_setzero_ps(); }
static inline vf v_set(float value) { return _mm256_set1_ps(value); }
static inline vf v_load(const float *from) { return _mm256_loadu_ps(from); }
static inline void v_store(float *to, vf v) { _mm256_storeu_ps(to, v); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
/* Where one is NaN the result is b: put what may be NaN there. */
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }

static inline __m256i v_lane_numbers(void) { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

/* The first count lanes (1 … 7); the others are zero and their memory is not touched. */
static inline __m256i v_first(size_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), v_lane_numbers());
}
static inline vf v_load_part(const float *from, size_t count) { return _mm256_maskload_ps(from, v_first(count)); }
static inline void v_store_part(float *to, vf v, size_t count) { _mm256_maskstore_ps(to, v_first(count), v); }

/* Lanes first ≤ lane < end keep v, the others become other. */
static inline vf v_between(vf v, vf other, size_t first, size_t end) {
  __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)end), v_lane_numbers());
  __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)first), v_lane_numbers());
  return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(_mm256_andnot_si256(before, below)));
}

static inline vf v_widen_bf16(__m128i codes) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(codes), 16));
}
static inline vf v_load_bf16(const void *from) { return v_widen_bf16(_mm_loadu_si128((const __m128i *)from)); }
static inline vf v_load_f16(const void *from) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)); }
static inline __m128i v_load_part_16(const void *from, size_t count) {
  uint16_t codes[8] = {0};
  memcpy(codes, from, count * sizeof codes[0]);
  return _mm_loadu_si128((const __m128i *)codes);
}
static inline vf v_load_part_bf16(const void *from, size_t count) { return v_widen_bf16(v_load_part_16(from, count)); }
static inline vf v_load_part_f16(const void *from, size_t count) {
  return _mm256_cvtph_ps(v_load_part_16(from, count));
}
static inline void v_store_f16(void *to, vf v) {
  _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void v_store_part_f16(void *to, vf v, size_t count) {
  uint16_t codes[8];
  v_store_f16(codes, v);
  memcpy(to, codes, count * sizeof codes[0]);
}

/* 8 codes of E8M0. 0 is 2^−127 and 255 is NaN: what their exponents say, and one bit more. */
static inline vf v_load_e8m0(const void *from) {
  __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
  __m256i edge = _mm256_or_si256(_mm256_cmpeq_epi32(codes, _mm256_setzero_si256()),
                                 _mm256_cmpeq_epi32(codes, _mm256_set1_epi32(255)));
  __m256i bit = _mm256_and_si256(edge, _mm256_set1_epi32(0x00400000));
  return _mm256_castsi256_ps(_mm256_or_si256(_mm256_slli_epi32(codes, 23), bit));
}

/* v · 2^n, rounded once; n is a whole number, v near 1 and n ≥ −150: two factors, as 2^n alone may not be normal. */
static inline vf v_scale2(vf v, vf n) {
  __m256i whole = _mm256_cvtps_epi32(n);
  __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(v, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}
static inline vf v_round(vf v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

static inline int v_any_nan(vf v) { return _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) != 0; }
static inline unsigned v_equal_bits(vf a, vf b) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}

/* -- E4M3: see fp8_simd.h */

/* 16 codes, divided by 256. */
static inline void v_load2_fp8(const void *from, vf to[2]) {
  __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from)); /* the sign in bits 15 … 7 */
  __m256i half = _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16((short)0xbf80));
  to[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(half));
  to[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1));
}
/* Codes of a cache: of 8 words of 4, each vector has the bytes of one place. Moved to the top of 32 bits and then right by 4,
 * with its sign once, a code is an FP32 divided by 2^120; E4M3's subnormals are FP32's. 11 operations for 32 codes, none of
 * which takes the multipliers' pipes or crosses lanes, as a conversion from F16 does. */
#define KV_FP8_KEYS    2 /* keys whose sums fit the registers */
#define KV_FP8_VECTORS 4
#define KV_FP8_QUERY   0x1p64f  /* multiplies q, */
#define KV_FP8_KEY     0x1p56f  /* a key's scale, */
#define KV_FP8_VALUE   0x1p112f /* a value's (the largest F16 times this is finite), */
#define KV_FP8_OUT     0x1p8f   /* and the result */
/* Where column i of 32 lies in their four vectors. */
static inline size_t kv_fp8_place(size_t i) { return i % 4 * LANES + i / 4; }
static inline vf v_kv_fp8(const void *from, int vector, __m256i bits) {
  const __m256i codes = _mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)from), 24 - 8 * vector);
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_srai_epi32(codes, 4), bits));
}
static inline vf v_load_kv_fp8(const void *from, int vector) {
  return v_kv_fp8(from, vector, _mm256_set1_epi32((int)0x87f00000));
}
/* The same where 12 sums and 3 factors leave one register: gcc is kept from holding the codes or the mask in another and a
 * sum in memory, which would take as long as three products. */
static inline vf v_load_kv_fp8_lean(const void *from, int vector) {
  static const uint32_t bits[LANES] __attribute__((aligned(32))) = {0x87f00000, 0x87f00000, 0x87f00000, 0x87f00000,
                                                                    0x87f00000, 0x87f00000, 0x87f00000, 0x87f00000};
  const uint32_t *mask = bits;
  __asm__ __volatile__("" : "+r"(from), "+r"(mask));
  return v_kv_fp8(from, vector, _mm256_load_si256((const __m256i *)(const void *)mask));
}

/* The largest codes seen at each place, signs taken away. */
typedef __m128i vb;
static inline vb vb_zero(void) { return _mm_setzero_si128(); }
static inline vb v_largest_fp8(vb largest, const void *from) {
  return _mm_max_epu8(largest, _mm_and_si128(_mm_loadu_si128((const __m128i *)from), _mm_set1_epi8(0x7f)));
}
static inline int vb_has_nan_fp8(vb largest) {
  return _mm_movemask_epi8(_mm_cmpeq_epi8(largest, _mm_set1_epi8(0x7f))) != 0;
}

/* -- lanes added up: the tree l + (l + 4), + 2, + 1, for one vector or several at once with the same bits */

static inline __m128 v_halves(vf v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }

static inline float v_sum(vf v) {
  __m128 q = v_halves(v);
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/* The sums of 4 vectors. */
static inline __m128 v_sum4(vf a, vf b, vf c, vf d) {
  __m256 ac = _mm256_add_ps(_mm256_permute2f128_ps(a, c, 0x20), _mm256_permute2f128_ps(a, c, 0x31));
  __m256 bd = _mm256_add_ps(_mm256_permute2f128_ps(b, d, 0x20), _mm256_permute2f128_ps(b, d, 0x31));
  /* distance 2: the halves hold a a b b and c c d d */
  __m256 s = _mm256_add_ps(_mm256_shuffle_ps(ac, bd, 0x44), _mm256_shuffle_ps(ac, bd, 0xee));
  s = _mm256_add_ps(s, _mm256_permute_ps(s, 0xb1));
  return _mm_shuffle_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1), 0x88);
}

static inline float v_max_of(vf v) {
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

#endif
