/* text/word_batch.h: new words, merged together.
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

/* A piece as the memory has it: 4 numbers for a long one, of which a short one has 2. */
typedef struct piece_key {
  uint64_t bytes[4];
} piece_key;

/* Ids that are remembered; ids NULL: of a new word, `count` tells which of the batch. */
typedef struct word_ids {
  const uint32_t *ids;
  uint32_t count;
} word_ids;

#define HELD_MOST 512
#define TWIN_BITS 9

/* Words whose ids are not put yet, for one before them is new. */
typedef struct held_words {
  size_t count;
  word_ids words[HELD_MOST];
  uint32_t tokens[HELD_MOST + WORD_IDS]; /* ids of added tokens among them */
  uint16_t twins[1 << TWIN_BITS];        /* by hash of the key: which new word it may be */
} held_words;

#define BATCH_WORDS  320 /* new ones, the last run's among them */
#define RUN_PARTS    ((size_t)WORDS_AT_ONCE * BPE_ITEM_BYTES + LONGER_MOST + GATHERED_BYTES)
#define PARTS_MOST   (2 * RUN_PARTS)
#define RUN_WINDOWS  64
#define WINDOWS_MOST 192 /* of a batch: 46 KiB of ids */

#define SEEN_PARTS_BITS 9 /* 16 KiB */

typedef struct word_batch {
  const word_encoder *w;
  size_t count, part_count, id_count, written_count, waiting_count, window_count, window_part_count;
  size_t open_count;   /* of parts and windows that lanes will merge */
  uint32_t long_parts; /* that word_batch_parts merged one by one, where side by side they take less */
  held_words held;
  new_word words[BATCH_WORDS];
  piece_key keys[BATCH_WORDS];     /* of those of at most LONG_WORD_BYTES */
  uint8_t kept[BATCH_WORDS];       /* bytes of one that will be remembered; 0: it will not */
  word seen[1 << SEEN_PARTS_BITS]; /* parts beyond ASCII, of which noise has few */
  /* From here on all is written before it is read: what no text needs takes no memory of the system. */
  bpe_item parts[PARTS_MOST]; /* of all words, in order */
  waiting_part waiting[PARTS_MOST];
  window_part window_parts[WINDOWS_MOST];
  viva_token window_ids[WINDOWS_MOST * BPE_ITEM_BYTES];
  viva_token ids[BATCH_WORDS * WORD_IDS_MOST + WORD_IDS]; /* which may be read behind the last */
  uint8_t written[BATCH_WORDS * WORD_IDS_MOST];           /* words with their blanks written */
} word_batch;

static inline void word_batch_begin(word_batch *batch, const word_encoder *w) {
  batch->w = w;
  batch->count = batch->part_count = batch->id_count = batch->written_count = batch->waiting_count = 0;
  batch->window_count = batch->window_part_count = batch->open_count = 0;
  batch->held.count = 0;
}

/* Has a batch no room for what a run more may bring? */
static inline int word_batch_is_full(const word_batch *batch) {
  return batch->count > BATCH_WORDS - WORDS_AT_ONCE || batch->part_count > PARTS_MOST - RUN_PARTS ||
         batch->window_count > WINDOWS_MOST - RUN_WINDOWS;
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
