/* gemm_fp8.cu: E4M3 rows times E4M3 weights. */
#include "backend/cuda/gemm_choose.cuh"

gemm_code gemm_fp8_code(gemm_kind kind, gemm_act act, gemm_output output) {
  return kind == GEMM_FP8_FULL ? gemm_choose<gemm_fp8_full>(act, output) : gemm_choose<gemm_fp8_fast>(act, output);
}
