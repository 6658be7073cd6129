/* tests/lib/paged_kit.h: batches for tests of the CPU's attention: pages of guarded memory, whose unused places are NaN. */
#ifndef TESTS_PAGED_KIT_H
#define TESTS_PAGED_KIT_H

#include "lib/cpu_kit.h"

enum { KIT_SPANS = 4 };

typedef struct paged_kit {
  batch b; /* its arrays are the kit's */
  head_shape h;
  size_t layers;
  batch_span spans[KIT_SPANS];
  uint32_t *positions, *sequence; /* [b.rows] */
  void **pages;
} paged_kit;

typedef struct kit_range {
  size_t position, rows;
} kit_range;

/* Sequences whose rows follow each other in the batch. cos_sin and tokens are NULL. */
paged_kit paged_kit_make(head_shape h, kv_type type, size_t layers, const kit_range *ranges, size_t count);
void paged_kit_free(paged_kit *k);

typedef enum kit_side { KIT_KEY, KIT_VALUE } kit_side;

/* One number of a cache: of layer 0's kv head `head` at `position`. Set rounds to the type; FP8 has scales of 1, 0.7 and 0.3
 * in turn. */
double paged_kit_get(const paged_kit *k, size_t span, kit_side side, size_t head, size_t position, size_t d);
void paged_kit_set(const paged_kit *k, size_t span, kit_side side, size_t head, size_t position, size_t d, float value);

/* Uniform numbers in [-1, 1) at all positions that the rows see. */
void paged_kit_fill(const paged_kit *k, uint64_t *state);

#endif
