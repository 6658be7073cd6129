/* format/quant/quant_config.c: which file says how the weights are quantised, and the dialects that need a few keys only.
 *
 *   config.json            "quantization_config" (older: "compression_config")
 *   hf_quant_config.json   ModelOpt's: {"producer": …, "quantization": {"quant_algo": "FP8", "exclude_modules": […]}}
 */
#include <string.h>

#include "format/quant/quant_inner.h"

#define MAX_CONFIG_BYTES ((uint64_t)16 << 20) /* as config.json elsewhere */

static const char dialects[] = "compressed-tensors, fp8, fbgemm_fp8, modelopt, viva";

viva_status quant_set_scheme(quant *q, const config_file *file, const char *dialect, json_string word) {
  size_t length = strlen(dialect);
  char *text = arena_alloc(q->arena, length + word.bytes + 2);
  if (text == NULL) return build_no_memory(file->path, "the quantisation's name", file->error);
  memcpy(text, dialect, length);
  if (word.bytes > 0) {
    text[length++] = ' ';
    memcpy(text + length, word.text, word.bytes);
  }
  text[length + word.bytes] = 0;
  q->scheme = text;
  return VIVA_OK;
}

quant_group *quant_add_group(quant *q, viva_error *error) {
  quant_group *g = grow_add(&q->ck->rt->mem, &q->groups);
  if (g == NULL) build_no_memory(q->ck->path, "the groups of modules", error);
  return g;
}

typedef struct names_visit {
  quant *q;
  const config_file *file;
  name_list *names;
  name_syntax syntax;
} names_visit;

static viva_status visit_name(void *arg, const config_value *element) {
  names_visit *v = arg;
  if (element->kind != VALUE_STRING) return config_wrong_kind(v->file, element, "names of modules as strings");
  viva_status status = names_add(&v->q->ck->rt->mem, v->q->arena, v->names, v->syntax, element->text, v->file->error);
  if (status != VIVA_OK) error_at(v->file->error, v->file->path, element->key, -1, element->offset);
  return status;
}

viva_status quant_names(quant *q, const config_file *file, const config_value *list, name_syntax syntax,
                        name_list *names) {
  names_visit v = {q, file, names, syntax};
  if (!config_given(list)) return VIVA_OK;
  if (list->kind != VALUE_LIST) return config_wrong_kind(file, list, "a list of names of modules");
  TRY(config_read_list(file, list, visit_name, &v));
  names_seal(names);
  return VIVA_OK;
}

/* A dialect with one scheme for every module. */
static viva_status one_group(quant *q, const config_file *file, quant_scheme_args args) {
  quant_group *g = quant_add_group(q, file->error);
  if (g == NULL) return VIVA_E_MEMORY;
  g->args = args;
  g->targets.linear = g->targets.embedding = 1;
  return VIVA_OK;
}

/* ---- "fp8", "fbgemm_fp8" */

typedef struct sizes_visit {
  const config_file *file;
  uint64_t sizes[2];
  size_t count;
} sizes_visit;

static viva_status visit_size(void *arg, const config_value *element) {
  sizes_visit *v = arg;
  uint64_t size = 0;
  TRY(config_integer(v->file, element, &size));
  if (size == 0) return config_fail(v->file, element, VIVA_E_FORMAT, "a block's size must be a number of 1 or more");
  if (v->count < 2) v->sizes[v->count] = size;
  v->count++;
  return VIVA_OK;
}

viva_status quant_block_sizes(const config_file *file, const config_value *list, uint64_t sizes[2]) {
  sizes_visit v = {.file = file};
  if (list->kind != VALUE_LIST) return config_wrong_kind(file, list, "a list of two sizes");
  TRY(config_read_list(file, list, visit_size, &v));
  if (v.count != 2)
    return config_fail(file, list, VIVA_E_FORMAT, "expected two sizes of a block, rows and columns, found %zu",
                       v.count);
  memcpy(sizes, v.sizes, sizeof v.sizes);
  return VIVA_OK;
}

static viva_status read_fp8(quant *q, const config_file *file, json_string object) {
  enum { FMT, ACTIVATIONS, BLOCK, SKIPPED, KEYS };
  static const char *const keys[KEYS] = {"fmt", "activation_scheme", "weight_block_size", "modules_to_not_convert"};
  config_value v[KEYS];
  quant_scheme_args args = {.layout = LAYOUT_FP8, .strategy = STRATEGY_TENSOR};
  json_string fmt = {"e4m3", 4};
  TRY(config_read_object(file, object, keys, KEYS, v, NULL));
  TRY(config_string(file, &v[FMT], &fmt));
  if (!json_string_is(fmt, "e4m3") && !json_string_is(fmt, "float8_e4m3fn"))
    return config_fail(file, &v[FMT], VIVA_E_UNSUPPORTED, "of the 8-bit floats, viva reads checkpoints in e4m3 only");
  if (config_given(&v[BLOCK])) {
    uint64_t sizes[2];
    TRY(quant_block_sizes(file, &v[BLOCK], sizes));
    args.strategy = STRATEGY_BLOCK;
    args.block_rows = sizes[0];
    args.block_cols = sizes[1];
  }
  TRY(quant_names(q, file, &v[SKIPPED], NAMES_PARTS, &q->ignore));
  TRY(quant_set_scheme(q, file, "fp8",
                       config_given(&v[BLOCK]) ? (json_string){"block", 5} : (json_string){"tensor", 6}));
  return one_group(q, file, args);
}

static viva_status read_fbgemm(quant *q, const config_file *file, json_string object) {
  static const char *const keys[] = {"modules_to_not_convert"};
  config_value skipped;
  TRY(config_read_object(file, object, keys, 1, &skipped, NULL));
  TRY(quant_names(q, file, &skipped, NAMES_PARTS, &q->ignore));
  TRY(quant_set_scheme(q, file, "fbgemm_fp8", (json_string){"", 0}));
  return one_group(q, file, (quant_scheme_args){.layout = LAYOUT_FP8, .strategy = STRATEGY_CHANNEL});
}

/* ---- ModelOpt */

static const quant_scheme_args *modelopt_args(json_string algo) {
  static const quant_scheme_args fp8 = {.layout = LAYOUT_FP8, .strategy = STRATEGY_TENSOR};
  static const quant_scheme_args nvfp4 = {
      .layout = LAYOUT_NVFP4, .strategy = STRATEGY_GROUP, .block_rows = 1, .block_cols = 16};
  return json_string_is(algo, "FP8") ? &fp8 : json_string_is(algo, "NVFP4") ? &nvfp4 : NULL;
}

/* object: "quantization_config" or "quantization". The same keys may come from both files; the algorithm must then be
 * the same. */
static viva_status read_modelopt(quant *q, const config_file *file, json_string object) {
  enum { ALGO, GROUP, EXCLUDE, IGNORE, INNER, KEYS };
  static const char *const keys[KEYS] = {"quant_algo", "group_size", "exclude_modules", "ignore", "quantization"};
  config_value v[KEYS];
  json_string algo = {0};
  uint64_t group = 16;
  TRY(config_read_object(file, object, keys, KEYS, v, NULL));
  if (!config_given(&v[ALGO]) && v[INNER].kind == VALUE_OBJECT)
    TRY(config_read_object(file, v[INNER].text, keys, KEYS, v, NULL));
  TRY(quant_names(q, file, &v[EXCLUDE], NAMES_WILDCARDS, &q->ignore));
  TRY(quant_names(q, file, &v[IGNORE], NAMES_WILDCARDS, &q->ignore));
  TRY(config_string(file, &v[ALGO], &algo));
  TRY(config_integer(file, &v[GROUP], &group));
  if (!config_given(&v[ALGO])) return VIVA_OK; /* the other file may have it */
  const quant_scheme_args *args = modelopt_args(algo);
  char quoted[80];
  error_quote(quoted, sizeof quoted, algo.text, algo.bytes);
  if (args == NULL)
    return config_fail(file, &v[ALGO], VIVA_E_UNSUPPORTED, "ModelOpt's %s is not one that viva reads (FP8, NVFP4)",
                       quoted);
  if (args->layout == LAYOUT_NVFP4 && group != args->block_cols)
    return config_fail(file, &v[GROUP], VIVA_E_UNSUPPORTED, "expected groups of 16 for NVFP4, found %llu",
                       (unsigned long long)group);
  if (q->groups.count == 0) {
    TRY(quant_set_scheme(q, file, "modelopt", algo));
    return one_group(q, file, *args);
  }
  const quant_group *other = (const quant_group *)(const void *)q->groups.items;
  if (other->args.layout != args->layout)
    return config_fail(file, &v[ALGO], VIVA_E_FORMAT, "config.json says %s, this file says %s", q->scheme, quoted);
  return VIVA_OK;
}

/* ---- the files */

typedef struct dialect {
  const char *word; /* quant_method */
  quant_method method;
  viva_status (*read)(quant *q, const config_file *file, json_string object);
} dialect;

static const dialect known[] = {{"compressed-tensors", METHOD_COMPRESSED_TENSORS, quant_read_compressed_tensors},
                                {"fp8", METHOD_FP8, read_fp8},
                                {"fbgemm_fp8", METHOD_FBGEMM, read_fbgemm},
                                {"modelopt", METHOD_MODELOPT, read_modelopt},
                                {"viva", METHOD_VIVA, quant_read_viva}};

/* Writers that gave no quant_method are known by their other keys. */
static viva_status find_dialect(const config_file *file, const config_value *method, int has_groups, int has_algo,
                                const dialect **found) {
  json_string word = {0};
  char quoted[80];
  TRY(config_string(file, method, &word));
  if (!config_given(method)) {
    if (!has_groups && !has_algo)
      return config_fail(file, method, VIVA_E_FORMAT, "quantization_config has no quant_method; expected one of: %s",
                         dialects);
    *found = &known[has_groups ? 0 : 3];
    return VIVA_OK;
  }
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (json_string_is(word, known[i].word)) return *found = &known[i], VIVA_OK;
  return config_fail(file, method, VIVA_E_UNSUPPORTED,
                     "the weights are quantised by \"%s\", which viva does not read; it reads %s, and GGUF files",
                     error_quote(quoted, sizeof quoted, word.text, word.bytes), dialects);
}

static viva_status read_config(quant *q, const config_file *file) {
  enum { CURRENT, OLDER, KEYS };
  static const char *const keys[KEYS] = {"quantization_config", "compression_config"};
  enum { METHOD, GROUPS, SPARSITY, ALGO, INNER, INNER_KEYS };
  static const char *const inner_keys[INNER_KEYS] = {"quant_method", "config_groups", "sparsity_config", "quant_algo",
                                                     "quantization"};
  config_value v[KEYS], inner[INNER_KEYS];
  const dialect *found = NULL;
  TRY(config_read_object(file, (json_string){file->text, file->bytes}, keys, KEYS, v, NULL));
  const config_value *given = config_given(&v[CURRENT]) ? &v[CURRENT] : &v[OLDER];
  if (!config_given(given)) return VIVA_OK;
  if (given->kind != VALUE_OBJECT) return config_wrong_kind(file, given, "an object");
  TRY(config_read_object(file, given->text, inner_keys, INNER_KEYS, inner, NULL));
  TRY(find_dialect(file, &inner[METHOD], config_given(&inner[GROUPS]) || config_given(&inner[SPARSITY]),
                   config_given(&inner[ALGO]) || config_given(&inner[INNER]), &found));
  q->method = found->method;
  q->config_path = file->path;
  return found->read(q, file, given->text);
}

static viva_status read_modelopt_file(quant *q, const config_file *file) {
  static const char *const keys[] = {"quantization"};
  config_value v;
  if (q->method != METHOD_NONE && q->method != METHOD_MODELOPT) return VIVA_OK; /* config.json comes first */
  TRY(config_read_object(file, (json_string){file->text, file->bytes}, keys, 1, &v, NULL));
  if (v.kind != VALUE_OBJECT) return config_wrong_kind(file, &v, "an object");
  q->method = METHOD_MODELOPT;
  q->config_path = file->path;
  return read_modelopt(q, file, v.text);
}

static viva_status read_file(quant *q, const char *name, viva_status (*parse)(quant *q, const config_file *file),
                             viva_error *error) {
  config_file file = {.rt = q->ck->rt, .arena = q->arena, .error = error};
  int exists;
  file.path = path_join(q->arena, q->ck->folder, name);
  if (file.path == NULL) return build_no_memory(q->ck->path, "a path", error);
  TRY(path_exists(file.rt, file.path, &exists, error));
  if (!exists) return VIVA_OK;
  TRY(file_read_all(file.rt, q->arena, file.path, MAX_CONFIG_BYTES, &file.text, &file.bytes, error));
  return parse(q, &file);
}

viva_status quant_config_read(quant *q, viva_error *error) {
  TRY(read_file(q, "config.json", read_config, error));
  TRY(read_file(q, "hf_quant_config.json", read_modelopt_file, error));
  if (q->method == METHOD_MODELOPT && q->groups.count == 0) {
    error_set(error, VIVA_E_FORMAT,
              "neither config.json nor hf_quant_config.json has a quant_algo; expected FP8 or NVFP4");
    error_at(error, q->config_path, "quant_algo", -1, VIVA_NO_OFFSET);
    return VIVA_E_FORMAT;
  }
  return VIVA_OK;
}
