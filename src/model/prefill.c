/* model/prefill.c: many tokens of one session, chunk by chunk. */
#include "base/ck.h"
#include "base/options.h"
#include "model/step.h"

viva_prefill_options viva_prefill_options_default(void) {
  return (viva_prefill_options){.size = sizeof(viva_prefill_options)};
}

static viva_status check_room(const viva_session *s, size_t count, const viva_prefill_options *o, viva_error *error) {
  uint64_t floats;
  if (!o->all_logits) return VIVA_OK;
  if (!ck_mul(count, s->model->config.vocab_size, &floats) && floats == o->all_logits_count) return VIVA_OK;
  error_set(error, VIVA_E_SIZE, "all_logits has room for %zu values, but %zu tokens give %zu x %llu",
            o->all_logits_count, count, count, (unsigned long long)s->model->config.vocab_size);
  return error_option(error, VIVA_E_SIZE, "all_logits_count");
}

viva_status viva_session_prefill(viva_session *session, const viva_token *tokens, size_t count,
                                 const viva_prefill_options *options, viva_error *error) {
  viva_prefill_options o = viva_prefill_options_default();
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL");
  TRY(options_read(&o, options, "viva_prefill_options", error));
  TRY(check_room(session, count, &o, error));
  step_part part = {.session = session,
                    .tokens = tokens,
                    .count = count,
                    .keep = o.all_logits || o.on_logits ? STEP_ALL : STEP_LAST,
                    .all_logits = o.all_logits,
                    .on_logits = o.on_logits,
                    .on_logits_user = o.on_logits_user};
  return step_one(&part, &(step_call){.progress = o.progress, .progress_user = o.progress_user}, error);
}
