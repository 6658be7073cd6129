/* engine/tensor_dlpack.c: DLPack's tensors in the memory of an engine. */
#include "base/error.h"
#include "engine/engine.h"
#include "tensor/dlpack.h"

viva_status viva_tensor_from_dlpack(viva_engine *engine, struct DLManagedTensorVersioned *managed, viva_tensor **tensor,
                                    viva_error *error) {
  if (!tensor) return error_set(error, VIVA_E_ARGUMENT, "tensor is NULL; expected a place for the handle");
  *tensor = NULL;
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  return dlpack_import(engine->rt, engine_device(engine), managed, tensor, error);
}
