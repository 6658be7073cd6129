#include "text/bpe_many.h"

#include "text/bpe_lane.h"

/* Pieces of one kind, which take one lane after the other. */
typedef struct queue {
  bpe_item *items;
  size_t next, count;
  uint32_t most; /* symbols: LANE_SHORT or LANE_MOST */
} queue;

static void take_ids(const bpe_lane *lane, bpe_item *item) {
  uint32_t count = 0;
  for (uint64_t left = lane_left(lane); left; left &= left - 1)
    item->ids[count++] = (viva_token)lane->ids[__builtin_ctzll(left)];
  item->count = count;
}

static inline int is_short(const bpe_item *item) { return item->bytes <= LANE_SHORT; }

/* The next piece of the queue that has something to merge goes into a lane; what has nothing is done at once. NULL: none is left. */
static inline bpe_item *start_next(const bpe *b, queue *q, bpe_lane *lane) {
  while (q->next < q->count) {
    bpe_item *item = &q->items[q->next++];
    if (item->bytes == 0 || is_short(item) != (q->most == LANE_SHORT)) continue;
    lane_start(b, lane, item->piece, item->bytes, q->most);
    if (lane_pick(b, lane, q->most)) return item;
    take_ids(lane, item);
  }
  return NULL;
}

static inline __attribute__((always_inline)) void run(const bpe *b, queue q) {
  bpe_lane lanes[LANES], *busy[LANES];
  bpe_item *items[LANES];
  size_t count = 0;
  for (; count < LANES && (items[count] = start_next(b, &q, &lanes[count])); count++) busy[count] = &lanes[count];
  while (count > 0) {
    for (size_t i = 0; i < count; i++) lane_look(b, busy[i]);
    for (size_t i = 0; i < count; i++) {
      if (lane_pick(b, busy[i], q.most)) continue;
      take_ids(busy[i], items[i]);
      items[i] = start_next(b, &q, busy[i]);
      if (items[i]) continue;
      count--;
      busy[i] = busy[count];
      items[i] = items[count];
      i--;
    }
  }
}

void bpe_merge_many(const bpe *b, bpe_item *items, size_t count) {
  size_t longer = 0;
  for (size_t i = 0; i < count; i++) longer += !is_short(&items[i]);
  if (longer < count) run(b, (queue){items, 0, count, LANE_SHORT});
  if (longer) run(b, (queue){items, 0, count, LANE_MOST});
}
