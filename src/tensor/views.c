/* tensor/views.c: other shapes over a tensor's storage, and what a tensor is. */
#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "base/options.h"
#include "tensor/tensor.h"

static viva_status need(const viva_tensor *tensor, viva_tensor **view, viva_error *error) {
  if (!view) return error_set(error, VIVA_E_ARGUMENT, "view is NULL; expected a place for the handle");
  *view = NULL;
  return tensor ? VIVA_OK : error_set(error, VIVA_E_ARGUMENT, "tensor is NULL");
}

/* Elements from the storage's beginning to t's element [0, 0, …]. */
static int64_t offset_of(const viva_tensor *t) {
  return (t->data - t->storage->data) / (int64_t)tensor_element_bytes(t->dtype);
}

viva_status viva_tensor_view(const viva_tensor *tensor, uint32_t rank, const uint64_t *shape, const int64_t *strides,
                             int64_t offset, viva_tensor **view, viva_error *error) {
  TRY(need(tensor, view, error));
  return tensor_over(tensor->storage, tensor->dtype, rank, shape, strides, offset, view, error);
}

static viva_status check_axis(const viva_tensor *t, uint32_t axis, const char *name, viva_error *error) {
  if (axis < t->rank) return VIVA_OK;
  char text[128];
  error_set(error, VIVA_E_ARGUMENT, "%s is %u; the tensor %s has %u axes, counted from 0", name, (unsigned)axis,
            tensor_shape_text(t, text), (unsigned)t->rank);
  return error_option(error, VIVA_E_ARGUMENT, name);
}

viva_status viva_tensor_transpose(const viva_tensor *tensor, uint32_t a, uint32_t b, viva_tensor **view,
                                  viva_error *error) {
  TRY(need(tensor, view, error));
  TRY(check_axis(tensor, a, "a", error));
  TRY(check_axis(tensor, b, "b", error));
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  int64_t strides[VIVA_TENSOR_MAX_RANK];
  memcpy(shape, tensor->shape, sizeof shape);
  memcpy(strides, tensor->strides, sizeof strides);
  shape[a] = tensor->shape[b], strides[a] = tensor->strides[b];
  shape[b] = tensor->shape[a], strides[b] = tensor->strides[a];
  return viva_tensor_view(tensor, tensor->rank, shape, strides, offset_of(tensor), view, error);
}

viva_status viva_tensor_slice(const viva_tensor *tensor, uint32_t axis, uint64_t start, uint64_t length,
                              viva_tensor **view, viva_error *error) {
  TRY(need(tensor, view, error));
  TRY(check_axis(tensor, axis, "axis", error));
  const uint64_t have = tensor->shape[axis];
  if (start > have || length > have - start) {
    char text[128];
    return error_set(
        error, VIVA_E_SIZE, "slice: %llu indices from %llu on were asked for along axis %u of the tensor %s",
        (unsigned long long)length, (unsigned long long)start, (unsigned)axis, tensor_shape_text(tensor, text));
  }
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  memcpy(shape, tensor->shape, sizeof shape);
  shape[axis] = length;
  /* An empty slice stays where the tensor is: its end may lie beyond the storage. */
  const int64_t moved = length > 0 && tensor->elements > 0 ? (int64_t)start * tensor->strides[axis] : 0;
  return viva_tensor_view(tensor, tensor->rank, shape, tensor->strides, offset_of(tensor) + moved, view, error);
}

/* -- what it is */

viva_status viva_tensor_info(const viva_tensor *tensor, viva_tensor_desc *desc, viva_error *error) {
  if (!tensor) return error_set(error, VIVA_E_ARGUMENT, "tensor is NULL");
  viva_tensor_desc found = {.size = sizeof found,
                            .dtype = tensor->dtype,
                            .rank = tensor->rank,
                            .elements = tensor->elements,
                            .bytes = tensor->elements * tensor_element_bytes(tensor->dtype),
                            .contiguous = tensor_contiguous(tensor),
                            .on_device = tensor->storage->device != NULL};
  memcpy(found.shape, tensor->shape, sizeof found.shape);
  memcpy(found.strides, tensor->strides, sizeof found.strides);
  return options_fill(desc, &found, "viva_tensor_desc", error);
}

void *viva_tensor_elements(const viva_tensor *tensor) { return tensor ? tensor->data : NULL; }

/* -- shared memory */

void tensor_span(const viva_tensor *t, char **first, size_t *bytes) {
  const int64_t element = (int64_t)tensor_element_bytes(t->dtype);
  char *low = t->data, *high = t->data;
  for (uint32_t i = 0; i < t->rank && t->elements > 0; i++) {
    const int64_t reach = (int64_t)(t->shape[i] - 1) * t->strides[i] * element;
    if (reach < 0)
      low += reach;
    else
      high += reach;
  }
  *first = low;
  *bytes = (size_t)(high - low) + (t->elements > 0 ? (size_t)element : 0);
}

int tensor_overlap(const viva_tensor *a, const viva_tensor *b) {
  char *a_first, *b_first;
  size_t a_bytes, b_bytes;
  tensor_span(a, &a_first, &a_bytes);
  tensor_span(b, &b_first, &b_bytes);
  const uintptr_t a0 = (uintptr_t)a_first, b0 = (uintptr_t)b_first;
  return a0 < b0 + b_bytes && b0 < a0 + a_bytes;
}

/* Axes of more than one index, from the longest step to the shortest; rest: how far those behind each reach. */
typedef struct lattice {
  uint32_t count;
  int64_t last[VIVA_TENSOR_MAX_RANK], step[VIVA_TENSOR_MAX_RANK], rest[VIVA_TENSOR_MAX_RANK];
} lattice;

enum { MOST_STEPS = 1 << 16 /* of the search below: about a millisecond */ };

/* Two elements share a place when indices x, |x[k]| ≤ last[k], that are not all 0 reach 0. From axis i on, where the axes in
 * front have reached sum; 1 also when the search is too long. */
static int meets(const lattice *l, uint32_t i, int64_t sum, int moved, uint32_t *steps) {
  if ((*steps)++ > MOST_STEPS) return 1;
  if (i == l->count) return moved && sum == 0;
  const int64_t step = l->step[i], low = -l->rest[i] - sum, high = l->rest[i] - sum;
  int64_t x = low / step - (low < 0 && low % step != 0) + (low % step != 0); /* up */
  int64_t end = high / step - (high < 0 && high % step != 0);                /* down */
  x = x < -l->last[i] ? -l->last[i] : x;
  end = end > l->last[i] ? l->last[i] : end;
  for (; x <= end; x++)
    if (meets(l, i + 1, sum + x * step, moved || x != 0, steps)) return 1;
  return 0;
}

static lattice lattice_of(const viva_tensor *t) {
  lattice l = {.count = 0};
  for (uint32_t i = 0; i < t->rank; i++) {
    const int64_t step = t->strides[i] < 0 ? -t->strides[i] : t->strides[i];
    if (t->shape[i] == 1) continue;
    uint32_t at = l.count++;
    for (; at > 0 && l.step[at - 1] < step; at--) l.step[at] = l.step[at - 1], l.last[at] = l.last[at - 1];
    l.step[at] = step, l.last[at] = (int64_t)t->shape[i] - 1;
  }
  int64_t reached = 0;
  for (uint32_t i = l.count; i-- > 0; reached += l.last[i] * l.step[i]) l.rest[i] = reached;
  return l;
}

int tensor_distinct(const viva_tensor *t) {
  uint32_t steps = 0;
  if (t->elements <= 1 || tensor_contiguous(t)) return 1;
  const lattice l = lattice_of(t);
  int apart = 1; /* each step is longer than all that the shorter ones reach */
  for (uint32_t i = 0; i < l.count && apart; i++) apart = l.step[i] > l.rest[i];
  if (apart || l.step[l.count - 1] == 0) return apart;
  return !meets(&l, 0, 0, 0, &steps);
}
