/* text/bpe_prefix.h: the tree of what tokens begin with, for bpe_tree.c, which puts the shorter tokens in before the longer. */
#ifndef TEXT_BPE_PREFIX_H
#define TEXT_BPE_PREFIX_H

#include "text/bpe.h"

#define BPE_PLACES_MOST ((1u << 24) - 1) /* an edge has a place and a byte in 32 bits, and one value is free */

/* An edge while the tree is built. */
typedef struct bpe_new_edge {
  uint32_t from; /* place << 8 | first byte; BPE_NO_ID: free */
  uint32_t to;
  uint64_t label; /* with the first byte */
} bpe_new_edge;

typedef struct bpe_prefixes {
  mem *mem;
  bpe *b;              /* its tree gets edges, pairs, bytes, and the tokens' prefixes */
  uint32_t places;     /* that there are */
  bpe_new_edge *edges; /* [1 << edge_bits], open addressing */
  size_t edge_count;   /* that are taken */
  uint32_t edge_bits;
} bpe_prefixes;

/* Errors: E_MEMORY. */
viva_status bpe_prefixes_begin(mem *m, bpe *b, bpe_prefixes *out, viva_error *error);

/* Puts a token's way in; its left part, if it has one, must be there. Errors: E_MEMORY; E_LIMIT (too many places). */
viva_status bpe_prefixes_put(bpe_prefixes *p, uint32_t id, const uint8_t *text, viva_error *error);

/* Writes the tree as it is read. Errors: E_MEMORY. */
viva_status bpe_prefixes_end(bpe_prefixes *p, viva_error *error);
void bpe_prefixes_free(bpe_prefixes *p);

#endif
