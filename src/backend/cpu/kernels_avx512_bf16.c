/* backend/cpu/kernels_avx512_bf16.c: rows of codes times FP8 and NVFP4 as pairs of BF16, with AVX512_BF16 and AVX512_VBMI. */
#if defined(__x86_64__)
#include "backend/cpu/fp8_blocks.h"
#include "backend/cpu/fp8_pairs.h"
#include "backend/cpu/nvfp4_pairs.h"

void kernels_avx512_bf16(cpu_kernels *k) {
  k->name = "avx512-bf16";
  pairs_kernels(k);
  scaled_kernels(k);
  nvfp4_pairs_kernels(k);
}
#endif
