/* step_turn.cuh: a head's vector normed, turned and put into a page, by a warp. */
#ifndef CUDA_STEP_TURN_CUH
#define CUDA_STEP_TURN_CUH

#include <cuda_fp8.h>

#include "backend/backend.h"
#include "backend/cuda/step_math.cuh"

#define ROPE_QUADS    2
#define ROPE_MOST_DIM (4 * ROPE_QUADS * STEP_WARP)

struct rope_args {
  const uint32_t *positions, *sequence;
  const batch_span *spans;
  void *const *pages;
  const float *cos_sin;
  float *q, *k, *v;
  size_t q_stride, kv_stride, layer_at; /* of the layer in a page */
  kv_layout kv;
  uint32_t q_heads, kv_heads, dim, rotary_dim;
  const float *q_norm, *k_norm;
  float eps;
  bool whole; /* vectors, their halves and the angles begin at multiples of 16 bytes */
};

/* A head's vector before it is turned: values normed, if they are to be. */
struct rope_head {
  const float *x, *gain; /* gain NULL: as they are */
  float scale;

  __device__ float at(uint32_t d) const { return gain ? normed(x[d], scale, gain[d]) : x[d]; }
  __device__ __forceinline__ float4 quad(uint32_t d) const { /* x + d and gain + d: 16-byte aligned */
    const float4 v = *reinterpret_cast<const float4 *>(x + d);
    return gain ? normed(v, scale, *reinterpret_cast<const float4 *>(gain + d)) : v;
  }
};

/* As norm_kernel adds up a vector of at most 256 in a warp. */
static __device__ float head_scale(const float *x, uint32_t dim, float eps, uint32_t lane) {
  float squares = 0;
#pragma unroll
  for (uint32_t i = 0; i < ROPE_QUADS; i++) {
    const uint32_t d = 4 * (lane + i * STEP_WARP);
    if (d < dim) squares = add_squares(squares, load_quad(x, d, dim, false));
  }
  return norm_scale(warp_sum(squares), dim, eps);
}

/* Dimension d turned with its partner: (a, b) to (a cos − b sin, b cos + a sin). */
static __device__ float turned(const rope_args &a, const rope_head &head, const float *cos_sin, uint32_t d) {
  const uint32_t half = a.rotary_dim / 2;
  const float own = head.at(d);
  if (d >= a.rotary_dim) return own;
  const bool first = d < half;
  const uint32_t pair = first ? d : d - half;
  const float other = head.at(first ? d + half : pair), turn = __fmul_rn(other, cos_sin[half + pair]);
  const float kept = __fmul_rn(own, cos_sin[pair]);
  return first ? __fsub_rn(kept, turn) : __fadd_rn(kept, turn);
}

/* Dimensions first … + 3, turned if the head turns; zeros beyond dim. WHOLE: by quads, none of which holds both ends of a half
 * and all of which lie at multiples of 16 bytes (rope_whole): all that is read is asked for at once. */
template <bool WHOLE>
static __device__ __forceinline__ void turned_quad(const rope_args &a, const rope_head &head, const float *cos_sin,
                                                   uint32_t first, bool turns, float (&v)[4]) {
  if constexpr (!WHOLE) {
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
      const uint32_t d = first + j;
      v[j] = d >= a.dim ? 0 : turns ? turned(a, head, cos_sin, d) : head.at(d);
    }
    return;
  }
  const uint32_t half = a.rotary_dim / 2;
  float4 own = make_float4(0, 0, 0, 0);
  if (first < a.dim) own = head.quad(first);
  v[0] = own.x, v[1] = own.y, v[2] = own.z, v[3] = own.w;
  if (!turns || first >= a.rotary_dim) return;
  const bool low = first < half;
  const uint32_t pair = low ? first : first - half;
  const float4 other = head.quad(low ? first + half : pair);
  const float4 cosine = *reinterpret_cast<const float4 *>(cos_sin + pair);
  const float4 sine = *reinterpret_cast<const float4 *>(cos_sin + half + pair);
  const float others[4] = {other.x, other.y, other.z, other.w};
  const float cosines[4] = {cosine.x, cosine.y, cosine.z, cosine.w}, sines[4] = {sine.x, sine.y, sine.z, sine.w};
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const float kept = __fmul_rn(v[j], cosines[j]), turn = __fmul_rn(others[j], sines[j]);
    v[j] = low ? __fsub_rn(kept, turn) : __fadd_rn(kept, turn);
  }
}

/* -- into the page. at: the vector's first byte */

static __device__ void append_plain(char *at, kv_type type, uint32_t d, float v) {
  if (type == KV_F16)
    reinterpret_cast<__half *>(at)[d] = __float2half_rn(v);
  else
    reinterpret_cast<float *>(at)[d] = v;
}

/* A quad into a page of F16 or F32. WHOLE: dimensions come in fours. */
template <bool WHOLE>
static __device__ __forceinline__ void append_quad(char *at, kv_type type, uint32_t dim, uint32_t first,
                                                   const float (&v)[4]) {
  if (WHOLE && type == KV_F16) {
    if (first < dim)
      *reinterpret_cast<uint2 *>(at + first * sizeof(__half)) = to_half_quad(make_float4(v[0], v[1], v[2], v[3]));
    return;
  }
#pragma unroll
  for (uint32_t j = 0; j < 4; j++)
    if (first + j < dim) append_plain(at, type, first + j, v[j]);
}

/* The scale of a head's codes: absmax / 448 as F16, rounded up so that no code saturates. */
static __device__ __half append_scale(uint32_t largest, float *divisor) {
  const float exact = __fdiv_rn(__uint_as_float(largest), FP8_LARGEST);
  __half up = __float2half_rn(exact);
  if (__half2float(up) < exact) up = __ushort_as_half((unsigned short)(__half_as_ushort(up) + 1));
  *divisor = __half_as_ushort(up) ? __half2float(up) : 1;
  return up;
}

static __device__ void append_fp8(char *at, __half *scale, const float (&v)[ROPE_QUADS][4], uint32_t dim,
                                  uint32_t lane) {
  uint32_t largest = 0; /* of the finite values */
  bool nonfinite = false;
#pragma unroll
  for (uint32_t i = 0; i < ROPE_QUADS; i++)
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
      const uint32_t bits = magnitude(v[i][j]);
      nonfinite |= bits >= STEP_INFINITE;
      if (bits < STEP_INFINITE) largest = max(largest, bits);
    }
  largest = __reduce_max_sync(~0u, largest);
  nonfinite = __any_sync(~0u, nonfinite);
  float divisor;
  const __half up = append_scale(largest, &divisor);
  if (lane == 0) *scale = nonfinite ? __ushort_as_half(0x7e00) : up;
#pragma unroll
  for (uint32_t i = 0; i < ROPE_QUADS; i++)
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
      const uint32_t d = 4 * (lane + i * STEP_WARP) + j;
      if (d < dim) at[d] = (char)__nv_cvt_float_to_fp8(__fdiv_rn(v[i][j], divisor), __NV_SATFINITE, __NV_E4M3);
    }
}

/* Pages lie so when head_dim is a multiple of 8. */
static inline bool rope_whole(const rope_args &a) {
  return a.rotary_dim % 8 == 0 && quads_fit(a.q, a.q_stride, a.dim) && quads_fit(a.k, a.kv_stride, a.dim) &&
         quads_fit(a.v, a.kv_stride, a.dim) && ((size_t)a.q_norm | (size_t)a.k_norm | (size_t)a.cos_sin) % 16 == 0;
}

/* What the kernels are told of a step's rotation. */
static inline rope_args rope_args_of(const rope_append_args *a, const float *q_norm, const float *k_norm, float eps) {
  const batch *step = a->step;
  rope_args args = {};
  args.positions = step->positions;
  args.sequence = step->sequence;
  args.spans = step->spans;
  args.pages = step->pages;
  args.cos_sin = step->cos_sin;
  args.q = a->q;
  args.k = a->k;
  args.v = a->v;
  args.q_stride = a->q_stride;
  args.kv_stride = a->kv_stride;
  args.layer_at = a->layer * step->kv.layer_bytes;
  args.kv = step->kv;
  args.q_heads = (uint32_t)a->h.q_heads;
  args.kv_heads = (uint32_t)a->h.kv_heads;
  args.dim = (uint32_t)a->h.head_dim;
  args.rotary_dim = (uint32_t)a->rotary_dim;
  args.q_norm = q_norm;
  args.k_norm = k_norm;
  args.eps = eps;
  args.whole = rope_whole(args);
  return args;
}

#endif
