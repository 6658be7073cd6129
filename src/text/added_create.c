/* The automaton of added tokens. */
#include <string.h>

#include "text/added.h"

/* Byte number `depth` of a text read from its end. */
static uint8_t byte_at(const added_token *t, size_t depth) { return t->text[t->bytes - 1 - depth]; }

/* How many bytes the ends of two texts have in common. */
static size_t common_end(const added_token *a, const added_token *b) {
  size_t most = a->bytes < b->bytes ? a->bytes : b->bytes, n = 0;
  while (n < most && byte_at(a, n) == byte_at(b, n)) n++;
  return n;
}

static int compare(const added_token *a, const added_token *b) {
  size_t n = common_end(a, b);
  if (n == a->bytes || n == b->bytes) return (a->bytes > b->bytes) - (a->bytes < b->bytes);
  return byte_at(a, n) < byte_at(b, n) ? -1 : 1;
}

/* Heap sort: in place, without recursion, n·log n for every order. */
static void sift_down(added_token *tokens, size_t at, size_t count) {
  for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
    if (child + 1 < count && compare(&tokens[child], &tokens[child + 1]) < 0) child++;
    if (compare(&tokens[at], &tokens[child]) >= 0) return;
    added_token swap = tokens[at];
    tokens[at] = tokens[child];
    tokens[child] = swap;
    at = child;
  }
}

static void sort(added_token *tokens, size_t count) {
  for (size_t i = count / 2; i-- > 0;) sift_down(tokens, i, count);
  for (size_t end = count; end > 1; end--) {
    added_token swap = tokens[0];
    tokens[0] = tokens[end - 1];
    tokens[end - 1] = swap;
    sift_down(tokens, 0, end - 1);
  }
}

/* A state's tokens, while it waits for its own states. */
typedef struct token_range {
  uint32_t low, high;
} token_range;

/* One state's states: the tokens that go on, by their next byte. */
static uint32_t grow(added_set *set, token_range *ranges, uint32_t state, size_t depth, uint32_t states) {
  token_range r = ranges[state];
  set->first[state] = states;
  /* A token that ends here sorts before those that go on; of two that are equal the caller hears later. */
  while (r.low < r.high && set->tokens[r.low].bytes == depth) set->found[state] = ++r.low;
  while (r.low < r.high) {
    uint32_t low = r.low;
    uint8_t byte = byte_at(&set->tokens[low], depth);
    while (r.low < r.high && byte_at(&set->tokens[r.low], depth) == byte) r.low++;
    set->by[states] = byte;
    ranges[states++] = (token_range){low, r.low};
  }
  return states;
}

/* Where the states of `state` go on when their text does; those nearer to the root are done. */
static void link_states(added_set *set, uint32_t state) {
  for (uint32_t s = set->first[state]; s < set->first[state + 1]; s++) {
    uint32_t from = state, to = 0;
    while (from && !to) {
      from = set->fail[from];
      to = added_behind(set, from, set->by[s]);
    }
    set->fail[s] = to;
    if (!set->found[s]) set->found[s] = set->found[to];
  }
}

/* States in the order of their depth. */
static void build(added_set *set, token_range *ranges) {
  uint32_t states = 1, level_end = 1;
  size_t depth = 0;
  ranges[0] = (token_range){0, (uint32_t)set->count};
  for (uint32_t state = 0; state < states; state++) {
    if (state == level_end) {
      level_end = states;
      depth++;
    }
    states = grow(set, ranges, state, depth, states);
  }
  set->first[states] = states;
  for (uint32_t state = 0; state < states; state++) link_states(set, state);
}

static void find_ends(added_set *set) {
  uint32_t begin = set->first[0], end = set->first[1];
  for (uint32_t s = begin; s < end; s++) set->root[set->by[s]] = s;
  set->only = end - begin == 1 ? set->by[begin] : -1;
}

viva_status added_create(mem *m, added_set *set, size_t count, viva_error *error) {
  uint64_t states = 1;
  set->count = count;
  sort(set->tokens, count);
  set->all_special = 1;
  for (size_t i = 0; i < count; i++) {
    const added_token *t = &set->tokens[i];
    states += t->bytes - (i ? common_end(t - 1, t) : 0); /* texts in memory: no overflow */
    if (t->bytes > set->longest) set->longest = t->bytes;
    set->all_special &= (t->flags & ADDED_SPECIAL) != 0;
  }
  if (states >= UINT32_MAX) return error_set(error, VIVA_E_LIMIT, "the added tokens have more than 4 GiB of text");
  set->first = mem_array(m, states + 1, sizeof *set->first);
  set->fail = mem_array(m, states, sizeof *set->fail);
  set->found = mem_array(m, states, sizeof *set->found);
  set->by = mem_array(m, states, sizeof *set->by);
  token_range *ranges = mem_array(m, states, sizeof *ranges);
  int failed = !set->first || !set->fail || !set->found || !set->by || !ranges;
  if (!failed) {
    build(set, ranges);
    find_ends(set);
  }
  mem_free(m, ranges);
  return failed ? error_set(error, VIVA_E_MEMORY, "no memory for %zu added tokens", count) : VIVA_OK;
}

void added_destroy(mem *m, added_set *set) {
  mem_free(m, set->tokens);
  mem_free(m, set->first);
  mem_free(m, set->fail);
  mem_free(m, set->found);
  mem_free(m, set->by);
  memset(set, 0, sizeof *set);
}
