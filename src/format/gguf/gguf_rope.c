/* format/gguf/gguf_rope.c: rotary position embedding in GGUF metadata.
 *
 * Llama 3's scaling is no key: the converter writes its divisors as the tensor rope_freqs.weight, which the model takes
 * as it is (model/rope.h), so the configuration stays at "default".
 */
#include "format/gguf/gguf_rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_THETA     10000.0 /* ggml's and transformers' */
#define DEFAULT_BETA_FAST 32.0
#define DEFAULT_BETA_SLOW 1.0

/* yarn's attention factor grows with the logarithm of the scaling (transformers' default, ggml's mscale). */
#define YARN_LOG_COEFFICIENT 0.1

/* Keys of a scaling that viva does not know. */
static const char *const unknown_keys[] = {"rope.scaling.yarn_log_multiplier", "rope.scaling.alpha"};

static viva_status read_yarn(const gguf_config_reader *r) {
  viva_model_config *c = r->config;
  double factor = 1, yarn_factor = 1;
  c->rope_type = VIVA_ROPE_YARN;
  if (c->rope_original_context == 0) c->rope_original_context = c->max_position_embeddings; /* as ggml */
  c->rope_truncate = 1;
  c->rope_beta_fast = DEFAULT_BETA_FAST;
  c->rope_beta_slow = DEFAULT_BETA_SLOW;
  TRY(gguf_config_double(r, "rope.scaling.yarn_beta_fast", &c->rope_beta_fast));
  TRY(gguf_config_double(r, "rope.scaling.yarn_beta_slow", &c->rope_beta_slow));
  TRY(gguf_config_double(r, "rope.scaling.attn_factor", &factor));
  TRY(gguf_config_double(r, "rope.scaling.yarn_attn_factor", &yarn_factor));
  double log_factor = c->rope_factor > 1 ? log(c->rope_factor) : 0;
  c->rope_attention_factor = factor * yarn_factor * (YARN_LOG_COEFFICIENT * log_factor + 1);
  return VIVA_OK;
}

static viva_status read_type(const gguf_config_reader *r, const gguf_value *value) {
  const char *text = "linear"; /* as ggml: a factor alone means this */
  size_t bytes = strlen(text);
  viva_model_config *c = r->config;
  if (value && gguf_string(value, &text, &bytes)) {
    return r->runnable ? gguf_config_fail(r, VIVA_E_FORMAT, value, "expected a string") : VIVA_OK;
  }
  if (bytes == 0) text = "linear", bytes = strlen(text); /* as missing */
  if (bytes == 4 && memcmp(text, "none", 4) == 0) return VIVA_OK;
  if (bytes == 4 && memcmp(text, "yarn", 4) == 0) return read_yarn(r);
  if (bytes == 6 && memcmp(text, "linear", 6) == 0) {
    if (c->rope_factor != 1) c->rope_type = VIVA_ROPE_LINEAR;
    return VIVA_OK;
  }
  char problem[160], quoted[64];
  snprintf(problem, sizeof problem, "positions are scaled by \"%s\"; viva knows the scalings none, linear and yarn",
           error_quote(quoted, sizeof quoted, text, bytes));
  return r->runnable ? gguf_config_fail(r, VIVA_E_UNSUPPORTED, value, problem) : VIVA_OK;
}

viva_status gguf_rope(const gguf_config_reader *r) {
  viva_model_config *c = r->config;
  c->rope_theta = DEFAULT_THETA;
  c->rope_factor = 0;
  TRY(gguf_config_double(r, "rope.freq_base", &c->rope_theta));
  TRY(gguf_config_double(r, "rope.scale_linear", &c->rope_factor)); /* an old name */
  TRY(gguf_config_double(r, "rope.scaling.factor", &c->rope_factor));
  if (c->rope_factor == 0) c->rope_factor = 1; /* as ggml: 0 means no scaling */
  TRY(gguf_config_integer(r, "rope.scaling.original_context_length", &c->rope_original_context));
  for (size_t i = 0; r->runnable && i < sizeof unknown_keys / sizeof *unknown_keys; i++) {
    double number = 1;
    const gguf_value *value = gguf_config_find(r, unknown_keys[i]);
    if (!value || (gguf_f64(value, &number) == 0 && number == 0)) continue;
    return gguf_config_fail(r, VIVA_E_UNSUPPORTED, value, "a scaling of positions that viva does not know");
  }
  return read_type(r, gguf_config_find(r, "rope.scaling.type"));
}
