/* gemm_f16.cu: F16 rows times F16 weights, or E4M3 or NVFP4 ones that are widened on the way. */
#include "backend/cuda/gemm_choose.cuh"

gemm_code gemm_f16_code(gemm_kind kind, gemm_act act, gemm_output output) {
  if (kind == GEMM_NVFP4_F16) return gemm_choose<gemm_nvfp4_f16>(act, output);
  if (kind == GEMM_FP8_F16) return gemm_choose<gemm_fp8_f16>(act, output);
  return gemm_choose<gemm_f16_f16>(act, output);
}
