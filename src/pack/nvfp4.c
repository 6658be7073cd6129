/* pack/nvfp4.c: rows of E2M1 codes with an E4M3 scale for each 16, chosen by one of three rules. */
#include <math.h>

#include "pack/twins.h"

#define FOUR          4.0f /* Four-over-Six: the block's largest weight becomes 4 in place of 6 */
#define BINADE        8    /* E4M3 codes from one power of two to the next */
#define LARGEST_CODE  0x7e /* 448 */
#define ZERO_REPLACED 0x20 /* 0.125, E4M3's epsilon: for a block whose scale rounds to 0 */

/* What a weight is multiplied with to give its code's value. `global` is kept where neither overflows (pack_settle). */
static float factor(const pack_spec *spec, float scale) {
  return spec->multiplier ? 1 / (scale * spec->global) : spec->global / scale;
}

/* Block scale that is nearest to absmax / code_value. */
static float wanted(const pack_spec *spec, float absmax, float code_value) {
  return spec->multiplier ? absmax / code_value / spec->global : absmax / code_value * spec->global;
}

/* Of NVFP4_TRIED codes the one with the least squared error, the first among equals; `six` when a NaN or an infinity makes
 * all errors so. */
static uint8_t least_error(const pack_spec *spec, const pack_twins *t, const float values[NVFP4_BLOCK],
                           const uint8_t tried[NVFP4_TRIED], uint8_t six) {
  float scales[NVFP4_TRIED], factors[NVFP4_TRIED], squares[NVFP4_TRIED], errors[NVFP4_TRIED];
  e4m3_to_f32_n(tried, scales, NVFP4_TRIED);
  for (size_t i = 0; i < NVFP4_TRIED; i++) {
    factors[i] = factor(spec, scales[i]);
    squares[i] = scales[i] * scales[i];
  }
  t->nvfp4_errors(values, factors, squares, errors);
  size_t best = 0;
  for (size_t i = 1; i < NVFP4_TRIED; i++)
    if (errors[i] < errors[best]) best = i;
  return errors[best] < INFINITY ? tried[best] : six;
}

/* six: the code of absmax / 6. Tried are the codes from half of it to just below twice it. */
static uint8_t search(const pack_spec *spec, const pack_twins *t, const float values[NVFP4_BLOCK], uint8_t six) {
  uint8_t tried[NVFP4_TRIED];
  for (int i = 0; i < NVFP4_TRIED; i++) {
    const int code = six - BINADE + i;
    tried[i] = (uint8_t)(code < 1 ? 1 : code > LARGEST_CODE ? LARGEST_CODE : code);
  }
  return least_error(spec, t, values, tried, six);
}

static uint8_t four_over_six(const pack_spec *spec, const pack_twins *t, const float values[NVFP4_BLOCK], float absmax,
                             uint8_t six) {
  uint8_t tried[NVFP4_TRIED], four = e4m3_from_f32(wanted(spec, absmax, FOUR));
  memset(tried, four, sizeof tried);
  tried[0] = six;
  return least_error(spec, t, values, tried, six);
}

/* codes[b]: the scale of each block of up to PACK_CHUNK columns. */
static void choose_scales(const pack_spec *spec, const pack_twins *t, const float *values, size_t count,
                          uint8_t *codes) {
  float absmax[PACK_MOST_SCALES], exact[PACK_MOST_SCALES], last[NVFP4_BLOCK] = {0};
  const size_t blocks = (count + NVFP4_BLOCK - 1) / NVFP4_BLOCK, whole = count / NVFP4_BLOCK;
  t->block_absmax(values, count, NVFP4_BLOCK, absmax);
  for (size_t b = 0; b < blocks; b++) exact[b] = wanted(spec, absmax[b], NVFP4_LARGEST);
  e4m3_from_f32_n(exact, codes, blocks);
  if (blocks > whole) memcpy(last, values + whole * NVFP4_BLOCK, (count - whole * NVFP4_BLOCK) * sizeof *last);
  for (size_t b = 0; b < blocks; b++) {
    const float *block = b < whole ? values + b * NVFP4_BLOCK : last;
    if (codes[b] == 0) /* too small for any scale */
      codes[b] = ZERO_REPLACED;
    else if (spec->search == NVFP4_SEARCH_MSE)
      codes[b] = search(spec, t, block, codes[b]);
    else if (spec->search == NVFP4_SEARCH_FOUR_OVER_SIX)
      codes[b] = four_over_six(spec, t, block, absmax[b], codes[b]);
  }
}

void nvfp4_pack_row(const pack_spec *spec, const pack_twins *t, const float *values, size_t cols, void *codes,
                    void *scales) {
  float factors[PACK_MOST_SCALES], scaled[PACK_CHUNK];
  uint8_t *code_bytes = codes, *scale_codes = scales;
  for (size_t c = 0; c < cols; c += PACK_CHUNK) {
    const size_t count = cols - c < PACK_CHUNK ? cols - c : PACK_CHUNK;
    const size_t blocks = (count + NVFP4_BLOCK - 1) / NVFP4_BLOCK, filled = blocks * NVFP4_BLOCK;
    choose_scales(spec, t, values + c, count, scale_codes);
    e4m3_to_f32_n(scale_codes, factors, blocks);
    for (size_t b = 0; b < blocks; b++) factors[b] = factor(spec, factors[b]);
    t->block_multiply(values + c, count, NVFP4_BLOCK, factors, scaled);
    for (size_t i = count; i < filled; i++) scaled[i] = 0;
    e2m1_from_f32_n(scaled, code_bytes + c / 2, filled);
    scale_codes += blocks;
  }
}
