/* load/decoder_make.c */
#include "load/decoder_make.h"

#include <math.h>

viva_status decoder_make(decoder *d, const viva_model_config *config, mem *m, viva_error *error) {
  *d = (decoder){.hidden = (size_t)config->hidden_size,
                 .ffn = (size_t)config->intermediate_size,
                 .vocab = (size_t)config->vocab_size,
                 .rotary_dim = (size_t)config->rotary_dim,
                 .heads = {.q_heads = (size_t)config->num_heads,
                           .kv_heads = (size_t)config->num_kv_heads,
                           .head_dim = (size_t)config->head_dim},
                 .eps = (float)config->rms_norm_eps,
                 .attention_scale = (float)(1 / sqrt((double)config->head_dim))};
  size_t count = (size_t)config->num_layers;
  d->layers = mem_array(m, count, sizeof *d->layers);
  if (!d->layers) return error_set(error, VIVA_E_MEMORY, "no memory for %zu layers", count);
  d->layer_count = count;
  for (size_t i = 0; i < count; i++)
    d->layers[i].window = i >= config->sliding_from_layer ? (size_t)config->sliding_window : 0;
  return VIVA_OK;
}

void decoder_end(decoder *d, mem *m) {
  mem_free(m, d->layers);
  mem_free(m, (void *)d->rope_factors); /* const for everyone else */
  d->layers = NULL;
  d->rope_factors = NULL;
}

viva_status decoder_kv_option(viva_dtype dtype, kv_type *kv, viva_error *error) {
  *kv = dtype == VIVA_F32 ? KV_F32 : KV_F16;
  if (dtype == VIVA_F16 || dtype == VIVA_F32) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "the KV cache can be F16 or F32, not %s", viva_dtype_name(dtype));
  return error_option(error, VIVA_E_ARGUMENT, "kv");
}

viva_status decoder_act_option(viva_activation_mode act, input_mode *mode, viva_error *error) {
  switch (act) {
  case VIVA_ACT_AUTO: /* docs/numerics.md: 16 bits are what is safe */
  case VIVA_ACT_16: *mode = INPUT_FLOAT; return VIVA_OK;
  case VIVA_ACT_FP8: *mode = INPUT_E4M3; return VIVA_OK;
  case VIVA_ACT_INT8: *mode = INPUT_INT8; return VIVA_OK;
  case VIVA_ACT_INT4: break;
  }
  error_set(error, VIVA_E_ARGUMENT, "the activations of a model can be VIVA_ACT_AUTO, 16, FP8 or INT8, not %d%s",
            (int)act, act == VIVA_ACT_INT4 ? " (INT4, which the linear calls have)" : "");
  return error_option(error, VIVA_E_ARGUMENT, "act");
}
