/* engine/linear.h: one linear call: checked first, then run on the backend's table. */
#ifndef ENGINE_LINEAR_H
#define ENGINE_LINEAR_H

#include "engine/packed.h"
#include "engine/tensor_rows.h"
#include "viva/linear.h"

/* What is given to a call, as it is in its arguments. */
typedef struct linear_request {
  const viva_tensor *input;
  const viva_packed_weight *weight;
  const viva_epilogue *epilogue; /* may be NULL */
  const viva_linear_options *options;
  viva_tensor **output;
} linear_request;

/* What a call by name allows. */
typedef struct linear_kind {
  const char *name;
  const char *item;               /* what it calls its first weight */
  int any;                        /* takes every format; else */
  weight_format format;           /* the weight must have this one (of a SwiGLU pair one of the two) */
  viva_activation_mode automatic; /* what AUTO means */
  int only_16;                    /* no other mode */
} linear_kind;

/* A checked call. */
typedef struct linear_job {
  viva_engine *engine;
  tensor_rows input, output; /* output.tensor is set when there is one; both in the memory of the engine's device */
  const weight *weight, *up;
  const viva_tensor *bias, *up_bias, *after_bias;
  input_mode mode;
  accumulation accumulate;
  activation act;
  size_t rows, k, n;
  int counts; /* 1: overflows are asked for */
  uint64_t overflows;
} linear_job;

/* linear_check.c: what the option accumulate means. Errors: E_ARGUMENT. */
viva_status linear_accumulation(viva_accumulation asked, accumulation *out, viva_error *error);

/* linear_check.c: all refusals. Fills all of job but output and overflows, the output's type, and *into. */
viva_status linear_check(const linear_kind *kind, const linear_request *request, linear_job *job,
                         viva_dtype *output_dtype, viva_linear_options *options, viva_error *error);

/* linear_device.c: brings what the job reads into the memory of its engine's device. `held` has what was copied, NULL where
 * nothing was. */
typedef struct linear_held {
  viva_tensor *input, *bias, *up_bias, *after_bias;
} linear_held;

viva_status linear_bring(linear_job *job, linear_held *held, viva_error *error);
void linear_drop(linear_held *held); /* also after a failure */

/* linear_run.c. Errors: E_MEMORY, E_LIMIT, and the backend's. */
viva_status linear_run(linear_job *job, viva_error *error);

#endif
