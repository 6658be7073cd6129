#include "base/oracle/dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

void dump_free(dump *d) {
  free(d->data);
  *d = (dump){0};
}

void dump_add(dump *d, const char *text, size_t bytes) {
  if (bytes > d->room - d->bytes) {
    d->room = 2 * d->room + bytes + 256;
    d->data = realloc(d->data, d->room);
    if (d->data == NULL) abort();
  }
  if (bytes > 0) memcpy(d->data + d->bytes, text, bytes);
  d->bytes += bytes;
}

void dump_add_string(dump *d, const char *text, size_t bytes) {
  char length[32];
  dump_add(d, length, (size_t)snprintf(length, sizeof length, "s%zu:", bytes));
  dump_add(d, text, bytes);
}

void dump_add_integer(dump *d, int64_t value) {
  char text[32];
  dump_add(d, text, (size_t)snprintf(text, sizeof text, "i%" PRId64 ";", value));
}

void dump_add_double(dump *d, double value) {
  char text[32];
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  dump_add(d, text, (size_t)snprintf(text, sizeof text, "d%016" PRIx64 ";", bits));
}

static viva_status add_number(dump *d, json *j, viva_error *error) {
  json_number n;
  TRY(json_take_number(j, &n, error));
  size_t bytes = j->at - j->mark;
  int written_as_integer = memchr(j->text + j->mark, '.', bytes) == NULL &&
                           memchr(j->text + j->mark, 'e', bytes) == NULL &&
                           memchr(j->text + j->mark, 'E', bytes) == NULL;
  if (n.kind == JSON_INT)
    dump_add_integer(d, n.i);
  else
    dump_add_double(d, n.d);
  d->big_integers |= n.kind != JSON_INT && written_as_integer;
  return VIVA_OK;
}

/* Takes a value without members, or enters one with. */
static viva_status add_step(dump *d, json *j, viva_error *error) {
  json_string string;
  int boolean;
  switch (json_peek(j)) {
  case JSON_NULL: dump_add(d, "n", 1); return json_take_null(j, error);
  case JSON_BOOL:
    TRY(json_take_bool(j, &boolean, error));
    dump_add(d, boolean ? "t" : "f", 1);
    return VIVA_OK;
  case JSON_NUMBER: return add_number(d, j, error);
  case JSON_STRING:
    TRY(json_take_string(j, &string, error));
    dump_add_string(d, string.text, string.bytes);
    return VIVA_OK;
  case JSON_ARRAY: dump_add(d, "[", 1); return json_enter_array(j, error);
  case JSON_OBJECT: dump_add(d, "{", 1); return json_enter_object(j, error);
  default: return json_skip(j, error); /* gives the error */
  }
}

static viva_status add_document(dump *d, json *j, viva_error *error) {
  char kinds[JSON_MAX_DEPTH];
  do {
    uint32_t before = j->depth;
    json_type type = json_peek(j);
    TRY(add_step(d, j, error));
    if (j->depth > before) kinds[before] = type == JSON_OBJECT ? '}' : ']';
    while (j->depth > 0) {
      json_string key;
      char close = kinds[j->depth - 1];
      if (close == ']' && json_next_element(j)) break;
      if (close == '}' && json_next_key(j, &key)) {
        dump_add_string(d, key.text, key.bytes);
        d->zero_in_key |= memchr(key.text, 0, key.bytes) != NULL;
        break;
      }
      TRY(json_leave(j, error));
      dump_add(d, &close, 1);
    }
  } while (j->depth > 0);
  return json_finish(j, error);
}

int dump_viva(dump *d, const char *text, size_t bytes) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  arena *a = arena_create(&rt->mem, 0);
  viva_error error = {0};
  json j;
  json_begin(&j, rt, a, "f", text, bytes);
  viva_status status = add_document(d, &j, &error);
  d->too_deep = strstr(error.message, "nested deeper") != NULL;
  d->zero_outside = strstr(error.message, "found byte 0x00") != NULL;
  snprintf(d->message, sizeof d->message, "%s", error.message);
  arena_free(a);
  runtime_release(rt);
  return status != VIVA_OK;
}

const char *dump_disagreement(const char *text, size_t bytes) {
  static _Thread_local char what[1400];
  dump ours = {0}, theirs = {0};
  int we_refuse = dump_viva(&ours, text, bytes), they_refuse = dump_jansson(&theirs, text, bytes);
  what[0] = 0;
  if (!we_refuse && !they_refuse && (ours.bytes != theirs.bytes || memcmp(ours.data, theirs.data, ours.bytes) != 0))
    snprintf(what, sizeof what, "values differ: ours %.300s, theirs %.300s", ours.data, theirs.data);
  if (!we_refuse && they_refuse && !ours.big_integers && !ours.zero_in_key)
    snprintf(what, sizeof what, "accepted, but jansson says: %s", theirs.message);
  if (we_refuse && !they_refuse && !ours.too_deep && !ours.zero_outside)
    snprintf(what, sizeof what, "refused: %s", ours.message);
  dump_free(&ours);
  dump_free(&theirs);
  return what[0] == 0 ? NULL : what;
}
