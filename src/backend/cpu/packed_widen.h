/* backend/cpu/packed_widen.h: NVFP4, INT8 2:4 and INT4 2:4 widened to FP32 in the order of the columns. */
#ifndef BACKEND_CPU_PACKED_WIDEN_H
#define BACKEND_CPU_PACKED_WIDEN_H

#include "backend/cpu/packed_simd.h"

ALWAYS_INLINE void widen_steps(weight_format format, int blocked, const weight *w, size_t row, size_t col, float *to,
                               size_t count) {
  const packed_row r = row_of(w, row);
  const size_t first = col / STEP, end = (col + count + STEP - 1) / STEP;
  scale_run p;
  last_step last;
  vf out[STEP_VF];
  for (size_t step = first; step < end; step++, to += STEP, count -= STEP) {
    if (blocked && (step - first) % RUN_STEPS == 0)
      scales_fill(format, w, r, step, end - step < RUN_STEPS ? end - step : RUN_STEPS, &p);
    step_values(format, blocked, w, step_of(format, w, r, step, &last),
                blocked ? scales_of_step(format, &p, &p, step) : (step_scales){{NULL}}, out);
    size_t v = 0;
    for (; v < STEP_VF && (v + 1) * LANES <= count; v++) v_store(to + v * LANES, out[v]);
    if (v == STEP_VF) continue;
    if (v * LANES < count) v_store_part(to + v * LANES, out[v], count - v * LANES);
    return;
  }
}

static void widen_nvfp4(const weight *w, size_t row, size_t col, float *to, size_t count) {
  widen_steps(WEIGHT_NVFP4, 1, w, row, col, to, count);
}
static void widen_int8_24(const weight *w, size_t row, size_t col, float *to, size_t count) {
  widen_steps(WEIGHT_INT8_24, 0, w, row, col, to, count);
}
static void widen_int4_24(const weight *w, size_t row, size_t col, float *to, size_t count) {
  if (w->block)
    widen_steps(WEIGHT_INT4_24, 1, w, row, col, to, count);
  else
    widen_steps(WEIGHT_INT4_24, 0, w, row, col, to, count);
}

static void widen_kernels(cpu_kernels *k) {
  k->widen[WEIGHT_NVFP4] = widen_nvfp4;
  k->widen[WEIGHT_INT8_24] = widen_int8_24;
  k->widen[WEIGHT_INT4_24] = widen_int4_24;
  k->factor[WEIGHT_INT4_24] = INT4_UNIT;
}

#endif
