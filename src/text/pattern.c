#include "text/pattern.h"

#include <string.h>

#include "text/unicode.h"

viva_status pattern_from_literal(arena *a, const char *text, size_t bytes, pattern *out, viva_error *error) {
  if (bytes == 0) return error_set(error, VIVA_E_UNSUPPORTED, "an empty pattern is not supported");
  *out = (pattern){.kind = PATTERN_LITERAL, .literal = {arena_text(a, text, bytes), bytes}};
  return out->literal.text ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for a pattern");
}

viva_status pattern_from_regex(arena *a, const char *text, size_t bytes, pattern *out, viva_error *error) {
  *out = (pattern){.kind = PATTERN_SCANNER, .scanner = split_pattern_find(text, bytes)};
  if (out->scanner && !split_leaves_gaps(out->scanner)) return VIVA_OK;
  out->kind = PATTERN_REGEX;
  return regex_compile(a, text, bytes, &out->regex, error);
}

static void find_literal(token_text wanted, const uint8_t *text, size_t at, size_t end, int *found, size_t *begin) {
  const uint8_t *first = end > at ? memmem(text + at, end - at, wanted.text, wanted.bytes) : NULL; /* linear */
  *found = first != NULL;
  if (first) *begin = (size_t)(first - text);
}

/* The kind of character that WORDS runs are made of: 0 white space, 1 word, 2 the rest. The word class is the regex
 * crate's. */
static int word_kind(uint8_t class) {
  if (class & UNICODE_WORD) return 1;
  return class & UNICODE_SPACE ? 0 : 2;
}

static int is_one(const pattern *p, const uint8_t *text, size_t *bytes) {
  uint32_t code;
  *bytes = unicode_read(text, &code);
  if (p->kind == PATTERN_NUMERIC) return (unicode_class(code) & UNICODE_NUMERIC) != 0;
  if (p->kind == PATTERN_SPACE) return (unicode_class(code) & UNICODE_SPACE) != 0;
  return unicode_is_punctuation(code);
}

static void find_class(const pattern *p, const uint8_t *text, size_t at, size_t end, int *found, size_t *begin,
                       size_t *match_end) {
  size_t bytes;
  *found = 0;
  for (; at < end; at += bytes) {
    int kind =
        p->kind == PATTERN_WORDS ? word_kind(unicode_read_class(text + at, &bytes)) : is_one(p, text + at, &bytes);
    if (!kind) continue;
    *found = 1;
    *begin = at;
    *match_end = at + bytes;
    while (p->kind == PATTERN_WORDS && *match_end < end &&
           word_kind(unicode_read_class(text + *match_end, &bytes)) == kind)
      *match_end += bytes;
    return;
  }
}

viva_status pattern_find(const pattern *p, regex_memory *memory, const uint8_t *text, size_t at, size_t end, int *found,
                         size_t *match_begin, size_t *match_end, viva_error *error) {
  uint32_t code;
  *found = 0;
  switch (p->kind) {
  case PATTERN_LITERAL:
    if (at <= end) find_literal(p->literal, text, at, end, found, match_begin);
    *match_end = *found ? *match_begin + p->literal.bytes : end;
    return VIVA_OK;
  case PATTERN_SCANNER:
    *found = at < end;
    *match_begin = at;
    if (*found) *match_end = p->scanner(text, at, end);
    return VIVA_OK;
  case PATTERN_REGEX:
    for (; at <= end; at += at < end ? unicode_read(text + at, &code) : 1) {
      TRY(regex_match_at(p->regex, memory, text, at, end, found, match_end, error));
      *match_begin = at;
      if (*found) return VIVA_OK;
    }
    return VIVA_OK;
  default: find_class(p, text, at, end, found, match_begin, match_end); return VIVA_OK;
  }
}

viva_status pattern_next(const pattern *p, regex_memory *memory, const uint8_t *text, size_t end, pattern_place *place,
                         int *found, size_t *match_begin, size_t *match_end, viva_error *error) {
  for (*found = 0; end > 0 && place->at <= end;) {
    uint32_t code;
    TRY(pattern_find(p, memory, text, place->at, end, found, match_begin, match_end, error));
    if (!*found) return VIVA_OK;
    size_t at = *match_end;
    int is_empty = at == *match_begin, counts = !is_empty || place->last != at + 1;
    place->last = at + 1;
    place->at = !is_empty ? at : at < end ? at + unicode_read(text + at, &code) : at + 1;
    if (counts) return VIVA_OK;
    *found = 0;
  }
  return VIVA_OK;
}
