/* tensor/tensor.h: what viva_tensor is inside.
 *
 * A tensor is a shape over a storage; views share the storage. The storage keeps the runtime (memory, log) alive, not the
 * engine; only one in the memory of a device (device.h) keeps the engine, whose device it is.
 */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include "base/runtime.h"
#include "tensor/device.h"

typedef struct tensor_storage {
  _Atomic uint32_t references;
  runtime *rt;                 /* one reference */
  const tensor_device *device; /* whose memory data is, and one reference to its engine; NULL: the host's */
  char *data;
  size_t bytes;
  viva_tensor_release_fn release; /* of wrapped memory; NULL: data is owned, or the caller's */
  void *release_user;
  int owned; /* data came by itself from rt's memory, or from the device's */
} tensor_storage;

struct viva_tensor {
  _Atomic uint32_t references;
  tensor_storage *storage;
  viva_dtype dtype; /* whole bytes only: F64 … BOOL, E4M3, E5M2, E8M0, E2M1 (a code in each byte) */
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  int64_t strides[VIVA_TENSOR_MAX_RANK]; /* elements; may be 0 or negative; of no effect where the shape is 1 */
  size_t elements;
  char *data; /* of element [0, 0, …], inside the storage */
};

/* As the public calls, on a runtime (retained by the storage). device NULL: in the host's memory. */
viva_status tensor_create(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                          viva_error *error);
viva_status tensor_create_on(runtime *rt, const tensor_device *device, viva_dtype dtype, uint32_t rank,
                             const uint64_t *shape, viva_tensor **out, viva_error *error);
/* The same with undefined elements: for results that are about to be written. */
viva_status tensor_empty(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                         viva_error *error);
viva_status tensor_empty_on(runtime *rt, const tensor_device *device, viva_dtype dtype, uint32_t rank,
                            const uint64_t *shape, viva_tensor **out, viva_error *error);
viva_status tensor_wrap(runtime *rt, const tensor_device *device, const viva_tensor_memory *memory, viva_dtype dtype,
                        uint32_t rank, const uint64_t *shape, viva_tensor **out, viva_error *error);

/* Another shape over a storage, one more of whose references the tensor takes. offset: elements from its beginning to
 * element [0, 0, …]. */
viva_status tensor_over(tensor_storage *storage, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                        const int64_t *strides, int64_t offset, viva_tensor **out, viva_error *error);

/* Bytes of one element, 0 for types a tensor cannot have. */
size_t tensor_element_bytes(viva_dtype dtype);

/* "[2, 576]" */
const char *tensor_shape_text(const viva_tensor *t, char buffer[128]);

/* 1 when no two elements share memory (0 may also be said of strange strides that interleave). */
int tensor_distinct(const viva_tensor *t);
/* 1 when the memory that a spans, from its first byte to its last, meets that of b. */
int tensor_overlap(const viva_tensor *a, const viva_tensor *b);
/* The bytes between which all elements lie: *bytes from *first on. */
void tensor_span(const viva_tensor *t, char **first, size_t *bytes);

/* F64, F32, F16 and BF16: what the conversions below can read. */
int tensor_is_real(viva_dtype dtype);

/* to[0 … count) = elements [first, first + count) of row `row` of a 2-D tensor of F64, F32, F16 or BF16, as FP32 (F64
 * rounded to nearest). */
void tensor_row_f32(const viva_tensor *t, uint64_t row, uint64_t first, uint64_t count, float *to);
/* to[rows][stride] = rows [row, row + rows), whole. Quick also when the columns are what is contiguous. */
void tensor_rows_f32(const viva_tensor *t, uint64_t row, uint64_t rows, float *to, size_t stride);

#endif
