/* engine/tensors.c: tensors in the memory of an engine. */
#include "engine/engine.h"
#include "tensor/tensor.h"

static viva_status need(const viva_engine *engine, viva_tensor **tensor, viva_error *error) {
  if (!tensor) return error_set(error, VIVA_E_ARGUMENT, "tensor is NULL; expected a place for the handle");
  *tensor = NULL;
  return engine ? VIVA_OK : error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
}

viva_status viva_tensor_create(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                               viva_tensor **tensor, viva_error *error) {
  TRY(need(engine, tensor, error));
  return tensor_create(engine->rt, dtype, rank, shape, tensor, error);
}

viva_status viva_tensor_wrap(viva_engine *engine, void *data, size_t bytes, viva_dtype dtype, uint32_t rank,
                             const uint64_t *shape, const int64_t *strides, viva_tensor_release_fn release,
                             void *release_user, viva_tensor **tensor, viva_error *error) {
  TRY(need(engine, tensor, error));
  return tensor_wrap(engine->rt, data, bytes, dtype, rank, shape, strides, release, release_user, tensor, error);
}
