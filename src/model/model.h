/* model/model.h: what viva_model is inside. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "engine/engine.h"
#include "format/checkpoint.h"
#include "model/kv_pool.h"
#include "model/shards.h"
#include "model/workspace.h"
#include "viva/model.h"

struct viva_model {
  _Atomic uint32_t references;
  viva_engine *engine; /* one reference */
  viva_model_config config;
  viva_memory_plan plan;
  uint64_t context; /* default capacity of sessions */
  kv_type kv;       /* default of sessions */
  kv_pool pages[KV_TYPES];
  work_pool work;
  int has_pools; /* pages and work have begun */
  uint64_t cache_bytes;
  input_mode act; /* of the layers whose weights are packed */
  viva_decode_path decode;
  accumulation accumulate; /* until dec has it */
  decoder dec;
  shards *shards;             /* on an engine of several devices: what each holds; else NULL */
  viva_packed_weight **parts; /* of a model made of handles: the handles; else NULL */
  size_t part_count;
  void *prepared;              /* dev: the second forms of the weights, or NULL */
  void *block;                 /* dev: all weights that were copied; NULL when none was */
  viva_checkpoint *checkpoint; /* kept open when weights lie in its mapping, else NULL */
  viva_tokenizer *tokenizer;   /* NULL: none */
  struct chat_source *chat;    /* templates and special tokens; NULL: the files have none */
  char *path;                  /* of its files, for messages; NULL: made of handles */
  char *tokenizer_problem;     /* why there is none, for messages; NULL: the files have none */
  char description[192];
};

/* Once config, decoder and options are set: the pools that sessions and steps take from. */
void model_begin_pools(viva_model *model, uint64_t cache_bytes);

/* Once all weights are there: second forms, or every device's share. */
viva_status model_place(viva_model *model, viva_error *error);

/* Rows of a pass of prefill: asked, or (0) as many as the devices like, and no more than capacity. */
size_t model_chunk(const viva_model *model, uint64_t capacity, uint32_t asked);

/* The option decode. E_ARGUMENT; E_UNSUPPORTED: the engine's device has no such path. */
viva_status model_decode_option(const viva_engine *engine, viva_decode_path path, viva_decode_path *out,
                                viva_error *error);
decoder_layers_as model_layers_as(viva_decode_path path);

/* describe.c: sets model->description. */
void model_describe(viva_model *model);

/* For an error that was set: names the option; returns E_ARGUMENT. */
viva_status model_option_error(viva_error *error, const char *option);

/* E_STATE: it has no tokenizer, and why. */
viva_status model_no_tokenizer(const viva_model *model, viva_error *error);

#endif
