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

/* The same for some rows of x, from i0. */
typedef void (*few_rows_fn)(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t i0, size_t begin,
                            size_t end);

#define FEW_BLOCK 32768 /* bytes of w that all tiles of x go through before the next: the later ones find them near */

static inline size_t few_block(const weight *w) {
  return (FEW_BLOCK / (w->row_bytes + 1) / CPU_FEW_GROUP + 1) * CPU_FEW_GROUP; /* rows */
}

/* All rows of x, in tiles of nearly the same size. of: by their rows, `most` at most. */
static inline void few_in_tiles(const few_rows_fn *of, size_t most, const cpu_kernels *k, const linear_args *a,
                                const cpu_input *in, size_t begin, size_t end) {
  const size_t tiles = (a->m + most - 1) / most;
  size_t block = end - begin;
  if (tiles > 1) block = few_block(a->w);
  for (size_t n = begin; n < end; n += block) {
    size_t i = 0;
    for (size_t t = 0; t < tiles; t++) {
      const size_t rows = a->m / tiles + (t < a->m % tiles);
      of[rows](k, a, in, i, n, end - n < block ? end : n + block);
      i += rows;
    }
  }
}

/* rows rows of x from i0 times rows [begin, end) of w, in tiles of cols. Rows of w beyond the last whole tile are few: one
 * of them and one of x at a time. */
#define FEW_OF_ROWS(tile, rows, cols)                                                                                  \
  static __attribute__((noinline)) void tile##_##rows(const cpu_kernels *k, const linear_args *a, const cpu_input *in, \
                                                      size_t i0, size_t begin, size_t end) {                           \
    size_t n = begin;                                                                                                  \
    for (; n + (cols) <= end; n += (cols)) tile(rows, cols, k, a, in, i0, n);                                          \
    for (; n < end; n++)                                                                                               \
      for (size_t i = 0; i < (rows); i++) tile(1, 1, k, a, in, i0 + i, n);                                             \
  }

#define FEW_MOST_ROWS 8  /* of x in a tile: w is unpacked once for all of them */
#define FEW_LONG_ROWS 12 /* of those whose w leaves registers for as many sums */

/* `few`, a product with few rows of x, from `tile`, which takes the numbers of its rows and columns as constants: with 4
 * rows of w, with 2 from 5 rows of x on, as AVX-512's registers allow; `some` with 3 and 4 rows. */
#define FEW_TILES(tile, some)                                                                                          \
  FEW_OF_ROWS(tile, 1, 4)                                                                                              \
  FEW_OF_ROWS(tile, 2, 4)                                                                                              \
  FEW_OF_ROWS(tile, 3, some)                                                                                           \
  FEW_OF_ROWS(tile, 4, some)                                                                                           \
  FEW_OF_ROWS(tile, 5, 2)                                                                                              \
  FEW_OF_ROWS(tile, 6, 2)                                                                                              \
  FEW_OF_ROWS(tile, 7, 2)                                                                                              \
  FEW_OF_ROWS(tile, 8, 2)
#define FEW_NAMES(tile) NULL, tile##_1, tile##_2, tile##_3, tile##_4, tile##_5, tile##_6, tile##_7, tile##_8
#define FEW_OF_TILES(few, tile, some)                                                                                  \
  FEW_TILES(tile, some)                                                                                                \
  static void few(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {         \
    static const few_rows_fn of[FEW_MOST_ROWS + 1] = {FEW_NAMES(tile)};                                                \
    few_in_tiles(of, FEW_MOST_ROWS, k, a, in, begin, end);                                                             \
  }
/* The same with tiles of up to FEW_LONG_ROWS. */
#define FEW_OF_LONG_TILES(few, tile, some)                                                                             \
  FEW_TILES(tile, some)                                                                                                \
  FEW_OF_ROWS(tile, 9, 2)                                                                                              \
  FEW_OF_ROWS(tile, 10, 2)                                                                                             \
  FEW_OF_ROWS(tile, 11, 2)                                                                                             \
  FEW_OF_ROWS(tile, 12, 2)                                                                                             \
  static void few(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {         \
    static const few_rows_fn of[FEW_LONG_ROWS + 1] = {FEW_NAMES(tile), tile##_9, tile##_10, tile##_11, tile##_12};     \
    few_in_tiles(of, FEW_LONG_ROWS, k, a, in, begin, end);                                                             \
  }

ALWAYS_INLINE void few_finish(const linear_args *a, const cpu_input *in, size_t row, size_t col, float sum) {
  if (in->scales) sum *= in->scales[row];
  if (a->bias) sum += a->bias[col];
  if (a->residual) sum += a->residual[row * a->y_stride + col];
  a->y[row * a->y_stride + col] = sum;
}

/* -- the sums of a tile: the bits of few_finish, several at once */

#define FEW_COLS_MOST 4

#if LANES == 16
/* Of one row of x and the 4 rows of w from col on. */
ALWAYS_INLINE void few_write4(const linear_args *a, const cpu_input *in, size_t row, size_t col, __m128 sum) {
  const size_t at = row * a->y_stride + col;
  if (in->scales) sum = _mm_mul_ps(sum, _mm_set1_ps(in->scales[row]));
  if (a->bias) sum = _mm_add_ps(sum, _mm_loadu_ps(a->bias + col));
  if (a->residual) sum = _mm_add_ps(sum, _mm_loadu_ps(a->residual + at));
  _mm_storeu_ps(a->y + at, sum);
}

ALWAYS_INLINE __m128 few_two(const float *low, const float *high) {
  return _mm_loadh_pi(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)low)),
                      (const __m64 *)(const void *)high);
}

/* Of two rows of x from row on and two of w from col on, row by row. */
ALWAYS_INLINE void few_write2(const linear_args *a, const cpu_input *in, size_t row, size_t col, __m128 sum) {
  const size_t at = row * a->y_stride + col, next = at + a->y_stride;
  if (in->scales) {
    const float first = in->scales[row], second = in->scales[row + 1];
    sum = _mm_mul_ps(sum, _mm_setr_ps(first, first, second, second));
  }
  if (a->bias) sum = _mm_add_ps(sum, few_two(a->bias + col, a->bias + col));
  if (a->residual) sum = _mm_add_ps(sum, few_two(a->residual + at, a->residual + next));
  _mm_storel_pi((__m64 *)(void *)(a->y + at), sum);
  _mm_storeh_pi((__m64 *)(void *)(a->y + next), sum);
}

/* rows rows of x from i0 times cols (1, 2 or 4) rows of w from n0; scales: what the sums of a row of w are multiplied with. */
ALWAYS_INLINE void few_finish_tile(int rows, int cols, const linear_args *a, const cpu_input *in, size_t i0, size_t n0,
                                   vf sums[][FEW_COLS_MOST], const float scales[FEW_COLS_MOST]) {
  const __m128 by = cols == 4 ? _mm_loadu_ps(scales) : few_two(scales, scales);
  __m128 out[4];
  int i = 0;
  if (cols == 4) {
    UNROLL
    for (; i + 4 <= rows; i += 4) {
      v_sum16(sums + i, out);
      UNROLL
      for (int r = 0; r < 4; r++) few_write4(a, in, i0 + (size_t)(i + r), n0, _mm_mul_ps(out[r], by));
    }
    UNROLL
    for (; i < rows; i++)
      few_write4(a, in, i0 + (size_t)i, n0, _mm_mul_ps(v_sum4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]), by));
  }
  if (cols == 2) {
    UNROLL
    for (; i + 8 <= rows; i += 8) {
      vf pairs[4][4];
      UNROLL
      for (int r = 0; r < 8; r++) {
        pairs[r / 2][r % 2 * 2] = sums[i + r][0];
        pairs[r / 2][r % 2 * 2 + 1] = sums[i + r][1];
      }
      v_sum16(pairs, out);
      UNROLL
      for (int r = 0; r < 4; r++) few_write2(a, in, i0 + (size_t)(i + 2 * r), n0, _mm_mul_ps(out[r], by));
    }
    UNROLL
    for (; i + 2 <= rows; i += 2)
      few_write2(a, in, i0 + (size_t)i, n0,
                 _mm_mul_ps(v_sum4(sums[i][0], sums[i][1], sums[i + 1][0], sums[i + 1][1]), by));
  }
  UNROLL
  for (; i < rows; i++) {
    UNROLL
    for (int j = 0; j < cols; j++) few_finish(a, in, i0 + (size_t)i, n0 + (size_t)j, v_sum(sums[i][j]) * scales[j]);
  }
}
#endif

#endif
