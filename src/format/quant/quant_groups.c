/* format/quant/quant_groups.c: compressed-tensors' part of config.json.
 *
 *   "format": "float-quantized",
 *   "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel",
 *                     …}, "format": …}, "FP8_DYNAMIC": ["re:.*mlp.*"]},
 *   "ignore": ["lm_head"],
 *   "sparsity_config": {"format": "sparse-24-bitmask", …}                    legacy
 *
 * A group's key may be the name of a preset, its value then the list of targets (CT, quantization/quant_scheme.py).
 */
#include <string.h>

#include "format/quant/quant_inner.h"

enum { MAX_GROUPS = 256 };

/* What a format's name says about how a group's matrices lie in the file. */
typedef enum format_kind { FORMAT_ANY /* by the weights' arguments */, FORMAT_FP8, FORMAT_NVFP4 } format_kind;

typedef struct format_word {
  const char *word;
  format_kind kind;
  int sparse;
} format_word;

static const format_word formats[] = {
    {"float-quantized", FORMAT_FP8, 0},   {"naive-quantized", FORMAT_FP8, 0}, {"nvfp4-pack-quantized", FORMAT_NVFP4, 0},
    {"sparse-24-bitmask", FORMAT_ANY, 1}, {"mixed-precision", FORMAT_ANY, 0}, {"dense", FORMAT_ANY, 0},
    {"fakequant", FORMAT_ANY, 0}};

static const char readable[] = "float-quantized, naive-quantized, nvfp4-pack-quantized, sparse-24-bitmask";

static viva_status find_format(const config_file *file, const config_value *value, const format_word **found) {
  json_string word = {0};
  char quoted[80];
  *found = NULL;
  TRY(config_string(file, value, &word));
  if (!config_given(value)) return VIVA_OK;
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
    if (json_string_is(word, formats[i].word)) return *found = &formats[i], VIVA_OK;
  return config_fail(file, value, VIVA_E_UNSUPPORTED,
                     "compressed-tensors' \"%s\" is not a format that viva reads; it reads %s",
                     error_quote(quoted, sizeof quoted, word.text, word.bytes), readable);
}

/* ---- the arguments of a group's weights */

enum { BITS, TYPE, SYMMETRIC, STRATEGY, GROUP, BLOCK, ARGS };
static const char *const arg_keys[ARGS] = {"num_bits", "type",       "symmetric",
                                           "strategy", "group_size", "block_structure"};

static viva_status find_layout(const config_file *file, const config_value v[ARGS], format_kind kind,
                               quant_layout *layout) {
  uint64_t bits = 8;
  json_string type = {"int", 3};
  char quoted[40];
  TRY(config_integer(file, &v[BITS], &bits));
  TRY(config_string(file, &v[TYPE], &type));
  int is_float = json_string_is(type, "float");
  *layout = is_float && bits == 8 ? LAYOUT_FP8 : is_float && bits == 4 ? LAYOUT_NVFP4 : LAYOUT_DENSE;
  if (*layout == LAYOUT_DENSE)
    return config_fail(file, &v[TYPE], VIVA_E_UNSUPPORTED,
                       "weights of type \"%s\" in %llu bits are not read; viva reads float in 8 or 4 bits (FP8, NVFP4)",
                       error_quote(quoted, sizeof quoted, type.text, type.bytes), (unsigned long long)bits);
  int agrees = kind == FORMAT_ANY || (kind == FORMAT_FP8) == (*layout == LAYOUT_FP8);
  if (!agrees)
    return config_fail(file, &v[BITS], VIVA_E_FORMAT, "%llu bits do not go with the format %s",
                       (unsigned long long)bits, kind == FORMAT_FP8 ? "float-quantized" : "nvfp4-pack-quantized");
  return VIVA_OK;
}

/* "group_size" of 1 or more; −1 in old files means per channel, and counts as not given. */
static viva_status find_group_size(const config_file *file, const config_value *value, uint64_t *size) {
  *size = 0;
  int channel = value->kind == VALUE_NUMBER && value->number.kind == JSON_INT && value->number.i == -1;
  return channel ? VIVA_OK : config_integer(file, value, size);
}

static viva_status find_strategy(const config_file *file, const config_value v[ARGS], quant_scheme_args *args) {
  json_string word = {0};
  uint64_t group, sizes[2];
  char quoted[40];
  TRY(config_string(file, &v[STRATEGY], &word));
  TRY(find_group_size(file, &v[GROUP], &group));
  if (!config_given(&v[STRATEGY])) /* CT: QuantizationArgs.validate_model_after */
    word = group > 0                 ? (json_string){"group", 5}
           : config_given(&v[GROUP]) ? (json_string){"channel", 7}
                                     : (json_string){"tensor", 6};
  error_quote(quoted, sizeof quoted, word.text, word.bytes);
  int grouped = json_string_is(word, "group") || (args->layout == LAYOUT_NVFP4 && json_string_is(word, "tensor_group"));
  if (args->layout == LAYOUT_NVFP4 && !config_given(&v[GROUP])) group = 16; /* NVFP4 has no other */
  if (args->layout == LAYOUT_NVFP4 && (!grouped || group != 16))
    return config_fail(file, &v[STRATEGY], VIVA_E_UNSUPPORTED,
                       "4-bit floats with strategy \"%s\" and group_size %llu are not read; viva reads NVFP4, which is "
                       "tensor_group and 16",
                       quoted, (unsigned long long)group);
  if (grouped) {
    if (group == 0)
      return config_fail(file, &v[GROUP], VIVA_E_FORMAT, "strategy \"group\" needs a group_size of 1 or more");
    *args = (quant_scheme_args){args->layout, STRATEGY_GROUP, 1, group, 0};
    return VIVA_OK;
  }
  if (json_string_is(word, "tensor") || json_string_is(word, "channel")) {
    args->strategy = json_string_is(word, "tensor") ? STRATEGY_TENSOR : STRATEGY_CHANNEL;
    return VIVA_OK;
  }
  if (!json_string_is(word, "block"))
    return config_fail(file, &v[STRATEGY], VIVA_E_UNSUPPORTED,
                       "the strategy \"%s\" is not read for weights; viva reads tensor, channel, group and block",
                       quoted);
  TRY(quant_block_sizes(file, &v[BLOCK], sizes));
  *args = (quant_scheme_args){args->layout, STRATEGY_BLOCK, sizes[0], sizes[1], 0};
  return VIVA_OK;
}

static viva_status read_args(const config_file *file, const config_value *weights, format_kind kind,
                             quant_scheme_args *args) {
  config_value v[ARGS];
  int32_t symmetric = 1;
  *args = (quant_scheme_args){.layout = LAYOUT_DENSE};
  if (!config_given(weights)) return VIVA_OK; /* activations only: the weights are as they are */
  if (weights->kind != VALUE_OBJECT) return config_wrong_kind(file, weights, "an object");
  TRY(config_read_object(file, weights->text, arg_keys, ARGS, v, NULL));
  TRY(config_boolean(file, &v[SYMMETRIC], &symmetric));
  if (!symmetric) return config_fail(file, &v[SYMMETRIC], VIVA_E_UNSUPPORTED, "weights with zero points are not read");
  TRY(find_layout(file, v, kind, &args->layout));
  return find_strategy(file, v, args);
}

/* ---- groups */

typedef struct preset {
  const char *word;
  quant_scheme_args args;
} preset;

static const preset presets[] = {{"FP8", {LAYOUT_FP8, STRATEGY_TENSOR, 0, 0, 0}},
                                 {"FP8_DYNAMIC", {LAYOUT_FP8, STRATEGY_CHANNEL, 0, 0, 0}},
                                 {"FP8_BLOCK", {LAYOUT_FP8, STRATEGY_BLOCK, 128, 128, 0}},
                                 {"NVFP4", {LAYOUT_NVFP4, STRATEGY_GROUP, 1, 16, 0}},
                                 {"NVFP4A16", {LAYOUT_NVFP4, STRATEGY_GROUP, 1, 16, 0}},
                                 {"UNQUANTIZED", {LAYOUT_DENSE, STRATEGY_TENSOR, 0, 0, 0}}};

static viva_status read_preset(quant *q, const config_file *file, json_string key, const config_value *targets) {
  char quoted[80];
  for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
    if (!json_string_is(key, presets[i].word)) continue;
    quant_group *g = quant_add_group(q, file->error);
    if (!g) return VIVA_E_MEMORY;
    g->args = presets[i].args;
    return quant_names(q, file, targets, NAMES_COMPRESSED_TENSORS, &g->targets);
  }
  return config_fail(
      file, targets, VIVA_E_UNSUPPORTED,
      "the preset \"%s\" is not one that viva reads; it reads FP8, FP8_DYNAMIC, FP8_BLOCK, NVFP4, NVFP4A16",
      error_quote(quoted, sizeof quoted, key.text, key.bytes));
}

/* A name of a class, which viva has no modules of: it would take the group's matrices away without a word. */
static viva_status check_classes(const config_file *file, const config_value *targets, const quant_group *g) {
  char quoted[80];
  const char *const *names = (const char *const *)(const void *)g->targets.exact.items;
  for (size_t i = 0; i < g->targets.exact.count; i++)
    if (names[i][0] >= 'A' && names[i][0] <= 'Z' && !strchr(names[i], '.'))
      return config_fail(file, targets, VIVA_E_UNSUPPORTED,
                         "the target \"%s\" is a class that viva does not know; it knows Linear and Embedding, names, "
                         "and \"re:\" patterns",
                         error_quote(quoted, sizeof quoted, names[i], strlen(names[i])));
  return VIVA_OK;
}

enum { TARGETS, WEIGHTS, FORMAT, GROUP_KEYS };

static viva_status read_scheme(const config_file *file, const config_value v[GROUP_KEYS], format_kind common,
                               quant_scheme_args *args) {
  const format_word *own;
  TRY(find_format(file, &v[FORMAT], &own));
  return read_args(file, &v[WEIGHTS], own ? own->kind : common, args);
}

/* A scheme that viva does not read is kept with its reason: there may be no module of it, as of a vision tower. */
static viva_status try_scheme(quant *q, const config_file *file, const config_value v[GROUP_KEYS], format_kind common,
                              quant_group *g) {
  viva_error reason = {0};
  config_file local = *file;
  local.error = &reason;
  viva_status status = read_scheme(&local, v, common, &g->args);
  if (status == VIVA_OK) return VIVA_OK;
  viva_error *kept = status == VIVA_E_UNSUPPORTED ? arena_alloc(q->arena, sizeof *kept) : NULL;
  if (!kept) {
    if (file->error) *file->error = reason;
    return status;
  }
  *kept = reason;
  g->unread = kept;
  g->args.layout = LAYOUT_DENSE;
  return VIVA_OK;
}

static viva_status read_group(quant *q, const config_file *file, const config_value *value, format_kind common) {
  static const char *const keys[GROUP_KEYS] = {"targets", "weights", "format"};
  config_value v[GROUP_KEYS];
  TRY(config_read_object(file, value->text, keys, GROUP_KEYS, v, NULL));
  quant_group *g = quant_add_group(q, file->error);
  if (!g) return VIVA_E_MEMORY;
  TRY(try_scheme(q, file, v, common, g));
  if (!config_given(&v[TARGETS]))
    return config_fail(file, &v[TARGETS], VIVA_E_FORMAT, "a group of config_groups has no list of targets");
  TRY(quant_names(q, file, &v[TARGETS], NAMES_COMPRESSED_TENSORS, &g->targets));
  return g->args.layout == LAYOUT_DENSE ? VIVA_OK : check_classes(file, &v[TARGETS], g);
}

/* Without a group that is read the whole section is not. */
static viva_status check_groups(const quant *q, const config_file *file) {
  const quant_group *groups = (const quant_group *)(const void *)q->groups.items;
  const viva_error *first = NULL;
  for (size_t i = 0; i < q->groups.count; i++) {
    if (groups[i].args.layout != LAYOUT_DENSE) return VIVA_OK;
    if (!first) first = groups[i].unread;
  }
  if (!first) return VIVA_OK;
  if (file->error) *file->error = *first;
  return first->code;
}

/* The keys are the writer's own: each is read as an object of this one key. */
static viva_status read_groups(quant *q, const config_file *file, const config_value *groups, format_kind common) {
  json j;
  json_string key, raw;
  if (groups->kind != VALUE_OBJECT) return config_wrong_kind(file, groups, "an object");
  json_begin(&j, file->rt, file->arena, file->path, groups->text.text, groups->text.bytes);
  TRY(json_enter_object(&j, file->error));
  while (json_next_key(&j, &key)) {
    json_type type = json_peek(&j);
    config_value value = {.key = "config_groups", .offset = (uint64_t)(j.text + j.at - file->text)};
    TRY(json_take_raw(&j, &raw, file->error));
    value.text = raw;
    value.kind = type == JSON_OBJECT ? VALUE_OBJECT : type == JSON_ARRAY ? VALUE_LIST : VALUE_BOOL;
    if (q->groups.count == MAX_GROUPS)
      return config_fail(file, groups, VIVA_E_UNSUPPORTED, "there are more than %d groups", MAX_GROUPS);
    if (value.kind == VALUE_BOOL)
      return config_fail(file, &value, VIVA_E_FORMAT, "expected a group as an object, or a list of targets");
    TRY(value.kind == VALUE_OBJECT ? read_group(q, file, &value, common) : read_preset(q, file, key, &value));
  }
  TRY(json_leave(&j, file->error));
  TRY(json_finish(&j, file->error));
  return check_groups(q, file);
}

static viva_status read_sparsity(quant *q, const config_file *file, const config_value *sparsity) {
  static const char *const keys[] = {"format"};
  config_value v;
  const format_word *format;
  if (!config_given(sparsity)) return VIVA_OK;
  if (sparsity->kind != VALUE_OBJECT) return config_wrong_kind(file, sparsity, "an object");
  TRY(config_read_object(file, sparsity->text, keys, 1, &v, NULL));
  TRY(find_format(file, &v, &format));
  if (format) q->sparse |= format->sparse;
  return VIVA_OK;
}

viva_status quant_read_compressed_tensors(quant *q, const config_file *file, json_string object) {
  enum { COMMON, GROUPS, IGNORE, SPARSITY, KEYS };
  static const char *const keys[KEYS] = {"format", "config_groups", "ignore", "sparsity_config"};
  config_value v[KEYS];
  const format_word *format;
  TRY(config_read_object(file, object, keys, KEYS, v, NULL));
  TRY(find_format(file, &v[COMMON], &format));
  if (format) q->sparse |= format->sparse;
  TRY(read_sparsity(q, file, &v[SPARSITY]));
  TRY(quant_ignored_names(q, file, &v[IGNORE], NAMES_COMPRESSED_TENSORS, &q->ignore));
  if (config_given(&v[GROUPS])) TRY(read_groups(q, file, &v[GROUPS], format ? format->kind : FORMAT_ANY));
  const char *word = format ? format->word : q->sparse ? "sparse-24-bitmask" : "";
  TRY(quant_set_scheme(q, file, "compressed-tensors", (json_string){word, strlen(word)}));
  return VIVA_OK;
}
