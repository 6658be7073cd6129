/* load/load.c: one list of pieces, shared out among the threads, batch after batch.
 *
 * What the formats of some tensors depend on (a largest value, the range of the scales) is found first, in a pass of its
 * own over their pieces. On a device whose memory the host cannot write, places lie in a staging buffer that is uploaded
 * after each batch.
 */
#include "load/load.h"

#include <string.h>

#include "load/piece.h"

/* Bytes of held weights in one batch: progress and cancel come between batches. */
#define BATCH_BYTES ((uint64_t)32 << 20)

/* Pieces surveyed in one batch. */
#define SURVEY_PIECES 256

typedef struct thread_state {
  piece_buffers buffers;
  viva_status status;
  size_t failed; /* piece */
  viva_error error;
} thread_state;

typedef struct loader {
  const plan *p;
  mem *m;
  pool *pool;
  piece *all; /* every piece of the pass */
  size_t count;
  const piece *pieces; /* of this batch */
  piece_target target;
  pack_survey *surveys; /* one for each piece of the batch, in a survey */
  thread_state *threads;
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

static size_t list_pieces(const plan *p, item_filter takes, piece *pieces) {
  size_t count = 0;
  for (size_t i = 0; i < p->item_count; i++) {
    const plan_item *item = &p->items[i];
    size_t rows = plan_piece_rows(item);
    if (!takes(p, item)) continue;
    for (size_t row = 0; row < item->rows; row += rows, count++) {
      size_t left = item->rows - row;
      if (pieces) pieces[count] = (piece){.item = item, .row = row, .rows = left < rows ? left : rows};
    }
  }
  return count;
}

static void loader_end(loader *l) {
  size_t threads = (size_t)pool_threads(l->pool);
  for (size_t t = 0; t < threads && l->threads; t++) {
    mem_free(l->m, l->threads[t].buffers.raw);
    mem_free(l->m, l->threads[t].buffers.values);
  }
  mem_free(l->m, l->threads);
  mem_free(l->m, l->all);
}

/* 0, or 1 when there is no memory; loader_end is needed in both cases. */
static int loader_begin(loader *l, item_filter takes) {
  size_t threads = (size_t)pool_threads(l->pool);
  l->count = list_pieces(l->p, takes, NULL);
  l->all = mem_array(l->m, l->count, sizeof *l->all);
  l->threads = mem_array(l->m, threads, sizeof *l->threads);
  if (!l->all || !l->threads) return 1;
  list_pieces(l->p, takes, l->all);
  for (size_t t = 0; t < threads; t++) {
    l->threads[t].buffers.raw = mem_alloc(l->m, l->p->piece_bytes);
    l->threads[t].buffers.values = mem_array(l->m, l->p->piece_values, sizeof(float));
    if (!l->threads[t].buffers.raw || !l->threads[t].buffers.values) return 1;
  }
  return 0;
}

static viva_status no_buffers(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for the buffers that loading needs");
}

/* ---- a batch */

static void do_pieces(void *arg, size_t begin, size_t end, size_t thread) {
  loader *l = arg;
  thread_state *t = &l->threads[thread];
  for (size_t i = begin; i < end && !t->status; i++) {
    t->failed = i;
    if (l->surveys)
      t->status = piece_survey(l->p, &l->pieces[i], &t->buffers, &l->surveys[i], &t->error);
    else
      t->status = piece_load(l->p, &l->pieces[i], &t->buffers, l->target, &t->error);
  }
}

/* The error is that of the first piece that failed, whichever thread met it. */
static viva_status run_batch(loader *l, const piece *pieces, size_t count, viva_error *error) {
  const thread_state *first = NULL;
  l->pieces = pieces;
  pool_for(l->pool, count, 1, do_pieces, l);
  for (int t = 0; t < pool_threads(l->pool); t++)
    if (l->threads[t].status && (!first || l->threads[t].failed < first->failed)) first = &l->threads[t];
  if (!first) return VIVA_OK;
  if (error) *error = first->error;
  return first->status;
}

static viva_status tell(const loader *l, viva_error *error) {
  if (!l->progress || !l->progress(l->progress_user, l->done, l->total)) return VIVA_OK;
  return error_set(error, VIVA_E_CANCELLED, "loading was cancelled");
}

/* ---- survey */

static viva_status survey_batches(loader *l, pack_survey *of_items, viva_error *error) {
  for (size_t begin = 0, n; begin < l->count; begin += n) {
    n = l->count - begin < SURVEY_PIECES ? l->count - begin : SURVEY_PIECES;
    memset(l->surveys, 0, n * sizeof *l->surveys);
    TRY(run_batch(l, l->all + begin, n, error));
    for (size_t i = 0; i < n; i++) {
      const piece *w = &l->all[begin + i];
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
  l.surveys = mem_array(l.m, SURVEY_PIECES, sizeof *l.surveys);
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

/* The bytes of the block that a batch with this piece writes. On a device, codes and scales of a packed tensor are staged
 * together: all of it. Where the host writes, it is only the piece's share, for progress. */
static void extent(const piece *w, int whole, uint64_t *begin, uint64_t *end) {
  const plan_item *item = w->item;
  uint64_t row_bytes = item->bytes / item->rows;
  int all = whole && !weight_dense(item->spec.format);
  *begin = item->offset + (all ? 0 : w->row * row_bytes);
  *end = all || w->row + w->rows == item->rows ? item->offset + item->bytes
                                               : item->offset + (w->row + w->rows) * row_bytes;
}

static viva_status fill_batches(loader *l, backend *b, void *block, viva_error *error) {
  int staged = !b->ops->host_memory;
  uint64_t before = l->done;
  for (size_t begin = 0, end; begin < l->count; begin = end) {
    uint64_t from, to, next;
    extent(&l->all[begin], staged, &from, &to);
    for (end = begin + 1; end < l->count; end++) {
      extent(&l->all[end], staged, &next, &next);
      int same = staged && l->all[end].item == l->all[end - 1].item && !weight_dense(l->all[end].item->spec.format);
      if (!same && to - from >= BATCH_BYTES) break;
      to = next;
    }
    if (staged) l->target.begin = from / PLAN_ALIGN * PLAN_ALIGN;
    TRY(run_batch(l, l->all + begin, end - begin, error));
    if (staged)
      TRY(b->ops->upload(b, (uint8_t *)block + from, l->target.base + (from - l->target.begin), (size_t)(to - from),
                         error));
    l->done = before + to;
    TRY(tell(l, error));
  }
  return VIVA_OK;
}

/* Bytes of a staging buffer for every batch. */
static size_t largest_batch(const loader *l) {
  uint64_t largest = 0, begin, end;
  for (size_t i = 0; i < l->count; i++) {
    extent(&l->all[i], 1, &begin, &end);
    if (end - begin > largest) largest = end - begin;
  }
  return (size_t)(BATCH_BYTES + 2 * PLAN_ALIGN + largest); /* aligned begin, the gap before a weight */
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
  if (!missing && !b->ops->host_memory) {
    staging = l.target.base = mem_alloc(l.m, largest_batch(&l));
    missing = !staging;
  }
  viva_status status = missing ? no_buffers(error) : fill_batches(&l, b, block, error);
  mem_free(l.m, staging);
  loader_end(&l);
  return status;
}

/* ---- pointers */

static void set_pointer(decoder *d, const void *block, const plan *p, const plan_item *item) {
  char *owner = item->layer == PLAN_GLOBAL ? (char *)d : (char *)&d->layers[item->layer];
  const void *data = item->in_place ? checkpoint_mapped(p->ck, item->view) : (const uint8_t *)block + item->offset;
  if (item->vector) {
    const float *vector = data;
    memcpy(owner + item->slot->field, &vector, sizeof vector);
    return;
  }
  weight w = plan_view(p, item, data);
  memcpy(owner + item->slot->field, &w, sizeof w);
}

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

viva_status load_weights(decoder *d, void **block, plan *p, viva_progress_fn progress, void *user, viva_error *error) {
  backend *b = p->engine->backend;
  if (p->block_bytes && !(*block = b->ops->alloc(b, (size_t)p->block_bytes)))
    return error_set(error, VIVA_E_MEMORY, "no memory for %llu bytes of weights", (unsigned long long)p->block_bytes);
  TRY(fill_block(*block, p, progress, user, error));
  if (p->rope_factors) TRY(load_rope_factors(d, p, error));
  for (size_t i = 0; i < p->item_count; i++)
    if (&p->items[i] != p->rope_factors) set_pointer(d, *block, p, &p->items[i]);
  if (!p->head) d->head = d->embedding;
  if (!p->embedding) d->embedding = d->head;
  return VIVA_OK;
}
