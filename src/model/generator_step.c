/* model/generator_step.c: from logits to tokens to text, for any number of generators in one step. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "model/generator.h"
#include "model/logprobs.h"
#include "model/step.h"

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for what is generated");
}

int buffer_reserve(mem *m, buffer *b, size_t bytes) {
  if (bytes <= b->room - b->bytes) return 0;
  size_t room = (b->bytes + bytes) * 2;
  void *grown = mem_resize(m, b->data, room);
  if (!grown) return 1;
  b->data = grown;
  b->room = room;
  return 0;
}

int buffer_add(mem *m, buffer *b, const void *data, size_t bytes) {
  if (buffer_reserve(m, b, bytes)) return 1;
  if (bytes) memcpy((char *)b->data + b->bytes, data, bytes);
  b->bytes += bytes;
  return 0;
}

/* ---- text: what lies before g->shown was given out; the output's text is what a step adds to it */

/* Adds a piece of text. *ended when a stop string ended. What may be the beginning of one is not shown yet. */
static viva_status add_text(viva_generator *g, const char *text, size_t bytes, int *ended, viva_error *error) {
  for (size_t i = 0; i < bytes; i++) {
    if (buffer_add(g->mem, &g->text, &text[i], 1)) return no_memory(error);
    size_t stopped = g->stop ? stop_feed(g->stop, text[i]) : 0;
    if (!stopped) continue;
    g->text.bytes -= stopped;
    g->shown = g->text.bytes;
    g->text_over = *ended = 1;
    return VIVA_OK;
  }
  g->shown = g->text.bytes - (g->stop ? stop_held(g->stop) : 0);
  return VIVA_OK;
}

static viva_status add_token_text(viva_generator *g, viva_token id, int *ended, viva_error *error) {
  const char *text;
  size_t bytes;
  /* Models may have more rows than the tokenizer has tokens: those ids have no text. */
  if (!g->decoder || (size_t)id >= viva_tokenizer_vocab_size(g->model->tokenizer)) return VIVA_OK;
  TRY(viva_decoder_push(g->decoder, id, &text, &bytes, error));
  return add_text(g, text, bytes, ended, error);
}

/* What the decoder and the stop strings have held back; that may complete a stop string. */
static viva_status end_text(viva_generator *g, viva_error *error) {
  const char *text;
  size_t bytes;
  int ended = 0;
  if (!g->decoder || g->text_over) return VIVA_OK;
  TRY(viva_decoder_finish(g->decoder, &text, &bytes, error));
  TRY(add_text(g, text, bytes, &ended, error));
  if (ended && g->reason != VIVA_STOP_CANCELLED) g->reason = VIVA_STOP_STRING;
  g->shown = g->text.bytes;
  return VIVA_OK;
}

/* ---- a token */

int viva_model_is_end_token(const viva_model *model, viva_token id) {
  if (!model) return 0;
  const viva_model_config *c = &model->config;
  for (uint32_t i = 0; i < c->num_eos; i++)
    if (c->eos_tokens[i] == id) return 1;
  return 0;
}

static int holds(const buffer *ids, viva_token id) {
  for (size_t i = 0; i < ids->bytes / sizeof id; i++)
    if (((const viva_token *)ids->data)[i] == id) return 1;
  return 0;
}

/* The largest logit is the choice: nothing but the token leaves the device. */
static int is_greedy(const viva_generator *g) {
  return g->o.sampling.temperature == 0 && g->o.sampling.repetition_penalty == 1;
}

static viva_status add_logprobs(viva_generator *g, const float *logits, size_t vocab, viva_token id,
                                viva_error *error) {
  viva_logprob chosen;
  size_t bytes = g->o.logprobs * sizeof chosen;
  if (buffer_reserve(g->mem, &g->top, bytes)) return no_memory(error);
  viva_logprob *top = (viva_logprob *)((char *)g->top.data + g->top.bytes);
  TRY(logprobs_of(logits, vocab, id, &chosen, top, g->o.logprobs, g->scratch, error));
  if (buffer_add(g->mem, &g->chosen, &chosen, sizeof chosen)) return no_memory(error);
  g->top.bytes += bytes;
  return VIVA_OK;
}

static viva_status draw(const viva_generator *g, const float *logits, size_t vocab, viva_token *id, viva_error *error) {
  const viva_sample_input input = {.size = sizeof input,
                                   .logits = logits,
                                   .n = vocab,
                                   .history = g->tokens.data,
                                   .history_count = g->tokens.bytes / sizeof *id,
                                   .sequence = g->o.sequence,
                                   .position = g->session->position,
                                   .scratch = g->scratch,
                                   .scratch_bytes = g->scratch_bytes};
  return viva_sample(&input, &g->o.sampling, id, error);
}

static viva_status choose(viva_generator *g, viva_token *id, viva_error *error) {
  const float *logits;
  size_t vocab;
  if (buffer_reserve(g->mem, &g->tokens, sizeof *id)) return no_memory(error);
  *id = g->session->logits->best;
  if (is_greedy(g) && !g->o.logprobs) return VIVA_OK;
  TRY(viva_session_logits(g->session, &logits, &vocab, error));
  if (!is_greedy(g)) TRY(draw(g, logits, vocab, id, error));
  if (!g->o.logprobs) return VIVA_OK;
  return add_logprobs(g, logits, vocab, *id, error);
}

/* *ended when it was the last, by what it is. */
static viva_status add_token(viva_generator *g, viva_token id, int *ended, viva_error *error) {
  if (holds(&g->ends, id) || (g->o.stop_on_eos && viva_model_is_end_token(g->model, id))) {
    g->reason = VIVA_STOP_EOS;
    *ended = 1;
    return VIVA_OK;
  }
  if (holds(&g->stop_ids, id)) *ended = 1; /* it has no text to match */
  if (!*ended) TRY(add_token_text(g, id, ended, error));
  if (*ended) g->reason = VIVA_STOP_STRING;
  return VIVA_OK;
}

/* ---- one generator's share of a step */

/* What the generator puts into its session; count 0: nothing. */
static void fill_part(const viva_generator *g, step_part *part) {
  const size_t all = g->tokens.bytes / sizeof(viva_token), left = all - g->fed;
  *part = (step_part){.session = g->session, .number = part->number};
  if (g->phase != PHASE_FEED) return;
  part->tokens = (const viva_token *)g->tokens.data + g->fed;
  part->count = left < g->session->chunk ? left : g->session->chunk;
  part->keep = part->count == left ? STEP_LAST : STEP_NONE;
}

static void finish(viva_generator *g, viva_generator_output *out) {
  g->phase = PHASE_DONE;
  out->state = VIVA_GENERATOR_DONE;
  out->reason = g->reason;
}

/* The last token goes into the session too, when that is asked for: one more step, whose logits nobody chooses from. */
static int keeps_last(const viva_generator *g) {
  return g->o.keep_last && g->count > 0 && g->fed < g->tokens.bytes / sizeof(viva_token);
}

static viva_status write_token(viva_generator *g, viva_generator_output *out, viva_error *error) {
  viva_token id;
  int ended = 0;
  const size_t logprobs = g->chosen.bytes, top = g->top.bytes;
  viva_status status = choose(g, &id, error);
  if (!status) status = add_token(g, id, &ended, error);
  if (status) {
    g->chosen.bytes = logprobs, g->top.bytes = top;
    return status;
  }
  buffer_add(g->mem, &g->tokens, &id, sizeof id); /* has room */
  g->count++;
  g->phase = PHASE_FEED;
  out->token = id;
  if (g->o.logprobs) {
    out->logprob = (const viva_logprob *)(const void *)((const char *)g->chosen.data + logprobs);
    out->top = (const viva_logprob *)(const void *)((const char *)g->top.data + top);
  }
  if (!ended && g->count < g->o.max_new_tokens) return VIVA_OK;
  if (!ended) g->reason = VIVA_STOP_LENGTH;
  g->phase = PHASE_FLUSH;
  return VIVA_OK;
}

/* After the step: what came out. */
static viva_status continue_one(viva_generator *g, viva_generator_output *out, viva_error *error) {
  const size_t all = g->tokens.bytes / sizeof(viva_token);
  if (g->phase == PHASE_FEED && g->fed < all) {
    out->state = VIVA_GENERATOR_PROMPT;
    return VIVA_OK;
  }
  if (g->phase == PHASE_FEED) g->phase = PHASE_CHOOSE;
  if (g->phase == PHASE_CHOOSE && g->o.max_new_tokens == 0) {
    g->reason = VIVA_STOP_LENGTH;
    finish(g, out);
    return VIVA_OK;
  }
  out->state = VIVA_GENERATOR_TOKEN;
  if (g->phase == PHASE_CHOOSE) {
    TRY(write_token(g, out, error));
    if (g->phase != PHASE_FLUSH || g->reason == VIVA_STOP_LENGTH) return VIVA_OK; /* its text first, the end after it */
  }
  if (out->token >= 0 && keeps_last(g)) return VIVA_OK;
  TRY(end_text(g, error));
  finish(g, out);
  return VIVA_OK;
}

static viva_status output_of(viva_generator *g, viva_generator_output *out, viva_error *error) {
  const size_t shown = g->shown;
  *out = (viva_generator_output){.size = sizeof *out, .token = -1, .text = ""};
  const viva_status status = continue_one(g, out, error);
  if (status) {
    out->state = VIVA_GENERATOR_FAILED;
    g->phase = PHASE_DONE;
  }
  out->prompt_done = g->fed < g->prompt_count ? g->fed : g->prompt_count;
  out->prompt_count = g->prompt_count;
  out->text_bytes = status ? 0 : g->shown - shown;
  if (status) g->shown = shown;
  if (out->text_bytes) out->text = (const char *)g->text.data + shown;
  return status;
}

/* ---- all of them */

static viva_status name_it(viva_error *error, viva_status status, size_t index) {
  char item[40]; /* "generators[]" and 20 digits */
  snprintf(item, sizeof item, "generators[%zu]", index);
  return error_option(error, status, item);
}

static viva_status check(viva_generator *const *all, size_t count, viva_error *error) {
  for (size_t i = 0; i < count; i++) {
    viva_status status = VIVA_OK;
    if (!all[i])
      status = error_set(error, VIVA_E_ARGUMENT, "the generator is NULL");
    else if (all[i]->phase == PHASE_NEW)
      status = error_set(error, VIVA_E_STATE, "the generator has no prompt; give it one first");
    else if (all[i]->phase == PHASE_DONE)
      status = error_set(error, VIVA_E_STATE, "the generator has ended; make a new one");
    else if (all[i]->model != all[0]->model)
      status = error_set(error, VIVA_E_ARGUMENT, "the generator is of another model than generators[0]");
    if (status) return name_it(error, status, i);
  }
  return VIVA_OK;
}

/* Feeds what is to be fed, in one step. */
static viva_status feed(viva_generator *const *all, size_t count, workspace *w, viva_error *error) {
  viva_model *m = all[0]->model;
  step_part *parts = step_parts(m, w, count);
  size_t used = 0;
  if (!parts) return error_set(error, VIVA_E_MEMORY, "no memory for a step of %zu generators", count);
  for (size_t i = 0; i < count; i++) {
    const int last = all[i]->phase == PHASE_FLUSH && keeps_last(all[i]);
    parts[used].number = i;
    if (last) all[i]->phase = PHASE_FEED; /* for fill_part only */
    fill_part(all[i], &parts[used]);
    if (last) all[i]->phase = PHASE_FLUSH;
    used += parts[used].count > 0;
  }
  if (used) TRY(step_run(m, w, parts, used, &(step_call){.unit = "generators"}, error));
  for (size_t i = 0; i < used; i++) all[parts[i].number]->fed += parts[i].count;
  return VIVA_OK;
}

static void add_time(viva_generator *g, int prompt, double taken) {
  if (prompt)
    g->prefill_seconds += taken;
  else
    g->decode_seconds += taken, g->steps++;
}

/* Outputs lie as far apart as the caller's struct is long. */
static viva_status step(viva_generator *const *all, size_t count, viva_generator_output *outputs, viva_error *error) {
  const size_t stride = outputs->size;
  const uint64_t begin = clock_ns();
  workspace *w;
  viva_generator_output out = {.size = sizeof out}, check_size = {.size = stride};
  TRY(options_fill(&check_size, &out, "viva_generator_output", error));
  TRY(work_borrow(&all[0]->model->work, &w, error));
  viva_status status = feed(all, count, w, error), first = VIVA_OK;
  work_return(&all[0]->model->work, w);
  if (status) return status;
  for (size_t i = 0; i < count; i++) {
    viva_generator *g = all[i];
    const int prompt = g->count == 0, fed = g->phase == PHASE_FEED;
    viva_error its = {.code = VIVA_OK};
    status = output_of(g, &out, &its);
    options_fill((char *)outputs + i * stride, &out, "viva_generator_output", NULL);
    if (fed) add_time(g, prompt, 1e-9 * (double)(clock_ns() - begin));
    if (!status || first) continue;
    first = name_it(&its, status, i);
    if (error) *error = its;
  }
  return first;
}

viva_status viva_generators_step(viva_generator *const *generators, size_t count, viva_generator_output *outputs,
                                 viva_error *error) {
  if (count == 0) return VIVA_OK;
  if (!generators || !outputs)
    return error_set(error, VIVA_E_ARGUMENT, "generators and outputs must not be NULL, as count is %zu", count);
  TRY(check(generators, count, error));
  return step(generators, count, outputs, error);
}

void viva_generator_cancel(viva_generator *generator) {
  if (!generator || generator->phase == PHASE_NEW || generator->phase == PHASE_DONE) return;
  generator->reason = VIVA_STOP_CANCELLED;
  generator->phase = PHASE_FLUSH;
}
