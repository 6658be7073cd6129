/* backend/cpu/panel_simd.h: the frame of products with many rows of x, in the vector words of simd.h: the tiles of a panel,
 * their sums between blocks of K, and what becomes of them at the end. */
#ifndef BACKEND_CPU_PANEL_SIMD_H
#define BACKEND_CPU_PANEL_SIMD_H

#include "backend/cpu/kernels.h"
#include "backend/cpu/simd.h"

#define LINE 64 /* bytes that memory gives at once */

typedef vf panel_sums[PANEL_TILE_ROWS][CPU_PANEL_GROUP];

/* Adds bias and residual to up to 4 neighbouring sums and writes them. */
ALWAYS_INLINE void panel_write(const panel_job *job, size_t row, size_t col, __m128 sum) {
  const size_t count = job->n - col;
  float *y = job->y + row * job->y_stride + col;
  if (job->w_scales) sum = _mm_mul_ps(sum, _mm_loadu_ps(job->w_scales + col));
  if (job->x_scales) sum = _mm_mul_ps(sum, _mm_set1_ps(job->x_scales[row]));
  if (count >= CPU_PANEL_GROUP) {
    if (job->bias) sum = _mm_add_ps(sum, _mm_loadu_ps(job->bias + col));
    if (job->residual) sum = _mm_add_ps(sum, _mm_loadu_ps(job->residual + row * job->y_stride + col));
    _mm_storeu_ps(y, sum);
    return;
  }
  float part[CPU_PANEL_GROUP];
  _mm_storeu_ps(part, sum);
  for (size_t j = 0; j < count; j++) {
    float value = part[j];
    if (job->bias) value += job->bias[col + j];
    if (job->residual) value += job->residual[row * job->y_stride + col + j];
    y[j] = value;
  }
}

ALWAYS_INLINE void panel_finish(int tile_rows, const panel_job *job, size_t row, size_t col, panel_sums sums) {
  int i = 0;
#if LANES == 16
  if (tile_rows >= 4) {
    __m128 out[4];
    v_sum16(sums, out);
    UNROLL
    for (; i < 4; i++) panel_write(job, row + (size_t)i, col, out[i]);
  }
#endif
  UNROLL
  for (; i < tile_rows; i++)
    panel_write(job, row + (size_t)i, col, v_sum4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]));
}

/* A tile's sums at the beginning of a block of K, and what becomes of them at its end. lanes: where they wait between. */
ALWAYS_INLINE void panel_begin(int tile_rows, const panel_job *job, const float *lanes, panel_sums sums) {
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++)
      sums[i][j] = job->first ? v_zero() : v_load(lanes + (i * CPU_PANEL_GROUP + j) * LANES);
  }
}

ALWAYS_INLINE void panel_end(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes,
                             panel_sums sums) {
  if (job->last) {
    panel_finish(tile_rows, job, row, col, sums);
    return;
  }
  UNROLL
  for (int i = 0; i < tile_rows; i++) {
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) v_store(lanes + (i * CPU_PANEL_GROUP + j) * LANES, sums[i][j]);
  }
}

typedef void (*panel_tile_fn)(const panel_job *job, size_t row, size_t col, float *lanes);

/* A block of x times a panel; tiles: by rows of x. */
static inline void panel_tiles(const panel_job *job, const panel_tile_fn tiles[PANEL_TILE_ROWS + 1]) {
  const size_t row_tiles = (job->m + PANEL_TILE_ROWS - 1) / PANEL_TILE_ROWS;
  const size_t tile_count = row_tiles * ((job->n + CPU_PANEL_GROUP - 1) / CPU_PANEL_GROUP);
  const size_t ahead_each = (job->ahead.bytes / tile_count / LINE + 1) * LINE; /* what comes next, some at each tile */
  size_t ahead = 0;
  float *lanes = job->lanes;
  for (size_t row = 0; row < job->m; row += PANEL_TILE_ROWS) {
    const size_t rows = job->m - row < PANEL_TILE_ROWS ? job->m - row : PANEL_TILE_ROWS;
    for (size_t col = 0; col < job->n; col += CPU_PANEL_GROUP) {
      for (const size_t end = ahead + ahead_each; ahead < end && ahead < job->ahead.bytes; ahead += LINE)
        __builtin_prefetch(job->ahead.from + ahead, 0, 2);
      tiles[rows](job, row, col, lanes);
      if (lanes) lanes += PANEL_TILE_ROWS * CPU_PANEL_GROUP * LANES;
    }
  }
}

/* `panel`, the product of a whole panel, from `tile`, which takes the number of its rows as a constant. */
#define PANEL_TILE(tile, rows)                                                                                         \
  static __attribute__((noinline)) void tile##_##rows(const panel_job *job, size_t row, size_t col, float *lanes) {    \
    tile(rows, job, row, col, lanes);                                                                                  \
  }
#if PANEL_TILE_ROWS > 3
#define PANEL_MORE_TILES(tile) PANEL_TILE(tile, 4) PANEL_TILE(tile, 5) PANEL_TILE(tile, 6)
#define PANEL_MORE_NAMES(tile) , tile##_4, tile##_5, tile##_6
#else
#define PANEL_MORE_TILES(tile)
#define PANEL_MORE_NAMES(tile)
#endif
#define PANEL_OF_TILES(panel, tile)                                                                                    \
  PANEL_TILE(tile, 1)                                                                                                  \
  PANEL_TILE(tile, 2)                                                                                                  \
  PANEL_TILE(tile, 3)                                                                                                  \
  PANEL_MORE_TILES(tile)                                                                                               \
  static void panel(const panel_job *job) {                                                                            \
    static const panel_tile_fn tiles[PANEL_TILE_ROWS + 1] = {NULL, tile##_1, tile##_2,                                 \
                                                             tile##_3 PANEL_MORE_NAMES(tile)};                         \
    panel_tiles(job, tiles);                                                                                           \
  }

#endif
