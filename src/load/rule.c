/* load/rule.c: entries, words and patterns of a weights rule. */
#include "load/rule.h"

#include <string.h>

#include "base/num.h"
#include "pack/word.h"

/* A part of the text. */
typedef struct span {
  const char *at;
  size_t bytes;
} span;

#define FORMAT_WORDS PACK_WORDS " or stored"

/* ---- text */

static int is(span s, const char *word) { return s.bytes == strlen(word) && memcmp(s.at, word, s.bytes) == 0; }

/* Cuts *rest at the first mark; what is before it is returned, what is behind stays (at NULL: there was no mark). */
static span cut(span *rest, char mark) {
  const char *found = rest->bytes ? memchr(rest->at, mark, rest->bytes) : NULL;
  span first = *rest;
  if (found) {
    first.bytes = (size_t)(found - rest->at);
    *rest = (span){found + 1, rest->bytes - first.bytes - 1};
  } else {
    *rest = (span){NULL, 0};
  }
  return first;
}

static viva_status at_option(viva_error *error) {
  error_at(error, NULL, "weights", -1, VIVA_NO_OFFSET);
  return VIVA_E_ARGUMENT;
}

/* The quoted entry, for messages. */
typedef struct quoted {
  char text[80];
} quoted;

static const char *quote(quoted *q, span s) { return error_quote(q->text, sizeof q->text, s.at ? s.at : "", s.bytes); }

/* ---- formats */

static viva_status bad_format(span entry, span word, viva_error *error) {
  quoted e, w;
  if (entry.at == word.at && entry.bytes == word.bytes)
    error_set(error, VIVA_E_ARGUMENT, "\"%s\" is no format; expected " FORMAT_WORDS, quote(&w, word));
  else
    error_set(error, VIVA_E_ARGUMENT, "in \"%s\", \"%s\" is no format; expected " FORMAT_WORDS, quote(&e, entry),
              quote(&w, word));
  return at_option(error);
}

/* expected NULL: nothing can follow. */
static viva_status bad_suffix(span entry, span word, span suffix, const char *expected, viva_error *error) {
  quoted e, w, s;
  if (expected)
    error_set(error, VIVA_E_ARGUMENT, "in \"%s\", \"%s\" cannot follow \"%s:\"; expected %s", quote(&e, entry),
              quote(&s, suffix), quote(&w, word), expected);
  else
    error_set(error, VIVA_E_ARGUMENT,
              "in \"%s\", nothing can follow \"%s\"; the types of scales belong to fp8 and int4-24 formats, a search "
              "to nvfp4",
              quote(&e, entry), quote(&w, word));
  return at_option(error);
}

static viva_status read_format(span entry, span text, rule_entry *out, viva_error *error) {
  span suffix = text, word = cut(&suffix, ':');
  out->stored = is(word, "stored");
  if (out->stored) return suffix.at ? bad_suffix(entry, word, suffix, NULL, error) : VIVA_OK;
  switch (pack_word_read(text.at, text.bytes, &out->spec)) {
  case PACK_WORD_UNKNOWN: return bad_format(entry, word, error);
  case PACK_WORD_SUFFIX: return bad_suffix(entry, word, suffix, pack_word_suffixes(out->spec.format), error);
  case PACK_WORD_OK: break;
  }
  return VIVA_OK;
}

/* ---- patterns */

/* "3" or "0-11" */
static int read_range(span part, uint64_t *first, uint64_t *last) {
  span rest = part, low = cut(&rest, '-');
  if (num_u64(low.at, low.bytes, first)) return 0;
  *last = *first;
  return !rest.at || (num_u64(rest.at, rest.bytes, last) == 0 && *first <= *last);
}

static int is_word(span part) {
  for (size_t i = 0; i < part.bytes; i++) {
    char c = part.at[i];
    int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!letter) return 0;
  }
  return part.bytes > 0;
}

static viva_status check_pattern(span entry, span pattern, viva_error *error) {
  uint64_t first, last;
  quoted e, p;
  span rest = pattern;
  do {
    span part = cut(&rest, '.');
    if (is_word(part) || read_range(part, &first, &last)) continue;
    error_set(error, VIVA_E_ARGUMENT,
              "in \"%s\", \"%s\" is no part of a name; expected parts of a tensor's name between dots, such as "
              "mlp.down_proj, layers.3, layers.0-1.self_attn, lm_head",
              quote(&e, entry), quote(&p, part));
    return at_option(error);
  } while (rest.at);
  return VIVA_OK;
}

static int part_fits(span part, span of_name) {
  uint64_t first, last, number;
  if (part.bytes == of_name.bytes && memcmp(part.at, of_name.at, part.bytes) == 0) return 1;
  return read_range(part, &first, &last) && num_u64(of_name.at, of_name.bytes, &number) == 0 && number >= first &&
         number <= last;
}

int rule_fits(const rule_entry *entry, const char *name) {
  span from = {name, strlen(name)};
  if (!entry->pattern) return 1;
  while (from.at) { /* every part of the name as the first that is compared */
    span pattern = {entry->pattern, entry->pattern_bytes}, rest = from;
    while (pattern.at && rest.at) {
      if (!part_fits(cut(&pattern, '.'), cut(&rest, '.'))) {
        pattern = (span){"", 0};
        break;
      }
    }
    if (!pattern.at) return 1;
    cut(&from, '.');
  }
  return 0;
}

/* ---- entries */

static viva_status read_entry(span text, int first, rule_entry *out, viva_error *error) {
  quoted e;
  span format = text, pattern = cut(&format, '=');
  *out = (rule_entry){.pattern = NULL};
  if (!format.at) {
    if (first) return read_format(text, text, out, error);
    error_set(error, VIVA_E_ARGUMENT,
              "\"%s\" stands behind a comma without '='; write PATTERN=FORMAT, and a format for all matrices first",
              quote(&e, text));
    return at_option(error);
  }
  TRY(check_pattern(text, pattern, error));
  out->pattern = pattern.at;
  out->pattern_bytes = pattern.bytes;
  return read_format(text, format, out, error);
}

viva_status rule_read(const char *text, rule *r, viva_error *error) {
  rule_entry entry;
  *r = (rule){.text = text};
  if (!text) return VIVA_OK;
  span rest = {text, strlen(text)};
  for (int first = 1; rest.at; first = 0) TRY(read_entry(cut(&rest, ','), first, &entry, error));
  return VIVA_OK;
}

int rule_next(const rule *r, const char **at, rule_entry *entry) {
  if (!r->text) return 0;
  int first = !*at;
  if (!first && !**at) return 0;
  const char *from = first ? r->text : *at + 1;
  span rest = {from, strlen(from)}, text = cut(&rest, ',');
  *at = text.at + text.bytes;
  return read_entry(text, first, entry, NULL) == VIVA_OK;
}

int rule_format(const rule *r, const char *name, pack_spec *spec) {
  rule_entry entry;
  int found = 0;
  for (const char *at = NULL; rule_next(r, &at, &entry);) {
    if (!rule_fits(&entry, name)) continue;
    found = !entry.stored;
    *spec = entry.spec;
  }
  return found;
}

int rule_default(const rule *r, pack_spec *spec) {
  rule_entry entry;
  const char *at = NULL;
  if (!rule_next(r, &at, &entry) || entry.pattern) return 0;
  *spec = entry.spec;
  return !entry.stored;
}
