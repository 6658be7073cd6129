/* engine/tensor_device.c: tensors in the memory of an engine's device: the table that tensor/ goes through, and the calls. */
#include "engine/engine.h"
#include "tensor/operand.h"

/* -- the backend's memory */

static void retain(viva_engine *e) { viva_engine_retain(e); }
static void info(viva_engine *e, viva_device_info *to) { e->backend->ops->info(e->backend, to); }

static viva_status alloc(viva_engine *e, size_t bytes, void **dev, viva_error *error) {
  return e->backend->ops->alloc(e->backend, bytes, dev, error);
}

static void release_memory(viva_engine *e, void *dev) { e->backend->ops->free(e->backend, dev, NULL); }

static viva_status upload(viva_engine *e, void *dev, const void *host, size_t bytes, viva_error *error) {
  return e->backend->ops->upload(e->backend, dev, host, bytes, error);
}

static viva_status download(viva_engine *e, void *host, const void *dev, size_t bytes, viva_error *error) {
  return e->backend->ops->download(e->backend, host, dev, bytes, error);
}

static viva_status copy(viva_engine *e, void *dev_to, const void *dev_from, size_t bytes, viva_error *error) {
  return e->backend->ops->copy(e->backend, dev_to, dev_from, bytes, error);
}

void engine_make_device(viva_engine *e) {
  e->device = (tensor_device){.engine = e,
                              .retain = retain,
                              .release = viva_engine_release,
                              .info = info,
                              .alloc = alloc,
                              .free = release_memory,
                              .upload = upload,
                              .download = download,
                              .copy = copy};
}

const tensor_device *engine_device(const viva_engine *e) { return e->backend->host_memory ? NULL : &e->device; }

/* -- the calls */

static viva_status need(const viva_engine *engine, viva_error *error) {
  return engine ? VIVA_OK : error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
}

viva_engine *viva_tensor_engine(const viva_tensor *tensor) {
  return tensor && tensor->storage->device ? tensor->storage->device->engine : NULL;
}

viva_status viva_tensor_create_on_device(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                                         viva_tensor **tensor, viva_error *error) {
  TRY(operand_place(tensor, error));
  TRY(need(engine, error));
  return tensor_create_on(engine->rt, engine_device(engine), dtype, rank, shape, tensor, error);
}

viva_status viva_tensor_to_device(const viva_tensor *tensor, viva_engine *engine, viva_tensor **copied,
                                  viva_error *error) {
  TRY(operand_place(copied, error));
  TRY(need(engine, error));
  TRY(operand_given(tensor, "tensor", error));
  return device_from(engine->rt, engine_device(engine), tensor, copied, error);
}

viva_status viva_tensor_to_host(const viva_tensor *tensor, viva_tensor **copied, viva_error *error) {
  TRY(operand_place(copied, error));
  TRY(operand_given(tensor, "tensor", error));
  return device_to_host(tensor->storage->rt, tensor, copied, error);
}

viva_status viva_tensor_transfer(const viva_tensor *from, viva_tensor *to, viva_error *error) {
  TRY(operand_given(from, "from", error));
  TRY(operand_given(to, "to", error));
  if (from->dtype != to->dtype)
    return error_set(error, VIVA_E_DTYPE, "from holds %s and to %s; convert with viva_tensor_astype",
                     viva_dtype_name(from->dtype), viva_dtype_name(to->dtype));
  TRY(operand_target(to, "to", from->rank, from->shape, error));
  return device_transfer(from, to, error);
}
