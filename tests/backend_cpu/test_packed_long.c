/* NVFP4 and 2:4 weights with a K longer than a panel: their values, wherever K is cut; the error where all terms are equal;
 * and equal bits however rows and threads are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backend_cpu/packed_variants.h"
#include "lib/cpu_kit.h"
#include "number/number.h"

/* Rows that are their own codes, scale 1: the first value of each is the largest of the mode. */
static void code_rows(input_mode mode, float *x, size_t m, size_t k, uint64_t *state) {
  static const float largest[] = {1, FP8_LARGEST, INT8_LARGEST, INT4_LARGEST};
  for (size_t i = 0; i < m * k; i++) {
    const int code = (int)(kit_random(state) % 0x7f), sign = kit_random(state) & 1 ? -1 : 1;
    switch (mode) {
    case INPUT_F16: fail(); /* no mode of the CPU's */
    case INPUT_FLOAT: x[i] = kit_uniform(state); break;
    case INPUT_E4M3: x[i] = (float)sign * e4m3_to_f32((uint8_t)code); break;
    case INPUT_INT8: x[i] = (float)(sign * code); break;
    case INPUT_INT4: x[i] = (float)(sign * (code % (INT4_LARGEST + 1))); break;
    }
  }
  for (size_t i = 0; i < m; i++) x[i * k] = largest[mode];
}

/* Longer than a panel of codes. Were K cut at any multiple of 64, halves of these would be odd multiples of it, and the
 * second panel would begin in the middle of what is added up together: CPU_CUT_UNIT. */
static void long_k_is_right(void **state) {
  (void)state;
  static const size_t ks[] = {4160, 5387};
  enum { M = 24 };
  float *x = malloc(M * 5387 * sizeof *x), y[M * N];
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    for (size_t v = 0; v < 2 * VARIANTS; v++) {
      const variant *is = &variants[v / 2];
      uint64_t seed = v;
      weight w = kit_packed(is->format, N, ks[v % 2], 0, is->block, is->scales, &seed);
      for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++) {
        code_rows(mode, x, M, w.cols, &seed);
        multiply(&kit, &w, mode, x, M, y);
        check_values(&w, x, M, y);
      }
      kit_weight_free(&w);
    }
    kit_close(&kit);
  }
  free(x);
}

/* Every kept code one value, every scale one value. */
static weight equal_weight(const variant *is, size_t k, uint64_t *state) {
  weight w = kit_packed(is->format, N, k, 0, is->block, is->scales, state);
  const size_t kept = w.format == WEIGHT_INT8_24 ? SPARSE_24_KEPT : SPARSE_24_KEPT / 2;
  const size_t unit = w.format == WEIGHT_NVFP4 ? NVFP4_BLOCK_BYTES : kept + SPARSE_24_GROUPS / 2;
  for (size_t i = 0; i < N * w.row_bytes; i++)
    if (w.format == WEIGHT_NVFP4 || i % unit < kept) ((uint8_t *)(uintptr_t)w.data)[i] = 0x55; /* 3, 85, 5 */
  char *scales = (char *)(uintptr_t)w.scales;
  const size_t bytes = scale_bytes(w.scales_type);
  for (size_t i = bytes; i < N * w.scale_row_bytes; i += bytes) memcpy(scales + i, scales, bytes);
  return w;
}

/* Equal terms are the worst case of a chain: its sum grows all the time, and where the steps between floats are wide every
 * addition is rounded the same way. At least 8 lanes share the K columns (2:4 on AVX2: 4 lanes the K/2 kept), each a chain
 * of at most K/8 fused additions, and an addition is off by at most 2^-24 of its sum, so of the lane's Σ|x·w|. The 8 are
 * for what is rounded beside them: the weight times the scale of its block, the product where it is not fused, 3 or 4
 * levels of the tree, and up to 3 products with scales of the row. */
static void equal_terms_stay_within_a_chain(void **state) {
  (void)state;
  static const size_t ks[] = {4096, LONGEST_K};
  static const size_t ms[] = {1, 3, 17};
  enum { MOST = 17 };
  float *x = malloc(MOST * LONGEST_K * sizeof *x), y[MOST * N];
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    for (size_t v = 0; v < 2 * VARIANTS; v++) {
      uint64_t seed = v + 1;
      const size_t k = ks[v % 2];
      weight w = equal_weight(&variants[v / 2], k, &seed);
      const float value = kit_uniform(&seed);
      for (size_t i = 0; i < MOST * k; i++) x[i] = value;
      for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
        multiply(&kit, &w, INPUT_FLOAT, x, ms[i], y);
        check_within((double)(k / 8 + 8) * 0x1p-24, &w, x, ms[i], y);
      }
      kit_weight_free(&w);
    }
    kit_close(&kit);
  }
  free(x);
}

/* One row, few rows, and panels; 1, 2 and 5 threads; a K longer than a panel. */
static void cuts_do_not_change_bits_at(size_t k) {
  enum { M = 24, ROWS = 37 };
  float *x = malloc(M * k * sizeof *x), *all = malloc(M * ROWS * sizeof *all), *some = malloc(M * ROWS * sizeof *some);
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    for (size_t v = 0; v < VARIANTS; v++) {
      uint64_t seed = v;
      weight w = kit_packed(variants[v].format, ROWS, k, 0, variants[v].block, variants[v].scales, &seed);
      kit_fill(x, M * k, &seed);
      for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++) {
        for (int threads = 1; threads <= 5; threads += threads == 1 ? 1 : 3) {
          cpu_kit kit;
          if (!kit_open(&kit, table, threads)) continue;
          multiply(&kit, &w, mode, x, M, threads == 1 ? all : some);
          if (threads > 1) assert_true(kit_same(some, all, M * ROWS));
          for (size_t m = 1; m <= 16 && threads == 2; m += 3) {
            multiply(&kit, &w, mode, x, m, some);
            assert_true(kit_same(some, all, m * ROWS));
          }
          kit_close(&kit);
        }
      }
      kit_weight_free(&w);
    }
  }
  free(x), free(all), free(some);
}

static void cuts_do_not_change_bits(void **state) {
  (void)state;
  cuts_do_not_change_bits_at(4160);
  cuts_do_not_change_bits_at(4999);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(long_k_is_right),
      cmocka_unit_test(equal_terms_stay_within_a_chain),
      cmocka_unit_test(cuts_do_not_change_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
