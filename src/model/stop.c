/* model/stop.c: Knuth, Morris and Pratt's automaton for each string: constant time for a byte, whatever the strings. */
#include "model/stop.h"
#include "engine/engine.h"
#include "viva/generator.h"

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

/* ---- for clients */

struct viva_stop_matcher {
  viva_engine *engine;
  stop_matcher *matcher;
};

viva_status viva_stop_matcher_create(viva_engine *engine, const char *const *strings, size_t count,
                                     viva_stop_matcher **matcher, viva_error *error) {
  if (!matcher) return error_set(error, VIVA_E_ARGUMENT, "matcher is NULL; give a place for the handle");
  *matcher = NULL;
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  if (!strings && count) return error_set(error, VIVA_E_ARGUMENT, "strings is NULL, but count is %zu", count);
  for (size_t i = 0; i < count; i++)
    if (!strings[i] || !strings[i][0])
      return error_set(error, VIVA_E_ARGUMENT, "stop string %zu is %s", i, strings[i] ? "empty" : "NULL");
  mem *m = &engine->rt->mem;
  viva_stop_matcher *s = mem_zalloc(m, sizeof *s);
  if (s) s->matcher = stop_create(m, strings, count);
  if (!s || !s->matcher) {
    mem_free(m, s);
    return error_set(error, VIVA_E_MEMORY, "no memory for the stop strings");
  }
  s->engine = viva_engine_retain(engine);
  *matcher = s;
  return VIVA_OK;
}

void viva_stop_matcher_free(viva_stop_matcher *matcher) {
  if (!matcher) return;
  viva_engine *engine = matcher->engine;
  stop_free(&engine->rt->mem, matcher->matcher);
  mem_free(&engine->rt->mem, matcher);
  viva_engine_release(engine);
}

viva_status viva_stop_matcher_feed(viva_stop_matcher *matcher, const char *text, size_t bytes, size_t *taken,
                                   size_t *matched, size_t *held, viva_error *error) {
  if (!matcher || !taken || !matched || !held || (!text && bytes))
    return error_set(error, VIVA_E_ARGUMENT, "matcher, text, taken, matched and held must not be NULL");
  *matched = 0;
  for (*taken = 0; *taken < bytes && !*matched;) *matched = stop_feed(matcher->matcher, text[(*taken)++]);
  *held = *matched ? 0 : stop_held(matcher->matcher);
  return VIVA_OK;
}
