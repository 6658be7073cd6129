/* tensor/few_product.c: products of few elements. */
#include "tensor/few_product.h"

int few_product_fits(const viva_tensor *a, const viva_tensor *b, uint32_t shared, gemm *g) {
  if (!few_fits(a) || !few_fits(b) || a->rank - 1 > 1 || b->rank - 1 > 1) return 0;
  g->m = a->rank == 2 ? (size_t)a->shape[0] : 1, g->n = b->rank == 2 ? (size_t)b->shape[!shared] : 1;
  g->k = (size_t)a->shape[a->rank - 1];
  return b->shape[shared] == g->k && g->m * g->n <= FEW;
}

/* t's elements as this type. */
static inline gemm_matrix few_matrix(const viva_tensor *t, int left, viva_dtype type, few_room *room) {
  gemm_matrix m = {t->data, 1, 1};
  const int direct = t->dtype == type;
  if (t->rank == 1) { /* a row on the left, a column on the right */
    if (!direct) m.data = few_hold(t, type, room);
    *(left ? &m.col_step : &m.row_step) = direct ? t->strides[0] : 1;
    return m;
  }
  if (direct) {
    m.row_step = t->strides[0], m.col_step = t->strides[1];
    return m;
  }
  m.data = few_hold(t, type, room), m.row_step = (int64_t)t->shape[1];
  return m;
}

void few_product(const viva_tensor *a, const viva_tensor *b, uint32_t shared, viva_dtype result, gemm *g,
                 few_room *values) {
  few_room room[2];
  char *to = values->bytes;
  g->type = dtype_product(result), g->batch = 1, g->c = &to, g->c_step = (int64_t)g->n;
  const gemm_matrix left = few_matrix(a, 1, g->type, &room[0]);
  gemm_matrix right = few_matrix(b, 0, g->type, &room[1]);
  if (shared == 1) right = (gemm_matrix){right.data, right.col_step, right.row_step};
  g->a = &left, g->b = &right;
  gemm_few(g);
  g->a = g->b = NULL, g->c = NULL; /* which lay here */
}

viva_status few_product_give(goal *to, const viva_tensor *a, const viva_tensor *b, viva_dtype result, const gemm *g,
                             viva_dtype type, const few_room *values, viva_error *error) {
  uint64_t shape[2];
  uint32_t rank = 0;
  if (a->rank == 2) shape[rank++] = g->m;
  if (b->rank == 2) shape[rank++] = g->n;
  return few_give(to, a->storage->rt, result, rank, shape, type, values->bytes, error);
}
