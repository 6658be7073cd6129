/* tensor/einsum_join.c: einsums of any operands.
 *
 * All operands get one type first, in which no product is rounded or wraps before the end. A label that occurs twice in one
 * operand is a diagonal, one of size 1 where another operand has more is dropped, one that nobody else needs is summed at
 * once. Then two operands at a time become one by a batched matrix product: [shared and kept][left alone][shared and summed]
 * by [shared and kept][shared and summed][right alone].
 */
#include "base/error.h"
#include "tensor/einsum.h"
#include "tensor/view.h"
#include "viva/tensor_algebra.h"

typedef struct term {
  viva_tensor *t; /* one reference */
  einsum_labels axes;
} term;

/* -- operands: to be replaced by views and sums */

static void replace(term *m, viva_tensor *t) {
  viva_tensor_release(m->t);
  m->t = t;
}

/* Axes with one label become their diagonal; those of size 1 whose label is longer elsewhere go. */
static viva_status simplify(const einsum *s, term *m, viva_error *error) {
  view v = {.rank = 0};
  einsum_labels kept = {0};
  for (uint32_t i = 0; i < m->axes.count; i++) {
    const uint8_t label = m->axes.of[i];
    uint32_t at = 0;
    if (m->t->shape[i] == 1 && s->sizes[label] != 1) continue;
    while (at < kept.count && kept.of[at] != label) at++;
    if (at == kept.count) {
      kept.of[kept.count++] = label;
      v.shape[v.rank++] = m->t->shape[i];
    }
    v.strides[at] += m->t->strides[i];
  }
  viva_tensor *out;
  TRY(view_make(m->t, &v, &out, error));
  replace(m, out);
  m->axes = kept;
  return VIVA_OK;
}

/* The type that operands get before anything is computed. BOOL stays: how many are true could overflow. */
static viva_dtype type_of(const einsum *s) { return s->type == VIVA_BOOL ? VIVA_BOOL : dtype_product(s->type); }

static viva_status convert(term *m, viva_dtype type, viva_error *error) {
  viva_tensor *out;
  if (m->t->dtype == type) return VIVA_OK;
  TRY(operand_copy(m->t, type, &out, error));
  replace(m, out);
  return VIVA_OK;
}

/* Sums over the labels that are not needed. */
static viva_status drop(term *m, uint64_t needed, viva_dtype type, viva_error *error) {
  int32_t axes[VIVA_TENSOR_MAX_RANK];
  uint32_t count = 0;
  einsum_labels kept = {0};
  viva_tensor *out;
  for (uint32_t i = 0; i < m->axes.count; i++)
    if (needed & einsum_bit(m->axes.of[i]))
      kept.of[kept.count++] = m->axes.of[i];
    else
      axes[count++] = (int32_t)i;
  if (count == 0) return VIVA_OK;
  TRY(viva_tensor_reduce(type == VIVA_BOOL ? VIVA_ANY : VIVA_SUM, m->t, axes, count, 0, &out, error));
  replace(m, out);
  m->axes = kept;
  return VIVA_OK;
}

/* The axes of m whose labels are in the set, in the order of `order` (a label for each), at the end of axes. */
static uint32_t pick(const term *m, uint64_t set, const einsum_labels *order, int32_t *axes, uint64_t *product) {
  uint32_t count = 0;
  *product = 1;
  for (uint32_t i = 0; i < order->count; i++) {
    if (!(set & einsum_bit(order->of[i]))) continue;
    for (uint32_t k = 0; k < m->axes.count; k++)
      if (m->axes.of[k] == order->of[i]) {
        axes[count++] = (int32_t)k;
        *product *= m->t->shape[k];
      }
  }
  return count;
}

/* *out = m as [batch][rows][columns], each the product of the axes of one set. */
static viva_status as_matrices(const term *m, const uint64_t sets[3], const einsum_labels *order, uint64_t shape[3],
                               viva_tensor **out, viva_error *error) {
  int32_t axes[VIVA_TENSOR_MAX_RANK];
  uint32_t count = 0;
  viva_tensor *turned;
  for (int i = 0; i < 3; i++) count += pick(m, sets[i], order, axes + count, &shape[i]);
  TRY(viva_tensor_permute(m->t, axes, &turned, error));
  const viva_status status = view_reshape(turned, 3, shape, out, error);
  viva_tensor_release(turned);
  return status;
}

static void put(const einsum_labels *order, uint64_t set, const einsum *s, einsum_labels *to, uint64_t *shape) {
  for (uint32_t i = 0; i < order->count; i++)
    if (set & einsum_bit(order->of[i])) {
      shape[to->count] = s->sizes[order->of[i]];
      to->of[to->count++] = order->of[i];
    }
}

/* a = a joined with b. needed: labels that the rest wants. */
static viva_status join(const einsum *s, term *a, const term *b, uint64_t needed, viva_error *error) {
  const uint64_t in_a = einsum_set(&a->axes), in_b = einsum_set(&b->axes), both = in_a & in_b;
  const uint64_t batch = both & needed, summed = both & ~needed, left = in_a & ~both, right = in_b & ~both;
  const uint64_t sets_a[3] = {batch, left, summed}, sets_b[3] = {batch, summed, right};
  uint64_t shape_a[3], shape_b[3], shape[2 * VIVA_TENSOR_MAX_RANK];
  viva_tensor *x = NULL, *y = NULL, *product = NULL, *out = NULL;
  einsum_labels made = {0};
  put(&a->axes, batch, s, &made, shape);
  put(&a->axes, left, s, &made, shape);
  put(&b->axes, right, s, &made, shape);
  if (made.count > VIVA_TENSOR_MAX_RANK)
    return error_set(error, VIVA_E_LIMIT, "einsum: joining two operands needs %u axes; 8 is the most",
                     (unsigned)made.count);
  viva_status status = as_matrices(a, sets_a, &a->axes, shape_a, &x, error);
  if (status == VIVA_OK) { /* summed labels in the order of a */
    einsum_labels order = a->axes;
    for (uint32_t i = 0; i < b->axes.count; i++)
      if (right & einsum_bit(b->axes.of[i])) order.of[order.count++] = b->axes.of[i];
    status = as_matrices(b, sets_b, &order, shape_b, &y, error);
  }
  if (status == VIVA_OK) status = viva_tensor_matmul(x, y, &product, error);
  if (status == VIVA_OK) status = view_reshape(product, made.count, shape, &out, error);
  viva_tensor_release(x), viva_tensor_release(y), viva_tensor_release(product);
  if (status != VIVA_OK) return status;
  replace(a, out);
  a->axes = made;
  return VIVA_OK;
}

/* The axes in the order of the result; those that "..." or a size of 1 lost come again. */
static viva_status finish(const einsum *s, const term *m, goal *g, viva_error *error) {
  view v = {.rank = s->result.count};
  for (uint32_t i = 0; i < s->result.count; i++) {
    v.shape[i] = 1, v.strides[i] = 1;
    for (uint32_t k = 0; k < m->axes.count; k++)
      if (m->axes.of[k] == s->result.of[i]) v.shape[i] = m->t->shape[k], v.strides[i] = m->t->strides[k];
  }
  viva_tensor *turned, *made;
  TRY(view_make(m->t, &v, &turned, error));
  const viva_status status = operand_copy(turned, s->type, &made, error); /* a new tensor, not a view of an operand */
  viva_tensor_release(turned);
  return status == VIVA_OK ? goal_give(g, made, s->type, error) : status;
}

static viva_status run(const einsum *s, term *terms, goal *g, viva_error *error) {
  uint64_t later[EINSUM_OPERANDS + 1]; /* labels of the result and of the operands from here on */
  const viva_dtype type = type_of(s);
  for (uint32_t k = 0; k < s->count; k++) {
    TRY(simplify(s, &terms[k], error));
    TRY(convert(&terms[k], type, error));
  }
  later[s->count] = einsum_set(&s->result);
  for (uint32_t k = s->count; k-- > 0;) later[k] = later[k + 1] | einsum_set(&terms[k].axes);
  TRY(drop(&terms[0], later[1], type, error));
  for (uint32_t k = 1; k < s->count; k++) {
    TRY(drop(&terms[k], later[k + 1] | einsum_set(&terms[0].axes), type, error));
    TRY(drop(&terms[0], later[k], type, error));
    TRY(join(s, &terms[0], &terms[k], later[k + 1], error));
  }
  return finish(s, &terms[0], g, error);
}

viva_status einsum_join(const einsum *s, goal *g, viva_error *error) {
  term terms[EINSUM_OPERANDS];
  for (uint32_t k = 0; k < s->count; k++) {
    terms[k].t = viva_tensor_retain((viva_tensor *)(uintptr_t)s->tensors[k]);
    terms[k].axes = s->axes[k];
  }
  const viva_status status = run(s, terms, g, error);
  for (uint32_t k = 0; k < s->count; k++) viva_tensor_release(terms[k].t);
  return status;
}
