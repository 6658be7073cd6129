/* quantize/quantize.h: viva quantize from the inside: what will be written, then the writing.
 *
 *   quantize.c         the call: options, the order of the steps
 *   quantize_plan.c    the list of outputs and of tensors, from a plan of the model and what the files hold
 *   quantize_rows.c    one matrix: read, unpack, pack, compare, by all threads
 *   quantize_config.c  config.json and its quantization_config
 *   quantize_gguf.c    configuration and tokenizer of a GGUF file as Hugging Face's files
 *   quantize_rope.c    a GGUF file's divisors of frequencies as keys of config.json
 *   quantize_chat.c    its chat template
 *   quantize_folder.c  where the output may be written
 */
#ifndef QUANTIZE_QUANTIZE_H
#define QUANTIZE_QUANTIZE_H

#include "format/json_text.h"
#include "format/quant/quant.h"
#include "format/safetensors/safetensors_stream.h"
#include "load/load.h"
#include "viva/quantize.h"

/* One tensor of the model on its way into the folder. */
typedef struct quantize_output {
  const plan_item *item;
  char name[96];  /* a matrix: the module, "model.layers.0.mlp.down_proj"; a vector: the tensor's name */
  pack_spec spec; /* as it is written; settled when it is packed */
  int packed;     /* 0: dense */
  int copied;     /* the file's codes and scales, as they are */
  int surveyed;   /* spec was settled in a pass over the values */
  uint64_t bytes_before, bytes_after;
  size_t first_tensor;      /* of job.tensors */
  double error2, original2; /* Σ(written − original)², Σ original² */
} quantize_output;

typedef struct quantize_job {
  viva_engine *engine;
  const viva_quantize_options *options; /* complete */
  viva_checkpoint *ck;
  plan p;
  arena *arena; /* names */
  int dense;    /* the rule is "dense" */
  int own;      /* the folder is in viva's dialect, else in compressed-tensors' */
  int head;     /* a head is written beside the embedding */
  quantize_output *outputs;
  size_t output_count;
  stream_tensor *tensors;
  size_t tensor_count;
  uint64_t done, total; /* bytes read, for progress */
  uint64_t files;
  grow inputs; /* of io_stat: what must not be lost */
} quantize_job;

/* -- quantize_plan.c */

/* outputs, from the plan. */
viva_status quantize_list(quantize_job *j, viva_error *error);
/* own and tensors, once the specs are settled. */
viva_status quantize_layout(quantize_job *j, viva_error *error);
/* The word of docs/formats.md; suffix: with the type of the scales where it is not the usual one. */
void quantize_word(const pack_spec *spec, int suffix, char *word, size_t size);
/* 1 when compressed-tensors has a layout for it. */
int quantize_shared(const pack_spec *spec, size_t cols);

/* -- quantize_rows.c */

/* What must be known of all values before the layout: a pass over those matrices that need it. */
viva_status quantize_survey(quantize_job *j, quantize_output *out, viva_error *error);
viva_status quantize_write(quantize_job *j, quantize_output *out, stream *s, viva_error *error);
/* Most bytes of memory that one output takes while it is written. */
uint64_t quantize_memory(const quantize_job *j);
/* Told after each slice; E_CANCELLED. */
viva_status quantize_progress(quantize_job *j, uint64_t bytes, viva_error *error);

/* -- quantize_config.c */

/* config.json, generation_config.json, the tokenizer's files. */
viva_status quantize_write_files(quantize_job *j, const char *folder, viva_error *error);
/* Writes a small file; counts it. */
viva_status quantize_file(quantize_job *j, const char *folder, const char *name, const char *text, size_t bytes,
                          viva_error *error);
/* The member "quantization_config": {…}; nothing when no matrix is packed. */
void quantize_put_config(const quantize_job *j, json_text *text);
int quantize_any_packed(const quantize_job *j);
/* The type that transformers is to compute in, as a JSON string: the table's, which is never packed; BF16 with NVFP4, which
 * compressed-tensors unpacks to BF16 whatever the folder says (a product of two types fails there). */
const char *quantize_dtype(const quantize_job *j);

/* -- quantize_gguf.c */
viva_status quantize_write_gguf_files(quantize_job *j, const char *folder, viva_error *error);

/* -- quantize_rope.c */

/* p.config says what the file's tensor of divisors says. E_UNSUPPORTED: no key can. */
viva_status quantize_rope(quantize_job *j, viva_error *error);

/* -- quantize_chat.c */
viva_status quantize_write_chat(quantize_job *j, const char *folder, viva_error *error);

/* -- quantize_folder.c */

/* Both paths are looked at: E_ARGUMENT (the same, or one in the other), E_IO (to exists). */
viva_status folder_check(runtime *rt, const viva_checkpoint *ck, const char *from, const char *to, int overwrite,
                         viva_error *error);
/* commit.h's question: only a folder that holds a model, and nothing deeper, is replaced. */
viva_status folder_may_replace(runtime *rt, const char *path, const char *to, viva_error *error);
/* inputs: every file that is read, or lies beside those. */
viva_status folder_inputs(quantize_job *j, viva_error *error);
/* E_IO when the tensors do not fit where folder is. */
viva_status folder_room(const quantize_job *j, const char *folder, const char *to, viva_error *error);

#endif
