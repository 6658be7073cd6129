/* step_attention.cu: attention of single rows over pages: decode, and what the tiled kernel does not take.
 *
 * A row's positions are cut into units of 16, the units into `splits` contiguous shares, whatever the row's length:
 *
 *   grid     splits × (kv heads · slices) × rows: a block has one share of a row, and up to GROUP q heads that read one kv head
 *            (a larger group has several slices), so that K and V are read once
 *   warp     of 8: every eighth run of positions of the share; it needs no other until the end
 *   lanes    LANES of a warp hold a vector, 8 values each; 32 / LANES positions side by side, each with its own running
 *            (max, sum, out) of every q head
 *
 *            lane   0 … 15        16 … 31           LANES = 16: head_dim 72 to 128
 *            warp 0 position 0    position 1
 *            warp 1 position 2    position 3  …     then 16 further on
 *
 * The states are merged in a fixed tree: lanes, warps, then shares, by the last block of the row and kv head to arrive: the bits
 * depend on the row's own positions alone.
 */
#include "backend/cuda/step_cache.cuh"
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_math.cuh"

#define ATTEND_WARPS       8
#define ATTEND_THREADS     (ATTEND_WARPS * STEP_WARP)
#define ATTEND_TOGETHER    4  /* positions that a lane reads before it computes */
#define ATTEND_UNIT        16 /* positions */
#define ATTEND_MOST_SPLITS 64
#define ATTEND_MOST_GROUP  8    /* q heads of a block */
#define ATTEND_MOST_VALUES 1024 /* q heads of a block × head_dim: 32 KB of shared memory */
#define ATTEND_MOST_DIM    256

struct attend_args {
  const uint32_t *positions, *sequence;
  const uint32_t *rows; /* the kept rows, or NULL: all */
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

/* The share of a block, in positions. */
struct attend_share {
  uint32_t begin, end;   /* begin ≥ end: none is left for it */
  uint32_t slot, filled; /* its place among the shares that have positions, and how many have */
};

static __device__ attend_share share_of(uint32_t position, uint32_t window, uint32_t split, uint32_t splits) {
  const uint32_t first = window && position + 1 > window ? position + 1 - window : 0;
  const uint32_t unit = first / ATTEND_UNIT, units = position / ATTEND_UNIT - unit + 1; /* below 2^26: positions are */
  const uint32_t from = units * split / splits, to = units * (split + 1) / splits;
  attend_share s = {};
  s.slot = units < splits ? from : split;
  s.filled = min(units, splits);
  s.begin = max(first, (unit + from) * ATTEND_UNIT);
  s.end = from == to ? 0 : min(position + 1, (unit + to) * ATTEND_UNIT);
  return s;
}

/* Largest score, and the sums of e^(score − largest) with it. */
static __device__ __forceinline__ float score_base(float largest) { return largest == -CUDART_INF_F ? 0 : largest; }

/* -- what a lane holds of each q head */

template <int GROUP> struct attend_state { float most[GROUP], sum[GROUP], out[GROUP][CACHE_PIECE]; };

template <int GROUP> static __device__ __forceinline__ void attend_clear(attend_state<GROUP> *s) {
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    s->most[h] = -CUDART_INF_F;
    s->sum[h] = 0;
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++) s->out[h][i] = 0;
  }
}

/* The same of other lanes, `lanes` further: both halves compute the same. */
template <int GROUP> static __device__ __forceinline__ void attend_merge_lanes(attend_state<GROUP> *s, int lanes) {
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    const float other_most = __shfl_xor_sync(~0u, s->most[h], lanes);
    const float other_sum = __shfl_xor_sync(~0u, s->sum[h], lanes);
    const float most = fmaxf(s->most[h], other_most), base = score_base(most);
    const float mine = expf(s->most[h] - base), others = expf(other_most - base);
    s->most[h] = most;
    s->sum[h] = __fadd_rn(__fmul_rn(s->sum[h], mine), __fmul_rn(other_sum, others));
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++) {
      const float other = __shfl_xor_sync(~0u, s->out[h][i], lanes);
      s->out[h][i] = __fadd_rn(__fmul_rn(s->out[h][i], mine), __fmul_rn(other, others));
    }
  }
}

/* -- positions */

/* Where a row's keys and values lie. */
struct attend_cache {
  void *const *pages;
  size_t keys_at, values_at, key_scales_at, value_scales_at; /* of this layer and kv head */
  uint32_t vector_bytes;

  __device__ const char *page(uint32_t position) const {
    return static_cast<const char *>(pages[position / KV_PAGE]) + position % KV_PAGE * vector_bytes;
  }
  __device__ float scale(uint32_t position, size_t at) const {
    const char *page = static_cast<const char *>(pages[position / KV_PAGE]) + at;
    return __half2float(reinterpret_cast<const __half *>(page)[position % KV_PAGE]);
  }
};

/* ATTEND_TOGETHER positions of a lane. */
template <kv_type TYPE> struct attend_batch {
  cache_piece<TYPE> keys[ATTEND_TOGETHER], values[ATTEND_TOGETHER];
  float key_scale[ATTEND_TOGETHER], value_scale[ATTEND_TOGETHER];
};

/* Positions begin, begin + step, …; what lies beyond end is not read: pages may hold anything there. */
template <kv_type TYPE>
static __device__ __forceinline__ void attend_load(attend_batch<TYPE> *b, const attend_cache &c, uint32_t begin,
                                                   uint32_t step, uint32_t end, uint32_t piece, bool there) {
#pragma unroll
  for (int u = 0; u < ATTEND_TOGETHER; u++) {
    const uint32_t p = begin + (uint32_t)u * step;
    b->keys[u].clear();
    b->values[u].clear();
    b->key_scale[u] = b->value_scale[u] = 1;
    if (p >= end) continue;
    if (there) {
      const char *vector = c.page(p);
      b->keys[u].load(vector + c.keys_at, piece);
      b->values[u].load(vector + c.values_at, piece);
    }
    if (TYPE == KV_FP8) {
      b->key_scale[u] = c.scale(p, c.key_scales_at);
      b->value_scale[u] = c.scale(p, c.value_scales_at);
    }
  }
}

/* Scores of the batch's positions for every q head, in every lane of a vector. */
template <kv_type TYPE, int LANES, int GROUP>
static __device__ __forceinline__ void attend_scores(float (&scores)[ATTEND_TOGETHER][GROUP],
                                                     const attend_batch<TYPE> &b, const float (&q)[GROUP][CACHE_PIECE],
                                                     float scale) {
#pragma unroll
  for (int u = 0; u < ATTEND_TOGETHER; u++) {
    float key[CACHE_PIECE];
    b.keys[u].values(key);
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < CACHE_PIECE; i++) sum = fmaf(q[h][i], key[i], sum);
#pragma unroll
      for (int lanes = LANES / 2; lanes > 0; lanes /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, lanes));
      scores[u][h] = __fmul_rn(__fmul_rn(sum, b.key_scale[u]), scale);
    }
  }
}

template <kv_type TYPE, int GROUP>
static __device__ __forceinline__ void attend_add(attend_state<GROUP> *s, float (&scores)[ATTEND_TOGETHER][GROUP],
                                                  const attend_batch<TYPE> &b) {
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    float most = s->most[h];
#pragma unroll
    for (int u = 0; u < ATTEND_TOGETHER; u++) most = fmaxf(most, scores[u][h]);
    const float base = score_base(most), shrink = expf(s->most[h] - base);
    float sum = 0;
#pragma unroll
    for (int u = 0; u < ATTEND_TOGETHER; u++) {
      scores[u][h] = expf(scores[u][h] - base);
      sum = __fadd_rn(sum, scores[u][h]);
      scores[u][h] = __fmul_rn(scores[u][h], b.value_scale[u]);
    }
    s->most[h] = most;
    s->sum[h] = fmaf(s->sum[h], shrink, sum);
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++) s->out[h][i] = __fmul_rn(s->out[h][i], shrink);
  }
#pragma unroll
  for (int u = 0; u < ATTEND_TOGETHER; u++) {
    float value[CACHE_PIECE];
    b.values[u].values(value);
#pragma unroll
    for (int h = 0; h < GROUP; h++)
#pragma unroll
      for (int i = 0; i < CACHE_PIECE; i++) s->out[h][i] = fmaf(scores[u][h], value[i], s->out[h][i]);
  }
}

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

template <int GROUP, int VALUES> struct attend_shared {
  float out[ATTEND_WARPS][VALUES]; /* of each warp */
  float most[ATTEND_WARPS][GROUP], sum[ATTEND_WARPS][GROUP];
  float weight[ATTEND_MOST_SPLITS][GROUP]; /* of each warp, then of each share */
  float all_most[GROUP], all_sum[GROUP];
  uint32_t last;
};

/* The states of warps or shares have most(i, h) and sum(i, h); their weights in the whole, its most and its sum. A warp for each
 * head. */
template <int GROUP, int VALUES, class Most, class Sum>
static __device__ __forceinline__ void attend_weigh(attend_shared<GROUP, VALUES> *s, uint32_t count, Most most,
                                                    Sum sum) {
  constexpr int PARTS = ATTEND_MOST_SPLITS / STEP_WARP;
  const uint32_t h = threadIdx.x / STEP_WARP, lane = threadIdx.x % STEP_WARP;
  if (h < GROUP) {
    float each[PARTS], largest = -CUDART_INF_F, total = 0;
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
      each[i] = lane + i * STEP_WARP < count ? most(lane + i * STEP_WARP, h) : -CUDART_INF_F;
      largest = fmaxf(largest, each[i]);
    }
#pragma unroll
    for (int l = STEP_WARP / 2; l > 0; l /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, l));
    const float base = score_base(largest);
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
      const float weight = expf(each[i] - base);
      s->weight[lane + i * STEP_WARP][h] = weight;
      if (lane + i * STEP_WARP < count) total = fmaf(sum(lane + i * STEP_WARP, h), weight, total);
    }
    total = warp_sum(total);
    if (lane == 0) {
      s->all_most[h] = largest;
      s->all_sum[h] = total;
    }
  }
  __syncthreads();
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
  const uint32_t item = a.first + blockIdx.z, row = a.rows ? a.rows[item] : item;
  const attend_share share = share_of(a.positions[row], a.window, blockIdx.x, gridDim.x);
  if (share.begin >= share.end) return;
  const uint32_t kv_head = blockIdx.y / a.slices, slice = blockIdx.y % a.slices;
  const attend_target target = {item, kv_head * a.group + slice * GROUP, min((uint32_t)GROUP, a.group - slice * GROUP),
                                a.dim};
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

/* How heads are cut: what follows from their shape alone. */
struct attend_shape {
  uint32_t lanes, group, slices, splits;
};

static attend_shape attend_shape_of(head_shape h, int multiprocessors) {
  const size_t group = h.q_heads / h.kv_heads, pieces = h.head_dim / CACHE_PIECE;
  attend_shape s = {};
  s.lanes = pieces <= 8 ? 8 : pieces <= 16 ? 16 : 32;
  const uint32_t most = s.lanes == 32 ? 4 : ATTEND_MOST_GROUP;
  s.group = group == 1 ? 1 : group <= 4 || most == 4 ? 4 : 8;
  s.slices = (uint32_t)step_parts(group, s.group);
  const size_t blocks = h.kv_heads * s.slices, splits = (size_t)multiprocessors / blocks;
  s.splits = splits < 1 ? 1 : splits > ATTEND_MOST_SPLITS ? ATTEND_MOST_SPLITS : (uint32_t)splits;
  return s;
}

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
  if (h.q_heads > STEP_COUNTERS) return "at most 4096 query heads";
  return NULL;
}

size_t step_attention_scratch(head_shape h, int multiprocessors) {
  const attend_shape s = attend_shape_of(h, multiprocessors);
  return attend_rows(h, s) * h.kv_heads * s.slices * s.splits * attend_partial(s.group, (uint32_t)h.head_dim) *
         sizeof(float);
}

int step_attention(step_queue q, const attention_args *a, const step_half_rows *half, const step_work *work) {
  const batch *step = a->step;
  const kv_layout *kv = &step->kv;
  if (step_attention_refusal(a->h) || (half && kv->type != KV_F16)) return cudaErrorInvalidValue;
  const attend_shape shape = attend_shape_of(a->h, work->multiprocessors);
  const size_t rows = a->kept ? step->kept : step->rows, most = attend_rows(a->h, shape);
  attend_args args = {.positions = step->positions,
                      .sequence = step->sequence,
                      .rows = a->kept ? step->kept_rows : NULL,
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
  for (size_t first = 0; first < rows; first += most) {
    const size_t count = rows - first < most ? rows - first : most;
    args.first = (uint32_t)first;
    const dim3 grid(shape.splits, (unsigned)a->h.kv_heads * shape.slices, (unsigned)count);
    const int status = step_launch(q, kernel, grid, ATTEND_THREADS, args);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}
