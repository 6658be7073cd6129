/* gemm_int8_24.cu: INT8 rows times INT8 2:4 weights. */
#include "backend/cuda/gemm_choose.cuh"

gemm_code gemm_int8_24_code(gemm_act act, gemm_output output) { return gemm_choose<gemm_int8_24>(act, output); }
