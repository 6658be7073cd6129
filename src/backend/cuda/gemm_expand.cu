/* gemm_expand.cu: a block of threads for each row of a weight, so that there are as many loads on their way as memory
 * needs; a thread takes 16 columns at a time, which are one block of NVFP4, one block or a part of one of FP8, and a
 * quarter of a block of 2:4.
 *
 *   reading (one struct for each format) ──► 16 values in FP32 ──► largest of the row, where a target needs it ──►
 * writing
 */
#include <cuda_runtime.h>

#include "backend/cuda/gemm_codes.cuh"
#include "backend/cuda/gemm_expand.h"
#include "backend/cuda/weight_device.cuh"

#define EXPAND_COLUMNS      16  /* of a thread */
#define EXPAND_MOST_THREADS 256 /* of a row */

/* The columns of a thread: from first, step apart. */
static __device__ size_t expand_first() { return threadIdx.x * (size_t)EXPAND_COLUMNS; }
static __device__ size_t expand_step() { return blockDim.x * (size_t)EXPAND_COLUMNS; }

/* Scale of the block of columns that begins before column; 1 for what has none of its own. */
static __device__ float expand_block_scale(const weight &w, size_t row, size_t column) {
  return w.block == 0 ? 1 : device_scale(w, row, column / w.block);
}

/* The scale of a whole row; 1 for what has scales of blocks. */
static __device__ float expand_row_scale(const weight &w, size_t row) {
  return w.block == 0 ? device_scale(w, row, 0) : 1;
}

/* How a format's 16 columns from column on are read. Columns past the row's end read as 0. */
struct expand_fp8 {
  static __device__ void load(const weight &w, size_t row, size_t column, float (&v)[EXPAND_COLUMNS]) {
    const uint8_t *from = (const uint8_t *)w.data + row * w.row_bytes + column;
    const float scale = expand_block_scale(w, row, column);
    __align__(16) uint8_t codes[EXPAND_COLUMNS];
    if ((size_t)from % 16 == 0 && column + EXPAND_COLUMNS <= w.cols)
      *(uint4 *)codes = *(const uint4 *)from;
    else
#pragma unroll
      for (int i = 0; i < EXPAND_COLUMNS; i++) codes[i] = column + (size_t)i < w.cols ? from[i] : 0;
#pragma unroll
    for (int i = 0; i < EXPAND_COLUMNS; i += 2) {
      const __half2 both = __half2(__nv_cvt_fp8x2_to_halfraw2(*(const uint16_t *)(codes + i), __NV_E4M3));
      v[i] = __low2float(both) * scale, v[i + 1] = __high2float(both) * scale;
    }
  }
};

struct expand_nvfp4 {
  static __device__ void load(const weight &w, size_t row, size_t column, float (&v)[EXPAND_COLUMNS]) {
    const uint8_t *codes = (const uint8_t *)w.data + row * w.row_bytes + column / 2;
    const float scale = expand_block_scale(w, row, column);
#pragma unroll
    for (int i = 0; i < EXPAND_COLUMNS; i++) {
      const uint32_t code = column + (size_t)i < w.cols ? (uint32_t)codes[i / 2] >> 4 * (i & 1) & 15 : 0;
      /* e2m1 as the high bits of an FP32: exponent 2 bits, fraction 1; the factor mends the bias */
      v[i] = __uint_as_float((code & 8) << 28 | (code & 7) << 22) * 0x1p126f * scale;
    }
  }
};

/* Kept codes of 4 groups in their order, and the groups' nibbles. */
struct expand_kept {
  int codes[EXPAND_COLUMNS / 2];
  uint32_t index;
};

static __device__ expand_kept expand_read_int8(const weight &w, size_t row, size_t column) {
  const int8_24_block *block = (const int8_24_block *)((const uint8_t *)w.data + row * w.row_bytes) + column / 64;
  const size_t quarter = column % 64 / EXPAND_COLUMNS;
  expand_kept kept;
  const int8_t *from = block->codes + 8 * quarter;
  __align__(8) int8_t codes[EXPAND_COLUMNS / 2];
  if ((size_t)from % sizeof(uint2) == 0)
    *(uint2 *)codes = *(const uint2 *)from;
  else
#pragma unroll
    for (int i = 0; i < 8; i++) codes[i] = from[i];
#pragma unroll
  for (int i = 0; i < 8; i++) kept.codes[i] = codes[i];
  kept.index = (uint32_t)block->index[2 * quarter] | (uint32_t)block->index[2 * quarter + 1] << 8;
  return kept;
}

static __device__ expand_kept expand_read_int4(const weight &w, size_t row, size_t column) {
  const int4_24_block *block = (const int4_24_block *)((const uint8_t *)w.data + row * w.row_bytes) + column / 64;
  const size_t quarter = column % 64 / EXPAND_COLUMNS;
  expand_kept kept;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const uint32_t byte = block->codes[4 * quarter + i / 2];
    kept.codes[i] = (int)(byte << (28 - 4 * (i & 1))) >> 28; /* the nibble's sign spreads */
  }
  kept.index = (uint32_t)block->index[2 * quarter] | (uint32_t)block->index[2 * quarter + 1] << 8;
  return kept;
}

template <bool INT4> struct expand_24 {
  static __device__ expand_kept kept(const weight &w, size_t row, size_t column) {
    return INT4 ? expand_read_int4(w, row, column) : expand_read_int8(w, row, column);
  }
  static __device__ void load(const weight &w, size_t row, size_t column, float (&v)[EXPAND_COLUMNS]) {
    const expand_kept k = kept(w, row, column);
    const float scale = expand_block_scale(w, row, column); /* groups are multiples of 16 columns */
#pragma unroll
    for (int i = 0; i < EXPAND_COLUMNS; i++) {
      const uint32_t nibble = k.index >> i / 4 * 4 & 15;
      const int code = (nibble & 3) == i % 4 ? k.codes[i / 4 * 2] : nibble >> 2 == i % 4 ? k.codes[i / 4 * 2 + 1] : 0;
      v[i] = (float)code * scale;
    }
  }
};

/* The row's largest magnitude, in every thread. */
template <class Format> static __device__ float expand_largest(const weight &w, size_t row) {
  float largest = 0, v[EXPAND_COLUMNS];
  for (size_t column = expand_first(); column < w.cols; column += expand_step()) {
    Format::load(w, row, column, v);
#pragma unroll
    for (int i = 0; i < EXPAND_COLUMNS; i++) largest = fmaxf(largest, fabsf(v[i]));
  }
  return __uint_as_float(block_largest(__float_as_uint(largest)));
}

/* The power of two by which a row's values are divided so that F16 holds the largest code times the largest scale of
 * its blocks with bits to spare: below 2^15. In every thread. */
static __device__ float expand_power(const weight &w, size_t row) {
  float largest = 0;
  for (size_t b = threadIdx.x; b * w.block < w.cols; b += blockDim.x) {
    largest = fmaxf(largest, fabsf(device_scale(w, row, b)));
  }
  largest *= w.format == WEIGHT_FP8 ? FP8_LARGEST : INT4_LARGEST;
  largest = __uint_as_float(block_largest(__float_as_uint(largest)));
  const int exponent = (int)(__float_as_uint(largest) >> 23) - 127 - 14;
  return largest == 0 ? 1 : __uint_as_float((uint32_t)max(1, min(253, exponent + 127)) << 23);
}

template <class Format>
static __global__ void __launch_bounds__(EXPAND_MOST_THREADS)
    expand_f16_kernel(const weight w, __half *codes, float *channel_scale) {
  const size_t row = blockIdx.x;
  /* NVFP4's values fit as they are; others with scales of blocks may not. */
  const bool scaled = w.block != 0 && w.format != WEIGHT_NVFP4;
  const float power = scaled ? expand_power(w, row) : 1, inverse = 1 / power;
  if (threadIdx.x == 0) channel_scale[row] = w.format == WEIGHT_NVFP4 ? 1 : power * expand_row_scale(w, row);
  float v[EXPAND_COLUMNS];
  for (size_t column = expand_first(); column < w.cols; column += expand_step()) {
    Format::load(w, row, column, v);
    __half *to = codes + row * w.cols + column;
    __align__(16) __half out[EXPAND_COLUMNS];
#pragma unroll
    for (int i = 0; i < EXPAND_COLUMNS; i++) out[i] = __float2half_rn(v[i] * inverse);
    if (w.cols % 8 == 0) {
      ((uint4 *)to)[0] = ((const uint4 *)out)[0];
      if (column + 8 < w.cols) ((uint4 *)to)[1] = ((const uint4 *)out)[1];
    } else {
      for (size_t i = 0; i < EXPAND_COLUMNS && column + i < w.cols; i++) to[i] = out[i];
    }
  }
}

template <class Format>
static __global__ void __launch_bounds__(EXPAND_MOST_THREADS)
    expand_fp8_kernel(const weight w, uint8_t *codes, float *channel_scale) {
  const size_t row = blockIdx.x;
  const float largest = expand_largest<Format>(w, row), scale = largest > 0 ? largest / FP8_LARGEST : 1;
  if (threadIdx.x == 0) channel_scale[row] = scale;
  float v[EXPAND_COLUMNS];
  for (size_t column = expand_first(); column < w.cols; column += expand_step()) {
    Format::load(w, row, column, v);
    uint8_t *to = codes + row * w.cols + column;
    __align__(16) uint8_t out[EXPAND_COLUMNS];
#pragma unroll
    for (int i = 0; i < EXPAND_COLUMNS; i++) {
      out[i] = (uint8_t)__nv_cvt_float_to_fp8(v[i] / scale, __NV_SATFINITE, __NV_E4M3);
    }
    if (w.cols % 16 == 0)
      *(uint4 *)to = *(const uint4 *)out;
    else
      for (size_t i = 0; i < EXPAND_COLUMNS && column + i < w.cols; i++) to[i] = out[i];
  }
}

/* 2:4 to INT8 2:4 with codes and index apart. With scales of groups the codes are made anew, for one scale. */
template <bool INT4>
static __global__ void __launch_bounds__(EXPAND_MOST_THREADS)
    expand_24_kernel(const weight w, int8_t *codes, uint8_t *index, float *channel_scale) {
  const size_t row = blockIdx.x;
  const float largest = w.block != 0 ? expand_largest<expand_24<INT4>>(w, row) : 0;
  const float scale = w.block == 0 ? expand_row_scale(w, row) : largest > 0 ? largest / INT8_LARGEST : 1;
  if (threadIdx.x == 0) channel_scale[row] = scale;
  for (size_t column = expand_first(); column < w.cols; column += expand_step()) {
    expand_kept k = expand_24<INT4>::kept(w, row, column);
    const float group = expand_block_scale(w, row, column);
    __align__(8) int8_t out[EXPAND_COLUMNS / 2];
#pragma unroll
    for (int i = 0; i < EXPAND_COLUMNS / 2; i++) {
      out[i] = (int8_t)(w.block == 0 ? k.codes[i] : __float2int_rn((float)k.codes[i] * group / scale));
    }
    *(uint2 *)(codes + row * (w.cols / 2) + column / 2) = *(const uint2 *)out;
    *(uint16_t *)(index + row * (w.cols / 8) + column / 8) = (uint16_t)k.index;
  }
}

const char *gemm_expand_refusal(const weight *w, expand_to to) {
  const int sparse = w->format == WEIGHT_INT8_24 || w->format == WEIGHT_INT4_24;
  if (weight_dense(w->format)) return "a packed weight";
  if (to == EXPAND_INT8_24 && !sparse) return "2:4 for INT8 2:4";
  if (to == EXPAND_INT8_24 && w->cols % 64 != 0) return "columns in whole blocks of 64 for INT8 2:4";
  if (to == EXPAND_FP8 && w->format != WEIGHT_NVFP4) return "NVFP4 for FP8";
  if (w->block % EXPAND_COLUMNS != 0) return "blocks of a multiple of 16 columns";
  return NULL;
}

int gemm_expand(const weight *w, const expand_target *t, void *stream) {
  if (gemm_expand_refusal(w, t->to)) return cudaErrorInvalidValue;
  const size_t warps = (w->cols + 32 * EXPAND_COLUMNS - 1) / (32 * EXPAND_COLUMNS);
  const dim3 blocks((unsigned)w->rows),
      threads(warps < EXPAND_MOST_THREADS / 32 ? 32 * (unsigned)warps : EXPAND_MOST_THREADS);
  cudaStream_t queue = (cudaStream_t)stream;
  const int int4 = w->format == WEIGHT_INT4_24;
  if (t->to == EXPAND_INT8_24) {
    auto *kernel = int4 ? expand_24_kernel<true> : expand_24_kernel<false>;
    kernel<<<blocks, threads, 0, queue>>>(*w, (int8_t *)t->codes, (uint8_t *)t->index, t->channel_scale);
  } else if (t->to == EXPAND_FP8) {
    expand_fp8_kernel<expand_nvfp4><<<blocks, threads, 0, queue>>>(*w, (uint8_t *)t->codes, t->channel_scale);
  } else {
    auto *kernel = w->format == WEIGHT_FP8     ? expand_f16_kernel<expand_fp8>
                   : w->format == WEIGHT_NVFP4 ? expand_f16_kernel<expand_nvfp4>
                   : int4                      ? expand_f16_kernel<expand_24<true>>
                                               : expand_f16_kernel<expand_24<false>>;
    kernel<<<blocks, threads, 0, queue>>>(*w, (__half *)t->codes, t->channel_scale);
  }
  return cudaGetLastError();
}
