/* text/sampling_inner.h: the parts of sampling that tests look at. */
#ifndef TEXT_SAMPLING_INNER_H
#define TEXT_SAMPLING_INNER_H

#include <stddef.h>
#include <stdint.h>

/* Philox4x32 with 10 rounds (Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011). */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A logit and its id as one number: ascending keys are descending logits, ids ascending among equals. */
uint64_t logit_key(float logit, uint32_t id);
float key_logit(uint64_t key); /* -0 comes back as +0 */
static inline uint32_t key_id(uint64_t key) { return (uint32_t)key; }

/* Sorts n keys that lie in order of id. spare: n keys. */
void keys_sort(uint64_t *keys, uint64_t *spare, size_t n);

/* Writes the k smallest of n keys to best (0 < k ≤ n), sorted. */
void keys_select(const uint64_t *keys, size_t n, uint64_t *best, size_t k);

#endif
