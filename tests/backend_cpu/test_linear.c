/* Matrix products: against a product in double, and bit for bit against themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cpu_kit.h"

#define EPSILON 0x1p-24 /* half an ulp of 1: the largest relative error of one rounding */

typedef struct product {
  size_t m, n, k;
  size_t x_gap, y_gap, w_gap; /* elements, elements, bytes between rows */
  int bias, residual;
  weight_format format;
} product;

/* Arguments of a product in guarded memory; results start as the residual, or as NaN. */
typedef struct arguments {
  product p;
  weight w;
  float *x, *bias, *residual, *y;
  size_t x_count, y_count;
} arguments;

static size_t span(size_t rows, size_t stride, size_t cols) { return (rows - 1) * stride + cols; }

static arguments arguments_make(product p, uint64_t seed) {
  arguments a = {.p = p};
  uint64_t state = seed;
  a.x_count = span(p.m, p.k + p.x_gap, p.k);
  a.y_count = span(p.m, p.n + p.y_gap, p.n);
  a.w = kit_weight(p.format, p.n, p.k, p.w_gap, &state);
  a.x = kit_guarded(a.x_count * sizeof(float));
  a.y = kit_guarded(a.y_count * sizeof(float));
  a.bias = kit_guarded(p.n * sizeof(float));
  a.residual = kit_guarded(a.y_count * sizeof(float));
  for (size_t i = 0; i < p.m; i++) kit_fill(a.x + i * (p.k + p.x_gap), p.k, &state); /* gaps stay NaN */
  for (size_t i = 0; i < p.m; i++) kit_fill(a.residual + i * (p.n + p.y_gap), p.n, &state);
  kit_fill(a.bias, p.n, &state);
  return a;
}

static void arguments_free(arguments *a) {
  kit_weight_free(&a->w);
  kit_guarded_free(a->x, a->x_count * sizeof(float));
  kit_guarded_free(a->y, a->y_count * sizeof(float));
  kit_guarded_free(a->bias, a->p.n * sizeof(float));
  kit_guarded_free(a->residual, a->y_count * sizeof(float));
}

static linear_args linear_of(const arguments *a, size_t row, size_t rows, float *y) {
  const size_t x_stride = a->p.k + a->p.x_gap, y_stride = a->p.n + a->p.y_gap;
  return (linear_args){.m = rows,
                       .x = a->x + row * x_stride,
                       .x_stride = x_stride,
                       .w = &a->w,
                       .bias = a->p.bias ? a->bias : NULL,
                       .residual = a->p.residual ? a->residual + row * y_stride : NULL,
                       .y = y + row * y_stride,
                       .y_stride = y_stride};
}

/* A lane of 8 adds k/8 products one after the other, the tree adds 3 levels, then come bias and residual: each rounding
 * adds at most EPSILON of the sum of magnitudes. Two roundings for each product where it is not fused. */
static void check_against_double(const arguments *a, const char *table) {
  const size_t x_stride = a->p.k + a->p.x_gap, y_stride = a->p.n + a->p.y_gap;
  for (size_t i = 0; i < a->p.m; i++) {
    for (size_t j = 0; j < a->p.n; j++) {
      double sum = 0, magnitude = 0;
      for (size_t c = 0; c < a->p.k; c++) {
        const double term = (double)a->x[i * x_stride + c] * kit_weight_at(&a->w, j, c);
        sum += term, magnitude += fabs(term);
      }
      if (a->p.bias) sum += (double)a->bias[j], magnitude += fabs((double)a->bias[j]);
      if (a->p.residual)
        sum += (double)a->residual[i * y_stride + j], magnitude += fabs((double)a->residual[i * y_stride + j]);
      const double bound = ((double)a->p.k / 8 + 3 + 2 + 2) * EPSILON * magnitude;
      const double error = fabs((double)a->y[i * y_stride + j] - sum);
      if (!(error <= bound))
        fail_msg("%s, format %d, m %zu n %zu k %zu: y[%zu][%zu] = %.9g, expected %.9g within %.3g", table,
                 (int)a->p.format, a->p.m, a->p.n, a->p.k, i, j, (double)a->y[i * y_stride + j], sum, bound);
    }
    for (size_t j = a->p.n; j < y_stride && i + 1 < a->p.m; j++) assert_true(isnan(a->y[i * y_stride + j]));
  }
}

/* Each row alone gives the row's bits in the batch. */
static void check_rows_alone(cpu_kit *kit, const arguments *a) {
  const size_t y_stride = a->p.n + a->p.y_gap;
  float *alone = kit_guarded(a->y_count * sizeof(float));
  for (size_t i = 0; i < a->p.m; i++) {
    const linear_args args = linear_of(a, i, 1, alone);
    assert_int_equal(kit->ops->linear(kit->b, &args, 1, NULL), VIVA_OK);
    if (!kit_same(alone + i * y_stride, a->y + i * y_stride, a->p.n))
      fail_msg("row %zu alone differs from the batch: format %d, m %zu n %zu k %zu", i, (int)a->p.format, a->p.m,
               a->p.n, a->p.k);
  }
  kit_guarded_free(alone, a->y_count * sizeof(float));
}

static const char *const tables[] = {"auto", "reference", "avx2", "avx512", "avx512-bf16"};

static void check_product(cpu_kit *kit, product p, const char *table) {
  arguments a = arguments_make(p, p.m * 1000003 + p.n * 1009 + p.k);
  const linear_args args = linear_of(&a, 0, p.m, a.y);
  assert_int_equal(kit->ops->linear(kit->b, &args, 1, NULL), VIVA_OK);
  check_against_double(&a, table);
  check_rows_alone(kit, &a);
  arguments_free(&a);
}

static void every_shape_is_right(void **state) {
  static const size_t ks[] = {1,  2,  3,  7,  8,   9,   15,  16,  17,  24,   31,   32,   33,
                              40, 47, 63, 64, 100, 256, 257, 576, 600, 2047, 2048, 2049, 4099};
  static const size_t ns[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 33, 64, 65, 130};
  static const size_t ms[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 64, 97, 512};
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    for (weight_format f = 0; f < WEIGHT_FORMATS; f++) {
      for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
        check_product(&kit, (product){.m = 1, .n = 9, .k = ks[i], .format = f, .x_gap = 3}, tables[table]);
        check_product(&kit, (product){.m = 11, .n = 6, .k = ks[i], .format = f, .y_gap = 1, .bias = 1}, tables[table]);
      }
      for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++) {
        check_product(&kit, (product){.m = 1, .n = ns[i], .k = 65, .format = f, .residual = 1}, tables[table]);
        check_product(&kit, (product){.m = 14, .n = ns[i], .k = 35, .format = f, .w_gap = 4, .bias = 1, .residual = 1},
                      tables[table]);
      }
      for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++)
        check_product(&kit, (product){.m = ms[i], .n = 13, .k = 43, .format = f, .bias = 1, .y_gap = 5}, tables[table]);
    }
    kit_close(&kit);
  }
}

/* Long K in blocks, with many blocks of x and panels: the lane sums go through memory. */
static void long_k_is_right(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 3)) continue;
    check_product(&kit, (product){.m = 100, .n = 37, .k = 4500, .format = WEIGHT_BF16, .residual = 1}, tables[table]);
    check_product(&kit, (product){.m = 9, .n = 70, .k = 6151, .format = WEIGHT_F16, .bias = 1}, tables[table]);
    kit_close(&kit);
  }
}

/* K = 0: nothing is multiplied, bias and residual remain. */
static void empty_k_gives_the_epilogue(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    for (size_t m = 1; m < 20; m += 18) {
      float bias[5] = {1, 2, 3, 4, 5}, y[20 * 5], x[1] = {0};
      const weight w = {.format = WEIGHT_F32, .rows = 5, .data = x};
      const linear_args args = {.m = m, .x = x, .w = &w, .bias = bias, .y = y, .y_stride = 5};
      assert_int_equal(kit.ops->linear(kit.b, &args, 1, NULL), VIVA_OK);
      for (size_t i = 0; i < m * 5; i++) assert_true(y[i] == bias[i % 5]);
    }
    kit_close(&kit);
  }
}

/* Several layers in one call, of unequal shapes and formats, in place of a residual. */
static void layers_at_once_equal_one_by_one(void **state) {
  static const size_t ms[] = {1, 5, 8, 9, 40};
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 3)) continue;
    for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
      arguments a[3];
      linear_args args[3];
      float *expected[3];
      for (size_t j = 0; j < 3; j++) {
        static const size_t ns[] = {190, 3, 77};
        a[j] = arguments_make((product){.m = ms[i], .n = ns[j], .k = 130, .format = (weight_format)j}, 7 + j);
        args[j] = linear_of(&a[j], 0, ms[i], a[j].y);
        expected[j] = calloc(a[j].y_count, sizeof(float));
        linear_args one = args[j];
        one.y = expected[j];
        if (j == 1) {
          memcpy(a[j].y, a[j].residual, a[j].y_count * sizeof(float));
          memcpy(expected[j], a[j].residual, a[j].y_count * sizeof(float));
          args[j].residual = args[j].y, one.residual = one.y;
        }
        assert_int_equal(kit.ops->linear(kit.b, &one, 1, NULL), VIVA_OK);
      }
      assert_int_equal(kit.ops->linear(kit.b, args, 3, NULL), VIVA_OK);
      for (size_t j = 0; j < 3; j++) {
        assert_true(kit_same(a[j].y, expected[j], a[j].y_count));
        free(expected[j]);
        arguments_free(&a[j]);
      }
    }
    kit_close(&kit);
  }
}

static void threads_do_not_change_bits(void **state) {
  static const int threads[] = {1, 2, 3, 7};
  static const product products[] = {{.m = 1, .n = 1000, .k = 577, .format = WEIGHT_BF16, .bias = 1},
                                     {.m = 7, .n = 333, .k = 200, .format = WEIGHT_F16, .residual = 1},
                                     {.m = 130, .n = 201, .k = 150, .format = WEIGHT_BF16},
                                     {.m = 200, .n = 50, .k = 2500, .format = WEIGHT_F32}};
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
      arguments a = arguments_make(products[i], i);
      float *first = NULL;
      for (size_t j = 0; j < sizeof threads / sizeof threads[0]; j++) {
        cpu_kit kit;
        if (!kit_open(&kit, table, threads[j])) break;
        const linear_args args = linear_of(&a, 0, a.p.m, a.y);
        assert_int_equal(kit.ops->linear(kit.b, &args, 1, NULL), VIVA_OK);
        if (first)
          assert_true(kit_same(first, a.y, a.y_count));
        else
          first = memcpy(malloc(a.y_count * sizeof(float)), a.y, a.y_count * sizeof(float));
        kit_close(&kit);
      }
      free(first);
      arguments_free(&a);
    }
  }
}

/* Rows in chunks of 1, 7, 64 and all. */
static void chunks_do_not_change_bits(void **state) {
  static const size_t chunks[] = {1, 7, 64};
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    arguments a = arguments_make((product){.m = 150, .n = 90, .k = 96, .format = WEIGHT_BF16, .bias = 1}, 5);
    const linear_args all = linear_of(&a, 0, a.p.m, a.y);
    assert_int_equal(kit.ops->linear(kit.b, &all, 1, NULL), VIVA_OK);
    float *y = malloc(a.y_count * sizeof *y);
    for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
      memset(y, 0, a.y_count * sizeof *y);
      for (size_t row = 0; row < a.p.m; row += chunks[c]) {
        const linear_args some = linear_of(&a, row, a.p.m - row < chunks[c] ? a.p.m - row : chunks[c], y);
        assert_int_equal(kit.ops->linear(kit.b, &some, 1, NULL), VIVA_OK);
      }
      assert_true(kit_same(y, a.y, a.y_count));
    }
    free(y);
    arguments_free(&a);
    kit_close(&kit);
  }
}

/* NaN and infinity stay in their row of x and row of w; subnormals and zeros are kept. */
static void special_values_stay_in_their_row(void **state) {
  static const size_t ms[] = {6, 20};
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
      arguments a = arguments_make((product){.m = ms[i], .n = 21, .k = 37, .format = WEIGHT_F32}, 3);
      const size_t m = ms[i], n = 21, k = 37;
      a.x[2 * k + 36] = NAN, a.x[3 * k + 4] = INFINITY;
      float *w = (float *)(uintptr_t)a.w.data;
      w[5 * k + 35] = NAN;
      for (size_t c = 0; c < k; c++) a.x[1 * k + c] = 0, w[7 * k + c] = c == 0 ? 1 : 0;
      a.x[4 * k] = 0x1p-140f; /* subnormal */
      const linear_args args = linear_of(&a, 0, m, a.y);
      assert_int_equal(kit.ops->linear(kit.b, &args, 1, NULL), VIVA_OK);
      for (size_t r = 0; r < m; r++) {
        for (size_t c = 0; c < n; c++) {
          const float y = a.y[r * n + c];
          if (r == 2 || c == 5)
            assert_true(isnan(y));
          else if (r == 3)
            assert_true(c == 7 ? isnan(y) : isinf(y)); /* inf · 0 */
          else
            assert_true(isfinite(y));
        }
      }
      for (size_t c = 0; c < n; c++)
        if (c != 5) assert_true(a.y[1 * n + c] == 0);
      assert_true(a.y[4 * n + 7] == 0x1p-140f);
      arguments_free(&a);
    }
    kit_close(&kit);
  }
}

/* F16 and BF16 subnormals, infinities and every other code reach the product with their exact value. */
static void every_code_is_widened(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    for (weight_format f = WEIGHT_BF16; f <= WEIGHT_F16; f++) {
      uint64_t seed = 1;
      weight w = kit_weight(f, 65536, 1, 0, &seed);
      uint16_t *codes = (uint16_t *)(uintptr_t)w.data;
      for (size_t i = 0; i < 65536; i++) codes[i] = (uint16_t)i;
      float *y = malloc(16 * 65536 * sizeof *y), x[16];
      for (size_t i = 0; i < 16; i++) x[i] = 1;
      for (size_t m = 1; m <= 16; m += 15) {
        const linear_args args = {.m = m, .x = x, .x_stride = 1, .w = &w, .y = y, .y_stride = 65536};
        assert_int_equal(kit.ops->linear(kit.b, &args, 1, NULL), VIVA_OK);
        for (size_t i = 0; i < 65536; i++) {
          const double expected = kit_weight_at(&w, i, 0);
          assert_true(isnan(expected) ? isnan(y[i]) : (double)y[i] == expected);
        }
      }
      free(y);
      kit_weight_free(&w);
    }
    kit_close(&kit);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_shape_is_right),
      cmocka_unit_test(long_k_is_right),
      cmocka_unit_test(empty_k_gives_the_epilogue),
      cmocka_unit_test(layers_at_once_equal_one_by_one),
      cmocka_unit_test(threads_do_not_change_bits),
      cmocka_unit_test(chunks_do_not_change_bits),
      cmocka_unit_test(special_values_stay_in_their_row),
      cmocka_unit_test(every_code_is_widened),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
