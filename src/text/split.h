/* text/split.h: pre-tokenizers: where text is cut before merging.
 *
 * Each known pattern is a hand-written scanner: one pass, no backtracking, no recursion. A pre-tokenizer is a short
 * list of scanners, each cutting the pieces of the one before. To add a pattern: write its scanner in split.c and add a
 * row to the table of patterns (tokenizer.json) and to the table of names (GGUF) there.
 */
#ifndef TEXT_SPLIT_H
#define TEXT_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#include "text/bytes16.h"
#include "text/split_block.h"
#include "viva/status.h"

/* Returns the end of the piece that begins at `at`. at < end; text[at..end) is valid UTF-8. Nothing outside
 * text[at..end) is looked at: the ends of the piece are the ends of the text for the pattern's lookahead. */
typedef size_t (*split_scanner)(const uint8_t *text, size_t at, size_t end);

size_t split_gpt2(const uint8_t *text, size_t at, size_t end);   /* GPT-2, and ByteLevel's use_regex */
size_t split_llama3(const uint8_t *text, size_t at, size_t end); /* digits by up to three */
size_t split_qwen2(const uint8_t *text, size_t at, size_t end);  /* as llama3, each digit alone */
size_t split_qwen35(const uint8_t *text, size_t at, size_t end); /* as qwen2, marks are letters */
size_t split_o200k(const uint8_t *text, size_t at, size_t end);  /* words begin at capitals; digits by up to three */
size_t split_o200k_digits(const uint8_t *text, size_t at, size_t end); /* each digit alone */
size_t split_tekken(const uint8_t *text, size_t at, size_t end);       /* and no contractions */
/* \s*[\r\n]+|\s+(?!\S)|\s+ at white space. */
size_t split_blanks(const uint8_t *text, size_t at, size_t end);

/* DeepSeek's, some in a row. What they do not match is a piece, too. */
size_t split_numbers(const uint8_t *text, size_t at, size_t end);  /* by up to three */
size_t split_cjk(const uint8_t *text, size_t at, size_t end);      /* runs of Han characters and kana */
size_t split_cjk_wide(const uint8_t *text, size_t at, size_t end); /* and of more scripts */
size_t split_deepseek(const uint8_t *text, size_t at, size_t end); /* words, signs, white space */
size_t split_newline(const uint8_t *text, size_t at, size_t end);  /* each alone */
size_t split_spaced_letters(const uint8_t *text, size_t at, size_t end);
size_t split_spaced_punctuation(const uint8_t *text, size_t at, size_t end);

/* The end of a contraction at `at` (GPT-2's; in any case), or `at`. */
size_t split_contraction(const uint8_t *text, size_t at, size_t end);
size_t split_contraction_any_case(const uint8_t *text, size_t at, size_t end);

size_t split_each_digit(const uint8_t *text, size_t at, size_t end); /* Digits(individual_digits = true) */
size_t split_digit_runs(const uint8_t *text, size_t at, size_t end); /* Digits(individual_digits = false) */

#define SPLIT_MAX_STAGES 8

typedef enum split_words { WORDS_NONE, WORDS_PLAIN /* split_word */, WORDS_CASED /* split_cased_word */ } split_words;

/* A pre-tokenizer that only cuts, by scanners. */
typedef struct split_rule {
  split_scanner stages[SPLIT_MAX_STAGES];
  uint32_t stage_count;
  split_words words; /* what may be asked first */
  split_block block; /* of the only stage; NULL: there is none */
} split_rule;

/* Goes through the pieces of text in order. */
typedef struct split_pieces {
  const split_rule *rule;
  const uint8_t *text;
  size_t at;
  size_t limit[SPLIT_MAX_STAGES + 1]; /* limit[0]: end of the text; limit[s + 1]: end of the piece of stage s */
} split_pieces;

void split_begin(split_pieces *pieces, const split_rule *rule, const uint8_t *text, size_t bytes);
int split_next(split_pieces *pieces, size_t *begin, size_t *end); /* 0 after the last */

/* The piece that begins at `at` was found to end at `to` otherwise. */
static inline void split_skip(split_pieces *pieces, size_t to) {
  pieces->at = pieces->limit[pieces->rule->stage_count] = to;
}

/* Appends a scanner to a rule. */
void split_add(split_rule *rule, split_scanner scanner);

/* The end of a word of ASCII letters, or of a space and a word, that begins at `at` and ends before a character of ASCII: most
 * pieces of most texts are, and every rule of WORDS_PLAIN takes it whole. 0: something else is there, or too near to the
 * end. */
static inline size_t split_word(const uint8_t *text, size_t at, size_t end) {
  if (end - at < 16) return 0;
  uint32_t letters = bytes16_letters(text + at), beyond = bytes16_beyond_ascii(text + at);
  uint32_t word = letters | (text[at] == ' ' ? letters >> 1 & 1 : 0);
  uint32_t length = (uint32_t)__builtin_ctz(~word);
  return length - 1 < 15 && !(beyond >> length & 1) ? at + length : 0;
}

/* The same where a word has one capital at most, at its begin, and may go on with a contraction. */
static inline size_t split_cased_word(const uint8_t *text, size_t at, size_t end) {
  if (end - at < 16) return 0;
  uint32_t small = bytes16_small_letters(text + at), large = bytes16_letters(text + at) & ~small;
  uint32_t first = text[at] == ' ';
  first += large >> first & 1;
  uint32_t length = first + (uint32_t)__builtin_ctz(~(small >> first));
  if (length == first || length > 15 || text[at + length] >= 0x80 || text[at + length] == '\'') return 0;
  return at + length;
}

/* The scanner of a Split pattern of tokenizer.json, compared as written; NULL: not known. */
split_scanner split_pattern_find(const char *pattern, size_t bytes);
/* Does the pattern not match all of a text, so that some pieces of its scanner are what lies between? */
int split_leaves_gaps(split_scanner scanner);
/* Does it cut in front of each space behind a letter, a digit, a point or a comma, and between a letter and a line feed? */
int split_ends_words(split_scanner scanner);
/* The other way round; NULL: it has none. */
const char *split_pattern_of(split_scanner scanner);

#endif
