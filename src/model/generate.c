/* model/generate.c: viva_generate: its options, its prompt, its session. */
#include <string.h>

#include "base/ck.h"
#include "base/num.h"
#include "base/options.h"
#include "model/generation.h"
#include "text/tokenizer.h"

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

/* ---- options */

static viva_status check_stop_strings(const generation *g, viva_error *error) {
  const viva_generate_options *o = &g->o;
  if (!o->stop_count) return VIVA_OK;
  if (!o->stop_strings) {
    error_set(error, VIVA_E_ARGUMENT, "stop_strings is NULL, but stop_count is %zu", o->stop_count);
    return error_option(error, VIVA_E_ARGUMENT, "stop_strings");
  }
  for (size_t i = 0; i < o->stop_count; i++) {
    const char *text = o->stop_strings[i];
    if (text && text[0] && utf8_valid(text, strlen(text))) continue;
    error_set(error, VIVA_E_ARGUMENT, "stop string %zu is %s", i,
              !text     ? "NULL"
              : text[0] ? "not valid UTF-8"
                        : "empty; leave it out to have none");
    return error_option(error, VIVA_E_ARGUMENT, "stop_strings");
  }
  if (g->model->tokenizer) return VIVA_OK;
  error_set(error, VIVA_E_STATE, "stop strings need text, but the model has no tokenizer%s%s",
            g->model->tokenizer_problem ? ": " : "; give the path of one when it is loaded",
            g->model->tokenizer_problem ? g->model->tokenizer_problem : "");
  return VIVA_E_STATE;
}

/* The sampler knows its own rules: one logit is enough to hear them before any work is done. */
static viva_status check_sampling(const generation *g, viva_error *error) {
  float logit = 0;
  viva_token id;
  return viva_sample(&logit, 1, &g->o.sampling, NULL, 0, 0, 0, g->scratch, g->scratch_bytes, &id, error);
}

static viva_status check_flag(int32_t value, const char *name, viva_error *error) {
  if (value == 0 || value == 1) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "%s can be 0 or 1, not %d", name, (int)value);
  return error_option(error, VIVA_E_ARGUMENT, name);
}

static viva_status check_options(const generation *g, viva_error *error) {
  const viva_generate_options *o = &g->o;
  TRY(check_flag(o->stop_on_eos, "stop_on_eos", error));
  TRY(check_flag(o->match_special, "match_special", error));
  if (o->add_bos < -1 || o->add_bos > 1) {
    error_set(error, VIVA_E_ARGUMENT, "add_bos can be -1, 0 or 1, not %d", (int)o->add_bos);
    return error_option(error, VIVA_E_ARGUMENT, "add_bos");
  }
  if (o->logprobs > g->model->config.vocab_size) {
    error_set(error, VIVA_E_ARGUMENT, "%u log probabilities are asked for, but the vocabulary has %llu tokens",
              (unsigned)o->logprobs, (unsigned long long)g->model->config.vocab_size);
    return error_option(error, VIVA_E_ARGUMENT, "logprobs");
  }
  if (o->session && o->session->model != g->model) {
    error_set(error, VIVA_E_ARGUMENT, "the session belongs to another model");
    return error_option(error, VIVA_E_ARGUMENT, "session");
  }
  TRY(check_sampling(g, error));
  return check_stop_strings(g, error);
}

/* ---- prompt */

static viva_status add_bos(generation *g, viva_error *error) {
  const viva_tokenizer *tokenizer = g->model->tokenizer;
  int continues = g->o.session && g->o.session->position > 0;
  if (g->o.add_bos == 0 || (g->o.add_bos < 0 && (continues || !viva_tokenizer_add_bos(tokenizer)))) return VIVA_OK;
  viva_token bos = viva_tokenizer_bos(tokenizer);
  if (bos < 0) bos = g->model->config.bos_token;
  if (bos < 0) {
    error_set(error, VIVA_E_ARGUMENT, "a BOS token is asked for, but neither the tokenizer nor the model has one");
    return error_option(error, VIVA_E_ARGUMENT, "add_bos");
  }
  return buffer_add(g->mem, &g->tokens, &bos, sizeof bos)
             ? error_set(error, VIVA_E_MEMORY, "no memory for the prompt's tokens")
             : VIVA_OK;
}

static viva_status encode(generation *g, const char *prompt, size_t bytes, viva_error *error) {
  viva_encode_options o = viva_encode_options_default();
  o.match_special = g->o.match_special;
  o.add_special = 0; /* BOS by add_bos; an EOS at the end of a prompt would end the text */
  TRY(add_bos(g, error));
  viva_status status = VIVA_E_SIZE;
  for (size_t capacity = bytes + 1, count; status == VIVA_E_SIZE; capacity = count) { /* rarely more ids than bytes */
    size_t begin = g->tokens.bytes, room = begin + capacity * sizeof(viva_token);
    void *grown = capacity < SIZE_MAX / 8 ? mem_resize(g->mem, g->tokens.data, room) : NULL;
    if (!grown) return error_set(error, VIVA_E_MEMORY, "no memory for the prompt's tokens");
    g->tokens.data = grown;
    g->tokens.room = room;
    status = viva_tokenizer_encode(g->model->tokenizer, prompt, bytes, &o, (viva_token *)((char *)grown + begin),
                                   capacity, &count, error);
    if (!status) g->tokens.bytes = begin + count * sizeof(viva_token);
  }
  return status;
}

/* ---- session */

static const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

static viva_status check_length(const generation *g, size_t held, uint64_t capacity, uint64_t *needed,
                                viva_error *error) {
  uint64_t new_tokens = g->o.max_new_tokens;
  if (!ck_add(g->prompt_count, new_tokens, needed) && *needed <= capacity - held) return VIVA_OK;
  if (g->o.session)
    error_set(error, VIVA_E_LIMIT,
              "%zu prompt token%s and %llu new one%s do not fit: the session holds %zu of %llu token%s; ask for fewer, "
              "truncate it, or make one with a larger capacity",
              g->prompt_count, plural(g->prompt_count), (unsigned long long)new_tokens, plural(new_tokens), held,
              (unsigned long long)capacity, plural(capacity));
  else
    error_set(error, VIVA_E_LIMIT,
              "%zu prompt token%s and %llu new one%s do not fit into a context of %llu token%s; ask for fewer, or load "
              "the model with a larger context",
              g->prompt_count, plural(g->prompt_count), (unsigned long long)new_tokens, plural(new_tokens),
              (unsigned long long)capacity, plural(capacity));
  error_at(error, NULL, "max_new_tokens", -1, VIVA_NO_OFFSET);
  return VIVA_E_LIMIT;
}

static viva_status set_session(generation *g, viva_error *error) {
  const viva_model *m = g->model;
  uint64_t needed;
  if (g->o.session) {
    TRY(check_length(g, g->o.session->position, g->o.session->capacity, &needed, error));
    g->session = g->o.session;
    g->start = g->session->position;
    return VIVA_OK;
  }
  TRY(check_length(g, 0, m->context, &needed, error));
  viva_session_options o = viva_session_options_default();
  /* As large as this text needs. "dynamic" RoPE depends on the capacity: there it is the model's. */
  o.capacity = m->config.rope_type == VIVA_ROPE_DYNAMIC ? m->context : needed;
  return viva_session_create(g->model, &o, &g->session, error);
}

/* ---- all of it */

/* Is there text before what will be generated? Special tokens are none. */
static int continues_text(const generation *g) {
  const viva_token *prompt = g->tokens.data;
  if (g->start > 0) return 1;
  for (size_t i = 0; i < g->prompt_count; i++)
    if (!viva_tokenizer_is_special(g->model->tokenizer, prompt[i])) return 1;
  return 0;
}

static viva_status set_up_text(generation *g, viva_error *error) {
  if (!g->model->tokenizer) return VIVA_OK;
  TRY(viva_decoder_create(g->model->tokenizer, NULL, &g->decoder, error));
  if (continues_text(g)) decoder_continue(g->decoder);
  if (!g->o.stop_count) return VIVA_OK;
  g->stop = stop_create(g->mem, g->o.stop_strings, g->o.stop_count);
  return g->stop ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for the stop strings");
}

static viva_status run(generation *g, const char *prompt, size_t bytes, const viva_token *ids, size_t count,
                       viva_generate_result **result, viva_error *error) {
  g->scratch_bytes = viva_sample_scratch((size_t)g->model->config.vocab_size);
  g->scratch = mem_alloc(g->mem, g->scratch_bytes);
  if (!g->scratch) return error_set(error, VIVA_E_MEMORY, "no memory for sampling");
  TRY(check_options(g, error));
  if (prompt)
    TRY(encode(g, prompt, bytes, error));
  else if (buffer_add(g->mem, &g->tokens, ids, count * sizeof *ids))
    return error_set(error, VIVA_E_MEMORY, "no memory for the prompt's tokens");
  g->prompt_count = g->tokens.bytes / sizeof(viva_token);
  if (g->prompt_count == 0 && !(g->o.session && g->o.session->has_logits))
    return error_set(
        error, VIVA_E_ARGUMENT,
        "the prompt has no tokens, so there is nothing to continue; give some text, or ask for a BOS token");
  TRY(set_session(g, error));
  TRY(set_up_text(g, error));
  TRY(generation_run(g, error));
  viva_status status = generation_result(g, result, error);
  if (status) viva_session_truncate(g->session, g->start, NULL);
  return status;
}

static viva_status generate(viva_model *model, const char *prompt, size_t bytes, const viva_token *ids, size_t count,
                            const viva_generate_options *options, viva_generate_result **result, viva_error *error) {
  generation g = {.model = model, .mem = &model->engine->rt->mem, .o = viva_generate_options_default()};
  TRY(options_read(&g.o, options, "viva_generate_options", error));
  viva_status status = run(&g, prompt, bytes, ids, count, result, error);
  if (g.session != g.o.session) viva_session_free(g.session);
  viva_decoder_free(g.decoder);
  stop_free(g.mem, g.stop);
  mem_free(g.mem, g.scratch);
  mem_free(g.mem, g.tokens.data);
  mem_free(g.mem, g.text.data);
  mem_free(g.mem, g.chosen.data);
  mem_free(g.mem, g.top.data);
  return status;
}

viva_status viva_generate(viva_model *model, const char *prompt, size_t bytes, const viva_generate_options *options,
                          viva_generate_result **result, viva_error *error) {
  if (!result) return error_set(error, VIVA_E_ARGUMENT, "result is NULL; give a place for it");
  *result = NULL;
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL");
  if (!prompt && bytes) return error_set(error, VIVA_E_ARGUMENT, "prompt is NULL, but %zu bytes are given", bytes);
  if (!model->tokenizer)
    return error_set(error, VIVA_E_STATE, "the model has no tokenizer%s%s",
                     model->tokenizer_problem ? ": " : "; give the path of one when it is loaded, or ids",
                     model->tokenizer_problem ? model->tokenizer_problem : "");
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
