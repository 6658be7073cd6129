/* text/regex.h: regular expressions of tokenizer files, for patterns that no scanner is written for.
 *
 * The part of Oniguruma's syntax that such files use: classes ([...], \s \d \w \h and their negations, \p{..} of general
 * categories, && is refused), groups, alternatives, greedy, lazy and possessive repetition, (?i:, lookahead, lookbehind
 * of one character, ^ $ \A \z \Z \b \B. Anything else is refused by name. Characters are code points; categories are
 * those of unicode.h, so an expression sees exactly the characters that the scanners see.
 *
 * Matching tries alternatives in order on a stack of its own, never the machine's. An expression can be made that
 * takes exponential time: a step counter ends it with E_LIMIT.
 */
#ifndef TEXT_REGEX_H
#define TEXT_REGEX_H

#include "base/error.h"
#include "base/mem.h"

typedef struct regex regex;

/* Compiles into a. Errors: E_UNSUPPORTED (what, and where), E_MEMORY. */
viva_status regex_compile(arena *a, const char *text, size_t bytes, const regex **out, viva_error *error);

/* What matching needs, kept from call to call. Zeroed but for mem at first. */
typedef struct regex_memory {
  mem *mem;
  struct regex_point *points;
  size_t room;
  uint64_t steps; /* left for the text at hand: see regex_allow */
  uint64_t given; /* to it */
  uint64_t spent; /* on those before */
} regex_memory;

/* Allows work for a text of so many bytes: what is left over is forgotten. */
void regex_allow(regex_memory *memory, size_t bytes);
/* All steps that were taken. */
static inline uint64_t regex_spent(const regex_memory *memory) { return memory->spent + memory->given - memory->steps; }

void regex_memory_free(regex_memory *memory);

/* Does it match at `at`? text is valid UTF-8. Errors: E_LIMIT, E_MEMORY. */
viva_status regex_match_at(const regex *r, regex_memory *memory, const uint8_t *text, size_t at, size_t end, int *found,
                           size_t *match_end, viva_error *error);

#endif
