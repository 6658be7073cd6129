/* format/quant/quant_modelopt.c: ModelOpt's keys, in config.json's "quantization_config" or in hf_quant_config.json.
 *
 *   {"producer": …, "quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head", "*router*"]}}
 *   "quant_algo": null               the weights are not quantised (a KV cache may be)
 *   "quant_algo": "MIXED_PRECISION", "quantized_layers": {"model.layers.0.mlp.up_proj": {"quant_algo": "FP8"}, …}
 */
#include <string.h>

#include "format/quant/quant_inner.h"

typedef struct algo {
  const char *word;
  quant_scheme_args args;
} algo;

#define NVFP4_GROUP 16

static const algo algos[] = {{"FP8", {LAYOUT_FP8, STRATEGY_TENSOR, 0, 0, 0}},
                             {"FP8_PER_CHANNEL_PER_TOKEN", {LAYOUT_FP8, STRATEGY_CHANNEL, 0, 0, 0}},
                             {"NVFP4", {LAYOUT_NVFP4, STRATEGY_GROUP, 1, NVFP4_GROUP, 0}},
                             {"W4A16_NVFP4", {LAYOUT_NVFP4, STRATEGY_GROUP, 1, NVFP4_GROUP, 0}}};
#define ALGOS (sizeof algos / sizeof *algos)

static const algo *find_algo(json_string word) {
  for (size_t i = 0; i < ALGOS; i++)
    if (json_string_is(word, algos[i].word)) return &algos[i];
  return NULL;
}

static viva_status unknown_algo(const config_file *file, const config_value *value, json_string word) {
  char quoted[80];
  return config_fail(
      file, value, VIVA_E_UNSUPPORTED,
      "ModelOpt's %s is not one that viva reads (FP8, FP8_PER_CHANNEL_PER_TOKEN, NVFP4, W4A16_NVFP4, and "
      "MIXED_PRECISION of these)",
      error_quote(quoted, sizeof quoted, word.text, word.bytes));
}

static viva_status check_group_size(const config_file *file, const config_value *value, const algo *a) {
  uint64_t group = NVFP4_GROUP;
  TRY(config_integer(file, value, &group));
  if (a->args.layout != LAYOUT_NVFP4 || group == NVFP4_GROUP) return VIVA_OK;
  return config_fail(file, value, VIVA_E_UNSUPPORTED, "expected groups of 16 for NVFP4, found %llu",
                     (unsigned long long)group);
}

/* ---- MIXED_PRECISION: each module with its own algorithm; a group for each algorithm */

static viva_status group_of(quant *q, const config_file *file, const algo *a, size_t index[ALGOS],
                            quant_group **group) {
  size_t i = (size_t)(a - algos);
  if (index[i] == SIZE_MAX) {
    index[i] = q->groups.count;
    quant_group *made = quant_add_group(q, file->error);
    if (!made) return VIVA_E_MEMORY;
    made->args = a->args;
  }
  *group = (quant_group *)(void *)q->groups.items + index[i];
  return VIVA_OK;
}

static viva_status read_layer(quant *q, const config_file *file, json_string module, json_string object,
                              size_t index[ALGOS]) {
  enum { ALGO, GROUP, KEYS };
  static const char *const keys[KEYS] = {"quant_algo", "group_size"};
  config_value v[KEYS];
  json_string word = {0};
  quant_group *group;
  TRY(config_read_object(file, object, keys, KEYS, v, NULL));
  TRY(config_string(file, &v[ALGO], &word));
  if (!config_given(&v[ALGO])) return VIVA_OK; /* dense */
  const algo *a = find_algo(word);
  if (!a) return unknown_algo(file, &v[ALGO], word);
  TRY(check_group_size(file, &v[GROUP], a));
  TRY(group_of(q, file, a, index, &group));
  return names_add(q, &group->targets, NAMES_WILDCARDS, module, file->error);
}

static viva_status add_layer(quant *q, const config_file *file, json_string module, json_string object,
                             size_t index[ALGOS]) {
  config_file scratch;
  TRY(quant_scratch(file, &scratch));
  viva_status status = read_layer(q, &scratch, module, object, index);
  arena_free(scratch.arena);
  return status;
}

static viva_status read_layers(quant *q, const config_file *file, const config_value *layers) {
  size_t index[ALGOS];
  json j;
  json_string key, raw;
  for (size_t i = 0; i < ALGOS; i++) index[i] = SIZE_MAX;
  if (layers->kind == VALUE_ABSENT) return VIVA_OK; /* the other file may have them */
  if (layers->kind != VALUE_OBJECT) return config_wrong_kind(file, layers, "an object");
  json_begin(&j, file->rt, file->arena, file->path, layers->text.text, layers->text.bytes);
  json_as_python(&j);
  TRY(json_enter_object(&j, file->error));
  while (json_next_key(&j, &key)) {
    TRY(json_take_raw(&j, &raw, file->error));
    TRY(add_layer(q, file, key, raw, index));
  }
  TRY(json_leave(&j, file->error));
  TRY(json_finish(&j, file->error));
  for (size_t i = 0; i < ALGOS; i++)
    if (index[i] != SIZE_MAX) names_seal(&((quant_group *)(void *)q->groups.items + index[i])->targets);
  return VIVA_OK;
}

/* ---- one object. The same keys may come from both files; the algorithm must then be the same. */

static viva_status add_algo(quant *q, const config_file *file, const config_value *value, const algo *a) {
  if (q->groups.count == 0) {
    TRY(quant_set_scheme(q, file, "modelopt", value->text));
    return quant_one_group(q, file, a->args);
  }
  const quant_group *other = (const quant_group *)(const void *)q->groups.items;
  if (other->args.layout == a->args.layout && other->args.strategy == a->args.strategy) return VIVA_OK;
  return config_fail(file, value, VIVA_E_FORMAT, "config.json says %s, this file says %s", q->scheme, a->word);
}

viva_status quant_read_modelopt(quant *q, const config_file *file, json_string object) {
  enum { ALGO, GROUP, EXCLUDE, IGNORE, INNER, LAYERS, KEYS };
  static const char *const keys[KEYS] = {"quant_algo", "group_size",   "exclude_modules",
                                         "ignore",     "quantization", "quantized_layers"};
  config_value v[KEYS];
  json_string word = {0};
  TRY(config_read_object(file, object, keys, KEYS, v, NULL));
  if (!config_given(&v[ALGO]) && v[INNER].kind == VALUE_OBJECT)
    TRY(config_read_object(file, v[INNER].text, keys, KEYS, v, NULL));
  TRY(quant_ignored_names(q, file, &v[EXCLUDE], NAMES_WILDCARDS, &q->ignore));
  TRY(quant_ignored_names(q, file, &v[IGNORE], NAMES_WILDCARDS, &q->ignore));
  q->algo_null |= v[ALGO].kind == VALUE_NULL;
  TRY(config_string(file, &v[ALGO], &word));
  if (!config_given(&v[ALGO])) return VIVA_OK; /* none, or the other file has it */
  if (json_string_is(word, "MIXED_PRECISION")) {
    if (q->groups.count > 0) return VIVA_OK;
    TRY(quant_set_scheme(q, file, "modelopt", word));
    return read_layers(q, file, &v[LAYERS]);
  }
  const algo *a = find_algo(word);
  if (!a) return unknown_algo(file, &v[ALGO], word);
  TRY(check_group_size(file, &v[GROUP], a));
  return add_algo(q, file, &v[ALGO], a);
}
