/* tensor/text.c: tensors as text: first a look at all that will be shown, for widths and the form, then the text. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "tensor/cast.h"
#include "tensor/digits.h"
#include "tensor/operand.h"
#include "viva/tensor_text.h"

enum { MAX_PRECISION = 17, WORD = 2 * DIGITS_MAX };

viva_format_options viva_format_options_default(void) {
  return (viva_format_options){
      .size = sizeof(viva_format_options), .threshold = 1000, .edge_items = 3, .line_width = 75, .precision = 8};
}

/* What is printed, and how. */
typedef struct printing {
  const viva_tensor *a;
  viva_format_options o;
  int shortened;
  int real; /* floats, as F64 */
  int exponential;
  int before, behind, exponent; /* widths: with the sign; digits; digits of the exponent */
  /* what was seen: */
  double most, least;                 /* magnitudes, not 0 */
  int finite, odd, negative_infinity; /* odd: infinities or NaN */
  /* where it goes: */
  char *text;
  size_t size, length;
  int spaces; /* behind the last word: a line that goes on has them, one that ends at the width has not */
} printing;

static void put(printing *p, const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes; i++, p->length++)
    if (p->length + 1 < p->size) p->text[p->length] = text[i];
}

static void put_many(printing *p, char c, int count) {
  for (int i = 0; i < count; i++) put(p, &c, 1);
}

/* -- single elements */

static double as_double(const printing *p, const char *at) {
  double x;
  cast_line(VIVA_F64, (char *)&x, 0, p->a->dtype, at, 0, 1);
  return x;
}

static int whole_text(const printing *p, const char *at, char *word) {
  if (p->a->dtype == VIVA_BOOL) return snprintf(word, WORD, "%s", *at ? "True" : "False");
  if (p->a->dtype == VIVA_U64) {
    uint64_t x;
    memcpy(&x, at, sizeof x);
    return snprintf(word, WORD, "%llu", (unsigned long long)x);
  }
  int64_t x;
  cast_line(VIVA_I64, (char *)&x, 0, p->a->dtype, at, 0, 1);
  return snprintf(word, WORD, "%lld", (long long)x);
}

static int exponent_digits(int exponent) { return exponent > 99 || exponent < -99 ? 3 : 2; }

/* First look: magnitudes. */
static void see_magnitude(printing *p, const char *at) {
  const double x = as_double(p, at), m = fabs(x);
  if (!isfinite(x)) {
    p->odd = 1;
    p->negative_infinity |= x < 0;
    return;
  }
  p->finite = 1;
  if (m == 0) return;
  p->most = m > p->most ? m : p->most;
  p->least = m < p->least ? m : p->least;
}

/* Second look: widths. */
static void see_width(printing *p, const char *at) {
  char word[WORD];
  digits d;
  if (!p->real) {
    const int n = whole_text(p, at, word);
    p->before = n > p->before ? n : p->before;
    return;
  }
  const double x = as_double(p, at);
  if (!isfinite(x)) return;
  digits_of(&d, p->a->dtype, x, (int)p->o.precision, p->exponential);
  const int before = d.negative + (p->exponential ? 1 : digits_before(&d));
  const int behind = p->exponential ? (d.count > 0 ? d.count - 1 : 0) : digits_behind(&d);
  const int exponent = exponent_digits(d.count > 0 ? d.point - 1 : 0);
  p->before = before > p->before ? before : p->before;
  p->behind = behind > p->behind ? behind : p->behind;
  p->exponent = exponent > p->exponent ? exponent : p->exponent;
}

static int digit(const digits *d, int i) { return i >= 0 && i < d->count ? d->of[i] : '0'; }

static int real_text(const printing *p, double x, char *word) {
  digits d;
  int n = 0;
  const int tail = p->exponential ? p->behind + 2 + p->exponent : p->behind;
  if (!isfinite(x)) return snprintf(word, WORD, "%*s", p->before + 1 + tail, isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
  digits_of(&d, p->a->dtype, x, (int)p->o.precision, p->exponential);
  if (p->exponential && d.count > 0 && d.count <= p->behind) digits_take(&d, x, p->behind + 1); /* all have as many */
  const int high = p->exponential ? 1 : digits_before(&d);
  const int low = p->exponential ? p->behind : digits_behind(&d);
  const int first = p->exponential ? 0 : d.point - high; /* number of the digit that stands first */
  for (int i = d.negative + high; i < p->before; i++) word[n++] = ' ';
  if (d.negative) word[n++] = '-';
  for (int i = 0; i < high; i++) word[n++] = (char)digit(&d, first + i);
  word[n++] = '.';
  for (int i = 0; i < low; i++) word[n++] = (char)digit(&d, first + high + i);
  if (p->exponential) {
    const int e = d.count > 0 ? d.point - 1 : 0;
    return n + snprintf(word + n, (size_t)(WORD - n), "e%c%0*d", e < 0 ? '-' : '+', p->exponent, e < 0 ? -e : e);
  }
  for (int i = low; i < p->behind; i++) word[n++] = ' ';
  return n;
}

static int word_of(const printing *p, const char *at, char *word) {
  char plain[WORD];
  if (p->real) return real_text(p, as_double(p, at), word);
  whole_text(p, at, plain);
  return snprintf(word, WORD, "%*s", p->before, plain);
}

/* -- all that is shown */

/* The index of the i-th of the shown ones, and how many there are; *gap: in front of which "..." stands. */
static uint64_t shown(const printing *p, uint32_t axis, uint64_t *gap) {
  const uint64_t size = p->a->shape[axis], edges = 2 * (uint64_t)p->o.edge_items;
  *gap = UINT64_MAX;
  if (!p->shortened || size <= edges) return size;
  *gap = p->o.edge_items;
  return edges;
}

static const char *element_at(const printing *p, uint32_t axis, const char *at, uint64_t i, uint64_t gap,
                              uint64_t count) {
  const uint64_t index = i >= gap ? p->a->shape[axis] - (count - i) : i;
  return at + (int64_t)index * p->a->strides[axis] * (int64_t)tensor_element_bytes(p->a->dtype);
}

static void look(printing *p, uint32_t axis, const char *at, void (*see)(printing *, const char *)) {
  uint64_t gap;
  if (axis == p->a->rank) {
    see(p, at);
    return;
  }
  const uint64_t count = shown(p, axis, &gap);
  for (uint64_t i = 0; i < count; i++) look(p, axis + 1, element_at(p, axis, at, i, gap, count), see);
}

/* A word of a line: on the next one where it does not fit. */
static void put_word(printing *p, const char *word, int n, int indent, int width, int *line) {
  const int alone = *line <= indent, separator = alone ? 0 : 1;
  if (!alone && *line + separator + n > width) {
    put(p, "\n", 1);
    put_many(p, ' ', indent);
    *line = indent;
  } else {
    put_many(p, ' ', p->spaces + separator);
    *line += separator;
  }
  *line += n;
  p->spaces = 0;
  while (n > 0 && word[n - 1] == ' ') n--, p->spaces++;
  put(p, word, (size_t)n);
}

static void put_row(printing *p, uint32_t axis, const char *at) {
  const int indent = (int)axis + 1, width = (int)p->o.line_width - (int)axis - 1;
  int line = indent;
  uint64_t gap;
  char word[WORD];
  const uint64_t count = shown(p, axis, &gap);
  for (uint64_t i = 0; i < count || i == gap; i++) {
    if (i == gap) put_word(p, "...", 3, indent, width, &line);
    if (i == count) break; /* no elements at the edges */
    const int n = word_of(p, element_at(p, axis, at, i, gap, count), word);
    put_word(p, word, n, indent, width, &line);
  }
  put_many(p, ' ', p->spaces);
  p->spaces = 0;
}

static void put_axis(printing *p, uint32_t axis, const char *at) {
  uint64_t gap;
  put(p, "[", 1);
  if (axis + 1 == p->a->rank) {
    put_row(p, axis, at);
    put(p, "]", 1);
    return;
  }
  const int lines = (int)(p->a->rank - axis) - 1;
  const uint64_t count = shown(p, axis, &gap);
  for (uint64_t i = 0; i < count || i == gap; i++) {
    if (i > 0) put_many(p, '\n', lines), put_many(p, ' ', (int)axis + 1);
    if (i == gap) {
      put(p, "...", 3);
      if (i == count) break;
      put_many(p, '\n', lines), put_many(p, ' ', (int)axis + 1);
    }
    put_axis(p, axis + 1, element_at(p, axis, at, i, gap, count));
  }
  put(p, "]", 1);
}

/* -- the form */

/* From which magnitude on exponents are better: as many digits as the type is sure of, and 10^8 at most. */
static double cutoff(viva_dtype type) {
  switch (type) {
  case VIVA_F64: return 1e8;
  case VIVA_F32: return 1e6;
  case VIVA_BF16: return 1e2;
  default: return 1e3;
  }
}

/* x as the type has it, as NumPy compares. */
static double in_type(viva_dtype type, double x) {
  _Alignas(8) char code[8];
  cast_line(type, code, 0, VIVA_F64, (const char *)&x, 0, 1);
  cast_line(VIVA_F64, (char *)&x, 0, type, code, 0, 1);
  return x;
}

static int wants_exponents(const printing *p) {
  const viva_dtype type = p->a->dtype;
  if (p->most == 0) return 0;
  return p->most >= cutoff(type) || p->least < in_type(type, 1e-4) || in_type(type, p->most / p->least) > 1000;
}

static void choose_form(printing *p) {
  if (p->real) {
    p->least = INFINITY;
    look(p, 0, p->a->data, see_magnitude);
    p->exponential = wants_exponents(p);
  }
  if (p->a->dtype == VIVA_BOOL && p->a->rank > 0) p->before = 5; /* as if False were there */
  look(p, 0, p->a->data, see_width);
  if (p->odd) {
    const int tail = p->finite && p->exponential ? p->behind + 2 + p->exponent : p->behind;
    const int need = 3 + p->negative_infinity - (tail + 1);
    p->before = need > p->before ? need : p->before;
  }
}

viva_status viva_tensor_format(const viva_tensor *a, const viva_format_options *options, char *text, size_t size,
                               size_t *length, viva_error *error) {
  printing p = {.a = a, .o = viva_format_options_default(), .text = text, .size = size};
  TRY(operand_need(a, "a", error));
  TRY(options_read(&p.o, options, "viva_format_options", error));
  TRY(options_reserved(p.o.reserved, "viva_format_options", error));
  if (p.o.precision > MAX_PRECISION || p.o.line_width > INT16_MAX)
    return error_set(error, VIVA_E_ARGUMENT, "precision is %u and line_width %u; expected at most 17 and 32767",
                     (unsigned)p.o.precision, (unsigned)p.o.line_width);
  if (size > 0 && !text) return error_set(error, VIVA_E_ARGUMENT, "text is NULL; expected a place for %zu bytes", size);
  p.real = dtype_is_float(a->dtype) || !dtype_is_compute(a->dtype);
  p.shortened = a->elements > p.o.threshold;
  if (a->elements == 0) {
    put(&p, "[]", 2);
  } else {
    choose_form(&p);
    if (a->rank > 0) {
      put_axis(&p, 0, a->data);
    } else {
      char word[WORD];
      put(&p, word, (size_t)word_of(&p, a->data, word));
    }
  }
  if (size > 0) text[p.length < size ? p.length : size - 1] = '\0';
  if (length) *length = p.length;
  return VIVA_OK;
}
