/* format/gguf/blocks.h: the packed blocks of GGUF files, each defined once. All members are bytes, so that a block may lie
 * at any address. Numbers of two bytes are little endian; "d" and "m" are F16.
 *
 * The meaning of a code q, its scale and its minimum stands with each block; every arithmetic operation is one FP32
 * operation, in the order of the gguf Python package, which is the reference.
 */
#ifndef FORMAT_GGUF_BLOCKS_H
#define FORMAT_GGUF_BLOCKS_H

#include <assert.h>

#include "number/number.h"

#define BLOCK_32 32  /* values in a block of the first generation */
#define BLOCK_K  256 /* values in a block of the K and IQ types ("super-block") */

/* Nibbles: byte j holds value j in its low half and value j + 16 in its high half. */
typedef struct block_q4_0 { /* (q − 8) · d */
  uint8_t d[2];
  uint8_t nibbles[16];
} block_q4_0;
static_assert(sizeof(block_q4_0) == 18, "as in the file");

typedef struct block_q4_1 { /* q · d + m */
  uint8_t d[2], m[2];
  uint8_t nibbles[16];
} block_q4_1;
static_assert(sizeof(block_q4_1) == 20, "as in the file");

typedef struct block_q5_0 { /* (q − 16) · d */
  uint8_t d[2];
  uint8_t fifth[4]; /* bit j: the fifth bit of value j */
  uint8_t nibbles[16];
} block_q5_0;
static_assert(sizeof(block_q5_0) == 22, "as in the file");

typedef struct block_q5_1 { /* q · d + m */
  uint8_t d[2], m[2];
  uint8_t fifth[4];
  uint8_t nibbles[16];
} block_q5_1;
static_assert(sizeof(block_q5_1) == 24, "as in the file");

typedef struct block_q8_0 { /* q · d, q signed */
  uint8_t d[2];
  uint8_t codes[32];
} block_q8_0;
static_assert(sizeof(block_q8_0) == 34, "as in the file");

/* d · scale[i / 16] · q − dmin · min[i / 16] */
typedef struct block_q2_k {
  uint8_t scales[16]; /* scale in the low half, min in the high half */
  uint8_t codes[64];  /* 32 bytes hold 128 values: value 32 s + j in bits 2 s of byte j */
  uint8_t d[2], dmin[2];
} block_q2_k;
static_assert(sizeof(block_q2_k) == 84, "as in the file");

/* d · (scale[i / 16] − 32) · (q − 4 if the high bit is 0) */
typedef struct block_q3_k {
  uint8_t high[32];  /* value 32 s + j: bit s of byte j */
  uint8_t codes[64]; /* as in block_q2_k */
  uint8_t
      scales[12]; /* sixteen of 6 bits: bytes 0-7 low nibbles of 0-7 and 8-15, bytes 8-11 high pairs of i, i+4 ... */
  uint8_t d[2];
} block_q3_k;
static_assert(sizeof(block_q3_k) == 110, "as in the file");

/* d · scale[i / 32] · q − dmin · min[i / 32] */
typedef struct block_q4_k {
  uint8_t d[2], dmin[2];
  uint8_t scales[12];   /* eight scales and eight minima of 6 bits: see k_scale_min */
  uint8_t nibbles[128]; /* 32 bytes hold 64 values: the low halves, then the high halves */
} block_q4_k;
static_assert(sizeof(block_q4_k) == 144, "as in the file");

typedef struct block_q5_k { /* as block_q4_k */
  uint8_t d[2], dmin[2];
  uint8_t scales[12];
  uint8_t fifth[32]; /* value 32 s + j: bit s of byte j */
  uint8_t nibbles[128];
} block_q5_k;
static_assert(sizeof(block_q5_k) == 176, "as in the file");

/* d · scale[i / 16] · (q − 32) */
typedef struct block_q6_k {
  uint8_t low[128];   /* 64 bytes hold 128 values: the low halves, then the high halves */
  uint8_t high[64];   /* 32 bytes hold 128 values: value 32 s + j in bits 2 s of byte j */
  uint8_t scales[16]; /* signed */
  uint8_t d[2];
} block_q6_k;
static_assert(sizeof(block_q6_k) == 210, "as in the file");

typedef struct block_iq4_nl { /* d · iq4_values[q] */
  uint8_t d[2];
  uint8_t nibbles[16];
} block_iq4_nl;
static_assert(sizeof(block_iq4_nl) == 18, "as in the file");

/* d · (scale[i / 32] − 32) · iq4_values[q] */
typedef struct block_iq4_xs {
  uint8_t d[2];
  uint8_t scales_high[2]; /* bits 2 s: the high two bits of scale s */
  uint8_t scales_low[4];  /* nibble s: the low four bits of scale s */
  uint8_t nibbles[128];   /* 16 bytes hold 32 values, as in block_q4_0 */
} block_iq4_xs;
static_assert(sizeof(block_iq4_xs) == 136, "as in the file");

typedef struct block_mxfp4 { /* 2^(exponent − 128) · fp4_doubled[q] */
  uint8_t exponent;
  uint8_t nibbles[16];
} block_mxfp4;
static_assert(sizeof(block_mxfp4) == 17, "as in the file");

/* scale[i / 16] / 2 · fp4_doubled[q]. Nibbles: within 16 values, byte j holds values j and j + 8. */
typedef struct block_nvfp4 {
  uint8_t scales[4]; /* unsigned E4M3: see nvfp4_half_scale */
  uint8_t nibbles[32];
} block_nvfp4;
static_assert(sizeof(block_nvfp4) == 36, "as in the file");

#define BLOCK_NVFP4 64 /* values in a block_nvfp4 */

/* The non-linear code book of the IQ4 types (ggml, kvalues_iq4nl). */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* E2M1 times two, whole numbers; −0 has become 0, as in the reference. */
static const int8_t fp4_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static inline uint16_t block_u16(const uint8_t bytes[2]) { return (uint16_t)(bytes[0] | bytes[1] << 8); }
static inline uint32_t block_u32(const uint8_t bytes[4]) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}
static inline float block_f16(const uint8_t bytes[2]) { return f16_to_f32(block_u16(bytes)); }

/* Scale and minimum i < 8 of the twelve bytes in block_q4_k and block_q5_k: 0-3 lie in the low six bits of bytes 0-7,
 * 4-7 have their low four bits in bytes 8-11 and their high two bits in the high bits of bytes 0-7. */
static inline void k_scale_min(const uint8_t scales[12], int i, uint8_t *scale, uint8_t *min) {
  if (i < 4) {
    *scale = scales[i] & 0x3f;
    *min = scales[i + 4] & 0x3f;
    return;
  }
  *scale = (uint8_t)((scales[i + 4] & 0x0f) | ((scales[i - 4] >> 2) & 0x30));
  *min = (uint8_t)((scales[i + 4] >> 4) | ((scales[i] >> 2) & 0x30));
}

/* Scale i < 16 of block_q3_k, with its offset taken off. */
static inline int q3_k_scale(const uint8_t scales[12], int i) {
  int low = (scales[i & 7] >> (i < 8 ? 0 : 4)) & 0x0f;
  int high = (scales[8 + (i & 3)] >> (2 * (i >> 2))) & 0x03;
  return (low | high << 4) - 32;
}

/* Scale s < 8 of block_iq4_xs, with its offset taken off. */
static inline int iq4_xs_scale(const block_iq4_xs *block, int s) {
  int low = (block->scales_low[s >> 1] >> (4 * (s & 1))) & 0x0f;
  int high = (block_u16(block->scales_high) >> (2 * s)) & 0x03;
  return (low | high << 4) - 32;
}

/* 2^(exponent − 128), half of E8M0's value because fp4_doubled is twice E2M1's. 255 is no NaN here. */
static inline float mxfp4_half_scale(uint8_t exponent) {
  return f32_from_bits(exponent < 2 ? 0x00200000u << exponent : (uint32_t)(exponent - 1) << 23);
}

/* Half of an E4M3 number without sign (the highest bit is ignored); 0x7F counts as 0, as in the reference. */
static inline float nvfp4_half_scale(uint8_t code) {
  if (code == 0x7f) return 0.0f;
  uint32_t exponent = (code >> 3) & 0x0fu;
  uint32_t mantissa = code & 0x07u;
  if (exponent == 0) return (float)mantissa * 0x1p-10f;
  return f32_from_bits((exponent + (127 - 7 - 1)) << 23 | mantissa << 20);
}

#endif
