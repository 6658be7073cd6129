/* load/plan_devices.c: what each of several devices would hold of a model: its share is cut as it will be, but from shapes. */
#include "load/cut.h"
#include "load/plan.h"

/* The decoder as it will be, without its weights' bytes. Errors: E_MEMORY; decoder_end is needed in both cases. */
static viva_status shapes_of(const plan *p, decoder *d, viva_error *error) {
  TRY(decoder_make(d, &p->config, &p->engine->rt->mem, error));
  for (size_t i = 0; i < p->item_count; i++) plan_set(p, &p->items[i], NULL, d);
  if (!p->head) d->head = d->embedding;
  if (!p->embedding) d->embedding = d->head;
  return VIVA_OK;
}

/* Weights and their second forms. Saturates; when there is no memory to find out, placing the model says so. */
static uint64_t share_bytes(const decoder *whole, const viva_model_config *config, backend *b, size_t number,
                            size_t count, mem *m) {
  cut_target to = {.b = b, .memory = m};
  decoder share;
  const viva_status status = cut_decoder(whole, config, number, count, &to, &share, NULL);
  const uint64_t bytes = status ? 0 : budget_add(to.used, decoder_prepared_bytes(b, &share));
  decoder_end(&share, m);
  return bytes;
}

/* Of sums that are on their way. */
static uint64_t exchange_bytes(const exchange *e, const viva_model_config *config, size_t chunk) {
  const size_t half = exchange_half(e, chunk);
  return half && e->ops->reserve_bytes ? e->ops->reserve_bytes(e, half * budget_rows(config).hidden) : 0;
}

static void add_share(const viva_engine *e, const decoder *whole, const budget_case *c, size_t number,
                      viva_memory_plan *n) {
  const rank_set *r = e->ranks;
  backend *b = r->each[number].b;
  const viva_model_config config = cut_config(c->config, number, r->count);
  const budget_case own = {.backend = b, .config = &config, .layers = c->layers, .kv = c->kv, .act = c->act};
  const uint64_t weights = share_bytes(whole, c->config, b, number, r->count, &e->rt->mem);
  const size_t chunk = budget_chunk(&config, b, n->context, 0);
  const uint64_t work = budget_add(budget_work(&own, n->context, chunk), exchange_bytes(r->exchange, &config, chunk));
  const uint64_t bytes = budget_add(weights, budget_add(work, budget_kv(&config, c->layers, n->context, c->kv)));
  if (bytes > n->device_bytes) n->device_bytes = bytes;
  if (b->host_memory) {
    n->needed_bytes = budget_add(n->needed_bytes, bytes);
    return;
  }
  const uint64_t available = budget_available(b);
  const size_t longest = budget_chunk(&config, b, n->largest_context, 0);
  const uint64_t fixed = budget_add(weights, exchange_bytes(r->exchange, &config, longest));
  const uint64_t context = budget_context(&own, fixed, available, n->largest_context);
  if (!n->device_available_bytes || available < n->device_available_bytes) n->device_available_bytes = available;
  if (context < n->largest_context) n->largest_context = context;
}

void plan_shares(const viva_engine *e, const decoder *whole, const budget_case *c, uint64_t limit,
                 viva_memory_plan *n) {
  if (!e->ranks) return;
  n->devices = e->ranks->count;
  n->device_bytes = n->device_available_bytes = 0;
  n->needed_bytes = n->weight_bytes; /* KV cache and work space lie on the devices */
  n->largest_context = limit;
  for (size_t i = 0; i < e->ranks->count; i++) add_share(e, whole, c, i, n);
}

void plan_devices(plan *p) {
  decoder d;
  const budget_case c = {.config = &p->config, .layers = (size_t)p->config.num_layers, .kv = p->kv, .act = p->act};
  uint64_t limit = p->config.max_position_embeddings;
  if (!p->engine->ranks) return;
  if (limit < p->context) limit = p->context;
  if (limit > BUDGET_CONTEXT_MOST) limit = BUDGET_CONTEXT_MOST;
  if (shapes_of(p, &d, NULL) == VIVA_OK && cut_check(&d, p->engine->ranks->count, NULL) == VIVA_OK)
    plan_shares(p->engine, &d, &c, limit, &p->memory);
  decoder_end(&d, &p->engine->rt->mem);
}

viva_status plan_check_devices(const plan *p, viva_error *error) {
  decoder d;
  if (!p->engine->ranks) return VIVA_OK;
  viva_status status = shapes_of(p, &d, error);
  if (!status) status = cut_check(&d, p->engine->ranks->count, error);
  decoder_end(&d, &p->engine->rt->mem);
  return status;
}
