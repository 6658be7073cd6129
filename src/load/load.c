/* load/load.c: a decoder's weights: the block, what fills it, the pointers. */
#include "load/load.h"

#include "load/load_inner.h"

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
  TRY(load_fill(*block, p, progress, user, error));
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
