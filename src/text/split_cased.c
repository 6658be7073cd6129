/* Patterns that look at the case of letters, or at marks, punctuation and symbols: o200k, tekken, DeepSeek. */
#include "text/split.h"
#include "text/unicode.h"

static uint8_t class_at(const uint8_t *text, size_t at, size_t *next) {
  size_t bytes;
  uint8_t class = unicode_read_class(text + at, &bytes);
  *next = at + bytes;
  return class;
}

static int has(uint32_t categories, uint8_t class) { return (int)(categories >> (class & UNICODE_CATEGORY) & 1); }

#define BIT(category) (1u << (category))
enum {
  MARKS = BIT(UNICODE_MN) | BIT(UNICODE_MC) | BIT(UNICODE_ME),
  NUMBERS = BIT(UNICODE_ND) | BIT(UNICODE_NL) | BIT(UNICODE_NO),
  BOTH = BIT(UNICODE_LM) | BIT(UNICODE_LO) | MARKS,   /* count as large and as small */
  LARGE = BIT(UNICODE_LU) | BIT(UNICODE_LT) | BOTH,   /* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] */
  SMALL = BIT(UNICODE_LL) | BOTH,                     /* [\p{Ll}\p{Lm}\p{Lo}\p{M}] */
  LETTERS = (LARGE | SMALL) & ~(uint32_t)MARKS,       /* \p{L} */
  SIGNS = BIT(UNICODE_SO + 1) - BIT(UNICODE_PC),      /* [\p{P}\p{S}] */
  PUNCTUATION = BIT(UNICODE_PO + 1) - BIT(UNICODE_PC) /* \p{P} */
};

/* The end of the run of characters of these categories. */
static size_t run_of(uint32_t categories, const uint8_t *text, size_t at, size_t end) {
  size_t next;
  while (at < end && has(categories, class_at(text, at, &next))) at = next;
  return at;
}

static int is_newline(uint8_t byte) { return byte == '\r' || byte == '\n'; }

/* ---- o200k and tekken ---- */

/* [^\r\n\p{L}\p{N}]?[LARGE]*[SMALL]+|[^\r\n\p{L}\p{N}]?[LARGE]+[SMALL]* at `at`; `at`: neither matches. */
static size_t cased_word(const uint8_t *text, size_t at, size_t end) {
  size_t next, both_end = 0, begin = at, large;
  uint8_t first = class_at(text, at, &next);
  if (!has(LETTERS | NUMBERS, first) && !is_newline(text[at])) begin = next;
  /* As many large ones as there are; the last that is also small may be given back. */
  for (large = begin; large < end; large = next) {
    uint8_t class = class_at(text, large, &next);
    if (!has(LARGE, class)) break;
    if (has(BOTH, class)) both_end = next;
  }
  if (large < end && has(SMALL, class_at(text, large, &next))) return run_of(SMALL, text, large, end);
  if (both_end) return both_end;
  if (has(MARKS, first)) return begin; /* it stands for itself, not in front of others */
  return large > begin ? large : at;
}

/* ?[^\s\p{L}\p{N}]+[\r\n/]* at `at`; `at`: it does not match. */
static size_t signs_and_lines(const uint8_t *text, size_t at, size_t end) {
  size_t next, from = text[at] == ' ' ? at + 1 : at, to = from;
  while (to < end) {
    uint8_t class = class_at(text, to, &next);
    if (has(LETTERS | NUMBERS, class) || class & UNICODE_SPACE) break;
    to = next;
  }
  if (to == from) return at;
  while (to < end && (is_newline(text[to]) || text[to] == '/')) to++;
  return to;
}

static size_t cased(const uint8_t *text, size_t at, size_t end, int digits, int contracts) {
  size_t to = cased_word(text, at, end), next;
  if (to > at) return contracts && to < end ? split_contraction_any_case(text, to, end) : to;
  for (to = at; digits-- > 0 && to < end && has(NUMBERS, class_at(text, to, &next)); to = next) continue;
  if (to == at) to = signs_and_lines(text, at, end);
  return to > at ? to : split_blanks(text, at, end);
}

size_t split_o200k(const uint8_t *text, size_t at, size_t end) { return cased(text, at, end, 3, 1); }
size_t split_o200k_digits(const uint8_t *text, size_t at, size_t end) { return cased(text, at, end, 1, 1); }
size_t split_tekken(const uint8_t *text, size_t at, size_t end) { return cased(text, at, end, 1, 0); }

/* ---- DeepSeek: patterns that leave something between their matches, which is a piece, too ---- */

/* Returns where a match that begins at `at` ends; `at`: none does. */
typedef size_t (*match_at)(const uint8_t *text, size_t at, size_t end);

static size_t match_or_gap(match_at match, const uint8_t *text, size_t at, size_t end) {
  size_t to = match(text, at, end);
  if (to > at) return to;
  do (void)class_at(text, at, &at);
  while (at < end && match(text, at, end) == at);
  return at;
}

static size_t match_numbers(const uint8_t *text, size_t at, size_t end) {
  size_t next;
  for (int i = 0; i < 3 && at < end && has(NUMBERS, class_at(text, at, &next)); i++) at = next;
  return at;
}

/* [\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+ */
static size_t match_cjk(const uint8_t *text, size_t at, size_t end) {
  uint32_t code;
  for (size_t n; at < end; at += n) {
    n = unicode_read(text + at, &code);
    if (!((code >= 0x4e00 && code <= 0x9fa5) || (code >= 0x3040 && code <= 0x30ff))) break;
  }
  return at;
}

/* [\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+ */
static size_t match_cjk_wide(const uint8_t *text, size_t at, size_t end) {
  uint32_t code;
  for (size_t n; at < end; at += n) {
    n = unicode_read(text + at, &code);
    if (!((code >= 0x800 && code <= 0x9fa5) || (code >= 0xac00 && code <= 0xd7ff))) break;
  }
  return at;
}

static int is_ascii_letter(uint8_t byte) { return (uint8_t)((byte | 0x20) - 'a') < 26; }
static int is_ascii_punctuation(uint8_t byte) {
  return byte > ' ' && byte < 0x7f && !is_ascii_letter(byte) && (uint8_t)(byte - '0') > 9;
}

/* [!-/:-~]: punctuation of ASCII[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|blanks */
static size_t match_deepseek(const uint8_t *text, size_t at, size_t end) {
  size_t next, to = at + 1;
  if (is_ascii_punctuation(text[at]) && to < end && is_ascii_letter(text[to])) {
    while (to < end && is_ascii_letter(text[to])) to++;
    return to;
  }
  uint8_t first = class_at(text, at, &next);
  size_t from = has(LETTERS | SIGNS, first) || is_newline(text[at]) ? at : next;
  to = run_of(LETTERS | MARKS, text, from, end);
  if (to > from) return to;
  if (has(MARKS, first)) return next;
  from = text[at] == ' ' ? at + 1 : at;
  to = run_of(SIGNS, text, from, end);
  if (to == from) return first & UNICODE_SPACE ? split_blanks(text, at, end) : at;
  while (to < end && is_newline(text[to])) to++;
  return to;
}

static size_t match_newline(const uint8_t *text, size_t at, size_t end) {
  (void)end;
  return is_newline(text[at]) ? at + 1 : at;
}

/* \s?[categories]+ */
static size_t match_spaced(uint32_t categories, const uint8_t *text, size_t at, size_t end) {
  size_t next, from = class_at(text, at, &next) & UNICODE_SPACE ? next : at, to = run_of(categories, text, from, end);
  return to > from ? to : at;
}

static size_t match_spaced_letters(const uint8_t *text, size_t at, size_t end) {
  return match_spaced(LETTERS, text, at, end);
}

static size_t match_spaced_punctuation(const uint8_t *text, size_t at, size_t end) {
  return match_spaced(PUNCTUATION, text, at, end);
}

size_t split_numbers(const uint8_t *text, size_t at, size_t end) { return match_or_gap(match_numbers, text, at, end); }
size_t split_cjk(const uint8_t *text, size_t at, size_t end) { return match_or_gap(match_cjk, text, at, end); }
size_t split_cjk_wide(const uint8_t *text, size_t at, size_t end) {
  return match_or_gap(match_cjk_wide, text, at, end);
}
size_t split_deepseek(const uint8_t *text, size_t at, size_t end) {
  return match_or_gap(match_deepseek, text, at, end);
}
size_t split_newline(const uint8_t *text, size_t at, size_t end) { return match_or_gap(match_newline, text, at, end); }
size_t split_spaced_letters(const uint8_t *text, size_t at, size_t end) {
  return match_or_gap(match_spaced_letters, text, at, end);
}
size_t split_spaced_punctuation(const uint8_t *text, size_t at, size_t end) {
  return match_or_gap(match_spaced_punctuation, text, at, end);
}
