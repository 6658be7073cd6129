/* format/gguf/dequant_32.c: blocks of 32 values, and NVFP4's of 64. Formulas: format/blocks.h. */
#include "format/gguf/blocks.h"
#include "format/gguf/dequant.h"

void dequant_q4_0(const void *from, float *to, size_t count) {
  const block_q4_0 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    float d = block_f16(block->d);
    for (int j = 0; j < 16; j++) {
      to[j] = d * (float)((block->nibbles[j] & 0x0f) - 8);
      to[j + 16] = d * (float)((block->nibbles[j] >> 4) - 8);
    }
  }
}

void dequant_q4_1(const void *from, float *to, size_t count) {
  const block_q4_1 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    float d = block_f16(block->d);
    float m = block_f16(block->m);
    for (int j = 0; j < 16; j++) {
      to[j] = d * (float)(block->nibbles[j] & 0x0f) + m;
      to[j + 16] = d * (float)(block->nibbles[j] >> 4) + m;
    }
  }
}

void dequant_q5_0(const void *from, float *to, size_t count) {
  const block_q5_0 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    float d = block_f16(block->d);
    uint32_t fifth = block_u32(block->fifth);
    for (int j = 0; j < 16; j++) {
      int low = (block->nibbles[j] & 0x0f) | (int)((fifth >> j) & 1) << 4;
      int high = (block->nibbles[j] >> 4) | (int)((fifth >> (j + 16)) & 1) << 4;
      to[j] = d * (float)(low - 16);
      to[j + 16] = d * (float)(high - 16);
    }
  }
}

void dequant_q5_1(const void *from, float *to, size_t count) {
  const block_q5_1 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    float d = block_f16(block->d);
    float m = block_f16(block->m);
    uint32_t fifth = block_u32(block->fifth);
    for (int j = 0; j < 16; j++) {
      int low = (block->nibbles[j] & 0x0f) | (int)((fifth >> j) & 1) << 4;
      int high = (block->nibbles[j] >> 4) | (int)((fifth >> (j + 16)) & 1) << 4;
      to[j] = d * (float)low + m;
      to[j + 16] = d * (float)high + m;
    }
  }
}

void dequant_q8_0(const void *from, float *to, size_t count) {
  const block_q8_0 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    float d = block_f16(block->d);
    for (int j = 0; j < BLOCK_32; j++) to[j] = (float)(int8_t)block->codes[j] * d;
  }
}

void dequant_iq4_nl(const void *from, float *to, size_t count) {
  const block_iq4_nl *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    float d = block_f16(block->d);
    for (int j = 0; j < 16; j++) {
      to[j] = d * (float)iq4_values[block->nibbles[j] & 0x0f];
      to[j + 16] = d * (float)iq4_values[block->nibbles[j] >> 4];
    }
  }
}

void dequant_mxfp4(const void *from, float *to, size_t count) {
  const block_mxfp4 *block = from;
  for (size_t n = count / BLOCK_32; n > 0; n--, block++, to += BLOCK_32) {
    float d = mxfp4_half_scale(block->exponent);
    for (int j = 0; j < 16; j++) {
      to[j] = d * (float)fp4_doubled[block->nibbles[j] & 0x0f];
      to[j + 16] = d * (float)fp4_doubled[block->nibbles[j] >> 4];
    }
  }
}

void dequant_nvfp4(const void *from, float *to, size_t count) {
  const block_nvfp4 *block = from;
  for (size_t n = count / BLOCK_NVFP4; n > 0; n--, block++, to += BLOCK_NVFP4) {
    for (int s = 0; s < 4; s++) {
      float d = nvfp4_half_scale(block->scales[s]);
      const uint8_t *nibbles = block->nibbles + 8 * s;
      for (int j = 0; j < 8; j++) {
        to[16 * s + j] = d * (float)fp4_doubled[nibbles[j] & 0x0f];
        to[16 * s + j + 8] = d * (float)fp4_doubled[nibbles[j] >> 4];
      }
    }
  }
}
