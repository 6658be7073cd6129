/* bench_arithmetic.c: kernels on 8 values, as the calls of bench_calls.c come to them. */
#include "bench_arithmetic.h"

#include <math.h>
#include <string.h>

#include "bench.h"
#include "tensor/along.h"
#include "tensor/cast.h"
#include "tensor/conv.h"
#include "tensor/create.h"
#include "tensor/fold.h"
#include "tensor/gemm.h"
#include "tensor/radix.h"

enum { N = 8 };

/* Values of one row; those of the tables are 1 … 8 and 2 … 9, as the calls have them. */
typedef struct values {
  viva_dtype from; /* of the tensor */
  viva_dtype type; /* that is computed in */
  int64_t size;    /* of it */
  int op;
  _Alignas(32) char x[64], y[64], own[64], out[128], second[64], scratch[1024]; /* own: x as it lies in the tensor */
} values;
typedef void (*kernel)(values *v);

static void fill(char *to, viva_dtype type, double first) {
  double x[N];
  for (int i = 0; i < N; i++) x[i] = first + i;
  cast_line(type, to, (int64_t)tensor_element_bytes(type), VIVA_F64, (const char *)x, sizeof *x, N);
}

static void set_type(values *v, viva_dtype type) {
  v->type = type, v->size = (int64_t)tensor_element_bytes(type);
  fill(v->x, type, 1), fill(v->y, type, 2);
}

static viva_dtype real_type(viva_dtype t) { return dtype_is_float(t) ? dtype_kernel(t) : VIVA_F64; }

/* -- the tables */

static void unary(values *v) {
  char *p[2] = {v->out, v->x};
  const int64_t step[2] = {unary_types((viva_unary)v->op, v->type).result == VIVA_BOOL ? 1 : v->size, v->size};
  loops_get()->unary[v->op][v->type](p, step, N);
}

static void binary_of(values *v, viva_binary op, char *x, char *y, int64_t y_step, char *out, size_t n) {
  char *p[3] = {out, x, y};
  const int64_t step[3] = {binary_types(op, v->type, v->type).result == VIVA_BOOL ? 1 : v->size, v->size, y_step};
  loops_get()->binary[op][v->type](p, step, n);
}
static void binary(values *v) { binary_of(v, (viva_binary)v->op, v->x, v->y, v->size, v->out, N); }

static double folded(values *v, reducer_op op, const char *line, size_t n, double shift) {
  red_value value;
  fold_line(op, v->type, line, n, shift, &value);
  return fold_result(op, v->type) == VIVA_F64 ? value.f64 : 0;
}

static void reduce(values *v) {
  static const reducer_op folds[] = {
      [VIVA_SUM] = RED_SUM, [VIVA_PROD] = RED_PROD, [VIVA_MAX] = RED_MAX, [VIVA_MIN] = RED_MIN};
  double value = 0;
  switch (v->op) {
  case VIVA_SUM:
  case VIVA_PROD:
  case VIVA_MAX:
  case VIVA_MIN: value = folded(v, folds[v->op], v->x, N, 0); break;
  case VIVA_MEAN: value = folded(v, RED_SUM, v->x, N, 0) / N; break;
  case VIVA_NORM: value = sqrt(folded(v, RED_SQUARES, v->x, N, 0)); break;
  case VIVA_VAR:
  case VIVA_STD:
    value = folded(v, RED_SQUARES, v->x, N, folded(v, RED_SUM, v->x, N, 0) / N) / N;
    if (v->op == VIVA_STD) value = sqrt(value);
    break;
  default: value = (double)reducers_get()->count_true((const uint8_t *)v->x, N);
  }
  memcpy(v->out, &value, sizeof value);
}

static void along_row(values *v, viva_along op, size_t n, const char *in, char *out) {
  static const lane_fn rows[VIVA_ALONG_COUNT] = {[VIVA_CUMSUM] = along_cumsum,
                                                 [VIVA_CUMPROD] = along_cumprod,
                                                 [VIVA_SOFTMAX] = along_softmax,
                                                 [VIVA_LOG_SOFTMAX] = along_log_softmax,
                                                 [VIVA_NORMALIZE] = along_normalize,
                                                 [VIVA_STANDARDIZE] = along_standardize,
                                                 [VIVA_MINMAX_SCALE] = along_minmax_scale,
                                                 [VIVA_HADAMARD] = along_hadamard,
                                                 [VIVA_INVERSE_HADAMARD] = along_inverse_hadamard,
                                                 [VIVA_NORMALIZED_HADAMARD] = along_normalized_hadamard};
  rows[op](&v->type, in, n, out, NULL, v->scratch);
}

static void along(values *v) {
  if (v->op == VIVA_SORT)
    radix_sort(v->from, RADIX_ROUNDS, v->own, N, v->out, v->scratch);
  else if (v->op == VIVA_ARGSORT)
    radix_argsort(v->from, RADIX_ROUNDS, 0, v->own, N, (int64_t *)(void *)v->out, v->scratch);
  else
    along_row(v, (viva_along)v->op, N, v->x, v->out);
}

/* -- the other calls */

static void by_number(values *v) { binary_of(v, VIVA_MULTIPLY, v->x, v->y, 0, v->out, N); }
static void add_row(values *v) {
  for (int i = 0; i < 2; i++)
    binary_of(v, VIVA_ADD, v->x + 4 * i * v->size, v->y, v->size, v->out + 4 * i * v->size, 4);
}
static void sums(values *v) {
  for (int i = 0; i < 2; i++) ((double *)(void *)v->out)[i] = folded(v, RED_SUM, v->x + 4 * i * v->size, 4, 0);
}
static void two_softmax(values *v) {
  for (int i = 0; i < 2; i++) along_row(v, VIVA_SOFTMAX, 4, v->x + 4 * i * v->size, v->out + 4 * i * v->size);
}
static void clip(values *v) {
  char *p[4] = {v->out, v->x, v->y, v->y + 2 * v->size};
  const int64_t step[4] = {v->size, v->size, 0, 0};
  loops_get()->clip[v->type](p, step, N);
}
static double half_of(uint64_t index, double x) {
  (void)index;
  return x * 0.5;
}
static void map(values *v) {
  double (*volatile function)(uint64_t, double) = half_of;
  double *x = (double *)(void *)v->scratch;
  for (int i = 0; i < N; i++) x[i] = function((uint64_t)i, x[i]);
}
static void cast(values *v) {
  cast_line(v->type, v->out, v->size, v->from, v->own, (int64_t)tensor_element_bytes(v->from), N);
}
static void product(values *v, size_t m, size_t n, size_t k, int64_t b_row, int64_t b_col) {
  char *c = v->out;
  const gemm_matrix a = {v->x, (int64_t)k, 1}, b = {v->y, b_row, b_col};
  const gemm g = {.type = v->type, .m = m, .n = n, .k = k, .batch = 1, .a = &a, .b = &b, .c = &c, .c_step = (int64_t)n};
  gemm_few(&g);
}
static void matmul(values *v) { product(v, 2, 2, 4, 2, 1); }
static void matvec(values *v) { product(v, 2, 1, 4, 1, 1); }
static void dot(values *v) { product(v, 1, 1, N, 1, 1); }
static void convolution(values *v) {
  const conv c = {.w = {.a.shape = {1, 1, 2, 4}, .kernel = {2, 2}, .stride = {1, 1}, .dilation = {1, 1}, .out = {1, 3}},
                  .type = v->type,
                  .channels = 1};
  conv_few(&c, v->x, v->y, NULL, v->out);
}
static void dense(values *v) {
  product(v, 2, 2, 4, 1, 4);
  row_unary(VIVA_RELU, v->type, v->out, 4, v->out);
}
static void outer(values *v) {
  char *p[3] = {v->out, v->x, v->y};
  const int64_t step[3] = {v->size, 0, v->size};
  for (int i = 0; i < 4; i++, p[0] += 4 * v->size, p[1] += v->size)
    loops_get()->binary[VIVA_MULTIPLY][v->type](p, step, 4);
}
static void norm_2(values *v) { *(double *)(void *)v->out = sqrt(folded(v, RED_SQUARES, v->x, N, 0)); }
static void norm_1(values *v) {
  row_unary(VIVA_ABSOLUTE, v->type, v->x, N, v->second);
  *(double *)(void *)v->out = folded(v, RED_SUM, v->second, N, 0);
}
static void matrix_norm(values *v) {
  double *sum = (double *)(void *)v->scratch;
  row_unary(VIVA_ABSOLUTE, v->type, v->x, N, v->second);
  for (int i = 0; i < 4; i++) sum[i] = folded(v, RED_SUM, v->second + 2 * i * v->size, 2, 0);
  *(double *)(void *)v->out = row_extreme(VIVA_F64, v->scratch, 4, 1);
}
static void clip_by_norm(values *v) {
  row_scalar(VIVA_MULTIPLY, v->type, v->x, N, 1 / sqrt(folded(v, RED_SQUARES, v->x, N, 0)), v->out);
}
static void layer_norm(values *v) {
  const double mean = row_sum(v->type, v->x, N) / N, spread = sqrt(row_squares(v->type, v->x, N, mean) / N + 1e-5);
  row_scalar(VIVA_SUBTRACT, v->type, v->x, N, mean, v->out);
  row_scalar(VIVA_DIVIDE, v->type, v->out, N, spread, v->out);
}
static void rms_norm(values *v) {
  row_scalar(VIVA_DIVIDE, v->type, v->x, N, sqrt(row_squares(v->type, v->x, N, 0) / N + 1e-5), v->out);
}
static void sorted(values *v) { radix_sort(v->type, RADIX_ROUNDS, v->x, N, v->out, v->scratch); }
static void places(values *v) {
  radix_argsort(v->from, RADIX_ROUNDS, 1, v->own, N, (int64_t *)(void *)v->out, v->scratch);
}
static void largest(values *v) { folded(v, RED_MAX, v->x, N, 0); }
static void cosine(values *v) {
  binary_of(v, VIVA_MULTIPLY, v->x, v->y, v->size, v->second, N);
  const double sum = folded(v, RED_SUM, v->second, N, 0), x = sqrt(folded(v, RED_SQUARES, v->x, N, 0));
  *(double *)(void *)v->out = sum / x / sqrt(folded(v, RED_SQUARES, v->y, N, 0));
}
static void closeness(values *v) {
  const double *x = (const double *)(const void *)v->x, *y = (const double *)(const void *)v->y;
  for (int i = 0; i < N; i++)
    v->out[i] = (char)(isfinite(x[i]) && isfinite(y[i]) ? fabs(x[i] - y[i]) <= 1e-8 + 1e-5 * fabs(y[i]) : x[i] == y[i]);
}
static void random_numbers(values *v) {
  const viva_random_options o = viva_random_options_default();
  create_random_numbers(&o, 0, N, (double *)(void *)v->out);
}

static const struct {
  const char *row;
  kernel run;
  viva_dtype type; /* VIVA_DTYPE_NONE: the tensor's, as it is computed in; VIVA_F64: always; REAL: integers as F64 */
} others[] = {
#define REAL ((viva_dtype)-1)
    {"multiply by a number", by_number, VIVA_DTYPE_NONE},
    {"add a row", add_row, VIVA_DTYPE_NONE},
    {"sum of the last axis", sums, VIVA_DTYPE_NONE},
    {"sum of the first axis", sums, VIVA_DTYPE_NONE},
    {"softmax of two rows", two_softmax, REAL},
    {"clip", clip, VIVA_DTYPE_NONE},
    {"map", map, VIVA_F64},
    {"astype F64", cast, VIVA_F64},
    {"astype F32", cast, VIVA_F32},
    {"astype F16", cast, VIVA_F16},
    {"astype BF16", cast, VIVA_BF16},
    {"astype I64", cast, VIVA_I64},
    {"astype I8", cast, VIVA_I8},
    {"astype E4M3", cast, VIVA_E4M3},
    {"matmul 2 × 4 by 4 × 2", matmul, VIVA_DTYPE_NONE},
    {"matmul 2 × 4 by 4", matvec, VIVA_DTYPE_NONE},
    {"dot", dot, VIVA_DTYPE_NONE},
    {"outer", outer, VIVA_DTYPE_NONE},
    {"dense", dense, VIVA_DTYPE_NONE},
    {"einsum", dot, VIVA_DTYPE_NONE},
    {"norm, order 2", norm_2, REAL},
    {"norm, order 1", norm_1, REAL},
    {"matrix_norm", matrix_norm, REAL},
    {"clip_by_norm", clip_by_norm, REAL},
    {"layer_norm", layer_norm, REAL},
    {"rms_norm", rms_norm, REAL},
    {"percentile", sorted, REAL},
    {"median", sorted, REAL},
    {"top_k", places, VIVA_DTYPE_NONE},
    {"conv2d", convolution, VIVA_DTYPE_NONE},
    {"pool2d", largest, VIVA_DTYPE_NONE},
    {"cosine similarity", cosine, VIVA_F64},
    {"is_close", closeness, VIVA_F64},
    {"random", random_numbers, VIVA_F64},
};

/* -- times */

static double time_of(kernel run, values *v) {
  double best = 1e9;
  for (int r = 0; r < ARITHMETIC_ROUNDS; r++) {
    const double begin = seconds();
    for (int i = 0; i < ARITHMETIC_CALLS; i++) run(v);
    const double took = (seconds() - begin) / ARITHMETIC_CALLS * 1e9;
    best = took < best ? took : best;
  }
  return best;
}

/* The kernel of an operation of a table, and the type that it computes in. */
static kernel of_table(const char *table, int op, viva_dtype t, viva_dtype *type) {
  if (strcmp(table, "unary") == 0) {
    *type = unary_types((viva_unary)op, t).compute;
    return unary;
  }
  if (strcmp(table, "binary") == 0) {
    *type = binary_types((viva_binary)op, t, t).compute;
    return binary;
  }
  if (strcmp(table, "along") == 0) {
    *type = op == VIVA_CUMSUM || op == VIVA_CUMPROD ? dtype_kernel(t) : real_type(t);
    return along;
  }
  const int real = op == VIVA_MEAN || op == VIVA_VAR || op == VIVA_STD || op == VIVA_NORM;
  *type = real ? real_type(t) : op > VIVA_NORM ? VIVA_BOOL : dtype_kernel(t);
  return reduce;
}

double arithmetic_ns(const char *row, const char *table, int op, viva_dtype type) {
  values v = {.from = type, .op = op};
  viva_dtype compute = VIVA_DTYPE_NONE;
  kernel run = table ? of_table(table, op, type, &compute) : NULL;
  for (size_t i = 0; !table && i < sizeof others / sizeof *others; i++)
    if (strcmp(others[i].row, row) == 0) {
      run = others[i].run, compute = others[i].type;
      if (compute == VIVA_DTYPE_NONE) compute = dtype_kernel(type);
      if (compute == REAL) compute = real_type(type);
    }
  if (!run || compute == VIVA_DTYPE_NONE) return 0;
  fill(v.own, type, 1);
  set_type(&v, compute);
  return time_of(run, &v);
}
