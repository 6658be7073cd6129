/* persist_feed.cuh: weights into the ring of persist.cuh's kernel: one thread of a block copies the block's records of all
 * products of the step, in their order, chunk by chunk.
 *
 *   chunk     consecutive records of a tile: TOGETHER for each of the 8 warps that compute
 *   full      a chunk is there: warps wait for it         empty     all 8 warps have read it: the next may be copied there
 *
 * It never waits for a stage, only for room, and bounds what is under way: the more there is, the longer the small messages
 * between blocks queue behind it. */
#ifndef BACKEND_CUDA_PERSIST_FEED_CUH
#define BACKEND_CUDA_PERSIST_FEED_CUH

#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/gemv_kernel.cuh"

#define PERSIST_MOST_DEPTH 24

/* The weights of a product, as the ring goes through them. */
struct persist_run {
  const uint8_t *w[GEMV_MOST_PARTS];
  uint32_t scales_at[GEMV_MOST_PARTS]; /* row scales: so many times 16 bytes after w */
  int first_tile[GEMV_MOST_PARTS - 1]; /* of the second and third matrix */
  int tiles, records, paired;          /* paired: tiles of the first two take turns (SWIGLU) */
  int first, end;                      /* tiles of the block: persist_deal */
};

/* A copy costs the thread some 0.3 µs, in which a multiprocessor's share of the bandwidth is 10 KB: chunks of small records have
 * several for a warp, unless few chunks then fill the ring (INT8's four would be 40 KB). */
template <class F> struct persist_chunk {
  static constexpr int FITS = 38 * 1024 / (GEMV_WARPS * F::RECORD);
  static constexpr int TOGETHER = FITS >= 4 ? 4 : F::RECORD <= 1280 ? 2 : 1;
  static constexpr int RECORDS = GEMV_WARPS * TOGETHER, BYTES = RECORDS * F::RECORD;
};

struct persist_ring {
  uint64_t full[PERSIST_MOST_DEPTH], empty[PERSIST_MOST_DEPTH];
  int busy; /* the block multiplies */
};

static __device__ __forceinline__ void persist_ring_begin(persist_ring *r, int depth) {
  r->busy = 0;
  for (int i = 0; i < depth; i++) {
    barrier_init(shared_address(&r->full[i]), 1);
    barrier_init(shared_address(&r->empty[i]), GEMV_WARPS);
  }
}

static __device__ __forceinline__ void persist_set_busy(persist_ring *r, int busy) {
  if (threadIdx.x == 0) *static_cast<volatile int *>(&r->busy) = busy;
}

/* A place in the ring. */
struct persist_slot {
  int slot = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void next(int depth) {
    if (++slot < depth) return;
    slot = 0;
    phase ^= 1;
  }
};

/* Tiles as gemv_first_tile deals them; tiles · blocks is below 2^32. */
static __device__ __forceinline__ void persist_deal(persist_run *r) {
  const unsigned together = r->paired ? 2 : 1, units = r->tiles / together;
  r->first = (int)(units * blockIdx.x / gridDim.x * together);
  r->end = (int)(units * (blockIdx.x + 1) / gridDim.x * together);
}

/* As gemv_find. */
static __device__ __forceinline__ gemv_place_of_tile persist_find(const persist_run &r, int tile) {
  if (r.paired) return {tile & 1, tile >> 1};
  const int matrix = (tile >= r.first_tile[0]) + (tile >= r.first_tile[1]);
  return {matrix, tile - (matrix == 0 ? 0 : r.first_tile[matrix - 1])};
}

static __device__ __forceinline__ const uint8_t *persist_records(const persist_run &r, int tile, int record_bytes) {
  const gemv_place_of_tile at = persist_find(r, tile);
  return r.w[at.matrix] + (size_t)at.tile * r.records * record_bytes;
}

/* What the thread that feeds is told. */
struct persist_feeding {
  const persist_run *runs;
  int run_count, record_bytes, depth;
  int most_busy, most_waiting; /* chunks under way while the block multiplies, and while it waits */
};

template <class F>
static __device__ __forceinline__ void persist_feed(const persist_feeding &p, uint32_t memory, persist_ring *ring) {
  using chunk = persist_chunk<F>;
  const uint64_t policy = policy_evict_first();
  const uint32_t full = shared_address(ring->full), empty = shared_address(ring->empty);
  persist_slot at, landed;
  int under_way = 0;
  for (int run = 0; run < p.run_count; run++) {
    const persist_run &r = p.runs[run];
    const int end = r.end, records = r.records;
    for (int tile = r.first; tile < end; tile++) {
      const uint8_t *from = persist_records(r, tile, p.record_bytes);
      for (int left = records; left > 0; left -= chunk::RECORDS) {
        const uint32_t bytes = min(left, chunk::RECORDS) * p.record_bytes;
        while (under_way >= (*static_cast<volatile int *>(&ring->busy) ? p.most_busy : p.most_waiting))
          if (barrier_ended(full + landed.slot * 8, landed.phase)) landed.next(p.depth), under_way--;
        barrier_wait(empty + at.slot * 8, at.phase ^ 1);
        barrier_expect(full + at.slot * 8, bytes);
        copy_bulk(memory + at.slot * chunk::BYTES, from, bytes, full + at.slot * 8, policy);
        from += bytes;
        at.next(p.depth);
        under_way++;
      }
    }
  }
}

#endif
