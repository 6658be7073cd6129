/* gemm_kernels.h: which compiled kernel runs a problem. */
#ifndef CUDA_GEMM_KERNELS_H
#define CUDA_GEMM_KERNELS_H

#include "backend/cuda/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A kernel and the shared memory of a block; NULL where there is none for this activation and bytes of a result. */
typedef struct gemm_code {
  const void *kernel;
  int shared_bytes;
} gemm_code;

gemm_code gemm_fp8_code(gemm_kind kind, gemm_act act, gemm_output output);
gemm_code gemm_f16_code(gemm_kind kind, gemm_act act, gemm_output output);
gemm_code gemm_int8_24_code(gemm_act act, gemm_output output);

/* The same for tiles of GEMM_TAIL rows more (gemm_tall). */
gemm_code gemm_tall_code(gemm_kind kind, gemm_act act);

/* Of up to GEMM_FEW_TOKENS rows: PLAIN or SWIGLU, results in FP32. */
/* ordered: of weights that are there in gemv_order.h's order. */
gemm_code gemm_few_code(gemm_kind kind, gemm_act act, int m, int ordered);

#ifdef __cplusplus
}
#endif
#endif
