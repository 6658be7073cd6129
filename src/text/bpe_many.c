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
    if (lane_begin(b, lane, item->piece, item->bytes, q->most)) return item;
    take_ids(lane, item);
  }
  return NULL;
}

/* A piece in its lane. */
typedef struct job {
  bpe_lane *lane;
  bpe_item *item;
} job;

static inline __attribute__((always_inline)) void run(const bpe *b, queue q) {
  bpe_lane lanes[LANES];
  job merging[LANES], begun[LANES]; /* those begun wait for the ranks of their first pairs */
  size_t merging_count = 0, begun_count = 0;
  for (; begun_count < LANES; begun_count++) {
    begun[begun_count] = (job){&lanes[begun_count], start_next(b, &q, &lanes[begun_count])};
    if (!begun[begun_count].item) break;
  }
  while (merging_count + begun_count > 0) {
    for (size_t i = 0; i < merging_count; i++) lane_merge(b, merging[i].lane);
    for (size_t i = 0; i < merging_count; i++) lane_look(b, merging[i].lane);
    for (size_t i = 0; i < begun_count; i++) {
      lane_look_first(b, begun[i].lane);
      merging[merging_count++] = begun[i];
    }
    const size_t count = merging_count;
    merging_count = begun_count = 0;
    for (size_t i = 0; i < count; i++) {
      job j = merging[i];
      if (lane_pick(b, j.lane, q.most)) {
        merging[merging_count++] = j;
        continue;
      }
      take_ids(j.lane, j.item);
      j.item = start_next(b, &q, j.lane);
      if (j.item) begun[begun_count++] = j;
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
