/* gemm_products.cuh: the inner loops: one struct for each pair of codes. A warpgroup multiplies its 64 rows of w with
 * the tile's rows of x over all of K; d as gemm_wgmma.cuh has it: half as many
 * numbers of a thread as the tile has rows. few<TOKENS>: the same with the stages of few rows.
 */
#ifndef CUDA_GEMM_PRODUCTS_CUH
#define CUDA_GEMM_PRODUCTS_CUH

#include "backend/cuda/gemm_decode.cuh"
#include "backend/cuda/gemm_stages.cuh"
#include "backend/cuda/gemm_wgmma.cuh"

/* The second warpgroup begins its first tile when the first one has asked for GEMM_LEAD steps, and stays behind by
 * that much: so that one writes its results while the other still multiplies. */
#define GEMM_LEAD         2
#define GEMM_LEAD_BARRIER 3 /* 1 and 2 are the groups' own */

/* A consumer thread's place in its tile. */
struct gemm_place {
  uint32_t group;              /* warpgroup 0 or 1 */
  uint32_t warp, lane;         /* of the warpgroup */
  int steps;                   /* stages of K */
  uint32_t w_row[2];           /* widened codes: this thread's two rows of the stage */
  const uint8_t *scale_row[2]; /* NVFP4: the scales of this thread's two rows */
  int lead;                    /* the step at which this group lets the other one begin; -1: none */

  __device__ uint32_t quad() const { return lane % 4; }
  __device__ void asked(int step) const {
    if (step == lead) named_barrier_arrive(GEMM_LEAD_BARRIER, 256);
  }
};

/* Both sides as they lie in shared memory, 128 bytes of each row to a stage, summed where they are multiplied. */
template <class Stage, class Multiply> struct gemm_straight {
  typedef Stage stage;
  typedef float sum;
  template <int TOKENS> using few = gemm_straight<gemm_few_stage<Stage, TOKENS>, Multiply>;
  static constexpr bool WIDENED = false;

  template <int SUMS>
  static __device__ __forceinline__ void product(float (&d)[SUMS], gemm_ring<stage> &ring, const gemm_place &at) {
#pragma unroll 1
    for (int step = 0; step < at.steps; step++) {
      ring.wait_full();
      uint64_t w = matrix_descriptor<128>(ring.w() + at.group * GEMM_GROUP_ROWS * 128);
      uint64_t x = matrix_descriptor<128>(ring.x());
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < 4; k++) Multiply::run(d, along_k(w, 32 * k), along_k(x, 32 * k), step > 0 || k > 0);
      wgmma_commit();
      at.asked(step);
      wgmma_wait<1>();
      if (step > 0) ring.release_previous(at.lane);
      ring.advance();
    }
    wgmma_wait<0>();
    wgmma_settle(d);
    ring.release_previous(at.lane);
  }
};

struct gemm_multiply_e4m3 {
  template <int SUMS> static __device__ __forceinline__ void run(float (&d)[SUMS], uint64_t a, uint64_t b, int add) {
    wgmma_e4m3(d, a, b, add);
  }
};

struct gemm_multiply_f16 {
  template <int SUMS> static __device__ __forceinline__ void run(float (&d)[SUMS], uint64_t a, uint64_t b, int add) {
    wgmma_f16(d, a, b, add);
  }
};

typedef gemm_straight<gemm_stage<128, 128, 0, 4>, gemm_multiply_e4m3> gemm_fp8_fast;
typedef gemm_straight<gemm_stage<64, 128, 0, 4>, gemm_multiply_f16> gemm_f16_f16;

/* E4M3 with the sum of every GEMM_WHOLE_K columns of w begun at zero and added in FP32, 128 of the 256 rows of x at a time: two
 * sums of 256 would not fit the registers. While one warpgroup adds, the other one multiplies. */
#define GEMM_WHOLE_K 64

template <class Stage> struct gemm_whole_sums {
  typedef Stage stage;
  typedef float sum;
  template <int TOKENS> using few = gemm_whole_sums<gemm_few_stage<Stage, TOKENS>>;
  static constexpr bool WIDENED = false;

  template <int SUMS>
  static __device__ __forceinline__ void product(float (&d)[SUMS], gemm_ring<stage> &ring, const gemm_place &at) {
    constexpr int PART = SUMS < 64 ? SUMS : 64;
    float part[PART];
#pragma unroll
    for (int i = 0; i < SUMS; i++) d[i] = 0;
    for (int step = 0; step < at.steps; step++) {
      ring.wait_full();
      uint64_t w = matrix_descriptor<128>(ring.w() + at.group * GEMM_GROUP_ROWS * 128);
#pragma unroll
      for (int half = 0; half < SUMS / PART; half++) {
        uint64_t x = matrix_descriptor<128>(ring.x() + half * 128 * 128);
#pragma unroll
        for (int first = 0; first < 128; first += GEMM_WHOLE_K) {
          wgmma_fence();
#pragma unroll
          for (int k = first; k < first + GEMM_WHOLE_K; k += 32)
            wgmma_e4m3(part, along_k(w, k), along_k(x, k), k > first);
          wgmma_commit();
          wgmma_wait<0>();
          wgmma_settle(part);
#pragma unroll
          for (int i = 0; i < PART; i++) d[PART * half + i] += part[i];
        }
      }
      at.asked(step);
      ring.advance();
      ring.release_previous(at.lane);
    }
  }
};

typedef gemm_whole_sums<gemm_stage<128, 128, 0, 4>> gemm_fp8_full;

/* The sums of a tall tile's last GEMM_TAIL rows, or of none. */
struct gemm_no_tail {
  __device__ __forceinline__ void multiply(const uint32_t (&)[4], uint32_t, int, int) {}
  __device__ __forceinline__ void settle() {}
};

template <class Stage> struct gemm_tail {
  float d[GEMM_TAIL / 2];

  /* x: the stage's. k: 16 of K. */
  __device__ __forceinline__ void multiply(const uint32_t (&a)[4], uint32_t x, int k, int add) {
    wgmma_f16(d, a, along_k(matrix_descriptor<128>(x + Stage::TAIL_AT), 32 * k), add);
  }
  __device__ __forceinline__ void settle() { wgmma_settle(d); }
};

/* Rows of F16; the codes of w are widened in registers, one instruction ahead of the tensor core, which reads the
 * last three sets of them while the fourth is written. Widen: what the codes are. */
template <class Widen, class Stage = typename Widen::stage> struct gemm_widened {
  typedef Stage stage;
  typedef float sum;
  template <int TOKENS> using few = gemm_widened<Widen, gemm_few_stage<Stage, TOKENS>>;
  typedef gemm_widened<Widen, gemm_tall_stage<Stage>> tall;
  static constexpr bool WIDENED = true;

  template <int SUMS>
  static __device__ __forceinline__ void product(float (&d)[SUMS], gemm_ring<stage> &ring, const gemm_place &at) {
    gemm_no_tail none;
    product(d, none, ring, at);
  }

  template <int SUMS, class Tail>
  static __device__ __forceinline__ void product(float (&d)[SUMS], Tail &tail, gemm_ring<stage> &ring,
                                                 const gemm_place &at) {
    uint32_t a[4][4] = {};
    Widen widen(at);
    ring.wait_full();
    widen.begin_step(at, 0);
    widen.sixteen(a[0], ring.w(), at, 0);
    for (int step = 0; step < at.steps; step++) {
      const uint32_t x = ring.x();
#pragma unroll
      for (int k = 0; k < 4; k++) {
        wgmma_settle(a[k]);
        wgmma_fence();
        wgmma_f16(d, a[k], along_k(matrix_descriptor<128>(x), 32 * k), step > 0 || k > 0);
        tail.multiply(a[k], x, k, step > 0 || k > 0);
        wgmma_commit();
        wgmma_wait<3>();
        wgmma_settle(a[(k + 1) % 4]); /* until here the tensor core read them: they keep their registers */
        if (k < 3) {
          widen.sixteen(a[k + 1], ring.w(), at, k + 1);
          if (k == 2 && step > 0) ring.release_previous(at.lane); /* its last product is the one that wait<3> saw end */
        } else {
          at.asked(step);
          ring.advance();
          if (step + 1 < at.steps) {
            ring.wait_full();
            widen.begin_step(at, step + 1);
            widen.sixteen(a[0], ring.w(), at, 0);
          }
        }
      }
    }
    wgmma_wait<0>();
    wgmma_settle(d);
    tail.settle();
    ring.release_previous(at.lane);
  }
};

/* 64 of K: rows of 64 bytes, their 16-byte pieces exchanged by bits 1 and 2 of the row. */
struct gemm_widen_fp8 {
  typedef gemm_stage<64, 64, 0, 4> stage;

  __device__ explicit gemm_widen_fp8(const gemm_place &) {}
  __device__ void begin_step(const gemm_place &, int) {}
  __device__ void sixteen(uint32_t (&a)[4], uint32_t w, const gemm_place &at, uint32_t k) {
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
      uint32_t row = at.w_row[h], from = w + row * 64 + ((k ^ (row >> 1 & 3)) << 4) + 2 * at.quad();
      a[h] = e4m3_pair_to_f16(load_shared_u16(from));
      a[2 + h] = e4m3_pair_to_f16(load_shared_u16(from + 8));
    }
  }
};

/* 64 of K: 32 bytes of codes in a row of shared memory; the 4 scales come straight from the device's memory, a step
 * before they are used. Code times scale has 6 bits and lies between 2^-10 and 2688: exact in F16. */
struct gemm_widen_nvfp4 {
  typedef gemm_stage<64, 32, 0, 5> stage;
  uint32_t next[2], scales[2][4];

  __device__ explicit gemm_widen_nvfp4(const gemm_place &at) {
#pragma unroll
    for (int h = 0; h < 2; h++) next[h] = __ldg((const uint32_t *)at.scale_row[h]);
  }

  __device__ void begin_step(const gemm_place &at, int step) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      e4m3_four_to_f16_pairs(scales[h], next[h]);
      if (step + 1 < at.steps) next[h] = __ldg((const uint32_t *)at.scale_row[h] + step + 1);
    }
  }

  __device__ void sixteen(uint32_t (&a)[4], uint32_t w, const gemm_place &at, uint32_t k) {
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
      uint2 block = load_shared_u64(w + at.w_row[h] * 32 + 8 * k);
      uint32_t near, far; /* columns 2q and 2q + 1, 2q + 8 and 2q + 9 */
      e2m1_four_to_f16(permute_bytes(block.x, block.y, at.quad() * 0x11 + 0x40), &near, &far);
      a[h] = f16_pair_times(near, scales[h][k]);
      a[2 + h] = f16_pair_times(far, scales[h][k]);
    }
  }
};

typedef gemm_widened<gemm_widen_fp8> gemm_fp8_f16;
typedef gemm_widened<gemm_widen_nvfp4> gemm_nvfp4_f16;

/* INT8 2:4: 128 of K are 64 kept codes and 16 bytes of index for each row. */
template <class Stage> struct gemm_sparse {
  typedef Stage stage;
  typedef int32_t sum;
  template <int TOKENS> using few = gemm_sparse<gemm_few_stage<Stage, TOKENS>>;
  static constexpr bool WIDENED = false;

  static __device__ uint32_t load_index(const gemm_ring<stage> &ring, const gemm_place &at, int k) {
    uint32_t row = GEMM_GROUP_ROWS * at.group + 16 * at.warp + at.lane / 4 + 8 * (at.lane & 1);
    return load_shared_u32(ring.index() + row * 16 + (uint32_t)k * 8 + 4 * (at.lane >> 1 & 1));
  }

  template <int SUMS>
  static __device__ __forceinline__ void product(int32_t (&d)[SUMS], gemm_ring<stage> &ring, const gemm_place &at) {
    uint32_t index[2][1] = {};
    ring.wait_full();
    index[0][0] = load_index(ring, at, 0);
    for (int step = 0; step < at.steps; step++) {
      uint64_t w = matrix_descriptor<64>(ring.w() + at.group * GEMM_GROUP_ROWS * 64);
      uint64_t x = matrix_descriptor<128>(ring.x());
#pragma unroll
      for (int k = 0; k < 2; k++) {
        wgmma_settle(index[k]);
        wgmma_fence();
        wgmma_s8_24(d, along_k(w, 32 * k), index[k][0], along_k(x, 64 * k), step > 0 || k > 0);
        wgmma_commit();
        wgmma_wait<1>();
        wgmma_settle(index[1 - k]); /* as with F16's registers */
        if (k == 0) {
          index[1][0] = load_index(ring, at, 1);
          if (step > 0) ring.release_previous(at.lane);
        } else {
          at.asked(step);
          ring.advance();
          if (step + 1 < at.steps) {
            ring.wait_full();
            index[0][0] = load_index(ring, at, 0);
          }
        }
      }
    }
    wgmma_wait<0>();
    wgmma_settle(d);
    ring.release_previous(at.lane);
  }
};

typedef gemm_sparse<gemm_stage<128, 64, 16, 4>> gemm_int8_24;

#endif
