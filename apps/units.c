#include "units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

size_t text_format(char *text, size_t size, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, size, format, arguments);
  va_end(arguments);
  if (length < 0) text[0] = 0;
  return length < 0 ? 0 : (size_t)length < size ? (size_t)length : size - 1;
}

static void scaled(uint64_t value, double step, const char *const *names, size_t count, char *text, size_t size) {
  double number = (double)value;
  size_t i = 0;
  while (i + 1 < count && number >= step) {
    number /= step;
    i++;
  }
  if (i == 0) {
    text_format(text, size, "%" PRIu64 "%s", value, names[0]);
  } else {
    text_format(text, size, "%.2f%s", number, names[i]);
  }
}

void units_bytes(uint64_t bytes, char *text, size_t size) {
  static const char *const names[] = {" B", " KiB", " MiB", " GiB", " TiB"};
  scaled(bytes, 1024.0, names, sizeof names / sizeof names[0], text, size);
}

void units_count(uint64_t count, char *text, size_t size) {
  static const char *const names[] = {"", " K", " M", " B", " T"};
  scaled(count, 1000.0, names, sizeof names / sizeof names[0], text, size);
}
