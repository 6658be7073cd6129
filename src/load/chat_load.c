/* load/chat_load.c
 *
 *   tokenizer_config.json    "chat_template": "..." or [{"name": "default", "template": "..."}, ...] or
 *                            {"default": "...", ...}; "bos_token": "<s>" or {"content": "<s>", ...};
 *                            "tokenizer_class", whose tokens count where none are named
 *   chat_template.jinja      the template alone; comes before tokenizer_config.json's
 *   special_tokens_map.json  the tokens, where the first does not name them
 *   chat_template.json       as a processor's: {"chat_template": "..."}, where there is no other
 *   GGUF                     tokenizer.chat_template, tokenizer.chat_template.NAME; special tokens by their ids
 */
#include "load/chat_load.h"

#include <string.h>

#include "base/json.h"
#include "format/checkpoint_build.h"
#include "format/gguf/gguf.h"

#define MAX_CONFIG_BYTES ((uint64_t)64 << 20) /* tokenizer_config.json lists every added token */
#define MAX_TEMPLATES    16
#define MAX_TOKENS       16

typedef struct loading {
  const viva_checkpoint *ck;
  chat_source *s;
  const char *path; /* of the file at hand */
  const char *class_name;
} loading;

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory for a chat template");
}

static viva_status add_template(loading *l, const char *name, size_t name_bytes, const char *text, size_t bytes,
                                viva_error *error) {
  chat_source *s = l->s;
  if (s->template_count == MAX_TEMPLATES || bytes == 0) return VIVA_OK;
  chat_named t = {arena_text(s->arena, name, name_bytes), arena_text(s->arena, text, bytes), bytes};
  if (!t.name || !t.text) return no_memory(error);
  size_t at = s->template_count++;
  if (strcmp(t.name, "default") == 0 && at > 0) {
    s->templates[at] = s->templates[0];
    at = 0;
  }
  s->templates[at] = t;
  return VIVA_OK;
}

static viva_status add_token(loading *l, const char *name, const char *text, size_t bytes, viva_error *error) {
  chat_source *s = l->s;
  if (s->token_count == MAX_TOKENS) return VIVA_OK;
  for (size_t i = 0; i < s->token_count; i++)
    if (strcmp(s->tokens[2 * i], name) == 0) return VIVA_OK; /* of two files the first counts */
  s->tokens[2 * s->token_count] = name;
  s->tokens[2 * s->token_count + 1] = arena_text(s->arena, text, bytes);
  return s->tokens[2 * s->token_count++ + 1] ? VIVA_OK : no_memory(error);
}

/* ---- folders */

static const char *const token_keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                         "pad_token", "cls_token", "mask_token"};

/* A string, or an object whose member `key` is one; anything else is passed over. */
static viva_status take_text(json *j, const char *key, json_string *text, viva_error *error) {
  json_string member;
  *text = (json_string){0};
  if (json_peek(j) == JSON_STRING) return json_take_string(j, text, error);
  if (json_peek(j) != JSON_OBJECT) return json_skip(j, error);
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &member)) {
    int wanted = json_string_is(member, key) && json_peek(j) == JSON_STRING;
    TRY(wanted ? json_take_string(j, text, error) : json_skip(j, error));
  }
  return json_leave(j, error);
}

static viva_status take_named_template(loading *l, json *j, viva_error *error) {
  json_string key, name = {0}, text = {0};
  if (json_peek(j) != JSON_OBJECT) return json_skip(j, error);
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    json_string *to = json_string_is(key, "name") ? &name : json_string_is(key, "template") ? &text : NULL;
    TRY(to && json_peek(j) == JSON_STRING ? json_take_string(j, to, error) : json_skip(j, error));
  }
  TRY(json_leave(j, error));
  return name.text && text.text ? add_template(l, name.text, name.bytes, text.text, text.bytes, error) : VIVA_OK;
}

/* {"default": "...", "tool_use": "..."}, as transformers holds them in memory. */
static viva_status take_template_object(loading *l, json *j, viva_error *error) {
  json_string name, text;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &name)) {
    TRY(take_text(j, "template", &text, error));
    if (text.text) TRY(add_template(l, name.text, name.bytes, text.text, text.bytes, error));
  }
  return json_leave(j, error);
}

static viva_status take_templates(loading *l, json *j, viva_error *error) {
  json_string text;
  if (json_peek(j) == JSON_OBJECT) return take_template_object(l, j, error);
  if (json_peek(j) != JSON_ARRAY) {
    TRY(take_text(j, "", &text, error));
    return text.text ? add_template(l, "default", 7, text.text, text.bytes, error) : VIVA_OK;
  }
  TRY(json_enter_array(j, error));
  while (json_next_element(j)) TRY(take_named_template(l, j, error));
  return json_leave(j, error);
}

static viva_status take_config(loading *l, json *j, viva_error *error) {
  json_string key, text;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    const char *token = NULL;
    for (size_t i = 0; i < sizeof token_keys / sizeof *token_keys; i++)
      if (json_string_is(key, token_keys[i])) token = token_keys[i];
    if (token) {
      TRY(take_text(j, "content", &text, error));
      if (text.text) TRY(add_token(l, token, text.text, text.bytes, error));
    } else if (json_string_is(key, "tokenizer_class") && json_peek(j) == JSON_STRING) {
      TRY(json_take_string(j, &text, error));
      if (!(l->class_name = arena_text(l->s->arena, text.text, text.bytes))) return no_memory(error);
    } else if (json_string_is(key, "chat_template") && l->s->template_count == 0) {
      TRY(take_templates(l, j, error));
    } else {
      TRY(json_skip(j, error));
    }
  }
  TRY(json_leave(j, error));
  return json_finish(j, error);
}

/* The file's text, or NULL when it is not there. */
static viva_status read_beside(loading *l, arena *a, const char *name, const char **text, size_t *bytes,
                               viva_error *error) {
  int exists;
  *text = NULL;
  l->path = path_join(a, l->ck->folder, name);
  if (!l->path) return no_memory(error);
  TRY(path_exists(l->ck->rt, l->path, &exists, error));
  return exists ? file_read_all(l->ck->rt, a, l->path, MAX_CONFIG_BYTES, text, bytes, error) : VIVA_OK;
}

/* What a class of transformers calls its tokens when no file does. */
static viva_status add_class_tokens(loading *l, viva_error *error) {
  static const struct {
    const char *begin, *bos, *eos, *unk;
  } classes[] = {{"LlamaTokenizer", "<s>", "</s>", "<unk>"},
                 {"CodeLlamaTokenizer", "<s>", "</s>", "<unk>"},
                 {"GemmaTokenizer", "<bos>", "<eos>", "<unk>"},
                 {"Qwen2Tokenizer", NULL, "<|endoftext|>", "<|endoftext|>"},
                 {"GPT2Tokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"}};
  for (size_t i = 0; l->class_name && i < sizeof classes / sizeof *classes; i++) {
    if (strncmp(l->class_name, classes[i].begin, strlen(classes[i].begin)) != 0) continue;
    if (classes[i].bos) TRY(add_token(l, "bos_token", classes[i].bos, strlen(classes[i].bos), error));
    TRY(add_token(l, "eos_token", classes[i].eos, strlen(classes[i].eos), error));
    TRY(add_token(l, "unk_token", classes[i].unk, strlen(classes[i].unk), error));
  }
  return VIVA_OK;
}

/* A file that cannot be read is told (by the tokenizer, of its own files) and left out. */
static viva_status load_json(loading *l, arena *a, const char *name, viva_log_level level, viva_error *error) {
  const char *text;
  size_t bytes;
  viva_error reason = {0};
  json j;
  viva_status status = read_beside(l, a, name, &text, &bytes, &reason);
  if (status == VIVA_OK && text) {
    json_begin(&j, l->ck->rt, a, l->path, text, bytes);
    json_as_python(&j);
    status = take_config(l, &j, &reason);
  }
  if (status == VIVA_OK) return VIVA_OK;
  if (status == VIVA_E_MEMORY) {
    if (error) *error = reason;
    return status;
  }
  runtime_log(l->ck->rt, level, "%s: the chat template is not read: %s", l->path, reason.message);
  return VIVA_OK;
}

static viva_status load_folder(loading *l, arena *a, viva_error *error) {
  const char *text;
  size_t bytes;
  TRY(read_beside(l, a, "chat_template.jinja", &text, &bytes, error));
  if (text) TRY(add_template(l, "default", 7, text, bytes, error));
  TRY(load_json(l, a, "tokenizer_config.json", VIVA_LOG_INFO, error));
  TRY(load_json(l, a, "special_tokens_map.json", VIVA_LOG_INFO, error));
  if (l->s->template_count == 0) TRY(load_json(l, a, "chat_template.json", VIVA_LOG_WARN, error));
  return add_class_tokens(l, error);
}

/* ---- GGUF */

static viva_status add_token_of(loading *l, const char *name, const char *key, viva_error *error) {
  const gguf_value *id = gguf_find(l->ck->gguf, key), *tokens = gguf_find(l->ck->gguf, "tokenizer.ggml.tokens");
  uint64_t number;
  const char *text;
  size_t at = 0, bytes;
  if (!id || !tokens || !tokens->is_array || tokens->type != GGUF_STRING || gguf_u64(id, &number)) return VIVA_OK;
  for (uint64_t i = 0; gguf_next_string(tokens, &at, &text, &bytes); i++)
    if (i == number) return add_token(l, name, text, bytes, error);
  return VIVA_OK;
}

static viva_status load_gguf(loading *l, viva_error *error) {
  static const char key[] = "tokenizer.chat_template";
  const gguf *g = l->ck->gguf;
  for (size_t i = 0; i < g->value_count; i++) {
    const char *text, *name = g->values[i].key;
    size_t bytes;
    if (strncmp(name, key, sizeof key - 1) != 0 || gguf_string(&g->values[i], &text, &bytes)) continue;
    name += sizeof key - 1;
    if (*name == 0) TRY(add_template(l, "default", 7, text, bytes, error));
    if (*name == '.') TRY(add_template(l, name + 1, strlen(name + 1), text, bytes, error));
  }
  TRY(add_token_of(l, "bos_token", "tokenizer.ggml.bos_token_id", error));
  TRY(add_token_of(l, "eos_token", "tokenizer.ggml.eos_token_id", error));
  TRY(add_token_of(l, "unk_token", "tokenizer.ggml.unknown_token_id", error));
  return add_token_of(l, "pad_token", "tokenizer.ggml.padding_token_id", error);
}

/* ---- */

static viva_status load_all(loading *l, viva_error *error) {
  chat_source *s = l->s;
  s->templates = arena_alloc(s->arena, MAX_TEMPLATES * sizeof *s->templates);
  s->tokens = arena_alloc(s->arena, 2 * MAX_TOKENS * sizeof *s->tokens);
  if (!s->templates || !s->tokens) return no_memory(error);
  if (l->ck->container == CONTAINER_GGUF) return load_gguf(l, error);
  arena *a = arena_create(&l->ck->rt->mem, 4096);
  if (!a) return no_memory(error);
  viva_status status = load_folder(l, a, error);
  arena_free(a);
  return status;
}

viva_status chat_load(const viva_checkpoint *ck, chat_source **out, viva_error *error) {
  viva_error local = {0};
  *out = NULL;
  chat_source *s = mem_zalloc(&ck->rt->mem, sizeof *s);
  if (!s) return no_memory(error);
  s->arena = arena_create(&ck->rt->mem, 4096);
  loading l = {.ck = ck, .s = s};
  viva_status status = s->arena ? load_all(&l, &local) : no_memory(&local);
  if (status == VIVA_E_MEMORY) {
    chat_source_free(ck->rt, s);
    if (error) *error = local;
    return status;
  }
  if (status)
    runtime_log(ck->rt, VIVA_LOG_WARN, "%s: the chat template is not read: %s", local.file[0] ? local.file : ck->path,
                local.message);
  if (s->template_count == 0 && s->token_count == 0) {
    chat_source_free(ck->rt, s);
    return VIVA_OK;
  }
  *out = s;
  return VIVA_OK;
}

void chat_source_free(runtime *rt, chat_source *source) {
  if (!source) return;
  arena_free(source->arena);
  mem_free(&rt->mem, source);
}

const chat_named *chat_source_template(const chat_source *source, const char *name) {
  if (!source || source->template_count == 0) return NULL;
  for (size_t i = 0; i < source->template_count; i++)
    if (strcmp(source->templates[i].name, name) == 0) return &source->templates[i];
  return &source->templates[0];
}
