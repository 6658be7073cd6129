/* format/config/config.h: config.json and generation_config.json of Hugging Face folders into viva_model_config. */
#ifndef FORMAT_CONFIG_CONFIG_H
#define FORMAT_CONFIG_CONFIG_H

#include "format/checkpoint.h"

/* Sets every field to "absent" / its default, architecture and model_type to "". */
void config_init(viva_model_config *config);

/* Parses config.json's text. generation may be NULL (no generation_config.json); only its end tokens are used. */
viva_status config_parse(runtime *rt, const char *path, const char *text, size_t bytes, const char *generation_path,
                         const char *generation, size_t generation_bytes, viva_model_config *config, viva_error *error);

/* The rules that hold for every runnable model, whatever file it came from (also called by gguf_config): ranges,
 * heads % kv_heads, head_dim even, values of its RoPE type finite and positive ... E_FORMAT with the key as
 * item. path NULL: a caller's struct, whose member is the item. */
viva_status config_check(const viva_model_config *config, const char *path, viva_error *error);

/* The head_dim of a file that does not say it: hidden_size / num_heads, which must leave nothing over (E_FORMAT). A
 * head_dim of the file's own divides nothing: q_proj is [num_heads · head_dim, hidden_size]. */
viva_status config_derive_head_dim(viva_model_config *config, const char *path, viva_error *error);

/* 1 for the model_type of a family that can be run. */
int config_runs(const char *model_type);

/* "llama, mistral, qwen2, qwen3": for messages. */
const char *config_supported(void);

#endif
