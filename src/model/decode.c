/* model/decode.c: one token for each of one or several sessions; the weights are read once for all. */
#include <stdio.h>

#include "model/session.h"

static void at_session(viva_error *error, size_t index) {
  char item[32];
  snprintf(item, sizeof item, "sessions[%zu]", index);
  error_at(error, NULL, item, -1, VIVA_NO_OFFSET);
}

static viva_status check_one(viva_session *const *sessions, const viva_token *tokens, size_t i, viva_error *error) {
  viva_session *s = sessions[i];
  if (s->model != sessions[0]->model)
    return error_set(error, VIVA_E_ARGUMENT, "the session belongs to another model than sessions[0]");
  if (s->kv != sessions[0]->kv)
    return error_set(error, VIVA_E_ARGUMENT, "the session's KV type is not that of sessions[0]; decode them apart");
  if (s->marked) return error_set(error, VIVA_E_ARGUMENT, "the session is given twice");
  s->marked = 1;
  return session_check(s, &tokens[i], 1, error);
}

static viva_status check(viva_session *const *sessions, const viva_token *tokens, size_t count, viva_error *error) {
  if (!sessions || !tokens || count == 0)
    return error_set(error, VIVA_E_ARGUMENT, "sessions and tokens must not be NULL, and at least one must be given");
  for (size_t i = 0; i < count; i++) {
    if (sessions[i]) continue;
    error_set(error, VIVA_E_ARGUMENT, "the session is NULL");
    at_session(error, i);
    return VIVA_E_ARGUMENT;
  }
  viva_status status = VIVA_OK;
  for (size_t i = 0; i < count; i++) sessions[i]->marked = 0;
  for (size_t i = 0; i < count && !status; i++) {
    status = check_one(sessions, tokens, i, error);
    if (status) at_session(error, i);
  }
  return status;
}

/* Logits of rows of a batch, each to its session's logits[1]. */
static viva_status spread(viva_session *const *sessions, size_t rows, viva_session *work, viva_error *error) {
  backend *b = work->model->engine->backend;
  size_t vocab = (size_t)work->model->config.vocab_size;
  for (size_t first = 0; first < rows; first += SESSION_LOGIT_ROWS) {
    size_t n = rows - first < SESSION_LOGIT_ROWS ? rows - first : SESSION_LOGIT_ROWS;
    TRY(forward_head(work, first, n, work->many, error));
    for (size_t r = 0; r < n; r++)
      TRY(b->ops->copy(b, sessions[first + r]->logits[1], work->many + r * vocab, vocab * sizeof(float), error));
  }
  return VIVA_OK;
}

/* Steps of at most work->chunk rows. No session changes but in logits[1] and beyond its position in the cache. */
static viva_status run(viva_session *const *sessions, const viva_token *tokens, size_t count, viva_session *work,
                       viva_error *error) {
  for (size_t first = 0, rows; first < count; first += rows) {
    rows = count - first < work->chunk ? count - first : work->chunk;
    step st = {.sessions = sessions + first,
               .session_count = rows,
               .position = sessions[first]->position,
               .tokens = tokens + first,
               .rows = rows};
    TRY(forward_layers(work, &st, error));
    if (count == 1)
      TRY(forward_head(work, 0, 1, work->logits[1], error));
    else
      TRY(spread(sessions + first, rows, work, error));
  }
  return VIVA_OK;
}

viva_status viva_sessions_decode(viva_session *const *sessions, const viva_token *tokens, size_t count,
                                 viva_error *error) {
  TRY(check(sessions, tokens, count, error));
  if (count > 1) TRY(session_reserve_many(sessions[0], error));
  TRY(run(sessions, tokens, count, sessions[0], error));
  for (size_t i = 0; i < count; i++) { /* all are checked before one changes */
    viva_session *s = sessions[i];
    viva_status status = session_argmax(s, s->logits[1], s->position, &s->made, error);
    if (status) {
      at_session(error, i);
      return status;
    }
  }
  for (size_t i = 0; i < count; i++) session_commit(sessions[i], 1, sessions[i]->made);
  return VIVA_OK;
}

viva_status viva_session_decode(viva_session *session, viva_token token, viva_error *error) {
  viva_token next;
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL");
  TRY(session_check(session, &token, 1, error));
  TRY(run(&session, &token, 1, session, error));
  TRY(session_argmax(session, session->logits[1], session->position, &next, error));
  session_commit(session, 1, next);
  return VIVA_OK;
}

viva_status viva_session_decode_argmax(viva_session *session, viva_token token, viva_token *next, viva_error *error) {
  if (!next) return error_set(error, VIVA_E_ARGUMENT, "next is NULL; give a place for the token");
  TRY(viva_session_decode(session, token, error));
  *next = session->next;
  return VIVA_OK;
}
