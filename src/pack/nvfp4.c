/* pack/nvfp4.c: rows of E2M1 codes with an E4M3 scale for each 16, chosen by one of three rules. */
#include "pack/pack_kernels.h"

#define BINADE NVFP4_TABLE_BEFORE
#define ALL    ((1u << NVFP4_TRIED) - 1)

/* Neither way overflows: pack_settle keeps `global` so. */
void nvfp4_make_table(const pack_spec *spec, nvfp4_table *table) {
  for (int i = 0; i < NVFP4_TABLE; i++) {
    const float scale = e4m3_to_f32((uint8_t)nvfp4_scale_within(i - BINADE));
    table->factor[i] = spec->multiplier ? 1 / (scale * spec->global) : spec->global / scale;
    table->square[i] = scale * scale;
  }
}

/* codes[b]: of the scale nearest to absmax[b] / code_value. */
static void nearest_codes(const pack_spec *spec, const pack_kernels *t, const float *absmax, size_t blocks,
                          float code_value, uint8_t *codes) {
  float quotients[PACK_MOST_SCALES], exact[PACK_MOST_SCALES];
  t->block_divide(absmax, blocks, PACK_MOST_SCALES, &code_value, quotients); /* all by one number */
  (spec->multiplier ? t->block_divide : t->block_multiply)(quotients, blocks, PACK_MOST_SCALES, &spec->global, exact);
  e4m3_from_f32_n(exact, codes, blocks);
}

/* -- what follows gives a block's scale, from six: the code of absmax / 6 */

/* Of the codes from `before` below that of absmax / 6 on, those whose bit is set. */
static uint8_t search(const nvfp4_table *table, const pack_kernels *t, const float values[NVFP4_BLOCK], uint8_t six,
                      int before, uint32_t tried) {
  const int first = BINADE + six - before; /* in the table */
  const size_t best = t->nvfp4_least(values, table->factor + first, table->square + first, tried);
  return best < NVFP4_TRIED ? (uint8_t)nvfp4_scale_within(six - before + (int)best) : six;
}

static uint8_t four_over_six(const nvfp4_table *table, const pack_kernels *t, const float values[NVFP4_BLOCK],
                             uint8_t six, uint8_t four) {
  const float factors[BINADE] = {table->factor[BINADE + six], table->factor[BINADE + four]};
  const float squares[BINADE] = {table->square[BINADE + six], table->square[BINADE + four]};
  return t->nvfp4_least(values, factors, squares, 3) == 1 ? four : six;
}

int nvfp4_choose_scales(const pack_spec *spec, const nvfp4_table *table, const pack_kernels *t, const float *values,
                        size_t count, uint8_t *codes) {
  float absmax[PACK_MOST_SCALES], last[NVFP4_BLOCK] = {0};
  uint8_t four[PACK_MOST_SCALES];
  const size_t blocks = (count + NVFP4_BLOCK - 1) / NVFP4_BLOCK, whole = count / NVFP4_BLOCK;
  const int nonfinite = t->block_absmax(values, count, NVFP4_BLOCK, absmax);
  nearest_codes(spec, t, absmax, blocks, NVFP4_LARGEST, codes);
  if (spec->search == NVFP4_SEARCH_FOUR_OVER_SIX) nearest_codes(spec, t, absmax, blocks, NVFP4_FOUR, four);
  if (spec->search == NVFP4_SEARCH_ABSMAX) {
    for (size_t b = 0; b < blocks; b++) codes[b] = codes[b] ? codes[b] : NVFP4_SCALE_OF_NONE;
    return nonfinite;
  }
  if (blocks > whole) memcpy(last, values + whole * NVFP4_BLOCK, (count - whole * NVFP4_BLOCK) * sizeof *last);
  for (size_t b = 0; b < blocks; b++) {
    const float *block = b < whole ? values + b * NVFP4_BLOCK : last;
    if (codes[b] == 0) /* too small for any scale */
      codes[b] = NVFP4_SCALE_OF_NONE;
    else if (spec->search == NVFP4_SEARCH_MSE)
      codes[b] = search(table, t, block, codes[b], BINADE, ALL);
    else if (spec->search == NVFP4_SEARCH_NEAR)
      codes[b] = search(table, t, block, codes[b], NVFP4_NEAR_BEFORE, NVFP4_NEAR);
    else if (spec->search == NVFP4_SEARCH_FOUR_OVER_SIX)
      codes[b] = four_over_six(table, t, block, codes[b], four[b]);
  }
  return nonfinite;
}

int nvfp4_pack_row(const pack_spec *spec, const nvfp4_table *table, const pack_kernels *t, const float *values,
                   size_t cols, void *codes, void *scales) {
  float factors[PACK_MOST_SCALES], scaled[PACK_CHUNK];
  uint8_t *code_bytes = codes, *scale_codes = scales;
  int nonfinite = 0;
  for (size_t c = 0; c < cols; c += PACK_CHUNK) {
    const size_t count = cols - c < PACK_CHUNK ? cols - c : PACK_CHUNK;
    const size_t blocks = (count + NVFP4_BLOCK - 1) / NVFP4_BLOCK, filled = blocks * NVFP4_BLOCK;
    nonfinite |= nvfp4_choose_scales(spec, table, t, values + c, count, scale_codes);
    for (size_t b = 0; b < blocks; b++) factors[b] = table->factor[BINADE + scale_codes[b]];
    t->block_multiply(values + c, count, NVFP4_BLOCK, factors, scaled);
    for (size_t i = count; i < filled; i++) scaled[i] = 0;
    e2m1_from_f32_n(scaled, code_bytes + c / 2, filled);
    scale_codes += blocks;
  }
  return nonfinite;
}
