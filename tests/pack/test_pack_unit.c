/* pack/pack_unit.h: rows packed unit by unit, as a GPU's threads do it, have the bytes of pack_rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "pack/pack_cases.h"
#include "pack/pack_kernels.h"
#include "pack/pack_unit.h"

enum { ROWS = 7, MOST_COLS = 1100 };

/* The row's values of a unit, zeros behind the last; returns the bits of its largest. */
static uint32_t load_unit(const float *row, size_t cols, size_t u, float v[PACK_UNIT], int *nonfinite) {
  for (size_t i = 0; i < PACK_UNIT; i++) v[i] = u * PACK_UNIT + i < cols ? row[u * PACK_UNIT + i] : 0;
  return pack_unit_largest(v, nonfinite);
}

/* Of units [first, last). */
static uint32_t stored_scale(const pack_spec *spec, const float *row, size_t cols, size_t first, size_t last) {
  float v[PACK_UNIT];
  uint32_t most = 0;
  for (size_t u = first; u < last; u++) {
    int nonfinite;
    const uint32_t largest = load_unit(row, cols, u, v, &nonfinite);
    most = largest > most ? largest : most;
  }
  return pack_scale_code(pack_scale_type(spec), pack_exact_scale(pack_largest(spec->format), f32_from_bits(most)));
}

static void store(uint8_t *to, uint32_t bits, size_t bytes) { memcpy(to, &bits, bytes); }

static void pack_by_units(const pack_spec *spec, const nvfp4_table *table, const float *row, size_t cols,
                          uint8_t *codes, uint8_t *scales) {
  const size_t units = pack_unit_count(spec->format, cols), block = pack_block(spec);
  const size_t together = block ? block / PACK_UNIT : units, bytes = scale_bytes(pack_scale_type(spec));
  float v[PACK_UNIT];
  for (size_t u = 0; u < units; u++) {
    uint32_t words[PACK_UNIT / 4] = {0}, index = 0;
    uint8_t *to = codes + pack_unit_code_at(spec->format, u);
    int nonfinite;
    const uint32_t largest = load_unit(row, cols, u, v, &nonfinite);
    if (spec->format == WEIGHT_NVFP4) {
      const uint32_t scale = pack_nvfp4_scale(spec, table, v, f32_from_bits(largest));
      pack_unit_nvfp4(table, v, scale, words);
      memcpy(to, words, NVFP4_BLOCK_BYTES);
      scales[u] = (uint8_t)scale;
      continue;
    }
    const size_t first = u / together * together;
    const uint32_t scale = stored_scale(spec, row, cols, first, first + together);
    pack_division by = pack_divide_by(pack_scale_value(pack_scale_type(spec), scale));
    by.plain |= nonfinite < PACK_UNIT;
    if (u == first && u * PACK_UNIT < cols) store(scales + u / together * bytes, scale, bytes);
    if (spec->format == WEIGHT_FP8) {
      pack_unit_fp8(v, by, words);
      memcpy(to, words, cols - u * PACK_UNIT < PACK_UNIT ? cols - u * PACK_UNIT : PACK_UNIT);
      continue;
    }
    if (spec->format == WEIGHT_INT8_24)
      index = pack_unit_int8(v, spec->pairs, by, words);
    else
      index = pack_unit_int4(v, spec->pairs, by, words);
    memcpy(to, words, spec->format == WEIGHT_INT8_24 ? PACK_UNIT_KEPT : PACK_UNIT_KEPT / 2);
    store(codes + pack_unit_index_at(spec->format, u), index, PACK_UNIT_INDEX);
  }
}

static void one_case(pack_spec spec, size_t cols, uint64_t seed, int wild) {
  float values[MOST_COLS];
  pack_survey survey = {0};
  nvfp4_table table = {{0}, {0}};
  pack_sizes sizes;
  pack_place bad;
  spec.allow_nonfinite = wild;
  assert_int_equal(pack_measure(&spec, ROWS, cols, &sizes), 0);
  uint8_t *expected = calloc(1, sizes.bytes), *made = calloc(1, sizes.bytes);
  for (size_t r = 0; r < ROWS; r++) {
    pack_case_fill(values, cols, seed * ROWS + r, wild);
    pack_survey_rows(&spec, values, cols, r, 1, cols, &survey);
  }
  if (pack_needs_survey(&spec)) pack_settle(&spec, &survey);
  assert_int_equal(pack_measure(&spec, ROWS, cols, &sizes), 0);
  expected = realloc(expected, sizes.bytes), made = realloc(made, sizes.bytes);
  memset(expected, 0, sizes.bytes), memset(made, 0, sizes.bytes);
  if (spec.format == WEIGHT_NVFP4) nvfp4_make_table(&spec, &table);
  for (size_t r = 0; r < ROWS; r++) {
    pack_case_fill(values, cols, seed * ROWS + r, wild);
    pack_rows(&spec, ROWS, cols, expected, r, 1, values, cols, NULL, &bad);
    pack_by_units(&spec, &table, values, cols, made + r * sizes.row_bytes,
                  made + sizes.scales_offset + r * sizes.scale_row_bytes);
  }
  assert_memory_equal(made, expected, sizes.bytes);
  free(expected), free(made);
}

static void test_units_make_the_rows(void **state) {
  static const size_t columns[] = {1, 2, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100, 127, 128, 129, 576, 1024, 1099};
  (void)state;
  for (size_t s = 0; s < PACK_CASES; s++)
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
      for (uint64_t seed = 0; seed < 6; seed++) one_case(pack_cases[s], columns[c], seed * 977 + c, seed % 2 == 1);
}

static void test_place_of_the_first_that_is_not_finite(void **state) {
  float v[PACK_UNIT] = {1, -3, 2};
  int nonfinite;
  (void)state;
  assert_int_equal(pack_unit_largest(v, &nonfinite), f32_bits(3));
  assert_int_equal(nonfinite, PACK_UNIT);
  v[9] = f32_from_bits(0xff800000u), v[4] = f32_from_bits(0x7fc00000u);
  assert_int_equal(pack_unit_largest(v, &nonfinite), f32_bits(3));
  assert_int_equal(nonfinite, 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_units_make_the_rows),
      cmocka_unit_test(test_place_of_the_first_that_is_not_finite),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
