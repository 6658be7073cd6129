/* Rows packed on the GPU: the bytes of pack_rows, from values of each type and any strides; the first value that is not finite;
 * and the speed beside plain copying in the same run, as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "lib/cuda_kit.h"
#include "pack/pack_cases.h"

enum { ROWS = 5, AROUND = 64 /* bytes that nobody may write */ };

static cuda_kit kit;

/* ---- values */

typedef struct case_values {
  viva_dtype dtype;
  size_t cols;
  float *rows;   /* [ROWS][cols]: what the GPU's values are in FP32 */
  void *outside; /* dev */
  outer_rows from;
} case_values;

static size_t bytes_of(viva_dtype type) { return type == VIVA_F32 ? 4 : 2; }

static void put_value(viva_dtype type, uint8_t *to, float *value) {
  if (type == VIVA_F32) memcpy(to, value, sizeof *value);
  if (type == VIVA_F32) return;
  const uint16_t code = type == VIVA_F16 ? f16_from_f32(*value) : bf16_from_f32(*value);
  memcpy(to, &code, sizeof code);
  *value = type == VIVA_F16 ? f16_to_f32(code) : bf16_to_f32(code);
}

/* layout 0: rows one after another; 1: columns one after another; 2: every third value, from an odd place on. */
static case_values make_values(viva_dtype type, size_t cols, int layout, uint64_t seed, int wild) {
  const ptrdiff_t row_stride = layout == 1 ? 1 : (ptrdiff_t)cols * (layout == 2 ? 3 : 1);
  const ptrdiff_t col_stride = layout == 1 ? ROWS : layout == 2 ? 3 : 1;
  const size_t bytes = bytes_of(type), first = layout == 2 ? 1 : 0, all = (ROWS * cols * 3 + 1) * bytes;
  case_values v = {.dtype = type, .cols = cols, .rows = malloc(ROWS * cols * sizeof(float))};
  uint8_t *outside = calloc(1, all);
  for (size_t r = 0; r < ROWS; r++) {
    pack_case_fill(v.rows + r * cols, cols, seed * ROWS + r, wild);
    for (size_t c = 0; c < cols; c++)
      put_value(type, outside + (first + r * (size_t)row_stride + c * (size_t)col_stride) * bytes,
                &v.rows[r * cols + c]);
  }
  v.outside = cuda_kit_put(&kit, outside, all);
  v.from = (outer_rows){type, (uint8_t *)v.outside + first * bytes, row_stride, col_stride};
  free(outside);
  return v;
}

/* ---- the same bytes */

static pack_spec settled(pack_spec spec, const case_values *v) {
  pack_survey survey = {0};
  if (!pack_needs_survey(&spec)) return spec;
  pack_survey_rows(&spec, v->rows, v->cols, 0, ROWS, v->cols, &survey);
  pack_settle(&spec, &survey);
  return spec;
}

/* Rows [1, ROWS) of a matrix of one row more; the first and the last stay. */
static void same_bytes(pack_spec spec, viva_dtype type, size_t cols, int layout, uint64_t seed, int wild) {
  case_values v = make_values(type, cols, layout, seed, wild);
  pack_sizes sizes;
  pack_place bad = {0};
  spec.allow_nonfinite = wild || type == VIVA_F16; /* which has made infinities of large values */
  spec = settled(spec, &v);
  assert_int_equal(pack_measure(&spec, ROWS + 2, cols, &sizes), 0);
  const size_t all = sizes.bytes + AROUND;
  uint8_t *expected = malloc(all), *got = malloc(all), *dev = cuda_kit_put(&kit, NULL, all);
  memset(expected, 0xff, all);
  pack_rows(&spec, ROWS + 2, cols, expected, 1, ROWS, v.rows, cols, NULL, NULL);
  assert_int_equal(kit.ops->pack_rows(kit.b, &spec, ROWS + 2, cols, dev, 1, ROWS, &v.from, &bad, NULL), VIVA_OK);
  cuda_kit_get(&kit, got, dev, all);
  for (size_t i = 0; i < all; i++)
    if (got[i] != expected[i])
      fail_msg(
          "format %d, block %u, scale %d, search %d, type %d, %zu columns, layout %d, seed %llu: byte %zu of %zu is "
          "%02x; the CPU has %02x",
          (int)spec.format, spec.block, (int)spec.scale, (int)spec.search, (int)type, cols, layout,
          (unsigned long long)seed, i, all, got[i], expected[i]);
  assert_false(bad.found);
  cuda_kit_drop(&kit);
  free(expected), free(got), free(v.rows);
}

static void bytes_of_the_host(void **state) {
  static const size_t columns[] = {1, 2, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100, 128, 129, 576, 1099, 4096, 5000};
  static const viva_dtype types[] = {VIVA_F32, VIVA_BF16, VIVA_F16};
  (void)state;
  for (size_t s = 0; s < PACK_CASES; s++)
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
      for (uint64_t seed = 0; seed < 6; seed++)
        same_bytes(pack_cases[s], types[seed % 3], columns[c], (int)((seed + c) % 3), seed * 977 + c, seed >= 3);
}

/* ---- the first value that is not finite */

static void place_of_the_first(void **state) {
  enum { COLS = 4096 };
  static const size_t places[][2] = {{0, 0}, {3, 4095}, {4, 17}, {2, 2049}};
  (void)state;
  for (size_t s = 0; s < PACK_CASES; s++)
    for (size_t i = 0; i < 4; i++) {
      const size_t row = places[i][0], col = places[i][1], later = (row * COLS + col) / 2 + ROWS * COLS / 2;
      float *values = malloc(ROWS * COLS * sizeof *values);
      pack_sizes sizes;
      pack_place bad = {0};
      for (size_t r = 0; r < ROWS; r++) pack_case_fill(values + r * COLS, COLS, r, 0);
      values[row * COLS + col] = f32_from_bits(i % 2 ? 0x7fc00000u : 0xff800000u);
      values[later] = f32_from_bits(0x7f800000u);
      const outer_rows from = {VIVA_F32, cuda_kit_put(&kit, values, ROWS * COLS * sizeof *values), COLS, 1};
      assert_int_equal(pack_measure(&pack_cases[s], ROWS + 3, COLS, &sizes), 0);
      void *dev = cuda_kit_put(&kit, NULL, sizes.bytes);
      pack_spec spec = pack_cases[s];
      spec.global = 1;
      assert_int_equal(kit.ops->pack_rows(kit.b, &spec, ROWS + 3, COLS, dev, 3, ROWS, &from, &bad, NULL), VIVA_OK);
      assert_true(bad.found && bad.row == 3 + row && bad.col == col);
      cuda_kit_drop(&kit);
      free(values);
    }
}

/* ---- speed */

static double seconds_of(const pack_spec *spec, const outer_rows *from, void *to, void *copy_to, size_t rows,
                         size_t cols) {
  enum { TIMES = 20 };
  double best = 1e9;
  uint8_t byte;
  for (int i = 0; i < 5; i++) {
    cuda_kit_get(&kit, &byte, to, 1);
    const uint64_t begin = clock_ns();
    for (int t = 0; t < TIMES; t++) {
      const viva_status status =
          spec ? kit.ops->pack_rows(kit.b, spec, rows, cols, to, 0, rows, from, NULL, NULL)
               : kit.ops->copy(kit.b, copy_to, from->data, rows * cols * bytes_of(from->dtype) / 2, NULL);
      assert_int_equal(status, VIVA_OK);
    }
    cuda_kit_get(&kit, &byte, to, 1);
    const double took = (double)(clock_ns() - begin) * 1e-9 / TIMES;
    best = took < best ? took : best;
  }
  return best;
}

static void speed(void **state) {
  enum { SIDE = 8192 };
  static const viva_dtype types[] = {VIVA_F32, VIVA_BF16};
  (void)state;
  printf("| values | format | us | GB/s | of a copy |\n");
  for (size_t t = 0; t < 2; t++) {
    const size_t read = (size_t)SIDE * SIDE * bytes_of(types[t]);
    float *values = malloc((size_t)SIDE * SIDE * sizeof *values);
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i++) {
      values[i] = (float)((double)(mix64(i) >> 11) * 0x1p-53 - 0.5);
      if (types[t] == VIVA_BF16) ((uint16_t *)(void *)values)[i] = bf16_from_f32(values[i]);
    }
    const outer_rows from = {types[t], cuda_kit_put(&kit, values, read), SIDE, 1};
    void *to = cuda_kit_put(&kit, values, read);
    const double copied = (double)read / seconds_of(NULL, &from, to, to, SIDE, SIDE); /* half read, half written */
    for (size_t s = 0; s < PACK_CASES; s++) {
      pack_spec spec = pack_cases[s];
      pack_sizes sizes;
      spec.global = 2688 / 0.5f, spec.allow_nonfinite = 1;
      assert_int_equal(pack_measure(&spec, SIDE, SIDE, &sizes), 0);
      const double took = seconds_of(&spec, &from, to, NULL, SIDE, SIDE), rate = (double)(read + sizes.bytes) / took;
      printf("| %s | %d block %u scale %d search %d pairs %d | %.1f | %.0f | %.2f |\n", t ? "BF16" : "F32",
             (int)spec.format, spec.block, (int)spec.scale, (int)spec.search, spec.pairs, took * 1e6, rate / 1e9,
             rate / copied);
    }
    cuda_kit_drop(&kit);
    free(values);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_of_the_host),
      cmocka_unit_test(place_of_the_first),
      cmocka_unit_test(speed),
  };
  const int skip = cuda_kit_open(&kit, 16, 64, 64);
  if (skip) return skip;
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  cuda_kit_close(&kit);
  return failed;
}
