/* Encoding a piece token by token: bpe_tree.h says why that is merging. */
#include <string.h>

#include "text/bpe_tree.h"
#include "text/unicode.h"

#define PATH     256 /* tokens of which steps back may take some away */
#define DEAD     64  /* places that led nowhere, remembered */
#define WORK     16  /* for each byte of a piece: edges and tokens that are looked at */
#define WORK_ALL 4096

/* A token on the path: the longest one that stands there. What it and one behind it would merge to is then no token. */
#define LONGEST ((uint32_t)1 << 31)

/* The same as the one before it, and tried first: in a run of something nearly all are. */
#define AGAIN ((uint32_t)1 << 30)

static inline uint32_t id_of(uint32_t entry) { return entry & ~(LONGEST | AGAIN); }

typedef struct forward {
  const bpe *b;
  bpe_scratch *scratch;
  const uint8_t *piece;
  size_t bytes;
  uint64_t tail; /* the last 8 bytes; of fewer, zeros before them */
  id_sink *sink;
  uint32_t before; /* what was on the path before it; BPE_NO_ID: nothing that could merge with it */
  size_t count;
  size_t work;
  uint32_t twin;     /* a token that keeps apart from itself */
  uint32_t tried[2]; /* the last two that were merged to see whether they keep apart */
  int kept_apart;
  int has_dead;
  uint32_t path[PATH];
  uint32_t dead[DEAD]; /* once has_dead: places, by their last bits; 0: none */
} forward;

static void commit(forward *f, size_t count) {
  for (size_t i = 0; i < count; i++) id_put(f->sink, id_of(f->path[i]));
  if (count > 0) f->before = f->path[count - 1];
  f->count -= count;
  memmove(f->path, f->path + count, f->count * sizeof *f->path);
}

/* The 8 bytes from a place on, zeros behind the end of the piece; the place is before it. */
static inline uint64_t bytes_at(const forward *f, size_t at) {
  size_t left = f->bytes - at;
  uint64_t word;
  if (left < sizeof word) return f->tail >> 8 * (sizeof word - left);
  memcpy(&word, f->piece + at, sizeof word);
  return word;
}

static inline uint32_t bits_in(uint64_t x) {
  x -= x >> 1 & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
  return (uint32_t)(((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}

/* The edge from a place by a byte; NULL: there is none. */
static inline const bpe_edge *edge_by(const bpe_edge *edges, const bpe_place *place, uint8_t byte) {
  uint64_t bit = (uint64_t)1 << (byte & 63);
  if (!(place->bytes & bit)) return NULL;
  /* Before it there is an edge for each lower bit, and seldom more. */
  const bpe_edge *edge = edges + place->first + bits_in(place->bytes & (bit - 1));
  while ((uint8_t)edge->label != byte) {
    if ((edge->label & 63) >= (byte & 63) && !(edge->label & BPE_SHARES)) return NULL;
    edge++;
  }
  return edge;
}

/* The longest token at a place of the piece; BPE_NO_ID: none. */
static inline uint32_t longest(forward *f, size_t at) {
  const bpe_tree *tree = &f->b->tree;
  const uint32_t count = (uint32_t)f->b->vocab->count;
  uint64_t word = bytes_at(f, at);
  size_t end = at + 2;
  uint32_t best = tree->bytes[word & 0xff];
  best = best < count ? best : BPE_NO_ID;
  if (end > f->bytes) return best;
  const bpe_place *place = &tree->pairs[(word & 0xff) << 8 | (word >> 8 & 0xff)];
  if (place->place == BPE_NO_ID) return best;
  for (;;) {
    if (place->place < count) {
      best = place->place;
      __builtin_prefetch(&tree->tokens[best]);
    }
    if (end >= f->bytes) break;
    word = bytes_at(f, end);
    const bpe_edge *edge = edge_by(tree->edges, place, (uint8_t)word);
    if (!edge) break;
    uint32_t length = (uint32_t)(edge->label >> 56 & (BPE_LABEL_MOST));
    f->work++;
    end += length;
    if (end > f->bytes || ((word ^ edge->label) & (((uint64_t)1 << 8 * length) - 1))) break;
    place = &edge->to;
  }
  return best;
}

/* Do two neighbours that meet at a place keep apart, by merging them? In a run of one character the same two meet again and
 * again. */
static viva_status tried_apart(forward *f, size_t at, uint32_t left, uint32_t right, int *apart, viva_error *error) {
  const bpe_token *tokens = f->b->tree.tokens;
  if (f->tried[0] != left || f->tried[1] != right) {
    viva_token ids[3];
    id_sink sink = {ids, 3, 0, NULL};
    size_t before = tokens[left].bytes, behind = tokens[right].bytes;
    f->work += before + behind;
    TRY(bpe_merge_stepwise(f->b, f->scratch, f->piece + at - before, before + behind, &sink, error));
    f->tried[0] = left;
    f->tried[1] = right;
    f->kept_apart = sink.count == 2 && (uint32_t)ids[0] == left && (uint32_t)ids[1] == right;
  }
  *apart = f->kept_apart;
  return VIVA_OK;
}

/* Do what is last on the path and a token behind it keep apart? */
static inline viva_status keep_apart(forward *f, size_t at, uint32_t last, uint32_t right, int *apart,
                                     viva_error *error) {
  const bpe_token *tokens = f->b->tree.tokens;
  uint32_t left = id_of(last);
  if (tokens[left].time == BPE_ODD || tokens[right].time == BPE_ODD)
    return tried_apart(f, at, left, right, apart, error);
  *apart = ((last & LONGEST) || bpe_rank(f->b, left, right) == BPE_NO_RANK) &&
           bpe_apart_until_whole(f->b, left, right, f->piece + at);
  return VIVA_OK;
}

static int is_dead(const forward *f, size_t at) { return f->has_dead && f->dead[at % DEAD] == at; }

static void put_dead(forward *f, size_t at) {
  if (!f->has_dead) memset(f->dead, 0, sizeof f->dead);
  f->has_dead = 1;
  f->dead[at % DEAD] = (uint32_t)at;
}

/* *token, or the longest one that it begins with that may stand at `at`; BPE_NO_ID: none. */
static inline viva_status fit(forward *f, size_t at, uint32_t *token, viva_error *error) {
  const bpe_token *tokens = f->b->tree.tokens;
  uint32_t last = f->count ? f->path[f->count - 1] : f->before;
  for (; *token != BPE_NO_ID; *token = tokens[*token].prefix) {
    int apart = !is_dead(f, at + tokens[*token].bytes);
    f->work++;
    if (apart && last != BPE_NO_ID) TRY(keep_apart(f, at, last, *token, &apart, error));
    if (apart) return VIVA_OK;
  }
  return VIVA_OK;
}

/* Does the last token of the path come again? Then it is put. */
static inline viva_status put_again(forward *f, size_t *at, int *done, viva_error *error) {
  uint32_t last = f->count ? f->path[f->count - 1] : f->before, id = id_of(last);
  *done = 0;
  if (last == BPE_NO_ID) return VIVA_OK;
  size_t bytes = f->b->tree.tokens[id].bytes;
  const uint8_t *text = f->piece + *at;
  if (bytes > f->bytes - *at || text[0] != *(text - bytes) || memcmp(text, text - bytes, bytes) != 0) return VIVA_OK;
  *done = !is_dead(f, *at + bytes);
  if (*done && f->twin != id) TRY(keep_apart(f, *at, last, id, done, error));
  if (!*done) return VIVA_OK;
  f->twin = id;
  if (f->count == PATH) commit(f, PATH / 2);
  f->path[f->count++] = id | AGAIN;
  *at += bytes;
  f->work++;
  return VIVA_OK;
}

/* A character that the vocabulary lacks, as its bytes, with which nothing merges. Its length; 0: that cannot be. */
static size_t put_fallback(forward *f, size_t at) {
  uint32_t code, ids[4];
  if (f->b->rules.byte_level || !f->b->complete) return 0;
  size_t n = unicode_read(f->piece + at, &code);
  for (size_t i = 0; i < n; i++) ids[i] = f->b->fallback_ids[f->piece[at + i]];
  commit(f, f->count);
  for (size_t i = 0; i < n; i++) id_put(f->sink, ids[i]);
  f->before = BPE_NO_ID;
  return n;
}

/* One token more, by steps back if need be. *at 0 behind it: there is none. */
static viva_status step(forward *f, size_t *at, viva_error *error) {
  const bpe_token *tokens = f->b->tree.tokens;
  int done;
  TRY(put_again(f, at, &done, error));
  if (done) return VIVA_OK;
  uint32_t most = longest(f, *at), token = most;
  if (token == BPE_NO_ID) {
    size_t n = put_fallback(f, *at);
    *at = n ? *at + n : 0;
    return VIVA_OK;
  }
  for (;;) {
    TRY(fit(f, *at, &token, error));
    if (token != BPE_NO_ID) break;
    put_dead(f, *at);
    if (f->count == 0) {
      *at = 0;
      return VIVA_OK;
    }
    uint32_t taken = f->path[--f->count];
    *at -= tokens[id_of(taken)].bytes;
    most = taken & AGAIN ? longest(f, *at) : BPE_NO_ID;
    token = taken & AGAIN ? most : tokens[id_of(taken)].prefix;
  }
  if (f->count == PATH) commit(f, PATH / 2);
  f->path[f->count++] = token | (token == most ? LONGEST : 0);
  *at += tokens[token].bytes;
  return VIVA_OK;
}

viva_status bpe_forward(const bpe *b, bpe_scratch *scratch, const uint8_t *piece, size_t bytes, id_sink *sink,
                        int *done, viva_error *error) {
  forward f;
  f.b = b;
  f.scratch = scratch;
  f.piece = piece;
  f.bytes = bytes;
  f.sink = sink;
  f.before = f.twin = f.tried[0] = f.tried[1] = BPE_NO_ID;
  f.count = f.work = 0;
  f.has_dead = 0;
  f.tail = 0;
  for (size_t i = bytes < 8 ? 0 : bytes - 8; i < bytes; i++) f.tail = f.tail >> 8 | (uint64_t)piece[i] << 56;
  size_t begun = sink->count, at = 0, most = WORK * bytes + WORK_ALL;
  int goes_on = bytes > 0;
  while (goes_on) {
    TRY(step(&f, &at, error));
    goes_on = at > 0 && at < bytes && f.work < most;
  }
  *done = at == bytes;
  if (*done)
    commit(&f, f.count);
  else
    sink->count = begun;
  return VIVA_OK;
}
