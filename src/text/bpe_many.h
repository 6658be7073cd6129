/* text/bpe_many.h: merging many short pieces at once, in lanes (bpe_lane.h). */
#ifndef TEXT_BPE_MANY_H
#define TEXT_BPE_MANY_H

#include "text/bpe.h"

#define BPE_ITEM_BYTES 61

/* A piece, and what it becomes. */
typedef struct bpe_item {
  const uint8_t *piece;
  viva_token *ids; /* room for as many as it has bytes */
  uint32_t bytes;  /* 1 to BPE_ITEM_BYTES; 0: it is merged already */
  uint32_t count;  /* of ids */
} bpe_item;

/* Merges pieces that are parts of words: whole ones are not looked up. b->lanes. */
void bpe_merge_many(const bpe *b, bpe_item *items, size_t count);

#endif
