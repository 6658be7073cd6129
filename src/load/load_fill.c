/* load/load_fill.c: every batch into its place.
 *
 * For a device whose memory the host cannot write, a batch fills a stage in the host's memory: of each tensor its rows as a
 * matrix of their own, or, where the device packs (load_device.c), as the file has them or in FP32. Two stages take turns, so
 * that one is read by the device while the threads fill the other:
 *
 *   threads   fill 0 │ fill 1 │ fill 0 │ fill 1        what the device packs waits in its own memory until the next
 *   device           │ read 0 │ read 1 │ read 0        batch is filled
 */
#include "load/load_inner.h"

/* Where in the block a slice ends, about: for progress. */
static uint64_t end_of(const slice *w) {
  const plan_item *item = w->item;
  const size_t rows = w->row + w->rows;
  return rows == item->rows ? item->offset + item->bytes : item->offset + rows * (item->bytes / item->rows);
}

/* So many rows of an item as a matrix of their own, with what aligns the next one. They are part of one that was measured. */
static size_t matrix_bytes(const plan_item *item, size_t rows) {
  pack_sizes sizes;
  if (pack_measure(&item->spec, rows, item->cols, &sizes)) return 0;
  return (sizes.bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

/* Behind the last slice of a batch that the host fills. */
static size_t batch_end(const loader *l, size_t begin) {
  size_t before = 0, rows = 0, end = begin; /* bytes of the items before the last one; its rows */
  for (; end < l->count && !device_takes(l, l->all[end].item); end++) {
    const plan_item *item = l->all[end].item;
    if (end > begin && item != l->all[end - 1].item) {
      before += matrix_bytes(l->all[end - 1].item, rows);
      rows = 0;
    }
    if (end > begin && before + matrix_bytes(item, rows + l->all[end].rows) > BATCH_BYTES) break;
    rows += l->all[end].rows;
  }
  return end;
}

/* Behind the last slice of the item that begins at `begin`, of the batch; *rows: theirs. */
static size_t run_end(const loader *l, size_t begin, size_t end, size_t *rows) {
  size_t i = begin;
  *rows = 0;
  for (; i < end && l->all[i].item == l->all[begin].item; i++) *rows += l->all[i].rows;
  return i;
}

/* Slices [begin, *end), by the host, in its own memory. */
static viva_status fill_here(loader *l, uint8_t *block, size_t begin, size_t *end, viva_error *error) {
  *end = batch_end(l, begin);
  for (size_t i = begin; i < *end; i++) {
    const plan_item *item = l->all[i].item;
    l->all[i].to = (slice_target){block + item->offset, 0, item->rows};
  }
  return loader_run(l, l->all + begin, *end - begin, error);
}

/* Rows of an item, which are a matrix of their own at `from`, to their places. */
static viva_status send_rows(backend *b, const plan_item *item, uint8_t *block, const slice_target *part,
                             viva_error *error) {
  pack_sizes here, there;
  uint8_t *to = block + item->offset;
  if (pack_measure(&item->spec, part->rows, item->cols, &here) ||
      pack_measure(&item->spec, item->rows, item->cols, &there))
    return error_set(error, VIVA_E_INTERNAL, "a weight was measured twice");
  TRY(b->ops->upload(b, to + part->row * there.row_bytes, part->base, part->rows * there.row_bytes, error));
  if (there.scale_row_bytes == 0) return VIVA_OK;
  return b->ops->upload(b, to + there.scales_offset + part->row * there.scale_row_bytes,
                        part->base + here.scales_offset, part->rows * there.scale_row_bytes, error);
}

viva_status loader_turn(loader *l, backend *b, viva_error *error) {
  if (!b->ops->upload_wait) return VIVA_OK;
  l->turn = 1 - l->turn;
  return b->ops->upload_wait(b, error);
}

/* Slices [begin, *end), by the host, by way of a stage. */
static viva_status fill_staged(loader *l, backend *b, uint8_t *block, size_t begin, size_t *end, viva_error *error) {
  uint8_t *at = l->stages[l->turn];
  size_t rows;
  *end = batch_end(l, begin);
  for (size_t i = begin, next; i < *end; i = next) {
    next = run_end(l, i, *end, &rows);
    for (size_t j = i; j < next; j++) l->all[j].to = (slice_target){at, l->all[i].row, rows};
    at += matrix_bytes(l->all[i].item, rows);
  }
  TRY(loader_run(l, l->all + begin, *end - begin, error));
  TRY(loader_turn(l, b, error));
  for (size_t i = begin; i < *end; i = run_end(l, i, *end, &rows))
    TRY(send_rows(b, l->all[i].item, block, &l->all[i].to, error));
  return VIVA_OK;
}

static viva_status fill_next(loader *l, backend *b, uint8_t *block, size_t begin, size_t *end, viva_error *error) {
  if (device_takes(l, l->all[begin].item)) return device_fill(l, b, block, begin, end, error);
  return b->host_memory ? fill_here(l, block, begin, end, error) : fill_staged(l, b, block, begin, end, error);
}

static viva_status fill_batches(loader *l, backend *b, uint8_t *block, viva_error *error) {
  const uint64_t before = l->done;
  for (size_t begin = 0, end; begin < l->count; begin = end) {
    TRY(fill_next(l, b, block, begin, &end, error));
    if (end == l->count) {
      TRY(device_pack_waiting(l, b, block, error));
      if (b->ops->upload_wait) TRY(b->ops->upload_wait(b, error));
    }
    l->done = before + end_of(&l->all[end - 1]);
    TRY(loader_tell(l, error));
  }
  return VIVA_OK;
}

/* Bytes of a stage for every batch. */
static size_t stage_bytes(const loader *l) {
  size_t most = 0;
  uint64_t all = 0;
  for (size_t i = 0; i < l->count; i++) {
    const slice *w = &l->all[i];
    const size_t bytes =
        device_takes(l, w->item) ? w->rows * device_row_bytes(w->item) : matrix_bytes(w->item, w->rows);
    all = budget_add(all, bytes);
    if (bytes > most) most = bytes;
  }
  if (most < BATCH_BYTES) most = all < BATCH_BYTES ? (size_t)all : BATCH_BYTES;
  return (most + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN; /* where the second one begins */
}

/* Of pinned memory where the device has it and as much can be had. */
static viva_status take_stages(loader *l, backend *b, int *pinned, viva_error *error) {
  const size_t bytes = stage_bytes(l);
  *pinned = 0;
  if (b->host_memory || l->count == 0) return VIVA_OK;
  void *both = NULL;
  *pinned = b->ops->host_alloc && b->ops->host_alloc(b, 2 * bytes, &both, NULL) == VIVA_OK;
  l->stages[0] = both;
  l->stages[1] = *pinned ? l->stages[0] + bytes : NULL;
  if (*pinned) return VIVA_OK;
  l->stages[0] = l->stages[1] = mem_alloc(l->m, bytes);
  return l->stages[0] ? VIVA_OK : loader_no_buffers(error);
}

viva_status load_fill(void *block, const plan *p, viva_progress_fn progress, void *user, viva_error *error) {
  backend *b = p->engine->backend;
  loader l = {.p = p,
              .m = &p->engine->rt->mem,
              .pool = p->engine->pool,
              .progress = progress,
              .progress_user = user,
              .done = p->surveyed_bytes,
              .total = budget_add(p->surveyed_bytes, p->block_bytes)};
  int pinned = 0;
  viva_status status = loader_begin(&l, item_is_loaded) ? loader_no_buffers(error) : device_take_room(&l, b, error);
  if (!status) status = take_stages(&l, b, &pinned, error);
  if (!status) status = fill_batches(&l, b, block, error);
  if (pinned)
    b->ops->host_free(b, l.stages[0]);
  else
    mem_free(l.m, l.stages[0]);
  b->ops->free(b, l.values, NULL);
  loader_end(&l);
  return status;
}
