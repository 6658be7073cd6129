/* gemm_stages.cuh: the ring of stages through which tiles of x and w reach the tensor cores, and who waits for whom.
 *
 *   producer (one thread)   wait empty ─► expect bytes ─► copy x (its half, to both blocks), w, index ─► next stage
 *   consumers (2 groups)    wait full ─► multiply ─► arrive at empty of both blocks ─► next stage
 *
 * A block may overwrite a stage of both blocks, so it waits for the consumers of both.
 */
#ifndef CUDA_GEMM_STAGES_CUH
#define CUDA_GEMM_STAGES_CUH

#include "backend/cuda/gemm.h"
#include "backend/cuda/gemm_ptx.cuh"
#include "backend/cuda/gemm_tile.h"

struct gemm_part_maps {
  CUtensorMap w, index, y;
};

#define GEMM_FEW_SHARED (220 << 10) /* bytes of all stages */

struct gemm_maps {
  CUtensorMap x, x_half, x_tail; /* a block's part of a tile's rows, of half a tile's or of few rows; a tail's rows */
  gemm_part_maps parts[GEMM_MOST_PARTS];
};

/* What a stage holds. STAGE_K: of K. W_ROW, INDEX_ROW: bytes of a row. Rows of x have 128 bytes whatever their type; TAIL of them
 * follow the tile's. */
template <int STAGE_K_, int W_ROW_, int INDEX_ROW_, int STAGES_, int TAIL_ = 0> struct gemm_stage {
  static constexpr int STAGE_K = STAGE_K_, W_ROW = W_ROW_, INDEX_ROW = INDEX_ROW_, STAGES = STAGES_, TAIL = TAIL_;
  static constexpr int TAIL_AT = GEMM_TOKENS * 128, X_BYTES = TAIL_AT + TAIL * 128;
  static constexpr int W_BYTES = GEMM_CHANNELS * W_ROW;
  static constexpr int INDEX_BYTES = GEMM_CHANNELS * INDEX_ROW;
  static constexpr int BYTES = X_BYTES + W_BYTES + INDEX_BYTES;
  static constexpr int STORE_AT = STAGES * BYTES;
  static constexpr int ROW_SCALES_AT = STORE_AT + 4 * GEMM_ROUND_BYTES;
  static constexpr int BARRIERS_AT = ROW_SCALES_AT + 2 * GEMM_TOKENS * (int)sizeof(float);
  static constexpr int SHARED_BYTES = BARRIERS_AT + 2 * STAGES * 8;
  static_assert(BYTES % 1024 == 0,
                "the swizzle's pattern repeats every 1024 bytes, so every part begins at a multiple");
  static_assert(SHARED_BYTES <= 232448, "a block has 227 KiB of shared memory");
};

template <class Stage>
using gemm_tall_stage = gemm_stage<Stage::STAGE_K, Stage::W_ROW, Stage::INDEX_ROW, Stage::STAGES, GEMM_TAIL>;

/* The same for few rows of x, whose results go straight to memory: as many stages as fit. */
template <class Stage, int TOKENS> struct gemm_few_stage {
  static constexpr int STAGE_K = Stage::STAGE_K, W_ROW = Stage::W_ROW, INDEX_ROW = Stage::INDEX_ROW;
  static constexpr int X_BYTES = TOKENS * 128, W_BYTES = Stage::W_BYTES, INDEX_BYTES = Stage::INDEX_BYTES;
  static constexpr int BYTES = X_BYTES + W_BYTES + INDEX_BYTES;
  static constexpr int STAGES = GEMM_FEW_SHARED / BYTES, X_PANELS = 1;
  static constexpr int BARRIERS_AT = STAGES * BYTES;
  static constexpr int SHARED_BYTES = BARRIERS_AT + 2 * STAGES * 8 + 16; /* a word for each group behind the barriers */
  static_assert(BYTES % 1024 == 0, "as above");
};

/* One thread's place in the ring. */
template <class Stage> struct gemm_ring {
  uint32_t base;  /* shared memory, first stage */
  uint32_t stage; /* 0 ... STAGES - 1 */
  uint32_t phase; /* parity of the turn */

  __device__ explicit gemm_ring(uint32_t base_) : base(base_), stage(0), phase(0) {}
  __device__ uint32_t full(uint32_t s) const { return base + Stage::BARRIERS_AT + 8 * s; }
  __device__ uint32_t empty(uint32_t s) const { return base + Stage::BARRIERS_AT + 8 * (Stage::STAGES + s); }
  __device__ uint32_t x() const { return base + stage * Stage::BYTES; }
  __device__ uint32_t w() const { return x() + Stage::X_BYTES; }
  __device__ uint32_t index() const { return w() + Stage::W_BYTES; }

  __device__ void advance() {
    if (++stage == Stage::STAGES) {
      stage = 0;
      phase ^= 1;
    }
  }

  __device__ void wait_full() const { barrier_wait(full(stage), phase); }
  __device__ void wait_empty() const { barrier_wait(empty(stage), phase ^ 1); }

  /* A consumer warp is done with the stage before this one. */
  __device__ void release_previous(uint32_t lane) const {
    uint32_t s = (stage == 0 ? Stage::STAGES : stage) - 1;
    if (lane < GEMM_CLUSTER) barrier_arrive_cluster(cluster_address(empty(s), lane));
  }

  __device__ void init_barriers() const {
    for (int s = 0; s < Stage::STAGES; s++) {
      barrier_init(full(s), 1);
      barrier_init(empty(s), GEMM_WARPS * GEMM_CLUSTER);
    }
    barrier_init_fence();
  }
};

#endif
