/* backend/cpu/packed_avx512.h: as packed_avx2.h in AVX-512 (F, BW, DQ, VL): the even columns in the lower half of a
 * register, the odd ones in the upper. */
#ifndef BACKEND_CPU_PACKED_AVX512_H
#define BACKEND_CPU_PACKED_AVX512_H

#include <string.h>

#include "backend/cpu/simd_avx512.h"
#include "number/layout.h"

#define CODES_TILE_ROWS 4 /* rows of x in a tile of integer products */
#define NVFP4_TILE_COLS 4 /* rows of w at a time with one row of FP32 */

/* 64 signed bytes: columns 0 2 … 62, 1 3 … 63. */
typedef __m512i codes64;
/* Input codes: magnitudes, and where they are negative. */
typedef struct input64 {
  __m512i magnitude;
  __mmask64 negative;
} input64;
typedef __m512i vi;

ALWAYS_INLINE __m512i v_load_twice(const uint8_t *from) {
  return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)from));
}
static inline __m512i v_quarters(__m128i v) { return _mm512_broadcast_i32x4(v); }
static inline __m512i v_half_pairs(__m256i even, __m256i odd) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1);
}

/* 32 bytes of NVFP4: 2 × the value of E2M1, −12 … 12. */
ALWAYS_INLINE codes64 v_nvfp4(const uint8_t *from) {
  const __m512i value = v_quarters(_mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
  const __m512i shift = v_half_pairs(_mm256_setzero_si256(), _mm256_set1_epi16(4));
  const __m512i half = _mm512_srlv_epi16(v_load_twice(from), shift);
  return _mm512_shuffle_epi8(value, _mm512_and_si512(half, _mm512_set1_epi8(15)));
}

/* What the bytes of v_spread_24 are compared with, see packed_avx2.h. */
typedef struct columns_24 {
  __mmask64 first, second;
} columns_24;

ALWAYS_INLINE columns_24 v_columns_24(const uint8_t *index) {
  const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, /**/
                                          4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
  const __m512i first_field = _mm512_set1_epi32(0x30300303), second_field = _mm512_set1_epi32((int)0xc0c00c0c);
  const __m512i first = v_half_pairs(_mm256_set1_epi32(0x20000200), _mm256_set1_epi32((int)0xff10ff01));
  const __m512i second = v_half_pairs(_mm256_set1_epi32((int)0x80ff08ff), _mm256_set1_epi32((int)0xc0400c04));
  long long bytes;
  memcpy(&bytes, index, sizeof bytes);
  const __m512i at = _mm512_shuffle_epi8(_mm512_set1_epi64(bytes), v_half_pairs(spread, spread));
  columns_24 columns = {_mm512_cmpeq_epi8_mask(_mm512_and_si512(at, first_field), first),
                        _mm512_cmpeq_epi8_mask(_mm512_and_si512(at, second_field), second)};
  return columns;
}

ALWAYS_INLINE codes64 v_int8_24(const uint8_t *block) {
  const __m512i first = v_quarters(_mm_setr_epi8(0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14));
  const __m512i second = v_quarters(_mm_setr_epi8(1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 15));
  const columns_24 at = v_columns_24(block + SPARSE_24_KEPT);
  const __m512i kept = v_load_twice(block);
  return _mm512_mask_shuffle_epi8(_mm512_maskz_shuffle_epi8(at.first, kept, first), at.second, kept, second);
}

/* 16 × the codes: a nibble in the high half of a byte is a signed number there. */
ALWAYS_INLINE codes64 v_int4_24(const uint8_t *block) {
  const __m256i twice = _mm256_setr_epi8(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, /**/
                                         8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
  const columns_24 at = v_columns_24(block + SPARSE_24_KEPT / 2);
  const __m512i kept = _mm512_shuffle_epi8(v_quarters(_mm_loadu_si128((const __m128i *)(const void *)block)),
                                           v_half_pairs(twice, twice));
  const __m512i low = _mm512_maskz_mov_epi8(at.first, _mm512_slli_epi16(kept, 4));
  return _mm512_and_si512(_mm512_mask_mov_epi8(low, at.second, kept), _mm512_set1_epi8((char)0xf0));
}

/* Columns in the order 0 2 4 6 1 3 5 7 of each 8 (weight.pairs) back to their places. */
ALWAYS_INLINE codes64 v_unpair(codes64 c) {
  const __m256i even = _mm512_castsi512_si256(c), odd = _mm512_extracti64x4_epi64(c, 1);
  const __m256 low = _mm256_castsi256_ps(_mm256_unpacklo_epi8(even, odd));
  const __m256 high = _mm256_castsi256_ps(_mm256_unpackhi_epi8(even, odd));
  return v_half_pairs(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88)),
                      _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xdd)));
}

/* The 64 bytes as FP32 in the order of the columns. */
ALWAYS_INLINE void v_codes_to_float(codes64 c, vf out[64 / LANES]) {
  const __m256i even = _mm512_castsi512_si256(c), odd = _mm512_extracti64x4_epi64(c, 1);
  const __m256i low = _mm256_unpacklo_epi8(even, odd), high = _mm256_unpackhi_epi8(even, odd);
  out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(low)));
  out[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(high)));
  out[2] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(low, 1)));
  out[3] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(high, 1)));
}

/* 2 × the values of E2M1: 16 of FP32 are a table of one register, whose index is the low 4 bits. */
static inline __m512 v_nvfp4_values(void) {
  return _mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12);
}

/* Of 32 bytes of NVFP4. */
ALWAYS_INLINE void v_nvfp4_to_float(const uint8_t *from, vf out[64 / LANES]) {
  const __m512 value = v_nvfp4_values();
  const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)from), high = _mm256_srli_epi16(low, 4);
  const __m256i first = _mm256_unpacklo_epi8(low, high), second = _mm256_unpackhi_epi8(low, high);
  out[0] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(first)), value);
  out[1] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(second)), value);
  out[2] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256(first, 1)), value);
  out[3] = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256(second, 1)), value);
}

/* Two blocks, 16 bytes, as BF16 with the scale of each in it; first, second: the 16 values that a block with its scale has.
 * Lane l of 32 bits has column l of the first block in its low half, that of the second in its high half. The permutation
 * of words looks at their low 6 bits: the nibble, and which register. */
ALWAYS_INLINE __m512i v_nvfp4_blocks(const uint8_t *from, const uint16_t *first, const uint16_t *second) {
  const __m512i spread = _mm512_setr_epi32((int)0x80088000, (int)0x80088000, (int)0x80098001, (int)0x80098001,
                                           (int)0x800a8002, (int)0x800a8002, (int)0x800b8003, (int)0x800b8003,
                                           (int)0x800c8004, (int)0x800c8004, (int)0x800d8005, (int)0x800d8005,
                                           (int)0x800e8006, (int)0x800e8006, (int)0x800f8007, (int)0x800f8007);
  const __m512i shift = _mm512_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4);
  const __m512i bytes = _mm512_shuffle_epi8(v_quarters(_mm_loadu_si128((const __m128i *)(const void *)from)), spread);
  const __m512i at = _mm512_ternarylogic_epi32(_mm512_srlv_epi32(bytes, shift), _mm512_set1_epi32(0x000f000f),
                                               _mm512_set1_epi32(0x00200000), 0xea); /* (shifted & 15) | register */
  return _mm512_permutex2var_epi16(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)first)), at,
                                   _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)second)));
}
/* Block b of the two as FP32. */
ALWAYS_INLINE vf v_nvfp4_block(__m512i blocks, int b) {
  return _mm512_castsi512_ps(b == 0 ? _mm512_slli_epi32(blocks, 16)
                                    : _mm512_and_si512(blocks, _mm512_set1_epi32((int)0xffff0000)));
}

/* Of a block, its columns in the order 0 8 1 9 … 7 15: the 8 bytes are read to all pairs of lanes, and one shift brings
 * each lane its nibble. */
#define NVFP4_AT_ONCE 16

ALWAYS_INLINE void v_nvfp4_lanes(const uint8_t *from, vf out[NVFP4_AT_ONCE / LANES]) {
  const __m512i shift = _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28);
  long long block;
  memcpy(&block, from, sizeof block);
  out[0] = _mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_set1_epi64(block), shift), v_nvfp4_values());
}
ALWAYS_INLINE vf v_nvfp4_x(const float *from) {
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15), v_load(from));
}
static inline vf v_nvfp4_in_order(vf v) {
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15), v);
}

/* -- 2:4 of two rows of w (select_simd.h): lanes 4g … 4g + 3 belong to group g of a vector of columns */

/* Two times 64 bits of the rows, in turn, in each quarter. */
ALWAYS_INLINE __m512i v_pair_words(const uint8_t *first, const uint8_t *second) {
  return v_quarters(_mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)first),
                                       _mm_loadl_epi64((const __m128i *)(const void *)second)));
}
/* The lower or the higher 32 of each 64 bits, twice. */
ALWAYS_INLINE __m512i v_twice_half(__m512i words, int high) {
  return high ? _mm512_shuffle_epi32(words, (_MM_PERM_ENUM)0xf5) : _mm512_shuffle_epi32(words, (_MM_PERM_ENUM)0xa0);
}
/* The fields of vector v of a step in the low 2 bits. index: v_pair_words. */
ALWAYS_INLINE __m512i v_pair_fields(__m512i index, int v) {
  const __m512i at = _mm512_setr_epi32(0, 2, 0, 2, 4, 6, 4, 6, 8, 10, 8, 10, 12, 14, 12, 14);
  return _mm512_srlv_epi32(v_twice_half(index, v / 2), v % 2 ? _mm512_add_epi32(at, _mm512_set1_epi32(16)) : at);
}
/* Kept codes of two rows. */
ALWAYS_INLINE void v_pair_int8(const uint8_t *first, const uint8_t *second, vf out[64 / LANES]) {
  UNROLL
  for (int i = 0; i < 2; i++) {
    const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(first + 16 * i));
    const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(second + 16 * i));
    out[2 * i] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_unpacklo_epi16(a, b)));
    out[2 * i + 1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_unpackhi_epi16(a, b)));
  }
}
/* 16 × them; FP32 of 16 codes are a table of one register, whose index is the low 4 bits. */
ALWAYS_INLINE void v_pair_int4(const uint8_t *first, const uint8_t *second, vf out[64 / LANES]) {
  const __m512 value = _mm512_setr_ps(0, 16, 32, 48, 64, 80, 96, 112, -128, -112, -96, -80, -64, -48, -32, -16);
  const __m512i at = _mm512_setr_epi32(0, 4, 0, 4, 8, 12, 8, 12, 16, 20, 16, 20, 24, 28, 24, 28);
  UNROLL
  for (int v = 0; v < 64 / LANES; v++) {
    const __m512i words = v_pair_words(first + v / 2 * 8, second + v / 2 * 8);
    out[v] = _mm512_permutexvar_ps(_mm512_srlv_epi32(v_twice_half(words, v % 2), at), value);
  }
}
ALWAYS_INLINE vf v_pair_scales(const float *first, const float *second) {
  return _mm512_mask_mov_ps(_mm512_set1_ps(*first), 0xcccc, _mm512_set1_ps(*second));
}
/* From the same group, by the low 2 bits; from anywhere. */
ALWAYS_INLINE vf v_select(vf x, __m512i fields) { return _mm512_permutevar_ps(x, fields); }
ALWAYS_INLINE vf v_permute(vf x, __m512i lanes) { return _mm512_permutexvar_ps(lanes, x); }

/* Where the columns are that blocks hold: weight.pairs. */
ALWAYS_INLINE __m512i v_pair_order(void) {
  return _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
}
ALWAYS_INLINE vf v_paired(vf x) { return v_permute(x, v_pair_order()); }
/* The lanes of x that v_select's fields mean. */
ALWAYS_INLINE __m512i v_pair_lanes(__m512i fields, int pairs) {
  const __m512i group = _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
  const __m512i lanes = _mm512_or_si512(_mm512_and_si512(fields, _mm512_set1_epi32(3)), group);
  return pairs ? _mm512_permutexvar_epi32(lanes, v_pair_order()) : lanes;
}
/* Numbers of lanes as bytes. */
ALWAYS_INLINE void v_store_lanes(uint8_t *to, __m512i lanes) {
  _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(lanes));
}
ALWAYS_INLINE __m512i v_load_lanes(const uint8_t *from) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
}
/* The sums of two pairs of rows: groups as a tree, then first and second. */
ALWAYS_INLINE __m128 v_sum_pairs(vf a, vf b) {
  const __m256 c = v_halves(a), d = v_halves(b);
  return _mm_hadd_ps(_mm_add_ps(_mm256_castps256_ps128(c), _mm256_extractf128_ps(c, 1)),
                     _mm_add_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1)));
}

/* -- integer products */

ALWAYS_INLINE codes64 v_load_codes(const int8_t *from) { return _mm512_loadu_si512(from); }
ALWAYS_INLINE void v_store_codes(int8_t *to, codes64 c) { _mm512_storeu_si512(to, c); }
ALWAYS_INLINE input64 v_input(codes64 codes) {
  input64 input = {_mm512_abs_epi8(codes), _mm512_movepi8_mask(codes)};
  return input;
}

/* The other way: columns of each 8 in the order 0 2 4 6 1 3 5 7. */
ALWAYS_INLINE codes64 v_pair(codes64 c) {
  const __m512i apart = v_quarters(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  const __m512i here = _mm512_shuffle_epi8(c, apart);
  const __m512i other = _mm512_rol_epi32(_mm512_shuffle_i64x2(here, here, 0x4e), 16);
  return _mm512_mask_mov_epi16(here, 0x5555aaaa, other);
}

/* 64 products in 16 sums: lane l of the even, lane 8 + l of the odd ones of columns 8l … 8l + 7. |x| times w with x's
 * sign: pairs of products fit 16 bits (2 · 127 · 127). */
ALWAYS_INLINE vi v_dot64(codes64 w, input64 x) {
  const __m512i turned = _mm512_mask_sub_epi8(w, x.negative, _mm512_setzero_si512(), w);
  return _mm512_madd_epi16(_mm512_maddubs_epi16(x.magnitude, turned), _mm512_set1_epi16(1));
}
/* Two sums of 64 columns as one: lane l of columns 8l … 8l + 7 of the 128. */
ALWAYS_INLINE vi v_join(const vi dots[2]) {
  return _mm512_add_epi32(_mm512_shuffle_i64x2(dots[0], dots[1], 0x44), _mm512_shuffle_i64x2(dots[0], dots[1], 0xee));
}
static inline vi vi_zero(void) { return _mm512_setzero_si512(); }
static inline vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline vf vi_float(vi v) { return _mm512_cvtepi32_ps(v); }
static inline vi vi_load(const float *from) { return _mm512_loadu_si512(from); }
static inline void vi_store(float *to, vi v) { _mm512_storeu_si512(to, v); }
static inline int32_t vi_sum(vi v) { return _mm512_reduce_add_epi32(v); }

/* -- scales for the lanes of v_dot64 */

/* One for each 16 columns. */
ALWAYS_INLINE vf v_scales_quarters(const float from[4]) {
  const __m512i at = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3);
  return _mm512_permutexvar_ps(at, _mm512_castps128_ps512(_mm_loadu_ps(from)));
}
/* Which block of 2^shift columns (32 or more) each lane of 8 columns is in; and its scale. */
ALWAYS_INLINE vi v_blocks_of_lanes(int shift) {
  const __m512i column = _mm512_setr_epi32(0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120);
  return _mm512_srl_epi32(column, _mm_cvtsi32_si128(shift));
}
ALWAYS_INLINE vf v_scales_of_lanes(const float from[4], vi of_lane) {
  return _mm512_permutexvar_ps(of_lane, _mm512_castps128_ps512(_mm_loadu_ps(from)));
}

#define E4M3_UNIT 256.0f

/* 4 of E4M3, one for each 16 columns, divided by E4M3_UNIT. E4M3's bits, one to the right in the high byte, are F16's of
 * that: exact, subnormal ones too; NaN becomes a number. */
ALWAYS_INLINE vf v_scales_e4m3(const uint8_t from[4]) {
  const __m256i high =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3));
  int bytes;
  memcpy(&bytes, from, sizeof bytes);
  const __m256i v = _mm256_srai_epi16(_mm256_shuffle_epi8(_mm256_set1_epi32(bytes), high), 1);
  return _mm512_cvtph_ps(_mm256_and_si256(v, _mm256_set1_epi16((short)0xbf80)));
}

/* Whether one of 64 codes of E4M3 is NaN. */
ALWAYS_INLINE int v_any_nan_e4m3(const uint8_t *from) {
  const __m512i nan = _mm512_set1_epi8(0x7f);
  return _mm512_cmpeq_epi8_mask(_mm512_and_si512(_mm512_loadu_si512(from), nan), nan) != 0;
}

#endif
