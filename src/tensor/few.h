/* tensor/few.h: operands and results of few elements, as dense lines on the stack: making a tensor takes longer than what is
 * computed with them.
 *
 *   few_room room;
 *   const double *x = few_hold(a, VIVA_F64, &room);       a's own elements where they lie so, else their copy
 */
#ifndef TENSOR_FEW_H
#define TENSOR_FEW_H

#include "tensor/operand.h"

enum { FEW = 64 /* elements */ };

typedef struct few_room {
  _Alignas(32) char bytes[FEW * sizeof(double)];
} few_room;

static inline int few_fits(const viva_tensor *t) { return t->elements > 0 && t->elements <= FEW; }

/* Elements of t as this type, dense, in the order of an index that runs over shape; strides: elements, for each of its axes;
 * no size is 0, and at most FEW elements. What lies so already stays where it is. */
const void *few_read(const viva_tensor *t, uint32_t rank, const uint64_t *shape, const int64_t *strides,
                     viva_dtype type, few_room *room);
/* All of t (few_fits), row by row. */
const void *few_hold(const viva_tensor *t, viva_dtype type, few_room *room);
/* t broadcast to this shape; lines: axes whose bits are set stand last. */
const void *few_lines(const viva_tensor *t, uint32_t rank, const uint64_t *shape, uint32_t last, viva_dtype type,
                      few_room *room);

/* to = dense values of this type, as many as it has elements; as `result` first, where that is neither's type. */
void few_put(const viva_tensor *to, viva_dtype result, viva_dtype type, const void *values);

/* The place of a result: *to = a new tensor, or g's own, whose shape is checked. */
static inline viva_status few_place(goal *g, runtime *rt, viva_dtype result, uint32_t rank, const uint64_t *shape,
                                    viva_tensor **to, viva_error *error) {
  if (g->fresh) return *to = NULL, tensor_empty(rt, result, rank, shape, to, error);
  *to = g->into;
  return operand_target(g->into, "out", rank, shape, error);
}

/* A result of type `result` and this shape from dense values that few_put converts; values may lie on the stack. */
viva_status few_give(goal *g, runtime *rt, viva_dtype result, uint32_t rank, const uint64_t *shape, viva_dtype type,
                     const void *values, viva_error *error);

#endif
