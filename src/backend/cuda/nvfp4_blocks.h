/* backend/cuda/nvfp4_blocks.h: FP32 values into blocks of NVFP4 and back, byte for byte as src/compress has them
 * (pack/nvfp4_math.h is the arithmetic of both). Each call queues on a stream (cudaStream_t) and returns 0 or a cudaError_t.
 * Pointers are the device's.
 *
 *   nvfp4_blocks_absmax(values, count, bits, stream);          *bits, zeroed before: the largest magnitude's bits
 *   b.number = (1 / absmax) · 2688, at most 2^118
 *   nvfp4_blocks_compress(&b, stream);
 *   nvfp4_blocks_decompress(&b, to, stream);
 */
#ifndef CUDA_NVFP4_BLOCKS_H
#define CUDA_NVFP4_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "pack/nvfp4_math.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nvfp4_blocks {
  const float *values; /* [count], finite; 16-byte aligned. Not read by decompress */
  size_t count;
  float number;             /* G */
  const nvfp4_table *table; /* NULL: scales by absmax; else of this number (nvfp4_make_table): NVFP4_SEARCH_NEAR */
  uint8_t *scales;          /* E4M3 [ceil(count / 16)] */
  uint8_t *codes;           /* [8 · ceil(count / 16)], 8-byte aligned; zeros behind the last value */
} nvfp4_blocks;

/* *bits becomes the greatest of itself and of the magnitudes' bits: at least 0x7f800000 when one is NaN or infinite. */
int nvfp4_blocks_absmax(const float *values, size_t count, uint32_t *bits, void *stream);
int nvfp4_blocks_compress(const nvfp4_blocks *b, void *stream);
/* to: [count], 16-byte aligned. */
int nvfp4_blocks_decompress(const nvfp4_blocks *b, float *to, void *stream);

#ifdef __cplusplus
}
#endif
#endif
