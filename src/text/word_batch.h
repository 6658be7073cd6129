/* text/word_batch.h: the new words of a run, merged together.
 *
 *   word_batch_begin(&batch, w);
 *   TRY(word_batch_add(&batch, piece, bytes, is_part, known, error));   for each
 *   TRY(word_batch_merge(&batch, error));                               then batch.words have their ids
 */
#ifndef TEXT_WORD_BATCH_H
#define TEXT_WORD_BATCH_H

#include "text/bpe_windows.h"
#include "text/words.h"

typedef struct new_word {
  viva_token *ids;
  uint32_t count;
  uint32_t parts; /* that are merged each alone; 0: its ids are known */
} new_word;

/* A part of a few characters that is to be kept. */
typedef struct waiting_part {
  const bpe_item *item;
  uint64_t low, high; /* its key */
} waiting_part;

/* A part that is merged as windows. */
typedef struct window_part {
  const uint8_t *piece;
  size_t bytes;
  size_t first, count; /* of batch->parts */
} window_part;

#define PARTS_MOST   ((size_t)WORDS_AT_ONCE * BPE_ITEM_BYTES + LONGER_MOST + GATHERED_BYTES)
#define WINDOWS_MOST 128 /* of a batch: 31 KiB of ids */

#define SEEN_PARTS_BITS 9 /* 16 KiB */

typedef struct word_batch {
  const word_encoder *w;
  size_t count, part_count, id_count, written_count, waiting_count, window_count, window_part_count;
  uint32_t long_parts; /* that word_batch_parts merged one by one, where side by side they take less */
  new_word words[WORDS_AT_ONCE];
  bpe_item parts[PARTS_MOST]; /* of all words, in order */
  waiting_part waiting[PARTS_MOST];
  window_part window_parts[WINDOWS_MOST];
  viva_token window_ids[WINDOWS_MOST * BPE_ITEM_BYTES];
  word seen[1 << SEEN_PARTS_BITS];                          /* parts beyond ASCII, of which noise has few */
  viva_token ids[WORDS_AT_ONCE * WORD_IDS_MOST + WORD_IDS]; /* which may be read behind the last */
  uint8_t written[WORDS_AT_ONCE * WORD_IDS_MOST];           /* words with their blanks written */
} word_batch;

static inline void word_batch_begin(word_batch *batch, const word_encoder *w) {
  batch->w = w;
  batch->count = batch->part_count = batch->id_count = batch->written_count = batch->waiting_count = 0;
  batch->window_count = batch->window_part_count = 0;
}

/* A piece of at most GATHERED_BYTES. known: what known_find says of it, or KNOWN_UNSURE. Errors: E_MEMORY. */
viva_status word_batch_add(word_batch *batch, const uint8_t *piece, size_t bytes, int is_part, int64_t known,
                           viva_error *error);
/* Errors: E_MEMORY. */
viva_status word_batch_merge(word_batch *batch, viva_error *error);

/* Puts the ids of a piece that is merged, part by part between joints, at once; what lies before limit may be read. Errors:
 * E_MEMORY, E_LIMIT. */
viva_status word_batch_parts(word_batch *batch, const word_encoder *w, const uint8_t *piece, size_t bytes,
                             const uint8_t *limit, viva_error *error);

#endif
