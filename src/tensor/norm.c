/* tensor/norm.c: layer_norm, rms_norm, clip_by_norm. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/along.h"
#include "tensor/few.h"
#include "viva/tensor_into.h"

typedef struct norm {
  viva_dtype type; /* F32 or F64 */
  int centred;     /* layer_norm */
  double epsilon;
  const char *weight, *bias; /* dense, of type; NULL: none */
} norm;

static void norm_row(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  const norm *o = arg;
  const double mean = o->centred ? row_sum(o->type, in, n) / (double)n : 0;
  const double spread = sqrt(row_squares(o->type, in, n, mean) / (double)n + o->epsilon);
  (void)second, (void)scratch;
  if (o->centred)
    row_scalar(VIVA_SUBTRACT, o->type, in, n, mean, out);
  else
    memmove(out, in, n * tensor_element_bytes(o->type));
  row_scalar(VIVA_DIVIDE, o->type, out, n, spread, out);
  if (o->weight) row_binary(VIVA_MULTIPLY, o->type, out, o->weight, n, out);
  if (o->bias) row_binary(VIVA_ADD, o->type, out, o->bias, n, out);
}

/* *held = a factor for each place of the axis, dense, of this type; NULL where there is none. */
static viva_status hold_factor(const viva_tensor *t, const char *name, uint64_t n, viva_dtype type, tensor_local *room,
                               viva_tensor **held, viva_error *error) {
  char text[128];
  *held = NULL;
  if (!t) return VIVA_OK;
  TRY(operand_need(t, name, error));
  if (!dtype_is_compute(t->dtype)) return operand_refuse("a norm", t->dtype, VIVA_DTYPE_NONE, error);
  if (t->rank != 1 || t->shape[0] != n)
    return error_set(error, VIVA_E_SIZE, "%s has the shape %s; expected one axis of %llu elements", name,
                     tensor_shape_text(t, text), (unsigned long long)n);
  return operand_dense_in(room, t, type, held, error);
}

/* A norm that is ready to run; weight and bias, converted, lie in it while they are small. */
typedef struct plan {
  norm o;
  lanes l;
  tensor_local room[2];
  viva_tensor *held[2];
} plan;

static viva_status refuse_epsilon(const char *name, double epsilon, viva_error *error) {
  return error_set(error, VIVA_E_ARGUMENT, "%s: epsilon is %g; expected a number of 0 or more", name, epsilon);
}

static viva_status make_plan(int centred, const viva_tensor *a, int32_t axis, const viva_tensor *weight,
                             const viva_tensor *bias, double epsilon, plan *p, viva_error *error) {
  uint32_t at;
  const char *name = centred ? "layer_norm" : "rms_norm";
  TRY(operand_need(a, "a", error));
  if (!dtype_is_compute(a->dtype)) return operand_refuse(name, a->dtype, VIVA_DTYPE_NONE, error);
  if (!(epsilon >= 0)) return refuse_epsilon(name, epsilon, error);
  TRY(operand_axis(a, axis, &at, error));
  const viva_dtype result = dtype_is_float(a->dtype) ? a->dtype : VIVA_F64, type = dtype_kernel(result);
  const uint64_t n = a->shape[at];
  p->held[1] = NULL;
  TRY(hold_factor(weight, "weight", n, type, &p->room[0], &p->held[0], error));
  const viva_status status = hold_factor(bias, "bias", n, type, &p->room[1], &p->held[1], error);
  if (status != VIVA_OK) {
    viva_tensor_release(p->held[0]);
    return status;
  }
  p->o = (norm){.type = type,
                .centred = centred,
                .epsilon = epsilon,
                .weight = p->held[0] ? p->held[0]->data : NULL,
                .bias = p->held[1] ? p->held[1]->data : NULL};
  p->l = (lanes){.a = a,
                 .axis = axis,
                 .type = type,
                 .out_type = type,
                 .result = result,
                 .length = n,
                 .fn = norm_row,
                 .arg = &p->o,
                 .beside = {p->held[0], p->held[1]}};
  return VIVA_OK;
}

static void end_plan(plan *p) { viva_tensor_release(p->held[0]), viva_tensor_release(p->held[1]); }

static viva_status norm_new(int centred, const viva_tensor *a, int32_t axis, const viva_tensor *weight,
                            const viva_tensor *bias, double epsilon, viva_tensor **out, viva_error *error) {
  plan p;
  TRY(operand_place(out, error));
  TRY(make_plan(centred, a, axis, weight, bias, epsilon, &p, error));
  const viva_status status = lanes_new(&p.l, out, NULL, error);
  end_plan(&p);
  return status;
}

static viva_status norm_into(int centred, const viva_tensor *a, int32_t axis, const viva_tensor *weight,
                             const viva_tensor *bias, double epsilon, viva_tensor *out, viva_error *error) {
  plan p;
  TRY(operand_need(out, "out", error));
  TRY(make_plan(centred, a, axis, weight, bias, epsilon, &p, error));
  viva_status status = operand_target(out, "out", a->rank, a->shape, error);
  if (status == VIVA_OK) status = lanes_into(&p.l, out, NULL, error);
  end_plan(&p);
  return status;
}

viva_status viva_tensor_layer_norm(const viva_tensor *a, int32_t axis, const viva_tensor *weight,
                                   const viva_tensor *bias, double epsilon, viva_tensor **out, viva_error *error) {
  return norm_new(1, a, axis, weight, bias, epsilon, out, error);
}

viva_status viva_tensor_layer_norm_into(const viva_tensor *a, int32_t axis, const viva_tensor *weight,
                                        const viva_tensor *bias, double epsilon, viva_tensor *out, viva_error *error) {
  return norm_into(1, a, axis, weight, bias, epsilon, out, error);
}

viva_status viva_tensor_rms_norm(const viva_tensor *a, int32_t axis, const viva_tensor *weight, double epsilon,
                                 viva_tensor **out, viva_error *error) {
  return norm_new(0, a, axis, weight, NULL, epsilon, out, error);
}

viva_status viva_tensor_rms_norm_into(const viva_tensor *a, int32_t axis, const viva_tensor *weight, double epsilon,
                                      viva_tensor *out, viva_error *error) {
  return norm_into(0, a, axis, weight, NULL, epsilon, out, error);
}

/* Few elements: the norm as its reduction has it, in the type of the values. */
static viva_status few_clipped(const viva_tensor *a, double longest, viva_dtype result, viva_dtype type, goal *g,
                               viva_error *error) {
  few_room rooms[2];
  const char *values = few_hold(a, type, &rooms[0]);
  double length = sqrt(row_squares(type, values, a->elements, 0));
  if (type == VIVA_F32) length = (double)(float)length;
  if (length > longest) {
    row_scalar(VIVA_MULTIPLY, type, values, a->elements, longest / length, rooms[1].bytes);
    values = rooms[1].bytes;
  } else if (values == (const char *)a->data) { /* out may be a in another order */
    memcpy(rooms[1].bytes, values, a->elements * tensor_element_bytes(type));
    values = rooms[1].bytes;
  }
  return few_give(g, a->storage->rt, result, a->rank, a->shape, type, values, error);
}

static viva_status clip_by_norm(const viva_tensor *a, double longest, goal *g, viva_error *error) {
  viva_tensor *wide, *norm_of_all;
  TRY(operand_need(a, "a", error));
  if (!(longest >= 0))
    return error_set(error, VIVA_E_ARGUMENT, "clip_by_norm: longest is %g; expected a number of 0 or more", longest);
  if (!dtype_is_compute(a->dtype)) return operand_refuse("clip_by_norm", a->dtype, VIVA_DTYPE_NONE, error);
  const viva_dtype result = dtype_is_float(a->dtype) ? a->dtype : VIVA_F64, type = dtype_kernel(result);
  if (few_fits(a)) return few_clipped(a, longest, result, type, g, error);
  TRY(operand_copy(a, type, &wide, error));
  double length = 0;
  viva_status status = viva_tensor_reduce(VIVA_NORM, wide, NULL, 0, 0, &norm_of_all, error);
  if (status == VIVA_OK) {
    status = viva_tensor_get(norm_of_all, NULL, &length, error);
    viva_tensor_release(norm_of_all);
  }
  if (status != VIVA_OK) {
    viva_tensor_release(wide);
    return status;
  }
  if (length > longest)
    row_scalar(VIVA_MULTIPLY, wide->dtype, wide->data, wide->elements, longest / length, wide->data);
  return goal_give(g, wide, result, error);
}
GOAL_CALLS(clip_by_norm, LIST(const viva_tensor *a, double longest), a, longest)
