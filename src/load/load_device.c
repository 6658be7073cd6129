/* load/load_device.c: rows that the device packs: of each tensor as the file has them or in FP32, through a stage. What is
 * in the device's memory waits there until the threads have filled the next stage. */
#include "load/load_inner.h"

/* What the device packs from: the file's type, or FP32. */
static viva_dtype values_type(const plan_item *item) {
  const viva_dtype type = type_get(item->view->type)->dtype;
  const int taken = type == VIVA_F32 || type == VIVA_BF16 || type == VIVA_F16;
  return item->source.kind == QUANT_DENSE && taken ? type : VIVA_F32;
}

size_t device_row_bytes(const plan_item *item) {
  return item->cols * (values_type(item) == VIVA_F32 ? sizeof(float) : sizeof(uint16_t));
}

viva_status device_slice(const loader *l, const slice *w, const slice_buffers *b, viva_error *error) {
  uint8_t *to = l->unpacked + (w->row - l->slices[0].row) * device_row_bytes(w->item);
  if (w->item->source.kind == QUANT_DENSE && values_type(w->item) == type_get(w->item->view->type)->dtype)
    return slice_stored(l->p, w, to, error);
  return slice_values(l->p, w, &(slice_buffers){.raw = b->raw, .values = (float *)(void *)to}, error);
}

/* What a device with pack_rows packs. */
static int device_packs(const plan_item *item) { return !weight_dense(item->spec.format) && !item->native; }

int device_takes(const loader *l, const plan_item *item) { return l->values && device_packs(item); }

/* The rows that wait, into their item's place: one head after the other where heads are interleaved (whole ones:
 * plan_slice_rows), every second row of its first and of its second half. */
viva_status device_pack_waiting(loader *l, backend *b, uint8_t *block, viva_error *error) {
  if (!l->waiting) return VIVA_OK;
  const plan_item *item = l->waiting->item;
  const size_t row = l->waiting->row, rows = l->waiting_rows, row_bytes = device_row_bytes(item);
  const size_t steps = item->head_rows ? 2 : 1, each = (item->head_rows ? item->head_rows : rows) / steps;
  l->waiting = NULL;
  for (size_t at = 0; at < rows; at += steps * each) {
    pack_place first = {0}; /* in the file's order */
    for (size_t half = 0; half < steps; half++) {
      const outer_rows values = {.dtype = values_type(item),
                                 .data = (uint8_t *)l->values + (at + half) * row_bytes,
                                 .row_stride = (ptrdiff_t)(steps * item->cols),
                                 .col_stride = 1};
      const size_t to = row + at + half * each;
      pack_place bad = {0};
      TRY(b->ops->pack_rows(b, &item->spec, item->rows, item->cols, block + item->offset, to, each, &values, &bad,
                            error));
      bad.row = row + at + half + steps * (bad.row - to);
      if (bad.found && (!first.found || bad.row < first.row)) first = bad;
    }
    if (first.found) return slice_not_finite(l->p, item, first, error);
  }
  return VIVA_OK;
}

viva_status device_fill(loader *l, backend *b, uint8_t *block, size_t begin, size_t *end, viva_error *error) {
  const slice *first = &l->all[begin];
  const size_t row_bytes = device_row_bytes(first->item);
  uint8_t *stage = l->stages[l->turn];
  size_t rows = first->rows;
  for (*end = begin + 1; *end < l->count; ++*end) {
    if (l->all[*end].item != first->item || (rows + l->all[*end].rows) * row_bytes > BATCH_BYTES) break;
    rows += l->all[*end].rows;
  }
  l->unpacked = stage;
  const viva_status status = loader_run(l, first, *end - begin, error);
  l->unpacked = NULL;
  if (status) return status;
  TRY(loader_turn(l, b, error));
  TRY(device_pack_waiting(l, b, block, error));
  TRY(b->ops->upload(b, l->values, stage, rows * row_bytes, error));
  l->waiting = first;
  l->waiting_rows = rows;
  return VIVA_OK;
}

/* Bytes of rows for every batch that a device packs; 0: there is none. */
static size_t largest_unpacked(const loader *l) {
  uint64_t largest = 0;
  for (size_t i = 0; i < l->count; i++) {
    const plan_item *item = l->all[i].item;
    const uint64_t row_bytes = device_row_bytes(item), all = budget_mul(item->rows, row_bytes);
    const uint64_t most = l->all[i].rows * row_bytes > BATCH_BYTES ? l->all[i].rows * row_bytes : BATCH_BYTES;
    if (device_packs(item) && (all < most ? all : most) > largest) largest = all < most ? all : most;
  }
  return (size_t)largest;
}

viva_status device_take_room(loader *l, backend *b, viva_error *error) {
  const size_t bytes = b->ops->pack_rows ? largest_unpacked(l) : 0;
  if (bytes == 0) return VIVA_OK;
  const viva_status status = b->ops->alloc(b, bytes, &l->values, NULL);
  if (status == VIVA_OK || status == VIVA_E_MEMORY) return VIVA_OK;
  return error_set(error, status, "the device failed while its memory was taken");
}
