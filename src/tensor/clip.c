/* tensor/clip.c: clip, and the caller's own functions of elements. */
#include <math.h>

#include "base/error.h"
#include "tensor/elementwise.h"
#include "tensor/few.h"
#include "tensor/scalar.h"
#include "viva/tensor_into.h"

/* a between two numbers of its type, to which the bounds saturate. */
typedef struct clipping {
  loop_fn loop;
  viva_dtype wanted[4];
  scalar low, high;
  const viva_tensor *operands[4];
} clipping;

static viva_status refuse_bounds(const viva_tensor *a, double low, double high, const char *wanted, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_ARGUMENT, "clip of the tensor %s of %s: low is %g and high is %g; expected %s",
                   tensor_shape_text(a, text), viva_dtype_name(a->dtype), low, high, wanted);
}

static viva_status plan_clip(const viva_tensor *a, double low, double high, clipping *c, viva_error *error) {
  TRY(operand_need(a, "a", error));
  if (!(low <= high)) return refuse_bounds(a, low, high, "low <= high", error);
  if (!dtype_is_compute(a->dtype) || a->dtype == VIVA_BOOL)
    return operand_refuse("clip", a->dtype, VIVA_DTYPE_NONE, error);
  const viva_dtype type = dtype_kernel(a->dtype);
  if (dtype_is_integer(a->dtype)) {
    if (ceil(low) > floor(high)) return refuse_bounds(a, low, high, "an integer between them", error);
    low = ceil(low), high = floor(high);
  }
  scalar_computed(&c->low, a->dtype, low);
  scalar_computed(&c->high, a->dtype, high);
  c->loop = loops_get()->clip[type];
  for (int k = 0; k < 4; k++) c->wanted[k] = type;
  c->operands[1] = a, c->operands[2] = &c->low.tensor, c->operands[3] = &c->high.tensor;
  return VIVA_OK;
}

viva_status viva_tensor_clip(const viva_tensor *a, double low, double high, viva_tensor **out, viva_error *error) {
  clipping c;
  TRY(operand_place(out, error));
  TRY(plan_clip(a, low, high, &c, error));
  return elementwise_new(c.loop, c.wanted, a->dtype, out, c.operands, 4, error);
}

viva_status viva_tensor_clip_into(const viva_tensor *a, double low, double high, viva_tensor *out, viva_error *error) {
  clipping c;
  TRY(plan_clip(a, low, high, &c, error));
  return elementwise_into(c.loop, c.wanted, out, c.operands, 4, error);
}

static viva_status map(const viva_tensor *a, double (*function)(void *user, uint64_t index, double x), void *user,
                       goal *g, viva_error *error) {
  viva_tensor *wide;
  TRY(operand_need(a, "a", error));
  if (!function) return error_set(error, VIVA_E_ARGUMENT, "function is NULL");
  if (few_fits(a)) {
    few_room room;
    double values[FEW];
    const double *x = few_hold(a, VIVA_F64, &room);
    for (size_t i = 0; i < a->elements; i++) values[i] = function(user, i, x[i]);
    return few_give(g, a->storage->rt, a->dtype, a->rank, a->shape, VIVA_F64, values, error);
  }
  TRY(operand_copy(a, VIVA_F64, &wide, error));
  double *values = (double *)(void *)wide->data;
  for (size_t i = 0; i < wide->elements; i++) values[i] = function(user, i, values[i]);
  return goal_give(g, wide, a->dtype, error);
}
GOAL_CALLS(map, LIST(const viva_tensor *a, double (*function)(void *user, uint64_t index, double x), void *user), a,
           function, user)

/* *out = t as dense F64 over this shape. */
static viva_status spread(const viva_tensor *t, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                          viva_error *error) {
  viva_tensor *wide;
  TRY(viva_tensor_broadcast_to(t, rank, shape, &wide, error));
  const viva_status status = operand_copy(wide, VIVA_F64, out, error);
  viva_tensor_release(wide);
  return status;
}

viva_status viva_tensor_map2(const viva_tensor *a, const viva_tensor *b,
                             double (*function)(void *user, uint64_t index, double x, double y), void *user,
                             viva_tensor **out, viva_error *error) {
  const viva_tensor *both[2] = {a, b};
  viva_tensor *x = NULL, *y = NULL;
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  if (!function) return error_set(error, VIVA_E_ARGUMENT, "function is NULL");
  const viva_dtype type = dtype_promote(a->dtype, b->dtype);
  if (type == VIVA_DTYPE_NONE) return operand_refuse("map2", a->dtype, b->dtype, error);
  TRY(broadcast_shape(both, 2, &rank, shape, error));
  viva_status status = spread(a, rank, shape, &x, error);
  if (status == VIVA_OK) status = spread(b, rank, shape, &y, error);
  if (status == VIVA_OK) {
    double *to = (double *)(void *)x->data;
    const double *other = (const double *)(const void *)y->data;
    for (size_t i = 0; i < x->elements; i++) to[i] = function(user, i, to[i], other[i]);
    status = operand_dense(x, type, out, error);
  }
  viva_tensor_release(x), viva_tensor_release(y);
  return status;
}

viva_status viva_broadcast_shapes(const viva_tensor *const *tensors, uint32_t count, uint32_t *rank, uint64_t *shape,
                                  viva_error *error) {
  if (!tensors || count == 0 || count > INT32_MAX || !rank || !shape)
    return error_set(error, VIVA_E_ARGUMENT, "broadcast_shapes: a pointer is NULL, or there are no tensors");
  for (uint32_t i = 0; i < count; i++) TRY(operand_given(tensors[i], "a tensor of the list", error));
  return broadcast_shape(tensors, (int)count, rank, shape, error);
}
