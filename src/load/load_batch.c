/* load/load_batch.c: the list of slices, and what the threads do with some of them. */
#include "load/load_inner.h"

int item_is_loaded(const plan *p, const plan_item *item) { return !item->in_place && item != p->rope_factors; }

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

void loader_end(loader *l) {
  size_t threads = (size_t)pool_threads(l->pool);
  for (size_t t = 0; t < threads && l->threads; t++) {
    mem_free(l->m, l->threads[t].raw);
    mem_free(l->m, l->threads[t].values);
  }
  mem_free(l->m, l->threads);
  mem_free(l->m, l->all);
}

int loader_begin(loader *l, item_filter takes) {
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

viva_status loader_no_buffers(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for the buffers that loading needs");
}

static viva_status do_slice(void *arg, size_t i, size_t thread, viva_error *error) {
  const loader *l = arg;
  const slice_buffers *b = &l->threads[thread];
  const slice *w = &l->slices[i];
  if (l->surveys) return slice_survey(l->p, w, b, &l->surveys[i], error);
  return l->unpacked ? device_slice(l, w, b, error) : slice_load(l->p, w, b, error);
}

viva_status loader_run(loader *l, const slice *slices, size_t count, viva_error *error) {
  l->slices = slices;
  return pool_try(l->pool, count, do_slice, l, error);
}

viva_status loader_tell(const loader *l, viva_error *error) {
  if (!l->progress || !l->progress(l->progress_user, l->done, l->total)) return VIVA_OK;
  return error_set(error, VIVA_E_CANCELLED, "loading was cancelled");
}
