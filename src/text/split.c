#include "text/split.h"

#include <string.h>

#include "text/near.h"
#include "text/unicode.h"

/* What the patterns ask of a character. The four kinds are disjoint: \p{L}, \p{N}, \s and [^\s\p{L}\p{N}]. */
typedef enum kind { LETTER, NUMBER, SPACE, OTHER, NOTHING } kind;

static kind kind_of(uint8_t class) {
  if (class_is_letter(class)) return LETTER;
  if (class_is_number(class)) return NUMBER;
  return class & UNICODE_SPACE ? SPACE : OTHER;
}

enum { L = LETTER, N = NUMBER, S = SPACE, O = OTHER };
static const uint8_t near_kinds[NEAR_ROWS + 1] =
    {
        O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O,       O, O, O, O, O, S,
        O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O,       O, O, O, O, O, L,
        L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O,       O, O, O, O, L, L,
        L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O,       O, O, O, O, O, O,
        O, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,       O, S, O, O, O, O,
        O, O, O, O, O, L, O, O, O, O, O, O, O, N, N, O, L, O, O, O, N, L, O, N, N, N, O,       L, L, L, L, L, L,
        L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, L, L, L, L, L, L, L, L, L,       L, L, L, L, L, L,
        L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, L, L, L, L, L, L, L, L, O, NOTHING, /* U+FFFD; another */
};

/* The kind of the character at `at` and where it ends; NOTHING at the end. */
static inline kind kind_at(const uint8_t *text, size_t at, size_t end, size_t *next) {
  if (at >= end) {
    *next = at;
    return NOTHING;
  }
  if (text[at] < 0x80) {
    *next = at + 1;
    return (kind)near_kinds[text[at]];
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

/* The same of characters that are neither white space, letter nor number: in noise, no branch could foretell their lengths. */
static size_t others_run_end(const uint8_t *text, size_t at, size_t end) {
  size_t next;
  while (end - at >= 4) {
    near_character c = near_read(text + at);
    if (near_kinds[c.row] == OTHER) {
      at += c.bytes;
      continue;
    }
    if (c.row < NEAR_ROWS || kind_at(text, at, end, &next) != OTHER) return at;
    at = next;
  }
  while (kind_at(text, at, end, &next) == OTHER) at = next;
  return at;
}

/* The end of the run of characters of that kind that begins at `at`. */
static size_t run_end(const uint8_t *text, size_t at, size_t end, kind wanted) {
  size_t next;
  if (wanted == LETTER) return letters_end(text, at, end);
  if (wanted == OTHER) return others_run_end(text, at, end);
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

/* White space: through the last line end in the run, if there is one. */
static size_t blank_piece(const uint8_t *text, size_t at, size_t run, size_t end) {
  for (size_t i = run; i > at; i--)
    if (is_newline(text[i - 1])) return i;
  return space_piece(text, at, run, end);
}

size_t split_blanks(const uint8_t *text, size_t at, size_t end) {
  return blank_piece(text, at, run_end(text, at, end, SPACE), end);
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
  return blank_piece(text, at, run_end(text, next, end, SPACE), end);
}

size_t split_llama3(const uint8_t *text, size_t at, size_t end) { return split_cl100k(text, at, end, 3); }
size_t split_qwen2(const uint8_t *text, size_t at, size_t end) { return split_cl100k(text, at, end, 1); }

/* Where a mark is, what qwen2 does not take for a letter. */
static int is_mark_at(const uint8_t *text, size_t at, size_t end, size_t *next) {
  size_t bytes;
  *next = at;
  if (at >= end || text[at] < 0x80) return 0;
  uint32_t category = unicode_read_class(text + at, &bytes) & UNICODE_CATEGORY;
  *next = at + bytes;
  return category >= UNICODE_MN && category <= UNICODE_ME;
}

/* The end of the run of letters and marks. */
static size_t marked_end(const uint8_t *text, size_t at, size_t end) {
  size_t next;
  for (;;) {
    at = letters_end(text, at, end);
    if (!is_mark_at(text, at, end, &next)) return at;
    at = next;
  }
}

/* The end of the run of characters that are no white space, letter, mark or number. */
static size_t others_end(const uint8_t *text, size_t at, size_t end) {
  size_t next, mark;
  while (!is_mark_at(text, at, end, &mark) && kind_at(text, at, end, &next) == OTHER) at = next;
  return at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|
 * ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
size_t split_qwen35(const uint8_t *text, size_t at, size_t end) {
  size_t contraction = split_contraction_any_case(text, at, end);
  if (contraction > at) return contraction;
  size_t next, marked = marked_end(text, at, end);
  if (marked > at) return marked;
  kind first = kind_at(text, at, end, &next);
  if (first == NUMBER) return next;
  marked = is_newline(text[at]) ? next : marked_end(text, next, end);
  if (marked > next) return marked;
  size_t from = text[at] == ' ' ? at + 1 : at, to = others_end(text, from, end);
  return to > from ? newlines_end(text, to, end) : split_blanks(text, at, end);
}

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

/* The parts that patterns share, as their files write them. */
#define CONTRACTIONS      "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BLANKS            "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define ASCII_PUNCTUATION "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
#define CASED(tail)                                                                                                    \
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" tail                     \
  "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" tail "|"

static const struct {
  const char *pattern;
  split_scanner scanner;
  split_block block; /* NULL: none */
  uint8_t leaves_gaps;
  uint8_t ends_words;
  uint8_t words;        /* which may be asked first */
  uint8_t leaves_words; /* cuts no word of ASCII letters: they may be asked before the others */
} patterns[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", split_gpt2, split_block_gpt2,
     0, 1, WORDS_PLAIN, 0},
    {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" BLANKS, split_llama3,
     split_block_llama3, 0, 1, WORDS_PLAIN, 0},
    {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" BLANKS, split_qwen2,
     split_block_qwen2, 0, 1, WORDS_PLAIN, 0},
    {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" BLANKS,
     split_qwen35, split_block_qwen2, 0, 1, WORDS_PLAIN, 0},
    {CASED(CONTRACTIONS "?") "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS, split_o200k, NULL, 0, 1,
     WORDS_CASED, 0},
    {CASED(CONTRACTIONS "?") "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS, split_o200k_digits, NULL, 0, 1,
     WORDS_CASED, 0},
    {CASED("") "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" BLANKS, split_tekken, NULL, 0, 1, WORDS_CASED, 0},
    {"\\p{N}{1,3}", split_numbers, NULL, 1, 0, 0, 1},
    {"[一-龥぀-ゟ゠-ヿ]+", split_cjk, NULL, 1, 0, 0, 1},
    {"[一-龥ࠀ-一가-퟿]+", split_cjk_wide, NULL, 1, 0, 0, 1},
    {ASCII_PUNCTUATION "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" BLANKS,
     split_deepseek, NULL, 1, 1, WORDS_PLAIN, 0},
    {"[\\r\\n]", split_newline, NULL, 1, 0, 0, 1},
    {"\\s?\\p{L}+", split_spaced_letters, NULL, 1, 0, WORDS_PLAIN, 0},
    {"\\s?\\p{P}+", split_spaced_punctuation, NULL, 1, 0, 0, 1},
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

/* The scanner's row, or PATTERNS. */
static size_t row_of(split_scanner scanner) {
  size_t i = 0;
  while (i < PATTERNS && patterns[i].scanner != scanner) i++;
  return i;
}

static int is_digits(split_scanner s) { return s == split_each_digit || s == split_digit_runs; }

int split_ends_words(split_scanner scanner) {
  size_t row = row_of(scanner);
  return row < PATTERNS && patterns[row].ends_words;
}

static split_words words_of(const split_rule *rule) {
  split_words found = WORDS_NONE;
  for (uint32_t i = 0; i < rule->stage_count; i++) {
    size_t row = row_of(rule->stages[i]);
    if (is_digits(rule->stages[i]) || (row < PATTERNS && patterns[row].leaves_words)) continue;
    if (row == PATTERNS || !patterns[row].words || found) return WORDS_NONE;
    found = (split_words)patterns[row].words;
  }
  return found;
}

void split_add(split_rule *rule, split_scanner scanner) {
  rule->stages[rule->stage_count++] = scanner;
  rule->words = words_of(rule);
  rule->block = rule->stage_count == 1 && row_of(scanner) < PATTERNS ? patterns[row_of(scanner)].block : NULL;
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

/* Some files have line ends themselves where others have \r and \n. */
static int is_written(const char *known, const char *pattern, size_t bytes) {
  for (size_t i = 0; i < bytes; i++, known++) {
    char escaped = pattern[i] == '\r' ? 'r' : pattern[i] == '\n' ? 'n' : 0;
    if (*known != (escaped ? '\\' : pattern[i])) return 0;
    if (escaped && *++known != escaped) return 0;
  }
  return *known == 0;
}

split_scanner split_pattern_find(const char *pattern, size_t bytes) {
  for (size_t i = 0; i < PATTERNS; i++)
    if (is_written(patterns[i].pattern, pattern, bytes)) return patterns[i].scanner;
  return NULL;
}

int split_leaves_gaps(split_scanner scanner) {
  size_t row = row_of(scanner);
  return row < PATTERNS && patterns[row].leaves_gaps;
}

const char *split_pattern_of(split_scanner scanner) {
  size_t row = row_of(scanner);
  return row < PATTERNS ? patterns[row].pattern : NULL;
}
