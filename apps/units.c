#include "units.h"

#include <inttypes.h>
#include <stdio.h>

static void scaled(uint64_t value, double step, const char *const *names, size_t count, char *text, size_t size) {
  double number = (double)value;
  size_t i = 0;
  while (i + 1 < count && number >= step) {
    number /= step;
    i++;
  }
  if (i == 0) {
    snprintf(text, size, "%" PRIu64 "%s", value, names[0]);
  } else {
    snprintf(text, size, "%.2f%s", number, names[i]);
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
