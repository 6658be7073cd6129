/* engine/linear.c: the viva_linear calls. */
#include "engine/linear.h"

viva_linear_options viva_linear_options_default(void) {
  return (viva_linear_options){.size = sizeof(viva_linear_options)};
}

viva_epilogue viva_epilogue_default(void) { return (viva_epilogue){.size = sizeof(viva_epilogue)}; }

/* A new tensor like the input, with the weight's out as its last size; or into with one more reference. */
static viva_status make_output(const linear_request *request, const linear_job *job, viva_dtype dtype,
                               viva_tensor *into, viva_tensor **out, viva_error *error) {
  *out = viva_tensor_retain(into);
  if (into) return VIVA_OK;
  const viva_tensor *input = request->input;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  const uint32_t rank = input->rank;
  for (uint32_t i = 0; i < rank; i++) shape[i] = input->shape[i];
  shape[rank - 1] = job->n;
  return tensor_empty_on(job->engine->rt, input->storage->device, dtype, rank, shape, out, error);
}

/* Writes out, which may lie on the host while the products are made on a device. */
static viva_status run(linear_job *job, viva_tensor *out, viva_error *error) {
  const tensor_device *device = engine_device(job->engine);
  viva_tensor *there = NULL;
  if (out->storage->device != device)
    TRY(tensor_empty_on(job->engine->rt, device, out->dtype, out->rank, out->shape, &there, error));
  job->output = tensor_rows_of(there ? there : out);
  viva_status status = linear_run(job, error);
  if (status == VIVA_OK && there) status = device_transfer(there, out, error);
  viva_tensor_release(there);
  return status;
}

static viva_status call(const linear_kind *kind, const linear_request *request, viva_error *error) {
  linear_job job;
  linear_held held;
  viva_linear_options o;
  viva_dtype dtype;
  viva_tensor *out;
  if (request->output) *request->output = NULL;
  TRY(linear_check(kind, request, &job, &dtype, &o, error));
  job.counts = o.overflows != NULL;
  TRY(make_output(request, &job, dtype, o.into, &out, error));
  viva_status status = linear_bring(&job, &held, error);
  if (status == VIVA_OK) status = run(&job, out, error);
  linear_drop(&held);
  if (status == VIVA_OK && job.counts) *o.overflows += job.overflows;
  if (status == VIVA_OK && request->output)
    *request->output = out;
  else
    viva_tensor_release(out);
  return status;
}

/* A call with one weight. */
static viva_status call_one(const linear_kind *kind, viva_epilogue_kind after, const viva_tensor *input,
                            const viva_packed_weight *packed, const viva_tensor *bias,
                            const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  viva_epilogue epilogue = viva_epilogue_default();
  epilogue.kind = after, epilogue.bias = bias;
  const linear_request request = {input, packed, &epilogue, options, output};
  return call(kind, &request, error);
}

viva_status viva_linear_fp8(const viva_tensor *input, const viva_packed_weight *packed, const viva_tensor *bias,
                            const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  static const linear_kind kind = {"viva_linear_fp8", "weight", 0, WEIGHT_FP8, VIVA_ACT_FP8, 0};
  return call_one(&kind, VIVA_EPILOGUE_NONE, input, packed, bias, options, output, error);
}

viva_status viva_linear_fp8_w8a16(const viva_tensor *input, const viva_packed_weight *packed, const viva_tensor *bias,
                                  const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  static const linear_kind kind = {"viva_linear_fp8_w8a16", "weight", 0, WEIGHT_FP8, VIVA_ACT_16, 1};
  return call_one(&kind, VIVA_EPILOGUE_NONE, input, packed, bias, options, output, error);
}

viva_status viva_linear_gelu_fp8(const viva_tensor *input, const viva_packed_weight *packed, const viva_tensor *bias,
                                 const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  static const linear_kind kind = {"viva_linear_gelu_fp8", "weight", 0, WEIGHT_FP8, VIVA_ACT_FP8, 0};
  return call_one(&kind, VIVA_EPILOGUE_GELU_TANH, input, packed, bias, options, output, error);
}

viva_status viva_linear_swiglu_fp8(const viva_tensor *input, const viva_packed_weight *gate,
                                   const viva_packed_weight *up, const viva_tensor *bias,
                                   const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  static const linear_kind kind = {"viva_linear_swiglu_fp8", "gate", 0, WEIGHT_FP8, VIVA_ACT_FP8, 0};
  viva_epilogue epilogue = viva_epilogue_default();
  epilogue.kind = VIVA_EPILOGUE_SWIGLU, epilogue.up = up, epilogue.after_bias = bias;
  const linear_request request = {input, gate, &epilogue, options, output};
  return call(&kind, &request, error);
}

viva_status viva_linear_int8_sparse(const viva_tensor *input, const viva_packed_weight *packed, const viva_tensor *bias,
                                    const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  static const linear_kind kind = {"viva_linear_int8_sparse", "weight", 0, WEIGHT_INT8_24, VIVA_ACT_INT8, 0};
  return call_one(&kind, VIVA_EPILOGUE_NONE, input, packed, bias, options, output, error);
}

viva_status viva_linear_int4_sparse(const viva_tensor *input, const viva_packed_weight *packed, const viva_tensor *bias,
                                    const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  static const linear_kind kind = {"viva_linear_int4_sparse", "weight", 0, WEIGHT_INT4_24, VIVA_ACT_INT8, 0};
  return call_one(&kind, VIVA_EPILOGUE_NONE, input, packed, bias, options, output, error);
}

viva_status viva_linear_nvfp4(const viva_tensor *input, const viva_packed_weight *packed, const viva_tensor *bias,
                              const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  static const linear_kind kind = {"viva_linear_nvfp4", "weight", 0, WEIGHT_NVFP4, VIVA_ACT_16, 0};
  return call_one(&kind, VIVA_EPILOGUE_NONE, input, packed, bias, options, output, error);
}

viva_status viva_linear(const viva_tensor *input, const viva_packed_weight *packed, const viva_epilogue *epilogue,
                        const viva_linear_options *options, viva_tensor **output, viva_error *error) {
  static const linear_kind kind = {"viva_linear", "weight", 1, WEIGHT_F32, VIVA_ACT_16, 0};
  const linear_request request = {input, packed, epilogue, options, output};
  return call(&kind, &request, error);
}
