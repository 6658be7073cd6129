/* gemv_together.cuh: the kernel for 9 to 32 rows of x, and for fewer that a block has no room for, on GPUs with clusters of blocks
 * (sm_90). gemv_kernel.cuh's block keeps all of x, 128 KB of 16 rows of 4096 columns: read by every block, and little room is
 * left for weights that are on their way. Here 2, 4 or 8 blocks, a cluster, share a run of consecutive tiles, as many at a time
 * (a round) as they are, or more where a block has 10 warps; a block has the same slices of all of them, and no more of x than
 * these need.
 *
 *   slice    records i, i + 8, … of a tile are slice i of its columns: a warp's work
 *
 *            of 2 blocks         warp  0 1 2 3           4 5 6 7
 *            block 0           slices  0 1 2 3 of tile 0   0 1 2 3 of tile 1
 *            block 1           slices  4 5 6 7 of tile 0   4 5 6 7 of tile 1
 *
 *   sums     of a round go to the block that has the output: of each tile the same rows of w. A warp sends them and goes on;
 *            they are added up, in the order of their slices, and the output is written, after the next round's products
 *
 * The bits are those of gemv_resident. */
#ifndef BACKEND_CUDA_GEMV_TOGETHER_CUH
#define BACKEND_CUDA_GEMV_TOGETHER_CUH

#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/gemv_kernel.cuh"

/* Of 4 blocks: 5 tiles a round, so that the 8 or 9 that each of an H200's 30 clusters has of 256 are two rounds. */
#define GEMV_MANY_WARPS 10

/* -- a round's tiles and its sums: [slice][line][row of x], a line for each of the block's 16 / blocks rows of each tile */

/* The tiles of a round. */
static __host__ __device__ __forceinline__ int gemv_beside(int warps, int together_shift) {
  return (warps << together_shift) / GEMV_WARPS;
}

static __host__ __device__ __forceinline__ int gemv_lines(int warps, int together_shift) {
  return gemv_beside(warps, together_shift) * (GEMV_TILE >> together_shift);
}

/* Floats of a line: an odd number of pairs, so that who adds up lines meets no bank twice. */
static __host__ __device__ __forceinline__ int gemv_line(int m) { return 2 * ((m + 1) / 2 | 1); }

static __host__ __device__ __forceinline__ int gemv_round_floats(int m, int lines) {
  return GEMV_WARPS * lines * gemv_line(m);
}

/* How a block learns that a round's sums are there. Two rounds' have room: a warp sends the next but one after it has seen the
 * next's, which their senders sent when they had added up the first. */
struct gemv_meeting {
  uint64_t full[2];
};

/* tiles: of the round. Before any sums of the next. */
static __device__ __forceinline__ void gemv_expect(gemv_meeting *meeting, const gemv_args &a, int round, int tiles) {
  const int lines = tiles * (GEMV_TILE >> a.together_shift), pairs = (a.m + 1) / 2;
  if (threadIdx.x == 0)
    barrier_expect(shared_address(&meeting->full[round & 1]), GEMV_WARPS * lines * pairs * 2 * (int)sizeof(float));
}

static __device__ __forceinline__ void gemv_await(gemv_meeting *meeting, int round) {
  barrier_wait(shared_address(&meeting->full[round & 1]), round / 2 & 1);
}

/* Where a warp's sums go: those of rows g and g + 8 of its tile. */
struct gemv_sender {
  uint32_t to[2], full[2]; /* this lane's first pair of rows of x; the barrier */
};

static __device__ __forceinline__ gemv_sender gemv_address(const gemv_args &a, const float *sums, gemv_meeting *meeting,
                                                           int slice, int tile, int lines, int lane) {
  gemv_sender s;
  const int own_shift = 4 - a.together_shift; /* log2 of a block's rows of a tile */
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int n = lane / 4 + 8 * h, line = (tile << own_shift) + (n & ((1 << own_shift) - 1));
    const float *to = sums + (slice * lines + line) * gemv_line(a.m) + lane % 4 * 2;
    s.to[h] = cluster_address(shared_address(to), n >> own_shift);
    s.full[h] = cluster_address(shared_address(meeting->full), n >> own_shift);
  }
  return s;
}

template <class F, int TILES>
static __device__ __forceinline__ void gemv_send_sums(const gemv_args &a, const gemv_sender &s,
                                                      const float (&c)[TILES][F::SUMS][4], int round,
                                                      uint32_t sums_of_round, int lane) {
  const uint32_t buffer = (round & 1) * sums_of_round * sizeof(float);
#pragma unroll
  for (int i = 0; i < TILES; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const float first = F::total(c[i], 2 * h), second = F::total(c[i], 2 * h + 1);
      if (i * 8 + lane % 4 * 2 < a.m)
        store_async(s.to[h] + buffer + i * 8 * sizeof(float), first, second,
                    s.full[h] + (round & 1) * sizeof(uint64_t));
    }
}

/* The output that a thread has of each round; of more than GEMV_SURE_ROWS rows, the one so many rows on, too. */
struct gemv_own {
  int m, line, tile, row; /* row of x; line; tile of the round, row of w in it */
};

static __device__ __forceinline__ gemv_own gemv_own_of(const gemv_args &a, int rank, int lines) {
  const int own_shift = 4 - a.together_shift, line = (int)threadIdx.x % lines;
  return {(int)threadIdx.x / lines, line, line >> own_shift, (rank << own_shift) + (line & ((1 << own_shift) - 1))};
}

/* tile: of the thread's output. store(matrix, m, n, v): where a value goes. With SWIGLU that of up is as many lanes further as a block has rows of a tile. */
template <class Store>
static __device__ __forceinline__ void gemv_finish(const gemv_args &a, const gemv_own &own, const gemv_factors &f,
                                                   const float *sums, int lines, int tile, int end, Store store) {
  const bool there = own.m < a.m && tile < end;
  float v = 0, up = 0;
  if (there) {
    const int line = gemv_line(a.m);
    const float *parts = sums + own.line * line + own.m;
#pragma unroll
    for (int i = 0; i < GEMV_WARPS; i++) v += parts[i * lines * line];
    v = gemv_scaled(f, v);
  }
  if (a.activation == GEMV_SWIGLU) up = __shfl_down_sync(~0u, v, GEMV_TILE >> a.together_shift);
  if (!there) return;
  const gemv_place_of_tile at = gemv_find(a, tile);
  const int n = at.tile * GEMV_TILE + own.row;
  if (n >= a.matrix[at.matrix].n) return;
  if (a.activation != GEMV_SWIGLU)
    store(at.matrix, own.m, n, activated((activation)a.activation, v) + f.residual);
  else if (at.matrix == 0)
    store(0, own.m, n, silu(v) * up);
}

/* Slots of a warp's ring, for TILES times eight rows of x. */
template <class F, int WARPS, int TILES, int RING_BYTES> struct gemv_shared_depth {
  /* records that a warp multiplies without waiting in between: of many rows one has products enough beside each other */
  static constexpr int TOGETHER = TILES > 2 ? (F::TOGETHER + 1) / 2 : F::TOGETHER;
  static constexpr int FITS = RING_BYTES / WARPS / F::RECORD;
  static constexpr int DEPTH = FITS < 3 * TOGETHER ? 3 * TOGETHER : FITS > 12 ? 12 : FITS;
};

/* -- the kernel. Dynamic shared memory: rings, x, sums of two rounds, 16 zero bytes, the meeting */

/* Records of x that a block has room for. */
static __host__ __device__ __forceinline__ int gemv_own_records(int records, int together_shift) {
  return (records + GEMV_WARPS - 1) / GEMV_WARPS * (GEMV_WARPS >> together_shift);
}

static inline size_t gemv_together_bytes(int record_most, int warps, int depth, size_t records, int m,
                                         int together_shift) {
  const size_t x = gemv_own_records((int)records, together_shift) * GEMV_PIECES * (size_t)gemv_x_stride(m);
  const size_t sums = 2 * (size_t)gemv_round_floats(m, gemv_lines(warps, together_shift)) * sizeof(float);
  return (size_t)warps * depth * record_most + x + sums + 16 + sizeof(gemv_meeting);
}

template <class F, int WARPS, int TILES, int RING_BYTES>
__global__ void __launch_bounds__(WARPS *GEMV_LANES, 1)
    gemv_together(const __grid_constant__ gemv_args a, const __grid_constant__ gemv_send send) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(16) uint8_t gemv_memory[];
  typedef gemv_shared_depth<F, WARPS, TILES, RING_BYTES> depth;
  constexpr int TOGETHER = depth::TOGETHER, DEPTH = depth::DEPTH, OWN = (TILES + 1) / 2; /* OWN: outputs of a thread */
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, shift = a.together_shift, slices_shift = 3 - shift;
  const int rank = blockIdx.x & ((1 << shift) - 1), cluster = blockIdx.x >> shift;
  const int slices = GEMV_WARPS >> shift, slice = rank * slices + (warp & (slices - 1)); /* the block's; the warp's */
  const int beside = warp >> slices_shift; /* the warp's tile of a round's */
  const int tiles = gemv_beside(WARPS, shift), lines = gemv_lines(WARPS, shift);
  const int pair = a.activation == GEMV_SWIGLU;
  const int first = (int)(cluster * a.share >> 32) << pair, end = (int)((cluster + 1) * a.share >> 32) << pair;
  const int x_of_record = GEMV_PIECES * gemv_x_stride(a.m), records = gemv_own_records(a.records, shift);
  const int sums_of_round = gemv_round_floats(a.m, lines);
  uint8_t *const ring = gemv_memory + warp * (DEPTH * F::RECORD);
  uint8_t *const x = gemv_memory + WARPS * DEPTH * F::RECORD;
  float *const sums = reinterpret_cast<float *>(x + records * x_of_record);
  uint4 *const zeros = reinterpret_cast<uint4 *>(sums + 2 * sums_of_round);
  gemv_meeting *const meeting = reinterpret_cast<gemv_meeting *>(zeros + 1);
  const uint64_t policy = policy_evict_first();

  /* the next record to copy, and where it goes */
  int copy_record = slice, copy_tile = slice < a.records ? first + beside : end, copy_slot = 0;
  const uint8_t *from = nullptr;
  auto begin_tile = [&]() {
    if (copy_tile < end) from = gemv_records(a, copy_tile) + (size_t)slice * a.record_bytes;
  };
  begin_tile();
  auto copy_next = [&]() {
    if (copy_tile < end) {
      gemv_copy_record<F::CODES, F::RECORD>(ring + copy_slot * F::RECORD, from, a.record_bytes, lane, policy);
      copy_record += GEMV_WARPS;
      from += (size_t)GEMV_WARPS * a.record_bytes;
      if (copy_record >= a.records) {
        copy_record = slice;
        copy_tile += tiles;
        begin_tile();
      }
      copy_slot = copy_slot + 1 < DEPTH ? copy_slot + 1 : 0;
    }
    copy_async_commit();
  };

  launch_dependents();
#pragma unroll
  for (int i = 0; i < DEPTH - TOGETHER; i++) copy_next();
  if (threadIdx.x == 0) {
    *zeros = make_uint4(0, 0, 0, 0);
    for (int i = 0; i < 2; i++) barrier_init(shared_address(&meeting->full[i]), 1);
    barrier_init_fence();
  }
  __syncwarp();
  cluster_arrive();
  const gemv_own own = gemv_own_of(a, rank, lines);
  const gemv_sender sender = gemv_address(a, sums, meeting, slice, beside, lines, lane);
  wait_for_previous();
  auto record_of = [&](int i) { return (i >> slices_shift) * GEMV_WARPS + rank * slices + (i & (slices - 1)); };
  for (int i = warp; i < records; i += WARPS)
    if (record_of(i) < a.records) gemv_take_x(x + i * x_of_record, a, record_of(i), lane);
  copy_async_commit();
  copy_async_wait<0>();
  if (a.pairs)
    for (int i = warp; i < records; i += WARPS)
      if (record_of(i) < a.records) gemv_reorder_x(x + i * x_of_record, a, lane);
  __syncthreads();

  typename F::template operands<TILES> at;
  gemv_place(&at, a, shared_address(x), shared_address(zeros), lane);
  const uint32_t number = gemv_send_number(send);
  auto store = [&](int i, int m, int n, float v) { gemv_store_and_send(a, send, number, i, m, n, v); };
  gemv_factors factors[OWN] = {};
  int slot = 0, round = 0;
  auto finish = [&]() { /* the round before this one */
                        gemv_await(meeting, round - 1);
#pragma unroll
                        for (int i = 0; i < OWN; i++) {
                          const gemv_own output = {own.m + i * GEMV_SURE_ROWS, own.line, own.tile, own.row};
                          gemv_finish(a, output, factors[i], sums + (round - 1 & 1) * sums_of_round, lines,
                                      first + (round - 1) * tiles + own.tile, end, store);
                        }
  };
  for (int tile = first; tile < end; tile += tiles, round++) {
    gemv_factors next[OWN] = {};
    if (tile + own.tile < end)
#pragma unroll
      for (int i = 0; i < OWN; i++)
        next[i] = gemv_load_factors(a, tile + own.tile, own.m + i * GEMV_SURE_ROWS, own.row);
    gemv_expect(meeting, a, round, min(end - tile, tiles));
    float c[TILES][F::SUMS][4] = {};
    int r = tile + beside < end ? slice : a.records, x_at = (warp & (slices - 1)) * x_of_record;
    auto multiply = [&]() {
      at.codes = ring + slot * F::RECORD;
      at.x = x_at;
      F::multiply(c, at);
      slot = slot + 1 < DEPTH ? slot + 1 : 0;
      r += GEMV_WARPS;
      x_at += slices * x_of_record;
    };
    /* TOGETHER records at a time, as in gemv_resident */
    while (r + (TOGETHER - 1) * GEMV_WARPS < a.records) {
      copy_async_wait<DEPTH - 2 * TOGETHER>();
      __syncwarp(); /* they are there for all lanes, and all lanes have read those before, whose place is filled now */
#pragma unroll
      for (int i = 0; i < TOGETHER; i++) copy_next();
#pragma unroll
      for (int i = 0; i < TOGETHER; i++) multiply();
    }
    while (TOGETHER > 1 && r < a.records) {
      copy_async_wait<DEPTH - 2 * TOGETHER>();
      __syncwarp();
      copy_next();
      multiply();
    }
    if (round == 0)
      cluster_wait(); /* the others are there, and can be sent to */
    else
      finish();
    if (tile + beside < end) gemv_send_sums<F, TILES>(a, sender, c, round, sums_of_round, lane);
#pragma unroll
    for (int i = 0; i < OWN; i++) factors[i] = next[i];
  }
  finish();
#endif
}

#endif
