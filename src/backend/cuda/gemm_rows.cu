/* gemm_rows.cu: a block for each row, as many threads as hold it: read once into registers, largest magnitude,
 * divided and rounded, written.
 *
 *   thread t holds pieces t, t + THREADS of 8 values each, so that neighbours read and write side by side.
 *
 * A row too long for the registers, or one that does not begin at a multiple of 16 bytes, is read twice, one value at
 * a time.
 */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "backend/cuda/gemm_rows.h"

#define ROWS_PIECE        8    /* values */
#define ROWS_PIECES       2    /* that a thread holds of a row: with ROWS_MOST_THREADS rows of up to 16384 */
#define ROWS_MOST_THREADS 1024 /* of rows_kernel */
#define ROWS_THREADS      256  /* of rows_any_kernel */

template <rows_type> struct rows_input;
template <> struct rows_input<ROWS_F16> { typedef __half type; };
template <> struct rows_input<ROWS_BF16> { typedef __nv_bfloat16 type; };
template <> struct rows_input<ROWS_F32> { typedef float type; };

static __device__ __forceinline__ float rows_float(__half v) { return __half2float(v); }
static __device__ __forceinline__ float rows_float(__nv_bfloat16 v) { return __bfloat162float(v); }
static __device__ __forceinline__ float rows_float(float v) { return v; }

/* 8 values as they lie in memory. */
template <class In> struct rows_piece {
  uint4 words[sizeof(In) * ROWS_PIECE / 16];

  __device__ float value(int i) const { return rows_float(((const In *)words)[i]); }
  __device__ void load(const In *from) {
#pragma unroll
    for (int i = 0; i < (int)(sizeof words / 16); i++) words[i] = ((const uint4 *)from)[i];
  }
};

/* The largest bits of a magnitude in the block: ordered as the values are, and those of an infinity or a NaN above
 * all. */
static __device__ uint32_t block_largest(uint32_t bits) {
  __shared__ uint32_t of_warp[ROWS_MOST_THREADS / 32];
  bits = __reduce_max_sync(0xFFFFFFFF, bits);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = bits;
  __syncthreads();
  return __reduce_max_sync(0xFFFFFFFF, threadIdx.x % 32 < blockDim.x / 32 ? of_warp[threadIdx.x % 32] : 0);
}

static __device__ __forceinline__ uint32_t magnitude_bits(float v) { return __float_as_uint(v) & 0x7FFFFFFF; }

/* Divides by a row's scale. With the reciprocal rounded to nearest, one step of Newton's gives the quotient rounded to
 * nearest (Markstein 1990), as long as nothing is subnormal on the way; a scale near FP32's ends takes the division. */
struct rows_division {
  float scale, reciprocal;
  bool plain;

  __device__ explicit rows_division(float scale_)
      : scale(scale_), reciprocal(1 / scale_), plain(!(scale_ > 0x1p-80f && scale_ < 0x1p80f)) {}
  __device__ float divided(float x) const { return x / scale; }
  __device__ float refined(float x) const {
    const float near = x * reciprocal;
    return fmaf(fmaf(-near, scale, x), reciprocal, near);
  }
};

/* The scale of a row whose largest magnitude has these bits; NaN for one that is not finite. */
template <rows_codes TO> __device__ float rows_scale(uint32_t largest) {
  if (largest >= 0x7F800000) return __uint_as_float(0x7FC00000);
  if (TO == ROWS_TO_E4M3) return largest ? __fdiv_rn(__uint_as_float(largest), 448) : 1;
  if (TO == ROWS_TO_INT8) return largest ? __fdiv_rn(__uint_as_float(largest), 127) : 1;
  int exponent = (int)(largest >> 23) - 127; /* of absmax < 2^(exponent + 1) */
  return __uint_as_float(largest) > 65504 ? __uint_as_float((uint32_t)(exponent + 1 - 15 + 127) << 23) : 1;
}

template <rows_codes TO> struct rows_output;
template <> struct rows_output<ROWS_TO_E4M3> {
  typedef uint8_t type;
  static __device__ type code(float v) { return (uint8_t)__nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3); }
};
template <> struct rows_output<ROWS_TO_INT8> {
  typedef int8_t type;
  static __device__ type code(float v) { return (int8_t)max(-127, min(127, __float2int_rn(v))); }
};
template <> struct rows_output<ROWS_TO_F16> {
  typedef __half type;
  static __device__ type code(float v) { return __float2half_rn(v); }
};

/* A row's pieces in a block's registers. */
template <class In> struct rows_held {
  rows_piece<In> pieces[ROWS_PIECES];

  static __device__ int number(int i) { return (int)(threadIdx.x + (unsigned)i * blockDim.x); }
  __device__ void load(const In *row, int count) {
#pragma unroll
    for (int i = 0; i < ROWS_PIECES; i++) {
      if (number(i) < count) pieces[i].load(row + number(i) * ROWS_PIECE);
    }
  }
  __device__ uint32_t largest(int count) const {
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < ROWS_PIECES; i++) {
#pragma unroll
      for (int j = 0; j < ROWS_PIECE; j++) {
        if (number(i) < count) bits = max(bits, magnitude_bits(pieces[i].value(j)));
      }
    }
    return bits;
  }
};

/* Writes a row's codes. value(j): what the row's scale leaves of the piece's value j. */
template <class Output, class Value>
static __device__ __forceinline__ void rows_write(typename Output::type *to, Value value) {
  __align__(16) typename Output::type out[ROWS_PIECE];
#pragma unroll
  for (int j = 0; j < ROWS_PIECE; j++) out[j] = Output::code(value(j));
  if (sizeof out == 16)
    *(uint4 *)to = *(uint4 *)out;
  else
    *(uint2 *)to = *(uint2 *)out;
}

template <class In, rows_codes TO>
__global__ void __launch_bounds__(ROWS_MOST_THREADS)
    rows_kernel(const In *x, size_t stride, int k, typename rows_output<TO>::type *codes, float *scales) {
  typedef rows_output<TO> output;
  const int count = k / ROWS_PIECE;
  rows_held<In> held;
  held.load(x + blockIdx.x * stride, count);
  codes += blockIdx.x * (size_t)k;
  const uint32_t largest = block_largest(held.largest(count));
  const rows_division by(rows_scale<TO>(largest));
  if (threadIdx.x == 0) scales[blockIdx.x] = by.scale;
  if (by.plain) { /* among them all rows that are not finite, whose codes are 0 */
    const bool finite = largest < 0x7F800000;
#pragma unroll
    for (int i = 0; i < ROWS_PIECES; i++) {
      if (held.number(i) < count)
        rows_write<output>(codes + held.number(i) * ROWS_PIECE,
                           [&](int j) { return finite ? by.divided(held.pieces[i].value(j)) : 0; });
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < ROWS_PIECES; i++) {
    if (held.number(i) < count)
      rows_write<output>(codes + held.number(i) * ROWS_PIECE,
                         [&](int j) { return by.refined(held.pieces[i].value(j)); });
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
  for (int i = (int)threadIdx.x; i < k; i += ROWS_THREADS) largest = max(largest, magnitude_bits(rows_float(x[i])));
  largest = block_largest(largest);
  const float scale = rows_scale<TO>(largest);
  const bool finite = largest < 0x7F800000;
  const rows_division by(scale);
  if (threadIdx.x == 0) scales[blockIdx.x] = scale;
  for (int i = (int)threadIdx.x; i < k; i += ROWS_THREADS) {
    codes[i] = output::code(finite ? by.divided(rows_float(x[i])) : 0);
  }
}

/* Blocks of as few threads as hold a row. */
template <class In, rows_codes TO>
static cudaError_t launch_held(const In *x, size_t stride, int m, int k, typename rows_output<TO>::type *codes,
                               float *scales, cudaStream_t stream) {
  int threads = 128;
  while (threads * ROWS_PIECES * ROWS_PIECE < k) threads *= 2;
  rows_kernel<In, TO><<<m, threads, 0, stream>>>(x, stride, k, codes, scales);
  return cudaGetLastError();
}

template <rows_type TYPE, rows_codes TO>
static cudaError_t launch_rows(const void *x, size_t stride, int m, int k, void *codes, float *scales,
                               cudaStream_t stream) {
  typedef typename rows_input<TYPE>::type in;
  typedef typename rows_output<TO>::type out;
  const bool whole = k % ROWS_PIECE == 0 && stride * sizeof(in) % 16 == 0 && (size_t)x % 16 == 0 &&
                     (size_t)codes % 16 == 0 && k <= ROWS_PIECE * ROWS_PIECES * ROWS_MOST_THREADS;
  if (whole) return launch_held<in, TO>((const in *)x, stride, m, k, (out *)codes, scales, stream);
  rows_any_kernel<in, TO><<<m, ROWS_THREADS, 0, stream>>>((const in *)x, stride, k, (out *)codes, scales);
  return cudaGetLastError();
}

template <rows_type TYPE>
static cudaError_t launch_type(const void *x, size_t stride, int m, int k, rows_codes to, void *codes, float *scales,
                               cudaStream_t stream) {
  if (to == ROWS_TO_E4M3) return launch_rows<TYPE, ROWS_TO_E4M3>(x, stride, m, k, codes, scales, stream);
  if (to == ROWS_TO_INT8) return launch_rows<TYPE, ROWS_TO_INT8>(x, stride, m, k, codes, scales, stream);
  return launch_rows<TYPE, ROWS_TO_F16>(x, stride, m, k, codes, scales, stream);
}

int gemm_rows(rows_type type, const void *x, size_t stride, int m, int k, rows_codes to, void *codes, float *scales,
              void *stream) {
  cudaStream_t queue = (cudaStream_t)stream;
  if (m <= 0 || k <= 0) return cudaErrorInvalidValue;
  if (type == ROWS_F16) return launch_type<ROWS_F16>(x, stride, m, k, to, codes, scales, queue);
  if (type == ROWS_BF16) return launch_type<ROWS_BF16>(x, stride, m, k, to, codes, scales, queue);
  return launch_type<ROWS_F32>(x, stride, m, k, to, codes, scales, queue);
}
