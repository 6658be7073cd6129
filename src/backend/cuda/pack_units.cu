/* backend/cuda/pack_units.cu: a block of threads for each row, a thread for 16 columns (pack/pack_unit.h has what it does).
 *
 *   a scale for the row      the row is read twice, the second time from the cache: its largest magnitude, then its codes
 *   a scale for a block      once: the 1 to 8 threads of a block of columns are neighbours and find its largest by shuffles
 */
#include "backend/cuda/pack_units.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "pack/pack_unit.h"

#define THREADS 256
#define WARP    32

static __device__ __forceinline__ float value_of(float v) { return v; }
static __device__ __forceinline__ float value_of(__half v) { /* a NaN keeps its sign, as on the host */
  return __hisnan(v) ? f16_to_f32(__half_as_ushort(v)) : __half2float(v);
}
static __device__ __forceinline__ float value_of(__nv_bfloat16 v) { return bf16_to_f32(__bfloat16_as_ushort(v)); }

/* Rows of the outside. */
template <class In> struct unit_source {
  const In *row;
  ptrdiff_t step;
  size_t cols;
  bool whole_words; /* units begin at multiples of 16 bytes */

  __device__ unit_source(const outer_rows &from, size_t r, size_t columns)
      : row((const In *)from.data + (ptrdiff_t)r * from.row_stride), step(from.col_stride), cols(columns),
        whole_words(from.col_stride == 1 && (uintptr_t)row % 16 == 0) {}

  /* Zeros behind the last column. */
  __device__ __forceinline__ void load(size_t u, float v[PACK_UNIT]) const {
    const size_t at = u * PACK_UNIT;
    if (whole_words && at + PACK_UNIT <= cols) {
      enum { WORDS = sizeof(In) * PACK_UNIT / 16, EACH = 16 / sizeof(In) };
      uint4 words[WORDS];
#pragma unroll
      for (int i = 0; i < WORDS; i++) words[i] = ((const uint4 *)(row + at))[i];
#pragma unroll
      for (int i = 0; i < PACK_UNIT; i++) v[i] = value_of(((const In *)&words[i / EACH])[i % EACH]);
      return;
    }
#pragma unroll
    for (int i = 0; i < PACK_UNIT; i++) v[i] = at + i < cols ? value_of(row[(ptrdiff_t)(at + i) * step]) : 0;
  }
};

/* ---- scales */

static __device__ __forceinline__ void store_scale(scale_type type, uint8_t *scales, size_t i, uint32_t code) {
  if (type == SCALE_F32)
    ((uint32_t *)scales)[i] = code;
  else if (type == SCALE_F16)
    ((uint16_t *)scales)[i] = (uint16_t)code;
  else
    scales[i] = (uint8_t)code;
}

/* Of the whole block of threads. */
static __device__ __forceinline__ uint32_t block_largest(uint32_t bits) {
  __shared__ uint32_t of_warp[THREADS / WARP];
  bits = __reduce_max_sync(~0u, bits);
  if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = bits;
  __syncthreads();
  return __reduce_max_sync(~0u, threadIdx.x % WARP < blockDim.x / WARP ? of_warp[threadIdx.x % WARP] : 0);
}

/* Of `threads` neighbours, a power of two. */
static __device__ __forceinline__ uint32_t neighbours_largest(uint32_t bits, unsigned threads) {
  for (unsigned by = 1; by < threads; by *= 2) bits = max(bits, __shfl_xor_sync(~0u, bits, (int)by));
  return bits;
}

/* ---- codes */

static __device__ __forceinline__ void store_fp8(const float v[PACK_UNIT], pack_division by, uint8_t *row, size_t u,
                                                 size_t cols) {
  uint32_t words[PACK_UNIT / 4];
  pack_unit_fp8(v, by, words);
  uint8_t *to = row + pack_unit_code_at(WEIGHT_FP8, u);
  const size_t left = cols - u * PACK_UNIT;
  if ((uintptr_t)to % 16 == 0 && left >= PACK_UNIT) {
    *(uint4 *)to = make_uint4(words[0], words[1], words[2], words[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < PACK_UNIT; i++)
    if (i < left) to[i] = (uint8_t)(words[i / 4] >> 8 * (i % 4));
}

template <weight_format FORMAT>
static __device__ __forceinline__ void store_sparse(const float v[PACK_UNIT], int pairs, pack_division by, uint8_t *row,
                                                    size_t u) {
  uint32_t words[2], index;
  uint8_t *to = row + pack_unit_code_at(FORMAT, u);
  if (FORMAT == WEIGHT_INT8_24) {
    index = pack_unit_int8(v, pairs, by, words);
    *(uint2 *)to = make_uint2(words[0], words[1]);
  } else {
    index = pack_unit_int4(v, pairs, by, words);
    *(uint32_t *)to = words[0];
  }
  *(uint16_t *)(row + pack_unit_index_at(FORMAT, u)) = (uint16_t)index;
}

/* ---- a row */

template <class In, weight_format FORMAT>
static __global__ void __launch_bounds__(THREADS) pack_row(const __grid_constant__ pack_units_args a) {
  __shared__ nvfp4_table table; /* each thread reads places of its own */
  const size_t r = blockIdx.x, units = pack_unit_count(FORMAT, a.cols), cols = a.cols;
  const unit_source<In> source(a.values, r, cols);
  uint8_t *codes = a.codes + r * a.row_bytes, *scales = a.scales + r * a.scale_row_bytes;
  const unsigned together = a.block / PACK_UNIT;
  float v[PACK_UNIT];
  int nonfinite, first = PACK_UNIT;
  int row_finite = 0; /* known */
  size_t first_unit = 0;
  pack_division whole = pack_divide_by(1);
  if (FORMAT == WEIGHT_NVFP4) {
    for (unsigned i = threadIdx.x; i < NVFP4_TABLE; i += blockDim.x)
      table.factor[i] = a.table.factor[i], table.square[i] = a.table.square[i];
    __syncthreads();
  }
  if (a.block == 0) {
    uint32_t most = 0;
    int here_finite = 1;
    for (size_t u = threadIdx.x; u < units; u += blockDim.x) {
      source.load(u, v);
      most = max(most, pack_unit_largest(v, &nonfinite));
      here_finite &= nonfinite == PACK_UNIT;
    }
    row_finite = __syncthreads_and(here_finite);
    const uint32_t code = pack_scale_code(a.scale, pack_exact_scale(a.largest, f32_from_bits(block_largest(most))));
    if (threadIdx.x == 0) store_scale(a.scale, scales, 0, code);
    whole = pack_divide_by(pack_scale_value(a.scale, code));
  }
  for (size_t begin = 0; begin < units; begin += blockDim.x) { /* all threads, for the shuffles */
    const size_t u = begin + threadIdx.x;
    const bool here = u < units;
    source.load(u, v);
    uint32_t largest = 0;
    nonfinite = PACK_UNIT;
    if (a.block != 0 || !row_finite) largest = pack_unit_largest(v, &nonfinite);
    if (nonfinite < PACK_UNIT && first == PACK_UNIT) first = nonfinite, first_unit = u;
    if (FORMAT == WEIGHT_NVFP4) {
      if (!here) continue;
      uint32_t words[2];
      const uint32_t scale = pack_nvfp4_scale(&a.spec, &table, v, f32_from_bits(largest));
      pack_unit_nvfp4(&table, v, scale, words);
      *(uint2 *)(codes + pack_unit_code_at(FORMAT, u)) = make_uint2(words[0], words[1]);
      scales[u] = (uint8_t)scale;
      continue;
    }
    pack_division by = whole;
    if (a.block != 0) {
      const float exact = pack_exact_scale(a.largest, f32_from_bits(neighbours_largest(largest, together)));
      const uint32_t code = pack_scale_code(a.scale, exact);
      if (u % together == 0 && u * PACK_UNIT < cols) store_scale(a.scale, scales, u / together, code);
      by = pack_divide_by(pack_scale_value(a.scale, code));
    }
    by.plain |= nonfinite < PACK_UNIT;
    if (!here) continue;
    if (FORMAT == WEIGHT_FP8)
      store_fp8(v, by, codes, u, cols);
    else
      store_sparse<FORMAT>(v, a.spec.pairs, by, codes, u);
  }
  if (first < PACK_UNIT && a.bad) atomicMin(a.bad, (unsigned long long)(r * cols + first_unit * PACK_UNIT + first));
}

template <class In> static int launch(const pack_units_args *a, cudaStream_t stream) {
  const size_t units = pack_unit_count(a->spec.format, a->cols), warps = (units + WARP - 1) / WARP * WARP;
  const unsigned threads = warps < THREADS ? (unsigned)warps : THREADS;
  const dim3 grid(a->rows <= 0x7fffffff ? (unsigned)a->rows : 0); /* 0 does not fit */
  switch (a->spec.format) {
  case WEIGHT_FP8: pack_row<In, WEIGHT_FP8><<<grid, threads, 0, stream>>>(*a); break;
  case WEIGHT_NVFP4: pack_row<In, WEIGHT_NVFP4><<<grid, threads, 0, stream>>>(*a); break;
  case WEIGHT_INT8_24: pack_row<In, WEIGHT_INT8_24><<<grid, threads, 0, stream>>>(*a); break;
  case WEIGHT_INT4_24: pack_row<In, WEIGHT_INT4_24><<<grid, threads, 0, stream>>>(*a); break;
  default: return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

int pack_units_rows(const pack_units_args *a, void *stream) {
  if (a->rows == 0) return cudaSuccess;
  switch (a->values.dtype) {
  case VIVA_F32: return launch<float>(a, (cudaStream_t)stream);
  case VIVA_F16: return launch<__half>(a, (cudaStream_t)stream);
  case VIVA_BF16: return launch<__nv_bfloat16>(a, (cudaStream_t)stream);
  default: return cudaErrorInvalidValue;
  }
}
