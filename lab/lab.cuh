/* lab/lab.cuh: errors, device buffers, bandwidth and times, for the programs of the laboratory. */
#ifndef LAB_LAB_CUH
#define LAB_LAB_CUH

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <cuda_runtime.h>

#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    const cudaError_t error_ = (call);                                                                                 \
    if (error_ != cudaSuccess) {                                                                                       \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error_));                                  \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

template <class T> static T *device_new(size_t count) {
  T *p = nullptr;
  CHECK(cudaMalloc(&p, count * sizeof(T)));
  return p;
}

template <class T> static T *device_copy(const T *host, size_t count) {
  T *p = device_new<T>(count);
  CHECK(cudaMemcpy(p, host, count * sizeof(T), cudaMemcpyHostToDevice));
  return p;
}

template <class T> static std::vector<T> host_copy(const T *device, size_t count) {
  std::vector<T> v(count);
  CHECK(cudaMemcpy(v.data(), device, count * sizeof(T), cudaMemcpyDeviceToHost));
  return v;
}

/* Median microseconds of one of the `launches` of a graph, over `replays` of it. launch(i) is captured. */
template <class Launch> static double time_graph(int launches, int replays, Launch launch) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cudaEvent_t begin, end;
  CHECK(cudaStreamCreate(&stream));
  CHECK(cudaEventCreate(&begin));
  CHECK(cudaEventCreate(&end));
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < launches; i++) CHECK(launch(i, stream));
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiate(&executable, graph, 0));
  std::vector<float> times;
  for (int i = 0; i < replays + 2; i++) {
    float ms = 0;
    CHECK(cudaEventRecord(begin, stream));
    CHECK(cudaGraphLaunch(executable, stream));
    CHECK(cudaEventRecord(end, stream));
    CHECK(cudaEventSynchronize(end));
    CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 2) times.push_back(ms * 1e3f / launches);
  }
  CHECK(cudaGraphExecDestroy(executable));
  CHECK(cudaGraphDestroy(graph));
  CHECK(cudaEventDestroy(begin));
  CHECK(cudaEventDestroy(end));
  CHECK(cudaStreamDestroy(stream));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

static __global__ void __launch_bounds__(1024) lab_read(const uint4 *p /* [n] */, size_t n, unsigned *out) {
  const size_t stride = (size_t)gridDim.x * blockDim.x;
  unsigned all = 0;
  size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
  for (; i + 3 * stride < n; i += 4 * stride) {
    const uint4 a = __ldcs(p + i), b = __ldcs(p + i + stride), c = __ldcs(p + i + 2 * stride),
                d = __ldcs(p + i + 3 * stride);
    all += a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
  }
  if (all == 0x12345) *out = all;
}

/* GB/s at which plain 16-byte loads read these bytes, the best of three grids. */
static double read_bandwidth(const void *p, size_t bytes) {
  unsigned *out = device_new<unsigned>(1);
  double best = 0;
  for (int blocks = 132; blocks <= 528; blocks *= 2) {
    const double us = time_graph(1, 7, [&](int, cudaStream_t s) {
      lab_read<<<blocks, 1024, 0, s>>>(static_cast<const uint4 *>(p), bytes / 16, out);
      return cudaGetLastError();
    });
    best = std::max(best, bytes / us * 1e-3);
  }
  CHECK(cudaFree(out));
  return best;
}

/* GB/s, bytes read and bytes written, of copying half of these bytes to the other half. */
static double copy_bandwidth(void *p, size_t bytes) {
  char *half = static_cast<char *>(p) + bytes / 2;
  const double us = time_graph(
      1, 7, [&](int, cudaStream_t s) { return cudaMemcpyAsync(half, p, bytes / 2, cudaMemcpyDeviceToDevice, s); });
  return bytes / us * 1e-3;
}

#endif
