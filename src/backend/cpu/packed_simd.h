/* backend/cpu/packed_simd.h: what the products of NVFP4, INT8 2:4 and INT4 2:4 share (nvfp4_row.h, select_simd.h,
 * codes_simd.h, blocks_simd.h, sparse_avx512.h), in the words of packed_words.h: steps of 64 columns (32, 40 or 24 bytes),
 * the scales of blocks, and an entry of the table. */
#ifndef BACKEND_CPU_PACKED_SIMD_H
#define BACKEND_CPU_PACKED_SIMD_H

#include <string.h>

#include "backend/cpu/few_simd.h"
#include "backend/cpu/packed_words.h"
#include "number/bulk.h"

#define STEP      64 /* columns */
#define STEP_VF   (STEP / LANES)
#define TILE_COLS 4 /* rows of w at a time: as many chains of additions hide the adder */

/* -- steps */

/* A row of w: where its steps and scales lie. format and blocked are constants wherever this is inlined. */
typedef struct packed_row {
  const uint8_t *codes, *scales;
} packed_row;

ALWAYS_INLINE size_t step_bytes(weight_format format) {
  if (format == WEIGHT_INT8_24) return sizeof(int8_24_block);
  if (format == WEIGHT_INT4_24) return sizeof(int4_24_block);
  return STEP / NVFP4_BLOCK * NVFP4_BLOCK_BYTES;
}

ALWAYS_INLINE packed_row row_of(const weight *w, size_t row) {
  packed_row r = {(const uint8_t *)w->data + row * w->row_bytes, (const uint8_t *)w->scales + row * w->scale_row_bytes};
  return r;
}

/* NVFP4's last blocks when they are not 4, filled up with zeros. */
typedef struct last_step {
  uint8_t codes[STEP / 2];
} last_step;

ALWAYS_INLINE const uint8_t *whole_step(weight_format format, packed_row r, size_t step) {
  return r.codes + step * step_bytes(format);
}

/* The same where the row may end. */
ALWAYS_INLINE const uint8_t *step_of(weight_format format, const weight *w, packed_row r, size_t step,
                                     last_step *last) {
  const uint8_t *at = whole_step(format, r, step);
  const size_t left = w->cols - step * STEP;
  if (format != WEIGHT_NVFP4 || left > STEP - NVFP4_BLOCK) return at;
  memset(last, 0, sizeof *last);
  memcpy(last->codes, at, (left + NVFP4_BLOCK - 1) / NVFP4_BLOCK * NVFP4_BLOCK_BYTES);
  return last->codes;
}

ALWAYS_INLINE codes64 step_codes(weight_format format, const uint8_t *at) {
  if (format == WEIGHT_NVFP4) return v_nvfp4(at);
  return format == WEIGHT_INT8_24 ? v_int8_24(at) : v_int4_24(at);
}

/* -- scales of blocks */

/* What the words of the formats give is that many times too large; the scales make up for it, exactly. */
#define NVFP4_UNIT 0.5f
#define INT4_UNIT  (1.0f / 16)

#define RUN_STEPS   64 /* steps whose scales are converted at once */
#define STEP_SCALES 4  /* at most */

/* Scales of blocks [first, …) of a row as FP32, and log2 of the columns of a block. */
typedef struct scale_run {
  float scales[RUN_STEPS * STEP_SCALES];
  size_t first;
  int shift;
} scale_run;

/* Of INT4: whole vectors are written, zeros after `here`; `count` scales are wanted. */
ALWAYS_INLINE void int4_scales(scale_type type, const uint8_t *from, float *to, size_t here, size_t count) {
  for (size_t i = 0; i < count; i += LANES) {
    const size_t part = here <= i ? 0 : here - i < LANES ? here - i : LANES;
    const vf v = type == SCALE_F16 ? (part == LANES ? v_load_f16(from + 2 * i) : v_load_part_f16(from + 2 * i, part))
                                   : v_load_part((const float *)(const void *)from + i, part);
    v_store(to + i, v_mul(v, v_set(INT4_UNIT)));
  }
}

/* Of steps [step, step + steps); 0 for blocks past the end. */
ALWAYS_INLINE void scales_fill(weight_format format, const weight *w, packed_row r, size_t step, size_t steps,
                               scale_run *p) {
  const int shift = __builtin_ctz(format == WEIGHT_NVFP4 ? NVFP4_BLOCK : w->block);
  const size_t first = (step * STEP) >> shift, count = (((step + steps) * STEP - 1) >> shift) + 1 - first;
  const size_t left = ((w->cols - 1) >> shift) + 1 - first, here = count < left ? count : left;
  if (format == WEIGHT_NVFP4) {
    e4m3_to_f32_n(r.scales + first, p->scales, here);
    for (size_t i = 0; i < here; i++) p->scales[i] *= NVFP4_UNIT;
    for (size_t i = here; i < count; i++) p->scales[i] = 0;
  } else {
    int4_scales(w->scales_type, r.scales + first * scale_bytes(w->scales_type), p->scales, here, count);
  }
  p->first = first;
  p->shift = shift;
}

/* Of a step's 16 columns from column on (INT4: 32). like: a run of the same steps, for runs of several rows the same
 * one, so that the place is found once. */
ALWAYS_INLINE const float *scales_at(weight_format format, const scale_run *p, const scale_run *like, size_t step,
                                     size_t column) {
  const int shift = format == WEIGHT_NVFP4 ? 4 : like->shift;
  return &p->scales[((step * STEP + column) >> shift) - like->first];
}

/* The scales of a step: NVFP4's 4 for 16 columns each; INT4's 2 for 32 each. */
typedef struct step_scales {
  const float *of[STEP_SCALES];
} step_scales;

ALWAYS_INLINE step_scales scales_of_step(weight_format format, const scale_run *p, const scale_run *like, size_t step) {
  step_scales s;
  s.of[0] = scales_at(format, p, like, step, 0);
  s.of[1] = scales_at(format, p, like, step, format == WEIGHT_NVFP4 ? 16 : 32);
  s.of[2] = format == WEIGHT_NVFP4 ? scales_at(format, p, like, step, 32) : NULL;
  s.of[3] = format == WEIGHT_NVFP4 ? scales_at(format, p, like, step, 48) : NULL;
  return s;
}

/* The weights of a step. */
ALWAYS_INLINE void step_values(weight_format format, int blocked, const weight *w, const uint8_t *at, step_scales s,
                               vf out[STEP_VF]) {
  if (format == WEIGHT_NVFP4) {
    v_nvfp4_to_float(at, out);
    UNROLL
    for (int v = 0; v < STEP_VF; v++) out[v] = v_mul(out[v], v_set(*s.of[v * LANES / NVFP4_BLOCK]));
    return;
  }
  const codes64 codes = step_codes(format, at);
  v_codes_to_float(w->pairs ? v_unpair(codes) : codes, out);
  if (!blocked) return;
  UNROLL
  for (int v = 0; v < STEP_VF; v++) out[v] = v_mul(out[v], v_set(*s.of[v * LANES / (STEP / 2)]));
}

/* Asks for the next tile_cols rows and their scales, in the order of memory (see linear_simd.h), as far as this step is
 * in these. Less far ahead, in long rows, only the first of the next rows would be there when all begin. */
ALWAYS_INLINE void step_ahead(weight_format format, int tile_cols, const weight *w, packed_row first, size_t step) {
  const size_t bytes = (size_t)tile_cols * step_bytes(format), tile = (size_t)tile_cols * w->row_bytes;
  const uint8_t *next = first.codes + (tile > FEW_AHEAD ? tile : FEW_AHEAD) + step * bytes;
  UNROLL
  for (size_t at = 0; at < bytes; at += LINE) __builtin_prefetch(next + at, 0, 3);
  if (format == WEIGHT_NVFP4)
    __builtin_prefetch(first.scales + (tile > FEW_AHEAD ? tile : FEW_AHEAD) / NVFP4_BLOCK_BYTES +
                           step * (size_t)tile_cols * STEP_SCALES,
                       0, 3);
  if (format == WEIGHT_INT4_24 && w->block) {
    const size_t rows = tile > FEW_AHEAD ? (size_t)tile_cols : FEW_AHEAD / w->row_bytes;
    const size_t columns = step * STEP * (size_t)tile_cols;
    __builtin_prefetch(first.scales + rows * w->scale_row_bytes +
                           (columns >> __builtin_ctz(w->block)) * scale_bytes(w->scales_type),
                       0, 3);
  }
}

/* -- the table */

/* Entry `name` of a format: rows of the modes first to last. few_rows and fill_panel: inline functions that are given format
 * and blocked as constants; multiply_panel: the product with a panel. What follows: the panel's form. */
#define PACKED_KERNELS(name, format, blocked, first, last, few_rows, fill_panel, multiply_panel, ...)                  \
  static void name##_fill(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col, size_t cols,     \
                          size_t stride, void *panel) {                                                                \
    (void)k;                                                                                                           \
    fill_panel(format, blocked, w, row, rows, col, cols, stride, panel);                                               \
  }                                                                                                                    \
  static const cpu_panel name##_form = {.fill = name##_fill, .multiply = multiply_panel, __VA_ARGS__};                 \
  static __attribute__((noinline)) void name##_few(const cpu_kernels *k, const linear_args *a, const cpu_input *in,    \
                                                   size_t begin, size_t end) {                                         \
    few_rows(format, blocked, &name##_form, k, a, in, begin, end);                                                     \
  }                                                                                                                    \
  static void name##_set(cpu_kernels *k) {                                                                             \
    for (input_mode mode = first; mode <= last; mode++)                                                                \
      k->product[blocked][format][mode] = (cpu_product){name##_few, &name##_form};                                     \
  }

#endif
