/* backend/cpu/simd_avx512.h: the vector words of *_simd.h in AVX-512 (F, BW, DQ, VL): 16 lanes. */
#ifndef BACKEND_CPU_SIMD_AVX512_H
#define BACKEND_CPU_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/cpu/unroll.h"

#define LANES           16
#define SIMD_NAME(name) name##_avx512

/* Register tiles: 6 × 4 sums, 4 of w, 1 of x: 29 of 32 registers. */
#define PANEL_TILE_ROWS 6
#define FEW_TILE_ROWS   6 /* of x, times 4 of w: as many chains of sums hide the adder */
#define FEW_TILE_COLS   4
#define FEW_PAIR_COLS   4
#define FEW_ROW_COLS    2 /* one row of x: one chain alone does not keep up with memory (Zen 4) */
#define SUM_TILE_ROWS   6 /* attention's weighted sum: 6 queries × 4 vectors */
#define SUM_TILE_COLS   4

typedef __m512 vf;
typedef __mmask16 vmask;

static inline vf v_zero(void) { return _mm512_setzero_ps(); }
static inline vf v_set(float value) { return _mm512_set1_ps(value); }
static inline vf v_load(const float *from) { return _mm512_loadu_ps(from); }
static inline void v_store(float *to, vf v) { _mm512_storeu_ps(to, v); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/* Where one is NaN the result is b: put what may be NaN there. */
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }

/* The first count lanes (1 … 15); the others are zero and their memory is not touched. */
static inline vmask v_first(size_t count) { return (vmask)((1u << count) - 1u); }
static inline vf v_load_part(const float *from, size_t count) { return _mm512_maskz_loadu_ps(v_first(count), from); }
static inline void v_store_part(float *to, vf v, size_t count) { _mm512_mask_storeu_ps(to, v_first(count), v); }

/* Lanes first ≤ lane < end keep v, the others become other. */
static inline vf v_between(vf v, vf other, size_t first, size_t end) {
  vmask keep = (vmask)(((1u << end) - 1u) & ~((1u << first) - 1u));
  return _mm512_mask_mov_ps(other, keep, v);
}

static inline vf v_widen_bf16(__m256i codes) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(codes), 16));
}
static inline vf v_load_bf16(const void *from) { return v_widen_bf16(_mm256_loadu_si256((const __m256i *)from)); }
static inline vf v_load_f16(const void *from) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)); }
static inline vf v_load_part_bf16(const void *from, size_t count) {
  return v_widen_bf16(_mm256_maskz_loadu_epi16(v_first(count), from));
}
static inline vf v_load_part_f16(const void *from, size_t count) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first(count), from));
}
static inline void v_store_f16(void *to, vf v) {
  _mm256_storeu_si256((__m256i *)to, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void v_store_part_f16(void *to, vf v, size_t count) {
  _mm256_mask_storeu_epi16(to, v_first(count), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* 16 codes of E8M0. 0 is 2^−127 and 255 is NaN: what their exponents say, and one bit more. */
static inline vf v_load_e8m0(const void *from) {
  __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from));
  vmask edge = (vmask)(_mm512_cmpeq_epi32_mask(codes, _mm512_setzero_si512()) |
                       _mm512_cmpeq_epi32_mask(codes, _mm512_set1_epi32(255)));
  __m512i bits = _mm512_slli_epi32(codes, 23);
  return _mm512_castsi512_ps(_mm512_mask_or_epi32(bits, edge, bits, _mm512_set1_epi32(0x00400000)));
}

/* v · 2^n, rounded once; n is a whole number. */
static inline vf v_scale2(vf v, vf n) { return _mm512_scalef_ps(v, n); }
static inline vf v_round(vf v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

static inline int v_any_nan(vf v) { return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) != 0; }
static inline unsigned v_equal_bits(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

/* -- E4M3: see fp8_simd.h */

/* 32 codes, divided by 256. */
static inline void v_load2_fp8(const void *from, vf to[2]) {
  __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)from)); /* the sign in bits 15 … 7 */
  __m512i half = _mm512_and_si512(_mm512_slli_epi16(wide, 7), _mm512_set1_epi16((short)0xbf80));
  to[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(half));
  to[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1));
}
/* Codes of a cache, in the order of the columns: see simd_avx2.h. Some processors with AVX-512 multiply FP32's subnormals
 * slowly, so E4M3's do not become such. */
#define KV_FP8_KEYS    4
#define KV_FP8_VECTORS 2
#define KV_FP8_QUERY   1.0f
#define KV_FP8_KEY     256.0f
#define KV_FP8_VALUE   256.0f
#define KV_FP8_OUT     1.0f
static inline size_t kv_fp8_place(size_t i) { return i; }
static inline vf v_load_kv_fp8(const void *from, int vector) {
  vf both[2];
  v_load2_fp8(from, both);
  return both[vector];
}
#define v_load_kv_fp8_lean v_load_kv_fp8 /* there are registers enough */

/* The largest codes seen at each place, signs taken away. */
typedef __m256i vb;
static inline vb vb_zero(void) { return _mm256_setzero_si256(); }
static inline vb v_largest_fp8(vb largest, const void *from) {
  return _mm256_max_epu8(largest, _mm256_and_si256(_mm256_loadu_si256((const __m256i *)from), _mm256_set1_epi8(0x7f)));
}
static inline int vb_has_nan_fp8(vb largest) { return _mm256_cmpeq_epi8_mask(largest, _mm256_set1_epi8(0x7f)) != 0; }

/* -- lanes added up: the tree l + (l + 8), + 4, + 2, + 1, for one vector or several at once with the same bits */

static inline __m256 v_halves(vf v) { return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)); }

static inline float v_sum(vf v) {
  __m256 h = v_halves(v);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/* The sums of 4 vectors. */
static inline __m128 v_sum4(vf a, vf b, vf c, vf d) {
  __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
  /* ab: quarters a0 a1 b0 b1; joined: a, b, c, d in quarters */
  __m512 q = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  q = _mm512_add_ps(q, _mm512_permute_ps(q, 0x4e));
  q = _mm512_add_ps(q, _mm512_permute_ps(q, 0xb1));
  /* each quarter holds its sum 4 times: take lane i of quarter i */
  return _mm512_castps512_ps128(
      _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), q));
}

/* The sums of a tile of 4 × 4 vectors, v[row][col]: out[row] holds the row's. */
ALWAYS_INLINE void v_sum16(vf v[4][4], __m128 out[4]) {
  __m512 r[4];
  UNROLL
  for (int i = 0; i < 4; i++) {
    __m512 ab =
        _mm512_add_ps(_mm512_shuffle_f32x4(v[i][0], v[i][1], 0x44), _mm512_shuffle_f32x4(v[i][0], v[i][1], 0xee));
    __m512 cd =
        _mm512_add_ps(_mm512_shuffle_f32x4(v[i][2], v[i][3], 0x44), _mm512_shuffle_f32x4(v[i][2], v[i][3], 0xee));
    r[i] = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  }
  /* r[i]: column j in quarter j. Distance 2: rows 0 and 1 into the halves of the quarters, and 2 and 3. */
  __m512 r01 = _mm512_add_ps(_mm512_shuffle_ps(r[0], r[1], 0x44), _mm512_shuffle_ps(r[0], r[1], 0xee));
  __m512 r23 = _mm512_add_ps(_mm512_shuffle_ps(r[2], r[3], 0x44), _mm512_shuffle_ps(r[2], r[3], 0xee));
  /* Distance 1: quarter j holds column j of rows 0, 1, 2, 3. */
  __m512 s = _mm512_add_ps(_mm512_shuffle_ps(r01, r23, 0x88), _mm512_shuffle_ps(r01, r23, 0xdd));
  const __m512i transpose = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  s = _mm512_permutexvar_ps(transpose, s);
  out[0] = _mm512_castps512_ps128(s);
  out[1] = _mm512_extractf32x4_ps(s, 1);
  out[2] = _mm512_extractf32x4_ps(s, 2);
  out[3] = _mm512_extractf32x4_ps(s, 3);
}

static inline float v_max_of(vf v) { return _mm512_reduce_max_ps(v); }

#endif
