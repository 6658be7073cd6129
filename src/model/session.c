/* model/session.c: making, ending, rewinding and copying sessions. */
#include "model/session.h"

#include "base/options.h"

viva_session_options viva_session_options_default(void) {
  return (viva_session_options){.size = sizeof(viva_session_options), .reserve = 1};
}

/* ---- create, free */

static budget_case session_case(const viva_session *s) {
  const viva_model *m = s->model;
  return (budget_case){.backend = m->engine->backend,
                       .config = &m->config,
                       .layers = m->dec.layer_count,
                       .kv = s->cache.pool->layout.type,
                       .act = m->act};
}

/* What the pools have already needs no more memory. */
static viva_status check_memory(const viva_session *s, viva_error *error) {
  viva_model *m = s->model;
  const budget_case c = session_case(s);
  const uint64_t kv = s->cache.reserves ? budget_kv(c.config, c.layers, s->capacity, c.kv) : 0;
  const uint64_t work = budget_work(&c, s->capacity, s->chunk);
  const uint64_t available = budget_available(c.backend), needed = budget_add(kv, work);
  const uint64_t have = kv_pool_free_bytes(s->cache.pool) + (work_pool_idle(&m->work) ? work : 0);
  char texts[3][32];
  if (available == 0 || needed <= budget_add(available, have)) return VIVA_OK;
  return error_set(error, VIVA_E_LIMIT,
                   "a session of %zu tokens needs %s (KV cache %s), but %s are available; the largest capacity that "
                   "fits is %llu tokens",
                   s->capacity, budget_text(needed, texts[0]), budget_text(kv, texts[1]),
                   budget_text(available, texts[2]), (unsigned long long)budget_context(&c, 0, available, s->capacity));
}

static viva_status read_options(viva_session *s, const viva_session_options *given, viva_error *error) {
  viva_session_options o = viva_session_options_default();
  viva_model *m = s->model;
  kv_type kv = m->kv;
  TRY(options_read(&o, given, "viva_session_options", error));
  TRY(options_reserved(o.reserved, "viva_session_options", error));
  if (o.kv != VIVA_DTYPE_NONE) TRY(decoder_kv_option(o.kv, &kv, error));
  if (o.reserve != 0 && o.reserve != 1) {
    error_set(error, VIVA_E_ARGUMENT, "reserve can be 0 or 1, not %d", (int)o.reserve);
    return error_option(error, VIVA_E_ARGUMENT, "reserve");
  }
  uint64_t capacity = o.capacity ? o.capacity : m->context;
  if (capacity > BUDGET_CONTEXT_MOST)
    return error_set(error, VIVA_E_LIMIT, "a capacity of %llu tokens is asked for; the most is %llu",
                     (unsigned long long)capacity, (unsigned long long)BUDGET_CONTEXT_MOST);
  s->capacity = (size_t)capacity;
  s->chunk = model_chunk(m, capacity, o.prefill_chunk);
  s->cache = (kv_table){.pool = &m->pages[kv], .reserves = o.reserve, .most = kv_pages_of(s->capacity)};
  return VIVA_OK;
}

/* Everything that decoding needs, so that it cannot fail for memory. */
static viva_status reserve(viva_session *s, viva_error *error) {
  viva_model *m = s->model;
  workspace *w;
  work_pool_reserving(&m->work, 1);
  s->relies = 1;
  TRY(kv_hold(&s->cache, s->capacity, error));
  TRY(logits_take(&m->work, &s->spare[0], error));
  TRY(logits_take(&m->work, &s->spare[1], error));
  TRY(work_borrow(&m->work, &w, error));
  viva_status status =
      work_fit(&m->work, w, s->chunk, (batch_room){.rows = s->chunk, .spans = 1, .pages = s->cache.most}, error);
  if (!status) status = work_reserve_top(&m->work, w, 1, error);
  work_return(&m->work, w);
  return status;
}

static viva_status fill(viva_session *s, const viva_session_options *options, viva_error *error) {
  const viva_model *m = s->model;
  mem *memory = &m->engine->rt->mem;
  backend *b = m->engine->backend;
  TRY(read_options(s, options, error));
  TRY(check_memory(s, error));
  s->cache.pages = mem_array(memory, s->cache.most, sizeof(kv_page *));
  s->rope_angles.inv_freq = mem_array(memory, m->dec.rotary_dim / 2, sizeof(float));
  if (!s->cache.pages || !s->rope_angles.inv_freq)
    return error_set(error, VIVA_E_MEMORY, "no memory for a session of %zu tokens", s->capacity);
  if (s->cache.reserves) TRY(reserve(s, error));
  TRY(b->ops->reserve(b, s->chunk, s->capacity, budget_width(&m->config), error));
  return rope_init(&s->rope_angles, &m->config, s->capacity, m->dec.rope_factors, s->rope_angles.inv_freq, error);
}

viva_status viva_session_create(viva_model *model, const viva_session_options *options, viva_session **session,
                                viva_error *error) {
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL; give a place for the handle");
  *session = NULL;
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  viva_session *s = mem_zalloc(&model->engine->rt->mem, sizeof *s);
  if (!s) return error_set(error, VIVA_E_MEMORY, "no memory for a session");
  s->model = viva_model_retain(model);
  viva_status status = fill(s, options, error);
  if (!status)
    *session = s;
  else {
    viva_session_free(s);
    viva_model_trim(model); /* what it had taken already is no use to anyone */
  }
  return status;
}

void viva_session_free(viva_session *session) {
  if (!session) return;
  viva_model *model = session->model;
  mem *m = &model->engine->rt->mem;
  kv_release(&session->cache);
  if (session->relies) work_pool_reserving(&model->work, -1);
  logits_drop(&model->work, session->logits);
  logits_drop(&model->work, session->spare[0]);
  logits_drop(&model->work, session->spare[1]);
  mem_free(m, session->cache.pages);
  mem_free(m, session->rope_angles.inv_freq);
  mem_free(m, session);
  viva_model_release(model);
}

/* ---- what steps need of a session */

viva_status session_check_room(const viva_session *s, size_t count, viva_error *error) {
  if (count <= s->capacity - s->position) return VIVA_OK;
  return error_set(error, VIVA_E_LIMIT,
                   "the session is full: it holds %zu tokens, %zu more are given, its capacity is %zu; truncate it or "
                   "make one with a larger capacity",
                   s->position, count, s->capacity);
}

viva_status session_take_row(viva_session *s, logits_row **row, viva_error *error) {
  for (size_t i = 0; i < 2; i++) {
    if (!s->spare[i]) continue;
    *row = s->spare[i];
    (*row)->host_valid = 0;
    s->spare[i] = NULL;
    return VIVA_OK;
  }
  return logits_take(&s->model->work, row, error);
}

void session_put_row(viva_session *s, logits_row *row) {
  for (size_t i = 0; i < 2 && row && s->cache.reserves && row->holders == 1; i++) {
    if (s->spare[i]) continue;
    s->spare[i] = row;
    return;
  }
  logits_drop(&s->model->work, row);
}

viva_status session_not_a_number(const viva_session *s, uint64_t position, viva_error *error) {
  error_set(error, VIVA_E_NUMERIC,
            "a logit that follows the token at position %llu is not a number: the file is damaged and holds "
            "weights that are no numbers, or they overflow in the type they are held in, where weights f32 helps",
            (unsigned long long)position);
  error_at(error, s->model->path, NULL, 0, VIVA_NO_OFFSET);
  return VIVA_E_NUMERIC;
}

/* ---- state */

viva_status viva_session_logits(viva_session *session, const float **logits, size_t *vocab_size, viva_error *error) {
  if (!session || !logits) return error_set(error, VIVA_E_ARGUMENT, "session and logits must not be NULL");
  *logits = NULL;
  if (!session->logits)
    return error_set(error, VIVA_E_STATE,
                     "there are no logits: nothing was processed yet, or the session was truncated since; prefill or "
                     "decode first");
  TRY(logits_host(&session->model->work, session->logits, logits, error));
  if (vocab_size) *vocab_size = session->model->dec.vocab;
  return VIVA_OK;
}

uint64_t viva_session_position(const viva_session *session) { return session ? session->position : 0; }

uint64_t viva_session_capacity(const viva_session *session) { return session ? session->capacity : 0; }

viva_status viva_session_truncate(viva_session *session, uint64_t position, viva_error *error) {
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL");
  if (position > session->position)
    return error_set(error, VIVA_E_ARGUMENT, "cannot truncate to %llu tokens: the session holds %zu",
                     (unsigned long long)position, session->position);
  if (position == session->position) return VIVA_OK;
  session->position = (size_t)position;
  session_put_row(session, session->logits);
  session->logits = NULL;
  kv_give_up(&session->cache, session->position);
  return VIVA_OK;
}

/* ---- copy */

static viva_status check_copy(const viva_session *to, const viva_session *from, viva_error *error) {
  const viva_model_config *c = &from->model->config;
  if (to->model != from->model) return error_set(error, VIVA_E_ARGUMENT, "the two sessions belong to different models");
  if (to->cache.pool != from->cache.pool)
    return error_set(error, VIVA_E_ARGUMENT, "the two sessions have different KV types; make both with one");
  if (c->rope_type == VIVA_ROPE_DYNAMIC && to->capacity != from->capacity)
    return error_set(error, VIVA_E_ARGUMENT,
                     "this model's RoPE scaling is dynamic: both sessions need one capacity, not %zu and %zu",
                     to->capacity, from->capacity);
  if (from->position > to->capacity)
    return error_set(error, VIVA_E_LIMIT, "a session of %zu tokens does not fit into a capacity of %zu", from->position,
                     to->capacity);
  return VIVA_OK;
}

viva_status viva_session_copy(viva_session *to, const viva_session *from, viva_error *error) {
  if (!to || !from) return error_set(error, VIVA_E_ARGUMENT, "to and from must not be NULL");
  if (to == from) return VIVA_OK;
  TRY(check_copy(to, from, error));
  TRY(kv_share(&to->cache, &from->cache, from->position, error));
  to->position = from->position;
  session_put_row(to, to->logits);
  to->logits = logits_share(&to->model->work, from->logits);
  return VIVA_OK;
}
