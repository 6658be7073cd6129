/* backend/cpu/fp8_vbmi.h: FP8 weights with FP32 rows where the processor has AVX512_VBMI.
 *
 * 64 codes become BF16 by two permutations of bytes (pairs_words.h has the table), and a BF16 is the high half of an FP32. The
 * codes are first put in the order in which that leaves them as columns 0–15, 16–31, 32–47, 48–63: the order of the sums
 * is that of kernels.h, and the bits are those of fp8_simd.h, which needs half as many operations again. NaN codes become
 * NaN by themselves, and nothing is left to multiply with at the end.
 */
#ifndef BACKEND_CPU_FP8_VBMI_H
#define BACKEND_CPU_FP8_VBMI_H

#include "backend/cpu/few_simd.h"
#include "backend/cpu/fp8_scales.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/pairs_words.h"
#include "backend/cpu/ref.h"

#define VBMI_STEP  64
#define VBMI_PARTS (VBMI_STEP / LANES)
#define VBMI_COLS  FEW_COLS_MOST
/* Rows of x with scales of blocks; more are multiplied with widened parts, which are unpacked once: measured. */
#define VBMI_BLOCKS_MOST 12

/* Place i of the codes holds byte vbmi_order[i]: unpacking leaves words, of which lane l of 32 bits has column l in its low
 * and 16 + l in its high half. */
static const uint8_t vbmi_order[VBMI_STEP] = {0,  16, 1,  17, 2,  18, 3,  19, 32, 48, 33, 49, 34, 50, 35, 51,
                                              4,  20, 5,  21, 6,  22, 7,  23, 36, 52, 37, 53, 38, 54, 39, 55,
                                              8,  24, 9,  25, 10, 26, 11, 27, 40, 56, 41, 57, 42, 58, 43, 59,
                                              12, 28, 13, 29, 14, 30, 15, 31, 44, 60, 45, 61, 46, 62, 47, 63};

typedef struct vbmi_words {
  pairs_words table;
  __m512i order;
} vbmi_words;

ALWAYS_INLINE vbmi_words vbmi_ready(void) { return (vbmi_words){pairs_ready(), _mm512_loadu_si512(vbmi_order)}; }

/* 64 codes as pairs, of which vbmi_part takes columns 16 · part and on. */
ALWAYS_INLINE void vbmi_pairs(const vbmi_words *p, __m512i codes, __m512i to[2]) {
  pairs_widen(&p->table, _mm512_permutexvar_epi8(p->order, codes), to);
}

ALWAYS_INLINE vf vbmi_part(const __m512i pairs[2], int part) {
  const __m512i half = pairs[part / 2];
  const __m512i bits = part % 2 == 0 ? _mm512_slli_epi32(half, 16) : _mm512_and_si512(half, _mm512_set1_epi32(-65536));
  return _mm512_castsi512_ps(bits);
}

/* Blocks of 16, 32 and multiples of 64 columns lie well in steps. */
static int vbmi_steps(const weight *w) {
  return w->block == 0 || w->block == 16 || w->block == 32 || w->block % VBMI_STEP == 0;
}

/* A part's values times the scale of their block, of which the first is that of column 0; count columns are there. */
ALWAYS_INLINE vf vbmi_value(int block, size_t count, const float *scales, const __m512i pairs[2], int part) {
  const vf value = vbmi_part(pairs, part);
  if (block == 0) return value;
  const size_t b = (size_t)part * LANES / (size_t)block, most = (count - 1) / (size_t)block;
  return v_mul(value, v_set(scales[b < most ? b : most]));
}

/* -- widening */

/* VBMI_STEP columns, or the first `count`. */
ALWAYS_INLINE void vbmi_widen(int block, const vbmi_words *p, const uint8_t *codes, size_t count, const float *scales,
                              float *to) {
  __m512i pairs[2];
  vbmi_pairs(p, pairs_codes(codes, count), pairs);
  UNROLL
  for (int h = 0; h < VBMI_PARTS; h++) {
    const size_t at = (size_t)h * LANES;
    const vf value = vbmi_value(block, count, scales, pairs, h);
    if (count >= at + LANES)
      v_store(to + at, value);
    else if (count > at)
      v_store_part(to + at, value, count - at);
  }
}

/* block: 0, 16, 32, or 64 for all multiples of it. */
ALWAYS_INLINE void vbmi_widen_row(int block, const weight *w, size_t row, size_t col, float *to, size_t count) {
  const vbmi_words p = vbmi_ready();
  const uint8_t *codes = (const uint8_t *)w->data + row * w->row_bytes + col;
  float scales[FP8_SCALES];
  size_t left = block == 0 ? 0 : w->block - col % w->block; /* columns to come of the first block */
  for (size_t c = 0; c < count;) {
    size_t end = count, s = 0;
    if (block != 0) {
      const size_t first = (col + c) / w->block, most = left + (FP8_SCALES - 1) * w->block;
      if (count - c > most) end = c + most;
      fp8_scales(w, row, first, (col + end - 1) / w->block - first + 1, 1, scales);
    }
    for (; c + VBMI_STEP <= end; c += VBMI_STEP) {
      vbmi_widen(block, &p, codes + c, VBMI_STEP, scales + s, to + c);
      if (block == 16 || block == 32) s += VBMI_STEP / (size_t)block;
      if (block == 64 && (left -= VBMI_STEP) == 0) s++, left = w->block;
    }
    if (c < end) vbmi_widen(block, &p, codes + c, end - c, scales + s, to + c);
    c = end;
  }
}

static void widen_fp8_vbmi(const weight *w, size_t row, size_t col, float *to, size_t count) {
  if (!vbmi_steps(w))
    ref_widen_fp8(w, row, col, to, count);
  else if (w->block == 0)
    vbmi_widen_row(0, w, row, col, to, count);
  else if (w->block == 16)
    vbmi_widen_row(16, w, row, col, to, count);
  else if (w->block == 32)
    vbmi_widen_row(32, w, row, col, to, count);
  else
    vbmi_widen_row(64, w, row, col, to, count);
}

/* -- few rows of x */

typedef vf vbmi_sums[FEW_MOST_ROWS][VBMI_COLS];

/* Rows of w of a tile, and where they are. */
typedef struct vbmi_tile {
  const uint8_t *codes[VBMI_COLS];
  const float *scales[VBMI_COLS]; /* of the blocks from the chunk's first column on */
} vbmi_tile;

/* LANES columns of a row of x, from the at-th on, of which count are there. */
ALWAYS_INLINE vf vbmi_x(const float *x, size_t at, size_t count) {
  if (count >= at + LANES) return v_load(x + at);
  return count > at ? v_load_part(x + at, count - at) : v_zero();
}

/* VBMI_STEP columns from c on, or the first `count`. s: block of the chunk that c is in. */
ALWAYS_INLINE void vbmi_step(int rows, int cols, int block, size_t count, const vbmi_words *p, const vbmi_tile *t,
                             size_t c, size_t s, const float *x, size_t x_stride, vbmi_sums sums) {
  __m512i pairs[VBMI_COLS][2];
  UNROLL
  for (int j = 0; j < cols; j++) vbmi_pairs(p, pairs_codes(t->codes[j] + c, count), pairs[j]);
  UNROLL
  for (int h = 0; h < VBMI_PARTS; h++) {
    vf w[VBMI_COLS];
    UNROLL
    for (int j = 0; j < cols; j++) w[j] = vbmi_value(block, count, t->scales[j] + s, pairs[j], h);
    UNROLL
    for (int i = 0; i < rows; i++) {
      const vf xv = vbmi_x(x + (size_t)i * x_stride + c, (size_t)h * LANES, count);
      UNROLL
      for (int j = 0; j < cols; j++) sums[i][j] = v_fma(w[j], xv, sums[i][j]);
    }
  }
}

/* rows rows of x from i0 times cols rows of w from n0. block: 0, 16, 32, or 64 for all multiples of it. */
ALWAYS_INLINE void vbmi_few(int rows, int cols, int block, const linear_args *a, const cpu_input *in, size_t i0,
                            size_t n0) {
  const weight *w = a->w;
  fp8_ahead ahead = fp8_ahead_of(w, cols, n0);
  const vbmi_words p = vbmi_ready();
  const size_t width = w->cols, chunk = block == 0 ? width + 1 : (size_t)w->block * FP8_SCALES;
  const float *x = in->x + i0 * in->x_stride;
  float scales[VBMI_COLS][FP8_SCALES];
  vbmi_tile t;
  vbmi_sums sums;
  UNROLL
  for (int j = 0; j < cols; j++) {
    t.codes[j] = (const uint8_t *)w->data + (n0 + (size_t)j) * w->row_bytes;
    t.scales[j] = scales[j];
    UNROLL
    for (int i = 0; i < rows; i++) sums[i][j] = v_zero();
  }
  for (size_t c = 0; c < width;) {
    const size_t first = c, end = width - c < chunk ? width : c + chunk;
    for (int j = 0; j < cols && block != 0; j++)
      fp8_scales(w, n0 + (size_t)j, first / w->block, (end - first + w->block - 1) / w->block, 1, scales[j]);
    size_t s = 0, left = w->block; /* block of the chunk, and its columns to come */
    for (; c + VBMI_STEP <= end; c += VBMI_STEP) {
      if (i0 == 0) fp8_ask(cols, block != 0, &ahead);
      vbmi_step(rows, cols, block, VBMI_STEP, &p, &t, c, s, x, in->x_stride, sums);
      if (block == 16 || block == 32) s += VBMI_STEP / (size_t)block;
      if (block == 64 && (left -= VBMI_STEP) == 0) s++, left = w->block;
    }
    if (c < end) vbmi_step(rows, cols, block, end - c, &p, &t, c, s, x, in->x_stride, sums);
    c = end;
  }
  float row_scales[VBMI_COLS] = {0};
  for (int j = 0; j < cols; j++) row_scales[j] = weight_row_scale(w, n0 + (size_t)j);
  few_finish_tile(rows, cols, a, in, i0, n0, sums, row_scales);
}

#define VBMI_FEW(block)                                                                                                \
  ALWAYS_INLINE void vbmi_few_of_##block(int rows, int cols, const cpu_kernels *k, const linear_args *a,               \
                                         const cpu_input *in, size_t i0, size_t n0) {                                  \
    (void)k;                                                                                                           \
    vbmi_few(rows, cols, block, a, in, i0, n0);                                                                        \
  }                                                                                                                    \
  FEW_OF_TILES(vbmi_few_##block, vbmi_few_of_##block, 2)
VBMI_FEW(0)
VBMI_FEW(16)
VBMI_FEW(32)
VBMI_FEW(64)

static void few_fp8_vbmi(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  const uint32_t block = a->w->block;
  if (!vbmi_steps(a->w) || (block != 0 && a->m > VBMI_BLOCKS_MOST))
    k->few_any(k, a, in, begin, end);
  else if (block == 0)
    vbmi_few_0(k, a, in, begin, end);
  else
    (block == 16 ? vbmi_few_16 : block == 32 ? vbmi_few_32 : vbmi_few_64)(k, a, in, begin, end);
}

static void fp8_vbmi_kernels(cpu_kernels *k) {
  k->widen[WEIGHT_FP8] = widen_fp8_vbmi;
  k->factor[WEIGHT_FP8] = 1;
  for (int blocked = 0; blocked < 2; blocked++)
    for (size_t mode = 0; mode < CPU_INPUT_MODES; mode++) k->product[blocked][WEIGHT_FP8][mode].few = few_fp8_vbmi;
}

#endif
