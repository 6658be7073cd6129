/* model/step_batch.c: a pass's description, in one block of the host's memory. */
#include "model/step.h"

#include <string.h>

#define PART_ALIGN 64 /* of each array in the block */

static size_t padded(size_t bytes) { return (bytes + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN; }

#define TURNS_ROWS   8   /* of a sequence, on average, if the device is to make the angles: each sequence is a launch */
#define TURNS_ROTARY 256 /* dimensions */

/* Where the arrays lie, for so much room. */
typedef struct batch_places {
  size_t positions, sequence, cos_sin, spans, kept_spans, kept_rows, pages, turns, end; /* tokens: 0 */
} batch_places;

static batch_places places_of(batch_room room, size_t rotary_dim) {
  const size_t numbers = padded(room.rows * sizeof(uint32_t)), spans = padded(room.spans * sizeof(batch_span));
  batch_places p = {.positions = numbers};
  p.sequence = p.positions + numbers;
  p.kept_rows = p.sequence + numbers;
  p.spans = p.kept_rows + numbers;
  p.kept_spans = p.spans + spans;
  p.pages = p.kept_spans + spans;
  p.turns = p.pages + padded(room.pages * sizeof(void *));
  p.cos_sin = p.turns + padded(room.spans * sizeof(batch_turn));
  p.end = p.cos_sin + padded(room.rows * rotary_dim * sizeof(float));
  return p;
}

size_t step_batch_bytes(batch_room room, size_t rotary_dim) { return places_of(room, rotary_dim).end; }

/* The arrays while they are written. */
typedef struct batch_arrays {
  viva_token *tokens;
  uint32_t *positions, *sequence, *kept_rows;
  batch_span *spans, *kept_spans;
  void **pages;
  batch_turn *turns;
  float *cos_sin;
} batch_arrays;

static batch_arrays arrays_of(const viva_model *m, const workspace *w) {
  const batch_places p = places_of(w->room, m->dec.rotary_dim);
  char *block = w->batch_host;
  return (batch_arrays){.tokens = (viva_token *)(void *)block,
                        .positions = (uint32_t *)(void *)(block + p.positions),
                        .sequence = (uint32_t *)(void *)(block + p.sequence),
                        .kept_rows = (uint32_t *)(void *)(block + p.kept_rows),
                        .spans = (batch_span *)(void *)(block + p.spans),
                        .kept_spans = (batch_span *)(void *)(block + p.kept_spans),
                        .pages = (void **)(void *)(block + p.pages),
                        .turns = (batch_turn *)(void *)(block + p.turns),
                        .cos_sin = (float *)(void *)(block + p.cos_sin)};
}

size_t step_kept(const step_part *part) {
  if (part->keep == STEP_ALL) return part->taken;
  return part->keep == STEP_LAST && part->taken && part->done + part->taken == part->count;
}

static void add_span(batch *b, const batch_arrays *a, const step_part *part, size_t rotary_dim) {
  const viva_session *s = part->session;
  const size_t rows = part->taken, kept = step_kept(part);
  const size_t position = s->position + part->done, pages = kv_pages_of(position + rows);
  const batch_span span = {.first_row = (uint32_t)b->rows,
                           .rows = (uint32_t)rows,
                           .out_row = (uint32_t)b->rows,
                           .position = (uint32_t)position,
                           .first_page = (uint32_t)b->page_count};
  for (size_t i = 0; i < rows; i++) {
    const size_t row = b->rows + i;
    a->tokens[row] = part->tokens[part->done + i];
    a->positions[row] = (uint32_t)(position + i);
    a->sequence[row] = (uint32_t)b->span_count;
    if (!b->turns) rope_row(&s->rope_angles, position + i, a->cos_sin + row * rotary_dim);
  }
  a->turns[b->span_count] = (batch_turn){
      .inv_freq = s->rope_angles.inv_freq, .pairs = s->rope_angles.pairs, .scaling = s->rope_angles.scaling};
  for (size_t i = 0; i < pages; i++) a->pages[b->page_count + i] = s->cache.pages[i]->dev;
  a->spans[b->span_count++] = span;
  if (kept) {
    const uint32_t skipped = (uint32_t)(rows - kept);
    a->kept_spans[b->kept_span_count++] = (batch_span){.first_row = span.first_row + skipped,
                                                       .rows = (uint32_t)kept,
                                                       .out_row = (uint32_t)b->kept,
                                                       .position = span.position + skipped,
                                                       .first_page = span.first_page};
    for (size_t i = 0; i < kept; i++) a->kept_rows[b->kept + i] = span.first_row + skipped + (uint32_t)i;
  }
  b->kept += kept;
  b->rows += rows;
  b->page_count += pages;
  batch_count(b, &span);
}

/* 1 when the device is to make the angles of these parts. */
static int device_turns(const viva_model *m, const step_part *parts, size_t count, size_t most_rows) {
  const rank_set *ranks = m->engine->ranks; /* of one kind */
  const backend *b = ranks ? ranks->each[0].b : m->engine->backend;
  const size_t least = b->ops->angle_rows, sequences = b->ops->angle_sequences;
  size_t rows = 0;
  if (!least || m->dec.rotary_dim > TURNS_ROTARY) return 0;
  for (size_t i = 0; i < count; i++) rows += parts[i].count - parts[i].done;
  if (sequences && rows == count && m->decode != VIVA_DECODE_PLAIN)
    return count >= sequences && count <= b->ops->decode_rows && count <= most_rows;
  if (rows > most_rows) rows = most_rows;
  return rows > least && rows / count >= TURNS_ROWS;
}

batch step_batch(const viva_model *m, workspace *w, step_part *parts, size_t count, size_t most_rows) {
  const batch_arrays a = arrays_of(m, w);
  batch b = {.kv = parts[0].session->cache.pool->layout,
             .tokens = a.tokens,
             .positions = a.positions,
             .sequence = a.sequence,
             .cos_sin = a.cos_sin,
             .spans = a.spans,
             .kept_spans = a.kept_spans,
             .kept_rows = a.kept_rows,
             .pages = a.pages,
             .turns = device_turns(m, parts, count, most_rows) ? a.turns : NULL,
             .block = w->batch_host};
  for (size_t i = 0; i < count; i++) {
    const size_t left = parts[i].count - parts[i].done, room = most_rows - b.rows;
    parts[i].taken = left < room ? left : room;
    if (parts[i].taken) add_span(&b, &a, &parts[i], m->dec.rotary_dim);
  }
  /* cos and sin lie last: what is not used of them need not travel. */
  const float *const end = b.turns ? a.cos_sin : a.cos_sin + b.rows * m->dec.rotary_dim;
  b.block_bytes = (size_t)((const char *)(const void *)end - (const char *)b.block);
  return b;
}

/* What of a span lies in rows [first, end), counted from first. */
static batch_span span_part(batch_span s, size_t first, size_t end) {
  const size_t from = s.first_row > first ? s.first_row : first;
  const size_t to = s.first_row + s.rows < end ? s.first_row + s.rows : end;
  return (batch_span){.first_row = (uint32_t)(from - first),
                      .rows = (uint32_t)(to - from),
                      .out_row = (uint32_t)(from - first),
                      .position = s.position + (uint32_t)(from - s.first_row),
                      .first_page = s.first_page};
}

batch step_batch_part(const batch *whole, size_t rotary_dim, size_t first, size_t rows, void *block) {
  memcpy(block, whole->block, whole->block_bytes);
  batch b = batch_at(whole, block);
  const size_t left = b.sequence[first];
  batch_span *spans = (batch_span *)(uintptr_t)b.spans, *kept_spans = (batch_span *)(uintptr_t)b.kept_spans;
  uint32_t *sequence = (uint32_t *)(uintptr_t)b.sequence, *kept_rows = (uint32_t *)(uintptr_t)b.kept_rows;
  b.rows = rows;
  b.span_count = b.sequence[first + rows - 1] - left + 1;
  b.longest = b.singles = b.longest_single = b.shortest = 0;
  for (size_t i = left; i < left + b.span_count; i++) {
    spans[i] = span_part(spans[i], first, first + rows);
    batch_count(&b, &spans[i]);
  }
  for (size_t r = first; r < first + rows; r++) sequence[r] -= (uint32_t)left;
  if (b.kept && kept_rows[0] >= first + rows) b.kept = b.kept_span_count = 0;
  for (size_t i = 0; i < b.kept; i++) kept_rows[i] -= (uint32_t)first;
  for (size_t i = 0; i < b.kept_span_count; i++) kept_spans[i].first_row -= (uint32_t)first;
  b.tokens += first;
  b.positions += first;
  b.sequence += first;
  b.cos_sin += first * rotary_dim;
  b.spans += left;
  if (b.turns) b.turns += left;
  return b;
}
