/* backend/cpu/kernels_avx512.c: the tuned kernels for AVX-512. */
#if defined(__x86_64__)
#include "backend/cpu/simd_avx512.h"
/* and its packed blocks */
#include "backend/cpu/packed_avx512.h"
/* after the vector words */
#include "backend/cpu/attention_simd.h"
#include "backend/cpu/blocks_simd.h"
#include "backend/cpu/codes_simd.h"
#include "backend/cpu/fp8_blocks.h"
#include "backend/cpu/fp8_pairs.h"
#include "backend/cpu/fp8_simd.h"
#include "backend/cpu/fp8_vbmi.h"
#include "backend/cpu/linear_simd.h"
#include "backend/cpu/nvfp4_pairs.h"
#include "backend/cpu/nvfp4_row.h"
#include "backend/cpu/rows_simd.h"
#include "backend/cpu/select_simd.h"
#include "backend/cpu/sparse_avx512.h"
#include "base/cpu.h"

void kernels_avx512_fp8(cpu_kernels *k, int vbmi) {
  fp8_kernels(k);
  if (vbmi) fp8_vbmi_kernels(k);
}

void kernels_avx512(cpu_kernels *k) {
  k->name = "avx512";
  linear_kernels(k);
  kernels_avx512_fp8(k, cpu_get()->avx512_vbmi);
  packed_kernels(k);
  nvfp4_kernels(k);
  select_kernels(k);
  kernels_avx512_sparse(k, cpu_get()->avx512_vnni && cpu_get()->avx512_vbmi);
  rows_kernels(k);
  attention_kernels(k);
}

void kernels_avx512_bf16(cpu_kernels *k) {
  k->name = "avx512-bf16";
  pairs_kernels(k);
  scaled_kernels(k);
  nvfp4_pairs_kernels(k);
}
#endif
