/* tensor/radix.c: least significant digit first, each pass stable; digits that are the same everywhere cost no pass. Types of 4
 * and 8 bytes go to quick.h where the processor has the vectors. */
#include "tensor/radix.h"

#include <string.h>

#include "base/cpu.h"
#include "tensor/dtype.h"
#include "tensor/quick.h"
#include "tensor/tensor.h"

enum {
  MAX_DIGITS = 8,
  MAX_BUCKETS = 2048,
  WIDE_FROM = 4096, /* elements from which digits of 11 bits pay for their longer tables */
  FEW = 48          /* elements that are quicker put in their places one by one */
};

/* -- keys */

/* Floats: the sign decides which bits are turned over; a NaN's bits, without the sign, are above infinity's. */
#define FLOAT_KEY(K, bits, infinity)                                                                                   \
  static K float_key_##bits(K x) {                                                                                     \
    const K sign = (K)((K)1 << (bits - 1)), all = (K) ~(K)0;                                                           \
    if ((K)(x & (K)~sign) > (K)(infinity)) return all;                                                                 \
    return (K)(x & sign ? (K)~x : (K)(x | sign));                                                                      \
  }                                                                                                                    \
  static K float_of_key_##bits(K key) {                                                                                \
    const K sign = (K)((K)1 << (bits - 1));                                                                            \
    if (key == (K) ~(K)0) return (K)((K)(infinity) | (K)((K)(infinity) >> 1)); /* a quiet NaN */                       \
    return (K)(key & sign ? (K)(key & (K)~sign) : (K)~key);                                                            \
  }
FLOAT_KEY(uint64_t, 64, 0x7ff0000000000000u)
FLOAT_KEY(uint32_t, 32, 0x7f800000u)
#define HALF_INFINITY     0x7c00u
#define BFLOAT16_INFINITY 0x7f80u
static uint16_t half_key(uint16_t x, uint16_t infinity) {
  if ((x & 0x7fffu) > infinity) return 0xffffu;
  return (uint16_t)(x & 0x8000u ? ~(unsigned)x : x | 0x8000u);
}
static uint16_t half_of_key(uint16_t key, uint16_t infinity) {
  if (key == 0xffffu) return (uint16_t)(infinity | infinity >> 1);
  return (uint16_t)(key & 0x8000u ? key & 0x7fffu : ~(unsigned)key);
}

static int is_signed(viva_dtype t) { return t >= VIVA_I64 && t <= VIVA_I8; }

/* keys[i] = the key of element i; the two may be the same memory. */
static void make_keys(viva_dtype t, const void *from, size_t n, void *keys) {
  const uint64_t *x8 = from;
  const uint32_t *x4 = from;
  const uint16_t *x2 = from;
  const uint8_t *x1 = from;
  uint64_t *k8 = keys;
  uint32_t *k4 = keys;
  uint16_t *k2 = keys;
  uint8_t *k1 = keys;
  const uint64_t flip = is_signed(t) ? (uint64_t)1 << (8 * tensor_element_bytes(t) - 1) : 0;
  const uint16_t infinity = t == VIVA_F16 ? HALF_INFINITY : BFLOAT16_INFINITY;
  switch (t) {
  case VIVA_F64:
    for (size_t i = 0; i < n; i++) k8[i] = float_key_64(x8[i]);
    return;
  case VIVA_F32:
    for (size_t i = 0; i < n; i++) k4[i] = float_key_32(x4[i]);
    return;
  case VIVA_F16:
  case VIVA_BF16:
    for (size_t i = 0; i < n; i++) k2[i] = half_key(x2[i], infinity);
    return;
  case VIVA_BOOL:
    for (size_t i = 0; i < n; i++) k1[i] = x1[i] != 0;
    return;
  default: break;
  }
  switch (tensor_element_bytes(t)) {
  case 8:
    for (size_t i = 0; i < n; i++) k8[i] = x8[i] ^ flip;
    return;
  case 4:
    for (size_t i = 0; i < n; i++) k4[i] = x4[i] ^ (uint32_t)flip;
    return;
  case 2:
    for (size_t i = 0; i < n; i++) k2[i] = (uint16_t)(x2[i] ^ flip);
    return;
  default:
    for (size_t i = 0; i < n; i++) k1[i] = (uint8_t)(x1[i] ^ flip);
  }
}

/* Elements of keys, in place: for integers the key of the key. */
static void elements_of_keys(viva_dtype t, void *keys, size_t n) {
  uint64_t *k8 = keys;
  uint32_t *k4 = keys;
  uint16_t *k2 = keys;
  const uint16_t infinity = t == VIVA_F16 ? HALF_INFINITY : BFLOAT16_INFINITY;
  switch (t) {
  case VIVA_F64:
    for (size_t i = 0; i < n; i++) k8[i] = float_of_key_64(k8[i]);
    return;
  case VIVA_F32:
    for (size_t i = 0; i < n; i++) k4[i] = float_of_key_32(k4[i]);
    return;
  case VIVA_F16:
  case VIVA_BF16:
    for (size_t i = 0; i < n; i++) k2[i] = half_of_key(k2[i], infinity);
    return;
  default: make_keys(t, keys, n, keys);
  }
}

/* -- sorting; V: what is moved, KEY(v): its key */

#define SORT(name, V, K, KEY)                                                                                          \
  static void name##_insert(V *a, size_t n) {                                                                          \
    for (size_t i = 1; i < n; i++) {                                                                                   \
      const V v = a[i];                                                                                                \
      size_t j = i;                                                                                                    \
      for (; j > 0 && KEY(a[j - 1]) > KEY(v); j--) a[j] = a[j - 1];                                                    \
      a[j] = v;                                                                                                        \
    }                                                                                                                  \
  }                                                                                                                    \
  /* By bits [low, 8·sizeof(K)) of the key; other: n elements of scratch. The result is in a. */                      \
  static void name(V *a, V *other, size_t n, unsigned low, uint32_t *counts) {                                         \
    const unsigned bits = n >= WIDE_FROM && sizeof(K) >= 4 ? 11 : 8, key_bits = 8 * (unsigned)sizeof(K);               \
    const unsigned digits = (key_bits - low + bits - 1) / bits;                                                        \
    const size_t buckets = (size_t)1 << bits;                                                                          \
    const K mask = (K)(buckets - 1);                                                                                   \
    V *from = a, *to = other;                                                                                          \
    if (n < FEW) {                                                                                                     \
      name##_insert(a, n);                                                                                             \
      return;                                                                                                          \
    }                                                                                                                  \
    memset(counts, 0, digits *buckets * sizeof *counts);                                                               \
    for (size_t i = 0; i < n; i++)                                                                                     \
      for (unsigned d = 0; d < digits; d++) counts[d * buckets + (size_t)(KEY(a[i]) >> (low + d * bits) & mask)]++;    \
    for (unsigned d = 0; d < digits; d++) {                                                                            \
      uint32_t *count = counts + d * buckets, sum = 0;                                                                 \
      const unsigned shift = low + d * bits;                                                                           \
      if (count[(size_t)(KEY(from[0]) >> shift & mask)] == n) continue;                                                \
      for (size_t b = 0; b < buckets; b++) {                                                                           \
        const uint32_t here = count[b];                                                                                \
        count[b] = sum;                                                                                                \
        sum += here;                                                                                                   \
      }                                                                                                                \
      for (size_t i = 0; i < n; i++) to[count[(size_t)(KEY(from[i]) >> shift & mask)]++] = from[i];                    \
      V *const swap = from;                                                                                            \
      from = to, to = swap;                                                                                            \
    }                                                                                                                  \
    if (from != a) memcpy(a, from, n * sizeof *a);                                                                     \
  }

typedef struct pair {
  uint64_t key, place;
} pair;
#define ITSELF(v)  (v)
#define OF_PAIR(v) ((v).key)
SORT(sort_8, uint8_t, uint8_t, ITSELF)
SORT(sort_16, uint16_t, uint16_t, ITSELF)
SORT(sort_32, uint32_t, uint32_t, ITSELF)
SORT(sort_64, uint64_t, uint64_t, ITSELF)
SORT(sort_pairs, pair, uint64_t, OF_PAIR)

/* Counts come first in the scratch: at most 8 digits of 256, or 6 of 2048; few elements are not counted. */
static size_t count_bytes_of(size_t n) { return n < FEW ? 0 : MAX_DIGITS * MAX_BUCKETS * sizeof(uint32_t); }

size_t radix_sort_scratch(viva_dtype type, size_t n) {
  size_t bytes;
  if (n >= UINT32_MAX || __builtin_mul_overflow(n + QUICK_SLACK, tensor_element_bytes(type), &bytes)) return SIZE_MAX;
  return __builtin_add_overflow(bytes, count_bytes_of(n), &bytes) ? SIZE_MAX : bytes;
}

/* What a part that quicksort leaves is sorted with. */
typedef struct leftover {
  size_t element;
  uint32_t *counts;
  void *other;
} leftover;

/* Signed keys. */
static void sort_rest(void *arg, void *keys, size_t n) {
  const leftover *r = arg;
  if (r->element == 8) {
    make_keys(VIVA_I64, keys, n, keys);
    sort_64(keys, r->other, n, 0, r->counts);
    make_keys(VIVA_I64, keys, n, keys);
  } else {
    make_keys(VIVA_I32, keys, n, keys);
    sort_32(keys, r->other, n, 0, r->counts);
    make_keys(VIVA_I32, keys, n, keys);
  }
}

void radix_sort(viva_dtype type, int rounds, const void *from, size_t n, void *to, void *scratch) {
  const size_t element = tensor_element_bytes(type);
  uint32_t *counts = scratch;
  void *other = (char *)scratch + count_bytes_of(n);
  leftover rest = {element, counts, other};
  if (rounds >= 0 && cpu_get()->avx2 && quick_sort_avx2(type, from, n, to, other, rounds, sort_rest, &rest)) return;
  make_keys(type, from, n, to);
  switch (element) {
  case 8: sort_64(to, other, n, 0, counts); break;
  case 4: sort_32(to, other, n, 0, counts); break;
  case 2: sort_16(to, other, n, 0, counts); break;
  default: sort_8(to, other, n, 0, counts);
  }
  elements_of_keys(type, to, n);
}

size_t radix_argsort_scratch(size_t n) {
  size_t bytes;
  if (n >= UINT32_MAX || __builtin_mul_overflow(n, 2 * sizeof(pair) + sizeof(uint64_t), &bytes)) return SIZE_MAX;
  return __builtin_add_overflow(bytes, count_bytes_of(n) + QUICK_SLACK * sizeof(uint64_t), &bytes) ? SIZE_MAX : bytes;
}

/* to[n] = the keys, −0 become 0, turned over when falling; 8 bytes each. The two may be the same where keys have as many. */
#define WIDE_KEYS(bits)                                                                                                \
  static void wide_keys_##bits(const uint##bits##_t *keys, size_t n, int is_float, int falling, uint64_t *to) {        \
    const uint##bits##_t zero = (uint##bits##_t)((uint##bits##_t)1 << (bits - 1));                                     \
    const uint##bits##_t below = (uint##bits##_t)(zero - 1), turn = falling ? (uint##bits##_t) ~(uint##bits##_t)0 : 0; \
    for (size_t i = 0; i < n; i++) {                                                                                   \
      const uint##bits##_t key = is_float && keys[i] == below ? zero : keys[i];                                        \
      to[i] = (uint##bits##_t)(key ^ turn);                                                                            \
    }                                                                                                                  \
  }
WIDE_KEYS(64)
WIDE_KEYS(32)
WIDE_KEYS(16)
WIDE_KEYS(8)

static void wide_keys(viva_dtype t, const void *keys, size_t n, int falling, uint64_t *to) {
  const int is_float = dtype_is_float(t);
  switch (tensor_element_bytes(t)) {
  case 8: wide_keys_64(keys, n, is_float, falling, to); return;
  case 4: wide_keys_32(keys, n, is_float, falling, to); return;
  case 2: wide_keys_16(keys, n, is_float, falling, to); return;
  default: wide_keys_8(keys, n, is_float, falling, to);
  }
}

/* Pairs of one run: places[n], which are in order, by their keys; other: 2n pairs. */
static void sort_run(const uint64_t *keys, int64_t *places, size_t n, pair *other, uint32_t *counts) {
  size_t i = 1;
  while (i < n && keys[places[i - 1]] <= keys[places[i]]) i++;
  if (i >= n) return;
  for (i = 0; i < n; i++) other[i] = (pair){keys[places[i]], (uint64_t)places[i]};
  sort_pairs(other, other + n, n, 0, counts);
  for (i = 0; i < n; i++) places[i] = (int64_t)other[i].place;
}

/* places: upper halves of keys above, places below, sorted; then runs of one upper half by the whole keys. */
static void sort_runs(const uint64_t *keys, int64_t *places, size_t n, pair *other, uint32_t *counts) {
  const uint64_t *packed = (const uint64_t *)places;
  for (size_t i = 0, end; i < n; i = end) {
    const uint64_t upper = packed[i] >> 32;
    for (end = i; end < n && packed[end] >> 32 == upper; end++) places[end] = (int64_t)(packed[end] & UINT32_MAX);
    sort_run(keys, places + i, end - i, other, counts);
  }
}

void radix_argsort(viva_dtype type, int rounds, int falling, const void *from, size_t n, int64_t *places,
                   void *scratch) {
  uint32_t *counts = scratch;
  char *keys = (char *)scratch + count_bytes_of(n), *rest = keys + n * sizeof(uint64_t);
  const int wide = tensor_element_bytes(type) == 8;
  uint64_t *packed = (uint64_t *)places; /* key above, place below: one number to move */
  uint64_t *k8 = (uint64_t *)(void *)keys;
  leftover whole = {sizeof *packed, counts, rest};
  make_keys(type, from, n, keys);
  wide_keys(type, keys, n, falling, wide ? k8 : packed);
  for (size_t i = 0; i < n; i++) packed[i] = (wide ? k8[i] >> 32 : packed[i]) << 32 | i;
  if (rounds < 0 || !cpu_get()->avx2 || !quick_sort_avx2(VIVA_U64, packed, n, packed, rest, rounds, sort_rest, &whole))
    sort_64(packed, (uint64_t *)(void *)rest, n, 32, counts);
  if (wide)
    sort_runs(k8, places, n, (pair *)(void *)rest, counts);
  else
    for (size_t i = 0; i < n; i++) places[i] = (int64_t)(packed[i] & UINT32_MAX);
}
