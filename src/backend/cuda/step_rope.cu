/* step_rope.cu: rotates q and k, and writes k and v to their pages. A warp for each head of a row:
 *
 *   heads of a row    q 0 … q_heads − 1 | k 0 … kv_heads − 1 | v 0 … kv_heads − 1
 *
 * A lane has quads lane and lane + 32 of its head. What it needs of other lanes' (the partner of a turned pair) it reads before
 * any of them writes.
 */
#include <cuda_fp8.h>

#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_math.cuh"

#define ROPE_WARPS    4 /* of a block */
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
};

/* A head's vector before it is turned: values normed, if they are to be. */
struct rope_head {
  const float *x, *gain; /* gain NULL: as they are */
  float scale;

  __device__ float at(uint32_t d) const { return gain ? normed(x[d], scale, gain[d]) : x[d]; }
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

/* -- into the page. at: the vector's first byte */

static __device__ void append_plain(char *at, kv_type type, uint32_t d, float v) {
  if (type == KV_F16)
    reinterpret_cast<__half *>(at)[d] = __float2half_rn(v);
  else
    reinterpret_cast<float *>(at)[d] = v;
}

/* The scale of a head's codes: absmax / 448 as F16, rounded up so that no code saturates; NaN for what is not finite. */
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

static __global__ void rope_kernel(const rope_args a) {
  step_begin_kernel();
  const uint32_t lane = threadIdx.x % STEP_WARP, row = blockIdx.x;
  const uint32_t number = blockIdx.y * ROPE_WARPS + threadIdx.x / STEP_WARP;
  if (number >= a.q_heads + 2 * a.kv_heads) return; /* whole warps */
  const bool query = number < a.q_heads, value = number >= a.q_heads + a.kv_heads;
  const uint32_t kv_head = query ? 0 : value ? number - a.q_heads - a.kv_heads : number - a.q_heads;
  float *x = query ? a.q + row * a.q_stride + number * (size_t)a.dim
                   : (value ? a.v : a.k) + row * a.kv_stride + kv_head * (size_t)a.dim;
  const float *gain = query ? a.q_norm : value ? NULL : a.k_norm;
  const float *cos_sin = a.cos_sin + row * (size_t)a.rotary_dim;
  const rope_head head = {x, gain, gain ? head_scale(x, a.dim, a.eps, lane) : 1};
  float v[ROPE_QUADS][4];
#pragma unroll
  for (uint32_t i = 0; i < ROPE_QUADS; i++)
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
      const uint32_t d = 4 * (lane + i * STEP_WARP) + j;
      v[i][j] = d >= a.dim ? 0 : value ? x[d] : turned(a, head, cos_sin, d);
    }
  __syncwarp(); /* all have read what they need */
  const uint32_t position = a.positions[row];
  char *page = static_cast<char *>(a.pages[a.spans[a.sequence[row]].first_page + position / KV_PAGE]) + a.layer_at;
  char *at = page + (value ? a.kv.values_at : 0) + kv_head * a.kv.head_bytes +
             position % KV_PAGE * (a.dim * a.kv.element_bytes);
  const size_t scales_at = value ? a.kv.value_scales_at : a.kv.key_scales_at;
#pragma unroll
  for (uint32_t i = 0; i < ROPE_QUADS; i++)
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
      const uint32_t d = 4 * (lane + i * STEP_WARP) + j;
      if (d < a.dim && !value) x[d] = v[i][j];
      if (d < a.dim && !query && a.kv.type != KV_FP8) append_plain(at, a.kv.type, d, v[i][j]);
    }
  if (!query && a.kv.type == KV_FP8)
    append_fp8(at, reinterpret_cast<__half *>(page + scales_at) + kv_head * KV_PAGE + position % KV_PAGE, v, a.dim,
               lane);
}

int step_rope_append(step_queue q, const rope_append_args *a, const float *q_norm, const float *k_norm, float eps) {
  const batch *step = a->step;
  if (step->rows == 0) return cudaSuccess;
  if (a->h.head_dim > ROPE_MOST_DIM) return cudaErrorInvalidValue;
  const rope_args args = {.positions = step->positions,
                          .sequence = step->sequence,
                          .spans = step->spans,
                          .pages = step->pages,
                          .cos_sin = step->cos_sin,
                          .q = a->q,
                          .k = a->k,
                          .v = a->v,
                          .q_stride = a->q_stride,
                          .kv_stride = a->kv_stride,
                          .layer_at = a->layer * step->kv.layer_bytes,
                          .kv = step->kv,
                          .q_heads = (uint32_t)a->h.q_heads,
                          .kv_heads = (uint32_t)a->h.kv_heads,
                          .dim = (uint32_t)a->h.head_dim,
                          .rotary_dim = (uint32_t)a->rotary_dim,
                          .q_norm = q_norm,
                          .k_norm = k_norm,
                          .eps = eps};
  const dim3 grid(step_side(step->rows), (unsigned)step_parts(a->h.q_heads + 2 * a->h.kv_heads, ROPE_WARPS));
  return step_launch(q, rope_kernel, grid, ROPE_WARPS * STEP_WARP, args);
}
