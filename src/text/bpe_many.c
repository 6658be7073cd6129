#include "text/bpe_many.h"

#include "text/bpe_lane.h"

/* Pieces of one kind, which take one lane after the other. */
typedef struct queue {
  bpe_item *items;
  size_t next, count;
  uint32_t most; /* symbols: LANE_SHORT, LANE_LONG or LANE_MOST */
} queue;

static void take_ids(const bpe_lane *lane, bpe_item *item) {
  uint32_t count = 0;
  for (uint64_t left = lane_left(lane); left; left &= left - 1)
    item->ids[count++] = (viva_token)lane->ids[__builtin_ctzll(left)];
  item->count = count;
}

/* How many symbols a lane has for a piece. */
static inline uint32_t room_for(const bpe_item *item) {
  if (item->bytes <= LANE_SHORT) return LANE_SHORT;
  return item->bytes <= LANE_LONG ? LANE_LONG : LANE_MOST;
}

/* The next piece of the queue that has something to merge goes into a lane; what has nothing is done at once. NULL: none is left. */
static inline bpe_item *start_next(const bpe *b, queue *q, bpe_lane *lane) {
  while (q->next < q->count) {
    bpe_item *item = &q->items[q->next++];
    if (item->bytes == 0 || room_for(item) != q->most) continue;
    if (lane_start(b, lane, item->piece, item->bytes, q->most)) return item;
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
    for (size_t i = 0; i < count; i++) lane_merge(b, busy[i]);
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
  size_t longs = 0, mosts = 0;
  for (size_t i = 0; i < count; i++) {
    longs += room_for(&items[i]) == LANE_LONG;
    mosts += room_for(&items[i]) == LANE_MOST;
  }
  if (longs + mosts < count) run(b, (queue){items, 0, count, LANE_SHORT});
  if (longs) run(b, (queue){items, 0, count, LANE_LONG});
  if (mosts) run(b, (queue){items, 0, count, LANE_MOST});
}
