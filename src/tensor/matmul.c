/* tensor/matmul.c: products of tensors: broadcast batches of matrices, vectors, outer products. */
#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "tensor/few_product.h"
#include "tensor/ops.h"
#include "tensor/view.h"
#include "tensor/walk.h"
#include "viva/tensor_into.h"

/* Everything about one product. Vectors have become matrices. */
typedef struct product {
  viva_dtype result, type;
  viva_tensor a, b; /* without references */
  viva_tensor *held[2];
  uint32_t batch_rank;
  uint64_t batch[VIVA_TENSOR_MAX_RANK];
  uint64_t m, n, k;
  uint32_t rank; /* of the result as the caller sees it */
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
} product;

static viva_status refuse(const viva_tensor *a, const viva_tensor *b, viva_error *error) {
  char first[128], second[128];
  return error_set(error, VIVA_E_SIZE,
                   "matmul: %s and %s do not fit: the last axis of a must be as long as the last but one of b",
                   tensor_shape_text(a, first), tensor_shape_text(b, second));
}

/* A vector as a matrix: a row on the left, a column on the right. */
static inline viva_tensor as_matrix(const viva_tensor *t, int left) {
  viva_tensor m = *t;
  if (t->rank > 1) return m;
  m.rank = 2;
  m.shape[left] = t->shape[0], m.strides[left] = t->strides[0];
  m.shape[!left] = 1, m.strides[!left] = 1;
  return m;
}

static viva_status refuse_rank(const viva_tensor *a, const viva_tensor *b, viva_error *error) {
  char first[128], second[128];
  return error_set(error, VIVA_E_SIZE,
                   "matmul takes tensors of one axis or more, not %s and %s; use multiply for numbers",
                   tensor_shape_text(a, first), tensor_shape_text(b, second));
}

/* The axes in front of the matrices, broadcast. */
static viva_status batch_of(product *p, const viva_tensor *a, const viva_tensor *b, viva_error *error) {
  char first[128], second[128];
  viva_tensor outer[2] = {p->a, p->b};
  outer[0].rank -= 2, outer[1].rank -= 2;
  const viva_tensor *both[2] = {&outer[0], &outer[1]};
  const viva_status status = broadcast_shape(both, 2, &p->batch_rank, p->batch, error);
  if (status != VIVA_E_SIZE) return status;
  return error_set(error, status, "matmul: %s and %s do not fit: the axes in front of the last two must be equal or 1",
                   tensor_shape_text(a, first), tensor_shape_text(b, second));
}

static viva_status prepare(const viva_tensor *a, const viva_tensor *b, viva_dtype result, product *p,
                           viva_error *error) {
  p->held[0] = p->held[1] = NULL;
  p->result = result;
  if (p->result == VIVA_DTYPE_NONE) return operand_refuse("matmul", a->dtype, b->dtype, error);
  if (a->rank == 0 || b->rank == 0) return refuse_rank(a, b, error);
  p->type = dtype_product(p->result);
  p->a = as_matrix(a, 1);
  p->b = as_matrix(b, 0);
  p->m = p->a.shape[p->a.rank - 2], p->k = p->a.shape[p->a.rank - 1], p->n = p->b.shape[p->b.rank - 1];
  if (p->b.shape[p->b.rank - 2] != p->k) return refuse(a, b, error);
  p->batch_rank = 0;
  if (a->rank > 2 || b->rank > 2) TRY(batch_of(p, a, b, error));
  for (uint32_t i = 0; i < p->batch_rank; i++) p->shape[i] = p->batch[i];
  p->rank = p->batch_rank;
  if (a->rank > 1) p->shape[p->rank++] = p->m;
  if (b->rank > 1) p->shape[p->rank++] = p->n;
  return VIVA_OK;
}

/* Where converted operands, and a product that is converted, lie when they are small. */
typedef struct rooms {
  tensor_local operand[2], result;
} rooms;

/* Converts an operand, or copies it when no steps of its matrices fit. */
static inline viva_status hold(product *p, viva_tensor *t, int which, rooms *room, viva_error *error) {
  const uint32_t r = t->rank;
  const int64_t row = t->shape[r - 2] > 1 ? t->strides[r - 2] : t->strides[r - 1] == 1 ? (int64_t)t->shape[r - 1] : 1;
  const int64_t col = t->shape[r - 1] > 1 ? t->strides[r - 1] : 1;
  if (t->dtype == p->type && gemm_fits(t->shape[r - 2], t->shape[r - 1], row, col)) {
    t->strides[r - 2] = row, t->strides[r - 1] = col;
    return VIVA_OK;
  }
  TRY(operand_copy_in(&room->operand[which], t, p->type, &p->held[which], error));
  const viva_tensor *copy = p->held[which];
  t->dtype = p->type, t->data = copy->data;
  memcpy(t->strides, copy->strides, sizeof t->strides);
  t->strides[r - 1] = 1, t->strides[r - 2] = (int64_t)(t->shape[r - 1] ? t->shape[r - 1] : 1);
  return VIVA_OK;
}

static inline gemm_matrix matrix_at(const product *p, const viva_tensor *t, uint64_t number) {
  int64_t moved = 0;
  const uint32_t missing = p->batch_rank + 2 - t->rank;
  for (uint32_t i = p->batch_rank; i-- > 0; number /= p->batch[i])
    if (i >= missing && t->shape[i - missing] > 1) moved += (int64_t)(number % p->batch[i]) * t->strides[i - missing];
  return (gemm_matrix){t->data + moved * (int64_t)tensor_element_bytes(p->type), t->strides[t->rank - 2],
                       t->strides[t->rank - 1]};
}

/* to: dense, of p->type. */
static inline viva_status multiply(product *p, viva_tensor *to, viva_error *error) {
  mem *m = &to->storage->rt->mem;
  if (to->elements == 0) return VIVA_OK;
  const size_t each = (size_t)(p->m * p->n), count = to->elements / each, element = tensor_element_bytes(p->type);
  gemm_matrix one[2], *a = count == 1 ? one : mem_array(m, 2 * count, sizeof *a);
  char *first, **c = count == 1 ? &first : mem_array(m, count, sizeof *c);
  viva_status status =
      a && c ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for a list of %zu matrices", count);
  for (size_t i = 0; status == VIVA_OK && i < count; i++) {
    a[i] = matrix_at(p, &p->a, i);
    a[count + i] = matrix_at(p, &p->b, i);
    c[i] = to->data + i * each * element;
  }
  const gemm g = {.type = p->type,
                  .m = (size_t)p->m,
                  .n = (size_t)p->n,
                  .k = (size_t)p->k,
                  .batch = count,
                  .a = a,
                  .b = a ? a + count : NULL,
                  .c = c,
                  .c_step = (int64_t)p->n};
  if (status == VIVA_OK) gemm_run(&g, to->storage->rt->pool);
  if (count > 1) mem_free(m, c), mem_free(m, a);
  return status;
}

/* Into a dense tensor of p->type that is apart from the operands, or, NULL, a new one: in room unless it is `kept`. */
static inline viva_status run(product *p, rooms *room, int kept, viva_tensor **to, viva_error *error) {
  runtime *rt = p->a.storage->rt;
  viva_tensor *made = NULL;
  viva_status status = hold(p, &p->a, 0, room, error);
  if (status == VIVA_OK) status = hold(p, &p->b, 1, room, error);
  if (status == VIVA_OK && !*to) {
    status = tensor_empty_in(kept ? NULL : &room->result, rt, p->type, p->rank, p->shape, &made, error);
    *to = made;
  }
  if (status == VIVA_OK) status = multiply(p, *to, error);
  for (int i = 0; i < 2; i++) viva_tensor_release(p->held[i]);
  if (status != VIVA_OK) viva_tensor_release(made);
  return status;
}

static inline viva_status product_new(product *p, viva_tensor **out, viva_error *error) {
  rooms room;
  viva_tensor *wide = NULL;
  TRY(run(p, &room, p->type == p->result, &wide, error));
  return operand_become(wide, p->result, out, error);
}

/* What is computed is the result itself, and may be written to the caller's tensor as it comes. */
static inline int is_direct(const product *p, const goal *to, const viva_tensor *a, const viva_tensor *b) {
  const viva_tensor *out = to->into;
  return p->type == p->result && out->dtype == p->type && tensor_contiguous(out) && !tensor_overlap(out, a) &&
         !tensor_overlap(out, b);
}

static inline viva_status product_into(product *p, const viva_tensor *a, const viva_tensor *b, goal *to,
                                       viva_error *error) {
  rooms room;
  viva_tensor *made = NULL;
  TRY(operand_target(to->into, "out", p->rank, p->shape, error));
  if (is_direct(p, to, a, b)) return run(p, &room, 1, &to->into, error);
  TRY(run(p, &room, 0, &made, error));
  return goal_give(to, made, p->result, error);
}

static viva_status matmul(const viva_tensor *a, const viva_tensor *b, goal *to, viva_error *error) {
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  gemm g;
  const viva_dtype result =
      a->dtype == b->dtype && dtype_is_compute(a->dtype) ? a->dtype : dtype_promote(a->dtype, b->dtype);
  if (result != VIVA_DTYPE_NONE && few_product_fits(a, b, 0, &g)) {
    few_room values;
    few_product(a, b, 0, result, &g, &values);
    return few_product_give(to, a, b, result, &g, g.type, &values, error);
  }
  product p;
  TRY(prepare(a, b, result, &p, error));
  return to->fresh ? product_new(&p, to->fresh, error) : product_into(&p, a, b, to, error);
}
GOAL_CALLS(matmul, LIST(const viva_tensor *a, const viva_tensor *b), a, b)

static viva_status check_dot(const viva_tensor *a, const viva_tensor *b, viva_error *error) {
  char first[128], second[128];
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  if (a->rank == 1 && b->rank == 1 && a->shape[0] == b->shape[0]) return VIVA_OK;
  return error_set(error, VIVA_E_SIZE, "dot takes two vectors of one length, not %s and %s",
                   tensor_shape_text(a, first), tensor_shape_text(b, second));
}

viva_status viva_tensor_dot(const viva_tensor *a, const viva_tensor *b, viva_tensor **out, viva_error *error) {
  TRY(operand_place(out, error));
  TRY(check_dot(a, b, error));
  return viva_tensor_matmul(a, b, out, error);
}

viva_status viva_tensor_dot_into(const viva_tensor *a, const viva_tensor *b, viva_tensor *out, viva_error *error) {
  TRY(check_dot(a, b, error));
  return viva_tensor_matmul_into(a, b, out, error);
}

/* Both, dense, and as a column and a row: views without references. */
typedef struct factors {
  tensor_local room[2];
  viva_tensor *held[2], column, row;
} factors;

static viva_status begin_outer(factors *o, const viva_tensor *a, const viva_tensor *b, viva_error *error) {
  TRY(operand_dense_in(&o->room[0], a, a->dtype, &o->held[0], error));
  const viva_status status = operand_dense_in(&o->room[1], b, b->dtype, &o->held[1], error);
  if (status != VIVA_OK) {
    viva_tensor_release(o->held[0]);
    return status;
  }
  o->column = *o->held[0], o->row = *o->held[1];
  o->column.rank = 2, o->column.shape[0] = o->column.elements, o->column.shape[1] = 1;
  o->column.strides[0] = o->column.strides[1] = 1;
  o->row.rank = 1, o->row.shape[0] = o->row.elements, o->row.strides[0] = 1;
  return VIVA_OK;
}

static void end_outer(factors *o) { viva_tensor_release(o->held[0]), viva_tensor_release(o->held[1]); }

/* Few elements: each of a times all of b. */
static viva_status few_outer(const viva_tensor *a, const viva_tensor *b, op_types types, goal *g, viva_error *error) {
  const int64_t size = (int64_t)tensor_element_bytes(types.compute), step[3] = {size, 0, size};
  const uint64_t shape[2] = {a->elements, b->elements};
  few_room room[2], values;
  const char *x = few_hold(a, types.compute, &room[0]), *y = few_hold(b, types.compute, &room[1]);
  const loop_fn loop = loops_get()->binary[VIVA_MULTIPLY][types.compute];
  for (size_t i = 0; i < a->elements; i++) {
    char *p[3] = {values.bytes + i * b->elements * (size_t)size, (char *)(uintptr_t)(x + (int64_t)i * size),
                  (char *)(uintptr_t)y};
    loop(p, step, b->elements);
  }
  return few_give(g, a->storage->rt, types.result, 2, shape, types.compute, values.bytes, error);
}

static viva_status outer(const viva_tensor *a, const viva_tensor *b, goal *g, viva_error *error) {
  TRY(operand_need(a, "a", error));
  TRY(operand_need(b, "b", error));
  const op_types types = binary_types(VIVA_MULTIPLY, a->dtype, b->dtype);
  const int few = few_fits(a) && few_fits(b) && a->elements * b->elements <= FEW;
  if (few && types.compute != VIVA_DTYPE_NONE) return few_outer(a, b, types, g, error);
  factors o;
  viva_tensor *made = NULL;
  const int direct = !g->fresh && g->into->dtype == types.result;
  TRY(begin_outer(&o, a, b, error));
  const viva_status status = direct ? viva_tensor_binary_into(VIVA_MULTIPLY, &o.column, &o.row, g->into, error)
                                    : viva_tensor_binary(VIVA_MULTIPLY, &o.column, &o.row, &made, error);
  end_outer(&o);
  return status == VIVA_OK && !direct ? goal_give(g, made, types.result, error) : status;
}
GOAL_CALLS(outer, LIST(const viva_tensor *a, const viva_tensor *b), a, b)
