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

enum { LANE_SHORT = 15, LANE_LONG = 31, LANE_MOST = 61 }; /* symbols of a piece */

#define LANES       20
#define LANE_BITS   6
#define LANE_KEYS   UINT32_C(0x00800000) /* the least normal float */
#define LANE_NONE   UINT32_C(0x7f000000) /* no pair, as all keys from here on */
#define LANE_PLACES (1 << LANE_BITS)
#define LANE_RANKS  ((size_t)1 << 24) /* merges of which the keys stay below LANE_NONE */

_Static_assert(LANE_MOST <= BPE_RANKED_MOST && BPE_SHORT_PIECE <= BPE_RANKED_MOST, "all pairs of a lane are ranked");

/* A pair that is being looked up. */
typedef struct lane_pair {
  uint64_t wanted; /* the slot's bits above the rank, if the pair is a merge */
  const uint64_t *slot;
  uint32_t at;
} lane_pair;

typedef struct bpe_lane {
  _Alignas(64) uint32_t keys[LANE_PLACES]; /* of the pair that begins at each position */
  uint32_t ids[LANE_MOST + 2];
  uint32_t count;  /* of symbols at first */
  uint32_t picked; /* key of the pair that is merged next */
  uint64_t begins; /* positions where a symbol begins, the two at the ends among them */
  lane_pair asked[2];
} bpe_lane;

/* May pieces of this vocabulary be merged in lanes? Each has no more symbols than bytes then. */
static inline int lane_usable(const bpe *b, size_t merge_count) {
  return b->complete && b->symbol_ranks && merge_count <= LANE_RANKS;
}

static inline uint32_t lane_key(uint32_t rank, uint32_t at) { return LANE_KEYS + (rank << LANE_BITS | at); }

/* The same for BPE_NO_RANK too, without a branch: at least LANE_NONE. */
static inline uint32_t lane_key_of_any(uint32_t rank, uint32_t at) {
  const uint32_t none = (LANE_NONE - LANE_KEYS) >> LANE_BITS;
  return lane_key(rank < none ? rank : none, at);
}

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

#define LANE_FILLED 8 /* places at a time */

_Static_assert(LANE_PLACES % LANE_FILLED == 0 && (LANE_SHORT + 1) % LANE_FILLED == 0,
               "places are filled by whole eights");

/* A piece of which each byte is a symbol. Returns the least key. */
static inline uint32_t lane_fill_bytes(const bpe *b, bpe_lane *lane, const uint8_t *piece, uint32_t count,
                                       uint32_t most) {
  uint8_t bytes[LANE_PLACES + 1] = {0}; /* behind a zero, so that one at each place has one before it */
  uint32_t least = LANE_NONE;
  memcpy(bytes + 1, piece, count);
  for (uint32_t from = 0; from <= most; from += LANE_FILLED) {
    for (uint32_t i = from; i < from + LANE_FILLED; i++) {
      uint32_t rank = from < count ? b->symbol_ranks[(size_t)bytes[i] << 8 | bytes[i + 1]] : BPE_NO_RANK;
      uint32_t key = lane_key_of_any(i - 1 < count - 1 ? rank : BPE_NO_RANK, i);
      lane->keys[i] = key;
      least = key < least ? key : least;
    }
  }
  for (uint32_t i = 1; i <= count; i++) lane->ids[i] = b->near_ids[bytes[i]];
  return least;
}

static inline uint32_t lane_fill(bpe_lane *lane, uint32_t count, const uint32_t *ranks, uint32_t most) {
  uint32_t least = LANE_NONE;
  for (uint32_t i = 0; i <= most; i++) {
    uint32_t key = i - 1 < count - 1 ? lane_key_of_any(ranks[i - 1], i) : LANE_NONE;
    lane->keys[i] = key;
    least = key < least ? key : least;
  }
  return least;
}

/* A pair was picked? What it becomes will be asked for soon. */
static inline int lane_picked(const bpe *b, bpe_lane *lane, uint32_t key) {
  lane->picked = key;
  if (key >= LANE_NONE) return 0;
  __builtin_prefetch(&b->results[(key - LANE_KEYS) >> LANE_BITS]);
  return 1;
}

/* Puts a piece into a lane: at most `most` bytes, LANE_SHORT, LANE_LONG or LANE_MOST; and picks its first pair. 0: there is
 * none. */
static inline int lane_start(const bpe *b, bpe_lane *lane, const uint8_t *piece, size_t bytes, uint32_t most) {
  uint32_t ranks[LANE_MOST], count = (uint32_t)bytes, least;
  if (b->rules.byte_level || lane_has_bytes(b, piece, bytes)) {
    least = lane_fill_bytes(b, lane, piece, count, most);
  } else {
    count = (uint32_t)bpe_symbols(b, piece, bytes, lane->ids + 1, NULL);
    bpe_first_ranks(b, piece, bytes, lane->ids + 1, count, ranks);
    least = lane_fill(lane, count, ranks, most);
  }
  lane->ids[0] = lane->ids[count + 1] = (uint32_t)b->vocab->count; /* which no merge has */
  for (uint32_t i = LANE_MOST + 1; most == LANE_MOST && i < LANE_PLACES; i++) lane->keys[i] = LANE_NONE;
  lane->count = count;
  lane->begins = ((uint64_t)1 << (count + 2)) - 1;
  return lane_picked(b, lane, least);
}

static inline void lane_ask(const bpe *b, lane_pair *asked, uint32_t left, uint32_t right, uint32_t at) {
  uint64_t pair = bpe_pair(b, left, right);
  asked->wanted = pair << (64 - 2 * b->id_bits);
  asked->slot = bpe_slot(b, bpe_pair_hash(b, pair));
  asked->at = at;
  __builtin_prefetch(asked->slot);
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

static inline uint32_t lane_find(const bpe *b, const lane_pair *asked) {
  uint64_t rank = *asked->slot ^ asked->wanted;
  uint32_t key = lane_key((uint32_t)rank, asked->at);
  return rank >> (64 - 2 * b->id_bits) ? LANE_NONE : key;
}

/* The keys of the pairs that were asked for. */
static inline void lane_look(const bpe *b, bpe_lane *lane) {
  for (int i = 0; i < 2; i++) lane->keys[lane->asked[i].at] = lane_find(b, &lane->asked[i]);
}

/* Where symbols begin that are left. */
static inline uint64_t lane_left(const bpe_lane *lane) {
  return lane->begins & (lane->begins - 1) & (((uint64_t)1 << (lane->count + 1)) - 1);
}

#endif
