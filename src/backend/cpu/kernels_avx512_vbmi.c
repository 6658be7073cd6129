/* backend/cpu/kernels_avx512_vbmi.c: what AVX512_VBMI and AVX512_VNNI do faster than the table of kernels_avx512.c, with the
 * same bits. */
#if defined(__x86_64__)
#include "backend/cpu/fp8_vbmi.h"
#include "backend/cpu/sparse_avx512.h"

void kernels_avx512_vbmi(cpu_kernels *k) {
  fp8_vbmi_kernels(k);
  sparse_kernels(k);
}
#endif
