/* backend/cuda/convert.cu */
#include "backend/cuda/convert.h"

#include <cuda_runtime.h>

#include "backend/cuda/activation.cuh"
#include "backend/cuda/ptx.cuh"
#include "backend/cuda/weight_device.cuh"
#include "pack/gemv_order.h"

#define CONVERT_THREADS 256

static int blocks_for(size_t items) {
  const size_t blocks = (items + CONVERT_THREADS - 1) / CONVERT_THREADS;
  return (int)(blocks < 65536 ? blocks : 65536); /* every kernel here strides over what is left */
}

static __device__ __forceinline__ size_t first_item() { return (size_t)blockIdx.x * blockDim.x + threadIdx.x; }
static __device__ __forceinline__ size_t item_step() { return (size_t)gridDim.x * blockDim.x; }

/* ---- weights */

/* A thread makes a word of a record: of codes and positions, or four bytes of scales. */
static __global__ void order_records(const __grid_constant__ weight w, size_t tiles, size_t records, uint32_t coded,
                                     uint32_t record_words, uint32_t *to) {
  const size_t words = tiles * records * record_words;
  for (size_t i = first_item(); i < words; i += item_step()) {
    const uint32_t word = (uint32_t)(i % record_words);
    const size_t record = i / record_words, row = record / records * GEMV_TILE, col = record % records * GEMV_RECORD;
    uint32_t v = 0;
    if (word < coded) {
      v = gemv_record_word(&w, row, col, word);
    } else {
      for (uint32_t j = 0; j < 4; j++) v |= (uint32_t)gemv_record_scale(&w, row, col, (word - coded) * 4 + j) << 8 * j;
    }
    to[i] = v;
  }
}

static __global__ void order_row_scales(const __grid_constant__ weight w, size_t padded, float decoded, float *to) {
  for (size_t i = first_item(); i < padded; i += item_step()) to[i] = i < w.rows ? device_row_scale(w, i) * decoded : 0;
}

int convert_order_weight(const weight *w, void *to, void *stream) {
  const gemv_order o = gemv_order_of(w);
  const uint32_t coded = (uint32_t)(o.code_bytes + o.position_bytes) / 4, all = (uint32_t)o.record_bytes / 4;
  if (o.code_bytes == 0 || o.record_bytes % 4) return cudaErrorInvalidValue;
  cudaStream_t queue = (cudaStream_t)stream;
  order_records<<<blocks_for(o.tiles * o.records * all), CONVERT_THREADS, 0, queue>>>(*w, o.tiles, o.records, coded,
                                                                                      all, (uint32_t *)to);
  const size_t padded = o.tiles * GEMV_TILE;
  order_row_scales<<<blocks_for(padded), CONVERT_THREADS, 0, queue>>>(
      *w, padded, w->format == WEIGHT_NVFP4 ? GEMV_NVFP4_SCALE : 1, (float *)((uint8_t *)to + o.row_scales_offset));
  return cudaGetLastError();
}

int convert_row_scales(const weight *w, float *scales, void *stream) {
  order_row_scales<<<blocks_for(w->rows), CONVERT_THREADS, 0, (cudaStream_t)stream>>>(*w, w->rows, 1, scales);
  return cudaGetLastError();
}

/* ---- rows */

static __device__ __forceinline__ __half code_to_f16(uint8_t code) {
  return __half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3));
}
static __device__ __forceinline__ __half code_to_f16(int8_t code) { return __int2half_rn(code); }

template <class Code>
static __global__ void codes_to_f16(const Code *codes, size_t m, size_t k, __half *to, size_t to_stride) {
  for (size_t i = first_item(); i < m * k; i += item_step()) to[i / k * to_stride + i % k] = code_to_f16(codes[i]);
}

int convert_codes_to_f16(convert_codes type, const void *codes, int m, int k, void *to, size_t to_stride,
                         void *stream) {
  const int blocks = blocks_for((size_t)m * (size_t)k);
  cudaStream_t queue = (cudaStream_t)stream;
  if (type == CONVERT_E4M3)
    codes_to_f16<<<blocks, CONVERT_THREADS, 0, queue>>>((const uint8_t *)codes, (size_t)m, (size_t)k, (__half *)to,
                                                        to_stride);
  else
    codes_to_f16<<<blocks, CONVERT_THREADS, 0, queue>>>((const int8_t *)codes, (size_t)m, (size_t)k, (__half *)to,
                                                        to_stride);
  return cudaGetLastError();
}

/* ---- sums */

static __global__ void finish(const __grid_constant__ convert_finish_args a) {
  const size_t n = (size_t)a.n;
  for (size_t i = first_item(); i < (size_t)a.m * n; i += item_step()) {
    const size_t at = i / n * a.y_stride + i % n;
    const float v = activated(a.act, a.sums[i]);
    a.y[at] = a.residual ? v + a.residual[at] : v;
  }
}

int convert_finish(const convert_finish_args *args, void *stream) {
  finish<<<blocks_for((size_t)args->m * (size_t)args->n), CONVERT_THREADS, 0, (cudaStream_t)stream>>>(*args);
  return cudaGetLastError();
}

/* ---- memory */

static __global__ void __launch_bounds__(1024) read_memory(const uint4 *from, size_t count, uint4 *sink) {
  uint4 all = make_uint4(0, 0, 0, 0);
  size_t i = first_item();
  const size_t step = item_step();
  for (; i + 7 * step < count; i += 8 * step) {
    uint4 v[8];
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = __ldcs(&from[i + j * step]);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      all.x ^= v[j].x;
      all.y ^= v[j].y;
      all.z ^= v[j].z;
      all.w ^= v[j].w;
    }
  }
  for (; i < count; i += step) all.x ^= from[i].x;
  if ((all.x & all.y & all.z & all.w) == 0xdeadbeefu) *sink = all; /* so that nothing is left out */
}

int convert_read_memory(int blocks, const void *dev, size_t bytes, void *sink, void *stream) {
  read_memory<<<blocks * 2, 1024, 0, (cudaStream_t)stream>>>((const uint4 *)dev, bytes / 16, (uint4 *)sink);
  return cudaGetLastError();
}

static __global__ void chase_words(const uint64_t *words, size_t reads, uint64_t *sink) {
  uint64_t at = 0;
  for (size_t i = 0; i < reads; i++) at = words[at];
  *sink = at;
}

int convert_chase(const uint64_t *words, size_t reads, void *sink, void *stream) {
  chase_words<<<1, 1, 0, (cudaStream_t)stream>>>(words, reads, (uint64_t *)sink);
  return cudaGetLastError();
}

/* ---- the two ends of a captured step */

static __global__ void fetch(const uint4 *host, uint4 *dev, size_t words) {
  launch_dependents();
  wait_for_previous();
  for (size_t i = first_item(); i < words; i += item_step()) dev[i] = host[i];
}

int convert_fetch(const void *host, void *dev, size_t words, void *stream) {
  fetch<<<blocks_for(words), CONVERT_THREADS, 0, (cudaStream_t)stream>>>((const uint4 *)host, (uint4 *)dev, words);
  return cudaGetLastError();
}

/* Blocks of a row, rows. */
static __global__ void put(const float *logits, float *const *to, size_t n) {
  launch_dependents();
  wait_for_previous();
  float *const at = to[blockIdx.y];
  const float *const from = logits + blockIdx.y * n;
  if (n % 4 == 0 && ((size_t)from | (size_t)at) % 16 == 0) {
    for (size_t i = first_item(); i < n / 4; i += item_step()) ((float4 *)at)[i] = ((const float4 *)from)[i];
  } else {
    for (size_t i = first_item(); i < n; i += item_step()) at[i] = from[i];
  }
}

int convert_put(const float *logits, float *const *to, size_t rows, size_t n, void *stream, int dependent) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3((unsigned)blocks_for((n + 3) / 4), (unsigned)rows);
  config.blockDim = dim3(CONVERT_THREADS);
  config.stream = (cudaStream_t)stream;
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  return cudaLaunchKernelEx(&config, put, logits, to, n);
}
