/* engine/linear_check.c: everything that a linear call refuses, each with its own message. */
#include "base/options.h"
#include "engine/linear.h"

static viva_status missing(const char *item, const char *expected, viva_error *error) {
  error_set(error, VIVA_E_ARGUMENT, "%s is NULL; expected %s", item, expected);
  return error_option(error, VIVA_E_ARGUMENT, item);
}

/* What products take and give. */
static int is_activation(viva_dtype dtype) { return dtype == VIVA_F32 || dtype == VIVA_F16 || dtype == VIVA_BF16; }

static viva_status check_dtype(const viva_tensor *t, const char *item, viva_error *error) {
  if (is_activation(t->dtype)) return VIVA_OK;
  error_set(error, VIVA_E_DTYPE, "%s holds %s; expected F32, F16 or BF16", item, viva_dtype_name(t->dtype));
  return error_option(error, VIVA_E_DTYPE, item);
}

/* A tensor on a device is on that of the weight's engine; the host's may come from anywhere. */
static viva_status check_place(const linear_job *job, const viva_tensor *t, const char *item, viva_error *error) {
  if (!t->storage->device || t->storage->device == engine_device(job->engine)) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT,
            "%s lies on the device of another engine than the weight's; copy it there (viva_tensor_to_device)", item);
  return error_option(error, VIVA_E_ARGUMENT, item);
}

/* -- options and modes */

static viva_status read_mode(const linear_kind *kind, viva_activation_mode act, size_t k, input_mode *mode,
                             viva_error *error) {
  static const input_mode modes[] = {[VIVA_ACT_16] = INPUT_FLOAT,
                                     [VIVA_ACT_FP8] = INPUT_E4M3,
                                     [VIVA_ACT_INT8] = INPUT_INT8,
                                     [VIVA_ACT_INT4] = INPUT_INT4};
  if (act < VIVA_ACT_AUTO || act > VIVA_ACT_INT4) {
    error_set(error, VIVA_E_ARGUMENT, "act is %d; expected 0 (auto) to %d", (int)act, (int)VIVA_ACT_INT4);
    return error_option(error, VIVA_E_ARGUMENT, "act");
  }
  if (kind->only_16 && act != VIVA_ACT_AUTO && act != VIVA_ACT_16) {
    error_set(error, VIVA_E_ARGUMENT, "%s takes the input as it is: act must be AUTO or 16", kind->name);
    return error_option(error, VIVA_E_ARGUMENT, "act");
  }
  *mode = modes[act == VIVA_ACT_AUTO ? kind->automatic : act];
  if ((*mode != INPUT_INT8 && *mode != INPUT_INT4) || k <= INPUT_INT8_MOST_K) return VIVA_OK;
  error_set(error, VIVA_E_LIMIT, "the weight's in is %zu; sums of integer inputs are exact up to %zu; use another act",
            k, INPUT_INT8_MOST_K);
  return error_option(error, VIVA_E_LIMIT, "act");
}

/* -- weights */

static viva_status check_format(const linear_kind *kind, const weight *w, const weight *up, viva_error *error) {
  char have[PACKED_NAME_BYTES], other[PACKED_NAME_BYTES], wanted[PACKED_NAME_BYTES];
  if (kind->any || w->format == kind->format || (up && up->format == kind->format)) return VIVA_OK;
  const weight example = {.format = kind->format,
                          .block = kind->format == WEIGHT_INT4_24 ? 128 : 0,
                          .scales_type = kind->format == WEIGHT_NVFP4     ? SCALE_E4M3
                                         : kind->format == WEIGHT_INT4_24 ? SCALE_F16
                                                                          : SCALE_F32};
  packed_name(&example, wanted);
  if (up)
    error_set(error, VIVA_E_ARGUMENT, "%s needs a weight of %s; gate is %s and up is %s (viva_linear takes any)",
              kind->name, wanted, packed_name(w, have), packed_name(up, other));
  else
    error_set(error, VIVA_E_ARGUMENT, "%s takes weights of %s; this one is %s (viva_linear takes any)", kind->name,
              wanted, packed_name(w, have));
  return error_option(error, VIVA_E_ARGUMENT, kind->item);
}

static viva_status check_up(const linear_job *job, const viva_packed_weight *up, viva_error *error) {
  if (up->engine != job->engine) {
    error_set(error, VIVA_E_ARGUMENT, "gate and up live on different engines; pack both on one");
    return error_option(error, VIVA_E_ARGUMENT, "up");
  }
  if (up->w.rows == job->n && up->w.cols == job->k) return VIVA_OK;
  error_set(error, VIVA_E_SIZE, "up is %zu x %zu [out, in]; gate is %zu x %zu", up->w.rows, up->w.cols, job->n, job->k);
  return error_option(error, VIVA_E_SIZE, "up");
}

/* -- epilogue */

static viva_status check_bias(const linear_job *job, const viva_tensor *bias, const char *item, viva_error *error) {
  char text[128];
  if (!bias) return VIVA_OK;
  if (bias->rank != 1 || bias->shape[0] != job->n) {
    error_set(error, VIVA_E_SIZE, "%s has the shape %s; expected [%zu], one for each output of the weight", item,
              tensor_shape_text(bias, text), job->n);
    return error_option(error, VIVA_E_SIZE, item);
  }
  TRY(check_place(job, bias, item, error));
  return check_dtype(bias, item, error);
}

static viva_status read_epilogue(const linear_kind *kind, const viva_epilogue *given, linear_job *job,
                                 viva_error *error) {
  static const activation acts[] = {[VIVA_EPILOGUE_NONE] = ACTIVATION_NONE,
                                    [VIVA_EPILOGUE_GELU_TANH] = ACTIVATION_GELU_TANH,
                                    [VIVA_EPILOGUE_GELU_ERF] = ACTIVATION_GELU_ERF,
                                    [VIVA_EPILOGUE_SILU] = ACTIVATION_SILU,
                                    [VIVA_EPILOGUE_SWIGLU] = ACTIVATION_NONE};
  viva_epilogue e = viva_epilogue_default();
  TRY(options_read(&e, given, "viva_epilogue", error));
  if (e.kind < VIVA_EPILOGUE_NONE || e.kind > VIVA_EPILOGUE_SWIGLU) {
    error_set(error, VIVA_E_ARGUMENT, "the epilogue's kind is %d; expected 0 (none) to %d", (int)e.kind,
              (int)VIVA_EPILOGUE_SWIGLU);
    return error_option(error, VIVA_E_ARGUMENT, "kind");
  }
  if (e.reserved != 0) {
    error_set(error, VIVA_E_ARGUMENT, "the epilogue's reserved is %d; expected 0", (int)e.reserved);
    return error_option(error, VIVA_E_ARGUMENT, "reserved");
  }
  const int swiglu = e.kind == VIVA_EPILOGUE_SWIGLU;
  if (swiglu && !e.up) return missing("up", "a packed weight of gate's shape", error);
  if (!swiglu && (e.up || e.up_bias || e.after_bias)) {
    const char *item = e.up ? "up" : e.up_bias ? "up_bias" : "after_bias";
    error_set(error, VIVA_E_ARGUMENT, "%s belongs to the epilogue SWIGLU; leave it NULL", item);
    return error_option(error, VIVA_E_ARGUMENT, item);
  }
  TRY(check_format(kind, job->weight, swiglu ? &e.up->w : NULL, error));
  if (swiglu) TRY(check_up(job, e.up, error));
  TRY(check_bias(job, e.bias, "bias", error));
  TRY(check_bias(job, e.up_bias, "up_bias", error));
  TRY(check_bias(job, e.after_bias, kind->any ? "after_bias" : "bias", error));
  job->act = acts[e.kind];
  job->up = swiglu ? &e.up->w : NULL;
  job->bias = e.bias, job->up_bias = e.up_bias, job->after_bias = e.after_bias;
  return VIVA_OK;
}

/* -- input and output */

static viva_status read_input(const viva_tensor *input, linear_job *job, viva_error *error) {
  char text[128];
  if (input->rank == 0 || input->shape[input->rank - 1] != job->k) {
    error_set(error, VIVA_E_SIZE, "input has the shape %s; its last size must be the weight's in, %zu",
              tensor_shape_text(input, text), job->k);
    return error_option(error, VIVA_E_SIZE, "input");
  }
  if (input->elements == 0) {
    error_set(error, VIVA_E_ARGUMENT, "input has the shape %s: no rows; give at least one",
              tensor_shape_text(input, text));
    return error_option(error, VIVA_E_ARGUMENT, "input");
  }
  TRY(check_dtype(input, "input", error));
  TRY(check_place(job, input, "input", error));
  job->input = tensor_rows_of(input);
  job->rows = job->input.rows;
  return VIVA_OK;
}

static viva_status check_into(const linear_job *job, const viva_tensor *into, const viva_tensor *input,
                              viva_error *error) {
  char have[128], wanted[128];
  viva_tensor like = *input;
  like.shape[like.rank - 1] = job->n;
  int same = into->rank == like.rank;
  for (uint32_t i = 0; same && i < like.rank; i++) same = into->shape[i] == like.shape[i];
  if (!same) {
    error_set(error, VIVA_E_SIZE, "into has the shape %s; expected %s", tensor_shape_text(into, have),
              tensor_shape_text(&like, wanted));
    return error_option(error, VIVA_E_SIZE, "into");
  }
  TRY(check_dtype(into, "into", error));
  TRY(check_place(job, into, "into", error));
  if (!tensor_distinct(into)) {
    error_set(error, VIVA_E_ARGUMENT, "elements of into share memory; give a tensor in which each has its own");
    return error_option(error, VIVA_E_ARGUMENT, "into");
  }
  if (!tensor_overlap(into, input)) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "into overlaps the input; give other memory");
  return error_option(error, VIVA_E_ARGUMENT, "into");
}

static viva_status read_output(const linear_job *job, const linear_request *request, const viva_linear_options *o,
                               viva_dtype *dtype, viva_error *error) {
  if (o->output_dtype != VIVA_DTYPE_NONE && !is_activation(o->output_dtype)) {
    error_set(error, VIVA_E_DTYPE, "output_dtype is %s; expected F16, BF16 or F32", viva_dtype_name(o->output_dtype));
    return error_option(error, VIVA_E_DTYPE, "output_dtype");
  }
  *dtype = o->output_dtype != VIVA_DTYPE_NONE ? o->output_dtype : o->into ? o->into->dtype : VIVA_F16;
  if (!o->into) return VIVA_OK;
  TRY(check_into(job, o->into, request->input, error));
  if (o->into->dtype == *dtype) return VIVA_OK;
  error_set(error, VIVA_E_DTYPE, "into holds %s, but output_dtype is %s; leave one of the two out",
            viva_dtype_name(o->into->dtype), viva_dtype_name(*dtype));
  return error_option(error, VIVA_E_DTYPE, "into");
}

viva_status linear_accumulation(viva_accumulation asked, accumulation *out, viva_error *error) {
  *out = asked == VIVA_ACCUMULATE_FULL ? ACCUMULATE_FULL : ACCUMULATE_FAST;
  if (asked >= VIVA_ACCUMULATE_AUTO && asked <= VIVA_ACCUMULATE_FAST) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "accumulate can be VIVA_ACCUMULATE_AUTO, _FULL or _FAST, not %d", (int)asked);
  return error_option(error, VIVA_E_ARGUMENT, "accumulate");
}

viva_status linear_check(const linear_kind *kind, const linear_request *request, linear_job *job,
                         viva_dtype *output_dtype, viva_linear_options *options, viva_error *error) {
  *options = viva_linear_options_default();
  TRY(options_read(options, request->options, "viva_linear_options", error));
  if (!request->output && !options->into)
    return missing("output", "a place for the new tensor's handle, or the option into", error);
  if (!request->input) return missing("input", "a tensor [..., in]", error);
  if (!request->weight) return missing(kind->item, "a packed weight", error);
  *job = (linear_job){.engine = request->weight->engine,
                      .weight = &request->weight->w,
                      .k = request->weight->w.cols,
                      .n = request->weight->w.rows};
  TRY(read_epilogue(kind, request->epilogue, job, error));
  TRY(read_mode(kind, options->act, job->k, &job->mode, error));
  TRY(linear_accumulation(options->accumulate, &job->accumulate, error));
  TRY(options_reserved(options->reserved, "viva_linear_options", error));
  TRY(read_input(request->input, job, error));
  return read_output(job, request, options, output_dtype, error);
}
