/* number/small_avx2.c: AVX2 variants of the 8-bit and 4-bit formats, equal to bulk.c's bit for bit. Tails go to the
 * scalar variants; steps are even, so that no byte of two codes is cut.
 */
#include "number/avx2.h"

#ifdef __AVX2__

#include "number/bulk.h"
#include "number/number.h"

enum { STEP = 32 };

static inline __m256 load8(const uint8_t *p) { return _mm256_castsi256_ps(load256(p)); }
static inline void store8(uint8_t *p, __m256 v) { store256(p, _mm256_castps_si256(v)); }
static inline __m256i all(int value) { return _mm256_set1_epi32(value); }

/* ---- decode ---- */

/* 16 codes that are F16 but for their exponents' bias, in 16 bits each: F16's own subnormals make the small ones right
 * whatever the FP32 mode. */
static inline void put_halves(uint8_t *to, __m256i halves, __m256 factor) {
  __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
  __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
  store8(to, _mm256_mul_ps(low, factor));
  store8(to + 32, _mm256_mul_ps(high, factor));
}

void e4m3_to_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  const __m256i top = _mm256_set1_epi16(0x7f), sign_bit = _mm256_set1_epi16((short)0x8000);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256i codes = _mm256_cvtepu8_epi16(load128(in + i));
    __m256i magnitude = _mm256_and_si256(codes, top);
    __m256i is_nan = _mm256_cmpeq_epi16(magnitude, top);
    __m256i halves = _mm256_slli_epi16(magnitude, 7);
    halves = _mm256_blendv_epi8(halves, _mm256_set1_epi16(0x7e00), is_nan);
    halves = _mm256_or_si256(halves, _mm256_and_si256(_mm256_slli_epi16(codes, 8), sign_bit));
    put_halves(out + i * 4, halves, _mm256_set1_ps(0x1p8f)); /* 15 − 7: from F16's bias to E4M3's */
  }
  number_bulk_scalar()->e4m3_to_f32(in + i, out + i * 4, count - i);
}

void e5m2_to_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256i halves = _mm256_slli_epi16(_mm256_cvtepu8_epi16(load128(in + i)), 8);
    put_halves(out + i * 4, halves, _mm256_set1_ps(1.0f));
  }
  number_bulk_scalar()->e5m2_to_f32(in + i, out + i * 4, count - i);
}

void e8m0_to_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  const __m256i smallest = all(0x00400000), largest = all(0x7f000000), quiet = all(0x00400000);
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    __m256i bits = _mm256_slli_epi32(_mm256_cvtepu8_epi32(load64(in + i)), 23);
    __m256i is_nan = _mm256_cmpgt_epi32(bits, largest);
    bits = _mm256_or_si256(_mm256_max_epi32(bits, smallest), _mm256_and_si256(is_nan, quiet));
    store256(out + i * 4, bits);
  }
  number_bulk_scalar()->e8m0_to_f32(in + i, out + i * 4, count - i);
}

/* Eight 4-bit codes, each in the low bits of its 32; above them lie the codes that follow. */
static inline __m256i nibbles(const uint8_t *p) {
  int32_t word;
  memcpy(&word, p, 4);
  return _mm256_srlv_epi32(all(word), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
}

void e2m1_to_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  const __m256 values = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
  const __m256i sign_bit = all(INT32_MIN);
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    __m256i codes = nibbles(in + i / 2);
    __m256 magnitude = _mm256_permutevar8x32_ps(values, codes); /* looks at 3 bits */
    __m256i sign = _mm256_and_si256(_mm256_slli_epi32(codes, 28), sign_bit);
    store8(out + i * 4, _mm256_or_ps(magnitude, _mm256_castsi256_ps(sign)));
  }
  number_bulk_scalar()->e2m1_to_f32(in + i / 2, out + i * 4, count - i);
}

void int4_to_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    __m256i signed_codes = _mm256_srai_epi32(_mm256_slli_epi32(nibbles(in + i / 2), 28), 28);
    store8(out + i * 4, _mm256_cvtepi32_ps(signed_codes));
  }
  number_bulk_scalar()->int4_to_f32(in + i / 2, out + i * 4, count - i);
}

/* ---- encode ---- */

/* What the encoder needs to know of a small format with a sign bit; FP32 exponents are with their bias. */
typedef struct small_vectors {
  int dropped;      /* mantissa bits that FP32 has more */
  int min_exponent; /* of the normal numbers */
  int sign_shift;   /* from FP32's sign bit to the code's */
  float largest;
} small_vectors;

/* Codes of eight values, NaN like infinity.
 *
 * 2^(e + dropped), with e the value's exponent or, when that is larger, the smallest normal one, has the code's last
 * place as its own: adding it rounds to nearest even. What the sum has more is the mantissa with the implicit one (which
 * subnormals lack); the exponent's part is added to that, and a carry goes on into the exponent by itself. */
static inline __m256i small_codes(__m256 values, small_vectors format) {
  __m256i bits = _mm256_castps_si256(values);
  __m256i magnitude = _mm256_and_si256(bits, all(0x7fffffff));
  magnitude = _mm256_min_epi32(magnitude, all((int)f32_bits(format.largest)));
  __m256i exponent = _mm256_max_epi32(magnitude, all(format.min_exponent << 23));
  exponent = _mm256_and_si256(exponent, all(0x7f800000));
  __m256i shift = _mm256_add_epi32(exponent, all(format.dropped << 23));
  __m256i sum = _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(magnitude), _mm256_castsi256_ps(shift)));
  __m256i from_exponent = _mm256_srli_epi32(exponent, format.dropped);
  from_exponent = _mm256_sub_epi32(from_exponent, all(format.min_exponent << (23 - format.dropped)));
  __m256i code = _mm256_add_epi32(_mm256_sub_epi32(sum, shift), from_exponent);
  __m256i sign = _mm256_and_si256(_mm256_srli_epi32(bits, format.sign_shift), all(1 << (31 - format.sign_shift)));
  return _mm256_or_si256(code, sign);
}

static inline __m256i is_nan(__m256 values) { return _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q)); }

static inline __m256i e4m3_codes(__m256 values) {
  static const small_vectors format = {.dropped = 20, .min_exponent = 127 - 6, .sign_shift = 24, .largest = 448.0f};
  /* the largest code is 0x7e, NaN 0x7f */
  return _mm256_or_si256(small_codes(values, format), _mm256_srli_epi32(is_nan(values), 31));
}

static inline __m256i e5m2_codes(__m256 values) {
  static const small_vectors format = {.dropped = 21, .min_exponent = 127 - 14, .sign_shift = 24, .largest = 57344.0f};
  /* the largest code is 0x7b, NaN 0x7e: 3 more */
  return _mm256_add_epi32(small_codes(values, format), _mm256_and_si256(is_nan(values), all(3)));
}

static inline __m256i e2m1_codes(__m256 values) {
  static const small_vectors format = {.dropped = 22, .min_exponent = 127, .sign_shift = 28, .largest = 6.0f};
  return _mm256_andnot_si256(is_nan(values), small_codes(values, format));
}

static inline __m256i e8m0_codes(__m256 values) {
  __m256i bits = _mm256_castps_si256(values);
  bits = _mm256_andnot_si256(_mm256_cmpeq_epi32(bits, all(INT32_MIN)), bits); /* −0 is 0 */
  /* half a place up, less one for 2^−127 and what is below it */
  __m256i half = _mm256_sub_epi32(all(0x003fffff), _mm256_cmpgt_epi32(bits, all(0x00400000)));
  __m256i code = _mm256_min_epi32(_mm256_srli_epi32(_mm256_add_epi32(bits, half), 23), all(254));
  __m256i bad = _mm256_or_si256(_mm256_cmpgt_epi32(bits, all(0x7f800000)), _mm256_srai_epi32(bits, 31));
  return _mm256_or_si256(code, _mm256_srli_epi32(bad, 24));
}

/* Two's complement, cut to the bits of mask. */
static inline __m256i integer_codes(__m256 values, float limit, int mask) {
  values = _mm256_and_ps(values, _mm256_cmp_ps(values, values, _CMP_ORD_Q)); /* NaN is 0 */
  values = _mm256_max_ps(_mm256_min_ps(values, _mm256_set1_ps(limit)), _mm256_set1_ps(-limit));
  return _mm256_and_si256(_mm256_cvtps_epi32(values), all(mask));
}

static inline __m256i int4_codes(__m256 values) { return integer_codes(values, 7.0f, 0xf); }
static inline __m256i int8_codes(__m256 values) { return integer_codes(values, 127.0f, 0xff); }

/* Four times eight codes, each at most 255 in 32 bits, as 32 bytes. */
static inline __m256i bytes32(__m256i a, __m256i b, __m256i c, __m256i d) {
  __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
  /* the packs work on 128-bit halves: the permutation puts the groups of four in order */
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

typedef __m256i (*codes_of)(__m256 values);

static inline __m256i encode32(const uint8_t *in, codes_of codes) {
  return bytes32(codes(load8(in)), codes(load8(in + 32)), codes(load8(in + 64)), codes(load8(in + 96)));
}

static inline __m256i encode32_scaled(const uint8_t *in, __m256 scale, codes_of codes) {
  __m256 a = _mm256_div_ps(load8(in), scale), b = _mm256_div_ps(load8(in + 32), scale);
  __m256 c = _mm256_div_ps(load8(in + 64), scale), d = _mm256_div_ps(load8(in + 96), scale);
  return bytes32(codes(a), codes(b), codes(c), codes(d));
}

/* 32 codes of 4 bits as 16 bytes, the even ones in the low halves. */
static inline __m128i pair_up(__m256i codes) {
  __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x1001)); /* even + 16 · odd */
  return _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

void e4m3_from_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + STEP <= count; i += STEP) store256(out + i, encode32(in + i * 4, e4m3_codes));
  number_bulk_scalar()->e4m3_from_f32(in + i * 4, out + i, count - i);
}

void e5m2_from_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + STEP <= count; i += STEP) store256(out + i, encode32(in + i * 4, e5m2_codes));
  number_bulk_scalar()->e5m2_from_f32(in + i * 4, out + i, count - i);
}

void e8m0_from_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + STEP <= count; i += STEP) store256(out + i, encode32(in + i * 4, e8m0_codes));
  number_bulk_scalar()->e8m0_from_f32(in + i * 4, out + i, count - i);
}

void e2m1_from_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + STEP <= count; i += STEP) store128(out + i / 2, pair_up(encode32(in + i * 4, e2m1_codes)));
  number_bulk_scalar()->e2m1_from_f32(in + i * 4, out + i / 2, count - i);
}

void int4_from_f32_avx2(const void *from, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  size_t i = 0;
  for (; i + STEP <= count; i += STEP) store128(out + i / 2, pair_up(encode32(in + i * 4, int4_codes)));
  number_bulk_scalar()->int4_from_f32(in + i * 4, out + i / 2, count - i);
}

void e4m3_scaled_from_f32_avx2(const void *from, float scale, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  const __m256 scales = _mm256_set1_ps(scale);
  size_t i = 0;
  for (; i + STEP <= count; i += STEP) store256(out + i, encode32_scaled(in + i * 4, scales, e4m3_codes));
  number_bulk_scalar()->e4m3_scaled_from_f32(in + i * 4, scale, out + i, count - i);
}

void int8_scaled_from_f32_avx2(const void *from, float scale, void *to, size_t count) {
  const uint8_t *in = from;
  uint8_t *out = to;
  const __m256 scales = _mm256_set1_ps(scale);
  size_t i = 0;
  for (; i + STEP <= count; i += STEP) store256(out + i, encode32_scaled(in + i * 4, scales, int8_codes));
  number_bulk_scalar()->int8_scaled_from_f32(in + i * 4, scale, out + i, count - i);
}

/* ---- absmax ---- */

#define AHEAD 2048 /* bytes asked for: the processor itself looks ahead within a page of 4 KiB only */

/* Magnitudes of finite values are in the order of their bits; the others are taken out. */
static float absmax_of_finite(const uint8_t *in, size_t count) {
  __m256i most = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i magnitude = _mm256_and_si256(load256(in + i * 4), all(0x7fffffff));
    const __m256i nonfinite = _mm256_cmpgt_epi32(magnitude, all(0x7f7fffff));
    most = _mm256_max_epi32(most, _mm256_andnot_si256(nonfinite, magnitude));
  }
  int unused;
  float lanes[8];
  store256((uint8_t *)lanes, most);
  float largest = number_bulk_scalar()->f32_absmax(in + i * 4, count - i, &unused);
  for (int lane = 0; lane < 8; lane++) largest = lanes[lane] > largest ? lanes[lane] : largest;
  return largest;
}

static inline __m256i larger(__m256i most, const uint8_t *in) {
  return _mm256_max_epi32(most, _mm256_and_si256(load256(in), all(0x7fffffff)));
}

/* Values that are not finite are larger than all others: whether there are any is seen at the end. */
float f32_absmax_avx2(const void *from, size_t count, int *nonfinite) {
  const uint8_t *in = from;
  __m256i most[4];
  size_t i = 0;
  for (int k = 0; k < 4; k++) most[k] = _mm256_setzero_si256();
  for (; i + 32 <= count; i += 32, in += 128) {
    _mm_prefetch((const char *)in + AHEAD, _MM_HINT_T0);
    _mm_prefetch((const char *)in + AHEAD + 64, _MM_HINT_T0);
    for (int k = 0; k < 4; k++) most[k] = larger(most[k], in + k * 32);
  }
  for (; i + 8 <= count; i += 8, in += 32) most[0] = larger(most[0], in);
  const __m256i two = _mm256_max_epi32(most[0], most[1]), other = _mm256_max_epi32(most[2], most[3]);
  const __m256i one = _mm256_max_epi32(two, other);
  int found = _mm256_movemask_epi8(_mm256_cmpgt_epi32(one, all(0x7f7fffff))) != 0;
  float lanes[8];
  store256((uint8_t *)lanes, one);
  float largest = number_bulk_scalar()->f32_absmax(in, count - i, &found);
  if (found) {
    *nonfinite = 1;
    return absmax_of_finite(from, count);
  }
  for (int lane = 0; lane < 8; lane++) largest = lanes[lane] > largest ? lanes[lane] : largest;
  return largest;
}

#else

/* A translation unit must not be empty. */
typedef int small_avx2_is_for_other_processors;

#endif
