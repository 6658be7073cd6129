/* step_cluster.cu: attention of single rows on GPUs with clusters (sm_90), and, for sequences of one row each, what comes
 * before it: norms, rotation and cache, in the same launch. A share (step_single.cuh) is a block's work.
 *
 *   grid      a cluster of as many blocks as the longest row has shares, two of 8 for a long one, × (kv heads · slices) ×
 *             rows. A block a share; of a shorter row the blocks that have none end at once. Of many rows a block has up to
 *             CLUSTER_EACH shares, one after the other: all blocks run at once, and the kernel after this one may start.
 *             Such a block turns its queries once, and its later shares' positions are on their way to L2 by then
 *   at last   each block puts its shares' sums into the others' shared memory: block i gets the i-th part of all shares'
 *             outputs and adds them up. Of two clusters the one that comes second adds both */
#include <cooperative_groups.h>

#include <utility>

#include "backend/cuda/step_cluster.h"
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_single.cuh"

namespace groups = cooperative_groups;

#define CLUSTER_BLOCKS SINGLE_SHARES
#define CLUSTER_EACH   4 /* shares of a block, at most */

struct cluster_args {
  single_args single;
  uint32_t first; /* number of the launch's first row */
  float *partial; /* [row][kv head, slice][cluster] of cluster_partial */
  uint32_t *arrived;
};

/* Of a cluster's outputs each is three numbers: the sum of weighted values, the largest score, the sum of weights. */
static __host__ __device__ __forceinline__ size_t cluster_partial(uint32_t group, uint32_t dim) {
  return 3 * group * (size_t)dim;
}

template <int GROUP, int VALUES> struct cluster_shared {
  single_shared<GROUP, VALUES> own;
  /* of each share: its outputs of this block's part, its largest scores and sums of weights */
  float out[CLUSTER_EACH * VALUES], most[CLUSTER_BLOCKS][GROUP], sum[CLUSTER_BLOCKS][GROUP];
  uint32_t last;
};

/* Two clusters' sums of an output of this block's; the second to come adds them. there: the thread has an output. */
template <int GROUP>
static __device__ void cluster_pair(uint32_t *last, const cluster_args &c, const single_work &w, uint32_t item,
                                    uint32_t rank, uint32_t i, bool there, const single_sums &mine) {
  const single_args &a = c.single;
  const size_t values = GROUP * (size_t)a.dim, of_row = blockIdx.z * (size_t)gridDim.y + blockIdx.y;
  const int second = blockIdx.x / CLUSTER_BLOCKS;
  float *const both = c.partial + of_row * 2 * cluster_partial(GROUP, a.dim);
  float *const own = both + second * cluster_partial(GROUP, a.dim) + i;
  if (there) {
    own[0] = mine.out;
    own[values] = mine.most;
    own[2 * values] = mine.sum;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t *arrived = c.arrived + of_row * CLUSTER_BLOCKS + rank;
    *last = atomicAdd(arrived, 1);
    if (*last) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  if (!*last || !there) return;
  const float *from = both + (1 - second) * cluster_partial(GROUP, a.dim) + i;
  const single_sums other = {__ldcg(from), __ldcg(from + values), __ldcg(from + 2 * values)};
  single_store(a, w, item, i, second ? single_pair(other, mine) : single_pair(mine, other));
}

template <kv_type TYPE, int LANES, int GROUP, bool TURN>
static __global__ void __launch_bounds__(ATTEND_THREADS, LANES == 32 ? 1 : 2)
    cluster_kernel(const __grid_constant__ cluster_args c, const __grid_constant__ rope_args turn) {
#if __CUDA_ARCH__ >= 900
  constexpr int VALUES = GROUP * LANES * CACHE_PIECE;
  static_assert(VALUES <= CLUSTER_BLOCKS * ATTEND_THREADS, "an output is a thread's");
  __shared__ cluster_shared<GROUP, VALUES> s;
  launch_dependents();
  if (!TURN) wait_for_previous();
  const single_args &a = c.single;
  const uint32_t item = c.first + blockIdx.z, rank = blockIdx.x % CLUSTER_BLOCKS, row = a.rows ? a.rows[item] : item;
  const uint32_t shares = single_shares(a, a.positions[row]), all_shares = min(shares, (uint32_t)CLUSTER_BLOCKS);
  const uint32_t sharing = min(all_shares, gridDim.x), each = all_shares / sharing; /* powers of two */
  if (blockIdx.x >= (shares > CLUSTER_BLOCKS ? shares : sharing)) return;
  groups::cluster_group cluster = groups::this_cluster();
  auto begun = cluster.barrier_arrive();
  const uint32_t part = GROUP * a.dim / sharing; /* dim is a multiple of 8 */
  single_work w;
  for (uint32_t k = 0; k < each; k++) {
    const uint32_t of_cluster = rank * each + k;
    w = single_place<GROUP, TURN>(a, row, a.positions[row], a.pages + a.spans[a.sequence[row]].first_page, blockIdx.y,
                                  shares > CLUSTER_BLOCKS ? blockIdx.x : of_cluster, shares);
    w.turned = k > 0;
    w.later_own = TURN && k + 1 < each && rank == sharing - 1;
    single_attend<TYPE, LANES, GROUP, TURN>(&s.own, a, w, [&] {
      if (each > 1)
        attend_fetch(w.cache, w.share.end, share_of(w.position, a.window, of_cluster + each - 1, shares).end);
      wait_for_previous();
      single_turn<TYPE>(&s.own, w, turn);
    });
    if (k == 0) cluster.barrier_wait(std::move(begun)); /* the others are there */
    for (uint32_t i = threadIdx.x; i < GROUP * a.dim; i += ATTEND_THREADS)
      cluster.map_shared_rank(&s.out[of_cluster * part], i / part)[i % part] = single_output<LANES, GROUP>(s.own, a, i);
    if (threadIdx.x < sharing * GROUP) {
      const uint32_t to = threadIdx.x / GROUP, h = threadIdx.x % GROUP;
      cluster.map_shared_rank(&s.most[of_cluster][0], to)[h] = s.own.parts.all_most[h];
      cluster.map_shared_rank(&s.sum[of_cluster][0], to)[h] = s.own.parts.all_sum[h];
    }
    if (k + 1 < each) __syncthreads(); /* before what is here is overwritten */
  }
  cluster.sync();
  for (uint32_t j = threadIdx.x; j - threadIdx.x < part; j += ATTEND_THREADS) { /* all threads: cluster_pair meets */
    const uint32_t i = rank * part + j, h = i / a.dim;
    const bool output = j < part && i < w.heads * a.dim;
    single_sums all = {0, -CUDART_INF_F, 0};
    if (output)
      all = single_add(all_shares, [&](int k) { return single_sums{s.out[k * part + j], s.most[k][h], s.sum[k][h]}; });
    if (shares > CLUSTER_BLOCKS)
      cluster_pair<GROUP>(&s.last, c, w, item, rank, i, output, all);
    else if (output)
      single_store(a, w, item, i, __fdiv_rn(all.out, all.sum));
  }
#endif
}

/* -- launch */

typedef void cluster_function(const cluster_args, const rope_args);

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
  const attend_shape s = single_shape_of(h, SINGLE_HEADS);
  return cluster_rows(h, s) * h.kv_heads * s.slices * 2 * cluster_partial(s.group, (uint32_t)h.head_dim) *
         sizeof(float);
}

typedef struct cluster_config {
  cudaLaunchConfig_t launch;
  cudaLaunchAttribute attributes[2];
} cluster_config;

static void cluster_configure(cluster_config *c, step_queue q, dim3 grid) {
  c->attributes[0].id = cudaLaunchAttributeClusterDimension;
  c->attributes[0].val.clusterDim.x = grid.x < CLUSTER_BLOCKS ? grid.x : CLUSTER_BLOCKS;
  c->attributes[0].val.clusterDim.y = c->attributes[0].val.clusterDim.z = 1;
  c->attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  c->attributes[1].val.programmaticStreamSerializationAllowed = 1;
  c->launch.gridDim = grid;
  c->launch.blockDim = dim3(ATTEND_THREADS);
  c->launch.stream = static_cast<cudaStream_t>(q.stream);
  c->launch.attrs = c->attributes;
  c->launch.numAttrs = q.dependent ? 2 : 1;
}

/* The grid: blocks of a row and head have a share each, or more where not all clusters would run at once: the two of 64 for
 * which there is no room come after all others. */
static int cluster_grid(step_queue q, cluster_function *kernel, const step_work *work, unsigned heads, unsigned rows,
                        dim3 *grid) {
  const unsigned shares = work->row_shares ? work->row_shares : 2 * CLUSTER_BLOCKS;
  *grid = dim3(shares, heads, rows);
  while (shares <= CLUSTER_BLOCKS && grid->x > 1 && 2 * shares <= CLUSTER_EACH * grid->x) {
    cluster_config config = {};
    int clusters = 0;
    cluster_configure(&config, q, *grid);
    config.launch.numAttrs = 1;
    const cudaError_t status = cudaOccupancyMaxActiveClusters(&clusters, kernel, &config.launch);
    if (status != cudaSuccess) return status;
    if ((size_t)heads * rows <= (size_t)clusters) break;
    grid->x /= 2;
  }
  return cudaSuccess;
}

static int cluster_launch(step_queue q, cluster_function *kernel, dim3 grid, const cluster_args &args,
                          const rope_args &turn) {
  cluster_config config = {};
  cluster_configure(&config, q, grid);
  return cudaLaunchKernelEx(&config.launch, kernel, args, turn);
}

int step_cluster_attention(step_queue q, const rope_args *turn, const attention_args *a, const step_half_rows *half,
                           const step_work *work) {
  const batch *step = a->step;
  const attend_shape shape = single_shape_of(a->h, SINGLE_HEADS);
  const size_t rows = a->kept ? step->kept : step->rows, most = cluster_rows(a->h, shape);
  if (a->h.kv_heads * shape.slices * CLUSTER_BLOCKS > STEP_COUNTERS) return cudaErrorInvalidValue;
  cluster_args args = {.single = single_args_of(a, half, shape.slices),
                       .first = 0,
                       .partial = static_cast<float *>(work->scratch),
                       .arrived = work->counters};
  cluster_function *const kernel = step->kv.type == KV_F16   ? cluster_kernel_of<KV_F16>(shape, turn != NULL)
                                   : step->kv.type == KV_F32 ? cluster_kernel_of<KV_F32>(shape, turn != NULL)
                                                             : cluster_kernel_of<KV_FP8>(shape, turn != NULL);
  for (size_t first = 0; first < rows; first += most) {
    const size_t count = rows - first < most ? rows - first : most;
    args.first = (uint32_t)first;
    const size_t heads = a->h.kv_heads * shape.slices;
    dim3 grid;
    int status = cluster_grid(q, kernel, work, (unsigned)heads, (unsigned)count, &grid);
    if (status == cudaSuccess) status = cluster_launch(q, kernel, grid, args, turn ? *turn : rope_args());
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
