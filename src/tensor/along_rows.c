/* tensor/along_rows.c: the rows of what scales and adds up along an axis. */
#include <math.h>
#include <string.h>

#include "tensor/along.h"
#include "tensor/ops.h"
#include "tensor/reducers.h"

/* -- vectors */

static inline void unary(const loops *l, viva_unary op, viva_dtype type, const char *in, size_t n, char *out) {
  char *p[2] = {out, (char *)(uintptr_t)in};
  const int64_t size = (int64_t)tensor_element_bytes(type), step[2] = {size, size};
  l->unary[op][type](p, step, n);
}

static inline void with_number(const loops *l, viva_binary op, viva_dtype type, const char *in, size_t n,
                               const red_value *number, char *out) {
  char *p[3] = {out, (char *)(uintptr_t)in, (char *)(uintptr_t)number};
  const int64_t size = (int64_t)tensor_element_bytes(type), step[3] = {size, size, 0};
  l->binary[op][type](p, step, n);
}

/* As an element of the type. */
static inline red_value number_of(viva_dtype type, double x) {
  red_value v = {.f64 = x};
  if (type == VIVA_F32) v.f32 = (float)x;
  return v;
}

void row_unary(viva_unary op, viva_dtype type, const char *in, size_t n, char *out) {
  unary(loops_get(), op, type, in, n, out);
}

void row_scalar(viva_binary op, viva_dtype type, const char *in, size_t n, double scalar, char *out) {
  const red_value number = number_of(type, scalar);
  with_number(loops_get(), op, type, in, n, &number, out);
}

void row_binary(viva_binary op, viva_dtype type, const char *a, const char *b, size_t n, char *out) {
  char *p[3] = {out, (char *)(uintptr_t)a, (char *)(uintptr_t)b};
  const int64_t size = (int64_t)tensor_element_bytes(type), step[3] = {size, size, size};
  loops_get()->binary[op][type](p, step, n);
}

static inline red_value fold_row(const reducers *r, reducer_op op, viva_dtype type, const char *in, size_t n,
                                 double shift, red_value value) {
  const red_piece piece = r->piece[op][type == VIVA_F64 ? RED_F64 : RED_F32];
  const size_t size = tensor_element_bytes(type);
  for (size_t i = 0; i < n; i += RED_PIECE) piece(in + i * size, n - i < RED_PIECE ? n - i : RED_PIECE, shift, &value);
  return value;
}

double row_sum(viva_dtype type, const char *in, size_t n) {
  return fold_row(reducers_get(), RED_SUM, type, in, n, 0, (red_value){.f64 = 0}).f64;
}

double row_squares(viva_dtype type, const char *in, size_t n, double shift) {
  return fold_row(reducers_get(), RED_SQUARES, type, in, n, shift, (red_value){.f64 = 0}).f64;
}

double row_extreme(viva_dtype type, const char *in, size_t n, int largest) {
  const red_value start = number_of(type, largest ? -INFINITY : INFINITY);
  const red_value value = fold_row(reducers_get(), largest ? RED_MAX : RED_MIN, type, in, n, 0, start);
  return type == VIVA_F64 ? value.f64 : (double)value.f32;
}

static viva_dtype type_of(const void *arg) { return *(const viva_dtype *)arg; }

/* -- running sums and products: in F64 for floats, from what changes nothing: of sums -0, for 0 + -0 is 0 */

#define RUNNING(name, operator, start, whole)                                                                          \
  void name(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {                       \
    const viva_dtype type = type_of(arg);                                                                              \
    (void)second, (void)scratch;                                                                                       \
    if (type == VIVA_F64) {                                                                                            \
      const double *x = (const double *)(const void *)in;                                                              \
      double *y = (double *)(void *)out, value = start;                                                                \
      for (size_t i = 0; i < n; i++) y[i] = value = value operator x[i];                                               \
    } else if (type == VIVA_F32) {                                                                                     \
      const float *x = (const float *)(const void *)in;                                                                \
      float *y = (float *)(void *)out;                                                                                 \
      double value = start;                                                                                            \
      for (size_t i = 0; i < n; i++) y[i] = (float)(value = value operator(double) x[i]);                              \
    } else {                                                                                                           \
      const uint64_t *x = (const uint64_t *)(const void *)in; /* wraps, whatever the sign */                           \
      uint64_t *y = (uint64_t *)(void *)out, value = whole;                                                            \
      for (size_t i = 0; i < n; i++) y[i] = value = value operator x[i];                                               \
    }                                                                                                                  \
  }
RUNNING(along_cumsum, +, -0.0, 0)
RUNNING(along_cumprod, *, 1, 1)

/* -- scaling */

/* out = e^(x − most); the sum. */
static double exponentials(viva_dtype type, const char *in, size_t n, double most, char *out) {
  const loops *l = loops_get();
  const reducers *r = reducers_get();
  const red_value number = number_of(type, most);
  const size_t size = tensor_element_bytes(type);
  red_value sum = {.f64 = 0};
  for (size_t i = 0; i < n; i += RED_PIECE) { /* a piece stays in the first cache */
    const size_t part = n - i < RED_PIECE ? n - i : RED_PIECE;
    char *y = out + i * size;
    with_number(l, VIVA_SUBTRACT, type, in + i * size, part, &number, y);
    unary(l, VIVA_EXP, type, y, part, y);
    sum.f64 += fold_row(r, RED_SUM, type, y, part, 0, (red_value){.f64 = 0}).f64;
  }
  return sum.f64;
}

void along_softmax(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  const viva_dtype type = type_of(arg);
  (void)second, (void)scratch;
  row_scalar(VIVA_DIVIDE, type, out, n, exponentials(type, in, n, row_extreme(type, in, n, 1), out), out);
}

void along_log_softmax(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  const viva_dtype type = type_of(arg);
  (void)second, (void)scratch;
  const double most = row_extreme(type, in, n, 1), log_sum = log(exponentials(type, in, n, most, out));
  row_scalar(VIVA_SUBTRACT, type, in, n, most, out);
  row_scalar(VIVA_SUBTRACT, type, out, n, log_sum, out);
}

#define SMALLEST_NORM 1e-4 /* the seeds' */

void along_normalize(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  const viva_dtype type = type_of(arg);
  (void)second, (void)scratch;
  const double norm = sqrt(row_squares(type, in, n, 0));
  row_scalar(VIVA_DIVIDE, type, in, n, norm <= SMALLEST_NORM ? 1 : norm, out);
}

void along_standardize(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  const viva_dtype type = type_of(arg);
  (void)second, (void)scratch;
  const double mean = row_sum(type, in, n) / (double)n;
  const double deviation = sqrt(row_squares(type, in, n, mean) / (double)n);
  row_scalar(VIVA_SUBTRACT, type, in, n, mean, out);
  if (deviation == 0)
    memset(out, 0, n * tensor_element_bytes(type));
  else
    row_scalar(VIVA_DIVIDE, type, out, n, deviation, out);
}

void along_minmax_scale(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  const viva_dtype type = type_of(arg);
  (void)second, (void)scratch;
  const double least = row_extreme(type, in, n, 0), most = row_extreme(type, in, n, 1);
  row_scalar(VIVA_SUBTRACT, type, in, n, least, out);
  if (most == least)
    memset(out, 0, n * tensor_element_bytes(type));
  else
    row_scalar(VIVA_DIVIDE, type, out, n, most - least, out);
}

/* -- Walsh–Hadamard, in natural order: H(2n) = [[H, H], [H, −H]] */

#define BUTTERFLIES(name, T)                                                                                           \
  static void name(T *x, size_t n) {                                                                                   \
    for (size_t half = 1; half < n; half *= 2)                                                                         \
      for (size_t i = 0; i < n; i += 2 * half)                                                                         \
        for (size_t k = i; k < i + half; k++) {                                                                        \
          const T a = x[k], b = x[k + half];                                                                           \
          x[k] = a + b, x[k + half] = a - b;                                                                           \
        }                                                                                                              \
  }
BUTTERFLIES(butterflies_f64, double)
BUTTERFLIES(butterflies_f32, float)

static void transform(viva_dtype type, const char *in, size_t n, double divisor, char *out) {
  memmove(out, in, n * tensor_element_bytes(type));
  if (type == VIVA_F64)
    butterflies_f64((double *)(void *)out, n);
  else
    butterflies_f32((float *)(void *)out, n);
  if (divisor != 1) row_scalar(VIVA_DIVIDE, type, out, n, divisor, out);
}

void along_hadamard(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  (void)second, (void)scratch;
  transform(type_of(arg), in, n, 1, out);
}

void along_inverse_hadamard(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  (void)second, (void)scratch;
  transform(type_of(arg), in, n, (double)n, out);
}

void along_normalized_hadamard(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  (void)second, (void)scratch;
  transform(type_of(arg), in, n, sqrt((double)n), out);
}
