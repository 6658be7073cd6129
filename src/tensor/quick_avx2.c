/* tensor/quick_avx2.c: partitions of 8 or 4 keys at a time: those up to the pivot are packed to the front in place (never
 * further than was read), the others into scratch, from where they come back behind the first. */
#include "tensor/quick.h"

#ifdef __AVX2__

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { DEEPEST = 60 };

/* For each mask of lanes: the lanes whose bit is 0, then those whose bit is 1, a byte each. */
typedef struct orders {
  uint64_t of[256];
} orders;

/* width: 8 lanes of 4 bytes; 4: pairs of lanes. */
static void fill_orders(orders *o, unsigned width) {
  for (unsigned mask = 0; mask < 1u << width; mask++) {
    uint8_t lanes[8];
    unsigned n = 0;
    for (unsigned bit = 0; bit < 2; bit++)
      for (unsigned k = 0; k < width; k++) {
        if ((mask >> k & 1) != bit) continue;
        if (width == 4)
          lanes[n++] = (uint8_t)(2 * k), lanes[n++] = (uint8_t)(2 * k + 1);
        else
          lanes[n++] = (uint8_t)k;
      }
    memcpy(&o->of[mask], lanes, sizeof lanes);
  }
}

static __m256i order_of(const orders *o, unsigned mask) {
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)o->of[mask]));
}

/* Keys above (or, with `from`, at and above) the pivot go behind; returns how many stay in front. T: a key; W: lanes. Signed
 * comparisons of keys whose top bit is turned over are unsigned ones. */
#define QUICK(name, T, W, CMPGT, MASK)                                                                                 \
  static size_t name##_partition(T *a, T *other, size_t n, T pivot, int from, const orders *o) {                       \
    const T top = (T)((T)1 << (8 * sizeof(T) - 1));                                                                    \
    const __m256i flip = name##_set(top), limit = _mm256_xor_si256(name##_set(pivot), flip);                           \
    size_t left = 0, right = 0, i = 0;                                                                                 \
    for (; i + W <= n; i += W) {                                                                                       \
      const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(a + i)), w = _mm256_xor_si256(v, flip);     \
      const unsigned below = (1u << W) - 1;                                                                            \
      const unsigned high = from ? ~(unsigned)MASK(CMPGT(limit, w)) & below : (unsigned)MASK(CMPGT(w, limit));         \
      const unsigned count = (unsigned)__builtin_popcount(high);                                                       \
      const __m256i sorted = _mm256_permutevar8x32_epi32(v, order_of(o, high));                                        \
      const __m256i turned = _mm256_permutevar8x32_epi32(v, order_of(o, ~high & below));                               \
      _mm256_storeu_si256((__m256i *)(void *)(a + left), sorted);                                                      \
      _mm256_storeu_si256((__m256i *)(void *)(other + right), turned);                                                 \
      left += W - count, right += count;                                                                               \
    }                                                                                                                  \
    for (; i < n; i++) {                                                                                               \
      const T v = a[i];                                                                                                \
      if (from ? v >= pivot : v > pivot)                                                                               \
        other[right++] = v;                                                                                            \
      else                                                                                                             \
        a[left++] = v;                                                                                                 \
    }                                                                                                                  \
    memcpy(a + left, other, right * sizeof *a);                                                                        \
    return left;                                                                                                       \
  }                                                                                                                    \
  static void name##_insert(T *a, size_t n) {                                                                          \
    for (size_t i = 1; i < n; i++) {                                                                                   \
      const T v = a[i];                                                                                                \
      size_t j = i;                                                                                                    \
      for (; j > 0 && a[j - 1] > v; j--) a[j] = a[j - 1];                                                              \
      a[j] = v;                                                                                                        \
    }                                                                                                                  \
  }                                                                                                                    \
  /* The middle of nine. */                                                                                            \
  static T name##_pivot(const T *a, size_t n) {                                                                        \
    T nine[9];                                                                                                         \
    for (size_t k = 0; k < 9; k++) nine[k] = a[(n - 1) / 8 * k];                                                       \
    name##_insert(nine, 9);                                                                                            \
    return nine[4];                                                                                                    \
  }                                                                                                                    \
  static void name##_part(T *a, T *other, size_t n, int depth, const orders *o, quick_fallback fallback, void *arg) {  \
    while (n > QUICK_PART) {                                                                                           \
      if (depth++ == DEEPEST) {                                                                                        \
        fallback(arg, a, n);                                                                                           \
        return;                                                                                                        \
      }                                                                                                                \
      const T pivot = name##_pivot(a, n);                                                                              \
      size_t left = name##_partition(a, other, n, pivot, 0, o);                                                        \
      if (left == n) { /* nothing is above: what equals the pivot stands behind, and is in order */                    \
        n = name##_partition(a, other, n, pivot, 1, o);                                                                \
        continue;                                                                                                      \
      }                                                                                                                \
      if (left < n - left) {                                                                                           \
        name##_part(a, other, left, depth, o, fallback, arg);                                                          \
        a += left, n -= left;                                                                                          \
      } else {                                                                                                         \
        name##_part(a + left, other, n - left, depth, o, fallback, arg);                                               \
        n = left;                                                                                                      \
      }                                                                                                                \
    }                                                                                                                  \
    fallback(arg, a, n);                                                                                               \
  }                                                                                                                    \
  static void name(void *keys, void *other, size_t n, quick_fallback fallback, void *arg) {                            \
    orders o;                                                                                                          \
    fill_orders(&o, W);                                                                                                \
    name##_part(keys, other, n, 0, &o, fallback, arg);                                                                 \
  }

static __m256i quick_64_set(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
static __m256i quick_32_set(uint32_t x) { return _mm256_set1_epi32((int)x); }
#define MASK_64(v) _mm256_movemask_pd(_mm256_castsi256_pd(v))
#define MASK_32(v) _mm256_movemask_ps(_mm256_castsi256_ps(v))
QUICK(quick_64, uint64_t, 4, _mm256_cmpgt_epi64, MASK_64)
QUICK(quick_32, uint32_t, 8, _mm256_cmpgt_epi32, MASK_32)

quick_sort quick_sort_avx2(size_t element) { return element == 8 ? quick_64 : element == 4 ? quick_32 : NULL; }

#else

quick_sort quick_sort_avx2(size_t element) {
  (void)element;
  return NULL;
}

#endif
