/* Number formats: every code against ml_dtypes and numpy (tests/golden/numbers.txt), all 16-bit encodings, and the bulk
 * forms. test_small.c has the encodings to 8 and 4 bits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "number/bulk.h"
#include "number/mix.h"
#include "number/number.h"

#define CODES16 65536u
#define STEP    65537u /* of mkgolden_numbers.py's sweep */

static uint64_t golden(const char *name, unsigned *count) {
  char path[1024], found[64];
  unsigned long long hash;
  snprintf(path, sizeof path, "%s/tests/golden/numbers.txt", getenv("VIVA_SOURCE_DIR"));
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  while (fscanf(file, "%63s %u %llx", found, count, &hash) == 3) {
    if (strcmp(found, name) != 0) continue;
    fclose(file);
    return hash;
  }
  fail_msg("%s is not in %s", name, path);
  return 0;
}

#define CHECK_GOLDEN(name, expression)                                                                                 \
  do {                                                                                                                 \
    unsigned count;                                                                                                    \
    uint64_t expected = golden(name, &count), sum = 0;                                                                 \
    for (unsigned i = 0; i < count; i++) sum += mix_at(expression, i);                                                 \
    assert_int_equal(sum, expected);                                                                                   \
  } while (0)

static uint32_t bits_of(float value) { return mix_same_nan(f32_bits(value)); }

static void test_decode_equals_ml_dtypes(void **state) {
  (void)state;
  CHECK_GOLDEN("f16_decode", bits_of(f16_to_f32((uint16_t)i)));
  CHECK_GOLDEN("bf16_decode", bits_of(bf16_to_f32((uint16_t)i)));
  CHECK_GOLDEN("e4m3_decode", bits_of(e4m3_to_f32((uint8_t)i)));
  CHECK_GOLDEN("e5m2_decode", bits_of(e5m2_to_f32((uint8_t)i)));
  CHECK_GOLDEN("e8m0_decode", bits_of(e8m0_to_f32((uint8_t)i)));
  CHECK_GOLDEN("e2m1_decode", bits_of(e2m1_to_f32((uint8_t)i)));
  CHECK_GOLDEN("int4_decode", bits_of((float)int4_to_int((uint8_t)i)));
}

static uint16_t same_nan16(uint16_t code, uint16_t infinity, uint16_t nan) {
  return (code & 0x7fffu) > infinity ? nan : code;
}

static uint16_t f16_same_nan(float value) { return same_nan16(f16_from_f32(value), 0x7c00, 0x7e00); }
static uint16_t bf16_same_nan(float value) { return same_nan16(bf16_from_f32(value), 0x7f80, 0x7fc0); }

static void test_encode_equals_ml_dtypes(void **state) {
  (void)state;
  CHECK_GOLDEN("f16_encode", f16_same_nan(f32_from_bits(i * STEP)));
  CHECK_GOLDEN("bf16_encode", bf16_same_nan(f32_from_bits(i * STEP)));
}

/* Where the code changes, on the way through all 2^32 patterns, and to what. */
static void check_runs(uint16_t (*encode)(float), const char *firsts, const char *codes) {
  unsigned count, runs = 0;
  uint64_t first_sum = 0, code_sum = 0, first_golden = golden(firsts, &count), code_golden = golden(codes, &count);
  uint32_t last = UINT32_MAX;
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits++) {
    uint32_t code = encode(f32_from_bits((uint32_t)bits));
    if (code == last) continue;
    last = code;
    first_sum += mix_at(bits, runs);
    code_sum += mix_at(code, runs++);
  }
  assert_int_equal(runs, count);
  assert_int_equal(first_sum, first_golden);
  assert_int_equal(code_sum, code_golden);
}

/* Not needed on most days: the two tests of rounding below look at each change of the code. */
static void test_every_pattern_encodes_as_ml_dtypes(void **state) {
  (void)state;
  if (getenv("VIVA_SLOW") == NULL) {
    print_message("takes half a minute: set VIVA_SLOW\n");
    skip();
  }
  check_runs(f16_same_nan, "f16_firsts", "f16_codes");
  check_runs(bf16_same_nan, "bf16_firsts", "bf16_codes");
}

static void test_every_code_survives_a_round_trip(void **state) {
  (void)state;
  for (uint32_t code = 0; code < CODES16; code++) {
    int nan16 = (code & 0x7fffu) > 0x7c00u, nan_brain = (code & 0x7fffu) > 0x7f80u;
    assert_int_equal(f16_from_f32(f16_to_f32((uint16_t)code)), nan16 ? code | 0x0200u : code);
    assert_int_equal(bf16_from_f32(bf16_to_f32((uint16_t)code)), nan_brain ? code | 0x0040u : code);
  }
}

/* Around each F16 number: the middle goes to the even neighbour, the floats beside it to the nearer one. */
static void test_f16_rounds_to_nearest_even(void **state) {
  (void)state;
  for (uint16_t code = 0; code < 0x7bff; code++) {
    float low = f16_to_f32(code), high = f16_to_f32((uint16_t)(code + 1));
    float middle = low + (high - low) / 2; /* exact: one bit more than F16 has */
    assert_int_equal(f16_from_f32(middle), code % 2 == 0 ? code : code + 1);
    assert_int_equal(f16_from_f32(nextafterf(middle, low)), code);
    assert_int_equal(f16_from_f32(nextafterf(middle, high)), code + 1);
    assert_int_equal(f16_from_f32(-middle), (code % 2 == 0 ? code : code + 1) | 0x8000);
  }
  assert_int_equal(f16_from_f32(65519.996f), 0x7bff);
  assert_int_equal(f16_from_f32(65520.0f), 0x7c00);
}

static void test_bf16_rounds_to_nearest_even(void **state) {
  (void)state;
  for (uint32_t code = 0; code < 0x7f80; code++) {
    uint32_t middle = code << 16 | 0x8000u;
    assert_int_equal(bf16_from_f32(f32_from_bits(middle)), code + code % 2);
    assert_int_equal(bf16_from_f32(f32_from_bits(middle - 1)), code);
    assert_int_equal(bf16_from_f32(f32_from_bits(middle + 1)), code + 1);
  }
}

static const number_bulk *avx2_or_skip(void) {
  if (number_bulk_avx2() == NULL || !cpu_get()->avx2) {
    print_message("no AVX2 here\n");
    skip();
  }
  return number_bulk_avx2();
}

/* Every FP32 pattern whose number is a multiple of 61 (70 million), in chunks. */
static void test_avx2_encodes_as_scalar(void **state) {
  (void)state;
  enum { CHUNK = 8192, STRIDE = 61 };
  static uint32_t from[CHUNK];
  static uint16_t scalar[CHUNK], fast[CHUNK];
  const number_bulk *variant = avx2_or_skip();
  for (uint64_t bits = 0; bits <= UINT32_MAX;) {
    for (int i = 0; i < CHUNK; i++, bits += STRIDE) from[i] = (uint32_t)bits;
    number_bulk_scalar()->f16_from_f32(from, scalar, CHUNK);
    variant->f16_from_f32(from, fast, CHUNK);
    assert_memory_equal(scalar, fast, sizeof scalar);
    number_bulk_scalar()->bf16_from_f32(from, scalar, CHUNK);
    variant->bf16_from_f32(from, fast, CHUNK);
    assert_memory_equal(scalar, fast, sizeof scalar);
  }
}

static void test_avx2_decodes_as_scalar(void **state) {
  (void)state;
  static uint16_t codes[CODES16];
  static float scalar[CODES16], fast[CODES16];
  const number_bulk *variant = avx2_or_skip();
  for (uint32_t code = 0; code < CODES16; code++) codes[code] = (uint16_t)code;
  number_bulk_scalar()->f16_to_f32(codes, scalar, CODES16);
  variant->f16_to_f32(codes, fast, CODES16);
  assert_memory_equal(scalar, fast, sizeof scalar);
  number_bulk_scalar()->bf16_to_f32(codes, scalar, CODES16);
  variant->bf16_to_f32(codes, fast, CODES16);
  assert_memory_equal(scalar, fast, sizeof scalar);
}

typedef void (*convert)(const void *from, void *to, size_t count);

enum { MOST = 131 }; /* four steps of the widest variant, and a rest */

/* Each count, unaligned, in blocks of the exact size (the sanitizers see a read or a write too many). */
static void check_any_count(convert run, convert scalar, size_t from_bits, size_t to_bits) {
  for (size_t count = 0; count <= MOST; count++) {
    size_t from_bytes = (count * from_bits + 7) / 8, to_bytes = (count * to_bits + 7) / 8;
    uint8_t *from = malloc(1 + from_bytes), *to = malloc(1 + to_bytes);
    uint8_t expected[1 + MOST * 4];
    assert_true(from != NULL && to != NULL);
    mix_bytes(count << 32, from, 1 + from_bytes);
    run(from + 1, to + 1, count);
    scalar(from + 1, expected + 1, count);
    assert_memory_equal(to + 1, expected + 1, to_bytes);
    free(from);
    free(to);
  }
}

static void e4m3_scaled(const void *from, void *to, size_t count) { e4m3_scaled_from_f32_n(from, 0.1f, to, count); }
static void int8_scaled(const void *from, void *to, size_t count) { int8_scaled_from_f32_n(from, 0.1f, to, count); }

static void e4m3_scaled_slowly(const void *from, void *to, size_t count) {
  number_bulk_scalar()->e4m3_scaled_from_f32(from, 0.1f, to, count);
}

static void int8_scaled_slowly(const void *from, void *to, size_t count) {
  number_bulk_scalar()->int8_scaled_from_f32(from, 0.1f, to, count);
}

static void test_bulk_takes_any_count_and_address(void **state) {
  (void)state;
  const number_bulk *scalar = number_bulk_scalar();
  check_any_count(bf16_to_f32_n, scalar->bf16_to_f32, 16, 32);
  check_any_count(f16_to_f32_n, scalar->f16_to_f32, 16, 32);
  check_any_count(bf16_from_f32_n, scalar->bf16_from_f32, 32, 16);
  check_any_count(f16_from_f32_n, scalar->f16_from_f32, 32, 16);
  check_any_count(e4m3_to_f32_n, scalar->e4m3_to_f32, 8, 32);
  check_any_count(e5m2_to_f32_n, scalar->e5m2_to_f32, 8, 32);
  check_any_count(e8m0_to_f32_n, scalar->e8m0_to_f32, 8, 32);
  check_any_count(e2m1_to_f32_n, scalar->e2m1_to_f32, 4, 32);
  check_any_count(int4_to_f32_n, scalar->int4_to_f32, 4, 32);
  check_any_count(e4m3_from_f32_n, scalar->e4m3_from_f32, 32, 8);
  check_any_count(e5m2_from_f32_n, scalar->e5m2_from_f32, 32, 8);
  check_any_count(e8m0_from_f32_n, scalar->e8m0_from_f32, 32, 8);
  check_any_count(e2m1_from_f32_n, scalar->e2m1_from_f32, 32, 4);
  check_any_count(int4_from_f32_n, scalar->int4_from_f32, 32, 4);
  check_any_count(e4m3_scaled, e4m3_scaled_slowly, 32, 8);
  check_any_count(int8_scaled, int8_scaled_slowly, 32, 8);
}

static void test_first_nonfinite_is_found(void **state) {
  (void)state;
  float values[50];
  uint16_t codes[50];
  for (size_t count = 0; count <= 50; count++) {
    for (size_t at = 0; at <= count; at++) {
      for (size_t i = 0; i < 50; i++) values[i] = -65504.0f;
      if (at < count) values[at] = at % 2 == 0 ? INFINITY : NAN;
      if (at + 3 < count) values[at + 3] = -INFINITY;
      assert_int_equal(f32_find_nonfinite_n(values, count), at);
      bf16_from_f32_n(values, codes, 50);
      assert_int_equal(bf16_find_nonfinite_n(codes, count), at);
      f16_from_f32_n(values, codes, 50);
      assert_int_equal(f16_find_nonfinite_n(codes, count), at);
      assert_int_equal(number_bulk_scalar()->f16_find_nonfinite(codes, count), at);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_decode_equals_ml_dtypes),
      cmocka_unit_test(test_encode_equals_ml_dtypes),
      cmocka_unit_test(test_every_pattern_encodes_as_ml_dtypes),
      cmocka_unit_test(test_every_code_survives_a_round_trip),
      cmocka_unit_test(test_f16_rounds_to_nearest_even),
      cmocka_unit_test(test_bf16_rounds_to_nearest_even),
      cmocka_unit_test(test_avx2_encodes_as_scalar),
      cmocka_unit_test(test_avx2_decodes_as_scalar),
      cmocka_unit_test(test_bulk_takes_any_count_and_address),
      cmocka_unit_test(test_first_nonfinite_is_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
