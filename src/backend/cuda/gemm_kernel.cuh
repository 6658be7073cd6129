/* gemm_kernel.cuh: the kernel of all large products: one producer, two warpgroups that multiply, blocks that stay.
 *
 * Codes: the inner loop (gemm_products.cuh). ACT: what follows. OUTPUT: the type of the results.
 */
#ifndef CUDA_GEMM_KERNEL_CUH
#define CUDA_GEMM_KERNEL_CUH

#include "backend/cuda/gemm_epilogue.cuh"
#include "backend/cuda/ptx.cuh"

#define GEMM_THREADS            384 /* a warpgroup that loads, two that multiply */
#define GEMM_PRODUCER_REGISTERS 40
#define GEMM_CONSUMER_REGISTERS 232

/* Asks for a stage's rows of w: step is one of K, block the block's number along the channels. */
template <class Codes, gemm_act ACT>
__device__ __forceinline__ void load_weights(const gemm_part_maps &of, const gemm_ring<typename Codes::stage> &ring,
                                             int step, int block) {
  typedef typename Codes::stage stage;
  const uint32_t full = ring.full(ring.stage);
  if (ACT == GEMM_SWIGLU && Codes::WIDENED) { /* 64 rows of the gates, then 64 of the ups */
    tma_load_2d(ring.w(), &of.w, full, step * stage::W_ROW, block * (GEMM_CHANNELS / 2));
    tma_load_2d(ring.w() + stage::W_BYTES / 2, &of.index, full, step * stage::W_ROW, block * (GEMM_CHANNELS / 2));
  } else if (ACT == GEMM_SWIGLU) { /* 8 rows of the gates, 8 of the ups, 8 times: what the tensor core reads itself */
    tma_load_4d(ring.w(), &of.w, full, step * stage::W_ROW, 0, 0, block * (GEMM_CHANNELS / 16));
    if (stage::INDEX_ROW)
      tma_load_4d(ring.index(), &of.index, full, step * stage::INDEX_ROW, 0, 0, block * (GEMM_CHANNELS / 16));
  } else {
    tma_load_2d(ring.w(), &of.w, full, step * stage::W_ROW, block * GEMM_CHANNELS);
    if (stage::INDEX_ROW) tma_load_2d(ring.index(), &of.index, full, step * stage::INDEX_ROW, block * GEMM_CHANNELS);
  }
}

/* Brings the stages of all this block's tiles. One thread. */
template <class Codes, gemm_act ACT>
__device__ void produce(const gemm_maps &maps, const gemm_args &args, uint32_t base) {
  typedef typename Codes::stage stage;
  const uint32_t rank = cluster_rank();
  const int steps = (args.k + stage::STAGE_K - 1) / stage::STAGE_K, count = gemm_tiles_count(&args.tiles);
  gemm_ring<stage> ring(base);
  for (int i = (int)(blockIdx.x / GEMM_CLUSTER); i < count; i += (int)(gridDim.x / GEMM_CLUSTER)) {
    gemm_tile tile;
    if (!gemm_tiles_find(&args.tiles, i, &tile)) continue;
    const int part = args.find(&tile.pair);
    const gemm_part_maps &of = maps.parts[part];
    const CUtensorMap *const x = tile.half ? &maps.x_half : &maps.x;
    const uint32_t x_bytes = stage::TAIL_AT / GEMM_CLUSTER >> tile.half; /* this block's part of them */
    const int row = tile.token + (int)rank * (GEMM_TOKENS / GEMM_CLUSTER >> tile.half);
    const int block = tile.pair * GEMM_CLUSTER + (int)rank;
    for (int step = 0; step < steps; step++) {
      ring.wait_empty();
      const uint32_t full = ring.full(ring.stage);
      barrier_expect(full, stage::BYTES - stage::X_BYTES + GEMM_CLUSTER * x_bytes + (uint32_t)tile.tail * 128);
      tma_load_2d_multicast(ring.x() + rank * x_bytes, x, full, step * stage::STAGE_K, row, (1 << GEMM_CLUSTER) - 1);
      if (stage::TAIL && tile.tail && rank == 0)
        tma_load_2d_multicast(ring.x() + stage::TAIL_AT, &maps.x_tail, full, step * stage::STAGE_K,
                              tile.token + (GEMM_TOKENS >> tile.half), (1 << GEMM_CLUSTER) - 1);
      load_weights<Codes, ACT>(of, ring, step, block);
      ring.advance();
    }
  }
}

/* What a warpgroup that multiplies keeps from tile to tile. */
template <class Codes> struct gemm_consumer {
  gemm_ring<typename Codes::stage> ring;
  gemm_place at;
  bool waits;        /* for the other group's first steps */
  uint32_t turn;     /* which of the two rounds' memory is next */
  uint32_t store;    /* shared: that memory */
  float *row_scales; /* shared, [GEMM_TOKENS] */
};

/* A thread's place; steps: of the first tile. */
template <gemm_act ACT> __device__ __forceinline__ gemm_place gemm_place_of(uint32_t group, int steps) {
  const uint32_t thread = threadIdx.x % 128;
  gemm_place at = {group, thread / 32, thread % 32, steps, {0, 0}, {nullptr, nullptr}, -1};
#pragma unroll
  for (uint32_t h = 0; h < 2; h++) {
    at.w_row[h] = ACT == GEMM_SWIGLU ? GEMM_CHANNELS / 2 * h + GEMM_GROUP_ROWS / 2 * group + 8 * at.warp + at.lane / 4
                                     : GEMM_GROUP_ROWS * group + 16 * at.warp + at.lane / 4 + 8 * h;
  }
  at.lead = group == 0 ? min(GEMM_LEAD, steps) - 1 : -1;
  return at;
}

/* Multiplies a tile of 2 · SUMS rows of x and writes it. */
template <class Codes, gemm_act ACT, gemm_output OUTPUT, int SUMS>
__device__ __forceinline__ void consume_tile(const gemm_maps &maps, const gemm_args &args, gemm_consumer<Codes> &c,
                                             gemm_tile tile) {
  typedef typename Codes::stage stage;
  const uint32_t thread = threadIdx.x % 128;
  const int number = args.find(&tile.pair);
  const gemm_part_args &part = args.parts[number];
  const int rows_of_y = gemm_round<ACT, OUTPUT>::CHANNELS;
  const int channel = ((tile.pair * GEMM_CLUSTER + (int)cluster_rank()) * 2 + (int)c.at.group) * rows_of_y;
  typename Codes::sum d[SUMS];
  gemm_row_pair rows;
  const int own_channel = channel + (int)((ACT == GEMM_SWIGLU ? 8 : 16) * c.at.warp + c.at.lane / 4);
  rows.load<ACT>(part, own_channel);
  float scales[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int row = min(tile.token + 128 * h + (int)thread, args.tiles.m - 1);
    scales[h] = args.row_scale ? __ldg(args.row_scale + row) : 1;
    const uint8_t *const block_scale = part.block_scale[rows.matrix<ACT>(h)];
    if (block_scale) c.at.scale_row[h] = block_scale + (size_t)rows.channel[h] * (size_t)(args.k / 16);
  }
  if (c.waits) named_barrier_sync(GEMM_LEAD_BARRIER, 256);
  if constexpr (stage::TAIL) {
    gemm_tail<stage> tail;
    Codes::product(d, tail, c.ring, c.at);
    if (tile.tail) {
      const gemm_target to = gemm_target::of(args, part, c.at, own_channel, tile.token + 2 * SUMS);
      gemm_before<ACT, GEMM_TAIL / 2> before;
      before.load(to, part.adds);
      write_rows<ACT>(tail.d, before, to, args, part, rows);
    }
  } else {
    Codes::product(d, c.ring, c.at);
  }
  c.waits = false;
  c.at.lead = -1;
  c.row_scales[thread] = scales[0]; /* the first barrier of write_tile makes them visible */
  c.row_scales[thread + 128] = scales[1];
  write_tile<ACT, OUTPUT>(d, rows, c.at, &maps.parts[number].y, part.adds, c.store, &c.turn, c.row_scales, channel,
                          tile.token);
  named_barrier_sync(1 + c.at.group, 128); /* nobody overwrites row_scales that others still read */
}

/* A warpgroup's half of all this block's tiles. */
template <class Codes, gemm_act ACT, gemm_output OUTPUT>
__device__ void consume(const gemm_maps &maps, const gemm_args &args, uint32_t base, float *row_scales,
                        uint32_t group) {
  typedef typename Codes::stage stage;
  const int count = gemm_tiles_count(&args.tiles);
  gemm_consumer<Codes> c = {gemm_ring<stage>(base),
                            gemm_place_of<ACT>(group, (args.k + stage::STAGE_K - 1) / stage::STAGE_K),
                            group == 1,
                            0,
                            base + stage::STORE_AT + group * 2 * GEMM_ROUND_BYTES,
                            row_scales};
  int i = (int)(blockIdx.x / GEMM_CLUSTER);
  for (; i < args.tiles.whole; i += (int)(gridDim.x / GEMM_CLUSTER)) {
    gemm_tile tile;
    gemm_tiles_find(&args.tiles, i, &tile);
    consume_tile<Codes, ACT, OUTPUT, GEMM_TOKENS / 2>(maps, args, c, tile);
  }
  for (; i < count; i += (int)(gridDim.x / GEMM_CLUSTER)) {
    gemm_tile tile;
    if (gemm_tiles_find(&args.tiles, i, &tile))
      consume_tile<Codes, ACT, OUTPUT, GEMM_HALF_TOKENS / 2>(maps, args, c, tile);
  }
  if (c.at.warp == 0 && c.at.lane == 0) tma_store_wait();
}

/* Launched in clusters of GEMM_CLUSTER blocks (gemm_launch.cu). */
template <class Codes, gemm_act ACT, gemm_output OUTPUT>
__global__ void __launch_bounds__(GEMM_THREADS, 1)
    gemm_kernel(const __grid_constant__ gemm_maps maps, const __grid_constant__ gemm_args args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  typedef typename Codes::stage stage;
  extern __shared__ __align__(1024) uint8_t shared[];
  const uint32_t base = smem_offset(shared);
  if (threadIdx.x == 0) {
    tma_prefetch_map(&maps.x);
    tma_prefetch_map(&maps.parts[0].w);
    tma_prefetch_map(&maps.parts[0].y);
    gemm_ring<stage>(base).init_barriers();
  }
  launch_dependents();
  cluster_sync();      /* no block copies or arrives before both have their barriers */
  wait_for_previous(); /* the kernel before made x, or the y that grows */
  if (threadIdx.x < 128) {
    registers_release<GEMM_PRODUCER_REGISTERS>();
    if (threadIdx.x == 0) produce<Codes, ACT>(maps, args, base);
    __syncwarp();
  } else {
    registers_take<GEMM_CONSUMER_REGISTERS>();
    const uint32_t group = threadIdx.x / 128 - 1;
    float *row_scales = (float *)(shared + stage::ROW_SCALES_AT) + group * GEMM_TOKENS;
    consume<Codes, ACT, OUTPUT>(maps, args, base, row_scales, group);
  }
  cluster_sync(); /* nor leaves while the other may still write to it */
#endif
}

#endif
