/* backend/cpu/fp8_pairs.h: FP8 weights with one scale a row times rows of codes, both as BF16, which holds E4M3, INT8 and
 * INT4 exactly: AVX-512 with AVX512_BF16 and AVX512_VBMI.
 *
 * Order of the sums. 64 columns are two vectors of 16 pairs: the first has the pairs of columns 0–7, 16–23, 32–39 and 48–55,
 * the second those between (so unpacking bytes leaves them). Lane l of an output adds of each vector first the odd column of
 * its pair, then the even one, each fused: what VDPBF16PS does (products of such codes are exact in FP32, no sum of them is
 * subnormal, so its flushing changes nothing). K is padded with zeros to 64; lanes are added up as everywhere.
 *
 * The two instructions are written in assembly, as the rest of the file that includes this runs without them.
 */
#ifndef BACKEND_CPU_FP8_PAIRS_H
#define BACKEND_CPU_FP8_PAIRS_H

#include <string.h>

#include "backend/cpu/fp8_simd.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/linear_simd.h"

#define PAIRS_UNIT CPU_CODE_UNIT

/* E4M3 codes 0 … 127 as BF16. */
static const uint16_t pairs_table[128] = {
    0x0000, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60, 0x3c80, 0x3c90, 0x3ca0, 0x3cb0, 0x3cc0,
    0x3cd0, 0x3ce0, 0x3cf0, 0x3d00, 0x3d10, 0x3d20, 0x3d30, 0x3d40, 0x3d50, 0x3d60, 0x3d70, 0x3d80, 0x3d90,
    0x3da0, 0x3db0, 0x3dc0, 0x3dd0, 0x3de0, 0x3df0, 0x3e00, 0x3e10, 0x3e20, 0x3e30, 0x3e40, 0x3e50, 0x3e60,
    0x3e70, 0x3e80, 0x3e90, 0x3ea0, 0x3eb0, 0x3ec0, 0x3ed0, 0x3ee0, 0x3ef0, 0x3f00, 0x3f10, 0x3f20, 0x3f30,
    0x3f40, 0x3f50, 0x3f60, 0x3f70, 0x3f80, 0x3f90, 0x3fa0, 0x3fb0, 0x3fc0, 0x3fd0, 0x3fe0, 0x3ff0, 0x4000,
    0x4010, 0x4020, 0x4030, 0x4040, 0x4050, 0x4060, 0x4070, 0x4080, 0x4090, 0x40a0, 0x40b0, 0x40c0, 0x40d0,
    0x40e0, 0x40f0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0x4180, 0x4190, 0x41a0,
    0x41b0, 0x41c0, 0x41d0, 0x41e0, 0x41f0, 0x4200, 0x4210, 0x4220, 0x4230, 0x4240, 0x4250, 0x4260, 0x4270,
    0x4280, 0x4290, 0x42a0, 0x42b0, 0x42c0, 0x42d0, 0x42e0, 0x42f0, 0x4300, 0x4310, 0x4320, 0x4330, 0x4340,
    0x4350, 0x4360, 0x4370, 0x4380, 0x4390, 0x43a0, 0x43b0, 0x43c0, 0x43d0, 0x43e0, 0x7fc0,
};

/* -- words */

/* Low bytes of codes 0 … 63 and 64 … 127, then the high bytes. */
typedef struct pairs_words {
  __m512i table[4];
} pairs_words;

/* sum += the two products of each pair, the odd one first. */
ALWAYS_INLINE vf pairs_fma(vf sum, __m512i x, __m512i w) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  return sum;
}

/* The same with x where it lies in memory, for tiles that have no register left for it. */
ALWAYS_INLINE vf pairs_fma_at(vf sum, const uint16_t *x, __m512i w) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const __m512i_u *)(const void *)x));
  return sum;
}

/* Bytes of a 128-entry table; an index's highest bit is not looked at. */
ALWAYS_INLINE __m512i pairs_permute(__m512i index, __m512i low, __m512i high) {
  __asm__("vpermi2b %2, %1, %0" : "+v"(index) : "v"(low), "v"(high));
  return index;
}

ALWAYS_INLINE __m512i pairs_bytes(const uint16_t *from, int shift) {
  const __m512i a = _mm512_srl_epi16(_mm512_loadu_si512(from), _mm_cvtsi32_si128(shift));
  const __m512i b = _mm512_srl_epi16(_mm512_loadu_si512(from + 32), _mm_cvtsi32_si128(shift));
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(a)), _mm512_cvtepi16_epi8(b), 1);
}

ALWAYS_INLINE pairs_words pairs_ready(void) {
  pairs_words p;
  UNROLL
  for (int i = 0; i < 4; i++) p.table[i] = pairs_bytes(pairs_table + 64 * (i % 2), i / 2 * 8);
  return p;
}

/* 64 codes as two vectors of pairs. */
ALWAYS_INLINE void pairs_widen(const pairs_words *p, __m512i codes, __m512i to[2]) {
  const __m512i low = pairs_permute(codes, p->table[0], p->table[1]);
  const __m512i high = _mm512_or_si512(pairs_permute(codes, p->table[2], p->table[3]),
                                       _mm512_and_si512(codes, _mm512_set1_epi8((char)0x80)));
  to[0] = _mm512_unpacklo_epi8(low, high);
  to[1] = _mm512_unpackhi_epi8(low, high);
}

/* 64 codes, or the first `count` and zeros. */
ALWAYS_INLINE __m512i pairs_codes(const uint8_t *from, size_t count) {
  return count >= PAIRS_UNIT ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi8(((__mmask64)1 << count) - 1, from);
}

/* -- few rows */

#define PAIRS_ROWS 4
#define PAIRS_COLS 4

ALWAYS_INLINE void pairs_few(int rows, int cols, const linear_args *a, const cpu_input *in, size_t i0, size_t n0) {
  fp8_ahead ahead = fp8_ahead_of(a->w, cols, n0);
  const size_t width = a->w->cols;
  const pairs_words p = pairs_ready();
  const uint16_t *x = in->pairs + i0 * in->code_stride;
  const uint8_t *w[PAIRS_COLS];
  vf sums[PAIRS_ROWS][PAIRS_COLS];
  UNROLL
  for (int j = 0; j < cols; j++) {
    w[j] = (const uint8_t *)a->w->data + (n0 + (size_t)j) * a->w->row_bytes;
    UNROLL
    for (int i = 0; i < rows; i++) sums[i][j] = v_zero();
  }
  for (size_t c = 0; c < width; c += PAIRS_UNIT) {
    __m512i wide[PAIRS_COLS][2];
    if (i0 == 0) fp8_ask(cols, 0, &ahead); /* the other rows of x find the codes in L1 */
    UNROLL
    for (int j = 0; j < cols; j++) {
      pairs_widen(&p, pairs_codes(w[j] + c, width - c), wide[j]);
    }
    UNROLL
    for (int h = 0; h < 2; h++) {
      UNROLL
      for (int i = 0; i < rows; i++) {
        const __m512i xv = _mm512_loadu_si512(x + (size_t)i * in->code_stride + c + (size_t)h * PAIRS_UNIT / 2);
        UNROLL
        for (int j = 0; j < cols; j++) sums[i][j] = pairs_fma(sums[i][j], xv, wide[j][h]);
      }
    }
  }
  UNROLL
  for (int j = 0; j < cols; j++) {
    const float scale = weight_row_scale(a->w, n0 + (size_t)j);
    UNROLL
    for (int i = 0; i < rows; i++) few_finish(a, in, i0 + (size_t)i, n0 + (size_t)j, v_sum(sums[i][j]) * scale);
  }
}

ALWAYS_INLINE void pairs_rows(int cols, const linear_args *a, const cpu_input *in, size_t n) {
  size_t i = 0;
  for (; i + PAIRS_ROWS <= a->m; i += PAIRS_ROWS) pairs_few(PAIRS_ROWS, cols, a, in, i, n);
  for (; i < a->m; i++) pairs_few(1, cols, a, in, i, n);
}

static __attribute__((noinline)) void few_pairs(const cpu_kernels *k, const linear_args *a, const cpu_input *in,
                                                size_t begin, size_t end) {
  size_t n = begin;
  (void)k;
  for (; n + PAIRS_COLS <= end; n += PAIRS_COLS) pairs_rows(PAIRS_COLS, a, in, n);
  for (; n < end; n++) pairs_rows(1, a, in, n);
}

/* -- many rows */

/* Two bytes a column, rows of whole units. */
static void pairs_fill(const cpu_kernels *k, const weight *w, size_t row, size_t rows, size_t col, size_t cols,
                       size_t stride, void *panel) {
  const pairs_words p = pairs_ready();
  uint16_t *to = panel;
  (void)k;
  for (size_t i = 0; i < rows; i++, to += stride) {
    const uint8_t *codes = (const uint8_t *)w->data + (row + i) * w->row_bytes + col;
    for (size_t c = 0; c < cols; c += PAIRS_UNIT) {
      __m512i wide[2];
      pairs_widen(&p, pairs_codes(codes + c, cols - c), wide);
      _mm512_storeu_si512(to + c, wide[0]);
      _mm512_storeu_si512(to + c + PAIRS_UNIT / 2, wide[1]);
    }
  }
  memset(to, 0, (CPU_PANEL_GROUP - 1 - (rows + CPU_PANEL_GROUP - 1) % CPU_PANEL_GROUP) * stride * sizeof *to);
}

ALWAYS_INLINE void pairs_tile(int tile_rows, const panel_job *job, size_t row, size_t col, float *lanes) {
  const uint16_t *x = (const uint16_t *)job->codes + row * job->code_stride;
  const uint16_t *w = (const uint16_t *)job->w + col * job->w_stride;
  panel_sums sums;
  panel_begin(tile_rows, job, lanes, sums);
  for (size_t c = 0; c < job->w_stride; c += PAIRS_UNIT / 2) {
    __m512i wv[CPU_PANEL_GROUP];
    UNROLL
    for (int j = 0; j < CPU_PANEL_GROUP; j++) wv[j] = _mm512_loadu_si512(w + (size_t)j * job->w_stride + c);
    UNROLL
    for (int i = 0; i < tile_rows; i++) {
      const __m512i xv = _mm512_loadu_si512(x + (size_t)i * job->code_stride + c);
      UNROLL
      for (int j = 0; j < CPU_PANEL_GROUP; j++) sums[i][j] = pairs_fma(sums[i][j], xv, wv[j]);
    }
  }
  panel_end(tile_rows, job, row, col, lanes, sums);
}

PANEL_OF_TILES(pairs_panel, pairs_tile)

static const cpu_panel pairs_form = {.column_bytes = sizeof(uint16_t),
                                     .most_columns = 2 * CPU_PANEL_K,
                                     .unit = PAIRS_UNIT,
                                     .codes = 1,
                                     .pairs = 1,
                                     .whole = 1,
                                     .fill = pairs_fill,
                                     .multiply = pairs_panel};

/* BF16 codes of rows, in the order of pairs_widen: 8 of each 16 go to each vector. They are exact: high halves. */
static void pairs_order(const float *values, uint16_t *codes, size_t count) {
  for (size_t c = 0; c < count; c += 16) {
    const __m512i bits = _mm512_srli_epi32(_mm512_castps_si512(v_load(values + c)), 16);
    const __m256i words = _mm512_cvtepi32_epi16(bits);
    uint16_t *to = codes + c / PAIRS_UNIT * PAIRS_UNIT + c % PAIRS_UNIT / 2;
    _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(words));
    _mm_storeu_si128((__m128i *)(void *)(to + PAIRS_UNIT / 2), _mm256_extracti128_si256(words, 1));
  }
}

static void pairs_kernels(cpu_kernels *k) {
  k->bf16_codes = pairs_order;
  k->integer_pairs = 1;
  for (input_mode mode = INPUT_E4M3; mode <= INPUT_INT4; mode++)
    k->product[0][WEIGHT_FP8][mode] = (cpu_product){few_pairs, &pairs_form};
}

#endif
