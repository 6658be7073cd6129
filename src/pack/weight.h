/* pack/weight.h: a weight matrix as the kernels see it.
 *
 * A later step adds the packed formats (FP8, 2:4, NVFP4): each is a new format here with its scales, and a new row in
 * the backends' tables.
 */
#ifndef PACK_WEIGHT_H
#define PACK_WEIGHT_H

#include <stddef.h>
#include <stdint.h>

#include "viva/types.h"

typedef enum weight_format { WEIGHT_F32 = 0, WEIGHT_BF16 = 1, WEIGHT_F16 = 2, WEIGHT_FORMATS = 3 } weight_format;

/* [rows][cols] = [out][in], row-major, rows row_bytes apart. data is in the backend's memory, aligned at least to the
 * element (a mapped file gives no more). */
typedef struct weight {
  weight_format format;
  size_t rows, cols;
  size_t row_bytes;
  const void *data;
} weight;

static inline size_t weight_element_bytes(weight_format format) { return format == WEIGHT_F32 ? 4 : 2; }

#endif
