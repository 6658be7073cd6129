/* step_attention.cu: attention of single rows over pages where clusters of blocks do not take them (step_cluster.cu).
 *
 * A row's positions are cut into units of ATTEND_UNIT, the units into `splits` contiguous shares, whatever the row's length:
 *
 *   grid     splits × (kv heads · slices) × rows: a block has one share of a row, and up to GROUP q heads that read
 *            one kv head (a larger group has several slices), so that K and V are read once
 *   warp     of 8: every eighth run of positions of the share; it needs no other until the end
 *   lanes    LANES of a warp hold a vector, 8 values each; 32 / LANES positions side by side, each with its own running
 *            (max, sum, out) of every q head
 *
 *            lane   0 … 15        16 … 31           LANES = 16: head_dim 72 to 128
 *            warp 0 position 0    position 1
 *            warp 1 position 2    position 3  …     then 16 further on
 *
 * The states are merged in a fixed tree: lanes, warps, then shares, by the last block of the row and kv head to
 * arrive: the bits depend on the row's own positions alone.
 */
#include "backend/cuda/step_attend.cuh"
#include "backend/cuda/step_cluster.h"
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_tiles.h"

struct attend_args {
  const uint32_t *positions, *sequence;
  attend_rows_of rows;
  const batch_span *spans;
  void *const *pages;
  const float *q;
  float *out;       /* or half_out */
  __half *half_out; /* rows out_stride apart, too */
  size_t q_stride, out_stride, layer_at;
  size_t head_bytes, values_at, key_scales_at, value_scales_at;
  uint32_t dim, group, slices, window, first; /* first: number of the launch's first row */
  float scale;
  float *partial; /* [row][kv head, slice][slot of a share] of attend_partial */
  uint32_t *arrived;
};

#define ATTEND_MANY_SPANS 16 /* of which rows of spans of one row alone are attended by themselves */

/* All positions of a warp's part of the share. */
template <kv_type TYPE, int LANES, int GROUP>
static __device__ __forceinline__ void attend_positions(attend_state<GROUP> *state, const attend_args &a,
                                                        const attend_cache &cache, const attend_share &share,
                                                        const float *q, uint32_t heads) {
  constexpr uint32_t SIDE = STEP_WARP / LANES, STEP = ATTEND_WARPS * SIDE; /* positions of a warp, of all */
  const uint32_t lane = threadIdx.x % STEP_WARP, warp = threadIdx.x / STEP_WARP;
  const uint32_t piece = lane % LANES;
  const bool there = piece * CACHE_PIECE < a.dim;
  float queries[GROUP][CACHE_PIECE];
#pragma unroll
  for (int h = 0; h < GROUP; h++)
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++)
      queries[h][i] = there && (uint32_t)h < heads ? q[(size_t)h * a.dim + piece * CACHE_PIECE + i] : 0;
  /* a warp's positions begin together, so that its lanes stay together */
  for (uint32_t p = share.begin + warp * SIDE; p < share.end; p += STEP * ATTEND_TOGETHER) {
    const uint32_t mine = p + lane / LANES;
    attend_batch<TYPE> batch;
    float scores[ATTEND_TOGETHER][GROUP];
    attend_load(&batch, cache, mine, STEP, share.end, piece, there);
    attend_scores<TYPE, LANES, GROUP>(scores, batch, queries, a.scale);
#pragma unroll
    for (int u = 0; u < ATTEND_TOGETHER; u++)
      if (mine + (uint32_t)u * STEP >= share.end)
#pragma unroll
        for (int h = 0; h < GROUP; h++) scores[u][h] = -CUDART_INF_F;
    attend_add(state, scores, batch);
  }
}

/* -- from warps to the block's share, from shares to the row */

/* A share's sums of one kv head and slice in scratch: out [GROUP][dim], most [GROUP], sum [GROUP]. */
static __host__ __device__ __forceinline__ size_t attend_partial(uint32_t group, uint32_t dim) {
  return group * ((size_t)dim + 2);
}

struct attend_target {
  size_t row;
  uint32_t head, heads, dim; /* first q head, how many */
};

static __device__ __forceinline__ void attend_store(const attend_args &a, const attend_target &t, uint32_t h,
                                                    uint32_t d, float v) {
  const size_t at = t.row * a.out_stride + (t.head + h) * (size_t)t.dim + d;
  if (a.half_out)
    a.half_out[at] = __float2half_rn(v);
  else
    a.out[at] = v;
}

/* The last block to arrive has seen what all the others wrote. */
template <class Shared>
static __device__ __forceinline__ bool attend_is_last(Shared *s, uint32_t *arrived, uint32_t count) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    s->last = atomicAdd(arrived, 1) + 1 == count;
    if (s->last) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  return s->last;
}

template <kv_type TYPE, int LANES, int GROUP>
static __global__ void __launch_bounds__(ATTEND_THREADS) attend_kernel(const attend_args a) {
  constexpr int VALUES = GROUP * LANES * CACHE_PIECE;
  static_assert(VALUES <= ATTEND_MOST_VALUES, "a block's sums fit shared memory");
  static_assert(GROUP <= ATTEND_WARPS, "a warp for each head weighs its shares");
  __shared__ attend_shared<GROUP, VALUES> shared;
  step_begin_kernel();
  attend_row found;
  if (!a.rows.find(a.first + blockIdx.z, &found)) return;
  const uint32_t row = found.row;
  const attend_share share = share_of(a.positions[row], a.window, blockIdx.x, gridDim.x);
  if (share.begin >= share.end) return;
  const uint32_t kv_head = blockIdx.y / a.slices, slice = blockIdx.y % a.slices;
  const attend_target target = {found.out, kv_head * a.group + slice * GROUP,
                                min((uint32_t)GROUP, a.group - slice * GROUP), a.dim};
  const size_t head_at = a.layer_at + kv_head * a.head_bytes,
               scale_at = a.layer_at + kv_head * KV_PAGE * sizeof(__half);
  const attend_cache cache = {a.pages + a.spans[a.sequence[row]].first_page,
                              head_at,
                              head_at + a.values_at,
                              scale_at + a.key_scales_at,
                              scale_at + a.value_scales_at,
                              (uint32_t)(a.head_bytes / KV_PAGE)};
  const float *q = a.q + row * a.q_stride + target.head * (size_t)a.dim;

  attend_state<GROUP> state;
  attend_clear(&state);
  attend_positions<TYPE, LANES, GROUP>(&state, a, cache, share, q, target.heads);
#pragma unroll
  for (int lanes = LANES; lanes < STEP_WARP; lanes *= 2) attend_merge_lanes(&state, lanes);

  const uint32_t lane = threadIdx.x % STEP_WARP, warp = threadIdx.x / STEP_WARP;
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    if (lane < LANES) {
#pragma unroll
      for (int i = 0; i < CACHE_PIECE; i++)
        shared.out[warp][(h * LANES + (int)lane) * CACHE_PIECE + i] = state.out[h][i];
    }
    if (lane == 0) {
      shared.most[warp][h] = state.most[h];
      shared.sum[warp][h] = state.sum[h];
    }
  }
  __syncthreads();
  attend_weigh(
      &shared, ATTEND_WARPS, [&](uint32_t i, uint32_t h) { return shared.most[i][h]; },
      [&](uint32_t i, uint32_t h) { return shared.sum[i][h]; });

  const uint32_t values = GROUP * a.dim;
  auto of_warps = [&](uint32_t h, uint32_t d) {
    float v = 0;
#pragma unroll
    for (int w = 0; w < ATTEND_WARPS; w++) v = fmaf(shared.out[w][h * LANES * CACHE_PIECE + d], shared.weight[w][h], v);
    return v;
  };
  if (share.filled == 1) {
    for (uint32_t i = threadIdx.x; i < target.heads * a.dim; i += ATTEND_THREADS)
      attend_store(a, target, i / a.dim, i % a.dim,
                   __fdiv_rn(of_warps(i / a.dim, i % a.dim), shared.all_sum[i / a.dim]));
    return;
  }
  const size_t of_row = blockIdx.z * (size_t)gridDim.y + blockIdx.y;
  float *const all = a.partial + of_row * gridDim.x * attend_partial(GROUP, a.dim);
  float *const mine = all + share.slot * attend_partial(GROUP, a.dim);
  for (uint32_t i = threadIdx.x; i < values; i += ATTEND_THREADS) mine[i] = of_warps(i / a.dim, i % a.dim);
  if (threadIdx.x < GROUP) {
    mine[values + threadIdx.x] = shared.all_most[threadIdx.x];
    mine[values + GROUP + threadIdx.x] = shared.all_sum[threadIdx.x];
  }
  if (!attend_is_last(&shared, a.arrived + of_row, share.filled)) return;

  auto of_share = [&](uint32_t slot, uint32_t i) { return __ldcg(all + slot * attend_partial(GROUP, a.dim) + i); };
  attend_weigh(
      &shared, share.filled, [&](uint32_t i, uint32_t h) { return of_share(i, values + h); },
      [&](uint32_t i, uint32_t h) { return of_share(i, values + GROUP + h); });
  for (uint32_t i = threadIdx.x; i < target.heads * a.dim; i += ATTEND_THREADS) {
    float v = 0;
#pragma unroll 8
    for (uint32_t slot = 0; slot < share.filled; slot++) v = fmaf(of_share(slot, i), shared.weight[slot][i / a.dim], v);
    attend_store(a, target, i / a.dim, i % a.dim, __fdiv_rn(v, shared.all_sum[i / a.dim]));
  }
}

/* -- launch */

typedef void attend_function(const attend_args);

/* Rows of a launch: as many as have counters. */
static size_t attend_rows(head_shape h, const attend_shape &s) {
  const size_t rows = STEP_COUNTERS / (h.kv_heads * s.slices);
  return rows < STEP_ROWS ? rows : STEP_ROWS;
}

template <kv_type TYPE> static attend_function *attend_kernel_of(const attend_shape &s) {
  switch (s.lanes * 16 + s.group) {
  case 8 * 16 + 1: return attend_kernel<TYPE, 8, 1>;
  case 8 * 16 + 4: return attend_kernel<TYPE, 8, 4>;
  case 8 * 16 + 8: return attend_kernel<TYPE, 8, 8>;
  case 16 * 16 + 1: return attend_kernel<TYPE, 16, 1>;
  case 16 * 16 + 4: return attend_kernel<TYPE, 16, 4>;
  case 16 * 16 + 8: return attend_kernel<TYPE, 16, 8>;
  case 32 * 16 + 1: return attend_kernel<TYPE, 32, 1>;
  default: return attend_kernel<TYPE, 32, 4>;
  }
}

const char *step_attention_refusal(head_shape h) {
  if (h.head_dim == 0 || h.head_dim % CACHE_PIECE || h.head_dim > ATTEND_MOST_DIM)
    return "heads of a multiple of 8 up to 256 values";
  if (h.kv_heads == 0 || h.q_heads % h.kv_heads) return "query heads that are a multiple of the key heads";
  if (h.q_heads > STEP_COUNTERS / 8) return "at most 512 query heads";
  return NULL;
}

size_t step_attention_scratch(head_shape h, int multiprocessors) {
  const attend_shape s = attend_shape_of(h, multiprocessors);
  const size_t cluster = step_cluster_scratch(h);
  const size_t own = attend_rows(h, s) * h.kv_heads * s.slices * s.splits *
                     attend_partial(s.group, (uint32_t)h.head_dim) * sizeof(float);
  return own > cluster ? own : cluster;
}

static int attend_all(step_queue q, attend_function *kernel, attend_args args, dim3 grid, size_t rows, size_t most) {
  for (size_t first = 0; first < rows; first += most) {
    args.first = (uint32_t)first;
    grid.z = (unsigned)(rows - first < most ? rows - first : most);
    const int status = step_launch(q, kernel, grid, ATTEND_THREADS, args);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

int step_attention(step_queue q, const attention_args *a, const step_half_rows *half, const step_work *work) {
  const batch *step = a->step;
  const kv_layout *kv = &step->kv;
  if (step_attention_refusal(a->h) || (half && kv->type != KV_F16)) return cudaErrorInvalidValue;
  const size_t rows = a->kept ? step->kept : step->rows, spans = a->kept ? step->kept_span_count : step->span_count;
  const uint32_t few = spans == 1 ? 0 : spans > ATTEND_MANY_SPANS ? 1 : ATTEND_FEW;
  int tiles = 0;
  if (rows > STEP_ROWS && rows > spans && kv->type != KV_F32) {
    const int status = step_attention_tiles(q, a, half, few + 1, work, &tiles);
    if (status != cudaSuccess || (tiles && spans == 1)) return status;
  }
  const attend_rows_of rows_of = attend_rows_of_step(a, tiles ? few : 0);
  if (work->clusters) return step_cluster_attention(q, NULL, a, half, rows_of, work);
  const attend_shape shape = attend_shape_of(a->h, work->multiprocessors);
  const attend_args args = {.positions = step->positions,
                            .sequence = step->sequence,
                            .rows = rows_of,
                            .spans = step->spans,
                            .pages = step->pages,
                            .q = a->q,
                            .out = a->out,
                            .half_out = half ? reinterpret_cast<__half *>(half->rows) : NULL,
                            .q_stride = a->q_stride,
                            .out_stride = half ? half->stride : a->out_stride,
                            .layer_at = a->layer * kv->layer_bytes,
                            .head_bytes = kv->head_bytes,
                            .values_at = kv->values_at,
                            .key_scales_at = kv->key_scales_at,
                            .value_scales_at = kv->value_scales_at,
                            .dim = (uint32_t)a->h.head_dim,
                            .group = (uint32_t)(a->h.q_heads / a->h.kv_heads),
                            .slices = shape.slices,
                            .window = a->window < UINT32_MAX ? (uint32_t)a->window : 0,
                            .first = 0,
                            .scale = a->scale,
                            .partial = static_cast<float *>(work->scratch),
                            .arrived = work->counters};
  attend_function *const kernel = kv->type == KV_F16   ? attend_kernel_of<KV_F16>(shape)
                                  : kv->type == KV_F32 ? attend_kernel_of<KV_F32>(shape)
                                                       : attend_kernel_of<KV_FP8>(shape);
  const dim3 grid(shape.splits, (unsigned)a->h.kv_heads * shape.slices);
  return attend_all(q, kernel, args, grid, attend_rows_count(a, rows_of), attend_rows(a->h, shape));
}
