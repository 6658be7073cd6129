/* compress/segment.c: where things lie in a segment. */
#include "compress/segment.h"

#include "base/ck.h"

block_run grid_run(const block_grid *g, size_t from, size_t end) {
  const size_t per_row = grid_row_blocks(g), row = from / per_row, at = from % per_row;
  const size_t begin = row * g->row, left = g->values - begin < g->row ? g->values - begin : g->row;
  block_run run = {.first = from, .blocks = end - from, .value = begin + at * g->block};
  if (run.blocks > per_row - at) run.blocks = per_row - at;
  run.values = left - at * g->block;
  if (run.values > run.blocks * g->block) run.values = run.blocks * g->block;
  return run;
}

size_t segment_value_at(const segment *s, size_t block) {
  return block < s->blocks ? grid_run(&s->grid, block, block + 1).value : s->grid.values;
}

/* Bytes of the scales of one block. */
static size_t scale_bytes_of(const segment *s) {
  if (s->bits >= SEGMENT_WIDE) return 0;
  return s->codec == VIVA_CODEC_AFFINE ? 2 * sizeof(float) : 1;
}

static size_t groups(const segment *s) { return s->blocks / STARTS_EVERY + (s->blocks % STARTS_EVERY != 0); }

int segment_sizes(const segment *s, size_t *codes_at, size_t *bytes) {
  uint64_t scales, starts = 0, widths = 0, codes, all;
  if (ck_mul(s->blocks, scale_bytes_of(s), &scales)) return 1;
  if (s->bits == 0 && (ck_mul(groups(s), sizeof(uint64_t), &starts) || ck_add(s->blocks, 0, &widths))) return 1;
  if (s->bits >= SEGMENT_WIDE ? ck_mul(s->grid.values, s->bits / 8, &codes)
                              : ck_mul(s->blocks, block_code_bytes(s->grid.block, s->bits), &codes))
    return 1;
  if (ck_add(starts, scales, &all) || ck_add(all, widths, &all) || ck_size(all, codes_at)) return 1;
  return ck_add(all, codes, &all) || all > PTRDIFF_MAX || ck_size(all, bytes);
}

segment_parts segment_split(const segment *s) {
  segment_parts p = {0};
  uint8_t *at = s->data;
  if (s->bits == 0) p.starts = (uint64_t *)(void *)at, at += groups(s) * sizeof *p.starts;
  if (s->bits < SEGMENT_WIDE && s->codec == VIVA_CODEC_AFFINE) {
    p.scales = (float *)(void *)at, at += s->blocks * sizeof *p.scales;
    p.zeros = (float *)(void *)at, at += s->blocks * sizeof *p.zeros;
  } else if (s->bits < SEGMENT_WIDE) {
    p.nvfp4_scales = at, at += s->blocks;
  }
  if (s->bits == 0) p.widths = at, at += s->blocks;
  p.codes = at;
  p.code_bytes = s->bytes - (size_t)(at - s->data);
  return p;
}

size_t segment_code_at(const segment *s, const segment_parts *p, size_t block) {
  if (s->bits >= SEGMENT_WIDE) {
    if (block == s->blocks) return p->code_bytes;
    return grid_run(&s->grid, block, block + 1).value * (s->bits / 8);
  }
  if (s->bits) return block * block_code_bytes(s->grid.block, s->bits);
  if (block == s->blocks) return p->code_bytes;
  size_t at = (size_t)p->starts[block / STARTS_EVERY];
  for (size_t b = block / STARTS_EVERY * STARTS_EVERY; b < block; b++)
    at += block_code_bytes(s->grid.block, p->widths[b]);
  return at;
}

static int width_known(const segment *s, uint32_t bits) {
  if (bits == SEGMENT_WIDE || bits == SEGMENT_RAW) return 1;
  if (s->codec == VIVA_CODEC_NVFP4) return bits == 4;
  return bits >= AFFINE_BITS_LEAST && bits <= AFFINE_BITS_MOST;
}

int segment_valid(const segment *s) {
  size_t codes_at, bytes;
  if (segment_sizes(s, &codes_at, &bytes)) return 0;
  if (s->bits) return width_known(s, s->bits) && bytes == s->bytes;
  if (codes_at > s->bytes) return 0;
  const segment_parts p = segment_split(s);
  uint64_t at = 0;
  for (size_t b = 0; b < s->blocks; b++) {
    if (b % STARTS_EVERY == 0 && p.starts[b / STARTS_EVERY] != at) return 0;
    if (!width_known(s, p.widths[b])) return 0;
    at += block_code_bytes(s->grid.block, p.widths[b]); /* at most 1 KiB for each block, whose width was there */
  }
  return at == p.code_bytes;
}

/* The package divides a number by a tensor, which multiplies with the tensor's inverse. */
float nvfp4_number(float global) {
  const float number = 1 / global * NVFP4_GLOBAL_RANGE;
  return number < NVFP4_NUMBER_MOST ? number : NVFP4_NUMBER_MOST;
}

double error_percent(const error_sums *sums, size_t count, float unit, float absmax, viva_error_measure measure) {
  if (count == 0 || absmax == 0) return 0;
  const double n = (double)count, percent = 100 * ((double)unit / (double)absmax);
  switch (measure) {
  case VIVA_MEASURE_LARGEST: return percent * sums->largest;
  case VIVA_MEASURE_RMS: return percent * __builtin_sqrt(sums->square / n);
  default: return percent * (sums->absolute / n);
  }
}
