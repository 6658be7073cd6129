/* What lies beside a tokenizer.
 *
 *   tokenizer_config.json    { "tokenizer_class", "bos_token" ... : a text, an added token or null, "add_bos_token",
 *                              "add_eos_token", "add_prefix_space", "additional_special_tokens": [...],
 *                              "added_tokens_decoder": { "id": added token } }
 *   special_tokens_map.json  the named tokens once more; counts for those that the first does not name
 *   added_tokens.json        { text: id }; counts without added_tokens_decoder
 *
 * A value of another type is passed over, as transformers does: these files hold much that is nobody's business here.
 */
#include <string.h>

#include "base/num.h"
#include "text/tokenizer_files.h"

typedef struct config_reader {
  runtime *rt;
  arena *arena;
  json j;
  tokenizer_config *c;
  json_tokens more; /* additional_special_tokens */
  int has_decoder;  /* added_tokens_decoder is there */
} config_reader;

static const char *const named_keys[NAMED_COUNT] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                    "pad_token", "cls_token", "mask_token"};

static int find_named(json_string key) {
  int i = 0;
  while (i < NAMED_COUNT && !json_string_is(key, named_keys[i])) i++;
  return i;
}

/* A text or an added token; *a stays without a text when it is neither. */
static viva_status take_token(json *j, spec_added *a, viva_error *error) {
  json_string text;
  *a = (spec_added){.id = 0, .flags = ADDED_SPECIAL}; /* an id is not asked for here */
  switch (json_peek(j)) {
  case JSON_STRING:
    TRY(json_take_string(j, &text, error));
    a->text = json_text(text);
    return VIVA_OK;
  case JSON_OBJECT: TRY(json_take_added(j, a, error)); break;
  default: return json_skip(j, error);
  }
  a->flags |= ADDED_SPECIAL;
  a->id = -1;
  return VIVA_OK;
}

static viva_status take_named(config_reader *r, int which, viva_error *error) {
  spec_added a;
  TRY(take_token(&r->j, &a, error));
  if (r->c->is_said[which]) return VIVA_OK;
  r->c->is_said[which] = 1;
  if (a.text.text && a.text.bytes > 0) r->c->named[which] = a.text;
  return VIVA_OK;
}

static viva_status take_additional(config_reader *r, viva_error *error) {
  if (json_peek(&r->j) != JSON_ARRAY) return json_skip(&r->j, error);
  TRY(json_enter_array(&r->j, error));
  while (json_next_element(&r->j)) {
    spec_added a;
    TRY(take_token(&r->j, &a, error));
    a.id = -1;
    if (a.text.text && a.text.bytes > 0) TRY(json_tokens_add(&r->more, a, error));
  }
  return json_leave(&r->j, error);
}

static viva_status take_decoder(config_reader *r, viva_error *error) {
  json *j = &r->j;
  json_string key;
  if (json_peek(j) != JSON_OBJECT) return json_skip(j, error);
  r->has_decoder = 1;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    uint64_t id;
    if (num_u64(key.text, key.bytes, &id) || id > INT32_MAX)
      return json_fail(j, error, "expected a token's id as the key");
    spec_added a = {.id = (int64_t)id};
    TRY(json_take_added(j, &a, error));
    TRY(json_tokens_add(&r->c->tokens, a, error));
  }
  return json_leave(j, error);
}

static viva_status take_flag(json *j, int *flag, viva_error *error) {
  return json_peek(j) == JSON_BOOL ? json_take_bool(j, flag, error) : json_skip(j, error);
}

static viva_status take_class(config_reader *r, viva_error *error) {
  static const char fast[] = "Fast";
  const size_t ending = sizeof fast - 1;
  json_string s;
  if (json_peek(&r->j) != JSON_STRING) return json_skip(&r->j, error);
  TRY(json_take_string(&r->j, &s, error));
  if (s.bytes > ending && memcmp(s.text + s.bytes - ending, fast, ending) == 0) s.bytes -= ending;
  r->c->class_name = json_text(s);
  return VIVA_OK;
}

static viva_status take_member(config_reader *r, json_string key, viva_error *error) {
  json *j = &r->j;
  int named = find_named(key);
  if (named < NAMED_COUNT) return take_named(r, named, error);
  if (json_string_is(key, "additional_special_tokens")) return take_additional(r, error);
  if (json_string_is(key, "added_tokens_decoder")) return take_decoder(r, error);
  if (json_string_is(key, "tokenizer_class")) return take_class(r, error);
  if (json_string_is(key, "add_bos_token")) return take_flag(j, &r->c->add_bos, error);
  if (json_string_is(key, "add_eos_token")) return take_flag(j, &r->c->add_eos, error);
  if (json_string_is(key, "add_prefix_space")) return take_flag(j, &r->c->prefix_space, error);
  return json_skip(j, error);
}

static viva_status read_file(config_reader *r, const text_file *file, viva_error *error) {
  json_string key;
  if (!file->text) return VIVA_OK;
  json_begin(&r->j, r->rt, r->arena, file->path, file->text, file->bytes);
  json_as_python(&r->j);
  TRY(json_enter_object(&r->j, error));
  while (json_next_key(&r->j, &key)) TRY(take_member(r, key, error));
  TRY(json_leave(&r->j, error));
  return json_finish(&r->j, error);
}

static int has_token(const json_tokens *tokens, token_text text) {
  for (size_t i = 0; i < tokens->added_count; i++) {
    token_text t = tokens->added[i].text;
    if (t.bytes == text.bytes && memcmp(t.text, text.text, t.bytes) == 0) return 1;
  }
  return 0;
}

static int is_named(const config_reader *r, token_text text) {
  for (int i = 0; i < NAMED_COUNT; i++) {
    token_text t = r->c->named[i];
    if (t.text && t.bytes == text.bytes && memcmp(t.text, text.text, t.bytes) == 0) return 1;
  }
  return has_token(&r->more, text);
}

static viva_status read_added_file(config_reader *r, const text_file *file, viva_error *error) {
  json_tokens list = {.mem = r->more.mem};
  if (!file->text || r->has_decoder) return VIVA_OK;
  json_begin(&r->j, r->rt, r->arena, file->path, file->text, file->bytes);
  viva_status status = json_take_vocab(&r->j, &list, 1, error);
  if (status == VIVA_OK) status = json_finish(&r->j, error);
  for (size_t i = 0; status == VIVA_OK && i < list.entry_count; i++) {
    spec_added a = {.text = list.entries[i].text, .id = list.entries[i].id};
    if (is_named(r, a.text)) a.flags = ADDED_SPECIAL;
    status = json_tokens_add(&r->c->tokens, a, error);
  }
  json_tokens_free(&list);
  return status;
}

/* By id; files are almost always in order, and lists are short. */
static void sort_added(json_tokens *tokens) {
  for (size_t i = 1; i < tokens->added_count; i++) {
    spec_added a = tokens->added[i];
    size_t at = i;
    for (; at > 0 && tokens->added[at - 1].id > a.id; at--) tokens->added[at] = tokens->added[at - 1];
    tokens->added[at] = a;
  }
}

#define ADDED_MOST 16384 /* Gemma has 6,415; they are sorted and compared one with another */

/* One of the files, read by `parse`. Beside a tokenizer.json, which holds all that a text needs, a broken one is told and
 * left out. */
static viva_status try_file(config_reader *r, const tokenizer_files *files, const text_file *file,
                            viva_status (*parse)(config_reader *, const text_file *, viva_error *), viva_error *error) {
  const tokenizer_config before = *r->c;
  const size_t more = r->more.added_count;
  const int has_decoder = r->has_decoder;
  viva_error reason = {0};
  viva_status status = parse(r, file, &reason);
  if (status == VIVA_OK) return VIVA_OK;
  if (status != VIVA_E_FORMAT || !files->json.text) {
    if (error) *error = reason;
    return status;
  }
  json_tokens kept = r->c->tokens; /* its memory may have moved */
  kept.added_count = before.tokens.added_count;
  *r->c = before;
  r->c->tokens = kept;
  r->more.added_count = more;
  r->has_decoder = has_decoder;
  runtime_log(r->rt, VIVA_LOG_WARN, "%s: %s; the file is left out", file->path, reason.message);
  return VIVA_OK;
}

static viva_status read_all(config_reader *r, const tokenizer_files *files, viva_error *error) {
  json_tokens *tokens = &r->c->tokens;
  TRY(try_file(r, files, &files->config, read_file, error));
  TRY(try_file(r, files, &files->special_map, read_file, error));
  TRY(try_file(r, files, &files->added_tokens, read_added_file, error));
  if (tokens->added_count + r->more.added_count > ADDED_MOST)
    return error_set(error, VIVA_E_UNSUPPORTED, "more than %d added tokens in tokenizer_config.json", ADDED_MOST);
  sort_added(tokens);
  for (size_t i = 0; i < r->more.added_count; i++)
    if (!has_token(tokens, r->more.added[i].text)) TRY(json_tokens_add(tokens, r->more.added[i], error));
  return VIVA_OK;
}

viva_status tokenizer_config_read(runtime *rt, arena *a, const tokenizer_files *files, tokenizer_config *out,
                                  viva_error *error) {
  *out = (tokenizer_config){.tokens = {.mem = &rt->mem}};
  out->add_bos = out->add_eos = out->prefix_space = TOKEN_UNSAID;
  config_reader r = {.rt = rt, .arena = a, .c = out, .more = {.mem = &rt->mem}};
  viva_status status = read_all(&r, files, error);
  json_tokens_free(&r.more);
  return status;
}

viva_status tokenizer_config_add_named(tokenizer_config *c, viva_error *error) {
  for (int i = 0; i < NAMED_COUNT; i++) {
    spec_added a = {.text = c->named[i], .id = -1, .flags = ADDED_SPECIAL};
    if (a.text.text && !has_token(&c->tokens, a.text)) TRY(json_tokens_add(&c->tokens, a, error));
  }
  return VIVA_OK;
}
