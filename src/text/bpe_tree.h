/* text/bpe_tree.h: how each token is made, and encoding a piece from its begin to its end, token by token.
 *
 * Two neighbours *keep apart* when merging their bytes alone gives the two. Let a piece be cut into tokens of which each merges
 * to itself and each two neighbours keep apart: then merging the piece gives these tokens. For until the first merge across
 * one of the cuts, each token has merged as it does alone beside its neighbour, in the same order, so that merge would have
 * been made there too. And the ids of a piece are such a cut, for the same reason. So there is one such cut of it, and one of
 * whatever lies before any of the cut's places: a place that was reached and led nowhere need not be tried again.
 *
 * bpe_forward looks for it: the token before once more where its text comes again, else the longest one first, shorter ones where
 * it does not keep apart from the one before, and a step back where none does. In most texts the longest is right nearly always.
 *
 * Whether two keep apart is told by the merges that make them. Those of both happen in the order of their ranks, the left one's
 * first among equals; of the left token only the last symbol touches the other, of the right one only the first. Undone from
 * the last one back, they show the pairs that ever met: none may be a merge that comes before one of its two is used up.
 */
#ifndef TEXT_BPE_TREE_H
#define TEXT_BPE_TREE_H

#include "text/bpe.h"

/* merges: those that b was made of. b: ready, but for its tree; which stays without tokens where the rules are others (affixes, merges of tokens that stand for
 * single bytes). Errors: E_MEMORY. */
viva_status bpe_tree_create(mem *m, bpe *b, const merge_ids *merges, size_t merge_count, viva_error *error);
void bpe_tree_destroy(mem *m, bpe_tree *tree);

/* Encodes a piece. *done 0: nothing was put, for it has a symbol that the vocabulary lacks, or would take too long. Errors:
 * E_MEMORY. */
viva_status bpe_forward(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                        int *done, viva_error *error);

/* The last pair that met when all is undone are two symbols: the merge that takes one of them first is to come before
 * theirs, if that has this rank. */
static inline int bpe_symbols_apart(const bpe_token *left, const bpe_token *right, uint32_t rank) {
  return left->tail <= right->head ? rank >= left->tail - 1 : rank >= right->head;
}

/* Do left and right, which meet at text, become whole before anything merges across them? Neither is odd. */
static inline int bpe_apart_until_whole(const bpe *b, uint32_t left, uint32_t right, const uint8_t *text) {
  const bpe_token *tokens = b->tree.tokens, *l = &tokens[left], *r = &tokens[right];
  int knows_symbols = b->near_pairs && (text[-1] | text[0]) < b->near_bytes;
  if ((l->time | r->time) == 0) return 1;
  if (knows_symbols && !bpe_symbols_apart(l, r, bpe_near_rank(b, text[-1], text[0]))) return 0;
  for (;;) {
    uint32_t limit;
    if (l->time > r->time) {
      limit = l->time - 1; /* a merge of the same rank, further left, comes first */
      left = l->right;
      l = &tokens[left];
    } else {
      limit = r->time;
      right = r->left;
      r = &tokens[right];
    }
    int are_symbols = (l->time | r->time) == 0;
    if (!(are_symbols && knows_symbols) && bpe_rank_below(b, left, right, limit) < limit) return 0;
    if (are_symbols) return 1;
  }
}

#endif
