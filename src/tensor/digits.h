/* tensor/digits.h: the digits of floats for printing. */
#ifndef TENSOR_DIGITS_H
#define TENSOR_DIGITS_H

#include <stdint.h>

#include "viva/types.h"

enum { DIGITS_MAX = 340 }; /* of 2^1024 with 17 behind the point */

/* 0.d₁d₂… · 10^(point): the fewest digits that are read back as value (finite) in its type, rounded where the format has fewer
 * places. Zero: no digits, point 0. */
typedef struct digits {
  int negative, count, point;
  char of[DIGITS_MAX];
} digits;

/* places: most digits behind the point; exponential: behind the first digit. */
void digits_of(digits *d, viva_dtype type, double value, int places, int exponential);
/* Exactly `count` ≤ 18 digits of x, which is not 0. */
void digits_take(digits *d, double x, int count);

/* Digits before the point (at least 1, the zero), and behind it, as a plain number. */
static inline int digits_before(const digits *d) { return d->point > 0 ? d->point : 1; }
static inline int digits_behind(const digits *d) { return d->count > d->point ? d->count - d->point : 0; }

#endif
