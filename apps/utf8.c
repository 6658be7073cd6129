#include "utf8.h"

/* Unicode 15, table 3-7: the second byte's range depends on the first; all others are 80..BF. */
typedef struct lead {
  unsigned char first, last; /* range of the first byte */
  unsigned char low, high;   /* range of the second */
  size_t length;
} lead;

static const lead leads[] = {
    {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3},
    {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
};

size_t utf8_length(const char *text, size_t bytes) {
  const unsigned char *s = (const unsigned char *)text;
  if (bytes == 0) return 0;
  if (s[0] < 0x80) return 1;
  for (size_t i = 0; i < sizeof leads / sizeof leads[0]; i++) {
    const lead *l = &leads[i];
    if (s[0] < l->first || s[0] > l->last) continue;
    if (bytes < l->length || s[1] < l->low || s[1] > l->high) return 0;
    for (size_t k = 2; k < l->length; k++)
      if ((s[k] & 0xC0) != 0x80) return 0;
    return l->length;
  }
  return 0;
}
