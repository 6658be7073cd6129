/* tensor/quick_avx2.c: partitions of 8 or 4 keys at a time: a vector's keys up to the pivot are packed to its front, the others
 * to its end; the whole vector is written to the front of the part in place (never further than was read), and to scratch,
 * which is filled from its end downwards, from where the others come back behind the first. */
#include "tensor/quick.h"

#ifdef __AVX2__

#include "tensor/networks.h"

/* For each mask of 8 lanes of 4 bytes: the lanes whose bit is 0, then those whose bit is 1, a byte each. */
#define PLACE(m, k)  ((m) >> (k)&1 ? 8 - __builtin_popcount((m) >> (k)) : __builtin_popcount(~(m) & ((1u << (k)) - 1)))
#define LANE(m, k)   ((uint64_t)(k) << 8 * PLACE(m, k))
#define ORDER(m)     (LANE(m, 1) | LANE(m, 2) | LANE(m, 3) | LANE(m, 4) | LANE(m, 5) | LANE(m, 6) | LANE(m, 7))
#define ORDERS_4(m)  ORDER(m), ORDER(m + 1u), ORDER(m + 2u), ORDER(m + 3u)
#define ORDERS_16(m) ORDERS_4(m), ORDERS_4(m + 4u), ORDERS_4(m + 8u), ORDERS_4(m + 12u)
#define ORDERS_64(m) ORDERS_16(m), ORDERS_16(m + 16u), ORDERS_16(m + 32u), ORDERS_16(m + 48u)
static const uint64_t orders[256] = {ORDERS_64(0u), ORDERS_64(64u), ORDERS_64(128u), ORDERS_64(192u)};

/* The middle of three, in each lane. */
#define MIDDLE(a, b, c, order)                                                                                         \
  order(&a, &b);                                                                                                       \
  order(&b, &c);                                                                                                       \
  order(&a, &b);

/* Keys above (or, with `from`, at and above) the pivot go behind; returns how many stay in front. T: a key; W: lanes; FEW:
 * keys that a network sorts. */
#define QUICK(name, T, W, FEW, SET, CMPGT, order, sort_few)                                                            \
  static size_t name##_partition(T *a, T *other, size_t n, T pivot, int from) {                                        \
    const __m256i limit = SET(pivot);                                                                                  \
    T *const end = other + n + QUICK_SLACK;                                                                            \
    size_t left = 0, right = 0, i = 0;                                                                                 \
    for (; i + W <= n; i += W) {                                                                                       \
      const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(a + i));                                    \
      const __m256i above = from ? CMPGT(limit, v) : CMPGT(v, limit);                                                  \
      const unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(above)), high = from ? mask ^ 255 : mask; \
      const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)&orders[high]);                             \
      const __m256i sorted = _mm256_permutevar8x32_epi32(v, _mm256_cvtepu8_epi32(bytes));                              \
      _mm256_storeu_si256((__m256i *)(void *)(a + left), sorted);                                                      \
      _mm256_storeu_si256((__m256i *)(void *)(end - right - W), sorted);                                               \
      right += (unsigned)__builtin_popcount(high) * W / 8;                                                             \
      left = i + W - right;                                                                                            \
    }                                                                                                                  \
    for (; i < n; i++) {                                                                                               \
      const T v = a[i];                                                                                                \
      if (from ? v >= pivot : v > pivot)                                                                               \
        *(end - ++right) = v;                                                                                          \
      else                                                                                                             \
        a[left++] = v;                                                                                                 \
    }                                                                                                                  \
    memcpy(a + left, end - right, right * sizeof *a);                                                                  \
    return left;                                                                                                       \
  }                                                                                                                    \
  /* About the middle: of three lanes, each the middle of three keys (of many: of nine) from all over. */              \
  static T name##_pivot(const T *a, size_t n) {                                                                        \
    __m256i v[9];                                                                                                      \
    const size_t count = n > 32 * FEW ? 9 : 3, apart = (n - W) / (count - 1);                                          \
    for (size_t k = 0; k < count; k++) v[k] = _mm256_loadu_si256((const __m256i *)(const void *)(a + k * apart));      \
    for (size_t k = 0; count == 9 && k < 3; k++) {                                                                     \
      MIDDLE(v[k], v[k + 3], v[k + 6], order)                                                                          \
      v[k] = v[k + 3];                                                                                                 \
    }                                                                                                                  \
    MIDDLE(v[0], v[1], v[2], order)                                                                                    \
    T lanes[W];                                                                                                        \
    _mm256_storeu_si256((__m256i *)(void *)lanes, v[1]);                                                               \
    const T x = lanes[0], y = lanes[W / 2], z = lanes[W - 1];                                                          \
    return x < y ? (y < z ? y : x < z ? z : x) : (x < z ? x : y < z ? z : y);                                          \
  }                                                                                                                    \
  static void name(T *a, T *other, size_t n, int rounds, quick_fallback fallback, void *arg) {                         \
    while (n > FEW) {                                                                                                  \
      if (rounds-- == 0) {                                                                                             \
        fallback(arg, a, n);                                                                                           \
        return;                                                                                                        \
      }                                                                                                                \
      const T pivot = name##_pivot(a, n);                                                                              \
      const size_t left = name##_partition(a, other, n, pivot, 0);                                                     \
      if (left == n) { /* nothing is above: what equals the pivot stands behind, and is in order */                    \
        n = name##_partition(a, other, n, pivot, 1);                                                                   \
      } else if (left < n - left) {                                                                                    \
        name(a, other, left, rounds, fallback, arg);                                                                   \
        a += left, n -= left;                                                                                          \
      } else {                                                                                                         \
        name(a + left, other, n - left, rounds, fallback, arg);                                                        \
        n = left;                                                                                                      \
      }                                                                                                                \
    }                                                                                                                  \
    if (n > 1) sort_few(a, n);                                                                                         \
  }

QUICK(quick_64, int64_t, 4, 64, _mm256_set1_epi64x, _mm256_cmpgt_epi64, order_64, sort_few_64)
QUICK(quick_32, int32_t, 8, 128, _mm256_set1_epi32, _mm256_cmpgt_epi32, order_32, sort_few_32)

/* -- keys: signed numbers that stand in the elements' order */

/* Floats: below 0 all bits but the sign are turned over, which undoes itself; NaN is the largest. Integers: without a sign the
 * top bit is turned over. */
#define KEYS(bits, infinity, quiet_nan)                                                                                \
  static void float_keys_##bits(const int##bits##_t *x, size_t n, int##bits##_t *k) {                                  \
    for (size_t i = 0; i < n; i++) {                                                                                   \
      const int##bits##_t turned = x[i] ^ (x[i] >> (bits - 1) & INT##bits##_MAX);                                      \
      k[i] = (x[i] & INT##bits##_MAX) > (infinity) ? INT##bits##_MAX : turned;                                         \
    }                                                                                                                  \
  }                                                                                                                    \
  static void floats_of_##bits(int##bits##_t *k, size_t n) {                                                           \
    for (size_t i = 0; i < n; i++) {                                                                                   \
      const int##bits##_t turned = k[i] ^ (k[i] >> (bits - 1) & INT##bits##_MAX);                                      \
      k[i] = k[i] == INT##bits##_MAX ? (quiet_nan) : turned;                                                           \
    }                                                                                                                  \
  }                                                                                                                    \
  static void flip_##bits(const int##bits##_t *x, size_t n, int##bits##_t *k) {                                        \
    for (size_t i = 0; i < n; i++) k[i] = x[i] ^ INT##bits##_MIN;                                                      \
  }
KEYS(64, 0x7ff0000000000000, 0x7ff8000000000000)
KEYS(32, 0x7f800000, 0x7fc00000)

int quick_sort_avx2(viva_dtype type, const void *from, size_t n, void *to, void *other, int rounds,
                    quick_fallback fallback, void *arg) {
  switch (type) {
  case VIVA_F64: float_keys_64(from, n, to); break;
  case VIVA_F32: float_keys_32(from, n, to); break;
  case VIVA_U64: flip_64(from, n, to); break;
  case VIVA_U32: flip_32(from, n, to); break;
  case VIVA_I64: memmove(to, from, n * sizeof(int64_t)); break;
  case VIVA_I32: memmove(to, from, n * sizeof(int32_t)); break;
  default: return 0;
  }
  if (type == VIVA_F64 || type == VIVA_U64 || type == VIVA_I64)
    quick_64(to, other, n, rounds, fallback, arg);
  else
    quick_32(to, other, n, rounds, fallback, arg);
  if (type == VIVA_F64) floats_of_64(to, n);
  if (type == VIVA_F32) floats_of_32(to, n);
  if (type == VIVA_U64) flip_64(to, n, to);
  if (type == VIVA_U32) flip_32(to, n, to);
  return 1;
}

#else

int quick_sort_avx2(viva_dtype type, const void *from, size_t n, void *to, void *other, int rounds,
                    quick_fallback fallback, void *arg) {
  (void)type, (void)from, (void)n, (void)to, (void)other, (void)rounds, (void)fallback, (void)arg;
  return 0;
}

#endif
