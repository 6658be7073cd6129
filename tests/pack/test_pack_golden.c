/* Packing: the bytes that tests/mk/mkgolden_pack.py makes of the same matrices with NumPy, and the values it reads back.
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

#include "number/mix.h"
#include "pack/pack.h"

typedef struct golden_line {
  char format[16];
  pack_spec spec;
  int keep, kind;
  size_t rows, cols;
  int scale;
  unsigned global;
  size_t bytes;
  unsigned long long hash, unpacked;
  char first[33];
} golden_line;

static weight_format format_named(const char *name) {
  static const char *const names[WEIGHT_FORMATS] = {"F32", "BF16", "F16", "FP8", "NVFP4", "INT8_24", "INT4_24"};
  for (int i = 0; i < WEIGHT_FORMATS; i++)
    if (strcmp(names[i], name) == 0) return (weight_format)i;
  fail_msg("format %s", name);
  return WEIGHT_F32;
}

static int read_line(FILE *file, golden_line *g) {
  int scale, search;
  memset(g, 0, sizeof *g);
  int found = fscanf(file, "%15s %u %d %d %d %d %d %d %zu %zu %d %x %zu %llx %llx %32s", g->format, &g->spec.block,
                     &scale, &search, &g->spec.multiplier, &g->spec.pairs, &g->keep, &g->kind, &g->rows, &g->cols,
                     &g->scale, &g->global, &g->bytes, &g->hash, &g->unpacked, g->first);
  if (found != 16) return 0;
  g->spec.format = format_named(g->format);
  g->spec.scale = (scale_type)scale;
  g->spec.search = (nvfp4_search)search;
  return 1;
}

/* As matrix() of the script. */
static float *make_matrix(const golden_line *g) {
  static const int exponents[5] = {-12, -3, -12, -149, 112};
  size_t count = g->rows * g->cols;
  int16_t *whole = malloc(count * sizeof *whole);
  float *values = malloc(count * sizeof *values);
  mix_bytes(((uint64_t)g->kind << 32) + g->cols, (uint8_t *)whole, count * sizeof *whole);
  for (size_t i = 0; i < count; i++) {
    const size_t row = i / g->cols, col = i % g->cols;
    double value = ldexp(g->kind == 1 ? floor(whole[i] / 4096.0) : whole[i], exponents[g->kind]);
    if (g->kind == 1 && value == 0 && col % 3 == 0) value = -0.0;
    if (g->kind == 2 && row == 1) value = 0;
    if (g->kind == 2 && row == 2) value = ldexp(value, -(int)(col / 16 % 24));
    values[i] = (float)value;
  }
  free(whole);
  return values;
}

static uint8_t *make_keep(const golden_line *g) {
  static const uint8_t pairs[6][2] = {{0, 1}, {0, 2}, {1, 2}, {0, 3}, {1, 3}, {2, 3}};
  uint8_t *keep = calloc(g->rows, g->cols);
  for (size_t r = 0; r < g->rows; r++)
    for (size_t group = 0; group < (g->cols + 3) / 4; group++)
      for (size_t i = 0; i < 2; i++) {
        size_t col = 4 * group + pairs[(7 * r + 5 * group) % 6][i];
        if (col < g->cols) keep[r * g->cols + col] = 1;
      }
  return keep;
}

static void check_same(const golden_line *g, const char *what, uint64_t found, uint64_t expected) {
  if (found == expected) return;
  fail_msg("%s block %u scale %d search %d multiplier %d pairs %d keep %d kind %d cols %zu: %s is %llx, expected %llx",
           g->format, g->spec.block, (int)g->spec.scale, (int)g->spec.search, g->spec.multiplier, g->spec.pairs,
           g->keep, g->kind, g->cols, what, (unsigned long long)found, (unsigned long long)expected);
}

static void check_line(const golden_line *g) {
  pack_spec spec = g->spec;
  pack_sizes sizes;
  pack_survey survey = {0};
  pack_place bad;
  float *values = make_matrix(g), *back = malloc(g->rows * g->cols * sizeof *back);
  uint8_t *mask = make_keep(g);
  const pack_keep keep = {mask, g->cols};
  assert_int_equal(pack_check_keep(&keep, g->rows, g->cols).found, 0);
  if (pack_needs_survey(&spec)) {
    pack_survey_rows(&spec, values, g->cols, 0, g->rows, g->cols, &survey);
    pack_settle(&spec, &survey);
  }
  assert_int_equal(pack_measure(&spec, g->rows, g->cols, &sizes), 0);
  check_same(g, "bytes", sizes.bytes, g->bytes);
  uint8_t *data = aligned_alloc(PACK_ALIGN, (sizes.bytes + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN);
  memset(data, 0, sizes.bytes);
  pack_rows(&spec, g->rows, g->cols, data, 0, g->rows, values, g->cols, g->keep ? &keep : NULL, &bad);
  assert_int_equal(bad.found, 0);
  const weight w = pack_view(&spec, g->rows, g->cols, data);
  check_same(g, "scale type", (uint64_t)w.scales_type, (uint64_t)g->scale);
  check_same(g, "global", f32_bits(w.global), g->global);
  char first[33];
  for (size_t i = 0; i < 16; i++) snprintf(first + 2 * i, 3, "%02x", data[i]);
  if (strcmp(first, g->first) != 0) print_message("first bytes %s, expected %s\n", first, g->first);
  uint64_t hash = 0, unpacked = 0;
  for (size_t i = 0; i < sizes.bytes; i++) hash += mix_at(data[i], i);
  check_same(g, "hash", hash, g->hash);
  unpack_rows(&w, 0, g->rows, back, g->cols);
  for (size_t i = 0; i < g->rows * g->cols; i++) unpacked += mix_at(mix_same_nan(f32_bits(back[i])), i);
  check_same(g, "unpacked", unpacked, g->unpacked);
  free(data);
  free(mask);
  free(back);
  free(values);
}

static void test_bytes_equal_numpy(void **state) {
  (void)state;
  char path[1024], text[256];
  snprintf(path, sizeof path, "%s/tests/golden/pack.txt", getenv("VIVA_SOURCE_DIR"));
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  assert_non_null(fgets(text, sizeof text, file));
  golden_line g;
  size_t lines = 0;
  for (; read_line(file, &g); lines++) {
    check_line(&g);
  }
  fclose(file);
  assert_int_equal(lines, 430);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes_equal_numpy)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
