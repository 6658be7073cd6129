/* tensor/random.c: random tensors by counter: Philox 4×32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers:
 * as easy as 1, 2, 3", 2011). Sines, logarithms and roots are our own or IEEE's, so that the numbers are the same on
 * every machine. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "base/pool.h"
#include "number/math_f64.h"
#include "tensor/cast.h"
#include "tensor/create.h"
#include "tensor/few.h"
#include "tensor/walk.h"

enum { ROUNDS = 10, PER_BLOCK = 2, PIECE = 256 };

#define TWO_PI 6.28318530717958647692

static void philox(uint64_t seed, uint64_t stream, uint64_t number, uint64_t out[PER_BLOCK]) {
  uint32_t c[4] = {(uint32_t)number, (uint32_t)(number >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int i = 0; i < ROUNDS; i++) {
    const uint64_t a = (uint64_t)c[0] * 0xd2511f53u, b = (uint64_t)c[2] * 0xcd9e8d57u;
    const uint32_t c1 = c[1], c3 = c[3];
    c[0] = (uint32_t)(b >> 32) ^ c1 ^ k0, c[1] = (uint32_t)b;
    c[2] = (uint32_t)(a >> 32) ^ c3 ^ k1, c[3] = (uint32_t)a;
    k0 += 0x9e3779b9u, k1 += 0xbb67ae85u; /* the golden ratio, the root of 3 */
  }
  out[0] = (uint64_t)c[1] << 32 | c[0];
  out[1] = (uint64_t)c[3] << 32 | c[2];
}

/* 53 bits, in [0, 1). */
static double unit(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }

static void draw_pair(const viva_random_options *o, uint64_t number, double pair[PER_BLOCK]) {
  uint64_t bits[PER_BLOCK];
  philox(o->seed, o->stream, number, bits);
  if (o->distribution == VIVA_UNIFORM) {
    for (int i = 0; i < PER_BLOCK; i++) pair[i] = o->low + unit(bits[i]) * (o->high - o->low);
    return;
  }
  double sine, cosine;
  const double radius = sqrt(-2.0 * math_log(1.0 - unit(bits[0]))); /* of (0, 1] */
  math_sin_cos(TWO_PI * unit(bits[1]), &sine, &cosine);
  pair[0] = o->mean + o->deviation * radius * cosine;
  pair[1] = o->mean + o->deviation * radius * sine;
}

void create_random_numbers(const viva_random_options *options, uint64_t first, size_t n, double *values) {
  double pair[PER_BLOCK];
  for (size_t k = 0; k < n; k++) {
    if (k % PER_BLOCK == 0) draw_pair(options, (first + k) / PER_BLOCK, pair);
    values[k] = pair[k % PER_BLOCK];
  }
}

typedef struct drawing {
  viva_tensor *to;
  const viva_random_options *options;
} drawing;

static void draw(void *arg, size_t begin, size_t end, size_t thread) {
  const drawing *d = arg;
  const int64_t element = (int64_t)tensor_element_bytes(d->to->dtype);
  double values[PIECE];
  (void)thread;
  for (size_t i = begin; i < end; i += PIECE) { /* begin is a multiple of the grain, which is even */
    const size_t n = end - i < PIECE ? end - i : PIECE;
    create_random_numbers(d->options, i, n, values);
    cast_line(d->to->dtype, d->to->data + (int64_t)i * element, element, VIVA_F64, (const char *)values, sizeof *values,
              n);
  }
}

viva_random_options viva_random_options_default(void) {
  return (viva_random_options){.size = sizeof(viva_random_options), .high = 1, .deviation = 1};
}

#define RADIUS 9.0 /* more than any of draw_pair's, the largest of which is sqrt(106 log 2) */

static viva_status check_finite(double value, const char *name, viva_error *error) {
  if (isfinite(value)) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "%s is %g; expected a finite number", name, value);
  return error_option(error, VIVA_E_ARGUMENT, name);
}

/* All numbers of [low, high) can be computed. */
static viva_status check_uniform(const viva_random_options *o, viva_error *error) {
  TRY(check_finite(o->low, "low", error));
  TRY(check_finite(o->high, "high", error));
  if (o->low <= o->high && isfinite(o->high - o->low)) return VIVA_OK;
  if (o->low > o->high)
    error_set(error, VIVA_E_ARGUMENT, "low is %g and high is %g; expected low <= high", o->low, o->high);
  else
    error_set(error, VIVA_E_ARGUMENT, "high - low overflows: low is %g and high is %g", o->low, o->high);
  return error_option(error, VIVA_E_ARGUMENT, "high");
}

/* Likewise of the normal distribution: none is infinite. */
static viva_status check_normal(const viva_random_options *o, viva_error *error) {
  TRY(check_finite(o->mean, "mean", error));
  TRY(check_finite(o->deviation, "deviation", error));
  if (o->deviation >= 0 && isfinite(fabs(o->mean) + RADIUS * o->deviation)) return VIVA_OK;
  if (o->deviation < 0)
    error_set(error, VIVA_E_ARGUMENT, "deviation is %g; expected 0 or more", o->deviation);
  else
    error_set(error, VIVA_E_ARGUMENT, "numbers of the mean %g and the deviation %g overflow", o->mean, o->deviation);
  return error_option(error, VIVA_E_ARGUMENT, "deviation");
}

viva_status create_random_options(viva_random_options *options, const viva_random_options *given, viva_error *error) {
  *options = viva_random_options_default();
  TRY(options_read(options, given, "viva_random_options", error));
  TRY(options_reserved(options->reserved, "viva_random_options", error));
  if (options->distribution == VIVA_UNIFORM) return check_uniform(options, error);
  if (options->distribution == VIVA_NORMAL) return check_normal(options, error);
  error_set(error, VIVA_E_ARGUMENT, "distribution is %d; expected 0 (uniform) or 1 (normal)",
            (int)options->distribution);
  return error_option(error, VIVA_E_ARGUMENT, "distribution");
}

viva_status create_random(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                          const viva_random_options *options, viva_tensor **out, viva_error *error) {
  if (!dtype_is_float(dtype)) return operand_refuse("a random tensor", dtype, VIVA_DTYPE_NONE, error);
  TRY(tensor_empty(rt, dtype, rank, shape, out, error));
  drawing d = {*out, options};
  pool_for(rt->pool, (*out)->elements, PARALLEL_ELEMENTS / 8, draw, &d);
  return VIVA_OK;
}

viva_status create_random_to(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                             const viva_random_options *options, goal *g, viva_error *error) {
  viva_tensor *made;
  uint64_t count = 1;
  if (!dtype_is_float(dtype)) return operand_refuse("a random tensor", dtype, VIVA_DTYPE_NONE, error);
  for (uint32_t i = 0; i < rank; i++) count *= shape[i] <= FEW ? shape[i] : FEW + 1;
  if (count - 1 < FEW) {
    few_room few;
    create_random_numbers(options, 0, (size_t)count, (double *)(void *)few.bytes);
    return few_give(g, rt, dtype, rank, shape, VIVA_F64, few.bytes, error);
  }
  TRY(create_random(rt, dtype, rank, shape, options, &made, error));
  return goal_give(g, made, dtype, error);
}
