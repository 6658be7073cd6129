/* exp and random numbers that are the same everywhere. */
#include <string.h>

#include "text/sampling_inner.h"
#include "viva/sampling.h"

/* 1 / k! for k = 13 … 2. On |r| ≤ ln 2 / 2 the series' rest after r^13 is below 5e-18 of the value. */
static const double inverse_factorials[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
                                            1.0 / 362880.0,     1.0 / 40320.0,     1.0 / 5040.0,     1.0 / 720.0,
                                            1.0 / 120.0,        1.0 / 24.0,        1.0 / 6.0,        1.0 / 2.0};

/* ln 2 in two parts: the first has 32 bits, so that its product with k (11 bits) is exact. */
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW  0x1.a39ef35793c76p-33
#define LOG2_E   0x1.71547652b82fep+0

double sampling_exp(double x) {
  if (!(x >= EXP_LOWEST)) return 0;
  /* x = k ln 2 + r; x ≤ 0, so adding -1/2 and cutting rounds to the nearest. */
  int64_t k = (int64_t)(x * LOG2_E - 0.5);
  double r = (x - (double)k * LN2_HIGH) - (double)k * LN2_LOW;
  double sum = inverse_factorials[0];
  for (size_t i = 1; i < sizeof inverse_factorials / sizeof *inverse_factorials; i++)
    sum = sum * r + inverse_factorials[i];
  double value = 1.0 + (r + r * r * sum);
  uint64_t bits = (uint64_t)(1023 + k) << 52; /* 2^k: k ≥ -1022 above EXP_LOWEST */
  double power;
  memcpy(&power, &bits, sizeof power);
  return value * power;
}

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
