/* tests/number/mix.h: the hash and the random bytes that tests/mk/mkgolden_*.py use too. */
#ifndef TESTS_MIX_H
#define TESTS_MIX_H

#include <stddef.h>
#include <stdint.h>

/* splitmix64's finaliser */
static inline uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/* The part of mix_sum that value contributes at index. */
static inline uint64_t mix_at(uint64_t value, uint64_t index) { return mix64(value + (index << 32)); }

static inline void mix_bytes(uint64_t start, uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint64_t word = mix64((start + i / 8 + 1) * 0x9E3779B97F4A7C15u);
    bytes[i] = (uint8_t)(word >> (8 * (i % 8)));
  }
}

/* An FP32 value's bits, all NaN alike. */
static inline uint32_t mix_same_nan(uint32_t bits) { return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits; }

#endif
