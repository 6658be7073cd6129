/* model/logprobs.h: log probabilities of the plain softmax of a row of logits. */
#ifndef MODEL_LOGPROBS_H
#define MODEL_LOGPROBS_H

#include "viva/model.h"

/* Fills *chosen with id's log probability and top[0..count) with the most probable tokens, the most probable first, the
 * lower id first among equals. count ≤ n. Errors: E_NUMERIC (the largest logit is infinite).
 *
 * scratch: viva_sample_scratch(n) bytes, for viva_sample as well */
viva_status logprobs_of(const float *logits, size_t n, viva_token id, viva_logprob *chosen, viva_logprob *top,
                        size_t count, void *scratch, viva_error *error);

#endif
