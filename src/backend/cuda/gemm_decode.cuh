/* gemm_decode.cuh: codes of weights as pairs of F16, in registers. */
#ifndef CUDA_GEMM_DECODE_CUH
#define CUDA_GEMM_DECODE_CUH

#include <cuda_fp16.h>
#include <stdint.h>

/* Two E4M3 to two F16: exact. */
__device__ __forceinline__ uint32_t e4m3_pair_to_f16(uint32_t pair) {
  uint32_t halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"((uint16_t)pair));
  return halves;
}

__device__ __forceinline__ uint32_t f16_pair_times(uint32_t a, uint32_t b) {
  uint32_t product;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}

/* Four bytes of low (0 to 3) and high (4 to 7), chosen by the nibbles of selector; with a nibble's bit 3 set, eight
 * times the sign of the byte. */
__device__ __forceinline__ uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t bytes;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(low), "r"(high), "r"(selector));
  return bytes;
}

/* Four E4M3 scales, each as a pair of equal F16. */
__device__ __forceinline__ void e4m3_four_to_f16_pairs(uint32_t (&pairs)[4], uint32_t four) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    uint32_t two = e4m3_pair_to_f16(four >> 16 * i);
    pairs[2 * i] = permute_bytes(two, 0, 0x1010);
    pairs[2 * i + 1] = permute_bytes(two, 0, 0x3232);
  }
}

/* The four E2M1 codes in the low 16 bits of codes as F16: exact. The byte permutation is a table of 8 bytes, the high
 * bytes of the magnitudes as F16 (the low ones are 0), looked up four times at once; with the highest bit of its
 * selector set it spreads the sign of a byte of the table, which turns a code's sign into all ones.
 *
 *   magnitude  0     0.5   1     1.5   2     3     4     6
 *   high byte  0x00  0x38  0x3C  0x3E  0x40  0x42  0x44  0x46 */
__device__ __forceinline__ void e2m1_four_to_f16(uint32_t codes, uint32_t *low_two, uint32_t *high_two) {
  uint32_t magnitudes = permute_bytes(0x3E3C3800, 0x46444240, codes & 0x7777);
  uint32_t signs = permute_bytes(0x80808080, 0x80808080, codes); /* 0x80, or 0xFF for a negative code */
  uint32_t bytes = magnitudes | (signs << 1 & 0x80808080);
  *low_two = permute_bytes(bytes, 0, 0x1404);
  *high_two = permute_bytes(bytes, 0, 0x3424);
}

#endif
