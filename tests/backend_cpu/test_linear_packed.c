/* Products with packed weights and quantised rows: against a product in double of the same codes, and bit for bit against
 * themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/cpu.h"
#include "lib/cpu_kit.h"

/* Issue: at most 2^−20 of the sum of magnitudes. */
#define BOUND 0x1p-20

typedef struct variant {
  weight_format format;
  uint32_t block;
  scale_type scales;
  int pairs;
} variant;

static const variant variants[] = {
    {WEIGHT_BF16, 0, SCALE_F32, 0},     {WEIGHT_FP8, 0, SCALE_F32, 0},       {WEIGHT_FP8, 0, SCALE_F16, 0},
    {WEIGHT_FP8, 16, SCALE_F16, 0},     {WEIGHT_FP8, 32, SCALE_E8M0, 0},     {WEIGHT_FP8, 64, SCALE_F32, 0},
    {WEIGHT_FP8, 128, SCALE_F32, 0},    {WEIGHT_NVFP4, 16, SCALE_E4M3, 0},   {WEIGHT_INT8_24, 0, SCALE_F32, 0},
    {WEIGHT_INT8_24, 0, SCALE_F32, 1},  {WEIGHT_INT4_24, 0, SCALE_F32, 0},   {WEIGHT_INT4_24, 32, SCALE_F16, 0},
    {WEIGHT_INT4_24, 64, SCALE_F32, 1}, {WEIGHT_INT4_24, 128, SCALE_F16, 0},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static const char *const tables[] = {"auto", "reference", "avx2", "avx512", "avx512-bf16"};

/* A weight with its values in double. */
typedef struct matrix {
  weight w;
  double *values; /* [rows][cols] */
} matrix;

static void matrix_values(matrix *m) {
  for (size_t r = 0; r < m->w.rows; r++)
    for (size_t c = 0; c < m->w.cols; c++) m->values[r * m->w.cols + c] = kit_weight_at(&m->w, r, c);
}

static matrix matrix_make(const variant *v, size_t n, size_t k, uint64_t *state) {
  matrix m = {.w = kit_packed(v->format, n, k, k % 3 * 4, v->block, v->scales, state)};
  if (v->pairs && k % SPARSE_24_COLUMNS == 0) m.w.pairs = 1; /* which column a code is for changes; none is beyond k */
  m.values = malloc(n * k * sizeof *m.values);
  matrix_values(&m);
  return m;
}

static void matrix_free(matrix *m) {
  free(m->values);
  kit_weight_free(&m->w);
}

/* x as the product sees it: codes times scale. */
static double seen(input_mode mode, float x, float absmax) {
  static const float largest[] = {0, 448, 127, 7};
  if (mode == INPUT_FLOAT || absmax == 0) return (double)x;
  const float scale = absmax / largest[mode], ratio = x / scale;
  if (mode == INPUT_E4M3) return (double)e4m3_to_f32(e4m3_from_f32(ratio)) * (double)scale;
  return (double)nearbyintf(ratio) * (double)scale;
}

static double activated(activation act, double v) {
  switch (act) {
  case ACTIVATION_GELU_TANH: return v / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v)));
  case ACTIVATION_GELU_ERF: return v / 2 * (1 + erf(v / sqrt(2)));
  case ACTIVATION_SILU: return v / (1 + exp(-v));
  default: return v;
  }
}

typedef struct inputs {
  size_t m, n, k, x_stride;
  input_mode mode;
  float *x, *bias, *residual;
  void *xq;
} inputs;

static inputs inputs_make(cpu_kit *kit, size_t m, size_t n, size_t k, input_mode mode, uint64_t *state) {
  inputs in = {.m = m, .n = n, .k = k, .x_stride = k + m % 4, .mode = mode};
  in.x = kit_guarded(((m - 1) * in.x_stride + k) * sizeof(float));
  in.bias = kit_guarded(n * sizeof(float));
  in.residual = kit_guarded(m * n * sizeof(float));
  for (size_t i = 0; i < m; i++) kit_fill(in.x + i * in.x_stride, k, state);
  kit_fill(in.bias, n, state);
  kit_fill(in.residual, m * n, state);
  if (m > 3) memset(in.x + 2 * in.x_stride, 0, k * sizeof(float));
  if (mode != INPUT_FLOAT) in.xq = kit_guarded(kit->ops->quantized_bytes(kit->b, mode, m, k) / 64 * 64 + 64);
  return in;
}

static void inputs_free(cpu_kit *kit, inputs *in) {
  kit_guarded_free(in->x, ((in->m - 1) * in->x_stride + in->k) * sizeof(float));
  kit_guarded_free(in->bias, in->n * sizeof(float));
  kit_guarded_free(in->residual, in->m * in->n * sizeof(float));
  if (in->xq) kit_guarded_free(in->xq, kit->ops->quantized_bytes(kit->b, in->mode, in->m, in->k) / 64 * 64 + 64);
}

/* Rows [row, row + rows) of x with w, to y [rows][n]. */
static void multiply(cpu_kit *kit, const inputs *in, const weight *w, activation act, size_t row, size_t rows,
                     float *y) {
  const float *x = in->x + row * in->x_stride;
  if (in->mode != INPUT_FLOAT)
    assert_int_equal(kit->ops->quantize_rows(kit->b, in->mode, x, in->x_stride, rows, in->k, in->xq, NULL), VIVA_OK);
  const linear_args args = {.m = rows,
                            .x = x,
                            .x_stride = in->x_stride,
                            .input = in->mode,
                            .xq = in->xq,
                            .w = w,
                            .bias = in->n % 2 ? in->bias : NULL,
                            .act = act,
                            .residual = act == ACTIVATION_NONE && in->m % 2 ? in->residual + row * in->n : NULL,
                            .y = y,
                            .y_stride = in->n};
  assert_int_equal(kit->ops->linear(kit->b, &args, 1, NULL), VIVA_OK);
}

static void check_values(const inputs *in, const matrix *m, activation act, const float *y, const char *table) {
  double *x = malloc(in->k * sizeof *x);
  for (size_t i = 0; i < in->m; i++) {
    const float *row = in->x + i * in->x_stride, absmax = f32_absmax_n(row, in->k, NULL);
    for (size_t c = 0; c < in->k; c++) x[c] = seen(in->mode, row[c], absmax);
    for (size_t j = 0; j < in->n; j++) {
      double sum = 0, magnitude = 0, rest = 0;
      for (size_t c = 0; c < in->k; c++) {
        const double term = x[c] * m->values[j * in->k + c];
        sum += term, magnitude += fabs(term);
      }
      if (in->n % 2) sum += (double)in->bias[j], rest += fabs((double)in->bias[j]);
      if (act == ACTIVATION_NONE && in->m % 2)
        sum += (double)in->residual[i * in->n + j], rest += fabs((double)in->residual[i * in->n + j]);
      /* Slopes of the activations are at most 1.13; they add some ulps of their own. */
      const double expected = activated(act, sum), error = fabs((double)y[i * in->n + j] - expected);
      const double bound = BOUND * (magnitude + rest) * (act ? 1.2 : 1) + (act ? 4e-7 * fabs(sum) : 0) + 1e-44;
      if (!(error <= bound))
        fail_msg("%s, format %d block %u scales %d, input %d, m %zu n %zu k %zu: y[%zu][%zu] = %.9g, expected %.9g "
                 "within %.3g",
                 table, (int)m->w.format, m->w.block, (int)m->w.scales_type, (int)in->mode, in->m, in->n, in->k, i, j,
                 (double)y[i * in->n + j], expected, bound);
    }
  }
  free(x);
}

/* Every row alone, and cuts of 5 and 16 rows, give the bits of all together. */
static void check_cuts(cpu_kit *kit, const inputs *in, const weight *w, activation act, const float *y) {
  static const size_t cuts[] = {1, 5, 16};
  float *some = malloc(in->m * in->n * sizeof *some);
  for (size_t c = 0; c < 3; c++) {
    for (size_t row = 0; row < in->m; row += cuts[c] * (c == 0 && in->m > 40 ? 9 : 1)) {
      const size_t rows = in->m - row < cuts[c] ? in->m - row : cuts[c];
      multiply(kit, in, w, act, row, rows, some);
      if (!kit_same(some, y + row * in->n, rows * in->n))
        fail_msg("rows %zu to %zu differ from all %zu: format %d block %u input %d n %zu k %zu", row, row + rows, in->m,
                 (int)w->format, w->block, (int)in->mode, in->n, in->k);
    }
  }
  free(some);
}

static void check_shape(cpu_kit *kit, const char *table, const variant *v, input_mode mode, activation act, size_t m,
                        size_t n, size_t k) {
  uint64_t state = m * 7919 + n * 104729 + k;
  matrix w = matrix_make(v, n, k, &state);
  inputs in = inputs_make(kit, m, n, k, mode, &state);
  float *y = kit_guarded(m * n * sizeof *y);
  multiply(kit, &in, &w.w, act, 0, m, y);
  check_values(&in, &w, act, y, table);
  check_cuts(kit, &in, &w.w, act, y);
  kit_guarded_free(y, m * n * sizeof *y);
  inputs_free(kit, &in);
  matrix_free(&w);
}

static void every_shape(cpu_kit *kit, const char *table, const variant *v, input_mode mode) {
  static const size_t ks[] = {1,  2,  7,  15, 16,  17,  31,  32,  33,  47,  48,  63,  64,
                              65, 80, 96, 97, 127, 128, 129, 160, 191, 256, 300, 513, 2200};
  static const size_t ns[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 65};
  static const size_t ms[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 64, 98};
  for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
    check_shape(kit, table, v, mode, ACTIVATION_NONE, 1, 5, ks[i]);
    check_shape(kit, table, v, mode, ACTIVATION_NONE, 18, 6, ks[i]);
  }
  for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++)
    check_shape(kit, table, v, mode, (activation)(i % 4), i % 2 ? 1 : 21, ns[i], 130);
  for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++)
    check_shape(kit, table, v, mode, (activation)(i % 4), ms[i], 9, 192);
  check_shape(kit, table, v, mode, ACTIVATION_NONE, 512, 10, 100);
}

static void on_table(viva_cpu_kernels table) {
  cpu_kit kit;
  if (!kit_open(&kit, table, 2)) return;
  for (size_t v = 0; v < VARIANTS; v++)
    for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++)
      every_shape(&kit, tables[table], &variants[v], mode);
  kit_close(&kit);
}

static void reference_is_right(void **state) {
  (void)state;
  on_table(VIVA_KERNELS_REFERENCE);
}
static void avx2_is_right(void **state) {
  (void)state;
  on_table(VIVA_KERNELS_AVX2);
}
static void avx512_is_right(void **state) {
  (void)state;
  on_table(VIVA_KERNELS_AVX512);
}
static void avx512_bf16_is_right(void **state) {
  (void)state;
  on_table(VIVA_KERNELS_AVX512_BF16);
}

static void threads_do_not_change_bits(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    for (size_t v = 0; v < VARIANTS; v++) {
      for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++) {
        float *first = NULL;
        for (int threads = 1; threads <= 5; threads += 2) {
          cpu_kit kit;
          if (!kit_open(&kit, table, threads)) break;
          uint64_t seed = 5;
          const size_t m = mode % 2 ? 1 : 40, n = 301, k = 200;
          matrix w = {.w = kit_packed(variants[v].format, n, k, 0, variants[v].block, variants[v].scales, &seed)};
          inputs in = inputs_make(&kit, m, n, k, mode, &seed);
          float *y = malloc(m * n * sizeof *y);
          multiply(&kit, &in, &w.w, ACTIVATION_SILU, 0, m, y);
          if (first) assert_true(kit_same(first, y, m * n));
          if (first)
            free(y);
          else
            first = y;
          inputs_free(&kit, &in);
          matrix_free(&w);
          kit_close(&kit);
        }
        free(first);
      }
    }
  }
}

/* A row with NaN or infinity gives NaN throughout when quantised; a NaN code of w gives NaN in its column only, whatever
 * x, also beside 0. */
static void special_values_stay_in_their_row(void **state) {
  static const size_t ms[] = {1, 4, 16, 40};
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    for (size_t v = 0; v < VARIANTS; v++) {
      for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++) {
        for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
          const size_t m = ms[i], n = 11, k = 330;
          uint64_t seed = i;
          weight w = kit_packed(variants[v].format, n, k, 0, variants[v].block, variants[v].scales, &seed);
          inputs in = inputs_make(&kit, m, n, k, mode, &seed);
          float *y = malloc(m * n * sizeof *y);
          const size_t nan_columns[] = {0, 65, 328, 329};
          const int coded = w.format == WEIGHT_FP8;
          for (size_t j = 0; coded && j < 4; j++)
            ((uint8_t *)(uintptr_t)w.data)[(2 + j) * w.row_bytes + nan_columns[j]] = j % 2 ? 0xff : 0x7f;
          in.x[(m > 3) * in.x_stride + 329] = mode == INPUT_FLOAT || i % 2 ? NAN : -INFINITY;
          multiply(&kit, &in, &w, ACTIVATION_GELU_TANH, 0, m, y);
          for (size_t r = 0; r < m; r++)
            for (size_t c = 0; c < n; c++)
              assert_int_equal(isnan(y[r * n + c]) != 0, r == (m > 3) || (coded && c >= 2 && c < 6));
          free(y);
          inputs_free(&kit, &in);
          kit_weight_free(&w);
        }
      }
    }
    kit_close(&kit);
  }
}

/* Every code of FP8 with every code of E4M3 rows: products are exact. */
static void every_pair_of_codes_is_exact(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    for (int blocked = 0; blocked < 2; blocked++) {
      uint64_t seed = 1;
      weight w = kit_packed(WEIGHT_FP8, 256, 1, 0, blocked ? 16 : 0, SCALE_F32, &seed);
      float one = 1, x[2 * 20], y[20 * 256];
      for (size_t i = 0; i < 256; i++) {
        ((uint8_t *)(uintptr_t)w.data)[i] = (uint8_t)i;
        memcpy((char *)(uintptr_t)w.scales + 4 * i, &one, 4);
      }
      for (int code = 0; code < 127; code++) {
        for (size_t m = 1; m <= 20; m += 19) {
          for (size_t i = 0; i < m; i++) x[i] = e4m3_to_f32((uint8_t)code);
          const linear_args args = {.m = m, .x = x, .x_stride = 1, .w = &w, .y = y, .y_stride = 256};
          assert_int_equal(kit.ops->linear(kit.b, &args, 1, NULL), VIVA_OK);
          for (size_t i = 0; i < m * 256; i++) {
            const float expected = x[0] * e4m3_to_f32((uint8_t)(i % 256));
            assert_true(isnan(expected) ? isnan(y[i]) : y[i] == expected);
          }
        }
      }
      kit_weight_free(&w);
    }
    kit_close(&kit);
  }
}

#if defined(__x86_64__)
static void check_vbmi(cpu_kit *kit, const variant *v, input_mode mode, size_t m, size_t n, size_t k) {
  uint64_t seed = m + k;
  weight w = kit_packed(v->format, n, k, 0, v->block, v->scales, &seed);
  inputs in = inputs_make(kit, m, n, k, mode, &seed);
  float *y[2] = {malloc(m * n * sizeof **y), malloc(m * n * sizeof **y)};
  for (int vbmi = 0; vbmi < 2; vbmi++) {
    (vbmi ? kernels_avx512_vbmi : kernels_avx512)(&cpu_of(kit->b)->kernels);
    multiply(kit, &in, &w, ACTIVATION_NONE, 0, m, y[vbmi]);
  }
  if (!kit_same(y[0], y[1], m * n))
    fail_msg("block %u scales %d input %d m %zu k %zu: not the same bits", v->block, (int)v->scales, (int)mode, m, k);
  free(y[0]), free(y[1]);
  inputs_free(kit, &in);
  kit_weight_free(&w);
}

/* FP8 with the instructions of AVX512_VBMI and without: the same bits, so that a table has the same ones on every
 * processor. */
static void fp8_has_the_same_bits_without_its_instructions(void **state) {
  static const size_t ks[] = {1, 31, 64, 97, 200, 4500};
  static const size_t ms[] = {1, 2, 3, 16, 30};
  static const variant fp8[] = {
      {WEIGHT_FP8, 0, SCALE_F32, 0},   {WEIGHT_FP8, 16, SCALE_F16, 0},  {WEIGHT_FP8, 24, SCALE_F16, 0},
      {WEIGHT_FP8, 32, SCALE_E8M0, 0}, {WEIGHT_FP8, 48, SCALE_F16, 0},  {WEIGHT_FP8, 64, SCALE_F32, 0},
      {WEIGHT_FP8, 80, SCALE_F32, 0},  {WEIGHT_FP8, 96, SCALE_F16, 0},  {WEIGHT_FP8, 128, SCALE_F32, 0},
      {WEIGHT_FP8, 192, SCALE_F16, 0}, {WEIGHT_FP8, 256, SCALE_E8M0, 0}};
  cpu_kit kit;
  (void)state;
  if (!cpu_get()->avx512_vnni || !cpu_get()->avx512_vbmi || !kit_open(&kit, VIVA_KERNELS_AVX512, 2)) {
    print_message("this processor has no AVX512_VNNI or no AVX512_VBMI\n");
    skip();
  }
  for (size_t v = 0; v < sizeof fp8 / sizeof fp8[0]; v++)
    for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++)
      for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++)
        for (size_t j = 0; j < sizeof ms / sizeof ms[0]; j++) check_vbmi(&kit, &fp8[v], mode, ms[j], 19, ks[i]);
  kit_close(&kit);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(reference_is_right),
    cmocka_unit_test(avx2_is_right),
    cmocka_unit_test(avx512_is_right),
    cmocka_unit_test(avx512_bf16_is_right),
    cmocka_unit_test(threads_do_not_change_bits),
    cmocka_unit_test(special_values_stay_in_their_row),
    cmocka_unit_test(every_pair_of_codes_is_exact),
#if defined(__x86_64__)
    cmocka_unit_test(fp8_has_the_same_bits_without_its_instructions),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
