/* gemm_tall.cu: tiles of GEMM_TAIL rows more, for weights that are widened on the way: beside those the stages have room. */
#include "backend/cuda/gemm_kernel.cuh"
#include "backend/cuda/gemm_kernels.h"

template <class Codes> static gemm_code of_act(gemm_act act) {
  typedef typename Codes::tall codes;
  const void *kernel = act == GEMM_SWIGLU ? (const void *)gemm_kernel<codes, GEMM_SWIGLU, GEMM_F32>
                                          : (const void *)gemm_kernel<codes, GEMM_PLAIN, GEMM_F32>;
  return {kernel, codes::stage::SHARED_BYTES};
}

gemm_code gemm_tall_code(gemm_kind kind, gemm_act act) {
  return kind == GEMM_NVFP4_F16 ? of_act<gemm_nvfp4_f16>(act) : of_act<gemm_fp8_f16>(act);
}
