#include "text/word_batch.h"

static viva_status merge_now(const word_batch *batch, bpe_item *item, viva_error *error) {
  const bpe *b = batch->w->bpe;
  id_sink sink = {item->ids, bpe_symbols_most(b, item->bytes), 0, NULL};
  TRY(bpe_merge_piece(b, batch->w->scratch, item->piece, item->bytes, &sink, error));
  item->bytes = 0;
  item->count = (uint32_t)sink.count;
  return VIVA_OK;
}

/* One part of a word, which waits, or is merged at once where lanes cannot. */
static viva_status add_part(word_batch *batch, new_word *entry, const uint8_t *part, size_t bytes, viva_error *error) {
  const bpe *b = batch->w->bpe;
  bpe_item *item = &batch->parts[batch->part_count++];
  *item = (bpe_item){part, batch->ids + batch->id_count, (uint32_t)bytes, 0};
  batch->id_count += bpe_symbols_most(b, bytes);
  entry->parts++;
  return b->lanes && bytes <= BPE_ITEM_BYTES ? VIVA_OK : merge_now(batch, item, error);
}

/* A word with its blanks written, part by part between joints. */
static viva_status add_written(word_batch *batch, new_word *entry, const uint8_t *piece, size_t bytes,
                               viva_error *error) {
  token_text blank = batch->w->blank;
  uint8_t *written = batch->written + batch->written_count;
  size_t count = 0;
  for (size_t i = 0; i < bytes; i++) {
    if (piece[i] != ' ') {
      written[count++] = piece[i];
      continue;
    }
    memcpy(written + count, blank.text, blank.bytes);
    count += blank.bytes;
  }
  batch->written_count += count;
  for (size_t at = 0, end; at < count; at = end) {
    end = joints_next(batch->w->joints, written, at, count);
    TRY(add_part(batch, entry, written + at, end - at, error));
  }
  return VIVA_OK;
}

/* Is a piece of which a token has the text that token, under the rules of parts? */
static int merges_to(const bpe *b, int64_t known) { return b->tree.tokens && b->tree.tokens[known].bytes > 0; }

viva_status word_batch_add(word_batch *batch, const uint8_t *piece, size_t bytes, int is_part, int64_t known,
                           viva_error *error) {
  const bpe *b = batch->w->bpe;
  new_word *entry = &batch->words[batch->count++];
  *entry = (new_word){batch->ids + batch->id_count, 0, 0};
  if (known >= 0 && (!is_part || !b->rules.ignore_merges || merges_to(b, known))) {
    entry->ids[0] = (viva_token)known;
    entry->count = 1;
    batch->id_count++;
    return VIVA_OK;
  }
  if (batch->w->blank.text) return add_written(batch, entry, piece, bytes, error);
  if (!is_part && known == KNOWN_UNSURE) {
    id_sink sink = {entry->ids, 1, 0, NULL};
    if (bpe_whole_piece(b, piece, bytes, &sink)) {
      entry->count = 1;
      batch->id_count++;
      return VIVA_OK;
    }
  }
  return add_part(batch, entry, piece, bytes, error);
}

void word_batch_merge(word_batch *batch) {
  const bpe_item *part = batch->parts;
  if (batch->w->bpe->lanes) bpe_merge_many(batch->w->bpe, batch->parts, batch->part_count);
  for (size_t i = 0; i < batch->count; i++) {
    new_word *entry = &batch->words[i];
    for (uint32_t n = 0; n < entry->parts; n++, part++) {
      if (entry->ids + entry->count != part->ids)
        memmove(entry->ids + entry->count, part->ids, part->count * sizeof *part->ids);
      entry->count += part->count;
    }
  }
}
