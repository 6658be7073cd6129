/* step_math.cuh: arithmetic that several kernels of a step share, each operation rounded as written, so that a fused
 * kernel gives the bits of those that it replaces. */
#ifndef CUDA_STEP_MATH_CUH
#define CUDA_STEP_MATH_CUH

#include <cuda_fp16.h>
#include <math_constants.h>
#include <stdint.h>

#include "backend/cuda/activation.cuh"

#define STEP_WARP 32

static __device__ __forceinline__ float4 operator*(float4 v, float s) {
  return make_float4(__fmul_rn(v.x, s), __fmul_rn(v.y, s), __fmul_rn(v.z, s), __fmul_rn(v.w, s));
}

/* -- sums, in an order that follows from the number of threads */

static __device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int lane = STEP_WARP / 2; lane > 0; lane /= 2) v = __fadd_rn(v, __shfl_xor_sync(~0u, v, lane));
  return v;
}

/* Of a block of whole warps, in every thread. `parts`: shared memory for a value of each warp. */
static __device__ __forceinline__ float block_sum(float v, float *parts) {
  v = warp_sum(v);
  if (blockDim.x == STEP_WARP) return v;
  if (threadIdx.x % STEP_WARP == 0) parts[threadIdx.x / STEP_WARP] = v;
  __syncthreads();
  const unsigned lane = threadIdx.x % STEP_WARP;
  return warp_sum(lane < blockDim.x / STEP_WARP ? parts[lane] : 0);
}

/* -- four neighbouring values of a vector of n that begins at v. vector: 16-byte loads are allowed (and n is a
 * multiple of 4). What lies beyond n reads as 0 and is not written. */

static __device__ __forceinline__ float4 load_quad(const float *v, size_t at, size_t n, bool vector) {
  if (vector) return *reinterpret_cast<const float4 *>(v + at);
  float4 quad = make_float4(0, 0, 0, 0);
  if (at < n) quad.x = v[at];
  if (at + 1 < n) quad.y = v[at + 1];
  if (at + 2 < n) quad.z = v[at + 2];
  if (at + 3 < n) quad.w = v[at + 3];
  return quad;
}

static __device__ __forceinline__ void store_quad(float *v, size_t at, size_t n, bool vector, float4 quad) {
  if (vector) {
    *reinterpret_cast<float4 *>(v + at) = quad;
    return;
  }
  if (at < n) v[at] = quad.x;
  if (at + 1 < n) v[at + 1] = quad.y;
  if (at + 2 < n) v[at + 2] = quad.z;
  if (at + 3 < n) v[at + 3] = quad.w;
}

static inline bool quads_fit(const void *v, size_t stride, size_t n) {
  return (size_t)v % 16 == 0 && stride % 4 == 0 && n % 4 == 0;
}

/* -- RMSNorm: each thread adds up the squares of its quads t, t + threads ... in one chain */

static __device__ __forceinline__ float add_squares(float sum, float4 v) {
  return fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, fmaf(v.x, v.x, sum))));
}

static __device__ __forceinline__ float norm_scale(float squares, size_t n, float eps) {
  return __fdiv_rn(1, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, (float)n), eps)));
}

static __device__ __forceinline__ float normed(float x, float scale, float gain) {
  return __fmul_rn(__fmul_rn(x, scale), gain);
}

static __device__ __forceinline__ float4 normed(float4 x, float scale, float4 gain) {
  return make_float4(normed(x.x, scale, gain.x), normed(x.y, scale, gain.y), normed(x.z, scale, gain.z),
                     normed(x.w, scale, gain.w));
}

/* -- magnitudes, ordered as their bits */

#define STEP_INFINITE 0x7f800000u

static __device__ __forceinline__ uint32_t magnitude(float v) { return __float_as_uint(v) & 0x7fffffff; }

static __device__ __forceinline__ uint2 to_half_quad(float4 v) {
  const __half2 low = __floats2half2_rn(v.x, v.y), high = __floats2half2_rn(v.z, v.w);
  return make_uint2(*reinterpret_cast<const uint32_t *>(&low), *reinterpret_cast<const uint32_t *>(&high));
}

#endif
