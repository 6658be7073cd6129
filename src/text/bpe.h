/* text/bpe.h: byte-pair encoding of one piece.
 *
 * A piece begins as one symbol for each byte. The pair of neighbours with the lowest rank merges, the leftmost one
 * among equals, until no pair is in the table. Short pieces do this in an array on the stack; long ones with a linked
 * list and a heap, n·log n whatever the text. (Room for later: a cache of words in front of bpe_encode, inside
 * bpe_scratch.)
 */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include "text/vocab.h"

typedef struct bpe_merge {
  uint32_t left, right;
  uint32_t rank; /* BPE_NO_RANK: free slot */
} bpe_merge;

#define BPE_NO_RANK UINT32_MAX
#define BPE_NO_ID   UINT32_MAX

typedef struct bpe {
  const vocab *vocab;
  bpe_merge *slots; /* open addressing by (left, right) */
  size_t mask;
  uint32_t *results;      /* [merges]: by rank, the id that the pair becomes */
  uint32_t byte_ids[256]; /* the token of each byte; BPE_NO_ID: the vocabulary lacks it */
  uint32_t unknown;  /* takes the place of such a byte; BPE_NO_ID: such a byte is left out, as the reference does */
  int fuse_unknown;  /* one unknown for a run of them */
  int ignore_merges; /* a piece that is a token is taken whole */
} bpe;

/* Compiles merges: pairs of texts, left then right, in order of rank. Of a pair given twice the later rank counts, as
 * in the reference. v must outlive the result. Sets all but unknown, fuse_unknown and ignore_merges. Errors: E_FORMAT
 * (a merge that names an absent token: which, and its index), E_MEMORY. */
viva_status bpe_create(mem *m, const vocab *v, const token_text *merges, size_t merge_count, bpe *out,
                       viva_error *error);
void bpe_destroy(mem *m, bpe *b);

/* Where ids go: those that fit are stored, all are counted. */
typedef struct id_sink {
  viva_token *ids;
  size_t capacity, count;
} id_sink;

static inline void id_put(id_sink *sink, uint32_t id) {
  if (sink->count < sink->capacity) sink->ids[sink->count] = (viva_token)id;
  sink->count++;
}

/* Memory of one encode call, kept from piece to piece. Zeroed at first; ended by bpe_scratch_free. */
typedef struct bpe_scratch {
  mem *mem;
  struct bpe_symbol *symbols;
  uint64_t *heap;
  size_t capacity; /* bytes of the longest piece they are for */
} bpe_scratch;

void bpe_scratch_free(bpe_scratch *scratch);

/* Encodes one piece (any bytes). Errors: E_MEMORY, E_LIMIT (a piece of 2^32 - 1 bytes or more). */
viva_status bpe_encode(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                       viva_error *error);

#endif
