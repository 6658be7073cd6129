/* tensor/device.c: copies between the host's memory and a device's.
 *
 * What is row-major on the device is moved as it lies. What is not goes through a copy of the bytes that it spans, in the
 * host's memory, on which the CPU's operations on strides work. */
#include "tensor/device.h"

#include "base/error.h"
#include "tensor/operand.h"

#define ZEROS ((size_t)64 << 10) /* uploaded once; the rest is copied from them, twice as many each time */

viva_status device_refuse(const viva_tensor *t, const char *name, viva_error *error) {
  const tensor_device *device = t->storage->device;
  viva_device_info info = {.size = sizeof info};
  device->info(device->engine, &info);
  return error_set(error, VIVA_E_STATE,
                   "%s lies in the memory of the device %s, which the CPU cannot read; copy it to the host first "
                   "(viva_tensor_to_host)",
                   name, info.name);
}

viva_status device_zeros(const tensor_device *device, void *dev, size_t bytes, viva_error *error) {
  static const char zeros[ZEROS];
  size_t done = bytes < ZEROS ? bytes : ZEROS;
  if (done > 0) TRY(device->upload(device->engine, dev, zeros, done, error));
  while (done < bytes) {
    const size_t part = bytes - done < done ? bytes - done : done;
    TRY(device->copy(device->engine, (char *)dev + done, dev, part, error));
    done += part;
  }
  return VIVA_OK;
}

/* -- the bytes that a tensor spans */

typedef struct staging {
  runtime *rt;
  char *first; /* dev */
  void *memory;
  size_t bytes;
  viva_tensor host; /* the tensor, over memory; without a reference */
} staging;

static viva_status stage(const viva_tensor *t, staging *s, viva_error *error) {
  const tensor_device *device = t->storage->device;
  *s = (staging){.rt = t->storage->rt, .host = *t};
  tensor_span(t, &s->first, &s->bytes);
  s->memory = mem_alloc(&s->rt->mem, s->bytes);
  if (!s->memory) return error_set(error, VIVA_E_MEMORY, "no memory for a copy of %zu bytes", s->bytes);
  s->host.data = (char *)s->memory + (t->data - s->first);
  const viva_status status =
      s->bytes ? device->download(device->engine, s->memory, s->first, s->bytes, error) : VIVA_OK;
  if (status != VIVA_OK) mem_free(&s->rt->mem, s->memory);
  return status;
}

/* -- copies */

/* Into a row-major tensor of the host's. */
static viva_status download(const viva_tensor *t, const viva_tensor *to, viva_error *error) {
  const tensor_device *device = t->storage->device;
  const size_t bytes = t->elements * tensor_element_bytes(t->dtype);
  staging s;
  if (bytes == 0) return VIVA_OK;
  if (tensor_contiguous(t)) return device->download(device->engine, to->data, t->data, bytes, error);
  TRY(stage(t, &s, error));
  operand_move(to, &s.host);
  mem_free(&s.rt->mem, s.memory);
  return VIVA_OK;
}

/* From a row-major tensor of the host's. */
static viva_status upload(const viva_tensor *from, const viva_tensor *to, viva_error *error) {
  const tensor_device *device = to->storage->device;
  const size_t bytes = to->elements * tensor_element_bytes(to->dtype);
  staging s;
  if (bytes == 0) return VIVA_OK;
  if (tensor_contiguous(to)) return device->upload(device->engine, to->data, from->data, bytes, error);
  TRY(stage(to, &s, error)); /* with what lies between the elements */
  operand_move(&s.host, from);
  const viva_status status = device->upload(device->engine, s.first, s.memory, s.bytes, error);
  mem_free(&s.rt->mem, s.memory);
  return status;
}

viva_status device_to_host(runtime *rt, const viva_tensor *t, viva_tensor **copy, viva_error *error) {
  TRY(tensor_empty(rt, t->dtype, t->rank, t->shape, copy, error));
  viva_status status = VIVA_OK;
  if (t->storage->device)
    status = download(t, *copy, error);
  else
    operand_move(*copy, t);
  if (status != VIVA_OK) viva_tensor_release(*copy), *copy = NULL;
  return status;
}

viva_status device_from(runtime *rt, const tensor_device *device, const viva_tensor *t, viva_tensor **copy,
                        viva_error *error) {
  if (!device) return device_to_host(rt, t, copy, error);
  TRY(tensor_empty_on(rt, device, t->dtype, t->rank, t->shape, copy, error));
  const viva_status status = device_transfer(t, *copy, error);
  if (status != VIVA_OK) viva_tensor_release(*copy), *copy = NULL;
  return status;
}

/* *dense = from itself, retained, when it is row-major and the host's, and can be read while `to` is written. */
static viva_status bring(const viva_tensor *from, const viva_tensor *to, viva_tensor **dense, viva_error *error) {
  const int apart = to->storage->device || !operand_clashes(to, from);
  if (from->storage->device || !apart) return device_to_host(from->storage->rt, from, dense, error);
  return operand_dense(from, from->dtype, dense, error);
}

viva_status device_transfer(const viva_tensor *from, const viva_tensor *to, viva_error *error) {
  const tensor_device *device = to->storage->device;
  const int plain = tensor_contiguous(from) && tensor_contiguous(to) && !tensor_overlap(from, to);
  viva_tensor *dense;
  if (to->elements == 0) return VIVA_OK;
  if (device && from->storage->device == device && plain)
    return device->copy(device->engine, to->data, from->data, to->elements * tensor_element_bytes(to->dtype), error);
  TRY(bring(from, to, &dense, error));
  viva_status status = VIVA_OK;
  if (device)
    status = upload(dense, to, error);
  else
    operand_move(to, dense);
  viva_tensor_release(dense);
  return status;
}
