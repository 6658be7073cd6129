/* viva/tensor.h: arrays that go into and come out of the linear calls.
 *
 * A viva_tensor is an element type, a shape and strides over storage that tensors may share. It is reference-counted;
 * its shape never changes, and its elements must not be written while another thread reads them.
 *
 *   uint64_t shape[2] = {in, out};                                    weights as the original has them: [in][out]
 *   viva_tensor *w, *turned;
 *   viva_tensor_wrap(engine, data, bytes, VIVA_F32, 2, shape, NULL, NULL, NULL, &w, &error);
 *   viva_tensor_transpose(w, 0, 1, &turned, &error);                  [out][in], nothing is copied
 */
#ifndef VIVA_TENSOR_H
#define VIVA_TENSOR_H

#include "viva/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VIVA_TENSOR_MAX_RANK 8

typedef struct viva_tensor viva_tensor;

/* Called once, when the last tensor that shares a wrapped memory is released; from any thread. */
typedef void (*viva_tensor_release_fn)(void *user, void *data);

/* A new tensor of zeros, row-major, in memory from the engine's allocator. It does not keep the engine alive, and may
 * outlive it. Errors: E_ARGUMENT (rank above 8, a type without whole bytes), E_LIMIT (the size overflows), E_MEMORY.
 *
 * shape:  rank sizes, outermost first; a size may be 0; rank 0 is one element
 * tensor: receives one reference, ended by viva_tensor_release */
VIVA_API viva_status viva_tensor_create(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                                        viva_tensor **tensor, viva_error *error);

/* A tensor over the caller's memory, which must live until release is called (or, without one, as long as any tensor
 * that shares it). Nothing is copied; the memory is only written by calls that the tensor is given to as an output.
 * Errors: as create; E_SIZE (shape and strides reach outside bytes), E_ARGUMENT (data not aligned to its element).
 *
 * data, bytes: the memory, element [0, 0, …] first
 * strides:     NULL: row-major; else elements from one index to the next, for each of rank dimensions (that of a
 *              dimension of size 1 is not kept); 0 repeats; negative ones are made by viva_tensor_view
 * release:     NULL: none */
VIVA_API viva_status viva_tensor_wrap(viva_engine *engine, void *data, size_t bytes, viva_dtype dtype, uint32_t rank,
                                      const uint64_t *shape, const int64_t *strides, viva_tensor_release_fn release,
                                      void *release_user, viva_tensor **tensor, viva_error *error);

/* One more reference; returns it. Thread-safe. */
VIVA_API viva_tensor *viva_tensor_retain(viva_tensor *tensor);
VIVA_API void viva_tensor_release(viva_tensor *tensor); /* NULL is allowed. Thread-safe */

/* Another shape over the same storage: element [i, j, …] is at offset + i·strides[0] + j·strides[1] + … elements from
 * the storage's beginning. strides NULL: row-major. Errors: E_ARGUMENT, E_SIZE (it reaches outside the storage),
 * E_MEMORY. */
VIVA_API viva_status viva_tensor_view(const viva_tensor *tensor, uint32_t rank, const uint64_t *shape,
                                      const int64_t *strides, int64_t offset, viva_tensor **view, viva_error *error);
/* Axes a and b exchanged. */
VIVA_API viva_status viva_tensor_transpose(const viva_tensor *tensor, uint32_t a, uint32_t b, viva_tensor **view,
                                           viva_error *error);
/* Indices [start, start + length) of one axis. */
VIVA_API viva_status viva_tensor_slice(const viva_tensor *tensor, uint32_t axis, uint64_t start, uint64_t length,
                                       viva_tensor **view, viva_error *error);

/* What a tensor is. */
typedef struct viva_tensor_desc {
  size_t size; /* sizeof(viva_tensor_desc), set by the caller before the call */
  viva_dtype dtype;
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  int64_t strides[VIVA_TENSOR_MAX_RANK]; /* elements */
  uint64_t elements;
  uint64_t bytes;     /* elements × size of one */
  int32_t contiguous; /* row-major without gaps */
  int32_t reserved;
} viva_tensor_desc;

VIVA_API viva_status viva_tensor_describe(const viva_tensor *tensor, viva_tensor_desc *desc, viva_error *error);

/* Element [0, 0, …]; valid while the tensor lives. NULL for NULL. */
VIVA_API void *viva_tensor_elements(const viva_tensor *tensor);

/* Copies all elements as FP32, row-major. Errors: E_SIZE (count is not the number of elements), E_DTYPE (not F64, F32,
 * F16 or BF16). */
VIVA_API viva_status viva_tensor_to_f32(const viva_tensor *tensor, float *values, size_t count, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
