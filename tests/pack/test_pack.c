/* Packing: the rules that need no reference: ties, zeros, ends of rows, scales that do not fit, places of NaN, masks, cuts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack/pack_cases.h"

typedef struct packed {
  pack_spec spec;
  pack_sizes sizes;
  uint8_t *data;
  weight w;
  pack_place bad;
} packed;

static packed pack_with(pack_spec spec, const float *values, size_t rows, size_t cols, const pack_keep *keep) {
  packed p = {.spec = spec};
  pack_survey survey = {0};
  if (pack_needs_survey(&p.spec)) {
    pack_survey_rows(&p.spec, values, cols, 0, rows, cols, &survey);
    pack_settle(&p.spec, &survey);
  }
  assert_int_equal(pack_measure(&p.spec, rows, cols, &p.sizes), 0);
  p.data = aligned_alloc(PACK_ALIGN, (p.sizes.bytes + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN);
  assert_non_null(p.data);
  memset(p.data, 0, p.sizes.bytes);
  pack_rows(&p.spec, rows, cols, p.data, 0, rows, values, cols, keep, &p.bad);
  if (survey.bad.found) assert_memory_equal(&survey.bad, &p.bad, sizeof p.bad);
  p.w = pack_view(&p.spec, rows, cols, p.data);
  return p;
}

static packed pack(pack_spec spec, const float *values, size_t rows, size_t cols) {
  return pack_with(spec, values, rows, cols, NULL);
}

/* Every format. */
static const pack_spec all_specs[] = {
    {.format = WEIGHT_F32}, {.format = WEIGHT_BF16}, {.format = WEIGHT_F16}, PACK_CASE_LIST};
enum { SPECS = sizeof all_specs / sizeof *all_specs };

/* Sums of 12 uniform numbers: close to a Gaussian of standard deviation 1. */
static void fill_gaussian(float *values, size_t count, uint64_t seed) {
  uint16_t parts[12];
  for (size_t i = 0; i < count; i++) {
    double sum = 0;
    mix_bytes((seed << 40) + 4 * i, (uint8_t *)parts, sizeof parts);
    for (size_t j = 0; j < 12; j++) sum += parts[j];
    values[i] = (float)(sum / 65536 - 6 + 12 * 0.5 / 65536);
  }
}

/* A true Gaussian, by Box and Muller: the tails decide what a block scale costs. */
static void fill_box_muller(float *values, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) {
    uint64_t bits[2];
    mix_bytes((seed << 40) + 2 * i, (uint8_t *)bits, sizeof bits);
    const double a = ((double)(bits[0] >> 11) + 1) * 0x1p-53, b = (double)(bits[1] >> 11) * 0x1p-53;
    values[i] = (float)(sqrt(-2 * log(a)) * cos(6.283185307179586 * b));
  }
}

static double snr(const float *values, const weight *w) {
  float *back = malloc(w->rows * w->cols * sizeof *back);
  double signal = 0, noise = 0;
  unpack_rows(w, 0, w->rows, back, w->cols);
  for (size_t i = 0; i < w->rows * w->cols; i++) {
    const double v = values[i], d = v - (double)back[i];
    signal += v * v;
    noise += d * d;
  }
  free(back);
  return 10 * log10(signal / noise);
}

/* -- quality */

static void test_gaussian_quality(void **state) {
  (void)state;
  enum { ROWS = 128, COLS = 2048 };
  static const struct {
    const char *name;
    pack_spec spec;
    double least; /* dB, a little under what was measured, 0.05 for another libm */
  } cases[] = {
      {"fp8", {.format = WEIGHT_FP8}, 31.4},
      {"fp8-b128", {.format = WEIGHT_FP8, .block = 128}, 31.4},
      {"fp8-b16", {.format = WEIGHT_FP8, .block = 16}, 31.4},
      {"fp8-b16:f16", {.format = WEIGHT_FP8, .block = 16, .scale = SCALE_F16}, 31.4},
      {"fp8-b16:e8m0", {.format = WEIGHT_FP8, .block = 16, .scale = SCALE_E8M0}, 31.4},
      {"nvfp4 absmax", {.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_ABSMAX}, 20.4},
      {"nvfp4 four-over-six", {.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_FOUR_OVER_SIX}, 21.1},
      {"nvfp4 search", {.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_MSE}, 21.7}, /* the figure */
      {"nvfp4 search, modelopt", {.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_MSE, .multiplier = 1}, 21.7},
      {"int8-24", {.format = WEIGHT_INT8_24}, 8.7},
      {"int4-24-g32", {.format = WEIGHT_INT4_24, .block = 32, .scale = SCALE_F16}, 8.4},
      {"int4-24-g128", {.format = WEIGHT_INT4_24, .block = 128, .scale = SCALE_F16}, 8.3},
      {"int4-24-channel", {.format = WEIGHT_INT4_24}, 8.0},
      {"int4-24-g128 pairs", {.format = WEIGHT_INT4_24, .block = 128, .scale = SCALE_F16, .pairs = 1}, 6.2},
  };
  float *values = malloc(ROWS * COLS * sizeof *values);
  fill_box_muller(values, ROWS * COLS, 1);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    packed p = pack(cases[i].spec, values, ROWS, COLS);
    const double db = snr(values, &p.w);
    print_message("%-24s %6.2f dB, %6.3f bits\n", cases[i].name, db,
                  8.0 * (double)p.sizes.bytes / ((double)ROWS * COLS));
    assert_true(db >= cases[i].least);
    free(p.data);
  }
  free(values);
}

/* -- 2:4 */

/* Positions kept of the first group, as first | second << 2. */
static unsigned first_nibble(const packed *p) {
  return p->data[p->spec.format == WEIGHT_INT8_24 ? SPARSE_24_KEPT : SPARSE_24_KEPT / 2] & 15u;
}

static void test_24_ties_and_zeros(void **state) {
  (void)state;
  static const struct {
    float v[4];
    unsigned nibble;
    int codes[2]; /* with scale 1: the row also has ±largest elsewhere */
  } cases[] = {
      {{1, 1, 1, 1}, 0x4, {1, 1}},
      {{-1, 1, 1, -1}, 0x4, {-1, 1}},
      {{1, 2, 1, 2}, 0xd, {2, 2}},
      {{0, 0, 0, 0}, 0x4, {0, 0}},
      {{-0.0f, -0.0f, -0.0f, -0.0f}, 0x4, {0, 0}},
      {{-0.0f, 0, -3, -0.0f}, 0x8, {0, -3}},
      {{0, 0, 0, 5}, 0xc, {0, 5}},
      {{0, 5, 0, 0}, 0x4, {0, 5}},
      {{0, 0, 5, 5}, 0xe, {5, 5}},
      {{3, 2, 2, 2}, 0x4, {3, 2}},
      {{2, 2, 2, 3}, 0xc, {2, 3}},
      {{2, 3, 2, 2}, 0x4, {2, 3}},
      {{2, 2, 3, 2}, 0x8, {2, 3}},
      {{4, 3, 2, 1}, 0x4, {4, 3}},
      {{1, 2, 3, 4}, 0xe, {3, 4}},
      {{4, 1, 2, 3}, 0xc, {4, 3}},
      {{1, 4, 3, 2}, 0x9, {4, 3}},
      {{0.5f, -0.5f, 0.4f, 1.5f}, 0xc, {0, 2}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int int4 = 0; int4 < 2; int4++) {
      float row[8] = {0};
      memcpy(row, cases[i].v, sizeof cases[i].v);
      row[4] = int4 ? INT4_LARGEST : INT8_LARGEST;
      packed p = pack((pack_spec){.format = int4 ? WEIGHT_INT4_24 : WEIGHT_INT8_24}, row, 1, 8);
      assert_int_equal(first_nibble(&p), cases[i].nibble);
      for (int k = 0; k < 2; k++) {
        const int code = int4 ? int4_to_int((uint8_t)(p.data[0] >> (4 * k))) : (int8_t)p.data[k];
        assert_int_equal(code, cases[i].codes[k]);
      }
      assert_int_equal(pack_check_index(&p.w, 0, 1).found, 0);
      free(p.data);
    }
  }
}

static void test_24_pairs_keep_neighbours(void **state) {
  (void)state;
  /* pairs 1 and 2 have the largest |a| + |b|; pair 0 has the largest weight */
  const float row[8] = {7, 0, 4, -4, -5, 5, 6, 1}, kept[8] = {0, 0, 4, -4, -5, 5, 0, 0};
  float back[8];
  packed p = pack((pack_spec){.format = WEIGHT_INT4_24, .pairs = 1}, row, 1, 8);
  assert_int_equal(p.data[SPARSE_24_KEPT / 2], 0x99); /* (1,2) twice */
  unpack_rows(&p.w, 0, 1, back, 8);
  assert_memory_equal(back, kept, sizeof kept);
  free(p.data);
}

static void test_24_keep_masks(void **state) {
  (void)state;
  const float row[6] = {7, 6, 1, 0, 3, -2};
  const uint8_t mask[6] = {0, 0, 1, 1, 0, 1}, three[6] = {1, 1, 1, 0, 0, 0}, one[6] = {1, 1, 0, 0, 0, 0};
  const float kept[6] = {0, 0, 1, 0, 0, -2};
  float back[6];
  const pack_keep keep = {mask, 6};
  for (int int4 = 0; int4 < 2; int4++) {
    float scaled[6], want[6];
    for (size_t i = 0; i < 6; i++) {
      scaled[i] = row[i] * (int4 ? 1 : 18);
      want[i] = kept[i] * (int4 ? 1 : 18);
    }
    packed p = pack_with((pack_spec){.format = int4 ? WEIGHT_INT4_24 : WEIGHT_INT8_24}, scaled, 1, 6, &keep);
    unpack_rows(&p.w, 0, 1, back, 6);
    for (size_t i = 0; i < 6; i++) assert_true(fabsf(back[i] - want[i]) <= (int4 ? 0.0f : 0.5f));
    assert_int_equal(first_nibble(&p), 0xe);
    free(p.data);
  }
  assert_int_equal(pack_check_keep(&keep, 1, 6).found, 0);
  assert_int_equal(pack_check_keep(&(pack_keep){three, 6}, 1, 6).found, 1);
  assert_int_equal(pack_check_keep(&(pack_keep){one, 6}, 1, 6).found, 0);
  const uint8_t rows[3][8] = {{1, 1, 0, 0, 1, 0, 0, 1}, {0, 2, 0, 9, 1, 1, 0, 0}, {1, 1, 0, 0, 0, 0, 0, 1}};
  const pack_place place = pack_check_keep(&(pack_keep){rows[0], 8}, 3, 8);
  assert_int_equal(place.found, 1);
  assert_int_equal(place.row, 2);
  assert_int_equal(place.col, 4);
  assert_int_equal(pack_check_keep(&(pack_keep){rows[0], 8}, 2, 8).found, 0);
}

/* -- scales */

static void test_fp8_codes_come_from_subnormal_scales(void **state) {
  (void)state;
  for (int exponent = -149; exponent <= -120; exponent++) {
    const float row[4] = {ldexpf(1, exponent), -ldexpf(1, exponent), ldexpf(0.5f, exponent), 0};
    packed p = pack((pack_spec){.format = WEIGHT_FP8}, row, 1, 4);
    float scale = row[0] / 448;
    if (scale == 0) scale = 0x1p-149f;
    assert_true(weight_scale(&p.w, 0, 0) == scale);
    for (size_t i = 0; i < 4; i++) assert_int_equal(p.data[i], e4m3_from_f32(row[i] / scale));
    free(p.data);
  }
}

static void test_zero_rows_have_scale_one(void **state) {
  (void)state;
  const float zeros[40] = {[3] = -0.0f};
  float back[40];
  for (size_t s = 0; s < SPECS; s++) {
    packed p = pack(all_specs[s], zeros, 1, 40);
    const float expected = p.spec.format == WEIGHT_NVFP4 ? 0.125f : 1;
    if (!weight_dense(p.w.format))
      for (size_t b = 0; b < weight_blocks(&p.w); b++) assert_true(weight_scale(&p.w, 0, b) == expected);
    if (p.spec.format == WEIGHT_NVFP4) assert_true(p.w.global == 1);
    unpack_rows(&p.w, 0, 1, back, 40);
    for (size_t i = 0; i < 40; i++) assert_true(back[i] == 0);
    free(p.data);
  }
}

static void test_scales_that_do_not_fit_become_f32(void **state) {
  (void)state;
  static const struct {
    scale_type asked;
    float absmax, largest; /* of the row; the format's */
    scale_type given;
  } cases[] = {
      {SCALE_F16, 448 * 65504.0f, 448, SCALE_F16},
      {SCALE_F16, 448 * 65520.0f, 448, SCALE_F32},
      {SCALE_F16, 448 * 0x1p-19f, 448, SCALE_F16},
      {SCALE_F16, 448 * 0x1p-20f, 448, SCALE_F32},
      {SCALE_F16, 7 * 65504.0f, 7, SCALE_F16},
      {SCALE_F16, 7 * 65536.0f, 7, SCALE_F32},
      {SCALE_F16, 7 * 0x1p-19f, 7, SCALE_F16},
      {SCALE_F16, 7 * 0x1p-21f, 7, SCALE_F32},
      {SCALE_E8M0, 0x1.efp127f, 448, SCALE_E8M0},
      {SCALE_E8M0, 3.4028235e38f, 448, SCALE_F32}, /* 2^128 */
      {SCALE_E8M0, 448 * 0x1p-127f, 448, SCALE_E8M0},
      {SCALE_E8M0, 448 * 0x1p-128f, 448, SCALE_F32},
      {SCALE_F16, 0, 448, SCALE_F16},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int blocked = 0; blocked < 2; blocked++) {
      float row[3][96] = {{1}, {0}, {1}};
      row[1][70] = -cases[i].absmax;
      if (cases[i].asked == SCALE_F16) row[0][0] = row[2][0] = 448; /* these fit */
      packed p = pack((pack_spec){.format = cases[i].largest == 7 ? WEIGHT_INT4_24 : WEIGHT_FP8,
                                  .scale = cases[i].asked,
                                  .block = blocked ? 32 : 0},
                      row[0], 3, 96);
      assert_int_equal(p.w.scales_type, cases[i].given);
      free(p.data);
    }
  }
}

static void test_e8m0_scale_is_the_power_of_two_above(void **state) {
  (void)state;
  const float rows[3][2] = {{448, 1}, {449, 1}, {896, 1}};
  packed p = pack((pack_spec){.format = WEIGHT_FP8, .scale = SCALE_E8M0}, rows[0], 3, 2);
  assert_true(weight_scale(&p.w, 0, 0) == 1);
  assert_true(weight_scale(&p.w, 1, 0) == 2);
  assert_true(weight_scale(&p.w, 2, 0) == 2);
  free(p.data);
}

static void test_nvfp4_global_of_both_dialects(void **state) {
  (void)state;
  float row[32] = {[5] = -3, [20] = 0.5f};
  packed divide = pack((pack_spec){.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_ABSMAX}, row, 1, 32);
  packed times = pack((pack_spec){.format = WEIGHT_NVFP4, .search = NVFP4_SEARCH_ABSMAX, .multiplier = 1}, row, 1, 32);
  assert_true(divide.w.global == 896 && divide.w.global_divides);
  assert_true(times.w.global == 3.0f / 2688 && !times.w.global_divides);
  assert_memory_equal(divide.data, times.data, divide.sizes.bytes); /* the same codes and block scales */
  assert_true(weight_scale(&divide.w, 0, 0) == 448);
  free(divide.data);
  free(times.data);
}

/* The smallest and the largest matrices give finite numbers. */
static void test_nvfp4_extremes(void **state) {
  (void)state;
  for (int exponent = -149; exponent < 128; exponent++) {
    for (int multiplier = 0; multiplier < 2; multiplier++) {
      const float row[16] = {ldexpf(1, exponent), -ldexpf(0.5f, exponent)};
      float back[16];
      packed p = pack((pack_spec){.format = WEIGHT_NVFP4, .multiplier = multiplier}, row, 1, 16);
      unpack_rows(&p.w, 0, 1, back, 16);
      /* 2^-120: below it the block scale has few bits, then none (pack.h) */
      const float error = exponent < -120 ? row[0] : row[0] * 0.04f;
      assert_true(isfinite(p.w.global) && p.w.global > 0);
      for (size_t i = 0; i < 16; i++) assert_true(fabsf(back[i] - row[i]) <= error);
      free(p.data);
    }
  }
}

/* -- NaN and infinity */

static void test_places_of_nonfinite(void **state) {
  (void)state;
  enum { ROWS = 5, COLS = 1300 };
  float *values = malloc(ROWS * COLS * sizeof *values);
  for (size_t s = 0; s < SPECS; s++) {
    for (int kind = 0; kind < 3; kind++) {
      fill_gaussian(values, ROWS * COLS, 2);
      const float bad = kind == 0 ? NAN : kind == 1 ? INFINITY : -INFINITY;
      values[4 * COLS + 1] = bad;
      values[2 * COLS + 1299] = bad;
      values[2 * COLS + 1027] = bad;
      packed p = pack(all_specs[s], values, ROWS, COLS);
      assert_int_equal(p.bad.found, 1);
      assert_int_equal(p.bad.row, 2);
      assert_int_equal(p.bad.col, 1027);
      free(p.data);
    }
  }
  free(values);
}

static void test_allowed_nonfinite_values(void **state) {
  (void)state;
  enum { COLS = 160 };
  float row[COLS], back[COLS], clean[COLS], clean_back[COLS];
  fill_gaussian(row, COLS, 3);
  memcpy(clean, row, sizeof row);
  row[32] = INFINITY;
  row[37] = -INFINITY;
  row[42] = NAN;
  clean[32] = clean[37] = clean[42] = 0;
  for (size_t s = 0; s < SPECS; s++) {
    pack_spec spec = all_specs[s];
    spec.allow_nonfinite = 1;
    packed p = pack(spec, row, 1, COLS), q = pack(spec, clean, 1, COLS);
    assert_int_equal(p.bad.found, 0);
    unpack_rows(&p.w, 0, 1, back, COLS);
    unpack_rows(&q.w, 0, 1, clean_back, COLS);
    if (weight_dense(spec.format)) {
      assert_true(back[32] == INFINITY && back[37] == -INFINITY && isnan(back[42]));
      free(p.data);
      free(q.data);
      continue;
    }
    if (!spec.pairs) {
      const float scale = weight_scale(&p.w, 0, p.w.block ? 32 / p.w.block : 0);
      const float top = spec.format == WEIGHT_FP8 ? 448 : spec.format == WEIGHT_INT8_24 ? 127 : 7;
      const float largest = spec.format == WEIGHT_NVFP4 ? back[32] : top * scale;
      assert_true(back[32] == largest && back[37] == -largest && largest > 0);
    }
    if (spec.format == WEIGHT_FP8)
      assert_true(isnan(back[42]));
    else
      assert_true(back[42] == 0);
    for (size_t i = 0; i < 32; i++) assert_true(back[i] == clean_back[i]); /* other groups are as without them */
    for (size_t i = 64; i < COLS; i++) assert_true(back[i] == clean_back[i]);
    free(p.data);
    free(q.data);
  }
}

/* -- sizes, ends, cuts */

static void test_sizes_and_overflow(void **state) {
  (void)state;
  static const struct {
    pack_spec spec;
    size_t rows, cols, row_bytes, scale_row_bytes, offset, bytes;
  } cases[] = {
      {{.format = WEIGHT_BF16}, 3, 5, 10, 0, 30, 30},
      {{.format = WEIGHT_FP8}, 3, 5, 5, 4, 64, 76},
      {{.format = WEIGHT_FP8, .block = 16, .scale = SCALE_E8M0}, 2, 33, 33, 3, 128, 134},
      {{.format = WEIGHT_NVFP4}, 4, 17, 16, 2, 64, 72},
      {{.format = WEIGHT_INT8_24}, 1, 65, 80, 4, 128, 132},
      {{.format = WEIGHT_INT4_24, .block = 128, .scale = SCALE_F16}, 2, 129, 72, 4, 192, 200},
  };
  pack_sizes sizes;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(pack_measure(&cases[i].spec, cases[i].rows, cases[i].cols, &sizes), 0);
    assert_int_equal(sizes.row_bytes, cases[i].row_bytes);
    assert_int_equal(sizes.scale_row_bytes, cases[i].scale_row_bytes);
    assert_int_equal(sizes.scales_offset, cases[i].offset);
    assert_int_equal(sizes.bytes, cases[i].bytes);
  }
  for (size_t s = 0; s < SPECS; s++) {
    assert_int_equal(pack_measure(&all_specs[s], 0, 1, &sizes), 1);
    assert_int_equal(pack_measure(&all_specs[s], 1, 0, &sizes), 1);
    assert_int_equal(pack_measure(&all_specs[s], SIZE_MAX, SIZE_MAX, &sizes), 1);
    assert_int_equal(pack_measure(&all_specs[s], SIZE_MAX / 8, 64, &sizes), 1);
  }
  assert_int_equal(pack_measure(&all_specs[0], 1, SIZE_MAX, &sizes), 1);
  assert_int_equal(pack_measure(&all_specs[3], 1, SIZE_MAX - 8, &sizes), 1); /* no place for the scales */
}

/* Every length of a row, in memory of the exact size: what is packed is what a longer row of zeros has. */
static void test_every_remainder(void **state) {
  (void)state;
  enum { MOST = 130, WIDE = 256 };
  float values[2 * MOST], wide[2 * WIDE], back[2 * MOST], wide_back[2 * WIDE];
  for (size_t s = 0; s < SPECS; s++) {
    for (size_t cols = 1; cols <= MOST; cols++) {
      float *exact = malloc(2 * cols * sizeof *exact);
      fill_gaussian(values, 2 * cols, cols);
      memcpy(exact, values, 2 * cols * sizeof *exact);
      memset(wide, 0, sizeof wide);
      for (size_t r = 0; r < 2; r++) memcpy(wide + r * WIDE, values + r * cols, cols * sizeof *values);
      packed p = pack(all_specs[s], exact, 2, cols), q = pack(all_specs[s], wide, 2, WIDE);
      for (size_t r = 0; r < 2; r++) {
        assert_memory_equal(p.data + r * p.sizes.row_bytes, q.data + r * q.sizes.row_bytes, p.sizes.row_bytes);
        assert_memory_equal(p.data + p.sizes.scales_offset + r * p.sizes.scale_row_bytes,
                            q.data + q.sizes.scales_offset + r * q.sizes.scale_row_bytes, p.sizes.scale_row_bytes);
      }
      unpack_rows(&p.w, 0, 2, back, cols);
      unpack_rows(&q.w, 0, 2, wide_back, WIDE);
      for (size_t r = 0; r < 2; r++) assert_memory_equal(back + r * cols, wide_back + r * WIDE, cols * sizeof *back);
      free(p.data);
      free(q.data);
      free(exact);
    }
  }
}

static void test_cuts_give_equal_bytes(void **state) {
  (void)state;
  enum { ROWS = 13, COLS = 1061, STRIDE = COLS + 3 };
  float *values = malloc(ROWS * STRIDE * sizeof *values);
  fill_gaussian(values, ROWS * STRIDE, 9);
  for (size_t s = 0; s < SPECS; s++) {
    for (size_t step = 1; step <= 5; step += 2) {
      pack_spec one = all_specs[s], cut = all_specs[s];
      pack_survey whole = {0}, parts = {0};
      pack_sizes sizes;
      pack_survey_rows(&one, values, STRIDE, 0, ROWS, COLS, &whole);
      for (size_t end = ROWS; end > 0; end -= end < step ? end : step) { /* the last first */
        const size_t row = end < step ? 0 : end - step;
        pack_survey part = {0};
        pack_survey_rows(&cut, values + row * STRIDE, STRIDE, row, end - row, COLS, &part);
        pack_survey_merge(&parts, &part);
      }
      pack_settle(&one, &whole);
      pack_settle(&cut, &parts);
      assert_int_equal(f32_bits(one.global), f32_bits(cut.global));
      assert_int_equal(pack_measure(&one, ROWS, COLS, &sizes), 0);
      uint8_t *a = calloc(1, sizes.bytes), *b = calloc(1, sizes.bytes);
      pack_rows(&one, ROWS, COLS, a, 0, ROWS, values, STRIDE, NULL, NULL);
      for (size_t end = ROWS; end > 0; end -= end < step ? end : step) {
        const size_t row = end < step ? 0 : end - step;
        pack_rows(&cut, ROWS, COLS, b, row, end - row, values + row * STRIDE, STRIDE, NULL, NULL);
      }
      assert_memory_equal(a, b, sizes.bytes);
      free(a);
      free(b);
    }
  }
  free(values);
}

static void test_merge_keeps_the_first_place(void **state) {
  (void)state;
  pack_survey all = {0};
  pack_survey_merge(&all, &(pack_survey){.absmax = 2, .bad = {1, 7, 3}});
  pack_survey_merge(&all, &(pack_survey){.absmax = 1, .bad = {1, 7, 5}});
  assert_int_equal(all.bad.col, 3);
  pack_survey_merge(&all, &(pack_survey){.scales_bad = 1, .bad = {1, 4, 9}});
  assert_int_equal(all.bad.row, 4);
  assert_true(all.absmax == 2 && all.scales_bad);
}

/* What was unpacked packs to the same values, where the largest weight of each scale stays and its code is the largest: not
 * with NVFP4's other searches, nor by pairs, which may drop it. */
static void test_packing_again_changes_nothing(void **state) {
  (void)state;
  enum { ROWS = 4, COLS = 512 };
  float values[ROWS * COLS], back[ROWS * COLS], again[ROWS * COLS];
  fill_gaussian(values, ROWS * COLS, 11);
  for (size_t s = 0; s < SPECS; s++) {
    if (all_specs[s].format == WEIGHT_NVFP4 && all_specs[s].search != NVFP4_SEARCH_ABSMAX) continue;
    if (all_specs[s].pairs) continue;
    packed p = pack(all_specs[s], values, ROWS, COLS);
    unpack_rows(&p.w, 0, ROWS, back, COLS);
    packed q = pack(all_specs[s], back, ROWS, COLS);
    unpack_rows(&q.w, 0, ROWS, again, COLS);
    /* the scale comes back within two roundings of FP32 of 2^-24 each, the value within one more */
    for (size_t i = 0; i < ROWS * COLS; i++) assert_true(fabsf(again[i] - back[i]) <= 0x1p-22f * fabsf(back[i]));
    free(p.data);
    free(q.data);
  }
}

/* -- damaged files */

static void test_index_that_is_none_of_the_six(void **state) {
  (void)state;
  float row[128], back[128];
  fill_gaussian(row, 128, 12);
  packed p = pack((pack_spec){.format = WEIGHT_INT8_24}, row, 1, 128);
  int8_24_block *block = (int8_24_block *)(void *)p.data + 1;
  const float scale = weight_scale(&p.w, 0, 0);
  block->index[0] = 0x3a; /* group 0: (2,2), group 1: (3,0) */
  memcpy(block->codes, (int8_t[4]){5, 6, 7, 8}, 4);
  const pack_place place = pack_check_index(&p.w, 0, 1);
  assert_int_equal(place.found, 1);
  assert_int_equal(place.row, 0);
  assert_int_equal(place.col, 64);
  unpack_rows(&p.w, 0, 1, back, 128);
  assert_true(back[66] == 5 * scale + 6 * scale && back[64] == 0 && back[65] == 0 && back[67] == 0);
  assert_true(back[71] == 7 * scale && back[68] == 8 * scale && back[69] == 0 && back[70] == 0);
  free(p.data);
}

static void test_codes_that_viva_never_writes(void **state) {
  (void)state;
  enum { ROWS = 3, COLS = 192 };
  static const struct {
    pack_spec spec;
    size_t row_bytes, at; /* byte of row 1: in its second block */
    uint8_t byte;
    size_t col; /* index nibble 0xe: columns 2 and 3 of the group; of the pairs' order these are 4 and 6 */
  } cases[] = {
      {{.format = WEIGHT_INT8_24}, 120, 40 + 3, 0x80, 64 + 7},
      {{.format = WEIGHT_INT8_24}, 120, 40 + 30, 0x80, 64 + 62},
      {{.format = WEIGHT_INT4_24}, 72, 24 + 0, 0x18, 64 + 2},
      {{.format = WEIGHT_INT4_24}, 72, 24 + 0, 0x81, 64 + 3},
      {{.format = WEIGHT_INT4_24, .block = 32, .pairs = 1}, 72, 24 + 0, 0x81, 64 + 6},
  };
  float values[ROWS * COLS];
  for (size_t i = 0; i < ROWS * COLS; i++) values[i] = i % 4 < 2 ? 0 : i % 3 ? -1 : 1; /* keeps 2 and 3 of each 4 */
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    packed p = pack(cases[i].spec, values, ROWS, COLS);
    assert_int_equal(p.w.row_bytes, cases[i].row_bytes);
    assert_int_equal(pack_check_codes(&p.w, 0, ROWS).found, 0);
    p.data[cases[i].row_bytes + cases[i].at] = cases[i].byte;
    if (cases[i].spec.pairs) p.data[cases[i].row_bytes + 24 + SPARSE_24_KEPT / 2] = 0xee;
    const pack_place place = pack_check_codes(&p.w, 0, ROWS);
    assert_int_equal(place.found, 1);
    assert_int_equal(place.row, 1);
    assert_int_equal(place.col, cases[i].col);
    assert_int_equal(pack_check_codes(&p.w, 0, 1).found, 0);
    assert_int_equal(pack_check_codes(&p.w, 2, 1).found, 0);
    free(p.data);
  }
}

static void test_scales_shared_by_all_rows(void **state) {
  (void)state;
  float row[32], back[64];
  fill_gaussian(row, 32, 13);
  packed p = pack((pack_spec){.format = WEIGHT_FP8}, row, 1, 32);
  uint8_t twice[64];
  memcpy(twice, p.data, 32);
  memcpy(twice + 32, p.data, 32);
  weight w = p.w;
  w.rows = 2;
  w.data = twice;
  w.scale_row_bytes = 0;
  unpack_rows(&w, 0, 2, back, 32);
  assert_memory_equal(back, back + 32, 32 * sizeof *back);
  free(p.data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gaussian_quality),
      cmocka_unit_test(test_24_ties_and_zeros),
      cmocka_unit_test(test_24_pairs_keep_neighbours),
      cmocka_unit_test(test_24_keep_masks),
      cmocka_unit_test(test_fp8_codes_come_from_subnormal_scales),
      cmocka_unit_test(test_zero_rows_have_scale_one),
      cmocka_unit_test(test_scales_that_do_not_fit_become_f32),
      cmocka_unit_test(test_e8m0_scale_is_the_power_of_two_above),
      cmocka_unit_test(test_nvfp4_global_of_both_dialects),
      cmocka_unit_test(test_nvfp4_extremes),
      cmocka_unit_test(test_places_of_nonfinite),
      cmocka_unit_test(test_allowed_nonfinite_values),
      cmocka_unit_test(test_sizes_and_overflow),
      cmocka_unit_test(test_every_remainder),
      cmocka_unit_test(test_cuts_give_equal_bytes),
      cmocka_unit_test(test_merge_keeps_the_first_place),
      cmocka_unit_test(test_packing_again_changes_nothing),
      cmocka_unit_test(test_index_that_is_none_of_the_six),
      cmocka_unit_test(test_codes_that_viva_never_writes),
      cmocka_unit_test(test_scales_shared_by_all_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
