/* tensor/elementwise_api.c: the public elementwise calls: types, scalars, results. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/compare_mixed.h"
#include "tensor/elementwise.h"
#include "tensor/scalar.h"

/* An operation that is ready to run. */
typedef struct plan {
  loop_fn loop;
  viva_dtype wanted[4];
  viva_dtype result;
  const viva_tensor *operands[4]; /* the result's place first, as in wanted */
  int count;
} plan;

static inline viva_status run_new(plan *p, viva_tensor **out, viva_error *error) {
  return elementwise_new(p->loop, p->wanted, p->result, out, p->operands, p->count, error);
}

static inline viva_status run_into(plan *p, viva_tensor *out, viva_error *error) {
  return elementwise_into(p->loop, p->wanted, out, p->operands, p->count, error);
}

/* What a loop that computes in `compute` writes: BOOL for tests. */
static inline viva_dtype written(op_types types) { return types.result == VIVA_BOOL ? VIVA_BOOL : types.compute; }

/* -- one operand */

static inline viva_status plan_unary(viva_unary op, const viva_tensor *a, plan *p, viva_error *error) {
  if ((unsigned)op >= VIVA_UNARY_COUNT)
    return error_set(error, VIVA_E_ARGUMENT, "there is no unary operation %d", (int)op);
  TRY(operand_need(a, "a", error));
  const op_types types = unary_types(op, a->dtype);
  if (types.compute == VIVA_DTYPE_NONE) return operand_refuse(viva_unary_name(op), a->dtype, VIVA_DTYPE_NONE, error);
  *p = (plan){.loop = loops_get()->unary[op][types.compute],
              .wanted = {written(types), types.compute},
              .result = types.result,
              .operands = {NULL, a},
              .count = 2};
  return VIVA_OK;
}

viva_status viva_tensor_unary(viva_unary op, const viva_tensor *a, viva_tensor **out, viva_error *error) {
  plan p;
  TRY(operand_place(out, error));
  TRY(plan_unary(op, a, &p, error));
  return run_new(&p, out, error);
}

viva_status viva_tensor_unary_into(viva_unary op, const viva_tensor *a, viva_tensor *out, viva_error *error) {
  plan p;
  TRY(plan_unary(op, a, &p, error));
  return run_into(&p, out, error);
}

/* -- two operands */

static void find_negative(void *arg, char *const *p, const int64_t *step, size_t n) {
  _Atomic int *found = arg;
  for (size_t i = 0; i < n; i++) {
    int64_t value;
    memcpy(&value, p[0] + (int64_t)i * step[0], sizeof value);
    if (value < 0) *found = 1;
  }
}

/* Integers to a negative power are no integers. */
static viva_status check_exponents(const viva_tensor *b, viva_error *error) {
  _Atomic int found = 0;
  tensor_local room;
  viva_tensor *wide;
  walk w;
  char text[128];
  if (!dtype_is_signed(b->dtype)) return VIVA_OK;
  TRY(operand_dense_in(&room, b, VIVA_I64, &wide, error));
  const viva_tensor *operand = wide;
  walk_make(&w, wide->rank, wide->shape, &operand, 1);
  walk_run(&w, wide->storage->rt->pool, find_negative, &found);
  viva_tensor_release(wide);
  if (!found) return VIVA_OK;
  return error_set(error, VIVA_E_NUMERIC,
                   "power: an integer to a negative power, among the exponents %s; convert to a float type first",
                   tensor_shape_text(b, text));
}

/* b_type: what b counts as: its type, but for numbers, which scalar.h has in the type that is computed in. */
static inline viva_status plan_binary(viva_binary op, const viva_tensor *a, const viva_tensor *b, viva_dtype b_type,
                                      plan *p, viva_error *error) {
  if ((unsigned)op >= VIVA_BINARY_COUNT)
    return error_set(error, VIVA_E_ARGUMENT, "there is no binary operation %d", (int)op);
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  const op_types types = binary_types(op, a->dtype, b_type);
  if (types.compute == VIVA_DTYPE_NONE) return operand_refuse(viva_binary_name(op), a->dtype, b_type, error);
  *p = (plan){.loop = loops_get()->binary[op][types.compute],
              .wanted = {written(types), types.compute, types.compute},
              .result = types.result,
              .operands = {NULL, a, b},
              .count = 3};
  if (op == VIVA_POWER && dtype_is_integer(types.compute)) return check_exponents(b, error);
  const int a_wide = a->dtype == VIVA_U64 && dtype_is_signed(b_type);
  const int b_wide = b_type == VIVA_U64 && dtype_is_signed(a->dtype);
  if ((!a_wide && !b_wide) || op < VIVA_EQUAL || op > VIVA_LESS_EQUAL) return VIVA_OK;
  p->loop = compare_mixed(op, a_wide); /* F64 would lose digits */
  p->wanted[1] = VIVA_I64, p->wanted[2] = VIVA_U64;
  if (a_wide) p->operands[1] = b, p->operands[2] = a;
  return VIVA_OK;
}

viva_status viva_tensor_binary(viva_binary op, const viva_tensor *a, const viva_tensor *b, viva_tensor **out,
                               viva_error *error) {
  plan p;
  TRY(operand_place(out, error));
  TRY(plan_binary(op, a, b, b ? b->dtype : VIVA_DTYPE_NONE, &p, error));
  return run_new(&p, out, error);
}

viva_status viva_tensor_binary_into(viva_binary op, const viva_tensor *a, const viva_tensor *b, viva_tensor *out,
                                    viva_error *error) {
  plan p;
  TRY(plan_binary(op, a, b, b ? b->dtype : VIVA_DTYPE_NONE, &p, error));
  return run_into(&p, out, error);
}

viva_status viva_tensor_binary_scalar(viva_binary op, const viva_tensor *a, double b, viva_tensor **out,
                                      viva_error *error) {
  scalar s;
  viva_dtype type;
  plan p;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  TRY(scalar_beside(&s, a, b, &type, error));
  TRY(plan_binary(op, a, &s.tensor, type, &p, error));
  return run_new(&p, out, error);
}

viva_status viva_tensor_binary_scalar_into(viva_binary op, const viva_tensor *a, double b, viva_tensor *out,
                                           viva_error *error) {
  scalar s;
  viva_dtype type;
  plan p;
  TRY(operand_need(a, "a", error));
  TRY(scalar_beside(&s, a, b, &type, error));
  TRY(plan_binary(op, a, &s.tensor, type, &p, error));
  return run_into(&p, out, error);
}

/* -- choice */

static inline viva_status plan_where(const viva_tensor *condition, const viva_tensor *a, const viva_tensor *b, plan *p,
                                     viva_error *error) {
  TRY(operand_need(condition, "condition", error));
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  const viva_dtype type = a->dtype == b->dtype ? a->dtype : dtype_promote(a->dtype, b->dtype);
  if (type == VIVA_DTYPE_NONE) return operand_refuse("where", a->dtype, b->dtype, error);
  if (!dtype_is_compute(condition->dtype))
    return operand_refuse("where's condition", condition->dtype, VIVA_DTYPE_NONE, error);
  *p = (plan){.loop = loops_get()->where[tensor_element_bytes(type)],
              .wanted = {type, VIVA_BOOL, type, type},
              .result = type,
              .operands = {NULL, condition, a, b},
              .count = 4};
  return VIVA_OK;
}

viva_status viva_tensor_where(const viva_tensor *condition, const viva_tensor *a, const viva_tensor *b,
                              viva_tensor **out, viva_error *error) {
  plan p;
  TRY(operand_place(out, error));
  TRY(plan_where(condition, a, b, &p, error));
  return run_new(&p, out, error);
}

viva_status viva_tensor_where_into(const viva_tensor *condition, const viva_tensor *a, const viva_tensor *b,
                                   viva_tensor *out, viva_error *error) {
  plan p;
  TRY(plan_where(condition, a, b, &p, error));
  return run_into(&p, out, error);
}

/* -- copies */

viva_status viva_tensor_astype(const viva_tensor *a, viva_dtype dtype, viva_tensor **out, viva_error *error) {
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  return operand_copy(a, dtype, out, error);
}

viva_status viva_tensor_copy(const viva_tensor *a, viva_tensor **out, viva_error *error) {
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  return operand_copy(a, a->dtype, out, error);
}

viva_status viva_tensor_contiguous(const viva_tensor *a, viva_tensor **out, viva_error *error) {
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  if (!tensor_contiguous(a)) TRY(operand_need(a, "a", error));
  return operand_dense(a, a->dtype, out, error);
}

viva_status viva_tensor_copy_into(const viva_tensor *a, viva_tensor *out, viva_error *error) {
  const viva_tensor *both[2] = {out, a};
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  TRY(operand_need(a, "a", error));
  TRY(operand_need(out, "out", error));
  TRY(broadcast_shape(both, 2, &rank, shape, error));
  TRY(operand_out(out, rank, shape, error));
  if (!operand_clashes(out, a)) {
    operand_move(out, a);
    return VIVA_OK;
  }
  viva_tensor *copy;
  TRY(operand_copy(a, a->dtype, &copy, error));
  operand_move(out, copy);
  viva_tensor_release(copy);
  return VIVA_OK;
}

viva_status viva_tensor_fill(viva_tensor *out, double value, viva_error *error) {
  scalar s;
  TRY(operand_need(out, "out", error));
  scalar_of(&s, out->dtype, value);
  return viva_tensor_copy_into(&s.tensor, out, error);
}

/* -- domain */

static int outside(viva_unary op, double x) {
  if (!isfinite(x)) return 0;
  switch (op) {
  case VIVA_SQRT: return x < 0;
  case VIVA_LOG:
  case VIVA_LOG2:
  case VIVA_LOG10: return x <= 0;
  case VIVA_LOG1P: return x <= -1;
  case VIVA_RECIPROCAL: return x == 0;
  default: return 0;
  }
}

viva_status viva_tensor_check_domain(viva_unary op, const viva_tensor *a, viva_error *error) {
  viva_tensor *wide;
  char text[128];
  if (!viva_unary_name(op)) return error_set(error, VIVA_E_ARGUMENT, "there is no unary operation %d", (int)op);
  TRY(operand_need(a, "a", error));
  TRY(operand_dense(a, VIVA_F64, &wide, error));
  const double *values = (const double *)(const void *)wide->data;
  size_t i = 0;
  while (i < wide->elements && !outside(op, values[i])) i++;
  viva_status status = VIVA_OK;
  if (i < wide->elements)
    status = error_set(error, VIVA_E_NUMERIC, "%s of %g: element %zu (counted row by row) of the tensor %s",
                       viva_unary_name(op), values[i], i, tensor_shape_text(a, text));
  viva_tensor_release(wide);
  return status;
}
