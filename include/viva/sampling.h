/* viva/sampling.h: from logits to a token. Needs no model and no engine; every call is thread-safe and allocates
 * nothing.
 *
 * The order is: repetition penalty, temperature, top-k, top-p, min-p, draw. Ties go to the lower id everywhere. The
 * same logits, options, sequence and position give the same token on every machine: exp is viva's own, sums run in a
 * fixed order, and the random number is Philox4x32-10 with key = seed and counter = (position, sequence)
 * (docs/sampling.md).
 */
#ifndef VIVA_SAMPLING_H
#define VIVA_SAMPLING_H

#include "viva/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest logit and its id; the lowest id among equals. Errors: E_ARGUMENT (n = 0), E_NUMERIC (a NaN: its id in the
 * message). Infinities are numbers here. logit may be NULL. */
VIVA_API viva_status viva_argmax(const float *logits, size_t n, viva_token *id, float *logit, viva_error *error);

/* probabilities[i] = exp(logits[i] − max) / Σ. probabilities may be logits itself. Errors: E_ARGUMENT (n = 0),
 * E_NUMERIC (NaN, +infinity, or all −infinity). */
VIVA_API viva_status viva_softmax(const float *logits, size_t n, float *probabilities, viva_error *error);

typedef struct viva_sampling_options {
  size_t size;              /* sizeof(viva_sampling_options) */
  float temperature;        /* 1.0; 0 = argmax (top-k, top-p and min-p then do not matter) */
  float top_p;              /* 1.0 = off; the smallest set of most probable tokens whose sum reaches top_p stays */
  float min_p;              /* 0.0 = off; tokens below min_p × the largest probability go */
  float repetition_penalty; /* 1.0 = off; logits of tokens in the history: l > 0 ? l / r : l · r */
  int32_t top_k;            /* 0 = unlimited; only the k most probable tokens stay */
  uint64_t seed;            /* 42 */
  uint64_t reserved[4];     /* 0: room for later options, so that the struct keeps its size */
} viva_sampling_options;

VIVA_API viva_sampling_options viva_sampling_options_default(void);

/* One candidate that the filters left. */
typedef struct viva_candidate {
  viva_token id;
  float probability; /* after all filters, renormalised: they sum to 1 */
} viva_candidate;

/* What is drawn from. */
typedef struct viva_sample_input {
  size_t size;         /* sizeof(viva_sample_input) */
  const float *logits; /* n values, unchanged */
  size_t n;
  const viva_token
      *history; /* tokens so far (prompt and generated) for the repetition penalty; NULL when the count is 0 */
  size_t history_count;
  uint64_t sequence; /* which of several texts that share a seed (0 for one) */
  uint64_t position; /* of the token to be drawn, counted from the beginning of its text (of its session); the pair
                        (sequence, position) must not repeat under one seed */
  void *scratch;     /* scratch_bytes ≥ viva_sample_scratch(n), aligned as malloc's */
  size_t scratch_bytes;
} viva_sample_input;

VIVA_API viva_sample_input viva_sample_input_default(void);

/* Bytes of scratch that the two calls below need for n logits. */
VIVA_API size_t viva_sample_scratch(size_t n);

/* The candidates that stay, most probable first, and their probabilities. With temperature 0: the one argmax.
 * Errors: E_ARGUMENT (a NaN or negative option, top_p > 1, history id ≥ n), E_NUMERIC (NaN or +infinity logit, or all
 * −infinity), E_SIZE (scratch or capacity too small; *count holds the number).
 *
 * input:      sequence and position do not matter
 * options:    NULL for the defaults
 * candidates: capacity elements; n is always enough */
VIVA_API viva_status viva_sample_candidates(const viva_sample_input *input, const viva_sampling_options *options,
                                            viva_candidate *candidates, size_t capacity, size_t *count,
                                            viva_error *error);

/* Draws one token. Errors as above. */
VIVA_API viva_status viva_sample(const viva_sample_input *input, const viva_sampling_options *options, viva_token *id,
                                 viva_error *error);

/* The draw's random number in [0, 1), a multiple of 2^-53: words 0 and 1 of Philox4x32-10. */
VIVA_API double viva_sample_uniform(uint64_t seed, uint64_t sequence, uint64_t position);

#ifdef __cplusplus
}
#endif
#endif
