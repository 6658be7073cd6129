/* text/known.h: the tokens that a short piece with their text becomes, whole: what merging gives, worked out once.
 *
 * Most words of a text are tokens. One look tells that, where merging takes as many as the word has letters. A token whose
 * own text merges to something else is left out (or is in, where whole pieces are looked up first), and so is one for which a
 * line of the table has no place: such pieces are merged as before. So nothing is searched for beyond one line, whatever
 * the file's tokens are.
 */
#ifndef TEXT_KNOWN_H
#define TEXT_KNOWN_H

#include <string.h>

#include "text/bpe.h"

enum { WORD_BYTES = 15 };

/* A short piece as two numbers: its bytes, zeros behind them, and in the last one the length. */
typedef struct word_id {
  uint64_t low, high;
} word_id;

static inline uint64_t word_hash(uint64_t low, uint64_t high) {
  uint64_t h = (low ^ high * 0x9fb21c651e98df25ULL) * 0x9e3779b97f4a7c15ULL;
  return (h ^ h >> 29) * 0xbf58476d1ce4e5b9ULL;
}

#define KNOWN_LINE 8 /* slots: a line of the cache */

typedef struct known_tokens {
  uint64_t *lines; /* [line_count][KNOWN_LINE]: half of the hash, and the token's id + 1; 0: free */
  size_t line_count;
  word_id *words; /* [vocab count] */
} known_tokens;

/* blank: what ' ' in a piece stands for; text NULL: itself. Errors: E_MEMORY. */
viva_status known_create(mem *m, const bpe *b, token_text blank, known_tokens *out, viva_error *error);
void known_destroy(mem *m, known_tokens *k);

/* What some pieces become: a token's id, KNOWN_NOT (no token has that text, or it does not merge to itself), or KNOWN_UNSURE. The
 * memory of one comes while the others are looked at. */
#define KNOWN_AT_ONCE 64
#define KNOWN_NOT     (-1)
#define KNOWN_UNSURE  (-2)
void known_find(const known_tokens *k, const word_id *pieces, size_t count, int64_t *ids);

#endif
