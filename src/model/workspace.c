/* model/workspace.c */
#include "model/workspace.h"

#include "model/shards.h"
#include "model/step.h"

void work_pool_begin(work_pool *p, const budget_case *sizes, mem *memory) {
  *p = (work_pool){.b = sizes->backend,
                   .memory = memory,
                   .layout = budget_rows(sizes->config),
                   .vocab = (size_t)sizes->config->vocab_size,
                   .rotary_dim = (size_t)sizes->config->rotary_dim,
                   .sizes = *sizes};
  pthread_mutex_init(&p->lock, NULL);
}

static void free_dev(const work_pool *p, void *dev) { p->b->ops->free(p->b, dev, NULL); }

static void destroy(work_pool *p, workspace *w) {
  free_dev(p, w->activations);
  free_dev(p, w->quantized);
  free_dev(p, w->logits);
  free_dev(p, w->batch_dev);
  mem_free(p->memory, w->host_logits);
  mem_free(p->memory, w->batch_host);
  mem_free(p->memory, w->top_ids);
  mem_free(p->memory, w->top_values);
  mem_free(p->memory, w->parts);
  mem_free(p->memory, w);
}

static void destroy_row(work_pool *p, logits_row *row) {
  if (p->ranks) shards_page_free(p->ranks, row->far);
  free_dev(p, row->dev);
  mem_free(p->memory, row->host);
  mem_free(p->memory, row);
}

void work_pool_reserving(work_pool *p, int change) {
  pthread_mutex_lock(&p->lock);
  p->reserving += (size_t)change;
  pthread_mutex_unlock(&p->lock);
}

/* The largest idle one: it fits most often. NULL: there is none. */
static workspace **largest(work_pool *p) {
  workspace **best = NULL;
  for (workspace **at = &p->free; *at; at = &(*at)->next)
    if (!best || (*at)->rows > (*best)->rows) best = at;
  return best;
}

void work_pool_trim(work_pool *p) {
  pthread_mutex_lock(&p->lock);
  workspace **best = largest(p), *kept = p->reserving && best ? *best : NULL;
  if (kept) *best = kept->next;
  for (workspace *w = p->free, *next; w; w = next) {
    next = w->next;
    destroy(p, w);
  }
  if (kept) kept->next = NULL;
  for (logits_row *row = p->free_rows, *next; row; row = next) {
    next = row->next;
    destroy_row(p, row);
  }
  p->free = kept;
  p->free_rows = NULL;
  pthread_mutex_unlock(&p->lock);
}

void work_pool_end(work_pool *p) {
  p->reserving = 0;
  work_pool_trim(p);
  pthread_mutex_destroy(&p->lock);
}

/* ---- workspaces */

static viva_status make_rows(work_pool *p, workspace *w, size_t rows, viva_error *error) {
  const backend_ops *ops = p->b->ops;
  const size_t quantized = (size_t)budget_quantized(&p->sizes, rows);
  free_dev(p, w->activations);
  free_dev(p, w->quantized);
  w->activations = w->quantized = NULL;
  w->rows = 0;
  void *dev;
  TRY(ops->alloc(p->b, p->layout.floats * rows * sizeof(float), &dev, error));
  w->activations = dev;
  if (quantized) TRY(ops->alloc(p->b, quantized, &w->quantized, error));
  w->rows = rows;
  return VIVA_OK;
}

static viva_status make_batch(work_pool *p, workspace *w, batch_room room, viva_error *error) {
  const size_t bytes = step_batch_bytes(room, p->rotary_dim) * (room.blocks ? room.blocks : 1);
  free_dev(p, w->batch_dev);
  mem_free(p->memory, w->batch_host);
  w->batch_dev = NULL;
  w->room = (batch_room){.rows = 0};
  w->batch_host = mem_alloc(p->memory, bytes);
  if (!w->batch_host) return error_set(error, VIVA_E_MEMORY, "no memory for the description of a step");
  if (!p->b->host_memory) TRY(p->b->ops->alloc(p->b, bytes, &w->batch_dev, error));
  w->room = room;
  return VIVA_OK;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

viva_status work_fit(work_pool *p, workspace *w, size_t rows, batch_room room, viva_error *error) {
  if (w->rows < rows && !p->ranks) TRY(make_rows(p, w, rows, error));
  if (w->room.rows < room.rows || w->room.spans < room.spans || w->room.pages < room.pages ||
      w->room.blocks < room.blocks)
    TRY(make_batch(p, w,
                   (batch_room){.rows = larger(room.rows, w->room.rows),
                                .spans = larger(room.spans, w->room.spans),
                                .pages = larger(room.pages, w->room.pages),
                                .blocks = larger(room.blocks, w->room.blocks)},
                   error));
  if (w->logits || (room.kept <= 1 && !p->ranks)) return VIVA_OK;
  void *dev;
  TRY(p->b->ops->alloc(p->b, BUDGET_LOGIT_ROWS * p->vocab * sizeof(float), &dev, error));
  w->logits = dev;
  return VIVA_OK;
}

viva_status work_borrow(work_pool *p, workspace **out, viva_error *error) {
  pthread_mutex_lock(&p->lock);
  workspace **best = largest(p);
  workspace *w = best ? *best : NULL;
  if (best) *best = w->next;
  pthread_mutex_unlock(&p->lock);
  if (!w) w = mem_zalloc(p->memory, sizeof *w);
  if (!w) return error_set(error, VIVA_E_MEMORY, "no memory for a step's work space");
  w->layout = p->layout;
  *out = w;
  return VIVA_OK;
}

void work_return(work_pool *p, workspace *w) {
  pthread_mutex_lock(&p->lock);
  w->next = p->free;
  p->free = w;
  pthread_mutex_unlock(&p->lock);
}

int work_pool_idle(work_pool *p) {
  pthread_mutex_lock(&p->lock);
  const int idle = p->free != NULL;
  pthread_mutex_unlock(&p->lock);
  return idle;
}

viva_status work_reserve_top(work_pool *p, workspace *w, size_t top, viva_error *error) {
  if (w->top_room >= top) return VIVA_OK;
  mem_free(p->memory, w->top_ids);
  mem_free(p->memory, w->top_values);
  w->top_room = 0;
  w->top_ids = mem_array(p->memory, BUDGET_LOGIT_ROWS * top, sizeof *w->top_ids);
  w->top_values = mem_array(p->memory, BUDGET_LOGIT_ROWS * top, sizeof *w->top_values);
  if (!w->top_ids || !w->top_values)
    return error_set(error, VIVA_E_MEMORY, "no memory for the %zu largest logits of %d rows", top, BUDGET_LOGIT_ROWS);
  w->top_room = top;
  return VIVA_OK;
}

viva_status work_reserve_host(work_pool *p, workspace *w, viva_error *error) {
  if (w->host_logits || p->b->host_memory) return VIVA_OK;
  w->host_logits = mem_array(p->memory, BUDGET_LOGIT_ROWS * p->vocab, sizeof(float));
  return w->host_logits ? VIVA_OK
                        : error_set(error, VIVA_E_MEMORY, "no memory for %d rows of logits", BUDGET_LOGIT_ROWS);
}

/* ---- rows of logits */

viva_status logits_take(work_pool *p, logits_row **out, viva_error *error) {
  pthread_mutex_lock(&p->lock);
  logits_row *row = p->free_rows;
  if (row) p->free_rows = row->next;
  pthread_mutex_unlock(&p->lock);
  if (!row) {
    void *dev;
    row = mem_zalloc(p->memory, sizeof *row);
    if (!row) return error_set(error, VIVA_E_MEMORY, "no memory for a row of logits");
    viva_status status = p->b->ops->alloc(p->b, p->vocab * sizeof(float), &dev, error);
    if (!status && p->ranks) {
      status = shards_row(p->ranks, p->vocab, &row->far, error);
      if (status) free_dev(p, dev);
    }
    if (status) {
      mem_free(p->memory, row);
      return status;
    }
    row->dev = dev;
  }
  row->holders = 1;
  row->host_valid = 0;
  *out = row;
  return VIVA_OK;
}

logits_row *logits_share(work_pool *p, logits_row *row) {
  if (!row) return NULL;
  pthread_mutex_lock(&p->lock);
  row->holders++;
  pthread_mutex_unlock(&p->lock);
  return row;
}

void logits_drop(work_pool *p, logits_row *row) {
  if (!row) return;
  pthread_mutex_lock(&p->lock);
  if (--row->holders == 0) {
    row->next = p->free_rows;
    p->free_rows = row;
  }
  pthread_mutex_unlock(&p->lock);
}

static viva_status bring(work_pool *p, logits_row *row, viva_error *error) {
  if (row->host_valid) return VIVA_OK;
  if (p->ranks) {
    TRY(shards_row_bring(p->ranks, row->far, p->vocab, row->dev, error));
    row->host_valid = 1;
    return VIVA_OK;
  }
  if (!row->host) row->host = mem_array(p->memory, p->vocab, sizeof(float));
  if (!row->host) return error_set(error, VIVA_E_MEMORY, "no memory for a row of logits");
  TRY(p->b->ops->download(p->b, row->host, row->dev, p->vocab * sizeof(float), error));
  row->host_valid = 1;
  return VIVA_OK;
}

viva_status logits_host(work_pool *p, logits_row *row, const float **values, viva_error *error) {
  viva_status status = VIVA_OK;
  *values = row->dev;
  if (p->b->host_memory && !p->ranks) return VIVA_OK;
  pthread_mutex_lock(&p->lock); /* sessions of other threads may share the row */
  status = bring(p, row, error);
  pthread_mutex_unlock(&p->lock);
  *values = status ? NULL : p->ranks ? row->dev : row->host;
  return status;
}
