/* quantize/quantize_config.c: the files beside the shards: config.json, and what is copied as it is. */
#include <stdio.h>
#include <string.h>

#include "base/commit.h"
#include "base/json.h"
#include "quantize/quantize.h"

#define MAX_JSON_BYTES ((uint64_t)16 << 20)
#define MAX_FILE_BYTES ((uint64_t)512 << 20) /* the largest tokenizer.json has 33 MB */

int quantize_any_packed(const quantize_job *j) {
  int any = 0;
  for (size_t i = 0; i < j->output_count; i++) any |= j->outputs[i].packed;
  return any;
}

viva_status quantize_file(quantize_job *j, const char *folder, const char *name, const char *text, size_t bytes,
                          viva_error *error) {
  io_writer *out = NULL;
  const char *path = path_join(j->arena, folder, name);
  if (!path) return checkpoint_build_no_memory(folder, "a path", error);
  TRY(writer_open(j->engine->rt, path, NULL, &out, error));
  viva_status status = writer_write(out, text, bytes, error);
  if (!status)
    status = writer_commit(out, error);
  else
    writer_abort(out);
  j->files += !status;
  return status;
}

/* ---- quantization_config */

static int same_group(const quantize_output *a, const quantize_output *b) {
  return a->packed && b->packed && a->spec.format == b->spec.format && a->spec.block == b->spec.block;
}

static const char *layout_name(const pack_spec *spec) {
  return spec->format == WEIGHT_NVFP4 ? "nvfp4-pack-quantized" : "float-quantized";
}

static void put_group(const quantize_job *j, size_t first, size_t number, json_text *t) {
  const pack_spec *spec = &j->outputs[first].spec;
  int nvfp4 = spec->format == WEIGHT_NVFP4, listed = 0;
  json_text_put(t, number ? ",\n      \"group_" : "\n      \"group_");
  json_text_u64(t, number);
  json_text_put(t, "\": {\n        \"format\": ");
  json_text_quoted(t, layout_name(spec));
  json_text_put(t, ",\n        \"targets\": [");
  for (size_t i = first; i < j->output_count; i++) {
    if (!same_group(&j->outputs[first], &j->outputs[i])) continue;
    json_text_put(t, listed++ ? ",\n          " : "\n          ");
    json_text_quoted(t, j->outputs[i].name);
  }
  json_text_put(t, "\n        ],\n        \"weights\": {\"num_bits\": ");
  json_text_put(t, nvfp4 ? "4" : "8");
  json_text_put(t, ", \"type\": \"float\", \"symmetric\": true, \"strategy\": ");
  json_text_quoted(t, nvfp4 ? "tensor_group" : spec->block ? "group" : "channel");
  json_text_put(t, ", \"group_size\": ");
  if (spec->block)
    json_text_u64(t, spec->block);
  else
    json_text_put(t, "null");
  json_text_put(t,
                ", \"dynamic\": false},\n        \"input_activations\": null,\n        \"output_activations\": null\n"
                "      }");
}

static void put_shared(const quantize_job *j, json_text *t) {
  const char *format = NULL;
  size_t groups = 0;
  int mixed = 0, listed = 0;
  for (size_t i = 0; i < j->output_count; i++) {
    if (!j->outputs[i].packed) continue;
    const char *name = layout_name(&j->outputs[i].spec);
    mixed |= format && strcmp(format, name) != 0;
    format = name;
  }
  json_text_put(t, "{\n    \"quant_method\": \"compressed-tensors\",\n    \"format\": ");
  json_text_quoted(t, mixed ? "mixed-precision" : format);
  json_text_put(
      t, ",\n    \"quantization_status\": \"compressed\",\n    \"kv_cache_scheme\": null,\n    \"config_groups\": {");
  for (size_t i = 0; i < j->output_count; i++) {
    size_t earlier = 0;
    while (earlier < i && !same_group(&j->outputs[earlier], &j->outputs[i])) earlier++;
    if (j->outputs[i].packed && earlier == i) put_group(j, i, groups++, t);
  }
  json_text_put(t, "\n    },\n    \"ignore\": [");
  for (size_t i = 0; i < j->output_count; i++) {
    const plan_item *item = j->outputs[i].item;
    if (j->outputs[i].packed || item->vector || item->slot == &names_global[NAMES_EMBEDDING]) continue;
    json_text_put(t, listed++ ? ",\n      " : "\n      ");
    json_text_quoted(t, j->outputs[i].name);
  }
  /* A head that is the embedding table is a linear module all the same. */
  if (!j->p.head) json_text_put(t, listed ? ",\n      \"lm_head\"" : "\n      \"lm_head\"");
  json_text_put(t, "\n    ]\n  }");
}

static void put_own(const quantize_job *j, json_text *t) {
  int listed = 0;
  json_text_put(t, "{\n    \"quant_method\": \"viva\",\n    \"version\": 1,\n    \"modules\": {");
  for (size_t i = 0; i < j->output_count; i++) {
    char word[32];
    if (!j->outputs[i].packed) continue;
    quantize_word(&j->outputs[i].spec, 0, word, sizeof word);
    json_text_put(t, listed++ ? ",\n      " : "\n      ");
    json_text_quoted(t, j->outputs[i].name);
    json_text_put(t, ": {\"format\": ");
    json_text_quoted(t, word);
    json_text_put(t, "}");
  }
  json_text_put(t, "\n    }\n  }");
}

void quantize_put_config(const quantize_job *j, json_text *t) {
  if (!quantize_any_packed(j)) return;
  json_text_put(t, ",\n  \"quantization_config\": ");
  if (j->own)
    put_own(j, t);
  else
    put_shared(j, t);
}

/* ---- config.json of a Hugging Face folder */

const char *quantize_dtype(const quantize_job *j) {
  static const char *const names[] = {
      [WEIGHT_F32] = "\"float32\"", [WEIGHT_BF16] = "\"bfloat16\"", [WEIGHT_F16] = "\"float16\""};
  const char *name = names[WEIGHT_BF16];
  for (size_t i = 0; i < j->output_count; i++) {
    const quantize_output *out = &j->outputs[i];
    if (out->spec.format == WEIGHT_NVFP4) return names[WEIGHT_BF16];
    if (out->item->slot == &names_global[NAMES_EMBEDDING]) name = names[out->spec.format];
  }
  return name;
}

/* What describes the input's numbers, not the model. */
static int dropped(json_string key, int head) {
  return json_string_is(key, "quantization_config") || json_string_is(key, "compression_config") ||
         (head && json_string_is(key, "tie_word_embeddings"));
}

static viva_status rewrite(quantize_job *j, json *in, json_text *t, viva_error *error) {
  json_string key, raw;
  int members = 0, typed = 0;
  json_text_put(t, "{");
  TRY(json_enter_object(in, error));
  while (json_next_key(in, &key)) {
    TRY(json_take_raw(in, &raw, error));
    if (dropped(key, j->head)) continue;
    json_text_put(t, members++ ? ",\n  " : "\n  ");
    json_text_string(t, key.text, key.bytes);
    json_text_put(t, ": ");
    int type = json_string_is(key, "torch_dtype") || json_string_is(key, "dtype"); /* older and newer transformers */
    typed |= type;
    if (type)
      json_text_put(t, quantize_dtype(j));
    else
      json_text_bytes(t, raw.text, raw.bytes);
  }
  TRY(json_leave(in, error));
  TRY(json_finish(in, error));
  if (!typed) {
    json_text_put(t, members++ ? ",\n  \"torch_dtype\": " : "\n  \"torch_dtype\": ");
    json_text_put(t, quantize_dtype(j));
  }
  if (j->head) json_text_put(t, ",\n  \"tie_word_embeddings\": false");
  quantize_put_config(j, t);
  json_text_put(t, "\n}\n");
  return VIVA_OK;
}

static viva_status write_config(quantize_job *j, const char *folder, viva_error *error) {
  const char *path = path_join(j->arena, j->ck->folder, "config.json"), *text;
  size_t bytes;
  json in;
  if (!path) return checkpoint_build_no_memory(folder, "a path", error);
  TRY(file_read_all(j->engine->rt, j->arena, path, MAX_JSON_BYTES, &text, &bytes, error));
  json_begin(&in, j->engine->rt, j->arena, path, text, bytes);
  json_as_python(&in);
  json_text t = json_text_begin(&j->engine->rt->mem);
  viva_status status = rewrite(j, &in, &t, error);
  if (!status && t.no_memory) status = checkpoint_build_no_memory(folder, "config.json", error);
  if (!status) status = quantize_file(j, folder, "config.json", t.text.items, t.text.count, error);
  json_text_free(&t);
  return status;
}

/* ---- files that stay as they are */

static viva_status copy_file(quantize_job *j, const char *folder, const char *name, viva_error *error) {
  runtime *rt = j->engine->rt;
  const char *path = path_join(j->arena, j->ck->folder, name), *text;
  size_t bytes;
  int exists;
  if (!path) return checkpoint_build_no_memory(folder, "a path", error);
  TRY(path_exists(rt, path, &exists, error));
  if (!exists) return VIVA_OK;
  arena *a = arena_create(&rt->mem, 4096);
  if (!a) return checkpoint_build_no_memory(path, "a copy", error);
  viva_status status = file_read_all(rt, a, path, MAX_FILE_BYTES, &text, &bytes, error);
  if (!status) status = quantize_file(j, folder, name, text, bytes, error);
  arena_free(a);
  return status;
}

viva_status quantize_write_files(quantize_job *j, const char *folder, viva_error *error) {
  static const char *const names[] = {"generation_config.json",
                                      "tokenizer.json",
                                      "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json",
                                      "vocab.json",
                                      "merges.txt",
                                      "tokenizer.model",
                                      "chat_template.jinja",
                                      "tekken.json",
                                      "chat_template.json"};
  if (j->ck->container == CONTAINER_GGUF) return quantize_write_gguf_files(j, folder, error);
  TRY(write_config(j, folder, error));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) TRY(copy_file(j, folder, names[i], error));
  return VIVA_OK;
}
