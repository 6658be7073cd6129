/* weight_device.cuh: the values of a weight (number/layout.h, pack/weight.h) on the device, eight columns at a time: for
 * kernels that may be slow and must be right. */
#ifndef CUDA_WEIGHT_DEVICE_CUH
#define CUDA_WEIGHT_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <math_constants.h>

#include "pack/weight.h"

#define WEIGHT_OCTET 8

static __device__ __forceinline__ float e4m3_value(uint8_t code) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}

/* Scale of block b of a row, as weight_scale gives it on the host. */
static __device__ __forceinline__ float device_scale(const weight &w, size_t row, size_t b) {
  const uint8_t *at = (const uint8_t *)w.scales + row * w.scale_row_bytes;
  if (w.scales_type == SCALE_F32) return ((const float *)at)[b];
  if (w.scales_type == SCALE_F16) return __half2float(((const __half *)at)[b]);
  if (w.scales_type == SCALE_E4M3) return e4m3_value(at[b]);
  return at[b] == 0 ? 0x1p-127f : at[b] == 0xFF ? CUDART_NAN_F : __uint_as_float((uint32_t)at[b] << 23);
}

/* weight_row_scale */
static __device__ __forceinline__ float device_row_scale(const weight &w, size_t row) {
  if (w.format <= WEIGHT_F16) return 1;
  if (w.format == WEIGHT_NVFP4) return w.global_divides ? __fdiv_rn(1, w.global) : w.global;
  return w.block ? 1 : device_scale(w, row, 0);
}

/* -- codes of columns [c, c + 8) of a row as FP32, without scales; c is a multiple of 8. What lies beyond the row is 0. */

template <weight_format FORMAT> struct octet_of;

/* An octet of `bytes` a column, by one load where it can be. */
template <class Code>
static __device__ __forceinline__ void read_octet(const weight &w, size_t row, size_t c, Code *to) {
  const Code *from = reinterpret_cast<const Code *>((const uint8_t *)w.data + row * w.row_bytes) + c;
  const bool whole = c + WEIGHT_OCTET <= w.cols;
  if (sizeof(Code) == 1 && whole && (size_t)from % 8 == 0) {
    *reinterpret_cast<uint2 *>(to) = *reinterpret_cast<const uint2 *>(from);
  } else if (sizeof(Code) > 1 && whole && (size_t)from % 16 == 0) {
#pragma unroll
    for (int i = 0; i < (int)(sizeof(Code) * WEIGHT_OCTET / 16); i++)
      reinterpret_cast<uint4 *>(to)[i] = reinterpret_cast<const uint4 *>(from)[i];
  } else {
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) to[i] = c + (size_t)i < w.cols ? from[i] : Code{};
  }
}

template <> struct octet_of<WEIGHT_F32> {
  static __device__ void load(const weight &w, size_t row, size_t c, float (&v)[WEIGHT_OCTET]) {
    __align__(16) float codes[WEIGHT_OCTET];
    read_octet(w, row, c, codes);
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) v[i] = codes[i];
  }
};

template <> struct octet_of<WEIGHT_BF16> {
  static __device__ void load(const weight &w, size_t row, size_t c, float (&v)[WEIGHT_OCTET]) {
    __align__(16) uint16_t codes[WEIGHT_OCTET];
    read_octet(w, row, c, codes);
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) v[i] = __uint_as_float((uint32_t)codes[i] << 16);
  }
};

template <> struct octet_of<WEIGHT_F16> {
  static __device__ void load(const weight &w, size_t row, size_t c, float (&v)[WEIGHT_OCTET]) {
    __align__(16) uint16_t codes[WEIGHT_OCTET];
    read_octet(w, row, c, codes);
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) v[i] = __half2float(__ushort_as_half(codes[i]));
  }
};

template <> struct octet_of<WEIGHT_FP8> {
  static __device__ void load(const weight &w, size_t row, size_t c, float (&v)[WEIGHT_OCTET]) {
    __align__(8) uint8_t codes[WEIGHT_OCTET];
    read_octet(w, row, c, codes);
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) v[i] = e4m3_value(codes[i]);
  }
};

template <> struct octet_of<WEIGHT_NVFP4> {
  static __device__ void load(const weight &w, size_t row, size_t c, float (&v)[WEIGHT_OCTET]) {
    const uint8_t *codes = (const uint8_t *)w.data + row * w.row_bytes + c / 2;
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) {
      const uint32_t code = c + (size_t)i < w.cols ? (uint32_t)codes[i / 2] >> 4 * (i & 1) & 15 : 0;
      /* e2m1 as the high bits of an FP32: exponent 2 bits, fraction 1; the factor mends the bias */
      v[i] = __uint_as_float((code & 8) << 28 | (code & 7) << 22) * 0x1p126f;
    }
  }
};

/* The two groups of an octet: kept codes k[0], k[1] of the first, k[2], k[3] of the second, and a byte of two nibbles.
 * Their columns lie as weight.pairs says. */
static __device__ __forceinline__ void spread_octet(const weight &w, size_t c, const int (&k)[4], uint32_t index,
                                                    float (&v)[WEIGHT_OCTET]) {
#pragma unroll
  for (int i = 0; i < WEIGHT_OCTET; i++) {
    const int place = w.pairs ? i / 2 + 4 * (i & 1) : i; /* of column i in the block */
    const int first = place / 4 ? k[2] : k[0], second = place / 4 ? k[3] : k[1];
    const uint32_t nibble = index >> place / 4 * 4 & 15, at = (uint32_t)place % 4;
    const int code = (nibble & 3) == at ? first : nibble >> 2 == at ? second : 0;
    v[i] = c + (size_t)i < w.cols ? (float)code : 0;
  }
}

template <> struct octet_of<WEIGHT_INT8_24> {
  static __device__ void load(const weight &w, size_t row, size_t c, float (&v)[WEIGHT_OCTET]) {
    const int8_24_block *block =
        (const int8_24_block *)((const uint8_t *)w.data + row * w.row_bytes) + c / SPARSE_24_COLUMNS;
    const size_t octet = c % SPARSE_24_COLUMNS / WEIGHT_OCTET;
    int kept[4];
#pragma unroll
    for (int i = 0; i < 4; i++) kept[i] = block->codes[4 * octet + i];
    spread_octet(w, c, kept, block->index[octet], v);
  }
};

template <> struct octet_of<WEIGHT_INT4_24> {
  static __device__ void load(const weight &w, size_t row, size_t c, float (&v)[WEIGHT_OCTET]) {
    const int4_24_block *block =
        (const int4_24_block *)((const uint8_t *)w.data + row * w.row_bytes) + c / SPARSE_24_COLUMNS;
    const size_t octet = c % SPARSE_24_COLUMNS / WEIGHT_OCTET;
    int kept[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint32_t byte = block->codes[2 * octet + i / 2];
      kept[i] = (int)(byte << (28 - 4 * (i & 1))) >> 28; /* the nibble's sign spreads */
    }
    spread_octet(w, c, kept, block->index[octet], v);
  }
};

/* Codes times the scales of their blocks, each product rounded. */
template <weight_format FORMAT>
static __device__ __forceinline__ void load_octet(const weight &w, size_t row, size_t c, float (&v)[WEIGHT_OCTET]) {
  octet_of<FORMAT>::load(w, row, c, v);
  if (FORMAT <= WEIGHT_F16 || w.block == 0) return;
  if (w.block % WEIGHT_OCTET == 0) {
    const float scale = device_scale(w, row, c / w.block);
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++) v[i] = __fmul_rn(v[i], scale);
  } else {
#pragma unroll
    for (int i = 0; i < WEIGHT_OCTET; i++)
      if (c + (size_t)i < w.cols) v[i] = __fmul_rn(v[i], device_scale(w, row, (c + (size_t)i) / w.block));
  }
}

#endif
