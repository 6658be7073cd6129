/* numbers.c: decimal numbers from text, strictly. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t digits(const char *text) {
  size_t n = 0;
  while (is_digit(text[n])) n++;
  return n;
}

int args_read_unsigned(const char *text, size_t length, uint64_t *value) {
  uint64_t sum = 0;
  if (length == 0) return 0;
  for (size_t i = 0; i < length; i++) {
    if (!is_digit(text[i])) return 0;
    uint64_t digit = (uint64_t)(text[i] - '0');
    if (sum > (UINT64_MAX - digit) / 10) return 0;
    sum = sum * 10 + digit;
  }
  *value = sum;
  return 1;
}

int args_read_integer(const char *text, size_t length, int64_t *value) {
  uint64_t size;
  int negative = length > 0 && text[0] == '-';
  if (!args_read_unsigned(text + negative, length - (size_t)negative, &size) || size > INT64_MAX) return 0;
  *value = negative ? -(int64_t)size : (int64_t)size;
  return 1;
}

/* The grammar is checked here; strtod then rounds. The program never calls setlocale, so the point is a point. */
int args_read_real(const char *text, double *value) {
  const char *s = text + (text[0] == '-' || text[0] == '+');
  size_t whole = digits(s);
  s += whole;
  size_t fraction = 0;
  if (*s == '.') {
    fraction = digits(s + 1);
    s += 1 + fraction;
  }
  if (whole + fraction == 0) return 0;
  if (*s == 'e' || *s == 'E') {
    s += 1 + (s[1] == '-' || s[1] == '+');
    size_t exponent = digits(s);
    if (exponent == 0) return 0;
    s += exponent;
  }
  if (*s != 0) return 0;
  double number = strtod(text, NULL);
  if (!isfinite(number)) return 0;
  *value = number;
  return 1;
}
