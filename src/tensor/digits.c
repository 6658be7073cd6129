/* tensor/digits.c: the fewest digits, found by trying. */
#include "tensor/digits.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "tensor/cast.h"

enum { MOST = 17 }; /* enough for every double */

/* Correctly rounded; what the locale puts between digits is passed over. */
void digits_take(digits *d, double x, int count) {
  char text[64];
  const char *p = text;
  d->negative = __builtin_signbit(x) != 0;
  snprintf(text, sizeof text, "%.*e", count - 1, d->negative ? -x : x);
  d->count = 0;
  for (; *p != 'e'; p++)
    if (*p >= '0' && *p <= '9') d->of[d->count++] = *p;
  int64_t exponent = 0;
  p += p[1] == '+' ? 2 : 1;
  num_i64(p, strlen(p), &exponent);
  d->point = (int)exponent + 1;
}

static int reads_back(const digits *d, viva_dtype type, double x) {
  char text[64];
  double wide = 0;
  _Alignas(8) char code[2][8] = {{0}, {0}};
  const int n = snprintf(text, sizeof text, "%.*se%d", d->count, d->of, d->point - d->count);
  if (num_double(text, (size_t)n, &wide) != 0) return 0;
  cast_line(type, code[0], 0, VIVA_F64, (const char *)&wide, 0, 1);
  cast_line(type, code[1], 0, VIVA_F64, (const char *)&x, 0, 1);
  return memcmp(code[0], code[1], sizeof code[0]) == 0;
}

static void trim(digits *d) {
  while (d->count > 0 && d->of[d->count - 1] == '0') d->count--;
  if (d->count == 0) d->point = 0;
}

void digits_of(digits *d, viva_dtype type, double value, int places, int exponential) {
  const int negative = __builtin_signbit(value) != 0;
  const double x = negative ? -value : value;
  *d = (digits){.negative = negative};
  if (x == 0) return;
  for (int count = 1; count <= MOST; count++) {
    digits_take(d, x, count);
    if (reads_back(d, type, x)) break;
  }
  const int behind = exponential ? d->count - 1 : digits_behind(d);
  if (behind > places) {
    char text[2 * DIGITS_MAX];
    if (exponential) {
      digits_take(d, x, places + 1);
    } else { /* digits before the point, then behind it; zeros in front do not count */
      snprintf(text, sizeof text, "%.*f", places, x);
      int all = 0;
      d->count = 0;
      for (const char *p = text; *p; p++)
        if (*p >= '0' && *p <= '9') all++;
      d->point = all - places;
      for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9') continue;
        if (d->count == 0 && *p == '0')
          d->point--;
        else if (d->count < DIGITS_MAX)
          d->of[d->count++] = *p;
      }
    }
  }
  trim(d);
  d->negative = negative;
}
