/* model/shards.c */
#include "model/shards.h"

#include <string.h>

#include "base/error.h"
#include "model/step.h"

/* One rank's share. Touched by its rank alone while a job runs. */
typedef struct shard {
  backend *b;
  viva_model_config config;
  decoder dec;
  void *block, *prepared; /* dev */
  work_pool work;
  int has_work;
  workspace *w;
  size_t first;               /* token of its first logit */
  batch dev[FORWARD_BATCHES]; /* of the step under way */
  /* What it found: [BUDGET_LOGIT_ROWS][top] */
  viva_token *ids;
  float *values;
  size_t top_room;
  uint8_t nan[BUDGET_LOGIT_ROWS];
  int refused;    /* the step in one call */
  int unreserved; /* there was no memory for sums that are sent ahead */
} shard;

/* What a step needs room for: rows, its description, top results of a row. */
typedef struct step_room {
  size_t rows, top;
  batch_room room;
} step_room;

struct shards {
  viva_engine *engine; /* borrowed: the model has it */
  rank_set *ranks;
  const decoder *whole;
  const viva_model_config *config;
  kv_type kv;
  input_mode act;
  int plain;   /* an operation at a time */
  shard *each; /* [ranks->count] */
  /* Of the job under way: */
  pthread_mutex_t lock; /* one after another */
  step_room asked, has; /* of a fit; what all ranks have room for */
  batch host;
  shards_wanted wanted;
  int layers;    /* they are to run */
  uint64_t step; /* whose rows the ranks' activations are; 0: nobody's */
  uint64_t steps;
};

static mem *memory_of(const shards *s) { return &s->engine->rt->mem; }

/* ---- making */

static viva_status make_share(shards *s, size_t number, viva_error *error) {
  shard *own = &s->each[number];
  cut_target to = {.b = own->b, .memory = memory_of(s)};
  TRY(cut_decoder(s->whole, s->config, number, s->ranks->count, &to, &own->dec, error));
  decoder_end(&own->dec, to.memory);
  if (to.used > SIZE_MAX) return error_set(error, VIVA_E_LIMIT, "a device's share of the model is too large");
  TRY(own->b->ops->alloc(own->b, (size_t)to.used, &own->block, error));
  to.block = own->block;
  TRY(cut_decoder(s->whole, s->config, number, s->ranks->count, &to, &own->dec, error));
  own->dec.link = s->ranks->exchange;
  return decoder_prepare(own->b, &own->dec, &own->prepared, error);
}

static viva_status make_job(void *arg, size_t number, viva_error *error) {
  shards *s = arg;
  shard *own = &s->each[number];
  own->b = s->ranks->each[number].b;
  own->config = cut_config(s->config, number, s->ranks->count);
  cut_vocab(s->whole->vocab, number, s->ranks->count, &own->first);
  TRY(make_share(s, number, error));
  const budget_case sizes = {
      .backend = own->b, .config = &own->config, .layers = own->dec.layer_count, .kv = s->kv, .act = s->act};
  work_pool_begin(&own->work, &sizes, memory_of(s));
  own->has_work = 1;
  return work_borrow(&own->work, &own->w, error);
}

viva_status shards_make(viva_engine *engine, const decoder *whole, const viva_model_config *config, kv_type kv,
                        input_mode act, int plain, shards **out, viva_error *error) {
  mem *m = &engine->rt->mem;
  *out = NULL;
  TRY(cut_check(whole, engine->ranks->count, error));
  shards *s = mem_zalloc(m, sizeof *s);
  shard *each = mem_array(m, engine->ranks->count, sizeof *each);
  if (!s || !each) {
    mem_free(m, each);
    mem_free(m, s);
    return error_set(error, VIVA_E_MEMORY, "no memory for the shares of %zu devices", engine->ranks->count);
  }
  *s = (shards){.engine = engine,
                .ranks = engine->ranks,
                .whole = whole,
                .config = config,
                .kv = kv,
                .act = act,
                .plain = plain,
                .each = each};
  pthread_mutex_init(&s->lock, NULL);
  const viva_status status = ranks_run(s->ranks, make_job, s, 0, error);
  if (status) {
    shards_free(s);
    return status;
  }
  *out = s;
  return VIVA_OK;
}

static void free_share(shards *s, shard *own) {
  if (!own->b) return;
  if (own->w) work_return(&own->work, own->w);
  if (own->has_work) work_pool_end(&own->work);
  if (own->b->ops->decode_forget) own->b->ops->decode_forget(own->b, &own->dec);
  own->b->ops->free(own->b, own->prepared, NULL);
  own->b->ops->free(own->b, own->block, NULL);
  decoder_end(&own->dec, memory_of(s));
  mem_free(memory_of(s), own->ids);
  mem_free(memory_of(s), own->values);
}

/* What a rank that never came back may still use stays. */
void shards_free(shards *s) {
  if (!s || !ranks_idle(s->ranks)) return;
  for (size_t i = 0; i < s->ranks->count; i++) free_share(s, &s->each[i]);
  pthread_mutex_destroy(&s->lock);
  mem_free(memory_of(s), s->each);
  mem_free(memory_of(s), s);
}

/* ---- room */

static viva_status reserve_top(const shards *s, shard *own, size_t top, viva_error *error) {
  mem *m = memory_of(s);
  if (own->top_room >= top) return VIVA_OK;
  viva_token *ids = mem_array(m, BUDGET_LOGIT_ROWS * top, sizeof *ids);
  float *values = mem_array(m, BUDGET_LOGIT_ROWS * top, sizeof *values);
  if (!ids || !values) { /* what is there stays: another thread's step may have asked for it */
    mem_free(m, ids);
    mem_free(m, values);
    return error_set(error, VIVA_E_MEMORY, "no memory for the %zu largest logits of %d rows", top, BUDGET_LOGIT_ROWS);
  }
  mem_free(m, own->ids);
  mem_free(m, own->values);
  own->ids = ids;
  own->values = values;
  own->top_room = top;
  return VIVA_OK;
}

static viva_status fit_job(void *arg, size_t number, viva_error *error) {
  shards *s = arg;
  shard *own = &s->each[number];
  batch_room room = s->asked.room;
  exchange *e = s->ranks->exchange;
  room.kept = BUDGET_LOGIT_ROWS; /* logits are made on the device, whoever has them in the end */
  const size_t rows = s->asked.rows, top = s->asked.top, half = exchange_half(e, rows);
  own->unreserved = 0;
  if (half) room.blocks = FORWARD_BATCHES;
  if (half && e->ops->reserve) {
    const viva_status status = e->ops->reserve(e, number, own->b, half * own->w->layout.hidden, error);
    if (status && status != VIVA_E_MEMORY) return status; /* without room sums are not sent ahead */
    own->unreserved = status != VIVA_OK;
  }
  TRY(work_fit(&own->work, own->w, rows, room, error));
  return reserve_top(s, own, top < own->dec.vocab ? top : own->dec.vocab, error);
}

/* Takes the lock, unless the ranks have ended: then one that did not come back may still read what describes its job. */
static viva_status begin_job(shards *s, viva_error *error) {
  pthread_mutex_lock(&s->lock);
  const viva_status status = ranks_check(s->ranks, error);
  if (status) pthread_mutex_unlock(&s->lock);
  return status;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static step_room larger_room(step_room a, step_room b) {
  return (step_room){.rows = larger(a.rows, b.rows),
                     .top = larger(a.top, b.top),
                     .room = {.rows = larger(a.room.rows, b.room.rows),
                              .spans = larger(a.room.spans, b.room.spans),
                              .pages = larger(a.room.pages, b.room.pages)}};
}

/* 1: no rank needs to be asked: most steps are like the one before. */
static int has_been_fitted(const shards *s) {
  const step_room *has = &s->has, *asked = &s->asked;
  return has->rows >= asked->rows && has->top >= asked->top && has->room.rows >= asked->room.rows &&
         has->room.spans >= asked->room.spans && has->room.pages >= asked->room.pages;
}

/* Where a rank has no room for sums that are sent ahead, the next step asks again. */
static int all_reserved(const shards *s) {
  for (size_t i = 0; i < s->ranks->count; i++)
    if (s->each[i].unreserved) return 0;
  return 1;
}

viva_status shards_fit(shards *s, size_t rows, batch_room room, size_t top, viva_error *error) {
  viva_status status = VIVA_OK;
  TRY(begin_job(s, error));
  s->asked = (step_room){.rows = rows, .top = top, .room = room};
  if (!has_been_fitted(s)) {
    s->step = 0; /* rows may move */
    status = ranks_run(s->ranks, fit_job, s, 0, error);
    s->has = status || !all_reserved(s) ? (step_room){.rows = 0} : larger_room(s->has, s->asked);
  }
  pthread_mutex_unlock(&s->lock);
  return status;
}

/* ---- a step */

/* The rank's own pages. */
static void own_pages(const shards *s, const shard *own, size_t number, batch *b) {
  void **pages = (void **)(uintptr_t)b->pages;
  for (size_t i = 0; i < b->page_count; i++) pages[i] = ((void **)s->host.pages[i])[number];
  b->kv = kv_layout_of(s->host.kv.type, own->dec.heads);
}

static batch own_batch(const shards *s, const shard *own, size_t number) {
  const batch *host = &s->host;
  memcpy(own->w->batch_host, host->block, host->block_bytes);
  batch b = batch_at(host, own->w->batch_host);
  own_pages(s, own, number, &b);
  return b;
}

/* What the sums of this step came to, now that the device has been waited for. */
static viva_status check_sums(const shards *s, size_t number, viva_error *error) {
  exchange *e = s->ranks->exchange;
  return e->ops->check ? e->ops->check(e, number, error) : VIVA_OK;
}

/* The rank's part of the logits, a row at each of these places (dev), to where they are to stay. */
static viva_status keep_logits(const shards *s, const shard *own, size_t number, float *const *places,
                               viva_error *error) {
  const shards_wanted *want = &s->wanted;
  const size_t bytes = own->dec.vocab * sizeof(float);
  for (size_t r = 0; r < want->rows; r++) {
    const float *from = places[r];
    void **far = want->far[r];
    if (far && far[number] != from) TRY(own->b->ops->copy(own->b, far[number], from, bytes, error));
    if (want->logits)
      TRY(own->b->ops->download(own->b, want->logits + r * s->whole->vocab + own->first, from, bytes, error));
  }
  return VIVA_OK;
}

/* A rank has no more than its part of the vocabulary. */
static size_t own_top(const shards *s, const shard *own) {
  return s->wanted.top < own->dec.vocab ? s->wanted.top : own->dec.vocab;
}

/* Where rows of logits are made: one after the other; a single row, and all of a step in one call whose best ones it finds
 * (apart), where they will stay. */
static void logits_places(const shards *s, const shard *own, size_t number, int apart, float **places) {
  const shards_wanted *want = &s->wanted;
  for (size_t r = 0; r < want->rows; r++) {
    void **far = apart || want->rows == 1 ? want->far[r] : NULL;
    places[r] = far ? far[number] : own->w->logits + r * own->dec.vocab;
  }
}

/* Of rows that lie one after the other. */
static viva_status find_best(const shards *s, shard *own, size_t number, float *const *places, viva_error *error) {
  TRY(own->b->ops->top(own->b, places[0], s->wanted.rows, own->dec.vocab, own_top(s, own), own->ids, own->values,
                       own->nan, error));
  TRY(check_sums(s, number, error));
  return keep_logits(s, own, number, places, error);
}

/* The step in one call, where the device has it. */
static viva_status whole_job(void *arg, size_t number, viva_error *error) {
  shards *s = arg;
  shard *own = &s->each[number];
  float *places[BUDGET_LOGIT_ROWS];
  const int found = s->wanted.top == 1;
  logits_places(s, own, number, found, places);
  const batch host = own_batch(s, own, number);
  const viva_status status =
      own->b->ops->decode_step(own->b, &own->dec, &host, s->act, places, own->ids, own->values, own->nan, error);
  own->refused = status == VIVA_E_UNSUPPORTED;
  if (status && !own->refused) return status;
  TRY(check_sums(s, number, error));
  if (own->refused) return VIVA_OK;
  return found ? keep_logits(s, own, number, places, error) : find_best(s, own, number, places, error);
}

/* Rows of the step's first half; 0: it runs in one. Rows that are kept in both halves would not lie together. */
static size_t first_half(const shards *s) {
  const batch *host = &s->host;
  const size_t half = exchange_half(s->ranks->exchange, host->rows);
  return host->kept == 0 || host->kept_rows[0] >= half ? half : 0;
}

/* The step as the rank's own description, or as one of each half. Returns their number. */
static size_t describe(const shards *s, const shard *own, size_t number, batch *parts) {
  const size_t half = first_half(s), rows = s->host.rows, rotary = own->dec.rotary_dim;
  char *block = own->w->batch_host, *next = block + step_batch_bytes(own->w->room, rotary);
  if (!half) {
    parts[0] = own_batch(s, own, number);
    return 1;
  }
  parts[0] = step_batch_part(&s->host, rotary, 0, half, block);
  parts[1] = step_batch_part(&s->host, rotary, half, rows - half, next);
  for (size_t i = 0; i < FORWARD_BATCHES; i++) own_pages(s, own, number, &parts[i]);
  return FORWARD_BATCHES;
}

static viva_status run_layers(const shards *s, shard *own, size_t number, viva_error *error) {
  backend *b = own->b;
  batch host[FORWARD_BATCHES];
  const size_t count = describe(s, own, number, host), bytes = step_batch_bytes(own->w->room, own->dec.rotary_dim);
  char *place = own->w->batch_dev;
  viva_status status = VIVA_OK;
  size_t begun = 0;
  while (!status && begun < count) {
    status = b->ops->step_begin(b, &host[begun], place ? place + begun * bytes : NULL, &own->dev[begun], error);
    if (!status) begun++;
  }
  if (!status) status = forward_layers(b, &own->dec, s->act, own->w, own->dev, count, NULL, error);
  while (begun-- > 0) {
    const viva_status ended = b->ops->step_end(b, status ? NULL : error);
    if (!status) status = ended;
  }
  return status;
}

static viva_status step_job(void *arg, size_t number, viva_error *error) {
  shards *s = arg;
  shard *own = &s->each[number];
  const shards_wanted *want = &s->wanted;
  if (s->layers) TRY(run_layers(s, own, number, error));
  if (want->rows == 0) return check_sums(s, number, error);
  float *places[BUDGET_LOGIT_ROWS];
  logits_places(s, own, number, 0, places);
  TRY(forward_head(own->b, &own->dec, s->act, own->w, want->first, want->rows, places[0], NULL, error));
  return find_best(s, own, number, places, error);
}

/* ---- the best of all parts */

/* Ranks in turn hold rising tokens, so of equal values the first rank's is first. */
static void merge_row(const shards *s, size_t row) {
  const shards_wanted *want = &s->wanted;
  size_t at[RANKS_MOST] = {0};
  want->nan[row] = 0;
  for (size_t i = 0; i < s->ranks->count; i++) want->nan[row] |= s->each[i].nan[row];
  for (size_t k = 0; k < want->top; k++) {
    const shard *best = NULL;
    size_t best_number = 0, best_at = 0;
    for (size_t i = 0; i < s->ranks->count; i++) {
      const shard *own = &s->each[i];
      const size_t top = own_top(s, own), place = row * top + at[i];
      if (at[i] == top || (best && !(own->values[place] > best->values[best_at]))) continue;
      best = own;
      best_number = i;
      best_at = place;
    }
    at[best_number]++;
    want->ids[row * want->top + k] = best->ids[best_at] + (viva_token)best->first;
    want->values[row * want->top + k] = best->values[best_at];
  }
}

/* 1: all ranks ran the step in one call, or failed. Whether they take it is the same for all, but for what they find in the
 * end: numbers that FP16 does not hold. */
static int run_whole(shards *s, viva_status *status, viva_error *error) {
  const backend_ops *ops = s->each[0].b->ops;
  const batch *host = &s->host;
  int refused = 0;
  if (s->plain || !ops->decode_step || host->rows > ops->decode_rows || host->kept == 0 || s->wanted.first ||
      s->wanted.rows < host->kept)
    return 0;
  *status = ranks_run(s->ranks, whole_job, s, 1, error);
  for (size_t i = 0; i < s->ranks->count && !*status; i++) refused |= s->each[i].refused;
  return !refused;
}

/* 0: a fit of another thread failed since this step's, and left less. */
static int has_room(const shards *s, size_t rows) {
  for (size_t i = 0; i < s->ranks->count; i++)
    if (s->each[i].w->rows < rows || s->each[i].w->room.rows < rows) return 0;
  return 1;
}

/* The lock is not held between the blocks of a step's logits: a caller's function may run a step then, or another thread. */
static void take_turn(shards *s, shards_wanted *wanted) {
  s->layers = wanted->first == 0 || wanted->step != s->step;
  if (s->layers) wanted->step = s->step = ++s->steps;
}

viva_status shards_step(shards *s, const batch *host, shards_wanted *wanted, viva_error *error) {
  viva_status status = VIVA_OK;
  TRY(begin_job(s, error));
  if (!has_room(s, host->rows)) {
    pthread_mutex_unlock(&s->lock);
    return error_set(error, VIVA_E_MEMORY, "no memory for a step of %zu tokens", host->rows);
  }
  take_turn(s, wanted);
  s->host = *host;
  s->wanted = *wanted;
  if (!run_whole(s, &status, error)) status = ranks_run(s->ranks, step_job, s, 1, error);
  for (size_t r = 0; !status && r < wanted->rows; r++) merge_row(s, r);
  pthread_mutex_unlock(&s->lock);
  return status;
}

/* ---- pages */

void shards_page_free(rank_set *r, void *page) {
  void **each = page;
  if (!ranks_idle(r)) return; /* one that does not answer may still write there */
  for (size_t i = 0; each && i < r->count; i++) r->each[i].b->ops->free(r->each[i].b, each[i], NULL);
  mem_free(&r->rt->mem, page);
}

/* bytes on each rank. */
static viva_status take_each(rank_set *r, const size_t *bytes, void **out, viva_error *error) {
  *out = NULL;
  TRY(ranks_check(r, error));
  void **each = mem_array(&r->rt->mem, r->count, sizeof *each);
  if (!each) return error_set(error, VIVA_E_MEMORY, "no memory for a page");
  for (size_t i = 0; i < r->count; i++) {
    const viva_status status = r->each[i].b->ops->alloc(r->each[i].b, bytes[i], &each[i], error);
    if (!status) continue;
    shards_page_free(r, each);
    return ranks_met(r, i, status, error);
  }
  *out = each;
  return VIVA_OK;
}

viva_status shards_page(rank_set *r, size_t bytes, void **page, viva_error *error) {
  size_t each[RANKS_MOST];
  for (size_t i = 0; i < r->count; i++) each[i] = bytes / r->count;
  return take_each(r, each, page, error);
}

viva_status shards_page_copy(rank_set *r, void *to, const void *from, size_t bytes, viva_error *error) {
  void **to_each = to, *const *from_each = from;
  TRY(ranks_check(r, error));
  for (size_t i = 0; i < r->count; i++)
    TRY(ranks_met(r, i, r->each[i].b->ops->copy(r->each[i].b, to_each[i], from_each[i], bytes / r->count, error),
                  error));
  return VIVA_OK;
}

/* ---- rows of logits */

viva_status shards_row(rank_set *r, size_t vocab, void **row, viva_error *error) {
  size_t each[RANKS_MOST], first;
  for (size_t i = 0; i < r->count; i++) each[i] = cut_vocab(vocab, i, r->count, &first) * sizeof(float);
  return take_each(r, each, row, error);
}

viva_status shards_row_bring(rank_set *r, void *row, size_t vocab, float *host, viva_error *error) {
  void *const *each = row;
  TRY(ranks_check(r, error));
  for (size_t i = 0, first; i < r->count; i++) {
    const size_t count = cut_vocab(vocab, i, r->count, &first);
    backend *b = r->each[i].b;
    TRY(ranks_met(r, i, b->ops->download(b, host + first, each[i], count * sizeof(float), error), error));
  }
  return VIVA_OK;
}
