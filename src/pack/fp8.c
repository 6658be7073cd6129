/* pack/fp8.c: rows of E4M3 codes with a scale for the row or for each block. */
#include "pack/pack_kernels.h"

static int pack_whole(const pack_spec *spec, const float *values, size_t cols, void *codes, void *scales) {
  int nonfinite = 0;
  float scale = f32_absmax_n(values, cols, &nonfinite);
  scales_store(spec->scale, FP8_LARGEST, &scale, 1, scales);
  e4m3_scaled_from_f32_n(values, scale, codes, cols);
  return nonfinite;
}

int fp8_pack_row(const pack_spec *spec, const pack_kernels *t, const float *values, size_t cols, void *codes,
                 void *scales) {
  float block_scales[PACK_MOST_SCALES], scaled[PACK_CHUNK];
  uint8_t *code_bytes = codes, *scale_row = scales;
  const size_t block = spec->block;
  int nonfinite = 0;
  if (block == 0) return pack_whole(spec, values, cols, codes, scales);
  for (size_t c = 0; c < cols; c += PACK_CHUNK) {
    const size_t count = cols - c < PACK_CHUNK ? cols - c : PACK_CHUNK, blocks = (count + block - 1) / block;
    nonfinite |= t->block_absmax(values + c, count, block, block_scales);
    scales_store(spec->scale, FP8_LARGEST, block_scales, blocks, scale_row);
    t->block_divide(values + c, count, block, block_scales, scaled);
    e4m3_from_f32_n(scaled, code_bytes + c, count);
    scale_row += blocks * scale_bytes(spec->scale);
  }
  return nonfinite;
}
