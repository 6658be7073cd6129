/* pack/survey.c: what must be known of a whole matrix before its rows are packed. */
#include "pack/pack.h"
#include "pack/pack_kernels.h"

#define GLOBAL_MOST  0x1p118f /* so that global / scale is finite for E4M3's least scale, 2^-9 */
#define GLOBAL_LEAST 0x1p-118f

int pack_needs_survey(const pack_spec *spec) {
  return spec->format == WEIGHT_NVFP4 || pack_scale_type(spec) != SCALE_F32;
}

/* The range of the scales of a row: all fit when the smallest and the largest do. */
typedef struct absmax_range {
  float least, most; /* not 0; least > most: there are none */
} absmax_range;

static void widen(absmax_range *range, float absmax) {
  if (absmax == 0) return;
  if (absmax < range->least) range->least = absmax;
  if (absmax > range->most) range->most = absmax;
}

/* Returns 1 when a value is NaN or infinite. */
static int row_range(const pack_spec *spec, const pack_kernels *t, const float *values, size_t cols,
                     absmax_range *range) {
  const size_t block = pack_block(spec);
  int nonfinite = 0;
  if (block == 0 || spec->format == WEIGHT_NVFP4) { /* of NVFP4 only the largest is wanted */
    widen(range, f32_absmax_n(values, cols, &nonfinite));
    return nonfinite;
  }
  for (size_t c = 0; c < cols; c += PACK_CHUNK) {
    const size_t count = cols - c < PACK_CHUNK ? cols - c : PACK_CHUNK, blocks = (count + block - 1) / block;
    float absmax[PACK_MOST_SCALES];
    nonfinite |= t->block_absmax(values + c, count, block, absmax);
    for (size_t b = 0; b < blocks; b++) widen(range, absmax[b]);
  }
  return nonfinite;
}

void pack_survey_rows(const pack_spec *spec, const float *values, size_t stride, size_t row, size_t rows, size_t cols,
                      pack_survey *survey) {
  const pack_kernels *kernels = pack_kernels_best();
  const scale_type type = pack_scale_type(spec);
  const float largest = pack_largest(spec->format);
  for (size_t r = 0; r < rows; r++) {
    const float *from = values + r * stride;
    absmax_range range = {f32_from_bits(0x7f800000u), 0};
    if (row_range(spec, kernels, from, cols, &range) && !spec->allow_nonfinite) {
      const pack_survey here = {.bad = {1, row + r, f32_find_nonfinite_n(from, cols)}};
      pack_survey_merge(survey, &here);
    }
    if (range.most == 0) continue;
    if (range.most > survey->absmax) survey->absmax = range.most;
    if (!scale_fits(type, largest, range.least) || !scale_fits(type, largest, range.most)) survey->scales_bad = 1;
  }
}

void pack_survey_merge(pack_survey *into, const pack_survey *other) {
  const pack_place *a = &into->bad, *b = &other->bad;
  if (other->absmax > into->absmax) into->absmax = other->absmax;
  into->scales_bad |= other->scales_bad;
  if (b->found && (!a->found || b->row < a->row || (b->row == a->row && b->col < a->col))) into->bad = *b;
}

void pack_settle(pack_spec *spec, const pack_survey *survey) {
  if (spec->format != WEIGHT_NVFP4) {
    if (survey->scales_bad && !weight_dense(spec->format)) spec->scale = SCALE_F32;
    return;
  }
  spec->global = 1;
  if (survey->absmax == 0) return;
  if (spec->multiplier) {
    const float global = survey->absmax / NVFP4_GLOBAL_RANGE;
    spec->global = global < GLOBAL_LEAST ? GLOBAL_LEAST : global;
  } else {
    const float global = NVFP4_GLOBAL_RANGE / survey->absmax;
    spec->global = global > GLOBAL_MOST ? GLOBAL_MOST : global;
  }
}
