/* step_codes.cuh: a row that a block has in registers, to its codes. */
#ifndef CUDA_STEP_CODES_CUH
#define CUDA_STEP_CODES_CUH

#include "backend/cuda/gemm_codes.cuh"
#include "backend/cuda/step.h"
#include "backend/cuda/step_quads.cuh"

static_assert(ROW_MOST_THREADS == CODES_MOST_THREADS, "a row's block finds its largest magnitude");

/* Where a row's codes go. */
template <rows_codes TO> struct codes_place {
  typename rows_output<TO>::type *codes; /* of the row */
  float *scale;
  size_t n;
  bool vector; /* four codes may be stored at once */
};

template <rows_codes TO, class Value>
static __device__ __forceinline__ void store_codes(const codes_place<TO> &to, size_t at, Value value) {
  typedef rows_output<TO> output;
  typedef typename output::type code;
  struct __align__(4 * sizeof(code)) quad {
    code codes[4];
  }
  four;
#pragma unroll
  for (int i = 0; i < 4; i++) four.codes[i] = output::code(value(i));
  if (to.vector) {
    *reinterpret_cast<quad *>(to.codes + at) = four;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (at + i < to.n) to.codes[at + i] = four.codes[i];
}

/* quads: the row's, of a block. value(at, quad): what they are to be before they are codes. */
template <rows_codes TO, class Quads, class Value>
static __device__ __forceinline__ void row_to_codes(const Quads &quads, const codes_place<TO> &to, Value value) {
  uint32_t largest = 0;
  quads.each([&](size_t at, float4 v) {
    v = value(at, v);
    largest = max(max(largest, max(magnitude(v.x), magnitude(v.y))), max(magnitude(v.z), magnitude(v.w)));
  });
  largest = block_largest(largest);
  const rows_division by(rows_scale<TO>(largest));
  if (threadIdx.x == 0) *to.scale = by.scale;
  const bool finite = largest < STEP_INFINITE; /* the codes of a row that is not are 0 */
  quads.each([&](size_t at, float4 v) {
    v = value(at, v);
    const float values[4] = {v.x, v.y, v.z, v.w};
    store_codes<TO>(to, at, [&](int i) { return finite ? by.quotient(values[i]) : 0; });
  });
}

struct codes_rows {
  void *codes; /* [rows][n] */
  float *scales;
  size_t n;
  bool vector;

  template <rows_codes TO> __device__ codes_place<TO> of(size_t row) const {
    return {static_cast<typename rows_output<TO>::type *>(codes) + row * n, scales + row, n, vector};
  }
};

static codes_rows codes_rows_of(void *to, input_mode mode, size_t rows, size_t n) {
  return {to, step_quantized_scales(to, mode, rows, n), n, n % 4 == 0};
}

/* The instance of a kernel for codes of a mode. */
#define CODES_KERNEL(kernel, mode, vector)                                                                             \
  ((mode) == INPUT_E4M3   ? kernel<ROWS_TO_E4M3, vector>                                                               \
   : (mode) == INPUT_INT8 ? kernel<ROWS_TO_INT8, vector>                                                               \
   : (mode) == INPUT_INT4 ? kernel<ROWS_TO_INT4, vector>                                                               \
                          : kernel<ROWS_TO_F16, vector>)

#endif
