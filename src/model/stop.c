/* model/stop.c: Knuth, Morris and Pratt's automaton for each string: constant time for a byte, whatever the strings. */
#include "model/stop.h"

#include <string.h>

typedef struct pattern {
  const char *text;
  size_t length;
  size_t matched;        /* how many of its first bytes the text ends with */
  const size_t *shorter; /* [length]: the longest proper border of its first i + 1 bytes */
} pattern;

struct stop_matcher {
  size_t count;
  pattern *patterns;
};

static void fill_borders(const char *text, size_t length, size_t *borders) {
  borders[0] = 0;
  for (size_t i = 1, k = 0; i < length; i++) {
    while (k && text[i] != text[k]) k = borders[k - 1];
    if (text[i] == text[k]) k++;
    borders[i] = k;
  }
}

stop_matcher *stop_create(mem *m, const char *const *strings, size_t count) {
  size_t bytes = 0;
  for (size_t i = 0; i < count; i++) bytes += strlen(strings[i]);
  /* One block: the matcher, its patterns, their borders, their texts. */
  char *block = mem_alloc(m, sizeof(stop_matcher) + count * sizeof(pattern) + bytes * (sizeof(size_t) + 1));
  if (!block) return NULL;
  stop_matcher *s = (stop_matcher *)block;
  s->count = count;
  s->patterns = (pattern *)(block + sizeof *s);
  size_t *borders = (size_t *)(s->patterns + count);
  char *text = (char *)(borders + bytes);
  for (size_t i = 0; i < count; i++) {
    size_t length = strlen(strings[i]);
    memcpy(text, strings[i], length);
    fill_borders(text, length, borders);
    s->patterns[i] = (pattern){.text = text, .length = length, .shorter = borders};
    borders += length;
    text += length;
  }
  return s;
}

void stop_free(mem *m, stop_matcher *s) { mem_free(m, s); }

size_t stop_feed(stop_matcher *s, char byte) {
  size_t longest = 0;
  for (size_t i = 0; i < s->count; i++) {
    pattern *p = &s->patterns[i];
    while (p->matched && p->text[p->matched] != byte) p->matched = p->shorter[p->matched - 1];
    if (p->text[p->matched] == byte) p->matched++;
    if (p->matched < p->length) continue;
    if (p->length > longest) longest = p->length;
    p->matched = p->shorter[p->length - 1];
  }
  return longest;
}

size_t stop_held(const stop_matcher *s) {
  size_t longest = 0;
  for (size_t i = 0; i < s->count; i++)
    if (s->patterns[i].matched > longest) longest = s->patterns[i].matched;
  return longest;
}
