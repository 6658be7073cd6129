/* viva/tensor.h: arrays that go into and come out of the linear calls.
 *
 * A viva_tensor is an element type, a shape and strides over storage that tensors may share. It is reference-counted;
 * its shape never changes, and its elements must not be written while another thread reads them. The storage is memory
 * of the host, or of an engine's device where that is another (a GPU's): see the calls below viva_tensor_view.
 *
 *   uint64_t shape[2] = {in, out};                                    weights as the original has them: [in][out]
 *   viva_tensor *w, *turned;
 *   viva_tensor_wrap(engine, data, bytes, VIVA_F32, 2, shape, &w, &error);
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

/* A new tensor of zeros, row-major, in the host's memory, from the engine's allocator. It does not keep the engine
 * alive, and may outlive it. Errors: E_ARGUMENT (rank above 8, a type without whole bytes), E_LIMIT (the size
 * overflows), E_MEMORY.
 *
 * shape:  rank sizes, outermost first; a size may be 0; rank 0 is one element
 * tensor: receives one reference, ended by viva_tensor_release */
VIVA_API viva_status viva_tensor_create(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                                        viva_tensor **tensor, viva_error *error);

/* A row-major tensor over memory of the caller's, which must live as long as any tensor that shares it. Nothing is
 * copied; the memory is only written by calls that the tensor is given to as an output. Errors: as create; E_SIZE (the
 * shape reaches outside bytes), E_ARGUMENT (data not aligned to its element).
 *
 * data, bytes: the memory, element [0, 0, …] first */
VIVA_API viva_status viva_tensor_wrap(viva_engine *engine, void *data, size_t bytes, viva_dtype dtype, uint32_t rank,
                                      const uint64_t *shape, viva_tensor **tensor, viva_error *error);

/* Memory with more to say about it. */
typedef struct viva_tensor_memory {
  size_t size; /* sizeof(viva_tensor_memory) */
  void *data;  /* element [0, 0, …] first */
  size_t bytes;
  const int64_t *strides;         /* NULL: row-major; else elements from one index to the next, for each dimension (that
                                     of a dimension of size 1 is not kept); 0 repeats; negative ones are made by
                                     viva_tensor_view */
  viva_tensor_release_fn release; /* NULL: none. Gives the memory back; until then it must live */
  void *release_user;
  int32_t on_device; /* 1: data is in the memory of the engine's device, and what the caller has queued there is done */
  int32_t reserved;  /* 0 */
} viva_tensor_memory;

VIVA_API viva_tensor_memory viva_tensor_memory_default(void);

/* As viva_tensor_wrap. After a failure the memory is still the caller's: release is not called. */
VIVA_API viva_status viva_tensor_wrap_memory(viva_engine *engine, const viva_tensor_memory *memory, viva_dtype dtype,
                                             uint32_t rank, const uint64_t *shape, viva_tensor **tensor,
                                             viva_error *error);

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

/* -- the memory of a device
 *
 *   viva_tensor_to_device(x, engine, &there, &error);           on a GPU; an ordinary copy where the device is the CPU
 *   viva_linear(there, packed, NULL, NULL, &y, &error);         what goes in on the device comes out on the device
 *   viva_tensor_to_host(y, &here, &error);
 *
 * A tensor on a device keeps its engine alive. Views, the copies below, viva_prepack_* and viva_linear* take it; all
 * calls that compute or read on the CPU refuse it: E_STATE, naming the device. Errors of the calls below: as create;
 * E_MEMORY (of the device too), E_DEVICE. They wait until the copy is made. */

/* The engine on whose device the tensor lies; NULL: it lies in the host's memory (always, where the device is the CPU),
 * or tensor is NULL. Belongs to the tensor. */
VIVA_API viva_engine *viva_tensor_engine(const viva_tensor *tensor);

/* A new tensor of zeros, row-major, in the memory of the engine's device. */
VIVA_API viva_status viva_tensor_create_on_device(viva_engine *engine, viva_dtype dtype, uint32_t rank,
                                                  const uint64_t *shape, viva_tensor **tensor, viva_error *error);

/* A row-major copy in the memory of the engine's device, from the host, the same device or another one (through the
 * host). */
VIVA_API viva_status viva_tensor_to_device(const viva_tensor *tensor, viva_engine *engine, viva_tensor **copy,
                                           viva_error *error);

/* A row-major copy in the host's memory. */
VIVA_API viva_status viva_tensor_to_host(const viva_tensor *tensor, viva_tensor **copy, viva_error *error);

/* to = from, wherever the two lie; any strides, which may overlap. What is not row-major on a device goes through the
 * host. Errors: also E_SIZE (another shape), E_DTYPE (another type), E_ARGUMENT (elements of to share memory). */
VIVA_API viva_status viva_tensor_transfer(const viva_tensor *from, viva_tensor *to, viva_error *error);

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
  int32_t on_device;  /* 1: in the memory of a device that the CPU cannot read (viva_tensor_engine) */
} viva_tensor_desc;

VIVA_API viva_status viva_tensor_info(const viva_tensor *tensor, viva_tensor_desc *desc, viva_error *error);

/* Element [0, 0, …], an address of the device for a tensor that lies there; valid while the tensor lives. NULL for
 * NULL. */
VIVA_API void *viva_tensor_elements(const viva_tensor *tensor);

/* Copies all elements as FP32, row-major. Errors: E_SIZE (count is not the number of elements), E_DTYPE (not F64, F32,
 * F16 or BF16), E_STATE (it lies on a device). */
VIVA_API viva_status viva_tensor_to_f32(const viva_tensor *tensor, float *values, size_t count, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
