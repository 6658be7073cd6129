/* load/slice.c */
#include "load/slice.h"

#include <string.h>

#include "number/number.h"

size_t slice_row(size_t r, size_t head_rows) {
  if (head_rows == 0) return r;
  size_t in_head = r % head_rows;
  return r - in_head + in_head / 2 + in_head % 2 * (head_rows / 2);
}

/* Largest magnitude that does not round to infinity. */
static float largest_finite(weight_format format) {
  switch (format) {
  case WEIGHT_F16: return 0x1.ffdffep+15f; /* just below 65520 */
  case WEIGHT_BF16: return 0x1.fefffep+127f;
  default: return 0x1.fffffep+127f;
  }
}

/* 1 when a finite value exceeds the limit; infinities of the file itself stay what they are. Magnitudes are ordered as
 * their bits are, and blocks of a fixed length become vector instructions. */
static int exceeds(const float *values, size_t count, float limit) {
  enum { BLOCK = 32 };
  const int32_t most = (int32_t)f32_bits(limit), infinity = 0x7f800000;
  int32_t beyond = 0;
  size_t i = 0;
  for (; i + BLOCK <= count; i += BLOCK)
    for (size_t j = 0; j < BLOCK; j++) {
      int32_t magnitude = (int32_t)(f32_bits(values[i + j]) & 0x7fffffff);
      beyond |= (magnitude > most) & (magnitude < infinity);
    }
  for (; i < count; i++) {
    int32_t magnitude = (int32_t)(f32_bits(values[i]) & 0x7fffffff);
    beyond |= (magnitude > most) & (magnitude < infinity);
  }
  return beyond != 0;
}

static void convert(weight_format format, const float *values, void *to, size_t count) {
  switch (format) {
  case WEIGHT_F32: memcpy(to, values, count * sizeof *values); break;
  case WEIGHT_BF16: bf16_from_f32_n(values, to, count); break;
  case WEIGHT_F16: f16_from_f32_n(values, to, count); break;
  default: break; /* packed: pack_rows */
  }
}

/* The slice's bytes: in the mapping, or read into buffer. */
static viva_status source(const plan *p, const slice *w, uint8_t *buffer, const uint8_t **data, viva_error *error) {
  uint64_t row_bytes = plan_file_row_bytes(w->item), first = w->row * row_bytes;
  const uint8_t *mapped = checkpoint_mapped(p->ck, w->item->view);
  *data = mapped ? mapped + first : buffer;
  if (mapped) return VIVA_OK;
  return checkpoint_read_part(p->ck, w->item->view, first, buffer, (size_t)(w->rows * row_bytes), error);
}

/* ---- quantised in the file */

/* 2:4: every group names two places, the first before the second, and no code is beyond ±127 or ±7. */
static viva_status check_sparse(const plan *p, const slice *w, const pack_spec *spec, const uint8_t *data,
                                size_t all_rows, size_t at, viva_error *error) {
  if (spec->format != WEIGHT_INT8_24 && spec->format != WEIGHT_INT4_24) return VIVA_OK;
  weight view = pack_view(spec, all_rows, w->item->cols, data);
  pack_place bad = pack_check_index(&view, at, w->rows);
  if (bad.found)
    return checkpoint_fail(p->ck, w->item->view, error, VIVA_E_FORMAT,
                           "the index of the 4 columns from %zu on in row %zu does not name two places in rising "
                           "order; the file is damaged",
                           bad.col, w->row + (bad.row - at));
  bad = pack_check_codes(&view, at, w->rows);
  if (!bad.found) return VIVA_OK;
  int most = spec->format == WEIGHT_INT8_24 ? INT8_LARGEST : INT4_LARGEST;
  return checkpoint_fail(p->ck, w->item->view, error, VIVA_E_FORMAT,
                         "the code in row %zu, column %zu is %d, expected -%d to %d; the file is damaged, or was not "
                         "written by viva: write it again with viva quantize",
                         w->row + (bad.row - at), bad.col, -most - 1, most, most);
}

viva_status slice_native(const plan *p, const slice *w, const slice_buffers *b, const pack_spec *spec, uint8_t *data,
                         size_t all_rows, size_t at, viva_error *error) {
  const quant_matrix *m = &w->item->source;
  pack_sizes sizes;
  if (pack_measure(spec, all_rows, w->item->cols, &sizes))
    return checkpoint_fail(p->ck, w->item->view, error, VIVA_E_LIMIT, "the matrix is too large");
  uint8_t *to = data + sizes.scales_offset + at * sizes.scale_row_bytes;
  TRY(quant_codes(p->quant, m, w->row, w->rows, data + at * sizes.row_bytes, b->raw, error));
  TRY(check_sparse(p, w, spec, data, all_rows, at, error));
  if (spec->format == WEIGHT_NVFP4) return quant_scales_e4m3(p->quant, m, w->row, w->rows, to, error);
  TRY(quant_scales_f32(p->quant, m, w->row, w->rows, b->values, b->raw, error));
  size_t count = w->rows * (size_t)m->scale_cols; /* each is a value of the file's type: nothing is rounded */
  switch (spec->scale) {
  case SCALE_F32: memcpy(to, b->values, count * sizeof *b->values); break;
  case SCALE_F16: f16_from_f32_n(b->values, to, count); break;
  case SCALE_E8M0: e8m0_from_f32_n(b->values, to, count); break;
  case SCALE_E4M3: break; /* NVFP4: above */
  }
  return VIVA_OK;
}

static viva_status read_quantised(const plan *p, const slice *w, const slice_buffers *b, viva_error *error) {
  const plan_item *item = w->item;
  pack_spec spec;
  if (item->source.kind != QUANT_INT8_24 && item->source.kind != QUANT_INT4_24)
    return quant_rows_f32(p->quant, &item->source, w->row, w->rows, b->values, b->raw, error);
  size_t scratch = quant_scratch_bytes(&item->source, w->rows);
  uint8_t *copy = b->raw + (scratch + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
  if (!plan_native(item, &spec))
    return checkpoint_fail(p->ck, item->view, error, VIVA_E_UNSUPPORTED,
                           "the 2:4 matrix has scales for groups of %llu; 32, 64 or 128 can be read",
                           (unsigned long long)item->source.block_cols);
  TRY(slice_native(p, w, b, &spec, copy, w->rows, 0, error));
  weight view = pack_view(&spec, w->rows, item->cols, copy);
  unpack_rows(&view, 0, w->rows, b->values, item->cols);
  return VIVA_OK;
}

viva_status slice_values(const plan *p, const slice *w, const slice_buffers *b, viva_error *error) {
  const uint8_t *data;
  if (w->item->source.kind != QUANT_DENSE) return read_quantised(p, w, b, error);
  TRY(source(p, w, b->raw, &data, error));
  return type_dequant(w->item->view->type, data, b->values, w->rows * w->item->cols, error);
}

/* ---- dense */

static uint8_t *dense_row(const slice *w, size_t row) {
  return w->to.base + (row - w->to.row) * w->item->cols * weight_element_bytes(w->item->spec.format);
}

viva_status slice_stored(const plan *p, const slice *w, uint8_t *to, viva_error *error) {
  const uint8_t *data;
  TRY(source(p, w, to, &data, error));
  if (data != to) memcpy(to, data, w->rows * (size_t)plan_file_row_bytes(w->item));
  return VIVA_OK;
}

static viva_status load_stored(const plan *p, const slice *w, const slice_buffers *b, viva_error *error) {
  const plan_item *item = w->item;
  size_t row_bytes = item->cols * weight_element_bytes(item->spec.format);
  const uint8_t *data;
  if (!item->head_rows) return slice_stored(p, w, dense_row(w, w->row), error);
  TRY(source(p, w, b->raw, &data, error));
  for (size_t r = 0; r < w->rows; r++)
    memcpy(dense_row(w, slice_row(w->row + r, item->head_rows)), data + r * row_bytes, row_bytes);
  return VIVA_OK;
}

static viva_status load_dense(const plan *p, const slice *w, const slice_buffers *b, viva_error *error) {
  const plan_item *item = w->item;
  weight_format format = item->spec.format;
  TRY(slice_values(p, w, b, error));
  if (exceeds(b->values, w->rows * item->cols, largest_finite(format)))
    return checkpoint_fail(p->ck, item->view, error, VIVA_E_NUMERIC,
                           "the tensor has values that are beyond the range of %s; load it with weights %s",
                           format == WEIGHT_F16 ? "F16 (65504)" : "BF16", format == WEIGHT_F16 ? "bf16" : "f32");
  if (!item->head_rows) {
    convert(format, b->values, dense_row(w, w->row), w->rows * item->cols);
    return VIVA_OK;
  }
  for (size_t r = 0; r < w->rows; r++)
    convert(format, b->values + r * item->cols, dense_row(w, slice_row(w->row + r, item->head_rows)), item->cols);
  return VIVA_OK;
}

/* ---- packed */

viva_status slice_not_finite(const plan *p, const plan_item *item, pack_place bad, viva_error *error) {
  return checkpoint_fail(p->ck, item->view, error, VIVA_E_NUMERIC,
                         "the value in row %zu, column %zu is NaN or infinite, which a packed format cannot hold; the "
                         "file is damaged, or load this matrix with weights bf16 or f32",
                         bad.row, bad.col);
}

static viva_status load_packed(const plan *p, const slice *w, const slice_buffers *b, viva_error *error) {
  const plan_item *item = w->item;
  const slice_target *to = &w->to;
  pack_place bad = {0};
  if (item->native) return slice_native(p, w, b, &item->spec, to->base, to->rows, w->row - to->row, error);
  TRY(slice_values(p, w, b, error));
  if (!item->head_rows)
    pack_rows(&item->spec, to->rows, item->cols, to->base, w->row - to->row, w->rows, b->values, item->cols, NULL,
              &bad);
  bad.row += to->row;
  for (size_t r = 0; item->head_rows && r < w->rows && !bad.found; r++) {
    pack_rows(&item->spec, to->rows, item->cols, to->base, slice_row(w->row + r, item->head_rows) - to->row, 1,
              b->values + r * item->cols, item->cols, NULL, &bad);
    bad.row = w->row + r; /* the file's */
  }
  return bad.found ? slice_not_finite(p, item, bad, error) : VIVA_OK;
}

viva_status slice_load(const plan *p, const slice *w, const slice_buffers *b, viva_error *error) {
  if (!weight_dense(w->item->spec.format)) return load_packed(p, w, b, error);
  return plan_as_stored(w->item) ? load_stored(p, w, b, error) : load_dense(p, w, b, error);
}

viva_status slice_survey(const plan *p, const slice *w, const slice_buffers *b, pack_survey *survey,
                         viva_error *error) {
  const plan_item *item = w->item;
  TRY(slice_values(p, w, b, error));
  pack_survey_rows(&item->spec, b->values, item->cols, w->row, w->rows, item->cols, survey);
  return survey->bad.found ? slice_not_finite(p, item, survey->bad, error) : VIVA_OK;
}
