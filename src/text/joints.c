#include "text/joints.h"

#include <string.h>

#include "base/num.h"
#include "text/unicode.h"

#define WORDS     ((size_t)1 << (JOINTS_BITS - 6))
#define ONE_WORDS ((size_t)1 << (JOINTS_ONE_BITS - 6))

static inline size_t pair_bit(uint32_t a, uint32_t b) {
  return (size_t)((((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15ULL) >> (64 - JOINTS_BITS));
}

static inline int has(const uint64_t *set, size_t bit) { return (int)(set[bit / 64] >> bit % 64 & 1); }
static void put(uint64_t *set, size_t bit) { set[bit / 64] |= (uint64_t)1 << bit % 64; }

static inline size_t one_bit(uint32_t code) { return pair_bit(code, 0) >> (JOINTS_BITS - JOINTS_ONE_BITS); }

/* How long a character with this first byte is; 1 also for bytes that begin none. */
static size_t length_of(uint8_t first) {
  if (first < 0xc0) return 1;
  return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static int is_inside(uint8_t byte) { return (byte & 0xc0) == 0x80; }

/* One place within a token's bytes where a character begins. */
static void join_at(joints *j, const uint8_t *t, size_t bytes, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && is_inside(t[begin])) begin--;
  int left_whole = !is_inside(t[begin]) && begin + length_of(t[begin]) == at;
  int right_whole = at + length_of(t[at]) <= bytes;
  uint32_t left = 0, right = 0;
  if (left_whole) unicode_read(t + begin, &left);
  if (right_whole) unicode_read(t + at, &right);
  if (left_whole && right_whole) {
    if (left < 128 && right < 128) put(j->near[left], right);
    put(j->pairs, pair_bit(left, right));
  } else if (left_whole) {
    put(j->before, one_bit(left));
  } else if (right_whole) {
    put(j->behind, one_bit(right));
  } else {
    put(j->halves[t[at - 1]], t[at]);
  }
}

static void join_token(joints *j, const uint8_t *t, size_t bytes) {
  for (size_t at = 1; at < bytes; at++)
    if (!is_inside(t[at])) join_at(j, t, bytes, at);
}

void joints_destroy(mem *m, joints *j) {
  mem_free(m, j->pairs);
  mem_free(m, j->before);
  mem_free(m, j->behind);
  *j = (joints){.usable = 0};
}

static inline int is_joined(const joints *j, uint32_t a, uint32_t b, uint8_t last, uint8_t first) {
  return has(j->pairs, pair_bit(a, b)) || has(j->before, one_bit(a)) || has(j->behind, one_bit(b)) ||
         has(j->halves[last], first);
}

static inline int near_joined(const joints *j, uint32_t a, uint32_t b) {
  return (int)(j->near[a][b / 64] >> b % 64 & 1);
}

/* ASCII characters are whole wherever they are, so only pairs with another one have the other sets to ask: which is done for
 * all that are near. */
static void find_near(joints *j) {
  j->near_rows = NEAR_ROWS;
  for (uint32_t a = 0; a < NEAR_ROWS; a++)
    for (uint32_t b = a < 128 ? 128 : 0; b < NEAR_ROWS; b++) {
      char left[4], right[4];
      uint32_t before = a < 256 ? a : 0xfffd, behind = b < 256 ? b : 0xfffd;
      size_t bytes = utf8_encode(before, left);
      utf8_encode(behind, right);
      if (is_joined(j, before, behind, (uint8_t)left[bytes - 1], (uint8_t)right[0])) put(j->near[a], b);
    }
}

/* What each near character becomes alone. */
static viva_status find_near_ids(mem *m, const bpe *b, joints *j, viva_error *error) {
  bpe_scratch scratch = {.mem = m};
  viva_status status = VIVA_OK;
  for (uint32_t row = 0; row <= NEAR_ROWS; row++) j->near_ids[row] = BPE_NO_ID;
  for (uint32_t row = 0; row < NEAR_ROWS && status == VIVA_OK; row++) {
    char text[4];
    viva_token id = 0;
    id_sink sink = {&id, 1, 0, NULL};
    size_t bytes = utf8_encode(row < 256 ? row : 0xfffd, text);
    status = bpe_merge_stepwise(b, &scratch, (const uint8_t *)text, bytes, &sink, error);
    if (sink.count == 1) j->near_ids[row] = (uint32_t)id;
  }
  bpe_scratch_free(&scratch);
  return status;
}

/* Where something may be unknown, runs of it are one piece to the reference; affixes ask where a piece ends. */
viva_status joints_create(mem *m, const bpe *b, joints *out, viva_error *error) {
  const vocab *v = b->vocab;
  *out = (joints){.usable = b->complete, .near_rows = 128};
  if (!out->usable) return VIVA_OK;
  out->pairs = mem_array(m, WORDS, sizeof *out->pairs);
  out->before = mem_array(m, ONE_WORDS, sizeof *out->before);
  out->behind = mem_array(m, ONE_WORDS, sizeof *out->behind);
  if (!out->pairs || !out->before || !out->behind) {
    joints_destroy(m, out);
    return error_set(error, VIVA_E_MEMORY, "no memory for a tokenizer");
  }
  for (uint32_t id = 0; id < v->count; id++) {
    if (!(v->flags[id] & VOCAB_MODEL)) continue;
    if (b->rules.byte_level) {
      join_token(out, v->bytes + v->bytes_at[id], v->bytes_at[id + 1] - v->bytes_at[id]);
    } else {
      token_text t = vocab_text(v, id);
      join_token(out, (const uint8_t *)t.text, t.bytes);
    }
  }
  find_near(out);
  viva_status status = find_near_ids(m, b, out, error);
  if (status != VIVA_OK) joints_destroy(m, out);
  return status;
}

size_t joints_put_near(const joints *j, const uint8_t *text, size_t at, size_t end, size_t limit, id_sink *sink) {
  id_sink to = *sink; /* a copy that may stay in registers */
  if (j->near_rows < NEAR_ROWS || limit - at < 4) return at;
  for (near_character a = near_read(text + at), b = a; j->near_ids[a.row] != BPE_NO_ID; a = b) {
    size_t next = at + a.bytes;
    if (next < end) {
      if (limit - next < 4) break;
      b = near_read(text + next);
      if (b.row == NEAR_ROWS || near_joined(j, a.row, b.row)) break;
    }
    id_put(&to, j->near_ids[a.row]);
    at = next;
    if (at == end) break;
  }
  sink->count = to.count;
  return at;
}

size_t joints_next(const joints *j, const uint8_t *text, size_t at, size_t end) {
  uint32_t a, b;
  if (at >= end) return end;
  at += unicode_read(text + at, &a);
  uint32_t row = near_row(a);
  while (at < end) {
    size_t n = unicode_read(text + at, &b);
    uint32_t next = near_row(b);
    int is_near = (row > next ? row : next) < j->near_rows;
    if (is_near ? !near_joined(j, row, next) : !is_joined(j, a, b, text[at - 1], text[at])) return at;
    a = b;
    row = next;
    at += n;
  }
  return end;
}

int joints_joined(const joints *j, uint32_t a, uint32_t b) {
  char left[4], right[4];
  if ((a | b) < 128) return near_joined(j, a, b);
  size_t bytes = utf8_encode(a, left);
  utf8_encode(b, right);
  return is_joined(j, a, b, (uint8_t)left[bytes - 1], (uint8_t)right[0]);
}
