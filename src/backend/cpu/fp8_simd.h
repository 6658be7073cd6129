/* backend/cpu/fp8_simd.h: FP8 weights with FP32 rows, in the vector words of simd.h.
 *
 * The low 7 bits of an E4M3 code, 7 places up, are the bits of an F16 that is 1/256 of its value, subnormals too. So a code
 * becomes FP32 in one shift, one AND and one conversion. The 256 goes to the scale: of a block, or of the row (`factor`).
 * As F16 the NaN codes would be ±480/256: `few` looks for them beside the products and makes the row's scale NaN, widening
 * looks at the values.
 *
 * The order of the sums is that of kernels.h, for `few`, for widened parts and for panels. A block's scale times 256 leaves
 * FP32 when it is 2^120 or more: no weights packed from finite FP32 have one.
 */
#ifndef BACKEND_CPU_FP8_SIMD_H
#define BACKEND_CPU_FP8_SIMD_H

#include <math.h>
#include <string.h>

#include "backend/cpu/few_simd.h"
#include "backend/cpu/fp8_scales.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/ref.h"
#include "backend/cpu/simd.h"

#define FP8_FACTOR 256.0f
#define FP8_STEP   (2 * LANES) /* codes converted at once */

/* Blocks that lie well in steps: others are widened by the plain entry. */
static int fp8_steps(const weight *w) { return w->block == 0 || w->block == 16 || w->block % 32 == 0; }

/* -- widening */

/* NaN codes are 480/256 in F16. */
static __attribute__((noinline)) void fp8_mend_nan(const uint8_t *codes, float *to, size_t count) {
  for (size_t i = 0; i < count; i++)
    if ((codes[i] & 0x7f) == 0x7f) to[i] = NAN;
}

/* A step's values times their blocks' scales, of which that of the second half is `next` after the first's. */
ALWAYS_INLINE void fp8_scaled(int block, const uint8_t *from, const float *scales, size_t next, vf value[2]) {
  v_load2_fp8(from, value);
  if (block == 0) return;
  value[0] = v_mul(value[0], v_set(scales[0])), value[1] = v_mul(value[1], v_set(scales[next]));
}

/* The first count of them, fewer than FP8_STEP. */
ALWAYS_INLINE void fp8_store_part(float *to, const vf value[2], size_t count) {
  if (count < LANES) {
    v_store_part(to, value[0], count);
    return;
  }
  v_store(to, value[0]);
  if (count > LANES) v_store_part(to + LANES, value[1], count - LANES);
}

/* Without looking at values: returns whether a code is NaN. block: 0, 16, or 32 for all multiples of 32. */
ALWAYS_INLINE int fp8_widen(int block, const weight *w, size_t row, size_t col, float *to, size_t count) {
  const uint8_t *codes = (const uint8_t *)w->data + row * w->row_bytes + col;
  float scales[FP8_SCALES];
  vb largest = vb_zero();
  for (size_t c = 0; c < count;) {
    size_t end = count, s = 0, left = w->block; /* block of those in the buffer, and its columns to come */
    if (block != 0) {
      const size_t first = (col + c) / w->block;
      left -= (col + c) % w->block;
      if (count - c > left + (FP8_SCALES - 1) * w->block) end = c + left + (FP8_SCALES - 1) * w->block;
      fp8_scales(w, row, first, (col + end - 1) / w->block - first + 1, FP8_FACTOR, scales);
    }
    for (; c + FP8_STEP <= end; c += FP8_STEP) {
      vf value[2];
      largest = v_largest_fp8(largest, codes + c);
      fp8_scaled(block, codes + c, scales + s, block == 16 ? FP8_STEP / 16 - 1 : 0, value);
      v_store(to + c, value[0]), v_store(to + c + LANES, value[1]);
      if (block == 16) s += FP8_STEP / 16;
      if (block == 32 && (left -= FP8_STEP) == 0) s++, left = w->block;
    }
    if (c < end) {
      vf value[2];
      uint8_t part[FP8_STEP] = {0};
      memcpy(part, codes + c, end - c);
      largest = v_largest_fp8(largest, part);
      fp8_scaled(block, part, scales + s, block == 16 && end - c > 16 ? 1 : 0, value);
      fp8_store_part(to + c, value, end - c);
      c = end;
    }
  }
  return vb_has_nan_fp8(largest);
}

static void widen_fp8(const weight *w, size_t row, size_t col, float *to, size_t count) {
  if (!fp8_steps(w)) {
    ref_widen_fp8(w, row, col, to, count);
    return;
  }
  const int nan = w->block == 0    ? fp8_widen(0, w, row, col, to, count)
                  : w->block == 16 ? fp8_widen(16, w, row, col, to, count)
                                   : fp8_widen(32, w, row, col, to, count);
  if (nan) fp8_mend_nan((const uint8_t *)w->data + row * w->row_bytes + col, to, count);
}

/* -- few rows of x */

#define FP8_ROWS      6 /* rows of x with which the codes are multiplied as they are stored; for more w is widened */
#define FP8_COLS      4 /* rows of w: so many chains of sums hide the adder's latency */
#define FP8_SOME_COLS (LANES == 16 ? 4 : 2) /* with 2 to 4 rows of x: as the registers allow */
#define FP8_MORE_COLS 2                     /* with 5 and 6 */
typedef vf fp8_sums[FP8_ROWS][FP8_COLS];

/* Rows of w of a tile, and where they are. */
typedef struct fp8_tile {
  const uint8_t *codes[FP8_COLS];
  const float *scales[FP8_COLS]; /* of the blocks from the chunk's first column on */
} fp8_tile;

/* One step of FP8_STEP columns at column c of K; s: block of the chunk that c is in. half: only the first LANES. */
ALWAYS_INLINE void fp8_step(int rows, int cols, int blocked, int half, const fp8_tile *t, size_t c, size_t s,
                            size_t s_next, const float *x, size_t x_stride, fp8_sums sums, vb largest[FP8_COLS]) {
  vf w[FP8_COLS][2];
  UNROLL
  for (int j = 0; j < cols; j++) {
    largest[j] = v_largest_fp8(largest[j], t->codes[j] + c);
    v_load2_fp8(t->codes[j] + c, w[j]);
    if (blocked)
      w[j][0] = v_mul(w[j][0], v_set(t->scales[j][s])), w[j][1] = v_mul(w[j][1], v_set(t->scales[j][s_next]));
  }
  UNROLL
  for (int h = 0; h < 2 - half; h++) {
    UNROLL
    for (int i = 0; i < rows; i++) {
      const vf xv = v_load(x + (size_t)i * x_stride + c + (size_t)h * LANES);
      UNROLL
      for (int j = 0; j < cols; j++) sums[i][j] = v_fma(w[j][h], xv, sums[i][j]);
    }
  }
}

/* The columns from c on that are no whole step. */
ALWAYS_INLINE void fp8_rest(int rows, int cols, int blocked, const fp8_tile *t, size_t c, size_t k, size_t s,
                            size_t s_next, const float *x, size_t x_stride, fp8_sums sums, vb largest[FP8_COLS]) {
  uint8_t codes[FP8_COLS][FP8_STEP];
  float values[FP8_ROWS][FP8_STEP];
  fp8_tile rest = *t;
  memset(codes, 0, sizeof codes);
  memset(values, 0, sizeof values);
  for (int j = 0; j < cols; j++) {
    memcpy(codes[j], t->codes[j] + c, k - c);
    rest.codes[j] = codes[j];
  }
  for (int i = 0; i < rows; i++) memcpy(values[i], x + (size_t)i * x_stride + c, (k - c) * sizeof(float));
  if (k - c <= LANES)
    fp8_step(rows, cols, blocked, 1, &rest, 0, s, s_next, values[0], FP8_STEP, sums, largest);
  else
    fp8_step(rows, cols, blocked, 0, &rest, 0, s, s_next, values[0], FP8_STEP, sums, largest);
}

/* All rows rows of x times cols rows of w from n0. block: 0, 16, or 32 for all multiples of 32. */
ALWAYS_INLINE void fp8_few(int rows, int cols, int block, const cpu_kernels *k, const linear_args *a,
                           const cpu_input *in, size_t n0) {
  const weight *w = a->w;
  fp8_ahead ahead = fp8_ahead_of(w, cols, n0);
  const size_t width = w->cols;
  const size_t chunk = block == 0 ? width + 1 : (size_t)w->block * FP8_SCALES;
  const float *x = in->x;
  float scales[FP8_COLS][FP8_SCALES];
  fp8_tile t;
  fp8_sums sums;
  vb largest[FP8_COLS];
  UNROLL
  for (int j = 0; j < cols; j++) {
    t.codes[j] = (const uint8_t *)w->data + (n0 + (size_t)j) * w->row_bytes;
    t.scales[j] = scales[j];
    largest[j] = vb_zero();
    UNROLL
    for (int i = 0; i < rows; i++) sums[i][j] = v_zero();
  }
  for (size_t c = 0; c < width;) {
    const size_t first = c, end = width - c < chunk ? width : c + chunk;
    for (int j = 0; j < cols && block != 0; j++)
      fp8_scales(w, n0 + (size_t)j, first / w->block, (end - first + w->block - 1) / w->block, FP8_FACTOR, scales[j]);
    size_t s = 0, left = w->block; /* block of the chunk, and its columns to come */
    for (; c + FP8_STEP <= end; c += FP8_STEP) {
      if (c % LINE == 0) fp8_ask(cols, block != 0, &ahead);
      fp8_step(rows, cols, block != 0, 0, &t, c, s, block == 16 ? s + FP8_STEP / 16 - 1 : s, x, in->x_stride, sums,
               largest);
      if (block == 16) s += FP8_STEP / 16;
      if (block == 32 && (left -= FP8_STEP) == 0) s++, left = w->block;
    }
    if (c < end) {
      const size_t s_next = block == 16 && end - c > 16 ? s + 1 : s;
      fp8_rest(rows, cols, block != 0, &t, c, end, s, s_next, x, in->x_stride, sums, largest);
      c = end;
    }
  }
  UNROLL
  for (int j = 0; j < cols; j++) {
    const size_t n = n0 + (size_t)j;
    const float scale = vb_has_nan_fp8(largest[j]) ? NAN : cpu_row_factor(k, w, n);
    UNROLL
    for (int i = 0; i < rows; i++) few_finish(a, in, (size_t)i, n, v_sum(sums[i][j]) * scale);
  }
}

#define FP8_FEW(rows, cols, block)                                                                                     \
  static __attribute__((noinline)) void fp8_few_##rows##_##block(const cpu_kernels *k, const linear_args *a,           \
                                                                 const cpu_input *in, size_t begin, size_t end) {      \
    size_t n = begin;                                                                                                  \
    for (; n + (cols) <= end; n += (cols)) fp8_few(rows, cols, block, k, a, in, n);                                    \
    for (; n < end; n++) fp8_few(rows, 1, block, k, a, in, n);                                                         \
  }
/* six_cols: blocks of 16 have two scales a step, which leave fewer registers. */
#define FP8_FEW_ALL(block, six_cols)                                                                                   \
  FP8_FEW(1, FP8_COLS, block)                                                                                          \
  FP8_FEW(2, FP8_SOME_COLS, block)                                                                                     \
  FP8_FEW(3, FP8_SOME_COLS, block)                                                                                     \
  FP8_FEW(4, FP8_SOME_COLS, block)                                                                                     \
  FP8_FEW(5, FP8_MORE_COLS, block)                                                                                     \
  FP8_FEW(6, six_cols, block)                                                                                          \
  static const few_fn fp8_few_of_##block[FP8_ROWS + 1] = {NULL,                                                        \
                                                          fp8_few_1_##block,                                           \
                                                          fp8_few_2_##block,                                           \
                                                          fp8_few_3_##block,                                           \
                                                          fp8_few_4_##block,                                           \
                                                          fp8_few_5_##block,                                           \
                                                          fp8_few_6_##block};
FP8_FEW_ALL(0, FP8_MORE_COLS)
FP8_FEW_ALL(16, 1)
FP8_FEW_ALL(32, FP8_MORE_COLS)

static void few_fp8(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  const few_fn *of = a->w->block == 0 ? fp8_few_of_0 : a->w->block == 16 ? fp8_few_of_16 : fp8_few_of_32;
  (a->m <= FP8_ROWS && fp8_steps(a->w) ? of[a->m] : k->few_any)(k, a, in, begin, end);
}

static void fp8_kernels(cpu_kernels *k) {
  k->widen[WEIGHT_FP8] = widen_fp8;
  k->factor[WEIGHT_FP8] = FP8_FACTOR;
  for (int blocked = 0; blocked < 2; blocked++)
    for (size_t mode = 0; mode < CPU_INPUT_MODES; mode++) k->product[blocked][WEIGHT_FP8][mode].few = few_fp8;
}

#endif
