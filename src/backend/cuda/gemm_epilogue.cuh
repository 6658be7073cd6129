/* gemm_epilogue.cuh: from a warpgroup's sums to y: scales, bias, activation, rounding, and the way out through shared
 * memory (16-byte pieces, exchanged by the swizzle, so that neither side meets a bank twice).
 *
 *   sums: channels down, tokens across (gemm_wgmma.cuh)     y: a row for each token, channels along it
 */
#ifndef CUDA_GEMM_EPILOGUE_CUH
#define CUDA_GEMM_EPILOGUE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "backend/cuda/gemm.h"
#include "backend/cuda/gemm_products.cuh"

/* One of the matrices that a launch multiplies with the same rows. */
struct gemm_part_args {
  int n, pairs;                  /* pairs of tiles along n */
  const float *channel_scale[2]; /* [n] or NULL; 1: SWIGLU's ups */
  const float *bias[2];          /* the same */
  const float *after_bias;       /* SWIGLU [n] or NULL */
  const uint8_t *block_scale[2]; /* NVFP4: [n][k/16] */
  float scale;                   /* of all */
  int adds;                      /* GEMM_F32: the results are added to y */
  float *y;                      /* write_rows: [m][n] */
  int half;                      /* write_rows: SWIGLU's y is FP16 */
  const uint8_t *ordered[2];     /* few rows: w in the order of pack/gemv_order.h, or NULL */
  int records;                   /* of a tile there */
};

struct gemm_args {
  int k;
  gemm_tiles tiles;       /* of all parts together */
  const float *row_scale; /* [m] or NULL */
  /* few rows (gemm_few.cuh) */
  gemm_shares shares;
  uint32_t *counters; /* for each cluster, block of it and warpgroup: 0 */
  void *sums;         /* where clusters that share a pair meet */
  int early;          /* w is not made by the kernel before this one */
  gemm_part_args parts[GEMM_MOST_PARTS];

  /* The part that a pair of tiles belongs to; *pair becomes its own count. */
  __device__ int find(int *pair) const {
    int i = 0;
    while (i + 1 < GEMM_MOST_PARTS && *pair >= parts[i].pairs) *pair -= parts[i++].pairs;
    return i;
  }
};

/* v / (1 + e^-v); -Inf gives NaN, as on the CPU. */
__device__ __forceinline__ float silu(float v) { return __fdividef(v, 1 + __expf(-v)); }

/* v/2 (1 + tanh(u)) = v / (1 + e^-2u), u = √(2/π) (v + 0.044715 v³): no difference of near values for v < 0. */
__device__ __forceinline__ float gelu_tanh(float v) {
  const float two_root = 1.5957691216057308f; /* 2 √(2/π) */
  return __fdividef(v, 1 + __expf(-two_root * (v + 0.044715f * v * v * v)));
}

template <gemm_output OUTPUT> __device__ __forceinline__ uint32_t pack_16(float low, float high) {
  __half2 f = __floats2half2_rn(low, high);
  __nv_bfloat162 b = __floats2bfloat162_rn(low, high);
  return OUTPUT == GEMM_BF16 ? *(uint32_t *)&b : *(uint32_t *)&f;
}

/* One thread's numbers for its two rows of a tile: h 0 and 1. */
struct gemm_row_pair {
  int channel[2]; /* of y, kept inside [0, n); SWIGLU: both the same, h 0 the gate and 1 the up */
  float scale[2], bias[2], after;

  template <gemm_act ACT> __device__ void load(const gemm_part_args &args, int first) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      channel[h] = min(first + (ACT == GEMM_SWIGLU ? 0 : 8 * h), args.n - 1);
      const float *const scales = args.channel_scale[matrix<ACT>(h)], *const biases = args.bias[matrix<ACT>(h)];
      scale[h] = scales ? args.scale * __ldg(scales + channel[h]) : args.scale;
      bias[h] = biases ? __ldg(biases + channel[h]) : 0;
    }
    after = ACT == GEMM_SWIGLU && args.after_bias ? __ldg(args.after_bias + channel[0]) : 0;
  }

  template <gemm_act ACT> static __device__ int matrix(int h) { return ACT == GEMM_SWIGLU ? h : 0; }

  __device__ float value(float sum, int h, float row_scale) const { return sum * scale[h] * row_scale + bias[h]; }
};

/* Tokens of one round through shared memory, and bytes of a token's row in it. */
template <gemm_act ACT, gemm_output OUTPUT> struct gemm_round {
  static constexpr int BYTES = OUTPUT == GEMM_F32 ? 4 : 2;
  static constexpr int CHANNELS = ACT == GEMM_SWIGLU ? GEMM_GROUP_ROWS / 2 : GEMM_GROUP_ROWS;
  static constexpr int ROW = CHANNELS * BYTES > 128 ? 128 : CHANNELS *BYTES; /* the widest swizzle */
  static constexpr int BOXES = CHANNELS * BYTES / ROW;                       /* side by side */
  static constexpr int TOKENS = GEMM_ROUND_BYTES / (CHANNELS * BYTES);
  static_assert(TOKENS % 32 == 0 && GEMM_HALF_TOKENS % TOKENS == 0, "whole rounds, of whole groups of four pieces");
};

/* Results of 8 · 4 tokens (SWIGLU) or 8 · 2, 16 bits each. d: the first one's sums. scale: of the thread's two tokens
 * of each 8. to: this round's memory. token: the first, of the round. */
template <gemm_act ACT, gemm_output OUTPUT, class Sum>
__device__ __forceinline__ void write_16(const Sum *d, const float2 *scale, uint32_t to, int token,
                                         const gemm_row_pair &rows, const gemm_place &at) {
  uint32_t packed[4];
  if (ACT == GEMM_SWIGLU) { /* 4 × 8 tokens × 8 channels; rows of 64 bytes */
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const Sum *s = d + 4 * i;
      float low = silu(rows.value((float)s[0], 0, scale[i].x)) * rows.value((float)s[2], 1, scale[i].x) + rows.after;
      float high = silu(rows.value((float)s[1], 0, scale[i].y)) * rows.value((float)s[3], 1, scale[i].y) + rows.after;
      packed[i] = pack_16<OUTPUT>(low, high);
    }
    uint32_t t = (uint32_t)token + at.lane; /* 8 · (lane / 8) + lane % 8 */
    store_matrix_x4_transposed(to + t * 64 + ((at.warp ^ (t >> 1 & 3)) << 4), packed[0], packed[1], packed[2],
                               packed[3]);
  } else { /* 2 × 8 tokens × 16 channels; rows of 128 bytes */
#pragma unroll
    for (int i = 0; i < 4; i++) { /* 8 tokens, h: 0 0, 0 1, 1 0, 1 1 */
      const Sum *s = d + 2 * i;
      float low = rows.value((float)s[0], i & 1, scale[i / 2].x), high = rows.value((float)s[1], i & 1, scale[i / 2].y);
      if (ACT == GEMM_GELU) low = gelu_tanh(low), high = gelu_tanh(high);
      packed[i] = pack_16<OUTPUT>(low, high);
    }
    uint32_t t = (uint32_t)token + 8 * (at.lane >> 4) + (at.lane & 7);
    uint32_t piece = 2 * at.warp + (at.lane >> 3 & 1);
    store_matrix_x4_transposed(to + t * 128 + ((piece ^ (t & 7)) << 4), packed[0], packed[1], packed[2], packed[3]);
  }
}

/* The same in FP32, 8 tokens. Rows of 128 bytes are 32 channels; 64 channels are two boxes of TOKENS rows. */
template <gemm_act ACT, class Sum, int TOKENS>
__device__ __forceinline__ void write_32(const Sum *d, float2 scale, uint32_t to, int token, const gemm_row_pair &rows,
                                         const gemm_place &at) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int h = i / 2;
    if (ACT == GEMM_SWIGLU && h) break;
    float by = i & 1 ? scale.y : scale.x;
    float v = rows.value((float)d[i], h, by);
    if (ACT == GEMM_SWIGLU) v = silu(v) * rows.value((float)d[i + 2], 1, by) + rows.after;
    uint32_t channel = ACT == GEMM_SWIGLU ? 8 * at.warp + at.lane / 4 : 16 * at.warp + at.lane / 4 + 8 * (uint32_t)h;
    uint32_t t = (uint32_t)token + 2 * at.quad() + (i & 1);
    uint32_t piece = channel % 32 / 4;
    store_shared_f32(to + channel / 32 * TOKENS * 128 + t * 128 + ((piece ^ (t & 7)) << 4) + channel % 4 * 4, v);
  }
}

/* Writes a warpgroup's tile: channels from channel on, tokens from token on. row_scale: shared, [256]; store: shared,
 * two rounds' memory, of which one is written while the copy engine reads the other; turn: which is next. adds: the copy engine adds to y, each
 * value once, so that nothing depends on an order. */
template <gemm_act ACT, gemm_output OUTPUT, class Sum, int SUMS>
__device__ __forceinline__ void write_tile(const Sum (&d)[SUMS], const gemm_row_pair &rows, const gemm_place &at,
                                           const CUtensorMap *y, int adds, uint32_t store, uint32_t *turn,
                                           const float *row_scale, int channel, int token) {
  typedef gemm_round<ACT, OUTPUT> round;
  constexpr int EIGHTS = round::TOKENS / 8, AT_ONCE = OUTPUT == GEMM_F32 ? 1 : ACT == GEMM_SWIGLU ? 4 : 2;
  const bool leader = at.warp == 0 && at.lane == 0;
#pragma unroll
  for (int first = 0; first < 2 * SUMS; first += round::TOKENS) {
    const uint32_t to = store + *turn * GEMM_ROUND_BYTES;
    *turn ^= 1;
    if (leader) tma_store_wait_read_but_one();
    named_barrier_sync(1 + at.group, 128);
    float2 scale[EIGHTS]; /* all at once: what is stored below may not be overtaken by loads */
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) scale[i] = *(const float2 *)(row_scale + first + 8 * i + 2 * at.quad());
#pragma unroll
    for (int i = 0; i < EIGHTS; i += AT_ONCE) {
      const Sum *sums = d + 4 * (first / 8 + i);
      if (OUTPUT == GEMM_F32)
        write_32<ACT, Sum, round::TOKENS>(sums, scale[i], to, 8 * i, rows, at);
      else
        write_16<ACT, OUTPUT>(sums, scale + i, to, 8 * i, rows, at);
    }
    async_proxy_fence();
    named_barrier_sync(1 + at.group, 128);
    if (leader) {
#pragma unroll
      for (int box = 0; box < round::BOXES; box++) {
        const uint32_t from = to + box * round::TOKENS * round::ROW;
        const int begin = channel + box * (round::ROW / round::BYTES);
        if (OUTPUT == GEMM_F32 && adds)
          tma_add_2d(y, from, begin, token + first);
        else
          tma_store_2d(y, from, begin, token + first);
      }
      tma_store_commit();
    }
  }
}

/* -- results that go straight to memory, [m][n]: 8 tokens at a time, of each 8 channels side by side */

/* Where a thread's results go. */
struct gemm_target {
  float *y;                             /* all of it */
  int token, channel, tokens, channels; /* the thread's first, and how many there are from there on */
  size_t n;

  /* channel: the thread's first; token: the first of all. */
  static __device__ __forceinline__ gemm_target of(const gemm_args &args, const gemm_part_args &part,
                                                   const gemm_place &at, int channel, int token) {
    gemm_target t;
    t.token = token + 2 * (int)at.quad();
    t.channel = channel;
    t.tokens = args.tiles.m - t.token;
    t.channels = part.n - t.channel;
    t.n = (size_t)part.n;
    t.y = part.y;
    return t;
  }
  /* Of sums 4 (i / 2) + i % 2, which are a token's, and 2 further on. */
  static __device__ __forceinline__ int row(int i) { return 8 * (i / 2) + i % 2; }
  __device__ __forceinline__ bool there(int i, int h) const { return row(i) < tokens && 8 * h < channels; }
  __device__ __forceinline__ size_t at(int i, int h) const {
    return (size_t)(token + row(i)) * n + (size_t)(channel + 8 * h);
  }
};

/* What is in y already: all of it asked for before any of it is used, which would wait. */
template <gemm_act ACT, int SUMS> struct gemm_before {
  static constexpr int ROWS = ACT == GEMM_SWIGLU ? 1 : 2; /* channels of a thread */
  float v[SUMS / 2][ROWS];

  __device__ __forceinline__ void load(const gemm_target &to, int adds) {
#pragma unroll
    for (int i = 0; i < SUMS / 2; i++)
#pragma unroll
      for (int h = 0; h < ROWS; h++) {
        v[i][h] = 0;
        if (adds && to.there(i, h)) v[i][h] = __ldcg(to.y + to.at(i, h));
      }
  }
};

template <gemm_act ACT, class Sum, int SUMS>
__device__ __forceinline__ void write_rows(const Sum (&d)[SUMS], const gemm_before<ACT, SUMS> &before,
                                           const gemm_target &to, const gemm_args &args, const gemm_part_args &part,
                                           const gemm_row_pair &rows) {
#pragma unroll
  for (int i = 0; i < SUMS / 2; i++) {
    const int sum = 4 * (i / 2) + i % 2;
    float by = 1;
    if (args.row_scale && to.there(i, 0)) by = __ldg(args.row_scale + to.token + gemm_target::row(i));
#pragma unroll
    for (int h = 0; h < gemm_before<ACT, SUMS>::ROWS; h++) {
      float v = rows.value((float)d[sum + 2 * h], h, by);
      if (ACT == GEMM_SWIGLU) v = silu(v) * rows.value((float)d[sum + 2], 1, by) + rows.after;
      if (!to.there(i, h)) continue;
      if (ACT == GEMM_SWIGLU && part.half)
        ((__half *)to.y)[to.at(i, h)] = __float2half_rn(v);
      else
        to.y[to.at(i, h)] = part.adds ? before.v[i][h] + v : v;
    }
  }
}

#endif
