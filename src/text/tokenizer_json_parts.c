#include "text/tokenizer_json_parts.h"

#include <string.h>

#define QUOTE_SIZE 80

/* ---- reading ---- */

static void *arena_zalloc(arena *a, size_t bytes) {
  void *block = arena_alloc(a, bytes);
  if (block) memset(block, 0, bytes);
  return block;
}

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to read tokenizer.json");
}

/* {"Regex": "..."} or {"String": "..."} */
static viva_status read_pattern(json *j, component *c, viva_error *error) {
  json_string key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    json_string value;
    TRY(json_take_string(j, &value, error));
    if (json_string_is(key, "Regex")) c->regex = value;
  }
  return json_leave(j, error);
}

/* {"SpecialToken": {"id": "<s>", ...}} or {"Sequence": {"id": "A", ...}} */
static viva_status read_piece(json *j, template_piece *piece, viva_error *error) {
  json_string kind, key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &kind)) {
    piece->is_text = json_string_is(kind, "Sequence");
    if (!piece->is_text && !json_string_is(kind, "SpecialToken"))
      return json_fail(j, error, "expected Sequence or SpecialToken in a template");
    TRY(json_enter_object(j, error));
    while (json_next_key(j, &key)) {
      if (json_string_is(key, "id"))
        TRY(json_take_string(j, &piece->name, error));
      else
        TRY(json_skip(j, error));
    }
    TRY(json_leave(j, error));
  }
  return json_leave(j, error);
}

static viva_status read_template(json *j, component *c, viva_error *error) {
  template_piece **tail = &c->pieces;
  TRY(json_enter_array(j, error));
  while (json_next_element(j)) {
    *tail = arena_zalloc(j->arena, sizeof **tail);
    if (!*tail) return no_memory(error);
    TRY(read_piece(j, *tail, error));
    tail = &(*tail)->next;
  }
  return json_leave(j, error);
}

#define SPECIAL_IDS_MAX 64 /* ids that one special token of a template stands for */

static viva_status read_special_ids(json *j, template_special *special, viva_error *error) {
  special->ids = arena_alloc(j->arena, SPECIAL_IDS_MAX * sizeof *special->ids);
  if (!special->ids) return no_memory(error);
  TRY(json_enter_array(j, error));
  while (json_next_element(j)) {
    if (special->count == SPECIAL_IDS_MAX)
      return json_fail(j, error, "more than %d ids for one special token", SPECIAL_IDS_MAX);
    TRY(json_take_i64(j, &special->ids[special->count++], error));
  }
  return json_leave(j, error);
}

/* {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, ...} */
static viva_status read_specials(json *j, component *c, viva_error *error) {
  json_string name, key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &name)) {
    template_special *special = arena_zalloc(j->arena, sizeof *special);
    if (!special) return no_memory(error);
    special->name = name;
    special->next = c->specials;
    c->specials = special;
    TRY(json_enter_object(j, error));
    while (json_next_key(j, &key)) {
      if (json_string_is(key, "ids") && special->count == 0)
        TRY(read_special_ids(j, special, error));
      else
        TRY(json_skip(j, error));
    }
    TRY(json_leave(j, error));
  }
  return json_leave(j, error);
}

static viva_status read_option(json *j, json_string key, component *c, viva_error *error) {
  if (json_string_is(key, "type")) return json_take_string(j, &c->type, error);
  if (json_string_is(key, "behavior")) return json_take_string(j, &c->behavior, error);
  if (json_string_is(key, "individual_digits")) return json_take_bool(j, &c->individual_digits, error);
  if (json_string_is(key, "add_prefix_space")) return json_take_bool(j, &c->add_prefix_space, error);
  if (json_string_is(key, "use_regex")) return json_take_bool(j, &c->use_regex, error);
  if (json_string_is(key, "invert")) return json_take_bool(j, &c->invert, error);
  if (json_string_is(key, "pattern") && json_peek(j) == JSON_OBJECT) return read_pattern(j, c, error);
  if (json_string_is(key, "single") && json_peek(j) == JSON_ARRAY) return read_template(j, c, error);
  if (json_string_is(key, "special_tokens") && json_peek(j) == JSON_OBJECT) return read_specials(j, c, error);
  return json_skip(j, error);
}

/* What a missing option means (serde's defaults). */
static const component defaults = {.use_regex = 1};

static viva_status read_member(json *j, const char *section, component *c, viva_error *error) {
  json_string key;
  *c = defaults;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) TRY(read_option(j, key, c, error));
  TRY(json_leave(j, error));
  if (!c->type.text) return json_fail(j, error, "a %s has no type", section);
  if (json_string_is(c->type, "Sequence"))
    return error_set(error, VIVA_E_UNSUPPORTED, "%s: a Sequence inside a Sequence is not supported", section);
  return VIVA_OK;
}

static viva_status read_members(json *j, const char *section, components *out, viva_error *error) {
  TRY(json_enter_array(j, error));
  out->count = 0;
  while (json_next_element(j)) {
    if (out->count == COMPONENTS_MAX)
      return error_set(error, VIVA_E_UNSUPPORTED, "%s: a Sequence of more than %d is not supported", section,
                       COMPONENTS_MAX);
    TRY(read_member(j, section, &out->list[out->count++], error));
  }
  return json_leave(j, error);
}

viva_status components_read(json *j, const char *section, const char *list_key, components *out, viva_error *error) {
  out->count = 0;
  if (json_peek(j) == JSON_NULL) return json_take_null(j, error);
  component self = defaults;
  json_string key;
  int has_members = 0;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    if (json_string_is(key, list_key)) {
      TRY(read_members(j, section, out, error));
      has_members = 1;
    } else {
      TRY(read_option(j, key, &self, error));
    }
  }
  TRY(json_leave(j, error));
  if (!self.type.text) return json_fail(j, error, "the %s has no type", section);
  if (json_string_is(self.type, "Sequence"))
    return has_members ? VIVA_OK : json_fail(j, error, "the %s is a Sequence without %s", section, list_key);
  out->list[0] = self;
  out->count = 1;
  return VIVA_OK;
}

/* ---- meaning ---- */

static viva_status refuse(const char *section, const component *c, const char *known, viva_error *error) {
  char quoted[QUOTE_SIZE];
  return error_set(error, VIVA_E_UNSUPPORTED, "%s type '%s' is not supported; known: %s, Sequence", section,
                   error_quote(quoted, sizeof quoted, c->type.text, c->type.bytes), known);
}

viva_status normalizer_apply(const components *c, tokenizer_spec *spec, viva_error *error) {
  for (size_t i = 0; i < c->count; i++) {
    if (!json_string_is(c->list[i].type, "NFC")) return refuse("normalizer", &c->list[i], "null, NFC", error);
    spec->nfc = 1;
  }
  return VIVA_OK;
}

static viva_status split_apply(const component *c, split_scanner *scanner, viva_error *error) {
  char quoted[QUOTE_SIZE];
  *scanner = c->regex.text ? split_pattern_find(c->regex.text, c->regex.bytes) : NULL;
  if (!*scanner)
    return error_set(error, VIVA_E_UNSUPPORTED,
                     "pre_tokenizer Split has the pattern '%s', which is not one of GPT-2's, Llama 3's and Qwen 2's",
                     c->regex.text ? error_quote(quoted, sizeof quoted, c->regex.text, c->regex.bytes)
                                   : "(a plain string)");
  /* The known patterns leave nothing between their matches, so removing what does not match isolates the matches. */
  if (json_string_is(c->behavior, "Isolated") || (json_string_is(c->behavior, "Removed") && c->invert)) return VIVA_OK;
  return error_set(error, VIVA_E_UNSUPPORTED,
                   "pre_tokenizer Split with behavior '%s'%s is not supported; known: Isolated",
                   error_quote(quoted, sizeof quoted, c->behavior.text ? c->behavior.text : "", c->behavior.bytes),
                   c->invert ? " and invert" : "");
}

viva_status pretokenizer_apply(const components *c, tokenizer_spec *spec, viva_error *error) {
  pretokenizer *pre = &spec->pre;
  for (size_t i = 0; i < c->count; i++) {
    const component *part = &c->list[i];
    int is_last = i + 1 == c->count, is_byte_level = json_string_is(part->type, "ByteLevel");
    split_scanner scanner = NULL;
    if (json_string_is(part->type, "Digits"))
      scanner = part->individual_digits ? split_each_digit : split_digit_runs;
    else if (json_string_is(part->type, "Split"))
      TRY(split_apply(part, &scanner, error));
    else if (!is_byte_level)
      return refuse("pre_tokenizer", part, "ByteLevel, Digits, Split", error);
    else if (part->use_regex)
      scanner = split_gpt2;
    if (is_byte_level != is_last)
      return error_set(error, VIVA_E_UNSUPPORTED,
                       "a pre_tokenizer is supported only when ByteLevel is the last part of it");
    if (is_byte_level && part->add_prefix_space) {
      pre->prefix_space = 1;
      pre->prefix_scanner = scanner;
      scanner = NULL;
    }
    if (!scanner) continue;
    if (pre->stage_count == SPLIT_MAX_STAGES)
      return error_set(error, VIVA_E_UNSUPPORTED, "a pre_tokenizer of more than %d parts is not supported",
                       SPLIT_MAX_STAGES);
    pre->stages[pre->stage_count++] = scanner;
  }
  if (c->count == 0)
    return error_set(error, VIVA_E_UNSUPPORTED, "pre_tokenizer null is not supported: only byte-level tokenizers are");
  return VIVA_OK;
}

viva_status decoder_apply(const components *c, viva_error *error) {
  if (c->count != 1)
    return error_set(error, VIVA_E_UNSUPPORTED, "a decoder of %zu parts is not supported; known: ByteLevel alone",
                     c->count);
  return json_string_is(c->list[0].type, "ByteLevel") ? VIVA_OK : refuse("decoder", &c->list[0], "ByteLevel", error);
}

static const template_special *special_find(const component *c, json_string name) {
  for (const template_special *s = c->specials; s; s = s->next)
    if (s->name.bytes == name.bytes && memcmp(s->name.text, name.text, name.bytes) == 0) return s;
  return NULL;
}

/* The ids of the pieces from `from` up to `to` (exclusive), behind those in old: a new list in a. */
static viva_status join_ids(const component *c, const template_piece *from, const template_piece *to,
                            const int64_t *before, size_t before_count, const int64_t *behind, size_t behind_count,
                            arena *a, const int64_t **out, size_t *out_count, viva_error *error) {
  size_t count = before_count + behind_count;
  for (const template_piece *p = from; p != to; p = p->next) {
    const template_special *s = special_find(c, p->name);
    char quoted[QUOTE_SIZE];
    if (!s)
      return error_set(error, VIVA_E_FORMAT, "the template names '%s', which is not among its special_tokens",
                       error_quote(quoted, sizeof quoted, p->name.text ? p->name.text : "", p->name.bytes));
    count += s->count;
  }
  int64_t *ids = arena_alloc(a, count * sizeof *ids);
  if (!ids) return no_memory(error);
  size_t at = before_count;
  if (before_count) memcpy(ids, before, before_count * sizeof *ids);
  for (const template_piece *p = from; p != to; p = p->next) {
    const template_special *s = special_find(c, p->name);
    for (size_t i = 0; i < s->count; i++) ids[at++] = s->ids[i];
  }
  if (behind_count) memcpy(ids + at, behind, behind_count * sizeof *ids);
  *out = ids;
  *out_count = count;
  return VIVA_OK;
}

/* Templates in a row wrap each other: the later one is outside. */
static viva_status template_apply(const component *c, arena *a, tokenizer_spec *spec, viva_error *error) {
  const template_piece *text = NULL;
  for (const template_piece *p = c->pieces; p; p = p->next) {
    if (!p->is_text) continue;
    if (text || !json_string_is(p->name, "A"))
      return error_set(error, VIVA_E_UNSUPPORTED, "a template is supported only with the text ($A) in it once");
    text = p;
  }
  if (!text) return error_set(error, VIVA_E_UNSUPPORTED, "a template without the text ($A) is not supported");
  TRY(join_ids(c, c->pieces, text, NULL, 0, spec->prefix, spec->prefix_count, a, &spec->prefix, &spec->prefix_count,
               error));
  return join_ids(c, text->next, NULL, spec->suffix, spec->suffix_count, NULL, 0, a, &spec->suffix, &spec->suffix_count,
                  error);
}

viva_status postprocessor_apply(const components *c, arena *a, tokenizer_spec *spec, viva_error *error) {
  for (size_t i = 0; i < c->count; i++) {
    const component *part = &c->list[i];
    if (json_string_is(part->type, "ByteLevel")) continue; /* moves offsets, not ids */
    if (!json_string_is(part->type, "TemplateProcessing"))
      return refuse("post_processor", part, "null, ByteLevel, TemplateProcessing", error);
    TRY(template_apply(part, a, spec, error));
  }
  /* What stands first before a text is its BOS, what stands first behind it its EOS. */
  spec->bos = spec->prefix_count ? spec->prefix[0] : -1;
  spec->eos = spec->suffix_count ? spec->suffix[0] : -1;
  spec->add_bos = spec->prefix_count > 0;
  return VIVA_OK;
}
