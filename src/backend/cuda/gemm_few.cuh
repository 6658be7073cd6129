/* gemm_few.cuh: products of up to 128 rows: their time is that of reading w, so all clusters read as much of it.
 *
 *   pairs of tiles, each all steps of K      0 ─────────► │ 1 ─────────► │ 2 ─────────► │ ...
 *   clusters                                 │ 0    │ 1    │ 2    │ 3    │ 4    │ 5    │ ...
 *
 * Where clusters share a pair each writes its sums to memory, and the last to come adds them all up, in the order of K: which one
 * is last does not matter to the bits. Nobody waits for another cluster. The partition follows from the shape and the GPU, so a
 * row's bits do not depend on the rows beside it.
 */
#ifndef CUDA_GEMM_FEW_CUH
#define CUDA_GEMM_FEW_CUH

#include "backend/cuda/gemm_few_codes.cuh"

/* Brings the stages of a cluster's steps. Weights that no kernel makes are asked for before the kernel before this one has
 * ended. One warp. */
template <class Codes, gemm_act ACT>
__device__ void produce_few(const gemm_maps &maps, const gemm_args &args, uint32_t base) {
  typedef typename Codes::stage stage;
  constexpr int X_PART = stage::X_BYTES / stage::X_PANELS / GEMM_CLUSTER;
  const uint32_t rank = cluster_rank();
  const int cluster = (int)(blockIdx.x / GEMM_CLUSTER), begin = gemm_shares_begin(&args.shares, cluster);
  const int end = gemm_shares_begin(&args.shares, cluster + 1);
  const int early = args.early ? begin + min(stage::STAGES, end - begin) : begin;
  gemm_ring<stage> ring(base);
  int next = begin / args.shares.steps, step = begin - next * args.shares.steps, pair = next; /* of the weights */
  int part = args.find(&pair);
  const auto weights = [&]() {
    Codes::template load<ACT>(maps.parts[part], args.parts[part], ring, step, pair * GEMM_CLUSTER + (int)rank);
    if (++step < args.shares.steps) return;
    step = 0;
    pair = ++next;
    part = args.find(&pair);
  };
  for (int i = begin; i < early; i++) {
    weights();
    ring.advance();
  }
  wait_for_previous();
  ring = gemm_ring<stage>(base);
  for (int i = begin, x_step = begin % args.shares.steps; i < end; i++) {
    ring.wait_empty();
    if (i >= early) weights();
    if (threadIdx.x < stage::X_PANELS) {
      const uint32_t panel = ring.x() + threadIdx.x * (stage::X_BYTES / stage::X_PANELS);
      tma_load_2d_multicast(panel + rank * X_PART, &maps.x_half, ring.full(ring.stage),
                            x_step * stage::STAGE_K + (int)threadIdx.x * (stage::STAGE_K / stage::X_PANELS),
                            (int)rank * (X_PART / 128), (1 << GEMM_CLUSTER) - 1);
    }
    if (++x_step == args.shares.steps) x_step = 0;
    ring.advance();
  }
}

/* Where a warpgroup of a cluster keeps its sums of a shared pair: 4 of each thread side by side. */
template <int SUMS>
static __device__ __forceinline__ int4 *few_place(const gemm_args &args, int cluster, int place, uint32_t group) {
  const size_t number = (size_t)((cluster * 2 + place) * GEMM_CLUSTER + (int)cluster_rank()) * 2 + group;
  return (int4 *)args.sums + number * (128 * SUMS / 4) + threadIdx.x % 128;
}

static __device__ __forceinline__ float few_sum(float a, int b) { return a + __int_as_float(b); }
static __device__ __forceinline__ int32_t few_sum(int32_t a, int b) { return a + b; }
static __device__ __forceinline__ int few_bits(float v) { return __float_as_int(v); }
static __device__ __forceinline__ int few_bits(int32_t v) { return v; }

/* Writes a warpgroup's part of a pair's sums. True for the last one of the clusters that share it. last: shared, of the group. */
template <class Sum, int SUMS>
static __device__ __forceinline__ bool few_put(const Sum (&d)[SUMS], const gemm_args &args, const gemm_share &share,
                                               int cluster, uint32_t group, volatile uint32_t *last) {
  int4 *const to = few_place<SUMS>(args, cluster, gemm_shares_place(&share, cluster), group);
#pragma unroll
  for (int i = 0; i < SUMS / 4; i++)
    __stcg(to + i * 128,
           make_int4(few_bits(d[4 * i]), few_bits(d[4 * i + 1]), few_bits(d[4 * i + 2]), few_bits(d[4 * i + 3])));
  named_barrier_sync(1 + group, 128);
  if (threadIdx.x % 128 == 0) {
    uint32_t *const counter = args.counters + ((uint32_t)share.first * GEMM_CLUSTER + cluster_rank()) * 2 + group;
    __threadfence(); /* the group's sums, before the count */
    *last = atomicInc(counter, (uint32_t)share.count - 1) == (uint32_t)share.count - 1; /* which leaves it at 0 */
    __threadfence();
  }
  named_barrier_sync(1 + group, 128);
  return *last;
}

/* What all of them have put, in the order of K; as many as there are registers for are on their way at a time. */
template <class Sum, int SUMS>
static __device__ __forceinline__ void few_add(Sum (&d)[SUMS], const gemm_args &args, const gemm_share &share,
                                               uint32_t group) {
  constexpr int TOGETHER = SUMS > 32 ? 2 : 4;
#pragma unroll
  for (int i = 0; i < SUMS; i++) d[i] = 0;
  for (int p = 0; p < share.count; p += TOGETHER) {
    int4 v[TOGETHER][SUMS / 4];
#pragma unroll
    for (int j = 0; j < TOGETHER; j++) {
      const int4 *const from = few_place<SUMS>(args, share.first + p + j, p + j == 0, group);
#pragma unroll
      for (int i = 0; i < SUMS / 4; i++) v[j][i] = p + j < share.count ? __ldcg(from + i * 128) : make_int4(0, 0, 0, 0);
    }
#pragma unroll
    for (int j = 0; j < TOGETHER; j++) {
#pragma unroll
      for (int i = 0; i < SUMS / 4; i++) {
        d[4 * i] = few_sum(d[4 * i], v[j][i].x);
        d[4 * i + 1] = few_sum(d[4 * i + 1], v[j][i].y);
        d[4 * i + 2] = few_sum(d[4 * i + 2], v[j][i].z);
        d[4 * i + 3] = few_sum(d[4 * i + 3], v[j][i].w);
      }
    }
  }
}

template <class Codes, gemm_act ACT, int SUMS>
__device__ void consume_few(const gemm_args &args, uint32_t base, uint32_t group, volatile uint32_t *last) {
  typedef typename Codes::stage stage;
  const int cluster = (int)(blockIdx.x / GEMM_CLUSTER), end = gemm_shares_begin(&args.shares, cluster + 1);
  gemm_ring<stage> ring(base);
  gemm_place at = gemm_place_of<ACT>(group, 0);
  at.lead = -1;
  wait_for_previous();
  for (int step = gemm_shares_begin(&args.shares, cluster); step < end;) {
    const gemm_share share = gemm_shares_find(&args.shares, cluster, &step);
    int pair = share.pair;
    const gemm_part_args &part = args.parts[args.find(&pair)];
    const int channel =
        ((pair * GEMM_CLUSTER + (int)cluster_rank()) * 2 + (int)group) * gemm_round<ACT, GEMM_F32>::CHANNELS +
        (int)((ACT == GEMM_SWIGLU ? 8 : 16) * at.warp + at.lane / 4);
    typename Codes::sum d[SUMS];
    gemm_row_pair rows;
    rows.load<ACT>(part, channel);
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const uint8_t *const block_scale = part.block_scale[rows.matrix<ACT>(h)];
      if (block_scale)
        at.scale_row[h] =
            block_scale + (size_t)rows.channel[h] * (size_t)(args.k / 16) + share.begin * (stage::STAGE_K / 16);
    }
    at.steps = share.end - share.begin;
    Codes::template product<ACT>(d, ring, at);
    const gemm_target to = gemm_target::of(args, part, at, channel, 0);
    gemm_before<ACT, SUMS> before;
    if (SUMS <= 32) before.load(to, part.adds); /* on its way while the parts meet */
    if (share.count > 1 && !few_put(d, args, share, cluster, group, last + group)) continue;
    if (SUMS > 32) before.load(to, part.adds);
    if (share.count == 1) {
      write_rows<ACT>(d, before, to, args, part, rows);
    } else { /* in registers of their own: the products' may not be written by others */
      typename Codes::sum all[SUMS];
      few_add(all, args, share, group);
      write_rows<ACT>(all, before, to, args, part, rows);
    }
  }
}

/* Launched in clusters of GEMM_CLUSTER blocks (gemm_launch.cu). */
template <class Codes, gemm_act ACT, int TOKENS>
__global__ void __launch_bounds__(GEMM_THREADS, 1)
    gemm_few_kernel(const __grid_constant__ gemm_maps maps, const __grid_constant__ gemm_args args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  typedef typename Codes::stage stage;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = smem_offset(shared);
  if (threadIdx.x == 0) {
    tma_prefetch_map(&maps.x_half);
    tma_prefetch_map(&maps.parts[0].w);
    gemm_ring<stage>(base).init_barriers();
  }
  launch_dependents();
  cluster_sync(); /* no block copies or arrives before both have their barriers */
  if (threadIdx.x < 128) {
    registers_release<GEMM_PRODUCER_REGISTERS>();
    if (threadIdx.x < 32) produce_few<Codes, ACT>(maps, args, base);
    __syncwarp();
  } else {
    registers_take<GEMM_CONSUMER_REGISTERS>();
    consume_few<Codes, ACT, TOKENS / 2>(args, base, threadIdx.x / 128 - 1,
                                        (uint32_t *)(shared + stage::BARRIERS_AT + 2 * stage::STAGES * 8));
  }
  cluster_sync(); /* nor leaves while the other may still write to it */
#endif
}

#endif
