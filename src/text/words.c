#include "text/words.h"

int word_memory_create(word_memory *memory) {
  if (memory->words) return 0;
  word *words = mem_zalloc(memory->mem, sizeof *words << (WORD_SET_BITS + 1));
  long_word *longs = mem_zalloc(memory->mem, sizeof *longs << LONG_WORD_BITS);
  if (!words || !longs) {
    mem_free(memory->mem, words);
    mem_free(memory->mem, longs);
    return 1;
  }
  memory->words = words;
  memory->longs = longs;
  return 0;
}

void word_memory_free(word_memory *memory) {
  mem_free(memory->mem, memory->words);
  mem_free(memory->mem, memory->longs);
  memory->words = NULL;
  memory->longs = NULL;
}

/* The ids of a piece of at most LONG_WORD_BYTES, which are at most twice as many. */
#define IDS_MOST (2 * LONG_WORD_BYTES + 1)

static viva_status encode_new(const word_encoder *w, const uint8_t *piece, size_t bytes, int is_part, uint32_t *ids,
                              uint32_t *count, viva_error *error) {
  viva_token found[IDS_MOST];
  id_sink sink = {found, IDS_MOST, 0, NULL};
  TRY(is_part ? bpe_merge_piece(w->bpe, w->scratch, piece, bytes, &sink, error)
              : bpe_encode(w->bpe, w->scratch, piece, bytes, &sink, error));
  for (size_t i = 0; i < sink.count; i++) {
    ids[i] = (uint32_t)found[i];
    id_put(w->sink, ids[i]);
  }
  *count = (uint32_t)sink.count;
  return VIVA_OK;
}

/* A new word goes to the front of its set; the one that was there to the back. */
static viva_status encode_word(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                               int is_part, viva_error *error) {
  uint64_t low, high;
  word_key(piece, bytes, limit, &low, &high);
  if (is_part) high |= WORD_PART;
  word *set = w->memory->words + word_set(low, high);
  for (int way = 0; way < 2; way++) {
    if (set[way].low != low || set[way].high != high) continue;
    word_put(w->sink, set[way].ids, set[way].count);
    if (way == 1) {
      word front = set[0];
      set[0] = set[1];
      set[1] = front;
    }
    return VIVA_OK;
  }
  uint32_t ids[IDS_MOST], count;
  TRY(encode_new(w, piece, bytes, is_part, ids, &count, error));
  if (count > WORD_IDS) return VIVA_OK;
  set[1] = set[0];
  set[0] = (word){low, high, {0, 0, 0}, count};
  memcpy(set[0].ids, ids, count * sizeof *ids);
  return VIVA_OK;
}

static viva_status encode_long_word(const word_encoder *w, const uint8_t *piece, size_t bytes, int is_part,
                                    viva_error *error) {
  uint64_t key[4] = {0, 0, 0, 0};
  memcpy(key, piece, bytes);
  key[3] |= (uint64_t)bytes << 56 | (is_part ? WORD_PART : 0);
  size_t at = word_set(key[0] ^ key[2] * 0xc2b2ae3d27d4eb4fULL, key[1] ^ key[3] * 0x165667b19e3779f9ULL) / 2;
  long_word *slot = &w->memory->longs[at & (((size_t)1 << LONG_WORD_BITS) - 1)];
  if (memcmp(slot->bytes, key, sizeof key) == 0) {
    for (uint32_t i = 0; i < slot->count; i++) id_put(w->sink, slot->ids[i]);
    return VIVA_OK;
  }
  uint32_t ids[IDS_MOST], count;
  TRY(encode_new(w, piece, bytes, is_part, ids, &count, error));
  if (count > LONG_WORD_IDS) return VIVA_OK;
  memcpy(slot->bytes, key, sizeof key);
  memcpy(slot->ids, ids, count * sizeof *ids);
  slot->count = count;
  return VIVA_OK;
}

static viva_status encode_part(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                               int is_part, viva_error *error) {
  if (w->memory->words && bytes <= WORD_BYTES) return encode_word(w, piece, bytes, limit, is_part, error);
  if (w->memory->words && bytes <= LONG_WORD_BYTES) return encode_long_word(w, piece, bytes, is_part, error);
  return is_part ? bpe_merge_piece(w->bpe, w->scratch, piece, bytes, w->sink, error)
                 : bpe_encode(w->bpe, w->scratch, piece, bytes, w->sink, error);
}

viva_status words_miss(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                       viva_error *error) {
  if (!w->joints->usable || bytes <= WORD_BYTES) return encode_part(w, piece, bytes, limit, 0, error);
  int is_part = w->bpe->rules.ignore_merges;
  if (is_part && bpe_whole_piece(w->bpe, piece, bytes, w->sink)) return VIVA_OK;
  for (size_t at = 0, end; at < bytes; at = end) {
    end = joints_next(w->joints, piece, at, bytes);
    TRY(encode_part(w, piece + at, end - at, limit, is_part, error));
  }
  return VIVA_OK;
}

viva_status words_encode_many(const word_encoder *w, const uint8_t *text, const size_t *from, size_t count,
                              const uint8_t *limit, viva_error *error) {
  uint64_t low[WORDS_AT_ONCE], high[WORDS_AT_ONCE];
  const word *sets[WORDS_AT_ONCE];
  if (!w->memory->words) {
    for (size_t i = 0; i < count; i++) TRY(words_miss(w, text + from[i], from[i + 1] - from[i], limit, error));
    return VIVA_OK;
  }
  for (size_t i = 0; i < count; i++) {
    size_t bytes = from[i + 1] - from[i];
    if (bytes > WORD_BYTES) {
      low[i] = high[i] = UINT64_MAX; /* no word has this key */
      sets[i] = w->memory->words;
      continue;
    }
    word_key(text + from[i], bytes, limit, &low[i], &high[i]);
    sets[i] = w->memory->words + word_set(low[i], high[i]);
    __builtin_prefetch(sets[i]);
  }
  for (size_t i = 0; i < count; i++) {
    if (sets[i]->low == low[i] && sets[i]->high == high[i])
      word_put(w->sink, sets[i]->ids, sets[i]->count);
    else
      TRY(words_miss(w, text + from[i], from[i + 1] - from[i], limit, error));
  }
  return VIVA_OK;
}
