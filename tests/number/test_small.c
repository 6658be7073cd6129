/* The 8-bit and 4-bit formats: what becomes of each FP32 pattern, against ml_dtypes (tests/golden/number_runs.txt, all
 * 2^32 of them), for the scalar definition and both variants. Every 211th pattern and all around each change of the
 * code; with VIVA_SLOW set every pattern.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "number/bulk.h"
#include "number/mix.h"
#include "number/number.h"

enum { CHUNK = 8192, MOST_RUNS = 600, NEAR = 40 };

/* All patterns from first up to the next run's first become code. */
typedef struct run {
  uint32_t first;
  uint8_t code;
} run;

typedef struct run_table {
  run runs[MOST_RUNS];
  size_t count;
} run_table;

static run_table golden_runs(const char *format) {
  char path[1024], found[32];
  unsigned first, code;
  run_table table = {.count = 0};
  snprintf(path, sizeof path, "%s/tests/golden/number_runs.txt", getenv("VIVA_SOURCE_DIR"));
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  while (fscanf(file, "%31s %x %x", found, &first, &code) == 3) {
    if (strcmp(found, format) != 0) continue;
    assert_true(table.count < MOST_RUNS);
    table.runs[table.count++] = (run){first, (uint8_t)code};
  }
  fclose(file);
  assert_true(table.count > 0 && table.runs[0].first == 0);
  return table;
}

typedef void (*convert)(const void *from, void *to, size_t count);

/* A format; the bulk forms may be NULL. */
typedef struct format {
  const char *name;
  uint8_t (*scalar)(float value);
  convert bulk[2]; /* the scalar variant and AVX2's */
  unsigned bits;
} format;

static uint8_t int8_bits(float value) { return (uint8_t)int8_from_f32(value); }

/* INT8 has no bulk form but the scaled one. */
static void int8_bulk_scalar(const void *from, void *to, size_t count) {
  number_bulk_scalar()->int8_scaled_from_f32(from, 1.0f, to, count);
}

static void int8_bulk_avx2(const void *from, void *to, size_t count) {
  number_bulk_avx2()->int8_scaled_from_f32(from, 1.0f, to, count);
}

static const number_bulk *avx2_or_scalar(void) {
  int usable = number_bulk_avx2() != NULL && cpu_get()->avx2;
  return usable ? number_bulk_avx2() : number_bulk_scalar();
}

static unsigned code_at(const uint8_t *codes, size_t i, unsigned bits) {
  if (bits == 8) return codes[i];
  unsigned byte = codes[i / 2];
  return i % 2 == 0 ? byte & 0xfu : byte >> 4;
}

static void check_patterns(const format *f, const uint32_t *patterns, const uint8_t *expected, size_t count) {
  static uint8_t codes[CHUNK];
  for (size_t i = 0; i < count; i++) {
    uint8_t code = f->scalar(f32_from_bits(patterns[i]));
    if (code != expected[i]) fail_msg("%s of %08x: %02x, not %02x", f->name, patterns[i], code, expected[i]);
  }
  for (int variant = 0; variant < 2 && f->bulk[variant] != NULL; variant++) {
    f->bulk[variant](patterns, codes, count);
    for (size_t i = 0; i < count; i++) {
      unsigned code = code_at(codes, i, f->bits);
      if (code != expected[i]) {
        fail_msg("%s of %08x, variant %d: %02x, not %02x", f->name, patterns[i], variant, code, expected[i]);
      }
    }
  }
}

static void check_sweep(const format *f, const run_table *table, uint64_t stride) {
  static uint32_t patterns[CHUNK];
  static uint8_t expected[CHUNK];
  size_t at = 0, count = 0;
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride) {
    while (at + 1 < table->count && table->runs[at + 1].first <= bits) at++;
    patterns[count] = (uint32_t)bits;
    expected[count++] = table->runs[at].code;
    if (count < CHUNK && bits + stride <= UINT32_MAX) continue;
    check_patterns(f, patterns, expected, count);
    count = 0;
  }
}

/* The patterns within NEAR of each change, as far as they belong to the two runs. */
static void check_changes(const format *f, const run_table *table) {
  uint32_t patterns[2 * NEAR];
  uint8_t expected[2 * NEAR];
  for (size_t r = 1; r < table->count; r++) {
    uint64_t first = table->runs[r].first, next = r + 1 < table->count ? table->runs[r + 1].first : 1ull << 32;
    size_t count = 0;
    for (uint64_t bits = first - NEAR; bits < first + NEAR; bits++) {
      if (bits < table->runs[r - 1].first || bits >= next) continue;
      patterns[count] = (uint32_t)bits;
      expected[count++] = table->runs[bits < first ? r - 1 : r].code;
    }
    check_patterns(f, patterns, expected, count);
  }
}

static void test_encodes_every_pattern_as_ml_dtypes(void **state) {
  (void)state;
  const number_bulk *slow = number_bulk_scalar(), *fast = avx2_or_scalar();
  const format formats[] = {
      {"e4m3", e4m3_from_f32, {slow->e4m3_from_f32, fast->e4m3_from_f32}, 8},
      {"e5m2", e5m2_from_f32, {slow->e5m2_from_f32, fast->e5m2_from_f32}, 8},
      {"e8m0", e8m0_from_f32, {slow->e8m0_from_f32, fast->e8m0_from_f32}, 8},
      {"e8m0_up", e8m0_from_f32_up, {NULL, NULL}, 8},
      {"e2m1", e2m1_from_f32, {slow->e2m1_from_f32, fast->e2m1_from_f32}, 4},
      {"int4", int4_from_f32, {slow->int4_from_f32, fast->int4_from_f32}, 4},
      {"int8", int8_bits, {int8_bulk_scalar, fast == slow ? int8_bulk_scalar : int8_bulk_avx2}, 8},
  };
  uint64_t stride = getenv("VIVA_SLOW") != NULL ? 1 : 211;
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
    run_table table = golden_runs(formats[i].name);
    check_changes(&formats[i], &table);
    check_sweep(&formats[i], &table, stride);
  }
}

static void test_every_code_survives_a_round_trip(void **state) {
  (void)state;
  for (unsigned code = 0; code < 256; code++) {
    uint8_t byte = (uint8_t)code;
    unsigned sign = code & 0x80u;
    assert_int_equal(e4m3_from_f32(e4m3_to_f32(byte)), code);
    unsigned e5m2 = (code & 0x7fu) == 0x7c ? sign | 0x7bu : (code & 0x7fu) > 0x7c ? sign | 0x7eu : code;
    assert_int_equal(e5m2_from_f32(e5m2_to_f32(byte)), e5m2); /* infinity saturates, NaN is one */
    assert_int_equal(e8m0_from_f32(e8m0_to_f32(byte)), code);
    assert_int_equal(e8m0_from_f32_up(e8m0_to_f32(byte)), code);
    assert_int_equal(e2m1_from_f32(e2m1_to_f32(byte)), code & 0xfu); /* only the low half counts */
    unsigned int4 = (code & 0xfu) == 8 ? 9 : code & 0xfu;            /* −8 is read, but not written */
    assert_int_equal(int4_from_f32((float)int4_to_int(byte)), int4);
    int signed_code = (int8_t)byte;
    assert_int_equal(int8_from_f32((float)signed_code), signed_code == -128 ? -127 : signed_code);
  }
}

static void test_avx2_decodes_as_scalar(void **state) {
  (void)state;
  const number_bulk *slow = number_bulk_scalar(), *fast = avx2_or_scalar();
  if (slow == fast) skip();
  const convert decoders[][2] = {{slow->e4m3_to_f32, fast->e4m3_to_f32},
                                 {slow->e5m2_to_f32, fast->e5m2_to_f32},
                                 {slow->e8m0_to_f32, fast->e8m0_to_f32},
                                 {slow->e2m1_to_f32, fast->e2m1_to_f32},
                                 {slow->int4_to_f32, fast->int4_to_f32}};
  uint8_t codes[256];
  float expected[512], values[512];
  for (unsigned i = 0; i < 256; i++) codes[i] = (uint8_t)i;
  for (size_t d = 0; d < sizeof decoders / sizeof decoders[0]; d++) {
    size_t count = d < 3 ? 256 : 512; /* each byte as both halves */
    decoders[d][0](codes, expected, count);
    decoders[d][1](codes, values, count);
    assert_memory_equal(values, expected, count * sizeof(float));
  }
}

/* A byte's low half comes first; the last high half of an odd count is neither read nor left as it was. */
static void test_halves_of_a_byte(void **state) {
  (void)state;
  const float values[3] = {1.0f, -2.0f, 3.0f};
  uint8_t codes[2] = {0xff, 0xff};
  float back[3];
  e2m1_from_f32_n(values, codes, 3);
  assert_int_equal(codes[0], 0xc2);
  assert_int_equal(codes[1], 0x05);
  codes[1] |= 0x70;
  e2m1_to_f32_n(codes, back, 3);
  assert_memory_equal(back, values, sizeof values);
  int4_from_f32_n(values, codes, 3);
  assert_int_equal(codes[0], 0xe1);
  assert_int_equal(codes[1], 0x03);
  int4_to_f32_n(codes, back, 3);
  assert_memory_equal(back, values, sizeof values);
}

/* One division in FP32, then the format's rounding: with every kind of scale, on all kinds of patterns. */
static void test_scaled_is_a_division_and_a_rounding(void **state) {
  (void)state;
  const float scales[] = {1.0f,   0.1f,  3e-3f,     0x1.fffffep-1f, 1e-40f, 0x1p-149f, 0x1p127f,
                          448.0f, -0.7f, 0x1p-126f, 0.0f,           -0.0f,  INFINITY,  NAN};
  enum { SPECIAL = 6 };
  const float specials[SPECIAL] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 0x1p-149f};
  static float values[CHUNK];
  static uint8_t codes[CHUNK], bytes[CHUNK];
  const number_bulk *variants[2] = {number_bulk_scalar(), avx2_or_scalar()};
  mix_bytes(7, (uint8_t *)values, sizeof values);
  for (size_t i = 0; i < CHUNK / 2; i++) values[i] = (float)(int32_t)f32_bits(values[i]) * 0x1p-31f; /* weights */
  for (size_t i = 0; i < 64; i++) values[CHUNK - 1 - i] = specials[i % SPECIAL];
  for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
    for (int variant = 0; variant < 2; variant++) {
      variants[variant]->e4m3_scaled_from_f32(values, scales[s], codes, CHUNK);
      variants[variant]->int8_scaled_from_f32(values, scales[s], bytes, CHUNK);
      for (size_t i = 0; i < CHUNK; i++) {
        float quotient = values[i] / scales[s];
        uint8_t expected = e4m3_from_f32(quotient);
        /* 0 / 0 and Inf / Inf make a NaN whose sign is the processor's choice */
        if (quotient != quotient)
          assert_int_equal(codes[i] & 0x7f, 0x7f);
        else
          assert_int_equal(codes[i], expected);
        assert_int_equal((int8_t)bytes[i], int8_from_f32(quotient));
      }
    }
  }
}

static void check_absmax(const void *values, size_t count, float expected, int expected_flag) {
  const number_bulk *variants[2] = {number_bulk_scalar(), avx2_or_scalar()};
  for (int variant = 0; variant < 2; variant++) {
    int flag = 0;
    assert_int_equal(f32_bits(variants[variant]->f32_absmax(values, count, &flag)), f32_bits(expected));
    assert_int_equal(flag, expected_flag);
  }
}

/* The largest, and a NaN or an infinity, at each place of each count. */
static void test_absmax_of_the_finite_values(void **state) {
  (void)state;
  enum { MOST = 50 };
  const float bad[3] = {NAN, INFINITY, -INFINITY};
  for (size_t count = 1; count <= MOST; count++) {
    uint8_t *bytes = malloc(count * 4 + 1); /* exactly as long, at an odd address */
    float values[MOST];
    assert_non_null(bytes);
    for (size_t at = 0; at < count; at++) {
      for (size_t i = 0; i < count; i++) values[i] = (float)i * (i % 2 ? 0x1p-140f : -0x1p-140f);
      values[at] = at % 2 ? -FLT_MAX : 0x1p-126f;
      memcpy(bytes + 1, values, count * 4);
      check_absmax(bytes + 1, count, fabsf(values[at]), 0);
      values[(at + 7) % count] = bad[at % 3];
      memcpy(bytes + 1, values, count * 4);
      if ((at + 7) % count != at) check_absmax(bytes + 1, count, fabsf(values[at]), 1);
    }
    free(bytes);
  }
}

static void test_absmax_without_a_finite_value(void **state) {
  (void)state;
  float values[40];
  int flag = 5;
  for (size_t i = 0; i < 40; i++) values[i] = i % 2 ? -INFINITY : NAN;
  check_absmax(values, 40, 0.0f, 1);
  assert_true(f32_absmax_n(values, 0, &flag) == 0.0f && flag == 5); /* nothing there: left alone */
  assert_true(f32_absmax_n(values, 40, NULL) == 0.0f);
  assert_true(f32_absmax_n(values, 40, &flag) == 0.0f && flag == 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_encodes_every_pattern_as_ml_dtypes),
      cmocka_unit_test(test_every_code_survives_a_round_trip),
      cmocka_unit_test(test_avx2_decodes_as_scalar),
      cmocka_unit_test(test_halves_of_a_byte),
      cmocka_unit_test(test_scaled_is_a_division_and_a_rounding),
      cmocka_unit_test(test_absmax_of_the_finite_values),
      cmocka_unit_test(test_absmax_without_a_finite_value),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
