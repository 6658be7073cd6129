/* gemv_exchange.cuh: rows of x that are sums over several GPUs, on their way to the next product: a block has a row. The product
 * before has sent this GPU's parts (gemv.h), so what is left is to take the others', add up, norm, and write FP16. */
#ifndef BACKEND_CUDA_GEMV_EXCHANGE_CUH
#define BACKEND_CUDA_GEMV_EXCHANGE_CUH

#include "backend/cuda/gemv_kernel.cuh"

/* Eight words, once they are there; or what is there when patience ends. */
struct exchange_piece {
  ulonglong2 words[GEMV_PIECE / 2];

  __device__ __forceinline__ void load(const uint64_t *from) {
#pragma unroll
    for (int i = 0; i < GEMV_PIECE / 2; i++) words[i] = load_relaxed_system_2(from + 2 * i);
  }
  __device__ __forceinline__ bool there(uint32_t number) const {
    bool all = true;
#pragma unroll
    for (int i = 0; i < GEMV_PIECE / 2; i++)
      all = all && (uint32_t)(words[i].x >> 32) == number && (uint32_t)(words[i].y >> 32) == number;
    return all;
  }
  __device__ __forceinline__ void await(const uint64_t *from, uint32_t number, uint32_t *failed) {
    exchange_patience patience(failed);
    while (!there(number) && !patience.over()) load(from);
  }
  __device__ __forceinline__ float value(int i) const {
    return __uint_as_float((uint32_t)(i % 2 ? words[i / 2].y : words[i / 2].x));
  }
  __device__ __forceinline__ float4 quad(int i) const {
    return make_float4(value(4 * i), value(4 * i + 1), value(4 * i + 2), value(4 * i + 3));
  }
};

static __device__ __forceinline__ float4 exchange_add(float4 sum, float4 part) {
  return make_float4(__fadd_rn(sum.x, part.x), __fadd_rn(sum.y, part.y), __fadd_rn(sum.z, part.z),
                     __fadd_rn(sum.w, part.w));
}

/* x: this GPU's parts of pieces begin + j · GEMV_THREADS of the row that begins at value `first` of the sum, then the sums. All
 * pieces of a rank are asked for before the first is looked at. */
static __device__ __forceinline__ void gemv_exchange_pieces(const step_exchange_group &g, uint32_t number, size_t first,
                                                            int begin, int k, gemv_row_pieces &x) {
  gemv_row_pieces sum = {};
  for (int r = 0; r < g.ranks; r++) {
    exchange_piece part[GEMV_HELD];
    const uint64_t *const from = exchange_place(g, g.rank, r, number) + first;
#pragma unroll
    for (int j = 0; j < GEMV_HELD; j++) {
      const int i = begin + j * GEMV_THREADS;
      if (r != g.rank && i * GEMV_PIECE < k) part[j].load(from + i * GEMV_PIECE);
    }
#pragma unroll
    for (int j = 0; j < GEMV_HELD; j++) {
      const int i = begin + j * GEMV_THREADS;
      if (i * GEMV_PIECE >= k) continue;
      if (r != g.rank) part[j].await(from + i * GEMV_PIECE, number, g.failed);
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float4 v = r == g.rank ? x[j][h] : part[j].quad(h);
        sum[j][h] = r == 0 ? v : exchange_add(sum[j][h], v);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < GEMV_HELD; j++) x[j][0] = sum[j][0], x[j][1] = sum[j][1];
}

/* HELD: the threads hold the row. */
template <bool HELD>
static __global__ void __launch_bounds__(GEMV_THREADS)
    gemv_exchange_kernel(const gemv_norm norm, const step_exchange_args e, int k, uint4 *rows) {
  __shared__ float parts[GEMV_WARPS];
  gemv_held held;
  launch_dependents();
  if (HELD) held.load(norm.gain, k);
  const step_exchange_group &g = e.group;
  const uint32_t number = e.number + (g.base ? load_relaxed(g.base) : 0);
  gemv_norm mine = norm;
  const size_t first = blockIdx.x * norm.stride;
  mine.x += first;
  float4 *const to = const_cast<float4 *>(reinterpret_cast<const float4 *>(mine.x));
  uint4 *const row = rows + blockIdx.x * (size_t)(k / GEMV_PIECE);
  gemv_row_pieces x = {};
  wait_for_previous();
  for (int begin = (int)threadIdx.x; begin * GEMV_PIECE < k; begin += GEMV_HELD * GEMV_THREADS) {
    gemv_load_row(mine.x, k, begin, x);
    gemv_exchange_pieces(g, number, first, begin, k, x);
#pragma unroll
    for (int j = 0; j < GEMV_HELD; j++) {
      const int i = begin + j * GEMV_THREADS;
      if (i * GEMV_PIECE < k) to[2 * i] = x[j][0], to[2 * i + 1] = x[j][1];
    }
  }
  if (HELD)
    gemv_norm_row(mine, k, x, held, parts, [&](int i, uint4 v) { row[i] = v; });
  else
    gemv_norm_long_row(mine, k, parts, row); /* each thread reads what it has written */
}

#endif
