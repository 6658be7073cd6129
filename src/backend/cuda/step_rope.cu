/* step_rope.cu: rotates q and k, and writes k and v to their pages. A warp for each head of a row:
 *
 *   heads of a row    q 0 … q_heads − 1 | k 0 … kv_heads − 1 | v 0 … kv_heads − 1
 *
 * A lane has quads lane and lane + 32 of its head. What it needs of other lanes' (the partner of a turned pair) it
 * reads before any of them writes.
 */
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_turn.cuh"

#define ROPE_WARPS 4 /* of a block */

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
  const rope_args args = rope_args_of(a, q_norm, k_norm, eps);
  const dim3 grid(step_side(step->rows), (unsigned)step_parts(a->h.q_heads + 2 * a->h.kv_heads, ROPE_WARPS));
  return step_launch(q, rope_kernel, grid, ROPE_WARPS * STEP_WARP, args);
}
