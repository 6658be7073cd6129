/* text/chat_template.c: from messages to values, and from there through the interpreter. */
#include "text/chat_template.h"

#include <string.h>

#include "text/jinja.h"

/* What a template may take: fixed, and more for each byte that it is given. A conversation of a thousand messages
 * through the longest known templates takes a tenth of this. */
#define STEPS_FIXED    400000
#define STEPS_PER_BYTE 64
#define ROOM_FIXED     ((size_t)5 << 20)
#define ROOM_PER_BYTE  24

/* ---- JSON as values, every byte marked */

static jinja_text marked(jinja *j, json_string s) {
  uint8_t *marks = s.bytes > 0 ? jinja_alloc(j, s.bytes) : NULL;
  if (marks) memset(marks, 1, s.bytes);
  return (jinja_text){s.text ? s.text : "", marks, j->status ? 0 : s.bytes};
}

static viva_status take_value(jinja *j, json *in, jinja_value *value);

static viva_status take_number(jinja *j, json *in, jinja_value *value) {
  json_number n;
  TRY(json_take_number(in, &n, j->error));
  if (n.kind == JSON_UINT)
    return json_fail(in, j->error, "a number beyond 64 bits with sign, which templates do not get");
  *value = n.kind == JSON_INT ? jinja_int(n.i) : jinja_real(n.d);
  return VIVA_OK;
}

static viva_status take_list(jinja *j, json *in, jinja_value *value) {
  jinja_list *list;
  jinja_value item;
  *value = jinja_list_new(j, &list);
  TRY(json_enter_array(in, j->error));
  while (!j->status && json_next_element(in)) {
    TRY(take_value(j, in, &item));
    jinja_list_add(j, list, item);
  }
  return j->status ? j->status : json_leave(in, j->error);
}

/* A role that is a plain word cannot be, or begin, a special token; templates build tokens with it ('<|' + role +
 * '|>'). */
static int is_plain_word(json_string s) {
  for (size_t i = 0; i < s.bytes; i++) {
    char c = s.text[i];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-')) return 0;
  }
  return 1;
}

static viva_status take_dict(jinja *j, json *in, jinja_value *value) {
  jinja_dict *dict;
  jinja_value item;
  json_string key;
  *value = jinja_dict_new(j, &dict);
  TRY(json_enter_object(in, j->error));
  while (!j->status && json_next_key(in, &key)) {
    jinja_text name = marked(j, key);
    int role = json_string_is(key, "role") && json_peek(in) == JSON_STRING;
    TRY(take_value(j, in, &item));
    if (role && item.kind == J_STRING && is_plain_word((json_string){item.as.string->text, item.as.string->bytes}))
      item = jinja_string(j, (jinja_text){item.as.string->text, NULL, item.as.string->bytes});
    jinja_dict_append(j, dict, jinja_string(j, name), item);
  }
  return j->status ? j->status : json_leave(in, j->error);
}

static viva_status take_value(jinja *j, json *in, jinja_value *value) {
  json_string s;
  int b = 0;
  *value = jinja_none();
  switch (json_peek(in)) {
  case JSON_NULL: return json_take_null(in, j->error);
  case JSON_BOOL:
    TRY(json_take_bool(in, &b, j->error));
    *value = jinja_bool(b);
    return VIVA_OK;
  case JSON_NUMBER: return take_number(j, in, value);
  case JSON_STRING:
    TRY(json_take_string(in, &s, j->error));
    *value = jinja_string(j, marked(j, s));
    return j->status;
  case JSON_ARRAY: return take_list(j, in, value);
  case JSON_OBJECT: return take_dict(j, in, value);
  case JSON_INVALID: break;
  }
  return json_skip(in, j->error);
}

/* what: "messages", for errors; kind: JSON_ARRAY or JSON_OBJECT. */
static viva_status take_json(jinja *j, const char *what, const char *text, json_type kind, jinja_value *value) {
  json in;
  json_begin(&in, j->rt, j->arena, what, text, strlen(text));
  if (json_peek(&in) != kind)
    return json_fail(&in, j->error, "expected %s", kind == JSON_ARRAY ? "a JSON array" : "a JSON object");
  TRY(take_value(j, &in, value));
  return json_finish(&in, j->error);
}

static jinja_value plain_messages(jinja *j, const chat_template_input *in) {
  jinja_list *list;
  jinja_dict *dict;
  jinja_value result = jinja_list_new(j, &list);
  for (size_t i = 0; i < in->count && !j->status; i++) {
    json_string role = {in->list[i].role, in->list[i].role_bytes};
    json_string content = {in->list[i].content, in->list[i].content_bytes};
    jinja_value message = jinja_dict_new(j, &dict);
    if (!utf8_valid(content.text, content.bytes) || !utf8_valid(role.text, role.bytes))
      jinja_fail(j, VIVA_E_FORMAT, "message %zu is not UTF-8", i + 1);
    jinja_text name = is_plain_word(role) ? (jinja_text){role.text, NULL, role.bytes} : marked(j, role);
    jinja_dict_append(j, dict, jinja_string(j, jinja_literal("role")), jinja_string(j, name));
    jinja_dict_append(j, dict, jinja_string(j, jinja_literal("content")), jinja_string(j, marked(j, content)));
    jinja_list_add(j, list, message);
  }
  return result;
}

/* ---- names */

static viva_status set_json(jinja *j, const char *name, const char *text) {
  jinja_value value = jinja_none(); /* as apply_chat_template hands over what it was not given */
  if (text) TRY(take_json(j, name, text, JSON_ARRAY, &value));
  jinja_assign(j, jinja_literal(name), value);
  return j->status;
}

static viva_status set_names(jinja *j, const chat_template_input *in) {
  jinja_value value;
  for (size_t i = 0; i < in->token_count; i++)
    jinja_assign(j, jinja_literal(in->tokens[2 * i]), jinja_string(j, jinja_literal(in->tokens[2 * i + 1])));
  TRY(set_json(j, "tools", in->tools));
  TRY(set_json(j, "documents", in->documents));
  jinja_assign(j, jinja_literal("add_generation_prompt"), jinja_bool(in->add_generation_prompt));
  if (in->variables) {
    TRY(take_json(j, "variables", in->variables, JSON_OBJECT, &value));
    for (size_t i = 0; i < value.as.dict->count; i++)
      jinja_assign(j, *value.as.dict->members[i].key.as.string, value.as.dict->members[i].value);
  }
  if (!in->messages) {
    jinja_assign(j, jinja_literal("messages"), plain_messages(j, in));
    return j->status;
  }
  TRY(take_json(j, "messages", in->messages, JSON_ARRAY, &value));
  jinja_assign(j, jinja_literal("messages"), value);
  return j->status;
}

/* ---- rendering */

static size_t given_bytes(const chat_template_input *in) {
  const char *texts[] = {in->messages, in->tools, in->documents, in->variables};
  size_t bytes = in->bytes;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) bytes += texts[i] ? strlen(texts[i]) : 0;
  for (size_t i = 0; i < in->count; i++) bytes += in->list[i].role_bytes + in->list[i].content_bytes + 64;
  return bytes;
}

static viva_status keep(runtime *rt, const jinja_output *from, chat_text *out, viva_error *error) {
  out->text = mem_alloc(&rt->mem, from->bytes + 1);
  out->marks = mem_alloc(&rt->mem, from->bytes + 1);
  if (!out->text || !out->marks) {
    chat_text_free(rt, out);
    return error_set(error, VIVA_E_MEMORY, "no memory for a conversation of %zu bytes", from->bytes);
  }
  if (from->bytes > 0) {
    memcpy(out->text, from->text, from->bytes);
    memcpy(out->marks, from->marks, from->bytes);
  }
  out->text[from->bytes] = 0;
  out->bytes = from->bytes;
  return VIVA_OK;
}

viva_status chat_template_render(runtime *rt, const chat_template_input *in, chat_text *out, viva_error *error) {
  viva_error local = {0};
  jinja_scope names = {0};
  jinja_output text = {0};
  size_t given = given_bytes(in);
  *out = (chat_text){0};
  if (in->bytes > CHAT_TEMPLATE_MOST)
    return error_set(error, VIVA_E_LIMIT, "the chat template has %zu bytes; at most %zu are read", in->bytes,
                     CHAT_TEMPLATE_MOST);
  if (!utf8_valid(in->text, in->bytes)) return error_set(error, VIVA_E_FORMAT, "the chat template is not UTF-8");
  jinja j = {.rt = rt,
             .arena = arena_create(&rt->mem, 65536),
             .room = ROOM_FIXED + given * ROOM_PER_BYTE,
             .steps = STEPS_FIXED + (uint64_t)given * STEPS_PER_BYTE,
             .error = &local,
             .now = in->now,
             .scope = &names,
             .out = &text};
  viva_status status = j.arena ? VIVA_OK : error_set(&local, VIVA_E_MEMORY, "no memory for a chat template");
  jinja_node *program = status ? NULL : jinja_parse(&j, in->text, in->bytes);
  if (!status) status = j.status;
  if (!status) status = set_names(&j, in);
  if (!status) jinja_run(&j, program);
  if (!status) status = j.status;
  if (!status) status = keep(rt, &text, out, &local);
  arena_free(j.arena);
  if (status && error) *error = local;
  return status;
}

void chat_text_free(runtime *rt, chat_text *text) {
  mem_free(&rt->mem, text->text);
  mem_free(&rt->mem, text->marks);
  *text = (chat_text){0};
}
