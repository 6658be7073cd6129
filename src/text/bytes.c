/* The byte alphabet of byte-level tokenizers, and the hash of strings. */
#include <string.h>

#include "text/vocab.h"

/* GPT-2's bytes_to_unicode: three ranges of printable Latin-1 stay, the other 68 bytes become 256 + their rank. */
uint32_t byte_alphabet_char(uint8_t byte) {
  if (byte <= 32) return 256u + byte;
  if (byte <= 126) return byte;
  if (byte <= 160) return 256u + 33u + (byte - 127u);
  if (byte == 173) return 256u + 67u;
  return byte;
}

int byte_alphabet_byte(uint32_t code) {
  if (code > 32 && code < 256 && byte_alphabet_char((uint8_t)code) == code) return (int)code;
  if (code >= 256 && code < 256 + 33) return (int)(code - 256);
  if (code >= 256 + 33 && code < 256 + 67) return (int)(code - 256 - 33 + 127);
  return code == 256 + 67 ? 173 : -1;
}

static inline uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static inline void sip_round(uint64_t v[4]) {
  v[0] += v[1], v[2] += v[3];
  v[1] = rotate(v[1], 13) ^ v[0], v[3] = rotate(v[3], 16) ^ v[2];
  v[0] = rotate(v[0], 32);
  v[2] += v[1], v[0] += v[3];
  v[1] = rotate(v[1], 17) ^ v[2], v[3] = rotate(v[3], 21) ^ v[0];
  v[2] = rotate(v[2], 32);
}

/* The last bytes of a text, up to 7, that begin at `at`, without a loop: reads may overlap. */
static inline uint64_t last_word(const uint8_t *at, size_t count, size_t before) {
  uint64_t word = 0;
  uint32_t low, high;
  if (count == 0) return 0;
  if (before > 0) {
    memcpy(&word, at + count - 8, 8);
    return word >> (64 - 8 * count);
  }
  if (count < 4)
    return at[0] | (uint64_t)at[count / 2] << (8 * (count / 2)) | (uint64_t)at[count - 1] << (8 * (count - 1));
  memcpy(&low, at, 4);
  memcpy(&high, at + count - 4, 4);
  return low | (uint64_t)high << (8 * (count - 4));
}

uint64_t hash_bytes(const uint64_t key[2], const void *data, size_t bytes) {
  const uint8_t *at = data;
  /* "somepseudorandomlygeneratedbytes", the constants of the SipHash paper (Aumasson and Bernstein, 2012) */
  uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL, key[0] ^ 0x6c7967656e657261ULL,
                   key[1] ^ 0x7465646279746573ULL};
  uint64_t word;
  for (size_t left = bytes; left >= 8; left -= 8, at += 8) {
    memcpy(&word, at, 8);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
  }
  word = (uint64_t)bytes << 56 | last_word(at, bytes % 8, bytes / 8);
  v[3] ^= word;
  sip_round(v);
  v[0] ^= word;
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++) sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}
