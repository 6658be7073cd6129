/* NVFP4 and 2:4 weights where their blocks end or are empty: every K up to 130, groups of zeros, every type of scale.
 * test_packed_long.c has a K longer than a panel, test_linear_packed.c the large shapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend_cpu/packed_variants.h"
#include "base/cpu.h"
#include "lib/cpu_kit.h"
#include "pack/pack.h"

enum { MOST_K = 130, MOST_M = 33 };

/* Rows of whole numbers up to 127, the largest of them 127: quantised to INT8 they are their own codes, scale 1. */
static void whole_rows(float *x, size_t m, size_t k, uint64_t *state) {
  for (size_t i = 0; i < m * k; i++) x[i] = (float)((int)(kit_random(state) % 255) - 127);
  for (size_t i = 0; i < m; i++) x[i * k] = 127;
}

/* FP32 and INT8 rows see the same numbers here, so both are held to the same product. */
static void every_k_is_right(void **state) {
  (void)state;
  float x[MOST_M * MOST_K], y[MOST_M * N], alone[N];
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    for (size_t v = 0; v < VARIANTS; v++) {
      for (size_t k = 1; k <= MOST_K; k++) {
        uint64_t seed = k + 1000 * v;
        weight w = kit_packed(variants[v].format, N, k, 0, variants[v].block, variants[v].scales, &seed);
        const size_t m = k % 3 == 0 ? MOST_M : 1 + k % 7;
        whole_rows(x, m, k, &seed);
        for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT8; mode += INPUT_INT8) {
          multiply(&kit, &w, mode, x, m, y);
          check_values(&w, x, m, y);
          multiply(&kit, &w, mode, x + (m - 1) * k, 1, alone);
          assert_true(kit_same(alone, y + (m - 1) * N, N));
        }
        kit_weight_free(&w);
      }
    }
    kit_close(&kit);
  }
}

/* Codes that are all 0 give +0 whatever the scales and indices, and a block of zeros adds nothing to its neighbours. */
static void groups_of_zeros_give_zero(void **state) {
  (void)state;
  enum { K = 192 };
  float x[20 * K], y[20 * N];
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    for (size_t v = 0; v < VARIANTS; v++) {
      uint64_t seed = v;
      weight w = kit_packed(variants[v].format, N, K, 0, variants[v].block, variants[v].scales, &seed);
      uint8_t *codes = (uint8_t *)(uintptr_t)w.data;
      memset(codes, 0, 2 * w.row_bytes);                                     /* rows 0 and 1: nothing, indices 0 too */
      memset(codes + 2 * w.row_bytes, 0, w.row_bytes / 3);                   /* row 2: the first 64 columns */
      memset(codes + 4 * w.row_bytes - w.row_bytes / 3, 0, w.row_bytes / 3); /* row 3: the last 64 */
      for (size_t m = 1; m <= 20; m += 19) {
        whole_rows(x, m, K, &seed);
        for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT8; mode += INPUT_INT8) {
          multiply(&kit, &w, mode, x, m, y);
          check_values(&w, x, m, y);
          for (size_t i = 0; i < m; i++) assert_true(y[i * N] == 0 && !signbit(y[i * N]) && y[i * N + 1] == 0);
        }
      }
      kit_weight_free(&w);
    }
    kit_close(&kit);
  }
}

/* The largest codes everywhere: 16-bit sums of the integer products are at their limit. Two of four: every choice. */
static void largest_codes_do_not_overflow(void **state) {
  (void)state;
  enum { K = 1024 };
  static const uint8_t nibbles[6] = {4, 8, 9, 12, 13, 14};
  float *x = malloc(17 * K * sizeof *x), y[17 * 6];
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    for (size_t v = 0; v < VARIANTS; v++) {
      uint64_t seed = v;
      weight w = kit_packed(variants[v].format, 6, K, 0, variants[v].block, variants[v].scales, &seed);
      for (size_t n = 0; n < 6; n++) {
        uint8_t *row = (uint8_t *)(uintptr_t)w.data + n * w.row_bytes;
        if (w.format == WEIGHT_NVFP4) memset(row, n % 2 ? 0xff : 0x77, w.row_bytes); /* −6 or 6 */
        for (size_t b = 0; b < K / SPARSE_24_COLUMNS && w.format != WEIGHT_NVFP4; b++) {
          const size_t kept = w.format == WEIGHT_INT8_24 ? SPARSE_24_KEPT : SPARSE_24_KEPT / 2;
          memset(row, w.format == WEIGHT_INT8_24 ? (n % 2 ? 0x81 : 0x7f) : n % 2 ? 0x99 : 0x77, kept);
          memset(row + kept, nibbles[n] | nibbles[n] << 4, SPARSE_24_GROUPS / 2);
          row += kept + SPARSE_24_GROUPS / 2;
        }
      }
      for (size_t m = 1; m <= 17; m += 16) {
        for (size_t i = 0; i < m * K; i++) x[i] = i / K % 2 ? -127 : 127;
        multiply(&kit, &w, INPUT_INT8, x, m, y);
        check_values(&w, x, m, y);
      }
      kit_weight_free(&w);
    }
    kit_close(&kit);
  }
  free(x);
}

/* Any byte i of a row that loading lets through. */
static uint8_t file_byte(weight_format format, size_t i, uint64_t *state) {
  static const uint8_t nibbles[6] = {4, 8, 9, 12, 13, 14};
  const size_t kept = format == WEIGHT_INT8_24 ? SPARSE_24_KEPT : SPARSE_24_KEPT / 2;
  const uint64_t random = kit_random(state) >> 16;
  const uint8_t byte = (uint8_t)random;
  if (format == WEIGHT_NVFP4) return byte;
  if (i % (kept + SPARSE_24_GROUPS / 2) >= kept) return (uint8_t)(nibbles[random % 6] | nibbles[random / 6 % 6] << 4);
  if (format == WEIGHT_INT8_24) return byte == 0x80 ? 0x81 : byte;
  return (uint8_t)(byte | ((byte & 0x0f) == 0x08) | ((byte & 0xf0) == 0x80 ? 0x10 : 0));
}

/* Codes and indices as a file may have them: any that loading lets through, beyond the last column too. */
static void any_codes_of_a_file_are_right(void **state) {
  (void)state;
  float x[MOST_M * MOST_K], y[MOST_M * N];
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    for (size_t v = 0; v < VARIANTS; v++) {
      for (size_t k = 1; k <= MOST_K; k += k % 64 < 4 ? 1 : 5) {
        uint64_t seed = k + 1000 * v;
        weight w = kit_packed(variants[v].format, N, k, 0, variants[v].block, variants[v].scales, &seed);
        uint8_t *bytes = (uint8_t *)(uintptr_t)w.data;
        for (size_t i = 0; i < N * w.row_bytes; i++) bytes[i] = file_byte(w.format, i % w.row_bytes, &seed);
        if (w.format != WEIGHT_NVFP4)
          assert_false(pack_check_index(&w, 0, N).found || pack_check_codes(&w, 0, N).found);
        const size_t m = k % 3 == 0 ? MOST_M : 1 + k % 7;
        whole_rows(x, m, k, &seed);
        for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT8; mode += INPUT_INT8) {
          multiply(&kit, &w, mode, x, m, y);
          check_values(&w, x, m, y);
        }
        kit_weight_free(&w);
      }
    }
    kit_close(&kit);
  }
}

/* A NaN among NVFP4's scales makes its row NaN, in whatever block it is, and no other. */
static void nan_scale_gives_nan(void **state) {
  (void)state;
  enum { K = 1100 };
  float *x = malloc(20 * K * sizeof *x), y[20 * N];
  static const size_t blocks[N - 2] = {0, 40, 67, 68}; /* of 69 */
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    uint64_t seed = 3;
    weight w = kit_packed(WEIGHT_NVFP4, N, K, 0, NVFP4_BLOCK, SCALE_E4M3, &seed);
    for (size_t i = 0; i < N - 2; i++)
      ((uint8_t *)(uintptr_t)w.scales)[(1 + i) * w.scale_row_bytes + blocks[i]] = i % 2 ? 0xff : 0x7f;
    for (size_t m = 1; m <= 20; m += 19) {
      whole_rows(x, m, K, &seed);
      for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++) {
        multiply(&kit, &w, mode, x, m, y);
        for (size_t i = 0; i < m * N; i++) assert_int_equal(isnan(y[i]) != 0, i % N != 0 && i % N != N - 1);
      }
    }
    kit_weight_free(&w);
    kit_close(&kit);
  }
  free(x);
}

/* NVFP4: every value with every scale, one product a sum: exact, with FP32 and E4M3 rows, alone, few and many. */
static void every_scale_and_value_is_exact(void **state) {
  (void)state;
  enum { SCALES = 256, VALUES = NVFP4_BLOCK, M = 2 * VALUES };
  static float x[M * VALUES], y[M * SCALES];
  for (size_t i = 0; i < M; i++) x[i * VALUES + i % VALUES] = FP8_LARGEST; /* its own code of E4M3, scale 1 */
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    uint64_t seed = 1;
    weight w = kit_packed(WEIGHT_NVFP4, SCALES, VALUES, 0, NVFP4_BLOCK, SCALE_E4M3, &seed);
    w.global = 1;
    for (size_t n = 0; n < SCALES; n++) {
      uint8_t *codes = (uint8_t *)(uintptr_t)w.data + n * w.row_bytes;
      for (size_t i = 0; i < VALUES / 2; i++) codes[i] = (uint8_t)(2 * i | (2 * i + 1) << 4);
      ((uint8_t *)(uintptr_t)w.scales)[n * w.scale_row_bytes] = (uint8_t)n;
    }
    for (input_mode mode = INPUT_FLOAT; mode <= INPUT_E4M3; mode++) {
      for (size_t m = 1; m <= M; m += m == 1 ? VALUES - 1 : VALUES) {
        for (size_t row = 0; row + m <= M; row += m) {
          multiply(&kit, &w, mode, x + row * VALUES, m, y);
          for (size_t i = 0; i < m * SCALES; i++) {
            const float value = e2m1_to_f32((uint8_t)((row + i / SCALES) % VALUES));
            const float expected = FP8_LARGEST * value * e4m3_to_f32((uint8_t)(i % SCALES));
            assert_true(isnan(expected) ? isnan(y[i]) : y[i] == expected);
          }
        }
      }
    }
    kit_weight_free(&w);
    kit_close(&kit);
  }
}

#if defined(__x86_64__)
/* 2:4 times INT8 rows with the instructions of AVX512_VNNI and AVX512_VBMI and without: the same bits, so that a table has
 * the same ones on every processor. */
static void sparse_has_the_same_bits_without_its_instructions(void **state) {
  static const size_t ks[] = {1, 63, 64, 65, 128, 191, 320, 4160, 4999};
  static const size_t ms[] = {1, 3, 16, 30};
  enum { MOST_KS = 4999, ROWS = 11 };
  cpu_kit kit;
  (void)state;
  if (!cpu_get()->avx512_vnni || !cpu_get()->avx512_vbmi || !kit_open(&kit, VIVA_KERNELS_AVX512, 2)) {
    print_message("this processor has no AVX512_VNNI or no AVX512_VBMI\n");
    skip();
  }
  float *x = malloc(30 * MOST_KS * sizeof *x), y[2][30 * ROWS];
  for (size_t v = 1; v < VARIANTS; v++) {
    for (size_t i = 0; i < sizeof ks / sizeof ks[0]; i++) {
      for (size_t j = 0; j < sizeof ms / sizeof ms[0]; j++) {
        uint64_t seed = i + j;
        weight w = kit_packed(variants[v].format, ROWS, ks[i], 0, variants[v].block, variants[v].scales, &seed);
        w.pairs = ks[i] % SPARSE_24_COLUMNS == 0 && j % 2 == 0;
        kit_fill(x, ms[j] * ks[i], &seed);
        for (int native = 0; native < 2; native++) {
          (native ? kernels_avx512_vbmi : kernels_avx512)(&cpu_of(kit.b)->kernels);
          multiply(&kit, &w, INPUT_INT8, x, ms[j], y[native]);
        }
        assert_true(kit_same(y[0], y[1], ms[j] * ROWS));
        kit_weight_free(&w);
      }
    }
  }
  free(x);
  kit_close(&kit);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_k_is_right),
    cmocka_unit_test(groups_of_zeros_give_zero),
    cmocka_unit_test(largest_codes_do_not_overflow),
    cmocka_unit_test(any_codes_of_a_file_are_right),
    cmocka_unit_test(nan_scale_gives_nan),
    cmocka_unit_test(every_scale_and_value_is_exact),
#if defined(__x86_64__)
    cmocka_unit_test(sparse_has_the_same_bits_without_its_instructions),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
