/* engine/tensor_rows.c */
#include "engine/tensor_rows.h"

tensor_rows tensor_rows_of(const viva_tensor *t) {
  const uint32_t last = t->rank - 1;
  tensor_rows f = {.tensor = t,
                   .cols = (size_t)t->shape[last],
                   .col_stride = (ptrdiff_t)t->strides[last],
                   .rows = t->elements / (size_t)t->shape[last],
                   .run = 1,
                   .outer = last};
  for (; f.outer > 0; f.outer--) {
    const size_t size = (size_t)t->shape[f.outer - 1];
    const ptrdiff_t stride = (ptrdiff_t)t->strides[f.outer - 1];
    if (size == 1) continue;
    if (f.run > 1 && stride != f.row_stride * (ptrdiff_t)f.run) break;
    if (f.run == 1) f.row_stride = stride;
    f.run *= size;
  }
  return f;
}

size_t tensor_rows_at(const tensor_rows *f, size_t row, size_t most, outer_rows *out) {
  const viva_tensor *t = f->tensor;
  size_t index = row / f->run;
  const size_t within = row % f->run;
  ptrdiff_t at = (ptrdiff_t)within * f->row_stride;
  for (uint32_t i = f->outer; i-- > 0; index /= (size_t)t->shape[i])
    at += (ptrdiff_t)(index % (size_t)t->shape[i]) * (ptrdiff_t)t->strides[i];
  *out = (outer_rows){.dtype = t->dtype,
                      .data = t->data + at * (ptrdiff_t)tensor_element_bytes(t->dtype),
                      .row_stride = f->row_stride,
                      .col_stride = f->col_stride};
  return f->run - within < most ? f->run - within : most;
}
