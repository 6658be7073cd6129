/* model/step.c */
#include "model/step.h"

#include <stdio.h>

/* ---- errors */

static void at_part(viva_error *error, const step_call *call, size_t index) {
  char item[32];
  if (!call->unit) return;
  snprintf(item, sizeof item, "%s[%zu]", call->unit, index);
  error_at(error, NULL, item, -1, VIVA_NO_OFFSET);
}

/* ---- check */

static viva_status check_tokens(const step_part *part, size_t first, viva_error *error) {
  const size_t vocab = part->session->model->dec.vocab;
  for (size_t i = 0; i < part->count; i++) {
    const viva_token t = part->tokens[i];
    if (t >= 0 && (size_t)t < vocab) continue;
    return error_set(error, VIVA_E_ARGUMENT, "tokens[%zu] is %ld, outside the vocabulary of %zu tokens (0 to %zu)",
                     first + i, (long)t, vocab, vocab - 1);
  }
  return VIVA_OK;
}

static viva_status check_part(const step_part *parts, size_t i, const step_call *call, viva_error *error) {
  viva_session *s = parts[i].session;
  if (s->model != parts[0].session->model)
    return error_set(error, VIVA_E_ARGUMENT, "the session belongs to another model than %s[0]", call->unit);
  if (s->cache.pool != parts[0].session->cache.pool)
    return error_set(error, VIVA_E_ARGUMENT, "the session's KV type is not that of %s[0]; step them apart", call->unit);
  if (s->marked) return error_set(error, VIVA_E_ARGUMENT, "the session is given twice");
  s->marked = 1;
  if (parts[i].count == 0 || !parts[i].tokens)
    return error_set(error, VIVA_E_ARGUMENT, "no tokens are given; at least one is needed");
  TRY(session_check_room(s, parts[i].count, error)); /* first: when it is wrong, tokens may end before it */
  return check_tokens(&parts[i], call->tokens_are_parts ? i : 0, error);
}

static viva_status check(const step_part *parts, size_t count, const step_call *call, viva_error *error) {
  viva_status status = VIVA_OK;
  for (size_t i = 0; i < count; i++) parts[i].session->marked = 0;
  for (size_t i = 0; i < count && !status; i++) {
    status = check_part(parts, i, call, error);
    if (status) at_part(error, call, parts[i].number);
  }
  return status;
}

/* ---- what a step takes */

static viva_status take_pages(step_part *parts, size_t count, const step_call *call, viva_error *error) {
  const kv_write *failed;
  for (size_t i = 0; i < count; i++) {
    viva_session *s = parts[i].session;
    parts[i].write =
        (kv_write){&s->cache, s->position, s->position + parts[i].count, i + 1 < count ? &parts[i + 1].write : NULL};
  }
  viva_status status = kv_writable(&parts[0].write, &failed, error);
  if (!status) return VIVA_OK;
  size_t i = 0;
  while (&parts[i].write != failed) i++;
  at_part(error, call, parts[i].number);
  return status;
}

static viva_status take(viva_model *m, workspace *w, step_part *parts, size_t count, size_t most_rows,
                        const step_call *call, viva_error *error) {
  batch_room room = {.rows = most_rows, .spans = count};
  size_t top = 1;
  int host = 0;
  for (size_t i = 0; i < count; i++) {
    room.pages += kv_pages_of(parts[i].session->capacity);
    if (parts[i].top > top) top = parts[i].top;
    host |= parts[i].on_logits != NULL;
    room.kept += parts[i].keep == STEP_ALL ? parts[i].count : parts[i].keep == STEP_LAST;
  }
  TRY(work_fit(&m->work, w, most_rows, room, error));
  TRY(work_reserve_top(&m->work, w, top, error));
  if (m->shards) TRY(shards_fit(m->shards, most_rows, w->room, top, error));
  if (host) TRY(work_reserve_host(&m->work, w, error));
  for (size_t i = 0; i < count; i++) {
    viva_status status =
        parts[i].keep == STEP_NONE ? VIVA_OK : session_take_row(parts[i].session, &parts[i].row, error);
    if (!status) continue;
    at_part(error, call, parts[i].number);
    return status;
  }
  return take_pages(parts, count, call, error);
}

/* The sessions hold what they held before. */
static void give_back(step_part *parts, size_t count) {
  for (size_t i = 0; i < count; i++) {
    viva_session *s = parts[i].session;
    session_put_row(s, parts[i].row);
    parts[i].row = NULL;
    kv_give_up(&s->cache, s->position);
  }
}

static void commit(step_part *parts, size_t count) {
  for (size_t i = 0; i < count; i++) {
    viva_session *s = parts[i].session;
    session_put_row(s, s->logits);
    s->logits = parts[i].row;
    s->position += parts[i].count;
  }
}

/* ---- passes */

typedef struct pass_rows {
  viva_model *m;
  workspace *w;
  step_part *parts;
  size_t count;
  const step_call *call;
} pass_rows;

/* One row of logits, number r of a block, which was made at `row`, goes to whom it belongs. */
static viva_status deliver(const pass_rows *p, step_part *part, const float *row, size_t r, viva_error *error) {
  backend *b = p->m->engine->backend;
  const workspace *w = p->w;
  const size_t vocab = p->m->dec.vocab, top = w->top;
  /* The row's token, counted from the part's first. */
  const size_t token = part->keep == STEP_ALL ? part->kept_done : part->count - 1;
  const uint64_t position = part->session->position + token;
  if (w->nan[r]) return session_not_a_number(part->session, position, error);
  if (part->all_logits) TRY(b->ops->download(b, part->all_logits + token * vocab, row, vocab * sizeof(float), error));
  for (size_t i = 0; i < part->top; i++)
    part->top_results[part->kept_done * part->top + i] =
        (viva_top){w->top_ids[r * top + i], w->top_values[r * top + i]};
  part->kept_done++;
  if (token + 1 == part->count) {
    part->row->best = w->top_ids[r * top];
    if (!p->m->shards && row != part->row->dev) TRY(b->ops->copy(b, part->row->dev, row, vocab * sizeof(float), error));
  }
  if (!part->on_logits) return VIVA_OK;
  if (part->on_logits(part->on_logits_user, position, (b->host_memory ? row : w->host_logits + r * vocab), vocab))
    return error_set(error, VIVA_E_CANCELLED, "the logits callback asked to stop");
  return VIVA_OK;
}

/* The part that kept row number `row` of this pass belongs to. */
static size_t part_of(const pass_rows *p, size_t row) {
  size_t i = 0;
  for (size_t first = 0; row >= first + step_kept(&p->parts[i]); i++) first += step_kept(&p->parts[i]);
  return i;
}

/* Rows first .. first + rows of those that are kept: which of them a session keeps; NULL for the others. */
static void rows_that_stay(const pass_rows *p, size_t first, size_t rows, logits_row **stay) {
  size_t i = part_of(p, first), left = 0;
  for (size_t j = 0; j < i; j++) left += step_kept(&p->parts[j]);
  for (size_t r = 0; r < rows; r++) {
    while (first + r >= left + step_kept(&p->parts[i])) left += step_kept(&p->parts[i++]);
    const step_part *part = &p->parts[i];
    const int last = first + r + 1 == left + step_kept(part) && part->done + part->taken == part->count;
    stay[r] = last ? part->row : NULL;
  }
}

/* Where rows of logits are made: one after the other; a single row, and all where each may lie apart, where they will stay. */
static void logits_places(const pass_rows *p, size_t first, size_t rows, int apart, float **places) {
  logits_row *stay[BUDGET_LOGIT_ROWS];
  rows_that_stay(p, first, rows, stay);
  for (size_t r = 0; r < rows; r++)
    places[r] = stay[r] && (apart || rows == 1) ? stay[r]->dev : p->w->logits + r * p->m->dec.vocab;
}

/* What a block's logits are needed for beside the rows themselves. */
typedef struct wanted {
  size_t top;
  int values; /* of the top ones, too */
  int host;   /* a callback looks at them */
  int all;    /* or they are copied to the caller's memory */
} wanted;

static wanted wanted_of(const pass_rows *p) {
  wanted w = {.top = 1};
  for (size_t j = 0; j < p->count; j++) {
    if (p->parts[j].top > w.top) w.top = p->parts[j].top;
    w.values |= p->parts[j].top > 0;
    w.host |= p->parts[j].on_logits != NULL;
    w.all |= p->parts[j].all_logits != NULL;
  }
  return w;
}

/* Rows [first, first + rows) of those that are kept are at these places: one after the other, if anything is wanted but the best
 * of each and the rows that stay. found: so many best ones of each are there already, with
 * their values if those are wanted. */
static viva_status block_done(const pass_rows *p, float *const *places, size_t first, size_t rows, size_t found,
                              viva_error *error) {
  backend *b = p->m->engine->backend;
  workspace *w = p->w;
  const size_t vocab = p->m->dec.vocab;
  const wanted want = wanted_of(p);
  size_t i = part_of(p, first), left = 0;
  w->top = want.top;
  if (found < want.top)
    TRY(b->ops->top(b, places[0], rows, vocab, want.top, w->top_ids, want.values ? w->top_values : NULL, w->nan,
                    error));
  if (want.host && !b->host_memory)
    TRY(b->ops->download(b, w->host_logits, places[0], rows * vocab * sizeof(float), error));
  for (size_t j = 0; j < i; j++) left += step_kept(&p->parts[j]);
  for (size_t r = 0; r < rows; r++) {
    while (first + r >= left + step_kept(&p->parts[i])) left += step_kept(&p->parts[i++]);
    viva_status status = deliver(p, &p->parts[i], places[r], r, error);
    if (!status) continue;
    at_part(error, p->call, p->parts[i].number);
    return status;
  }
  return VIVA_OK;
}

/* The step in one call, where the backend has it. E_UNSUPPORTED: it does not take this one. */
static viva_status run_whole(const pass_rows *p, const batch *host, viva_error *error) {
  backend *b = p->m->engine->backend;
  workspace *w = p->w;
  const size_t kept = host->kept;
  if (p->call->watch || p->m->decode == VIVA_DECODE_PLAIN || !b->ops->decode_step || host->rows > b->ops->decode_rows ||
      kept == 0 || kept > BUDGET_LOGIT_ROWS)
    return VIVA_E_UNSUPPORTED;
  float *places[BUDGET_LOGIT_ROWS];
  const wanted want = wanted_of(p);
  logits_places(p, 0, kept, !want.values && !want.host, places);
  TRY(b->ops->decode_step(b, &p->m->dec, host, p->m->act, places, w->top_ids, NULL, w->nan, error));
  return block_done(p, places, 0, kept, want.values ? 0 : 1, error);
}

static viva_status run_operations(const pass_rows *p, const batch *host, const batch *dev, viva_error *error) {
  backend *b = p->m->engine->backend;
  TRY(forward_layers(b, &p->m->dec, p->m->act, p->w, dev, 1, p->call->watch, error));
  for (size_t first = 0, rows; first < host->kept; first += rows) {
    rows = host->kept - first < BUDGET_LOGIT_ROWS ? host->kept - first : BUDGET_LOGIT_ROWS;
    float *places[BUDGET_LOGIT_ROWS];
    logits_places(p, first, rows, 0, places);
    TRY(forward_head(b, &p->m->dec, p->m->act, p->w, first, rows, places[0], p->call->watch, error));
    TRY(block_done(p, places, first, rows, 0, error));
  }
  return VIVA_OK;
}

/* On several devices. */
static viva_status run_shards(const pass_rows *p, const batch *host, viva_error *error) {
  workspace *w = p->w;
  const wanted asked = wanted_of(p);
  shards_wanted want = {.top = asked.top, .ids = w->top_ids, .values = w->top_values, .nan = w->nan};
  if (p->call->watch)
    return error_set(error, VIVA_E_UNSUPPORTED, "the stages of a step are told on one device; this engine has several");
  do {
    const size_t left = host->kept - want.first;
    want.rows = left < BUDGET_LOGIT_ROWS ? left : BUDGET_LOGIT_ROWS;
    want.logits = want.rows && (asked.host || asked.all) ? w->logits : NULL;
    logits_row *stay[BUDGET_LOGIT_ROWS];
    float *places[BUDGET_LOGIT_ROWS]; /* the host's, filled where want.logits says so */
    if (want.rows) rows_that_stay(p, want.first, want.rows, stay);
    for (size_t r = 0; r < want.rows; r++) {
      want.far[r] = stay[r] ? stay[r]->far : NULL;
      places[r] = w->logits + r * p->m->dec.vocab;
    }
    TRY(shards_step(p->m->shards, host, &want, error));
    if (want.rows) TRY(block_done(p, places, want.first, want.rows, want.top, error));
    want.first += want.rows;
  } while (want.first < host->kept);
  return VIVA_OK;
}

static viva_status run_pass(const pass_rows *p, const batch *host, viva_error *error) {
  backend *b = p->m->engine->backend;
  batch dev;
  if (p->m->shards) return run_shards(p, host, error);
  viva_status status = run_whole(p, host, error);
  if (status != VIVA_E_UNSUPPORTED) return status;
  TRY(b->ops->step_begin(b, host, p->w->batch_dev, &dev, error));
  status = run_operations(p, host, &dev, error);
  const viva_status ended = b->ops->step_end(b, status ? NULL : error);
  return status ? status : ended;
}

static viva_status run_passes(const pass_rows *p, size_t total, size_t most_rows, viva_error *error) {
  const step_call *call = p->call;
  for (size_t done = 0; done < total;) {
    const batch host = step_batch(p->m, p->w, p->parts, p->count, most_rows);
    TRY(run_pass(p, &host, error));
    for (size_t i = 0; i < p->count; i++) p->parts[i].done += p->parts[i].taken;
    done += host.rows;
    if (call->progress && call->progress(call->progress_user, done, total))
      return error_set(error, VIVA_E_CANCELLED, "the step was cancelled after %zu of %zu tokens", done, total);
  }
  return VIVA_OK;
}

viva_status step_run(viva_model *m, workspace *w, step_part *parts, size_t count, const step_call *call,
                     viva_error *error) {
  size_t total = 0, most_rows = 0;
  TRY(check(parts, count, call, error));
  for (size_t i = 0; i < count; i++) {
    total += parts[i].count; /* below count × 2^31 */
    if (parts[i].session->chunk > most_rows) most_rows = parts[i].session->chunk;
  }
  if (total < most_rows) most_rows = total;
  viva_status status = take(m, w, parts, count, most_rows, call, error);
  const pass_rows passes = {.m = m, .w = w, .parts = parts, .count = count, .call = call};
  if (!status) status = run_passes(&passes, total, most_rows, error);
  if (status)
    give_back(parts, count);
  else
    commit(parts, count);
  return status;
}

step_part *step_parts(viva_model *m, workspace *w, size_t count) {
  if (w->parts_room < count) {
    mem_free(m->work.memory, w->parts);
    w->parts = mem_array(m->work.memory, count, sizeof *w->parts);
    w->parts_room = w->parts ? count : 0;
  }
  for (size_t i = 0; i < count && w->parts; i++) w->parts[i] = (step_part){.keep = STEP_LAST, .number = i};
  return w->parts;
}

viva_status step_one(step_part *part, const step_call *call, viva_error *error) {
  viva_model *m = part->session->model;
  workspace *w;
  TRY(work_borrow(&m->work, &w, error));
  viva_status status = step_run(m, w, part, 1, call, error);
  work_return(&m->work, w);
  return status;
}
