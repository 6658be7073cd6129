/* tensor/reduce.c: the public reductions: types, axes, what to fold and what to make of it. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/arg.h"
#include "tensor/cast.h"
#include "tensor/few.h"
#include "tensor/fold.h"
#include "tensor/ops.h"
#include "tensor/scalar.h"

static const char *const names[VIVA_REDUCTION_COUNT] = {[VIVA_SUM] = "sum",
                                                        [VIVA_PROD] = "prod",
                                                        [VIVA_MEAN] = "mean",
                                                        [VIVA_MAX] = "max",
                                                        [VIVA_MIN] = "min",
                                                        [VIVA_VAR] = "var",
                                                        [VIVA_STD] = "std",
                                                        [VIVA_NORM] = "norm",
                                                        [VIVA_ANY] = "any",
                                                        [VIVA_ALL] = "all",
                                                        [VIVA_COUNT_NONZERO] = "count_nonzero",
                                                        [VIVA_ARGMAX] = "argmax",
                                                        [VIVA_ARGMIN] = "argmin"};

const char *viva_reduction_name(viva_reduction op) { return (unsigned)op < VIVA_REDUCTION_COUNT ? names[op] : NULL; }

viva_dtype viva_reduction_type(viva_reduction op, viva_dtype a) {
  if (!dtype_is_compute(a)) return VIVA_DTYPE_NONE;
  switch (op) {
  case VIVA_SUM:
  case VIVA_PROD: return dtype_sum_of(a);
  case VIVA_MEAN:
  case VIVA_VAR:
  case VIVA_STD:
  case VIVA_NORM: return dtype_is_float(a) ? a : VIVA_F64;
  case VIVA_MAX:
  case VIVA_MIN: return a;
  case VIVA_ANY:
  case VIVA_ALL: return VIVA_BOOL;
  case VIVA_COUNT_NONZERO:
  case VIVA_ARGMAX:
  case VIVA_ARGMIN: return VIVA_I64;
  default: return VIVA_DTYPE_NONE;
  }
}

/* The type to fold in: one of the four of reducers.h. */
static viva_dtype fold_type(viva_dtype a) {
  if (dtype_is_float(a)) return dtype_kernel(a);
  return dtype_is_signed(a) ? VIVA_I64 : VIVA_U64;
}

/* A reduction whose arguments are checked. */
typedef struct reduction {
  viva_reduction op;
  const char *name; /* for messages */
  const viva_tensor *a;
  uint32_t mask; /* bit i: axis i goes */
  int keep;
  uint32_t rank; /* of the result */
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  size_t per_result;
} reduction;

static inline viva_status check_axes(reduction *r, const int32_t *axes, uint32_t count, viva_error *error) {
  if (!axes) r->mask = (1u << r->a->rank) - 1;
  for (uint32_t i = 0; axes && i < count; i++) {
    uint32_t axis;
    TRY(operand_axis(r->a, axes[i], &axis, error));
    if (r->mask >> axis & 1) return operand_twice(r->name, r->a, axes[i], error);
    r->mask |= 1u << axis;
  }
  r->per_result = 1;
  for (uint32_t i = 0; i < r->a->rank; i++) {
    const int goes = r->mask >> i & 1;
    if (goes) r->per_result *= (size_t)r->a->shape[i];
    if (!goes || r->keep) r->shape[r->rank++] = goes ? 1 : r->a->shape[i];
  }
  return VIVA_OK;
}

static int has_value_of_nothing(viva_reduction op) {
  return op == VIVA_SUM || op == VIVA_PROD || op == VIVA_NORM || op == VIVA_ANY || op == VIVA_ALL ||
         op == VIVA_COUNT_NONZERO;
}

/* One of the axes that are reduced is empty. */
static viva_status refuse_nothing(const reduction *r, viva_error *error) {
  uint32_t axis = 0;
  while (!(r->mask >> axis & 1) || r->a->shape[axis] > 0) axis++;
  return operand_nothing(r->name, r->a, axis, error);
}

/* name: NULL for the operation's. */
static inline viva_status prepare(const char *name, viva_reduction op, const viva_tensor *a, const int32_t *axes,
                                  uint32_t count, int keep, reduction *r, viva_error *error) {
  r->op = op, r->a = a, r->keep = keep, r->mask = 0, r->rank = 0; /* its shape is not cleared */
  if ((unsigned)op >= VIVA_REDUCTION_COUNT)
    return error_set(error, VIVA_E_ARGUMENT, "there is no reduction %d", (int)op);
  r->name = name ? name : names[op];
  TRY(operand_need(a, "a", error));
  if (viva_reduction_type(op, a->dtype) == VIVA_DTYPE_NONE)
    return operand_refuse(r->name, a->dtype, VIVA_DTYPE_NONE, error);
  TRY(check_axes(r, axes, count, error));
  size_t results = 1;
  for (uint32_t i = 0; i < r->rank; i++) results *= (size_t)r->shape[i];
  const int valueless = r->per_result == 0 && results > 0 && !has_value_of_nothing(op);
  return valueless ? refuse_nothing(r, error) : VIVA_OK;
}

/* -- folding: into `room` where that is not NULL, and the values are few */

/* Folds into a dense tensor of fold_result's type. */
static viva_status fold_new(const reduction *r, reducer_op op, const viva_tensor *a, viva_dtype type,
                            const viva_tensor *shifts, tensor_local *room, viva_tensor **out, viva_error *error) {
  const fold f = {.op = op, .type = type, .in = a, .reduced = r->mask, .shifts = shifts};
  TRY(tensor_empty_in(room, r->a->storage->rt, fold_result(op, type), r->rank, r->shape, out, error));
  fold_run(&f, *out);
  return VIVA_OK;
}

/* The type in which means and squares are summed. */
static viva_dtype real_type(viva_dtype a) { return dtype_is_float(a) ? dtype_kernel(a) : VIVA_F64; }

/* Each F64 value divided by the count, and perhaps its root. */
static void finish(viva_tensor *wide, double divisor, int root) {
  double *values = (double *)(void *)wide->data;
  for (size_t i = 0; i < wide->elements; i++) {
    values[i] /= divisor;
    if (root) values[i] = sqrt(values[i]);
  }
}

static viva_status fold_mean(const reduction *r, tensor_local *room, viva_tensor **out, viva_error *error) {
  TRY(fold_new(r, RED_SUM, r->a, real_type(r->a->dtype), NULL, room, out, error));
  finish(*out, (double)r->per_result, 0);
  return VIVA_OK;
}

static viva_status fold_variance(const reduction *r, tensor_local *room, viva_tensor **out, viva_error *error) {
  tensor_local apart;
  viva_tensor *means;
  TRY(fold_mean(r, &apart, &means, error));
  const viva_status status = fold_new(r, RED_SQUARES, r->a, real_type(r->a->dtype), means, room, out, error);
  viva_tensor_release(means);
  if (status == VIVA_OK) finish(*out, (double)r->per_result, r->op == VIVA_STD);
  return status;
}

static viva_status fold_norm(const reduction *r, tensor_local *room, viva_tensor **out, viva_error *error) {
  TRY(fold_new(r, RED_SQUARES, r->a, real_type(r->a->dtype), NULL, room, out, error));
  finish(*out, 1, 1);
  return VIVA_OK;
}

/* How many are not 0, from a BOOL (or byte) tensor that says which. */
static viva_status fold_count(const reduction *r, tensor_local *room, viva_tensor **out, viva_error *error) {
  tensor_local apart;
  viva_tensor *truth;
  TRY(operand_dense_in(&apart, r->a, VIVA_BOOL, &truth, error));
  const viva_status status = fold_new(r, RED_SUM, truth, VIVA_I64, NULL, room, out, error);
  viva_tensor_release(truth);
  if (status != VIVA_OK) return status;
  int64_t *counts = (int64_t *)(void *)(*out)->data;
  for (size_t i = 0; r->op != VIVA_COUNT_NONZERO && i < (*out)->elements; i++)
    counts[i] = r->op == VIVA_ANY ? counts[i] > 0 : counts[i] == (int64_t)r->per_result;
  return VIVA_OK;
}

/* The values, dense, in a type that holds them. */
static viva_status reduce_wide(const reduction *r, tensor_local *room, viva_tensor **out, viva_error *error) {
  const viva_dtype type = fold_type(r->a->dtype);
  switch (r->op) {
  case VIVA_SUM: return fold_new(r, RED_SUM, r->a, type, NULL, room, out, error);
  case VIVA_PROD: return fold_new(r, RED_PROD, r->a, type, NULL, room, out, error);
  case VIVA_MAX: return fold_new(r, RED_MAX, r->a, type, NULL, room, out, error);
  case VIVA_MIN: return fold_new(r, RED_MIN, r->a, type, NULL, room, out, error);
  case VIVA_MEAN: return fold_mean(r, room, out, error);
  case VIVA_VAR:
  case VIVA_STD: return fold_variance(r, room, out, error);
  case VIVA_NORM: return fold_norm(r, room, out, error);
  case VIVA_ARGMAX:
  case VIVA_ARGMIN: return arg_new(r->a, r->mask, r->op == VIVA_ARGMAX, r->rank, r->shape, room, out, error);
  default: return fold_count(r, room, out, error);
  }
}

/* -- few elements: lines of those that become one, on the stack */

/* The type in which the elements of a line are looked at. */
static inline viva_dtype line_type(viva_reduction op, viva_dtype a) {
  switch (op) {
  case VIVA_SUM:
  case VIVA_PROD:
  case VIVA_MAX:
  case VIVA_MIN: return fold_type(a);
  case VIVA_ANY:
  case VIVA_ALL:
  case VIVA_COUNT_NONZERO: return VIVA_BOOL;
  case VIVA_ARGMAX:
  case VIVA_ARGMIN: return a;
  default: return real_type(a);
  }
}

/* The value of a dense line of line_type, and its type. */
static inline viva_dtype reduce_line(const reduction *r, viva_dtype type, const char *line, size_t n, red_value *v) {
  static const reducer_op folds[] = {
      [VIVA_SUM] = RED_SUM, [VIVA_PROD] = RED_PROD, [VIVA_MAX] = RED_MAX, [VIVA_MIN] = RED_MIN};
  switch (r->op) {
  case VIVA_SUM:
  case VIVA_PROD:
  case VIVA_MAX:
  case VIVA_MIN: fold_line(folds[r->op], type, line, n, 0, v); return fold_result(folds[r->op], type);
  case VIVA_ARGMAX:
  case VIVA_ARGMIN: v->i64 = arg_line(r->a, line, n, r->op == VIVA_ARGMAX); return VIVA_I64;
  case VIVA_ANY:
  case VIVA_ALL:
  case VIVA_COUNT_NONZERO:
    v->i64 = (int64_t)reducers_get()->count_true((const uint8_t *)line, n);
    if (r->op == VIVA_ANY) v->i64 = v->i64 > 0;
    if (r->op == VIVA_ALL) v->i64 = v->i64 == (int64_t)n;
    return VIVA_I64;
  default: break;
  }
  double mean = 0;
  if (r->op != VIVA_NORM) {
    fold_line(RED_SUM, type, line, n, 0, v);
    v->f64 = mean = v->f64 / (double)n;
  }
  if (r->op == VIVA_MEAN) return VIVA_F64;
  fold_line(RED_SQUARES, type, line, n, mean, v);
  if (r->op != VIVA_NORM) v->f64 /= (double)n;
  if (r->op != VIVA_VAR) v->f64 = sqrt(v->f64);
  return VIVA_F64;
}

/* Some axes go, one of them or all where places are looked for (arg.h refuses others). */
static inline int are_few(const reduction *r) {
  const int one = (r->mask & (r->mask - 1)) == 0, all = r->mask == (1u << r->a->rank) - 1;
  if (!few_fits(r->a) || r->mask == 0) return 0;
  return one || all || (r->op != VIVA_ARGMAX && r->op != VIVA_ARGMIN);
}

/* Sums of the first axes: rows are added. 0: something else. */
static inline int sum_rows(const reduction *r, viva_dtype type, char *values) {
  const uint32_t gone = (uint32_t)__builtin_popcount(r->mask);
  if (r->op != VIVA_SUM || r->mask + 1 != 1u << gone || gone == r->a->rank) return 0;
  const size_t n = r->per_result, columns = r->a->elements / n;
  few_room room;
  const char *rows = few_lines(r->a, r->a->rank, r->a->shape, 0, type, &room);
  memset(values, 0, columns * sizeof(red_value));
  fold_columns(RED_SUM, type, rows, n, columns, values);
  return 1;
}

static inline viva_status reduce_few(const reduction *r, viva_dtype result, goal *g, viva_error *error) {
  const viva_dtype type = line_type(r->op, r->a->dtype);
  const size_t n = r->per_result, size = tensor_element_bytes(type);
  few_room room;
  red_value value;
  char values[FEW * sizeof value], *to = values;
  if (sum_rows(r, type, values))
    return few_give(g, r->a->storage->rt, result, r->rank, r->shape, fold_result(RED_SUM, type), values, error);
  const char *line = few_lines(r->a, r->a->rank, r->a->shape, r->mask, type, &room);
  viva_dtype made = VIVA_DTYPE_NONE;
  for (size_t i = 0; i < r->a->elements; i += n) {
    made = reduce_line(r, type, line + i * size, n, &value);
    memcpy(to, &value, sizeof value); /* of 4 bytes: the next one covers the rest */
    to += tensor_element_bytes(made);
  }
  return few_give(g, r->a->storage->rt, result, r->rank, r->shape, made, values, error);
}

/* -- public */

/* reduce_wide's values have the result's type. */
static int is_wide(viva_reduction op, viva_dtype result) {
  return tensor_element_bytes(result) == sizeof(double) || (result == VIVA_F32 && (op == VIVA_MAX || op == VIVA_MIN));
}

viva_status reduce_as(const char *name, viva_reduction op, const viva_tensor *a, const int32_t *axes, uint32_t count,
                      int32_t keepdims, viva_tensor **out, viva_error *error) {
  reduction r;
  goal g;
  tensor_local room;
  viva_tensor *wide;
  g.fresh = out;
  TRY(operand_place(out, error));
  TRY(prepare(name, op, a, axes, count, keepdims != 0, &r, error));
  const viva_dtype result = viva_reduction_type(op, a->dtype);
  if (are_few(&r)) return reduce_few(&r, result, &g, error);
  TRY(reduce_wide(&r, is_wide(op, result) ? NULL : &room, &wide, error));
  return operand_become(wide, result, out, error);
}

viva_status viva_tensor_reduce(viva_reduction op, const viva_tensor *a, const int32_t *axes, uint32_t count,
                               int32_t keepdims, viva_tensor **out, viva_error *error) {
  return reduce_as(NULL, op, a, axes, count, keepdims, out, error);
}

viva_status viva_tensor_reduce_into(viva_reduction op, const viva_tensor *a, const int32_t *axes, uint32_t count,
                                    int32_t keepdims, viva_tensor *out, viva_error *error) {
  reduction r;
  goal g;
  tensor_local room;
  viva_tensor *wide;
  g.fresh = NULL, g.into = out;
  TRY(prepare(NULL, op, a, axes, count, keepdims != 0, &r, error));
  TRY(operand_need(out, "out", error));
  const viva_dtype result = viva_reduction_type(op, a->dtype);
  if (are_few(&r)) return reduce_few(&r, result, &g, error);
  TRY(operand_target(out, "out", r.rank, r.shape, error));
  TRY(reduce_wide(&r, &room, &wide, error)); /* apart from out, which may overlap a */
  return goal_give(&g, wide, result, error);
}
