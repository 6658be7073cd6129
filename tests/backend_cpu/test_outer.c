/* Rows in and out in other types and strides, quantised rows, and the activations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/ref.h"
#include "lib/cpu_kit.h"

enum { ROWS = 7, COLS = 300 };

static void on_tables(void (*test)(cpu_kit *kit)) {
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    test(&kit);
    kit_close(&kit);
  }
}

/* -- load_rows, store_rows */

static const viva_dtype dtypes[] = {VIVA_F32, VIVA_F16, VIVA_BF16};

static uint16_t narrow(viva_dtype dtype, float v) { return dtype == VIVA_F16 ? f16_from_f32(v) : bf16_from_f32(v); }

static float element(viva_dtype dtype, const char *base, ptrdiff_t index) {
  float value;
  uint16_t code;
  if (dtype == VIVA_F32) {
    memcpy(&value, base + index * 4, 4);
    return value;
  }
  memcpy(&code, base + index * 2, 2);
  return dtype == VIVA_F16 ? f16_to_f32(code) : bf16_to_f32(code);
}

/* Row and column strides: dense, padded, transposed, backwards, one row again and again. */
static const ptrdiff_t strides[][2] = {{COLS, 1}, {COLS + 5, 1}, {1, ROWS}, {COLS, -1}, {2 * COLS, 2}, {0, 1}};
enum { STRIDES = sizeof strides / sizeof strides[0] };

static void load_on(cpu_kit *kit) {
  const size_t count = 4 * ROWS * COLS;
  char *memory = malloc(count * 4);
  for (size_t d = 0; d < 3; d++) {
    uint64_t seed = d;
    for (size_t i = 0; i < count; i++) {
      const float v = kit_uniform(&seed);
      const uint16_t code = narrow(dtypes[d], v);
      if (dtypes[d] == VIVA_F32)
        memcpy(memory + 4 * i, &v, 4);
      else
        memcpy(memory + 2 * i, &code, 2);
    }
    for (size_t s = 0; s < STRIDES; s++) {
      const size_t bytes = dtypes[d] == VIVA_F32 ? 4 : 2, origin = 2 * COLS;
      const outer_rows from = {dtypes[d], memory + origin * bytes, strides[s][0], strides[s][1]};
      float to[ROWS * (COLS + 3)];
      uint8_t bad[ROWS];
      memset(bad, 7, sizeof bad);
      assert_int_equal(kit->ops->load_rows(kit->b, &from, ROWS, COLS, to, COLS + 3, bad, NULL), VIVA_OK);
      for (size_t r = 0; r < ROWS; r++) {
        assert_int_equal(bad[r], 0);
        for (size_t c = 0; c < COLS; c++)
          assert_true(to[r * (COLS + 3) + c] ==
                      element(dtypes[d], from.data, (ptrdiff_t)r * from.row_stride + (ptrdiff_t)c * from.col_stride));
      }
    }
  }
  free(memory);
}

static void rows_are_loaded_with_any_strides(void **state) {
  (void)state;
  on_tables(load_on);
}

static void bad_rows_on(cpu_kit *kit) {
  static const uint32_t f32_codes[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xffffffff, 0x7f800001};
  static const uint16_t f16_codes[] = {0x7c00, 0xfc00, 0x7e00, 0xffff, 0x7c01};
  for (size_t i = 0; i < 5; i++) {
    float wide[2 * 20] = {0}, to[2 * 20];
    uint16_t half[2 * 20] = {0};
    uint8_t bad[2];
    memcpy(&wide[20 + 4 * i], &f32_codes[i], 4);
    half[20 + 4 * i] = f16_codes[i];
    const outer_rows f32 = {VIVA_F32, wide, 20, 1}, f16 = {VIVA_F16, half, 20, 1};
    kit->ops->load_rows(kit->b, &f32, 2, 20, to, 20, bad, NULL);
    assert_true(bad[0] == 0 && bad[1] == 1);
    kit->ops->load_rows(kit->b, &f16, 2, 20, to, 20, bad, NULL);
    assert_true(bad[0] == 0 && bad[1] == 1);
  }
}

static void rows_with_nan_or_infinity_are_bad(void **state) {
  (void)state;
  on_tables(bad_rows_on);
}

static void store_on(cpu_kit *kit) {
  float from[ROWS * COLS], bias[COLS];
  uint64_t seed = 3;
  for (size_t i = 0; i < ROWS * COLS; i++) from[i] = kit_uniform(&seed) * 3;
  kit_fill(bias, COLS, &seed);
  const uint8_t bad[ROWS] = {[4] = 1};
  char *memory = malloc(4 * ROWS * COLS * 4);
  for (size_t d = 0; d < 3; d++) {
    for (size_t s = 0; s + 1 < STRIDES; s++) {
      for (int with = 0; with < 2; with++) { /* bias and bad rows, or neither */
        const size_t bytes = dtypes[d] == VIVA_F32 ? 4 : 2;
        const outer_rows to = {dtypes[d], memory + 2 * COLS * bytes, strides[s][0], strides[s][1]};
        uint64_t overflows = 5;
        assert_int_equal(kit->ops->store_rows(kit->b, from, COLS, ROWS, COLS, with ? bias : NULL, with ? bad : NULL,
                                              &to, &overflows, NULL),
                         VIVA_OK);
        assert_int_equal(overflows, 5);
        for (size_t r = 0; r < ROWS; r++) {
          for (size_t c = 0; c < COLS; c++) {
            const ptrdiff_t at = (ptrdiff_t)r * to.row_stride + (ptrdiff_t)c * to.col_stride;
            const float got = element(dtypes[d], to.data, at), sum = from[r * COLS + c] + (with ? bias[c] : 0);
            const uint16_t code = narrow(dtypes[d], sum);
            const float expected = dtypes[d] == VIVA_F32 ? sum : element(dtypes[d], (const char *)&code, 0);
            assert_true(with && r == 4 ? isnan(got) : got == expected);
          }
        }
      }
    }
  }
  free(memory);
}

static void rows_are_stored_with_any_strides(void **state) {
  (void)state;
  on_tables(store_on);
}

/* F16: halfway to the next power of two rounds to infinity; BF16 likewise. Infinities that were there are
 * sums beyond FP32: they count, in rows that are not bad. */
static void overflow_on(cpu_kit *kit) {
  const float values[] = {65504,    65519.99f, 65520, -65520,          1e30f,
                          INFINITY, -INFINITY, NAN,   0x1.fefffep127f, -0x1.ffp127f};
  const size_t n = sizeof values / sizeof values[0];
  uint16_t codes[10];
  uint64_t overflows = 0;
  const outer_rows f16 = {VIVA_F16, codes, (ptrdiff_t)n, 1}, bf16 = {VIVA_BF16, codes, (ptrdiff_t)n, 1};
  assert_int_equal(kit->ops->store_rows(kit->b, values, n, 1, n, NULL, NULL, &f16, &overflows, NULL), VIVA_OK);
  assert_int_equal(overflows, 7);
  assert_true(codes[0] == 0x7bff && codes[1] == 0x7bff && codes[2] == 0x7c00 && codes[3] == 0xfc00);
  overflows = 0;
  assert_int_equal(kit->ops->store_rows(kit->b, values, n, 1, n, NULL, NULL, &bf16, &overflows, NULL), VIVA_OK);
  assert_int_equal(overflows, 3);
  assert_true(codes[8] == 0x7f7f && codes[9] == 0xff80 && (codes[7] & 0x7fff) > 0x7f80);
  /* FP32: the sum with the bias overflows */
  float out[2], large[2] = {3e38f, 1};
  const outer_rows f32 = {VIVA_F32, out, 2, 1};
  overflows = 0;
  assert_int_equal(kit->ops->store_rows(kit->b, large, 2, 1, 2, large, NULL, &f32, &overflows, NULL), VIVA_OK);
  assert_true(overflows == 1 && isinf(out[0]) && out[1] == 2);
  /* a bad row is NaN, whatever its sums are */
  const uint8_t bad[1] = {1};
  large[0] = INFINITY, overflows = 0;
  assert_int_equal(kit->ops->store_rows(kit->b, large, 2, 1, 2, NULL, NULL, &f32, &overflows, NULL), VIVA_OK);
  assert_int_equal(overflows, 1);
  assert_int_equal(kit->ops->store_rows(kit->b, large, 2, 1, 2, NULL, bad, &f32, &overflows, NULL), VIVA_OK);
  assert_true(overflows == 1 && isnan(out[0]) && isnan(out[1]));
}

static void overflows_are_counted(void **state) {
  (void)state;
  on_tables(overflow_on);
}

static void other_types_are_refused(void **state) {
  cpu_kit kit;
  float x[1] = {0};
  uint8_t bad[1];
  viva_error error;
  (void)state;
  assert_int_equal(kit_open(&kit, VIVA_KERNELS_REFERENCE, 1), 1);
  const outer_rows rows = {VIVA_DTYPE_NONE, x, 1, 1};
  assert_int_equal(kit.ops->load_rows(kit.b, &rows, 1, 1, x, 1, bad, &error), VIVA_E_ARGUMENT);
  assert_non_null(strstr(error.message, "expected F32, F16 or BF16"));
  assert_int_equal(kit.ops->store_rows(kit.b, x, 1, 1, 1, NULL, NULL, &rows, NULL, &error), VIVA_E_ARGUMENT);
  kit_close(&kit);
}

/* -- quantize_rows */

/* Scales and codes as the contract has them, zeros behind, whatever the row; and no byte beyond quantized_bytes. */
static void quantize_on(cpu_kit *kit) {
  static const float largest[] = {0, 448, 127, 7};
  static const size_t widths[] = {1, 63, 64, 65, 300};
  for (input_mode mode = INPUT_E4M3; mode <= INPUT_INT4; mode++) {
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
      const size_t k = widths[i], m = 6, bytes = kit->ops->quantized_bytes(kit->b, mode, m, k);
      uint64_t seed = k;
      float x[6 * 300];
      kit_fill(x, m * k, &seed);
      memset(x + k, 0, k * sizeof *x);
      x[2 * k] = NAN, x[3 * k + k - 1] = -INFINITY;
      for (size_t c = 0; c < k; c++) x[4 * k + c] *= 0x1p-130f; /* a subnormal scale */
      char *xq = kit_guarded(bytes);
      assert_int_equal(bytes % 16, 0);
      assert_int_equal(kit->ops->quantize_rows(kit->b, mode, x, k, m, k, xq, NULL), VIVA_OK);
      const weight w = {.cols = k};
      const linear_args a = {.m = m, .input = mode, .xq = xq, .w = &w};
      for (size_t r = 0; r < m; r++) {
        const cpu_input in = cpu_input_of(&cpu_of(kit->b)->kernels, &a, r);
        float scale = f32_absmax_n(x + r * k, k, NULL) / largest[mode];
        if (r == 1) scale = 1;
        if (r == 2 || r == 3)
          assert_true(isnan(in.scales[0]));
        else
          assert_true(in.scales[0] == scale);
        /* What the bytes above hold: pairs where the table multiplies them, and only there. */
        const int pairs = mode == INPUT_E4M3 || cpu_of(kit->b)->kernels.integer_pairs;
        assert_int_equal(in.pairs != NULL, pairs);
        if (mode == INPUT_E4M3) assert_ptr_equal(in.pairs, in.codes);
        for (size_t c = 0; c < in.x_stride; c++) {
          float code = 0;
          if (c < k && r != 2 && r != 3) {
            const float ratio = x[r * k + c] / scale;
            code = mode == INPUT_E4M3 ? e4m3_to_f32(e4m3_from_f32(ratio)) : nearbyintf(ratio);
            if (fabsf(code) > largest[mode]) code = copysignf(largest[mode], code);
          }
          assert_true(in.x[c] == code);
        }
      }
      kit_guarded_free(xq, bytes);
    }
  }
}

static void rows_are_quantised(void **state) {
  (void)state;
  on_tables(quantize_on);
}

/* -- activations */

static double expected_of(activation act, double v) {
  switch (act) {
  case ACTIVATION_GELU_TANH: return v / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v)));
  case ACTIVATION_GELU_ERF: return v / 2 * (1 + erf(v / sqrt(2)));
  default: return v / (1 + exp(-v));
  }
}

/* An absolute error of 4 ulp of v: where GELU is nearly 0 its relative error is that of the exponent's argument. */
static void activations_on(cpu_kit *kit) {
  const cpu_kernels *k = &cpu_of(kit->b)->kernels;
  for (activation act = ACTIVATION_GELU_TANH; act <= ACTIVATION_SILU; act++) {
    for (int i = -4000; i <= 4000; i++) {
      const float v = (float)i * 0.005f;
      float y = v;
      k->activate(act, &y, 1);
      assert_true(fabs((double)y - expected_of(act, (double)v)) <= 4 * 0x1p-24 * fabs((double)v));
    }
    float special[3] = {NAN, 1e4f, -1e4f};
    k->activate(act, special, 3);
    assert_true(isnan(special[0]) && special[1] == 1e4f && special[2] == 0);
  }
}

static void activations_are_right(void **state) {
  (void)state;
  on_tables(activations_on);
}

static void erf_is_right(void **state) {
  (void)state;
  for (int i = -7000; i <= 7000; i++) {
    const double v = i * 1e-3 + 1e-5;
    assert_true(fabs(ref_erf(v) - erf(v)) <= 1e-12);
  }
  assert_true(ref_erf(INFINITY) == 1 && ref_erf(-INFINITY) == -1 && ref_erf(0) == 0 && isnan(ref_erf(NAN)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_loaded_with_any_strides),
      cmocka_unit_test(rows_with_nan_or_infinity_are_bad),
      cmocka_unit_test(rows_are_stored_with_any_strides),
      cmocka_unit_test(overflows_are_counted),
      cmocka_unit_test(other_types_are_refused),
      cmocka_unit_test(rows_are_quantised),
      cmocka_unit_test(activations_are_right),
      cmocka_unit_test(erf_is_right),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
