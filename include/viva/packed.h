/* viva/packed.h: weight matrices in few bits.
 *
 * A viva_packed_weight is one matrix [out][in], packed once, on its engine's device. It is immutable, reference-counted
 * and shareable by threads, and it keeps what it needs alive: the engine, a mapped file, or the model it came from.
 * Nobody but the library frees its memory.
 *
 * Every prepack call takes the weight as a 2-D tensor [out][in] of F32, F16, BF16 or F64 with any strides. Weights that
 * lie [in][out] in memory are a transposed view (viva_tensor_transpose), which costs nothing. The tensor is only read
 * during the call; it may lie in the host's memory or on any engine's device, and the bytes are the same.
 *
 * Errors of all prepack calls: E_ARGUMENT (NULL; not 2-D; a size of 0; an option that this format does not have or that
 * is out of range: its name is the error's item), E_DTYPE, E_NUMERIC (a NaN or an infinity: the message gives row and
 * column; options.allow_nonfinite accepts them), E_LIMIT (a size overflows), E_MEMORY, E_DEVICE, E_CANCELLED. Bits for equal
 * arguments are equal, whatever the number of threads. docs/numerics.md has what each costs a model.
 */
#ifndef VIVA_PACKED_H
#define VIVA_PACKED_H

#include "viva/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct viva_packed_weight viva_packed_weight;

typedef enum viva_weight_format {
  VIVA_WEIGHT_F32 = 0,
  VIVA_WEIGHT_BF16 = 1,
  VIVA_WEIGHT_F16 = 2,
  VIVA_WEIGHT_FP8 = 3,     /* E4M3 codes; a scale for each output channel, or for each block of it */
  VIVA_WEIGHT_NVFP4 = 4,   /* E2M1 codes, an E4M3 scale for each 16, one FP32 number for the matrix: 4.5 bits */
  VIVA_WEIGHT_INT8_24 = 5, /* 2 of 4 kept, INT8 codes: 5 bits */
  VIVA_WEIGHT_INT4_24 = 6  /* 2 of 4 kept, INT4 codes: 3 bits and scales */
} viva_weight_format;

/* How NVFP4 chooses the scale of a block. */
typedef enum viva_scale_search {
  VIVA_SEARCH_MSE = 0,          /* the least squared error among all E4M3 scales within 0.5 to 2 of absmax / 6 */
  VIVA_SEARCH_ABSMAX = 1,       /* absmax / 6 */
  VIVA_SEARCH_FOUR_OVER_SIX = 2 /* the better of absmax / 6 and absmax / 4 */
} viva_scale_search;

/* Which weights 2:4 keeps. */
typedef enum viva_sparse_24 {
  VIVA_SPARSE_24_ELEMENTS = 0, /* the 2 largest magnitudes of every 4 along in (ties: the lower index) */
  VIVA_SPARSE_24_PAIRS = 1     /* INT4 only, for comparison: 2 of the 4 neighbouring pairs of every 8 */
} viva_sparse_24;

#define VIVA_BLOCK_CHANNEL UINT32_MAX /* viva_prepack_options.block: one scale for each output channel */

/* Options that a format does not have must be left at their defaults. */
typedef struct viva_prepack_options {
  size_t size;               /* sizeof(viva_prepack_options) */
  viva_dtype scale_dtype;    /* FP8: F32 (NONE), F16, E8M0 (the next power of two that is not below);
                                INT4 2:4: F16 (NONE), F32. A matrix with a scale beyond the type gets F32 */
  uint32_t block;            /* INT4 2:4: 0: 128; 32, 64, 128 weights along in to a scale, or VIVA_BLOCK_CHANNEL */
  viva_scale_search search;  /* NVFP4 */
  int32_t modelopt;          /* NVFP4: 1: keep the matrix's number as ModelOpt does, a multiplier absmax / 2688 */
  viva_sparse_24 selection;  /* INT4 2:4 */
  int32_t allow_nonfinite;   /* 1: a NaN becomes the format's NaN (0 where it has none), an infinity the largest
                                value (in dense formats it stays infinite) */
  const viva_tensor *keep;   /* 2:4: NULL, or BOOL or U8 [out][in], not 0 = kept: exactly 2 in every 4 along in
                                (at most 2 in a last group of fewer) */
  viva_progress_fn progress; /* NULL: none. Rows; can cancel */
  void *progress_user;
} viva_prepack_options;

VIVA_API viva_prepack_options viva_prepack_options_default(void);

/* Any format, by its word as --weights has it (viva/model.h): "bf16", "fp8-b16:f16", "nvfp4:absmax", "int4-24-g64:f32".
 * What the word says (type and block of the scales, search) is left at its default in the options. The calls below are
 * short forms of this one. Errors: also E_ARGUMENT (no such word: the message lists them).
 *
 * options: NULL for the defaults
 * packed:  receives one reference, ended by viva_packed_weight_release; NULL on failure */
VIVA_API viva_status viva_prepack(viva_engine *engine, const viva_tensor *weight, const char *format,
                                  const viva_prepack_options *options, viva_packed_weight **packed, viva_error *error);

/* FP8, scale = absmax / 448 of each output channel (1 for a channel of zeros). 8 bits a weight and 4 bytes a channel.
 *
 * options: NULL for the defaults
 * packed:  receives one reference, ended by viva_packed_weight_release; NULL on failure */
VIVA_API viva_status viva_prepack_fp8_weight(viva_engine *engine, const viva_tensor *weight,
                                             const viva_prepack_options *options, viva_packed_weight **packed,
                                             viva_error *error);

/* FP8, a scale for every block of 16, 32, 64 or 128 weights along in for each output channel; the last block may be
 * short. Bits a weight with F32, F16, E8M0 scales: block 16: 10, 9, 8.5; 32: 9, 8.5, 8.25; 64: 8.5, 8.25, 8.125;
 * 128: 8.25, 8.125, 8.0625. Codes are made from the scale as it is stored. */
VIVA_API viva_status viva_prepack_fp8_weight_blocked(viva_engine *engine, const viva_tensor *weight, uint32_t block,
                                                     const viva_prepack_options *options, viva_packed_weight **packed,
                                                     viva_error *error);

/* INT8 2:4: scale = absmax / 127 of the channel, then 2 of every 4 kept. Any in. 5 bits a weight, rows padded to 64. */
VIVA_API viva_status viva_prepack_int8_sparse_24_weight(viva_engine *engine, const viva_tensor *weight,
                                                        const viva_prepack_options *options,
                                                        viva_packed_weight **packed, viva_error *error);

/* INT4 2:4: codes −7 … 7, scale = absmax / 7 of the block. Any in. 3 bits a weight, rows padded to 64, and the scales:
 * 3.125 bits by default. */
VIVA_API viva_status viva_prepack_int4_sparse_24_weight(viva_engine *engine, const viva_tensor *weight,
                                                        const viva_prepack_options *options,
                                                        viva_packed_weight **packed, viva_error *error);

/* NVFP4. Any in (the last block may be short; files need a multiple of 16). 4.5 bits a weight, rows padded to 16. A
 * matrix whose largest magnitude is below about 1e-38 becomes zeros. */
VIVA_API viva_status viva_prepack_nvfp4_weight(viva_engine *engine, const viva_tensor *weight,
                                               const viva_prepack_options *options, viva_packed_weight **packed,
                                               viva_error *error);

/* F32, BF16 or F16, rounded to nearest even, so that a model mixes freely. A finite value beyond the range is
 * E_NUMERIC.
 *
 * dtype: VIVA_F32, VIVA_BF16, VIVA_F16 */
VIVA_API viva_status viva_prepack_dense(viva_engine *engine, const viva_tensor *weight, viva_dtype dtype,
                                        const viva_prepack_options *options, viva_packed_weight **packed,
                                        viva_error *error);

VIVA_API viva_packed_weight *viva_packed_weight_retain(viva_packed_weight *packed); /* Thread-safe */
VIVA_API void viva_packed_weight_release(viva_packed_weight *packed);               /* NULL is allowed. Thread-safe */

/* What a packed weight is. */
typedef struct viva_packed_info {
  size_t size; /* sizeof(viva_packed_info), set by the caller before the call */
  viva_weight_format format;
  uint32_t block; /* weights along in to a scale; 0: one for each channel, or none */
  uint64_t out_features;
  uint64_t in_features;
  viva_dtype scale_dtype; /* as held; NONE: dense */
  int32_t global_divides; /* NVFP4: 1: value = code · (scale / global), 0: code · (scale · global) */
  float global_scale;     /* NVFP4; 1 for others */
  int32_t pairs;          /* INT4 2:4 selected by pairs */
  uint64_t bytes;         /* all it holds */
  uint64_t code_bytes;    /* of codes and 2:4 indices */
  uint64_t scale_bytes;
  double bits_per_weight; /* 8 · bytes / (out · in) */
  char name[32];          /* as --weights has it: "fp8", "fp8-b16:f16", "nvfp4", "int8-24", "int4-24-g64", "bf16" */
} viva_packed_info;

/* Thread-safe. Errors: E_ARGUMENT. */
VIVA_API viva_status viva_packed_weight_info(const viva_packed_weight *packed, viva_packed_info *info,
                                             viva_error *error);

/* The engine it lives on. Belongs to the packed weight. */
VIVA_API viva_engine *viva_packed_weight_engine(const viva_packed_weight *packed);

/* Back to FP32, [out][in]: each value as it enters the products (code · scale; pruned weights are 0).
 * Errors: E_ARGUMENT, E_SIZE (count is not out · in), E_MEMORY. Thread-safe. */
VIVA_API viva_status viva_packed_weight_unpack(const viva_packed_weight *packed, float *values, size_t count,
                                               viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
