#include "text/tokenizer_json_parts.h"

#include <string.h>

#define QUOTE_SIZE  80
#define MEMBERS_MAX 64  /* of a Sequence */
#define SPECIAL_MAX 256 /* special tokens, pieces and ids of a template: each is looked for among the others */

int component_is(const component *c, const char *type) { return json_string_is(c->type, type); }

viva_status component_refuse(const char *section, const component *c, const char *known, viva_error *error) {
  char quoted[QUOTE_SIZE];
  return error_set(error, VIVA_E_UNSUPPORTED, "%s type '%s' is not supported; known: %s, Sequence", section,
                   error_quote(quoted, sizeof quoted, c->type.text, c->type.bytes), known);
}

static void *arena_zalloc(arena *a, size_t bytes) {
  void *block = arena_alloc(a, bytes);
  if (block) memset(block, 0, bytes);
  return block;
}

static viva_status no_memory(viva_error *error) {
  return error_set(error, VIVA_E_MEMORY, "no memory to read tokenizer.json");
}

static viva_status too_many(viva_error *error, const char *what) {
  return error_set(error, VIVA_E_UNSUPPORTED, "a template with more than %d %s is not supported", SPECIAL_MAX, what);
}

/* {"Regex": "..."} or {"String": "..."} */
static viva_status read_pattern(json *j, component *c, viva_error *error) {
  json_string key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    json_string value;
    TRY(json_take_string(j, &value, error));
    if (json_string_is(key, "Regex")) c->regex = value;
    if (json_string_is(key, "String")) c->literal = value;
  }
  return json_leave(j, error);
}

/* {"SpecialToken": {"id": "<s>", ...}} or {"Sequence": {"id": "A", ...}} */
static viva_status read_piece(json *j, template_piece *part, viva_error *error) {
  json_string kind, key;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &kind)) {
    part->is_text = json_string_is(kind, "Sequence");
    if (!part->is_text && !json_string_is(kind, "SpecialToken"))
      return json_fail(j, error, "expected Sequence or SpecialToken in a template");
    TRY(json_enter_object(j, error));
    while (json_next_key(j, &key)) {
      if (json_string_is(key, "id"))
        TRY(json_take_string(j, &part->name, error));
      else
        TRY(json_skip(j, error));
    }
    TRY(json_leave(j, error));
  }
  return json_leave(j, error);
}

static viva_status read_template(json *j, component *c, viva_error *error) {
  template_piece **tail = &c->pieces;
  size_t count = 0;
  TRY(json_enter_array(j, error));
  while (json_next_element(j)) {
    if (count++ == SPECIAL_MAX) return too_many(error, "pieces");
    *tail = arena_zalloc(j->arena, sizeof **tail);
    if (!*tail) return no_memory(error);
    TRY(read_piece(j, *tail, error));
    tail = &(*tail)->next;
  }
  return json_leave(j, error);
}

static viva_status read_special_ids(json *j, template_special *special, viva_error *error) {
  size_t room = 0;
  TRY(json_enter_array(j, error));
  for (; json_next_element(j); special->count++) {
    if (special->count == SPECIAL_MAX) return too_many(error, "ids for one special token");
    if (special->count == room) {
      int64_t *ids = arena_alloc(j->arena, (2 * room + 2) * sizeof *ids);
      if (!ids) return no_memory(error);
      if (room) memcpy(ids, special->ids, room * sizeof *ids);
      special->ids = ids;
      room = 2 * room + 2;
    }
    TRY(json_take_i64(j, &special->ids[special->count], error));
  }
  return json_leave(j, error);
}

/* {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}, ...} */
static viva_status read_specials(json *j, component *c, viva_error *error) {
  json_string name, key;
  size_t count = 0;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &name)) {
    if (count++ == SPECIAL_MAX) return too_many(error, "special tokens");
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

/* ["</s>", 2] */
static viva_status read_pair(json *j, int64_t *id, viva_error *error) {
  size_t at = 0;
  TRY(json_enter_array(j, error));
  for (; json_next_element(j); at++) {
    if (at == 1)
      TRY(json_take_i64(j, id, error));
    else
      TRY(json_skip(j, error));
  }
  return json_leave(j, error);
}

/* A flag; null counts as not given. */
static viva_status read_flag(json *j, int *flag, viva_error *error) {
  return json_peek(j) == JSON_NULL ? json_take_null(j, error) : json_take_bool(j, flag, error);
}

static viva_status read_option(json *j, json_string key, component *c, viva_error *error) {
  const struct {
    const char *key;
    int *flag;
  } flags[] = {{"individual_digits", &c->individual_digits},
               {"add_prefix_space", &c->add_prefix_space},
               {"use_regex", &c->use_regex},
               {"trim_offsets", &c->trim_offsets},
               {"invert", &c->invert},
               {"split", &c->split},
               {"strip_left", &c->strip_left},
               {"strip_right", &c->strip_right}};
  const struct {
    const char *key;
    json_string *text;
  } texts[] = {{"type", &c->type},       {"behavior", &c->behavior},       {"content", &c->content},
               {"prepend", &c->prepend}, {"replacement", &c->replacement}, {"prepend_scheme", &c->prepend_scheme},
               {"suffix", &c->suffix}};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    if (json_string_is(key, flags[i].key)) return read_flag(j, flags[i].flag, error);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (json_string_is(key, texts[i].key)) return json_take_string(j, texts[i].text, error);
  if (json_string_is(key, "start")) return json_take_u64(j, &c->start, error);
  if (json_string_is(key, "stop")) return json_take_u64(j, &c->stop, error);
  if (json_string_is(key, "cls") && json_peek(j) == JSON_ARRAY) return read_pair(j, &c->cls, error);
  if (json_string_is(key, "sep") && json_peek(j) == JSON_ARRAY) return read_pair(j, &c->sep, error);
  if (json_string_is(key, "pattern") && json_peek(j) == JSON_OBJECT) return read_pattern(j, c, error);
  if (json_string_is(key, "single") && json_peek(j) == JSON_ARRAY) return read_template(j, c, error);
  if (json_string_is(key, "special_tokens") && json_peek(j) == JSON_OBJECT) return read_specials(j, c, error);
  return json_skip(j, error);
}

/* What a missing option means (serde's defaults). */
static const component defaults = {.use_regex = 1,
                                   .trim_offsets = 1,
                                   .add_prefix_space = COMPONENT_UNSET,
                                   .split = COMPONENT_UNSET,
                                   .cls = -1,
                                   .sep = -1};

/* The list that members are read into. */
typedef struct member_list {
  const char *section, *list_key;
  component **tail;
  size_t count;
} member_list;

static viva_status read_component(json *j, member_list *list, viva_error *error);

/* JSON's own limit of depth bounds the recursion. */
static viva_status read_members(json *j, member_list *list, viva_error *error) {
  TRY(json_enter_array(j, error));
  while (json_next_element(j)) TRY(read_component(j, list, error));
  return json_leave(j, error);
}

static viva_status read_component(json *j, member_list *list, viva_error *error) {
  component *self = arena_alloc(j->arena, sizeof *self);
  json_string key;
  int has_members = 0;
  if (!self) return no_memory(error);
  *self = defaults;
  TRY(json_enter_object(j, error));
  while (json_next_key(j, &key)) {
    if (json_string_is(key, list->list_key)) {
      TRY(read_members(j, list, error));
      has_members = 1;
    } else {
      TRY(read_option(j, key, self, error));
    }
  }
  TRY(json_leave(j, error));
  if (!self->type.text) return json_fail(j, error, "the %s has no type", list->section);
  if (component_is(self, "Sequence"))
    return has_members ? VIVA_OK
                       : json_fail(j, error, "the %s is a Sequence without %s", list->section, list->list_key);
  if (list->count++ == MEMBERS_MAX)
    return error_set(error, VIVA_E_UNSUPPORTED, "%s: a Sequence of more than %d is not supported", list->section,
                     MEMBERS_MAX);
  *list->tail = self;
  list->tail = &self->next;
  return VIVA_OK;
}

viva_status tokenizer_json_parts_read(json *j, const char *section, const char *list_key, tokenizer_json_parts *out,
                                      viva_error *error) {
  *out = (tokenizer_json_parts){NULL, 0};
  if (json_peek(j) == JSON_NULL) return json_take_null(j, error);
  member_list list = {section, list_key, &out->first, 0};
  TRY(read_component(j, &list, error));
  out->count = list.count;
  return VIVA_OK;
}
