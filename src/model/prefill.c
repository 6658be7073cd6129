/* model/prefill.c: many tokens of one session, chunk by chunk. */
#include "base/ck.h"
#include "base/options.h"
#include "model/session.h"

viva_prefill_options viva_prefill_options_default(void) {
  return (viva_prefill_options){.size = sizeof(viva_prefill_options)};
}

static int wants_all(const viva_prefill_options *o) { return o->all_logits || o->on_logits; }

static viva_status check(const viva_session *s, const viva_token *tokens, size_t count, const viva_prefill_options *o,
                         viva_error *error) {
  uint64_t floats;
  if (count == 0 || !tokens)
    return error_set(error, VIVA_E_ARGUMENT, "no tokens are given; a prefill needs at least one");
  TRY(session_check(s, tokens, count, error));
  if (!o->all_logits) return VIVA_OK;
  if (!ck_mul(count, s->model->config.vocab_size, &floats) && floats == o->all_logits_count) return VIVA_OK;
  error_set(error, VIVA_E_SIZE, "all_logits has room for %zu values, but %zu tokens give %zu x %llu",
            o->all_logits_count, count, count, (unsigned long long)s->model->config.vocab_size);
  error_option(error, VIVA_E_ARGUMENT, "all_logits_count");
  return VIVA_E_SIZE;
}

/* One block of logits, made in s->many, to the caller. position: of its first row; done: rows before it in this call.
 */
static viva_status deliver(viva_session *s, size_t done, size_t rows, const viva_prefill_options *o,
                           viva_error *error) {
  backend *b = s->model->engine->backend;
  size_t vocab = (size_t)s->model->config.vocab_size;
  viva_token id;
  for (size_t r = 0; r < rows; r++) TRY(session_argmax(s, s->many + r * vocab, s->position + done + r, &id, error));
  if (o->all_logits)
    TRY(b->ops->download(b, o->all_logits + done * vocab, s->many, rows * vocab * sizeof(float), error));
  if (!o->on_logits) return VIVA_OK;
  const float *host = b->ops->host_memory ? s->many : s->many_host;
  if (!b->ops->host_memory) TRY(b->ops->download(b, s->many_host, s->many, rows * vocab * sizeof(float), error));
  for (size_t r = 0; r < rows; r++)
    if (o->on_logits(o->on_logits_user, s->position + done + r, host + r * vocab, vocab))
      return error_set(error, VIVA_E_CANCELLED, "the logits callback asked to stop");
  return VIVA_OK;
}

/* Logits of all rows of a chunk; those of its last row stay in logits[1]. */
static viva_status all_logits(viva_session *s, size_t done, size_t rows, const viva_prefill_options *o,
                              viva_error *error) {
  backend *b = s->model->engine->backend;
  size_t vocab = (size_t)s->model->config.vocab_size;
  for (size_t first = 0; first < rows; first += SESSION_LOGIT_ROWS) {
    size_t n = rows - first < SESSION_LOGIT_ROWS ? rows - first : SESSION_LOGIT_ROWS;
    TRY(forward_head(s, first, n, s->many, error));
    TRY(deliver(s, done + first, n, o, error));
    if (first + n == rows) TRY(b->ops->copy(b, s->logits[1], s->many + (n - 1) * vocab, vocab * sizeof(float), error));
  }
  return VIVA_OK;
}

static viva_status run(viva_session *s, const viva_token *tokens, size_t count, const viva_prefill_options *o,
                       viva_error *error) {
  for (size_t done = 0, rows; done < count; done += rows) {
    rows = count - done < s->chunk ? count - done : s->chunk;
    int last = done + rows == count;
    step st = {.sessions = &s,
               .session_count = 1,
               .position = s->position + done,
               .tokens = tokens + done,
               .rows = rows,
               .keep = wants_all(o) ? 0
                       : last       ? rows - 1
                                    : rows};
    TRY(forward_layers(s, &st, error));
    if (wants_all(o))
      TRY(all_logits(s, done, rows, o, error));
    else if (last)
      TRY(forward_head(s, rows - 1, 1, s->logits[1], error));
    if (o->progress && o->progress(o->progress_user, done + rows, count))
      return error_set(error, VIVA_E_CANCELLED, "the prefill was cancelled after %zu of %zu tokens", done + rows,
                       count);
  }
  return VIVA_OK;
}

viva_status viva_session_prefill(viva_session *session, const viva_token *tokens, size_t count,
                                 const viva_prefill_options *options, viva_error *error) {
  viva_prefill_options o = viva_prefill_options_default();
  viva_token next;
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL");
  TRY(options_read(&o, options, "viva_prefill_options", error));
  TRY(check(session, tokens, count, &o, error));
  if (wants_all(&o)) TRY(session_reserve_many(session, error));
  TRY(run(session, tokens, count, &o, error));
  TRY(session_argmax(session, session->logits[1], session->position + count - 1, &next, error));
  session_commit(session, count, next);
  return VIVA_OK;
}
