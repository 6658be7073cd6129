/* pack/pack_kernels_avx2.c: AVX2 forms of twins_plain.c, equal bit for bit. */
#include "pack/pack_kernels.h"

#ifdef __AVX2__

#include <immintrin.h>

static inline __m256 magnitudes(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

/* -- blocks */

static inline uint32_t lanes_max(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_unpackhi_epi64(m, m));
  return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 1, 1, 1))));
}

static inline __m256i magnitude_bits(const float *v) { return _mm256_castps_si256(magnitudes(_mm256_loadu_ps(v))); }

/* The largest of each of eight blocks of 16, in their order: pairs of vectors are laid into each other and halved. */
static inline __m256i absmax8(const float *values) {
  __m256i v[8], two[4], four[2];
  for (size_t b = 0; b < 8; b++)
    v[b] = _mm256_max_epi32(magnitude_bits(values + 16 * b), magnitude_bits(values + 16 * b + 8));
  for (int i = 0; i < 4; i++)
    two[i] =
        _mm256_max_epi32(_mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 2; i++)
    four[i] = _mm256_max_epi32(_mm256_unpacklo_epi64(two[2 * i], two[2 * i + 1]),
                               _mm256_unpackhi_epi64(two[2 * i], two[2 * i + 1]));
  return _mm256_max_epi32(_mm256_permute2x128_si256(four[0], four[1], 0x20),
                          _mm256_permute2x128_si256(four[0], four[1], 0x31));
}

/* Magnitudes are in the order of their bits, NaN and infinity above all: a block that has them is done again. */
static int block_absmax(const float *values, size_t count, size_t block, float *to) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  const uint32_t infinite = 0x7f800000u;
  const size_t whole = count / block * block;
  int nonfinite = 0;
  size_t c = 0;
  for (; block == 16 && c + 8 * 16 <= whole; c += 8 * 16) {
    const __m256i most = absmax8(values + c);
    const __m256i bad = _mm256_cmpgt_epi32(most, _mm256_set1_epi32((int)infinite - 1));
    if (_mm256_testz_si256(bad, bad))
      _mm256_storeu_ps(to + c / 16, _mm256_castsi256_ps(most));
    else
      nonfinite |= pack_kernels_plain()->block_absmax(values + c, 8 * 16, 16, to + c / 16);
  }
  for (; c < whole; c += block) {
    __m256i most = _mm256_setzero_si256();
    for (size_t i = 0; i < block; i += 8)
      most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(values + c + i)), magnitude));
    const uint32_t largest = lanes_max(most);
    if (largest >= infinite)
      nonfinite |= pack_kernels_plain()->block_absmax(values + c, block, block, to + c / block);
    else
      to[c / block] = f32_from_bits(largest);
  }
  if (whole == count) return nonfinite;
  return nonfinite | pack_kernels_plain()->block_absmax(values + whole, count - whole, block, to + whole / block);
}

static void block_divide(const float *values, size_t count, size_t block, const float *by, float *to) {
  const size_t whole = count / block * block;
  for (size_t c = 0; c < whole; c += block) {
    const __m256 scale = _mm256_set1_ps(by[c / block]);
    for (size_t i = c; i < c + block; i += 8)
      _mm256_storeu_ps(to + i, _mm256_div_ps(_mm256_loadu_ps(values + i), scale));
  }
  pack_kernels_plain()->block_divide(values + whole, count - whole, block, by + whole / block, to + whole);
}

static void block_multiply(const float *values, size_t count, size_t block, const float *by, float *to) {
  const size_t whole = count / block * block;
  for (size_t c = 0; c < whole; c += block) {
    const __m256 factor = _mm256_set1_ps(by[c / block]);
    for (size_t i = c; i < c + block; i += 8)
      _mm256_storeu_ps(to + i, _mm256_mul_ps(_mm256_loadu_ps(values + i), factor));
  }
  pack_kernels_plain()->block_multiply(values + whole, count - whole, block, by + whole / block, to + whole);
}

/* -- 2:4 */

static void sizes(const float *values, size_t count, float *to) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 v = _mm256_loadu_ps(values + i);
    _mm256_storeu_ps(to + i, _mm256_and_ps(magnitudes(v), _mm256_cmp_ps(v, v, _CMP_ORD_Q)));
  }
  pack_kernels_plain()->sizes(values + i, count - i, to + i);
}

static void pair_up(const float *from_v, const float *from_size, float *v, float *size) {
  const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
  for (size_t at = 0; at < SPARSE_24_COLUMNS; at += 8) {
    const __m256 s = _mm256_loadu_ps(from_size + at);
    const __m256 sum = _mm256_add_ps(s, _mm256_permute_ps(s, _MM_SHUFFLE(2, 3, 0, 1)));
    _mm256_storeu_ps(v + at, _mm256_permutevar8x32_ps(_mm256_loadu_ps(from_v + at), order));
    _mm256_storeu_ps(size + at, _mm256_permutevar8x32_ps(sum, order));
  }
}

/* For a group's mask of kept places: the nibble of its index, and which two of its four bytes are kept. */
static const uint8_t nibble_of[16] = {[3] = 0x4, [5] = 0x8, [6] = 0x9, [9] = 0xc, [10] = 0xd, [12] = 0xe};
static const uint16_t bytes_of[16] = {[3] = 0x100, [5] = 0x200, [6] = 0x201, [9] = 0x300, [10] = 0x301, [12] = 0x302};

/* Which of the 4 in each half of v are among its 2 largest, ties to the lower: a bit for each. A place is kept when at
 * most one other beats it: a larger one, or an equal one before it. */
static inline unsigned kept_mask(__m256 v) {
  const __m256i m = _mm256_castps_si256(v);                        /* magnitudes: in the order of their bits */
  const __m256i one = _mm256_setr_epi32(0, 0, 0, -1, 0, 0, 0, -1); /* −1 where the other comes before: then ≥ */
  const __m256i two = _mm256_setr_epi32(0, 0, -1, -1, 0, 0, -1, -1);
  const __m256i three = _mm256_setr_epi32(0, -1, -1, -1, 0, -1, -1, -1);
  const __m256i a = _mm256_cmpgt_epi32(_mm256_shuffle_epi32(m, _MM_SHUFFLE(0, 3, 2, 1)), _mm256_add_epi32(m, one));
  const __m256i b = _mm256_cmpgt_epi32(_mm256_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)), _mm256_add_epi32(m, two));
  const __m256i c = _mm256_cmpgt_epi32(_mm256_shuffle_epi32(m, _MM_SHUFFLE(2, 1, 0, 3)), _mm256_add_epi32(m, three));
  const __m256i beaten = _mm256_add_epi32(_mm256_add_epi32(a, b), c); /* minus the number of those who do */
  return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(beaten, _mm256_set1_epi32(-2))));
}

/* Nearest integers of v / scale within ±limit, 0 for NaN. */
static inline __m256i quotients(const float *v, __m256 scale, __m256 limit) {
  const __m256 q = _mm256_div_ps(_mm256_loadu_ps(v), scale);
  const __m256 low = _mm256_sub_ps(_mm256_setzero_ps(), limit);
  const __m256 inside = _mm256_max_ps(_mm256_min_ps(q, limit), low);
  return _mm256_cvtps_epi32(_mm256_and_ps(inside, _mm256_cmp_ps(q, q, _CMP_ORD_Q)));
}

/* 16 columns: to[0 .. 8) = the kept codes, index[0 .. 2). */
static inline __m128i choose16(const float *v, const float *size, __m256 scale, __m256 limit, uint8_t index[2]) {
  const unsigned low = kept_mask(_mm256_loadu_ps(size)), high = kept_mask(_mm256_loadu_ps(size + 8));
  const __m256i words = _mm256_packs_epi32(quotients(v, scale, limit), quotients(v + 8, scale, limit));
  const __m256i ordered = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
  const __m128i codes = _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
  const uint64_t places = bytes_of[low & 15] | (uint64_t)bytes_of[low >> 4] << 16 |
                          (uint64_t)bytes_of[high & 15] << 32 | (uint64_t)bytes_of[high >> 4] << 48;
  const long long first_column = 0x0c0c080804040000; /* of each group of four */
  index[0] = (uint8_t)(nibble_of[low & 15] | nibble_of[low >> 4] << 4);
  index[1] = (uint8_t)(nibble_of[high & 15] | nibble_of[high >> 4] << 4);
  return _mm_shuffle_epi8(codes, _mm_cvtsi64_si128((long long)places + first_column));
}

static inline __m128i choose32(const float *v, const float *size, float scale, float limit, uint8_t index[4]) {
  const __m256 s = _mm256_set1_ps(scale), l = _mm256_set1_ps(limit);
  const __m128i low = choose16(v, size, s, l, index);
  return _mm_unpacklo_epi64(low, choose16(v + 16, size + 16, s, l, index + 2));
}

static void sparse_int8(const sparse_input *in, int8_t codes[SPARSE_24_KEPT], uint8_t index[SPARSE_24_GROUPS / 2]) {
  for (int half = 0; half < 2; half++) {
    const __m128i kept =
        choose32(in->v + 32 * half, in->size + 32 * half, in->scales[half], INT8_LARGEST, index + 4 * half);
    _mm_storeu_si128((__m128i *)(void *)(codes + 16 * half), kept);
  }
}

static void sparse_int4(const sparse_input *in, uint8_t codes[SPARSE_24_KEPT / 2],
                        uint8_t index[SPARSE_24_GROUPS / 2]) {
  for (int half = 0; half < 2; half++) {
    const __m128i kept =
        choose32(in->v + 32 * half, in->size + 32 * half, in->scales[half], INT4_LARGEST, index + 4 * half);
    const __m128i nibbles = _mm_and_si128(kept, _mm_set1_epi8(0x0f));
    const __m128i joined = _mm_maddubs_epi16(nibbles, _mm_set1_epi16(0x1001)); /* first + 16 · second */
    _mm_storel_epi64((__m128i *)(void *)(codes + 8 * half), _mm_packus_epi16(joined, joined));
  }
}

/* -- NVFP4's search */

/* Squared distance of each y, not negative, to its nearest E2M1 value. Those are multiples of 1/2 below 2, of 1 below 4, of 2
 * below 8: of half of y's power of two, at least of 1/2. Adding 2^22 powers of two leaves just those bits, ties to even. */
static inline __m256 squared_error(__m256 y) {
  const __m256 by_22 = _mm256_set1_ps(0x1p22f);
  const __m256 inside = _mm256_min_ps(y, _mm256_set1_ps(NVFP4_LARGEST));
  const __m256 power = _mm256_and_ps(inside, _mm256_castsi256_ps(_mm256_set1_epi32(0x7f800000)));
  const __m256 unit = _mm256_max_ps(power, _mm256_set1_ps(1));
  const __m256 rounded = _mm256_fnmadd_ps(unit, by_22, _mm256_fmadd_ps(unit, by_22, inside));
  const __m256 d = _mm256_sub_ps(y, rounded);
  return _mm256_mul_ps(d, d);
}

/* Each lane one factor, so that the sum over the values has the plain order; two vectors of them, whose chains of additions
 * run beside each other. sizes: the values' magnitudes. */
static inline void errors16(const float sizes[NVFP4_BLOCK], const float *factors, const float *squares, __m256 *low,
                            __m256 *high) {
  const __m256 first = _mm256_loadu_ps(factors), second = _mm256_loadu_ps(factors + 8);
  __m256 a = _mm256_setzero_ps(), b = a;
  for (size_t i = 0; i < NVFP4_BLOCK; i++) {
    const __m256 size = _mm256_broadcast_ss(sizes + i);
    a = _mm256_add_ps(a, squared_error(_mm256_mul_ps(size, first)));
    b = _mm256_add_ps(b, squared_error(_mm256_mul_ps(size, second)));
  }
  *low = _mm256_mul_ps(a, _mm256_loadu_ps(squares));
  *high = _mm256_mul_ps(b, _mm256_loadu_ps(squares + 8));
}

static inline __m256 errors8(const float sizes[NVFP4_BLOCK], const float *factors, const float *squares) {
  const __m256 factor = _mm256_loadu_ps(factors);
  __m256 sum = _mm256_setzero_ps();
  for (size_t i = 0; i < NVFP4_BLOCK; i++)
    sum = _mm256_add_ps(sum, squared_error(_mm256_mul_ps(_mm256_broadcast_ss(sizes + i), factor)));
  return _mm256_mul_ps(sum, _mm256_loadu_ps(squares));
}

static inline float lanes_min(__m256 v) {
  __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_min_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_min_ss(m, _mm_movehdup_ps(m)));
}

/* Infinity where the lane's bit is not set. */
static inline __m256 only(uint32_t tried, __m256 errors) {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)tried), bits), bits);
  return _mm256_blendv_ps(_mm256_set1_ps(__builtin_inff()), errors, _mm256_castsi256_ps(set));
}

/* A NaN or an infinity among the values is in every lane's error. */
static size_t nvfp4_least(const float values[NVFP4_BLOCK], const float *factors, const float *squares, uint32_t tried) {
  float sizes[NVFP4_BLOCK];
  __m256 low, high = _mm256_setzero_ps();
  for (size_t i = 0; i < NVFP4_BLOCK; i += 8) _mm256_storeu_ps(sizes + i, magnitudes(_mm256_loadu_ps(values + i)));
  if (tried >> 8)
    errors16(sizes, factors, squares, &low, &high);
  else
    low = errors8(sizes, factors, squares);
  low = only(tried, low), high = only(tried >> 8, high);
  const float least = lanes_min(_mm256_min_ps(low, high));
  if (!(least < __builtin_inff())) return NVFP4_TRIED;
  const __m256 all = _mm256_set1_ps(least);
  const int in_low = _mm256_movemask_ps(_mm256_cmp_ps(low, all, _CMP_EQ_OQ));
  const int in_high = _mm256_movemask_ps(_mm256_cmp_ps(high, all, _CMP_EQ_OQ));
  return (size_t)__builtin_ctz((unsigned)(in_low | in_high << 8));
}

const pack_kernels *pack_kernels_avx2(void) {
  static const pack_kernels table = {.block_absmax = block_absmax,
                                     .block_divide = block_divide,
                                     .block_multiply = block_multiply,
                                     .sizes = sizes,
                                     .pair_up = pair_up,
                                     .sparse_int8 = sparse_int8,
                                     .sparse_int4 = sparse_int4,
                                     .nvfp4_least = nvfp4_least};
  return &table;
}

#else

const pack_kernels *pack_kernels_avx2(void) { return NULL; }

#endif
