/* Any bytes as config.json and, behind a zero byte, generation_config.json. What is accepted as runnable keeps the rules.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/config/config.h"

static void require(int condition) {
  if (!condition) abort();
}

static void check_runnable(const viva_model_config *c) {
  require(config_check(c, "config.json", NULL) == VIVA_OK);
  require(c->hidden_size % c->num_heads == 0 && c->num_heads % c->num_kv_heads == 0);
  require(c->rotary_dim % 2 == 0 && c->rotary_dim <= c->head_dim);
  require(c->sliding_window == 0 || c->sliding_from_layer < c->num_layers);
  require(isfinite(c->rope_attention_factor) && isfinite(c->rope_theta) && isfinite(c->rope_factor));
  require(strstr(config_supported(), c->model_type) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
  size_t bytes = zero != NULL ? (size_t)(zero - data) : size;
  const char *generation = zero != NULL ? (const char *)zero + 1 : NULL;
  viva_model_config config;
  viva_error error = {0};
  viva_status status = config_parse(rt, "config.json", (const char *)data, bytes, "generation_config.json", generation,
                                    zero != NULL ? size - bytes - 1 : 0, &config, &error);
  require(status == error.code);
  if (status == VIVA_OK && config.model_type[0] != 0) check_runnable(&config);
  require(config.num_eos <= sizeof config.eos_tokens / sizeof *config.eos_tokens);
  runtime_release(rt);
  return 0;
}
