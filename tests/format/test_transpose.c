/* Transposing: exact for every shape, alignment and kernel; refused when sizes contradict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "format/transpose.h"
#include "viva/checkpoint.h"

enum { LARGEST = 67, GUARD = 64 };

/* Element (r, c) has bits of its own, many of them NaNs: bits must move, not values. */
static uint32_t element(size_t r, size_t c) { return 0x7f800000u + (uint32_t)(r * 70001 + c * 13 + 1); }

static void fill(uint8_t *from, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++) {
      uint32_t bits = element(r, c);
      memcpy(from + (r * cols + c) * 4, &bits, 4);
    }
}

static void check(const uint8_t *to, size_t rows, size_t cols) {
  for (size_t c = 0; c < cols; c++)
    for (size_t r = 0; r < rows; r++) {
      uint32_t bits;
      memcpy(&bits, to + (c * rows + r) * 4, 4);
      if (bits != element(r, c)) fail_msg("%zu x %zu: row %zu, column %zu is wrong", rows, cols, r, c);
    }
}

/* Transposes with from and to shift bytes off their alignment; looks for writes beside the result. */
static void check_shape(size_t rows, size_t cols, size_t from_shift, size_t to_shift) {
  size_t bytes = rows * cols * 4;
  uint8_t *from = malloc(bytes + GUARD), *to = malloc(bytes + 2 * GUARD);
  fill(from + from_shift, rows, cols);
  memset(to, 0xA5, bytes + 2 * GUARD);
  uint8_t *result = to + GUARD / 2 + to_shift;
  assert_int_equal(viva_transpose_f32(from + from_shift, result, rows, cols, bytes, NULL), VIVA_OK);
  check(result, rows, cols);
  for (uint8_t *p = to; p < result; p++) assert_int_equal(*p, 0xA5);
  for (uint8_t *p = result + bytes; p < to + bytes + 2 * GUARD; p++) assert_int_equal(*p, 0xA5);
  free(from);
  free(to);
}

static void test_all_sides_to_67(void **state) {
  (void)state;
  for (size_t rows = 0; rows <= LARGEST; rows++)
    for (size_t cols = 0; cols <= LARGEST; cols++) check_shape(rows, cols, 0, 0);
}

static void test_alignments(void **state) {
  (void)state;
  for (size_t shift = 0; shift < 20; shift++) {
    check_shape(65, 49, shift, 0);
    check_shape(64, 48, 0, shift);
    check_shape(33, 80, shift, 19 - shift);
  }
}

/* Large enough to be written around the caches, with and without a rest, aligned or not. */
static void test_large(void **state) {
  (void)state;
  check_shape(2048, 1024, 0, 0);
  check_shape(1024, 2048, 4, 4);
  check_shape(1030, 1040, 0, 0);
  for (size_t shift = 4; shift < 64; shift += 12) check_shape(1040, 1024, shift, shift); /* a line's every beginning */
  check_shape(1040, 1024, 0, 60);
  check_shape(16, 65536, 60, 4); /* fewer rows than lie before a line */
  check_shape(1056, 1033, 0, 0);
  check_shape(1, 2000003, 0, 0);
  check_shape(2000003, 1, 0, 0);
  check_shape(32, 40000, 0, 0);
  check_shape(40000, 16, 0, 0);
  check_shape(40000, 63, 0, 0);
}

/* The plain code on a machine whose own kernel would hide it: tiles that are left are turned by it everywhere. */
static void test_streamed_tiles(void **state) {
  (void)state;
#if defined(__x86_64__)
  if (!cpu_get()->avx2) skip();
  enum { ROWS = 96, COLS = 80 };
  _Alignas(64) static uint8_t from[ROWS * COLS * 4], to[ROWS * COLS * 4];
  fill(from, ROWS, COLS);
  for (int stream = 0; stream < 2; stream++) {
    memset(to, 0, sizeof to);
    transpose_tiles_avx2(from, to, ROWS, COLS, ROWS, stream);
    check(to, ROWS, COLS);
  }
#else
  skip();
#endif
}

static void test_wrong_arguments(void **state) {
  (void)state;
  float a[12] = {0}, b[12];
  viva_error error = {0};
  assert_int_equal(viva_transpose_f32(a, b, 3, 4, 47, &error), VIVA_E_SIZE);
  assert_non_null(strstr(error.message, "47"));
  assert_int_equal(viva_transpose_f32(a, b, 3, 4, 52, &error), VIVA_E_SIZE);
  assert_int_equal(viva_transpose_f32(a, b, 3, 4, 0, &error), VIVA_E_SIZE);
  assert_int_equal(viva_transpose_f32(a, b, 0, 4, 4, &error), VIVA_E_SIZE);
  assert_int_equal(viva_transpose_f32(a, b, SIZE_MAX, 2, 48, &error), VIVA_E_SIZE);
  assert_int_equal(viva_transpose_f32(a, b, (size_t)1 << 62, 1, 0, &error), VIVA_E_SIZE); /* × 4 wraps to 0 */
  assert_int_equal(viva_transpose_f32(a, b, (size_t)1 << 32, (size_t)1 << 32, 0, &error), VIVA_E_SIZE);
  assert_int_equal(viva_transpose_f32(NULL, b, 3, 4, 48, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_transpose_f32(a, NULL, 3, 4, 48, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_transpose_f32(a, a, 3, 4, 48, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_transpose_f32(a, (char *)a + 44, 3, 4, 48, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_transpose_f32((char *)a + 44, a, 3, 4, 48, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_transpose_f32(NULL, NULL, 0, 4, 0, &error), VIVA_OK);
  assert_int_equal(viva_transpose_f32(a, b, 3, 4, 40, NULL), VIVA_E_SIZE);
}

/* Exact for every code, NaN payloads included. */
static void test_bf16_to_f32(void **state) {
  (void)state;
  static uint16_t codes[65536 + 1];
  static float values[65536 + 1];
  for (size_t shift = 0; shift < 2; shift++) { /* both unaligned the second time */
    uint8_t *from = (uint8_t *)codes + shift, *to = (uint8_t *)values + shift;
    for (uint32_t i = 0; i < 65536; i++) {
      uint16_t code = (uint16_t)i;
      memcpy(from + i * 2, &code, 2);
    }
    viva_bf16_to_f32(from, to, 65536);
    for (uint32_t i = 0; i < 65536; i++) {
      uint32_t bits;
      memcpy(&bits, to + i * 4, 4);
      assert_int_equal(bits, i << 16);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_sides_to_67), cmocka_unit_test(test_alignments),
      cmocka_unit_test(test_large),           cmocka_unit_test(test_streamed_tiles),
      cmocka_unit_test(test_wrong_arguments), cmocka_unit_test(test_bf16_to_f32),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
