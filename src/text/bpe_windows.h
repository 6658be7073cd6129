/* text/bpe_windows.h: a piece that is longer than a lane, as windows that lanes have room for (bpe_many.h).
 *
 *   piece    |-------------------------------------------|
 *   windows  [................]     [................]
 *                        [................]     [........]
 *
 * What merging gives of a window is, but at its ends, nearly always what the piece has there. Where two neighbours have the
 * same token at the same place, one goes on as the other; tokens of which each two neighbours keep apart are what merging
 * gives of the piece (bpe_tree.h).
 */
#ifndef TEXT_BPE_WINDOWS_H
#define TEXT_BPE_WINDOWS_H

#include "text/bpe_many.h"

#define BPE_WINDOWS_SHARED 20 /* bytes that two neighbours have both */

/* The windows of a piece: item->ids have room for BPE_ITEM_BYTES each, one behind the other, from ids on. Returns how many
 * there are; those beyond `most` are not written, and then it is `most` + 1. b's tree is there. */
size_t bpe_windows_cut(const bpe *b, const uint8_t *piece, size_t bytes, viva_token *ids, bpe_item *items, size_t most);

/* Has a piece a run of something? Windows do not meet in one, and bpe_forward is quick there. */
int bpe_windows_unfit(const uint8_t *piece, size_t bytes);

/* Joins merged windows. Returns how many ids the piece has; 0: two neighbours do not meet. */
size_t bpe_windows_join(const bpe *b, const bpe_item *items, size_t count, viva_token *ids);

#endif
