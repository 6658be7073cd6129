/* tensor/join.c: new tensors put together from the elements of others. */
#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "tensor/few.h"
#include "tensor/scalar.h"
#include "tensor/view.h"
#include "viva/tensor_into.h"

/* Copies `from` to indices [first, …) of one axis of `to`. */
static void put_part(const viva_tensor *to, uint32_t axis, uint64_t first, const viva_tensor *from) {
  const viva_tensor part = view_part(to, axis, first, from->shape[axis]);
  operand_move(&part, from);
}

static viva_status check_list(const viva_tensor *const *tensors, uint32_t count, viva_dtype *dtype, viva_error *error) {
  if (!tensors || count == 0) return error_set(error, VIVA_E_ARGUMENT, "there are no tensors to join");
  for (uint32_t i = 0; i < count; i++) {
    TRY(operand_need(tensors[i], "a tensor of the list", error));
    if (i == 0) *dtype = tensors[0]->dtype;
    if (tensors[i]->dtype == *dtype) continue;
    const viva_dtype both = dtype_promote(*dtype, tensors[i]->dtype);
    if (both == VIVA_DTYPE_NONE) return operand_refuse("joining", *dtype, tensors[i]->dtype, error);
    *dtype = both;
  }
  return VIVA_OK;
}

static viva_status refuse_shape(const char *name, uint32_t axis, const viva_tensor *first, const viva_tensor *other,
                                const char *wanted, viva_error *error) {
  char a[128], b[128];
  return error_set(error, VIVA_E_SIZE, "%s: tensors %s and %s cannot be joined along axis %u; expected %s", name,
                   tensor_shape_text(first, a), tensor_shape_text(other, b), (unsigned)axis, wanted);
}

/* An axis whose size overflows. */
static viva_status refuse_axis(const char *name, const viva_tensor *a, uint32_t axis, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_LIMIT, "%s: axis %u of the tensor %s overflows", name, (unsigned)axis,
                   tensor_shape_text(a, text));
}

static viva_status refuse_place(const viva_tensor *a, int32_t axis, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_ARGUMENT, "stack: axis is %d; tensors %s take a new one at -%u to %u, and 8 at most",
                   (int)axis, tensor_shape_text(a, text), (unsigned)a->rank + 1, (unsigned)a->rank);
}

static viva_status concatenate(const viva_tensor *const *tensors, uint32_t count, int32_t axis, goal *g,
                               viva_error *error) {
  viva_dtype dtype = VIVA_DTYPE_NONE;
  uint32_t at;
  uint64_t shape[VIVA_TENSOR_MAX_RANK], first = 0;
  viva_tensor *made;
  static const char wanted[] = "the same sizes beside it";
  TRY(check_list(tensors, count, &dtype, error));
  TRY(operand_axis(tensors[0], axis, &at, error));
  memcpy(shape, tensors[0]->shape, sizeof shape);
  for (uint32_t i = 1; i < count; i++) {
    const viva_tensor *t = tensors[i];
    if (t->rank != tensors[0]->rank) return refuse_shape("concatenate", at, tensors[0], t, wanted, error);
    for (uint32_t k = 0; k < t->rank; k++)
      if (k != at && t->shape[k] != shape[k]) return refuse_shape("concatenate", at, tensors[0], t, wanted, error);
    if (ck_add(shape[at], t->shape[at], &shape[at])) return refuse_axis("concatenate", tensors[0], at, error);
  }
  TRY(goal_begin(g, tensors[0]->storage->rt, dtype, tensors[0]->rank, shape, tensors, count, &made, error));
  for (uint32_t i = 0; i < count; first += tensors[i++]->shape[at]) put_part(made, at, first, tensors[i]);
  goal_end(g, made);
  return VIVA_OK;
}

static viva_status stack(const viva_tensor *const *tensors, uint32_t count, int32_t axis, goal *g, viva_error *error) {
  viva_dtype dtype = VIVA_DTYPE_NONE;
  TRY(check_list(tensors, count, &dtype, error));
  const viva_tensor *a = tensors[0];
  const int64_t place = axis < 0 ? (int64_t)axis + a->rank + 1 : axis;
  if (place < 0 || place > (int64_t)a->rank || a->rank == VIVA_TENSOR_MAX_RANK) return refuse_place(a, axis, error);
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  viva_tensor *made;
  const uint32_t at = (uint32_t)place;
  for (uint32_t i = 0; i < a->rank; i++) shape[i < at ? i : i + 1] = a->shape[i];
  shape[at] = count;
  for (uint32_t i = 1; i < count; i++) {
    int same = tensors[i]->rank == a->rank;
    for (uint32_t k = 0; same && k < a->rank; k++) same = tensors[i]->shape[k] == a->shape[k];
    if (!same) return refuse_shape("stack", at, a, tensors[i], "one shape", error);
  }
  TRY(goal_begin(g, a->storage->rt, dtype, a->rank + 1, shape, tensors, count, &made, error));
  for (uint32_t i = 0; i < count; i++) {
    viva_tensor part = view_part(made, at, i, 1); /* without the new axis */
    part.rank--;
    for (uint32_t k = at; k < part.rank; k++) part.shape[k] = part.shape[k + 1], part.strides[k] = part.strides[k + 1];
    operand_move(&part, tensors[i]);
  }
  goal_end(g, made);
  return VIVA_OK;
}

/* Few elements, along the last axis. */
static viva_status few_rolled(const viva_tensor *a, size_t moved, goal *g, viva_error *error) {
  few_room room, values;
  const size_t size = tensor_element_bytes(a->dtype), line = (size_t)a->shape[a->rank - 1] * size, cut = moved * size;
  const char *from = few_hold(a, a->dtype, &room);
  for (size_t i = 0; i < a->elements * size; i += line) {
    memcpy(values.bytes + i + cut, from + i, line - cut);
    memcpy(values.bytes + i, from + i + line - cut, cut);
  }
  return few_give(g, a->storage->rt, a->dtype, a->rank, a->shape, a->dtype, values.bytes, error);
}

static viva_status roll(const viva_tensor *a, int64_t shift, int32_t axis, goal *g, viva_error *error) {
  uint32_t at;
  viva_tensor *made;
  TRY(operand_need(a, "a", error));
  TRY(operand_axis(a, axis, &at, error));
  if (few_fits(a) && at + 1 == a->rank) {
    const int64_t size = (int64_t)a->shape[at];
    return few_rolled(a, (size_t)((shift % size + size) % size), g, error);
  }
  TRY(goal_begin(g, a->storage->rt, a->dtype, a->rank, a->shape, &a, 1, &made, error));
  if (a->elements > 0) {
    const int64_t size = (int64_t)a->shape[at];
    const uint64_t moved = (uint64_t)((shift % size + size) % size);
    const viva_tensor front = view_part(a, at, 0, (uint64_t)size - moved);
    const viva_tensor back = view_part(a, at, (uint64_t)size - moved, moved);
    put_part(made, at, moved, &front);
    if (moved > 0) put_part(made, at, 0, &back);
  }
  goal_end(g, made);
  return VIVA_OK;
}

static viva_status pad(const viva_tensor *a, const uint64_t *before, const uint64_t *after, double value, goal *g,
                       viva_error *error) {
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  viva_tensor *made;
  scalar s;
  TRY(operand_need(a, "a", error));
  if (a->rank > 0 && (!before || !after)) return error_set(error, VIVA_E_ARGUMENT, "before or after is NULL");
  for (uint32_t i = 0; i < a->rank; i++)
    if (ck_add(a->shape[i], before[i], &shape[i]) || ck_add(shape[i], after[i], &shape[i]))
      return refuse_axis("pad", a, i, error);
  TRY(goal_begin(g, a->storage->rt, a->dtype, a->rank, shape, &a, 1, &made, error));
  scalar_of(&s, a->dtype, value);
  operand_move(made, &s.tensor);
  viva_tensor part = *made;
  for (uint32_t i = 0; i < a->rank; i++) part = view_part(&part, i, before[i], a->shape[i]);
  operand_move(&part, a);
  goal_end(g, made);
  return VIVA_OK;
}

static viva_status tile(const viva_tensor *a, const uint64_t *times, goal *g, viva_error *error) {
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  viva_tensor *made;
  TRY(operand_need(a, "a", error));
  if (a->rank > 0 && !times) return error_set(error, VIVA_E_ARGUMENT, "times is NULL");
  for (uint32_t i = 0; i < a->rank; i++)
    if (ck_mul(a->shape[i], times[i], &shape[i])) return refuse_axis("tile", a, i, error);
  if (a->rank == 1 && few_fits(a) && times[0] <= FEW / a->elements) {
    few_room room, values;
    const size_t bytes = a->elements * tensor_element_bytes(a->dtype);
    const void *from = few_hold(a, a->dtype, &room);
    for (uint64_t t = 0; t < times[0]; t++) memcpy(values.bytes + t * bytes, from, bytes);
    return few_give(g, a->storage->rt, a->dtype, 1, shape, a->dtype, values.bytes, error);
  }
  TRY(goal_begin(g, a->storage->rt, a->dtype, a->rank, shape, &a, 1, &made, error));
  viva_tensor done = *made; /* a itself in the corner, then one axis after the other is filled with what is there */
  for (uint32_t i = 0; i < a->rank; i++) done = view_part(&done, i, 0, a->shape[i]);
  if (made->elements > 0) operand_move(&done, a);
  for (uint32_t axis = a->rank; made->elements > 0 && axis-- > 0;) {
    const uint64_t size = a->shape[axis];
    viva_tensor wider = done;
    wider.shape[axis] = shape[axis];
    for (uint64_t t = 1; t < times[axis]; t++) put_part(&wider, axis, t * size, &done);
    done = view_part(&wider, axis, 0, shape[axis]);
  }
  goal_end(g, made);
  return VIVA_OK;
}

static viva_status repeat(const viva_tensor *a, uint64_t times, int32_t axis, goal *g, viva_error *error) {
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  uint32_t at;
  viva_tensor *made;
  TRY(operand_need(a, "a", error));
  TRY(operand_axis(a, axis, &at, error));
  memcpy(shape, a->shape, sizeof shape);
  if (ck_mul(shape[at], times, &shape[at])) return refuse_axis("repeat", a, at, error);
  TRY(goal_begin(g, a->storage->rt, a->dtype, a->rank, shape, &a, 1, &made, error));
  for (uint64_t t = 0; made->elements > 0 && t < times; t++) { /* every times-th index */
    viva_tensor part = view_part(made, at, t, 1);
    part.shape[at] = a->shape[at];
    part.strides[at] *= (int64_t)times;
    part.elements = a->elements;
    operand_move(&part, a);
  }
  goal_end(g, made);
  return VIVA_OK;
}

/* The k-th diagonal of a matrix: a view without a reference. */
static viva_tensor diagonal(const viva_tensor *a, int64_t k) {
  const uint64_t away = k < 0 ? 0 - (uint64_t)k : (uint64_t)k, row = k < 0 ? away : 0, col = k < 0 ? 0 : away;
  const uint64_t rows = row < a->shape[0] ? a->shape[0] - row : 0, cols = col < a->shape[1] ? a->shape[1] - col : 0;
  viva_tensor line = *a;
  line.rank = 1;
  line.shape[0] = rows < cols ? rows : cols, line.strides[0] = a->strides[0] + a->strides[1];
  line.elements = (size_t)line.shape[0];
  if (line.elements > 0)
    line.data +=
        ((int64_t)row * a->strides[0] + (int64_t)col * a->strides[1]) * (int64_t)tensor_element_bytes(a->dtype);
  return line;
}

static viva_status diag(const viva_tensor *a, int64_t k, goal *g, viva_error *error) {
  char text[128];
  viva_tensor *made;
  TRY(operand_need(a, "a", error));
  if (a->rank != 1 && a->rank != 2)
    return error_set(error, VIVA_E_SIZE, "diag takes one axis or two; the tensor %s has %u", tensor_shape_text(a, text),
                     (unsigned)a->rank);
  if (a->rank == 2) {
    const viva_tensor line = diagonal(a, k);
    TRY(goal_begin(g, a->storage->rt, a->dtype, 1, line.shape, &a, 1, &made, error));
    operand_move(made, &line);
    goal_end(g, made);
    return VIVA_OK;
  }
  uint64_t shape[2];
  if (ck_add(a->shape[0], k < 0 ? 0 - (uint64_t)k : (uint64_t)k, &shape[0]))
    return error_set(error, VIVA_E_LIMIT, "diag: k is %lld: a matrix for it and %s overflows", (long long)k,
                     tensor_shape_text(a, text));
  shape[1] = shape[0];
  scalar zero;
  TRY(goal_begin(g, a->storage->rt, a->dtype, 2, shape, &a, 1, &made, error));
  scalar_of(&zero, a->dtype, 0);
  operand_move(made, &zero.tensor);
  const viva_tensor line = diagonal(made, k);
  operand_move(&line, a);
  goal_end(g, made);
  return VIVA_OK;
}

/* -- public */

GOAL_CALLS(concatenate, LIST(const viva_tensor *const *tensors, uint32_t count, int32_t axis), tensors, count, axis)
GOAL_CALLS(stack, LIST(const viva_tensor *const *tensors, uint32_t count, int32_t axis), tensors, count, axis)
GOAL_CALLS(roll, LIST(const viva_tensor *a, int64_t shift, int32_t axis), a, shift, axis)
GOAL_CALLS(pad, LIST(const viva_tensor *a, const uint64_t *before, const uint64_t *after, double value), a, before,
           after, value)
GOAL_CALLS(tile, LIST(const viva_tensor *a, const uint64_t *times), a, times)
GOAL_CALLS(repeat, LIST(const viva_tensor *a, uint64_t times, int32_t axis), a, times, axis)
GOAL_CALLS(diag, LIST(const viva_tensor *a, int64_t k), a, k)
