/* backend/cuda/pack_units.h: rows of a weight packed on the GPU, to the bytes of pack/pack.h's pack_rows by magnitude. */
#ifndef CUDA_PACK_UNITS_H
#define CUDA_PACK_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "pack/nvfp4_math.h"
#include "pack/pack.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pack_units_args {
  pack_spec spec; /* a packed format, settled */
  scale_type scale;
  uint32_t block; /* columns to a scale; 0: the row */
  float largest;  /* the format's largest code */
  outer_rows values;
  size_t rows, cols;
  uint8_t *codes, *scales; /* dev: of the first of these rows */
  size_t row_bytes, scale_row_bytes;
  unsigned long long
      *bad;          /* dev: becomes the lowest row · cols + column of a NaN or an infinity; NULL: they are allowed */
  nvfp4_table table; /* NVFP4: nvfp4_make_table of spec */
} pack_units_args;

/* Queues it on a stream (cudaStream_t); a cudaError_t. */
int pack_units_rows(const pack_units_args *a, void *stream);

#ifdef __cplusplus
}
#endif

#endif
