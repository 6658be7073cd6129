/* backend/batch.h: one step, described once: a pass over the weights for any rows of any sequences.
 *
 * model/ lays all arrays into one block of the host's memory; step_begin brings the block to the device. Nothing in it
 * depends on the layer, so a loop on the CPU, a captured graph and one kernel for the whole step read the same description,
 * and a graph serves any sessions, positions and pages of a step of its number of rows.
 */
#ifndef BACKEND_BATCH_H
#define BACKEND_BATCH_H

#include "backend/kv.h"
#include "viva/types.h"

/* Consecutive rows of one sequence: row first_row + i is its token at position + i. Its pages are pages[first_page] on, the
 * first of them for positions 0 to KV_PAGE - 1. */
typedef struct batch_span {
  uint32_t first_row, rows;
  uint32_t out_row; /* where attention writes the first row's result: first_row, or its place among the kept rows */
  uint32_t position;
  uint32_t first_page;
} batch_span;

/* What a sequence's positions turn by: angles position · inv_freq[i], rounded to FP32; cos and sin times scaling. */
typedef struct batch_turn {
  const float *inv_freq; /* [pairs], the host's */
  size_t pairs;          /* rotary_dim / 2 */
  float scaling;
} batch_turn;

/* The scalars are the host's; the arrays are in the device's memory once step_begin has returned. */
typedef struct batch {
  size_t rows;                  /* at least 1 */
  size_t span_count;            /* sequences of this step, each once */
  size_t kept, kept_span_count; /* rows that want logits: the last ones of each span, or none */
  size_t longest;               /* positions that the row which looks back furthest sees */
  size_t singles;               /* spans of a row each */
  size_t longest_single;        /* positions that the row of one of them sees, at most */
  size_t shortest;              /* rows of the shortest other span; 0: there is none */
  kv_layout kv;
  const viva_token *tokens;     /* [rows] */
  const uint32_t *positions;    /* [rows] */
  const uint32_t *sequence;     /* [rows]: the row's span */
  const float *cos_sin;         /* [rows][rotary_dim]: cos of rotary_dim / 2 angles, then sin */
  const batch_span *spans;      /* [span_count]; together they cover all rows, in order */
  const batch_span *kept_spans; /* [kept_span_count]; in order */
  const uint32_t *kept_rows;    /* [kept], rising */
  void *const *pages;           /* dev [page_count]: the tables of pages, one after the other */
  size_t page_count;
  const void *block; /* all of the arrays */
  size_t block_bytes;
  const batch_turn *turns; /* NULL, or cos_sin has room only, for the backend to fill: the host's [span_count] */
} batch;

/* The numbers grow by what they say of a span: singles and those behind it, and longest. */
static inline void batch_count(batch *b, const batch_span *span) {
  const size_t seen = span->position + (size_t)span->rows;
  if (seen > b->longest) b->longest = seen;
  if (span->rows > 1) {
    if (!b->shortest || span->rows < b->shortest) b->shortest = span->rows;
    return;
  }
  b->singles++;
  if (seen > b->longest_single) b->longest_single = seen;
}

/* The same with every array at its offset in another block: for a backend that has copied the block. */
static inline batch batch_at(const batch *b, const void *block) {
  batch moved = *b;
  const char *from = (const char *)b->block, *to = (const char *)block;
#define BATCH_MOVE(type, member)                                                                                       \
  moved.member = (type)(const void *)(to + ((const char *)(const void *)b->member - from))
  BATCH_MOVE(const viva_token *, tokens);
  BATCH_MOVE(const uint32_t *, positions);
  BATCH_MOVE(const uint32_t *, sequence);
  BATCH_MOVE(const float *, cos_sin);
  BATCH_MOVE(const batch_span *, spans);
  BATCH_MOVE(const batch_span *, kept_spans);
  BATCH_MOVE(const uint32_t *, kept_rows);
  BATCH_MOVE(void *const *, pages);
#undef BATCH_MOVE
  moved.block = block;
  return moved;
}

#endif
