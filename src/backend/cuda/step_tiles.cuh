/* step_tiles.cuh: what the kernels of attention over tiles share: which queries a tile has, what they see, where results go.
 *
 * A tile is 128 query vectors of one kv head, those of a row's q heads side by side: vector m is head m % group of row
 * m / group.
 */
#ifndef CUDA_STEP_TILES_CUH
#define CUDA_STEP_TILES_CUH

#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_math.cuh"
#include "backend/cuda/step_tiles.h"

#define TILES_QUERIES 128
#define TILES_PIECE   8 /* FP16 of a 16-byte piece */
#define LOG2_E        1.4426950408889634f

struct tiles_args {
  const batch_span *spans;
  void *const *pages;
  const float *q;
  float *out;
  __half *half_out;
  float *half_scales; /* NULL, or what becomes 1 for each row */
  size_t q_stride, out_stride, layer_at;
  size_t head_bytes, values_at, key_scales_at, value_scales_at;
  uint32_t span_count, least_rows, dim, group, window;
  uint32_t kv_heads, tiles; /* tiles: at most, of all heads; for blocks that stay */
  const float *cos_sin;     /* of the step's rows: queries turn on their way in; NULL: they are turned */
  uint32_t rotary;
  float scale; /* of scores, with log2 e */
  bool pairs;  /* two results may be stored at once */
};

typedef void tiles_function(const tiles_args);

struct tiles_choice {
  tiles_function *kernel;
  int bytes, threads;
};

/* Of step_tiles_wgmma.cu: caches of F16, heads of up to 128. */
tiles_choice tiles_of_warpgroups(size_t dim);

/* -- tiles */

struct tiles_place {
  batch_span span;
  uint32_t first, count; /* query vectors of the span */
};

/* Spans follow each other, each with its last tile, which has most to do, first. */
static __device__ bool tiles_find(const tiles_args &a, uint32_t tile, tiles_place *place) {
  for (uint32_t i = 0; i < a.span_count; i++) {
    const batch_span span = a.spans[i];
    if (span.rows < a.least_rows) continue;
    const uint32_t queries = span.rows * a.group, tiles = (queries + TILES_QUERIES - 1) / TILES_QUERIES;
    if (tile < tiles) {
      place->span = span;
      place->first = (tiles - 1 - tile) * TILES_QUERIES;
      place->count = min(queries - place->first, (uint32_t)TILES_QUERIES);
      return true;
    }
    tile -= tiles;
  }
  return false;
}

static __device__ __forceinline__ uint32_t first_seen(const tiles_args &a, uint32_t position) {
  return a.window && position + 1 > a.window ? position + 1 - a.window : 0;
}

/* -- what a tile's vectors see */

/* What a lane may see from a position on: [first, end) after it, for its row g (0) or g + 8 (1) of sixteen. */
struct tiles_sight {
  int first[2], end[2];
  __device__ bool sees(int half, int position) const { return position >= first[half] && position < end[half]; }
};

/* Of the sixteen vectors from m on, of what begins at position `begin`. */
static __device__ __forceinline__ tiles_sight tiles_see(const tiles_args &a, const tiles_place &p, uint32_t m,
                                                        uint32_t begin) {
  tiles_sight sight;
#pragma unroll
  for (int half = 0; half < 2; half++) { /* a vector that is not there sees what the last one does */
    const uint32_t own = min(m + thread_index() % STEP_WARP / 4 + 8 * half, p.count - 1);
    const uint32_t last = p.span.position + (p.first + own) / a.group;
    sight.first[half] = (int)first_seen(a, last) - (int)begin;
    sight.end[half] = (int)last + 1 - (int)begin;
  }
  return sight;
}

/* -- arithmetic of a lane */

static __device__ __forceinline__ uint32_t half_pair(float a, float b) {
  const __half2 pair = __floats2half2_rn(a, b);
  return *reinterpret_cast<const uint32_t *>(&pair);
}

static __device__ __forceinline__ float quad_most(float v) {
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
  return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}

static __device__ __forceinline__ uint32_t not_finite(uint32_t pair) { /* bit 15 and bit 31: of each half */
  return ((pair & 0x7fff7fff) + 0x04000400) & 0x80008000;
}

/* Leaves what is finite; the others become ones in what is returned. */
static __device__ __forceinline__ uint32_t part_not_finite(uint32_t *pair) {
  const uint32_t wrong = (not_finite(*pair) >> 15) * 0xffffu;
  *pair &= ~wrong;
  return wrong & 0x3c003c00;
}

/* -- memory */

static __device__ __forceinline__ void store_shared(uint8_t *memory, uint32_t at, uint4 v) {
  *reinterpret_cast<uint4 *>(memory + at) = v;
}

/* Results of the sixteen vectors from m on. sum: of this lane's columns. value(d, i): before it is divided, of columns 8 d to
 * 8 d + 7 what lanes hold of a product (ptx.cuh). */
template <int DIM, class Value>
static __device__ __forceinline__ void tiles_store(const tiles_args &a, const tiles_place &p, uint32_t kv_head,
                                                   uint32_t m, const float (&sums)[2], Value value) {
  const uint32_t lane = threadIdx.x % STEP_WARP;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint32_t own = m + lane / 4 + 8 * half, query = p.first + own;
    float sum = sums[half] + __shfl_xor_sync(~0u, sums[half], 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (own >= p.count) continue;
    const float part = 1 / sum;
    const size_t row = p.span.out_row + query / a.group;
    const size_t at = row * a.out_stride + (kv_head * a.group + query % a.group) * (size_t)a.dim;
    if (a.half_scales && kv_head == 0 && query % a.group == 0 && lane % 4 == 0) a.half_scales[row] = 1;
#pragma unroll
    for (int d = 0; d < DIM / 8; d++) {
      const uint32_t column = 8 * (uint32_t)d + lane % 4 * 2;
      if (column >= a.dim) continue;
      const float low = value(d, 2 * half) * part, high = value(d, 2 * half + 1) * part;
      if (a.half_out) {
        *reinterpret_cast<uint32_t *>(a.half_out + at + column) = half_pair(low, high);
      } else if (a.pairs) {
        *reinterpret_cast<float2 *>(a.out + at + column) = make_float2(low, high);
      } else {
        a.out[at + column] = low;
        a.out[at + column + 1] = high;
      }
    }
  }
}

#endif
