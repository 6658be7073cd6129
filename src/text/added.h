/* text/added.h: added tokens: texts that become one id before anything else looks at them.
 *
 * Matches are found leftmost first, the longest among those that begin at one place; then the token's flags decide, as
 * in the reference (tokenizer/added_vocabulary.rs).
 *
 * The tokens are one automaton (Aho and Corasick, 1975) of their texts read from the end. It goes over a stretch of text
 * from its end to its begin, and where it is then says which is the longest token that begins there. So each byte is read
 * once, or twice where stretches lie over each other, whatever the tokens and the text; an automaton that reads forward
 * would have to go back behind each match.
 */
#ifndef TEXT_ADDED_H
#define TEXT_ADDED_H

#include "base/error.h"
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

/* State 0 has read nothing. The states behind s are first[s] .. first[s + 1), in the order of the bytes that lead there. */
typedef struct added_set {
  added_token *tokens; /* sorted by their texts read from the end */
  size_t count;
  size_t longest;
  int all_special;
  uint32_t *first;    /* [states + 1] */
  uint32_t *fail;     /* [states] the state of the longest part of what was read that another token ends with */
  uint32_t *found;    /* [states] the longest token that has been read whole: its index + 1, or 0 */
  uint8_t *by;        /* [states] the byte that leads to it */
  uint32_t root[256]; /* state 0's, by byte; 0: none */
  int only;           /* the one byte that all tokens end with, or -1 */
} added_set;

/* Sorts set->tokens, a block of m with count of them, and makes the automaton; the rest of set is zeroed before. Ended by
 * added_destroy, also when it fails. Errors: E_MEMORY, E_LIMIT (texts of 4 GiB). */
viva_status added_create(mem *m, added_set *set, size_t count, viva_error *error);
void added_destroy(mem *m, added_set *set); /* a zeroed set is allowed */

/* The state behind `state` for a byte, or 0. Most states have one. */
static inline uint32_t added_behind(const added_set *set, uint32_t state, uint8_t byte) {
  uint32_t low = set->first[state], high = set->first[state + 1];
  while (high - low > 1) {
    uint32_t mid = low + (high - low) / 2;
    if (set->by[mid] <= byte)
      low = mid;
    else
      high = mid;
  }
  return low < high && set->by[low] == byte ? low : 0;
}

/* Where tokens begin in a stretch of text, from its end to its begin. Zeroed but for mem at first. */
typedef struct added_place {
  uint32_t at;    /* behind the stretch's begin */
  uint32_t token; /* the longest that begins there */
} added_place;

typedef struct added_memory {
  mem *mem;
  added_place *places;
  size_t count, room;
} added_memory;

void added_memory_free(added_memory *memory);

/* Goes through a text (valid UTF-8). */
typedef struct added_scan {
  const added_set *set;
  added_memory *memory;
  const uint8_t *text;
  size_t bytes;
  int match_special;
  size_t at;                     /* where the search goes on */
  size_t begin, end;             /* the stretch that memory's places are in */
  size_t taken;                  /* text up to here is used up */
  size_t space_begin, space_end; /* the last white space walked over behind a token */
  const uint8_t *marks;          /* [bytes] NULL, or 1 where a text is that cannot be a special token */
  uint64_t steps;                /* of the automaton: what a test counts */
} added_scan;

void added_begin(added_scan *scan, const added_set *set, added_memory *memory, const uint8_t *text, size_t bytes,
                 int match_special);

typedef struct added_match {
  size_t begin, end;             /* what lies before the token (possibly nothing) */
  size_t token_begin, token_end; /* the token, with the white space that it takes along */
  viva_token id;                 /* -1: none is left; begin and end are the rest */
} added_match;

/* The next match. After id -1 nothing more may be asked. Errors: E_MEMORY. */
viva_status added_next(added_scan *scan, added_match *match, viva_error *error);

#endif
