#include "text/split.h"

#include <string.h>

#include "text/unicode.h"

/* What the patterns ask of a character. The four kinds are disjoint: \p{L}, \p{N}, \s and [^\s\p{L}\p{N}]. */
typedef enum kind { LETTER, NUMBER, SPACE, OTHER, NOTHING } kind;

static kind kind_of(uint8_t class) {
  if (class_is_letter(class)) return LETTER;
  if (class_is_number(class)) return NUMBER;
  return class & UNICODE_SPACE ? SPACE : OTHER;
}

enum { L = LETTER, N = NUMBER, S = SPACE, O = OTHER };
static const uint8_t ascii_kinds[128] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};

/* The kind of the character at `at` and where it ends; NOTHING at the end. */
static inline kind kind_at(const uint8_t *text, size_t at, size_t end, size_t *next) {
  if (at >= end) {
    *next = at;
    return NOTHING;
  }
  if (text[at] < 0x80) {
    *next = at + 1;
    return (kind)ascii_kinds[text[at]];
  }
  size_t bytes;
  uint8_t class = unicode_read_class(text + at, &bytes);
  *next = at + bytes;
  return kind_of(class);
}

static inline int is_ascii_letter(uint8_t byte) { return (uint8_t)((byte | 0x20) - 'a') < 26; }

/* The end of the run of letters that begins at `at`; most are ASCII. */
static size_t letters_end(const uint8_t *text, size_t at, size_t end) {
  for (;;) {
    while (at < end && is_ascii_letter(text[at])) at++;
    if (at == end || text[at] < 0x80) return at;
    size_t next;
    if (kind_at(text, at, end, &next) != LETTER) return at;
    at = next;
  }
}

/* The end of the run of characters of that kind that begins at `at`. */
static size_t run_end(const uint8_t *text, size_t at, size_t end, kind wanted) {
  size_t next;
  if (wanted == LETTER) return letters_end(text, at, end);
  while (kind_at(text, at, end, &next) == wanted) at = next;
  return at;
}

static int is_newline(uint8_t byte) { return byte == '\r' || byte == '\n'; }

static size_t newlines_end(const uint8_t *text, size_t at, size_t end) {
  while (at < end && is_newline(text[at])) at++;
  return at;
}

/* \s+(?!\S)|\s+ on the run of white space [at, end_of_run): all of it at the end of the text, else all but its last
 * character, which goes to the word behind it; a run of one character is taken. */
static size_t space_piece(const uint8_t *text, size_t at, size_t run, size_t end) {
  if (run == end) return run;
  size_t last;
  unicode_read_class_before(text + run, &last);
  return run - last > at ? run - last : run;
}

/* The end of 's 't 're 've 'm 'll 'd at `at`, or `at`. */
size_t split_contraction(const uint8_t *text, size_t at, size_t end) {
  if (text[at] != '\'' || end - at < 2) return at;
  uint8_t a = text[at + 1], b = end - at > 2 ? text[at + 2] : 0;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return at + 3;
  return at;
}

/* The same under (?i:): also capitals, and U+017F, which folds to s. */
size_t split_contraction_any_case(const uint8_t *text, size_t at, size_t end) {
  if (text[at] != '\'' || end - at < 2) return at;
  uint8_t folded[3] = {'\'', 0, 0};
  size_t count = end - at < 3 ? end - at : 3;
  for (size_t i = 1; i < count; i++) {
    uint8_t c = text[at + i];
    folded[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
  }
  if (count == 3 && text[at + 1] == 0xc5 && text[at + 2] == 0xbf) return at + 3;
  return at + split_contraction(folded, 0, count);
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t split_gpt2(const uint8_t *text, size_t at, size_t end) {
  /* A word, or a space and a word: what most pieces are. */
  if (is_ascii_letter(text[at])) return letters_end(text, at + 1, end);
  if (text[at] == ' ' && at + 1 < end && is_ascii_letter(text[at + 1])) return letters_end(text, at + 2, end);
  size_t contraction = split_contraction(text, at, end);
  if (contraction > at) return contraction;
  size_t next, after = at;
  kind first = kind_at(text, at, end, &next);
  if (text[at] == ' ') {
    kind behind = kind_at(text, at + 1, end, &after);
    if (behind != SPACE && behind != NOTHING) return run_end(text, after, end, behind);
  }
  size_t run = run_end(text, next, end, first);
  return first == SPACE ? space_piece(text, at, run, end) : run;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
 * ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t split_cl100k(const uint8_t *text, size_t at, size_t end, int digits) {
  if (is_ascii_letter(text[at])) return letters_end(text, at + 1, end);
  if (text[at] == ' ' && at + 1 < end && is_ascii_letter(text[at + 1])) return letters_end(text, at + 2, end);
  size_t contraction = split_contraction_any_case(text, at, end);
  if (contraction > at) return contraction;
  size_t next, after;
  kind first = kind_at(text, at, end, &next);
  if (first == LETTER) return run_end(text, next, end, LETTER);
  if (first == NUMBER) {
    for (int i = 1; i < digits && kind_at(text, next, end, &after) == NUMBER; i++) next = after;
    return next;
  }
  kind behind = kind_at(text, next, end, &after);
  if (behind == LETTER && !is_newline(text[at])) return run_end(text, after, end, LETTER);
  if (first == OTHER) return newlines_end(text, run_end(text, next, end, OTHER), end);
  if (text[at] == ' ' && behind == OTHER) return newlines_end(text, run_end(text, after, end, OTHER), end);
  /* White space: through the last line end in the run, if there is one. */
  size_t run = run_end(text, next, end, SPACE);
  for (size_t i = run; i > at; i--)
    if (is_newline(text[i - 1])) return i;
  return space_piece(text, at, run, end);
}

size_t split_llama3(const uint8_t *text, size_t at, size_t end) { return split_cl100k(text, at, end, 3); }
size_t split_qwen2(const uint8_t *text, size_t at, size_t end) { return split_cl100k(text, at, end, 1); }

static size_t digits_piece(const uint8_t *text, size_t at, size_t end, int together) {
  size_t bytes;
  int first = unicode_read_class(text + at, &bytes) & UNICODE_NUMERIC;
  at += bytes;
  if (first && !together) return at;
  while (at < end && (unicode_read_class(text + at, &bytes) & UNICODE_NUMERIC) == first) at += bytes;
  return at;
}

size_t split_each_digit(const uint8_t *text, size_t at, size_t end) { return digits_piece(text, at, end, 0); }
size_t split_digit_runs(const uint8_t *text, size_t at, size_t end) { return digits_piece(text, at, end, 1); }

static const struct {
  const char *pattern;
  split_scanner scanner;
  split_block block; /* NULL: none */
} patterns[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", split_gpt2,
     split_block_gpt2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     split_llama3, split_block_llama3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     split_qwen2, split_block_qwen2},
};

static int is_digits(split_scanner s) { return s == split_each_digit || s == split_digit_runs; }

/* Digits leave words as they are. */
void split_add(split_rule *rule, split_scanner scanner) {
  rule->finds_words = !is_digits(scanner);
  for (uint32_t i = 0; i < rule->stage_count; i++) rule->finds_words &= is_digits(rule->stages[i]);
  rule->stages[rule->stage_count++] = scanner;
  rule->block = NULL;
  for (size_t i = 0; rule->stage_count == 1 && i < sizeof patterns / sizeof *patterns; i++)
    if (patterns[i].scanner == scanner) rule->block = patterns[i].block;
}

void split_begin(split_pieces *pieces, const split_rule *rule, const uint8_t *text, size_t bytes) {
  pieces->rule = rule;
  pieces->text = text;
  pieces->at = 0;
  pieces->limit[0] = bytes;
  for (uint32_t s = 0; s < rule->stage_count; s++) pieces->limit[s + 1] = 0;
}

int split_next(split_pieces *pieces, size_t *begin, size_t *end) {
  uint32_t count = pieces->rule->stage_count, stage = 0;
  if (pieces->at == pieces->limit[0]) return 0;
  /* The outermost stage whose piece is used up cuts the next one, and all stages below it begin anew. */
  while (stage < count && pieces->limit[stage + 1] > pieces->at) stage++;
  for (; stage < count; stage++)
    pieces->limit[stage + 1] = pieces->rule->stages[stage](pieces->text, pieces->at, pieces->limit[stage]);
  *begin = pieces->at;
  *end = pieces->at = pieces->limit[count];
  return 1;
}

split_scanner split_pattern_find(const char *pattern, size_t bytes) {
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
    if (strlen(patterns[i].pattern) == bytes && memcmp(patterns[i].pattern, pattern, bytes) == 0)
      return patterns[i].scanner;
  return NULL;
}

const char *split_pattern_of(split_scanner scanner) {
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
    if (patterns[i].scanner == scanner) return patterns[i].pattern;
  return NULL;
}
