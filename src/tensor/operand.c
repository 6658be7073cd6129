/* tensor/operand.c: checks and conversions of operands. */
#include "tensor/operand.h"

#include <string.h>

#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/turn.h"
#include "tensor/walk.h"

viva_status operand_missing(const viva_tensor *t, const char *name, viva_error *error) {
  if (!t) return error_set(error, VIVA_E_ARGUMENT, "%s is NULL; expected a tensor", name);
  return device_refuse(t, name, error);
}

viva_status operand_no_place(viva_error *error) {
  return error_set(error, VIVA_E_ARGUMENT, "out is NULL; expected a place for the handle");
}

static viva_status refuse_shape(const viva_tensor *to, const char *name, uint32_t rank, const uint64_t *shape,
                                viva_error *error) {
  viva_tensor result = {.rank = rank};
  char a[128], b[128];
  memcpy(result.shape, shape, rank * sizeof *shape);
  return error_set(error, VIVA_E_SIZE, "%s has the shape %s; the result has %s", name, tensor_shape_text(to, a),
                   tensor_shape_text(&result, b));
}

static viva_status refuse_repeated(const viva_tensor *to, const char *name, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_ARGUMENT,
                   "several elements of %s, a tensor %s, share one place in memory; expected a tensor whose strides "
                   "keep them apart",
                   name, tensor_shape_text(to, text));
}

viva_status operand_target(const viva_tensor *to, const char *name, uint32_t rank, const uint64_t *shape,
                           viva_error *error) {
  int fits = to->rank == rank;
  for (uint32_t i = 0; fits && i < rank; i++) fits = to->shape[i] == shape[i];
  if (!fits) return refuse_shape(to, name, rank, shape, error);
  return tensor_distinct(to) ? VIVA_OK : refuse_repeated(to, name, error);
}

viva_status operand_out(const viva_tensor *out, uint32_t rank, const uint64_t *shape, viva_error *error) {
  TRY(operand_need(out, "out", error));
  return operand_target(out, "out", rank, shape, error);
}

viva_status operand_no_axis(const viva_tensor *t, int32_t axis, viva_error *error) {
  char text[128];
  error_set(error, VIVA_E_ARGUMENT, "axis is %d; the tensor %s has %u axes", (int)axis, tensor_shape_text(t, text),
            (unsigned)t->rank);
  return error_option(error, VIVA_E_ARGUMENT, "axis");
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

/* Few elements in one line: they need no walk. 1: it was done so. */
static int move_few(const viva_tensor *to, const viva_tensor *from) {
  if (to->elements >= 2 * PARALLEL_ELEMENTS || (from->elements != to->elements && from->elements != 1)) return 0;
  if (!tensor_contiguous(to) || !tensor_contiguous(from)) return 0;
  const int64_t step = from->elements == 1 ? 0 : (int64_t)tensor_element_bytes(from->dtype);
  cast_line(to->dtype, to->data, (int64_t)tensor_element_bytes(to->dtype), from->dtype, from->data, step, to->elements);
  return 1;
}

void operand_move(const viva_tensor *to, const viva_tensor *from) {
  if (move_few(to, from)) return;
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

viva_status operand_copy_in(tensor_local *room, const viva_tensor *t, viva_dtype dtype, viva_tensor **out,
                            viva_error *error) {
  TRY(tensor_empty_in(room, t->storage->rt, dtype, t->rank, t->shape, out, error));
  operand_move(*out, t);
  return VIVA_OK;
}

viva_status operand_copy(const viva_tensor *t, viva_dtype dtype, viva_tensor **out, viva_error *error) {
  return operand_copy_in(NULL, t, dtype, out, error);
}

viva_status operand_become(viva_tensor *t, viva_dtype dtype, viva_tensor **out, viva_error *error) {
  const int stays = t->dtype == dtype && !t->storage->local;
  const viva_status status = stays ? VIVA_OK : operand_copy(t, dtype, out, error);
  if (stays)
    *out = t;
  else
    viva_tensor_release(t);
  return status;
}

viva_status operand_dense_in(tensor_local *room, const viva_tensor *t, viva_dtype dtype, viva_tensor **held,
                             viva_error *error) {
  if (t->dtype != dtype || !tensor_contiguous(t)) return operand_copy_in(room, t, dtype, held, error);
  *held = viva_tensor_retain((viva_tensor *)(uintptr_t)t);
  return VIVA_OK;
}

viva_status operand_dense(const viva_tensor *t, viva_dtype dtype, viva_tensor **held, viva_error *error) {
  return operand_dense_in(NULL, t, dtype, held, error);
}
