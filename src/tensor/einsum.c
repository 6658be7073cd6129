/* tensor/einsum.c: Einstein's sums: one operand is a view that is copied or summed, two of few elements are lines whose
 * products are added up; all others are joined (einsum_join.c).
 */
#include "tensor/einsum.h"

#include "base/error.h"
#include "tensor/few.h"
#include "viva/tensor_into.h"

/* The steps of t when it is indexed by these labels: 0 for those that it does not have, or repeats. */
static void steps_of(const einsum *s, uint32_t k, const einsum_labels *order, int64_t *strides) {
  const viva_tensor *t = s->tensors[k];
  const einsum_labels *l = &s->axes[k];
  for (uint32_t i = 0; i < order->count; i++) strides[i] = 0;
  for (uint32_t i = 0; i < order->count; i++)
    for (uint32_t axis = 0; axis < l->count; axis++)
      if (l->of[axis] == order->of[i] && t->shape[axis] != 1) strides[i] += t->strides[axis];
}

/* The result's labels, then those of this operand that it does not have, each once. 0: more than 8. */
static int order_of(const einsum *s, uint32_t k, einsum_labels *order) {
  uint64_t found = einsum_set(&s->result);
  *order = s->result;
  for (uint32_t i = 0; i < s->axes[k].count; i++) {
    const uint8_t label = s->axes[k].of[i];
    if (found & einsum_bit(label)) continue;
    if (order->count == VIVA_TENSOR_MAX_RANK) return 0;
    found |= einsum_bit(label);
    order->of[order->count++] = label;
  }
  return 1;
}

/* -- one operand */

static viva_status sum_of_view(const einsum *s, const viva_tensor *v, goal *g, viva_error *error) {
  const viva_reduction op = s->type == VIVA_BOOL ? VIVA_ANY : VIVA_SUM;
  int32_t axes[VIVA_TENSOR_MAX_RANK];
  uint32_t count = 0;
  viva_tensor *made;
  for (uint32_t i = s->result.count; i < v->rank; i++) axes[count++] = (int32_t)i;
  if (g->into && g->into->dtype == s->type && viva_reduction_type(op, s->type) == s->type)
    return viva_tensor_reduce_into(op, v, axes, count, 0, g->into, error);
  TRY(viva_tensor_reduce(op, v, axes, count, 0, &made, error));
  return goal_give(g, made, s->type, error);
}

static viva_status run_one(const einsum *s, goal *g, viva_error *error) {
  const viva_tensor *t = s->tensors[0];
  viva_tensor v = *t, *made; /* v: a view without a reference */
  einsum_labels order;
  if (!order_of(s, 0, &order)) return einsum_join(s, g, error);
  v.rank = order.count, v.elements = 1;
  for (uint32_t i = 0; i < order.count; i++) v.shape[i] = s->sizes[order.of[i]], v.elements *= (size_t)v.shape[i];
  steps_of(s, 0, &order, v.strides);
  if (v.rank > s->result.count) return sum_of_view(s, &v, g, error);
  TRY(operand_copy(&v, s->type, &made, error));
  return goal_give(g, made, s->type, error);
}

/* -- two operands of few elements */

#define ADD_PRODUCTS(name, T)                                                                                          \
  static void name(const void *a, const void *b, size_t count, size_t n, void *values) {                               \
    const T *x = a, *y = b;                                                                                            \
    for (size_t i = 0; i < count; i++, x += n, y += n) {                                                               \
      T sum = 0; /* in order, as gemm.h adds */                                                                        \
      for (size_t k = 0; k < n; k++) sum += x[k] * y[k];                                                               \
      ((T *)values)[i] = sum;                                                                                          \
    }                                                                                                                  \
  }
ADD_PRODUCTS(add_f64, double)
ADD_PRODUCTS(add_f32, float)
ADD_PRODUCTS(add_u64, uint64_t)

/* Each label is of the result or of both operands, and there are few products; order: the result's labels, then those that are
 * summed. n: products for each result. */
static int are_few(const einsum *s, einsum_labels *order, uint64_t *shape, size_t *count, size_t *n) {
  const uint64_t both = einsum_set(&s->axes[0]) & einsum_set(&s->axes[1]);
  uint64_t results = 1, each = 1;
  if (!few_fits(s->tensors[0]) || !few_fits(s->tensors[1])) return 0;
  if (s->seen & ~(both | einsum_set(&s->result)) || !order_of(s, 0, order)) return 0;
  for (uint32_t i = 0; i < order->count; i++) {
    shape[i] = s->sizes[order->of[i]];
    *(i < s->result.count ? &results : &each) *= shape[i];
  }
  *count = (size_t)results, *n = (size_t)each;
  return results * each <= FEW;
}

/* A summed label that one operand repeats is the sum of the other's alone, which einsum_join adds first. */
static int repeats(const einsum *s, const einsum_labels *order, const uint64_t *shape, const int64_t *strides) {
  for (uint32_t i = s->result.count; i < order->count; i++)
    if (shape[i] > 1 && strides[i] == 0) return 1;
  return 0;
}

static viva_status run_few(const einsum *s, const einsum_labels *order, const uint64_t *shape,
                           const int64_t (*strides)[VIVA_TENSOR_MAX_RANK], size_t count, size_t n, goal *g,
                           viva_error *error) {
  const viva_dtype type = dtype_product(s->type);
  few_room room[2], values;
  const void *a = few_read(s->tensors[0], order->count, shape, strides[0], type, &room[0]);
  const void *b = few_read(s->tensors[1], order->count, shape, strides[1], type, &room[1]);
  (type == VIVA_F64 ? add_f64 : type == VIVA_F32 ? add_f32 : add_u64)(a, b, count, n, values.bytes);
  return few_give(g, s->tensors[0]->storage->rt, s->type, s->result.count, shape, type, values.bytes, error);
}

static viva_status run(const einsum *s, goal *g, viva_error *error) {
  einsum_labels order;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  int64_t strides[2][VIVA_TENSOR_MAX_RANK];
  size_t count = 1, n = 1;
  if (s->count == 1) return run_one(s, g, error);
  if (s->count > 2 || !are_few(s, &order, shape, &count, &n)) return einsum_join(s, g, error);
  for (uint32_t k = 0; k < 2; k++) {
    steps_of(s, k, &order, strides[k]);
    if (repeats(s, &order, shape, strides[k])) return einsum_join(s, g, error);
  }
  return run_few(s, &order, shape, strides, count, n, g, error);
}

static viva_status einsum_of(const char *text, const viva_tensor *const *tensors, uint32_t count, goal *g,
                             viva_error *error) {
  einsum s; /* not cleared */
  if (!text || !tensors || count == 0 || count > EINSUM_OPERANDS)
    return error_set(error, VIVA_E_ARGUMENT, "einsum takes a text and 1 to %d tensors, not %u", EINSUM_OPERANDS,
                     (unsigned)count);
  s.count = count, s.tensors = tensors, s.type = VIVA_DTYPE_NONE;
  for (uint32_t k = 0; k < count; k++) {
    TRY(operand_need(tensors[k], "a tensor of the list", error));
    const viva_dtype type = tensors[k]->dtype;
    if (!dtype_is_compute(type)) return operand_refuse("einsum", type, VIVA_DTYPE_NONE, error);
    s.type = k == 0 || s.type == type ? type : dtype_promote(s.type, type);
  }
  TRY(einsum_read(text, &s, error));
  return run(&s, g, error);
}

viva_status viva_tensor_einsum(const char *text, const viva_tensor *const *tensors, uint32_t count, viva_tensor **out,
                               viva_error *error) {
  goal g;
  g.fresh = out, g.into = NULL;
  TRY(operand_place(out, error));
  return einsum_of(text, tensors, count, &g, error);
}

viva_status viva_tensor_einsum_into(const char *text, const viva_tensor *const *tensors, uint32_t count,
                                    viva_tensor *out, viva_error *error) {
  goal g;
  g.fresh = NULL, g.into = out;
  TRY(operand_need(out, "out", error));
  return einsum_of(text, tensors, count, &g, error);
}
