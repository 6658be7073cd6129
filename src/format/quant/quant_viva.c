/* format/quant/quant_viva.c: viva's own part of config.json (docs/formats.md, "Dialect viva").
 *
 *   "version": 1, "modules": {"model.layers.0.mlp.down_proj": {"format": "fp8-b128"}, …}
 */
#include <string.h>

#include "format/quant/quant_inner.h"

typedef struct viva_word {
  const char *word;
  quant_scheme_args args;
} viva_word;

static const viva_word words[] = {
    {"fp8", {LAYOUT_FP8, STRATEGY_CHANNEL, 0, 0, 0}},
    {"fp8-b16", {LAYOUT_FP8, STRATEGY_GROUP, 1, 16, 0}},
    {"fp8-b32", {LAYOUT_FP8, STRATEGY_GROUP, 1, 32, 0}},
    {"fp8-b64", {LAYOUT_FP8, STRATEGY_GROUP, 1, 64, 0}},
    {"fp8-b128", {LAYOUT_FP8, STRATEGY_GROUP, 1, 128, 0}},
    {"nvfp4", {LAYOUT_NVFP4, STRATEGY_GROUP, 1, 16, 0}},
    {"int8-24", {LAYOUT_INT8_24, STRATEGY_CHANNEL, 0, 0, 0}},
    {"int4-24-channel", {LAYOUT_INT4_24, STRATEGY_CHANNEL, 0, 0, 0}},
    {"int4-24-g32", {LAYOUT_INT4_24, STRATEGY_GROUP, 1, 32, 0}},
    {"int4-24-g64", {LAYOUT_INT4_24, STRATEGY_GROUP, 1, 64, 0}},
    {"int4-24", {LAYOUT_INT4_24, STRATEGY_GROUP, 1, 128, 0}},
};

static int find_word(json_string text, quant_scheme_args *args) {
  static const char pairs[] = "-pairs";
  const size_t tail = sizeof pairs - 1;
  int paired = text.bytes > tail && memcmp(text.text + text.bytes - tail, pairs, tail) == 0;
  if (paired) text.bytes -= tail;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (!json_string_is(text, words[i].word)) continue;
    *args = words[i].args;
    args->pairs = paired;
    return !paired || args->layout == LAYOUT_INT4_24;
  }
  return 0;
}

/* Of a module beside its name: itself, and the list while it grows. */
#define MODULE_COST (sizeof(viva_module) + 3 * sizeof(void *) + 16)

static viva_status read_module(quant *q, const config_file *file, json_string name, json_string raw) {
  static const char *const keys[] = {"format"};
  config_value v;
  json_string word = {0};
  char quoted[80];
  TRY(config_read_object(file, raw, keys, 1, &v, NULL));
  if (v.kind != VALUE_STRING) return config_wrong_kind(file, &v, "a format's word");
  TRY(config_string(file, &v, &word));
  TRY(allowance_memory(&q->allowance, MODULE_COST + name.bytes, "the names of the packed modules", file->path,
                       file->error));
  viva_module *module = arena_alloc(q->arena, sizeof *module);
  const char *copy = arena_text(q->arena, name.text, name.bytes);
  viva_module **item = module && copy ? grow_add(&q->ck->rt->mem, &q->viva) : NULL;
  if (!item) return checkpoint_build_no_memory(file->path, "the names of the packed modules", file->error);
  module->name = copy;
  *item = module;
  if (find_word(word, &module->args)) return VIVA_OK;
  return config_fail(file, &v, VIVA_E_UNSUPPORTED, "\"%s\" is not a format of this version of viva",
                     error_quote(quoted, sizeof quoted, word.text, word.bytes));
}

static viva_status add_module(quant *q, const config_file *file, json_string name, json_string raw) {
  config_file scratch;
  TRY(quant_scratch(file, &scratch));
  viva_status status = read_module(q, &scratch, name, raw);
  arena_free(scratch.arena);
  return status;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const viva_module *)a)->name, ((const viva_module *)b)->name);
}

viva_status quant_read_viva(quant *q, const config_file *file, json_string object) {
  enum { VERSION, MODULES, KEYS };
  static const char *const keys[KEYS] = {"version", "modules"};
  config_value v[KEYS];
  uint64_t version = 0;
  json j;
  json_string name, raw;
  TRY(config_read_object(file, object, keys, KEYS, v, NULL));
  TRY(config_integer(file, &v[VERSION], &version));
  if (version != 1)
    return config_fail(file, &v[VERSION], VIVA_E_UNSUPPORTED,
                       "viva's layout has version %llu; this version of viva reads 1", (unsigned long long)version);
  if (v[MODULES].kind != VALUE_OBJECT) return config_wrong_kind(file, &v[MODULES], "an object");
  json_begin(&j, file->rt, file->arena, file->path, v[MODULES].text.text, v[MODULES].text.bytes);
  TRY(json_enter_object(&j, file->error));
  while (json_next_key(&j, &name)) {
    TRY(json_take_raw(&j, &raw, file->error));
    TRY(add_module(q, file, name, raw));
  }
  TRY(json_leave(&j, file->error));
  TRY(json_finish(&j, file->error));
  if (q->viva.count > 1) sort_pointers((const void **)(void *)q->viva.items, q->viva.count, by_name);
  return quant_set_scheme(q, file, "viva", (json_string){"", 0});
}
