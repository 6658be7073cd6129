/* format/safetensors/safetensors.h: writing safetensors files. (Reading is safetensors_read in checkpoint_build.h.) */
#ifndef FORMAT_SAFETENSORS_SAFETENSORS_H
#define FORMAT_SAFETENSORS_SAFETENSORS_H

#include "base/runtime.h"
#include "viva/checkpoint.h"

/* As viva_safetensors_write, on a given runtime. */
viva_status safetensors_write(runtime *rt, const char *path, const viva_tensor_data *tensors, size_t count,
                              const char *const *metadata, size_t metadata_count, viva_error *error);

#endif
