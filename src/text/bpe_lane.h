/* text/bpe_lane.h: merging some pieces side by side, step by step.
 *
 * A merge is a chain of looks into large tables: which pair comes first, what it becomes, what its two new pairs rank. One piece
 * alone waits for each; with several, one lane's lines of the cache come while the others go on, and hardly a branch depends on
 * the text. Each step of a lane has two halves, lane_pick and lane_look, between which the other lanes have their turn.
 *
 * Symbols lie at positions 1 .. count of a lane, between two that merge with nothing. A pair's key orders pairs by rank and then
 * from the left: (rank << 6 | position), on top of LANE_KEYS. Read as floats, keys are positive normal numbers in the same order,
 * of which SSE finds the least.
 */
#ifndef TEXT_BPE_LANE_H
#define TEXT_BPE_LANE_H

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "text/bpe.h"
#include "text/unicode.h"

enum { LANE_SHORT = 15, LANE_LONG = 31, LANE_MOST = 61 }; /* symbols of a piece */

#define LANES       20
#define LANE_BITS   6
#define LANE_KEYS   UINT32_C(0x00800000) /* the least normal float */
#define LANE_NONE   UINT32_C(0x7f000000) /* no pair, as all keys from here on */
#define LANE_PLACES (1 << LANE_BITS)

_Static_assert(LANE_KEYS + (BPE_NEAR_NONE << LANE_BITS) == LANE_NONE && BPE_NEAR_RANKS <= BPE_NEAR_NONE,
               "the keys of all ranks are such, and that of none is none");

/* A pair that is being looked up. */
typedef struct lane_pair {
  uint64_t wanted; /* the slot's bits above the rank, if the pair is a merge */
  const uint64_t *slot;
  uint32_t at;
} lane_pair;

typedef struct bpe_lane {
  _Alignas(64) uint32_t keys[LANE_PLACES]; /* of the pair that begins at each position */
  uint32_t ids[LANE_MOST + 2];
  uint32_t count;       /* of symbols at first */
  uint32_t picked;      /* key of the pair that is merged next */
  uint64_t begins;      /* positions where a symbol begins, the two at the ends among them */
  uint64_t asked_first; /* positions whose keys are slots yet (lane_begin) */
  lane_pair asked[2];
} bpe_lane;

/* May pieces of this vocabulary be merged in lanes? Each has no more symbols than bytes then. */
static inline int lane_usable(const bpe *b) { return b->complete && b->near_pairs; }

static inline uint32_t lane_key(uint32_t rank, uint32_t at) { return LANE_KEYS + (rank << LANE_BITS | at); }

/* The least of the keys of a piece of LANE_SHORT, LANE_LONG or LANE_MOST symbols. */
static inline uint32_t lane_least(const uint32_t *keys, uint32_t most) {
#ifdef __SSE2__
  const __m128i *at = (const __m128i *)(const void *)keys;
#define LANE_FOUR(i) _mm_castsi128_ps(_mm_load_si128(at + (i)))
  __m128 least = _mm_min_ps(_mm_min_ps(LANE_FOUR(0), LANE_FOUR(1)), _mm_min_ps(LANE_FOUR(2), LANE_FOUR(3)));
  for (uint32_t four = 4; four <= most / 4; four += 4) {
    __m128 more = _mm_min_ps(_mm_min_ps(LANE_FOUR(four), LANE_FOUR(four + 1)),
                             _mm_min_ps(LANE_FOUR(four + 2), LANE_FOUR(four + 3)));
    least = _mm_min_ps(least, more);
  }
#undef LANE_FOUR
  least = _mm_min_ps(least, _mm_shuffle_ps(least, least, _MM_SHUFFLE(1, 0, 3, 2)));
  least = _mm_min_ps(least, _mm_shuffle_ps(least, least, _MM_SHUFFLE(2, 3, 0, 1)));
  return (uint32_t)_mm_cvtsi128_si32(_mm_castps_si128(least));
#else
  uint32_t least = LANE_NONE;
  for (uint32_t i = 0; i <= most; i++) least = keys[i] < least ? keys[i] : least;
  return least;
#endif
}

/* Is each byte of the piece a symbol, whose ranks lie near? */
static inline int lane_has_bytes(const bpe *b, const uint8_t *piece, size_t bytes) {
  uint8_t all = 0;
  for (size_t i = 0; i < bytes; i++) all |= piece[i];
  return all < b->near_bytes;
}

/* A pair was picked? What it becomes will be asked for soon. */
static inline int lane_picked(const bpe *b, bpe_lane *lane, uint32_t key) {
  lane->picked = key;
  if (key >= LANE_NONE) return 0;
  __builtin_prefetch(&b->results[(key - LANE_KEYS) >> LANE_BITS]);
  return 1;
}

/* Asks for a pair of neighbours, the first of which begins at `at`. */
static inline void lane_ask(const bpe *b, lane_pair *asked, uint32_t left, uint32_t right, uint32_t at) {
  uint64_t pair = bpe_pair(b, left, right);
  asked->wanted = pair << (64 - 2 * b->id_bits);
  asked->slot = bpe_slot(b, bpe_pair_hash(b, pair));
  asked->at = at;
  __builtin_prefetch(asked->slot);
}

static inline uint32_t lane_find(const bpe *b, const lane_pair *asked) {
  uint64_t rank = *asked->slot ^ asked->wanted;
  uint32_t key = lane_key((uint32_t)rank, asked->at);
  return rank >> (64 - 2 * b->id_bits) ? LANE_NONE : key;
}

/* Where symbols begin that are left. */
static inline uint64_t lane_left(const bpe_lane *lane) {
  return lane->begins & (lane->begins - 1) & (((uint64_t)1 << (lane->count + 1)) - 1);
}

/* The symbols of a piece that has other characters, and the row of each (bpe.h). Returns how many there are. */
static inline uint32_t lane_characters(const bpe *b, const uint8_t *piece, size_t bytes, uint32_t *ids, uint8_t *rows) {
  uint32_t count = 0;
  for (size_t at = 0, n; at < bytes; at += n) {
    uint32_t code;
    n = unicode_read(piece + at, &code);
    const int is_near = code < b->near_bytes;
    const uint32_t id = is_near ? b->near_ids[code] : bpe_character(b, code);
    for (size_t i = 0; id == BPE_NO_ID && i < n; i++) {
      rows[count] = BPE_OTHER_ROW;
      ids[count++] = b->fallback_ids[piece[at + i]];
    }
    if (id == BPE_NO_ID) continue;
    const uint8_t far_row = code == BPE_BLANK_CODE ? BPE_BLANK_ROW : BPE_OTHER_ROW;
    rows[count] = is_near ? (uint8_t)code : far_row;
    ids[count++] = id;
  }
  return count;
}

/* The symbol at `at`, which merges with the next one, or the pair of both has a key, or neither. */
static inline uint64_t lane_put_near(bpe_lane *lane, uint32_t at, const bpe_near_pair *pair, uint32_t left,
                                     uint32_t right, uint64_t merged) {
  const uint32_t merges = (pair->rank < left) & (pair->rank <= right), was_merged = (uint32_t)(merged >> (at - 1)) & 1;
  const uint32_t key = lane_key(pair->rank, at), is_none = -(merges | was_merged), is_merged = -merges;
  lane->ids[at] ^= (lane->ids[at] ^ pair->merged) & is_merged;
  lane->keys[at] = (key & ~is_none) | (LANE_NONE & is_none);
  return merged | (uint64_t)merges << at;
}

/* Merges the pairs of first symbols that are merged whatever else a piece has. Returns where they begin. */
static inline uint64_t lane_put_pairs(const bpe *b, bpe_lane *lane, const uint8_t *rows) {
  const uint32_t count = lane->count;
  uint64_t merged = 0;
  if (count < 2) return 0;
  const bpe_near_pair *pair = bpe_near(b, rows[0], rows[1]);
  uint32_t left = BPE_NEAR_NONE;
  for (uint32_t i = 1; i + 1 < count; i++) {
    const bpe_near_pair *next = bpe_near(b, rows[i], rows[i + 1]);
    merged = lane_put_near(lane, i, pair, left, next->right, merged);
    left = pair->left;
    pair = next;
  }
  return lane_put_near(lane, count - 1, pair, left, BPE_NEAR_NONE, merged);
}

static inline void lane_clear_keys(bpe_lane *lane, uint32_t most) {
#ifdef __SSE2__
  __m128i none = _mm_set1_epi32((int)LANE_NONE), *at = (__m128i *)(void *)lane->keys;
  for (uint32_t i = 0; i <= most / 4; i += 4) {
    _mm_store_si128(at + i, none);
    _mm_store_si128(at + i + 1, none);
    _mm_store_si128(at + i + 2, none);
    _mm_store_si128(at + i + 3, none);
  }
#else
  for (uint32_t i = 0; i < (most < LANE_MOST ? most + 1 : LANE_PLACES); i++) lane->keys[i] = LANE_NONE;
#endif
}

/* Asks for the pairs of neighbours that are not near: `apart` are symbols of which both are not. */
static inline void lane_ask_first(const bpe *b, bpe_lane *lane, uint64_t apart) {
  const uint64_t symbols = lane_left(lane), last = (uint64_t)1 << (63 - __builtin_clzll(symbols));
  lane->asked_first = (apart | apart >> 1) & symbols & (last - 1);
  for (uint64_t left = lane->asked_first; left; left &= left - 1) {
    const uint32_t at = (uint32_t)__builtin_ctzll(left);
    const uint32_t next = at + 1 + (uint32_t)__builtin_ctzll(lane->begins >> (at + 1));
    const uint64_t hash = bpe_pair_hash(b, bpe_pair(b, lane->ids[at], lane->ids[next]));
    const size_t slot = bpe_pilot_slot(b, hash, b->pilots[bpe_pilot(b, hash)]);
    lane->keys[at] = (uint32_t)slot;
    __builtin_prefetch(&b->slots[slot]);
  }
}

/* The keys of what was asked for so. */
static inline void lane_look_first(const bpe *b, bpe_lane *lane) {
  for (uint64_t left = lane->asked_first; left; left &= left - 1) {
    const uint32_t at = (uint32_t)__builtin_ctzll(left);
    const uint32_t next = at + 1 + (uint32_t)__builtin_ctzll(lane->begins >> (at + 1));
    const uint64_t wanted = bpe_pair(b, lane->ids[at], lane->ids[next]) << (64 - 2 * b->id_bits);
    const lane_pair asked = {wanted, &b->slots[lane->keys[at]], at};
    lane->keys[at] = lane_find(b, &asked);
  }
}

/* Puts a piece of at most `most` symbols into a lane, and asks for pairs: lane_look_first is next, then lane_pick. 0: it has
 * nothing to merge. */
static inline __attribute__((always_inline)) int lane_begin(const bpe *b, bpe_lane *lane, const uint8_t *piece,
                                                            size_t bytes, uint32_t most) {
  uint8_t other_rows[LANE_MOST];
  const uint8_t *rows = piece;
  uint64_t apart = 0;
  lane->count = (uint32_t)bytes;
  if (b->rules.byte_level || lane_has_bytes(b, piece, bytes)) {
    for (uint32_t i = 0; i < bytes; i++) lane->ids[i + 1] = b->near_ids[piece[i]];
  } else {
    rows = other_rows;
    lane->count = lane_characters(b, piece, bytes, lane->ids + 1, other_rows);
    for (uint32_t i = 0; i < lane->count; i++) apart |= (uint64_t)(rows[i] == BPE_OTHER_ROW) << (i + 1);
  }
  lane->ids[0] = lane->ids[lane->count + 1] = (uint32_t)b->vocab->count; /* which no merge has */
  lane_clear_keys(lane, most);
  const uint64_t merged = lane_put_pairs(b, lane, rows);
  lane->begins = (((uint64_t)1 << (lane->count + 2)) - 1) & ~(merged << 1);
  lane_ask_first(b, lane, apart | merged);
  return lane->asked_first || lane_least(lane->keys, most) < LANE_NONE;
}

/* Picks the first pair. 0: there is none. */
static inline int lane_pick(const bpe *b, bpe_lane *lane, uint32_t most) {
  return lane_picked(b, lane, lane_least(lane->keys, most));
}

/* Merges it, and asks for the two pairs that are new. */
static inline void lane_merge(const bpe *b, bpe_lane *lane) {
  uint32_t key = lane->picked;
  uint32_t at = key & (LANE_PLACES - 1), id = b->results[(key - LANE_KEYS) >> LANE_BITS];
  uint64_t behind = lane->begins >> (at + 1);
  uint32_t gone = at + 1 + (uint32_t)__builtin_ctzll(behind);
  uint32_t next = at + 1 + (uint32_t)__builtin_ctzll(behind & (behind - 1));
  uint32_t before = 63 - (uint32_t)__builtin_clzll(lane->begins & (((uint64_t)1 << at) - 1));
  lane->begins ^= (uint64_t)1 << gone;
  lane->keys[gone] = LANE_NONE;
  lane->ids[at] = id;
  lane_ask(b, &lane->asked[0], id, lane->ids[next], at);
  lane_ask(b, &lane->asked[1], lane->ids[before], id, before);
}

/* The keys of the two pairs that lane_merge asked for. */
static inline void lane_look(const bpe *b, bpe_lane *lane) {
  for (int i = 0; i < 2; i++) lane->keys[lane->asked[i].at] = lane_find(b, &lane->asked[i]);
}

#endif
