/* tensor/window.h: what conv2d and pooling share: windows that slide over planes. */
#ifndef TENSOR_WINDOW_H
#define TENSOR_WINDOW_H

#include "tensor/operand.h"
#include "viva/tensor_algebra.h"

typedef struct window {
  const char *name; /* of the operation, for messages */
  viva_tensor a;    /* the operand as [images][channels][height][width], without a reference */
  uint32_t rank;    /* that it had */
  uint64_t kernel[2], stride[2], padding[2], dilation[2];
  uint64_t out[2]; /* rows and columns of the result */
} window;

/* Checks a, its rank (2 to 4) and what the options say; kernel is set before. E_SIZE, E_ARGUMENT, E_DTYPE. */
viva_status window_make(const viva_tensor *a, const viva_window_options *o, window *w, viva_error *error);

/* The shape of a result with these channels: without the axes that a did not have. */
uint32_t window_shape(const window *w, uint64_t channels, uint64_t shape[4]);

/* Rows (axis 0) or columns of the plane under index k of the kernel at place `at` of the result; < 0: padding, as is what
 * is not below the size. */
static inline int64_t window_place(const window *w, int axis, uint64_t at, uint64_t k) {
  return (int64_t)(at * w->stride[axis] + k * w->dilation[axis]) - (int64_t)w->padding[axis];
}

#endif
