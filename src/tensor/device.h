/* tensor/device.h: memory that the host cannot read, as tensors see it: a table that engine/ fills from its backend, and the
 * copies between the two sides. The CPU's memory has no table: NULL.
 */
#ifndef TENSOR_DEVICE_H
#define TENSOR_DEVICE_H

#include "viva/tensor.h"

typedef struct runtime runtime; /* base/runtime.h */

/* One for each engine. A storage on the device retains it when it is made and releases it after its memory is freed. */
typedef struct tensor_device {
  viva_engine *engine; /* the first argument of all */
  void (*retain)(viva_engine *engine);
  void (*release)(viva_engine *engine);
  void (*info)(viva_engine *engine, viva_device_info *info); /* for messages */
  /* In the order of the calls. bytes is not 0. */
  viva_status (*alloc)(viva_engine *engine, size_t bytes, void **dev, viva_error *error);
  void (*free)(viva_engine *engine, void *dev);
  viva_status (*upload)(viva_engine *engine, void *dev, const void *host, size_t bytes, viva_error *error);
  viva_status (*download)(viva_engine *engine, void *host, const void *dev, size_t bytes,
                          viva_error *error); /* waits */
  viva_status (*copy)(viva_engine *engine, void *dev_to, const void *dev_from, size_t bytes, viva_error *error);
} tensor_device;

/* E_STATE for a tensor that the CPU cannot read: names it, its device and the remedy. */
viva_status device_refuse(const viva_tensor *t, const char *name, viva_error *error);

viva_status device_zeros(const tensor_device *device, void *dev, size_t bytes, viva_error *error);

/* Row-major copies in the host's memory (of rt) and in the device's (NULL: likewise the host's). */
viva_status device_to_host(runtime *rt, const viva_tensor *t, viva_tensor **copy, viva_error *error);
viva_status device_from(runtime *rt, const tensor_device *device, const viva_tensor *t, viva_tensor **copy,
                        viva_error *error);

/* viva_tensor_transfer, of checked tensors: the same shape and type, elements of to apart. */
viva_status device_transfer(const viva_tensor *from, const viva_tensor *to, viva_error *error);

#endif
