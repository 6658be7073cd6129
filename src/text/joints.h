/* text/joints.h: between which characters no token lies, so that a long piece can be cut there and each part be merged, and
 * remembered, alone.
 *
 * A merge makes a token. Where no token of the vocabulary has the last character of what lies before a place followed by the
 * first one behind it, no merge can reach over the place, and both sides merge as if the other were not there: the ids are
 * the same. The sets below may say "joined" of more pairs than are; never of fewer.
 */
#ifndef TEXT_JOINTS_H
#define TEXT_JOINTS_H

#include "text/bpe.h"
#include "text/near.h"

#define JOINTS_BITS     20 /* of the set of pairs: 128 KiB */
#define JOINTS_ONE_BITS 16 /* of those of characters: 8 KiB */

typedef struct joints {
  int usable;                                      /* 0: pieces must not be cut */
  uint64_t near[NEAR_ROWS][(NEAR_ROWS + 63) / 64]; /* bit b of row a: a and b are joined (near.h) */
  uint32_t near_rows;                              /* that there are: of ASCII, or all */
  uint32_t near_ids[NEAR_ROWS + 1]; /* what each becomes alone; BPE_NO_ID: not one token, or it is not near */
  uint64_t *pairs;                  /* pairs of characters, by hash */
  uint64_t *before, *behind; /* characters, by hash, that a token has with a part of another behind, or before it */
  uint64_t halves[256][4];   /* last byte of one and first byte of another character, of which a token has parts only */
} joints;

/* Errors: E_MEMORY. */
viva_status joints_create(mem *m, const bpe *b, joints *out, viva_error *error);
void joints_destroy(mem *m, joints *j);

/* The first place behind `at` where text[at .. end) may be cut, or end. text is valid UTF-8. */
size_t joints_next(const joints *j, const uint8_t *text, size_t at, size_t end);

/* Puts the ids of parts from `at` on that are one near character each, as far as those come.
 * text[.. limit) may be read. Returns where the next part begins. */
size_t joints_put_near(const joints *j, const uint8_t *text, size_t at, size_t end, size_t limit, id_sink *sink);

/* Does (or may) a token lie across character a followed by character b? */
int joints_joined(const joints *j, uint32_t a, uint32_t b);

#endif
