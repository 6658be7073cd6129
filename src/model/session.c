/* model/session.c: making, ending, rewinding and copying sessions. */
#include "model/session.h"

#include "base/options.h"

viva_session_options viva_session_options_default(void) {
  return (viva_session_options){.size = sizeof(viva_session_options)};
}

/* ---- create, free */

static budget_case session_case(const viva_session *s) {
  const viva_model *m = s->model;
  return (budget_case){
      .backend = m->engine->backend, .config = &m->config, .layers = m->dec.layer_count, .kv = s->kv, .act = m->act};
}

static viva_status check_memory(const viva_session *s, viva_error *error) {
  const budget_case c = session_case(s);
  uint64_t kv = budget_kv(c.config, c.layers, s->capacity, s->kv);
  uint64_t work = budget_work(&c, s->capacity, s->chunk);
  uint64_t available = budget_available(c.backend), needed = budget_add(kv, work);
  char texts[3][32];
  if (available == 0 || needed <= available) return VIVA_OK;
  return error_set(error, VIVA_E_LIMIT,
                   "a session of %zu tokens needs %s (KV cache %s), but %s are available; the largest capacity that "
                   "fits is %llu tokens",
                   s->capacity, budget_text(needed, texts[0]), budget_text(kv, texts[1]),
                   budget_text(available, texts[2]), (unsigned long long)budget_context(&c, 0, available, s->capacity));
}

static viva_status read_options(viva_session *s, const viva_session_options *given, viva_error *error) {
  viva_session_options o = viva_session_options_default();
  TRY(options_read(&o, given, "viva_session_options", error));
  s->kv = s->model->kv;
  if (o.kv != VIVA_DTYPE_NONE) TRY(decoder_kv_option(o.kv, &s->kv, error));
  uint64_t capacity = o.capacity ? o.capacity : s->model->context;
  if (capacity > BUDGET_CONTEXT_MOST)
    return error_set(error, VIVA_E_LIMIT, "a capacity of %llu tokens is asked for; the most is %llu",
                     (unsigned long long)capacity, (unsigned long long)BUDGET_CONTEXT_MOST);
  s->capacity = (size_t)capacity;
  s->chunk = budget_chunk(&s->model->config, capacity, o.prefill_chunk);
  return VIVA_OK;
}

static viva_status allocate(viva_session *s, viva_error *error) {
  const viva_model *m = s->model;
  backend *b = m->engine->backend;
  mem *memory = &m->engine->rt->mem;
  size_t vocab = (size_t)m->config.vocab_size;
  size_t pairs = s->rows.cos_sin / 2;
  uint64_t cache = budget_kv(&m->config, m->dec.layer_count, s->capacity, s->kv);
  s->cache_half = (size_t)(cache / (2 * m->dec.layer_count));
  s->cache = b->ops->alloc(b, (size_t)cache);
  s->activations = b->ops->alloc(b, s->rows.floats * s->chunk * sizeof(float));
  s->logits[0] = b->ops->alloc(b, vocab * sizeof(float));
  s->logits[1] = b->ops->alloc(b, vocab * sizeof(float));
  s->cos_sin = mem_alloc(memory, s->chunk * s->rows.cos_sin * sizeof(float));
  s->spans = mem_array(memory, s->chunk, sizeof *s->spans);
  s->rope.inv_freq = mem_array(memory, pairs, sizeof(float));
  if (!b->ops->host_memory) s->host_logits = mem_array(memory, vocab, sizeof(float));
  const budget_case sizes = session_case(s);
  size_t quantized = (size_t)budget_quantized(&sizes, s->chunk);
  if (quantized) s->quantized = b->ops->alloc(b, quantized);
  if (!s->cache || !s->activations || (quantized && !s->quantized) || !s->logits[0] || !s->logits[1] || !s->cos_sin ||
      !s->spans || !s->rope.inv_freq || (!b->ops->host_memory && !s->host_logits))
    return error_set(error, VIVA_E_MEMORY, "no memory for a session of %zu tokens", s->capacity);
  return b->ops->reserve(b, s->chunk, s->capacity, budget_width(&m->config), error);
}

static viva_status fill(viva_session *s, const viva_session_options *options, viva_error *error) {
  const viva_model *m = s->model;
  TRY(read_options(s, options, error));
  TRY(check_memory(s, error));
  s->rows = budget_rows(&m->config);
  TRY(allocate(s, error));
  return rope_init(&s->rope, &m->config, s->capacity, m->dec.rope_factors, s->rope.inv_freq, error);
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
  if (status)
    viva_session_free(s);
  else
    *session = s;
  return status;
}

static void free_dev(backend *b, void *memory) {
  if (memory) b->ops->free(b, memory);
}

void viva_session_free(viva_session *session) {
  if (!session) return;
  viva_model *model = session->model;
  backend *b = model->engine->backend;
  mem *m = &model->engine->rt->mem;
  free_dev(b, session->cache);
  free_dev(b, session->activations);
  free_dev(b, session->quantized);
  free_dev(b, session->logits[0]);
  free_dev(b, session->logits[1]);
  free_dev(b, session->many);
  mem_free(m, session->many_host);
  mem_free(m, session->host_logits);
  mem_free(m, session->cos_sin);
  mem_free(m, session->spans);
  mem_free(m, session->rope.inv_freq);
  mem_free(m, session);
  viva_model_release(model);
}

viva_status session_reserve_many(viva_session *s, viva_error *error) {
  backend *b = s->model->engine->backend;
  size_t bytes = SESSION_LOGIT_ROWS * (size_t)s->model->config.vocab_size * sizeof(float);
  if (!s->many) s->many = b->ops->alloc(b, bytes);
  if (!s->many_host && !b->ops->host_memory) s->many_host = mem_alloc(&s->model->engine->rt->mem, bytes);
  if (s->many && (s->many_host || b->ops->host_memory)) return VIVA_OK;
  return error_set(error, VIVA_E_MEMORY, "no memory for %d rows of logits", SESSION_LOGIT_ROWS);
}

/* ---- state */

viva_status session_check(const viva_session *s, const viva_token *tokens, size_t count, viva_error *error) {
  uint64_t vocab = s->model->config.vocab_size;
  if (s->failed)
    return error_set(error, VIVA_E_STATE,
                     "the session holds nothing since a copy into it failed; truncate it to 0 or copy into it again");
  /* The count first: when it is wrong, tokens may end before it. */
  if (count > s->capacity - s->position)
    return error_set(
        error, VIVA_E_LIMIT,
        "the session is full: it holds %zu tokens, %zu more are given, its capacity is %zu; truncate it or "
        "make one with a larger capacity",
        s->position, count, s->capacity);
  for (size_t i = 0; i < count; i++) {
    if (tokens[i] >= 0 && (uint64_t)tokens[i] < vocab) continue;
    return error_set(error, VIVA_E_ARGUMENT, "tokens[%zu] is %ld, outside the vocabulary of %llu tokens (0 to %llu)", i,
                     (long)tokens[i], (unsigned long long)vocab, (unsigned long long)vocab - 1);
  }
  return VIVA_OK;
}

viva_status session_argmax(viva_session *s, const float *logits, uint64_t position, viva_token *id, viva_error *error) {
  backend *b = s->model->engine->backend;
  int nan = 0;
  TRY(b->ops->argmax(b, logits, (size_t)s->model->config.vocab_size, id, &nan, error));
  if (!nan) return VIVA_OK;
  return error_set(
      error, VIVA_E_NUMERIC,
      "a logit that follows the token at position %llu is not a number: the file is damaged and holds "
      "weights that are no numbers, or they overflow in the type they are held in, where weights f32 helps",
      (unsigned long long)position);
}

void session_commit(viva_session *s, size_t tokens, viva_token next) {
  float *made = s->logits[1];
  s->logits[1] = s->logits[0];
  s->logits[0] = made;
  s->has_logits = 1;
  s->host_valid = 0;
  s->next = next;
  s->position += tokens;
}

viva_status viva_session_logits(viva_session *session, const float **logits, size_t *vocab_size, viva_error *error) {
  if (!session || !logits) return error_set(error, VIVA_E_ARGUMENT, "session and logits must not be NULL");
  *logits = NULL;
  if (!session->has_logits)
    return error_set(error, VIVA_E_STATE,
                     "there are no logits: nothing was processed yet, or the session was truncated since; prefill or "
                     "decode first");
  backend *b = session->model->engine->backend;
  size_t vocab = (size_t)session->model->config.vocab_size;
  if (!b->ops->host_memory && !session->host_valid) {
    TRY(b->ops->download(b, session->host_logits, session->logits[0], vocab * sizeof(float), error));
    session->host_valid = 1;
  }
  *logits = b->ops->host_memory ? session->logits[0] : session->host_logits;
  if (vocab_size) *vocab_size = vocab;
  return VIVA_OK;
}

uint64_t viva_session_position(const viva_session *session) { return session ? session->position : 0; }

uint64_t viva_session_capacity(const viva_session *session) { return session ? session->capacity : 0; }

viva_status viva_session_truncate(viva_session *session, uint64_t position, viva_error *error) {
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL");
  if (position > session->position)
    return error_set(error, VIVA_E_ARGUMENT, "cannot truncate to %llu tokens: the session holds %zu",
                     (unsigned long long)position, session->position);
  session->failed = 0; /* a failed session is at position 0 */
  if (position == session->position) return VIVA_OK;
  session->position = (size_t)position;
  session->has_logits = 0;
  return VIVA_OK;
}

/* ---- copy */

static viva_status check_copy(const viva_session *to, const viva_session *from, viva_error *error) {
  const viva_model_config *c = &from->model->config;
  if (to->model != from->model) return error_set(error, VIVA_E_ARGUMENT, "the two sessions belong to different models");
  if (to->kv != from->kv)
    return error_set(error, VIVA_E_ARGUMENT, "the two sessions have different KV types; make both with one");
  if (from->failed) return session_check(from, NULL, 0, error);
  if (c->rope_type == VIVA_ROPE_DYNAMIC && to->capacity != from->capacity)
    return error_set(error, VIVA_E_ARGUMENT,
                     "this model's RoPE scaling is dynamic: both sessions need one capacity, not %zu and %zu",
                     to->capacity, from->capacity);
  if (from->position > to->capacity)
    return error_set(error, VIVA_E_LIMIT, "a session of %zu tokens does not fit into a capacity of %zu", from->position,
                     to->capacity);
  return VIVA_OK;
}

static viva_status copy_cache(viva_session *to, const viva_session *from, viva_error *error) {
  const viva_model *m = from->model;
  backend *b = m->engine->backend;
  size_t kv_heads = (size_t)m->config.num_kv_heads;
  size_t to_head = to->cache_half / kv_heads, from_head = from->cache_half / kv_heads;
  size_t used = from_head / from->capacity * from->position;
  if (!used) return VIVA_OK;
  for (size_t i = 0; i < 2 * m->dec.layer_count * kv_heads; i++)
    TRY(b->ops->copy(b, (char *)to->cache + i * to_head, (char *)from->cache + i * from_head, used, error));
  return VIVA_OK;
}

viva_status viva_session_copy(viva_session *to, const viva_session *from, viva_error *error) {
  if (!to || !from) return error_set(error, VIVA_E_ARGUMENT, "to and from must not be NULL");
  if (to == from) return VIVA_OK;
  TRY(check_copy(to, from, error));
  backend *b = to->model->engine->backend;
  size_t bytes = (size_t)to->model->config.vocab_size * sizeof(float);
  viva_status status = VIVA_OK;
  if (from->has_logits) status = b->ops->copy(b, to->logits[1], from->logits[0], bytes, error);
  if (status) return status;
  to->position = 0; /* from here on the old contents are lost */
  to->has_logits = 0;
  to->failed = 1;
  TRY(copy_cache(to, from, error));
  to->failed = 0;
  to->position = from->position;
  if (from->has_logits) session_commit(to, 0, from->next);
  return VIVA_OK;
}
