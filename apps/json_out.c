#include "json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "units.h"
#include "utf8.h"

static void separate(json_out *json) {
  if (json->separate) output_text(json->out, ", ");
  json->separate = 1;
}

void json_begin(json_out *json, char bracket) {
  separate(json);
  output_bytes(json->out, &bracket, 1);
  json->separate = 0;
}

void json_end(json_out *json, char bracket) {
  output_bytes(json->out, &bracket, 1);
  json->separate = 1;
}

void json_key(json_out *json, const char *key) {
  json_text(json, key);
  output_text(json->out, ": ");
  json->separate = 0;
}

static const char *short_escape(unsigned char c) {
  switch (c) {
  case '"': return "\\\"";
  case '\\': return "\\\\";
  case '\n': return "\\n";
  case '\r': return "\\r";
  case '\t': return "\\t";
  default: return NULL;
  }
}

/* The code point of a character of up to three bytes: all that need an escape. */
static unsigned short_code(const char *text, size_t length) {
  const unsigned char *s = (const unsigned char *)text;
  if (length == 1) return s[0];
  if (length == 2) return (s[0] & 0x1Fu) << 6 | (s[1] & 0x3Fu);
  return (s[0] & 0xFu) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu);
}

void json_string(json_out *json, const char *text, size_t bytes) {
  separate(json);
  output_text(json->out, "\"");
  for (size_t i = 0; i < bytes;) {
    unsigned char c = (unsigned char)text[i];
    size_t length = utf8_length(text + i, bytes - i);
    const char *escape = short_escape(c);
    if (escape != NULL) {
      output_text(json->out, escape);
    } else if (length == 0) {
      output_text(json->out, "\xEF\xBF\xBD");
    } else if (viva_visible(text + i, length) == 0) {
      output_format(json->out, "\\u%04x", short_code(text + i, length));
    } else {
      output_bytes(json->out, text + i, length);
    }
    i += length > 0 ? length : 1;
  }
  output_text(json->out, "\"");
}

void json_text(json_out *json, const char *text) { json_string(json, text, strlen(text)); }

void json_unsigned(json_out *json, uint64_t value) {
  separate(json);
  output_format(json->out, "%" PRIu64, value);
}

void json_integer(json_out *json, int64_t value) {
  separate(json);
  output_format(json->out, "%" PRId64, value);
}

void json_boolean(json_out *json, int value) {
  separate(json);
  output_text(json->out, value ? "true" : "false");
}

/* The program never calls setlocale, so printf and strtod use the point of the C locale. */
void json_double(json_out *json, double value) {
  char digits[40] = "null";
  for (int precision = 15; precision <= 17 && isfinite(value); precision++) {
    text_format(digits, sizeof digits, "%.*g", precision, value);
    if (strtod(digits, NULL) == value) break;
  }
  separate(json);
  output_text(json->out, digits);
}

void json_float(json_out *json, float value) {
  char digits[40] = "null";
  for (int precision = 6; precision <= 9 && isfinite(value); precision++) {
    text_format(digits, sizeof digits, "%.*g", precision, (double)value);
    if (strtof(digits, NULL) == value) break;
  }
  separate(json);
  output_text(json->out, digits);
}
