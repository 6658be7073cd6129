/* load/slice.h: some rows of one tensor, from the file to the place where they are held.
 *
 * A slice is read (or found in the mapping), decoded to FP32, un-permuted, and rounded or packed into its place; a tensor
 * that is held as stored is read straight into it. Slices of one tensor are independent of each other.
 */
#ifndef LOAD_SLICE_H
#define LOAD_SLICE_H

#include "load/plan.h"

/* Rows [row, row + rows) of an item as a matrix of their own. */
typedef struct slice_target {
  uint8_t *base;
  size_t row, rows;
} slice_target;

typedef struct slice {
  const plan_item *item;
  size_t row, rows; /* whole heads where those are un-permuted */
  slice_target to;  /* of slice_load: has the slice's rows */
} slice;

/* Of one thread. */
typedef struct slice_buffers {
  uint8_t *raw;  /* [plan.slice_bytes] */
  float *values; /* [plan.slice_values] */
} slice_buffers;

/* Row of the model (half-split order) of row r of the file, where llama.cpp's converter has interleaved the halves of
 * each head: file row 2i + j of a head is model row i + j · head_rows/2. head_rows 0: r. */
size_t slice_row(size_t r, size_t head_rows);

/* b->values = the slice's rows as FP32, in the file's order. */
viva_status slice_values(const plan *p, const slice *w, const slice_buffers *b, viva_error *error);

/* Codes and scales of the slice, quantised in the file as spec (plan_native) says, into a packed matrix of all_rows at data,
 * from row `at` on. Needs b->raw, and b->values for the rows' scales. */
viva_status slice_native(const plan *p, const slice *w, const slice_buffers *b, const pack_spec *spec, uint8_t *data,
                         size_t all_rows, size_t at, viva_error *error);

viva_status slice_load(const plan *p, const slice *w, const slice_buffers *b, viva_error *error);

/* to = the slice's rows as the file has them; the tensor is dense there. */
viva_status slice_stored(const plan *p, const slice *w, uint8_t *to, viva_error *error);

/* E_NUMERIC for a value that a packed format cannot hold. bad: in the file's order. */
viva_status slice_not_finite(const plan *p, const plan_item *item, pack_place bad, viva_error *error);

/* Adds the slice's rows to *survey (zeroed by the caller). */
viva_status slice_survey(const plan *p, const slice *w, const slice_buffers *b, pack_survey *survey, viva_error *error);

#endif
