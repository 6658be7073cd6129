/* Ordering logits. A float's bits become an unsigned number that grows as the float falls; the id stands below it. */
#include <string.h>

#include "text/sampling_inner.h"

uint64_t logit_key(float logit, uint32_t id) {
  uint32_t bits;
  logit += 0.0f; /* -0 becomes +0: they are equal, so the lower id goes first */
  memcpy(&bits, &logit, sizeof bits);
  /* Negative floats grow with their bits as the value falls; positive ones the other way round. */
  uint32_t falling = bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
  return (uint64_t)falling << 32 | id;
}

float key_logit(uint64_t key) {
  uint32_t falling = (uint32_t)(key >> 32), bits = falling & 0x80000000u ? falling : ~falling & 0x7fffffffu;
  float logit;
  memcpy(&logit, &bits, sizeof logit);
  return logit;
}

/* Radix sort of the upper 32 bits, 11 at a time; it keeps the order of ids among equals. */
#define DIGIT_BITS 11
#define DIGITS     (1u << DIGIT_BITS)

void keys_sort(uint64_t *keys, uint64_t *spare, size_t n) {
  uint64_t *from = keys, *to = spare;
  for (int shift = 32; shift < 64; shift += DIGIT_BITS) {
    size_t at[DIGITS] = {0};
    for (size_t i = 0; i < n; i++) at[from[i] >> shift & (DIGITS - 1)]++;
    if (n > 0 && at[from[0] >> shift & (DIGITS - 1)] == n) continue; /* all alike here */
    for (size_t digit = 0, sum = 0; digit < DIGITS; digit++) {
      size_t count = at[digit];
      at[digit] = sum;
      sum += count;
    }
    for (size_t i = 0; i < n; i++) to[at[from[i] >> shift & (DIGITS - 1)]++] = from[i];
    uint64_t *swap = from;
    from = to;
    to = swap;
  }
  if (from != keys) memcpy(keys, from, n * sizeof *keys);
}

/* Restores the heap (largest on top) below `at`. */
static void sift_down(uint64_t *heap, size_t at, size_t count) {
  uint64_t key = heap[at];
  for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && heap[child + 1] > heap[child]) child++;
    if (key >= heap[child]) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = key;
}

void keys_select(const uint64_t *keys, size_t n, uint64_t *best, size_t k) {
  memcpy(best, keys, k * sizeof *best);
  for (size_t i = k / 2; i-- > 0;) sift_down(best, i, k);
  for (size_t i = k; i < n; i++) {
    if (keys[i] >= best[0]) continue;
    best[0] = keys[i];
    sift_down(best, 0, k);
  }
  for (size_t end = k; end-- > 1;) {
    uint64_t swap = best[0];
    best[0] = best[end];
    best[end] = swap;
    sift_down(best, 0, end);
  }
}
