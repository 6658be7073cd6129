/* backend/cuda/cuda_lt.h: products by cuBLASLt, where lt_table.h has a row for them. The library is opened when the first such
 * product comes; where it is absent our own kernels run, which is told once in the log. */
#ifndef CUDA_CUDA_LT_H
#define CUDA_CUDA_LT_H

#include "backend/cuda/lt_product.h"

#define CUDA_LT_KEPT 64 /* products, each of a shape; the oldest goes */

typedef struct cuda_backend cuda_backend;

typedef struct cuda_lt {
  int opened;                    /* 1: tried; library.file is NULL where it is absent */
  lt_library library;            /* with its handle */
  lt_product kept[CUDA_LT_KEPT]; /* desc NULL: the library refuses the table's algorithm for this problem */
  size_t count, next;            /* of kept; which goes next when all are there */
} cuda_lt;

/* Queues the product; o's workspace is found here. With the lock held. Errors: E_UNSUPPORTED (no row, no library, it refuses
 * the row's algorithm, or there is no room: nothing was done), E_INTERNAL, E_DEVICE. */
viva_status cuda_lt_multiply(cuda_backend *c, const lt_problem *p, const lt_operands *o, viva_error *error);

/* The stream is idle. */
void cuda_lt_end(cuda_lt *lt);

#endif
