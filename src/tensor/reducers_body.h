/* tensor/reducers_body.h: the loops of reductions; included by reducers_plain.c and reducers_avx2.c. REDUCERS names the
 * function that returns the table.
 *
 * A piece is summed in LANES running sums, which vectors hold, and these in pairs: for 512 elements no element goes
 * through more than 16 + 5 additions. Rows are added four at a time before they meet the running sum.
 */
#include <math.h>
#include <string.h>

#include "tensor/reducers.h"

enum { LANES = 32, FEW = 16 /* elements are not worth it */ };

#define FOLD(T, lanes, operation)                                                                                      \
  for (size_t width = LANES / 2; width > 0; width /= 2)                                                                \
    for (size_t q = 0; q < width; q++) {                                                                               \
      const T x = lanes[q], y = lanes[q + width];                                                                      \
      lanes[q] = operation;                                                                                            \
    }

/* T: elements, A: running values (for each lane), S: member of red_value, and the value's type. */
#define PIECE(name, T, A, S, start, term, operation)                                                                   \
  static void name##_piece(const void *from, size_t n, double shift, red_value *value) {                               \
    const T *a = from, s = (T)shift;                                                                                   \
    A lanes[LANES];                                                                                                    \
    size_t i = 0;                                                                                                      \
    (void)s;                                                                                                           \
    if (n < FEW) { /* in a register: in memory each would wait for the one before to be stored */                      \
      S##_value x = value->S;                                                                                          \
      for (; i < n; i++) {                                                                                             \
        const T e = a[i];                                                                                              \
        const S##_value y = (S##_value)(term);                                                                         \
        x = operation;                                                                                                 \
      }                                                                                                                \
      value->S = x;                                                                                                    \
      return;                                                                                                          \
    }                                                                                                                  \
    for (size_t k = 0; k < LANES; k++) lanes[k] = start;                                                               \
    for (; i + LANES <= n; i += LANES)                                                                                 \
      for (size_t k = 0; k < LANES; k++) {                                                                             \
        const T e = a[i + k];                                                                                          \
        const A x = lanes[k], y = (A)(term);                                                                           \
        lanes[k] = operation;                                                                                          \
      }                                                                                                                \
    for (size_t k = 0; i < n; i++, k++) {                                                                              \
      const T e = a[i];                                                                                                \
      const A x = lanes[k], y = (A)(term);                                                                             \
      lanes[k] = operation;                                                                                            \
    }                                                                                                                  \
    FOLD(A, lanes, operation)                                                                                          \
    const S##_value x = value->S, y = (S##_value)lanes[0];                                                             \
    value->S = operation;                                                                                              \
  }

/* Four rows at a time, one after the other: the running values are read and written once for them. */
#define NEXT_ROW(p, A, operation)                                                                                      \
  {                                                                                                                    \
    const A x = v, y = (A)p[j];                                                                                        \
    v = operation;                                                                                                     \
  }
#define ROWS(name, T, A, operation)                                                                                    \
  static void name##_rows(const char *from, int64_t step, size_t rows, size_t n, const double *shifts, void *values) { \
    A *sums = values;                                                                                                  \
    size_t r = 0;                                                                                                      \
    (void)shifts;                                                                                                      \
    for (; r + 4 <= rows; r += 4) {                                                                                    \
      const T *a = (const T *)(const void *)(from + (int64_t)r * step);                                                \
      const T *b = (const T *)(const void *)(from + (int64_t)(r + 1) * step);                                          \
      const T *c = (const T *)(const void *)(from + (int64_t)(r + 2) * step);                                          \
      const T *d = (const T *)(const void *)(from + (int64_t)(r + 3) * step);                                          \
      for (size_t j = 0; j < n; j++) {                                                                                 \
        A v = sums[j];                                                                                                 \
        NEXT_ROW(a, A, operation)                                                                                      \
        NEXT_ROW(b, A, operation) NEXT_ROW(c, A, operation) NEXT_ROW(d, A, operation) sums[j] = v;                     \
      }                                                                                                                \
    }                                                                                                                  \
    for (; r < rows; r++) {                                                                                            \
      const T *a = (const T *)(const void *)(from + (int64_t)r * step);                                                \
      for (size_t j = 0; j < n; j++) {                                                                                 \
        A v = sums[j];                                                                                                 \
        NEXT_ROW(a, A, operation)                                                                                      \
        sums[j] = v;                                                                                                   \
      }                                                                                                                \
    }                                                                                                                  \
  }

/* Sums, four rows at a time. */
#define SUM_ROWS(name, T, A)                                                                                           \
  static void name##_rows(const char *from, int64_t step, size_t rows, size_t n, const double *shifts, void *values) { \
    A *sums = values;                                                                                                  \
    size_t r = 0;                                                                                                      \
    (void)shifts;                                                                                                      \
    for (; r + 4 <= rows; r += 4) {                                                                                    \
      const T *a = (const T *)(const void *)(from + (int64_t)r * step);                                                \
      const T *b = (const T *)(const void *)(from + (int64_t)(r + 1) * step);                                          \
      const T *c = (const T *)(const void *)(from + (int64_t)(r + 2) * step);                                          \
      const T *d = (const T *)(const void *)(from + (int64_t)(r + 3) * step);                                          \
      for (size_t j = 0; j < n; j++) sums[j] += (A)((a[j] + b[j]) + (c[j] + d[j]));                                    \
    }                                                                                                                  \
    for (; r < rows; r++) {                                                                                            \
      const T *a = (const T *)(const void *)(from + (int64_t)r * step);                                                \
      for (size_t j = 0; j < n; j++) sums[j] += (A)a[j];                                                               \
    }                                                                                                                  \
  }

#define SQUARE_ROWS(name, T)                                                                                           \
  static void name##_rows(const char *from, int64_t step, size_t rows, size_t n, const double *shifts, void *values) { \
    double *sums = values;                                                                                             \
    for (size_t r = 0; r < rows; r++) {                                                                                \
      const T *a = (const T *)(const void *)(from + (int64_t)r * step);                                                \
      for (size_t j = 0; j < n; j++) {                                                                                 \
        const T d = a[j] - (T)shifts[j];                                                                               \
        sums[j] += (double)d * (double)d; /* in F32 the square of 10^20 would be infinite */                           \
      }                                                                                                                \
    }                                                                                                                  \
  }

typedef double f64_value;
typedef float f32_value;
typedef int64_t i64_value;
typedef uint64_t u64_value;

#define LARGER  (((x >= y) | (x != x)) ? x : y)
#define SMALLER (((x <= y) | (x != x)) ? x : y)

PIECE(sum_f64, double, double, f64, 0, e, x + y)
PIECE(sum_f32, float, float, f64, 0, e, x + y)
PIECE(sum_u64, uint64_t, uint64_t, u64, 0, e, x + y)
PIECE(prod_f64, double, double, f64, 1, e, x *y)
PIECE(prod_f32, float, double, f64, 1, e, x *y)
PIECE(prod_u64, uint64_t, uint64_t, u64, 1, e, x *y)
PIECE(squares_f64, double, double, f64, 0, (e - s) * (e - s), x + y)
PIECE(squares_f32, float, double, f64, 0, (double)(e - s) * (double)(e - s), x + y)
PIECE(max_i64, int64_t, int64_t, i64, INT64_MIN, e, (x >= y ? x : y))
PIECE(max_u64, uint64_t, uint64_t, u64, 0, e, (x >= y ? x : y))
PIECE(min_i64, int64_t, int64_t, i64, INT64_MAX, e, (x <= y ? x : y))
PIECE(min_u64, uint64_t, uint64_t, u64, UINT64_MAX, e, (x <= y ? x : y))

/* Vectors of 32 bytes; as they lie in memory; and masks: signed numbers as wide. */
#define VECTORS(name, T, U)                                                                                            \
  typedef T name##_vec __attribute__((vector_size(32)));                                                               \
  typedef T name##_loose __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));                              \
  typedef U name##_mask __attribute__((vector_size(32)));
VECTORS(f64, double, int64_t)
VECTORS(f32, float, int32_t)
VECTORS(i64, int64_t, int64_t)
VECTORS(u64, uint64_t, int64_t)

/* x where it is beyond y, else y; and where one is NaN. */
#ifdef __AVX2__
#include <immintrin.h>
#define MAX_F64(x, y)       _mm256_max_pd(x, y)
#define MIN_F64(x, y)       _mm256_min_pd(x, y)
#define MAX_F32(x, y)       _mm256_max_ps(x, y)
#define MIN_F32(x, y)       _mm256_min_ps(x, y)
#define UNORDERED_F64(x, y) (f64_mask) _mm256_cmp_pd(x, y, _CMP_UNORD_Q)
#define UNORDERED_F32(x, y) (f32_mask) _mm256_cmp_ps(x, y, _CMP_UNORD_Q)
#define BITS_f64(m)         (unsigned)_mm256_movemask_pd((__m256d)(m)) /* of lanes */
#define BITS_f32(m)         (unsigned)_mm256_movemask_ps((__m256)(m))
#else
#define CHOOSE_F64(m, x, y) (f64_vec)(((m) & (f64_mask)x) | (~(m) & (f64_mask)y))
#define CHOOSE_F32(m, x, y) (f32_vec)(((m) & (f32_mask)x) | (~(m) & (f32_mask)y))
#define MAX_F64(x, y)       CHOOSE_F64(x > y, x, y)
#define MIN_F64(x, y)       CHOOSE_F64(x < y, x, y)
#define MAX_F32(x, y)       CHOOSE_F32(x > y, x, y)
#define MIN_F32(x, y)       CHOOSE_F32(x < y, x, y)
#define UNORDERED_F64(x, y) ((x != x) | (y != y))
#define UNORDERED_F32(x, y) ((x != x) | (y != y))
#define BITS(name, T)                                                                                                  \
  static unsigned bits_##name(const void *m) {                                                                         \
    T lanes[32 / sizeof(T)];                                                                                           \
    unsigned bits = 0;                                                                                                 \
    memcpy(lanes, m, sizeof lanes);                                                                                    \
    for (unsigned k = 0; k < 32 / sizeof(T); k++) bits |= lanes[k] ? 1u << k : 0;                                      \
    return bits;                                                                                                       \
  }
BITS(f64, int64_t)
BITS(f32, int32_t)
#define BITS_f64(m) bits_f64(&(m))
#define BITS_f32(m) bits_f32(&(m))
#endif
#define BITS_i64 BITS_f64
#define BITS_u64 BITS_f64

/* Extremes of floats: NaN, which no comparison finds, is looked for beside them. The last vector may look at elements twice:
 * that changes nothing. */
#define EXTREME(name, T, S, start, beyond, FURTHER, UNORDERED)                                                         \
  static void name##_piece(const void *from, size_t n, double shift, red_value *value) {                               \
    enum { W = 32 / sizeof(T) };                                                                                       \
    const T *a = from;                                                                                                 \
    T most = value->S;                                                                                                 \
    int unordered = most != most;                                                                                      \
    size_t i = 0;                                                                                                      \
    (void)shift;                                                                                                       \
    for (; n < W && i < n; i++) {                                                                                      \
      most = a[i] beyond most ? a[i] : most;                                                                           \
      unordered |= a[i] != a[i];                                                                                       \
    }                                                                                                                  \
    if (n >= W) {                                                                                                      \
      const S##_vec least = (S##_vec){0} + (T)(start);                                                                 \
      S##_vec v0 = least, v1 = least, v2 = least, v3 = least;                                                          \
      S##_mask nan = {0};                                                                                              \
      for (; i + 4 * W <= n; i += 4 * W) {                                                                             \
        const S##_loose *const e = (const S##_loose *)(a + i);                                                         \
        v0 = FURTHER(e[0], v0), v1 = FURTHER(e[1], v1), v2 = FURTHER(e[2], v2), v3 = FURTHER(e[3], v3);                \
        nan |= UNORDERED(e[0], e[1]) | UNORDERED(e[2], e[3]);                                                          \
      }                                                                                                                \
      for (; i < n; i += W) {                                                                                          \
        const S##_loose *const e = (const S##_loose *)(a + (n - i < W ? n - W : i));                                   \
        v0 = FURTHER(*e, v0);                                                                                          \
        nan |= UNORDERED(*e, *e);                                                                                      \
      }                                                                                                                \
      v0 = FURTHER(v1, v0), v2 = FURTHER(v3, v2), v0 = FURTHER(v2, v0);                                                \
      for (size_t k = 0; k < W; k++) most = v0[k] beyond most ? v0[k] : most;                                          \
      unordered |= BITS_##S(nan) != 0;                                                                                 \
    }                                                                                                                  \
    value->S = unordered ? (T)NAN : most;                                                                              \
  }
EXTREME(max_f64, double, f64, -INFINITY, >, MAX_F64, UNORDERED_F64)
EXTREME(max_f32, float, f32, -INFINITY, >, MAX_F32, UNORDERED_F32)
EXTREME(min_f64, double, f64, INFINITY, <, MIN_F64, UNORDERED_F64)
EXTREME(min_f32, float, f32, INFINITY, <, MIN_F32, UNORDERED_F32)

/* NaN stays: where a row has one, and in what is left over, row by row. */
#define EXTREME_ROWS(name, T, S, FURTHER, UNORDERED)                                                                   \
  static void name##_rows(const char *from, int64_t step, size_t rows, size_t n, const double *shifts, void *values) { \
    enum { W = 32 / sizeof(T) };                                                                                       \
    const size_t even = n / W * W;                                                                                     \
    T *best = values;                                                                                                  \
    size_t r = 0;                                                                                                      \
    for (; r + 4 <= rows; r += 4) {                                                                                    \
      const char *const row = from + (int64_t)r * step;                                                                \
      for (size_t j = 0; j < even; j += W) {                                                                           \
        const char *const at = row + j * sizeof(T);                                                                    \
        const S##_vec a = *(const S##_loose *)at, b = *(const S##_loose *)(at + step);                                 \
        const S##_vec c = *(const S##_loose *)(at + 2 * step), d = *(const S##_loose *)(at + 3 * step);                \
        const S##_mask nan = UNORDERED(a, b) | UNORDERED(c, d);                                                        \
        const S##_vec v = *(const S##_loose *)(best + j);                                                              \
        if (BITS_##S(nan))                                                                                             \
          name##_each_rows(at, step, 4, W, shifts, best + j);                                                          \
        else                                                                                                           \
          *(S##_loose *)(best + j) = FURTHER(d, FURTHER(c, FURTHER(b, FURTHER(a, v))));                                \
      }                                                                                                                \
      name##_each_rows(row + even * sizeof(T), step, 4, n - even, shifts, best + even);                                \
    }                                                                                                                  \
    name##_each_rows(from + (int64_t)r * step, step, rows - r, n, shifts, best);                                       \
  }

#define FIND(T, S)                                                                                                     \
  static size_t find_##S(const void *from, size_t n, const red_value *value) {                                         \
    enum { W = 32 / sizeof(T) };                                                                                       \
    const T *a = from, v = value->S;                                                                                   \
    size_t i = 0;                                                                                                      \
    if (v != v) { /* the first NaN */                                                                                  \
      while (i < n && a[i] == a[i]) i++;                                                                               \
      return i;                                                                                                        \
    }                                                                                                                  \
    for (; i + 4 * W <= n; i += 4 * W) {                                                                               \
      const S##_loose *const e = (const S##_loose *)(a + i);                                                           \
      const S##_mask h0 = e[0] == v, h1 = e[1] == v, h2 = e[2] == v, h3 = e[3] == v, any = h0 | h1 | h2 | h3;          \
      if (BITS_##S(any) == 0) continue;                                                                                \
      const unsigned low = BITS_##S(h0) | BITS_##S(h1) << W, high = BITS_##S(h2) | BITS_##S(h3) << W;                  \
      return i + (size_t)__builtin_ctz(low | high << 2 * W);                                                           \
    }                                                                                                                  \
    for (; i < n && n >= W; i += W) {                                                                                  \
      const size_t at = n - i < W ? n - W : i;                                                                         \
      const S##_mask here = *(const S##_loose *)(a + at) == v;                                                         \
      if (BITS_##S(here)) return at + (size_t)__builtin_ctz(BITS_##S(here));                                           \
    }                                                                                                                  \
    while (i < n && a[i] != v) i++;                                                                                    \
    return i;                                                                                                          \
  }
FIND(double, f64)
FIND(float, f32)
FIND(int64_t, i64)
FIND(uint64_t, u64)

#define ARG(name, S)                                                                                                   \
  static size_t name##_##S##_arg(const void *from, size_t n, red_value *value) {                                       \
    memcpy(&value->S, from, sizeof value->S);                                                                          \
    name##_##S##_piece(from, n, 0, value);                                                                             \
    return find_##S(from, n, value);                                                                                   \
  }
ARG(max, f64)
ARG(max, f32)
ARG(max, i64)
ARG(max, u64)
ARG(min, f64)
ARG(min, f32)
ARG(min, i64)
ARG(min, u64)

/* Places are counted in a number as wide as the element, so that one mask serves both. */
#define ARG_ROWS(name, T, P, better)                                                                                   \
  static void name##_arg_rows(const char *x, int64_t step, size_t rows, size_t n, int64_t first, void *values,         \
                              int64_t *places) {                                                                       \
    T *best = values;                                                                                                  \
    P at[RED_PIECE];                                                                                                   \
    for (size_t j = 0; j < n; j++) at[j] = -1;                                                                         \
    for (size_t r = 0; r < rows; r++) {                                                                                \
      const T *a = (const T *)(const void *)(x + (int64_t)r * step);                                                   \
      const P here = (P)r;                                                                                             \
      for (size_t j = 0; j < n; j++) {                                                                                 \
        const T e = a[j], b = best[j];                                                                                 \
        const P old = at[j];                                                                                           \
        at[j] = (better) ? here : old;                                                                                 \
        best[j] = (better) ? e : b;                                                                                    \
      }                                                                                                                \
    }                                                                                                                  \
    for (size_t j = 0; j < n; j++)                                                                                     \
      if (at[j] >= 0) places[j] = first + at[j];                                                                       \
  }
ARG_ROWS(max_f64, double, int64_t, (e > b) | ((e != e) & (b == b)))
ARG_ROWS(max_f32, float, int32_t, (e > b) | ((e != e) & (b == b)))
ARG_ROWS(max_i64, int64_t, int64_t, e > b)
ARG_ROWS(max_u64, uint64_t, int64_t, e > b)
ARG_ROWS(min_f64, double, int64_t, (e < b) | ((e != e) & (b == b)))
ARG_ROWS(min_f32, float, int32_t, (e < b) | ((e != e) & (b == b)))
ARG_ROWS(min_i64, int64_t, int64_t, e < b)
ARG_ROWS(min_u64, uint64_t, int64_t, e < b)

SUM_ROWS(sum_f64, double, double)
SUM_ROWS(sum_f32, float, double)
SUM_ROWS(sum_u64, uint64_t, uint64_t)
ROWS(prod_f64, double, double, x *y)
ROWS(prod_f32, float, double, x *y)
ROWS(prod_u64, uint64_t, uint64_t, x *y)
SQUARE_ROWS(squares_f64, double)
SQUARE_ROWS(squares_f32, float)
ROWS(max_f64_each, double, double, LARGER)
EXTREME_ROWS(max_f64, double, f64, MAX_F64, UNORDERED_F64)
ROWS(max_f32_each, float, float, LARGER)
EXTREME_ROWS(max_f32, float, f32, MAX_F32, UNORDERED_F32)
ROWS(max_i64, int64_t, int64_t, (x >= y ? x : y))
ROWS(max_u64, uint64_t, uint64_t, (x >= y ? x : y))
ROWS(min_f64_each, double, double, SMALLER)
EXTREME_ROWS(min_f64, double, f64, MIN_F64, UNORDERED_F64)
ROWS(min_f32_each, float, float, SMALLER)
EXTREME_ROWS(min_f32, float, f32, MIN_F32, UNORDERED_F32)
ROWS(min_i64, int64_t, int64_t, (x <= y ? x : y))
ROWS(min_u64, uint64_t, uint64_t, (x <= y ? x : y))

static size_t count_true(const uint8_t *x, size_t n) {
  size_t total = 0;
  while (n > 0) { /* 255 bytes can be counted in a byte for each lane */
    uint8_t lanes[LANES] = {0};
    size_t rounds = n / LANES < 255 ? n / LANES : 255;
    for (size_t i = 0; i < rounds; i++)
      for (size_t k = 0; k < LANES; k++) lanes[k] = (uint8_t)(lanes[k] + (x[i * LANES + k] != 0));
    x += rounds * LANES, n -= rounds * LANES;
    for (size_t k = 0; k < LANES; k++) total += lanes[k];
    if (n >= LANES) continue;
    for (; n > 0; n--) total += *x++ != 0;
  }
  return total;
}

static const reducers table = {
    .piece = {[RED_SUM] = {sum_f64_piece, sum_f32_piece, sum_u64_piece, sum_u64_piece},
              [RED_PROD] = {prod_f64_piece, prod_f32_piece, prod_u64_piece, prod_u64_piece},
              [RED_MAX] = {max_f64_piece, max_f32_piece, max_i64_piece, max_u64_piece},
              [RED_MIN] = {min_f64_piece, min_f32_piece, min_i64_piece, min_u64_piece},
              [RED_SQUARES] = {squares_f64_piece, squares_f32_piece, NULL, NULL}},
    .rows = {[RED_SUM] = {sum_f64_rows, sum_f32_rows, sum_u64_rows, sum_u64_rows},
             [RED_PROD] = {prod_f64_rows, prod_f32_rows, prod_u64_rows, prod_u64_rows},
             [RED_MAX] = {max_f64_rows, max_f32_rows, max_i64_rows, max_u64_rows},
             [RED_MIN] = {min_f64_rows, min_f32_rows, min_i64_rows, min_u64_rows},
             [RED_SQUARES] = {squares_f64_rows, squares_f32_rows, NULL, NULL}},
    .arg = {{min_f64_arg, min_f32_arg, min_i64_arg, min_u64_arg}, {max_f64_arg, max_f32_arg, max_i64_arg, max_u64_arg}},
    .arg_rows = {{min_f64_arg_rows, min_f32_arg_rows, min_i64_arg_rows, min_u64_arg_rows},
                 {max_f64_arg_rows, max_f32_arg_rows, max_i64_arg_rows, max_u64_arg_rows}},
    .count_true = count_true};

const reducers *REDUCERS(void) { return &table; }
