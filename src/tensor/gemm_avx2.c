/* tensor/gemm_avx2.c: the same, compiled for AVX2: the same bits. */
#include "tensor/gemm.h"

#ifdef __AVX2__

#define GEMM_BLOCK gemm_block_avx2
#include "tensor/gemm_body.h"

#else

#include <stddef.h>

gemm_block gemm_block_avx2(viva_dtype type) {
  (void)type;
  return NULL;
}

#endif
