/* backend/cuda/nvfp4_blocks.cu
 *
 *   largest, decompress   a thread has words of four values: four threads a block of 16, all accesses in rows of 512 bytes
 *                         a warp; PER_THREAD words each, so that enough loads are under way
 *   compress              a thread has a block: its scale and the reciprocal of its step are found once, and the search's
 *                         sums run over the 16 values in their order
 */
#include "backend/cuda/nvfp4_blocks.h"

#include <cuda_runtime.h>

#define THREADS    256
#define PER_THREAD 4
#define MOST_CTAS  2048 /* of find_absmax: enough for any GPU; each goes over more */
#define WORD       4    /* values */
#define QUAD       (NVFP4_BLOCK / WORD)

static_assert(QUAD == 4, "a block's words lie in one warp, whose shuffles find the block's largest");

static size_t block_count(size_t count) { return (count + NVFP4_BLOCK - 1) / NVFP4_BLOCK; }
static unsigned grid_for(size_t items, size_t each) { return (unsigned)((items + each - 1) / each); }

/* Number of the thread's word u: words of neighbouring threads are neighbours. */
static __device__ __forceinline__ size_t word_at(int u) {
  return ((size_t)blockIdx.x * PER_THREAD + u) * THREADS + threadIdx.x;
}

/* Values 4i to 4i + 3, zeros behind the last. */
static __device__ __forceinline__ float4 load_word(const float *values, size_t count, size_t i) {
  const size_t at = i * WORD;
  if (at + WORD <= count) return __ldcs((const float4 *)values + i);
  return make_float4(at < count ? values[at] : 0, at + 1 < count ? values[at + 1] : 0,
                     at + 2 < count ? values[at + 2] : 0, 0);
}

static __device__ __forceinline__ float largest_of(float4 v) {
  return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

/* Quotients by a block's step without dividing: with the reciprocal rounded to nearest, one correction gives the quotient rounded
 * to nearest (Markstein 1990) where nothing overflows. What is subnormal on the way belongs to quotients below 2^-20, whose code is
 * that of any quotient below 1/4 and of their sign; with a step below 1 no quotient becomes 0. */
struct step_division {
  float step, reciprocal;
  bool corrected;

  __device__ __forceinline__ step_division(float s, float largest)
      : step(s), reciprocal(1 / s), corrected(s > 0x1p-60f && s < 1 && largest < 0x1p60f) {}
  __device__ __forceinline__ float quotient(float x) const {
    const float near = x * reciprocal;
    return fmaf(fmaf(-near, step, x), reciprocal, near);
  }
};

static __device__ __forceinline__ uint32_t code_word(float4 v, const step_division &by) {
  if (by.corrected)
    return nvfp4_code_of(by.quotient(v.x)) | nvfp4_code_of(by.quotient(v.y)) << 4 |
           nvfp4_code_of(by.quotient(v.z)) << 8 | nvfp4_code_of(by.quotient(v.w)) << 12;
  return nvfp4_code(v.x, by.step) | nvfp4_code(v.y, by.step) << 4 | nvfp4_code(v.z, by.step) << 8 |
         nvfp4_code(v.w, by.step) << 12;
}

/* ---- the largest magnitude: magnitudes are in the order of their bits, NaN above all */

static __device__ __forceinline__ uint32_t magnitude_bits(float v) { return f32_bits(v) & 0x7fffffffu; }

static __global__ void __launch_bounds__(THREADS) find_absmax(const float *values, size_t count, uint32_t *bits) {
  const size_t words = (count + WORD - 1) / WORD, step = (size_t)gridDim.x * THREADS * PER_THREAD;
  uint32_t most = 0;
  for (size_t begin = 0; begin < words; begin += step) {
    float4 v[PER_THREAD];
#pragma unroll
    for (int u = 0; u < PER_THREAD; u++) v[u] = load_word(values, count, begin + word_at(u)); /* zeros beyond */
#pragma unroll
    for (int u = 0; u < PER_THREAD; u++)
      most = max(most, max(max(magnitude_bits(v[u].x), magnitude_bits(v[u].y)),
                           max(magnitude_bits(v[u].z), magnitude_bits(v[u].w))));
  }
  most = __reduce_max_sync(0xffffffffu, most);
  if (threadIdx.x % 32 == 0 && most > *(volatile uint32_t *)bits) atomicMax(bits, most);
}

int nvfp4_blocks_absmax(const float *values, size_t count, uint32_t *bits, void *stream) {
  const unsigned wanted = grid_for(count, THREADS * PER_THREAD * WORD), ctas = wanted > MOST_CTAS ? MOST_CTAS : wanted;
  if (count == 0) return cudaSuccess;
  find_absmax<<<ctas, THREADS, 0, (cudaStream_t)stream>>>(values, count, bits);
  return cudaGetLastError();
}

/* ---- compress */

/* squares · the sum of the squared distances of a block's values, by this factor. */
static __device__ __forceinline__ float block_error(const float sizes[NVFP4_BLOCK], float factor, float square) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < NVFP4_BLOCK; i++) sum = nvfp4_add(sum, nvfp4_distance(nvfp4_mul(sizes[i], factor)));
  return nvfp4_mul(sum, square);
}

/* The scale with the least error, the first among equals. six: the code of absmax / 6. */
static __device__ __forceinline__ uint32_t best_scale(const nvfp4_table *table, const float sizes[NVFP4_BLOCK],
                                                      int six) {
  const int first = six - NVFP4_NEAR_BEFORE;
  float least = INFINITY;
  int best = six;
  for (int t = 0; t < NVFP4_NEAR; t++) {
    const int at = NVFP4_TABLE_BEFORE + first + t;
    const float error = block_error(sizes, __ldg(&table->factor[at]), __ldg(&table->square[at]));
    if (error < least) least = error, best = first + t;
  }
  return nvfp4_scale_within(best);
}

template <bool SEARCHES>
static __global__ void __launch_bounds__(THREADS) compress(const __grid_constant__ nvfp4_blocks b, size_t blocks) {
  const size_t block = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (block >= blocks) return;
  float4 v[QUAD];
  float largest = 0;
#pragma unroll
  for (int q = 0; q < QUAD; q++) v[q] = load_word(b.values, b.count, block * QUAD + q);
#pragma unroll
  for (int q = 0; q < QUAD; q++) largest = fmaxf(largest, largest_of(v[q]));
  uint32_t scale = nvfp4_scale_code(largest, b.number);
  if (scale == 0) {
    scale = NVFP4_SCALE_OF_NONE;
  } else if constexpr (SEARCHES) {
    float sizes[NVFP4_BLOCK];
#pragma unroll
    for (int q = 0; q < QUAD; q++) {
      sizes[WORD * q] = fabsf(v[q].x), sizes[WORD * q + 1] = fabsf(v[q].y);
      sizes[WORD * q + 2] = fabsf(v[q].z), sizes[WORD * q + 3] = fabsf(v[q].w);
    }
    scale = best_scale(b.table, sizes, (int)scale);
  }
  const step_division by(nvfp4_step(scale, b.number), largest);
  b.scales[block] = (uint8_t)scale;
  ((uint2 *)b.codes)[block] =
      make_uint2(code_word(v[0], by) | code_word(v[1], by) << 16, code_word(v[2], by) | code_word(v[3], by) << 16);
}

int nvfp4_blocks_compress(const nvfp4_blocks *b, void *stream) {
  const size_t blocks = block_count(b->count);
  const unsigned grid = grid_for(blocks, THREADS);
  if (blocks == 0) return cudaSuccess;
  if (b->table)
    compress<true><<<grid, THREADS, 0, (cudaStream_t)stream>>>(*b, blocks);
  else
    compress<false><<<grid, THREADS, 0, (cudaStream_t)stream>>>(*b, blocks);
  return cudaGetLastError();
}

/* ---- decompress */

static __device__ __forceinline__ float value_of(uint32_t codes, int i, float step) {
  return nvfp4_mul(e2m1_to_f32((uint8_t)(codes >> 4 * i)), step);
}

static __global__ void __launch_bounds__(THREADS)
    decompress(const __grid_constant__ nvfp4_blocks b, size_t words, float *to) {
  uint32_t codes[PER_THREAD], scales[PER_THREAD];
#pragma unroll
  for (int u = 0; u < PER_THREAD; u++) {
    const size_t i = word_at(u);
    codes[u] = i < words ? __ldcs((const uint16_t *)b.codes + i) : 0;
    scales[u] = i < words ? __ldcs(b.scales + i / QUAD) : 0;
  }
#pragma unroll
  for (int u = 0; u < PER_THREAD; u++) {
    const size_t i = word_at(u), at = i * WORD;
    const float step = nvfp4_step(scales[u], b.number);
    const float4 v = make_float4(value_of(codes[u], 0, step), value_of(codes[u], 1, step), value_of(codes[u], 2, step),
                                 value_of(codes[u], 3, step));
    if (at + WORD <= b.count) {
      __stcs((float4 *)to + i, v);
      continue;
    }
    if (at < b.count) to[at] = v.x;
    if (at + 1 < b.count) to[at + 1] = v.y;
    if (at + 2 < b.count) to[at + 2] = v.z;
  }
}

int nvfp4_blocks_decompress(const nvfp4_blocks *b, float *to, void *stream) {
  const size_t words = (b->count + WORD - 1) / WORD;
  if (words == 0) return cudaSuccess;
  decompress<<<grid_for(words, THREADS * PER_THREAD), THREADS, 0, (cudaStream_t)stream>>>(*b, words, to);
  return cudaGetLastError();
}
