/* gemm.h: products of many rows on sm_90a: what is asked for, and what runs it. Plain structs for C and CUDA.
 *
 *   y[m][n] = act(x[m][k] · w[n][k]ᵀ · channel_scale[n] · row_scale[m] + bias[n]) (+ y[m][n])
 *
 * The kernels compute the transpose: a tile is 128 output channels × 256 rows of x (or 264: gemm_tile.h), because the sparse
 * tensor cores take only their first operand 2:4, and because registers can hold only the first operand's codes while they are
 * widened.
 *
 *              tokens (rows of x), 256 a tile
 *            ┌───────────────┬──────
 *   channels │ warpgroup 1   │            two blocks of a cluster stand above each other: both need the same rows of x,
 *        128 ├───────────────┤            and each brings half of them for both
 *            │ warpgroup 2   │
 *            ├───────────────┼──────
 *            │ second block  │
 */
#ifndef CUDA_GEMM_H
#define CUDA_GEMM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which codes meet. */
typedef enum gemm_kind {
  GEMM_FP8_FAST = 0, /* E4M3 × E4M3, summed in the tensor core (14 bits beside the largest) */
  GEMM_FP8_FULL = 1, /* the same, every 64 of K added in FP32 */
  GEMM_FP8_F16 = 2,  /* E4M3 weights, F16 rows; codes become F16 on the way to the tensor core */
  GEMM_NVFP4_F16 = 3,
  GEMM_INT8_24 = 4, /* INT8 2:4 weights, INT8 rows, sums in integers */
  GEMM_F16_F16 = 5, /* F16 weights and rows: what gemm_expand.h makes of every other pair */
  GEMM_KINDS = 6
} gemm_kind;

typedef enum gemm_output { GEMM_F16 = 0, GEMM_BF16 = 1, GEMM_F32 = 2 } gemm_output;

typedef enum gemm_act {
  GEMM_PLAIN = 0,
  GEMM_GELU = 1,  /* tanh form */
  GEMM_SWIGLU = 2 /* silu(gate) · up; n counts gates */
} gemm_act;

typedef struct gemm_problem {
  gemm_kind kind;
  gemm_output output;
  gemm_act act;
  int m, n, k; /* rows of x, output channels, length of the products */
} gemm_problem;

/* SWIGLU: of the ups what gemm_operands has of the gates. Where the tensor cores read codes from shared memory, w and index lie
 * behind the gates' in memory (gemm_ups_fit). */
typedef struct gemm_ups {
  const void *w, *index, *ordered;
  const float *channel_scale, *bias;
} gemm_ups;

/* Everything lies in the device's memory. SWIGLU: w, index, channel_scale and bias are the gates'. */
typedef struct gemm_operands {
  const void *x;              /* [m][k] E4M3, F16 or INT8 */
  const void *w;              /* [n][k] E4M3 or F16; [n][k/2] NVFP4 bytes; [n][k/2] kept INT8 codes */
  const void *index;          /* NVFP4: [n][k/16] E4M3 scales; INT8 2:4: [n][k/8] bytes of nibbles; else unused */
  const void *ordered;        /* NULL, or w in the order of pack/gemv_order.h: few rows read it faster */
  const float *channel_scale; /* [n] or NULL: 1 */
  const float *row_scale;     /* [m] or NULL: 1 */
  const float *bias;          /* [n] or NULL */
  gemm_ups up;                /* SWIGLU */
  const float *after_bias;    /* SWIGLU: [n] added after the product, or NULL */
  float scale;                /* of the whole matrix; 1 */
  void *y;                    /* [m][n] */
  void *meet;                 /* NULL, or gemm_meet_bytes: products of up to GEMM_FEW_TOKENS rows share their tiles */
  int made;                   /* 1: w or index are made by the kernel before this one */
  int adds;                   /* 1, with GEMM_F32 only: y grows by the product, by one addition for each value */
} gemm_operands;

/* Why a problem is refused, in words that complete "the kernel needs ..."; NULL when it runs. */
const char *gemm_refusal(const gemm_problem *p);

/* SWIGLU: 1 when the copy engine reaches the ups' rows from the gates'. */
int gemm_ups_fit(gemm_kind kind, const gemm_operands *o);

/* Queues the product on a stream (cudaStream_t). 0, or a cudaError_t. */
int gemm_launch(const gemm_problem *p, const gemm_operands *o, void *stream);

#define GEMM_FEW_TOKENS 128

/* Bytes of gemm_operands.meet for products of m rows on a GPU of so many multiprocessors. The first gemm_meet_zeros of them
 * are 0 before the first use; every kernel leaves them so. 0 where m is more than GEMM_FEW_TOKENS. */
size_t gemm_meet_bytes(int m, int multiprocessors);
size_t gemm_meet_zeros(int multiprocessors);

#define GEMM_MOST_PARTS 3 /* q, k and v; gate and up */

/* The same for count products as one launch, whose tiles follow each other: fewer multiprocessors wait for a launch's last
 * tiles. They read the same rows: of the problems only n, of the operands all but x and row_scale may differ. The bits are
 * those of each product alone, but of products that meet: there the order of a sum follows from all tiles of the launch. */
int gemm_launch_parts(const gemm_problem *p, const gemm_operands *o, int count, void *stream);

/* 1 when the second product may be a part beside the first. */
int gemm_joins(const gemm_problem *p, const gemm_operands *o, const gemm_problem *q, const gemm_operands *with);

#ifdef __cplusplus
}
#endif
#endif
