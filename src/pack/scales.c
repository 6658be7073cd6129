/* pack/scales.c: one rule for the scales of FP8 and of the 2:4 formats. */
#include "pack/pack_kernels.h"
#include "pack/pack_unit.h"

#define F16_LEAST   0x1p-19f /* 6 significant bits: F16's subnormals are multiples of 2^-24 */
#define F16_LARGEST 65504.0f
#define E8M0_LEAST  0x1p-127f  /* code 0 */
#define E8M0_MOST   0x1.fp127f /* from here on E4M3 rounds to 2^128, which FP32 has not */

float pack_largest(weight_format format) {
  switch (format) {
  case WEIGHT_FP8: return FP8_LARGEST;
  case WEIGHT_INT8_24: return INT8_LARGEST;
  case WEIGHT_INT4_24: return INT4_LARGEST;
  case WEIGHT_NVFP4: return NVFP4_LARGEST;
  default: return 1;
  }
}

scale_type pack_scale_type(const pack_spec *spec) {
  if (spec->format == WEIGHT_NVFP4) return SCALE_E4M3;
  return spec->format == WEIGHT_FP8 || spec->format == WEIGHT_INT4_24 ? spec->scale : SCALE_F32;
}

size_t pack_block(const pack_spec *spec) {
  if (spec->format == WEIGHT_NVFP4) return NVFP4_BLOCK;
  return spec->format == WEIGHT_FP8 || spec->format == WEIGHT_INT4_24 ? spec->block : 0;
}

int scale_fits(scale_type type, float largest, float absmax) {
  const float scale = pack_exact_scale(largest, absmax);
  if (type == SCALE_E8M0) return scale >= E8M0_LEAST && absmax < E8M0_MOST;
  if (type != SCALE_F16) return 1;
  const float stored = f16_to_f32(f16_from_f32(scale));
  return stored >= F16_LEAST && stored <= F16_LARGEST;
}

void scales_store(scale_type type, float largest, float *scales, size_t count, void *to) {
  uint8_t *bytes = to;
  for (size_t i = 0; i < count; i++) scales[i] = pack_exact_scale(largest, scales[i]);
  switch (type) {
  case SCALE_F32: memcpy(to, scales, count * sizeof *scales); return;
  case SCALE_F16:
    f16_from_f32_n(scales, to, count);
    f16_to_f32_n(to, scales, count);
    return;
  case SCALE_E8M0:
    for (size_t i = 0; i < count; i++) bytes[i] = e8m0_from_f32_up(scales[i]);
    e8m0_to_f32_n(to, scales, count);
    return;
  case SCALE_E4M3: return; /* NVFP4's, which nvfp4.c makes */
  }
}
