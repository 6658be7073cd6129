/* tensor/dense.c: dense layers: relu(x·Wᵀ + b), rounded once; integers wrap before relu. */
#include "base/error.h"
#include "tensor/along.h"
#include "tensor/cast.h"
#include "tensor/few_product.h"

static viva_status check_shapes(const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias,
                                viva_error *error) {
  char first[128], second[128];
  TRY(operand_need(x, "x", error));
  TRY(operand_need(weight, "weight", error));
  if (bias) TRY(operand_need(bias, "bias", error));
  const int fits = weight->rank == 2 && x->rank > 0 && x->shape[x->rank - 1] == weight->shape[1];
  if (!fits)
    return error_set(error, VIVA_E_SIZE,
                     "dense: x %s and weight %s do not fit: expected [..., inputs] and "
                     "[outputs, inputs]",
                     tensor_shape_text(x, first), tensor_shape_text(weight, second));
  if (bias && (bias->rank != 1 || bias->shape[0] != weight->shape[0]))
    return error_set(error, VIVA_E_SIZE, "dense: bias %s does not fit weight %s", tensor_shape_text(bias, first),
                     tensor_shape_text(weight, second));
  return VIVA_OK;
}

/* The type of the result: all operands are promoted before anything is computed. */
static viva_status result_type(const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias, int32_t relu,
                               viva_dtype *result, viva_error *error) {
  *result = dtype_promote(x->dtype, weight->dtype);
  if (*result == VIVA_DTYPE_NONE) return operand_refuse("dense", x->dtype, weight->dtype, error);
  const viva_dtype product = *result;
  if (bias) *result = dtype_promote(product, bias->dtype);
  if (*result == VIVA_DTYPE_NONE) return operand_refuse("dense", product, bias->dtype, error);
  return relu && *result == VIVA_BOOL ? operand_refuse("relu", VIVA_BOOL, VIVA_DTYPE_NONE, error) : VIVA_OK;
}

/* -- few elements */

static viva_status few_dense(const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias, int32_t relu,
                             viva_dtype result, gemm *g, goal *to, viva_error *error) {
  few_room values, each;
  few_product(x, weight, 1, result, g, &values);
  const size_t size = tensor_element_bytes(g->type), all = g->m * g->n;
  const char *row = bias ? few_hold(bias, g->type, &each) : NULL;
  for (size_t i = 0; bias && i < all; i += g->n)
    row_binary(VIVA_ADD, g->type, values.bytes + i * size, row, g->n, values.bytes + i * size);
  if (!relu) return few_product_give(to, x, weight, result, g, g->type, &values, error);
  const viva_dtype type = dtype_is_float(result) ? g->type : result;
  few_room wrapped;
  if (type == g->type)
    row_unary(VIVA_RELU, type, values.bytes, all, values.bytes);
  else {
    const int64_t narrow = (int64_t)tensor_element_bytes(type);
    cast_line(type, wrapped.bytes, narrow, g->type, values.bytes, (int64_t)size, all);
    row_unary(VIVA_RELU, type, wrapped.bytes, all, wrapped.bytes);
  }
  return few_product_give(to, x, weight, result, g, type, type == g->type ? &values : &wrapped, error);
}

/* -- any */

/* Operands as the type to compute in, and where their copies lie when they are small. */
typedef struct layer {
  viva_dtype result, type;
  viva_tensor x, columns; /* without references; columns: the weight [outputs, inputs] turned */
  viva_tensor *held[3];   /* x, weight, bias; NULL: as it is, or not there */
  tensor_local room[3];
} layer;

/* *as = t, of this type: itself, or its copy in *held. */
static viva_status hold(const viva_tensor *t, viva_dtype type, tensor_local *room, viva_tensor **held, viva_tensor *as,
                        viva_error *error) {
  if (t->dtype != type) TRY(operand_copy_in(room, t, type, held, error));
  *as = *held ? **held : *t;
  return VIVA_OK;
}

static viva_status hold_all(layer *l, const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias,
                            viva_error *error) {
  viva_tensor rows;
  l->held[0] = l->held[1] = l->held[2] = NULL;
  TRY(hold(x, l->type, &l->room[0], &l->held[0], &l->x, error));
  TRY(hold(weight, l->type, &l->room[1], &l->held[1], &rows, error));
  l->columns = rows;
  l->columns.shape[0] = rows.shape[1], l->columns.strides[0] = rows.strides[1];
  l->columns.shape[1] = rows.shape[0], l->columns.strides[1] = rows.strides[0];
  return bias ? operand_dense_in(&l->room[2], bias, l->type, &l->held[2], error) : VIVA_OK;
}

/* The product is the result itself, and may be written to the caller's tensor as it comes. */
static int is_direct(const layer *l, const goal *to, const viva_tensor *x, const viva_tensor *weight,
                     const viva_tensor *bias) {
  const viva_tensor *out = to->into;
  return !to->fresh && l->type == l->result && out->dtype == l->type && tensor_contiguous(out) &&
         !tensor_overlap(out, x) && !tensor_overlap(out, weight) && !(bias && tensor_overlap(out, bias));
}

/* made, of l->type, += bias; relu where values do not wrap any more. */
static viva_status finish(const layer *l, int32_t relu, viva_tensor *made, viva_error *error) {
  if (l->held[2]) TRY(viva_tensor_binary_into(VIVA_ADD, made, l->held[2], made, error));
  const int whole = dtype_is_float(l->result) || l->type == l->result;
  return relu && whole ? viva_tensor_unary_into(VIVA_RELU, made, made, error) : VIVA_OK;
}

/* Integers that were wider than the result: wrapped, then relu. */
static viva_status finish_wrapped(const layer *l, viva_tensor **made, viva_error *error) {
  viva_tensor *wide = *made;
  *made = NULL;
  TRY(operand_become(wide, l->result, made, error));
  return viva_tensor_unary_into(VIVA_RELU, *made, *made, error);
}

static viva_status run(layer *l, const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias, int32_t relu,
                       goal *to, viva_error *error) {
  viva_tensor *made = NULL;
  if (is_direct(l, to, x, weight, bias)) {
    TRY(viva_tensor_matmul_into(&l->x, &l->columns, to->into, error));
    return finish(l, relu, to->into, error);
  }
  viva_status status = viva_tensor_matmul(&l->x, &l->columns, &made, error);
  if (status == VIVA_OK) status = finish(l, relu, made, error);
  if (status == VIVA_OK && relu && dtype_is_integer(l->result) && l->type != l->result)
    status = finish_wrapped(l, &made, error);
  if (status == VIVA_OK) return goal_give(to, made, l->result, error);
  viva_tensor_release(made);
  return status;
}

static viva_status dense(const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias, int32_t relu,
                         goal *to, viva_error *error) {
  gemm g;
  layer l; /* not cleared */
  TRY(check_shapes(x, weight, bias, error));
  TRY(result_type(x, weight, bias, relu, &l.result, error));
  if (few_product_fits(x, weight, 1, &g)) return few_dense(x, weight, bias, relu, l.result, &g, to, error);
  l.type = dtype_product(l.result);
  viva_status status = hold_all(&l, x, weight, bias, error);
  if (status == VIVA_OK) status = run(&l, x, weight, bias, relu, to, error);
  for (int i = 0; i < 3; i++) viva_tensor_release(l.held[i]);
  return status;
}
GOAL_CALLS(dense, LIST(const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias, int32_t relu), x,
           weight, bias, relu)
