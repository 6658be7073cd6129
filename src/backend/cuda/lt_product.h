/* lt_product.h: one product through cuBLASLt: y[m][n] = act(x[m][k] · w[n][k]ᵀ · scales + bias).
 *
 * The library counts columns first: what it multiplies is w (transposed) with x, and its result, n × m, is y. So w is
 * its A, and the scales of channels are A's, those of rows B's.
 */
#ifndef CUDA_LT_PRODUCT_H
#define CUDA_LT_PRODUCT_H

#include "backend/cuda/lt_library.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lt_type { LT_E4M3 = 0, LT_F16 = 1, LT_BF16 = 2, LT_F32 = 3, LT_INT8 = 4, LT_INT32 = 5 } lt_type;

typedef enum lt_scales {
  LT_SCALES_NONE = 0,
  LT_SCALES_OUTER = 1 /* E4M3: an FP32 for each channel and one for each row */
} lt_scales;

typedef struct lt_problem {
  lt_type input, output; /* x and w; y (and the bias, for 16-bit outputs; F32's is BF16) */
  lt_scales scales;
  int full; /* E4M3: 1 sums in FP32 every few steps, 0 in the tensor core */
  int bias; /* 1: of the output's type */
  int gelu; /* tanh form, after the bias */
  int m, n, k;
} lt_problem;

/* What a product reads and writes; device memory. x, w, y 16-byte aligned. */
typedef struct lt_operands {
  const void *x, *w;
  const float *channel_scale, *row_scale; /* [n], [m]; NULL without LT_SCALES_OUTER */
  const void *bias;                       /* [n] or NULL */
  void *y;
  void *workspace;
  size_t workspace_bytes;
} lt_operands;

/* An algorithm by its numbers, as a table keeps it: equal numbers, equal bits. id < 0: none. */
typedef struct lt_algorithm {
  int32_t id;
  uint32_t tile, stages, split_k, reduction, swizzle, custom, inner, cluster;
} lt_algorithm;

typedef struct lt_product {
  lt_problem problem;
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t a, b, d;
  cublasLtMatmulAlgo_t algo;
  size_t workspace_bytes; /* that algo needs */
} lt_product;

/* Describes the product and fixes its algorithm: wanted, or, when that is NULL or the library refuses it, the first
 * that the library proposes for workspace_bytes (the same for equal versions, GPUs and problems). Errors: E_UNSUPPORTED
 * (the library has none for this problem; its status is in the message). */
viva_status lt_product_make(const lt_library *lt, const lt_problem *problem, const lt_algorithm *wanted,
                            size_t workspace_bytes, lt_product *product, viva_error *error);

/* What the library proposes, best first by its own estimate; at most most. For `viva tune`. */
int lt_product_proposals(const lt_library *lt, const lt_product *product, size_t workspace_bytes, int most,
                         lt_algorithm *proposals);

/* The algorithm that a product will use. */
lt_algorithm lt_product_algorithm(const lt_library *lt, const lt_product *product);

/* Queues the product. Errors: E_INTERNAL with the library's status. */
viva_status lt_product_run(const lt_library *lt, lt_product *product, const lt_operands *o, cudaStream_t stream,
                           viva_error *error);

void lt_product_end(const lt_library *lt, lt_product *product);

#ifdef __cplusplus
}
#endif
#endif
