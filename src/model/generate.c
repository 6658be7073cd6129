/* model/generate.c: viva_generate: one generator from beginning to end, on a session of its own or the caller's. */
#include "base/options.h"
#include "model/generator.h"

viva_generate_options viva_generate_options_default(void) {
  viva_generate_options o = {.size = sizeof(viva_generate_options),
                             .max_new_tokens = 50,
                             .sampling = viva_sampling_options_default(),
                             .stop_on_eos = 1,
                             .match_special = 1,
                             .add_bos = -1};
  o.sampling.temperature = 0;
  return o;
}

static viva_status make_session(viva_generator *g, viva_session **session, viva_error *error) {
  const viva_model *m = g->model;
  uint64_t needed;
  TRY(generator_check_length(g, m->context, &needed, error));
  viva_session_options o = viva_session_options_default();
  /* As large as this text needs. "dynamic" RoPE depends on the capacity: there it is the model's. */
  o.capacity = m->config.rope_type == VIVA_ROPE_DYNAMIC ? m->context : needed;
  return viva_session_create(g->model, &o, session, error);
}

/* The text of a step to the callback, which may end it all. */
static void show(viva_generator *g, const viva_generate_options *o, const viva_generator_output *out) {
  if (!o->on_text || out->state == VIVA_GENERATOR_PROMPT || g->reason == VIVA_STOP_CANCELLED) return;
  if (out->state == VIVA_GENERATOR_DONE && out->text_bytes == 0) return;
  if (o->on_text(o->on_text_user, out->text, out->text_bytes)) viva_generator_cancel(g);
}

static viva_status loop(viva_generator *g, const viva_generate_options *o, viva_error *error) {
  viva_generator_output out = {.size = sizeof out, .state = VIVA_GENERATOR_PROMPT};
  uint64_t read = 0; /* tokens of the prompt that progress knows of */
  while (out.state != VIVA_GENERATOR_DONE) {
    TRY(viva_generators_step(&g, 1, &out, error));
    if (out.prompt_done > read && o->progress && o->progress(o->progress_user, out.prompt_done, out.prompt_count))
      return error_set(error, VIVA_E_CANCELLED, "the prefill was cancelled after %llu of %llu tokens",
                       (unsigned long long)out.prompt_done, (unsigned long long)out.prompt_count);
    read = out.prompt_done;
    show(g, o, &out);
  }
  return VIVA_OK;
}

static viva_status run(viva_generator *g, const viva_generate_options *o, viva_session *session,
                       viva_generate_result **result, viva_error *error) {
  TRY(generator_attach(g, session, error));
  g->phase = g->prompt_count ? PHASE_FEED : PHASE_CHOOSE;
  viva_status status = loop(g, o, error);
  if (!status) status = viva_generator_result(g, result, error);
  if (status) viva_session_truncate(session, g->start, NULL);
  return status;
}

static viva_status generate(viva_model *model, const char *prompt, size_t bytes, const viva_token *ids, size_t count,
                            const viva_generate_options *options, viva_generate_result **result, viva_error *error) {
  viva_generate_options o = viva_generate_options_default();
  viva_generator *g;
  viva_session *own = NULL;
  TRY(options_read(&o, options, "viva_generate_options", error));
  TRY(options_reserved(o.reserved, "viva_generate_options", error));
  TRY(generator_make(model, &o, &g, error));
  viva_status status = generator_read_prompt(g, prompt, bytes, ids, count, o.session, error);
  if (!status && !o.session) status = make_session(g, &own, error);
  if (!status) status = run(g, &o, o.session ? o.session : own, result, error);
  viva_generator_free(g);
  viva_session_free(own);
  return status;
}

viva_status viva_generate(viva_model *model, const char *prompt, size_t bytes, const viva_generate_options *options,
                          viva_generate_result **result, viva_error *error) {
  if (!result) return error_set(error, VIVA_E_ARGUMENT, "result is NULL; give a place for it");
  *result = NULL;
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  if (!prompt && bytes) return error_set(error, VIVA_E_ARGUMENT, "prompt is NULL, but %zu bytes are given", bytes);
  if (!model->tokenizer) return model_no_tokenizer(model, error);
  return generate(model, prompt ? prompt : "", bytes, NULL, 0, options, result, error);
}

viva_status viva_generate_tokens(viva_model *model, const viva_token *prompt, size_t count,
                                 const viva_generate_options *options, viva_generate_result **result,
                                 viva_error *error) {
  if (!result) return error_set(error, VIVA_E_ARGUMENT, "result is NULL; give a place for it");
  *result = NULL;
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  if (!prompt && count) return error_set(error, VIVA_E_ARGUMENT, "prompt is NULL, but %zu ids are given", count);
  return generate(model, NULL, 0, prompt, count, options, result, error);
}
