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

#include "text/bpe.h"

enum { LANE_SHORT = 15, LANE_LONG = 31, LANE_MOST = 61 }; /* symbols of a piece */

#define LANES       20
#define LANE_BITS   6
#define LANE_KEYS   UINT32_C(0x00800000) /* the least normal float */
#define LANE_NONE   UINT32_C(0x7f000000)
#define LANE_PLACES (1 << LANE_BITS)
#define LANE_RANKS  ((size_t)1 << 24) /* merges of which the keys stay below LANE_NONE */

_Static_assert(LANE_MOST <= BPE_RANKED_MOST && BPE_SHORT_PIECE <= BPE_RANKED_MOST, "all pairs of a lane are ranked");

/* A pair that is being looked up. */
typedef struct lane_pair {
  uint64_t pair;
  const uint64_t *line;
  uint32_t at;
} lane_pair;

typedef struct bpe_lane {
  _Alignas(64) uint32_t keys[LANE_PLACES]; /* of the pair that begins at each position */
  uint32_t ids[LANE_MOST + 2];
  uint32_t count;  /* of symbols at first */
  uint64_t begins; /* positions where a symbol begins, the two at the ends among them */
  lane_pair asked[2];
} bpe_lane;

/* May pieces of this vocabulary be merged in lanes? Each has no more symbols than bytes then. */
static inline int lane_usable(const bpe *b, size_t merge_count) {
  return b->complete && b->symbol_ranks && merge_count <= LANE_RANKS;
}

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

/* A piece of which each byte is a symbol: all places are filled alike, whatever its length. */
static inline void lane_fill_bytes(const bpe *b, bpe_lane *lane, const uint8_t *piece, uint32_t count, uint32_t most) {
  uint8_t bytes[LANE_MOST + 2] = {0};
  memcpy(bytes, piece, count);
  for (uint32_t i = 1; i <= most; i++) {
    uint32_t rank = b->symbol_ranks[(size_t)bytes[i - 1] << 8 | bytes[i]];
    lane->ids[i] = b->near_ids[bytes[i - 1]];
    lane->keys[i] = i >= count || rank == BPE_NO_RANK ? LANE_NONE : lane_key(rank, i);
  }
}

static inline void lane_fill(bpe_lane *lane, uint32_t count, const uint32_t *ranks, uint32_t most) {
  for (uint32_t i = 1; i <= most; i++)
    lane->keys[i] = i >= count || ranks[i - 1] == BPE_NO_RANK ? LANE_NONE : lane_key(ranks[i - 1], i);
}

/* Puts a piece into a lane: at most `most` bytes, LANE_SHORT, LANE_LONG or LANE_MOST. */
static inline void lane_start(const bpe *b, bpe_lane *lane, const uint8_t *piece, size_t bytes, uint32_t most) {
  uint32_t ranks[LANE_MOST], count = (uint32_t)bytes;
  if (b->rules.byte_level || lane_has_bytes(b, piece, bytes)) {
    lane_fill_bytes(b, lane, piece, count, most);
  } else {
    count = (uint32_t)bpe_symbols(b, piece, bytes, lane->ids + 1, NULL);
    bpe_first_ranks(b, piece, bytes, lane->ids + 1, count, ranks);
    lane_fill(lane, count, ranks, most);
  }
  lane->ids[0] = lane->ids[count + 1] = (uint32_t)b->vocab->count; /* which no merge has */
  lane->keys[0] = LANE_NONE;
  for (uint32_t i = LANE_MOST + 1; most == LANE_MOST && i < LANE_PLACES; i++) lane->keys[i] = LANE_NONE;
  lane->count = count;
  lane->begins = ((uint64_t)1 << (count + 2)) - 1;
}

static inline void lane_ask(const bpe *b, lane_pair *asked, uint32_t left, uint32_t right, uint32_t at) {
  asked->pair = bpe_pair(b, left, right);
  asked->line = b->slots + bpe_merge_line(b, bpe_pair_hash(b, asked->pair)) * BPE_LINE;
  asked->at = at;
  __builtin_prefetch(asked->line);
}

/* Merges the first pair, and asks for the two that are new. 0: there is none. */
static inline int lane_pick(const bpe *b, bpe_lane *lane, uint32_t most) {
  uint32_t key = lane_least(lane->keys, most);
  if (key == LANE_NONE) return 0;
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
  return 1;
}

static inline uint32_t lane_find(const bpe *b, const lane_pair *asked) {
  const uint32_t rank_bits = 64 - 2 * b->id_bits;
  const uint64_t id_mask = ((uint64_t)1 << b->id_bits) - 1;
  uint32_t i = bpe_line_find(asked->line, asked->pair, rank_bits);
  uint32_t rank = (uint32_t)(asked->line[i & (BPE_LINE - 1)] & (((uint64_t)1 << rank_bits) - 1));
  if (__builtin_expect(i == BPE_LINE && asked->line[BPE_LINE - 1] != BPE_FREE, 0)) /* it may be in the line behind */
    rank = bpe_rank(b, (uint32_t)(asked->pair >> b->id_bits), (uint32_t)(asked->pair & id_mask));
  else if (i == BPE_LINE)
    rank = BPE_NO_RANK;
  if (rank == BPE_NO_RANK) return LANE_NONE;
  __builtin_prefetch(&b->results[rank]);
  return lane_key(rank, asked->at);
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
