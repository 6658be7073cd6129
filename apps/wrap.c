#include "wrap.h"

#include <string.h>

static int is_first_byte(char c) { return ((unsigned char)c & 0xc0) != 0x80; }

static int characters(const char *text, size_t bytes) {
  int count = 0;
  for (size_t i = 0; i < bytes; i++) count += is_first_byte(text[i]);
  return count;
}

size_t wrap_text(char *out, size_t size, const char *text, int columns, int indent) {
  size_t used = 0;
  int at = 0;
  while (*text && used + 1 < size) {
    size_t blanks = strspn(text, " "), bytes = blanks + strcspn(text + blanks, " ");
    int wide = characters(text, bytes);
    if (columns > 0 && at > indent && blanks > 0 && at + wide > columns && text[blanks] != 0 &&
        used + 2 + (size_t)indent < size) {
      out[used++] = '\n';
      memset(out + used, ' ', (size_t)indent);
      used += (size_t)indent;
      at = indent;
      text += blanks;
      bytes -= blanks;
      wide -= (int)blanks;
    }
    if (bytes > size - 1 - used) bytes = size - 1 - used;
    memcpy(out + used, text, bytes);
    used += bytes;
    at += wide;
    text += bytes;
  }
  out[used] = 0;
  return used;
}
