/* model/decode.c: steps as clients call them: one token of one session, one of each of several, any of any. */
#include <stdio.h>

#include "base/options.h"
#include "model/step.h"

static viva_status missing(viva_error *error, const char *unit, size_t index, const char *what) {
  char item[32];
  snprintf(item, sizeof item, "%s[%zu]", unit, index);
  error_set(error, VIVA_E_ARGUMENT, "%s", what);
  return error_option(error, VIVA_E_ARGUMENT, item);
}

/* ---- one token each */

viva_status viva_session_decode(viva_session *session, viva_token token, viva_error *error) {
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL");
  step_part part = {.session = session, .tokens = &token, .count = 1, .keep = STEP_LAST};
  return step_one(&part, &(step_call){.unit = NULL}, error);
}

viva_status viva_session_decode_argmax(viva_session *session, viva_token token, viva_token *next, viva_error *error) {
  if (!next) return error_set(error, VIVA_E_ARGUMENT, "next is NULL; give a place for the token");
  TRY(viva_session_decode(session, token, error));
  *next = session->logits->best;
  return VIVA_OK;
}

viva_status viva_sessions_decode(viva_session *const *sessions, const viva_token *tokens, size_t count,
                                 viva_error *error) {
  if (!sessions || !tokens || count == 0)
    return error_set(error, VIVA_E_ARGUMENT, "sessions and tokens must not be NULL, and at least one must be given");
  for (size_t i = 0; i < count; i++)
    if (!sessions[i]) return missing(error, "sessions", i, "the session is NULL");
  viva_model *m = sessions[0]->model;
  workspace *w;
  TRY(work_borrow(&m->work, &w, error));
  step_part *parts = step_parts(m, w, count);
  viva_status status = parts ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for a step of %zu sessions", count);
  for (size_t i = 0; i < count && parts; i++) {
    parts[i].session = sessions[i];
    parts[i].tokens = &tokens[i];
    parts[i].count = 1;
  }
  if (!status) status = step_run(m, w, parts, count, &(step_call){.unit = "sessions", .tokens_are_parts = 1}, error);
  work_return(&m->work, w);
  return status;
}

/* ---- any number of tokens each */

viva_step_options viva_step_options_default(void) { return (viva_step_options){.size = sizeof(viva_step_options)}; }

viva_step_part viva_step_part_default(void) {
  return (viva_step_part){.size = sizeof(viva_step_part), .logits = VIVA_STEP_LAST};
}

/* The parts lie as far apart as the caller's struct is long. */
static viva_status read_part(const viva_step_part *parts, size_t i, viva_step_part *part, viva_error *error) {
  const size_t bytes = parts->size;
  *part = viva_step_part_default();
  if (options_read(part, (const char *)parts + i * bytes, "viva_step_part", error) == VIVA_OK) return VIVA_OK;
  char item[32];
  snprintf(item, sizeof item, "parts[%zu]", i);
  return error_option(error, VIVA_E_ARGUMENT, item);
}

static viva_status check_part(const viva_step_part *part, size_t i, viva_error *error) {
  if (!part->session) return missing(error, "parts", i, "session is NULL");
  const size_t vocab = part->session->model->dec.vocab;
  if (part->logits < VIVA_STEP_NONE || part->logits > VIVA_STEP_ALL)
    return missing(error, "parts", i, "logits is none of VIVA_STEP_NONE, VIVA_STEP_LAST and VIVA_STEP_ALL");
  if (part->all_logits && part->logits != VIVA_STEP_ALL)
    return missing(error, "parts", i, "all_logits is given, but logits is not VIVA_STEP_ALL");
  if (part->top_k == 0) return VIVA_OK;
  if (!part->top) return missing(error, "parts", i, "top is NULL, but top_k is not 0");
  if (part->logits == VIVA_STEP_NONE) return missing(error, "parts", i, "top_k is given, but logits is VIVA_STEP_NONE");
  if (part->top_k > vocab) return missing(error, "parts", i, "top_k is larger than the vocabulary");
  return VIVA_OK;
}

static viva_status fill_parts(const viva_step_part *parts, size_t count, step_part *to, viva_error *error) {
  static const step_keep keep[] = {
      [VIVA_STEP_NONE] = STEP_NONE, [VIVA_STEP_LAST] = STEP_LAST, [VIVA_STEP_ALL] = STEP_ALL};
  for (size_t i = 0; i < count; i++) {
    viva_step_part part;
    TRY(read_part(parts, i, &part, error));
    TRY(check_part(&part, i, error));
    to[i] = (step_part){.session = part.session,
                        .number = i,
                        .tokens = part.tokens,
                        .count = part.count,
                        .keep = keep[part.logits],
                        .all_logits = part.all_logits,
                        .top = part.top_k,
                        .top_results = part.top};
  }
  return VIVA_OK;
}

viva_status viva_step(const viva_step_part *parts, size_t count, const viva_step_options *options, viva_error *error) {
  viva_step_options o = viva_step_options_default();
  viva_step_part first;
  workspace *w;
  TRY(options_read(&o, options, "viva_step_options", error));
  if (count == 0) return VIVA_OK;
  if (!parts) return error_set(error, VIVA_E_ARGUMENT, "parts is NULL, but count is %zu", count);
  TRY(read_part(parts, 0, &first, error));
  TRY(check_part(&first, 0, error));
  viva_model *m = first.session->model;
  TRY(work_borrow(&m->work, &w, error));
  step_part *inner = step_parts(m, w, count);
  viva_status status = inner ? fill_parts(parts, count, inner, error)
                             : error_set(error, VIVA_E_MEMORY, "no memory for a step of %zu parts", count);
  const step_call call = {.unit = "parts", .progress = o.progress, .progress_user = o.progress_user};
  if (!status) status = step_run(m, w, inner, count, &call, error);
  work_return(&m->work, w);
  return status;
}
