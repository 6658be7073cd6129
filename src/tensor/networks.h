/* tensor/networks.h: sorting networks over vectors of signed keys; for quick_avx2.c alone.
 *
 * V vectors of W lanes are a table of V rows and W columns. Each column is sorted by itself (no key changes its lane). Then
 * columns that stand side by side are merged, two, four, eight at a time, as bitonic sequences: the first step compares key r
 * of the left half with key r from the end of the right one, which lies in a mirrored row and lane; the others are straight.
 * At last the columns, from left to right, are the sorted keys: a transposition writes them out as rows.
 */
#ifndef TENSOR_NETWORKS_H
#define TENSOR_NETWORKS_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define UNROLLED _Pragma("GCC unroll 16")
#define INLINE   static inline __attribute__((always_inline))

/* *a = the smaller of each lane, *b = the larger. */
INLINE void order_32(__m256i *a, __m256i *b) {
  const __m256i low = _mm256_min_epi32(*a, *b);
  *b = _mm256_max_epi32(*a, *b);
  *a = low;
}

INLINE void order_64(__m256i *a, __m256i *b) {
  const __m256i above = _mm256_cmpgt_epi64(*a, *b), low = _mm256_blendv_epi8(*a, *b, above);
  *b = _mm256_blendv_epi8(*b, *a, above);
  *a = low;
}

/* Lanes in another order. */
#define NEIGHBOURS_32(v) _mm256_shuffle_epi32(v, 0xb1)
#define PAIRS_32(v)      _mm256_shuffle_epi32(v, 0x4e)
#define MIRROR4_32(v)    _mm256_shuffle_epi32(v, 0x1b)
#define MIRROR8_32(v)    _mm256_permute4x64_epi64(_mm256_shuffle_epi32(v, 0x1b), 0x4e)
#define NEIGHBOURS_64(v) _mm256_shuffle_epi32(v, 0x4e)
#define MIRROR4_64(v)    _mm256_permute4x64_epi64(v, 0x1b)

/* The lanes of the left columns from a, the others from b; of columns in groups of 2, 4, 8 lanes of 4 bytes. */
#define LEFT_1(a, b) _mm256_blend_epi32(a, b, 0xaa)
#define LEFT_2(a, b) _mm256_blend_epi32(a, b, 0xcc)
#define LEFT_4(a, b) _mm256_blend_epi32(a, b, 0xf0)

/* Columns are sorted: halves of 2, 4, … rows, the second of which is read backwards. */
#define SORT_COLUMNS(v, V, order)                                                                                      \
  UNROLLED for (int size = 2; size <= (V); size *= 2) {                                                                \
    UNROLLED for (int i = 0; i < (V); i++) if (i % size < size / 2) order(&v[i], &v[i - 2 * (i % size) + size - 1]);   \
    STRAIGHT(v, V, size / 4, order)                                                                                    \
  }
/* Rows `from`, from/2, … 1 apart. */
#define STRAIGHT(v, V, from, order)                                                                                    \
  UNROLLED for (int apart = (from); apart > 0; apart /= 2) {                                                           \
    UNROLLED for (int i = 0; i < (V); i++) if (!(i & apart)) order(&v[i], &v[i + apart]);                              \
  }
/* Key r of the left columns with key r from the end of the right ones. */
#define MIRRORED(v, V, order, lanes, left)                                                                             \
  UNROLLED for (int i = 0; i < (V) / 2; i++) {                                                                         \
    __m256i low = v[i], high = lanes(v[(V)-1 - i]);                                                                    \
    order(&low, &high);                                                                                                \
    v[i] = left(low, high);                                                                                            \
    v[(V)-1 - i] = lanes(left(high, low));                                                                             \
  }
/* Whole columns that stand apart. */
#define ACROSS(v, V, order, lanes, left)                                                                               \
  UNROLLED for (int i = 0; i < (V); i++) {                                                                             \
    __m256i low = v[i], high = lanes(v[i]);                                                                            \
    order(&low, &high);                                                                                                \
    v[i] = left(low, high);                                                                                            \
  }

/* to[8][V]: columns of 8 rows from `row` on. */
INLINE void turn_32(const __m256i *v, int V, int row, int32_t *to) {
  __m256i a[8], b[8];
  UNROLLED for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(v[row + i], v[row + i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(v[row + i], v[row + i + 1]);
  }
  UNROLLED for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]), b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]), b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  UNROLLED for (int i = 0; i < 4; i++) {
    _mm256_storeu_si256((__m256i *)(void *)(to + i * V + row), _mm256_permute2x128_si256(b[i], b[i + 4], 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(to + (i + 4) * V + row), _mm256_permute2x128_si256(b[i], b[i + 4], 0x31));
  }
}

/* to[4][V]: columns of 4 rows. */
INLINE void turn_64(const __m256i *v, int V, int row, int64_t *to) {
  __m256i a[4];
  UNROLLED for (int i = 0; i < 4; i += 2) {
    a[i] = _mm256_unpacklo_epi64(v[row + i], v[row + i + 1]);
    a[i + 1] = _mm256_unpackhi_epi64(v[row + i], v[row + i + 1]);
  }
  UNROLLED for (int i = 0; i < 2; i++) {
    _mm256_storeu_si256((__m256i *)(void *)(to + i * V + row), _mm256_permute2x128_si256(a[i], a[i + 2], 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(to + (i + 2) * V + row), _mm256_permute2x128_si256(a[i], a[i + 2], 0x31));
  }
}

/* Sorts n ≤ V·W keys: behind them stand the largest there are. */
#define NETWORK(name, T, V, W, largest, MERGES, TURN, rows)                                                            \
  static void name(T *keys, size_t n) {                                                                                \
    _Alignas(32) T table[(V) * (W)];                                                                                   \
    __m256i v[V];                                                                                                      \
    memcpy(table, keys, n * sizeof *keys);                                                                             \
    for (size_t i = n; i < (V) * (W); i++) table[i] = (largest);                                                       \
    UNROLLED for (int i = 0; i < (V); i++) v[i] = _mm256_load_si256((const __m256i *)(const void *)(table + i * (W))); \
    MERGES(v, V)                                                                                                       \
    UNROLLED for (int i = 0; i < (V); i += (rows)) TURN(v, V, i, table);                                               \
    memcpy(keys, table, n * sizeof *keys);                                                                             \
  }

#define MERGES_32(v, V)                                                                                                \
  SORT_COLUMNS(v, V, order_32)                                                                                         \
  MIRRORED(v, V, order_32, NEIGHBOURS_32, LEFT_1)                                                                      \
  STRAIGHT(v, V, (V) / 2, order_32)                                                                                    \
  MIRRORED(v, V, order_32, MIRROR4_32, LEFT_2)                                                                         \
  ACROSS(v, V, order_32, NEIGHBOURS_32, LEFT_1)                                                                        \
  STRAIGHT(v, V, (V) / 2, order_32)                                                                                    \
  MIRRORED(v, V, order_32, MIRROR8_32, LEFT_4)                                                                         \
  ACROSS(v, V, order_32, PAIRS_32, LEFT_2)                                                                             \
  ACROSS(v, V, order_32, NEIGHBOURS_32, LEFT_1)                                                                        \
  STRAIGHT(v, V, (V) / 2, order_32)

#define MERGES_64(v, V)                                                                                                \
  SORT_COLUMNS(v, V, order_64)                                                                                         \
  MIRRORED(v, V, order_64, NEIGHBOURS_64, LEFT_2)                                                                      \
  STRAIGHT(v, V, (V) / 2, order_64)                                                                                    \
  MIRRORED(v, V, order_64, MIRROR4_64, LEFT_4)                                                                         \
  ACROSS(v, V, order_64, NEIGHBOURS_64, LEFT_2)                                                                        \
  STRAIGHT(v, V, (V) / 2, order_64)

NETWORK(network_8x8, int32_t, 8, 8, INT32_MAX, MERGES_32, turn_32, 8)
NETWORK(network_16x8, int32_t, 16, 8, INT32_MAX, MERGES_32, turn_32, 8)
NETWORK(network_4x4, int64_t, 4, 4, INT64_MAX, MERGES_64, turn_64, 4)
NETWORK(network_8x4, int64_t, 8, 4, INT64_MAX, MERGES_64, turn_64, 4)
NETWORK(network_16x4, int64_t, 16, 4, INT64_MAX, MERGES_64, turn_64, 4)

static void sort_few_32(int32_t *keys, size_t n) {
  if (n <= 64)
    network_8x8(keys, n);
  else
    network_16x8(keys, n);
}

static void sort_few_64(int64_t *keys, size_t n) {
  if (n <= 16)
    network_4x4(keys, n);
  else if (n <= 32)
    network_8x4(keys, n);
  else
    network_16x4(keys, n);
}

#endif
