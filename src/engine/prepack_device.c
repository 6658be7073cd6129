/* engine/prepack_device.c: rows of a tensor to a device that packs them itself. */
#include "engine/prepack.h"
#include "tensor/view.h"

int prepack_by_device(const viva_engine *engine, const prepack_plan *plan) {
  return engine->backend->ops->pack_rows && !weight_dense(plan->spec.format) && !plan->keep &&
         plan->source->dtype != VIVA_F64;
}

viva_status prepack_slab(viva_engine *engine, const viva_tensor *source, const pack_spec *spec, size_t first,
                         size_t rows, void *dev, pack_place *bad, viva_error *error) {
  backend *b = engine->backend;
  const tensor_device *device = engine_device(engine);
  const viva_tensor part = view_part(source, 0, first, rows);
  viva_tensor *copy = NULL;
  if (source->storage->device != device) TRY(device_from(engine->rt, device, &part, &copy, error));
  const viva_tensor *there = copy ? copy : &part;
  const outer_rows values = {.dtype = there->dtype,
                             .data = there->data,
                             .row_stride = (ptrdiff_t)there->strides[0],
                             .col_stride = (ptrdiff_t)there->strides[1]};
  const viva_status status = b->ops->pack_rows(b, spec, (size_t)source->shape[0], (size_t)source->shape[1], dev, first,
                                               rows, &values, bad, error);
  viva_tensor_release(copy);
  return status;
}
