/* lt_table.h: which of cuBLASLt's algorithms runs which product: measured once for each type of GPU, so that nothing
 * is timed behind the caller's back and equal calls give equal bits. */
#ifndef CUDA_LT_TABLE_H
#define CUDA_LT_TABLE_H

#include "backend/cuda/lt_product.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_gpu {
  int major, minor; /* compute capability */
  int sms;
} lt_gpu;

/* The row for this GPU and problem; NULL: none was measured (then the library's first proposal is taken).
 * lt_product_make asks the library whether it accepts the row, so a table made with another version of it does no harm.
 * */
const lt_algorithm *lt_table_find(const lt_gpu *gpu, const lt_problem *problem);

#ifdef __cplusplus
}
#endif
#endif
