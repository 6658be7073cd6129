/* base/num_format.c: double to the shortest decimal that reads back as the same double.
 *
 * Steele and White's algorithm as in Burger and Dybvig, "Printing Floating-Point Numbers Quickly and Accurately"
 * (1996): digits of value = r / s are taken until what is left is within half the distance to the neighbouring doubles.
 */
#include <string.h>

#include "base/bigint.h"
#include "base/num.h"

#define MAX_DIGITS 17 /* enough for every double */

typedef struct scaled {
  bigint r, s;        /* value = r / s */
  bigint minus, plus; /* half the distances to the doubles below and above, in the same unit */
  int ends_belong;    /* the fraction is even: the two middles read back as this double */
} scaled;

static void scale(uint64_t bits, scaled *x) {
  const uint64_t implied = (uint64_t)1 << 52;
  uint64_t fraction = bits & (implied - 1), biased = bits >> 52 & 0x7FF;
  int32_t exponent = biased == 0 ? -1074 : (int32_t)biased - 1075;
  if (biased != 0) fraction |= implied;
  /* At a power of two the double below is only half as far as the one above. */
  int edge = fraction == implied && biased > 1;
  x->ends_belong = (fraction & 1) == 0;
  bigint_set(&x->r, fraction);
  bigint_set(&x->s, 1);
  bigint_set(&x->minus, 1);
  bigint_set(&x->plus, 1);
  uint32_t up = exponent > 0 ? (uint32_t)exponent : 0, down = exponent < 0 ? (uint32_t)-exponent : 0;
  bigint_shift_left(&x->r, up + 1 + (uint32_t)edge);
  bigint_shift_left(&x->s, down + 1 + (uint32_t)edge);
  bigint_shift_left(&x->minus, up);
  bigint_shift_left(&x->plus, up + (uint32_t)edge);
}

/* Is r + plus beyond the unit s (or at it, when the ends belong to this double)? Then the next digit would be 10. */
static int reaches_unit(const scaled *x) {
  bigint sum = x->r;
  bigint_add(&sum, &x->plus);
  int order = bigint_compare(&sum, &x->s);
  return order > 0 || (order == 0 && x->ends_belong);
}

static void times_ten(scaled *x) {
  bigint_mul_add(&x->r, 10, 0);
  bigint_mul_add(&x->minus, 10, 0);
  bigint_mul_add(&x->plus, 10, 0);
}

/* Brings the value into [1/10, 1) of its unit; returns the exponent: value = 0.DIGITS × 10^exponent. */
static int32_t normalise(scaled *x) {
  /* value ≥ 2^bits, and 0.30103 is log10(2) + 5e-9: the power of ten cut from it leaves at least 1/10 for every double
   * (the fraction that is cut off is a multiple of 1e-5, the error is below 1074 × 5e-9), so that only the other way can
   * be needed. */
  int32_t bits = (int32_t)bigint_bits(&x->r) - (int32_t)bigint_bits(&x->s);
  int32_t exponent = bits * 30103 / 100000;
  if (exponent > 0) {
    bigint_mul_pow5(&x->s, (uint32_t)exponent);
    bigint_shift_left(&x->s, (uint32_t)exponent);
  } else if (exponent < 0) {
    bigint *const parts[] = {&x->r, &x->minus, &x->plus};
    for (size_t i = 0; i < 3; i++) {
      bigint_mul_pow5(parts[i], (uint32_t)-exponent);
      bigint_shift_left(parts[i], (uint32_t)-exponent);
    }
  }
  for (; reaches_unit(x); exponent++) bigint_mul_add(&x->s, 10, 0);
  return exponent;
}

/* Digits after "0."; returns how many. */
static size_t generate(scaled *x, char digits[MAX_DIGITS + 1]) {
  for (size_t count = 0;;) {
    times_ten(x);
    char digit = '0';
    while (bigint_compare(&x->r, &x->s) >= 0) {
      bigint_subtract(&x->r, &x->s);
      digit++;
    }
    int order = bigint_compare(&x->r, &x->minus);
    int low = order < 0 || (order == 0 && x->ends_belong);
    int high = reaches_unit(x);
    if (!low && !high && count < MAX_DIGITS) {
      digits[count++] = digit;
      continue;
    }
    bigint twice = x->r;
    bigint_add(&twice, &x->r);
    int half = bigint_compare(&twice, &x->s);
    int up = low && high ? half > 0 || (half == 0 && (digit & 1)) : high;
    digits[count++] = (char)(digit + up);
    return count;
  }
}

/* 0.DIGITS × 10^exponent as JavaScript writes it: plain from 1e-7 to 1e21, else d.ddde±x. */
static size_t lay_out(char *out, const char *digits, size_t count, int32_t exponent) {
  char *at = out;
  int32_t length = (int32_t)count;
  if (exponent > 21 || exponent <= -6) {
    *at++ = digits[0];
    if (count > 1) {
      *at++ = '.';
      memcpy(at, digits + 1, count - 1);
      at += count - 1;
    }
    int32_t shown = exponent - 1;
    *at++ = 'e';
    *at++ = shown < 0 ? '-' : '+';
    if (shown < 0) shown = -shown;
    if (shown >= 100) *at++ = (char)('0' + shown / 100);
    if (shown >= 10) *at++ = (char)('0' + shown / 10 % 10);
    *at++ = (char)('0' + shown % 10);
  } else if (exponent <= 0) {
    memcpy(at, "0.", 2);
    at += 2;
    memset(at, '0', (size_t)-exponent);
    at += -exponent;
    memcpy(at, digits, count);
    at += count;
  } else if (length <= exponent) {
    memcpy(at, digits, count);
    memset(at + count, '0', (size_t)(exponent - length));
    at += exponent;
  } else {
    memcpy(at, digits, (size_t)exponent);
    at += exponent;
    *at++ = '.';
    memcpy(at, digits + exponent, (size_t)(length - exponent));
    at += length - exponent;
  }
  return (size_t)(at - out);
}

size_t num_format_double(char buffer[32], double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  int negative = (int)(bits >> 63);
  bits &= ~((uint64_t)1 << 63);
  const uint64_t infinity = (uint64_t)0x7FF << 52;
  const char *word = bits > infinity ? "nan" : bits == infinity ? (negative ? "-inf" : "inf") : NULL;
  size_t length = 0;
  if (word) {
    length = strlen(word);
    memcpy(buffer, word, length);
  } else {
    if (negative) buffer[length++] = '-';
    if (bits == 0) {
      buffer[length++] = '0';
    } else {
      scaled x;
      char digits[MAX_DIGITS + 1];
      scale(bits, &x);
      int32_t exponent = normalise(&x);
      size_t count = generate(&x, digits);
      length += lay_out(buffer + length, digits, count, exponent);
    }
  }
  buffer[length] = 0;
  return length;
}
