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
  int local; /* it is part of a tensor_local */
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

/* A storage and the first tensor over it; small elements lie behind both: one allocation for all. */
typedef struct tensor_first {
  tensor_storage storage;
  viva_tensor tensor;
} tensor_first;

/* Room for a tensor that lives no longer than a call, on the stack: small elements lie in it. */
enum { LOCAL_BYTES = 512 };
typedef struct tensor_local {
  tensor_first first;
  _Alignas(32) char elements[LOCAL_BYTES];
} tensor_local;

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
/* The same, in room when it is small and room is not NULL; released as all others, before room goes. */
viva_status tensor_empty_in(tensor_local *room, runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                            viva_tensor **out, viva_error *error);
viva_status tensor_wrap(runtime *rt, const tensor_device *device, const viva_tensor_memory *memory, viva_dtype dtype,
                        uint32_t rank, const uint64_t *shape, viva_tensor **out, viva_error *error);

/* Another shape over a storage, one more of whose references the tensor takes. offset: elements from its beginning to
 * element [0, 0, …]. */
viva_status tensor_over(tensor_storage *storage, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                        const int64_t *strides, int64_t offset, viva_tensor **out, viva_error *error);

/* Waits until what the device has been told to do with the memory is done. */
void storage_settle(const tensor_storage *s);

/* Bytes of one element, 0 for types a tensor cannot have. */
static inline size_t tensor_element_bytes(viva_dtype dtype) {
  static const uint8_t bytes[] = {
      [VIVA_F64] = 8,  [VIVA_F32] = 4,  [VIVA_F16] = 2,  [VIVA_BF16] = 2, [VIVA_I64] = 8,  [VIVA_I32] = 4,
      [VIVA_I16] = 2,  [VIVA_I8] = 1,   [VIVA_U64] = 8,  [VIVA_U32] = 4,  [VIVA_U16] = 2,  [VIVA_U8] = 1,
      [VIVA_BOOL] = 1, [VIVA_E4M3] = 1, [VIVA_E5M2] = 1, [VIVA_E8M0] = 1, [VIVA_E2M1] = 1, [VIVA_C64] = 0};
  return (size_t)dtype < sizeof bytes ? bytes[dtype] : 0;
}

/* "[2, 576]" */
const char *tensor_shape_text(const viva_tensor *t, char buffer[128]);

/* 1 when no two elements share memory (0 also where strides interleave in so many ways that nobody has looked at all). */
int tensor_distinct(const viva_tensor *t);
/* 1 when the memory that a spans, from its first byte to its last, meets that of b. */
int tensor_overlap(const viva_tensor *a, const viva_tensor *b);
/* The bytes between which all elements lie: *bytes from *first on. */
void tensor_span(const viva_tensor *t, char **first, size_t *bytes);

/* Row-major, without gaps. */
static inline int tensor_contiguous(const viva_tensor *t) {
  int64_t step = 1;
  if (t->elements == 0) return 1;
  for (uint32_t i = t->rank; i-- > 0; step *= (int64_t)t->shape[i])
    if (t->shape[i] != 1 && t->strides[i] != step) return 0;
  return 1;
}

/* F64, F32, F16 and BF16: what the conversions below can read. */
int tensor_is_real(viva_dtype dtype);

/* to[0 … count) = elements [first, first + count) of row `row` of a 2-D tensor of F64, F32, F16 or BF16, as FP32 (F64
 * rounded to nearest). */
void tensor_row_f32(const viva_tensor *t, uint64_t row, uint64_t first, uint64_t count, float *to);
/* to[rows][stride] = rows [row, row + rows), whole. Quick also when the columns are what is contiguous. */
void tensor_rows_f32(const viva_tensor *t, uint64_t row, uint64_t rows, float *to, size_t stride);

#endif
