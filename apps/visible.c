#include "visible.h"

#include <string.h>

#include <viva/viva.h>

const char *visible_copy(char *buffer, size_t size, const char *text, size_t bytes, const char *keep) {
  static const char hex[] = "0123456789ABCDEF";
  size_t used = 0;
  for (size_t at = 0; at < bytes;) {
    unsigned char c = (unsigned char)text[at];
    const size_t length = c != 0 && strchr(keep, c) != NULL ? 1 : viva_visible(text + at, bytes - at);
    const size_t needed = length > 0 ? length : 4;
    if (needed >= size - used) break;
    if (length > 0) {
      memcpy(buffer + used, text + at, length);
    } else {
      const char escape[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
      memcpy(buffer + used, escape, sizeof escape);
    }
    used += needed;
    at += length > 0 ? length : 1;
  }
  buffer[used] = 0;
  return buffer;
}
