/* step_rope.cu: rotates q and k, and writes k and v to their pages. A warp for each head of a row:
 *
 *   heads of a row    q 0 … q_heads − 1 | k 0 … kv_heads − 1 | v 0 … kv_heads − 1
 *
 * A lane has quads lane and lane + 32 of its head, in one load each where they lie at multiples of 16 bytes. What it
 * needs of other lanes' (the partner of a turned pair) it reads before any of them writes.
 */
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_turn.cuh"

#define ROPE_WARPS 4 /* of a block */

/* One head of a row, by a warp. */
struct rope_place {
  float *x;
  const float *gain; /* NULL: none */
  uint32_t kv_head;
  bool query, value;
};

static __device__ __forceinline__ rope_place rope_find(const rope_args &a, uint32_t row, uint32_t number) {
  const bool query = number < a.q_heads, value = number >= a.q_heads + a.kv_heads;
  const uint32_t kv_head = query ? 0 : value ? number - a.q_heads - a.kv_heads : number - a.q_heads;
  float *x = query ? a.q + row * a.q_stride + number * (size_t)a.dim
                   : (value ? a.v : a.k) + row * a.kv_stride + kv_head * (size_t)a.dim;
  return {x, query ? a.q_norm : value ? NULL : a.k_norm, kv_head, query, value};
}

template <bool WHOLE>
static __device__ __forceinline__ void rope_store(const rope_args &a, float *x, uint32_t first, const float (&v)[4]) {
  store_quad(x, first, a.dim, WHOLE, make_float4(v[0], v[1], v[2], v[3]));
}

/* WHOLE: dimensions come in fours, and 16 bytes are loaded and stored at once. */
template <bool WHOLE> static __global__ void __launch_bounds__(ROPE_WARPS *STEP_WARP) rope_kernel(const rope_args a) {
  step_begin_kernel();
  const uint32_t lane = threadIdx.x % STEP_WARP, row = blockIdx.x;
  const uint32_t number = blockIdx.y * ROPE_WARPS + threadIdx.x / STEP_WARP;
  if (number >= a.q_heads + 2 * a.kv_heads) return; /* whole warps */
  const rope_place p = rope_find(a, row, number);
  char *page = NULL;
  uint32_t position = 0;
  if (!p.query) { /* three loads, each of which waits for the one before: asked for first */
    position = a.positions[row];
    page = static_cast<char *>(a.pages[a.spans[a.sequence[row]].first_page + position / KV_PAGE]) + a.layer_at;
  }
  const float *cos_sin = a.cos_sin + row * (size_t)a.rotary_dim;
  const rope_head head = {p.x, p.gain, p.gain ? head_scale(p.x, a.dim, a.eps, lane) : 1};
  float v[ROPE_QUADS][4];
#pragma unroll
  for (uint32_t i = 0; i < ROPE_QUADS; i++) {
    const uint32_t first = 4 * (lane + i * STEP_WARP);
    turned_quad<WHOLE>(a, head, cos_sin, first, !p.value, v[i]);
  }
  __syncwarp(); /* all have read what they need */
#pragma unroll
  for (uint32_t i = 0; i < ROPE_QUADS; i++) {
    const uint32_t first = 4 * (lane + i * STEP_WARP);
    if (first < a.dim && !p.value) rope_store<WHOLE>(a, p.x, first, v[i]);
  }
  if (p.query) return;
  char *at = page + (p.value ? a.kv.values_at : 0) + p.kv_head * a.kv.head_bytes +
             position % KV_PAGE * (a.dim * a.kv.element_bytes);
  if (a.kv.type == KV_FP8) {
    const size_t scales_at = p.value ? a.kv.value_scales_at : a.kv.key_scales_at;
    append_fp8(at, reinterpret_cast<__half *>(page + scales_at) + p.kv_head * KV_PAGE + position % KV_PAGE, v, a.dim,
               lane);
    return;
  }
#pragma unroll
  for (uint32_t i = 0; i < ROPE_QUADS; i++) {
    const uint32_t first = 4 * (lane + i * STEP_WARP);
    append_quad<WHOLE>(at, a.kv.type, a.dim, first, v[i]);
  }
}

int step_rope_append(step_queue q, const rope_append_args *a, const float *q_norm, const float *k_norm, float eps) {
  const batch *step = a->step;
  if (step->rows == 0) return cudaSuccess;
  if (a->h.head_dim > ROPE_MOST_DIM) return cudaErrorInvalidValue;
  const rope_args args = rope_args_of(a, q_norm, k_norm, eps);
  const dim3 grid(step_side(step->rows), (unsigned)step_parts(a->h.q_heads + 2 * a->h.kv_heads, ROPE_WARPS));
  return step_launch(q, args.whole ? rope_kernel<true> : rope_kernel<false>, grid, ROPE_WARPS * STEP_WARP, args);
}
