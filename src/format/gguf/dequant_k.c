/* format/gguf/dequant_k.c: blocks of 256 values. Formulas: format/blocks.h. s counts runs of 32 values. */
#include "format/gguf/blocks.h"
#include "format/gguf/dequant.h"

void dequant_q2_k(const void *from, float *to, size_t count) {
  const block_q2_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    float d = block_f16(block->d);
    float dmin = block_f16(block->dmin);
    for (int i = 0; i < BLOCK_K; i++) {
      int code = (block->codes[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 0x03;
      float scale = d * (float)(block->scales[i / 16] & 0x0f);
      float min = dmin * (float)(block->scales[i / 16] >> 4);
      to[i] = scale * (float)code - min;
    }
  }
}

void dequant_q3_k(const void *from, float *to, size_t count) {
  const block_q3_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    float d = block_f16(block->d);
    for (int r = 0; r < 16; r++) { /* runs of 16 values share a scale */
      float scale = d * (float)q3_k_scale(block->scales, r);
      int s = r / 2;
      for (int j = 16 * (r % 2); j < 16 * (r % 2) + 16; j++) {
        int code = (block->codes[s / 4 * 32 + j] >> (2 * (s % 4))) & 0x03;
        int high = (block->high[j] >> s) & 1;
        to[32 * s + j] = scale * (float)(code - (high ? 0 : 4));
      }
    }
  }
}

void dequant_q4_k(const void *from, float *to, size_t count) {
  const block_q4_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    float d = block_f16(block->d);
    float dmin = block_f16(block->dmin);
    for (int s = 0; s < 8; s++) {
      uint8_t scale_code, min_code;
      k_scale_min(block->scales, s, &scale_code, &min_code);
      float scale = d * (float)scale_code;
      float min = dmin * (float)min_code;
      for (int j = 0; j < 32; j++) {
        int code = (block->nibbles[s / 2 * 32 + j] >> (4 * (s % 2))) & 0x0f;
        to[32 * s + j] = scale * (float)code - min;
      }
    }
  }
}

void dequant_q5_k(const void *from, float *to, size_t count) {
  const block_q5_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    float d = block_f16(block->d);
    float dmin = block_f16(block->dmin);
    for (int s = 0; s < 8; s++) {
      uint8_t scale_code, min_code;
      k_scale_min(block->scales, s, &scale_code, &min_code);
      float scale = d * (float)scale_code;
      float min = dmin * (float)min_code;
      for (int j = 0; j < 32; j++) {
        int code = (block->nibbles[s / 2 * 32 + j] >> (4 * (s % 2))) & 0x0f;
        code |= ((block->fifth[j] >> s) & 1) << 4;
        to[32 * s + j] = scale * (float)code - min;
      }
    }
  }
}

void dequant_q6_k(const void *from, float *to, size_t count) {
  const block_q6_k *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    float d = block_f16(block->d);
    for (int r = 0; r < 16; r++) { /* runs of 16 values share a scale */
      float scale = d * (float)(int8_t)block->scales[r];
      int half = r / 8, s = r / 2 % 4; /* of 128 values, and of 32 within them */
      for (int j = 16 * (r % 2); j < 16 * (r % 2) + 16; j++) {
        int low = (block->low[64 * half + 32 * (s % 2) + j] >> (4 * (s / 2))) & 0x0f;
        int high = (block->high[32 * half + j] >> (2 * s)) & 0x03;
        to[128 * half + 32 * s + j] = scale * (float)((low | high << 4) - 32);
      }
    }
  }
}

void dequant_iq4_xs(const void *from, float *to, size_t count) {
  const block_iq4_xs *block = from;
  for (size_t n = count / BLOCK_K; n > 0; n--, block++, to += BLOCK_K) {
    float d = block_f16(block->d);
    for (int s = 0; s < 8; s++) {
      float scale = d * (float)iq4_xs_scale(block, s);
      const uint8_t *nibbles = block->nibbles + 16 * s;
      for (int j = 0; j < 16; j++) {
        to[32 * s + j] = scale * (float)iq4_values[nibbles[j] & 0x0f];
        to[32 * s + j + 16] = scale * (float)iq4_values[nibbles[j] >> 4];
      }
    }
  }
}
