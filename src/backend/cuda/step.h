/* step.h: the operations of a step beside the large and small products: what backend.h promises, as launches.
 *
 *   static const step_queue q = {.stream = s, .dependent = 1};
 *   step_embed(q, &table, step.tokens, step.rows, x);
 *   step_rmsnorm(q, &norm);
 *   ... products ...
 *   step_rope_append(q, &turn, NULL, NULL, 0);
 *   step_attention(q, &attention, NULL, &work);
 *
 * Every function queues kernels on a stream and returns 0 or a cudaError_t; none allocates, waits or copies. Pointers
 * are the device's, except those of the argument structs themselves. What a launch looks like (grid, block, addresses)
 * follows from the host's scalars: rows, kept, span_count and the model's shape; positions, pages and sequences are
 * read on the device. So a captured graph of up to STEP_ROWS rows serves any sessions, positions and pages, as long as
 * the batch's arrays and the buffers lie where they lay. More rows take more launches of the same kernels.
 *
 * Numbers. FP32, in an order that depends on the vector's length alone: a row's bits depend on its own inputs, not on
 * the number of rows, on the GPU's load or on time. NaN stays NaN.
 */
#ifndef CUDA_STEP_H
#define CUDA_STEP_H

#include "backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STEP_ROWS      32 /* of a step that decode graphs are made for */
#define STEP_SURE_ROWS 16 /* of a step in which a row of attention is what it is alone */

/* Where kernels go. dependent: 1 for programmatic dependent launches (sm_90 on), where a kernel may start while the one
 * before it ends. All kernels here wait for that one before they touch memory, and let the next one start early. */
typedef struct step_queue {
  void *stream; /* cudaStream_t */
  int dependent;
} step_queue;

/* Memory that some operations need beside their operands. */
typedef struct step_work {
  uint32_t *counters; /* [STEP_COUNTERS], zero before the first use; every kernel leaves them zero */
  void *scratch; /* 16-byte aligned, the most of what the functions ..._scratch say; its contents matter to no one */
  int multiprocessors;
  int clusters;        /* 1: the GPU has clusters of blocks (sm_90) */
  int warpgroups;      /* 1: it runs sm_90a's products of warpgroups */
  uint32_t row_shares; /* no row of the step has more (step_row_shares); 0: not known */
} step_work;

#define STEP_COUNTERS 4096

/* Rows as FP16 in place of FP32: what gemv.h takes as x. */
typedef struct step_half_rows {
  uint16_t *rows; /* [rows][stride], 16-byte aligned */
  size_t stride;  /* elements, a multiple of 8 */
  float *scales;  /* step_turn_tiles: [rows], which become 1 */
} step_half_rows;

/* -- rows (step_rows.cu, step_outer.cu) */

/* out[i][0 .. cols) = row tokens[i] of the table, any format. */
int step_embed(step_queue q, const weight *table, const viva_token *tokens, size_t m, float *out);

/* backend.h's rmsnorm. y may be x. */
typedef struct step_rmsnorm_args {
  const float *x;
  float *y;
  size_t rows, stride, groups, n;
  const float *gain; /* [n] */
  float eps;
} step_rmsnorm_args;
int step_rmsnorm(step_queue q, const step_rmsnorm_args *a);

/* out = silu(gate) · up. out may be gate or up. */
typedef struct step_silu_args {
  const float *gate, *up;
  float *out;
  size_t rows, n, stride;
} step_silu_args;
int step_silu_mul(step_queue q, const step_silu_args *a);

/* to[i] = from[rows[i]], vectors of n, stride apart. */
int step_take_rows(step_queue q, const float *from, const uint32_t *rows, size_t count, size_t n, size_t stride,
                   float *to);

/* from's and to's dtype: F32, F16 or BF16, else cudaErrorInvalidValue. */
int step_load_rows(step_queue q, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                   uint8_t *bad);

/* overflows (dev, or NULL) grows by the number of infinite values written. bias, bad: NULL or as in backend.h. */
typedef struct step_store_args {
  const float *from;
  size_t from_stride, rows, cols;
  const float *bias;
  const uint8_t *bad;
  outer_rows to;
  unsigned long long *overflows;
} step_store_args;
int step_store_rows(step_queue q, const step_store_args *a);

/* *found grows by the infinities among count values side by side. dtype: F32, F16 or BF16. */
int step_count_infinite(step_queue q, viva_dtype dtype, const void *values, size_t count, unsigned long long *found);

/* -- rotation and cache (step_rope.cu) */

/* backend.h's rope_append. q_norm, k_norm: gains [head_dim] of an RMSNorm of each head before the rotation, or NULL;
 * the bits are those of step_rmsnorm with groups = heads before it. head_dim: at most 256. */
int step_rope_append(step_queue q, const rope_append_args *a, const float *q_norm, const float *k_norm, float eps);

/* cos and sin of a span's rows, to their places in cos_sin [rows][2 · pairs] (step_angles.cu). span, turn: the host's. */
#define STEP_MOST_PAIRS 128
int step_angles(step_queue q, const batch_span *span, const batch_turn *turn, float *cos_sin);

/* -- attention (step_attention.cu) */

#define STEP_HALF_SHARES 8   /* of a half of a long row */
#define STEP_SHARE       128 /* positions of a row's only share: a unit of 16 for each of 8 warps */
#define STEP_MANY_SHARE                                                                                                \
  512 /* in a step of more than STEP_SURE_ROWS rows, which fill the GPU with fewer shares of each */

/* Positions of a share in a step of so many rows, at most but for the longest contexts. */
NUMBER_SHARED uint32_t step_share(size_t rows) { return rows > STEP_SURE_ROWS ? STEP_MANY_SHARE : STEP_SHARE; }

/* Blocks among which attention shares a row that sees so many positions: 1, 2, 4, 8 or 16. */
NUMBER_SHARED uint32_t step_row_shares(uint32_t positions, uint32_t share) {
  uint32_t shares = 1;
  while (shares < STEP_HALF_SHARES && positions > shares * share) shares *= 2;
  return positions > 2 * STEP_HALF_SHARES * share ? 2 * STEP_HALF_SHARES : shares;
}

/* Why these heads are refused, in words that complete "attention needs ..."; NULL when they run. */
const char *step_attention_refusal(head_shape h);

/* Bytes of step_work.scratch, for any number of rows and any context. */
size_t step_attention_scratch(head_shape h, int multiprocessors);

/* backend.h's attention: up to STEP_ROWS rows, sequences of a row each and caches of F32 as in FP32 (step_single.cuh,
 * step_attention.cu); others by tensor cores, with queries, weights and values rounded to FP16 (step_tiles.cu). half: rows as FP16 in place of
 * FP32 (a->out is NULL then), for caches of F16 only, whose values FP16 holds: no scales are written, they are 1. */
int step_attention(step_queue q, const attention_args *a, const step_half_rows *half, const step_work *work);

/* step_rope_append and step_attention in one launch, for steps whose sequences have one row each and whose rows are
 * all kept; work->clusters must be 1. The same bits as one after the other with the same work. q, k and v stay as they
 * are. A dependent launch reads the batch's arrays and the pages of older positions before the kernel before it has
 * ended. */
int step_turn_attention(step_queue q, const rope_append_args *turn, const float *q_norm, const float *k_norm, float eps,
                        const attention_args *a, const step_half_rows *half, const step_work *work);

/* -- the largest values (step_top.cu) */

size_t step_top_scratch(size_t rows, size_t n, size_t k);

/* backend.h's top, with its results on the device: ids and values [rows][k], nan [rows]; values and nan may be NULL.
 * The first id of a row with a NaN is −1. */
typedef struct step_top_args {
  const float *logits;
  size_t rows, n, k;
  viva_token *ids;
  float *values;
  uint8_t *nan;
} step_top_args;
int step_top(step_queue q, const step_top_args *a, const step_work *work);

/* -- rows as codes (gemm_rows.cu) */

/* What quantize_rows writes at `to` (at least 64-byte aligned): codes [m][k] of a byte each (INT4 as INT8 of −7 … 7), or of two
 * (F16), then the scales [m] at the next multiple of 64 bytes. */
size_t step_quantized_bytes(input_mode mode, size_t m, size_t k);
float *step_quantized_scales(const void *to, input_mode mode, size_t m, size_t k);
int step_quantize_rows(step_queue q, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k, void *to);

/* step_rmsnorm or step_silu_mul, then step_quantize_rows of its rows, in one pass (step_codes.cu): the same codes and scales.
 * y and out are not written. The norm's rows follow each other (groups 1, stride n). */
int step_rmsnorm_codes(step_queue q, const step_rmsnorm_args *a, input_mode mode, void *to);
int step_silu_codes(step_queue q, const step_silu_args *a, input_mode mode, void *to);

/* -- products of any format and any rows, slowly (step_product.cu): for F32 weights, and where no other kernel fits.
 * xq: what step_quantize_rows wrote. */
int step_product(step_queue q, const linear_args *a);

#ifdef __cplusplus
}
#endif
#endif
