/* base/json.c: where a value may stand, and taking it. See json_inner.h for the other parts. */
#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/allowance.h"
#include "base/json_inner.h"
#include "base/num.h"
#include "base/secret.h"

static const char *type_name(json_type type) {
  static const char *const names[] = {
      [JSON_NULL] = "null",
      [JSON_BOOL] = "true or false",
      [JSON_NUMBER] = "a number",
      [JSON_STRING] = "a string",
      [JSON_ARRAY] = "an array",
      [JSON_OBJECT] = "an object",
      [JSON_INVALID] = "something else",
  };
  return names[type];
}

/* The stored error, for the caller. */
static viva_status give(const json *j, viva_error *error) {
  if (error) *error = j->failed;
  return j->failed.code;
}

static viva_status misuse(json *j, const char *what) {
  return json_error(j, VIVA_E_INTERNAL, j->at, "the JSON reader was used out of order: %s", what);
}

static json_level *level_of(json *j) { return &j->levels[j->depth]; }

void json_begin(json *j, runtime *rt, arena *a, const char *path, const char *text, size_t bytes) {
  *j = (json){.rt = rt, .arena = a, .path = path, .text = text, .bytes = bytes};
  j->levels = arena_alloc(a, (JSON_MAX_DEPTH + 1) * sizeof *j->levels);
  if (!j->levels) {
    json_error(j, VIVA_E_MEMORY, 0, "no memory for reading JSON");
    return;
  }
  memset(j->levels, 0, (JSON_MAX_DEPTH + 1) * sizeof *j->levels);
  j->levels[0] = (json_level){.kind = JSON_NULL, .state = JSON_VALUE};
  secret_key(j->hash_key);
  if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
    json_error(j, VIVA_E_FORMAT, 0, "the text begins with a byte order mark; save it without one");
}

void json_begin_at(json *j, runtime *rt, arena *a, const char *path, const char *text, size_t bytes, size_t at) {
  json_begin(j, rt, a, path, text, bytes);
  j->at = at;
}

void json_as_python(json *j) { j->python = 1; }

/* Moves to the value at hand. */
static viva_status reach_value(json *j) {
  if (j->failed.code != VIVA_OK) return j->failed.code;
  if (level_of(j)->state != JSON_VALUE) return misuse(j, "there is no value at hand");
  json_space(j);
  j->mark = j->at;
  return VIVA_OK;
}

static void value_taken(json *j) { level_of(j)->state = JSON_AFTER; }

/* The type that a value's first character tells. */
static json_type type_at(const json *j) {
  if (j->at >= j->bytes) return JSON_INVALID;
  char c = j->text[j->at];
  switch (c) {
  case '"': return JSON_STRING;
  case '{': return JSON_OBJECT;
  case '[': return JSON_ARRAY;
  case 't':
  case 'f': return JSON_BOOL;
  case 'n': return JSON_NULL;
  case 'N':
  case 'I': return j->python ? JSON_NUMBER : JSON_INVALID;
  default: return c == '-' || (c >= '0' && c <= '9') ? JSON_NUMBER : JSON_INVALID;
  }
}

json_type json_peek(json *j) {
  if (reach_value(j) != VIVA_OK) return JSON_INVALID;
  json_type type = type_at(j);
  char buffer[32];
  if (type == JSON_INVALID)
    json_error(j, VIVA_E_FORMAT, j->at, "expected a value, found %s", json_describe(j, j->at, buffer));
  return type;
}

/* Moves to the value at hand, which must be of this type. */
static viva_status expect(json *j, json_type type) {
  json_type found = json_peek(j);
  if (found == type || found == JSON_INVALID) return j->failed.code;
  return json_error(j, VIVA_E_FORMAT, j->at, "expected %s, found %s", type_name(type), type_name(found));
}

static viva_status enter(json *j, json_type kind) {
  TRY(expect(j, kind));
  if (j->depth == JSON_MAX_DEPTH)
    return json_error(j, VIVA_E_FORMAT, j->at, "nested deeper than %d levels", JSON_MAX_DEPTH);
  j->depth++;
  json_level *level = level_of(j);
  level->kind = kind;
  level->state = JSON_FIRST;
  level->start = j->at;
  level->key = j->key; /* until it has one of its own, messages show the one around it */
  level->keys.count = 0;
  level->is_table = 0;
  j->at++;
  return VIVA_OK;
}

viva_status json_enter_object(json *j, viva_error *error) {
  return enter(j, JSON_OBJECT) == VIVA_OK ? VIVA_OK : give(j, error);
}

viva_status json_enter_table(json *j, viva_error *error) {
  TRY(json_enter_object(j, error));
  level_of(j)->is_table = 1;
  return VIVA_OK;
}

viva_status json_enter_array(json *j, viva_error *error) {
  return enter(j, JSON_ARRAY) == VIVA_OK ? VIVA_OK : give(j, error);
}

/* Moves past the comma before the next member, or past the closing bracket. 1 when a member follows. */
static int next_member(json *j, json_type kind, char close) {
  if (j->failed.code != VIVA_OK) return 0;
  json_level *level = level_of(j);
  if (level->kind != kind || (level->state != JSON_FIRST && level->state != JSON_AFTER)) {
    misuse(j, level->state == JSON_VALUE ? "the value before was not taken" : "this container is not open");
    return 0;
  }
  json_space(j);
  char c = j->at < j->bytes ? j->text[j->at] : 0;
  if (c == close) {
    level->state = JSON_CLOSED;
    j->at++;
    return 0;
  }
  if (level->state == JSON_FIRST) return 1;
  char buffer[32];
  if (c != ',') {
    json_error(j, VIVA_E_FORMAT, j->at, "expected ',' or '%c', found %s", close, json_describe(j, j->at, buffer));
    return 0;
  }
  size_t comma = j->at++;
  json_space(j);
  if (j->at < j->bytes && j->text[j->at] == close) {
    json_error(j, VIVA_E_FORMAT, comma, "a comma must not stand before '%c'", close);
    return 0;
  }
  return 1;
}

int json_next_element(json *j) {
  if (!next_member(j, JSON_ARRAY, ']')) return 0;
  level_of(j)->state = JSON_VALUE;
  return 1;
}

/* Where the list of keys is full it doubles, and so does the table of at most half-taken slots. */
static viva_status pay_for_keys(json *j, const json_keys *keys, size_t start) {
  enum { LISTED = 2 * sizeof(json_string), SLOTS = 4 * sizeof(uint64_t) };
  viva_error over = {0};
  if (!j->allowed || keys->count < JSON_FEW_KEYS || keys->count < keys->list_room) return VIVA_OK;
  uint64_t bytes = (uint64_t)keys->list_room * (LISTED + SLOTS);
  if (allowance_memory(j->allowed, bytes, "the set of an object's keys", j->path, &over) == VIVA_OK) return VIVA_OK;
  return json_error(j, VIVA_E_LIMIT, start, "%s", over.message);
}

/* Refuses a key that is in the set of its object's keys already. */
static viva_status check_key(json *j, json_string key, size_t start) {
  json_keys *keys = &level_of(j)->keys;
  int known;
  TRY(pay_for_keys(j, keys, start));
  if (json_keys_add(keys, j->arena, j->hash_key, key, &known) != VIVA_OK)
    return json_error(j, VIVA_E_MEMORY, start, "no memory for the keys of an object");
  if (!known || j->python) return VIVA_OK;
  return json_error(j, VIVA_E_FORMAT, start, "this key was already there in the same object");
}

static viva_status read_key(json *j, json_string *key) {
  char buffer[32];
  if (j->at >= j->bytes || j->text[j->at] != '"')
    return json_error(j, VIVA_E_FORMAT, j->at, "expected a key in double quotes, found %s",
                      json_describe(j, j->at, buffer));
  json_level *level = level_of(j);
  json_scanned scanned;
  size_t start = j->at;
  TRY(json_scan_string(j, &scanned));
  TRY(json_decode(j, &scanned, key));
  j->key = level->key = *key;
  if (!level->is_table) TRY(check_key(j, *key, start));
  json_space(j);
  if (j->at >= j->bytes || j->text[j->at] != ':')
    return json_error(j, VIVA_E_FORMAT, j->at, "expected ':' after the key, found %s", json_describe(j, j->at, buffer));
  j->at++;
  return VIVA_OK;
}

int json_next_key(json *j, json_string *key) {
  if (!next_member(j, JSON_OBJECT, '}') || read_key(j, key) != VIVA_OK) return 0;
  level_of(j)->state = JSON_VALUE;
  return 1;
}

static viva_status leave(json *j) {
  if (j->failed.code != VIVA_OK) return j->failed.code;
  json_level *level = level_of(j);
  if (level->state != JSON_CLOSED) return misuse(j, "members of this container were not taken");
  j->mark = level->start;
  j->depth--;
  j->key = level_of(j)->key;
  value_taken(j);
  return VIVA_OK;
}

viva_status json_leave(json *j, viva_error *error) { return leave(j) == VIVA_OK ? VIVA_OK : give(j, error); }

static viva_status take_string(json *j, json_string *value) {
  json_scanned scanned;
  json_string string;
  TRY(expect(j, JSON_STRING));
  TRY(json_scan_string(j, &scanned));
  TRY(json_decode(j, &scanned, &string));
  value_taken(j);
  *value = string;
  return VIVA_OK;
}

viva_status json_take_string(json *j, json_string *value, viva_error *error) {
  return take_string(j, value) == VIVA_OK ? VIVA_OK : give(j, error);
}

/* A number that is none, or none that ends, as Python writes it. 1 when it was taken. */
static int take_word_number(json *j, json_number *value) {
  static const struct {
    const char *word;
    double value;
  } words[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
  for (size_t i = 0; j->python && i < sizeof words / sizeof *words; i++) {
    size_t bytes = strlen(words[i].word);
    if (j->bytes - j->at < bytes || memcmp(j->text + j->at, words[i].word, bytes) != 0) continue;
    *value = (json_number){.kind = JSON_DOUBLE, .d = words[i].value};
    j->at += bytes;
    return 1;
  }
  return 0;
}

static viva_status take_number(json *j, json_number *value) {
  int is_integer;
  TRY(expect(j, JSON_NUMBER));
  if (take_word_number(j, value)) {
    value_taken(j);
    return VIVA_OK;
  }
  if (j->text[j->at] == 'N' || j->text[j->at] == 'I') return json_scan_word(j, "NaN");
  TRY(json_scan_number(j, &is_integer));
  const char *text = j->text + j->mark;
  size_t bytes = j->at - j->mark;
  json_number n = {0};
  if (is_integer && num_i64(text, bytes, &n.i) == 0) {
    n.kind = JSON_INT;
    n.u = n.i > 0 ? (uint64_t)n.i : 0;
    n.d = n.i == 0 && text[0] == '-' ? -0.0 : (double)n.i;
  } else if (is_integer && num_u64(text, bytes, &n.u) == 0) {
    n.kind = JSON_UINT;
    n.d = (double)n.u;
  } else {
    n.kind = JSON_DOUBLE;
    if (num_double(text, bytes, &n.d))
      return json_error(j, VIVA_E_FORMAT, j->mark, "the number is larger than a double can hold");
  }
  value_taken(j);
  *value = n;
  return VIVA_OK;
}

viva_status json_take_number(json *j, json_number *value, viva_error *error) {
  return take_number(j, value) == VIVA_OK ? VIVA_OK : give(j, error);
}

/* "expected WHAT, found 1.5", the number as it is written. */
static viva_status fail_number(json *j, const char *what) {
  size_t bytes = j->at - j->mark, most = 40;
  return json_error(j, VIVA_E_FORMAT, j->mark, "expected %s, found %.*s%s", what, (int)(bytes < most ? bytes : most),
                    j->text + j->mark, bytes < most ? "" : "...");
}

viva_status json_take_u64(json *j, uint64_t *value, viva_error *error) {
  json_number n;
  if (take_number(j, &n) != VIVA_OK) return give(j, error);
  if (n.kind == JSON_DOUBLE || (n.kind == JSON_INT && n.i < 0)) {
    fail_number(j, "an integer from 0 to 18446744073709551615");
    return give(j, error);
  }
  *value = n.u;
  return VIVA_OK;
}

viva_status json_take_i64(json *j, int64_t *value, viva_error *error) {
  json_number n;
  if (take_number(j, &n) != VIVA_OK) return give(j, error);
  if (n.kind != JSON_INT) {
    fail_number(j, "an integer from -9223372036854775808 to 9223372036854775807");
    return give(j, error);
  }
  *value = n.i;
  return VIVA_OK;
}

viva_status json_take_double(json *j, double *value, viva_error *error) {
  json_number n;
  if (take_number(j, &n) != VIVA_OK) return give(j, error);
  *value = n.d;
  return VIVA_OK;
}

static viva_status take_bool(json *j, int *value) {
  TRY(expect(j, JSON_BOOL));
  int is_true = j->text[j->at] == 't';
  TRY(json_scan_word(j, is_true ? "true" : "false"));
  value_taken(j);
  *value = is_true;
  return VIVA_OK;
}

viva_status json_take_bool(json *j, int *value, viva_error *error) {
  return take_bool(j, value) == VIVA_OK ? VIVA_OK : give(j, error);
}

static viva_status take_null(json *j) {
  TRY(expect(j, JSON_NULL));
  TRY(json_scan_word(j, "null"));
  value_taken(j);
  return VIVA_OK;
}

viva_status json_take_null(json *j, viva_error *error) { return take_null(j) == VIVA_OK ? VIVA_OK : give(j, error); }

/* Takes a value without members, or enters one with. */
static viva_status skip_step(json *j) {
  json_number number;
  json_scanned scanned;
  int boolean;
  json_type type = json_peek(j);
  switch (type) {
  case JSON_NULL: return take_null(j);
  case JSON_BOOL: return take_bool(j, &boolean);
  case JSON_NUMBER: return take_number(j, &number);
  case JSON_STRING:
    TRY(json_scan_string(j, &scanned));
    value_taken(j);
    return VIVA_OK;
  case JSON_ARRAY:
  case JSON_OBJECT: return enter(j, type);
  default: return j->failed.code;
  }
}

static viva_status skip(json *j) {
  uint32_t depth = j->depth;
  TRY(reach_value(j));
  size_t start = j->at;
  for (;;) {
    TRY(skip_step(j));
    json_string key;
    while (j->depth > depth) {
      int more = level_of(j)->kind == JSON_OBJECT ? json_next_key(j, &key) : json_next_element(j);
      if (more) break;
      TRY(leave(j)); /* returns the error, if one ended the members */
    }
    if (j->depth == depth) break;
  }
  j->mark = start;
  return VIVA_OK;
}

viva_status json_skip(json *j, viva_error *error) { return skip(j) == VIVA_OK ? VIVA_OK : give(j, error); }

viva_status json_take_raw(json *j, json_string *raw, viva_error *error) {
  if (skip(j) != VIVA_OK) return give(j, error);
  *raw = (json_string){j->text + j->mark, j->at - j->mark};
  return VIVA_OK;
}

static viva_status finish(json *j) {
  if (j->failed.code != VIVA_OK) return j->failed.code;
  if (j->depth != 0 || level_of(j)->state != JSON_AFTER) return misuse(j, "the value was not taken");
  json_space(j);
  char buffer[32];
  if (j->at < j->bytes)
    return json_error(j, VIVA_E_FORMAT, j->at, "expected the end of the text after the value, found %s",
                      json_describe(j, j->at, buffer));
  return VIVA_OK;
}

viva_status json_finish(json *j, viva_error *error) { return finish(j) == VIVA_OK ? VIVA_OK : give(j, error); }

viva_status json_fail(json *j, viva_error *error, const char *format, ...) {
  char text[sizeof j->failed.message];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (j->levels && level_of(j)->state == JSON_VALUE) (void)reach_value(j);
  json_error(j, VIVA_E_FORMAT, j->mark, "%s", length < 0 ? "" : text);
  return give(j, error);
}

int json_string_is(json_string s, const char *text) {
  size_t length = strlen(text);
  return s.bytes == length && (length == 0 || memcmp(s.text, text, length) == 0);
}
