/* From logits to a token: repetition penalty, temperature, top-k, top-p, min-p, draw.
 *
 * Everything after the penalty works on weights e^((logit − largest) / temperature), in double, most probable first;
 * the largest weight is exactly 1. All sums run in that order.
 */
#include "viva/sampling.h"

#include <math.h>
#include <string.h>

#include "base/options.h"
#include "number/math_f64.h"
#include "text/sampling_inner.h"

viva_sampling_options viva_sampling_options_default(void) {
  return (viva_sampling_options){.size = sizeof(viva_sampling_options),
                                 .temperature = 1.0f,
                                 .top_p = 1.0f,
                                 .min_p = 0.0f,
                                 .repetition_penalty = 1.0f,
                                 .top_k = 0,
                                 .seed = 42};
}

/* Ids are viva_token, so there can be no more logits than it counts. */
static viva_status check_logits(const float *logits, size_t n, viva_error *error) {
  if (!logits || n == 0 || n > INT32_MAX)
    return error_set(error, VIVA_E_ARGUMENT, "expected 1 to %d logits, got %zu%s", INT32_MAX, n,
                     logits ? "" : " (NULL)");
  return VIVA_OK;
}

viva_status viva_argmax(const float *logits, size_t n, viva_token *id, float *logit, viva_error *error) {
  TRY(check_logits(logits, n, error));
  if (!id) return error_set(error, VIVA_E_ARGUMENT, "id must not be NULL");
  size_t best = 0;
  for (size_t i = 0; i < n; i++) {
    if (isnan(logits[i])) return error_set(error, VIVA_E_NUMERIC, "the logit of id %zu is NaN", i);
    if (logits[i] > logits[best]) best = i;
  }
  *id = (viva_token)best;
  if (logit) *logit = logits[best];
  return VIVA_OK;
}

/* The largest logit, which must be finite; none may be NaN. */
static viva_status largest_finite(const float *logits, size_t n, float *largest, viva_error *error) {
  viva_token id;
  TRY(viva_argmax(logits, n, &id, largest, error));
  if (*largest == INFINITY) return error_set(error, VIVA_E_NUMERIC, "the logit of id %d is infinite", id);
  if (*largest == -INFINITY) return error_set(error, VIVA_E_NUMERIC, "all %zu logits are -infinity", n);
  return VIVA_OK;
}

viva_status viva_softmax(const float *logits, size_t n, float *probabilities, viva_error *error) {
  float largest;
  if (!probabilities) return error_set(error, VIVA_E_ARGUMENT, "probabilities must not be NULL");
  TRY(largest_finite(logits, n, &largest, error));
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += math_exp((double)logits[i] - (double)largest);
  for (size_t i = 0; i < n; i++) probabilities[i] = (float)(math_exp((double)logits[i] - (double)largest) / sum);
  return VIVA_OK;
}

static viva_status wrong_option(viva_error *error, const char *name, const char *rule, double value) {
  error_set(error, VIVA_E_ARGUMENT, "%s must be %s, not %g", name, rule, value);
  error_at(error, NULL, name, -1, VIVA_NO_OFFSET);
  return VIVA_E_ARGUMENT;
}

static viva_status check_options(const viva_sampling_options *given, viva_sampling_options *o, viva_error *error) {
  *o = viva_sampling_options_default();
  if (!given) return VIVA_OK;
  if (given->size != sizeof *o)
    return error_set(error, VIVA_E_ARGUMENT,
                     "the sampling options say they are %zu bytes long, not %zu; set them with "
                     "viva_sampling_options_default",
                     given->size, sizeof *o);
  *o = *given;
  if (!(o->temperature >= 0)) return wrong_option(error, "temperature", "0 or more", (double)o->temperature);
  if (!(o->top_p >= 0 && o->top_p <= 1)) return wrong_option(error, "top_p", "between 0 and 1", (double)o->top_p);
  if (!(o->min_p >= 0 && o->min_p <= 1)) return wrong_option(error, "min_p", "between 0 and 1", (double)o->min_p);
  if (!(o->repetition_penalty > 0 && o->repetition_penalty < INFINITY))
    return wrong_option(error, "repetition_penalty", "a number above 0", (double)o->repetition_penalty);
  if (o->top_k < 0) return wrong_option(error, "top_k", "0 (unlimited) or more", o->top_k);
  for (size_t i = 0; i < sizeof o->reserved / sizeof *o->reserved; i++)
    if (o->reserved[i]) return wrong_option(error, "reserved", "0", (double)o->reserved[i]);
  return VIVA_OK;
}

/* Scratch: keys, a second set for sorting and selecting, weights; n of each. */
typedef struct workspace {
  uint64_t *keys, *spare;
  double *weights;
} workspace;

size_t viva_sample_scratch(size_t n) {
  size_t each = 2 * sizeof(uint64_t) + sizeof(double);
  return n > SIZE_MAX / each ? SIZE_MAX : n * each;
}

static viva_status take_scratch(void *scratch, size_t bytes, size_t n, workspace *w, viva_error *error) {
  if (!scratch || bytes < viva_sample_scratch(n))
    return error_set(error, VIVA_E_SIZE, "%zu logits need %zu bytes of scratch; there are %zu", n,
                     viva_sample_scratch(n), scratch ? bytes : 0);
  if ((uintptr_t)scratch % sizeof(uint64_t) != 0) return error_set(error, VIVA_E_ARGUMENT, "scratch is not aligned");
  w->keys = scratch;
  w->spare = w->keys + n;
  w->weights = (double *)(w->spare + n);
  return VIVA_OK;
}

static viva_status make_keys(const float *logits, size_t n, const viva_sampling_options *o, const viva_token *history,
                             size_t history_count, uint64_t *keys, viva_error *error) {
  for (size_t i = 0; i < n; i++) {
    if (isnan(logits[i]) || logits[i] == INFINITY)
      return error_set(error, VIVA_E_NUMERIC, "the logit of id %zu is %s", i, isnan(logits[i]) ? "NaN" : "infinite");
    keys[i] = logit_key(logits[i], (uint32_t)i);
  }
  float r = o->repetition_penalty;
  for (size_t i = 0; i < history_count; i++) {
    if (history[i] < 0 || (size_t)history[i] >= n)
      return error_set(error, VIVA_E_ARGUMENT, "history[%zu] is id %d; there are %zu logits", i, history[i], n);
    /* From the unchanged logit, so that a token that comes twice is not punished twice. */
    float l = logits[history[i]], punished = l > 0 ? l / r : l * r;
    if (punished == INFINITY)
      return error_set(error, VIVA_E_NUMERIC, "repetition_penalty %g makes the logit of id %d infinite", (double)r,
                       history[i]);
    if (r != 1) keys[history[i]] = logit_key(punished, (uint32_t)history[i]);
  }
  return VIVA_OK;
}

/* Up to this many candidates (of more or no more logits) are picked with a heap; more are worth a radix sort of all. */
#define HEAP_MOST 512

/* Puts the most probable tokens in front, sorted: top_k of them, or all. Returns where, and how many. */
static const uint64_t *order(workspace *w, size_t n, int32_t top_k, size_t *count) {
  *count = top_k > 0 && (size_t)top_k < n ? (size_t)top_k : n;
  if (*count <= HEAP_MOST) {
    keys_select(w->keys, n, w->spare, *count);
    return w->spare;
  }
  keys_sort(w->keys, w->spare, n);
  return w->keys;
}

/* Weights of the first count tokens; cuts those of weight 0 (-infinity, or beyond the reach of a double). */
static void weigh(const uint64_t *keys, size_t *count, float temperature, double *weights) {
  double largest = (double)key_logit(keys[0]);
  for (size_t i = 0; i < *count; i++) {
    weights[i] = math_exp(((double)key_logit(keys[i]) - largest) / (double)temperature);
    if (weights[i] == 0) *count = i;
  }
}

static double sum_of(const double *weights, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += weights[i];
  return sum;
}

/* The smallest number of weights from the front whose sum reaches top_p of all; at least one. */
static size_t cut_top_p(const double *weights, size_t count, double top_p) {
  if (top_p >= 1) return count;
  double wanted = top_p * sum_of(weights, count), sum = 0;
  for (size_t i = 0; i < count; i++) {
    sum += weights[i];
    if (sum >= wanted) return i + 1;
  }
  return count;
}

/* The largest weight is 1. */
static size_t cut_min_p(const double *weights, size_t count, double min_p) {
  while (count > 1 && weights[count - 1] < min_p) count--;
  return count;
}

/* The candidates: keys and weights of the count tokens that stay, most probable first. */
static viva_status filter(const float *logits, size_t n, const viva_sampling_options *o, const viva_token *history,
                          size_t history_count, workspace *w, const uint64_t **keys, size_t *count, viva_error *error) {
  TRY(make_keys(logits, n, o, history, history_count, w->keys, error));
  *keys = order(w, n, o->temperature > 0 ? o->top_k : 1, count);
  if (key_logit((*keys)[0]) == -INFINITY) return error_set(error, VIVA_E_NUMERIC, "all %zu logits are -infinity", n);
  if (o->temperature == 0) {
    *count = 1;
    w->weights[0] = 1;
    return VIVA_OK;
  }
  weigh(*keys, count, o->temperature, w->weights);
  *count = cut_top_p(w->weights, *count, (double)o->top_p);
  *count = cut_min_p(w->weights, *count, (double)o->min_p);
  return VIVA_OK;
}

/* Checks what both calls take, and filters. */
static viva_status candidates_of(const viva_sample_input *given, const viva_sampling_options *options,
                                 viva_sample_input *in, viva_sampling_options *o, workspace *w, const uint64_t **keys,
                                 size_t *kept, viva_error *error) {
  *in = viva_sample_input_default();
  if (!given) return error_set(error, VIVA_E_ARGUMENT, "input is NULL; begin with viva_sample_input_default");
  TRY(options_read(in, given, "viva_sample_input", error));
  if (!in->history && in->history_count > 0) return error_set(error, VIVA_E_ARGUMENT, "history must not be NULL");
  TRY(check_logits(in->logits, in->n, error));
  TRY(check_options(options, o, error));
  TRY(take_scratch(in->scratch, in->scratch_bytes, in->n, w, error));
  return filter(in->logits, in->n, o, in->history, in->history_count, w, keys, kept, error);
}

viva_sample_input viva_sample_input_default(void) { return (viva_sample_input){.size = sizeof(viva_sample_input)}; }

viva_status viva_sample_candidates(const viva_sample_input *input, const viva_sampling_options *options,
                                   viva_candidate *candidates, size_t capacity, size_t *count, viva_error *error) {
  viva_sample_input in;
  viva_sampling_options o;
  workspace w;
  const uint64_t *keys;
  size_t kept;
  if (!count || (!candidates && capacity > 0))
    return error_set(error, VIVA_E_ARGUMENT, "count and candidates must not be NULL");
  *count = 0;
  TRY(candidates_of(input, options, &in, &o, &w, &keys, &kept, error));
  *count = kept;
  if (kept > capacity)
    return error_set(error, VIVA_E_SIZE, "%zu candidates stay; there is room for %zu", kept, capacity);
  double sum = sum_of(w.weights, kept);
  for (size_t i = 0; i < kept; i++)
    candidates[i] = (viva_candidate){(viva_token)key_id(keys[i]), (float)(w.weights[i] / sum)};
  return VIVA_OK;
}

viva_status viva_sample(const viva_sample_input *input, const viva_sampling_options *options, viva_token *id,
                        viva_error *error) {
  viva_sample_input in;
  viva_sampling_options o;
  workspace w;
  const uint64_t *keys;
  size_t kept;
  if (!id) return error_set(error, VIVA_E_ARGUMENT, "id must not be NULL");
  TRY(candidates_of(input, options, &in, &o, &w, &keys, &kept, error));
  /* The first token whose cumulated weight exceeds the random part of the sum; rounding cannot go past the last. */
  double target = viva_sample_uniform(o.seed, in.sequence, in.position) * sum_of(w.weights, kept), sum = 0;
  size_t drawn = 0;
  while (drawn + 1 < kept && (sum += w.weights[drawn]) <= target) drawn++;
  *id = (viva_token)key_id(keys[drawn]);
  return VIVA_OK;
}
