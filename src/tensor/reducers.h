/* tensor/reducers.h: the loops of reductions, for the four types that they compute in: F64, F32, I64, U64.
 *
 * Sums are kept in 8 bytes: F64 for floats, 64-bit integers else; extremes in the type itself.
 */
#ifndef TENSOR_REDUCERS_H
#define TENSOR_REDUCERS_H

#include <stddef.h>
#include <stdint.h>

typedef enum reducer_op { RED_SUM, RED_PROD, RED_MAX, RED_MIN, RED_SQUARES, RED_COUNT } reducer_op;
typedef enum reducer_type { RED_F64, RED_F32, RED_I64, RED_U64, RED_TYPES } reducer_type;

enum { RED_PIECE = 512 }; /* most elements of one call */

typedef union red_value {
  double f64;
  float f32;
  int64_t i64;
  uint64_t u64;
} red_value;

/* *value ∘= n ≤ RED_PIECE dense elements. shift: RED_SQUARES sums (x − shift)². */
typedef void (*red_piece)(const void *x, size_t n, double shift, red_value *value);
/* values[j] ∘= x[r][j] for r < rows, j < n ≤ RED_PIECE; rows are `step` bytes apart. values: RED_MAX and RED_MIN: of
 * the type, else 8 bytes each. shifts: for each column, or NULL. */
typedef void (*red_rows)(const char *x, int64_t step, size_t rows, size_t n, const double *shifts, void *values);

/* *value = the extreme of n elements, 0 < n ≤ RED_PIECE (NaN when there is one); returns the place of the first that is it. */
typedef size_t (*red_arg)(const void *x, size_t n, red_value *value);
/* Where the extremes of n ≤ RED_PIECE columns are: best[j] (of the type) and places[j] change where x[r][j] is beyond best[j],
 * or the first NaN. Rows are `step` bytes apart; the first has the number `first`. */
typedef void (*red_arg_rows)(const char *x, int64_t step, size_t rows, size_t n, int64_t first, void *best,
                             int64_t *places);

typedef struct reducers {
  red_piece piece[RED_COUNT][RED_TYPES];
  red_rows rows[RED_COUNT][RED_TYPES];
  red_arg arg[2][RED_TYPES];                        /* of the smallest, of the largest */
  red_arg_rows arg_rows[2][RED_TYPES];              /* likewise */
  size_t (*count_true)(const uint8_t *x, size_t n); /* bytes that are not 0 */
} reducers;

const reducers *reducers_get(void);
const reducers *reducers_plain(void);
const reducers *reducers_avx2(void); /* NULL: not in this build */

#endif
