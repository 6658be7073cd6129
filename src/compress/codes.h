/* compress/codes.h: codes of 2 to 8 bits, packed: the first in the lowest bits of the first byte, each block from a whole
 * byte on. Eight codes, a byte each, are a word; eight codes of b bits are b bytes.
 */
#ifndef COMPRESS_CODES_H
#define COMPRESS_CODES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CODES_WORD 8 /* codes to a word */

static inline size_t codes_bytes(size_t count, uint32_t bits) { return (count * bits + 7) / 8; }

/* Fields of `bits` bits, each in the low end of its place, to fields of 2 · bits in places twice as wide; and back. */
static inline uint64_t codes_join(uint64_t x, uint32_t bits, uint32_t place) {
  const uint64_t low = place == 32   ? UINT32_MAX
                       : place == 16 ? UINT64_C(0x0000ffff0000ffff)
                                     : UINT64_C(0x00ff00ff00ff00ff);
  return (x & low) | (x & ~low) >> (place - bits);
}
static inline uint64_t codes_part(uint64_t x, uint32_t bits, uint32_t place) {
  const uint64_t one = place == 32 ? 1 : place == 16 ? UINT64_C(0x0000000100000001) : UINT64_C(0x0001000100010001);
  const uint64_t field = ((UINT64_C(1) << bits) - 1) * one;
  return (x & field) | (x >> bits & field) << place;
}

/* 8 codes, a byte each (below 2^bits), in 8 · bits bits. */
static inline uint64_t codes_pack(uint64_t bytes, uint32_t bits) {
  return codes_join(codes_join(codes_join(bytes, bits, 8), 2 * bits, 16), 4 * bits, 32);
}
static inline uint64_t codes_unpack(uint64_t packed, uint32_t bits) {
  return codes_part(codes_part(codes_part(packed, 4 * bits, 32), 2 * bits, 16), bits, 8);
}

/* Little-endian words of up to 8 bytes. */
static inline uint64_t codes_load(const uint8_t *from, size_t bytes) {
  uint64_t word = 0;
  for (size_t i = 0; i < bytes; i++) word |= (uint64_t)from[i] << (8 * i);
  return word;
}
static inline void codes_store(uint8_t *to, uint64_t word, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)(word >> (8 * i));
}

/* count codes, a byte each, into codes_bytes(count, bits) bytes; and back. What is left over in the last byte is 0. */
static inline void codes_pack_n(const uint8_t *codes, size_t count, uint32_t bits, uint8_t *to) {
  for (size_t i = 0; i < count; i += CODES_WORD, to += bits) {
    const size_t some = count - i < CODES_WORD ? count - i : CODES_WORD;
    codes_store(to, codes_pack(codes_load(codes + i, some), bits), codes_bytes(some, bits));
  }
}
static inline void codes_unpack_n(const uint8_t *from, size_t count, uint32_t bits, uint8_t *codes) {
  for (size_t i = 0; i < count; i += CODES_WORD, from += bits) {
    const size_t some = count - i < CODES_WORD ? count - i : CODES_WORD;
    codes_store(codes + i, codes_unpack(codes_load(from, codes_bytes(some, bits)), bits), some);
  }
}

#endif
