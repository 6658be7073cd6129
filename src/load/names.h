/* load/names.h: every tensor of a Llama-type model: its two names, its shape, where it goes. One table. */
#ifndef LOAD_NAMES_H
#define LOAD_NAMES_H

#include "backend/decoder.h"
#include "format/checkpoint.h"

/* Sizes that shapes are made of. */
typedef enum dim { DIM_NONE, DIM_VOCAB, DIM_HIDDEN, DIM_Q, DIM_KV, DIM_FFN, DIM_HEAD, DIM_PAIRS, DIMS } dim;

/* Which models have the tensor. */
typedef enum need {
  NEED_ALWAYS,
  NEED_QKV_BIAS,
  NEED_O_BIAS,
  NEED_MLP_BIAS,
  NEED_QK_NORM,
  NEED_EITHER,
  NEED_IF_THERE
} need;

typedef struct slot {
  const char *hf;   /* '%' stands for the layer's number */
  const char *gguf; /* NULL: does not exist there (and the other way round) */
  dim rows, cols;   /* a vector has cols only */
  need need;
  int rotated;  /* rows of q and k, permuted in GGUF files of the llama family */
  size_t field; /* offset of the weight (or the pointer, for vectors) in decoder or decoder_layer */
} slot;

extern const slot names_global[];
extern const size_t names_global_count;
extern const slot names_layer[];
extern const size_t names_layer_count;

#define NAMES_EMBEDDING    0 /* index into names_global */
#define NAMES_HEAD         1
#define NAMES_OUTPUT_NORM  2
#define NAMES_ROPE_FACTORS 3

#define NAMES_BYTES 192 /* of a tensor's name with any prefix */

/* How a checkpoint spells the table's names. Folders put the model under "model.", under nothing (LlamaModel), under
 * the name of a wrapper ("_orig_mod.model.") or of a part ("language_model.model."): one rule finds what is there. */
typedef struct spelling {
  container_kind kind;
  char body[64]; /* instead of "model." */
  char head[64]; /* before "lm_head.weight" */
} spelling;
void names_find_spelling(const viva_checkpoint *ck, spelling *s);

/* The tensor's name in that checkpoint, or 1 when its kind has no such tensor. */
int names_in_file(const spelling *how, const slot *s, size_t number, char *buffer, size_t size);

/* The tensor's usual name in a checkpoint of this kind, or 1 when the kind has no such tensor. */
int names_format(const slot *s, container_kind kind, size_t number, char *buffer, size_t size);

/* The matrix's name in rules and messages: Hugging Face's without ".weight". */
void names_module(const slot *s, size_t number, char *buffer, size_t size);

/* 1 when a model of this configuration must have it. */
int names_needed(const slot *s, const viva_model_config *config);

uint64_t names_dim(dim d, const viva_model_config *config);

/* What a tensor that no slot takes means. */
typedef enum leftover { LEFTOVER_UNKNOWN, LEFTOVER_HARMLESS, LEFTOVER_SCALE } leftover;
leftover names_leftover(const viva_checkpoint *ck, const char *name);

#endif
