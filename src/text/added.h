/* text/added.h: added tokens: texts that become one id before anything else looks at them.
 *
 * Matches are found leftmost first, the longest among those that begin at one place; then the token's flags decide, as
 * in the reference (tokenizer/added_vocabulary.rs).
 */
#ifndef TEXT_ADDED_H
#define TEXT_ADDED_H

#include "base/mem.h"
#include "viva/types.h"

enum {
  ADDED_SPECIAL = 1,
  ADDED_LSTRIP = 2,      /* takes the white space before it along */
  ADDED_RSTRIP = 4,      /* and after it */
  ADDED_SINGLE_WORD = 8, /* matches only between characters that are not of a word */
  ADDED_NORMALIZED = 16  /* looked for after normalization, in what the others left */
};

typedef struct added_token {
  const uint8_t *text; /* what is looked for; not empty */
  size_t bytes;
  viva_token id;
  uint32_t flags;
} added_token;

/* Tokens sorted by text; those that begin with byte b are tokens[first[b] .. first[b + 1]). */
typedef struct added_set {
  added_token *tokens;
  size_t count;
  size_t first[257];
  uint8_t begins[256]; /* 1: a token begins with this byte */
  int only;            /* the one byte that all tokens begin with, or -1 */
} added_set;

/* Sorts tokens (texts must differ) and takes the array over. tokens must be a block of m. */
void added_create(added_set *set, added_token *tokens, size_t count);
void added_destroy(mem *m, added_set *set);

/* Goes through a text (valid UTF-8). */
typedef struct added_scan {
  const added_set *set;
  const uint8_t *text;
  size_t bytes;
  int match_special;
  size_t at;                     /* where the search goes on */
  size_t taken;                  /* text up to here is used up */
  size_t space_begin, space_end; /* the last white space walked over behind a token */
  const uint8_t *marks;          /* [bytes] NULL, or 1 where a text is that cannot be a special token */
} added_scan;

void added_begin(added_scan *scan, const added_set *set, const uint8_t *text, size_t bytes, int match_special);

typedef struct added_match {
  size_t begin, end;             /* what lies before the token (possibly nothing) */
  size_t token_begin, token_end; /* the token, with the white space that it takes along */
  viva_token id;                 /* -1: none is left; begin and end are the rest */
} added_match;

/* The next match. After id -1 nothing more may be asked. */
void added_next(added_scan *scan, added_match *match);

#endif
