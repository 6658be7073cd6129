/* jansson's view. Apart from dump.c, because jansson.h and base/json.h both say json_type and json_string. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/oracle/dump.h"

/* Recursion is bounded by jansson's own limit of 2048 levels. */
static void add_value(dump *d, json_t *value) {
  size_t i;
  const char *key;
  json_t *member;
  switch (json_typeof(value)) {
  case JSON_NULL: dump_add(d, "n", 1); break;
  case JSON_TRUE: dump_add(d, "t", 1); break;
  case JSON_FALSE: dump_add(d, "f", 1); break;
  case JSON_INTEGER: dump_add_integer(d, json_integer_value(value)); break;
  case JSON_REAL: dump_add_double(d, json_real_value(value)); break;
  case JSON_STRING: dump_add_string(d, json_string_value(value), json_string_length(value)); break;
  case JSON_ARRAY:
    dump_add(d, "[", 1);
    json_array_foreach(value, i, member) add_value(d, member);
    dump_add(d, "]", 1);
    break;
  case JSON_OBJECT:
    dump_add(d, "{", 1);
    json_object_foreach(value, key, member) {
      dump_add_string(d, key, strlen(key));
      add_value(d, member);
    }
    dump_add(d, "}", 1);
    break;
  }
}

int dump_jansson(dump *d, const char *text, size_t bytes) {
  json_error_t error;
  json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
  if (root == NULL) {
    snprintf(d->message, sizeof d->message, "%s", error.text);
    return 1;
  }
  add_value(d, root);
  json_decref(root);
  return 0;
}
