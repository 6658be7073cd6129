/* backend/cuda/nvfp4_blocks.cu
 *
 *   absmax, decompress   a thread has words of four values: four threads a block of 16, all accesses in rows of 512 bytes
 *                        a warp; PER_THREAD words each, so that enough loads are under way
 *   search               a thread has a block, because its sums run over the 16 values in their order
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

static __device__ __forceinline__ uint32_t code_word(float4 v, float step) {
  return nvfp4_code(v.x, step) | nvfp4_code(v.y, step) << 4 | nvfp4_code(v.z, step) << 8 | nvfp4_code(v.w, step) << 12;
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

/* ---- compress, by absmax */

/* All four threads of a block are here, or none. */
static __device__ __forceinline__ float quad_largest(float v) {
  const unsigned quad = 0xfu << (threadIdx.x % 32 & ~3u);
  v = fmaxf(v, __shfl_xor_sync(quad, v, 1));
  return fmaxf(v, __shfl_xor_sync(quad, v, 2));
}

static __global__ void __launch_bounds__(THREADS)
    compress_by_absmax(const __grid_constant__ nvfp4_blocks b, size_t words) {
  float4 v[PER_THREAD];
#pragma unroll
  for (int u = 0; u < PER_THREAD; u++) v[u] = load_word(b.values, b.count, word_at(u));
#pragma unroll
  for (int u = 0; u < PER_THREAD; u++) {
    const size_t i = word_at(u);
    if (i >= words) continue; /* words are a multiple of four */
    uint32_t scale = nvfp4_scale_code(quad_largest(largest_of(v[u])), b.number);
    if (scale == 0) scale = NVFP4_SCALE_OF_NONE;
    if (threadIdx.x % QUAD == 0) b.scales[i / QUAD] = (uint8_t)scale;
    ((uint16_t *)b.codes)[i] = (uint16_t)code_word(v[u], nvfp4_step(scale, b.number));
  }
}

/* ---- compress, with the search */

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

static __global__ void __launch_bounds__(THREADS)
    compress_by_search(const __grid_constant__ nvfp4_blocks b, size_t blocks) {
  const size_t block = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (block >= blocks) return;
  float4 v[QUAD];
  float sizes[NVFP4_BLOCK], largest = 0;
#pragma unroll
  for (int q = 0; q < QUAD; q++) {
    v[q] = load_word(b.values, b.count, block * QUAD + q);
    largest = fmaxf(largest, largest_of(v[q]));
    sizes[WORD * q] = fabsf(v[q].x), sizes[WORD * q + 1] = fabsf(v[q].y);
    sizes[WORD * q + 2] = fabsf(v[q].z), sizes[WORD * q + 3] = fabsf(v[q].w);
  }
  const uint32_t six = nvfp4_scale_code(largest, b.number);
  const uint32_t scale = six ? best_scale(b.table, sizes, (int)six) : NVFP4_SCALE_OF_NONE;
  const float step = nvfp4_step(scale, b.number);
  b.scales[block] = (uint8_t)scale;
  ((uint2 *)b.codes)[block] = make_uint2(code_word(v[0], step) | code_word(v[1], step) << 16,
                                         code_word(v[2], step) | code_word(v[3], step) << 16);
}

int nvfp4_blocks_compress(const nvfp4_blocks *b, void *stream) {
  const size_t blocks = block_count(b->count), words = blocks * QUAD;
  if (blocks == 0) return cudaSuccess;
  if (b->table)
    compress_by_search<<<grid_for(blocks, THREADS), THREADS, 0, (cudaStream_t)stream>>>(*b, blocks);
  else
    compress_by_absmax<<<grid_for(words, THREADS * PER_THREAD), THREADS, 0, (cudaStream_t)stream>>>(*b, words);
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
