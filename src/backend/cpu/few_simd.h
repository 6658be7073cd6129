/* backend/cpu/few_simd.h: what products with few rows of x share, in the vector words of simd.h: what is asked for ahead,
 * and what becomes of a sum. */
#ifndef BACKEND_CPU_FEW_SIMD_H
#define BACKEND_CPU_FEW_SIMD_H

#include "backend/cpu/kernels.h"
#include "backend/cpu/panel_simd.h"
#include "backend/cpu/simd.h"

/* A tile is few rows of w, so that memory is read almost in one line: with more at once the processor's own prefetchers
 * see several short streams and a third of the bandwidth is lost. Cache lines are asked for this far ahead, in the order
 * of memory across the rows. Tried from 1 to 16 KiB. */
#define FEW_AHEAD 8192

/* A tile of several long rows is asked for whole, before: else its second row would begin with waiting. */
ALWAYS_INLINE size_t few_ahead(int tile_cols, size_t row_bytes) {
  const size_t tile = (size_t)tile_cols * row_bytes;
  return tile_cols > 1 && tile > FEW_AHEAD ? tile : FEW_AHEAD;
}

/* Of cpu_product. */
typedef void (*few_fn)(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end);

ALWAYS_INLINE void few_finish(const linear_args *a, const cpu_input *in, size_t row, size_t col, float sum) {
  if (in->scales) sum *= in->scales[row];
  if (a->bias) sum += a->bias[col];
  if (a->residual) sum += a->residual[row * a->y_stride + col];
  a->y[row * a->y_stride + col] = sum;
}

#endif
