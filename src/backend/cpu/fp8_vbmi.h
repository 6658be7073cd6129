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
#define VBMI_COLS  4
#define VBMI_ROWS  6 /* of x at a time: the next ones find the codes near */
/* Rows of x; more are multiplied with widened parts, which are unpacked once: measured. */
#define VBMI_MOST        12
#define VBMI_BLOCKS_MOST 6

/* Place i of the codes holds byte vbmi_order[i]: unpacking leaves words, two of them a lane of 32 bits. */
static const uint8_t vbmi_order[VBMI_STEP] = {0,  1,  2,  3,  16, 17, 18, 19, 32, 33, 34, 35, 48, 49, 50, 51,
                                              4,  5,  6,  7,  20, 21, 22, 23, 36, 37, 38, 39, 52, 53, 54, 55,
                                              8,  9,  10, 11, 24, 25, 26, 27, 40, 41, 42, 43, 56, 57, 58, 59,
                                              12, 13, 14, 15, 28, 29, 30, 31, 44, 45, 46, 47, 60, 61, 62, 63};

typedef struct vbmi_words {
  pairs_words table;
  __m512i order;
} vbmi_words;

ALWAYS_INLINE vbmi_words vbmi_ready(void) { return (vbmi_words){pairs_ready(), _mm512_loadu_si512(vbmi_order)}; }

ALWAYS_INLINE void vbmi_widen(const vbmi_words *p, __m512i codes, vf to[VBMI_PARTS]) {
  const __m512i zero = _mm512_setzero_si512();
  __m512i pairs[2];
  pairs_widen(&p->table, _mm512_permutexvar_epi8(p->order, codes), pairs);
  UNROLL
  for (int h = 0; h < 2; h++) {
    to[2 * h] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, pairs[h]));
    to[2 * h + 1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, pairs[h]));
  }
}

/* Blocks of 16, 32 and multiples of 64 columns lie well in steps. */
static int vbmi_steps(const weight *w) {
  return w->block == 0 || w->block == 16 || w->block == 32 || w->block % VBMI_STEP == 0;
}

/* A step's values times the scales of their blocks, of which the first is that of column 0; count columns are there. */
ALWAYS_INLINE void vbmi_scale(int block, size_t count, const float *scales, vf value[VBMI_PARTS]) {
  if (block == 0) return;
  UNROLL
  for (int h = 0; h < VBMI_PARTS; h++) {
    const size_t b = (size_t)h * LANES / (size_t)block, most = (count - 1) / (size_t)block;
    value[h] = v_mul(value[h], v_set(scales[b < most ? b : most]));
  }
}

/* -- widening */

ALWAYS_INLINE void vbmi_store(const vf value[VBMI_PARTS], float *to, size_t count) {
  UNROLL
  for (size_t h = 0; h < VBMI_PARTS; h++) {
    if (count >= (h + 1) * LANES)
      v_store(to + h * LANES, value[h]);
    else if (count > h * LANES)
      v_store_part(to + h * LANES, value[h], count - h * LANES);
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
      vf value[VBMI_PARTS];
      vbmi_widen(&p, pairs_codes(codes + c, VBMI_STEP), value);
      vbmi_scale(block, VBMI_STEP, scales + s, value);
      vbmi_store(value, to + c, VBMI_STEP);
      if (block == 16 || block == 32) s += VBMI_STEP / (size_t)block;
      if (block == 64 && (left -= VBMI_STEP) == 0) s++, left = w->block;
    }
    if (c < end) {
      vf value[VBMI_PARTS];
      vbmi_widen(&p, pairs_codes(codes + c, end - c), value);
      vbmi_scale(block, end - c, scales + s, value);
      vbmi_store(value, to + c, end - c);
      c = end;
    }
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

typedef vf vbmi_sums[VBMI_ROWS][VBMI_COLS];

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
  UNROLL
  for (int j = 0; j < cols; j++) {
    vf w[VBMI_PARTS];
    vbmi_widen(p, pairs_codes(t->codes[j] + c, count), w);
    vbmi_scale(block, count, t->scales[j] + s, w);
    UNROLL
    for (int h = 0; h < VBMI_PARTS; h++) {
      UNROLL
      for (int i = 0; i < rows; i++)
        sums[i][j] = v_fma(w[h], vbmi_x(x + (size_t)i * x_stride + c, (size_t)h * LANES, count), sums[i][j]);
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
  UNROLL
  for (int j = 0; j < cols; j++) {
    const size_t n = n0 + (size_t)j;
    const float scale = weight_row_scale(w, n);
    UNROLL
    for (int i = 0; i < rows; i++) few_finish(a, in, i0 + (size_t)i, n, v_sum(sums[i][j]) * scale);
  }
}

/* All rows of x, in tiles of nearly the same size, times VBMI_COLS rows of w. */
ALWAYS_INLINE void vbmi_group(int block, const linear_args *a, const cpu_input *in, size_t n) {
  const size_t tiles = (a->m + VBMI_ROWS - 1) / VBMI_ROWS;
  size_t i = 0, rows;
  for (size_t t = 0; t < tiles; t++, i += rows) {
    rows = a->m / tiles + (t < a->m % tiles);
    switch (rows) {
    case 1: vbmi_few(1, VBMI_COLS, block, a, in, i, n); break;
    case 2: vbmi_few(2, VBMI_COLS, block, a, in, i, n); break;
    case 3: vbmi_few(3, VBMI_COLS, block, a, in, i, n); break;
    case 4: vbmi_few(4, VBMI_COLS, block, a, in, i, n); break;
    case 5: vbmi_few(5, VBMI_COLS, block, a, in, i, n); break;
    default: vbmi_few(6, VBMI_COLS, block, a, in, i, n); break;
    }
  }
}

/* Rows of w beyond the last whole tile are few: one of them and one of x at a time. */
#define VBMI_FEW(block)                                                                                                \
  static __attribute__((noinline)) void vbmi_few_##block(const linear_args *a, const cpu_input *in, size_t begin,      \
                                                         size_t end) {                                                 \
    size_t n = begin;                                                                                                  \
    for (; n + VBMI_COLS <= end; n += VBMI_COLS) vbmi_group(block, a, in, n);                                          \
    for (; n < end; n++)                                                                                               \
      for (size_t i = 0; i < a->m; i++) vbmi_few(1, 1, block, a, in, i, n);                                            \
  }
VBMI_FEW(0)
VBMI_FEW(16)
VBMI_FEW(32)
VBMI_FEW(64)

static void few_fp8_vbmi(const cpu_kernels *k, const linear_args *a, const cpu_input *in, size_t begin, size_t end) {
  const uint32_t block = a->w->block;
  if (!vbmi_steps(a->w) || a->m > (block == 0 ? VBMI_MOST : VBMI_BLOCKS_MOST))
    k->few_any(k, a, in, begin, end);
  else if (block == 0)
    vbmi_few_0(a, in, begin, end);
  else
    (block == 16 ? vbmi_few_16 : block == 32 ? vbmi_few_32 : vbmi_few_64)(a, in, begin, end);
}

static void fp8_vbmi_kernels(cpu_kernels *k) {
  k->widen[WEIGHT_FP8] = widen_fp8_vbmi;
  k->factor[WEIGHT_FP8] = 1;
  for (int blocked = 0; blocked < 2; blocked++)
    for (size_t mode = 0; mode < CPU_INPUT_MODES; mode++) k->product[blocked][WEIGHT_FP8][mode].few = few_fp8_vbmi;
}

#endif
