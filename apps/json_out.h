/* json_out.h: writes JSON: one line, valid UTF-8, numbers that read back as the same value. */
#ifndef APPS_JSON_OUT_H
#define APPS_JSON_OUT_H

#include "output.h"

typedef struct json_out {
  output *out;
  int separate; /* 1: the next value or key is preceded by ", " */
} json_out;

/* begin and end: '{' '}' '[' ']' */
void json_begin(json_out *json, char bracket);
void json_end(json_out *json, char bracket);
void json_key(json_out *json, const char *key);

/* Bytes that are not UTF-8 become U+FFFD. */
void json_string(json_out *json, const char *text, size_t bytes);
void json_text(json_out *json, const char *text); /* a zero-ended string */
void json_unsigned(json_out *json, uint64_t value);
void json_integer(json_out *json, int64_t value);
void json_boolean(json_out *json, int value);

/* Shortest of 15 to 17 digits that reads back exactly; null for infinities and NaN, which JSON does not have. */
void json_double(json_out *json, double value);
void json_float(json_out *json, float value); /* 6 to 9 digits */

#endif
