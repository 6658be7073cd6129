/* backend/cuda/cuda_linear.h: large products of sm_90a: what becomes of rows and weights before gemm.h's kernels meet them. */
#ifndef CUDA_CUDA_LINEAR_H
#define CUDA_CUDA_LINEAR_H

#include "backend/cuda/cuda.h"

typedef enum made_of { AS_IT_IS = 0, EXPANDED = 1, BF16_AS_F16 = 2 } made_of;

typedef struct large_way {
  gemm_kind kind;
  made_of weights;
  expand_to to;    /* EXPANDED */
  int half;        /* x enters as FP16 */
  size_t expanded; /* bytes of codes, of index */
  size_t index;
} large_way;

/* Of a what does not depend on where x and y lie. */
large_way cuda_large_way(const linear_args *a);

/* 1 when the product of a runs that way. */
int cuda_large_runs(const cuda_backend *c, const linear_args *a);

/* Bytes of work space that the weight takes on this way; 0: none. */
size_t cuda_large_room(const weight *w, const large_way *way);

/* Fills the operands that are the weight's. room: dev, cuda_large_room bytes. */
viva_status cuda_large_weights(cuda_backend *c, const weight *w, const large_way *way, void *room, gemm_operands *o,
                               viva_error *error);

#endif
