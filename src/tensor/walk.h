/* tensor/walk.h: one pass over the elements of several tensors of one shape, line by line.
 *
 * Axes are put in the order of the result's steps and joined where all operands allow it, so that most passes are one
 * long line. Long passes are shared out to the threads; the cut never changes what an element becomes.
 */
#ifndef TENSOR_WALK_H
#define TENSOR_WALK_H

#include "base/pool.h"
#include "tensor/tensor.h"

enum { WALK_OPERANDS = 4 };

typedef struct walk {
  int operands;
  uint32_t rank; /* of what is left after joining; 0: one element */
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  int64_t step[WALK_OPERANDS][VIVA_TENSOR_MAX_RANK]; /* bytes */
  char *base[WALK_OPERANDS];
  size_t elements;
} walk;

/* A part of a line: n elements from p[k] on, step[k] bytes apart. */
typedef void (*walk_body)(void *arg, char *const *p, const int64_t *step, size_t n);

/* Operands are broadcast to shape, which they must fit (broadcast_shape). The first gives the order of axes. */
void walk_make(walk *w, uint32_t rank, const uint64_t *shape, const viva_tensor *const *operands, int count);

/* Calls body until every element was in one part. threads may be NULL. */
void walk_run(const walk *w, pool *threads, walk_body body, void *arg);

/* The shape that all fit when broadcast; E_SIZE, naming both, when two do not. */
viva_status broadcast_shape(const viva_tensor *const *operands, int count, uint32_t *rank, uint64_t *shape,
                            viva_error *error);

/* Work below this is not worth a second thread: about 20 us of a cheap loop. */
#define PARALLEL_ELEMENTS 65536

#endif
