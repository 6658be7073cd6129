/* tests/pack/pack_cases.h: every packed form, and values of every kind, for what must make the bytes of pack_rows. */
#ifndef TESTS_PACK_CASES_H
#define TESTS_PACK_CASES_H

#include "number/mix.h"
#include "pack/pack.h"

/* As initializers, with every option that changes the bytes. */
#define PACK_CASE_LIST                                                                                                 \
  {.format = WEIGHT_FP8}, {.format = WEIGHT_FP8, .scale = SCALE_F16}, {.format = WEIGHT_FP8, .scale = SCALE_E8M0},     \
      {.format = WEIGHT_FP8, .block = 16}, {.format = WEIGHT_FP8, .block = 32, .scale = SCALE_F16},                    \
      {.format = WEIGHT_FP8, .block = 64, .scale = SCALE_E8M0}, {.format = WEIGHT_FP8, .block = 128},                  \
      {.format = WEIGHT_INT8_24}, {.format = WEIGHT_INT4_24}, {.format = WEIGHT_INT4_24, .pairs = 1},                  \
      {.format = WEIGHT_INT4_24, .block = 32, .scale = SCALE_F16},                                                     \
      {.format = WEIGHT_INT4_24, .block = 32, .scale = SCALE_F16, .pairs = 1},                                         \
      {.format = WEIGHT_INT4_24, .block = 64}, {.format = WEIGHT_INT4_24, .block = 64, .pairs = 1},                    \
      {.format = WEIGHT_INT4_24, .block = 128}, {.format = WEIGHT_INT4_24, .block = 128, .scale = SCALE_F16},          \
      {.format = WEIGHT_NVFP4, .block = 16, .scale = SCALE_E4M3, .search = NVFP4_SEARCH_MSE},                          \
      {.format = WEIGHT_NVFP4, .block = 16, .scale = SCALE_E4M3, .search = NVFP4_SEARCH_ABSMAX},                       \
      {.format = WEIGHT_NVFP4, .block = 16, .scale = SCALE_E4M3, .search = NVFP4_SEARCH_ABSMAX, .multiplier = 1},      \
      {.format = WEIGHT_NVFP4, .block = 16, .scale = SCALE_E4M3, .search = NVFP4_SEARCH_FOUR_OVER_SIX},                \
      {.format = WEIGHT_NVFP4,                                                                                         \
       .block = 16,                                                                                                    \
       .scale = SCALE_E4M3,                                                                                            \
       .search = NVFP4_SEARCH_FOUR_OVER_SIX,                                                                           \
       .multiplier = 1},                                                                                               \
  {                                                                                                                    \
    .format = WEIGHT_NVFP4, .block = 16, .scale = SCALE_E4M3, .search = NVFP4_SEARCH_NEAR                              \
  }

static const pack_spec pack_cases[] = {PACK_CASE_LIST};
#define PACK_CASES (sizeof pack_cases / sizeof *pack_cases)

/* Values of many sizes: Gaussian-like, equal magnitudes, zeros of both signs, subnormals, near FP32's end; with `wild` NaN of
 * both signs and infinities among them. */
static inline void pack_case_fill(float *values, size_t count, uint64_t seed, int wild) {
  for (size_t i = 0; i < count; i++) {
    const uint64_t x = mix64(seed + i);
    const float sign = x >> 8 & 1 ? -1.0f : 1.0f, size = (float)(x >> 40) * 0x1p-24f;
    switch (x % 16) {
    case 0: values[i] = sign * 0; break;
    case 1: values[i] = sign * 0.5f; break;
    case 2: values[i] = sign * size * 0x1p-130f; break;
    case 3: values[i] = sign * size * 0x1p-12f; break;
    case 4:
      values[i] = wild && (x >> 12) % 8 == 0 ? f32_from_bits(0x7f800000u | (uint32_t)(x >> 32)) : sign * size;
      break;
    default: values[i] = sign * size * (x % 16 == 5 && seed % 3 == 0 ? 0x1.8p127f : 1); break;
    }
  }
}

#endif
