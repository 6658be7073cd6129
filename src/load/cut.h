/* load/cut.h: a decoder cut for several devices (tensor parallelism). Rank r of n holds, of every layer,
 *
 *   q k v      the rows of its heads: q_heads / n and kv_heads / n neighbouring ones, with their biases
 *   gate up    its share of the rows, ffn / n
 *   o down     the columns that fit: what they multiply is what the rank itself made. Their biases are rank 0's
 *   norms      all of them
 *
 * and the embedding whole (a token reads one row), and of the head a share of the rows: logits of its part of the vocabulary.
 * Columns are cut between blocks of packed formats, so codes and scales stay what they are.
 */
#ifndef LOAD_CUT_H
#define LOAD_CUT_H

#include "load/decoder_make.h"

/* E_UNSUPPORTED with both numbers where heads, feed-forward rows or blocks of columns do not divide. */
viva_status cut_check(const decoder *whole, size_t ranks, viva_error *error);

/* The vocabulary of a rank: rows [first, first + count) of the head. */
size_t cut_vocab(size_t vocab, size_t rank, size_t ranks, size_t *first);

/* The configuration of a rank's share: its heads, rows and vocabulary. */
viva_model_config cut_config(const viva_model_config *whole, size_t rank, size_t ranks);

/* Where a rank's parts go. */
typedef struct cut_target {
  backend *b;
  mem *memory;     /* of the host's, for what is put together there */
  uint8_t *block;  /* dev [cut_bytes]; NULL: nothing is copied, the share has shapes alone */
  uint64_t used;   /* bytes of it so far */
  uint8_t *staged; /* host, for columns */
} cut_target;

/* Makes a rank's share, layers included: decoder_end is needed in both cases. to->block NULL: to->used becomes the bytes that
 * it takes. whole lies in the host's memory (or, without a block, anywhere). Errors: E_MEMORY, and the device's. */
viva_status cut_decoder(const decoder *whole, const viva_model_config *config, size_t rank, size_t ranks,
                        cut_target *to, decoder *share, viva_error *error);

#endif
