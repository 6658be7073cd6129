/* tensor/join.c: new tensors put together from the elements of others. */
#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "tensor/view.h"
#include "viva/tensor_ops.h"

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

static viva_status refuse_shape(const viva_tensor *first, const viva_tensor *other, viva_error *error) {
  char a[128], b[128];
  return error_set(error, VIVA_E_SIZE, "tensors %s and %s cannot be joined: sizes differ beside the axis",
                   tensor_shape_text(first, a), tensor_shape_text(other, b));
}

viva_status viva_tensor_concatenate(const viva_tensor *const *tensors, uint32_t count, int32_t axis, viva_tensor **out,
                                    viva_error *error) {
  viva_dtype dtype = VIVA_DTYPE_NONE;
  uint32_t at;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  TRY(operand_place(out, error));
  TRY(check_list(tensors, count, &dtype, error));
  TRY(operand_axis(tensors[0], axis, &at, error));
  memcpy(shape, tensors[0]->shape, sizeof shape);
  for (uint32_t i = 1; i < count; i++) {
    const viva_tensor *t = tensors[i];
    if (t->rank != tensors[0]->rank) return refuse_shape(tensors[0], t, error);
    for (uint32_t k = 0; k < t->rank; k++)
      if (k != at && t->shape[k] != shape[k]) return refuse_shape(tensors[0], t, error);
    if (ck_add(shape[at], t->shape[at], &shape[at])) return error_set(error, VIVA_E_LIMIT, "the joined axis overflows");
  }
  TRY(tensor_empty(tensors[0]->storage->rt, dtype, tensors[0]->rank, shape, out, error));
  uint64_t first = 0;
  for (uint32_t i = 0; i < count; first += tensors[i++]->shape[at]) put_part(*out, at, first, tensors[i]);
  return VIVA_OK;
}

viva_status viva_tensor_stack(const viva_tensor *const *tensors, uint32_t count, int32_t axis, viva_tensor **out,
                              viva_error *error) {
  viva_dtype dtype = VIVA_DTYPE_NONE;
  TRY(operand_place(out, error));
  TRY(check_list(tensors, count, &dtype, error));
  const viva_tensor *a = tensors[0];
  const int64_t place = axis < 0 ? (int64_t)axis + a->rank + 1 : axis;
  if (place < 0 || place > (int64_t)a->rank || a->rank == VIVA_TENSOR_MAX_RANK)
    return error_set(error, VIVA_E_ARGUMENT, "axis is %d; expected -%u to %u, and 8 axes at most", (int)axis,
                     (unsigned)a->rank + 1, (unsigned)a->rank);
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  const uint32_t at = (uint32_t)place;
  for (uint32_t i = 0; i < a->rank; i++) shape[i < at ? i : i + 1] = a->shape[i];
  shape[at] = count;
  for (uint32_t i = 1; i < count; i++)
    if (tensors[i]->rank != a->rank || memcmp(tensors[i]->shape, a->shape, a->rank * sizeof *shape) != 0)
      return refuse_shape(a, tensors[i], error);
  TRY(tensor_empty(a->storage->rt, dtype, a->rank + 1, shape, out, error));
  for (uint32_t i = 0; i < count; i++) {
    viva_tensor wider = *tensors[i];
    wider.rank++;
    for (uint32_t k = a->rank; k > at; k--)
      wider.shape[k] = wider.shape[k - 1], wider.strides[k] = wider.strides[k - 1];
    wider.shape[at] = 1, wider.strides[at] = 1;
    put_part(*out, at, i, &wider);
  }
  return VIVA_OK;
}

viva_status viva_tensor_roll(const viva_tensor *a, int64_t shift, int32_t axis, viva_tensor **out, viva_error *error) {
  uint32_t at;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  TRY(operand_axis(a, axis, &at, error));
  TRY(tensor_empty(a->storage->rt, a->dtype, a->rank, a->shape, out, error));
  if (a->elements == 0) return VIVA_OK;
  const int64_t size = (int64_t)a->shape[at];
  const uint64_t moved = (uint64_t)((shift % size + size) % size);
  const viva_tensor front = view_part(a, at, 0, (uint64_t)size - moved);
  const viva_tensor back = view_part(a, at, (uint64_t)size - moved, moved);
  put_part(*out, at, moved, &front);
  put_part(*out, at, 0, &back);
  return VIVA_OK;
}

viva_status viva_tensor_pad(const viva_tensor *a, const uint64_t *before, const uint64_t *after, double value,
                            viva_tensor **out, viva_error *error) {
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  if (a->rank > 0 && (!before || !after)) return error_set(error, VIVA_E_ARGUMENT, "before or after is NULL");
  for (uint32_t i = 0; i < a->rank; i++)
    if (ck_add(a->shape[i], before[i], &shape[i]) || ck_add(shape[i], after[i], &shape[i]))
      return error_set(error, VIVA_E_LIMIT, "axis %u overflows", (unsigned)i);
  TRY(tensor_empty(a->storage->rt, a->dtype, a->rank, shape, out, error));
  viva_status status = viva_tensor_fill(*out, value, error);
  viva_tensor part = **out;
  for (uint32_t i = 0; i < a->rank; i++) part = view_part(&part, i, before[i], a->shape[i]);
  if (status == VIVA_OK) operand_move(&part, a);
  return status;
}

viva_status viva_tensor_tile(const viva_tensor *a, const uint64_t *times, viva_tensor **out, viva_error *error) {
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  if (a->rank > 0 && !times) return error_set(error, VIVA_E_ARGUMENT, "times is NULL");
  for (uint32_t i = 0; i < a->rank; i++)
    if (ck_mul(a->shape[i], times[i], &shape[i]))
      return error_set(error, VIVA_E_LIMIT, "axis %u overflows", (unsigned)i);
  TRY(tensor_empty(a->storage->rt, a->dtype, a->rank, shape, out, error));
  if ((*out)->elements == 0) return VIVA_OK;
  viva_tensor done = **out; /* a itself in the corner, then one axis after the other is filled with what is there */
  for (uint32_t i = 0; i < a->rank; i++) done = view_part(&done, i, 0, a->shape[i]);
  operand_move(&done, a);
  for (uint32_t axis = a->rank; axis-- > 0;) {
    const uint64_t size = a->shape[axis];
    viva_tensor wider = done;
    wider.shape[axis] = shape[axis];
    for (uint64_t t = 1; t < times[axis]; t++) put_part(&wider, axis, t * size, &done);
    done = view_part(&wider, axis, 0, shape[axis]);
  }
  return VIVA_OK;
}

viva_status viva_tensor_repeat(const viva_tensor *a, uint64_t times, int32_t axis, viva_tensor **out,
                               viva_error *error) {
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  uint32_t at;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  TRY(operand_axis(a, axis, &at, error));
  memcpy(shape, a->shape, sizeof shape);
  if (ck_mul(shape[at], times, &shape[at])) return error_set(error, VIVA_E_LIMIT, "axis %u overflows", (unsigned)at);
  TRY(tensor_empty(a->storage->rt, a->dtype, a->rank, shape, out, error));
  if ((*out)->elements == 0) return VIVA_OK;
  for (uint64_t t = 0; t < times; t++) { /* every times-th index */
    viva_tensor part = view_part(*out, at, t, 1);
    part.shape[at] = a->shape[at];
    part.strides[at] *= (int64_t)times;
    part.elements = a->elements;
    operand_move(&part, a);
  }
  return VIVA_OK;
}

viva_status viva_tensor_diag(const viva_tensor *a, int64_t k, viva_tensor **out, viva_error *error) {
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  const uint64_t away = k < 0 ? 0 - (uint64_t)k : (uint64_t)k;
  if (a->rank == 1) {
    uint64_t shape[2];
    if (ck_add(a->shape[0], away, &shape[0])) return error_set(error, VIVA_E_LIMIT, "k is %lld", (long long)k);
    shape[1] = shape[0];
    TRY(tensor_create(a->storage->rt, a->dtype, 2, shape, out, error));
    viva_tensor line = **out; /* the diagonal of the result */
    if (a->elements == 0) return VIVA_OK;
    line.rank = 1;
    line.shape[0] = a->shape[0], line.strides[0] = (int64_t)shape[1] + 1, line.elements = a->elements;
    line.data += (k < 0 ? away * shape[1] : away) * tensor_element_bytes(a->dtype);
    operand_move(&line, a);
    return VIVA_OK;
  }
  if (a->rank != 2)
    return error_set(error, VIVA_E_SIZE, "diag takes one axis or two; the tensor has %u", (unsigned)a->rank);
  const uint64_t row = k < 0 ? away : 0, col = k < 0 ? 0 : away;
  const uint64_t rows = row < a->shape[0] ? a->shape[0] - row : 0, cols = col < a->shape[1] ? a->shape[1] - col : 0;
  const uint64_t length = rows < cols ? rows : cols;
  viva_tensor line = *a;
  line.rank = 1;
  line.shape[0] = length, line.strides[0] = a->strides[0] + a->strides[1], line.elements = (size_t)length;
  if (length > 0)
    line.data +=
        ((int64_t)row * a->strides[0] + (int64_t)col * a->strides[1]) * (int64_t)tensor_element_bytes(a->dtype);
  return operand_copy(&line, a->dtype, out, error);
}
