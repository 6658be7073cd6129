/* engine/tensor_create.c: tensors of given values in the memory of an engine. */
#include <math.h>

#include "engine/engine.h"
#include "tensor/create.h"
#include "viva/tensor_ops.h"

static viva_status need(const viva_engine *engine, viva_tensor **out, viva_error *error) {
  if (!out) return error_set(error, VIVA_E_ARGUMENT, "out is NULL; expected a place for the handle");
  *out = NULL;
  return engine ? VIVA_OK : error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
}

viva_status viva_tensor_full(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape, double value,
                             viva_tensor **out, viva_error *error) {
  TRY(need(engine, out, error));
  return create_full(engine->rt, dtype, rank, shape, value, out, error);
}

viva_status viva_tensor_full_like(const viva_tensor *a, viva_dtype dtype, double value, viva_tensor **out,
                                  viva_error *error) {
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  return create_full(a->storage->rt, dtype == VIVA_DTYPE_NONE ? a->dtype : dtype, a->rank, a->shape, value, out, error);
}

viva_status viva_tensor_from_data(viva_engine *engine, const void *data, size_t bytes, viva_dtype dtype, uint32_t rank,
                                  const uint64_t *shape, viva_tensor **out, viva_error *error) {
  TRY(need(engine, out, error));
  return create_from_data(engine->rt, data, bytes, dtype, rank, shape, out, error);
}

viva_status viva_tensor_arange(viva_engine *engine, viva_dtype dtype, double start, double stop, double step,
                               viva_tensor **out, viva_error *error) {
  TRY(need(engine, out, error));
  return create_arange(engine->rt, dtype, start, stop, step, out, error);
}

viva_status viva_tensor_linspace(viva_engine *engine, viva_dtype dtype, double start, double stop, uint64_t count,
                                 viva_tensor **out, viva_error *error) {
  TRY(need(engine, out, error));
  return create_linspace(engine->rt, dtype, start, stop, count, out, error);
}

viva_status viva_tensor_logspace(viva_engine *engine, viva_dtype dtype, double start, double stop, uint64_t count,
                                 double base, viva_tensor **out, viva_error *error) {
  TRY(need(engine, out, error));
  return create_logspace(engine->rt, dtype, start, stop, count, base, out, error);
}

viva_status viva_tensor_eye(viva_engine *engine, viva_dtype dtype, uint64_t rows, uint64_t columns, int64_t k,
                            viva_tensor **out, viva_error *error) {
  TRY(need(engine, out, error));
  return create_eye(engine->rt, dtype, rows, columns, k, out, error);
}

viva_status viva_tensor_random(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                               const viva_random_options *options, viva_tensor **out, viva_error *error) {
  viva_random_options o;
  TRY(need(engine, out, error));
  TRY(create_random_options(&o, options, error));
  return create_random(engine->rt, dtype, rank, shape, &o, out, error);
}

viva_status viva_tensor_xavier(viva_engine *engine, viva_dtype dtype, uint64_t inputs, uint64_t outputs, uint64_t seed,
                               viva_tensor **out, viva_error *error) {
  const uint64_t shape[2] = {outputs, inputs};
  viva_random_options o = viva_random_options_default();
  o.seed = seed;
  o.high = inputs || outputs ? sqrt(6.0 / ((double)inputs + (double)outputs)) : 0, o.low = -o.high; /* 0: no elements */
  return viva_tensor_random(engine, dtype, 2, shape, &o, out, error);
}

viva_status viva_tensor_he(viva_engine *engine, viva_dtype dtype, uint64_t inputs, uint64_t outputs, uint64_t seed,
                           viva_tensor **out, viva_error *error) {
  const uint64_t shape[2] = {outputs, inputs};
  viva_random_options o = viva_random_options_default();
  o.seed = seed;
  o.distribution = VIVA_NORMAL, o.deviation = inputs ? sqrt(2.0 / (double)inputs) : 0;
  return viva_tensor_random(engine, dtype, 2, shape, &o, out, error);
}
