/* base/num_double.c: decimal to double, correctly rounded (to nearest, ties to even), without locale.
 *
 * Three ways, each exact for the numbers it takes:
 *   digits ≤ 2^53 and a power of ten ≤ 10^22   both are doubles, so one multiplication or division rounds once (Clinger)
 *   19 digits and 10^±27                       a product or quotient of 128-bit integers
 *   anything else                              large integers
 */
#include <string.h>

#include "base/bigint.h"
#include "base/num.h"

__extension__ typedef unsigned __int128 wide;

#define SMALL_DIGITS 19 /* always fit 64 bits */
/* A double, or the middle of two, has at most 767 significant digits: what follows matters only as zero or not. */
#define MAX_DIGITS   769
#define MAX_EXPONENT ((int64_t)1 << 40) /* stands for every larger one; far from overflow in sums */

typedef struct decimal {
  int negative;
  const char *digits; /* first significant digit; may have a '.' inside */
  size_t count;       /* significant digits */
  int64_t exponent;   /* value = digits × 10^exponent */
} decimal;

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t span_digits(const char *text, const char *end) {
  size_t n = 0;
  while (text + n < end && is_digit(text[n])) n++;
  return n;
}

/* The exponent behind 'e'. 0 on success. */
static int parse_exponent(const char *text, const char *end, int64_t *exponent) {
  int negative = text < end && *text == '-';
  if (text < end && (*text == '-' || *text == '+')) text++;
  if (text == end || span_digits(text, end) != (size_t)(end - text)) return 1;
  int64_t sum = 0;
  for (; text < end; text++)
    if (sum < MAX_EXPONENT) sum = sum * 10 + (*text - '0');
  *exponent = negative ? -sum : sum;
  return 0;
}

/* JSON's grammar: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static int parse(const char *text, size_t bytes, decimal *d) {
  const char *end = text + bytes;
  *d = (decimal){.negative = bytes > 0 && text[0] == '-'};
  text += d->negative;
  size_t whole = span_digits(text, end);
  if (whole == 0 || (whole > 1 && *text == '0')) return 1;
  const char *fraction = text + whole;
  size_t fraction_digits = 0;
  const char *rest = fraction;
  if (fraction < end && *fraction == '.') {
    fraction++;
    fraction_digits = span_digits(fraction, end);
    if (fraction_digits == 0) return 1;
    rest = fraction + fraction_digits;
  }
  int64_t exponent = 0;
  if (rest < end && ((*rest != 'e' && *rest != 'E') || parse_exponent(rest + 1, end, &exponent))) return 1;
  d->digits = text;
  d->count = whole + fraction_digits;
  if (*text == '0') { /* leading zeros are not significant */
    size_t zeros = 0;
    while (zeros < fraction_digits && fraction[zeros] == '0') zeros++;
    d->digits = fraction + zeros;
    d->count = fraction_digits - zeros;
  }
  d->exponent = exponent - (int64_t)fraction_digits;
  return 0;
}

/* The digit at *digits, or behind the '.' there; moves past it. */
static uint64_t take_digit(const char **digits) {
  if (**digits == '.') ++*digits;
  return (uint64_t)(*(*digits)++ - '0');
}

/* top × 2^exponent, and a little more when rest is set, to the nearest double. 1 on overflow. top must not be 0. */
static int round_binary(uint64_t top, int32_t exponent, int rest, double *value) {
  const int32_t precision = 53, least_exponent = -1074, most_exponent = 971; /* of the last bit of the fraction */
  int32_t zeros = __builtin_clzll(top);
  top <<= zeros;
  exponent -= zeros;
  int32_t drop = 64 - precision;
  if (exponent + drop < least_exponent) drop = least_exponent - exponent; /* subnormal: fewer bits */
  uint64_t fraction = 0;
  if (drop < 64) {
    uint64_t lost = top << (64 - drop), half = (uint64_t)1 << 63;
    fraction = top >> drop;
    if (lost > half || (lost == half && (rest || (fraction & 1)))) fraction++;
  } else if (drop == 64) {
    fraction = top > (uint64_t)1 << 63 || rest; /* exactly half of the least double rounds to zero */
  }
  exponent += drop;
  if (fraction >> precision != 0) {
    fraction >>= 1;
    exponent++;
  }
  if (exponent > most_exponent) return 1;
  const uint64_t implied = (uint64_t)1 << (precision - 1);
  uint64_t biased = fraction >= implied ? (uint64_t)(exponent - least_exponent + 1) : 0;
  uint64_t bits = biased << (precision - 1) | (fraction & (implied - 1));
  memcpy(value, &bits, sizeof bits);
  return 0;
}

static int convert_clinger(uint64_t digits, int64_t exponent, double *value) {
  static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  if (digits > (uint64_t)1 << 53 || exponent < -22 || exponent > 22) return 1;
  *value = exponent < 0 ? (double)digits / powers[-exponent] : (double)digits * powers[exponent];
  return 0;
}

/* digits < 2^64 and not 0, |exponent| ≤ 27: 5^27 < 2^63. */
static int convert_wide(uint64_t digits, int32_t exponent, double *value) {
  uint64_t power = 1;
  for (int32_t i = exponent < 0 ? -exponent : exponent; i > 0; i--) power *= 5;
  if (exponent >= 0) {
    wide product = (wide)digits * power;
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if (high == 0) return round_binary(low, exponent, 0, value);
    int shift = __builtin_clzll(high);
    uint64_t top = shift == 0 ? high : high << shift | low >> (64 - shift);
    return round_binary(top, exponent + 64 - shift, shift == 0 ? low != 0 : (low << shift) != 0, value);
  }
  int up = __builtin_clzll(digits);
  wide numerator = (wide)(digits << up) << 64;
  wide quotient = numerator / power; /* above 2^64, because power < 2^63: enough bits */
  int rest = quotient * power != numerator;
  uint64_t high = (uint64_t)(quotient >> 64), low = (uint64_t)quotient;
  int shift = __builtin_clzll(high);
  uint64_t top = shift == 0 ? high : high << shift | low >> (64 - shift);
  rest |= (shift == 0 ? low : low << shift) != 0;
  return round_binary(top, exponent - up - shift, rest, value);
}

static int convert_big(const decimal *d, double *value) {
  bigint a;
  bigint_set(&a, 0);
  const char *digit = d->digits;
  size_t taken = d->count < MAX_DIGITS ? d->count : MAX_DIGITS;
  for (size_t i = 0; i < taken; i++) {
    uint64_t v = take_digit(&digit);
    if (a.length == 0)
      bigint_set(&a, v);
    else
      bigint_mul_add(&a, 10, v);
  }
  int64_t exponent = d->exponent + (int64_t)(d->count - taken);
  int nonzero = 0;
  for (size_t i = taken; i < d->count && !nonzero; i++) nonzero = take_digit(&digit) != 0;
  if (nonzero) { /* any digit will do: it only has to lie between two that are exact */
    bigint_mul_add(&a, 10, 1);
    exponent--;
  }
  int32_t power = (int32_t)exponent, shift = 0;
  int rest;
  if (power >= 0) {
    bigint_mul_pow5(&a, (uint32_t)power);
    uint64_t top = bigint_top(&a, &shift, &rest);
    return round_binary(top, power + shift, rest, value);
  }
  bigint b;
  bigint_set(&b, 1);
  bigint_mul_pow5(&b, (uint32_t)-power);
  /* A quotient of 63 or 64 bits. */
  int32_t up = (int32_t)bigint_bits(&b) + 63 - (int32_t)bigint_bits(&a);
  if (up >= 0)
    bigint_shift_left(&a, (uint32_t)up);
  else
    bigint_shift_left(&b, (uint32_t)-up);
  uint64_t quotient = bigint_divide(&a, &b, &rest);
  return round_binary(quotient, power - up, rest, value);
}

static int convert(const decimal *d, double *value) {
  *value = 0;
  if (d->count == 0) return 0;
  /* The value lies in [10^(magnitude-1), 10^magnitude). Beyond these, no double but 0 and infinity is near; within, the
   * large integers have room. */
  int64_t magnitude = d->exponent + (int64_t)d->count;
  if (magnitude > 310) return 1;
  if (magnitude < -325) return 0;
  if (d->count <= SMALL_DIGITS) {
    uint64_t small = 0;
    const char *digit = d->digits;
    for (size_t i = 0; i < d->count; i++) small = small * 10 + take_digit(&digit);
    if (convert_clinger(small, d->exponent, value) == 0) return 0;
    if (d->exponent >= -27 && d->exponent <= 27) return convert_wide(small, (int32_t)d->exponent, value);
  }
  return convert_big(d, value);
}

int num_double(const char *text, size_t bytes, double *value) {
  decimal d;
  double magnitude;
  if (parse(text, bytes, &d) || convert(&d, &magnitude)) return 1;
  *value = d.negative ? -magnitude : magnitude;
  return 0;
}
