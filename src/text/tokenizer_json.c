/* A tokenizer from a tokenizer.json.
 *
 *   { "version": "1.0", "truncation", "padding": ignored,
 *     "added_tokens": [{ "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special" }],
 *     "normalizer", "pre_tokenizer", "post_processor", "decoder": tokenizer_json_parts.h,
 *     "model": { "type": "BPE", "vocab": { text: id }, "merges": ["a b"] or [["a", "b"]], flags } }
 */
#include <string.h>

#include "text/json_tokens.h"
#include "text/tokenizer_files.h"
#include "text/tokenizer_json_parts.h"

#define QUOTE_SIZE 80

/* What is taken from the runtime while a file is read. */
typedef struct json_source {
  runtime *rt;
  arena *arena;
  json j;
  json_tokens tokens;
  tokenizer_json_parts normalizer, pre_tokenizer, post_processor, decoder;
  int has_vocab, has_merges, has_prefix;
  size_t merges_at; /* not 0: merges that wait, there in the text, for what is needed to look them up */
  tokenizer_spec spec;
} json_source;

static viva_status read_added_tokens(json_source *s, viva_error *error) {
  if (json_peek(&s->j) == JSON_NULL) return json_take_null(&s->j, error);
  TRY(json_enter_array(&s->j, error));
  while (json_next_element(&s->j)) {
    spec_added a = {.id = -1};
    TRY(json_take_added(&s->j, &a, error));
    TRY(json_tokens_add(&s->tokens, a, error));
  }
  return json_leave(&s->j, error);
}

/* At once a vocabulary, so that merges become ids while they are read. */
static viva_status read_vocab(json_source *s, viva_error *error) {
  s->has_vocab = 1;
  TRY(json_take_vocab(&s->j, &s->tokens, 0, error));
  TRY(spec_take_vocab(s->rt, &s->spec, s->tokens.entries, s->tokens.entry_count, error));
  json_tokens_drop_entries(&s->tokens);
  return VIVA_OK;
}

/* "left right", or ["left", "right"]. */
static viva_status read_merge(json *j, size_t index, token_text parts[2], viva_error *error) {
  json_string text;
  if (json_peek(j) != JSON_ARRAY) {
    TRY(json_take_string(j, &text, error));
    return split_merge(json_text(text), parts)
               ? json_fail(j, error, "merge %zu is not two tokens with one space between them", index)
               : VIVA_OK;
  }
  TRY(json_enter_array(j, error));
  size_t count = 0;
  for (; json_next_element(j); count++) {
    TRY(json_take_string(j, &text, error));
    if (count < 2) parts[count] = json_text(text);
  }
  TRY(json_leave(j, error));
  return count == 2 ? VIVA_OK : json_fail(j, error, "merge %zu has %zu parts, not 2", index, count);
}

static viva_status take_merges(json_source *s, json *j, viva_error *error) {
  s->spec.merges.prefix = s->spec.rules.prefix;
  TRY(json_enter_array(j, error));
  for (size_t index = 0; json_next_element(j); index++) {
    token_text parts[2];
    TRY(read_merge(j, index, parts, error));
    TRY(merges_add(&s->spec.merges, parts[0], parts[1], error));
  }
  TRY(json_leave(j, error));
  return merges_end(&s->spec.merges, error);
}

/* The reference writes what merges need in front of them; a file need not. */
static viva_status read_merges(json_source *s, viva_error *error) {
  s->has_merges = 1;
  if (s->has_vocab && s->has_prefix) return take_merges(s, &s->j, error);
  json_peek(&s->j);
  s->merges_at = s->j.mark;
  return json_skip(&s->j, error);
}

static viva_status take_waiting_merges(json_source *s, viva_error *error) {
  json again;
  json_begin_at(&again, s->rt, s->arena, s->spec.path, s->j.text, s->j.bytes, s->merges_at);
  return take_merges(s, &again, error);
}

/* null or "" is no affix. */
static viva_status read_affix(json *j, token_text *out, viva_error *error) {
  json_string text;
  if (json_peek(j) == JSON_NULL) return json_take_null(j, error);
  TRY(json_take_string(j, &text, error));
  if (text.bytes > 0) *out = json_text(text);
  return VIVA_OK;
}

static viva_status read_prefix(json_source *s, viva_error *error) {
  s->has_prefix = 1;
  return read_affix(&s->j, &s->spec.rules.prefix, error);
}

static viva_status read_dropout(json *j, viva_error *error) {
  double value;
  if (json_peek(j) == JSON_NULL) return json_take_null(j, error);
  TRY(json_take_double(j, &value, error));
  return value == 0 ? VIVA_OK : error_set(error, VIVA_E_UNSUPPORTED, "model: dropout %g is not supported", value);
}

static viva_status read_unknown(json_source *s, viva_error *error) {
  json_string text;
  if (json_peek(&s->j) == JSON_NULL) return json_take_null(&s->j, error);
  TRY(json_take_string(&s->j, &text, error));
  if (text.bytes > 0) s->spec.rules.unknown = json_text(text); /* GPT-2's files say "" for none */
  return VIVA_OK;
}

static viva_status read_flag(json *j, int *flag, viva_error *error) {
  return json_peek(j) == JSON_NULL ? json_take_null(j, error) : json_take_bool(j, flag, error);
}

static viva_status read_model_type(json *j, viva_error *error) {
  json_string type;
  char quoted[QUOTE_SIZE];
  TRY(json_take_string(j, &type, error));
  if (json_string_is(type, "BPE")) return VIVA_OK;
  return error_set(error, VIVA_E_UNSUPPORTED, "model type '%s' is not supported; known: BPE",
                   error_quote(quoted, sizeof quoted, type.text, type.bytes));
}

static viva_status read_model(json_source *s, viva_error *error) {
  json *j = &s->j;
  json_string key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    viva_status status;
    if (json_string_is(key, "type"))
      status = read_model_type(j, error);
    else if (json_string_is(key, "vocab"))
      status = read_vocab(s, error);
    else if (json_string_is(key, "merges"))
      status = read_merges(s, error);
    else if (json_string_is(key, "unk_token"))
      status = read_unknown(s, error);
    else if (json_string_is(key, "fuse_unk"))
      status = read_flag(j, &s->spec.rules.fuse_unknown, error);
    else if (json_string_is(key, "byte_fallback"))
      status = read_flag(j, &s->spec.rules.byte_fallback, error);
    else if (json_string_is(key, "ignore_merges"))
      status = read_flag(j, &s->spec.rules.ignore_merges, error);
    else if (json_string_is(key, "dropout"))
      status = read_dropout(j, error);
    else if (json_string_is(key, "continuing_subword_prefix"))
      status = read_prefix(s, error);
    else if (json_string_is(key, "end_of_word_suffix"))
      status = read_affix(j, &s->spec.rules.suffix, error);
    else
      status = json_skip(j, error);
    if (status != VIVA_OK) return status;
  }
  TRY(json_leave(j, error));
  if (!s->has_vocab || !s->has_merges) return json_fail(j, error, "the model needs vocab and merges");
  return s->merges_at ? take_waiting_merges(s, error) : VIVA_OK;
}

static viva_status read_version(json *j, viva_error *error) {
  json_string version;
  char quoted[QUOTE_SIZE];
  TRY(json_take_string(j, &version, error));
  if (json_string_is(version, "1.0")) return VIVA_OK;
  return error_set(error, VIVA_E_UNSUPPORTED, "version '%s' is not supported; known: 1.0",
                   error_quote(quoted, sizeof quoted, version.text, version.bytes));
}

static viva_status read_ignored(json_source *s, json_string key, viva_error *error) {
  if (json_peek(&s->j) != JSON_NULL)
    runtime_log(s->rt, VIVA_LOG_INFO, "%s: '%.*s' is ignored", s->spec.path, (int)key.bytes, key.text);
  return json_skip(&s->j, error);
}

static viva_status read_file(json_source *s, viva_error *error) {
  json *j = &s->j;
  json_string key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    viva_status status;
    if (json_string_is(key, "version"))
      status = read_version(j, error);
    else if (json_string_is(key, "added_tokens"))
      status = read_added_tokens(s, error);
    else if (json_string_is(key, "model"))
      status = read_model(s, error);
    else if (json_string_is(key, "normalizer"))
      status = tokenizer_json_parts_read(j, "normalizer", "normalizers", &s->normalizer, error);
    else if (json_string_is(key, "pre_tokenizer"))
      status = tokenizer_json_parts_read(j, "pre_tokenizer", "pretokenizers", &s->pre_tokenizer, error);
    else if (json_string_is(key, "post_processor"))
      status = tokenizer_json_parts_read(j, "post_processor", "processors", &s->post_processor, error);
    else if (json_string_is(key, "decoder"))
      status = tokenizer_json_parts_read(j, "decoder", "decoders", &s->decoder, error);
    else if (json_string_is(key, "truncation") || json_string_is(key, "padding"))
      status = read_ignored(s, key, error);
    else
      status = json_skip(j, error);
    if (status != VIVA_OK) return status;
  }
  TRY(json_leave(j, error));
  TRY(json_finish(j, error));
  return s->has_vocab ? VIVA_OK : error_set(error, VIVA_E_FORMAT, "expected a tokenizer.json, found no model in it");
}

/* Turns what was read into a description. */
static viva_status describe(json_source *s, viva_error *error) {
  TRY(normalizer_apply(&s->normalizer, &s->spec, error));
  TRY(pretokenizer_apply(&s->pre_tokenizer, &s->spec, error));
  TRY(postprocessor_apply(&s->post_processor, s->arena, &s->spec, error));
  TRY(decoder_apply(&s->decoder, &s->spec, error));
  s->spec.added = s->tokens.added;
  s->spec.added_count = s->tokens.added_count;
  return VIVA_OK;
}

static viva_status from_json(json_source *s, const char *text, size_t bytes, viva_tokenizer **out, viva_error *error) {
  s->arena = arena_create(&s->rt->mem, 64 * 1024);
  s->spec.parts = arena_create(&s->rt->mem, 1024);
  if (!s->arena || !s->spec.parts) return error_set(error, VIVA_E_MEMORY, "no memory to read tokenizer.json");
  json_begin(&s->j, s->rt, s->arena, s->spec.path, text, bytes);
  TRY(read_file(s, error));
  TRY(describe(s, error));
  return tokenizer_compile(s->rt, &s->spec, out, error);
}

viva_status tokenizer_from_json(runtime *rt, const char *path, const char *text, size_t bytes, viva_tokenizer **out,
                                viva_error *error) {
  return tokenizer_from_json_file(rt, (text_file){path, text, bytes}, NULL, out, error);
}

viva_status tokenizer_from_json_file(runtime *rt, text_file file, const tokenizer_config *config, viva_tokenizer **out,
                                     viva_error *error) {
  *out = NULL;
  json_source *s = mem_zalloc(&rt->mem, sizeof *s);
  if (!s) return error_set(error, VIVA_E_MEMORY, "no memory to read tokenizer.json");
  s->rt = rt;
  s->tokens.mem = &rt->mem;
  s->spec.path = file.path;
  s->spec.config = config;
  viva_status status = from_json(s, file.text, file.bytes, out, error);
  if (status != VIVA_OK) error_at(error, file.path, NULL, 0, VIVA_NO_OFFSET);
  arena_free(s->arena);
  spec_free(rt, &s->spec);
  json_tokens_free(&s->tokens);
  mem_free(&rt->mem, s);
  return status;
}
