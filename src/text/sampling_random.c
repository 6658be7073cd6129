/* text/sampling_random.c: random numbers that are the same everywhere. */
#include "text/sampling_inner.h"
#include "viva/sampling.h"

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t first = (uint64_t)0xD2511F53u * a, second = (uint64_t)0xCD9E8D57u * c; /* the paper's multipliers */
    a = (uint32_t)(second >> 32) ^ b ^ k0;
    c = (uint32_t)(first >> 32) ^ d ^ k1;
    b = (uint32_t)second;
    d = (uint32_t)first;
    k0 += 0x9E3779B9u; /* the golden ratio and √3 − 1: its Weyl sequences of keys */
    k1 += 0xBB67AE85u;
  }
  out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

double viva_sample_uniform(uint64_t seed, uint64_t sequence, uint64_t position) {
  uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, out[4];
  uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)sequence,
                         (uint32_t)(sequence >> 32)};
  philox4x32(counter, key, out);
  return (double)(((uint64_t)out[1] << 32 | out[0]) >> 11) * 0x1p-53;
}
