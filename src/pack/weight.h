/* pack/weight.h: a weight matrix as the kernels see it: a view, which owns nothing. layout.h has the bytes. */
#ifndef PACK_WEIGHT_H
#define PACK_WEIGHT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "number/layout.h"
#include "number/number.h"
#include "viva/types.h"

typedef enum weight_format {
  WEIGHT_F32 = 0,
  WEIGHT_BF16 = 1,
  WEIGHT_F16 = 2,
  WEIGHT_FP8 = 3,
  WEIGHT_NVFP4 = 4,
  WEIGHT_INT8_24 = 5,
  WEIGHT_INT4_24 = 6,
  WEIGHT_FORMATS = 7
} weight_format; /* the values of viva_weight_format */

typedef enum scale_type { SCALE_F32 = 0, SCALE_F16 = 1, SCALE_E8M0 = 2, SCALE_E4M3 = 3 } scale_type;

/* [rows][cols] = [out][in], rows row_bytes apart. data and scales are in the backend's memory, aligned at least to the
 * element (a mapped file gives no more; blocks of 2:4 to 8 bytes). */
typedef struct weight {
  weight_format format;
  size_t rows, cols;
  size_t row_bytes;
  const void *data;
  /* packed formats only */
  const void *scales;     /* [rows][blocks] */
  scale_type scales_type; /* NVFP4: E4M3 */
  uint32_t block;         /* columns to a scale; 0: one for the whole row. NVFP4: 16 */
  size_t scale_row_bytes; /* from one row's scales to the next; 0: all rows have the same ones (a scale per tensor) */
  float global;           /* NVFP4: the matrix's number as its file keeps it; others: unused, 1 */
  int global_divides;     /* NVFP4: value = code · (scale / global), else code · (scale · global) */
  /* 2:4: columns were chosen by pairs (2 of 4 pairs of every 8). Then the blocks hold the columns of each 8 in the order
   * 0 2 4 6 1 3 5 7, in which such a choice is 2 of every 4. */
  int pairs;
  const void *prepared; /* the backend's second form (weight_prepare), or NULL */
} weight;

NUMBER_SHARED int weight_dense(weight_format format) { return format <= WEIGHT_F16; }
NUMBER_SHARED size_t weight_element_bytes(weight_format format) { /* dense formats only */
  return format == WEIGHT_F32 ? 4 : 2;
}
NUMBER_SHARED size_t scale_bytes(scale_type type) { return type == SCALE_F32 ? 4 : type == SCALE_F16 ? 2 : 1; }

NUMBER_SHARED size_t weight_blocks(const weight *w) { return w->block ? (w->cols + w->block - 1) / w->block : 1; }

/* Scale of block b of a row, without `global`. */
NUMBER_SHARED float weight_scale(const weight *w, size_t row, size_t b) {
  const uint8_t *at = (const uint8_t *)w->scales + row * w->scale_row_bytes + b * scale_bytes(w->scales_type);
  float f32;
  uint16_t f16;
  switch (w->scales_type) {
  case SCALE_F32: memcpy(&f32, at, sizeof f32); return f32;
  case SCALE_F16: memcpy(&f16, at, sizeof f16); return f16_to_f32(f16);
  case SCALE_E8M0: return e8m0_to_f32(*at);
  case SCALE_E4M3: return e4m3_to_f32(*at);
  }
  return 1;
}

/* What the products of a row are multiplied with at the very end, beside the scales of blocks: the row's scale when it
 * has one, NVFP4's global number; 1 for the others. */
NUMBER_SHARED float weight_row_scale(const weight *w, size_t row) {
  if (weight_dense(w->format)) return 1;
  if (w->format == WEIGHT_NVFP4) return w->global_divides ? 1 / w->global : w->global;
  return w->block ? 1 : weight_scale(w, row, 0);
}

/* 1 when each block of columns has a scale of its own that goes in before the sum. */
NUMBER_SHARED int weight_blocked(const weight *w) { return !weight_dense(w->format) && w->block != 0; }

#endif
