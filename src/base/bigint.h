/* base/bigint.h: unsigned integers of up to BIG_LIMBS × 64 bits, for exact conversion of decimals. */
#ifndef BASE_BIGINT_H
#define BASE_BIGINT_H

#include <stddef.h>
#include <stdint.h>

/* The largest value that occurs: a decimal of 770 digits (2558 bits) against 5^1112 (2583 bits) shifted left by 64. */
#define BIG_LIMBS 48

typedef struct big {
  size_t length; /* limbs in use; the highest is not zero. 0 for zero */
  uint64_t limb[BIG_LIMBS];
} big;

void big_set(big *b, uint64_t value);
void big_mul_add(big *b, uint64_t factor, uint64_t addend); /* b = b × factor + addend */
void big_mul_pow5(big *b, uint32_t exponent);
void big_shift_left(big *b, uint32_t bits);
uint32_t big_bits(const big *b); /* position of the highest bit + 1; 0 for zero */
int big_compare(const big *a, const big *b);
void big_add(big *a, const big *b);      /* a += b */
void big_subtract(big *a, const big *b); /* a -= b; a must be at least b */

/* The highest 64 bits of b (which must not be zero), as a number whose top bit is set; *rest is 1 when lower bits are
 * not all zero, and *exponent is such that b ≈ result × 2^exponent. */
uint64_t big_top(const big *b, int32_t *exponent, int *rest);

/* floor(a / b), which must be from 1 to 2^64 - 1; *rest is 1 when there is a remainder. Both are changed. */
uint64_t big_divide(big *a, big *b, int *rest);

#endif
