/* tensor/operand.c: checks and conversions of operands. */
#include "tensor/operand.h"

#include <string.h>

#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/turn.h"
#include "tensor/walk.h"

enum { FEW = 64 /* elements */ };

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

viva_status operand_twice(const char *op, const viva_tensor *t, int32_t axis, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_ARGUMENT, "%s: axis %d of the tensor %s is named twice", op, (int)axis,
                   tensor_shape_text(t, text));
}

viva_status operand_nothing(const char *op, const viva_tensor *t, uint32_t axis, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_ARGUMENT, "%s of nothing has no value: axis %u of the tensor %s is empty", op,
                   (unsigned)axis, tensor_shape_text(t, text));
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

void operand_lines(uint32_t rank, const uint64_t *shape, viva_dtype to_type, char *to, const int64_t *to_step,
                   viva_dtype from_type, const char *from, const int64_t *from_step) {
  uint64_t index[VIVA_TENSOR_MAX_RANK];
  const uint32_t inner = rank - 1;
  for (uint32_t i = 0; i < inner; i++) index[i] = 0;
  for (;;) {
    cast_line(to_type, to, to_step[inner], from_type, from, from_step[inner], (size_t)shape[inner]);
    uint32_t i = inner;
    while (i-- > 0) {
      to += to_step[i], from += from_step[i];
      if (++index[i] < shape[i]) break;
      to -= (int64_t)shape[i] * to_step[i], from -= (int64_t)shape[i] * from_step[i];
      index[i] = 0;
    }
    if (i == UINT32_MAX) return;
  }
}

/* Few elements, for which a walk takes longer than the work: in one line, or line by line. 1: it was done so. */
static inline int move_few(const viva_tensor *to, const viva_tensor *from) {
  const int64_t to_size = (int64_t)tensor_element_bytes(to->dtype),
                from_size = (int64_t)tensor_element_bytes(from->dtype);
  if (to->elements >= 2 * PARALLEL_ELEMENTS) return 0;
  const int one_line = (from->elements == to->elements || from->elements == 1) && tensor_contiguous(to);
  if (one_line && tensor_contiguous(from)) {
    const int64_t step = from->elements == 1 ? 0 : from_size;
    cast_line(to->dtype, to->data, to_size, from->dtype, from->data, step, to->elements);
    return 1;
  }
  if (to->elements > FEW || to->elements == 0 || to->rank == 0) return 0;
  const uint32_t missing = to->rank - from->rank;
  int64_t to_step[VIVA_TENSOR_MAX_RANK], from_step[VIVA_TENSOR_MAX_RANK];
  for (uint32_t i = 0; i < to->rank; i++) {
    const int repeats = i < missing || from->shape[i - missing] == 1;
    to_step[i] = to->strides[i] * to_size;
    from_step[i] = repeats ? 0 : from->strides[i - missing] * from_size;
  }
  operand_lines(to->rank, to->shape, to->dtype, to->data, to_step, from->dtype, from->data, from_step);
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

/* -- goals */

viva_status goal_begin(goal *g, runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                       const viva_tensor *const *inputs, uint32_t count, viva_tensor **made, viva_error *error) {
  if (g->fresh) return tensor_empty(rt, dtype, rank, shape, made, error);
  TRY(operand_target(g->into, "out", rank, shape, error));
  int direct = g->into->dtype == dtype;
  for (uint32_t i = 0; direct && i < count; i++) direct = !tensor_overlap(g->into, inputs[i]);
  *made = g->into;
  return direct ? VIVA_OK : tensor_empty_in(&g->room, rt, dtype, rank, shape, made, error);
}

void goal_end(goal *g, viva_tensor *made) {
  if (g->fresh)
    *g->fresh = made;
  else if (made != g->into) {
    operand_move(g->into, made);
    viva_tensor_release(made);
  }
}

viva_status goal_give(goal *g, viva_tensor *made, viva_dtype result, viva_error *error) {
  viva_tensor *rounded = NULL;
  if (g->fresh) return operand_become(made, result, g->fresh, error);
  viva_status status = operand_target(g->into, "out", made->rank, made->shape, error);
  if (status == VIVA_OK && made->dtype != result && g->into->dtype != result) /* it is the result that is converted */
    status = operand_copy_in(&g->room, made, result, &rounded, error);
  if (status == VIVA_OK) operand_move(g->into, rounded ? rounded : made);
  viva_tensor_release(rounded), viva_tensor_release(made);
  return status;
}
