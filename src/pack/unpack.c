/* pack/unpack.c: packed rows back to FP32. Any bytes are safe: a code has a value whatever it is, and an index reaches no
 * further than its group.
 */
#include "pack/pack.h"
#include "pack/pack_kernels.h"

static const uint8_t *row_codes(const weight *w, size_t row) { return (const uint8_t *)w->data + row * w->row_bytes; }

/* to[0 .. cols) times the scale of each block, as it enters the products. */
static void apply_scales(const weight *w, size_t row, float *to) {
  const size_t block = w->block ? w->block : w->cols;
  for (size_t c = 0, b = 0; c < w->cols; c += block, b++) {
    const size_t end = w->cols - c < block ? w->cols : c + block;
    float scale = weight_scale(w, row, b);
    if (w->format == WEIGHT_NVFP4) scale = w->global_divides ? scale / w->global : scale * w->global;
    for (size_t i = c; i < end; i++) to[i] *= scale;
  }
}

static void unpack_dense(const weight *w, const uint8_t *codes, float *to) {
  switch (w->format) {
  case WEIGHT_BF16: bf16_to_f32_n(codes, to, w->cols); return;
  case WEIGHT_F16: f16_to_f32_n(codes, to, w->cols); return;
  default: memcpy(to, codes, w->cols * sizeof *to); return;
  }
}

/* -- 2:4 */

/* Column that position i (0 to 7) of an octet holds. */
static size_t column_of(int pairs, size_t i) {
  static const uint8_t pair_order[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* weight.h */
  return pairs ? pair_order[i] : i;
}

static int code_at(weight_format format, const uint8_t *block, size_t i) {
  if (format == WEIGHT_INT8_24) return (int8_t)block[i];
  return int4_to_int((uint8_t)(block[i / 2] >> (4 * (i % 2))));
}

/* Position, within its block, of the weight that code i is of. */
static size_t kept_place(weight_format format, const uint8_t *block, size_t i) {
  const uint8_t *index = block + (format == WEIGHT_INT8_24 ? SPARSE_24_KEPT : SPARSE_24_KEPT / 2);
  const size_t group = i / 2, nibble = (size_t)index[group / 2] >> (4 * (group % 2));
  return SPARSE_24_GROUP * group + (nibble >> (2 * (i % 2)) & 3);
}

/* count: columns that there are of this block. */
static void unpack_block(const weight *w, size_t row, const uint8_t *block, size_t column, size_t count, float *to) {
  size_t scale_index = w->block ? column / w->block : 0;
  float scale = weight_scale(w, row, scale_index);
  for (size_t i = 0; i < count; i++) to[i] = 0;
  for (size_t i = 0; i < SPARSE_24_KEPT; i++) {
    const size_t place = kept_place(w->format, block, i);
    const size_t at = place / 8 * 8 + column_of(w->pairs, place % 8);
    if (at >= count) continue;
    if (w->block && (column + at) / w->block != scale_index) {
      scale_index = (column + at) / w->block;
      scale = weight_scale(w, row, scale_index);
    }
    const float value = (float)code_at(w->format, block, i) * scale;
    to[at] = to[at] == 0 ? value : to[at] + value; /* both of a group in one place: only in a damaged index */
  }
}

static void unpack_sparse(const weight *w, size_t row, float *to) {
  const size_t bytes = w->format == WEIGHT_INT8_24 ? sizeof(int8_24_block) : sizeof(int4_24_block);
  const uint8_t *block = row_codes(w, row);
  for (size_t c = 0; c < w->cols; c += SPARSE_24_COLUMNS, block += bytes) {
    const size_t count = w->cols - c < SPARSE_24_COLUMNS ? w->cols - c : SPARSE_24_COLUMNS;
    unpack_block(w, row, block, c, count, to + c);
  }
}

pack_place pack_check_index(const weight *w, size_t row, size_t rows) {
  const size_t skip = w->format == WEIGHT_INT8_24 ? SPARSE_24_KEPT : SPARSE_24_KEPT / 2;
  const size_t groups = (w->cols + SPARSE_24_COLUMNS - 1) / SPARSE_24_COLUMNS * SPARSE_24_GROUPS;
  const size_t bytes = skip + SPARSE_24_GROUPS / 2;
  for (size_t r = row; r < row + rows; r++) {
    for (size_t g = 0; g < groups; g++) {
      const uint8_t *index = row_codes(w, r) + g / SPARSE_24_GROUPS * bytes + skip;
      const size_t nibble = (size_t)index[g % SPARSE_24_GROUPS / 2] >> (4 * (g % 2)) & 15;
      if ((nibble & 3) >= nibble >> 2) return (pack_place){1, r, g * SPARSE_24_GROUP};
    }
  }
  return (pack_place){0};
}

/* 1 when one of a block's codes is the least that two's complement has. */
static int has_least(weight_format format, const uint8_t *block) {
  int found = 0;
  if (format == WEIGHT_INT8_24)
    for (size_t i = 0; i < SPARSE_24_KEPT; i++) found |= block[i] == 0x80;
  else
    for (size_t i = 0; i < SPARSE_24_KEPT / 2; i++) found |= ((block[i] & 0x0f) == 0x08) | ((block[i] & 0xf0) == 0x80);
  return found;
}

/* Column, within its block, of the first such code. */
static size_t least_column(const weight *w, const uint8_t *block) {
  const int least = w->format == WEIGHT_INT8_24 ? -INT8_LARGEST - 1 : -INT4_LARGEST - 1;
  size_t i = 0;
  while (i + 1 < SPARSE_24_KEPT && code_at(w->format, block, i) != least) i++;
  const size_t place = kept_place(w->format, block, i);
  return place / 8 * 8 + column_of(w->pairs, place % 8);
}

pack_place pack_check_codes(const weight *w, size_t row, size_t rows) {
  const size_t bytes = w->format == WEIGHT_INT8_24 ? sizeof(int8_24_block) : sizeof(int4_24_block);
  for (size_t r = row; r < row + rows; r++) {
    const uint8_t *block = row_codes(w, r);
    for (size_t c = 0; c < w->cols; c += SPARSE_24_COLUMNS, block += bytes)
      if (has_least(w->format, block)) return (pack_place){1, r, c + least_column(w, block)};
  }
  return (pack_place){0};
}

void unpack_rows(const weight *w, size_t row, size_t rows, float *to, size_t stride) {
  for (size_t r = 0; r < rows; r++, to += stride) {
    const uint8_t *codes = row_codes(w, row + r);
    switch (w->format) {
    case WEIGHT_FP8:
      e4m3_to_f32_n(codes, to, w->cols);
      apply_scales(w, row + r, to);
      break;
    case WEIGHT_NVFP4:
      e2m1_to_f32_n(codes, to, w->cols);
      apply_scales(w, row + r, to);
      break;
    case WEIGHT_INT8_24:
    case WEIGHT_INT4_24: unpack_sparse(w, row + r, to); break;
    default: unpack_dense(w, codes, to); break;
    }
  }
}
