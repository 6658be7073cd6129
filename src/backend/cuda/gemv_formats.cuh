/* backend/cuda/gemv_formats.cuh: what a warp does with one record of weights (16 rows × 128 columns, pack/gemv_order.h) and the
 * 1 to 32 rows of x beside it, one struct for each format:
 *
 *   CODES, RECORD     bytes of its codes, and in all, at most
 *   SUMS              independent accumulators of an output, so that products need not wait for each other
 *   TOGETHER          records that a warp multiplies without waiting in between
 *   held              a record's codes as a lane reads them from shared memory
 *   load_x            the record's x
 *   add               adds the products of both to sums
 *   multiply          all three
 *   total             the sum of an output's accumulators, in a fixed order
 *
 * Codes become FP16 exactly and are multiplied by f16 `mma`, whose sums are FP32: the error against FP64 is 2^-21 Σ|x·w|. Rows
 * of x are columns of the product, which do not know of each other: an output's bits depend on its own row alone. */
#ifndef BACKEND_CUDA_GEMV_FORMATS_CUH
#define BACKEND_CUDA_GEMV_FORMATS_CUH

#include <cuda_fp16.h>

#include "backend/cuda/ptx.cuh"
#include "pack/gemv_order.h"

static __device__ __forceinline__ float2 half2_to_float2(uint32_t pair) {
  return __half22float2(*reinterpret_cast<const __half2 *>(&pair));
}

/* 2^(code − 127); FP32 has the same exponent, whose 0 is the subnormal 2^−127 and whose 255 is NaN. */
static __device__ __forceinline__ float e8m0_to_float(uint32_t code) {
  return __uint_as_float(code == 0 ? 0x400000u : code == 255 ? 0x7fc00000u : code << 23);
}

/* Scales of the block at a column of the record for rows g and g + 8, as they lie there: [block][g][2]. */
template <int SCALE>
static __device__ __forceinline__ float2 gemv_scale_pair(const uint8_t *scales, int block_shift, int column, int lane) {
  const int at = (column >> block_shift) * 16 + lane / 4 * 2;
  if constexpr (SCALE == SCALE_F32) return *reinterpret_cast<const float2 *>(scales + at * 4);
  if constexpr (SCALE == SCALE_F16) return half2_to_float2(*reinterpret_cast<const uint32_t *>(scales + at * 2));
  const uint32_t v = *reinterpret_cast<const uint16_t *>(scales + at);
  return make_float2(e8m0_to_float(v & 0xffu), e8m0_to_float(v >> 8));
}

/* Where a lane finds its operands in shared memory. x lies there as [piece of 8 columns][row][16 bytes], a piece x_stride
 * bytes after the one before. */
template <int TILES> struct gemv_operands {
  const uint8_t *codes; /* the record */
  uint32_t x;           /* bytes from the first column there is to the record's first */
  uint32_t x_stride;
  uint32_t row[TILES]; /* address that load_matrices takes of this lane for eight rows of x, but for x */
  int lane;
  int block_shift; /* log2 of the columns of a block or group */
  scale_type type; /* of its scale */

  /* 32 columns of the eight rows of a tile: columns 8 i + 2 t, + 1 of row g in word i. */
  __device__ __forceinline__ uint4 x_vector(int granule, int tile) const {
    return load_matrices(row[tile] + x + granule * 4 * x_stride);
  }
  __device__ __forceinline__ uint4 vector(int i) const {
    return *reinterpret_cast<const uint4 *>(codes + (i * GEMV_LANES + lane) * 16);
  }
};

/* The same for gemv_nvfp4_few. */
struct gemv_few_operands {
  const uint8_t *codes;
  uint32_t x, x_stride;
  uint32_t row[2], step[2];
  int lane;

  __device__ __forceinline__ uint4 vector(int i) const {
    return *reinterpret_cast<const uint4 *>(codes + (i * GEMV_LANES + lane) * 16);
  }
};

/* All of a record's x. */
template <int TILES>
static __device__ __forceinline__ void gemv_load_x(const gemv_operands<TILES> &at, uint4 (&x)[4][TILES]) {
#pragma unroll
  for (int granule = 0; granule < 4; granule++)
#pragma unroll
    for (int i = 0; i < TILES; i++) x[granule][i] = at.x_vector(granule, i);
}

template <class F, int TILES, class Operands>
static __device__ __forceinline__ void gemv_multiply(float (&c)[TILES][F::SUMS][4], const Operands &at) {
  typename F::held w;
  uint4 x[4][TILES];
  w.load(at);
  F::load_x(at, x);
  F::add(c, w, x);
}

template <int N> static __device__ __forceinline__ float sum_in_pairs(const float (&sums)[N][4], int j) {
  if constexpr (N == 1) return sums[0][j];
  if constexpr (N == 2) return sums[0][j] + sums[1][j];
  if constexpr (N == 4) return (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]);
}

/* c + z · scales of rows g and g + 8 */
static __device__ __forceinline__ void add_scaled(float (&c)[4], const float (&z)[4], float2 scales) {
  c[0] = fmaf(z[0], scales.x, c[0]);
  c[1] = fmaf(z[1], scales.x, c[1]);
  c[2] = fmaf(z[2], scales.y, c[2]);
  c[3] = fmaf(z[3], scales.y, c[3]);
}

/* -- 16 bits */

template <bool BF16> struct gemv_dense {
  template <int TILES> using operands = gemv_operands<TILES>;
  static constexpr int TOGETHER = 1;
  static constexpr int CODES = 4096, RECORD = CODES, SUMS = 2;

  struct held {
    uint4 vector[8];
    template <class Operands> __device__ __forceinline__ void load(const Operands &at) {
#pragma unroll
      for (int i = 0; i < 8; i++) vector[i] = at.vector(i);
    }
  };
  template <int TILES>
  static __device__ __forceinline__ void load_x(const gemv_operands<TILES> &at, uint4 (&x)[4][TILES]) {
    gemv_load_x(at, x);
  }
  template <int TILES>
  static __device__ __forceinline__ void multiply(float (&c)[TILES][SUMS][4], const gemv_operands<TILES> &at) {
    gemv_multiply<gemv_dense>(c, at);
  }
  template <int TILES>
  static __device__ __forceinline__ void add(float (&c)[TILES][SUMS][4], const held &codes,
                                             const uint4 (&x)[4][TILES]) {
#pragma unroll
    for (int granule = 0; granule < 4; granule++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const uint4 w = codes.vector[granule * 2 + half];
#pragma unroll
        for (int i = 0; i < TILES; i++) {
          const uint4 b = x[granule][i];
          const uint32_t b0 = half ? b.z : b.x, b1 = half ? b.w : b.y;
          if constexpr (BF16)
            multiply_bf16(c[i], w, b0, b1);
          else
            mma_f16(c[i][half], w.x, w.y, w.z, w.w, b0, b1);
        }
      }
    }
  }

  /* FP16's 11 bits as two BF16, 8 and 3 of them: the product is that of the FP16 value. */
  static __device__ __forceinline__ void split(uint32_t pair, uint32_t *high, uint32_t *low) {
    const float2 v = half2_to_float2(pair);
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(*high) : "f"(v.y), "f"(v.x));
    const float rest_x = v.x - __uint_as_float(*high << 16), rest_y = v.y - __uint_as_float(*high & 0xffff0000u);
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(*low) : "f"(rest_y), "f"(rest_x));
  }
  static __device__ __forceinline__ void multiply_bf16(float (&c)[SUMS][4], uint4 w, uint32_t b0, uint32_t b1) {
    uint32_t high[2], low[2];
    split(b0, &high[0], &low[0]);
    split(b1, &high[1], &low[1]);
    mma_bf16(c[0], w.x, w.y, w.z, w.w, high[0], high[1]);
    mma_bf16(c[1], w.x, w.y, w.z, w.w, low[0], low[1]);
  }
  static __device__ __forceinline__ float total(const float (&c)[SUMS][4], int j) { return sum_in_pairs(c, j); }
};

/* -- FP8 */

/* 32 columns of a record: block of 16 columns 0 in rows g, g + 8, g, g + 8, then block 1. */
static __device__ __forceinline__ void fp8_decode(uint4 w, uint32_t (&a)[8]) {
  e4m3_to_half2(w.x, &a[0], &a[2]);
  e4m3_to_half2(w.z, &a[1], &a[3]);
  e4m3_to_half2(w.y, &a[4], &a[6]);
  e4m3_to_half2(w.w, &a[5], &a[7]);
}

struct gemv_fp8 { /* a scale for each row */
  template <int TILES> using operands = gemv_operands<TILES>;
  static constexpr int TOGETHER = 1;
  static constexpr int CODES = 2048, RECORD = CODES, SUMS = 2;

  struct held {
    uint4 vector[4];
    template <class Operands> __device__ __forceinline__ void load(const Operands &at) {
#pragma unroll
      for (int i = 0; i < 4; i++) vector[i] = at.vector(i);
    }
  };
  template <int TILES>
  static __device__ __forceinline__ void load_x(const gemv_operands<TILES> &at, uint4 (&x)[4][TILES]) {
    gemv_load_x(at, x);
  }
  template <int TILES>
  static __device__ __forceinline__ void multiply(float (&c)[TILES][SUMS][4], const gemv_operands<TILES> &at) {
    gemv_multiply<gemv_fp8>(c, at);
  }
  template <int TILES>
  static __device__ __forceinline__ void add(float (&c)[TILES][SUMS][4], const held &codes,
                                             const uint4 (&x)[4][TILES]) {
#pragma unroll
    for (int granule = 0; granule < 4; granule++) {
      uint32_t a[8];
      fp8_decode(codes.vector[granule], a);
#pragma unroll
      for (int i = 0; i < TILES; i++) {
        const uint4 b = x[granule][i];
        mma_f16(c[i][0], a[0], a[1], a[2], a[3], b.x, b.y);
        mma_f16(c[i][1], a[4], a[5], a[6], a[7], b.z, b.w);
      }
    }
  }
  static __device__ __forceinline__ float total(const float (&c)[SUMS][4], int j) { return sum_in_pairs(c, j); }
};

struct gemv_fp8_blocks { /* blocks of 16, 32, 64, 128 columns */
  template <int TILES> using operands = gemv_operands<TILES>;
  static constexpr int TOGETHER = 1;
  static constexpr int CODES = 2048, RECORD = CODES + 512,
                       SUMS = 2; /* RECORD: at most, blocks of 16 with FP32 scales */

  struct held {
    uint4 vector[4];
    float2 scale[8]; /* of each 16 columns */

    template <int SCALE, class Operands> __device__ __forceinline__ void load_scales(const Operands &at) {
#pragma unroll
      for (int i = 0; i < 8; i++) scale[i] = gemv_scale_pair<SCALE>(at.codes + CODES, at.block_shift, i * 16, at.lane);
    }
    template <class Operands> __device__ __forceinline__ void load(const Operands &at) {
#pragma unroll
      for (int i = 0; i < 4; i++) vector[i] = at.vector(i);
      switch (at.type) {
      case SCALE_F32: load_scales<SCALE_F32>(at); break;
      case SCALE_F16: load_scales<SCALE_F16>(at); break;
      default: load_scales<SCALE_E8M0>(at); break;
      }
    }
  };
  template <int TILES>
  static __device__ __forceinline__ void load_x(const gemv_operands<TILES> &at, uint4 (&x)[4][TILES]) {
    gemv_load_x(at, x);
  }
  template <int TILES>
  static __device__ __forceinline__ void multiply(float (&c)[TILES][SUMS][4], const gemv_operands<TILES> &at) {
    gemv_multiply<gemv_fp8_blocks>(c, at);
  }
  template <int TILES>
  static __device__ __forceinline__ void add(float (&c)[TILES][SUMS][4], const held &codes,
                                             const uint4 (&x)[4][TILES]) {
#pragma unroll
    for (int granule = 0; granule < 4; granule++) {
      uint32_t a[8];
      fp8_decode(codes.vector[granule], a);
#pragma unroll
      for (int i = 0; i < TILES; i++) {
        const uint4 b = x[granule][i];
        float z[2][4] = {};
        mma_f16(z[0], a[0], a[1], a[2], a[3], b.x, b.y);
        mma_f16(z[1], a[4], a[5], a[6], a[7], b.z, b.w);
        add_scaled(c[i][0], z[0], codes.scale[granule * 2]);
        add_scaled(c[i][1], z[1], codes.scale[granule * 2 + 1]);
      }
    }
  }
  static __device__ __forceinline__ float total(const float (&c)[SUMS][4], int j) { return sum_in_pairs(c, j); }
};

/* -- NVFP4: an accumulator for each of the four blocks of a vector, scaled in FP32 after the block's product */

struct gemv_nvfp4 {
  template <int TILES> using operands = gemv_operands<TILES>;
  static constexpr int TOGETHER = 2;
  static constexpr int CODES = 1024, RECORD = CODES + 128, SUMS = 4;

  template <int TILES>
  static __device__ __forceinline__ void multiply(float (&c)[TILES][SUMS][4], const gemv_operands<TILES> &at) {
#pragma unroll
    for (int v = 0; v < 2; v++) {
      const uint4 w = at.vector(v);
      const uint32_t words[4] = {w.x, w.y, w.z, w.w};
      const uint2 s = *reinterpret_cast<const uint2 *>(at.codes + CODES + v * 64 + at.lane / 4 * 8);
      uint32_t scales[4]; /* of a block: rows g, g + 8 */
      e4m3_to_half2(s.x, &scales[0], &scales[1]);
      e4m3_to_half2(s.y, &scales[2], &scales[3]);
      uint4 x[2][TILES];
#pragma unroll
      for (int granule = 0; granule < 2; granule++)
#pragma unroll
        for (int i = 0; i < TILES; i++) x[granule][i] = at.x_vector(v * 2 + granule, i);
#pragma unroll
      for (int granule = 0; granule < 2; granule++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int block = granule * 2 + half;
          const uint32_t q = words[block];
          const uint32_t a0 = gemv_fp4_pair(q, 0), a1 = gemv_fp4_pair(q, 1), a2 = gemv_fp4_pair(q, 2),
                         a3 = gemv_fp4_pair(q, 3);
          const float2 scale = half2_to_float2(scales[block]);
#pragma unroll
          for (int i = 0; i < TILES; i++) {
            float z[4] = {};
            const uint4 b = x[granule][i];
            mma_f16(z, a0, a1, a2, a3, half ? b.z : b.x, half ? b.w : b.y);
            add_scaled(c[i][block], z, scale);
          }
        }
      }
    }
  }
  static __device__ __forceinline__ float total(const float (&c)[SUMS][4], int j) { return sum_in_pairs(c, j); }
};

/* The same for 1 or 2 rows of x, with the same bits and half the work: block b's product lands in columns 2b, 2b + 1 of one
 * `mma` sum, because x is zero for the other columns. So lane t has block t's sums, and scales them alone. Adding a product
 * with zero changes nothing. The zeros come from memory: a lane's row[h], for blocks 2 h and 2 h + 1, is either a row of x, with
 * step[h] all ones, or 16 zero bytes that do not move, with step[h] 0. */
struct gemv_nvfp4_few {
  template <int TILES> using operands = gemv_few_operands;
  static constexpr int TOGETHER = 4;
  static constexpr int CODES = gemv_nvfp4::CODES, RECORD = gemv_nvfp4::RECORD, SUMS = 1;

  struct held {
    uint4 vector[2];
    uint16_t scales[2]; /* of the lane's block in rows g and g + 8 */

    __device__ __forceinline__ void load(const gemv_few_operands &at) {
#pragma unroll
      for (int v = 0; v < 2; v++) {
        vector[v] = at.vector(v);
        scales[v] = *reinterpret_cast<const uint16_t *>(at.codes + CODES + v * 64 + at.lane / 4 * 8 + at.lane % 4 * 2);
      }
    }
  };
  static __device__ __forceinline__ void load_x(const gemv_few_operands &at, uint4 (&x)[4][1]) {
#pragma unroll
    for (int i = 0; i < 4; i++) x[i][0] = load_matrices(at.row[i % 2] + (at.x + i * 4 * at.x_stride & at.step[i % 2]));
  }
  static __device__ __forceinline__ void multiply(float (&c)[1][SUMS][4], const gemv_few_operands &at) {
    gemv_multiply<gemv_nvfp4_few>(c, at);
  }
  static __device__ __forceinline__ void add(float (&c)[1][SUMS][4], const held &codes, const uint4 (&x)[4][1]) {
    float z[2][4] = {};
#pragma unroll
    for (int block = 0; block < 4; block++)
#pragma unroll
      for (int v = 0; v < 2; v++) {
        const uint4 b = x[v * 2 + block / 2][0], w = codes.vector[v];
        const uint32_t q = block == 0 ? w.x : block == 1 ? w.y : block == 2 ? w.z : w.w;
        const uint32_t b0 = block % 2 ? b.z : b.x, b1 = block % 2 ? b.w : b.y;
        mma_f16(z[v], gemv_fp4_pair(q, 0), gemv_fp4_pair(q, 1), gemv_fp4_pair(q, 2), gemv_fp4_pair(q, 3), b0, b1);
      }
#pragma unroll
    for (int v = 0; v < 2; v++) {
      uint32_t pair, unused;
      e4m3_to_half2(codes.scales[v], &pair, &unused);
      add_scaled(c[0][0], z[v], half2_to_float2(pair));
    }
  }
  /* Lanes t = 0 … 3 hold blocks 0 … 3 of the same two outputs. */
  static __device__ __forceinline__ float total(const float (&c)[SUMS][4], int j) {
    float v = c[0][j];
    v += __shfl_xor_sync(~0u, v, 1);
    return v + __shfl_xor_sync(~0u, v, 2);
  }
};

/* -- INT8 2:4 */

/* Two of the four codes + 128 in word, as FP16: 0x6400 | n is 1024 + n. */
template <int FIRST> static __device__ __forceinline__ uint32_t int8_pair(uint32_t word) {
  return subtract_half2(__byte_perm(word, 0x64646464u, FIRST ? 0x4342 : 0x4140), 0x64806480u);
}

struct gemv_int8_24 {
  template <int TILES> using operands = gemv_operands<TILES>;
  static constexpr int TOGETHER = 4;
  static constexpr int CODES = 1024, RECORD = CODES + 256, SUMS = 2;

  struct held {
    uint4 vector[2];
    uint32_t positions[2];

    template <class Operands> __device__ __forceinline__ void load(const Operands &at) {
#pragma unroll
      for (int v = 0; v < 2; v++) {
        vector[v] = at.vector(v);
        positions[v] = *reinterpret_cast<const uint32_t *>(at.codes + CODES + (v * GEMV_LANES + at.lane) * 4);
      }
    }
  };
  template <int TILES>
  static __device__ __forceinline__ void load_x(const gemv_operands<TILES> &at, uint4 (&x)[4][TILES]) {
    gemv_load_x(at, x);
  }
  template <int TILES>
  static __device__ __forceinline__ void multiply(float (&c)[TILES][SUMS][4], const gemv_operands<TILES> &at) {
    gemv_multiply<gemv_int8_24>(c, at);
  }
  template <int TILES>
  static __device__ __forceinline__ void add(float (&c)[TILES][SUMS][4], const held &codes,
                                             const uint4 (&x)[4][TILES]) {
#pragma unroll
    for (int v = 0; v < 2; v++) {
      const uint4 w = codes.vector[v];
      const uint32_t positions = codes.positions[v];
      const uint32_t a[8] = {int8_pair<0>(w.x), int8_pair<1>(w.x), int8_pair<0>(w.y), int8_pair<1>(w.y),
                             int8_pair<0>(w.z), int8_pair<1>(w.z), int8_pair<0>(w.w), int8_pair<1>(w.w)};
#pragma unroll
      for (int i = 0; i < TILES; i++) {
        mma_sparse_f16<0>(c[i][0], a[0], a[1], a[2], a[3], x[v * 2][i], positions);
        mma_sparse_f16<1>(c[i][1], a[4], a[5], a[6], a[7], x[v * 2 + 1][i], positions);
      }
    }
  }
  static __device__ __forceinline__ float total(const float (&c)[SUMS][4], int j) { return sum_in_pairs(c, j); }
};

/* -- INT4 2:4. GROUPS: a scale for each 32, 64 or 128 columns, else for each row */

template <bool GROUPS> struct gemv_int4_24 {
  template <int TILES> using operands = gemv_operands<TILES>;
  static constexpr int TOGETHER = GROUPS ? 1 : 4;
  static constexpr int CODES = 512, POSITIONS = 256, SUMS = 2;
  static constexpr int RECORD = CODES + POSITIONS + (GROUPS ? 256 : 0); /* at most: groups of 32 with FP32 scales */

  /* Pairs 0 to 3 of a word of codes + 8: 0x6400 | n is 1024 + n, and 0x6400 | 16 n is 1024 + 16 n. */
  static __device__ __forceinline__ void decode(uint32_t word, uint32_t (&a)[4]) {
    const uint32_t low = 0x000f000fu, high = 0x00f000f0u, exponent = 0x64006400u;
    const uint32_t next = word >> 8;
    a[0] = subtract_half2(and_or(word, low, exponent), 0x64086408u);
    a[1] = fma_half2(and_or(word, high, exponent), 0x2c002c00u, 0xd480d480u); /* / 16 − 72 */
    a[2] = subtract_half2(and_or(next, low, exponent), 0x64086408u);
    a[3] = fma_half2(and_or(next, high, exponent), 0x2c002c00u, 0xd480d480u);
  }

  struct held {
    uint4 vector;
    uint2 positions;
    float2 scale[GROUPS ? 4 : 1]; /* of each 32 columns */

    template <class Operands> __device__ __forceinline__ void load(const Operands &at) {
      vector = at.vector(0);
      positions = *reinterpret_cast<const uint2 *>(at.codes + CODES + at.lane * 8);
      if constexpr (GROUPS) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const uint8_t *scales = at.codes + CODES + POSITIONS;
          scale[i] = at.type == SCALE_F16 ? gemv_scale_pair<SCALE_F16>(scales, at.block_shift, i * 32, at.lane)
                                          : gemv_scale_pair<SCALE_F32>(scales, at.block_shift, i * 32, at.lane);
        }
      }
    }
  };
  template <int TILES>
  static __device__ __forceinline__ void load_x(const gemv_operands<TILES> &at, uint4 (&x)[4][TILES]) {
    gemv_load_x(at, x);
  }
  template <int TILES>
  static __device__ __forceinline__ void multiply(float (&c)[TILES][SUMS][4], const gemv_operands<TILES> &at) {
    gemv_multiply<gemv_int4_24>(c, at);
  }

  template <int SPAN, int TILES>
  static __device__ __forceinline__ void span(float (&c)[TILES][SUMS][4], const held &codes, const uint4 (&x)[4][TILES],
                                              uint32_t word, uint32_t positions) {
    uint32_t a[4];
    decode(word, a);
#pragma unroll
    for (int i = 0; i < TILES; i++) {
      if constexpr (GROUPS) {
        float z[4] = {};
        mma_sparse_f16<SPAN % 2>(z, a[0], a[1], a[2], a[3], x[SPAN][i], positions);
        add_scaled(c[i][SPAN % 2], z, codes.scale[SPAN]);
      } else {
        mma_sparse_f16<SPAN % 2>(c[i][SPAN % 2], a[0], a[1], a[2], a[3], x[SPAN][i], positions);
      }
    }
  }
  template <int TILES>
  static __device__ __forceinline__ void add(float (&c)[TILES][SUMS][4], const held &codes,
                                             const uint4 (&x)[4][TILES]) {
    span<0>(c, codes, x, codes.vector.x, codes.positions.x);
    span<1>(c, codes, x, codes.vector.y, codes.positions.x);
    span<2>(c, codes, x, codes.vector.z, codes.positions.y);
    span<3>(c, codes, x, codes.vector.w, codes.positions.y);
  }
  static __device__ __forceinline__ float total(const float (&c)[SUMS][4], int j) { return sum_in_pairs(c, j); }
};

#endif
