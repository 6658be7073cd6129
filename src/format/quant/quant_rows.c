/* format/quant/quant_rows.c: values, codes and scales of rows of a quantised matrix.
 *
 * The order of FP32 operations is that of the dialect's own decompressor: the scale is made first (NVFP4: divided by or
 * multiplied with the global number), then the code is multiplied with it, then the product is rounded to value_type.
 */
#include <math.h>
#include <string.h>

#include "base/ck.h"
#include "format/quant/quant_inner.h"
#include "number/number.h"

/* Parts of the caller's scratch memory, each at a multiple of MEM_ALIGN. */
typedef struct regions {
  size_t codes, mask, spread, scales, scale_row; /* offsets */
  size_t total;
} regions;

static uint64_t row_bytes(const tensor_view *view, uint64_t rows) { return rows > 0 ? view->bytes / rows : 0; }

static uint64_t value_bytes(const quant_matrix *m) { return type_get(m->codes->type)->block_bits / 8; }

/* Appends a region of count × size bytes; 1 on overflow. */
static int add_region(size_t *total, uint64_t count, uint64_t size, size_t *at) {
  uint64_t bytes, end;
  *at = *total;
  return ck_mul(count, size, &bytes) || ck_add(*total, bytes, &end) || ck_align(end, MEM_ALIGN, &end) ||
         ck_size(end, total);
}

/* Grid rows of scales that `rows` rows touch, at most. */
static uint64_t scale_rows_of(const quant_matrix *m, uint64_t rows) {
  if (!m->scales || rows == 0) return 0;
  uint64_t most = (rows - 1) / m->block_rows + 2;
  return most < m->scale_rows ? most : m->scale_rows;
}

static int lay_out(const quant_matrix *m, uint64_t rows, regions *r) {
  uint64_t scale_row = m->scales ? row_bytes(m->scales, m->scale_rows) : 0;
  uint64_t mask_row = m->mask ? row_bytes(m->mask, m->rows) : 0;
  r->total = 0;
  return add_region(&r->total, rows, row_bytes(m->codes, m->rows), &r->codes) ||
         add_region(&r->total, rows, mask_row, &r->mask) ||
         add_region(&r->total, m->mask ? m->cols : 0, value_bytes(m), &r->spread) ||
         add_region(&r->total, scale_rows_of(m, rows), scale_row, &r->scales) ||
         add_region(&r->total, m->scale_cols, sizeof(float), &r->scale_row);
}

size_t quant_scratch_bytes(const quant_matrix *m, size_t rows) {
  regions r;
  return lay_out(m, rows, &r) ? SIZE_MAX : r.total;
}

/* ---- bytes */

/* What one call works on. */
typedef struct work {
  const quant *q;
  const quant_matrix *m;
  uint64_t first, scale_first; /* row, and row of scales, that the pointers begin at */
  uint64_t code_row, mask_row, scale_row;
  const uint8_t *codes, *mask, *scales;
  uint8_t *spread;
  float *row_scales; /* [scale_cols], of grid row `held` */
  uint64_t held;     /* UINT64_MAX: none */
  viva_error *error;
} work;

/* The bytes of rows [first, first + count) of a tensor: where they are mapped, or read into room. */
static viva_status fetch(const work *w, const tensor_view *view, uint64_t first, uint64_t count, uint64_t bytes,
                         uint8_t *room, const uint8_t **at) {
  const uint8_t *mapped = checkpoint_mapped(w->q->ck, view);
  *at = mapped ? mapped + first * bytes : room;
  if (mapped) return VIVA_OK;
  return checkpoint_read_part(w->q->ck, view, first * bytes, room, (size_t)(count * bytes), w->error);
}

static viva_status begin(work *w, uint64_t rows, void *scratch, int with_codes, int with_scales) {
  const quant_matrix *m = w->m;
  regions r;
  uint8_t *room = scratch;
  if (w->first > m->rows || rows > m->rows - w->first)
    return checkpoint_fail(w->q->ck, m->codes, w->error, VIVA_E_ARGUMENT,
                           "rows %llu to %llu were asked for of a matrix of %llu", (unsigned long long)w->first,
                           (unsigned long long)w->first + rows, (unsigned long long)m->rows);
  if (lay_out(m, rows, &r) || (m->rows > 0 && m->codes->bytes % m->rows != 0))
    return checkpoint_fail(w->q->ck, m->codes, w->error, VIVA_E_UNSUPPORTED,
                           "its rows cannot be read one by one: they overflow, or do not begin at whole bytes");
  w->held = UINT64_MAX;
  w->code_row = row_bytes(m->codes, m->rows);
  w->spread = room + r.spread;
  w->row_scales = (float *)(void *)(room + r.scale_row);
  if (rows == 0) return VIVA_OK;
  if (with_codes) TRY(fetch(w, m->codes, w->first, rows, w->code_row, room + r.codes, &w->codes));
  if (with_codes && m->mask) {
    w->mask_row = row_bytes(m->mask, m->rows);
    TRY(fetch(w, m->mask, w->first, rows, w->mask_row, room + r.mask, &w->mask));
  }
  if (!with_scales || !m->scales) return VIVA_OK;
  uint64_t last = (w->first + rows - 1) / m->block_rows;
  w->scale_first = w->first / m->block_rows;
  w->scale_row = row_bytes(m->scales, m->scale_rows);
  return fetch(w, m->scales, w->scale_first, last - w->scale_first + 1, w->scale_row, room + r.scales, &w->scales);
}

/* ---- 2:4 under a mask */

/* Spreads a row's kept values over its columns, with zeros between. */
static viva_status spread_row(const work *w, uint64_t row, uint8_t *to) {
  const quant_matrix *m = w->m;
  const uint8_t *from = w->codes + row * w->code_row, *mask = w->mask + row * w->mask_row;
  size_t size = (size_t)value_bytes(m);
  memset(to, 0, (size_t)m->cols * size);
  for (uint64_t group = 0; group < m->cols / 4; group++, to += 4 * size, from += 2 * size) {
    unsigned kept = ((unsigned)mask[group / 2] >> (4 * (group % 2))) & 15u;
    if (__builtin_popcount(kept) != 2)
      return checkpoint_fail(w->q->ck, m->mask, w->error, VIVA_E_FORMAT,
                             "keeps %d of the 4 columns from %llu on in row %llu; expected 2 (2:4)",
                             __builtin_popcount(kept), 4ull * group, (unsigned long long)w->first + row);
    unsigned low = (unsigned)__builtin_ctz(kept), high = 31u - (unsigned)__builtin_clz(kept);
    memcpy(to + low * size, from, size);
    memcpy(to + high * size, from + size, size);
  }
  return VIVA_OK;
}

/* ---- scales */

/* Row's scales in FP32, without NVFP4's global number, into w->row_scales. */
static viva_status take_scales(work *w, uint64_t row) {
  const quant_matrix *m = w->m;
  uint64_t at = (w->first + row) / m->block_rows;
  if (at == w->held) return VIVA_OK;
  const uint8_t *from = w->scales + (at - w->scale_first) * w->scale_row;
  TRY(type_dequant(m->scale_type, from, w->row_scales, (size_t)m->scale_cols, w->error));
  for (uint64_t b = 0; b < m->scale_cols; b++)
    if (!isfinite(w->row_scales[b]))
      return checkpoint_fail(w->q->ck, m->scales, w->error, VIVA_E_FORMAT,
                             "the scale in row %llu, column %llu is NaN or infinite: the checkpoint is damaged",
                             (unsigned long long)at, (unsigned long long)b);
  w->held = at;
  return VIVA_OK;
}

static void multiply(const quant_matrix *m, const float *scales, float *values) {
  for (uint64_t b = 0, column = 0; b < m->scale_cols; b++) {
    uint64_t end = m->block_cols < m->cols - column ? column + m->block_cols : m->cols;
    float scale = scales[b];
    if (m->kind == QUANT_NVFP4) scale = m->global_divides ? scale / m->global : scale * m->global;
    for (; column < end; column++) values[column] *= scale;
  }
}

static void round_values(file_type type, float *values, uint64_t count) {
  if (type == TYPE_BF16)
    for (uint64_t i = 0; i < count; i++) values[i] = bf16_to_f32(bf16_from_f32(values[i]));
  if (type == TYPE_F16)
    for (uint64_t i = 0; i < count; i++) values[i] = f16_to_f32(f16_from_f32(values[i]));
}

/* ---- codes */

static file_type code_type(const quant_matrix *m) {
  return m->kind == QUANT_FP8 ? TYPE_F8_E4M3 : m->kind == QUANT_NVFP4 ? TYPE_F4 : m->codes->type;
}

/* No writer gives E4M3's NaN (0x7f, 0xff). codes: row's, one for each column. */
static viva_status check_codes(const work *w, uint64_t row, const uint8_t *codes) {
  const quant_matrix *m = w->m;
  enum { BLOCK = 64 }; /* of a fixed length: vector instructions */
  uint8_t found = 0;
  size_t column = 0, i = 0;
  if (code_type(m) != TYPE_F8_E4M3) return VIVA_OK;
  for (; i + BLOCK <= m->cols; i += BLOCK)
    for (size_t j = 0; j < BLOCK; j++) found |= (uint8_t)((codes[i + j] & 0x7f) == 0x7f);
  for (; i < m->cols; i++) found |= (uint8_t)((codes[i] & 0x7f) == 0x7f);
  if (!found) return VIVA_OK;
  while ((codes[column] & 0x7f) != 0x7f) column++;
  const unsigned long long at = w->first + row;
  return checkpoint_fail(w->q->ck, m->codes, w->error, VIVA_E_FORMAT,
                         "the code in row %llu, column %zu is NaN: the checkpoint is damaged", at, column);
}

/* ---- calls */

static viva_status row_f32(work *w, uint64_t row, float *to) {
  const quant_matrix *m = w->m;
  const uint8_t *from = w->codes + row * w->code_row;
  if (m->kind == QUANT_SPARSE) {
    TRY(spread_row(w, row, w->spread));
    from = w->spread;
  }
  TRY(check_codes(w, row, from));
  viva_status status = type_dequant(code_type(m), from, to, (size_t)m->cols, w->error);
  if (status != VIVA_OK) {
    error_at(w->error, w->q->ck->files[m->codes->file].path, m->codes->name, -1, m->codes->offset);
    return status;
  }
  if (m->scales) {
    TRY(take_scales(w, row));
    multiply(m, w->row_scales, to);
  }
  round_values(m->value_type, to, m->cols);
  return VIVA_OK;
}

viva_status quant_rows_f32(const quant *q, const quant_matrix *m, uint64_t first, size_t rows, float *to, void *scratch,
                           viva_error *error) {
  work w = {.q = q, .m = m, .first = first, .error = error};
  if (m->kind == QUANT_INT8_24 || m->kind == QUANT_INT4_24)
    return checkpoint_fail(q->ck, m->codes, error, VIVA_E_ARGUMENT,
                           "is in a 2:4 layout of viva's own, which is unpacked from a packed weight");
  TRY(begin(&w, rows, scratch, 1, 1));
  for (size_t row = 0; row < rows; row++) TRY(row_f32(&w, row, to + row * (size_t)m->cols));
  return VIVA_OK;
}

viva_status quant_codes(const quant *q, const quant_matrix *m, uint64_t first, size_t rows, void *to, void *scratch,
                        viva_error *error) {
  work w = {.q = q, .m = m, .first = first, .error = error};
  if (m->kind == QUANT_DENSE || (m->kind == QUANT_SPARSE && !m->scales))
    return checkpoint_fail(q->ck, m->codes, error, VIVA_E_ARGUMENT, "is not stored as codes");
  TRY(begin(&w, rows, scratch, m->kind == QUANT_SPARSE, 0));
  if (m->kind != QUANT_SPARSE) {
    const size_t bytes = (size_t)w.code_row;
    TRY(checkpoint_read_part(q->ck, m->codes, first * w.code_row, to, rows * bytes, error));
    for (size_t row = 0; row < rows; row++) TRY(check_codes(&w, row, (const uint8_t *)to + row * bytes));
    return VIVA_OK;
  }
  for (size_t row = 0; row < rows; row++) {
    uint8_t *at = (uint8_t *)to + row * (size_t)m->cols;
    TRY(spread_row(&w, row, at));
    TRY(check_codes(&w, row, at));
  }
  return VIVA_OK;
}

viva_status quant_scales_f32(const quant *q, const quant_matrix *m, uint64_t first, size_t rows, float *to,
                             void *scratch, viva_error *error) {
  work w = {.q = q, .m = m, .first = first, .error = error};
  size_t count = (size_t)m->scale_cols;
  if (!m->scales) return checkpoint_fail(q->ck, m->codes, error, VIVA_E_ARGUMENT, "has no scales");
  TRY(begin(&w, rows, scratch, 0, 1));
  for (size_t row = 0; row < rows; row++) {
    TRY(take_scales(&w, row));
    memcpy(to + row * count, w.row_scales, count * sizeof *to);
  }
  return VIVA_OK;
}

viva_status quant_scales_e4m3(const quant *q, const quant_matrix *m, uint64_t first, size_t rows, uint8_t *to,
                              viva_error *error) {
  size_t count = (size_t)m->scale_cols;
  if (m->kind != QUANT_NVFP4 || first > m->rows || rows > m->rows - first)
    return checkpoint_fail(q->ck, m->codes, error, VIVA_E_ARGUMENT, "has no such rows of scales in E4M3");
  size_t bytes = rows * count; /* of a tensor that has at least as many */
  TRY(checkpoint_read_part(q->ck, m->scales, first * count, to, bytes, error));
  for (size_t i = 0; i < bytes; i++)
    if ((to[i] & 0x7f) == 0x7f)
      return checkpoint_fail(q->ck, m->scales, error, VIVA_E_FORMAT,
                             "the scale in row %llu, column %llu is NaN: the checkpoint is damaged",
                             (unsigned long long)first + i / count, (unsigned long long)i % count);
  return VIVA_OK;
}
