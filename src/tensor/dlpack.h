/* tensor/dlpack.h: DLPack's structs, as dlpack.h of version 1.1 lays them out, and the import on a runtime. */
#ifndef TENSOR_DLPACK_H
#define TENSOR_DLPACK_H

#include "tensor/operand.h"
#include "viva/dlpack.h"

enum { DLPACK_MAJOR = 1, DLPACK_MINOR = 1 };
enum { DLPACK_READ_ONLY = 1, DLPACK_SUBBYTE_PADDED = 4 }; /* flags */
/* Devices. The host reads the memory of CPU and CUDA_HOST; EXTENSION: one that is no GPU of CUDA's. */
enum { DLPACK_CPU = 1, DLPACK_CUDA = 2, DLPACK_CUDA_HOST = 3, DLPACK_EXTENSION = 12 };

typedef struct dlpack_tensor {
  void *data;
  int32_t device_type, device_id;
  int32_t rank;
  uint8_t code, bits; /* of an element's type */
  uint16_t lanes;
  int64_t *shape, *strides; /* strides in elements; NULL: row-major */
  uint64_t byte_offset;
} dlpack_tensor;

typedef struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void *manager;
  void (*deleter)(struct DLManagedTensorVersioned *self);
  uint64_t flags;
  dlpack_tensor tensor;
} dlpack_managed;

_Static_assert(sizeof(void *) != 8 || sizeof(dlpack_managed) == 80, "DLManagedTensorVersioned has 80 bytes");

/* device: that of the engine, NULL where it is the host's memory. */
viva_status dlpack_import(runtime *rt, const tensor_device *device, dlpack_managed *managed, viva_tensor **out,
                          viva_error *error);

#endif
