/* text/bytes16.h: questions about 16 bytes at once. Bit i of an answer is that of byte i; all 16 are read. */
#ifndef TEXT_BYTES16_H
#define TEXT_BYTES16_H

#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>

static inline __m128i bytes16_read(const uint8_t *at) { return _mm_loadu_si128((const __m128i *)(const void *)at); }

static inline uint32_t bytes16_equal(const uint8_t *at, uint8_t byte) {
  return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes16_read(at), _mm_set1_epi8((char)byte)));
}

/* Is it from first to last? */
static inline uint32_t bytes16_within(const uint8_t *at, uint8_t fold, uint8_t first, uint8_t last) {
  __m128i v = _mm_or_si128(bytes16_read(at), _mm_set1_epi8((char)fold));
  __m128i above = _mm_sub_epi8(v, _mm_set1_epi8((char)first)), width = _mm_set1_epi8((char)(last - first));
  return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(above, width), above));
}

static inline uint32_t bytes16_beyond_ascii(const uint8_t *at) { return (uint32_t)_mm_movemask_epi8(bytes16_read(at)); }
#else
static inline uint32_t bytes16_within(const uint8_t *at, uint8_t fold, uint8_t first, uint8_t last) {
  uint32_t mask = 0;
  for (uint32_t i = 0; i < 16; i++)
    mask |= (uint32_t)((uint8_t)((at[i] | fold) - first) <= (uint8_t)(last - first)) << i;
  return mask;
}
static inline uint32_t bytes16_equal(const uint8_t *at, uint8_t byte) { return bytes16_within(at, 0, byte, byte); }
static inline uint32_t bytes16_beyond_ascii(const uint8_t *at) { return bytes16_within(at, 0, 0x80, 0xff); }
#endif

static inline uint32_t bytes16_letters(const uint8_t *at) { return bytes16_within(at, 0x20, 'a', 'z'); }
static inline uint32_t bytes16_small_letters(const uint8_t *at) { return bytes16_within(at, 0, 'a', 'z'); }

#endif
