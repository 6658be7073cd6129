/* base/bigint.c: the few operations on large integers that decimal conversion needs. */
#include "base/bigint.h"

#include <string.h>

__extension__ typedef unsigned __int128 wide;

#define POW5_27 7450580596923828125u /* 5^27, the largest power of five below 2^64 */

void bigint_set(bigint *b, uint64_t value) {
  b->length = value != 0;
  b->limb[0] = value;
}

void bigint_mul_add(bigint *b, uint64_t factor, uint64_t addend) {
  uint64_t carry = addend;
  for (size_t i = 0; i < b->length; i++) {
    wide product = (wide)b->limb[i] * factor + carry;
    b->limb[i] = (uint64_t)product;
    carry = (uint64_t)(product >> 64);
  }
  if (carry != 0 && b->length < BIGINT_LIMBS) b->limb[b->length++] = carry;
}

void bigint_mul_pow5(bigint *b, uint32_t exponent) {
  for (; exponent >= 27; exponent -= 27) bigint_mul_add(b, POW5_27, 0);
  uint64_t rest = 1;
  for (; exponent > 0; exponent--) rest *= 5;
  bigint_mul_add(b, rest, 0);
}

void bigint_shift_left(bigint *b, uint32_t bits) {
  size_t limbs = bits / 64;
  uint32_t small = bits % 64;
  if (b->length == 0 || b->length + limbs > BIGINT_LIMBS) return;
  if (small != 0) {
    uint64_t high = b->limb[b->length - 1] >> (64 - small);
    for (size_t i = b->length - 1; i > 0; i--) b->limb[i] = b->limb[i] << small | b->limb[i - 1] >> (64 - small);
    b->limb[0] <<= small;
    if (high != 0 && b->length + limbs < BIGINT_LIMBS) b->limb[b->length++] = high;
  }
  memmove(b->limb + limbs, b->limb, b->length * sizeof b->limb[0]);
  memset(b->limb, 0, limbs * sizeof b->limb[0]);
  b->length += limbs;
}

uint32_t bigint_bits(const bigint *b) {
  if (b->length == 0) return 0;
  return (uint32_t)(64 * b->length) - (uint32_t)__builtin_clzll(b->limb[b->length - 1]);
}

int bigint_compare(const bigint *a, const bigint *b) {
  if (a->length != b->length) return a->length < b->length ? -1 : 1;
  for (size_t i = a->length; i-- > 0;)
    if (a->limb[i] != b->limb[i]) return a->limb[i] < b->limb[i] ? -1 : 1;
  return 0;
}

void bigint_add(bigint *a, const bigint *b) {
  uint64_t carry = 0;
  size_t length = a->length > b->length ? a->length : b->length;
  for (size_t i = 0; i < length; i++) {
    wide sum = (wide)(i < a->length ? a->limb[i] : 0) + (i < b->length ? b->limb[i] : 0) + carry;
    a->limb[i] = (uint64_t)sum;
    carry = (uint64_t)(sum >> 64);
  }
  a->length = length;
  if (carry != 0 && length < BIGINT_LIMBS) a->limb[a->length++] = carry;
}

void bigint_subtract(bigint *a, const bigint *b) {
  uint64_t borrow = 0;
  for (size_t i = 0; i < a->length; i++) {
    wide difference = (wide)a->limb[i] - (i < b->length ? b->limb[i] : 0) - borrow;
    a->limb[i] = (uint64_t)difference;
    borrow = (uint64_t)(difference >> 64) & 1;
  }
  while (a->length > 0 && a->limb[a->length - 1] == 0) a->length--;
}

uint64_t bigint_top(const bigint *b, int32_t *exponent, int *rest) {
  size_t last = b->length - 1;
  int shift = __builtin_clzll(b->limb[last]);
  uint64_t top = b->limb[last] << shift;
  uint64_t lost = 0;
  if (last > 0 && shift > 0) {
    top |= b->limb[last - 1] >> (64 - shift);
    lost = b->limb[last - 1] << shift;
  } else if (last > 0) {
    lost = b->limb[last - 1];
  }
  for (size_t i = 0; i + 1 < last; i++) lost |= b->limb[i];
  *rest = lost != 0;
  *exponent = (int32_t)(64 * last) - shift;
  return top;
}

/* Knuth, The Art of Computer Programming 4.3.1, algorithm D, for a quotient of one digit of base 2^64. */
uint64_t bigint_divide(bigint *a, bigint *b, int *rest) {
  uint32_t shift = (uint32_t)__builtin_clzll(b->limb[b->length - 1]);
  bigint_shift_left(a, shift);
  bigint_shift_left(b, shift);
  size_t n = b->length;
  uint64_t high = a->length > n ? a->limb[n] : 0;
  wide numerator = (wide)high << 64 | a->limb[n - 1];
  wide guess = numerator / b->limb[n - 1]; /* the quotient, or up to two more */
  uint64_t quotient = guess > UINT64_MAX ? UINT64_MAX : (uint64_t)guess;
  bigint product = *b;
  bigint_mul_add(&product, quotient, 0);
  while (bigint_compare(&product, a) > 0) {
    bigint_subtract(&product, b);
    quotient--;
  }
  *rest = bigint_compare(&product, a) != 0;
  return quotient;
}
