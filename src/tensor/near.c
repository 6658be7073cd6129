/* tensor/near.c: similarities, distances, closeness: put together from elementwise operations and reductions. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/along.h"
#include "tensor/few.h"
#include "tensor/walk.h"
#include "viva/tensor_into.h"

/* What the calls below hold; released together. */
typedef struct parts {
  viva_tensor *a, *b;   /* in F64, broadcast to one shape */
  viva_tensor *between; /* a·b or a − b */
  viva_tensor *sums[3]; /* of it; the squares of a and of b */
  const int32_t *axes;  /* NULL: all */
} parts;

static void release(parts *p) {
  viva_tensor_release(p->a), viva_tensor_release(p->b), viva_tensor_release(p->between);
  for (int i = 0; i < 3; i++) viva_tensor_release(p->sums[i]);
}

static viva_status hold(const viva_tensor *t, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                        viva_error *error) {
  viva_tensor *wide;
  TRY(operand_copy(t, VIVA_F64, &wide, error));
  const viva_status status = viva_tensor_broadcast_to(wide, rank, shape, out, error);
  viva_tensor_release(wide);
  return status;
}

static viva_status reduce(const parts *p, viva_reduction op, const viva_tensor *t, viva_tensor **out,
                          viva_error *error) {
  return viva_tensor_reduce(op, t, p->axes, p->axes ? 1 : 0, 0, out, error);
}

/* sums[0] /= sums[1]·sums[2]; 0 where that is 0. */
static void divide_by_norms(parts *p) {
  for (size_t i = 0; i < p->sums[0]->elements; i++) {
    double *dot = (double *)(void *)p->sums[0]->data + i;
    const double a = ((const double *)(const void *)p->sums[1]->data)[i];
    const double b = ((const double *)(const void *)p->sums[2]->data)[i];
    *dot = a == 0 || b == 0 ? 0 : *dot / a / b;
  }
}

static viva_status compute(viva_similarity op, parts *p, viva_error *error) {
  const int product = op == VIVA_DOT_SIMILARITY || op == VIVA_COSINE_SIMILARITY;
  TRY(viva_tensor_binary(product ? VIVA_MULTIPLY : VIVA_SUBTRACT, p->a, p->b, &p->between, error));
  if (op == VIVA_EUCLIDEAN_DISTANCE) return reduce(p, VIVA_NORM, p->between, &p->sums[0], error);
  if (op == VIVA_MANHATTAN_DISTANCE) TRY(viva_tensor_unary_into(VIVA_ABSOLUTE, p->between, p->between, error));
  TRY(reduce(p, VIVA_SUM, p->between, &p->sums[0], error));
  if (op != VIVA_COSINE_SIMILARITY) return VIVA_OK;
  TRY(reduce(p, VIVA_NORM, p->a, &p->sums[1], error));
  TRY(reduce(p, VIVA_NORM, p->b, &p->sums[2], error));
  divide_by_norms(p);
  return VIVA_OK;
}

/* -- few elements */

/* Of two lines of n elements. */
static double line_value(viva_similarity op, const double *a, const double *b, size_t n) {
  double between[FEW];
  const int product = op == VIVA_DOT_SIMILARITY || op == VIVA_COSINE_SIMILARITY;
  row_binary(product ? VIVA_MULTIPLY : VIVA_SUBTRACT, VIVA_F64, (const char *)a, (const char *)b, n, (char *)between);
  if (op == VIVA_EUCLIDEAN_DISTANCE) return sqrt(row_squares(VIVA_F64, (const char *)between, n, 0));
  for (size_t i = 0; op == VIVA_MANHATTAN_DISTANCE && i < n; i++) between[i] = fabs(between[i]);
  const double sum = row_sum(VIVA_F64, (const char *)between, n);
  if (op != VIVA_COSINE_SIMILARITY) return sum;
  const double x = sqrt(row_squares(VIVA_F64, (const char *)a, n, 0));
  const double y = sqrt(row_squares(VIVA_F64, (const char *)b, n, 0));
  return x == 0 || y == 0 ? 0 : sum / x / y;
}

/* last: the axes that go; n: elements that become one. */
static viva_status few_similarities(viva_similarity op, const viva_tensor *const *both, uint32_t rank,
                                    const uint64_t *shape, uint32_t last, size_t n, size_t all, viva_dtype result,
                                    goal *g, viva_error *error) {
  few_room rooms[2];
  double values[FEW];
  uint64_t kept[VIVA_TENSOR_MAX_RANK];
  uint32_t left = 0;
  const double *a = few_lines(both[0], rank, shape, last, VIVA_F64, &rooms[0]);
  const double *b = few_lines(both[1], rank, shape, last, VIVA_F64, &rooms[1]);
  for (size_t i = 0; i < all; i += n) values[i / n] = line_value(op, a + i, b + i, n);
  for (uint32_t i = 0; i < rank; i++)
    if (!(last >> i & 1)) kept[left++] = shape[i];
  return few_give(g, both[0]->storage->rt, result, left, kept, VIVA_F64, values, error);
}

static viva_status similarity(viva_similarity op, const viva_tensor *a, const viva_tensor *b, int32_t axis, goal *g,
                              viva_error *error) {
  parts p; /* not cleared before it is needed */
  const viva_tensor *both[2] = {a, b};
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK], elements = 1;
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  if ((unsigned)op > VIVA_MANHATTAN_DISTANCE) return error_set(error, VIVA_E_ARGUMENT, "there is no similarity %d", op);
  const viva_dtype common = dtype_promote(a->dtype, b->dtype);
  if (common == VIVA_DTYPE_NONE) return operand_refuse("similarity", a->dtype, b->dtype, error);
  TRY(broadcast_shape(both, 2, &rank, shape, error));
  const viva_dtype result = dtype_is_float(common) ? common : VIVA_F64;
  for (uint32_t i = 0; i < rank; i++) elements *= few_fits(a) && few_fits(b) ? shape[i] : FEW + 1;
  const uint32_t at = axis < 0 ? (uint32_t)axis + rank : (uint32_t)axis;
  if (elements <= FEW && axis == VIVA_AXIS_ALL)
    return few_similarities(op, both, rank, shape, (1u << rank) - 1, (size_t)elements, (size_t)elements, result, g,
                            error);
  if (elements <= FEW && at < rank)
    return few_similarities(op, both, rank, shape, 1u << at, (size_t)shape[at], (size_t)elements, result, g, error);
  p = (parts){.axes = axis == VIVA_AXIS_ALL ? NULL : &axis};
  viva_status status = hold(a, rank, shape, &p.a, error);
  if (status == VIVA_OK) status = hold(b, rank, shape, &p.b, error);
  if (status == VIVA_OK) status = compute(op, &p, error);
  if (status == VIVA_OK) {
    status = goal_give(g, p.sums[0], result, error);
    p.sums[0] = NULL;
  }
  release(&p);
  return status;
}
GOAL_CALLS(similarity, LIST(viva_similarity op, const viva_tensor *a, const viva_tensor *b, int32_t axis), op, a, b,
           axis)

/* -- closeness */

typedef struct closeness {
  double relative, absolute;
} closeness;

static void close_line(void *arg, char *const *p, const int64_t *step, size_t n) {
  const closeness *c = arg;
  for (size_t i = 0; i < n; i++) {
    const int64_t k = (int64_t)i;
    double x, y;
    memcpy(&x, p[1] + k * step[1], sizeof x);
    memcpy(&y, p[2] + k * step[2], sizeof y);
    const int finite = isfinite(x) && isfinite(y);
    p[0][k * step[0]] = (char)(finite ? fabs(x - y) <= c->absolute + c->relative * fabs(y) : x == y);
  }
}

static viva_status is_close(const viva_tensor *a, const viva_tensor *b, double relative, double absolute, goal *g,
                            viva_error *error) {
  const viva_tensor *both[2] = {a, b};
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK], elements = 1;
  closeness c = {relative, absolute};
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  if (dtype_promote(a->dtype, b->dtype) == VIVA_DTYPE_NONE)
    return operand_refuse("is_close", a->dtype, b->dtype, error);
  TRY(broadcast_shape(both, 2, &rank, shape, error));
  for (uint32_t i = 0; i < rank; i++) elements *= few_fits(a) && few_fits(b) ? shape[i] : FEW + 1;
  if (elements <= FEW) {
    static const int64_t step[3] = {1, sizeof(double), sizeof(double)};
    few_room rooms[2];
    char values[FEW], *p[3] = {values};
    for (int k = 0; k < 2; k++) p[k + 1] = (char *)(uintptr_t)few_lines(both[k], rank, shape, 0, VIVA_F64, &rooms[k]);
    close_line(&c, p, step, (size_t)elements);
    return few_give(g, a->storage->rt, VIVA_BOOL, rank, shape, VIVA_BOOL, values, error);
  }
  tensor_local room[2];
  viva_tensor *wide[2] = {NULL}, *made = NULL;
  viva_status status = operand_dense_in(&room[0], a, VIVA_F64, &wide[0], error);
  if (status == VIVA_OK) status = operand_dense_in(&room[1], b, VIVA_F64, &wide[1], error);
  if (status == VIVA_OK) status = goal_begin(g, a->storage->rt, VIVA_BOOL, rank, shape, both, 2, &made, error);
  if (status == VIVA_OK) {
    const viva_tensor *operands[3] = {made, wide[0], wide[1]};
    walk w;
    walk_make(&w, rank, shape, operands, 3);
    walk_run(&w, a->storage->rt->pool, close_line, &c);
    goal_end(g, made);
  }
  viva_tensor_release(wide[0]), viva_tensor_release(wide[1]);
  return status;
}
GOAL_CALLS(is_close, LIST(const viva_tensor *a, const viva_tensor *b, double relative, double absolute), a, b, relative,
           absolute)

viva_status viva_tensor_all_close(const viva_tensor *a, const viva_tensor *b, double relative, double absolute,
                                  int32_t *close, viva_error *error) {
  viva_tensor *each, *all;
  double value = 0;
  if (!close) return error_set(error, VIVA_E_ARGUMENT, "close is NULL");
  *close = 0;
  TRY(viva_tensor_is_close(a, b, relative, absolute, &each, error));
  viva_status status = viva_tensor_reduce(VIVA_ALL, each, NULL, 0, 0, &all, error);
  viva_tensor_release(each);
  if (status != VIVA_OK) return status;
  status = viva_tensor_get(all, NULL, &value, error);
  viva_tensor_release(all);
  *close = value != 0;
  return status;
}
