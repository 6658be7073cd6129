/* NVFP4: the bytes of compressed-tensors (tests/mk/mknvfp4.py), the plain form against the definition of each step, and the
 * AVX2 and AVX-512 forms against the plain one. */
#include "compress_kit.h"

#include "base/cpu.h"
#include "compress/segment.h"
#include "number/number.h"
#include "pack/nvfp4_math.h"

/* -- the package's bytes */

typedef struct golden_block {
  float absmax, values[16];
  uint8_t scale, codes[8];
} golden_block;

static int read_word(FILE *file, float *to) {
  unsigned bits;
  if (fscanf(file, "%8x", &bits) != 1) return 0;
  *to = f32_from_bits(bits);
  return 1;
}

/* 0 at the end of the file. */
static int read_block(FILE *file, golden_block *g) {
  unsigned byte;
  if (!read_word(file, &g->absmax)) return 0;
  for (int i = 0; i < 16; i++) assert_true(read_word(file, &g->values[i]));
  assert_int_equal(fscanf(file, "%2x", &byte), 1);
  g->scale = (uint8_t)byte;
  for (int i = 0; i < 8; i++) {
    assert_int_equal(fscanf(file, i ? "%2x" : " %2x", &byte), 1);
    g->codes[i] = (uint8_t)byte;
  }
  return 1;
}

static void is_what_compressed_tensors_writes(void **state) {
  (void)state;
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/golden/nvfp4.txt", getenv("VIVA_SOURCE_DIR"));
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  viva_engine *engine = kit_engine(1);
  golden_block g;
  int count = 0;
  for (; read_block(file, &g); count++) {
    viva_compression_config config = viva_nvfp4_e2m1_config();
    config.search = VIVA_SEARCH_ABSMAX;
    config.max_error_pct = 0;
    config.global_scale = g.absmax;
    viva_tensor *t = kit_tensor(engine, g.values, 1, 16);
    viva_compressed *c = NULL;
    viva_micro_block block = {.size = sizeof block};
    viva_stream_chunk chunk = {.size = sizeof chunk};
    assert_int_equal(viva_compress(engine, t, &config, &c, NULL), VIVA_OK);
    assert_int_equal(viva_compressed_block(c, 0, &block, NULL), VIVA_OK);
    assert_int_equal(viva_compressed_segment(c, 0, &chunk, NULL), VIVA_OK);
    if (chunk.nvfp4_scales[0] != g.scale || memcmp(block.codes, g.codes, sizeof g.codes) != 0)
      fail_msg("line %d: another scale or code than the package's", count + 1);
    uint8_t plain[8];
    compress_kernels_plain()->nvfp4_codes(nvfp4_number(g.absmax), &g.scale, g.values, 16, plain);
    assert_memory_equal(plain, g.codes, sizeof plain);
    viva_compressed_release(c);
    viva_tensor_release(t);
  }
  fclose(file);
  viva_engine_release(engine);
  assert_int_equal(count, 463);
}

/* -- value by value: what C and CUDA share, by number/'s definitions */

static void scales_of_blocks(void **state) {
  (void)state;
  uint64_t seed = 3;
  for (int round = 0; round < 300000; round++) {
    const float number = ldexpf(1.0f + (float)kit_unit(&seed), (int)(kit_next(&seed) % 60) - 30);
    const float absmax = ldexpf((float)kit_unit(&seed), (int)(kit_next(&seed) % 24) - 12) * 6 / number;
    assert_int_equal(nvfp4_scale_code(absmax, number), e4m3_from_f32(absmax / 6 * number));
  }
  for (uint32_t bits = 0; bits < 0x44000000u; bits += 511) { /* and everything between 0 and 512 */
    const float absmax = f32_from_bits(bits);
    assert_int_equal(nvfp4_scale_code(absmax, 6), e4m3_from_f32(absmax / 6 * 6));
  }
}

static void codes_of_values(void **state) {
  (void)state;
  for (uint32_t bits = 0; bits <= 0x7f800000u; bits += 1021) { /* infinity is the largest code */
    const float y = f32_from_bits(bits), d = y - e2m1_to_f32(e2m1_from_f32(y));
    assert_int_equal(nvfp4_code(y, 1), e2m1_from_f32(y));
    assert_int_equal(nvfp4_code(-y, 1), y == 0 ? 0 : e2m1_from_f32(-y));
    assert_true(f32_bits(nvfp4_distance(y)) == f32_bits(d * d));
  }
}

/* By the anchor of a number from 8/9 to 9/8 of y: as far as by y's own rounding, for every y of one step in 1021 and what lies
 * at the ties and powers of two. */
static void anchors_round_their_neighbours(void **state) {
  (void)state;
  static const float ratios[] = {8.0f / 9, 15.0f / 16, 1, 16.0f / 15, 9.0f / 8};
  for (uint32_t bits = 0; bits < 0x40e00000u; bits += bits % 0x80000u < 64 || bits % 0x80000u > 0x7ff00u ? 1 : 1021) {
    const float y = f32_from_bits(bits);
    for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++)
      for (int last = -2; last <= 2; last++) {
        const float beside = f32_from_bits(f32_bits(y * ratios[i]) + (uint32_t)(bits ? last : 0));
        const float d = y - nvfp4_value_by(y, nvfp4_anchor(beside));
        if (f32_bits(d * d) != f32_bits(nvfp4_distance(y)))
          fail_msg("%a by the anchor of %a", (double)y, (double)beside);
      }
  }
}

/* -- the forms */

/* Any codes, scales (NaN among them) and numbers G: values are code · (scale / G). */
static void values_by_definition(void **state) {
  (void)state;
  enum { MOST = 2100 };
  uint64_t seed = 1;
  uint8_t codes[MOST / 2 + 8], scales[MOST / 16 + 1];
  float got[MOST + 1];
  for (int round = 0; round < 500; round++) {
    const size_t count = kit_next(&seed) % MOST;
    const float global = ldexpf(1.0f + (float)kit_unit(&seed), (int)(kit_next(&seed) % 230) - 115);
    for (size_t i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)kit_next(&seed);
    for (size_t i = 0; i < sizeof scales; i++) scales[i] = (uint8_t)kit_next(&seed);
    got[count] = 7;
    compress_kernels_plain()->nvfp4_values(global, scales, codes, count, 0, got);
    assert_true(got[count] == 7);
    for (size_t i = 0; i < count; i++) {
      const float expected =
          e2m1_to_f32((uint8_t)(codes[i / 2] >> 4 * (i % 2))) * (e4m3_to_f32(scales[i / 16]) / global);
      assert_true(f32_bits(got[i]) == f32_bits(expected) || (expected != expected && got[i] != got[i]));
    }
  }
}

static void agrees(const compress_kernels *form) {
  const compress_kernels *plain = compress_kernels_plain();
  enum { MOST = 2112 }; /* whole lines of 64 bytes */
  float *values = kit_floats(MOST), *a = aligned_alloc(64, MOST * sizeof *a), *b = aligned_alloc(64, MOST * sizeof *b);
  uint8_t ac[MOST / 2 + 16], scales[MOST / 16 + 1];
  _Alignas(32) uint8_t bc[MOST / 2 + 16];
  uint64_t seed = 2;
  assert_true(a && b);
  for (int round = 0; round < 4000; round++) {
    const size_t count = kit_next(&seed) % (round % 2 ? 70 : MOST - 8), skip = round % 5 ? 0 : kit_next(&seed) % 8;
    const float absmax = ldexpf(1.0f + (float)kit_unit(&seed), (int)(kit_next(&seed) % 220) - 100);
    for (size_t i = 0; i < count; i++) values[i] = kit_mixed(round % KIT_DISTRIBUTIONS, absmax / 4, &seed);
    for (size_t i = 0; i < sizeof scales; i++) scales[i] = (uint8_t)(1 + kit_next(&seed) % 0x7e);
    memset(ac, 0xaa, sizeof ac), memset(bc, 0xaa, sizeof bc);
    plain->nvfp4_codes(2688 / absmax, scales, values, count, ac);
    form->nvfp4_codes(2688 / absmax, scales, values, count, bc);
    assert_memory_equal(ac, bc, sizeof ac); /* and nothing written behind them */
    plain->nvfp4_values(2688 / absmax, scales, ac, count, 0, a + skip);
    form->nvfp4_values(2688 / absmax, scales, ac, count, round % 2, b + skip);
    assert_memory_equal(a + skip, b + skip, count * sizeof *a);
  }
  free(values), free(a), free(b);
}

static void avx2_agrees(void **state) {
  (void)state;
  if (!compress_kernels_avx2() || !cpu_get()->avx2) skip();
  agrees(compress_kernels_avx2());
}

static void avx512_agrees(void **state) {
  (void)state;
  if (!compress_kernels_avx512() || !cpu_get()->avx512) skip();
  agrees(compress_kernels_avx512());
}

/* Values within three units of their last place of where two codes meet, by any step: the form that does not divide rounds as
 * one that does. */
static void where_codes_meet(void **state) {
  (void)state;
  static const float meet[8] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 6};
  const int rounds = getenv("VIVA_SLOW") ? 200000 : 5000;
  float values[128];
  uint8_t scales[8], plain[64], best[64];
  uint64_t seed = 8;
  for (int round = 0; round < rounds; round++) {
    const float global = ldexpf(1.0f + (float)kit_unit(&seed), (int)(kit_next(&seed) % 80) - 5);
    for (size_t i = 0; i < 128; i++) {
      if (i % 16 == 0) scales[i / 16] = (uint8_t)(1 + kit_next(&seed) % 0x7e);
      const float at = meet[kit_next(&seed) % 8] * nvfp4_step(scales[i / 16], global);
      values[i] = f32_from_bits(f32_bits(at) + (uint32_t)(kit_next(&seed) % 7) - 3) * (kit_next(&seed) & 1 ? 1 : -1);
    }
    compress_kernels_plain()->nvfp4_codes(global, scales, values, 128, plain);
    compress_kernels_best()->nvfp4_codes(global, scales, values, 128, best);
    assert_memory_equal(plain, best, sizeof plain);
  }
}

/* Every float between −8 and 8 of one step in 97 (all with VIVA_SLOW=1), by a step that is exact: the code of E2M1. */
static void every_quotient(void **state) {
  (void)state;
  const uint8_t scales[4] = {0x38, 0x38, 0x38, 0x38}; /* 1 */
  const uint32_t by = getenv("VIVA_SLOW") ? 1 : 97;
  uint32_t bits = 0;
  float values[64];
  uint8_t codes[32];
  while (bits <= 0x41000000u) {
    for (size_t i = 0; i < 64; i += 2, bits += by) {
      values[i] = f32_from_bits(bits);
      values[i + 1] = -values[i];
    }
    compress_kernels_best()->nvfp4_codes(1, scales, values, 64, codes);
    for (size_t i = 0; i < 32; i++) {
      const unsigned code = e2m1_from_f32(values[2 * i]), minus = values[2 * i] == 0 ? 0 : code | 8;
      if (codes[i] != (code | minus << 4)) fail_msg("%a has codes %02x", (double)values[2 * i], codes[i]);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(is_what_compressed_tensors_writes),
      cmocka_unit_test(scales_of_blocks),
      cmocka_unit_test(codes_of_values),
      cmocka_unit_test(anchors_round_their_neighbours),
      cmocka_unit_test(values_by_definition),
      cmocka_unit_test(avx2_agrees),
      cmocka_unit_test(avx512_agrees),
      cmocka_unit_test(where_codes_meet),
      cmocka_unit_test(every_quotient),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
