/* backend/cuda/nvfp4_blocks.cu
 *
 *   largest, decompress   a thread has words of four values: four threads a block of 16, all accesses in rows of 512 bytes
 *                         a warp; PER_THREAD words each, so that enough loads are under way
 *   compress              a thread has a block: its scale and the reciprocal of its step are found once, and the search's
 *                         sums run over the 16 values in their order
 */
#include "backend/cuda/nvfp4_blocks.h"

#include <cuda_runtime.h>

#include "number/finite.h"

#define THREADS    256
#define PER_THREAD 4
#define MOST_CTAS  2048 /* of find_absmax: enough for any GPU; each goes over more */
#define WORD       4    /* values */
#define QUAD       (NVFP4_BLOCK / WORD)

/* Blocks of threads on a multiprocessor, which bound the registers of a thread. */
#define COMPRESS_CTAS 5
#define SEARCH_CTAS   5

#define OVERFLOWS 0x1p-100f /* a number: values are at most 6 · 448 / number */

#define NORMAL_SCALE          8 /* E4M3's least code that is not subnormal */
#define EIGHT_IN_PLACE_OF_SIX 7 /* nvfp4_value_by's, from here on */

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

/* ---- codes */

/* Each bit of ones where mask has a 1, else of zeros'. */
static __device__ __forceinline__ uint32_t choose_bits(uint32_t mask, uint32_t ones, uint32_t zeros) {
  uint32_t chosen;
  asm("lop3.b32 %0, %1, %2, %3, 0xca;" : "=r"(chosen) : "r"(mask), "r"(ones), "r"(zeros));
  return chosen;
}

/* nvfp4_code_of(y) from 8 y, which is not −0. As there a power of two's 2^22-fold rounds, and leaves k of the multiple
 * k · 2^(e + 2) in the lowest bits; from bit 22 on stand 2 · (152 + e), which is 2e in the three bits of the code k + 2e. */
static __device__ __forceinline__ uint32_t code_of_eightfold(float y) {
  const float size = fminf(fabsf(y), 8 * NVFP4_LARGEST);
  const float power = fmaxf(f32_from_bits(f32_bits(size) & 0x7f800000u), 8);
  const uint32_t bits = f32_bits(fmaf(power, 0x1p22f, size)); /* the product is exact */
  return choose_bits(7, bits + (bits >> 22), f32_bits(y) >> 28);
}

/* Quotients by a block's step without dividing: with the reciprocal rounded to nearest, one correction gives the quotient
 * rounded to nearest (Markstein 1990) where nothing overflows. What is subnormal on the way belongs to quotients below 2^-20,
 * whose code is that of any quotient below 1/4 and of their sign; with a step below 1 no quotient becomes 0. All eightfold,
 * which is exact. */
struct step_division {
  float step, eighth, eightfold; /* step / 8, 8 / step */
  bool corrected;

  __device__ __forceinline__ step_division(float s, float largest)
      : step(s), eighth(s / 8), eightfold(8 * (1 / s)), corrected(s > 0x1p-60f && s < 1 && largest < 0x1p60f) {}
  __device__ __forceinline__ uint32_t code(float x) const {
    const float near = fmaf(x, eightfold, 0.0f); /* −0 becomes 0 */
    return code_of_eightfold(fmaf(fmaf(-near, eighth, x), eightfold, near));
  }
};

/* Of 8 values. */
static __device__ __forceinline__ uint32_t code_words(float4 low, float4 high, const step_division &by) {
  const float v[2 * WORD] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
  uint32_t codes = 0;
  if (by.corrected) {
#pragma unroll
    for (int i = 2 * WORD - 1; i >= 0; i--) codes = codes * 16 + by.code(v[i]);
  } else {
#pragma unroll
    for (int i = 2 * WORD - 1; i >= 0; i--) codes = codes * 16 + nvfp4_code(v[i], by.step);
  }
  return codes;
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

/* What the search has found. */
struct best_scale {
  float error;
  int code;

  /* The first among equals stays. sum: of the squared distances by this code's factor. */
  __device__ __forceinline__ void take(float sum, float square, int of) {
    const float this_error = nvfp4_mul(sum, square);
    if (this_error < error) error = this_error, code = of;
  }
};

/* Two or three codes in a row: the second one's anchor rounds a value by all factors. Of scales that are not subnormal, and
 * for values below 7 by the second one; below 7 by the first too unless BEYOND. */
template <int CODES, bool BEYOND>
static __device__ __forceinline__ void try_run(const nvfp4_table *table, const float sizes[NVFP4_BLOCK], int first,
                                               best_scale *best) {
  const int at = NVFP4_TABLE_BEFORE + first;
  float factor[CODES], sums[CODES] = {0};
#pragma unroll
  for (int t = 0; t < CODES; t++) factor[t] = __ldg(&table->factor[at + t]);
#pragma unroll
  for (int i = 0; i < NVFP4_BLOCK; i++) {
    const float anchor = nvfp4_anchor(nvfp4_mul(sizes[i], factor[1]));
#pragma unroll
    for (int t = 0; t < CODES; t++) {
      const float y = nvfp4_mul(sizes[i], factor[t]), near = nvfp4_value_by(y, anchor);
      const float d = nvfp4_add(y, BEYOND && t == 0 ? -fminf(near, NVFP4_LARGEST) : -near);
      sums[t] = nvfp4_add(sums[t], nvfp4_square(d));
    }
  }
#pragma unroll
  for (int t = 0; t < CODES; t++) best->take(sums[t], __ldg(&table->square[at + t]), first + t);
}

/* The same of any codes and values. */
static __device__ __forceinline__ void try_run_slowly(const nvfp4_table *table, const float sizes[NVFP4_BLOCK],
                                                      int first, int codes, best_scale *best) {
  for (int code = first; code < first + codes; code++) {
    const int at = NVFP4_TABLE_BEFORE + code;
    const float factor = __ldg(&table->factor[at]);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < NVFP4_BLOCK; i++) sum = nvfp4_add(sum, nvfp4_distance(nvfp4_mul(sizes[i], factor)));
    best->take(sum, __ldg(&table->square[at]), code);
  }
}

/* The scale with the least error, the first among equals. six: the code of absmax / 6. */
static __device__ __forceinline__ uint32_t search(const nvfp4_table *table, const float sizes[NVFP4_BLOCK],
                                                  float largest, int six) {
  best_scale best = {INFINITY, six};
  const int first = six - NVFP4_NEAR_BEFORE, second = six + NVFP4_NEAR_FOUR_AT;
  const float most = nvfp4_mul(largest, __ldg(&table->factor[NVFP4_TABLE_BEFORE + six]));
  if (first >= NORMAL_SCALE && most < EIGHT_IN_PLACE_OF_SIX) {
    try_run<NVFP4_NEAR_SIX, true>(table, sizes, first, &best);
    try_run<NVFP4_NEAR_FOUR, false>(table, sizes, second, &best);
  } else {
    try_run_slowly(table, sizes, first, NVFP4_NEAR_SIX, &best);
    try_run_slowly(table, sizes, second, NVFP4_NEAR_FOUR, &best);
  }
  return nvfp4_scale_within(best.code);
}

static __device__ __forceinline__ void load_block(const nvfp4_blocks &b, size_t block, float4 v[QUAD]) {
  if ((block + 1) * NVFP4_BLOCK <= b.count) {
#pragma unroll
    for (int q = 0; q < QUAD; q++) v[q] = __ldcs((const float4 *)b.values + block * QUAD + q);
  } else {
#pragma unroll
    for (int q = 0; q < QUAD; q++) v[q] = load_word(b.values, b.count, block * QUAD + q);
  }
}

template <bool SEARCHES>
static __global__ void __launch_bounds__(THREADS, SEARCHES ? SEARCH_CTAS : COMPRESS_CTAS)
    compress(const __grid_constant__ nvfp4_blocks b, size_t blocks) {
  const size_t block = (size_t)blockIdx.x * THREADS + threadIdx.x;
  if (block >= blocks) return;
  float4 v[QUAD];
  load_block(b, block, v);
  const float largest = fmaxf(fmaxf(largest_of(v[0]), largest_of(v[1])), fmaxf(largest_of(v[2]), largest_of(v[3])));
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
    scale = search(b.table, sizes, largest, (int)scale);
  }
  const step_division by(nvfp4_step(scale, b.number), largest);
  b.scales[block] = (uint8_t)scale;
  ((uint2 *)b.codes)[block] = make_uint2(code_words(v[0], v[1], by), code_words(v[2], v[3], by));
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

static __device__ __forceinline__ float4 kept_finite(float4 v) {
  return make_float4(f32_kept_finite(v.x), f32_kept_finite(v.y), f32_kept_finite(v.z), f32_kept_finite(v.w));
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
    float4 v = make_float4(value_of(codes[u], 0, step), value_of(codes[u], 1, step), value_of(codes[u], 2, step),
                           value_of(codes[u], 3, step));
    if (b.number < OVERFLOWS) v = kept_finite(v); /* always, it would take 7 % of the time */
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
