/* load/plan_memory.c: how much memory a plan takes, and what to do when it is too much. */
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "load/plan.h"

/* Largest buffers of one thread that loads. */
typedef struct loading {
  size_t slice_bytes, slice_values;
} loading;

static void add_slice(loading *l, const plan_item *item) {
  int convert = !plan_as_stored(item);
  size_t rows = plan_slice_rows(item), values = rows * item->cols;
  size_t bytes = plan_raw_bytes(item, rows);
  if (item->in_place) return;
  if ((item->head_rows || convert) && bytes > l->slice_bytes) l->slice_bytes = bytes;
  if (convert && values > l->slice_values) l->slice_values = values;
}

static uint64_t loading_bytes(const plan *p, const loading *l) {
  uint64_t thread = budget_add(l->slice_bytes, budget_mul(l->slice_values, sizeof(float)));
  return budget_mul((uint64_t)pool_threads(p->engine->pool), thread);
}

static budget_case plan_case(const plan *p) {
  return (budget_case){.backend = p->engine->backend,
                       .config = &p->config,
                       .layers = (size_t)p->config.num_layers,
                       .kv = p->kv,
                       .act = p->act};
}

/* Largest context beside these weights, up to the model's own limit, or what is asked for where that is larger. */
static uint64_t largest_context(const plan *p, uint64_t weight_bytes, const loading *l) {
  uint64_t limit = p->config.max_position_embeddings;
  if (limit < p->context) limit = p->context;
  if (limit > BUDGET_CONTEXT_MOST) limit = BUDGET_CONTEXT_MOST;
  const budget_case c = plan_case(p);
  return budget_context(&c, budget_add(weight_bytes, loading_bytes(p, l)), p->memory.available_bytes, limit);
}

/* What the backend's second forms of these matrices take. Saturates; when there is no memory to find out, the load says so. */
static uint64_t prepared_bytes(const plan *p) {
  mem *m = &p->engine->rt->mem;
  backend *b = p->engine->backend;
  decoder d;
  if (!b->ops->weight_bytes) return 0;
  uint64_t bytes = 0;
  if (decoder_make(&d, &p->config, m, NULL) == VIVA_OK) {
    for (size_t i = 0; i < p->item_count; i++) plan_set(p, &p->items[i], NULL, &d);
    if (!p->head) d.head = d.embedding;
    bytes = decoder_prepared_bytes(b, &d);
  }
  decoder_end(&d, m);
  return bytes;
}

/* Places every copied weight and fills the numbers. Called again when the head turns out to be the embedding. */
void plan_measure(plan *p) {
  viva_memory_plan *n = &p->memory;
  const budget_case c = plan_case(p);
  n->parameters = n->weight_bytes = n->bytes_per_token = 0;
  p->block_bytes = 0;
  loading l = {0, 0};
  for (size_t i = 0; i < p->item_count; i++) {
    plan_item *item = &p->items[i];
    if (item == p->rope_factors) continue;
    if (!item->copy) n->parameters = budget_add(n->parameters, budget_mul(item->rows, item->cols));
    n->weight_bytes = budget_add(n->weight_bytes, item->bytes);
    int table_only = item == p->embedding && p->head; /* of an untied embedding a token reads one row */
    n->bytes_per_token = budget_add(n->bytes_per_token, table_only ? item->bytes / item->rows : item->bytes);
    if (item->in_place) continue;
    item->offset = p->block_bytes;
    p->block_bytes = budget_add(p->block_bytes, item->bytes);
    if (ck_align(p->block_bytes, PLAN_ALIGN, &p->block_bytes)) p->block_bytes = UINT64_MAX;
    add_slice(&l, item);
  }
  n->weight_bytes = budget_add(n->weight_bytes, prepared_bytes(p));
  p->slice_bytes = l.slice_bytes;
  p->slice_values = l.slice_values;
  size_t chunk = budget_chunk(&p->config, c.backend, p->context, 0);
  n->size = sizeof *n;
  n->context = p->context;
  n->page_bytes = budget_kv(&p->config, c.layers, KV_PAGE, p->kv);
  n->kv_bytes = budget_kv(&p->config, c.layers, p->context, p->kv);
  n->work_bytes = budget_add(budget_work(&c, p->context, chunk), loading_bytes(p, &l));
  n->needed_bytes = budget_add(n->weight_bytes, budget_add(n->kv_bytes, n->work_bytes));
  n->available_bytes = budget_available(c.backend);
  n->largest_context = largest_context(p, n->weight_bytes, &l);
  plan_devices(p);
}

void plan_tie(plan *p) {
  p->item_count--;
  memmove(p->head, p->head + 1, (size_t)(p->items + p->item_count - p->head) * sizeof *p->head);
  if (p->rope_factors > p->head) p->rope_factors--;
  if (p->embedding > p->head) p->embedding--;
  p->head = NULL;
  plan_measure(p);
}

/* Largest context if all matrices were held in the format of this word; 0 when that saves nothing. */
static uint64_t context_with(const plan *p, const char *word) {
  uint64_t bytes = 0;
  loading l = {0, 0};
  const rule r = {.text = word};
  for (size_t i = 0; i < p->item_count; i++) {
    if (&p->items[i] == p->rope_factors) continue;
    plan_item item = plan_item_under(p, &p->items[i], &r);
    bytes = budget_add(bytes, item.bytes);
    add_slice(&l, &item);
    if (&p->items[i] != p->embedding || p->head) continue;
    item.slot = &names_global[NAMES_HEAD]; /* a tied head becomes a matrix of its own */
    plan_item head = plan_item_under(p, &item, &r);
    if (!plan_same_format(&head, &item)) bytes = budget_add(bytes, head.bytes);
  }
  return bytes < p->memory.weight_bytes ? largest_context(p, bytes, &l) : 0;
}

static const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

/* Formats from the finest to the smallest. The first with which all fits is advised, else the one that helps most, when
 * it helps. */
static void advise(const plan *p, char *advice, size_t size) {
  static const char *const words[] = {"bf16", "fp8", "nvfp4"};
  uint64_t fits = p->memory.largest_context, best = fits + fits / 8; /* less is not worth the rounding */
  int used = fits ? snprintf(advice, size, "the largest context that fits is %llu token%s", (unsigned long long)fits,
                             plural(fits))
                  : snprintf(advice, size, "no context fits");
  const char *word = NULL;
  for (size_t i = 0; i < sizeof words / sizeof *words && (!word || best < p->context); i++) {
    uint64_t with = context_with(p, words[i]);
    if (with <= best && with < p->context) continue;
    best = with;
    word = words[i];
  }
  if (!word) return;
  if (best >= p->context)
    snprintf(advice + used, size - (size_t)used, "; with weights %s all of it fits", word);
  else
    snprintf(advice + used, size - (size_t)used, "; with weights %s a context of %llu token%s fits", word,
             (unsigned long long)best, plural(best));
}

/* Several devices, each with its share. */
static viva_status refuse_devices(const plan *p, viva_error *error) {
  const viva_memory_plan *n = &p->memory;
  char needed[32], available[32];
  if (n->device_available_bytes == 0 || n->device_bytes <= n->device_available_bytes) return VIVA_OK;
  error_set(error, VIVA_E_LIMIT,
            "each of the %llu devices would hold %s, but one has only %s available; use more devices, fewer bits or a "
            "shorter context",
            (unsigned long long)n->devices, budget_text(n->device_bytes, needed),
            budget_text(n->device_available_bytes, available));
  error_at(error, p->ck->path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_LIMIT;
}

viva_status plan_refuse(const plan *p, viva_error *error) {
  const viva_memory_plan *n = &p->memory;
  TRY(refuse_devices(p, error));
  if (n->available_bytes == 0 || n->needed_bytes <= n->available_bytes) return VIVA_OK;
  char needed[32], available[32], weights[32], kv[32], work[32], advice[160];
  advise(p, advice, sizeof advice);
  error_set(error, VIVA_E_LIMIT,
            "the model needs %s (weights %s, KV cache of %llu token%s %s, work %s), but %s are available; %s",
            budget_text(n->needed_bytes, needed), budget_text(n->weight_bytes, weights), (unsigned long long)n->context,
            plural(n->context), budget_text(n->kv_bytes, kv), budget_text(n->work_bytes, work),
            budget_text(n->available_bytes, available), advice);
  error_at(error, p->ck->path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_LIMIT;
}
