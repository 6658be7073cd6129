/* text/pattern.h: what a Split or a Replace looks for: a string, a class of characters, or a regular expression.
 *
 * A known expression is a hand-written scanner (split.h); any other is compiled by regex.h, whose work is bounded.
 */
#ifndef TEXT_PATTERN_H
#define TEXT_PATTERN_H

#include "text/regex.h"
#include "text/split.h"
#include "text/vocab.h"

typedef enum pattern_kind {
  PATTERN_LITERAL,
  PATTERN_SCANNER, /* matches follow each other without a gap */
  PATTERN_REGEX,
  PATTERN_NUMERIC, /* one character: Rust's char::is_numeric */
  PATTERN_SPACE,   /* one character: char::is_whitespace */
  PATTERN_PUNCTUATION,
  PATTERN_WORDS /* \w+|[^\w\s]+ */
} pattern_kind;

typedef struct pattern {
  pattern_kind kind;
  token_text literal;    /* not empty */
  split_scanner scanner; /* of REGEX: of a Split that isolates its matches; NULL: there is none */
  const regex *regex;
} pattern;

/* A pattern of a file, from a. Errors: E_UNSUPPORTED (an expression that regex.h does not know), E_FORMAT, E_MEMORY. */
viva_status pattern_from_regex(arena *a, const char *text, size_t bytes, pattern *out, viva_error *error);
viva_status pattern_from_literal(arena *a, const char *text, size_t bytes, pattern *out, viva_error *error);

/* The first match in text[at .. end) that begins at `at` or later; text[0 .. end) is all that is looked at. *found 0:
 * none. A match may be empty (an expression's). Errors: E_LIMIT (the expression asked for too much work), E_MEMORY. */
viva_status pattern_find(const pattern *p, regex_memory *memory, const uint8_t *text, size_t at, size_t end, int *found,
                         size_t *match_begin, size_t *match_end, viva_error *error);

/* Where a search goes on; zeroed at first. */
typedef struct pattern_place {
  size_t at;
  size_t last; /* end of the match before, and 1; 0: there was none */
} pattern_place;

/* The next match, as the reference counts them: none in no text, and an empty one directly behind the match before is none.
 * Errors: as pattern_find. */
viva_status pattern_next(const pattern *p, regex_memory *memory, const uint8_t *text, size_t end, pattern_place *place,
                         int *found, size_t *match_begin, size_t *match_end, viva_error *error);

#endif
