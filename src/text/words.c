#include "text/words.h"

#define BYTES(n) (((uint64_t)1 << 8 * (n)) - 1)
const uint64_t word_masks[WORD_BYTES + 1][2] = {
    {0, 0},
    {BYTES(1), 0},
    {BYTES(2), 0},
    {BYTES(3), 0},
    {BYTES(4), 0},
    {BYTES(5), 0},
    {BYTES(6), 0},
    {BYTES(7), 0},
    {UINT64_MAX, 0},
    {UINT64_MAX, BYTES(1)},
    {UINT64_MAX, BYTES(2)},
    {UINT64_MAX, BYTES(3)},
    {UINT64_MAX, BYTES(4)},
    {UINT64_MAX, BYTES(5)},
    {UINT64_MAX, BYTES(6)},
    {UINT64_MAX, BYTES(7)},
};

int word_memory_create(word_memory *memory) {
  if (memory->words) return 0;
  word *words = mem_zalloc(memory->mem, sizeof *words * (((size_t)1 << WORD_BITS) + WORD_TRIES));
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

/* ---- merging ---- */

#define BLANK_MOST 4 /* bytes of what a blank is written as: one character */

static viva_status merge(const word_encoder *w, const uint8_t *piece, size_t bytes, int is_part, id_sink *sink,
                         viva_error *error) {
  return is_part ? bpe_merge_piece(w->bpe, w->scratch, piece, bytes, sink, error)
                 : bpe_encode(w->bpe, w->scratch, piece, bytes, sink, error);
}

/* A short piece: blanks are written, then each part between joints is merged. */
static viva_status merge_short(const word_encoder *w, const uint8_t *piece, size_t bytes, int is_part, id_sink *sink,
                               viva_error *error) {
  uint8_t written[LONG_WORD_BYTES * BLANK_MOST];
  size_t count = 0;
  if (!w->blank.text) return merge(w, piece, bytes, is_part, sink, error);
  for (size_t i = 0; i < bytes; i++) {
    if (piece[i] != ' ') {
      written[count++] = piece[i];
      continue;
    }
    memcpy(written + count, w->blank.text, w->blank.bytes);
    count += w->blank.bytes;
  }
  for (size_t at = 0, end; at < count; at = end) {
    end = joints_next(w->joints, written, at, count);
    TRY(merge(w, written + at, end - at, 0, sink, error));
  }
  return VIVA_OK;
}

/* ---- remembering ---- */

/* The ids of a piece of at most LONG_WORD_BYTES, which may be two for a byte and more for a blank. */
#define IDS_MOST (BLANK_MOST * LONG_WORD_BYTES + 1)

static long_word *long_place(const word_encoder *w, const uint64_t key[4]) {
  size_t at = word_home(key[0] ^ key[2] * 0xc2b2ae3d27d4eb4fULL, key[1] ^ key[3] * 0x165667b19e3779f9ULL);
  return &w->memory->longs[at & (((size_t)1 << LONG_WORD_BITS) - 1)];
}

static int put_long(const word_encoder *w, const long_word *place, const uint64_t key[4]) {
  if (memcmp(place->bytes, key, sizeof place->bytes) != 0) return 0;
  for (uint32_t i = 0; i < place->count; i++) id_put(w->sink, place->ids[i]);
  return 1;
}

static void keep_long(long_word *place, const uint64_t key[4], const viva_token *ids, size_t count) {
  if (count > LONG_WORD_IDS) return;
  memcpy(place->bytes, key, sizeof place->bytes);
  memcpy(place->ids, ids, count * sizeof *ids);
  place->count = (uint32_t)count;
}

/* Merges a piece and puts its ids, which are told too. */
static viva_status encode_new(const word_encoder *w, const uint8_t *piece, size_t bytes, int is_part, viva_token *ids,
                              size_t *count, viva_error *error) {
  id_sink sink = {ids, IDS_MOST, 0, NULL};
  TRY(merge_short(w, piece, bytes, is_part, &sink, error));
  *count = sink.count;
  for (size_t i = 0; i < sink.count; i++) id_put(w->sink, (uint32_t)ids[i]);
  return VIVA_OK;
}

/* Where the word is, or the first free place; where neither is, the one that it takes: which, the word itself says. */
static word *word_place(const word_encoder *w, uint64_t low, uint64_t high) {
  size_t home = word_home(low, high);
  for (size_t i = 0; i < WORD_TRIES; i++) {
    word *place = &w->memory->words[home + i];
    if (place->high == 0 || (place->low == low && (place->high & ~WORD_MANY) == high)) return place;
  }
  return &w->memory->words[home + (low >> 3) % WORD_TRIES];
}

static void keep_word(const word_encoder *w, word *place, const uint64_t key[4], const viva_token *ids, size_t count) {
  *place = (word){key[0], key[1], {0, 0, 0}, (uint32_t)count};
  if (count <= WORD_IDS) {
    memcpy(place->ids, ids, count * sizeof *ids);
    return;
  }
  place->high |= WORD_MANY;
  keep_long(long_place(w, key), key, ids, count);
}

static viva_status encode_word(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                               int is_part, viva_error *error) {
  uint64_t key[4] = {0, 0, 0, 0};
  word_key(piece, bytes, limit, &key[0], &key[1]);
  if (is_part) key[1] |= WORD_PART;
  word *place = word_place(w, key[0], key[1]);
  if (place->low == key[0] && place->high == key[1]) {
    word_put(w->sink, place->ids, place->count);
    return VIVA_OK;
  }
  int has_many = place->low == key[0] && place->high == (key[1] | WORD_MANY);
  if (has_many && put_long(w, long_place(w, key), key)) return VIVA_OK;
  viva_token ids[IDS_MOST];
  size_t count;
  TRY(encode_new(w, piece, bytes, is_part, ids, &count, error));
  keep_word(w, place, key, ids, count);
  return VIVA_OK;
}

static viva_status encode_long_word(const word_encoder *w, const uint8_t *piece, size_t bytes, int is_part,
                                    viva_error *error) {
  uint64_t key[4] = {0, 0, 0, 0};
  memcpy(key, piece, bytes);
  key[3] |= (uint64_t)bytes << 56 | (is_part ? WORD_PART : 0);
  long_word *place = long_place(w, key);
  if (put_long(w, place, key)) return VIVA_OK;
  viva_token ids[IDS_MOST];
  size_t count;
  TRY(encode_new(w, piece, bytes, is_part, ids, &count, error));
  keep_long(place, key, ids, count);
  return VIVA_OK;
}

static viva_status encode_part(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                               int is_part, viva_error *error) {
  int is_asked = w->memory->words && !w->memory->unasked;
  if (is_asked && bytes <= WORD_BYTES) return encode_word(w, piece, bytes, limit, is_part, error);
  if (is_asked && bytes <= LONG_WORD_BYTES) return encode_long_word(w, piece, bytes, is_part, error);
  return bytes <= LONG_WORD_BYTES ? merge_short(w, piece, bytes, is_part, w->sink, error)
                                  : merge(w, piece, bytes, is_part, w->sink, error);
}

/* A piece that is longer than a word, cut at joints. */
static viva_status encode_parts(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                                viva_error *error) {
  int is_part = w->bpe->rules.ignore_merges;
  if (is_part && bpe_whole_piece(w->bpe, piece, bytes, w->sink)) return VIVA_OK;
  for (size_t at = 0, end; at < bytes; at = end) {
    end = joints_next(w->joints, piece, at, bytes);
    TRY(encode_part(w, piece + at, end - at, limit, is_part, error));
  }
  return VIVA_OK;
}

viva_status words_encode(const word_encoder *w, const uint8_t *piece, size_t bytes, const uint8_t *limit,
                         viva_error *error) {
  /* Joints are those of text as it is written. */
  if (w->joints->usable && bytes > LONG_WORD_BYTES && !w->blank.text)
    return encode_parts(w, piece, bytes, limit, error);
  return encode_part(w, piece, bytes, limit, 0, error);
}

/* ---- many words at a time ---- */

#define RUNS_TRIED  8  /* of new words, before the memory rests */
#define RUNS_RESTED 64 /* at most, between two that are looked up */

/* Is the piece the word at its place? */
static inline int is_known(const word_run *run, size_t i) {
  const word *place = run->places[i];
  uint64_t low, high;
  if (!place) return 0;
  word_key(run->pieces[i], run->bytes[i], run->limit, &low, &high);
  return place->low == low && place->high == high;
}

/* Finds the place of a word that is not where it was looked for. 1: it is new. */
static int is_new(word_run *run, size_t i, word_id *id) {
  word_key(run->pieces[i], run->bytes[i], run->limit, &id->low, &id->high);
  const word *place = run->places[i] = word_place(run->w, id->low, id->high);
  return place->low != id->low || (place->high & ~WORD_MANY) != id->high;
}

/* Remembers what a new word becomes. known: what known_find says of it. */
static viva_status learn_word(word_run *run, size_t i, word_id id, int64_t known, viva_error *error) {
  const uint64_t key[4] = {id.low, id.high, 0, 0};
  viva_token ids[IDS_MOST];
  ids[0] = (viva_token)known;
  id_sink sink = {ids, IDS_MOST, known >= 0, NULL};
  if (known < 0) TRY(merge_short(run->w, run->pieces[i], run->bytes[i], known == KNOWN_NOT, &sink, error));
  word *place = word_place(run->w, id.low, id.high);
  keep_word(run->w, place, key, ids, sink.count);
  run->places[i] = place;
  return VIVA_OK;
}

/* Learns the words of the run from `from` on that are new: one comes seldom alone. *learnt: how many they were. */
static viva_status learn_words(word_run *run, size_t from, size_t end, size_t *learnt, viva_error *error) {
  uint8_t new[WORDS_AT_ONCE] = {0};
  word_id ids[WORDS_AT_ONCE + 1] = {{0, 0}};
  int64_t known[WORDS_AT_ONCE];
  size_t count = 0;
  for (size_t i = from; i < end; i++) {
    new[count] = (uint8_t)i;
    count += run->places[i] && !is_known(run, i) && is_new(run, i, &ids[count]);
  }
  known_find(run->w->known, ids, count, known);
  *learnt = count;
  for (size_t n = 0; n < count; n++) TRY(learn_word(run, new[n], ids[n], known[n], error));
  return VIVA_OK;
}

/* A run's words were looked up, of which `learnt` were new; or they were not. Where words do not come back, the memory rests: the
 * longer, the longer that has been so. */
static void count_new(word_run *run, size_t count, size_t learnt) {
  word_memory *memory = run->w->memory;
  if (memory->unasked) {
    if (--memory->unasked == 0) run->words = memory->words;
    return;
  }
  memory->new_runs = learnt * 4 >= count * 3 ? memory->new_runs + 1 : 0;
  if (memory->new_runs < RUNS_TRIED) return;
  memory->unasked = memory->new_runs < RUNS_RESTED ? memory->new_runs : RUNS_RESTED;
  run->words = NULL;
}

viva_status words_flush(word_run *run, viva_error *error) {
  size_t count = run->count;
  id_sink *whole = run->w->sink, sink = *whole; /* a copy that may stay in registers */
  word_id id;
  size_t learnt = 0;
  int has_learnt = 0;
  run->count = 0;
  for (size_t i = 0; i < count; i++) {
    int known = is_known(run, i);
    if (!known && run->places[i]) {
      if (is_new(run, i, &id) && !has_learnt++) TRY(learn_words(run, i, count, &learnt, error));
      known = is_known(run, i);
    }
    if (known) {
      word_put(&sink, run->places[i]->ids, run->places[i]->count);
      continue;
    }
    whole->count = sink.count;
    TRY(words_encode(run->w, run->pieces[i], run->bytes[i], run->limit, error));
    sink.count = whole->count;
  }
  whole->count = sink.count;
  count_new(run, count, learnt);
  return VIVA_OK;
}
