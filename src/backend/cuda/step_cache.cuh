/* step_cache.cuh: eight neighbouring values of a key or value in a page (backend/kv.h), as they lie in memory and as FP32. */
#ifndef CUDA_STEP_CACHE_CUH
#define CUDA_STEP_CACHE_CUH

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "backend/cuda/ptx.cuh"
#include "backend/kv.h"

#define CACHE_PIECE 8 /* values; head_dim is a multiple of it, so that pieces are aligned */

static __device__ __forceinline__ void half2_to_float(uint32_t pair, float *to) {
  const float2 two = __half22float2(*reinterpret_cast<const __half2 *>(&pair));
  to[0] = two.x;
  to[1] = two.y;
}

template <kv_type TYPE> struct cache_piece;

template <> struct cache_piece<KV_F16> {
  uint4 words;
  __device__ void clear() { words = make_uint4(0, 0, 0, 0); }
  __device__ void load(const char *vector, uint32_t piece) { words = reinterpret_cast<const uint4 *>(vector)[piece]; }
  __device__ void values(float (&to)[CACHE_PIECE]) const {
    half2_to_float(words.x, to);
    half2_to_float(words.y, to + 2);
    half2_to_float(words.z, to + 4);
    half2_to_float(words.w, to + 6);
  }
};

template <> struct cache_piece<KV_F32> {
  float4 low, high;
  __device__ void clear() { low = high = make_float4(0, 0, 0, 0); }
  __device__ void load(const char *vector, uint32_t piece) {
    low = reinterpret_cast<const float4 *>(vector)[2 * piece];
    high = reinterpret_cast<const float4 *>(vector)[2 * piece + 1];
  }
  __device__ void values(float (&to)[CACHE_PIECE]) const {
    to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
    to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
  }
};

/* Codes; the vector's scale is apart. */
template <> struct cache_piece<KV_FP8> {
  uint2 words;
  __device__ void clear() { words = make_uint2(0, 0); }
  __device__ void load(const char *vector, uint32_t piece) { words = reinterpret_cast<const uint2 *>(vector)[piece]; }
  __device__ void values(float (&to)[CACHE_PIECE]) const {
    uint32_t pairs[4];
    e4m3_to_half2(words.x, &pairs[0], &pairs[1]);
    e4m3_to_half2(words.y, &pairs[2], &pairs[3]);
#pragma unroll
    for (int i = 0; i < 4; i++) half2_to_float(pairs[i], to + 2 * i);
  }
};

#endif
