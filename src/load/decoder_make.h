/* load/decoder_make.h: a decoder's sizes from a configuration, and the options that a model and its plan share. */
#ifndef LOAD_DECODER_MAKE_H
#define LOAD_DECODER_MAKE_H

#include "backend/backend.h"
#include "base/mem.h"
#include "viva/checkpoint.h"
#include "viva/linear.h"

/* Sets sizes, heads, eps, windows; makes the layers, zeroed. Errors: E_MEMORY. decoder_end is needed in both cases. */
viva_status decoder_make(decoder *d, const viva_model_config *config, mem *m, viva_error *error);

/* Bytes of the second forms that the backend wants of the matrices (their data may be NULL); 0: none. Saturates. */
uint64_t decoder_prepared_bytes(backend *b, const decoder *d);

/* Makes them, in one block; *block (dev) stays NULL when there are none. On failure *block may be set: the caller frees it.
 * A head that is the embedding is prepared as the head. Errors: E_MEMORY, and the device's. */
viva_status decoder_prepare(backend *b, decoder *d, void **block, viva_error *error);

/* Frees layers and rope_factors; the weights are not the decoder's. */
void decoder_end(decoder *d, mem *m);

/* The option "kv": VIVA_F16, VIVA_F32 or VIVA_E4M3. */
viva_status decoder_kv_option(viva_dtype dtype, kv_type *kv, viva_error *error);

/* The option "act": AUTO is 16. */
viva_status decoder_act_option(viva_activation_mode act, input_mode *mode, viva_error *error);

#endif
