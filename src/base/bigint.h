/* base/bigint.h: unsigned integers of up to BIGINT_LIMBS × 64 bits, for exact conversion of decimals. */
#ifndef BASE_BIGINT_H
#define BASE_BIGINT_H

#include <stddef.h>
#include <stdint.h>

/* The largest value that occurs: a decimal of 770 digits (2558 bits) against 5^1112 (2583 bits) shifted left by 64. */
#define BIGINT_LIMBS 48

typedef struct bigint {
  size_t length; /* limbs in use; the highest is not zero. 0 for zero */
  uint64_t limb[BIGINT_LIMBS];
} bigint;

void bigint_set(bigint *b, uint64_t value);
void bigint_mul_add(bigint *b, uint64_t factor, uint64_t addend); /* b = b × factor + addend */
void bigint_mul_pow5(bigint *b, uint32_t exponent);
void bigint_shift_left(bigint *b, uint32_t bits);
uint32_t bigint_bits(const bigint *b); /* position of the highest bit + 1; 0 for zero */
int bigint_compare(const bigint *a, const bigint *b);
void bigint_add(bigint *a, const bigint *b);      /* a += b */
void bigint_subtract(bigint *a, const bigint *b); /* a -= b; a must be at least b */

/* The highest 64 bits of b (which must not be zero), as a number whose top bit is set; *rest is 1 when lower bits are
 * not all zero, and *exponent is such that b ≈ result × 2^exponent. */
uint64_t bigint_top(const bigint *b, int32_t *exponent, int *rest);

/* floor(a / b), which must be from 1 to 2^64 - 1; *rest is 1 when there is a remainder. Both are changed. */
uint64_t bigint_divide(bigint *a, bigint *b, int *rest);

#endif
