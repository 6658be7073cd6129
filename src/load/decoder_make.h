/* load/decoder_make.h: a decoder's sizes from a configuration, and the options that a model and its plan share. */
#ifndef LOAD_DECODER_MAKE_H
#define LOAD_DECODER_MAKE_H

#include "backend/backend.h"
#include "viva/checkpoint.h"
#include "viva/linear.h"

/* Sets sizes, heads, eps, windows; makes the layers, zeroed. Errors: E_MEMORY. decoder_end is needed in both cases. */
viva_status decoder_make(decoder *d, const viva_model_config *config, mem *m, viva_error *error);

/* Frees layers and rope_factors; the weights are not the decoder's. */
void decoder_end(decoder *d, mem *m);

/* The option "kv": VIVA_F16 or VIVA_F32. */
viva_status decoder_kv_option(viva_dtype dtype, kv_type *kv, viva_error *error);

/* The option "act": AUTO is 16. */
viva_status decoder_act_option(viva_activation_mode act, input_mode *mode, viva_error *error);

#endif
