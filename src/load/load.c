/* load/load.c: one list of slices, shared out among the threads, batch after batch.
 *
 * What the formats of some tensors depend on (a largest value, the range of the scales) is found first, in a pass of its
 * own over their slices. On a device whose memory the host cannot write, places lie in a staging buffer that is uploaded
 * after each batch; where the device packs, the buffer holds the rows as FP32.
 */
#include "load/load.h"

#include <string.h>

#include "load/slice.h"

/* Bytes of held weights in one batch: progress and cancel come between batches. */
#define BATCH_BYTES ((uint64_t)32 << 20)

/* Slices surveyed in one batch. */
#define SURVEY_SLICES 256

typedef struct loader {
  const plan *p;
  mem *m;
  pool *pool;
  slice *all; /* every slice of the pass */
  size_t count;
  const slice *slices; /* of this batch */
  slice_target target;
  void *values;         /* dev: rows that the device packs; NULL: it does not */
  int unpacked;         /* this batch is of such rows, and target.base holds their FP32, in the file's order */
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

static viva_status unpacked_slice(const loader *l, const slice *w, const slice_buffers *b, viva_error *error) {
  float *to = (float *)(void *)l->target.base + (w->row - l->slices[0].row) * w->item->cols;
  return slice_values(l->p, w, &(slice_buffers){.raw = b->raw, .values = to}, error);
}

static viva_status do_slice(void *arg, size_t i, size_t thread, viva_error *error) {
  const loader *l = arg;
  const slice_buffers *b = &l->threads[thread];
  const slice *w = &l->slices[i];
  if (l->surveys) return slice_survey(l->p, w, b, &l->surveys[i], error);
  return l->unpacked ? unpacked_slice(l, w, b, error) : slice_load(l->p, w, b, l->target, error);
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

/* The bytes of the block that a batch with this slice writes. On a device, codes and scales of a packed tensor are staged
 * together: all of it. Where the host writes, it is only the slice's share, for progress. */
static void extent(const slice *w, int whole, uint64_t *begin, uint64_t *end) {
  const plan_item *item = w->item;
  uint64_t row_bytes = item->bytes / item->rows;
  int all = whole && !weight_dense(item->spec.format);
  *begin = item->offset + (all ? 0 : w->row * row_bytes);
  *end = all || w->row + w->rows == item->rows ? item->offset + item->bytes
                                               : item->offset + (w->row + w->rows) * row_bytes;
}

/* Slices [begin, *end), packed on the host. *to: the end of what they fill. */
static viva_status fill_batch(loader *l, backend *b, uint8_t *block, size_t begin, size_t *end, uint64_t *to,
                              viva_error *error) {
  const int staged = !b->host_memory;
  uint64_t from, next;
  extent(&l->all[begin], staged, &from, to);
  for (*end = begin + 1; *end < l->count; ++*end) {
    const slice *w = &l->all[*end];
    extent(w, staged, &next, &next);
    int same = staged && w->item == w[-1].item && !weight_dense(w->item->spec.format);
    if (by_device(l, w->item) || (!same && *to - from >= BATCH_BYTES)) break;
    *to = next;
  }
  if (staged) l->target.begin = from / PLAN_ALIGN * PLAN_ALIGN;
  TRY(run_batch(l, l->all + begin, *end - begin, error));
  if (!staged) return VIVA_OK;
  return b->ops->upload(b, block + from, l->target.base + (from - l->target.begin), (size_t)(*to - from), error);
}

/* The rows of a batch, which lie at l->values, into the item's place: one head after the other where heads are interleaved
 * (whole ones: plan_slice_rows), every second row of its first and of its second half. */
static viva_status pack_values(const loader *l, backend *b, const plan_item *item, uint8_t *to, size_t row, size_t rows,
                               viva_error *error) {
  const size_t steps = item->head_rows ? 2 : 1, each = (item->head_rows ? item->head_rows : rows) / steps;
  for (size_t at = 0; at < rows; at += steps * each)
    for (size_t half = 0; half < steps; half++) {
      const outer_rows values = {.dtype = VIVA_F32,
                                 .data = (float *)l->values + (at + half) * item->cols,
                                 .row_stride = (ptrdiff_t)(steps * item->cols),
                                 .col_stride = 1};
      pack_place bad = {0};
      TRY(b->ops->pack_rows(b, &item->spec, item->rows, item->cols, to, row + at + half * each, each, &values, &bad,
                            error));
      if (bad.found) return slice_not_finite(l->p, item, bad, error);
    }
  return VIVA_OK;
}

/* Slices [begin, *end) of one item, packed by the device. */
static viva_status fill_by_device(loader *l, backend *b, uint8_t *block, size_t begin, size_t *end, uint64_t *to,
                                  viva_error *error) {
  const slice *first = &l->all[begin];
  const plan_item *item = first->item;
  const size_t row_bytes = item->cols * sizeof(float);
  size_t rows = first->rows;
  for (*end = begin + 1; *end < l->count; ++*end) {
    if (l->all[*end].item != item || (rows + l->all[*end].rows) * row_bytes > BATCH_BYTES) break;
    rows += l->all[*end].rows;
  }
  l->unpacked = 1;
  const viva_status status = run_batch(l, first, *end - begin, error);
  l->unpacked = 0;
  if (status) return status;
  TRY(b->ops->upload(b, l->values, l->target.base, rows * row_bytes, error));
  uint64_t from;
  extent(&l->all[*end - 1], 0, &from, to);
  return pack_values(l, b, item, block + item->offset, first->row, rows, error);
}

static viva_status fill_batches(loader *l, backend *b, uint8_t *block, viva_error *error) {
  const uint64_t before = l->done;
  for (size_t begin = 0, end; begin < l->count; begin = end) {
    uint64_t to;
    if (by_device(l, l->all[begin].item))
      TRY(fill_by_device(l, b, block, begin, &end, &to, error));
    else
      TRY(fill_batch(l, b, block, begin, &end, &to, error));
    l->done = before + to;
    TRY(tell(l, error));
  }
  return VIVA_OK;
}

/* Bytes of a staging buffer for every batch. */
static size_t largest_batch(const loader *l) {
  uint64_t largest = l->p->slice_values * sizeof(float), begin, end;
  for (size_t i = 0; i < l->count; i++) {
    if (by_device(l, l->all[i].item)) continue;
    extent(&l->all[i], 1, &begin, &end);
    if (end - begin > largest) largest = end - begin;
  }
  return (size_t)(BATCH_BYTES + 2 * PLAN_ALIGN + largest); /* aligned begin, the gap before a weight */
}

/* Bytes of rows for every batch that a device packs; 0: there is none. */
static size_t largest_unpacked(const loader *l) {
  uint64_t largest = 0;
  for (size_t i = 0; i < l->count; i++) {
    const plan_item *item = l->all[i].item;
    const uint64_t row_bytes = item->cols * sizeof(float), all = budget_mul(item->rows, row_bytes);
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

static viva_status fill_block(void *block, const plan *p, viva_progress_fn progress, void *user, viva_error *error) {
  backend *b = p->engine->backend;
  loader l = {.p = p,
              .m = &p->engine->rt->mem,
              .pool = p->engine->pool,
              .target = {.base = block},
              .progress = progress,
              .progress_user = user,
              .done = p->surveyed_bytes,
              .total = budget_add(p->surveyed_bytes, p->block_bytes)};
  uint8_t *staging = NULL;
  int missing = loader_begin(&l, is_loaded);
  viva_status status = missing ? no_buffers(error) : take_values(&l, b, error);
  if (!status && !b->host_memory) {
    staging = l.target.base = mem_alloc(l.m, largest_batch(&l));
    if (!staging) status = no_buffers(error);
  }
  if (!status) status = fill_batches(&l, b, block, error);
  mem_free(l.m, staging);
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
