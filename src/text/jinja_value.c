/* text/jinja_value.c: values: made, compared, looked into. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja.h"

/* ---- errors and limits */

int jinja_fail(jinja *j, viva_status code, const char *format, ...) {
  char message[sizeof j->error->message];
  va_list arguments;
  if (j->status) return 0;
  va_start(arguments, format);
  if (vsnprintf(message, sizeof message, format, arguments) < 0) message[0] = 0;
  va_end(arguments);
  j->status = j->line > 0 ? error_set(j->error, code, "line %u of the chat template: %s", j->line, message)
                          : error_set(j->error, code, "%s", message);
  return 0;
}

int jinja_step(jinja *j, uint64_t n) {
  if (j->status) return 0;
  if (n < j->steps) return j->steps -= n, 1;
  j->steps = 0;
  return jinja_fail(j, VIVA_E_LIMIT, "it takes too many steps; is there a loop that does not end?");
}

int jinja_enter(jinja *j) {
  if (j->status || !jinja_step(j, 1)) return 0;
  if (j->depth == JINJA_DEPTH)
    return jinja_fail(j, VIVA_E_LIMIT, "expressions, blocks or calls lie more than %d deep in each other", JINJA_DEPTH);
  j->depth++;
  return 1;
}

void jinja_leave(jinja *j) { j->depth--; }

void *jinja_alloc(jinja *j, size_t bytes) {
  size_t cost = bytes + 16;
  if (j->status || !jinja_step(j, bytes / 64)) return NULL;
  if (bytes > j->room || cost > j->room) {
    jinja_fail(j, VIVA_E_LIMIT, "it takes too much memory");
    return NULL;
  }
  void *block = arena_alloc(j->arena, bytes);
  if (!block) {
    jinja_fail(j, VIVA_E_MEMORY, "no memory");
    return NULL;
  }
  j->room -= cost;
  return memset(block, 0, bytes);
}

/* ---- making */

jinja_value jinja_none(void) { return (jinja_value){.kind = J_NONE}; }
jinja_value jinja_bool(int value) { return (jinja_value){.kind = J_BOOL, .as.boolean = value != 0}; }
jinja_value jinja_int(int64_t value) { return (jinja_value){.kind = J_INT, .as.integer = value}; }
jinja_value jinja_real(double value) { return (jinja_value){.kind = J_FLOAT, .as.real = value}; }

static jinja_value with_text(jinja *j, jinja_kind kind, jinja_text text) {
  jinja_text *kept = jinja_alloc(j, sizeof *kept);
  if (!kept) return (jinja_value){.kind = J_UNDEFINED};
  *kept = text;
  return (jinja_value){.kind = kind, .as.string = kept};
}

jinja_value jinja_undefined(jinja *j, jinja_text name) { return with_text(j, J_UNDEFINED, name); }
jinja_value jinja_string(jinja *j, jinja_text text) { return with_text(j, J_STRING, text); }

/* *list is NULL after an error; jinja_list_add then does nothing. */
jinja_value jinja_list_new(jinja *j, jinja_list **list) {
  *list = jinja_alloc(j, sizeof **list);
  return *list ? (jinja_value){.kind = J_LIST, .as.list = *list} : (jinja_value){.kind = J_UNDEFINED};
}

jinja_value jinja_dict_new(jinja *j, jinja_dict **dict) {
  *dict = jinja_alloc(j, sizeof **dict);
  return *dict ? (jinja_value){.kind = J_DICT, .as.dict = *dict} : (jinja_value){.kind = J_UNDEFINED};
}

void jinja_list_add(jinja *j, jinja_list *list, jinja_value value) {
  if (j->status) return;
  if (list->count == list->capacity) {
    size_t capacity = 2 * list->capacity + 4;
    jinja_value *items = jinja_alloc(j, capacity * sizeof *items); /* capacity is bounded by j->room */
    if (!items) return;
    if (list->count > 0) memcpy(items, list->items, list->count * sizeof *items);
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->count++] = value;
}

void jinja_dict_append(jinja *j, jinja_dict *dict, jinja_value key, jinja_value value) {
  if (j->status) return;
  if (dict->count == dict->capacity) {
    size_t capacity = 2 * dict->capacity + 4;
    jinja_member *members = jinja_alloc(j, capacity * sizeof *members);
    if (!members) return;
    if (dict->count > 0) memcpy(members, dict->members, dict->count * sizeof *members);
    dict->members = members;
    dict->capacity = capacity;
  }
  dict->members[dict->count++] = (jinja_member){key, value};
}

void jinja_dict_set(jinja *j, jinja_dict *dict, jinja_value key, jinja_value value) {
  if (j->status) return;
  for (size_t i = 0; i < dict->count && jinja_step(j, 1); i++) {
    if (!jinja_equal(j, &dict->members[i].key, &key)) continue;
    dict->members[i].value = value;
    return;
  }
  jinja_dict_append(j, dict, key, value);
}

const jinja_value *jinja_dict_find(jinja *j, const jinja_dict *dict, jinja_text key) {
  if (!jinja_step(j, dict->count / 8)) return NULL;
  for (size_t i = 0; i < dict->count; i++) {
    const jinja_member *m = &dict->members[i];
    if (m->key.kind == J_STRING && jinja_text_equal(*m->key.as.string, key)) return &m->value;
  }
  return NULL;
}

const jinja_value *jinja_dict_get(jinja *j, const jinja_dict *dict, const jinja_value *key) {
  if (key->kind == J_STRING) return jinja_dict_find(j, dict, *key->as.string);
  for (size_t i = 0; i < dict->count && jinja_step(j, 1); i++)
    if (jinja_equal(j, &dict->members[i].key, key)) return &dict->members[i].value;
  return NULL;
}

/* ---- asking */

const char *jinja_kind_name(const jinja_value *v) {
  static const char *const names[] = {
      [J_UNDEFINED] = "undefined", [J_NONE] = "None",        [J_BOOL] = "bool",   [J_INT] = "int",
      [J_FLOAT] = "float",         [J_STRING] = "str",       [J_LIST] = "list",   [J_DICT] = "dict",
      [J_NAMESPACE] = "Namespace", [J_LOOP] = "LoopContext", [J_MACRO] = "Macro", [J_FUNCTION] = "function",
      [J_METHOD] = "method"};
  return v->kind == J_LIST && v->tuple ? "tuple" : names[v->kind];
}

int jinja_true(const jinja_value *v) {
  switch (v->kind) {
  case J_UNDEFINED:
  case J_NONE: return 0;
  case J_BOOL: return v->as.boolean;
  case J_INT: return v->as.integer != 0;
  case J_FLOAT: return v->as.real != 0;
  case J_STRING: return v->as.string->bytes > 0;
  case J_LIST: return v->as.list->count > 0;
  case J_DICT: return v->as.dict->count > 0;
  default: return 1;
  }
}

static int is_number(const jinja_value *v) { return v->kind == J_BOOL || v->kind == J_INT || v->kind == J_FLOAT; }

static double number_of(const jinja_value *v) {
  return v->kind == J_FLOAT ? v->as.real : v->kind == J_INT ? (double)v->as.integer : (double)v->as.boolean;
}

static int64_t integer_of(const jinja_value *v) { return v->kind == J_INT ? v->as.integer : v->as.boolean; }

static int equal_lists(jinja *j, const jinja_list *a, const jinja_list *b) {
  if (a->count != b->count) return 0;
  for (size_t i = 0; i < a->count; i++)
    if (!jinja_equal(j, &a->items[i], &b->items[i])) return 0;
  return 1;
}

static int equal_dicts(jinja *j, const jinja_dict *a, const jinja_dict *b) {
  if (a->count != b->count) return 0;
  for (size_t i = 0; i < a->count; i++) {
    const jinja_value *other = jinja_dict_get(j, b, &a->members[i].key);
    if (!other || !jinja_equal(j, &a->members[i].value, other)) return 0;
  }
  return 1;
}

static int equal_values(jinja *j, const jinja_value *a, const jinja_value *b) {
  if (is_number(a) && is_number(b)) {
    if (a->kind == J_FLOAT || b->kind == J_FLOAT) return number_of(a) == number_of(b);
    return integer_of(a) == integer_of(b);
  }
  if (a->kind != b->kind) return 0;
  switch (a->kind) {
  case J_UNDEFINED:
  case J_NONE: return 1;
  case J_STRING: return jinja_step(j, a->as.string->bytes / 32) && jinja_text_equal(*a->as.string, *b->as.string);
  case J_LIST: return a->tuple == b->tuple && equal_lists(j, a->as.list, b->as.list);
  case J_DICT: return equal_dicts(j, a->as.dict, b->as.dict);
  case J_FUNCTION: return a->as.function == b->as.function;
  default: return a->as.dict == b->as.dict; /* the same object */
  }
}

int jinja_equal(jinja *j, const jinja_value *a, const jinja_value *b) {
  if (!jinja_enter(j)) return 0;
  int equal = equal_values(j, a, b);
  jinja_leave(j);
  return equal;
}

static int compare_texts(jinja_text a, jinja_text b) {
  size_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
  int order = common > 0 ? memcmp(a.text, b.text, common) : 0; /* UTF-8 sorts as its code points do */
  return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static int compare_lists(jinja *j, const jinja_list *a, const jinja_list *b) {
  for (size_t i = 0; i < a->count && i < b->count; i++)
    if (!jinja_equal(j, &a->items[i], &b->items[i])) return jinja_compare(j, &a->items[i], &b->items[i]);
  return (a->count > b->count) - (a->count < b->count);
}

int jinja_compare(jinja *j, const jinja_value *a, const jinja_value *b) {
  int order = 0;
  if (!jinja_enter(j)) return 0;
  if (is_number(a) && is_number(b)) {
    int real = a->kind == J_FLOAT || b->kind == J_FLOAT;
    order = real ? (number_of(a) > number_of(b)) - (number_of(a) < number_of(b))
                 : (integer_of(a) > integer_of(b)) - (integer_of(a) < integer_of(b));
  } else if (a->kind == J_STRING && b->kind == J_STRING) {
    order = compare_texts(*a->as.string, *b->as.string);
  } else if (a->kind == J_LIST && b->kind == J_LIST && a->tuple == b->tuple) {
    order = compare_lists(j, a->as.list, b->as.list);
  } else {
    jinja_fail(j, VIVA_E_ARGUMENT, "%s and %s have no order", jinja_kind_name(a), jinja_kind_name(b));
  }
  jinja_leave(j);
  return order;
}

int jinja_contains(jinja *j, const jinja_value *in, const jinja_value *what) {
  if (in->kind == J_STRING) {
    if (what->kind == J_STRING) return jinja_find(j, *in->as.string, *what->as.string, 0) != SIZE_MAX;
    return jinja_fail(j, VIVA_E_ARGUMENT, "\"in\" a string asks for a string, not %s", jinja_kind_name(what));
  }
  if (in->kind == J_DICT) return jinja_dict_get(j, in->as.dict, what) != NULL;
  if (in->kind == J_UNDEFINED) return 0;
  if (in->kind != J_LIST)
    return jinja_fail(j, VIVA_E_ARGUMENT, "nothing is \"in\" a value of type %s", jinja_kind_name(in));
  for (size_t i = 0; i < in->as.list->count && !j->status; i++)
    if (jinja_equal(j, &in->as.list->items[i], what)) return 1;
  return 0;
}

/* The characters of a string, the keys of a dict. */
jinja_list *jinja_iterate(jinja *j, const jinja_value *v) {
  jinja_list *list;
  if (v->kind == J_LIST) return v->as.list;
  if (v->kind != J_STRING && v->kind != J_DICT && v->kind != J_UNDEFINED) {
    jinja_fail(j, VIVA_E_ARGUMENT, "a value of type %s cannot be iterated over", jinja_kind_name(v));
    return NULL;
  }
  jinja_list_new(j, &list);
  if (v->kind == J_DICT)
    for (size_t i = 0; i < v->as.dict->count; i++) jinja_list_add(j, list, v->as.dict->members[i].key);
  if (v->kind == J_STRING) {
    jinja_text t = *v->as.string;
    for (size_t at = 0, end; at < t.bytes && !j->status; at = end) {
      for (end = at + 1; end < t.bytes && ((unsigned char)t.text[end] & 0xc0) == 0x80;) end++;
      jinja_list_add(j, list, jinja_string(j, jinja_part(t, at, end)));
    }
  }
  return j->status ? NULL : list;
}

size_t jinja_length(jinja *j, const jinja_value *v) {
  switch (v->kind) {
  case J_UNDEFINED: return 0;
  case J_STRING: return jinja_step(j, v->as.string->bytes / 16) ? jinja_characters(*v->as.string) : 0;
  case J_LIST: return v->as.list->count;
  case J_DICT: return v->as.dict->count;
  case J_LOOP: return v->as.loop->items->count;
  default: jinja_fail(j, VIVA_E_ARGUMENT, "a value of type %s has no length", jinja_kind_name(v)); return 0;
  }
}
