/* activation.cuh: what is applied to a sum, in FP32. For v < 0 nothing is a difference of near values. */
#ifndef CUDA_ACTIVATION_CUH
#define CUDA_ACTIVATION_CUH

#include "backend/backend.h"

/* v / (1 + e^−u): SiLU with u = v, and GELU's tanh form */
static __device__ __forceinline__ float gated(float v, float u) { return __fdiv_rn(v, __fadd_rn(1, expf(-u))); }

static __device__ __forceinline__ float silu(float v) { return gated(v, v); }

static __device__ __forceinline__ float activated(activation act, float v) {
  switch (act) {
  case ACTIVATION_GELU_TANH: /* u = 2√(2/π) · (v + 0.044715 v³) */
    return gated(v, __fmul_rn(1.5957691216f, fmaf(__fmul_rn(0.044715f, v), __fmul_rn(v, v), v)));
  case ACTIVATION_GELU_ERF: return __fmul_rn(__fmul_rn(0.5f, v), erfcf(__fmul_rn(-0.70710678118f, v)));
  case ACTIVATION_SILU: return silu(v);
  default: return v;
  }
}

#endif
