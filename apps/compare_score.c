/* compare_score.c: two models, position by position over the same windows.
 *
 * The reference runs a few positions ahead: its logits of one block are kept, then the model goes over the same block.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "signals.h"

enum { BLOCK = 32, TOP = 5 }; /* positions in a block; tokens that are compared at the top */

typedef struct walk {
  score *s;
  const viva_token *window;
  viva_session *sessions[2];
  float *logits;  /* [BLOCK][vocab] of the reference */
  uint64_t first; /* position of logits[0] */
  uint64_t filled;
  size_t vocab;
} walk;

/* log Σ exp(logits), in double. */
static double log_sum(const float *logits, size_t n) {
  float largest = logits[0];
  for (size_t i = 1; i < n; i++) largest = logits[i] > largest ? logits[i] : largest;
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - (double)largest);
  return log(sum) + (double)largest;
}

/* The most probable tokens, ties to the lower id. */
static void find_top(const float *logits, size_t n, size_t top[TOP]) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    if (count == TOP && !(logits[i] > logits[top[TOP - 1]])) continue;
    size_t at = count < TOP ? count++ : TOP - 1;
    for (; at > 0 && logits[i] > logits[top[at - 1]]; at--) top[at] = top[at - 1];
    top[at] = i;
  }
  for (size_t i = count; i < TOP; i++) top[i] = n; /* a vocabulary of fewer tokens */
}

static void compare_position(walk *w, uint64_t position, const float *a, const float *b) {
  score *s = w->s;
  double sum_a = log_sum(a, w->vocab), sum_b = log_sum(b, w->vocab), kl = 0;
  for (size_t i = 0; i < w->vocab; i++) {
    double log_a = (double)a[i] - sum_a;
    kl += exp(log_a) * (log_a - ((double)b[i] - sum_b));
  }
  size_t top_a[TOP], top_b[TOP], next = (size_t)w->window[position + 1];
  find_top(a, w->vocab, top_a);
  find_top(b, w->vocab, top_b);
  s->same_top += top_a[0] == top_b[0];
  for (size_t i = 0; i < TOP; i++)
    for (size_t j = 0; j < TOP; j++) s->shared_top_5 += top_a[i] == top_b[j] && top_a[i] < w->vocab;
  s->kls[s->kl.count] = kl > 0 ? kl : 0; /* equal distributions may come out as minus a rounding error */
  stats_add(&s->kl, s->kls[s->kl.count]);
  stats_add(&s->nll[0], sum_a - (double)a[next]);
  stats_add(&s->nll[1], sum_b - (double)b[next]);
}

static int keep_logits(void *user, uint64_t position, const float *logits, size_t vocab) {
  walk *w = user;
  if (w->filled == 0) w->first = position;
  memcpy(w->logits + w->filled++ * vocab, logits, vocab * sizeof *logits);
  return signals_stopped();
}

static int take_logits(void *user, uint64_t position, const float *logits, size_t vocab) {
  walk *w = user;
  compare_position(w, position, w->logits + (position - w->first) * vocab, logits);
  return signals_stopped();
}

static int stop_when_asked(void *user, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  return signals_stopped();
}

/* Tokens [first, first + count) of the window through one model. */
static viva_status run(walk *w, int which, uint64_t first, uint64_t count, viva_logits_fn on_logits,
                       viva_error *error) {
  viva_prefill_options options = viva_prefill_options_default();
  options.progress = stop_when_asked;
  options.on_logits = on_logits;
  options.on_logits_user = w;
  return viva_session_prefill(w->sessions[which], w->window + first, count, &options, error);
}

static viva_status score_window(walk *w, viva_error *error) {
  score *s = w->s;
  uint64_t quiet = s->context - s->scored - 1;
  viva_status status = VIVA_OK;
  for (int which = 0; which < 2 && status == VIVA_OK; which++) {
    status = viva_session_truncate(w->sessions[which], 0, error);
    if (status == VIVA_OK && quiet > 0) status = run(w, which, 0, quiet, NULL, error);
  }
  for (uint64_t at = quiet; at < quiet + s->scored && status == VIVA_OK; at += BLOCK) {
    uint64_t left = quiet + s->scored - at, count = left < BLOCK ? left : BLOCK;
    w->filled = 0;
    status = run(w, 0, at, count, keep_logits, error);
    if (status == VIVA_OK) status = run(w, 1, at, count, take_logits, error);
    progress_update(&s->bar, s->done * s->context + at + count, s->windows * s->context, "");
  }
  return status;
}

static viva_status score_windows(walk *w, const token_list *tokens, viva_error *error) {
  score *s = w->s;
  viva_status status = VIVA_OK;
  while (s->done < s->windows && status == VIVA_OK) {
    score before = *s;
    w->window = tokens->ids + s->done * s->context;
    status = score_window(w, error);
    progress bar = s->bar;
    if (status != VIVA_OK) *s = before; /* whole windows only */
    s->bar = bar;
    s->done += status == VIVA_OK;
  }
  return status;
}

static viva_status no_memory(viva_error *error) {
  memset(error, 0, sizeof *error);
  error->code = VIVA_E_MEMORY;
  snprintf(error->message, sizeof error->message, "no memory for the logits of the reference");
  return VIVA_E_MEMORY;
}

viva_status score_text(viva_model *reference, viva_model *model, const token_list *tokens, score *s,
                       viva_error *error) {
  walk w = {.s = s};
  viva_model_config config = {.size = sizeof config};
  viva_session_options options = viva_session_options_default();
  options.capacity = s->context;
  viva_status status = viva_model_get_config(reference, &config, error);
  w.vocab = config.vocab_size;
  w.logits = calloc(BLOCK * w.vocab, sizeof *w.logits);
  s->kls = calloc(s->windows * s->scored, sizeof *s->kls);
  if (status == VIVA_OK && (w.logits == NULL || s->kls == NULL)) status = no_memory(error);
  if (status == VIVA_OK) status = viva_session_create(reference, &options, &w.sessions[0], error);
  if (status == VIVA_OK) status = viva_session_create(model, &options, &w.sessions[1], error);
  if (status == VIVA_OK) status = score_windows(&w, tokens, error);
  viva_session_free(w.sessions[0]);
  viva_session_free(w.sessions[1]);
  free(w.logits);
  return status;
}

double score_perplexity(const score *s, int which) { return exp(s->nll[which].mean); }

static int compare_doubles(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

double score_kl_at(score *s, double share) {
  if (s->kl.count == 0) return 0;
  qsort(s->kls, s->kl.count, sizeof *s->kls, compare_doubles);
  double place = share * (double)(s->kl.count - 1);
  uint64_t low = (uint64_t)place;
  double part = place - (double)low;
  return low + 1 < s->kl.count ? s->kls[low] + part * (s->kls[low + 1] - s->kls[low]) : s->kls[low];
}
