/* backend/cpu/span_simd.h: what the products of integer codes share (codes_simd.h, blocks_simd.h, sparse_avx512.h), in the
 * words of packed_words.h: codes of x, panels of codes and their tiles, and spans of columns with scales of blocks. */
#ifndef BACKEND_CPU_SPAN_SIMD_H
#define BACKEND_CPU_SPAN_SIMD_H

#include "backend/cpu/few_simd.h"
#include "backend/cpu/packed_simd.h"
#include "backend/cpu/panel_simd.h"

/* -- codes */

/* Codes of x in the order of the weight's columns: with `pairs` they move, not the weights, which stay 2 of 4. */
ALWAYS_INLINE codes64 step_x(weight_format format, int pairs, const int8_t *from) {
  const codes64 codes = v_load_codes(from);
  return format != WEIGHT_NVFP4 && pairs ? v_pair(codes) : codes;
}
ALWAYS_INLINE input64 step_input(weight_format format, int pairs, const int8_t *from) {
  return v_input(step_x(format, pairs, from));
}

ALWAYS_INLINE float codes_sum(int blocked, vf f, vi i) { return blocked ? v_sum(f) : (float)vi_sum(i); }

/* -- panels */

#define CODES_BYTES 2    /* a column: its code; and L scales of 4 bytes for each 64, where the weights have any */
#define CODES_MOST  4096 /* columns of a panel */

/* A block of x times a panel, with the tiles of CODES_TILE_ROWS rows of x and of one. */
static inline void codes_tiles(const panel_job *job, panel_tile_fn whole, panel_tile_fn one) {
  const size_t row_tiles = (job->m + CODES_TILE_ROWS - 1) / CODES_TILE_ROWS;
  const size_t tile_count = row_tiles * ((job->n + CPU_PANEL_GROUP - 1) / CPU_PANEL_GROUP);
  const size_t ahead_each = (job->ahead.bytes / tile_count / LINE + 1) * LINE;
  size_t ahead = 0;
  float *lanes = job->lanes;
  for (size_t row = 0; row < job->m; row += CODES_TILE_ROWS) {
    for (size_t col = 0; col < job->n; col += CPU_PANEL_GROUP) {
      for (const size_t end = ahead + ahead_each; ahead < end && ahead < job->ahead.bytes; ahead += LINE)
        __builtin_prefetch(job->ahead.from + ahead, 0, 2);
      if (row + CODES_TILE_ROWS <= job->m) {
        whole(job, row, col, lanes);
      } else {
        float *part = lanes;
        for (size_t i = row; i < job->m; i++) {
          one(job, i, col, part);
          if (part) part += CPU_PANEL_GROUP * LANES;
        }
      }
      if (lanes) lanes += CODES_TILE_ROWS * CPU_PANEL_GROUP * LANES;
    }
  }
}

/* `panel`, the product of a whole panel, from `tile`, an inline function that takes the number of its rows as a constant. */
#define CODES_PANEL(panel, tile)                                                                                       \
  static __attribute__((noinline)) void panel##_whole(const panel_job *job, size_t row, size_t col, float *lanes) {    \
    tile(CODES_TILE_ROWS, job, row, col, lanes);                                                                       \
  }                                                                                                                    \
  static __attribute__((noinline)) void panel##_one(const panel_job *job, size_t row, size_t col, float *lanes) {      \
    tile(1, job, row, col, lanes);                                                                                     \
  }                                                                                                                    \
  static void panel(const panel_job *job) { codes_tiles(job, panel##_whole, panel##_one); }

/* -- spans */

#define SPAN       (8 * LANES) /* columns */
#define SPAN_STEPS (SPAN / STEP)
#define SPANS      (RUN_STEPS / SPAN_STEPS)
#define SPAN_BYTES (SPAN * CODES_BYTES) /* of a panel */

/* The scales of a row's spans [first, first + SPANS) as FP32. */
ALWAYS_INLINE void spans_fill(const weight *w, packed_row r, size_t first, scale_run *p) {
  const size_t all = (w->cols + SPAN - 1) / SPAN, spans = all - first < SPANS ? all - first : SPANS;
  scales_fill(WEIGHT_INT4_24, w, r, first * SPAN_STEPS, spans * SPAN_STEPS, p);
}

/* of_lane: v_blocks_of_lanes(p->shift). */
ALWAYS_INLINE vf span_scales(const scale_run *p, const scale_run *like, vi of_lane, size_t span) {
  return v_scales_of_lanes(&p->scales[(span * SPAN >> like->shift) - like->first], of_lane);
}

#endif
