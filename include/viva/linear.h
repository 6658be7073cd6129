/* viva/linear.h: linear layers on packed weights: output = activation(input · weightᵀ + bias).
 *
 *   input   [..., in]  F32, F16 or BF16, any strides; leading dimensions fold into rows
 *   output  [..., out] F16 by default, rounded to nearest even; a finite value beyond 65504 becomes ±Inf and is counted
 *   bias    [out]      F32, F16 or BF16, or NULL
 *
 * Order: products are accumulated in FP32 (integer codes exactly), then scales, then bias, then the activation, then
 * the rounding to the output's type. Before that rounding the result is within (in / 8 + 8) · 2^-24 · Σ|input · weight|
 * of the exact value for the same codes, whatever they are (roundings all one way, as of equal terms), and within 2^-20
 * · Σ|input · weight| for terms of both signs as models have them. A NaN or an infinity in an input row makes that
 * whole output row NaN, and no other. A sum of a finite row beyond FP32 is ±Inf, or NaN where infinities of both signs
 * meet or SiLU or GELU takes −Inf. The bits of a row depend on that row, the weight and the options: not on the other
 * rows, threads or earlier calls (FAST sums of a GPU excepted: viva_accumulation).
 *
 * Activation mode: `16` uses the input as it is (16 or 32 bits). FP8, INT8 and INT4 quantise each input row once:
 * code = nearest even of x / s with s = absmax / 448, / 127 or / 7 of the row (1 where that is 0). It is the call's or
 * the caller's choice and never depends on the number of rows.
 *
 * Memory: tensors of the host's memory may come from any engine; where the weight's engine computes in a device's memory
 * they are copied over for the call (what is used often, as a bias, is better kept there: viva_tensor_to_device). A tensor
 * on a device must be on that of the weight's engine. A new output lies where the input does; options.into may lie on
 * either side. When a call returns, its output is written.
 *
 * Errors of all calls: E_ARGUMENT (NULL; an input without rows; a packed weight of another format than the call's name
 * says; weights, or tensors on devices, of different engines; an option out of range), E_SIZE (the input's last
 * dimension is not in, the bias's length is not out, gate and up differ, options.into has another shape), E_DTYPE,
 * E_LIMIT (a size overflows; integer inputs with in above 266287), E_MEMORY, E_DEVICE. Thread-safe.
 */
#ifndef VIVA_LINEAR_H
#define VIVA_LINEAR_H

#include "viva/packed.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum viva_activation_mode {
  VIVA_ACT_AUTO = 0, /* the default of the call, or of the model */
  VIVA_ACT_16 = 1,   /* not quantised */
  VIVA_ACT_FP8 = 2,  /* E4M3, a scale for each row */
  VIVA_ACT_INT8 = 3, /* INT8, a scale for each row */
  VIVA_ACT_INT4 = 4  /* INT4, a scale for each row: the original's W4A4, for comparison */
} viva_activation_mode;

/* How a GPU of sm_90 adds up products of FP8 rows and FP8 weights with a scale for each channel, more than 32 rows at once; the rest
 * is FULL always. FAST is outside the bound above, and its rows' bits are those of FULL below that number. Which kernel sums
 * depends on the number of rows (a call of more than 8,192 is cut there), on whether cuBLASLt is found, and on whether the GPU has
 * its work space left; so may the bits of FAST: docs/gpu.md. */
typedef enum viva_accumulation {
  VIVA_ACCUMULATE_AUTO = 0, /* FAST */
  VIVA_ACCUMULATE_FULL = 1, /* every 64 columns in FP32 */
  VIVA_ACCUMULATE_FAST = 2  /* as its FP8 instructions do, with some 14 bits: 1.2 times as fast */
} viva_accumulation;

typedef struct viva_linear_options {
  size_t size;              /* sizeof(viva_linear_options) */
  viva_activation_mode act; /* AUTO: see each call */
  viva_dtype output_dtype;  /* NONE: F16 (or that of into). VIVA_F16, VIVA_BF16, VIVA_F32 */
  viva_tensor *into;        /* NULL: a new tensor. Else written, and returned with one more reference. The memory
                               from its first to its last element must not overlap the input's */
  uint64_t *overflows;      /* NULL, or raised by the number of infinite outputs of finite input rows. Not atomic:
                               one counter for each thread */
  viva_accumulation accumulate;
  int32_t reserved; /* 0 */
} viva_linear_options;

VIVA_API viva_linear_options viva_linear_options_default(void);

/* FP8 weights (per channel or blocked). AUTO: FP8 activations (W8A8). The other modes may be asked for.
 *
 * bias:    NULL: none
 * options: NULL for the defaults
 * output:  receives one reference, ended by viva_tensor_release; may be NULL when options.into is given */
VIVA_API viva_status viva_linear_fp8(const viva_tensor *input, const viva_packed_weight *weight,
                                     const viva_tensor *bias, const viva_linear_options *options, viva_tensor **output,
                                     viva_error *error);

/* FP8 weights, activations as they are: recommended. options.act must be AUTO or 16. */
VIVA_API viva_status viva_linear_fp8_w8a16(const viva_tensor *input, const viva_packed_weight *weight,
                                           const viva_tensor *bias, const viva_linear_options *options,
                                           viva_tensor **output, viva_error *error);

/* GELU (tanh form) of input · weightᵀ + bias. AUTO: FP8 activations. */
VIVA_API viva_status viva_linear_gelu_fp8(const viva_tensor *input, const viva_packed_weight *weight,
                                          const viva_tensor *bias, const viva_linear_options *options,
                                          viva_tensor **output, viva_error *error);

/* silu(input · gateᵀ) · (input · upᵀ) + bias, in FP32. One of the two at least is FP8, the other may have any format;
 * the input is quantised once for both. AUTO: FP8 activations. */
VIVA_API viva_status viva_linear_swiglu_fp8(const viva_tensor *input, const viva_packed_weight *gate,
                                            const viva_packed_weight *up, const viva_tensor *bias,
                                            const viva_linear_options *options, viva_tensor **output,
                                            viva_error *error);

/* INT8 2:4 weights. AUTO: INT8 activations. */
VIVA_API viva_status viva_linear_int8_sparse(const viva_tensor *input, const viva_packed_weight *weight,
                                             const viva_tensor *bias, const viva_linear_options *options,
                                             viva_tensor **output, viva_error *error);

/* INT4 2:4 weights. AUTO: INT8 activations (W4A8). */
VIVA_API viva_status viva_linear_int4_sparse(const viva_tensor *input, const viva_packed_weight *weight,
                                             const viva_tensor *bias, const viva_linear_options *options,
                                             viva_tensor **output, viva_error *error);

/* NVFP4 weights. AUTO: activations as they are. */
VIVA_API viva_status viva_linear_nvfp4(const viva_tensor *input, const viva_packed_weight *weight,
                                       const viva_tensor *bias, const viva_linear_options *options,
                                       viva_tensor **output, viva_error *error);

/* What follows the product. */
typedef enum viva_epilogue_kind {
  VIVA_EPILOGUE_NONE = 0,
  VIVA_EPILOGUE_GELU_TANH = 1,
  VIVA_EPILOGUE_GELU_ERF = 2,
  VIVA_EPILOGUE_SILU = 3,
  VIVA_EPILOGUE_SWIGLU = 4 /* silu(x · weightᵀ + bias) · (x · upᵀ + up_bias) + after_bias */
} viva_epilogue_kind;

typedef struct viva_epilogue {
  size_t size; /* sizeof(viva_epilogue) */
  viva_epilogue_kind kind;
  int32_t reserved;              /* 0 */
  const viva_tensor *bias;       /* NULL or [out]: added before the activation */
  const viva_packed_weight *up;  /* SWIGLU: the second weight, of the same shape and any format */
  const viva_tensor *up_bias;    /* SWIGLU: NULL or [out] */
  const viva_tensor *after_bias; /* SWIGLU: NULL or [out]: added after the product */
} viva_epilogue;

VIVA_API viva_epilogue viva_epilogue_default(void);

/* Any packed weight, any epilogue. AUTO: activations as they are.
 *
 * epilogue: NULL: none */
VIVA_API viva_status viva_linear(const viva_tensor *input, const viva_packed_weight *weight,
                                 const viva_epilogue *epilogue, const viva_linear_options *options,
                                 viva_tensor **output, viva_error *error);

/* Packs random integers into INT4 2:4 [n][k], unpacks them, multiplies m rows of INT4 activations with them, and
 * compares both with dense integers. *difference: the largest found, 0 when all is right. Errors: E_ARGUMENT (a size of
 * 0 or above 65536; m · n · k above 2^36, about a minute of work), E_MEMORY. */
VIVA_API viva_status viva_int4_sparse_self_test(viva_engine *engine, uint64_t m, uint64_t n, uint64_t k,
                                                double *difference, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
