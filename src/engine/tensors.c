/* engine/tensors.c: tensors in the memory of an engine. */
#include "base/options.h"
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

viva_tensor_memory viva_tensor_memory_default(void) { return (viva_tensor_memory){.size = sizeof(viva_tensor_memory)}; }

viva_status viva_tensor_wrap(viva_engine *engine, void *data, size_t bytes, viva_dtype dtype, uint32_t rank,
                             const uint64_t *shape, viva_tensor **tensor, viva_error *error) {
  const viva_tensor_memory memory = {.size = sizeof memory, .data = data, .bytes = bytes};
  TRY(need(engine, tensor, error));
  return tensor_wrap(engine->rt, NULL, &memory, dtype, rank, shape, tensor, error);
}

static viva_status check_switch(const char *name, int value, int most, viva_error *error) {
  if (value >= 0 && value <= most) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "%s is %d; expected 0%s", name, value, most ? " or 1" : "");
  return error_option(error, VIVA_E_ARGUMENT, name);
}

viva_status viva_tensor_wrap_memory(viva_engine *engine, const viva_tensor_memory *memory, viva_dtype dtype,
                                    uint32_t rank, const uint64_t *shape, viva_tensor **tensor, viva_error *error) {
  viva_tensor_memory m = viva_tensor_memory_default();
  TRY(need(engine, tensor, error));
  if (!memory) return error_set(error, VIVA_E_ARGUMENT, "memory is NULL; expected a description of the memory");
  TRY(options_read(&m, memory, "viva_tensor_memory", error));
  TRY(check_switch("on_device", m.on_device, 1, error));
  TRY(check_switch("reserved", m.reserved, 0, error));
  return tensor_wrap(engine->rt, m.on_device ? engine_device(engine) : NULL, &m, dtype, rank, shape, tensor, error);
}
