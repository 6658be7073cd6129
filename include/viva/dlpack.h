/* viva/dlpack.h: tensors to and from other libraries without a copy: DLPack 1.1 (github.com/dmlc/dlpack).
 *
 *   struct DLManagedTensorVersioned *managed;
 *   viva_tensor_to_dlpack(tensor, &managed, &error);       the receiver calls managed->deleter(managed) once, from any thread
 *   viva_tensor_from_dlpack(engine, managed, &tensor, &error);
 *
 * The struct is that of dlpack/dlpack.h, which a program that looks into it includes; this header needs it only by name.
 * A tensor in the memory of a device goes out and comes in as one: kDLCUDA and the GPU's index. Going out waits for what the
 * engine has queued there; what the producer has queued must be done before it comes in.
 */
#ifndef VIVA_DLPACK_H
#define VIVA_DLPACK_H

#include "viva/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct DLManagedTensorVersioned;

/* One more reference to the tensor's storage, held until the deleter is called. E2M1 has a code in each byte (the flag
 * SUBBYTE_PADDED). Errors: E_MEMORY. */
VIVA_API viva_status viva_tensor_to_dlpack(const viva_tensor *tensor, struct DLManagedTensorVersioned **managed,
                                           viva_error *error);

/* Takes managed over: its deleter is called when the last tensor that shares its memory is released. Memory that it calls
 * read-only is copied, and the deleter called at once. After a failure managed is still the caller's. Errors:
 * E_UNSUPPORTED (another major version, memory of a device that is not the engine's, a type that tensors do not have, more
 * than one lane, elements that share bytes), E_ARGUMENT (more than 8 axes, a negative size, not aligned), E_LIMIT,
 * E_MEMORY. */
VIVA_API viva_status viva_tensor_from_dlpack(viva_engine *engine, struct DLManagedTensorVersioned *managed,
                                             viva_tensor **tensor, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
