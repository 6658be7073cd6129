/* tensor/conv.h: one conv2d. */
#ifndef TENSOR_CONV_H
#define TENSOR_CONV_H

#include "tensor/window.h"

typedef struct conv {
  window w;
  viva_dtype type;                    /* F64, F32 or I64 */
  uint64_t groups, outputs, channels; /* the last two: of one group */
  const char *a, *kernels;            /* dense */
  char *columns, *to;
  uint64_t rows; /* of a band */
  size_t element;
} conv;

/* to = one plane of results from the planes of a group under one kernel, one by one; bias: a single element, or NULL. */
void conv_few(const conv *c, const void *planes, const void *kernel, const void *bias, void *to);

#endif
