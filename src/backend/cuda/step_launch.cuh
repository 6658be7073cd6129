/* step_launch.cuh: how a step's kernels are queued. */
#ifndef CUDA_STEP_LAUNCH_CUH
#define CUDA_STEP_LAUNCH_CUH

#include <cuda_runtime.h>

#include "backend/cuda/ptx.cuh"
#include "backend/cuda/step.h"

/* Of every kernel: the next one may start, and this one waits for the one before. Before anything is read or written. */
static __device__ __forceinline__ void step_begin_kernel() {
  launch_dependents();
  wait_for_previous();
}

template <class Kernel, class... Args>
static int step_launch(step_queue q, Kernel *kernel, dim3 grid, unsigned threads, const Args &...args) {
  cudaLaunchAttribute dependent = {};
  dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  dependent.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.stream = static_cast<cudaStream_t>(q.stream);
  config.attrs = &dependent;
  config.numAttrs = q.dependent ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

static inline size_t step_parts(size_t count, size_t part) { return (count + part - 1) / part; }

/* A grid's first side, which may be long; 0 does not fit. */
static inline unsigned step_side(size_t blocks) { return blocks <= 0x7fffffff ? (unsigned)blocks : 0; }

#endif
