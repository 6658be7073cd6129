/* tensor/operand.c: checks and conversions of operands. */
#include "tensor/operand.h"

#include <string.h>

#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/turn.h"
#include "tensor/walk.h"

viva_status operand_given(const viva_tensor *t, const char *name, viva_error *error) {
  return t ? VIVA_OK : error_set(error, VIVA_E_ARGUMENT, "%s is NULL; expected a tensor", name);
}

viva_status operand_need(const viva_tensor *t, const char *name, viva_error *error) {
  TRY(operand_given(t, name, error));
  return t->storage->device ? device_refuse(t, name, error) : VIVA_OK;
}

viva_status operand_place(viva_tensor **out, viva_error *error) {
  if (!out) return error_set(error, VIVA_E_ARGUMENT, "out is NULL; expected a place for the handle");
  *out = NULL;
  return VIVA_OK;
}

viva_status operand_target(const viva_tensor *to, const char *name, uint32_t rank, const uint64_t *shape,
                           viva_error *error) {
  if (to->rank != rank || memcmp(to->shape, shape, rank * sizeof *shape) != 0) {
    viva_tensor result = {.rank = rank};
    char a[128], b[128];
    memcpy(result.shape, shape, rank * sizeof *shape);
    return error_set(error, VIVA_E_SIZE, "%s has the shape %s; the result has %s", name, tensor_shape_text(to, a),
                     tensor_shape_text(&result, b));
  }
  if (tensor_distinct(to)) return VIVA_OK;
  return error_set(error, VIVA_E_ARGUMENT,
                   "several elements of %s share one place in memory; expected a tensor whose "
                   "strides keep them apart",
                   name);
}

viva_status operand_out(const viva_tensor *out, uint32_t rank, const uint64_t *shape, viva_error *error) {
  TRY(operand_need(out, "out", error));
  return operand_target(out, "out", rank, shape, error);
}

viva_status operand_axis(const viva_tensor *t, int32_t axis, uint32_t *found, viva_error *error) {
  const int64_t from_front = axis < 0 ? (int64_t)axis + t->rank : axis;
  if (from_front >= 0 && from_front < (int64_t)t->rank) {
    *found = (uint32_t)from_front;
    return VIVA_OK;
  }
  char text[128];
  error_set(error, VIVA_E_ARGUMENT, "axis is %d; the tensor %s has %u axes", (int)axis, tensor_shape_text(t, text),
            (unsigned)t->rank);
  error_at(error, NULL, "axis", -1, VIVA_NO_OFFSET);
  return VIVA_E_ARGUMENT;
}

viva_status operand_refuse(const char *op, viva_dtype a, viva_dtype b, viva_error *error) {
  if (b == VIVA_DTYPE_NONE)
    return error_set(error, VIVA_E_DTYPE, "%s is not defined for %s; convert with viva_tensor_astype", op,
                     viva_dtype_name(a));
  return error_set(error, VIVA_E_DTYPE, "%s is not defined for %s and %s; convert with viva_tensor_astype", op,
                   viva_dtype_name(a), viva_dtype_name(b));
}

int operand_clashes(const viva_tensor *out, const viva_tensor *t) {
  if (!tensor_overlap(out, t)) return 0;
  return !(out->data == t->data && out->rank == t->rank && out->dtype == t->dtype &&
           memcmp(out->shape, t->shape, t->rank * sizeof *t->shape) == 0 &&
           memcmp(out->strides, t->strides, t->rank * sizeof *t->strides) == 0);
}

int operand_contiguous(const viva_tensor *t) {
  int64_t step = 1;
  if (t->elements == 0) return 1;
  for (uint32_t i = t->rank; i-- > 0; step *= (int64_t)t->shape[i])
    if (t->shape[i] != 1 && t->strides[i] != step) return 0;
  return 1;
}

/* -- conversion and copy */

typedef struct move {
  viva_dtype to, from;
} move;

static void move_line(void *arg, char *const *p, const int64_t *step, size_t n) {
  const move *m = arg;
  cast_line(m->to, p[0], step[0], m->from, p[1], step[1], n);
}

/* Lines without gaps, of one type. arg: bytes of an element. */
static void move_bytes(void *arg, char *const *p, const int64_t *step, size_t n) {
  (void)step;
  memmove(p[0], p[1], n * *(const size_t *)arg); /* they may be one */
}

static int are_lines(const walk *w, size_t element) {
  const uint32_t inner = w->rank - 1;
  return w->rank == 0 || (w->step[0][inner] == (int64_t)element && w->step[1][inner] == (int64_t)element);
}

void operand_move(const viva_tensor *to, const viva_tensor *from) {
  const viva_tensor *both[2] = {to, from};
  move m = {to->dtype, from->dtype};
  walk w;
  walk_make(&w, to->rank, to->shape, both, 2);
  pool *threads = to->storage->rt->pool;
  size_t element = tensor_element_bytes(to->dtype);
  if (m.to == m.from && turn_fits(&w, element))
    turn_run(&w, element, threads);
  else if (m.to == m.from && are_lines(&w, element))
    walk_run(&w, threads, move_bytes, &element);
  else
    walk_run(&w, threads, move_line, &m);
}

viva_status operand_copy(const viva_tensor *t, viva_dtype dtype, viva_tensor **out, viva_error *error) {
  TRY(tensor_empty(t->storage->rt, dtype, t->rank, t->shape, out, error));
  operand_move(*out, t);
  return VIVA_OK;
}

viva_status operand_become(viva_tensor *t, viva_dtype dtype, viva_tensor **out, viva_error *error) {
  char old[64];
  const int64_t from = (int64_t)tensor_element_bytes(t->dtype), to = (int64_t)tensor_element_bytes(dtype);
  if (t->dtype != dtype && t->elements * (size_t)from <= sizeof old && to <= from) { /* in its own memory */
    memcpy(old, t->data, t->elements * (size_t)from);
    cast_line(dtype, t->data, to, t->dtype, old, from, t->elements);
    t->dtype = dtype;
  }
  const viva_status status = operand_dense(t, dtype, out, error);
  viva_tensor_release(t);
  return status;
}

viva_status operand_dense(const viva_tensor *t, viva_dtype dtype, viva_tensor **held, viva_error *error) {
  if (t->dtype != dtype || !operand_contiguous(t)) return operand_copy(t, dtype, held, error);
  *held = viva_tensor_retain((viva_tensor *)(uintptr_t)t);
  return VIVA_OK;
}
