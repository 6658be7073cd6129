/* text/vocab.h: the tokens: id to text, text to id, and the bytes that a token stands for.
 *
 * Built once by vocab_create, then immutable. Lengths and offsets are size_t: a token may be as long as its file.
 */
#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H

#include <string.h>

#include "base/runtime.h"
#include "text/tokenizer.h"

typedef struct vocab_entry {
  token_text text;
  uint32_t id;
  uint8_t flags;
} vocab_entry;

enum {
  VOCAB_EXISTS = 1,  /* the id is not a hole */
  VOCAB_MODEL = 2,   /* in the BPE model's vocabulary (added tokens need not be) */
  VOCAB_SPECIAL = 4, /* skipped by decoding when asked */
  VOCAB_SKIPPED_TEXT =
      8 /* the text of a special token: the reference skips by text, also another token that it is made of */
};

typedef struct vocab {
  size_t count;    /* one more than the largest id */
  size_t tokens;   /* ids that are not holes */
  uint8_t *flags;  /* [count] */
  size_t *text_at; /* [count + 1]: token id is texts[text_at[id] .. text_at[id + 1]) */
  char *texts;
  size_t *bytes_at; /* [count + 1]: in the byte alphabet, token id is bytes[bytes_at[id] .. bytes_at[id + 1]) */
  uint8_t *bytes;
  size_t longest;     /* the most bytes of one token's text */
  uint64_t seed[2];   /* of the hash tables; secret, so that no file can aim at collisions */
  size_t slots;       /* of the two tables: below 2^32 */
  uint64_t *by_text;  /* open addressing over texts: half of the hash << 32 | id + 1; 0 = free */
  uint64_t *by_bytes; /* the same over bytes, of tokens with MODEL and BYTES; made by vocab_index_bytes with bytes */
} vocab;

/* Largest id allowed for a number of tokens: holes are legal, but memory goes by the largest id. */
#define VOCAB_MOST_HOLES 65536

/* Builds from entries (any order; moved about by the call). Texts are copied.
 * Errors: E_FORMAT (an id or a text twice, an id far beyond the number of tokens), E_MEMORY. */
viva_status vocab_create(mem *m, vocab_entry *entries, size_t count, vocab *out, viva_error *error);
void vocab_destroy(mem *m, vocab *v); /* a zeroed vocab is allowed */

/* Before vocab_index_bytes only: room for so many more tokens, with so many bytes of text together, behind the largest id.
 * Errors: E_MEMORY. */
viva_status vocab_reserve(mem *m, vocab *v, size_t more, size_t bytes, viva_error *error);

/* Adds a token that is not there yet, with the id v->count. There must be room for it. */
void vocab_append(vocab *v, token_text text);

static inline int vocab_has(const vocab *v, int64_t id) {
  return id >= 0 && (uint64_t)id < v->count && (v->flags[id] & VOCAB_EXISTS);
}

/* Makes bytes, and vocab_find_bytes possible. Errors: E_MEMORY. */
viva_status vocab_index_bytes(mem *m, vocab *v, viva_error *error);

/* -1: not there */
int64_t vocab_find(const vocab *v, const char *text, size_t bytes);
/* Many texts at once, which hides how far the tables are from the processor: ids[i] of texts[i], or -1. */
#define VOCAB_AT_ONCE 64
void vocab_find_many(const vocab *v, const token_text *texts, size_t count, int64_t *ids); /* count ≤ VOCAB_AT_ONCE */
int64_t vocab_find_bytes(const vocab *v, const uint8_t *text, size_t bytes);

/* The written form of an id below count. */
token_text vocab_text(const vocab *v, uint32_t id);

/* GPT-2's byte alphabet: each byte is written as one printable character (33-126, 161-172, 174-255 as themselves, the
 * others as 256, 257 ... in order). */
uint32_t byte_alphabet_char(uint8_t byte);
int byte_alphabet_byte(uint32_t code); /* -1: not in the alphabet */

/* SipHash-1-3 of bytes under a 128-bit key. */
uint64_t hash_bytes(const uint64_t key[2], const void *data, size_t bytes);

/* Are two texts equal? For those of a few bytes, without a call: reads may overlap. */
static inline int bytes_same(const char *a, const char *b, size_t bytes) {
  uint64_t x, y, u, v;
  if (bytes > 16) return memcmp(a, b, bytes) == 0;
  if (bytes >= 8) {
    memcpy(&x, a, 8), memcpy(&y, b, 8);
    memcpy(&u, a + bytes - 8, 8), memcpy(&v, b + bytes - 8, 8);
    return ((x ^ y) | (u ^ v)) == 0;
  }
  for (size_t i = 0; i < bytes; i++)
    if (a[i] != b[i]) return 0;
  return 1;
}

/* Mixes 64 bits, one to one. */
static inline uint64_t hash_mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ x >> 33;
}

#endif
