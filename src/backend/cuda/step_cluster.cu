/* step_cluster.cu: attention of single rows on GPUs with clusters (sm_90), and, for sequences of one row each, what comes
 * before it: norms, rotation and cache, in the same launch.
 *
 *   grid      two clusters of 8 blocks × (kv heads · slices) × rows. A row of few positions is one cluster's work, in 8
 *             shares; beyond CLUSTER_LONG it is 16 shares, of both
 *   before the kernel before ends    a block reads the first keys and values of its share: older steps wrote them
 *   then      q is normed and turned, a warp for each head; the block whose share has the row's own position does so with
 *             its key too, puts key and value into the page, and keeps them for itself
 *   at last   each block puts its sums into the others' shared memory: block i gets the i-th eighth of all shares' outputs
 *             and adds them up. Of two clusters the one that comes second adds both
 *
 * A row's bits depend on its own positions: shares follow from its position and window, and all sums have a fixed order. */
#include <cooperative_groups.h>

#include <utility>

#include "backend/cuda/step_attend.cuh"
#include "backend/cuda/step_cluster.h"
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_turn.cuh"

namespace groups = cooperative_groups;

#define CLUSTER_BLOCKS 8
#define CLUSTER_LONG   2048 /* positions of one cluster's work */

struct cluster_args {
  const uint32_t *positions, *sequence;
  const uint32_t *rows; /* the kept rows, or NULL: all */
  const batch_span *spans;
  void *const *pages;
  const float *q;
  float *out; /* or half_out */
  __half *half_out;
  size_t q_stride, out_stride, layer_at;
  kv_layout kv;
  uint32_t dim, group, slices, window, first; /* first: number of the launch's first row */
  float scale;
  float *partial; /* [row][kv head, slice][cluster] of attend_partial */
  uint32_t *arrived;
};

/* Of a cluster's outputs each is three numbers: the sum of weighted values, the largest score, the sum of weights. */
static __host__ __device__ __forceinline__ size_t cluster_partial(uint32_t group, uint32_t dim) {
  return 3 * group * (size_t)dim;
}

template <int GROUP, int VALUES> struct cluster_shared {
  attend_shared<GROUP, VALUES> parts;
  /* from each block of the cluster: its outputs of this block's eighth, its largest scores and sums of weights */
  float out[CLUSTER_BLOCKS][VALUES / CLUSTER_BLOCKS], most[CLUSTER_BLOCKS][GROUP], sum[CLUSTER_BLOCKS][GROUP];
  float queries[VALUES];
  /* the row's own key and value, as the page has them */
  __align__(16) char key[ATTEND_MOST_DIM * 4], value[ATTEND_MOST_DIM * 4];
  __half key_scale, value_scale;
  uint32_t last;
};

/* What a block works on. */
struct cluster_work {
  uint32_t row, position, head, heads, kv_head; /* head: the first q head of `heads` */
  attend_share share;
  attend_cache cache;
  bool own, writes; /* the share has the row's own position; the block puts it into the page */
};

/* -- before attention: a warp for each head */

template <int GROUP, int VALUES>
static __device__ __forceinline__ void cluster_turn(cluster_shared<GROUP, VALUES> *s, const cluster_work &w,
                                                    const rope_args &a) {
  const uint32_t lane = threadIdx.x % STEP_WARP;
  const float *cos_sin = a.cos_sin + w.row * (size_t)a.rotary_dim;
  for (uint32_t task = threadIdx.x / STEP_WARP; task < w.heads + (w.own ? 2 : 0); task += ATTEND_WARPS) {
    const bool query = task < w.heads, value = task == w.heads + 1;
    const float *x = query ? a.q + w.row * a.q_stride + (w.head + task) * (size_t)a.dim
                           : (value ? a.v : a.k) + w.row * a.kv_stride + w.kv_head * (size_t)a.dim;
    const float *gain = query ? a.q_norm : value ? NULL : a.k_norm;
    const rope_head head = {x, gain, gain ? head_scale(x, a.dim, a.eps, lane) : 1};
    float v[ROPE_QUADS][4];
#pragma unroll
    for (uint32_t i = 0; i < ROPE_QUADS; i++)
#pragma unroll
      for (uint32_t j = 0; j < 4; j++) {
        const uint32_t d = 4 * (lane + i * STEP_WARP) + j;
        v[i][j] = d >= a.dim ? 0 : value ? x[d] : turned(a, head, cos_sin, d);
        if (query && d < a.dim) s->queries[task * a.dim + d] = v[i][j];
      }
    if (query) continue;
    char *page = static_cast<char *>(w.cache.pages[w.position / KV_PAGE]) + a.layer_at;
    char *at = page + (value ? a.kv.values_at : 0) + w.kv_head * a.kv.head_bytes +
               w.position % KV_PAGE * (a.dim * a.kv.element_bytes);
    __half *scale = reinterpret_cast<__half *>(page + (value ? a.kv.value_scales_at : a.kv.key_scales_at)) +
                    w.kv_head * KV_PAGE + w.position % KV_PAGE;
    char *mine = value ? s->value : s->key;
    if (a.kv.type == KV_FP8) {
      append_fp8(mine, value ? &s->value_scale : &s->key_scale, v, a.dim, lane);
      if (w.writes) append_fp8(at, scale, v, a.dim, lane);
      continue;
    }
#pragma unroll
    for (uint32_t i = 0; i < ROPE_QUADS; i++)
#pragma unroll
      for (uint32_t j = 0; j < 4; j++) {
        const uint32_t d = 4 * (lane + i * STEP_WARP) + j;
        if (d < a.dim) append_plain(mine, a.kv.type, d, v[i][j]);
        if (d < a.dim && w.writes) append_plain(at, a.kv.type, d, v[i][j]);
      }
  }
}

/* -- positions */

/* The row's own position, where a batch has it, from shared memory. */
template <kv_type TYPE, int GROUP, int VALUES>
static __device__ __forceinline__ void cluster_own(attend_batch<TYPE> *b, const cluster_shared<GROUP, VALUES> &s,
                                                   uint32_t position, uint32_t begin, uint32_t step, uint32_t piece,
                                                   bool there) {
#pragma unroll
  for (int u = 0; u < ATTEND_TOGETHER; u++) {
    if (begin + (uint32_t)u * step != position) continue;
    if (there) {
      b->keys[u].load(s.key, piece);
      b->values[u].load(s.value, piece);
    }
    if (TYPE == KV_FP8) {
      b->key_scale[u] = __half2float(s.key_scale);
      b->value_scale[u] = __half2float(s.value_scale);
    }
  }
}

/* -- the end */

template <int GROUP, int VALUES>
static __device__ __forceinline__ void cluster_store(const cluster_args &a, const cluster_work &w, uint32_t item,
                                                     uint32_t i, float v) {
  const size_t at = item * a.out_stride + w.head * (size_t)a.dim + i;
  if (a.half_out)
    a.half_out[at] = __float2half_rn(v);
  else
    a.out[at] = v;
}

/* What a thread has of output i. */
struct cluster_sums {
  float out, most, sum;
};

/* Two clusters' sums of an output of this block's; the second to come adds them. there: the thread has an output. */
template <int GROUP, int VALUES>
static __device__ void cluster_pair(cluster_shared<GROUP, VALUES> *s, const cluster_args &a, const cluster_work &w,
                                    uint32_t item, uint32_t rank, uint32_t i, bool there, const cluster_sums &mine) {
  const size_t values = GROUP * (size_t)a.dim, of_row = blockIdx.z * (size_t)gridDim.y + blockIdx.y;
  const int second = blockIdx.x / CLUSTER_BLOCKS;
  float *const both = a.partial + of_row * 2 * cluster_partial(GROUP, a.dim);
  float *const own = both + second * cluster_partial(GROUP, a.dim) + i;
  if (there) {
    own[0] = mine.out;
    own[values] = mine.most;
    own[2 * values] = mine.sum;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t *arrived = a.arrived + of_row * CLUSTER_BLOCKS + rank;
    s->last = atomicAdd(arrived, 1);
    if (s->last) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  if (!s->last || !there) return;
  const float *from = both + (1 - second) * cluster_partial(GROUP, a.dim) + i;
  const cluster_sums other = {__ldcg(from), __ldcg(from + values), __ldcg(from + 2 * values)};
  const cluster_sums x = second ? other : mine, y = second ? mine : other;
  const float base = score_base(fmaxf(x.most, y.most)), shrink = expf(x.most - base), grow = expf(y.most - base);
  const float sum = fmaf(y.sum, grow, __fmul_rn(x.sum, shrink));
  cluster_store<GROUP, VALUES>(a, w, item, i, __fdiv_rn(fmaf(y.out, grow, __fmul_rn(x.out, shrink)), sum));
}

template <kv_type TYPE, int LANES, int GROUP, bool TURN>
static __global__ void __launch_bounds__(ATTEND_THREADS, 2)
    cluster_kernel(const __grid_constant__ cluster_args a, const __grid_constant__ rope_args turn) {
#if __CUDA_ARCH__ >= 900
  constexpr int VALUES = GROUP * LANES * CACHE_PIECE;
  constexpr uint32_t SIDE = STEP_WARP / LANES, STEP = ATTEND_WARPS * SIDE; /* positions of a warp, of all */
  static_assert(VALUES <= ATTEND_MOST_VALUES && VALUES <= CLUSTER_BLOCKS * ATTEND_THREADS, "an output is a thread's");
  static_assert(GROUP <= ATTEND_WARPS, "a warp for each head weighs its shares");
  __shared__ cluster_shared<GROUP, VALUES> s;
  launch_dependents();
  if (!TURN) wait_for_previous();
  const uint32_t lane = threadIdx.x % STEP_WARP, warp = threadIdx.x / STEP_WARP;
  const uint32_t item = a.first + blockIdx.z, rank = blockIdx.x % CLUSTER_BLOCKS;
  cluster_work w;
  w.row = a.rows ? a.rows[item] : item;
  w.position = a.positions[w.row];
  const uint32_t seen = a.window && w.position + 1 > a.window ? a.window : w.position + 1;
  const bool pair = seen > CLUSTER_LONG;
  if (!pair && blockIdx.x >= CLUSTER_BLOCKS) return; /* the whole cluster */
  groups::cluster_group cluster = groups::this_cluster();
  auto begun = cluster.barrier_arrive();
  w.share = share_of(w.position, a.window, blockIdx.x, pair ? 2 * CLUSTER_BLOCKS : CLUSTER_BLOCKS);
  w.kv_head = blockIdx.y / a.slices;
  const uint32_t slice = blockIdx.y % a.slices;
  w.head = w.kv_head * a.group + slice * GROUP;
  w.heads = min((uint32_t)GROUP, a.group - slice * GROUP);
  w.own = TURN && w.share.end == w.position + 1;
  w.writes = w.own && slice == 0;
  const size_t head_at = a.layer_at + w.kv_head * a.kv.head_bytes,
               scale_at = a.layer_at + w.kv_head * KV_PAGE * sizeof(__half);
  w.cache = {a.pages + a.spans[a.sequence[w.row]].first_page,
             head_at,
             head_at + a.kv.values_at,
             scale_at + a.kv.key_scales_at,
             scale_at + a.kv.value_scales_at,
             (uint32_t)(a.kv.head_bytes / KV_PAGE)};
  const uint32_t piece = lane % LANES;
  const bool there = piece * CACHE_PIECE < a.dim;

  /* positions of older steps, as many as come first */
  const uint32_t older = w.own ? w.position : w.share.end;
  uint32_t p = w.share.begin + warp * SIDE + lane / LANES;
  attend_batch<TYPE> batch;
  attend_load(&batch, w.cache, p, STEP, older, piece, there);
  if (TURN) {
    wait_for_previous();
    cluster_turn(&s, w, turn);
    __syncthreads();
  }
  float queries[GROUP][CACHE_PIECE];
  const float *q = TURN ? s.queries : a.q + w.row * a.q_stride + w.head * (size_t)a.dim;
#pragma unroll
  for (int h = 0; h < GROUP; h++)
#pragma unroll
    for (int i = 0; i < CACHE_PIECE; i++)
      queries[h][i] = there && (uint32_t)h < w.heads ? q[(size_t)h * a.dim + piece * CACHE_PIECE + i] : 0;

  attend_state<GROUP> state;
  attend_clear(&state);
  /* a warp's positions begin together, so that its lanes stay together */
  for (uint32_t begin = w.share.begin + warp * SIDE; begin < w.share.end; begin += STEP * ATTEND_TOGETHER) {
    float scores[ATTEND_TOGETHER][GROUP];
    if (TURN && w.own) cluster_own(&batch, s, w.position, p, STEP, piece, there);
    attend_scores<TYPE, LANES, GROUP>(scores, batch, queries, a.scale);
#pragma unroll
    for (int u = 0; u < ATTEND_TOGETHER; u++)
      if (p + (uint32_t)u * STEP >= w.share.end)
#pragma unroll
        for (int h = 0; h < GROUP; h++) scores[u][h] = -CUDART_INF_F;
    attend_add(&state, scores, batch);
    p += STEP * ATTEND_TOGETHER;
    attend_load(&batch, w.cache, p, STEP, older, piece, there);
  }
#pragma unroll
  for (int lanes = LANES; lanes < STEP_WARP; lanes *= 2) attend_merge_lanes(&state, lanes);
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    if (lane < LANES) {
#pragma unroll
      for (int i = 0; i < CACHE_PIECE; i++)
        s.parts.out[warp][(h * LANES + (int)lane) * CACHE_PIECE + i] = state.out[h][i];
    }
    if (lane == 0) {
      s.parts.most[warp][h] = state.most[h];
      s.parts.sum[warp][h] = state.sum[h];
    }
  }
  __syncthreads();
  attend_weigh(
      &s.parts, ATTEND_WARPS, [&](uint32_t i, uint32_t h) { return s.parts.most[i][h]; },
      [&](uint32_t i, uint32_t h) { return s.parts.sum[i][h]; });
  const uint32_t eighth = GROUP * a.dim / CLUSTER_BLOCKS; /* dim is a multiple of 8 */
  cluster.barrier_wait(std::move(begun));                 /* the others are there */
  for (uint32_t i = threadIdx.x; i < GROUP * a.dim; i += ATTEND_THREADS) {
    const uint32_t h = i / a.dim, at = h * LANES * CACHE_PIECE + i % a.dim;
    float v = 0;
#pragma unroll
    for (int k = 0; k < ATTEND_WARPS; k++) v = fmaf(s.parts.out[k][at], s.parts.weight[k][h], v);
    cluster.map_shared_rank(&s.out[rank][0], i / eighth)[i % eighth] = v;
  }
  if (threadIdx.x < CLUSTER_BLOCKS * GROUP) {
    const uint32_t to = threadIdx.x / GROUP, h = threadIdx.x % GROUP;
    cluster.map_shared_rank(&s.most[rank][0], to)[h] = s.parts.all_most[h];
    cluster.map_shared_rank(&s.sum[rank][0], to)[h] = s.parts.all_sum[h];
  }
  cluster.sync();
  const uint32_t i = rank * eighth + threadIdx.x, h = i / a.dim;
  const bool output = threadIdx.x < eighth && i < w.heads * a.dim;
  cluster_sums all = {0, -CUDART_INF_F, 0};
  if (output) {
#pragma unroll
    for (int k = 0; k < CLUSTER_BLOCKS; k++) all.most = fmaxf(all.most, s.most[k][h]);
    const float base = score_base(all.most);
#pragma unroll
    for (int k = 0; k < CLUSTER_BLOCKS; k++) {
      const float weight = expf(s.most[k][h] - base);
      all.out = fmaf(s.out[k][threadIdx.x], weight, all.out);
      all.sum = fmaf(s.sum[k][h], weight, all.sum);
    }
  }
  if (pair)
    cluster_pair(&s, a, w, item, rank, i, output, all);
  else if (output)
    cluster_store<GROUP, VALUES>(a, w, item, i, __fdiv_rn(all.out, all.sum));
#endif
}

/* -- launch */

typedef void cluster_function(const cluster_args, const rope_args);

/* At most four q heads a block: more take the registers that the products beside it need. */
static attend_shape cluster_shape_of(head_shape h) {
  attend_shape s = attend_shape_of(h, 1);
  const size_t group = h.q_heads / h.kv_heads;
  s.group = group == 1 ? 1 : 4;
  s.slices = (uint32_t)step_parts(group, s.group);
  return s;
}

template <kv_type TYPE, bool TURN> static cluster_function *cluster_kernel_of(const attend_shape &s) {
  switch (s.lanes * 16 + s.group) {
  case 8 * 16 + 1: return cluster_kernel<TYPE, 8, 1, TURN>;
  case 8 * 16 + 4: return cluster_kernel<TYPE, 8, 4, TURN>;
  case 16 * 16 + 1: return cluster_kernel<TYPE, 16, 1, TURN>;
  case 16 * 16 + 4: return cluster_kernel<TYPE, 16, 4, TURN>;
  case 32 * 16 + 1: return cluster_kernel<TYPE, 32, 1, TURN>;
  default: return cluster_kernel<TYPE, 32, 4, TURN>;
  }
}

template <kv_type TYPE> static cluster_function *cluster_kernel_of(const attend_shape &s, bool turn) {
  return turn ? cluster_kernel_of<TYPE, true>(s) : cluster_kernel_of<TYPE, false>(s);
}

/* Rows of a launch: as many as have counters. */
static size_t cluster_rows(head_shape h, const attend_shape &s) {
  const size_t rows = STEP_COUNTERS / (h.kv_heads * s.slices * CLUSTER_BLOCKS);
  return rows < 1 ? 1 : rows < STEP_ROWS ? rows : STEP_ROWS;
}

size_t step_cluster_scratch(head_shape h) {
  const attend_shape s = cluster_shape_of(h);
  return cluster_rows(h, s) * h.kv_heads * s.slices * 2 * cluster_partial(s.group, (uint32_t)h.head_dim) *
         sizeof(float);
}

static int cluster_launch(step_queue q, cluster_function *kernel, dim3 grid, const cluster_args &args,
                          const rope_args &turn) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = CLUSTER_BLOCKS;
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(ATTEND_THREADS);
  config.stream = static_cast<cudaStream_t>(q.stream);
  config.attrs = attributes;
  config.numAttrs = q.dependent ? 2 : 1;
  return cudaLaunchKernelEx(&config, kernel, args, turn);
}

int step_cluster_attention(step_queue q, const rope_args *turn, const attention_args *a, const step_half_rows *half,
                           const step_work *work) {
  const batch *step = a->step;
  const attend_shape shape = cluster_shape_of(a->h);
  const size_t rows = a->kept ? step->kept : step->rows, most = cluster_rows(a->h, shape);
  if (a->h.kv_heads * shape.slices * CLUSTER_BLOCKS > STEP_COUNTERS) return cudaErrorInvalidValue;
  cluster_args args = {.positions = step->positions,
                       .sequence = step->sequence,
                       .rows = a->kept ? step->kept_rows : NULL,
                       .spans = step->spans,
                       .pages = step->pages,
                       .q = a->q,
                       .out = a->out,
                       .half_out = half ? reinterpret_cast<__half *>(half->rows) : NULL,
                       .q_stride = a->q_stride,
                       .out_stride = half ? half->stride : a->out_stride,
                       .layer_at = a->layer * step->kv.layer_bytes,
                       .kv = step->kv,
                       .dim = (uint32_t)a->h.head_dim,
                       .group = (uint32_t)(a->h.q_heads / a->h.kv_heads),
                       .slices = shape.slices,
                       .window = a->window < UINT32_MAX ? (uint32_t)a->window : 0,
                       .first = 0,
                       .scale = a->scale,
                       .partial = static_cast<float *>(work->scratch),
                       .arrived = work->counters};
  cluster_function *const kernel = step->kv.type == KV_F16   ? cluster_kernel_of<KV_F16>(shape, turn != NULL)
                                   : step->kv.type == KV_F32 ? cluster_kernel_of<KV_F32>(shape, turn != NULL)
                                                             : cluster_kernel_of<KV_FP8>(shape, turn != NULL);
  for (size_t first = 0; first < rows; first += most) {
    const size_t count = rows - first < most ? rows - first : most;
    args.first = (uint32_t)first;
    const dim3 grid(2 * CLUSTER_BLOCKS, (unsigned)a->h.kv_heads * shape.slices, (unsigned)count);
    const int status = cluster_launch(q, kernel, grid, args, turn ? *turn : rope_args());
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

int step_turn_attention(step_queue q, const rope_append_args *turn, const float *q_norm, const float *k_norm, float eps,
                        const attention_args *a, const step_half_rows *half, const step_work *work) {
  if (step_attention_refusal(a->h) || (half && a->step->kv.type != KV_F16)) return cudaErrorInvalidValue;
  if (!work->clusters || a->kept || a->step->span_count != a->step->rows) return cudaErrorInvalidValue;
  const rope_args args = rope_args_of(turn, q_norm, k_norm, eps);
  attention_args unturned = *a;
  unturned.q = turn->q;
  return step_cluster_attention(q, &args, &unturned, half, work);
}
