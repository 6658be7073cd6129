#include "text/word_batch.h"

#include "text/bpe_stream.h"

static viva_status merge_now(const word_batch *batch, bpe_item *item, viva_error *error) {
  const bpe *b = batch->w->bpe;
  id_sink sink = {item->ids, bpe_symbols_most(b, item->bytes), 0, NULL};
  TRY(bpe_merge_piece(b, batch->w->scratch, item->piece, item->bytes, &sink, error));
  item->bytes = 0;
  item->count = (uint32_t)sink.count;
  return VIVA_OK;
}

/* What a part of up to three symbols becomes whose ranks lie near: one look tells, or two. count 0: it is another part. */
typedef struct near_part {
  uint32_t count, ids[3];
} near_part;

static inline near_part near_pair(uint32_t left, uint32_t right, uint32_t merged) {
  return merged == BPE_NO_ID ? (near_part){2, {left, right, 0}} : (near_part){1, {merged, 0, 0}};
}

/* Of two neighbours; BPE_NO_ID: they do not merge. */
static inline uint32_t merge_pair(const bpe *b, uint32_t left, uint32_t right) {
  uint32_t rank = bpe_rank(b, left, right);
  return rank == BPE_NO_RANK ? BPE_NO_ID : b->results[rank];
}

static inline near_part merge_near(const bpe *b, const uint8_t *part, size_t bytes) {
  if (bytes > 3 || !b->near_pairs || (part[0] | part[bytes / 2] | part[bytes - 1]) >= b->near_bytes)
    return (near_part){0, {0, 0, 0}};
  const uint32_t first = b->near_ids[part[0]], last = b->near_ids[part[bytes - 1]];
  if (bytes == 1) return (near_part){1, {first, 0, 0}};
  const uint32_t rank = bpe_near_rank(b, part[0], part[1]);
  if (bytes == 2) return near_pair(first, last, rank == BPE_NO_RANK ? BPE_NO_ID : b->results[rank]);
  const uint32_t second = bpe_near_rank(b, part[1], part[2]);
  if ((rank & second) == BPE_NO_RANK) return (near_part){3, {first, b->near_ids[part[1]], last}};
  if (rank <= second) {
    const uint32_t left = b->results[rank];
    return near_pair(left, last, merge_pair(b, left, last));
  }
  const uint32_t right = b->results[second];
  return near_pair(first, right, merge_pair(b, first, right));
}

static word *seen_place(word_batch *batch, uint64_t low, uint64_t high) {
  return &batch->seen[word_hash(low, high) >> (64 - SEEN_PARTS_BITS)];
}

static void keep_seen(word_batch *batch, uint64_t low, uint64_t high, const viva_token *ids, uint32_t count) {
  if (count > WORD_IDS) return;
  word *place = seen_place(batch, low, high);
  *place = (word){low, high, {0, 0, 0}, count};
  memcpy(place->ids, ids, count * sizeof *ids);
}

/* A part that was merged not long ago. 0: it was not, and will be kept when it is merged. */
static uint32_t find_seen(word_batch *batch, const bpe_item *item) {
  uint64_t low, high;
  word_key(item->piece, item->bytes, item->piece, &low, &high);
  const word *place = seen_place(batch, low, high);
  if (place->low == low && place->high == high) {
    memcpy(item->ids, place->ids, sizeof place->ids);
    return place->count;
  }
  batch->waiting[batch->waiting_count++] = (waiting_part){item, low, high};
  return 0;
}

static void keep_waiting(word_batch *batch) {
  for (size_t i = 0; i < batch->waiting_count; i++) {
    const waiting_part *w = &batch->waiting[i];
    keep_seen(batch, w->low, w->high, w->item->ids, w->item->count);
  }
}

/* Puts a part's windows where it would stand. 0: there is no room for them. */
static int add_windows(word_batch *batch, new_word *entry, const uint8_t *part, size_t bytes) {
  const bpe *b = batch->w->bpe;
  size_t first = batch->part_count, most = WINDOWS_MOST - batch->window_count;
  if (!b->lanes || !b->tree.tokens || bytes >= STREAM_WORTH || most > PARTS_MOST - first) return 0;
  if (bpe_windows_unfit(part, bytes)) return 0;
  size_t count = bpe_windows_cut(b, part, bytes, batch->window_ids + batch->window_count * BPE_ITEM_BYTES,
                                 batch->parts + first, most);
  if (count > most) return 0;
  batch->window_parts[batch->window_part_count++] = (window_part){part, bytes, first, count};
  batch->window_count += count;
  batch->part_count += count;
  batch->open_count += count;
  batch->id_count += bpe_symbols_most(b, bytes);
  entry->parts += (uint32_t)count;
  return 1;
}

/* One part of a word, which waits, or is merged at once where lanes cannot or need not. */
static viva_status add_part(word_batch *batch, new_word *entry, const uint8_t *part, size_t bytes, viva_error *error) {
  const bpe *b = batch->w->bpe;
  if (bytes > BPE_ITEM_BYTES && add_windows(batch, entry, part, bytes)) return VIVA_OK;
  bpe_item *item = &batch->parts[batch->part_count++];
  *item = (bpe_item){part, batch->ids + batch->id_count, (uint32_t)bytes, 0};
  const near_part near = merge_near(b, part, bytes);
  uint32_t count = near.count;
  for (uint32_t i = 0; i < count; i++) item->ids[i] = (viva_token)near.ids[i];
  if (!count && part[0] >= 0x80 && bytes <= WORD_BYTES) count = find_seen(batch, item);
  if (count > 0) {
    item->bytes = 0;
    item->count = count;
    batch->id_count += count;
    entry->parts++;
    return VIVA_OK;
  }
  batch->id_count += bpe_symbols_most(b, bytes);
  entry->parts++;
  if (!b->lanes || bytes > BPE_ITEM_BYTES) return merge_now(batch, item, error);
  batch->open_count++;
  return VIVA_OK;
}

/* A text part by part between joints. */
static viva_status add_parts(word_batch *batch, new_word *entry, const uint8_t *text, size_t bytes, viva_error *error) {
  for (size_t at = 0, end; at < bytes; at = end) {
    end = joints_next(batch->w->joints, text, at, bytes);
    TRY(add_part(batch, entry, text + at, end - at, error));
  }
  return VIVA_OK;
}

/* A word with its blanks written. */
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
  return add_parts(batch, entry, written, count, error);
}

static int is_ascii(const uint8_t *piece, size_t bytes) {
  uint8_t all = 0;
  for (size_t i = 0; i < bytes; i++) all |= piece[i];
  return all < 0x80;
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
  return batch->w->joints->usable && !is_ascii(piece, bytes) ? add_parts(batch, entry, piece, bytes, error)
                                                             : add_part(batch, entry, piece, bytes, error);
}

/* The ids of a part that was merged as windows, or is merged now where those do not meet. */
static viva_status put_windows(word_batch *batch, new_word *entry, const window_part *part, viva_error *error) {
  const bpe *b = batch->w->bpe;
  viva_token *ids = entry->ids + entry->count;
  size_t count = bpe_windows_join(b, batch->parts + part->first, part->count, ids);
  if (count == 0) {
    id_sink sink = {ids, bpe_symbols_most(b, part->bytes), 0, NULL};
    TRY(bpe_merge_piece(b, batch->w->scratch, part->piece, part->bytes, &sink, error));
    count = sink.count;
  }
  entry->count += (uint32_t)count;
  return VIVA_OK;
}

viva_status word_batch_merge(word_batch *batch, viva_error *error) {
  size_t at = 0, windowed = 0;
  if (batch->w->bpe->lanes) bpe_merge_many(batch->w->bpe, batch->parts, batch->part_count);
  keep_waiting(batch);
  for (size_t i = 0; i < batch->count; i++) {
    new_word *entry = &batch->words[i];
    for (size_t end = at + entry->parts; at < end;) {
      if (windowed < batch->window_part_count && batch->window_parts[windowed].first == at) {
        at += batch->window_parts[windowed].count;
        TRY(put_windows(batch, entry, &batch->window_parts[windowed++], error));
        continue;
      }
      const bpe_item *part = &batch->parts[at++];
      if (entry->ids + entry->count != part->ids)
        for (uint32_t k = 0; k < part->count; k++) entry->ids[entry->count + k] = part->ids[k];
      entry->count += part->count;
    }
  }
  return VIVA_OK;
}

#define LONG_PART 4 /* bytes: more than one character */

static viva_status put_new_part(word_batch *batch, const word_encoder *w, const uint8_t *part, size_t bytes,
                                word_id key, viva_error *error) {
  viva_token ids[WORD_IDS_MOST];
  id_sink sink = {ids, WORD_IDS_MOST, 0, NULL};
  batch->long_parts += bytes > LONG_PART;
  TRY(bpe_merge_piece(w->bpe, w->scratch, part, bytes, &sink, error));
  for (size_t i = 0; i < sink.count; i++) id_put(w->sink, (uint32_t)ids[i]);
  keep_seen(batch, key.low, key.high, ids, (uint32_t)sink.count);
  return VIVA_OK;
}

static inline viva_status put_part(word_batch *batch, const word_encoder *w, const uint8_t *part, size_t bytes,
                                   const uint8_t *limit, viva_error *error) {
  const bpe *b = w->bpe;
  word_id key;
  const near_part near = merge_near(b, part, bytes);
  for (uint32_t i = 0; i < near.count; i++) id_put(w->sink, near.ids[i]);
  if (near.count > 0) return VIVA_OK;
  if (bytes > WORD_BYTES) {
    batch->long_parts++;
    return bpe_merge_piece(b, w->scratch, part, bytes, w->sink, error);
  }
  word_key(part, bytes, limit, &key.low, &key.high);
  const word *place = seen_place(batch, key.low, key.high);
  if (place->low != key.low || place->high != key.high) return put_new_part(batch, w, part, bytes, key, error);
  word_put(w->sink, place->ids, place->count);
  return VIVA_OK;
}

viva_status word_batch_parts(word_batch *batch, const word_encoder *w, const uint8_t *piece, size_t bytes,
                             const uint8_t *limit, viva_error *error) {
  if (bpe_may_be_whole(w->bpe, piece, bytes) && bpe_whole_piece(w->bpe, piece, bytes, w->sink)) return VIVA_OK;
  for (size_t at = 0, end; at < bytes; at = end) {
    at = joints_put_near(w->joints, piece, at, bytes, (size_t)(limit - piece), w->sink);
    if (at == bytes) break;
    end = joints_next(w->joints, piece, at, bytes);
    TRY(put_part(batch, w, piece + at, end - at, limit, error));
  }
  return VIVA_OK;
}
