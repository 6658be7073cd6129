#include "text/bpe.h"

#include <string.h>

#include "base/num.h"

#define QUOTE_SIZE 80

/* ---- the table of merges ---- */

static size_t merge_hash(const bpe *b, uint32_t left, uint32_t right) {
  return (size_t)hash_mix(((uint64_t)left << 32 | right) ^ b->vocab->seed[0]);
}

static inline uint32_t merge_rank(const bpe *b, uint32_t left, uint32_t right) {
  for (size_t i = merge_hash(b, left, right) & b->mask;; i = (i + 1) & b->mask) {
    const bpe_merge *slot = &b->slots[i];
    if ((slot->left == left && slot->right == right) || slot->rank == BPE_NO_RANK) return slot->rank;
  }
}

static void merge_put(bpe *b, uint32_t left, uint32_t right, uint32_t rank) {
  size_t i = merge_hash(b, left, right) & b->mask;
  while (b->slots[i].rank != BPE_NO_RANK && (b->slots[i].left != left || b->slots[i].right != right))
    i = (i + 1) & b->mask;
  b->slots[i] = (bpe_merge){left, right, rank};
}

static viva_status absent(size_t index, const char *role, const char *text, size_t bytes, viva_error *error) {
  char quoted[QUOTE_SIZE];
  return error_set(error, VIVA_E_FORMAT, "merge %zu names %s '%s', which is not in the vocabulary", index, role,
                   error_quote(quoted, sizeof quoted, text, bytes));
}

/* An id of the model's own vocabulary: merges do not see tokens that were only added. */
static int64_t find_in_model(const vocab *v, const char *text, size_t bytes) {
  int64_t id = vocab_find(v, text, bytes);
  return id >= 0 && (v->flags[id] & VOCAB_MODEL) ? id : -1;
}

static viva_status compile_merges(bpe *b, const token_text *merges, size_t merge_count, char *joined,
                                  viva_error *error) {
  for (size_t i = 0; i < merge_count; i++) {
    token_text l = merges[2 * i], r = merges[2 * i + 1];
    int64_t left = find_in_model(b->vocab, l.text, l.bytes);
    if (left < 0) return absent(i, "the left part", l.text, l.bytes, error);
    int64_t right = find_in_model(b->vocab, r.text, r.bytes);
    if (right < 0) return absent(i, "the right part", r.text, r.bytes, error);
    memcpy(joined, l.text, l.bytes);
    memcpy(joined + l.bytes, r.text, r.bytes);
    int64_t result = find_in_model(b->vocab, joined, l.bytes + r.bytes);
    if (result < 0) return absent(i, "the result", joined, l.bytes + r.bytes, error);
    b->results[i] = (uint32_t)result;
    merge_put(b, (uint32_t)left, (uint32_t)right, (uint32_t)i);
  }
  return VIVA_OK;
}

static void find_byte_ids(bpe *b) {
  for (int byte = 0; byte < 256; byte++) {
    char text[4];
    int64_t id = find_in_model(b->vocab, text, utf8_encode(byte_alphabet_char((uint8_t)byte), text));
    b->byte_ids[byte] = id < 0 ? BPE_NO_ID : (uint32_t)id;
  }
}

void bpe_destroy(mem *m, bpe *b) {
  mem_free(m, b->slots);
  mem_free(m, b->results);
  b->slots = NULL;
  b->results = NULL;
}

viva_status bpe_create(mem *m, const vocab *v, const token_text *merges, size_t merge_count, bpe *out,
                       viva_error *error) {
  memset(out, 0, sizeof *out);
  if (merge_count >= BPE_NO_RANK)
    return error_set(error, VIVA_E_FORMAT, "%zu merges: ranks would not fit 32 bits", merge_count);
  size_t slots = 16, longest = 0;
  while (slots / 2 < merge_count) slots *= 2;
  for (size_t i = 0; i < merge_count; i++) {
    size_t bytes = merges[2 * i].bytes + merges[2 * i + 1].bytes; /* both in memory: no overflow */
    if (bytes > longest) longest = bytes;
  }
  bpe b = {.vocab = v, .mask = slots - 1, .unknown = BPE_NO_ID};
  b.slots = mem_alloc(m, slots * sizeof *b.slots);
  b.results = mem_array(m, merge_count, sizeof *b.results);
  char *joined = mem_alloc(m, longest);
  viva_status status = VIVA_OK;
  if (!b.slots || !b.results || !joined)
    status = error_set(error, VIVA_E_MEMORY, "no memory for a table of %zu merges", merge_count);
  if (status == VIVA_OK) {
    memset(b.slots, 0xff, slots * sizeof *b.slots); /* every rank BPE_NO_RANK */
    status = compile_merges(&b, merges, merge_count, joined, error);
  }
  mem_free(m, joined);
  if (status != VIVA_OK) {
    bpe_destroy(m, &b);
    return status;
  }
  find_byte_ids(&b);
  *out = b;
  return VIVA_OK;
}

/* ---- merging ---- */

/* First symbols of a piece: one for each byte that the vocabulary has. Writes at most bytes ids; returns how many. */
static size_t first_symbols(const bpe *b, const uint8_t *piece, size_t bytes, uint32_t *ids) {
  size_t count = 0;
  int after_unknown = 0;
  for (size_t i = 0; i < bytes; i++) {
    uint32_t id = b->byte_ids[piece[i]];
    int is_unknown = id == BPE_NO_ID;
    if (is_unknown) id = after_unknown && b->fuse_unknown ? BPE_NO_ID : b->unknown;
    after_unknown = is_unknown;
    if (id != BPE_NO_ID) ids[count++] = id;
  }
  return count;
}

/* Pieces up to this many bytes merge in an array: quadratic, but without a list, and in cache. Longer ones are rare. */
#define SHORT_PIECE 40

static void encode_short(const bpe *b, const uint8_t *piece, size_t bytes, id_sink *sink) {
  uint32_t ids[SHORT_PIECE], ranks[SHORT_PIECE]; /* ranks[i]: of the pair (i, i + 1) */
  size_t count = first_symbols(b, piece, bytes, ids);
  for (size_t i = 0; i + 1 < count; i++) ranks[i] = merge_rank(b, ids[i], ids[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; i++)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == BPE_NO_RANK) break;
    ids[best] = b->results[ranks[best]];
    count--;
    for (size_t i = best + 1; i < count; i++) ids[i] = ids[i + 1];
    for (size_t i = best + 1; i + 1 < count; i++) ranks[i] = ranks[i + 1];
    if (best + 1 < count) ranks[best] = merge_rank(b, ids[best], ids[best + 1]);
    if (best > 0) ranks[best - 1] = merge_rank(b, ids[best - 1], ids[best]);
  }
  for (size_t i = 0; i < count; i++) id_put(sink, ids[i]);
}

/* A symbol of a long piece. */
typedef struct bpe_symbol {
  uint32_t id;         /* BPE_NO_ID: merged into the one before it */
  uint32_t prev, next; /* NO_SYMBOL at the ends */
  uint32_t rank;       /* of the pair with next; an entry of the heap with another rank is out of date */
} bpe_symbol;

#define NO_SYMBOL UINT32_MAX

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
  s->rank = s->next == NO_SYMBOL ? BPE_NO_RANK : merge_rank(b, s->id, symbols[s->next].id);
  if (s->rank != BPE_NO_RANK) heap_push(heap, (uint64_t)s->rank << 32 | at);
}

static void encode_long(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink) {
  bpe_symbol *symbols = scratch->symbols;
  merge_heap heap = {scratch->heap, 0};
  /* The heap's upper half holds the ids until the lower half has been filled. */
  uint32_t *ids = (uint32_t *)(heap.keys + bytes);
  uint32_t count = (uint32_t)first_symbols(b, piece, bytes, ids);
  for (uint32_t i = 0; i < count; i++) symbols[i].id = ids[i];
  for (uint32_t i = 0; i < count; i++) {
    symbols[i].prev = i ? i - 1 : NO_SYMBOL;
    symbols[i].next = i + 1 < count ? i + 1 : NO_SYMBOL;
    symbols[i].rank = i + 1 < count ? merge_rank(b, symbols[i].id, symbols[i + 1].id) : BPE_NO_RANK;
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
    id_put(sink, symbols[i].id);
    if (symbols[i].next == NO_SYMBOL) break;
  }
}

/* Room for a piece: a merge takes one entry off the heap and adds at most two, and there are fewer merges than symbols,
 * so the heap never holds more than twice as many entries as the piece has bytes. */
static viva_status scratch_reserve(bpe_scratch *scratch, size_t bytes, viva_error *error) {
  if (bytes <= scratch->capacity) return VIVA_OK;
  bpe_scratch_free(scratch);
  scratch->symbols = mem_array(scratch->mem, bytes, sizeof *scratch->symbols);
  scratch->heap = mem_array(scratch->mem, bytes, 2 * sizeof *scratch->heap);
  if (scratch->symbols && scratch->heap) {
    scratch->capacity = bytes;
    return VIVA_OK;
  }
  bpe_scratch_free(scratch);
  return error_set(error, VIVA_E_MEMORY, "no memory to encode a word of %zu bytes", bytes);
}

void bpe_scratch_free(bpe_scratch *scratch) {
  mem_free(scratch->mem, scratch->symbols);
  mem_free(scratch->mem, scratch->heap);
  scratch->symbols = NULL;
  scratch->heap = NULL;
  scratch->capacity = 0;
}

viva_status bpe_encode(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                       viva_error *error) {
  if (b->ignore_merges) {
    int64_t whole = vocab_find_bytes(b->vocab, piece, bytes);
    if (whole >= 0) {
      id_put(sink, (uint32_t)whole);
      return VIVA_OK;
    }
  }
  if (bytes <= SHORT_PIECE) {
    encode_short(b, piece, bytes, sink);
    return VIVA_OK;
  }
  if (bytes >= NO_SYMBOL)
    return error_set(error, VIVA_E_LIMIT, "a word of %zu bytes: at most 2^32 - 2 are possible", bytes);
  TRY(scratch_reserve(scratch, bytes, error));
  encode_long(b, scratch, piece, bytes, sink);
  return VIVA_OK;
}
