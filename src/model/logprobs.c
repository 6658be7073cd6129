/* model/logprobs.c */
#include "model/logprobs.h"

#include "base/error.h"
#include "model/real.h"

/* 1 when a comes before b in the result. While selecting, logprob holds the logit. */
static int before(viva_logprob a, viva_logprob b) {
  return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
}

/* A heap whose root is the last of the selected in order. */
static void sink(viva_logprob *heap, size_t count, size_t at) {
  for (size_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && before(heap[child], heap[child + 1])) child++;
    if (!before(heap[at], heap[child])) return;
    viva_logprob parent = heap[at];
    heap[at] = heap[child];
    heap[child] = parent;
  }
}

static void select_top(const float *logits, size_t n, viva_logprob *top, size_t count) {
  if (!count) return;
  for (size_t i = 0; i < count; i++) top[i] = (viva_logprob){(viva_token)i, logits[i]};
  for (size_t i = count / 2; i-- > 0;) sink(top, count, i);
  for (size_t i = count; i < n; i++) {
    viva_logprob next = {(viva_token)i, logits[i]};
    if (!before(next, top[0])) continue;
    top[0] = next;
    sink(top, count, 0);
  }
  for (size_t left = count; left-- > 1;) { /* the root is the last in order */
    viva_logprob last = top[0];
    top[0] = top[left];
    top[left] = last;
    sink(top, left, 0);
  }
}

viva_status logprobs_of(const float *logits, size_t n, viva_token id, viva_logprob *chosen, viva_logprob *top,
                        size_t count, viva_error *error) {
  float max = logits[0];
  for (size_t i = 1; i < n; i++)
    if (logits[i] > max) max = logits[i];
  if (!(__builtin_fabsf(max) <= 0x1.fffffep+127f))
    return error_set(error, VIVA_E_NUMERIC, "the largest logit is infinite, so there are no probabilities");
  double sum = 0; /* in the order of the ids: the same bits everywhere */
  for (size_t i = 0; i < n; i++) sum += real_exp((double)logits[i] - (double)max);
  double log_sum = (double)max + real_log(sum);
  *chosen = (viva_logprob){id, (float)((double)logits[id] - log_sum)};
  select_top(logits, n, top, count);
  for (size_t i = 0; i < count; i++) top[i].logprob = (float)((double)top[i].logprob - log_sum);
  return VIVA_OK;
}
