#include "text/bpe_stream.h"

#include <string.h>

#include "text/bpe_lane.h"
#include "text/bpe_tree.h"
#include "text/unicode.h"

#define PART_LEAST   64  /* bytes of a stream */
#define PART_MOST    512 /* the same */
#define MEETING      24  /* bytes that a stream goes on behind the begin of the next one */
#define DROPPED      2   /* tokens at the end of a window */
#define BACK         2   /* tokens that are taken back where two do not keep apart */
#define BACK_MOST    16  /* times */
#define HELD         16  /* tokens that the next round may still take back */
#define STRETCH      512 /* bytes of bpe_forward, and more */
#define STRETCH_MOST 16384
#define TAIL         64 /* bytes of a stretch that are dropped */
#define LONG_TOKENS  8  /* bytes a token, from which bpe_forward is faster */
#define RUN_TOKENS   3  /* the same in runs of something, where the same tokens are looked at again and again */
#define RUN_PERIOD   4  /* bytes */

#define PART_ROOM  (2 * PART_MOST + 2 * LANE_MOST + MEETING + HELD)
#define ROUND_ROOM (STRETCH_MOST + HELD) /* what LANES + 1 parts have fits, too */

/* Tokens one after the other, each of which keeps apart from the one before. */
typedef struct stream {
  size_t begin, goal;
  size_t count;
  uint32_t expected; /* the token behind them, as far as the last window knew; BPE_NO_ID: none */
  uint32_t backs;
  int is_behind; /* tokens that are put lie before the first */
  int failed;
  uint32_t ids[PART_ROOM];
  uint32_t ends[PART_ROOM]; /* in the piece */
} stream;

/* The tokens of a round, which begin with those that the round before held. */
typedef struct joined {
  size_t count;
  uint32_t ids[ROUND_ROOM];
  uint32_t ends[ROUND_ROOM];
} joined;

typedef struct bpe_streams {
  int are_long; /* the tokens of the last round: bpe_forward has the next, and this outlives a piece */
  stream streams[LANES];
  joined all;
  viva_token stretch[STRETCH_MOST];
} bpe_streams;

_Static_assert(ROUND_ROOM >= (LANES + 1) * PART_MOST + 2 * LANE_MOST + MEETING + HELD, "a round's tokens have room");

/* A piece on its way. */
typedef struct merging {
  const bpe *b;
  bpe_scratch *scratch;
  const uint8_t *piece;
  size_t bytes;
  bpe_streams *s;
  id_sink *sink;
} merging;

/* ---- windows ---- */

static size_t end_of(const stream *st) { return st->count ? st->ends[st->count - 1] : st->begin; }

/* Is a place inside of a character, where symbols are characters? No window begins there. */
static int is_inside(const merging *m, size_t at) {
  return !m->b->rules.byte_level && at < m->bytes && (m->piece[at] & 0xc0) == 0x80;
}

static size_t align(const merging *m, size_t at) {
  if (at >= m->bytes) return m->bytes;
  while (is_inside(m, at)) at--;
  return at;
}

static size_t window_end(const merging *m, size_t at) { return align(m, at + LANE_MOST); }

/* Where each of a window's symbols begins, and where the last one ends. */
static void symbol_places(const merging *m, size_t at, size_t end, size_t symbols, uint32_t *places) {
  uint32_t count = 0;
  if (symbols == end - at) {
    for (; at <= end; at++) places[count++] = (uint32_t)at;
    return;
  }
  while (at < end) {
    uint32_t code;
    size_t n = unicode_read(m->piece + at, &code);
    int is_one = code < 0x80 || bpe_character(m->b, code) != BPE_NO_ID;
    for (size_t i = 0; i < n; i += is_one ? n : 1) places[count++] = (uint32_t)(at + i);
    at += n;
  }
  places[count] = (uint32_t)end;
}

static viva_status keep_apart(const merging *m, size_t begin, size_t end, uint32_t left, uint32_t right, int *apart,
                              viva_error *error) {
  viva_token ids[3];
  id_sink sink = {ids, 3, 0, NULL};
  TRY(bpe_merge_stepwise(m->b, m->scratch, m->piece + begin, end - begin, &sink, error));
  *apart = sink.count == 2 && (uint32_t)ids[0] == left && (uint32_t)ids[1] == right;
  return VIVA_OK;
}

/* May a token that ends at `end` stand behind those that are there? */
static viva_status may_follow(const merging *m, const stream *st, uint32_t id, size_t end, int *may,
                              viva_error *error) {
  size_t n = st->count;
  const bpe_token *tokens = m->b->tree.tokens;
  /* What stands for a byte of a character merges with nothing. */
  *may = n == 0 || id == st->expected || tokens[id].bytes == 0 || tokens[st->ids[n - 1]].bytes == 0;
  if (*may) return VIVA_OK;
  return keep_apart(m, n > 1 ? st->ends[n - 2] : st->begin, end, st->ids[n - 1], id, may, error);
}

/* Takes some tokens back. What stands before a round's first is not known any more: none may be left then. */
static void take_back(const merging *m, stream *st) {
  size_t back = st->count < BACK ? st->count : BACK;
  st->count -= back;
  while (st->count > 0 && is_inside(m, end_of(st))) st->count--;
  st->expected = st->ids[st->count];
  st->failed = ++st->backs > BACK_MOST || (st->is_behind && st->count == 0);
}

/* A window is merged: keeps its tokens but for the last. */
static viva_status end_window(const merging *m, stream *st, const bpe_lane *lane, viva_error *error) {
  uint32_t places[LANE_MOST + 1], firsts[LANE_MOST + 1], count = 0;
  size_t at = end_of(st), end = window_end(m, at);
  symbol_places(m, at, end, lane->count, places);
  for (uint64_t left = lane_left(lane); left; left &= left - 1) firsts[count++] = (uint32_t)__builtin_ctzll(left);
  firsts[count] = lane->count + 1;
  uint32_t most = end == m->bytes ? count : count > DROPPED ? count - DROPPED : 0;
  while (most > 0 && is_inside(m, places[firsts[most] - 1])) most--;
  int may;
  TRY(may_follow(m, st, lane->ids[firsts[0]], places[firsts[1] - 1], &may, error));
  if (!may) {
    take_back(m, st);
    return VIVA_OK;
  }
  st->failed = most == 0;
  for (uint32_t i = 0; i < most; i++) {
    st->ids[st->count] = lane->ids[firsts[i]];
    st->ends[st->count++] = places[firsts[i + 1] - 1];
  }
  if (most > 0) st->expected = most < count ? lane->ids[firsts[most]] : BPE_NO_ID;
  return VIVA_OK;
}

/* Puts a window into a lane, and picks the first pair. 0: it has nothing to merge. */
static int start(const merging *m, bpe_lane *lane, size_t at) {
  if (!lane_begin(m->b, lane, m->piece + at, window_end(m, at) - at, LANE_MOST)) return 0;
  lane_look_first(m->b, lane);
  return lane_pick(m->b, lane, LANE_MOST);
}

/* Puts windows of a stream into its lane until one has a pair to merge. *goes_on 0: there is none, the stream has ended. */
static viva_status start_window(const merging *m, stream *st, bpe_lane *lane, int *goes_on, viva_error *error) {
  for (;;) {
    size_t at = end_of(st);
    *goes_on = !st->failed && at < st->goal;
    if (!*goes_on || start(m, lane, at)) return VIVA_OK;
    TRY(end_window(m, st, lane, error));
  }
}

/* The next pair of a stream is picked; at the end of a window, the first one of the next. *goes_on 0: the stream has ended. */
static inline viva_status step(const merging *m, stream *st, bpe_lane *lane, int *goes_on, viva_error *error) {
  *goes_on = lane_pick(m->b, lane, LANE_MOST);
  if (*goes_on) return VIVA_OK;
  TRY(end_window(m, st, lane, error));
  return start_window(m, st, lane, goes_on, error);
}

static viva_status run_streams(const merging *m, size_t count, viva_error *error) {
  bpe_lane lanes[LANES];
  uint8_t busy[LANES];
  size_t n = 0;
  int goes_on;
  for (size_t i = 0; i < count; i++) {
    TRY(start_window(m, &m->s->streams[i], &lanes[i], &goes_on, error));
    if (goes_on) busy[n++] = (uint8_t)i;
  }
  while (n > 0) {
    for (size_t i = 0; i < n; i++) lane_merge(m->b, &lanes[busy[i]]);
    for (size_t i = 0; i < n; i++) lane_look(m->b, &lanes[busy[i]]);
    for (size_t i = 0; i < n; i++) {
      TRY(step(m, &m->s->streams[busy[i]], &lanes[busy[i]], &goes_on, error));
      if (!goes_on) busy[i--] = busy[--n];
    }
  }
  return VIVA_OK;
}

/* ---- rounds ---- */

/* Begins streams behind what stream 0 has. Returns how many. */
static size_t begin_streams(const merging *m) {
  stream *all = m->s->streams;
  size_t from = end_of(&all[0]), left = m->bytes - from, count = 1, part = left / LANES;
  part = part < PART_LEAST ? PART_LEAST : part > PART_MOST ? PART_MOST : part;
  for (; count < LANES && left > (count + 1) * part; count++) {
    all[count].begin = align(m, from + count * part);
    all[count].count = 0;
    all[count].expected = BPE_NO_ID;
    all[count].is_behind = 0;
    all[count - 1].goal = all[count].begin + MEETING;
  }
  all[count - 1].goal = left <= (count + 1) * part ? m->bytes : from + count * part;
  for (size_t i = 0; i < count; i++) {
    all[i].failed = 0;
    all[i].backs = 0;
  }
  return count;
}

static void add(joined *all, const stream *st, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    all->ids[all->count] = st->ids[i];
    all->ends[all->count++] = st->ends[i];
  }
}

/* The first token that both have. *left: how many of a's tokens lie before it and with it; *right: of b's. 0: there is none. */
static int meet(const stream *a, const stream *b, size_t *left, size_t *right) {
  size_t i = a->count, j = 0;
  while (i > 0 && a->ends[i - 1] > b->begin) i--;
  while (i < a->count && j < b->count) {
    uint32_t a_begin = i ? a->ends[i - 1] : (uint32_t)a->begin, b_begin = j ? b->ends[j - 1] : (uint32_t)b->begin;
    uint32_t a_end = a->ends[i], b_end = b->ends[j];
    if (a_begin == b_begin && a_end == b_end && a->ids[i] == b->ids[j]) {
      *left = i + 1;
      *right = j + 1;
      return 1;
    }
    i += a_end <= b_end;
    j += b_end <= a_end;
  }
  return 0;
}

/* Joins the streams of a round, as far as they meet. 1: all did. */
static int join(const merging *m, size_t count) {
  const stream *streams = m->s->streams;
  size_t from = 0, left, right, i = 0;
  for (; i + 1 < count && !streams[i].failed && meet(&streams[i], &streams[i + 1], &left, &right); i++) {
    add(&m->s->all, &streams[i], from, left);
    from = right;
  }
  add(&m->s->all, &streams[i], from, streams[i].count);
  m->s->streams[0].expected = streams[i].expected;
  return i + 1 == count && !streams[i].failed;
}

/* Are most bytes from begin to end such as were there shortly before? */
static int has_runs(const merging *m, size_t begin, size_t end) {
  size_t again[RUN_PERIOD] = {0};
  for (size_t i = begin + RUN_PERIOD; i < end; i++)
    for (size_t back = 1; back <= RUN_PERIOD; back++) again[back - 1] += m->piece[i] == m->piece[i - back];
  size_t most = 0;
  for (size_t back = 0; back < RUN_PERIOD; back++) most = again[back] > most ? again[back] : most;
  return most * 2 > end - begin;
}

#define LOOKED_AT 256 /* bytes of a round */

/* Notes how long the tokens of a round were. */
static void note_length(const merging *m) {
  const joined *all = &m->s->all;
  if (all->count == 0) return;
  size_t begin = m->s->streams[0].begin, end = all->ends[all->count - 1], bytes = end - begin;
  size_t looked = bytes < LOOKED_AT ? bytes : LOOKED_AT;
  m->s->are_long =
      bytes >= all->count * LONG_TOKENS || (bytes >= all->count * RUN_TOKENS && has_runs(m, end - looked, end));
}

/* Puts the tokens of a round, but for the last ones, with which stream 0 begins the next. */
static void put_round(const merging *m) {
  joined *all = &m->s->all;
  stream *first = &m->s->streams[0];
  size_t held = all->count < HELD ? all->count : HELD, put = all->count - held;
  for (size_t i = 0; i < put; i++) id_put(m->sink, all->ids[i]);
  if (put > 0) first->begin = all->ends[put - 1];
  first->is_behind |= put > 0;
  memcpy(first->ids, all->ids + put, held * sizeof *first->ids);
  memcpy(first->ends, all->ends + put, held * sizeof *first->ends);
  first->count = held;
  all->count = 0;
}

/* ---- stretches ---- */

/* Of a token that bpe_forward gave. */
static size_t bytes_of(const merging *m, viva_token id) {
  size_t bytes = m->b->tree.tokens[id].bytes;
  return bytes ? bytes : 1;
}

/* Goes on by bpe_forward. *ok 0: it could not. */
static viva_status go_forward(const merging *m, size_t stretch, int *ok, viva_error *error) {
  stream *first = &m->s->streams[0];
  joined *all = &m->s->all;
  size_t at = end_of(first), end = align(m, at + stretch);
  id_sink sink = {m->s->stretch, STRETCH_MOST, 0, NULL};
  TRY(bpe_forward(m->b, m->scratch, m->piece + at, end - at, &sink, ok, error));
  if (!*ok) return VIVA_OK;
  TRY(may_follow(m, first, (uint32_t)sink.ids[0], at + bytes_of(m, sink.ids[0]), ok, error));
  if (!*ok) return VIVA_OK;
  add(all, first, 0, first->count);
  size_t before = all->count, i = 0, kept_end = end == m->bytes ? end : end - TAIL;
  for (; i < sink.count && at + bytes_of(m, sink.ids[i]) <= kept_end; i++) {
    at += bytes_of(m, sink.ids[i]);
    all->ids[all->count] = (uint32_t)sink.ids[i];
    all->ends[all->count++] = (uint32_t)at;
  }
  for (; all->count > before && is_inside(m, all->ends[all->count - 1]); i--) all->count--;
  first->expected = i < sink.count ? (uint32_t)sink.ids[i] : BPE_NO_ID;
  *ok = all->count > before;
  return VIVA_OK;
}

static viva_status merge_rounds(const merging *m, int *done, viva_error *error) {
  stream *first = &m->s->streams[0];
  size_t stretch = STRETCH;
  for (*done = 1; *done && end_of(first) < m->bytes;) {
    int met = m->s->are_long;
    if (!met) {
      size_t count = begin_streams(m);
      TRY(run_streams(m, count, error));
      met = join(m, count);
      if (first->is_behind && m->s->all.count == 0) *done = 0;
      note_length(m);
      put_round(m);
      if (met && !m->s->are_long) stretch = STRETCH;
      if ((met && !m->s->are_long) || !*done || end_of(first) == m->bytes) continue;
    }
    TRY(go_forward(m, stretch, done, error));
    if (!*done) continue;
    if (met) note_length(m);
    put_round(m);
    stretch = stretch < STRETCH_MOST ? 2 * stretch : stretch;
  }
  for (size_t i = 0; i < first->count; i++) id_put(m->sink, first->ids[i]);
  return VIVA_OK;
}

viva_status bpe_stream(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink, int *done,
                       viva_error *error) {
  if (!scratch->streams) {
    scratch->streams = mem_alloc(scratch->mem, sizeof *scratch->streams);
    if (scratch->streams) scratch->streams->are_long = 0;
  }
  if (!scratch->streams) return error_set(error, VIVA_E_MEMORY, "no memory to encode a word of %zu bytes", bytes);
  const merging m = {b, scratch, piece, bytes, scratch->streams, sink};
  size_t begun = sink->count;
  stream *first = &m.s->streams[0];
  first->begin = first->count = 0;
  first->is_behind = 0;
  first->expected = BPE_NO_ID;
  m.s->all.count = 0;
  TRY(merge_rounds(&m, done, error));
  if (!*done) sink->count = begun;
  return VIVA_OK;
}
