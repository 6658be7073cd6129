/* tensor/reducers_body.h: the loops of reductions; included by reducers_plain.c and reducers_avx2.c. REDUCERS names the
 * function that returns the table.
 *
 * A piece is summed in LANES running sums, which vectors hold, and these in pairs: for 512 elements no element goes
 * through more than 16 + 5 additions. Rows are added four at a time before they meet the running sum.
 */
#include <math.h>

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
    if (n < FEW) {                                                                                                     \
      for (; i < n; i++) {                                                                                             \
        const T e = a[i];                                                                                              \
        const S##_value x = value->S, y = (S##_value)(term);                                                           \
        value->S = operation;                                                                                          \
      }                                                                                                                \
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

#define ROWS(name, T, A, term, operation)                                                                              \
  static void name##_rows(const char *from, int64_t step, size_t rows, size_t n, const double *shifts, void *values) { \
    A *sums = values;                                                                                                  \
    (void)shifts;                                                                                                      \
    for (size_t r = 0; r < rows; r++) {                                                                                \
      const T *a = (const T *)(const void *)(from + (int64_t)r * step);                                                \
      for (size_t j = 0; j < n; j++) {                                                                                 \
        const T e = a[j];                                                                                              \
        const A x = sums[j], y = (A)(term);                                                                            \
        sums[j] = operation;                                                                                           \
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

/* Extremes of floats: NaN, which no comparison finds, is looked for beside them. U: as wide as T. The last lanes may look at
 * elements twice: that changes nothing. */
#define EXTREME(name, T, U, S, start, beyond)                                                                          \
  static void name##_piece(const void *from, size_t n, double shift, red_value *value) {                               \
    const T *a = from;                                                                                                 \
    T lanes[LANES], most = value->S;                                                                                   \
    U nan[LANES] = {0};                                                                                                \
    (void)shift;                                                                                                       \
    if (most != most) return;                                                                                          \
    for (size_t i = n; n < LANES && i-- > 0;) {                                                                        \
      most = a[i] beyond most ? a[i] : most;                                                                           \
      nan[0] |= a[i] != a[i];                                                                                          \
    }                                                                                                                  \
    for (size_t k = 0; k < LANES; k++) lanes[k] = start;                                                               \
    for (size_t done = 0; n >= LANES && done < n; done += LANES) {                                                     \
      const T *b = a + (n - done < LANES ? n - LANES : done);                                                          \
      for (size_t k = 0; k < LANES; k++) {                                                                             \
        const T e = b[k];                                                                                              \
        lanes[k] = e beyond lanes[k] ? e : lanes[k];                                                                   \
        nan[k] |= e != e ? (U) ~(U)0 : 0;                                                                              \
      }                                                                                                                \
    }                                                                                                                  \
    for (size_t width = LANES / 2; width > 0; width /= 2)                                                              \
      for (size_t k = 0; k < width; k++) {                                                                             \
        lanes[k] = lanes[k + width] beyond lanes[k] ? lanes[k + width] : lanes[k];                                     \
        nan[k] |= nan[k + width];                                                                                      \
      }                                                                                                                \
    most = lanes[0] beyond most ? lanes[0] : most;                                                                     \
    value->S = nan[0] ? (T)NAN : most;                                                                                 \
  }
EXTREME(max_f64, double, uint64_t, f64, -INFINITY, >)
EXTREME(max_f32, float, uint32_t, f32, -INFINITY, >)
EXTREME(min_f64, double, uint64_t, f64, INFINITY, <)
EXTREME(min_f32, float, uint32_t, f32, INFINITY, <)

#define FIND(name, T, S)                                                                                               \
  static size_t find_##name(const void *from, size_t n, const red_value *value) {                                      \
    const T *a = from, v = value->S;                                                                                   \
    size_t i = 0;                                                                                                      \
    if (v != v) { /* the first NaN */                                                                                  \
      while (i < n && a[i] == a[i]) i++;                                                                               \
      return i;                                                                                                        \
    }                                                                                                                  \
    for (; i + LANES <= n; i += LANES) {                                                                               \
      int here = 0;                                                                                                    \
      for (size_t k = 0; k < LANES; k++) here |= a[i + k] == v;                                                        \
      if (here) break;                                                                                                 \
    }                                                                                                                  \
    while (i < n && a[i] != v) i++;                                                                                    \
    return i;                                                                                                          \
  }
FIND(f64, double, f64)
FIND(f32, float, f32)
FIND(i64, int64_t, i64)
FIND(u64, uint64_t, u64)

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
ROWS(prod_f64, double, double, e, x *y)
ROWS(prod_f32, float, double, e, x *y)
ROWS(prod_u64, uint64_t, uint64_t, e, x *y)
SQUARE_ROWS(squares_f64, double)
SQUARE_ROWS(squares_f32, float)
ROWS(max_f64, double, double, e, LARGER)
ROWS(max_f32, float, float, e, LARGER)
ROWS(max_i64, int64_t, int64_t, e, (x >= y ? x : y))
ROWS(max_u64, uint64_t, uint64_t, e, (x >= y ? x : y))
ROWS(min_f64, double, double, e, SMALLER)
ROWS(min_f32, float, float, e, SMALLER)
ROWS(min_i64, int64_t, int64_t, e, (x <= y ? x : y))
ROWS(min_u64, uint64_t, uint64_t, e, (x <= y ? x : y))

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

static const reducers table = {.piece = {[RED_SUM] = {sum_f64_piece, sum_f32_piece, sum_u64_piece, sum_u64_piece},
                                         [RED_PROD] = {prod_f64_piece, prod_f32_piece, prod_u64_piece, prod_u64_piece},
                                         [RED_MAX] = {max_f64_piece, max_f32_piece, max_i64_piece, max_u64_piece},
                                         [RED_MIN] = {min_f64_piece, min_f32_piece, min_i64_piece, min_u64_piece},
                                         [RED_SQUARES] = {squares_f64_piece, squares_f32_piece, NULL, NULL}},
                               .rows = {[RED_SUM] = {sum_f64_rows, sum_f32_rows, sum_u64_rows, sum_u64_rows},
                                        [RED_PROD] = {prod_f64_rows, prod_f32_rows, prod_u64_rows, prod_u64_rows},
                                        [RED_MAX] = {max_f64_rows, max_f32_rows, max_i64_rows, max_u64_rows},
                                        [RED_MIN] = {min_f64_rows, min_f32_rows, min_i64_rows, min_u64_rows},
                                        [RED_SQUARES] = {squares_f64_rows, squares_f32_rows, NULL, NULL}},
                               .find = {find_f64, find_f32, find_i64, find_u64},
                               .arg_rows = {{min_f64_arg_rows, min_f32_arg_rows, min_i64_arg_rows, min_u64_arg_rows},
                                            {max_f64_arg_rows, max_f32_arg_rows, max_i64_arg_rows, max_u64_arg_rows}},
                               .count_true = count_true};

const reducers *REDUCERS(void) { return &table; }
