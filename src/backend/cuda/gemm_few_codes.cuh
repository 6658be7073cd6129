/* gemm_few_codes.cuh: how the kernel of few rows brings and multiplies its weights, one struct for each way:
 *
 *   load      a warp asks for a stage's weights, and for the bytes that will come with its rows of x
 *   product   as in gemm_products.cuh
 */
#ifndef CUDA_GEMM_FEW_CODES_CUH
#define CUDA_GEMM_FEW_CODES_CUH

#include "backend/cuda/gemm_kernel.cuh"
#include "pack/gemv_order.h"

/* Those of gemm_products.cuh. */
template <class Codes, int TOKENS> struct gemm_few_rows {
  typedef typename Codes::template few<TOKENS> codes;
  typedef typename codes::stage stage;
  typedef typename codes::sum sum;

  template <gemm_act ACT>
  static __device__ __forceinline__ void load(const gemm_part_maps &maps, const gemm_part_args &,
                                              const gemm_ring<stage> &ring, int step, int block) {
    if (threadIdx.x == 0) {
      barrier_expect(ring.full(ring.stage), stage::BYTES);
      load_weights<codes, ACT>(maps, ring, step, block);
    }
    __syncwarp();
  }

  template <gemm_act ACT, int SUMS>
  static __device__ __forceinline__ void product(sum (&d)[SUMS], gemm_ring<stage> &ring, const gemm_place &at) {
    codes::product(d, ring, at);
  }
};

/* FP8 in the order of pack/gemv_order.h: records of 16 rows and 128 columns lie in one piece, which the copy engine moves as
 * fast as memory gives it (rows of 64 bytes it does not), and a lane's codes side by side. A block's 128 channels are 8 tiles of w;
 * SWIGLU: 4 of the gates and 4 of the ups, of which a warp has a half of one and the same half of the other. */
template <int TOKENS> struct gemm_few_fp8_rows {
  static constexpr int RECORD = 2048, TILES = GEMM_CHANNELS / GEMV_TILE, ROUNDS = GEMV_RECORD / 16;
  struct stage {
    static constexpr int STAGE_K = GEMV_RECORD, X_PANELS = 2;
    static constexpr int X_BYTES = X_PANELS * TOKENS * 128, W_BYTES = TILES * RECORD, BYTES = X_BYTES + W_BYTES;
    static constexpr int STAGES = GEMM_FEW_SHARED / BYTES;
    static constexpr int BARRIERS_AT = STAGES * BYTES, SHARED_BYTES = BARRIERS_AT + 2 * STAGES * 8 + 16;
  };
  typedef float sum;

  template <gemm_act ACT>
  static __device__ __forceinline__ void load(const gemm_part_maps &, const gemm_part_args &part,
                                              const gemm_ring<stage> &ring, int step, int block) {
    const int tiles = (part.n + GEMV_TILE - 1) / GEMV_TILE, lane = (int)threadIdx.x;
    const bool up = ACT == GEMM_SWIGLU && lane >= TILES / 2;
    const int tile = ACT == GEMM_SWIGLU ? block * (TILES / 2) + lane % (TILES / 2) : block * TILES + lane;
    const bool mine = lane < TILES && tile < tiles;
    const uint32_t full = ring.full(ring.stage), count = (uint32_t)__popc(__ballot_sync(~0u, mine));
    if (lane == 0) barrier_expect(full, stage::X_BYTES + count * RECORD);
    __syncwarp();
    if (mine)
      copy_bulk(ring.w() + (uint32_t)lane * RECORD, part.ordered[up] + ((size_t)tile * part.records + step) * RECORD,
                RECORD, full, policy_evict_first());
  }

  template <gemm_act ACT, int SUMS>
  static __device__ __forceinline__ void product(float (&d)[SUMS], gemm_ring<stage> &ring, const gemm_place &at) {
    const uint32_t warp = at.group * 4 + at.warp, lane = at.lane * 16;
    const uint32_t first = ACT == GEMM_SWIGLU ? warp / 2 * RECORD + warp % 2 * 8 + lane : warp * RECORD + lane;
    const uint32_t second = ACT == GEMM_SWIGLU ? first + TILES / 2 * RECORD : first + 8;
    uint32_t a[4][4] = {};
    uint2 codes[2][4]; /* 32 columns of rows g, of rows g + 8 */
    const auto fetch = [&]() {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        codes[0][i] = load_shared_u64(ring.w() + first + (uint32_t)i * 512);
        codes[1][i] = load_shared_u64(ring.w() + second + (uint32_t)i * 512);
      }
    };
    ring.wait_full();
    fetch();
#pragma unroll 1
    for (int step = 0; step < at.steps; step++) {
      const uint32_t x = ring.x();
#pragma unroll
      for (int k = 0; k < ROUNDS; k++) {
        uint32_t(&now)[4] = a[k % 4];
        const uint2 low = codes[0][k / 2], high = codes[1][k / 2];
        e4m3_to_half2(k % 2 ? low.y : low.x, &now[0], &now[2]);
        e4m3_to_half2(k % 2 ? high.y : high.x, &now[1], &now[3]);
        wgmma_settle(now);
        wgmma_fence();
        wgmma_f16(d, now, along_k(matrix_descriptor<128>(x + k / 4 * TOKENS * 128), 32 * (k % 4)), step > 0 || k > 0);
        wgmma_commit();
        wgmma_wait<3>();
        wgmma_settle(a[(k + 1) % 4]); /* until here the tensor core read them: they keep their registers */
        if (k == 2 && step > 0) ring.release_previous(at.lane);
      }
      ring.advance();
      if (step + 1 < at.steps) {
        ring.wait_full();
        fetch();
      }
    }
    wgmma_wait<0>();
    wgmma_settle(d);
    ring.release_previous(at.lane);
  }
};

struct gemm_few_fp8 {};

/* Codes in so many rows of x. */
template <class Codes, int TOKENS> struct gemm_few_of { typedef gemm_few_rows<Codes, TOKENS> type; };
template <int TOKENS> struct gemm_few_of<gemm_few_fp8, TOKENS> { typedef gemm_few_fp8_rows<TOKENS> type; };

#endif
