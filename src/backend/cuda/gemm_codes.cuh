/* gemm_codes.cuh: what becomes of a row whose largest magnitude is known (gemm_rows.h): its scale, its codes. */
#ifndef CUDA_GEMM_CODES_CUH
#define CUDA_GEMM_CODES_CUH

#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <stdint.h>

#include "backend/cuda/gemm_rows.h"
#include "number/layout.h"

#define CODES_MOST_THREADS 1024 /* of a block that has a row */

/* The largest bits of a magnitude in the block: ordered as the values are, and those of an infinity or a NaN above
 * all. */
static __device__ uint32_t block_largest(uint32_t bits) {
  __shared__ uint32_t of_warp[CODES_MOST_THREADS / 32];
  bits = __reduce_max_sync(0xFFFFFFFF, bits);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = bits;
  __syncthreads();
  return __reduce_max_sync(0xFFFFFFFF, threadIdx.x % 32 < blockDim.x / 32 ? of_warp[threadIdx.x % 32] : 0);
}

static __device__ __forceinline__ uint32_t magnitude_bits(float v) { return __float_as_uint(v) & 0x7FFFFFFF; }

/* Divides by a row's scale. With the reciprocal rounded to nearest, one step of Newton's gives the quotient rounded to
 * nearest (Markstein 1990), as long as nothing is subnormal on the way; a scale near FP32's ends takes the division. */
struct rows_division {
  float scale, reciprocal;
  bool plain;

  __device__ explicit rows_division(float scale_)
      : scale(scale_), reciprocal(1 / scale_), plain(!(scale_ > 0x1p-80f && scale_ < 0x1p80f)) {}
  __device__ float divided(float x) const { return x / scale; }
  __device__ float refined(float x) const {
    const float near = x * reciprocal;
    return fmaf(fmaf(-near, scale, x), reciprocal, near);
  }
  /* −0 becomes 0 where it is refined, so all kernels ask here. */
  __device__ float quotient(float x) const { return plain ? divided(x) : refined(x); }
};

/* The scale of a row whose largest magnitude has these bits; NaN for one that is not finite. */
template <rows_codes TO> __device__ float rows_scale(uint32_t largest) {
  if (largest >= 0x7F800000) return __uint_as_float(0x7FC00000);
  if (TO != ROWS_TO_F16) {
    const float most = TO == ROWS_TO_E4M3 ? FP8_LARGEST : TO == ROWS_TO_INT8 ? INT8_LARGEST : INT4_LARGEST;
    const float scale = __fdiv_rn(__uint_as_float(largest), most);
    return scale > 0 ? scale : 1; /* a row of zeros, or of less than the smallest scale */
  }
  int exponent = (int)(largest >> 23) - 127; /* of absmax < 2^(exponent + 1) */
  return __uint_as_float(largest) > 65504 ? __uint_as_float((uint32_t)(exponent + 1 - 15 + 127) << 23) : 1;
}

/* code: of a quotient. pair: of two, to[0] and to[1], aligned for both. */
template <rows_codes TO> struct rows_output;
template <> struct rows_output<ROWS_TO_E4M3> {
  typedef uint8_t type;
  static __device__ void pair(float low, float high, type *to) {
    *(uint16_t *)to = __nv_cvt_float2_to_fp8x2(make_float2(low, high), __NV_SATFINITE, __NV_E4M3);
  }
  static __device__ type code(float v) { return (uint8_t)__nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3); }
};
template <> struct rows_output<ROWS_TO_INT8> {
  typedef int8_t type;
  static __device__ void pair(float low, float high, type *to) { to[0] = code(low), to[1] = code(high); }
  static __device__ type code(float v) { return (int8_t)max(-INT8_LARGEST, min(INT8_LARGEST, __float2int_rn(v))); }
};
template <> struct rows_output<ROWS_TO_INT4> {
  typedef int8_t type;
  static __device__ void pair(float low, float high, type *to) { to[0] = code(low), to[1] = code(high); }
  static __device__ type code(float v) { return (int8_t)max(-INT4_LARGEST, min(INT4_LARGEST, __float2int_rn(v))); }
};
template <> struct rows_output<ROWS_TO_F16> {
  typedef __half type;
  static __device__ void pair(float low, float high, type *to) { to[0] = code(low), to[1] = code(high); }
  static __device__ type code(float v) { return __float2half_rn(v); }
};

#endif
