/* gemm_rows.cu: a block for each row, as many threads as hold it: read once into registers, largest magnitude,
 * divided and rounded, written.
 *
 *   thread t holds pieces t, t + THREADS of 8 values each, so that neighbours read and write side by side. Four pieces of a
 *   thread: what it does once for all of them (where they lie, the block's largest, the scale) is a third of its instructions.
 *
 * A row too long for the registers, or one that does not begin at a multiple of 16 bytes, is read twice, one value at
 * a time; so is one whose scale takes the division.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "backend/cuda/gemm_codes.cuh"
#include "backend/cuda/step_launch.cuh"

#define ROWS_PIECE   8 /* values */
#define ROWS_PIECES  4 /* that a thread holds of a row: with CODES_MOST_THREADS rows of up to 32768 */
#define ROWS_OF_WARP (32 * ROWS_PIECES * ROWS_PIECE) /* values that a warp holds */
#define ROWS_THREADS 256                             /* of rows_any_kernel */

template <rows_type> struct rows_input;
template <> struct rows_input<ROWS_F16> { typedef __half type; };
template <> struct rows_input<ROWS_BF16> { typedef __nv_bfloat16 type; };
template <> struct rows_input<ROWS_F32> { typedef float type; };

static __device__ __forceinline__ float rows_float(__half v) { return __half2float(v); }
static __device__ __forceinline__ float rows_float(__nv_bfloat16 v) { return __bfloat162float(v); }
static __device__ __forceinline__ float rows_float(float v) { return v; }

/* 8 values as they lie in memory. */
template <class In> struct rows_piece {
  static constexpr int WORDS = sizeof(In) * ROWS_PIECE / 4;
  __align__(16) uint32_t words[WORDS];

  __device__ float value(int i) const { return rows_float(((const In *)words)[i]); }
  __device__ void load(const In *from) {
#pragma unroll
    for (int i = 0; i < WORDS / 4; i++) ((uint4 *)words)[i] = ((const uint4 *)from)[i];
  }
  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < WORDS; i++) words[i] = 0;
  }
};

/* A row's pieces in a block's registers; 0 past its end. */
template <class In> struct rows_held {
  rows_piece<In> pieces[ROWS_PIECES];

  static __device__ int number(int i) { return (int)(threadIdx.x + (unsigned)i * blockDim.x); }
  __device__ void load(const In *row, int count) {
#pragma unroll
    for (int i = 0; i < ROWS_PIECES; i++) {
      pieces[i].clear();
      if (number(i) < count) pieces[i].load(row + number(i) * ROWS_PIECE);
    }
  }
  /* Magnitudes of 16 bits are ordered as those of FP32 are, and compared two at a time. */
  __device__ uint32_t largest() const {
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < ROWS_PIECES; i++) {
#pragma unroll
      for (int j = 0; j < rows_piece<In>::WORDS; j++) {
        const uint32_t word = pieces[i].words[j];
        bits = sizeof(In) == 4 ? max(bits, word & 0x7FFFFFFF) : __vmaxu2(bits, word & 0x7FFF7FFF);
      }
    }
    if (sizeof(In) == 4) return bits;
    bits = max(bits & 0xFFFF, bits >> 16);
    return magnitude_bits(rows_float(*(const In *)&bits));
  }
};

/* Writes a piece's codes. */
template <class Output, class In>
static __device__ __forceinline__ void rows_write(typename Output::type *to, const rows_piece<In> &piece,
                                                  const rows_division &by) {
  __align__(16) typename Output::type out[ROWS_PIECE];
#pragma unroll
  for (int j = 0; j < ROWS_PIECE; j += 2)
    Output::pair(by.refined(piece.value(j)), by.refined(piece.value(j + 1)), out + j);
  if (sizeof out == 16)
    *(uint4 *)to = *(uint4 *)out;
  else
    *(uint2 *)to = *(uint2 *)out;
}

/* Writes a row's codes one by one, from memory. finite: else all are 0. */
template <class Output, class In>
static __device__ __forceinline__ void rows_write_each(const In *x, int k, typename Output::type *codes, bool finite,
                                                       const rows_division &by) {
  for (int i = (int)threadIdx.x; i < k; i += (int)blockDim.x)
    codes[i] = Output::code(finite ? by.quotient(rows_float(x[i])) : 0);
}

template <class In, rows_codes TO>
__global__ void __launch_bounds__(CODES_MOST_THREADS)
    rows_kernel(const In *x, size_t stride, int k, typename rows_output<TO>::type *codes, float *scales) {
  typedef rows_output<TO> output;
  const int count = k / ROWS_PIECE;
  step_begin_kernel();
  rows_held<In> held;
  x += blockIdx.x * stride;
  codes += blockIdx.x * (size_t)k;
  held.load(x, count);
  const uint32_t largest = block_largest(held.largest());
  const rows_division by(rows_scale<TO>(largest));
  if (threadIdx.x == 0) scales[blockIdx.x] = by.scale;
  if (by.plain) { /* among them all rows that are not finite, whose codes are 0 */
    rows_write_each<output>(x, k, codes, largest < 0x7F800000, by);
    return;
  }
#pragma unroll
  for (int i = 0; i < ROWS_PIECES; i++) {
    if (held.number(i) < count) rows_write<output>(codes + held.number(i) * ROWS_PIECE, held.pieces[i], by);
  }
}

/* Any length and alignment. */
template <class In, rows_codes TO>
__global__ void __launch_bounds__(ROWS_THREADS)
    rows_any_kernel(const In *x, size_t stride, int k, typename rows_output<TO>::type *codes, float *scales) {
  typedef rows_output<TO> output;
  x += blockIdx.x * stride;
  codes += blockIdx.x * (size_t)k;
  uint32_t largest = 0;
  step_begin_kernel();
  for (int i = (int)threadIdx.x; i < k; i += ROWS_THREADS) largest = max(largest, magnitude_bits(rows_float(x[i])));
  largest = block_largest(largest);
  const rows_division by(rows_scale<TO>(largest));
  if (threadIdx.x == 0) scales[blockIdx.x] = by.scale;
  rows_write_each<output>(x, k, codes, largest < 0x7F800000, by);
}

/* Rows of one call. */
struct rows_job {
  const void *x;
  size_t stride;
  int m, k;
  void *codes;
  float *scales;
};

/* Whole rows in registers, in blocks of as few threads as hold a row; or value by value. */
template <rows_type TYPE, rows_codes TO> static int launch_rows(step_queue q, const rows_job &j) {
  typedef typename rows_input<TYPE>::type in;
  typedef typename rows_output<TO>::type out;
  const bool whole = j.k % ROWS_PIECE == 0 && j.stride * sizeof(in) % 16 == 0 && (size_t)j.x % 16 == 0 &&
                     (size_t)j.codes % 16 == 0 && j.k <= ROWS_PIECE * ROWS_PIECES * CODES_MOST_THREADS;
  const unsigned warps = ((unsigned)j.k + ROWS_OF_WARP - 1) / ROWS_OF_WARP, threads = whole ? 32 * warps : ROWS_THREADS;
  auto *kernel = whole ? rows_kernel<in, TO> : rows_any_kernel<in, TO>;
  return step_launch(q, kernel, dim3((unsigned)j.m), threads, (const in *)j.x, j.stride, j.k, (out *)j.codes, j.scales);
}

template <rows_type TYPE> static int launch_type(step_queue q, rows_codes to, const rows_job &j) {
  if (to == ROWS_TO_E4M3) return launch_rows<TYPE, ROWS_TO_E4M3>(q, j);
  if (to == ROWS_TO_INT8) return launch_rows<TYPE, ROWS_TO_INT8>(q, j);
  if (to == ROWS_TO_INT4) return launch_rows<TYPE, ROWS_TO_INT4>(q, j);
  return launch_rows<TYPE, ROWS_TO_F16>(q, j);
}

static int launch(step_queue q, rows_type type, rows_codes to, const rows_job &j) {
  if (j.m <= 0 || j.k <= 0) return cudaErrorInvalidValue;
  if (type == ROWS_F16) return launch_type<ROWS_F16>(q, to, j);
  if (type == ROWS_BF16) return launch_type<ROWS_BF16>(q, to, j);
  return launch_type<ROWS_F32>(q, to, j);
}

int gemm_rows(rows_type type, const void *x, size_t stride, int m, int k, rows_codes to, void *codes, float *scales,
              void *stream) {
  return launch({stream, 0}, type, to, {x, stride, m, k, codes, scales});
}

int gemm_rows_dependent(rows_type type, const void *x, size_t stride, int m, int k, rows_codes to, void *codes,
                        float *scales, void *stream) {
  return launch({stream, 1}, type, to, {x, stride, m, k, codes, scales});
}

/* -- quantize_rows */

static size_t codes_bytes(input_mode mode, size_t m, size_t k) {
  return step_parts(m * k * (mode == INPUT_F16 ? sizeof(__half) : 1), PACK_ALIGN) * PACK_ALIGN;
}

size_t step_quantized_bytes(input_mode mode, size_t m, size_t k) { return codes_bytes(mode, m, k) + m * sizeof(float); }

float *step_quantized_scales(const void *to, input_mode mode, size_t m, size_t k) {
  return (float *)((uintptr_t)to + codes_bytes(mode, m, k));
}

static rows_codes codes_of(input_mode mode) {
  switch (mode) {
  case INPUT_E4M3: return ROWS_TO_E4M3;
  case INPUT_INT8: return ROWS_TO_INT8;
  case INPUT_INT4: return ROWS_TO_INT4;
  default: return ROWS_TO_F16;
  }
}

int step_quantize_rows(step_queue q, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k, void *to) {
  if (m == 0) return cudaSuccess;
  if (mode == INPUT_FLOAT) return cudaErrorInvalidValue;
  return launch(q, ROWS_F32, codes_of(mode), {x, x_stride, (int)m, (int)k, to, step_quantized_scales(to, mode, m, k)});
}
