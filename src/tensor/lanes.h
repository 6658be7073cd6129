/* tensor/lanes.h: operations that work along one axis: each lane becomes a dense row, the rows are shared out to the threads. */
#ifndef TENSOR_LANES_H
#define TENSOR_LANES_H

#include "tensor/operand.h"

/* One row: n elements of the input's type, m of each result's. scratch: for this thread alone. */
typedef void (*lane_fn)(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch);

typedef struct lanes {
  const viva_tensor *a;
  int32_t axis;
  viva_dtype type;     /* of rows as fn gets them */
  viva_dtype out_type; /* as fn writes them */
  viva_dtype result;   /* as the caller gets them */
  uint64_t length;     /* of the axis in the result */
  int second;          /* a second result, of I64 */
  size_t scratch;      /* bytes for each thread */
  lane_fn fn;
  const void *arg;
  const viva_tensor *beside[2]; /* what rows read beside a; may be NULL */
} lanes;

/* New tensors; each may be NULL. E_ARGUMENT (the axis), E_MEMORY. */
viva_status lanes_new(const lanes *l, viva_tensor **out, viva_tensor **second, viva_error *error);
/* Into tensors of the results' shapes, which may overlap what is read, not each other; each may be NULL. */
viva_status lanes_into(const lanes *l, viva_tensor *out, viva_tensor *second, viva_error *error);

#endif
