/* backend/cpu/kernels_avx512.c: the tuned kernels for AVX-512 F, BW, DQ and VL. */
#if defined(__x86_64__)
#include "backend/cpu/attention_simd.h"
#include "backend/cpu/blocks_simd.h"
#include "backend/cpu/codes_simd.h"
#include "backend/cpu/fp8_simd.h"
#include "backend/cpu/linear_simd.h"
#include "backend/cpu/nvfp4_row.h"
#include "backend/cpu/packed_widen.h"
#include "backend/cpu/rows_simd.h"
#include "backend/cpu/select_simd.h"

void kernels_avx512(cpu_kernels *k) {
  k->name = "avx512";
  linear_kernels(k);
  fp8_kernels(k);
  widen_kernels(k);
  nvfp4_kernels(k);
  select_kernels(k);
  codes_kernels(k);
  blocks_kernels(k);
  rows_kernels(k);
  attention_kernels(k);
}
#endif
