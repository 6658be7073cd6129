/* step_cluster.cu: attention of single rows on GPUs with clusters (sm_90), and, for sequences of one row each, what comes
 * before it: norms, rotation and cache, in the same launch. A share (step_single.cuh) is a block's work.
 *
 *   grid      a cluster of as many blocks as the longest row has shares, two of 8 for a long one, × (kv heads · slices) ×
 *             rows. A block a share; of a shorter row the blocks that have none end at once. Of many rows a block has up to
 *             CLUSTER_EACH shares, one after the other: all blocks run at once, and the kernel after this one may start.
 *             Such a block turns its queries once, and its later shares' positions are on their way to L2 by then
 *   at last   each block puts its shares' sums into the others' shared memory: block i gets the i-th part of all shares'
 *             outputs and adds them up. Of two clusters the one that comes second adds both. A block that has all shares
 *             keeps them: in a cluster of one, the sanitizer takes a remote store for a fault */
#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/step_cluster.h"
#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_single.cuh"

#define CLUSTER_BLOCKS SINGLE_SHARES
#define CLUSTER_EACH   4  /* shares of a block, at most */
#define CLUSTER_ROWS   64 /* of a launch, at most */

struct cluster_args {
  single_args single;
  uint32_t first; /* number of the launch's first row */
  float *partial; /* [row][kv head, slice][cluster] of cluster_partial */
  uint32_t *arrived;
  float *half_scales; /* NULL, or what becomes 1 for each row */
};

/* A cluster's outputs: those of GROUP heads of DIM dimensions, of which a.dim are there. Each is three numbers: the sum of
 * weighted values, the largest score, the sum of weights. */
static __host__ __device__ __forceinline__ size_t cluster_partial(uint32_t values) { return 3 * (size_t)values; }

template <int DIM, int GROUP> struct cluster_shared {
  static constexpr int VALUES = GROUP * DIM;
  single_shared<DIM, GROUP> own;
  /* of each share: its outputs of this block's part, its largest scores and sums of weights */
  __align__(8) float out[CLUSTER_EACH * VALUES];
  float2 most_sum[CLUSTER_BLOCKS][GROUP];
  uint64_t full; /* a barrier: all shares' are there */
  uint32_t last;
};

/* What a block has of its cluster's shares. */
struct cluster_place {
  uint32_t rank, sharing, shares, part_shift; /* the blocks that have shares; log2 of the outputs of a block's part */

  __device__ bool alone() const { return sharing == 1; } /* all shares are this block's */
};

/* Before cluster_arrive. */
template <int DIM, int GROUP>
static __device__ __forceinline__ void cluster_expect(cluster_shared<DIM, GROUP> *s, const cluster_place &at) {
  if (threadIdx.x != 0 || at.alone()) return;
  const uint32_t full = shared_address(&s->full), of_share = (1u << at.part_shift) + 2 * GROUP;
  barrier_init(full, 1);
  barrier_init_fence();
  barrier_expect(full, at.shares * of_share * (uint32_t)sizeof(float));
}

template <int DIM, int GROUP>
static __device__ __forceinline__ void cluster_keep(cluster_shared<DIM, GROUP> *s, const cluster_place &at,
                                                    uint32_t share) {
  float2 *const out = reinterpret_cast<float2 *>(&s->out[share << at.part_shift]);
  for (uint32_t i = threadIdx.x; i < GROUP * DIM / 2; i += ATTEND_THREADS)
    out[i] = single_output(s->own, 2 * i / DIM, 2 * i % DIM);
  if (threadIdx.x < GROUP)
    s->most_sum[share][threadIdx.x] =
        make_float2(s->own.parts.all_most[threadIdx.x], s->own.parts.all_sum[threadIdx.x]);
}

/* A share's sums to the blocks that add them up. */
template <int DIM, int GROUP>
static __device__ __forceinline__ void cluster_send(cluster_shared<DIM, GROUP> *s, const cluster_place &at,
                                                    uint32_t share) {
  const uint32_t part = 1u << at.part_shift, out = shared_address(&s->out[share << at.part_shift]);
  const uint32_t full = shared_address(&s->full);
  for (uint32_t i = 2 * threadIdx.x; i < GROUP * DIM; i += 2 * ATTEND_THREADS) {
    const uint32_t to = i >> at.part_shift, h = i / DIM, d = i % DIM;
    const float2 v = single_output(s->own, h, d);
    store_async(cluster_address(out + (i & (part - 1)) * (uint32_t)sizeof(float), to), v.x, v.y,
                cluster_address(full, to));
  }
  if (threadIdx.x < at.sharing * GROUP) {
    const uint32_t to = threadIdx.x / GROUP, h = threadIdx.x % GROUP;
    store_async(cluster_address(shared_address(&s->most_sum[share][h]), to), s->own.parts.all_most[h],
                s->own.parts.all_sum[h], cluster_address(full, to));
  }
}

/* Two clusters' sums of output i of this block's; the second to come adds them. there: the thread has an output. */
template <int DIM, int GROUP>
static __device__ void cluster_pair(uint32_t *last, const cluster_args &c, const single_work &w, uint32_t item,
                                    uint32_t rank, uint32_t i, bool there, const single_sums &mine) {
  const single_args &a = c.single;
  constexpr size_t VALUES = GROUP * DIM;
  const size_t of_row = blockIdx.z * (size_t)gridDim.y + blockIdx.y;
  const int second = blockIdx.x / CLUSTER_BLOCKS;
  float *const both = c.partial + of_row * 2 * cluster_partial(VALUES);
  float *const own = both + second * cluster_partial(VALUES) + i;
  if (there) {
    own[0] = mine.out;
    own[VALUES] = mine.most;
    own[2 * VALUES] = mine.sum;
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
  const float *from = both + (1 - second) * cluster_partial(VALUES) + i;
  const single_sums other = {__ldcg(from), __ldcg(from + VALUES), __ldcg(from + 2 * VALUES)};
  single_store(a, w, item, i / DIM, i % DIM, second ? single_pair(other, mine) : single_pair(mine, other));
}

template <kv_type TYPE, int LANES, int GROUP, bool TURN>
static __global__ void __launch_bounds__(ATTEND_THREADS, LANES == 32 ? 1 : 2)
    cluster_kernel(const __grid_constant__ cluster_args c, const __grid_constant__ rope_args turn) {
#if __CUDA_ARCH__ >= 900
  constexpr int DIM = LANES * CACHE_PIECE, VALUES = GROUP * DIM;
  static_assert(VALUES <= CLUSTER_BLOCKS * ATTEND_THREADS, "an output is a thread's");
  __shared__ cluster_shared<DIM, GROUP> s;
  launch_dependents();
  if (!TURN) wait_for_previous();
  const single_args &a = c.single;
  const uint32_t rank = blockIdx.x % CLUSTER_BLOCKS;
  attend_row found;
  if (!a.rows.find(c.first + blockIdx.z, &found)) {
    if (TURN)
      wait_for_previous(); /* a launch without single rows would end before the product whose rows others read */
    return;
  }
  const uint32_t row = found.row;
  const uint32_t shares = single_shares(a, a.positions[row]), all_shares = min(shares, (uint32_t)CLUSTER_BLOCKS);
  const uint32_t sharing = min(all_shares, gridDim.x),
                 each = all_shares >> (__ffs((int)sharing) - 1); /* powers of two */
  if (blockIdx.x >= (shares > CLUSTER_BLOCKS ? shares : sharing)) return;
  const cluster_place at = {rank, sharing, all_shares, (uint32_t)(__ffs(VALUES) - __ffs((int)sharing))};
  const uint32_t part = 1u << at.part_shift;
  cluster_expect(&s, at);
  __syncwarp();
  cluster_arrive();
  /* TURN: the row is all of its span */
  const uint32_t span = a.rows.few ? (c.first + blockIdx.z) / a.rows.most : TURN ? row : a.sequence[row];
  void *const *const pages = a.pages + a.spans[span].first_page;
  single_work w;
  for (uint32_t k = 0; k < each; k++) {
    const uint32_t of_cluster = rank * each + k;
    w = single_place<GROUP, TURN>(a, row, a.positions[row], pages, blockIdx.y,
                                  shares > CLUSTER_BLOCKS ? blockIdx.x : of_cluster, shares);
    w.turned = k > 0;
    w.later_own = TURN && k + 1 < each && rank == sharing - 1;
    single_attend<TYPE, LANES, GROUP, TURN>(&s.own, a, w, [&] {
      if (each > 1)
        attend_fetch(w.cache, w.share.end, share_of_power(w.position, a.window, of_cluster + each - 1, shares).end);
      wait_for_previous();
      single_turn<TYPE>(&s.own, w, turn);
    });
    if (k == 0) cluster_wait(); /* the others are there */
    if (at.alone())
      cluster_keep(&s, at, of_cluster);
    else
      cluster_send(&s, at, of_cluster);
    if (k + 1 < each || at.alone()) __syncthreads(); /* before what is here is overwritten, or added up */
  }
  if (!at.alone()) barrier_wait(shared_address(&s.full), 0);
  if (c.half_scales && blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) c.half_scales[found.out] = 1;
  for (uint32_t j = threadIdx.x; j - threadIdx.x < part; j += ATTEND_THREADS) { /* all threads: cluster_pair meets */
    const uint32_t i = rank * part + j, h = i / DIM, d = i % DIM;
    const bool output = j < part && h < w.heads && d < a.dim;
    single_sums all = {0, -CUDART_INF_F, 0};
    if (output)
      all = single_add(all_shares, [&](int k) {
        return single_sums{s.out[k * part + j], s.most_sum[k][h].x, s.most_sum[k][h].y};
      });
    if (shares > CLUSTER_BLOCKS)
      cluster_pair<DIM, GROUP>(&s.last, c, w, found.out, rank, i, output, all);
    else if (output)
      single_store(a, w, found.out, h, d, __fdiv_rn(all.out, all.sum));
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
  return rows < 1 ? 1 : rows < CLUSTER_ROWS ? rows : CLUSTER_ROWS;
}

size_t step_cluster_scratch(head_shape h) {
  const attend_shape s = single_shape_of(h, SINGLE_HEADS);
  return cluster_rows(h, s) * h.kv_heads * s.slices * 2 * cluster_partial(s.group * s.lanes * CACHE_PIECE) *
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
 * which there is no room come after all others. likely: of the rows, those that will be there. */
static int cluster_grid(step_queue q, cluster_function *kernel, const step_work *work, unsigned heads, unsigned rows,
                        unsigned likely, dim3 *grid) {
  const unsigned shares = work->row_shares ? work->row_shares : 2 * CLUSTER_BLOCKS;
  *grid = dim3(shares, heads, rows);
  while (shares <= CLUSTER_BLOCKS && grid->x > 1 && 2 * shares <= CLUSTER_EACH * grid->x) {
    cluster_config config = {};
    int clusters = 0;
    cluster_configure(&config, q, *grid);
    config.launch.numAttrs = 1;
    const cudaError_t status = cudaOccupancyMaxActiveClusters(&clusters, kernel, &config.launch);
    if (status != cudaSuccess) return status;
    if ((size_t)heads * likely <= (size_t)clusters) break;
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
                           const attend_rows_of &rows_of, const step_work *work) {
  const batch *step = a->step;
  const attend_shape shape = single_shape_of(a->h, SINGLE_HEADS);
  const size_t rows = attend_rows_count(a, rows_of), most = cluster_rows(a->h, shape);
  if (a->h.kv_heads * shape.slices * CLUSTER_BLOCKS > STEP_COUNTERS) return cudaErrorInvalidValue;
  cluster_args args = {.single = single_args_of(a, half, shape.slices),
                       .first = 0,
                       .partial = static_cast<float *>(work->scratch),
                       .arrived = work->counters,
                       .half_scales = half ? half->scales : NULL};
  args.single.rows = rows_of;
  if (!rows_of.few) args.single.share = step_share(rows);
  cluster_function *const kernel = step->kv.type == KV_F16   ? cluster_kernel_of<KV_F16>(shape, turn != NULL)
                                   : step->kv.type == KV_F32 ? cluster_kernel_of<KV_F32>(shape, turn != NULL)
                                                             : cluster_kernel_of<KV_FP8>(shape, turn != NULL);
  for (size_t first = 0; first < rows; first += most) {
    const size_t count = rows - first < most ? rows - first : most;
    args.first = (uint32_t)first;
    const size_t heads = a->h.kv_heads * shape.slices;
    dim3 grid;
    int status = cluster_grid(q, kernel, work, (unsigned)heads, (unsigned)count,
                              (unsigned)(rows_of.few ? count / rows_of.most : count), &grid);
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
  return step_cluster_attention(q, &args, &unturned, half, attend_rows_of_step(a, 0), work);
}
