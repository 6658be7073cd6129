/* text/bpe_stream.h: merging a long piece by windows, many at once.
 *
 * The ids of a window are, but for the last ones, nearly always those that the piece has there; and bpe_tree.h's rule proves it:
 * tokens of which each merges to itself and each two neighbours keep apart are what merging gives. So a stream goes through a
 * part of the piece window by window: the last tokens of one are dropped, and the next begins where they did. Its first token is
 * the one that was dropped, or is tried beside the token before. LANES streams go side by side (bpe_lane.h); where one reaches
 * the next and both have the same token, they are one.
 *
 *   piece   |------- stream 0 -------|------- stream 1 -------|-------
 *   windows [.........]    [.........]
 *                 [.........]    [.....
 *
 * Where tokens are too long for windows, or streams do not meet, bpe_forward goes on for a stretch: the longer, the more
 * often that has been so. Whether tokens are long is remembered from round to round, and from piece to piece.
 */
#ifndef TEXT_BPE_STREAM_H
#define TEXT_BPE_STREAM_H

#include "text/bpe.h"

#define STREAM_WORTH 256 /* bytes of a piece */

/* Merges a piece; b->lanes, and b's tree is there. *done 0: nothing was put. Errors: E_MEMORY. */
viva_status bpe_stream(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink, int *done,
                       viva_error *error);

#endif
