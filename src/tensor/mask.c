/* tensor/mask.c: places of elements that are not 0, elements under a mask, one-hot rows. */
#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/few.h"
#include "tensor/index.h"
#include "tensor/walk.h"
#include "viva/tensor_into.h"

static size_t count_true(const char *truth, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) count += truth[i] != 0;
  return count;
}

/* *out = the indices of what is not 0; truth: a's elements as BOOL, row by row. */
static viva_status places_of(const viva_tensor *a, const char *truth, viva_tensor **out, viva_error *error) {
  const uint64_t shape[2] = {count_true(truth, a->elements), a->rank};
  TRY(tensor_empty(a->storage->rt, VIVA_I64, 2, shape, out, error));
  int64_t *to = (int64_t *)(void *)(*out)->data;
  for (size_t i = 0; i < a->elements; i++) {
    size_t rest = i;
    if (!truth[i]) continue;
    for (uint32_t k = a->rank; k-- > 1; rest /= (size_t)a->shape[k]) to[k] = (int64_t)(rest % a->shape[k]);
    if (a->rank > 0) to[0] = (int64_t)rest;
    to += a->rank;
  }
  return VIVA_OK;
}

viva_status viva_tensor_nonzero(const viva_tensor *a, viva_tensor **out, viva_error *error) {
  tensor_local room;
  viva_tensor *truth;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  if (!dtype_is_compute(a->dtype)) return operand_refuse("nonzero", a->dtype, VIVA_DTYPE_NONE, error);
  if (few_fits(a)) {
    few_room few;
    return places_of(a, few_hold(a, VIVA_BOOL, &few), out, error);
  }
  TRY(operand_dense_in(&room, a, VIVA_BOOL, &truth, error));
  const viva_status status = places_of(a, truth->data, out, error);
  viva_tensor_release(truth);
  return status;
}

/* t over this shape, dense, in room when it is small. */
static viva_status spread(const viva_tensor *t, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                          tensor_local *room, viva_tensor **out, viva_error *error) {
  int same = t->rank == rank;
  for (uint32_t i = 0; same && i < rank; i++) same = t->shape[i] == shape[i];
  if (same) return operand_dense_in(room, t, dtype, out, error);
  TRY(tensor_empty_in(room, t->storage->rt, dtype, rank, shape, out, error));
  operand_move(*out, t);
  return VIVA_OK;
}

viva_status viva_tensor_masked_select(const viva_tensor *a, const viva_tensor *mask, viva_tensor **out,
                                      viva_error *error) {
  const viva_tensor *both[2] = {a, mask};
  tensor_local room[2];
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  viva_tensor *dense = NULL, *truth = NULL;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  TRY(operand_need(mask, "mask", error));
  if (!dtype_is_compute(mask->dtype)) return operand_refuse("a mask", mask->dtype, VIVA_DTYPE_NONE, error);
  TRY(broadcast_shape(both, 2, &rank, shape, error));
  viva_status status = spread(a, a->dtype, rank, shape, &room[0], &dense, error);
  if (status == VIVA_OK) status = spread(mask, VIVA_BOOL, rank, shape, &room[1], &truth, error);
  if (status == VIVA_OK) {
    const uint64_t found[1] = {count_true(truth->data, truth->elements)};
    status = tensor_empty(a->storage->rt, a->dtype, 1, found, out, error);
  }
  if (status == VIVA_OK) {
    const size_t element = tensor_element_bytes(a->dtype);
    char *to = (*out)->data;
    for (size_t i = 0; i < truth->elements; i++) {
      if (!truth->data[i]) continue;
      memcpy(to, dense->data + i * element, element);
      to += element;
    }
  }
  viva_tensor_release(dense), viva_tensor_release(truth);
  return status;
}

static viva_status refuse_axes(const viva_tensor *indices, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_ARGUMENT, "one_hot: indices %s have 8 axes; there is no place for another",
                   tensor_shape_text(indices, text));
}

/* Elements of so many bytes. */
#define PUT_ONES(bytes)                                                                                                \
  for (size_t i = 0; i < places->elements; i++, to += classes * bytes)                                                 \
    memcpy(to + index_place(values[i], classes) * bytes, one, bytes);                                                  \
  break

/* to: zeros of this type, [places][classes]. */
static void put_ones(const viva_tensor *places, uint64_t classes, viva_dtype dtype, char *to) {
  const int64_t *values = (const int64_t *)(const void *)places->data;
  const size_t size = tensor_element_bytes(dtype);
  const double value = 1;
  char one[sizeof value];
  cast_line(dtype, one, 0, VIVA_F64, (const char *)&value, 0, 1);
  switch (size) {
  case 1: PUT_ONES(1);
  case 2: PUT_ONES(2);
  case 4: PUT_ONES(4);
  default: PUT_ONES(8);
  }
}

/* made: zeros, or, NULL, few elements. like: the shape of the result. */
static viva_status fill_one_hot(const viva_tensor *indices, const viva_tensor *like, viva_tensor *made, goal *g,
                                viva_error *error) {
  const uint64_t classes = like->shape[indices->rank];
  tensor_local room;
  viva_tensor *places;
  TRY(index_hold(indices, like, &room, &places, error));
  const viva_status status = index_check(places, like, indices->rank, error);
  few_room few;
  if (status == VIVA_OK) {
    if (!made) memset(few.bytes, 0, indices->elements * (size_t)classes * tensor_element_bytes(like->dtype));
    put_ones(places, classes, like->dtype, made ? made->data : few.bytes);
  }
  viva_tensor_release(places);
  if (status != VIVA_OK || made) return status;
  return few_give(g, indices->storage->rt, like->dtype, like->rank, like->shape, like->dtype, few.bytes, error);
}

static viva_status one_hot(const viva_tensor *indices, uint64_t classes, viva_dtype dtype, goal *g, viva_error *error) {
  viva_tensor like, *made;
  TRY(operand_need(indices, "indices", error));
  if (indices->rank == VIVA_TENSOR_MAX_RANK) return refuse_axes(indices, error);
  like.dtype = dtype, like.rank = indices->rank + 1;
  for (uint32_t i = 0; i < indices->rank; i++) like.shape[i] = indices->shape[i];
  like.shape[indices->rank] = classes;
  if (few_fits(indices) && classes > 0 && classes <= FEW / indices->elements && tensor_element_bytes(dtype) > 0)
    return fill_one_hot(indices, &like, NULL, g, error);
  TRY(tensor_create(indices->storage->rt, dtype, like.rank, like.shape, &made, error));
  const viva_status status = fill_one_hot(indices, made, made, g, error);
  if (status == VIVA_OK) return goal_give(g, made, dtype, error);
  viva_tensor_release(made);
  return status;
}

viva_status viva_tensor_one_hot(const viva_tensor *indices, uint64_t classes, viva_dtype dtype, viva_tensor **out,
                                viva_error *error) {
  goal g;
  g.fresh = out;
  TRY(operand_place(out, error));
  return one_hot(indices, classes, dtype, &g, error);
}

viva_status viva_tensor_one_hot_into(const viva_tensor *indices, viva_tensor *out, viva_error *error) {
  char text[128];
  goal g;
  g.fresh = NULL, g.into = out;
  TRY(operand_need(out, "out", error));
  if (out->rank == 0)
    return error_set(error, VIVA_E_SIZE, "one_hot: out has the shape %s; expected an axis of classes",
                     tensor_shape_text(out, text));
  return one_hot(indices, out->shape[out->rank - 1], out->dtype, &g, error);
}
