/* backend/cpu/fp8_scales.h: what the products of FP8 weights share, in the vector words of simd.h: the scales of blocks, and
 * what is asked for ahead. */
#ifndef BACKEND_CPU_FP8_SCALES_H
#define BACKEND_CPU_FP8_SCALES_H

#include <string.h>

#include "backend/cpu/few_simd.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd.h"

/* -- scales of blocks */

#define FP8_SCALES 64 /* of one row, converted at a time */

/* LANES scales, or the first `count` and zeros, or what zero codes are. */
ALWAYS_INLINE vf fp8_load_scales(scale_type type, const char *from, size_t count) {
  if (type == SCALE_F32) {
    const float *scales = (const float *)(const void *)from;
    return count < LANES ? v_load_part(scales, count) : v_load(scales);
  }
  if (type == SCALE_F16) return count < LANES ? v_load_part_f16(from, count) : v_load_f16(from);
  char part[LANES] = {0};
  if (count < LANES) memcpy(part, from, count), from = part;
  return v_load_e8m0(from);
}

/* Times `by`, written whole vectors at a time: `to` has room for FP8_SCALES. */
ALWAYS_INLINE void fp8_scales(const weight *w, size_t row, size_t first, size_t count, float by, float *to) {
  const char *from = (const char *)w->scales + row * w->scale_row_bytes + first * scale_bytes(w->scales_type);
  const vf factor = v_set(by);
  const scale_type type = w->scales_type;
  for (size_t i = 0; i < count; i += LANES)
    v_store(to + i, v_mul(fp8_load_scales(type, from + i * scale_bytes(type), count - i), factor));
}

/* -- memory */

#define FP8_AHEAD (16 << 10) /* bytes that are asked for ahead at least */

/* What is asked for ahead: the rows of the tiles that follow, in the order of memory, as many lines in a step as it reads.
 * A whole tile ahead, so that no row begins with waiting; scales of blocks too, some at each step. */
typedef struct fp8_ahead {
  const char *codes, *scales; /* what is asked for next */
  size_t scale_step;          /* bytes for each line of codes; 0 without blocks */
} fp8_ahead;

/* For the tile of `tile` rows from n0 on. */
ALWAYS_INLINE fp8_ahead fp8_ahead_of(const weight *w, int tile, size_t n0) {
  const size_t rows = (size_t)tile, steps = w->cols / LINE + 1, bytes = rows * w->row_bytes;
  const size_t scales = weight_blocked(w) ? rows * w->scale_row_bytes : 0;
  return (fp8_ahead){.codes = (const char *)w->data + n0 * w->row_bytes + (bytes < FP8_AHEAD ? FP8_AHEAD : bytes),
                     .scales = (const char *)w->scales + n0 * w->scale_row_bytes + scales,
                     .scale_step = (scales + steps - 1) / steps};
}

/* Asks for as much as a step of 64 columns reads. */
ALWAYS_INLINE void fp8_ask(int tile, int blocked, fp8_ahead *at) {
  UNROLL
  for (int j = 0; j < tile; j++) __builtin_prefetch(at->codes + (size_t)j * LINE, 0, 3);
  at->codes += (size_t)tile * LINE;
  if (!blocked) return;
  __builtin_prefetch(at->scales, 0, 3);
  at->scales += at->scale_step;
}

#endif
