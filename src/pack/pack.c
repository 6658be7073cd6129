/* pack/pack.c: sizes, views, and rows of any format. */
#include "pack/pack.h"

#include "base/ck.h"
#include "pack/pack_kernels.h"

/* -- sizes */

/* Bytes of `units` units that hold `columns` columns each; 1 on overflow. */
static int unit_bytes(size_t cols, size_t columns, size_t bytes, uint64_t *total) {
  return ck_mul(cols / columns + (cols % columns != 0), bytes, total);
}

static int row_sizes(const pack_spec *spec, size_t cols, uint64_t *codes, uint64_t *scales) {
  const size_t block = pack_block(spec), scale = scale_bytes(pack_scale_type(spec));
  *scales = 0;
  if (weight_dense(spec->format)) return ck_mul(cols, weight_element_bytes(spec->format), codes);
  if (block == 0)
    *scales = scale;
  else if (unit_bytes(cols, block, scale, scales))
    return 1;
  switch (spec->format) {
  case WEIGHT_FP8: return unit_bytes(cols, 1, 1, codes);
  case WEIGHT_NVFP4: return unit_bytes(cols, NVFP4_BLOCK, NVFP4_BLOCK_BYTES, codes);
  case WEIGHT_INT8_24: return unit_bytes(cols, SPARSE_24_COLUMNS, sizeof(int8_24_block), codes);
  case WEIGHT_INT4_24: return unit_bytes(cols, SPARSE_24_COLUMNS, sizeof(int4_24_block), codes);
  default: return 1;
  }
}

int pack_measure(const pack_spec *spec, size_t rows, size_t cols, pack_sizes *sizes) {
  uint64_t code_row, scale_row, codes, scales, aligned, all;
  if (rows == 0 || cols == 0 || row_sizes(spec, cols, &code_row, &scale_row)) return 1;
  if (ck_mul(code_row, rows, &codes) || ck_mul(scale_row, rows, &scales)) return 1;
  aligned = codes;
  if (scales && ck_align(codes, PACK_ALIGN, &aligned)) return 1;
  if (ck_add(aligned, scales, &all) || ck_size(all, &sizes->bytes)) return 1;
  sizes->row_bytes = (size_t)code_row; /* the parts of what fits */
  sizes->scale_row_bytes = (size_t)scale_row;
  sizes->scales_offset = (size_t)aligned;
  return 0;
}

weight pack_view(const pack_spec *spec, size_t rows, size_t cols, const void *data) {
  pack_sizes sizes = {0};
  weight w = {.format = spec->format, .rows = rows, .cols = cols, .data = data, .global = 1};
  if (pack_measure(spec, rows, cols, &sizes)) return w;
  w.row_bytes = sizes.row_bytes;
  if (weight_dense(spec->format)) return w;
  w.scales = (const char *)data + sizes.scales_offset;
  w.scales_type = pack_scale_type(spec);
  w.block = (uint32_t)pack_block(spec);
  w.scale_row_bytes = sizes.scale_row_bytes;
  w.pairs = spec->format == WEIGHT_INT4_24 && spec->pairs;
  if (spec->format == WEIGHT_NVFP4) {
    w.global = spec->global;
    w.global_divides = !spec->multiplier;
  }
  return w;
}

/* -- rows */

static int dense_pack_row(const pack_spec *spec, const float *values, size_t cols, void *to) {
  switch (spec->format) {
  case WEIGHT_BF16: bf16_from_f32_n(values, to, cols); break;
  case WEIGHT_F16: f16_from_f32_n(values, to, cols); break;
  default: memcpy(to, values, cols * sizeof *values); break;
  }
  return f32_find_nonfinite_n(values, cols) < cols;
}

/* Where a row lies, and what is packed into it. */
typedef struct row_target {
  const float *values;
  const uint8_t *keep; /* or NULL */
  void *codes, *scales;
} row_target;

/* Returns 1 when a value is NaN or infinite. */
static int pack_row(const pack_spec *spec, const pack_kernels *kernels, const nvfp4_table *table, size_t cols,
                    const row_target *r) {
  switch (spec->format) {
  case WEIGHT_FP8: return fp8_pack_row(spec, kernels, r->values, cols, r->codes, r->scales);
  case WEIGHT_NVFP4: return nvfp4_pack_row(spec, table, kernels, r->values, cols, r->codes, r->scales);
  case WEIGHT_INT8_24:
  case WEIGHT_INT4_24: return sparse_pack_row(spec, kernels, r->values, cols, r->keep, r->codes, r->scales);
  default: return dense_pack_row(spec, r->values, cols, r->codes);
  }
}

void pack_rows(const pack_spec *spec, size_t all_rows, size_t cols, void *data, size_t row, size_t rows,
               const float *values, size_t stride, const pack_keep *keep, pack_place *bad) {
  const pack_kernels *kernels = pack_kernels_best();
  const int masked = keep && keep->bytes;
  pack_place first = {0};
  nvfp4_table table;
  pack_sizes sizes;
  if (bad) *bad = first;
  if (pack_measure(spec, all_rows, cols, &sizes)) return;
  if (spec->format == WEIGHT_NVFP4) nvfp4_make_table(spec, &table);
  for (size_t r = 0; r < rows; r++) {
    const row_target target = {values + r * stride, masked ? keep->bytes + r * keep->stride : NULL,
                               (uint8_t *)data + (row + r) * sizes.row_bytes,
                               (uint8_t *)data + sizes.scales_offset + (row + r) * sizes.scale_row_bytes};
    if (pack_row(spec, kernels, &table, cols, &target) && !first.found)
      first = (pack_place){1, row + r, f32_find_nonfinite_n(target.values, cols)};
  }
  if (bad && !spec->allow_nonfinite) *bad = first;
}
