/* tensor/view.h: what the operations on shapes share. */
#ifndef TENSOR_VIEW_H
#define TENSOR_VIEW_H

#include "tensor/operand.h"

/* The shape, strides and place of a view to be. */
typedef struct view {
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  int64_t strides[VIVA_TENSOR_MAX_RANK];
  int64_t moved; /* elements from a's first to the view's */
} view;

view view_of(const viva_tensor *a);
viva_status view_make(const viva_tensor *a, const view *v, viva_tensor **out, viva_error *error);

/* a's strides for another shape of as many elements; 0 when there are none without copying. */
int view_reshaped(const viva_tensor *a, uint32_t rank, const uint64_t *shape, view *v);

/* *out = a in this shape (as many elements): a view or a copy. */
viva_status view_reshape(const viva_tensor *a, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                         viva_error *error);

/* A part of a: indices [first, first + length) of one axis, without a reference: an operand for as long as a lives. */
viva_tensor view_part(const viva_tensor *a, uint32_t axis, uint64_t first, uint64_t length);

#endif
