/* gemm_choose.cuh: the instances of one inner loop. */
#ifndef CUDA_GEMM_CHOOSE_CUH
#define CUDA_GEMM_CHOOSE_CUH

#include "backend/cuda/gemm_kernel.cuh"
#include "backend/cuda/gemm_kernels.h"

template <class Codes, gemm_act ACT> const void *gemm_choose_output(gemm_output output) {
  if (output == GEMM_F16) return (const void *)gemm_kernel<Codes, ACT, GEMM_F16>;
  if (output == GEMM_BF16) return (const void *)gemm_kernel<Codes, ACT, GEMM_BF16>;
  if constexpr (ACT == GEMM_GELU)
    return nullptr; /* in FP32 nobody asks for it: plain, and a pass of its own */
  else
    return (const void *)gemm_kernel<Codes, ACT, GEMM_F32>;
}

template <class Codes> gemm_code gemm_choose(gemm_act act, gemm_output output) {
  const void *kernel = act == GEMM_SWIGLU ? gemm_choose_output<Codes, GEMM_SWIGLU>(output)
                       : act == GEMM_GELU ? gemm_choose_output<Codes, GEMM_GELU>(output)
                                          : gemm_choose_output<Codes, GEMM_PLAIN>(output);
  return {kernel, Codes::stage::SHARED_BYTES};
}

#endif
