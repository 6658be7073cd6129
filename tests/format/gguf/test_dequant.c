/* Dequantisation: bit for bit as the gguf package decodes the same random blocks (tests/golden/dequant.txt), and the
 * AVX2 variants as the plain C. All NaN count as the same: which NaN comes out is the processor's choice, in the
 * reference too.
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
#include "format/gguf/dequant.h"
#include "number/mix.h"
#include "number/number.h"

#define VALUES  (1u << 18) /* of each type, as in mkgolden_dequant.py */
#define SAMPLES 16

typedef struct golden_line {
  char name[16];
  unsigned id, blocks;
  unsigned long long hash;
  unsigned samples[SAMPLES];
} golden_line;

static int read_line(FILE *file, golden_line *line) {
  if (fscanf(file, "%15s %u %u %llx", line->name, &line->id, &line->blocks, &line->hash) != 4) return 0;
  for (int i = 0; i < SAMPLES; i++) assert_int_equal(fscanf(file, "%x", &line->samples[i]), 1);
  return 1;
}

static FILE *open_golden(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s/tests/golden/dequant.txt", getenv("VIVA_SOURCE_DIR"));
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  return file;
}

/* The line's blocks, at an odd address. */
static uint8_t *make_blocks(const golden_line *line, file_type *type) {
  uint64_t bytes;
  assert_int_equal(type_from_gguf(line->id, type), 1);
  assert_string_equal(type_name(*type), line->name);
  assert_int_equal(type_bytes(*type, VALUES, &bytes), 0);
  uint8_t *data = malloc(bytes + 1);
  assert_non_null(data);
  mix_bytes((uint64_t)line->id << 32, data + 1, bytes);
  return data;
}

static void check_values(const golden_line *line, const float *values) {
  uint64_t sum = 0;
  for (size_t i = 0; i < VALUES; i++) sum += mix_at(mix_same_nan(f32_bits(values[i])), i);
  for (size_t i = 0, at = 0; i < SAMPLES; i++, at += VALUES / SAMPLES + 1) {
    unsigned found = mix_same_nan(f32_bits(values[at]));
    if (found != line->samples[i]) print_message("%s: value %zu: %08x\n", line->name, at, found);
    assert_int_equal(found, line->samples[i]);
  }
  assert_int_equal(sum, line->hash);
}

static void test_scalar_equals_gguf_package(void **state) {
  (void)state;
  float *values = malloc(VALUES * sizeof *values);
  golden_line line;
  size_t lines = 0;
  FILE *file = open_golden();
  for (; read_line(file, &line); lines++) {
    file_type type;
    uint8_t *data = make_blocks(&line, &type);
    assert_non_null(type_get(type)->dequant);
    type_get(type)->dequant(data + 1, values, VALUES);
    check_values(&line, values);
    free(data);
  }
  fclose(file);
  free(values);
  assert_int_equal(lines, 17);
}

static void test_type_dequant_equals_gguf_package(void **state) {
  (void)state;
  float *values = malloc(VALUES * sizeof *values);
  golden_line line;
  FILE *file = open_golden();
  while (read_line(file, &line)) {
    file_type type;
    uint8_t *data = make_blocks(&line, &type);
    assert_int_equal(type_dequant(type, data + 1, values, VALUES, NULL), VIVA_OK);
    check_values(&line, values);
    free(data);
  }
  fclose(file);
  free(values);
}

/* Every type with an AVX2 variant, for one, two and three blocks in memory of the exact size. */
static void test_avx2_equals_scalar_for_few_blocks(void **state) {
  (void)state;
  if (!cpu_get()->avx2) {
    print_message("no AVX2 here\n");
    skip();
  }
  size_t variants = 0;
  for (int t = 0; t < TYPE_COUNT; t++) {
    dequant_fn variant = dequant_avx2((file_type)t);
    if (variant == NULL) continue;
    variants++;
    for (size_t blocks = 0; blocks <= 3; blocks++) {
      size_t count = blocks * type_get((file_type)t)->block_elements;
      uint64_t bytes;
      assert_int_equal(type_bytes((file_type)t, count, &bytes), 0);
      uint8_t *data = malloc(bytes + 1);
      float *scalar = calloc(count + 1, sizeof *scalar), *fast = calloc(count + 1, sizeof *fast);
      mix_bytes(blocks << 40, data, bytes);
      type_get((file_type)t)->dequant(data, scalar, count);
      variant(data, fast, count);
      for (size_t i = 0; i < count; i++) {
        assert_int_equal(mix_same_nan(f32_bits(fast[i])), mix_same_nan(f32_bits(scalar[i])));
      }
      assert_true(fast[count] == 0);
      free(data);
      free(scalar);
      free(fast);
    }
  }
  assert_int_equal(variants, 14);
}

static void test_safetensors_types(void **state) {
  (void)state;
  static const double doubles[3] = {1.0 + 0x1p-30, -0.1, 1e300};
  static const uint8_t codes[3] = {0x7e, 0xb8, 0x01};
  float values[6];
  assert_int_equal(type_dequant(TYPE_F64, doubles, values, 3, NULL), VIVA_OK);
  assert_true(values[0] == 1.0f && values[1] == -0.1f && isinf(values[2]));
  assert_int_equal(type_dequant(TYPE_F8_E4M3, codes, values, 3, NULL), VIVA_OK);
  assert_true(values[0] == 448.0f && values[1] == -1.0f && values[2] == 0x1p-9f);
  assert_int_equal(type_dequant(TYPE_F8_E5M2, codes, values, 3, NULL), VIVA_OK);
  assert_true(isnan(values[0]) && values[1] == -0.5f && values[2] == 0x1p-16f);
  assert_int_equal(type_dequant(TYPE_F8_E8M0, codes, values, 3, NULL), VIVA_OK);
  assert_true(values[0] == 0.5f && values[1] == 0x1p57f && values[2] == 0x1p-126f);
  assert_int_equal(type_dequant(TYPE_F4, codes, values, 6, NULL), VIVA_OK);
  static const float fours[6] = {-4, 6, -0.0f, -1.5f, 0.5f, 0};
  assert_memory_equal(values, fours, sizeof fours - 4);
}

static void test_other_types_are_refused_by_name(void **state) {
  (void)state;
  viva_error error;
  float value;
  assert_int_equal(type_dequant(TYPE_IQ2_XS, "", &value, 0, &error), VIVA_E_UNSUPPORTED);
  assert_non_null(strstr(error.message, "IQ2_XS"));
  assert_non_null(strstr(error.message, "Q4_K"));
  assert_non_null(strstr(error.message, "NVFP4")); /* the last of the list: it is not cut */
  assert_int_equal(type_dequant(TYPE_I32, "", &value, 0, NULL), VIVA_E_UNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scalar_equals_gguf_package),        cmocka_unit_test(test_type_dequant_equals_gguf_package),
      cmocka_unit_test(test_avx2_equals_scalar_for_few_blocks), cmocka_unit_test(test_safetensors_types),
      cmocka_unit_test(test_other_types_are_refused_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
