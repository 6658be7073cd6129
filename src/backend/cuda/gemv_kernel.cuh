/* backend/cuda/gemv_kernel.cuh: the kernel for 1 to 16 rows of x, for any format of gemv_formats.cuh.
 *
 *   grid     a block for each run of consecutive tiles (16 rows of w), about one block a multiprocessor
 *   block    8 warps; warp i takes records i, i + 8, … of a tile, so each warp has a slice of the columns
 *
 *            records of a tile   0 1 2 3 4 5 6 7 8 9 …
 *            warp                0 1 2 3 4 5 6 7 0 1 …         sums of the 8 warps are added in their order
 *
 *   warp     a ring of DEPTH records in shared memory that it fills itself by asynchronous copies: no warp waits for another
 *            but at the end of a tile. It keeps the columns of x that it multiplies with in shared memory, too
 *
 * Two kinds of kernel differ in where x is: RESIDENT keeps the block's whole x, which is read once for all tiles. STREAMED,
 * for x that does not fit, takes two tiles at a time and brings each record's columns of x in with it. Both add up in the
 * same order, so they give the same bits. */
#ifndef BACKEND_CUDA_GEMV_KERNEL_CUH
#define BACKEND_CUDA_GEMV_KERNEL_CUH

#include <cuda_bf16.h>

#include "backend/cuda/gemv.h"
#include "backend/cuda/gemv_formats.cuh"

#ifndef GEMV_WARPS
#define GEMV_WARPS   8
#endif
#define GEMV_THREADS (GEMV_WARPS * GEMV_LANES)
#define GEMV_SUM_PAD (GEMV_WARPS + 1) /* sums of an output lie in different banks */

/* What the kernel is told. */
struct gemv_args {
  const uint8_t *w;        /* [tiles][records][record_bytes] */
  const float *row_scales; /* [tiles × 16] */
  const __half *x;         /* [m][x_stride] */
  const float *x_scales;   /* [m] or NULL */
  const float *bias;       /* [n] or NULL */
  const float *residual;   /* [m][y_stride] or NULL */
  void *y;                 /* [m][y_stride] */
  size_t x_stride, y_stride;
  int m, n, k, tiles, records, pairs;
  int record_bytes;  /* ≤ RECORD, which is what a slot of a ring has */
  int block_shift; /* log2 of the columns of a block or group */
  scale_type type; /* of its scale */
  gemv_activation activation;
  gemv_output output;
};

/* -- a warp's ring */

/* Bytes of a ring: enough to be on the way that a multiprocessor's share of the memory's bandwidth times its latency is
 * covered (48 KB), small enough that the next kernel's ring fits beside it. */
#ifndef GEMV_RING_BYTES
#define GEMV_RING_BYTES (80 * 1024)
#endif
#define GEMV_LONG_RING_BYTES (200 * 1024)

/* Slots of a warp's ring. STREAMED ones hold two records and 128 columns of x, and no other kernel fits beside them. */
template <class F> struct gemv_depth {
  static constexpr int FITS = GEMV_RING_BYTES / GEMV_WARPS / F::RECORD;
  static constexpr int RESIDENT = FITS < 3 ? 3 : FITS > 12 ? 12 : FITS;
  static constexpr int LONG_FITS = GEMV_LONG_RING_BYTES / GEMV_WARPS / (2 * F::RECORD + GEMV_MOST_ROWS * 256);
  static constexpr int STREAMED = LONG_FITS < 2 ? 2 : LONG_FITS > 6 ? 6 : LONG_FITS;
};

/* A record of `bytes`, LEAST to MOST, a multiple of 16. */
template <int LEAST, int MOST>
static __device__ __forceinline__ void gemv_copy_record(uint8_t *slot, const uint8_t *from, int bytes, int lane,
                                                        uint64_t policy) {
  static_assert(MOST % 16 == 0, "a record is copied by 16 bytes");
  const uint32_t to = shared_address(slot) + lane * 16;
  from += lane * 16;
#pragma unroll
  for (int i = 0; i < MOST; i += 512)
    if (i + 512 <= LEAST || i + lane * 16 < bytes) copy_async_16(to + i, from + i, policy);
}

/* -- x */

/* The 128 columns of a record for all rows, to granules at `to`: [granule][m][t][16 bytes]. Columns from k on are zero. */
template <bool SPARSE>
static __device__ __forceinline__ void gemv_copy_x(uint8_t *place, const gemv_args &a, int record, int lane) {
  const int granule_bytes = a.m * 64;
  uint32_t to = shared_address(place);
  if constexpr (!SPARSE) { /* lane: piece lane % 8 of granule lane / 8 */
    const int col = record * GEMV_RECORD + lane * 4, left = a.k - col;
    const uint32_t bytes = left >= 4 ? 8 : left > 0 ? left * 2 : 0;
    const __half *from = a.x + (bytes ? col : 0);
    to += lane / 8 * granule_bytes + gemv_dense_piece(lane % 8);
#pragma unroll 1
    for (int m = 0; m < a.m; m++) copy_async_8(to + m * 64, from + m * a.x_stride, bytes);
  } else {
#pragma unroll
    for (int half = 0; half < 2; half++) { /* lane: piece lane % 16 of granule 2 half + lane / 16 */
      const int col = record * GEMV_RECORD + half * 64 + lane * 2, left = a.k - col;
      const uint32_t bytes = left >= 2 ? 4 : left > 0 ? 2 : 0;
      const uint32_t at = to + (half * 2 + lane / 16) * granule_bytes + gemv_sparse_piece(lane % 16);
      const __half *from = a.x + (bytes ? col : 0);
#pragma unroll 1
      for (int m = 0; m < a.m; m++) copy_async_4(at + m * 64, from + m * a.x_stride, bytes);
    }
  }
}

/* The same where the weight's columns are in the order of `pairs`: single values, gathered. */
static __device__ __forceinline__ void gemv_gather_x(uint8_t *to, const gemv_args &a, int record, int lane) {
#pragma unroll 1
  for (int half = 0; half < 2; half++)
#pragma unroll 1
    for (int m = 0; m < a.m; m++) {
      const int place = record * GEMV_RECORD + half * 64 + lane * 2;
      const int first = (int)gemv_pairs_column(place), second = (int)gemv_pairs_column(place + 1);
      const __half *row = a.x + m * a.x_stride;
      const uint32_t low = first < a.k ? __half_as_ushort(row[first]) : 0u;
      const uint32_t high = second < a.k ? __half_as_ushort(row[second]) : 0u;
      uint8_t *at = to + (half * 2 + lane / 16) * a.m * 64 + gemv_sparse_piece(lane % 16) + m * 64;
      *reinterpret_cast<uint32_t *>(at) = low | high << 16;
    }
}

template <class F>
static __device__ __forceinline__ void gemv_take_x(uint8_t *to, const gemv_args &a, int record, int lane) {
  if (F::SPARSE && a.pairs)
    gemv_gather_x(to, a, record, lane);
  else
    gemv_copy_x<F::SPARSE>(to, a, record, lane);
}

template <int TILES, bool FEW>
static __device__ __forceinline__ void gemv_place_lane(gemv_operands<TILES> &at, const gemv_args &a, int lane) {
  const int m = a.m;
  at.block_shift = a.block_shift;
  at.type = a.type;
  at.lane = lane;
  at.x_stride = m * 64;
#pragma unroll
  for (int i = 0; i < TILES; i++) {
    const int row = FEW ? lane / 4 % 2 : i * 8 + lane / 4;
    at.row[i] = (row < m ? row : m - 1) * 64 + lane % 4 * 16;
  }
}

/* -- what becomes of a sum */

static __device__ __forceinline__ float gemv_silu(float v) { return v / (1.0f + expf(-v)); }

static __device__ __forceinline__ float gemv_activate(gemv_activation activation, float v) {
  switch (activation) {
  case GEMV_GELU_TANH: return 0.5f * v * (1.0f + tanhf(0.7978845608f * (v + 0.044715f * v * v * v)));
  case GEMV_GELU_ERF: return 0.5f * v * (1.0f + erff(0.70710678118f * v));
  case GEMV_SILU: return gemv_silu(v);
  default: return v;
  }
}

static __device__ __forceinline__ void gemv_store(const gemv_args &a, int m, int n, float v) {
  const size_t at = m * a.y_stride + n;
  if (a.residual) v += a.residual[at];
  switch (a.output) {
  case GEMV_F16: static_cast<__half *>(a.y)[at] = __float2half_rn(v); break;
  case GEMV_BF16: static_cast<__nv_bfloat16 *>(a.y)[at] = __float2bfloat16_rn(v); break;
  default: static_cast<float *>(a.y)[at] = v; break;
  }
}

/* Thread o has output (row of x o / 16, row of w o % 16) of a tile: sums [m][16][GEMV_SUM_PAD]. */
static __device__ __forceinline__ void gemv_epilogue(const gemv_args &a, const float *sums, int tile) {
  const int o = threadIdx.x, m = o / GEMV_TILE, n = tile * GEMV_TILE + o % GEMV_TILE;
  if (o / 32 * 2 >= a.m) return; /* whole warps */
  const bool there = m < a.m && n < a.n;
  float v = 0;
  if (there) {
    const float *parts = sums + o * GEMV_SUM_PAD;
#pragma unroll
    for (int i = 0; i < GEMV_WARPS; i++) v += parts[i];
    v *= a.row_scales[n];
    if (a.x_scales) v *= a.x_scales[m];
    if (a.bias) v += a.bias[n];
  }
  if (a.activation == GEMV_SWIGLU) {
    const float up = __shfl_xor_sync(~0u, v, 1);
    if (there && n % 2 == 0) gemv_store(a, m, n / 2, gemv_silu(v) * up);
  } else if (there) {
    gemv_store(a, m, n, gemv_activate(a.activation, v));
  }
}

/* This warp's sums of a tile to sums [m][16][GEMV_SUM_PAD]. */
template <class F, int TILES>
static __device__ __forceinline__ void gemv_put_sums(const gemv_args &a, float *sums, const float (&c)[TILES][F::SUMS][4],
                                                     int warp, int lane) {
#pragma unroll
  for (int i = 0; i < TILES; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int m = i * 8 + lane % 4 * 2 + (j & 1), row = lane / 4 + j / 2 * 8;
      const float v = F::total(c[i], j);
      if (m < a.m) sums[(m * GEMV_TILE + row) * GEMV_SUM_PAD + warp] = v;
    }
}

/* -- the kernels. Dynamic shared memory: rings, x (resident), sums of two tiles */

template <class F, int TILES, bool FEW>
__global__ void __launch_bounds__(GEMV_THREADS, 2) gemv_resident(const __grid_constant__ gemv_args a) {
  extern __shared__ __align__(16) uint8_t gemv_memory[];
  constexpr int DEPTH = gemv_depth<F>::RESIDENT;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = (int)((long long)a.tiles * blockIdx.x / gridDim.x);
  const int end = (int)((long long)a.tiles * (blockIdx.x + 1) / gridDim.x);
  uint8_t *const ring = gemv_memory + warp * (DEPTH * F::RECORD);
  uint8_t *const x = gemv_memory + GEMV_WARPS * DEPTH * F::RECORD;
  float *const sums = reinterpret_cast<float *>(x + a.records * a.m * 256);
  const int sums_of_tile = a.m * GEMV_TILE * GEMV_SUM_PAD;
  const uint64_t policy = policy_evict_first();

  /* the next record to copy, and where it goes */
  int copy_record = warp, copy_tile = warp < a.records ? first : end, copy_slot = 0;
  const uint8_t *from = a.w + ((size_t)first * a.records + warp) * a.record_bytes;
  auto copy_next = [&]() {
    if (copy_tile < end) {
      gemv_copy_record<F::CODES, F::RECORD>(ring + copy_slot * F::RECORD, from, a.record_bytes, lane, policy);
      const int step = copy_record + GEMV_WARPS < a.records ? GEMV_WARPS : a.records - copy_record + warp;
      from += (size_t)step * a.record_bytes;
      copy_record += GEMV_WARPS;
      if (copy_record >= a.records) {
        copy_record = warp;
        copy_tile++;
      }
      copy_slot = copy_slot + 1 < DEPTH ? copy_slot + 1 : 0;
    }
    copy_async_commit();
  };

  launch_dependents();
#pragma unroll
  for (int i = 0; i < DEPTH - 1; i++) copy_next();
  wait_for_previous();
  for (int r = warp; r < a.records; r += GEMV_WARPS) gemv_take_x<F>(x + r * a.m * 256, a, r, lane);
  copy_async_commit();
  copy_async_wait<0>();
  __syncwarp();

  gemv_operands<TILES> at;
  gemv_place_lane<TILES, FEW>(at, a, lane);
  int slot = 0;
  for (int tile = first; tile < end; tile++) {
    float c[TILES][F::SUMS][4] = {};
    for (int r = warp; r < a.records; r += GEMV_WARPS) {
      copy_async_wait<DEPTH - 2>();
      __syncwarp(); /* the record is there for all lanes, and all have read the one before, whose place is filled now */
      copy_next();
      at.codes = ring + slot * F::RECORD;
      at.x = x + r * a.m * 256;
      F::multiply(c, at);
      slot = slot + 1 < DEPTH ? slot + 1 : 0;
    }
    float *const mine = sums + (tile & 1) * sums_of_tile;
    gemv_put_sums<F, TILES>(a, mine, c, warp, lane);
    __syncthreads(); /* also: the sums of the tile before have been read */
    gemv_epilogue(a, mine, tile);
  }
}

template <class F>
__global__ void __launch_bounds__(GEMV_THREADS, 1) gemv_streamed(const __grid_constant__ gemv_args a) {
  extern __shared__ __align__(16) uint8_t gemv_memory[];
  constexpr int DEPTH = gemv_depth<F>::STREAMED, TILES = 2; /* for up to 8 rows, too */
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int slot_bytes = 2 * F::RECORD + a.m * 256; /* records of two tiles, columns of x */
  const int first = (int)((long long)a.tiles * blockIdx.x / gridDim.x);
  const int end = (int)((long long)a.tiles * (blockIdx.x + 1) / gridDim.x);
  uint8_t *const ring = gemv_memory + warp * DEPTH * slot_bytes;
  float *const sums = reinterpret_cast<float *>(gemv_memory + GEMV_WARPS * DEPTH * slot_bytes);
  const int sums_of_tile = a.m * GEMV_TILE * GEMV_SUM_PAD;
  const uint64_t policy = policy_evict_first();
  const size_t tile_bytes = (size_t)a.records * a.record_bytes;

  int copy_record = warp, copy_tile = warp < a.records ? first : end, copy_slot = 0;
  auto copy_weights = [&](int record, int tile, int to_slot) {
    const uint8_t *from = a.w + tile * tile_bytes + (size_t)record * a.record_bytes;
    uint8_t *const to = ring + to_slot * slot_bytes;
    gemv_copy_record<F::CODES, F::RECORD>(to, from, a.record_bytes, lane, policy);
    if (tile + 1 < end) gemv_copy_record<F::CODES, F::RECORD>(to + F::RECORD, from + tile_bytes, a.record_bytes, lane, policy);
  };
  auto advance = [&]() {
    copy_record += GEMV_WARPS;
    if (copy_record >= a.records) {
      copy_record = warp;
      copy_tile += 2;
    }
    copy_slot = copy_slot + 1 < DEPTH ? copy_slot + 1 : 0;
  };
  auto copy_next = [&]() {
    if (copy_tile < end) {
      copy_weights(copy_record, copy_tile, copy_slot);
      gemv_take_x<F>(ring + copy_slot * slot_bytes + 2 * F::RECORD, a, copy_record, lane);
      advance();
    }
    copy_async_commit();
  };

  launch_dependents();
  int x_record = copy_record; /* the first DEPTH − 1 slots get their weights before, their x after the wait */
#pragma unroll
  for (int i = 0; i < DEPTH - 1; i++)
    if (copy_tile < end) {
      copy_weights(copy_record, copy_tile, copy_slot);
      advance();
    }
  wait_for_previous();
  for (int i = 0; i < copy_slot; i++) {
    gemv_take_x<F>(ring + i * slot_bytes + 2 * F::RECORD, a, x_record, lane);
    x_record = x_record + GEMV_WARPS < a.records ? x_record + GEMV_WARPS : warp;
  }
  copy_async_commit();
  copy_async_wait<0>();
  __syncwarp();

  gemv_operands<TILES> at;
  gemv_place_lane<TILES, false>(at, a, lane);
  int slot = 0;
  for (int tile = first; tile < end; tile += 2) {
    float c[2][TILES][F::SUMS][4] = {};
    for (int r = warp; r < a.records; r += GEMV_WARPS) {
      copy_async_wait<DEPTH - 2>();
      __syncwarp();
      copy_next();
      at.codes = ring + slot * slot_bytes;
      at.x = at.codes + 2 * F::RECORD;
      F::multiply(c[0], at);
      at.codes += F::RECORD;
      if (tile + 1 < end) F::multiply(c[1], at);
      slot = slot + 1 < DEPTH ? slot + 1 : 0;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) gemv_put_sums<F, TILES>(a, sums + i * sums_of_tile, c[i], warp, lane);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; i++)
      if (tile + i < end) gemv_epilogue(a, sums + i * sums_of_tile, tile + i);
    __syncthreads(); /* before these sums are overwritten */
  }
}

#endif
