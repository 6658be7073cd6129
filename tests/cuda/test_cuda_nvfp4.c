/* Blocks of NVFP4 made and read on the GPU: the bytes of viva_compress, the bits of viva_decompress; and their speed beside
 * plain copying in the same run, as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/nvfp4_blocks.h"
#include "compress/compress_kit.h"
#include "compress/segment.h"
#include "lib/cuda_kit.h"
#include "number/finite.h"
#include "pack/pack_kernels.h"

static cuda_kit kit;
static viva_engine *engine;

static void synchronize(void) { assert_int_equal(cudaDeviceSynchronize(), cudaSuccess); }

/* What the kernels need for values in the device's memory; table: of this number, or NULL. */
static nvfp4_blocks blocks_for(const float *values, size_t count, float number, const nvfp4_table *table) {
  const size_t blocks = (count + NVFP4_BLOCK - 1) / NVFP4_BLOCK;
  return (nvfp4_blocks){.values = values,
                        .count = count,
                        .number = number,
                        .table = table,
                        .scales = cuda_kit_put(&kit, NULL, blocks + 1),
                        .codes = cuda_kit_put(&kit, NULL, blocks * NVFP4_BLOCK_BYTES + 8)};
}

static const nvfp4_table *put_table(float number) {
  const pack_spec spec = {.format = WEIGHT_NVFP4, .block = NVFP4_BLOCK, .scale = SCALE_E4M3, .global = number};
  nvfp4_table table;
  nvfp4_make_table(&spec, &table);
  return cuda_kit_put(&kit, &table, sizeof table);
}

/* -- the same bytes */

static void check_bytes(const char *what, const uint8_t *expected, const uint8_t *dev, size_t bytes, size_t behind) {
  uint8_t *got = malloc(bytes + behind);
  cuda_kit_get(&kit, got, dev, bytes + behind);
  for (size_t i = 0; i < bytes; i++)
    if (got[i] != expected[i])
      fail_msg("%s: byte %zu of %zu is %02x; the CPU has %02x", what, i, bytes, got[i], expected[i]);
  for (size_t i = bytes; i < bytes + behind; i++) assert_int_equal(got[i], 0xff); /* nothing written behind */
  free(got);
}

static void check_absmax(const float *dev, size_t count, float expected) {
  const uint32_t zero = 0;
  uint32_t *bits = cuda_kit_put(&kit, &zero, sizeof zero), got;
  synchronize(); /* uploads go through the backend's stream, the kernels below through another */
  assert_int_equal(nvfp4_blocks_absmax(dev, count, bits, NULL), 0);
  synchronize();
  cuda_kit_get(&kit, &got, bits, sizeof got);
  assert_int_equal(got, f32_bits(expected));
}

/* global: a given scale, or 0. */
static void compress_of(const float *values, size_t count, viva_scale_search search, float global) {
  const size_t blocks = (count + NVFP4_BLOCK - 1) / NVFP4_BLOCK;
  viva_compression_config config = viva_nvfp4_e2m1_config();
  viva_compressed *c = NULL;
  viva_stream_chunk chunk = {.size = sizeof chunk};
  config.search = search;
  config.max_error_pct = 0;
  config.global_scale = global;
  viva_tensor *t = kit_tensor(engine, values, 1, count);
  assert_int_equal(viva_compress(engine, t, &config, &c, NULL), VIVA_OK);
  assert_int_equal(viva_compressed_segment(c, 0, &chunk, NULL), VIVA_OK);
  float *expected = malloc(count * sizeof *expected), *got = malloc(count * sizeof *got);
  assert_int_equal(viva_decompress_into(engine, c, expected, count, NULL), VIVA_OK);

  const float number = nvfp4_number(chunk.global_scale), *dev = cuda_kit_put(&kit, values, count * sizeof *values);
  const nvfp4_blocks b = blocks_for(dev, count, number, search == VIVA_SEARCH_MSE ? put_table(number) : NULL);
  float *to = cuda_kit_put(&kit, NULL, (count + 1) * sizeof *to);
  synchronize();
  assert_int_equal(nvfp4_blocks_compress(&b, NULL), 0);
  assert_int_equal(nvfp4_blocks_decompress(&b, to, NULL), 0);
  synchronize();
  check_bytes("scales", chunk.nvfp4_scales, b.scales, blocks, 1);
  check_bytes("codes", chunk.codes, b.codes, blocks * NVFP4_BLOCK_BYTES, 8);
  cuda_kit_get(&kit, got, to, count * sizeof *got);
  assert_memory_equal(got, expected, count * sizeof *got);
  check_bytes("values", (const uint8_t *)expected, (const uint8_t *)to, count * sizeof *to, sizeof *to);
  float absmax = 0;
  for (size_t i = 0; i < count; i++) absmax = fmaxf(absmax, fabsf(values[i]));
  check_absmax(dev, count, absmax);
  cuda_kit_drop(&kit);
  viva_compressed_release(c), viva_tensor_release(t);
  free(expected), free(got);
}

static void bytes_are_the_cpus(void **state) {
  static const size_t counts[] = {
      1, 3, 4, 15, 16, 17, 63, 64, 100, 1023, 4096, 4099, 65536 + 5, 1 << 20, (1 << 20) + 13};
  static const float scales[] = {1, 1e-30f, 1e30f};
  uint64_t seed = 1;
  (void)state;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    float *values = malloc(counts[i] * sizeof *values);
    for (int which = 0; which < KIT_DISTRIBUTIONS; which++) {
      kit_values(which, scales[which % 3], values, counts[i], kit_next(&seed));
      for (size_t k = 0; k < counts[i]; k++) {
        const uint64_t chance = kit_next(&seed) % 64; /* zeros of both signs, small blocks among large ones */
        if (chance < 2) values[k] = chance ? 0.0f : -0.0f;
        if (k / 16 % 7 == 3) values[k] *= 1e-5f;
      }
      compress_of(values, counts[i], VIVA_SEARCH_ABSMAX, 0);
      compress_of(values, counts[i], VIVA_SEARCH_MSE, 0);
      compress_of(values, counts[i], VIVA_SEARCH_MSE, scales[which % 3] / 8); /* blocks beyond the largest scale */
    }
    free(values);
  }
}

/* Up to FP32's end, where products are rounded to infinity: what is finite comes back finite, as from the CPU. */
static void finite_stays_finite(void **state) {
  enum { COUNT = 1 << 16 };
  float *values = malloc(COUNT * sizeof *values);
  uint64_t seed = 5;
  (void)state;
  for (int round = 0; round < 4; round++) {
    for (size_t i = 0; i < COUNT; i++) {
      const float near = FLT_MAX * (1 - 0x1p-10f * (float)kit_unit(&seed)), sign = kit_next(&seed) & 1 ? 1 : -1;
      values[i] = sign * (round % 2 ? FLT_MAX * (float)kit_unit(&seed) : near);
    }
    values[0] = FLT_MAX; /* as the scale, it gives a number by which 6 · 448 is 2^128 */
    compress_of(values, COUNT, round < 2 ? VIVA_SEARCH_ABSMAX : VIVA_SEARCH_MSE, 0);
  }
  free(values);
}

/* Any scales and codes, as a file may have them: NaN scales give NaN. */
static void any_bytes_decompress_alike(void **state) {
  enum { COUNT = 16 * 5000 + 6, BLOCKS = 5001 };
  uint64_t seed = 2;
  uint8_t *scales = malloc(BLOCKS), *codes = malloc(BLOCKS * NVFP4_BLOCK_BYTES);
  float *expected = malloc(COUNT * sizeof *expected), *got = malloc(COUNT * sizeof *got);
  (void)state;
  for (size_t i = 0; i < BLOCKS; i++) scales[i] = (uint8_t)i;
  for (size_t i = 0; i < BLOCKS * NVFP4_BLOCK_BYTES; i++) codes[i] = (uint8_t)kit_next(&seed);
  for (int power = -117; power <= 113; power += 46) { /* from below the number of FLT_MAX on */
    const float number = ldexpf(1.3f, power);
    const nvfp4_blocks b = {.count = COUNT,
                            .number = number,
                            .scales = cuda_kit_put(&kit, scales, BLOCKS),
                            .codes = cuda_kit_put(&kit, codes, BLOCKS * NVFP4_BLOCK_BYTES)};
    float *to = cuda_kit_put(&kit, NULL, COUNT * sizeof *to);
    compress_kernels_plain()->nvfp4_values(number, scales, codes, COUNT, 0, expected);
    size_t infinite = 0;
    for (size_t i = 0; i < COUNT; i++) infinite += isinf(expected[i]) != 0, expected[i] = f32_kept_finite(expected[i]);
    assert_true(power == -117 ? infinite > 0 : infinite == 0);
    synchronize();
    assert_int_equal(nvfp4_blocks_decompress(&b, to, NULL), 0);
    synchronize();
    cuda_kit_get(&kit, got, to, COUNT * sizeof *got);
    cuda_kit_same("decompress", expected, got, COUNT);
    cuda_kit_drop(&kit);
  }
  free(scales), free(codes), free(expected), free(got);
}

/* A NaN or an infinity shows in the largest magnitude's bits. */
static void absmax_tells_of_nan(void **state) {
  enum { COUNT = 100000 };
  float *values = malloc(COUNT * sizeof *values);
  (void)state;
  kit_values(0, 1, values, COUNT, 3);
  values[77777] = -INFINITY;
  check_absmax(cuda_kit_put(&kit, values, COUNT * sizeof *values), COUNT, INFINITY);
  values[77777] = NAN;
  check_absmax(cuda_kit_put(&kit, values, COUNT * sizeof *values), COUNT, f32_from_bits(f32_bits(NAN) & 0x7fffffffu));
  cuda_kit_drop(&kit);
  free(values);
}

/* -- speed: reported, not asserted; docs/gpu-report.md keeps it */

enum { SPEED_COPY, SPEED_ABSMAX, SPEED_COMPRESS, SPEED_SEARCH, SPEED_DECOMPRESS, SPEEDS };

typedef struct speed_case {
  nvfp4_blocks by_absmax, by_search;
  uint32_t *bits;
  float *to;
} speed_case;

static void run_once(const speed_case *c, int what) {
  const size_t bytes = c->by_absmax.count * sizeof(float);
  int status = 0;
  switch (what) {
  case SPEED_COPY:
    status = (int)cudaMemcpyAsync(c->to, c->by_absmax.values, bytes, cudaMemcpyDeviceToDevice, NULL);
    break;
  case SPEED_ABSMAX: status = nvfp4_blocks_absmax(c->by_absmax.values, c->by_absmax.count, c->bits, NULL); break;
  case SPEED_COMPRESS: status = nvfp4_blocks_compress(&c->by_absmax, NULL); break;
  case SPEED_SEARCH: status = nvfp4_blocks_compress(&c->by_search, NULL); break;
  default: status = nvfp4_blocks_decompress(&c->by_absmax, c->to, NULL); break;
  }
  assert_int_equal(status, 0);
}

/* Milliseconds, the best of the passes. */
static float time_of(const speed_case *c, int what) {
  cudaEvent_t from, to;
  float best = INFINITY, took = 0;
  assert_int_equal(cudaEventCreate(&from), cudaSuccess);
  assert_int_equal(cudaEventCreate(&to), cudaSuccess);
  for (int pass = 0; pass < 12; pass++) {
    assert_int_equal(cudaEventRecord(from, NULL), cudaSuccess);
    run_once(c, what);
    assert_int_equal(cudaEventRecord(to, NULL), cudaSuccess);
    assert_int_equal(cudaEventSynchronize(to), cudaSuccess);
    assert_int_equal(cudaEventElapsedTime(&took, from, to), cudaSuccess);
    if (pass > 1) best = fminf(best, took);
  }
  cudaEventDestroy(from), cudaEventDestroy(to);
  return best;
}

static void speeds(void **state) {
  static const char *const names[SPEEDS] = {"copy", "absmax of the whole", "compress, absmax", "compress, search",
                                            "decompress"};
  static const double moved[SPEEDS] = {8, 4, 4 + 9.0 / 16, 4 + 9.0 / 16, 4 + 9.0 / 16}; /* bytes a value */
  const size_t count = (size_t)1 << 28;                                                 /* 1 GiB */
  float *values = malloc(count * sizeof *values);
  (void)state;
  assert_non_null(values);
  kit_values(0, 1, values, 1 << 20, 4);
  for (size_t i = 1 << 20; i < count; i += 1 << 20) memcpy(values + i, values, (1 << 20) * sizeof *values);
  float absmax = 0;
  for (size_t i = 0; i < 1 << 20; i++) absmax = fmaxf(absmax, fabsf(values[i]));
  const float number = nvfp4_number(absmax), *dev = cuda_kit_put(&kit, values, count * sizeof *values);
  speed_case c = {.by_absmax = blocks_for(dev, count, number, NULL),
                  .bits = cuda_kit_put(&kit, &(uint32_t){0}, sizeof(uint32_t)),
                  .to = cuda_kit_put(&kit, NULL, count * sizeof *values)};
  c.by_search = c.by_absmax;
  c.by_search.table = put_table(number);
  free(values);
  synchronize();
  float took[SPEEDS];
  print_message("| NVFP4 blocks, 2^28 values | ms | GB/s of FP32 | GB/s moved | of copy | x absmax "
                "|\n|---|---|---|---|---|---|\n");
  for (int what = 0; what < SPEEDS; what++) {
    took[what] = time_of(&c, what);
    const double values_per_ns = (double)count / (1e6 * (double)took[what]), rate = moved[what] * values_per_ns;
    print_message("| %s | %.3f | %.0f | %.0f | %.2f | %.2f |\n", names[what], (double)took[what], 4 * values_per_ns,
                  rate, rate / (8 * (double)count / (1e6 * (double)took[SPEED_COPY])),
                  what < SPEED_COMPRESS ? 0 : (double)(took[what] / took[SPEED_COMPRESS]));
  }
  /* The values repeat: what came out last, beyond 2^29 bytes, is what came out first. */
  const size_t part = (size_t)1 << 22;
  char *first = malloc(part), *last = malloc(part);
  cuda_kit_get(&kit, first, c.to, part);
  cuda_kit_get(&kit, last, (const char *)c.to + count * sizeof *values - part, part);
  assert_memory_equal(first, last, part);
  free(first), free(last);
  cuda_kit_drop(&kit);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_are_the_cpus),
      cmocka_unit_test(finite_stays_finite),
      cmocka_unit_test(any_bytes_decompress_alike),
      cmocka_unit_test(absmax_tells_of_nan),
      cmocka_unit_test(speeds),
  };
  const int unavailable = cuda_kit_open(&kit, 16, 128, 2048);
  if (unavailable) return unavailable;
  engine = kit_engine(2);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  viva_engine_release(engine);
  cuda_kit_close(&kit);
  return failed;
}
