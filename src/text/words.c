#include "text/words.h"

#include "text/bytes16.h"
#include "text/word_batch.h"

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
  uint8_t *seen = mem_zalloc(memory->mem, (size_t)1 << SEEN_BITS);
  if (!words || !longs || !seen) {
    mem_free(memory->mem, words);
    mem_free(memory->mem, longs);
    mem_free(memory->mem, seen);
    return 1;
  }
  memory->words = words;
  memory->longs = longs;
  memory->seen = seen;
  return 0;
}

void word_memory_free(word_memory *memory) {
  mem_free(memory->mem, memory->words);
  mem_free(memory->mem, memory->longs);
  mem_free(memory->mem, memory->seen);
  memory->words = NULL;
  memory->longs = NULL;
  memory->seen = NULL;
}

/* ---- remembering ---- */

/* A run's piece as the memory has it: 4 numbers for a long one, of which a short one has 2. */
typedef struct piece_key {
  uint64_t bytes[4];
} piece_key;

static inline int is_part(const word_run *run, size_t i) { return (int)(run->parts >> i & 1); }

static inline piece_key key_of(const word_run *run, size_t i) {
  piece_key key = {{0, 0, 0, 0}};
  uint64_t part = is_part(run, i) ? WORD_PART : 0;
  if (run->places[i]) {
    key.bytes[0] = run->ids[i].low;
    key.bytes[1] = run->ids[i].high;
    return key;
  }
  if (run->bytes[i] <= WORD_BYTES) {
    word_key(run->pieces[i], run->bytes[i], run->limit, &key.bytes[0], &key.bytes[1]);
    key.bytes[1] |= part;
    return key;
  }
  memcpy(key.bytes, run->pieces[i], run->bytes[i]);
  key.bytes[3] |= (uint64_t)run->bytes[i] << 56 | part;
  return key;
}

static long_word *long_place(const word_encoder *w, const piece_key *key) {
  const uint64_t *k = key->bytes;
  size_t at = word_home(k[0] ^ k[2] * 0xc2b2ae3d27d4eb4fULL, k[1] ^ k[3] * 0x165667b19e3779f9ULL);
  return &w->memory->longs[at & (((size_t)1 << LONG_WORD_BITS) - 1)];
}

static void keep_long(const word_encoder *w, const piece_key *key, const viva_token *ids, size_t count) {
  long_word *place = long_place(w, key);
  if (count > LONG_WORD_IDS) return;
  memcpy(place->bytes, key->bytes, sizeof place->bytes);
  memcpy(place->ids, ids, count * sizeof *ids);
  place->count = (uint32_t)count;
}

/* Where a short word is, or the first free place; where neither is, the one that it takes: which, the word itself says. */
static word *word_place(const word_encoder *w, const piece_key *key) {
  uint64_t low = key->bytes[0], high = key->bytes[1];
  size_t home = word_home(low, high);
  for (size_t i = 0; i < WORD_TRIES; i++) {
    word *place = &w->memory->words[home + i];
    if (place->high == 0 || (place->low == low && (place->high & ~WORD_MANY) == high)) return place;
  }
  return &w->memory->words[home + (low >> 3) % WORD_TRIES];
}

/* Is a word worth a place? Once many are kept, noise would drive out all that come back: so a word must come twice. */
static int is_worth(word_memory *memory, const piece_key *key, size_t bytes) {
  if (memory->kept < KEPT_FREELY || bytes <= KEPT_ALWAYS) {
    memory->kept++;
    return 1;
  }
  uint64_t hash = word_hash(key->bytes[0] ^ key->bytes[2], key->bytes[1] ^ key->bytes[3]);
  uint8_t *seen = &memory->seen[hash >> (64 - SEEN_BITS)], mark = (uint8_t)(hash | 1);
  if (*seen == mark) return 1;
  *seen = mark;
  return 0;
}

static void keep(const word_encoder *w, const piece_key *key, size_t bytes, const viva_token *ids, size_t count) {
  if (!is_worth(w->memory, key, bytes)) return;
  if (bytes > WORD_BYTES) {
    keep_long(w, key, ids, count);
    return;
  }
  word *place = word_place(w, key);
  *place = (word){key->bytes[0], key->bytes[1], {0, 0, 0}, (uint32_t)count};
  if (count <= WORD_IDS) {
    memcpy(place->ids, ids, count * sizeof *ids);
    return;
  }
  place->high |= WORD_MANY;
  keep_long(w, key, ids, count);
}

/* Ids that are remembered. */
typedef struct word_ids {
  const uint32_t *ids; /* NULL: the word is new */
  uint32_t count;
} word_ids;

static word_ids find_long(const word_encoder *w, const piece_key *key) {
  const long_word *place = long_place(w, key);
  if (memcmp(place->bytes, key->bytes, sizeof place->bytes) != 0) return (word_ids){NULL, 0};
  return (word_ids){place->ids, place->count};
}

static word_ids find(const word_encoder *w, const piece_key *key, size_t bytes) {
  if (bytes > WORD_BYTES) return find_long(w, key);
  const word *place = word_place(w, key);
  if (place->low != key->bytes[0]) return (word_ids){NULL, 0};
  if (place->high == key->bytes[1]) return (word_ids){place->ids, place->count};
  return place->high == (key->bytes[1] | WORD_MANY) ? find_long(w, key) : (word_ids){NULL, 0};
}

/* ---- many words at a time ---- */

#define RUNS_TRIED  8  /* of new words, before the memory rests */
#define RUNS_RESTED 64 /* at most, between two that are looked up */
#define REST_BYTES  4096
#define REST_RUNS   16 /* that as many bytes stand for */

/* Is the piece the word at its place? */
static inline int is_known(const word_run *run, size_t i) {
  const word *place = run->places[i];
  return place && place->low == run->ids[i].low && place->high == run->ids[i].high;
}

/* ids has room for WORD_IDS, however few there are. */
static inline void put_all(id_sink *sink, const uint32_t *ids, uint32_t count) {
  if (count <= WORD_IDS) {
    word_put(sink, ids, count);
    return;
  }
  for (uint32_t i = 0; i < count; i++) id_put(sink, ids[i]);
}

/* The words of a run from one on that is new. */
typedef struct rest {
  word_run *run;
  size_t count, new_count, short_count;
  piece_key keys[WORDS_AT_ONCE];
  word_ids ids[WORDS_AT_ONCE];
  uint8_t new[WORDS_AT_ONCE]; /* those that are */
} rest;

static void look_up(rest *r, size_t from) {
  const word_run *run = r->run;
  for (size_t i = from; i < r->count; i++) {
    if (is_known(run, i)) {
      r->ids[i] = (word_ids){run->places[i]->ids, run->places[i]->count};
      continue;
    }
    r->ids[i] = (word_ids){NULL, 0};
    if (run->bytes[i] <= LONG_WORD_BYTES) r->keys[i] = key_of(run, i);
    if (run->words && run->bytes[i] <= LONG_WORD_BYTES) r->ids[i] = find(run->w, &r->keys[i], run->bytes[i]);
    r->new[r->new_count] = (uint8_t)i;
    r->new_count += !r->ids[i].ids;
  }
}

/* Which of the new ones are tokens? */
static void find_tokens(rest *r, int64_t *known) {
  word_id ids[WORDS_AT_ONCE];
  uint8_t shorts[WORDS_AT_ONCE];
  int64_t found[WORDS_AT_ONCE];
  size_t count = 0;
  for (size_t n = 0; n < r->new_count; n++) {
    const piece_key *key = &r->keys[r->new[n]];
    known[n] = KNOWN_UNSURE;
    if (r->run->bytes[r->new[n]] > WORD_BYTES || r->run->bytes[r->new[n]] <= 2) continue;
    shorts[count] = (uint8_t)n;
    ids[count++] = (word_id){key->bytes[0], key->bytes[1] & ~WORD_PART};
  }
  known_find(r->run->w->known, ids, count, found);
  for (size_t i = 0; i < count; i++) known[shorts[i]] = found[i];
}

static viva_status merge_new(rest *r, word_batch *batch, viva_error *error) {
  const word_run *run = r->run;
  int64_t known[WORDS_AT_ONCE];
  find_tokens(r, known);
  word_batch_begin(batch, run->w);
  for (size_t n = 0; n < r->new_count; n++) {
    size_t i = r->new[n];
    TRY(word_batch_add(batch, run->pieces[i], run->bytes[i], is_part(run, i), known[n], error));
  }
  TRY(word_batch_merge(batch, error));
  for (size_t n = 0; n < r->new_count; n++)
    r->ids[r->new[n]] = (word_ids){(const uint32_t *)batch->words[n].ids, batch->words[n].count};
  return VIVA_OK;
}

/* Puts the ids of the run's words from `from` on, of which some are new, and remembers those. *learnt: how many they were. */
static viva_status encode_rest(word_run *run, size_t from, size_t count, size_t *learnt, viva_error *error) {
  word_batch *batch = run->w->batch;
  rest r;
  r.run = run;
  r.count = count;
  r.new_count = 0;
  look_up(&r, from);
  TRY(merge_new(&r, batch, error));
  id_sink *whole = run->w->sink, sink = *whole; /* a copy that may stay in registers */
  for (size_t i = from; i < count; i++) put_all(&sink, r.ids[i].ids, r.ids[i].count);
  whole->count = sink.count;
  for (size_t n = 0; n < r.new_count && run->words; n++) {
    size_t i = r.new[n];
    if (run->bytes[i] <= LONG_WORD_BYTES)
      keep(run->w, &r.keys[i], run->bytes[i], batch->words[n].ids, batch->words[n].count);
  }
  *learnt = r.new_count;
  return VIVA_OK;
}

/* A run's words were looked up, of which `learnt` were new; or they were not. Where words do not come back, the memory rests: the
 * longer, the longer that has been so. */
static void count_new(word_run *run, size_t count, size_t learnt) {
  word_memory *memory = run->w->memory;
  if (run->w->is_noise) return;
  if (memory->unasked) {
    if (--memory->unasked == 0 && !run->w->is_noise) run->words = memory->words;
    return;
  }
  memory->new_runs = learnt * 2 >= count ? memory->new_runs + 1 : 0;
  if (memory->new_runs < RUNS_TRIED) return;
  memory->unasked = memory->new_runs < RUNS_RESTED ? memory->new_runs : RUNS_RESTED;
  run->words = NULL;
}

viva_status words_flush(word_run *run, viva_error *error) {
  size_t count = run->count, learnt = 0, i = 0;
  id_sink *whole = run->w->sink, sink = *whole; /* a copy that may stay in registers */
  for (; i < count; i++) {
    if (is_known(run, i)) {
      word_put(&sink, run->places[i]->ids, run->places[i]->count);
      continue;
    }
    if (!run->words || run->bytes[i] > LONG_WORD_BYTES) break;
    piece_key key = key_of(run, i);
    word_ids found = find(run->w, &key, run->bytes[i]);
    if (!found.ids) break;
    put_all(&sink, found.ids, found.count);
  }
  whole->count = sink.count;
  if (i < count) TRY(encode_rest(run, i, count, &learnt, error));
  count_new(run, count, learnt);
  run->count = 0;
  run->longer = 0;
  run->parts = 0;
  return VIVA_OK;
}

/* What a piece is made of. */
typedef enum piece_kind {
  PIECE_ASCII,
  PIECE_NEAR, /* with many characters beyond ASCII, all near ones (near.h), or noise: it has many short parts */
  PIECE_OTHER
} piece_kind;

#define MANY_NEAR 2 /* times as many bytes of ASCII */

static inline piece_kind kind_of(const uint8_t *piece, size_t bytes, const uint8_t *limit, int is_noise) {
  if (bytes <= 16 && limit - piece >= 16 && !(bytes16_beyond_ascii(piece) & (((uint32_t)1 << bytes) - 1)))
    return PIECE_ASCII;
  size_t beyond = 0, far = 0;
  for (size_t i = 0; i < bytes; i++) {
    beyond += piece[i] >= 0x80;
    far += piece[i] > 0xc3 && piece[i] < 0xe0;
  }
  if (beyond == 0) return PIECE_ASCII;
  return (far == 0 || is_noise) && beyond * (MANY_NEAR + 1) >= bytes ? PIECE_NEAR : PIECE_OTHER;
}

#define NEAR_MOST  8
#define NEAR_LONG  2 /* what a long part takes off */
#define NEAR_BYTES 8 /* of a piece of ASCII among such */

viva_status words_next_apart(word_run *run, const uint8_t *piece, size_t bytes, viva_error *error) {
  const word_encoder *w = run->w;
  word_memory *memory = w->memory;
  if (!w->joints->usable || w->blank.text || (!memory->unasked && !w->is_noise))
    return words_put(run, piece, bytes, error);
  piece_kind kind = kind_of(piece, bytes, run->limit, w->is_noise);
  if (kind == PIECE_NEAR) run->near += run->near < NEAR_MOST;
  if (kind == PIECE_OTHER) run->near -= run->near > 0;
  if (kind == PIECE_OTHER || run->near < NEAR_MOST / 2 || (kind == PIECE_ASCII && bytes > NEAR_BYTES))
    return words_put(run, piece, bytes, error);
  if (run->count > 0) TRY(words_flush(run, error));
  if (++run->apart == WORDS_AT_ONCE) {
    run->apart = 0;
    if (memory->unasked && --memory->unasked == 0 && !w->is_noise) run->words = memory->words;
  }
  w->batch->long_parts = 0;
  TRY(word_batch_parts(w->batch, w, piece, bytes, run->limit, error));
  const uint32_t less = NEAR_LONG * w->batch->long_parts;
  run->near -= less < run->near ? less : run->near;
  return VIVA_OK;
}

/* A piece that is cut nowhere. */
static viva_status encode_whole(word_run *run, const uint8_t *piece, size_t bytes, int part, viva_error *error) {
  const word_encoder *w = run->w;
  TRY(words_flush(run, error));
  return part ? bpe_merge_piece(w->bpe, w->scratch, piece, bytes, w->sink, error)
              : bpe_encode(w->bpe, w->scratch, piece, bytes, w->sink, error);
}

/* Where the part that begins at `at` ends. While the memory rests, parts are long: those are merged faster. */
static size_t part_end(word_run *run, const uint8_t *piece, size_t at, size_t bytes) {
  word_memory *memory = run->w->memory;
  if (!memory->unasked || bytes - at < REST_BYTES) return joints_next(run->w->joints, piece, at, bytes);
  memory->unasked -= memory->unasked < REST_RUNS ? memory->unasked : REST_RUNS;
  if (memory->unasked == 0 && !run->w->is_noise) run->words = memory->words;
  at += REST_BYTES;
  while (at < bytes && (piece[at] & 0xc0) == 0x80) at--;
  return joints_next(run->w->joints, piece, at, bytes);
}

viva_status words_next_long(word_run *run, const uint8_t *piece, size_t bytes, viva_error *error) {
  const bpe *b = run->w->bpe;
  /* Joints are those of text as it is written. */
  if (!run->w->joints->usable || run->w->blank.text || !run->most) return encode_whole(run, piece, bytes, 0, error);
  uint64_t part = b->rules.ignore_merges != 0;
  if (part && bpe_is_whole(b, piece, bytes)) return encode_whole(run, piece, bytes, 0, error);
  if (run->w->is_noise) {
    TRY(words_flush(run, error));
    return word_batch_parts(run->w->batch, run->w, piece, bytes, run->limit, error);
  }
  for (size_t at = 0, end; at < bytes; at = end) {
    end = part_end(run, piece, at, bytes);
    if (end - at > run->most) {
      TRY(encode_whole(run, piece + at, end - at, 1, error));
      continue;
    }
    run->parts |= part << run->count;
    TRY(words_put(run, piece + at, end - at, error));
  }
  return VIVA_OK;
}
