/* tests/lib/small_model.h: random models of some kilobytes as Hugging Face folders in memory, each right or with one fault.
 *
 *   memory_io *m = memory_io_create();
 *   small_model_put(m, "/m", &(small_model){.model_type = "qwen3", .layers = 3});
 *   ... viva_model_load(engine, "/m", ...) ...
 */
#ifndef TESTS_SMALL_MODEL_H
#define TESTS_SMALL_MODEL_H

#include "lib/memory_io.h"
#include "viva/types.h"

typedef struct small_model {
  const char *model_type; /* NULL: "llama" */
  /* 0: hidden 16, ffn 24, layers 2, heads 4, kv_heads 2, head_dim 8, vocab 40, context 64 */
  size_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab, context;
  int attention_bias, mlp_bias; /* llama: q, k, v and o; gate, up and down */
  int untied;
  const char *config; /* more members of config.json, each followed by a comma; NULL: none */
  viva_dtype dtype;   /* of the matrices: VIVA_F32 (also 0), VIVA_BF16, VIVA_F16 */
  uint64_t seed;
  /* faults and special cases, by tensor name; NULL: none */
  const char *leave_out;
  const char *turned; /* its two sizes are exchanged */
  const char *extra;  /* one F32 value that no model has */
  const char *poked;  /* its first value is poke */
  float poke;
  int tied_head; /* lm_head.weight is there though tied: 1 = equal to the embedding, 2 = other values */
} small_model;

/* Writes FOLDER/config.json and FOLDER/model.safetensors. */
void small_model_put(memory_io *m, const char *folder, const small_model *s);

/* Copies a file of the disk below the project's folder (VIVA_SOURCE_DIR) to path. */
void small_model_copy(memory_io *m, const char *path, const char *from);

#endif
