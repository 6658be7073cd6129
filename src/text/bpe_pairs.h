/* text/bpe_pairs.h: the table of merges by pair, in which one look tells a pair's rank, or that it is none.
 *
 * Each pair has a slot of its own. A pilot, which all pairs of a part of the hash share, leads them there: pilots are tried,
 * those of the most pairs first, until all of theirs come to free slots. A quarter of the slots more than pairs, and two pairs
 * for each pilot, keep that short.
 */
#ifndef TEXT_BPE_PAIRS_H
#define TEXT_BPE_PAIRS_H

#include "text/bpe.h"

/* Fills in slots, pilots, filter, results and key. Errors: E_MEMORY; E_LIMIT (more merges than a slot has room for). */
viva_status bpe_pairs_create(mem *m, bpe *b, const merge_ids *merges, size_t merge_count, viva_error *error);
void bpe_pairs_destroy(mem *m, bpe *b);

#endif
