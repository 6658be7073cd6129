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
  uint64_t hash = word_hash(k[0] ^ k[2] * 0xc2b2ae3d27d4eb4fULL, k[1] ^ k[3] * 0x165667b19e3779f9ULL);
  return &w->memory->longs[hash >> (64 - LONG_WORD_BITS)];
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

/* Where a piece of the run is remembered that lies in the first line of its places; else NULL. */
static inline const word *known_place(const word_run *run, size_t i) {
  const word *place = run->places[i];
  if (!place) return NULL;
  const uint64_t low = run->ids[i].low, high = run->ids[i].high;
  place += ((place->low ^ low) | (place->high ^ high)) != 0; /* without a branch: either is as likely */
  return ((place->low ^ low) | (place->high ^ high)) == 0 ? place : NULL;
}

/* ids has room for WORD_IDS, however few there are. */
static inline void put_all(id_sink *sink, const uint32_t *ids, uint32_t count) {
  if (count <= WORD_IDS) {
    word_put(sink, ids, count);
    return;
  }
  for (uint32_t i = 0; i < count; i++) id_put(sink, ids[i]);
}

/* Which of the run's words `at` are tokens? Their keys are the batch's next ones. */
static void find_tokens(const word_run *run, const uint8_t *at, size_t new_count, int64_t *known) {
  const piece_key *keys = run->w->batch->keys + run->w->batch->count;
  word_id ids[WORDS_AT_ONCE];
  uint8_t shorts[WORDS_AT_ONCE];
  int64_t found[WORDS_AT_ONCE];
  size_t count = 0;
  for (size_t n = 0; n < new_count; n++) {
    known[n] = KNOWN_UNSURE;
    if (run->bytes[at[n]] > WORD_BYTES || run->bytes[at[n]] <= 2) continue;
    shorts[count] = (uint8_t)n;
    ids[count++] = (word_id){keys[n].bytes[0], keys[n].bytes[1] & ~WORD_PART};
  }
  if (count == 0) return;
  known_find(run->w->known, ids, count, found);
  for (size_t i = 0; i < count; i++) known[shorts[i]] = found[i];
}

static viva_status add_new(const word_run *run, const uint8_t *at, size_t new_count, viva_error *error) {
  word_batch *batch = run->w->batch;
  int64_t known[WORDS_AT_ONCE];
  find_tokens(run, at, new_count, known);
  for (size_t n = 0; n < new_count; n++) {
    size_t bytes = run->bytes[at[n]];
    batch->kept[batch->count] = run->words && bytes <= LONG_WORD_BYTES ? (uint8_t)bytes : 0;
    TRY(word_batch_add(batch, run->pieces[at[n]], bytes, is_part(run, at[n]), known[n], error));
  }
  return VIVA_OK;
}

/* Which of the batch's words is the one of this key, which will be its `next` one if it is none? Names have a way of coming twice. */
static size_t find_twin(word_batch *batch, const piece_key *key, size_t next) {
  uint64_t hash = word_hash(key->bytes[0] ^ key->bytes[2], key->bytes[1] ^ key->bytes[3]);
  uint16_t *twin = &batch->held.twins[hash >> (64 - TWIN_BITS)];
  if (*twin < next && memcmp(&batch->keys[*twin], key, sizeof *key) == 0) return *twin;
  *twin = (uint16_t)next;
  return next;
}

static inline word_ids known_ids(held_words *held, const word *place) {
  if (place->high != 0) return (word_ids){place->ids, place->count};
  uint32_t *token = &held->tokens[held->count]; /* the run's own place does not stay */
  *token = place->ids[0];
  return (word_ids){token, 1};
}

/* Holds the words of a run from `from` on. *learnt: how many of them are new. */
static viva_status hold_rest(word_run *run, size_t from, size_t *learnt, viva_error *error) {
  word_batch *batch = run->w->batch;
  held_words *held = &batch->held;
  uint8_t at[WORDS_AT_ONCE];
  size_t new_count = 0;
  for (size_t i = from; i < run->count; i++, held->count++) {
    word_ids *ids = &held->words[held->count];
    const word *place = known_place(run, i);
    if (place) {
      *ids = known_ids(held, place);
      continue;
    }
    const size_t next = batch->count + new_count;
    *ids = (word_ids){NULL, (uint32_t)next};
    batch->keys[next] = (piece_key){{0, 0, 0, 0}}; /* of a longer one, which nothing is compared with */
    if (run->bytes[i] <= LONG_WORD_BYTES) {
      batch->keys[next] = key_of(run, i);
      const word_ids found = run->words ? find(run->w, &batch->keys[next], run->bytes[i]) : *ids;
      if (found.ids) *ids = found;
      if (run->words && !found.ids) ids->count = (uint32_t)find_twin(batch, &batch->keys[next], next);
    }
    at[new_count] = (uint8_t)i;
    new_count += !ids->ids && ids->count == next;
  }
  *learnt = new_count;
  return add_new(run, at, new_count, error);
}

/* Merges what is new, puts the ids of all that is held, and remembers. */
static viva_status settle(const word_encoder *w, viva_error *error) {
  word_batch *batch = w->batch;
  held_words *held = &batch->held;
  if (held->count == 0) return VIVA_OK;
  TRY(word_batch_merge(batch, error));
  id_sink sink = *w->sink; /* a copy that may stay in registers */
  for (size_t i = 0; i < held->count; i++) {
    const word_ids *ids = &held->words[i];
    const new_word *fresh = &batch->words[ids->ids ? 0 : ids->count];
    if (ids->ids)
      put_all(&sink, ids->ids, ids->count);
    else
      put_all(&sink, (const uint32_t *)fresh->ids, fresh->count);
  }
  w->sink->count = sink.count;
  for (size_t n = 0; n < batch->count; n++)
    if (batch->kept[n]) keep(w, &batch->keys[n], batch->kept[n], batch->words[n].ids, batch->words[n].count);
  word_batch_begin(batch, w);
  return VIVA_OK;
}

#define MERGED_AT_ONCE 256 /* parts */

/* Is it time to merge what is held? The more parts there are, the longer all lanes are busy. */
static int is_due(const word_batch *batch) {
  return batch->open_count == 0 || batch->open_count >= MERGED_AT_ONCE ||
         batch->held.count > HELD_MOST - WORDS_AT_ONCE || word_batch_is_full(batch);
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

/* Puts the ids of the first words that are remembered. Returns how many they are. */
static size_t put_known(const word_run *run) {
  size_t i = 0;
  id_sink *whole = run->w->sink, sink = *whole; /* a copy that may stay in registers */
  for (; i < run->count; i++) {
    const word *place = known_place(run, i);
    if (place) {
      word_put(&sink, place->ids, place->count);
      continue;
    }
    if (!run->words || run->bytes[i] > LONG_WORD_BYTES) break;
    piece_key key = key_of(run, i);
    word_ids found = find(run->w, &key, run->bytes[i]);
    if (!found.ids) break;
    put_all(&sink, found.ids, found.count);
  }
  whole->count = sink.count;
  return i;
}

viva_status words_look_up(word_run *run, viva_error *error) {
  const size_t count = run->count;
  word_batch *batch = run->w->batch;
  size_t learnt = 0, known = batch->held.count > 0 ? 0 : put_known(run);
  if (known < count) TRY(hold_rest(run, known, &learnt, error));
  count_new(run, count, learnt);
  run->count = 0;
  run->longer = 0;
  run->parts = 0;
  return batch->held.count > 0 && is_due(batch) ? settle(run->w, error) : VIVA_OK;
}

viva_status words_flush(word_run *run, viva_error *error) {
  if (run->count > 0) TRY(words_look_up(run, error));
  return settle(run->w, error);
}

void words_begin(word_run *run, const word_encoder *w, const uint8_t *limit) {
  run->w = w;
  run->words = w->memory->unasked || w->is_noise ? NULL : w->memory->words;
  run->limit = limit;
  run->most = w->blank.text ? BLANK_WORD_BYTES : GATHERED_BYTES;
  if (bpe_symbols_most(w->bpe, run->most) > WORD_IDS_MOST) run->most = BLANK_WORD_BYTES;
  if (bpe_symbols_most(w->bpe, run->most) > WORD_IDS_MOST) run->most = 0;
  run->count = 0;
  run->longer = 0;
  run->apart = run->near = 0;
  run->parts = 0;
  word_batch_begin(w->batch, w);
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
  TRY(words_flush(run, error));
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
  if (run->count == 0) count_new(run, 0, 0); /* where all pieces are long, the memory rests too */
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
