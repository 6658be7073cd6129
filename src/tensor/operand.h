/* tensor/operand.h: what every operation does with the tensors that it is given, before it computes. */
#ifndef TENSOR_OPERAND_H
#define TENSOR_OPERAND_H

#include "tensor/dtype.h"
#include "tensor/tensor.h"

/* The messages of the checks below, which are here because every call makes several: a call costs more than the check. */
viva_status operand_missing(const viva_tensor *t, const char *name, viva_error *error);
viva_status operand_no_place(viva_error *error);
viva_status operand_no_axis(const viva_tensor *t, int32_t axis, viva_error *error);
viva_status operand_twice(const char *op, const viva_tensor *t, int32_t axis, viva_error *error);
viva_status operand_nothing(const char *op, const viva_tensor *t, uint32_t axis, viva_error *error);

/* There: enough for views, which read nothing. name: the parameter's. */
static inline viva_status operand_given(const viva_tensor *t, const char *name, viva_error *error) {
  return t ? VIVA_OK : operand_missing(t, name, error);
}
/* There, and in memory that the CPU can read. */
static inline viva_status operand_need(const viva_tensor *t, const char *name, viva_error *error) {
  return t && !t->storage->device ? VIVA_OK : operand_missing(t, name, error);
}
/* The place for a result; set to NULL. */
static inline viva_status operand_place(viva_tensor **out, viva_error *error) {
  if (!out) return operand_no_place(error);
  *out = NULL;
  return VIVA_OK;
}
/* With this shape, and no two elements in one place. */
viva_status operand_target(const viva_tensor *to, const char *name, uint32_t rank, const uint64_t *shape,
                           viva_error *error);
/* The same, there, and in memory that the CPU can write. */
viva_status operand_out(const viva_tensor *out, uint32_t rank, const uint64_t *shape, viva_error *error);

/* An axis counted from the end when negative; E_ARGUMENT, with the tensor's shape, when there is no such axis. */
static inline viva_status operand_axis(const viva_tensor *t, int32_t axis, uint32_t *found, viva_error *error) {
  const int64_t from_front = axis < 0 ? (int64_t)axis + t->rank : axis;
  *found = (uint32_t)from_front;
  return from_front >= 0 && from_front < (int64_t)t->rank ? VIVA_OK : operand_no_axis(t, axis, error);
}

/* E_DTYPE: "OP is not defined for T (and U)". b: VIVA_DTYPE_NONE when there is no second operand. */
viva_status operand_refuse(const char *op, viva_dtype a, viva_dtype b, viva_error *error);

/* 1 when writing out element by element while reading t in the same order could read what was already written: they
 * overlap, and are not the same elements in the same places. */
int operand_clashes(const viva_tensor *out, const viva_tensor *t);

/* A new row-major tensor with t's elements as this type; the caller's to release. Types and memory were checked. */
viva_status operand_copy(const viva_tensor *t, viva_dtype dtype, viva_tensor **out, viva_error *error);
/* *held = t itself, retained, when it is row-major and of this type, else such a copy. */
viva_status operand_dense(const viva_tensor *t, viva_dtype dtype, viva_tensor **held, viva_error *error);
/* Both in room, when it is small and room is not NULL: for the length of a call. */
viva_status operand_copy_in(tensor_local *room, const viva_tensor *t, viva_dtype dtype, viva_tensor **out,
                            viva_error *error);
viva_status operand_dense_in(tensor_local *room, const viva_tensor *t, viva_dtype dtype, viva_tensor **held,
                             viva_error *error);
/* *out = t as this type, not in room. t, a new row-major tensor that nobody else knows, is given up, also after an error. */
viva_status operand_become(viva_tensor *t, viva_dtype dtype, viva_tensor **out, viva_error *error);
/* to = from, converted, line by line of the last axis; steps: bytes, for each axis. Of one axis or more, no axis empty. */
void operand_lines(uint32_t rank, const uint64_t *shape, viva_dtype to_type, char *to, const int64_t *to_step,
                   viva_dtype from_type, const char *from, const int64_t *from_step);
/* to = from, converted and broadcast; shapes were checked, and they do not overlap. */
void operand_move(const viva_tensor *to, const viva_tensor *from);

/* Where a result goes: to a new tensor, or to the caller's. */
typedef struct goal {
  viva_tensor **fresh; /* the place of the handle; NULL: */
  viva_tensor *into;
  tensor_local room;
} goal;

/* *made = a tensor of this type and shape to be filled: new and dense, or `into` itself, of whatever strides, where it has the
 * type and none of the inputs is in the way. After it the call must not fail: `into` would be written in part. */
viva_status goal_begin(goal *g, runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                       const viva_tensor *const *inputs, uint32_t count, viva_tensor **made, viva_error *error);
/* made is filled. */
void goal_end(goal *g, viva_tensor *made);
/* made, a new row-major tensor that nobody else knows, goes there as `result`; it is given up, also after an error. */
viva_status goal_give(goal *g, viva_tensor *made, viva_dtype result, viva_error *error);

/* The two public calls of an operation that is static viva_status name(…, goal *g, viva_error *error), which checks all but
 * the place of the result. parameters: as declared, in LIST; arguments: passed on. */
#define GOAL_CALLS(name, parameters, ...)                                                                              \
  viva_status viva_tensor_##name(parameters, viva_tensor **out, viva_error *error) {                                   \
    goal g;                                                                                                            \
    g.fresh = out;                                                                                                     \
    TRY(operand_place(out, error));                                                                                    \
    return name(__VA_ARGS__, &g, error);                                                                               \
  }                                                                                                                    \
  viva_status viva_tensor_##name##_into(parameters, viva_tensor *out, viva_error *error) {                             \
    goal g;                                                                                                            \
    g.fresh = NULL, g.into = out;                                                                                      \
    TRY(operand_need(out, "out", error));                                                                              \
    return name(__VA_ARGS__, &g, error);                                                                               \
  }
#define LIST(...) __VA_ARGS__

#endif
