/* backend/cpu/ref_packed.c: packed weights in plain C: widened to FP32, and integer codes times integer rows, exactly.
 * layout.h has the bytes. */
#include <string.h>

#include "backend/cpu/ref.h"
#include "number/number.h"

/* Values of [col, col + count) times the scales of their blocks. */
static void scale_blocks(const weight *w, size_t row, size_t col, float *to, size_t count) {
  if (!weight_blocked(w)) return;
  for (size_t c = 0; c < count;) {
    const size_t b = (col + c) / w->block, end = (b + 1) * w->block - col;
    const float scale = weight_scale(w, row, b);
    for (; c < count && c < end; c++) to[c] *= scale;
  }
}

void ref_widen_fp8(const weight *w, size_t row, size_t col, float *to, size_t count) {
  e4m3_to_f32_n((const char *)w->data + row * w->row_bytes + col, to, count);
  scale_blocks(w, row, col, to, count);
}

static void widen_nvfp4(const weight *w, size_t row, size_t col, float *to, size_t count) {
  e2m1_to_f32_n((const char *)w->data + row * w->row_bytes + col / 2, to, count);
  scale_blocks(w, row, col, to, count);
}

/* The 32 kept codes of a block. */
static void kept_codes(weight_format format, const uint8_t *block, int8_t codes[SPARSE_24_KEPT]) {
  if (format == WEIGHT_INT8_24) {
    memcpy(codes, block, SPARSE_24_KEPT);
    return;
  }
  for (size_t i = 0; i < SPARSE_24_KEPT; i += 2) {
    codes[i] = int4_to_int(block[i / 2] & 15);
    codes[i + 1] = int4_to_int(block[i / 2] >> 4);
  }
}

void ref_sparse_codes(const weight *w, size_t row, size_t col, int8_t codes[SPARSE_24_COLUMNS]) {
  static const uint8_t pair_order[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* weight.h: pairs */
  const size_t kept_bytes = w->format == WEIGHT_INT8_24 ? SPARSE_24_KEPT : SPARSE_24_KEPT / 2;
  const size_t block_bytes = kept_bytes + SPARSE_24_GROUPS / 2;
  const uint8_t *block = (const uint8_t *)w->data + row * w->row_bytes + col / SPARSE_24_COLUMNS * block_bytes;
  int8_t kept[SPARSE_24_KEPT];
  kept_codes(w->format, block, kept);
  memset(codes, 0, SPARSE_24_COLUMNS);
  for (size_t i = 0; i < SPARSE_24_KEPT; i++) {
    const size_t g = i / 2;
    const unsigned nibble = block[kept_bytes + g / 2] >> 4 * (g % 2);
    size_t at = SPARSE_24_GROUP * g + (nibble >> 2 * (i % 2) & 3);
    if (w->pairs) at = at / 8 * 8 + pair_order[at % 8];
    if (kept[i] != 0) codes[at] = kept[i];
  }
}

static void widen_sparse(const weight *w, size_t row, size_t col, float *to, size_t count) {
  for (size_t c = 0; c < count; c += SPARSE_24_COLUMNS) {
    int8_t codes[SPARSE_24_COLUMNS];
    ref_sparse_codes(w, row, col + c, codes);
    for (size_t i = 0; i < SPARSE_24_COLUMNS && c + i < count; i++) to[c + i] = codes[i];
  }
  scale_blocks(w, row, col, to, count);
}

/* Exact sums over the columns of one scale, then FP32. */
static float integer_dot(const weight *w, size_t row, const int8_t *x) {
  const size_t block = w->block ? w->block : w->cols;
  float sum = 0;
  int32_t exact = 0;
  int8_t codes[SPARSE_24_COLUMNS];
  for (size_t c = 0; c < w->cols; c++) {
    if (c % SPARSE_24_COLUMNS == 0) ref_sparse_codes(w, row, c, codes);
    exact += codes[c % SPARSE_24_COLUMNS] * x[c];
    if ((c + 1) % block != 0 && c + 1 < w->cols) continue;
    sum += w->block ? (float)exact * weight_scale(w, row, c / block) : (float)exact;
    exact = 0;
  }
  return sum;
}

static void few_integer(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  const int8_t *codes = in->codes;
  for (size_t n = begin; n < end; n++) {
    const float scale = cpu_row_factor(k, a->w, n);
    for (size_t i = 0; i < a->m; i++) ref_finish(a, in, scale, i, n, integer_dot(a->w, n, codes + i * in->code_stride));
  }
}

void ref_packed(cpu_kernels *k) {
  k->widen[WEIGHT_FP8] = ref_widen_fp8;
  k->widen[WEIGHT_NVFP4] = widen_nvfp4;
  k->widen[WEIGHT_INT8_24] = widen_sparse;
  k->widen[WEIGHT_INT4_24] = widen_sparse;
  for (size_t f = 0; f < WEIGHT_FORMATS; f++) k->factor[f] = 1;
  for (int blocked = 0; blocked < 2; blocked++)
    for (size_t f = WEIGHT_INT8_24; f <= WEIGHT_INT4_24; f++)
      for (size_t mode = INPUT_INT8; mode <= INPUT_INT4; mode++)
        k->product[blocked][f][mode] = (cpu_product){.few = few_integer};
}
