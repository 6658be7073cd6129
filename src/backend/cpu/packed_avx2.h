/* backend/cpu/packed_avx2.h: NVFP4 and 2:4 blocks in AVX2: 64 columns at a time as bytes, the even columns apart from the
 * odd ones. In this order the halves of NVFP4's bytes need no interleaving, and the kept codes of 2:4 stay in their
 * 128-bit lane. */
#ifndef BACKEND_CPU_PACKED_AVX2_H
#define BACKEND_CPU_PACKED_AVX2_H

#include "backend/cpu/simd_avx2.h"
#include "number/layout.h"

#define CODES_TILE_ROWS 2 /* rows of x in a tile of integer products */
#define NVFP4_TILE_COLS 4 /* rows of w at a time with one row of FP32: as many chains of additions hide the adder */

/* 64 signed bytes: columns 0 2 … 62, and 1 3 … 63. */
typedef struct codes64 {
  __m256i even, odd;
} codes64;
typedef codes64 input64;
typedef __m256i vi;

static inline __m256i v_both(__m128i v) { return _mm256_broadcastsi128_si256(v); }

/* 32 bytes of NVFP4: 2 × the value of E2M1, −12 … 12. */
ALWAYS_INLINE codes64 v_nvfp4(const uint8_t *from) {
  const __m256i value = v_both(_mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
  const __m256i low = _mm256_set1_epi8(15);
  const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)from);
  codes64 codes = {_mm256_shuffle_epi8(value, _mm256_and_si256(v, low)),
                   _mm256_shuffle_epi8(value, _mm256_and_si256(_mm256_srli_epi16(v, 4), low))};
  return codes;
}

/* Puts kept codes in their columns. first, second: byte 2g and 2g + 1 hold the group's code. index: 8 bytes.
 *
 * Each byte of the result looks at the byte of `index` that holds its group's nibble (low for even groups, high for odd
 * ones); the even columns of a group are 0 and 2, the odd ones 1 and 3. No shift: a field is cut out by AND and compared
 * where it lies. What a column cannot be (the first of two is never 3, the second never 0) is compared with a value
 * that no field has. */
ALWAYS_INLINE codes64 v_spread_24(__m256i first, __m256i second, const uint8_t *index) {
  const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, /**/
                                          4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
  const __m256i first_field = _mm256_set1_epi32(0x30300303), second_field = _mm256_set1_epi32((int)0xc0c00c0c);
  const __m256i first_even = _mm256_set1_epi32(0x20000200), second_even = _mm256_set1_epi32((int)0x80ff08ff);
  const __m256i first_odd = _mm256_set1_epi32((int)0xff10ff01), second_odd = _mm256_set1_epi32((int)0xc0400c04);
  long long bytes;
  memcpy(&bytes, index, sizeof bytes);
  const __m256i at = _mm256_shuffle_epi8(_mm256_set1_epi64x(bytes), spread);
  const __m256i f = _mm256_and_si256(at, first_field), s = _mm256_and_si256(at, second_field);
  codes64 codes = {_mm256_or_si256(_mm256_and_si256(first, _mm256_cmpeq_epi8(f, first_even)),
                                   _mm256_and_si256(second, _mm256_cmpeq_epi8(s, second_even))),
                   _mm256_or_si256(_mm256_and_si256(first, _mm256_cmpeq_epi8(f, first_odd)),
                                   _mm256_and_si256(second, _mm256_cmpeq_epi8(s, second_odd)))};
  return codes;
}

ALWAYS_INLINE codes64 v_int8_24(const uint8_t *block) {
  const __m256i first = v_both(_mm_setr_epi8(0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14));
  const __m256i second = v_both(_mm_setr_epi8(1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 15));
  const __m256i kept = _mm256_loadu_si256((const __m256i *)(const void *)block);
  return v_spread_24(_mm256_shuffle_epi8(kept, first), _mm256_shuffle_epi8(kept, second), block + SPARSE_24_KEPT);
}

/* 16 × the codes: a nibble in the high half of a byte is a signed number there. */
ALWAYS_INLINE codes64 v_int4_24(const uint8_t *block) {
  const __m256i twice = _mm256_setr_epi8(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, /**/
                                         8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
  const __m256i high = _mm256_set1_epi8((char)0xf0);
  const __m256i kept = _mm256_shuffle_epi8(v_both(_mm_loadu_si128((const __m128i *)(const void *)block)), twice);
  return v_spread_24(_mm256_and_si256(_mm256_slli_epi16(kept, 4), high), _mm256_and_si256(kept, high),
                     block + SPARSE_24_KEPT / 2);
}

/* Columns in the order 0 2 4 6 1 3 5 7 of each 8 (weight.pairs) back to their places. */
ALWAYS_INLINE codes64 v_unpair(codes64 c) {
  const __m256 low = _mm256_castsi256_ps(_mm256_unpacklo_epi8(c.even, c.odd));
  const __m256 high = _mm256_castsi256_ps(_mm256_unpackhi_epi8(c.even, c.odd));
  codes64 codes = {_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88)),
                   _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xdd))};
  return codes;
}

/* The 64 bytes as FP32 in the order of the columns. */
ALWAYS_INLINE void v_codes_to_float(codes64 c, vf out[64 / LANES]) {
  const __m256i low = _mm256_unpacklo_epi8(c.even, c.odd), high = _mm256_unpackhi_epi8(c.even, c.odd);
  const __m128i sixteen[4] = {_mm256_castsi256_si128(low), _mm256_castsi256_si128(high),
                              _mm256_extracti128_si256(low, 1), _mm256_extracti128_si256(high, 1)};
  UNROLL
  for (int i = 0; i < 4; i++) {
    out[2 * i] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(sixteen[i]));
    out[2 * i + 1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(sixteen[i], 8)));
  }
}

/* 2 × the values of E2M1 as BF16, whose two bytes are looked up apart: 32 of them, in the order in which unpacking leaves
 * the bytes of `at` as FP32. */
typedef struct nvfp4_words {
  __m256i bf16[2];
} nvfp4_words;

ALWAYS_INLINE nvfp4_words v_nvfp4_look_up(__m256i at) {
  const __m256i low_byte = v_both(_mm_setr_epi8(0, (char)0x80, 0, 0x40, (char)0x80, (char)0xc0, 0, 0x40, 0, (char)0x80,
                                                0, 0x40, (char)0x80, (char)0xc0, 0, 0x40));
  const __m256i high_byte =
      v_both(_mm_setr_epi8(0, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x41, 0x41, (char)0x80, (char)0xbf, (char)0xc0, (char)0xc0,
                           (char)0xc0, (char)0xc0, (char)0xc1, (char)0xc1));
  const __m256i low = _mm256_shuffle_epi8(low_byte, at), high = _mm256_shuffle_epi8(high_byte, at);
  return (nvfp4_words){{_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)}};
}
ALWAYS_INLINE vf v_nvfp4_vector(const nvfp4_words *words, int v) {
  const __m256i zero = _mm256_setzero_si256(), half = words->bf16[v / 2];
  return _mm256_castsi256_ps(v % 2 == 0 ? _mm256_unpacklo_epi16(zero, half) : _mm256_unpackhi_epi16(zero, half));
}

/* Of 16 bytes of NVFP4, in the order of the columns: first and second half of each 8 go to the halves of a register, a byte
 * to each word, and that 4 bits up beside it. */
ALWAYS_INLINE nvfp4_words v_nvfp4_words(const uint8_t *from) {
  const __m256i spread = _mm256_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1, /**/
                                          2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1);
  const __m256i bytes = _mm256_shuffle_epi8(v_both(_mm_loadu_si128((const __m128i *)(const void *)from)), spread);
  const __m256i both = _mm256_or_si256(bytes, _mm256_slli_epi16(bytes, 4));
  return v_nvfp4_look_up(_mm256_and_si256(both, _mm256_set1_epi8(15)));
}

/* Of 32 bytes. */
ALWAYS_INLINE void v_nvfp4_to_float(const uint8_t *from, vf out[64 / LANES]) {
  UNROLL
  for (int i = 0; i < 2; i++) {
    const nvfp4_words words = v_nvfp4_words(from + 16 * i);
    UNROLL
    for (int v = 0; v < 32 / LANES; v++) out[i * 32 / LANES + v] = v_nvfp4_vector(&words, v);
  }
}

/* Of 16 bytes, 8 columns of a vector in the order 0 2 4 6 1 3 5 7, so that even columns, the low halves of the bytes, stay in
 * the lower half of a register. */
#define NVFP4_AT_ONCE 32

ALWAYS_INLINE void v_nvfp4_lanes(const uint8_t *from, vf out[NVFP4_AT_ONCE / LANES]) {
  const __m256i shift = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
  const __m256i twice = v_both(_mm_loadu_si128((const __m128i *)(const void *)from));
  const nvfp4_words words = v_nvfp4_look_up(_mm256_and_si256(_mm256_srlv_epi32(twice, shift), _mm256_set1_epi8(15)));
  UNROLL
  for (int v = 0; v < NVFP4_AT_ONCE / LANES; v++) out[v] = v_nvfp4_vector(&words, v);
}
ALWAYS_INLINE vf v_nvfp4_x(const float *from) {
  return _mm256_permutevar8x32_ps(v_load(from), _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
}
static inline vf v_nvfp4_in_order(vf v) {
  return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* -- 2:4 of two rows of w (select_simd.h): lanes 4g … 4g + 3 belong to group g of a vector of columns */

/* Two times 64 bits of the rows, in turn, in each half. */
ALWAYS_INLINE __m256i v_pair_words(const uint8_t *first, const uint8_t *second) {
  return v_both(_mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)first),
                                   _mm_loadl_epi64((const __m128i *)(const void *)second)));
}
/* The lower or the higher 32 of each 64 bits, twice. */
ALWAYS_INLINE __m256i v_twice_half(__m256i words, int high) {
  return high ? _mm256_shuffle_epi32(words, 0xf5) : _mm256_shuffle_epi32(words, 0xa0);
}
/* The fields of vector v of a step in the low 2 bits. index: v_pair_words. */
ALWAYS_INLINE __m256i v_pair_fields(__m256i index, int v) {
  const __m256i at = _mm256_setr_epi32(0, 2, 0, 2, 4, 6, 4, 6);
  return _mm256_srlv_epi32(v_twice_half(index, v / 4), _mm256_add_epi32(at, _mm256_set1_epi32(v % 4 * 8)));
}
/* Kept codes of two rows. */
ALWAYS_INLINE void v_pair_int8(const uint8_t *first, const uint8_t *second, vf out[64 / LANES]) {
  UNROLL
  for (int i = 0; i < 2; i++) {
    const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(first + 16 * i));
    const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(second + 16 * i));
    const __m128i low = _mm_unpacklo_epi16(a, b), high = _mm_unpackhi_epi16(a, b);
    out[4 * i] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low));
    out[4 * i + 1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(low, 8)));
    out[4 * i + 2] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high));
    out[4 * i + 3] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(high, 8)));
  }
}
/* 16 × them: a nibble moved to the top, and down again but for 4 bits. */
ALWAYS_INLINE void v_pair_int4(const uint8_t *first, const uint8_t *second, vf out[64 / LANES]) {
  const __m256i up = _mm256_setr_epi32(28, 24, 28, 24, 20, 16, 20, 16);
  UNROLL
  for (int v = 0; v < 64 / LANES; v++) {
    const __m256i words = v_pair_words(first + v / 4 * 8, second + v / 4 * 8);
    const __m256i top =
        _mm256_sllv_epi32(v_twice_half(words, v / 2 % 2), _mm256_sub_epi32(up, _mm256_set1_epi32(v % 2 * 16)));
    out[v] = _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srai_epi32(top, 24), _mm256_set1_epi32(-16)));
  }
}
ALWAYS_INLINE vf v_pair_scales(const float *first, const float *second) {
  return _mm256_blend_ps(_mm256_broadcast_ss(first), _mm256_broadcast_ss(second), 0xcc);
}
/* From the same group, by the low 2 bits; from anywhere. */
ALWAYS_INLINE vf v_select(vf x, __m256i fields) { return _mm256_permutevar_ps(x, fields); }
ALWAYS_INLINE vf v_permute(vf x, __m256i lanes) { return _mm256_permutevar8x32_ps(x, lanes); }

/* Where the columns are that blocks hold: weight.pairs. */
ALWAYS_INLINE __m256i v_pair_order(void) { return _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7); }
ALWAYS_INLINE vf v_paired(vf x) { return v_permute(x, v_pair_order()); }
/* The lanes of x that v_select's fields mean. */
ALWAYS_INLINE __m256i v_pair_lanes(__m256i fields, int pairs) {
  const __m256i group = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
  const __m256i lanes = _mm256_or_si256(_mm256_and_si256(fields, _mm256_set1_epi32(3)), group);
  return pairs ? _mm256_permutevar8x32_epi32(v_pair_order(), lanes) : lanes;
}
/* Numbers of lanes as bytes. */
ALWAYS_INLINE void v_store_lanes(uint8_t *to, __m256i lanes) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  _mm_storel_epi64((__m128i *)(void *)to, _mm_packus_epi16(words, words));
}
ALWAYS_INLINE __m256i v_load_lanes(const uint8_t *from) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
}
/* The sums of two pairs of rows: groups as a tree, then first and second. */
ALWAYS_INLINE __m128 v_sum_pairs(vf a, vf b) {
  return _mm_hadd_ps(_mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)),
                     _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1)));
}

/* -- integer products */

ALWAYS_INLINE codes64 v_load_codes(const int8_t *from) {
  codes64 codes = {_mm256_loadu_si256((const __m256i *)(const void *)from),
                   _mm256_loadu_si256((const __m256i *)(const void *)(from + 32))};
  return codes;
}
ALWAYS_INLINE void v_store_codes(int8_t *to, codes64 c) {
  _mm256_storeu_si256((__m256i *)(void *)to, c.even);
  _mm256_storeu_si256((__m256i *)(void *)(to + 32), c.odd);
}
ALWAYS_INLINE input64 v_input(codes64 codes) { return codes; }

/* The other way: columns of each 8 in the order 0 2 4 6 1 3 5 7. */
ALWAYS_INLINE codes64 v_pair(codes64 c) {
  const __m256i apart = v_both(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  const __m256i even = _mm256_shuffle_epi8(c.even, apart), odd = _mm256_shuffle_epi8(c.odd, apart);
  codes64 codes = {_mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa),
                   _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa)};
  return codes;
}

/* 64 products in 8 sums, lane l of columns 8l … 8l + 7. |x| times w with x's sign: pairs of products fit 16 bits
 * (2 · 127 · 127), and the even and the odd pair together too: of 2:4 codes only two of four are not 0, and those of
 * NVFP4 are small. */
ALWAYS_INLINE vi v_dot64(codes64 w, input64 x) {
  const __m256i even = _mm256_maddubs_epi16(_mm256_abs_epi8(x.even), _mm256_sign_epi8(w.even, x.even));
  const __m256i odd = _mm256_maddubs_epi16(_mm256_abs_epi8(x.odd), _mm256_sign_epi8(w.odd, x.odd));
  return _mm256_madd_epi16(_mm256_add_epi16(even, odd), _mm256_set1_epi16(1));
}
/* Sums of 64 columns as lanes of 8 columns: they are. */
ALWAYS_INLINE vi v_join(const vi dots[1]) { return dots[0]; }
static inline vi vi_zero(void) { return _mm256_setzero_si256(); }
static inline vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
static inline vf vi_float(vi v) { return _mm256_cvtepi32_ps(v); }
static inline vi vi_load(const float *from) { return _mm256_loadu_si256((const __m256i *)(const void *)from); }
static inline void vi_store(float *to, vi v) { _mm256_storeu_si256((__m256i *)(void *)to, v); }
static inline int32_t vi_sum(vi v) {
  __m128i q = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
}

/* -- scales for the lanes of v_dot64 */

/* One for each 16 columns. */
ALWAYS_INLINE vf v_scales_quarters(const float from[4]) {
  const __m256 four = _mm256_castps128_ps256(_mm_loadu_ps(from));
  return _mm256_permutevar8x32_ps(four, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
}
/* Which block of 2^shift columns (16 or more) each lane of 8 columns is in; and its scale. */
ALWAYS_INLINE vi v_blocks_of_lanes(int shift) {
  return _mm256_srl_epi32(_mm256_setr_epi32(0, 8, 16, 24, 32, 40, 48, 56), _mm_cvtsi32_si128(shift));
}
ALWAYS_INLINE vf v_scales_of_lanes(const float from[4], vi of_lane) {
  return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), of_lane);
}

#define E4M3_UNIT 256.0f

/* 4 of E4M3, one for each 16 columns, divided by E4M3_UNIT. E4M3's bits, one to the right in the high byte, are F16's of
 * that: exact, subnormal ones too; NaN becomes a number. */
ALWAYS_INLINE vf v_scales_e4m3(const uint8_t from[4]) {
  const __m128i high = _mm_setr_epi8(-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3);
  int bytes;
  memcpy(&bytes, from, sizeof bytes);
  const __m128i v = _mm_srai_epi16(_mm_shuffle_epi8(_mm_cvtsi32_si128(bytes), high), 1);
  return _mm256_cvtph_ps(_mm_and_si128(v, _mm_set1_epi16((short)0xbf80)));
}

/* Whether one of 32 codes of E4M3 is NaN. */
ALWAYS_INLINE int v_any_nan_e4m3(const uint8_t *from) {
  const __m256i nan = _mm256_set1_epi8(0x7f), v = _mm256_loadu_si256((const __m256i *)(const void *)from);
  return _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(v, nan), nan)) != 0;
}

#endif
