/* lab.cuh: what the experiments of this folder share: random codes, an FP64 oracle, timing in turn, a table and a CSV.
 *
 * Each experiment checks first and times only what was right.
 */
#ifndef LAB_GEMM_LAB_CUH
#define LAB_GEMM_LAB_CUH

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "backend/cuda/gemm.h"

#define CUDA(call)                                                                                                     \
  do {                                                                                                                 \
    int cuda_status = (int)(call);                                                                                     \
    if (cuda_status != 0) {                                                                                            \
      printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString((cudaError_t)cuda_status));              \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

/* -- random data */

__host__ __device__ inline uint32_t lab_hash(uint64_t i, uint32_t seed) {
  uint32_t h = (uint32_t)i * 2654435761u ^ (uint32_t)(i >> 32) * 40503u ^ seed * 0x9E3779B9u;
  h ^= h >> 16, h *= 2246822519u, h ^= h >> 13, h *= 3266489917u, h ^= h >> 16;
  return h;
}

/* A normal value, of 12 uniform ones: quick, and good enough for codes. */
__device__ inline float lab_normal(uint64_t i, uint32_t seed) {
  float sum = 0;
  for (uint32_t j = 0; j < 12; j++) sum += (float)(lab_hash(i, seed * 16 + j) >> 8) * (1.0f / 16777216);
  return sum - 6;
}

enum lab_fill_kind {
  LAB_E4M3,
  LAB_F16,
  LAB_INT8,
  LAB_NIBBLES,
  LAB_SCALES_E4M3,
  LAB_INDEX_24,
  LAB_SCALES_F32,
  LAB_BIAS
};

template <int KIND> __global__ void lab_fill_kernel(uint8_t *to, size_t count, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x) {
    if (KIND == LAB_E4M3) to[i] = __nv_cvt_float_to_fp8(110 * lab_normal(i, seed), __NV_SATFINITE, __NV_E4M3);
    if (KIND == LAB_F16) ((__half *)to)[i] = __float2half_rn(lab_normal(i, seed));
    if (KIND == LAB_INT8) to[i] = (uint8_t)(int8_t)fmaxf(-127, fminf(127, rintf(32 * lab_normal(i, seed))));
    if (KIND == LAB_NIBBLES) to[i] = (uint8_t)lab_hash(i, seed);
    if (KIND == LAB_SCALES_E4M3) to[i] = (uint8_t)(0x20 + lab_hash(i, seed) % 0x40);
    if (KIND == LAB_INDEX_24) {
      const uint32_t pairs = 0xED9C84u; /* the six nibbles of number/layout.h */
      uint32_t h = lab_hash(i, seed);
      to[i] = (uint8_t)((pairs >> h % 6 * 4 & 15) | (pairs >> (h >> 8) % 6 * 4 & 15) << 4);
    }
    if (KIND == LAB_SCALES_F32) ((float *)to)[i] = (0.5f + (float)(lab_hash(i, seed) % 1024) / 1024) * 0.001f;
    if (KIND == LAB_BIAS) ((float *)to)[i] = lab_normal(i, seed);
  }
}

/* New device memory of count random elements of size bytes. */
template <int KIND> void *lab_random(size_t count, size_t size, uint32_t seed) {
  uint8_t *memory;
  CUDA(cudaMalloc(&memory, count * size + 256));
  lab_fill_kernel<KIND><<<1024, 256>>>(memory, count, seed);
  CUDA(cudaGetLastError());
  return memory;
}

/* -- the oracle: products of single outputs in FP64, from the codes */

__device__ inline double lab_e4m3(uint8_t code) {
  return (double)__half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}

__device__ inline double lab_weight(gemm_kind kind, const gemm_operands &o, size_t row, size_t k, size_t width) {
  const uint8_t *w = (const uint8_t *)o.w, *index = (const uint8_t *)o.index;
  if (kind == GEMM_NVFP4_F16) {
    const float values[8] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};
    uint32_t code = w[(row * width + k) / 2] >> 4 * (k & 1) & 15;
    double value = code & 8 ? -values[code & 7] : values[code & 7];
    return value * lab_e4m3(index[row * (width / 16) + k / 16]);
  }
  if (kind == GEMM_INT8_24) {
    size_t group = k / 4;
    uint32_t nibble = index[row * (width / 8) + group / 2] >> 4 * (group & 1) & 15;
    const int8_t *codes = (const int8_t *)w + row * (width / 2) + 2 * group;
    return (nibble & 3) == k % 4 ? codes[0] : nibble >> 2 == k % 4 ? codes[1] : 0;
  }
  if (kind == GEMM_F16_F16) return (double)__half2float(((const __half *)o.w)[row * width + k]);
  return lab_e4m3(w[row * width + k]);
}

__device__ inline double lab_input(gemm_kind kind, const void *x, size_t i) {
  if (kind == GEMM_INT8_24) return ((const int8_t *)x)[i];
  if (kind == GEMM_FP8_F16 || kind == GEMM_NVFP4_F16 || kind == GEMM_F16_F16)
    return (double)__half2float(((const __half *)x)[i]);
  return lab_e4m3(((const uint8_t *)x)[i]);
}

/* What an output should be, and how far rounding may carry it for an error of 1 relative to Σ|x·w|. */
struct lab_truth {
  double value, reach;
};

__device__ inline double lab_output(const void *y, size_t i, gemm_output type) {
  if (type == GEMM_F32) return ((const float *)y)[i];
  return type == GEMM_F16 ? (double)__half2float(((const __half *)y)[i])
                          : (double)__bfloat162float(((const __nv_bfloat16 *)y)[i]);
}

__device__ inline lab_truth lab_sum(const gemm_problem &p, const gemm_operands &o, size_t i, size_t row) {
  double sum = 0, all = 0;
  for (size_t k = 0; k < (size_t)p.k; k++) {
    double product = lab_input(p.kind, o.x, i * p.k + k) * lab_weight(p.kind, o, row, k, p.k);
    sum += product, all += fabs(product);
  }
  double scale = (double)o.scale * (o.channel_scale ? o.channel_scale[row] : 1) * (o.row_scale ? o.row_scale[i] : 1);
  return {sum * scale + (o.bias ? o.bias[row] : 0), all * fabs(scale)};
}

__device__ inline lab_truth lab_expected(const gemm_problem &p, const gemm_operands &o, size_t i, size_t j) {
  lab_truth a = lab_sum(p, o, i, j);
  if (p.act == GEMM_GELU) {
    double u = 0.7978845608028654 * (a.value + 0.044715 * a.value * a.value * a.value);
    a.value = a.value * 0.5 * (1 + tanh(u)), a.reach *= 1.13;
  }
  if (p.act == GEMM_SWIGLU) {
    lab_truth up = lab_sum(p, o, i, j + p.n);
    double s = a.value / (1 + exp(-a.value));
    a.reach = 1.1 * a.reach * fabs(up.value) + fabs(s) * up.reach;
    a.value = s * up.value + (o.after_bias ? o.after_bias[j] : 0);
  }
  return a;
}

/* worst[0]: the largest |error| / reach beyond the output's own rounding; worst[1], [2]: Σ error², Σ value² for the
 * RMS; worst[3]: NaN where there should be none. Every stride-th output. */
__global__ void lab_compare_kernel(gemm_problem p, gemm_operands o, size_t stride, double *worst) {
  size_t i = (blockIdx.x * (size_t)blockDim.x + threadIdx.x) * stride;
  if (i >= (size_t)p.m * p.n) return;
  lab_truth t = lab_expected(p, o, i / p.n, i % p.n);
  double y = lab_output(o.y, i, p.output), error = fabs(y - t.value);
  double rounding = p.output == GEMM_F32 ? 0x1p-22 : p.output == GEMM_F16 ? 0x1p-11 : 0x1p-8;
  atomicAdd(worst + 1, (y - t.value) * (y - t.value));
  atomicAdd(worst + 2, t.reach * t.reach);
  if (isnan(y)) atomicAdd(worst + 3, 1.0);
  double beyond = fmax(0.0, error - rounding * 1.01 * fabs(t.value) - 1e-7) / (t.reach + 1e-30);
  atomicMax((unsigned long long *)worst, (unsigned long long)__double_as_longlong(beyond)); /* ordered for values ≥ 0 */
}

struct lab_error {
  double largest, rms;
  bool nan;
};

inline lab_error lab_compare(const gemm_problem &p, const gemm_operands &o, size_t stride) {
  double *worst, host[4];
  CUDA(cudaMalloc(&worst, sizeof host));
  CUDA(cudaMemset(worst, 0, sizeof host));
  size_t count = ((size_t)p.m * p.n + stride - 1) / stride;
  lab_compare_kernel<<<(unsigned)((count + 127) / 128), 128>>>(p, o, stride, worst);
  CUDA(cudaMemcpy(host, worst, sizeof host, cudaMemcpyDeviceToHost));
  CUDA(cudaFree(worst));
  return {host[0], sqrt(host[1] / (host[2] + 1e-300)), host[3] != 0};
}

/* -- timing */

/* Things to time in turn, the median of rounds. run(i): the i-th repetition, which picks its buffers by i. */
struct lab_entry {
  std::string name;
  double operations; /* of one run, for T/s */
  std::function<void(int)> run;
  std::vector<float> times;
  float median() {
    std::sort(times.begin(), times.end());
    return times.empty() ? NAN : times[times.size() / 2];
  }
};

inline void lab_time(std::vector<lab_entry> &entries, int rounds) {
  cudaEvent_t begin, end;
  CUDA(cudaEventCreate(&begin));
  CUDA(cudaEventCreate(&end));
  for (lab_entry &e : entries)
    for (int i = 0; i < 2; i++) e.run(i);
  for (int round = 0; round < rounds; round++) {
    for (lab_entry &e : entries) {
      e.run(2 * round); /* the clocks and the queue are as they are between equal runs */
      CUDA(cudaEventRecord(begin));
      e.run(2 * round + 1);
      CUDA(cudaEventRecord(end));
      CUDA(cudaEventSynchronize(end));
      float ms;
      CUDA(cudaEventElapsedTime(&ms, begin, end));
      e.times.push_back(ms);
    }
  }
  CUDA(cudaEventDestroy(begin));
  CUDA(cudaEventDestroy(end));
}

/* The table: microseconds, T/s, and the ratio to entry 0's rate. */
inline void lab_print(const char *title, std::vector<lab_entry> &entries, FILE *csv) {
  printf("%s\n", title);
  double base = entries[0].operations / entries[0].median();
  for (lab_entry &e : entries) {
    double ms = e.median(), rate = e.operations / ms;
    printf("  %-34s %8.1f us %7.1f T  %.3f\n", e.name.c_str(), ms * 1e3, rate / 1e9, rate / base);
    if (csv) fprintf(csv, "%s,%s,%.2f,%.1f,%.4f\n", title, e.name.c_str(), ms * 1e3, rate / 1e9, rate / base);
  }
  fflush(stdout);
}

#endif
