/* format/json_text.c */
#include "format/json_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

json_text json_text_begin(mem *m) { return (json_text){.m = m, .text = {.item_bytes = 1}}; }

void json_text_free(json_text *j) { grow_free(j->m, &j->text); }

void json_text_bytes(json_text *j, const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes && !j->no_memory; i++) {
    char *place = grow_add(j->m, &j->text);
    if (place) *place = text[i];
    j->no_memory = !place;
  }
}

void json_text_put(json_text *j, const char *text) { json_text_bytes(j, text, strlen(text)); }

void json_text_u64(json_text *j, uint64_t value) {
  char digits[24];
  snprintf(digits, sizeof digits, "%" PRIu64, value);
  json_text_put(j, digits);
}

void json_text_double(json_text *j, double value) {
  char digits[32];
  json_text_bytes(j, digits, num_format_double(digits, value));
}

void json_text_string(json_text *j, const char *text, size_t bytes) {
  static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
  json_text_put(j, "\"");
  for (size_t i = 0; i < bytes; i++) {
    const char *found = text[i] ? strchr(plain, text[i]) : NULL;
    char escape[8];
    if (found)
      json_text_bytes(j, (char[]){'\\', letters[found - plain]}, 2);
    else if ((unsigned char)text[i] < 0x20)
      json_text_bytes(j, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)text[i]));
    else
      json_text_bytes(j, text + i, 1);
  }
  json_text_put(j, "\"");
}

void json_text_quoted(json_text *j, const char *text) { json_text_string(j, text, strlen(text)); }
