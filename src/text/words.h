/* text/words.h: pieces that were merged before, and their ids.
 *
 * Text repeats its words. A memory of one thread at a time holds short pieces beside their ids in one line of the cache, so
 * that most words cost one look; a new one takes an old one's place, so its size is fixed. Longer pieces are cut at joints
 * first.
 */
#ifndef TEXT_WORDS_H
#define TEXT_WORDS_H

#include <string.h>

#include "text/joints.h"

enum { WORD_BYTES = 15, WORD_IDS = 3, LONG_WORD_BYTES = 31, LONG_WORD_IDS = 7 };

/* low and high: the bytes, zeros behind them, and in the last one the length (and WORD_PART). high 0: free. */
typedef struct word {
  uint64_t low, high;
  uint32_t ids[WORD_IDS];
  uint32_t count;
} word;

typedef struct long_word {
  uint64_t bytes[4]; /* as low and high */
  uint32_t ids[LONG_WORD_IDS];
  uint32_t count;
} long_word;

_Static_assert(sizeof(word) == 32 && sizeof(long_word) == 64, "one or two words fill a line of the cache");

/* A part of a longer piece is merged by other rules than a whole one where whole pieces are looked up first. */
#define WORD_PART ((uint64_t)0x80 << 56)

#define WORD_SET_BITS  15 /* sets of two words: 2 MiB */
#define LONG_WORD_BITS 13 /* 512 KiB */

typedef struct word_memory {
  mem *mem;
  word *words;
  long_word *longs;
} word_memory;

/* 1: no memory; words_encode then works without. */
int word_memory_create(word_memory *memory);
void word_memory_free(word_memory *memory);

static inline size_t word_set(uint64_t low, uint64_t high) {
  uint64_t h = (low ^ high * 0x9fb21c651e98df25ULL) * 0x9e3779b97f4a7c15ULL;
  return (size_t)((h ^ h >> 29) * 0xbf58476d1ce4e5b9ULL >> (64 - WORD_SET_BITS)) * 2;
}

/* The key of piece[0 .. bytes), bytes from 1 to WORD_BYTES; what lies before limit may be read. */
static inline void word_key(const uint8_t *at, size_t bytes, const uint8_t *limit, uint64_t *low, uint64_t *high) {
  uint64_t key[2] = {0, 0};
  if (limit - at >= 16)
    memcpy(key, at, 16);
  else
    memcpy(key, at, bytes);
  size_t cut = 64 - 8 * (bytes & 7);
  uint64_t mask = bytes & 7 ? UINT64_MAX >> cut : 0;
  *low = bytes < 8 ? key[0] & mask : key[0];
  *high = (bytes < 8 ? 0 : key[1] & mask) | (uint64_t)bytes << 56;
}

static inline void word_put(id_sink *sink, const uint32_t *ids, uint32_t count) {
  if (sink->count + WORD_IDS <= sink->capacity) {
    memcpy(sink->ids + sink->count, ids, WORD_IDS * sizeof *ids);
    sink->count += count;
    return;
  }
  for (uint32_t i = 0; i < count; i++) id_put(sink, ids[i]);
}

/* What the two below need. */
typedef struct word_encoder {
  const bpe *bpe;
  const joints *joints;
  word_memory *memory;
  bpe_scratch *scratch;
  id_sink *sink;
} word_encoder;

/* Encodes a piece that was not found. Errors: E_MEMORY, E_LIMIT. */
viva_status words_miss(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                       viva_error *error);

/* Encodes one piece, not empty; limit: the end of the text that it is in. Errors: E_MEMORY, E_LIMIT. */
static inline viva_status words_encode(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                                       viva_error *error) {
  if (bytes <= WORD_BYTES && w->memory->words) {
    uint64_t low, high;
    word_key(piece, bytes, limit, &low, &high);
    const word *set = w->memory->words + word_set(low, high);
    if (set->low == low && set->high == high) {
      word_put(w->sink, set->ids, set->count);
      return VIVA_OK;
    }
  }
  return words_miss(w, piece, bytes, limit, error);
}

/* Encodes the pieces that begin at from[i] and end at from[i + 1], i < count, all looked up together: the memory's lines
 * come while the others are being asked for. Errors: E_MEMORY, E_LIMIT. */
#define WORDS_AT_ONCE 32
viva_status words_encode_many(const word_encoder *w, const uint8_t *text, const size_t *from, size_t count,
                              const uint8_t *limit, viva_error *error);

#endif
