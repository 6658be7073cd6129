/* text/words.h: pieces that were merged before, and their ids.
 *
 * Text repeats its words. A memory of one thread at a time holds short pieces beside their ids, two in a line of the cache,
 * so that most words cost one look. A word lies where its hash says or in one of the places behind it; where all are taken,
 * a new one takes an old one's, so the size is fixed. Pieces are gathered and then looked up together: the memory's lines
 * come while the others are being asked for. Longer pieces are cut at joints first.
 */
#ifndef TEXT_WORDS_H
#define TEXT_WORDS_H

#include <string.h>

#include "text/bpe_many.h"
#include "text/joints.h"
#include "text/known.h"
#include "text/split_block.h"

enum { WORD_IDS = 3, LONG_WORD_BYTES = 31, LONG_WORD_IDS = 7, BLANK_WORD_BYTES = 61, GATHERED_BYTES = 244 };

#define BLANK_MOST    4 /* bytes of what a blank is written as: one character */
#define WORD_IDS_MOST ((size_t)BLANK_WORD_BYTES * BLANK_MOST)

_Static_assert(WORD_IDS_MOST >= GATHERED_BYTES, "a word of single bytes has room");

/* low and high: the bytes, zeros behind them, and in the last one the length (and WORD_PART). high 0: free. */
typedef struct word {
  uint64_t low, high;
  uint32_t ids[WORD_IDS];
  uint32_t count;
} word;

/* Also a short one that has more ids than a word has room for. */
typedef struct long_word {
  uint64_t bytes[4]; /* as low and high */
  uint32_t ids[LONG_WORD_IDS];
  uint32_t count;
} long_word;

_Static_assert(sizeof(word) == 32 && sizeof(long_word) == 64, "one or two words fill a line of the cache");

/* A word of too many ids for its place: they lie among the long ones. */
#define WORD_MANY ((uint64_t)0x40 << 56)

/* A part of a longer piece is merged by other rules than a whole one where whole pieces are looked up first. */
#define WORD_PART ((uint64_t)0x80 << 56)

#define WORDS_OF_LINE  2
#define WORD_BITS      16 /* places: 2 MiB */
#define WORD_TRIES     8  /* places that a word may lie at */
#define LONG_WORD_BITS 13 /* 512 KiB */

#define SEEN_BITS   16                  /* 64 KiB */
#define KEPT_FREELY ((uint32_t)1 << 15) /* words, before one is kept when it comes again only */
#define KEPT_ALWAYS 3                   /* bytes of a word of which there are few */

typedef struct word_memory {
  mem *mem;
  word *words;
  long_word *longs;
  uint8_t *seen; /* by hash: a mark of the last word that came */
  uint32_t kept;
  uint32_t new_runs; /* runs one after the other of which most words were new */
  uint32_t unasked;  /* runs to come that are merged without a look: text without words costs no more than merging */
} word_memory;

/* 1: no memory; words are then merged each time. */
int word_memory_create(word_memory *memory);
void word_memory_free(word_memory *memory);

/* The first of the places that a word may lie at: those of a whole line of the cache come first. */
static inline size_t word_home(uint64_t low, uint64_t high) {
  return word_hash(low, high) >> (64 - WORD_BITS) & ~(size_t)(WORDS_OF_LINE - 1);
}

extern const uint64_t word_masks[WORD_BYTES + 1][2];

/* The key of at[0 .. bytes), bytes from 1 to WORD_BYTES; what lies before limit may be read. */
static inline void word_key(const uint8_t *at, size_t bytes, const uint8_t *limit, uint64_t *low, uint64_t *high) {
  uint64_t key[2] = {0, 0};
  if (limit - at >= 16)
    memcpy(key, at, 16);
  else
    memcpy(key, at, bytes);
  *low = key[0] & word_masks[bytes][0];
  *high = (key[1] & word_masks[bytes][1]) | (uint64_t)bytes << 56;
}

static inline void word_put(id_sink *sink, const uint32_t *ids, uint32_t count) {
  if (sink->count + WORD_IDS <= sink->capacity) {
    memcpy(sink->ids + sink->count, ids, WORD_IDS * sizeof *ids);
    sink->count += count;
    return;
  }
  for (uint32_t i = 0; i < count; i++) id_put(sink, ids[i]);
}

/* How a piece that is not remembered becomes ids. */
typedef struct word_encoder {
  const bpe *bpe;
  const joints *joints;
  const known_tokens *known;
  token_text blank; /* what ' ' stands for in pieces, of at most BLANK_MOST bytes; text NULL: they are as written */
  int is_noise;     /* the text is no text of any language: the memory is not asked */
  word_memory *memory;
  struct word_batch *batch; /* room for new words */
  bpe_scratch *scratch;
  id_sink *sink;
} word_encoder;

/* The words of a text, one after the other: some are gathered and then looked up together, so that the memory's lines come while
 * the others are being asked for, and those that are new are merged together. */
#define WORDS_AT_ONCE 64
#define LONGER_MOST   2048
typedef struct word_run {
  const word_encoder *w;
  const word *words;    /* NULL: there is no memory, or it is not asked: each is merged */
  const uint8_t *limit; /* what lies before it may be read */
  size_t most;          /* bytes of a word that is gathered; 0: one may have more than WORD_IDS_MOST ids, and none is */
  size_t count;         /* of those that wait */
  const uint8_t *pieces[WORDS_AT_ONCE];
  size_t bytes[WORDS_AT_ONCE];       /* at most GATHERED_BYTES; of more than LONG_WORD_BYTES it is not remembered */
  const word *places[WORDS_AT_ONCE]; /* where it lies, if it is there; NULL: it is longer, or the memory is not asked */
  word_id ids[WORDS_AT_ONCE];        /* of those that have a place, with WORD_PART */
  word tokens[WORDS_AT_ONCE];        /* places of added tokens: high 0 */
  size_t longer;                     /* bytes of those that have more than a lane has room for */
  uint32_t apart;                    /* pieces that were not gathered, and are not counted yet */
  uint32_t near;                     /* how many of the last ones had many near characters (words_next_apart) */
  uint64_t parts;                    /* bits: a part of a longer piece, which is merged by the rules of such */
} word_run;

_Static_assert(WORDS_AT_ONCE <= 64, "each has a bit");

/* The batch of w holds nothing of another run. */
void words_begin(word_run *run, const word_encoder *w, const uint8_t *limit);

/* Looks the words that wait up. Those behind one that is new are held with it, until there is enough to merge. Errors: E_MEMORY,
 * E_LIMIT. */
viva_status words_look_up(word_run *run, viva_error *error);

/* Encodes what waits and what is held. Errors: as words_look_up. */
viva_status words_flush(word_run *run, viva_error *error);

/* A piece that is longer than a word. Errors: as words_flush. */
viva_status words_next_long(word_run *run, const uint8_t *piece, size_t bytes, viva_error *error);

/* A piece while the memory is not asked. Errors: as words_flush. */
viva_status words_next_apart(word_run *run, const uint8_t *piece, size_t bytes, viva_error *error);

static inline viva_status words_put(word_run *run, const uint8_t *piece, size_t bytes, viva_error *error) {
  size_t i = run->count++;
  run->pieces[i] = piece;
  run->bytes[i] = bytes;
  run->places[i] = NULL;
  if (bytes <= WORD_BYTES && run->words) {
    word_id *id = &run->ids[i];
    word_key(piece, bytes, run->limit, &id->low, &id->high);
    id->high |= run->parts >> i & 1 ? WORD_PART : 0;
    run->places[i] = run->words + word_home(id->low, id->high);
    __builtin_prefetch(run->places[i]);
  }
  if (bytes > BPE_ITEM_BYTES) run->longer += bytes;
  return run->count == WORDS_AT_ONCE || run->longer > LONGER_MOST ? words_look_up(run, error) : VIVA_OK;
}

/* An added token among the pieces. Errors: as words_flush. */
static inline viva_status words_put_token(word_run *run, uint32_t id, viva_error *error) {
  size_t i = run->count++;
  run->tokens[i] = (word){0, 0, {id, 0, 0}, 1};
  run->places[i] = &run->tokens[i];
  run->ids[i] = (word_id){0, 0};
  run->bytes[i] = 0;
  return run->count == WORDS_AT_ONCE ? words_look_up(run, error) : VIVA_OK;
}

/* The next piece, not empty. Errors: as words_flush. */
static inline viva_status words_next(word_run *run, const uint8_t *piece, size_t bytes, viva_error *error) {
  if (bytes > run->most) return words_next_long(run, piece, bytes, error);
  return run->words ? words_put(run, piece, bytes, error) : words_next_apart(run, piece, bytes, error);
}

/* Puts a short piece where there is room for it and 16 bytes may be read. */
static inline void words_put_short(word_run *run, size_t i, const word *words, const uint8_t *piece, size_t bytes) {
  uint64_t key[2];
  memcpy(key, piece, sizeof key);
  key[0] &= word_masks[bytes][0];
  key[1] = (key[1] & word_masks[bytes][1]) | (uint64_t)bytes << 56;
  const word *place = words + word_home(key[0], key[1]);
  __builtin_prefetch(place);
  run->pieces[i] = piece;
  run->bytes[i] = bytes;
  run->places[i] = place;
  run->ids[i] = (word_id){key[0], key[1]};
}

/* The pieces of a block: each begins where the one before it ends, the first at `from`, at the bits of `ends`. Errors: as
 * words_flush. */
static inline viva_status words_next_block(word_run *run, const uint8_t *from, uint64_t ends, viva_error *error) {
  size_t begin = 0, i = run->count;
  /* As words_next, short pieces are gathered; 16 bytes of each may be read. */
  const int gathers = run->most >= WORD_BYTES && run->limit - from >= SPLIT_BLOCK + 16;
  const word *words = gathers ? run->words : NULL;
  for (size_t end; ends; ends &= ends - 1, begin = end) {
    end = (size_t)__builtin_ctzll(ends);
    const size_t bytes = end - begin;
    if (words && bytes <= WORD_BYTES && i + 1 < WORDS_AT_ONCE) {
      words_put_short(run, i++, words, from + begin, bytes);
      continue;
    }
    run->count = i;
    TRY(words_next(run, from + begin, bytes, error));
    i = run->count;
    if (words) words = run->words;
  }
  run->count = i;
  return VIVA_OK;
}

#endif
