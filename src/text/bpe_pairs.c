#include "text/bpe_pairs.h"

#include <string.h>

#include "base/secret.h"

#define PAIRS_MOST 48  /* of a pilot; more of random ones are as good as impossible, and another key is tried */
#define PILOTS     256 /* that are tried */
#define KEYS_TRIED 64

/* A slot to be, with the hash of its pair. */
typedef struct new_pair {
  uint64_t hash, slot;
} new_pair;

/* The table while it is built. */
typedef struct pairs_build {
  bpe *b;
  const merge_ids *merges;
  size_t merge_count;
  new_pair *pairs; /* [merge_count] by pilot, in order of rank */
  uint32_t *ends;  /* [pilot_count + 1] where the pairs of the pilot before each end */
  uint32_t *order; /* [pilot_count] those of the most pairs first */
  uint8_t *counts; /* [pilot_count] of pairs */
  uint64_t *taken; /* bits of slots */
} pairs_build;

/* A slot has room for both ids and the rank: with a million tokens for 16 million merges. */
static viva_status fit_slots(bpe *b, size_t merge_count, viva_error *error) {
  b->id_bits = 16; /* then a rank has at most 32 bits */
  while (b->vocab->count >> b->id_bits) b->id_bits++;
  b->slot_count = (uint64_t)merge_count + merge_count / 4 + 16;
  b->pilot_count = (uint64_t)merge_count / 2 + 1;
  b->filter_level = BPE_FILTER_LOWEST;
  while (b->filter_level < 31 && (uint64_t)1 << b->filter_level < merge_count) b->filter_level++;
  if (b->id_bits <= 24 && merge_count < INT32_MAX && (uint64_t)merge_count + 1 < (uint64_t)1 << (64 - 2 * b->id_bits))
    return VIVA_OK;
  return error_set(error, VIVA_E_LIMIT, "%zu merges are too many for %zu tokens", merge_count, b->vocab->count);
}

static inline uint64_t merge_hash(const bpe *b, const merge_ids *merge) {
  return bpe_pair_hash(b, bpe_pair(b, merge->left, merge->right));
}

/* Sorts the pairs by pilot; those of one stay in order. */
static void sort_pairs(pairs_build *p) {
  const bpe *b = p->b;
  const uint32_t rank_bits = 64 - 2 * b->id_bits;
  memset(p->ends, 0, ((size_t)b->pilot_count + 1) * sizeof *p->ends);
  for (size_t i = 0; i < p->merge_count; i++) p->ends[bpe_pilot(b, merge_hash(b, &p->merges[i])) + 1]++;
  for (size_t i = 1; i <= b->pilot_count; i++) p->ends[i] += p->ends[i - 1];
  for (size_t i = 0; i < p->merge_count; i++) {
    const merge_ids *merge = &p->merges[i];
    uint64_t hash = merge_hash(b, merge), pair = bpe_pair(b, merge->left, merge->right);
    p->pairs[p->ends[bpe_pilot(b, hash)]++] = (new_pair){hash, pair << rank_bits | i};
  }
}

/* Of a pair given twice the later rank counts. Returns how many are left of pairs[0 .. count); more than PAIRS_MOST: too many. */
static size_t drop_doubles(bpe *b, new_pair *pairs, size_t count) {
  const uint32_t rank_bits = 64 - 2 * b->id_bits;
  size_t left = 0;
  for (size_t i = 0; i < count; i++) {
    size_t same = 0;
    while (same < left && (pairs[same].slot ^ pairs[i].slot) >> rank_bits) same++;
    if (same > PAIRS_MOST) return same;
    b->has_doubles |= same < left;
    pairs[same] = pairs[i];
    left += same == left;
  }
  return left;
}

/* Fills in counts and order. 0: another key is needed. */
static int order_pilots(pairs_build *p) {
  uint32_t begins[PAIRS_MOST + 2] = {0};
  const size_t pilots = (size_t)p->b->pilot_count;
  for (size_t i = 0, begin = 0; i < pilots; begin = p->ends[i++]) {
    size_t count = drop_doubles(p->b, p->pairs + begin, p->ends[i] - begin);
    if (count > PAIRS_MOST) return 0;
    p->counts[i] = (uint8_t)count;
    begins[PAIRS_MOST - count + 1]++;
  }
  for (size_t i = 1; i <= PAIRS_MOST; i++) begins[i] += begins[i - 1];
  for (size_t i = 0; i < pilots; i++) p->order[begins[PAIRS_MOST - p->counts[i]]++] = (uint32_t)i;
  return 1;
}

/* Do all pairs come to free slots by this pilot? They are taken then. */
static int try_pilot(pairs_build *p, const new_pair *pairs, size_t count, uint32_t pilot) {
  size_t slots[PAIRS_MOST], i = 0;
  for (; i < count; i++) {
    slots[i] = bpe_pilot_slot(p->b, pairs[i].hash, pilot);
    uint64_t bit = (uint64_t)1 << slots[i] % 64;
    if (p->taken[slots[i] / 64] & bit) break;
    p->taken[slots[i] / 64] |= bit;
  }
  const int fits = i == count;
  if (!fits)
    while (i-- > 0) p->taken[slots[i] / 64] &= ~((uint64_t)1 << slots[i] % 64);
  for (size_t k = 0; fits && k < count; k++) p->b->slots[slots[k]] = pairs[k].slot;
  return fits;
}

/* 0: another key is needed. */
static int place_pairs(pairs_build *p) {
  bpe *b = p->b;
  memset(p->taken, 0, ((size_t)b->slot_count / 64 + 1) * sizeof *p->taken);
  memset(b->slots, 0xff, (size_t)b->slot_count * sizeof *b->slots); /* BPE_FREE */
  memset(b->pilots, 0, (size_t)b->pilot_count);
  for (size_t i = 0; i < b->pilot_count && p->counts[p->order[i]] > 0; i++) {
    uint32_t at = p->order[i], pilot = 0;
    const new_pair *pairs = p->pairs + (at > 0 ? p->ends[at - 1] : 0);
    while (pilot < PILOTS && !try_pilot(p, pairs, p->counts[at], pilot)) pilot++;
    if (pilot == PILOTS) return 0;
    b->pilots[at] = (uint8_t)pilot;
  }
  return 1;
}

static viva_status build(pairs_build *p, viva_error *error) {
  for (int i = 0; i < KEYS_TRIED; i++) {
    secret_key(p->b->key);
    p->b->key[1] |= 1;
    sort_pairs(p);
    if (order_pilots(p) && place_pairs(p)) return VIVA_OK;
  }
  return error_set(error, VIVA_E_LIMIT, "no table of %zu merges was found", p->merge_count);
}

static void put_filter(bpe *b, const merge_ids *merges, size_t merge_count) {
  for (size_t i = 0; i < merge_count; i++) {
    uint64_t hash = merge_hash(b, &merges[i]);
    for (uint32_t level = bpe_filter_level(b, (uint32_t)i + 1); level <= b->filter_level; level++) {
      size_t bit = bpe_filter_bit(hash, level);
      b->filter[bit / 64] |= (uint64_t)1 << bit % 64;
    }
  }
}

viva_status bpe_pairs_create(mem *m, bpe *b, const merge_ids *merges, size_t merge_count, viva_error *error) {
  TRY(fit_slots(b, merge_count, error));
  const size_t slots = (size_t)b->slot_count, pilots = (size_t)b->pilot_count;
  pairs_build p = {.b = b, .merges = merges, .merge_count = merge_count};
  b->slots = mem_alloc(m, slots * sizeof *b->slots); /* of fewer merges than INT32_MAX */
  b->pilots = mem_alloc(m, pilots);
  b->filter = mem_array(m, ((size_t)8 << b->filter_level) / 64, sizeof *b->filter);
  b->results = mem_alloc(m, merge_count * sizeof *b->results);
  p.pairs = mem_alloc(m, merge_count * sizeof *p.pairs);
  p.ends = mem_alloc(m, (pilots + 1) * sizeof *p.ends);
  p.order = mem_alloc(m, pilots * sizeof *p.order);
  p.counts = mem_alloc(m, pilots);
  p.taken = mem_alloc(m, (slots / 64 + 1) * sizeof *p.taken);
  viva_status status = VIVA_OK;
  if (!b->slots || !b->pilots || !b->filter || !b->results || !p.pairs || !p.ends || !p.order || !p.counts || !p.taken)
    status = error_set(error, VIVA_E_MEMORY, "no memory for a table of %zu merges", merge_count);
  if (status == VIVA_OK) status = build(&p, error);
  mem_free(m, p.pairs);
  mem_free(m, p.ends);
  mem_free(m, p.order);
  mem_free(m, p.counts);
  mem_free(m, p.taken);
  if (status != VIVA_OK) return status;
  for (size_t i = 0; i < merge_count; i++) b->results[i] = merges[i].result;
  put_filter(b, merges, merge_count);
  return VIVA_OK;
}

void bpe_pairs_destroy(mem *m, bpe *b) {
  mem_free(m, b->slots);
  mem_free(m, b->pilots);
  mem_free(m, b->filter);
  mem_free(m, b->results);
  b->slots = NULL;
  b->pilots = NULL;
  b->filter = NULL;
  b->results = NULL;
}
