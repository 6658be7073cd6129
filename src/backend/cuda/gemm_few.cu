/* gemm_few.cu: the instances of the kernel of few rows. */
#include "backend/cuda/gemm_few.cuh"
#include "backend/cuda/gemm_kernels.h"
#include "backend/cuda/gemm_plan.h"

template <class Codes, int TOKENS> static gemm_code of_tokens(gemm_act act) {
  typedef typename gemm_few_of<Codes, TOKENS>::type codes;
  const void *kernel = act == GEMM_SWIGLU ? (const void *)gemm_few_kernel<codes, GEMM_SWIGLU, TOKENS>
                                          : (const void *)gemm_few_kernel<codes, GEMM_PLAIN, TOKENS>;
  return {kernel, codes::stage::SHARED_BYTES};
}

template <class Codes> static gemm_code of_rows(gemm_act act, int m) {
  switch (gemm_few_tokens(m)) {
  case GEMM_FEW_TOKENS / 4: return of_tokens<Codes, GEMM_FEW_TOKENS / 4>(act);
  case GEMM_FEW_TOKENS / 2: return of_tokens<Codes, GEMM_FEW_TOKENS / 2>(act);
  default: return of_tokens<Codes, GEMM_FEW_TOKENS>(act);
  }
}

gemm_code gemm_few_code(gemm_kind kind, gemm_act act, int m, int ordered) {
  if (ordered && kind == GEMM_FP8_F16) return of_rows<gemm_few_fp8>(act, m);
  switch (kind) {
  case GEMM_FP8_FAST: return of_rows<gemm_fp8_fast>(act, m);
  case GEMM_FP8_FULL: return of_rows<gemm_fp8_full>(act, m);
  case GEMM_FP8_F16: return of_rows<gemm_fp8_f16>(act, m);
  case GEMM_NVFP4_F16: return of_rows<gemm_nvfp4_f16>(act, m);
  case GEMM_INT8_24: return of_rows<gemm_int8_24>(act, m);
  case GEMM_F16_F16: return of_rows<gemm_f16_f16>(act, m);
  default: return {nullptr, 0};
  }
}
