/* tensor/tensor.h: what viva_tensor is inside.
 *
 * A tensor is a shape over a storage; views share the storage. The storage keeps the runtime (memory, log) alive, not the
 * engine. Device memory will be another kind of storage with its own release function.
 */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include "base/runtime.h"
#include "viva/tensor.h"

typedef struct tensor_storage {
  _Atomic uint32_t references;
  runtime *rt; /* one reference */
  char *data;
  size_t bytes;
  viva_tensor_release_fn release; /* of wrapped memory; NULL: data is rt's, or the caller's */
  void *release_user;
  int owned; /* data came from rt's memory */
} tensor_storage;

struct viva_tensor {
  _Atomic uint32_t references;
  tensor_storage *storage;
  viva_dtype dtype; /* whole bytes only: F64 … BOOL, E4M3, E5M2, E8M0 */
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  int64_t strides[VIVA_TENSOR_MAX_RANK]; /* elements; may be 0 or negative */
  size_t elements;
  char *data; /* of element [0, 0, …], inside the storage */
};

/* As the public calls, on a runtime (retained by the storage). */
viva_status tensor_create(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                          viva_error *error);
viva_status tensor_wrap(runtime *rt, void *data, size_t bytes, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                        const int64_t *strides, viva_tensor_release_fn release, void *user, viva_tensor **out,
                        viva_error *error);

/* Bytes of one element, 0 for types a tensor cannot have. */
size_t tensor_element_bytes(viva_dtype dtype);

/* "[2, 576]" */
const char *tensor_shape_text(const viva_tensor *t, char buffer[128]);

/* to[0 … count) = elements [first, first + count) of row `row` of a 2-D tensor of F64, F32, F16 or BF16, as FP32 (F64
 * rounded to nearest). */
void tensor_row_f32(const viva_tensor *t, uint64_t row, uint64_t first, uint64_t count, float *to);

#endif
