/* format/config/config_values.c */
#include "format/config/config_values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where a part of the file begins in it. */
static uint64_t offset_of(const config_file *file, const char *part) { return (uint64_t)(part - file->text); }

/* Takes the value at hand, whatever it is. */
static viva_status take(const config_file *file, json *j, const char *key, config_value *value) {
  viva_error *error = file->error;
  json_type type = json_peek(j);
  *value = (config_value){.key = key, .offset = offset_of(file, j->text) + j->at};
  switch (type) {
  case JSON_NULL: value->kind = VALUE_NULL; return json_take_null(j, error);
  case JSON_BOOL: value->kind = VALUE_BOOL; return json_take_bool(j, &value->boolean, error);
  case JSON_NUMBER: value->kind = VALUE_NUMBER; return json_take_number(j, &value->number, error);
  case JSON_STRING: value->kind = VALUE_STRING; return json_take_string(j, &value->text, error);
  case JSON_ARRAY: value->kind = VALUE_LIST; return json_take_raw(j, &value->text, error);
  default: value->kind = VALUE_OBJECT; return json_take_raw(j, &value->text, error);
  }
}

viva_status config_read_object(const config_file *file, json_string raw, const char *const *keys, size_t count,
                               config_value *values, size_t *others) {
  json j;
  json_string key;
  size_t left_out = 0;
  for (size_t i = 0; i < count; i++) values[i] = (config_value){.key = keys[i]};
  json_begin(&j, file->rt, file->arena, file->path, raw.text, raw.bytes);
  json_as_python(&j);
  TRY(json_enter_object(&j, file->error));
  while (json_next_key(&j, &key)) {
    size_t i = 0;
    while (i < count && !json_string_is(key, keys[i])) i++;
    left_out += i == count;
    TRY(i < count ? take(file, &j, keys[i], &values[i]) : json_skip(&j, file->error));
  }
  if (others) *others = left_out;
  TRY(json_leave(&j, file->error));
  return json_finish(&j, file->error);
}

viva_status config_read_list(const config_file *file, const config_value *list,
                             viva_status (*visit)(void *arg, const config_value *element), void *arg) {
  json j;
  config_value element;
  json_begin(&j, file->rt, file->arena, file->path, list->text.text, list->text.bytes);
  json_as_python(&j);
  TRY(json_enter_array(&j, file->error));
  while (json_next_element(&j)) {
    TRY(take(file, &j, list->key, &element));
    TRY(visit(arg, &element));
  }
  TRY(json_leave(&j, file->error));
  return json_finish(&j, file->error);
}

viva_status config_fail(const config_file *file, const config_value *value, viva_status code, const char *format, ...) {
  char message[sizeof file->error->message];
  va_list arguments;
  va_start(arguments, format);
  if (vsnprintf(message, sizeof message, format, arguments) < 0) message[0] = 0;
  va_end(arguments);
  error_set(file->error, code, "%s", message);
  error_at(file->error, file->path, value->key, -1, value->kind == VALUE_ABSENT ? VIVA_NO_OFFSET : value->offset);
  return code;
}

viva_status config_wrong_kind(const config_file *file, const config_value *value, const char *expected) {
  static const char *const words[] = {
      [VALUE_ABSENT] = "nothing",  [VALUE_NULL] = "null",   [VALUE_BOOL] = "true or false",
      [VALUE_STRING] = "a string", [VALUE_LIST] = "a list", [VALUE_OBJECT] = "an object"};
  if (value->kind != VALUE_NUMBER)
    return config_fail(file, value, VIVA_E_FORMAT, "expected %s, found %s", expected, words[value->kind]);
  size_t bytes = 0, at = (size_t)value->offset, most = 40;
  while (bytes < most && bytes < file->bytes - at && strchr("+-.0123456789eE", file->text[at + bytes])) bytes++;
  return config_fail(file, value, VIVA_E_FORMAT, "expected %s, found %.*s", expected, (int)bytes, file->text + at);
}

int config_given(const config_value *value) { return value->kind != VALUE_ABSENT && value->kind != VALUE_NULL; }

int config_unset(const config_value *value) {
  return !config_given(value) ||
         (value->kind == VALUE_NUMBER && value->number.kind == JSON_INT && value->number.i == -1);
}

viva_status config_integer(const config_file *file, const config_value *value, uint64_t *out) {
  if (!config_given(value)) return VIVA_OK;
  int fits = value->kind == VALUE_NUMBER && value->number.kind != JSON_DOUBLE &&
             (value->number.kind == JSON_UINT || value->number.i >= 0);
  if (!fits) return config_wrong_kind(file, value, "an integer of 0 or more");
  *out = value->number.u;
  return VIVA_OK;
}

viva_status config_double(const config_file *file, const config_value *value, double *out) {
  if (!config_given(value)) return VIVA_OK;
  if (value->kind != VALUE_NUMBER) return config_wrong_kind(file, value, "a number");
  *out = value->number.d;
  return VIVA_OK;
}

viva_status config_boolean(const config_file *file, const config_value *value, int32_t *out) {
  if (!config_given(value)) return VIVA_OK;
  if (value->kind != VALUE_BOOL) return config_wrong_kind(file, value, "true or false");
  *out = value->boolean;
  return VIVA_OK;
}

viva_status config_string(const config_file *file, const config_value *value, json_string *out) {
  if (!config_given(value)) return VIVA_OK;
  if (value->kind != VALUE_STRING) return config_wrong_kind(file, value, "a string");
  *out = value->text;
  return VIVA_OK;
}
