/* viva/quantize.h: writes a model in a low-bit format as a Hugging Face folder. */
#ifndef VIVA_QUANTIZE_H
#define VIVA_QUANTIZE_H

#include "viva/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Told for each matrix when it has been packed. Return 0 to go on, anything else to cancel. */
typedef struct viva_quantize_tensor {
  const char *name;   /* "model.layers.0.self_attn.q_proj" */
  const char *format; /* "fp8", "nvfp4", "bf16" ... */
  uint64_t out_features, in_features;
  uint64_t bytes_before; /* in the input's files */
  uint64_t bytes_after;
  double error; /* relative: √(Σ(packed − original)² / Σ original²); 0 when not changed */
  double norm;  /* √Σ original², so that errors can be added up: (error · norm)² */
} viva_quantize_tensor;
typedef int (*viva_quantize_fn)(void *user, const viva_quantize_tensor *tensor);

typedef struct viva_quantize_options {
  size_t size;          /* sizeof(viva_quantize_options) */
  const char *weights;  /* the rule of viva_model_options.weights, or "dense": BF16, or F16, F32 as the input has */
  uint64_t shard_bytes; /* 0: 5 GB. A new file begins before one would grow beyond this */
  int32_t overwrite;    /* 1: an existing model folder is replaced at the end, in one step; never an input */
  int32_t reserved;
  viva_progress_fn progress; /* NULL: none. Bytes read; can cancel */
  void *progress_user;
  viva_quantize_fn on_tensor; /* NULL: none */
  void *on_tensor_user;
} viva_quantize_options;

VIVA_API viva_quantize_options viva_quantize_options_default(void);

typedef struct viva_quantize_result {
  size_t size;                        /* set by the caller before the call */
  uint64_t bytes_before, bytes_after; /* of all tensors */
  uint64_t tensors, packed;           /* written in all; of them matrices in a packed format, a matrix counted once */
  uint64_t files;
  double error; /* relative error over all matrices together */
} viva_quantize_result;

/* Reads the model at from (GGUF file, folder, safetensors file) and writes the folder to: config.json with
 * quantization_config, generation_config.json and the tokenizer's files when the input has them (a GGUF file's
 * tokenizer is written as tokenizer.json), and safetensors shards in the layouts of docs/formats.md:
 * compressed-tensors' where it has one. One matrix at a time is in memory. The folder is made under a temporary name
 * beside `to` and renamed when it is complete: after a failure or a cancel nothing is left, and what was at `to` is
 * untouched. The matrices' bytes are those that viva_model_load would hold.
 * Errors: those of viva_model_plan; E_ARGUMENT (from and to are the same or one lies in the other, by whatever link;
 * weights), E_IO (to exists and overwrite is 0; to is a symbolic link; not enough space), E_LIMIT (not enough memory),
 * E_FORMAT (a code, scale, index or mask of the input is damaged), E_NUMERIC (a value that is packed or rounded is NaN,
 * infinite, or beyond the new type's range), E_CANCELLED.
 *
 * options: weights must be given
 * result:  NULL, or filled (zeros after a failure; untouched when an argument is NULL or a size is wrong) */
VIVA_API viva_status viva_quantize(viva_engine *engine, const char *from, const char *to,
                                   const viva_quantize_options *options, viva_quantize_result *result,
                                   viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
