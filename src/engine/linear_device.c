/* engine/linear_device.c: what a linear call is given, in the memory in which its engine computes. */
#include "engine/linear.h"

/* *t stays when it lies there already, else is replaced by a row-major copy, which is *held. */
static viva_status bring(viva_engine *engine, const viva_tensor **t, viva_tensor **held, viva_error *error) {
  const tensor_device *device = engine_device(engine);
  if (!*t || (*t)->storage->device == device) return VIVA_OK;
  TRY(device_from(engine->rt, device, *t, held, error));
  *t = *held;
  return VIVA_OK;
}

viva_status linear_bring(linear_job *job, linear_held *held, viva_error *error) {
  const viva_tensor *input = job->input.tensor;
  *held = (linear_held){0};
  TRY(bring(job->engine, &input, &held->input, error));
  TRY(bring(job->engine, &job->bias, &held->bias, error));
  TRY(bring(job->engine, &job->up_bias, &held->up_bias, error));
  TRY(bring(job->engine, &job->after_bias, &held->after_bias, error));
  job->input = tensor_rows_of(input);
  return VIVA_OK;
}

void linear_drop(linear_held *held) {
  viva_tensor_release(held->input);
  viva_tensor_release(held->bias);
  viva_tensor_release(held->up_bias);
  viva_tensor_release(held->after_bias);
  *held = (linear_held){0};
}
