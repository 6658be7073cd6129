/* load/load_survey.c: what the formats of some tensors depend on (a largest value, the range of the scales), found in a
 * pass of its own over their slices. */
#include <string.h>

#include "load/load.h"
#include "load/load_inner.h"

/* Slices surveyed in one batch. */
#define SURVEY_SLICES 256

static int is_surveyed(const plan *p, const plan_item *item) {
  return item_is_loaded(p, item) && !item->vector && !item->native && pack_needs_survey(&item->spec);
}

static viva_status survey_batches(loader *l, pack_survey *of_items, viva_error *error) {
  for (size_t begin = 0, n; begin < l->count; begin += n) {
    n = l->count - begin < SURVEY_SLICES ? l->count - begin : SURVEY_SLICES;
    memset(l->surveys, 0, n * sizeof *l->surveys);
    TRY(loader_run(l, l->all + begin, n, error));
    for (size_t i = 0; i < n; i++) {
      const slice *w = &l->all[begin + i];
      pack_survey_merge(&of_items[w->item - l->p->items], &l->surveys[i]);
      l->done += w->rows * plan_file_row_bytes(w->item);
    }
    TRY(loader_tell(l, error));
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
  viva_status status = missing ? loader_no_buffers(error) : survey_batches(&l, of_items, error);
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
