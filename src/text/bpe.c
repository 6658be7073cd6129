#include "text/bpe.h"

#include <string.h>

#include "text/bpe_stream.h"
#include "text/bpe_tree.h"
#include "text/unicode.h"

_Static_assert(BPE_SHORT_PIECE <= BPE_RANKED_MOST, "all pairs of a short piece are ranked");

/* Those of ASCII lie near. In a vocabulary of characters, a character beyond ASCII is one symbol, or one for each of its bytes. */
void bpe_first_ranks(const bpe *b, const uint8_t *piece, size_t bytes, const uint32_t *ids, size_t count,
                     uint32_t *ranks) {
  uint8_t kinds[BPE_RANKED_MOST]; /* of each symbol: the byte, or one that is not ASCII */
  const uint8_t *kind = piece;
  if (b->near_pairs && !b->rules.byte_level) {
    size_t n, symbol = 0;
    for (size_t at = 0; at < bytes; at += n) {
      uint32_t code;
      n = unicode_read(piece + at, &code);
      size_t symbols = code < 0x80 || bpe_character(b, code) != BPE_NO_ID ? 1 : n;
      while (symbols-- > 0) kinds[symbol++] = piece[at];
    }
    kind = kinds;
  }
  for (size_t i = 0; i + 1 < count; i++) {
    int is_near = b->near_pairs && (kind[i] | kind[i + 1]) < b->near_bytes;
    ranks[i] = is_near ? bpe_near_rank(b, kind[i], kind[i + 1]) : bpe_rank(b, ids[i], ids[i + 1]);
    if (ranks[i] != BPE_NO_RANK) __builtin_prefetch(&b->results[ranks[i]]);
  }
}

/* A pair's rank; what it becomes will most likely be asked for soon. */
static inline uint32_t rank_soon(const bpe *b, uint32_t left, uint32_t right) {
  uint32_t rank = bpe_rank(b, left, right);
  if (rank != BPE_NO_RANK) __builtin_prefetch(&b->results[rank]);
  return rank;
}

static void encode_short(const bpe *b, const uint8_t *piece, size_t bytes, id_sink *sink) {
  uint32_t ids[BPE_SHORT_PIECE], ranks[BPE_SHORT_PIECE]; /* ranks[i]: of the pair (i, i + 1) */
  size_t count = bpe_symbols(b, piece, bytes, ids, NULL);
  bpe_first_ranks(b, piece, bytes, ids, count, ranks);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; i++)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == BPE_NO_RANK) break;
    ids[best] = b->results[ranks[best]];
    count--;
    for (size_t i = best + 1; i < count; i++) ids[i] = ids[i + 1];
    for (size_t i = best + 1; i + 1 < count; i++) ranks[i] = ranks[i + 1];
    if (best + 1 < count) ranks[best] = rank_soon(b, ids[best], ids[best + 1]);
    if (best > 0) ranks[best - 1] = rank_soon(b, ids[best - 1], ids[best]);
  }
  for (size_t i = 0; i < count; i++) id_put(sink, ids[i]);
}

/* A symbol of a long piece. */
typedef struct bpe_symbol {
  uint32_t id;         /* BPE_NO_ID: merged into the one before it */
  uint32_t prev, next; /* NO_SYMBOL at the ends */
  uint32_t rank;       /* of the pair with next; an entry of the heap with another rank is out of date */
} bpe_symbol;

#define NO_SYMBOL  UINT32_MAX
#define PIECE_MOST INT32_MAX /* bytes of a piece: positions have 32 bits, and the affixes of a file come on top */

/* A heap of rank << 32 | position: the smallest is the lowest rank, and the leftmost among equals. */
typedef struct merge_heap {
  uint64_t *keys;
  size_t count;
} merge_heap;

static void heap_down(merge_heap *h, size_t at) {
  uint64_t key = h->keys[at];
  for (size_t child = 2 * at + 1; child < h->count; child = 2 * at + 1) {
    if (child + 1 < h->count && h->keys[child + 1] < h->keys[child]) child++;
    if (key <= h->keys[child]) break;
    h->keys[at] = h->keys[child];
    at = child;
  }
  h->keys[at] = key;
}

static void heap_push(merge_heap *h, uint64_t key) {
  size_t at = h->count++;
  while (at > 0 && key < h->keys[(at - 1) / 2]) {
    h->keys[at] = h->keys[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  h->keys[at] = key;
}

static uint64_t heap_pop(merge_heap *h) {
  uint64_t top = h->keys[0];
  h->keys[0] = h->keys[--h->count];
  if (h->count > 1) heap_down(h, 0);
  return top;
}

/* Looks the pair that begins at symbol `at` up again and queues it. */
static void queue_pair(const bpe *b, bpe_symbol *symbols, uint32_t at, merge_heap *heap) {
  bpe_symbol *s = &symbols[at];
  s->rank = s->next == NO_SYMBOL ? BPE_NO_RANK : bpe_rank(b, s->id, symbols[s->next].id);
  if (s->rank != BPE_NO_RANK) heap_push(heap, (uint64_t)s->rank << 32 | at);
}

/* The bytes that symbol `at` stands for: the lengths of the first symbols that were merged into it. */
static uint32_t span(const bpe_scratch *scratch, uint32_t at, uint32_t next, uint32_t count) {
  uint32_t total = 0;
  for (uint32_t i = at; i < (next == NO_SYMBOL ? count : next); i++) total += scratch->lengths[i];
  return total;
}

static void encode_long(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink) {
  bpe_symbol *symbols = scratch->symbols;
  merge_heap heap = {scratch->heap, 0};
  /* The heap's upper half holds the ids until the lower half has been filled. */
  uint32_t *ids = (uint32_t *)(heap.keys + scratch->capacity);
  uint32_t count = (uint32_t)bpe_symbols(b, piece, bytes, ids, sink->lengths ? scratch->lengths : NULL);
  for (uint32_t i = 0; i < count; i++) symbols[i].id = ids[i];
  for (uint32_t i = 0; i < count; i++) {
    symbols[i].prev = i ? i - 1 : NO_SYMBOL;
    symbols[i].next = i + 1 < count ? i + 1 : NO_SYMBOL;
    symbols[i].rank = i + 1 < count ? bpe_rank(b, symbols[i].id, symbols[i + 1].id) : BPE_NO_RANK;
    if (symbols[i].rank != BPE_NO_RANK) heap.keys[heap.count++] = (uint64_t)symbols[i].rank << 32 | i;
  }
  for (size_t i = heap.count / 2; i-- > 0;) heap_down(&heap, i);

  while (heap.count > 0) {
    uint64_t key = heap_pop(&heap);
    uint32_t at = (uint32_t)key, rank = (uint32_t)(key >> 32);
    bpe_symbol *s = &symbols[at];
    if (s->id == BPE_NO_ID || s->rank != rank) continue;
    bpe_symbol *right = &symbols[s->next];
    s->id = b->results[rank];
    s->next = right->next;
    right->id = BPE_NO_ID;
    if (s->next != NO_SYMBOL) symbols[s->next].prev = at;
    if (s->prev != NO_SYMBOL) queue_pair(b, symbols, s->prev, &heap);
    queue_pair(b, symbols, at, &heap);
  }
  for (uint32_t i = 0; i < count; i = symbols[i].next) {
    if (sink->lengths && sink->count < sink->capacity)
      sink->lengths[sink->count] = span(scratch, i, symbols[i].next, count);
    id_put(sink, symbols[i].id);
    if (symbols[i].next == NO_SYMBOL) break;
  }
}

static void free_symbols(bpe_scratch *scratch) {
  mem_free(scratch->mem, scratch->symbols);
  mem_free(scratch->mem, scratch->heap);
  mem_free(scratch->mem, scratch->lengths);
  scratch->symbols = NULL;
  scratch->heap = NULL;
  scratch->lengths = NULL;
  scratch->capacity = 0;
}

/* Room for a piece: a merge takes one entry off the heap and adds at most two, and there are fewer merges than symbols,
 * so the heap never holds more than twice as many entries as there are symbols. */
static viva_status scratch_reserve(bpe_scratch *scratch, size_t symbols, viva_error *error) {
  if (symbols <= scratch->capacity) return VIVA_OK;
  free_symbols(scratch);
  size_t room = symbols + symbols / 2;
  scratch->symbols = mem_alloc(scratch->mem, room * sizeof *scratch->symbols);
  scratch->heap = mem_alloc(scratch->mem, room * 2 * sizeof *scratch->heap);
  scratch->lengths = mem_alloc(scratch->mem, room * sizeof *scratch->lengths);
  if (scratch->symbols && scratch->heap && scratch->lengths) {
    scratch->capacity = room;
    return VIVA_OK;
  }
  free_symbols(scratch);
  return error_set(error, VIVA_E_MEMORY, "no memory to encode a word of %zu symbols", symbols);
}

void bpe_scratch_free(bpe_scratch *scratch) {
  free_symbols(scratch);
  mem_free(scratch->mem, scratch->streams);
  *scratch = (bpe_scratch){.mem = scratch->mem};
}

static int64_t whole_piece(const bpe *b, const uint8_t *piece, size_t bytes) {
  const vocab *v = b->vocab;
  if (b->rules.byte_level) return vocab_find_bytes(v, piece, bytes);
  int64_t id = vocab_find(v, (const char *)piece, bytes);
  return id >= 0 && (v->flags[id] & VOCAB_MODEL) ? id : -1;
}

static void put_whole(const bpe *b, const uint8_t *piece, size_t bytes, uint32_t id, id_sink *sink) {
  size_t spelled = 0;
  if (sink->lengths && sink->count < sink->capacity) {
    for (size_t i = 0; i < bytes; i++) spelled += bpe_spelled(b, piece[i]);
    sink->lengths[sink->count] = (uint32_t)spelled;
  }
  id_put(sink, id);
}

/* A hash of a text, of its begin and its end: what collides costs a look. */
static size_t whole_bit(const uint8_t *text, size_t bytes) {
  uint64_t begin = 0, end = 0;
  size_t most = bytes < sizeof begin ? bytes : sizeof begin;
  memcpy(&begin, text, most);
  memcpy(&end, text + bytes - most, most);
  return (size_t)(((begin ^ end << 23 ^ end >> 41) + bytes) * 0x9e3779b97f4a7c15u >> 48);
}

static inline int has_whole_bit(const bpe *b, const uint8_t *piece, size_t bytes) {
  size_t bit = whole_bit(piece, bytes);
  return (int)(b->whole[bit / 64] >> bit % 64 & 1);
}

static int64_t find_whole(const bpe *b, const uint8_t *piece, size_t bytes, int is_told) {
  int is_asked =
      b->rules.ignore_merges &&
      (is_told || (bpe_may_be_whole(b, piece, bytes) && (!b->tree.tokens || has_whole_bit(b, piece, bytes))));
  return is_asked ? whole_piece(b, piece, bytes) : -1;
}

int bpe_is_whole(const bpe *b, const uint8_t *piece, size_t bytes) { return find_whole(b, piece, bytes, 0) >= 0; }

int bpe_whole_piece(const bpe *b, const uint8_t *piece, size_t bytes, id_sink *sink) {
  int64_t whole = find_whole(b, piece, bytes, sink->lengths != NULL);
  if (whole >= 0) put_whole(b, piece, bytes, (uint32_t)whole, sink);
  return whole >= 0;
}

void bpe_find_whole(bpe *b) {
  for (uint32_t id = 0; b->tree.tokens && id < b->vocab->count; id++) {
    if (!(b->vocab->flags[id] & VOCAB_MODEL) || b->tree.tokens[id].bytes) continue;
    const uint8_t *text = bpe_token_text(b, id);
    size_t bytes = bpe_token_bytes(b, id), bit = whole_bit(text, bytes);
    if (bytes > 0) b->whole_lengths[text[0]] |= bpe_length_bit(bytes);
    b->whole[bit / 64] |= (uint64_t)1 << bit % 64;
  }
}

viva_status bpe_merge_stepwise(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                               viva_error *error) {
  size_t symbols = bpe_symbols_most(b, bytes);
  if (symbols <= BPE_SHORT_PIECE && !sink->lengths) {
    encode_short(b, piece, bytes, sink);
    return VIVA_OK;
  }
  TRY(scratch_reserve(scratch, symbols, error));
  encode_long(b, scratch, piece, bytes, sink);
  return VIVA_OK;
}

#define QUICK_PIECE 14 /* bytes */

/* A short word of ASCII: its first pairs' ranks lie near, and step by step it takes less than token by token. */
static int is_quick(const uint8_t *piece, size_t bytes) {
  return bytes - 1 < QUICK_PIECE && (piece[0] | piece[bytes / 2] | piece[bytes - 1]) < 0x80;
}

viva_status bpe_merge_piece(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                            viva_error *error) {
  if (bytes >= PIECE_MOST)
    return error_set(error, VIVA_E_LIMIT, "a word of %zu bytes: at most %d are possible", bytes, PIECE_MOST - 1);
  int done = 0;
  if (b->tree.tokens && !sink->lengths && b->lanes && bytes >= STREAM_WORTH)
    TRY(bpe_stream(b, scratch, piece, bytes, sink, &done, error));
  if (!done && b->tree.tokens && !sink->lengths && !is_quick(piece, bytes))
    TRY(bpe_forward(b, scratch, piece, bytes, sink, &done, error));
  return done ? VIVA_OK : bpe_merge_stepwise(b, scratch, piece, bytes, sink, error);
}

viva_status bpe_encode(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                       viva_error *error) {
  if (bpe_whole_piece(b, piece, bytes, sink)) return VIVA_OK;
  return bpe_merge_piece(b, scratch, piece, bytes, sink, error);
}
