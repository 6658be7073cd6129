/* backend/cuda/gemv_kernel.cuh: the kernel for 1 to 16 rows of x, for any format of gemv_formats.cuh.
 *
 *   grid     a block for each run of consecutive tiles (16 rows of w), one block a multiprocessor
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

#include "backend/cuda/activation.cuh"
#include "backend/cuda/gemv.h"
#include "backend/cuda/gemv_formats.cuh"
#include "backend/cuda/step_exchange.cuh"

#define GEMV_WARPS   8
#define GEMV_THREADS (GEMV_WARPS * GEMV_LANES)
#define GEMV_SUM_PAD (GEMV_WARPS + 1) /* sums of an output lie in different banks */
#define GEMV_PIECES  (GEMV_RECORD / GEMV_PIECE)

static_assert(GEMV_THREADS >= GEMV_SURE_ROWS * GEMV_TILE, "each output of a tile has a thread");

/* A matrix and its results. */
struct gemv_matrix {
  const uint8_t *w;        /* [tiles][records][record_bytes] */
  const float *row_scales; /* [tiles × 16] */
  const float *bias;       /* [n] or NULL */
  const float *residual;   /* [m][y_stride] or NULL */
  void *y;                 /* [m][y_stride] */
  size_t y_stride;
  int n, first_tile; /* the number of its tile 0 among all; beyond the last for one that is not there */
};

/* What the kernel is told. Tiles are those of the first matrix, then of the second, the third; with SWIGLU tiles 2 i and
 * 2 i + 1 are tile i of gate and of up. */
struct gemv_args {
  gemv_matrix matrix[GEMV_MOST_PARTS];
  gemv_norm norm;        /* norm.x not NULL: x is made of it */
  const __half *x;       /* [m][x_stride] */
  const float *x_scales; /* [m] or NULL */
  size_t x_stride;
  int m, k, tiles, records, pairs;
  int together_shift; /* gemv_together.cuh: log2 of the blocks of a cluster, */
  uint64_t share;     /* and its tiles, or pairs of them, times 2^32, rounded up */
  int record_bytes;   /* ≤ RECORD, which is what a slot of a ring has */
  int block_shift;    /* log2 of the columns of a block or group */
  scale_type type;    /* of its scale */
  gemv_activation activation;
  gemv_output output;
};

/* Which matrix a tile belongs to, and which of its tiles it is. */
struct gemv_place_of_tile {
  int matrix, tile;
};

static __device__ __forceinline__ gemv_place_of_tile gemv_find(const gemv_args &a, int tile) {
  if (a.activation == GEMV_SWIGLU) return {tile & 1, tile >> 1};
  const int i = (tile >= a.matrix[1].first_tile) + (tile >= a.matrix[2].first_tile);
  return {i, tile - a.matrix[i].first_tile};
}

static __device__ __forceinline__ const uint8_t *gemv_records(const gemv_args &a, int tile) {
  const gemv_place_of_tile at = gemv_find(a, tile);
  return a.matrix[at.matrix].w + (size_t)at.tile * a.records * a.record_bytes;
}

/* The tiles [first, end) of this block; with SWIGLU whole pairs. */
static __device__ __forceinline__ int gemv_first_tile(const gemv_args &a, unsigned block) {
  const int together = a.activation == GEMV_SWIGLU ? 2 : 1;
  return (int)((long long)(a.tiles / together) * block / gridDim.x) * together;
}

/* -- a warp's ring */

/* Bytes of a block's rings. What is on the way must cover a multiprocessor's share of bandwidth times latency (48 KB); for
 * one or two rows it is as much as fits, because it is what a block brings in while it waits for the kernels before it. A
 * block takes more than half of a multiprocessor's memory in any case: then a multiprocessor has one block of a product at
 * a time, the next product's as soon as that ends, and no product's blocks come to lie two on one multiprocessor and none
 * on another. */
#define GEMV_DEEP_RING_BYTES   (144 * 1024) /* 1 or 2 rows; beside it a block of attention fits */
#define GEMV_RING_BYTES        (80 * 1024)
#define GEMV_WIDE_RING_BYTES   (64 * 1024)  /* beside 16 rows of 4096 columns */
#define GEMV_SHARED_RING_BYTES (80 * 1024)  /* together: beside 16 rows of 3584 columns */
#define GEMV_LARGE_RING_BYTES  (104 * 1024) /* the same beside 32 rows of 1024 columns, */
#define GEMV_SMALL_RING_BYTES  (72 * 1024)  /* of 1792 */
#define GEMV_LONG_RING_BYTES   (196 * 1024) /* STREAMED: two records and x a slot; no other block fits beside it */
#define GEMV_LEAST_BYTES       (116 * 1024)

/* Slots of a warp's ring, for TILES column tiles of x. */
template <class F, int TILES> struct gemv_depth {
  static constexpr int FITS = (TILES == 1 ? GEMV_RING_BYTES : GEMV_WIDE_RING_BYTES) / GEMV_WARPS / F::RECORD;
  static constexpr int RESIDENT = FITS < 3 * F::TOGETHER ? 3 * F::TOGETHER : FITS > 12 ? 12 : FITS;
  static constexpr int DEEP_FITS = GEMV_DEEP_RING_BYTES / GEMV_WARPS / F::RECORD;
  static constexpr int DEEP = DEEP_FITS < 3 * F::TOGETHER ? 3 * F::TOGETHER : DEEP_FITS > 24 ? 24 : DEEP_FITS;
  static constexpr int LONG_FITS = GEMV_LONG_RING_BYTES / GEMV_WARPS / (2 * F::RECORD + GEMV_SURE_ROWS * 272);
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

/* -- x: [piece of 8 columns][row][16 bytes], a piece an odd number of 16 bytes after the one before, so that neither a column of
 * pieces nor a row of them falls on one bank */

static __host__ __device__ __forceinline__ int gemv_x_stride(int m) { return (m | 1) * 16; }

/* Eight columns of `pairs` weights: the blocks hold columns 0 2 4 6 1 3 5 7 of each 8. */
static __device__ __forceinline__ uint4 gemv_pairs_order(uint4 v) {
  return make_uint4(__byte_perm(v.x, v.y, 0x5410), __byte_perm(v.z, v.w, 0x5410), __byte_perm(v.x, v.y, 0x7632),
                    __byte_perm(v.z, v.w, 0x7632));
}

/* The 128 columns of a record for all rows. Columns from k on are zero; what fills x up to 8 columns is not used. */
static __device__ __forceinline__ void gemv_take_x(uint8_t *to, const gemv_args &a, int record, int lane) {
  const int piece = lane % GEMV_PIECES, col = record * GEMV_RECORD + piece * GEMV_PIECE, left = a.k - col;
  const uint32_t bytes = left >= GEMV_PIECE ? 16 : left > 0 ? left * 2 : 0;
  const __half *from = a.x + (bytes ? col : 0);
  to += piece * gemv_x_stride(a.m);
#pragma unroll 1
  for (int m = lane / GEMV_PIECES; m < a.m; m += GEMV_LANES / GEMV_PIECES) {
    copy_async_part(shared_address(to + m * 16), from + m * a.x_stride, bytes);
  }
}

/* With the order of `pairs` it is done again in place, by the lanes that copied it, once it is there. */
static __device__ __forceinline__ void gemv_reorder_x(uint8_t *at, const gemv_args &a, int lane) {
  at += lane % GEMV_PIECES * gemv_x_stride(a.m);
#pragma unroll 1
  for (int m = lane / GEMV_PIECES; m < a.m; m += GEMV_LANES / GEMV_PIECES) {
    uint4 *const piece = reinterpret_cast<uint4 *>(at + m * 16);
    *piece = gemv_pairs_order(*piece);
  }
}

/* -- rows made by the kernel. All threads; sums of squares are added up in an order that the row's length gives. */

/* parts [m][GEMV_WARPS]: each warp's share of a row's sum of squares. A thread adds up pieces t, t + GEMV_THREADS … */
static __device__ __forceinline__ float gemv_norm_squares(float sum, float4 a, float4 b) {
  sum = fmaf(a.w, a.w, fmaf(a.z, a.z, fmaf(a.y, a.y, fmaf(a.x, a.x, sum))));
  return fmaf(b.w, b.w, fmaf(b.z, b.z, fmaf(b.y, b.y, fmaf(b.x, b.x, sum))));
}

static __device__ __forceinline__ void gemv_norm_share(float sum, float *parts) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
  if (thread_index() % 32 == 0) parts[thread_index() / 32] = sum;
}

static __device__ __forceinline__ void gemv_norm_sums(const gemv_norm &norm, int m, int k, float *parts) {
#pragma unroll 1
  for (int row = 0; row < m; row++) {
    const float4 *x = reinterpret_cast<const float4 *>(norm.x + row * norm.stride);
    float sum = 0;
    for (int i = threadIdx.x; i < k / GEMV_PIECE; i += GEMV_THREADS)
      sum = gemv_norm_squares(sum, x[2 * i], x[2 * i + 1]);
    gemv_norm_share(sum, parts + row * GEMV_WARPS);
  }
}

static __device__ __forceinline__ float gemv_norm_factor(const gemv_norm &norm, int k, const float *parts) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < GEMV_WARPS; i++) sum += parts[i];
  return 1.0f / sqrtf(sum / (float)k + norm.eps);
}

static __device__ __forceinline__ uint32_t gemv_half_pair(float a, float b) {
  const __half2 pair = __floats2half2_rn(a, b);
  return *reinterpret_cast<const uint32_t *>(&pair);
}

/* Eight columns. */
static __device__ __forceinline__ uint4 gemv_normed(float4 a, float4 b, float4 g, float4 h, float factor) {
  return make_uint4(
      gemv_half_pair(a.x * factor * g.x, a.y * factor * g.y), gemv_half_pair(a.z * factor * g.z, a.w * factor * g.w),
      gemv_half_pair(b.x * factor * h.x, b.y * factor * h.y), gemv_half_pair(b.z * factor * h.z, b.w * factor * h.w));
}

static __device__ __forceinline__ uint4 gemv_norm_piece(const gemv_norm &norm, int row, int piece, float factor) {
  const float4 *x = reinterpret_cast<const float4 *>(norm.x + row * norm.stride) + 2 * piece;
  const float4 *gain = reinterpret_cast<const float4 *>(norm.gain) + 2 * piece;
  return gemv_normed(x[0], x[1], gain[0], gain[1], factor);
}

/* Where a piece of a row goes, as gemv_take_x and gemv_reorder_x leave it. */
static __device__ __forceinline__ void gemv_put_piece(uint8_t *to, const gemv_args &a, int row, int piece, uint4 v) {
  *reinterpret_cast<uint4 *>(to + piece * gemv_x_stride(a.m) + row * 16) = a.pairs ? gemv_pairs_order(v) : v;
}

/* What a thread has of one row and of the gains before it knows the row's factor. */
#define GEMV_HELD 2 /* pieces */
struct gemv_held {
  float4 gain[GEMV_HELD][2];

  /* Gains are a model's: they are read before the kernel before has ended. */
  __device__ __forceinline__ void load(const float *gains, int k) {
    const float4 *from = reinterpret_cast<const float4 *>(gains);
#pragma unroll
    for (int j = 0; j < GEMV_HELD; j++) {
      const int i = thread_index() + j * GEMV_THREADS;
      gain[j][0] = gain[j][1] = make_float4(0, 0, 0, 0);
      if (i * GEMV_PIECE >= k) continue;
      gain[j][0] = from[2 * i];
      gain[j][1] = from[2 * i + 1];
    }
  }
  __device__ __forceinline__ void load(const gemv_args &a) { load(a.norm.gain, a.k); }
};

/* Pieces begin + j · GEMV_THREADS of a row, each two quads; zeros beyond k. */
typedef float4 gemv_row_pieces[GEMV_HELD][2];

static __device__ __forceinline__ void gemv_load_row(const float *row, int k, int begin, gemv_row_pieces &x) {
  const float4 *from = reinterpret_cast<const float4 *>(row);
#pragma unroll
  for (int j = 0; j < GEMV_HELD; j++) {
    const int i = begin + j * GEMV_THREADS;
    x[j][0] = x[j][1] = make_float4(0, 0, 0, 0);
    if (i * GEMV_PIECE >= k) continue;
    x[j][0] = from[2 * i];
    x[j][1] = from[2 * i + 1];
  }
}

/* A row of up to GEMV_HELD · GEMV_THREADS pieces, which the threads hold. The same bits as gemv_make_x's. put(piece, values) */
template <class Put>
static __device__ __forceinline__ void gemv_norm_row(const gemv_norm &norm, int k, const gemv_row_pieces &x,
                                                     const gemv_held &held, float *parts, Put put) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < GEMV_HELD; j++) sum = gemv_norm_squares(sum, x[j][0], x[j][1]); /* of zeros: stays */
  gemv_norm_share(sum, parts);
  sync_threads<GEMV_THREADS>();
  const float factor = gemv_norm_factor(norm, k, parts);
#pragma unroll
  for (int j = 0; j < GEMV_HELD; j++) {
    const int i = threadIdx.x + j * GEMV_THREADS;
    if (i * GEMV_PIECE < k) put(i, gemv_normed(x[j][0], x[j][1], held.gain[j][0], held.gain[j][1], factor));
  }
}

static __device__ __forceinline__ void gemv_make_row(uint8_t *to, const gemv_args &a, const gemv_held &held,
                                                     float *parts) {
  gemv_row_pieces row;
  gemv_load_row(a.norm.x, a.k, threadIdx.x, row);
  gemv_norm_row(a.norm, a.k, row, held, parts, [&](int i, uint4 v) { gemv_put_piece(to, a, 0, i, v); });
#pragma unroll
  for (int j = 0; j < GEMV_HELD; j++) {
    const int i = threadIdx.x + j * GEMV_THREADS;
    if (i * GEMV_PIECE >= a.k && i < a.records * GEMV_PIECES) gemv_put_piece(to, a, 0, i, make_uint4(0, 0, 0, 0));
  }
}

/* All of x at `to`. parts: [m][GEMV_WARPS]. */
static __device__ __forceinline__ void gemv_make_x(uint8_t *to, const gemv_args &a, float *parts) {
  gemv_norm_sums(a.norm, a.m, a.k, parts);
  sync_threads<GEMV_THREADS>();
#pragma unroll 1
  for (int row = 0; row < a.m; row++) {
    const float factor = gemv_norm_factor(a.norm, a.k, parts + row * GEMV_WARPS);
    for (int i = threadIdx.x; i < a.records * GEMV_PIECES; i += GEMV_THREADS) {
      uint4 v = make_uint4(0, 0, 0, 0);
      if (i * GEMV_PIECE < a.k) v = gemv_norm_piece(a.norm, row, i, factor);
      gemv_put_piece(to, a, row, i, v);
    }
  }
}

/* A row that the threads do not hold, to memory. */
static __device__ __forceinline__ void gemv_norm_long_row(const gemv_norm &norm, int k, float *parts, uint4 *to) {
  gemv_norm_sums(norm, 1, k, parts);
  __syncthreads();
  const float factor = gemv_norm_factor(norm, k, parts);
  for (int i = threadIdx.x; i < k / GEMV_PIECE; i += GEMV_THREADS) to[i] = gemv_norm_piece(norm, 0, i, factor);
}

/* The same rows to memory: a block for each. */
static __global__ void __launch_bounds__(GEMV_THREADS) gemv_norm_kernel(const gemv_norm norm, int k, uint4 *rows) {
  __shared__ float parts[GEMV_WARPS];
  const bool held_row = k <= GEMV_HELD * GEMV_THREADS * GEMV_PIECE;
  gemv_held held;
  launch_dependents();
  if (held_row) held.load(norm.gain, k);
  wait_for_previous();
  gemv_norm mine = norm;
  mine.x += blockIdx.x * norm.stride;
  uint4 *const to = rows + blockIdx.x * (size_t)(k / GEMV_PIECE);
  if (held_row) {
    gemv_row_pieces row;
    gemv_load_row(mine.x, k, threadIdx.x, row);
    gemv_norm_row(mine, k, row, held, parts, [&](int i, uint4 v) { to[i] = v; });
    return;
  }
  gemv_norm_long_row(mine, k, parts, to);
}

/* x: where the first column there is begins. A lane gives load_matrices a row of 16 bytes: row lane % 8 of the eight, or the
 * last row there is when that is none: what it adds up then is dropped. zeros: 16 bytes. */
template <int TILES>
static __device__ __forceinline__ void gemv_place(gemv_operands<TILES> *at, const gemv_args &a, uint32_t x,
                                                  uint32_t zeros, int lane) {
  (void)zeros;
  at->lane = lane;
  at->block_shift = a.block_shift;
  at->type = a.type;
  at->x_stride = gemv_x_stride(a.m);
#pragma unroll
  for (int i = 0; i < TILES; i++) {
    const int row = i * 8 + lane % 8;
    at->row[i] = x + lane / 8 * at->x_stride + (row < a.m ? row : a.m - 1) * 16;
  }
}

static __device__ __forceinline__ void gemv_place(gemv_few_operands *at, const gemv_args &a, uint32_t x, uint32_t zeros,
                                                  int lane) {
  at->lane = lane;
  at->x_stride = gemv_x_stride(a.m);
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const bool used = lane % 8 / 2 == 2 * h + lane / 16; /* of the block that this lane's matrix is of */
    const int row = lane % 2 < a.m ? lane % 2 : 0;
    at->row[h] = used ? x + lane / 8 * at->x_stride + row * 16 : zeros;
    at->step[h] = used ? ~0u : 0u;
  }
}

/* -- what becomes of a sum. Thread o has output (row of x o / 16, row of w o % 16) of a tile: sums [m][16][GEMV_SUM_PAD] */

/* What a thread needs for its output, asked for when the tile begins, so that it is there when the tile ends. */
struct gemv_factors {
  float row_scale, x_scale, bias, residual;
};

static __device__ __forceinline__ gemv_factors gemv_load_factors(const gemv_args &a, int tile, int m, int row) {
  const gemv_place_of_tile at = gemv_find(a, tile);
  const gemv_matrix &w = a.matrix[at.matrix];
  const int n = at.tile * GEMV_TILE + row;
  gemv_factors f = {0, 1, 0, 0};
  if (m >= a.m || n >= w.n) return f;
  f.row_scale = w.row_scales[n];
  if (a.x_scales) f.x_scale = a.x_scales[m];
  if (w.bias) f.bias = w.bias[n];
  if (w.residual) f.residual = w.residual[m * w.y_stride + n];
  return f;
}

static __device__ __forceinline__ gemv_factors gemv_load_factors(const gemv_args &a, int tile, int o) {
  return gemv_load_factors(a, tile, o / GEMV_TILE, o % GEMV_TILE);
}

/* The output but for what comes after it. */
static __device__ __forceinline__ float gemv_scaled(const gemv_factors &f, float sum) {
  return sum * f.row_scale * f.x_scale + f.bias;
}

static __device__ __forceinline__ void gemv_store(const gemv_matrix &w, gemv_output output, int m, int n, float v) {
  const size_t at = m * w.y_stride + n;
  switch (output) {
  case GEMV_F16: static_cast<__half *>(w.y)[at] = __float2half_rn(v); break;
  case GEMV_BF16: static_cast<__nv_bfloat16 *>(w.y)[at] = __float2bfloat16_rn(v); break;
  default: static_cast<float *>(w.y)[at] = v; break;
  }
}

/* Where a value goes that is sent, too. */
static __device__ __forceinline__ uint32_t gemv_send_number(const gemv_send &send) {
  return send.to.ranks ? send.number + load_relaxed(send.to.base) : 0;
}

static __device__ __forceinline__ void gemv_store_and_send(const gemv_args &a, const gemv_send &send, uint32_t number,
                                                           int matrix, int m, int n, float v) {
  const gemv_matrix &w = a.matrix[matrix];
  gemv_store(w, a.output, m, n, v);
  if (send.to.ranks) exchange_send(send.to, number, send.first + m * w.y_stride + n, v);
}

/* Output o of a tile: row n of a matrix for row m of x; matrix −1: there is none. */
struct gemv_output_place {
  int matrix, m, n;
};

static __device__ __forceinline__ gemv_output_place gemv_find_output(const gemv_args &a, int tile, int o) {
  const gemv_place_of_tile at = gemv_find(a, tile);
  const int m = o / GEMV_TILE, n = at.tile * GEMV_TILE + o % GEMV_TILE;
  return {m < a.m && n < a.matrix[at.matrix].n ? at.matrix : -1, m, n};
}

/* The output there, of the eight warps' sums. gate: SWIGLU: that of the gate's tile, until up's comes. store(matrix, m, n, v):
 * where a value goes. */
template <class Store>
static __device__ __forceinline__ void gemv_finish(gemv_activation act, const gemv_factors &f, const float *parts,
                                                   const gemv_output_place &at, float *gate, Store store) {
  float v = 0;
#pragma unroll
  for (int i = 0; i < GEMV_WARPS; i++) v += parts[i];
  v = gemv_scaled(f, v);
  if (act != GEMV_SWIGLU)
    store(at.matrix, at.m, at.n, activated((activation)act, v) + f.residual);
  else if (at.matrix == 0)
    *gate = v;
  else
    store(0, at.m, at.n, silu(*gate) * v);
}

template <class Store>
static __device__ __forceinline__ void gemv_epilogue(const gemv_args &a, const gemv_factors &f, const float *sums,
                                                     int tile, int o, float *gate, Store store) {
  const gemv_output_place at = gemv_find_output(a, tile, o);
  if (at.matrix >= 0) gemv_finish(a.activation, f, sums + o * GEMV_SUM_PAD, at, gate, store);
}

/* This warp's sums of a tile to sums [m][16][GEMV_SUM_PAD]. */
template <class F, int TILES>
static __device__ __forceinline__ void gemv_put_sums(const gemv_args &a, float *sums,
                                                     const float (&c)[TILES][F::SUMS][4], int warp, int lane) {
#pragma unroll
  for (int i = 0; i < TILES; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int m = i * 8 + lane % 4 * 2 + (j & 1), row = lane / 4 + j / 2 * 8;
      const float v = F::total(c[i], j);
      if (m < a.m) sums[(m * GEMV_TILE + row) * GEMV_SUM_PAD + warp] = v;
    }
}

/* -- RESIDENT. Dynamic shared memory: rings, x, sums of two tiles, 16 zero bytes */

static inline size_t gemv_resident_bytes(int record_most, int depth, size_t records, int m) {
  const size_t sums = 2 * (size_t)m * GEMV_TILE * GEMV_SUM_PAD * sizeof(float);
  return (size_t)GEMV_WARPS * depth * record_most + records * GEMV_PIECES * gemv_x_stride(m) + sums + 16;
}

template <class F, int TILES, int DEPTH>
__global__ void __launch_bounds__(GEMV_THREADS, 1)
    gemv_resident(const __grid_constant__ gemv_args a, const __grid_constant__ gemv_send send) {
  extern __shared__ __align__(16) uint8_t gemv_memory[];
  constexpr int TOGETHER = F::TOGETHER;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = gemv_first_tile(a, blockIdx.x), end = gemv_first_tile(a, blockIdx.x + 1);
  const int x_of_record = GEMV_PIECES * gemv_x_stride(a.m), sums_of_tile = a.m * GEMV_TILE * GEMV_SUM_PAD;
  uint8_t *const ring = gemv_memory + warp * (DEPTH * F::RECORD);
  uint8_t *const x = gemv_memory + GEMV_WARPS * DEPTH * F::RECORD;
  float *const sums = reinterpret_cast<float *>(x + a.records * x_of_record);
  uint4 *const zeros = reinterpret_cast<uint4 *>(sums + 2 * sums_of_tile);
  const uint64_t policy = policy_evict_first();

  /* the next record to copy, and where it goes */
  int copy_record = warp, copy_tile = warp < a.records ? first : end, copy_slot = 0;
  const uint8_t *from = gemv_records(a, first) + (size_t)warp * a.record_bytes;
  auto copy_next = [&]() {
    if (copy_tile < end) {
      gemv_copy_record<F::CODES, F::RECORD>(ring + copy_slot * F::RECORD, from, a.record_bytes, lane, policy);
      copy_record += GEMV_WARPS;
      from += (size_t)GEMV_WARPS * a.record_bytes;
      if (copy_record >= a.records) {
        copy_record = warp;
        copy_tile++;
        if (copy_tile < end) from = gemv_records(a, copy_tile) + (size_t)warp * a.record_bytes;
      }
      copy_slot = copy_slot + 1 < DEPTH ? copy_slot + 1 : 0;
    }
    copy_async_commit();
  };

  launch_dependents();
#pragma unroll
  for (int i = 0; i < DEPTH - TOGETHER; i++) copy_next();
  if (threadIdx.x == 0) *zeros = make_uint4(0, 0, 0, 0);
  const bool held_row = a.norm.x && a.m == 1 && a.records * GEMV_PIECES <= GEMV_HELD * GEMV_THREADS;
  gemv_held held;
  if (held_row) held.load(a);
  wait_for_previous();
  gemv_factors factors = gemv_load_factors(a, first, threadIdx.x);
  if (a.norm.x) {
    if (held_row)
      gemv_make_row(x, a, held, sums);
    else
      gemv_make_x(x, a, sums);
    copy_async_commit(); /* the ring counts one */
  } else {
    for (int r = warp; r < a.records; r += GEMV_WARPS) gemv_take_x(x + r * x_of_record, a, r, lane);
    copy_async_commit();
    copy_async_wait<0>();
    if (a.pairs)
      for (int r = warp; r < a.records; r += GEMV_WARPS) gemv_reorder_x(x + r * x_of_record, a, lane);
  }
  __syncthreads();

  typename F::template operands<TILES> at;
  gemv_place(&at, a, shared_address(x), shared_address(zeros), lane);
  const uint32_t number = gemv_send_number(send);
  int slot = 0;
  float gate = 0;
  auto store = [&](int i, int m, int n, float v) { gemv_store_and_send(a, send, number, i, m, n, v); };
  for (int tile = first; tile < end; tile++) {
    float c[TILES][F::SUMS][4] = {};
    int r = warp;
    auto multiply = [&]() {
      at.codes = ring + slot * F::RECORD;
      at.x = r * x_of_record;
      F::multiply(c, at);
      slot = slot + 1 < DEPTH ? slot + 1 : 0;
      r += GEMV_WARPS;
    };
    /* TOGETHER records at a time, so that the latencies of one are hidden behind another */
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
    float *const mine = sums + (tile & 1) * sums_of_tile;
    gemv_put_sums<F, TILES>(a, mine, c, warp, lane);
    __syncthreads(); /* also: the sums of the tile before have been read */
    gemv_epilogue(a, factors, mine, tile, threadIdx.x, &gate, store);
    if (tile + 1 < end) factors = gemv_load_factors(a, tile + 1, threadIdx.x);
  }
}

/* -- STREAMED. Dynamic shared memory: rings of slots of two records and 128 columns of x, sums of two tiles */

static inline size_t gemv_streamed_bytes(int record_most, int depth, int m) {
  const size_t slot = 2 * (size_t)record_most + GEMV_PIECES * gemv_x_stride(m);
  return GEMV_WARPS * depth * slot + 2 * (size_t)m * GEMV_TILE * GEMV_SUM_PAD * sizeof(float);
}

template <class F>
__global__ void __launch_bounds__(GEMV_THREADS, 1)
    gemv_streamed(const __grid_constant__ gemv_args a, const __grid_constant__ gemv_send send) {
  extern __shared__ __align__(16) uint8_t gemv_memory[];
  constexpr int TILES = 2, DEPTH = gemv_depth<F, TILES>::STREAMED; /* for up to 8 rows, too */
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int slot_bytes = 2 * F::RECORD + GEMV_PIECES * gemv_x_stride(a.m);
  const int first = gemv_first_tile(a, blockIdx.x), end = gemv_first_tile(a, blockIdx.x + 1);
  const int sums_of_tile = a.m * GEMV_TILE * GEMV_SUM_PAD;
  uint8_t *const ring = gemv_memory + warp * DEPTH * slot_bytes;
  float *const sums = reinterpret_cast<float *>(gemv_memory + GEMV_WARPS * DEPTH * slot_bytes);
  const uint64_t policy = policy_evict_first();

  int copy_record = warp, copy_tile = warp < a.records ? first : end, copy_slot = 0;
  auto copy_weights = [&]() {
    const size_t at = (size_t)copy_record * a.record_bytes;
    uint8_t *const to = ring + copy_slot * slot_bytes;
#pragma unroll
    for (int i = 0; i < 2; i++)
      if (copy_tile + i < end)
        gemv_copy_record<F::CODES, F::RECORD>(to + i * F::RECORD, gemv_records(a, copy_tile + i) + at, a.record_bytes,
                                              lane, policy);
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
      copy_weights();
      gemv_take_x(ring + copy_slot * slot_bytes + 2 * F::RECORD, a, copy_record, lane);
      advance();
    }
    copy_async_commit();
  };

  launch_dependents();
  for (int i = 0; i < DEPTH - 1; i++) /* these slots get their weights before, their x after the wait */
    if (copy_tile < end) {
      copy_weights();
      advance();
    }
  wait_for_previous();
  for (int i = 0, r = warp; i < copy_slot; i++) {
    gemv_take_x(ring + i * slot_bytes + 2 * F::RECORD, a, r, lane);
    r = r + GEMV_WARPS < a.records ? r + GEMV_WARPS : warp;
  }
  copy_async_commit();
  copy_async_wait<0>();
  __syncwarp();

  gemv_operands<TILES> at;
  gemv_place(&at, a, shared_address(ring), 0, lane);
  const uint32_t number = gemv_send_number(send);
  int slot = 0;
  for (int tile = first; tile < end; tile += 2) {
    float c[2][TILES][F::SUMS][4] = {};
    gemv_factors factors[2] = {gemv_load_factors(a, tile, threadIdx.x), {}};
    if (tile + 1 < end) factors[1] = gemv_load_factors(a, tile + 1, threadIdx.x);
    for (int r = warp; r < a.records; r += GEMV_WARPS) {
      copy_async_wait<DEPTH - 2>();
      uint8_t *const here = ring + slot * slot_bytes;
      if (a.pairs) gemv_reorder_x(here + 2 * F::RECORD, a, lane);
      __syncwarp();
      copy_next();
      at.x = slot * slot_bytes + 2 * F::RECORD;
      at.codes = here;
      F::multiply(c[0], at);
      at.codes += F::RECORD;
      if (tile + 1 < end) F::multiply(c[1], at);
      slot = slot + 1 < DEPTH ? slot + 1 : 0;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) gemv_put_sums<F, TILES>(a, sums + i * sums_of_tile, c[i], warp, lane);
    __syncthreads();
    float gate = 0;
    auto store = [&](int i, int m, int n, float v) { gemv_store_and_send(a, send, number, i, m, n, v); };
#pragma unroll
    for (int i = 0; i < 2; i++)
      if (tile + i < end) gemv_epilogue(a, factors[i], sums + i * sums_of_tile, tile + i, threadIdx.x, &gate, store);
    __syncthreads(); /* before these sums are overwritten */
  }
}

#endif
