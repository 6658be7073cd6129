/* model/generator.c: a generator's beginning and end: options, stop strings, prompt, session. */
#include "model/generator.h"

#include <string.h>

#include "base/ck.h"
#include "base/num.h"
#include "base/options.h"
#include "text/tokenizer.h"

/* ---- options */

static viva_status check_stop_strings(const viva_generator *g, viva_error *error) {
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
static viva_status check_sampling(const viva_generator *g, viva_error *error) {
  float logit = 0;
  viva_token id;
  const viva_sample_input input = {
      .size = sizeof input, .logits = &logit, .n = 1, .scratch = g->scratch, .scratch_bytes = g->scratch_bytes};
  return viva_sample(&input, &g->o.sampling, &id, error);
}

static viva_status check_flag(int32_t value, const char *name, viva_error *error) {
  if (value == 0 || value == 1) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "%s can be 0 or 1, not %d", name, (int)value);
  return error_option(error, VIVA_E_ARGUMENT, name);
}

static viva_status check_stop_tokens(const viva_generator *g, viva_error *error) {
  const viva_generate_options *o = &g->o;
  if (o->stop_token_count && !o->stop_tokens)
    error_set(error, VIVA_E_ARGUMENT, "stop_tokens is NULL, but stop_token_count is %zu", o->stop_token_count);
  for (size_t i = 0; i < o->stop_token_count; i++) {
    if (o->stop_tokens && o->stop_tokens[i] >= 0 && (uint64_t)o->stop_tokens[i] < g->model->config.vocab_size) continue;
    if (o->stop_tokens)
      error_set(error, VIVA_E_ARGUMENT, "stop token %zu is %ld, outside the vocabulary of %llu tokens", i,
                (long)o->stop_tokens[i], (unsigned long long)g->model->config.vocab_size);
    return error_option(error, VIVA_E_ARGUMENT, "stop_tokens");
  }
  return VIVA_OK;
}

static viva_status check_options(const viva_generator *g, viva_error *error) {
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
  TRY(check_flag(o->keep_last, "keep_last", error));
  TRY(check_stop_tokens(g, error));
  TRY(check_sampling(g, error));
  return check_stop_strings(g, error);
}

/* ---- prompt */

static viva_status add_bos(viva_generator *g, int continues, viva_error *error) {
  const viva_tokenizer *tokenizer = g->model->tokenizer;
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

static viva_status encode(viva_generator *g, const char *prompt, size_t bytes, int continues, viva_error *error) {
  viva_encode_options o = viva_encode_options_default();
  o.match_special = g->o.match_special;
  o.add_special = 0; /* BOS by add_bos; an EOS at the end of a prompt would end the text */
  TRY(add_bos(g, continues, error));
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

/* Ids of a text are the tokenizer's: that the model has no row for one is a fault of the files, not of the caller. */
static viva_status check_rows(const viva_generator *g, viva_error *error) {
  const viva_token *ids = (const viva_token *)(const void *)g->tokens.data;
  const viva_model *m = g->model;
  for (size_t i = 0; i < g->tokens.bytes / sizeof *ids; i++) {
    if ((uint64_t)ids[i] < m->config.vocab_size) continue;
    error_set(
        error, VIVA_E_FORMAT,
        "the tokenizer gives id %ld for token %zu of the text, but the model has rows for 0 to %llu: tokenizer.json "
        "and weights do not belong together; fetch them again",
        (long)ids[i], i, (unsigned long long)m->config.vocab_size - 1);
    error_at(error, m->path, NULL, 0, VIVA_NO_OFFSET);
    return VIVA_E_FORMAT;
  }
  return VIVA_OK;
}

viva_status generator_read_prompt(viva_generator *g, const char *text, size_t bytes, const viva_token *ids,
                                  size_t count, const viva_session *session, viva_error *error) {
  if (text) {
    TRY(encode(g, text, bytes, session && session->position > 0, error));
    TRY(check_rows(g, error));
  } else if (buffer_add(g->mem, &g->tokens, ids, count * sizeof *ids)) {
    return error_set(error, VIVA_E_MEMORY, "no memory for the prompt's tokens");
  }
  g->prompt_count = g->tokens.bytes / sizeof(viva_token);
  if (g->prompt_count == 0 && !(session && session->logits))
    return error_set(
        error, VIVA_E_ARGUMENT,
        "the prompt has no tokens, so there is nothing to continue; give some text, or ask for a BOS token");
  return VIVA_OK;
}

/* ---- session */

static const char *plural(uint64_t count) { return count == 1 ? "" : "s"; }

/* session NULL: one that is to be made, of at most `capacity`. */
static viva_status check_length(const viva_generator *g, const viva_session *session, uint64_t capacity,
                                uint64_t *needed, viva_error *error) {
  const size_t held = session ? session->position : 0;
  uint64_t new_tokens = g->o.max_new_tokens;
  if (!ck_add(g->prompt_count, new_tokens, needed) && *needed <= capacity - held) return VIVA_OK;
  if (session)
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

/* ---- beginning and end */

static viva_status set_up_text(viva_generator *g, viva_error *error) {
  if (!g->model->tokenizer) return VIVA_OK;
  TRY(viva_decoder_create(g->model->tokenizer, NULL, &g->decoder, error));
  if (!g->o.stop_count) return VIVA_OK;
  g->stop = stop_create(g->mem, g->o.stop_strings, g->o.stop_count);
  if (!g->stop) return error_set(error, VIVA_E_MEMORY, "no memory for the stop strings");
  for (size_t i = 0; i < g->o.stop_count; i++) { /* special tokens have no text that could match */
    viva_token id;
    const char *text = g->o.stop_strings[i];
    if (viva_tokenizer_token_to_id(g->model->tokenizer, text, strlen(text), &id, NULL) != VIVA_OK) continue;
    if (!viva_tokenizer_is_special(g->model->tokenizer, id)) continue;
    if (buffer_add(g->mem, &g->stop_ids, &id, sizeof id))
      return error_set(error, VIVA_E_MEMORY, "no memory for the stop strings");
  }
  return VIVA_OK;
}

static viva_status set_up(viva_generator *g, viva_error *error) {
  g->scratch_bytes = viva_sample_scratch((size_t)g->model->config.vocab_size);
  g->scratch = mem_alloc(g->mem, g->scratch_bytes);
  if (!g->scratch) return error_set(error, VIVA_E_MEMORY, "no memory for sampling");
  TRY(check_options(g, error));
  if (buffer_add(g->mem, &g->ends, g->o.stop_tokens, g->o.stop_token_count * sizeof(viva_token)))
    return error_set(error, VIVA_E_MEMORY, "no memory for the end tokens");
  return set_up_text(g, error);
}

viva_status generator_make(viva_model *model, const viva_generate_options *options, viva_generator **out,
                           viva_error *error) {
  mem *m = &model->engine->rt->mem;
  *out = NULL;
  viva_generator *g = mem_zalloc(m, sizeof *g);
  if (!g) return error_set(error, VIVA_E_MEMORY, "no memory for a generator");
  g->model = viva_model_retain(model);
  g->mem = m;
  g->o = viva_generate_options_default();
  viva_status status = options_read(&g->o, options, "viva_generate_options", error);
  if (!status) status = set_up(g, error);
  /* What the options pointed to is the caller's again. */
  g->o.stop_strings = NULL;
  g->o.stop_tokens = NULL;
  if (status)
    viva_generator_free(g);
  else
    *out = g;
  return status;
}

viva_status generator_check_length(const viva_generator *g, uint64_t context, uint64_t *needed, viva_error *error) {
  return check_length(g, NULL, context, needed, error);
}

/* Is there text before what will be generated? Special tokens are none. */
static int continues_text(const viva_generator *g) {
  const viva_token *prompt = g->tokens.data;
  if (g->start > 0) return 1;
  for (size_t i = 0; i < g->prompt_count; i++)
    if (!viva_tokenizer_is_special(g->model->tokenizer, prompt[i])) return 1;
  return 0;
}

viva_status generator_attach(viva_generator *g, viva_session *session, viva_error *error) {
  uint64_t needed;
  TRY(check_length(g, session, session->capacity, &needed, error));
  g->session = session;
  g->start = session->position;
  if (g->decoder && continues_text(g)) decoder_continue(g->decoder);
  return VIVA_OK;
}

viva_status viva_generator_create(viva_session *session, const viva_generate_options *options,
                                  viva_generator **generator, viva_error *error) {
  if (!generator) return error_set(error, VIVA_E_ARGUMENT, "generator is NULL; give a place for the handle");
  *generator = NULL;
  if (!session) return error_set(error, VIVA_E_ARGUMENT, "session is NULL");
  viva_generator *g;
  TRY(generator_make(session->model, options, &g, error));
  if (g->o.session && g->o.session != session) {
    viva_generator_free(g);
    error_set(error, VIVA_E_ARGUMENT, "the options name another session");
    return error_option(error, VIVA_E_ARGUMENT, "session");
  }
  g->session = g->o.session = session;
  *generator = g;
  return VIVA_OK;
}

void viva_generator_free(viva_generator *generator) {
  if (!generator) return;
  viva_model *model = generator->model;
  mem *m = generator->mem;
  void *const parts[] = {generator->scratch,  generator->tokens.data, generator->text.data,    generator->chosen.data,
                         generator->top.data, generator->ends.data,   generator->stop_ids.data};
  viva_decoder_free(generator->decoder);
  stop_free(m, generator->stop);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) mem_free(m, parts[i]);
  mem_free(m, generator);
  viva_model_release(model);
}

static viva_status take_prompt(viva_generator *g, const char *text, size_t bytes, const viva_token *ids, size_t count,
                               viva_error *error) {
  if (!g) return error_set(error, VIVA_E_ARGUMENT, "generator is NULL");
  if (g->phase != PHASE_NEW)
    return error_set(error, VIVA_E_STATE, "the generator has a prompt already; make a new one for another text");
  viva_status status = generator_read_prompt(g, text, bytes, ids, count, g->session, error);
  if (!status) status = generator_attach(g, g->session, error);
  if (status)
    g->tokens.bytes = 0;
  else
    g->phase = g->prompt_count ? PHASE_FEED : PHASE_CHOOSE;
  return status;
}

viva_status viva_generator_prompt(viva_generator *generator, const char *text, size_t bytes, viva_error *error) {
  if (!text && bytes) return error_set(error, VIVA_E_ARGUMENT, "text is NULL, but %zu bytes are given", bytes);
  if (generator && !generator->model->tokenizer) return model_no_tokenizer(generator->model, error);
  return take_prompt(generator, text ? text : "", bytes, NULL, 0, error);
}

viva_status viva_generator_prompt_tokens(viva_generator *generator, const viva_token *tokens, size_t count,
                                         viva_error *error) {
  if (!tokens && count) return error_set(error, VIVA_E_ARGUMENT, "tokens is NULL, but %zu are given", count);
  return take_prompt(generator, NULL, 0, tokens, count, error);
}
