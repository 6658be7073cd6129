/* tensor/view.c: views of other shapes. */
#include "tensor/view.h"

#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "viva/tensor_select.h"

view view_of(const viva_tensor *a) {
  view v = {.rank = a->rank};
  memcpy(v.shape, a->shape, sizeof v.shape);
  memcpy(v.strides, a->strides, sizeof v.strides);
  return v;
}

viva_status view_make(const viva_tensor *a, const view *v, viva_tensor **out, viva_error *error) {
  const int64_t offset = (a->data - a->storage->data) / (int64_t)tensor_element_bytes(a->dtype);
  int empty = 0;
  for (uint32_t i = 0; i < v->rank; i++) empty |= v->shape[i] == 0;
  return tensor_over(a->storage, a->dtype, v->rank, v->shape, v->strides, empty ? 0 : offset + v->moved, out, error);
}

viva_tensor view_part(const viva_tensor *a, uint32_t axis, uint64_t first, uint64_t length) {
  viva_tensor part = *a;
  part.shape[axis] = length;
  part.elements = 1;
  for (uint32_t i = 0; i < a->rank; i++) part.elements *= (size_t)part.shape[i];
  if (part.elements > 0) part.data += (int64_t)first * a->strides[axis] * (int64_t)tensor_element_bytes(a->dtype);
  return part;
}

/* -- reshape */

/* Groups of a's axes that go on in memory are cut anew; a group must hold whole sizes of the new shape. */
int view_reshaped(const viva_tensor *a, uint32_t rank, const uint64_t *shape, view *v) {
  uint64_t old_shape[VIVA_TENSOR_MAX_RANK];
  int64_t old_strides[VIVA_TENSOR_MAX_RANK];
  uint32_t old_rank = 0, i = 0, j = 0;
  *v = (view){.rank = rank};
  memcpy(v->shape, shape, rank * sizeof *shape);
  for (uint32_t k = 0; k < a->rank; k++)
    if (a->shape[k] != 1) old_shape[old_rank] = a->shape[k], old_strides[old_rank++] = a->strides[k];
  if (a->elements == 0) return 1; /* the strides of nothing are of no effect */
  while (i < old_rank || j < rank) {
    uint64_t have = i < old_rank ? old_shape[i] : 1, want = j < rank ? shape[j] : 1;
    uint32_t i_end = i < old_rank ? i + 1 : i, j_end = j < rank ? j + 1 : j;
    while (have != want) {
      if (have < want && i_end < old_rank)
        have *= old_shape[i_end++];
      else if (j_end < rank)
        want *= shape[j_end++];
      else
        return 0;
    }
    for (uint32_t k = i; k + 1 < i_end; k++)
      if (old_strides[k] != (int64_t)old_shape[k + 1] * old_strides[k + 1]) return 0;
    int64_t step = i < i_end ? old_strides[i_end - 1] : 1;
    for (uint32_t k = j_end; k-- > j;) {
      v->strides[k] = step;
      step *= (int64_t)shape[k];
    }
    i = i_end, j = j_end;
  }
  return 1;
}

viva_status view_reshape(const viva_tensor *a, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                         viva_error *error) {
  view v;
  viva_tensor *dense;
  if (view_reshaped(a, rank, shape, &v)) return view_make(a, &v, out, error);
  TRY(operand_need(a, "a", error));
  TRY(operand_copy(a, a->dtype, &dense, error));
  view_reshaped(dense, rank, shape, &v);
  const viva_status status = view_make(dense, &v, out, error);
  viva_tensor_release(dense);
  return status;
}

/* A size of UINT64_MAX becomes what is left. */
static viva_status resolve(const viva_tensor *a, uint32_t rank, const uint64_t *shape, uint64_t *found,
                           viva_error *error) {
  char text[128];
  uint32_t open = rank;
  uint64_t product = 1;
  int overflow = 0;
  if (rank > VIVA_TENSOR_MAX_RANK || (rank > 0 && !shape))
    return error_set(error, VIVA_E_ARGUMENT, "rank is %u; expected 0 to %d, and a shape", (unsigned)rank,
                     VIVA_TENSOR_MAX_RANK);
  for (uint32_t i = 0; i < rank; i++) {
    found[i] = shape[i];
    if (shape[i] != UINT64_MAX)
      overflow |= ck_mul(product, shape[i], &product);
    else if (open == rank)
      open = i;
    else
      return error_set(error, VIVA_E_ARGUMENT,
                       "reshape: two sizes for the tensor %s are left open; expected one at most",
                       tensor_shape_text(a, text));
  }
  if (open < rank && !overflow && product > 0 && a->elements % product == 0)
    found[open] = a->elements / product, product = a->elements;
  if (!overflow && product == a->elements && (open == rank || found[open] != UINT64_MAX)) return VIVA_OK;
  viva_tensor wanted = {.rank = rank};
  memcpy(wanted.shape, shape, rank * sizeof *shape);
  char other[128];
  return error_set(error, VIVA_E_SIZE, "reshape: the tensor %s has %zu elements, which do not fill %s",
                   tensor_shape_text(a, text), a->elements, tensor_shape_text(&wanted, other));
}

viva_status viva_tensor_reshape(const viva_tensor *a, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                                viva_error *error) {
  uint64_t found[VIVA_TENSOR_MAX_RANK];
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  TRY(resolve(a, rank, shape, found, error));
  return view_reshape(a, rank, found, out, error);
}

viva_status viva_tensor_flatten(const viva_tensor *a, viva_tensor **out, viva_error *error) {
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  const uint64_t shape[1] = {a->elements};
  return view_reshape(a, 1, shape, out, error);
}

/* -- axes */

/* Bit i: axis i is named. NULL: all. */
static viva_status axes_mask(const char *name, const viva_tensor *a, const int32_t *axes, uint32_t count,
                             uint32_t *mask, viva_error *error) {
  *mask = axes ? 0 : (1u << a->rank) - 1;
  for (uint32_t i = 0; axes && i < count; i++) {
    uint32_t axis;
    TRY(operand_axis(a, axes[i], &axis, error));
    if (*mask >> axis & 1) return operand_twice(name, a, axes[i], error);
    *mask |= 1u << axis;
  }
  return VIVA_OK;
}

viva_status viva_tensor_permute(const viva_tensor *a, const int32_t *axes, viva_tensor **out, viva_error *error) {
  uint32_t mask;
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  TRY(axes_mask("permute", a, axes, a->rank, &mask, error)); /* each once: all of them */
  view v = view_of(a);
  for (uint32_t i = 0; i < a->rank; i++) {
    uint32_t from = a->rank - 1 - i;
    if (axes) TRY(operand_axis(a, axes[i], &from, error));
    v.shape[i] = a->shape[from], v.strides[i] = a->strides[from];
  }
  return view_make(a, &v, out, error);
}

viva_status viva_tensor_squeeze(const viva_tensor *a, const int32_t *axes, uint32_t count, viva_tensor **out,
                                viva_error *error) {
  uint32_t mask;
  char text[128];
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  TRY(axes_mask("squeeze", a, axes, count, &mask, error));
  view v = {.rank = 0};
  for (uint32_t i = 0; i < a->rank; i++) {
    if (mask >> i & 1 && a->shape[i] == 1) continue;
    if (mask >> i & 1 && axes)
      return error_set(error, VIVA_E_SIZE, "squeeze: axis %u of the tensor %s has not the size 1", (unsigned)i,
                       tensor_shape_text(a, text));
    v.shape[v.rank] = a->shape[i], v.strides[v.rank++] = a->strides[i];
  }
  return view_make(a, &v, out, error);
}

viva_status viva_tensor_expand_dims(const viva_tensor *a, int32_t axis, viva_tensor **out, viva_error *error) {
  char text[128];
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  const int64_t place = axis < 0 ? (int64_t)axis + a->rank + 1 : axis;
  if (place < 0 || place > (int64_t)a->rank || a->rank == VIVA_TENSOR_MAX_RANK)
    return error_set(error, VIVA_E_ARGUMENT,
                     "expand_dims: axis is %d; the tensor %s takes a new one at -%u to %u, and 8 axes at most",
                     (int)axis, tensor_shape_text(a, text), (unsigned)a->rank + 1, (unsigned)a->rank);
  view v = view_of(a);
  for (uint32_t i = v.rank++; i > (uint32_t)place; i--) v.shape[i] = v.shape[i - 1], v.strides[i] = v.strides[i - 1];
  v.shape[place] = 1, v.strides[place] = 1;
  return view_make(a, &v, out, error);
}

viva_status viva_tensor_flip(const viva_tensor *a, const int32_t *axes, uint32_t count, viva_tensor **out,
                             viva_error *error) {
  uint32_t mask;
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  TRY(axes_mask("flip", a, axes, count, &mask, error));
  view v = view_of(a);
  for (uint32_t i = 0; i < a->rank; i++) {
    if (!(mask >> i & 1) || a->shape[i] < 2) continue;
    v.moved += (int64_t)(a->shape[i] - 1) * a->strides[i];
    v.strides[i] = -a->strides[i];
  }
  return view_make(a, &v, out, error);
}

viva_status viva_tensor_broadcast_to(const viva_tensor *a, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                                     viva_error *error) {
  char text[128], other[128];
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  if (rank > VIVA_TENSOR_MAX_RANK || (rank > 0 && !shape))
    return error_set(error, VIVA_E_ARGUMENT, "broadcast_to: rank is %u; the tensor %s takes %u to %d, and a shape",
                     (unsigned)rank, tensor_shape_text(a, text), (unsigned)a->rank, VIVA_TENSOR_MAX_RANK);
  view v = {.rank = rank};
  int fits = rank >= a->rank;
  for (uint32_t i = 0; i < rank; i++) v.shape[i] = shape[i];
  for (uint32_t i = 0; fits && i < a->rank; i++) {
    const uint32_t at = rank - a->rank + i;
    fits = a->shape[i] == shape[at] || a->shape[i] == 1;
    v.strides[at] = a->shape[i] == 1 ? 0 : a->strides[i];
  }
  if (fits) return view_make(a, &v, out, error);
  viva_tensor wanted = {.rank = rank};
  memcpy(wanted.shape, v.shape, sizeof wanted.shape);
  return error_set(error, VIVA_E_SIZE, "the tensor %s does not fill %s by repetition", tensor_shape_text(a, text),
                   tensor_shape_text(&wanted, other));
}

/* -- parts */

viva_status viva_tensor_slice_step(const viva_tensor *a, int32_t axis, int64_t start, int64_t stop, int64_t step,
                                   viva_tensor **out, viva_error *error) {
  uint32_t at;
  char text[128];
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  TRY(operand_axis(a, axis, &at, error));
  if (step == 0 || step == INT64_MIN)
    return error_set(error, VIVA_E_ARGUMENT, "slice: the step along axis %u of the tensor %s is %lld; expected another",
                     (unsigned)at, tensor_shape_text(a, text), (long long)step);
  const int64_t size = (int64_t)a->shape[at], low = step < 0 ? -1 : 0, high = step < 0 ? size - 1 : size;
  int64_t bounds[2] = {start, stop};
  for (int k = 0; k < 2; k++) {
    if (bounds[k] == VIVA_SLICE_NONE) {
      bounds[k] = (k == 0) == (step > 0) ? low : high;
      continue;
    }
    if (bounds[k] < 0) bounds[k] += size;
    bounds[k] = bounds[k] < low ? low : bounds[k] > high ? high : bounds[k];
  }
  const int64_t span = step < 0 ? bounds[0] - bounds[1] : bounds[1] - bounds[0], stride = step < 0 ? -step : step;
  view v = view_of(a);
  v.shape[at] = span > 0 ? (uint64_t)((span - 1) / stride + 1) : 0;
  v.moved = bounds[0] * a->strides[at];
  v.strides[at] = v.shape[at] > 1 ? step * a->strides[at] : 1;
  return view_make(a, &v, out, error);
}

viva_status viva_tensor_select(const viva_tensor *a, int32_t axis, int64_t index, viva_tensor **out,
                               viva_error *error) {
  uint32_t at;
  char text[128];
  TRY(operand_place(out, error));
  TRY(operand_given(a, "a", error));
  TRY(operand_axis(a, axis, &at, error));
  const int64_t size = (int64_t)a->shape[at], place = index < 0 ? index + size : index;
  if (place < 0 || place >= size)
    return error_set(error, VIVA_E_SIZE, "index %lld is outside axis %u of the tensor %s", (long long)index,
                     (unsigned)at, tensor_shape_text(a, text));
  view v = view_of(a);
  v.moved = place * a->strides[at];
  v.rank--;
  for (uint32_t i = at; i < v.rank; i++) v.shape[i] = v.shape[i + 1], v.strides[i] = v.strides[i + 1];
  return view_make(a, &v, out, error);
}

viva_status viva_tensor_split(const viva_tensor *a, int32_t axis, uint32_t parts, viva_tensor **views,
                              viva_error *error) {
  uint32_t at;
  char text[128];
  if (!views) return error_set(error, VIVA_E_ARGUMENT, "views is NULL");
  for (uint32_t i = 0; i < parts; i++) views[i] = NULL;
  TRY(operand_given(a, "a", error));
  TRY(operand_axis(a, axis, &at, error));
  if (parts == 0 || a->shape[at] % parts != 0)
    return error_set(error, parts == 0 ? VIVA_E_ARGUMENT : VIVA_E_SIZE,
                     "axis %u of the tensor %s cannot be cut into %u equal parts", (unsigned)at,
                     tensor_shape_text(a, text), (unsigned)parts);
  view v = view_of(a);
  v.shape[at] = a->shape[at] / parts;
  viva_status status = VIVA_OK;
  for (uint32_t i = 0; i < parts && status == VIVA_OK; i++) {
    v.moved = (int64_t)(i * v.shape[at]) * a->strides[at];
    status = view_make(a, &v, &views[i], error);
  }
  for (uint32_t i = 0; i < parts && status != VIVA_OK; i++) viva_tensor_release(views[i]), views[i] = NULL;
  return status;
}

viva_status viva_tensor_split_at(const viva_tensor *a, int32_t axis, const uint64_t *places, uint32_t count,
                                 viva_tensor **views, viva_error *error) {
  uint32_t at;
  char text[128];
  if (!views || count == UINT32_MAX || (count > 0 && !places))
    return error_set(error, VIVA_E_ARGUMENT, "views or places is NULL");
  for (uint32_t i = 0; i <= count; i++) views[i] = NULL;
  TRY(operand_given(a, "a", error));
  TRY(operand_axis(a, axis, &at, error));
  const uint64_t size = a->shape[at];
  view v = view_of(a);
  uint64_t first = 0;
  viva_status status = VIVA_OK;
  for (uint32_t i = 0; i <= count && status == VIVA_OK; i++) {
    const uint64_t end = i == count || places[i] > size ? size : places[i];
    if (end < first) {
      status = error_set(error, VIVA_E_ARGUMENT,
                         "split_at: place %u, %llu, along axis %u of the tensor %s is before the one in front of it",
                         (unsigned)i, (unsigned long long)end, (unsigned)at, tensor_shape_text(a, text));
      break;
    }
    v.shape[at] = end - first;
    v.moved = (int64_t)first * a->strides[at];
    status = view_make(a, &v, &views[i], error);
    first = end;
  }
  for (uint32_t i = 0; i <= count && status != VIVA_OK; i++) viva_tensor_release(views[i]), views[i] = NULL;
  return status;
}
