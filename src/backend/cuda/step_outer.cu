/* step_outer.cu: rows of other types and strides to FP32 and back: load_rows, store_rows. A block for each row. */
#include <cuda_bf16.h>

#include "backend/cuda/step_launch.cuh"
#include "backend/cuda/step_math.cuh"

#define OUTER_THREADS 256

/* -- one element of a type of the outside */

static __device__ __forceinline__ float outer_value(float v) { return v; }
static __device__ __forceinline__ float outer_value(__half v) { return __half2float(v); }
static __device__ __forceinline__ float outer_value(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class Outer> static __device__ __forceinline__ Outer outer_code(float v);
template <> __device__ __forceinline__ float outer_code(float v) { return v; }
template <> __device__ __forceinline__ __half outer_code(float v) { return __float2half_rn(v); }
template <> __device__ __forceinline__ __nv_bfloat16 outer_code(float v) { return __float2bfloat16_rn(v); }

template <class Outer>
static __device__ __forceinline__ Outer *outer_place(const outer_rows &o, size_t row, size_t col) {
  return static_cast<Outer *>(o.data) + (ptrdiff_t)row * o.row_stride + (ptrdiff_t)col * o.col_stride;
}

template <class Outer>
static __global__ void load_kernel(const outer_rows from, size_t cols, float *to, size_t to_stride, uint8_t *bad) {
  step_begin_kernel();
  const size_t row = blockIdx.x;
  int nonfinite = 0;
  for (size_t c = threadIdx.x; c < cols; c += OUTER_THREADS) {
    const float v = outer_value(*outer_place<Outer>(from, row, c));
    nonfinite |= magnitude(v) >= STEP_INFINITE;
    to[row * to_stride + c] = v;
  }
  nonfinite = __syncthreads_or(nonfinite);
  if (threadIdx.x == 0) bad[row] = nonfinite != 0;
}

int step_load_rows(step_queue q, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                   uint8_t *bad) {
  const dim3 grid(step_side(rows));
  if (rows == 0) return cudaSuccess;
  switch (from->dtype) {
  case VIVA_F32: return step_launch(q, load_kernel<float>, grid, OUTER_THREADS, *from, cols, to, to_stride, bad);
  case VIVA_F16: return step_launch(q, load_kernel<__half>, grid, OUTER_THREADS, *from, cols, to, to_stride, bad);
  case VIVA_BF16:
    return step_launch(q, load_kernel<__nv_bfloat16>, grid, OUTER_THREADS, *from, cols, to, to_stride, bad);
  default: return cudaErrorInvalidValue;
  }
}

template <class Outer> static __global__ void store_kernel(const step_store_args a) {
  step_begin_kernel();
  const size_t row = blockIdx.x;
  const bool bad = a.bad && a.bad[row];
  unsigned infinite = 0; /* values written, those that FP32 made infinite included */
  for (size_t c = threadIdx.x; c < a.cols; c += OUTER_THREADS) {
    float v = bad ? CUDART_NAN_F : a.from[row * a.from_stride + c];
    if (a.bias && !bad) v = __fadd_rn(v, a.bias[c]);
    const Outer code = outer_code<Outer>(v);
    infinite += magnitude(outer_value(code)) == STEP_INFINITE;
    *outer_place<Outer>(a.to, row, c) = code;
  }
  infinite = __reduce_add_sync(~0u, infinite);
  if (a.overflows && infinite && threadIdx.x % STEP_WARP == 0) atomicAdd(a.overflows, (unsigned long long)infinite);
}

int step_store_rows(step_queue q, const step_store_args *a) {
  const dim3 grid(step_side(a->rows));
  if (a->rows == 0) return cudaSuccess;
  switch (a->to.dtype) {
  case VIVA_F32: return step_launch(q, store_kernel<float>, grid, OUTER_THREADS, *a);
  case VIVA_F16: return step_launch(q, store_kernel<__half>, grid, OUTER_THREADS, *a);
  case VIVA_BF16: return step_launch(q, store_kernel<__nv_bfloat16>, grid, OUTER_THREADS, *a);
  default: return cudaErrorInvalidValue;
  }
}

/* -- infinities among values that lie side by side */

template <class Outer>
static __global__ void count_kernel(const Outer *values, size_t count, unsigned long long *found) {
  step_begin_kernel();
  unsigned infinite = 0;
  for (size_t i = blockIdx.x * (size_t)OUTER_THREADS + threadIdx.x; i < count; i += gridDim.x * (size_t)OUTER_THREADS)
    infinite += magnitude(outer_value(values[i])) == STEP_INFINITE;
  infinite = __reduce_add_sync(~0u, infinite);
  if (infinite && threadIdx.x % STEP_WARP == 0) atomicAdd(found, (unsigned long long)infinite);
}

#define COUNT_BLOCKS 1024

int step_count_infinite(step_queue q, viva_dtype dtype, const void *values, size_t count, unsigned long long *found) {
  const dim3 grid(COUNT_BLOCKS);
  switch (dtype) {
  case VIVA_F32: return step_launch(q, count_kernel<float>, grid, OUTER_THREADS, (const float *)values, count, found);
  case VIVA_F16: return step_launch(q, count_kernel<__half>, grid, OUTER_THREADS, (const __half *)values, count, found);
  case VIVA_BF16:
    return step_launch(q, count_kernel<__nv_bfloat16>, grid, OUTER_THREADS, (const __nv_bfloat16 *)values, count,
                       found);
  default: return cudaErrorInvalidValue;
  }
}
