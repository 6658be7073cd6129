/* engine/tensor_rows.h: a tensor [..., n] as rows of n, for load_rows and store_rows. */
#ifndef ENGINE_TENSOR_ROWS_H
#define ENGINE_TENSOR_ROWS_H

#include "backend/backend.h"
#include "tensor/tensor.h"

/* The leading axes, folded from the innermost on as far as one step leads from row to row. What is left (outer axes with
 * gaps of their own) makes several runs of rows. */
typedef struct tensor_rows {
  const viva_tensor *tensor;
  size_t rows, cols;
  size_t run;           /* rows that one step leads through */
  uint32_t outer;       /* axes before them */
  ptrdiff_t row_stride; /* elements */
  ptrdiff_t col_stride;
} tensor_rows;

/* t has at least one axis and one element. */
tensor_rows tensor_rows_of(const viva_tensor *t);

/* Rows from `row` on, at most `most`, that one outer_rows can name: returns how many. */
size_t tensor_rows_at(const tensor_rows *f, size_t row, size_t most, outer_rows *out);

#endif
