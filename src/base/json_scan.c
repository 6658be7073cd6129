/* base/json_scan.c: the words of JSON (RFC 8259): white space, strings, numbers; and the texts of errors. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json_inner.h"
#include "base/num.h"

/* Lines and columns count from 1; a column is a character. */
static void count_place(const json *j, size_t at, size_t *line, size_t *column) {
  *line = *column = 1;
  for (size_t i = 0; i < at; i++) {
    uint8_t byte = (uint8_t)j->text[i];
    if (byte == '\n') {
      ++*line;
      *column = 1;
    } else {
      *column += (byte & 0xC0) != 0x80; /* not inside a character */
    }
  }
}

viva_status json_error(json *j, viva_status code, size_t at, const char *format, ...) {
  if (j->failed.code != VIVA_OK) return j->failed.code;
  char text[sizeof j->failed.message];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0) text[0] = 0;
  size_t line, column;
  count_place(j, at, &line, &column);
  error_set(&j->failed, code, "line %zu, column %zu: %s", line, column, text);
  error_at(&j->failed, j->path, j->key.text ? j->key.text : "", (ptrdiff_t)j->key.bytes, at);
  return code;
}

const char *json_describe(const json *j, size_t at, char buffer[32]) {
  if (at >= j->bytes) return "the end of the text";
  uint8_t byte = (uint8_t)j->text[at];
  int printable = byte > 0x20 && byte < 0x7F;
  snprintf(buffer, 32, printable ? "'%c'" : "byte 0x%02x", byte);
  return buffer;
}

void json_space(json *j) {
  const char *text = j->text;
  size_t at = j->at, bytes = j->bytes;
  while (at < bytes && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r')) at++;
  j->at = at;
}

/* Four hex digits at `at`; 0 on success. */
static int hex4(const json *j, size_t at, uint32_t *code) {
  uint8_t high, low;
  if (j->bytes - at < 4 || num_hex_byte(j->text + at, &high) || num_hex_byte(j->text + at + 2, &low)) return 1;
  *code = (uint32_t)high << 8 | low;
  return 0;
}

static int is_high_surrogate(uint32_t code) { return code >= 0xD800 && code <= 0xDBFF; }
static int is_low_surrogate(uint32_t code) { return code >= 0xDC00 && code <= 0xDFFF; }

/* The escape whose backslash is at `at`; *length is that of its text (2, 6, or 12 for a pair). */
static viva_status scan_escape(json *j, size_t at, size_t *length, uint32_t *code) {
  static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  char letter = at + 1 < j->bytes ? j->text[at + 1] : 0;
  const char *found = letter == 0 ? NULL : strchr(letters, letter);
  if (found) {
    *length = 2;
    *code = (uint8_t)meanings[found - letters];
    return VIVA_OK;
  }
  char buffer[32];
  if (letter != 'u')
    return json_error(j, VIVA_E_FORMAT, at, "expected one of \"\\/bfnrtu after a backslash, found %s",
                      json_describe(j, at + 1, buffer));
  if (hex4(j, at + 2, code)) return json_error(j, VIVA_E_FORMAT, at, "expected four hex digits after \\u");
  *length = 6;
  if (is_low_surrogate(*code))
    return json_error(j, VIVA_E_FORMAT, at, "\\u%04x is the second half of a surrogate pair without its first half",
                      (unsigned)*code);
  if (!is_high_surrogate(*code)) return VIVA_OK;
  uint32_t low;
  if (j->bytes - at < 12 || j->text[at + 6] != '\\' || j->text[at + 7] != 'u' || hex4(j, at + 8, &low) ||
      !is_low_surrogate(low))
    return json_error(j, VIVA_E_FORMAT, at, "\\u%04x is the first half of a surrogate pair without its second half",
                      (unsigned)*code);
  *length = 12;
  *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
  return VIVA_OK;
}

/* What a byte in a string asks for. */
enum { PLAIN, QUOTE, BACKSLASH, CONTROL, MULTIBYTE };

static inline int byte_class(uint8_t byte) {
  if (byte >= 0x80) return MULTIBYTE;
  if (byte < 0x20) return CONTROL;
  return byte == '"' ? QUOTE : byte == '\\' ? BACKSLASH : PLAIN;
}

viva_status json_scan_string(json *j, json_scanned *scanned) {
  size_t at = j->at + 1;
  *scanned = (json_scanned){.start = at};
  while (at < j->bytes) {
    uint8_t byte = (uint8_t)j->text[at];
    int class = byte_class(byte);
    if (class == PLAIN) {
      at++;
    } else if (class == QUOTE) {
      scanned->bytes = at - scanned->start;
      j->at = at + 1;
      return VIVA_OK;
    } else if (class == MULTIBYTE) {
      uint32_t code;
      size_t invalid, length = utf8_decode(j->text + at, j->bytes - at, &code, &invalid);
      if (length == 0) return json_error(j, VIVA_E_FORMAT, at, "byte 0x%02x is not valid UTF-8 here", byte);
      at += length;
    } else if (class == BACKSLASH) {
      size_t length;
      uint32_t code;
      TRY(scan_escape(j, at, &length, &code));
      scanned->escaped = 1;
      at += length;
    } else {
      return json_error(j, VIVA_E_FORMAT, at, "the control character 0x%02x must be written as an escape in a string",
                        byte);
    }
  }
  return json_error(j, VIVA_E_FORMAT, j->bytes, "the text ends inside a string: it was cut off");
}

viva_status json_decode(json *j, const json_scanned *scanned, json_string *string) {
  const char *from = j->text + scanned->start;
  *string = (json_string){from, scanned->bytes};
  if (!scanned->escaped) return VIVA_OK;
  char *to = arena_alloc(j->arena, scanned->bytes); /* no escape is shorter than what it stands for */
  if (!to) return json_error(j, VIVA_E_MEMORY, scanned->start, "no memory for a string of %zu bytes", scanned->bytes);
  size_t length = 0;
  for (size_t at = 0; at < scanned->bytes;) {
    const char *escape = memchr(from + at, '\\', scanned->bytes - at);
    size_t plain = (escape ? (size_t)(escape - from) : scanned->bytes) - at;
    memcpy(to + length, from + at, plain);
    length += plain;
    at += plain;
    if (!escape) break;
    size_t used;
    uint32_t code;
    TRY(scan_escape(j, scanned->start + at, &used, &code));
    length += utf8_encode(code, to + length);
    at += used;
  }
  *string = (json_string){to, length};
  return VIVA_OK;
}

static size_t skip_digits(const json *j, size_t at) {
  while (at < j->bytes && j->text[at] >= '0' && j->text[at] <= '9') at++;
  return at;
}

static viva_status fail_digit(json *j, size_t at, const char *where) {
  char buffer[32];
  return json_error(j, VIVA_E_FORMAT, at, "expected a digit %s, found %s", where, json_describe(j, at, buffer));
}

viva_status json_scan_number(json *j, int *is_integer) {
  size_t start = j->at + (j->text[j->at] == '-'), at = skip_digits(j, start);
  *is_integer = 1;
  if (at == start) return fail_digit(j, at, "after the minus sign");
  if (j->text[start] == '0' && at > start + 1)
    return json_error(j, VIVA_E_FORMAT, start, "a number must not begin with a zero that another digit follows");
  if (at < j->bytes && j->text[at] == '.') {
    *is_integer = 0;
    size_t fraction = at + 1;
    at = skip_digits(j, fraction);
    if (at == fraction) return fail_digit(j, at, "after the decimal point");
  }
  if (at < j->bytes && (j->text[at] == 'e' || j->text[at] == 'E')) {
    *is_integer = 0;
    at++;
    at += at < j->bytes && (j->text[at] == '+' || j->text[at] == '-');
    size_t exponent = at;
    at = skip_digits(j, exponent);
    if (at == exponent) return fail_digit(j, at, "in the exponent");
  }
  j->at = at;
  return VIVA_OK;
}

viva_status json_scan_word(json *j, const char *word) {
  size_t length = strlen(word);
  if (j->bytes - j->at < length || memcmp(j->text + j->at, word, length) != 0)
    return json_error(j, VIVA_E_FORMAT, j->at, "expected a value; what begins here is not '%s'", word);
  j->at += length;
  return VIVA_OK;
}
