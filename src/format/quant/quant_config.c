/* format/quant/quant_config.c: which file says how the weights are quantised, and the dialects that need a few keys only.
 *
 *   config.json            "quantization_config" (older: "compression_config")
 *   hf_quant_config.json   ModelOpt's: {"producer": …, "quantization": {"quant_algo": "FP8", "exclude_modules": […]}}
 */
#include <string.h>

#include "format/quant/quant_inner.h"

#define MAX_CONFIG_BYTES ((uint64_t)16 << 20) /* as config.json elsewhere */

const char quant_dialects[] = "compressed-tensors, fp8, fbgemm_fp8, modelopt, viva";

viva_status quant_scratch(const config_file *file, config_file *scratch) {
  *scratch = *file;
  scratch->arena = arena_create(&file->rt->mem, 0);
  return scratch->arena ? VIVA_OK : checkpoint_build_no_memory(file->path, "a part of the JSON text", file->error);
}

viva_status quant_set_scheme(quant *q, const config_file *file, const char *dialect, json_string word) {
  size_t length = strlen(dialect);
  char *text = arena_alloc(q->arena, length + word.bytes + 2);
  if (!text) return checkpoint_build_no_memory(file->path, "the quantisation's name", file->error);
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
  if (!g) checkpoint_build_no_memory(q->ck->path, "the groups of modules", error);
  return g;
}

typedef struct names_visit {
  quant *q;
  const config_file *file;
  name_list *names;
  name_syntax syntax;
  int may_fail; /* what is not understood is told and left out */
} names_visit;

static viva_status visit_name(void *arg, const config_value *element) {
  names_visit *v = arg;
  if (element->kind != VALUE_STRING) return config_wrong_kind(v->file, element, "names of modules as strings");
  viva_error reason = {0};
  viva_status status = names_add(v->q, v->names, v->syntax, element->text, v->may_fail ? &reason : v->file->error);
  if (status == VIVA_E_UNSUPPORTED && v->may_fail) {
    runtime_log(v->file->rt, VIVA_LOG_WARN, "%s: %s: %s. It is left out: the tensors say what is dense", v->file->path,
                element->key, reason.message);
    return VIVA_OK;
  }
  if (status != VIVA_OK && v->may_fail && v->file->error) *v->file->error = reason;
  if (status != VIVA_OK) error_at(v->file->error, v->file->path, element->key, -1, element->offset);
  return status;
}

static viva_status read_names(names_visit *v, const config_value *list) {
  if (!config_given(list)) return VIVA_OK;
  if (list->kind != VALUE_LIST) return config_wrong_kind(v->file, list, "a list of names of modules");
  TRY(config_read_list(v->file, list, visit_name, v));
  names_seal(v->names);
  return VIVA_OK;
}

viva_status quant_names(quant *q, const config_file *file, const config_value *list, name_syntax syntax,
                        name_list *names) {
  names_visit v = {q, file, names, syntax, 0};
  return read_names(&v, list);
}

viva_status quant_ignored_names(quant *q, const config_file *file, const config_value *list, name_syntax syntax,
                                name_list *names) {
  names_visit v = {q, file, names, syntax, 1};
  return read_names(&v, list);
}

viva_status quant_one_group(quant *q, const config_file *file, quant_scheme_args args) {
  quant_group *g = quant_add_group(q, file->error);
  if (!g) return VIVA_E_MEMORY;
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

static size_t skip_blanks(json_string text, size_t at) {
  while (at < text.bytes && text.text[at] == ' ') at++;
  return at;
}

/* "128x128", "32 x 32": digits, an x, digits. 1 when it is that. */
static int read_product(json_string text, uint64_t sizes[2]) {
  size_t at = 0;
  for (int i = 0; i < 2; i++) {
    sizes[i] = 0;
    size_t first = at = skip_blanks(text, at);
    for (; at < text.bytes && text.text[at] >= '0' && text.text[at] <= '9' && at - first < 9; at++)
      sizes[i] = sizes[i] * 10 + (uint64_t)(text.text[at] - '0');
    if (sizes[i] == 0) return 0;
    at = skip_blanks(text, at);
    if (i == 0 && (at == text.bytes || (text.text[at] != 'x' && text.text[at] != 'X'))) return 0;
    at += i == 0;
  }
  return at == text.bytes;
}

viva_status quant_block_sizes(const config_file *file, const config_value *list, uint64_t sizes[2]) {
  sizes_visit v = {.file = file};
  if (list->kind == VALUE_STRING && read_product(list->text, sizes)) return VIVA_OK;
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
  if (!json_string_is(fmt, "e4m3") && !json_string_is(fmt, "e4m3fn") && !json_string_is(fmt, "float8_e4m3") &&
      !json_string_is(fmt, "float8_e4m3fn"))
    return config_fail(file, &v[FMT], VIVA_E_UNSUPPORTED, "of the 8-bit floats, viva reads checkpoints in e4m3 only");
  if (config_given(&v[BLOCK])) {
    uint64_t sizes[2];
    TRY(quant_block_sizes(file, &v[BLOCK], sizes));
    args.strategy = STRATEGY_BLOCK;
    args.block_rows = sizes[0];
    args.block_cols = sizes[1];
  }
  TRY(quant_ignored_names(q, file, &v[SKIPPED], NAMES_PARTS, &q->ignore));
  TRY(quant_set_scheme(q, file, "fp8",
                       config_given(&v[BLOCK]) ? (json_string){"block", 5} : (json_string){"tensor", 6}));
  return quant_one_group(q, file, args);
}

static viva_status read_fbgemm(quant *q, const config_file *file, json_string object) {
  static const char *const keys[] = {"modules_to_not_convert"};
  config_value skipped;
  TRY(config_read_object(file, object, keys, 1, &skipped, NULL));
  TRY(quant_ignored_names(q, file, &skipped, NAMES_PARTS, &q->ignore));
  TRY(quant_set_scheme(q, file, "fbgemm_fp8", (json_string){"", 0}));
  return quant_one_group(q, file, (quant_scheme_args){.layout = LAYOUT_FP8, .strategy = STRATEGY_CHANNEL});
}

/* ---- the files */

typedef struct dialect {
  const char *word; /* quant_method */
  quant_method method;
  viva_status (*read)(quant *q, const config_file *file, json_string object);
} dialect;

enum { COMPRESSED_TENSORS, FP8, MODELOPT = 3 };
static const dialect known[] = {{"compressed-tensors", METHOD_COMPRESSED_TENSORS, quant_read_compressed_tensors},
                                {"fp8", METHOD_FP8, read_fp8},
                                {"fbgemm_fp8", METHOD_FBGEMM, read_fbgemm},
                                {"modelopt", METHOD_MODELOPT, quant_read_modelopt},
                                {"viva", METHOD_VIVA, quant_read_viva},
                                /* what serving programs call them */
                                {"compressed_tensors", METHOD_COMPRESSED_TENSORS, quant_read_compressed_tensors},
                                {"FP8", METHOD_FP8, read_fp8},
                                {"modelopt_fp8", METHOD_MODELOPT, quant_read_modelopt},
                                {"modelopt_fp4", METHOD_MODELOPT, quant_read_modelopt},
                                {"modelopt_mixed", METHOD_MODELOPT, quant_read_modelopt},
                                {"NVFP4", METHOD_MODELOPT, quant_read_modelopt}};

/* Writers that gave no quant_method are known by their other keys. */
static viva_status find_dialect(const config_file *file, const config_value *method, int has_groups, int has_algo,
                                int has_fp8, const dialect **found) {
  json_string word = {0};
  char quoted[80];
  TRY(config_string(file, method, &word));
  if (!config_given(method)) {
    if (!has_groups && !has_algo && !has_fp8)
      return config_fail(file, method, VIVA_E_FORMAT, "quantization_config has no quant_method; expected one of: %s",
                         quant_dialects);
    *found = &known[has_groups ? COMPRESSED_TENSORS : has_algo ? MODELOPT : FP8];
    return VIVA_OK;
  }
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (json_string_is(word, known[i].word)) return *found = &known[i], VIVA_OK;
  return config_fail(file, method, VIVA_E_UNSUPPORTED,
                     "the weights are quantised by \"%s\", which viva does not read; it reads %s, and GGUF files",
                     error_quote(quoted, sizeof quoted, word.text, word.bytes), quant_dialects);
}

static viva_status read_config(quant *q, const config_file *file) {
  enum { CURRENT, OLDER, KEYS };
  static const char *const keys[KEYS] = {"quantization_config", "compression_config"};
  enum { METHOD, GROUPS, SPARSITY, ALGO, INNER, ACTIVATIONS, BLOCK, INNER_KEYS };
  static const char *const inner_keys[INNER_KEYS] = {"quant_method",     "config_groups", "sparsity_config",
                                                     "quant_algo",       "quantization",  "activation_scheme",
                                                     "weight_block_size"};
  config_value v[KEYS], inner[INNER_KEYS];
  const dialect *found = NULL;
  TRY(config_read_object(file, (json_string){file->text, file->bytes}, keys, KEYS, v, NULL));
  const config_value *given = config_given(&v[CURRENT]) ? &v[CURRENT] : &v[OLDER];
  if (!config_given(given)) return VIVA_OK;
  if (given->kind != VALUE_OBJECT) return config_wrong_kind(file, given, "an object");
  TRY(config_read_object(file, given->text, inner_keys, INNER_KEYS, inner, NULL));
  TRY(find_dialect(file, &inner[METHOD], config_given(&inner[GROUPS]) || config_given(&inner[SPARSITY]),
                   config_given(&inner[ALGO]) || config_given(&inner[INNER]),
                   config_given(&inner[ACTIVATIONS]) || config_given(&inner[BLOCK]), &found));
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
  return quant_read_modelopt(q, file, v.text);
}

static viva_status read_file(quant *q, const char *name, viva_status (*parse)(quant *q, const config_file *file),
                             viva_error *error) {
  config_file file = {.rt = q->ck->rt, .arena = q->arena, .error = error};
  uint64_t charged;
  int exists;
  file.path = path_join(q->arena, q->ck->folder, name);
  if (!file.path) return checkpoint_build_no_memory(q->ck->path, "a path", error);
  TRY(path_exists(file.rt, file.path, &exists, error));
  if (!exists) return VIVA_OK;
  TRY(file_read_all(file.rt, q->arena, file.path, MAX_CONFIG_BYTES, &file.text, &file.bytes, error));
  TRY(checkpoint_build_charge_json(&q->allowance, file.bytes, file.path, &charged, error));
  return parse(q, &file);
}

/* A scheme that viva does not read, or that makes no sense, refuses a checkpoint only when its tensors are quantised:
 * configurations outlive the quantisation in merged and converted models. quant_find_modules decides. */
static viva_status keep_unread(quant *q, viva_status status, const viva_error *local, viva_error *error) {
  if (status == VIVA_E_UNSUPPORTED || status == VIVA_E_FORMAT) {
    q->unread = *local;
    q->method = METHOD_NONE;
    q->scheme = "";
    return VIVA_OK;
  }
  if (status != VIVA_OK && error) *error = *local;
  return status;
}

viva_status quant_config_read(quant *q, viva_error *error) {
  viva_error local = {0};
  viva_status status = read_file(q, "config.json", read_config, &local);
  if (status == VIVA_OK) status = read_file(q, "hf_quant_config.json", read_modelopt_file, &local);
  if (status == VIVA_OK && q->method == METHOD_MODELOPT && q->groups.count == 0 && !q->algo_null) {
    int mixed = q->scheme[0] != 0; /* set with the algorithm */
    status = error_set(&local, VIVA_E_FORMAT,
                       mixed ? "the algorithm is MIXED_PRECISION, but no layer's is told"
                             : "neither config.json nor hf_quant_config.json has a quant_algo; expected FP8 or NVFP4");
    error_at(&local, q->config_path, mixed ? "quantized_layers" : "quant_algo", -1, VIVA_NO_OFFSET);
  }
  return keep_unread(q, status, &local, error);
}
