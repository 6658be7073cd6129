#include "text/joints.h"

#include <string.h>

#include "base/num.h"
#include "text/unicode.h"

#define WORDS ((size_t)1 << (JOINTS_BITS - 6))

static inline size_t pair_bit(uint32_t a, uint32_t b) {
  return (size_t)((((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15ULL) >> (64 - JOINTS_BITS));
}

static inline int has(const uint64_t *set, size_t bit) { return (int)(set[bit / 64] >> bit % 64 & 1); }
static void put(uint64_t *set, size_t bit) { set[bit / 64] |= (uint64_t)1 << bit % 64; }

static inline size_t one_bit(uint32_t code) { return pair_bit(code, 0); }

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
    if (left < 128 && right < 128) put(j->ascii[left], right);
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

/* Where something may be unknown, runs of it are one piece to the reference; affixes ask where a piece ends. */
viva_status joints_create(mem *m, const bpe *b, joints *out, viva_error *error) {
  const vocab *v = b->vocab;
  *out = (joints){.usable = b->complete};
  if (!out->usable) return VIVA_OK;
  out->pairs = mem_array(m, WORDS, sizeof *out->pairs);
  out->before = mem_array(m, WORDS, sizeof *out->before);
  out->behind = mem_array(m, WORDS, sizeof *out->behind);
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
  return VIVA_OK;
}

static inline int is_joined(const joints *j, uint32_t a, uint32_t b, uint8_t last, uint8_t first) {
  return has(j->pairs, pair_bit(a, b)) || has(j->before, one_bit(a)) || has(j->behind, one_bit(b)) ||
         has(j->halves[last], first);
}

/* ASCII characters are whole wherever they are, so only pairs with another one have the other sets to ask. */
static inline int ascii_joined(const joints *j, uint32_t a, uint32_t b) {
  return (int)(j->ascii[a][b >> 6] >> (b & 63) & 1);
}

size_t joints_next(const joints *j, const uint8_t *text, size_t at, size_t end) {
  uint32_t a, b;
  if (at >= end) return end;
  at += unicode_read(text + at, &a);
  while (at < end) {
    size_t n = unicode_read(text + at, &b);
    if ((a | b) < 128 ? !ascii_joined(j, a, b) : !is_joined(j, a, b, text[at - 1], text[at])) return at;
    a = b;
    at += n;
  }
  return end;
}

int joints_joined(const joints *j, uint32_t a, uint32_t b) {
  char left[4], right[4];
  if ((a | b) < 128) return ascii_joined(j, a, b);
  size_t bytes = utf8_encode(a, left);
  utf8_encode(b, right);
  return is_joined(j, a, b, (uint8_t)left[bytes - 1], (uint8_t)right[0]);
}
