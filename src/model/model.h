/* model/model.h: what viva_model is inside. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "engine/engine.h"
#include "format/checkpoint.h"
#include "viva/model.h"

/* Weights of one layer. Pointers are in the backend's memory; absent biases and norms are NULL. */
typedef struct layer {
  weight q, k, v, o; /* [heads · head_dim][hidden], [kv_heads · head_dim][hidden] twice, [hidden][heads · head_dim] */
  weight gate, up, down;                  /* [intermediate][hidden] twice, [hidden][intermediate] */
  const float *attention_norm, *mlp_norm; /* [hidden] */
  const float *q_bias, *k_bias, *v_bias, *o_bias;
  const float *gate_bias, *up_bias, *down_bias;
  const float *q_norm, *k_norm; /* [head_dim] */
} layer;

/* Weights outside the layers. */
typedef struct globals {
  weight embedding, head;    /* [vocab][hidden]; one and the same data when tied */
  const float *output_norm;  /* [hidden] */
  const float *rope_factors; /* [rotary_dim / 2], in the host's memory, or NULL */
} globals;

struct viva_model {
  _Atomic uint32_t references;
  viva_engine *engine; /* one reference */
  viva_model_config config;
  viva_memory_plan plan;
  uint64_t context; /* default capacity of sessions */
  kv_type kv;
  input_mode act; /* of the layers whose weights are packed */
  globals g;
  layer *layers; /* [layer_count] */
  size_t layer_count;
  viva_packed_weight **parts; /* of a model made of handles: the handles; else NULL */
  size_t part_count;
  void *block;                 /* dev: all weights that were copied; NULL when none was */
  float *rope_factors;         /* host, or NULL */
  viva_checkpoint *checkpoint; /* kept open when weights lie in its mapping, else NULL */
  viva_tokenizer *tokenizer;   /* NULL: none */
  char *tokenizer_problem;     /* why there is none, for messages; NULL: the files have none */
  char description[192];
};

/* The longest context of any model: sizes stay far from overflow below it. */
#define MODEL_CONTEXT_MOST ((uint64_t)1 << 31)

/* describe.c: sets model->description. */
void model_describe(viva_model *model);

heads model_heads(const viva_model_config *config);

/* For an error that was set: names the option; returns E_ARGUMENT. */
viva_status model_option_error(viva_error *error, const char *option);

/* The option "kv": VIVA_F16 or VIVA_F32. */
viva_status model_kv_option(viva_dtype dtype, kv_type *kv, viva_error *error);

/* The option "act": AUTO is 16. */
viva_status model_act_option(viva_activation_mode act, input_mode *mode, viva_error *error);

/* Loads the tokenizer that belongs to a model: path, or NULL for the one beside (or in) its files. *out stays NULL
 * when there is none, and when it uses something viva does not know: *problem is then its message, from rt's memory. */
viva_status model_tokenizer(runtime *rt, const viva_checkpoint *ck, const char *path, viva_tokenizer **out,
                            char **problem, viva_error *error);

#endif
