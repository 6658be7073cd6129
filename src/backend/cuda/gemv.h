/* backend/cuda/gemv.h: y = x · wᵀ for 1 to 32 rows of x and a weight of any packed format, in the order of
 * pack/gemv_order.h. One family of kernels; the weights are read once.
 *
 *   weight in gemv_order ──► gemv_problem ──► gemv_plan_make ──► gemv_launch on a stream, or captured in a graph
 *
 * Numbers. An output's bits depend on its own row of x, on w and on the epilogue: not on the other rows, on their number, on
 * the GPU's size or on time. Error against FP64 of the same FP16 rows and codes, before the output is rounded: 2^-20
 * Σ|x·w|. A row of codes (E4M3, INT8) comes as FP16, which holds both exactly, with its scale in x_scales.
 *
 * A launch may be programmatically dependent (plan.dependent): then it copies weights while the kernel before it still runs, and
 * touches x, the epilogue's operands and y only after that kernel has ended. */
#ifndef BACKEND_CUDA_GEMV_H
#define BACKEND_CUDA_GEMV_H

#include <cuda_runtime_api.h>

#include "backend/backend.h"
#include "backend/cuda/step_exchange.h"
#include "pack/gemv_order.h"

#define GEMV_MOST_ROWS 32 /* of a launch */
#define GEMV_SURE_ROWS                                                                                                 \
  16 /* for more gemv_plan_make may find no kernel: without clusters, or where x takes too much room */

/* backend.h's activations by their numbers, and */
typedef enum gemv_activation {
  GEMV_NONE = ACTIVATION_NONE,
  GEMV_GELU_TANH = ACTIVATION_GELU_TANH,
  GEMV_GELU_ERF = ACTIVATION_GELU_ERF,
  GEMV_SILU = ACTIVATION_SILU,
  GEMV_SWIGLU = 4 /* parts[0] is gate, parts[1] up, of equal rows: parts[0].y[m][n] = silu(gate) · up */
} gemv_activation;

typedef enum gemv_output { GEMV_F32 = 0, GEMV_F16 = 1, GEMV_BF16 = 2 } gemv_output;

#define GEMV_MOST_PARTS 3

/* One matrix of a problem, and where its results go. Pointers are the device's. */
typedef struct gemv_part {
  const void *ordered;   /* [gemv_order_of(&w).bytes], 16-byte aligned */
  size_t rows;           /* n */
  const float *bias;     /* [n] or NULL */
  const float *residual; /* [m][y_stride] or NULL; may be y; not with SWIGLU */
  void *y;               /* [m][y_stride] */
  size_t y_stride;       /* elements */
} gemv_part;

/* Rows that are made by the kernel: FP16 of v · rsqrt(mean(v²) + eps) · gain, FP32 until then; beyond FP16's range infinite. The
 * bits depend on the row alone. k a multiple of 8. */
typedef struct gemv_norm {
  const float *x;    /* [m][stride], 16-byte aligned */
  size_t stride;     /* elements, a multiple of 4 */
  const float *gain; /* [k], 16-byte aligned */
  float eps;
} gemv_norm;

/* Where else y goes: it is this GPU's part of a sum over several, and the others get it word by word (step_exchange.h) as soon as
 * it is there. gemv_exchange_rows or step_exchange's kernel of the same number takes the words. */
typedef struct gemv_send {
  step_exchange_group to; /* to.ranks 0: nowhere else */
  uint32_t number;        /* of the exchange, beyond *to.base */
  size_t first;           /* y[0][0]'s place among the sum's values, whose rows are part.rows long, as y_stride is */
} gemv_send;

/* One to three matrices of one format and width that read the same rows (q, k, v; gate and up), as one launch:
 * y[m][n] = act((Σ_k x[m][k] · code[n][k] · block scale) · row scale[n] · x_scales[m] + bias[n]) + residual[m][n] */
typedef struct gemv_problem {
  weight w;              /* format, cols, block, scale_type and pairs are used; rows and pointers are not */
  int m;                 /* 1 … GEMV_MOST_ROWS */
  const uint16_t *x;     /* FP16 [m][x_stride], 16-byte aligned */
  size_t x_stride;       /* elements, a multiple of 8, ≥ k; what lies between is not used */
  const float *x_scales; /* [m] or NULL: 1 */
  gemv_norm norm;        /* norm.x not NULL: in place of x's contents; x is room for m rows of k, x_scales NULL */
  gemv_activation activation;
  gemv_output output;
  gemv_send send; /* of one part, FP32 */
  gemv_part parts[GEMV_MOST_PARTS];
  int part_count;
} gemv_problem;

/* How a problem is run: made once for each problem, then launched any number of times. */
typedef struct gemv_plan {
  const void *kernel;            /* NULL: there is none for so many rows (GEMV_SURE_ROWS) */
  int blocks, threads, together; /* together: blocks of a cluster, which share tiles */
  size_t shared_bytes;
  int norms;     /* 1: the kernel makes norm's row; 0: gemv_norm_rows makes them before */
  int dependent; /* set by the caller: the launch may overlap the kernel before it */
} gemv_plan;

/* multiprocessors and shared_most (bytes that one block may have) are the device's. Needs its context to be current. */
#ifdef __cplusplus
extern "C" {
#endif
cudaError_t gemv_plan_make(const gemv_problem *p, int multiprocessors, size_t shared_most, gemv_plan *plan);
/* The rows that a plan without `norms` takes: FP16 [m][k] at rows. The same bits. */
cudaError_t gemv_norm_rows(const gemv_norm *norm, int m, int k, uint16_t *rows, int dependent, cudaStream_t stream);
/* The same of rows that are sums over several GPUs, of which all others have been sent theirs and this one has its part in norm.x
 * (stride k), where the sum goes, too: e->x and e->count are not used. The sums are step_exchange's. */
cudaError_t gemv_exchange_rows(const gemv_norm *norm, const step_exchange_args *e, int m, int k, uint16_t *rows,
                               int dependent, cudaStream_t stream);
cudaError_t gemv_launch(const gemv_problem *p, const gemv_plan *plan, cudaStream_t stream);
#ifdef __cplusplus
}
#endif

#endif
