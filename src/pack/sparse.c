/* pack/sparse.c: rows of 2:4 blocks, by magnitude, by a mask or by pairs. */
#include "pack/pack_kernels.h"

typedef struct block_values {
  float v[SPARSE_24_COLUMNS], size[SPARSE_24_COLUMNS];
} block_values;

/* The columns that are there, then zeros. */
static void copy_block(block_values *b, sparse_input *in, size_t count) {
  memset(b, 0, sizeof *b);
  memcpy(b->v, in->v, count * sizeof *b->v);
  memcpy(b->size, in->size, count * sizeof *b->size);
  in->v = b->v;
  in->size = b->size;
}

static void by_mask(block_values *b, const uint8_t *keep, size_t count) {
  for (size_t i = 0; i < SPARSE_24_COLUMNS; i++) {
    const int kept = i < count && keep[i] != 0;
    if (!kept) b->v[i] = 0;
    b->size[i] = (float)kept;
  }
}

/* -- scales */

/* scales[i] of the first and the second half of block b. */
typedef struct row_scales {
  float whole;                   /* of the row, when it has one */
  float groups[PACK_CHUNK / 32]; /* of a chunk */
} row_scales;

static int whole_row_scale(const pack_spec *spec, row_scales *s, const float *values, size_t cols, void *to) {
  int nonfinite = 0;
  s->whole = f32_absmax_n(values, cols, &nonfinite);
  scales_store(pack_scale_type(spec), pack_largest(spec->format), &s->whole, 1, to);
  return nonfinite;
}

/* Both return 1 when a value is NaN or infinite. */
static int group_scales(const pack_spec *spec, const pack_kernels *t, row_scales *s, const float *values, size_t count,
                        void *to) {
  const size_t groups = (count + spec->block - 1) / spec->block;
  const int nonfinite = t->block_absmax(values, count, spec->block, s->groups);
  scales_store(spec->scale, INT4_LARGEST, s->groups, groups, to);
  return nonfinite;
}

/* Of the columns at `column` of the chunk; count columns are there. */
static float scale_at(size_t block, const row_scales *s, size_t column, size_t count) {
  if (block == 0) return s->whole;
  return column < count ? s->groups[column / block] : 1;
}

/* -- a row */

static void pack_chunk(const pack_spec *spec, const pack_kernels *t, const row_scales *s, const float *values,
                       size_t count, const uint8_t *keep, uint8_t *to) {
  const size_t block = pack_block(spec);
  block_values copy;
  float sizes[PACK_CHUNK];
  t->sizes(values, count, sizes);
  for (size_t c = 0; c < count; c += SPARSE_24_COLUMNS) {
    const size_t left = count - c < SPARSE_24_COLUMNS ? count - c : SPARSE_24_COLUMNS;
    sparse_input in = {values + c, sizes + c, {scale_at(block, s, c, count), scale_at(block, s, c + 32, count)}};
    const int masked = keep && !spec->pairs;
    if (left < SPARSE_24_COLUMNS || masked) copy_block(&copy, &in, left);
    if (masked) by_mask(&copy, keep + c, left);
    if (spec->pairs) {
      t->pair_up(in.v, in.size, copy.v, copy.size);
      in.v = copy.v;
      in.size = copy.size;
    }
    if (spec->format == WEIGHT_INT8_24) {
      t->sparse_int8(&in, (int8_t *)to, to + SPARSE_24_KEPT);
      to += sizeof(int8_24_block);
    } else {
      t->sparse_int4(&in, to, to + SPARSE_24_KEPT / 2);
      to += sizeof(int4_24_block);
    }
  }
}

int sparse_pack_row(const pack_spec *spec, const pack_kernels *t, const float *values, size_t cols, const uint8_t *keep,
                    void *codes, void *scales) {
  const size_t chunk_bytes =
      PACK_CHUNK / SPARSE_24_COLUMNS * (spec->format == WEIGHT_INT8_24 ? sizeof(int8_24_block) : sizeof(int4_24_block));
  uint8_t *scale_row = scales, *to = codes;
  row_scales s = {.whole = 1};
  int nonfinite = 0;
  if (pack_block(spec) == 0) nonfinite = whole_row_scale(spec, &s, values, cols, scales);
  for (size_t c = 0; c < cols; c += PACK_CHUNK, to += chunk_bytes) {
    const size_t count = cols - c < PACK_CHUNK ? cols - c : PACK_CHUNK;
    if (pack_block(spec) != 0) {
      nonfinite |= group_scales(spec, t, &s, values + c, count, scale_row);
      scale_row += (count + spec->block - 1) / spec->block * scale_bytes(spec->scale);
    }
    pack_chunk(spec, t, &s, values + c, count, keep ? keep + c : NULL, to);
  }
  return nonfinite;
}

/* -- masks */

pack_place pack_check_keep(const pack_keep *keep, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; r++) {
    const uint8_t *row = keep->bytes + r * keep->stride;
    for (size_t c = 0; c < cols; c += SPARSE_24_GROUP) {
      const size_t left = cols - c < SPARSE_24_GROUP ? cols - c : SPARSE_24_GROUP;
      size_t kept = 0;
      for (size_t i = 0; i < left; i++) kept += row[c + i] != 0;
      if (left < SPARSE_24_GROUP ? kept > 2 : kept != 2) return (pack_place){1, r, c};
    }
  }
  return (pack_place){0};
}
