/* model/rope.h: the angles of rotary position embedding, as transformers' modeling_rope_utils.py defines them. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include <stddef.h>

#include "viva/checkpoint.h"

typedef struct rope {
  size_t pairs;    /* rotary_dim / 2 */
  float scaling;   /* of cos and sin: yarn's attention factor, else 1 */
  float *inv_freq; /* [pairs], the owner's memory */
} rope;

/* Fills inv_freq and scaling. context: the session's capacity, which "dynamic" scales to. factors: NULL, or pairs
 * divisors that the file itself brings (GGUF's rope_freqs). inv_freq has config->rotary_dim / 2 places.
 * Errors: E_FORMAT when the parameters give a frequency that is no number or above 1. */
viva_status rope_init(rope *r, const viva_model_config *config, uint64_t context, const float *factors, float *inv_freq,
                      viva_error *error);

/* out: cos of pairs angles, then sin, of one position. */
void rope_row(const rope *r, size_t position, float *out);

#endif
