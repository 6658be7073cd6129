/* model/generation.c: the loop from logits to tokens to text. */
#include "model/generation.h"

#include <string.h>
#include <time.h>

#include "model/logprobs.h"

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for what is generated");
}

/* Makes room for more bytes. */
static int reserve(mem *m, buffer *b, size_t bytes) {
  if (bytes <= b->room - b->bytes) return 0;
  size_t room = (b->bytes + bytes) * 2;
  void *grown = mem_resize(m, b->data, room);
  if (!grown) return 1;
  b->data = grown;
  b->room = room;
  return 0;
}

int buffer_add(mem *m, buffer *b, const void *data, size_t bytes) {
  if (reserve(m, b, bytes)) return 1;
  if (bytes) memcpy((char *)b->data + b->bytes, data, bytes);
  b->bytes += bytes;
  return 0;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- text */

/* Shows what can no longer become part of a stop string; always: also when that is nothing. Returns 1 when the callback
 * asks to stop. */
static int show(generation *g, size_t until, int always) {
  size_t bytes = until - g->shown;
  if (bytes == 0 && !always) return 0;
  const char *from = bytes ? (const char *)g->text.data + g->shown : "";
  g->shown = until;
  return g->o.on_text && g->o.on_text(g->o.on_text_user, from, bytes) != 0;
}

static void show_token(generation *g, size_t until, int always, int *done) {
  if (!show(g, until, always)) return;
  g->reason = VIVA_STOP_CANCELLED;
  *done = 1;
}

/* Adds a piece of text. *done when a stop string ended or the callback asks to stop: reason then says which. */
static viva_status add_text(generation *g, const char *piece, size_t bytes, int always, int *done, viva_error *error) {
  for (size_t i = 0; i < bytes; i++) {
    if (buffer_add(g->mem, &g->text, &piece[i], 1)) return no_memory(error);
    size_t stopped = g->stop ? stop_feed(g->stop, piece[i]) : 0;
    if (!stopped) continue;
    g->text.bytes -= stopped;
    g->reason = VIVA_STOP_STRING;
    *done = 1;
    show(g, g->text.bytes, 0);
    return VIVA_OK;
  }
  show_token(g, g->text.bytes - (g->stop ? stop_held(g->stop) : 0), always, done);
  return VIVA_OK;
}

static viva_status add_token_text(generation *g, viva_token id, int *done, viva_error *error) {
  const char *piece;
  size_t bytes;
  /* Models may have more rows than the tokenizer has tokens: those ids have no text. */
  if (!g->decoder || (size_t)id >= viva_tokenizer_vocab_size(g->model->tokenizer)) {
    show_token(g, g->shown, 1, done);
    return VIVA_OK;
  }
  TRY(viva_decoder_push(g->decoder, id, &piece, &bytes, error));
  return add_text(g, piece, bytes, 1, done, error);
}

/* What the decoder and the stop strings have held back. */
static viva_status end_text(generation *g, viva_error *error) {
  const char *piece;
  size_t bytes;
  int done = 0;
  if (!g->decoder || g->reason == VIVA_STOP_STRING) return VIVA_OK;
  viva_stop_reason reason = g->reason;
  if (reason == VIVA_STOP_CANCELLED) g->o.on_text = NULL; /* it has asked for no more */
  TRY(viva_decoder_finish(g->decoder, &piece, &bytes, error));
  TRY(add_text(g, piece, bytes, 0, &done, error));
  if (g->reason == VIVA_STOP_STRING && reason != VIVA_STOP_CANCELLED) return VIVA_OK;
  g->reason = reason;
  show(g, g->text.bytes, 0);
  return VIVA_OK;
}

/* ---- tokens */

static int is_end(const viva_model_config *config, viva_token id) {
  for (uint32_t i = 0; i < config->num_eos; i++)
    if (config->eos_tokens[i] == id) return 1;
  return 0;
}

/* The largest logit is the choice: nothing but the token leaves the device. */
static int is_greedy(const generation *g) {
  return g->o.sampling.temperature == 0 && g->o.sampling.repetition_penalty == 1;
}

static viva_status add_logprobs(generation *g, const float *logits, size_t vocab, viva_token id, viva_error *error) {
  viva_logprob chosen;
  size_t bytes = g->o.logprobs * sizeof chosen;
  if (reserve(g->mem, &g->top, bytes)) return no_memory(error);
  viva_logprob *top = (viva_logprob *)((char *)g->top.data + g->top.bytes);
  TRY(logprobs_of(logits, vocab, id, &chosen, top, g->o.logprobs, g->scratch, error));
  g->top.bytes += bytes;
  return buffer_add(g->mem, &g->chosen, &chosen, sizeof chosen) ? no_memory(error) : VIVA_OK;
}

static viva_status choose(generation *g, viva_token *id, viva_error *error) {
  const float *logits;
  size_t vocab;
  *id = g->session->logits->best;
  if (is_greedy(g) && !g->o.logprobs) return VIVA_OK;
  TRY(viva_session_logits(g->session, &logits, &vocab, error));
  if (!is_greedy(g))
    TRY(viva_sample(logits, vocab, &g->o.sampling, g->tokens.data, g->tokens.bytes / sizeof *id, g->o.sequence,
                    g->session->position, g->scratch, g->scratch_bytes, id, error));
  if (!g->o.logprobs) return VIVA_OK;
  return add_logprobs(g, logits, vocab, *id, error);
}

/* Chooses a token and adds it and its text. *done when it was the last. */
static viva_status next_token(generation *g, viva_token *id, int *done, viva_error *error) {
  TRY(choose(g, id, error));
  if (buffer_add(g->mem, &g->tokens, id, sizeof *id)) return no_memory(error);
  g->count++;
  if (g->o.stop_on_eos && is_end(&g->model->config, *id)) {
    g->reason = VIVA_STOP_EOS;
    *done = 1;
    return VIVA_OK;
  }
  TRY(add_token_text(g, *id, done, error));
  if (!*done && g->count == g->o.max_new_tokens) {
    g->reason = VIVA_STOP_LENGTH;
    *done = 1;
  }
  return VIVA_OK;
}

static viva_status prefill(generation *g, viva_error *error) {
  if (g->prompt_count == 0) return VIVA_OK; /* the session has logits to go on from */
  viva_prefill_options o = viva_prefill_options_default();
  o.progress = g->o.progress;
  o.progress_user = g->o.progress_user;
  double begin = seconds();
  TRY(viva_session_prefill(g->session, g->tokens.data, g->prompt_count, &o, error));
  g->prefill_seconds = seconds() - begin;
  return VIVA_OK;
}

static viva_status loop(generation *g, viva_error *error) {
  viva_token id;
  int done = 0;
  g->reason = VIVA_STOP_LENGTH;
  if (g->o.max_new_tokens == 0) return VIVA_OK;
  TRY(next_token(g, &id, &done, error));
  double begin = seconds();
  while (!done) {
    TRY(viva_session_decode(g->session, id, error));
    g->steps++;
    TRY(next_token(g, &id, &done, error));
  }
  TRY(end_text(g, error));
  g->decode_seconds = g->steps ? seconds() - begin : 0;
  return VIVA_OK;
}

viva_status generation_run(generation *g, viva_error *error) {
  TRY(prefill(g, error));
  viva_status status = loop(g, error);
  if (status) viva_session_truncate(g->session, g->start, NULL);
  return status;
}
