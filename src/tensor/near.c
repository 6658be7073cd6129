/* tensor/near.c: similarities, distances, closeness: put together from elementwise operations and reductions. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/operand.h"
#include "tensor/walk.h"
#include "viva/tensor_algebra.h"

/* What the calls below hold; released together. */
typedef struct parts {
  viva_tensor *a, *b;   /* in F64, broadcast to one shape */
  viva_tensor *between; /* a·b or a − b */
  viva_tensor *sums[3]; /* of it; the squares of a and of b */
  const int32_t *axes;  /* NULL: all */
  viva_dtype result;
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

viva_status viva_tensor_similarity(viva_similarity op, const viva_tensor *a, const viva_tensor *b, int32_t axis,
                                   viva_tensor **out, viva_error *error) {
  parts p = {.axes = axis == VIVA_AXIS_ALL ? NULL : &axis};
  const viva_tensor *both[2] = {a, b};
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  if ((unsigned)op > VIVA_MANHATTAN_DISTANCE) return error_set(error, VIVA_E_ARGUMENT, "there is no similarity %d", op);
  const viva_dtype common = dtype_promote(a->dtype, b->dtype);
  if (common == VIVA_DTYPE_NONE) return operand_refuse("similarity", a->dtype, b->dtype, error);
  TRY(broadcast_shape(both, 2, &rank, shape, error));
  p.result = dtype_is_float(common) ? common : VIVA_F64;
  viva_status status = hold(a, rank, shape, &p.a, error);
  if (status == VIVA_OK) status = hold(b, rank, shape, &p.b, error);
  if (status == VIVA_OK) status = compute(op, &p, error);
  if (status == VIVA_OK) status = operand_dense(p.sums[0], p.result, out, error);
  release(&p);
  return status;
}

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

viva_status viva_tensor_is_close(const viva_tensor *a, const viva_tensor *b, double relative, double absolute,
                                 viva_tensor **out, viva_error *error) {
  const viva_tensor *both[2] = {a, b};
  tensor_local room[2];
  viva_tensor *wide[2] = {NULL};
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  closeness c = {relative, absolute};
  walk w;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  if (dtype_promote(a->dtype, b->dtype) == VIVA_DTYPE_NONE)
    return operand_refuse("is_close", a->dtype, b->dtype, error);
  TRY(broadcast_shape(both, 2, &rank, shape, error));
  viva_status status = operand_dense_in(&room[0], a, VIVA_F64, &wide[0], error);
  if (status == VIVA_OK) status = operand_dense_in(&room[1], b, VIVA_F64, &wide[1], error);
  if (status == VIVA_OK) status = tensor_empty(a->storage->rt, VIVA_BOOL, rank, shape, out, error);
  if (status == VIVA_OK) {
    const viva_tensor *operands[3] = {*out, wide[0], wide[1]};
    walk_make(&w, rank, shape, operands, 3);
    walk_run(&w, a->storage->rt->pool, close_line, &c);
  }
  viva_tensor_release(wide[0]), viva_tensor_release(wide[1]);
  return status;
}

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
