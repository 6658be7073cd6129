/* base/error.c: filling a viva_error. Text that came from files is made printable here and nowhere else. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

/* Longer than viva_error.message: what is cut off is cut by error_quote, at a character's edge and with a mark. */
#define RAW_MESSAGE_BYTES 1024

static int is_hidden(uint32_t code) {
  static const uint32_t ranges[][2] = {
      {0x00, 0x1F},     {0x7F, 0x9F},     /* C0, DEL, C1 */
      {0x061C, 0x061C}, {0x200E, 0x200F}, /* marks of direction: Arabic, left to right, right to left */
      {0x2028, 0x202E},                   /* line and paragraph separator, embeddings and overrides of direction */
      {0x2066, 0x2069},                   /* isolates */
  };
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
    if (code >= ranges[i][0] && code <= ranges[i][1]) return 1;
  return 0;
}

size_t viva_visible(const char *text, size_t bytes) {
  uint32_t code;
  size_t invalid;
  if (bytes == 0) return 0;
  size_t length = utf8_decode(text, bytes, &code, &invalid);
  return length > 0 && is_hidden(code) ? 0 : length;
}

/* Writes the printable form of the character at text to out (≤ 4 bytes); returns its length and sets *used. */
static size_t quote_character(const char *text, size_t bytes, char out[4], size_t *used) {
  static const char hex[] = "0123456789abcdef";
  size_t length = viva_visible(text, bytes);
  if (length > 0) {
    memcpy(out, text, length);
    *used = length;
    return length;
  }
  uint8_t byte = (uint8_t)text[0];
  out[0] = '\\';
  out[1] = 'x';
  out[2] = hex[byte >> 4];
  out[3] = hex[byte & 15];
  *used = 1;
  return 4;
}

viva_status error_option(viva_error *error, viva_status code, const char *option) {
  error_at(error, NULL, option, -1, VIVA_NO_OFFSET);
  return code;
}

const char *error_quote(char *buffer, size_t size, const char *text, size_t bytes) {
  if (size == 0) return buffer;
  const size_t mark = 3;       /* "..." */
  size_t length = 0, fits = 0; /* fits: the longest whole-character prefix that leaves room for the mark */
  for (size_t at = 0; at < bytes;) {
    char out[4];
    size_t used;
    size_t n = quote_character(text + at, bytes - at, out, &used);
    if (length + n > size - 1) {
      size_t dots = size - 1 - fits < mark ? size - 1 - fits : mark;
      memcpy(buffer + fits, "...", dots);
      buffer[fits + dots] = 0;
      return buffer;
    }
    memcpy(buffer + length, out, n);
    length += n;
    at += used;
    /* A byte of an invalid or escaped character stands alone, so every step ends on a whole character. */
    if (length + mark <= size - 1) fits = length;
  }
  buffer[length] = 0;
  return buffer;
}

viva_status error_set(viva_error *error, viva_status code, const char *format, ...) {
  if (!error) return code;
  char raw[RAW_MESSAGE_BYTES];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(raw, sizeof raw, format, arguments);
  va_end(arguments);
  if (length < 0) raw[0] = 0;
  error->code = code;
  error->reserved = 0;
  error->offset = VIVA_NO_OFFSET;
  error->file[0] = 0;
  error->item[0] = 0;
  error_quote(error->message, sizeof error->message, raw, strlen(raw));
  return code;
}

void error_at(viva_error *error, const char *file, const char *item, ptrdiff_t item_bytes, uint64_t offset) {
  if (!error) return;
  if (file) error_quote(error->file, sizeof error->file, file, strlen(file));
  if (item) {
    size_t bytes = item_bytes < 0 ? strlen(item) : (size_t)item_bytes;
    error_quote(error->item, sizeof error->item, item, bytes);
  }
  if (offset != VIVA_NO_OFFSET) error->offset = offset;
}
