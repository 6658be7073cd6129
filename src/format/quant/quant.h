/* format/quant/quant.h: checkpoints whose weight matrices are stored in few bits: what each matrix is made of, and its values.
 *
 *   quant *q;
 *   quant_matrix m;
 *   TRY(quant_open(ck, &q, error));                            reads the configuration, checks every matrix and scale
 *   TRY(quant_find(q, "model.layers.0.mlp.down_proj", &m, error));
 *   scratch = mem_alloc(mem, quant_scratch_bytes(&m, rows));
 *   TRY(quant_rows_f32(q, &m, first, rows, values, scratch, error));
 *
 * Dialects: compressed-tensors (float-quantized, naive-quantized, nvfp4-pack-quantized, sparse-24-bitmask), "fp8" with
 * weight_scale_inv (DeepSeek) or one scale, fbgemm_fp8, ModelOpt (FP8, NVFP4), and viva's own (docs/formats.md).
 * Anything else is refused by name when it is opened. A checkpoint without quantisation, and every GGUF file, has dense
 * matrices only.
 *
 * A quant holds pointers into its checkpoint, which must outlive it. It never changes: any number of threads may use it.
 */
#ifndef FORMAT_QUANT_QUANT_H
#define FORMAT_QUANT_QUANT_H

#include "format/checkpoint.h"

typedef enum quant_kind {
  QUANT_DENSE, /* codes: [rows][cols] of any type that type_dequant reads */
  QUANT_FP8,   /* codes: E4M3 [rows][cols]; scales; value = code · scale */
  QUANT_NVFP4, /* codes: [rows][ceil(cols/16) · 8] bytes, two E2M1 each, even column low; scales: E4M3 [rows][ceil(cols/16)];
                    value = code · (scale / global), or code · (scale · global) */
  QUANT_SPARSE, /* 2:4 with a mask; codes: [rows][cols / 2] of F32, F16, BF16, or of E4M3 with scales as QUANT_FP8;
                    mask: [rows][ceil(cols/8)] bytes, bit j of byte i is column 8 i + j, set where a value is kept */
  QUANT_INT8_24, /* viva's: codes: bytes [rows][ceil(cols/64) · 40], scales. Its blocks are number/layout.h's: no quant_rows_f32 */
  QUANT_INT4_24 /* viva's: codes: bytes [rows][ceil(cols/64) · 24], scales. As INT8_24 */
} quant_kind;

/* One weight matrix, [rows][cols] = [out][in]. All sizes agree with each other and with the tensors. */
typedef struct quant_matrix {
  quant_kind kind;
  uint64_t rows, cols;
  const tensor_view *codes;
  const tensor_view *mask;   /* QUANT_SPARSE, else NULL */
  const tensor_view *scales; /* NULL: none (dense, and sparse of a dense type) */
  /* One scale covers block_rows × block_cols weights (less at the edges); the scales are [scale_rows][scale_cols].
   * Per tensor: block = rows × cols, per channel: 1 × cols, groups: 1 × group. Without scales: all 0. */
  uint64_t block_rows, block_cols;
  int grouped; /* the scheme has groups or blocks, also where one of them covers a whole row */
  uint64_t scale_rows, scale_cols;
  file_type scale_type; /* F32, F16, BF16, E4M3 (NVFP4), E8M0 */
  float global;         /* NVFP4: as the file keeps it; others: 1 */
  int global_divides;   /* NVFP4: value = code · (scale / global), else code · (scale · global) */
  int pairs;            /* viva's 2:4: columns chosen by pairs (pack/weight.h) */
  /* The type that the dialect's own decompressor gives: quant_rows_f32 rounds to it (F32: no rounding). compressed-
   * tensors computes in its scales' type, and NVFP4 ends in BF16. Set it to TYPE_F32 for the plain FP32 product, which is
   * what kernels that keep the codes compute with. */
  file_type value_type;
} quant_matrix;

/* 1 when an NVFP4 matrix's own number can be told from the number of the dialect that has it the other way round. */
int quant_nvfp4_clear(float global, int divides);

typedef struct quant quant;

/* Reads config.json's quantization_config and hf_quant_config.json beside the weights, and checks all matrices.
 * Errors: E_UNSUPPORTED (a scheme by its name), E_FORMAT (configuration and tensors contradict each other, or a scale is
 * missing: the tensor is named), E_MEMORY, E_IO. */
viva_status quant_open(const viva_checkpoint *ck, quant **out, viva_error *error);
void quant_close(quant *q); /* NULL is allowed */

/* "compressed-tensors float-quantized", "modelopt NVFP4", ...; "" when nothing is quantised. Lives as long as q. */
const char *quant_scheme(const quant *q);

/* The matrix of a module ("model.layers.0.mlp.down_proj": the weight's name without ".weight"). E_NOT_FOUND when the
 * checkpoint has no weight of this name; E_FORMAT when it is not of rank 2 (ask checkpoint_find for vectors). */
viva_status quant_find(const quant *q, const char *module, quant_matrix *out, viva_error *error);

/* What a tensor of the checkpoint is for. */
typedef enum quant_role {
  QUANT_ROLE_PLAIN, /* nothing that belongs to quantisation, or the codes of a matrix under its usual name NAME.weight */
  QUANT_ROLE_PART,  /* codes, scales, mask, shape ... of a matrix that quant_find gives: consumed with it */
  QUANT_ROLE_IGNORED /* for quantised activations or KV caches (input_scale, k_scale ...): not used, and not needed */
} quant_role;
quant_role quant_tensor_role(const quant *q, const tensor_view *view);

/* Bytes that quant_rows_f32, quant_codes (of a sparse matrix) and quant_scales_f32 need for `rows` rows; SIZE_MAX when that
 * overflows. */
size_t quant_scratch_bytes(const quant_matrix *m, size_t rows);

/* to[rows][cols] = rows [first, first + rows) in FP32, with m->value_type's rounding. scratch is aligned as mem_alloc's
 * memory. Errors: E_ARGUMENT (rows outside; INT8_24 and INT4_24), E_FORMAT (a scale that is NaN or infinite: its place is
 * named; a mask that is not 2:4), E_IO. */
viva_status quant_rows_f32(const quant *q, const quant_matrix *m, uint64_t first, size_t rows, float *to, void *scratch,
                           viva_error *error);

/* For holding the file's codes as they are.
 * quant_codes: the bytes of rows [first, first + rows), row after row; FP8 under a mask is spread to [rows][cols], with
 * zeros where nothing is kept. All kinds but QUANT_DENSE and QUANT_SPARSE of a dense type.
 * quant_scales_f32: to[rows][scale_cols], scales in FP32, each row with its own (those of 2-D blocks are repeated; NVFP4:
 * without global). quant_scales_e4m3: NVFP4's as bytes, checked to be no NaN. Errors: as quant_rows_f32. */
viva_status quant_codes(const quant *q, const quant_matrix *m, uint64_t first, size_t rows, void *to, void *scratch,
                        viva_error *error);
viva_status quant_scales_f32(const quant *q, const quant_matrix *m, uint64_t first, size_t rows, float *to,
                             void *scratch, viva_error *error);
viva_status quant_scales_e4m3(const quant *q, const quant_matrix *m, uint64_t first, size_t rows, uint8_t *to,
                              viva_error *error);

#endif
