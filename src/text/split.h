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

#include "viva/status.h"

/* Returns the end of the piece that begins at `at`. at < end; text[at..end) is valid UTF-8. Nothing outside
 * text[at..end) is looked at: the ends of the piece are the ends of the text for the pattern's lookahead. */
typedef size_t (*split_scanner)(const uint8_t *text, size_t at, size_t end);

size_t split_gpt2(const uint8_t *text, size_t at, size_t end);       /* GPT-2, and ByteLevel's use_regex */
size_t split_llama3(const uint8_t *text, size_t at, size_t end);     /* digits by up to three */
size_t split_qwen2(const uint8_t *text, size_t at, size_t end);      /* as llama3, each digit alone */
size_t split_each_digit(const uint8_t *text, size_t at, size_t end); /* Digits(individual_digits = true) */
size_t split_digit_runs(const uint8_t *text, size_t at, size_t end); /* Digits(individual_digits = false) */

#define SPLIT_MAX_STAGES 8

/* A pre-tokenizer that only cuts, by scanners. */
typedef struct split_rule {
  split_scanner stages[SPLIT_MAX_STAGES];
  uint32_t stage_count;
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

/* The scanner of a Split pattern of tokenizer.json, compared as written; NULL: not known. */
split_scanner split_pattern_find(const char *pattern, size_t bytes);
/* The other way round; NULL: it has none. */
const char *split_pattern_of(split_scanner scanner);

#endif
