/* load/load.c: one list of slices, shared out among the threads, batch after batch.
 *
 * What the formats of some tensors depend on (a largest value, the range of the scales) is found first, in a pass of its
 * own over their slices. For a device whose memory the host cannot write, a batch fills a stage in the host's memory: of
 * each tensor its rows as a matrix of their own, or, where the device packs, as the file has them or in FP32. Two stages take
 * turns, so that one is read by the device while the threads fill the other:
 *
 *   threads   fill 0 │ fill 1 │ fill 0 │ fill 1        what the device packs waits in its own memory until the next
 *   device           │ read 0 │ read 1 │ read 0        batch is filled
 */
#include "load/load.h"

#include <string.h>

#include "load/slice.h"

/* Bytes of weights in one batch: progress and cancel come between batches. Pinning two stages takes 0.4 ms a MiB. */
#define BATCH_BYTES ((size_t)16 << 20)

/* Slices surveyed in one batch. */
#define SURVEY_SLICES 256

typedef struct loader {
  const plan *p;
  mem *m;
  pool *pool;
  slice *all; /* every slice of the pass */
  size_t count;
  const slice *slices; /* of this batch */
  uint8_t *stages[2];  /* the host's; both the same where the device does not read by itself */
  size_t turn;
  void *values;         /* dev: rows that the device packs; NULL: it does not */
  uint8_t *unpacked;    /* this batch is of such rows: where they go, in the file's order */
  const slice *waiting; /* the first of such rows that are at values and not packed yet; NULL: there are none */
  size_t waiting_rows;
  pack_survey *surveys; /* one for each slice of the batch, in a survey */
  slice_buffers *threads;
  viva_progress_fn progress;
  void *progress_user;
  uint64_t done, total; /* for progress: bytes surveyed in the files, then bytes held */
} loader;

/* ---- the list */

static int is_loaded(const plan *p, const plan_item *item) { return !item->in_place && item != p->rope_factors; }

static int is_surveyed(const plan *p, const plan_item *item) {
  return is_loaded(p, item) && !item->vector && !item->native && pack_needs_survey(&item->spec);
}

typedef int (*item_filter)(const plan *p, const plan_item *item);

static size_t list_slices(const plan *p, item_filter takes, slice *slices) {
  size_t count = 0;
  for (size_t i = 0; i < p->item_count; i++) {
    const plan_item *item = &p->items[i];
    size_t rows = plan_slice_rows(item);
    if (!takes(p, item)) continue;
    for (size_t row = 0; row < item->rows; row += rows, count++) {
      size_t left = item->rows - row;
      if (slices) slices[count] = (slice){.item = item, .row = row, .rows = left < rows ? left : rows};
    }
  }
  return count;
}

static void loader_end(loader *l) {
  size_t threads = (size_t)pool_threads(l->pool);
  for (size_t t = 0; t < threads && l->threads; t++) {
    mem_free(l->m, l->threads[t].raw);
    mem_free(l->m, l->threads[t].values);
  }
  mem_free(l->m, l->threads);
  mem_free(l->m, l->all);
}

/* 0, or 1 when there is no memory; loader_end is needed in both cases. */
static int loader_begin(loader *l, item_filter takes) {
  size_t threads = (size_t)pool_threads(l->pool);
  l->count = list_slices(l->p, takes, NULL);
  l->all = mem_array(l->m, l->count, sizeof *l->all);
  l->threads = mem_array(l->m, threads, sizeof *l->threads);
  if (!l->all || !l->threads) return 1;
  list_slices(l->p, takes, l->all);
  for (size_t t = 0; t < threads; t++) {
    l->threads[t].raw = mem_alloc(l->m, l->p->slice_bytes);
    l->threads[t].values = mem_array(l->m, l->p->slice_values, sizeof(float));
    if (!l->threads[t].raw || !l->threads[t].values) return 1;
  }
  return 0;
}

static viva_status no_buffers(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for the buffers that loading needs");
}

/* ---- a batch */

/* What the device packs from: the file's type, or FP32. */
static viva_dtype values_type(const plan_item *item) {
  const viva_dtype type = type_get(item->view->type)->dtype;
  const int taken = type == VIVA_F32 || type == VIVA_BF16 || type == VIVA_F16;
  return item->source.kind == QUANT_DENSE && taken ? type : VIVA_F32;
}

static size_t values_row_bytes(const plan_item *item) {
  return item->cols * (values_type(item) == VIVA_F32 ? sizeof(float) : sizeof(uint16_t));
}

static viva_status unpacked_slice(const loader *l, const slice *w, const slice_buffers *b, viva_error *error) {
  uint8_t *to = l->unpacked + (w->row - l->slices[0].row) * values_row_bytes(w->item);
  if (w->item->source.kind == QUANT_DENSE && values_type(w->item) == type_get(w->item->view->type)->dtype)
    return slice_stored(l->p, w, to, error);
  return slice_values(l->p, w, &(slice_buffers){.raw = b->raw, .values = (float *)(void *)to}, error);
}

static viva_status do_slice(void *arg, size_t i, size_t thread, viva_error *error) {
  const loader *l = arg;
  const slice_buffers *b = &l->threads[thread];
  const slice *w = &l->slices[i];
  if (l->surveys) return slice_survey(l->p, w, b, &l->surveys[i], error);
  return l->unpacked ? unpacked_slice(l, w, b, error) : slice_load(l->p, w, b, error);
}

static viva_status run_batch(loader *l, const slice *slices, size_t count, viva_error *error) {
  l->slices = slices;
  return pool_try(l->pool, count, do_slice, l, error);
}

static viva_status tell(const loader *l, viva_error *error) {
  if (!l->progress || !l->progress(l->progress_user, l->done, l->total)) return VIVA_OK;
  return error_set(error, VIVA_E_CANCELLED, "loading was cancelled");
}

/* ---- survey */

static viva_status survey_batches(loader *l, pack_survey *of_items, viva_error *error) {
  for (size_t begin = 0, n; begin < l->count; begin += n) {
    n = l->count - begin < SURVEY_SLICES ? l->count - begin : SURVEY_SLICES;
    memset(l->surveys, 0, n * sizeof *l->surveys);
    TRY(run_batch(l, l->all + begin, n, error));
    for (size_t i = 0; i < n; i++) {
      const slice *w = &l->all[begin + i];
      pack_survey_merge(&of_items[w->item - l->p->items], &l->surveys[i]);
      l->done += w->rows * plan_file_row_bytes(w->item);
    }
    TRY(tell(l, error));
  }
  return VIVA_OK;
}

/* What a survey reads; 0: there is none. */
static uint64_t survey_bytes(const plan *p) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < p->item_count; i++)
    if (is_surveyed(p, &p->items[i])) bytes = budget_add(bytes, p->items[i].view->bytes);
  return bytes;
}

viva_status load_survey(plan *p, viva_progress_fn progress, void *user, viva_error *error) {
  viva_engine *engine = p->engine;
  p->surveyed_bytes = survey_bytes(p);
  if (!p->surveyed_bytes) return VIVA_OK;
  loader l = {.p = p,
              .m = &engine->rt->mem,
              .pool = engine->pool,
              .progress = progress,
              .progress_user = user,
              .total = budget_add(p->surveyed_bytes, p->block_bytes)};
  pack_survey *of_items = mem_array(l.m, p->item_count, sizeof *of_items);
  l.surveys = mem_array(l.m, SURVEY_SLICES, sizeof *l.surveys);
  int missing = loader_begin(&l, is_surveyed) || !of_items || !l.surveys;
  viva_status status = missing ? no_buffers(error) : survey_batches(&l, of_items, error);
  for (size_t i = 0; !status && i < p->item_count; i++) {
    if (!is_surveyed(p, &p->items[i])) continue;
    pack_settle(&p->items[i].spec, &of_items[i]);
    plan_size(p, &p->items[i]);
  }
  loader_end(&l);
  mem_free(l.m, l.surveys);
  mem_free(l.m, of_items);
  if (!status) plan_measure(p);
  return status;
}

/* ---- filling the block */

/* What a device with pack_rows packs. */
static int device_packs(const plan_item *item) { return !weight_dense(item->spec.format) && !item->native; }

static int by_device(const loader *l, const plan_item *item) { return l->values && device_packs(item); }

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
  for (; end < l->count && !by_device(l, l->all[end].item); end++) {
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
  return run_batch(l, l->all + begin, *end - begin, error);
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

/* The device has read the other stage. */
static viva_status turn_stages(loader *l, backend *b, viva_error *error) {
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
  TRY(run_batch(l, l->all + begin, *end - begin, error));
  TRY(turn_stages(l, b, error));
  for (size_t i = begin; i < *end; i = run_end(l, i, *end, &rows))
    TRY(send_rows(b, l->all[i].item, block, &l->all[i].to, error));
  return VIVA_OK;
}

/* ---- packed by the device */

/* The rows that wait, into their item's place: one head after the other where heads are interleaved (whole ones:
 * plan_slice_rows), every second row of its first and of its second half. */
static viva_status pack_waiting(loader *l, backend *b, uint8_t *block, viva_error *error) {
  if (!l->waiting) return VIVA_OK;
  const plan_item *item = l->waiting->item;
  const size_t row = l->waiting->row, rows = l->waiting_rows, row_bytes = values_row_bytes(item);
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

/* Slices [begin, *end) of one item. */
static viva_status fill_by_device(loader *l, backend *b, uint8_t *block, size_t begin, size_t *end, viva_error *error) {
  const slice *first = &l->all[begin];
  const size_t row_bytes = values_row_bytes(first->item);
  uint8_t *stage = l->stages[l->turn];
  size_t rows = first->rows;
  for (*end = begin + 1; *end < l->count; ++*end) {
    if (l->all[*end].item != first->item || (rows + l->all[*end].rows) * row_bytes > BATCH_BYTES) break;
    rows += l->all[*end].rows;
  }
  l->unpacked = stage;
  const viva_status status = run_batch(l, first, *end - begin, error);
  l->unpacked = NULL;
  if (status) return status;
  TRY(turn_stages(l, b, error));
  TRY(pack_waiting(l, b, block, error));
  TRY(b->ops->upload(b, l->values, stage, rows * row_bytes, error));
  l->waiting = first;
  l->waiting_rows = rows;
  return VIVA_OK;
}

static viva_status fill_next(loader *l, backend *b, uint8_t *block, size_t begin, size_t *end, viva_error *error) {
  if (by_device(l, l->all[begin].item)) return fill_by_device(l, b, block, begin, end, error);
  return b->host_memory ? fill_here(l, block, begin, end, error) : fill_staged(l, b, block, begin, end, error);
}

static viva_status fill_batches(loader *l, backend *b, uint8_t *block, viva_error *error) {
  const uint64_t before = l->done;
  for (size_t begin = 0, end; begin < l->count; begin = end) {
    TRY(fill_next(l, b, block, begin, &end, error));
    if (end == l->count) {
      TRY(pack_waiting(l, b, block, error));
      if (b->ops->upload_wait) TRY(b->ops->upload_wait(b, error));
    }
    l->done = before + end_of(&l->all[end - 1]);
    TRY(tell(l, error));
  }
  return VIVA_OK;
}

/* Bytes of a stage for every batch. */
static size_t stage_bytes(const loader *l) {
  size_t most = 0;
  uint64_t all = 0;
  for (size_t i = 0; i < l->count; i++) {
    const slice *w = &l->all[i];
    const size_t bytes = by_device(l, w->item) ? w->rows * values_row_bytes(w->item) : matrix_bytes(w->item, w->rows);
    all = budget_add(all, bytes);
    if (bytes > most) most = bytes;
  }
  if (most < BATCH_BYTES) most = all < BATCH_BYTES ? (size_t)all : BATCH_BYTES;
  return (most + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN; /* where the second one begins */
}

/* Bytes of rows for every batch that a device packs; 0: there is none. */
static size_t largest_unpacked(const loader *l) {
  uint64_t largest = 0;
  for (size_t i = 0; i < l->count; i++) {
    const plan_item *item = l->all[i].item;
    const uint64_t row_bytes = values_row_bytes(item), all = budget_mul(item->rows, row_bytes);
    const uint64_t most = l->all[i].rows * row_bytes > BATCH_BYTES ? l->all[i].rows * row_bytes : BATCH_BYTES;
    if (device_packs(item) && (all < most ? all : most) > largest) largest = all < most ? all : most;
  }
  return (size_t)largest;
}

/* Room for the rows that the device packs. Where it has none left, the host packs. */
static viva_status take_values(loader *l, backend *b, viva_error *error) {
  const size_t bytes = b->ops->pack_rows ? largest_unpacked(l) : 0;
  if (bytes == 0) return VIVA_OK;
  const viva_status status = b->ops->alloc(b, bytes, &l->values, NULL);
  if (status == VIVA_OK || status == VIVA_E_MEMORY) return VIVA_OK;
  return error_set(error, status, "the device failed while its memory was taken");
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
  return l->stages[0] ? VIVA_OK : no_buffers(error);
}

static viva_status fill_block(void *block, const plan *p, viva_progress_fn progress, void *user, viva_error *error) {
  backend *b = p->engine->backend;
  loader l = {.p = p,
              .m = &p->engine->rt->mem,
              .pool = p->engine->pool,
              .progress = progress,
              .progress_user = user,
              .done = p->surveyed_bytes,
              .total = budget_add(p->surveyed_bytes, p->block_bytes)};
  int pinned = 0;
  viva_status status = loader_begin(&l, is_loaded) ? no_buffers(error) : take_values(&l, b, error);
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

/* ---- pointers */

static viva_status load_rope_factors(decoder *d, const plan *p, viva_error *error) {
  const plan_item *item = p->rope_factors;
  mem *m = &p->engine->rt->mem;
  uint8_t *raw = mem_alloc(m, (size_t)item->view->bytes);
  float *factors = mem_array(m, item->cols, sizeof(float));
  d->rope_factors = factors;
  viva_status status = raw && factors
                           ? checkpoint_read_part(p->ck, item->view, 0, raw, (size_t)item->view->bytes, error)
                           : error_set(error, VIVA_E_MEMORY, "no memory for the RoPE factors");
  if (!status) status = type_dequant(item->view->type, raw, factors, item->cols, error);
  mem_free(m, raw);
  if (status) return status;
  for (size_t i = 0; i < item->cols; i++)
    if (!(factors[i] > 0 && factors[i] <= 0x1.fffffep+127f))
      return checkpoint_fail(p->ck, item->view, error, VIVA_E_NUMERIC,
                             "RoPE factor %zu is no positive number; the file is damaged", i);
  return VIVA_OK;
}

static viva_status allocate(backend *b, uint64_t bytes, void **block, viva_error *error) {
  const viva_status status = b->ops->alloc(b, (size_t)bytes, block, error);
  return status == VIVA_E_MEMORY
             ? error_set(error, VIVA_E_MEMORY, "no memory for %llu bytes of weights", (unsigned long long)bytes)
             : status;
}

viva_status load_weights(decoder *d, void **block, plan *p, viva_progress_fn progress, void *user, viva_error *error) {
  backend *b = p->engine->backend;
  if (p->block_bytes) TRY(allocate(b, p->block_bytes, block, error));
  TRY(fill_block(*block, p, progress, user, error));
  if (p->rope_factors) TRY(load_rope_factors(d, p, error));
  for (size_t i = 0; i < p->item_count; i++) {
    const plan_item *item = &p->items[i];
    plan_set(p, item, item->in_place ? checkpoint_mapped(p->ck, item->view) : (const uint8_t *)*block + item->offset,
             d);
  }
  if (!p->head) d->head = d->embedding;
  if (!p->embedding) d->embedding = d->head;
  return VIVA_OK;
}
