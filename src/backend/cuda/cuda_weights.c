/* backend/cuda/cuda_weights.c: second forms of weights: in the order of pack/gemv_order.h, made on the device. The first form
 * stays: large products read it. F32 has no second form. */
#include "backend/cuda/cuda.h"

static size_t ordered_bytes(const weight *w) {
  return w->format == WEIGHT_F32 ? 0 : cuda_align(gemv_order_of(w).bytes);
}

size_t cuda_weight_bytes(backend *b, const weight *group, size_t count) {
  size_t bytes = 0;
  (void)b;
  for (size_t i = 0; i < count; i++) bytes += ordered_bytes(&group[i]);
  return bytes;
}

static viva_status prepare(cuda_backend *c, weight *group, size_t count, void *dev, viva_error *error) {
  uint8_t *at = dev;
  for (size_t i = 0; i < count; i++) {
    const size_t bytes = ordered_bytes(&group[i]);
    group[i].prepared = bytes ? at : NULL;
    if (bytes)
      TRY(cuda_check(c, (cudaError_t)c->kernels->order_weight(&group[i], at, c->stream), "ordering a weight", error));
    at += bytes;
  }
  return VIVA_OK;
}

viva_status cuda_weight_prepare(backend *b, weight *group, size_t count, void *dev, viva_error *error) {
  CUDA_CALL(b, prepare(cuda_of(b), group, count, dev, error));
}
