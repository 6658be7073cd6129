/* compare_score.c: two models, position by position over the same windows.
 *
 * Both models process a block of positions, then threads compare the logits, each at some of the positions.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "signals.h"

enum { BLOCK = 64, TOP = 5 }; /* positions in a block; tokens that are compared at the top */

/* What is found at one position. */
typedef struct finding {
  double kl, nll[2];
  uint64_t same_top, shared_top_5;
} finding;

typedef struct walk {
  score *s;
  const viva_token *window;
  viva_session *sessions[2];
  float *logits[2]; /* [BLOCK][vocab] of the reference and of the model */
  size_t vocab;
  finding found[BLOCK];
  size_t threads;
} walk;

/* ---- one position */

static float largest_of(const float *logits, size_t n) {
  float largest = logits[0];
  for (size_t i = 1; i < n; i++) largest = logits[i] > largest ? logits[i] : largest;
  return largest;
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

/* log p = a − log_a and log q = b − log_b, so that KL = Σ p (log p − log q) = Σ p (a − b) − log_a + log_b. */
static finding compare_position(const float *a, const float *b, size_t n, size_t next) {
  double base_a = (double)largest_of(a, n), base_b = (double)largest_of(b, n), sum_a = 0, sum_b = 0, apart = 0;
  for (size_t i = 0; i < n; i++) {
    double e = exp((double)a[i] - base_a);
    sum_a += e;
    apart += e * ((double)a[i] - (double)b[i]);
    sum_b += exp((double)b[i] - base_b);
  }
  double log_a = log(sum_a) + base_a, log_b = log(sum_b) + base_b, kl = apart / sum_a - log_a + log_b;
  size_t top_a[TOP], top_b[TOP];
  find_top(a, n, top_a);
  find_top(b, n, top_b);
  finding p = {.nll = {log_a - (double)a[next], log_b - (double)b[next]}, .same_top = top_a[0] == top_b[0]};
  p.kl = kl < 0 ? 0 : kl; /* equal distributions may come out as minus a rounding error */
  for (size_t i = 0; i < TOP; i++)
    for (size_t j = 0; j < TOP; j++) p.shared_top_5 += top_a[i] == top_b[j] && top_a[i] < n;
  return p;
}

double score_position_kl(const float *a, const float *b, size_t n) { return compare_position(a, b, n, 0).kl; }

/* ---- a block */

/* What one thread does: every step-th position from first on. */
typedef struct task {
  walk *w;
  const viva_token *next; /* [count]: the token that follows each position */
  size_t first, step, count;
} task;

static void *run_task(void *arg) {
  const task *t = arg;
  walk *w = t->w;
  for (size_t i = t->first; i < t->count; i += t->step)
    w->found[i] =
        compare_position(w->logits[0] + i * w->vocab, w->logits[1] + i * w->vocab, w->vocab, (size_t)t->next[i]);
  return NULL;
}

/* With a thread that cannot be had this one does its task. */
static void compare_block(walk *w, const viva_token *next, size_t count) {
  pthread_t threads[BLOCK];
  task tasks[BLOCK];
  int started[BLOCK] = {0};
  size_t used = w->threads < count ? w->threads : count;
  for (size_t t = 0; t < used; t++) {
    tasks[t] = (task){w, next, t, used, count};
    started[t] = t > 0 && pthread_create(&threads[t], NULL, run_task, &tasks[t]) == 0;
  }
  for (size_t t = 0; t < used; t++)
    if (!started[t]) run_task(&tasks[t]);
  for (size_t t = 0; t < used; t++)
    if (started[t]) pthread_join(threads[t], NULL);
}

/* In the order of positions, so that the sums do not depend on the number of threads. */
static void add_findings(walk *w, size_t count) {
  score *s = w->s;
  for (size_t i = 0; i < count; i++) {
    const finding *p = &w->found[i];
    s->kls[s->kl.count] = p->kl;
    stats_add(&s->kl, p->kl);
    for (int which = 0; which < 2; which++) stats_add(&s->nll[which], p->nll[which]);
    s->same_top += p->same_top;
    s->shared_top_5 += p->shared_top_5;
  }
}

/* ---- windows */

static int stop_when_asked(void *user, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  return signals_stopped();
}

/* Tokens [first, first + count) of the window through one model, its logits to `logits` (NULL: not needed). */
static viva_status run(walk *w, int which, uint64_t first, uint64_t count, float *logits, viva_error *error) {
  viva_prefill_options options = viva_prefill_options_default();
  options.progress = stop_when_asked;
  options.all_logits = logits;
  options.all_logits_count = logits != NULL ? count * w->vocab : 0;
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
    for (int which = 0; which < 2 && status == VIVA_OK; which++)
      status = run(w, which, at, count, w->logits[which], error);
    if (status != VIVA_OK) break;
    compare_block(w, w->window + at + 1, count);
    add_findings(w, count);
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

static int compare_doubles(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

static viva_status no_memory(viva_error *error) {
  memset(error, 0, sizeof *error);
  error->code = VIVA_E_MEMORY;
  snprintf(error->message, sizeof error->message, "no memory for the logits of both models");
  return VIVA_E_MEMORY;
}

viva_status score_text(viva_model *reference, viva_model *model, const token_list *tokens, size_t threads, score *s,
                       viva_error *error) {
  walk w = {.s = s, .threads = threads > 0 ? threads : 1};
  viva_model_config config = {.size = sizeof config};
  viva_session_options options = viva_session_options_default();
  options.capacity = s->context;
  viva_status status = viva_model_get_config(reference, &config, error);
  w.vocab = config.vocab_size;
  for (int which = 0; which < 2; which++) w.logits[which] = calloc(BLOCK * w.vocab, sizeof *w.logits[which]);
  s->kls = calloc(s->windows * s->scored, sizeof *s->kls);
  s->at_position = calloc(s->scored, sizeof *s->at_position);
  if (status == VIVA_OK && (w.logits[0] == NULL || w.logits[1] == NULL || s->kls == NULL || s->at_position == NULL))
    status = no_memory(error);
  if (status == VIVA_OK) status = viva_session_create(reference, &options, &w.sessions[0], error);
  if (status == VIVA_OK) status = viva_session_create(model, &options, &w.sessions[1], error);
  if (status == VIVA_OK) status = score_windows(&w, tokens, error);
  for (uint64_t i = 0; status == VIVA_OK && i < s->kl.count; i++)
    s->at_position[i % s->scored] += s->kls[i] / (double)s->done;
  if (s->kls != NULL) qsort(s->kls, s->kl.count, sizeof *s->kls, compare_doubles);
  viva_session_free(w.sessions[0]);
  viva_session_free(w.sessions[1]);
  free(w.logits[0]);
  free(w.logits[1]);
  return status;
}

double score_perplexity(const score *s, int which) { return exp(s->nll[which].mean); }

static double standard_error(const stats *s) { return s->count > 0 ? stats_deviation(s) / sqrt((double)s->count) : 0; }

double score_perplexity_error(const score *s, int which) {
  return score_perplexity(s, which) * standard_error(&s->nll[which]);
}

double score_kl_error(const score *s) { return standard_error(&s->kl); }

double score_kl_at(const score *s, double share) {
  if (s->kl.count == 0) return 0;
  double place = share * (double)(s->kl.count - 1);
  uint64_t low = (uint64_t)place;
  double part = place - (double)low;
  return low + 1 < s->kl.count ? s->kls[low] + part * (s->kls[low + 1] - s->kls[low]) : s->kls[low];
}
