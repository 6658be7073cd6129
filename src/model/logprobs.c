/* model/logprobs.c: with the sampler's exp and its order, so that both name the same candidates. */
#include "model/logprobs.h"

#include <math.h>

#include "base/error.h"
#include "number/math_f64.h"
#include "text/sampling_inner.h"

static void select_top(const float *logits, size_t n, double log_sum, viva_logprob *top, size_t count, uint64_t *keys) {
  uint64_t *best = keys + n;
  for (size_t i = 0; i < n; i++) keys[i] = logit_key(logits[i], (uint32_t)i);
  if (count) keys_select(keys, n, best, count);
  for (size_t i = 0; i < count; i++)
    top[i] = (viva_logprob){(viva_token)key_id(best[i]), (float)((double)key_logit(best[i]) - log_sum)};
}

viva_status logprobs_of(const float *logits, size_t n, viva_token id, viva_logprob *chosen, viva_logprob *top,
                        size_t count, void *scratch, viva_error *error) {
  float largest = logits[0];
  for (size_t i = 1; i < n; i++)
    if (logits[i] > largest) largest = logits[i];
  if (!isfinite(largest))
    return error_set(error, VIVA_E_NUMERIC, "the largest logit is infinite, so there are no probabilities");
  double sum = 0; /* in the order of the ids: the same bits everywhere */
  for (size_t i = 0; i < n; i++) sum += math_exp((double)logits[i] - (double)largest);
  double log_sum = (double)largest + math_log(sum);
  *chosen = (viva_logprob){id, (float)((double)logits[id] - log_sum)};
  select_top(logits, n, log_sum, top, count, scratch);
  return VIVA_OK;
}
