/* Compressed tensors: the original's golden numbers, sizes, bounds, special values, views, other types. */
#include "compress_kit.h"
#include "lib/far_device.h"

#include <float.h>

#include "number/number.h"

static viva_compressed *compress(viva_engine *engine, const viva_tensor *t, const viva_compression_config *config) {
  viva_compressed *c = NULL;
  viva_error error = {0};
  const viva_status status = viva_compress(engine, t, config, &c, &error);
  kit_good(status, error);
  return c;
}

static viva_compressed_desc describe(const viva_compressed *c) {
  viva_compressed_desc info = {.size = sizeof info};
  assert_int_equal(viva_compressed_info(c, &info, NULL), VIVA_OK);
  return info;
}

static void back(viva_engine *engine, const viva_compressed *c, float *values, size_t count) {
  viva_error error = {0};
  const viva_status status = viva_decompress_into(engine, c, values, count, &error);
  kit_good(status, error);
}

/* original-api.md A.10: values 0 … 15 give codes 0 … 15, 20 bytes, ratio 3.2 and come back exactly. */
static void golden_sixteen(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  const size_t own = kit_bytes(engine);
  float values[16], got[16];
  int32_t codes[16];
  for (int i = 0; i < 16; i++) values[i] = (float)i;
  const viva_compression_config config = viva_nvfp4_config();
  assert_true(config.block_size == 16 && config.bits_per_value == 4 && !config.symmetric &&
              config.max_error_pct == 2.0);
  viva_tensor *t = kit_tensor(engine, values, 4, 4);
  viva_compressed *c = compress(engine, t, &config);
  const viva_compressed_desc info = describe(c);
  assert_int_equal(info.blocks, 1);
  assert_int_equal(info.memory_bytes, 20);
  assert_int_equal(info.seed_memory_bytes, 20);
  assert_true(info.compression_ratio == 3.2 && info.global_scale == 15 && info.num_elements == 16 && info.bound_met);
  assert_true(info.rank == 2 && info.shape[0] == 4 && info.shape[1] == 4);
  viva_micro_block block = {.size = sizeof block};
  assert_int_equal(viva_compressed_block(c, 0, &block, NULL), VIVA_OK);
  assert_true(block.scale == 15 && block.zero_point == 0 && block.count == 16 && block.bits == 4);
  assert_int_equal(viva_micro_block_codes(&block, codes, 16, NULL), VIVA_OK);
  for (int i = 0; i < 16; i++) assert_int_equal(codes[i], i);
  back(engine, c, got, 16);
  assert_memory_equal(got, values, sizeof values);
  viva_tensor *whole = NULL;
  assert_int_equal(viva_decompress(engine, c, &whole, NULL), VIVA_OK);
  assert_memory_equal(viva_tensor_elements(whole), values, sizeof values);
  assert_int_equal(viva_compressed_block(c, 1, &block, NULL), VIVA_E_NOT_FOUND);
  viva_tensor_release(whole);
  viva_compressed_release(c);
  viva_tensor_release(t);
  kit_engine_close(engine, own);
}

/* A.10: [1024, 512]: 32768 blocks, 524292 bytes, 3.99997; INT8: 16384 blocks, 655364 bytes, 3.19998. D.3: the mean error of
 * uniform data is 0.0129, with true NVFP4 (absmax) 0.0443. */
static void golden_megabyte(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(2);
  enum { COUNT = 1024 * 512 };
  float *values = kit_floats(COUNT);
  kit_values(2, 1, values, COUNT, 5);
  viva_tensor *t = kit_tensor(engine, values, 1024, 512);
  viva_compression_config nvfp4 = viva_nvfp4_config(), int8 = viva_int8_config(), real = viva_nvfp4_e2m1_config();
  real.search = VIVA_SEARCH_ABSMAX;
  const struct {
    const viva_compression_config *config;
    uint64_t blocks, bytes, seed;
    double ratio, error, within;
  } cases[] = {{&nvfp4, 32768, 524292, 524292, 3.99997, 0.0129, 0.0002},
               {&int8, 16384, 655364, 655364, 3.19998, 0.0019, 0.0002}, /* uniform: 0.97 / 127 / 4 */
               {&real, 32768, 32768 * 9 + 4, 524292, 7.11, 0.0443, 0.0005}};
  for (size_t i = 0; i < 3; i++) {
    viva_compressed *c = compress(engine, t, cases[i].config);
    const viva_compressed_desc info = describe(c);
    viva_compression_stats stats = {.size = sizeof stats};
    assert_int_equal(viva_compression_statistics(engine, t, c, &stats, NULL), VIVA_OK);
    assert_int_equal(info.blocks, cases[i].blocks);
    assert_int_equal(info.memory_bytes, cases[i].bytes);
    assert_int_equal(info.seed_memory_bytes, cases[i].seed);
    assert_true(fabs(info.compression_ratio - cases[i].ratio) < 0.002);
    assert_true(fabs(stats.mean_error - cases[i].error) < cases[i].within);
    assert_true(stats.original_bytes == 4 * COUNT && stats.compressed_bytes == info.memory_bytes);
    assert_true(stats.blocks_processed == info.blocks && stats.compression_ratio == info.compression_ratio);
    assert_true(fabs(stats.mean_error_pct - info.error_pct) < 1e-6);
    assert_int_equal(info.bound_met, info.error_pct <= cases[i].config->max_error_pct);
    viva_compressed_release(c);
  }
  viva_tensor_release(t);
  free(values);
  viva_engine_release(engine);
}

/* viva_compression_statistics against sums in double. */
static void statistics_are_right(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(2);
  enum { COUNT = 30 * 1001 };
  float *values = kit_floats(COUNT), *got = kit_floats(COUNT);
  for (int which = 0; which < KIT_DISTRIBUTIONS; which++) {
    for (int power = -60; power <= 60; power += 60) {
      double sum = 0, square = 0, signal = 0, largest = 0, absmax = 0;
      kit_values(which, ldexpf(1, power), values, COUNT, 6 + (uint64_t)which);
      viva_tensor *t = kit_tensor(engine, values, 30, 1001);
      viva_compression_config config = viva_nvfp4_config();
      config.segment = which % 2 ? 16 * 100 : 0;
      viva_compressed *c = compress(engine, t, &config);
      back(engine, c, got, COUNT);
      for (size_t i = 0; i < COUNT; i++) {
        const double d = fabs((double)values[i] - (double)got[i]);
        sum += d, square += d * d, signal += (double)values[i] * (double)values[i];
        largest = fmax(largest, d), absmax = fmax(absmax, fabs((double)values[i]));
      }
      viva_compression_stats s = {.size = sizeof s};
      assert_int_equal(viva_compression_statistics(engine, t, c, &s, NULL), VIVA_OK);
      assert_true(fabs(s.mean_error / (sum / COUNT) - 1) < 1e-5);
      assert_true(fabs(s.max_error / largest - 1) < 1e-5);
      assert_true(fabs(s.rms_error / sqrt(square / COUNT) - 1) < 1e-5);
      assert_true(fabs(s.sqnr_db - 10 * log10(signal / square)) < 1e-4);
      assert_true(fabs(s.mean_error_pct / (100 * sum / COUNT / absmax) - 1) < 1e-5);
      viva_compressed_release(c);
      viva_tensor_release(t);
    }
  }
  free(values), free(got);
  viva_engine_release(engine);
}

/* D.3 item 9: the original loses every negative value in symmetric mode. */
static void symmetric_mode_keeps_signs(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  enum { COUNT = 4096 };
  float *values = kit_floats(COUNT);
  kit_values(0, 1, values, COUNT, 7);
  viva_tensor *t = kit_tensor(engine, values, 1, COUNT);
  const viva_compression_config config = viva_int8_config();
  viva_compressed *c = compress(engine, t, &config);
  viva_compression_stats stats = {.size = sizeof stats};
  assert_int_equal(viva_compression_statistics(engine, t, c, &stats, NULL), VIVA_OK);
  assert_true(stats.sqnr_db > 40); /* 8 bits, a scale for each 32: about 46 dB; with signs lost 3 dB */
  viva_micro_block block = {.size = sizeof block};
  int32_t codes[32], least = 0, most = 0;
  for (uint64_t b = 0; b < COUNT / 32; b++) {
    assert_int_equal(viva_compressed_block(c, b, &block, NULL), VIVA_OK);
    assert_true(block.zero_point == 0);
    assert_int_equal(viva_micro_block_codes(&block, codes, 32, NULL), VIVA_OK);
    for (int i = 0; i < 32; i++) least = codes[i] < least ? codes[i] : least, most = codes[i] > most ? codes[i] : most;
  }
  assert_true(least == -127 && most == 127);
  viva_compressed_release(c);
  viva_tensor_release(t);
  free(values);
  viva_engine_release(engine);
}

/* Blocks from any shape, size, mode: each value is within half a step; sizes are as documented; threads change nothing. */
static void any_shape(void **state) {
  (void)state;
  viva_engine *one = kit_engine(1), *two = kit_engine(3);
  uint64_t seed = 8;
  for (int round = 0; round < 400; round++) {
    const uint64_t rows = kit_next(&seed) % 40, cols = kit_next(&seed) % (round % 8 ? 90 : 3000);
    const size_t count = (size_t)(rows * cols);
    float *values = kit_floats(count), *got = kit_floats(count), *other = kit_floats(count);
    kit_values(round % KIT_DISTRIBUTIONS, ldexpf(1, round % 100 - 50), values, count, seed);
    viva_compression_config config = viva_nvfp4_config();
    config.codec = round % 3 == 0 ? VIVA_CODEC_NVFP4 : VIVA_CODEC_AFFINE;
    config.search = (viva_scale_search)(round % 9 / 3);
    if (config.codec == VIVA_CODEC_AFFINE) {
      config.block_size = 8 + (uint32_t)(kit_next(&seed) % 249);
      config.bits_per_value = 2 + (uint32_t)(kit_next(&seed) % 7);
      config.symmetric = (int)(kit_next(&seed) % 2);
    }
    config.row_blocks = (int)(kit_next(&seed) % 2);
    if (round % 5 == 1) config.segment = (config.row_blocks ? cols : config.block_size) * (1 + kit_next(&seed) % 9);
    viva_tensor *t = kit_tensor(one, values, rows, cols);
    viva_compressed *a = compress(one, t, &config), *b = compress(two, t, &config);
    const viva_compressed_desc info = describe(a);
    uint64_t bytes = info.segments ? 0 : 4, blocks = 0;
    for (uint64_t s = 0; s < info.segments; s++) {
      viva_stream_chunk x = {.size = sizeof x}, y = {.size = sizeof y};
      assert_int_equal(viva_compressed_segment(a, s, &x, NULL), VIVA_OK);
      assert_int_equal(viva_compressed_segment(b, s, &y, NULL), VIVA_OK);
      assert_true(x.bytes == y.bytes && x.error_pct == y.error_pct && x.global_scale == y.global_scale && x.id == s);
      assert_memory_equal(x.data, y.data, x.bytes);
      blocks += x.blocks;
      bytes += 4 + x.blocks *
                       (config.codec == VIVA_CODEC_NVFP4 ? 9 : 8 + (config.block_size * config.bits_per_value + 7) / 8);
    }
    assert_int_equal(info.blocks, blocks);
    assert_int_equal(info.memory_bytes, bytes);
    if (config.row_blocks)
      assert_int_equal(blocks, count ? rows * ((cols + config.block_size - 1) / config.block_size) : 0);
    back(one, a, got, count);
    back(two, b, other, count);
    assert_memory_equal(got, other, count * sizeof *got);
    for (uint64_t k = 0, at = 0; k < blocks && config.codec == VIVA_CODEC_AFFINE; k++) {
      viva_micro_block block = {.size = sizeof block};
      int32_t codes[256];
      assert_int_equal(viva_compressed_block(a, k, &block, NULL), VIVA_OK);
      assert_int_equal(viva_micro_block_codes(&block, codes, block.count, NULL), VIVA_OK);
      for (uint32_t i = 0; i < block.count; i++, at++) {
        const double step = (double)block.global_scale / (double)block.scale;
        assert_true(got[at] == ((float)codes[i] / block.scale + block.zero_point) * block.global_scale);
        assert_true(fabs((double)got[at] - (double)values[at]) <= 0.5001 * step + 2e-7 * (double)block.global_scale);
      }
    }
    viva_compressed_release(a), viva_compressed_release(b);
    viva_tensor_release(t);
    free(values), free(got), free(other);
  }
  viva_engine_release(one), viva_engine_release(two);
}

/* NVFP4 by absmax and by Four-over-Six is the packed weight's but for the order of its divisions: every value within a few
 * roundings of it, or (where a quotient lies that near to the middle between two codes) one code apart; none is among these.
 * The search tries fewer scales. */
static void nvfp4_is_near_the_packed_weight(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(2);
  enum { ROWS = 37, COLS = 16 * 33 };
  float *values = kit_floats(ROWS * COLS), *packed_values = kit_floats(ROWS * COLS), *got = kit_floats(ROWS * COLS);
  kit_values(4, 0.02f, values, ROWS * COLS, 9);
  viva_tensor *t = kit_tensor(engine, values, ROWS, COLS);
  for (int search = VIVA_SEARCH_ABSMAX; search <= VIVA_SEARCH_FOUR_OVER_SIX; search++) {
    viva_prepack_options options = viva_prepack_options_default();
    viva_compression_config config = viva_nvfp4_e2m1_config();
    viva_packed_weight *packed = NULL;
    viva_packed_info info = {.size = sizeof info};
    options.search = config.search = (viva_scale_search)search;
    assert_int_equal(viva_prepack_nvfp4_weight(engine, t, &options, &packed, NULL), VIVA_OK);
    assert_int_equal(viva_packed_weight_info(packed, &info, NULL), VIVA_OK);
    assert_int_equal(viva_packed_weight_unpack(packed, packed_values, ROWS * COLS, NULL), VIVA_OK);
    viva_compressed *c = compress(engine, t, &config);
    back(engine, c, got, ROWS * COLS);
    for (size_t i = 0; i < ROWS * COLS; i++) /* G, s / G and the product: three roundings on either side */
      assert_true(fabsf(got[i] - packed_values[i]) <= 6 * 0x1p-24f * fabsf(packed_values[i]));
    assert_true(fabsf(info.global_scale * describe(c).global_scale / 2688 - 1) <= 4 * 0x1p-24f);
    viva_compressed_release(c);
    viva_packed_weight_release(packed);
  }
  viva_tensor_release(t);
  free(values), free(packed_values), free(got);
  viva_engine_release(engine);
}

/* -- bounds */

static void bounds_hold(void **state) {
  (void)state;
  static const viva_compress_bound bounds[3] = {VIVA_COMPRESS_FIT, VIVA_COMPRESS_FIT_BLOCKS, VIVA_COMPRESS_RAW};
  static const double percents[5] = {5, 1, 0.1, 0.005, 1e-6};
  viva_engine *engine = kit_engine(2);
  enum { COUNT = 3 * 1100 };
  float *values = kit_floats(COUNT), *got = kit_floats(COUNT);
  size_t raised = 0, wide = 0, raw = 0;
  for (int round = 0; round < 3 * 5 * 3 * 12 * 2; round++) {
    const int which = round / 90 % 12;
    viva_compression_config config = round / 1080 ? viva_nvfp4_e2m1_config() : viva_nvfp4_config();
    config.bound = bounds[round % 3];
    config.max_error_pct = percents[round / 3 % 5];
    config.error = (viva_error_measure)(round / 15 % 3);
    config.segment = round % 2 ? 16 * 64 : 0;
    kit_values(which, ldexpf(1, which * 10 - 60), values, COUNT, 10);
    viva_tensor *t = kit_tensor(engine, values, 3, COUNT / 3);
    viva_compressed *c = compress(engine, t, &config);
    const viva_compressed_desc info = describe(c);
    assert_true(info.bound_met && info.error_pct <= config.max_error_pct);
    back(engine, c, got, COUNT);
    for (uint64_t s = 0, at = 0; s < info.segments; s++) { /* the measure, by hand */
      viva_stream_chunk chunk = {.size = sizeof chunk};
      assert_int_equal(viva_compressed_segment(c, s, &chunk, NULL), VIVA_OK);
      double sum = 0, square = 0, largest = 0;
      const double n = (double)chunk.values;
      for (size_t i = 0; i < chunk.values; i++, at++) {
        const double d = fabs((double)got[at] - (double)values[at]);
        sum += d, square += d * d, largest = fmax(largest, d);
      }
      const double error = config.error == VIVA_MEASURE_MEAN  ? sum / n
                           : config.error == VIVA_MEASURE_RMS ? sqrt(square / n)
                                                              : largest;
      if (chunk.compressed) /* a raw chunk has no scale, and no error */
        assert_true(100 * error / (double)chunk.global_scale <= config.max_error_pct * (1 + 1e-6));
      else
        assert_true(error == 0);
      assert_true(chunk.fate ==
                  (config.bound == VIVA_COMPRESS_RAW && !chunk.compressed ? VIVA_CHUNK_MISSED_BOUND : VIVA_CHUNK_OK));
    }
    raised += info.blocks_raised > 0, wide += info.blocks_16 > 0, raw += info.segments_raw > 0;
    viva_compressed_release(c);
    viva_tensor_release(t);
  }
  assert_true(raised > 100 && wide > 50 && raw > 50); /* every way out was taken */
  free(values), free(got);
  viva_engine_release(engine);
}

/* 100 · the measure / absmax of count values, by hand. */
static double percent_of(const float *values, const float *got, size_t count, viva_error_measure measure) {
  double absmax = 0, sum = 0, square = 0, largest = 0;
  for (size_t i = 0; i < count; i++) {
    const double d = fabs((double)got[i] - (double)values[i]);
    sum += d, square += d * d, largest = fmax(largest, d), absmax = fmax(absmax, fabs((double)values[i]));
  }
  const double error = measure == VIVA_MEASURE_MEAN  ? sum / (double)count
                       : measure == VIVA_MEASURE_RMS ? sqrt(square / (double)count)
                                                     : largest;
  return 100 * error / absmax;
}

/* A given scale, however far from the values: what is bounded is in percent of each segment's largest magnitude. */
static void bounds_hold_with_a_given_scale(void **state) {
  (void)state;
  enum { EACH = 1024, COUNT = 4 * EACH };
  static const float scales[5] = {0.125f, 1, 100, 1e6f, 1e30f};
  viva_engine *engine = kit_engine(2);
  float *values = kit_floats(COUNT), *got = kit_floats(COUNT);
  kit_values(1, 1, values, COUNT, 12);
  for (size_t i = 0; i < COUNT; i++) values[i] *= (float)(1 + i / EACH); /* segments differ */
  viva_tensor *t = kit_tensor(engine, values, 4, EACH);
  size_t missed = 0;
  for (int round = 0; round < 5 * 4 * 3 * 2 * 2; round++) {
    viva_compression_config config = round / 60 % 2 ? viva_nvfp4_e2m1_config() : viva_nvfp4_config();
    config.global_scale = scales[round % 5];
    config.bound = (viva_compress_bound)(round / 5 % 4);
    config.error = (viva_error_measure)(round / 20 % 3);
    config.keep_nonfinite = round / 120;
    config.max_error_pct = 1;
    config.segment = EACH;
    viva_compressed *c = compress(engine, t, &config);
    const viva_compressed_desc info = describe(c);
    double worst = 0;
    back(engine, c, got, COUNT);
    for (size_t s = 0; s < 4; s++) {
      viva_stream_chunk chunk = {.size = sizeof chunk};
      const double percent = percent_of(values + s * EACH, got + s * EACH, EACH, config.error);
      assert_int_equal(viva_compressed_segment(c, s, &chunk, NULL), VIVA_OK);
      assert_true(fabs(chunk.error_pct - percent) <= 1e-5 * percent); /* differences and sums of 128 in FP32 */
      worst = fmax(worst, percent);
    }
    assert_int_equal(info.bound_met, worst <= 1);
    if (config.bound != VIVA_COMPRESS_REPORT) assert_true(info.bound_met);
    missed += !info.bound_met;
    viva_compression_stats stats = {.size = sizeof stats};
    assert_int_equal(viva_compression_statistics(engine, t, c, &stats, NULL), VIVA_OK);
    const double rms = percent_of(values, got, COUNT, VIVA_MEASURE_RMS); /* squares of what is far below the scale */
    assert_true(fabs(stats.rms_error_pct - rms) <= 1e-5 * rms);
    viva_compressed_release(c);
  }
  assert_true(missed > 40); /* REPORT did see them */
  viva_tensor_release(t);
  free(values), free(got);
  viva_engine_release(engine);
}

/* All segments of two compressed tensors alike. */
static void same_segments(const viva_compressed *a, const viva_compressed *b) {
  const uint64_t segments = describe(a).segments;
  assert_true(segments == describe(b).segments);
  for (uint64_t i = 0; i < segments; i++) {
    viva_stream_chunk x = {.size = sizeof x}, y = {.size = sizeof y};
    assert_int_equal(viva_compressed_segment(a, i, &x, NULL), VIVA_OK);
    assert_int_equal(viva_compressed_segment(b, i, &y, NULL), VIVA_OK);
    assert_true(x.bytes == y.bytes && x.values == y.values && x.first_value == y.first_value && x.bits == y.bits);
    assert_true(x.global_scale == y.global_scale && x.error_pct == y.error_pct && x.fate == y.fate);
    assert_memory_equal(x.data, y.data, x.bytes);
  }
}

/* Segments that several threads compress side by side, and those that are left over: one thread's bytes; the lowest value that
 * is wrong is named; memory_bytes is what is held, but for the padding of segments that lie in one piece. */
static void segments_side_by_side(void **state) {
  (void)state;
  enum { EACH = 480, COUNT = 11 * EACH + 77 };
  viva_engine *one = kit_engine(1), *three = kit_engine(3);
  const size_t own = kit_bytes(three);
  float *values = kit_floats(COUNT);
  for (int round = 0; round < 10; round++) {
    viva_compression_config config = round % 2 ? viva_nvfp4_e2m1_config() : viva_nvfp4_config();
    config.segment = EACH;
    config.bound = (viva_compress_bound)(round / 2 % 4);
    config.keep_nonfinite = round >= 8;
    kit_values(round, 1, values, COUNT, 60 + (uint64_t)round);
    viva_tensor *t = kit_tensor(three, values, 1, COUNT), *same = kit_tensor(one, values, 1, COUNT);
    const size_t before = kit_bytes(three);
    viva_compressed *a = compress(three, t, &config), *b = compress(one, same, &config);
    const viva_compressed_desc info = describe(a);
    assert_int_equal(info.segments, 12);
    assert_true(kit_bytes(three) - before <= info.memory_bytes + 12 * 64 + 8192); /* handle, table of segments */
    same_segments(a, b);
    viva_compressed_release(a), viva_compressed_release(b);
    a = NULL;
    values[9 * EACH + 5] = NAN, values[4 * EACH + 3] = INFINITY;
    viva_error error = {0};
    if (!config.keep_nonfinite) {
      assert_int_equal(viva_compress(three, t, &config, &a, &error), VIVA_E_NUMERIC);
      assert_null(a);
      assert_non_null(strstr(error.message, "value 1923 is infinite"));
    }
    viva_tensor_release(t), viva_tensor_release(same);
  }
  free(values);
  kit_engine_close(three, own);
  viva_engine_release(one);
}

static void refused_at(viva_engine *engine, const viva_tensor *t, const viva_compression_config *config,
                       viva_status status, const char *words) {
  viva_compressed *c = NULL;
  viva_error error = {0};
  assert_int_equal(viva_compress(engine, t, config, &c, &error), status);
  assert_null(c);
  if (!strstr(error.message, words)) fail_msg("%s", error.message);
}

/* Segments so large that threads share them (team.c), and a given scale, with which values are looked at as they are encoded:
 * one thread's bytes, whatever is left over, and the lowest value that is wrong is named. */
static void segments_shared(void **state) {
  (void)state;
  enum { ROW = 1000, EACH = 200 * ROW, ROWS = 5 * 200 + 77, COUNT = ROWS * ROW };
  viva_engine *one = kit_engine(1), *many[3] = {kit_engine(2), kit_engine(3), kit_engine(4)};
  float *values = kit_floats(COUNT);
  for (int round = 0; round < 12; round++) {
    viva_engine *engine = many[round % 3];
    viva_compression_config config = round / 3 % 2 ? viva_nvfp4_e2m1_config() : viva_int8_config();
    config.max_error_pct = 0;
    config.row_blocks = round / 6;
    config.segment = EACH;
    const size_t own = kit_bytes(engine);
    kit_values(round, 1, values, COUNT, 70 + (uint64_t)round);
    if (round == 4) memset(values + EACH, 0, EACH * sizeof *values);
    viva_tensor *t = kit_tensor(engine, values, ROWS, ROW), *same = kit_tensor(one, values, ROWS, ROW);
    for (int given = 0; given < 2; given++) {
      config.global_scale = given ? 1000 : 0;
      viva_compressed *a = compress(engine, t, &config), *b = compress(one, same, &config);
      same_segments(a, b);
      viva_compressed_release(a), viva_compressed_release(b);
    }
    values[3 * EACH + 5] = NAN, values[2 * EACH + 150003] = -INFINITY;
    config.global_scale = 0;
    refused_at(engine, t, &config, VIVA_E_NUMERIC, "value 550003 is infinite");
    config.global_scale = 1000;
    refused_at(engine, t, &config, VIVA_E_NUMERIC, "value 550003 is infinite");
    values[3 * EACH + 5] = values[2 * EACH + 150003] = 1;
    values[4 * EACH + 7] = 1e30f;
    config.global_scale = 1e-3f;
    refused_at(engine, t, &config, VIVA_E_ARGUMENT, "2^100 times the scale");
    viva_tensor_release(t), viva_tensor_release(same);
    assert_true(kit_bytes(engine) == own);
  }
  free(values);
  for (int i = 0; i < 3; i++) viva_engine_release(many[i]);
  viva_engine_release(one);
}

/* -- special values */

static void special_values(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(2);
  const size_t own = kit_bytes(engine);
  for (int codec = 0; codec < 2; codec++) {
    viva_compression_config config = codec ? viva_nvfp4_e2m1_config() : viva_nvfp4_config();
    viva_error error = {0};
    float values[40], got[40];
    viva_compressed *c = NULL;
    /* empty: no block, 4 bytes, ratio 0 */
    viva_tensor *t = kit_tensor(engine, values, 0, 7);
    c = compress(engine, t, &config);
    viva_compressed_desc info = describe(c);
    assert_true(info.blocks == 0 && info.memory_bytes == 4 && info.compression_ratio == 0 && info.bound_met);
    viva_tensor *whole = NULL;
    assert_int_equal(viva_decompress(engine, c, &whole, NULL), VIVA_OK);
    viva_tensor_release(whole), viva_compressed_release(c), viva_tensor_release(t);
    /* one element, zeros, a constant */
    for (int kind = 0; kind < 3; kind++) {
      const size_t count = kind == 0 ? 1 : 40;
      for (size_t i = 0; i < count; i++) values[i] = kind == 1 ? 0 : -0.3f;
      t = kit_tensor(engine, values, 1, count);
      c = compress(engine, t, &config);
      back(engine, c, got, count);
      for (size_t i = 0; i < count; i++)
        assert_true(codec ? fabsf(got[i] - values[i]) < 1e-6f : got[i] == values[i]); /* NVFP4: 6 · 448 / 2688 */
      viva_compressed_release(c), viva_tensor_release(t);
    }
    /* equal values in symmetric mode: the largest code; x / g, levels / n, code / scale and its product are rounded */
    if (!codec) {
      for (size_t i = 0; i < 40; i++) values[i] = i < 16 ? 0.7f : -0.3f;
      t = kit_tensor(engine, values, 1, 40);
      config.symmetric = 1;
      c = compress(engine, t, &config);
      config.symmetric = 0;
      back(engine, c, got, 40);
      for (size_t i = 0; i < 40; i++) assert_true(fabsf(got[i] - values[i]) <= 4.1f * 0x1p-24f * fabsf(values[i]));
      int32_t codes[16];
      viva_micro_block block = {.size = sizeof block};
      assert_int_equal(viva_compressed_block(c, 1, &block, NULL), VIVA_OK);
      assert_int_equal(viva_micro_block_codes(&block, codes, 16, NULL), VIVA_OK);
      for (size_t i = 0; i < 16; i++) assert_int_equal(codes[i], -7);
      assert_true(block.zero_point == 0);
      viva_compressed_release(c), viva_tensor_release(t);
    }
    /* subnormals are values like others; NVFP4 makes a segment of them 0, as its number for the matrix ends at 2^118 */
    for (int search = 0; search < (codec ? 3 : 1); search++) {
      for (size_t i = 0; i < 40; i++) values[i] = (float)(i + 1) * 2.9e-40f;
      t = kit_tensor(engine, values, 1, 40);
      config.search = (viva_scale_search)search;
      c = compress(engine, t, &config);
      config.search = VIVA_SEARCH_MSE;
      back(engine, c, got, 40);
      for (size_t i = 0; i < 40; i++)
        assert_true(codec ? got[i] == 0 : fabsf(got[i] - values[i]) <= 0.04f * 40 * 2.9e-40f);
      viva_compressed_release(c), viva_tensor_release(t);
    }
    /* NaN and infinities: refused with the index, or kept exactly */
    for (size_t i = 0; i < 40; i++) values[i] = (float)i;
    values[17] = NAN, values[20] = -INFINITY;
    t = kit_tensor(engine, values, 1, 40);
    assert_int_equal(viva_compress(engine, t, &config, &c, &error), VIVA_E_NUMERIC);
    assert_null(c);
    assert_non_null(strstr(error.message, "value 17 is NaN"));
    config.keep_nonfinite = 1;
    c = compress(engine, t, &config);
    info = describe(c);
    assert_true(info.blocks == 3 && info.blocks_32 == 1 && info.blocks_raised == 1 && info.global_scale == 39);
    back(engine, c, got, 40);
    assert_memory_equal(got + 16, values + 16, 16 * sizeof *got);
    for (size_t i = 0; i < 40; i++)
      assert_true(i / 16 == 1 || fabsf(got[i] - values[i]) <= 39.0f / 6); /* half of what lies between 4 and 6 */
    viva_compressed_release(c), viva_tensor_release(t);
  }
  kit_engine_close(engine, own);
}

/* What is finite comes back finite, up to FP32's end and by any scale. */
static void finite_stays_finite(void **state) {
  (void)state;
  enum { COUNT = 16000 };
  const float most = FLT_MAX;
  viva_engine *engine = kit_engine(2);
  float *values = kit_floats(COUNT), *got = kit_floats(COUNT);
  uint64_t seed = 90;
  for (int round = 0; round < 60; round++) {
    viva_compression_config config = round % 3 == 0   ? viva_nvfp4_config()
                                     : round % 3 == 1 ? viva_int8_config()
                                                      : viva_nvfp4_e2m1_config();
    config.search = (viva_scale_search)(round / 3 % 3);
    config.bound = (viva_compress_bound)(round % 4);
    if (round % 4) config.max_error_pct = 0.02; /* halves as well */
    config.segment = round % 5 ? 0 : 320;
    config.global_scale = round < 30 ? 0 : ldexpf(1, 128 - (int)(1 + kit_next(&seed) % 99));
    for (size_t i = 0; i < COUNT; i++) {
      const double u = 2 * kit_unit(&seed) - 1;
      values[i] = round % 2 ? (float)(u * (double)most) : u < 0 ? -most : most * (1 - 0x1p-10f * (float)u);
    }
    viva_tensor *t = kit_tensor(engine, values, 1, COUNT);
    viva_compressed *c = compress(engine, t, &config);
    back(engine, c, got, COUNT);
    /* NVFP4's largest step is a third of the scale, which a given one puts below the values: those are cut off */
    const float near = round % 3 == 2 ? most / 6 : most / 15;
    for (size_t i = 0; i < COUNT; i++) {
      assert_true(isfinite(got[i]));
      if (config.global_scale == 0) assert_true(fabsf(got[i] / 2 - values[i] / 2) <= near);
    }
    viva_compressed_release(c), viva_tensor_release(t);
  }
  /* an infinity that was kept stays one */
  viva_compression_config config = viva_nvfp4_config();
  config.keep_nonfinite = 1;
  values[5] = INFINITY;
  viva_tensor *t = kit_tensor(engine, values, 1, COUNT);
  viva_compressed *c = compress(engine, t, &config);
  back(engine, c, got, COUNT);
  for (size_t i = 0; i < COUNT; i++) assert_true(i == 5 ? got[i] == INFINITY : isfinite(got[i]));
  viva_compressed_release(c), viva_tensor_release(t);
  free(values), free(got);
  viva_engine_release(engine);
}

static void other_types(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  uint16_t halves[6 * 32];
  float values[6 * 32], got[6 * 32], expected[6 * 32];
  uint64_t seed = 11;
  for (size_t i = 0; i < 6 * 32; i++) {
    halves[i] = bf16_from_f32((float)kit_gauss(&seed));
    values[i] = bf16_to_f32(halves[i]);
  }
  const uint64_t shape[2] = {6, 32};
  viva_tensor *t = NULL, *turned = NULL, *whole = NULL;
  assert_int_equal(viva_tensor_wrap(engine, halves, sizeof halves, VIVA_BF16, 2, shape, &t, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_transpose(t, 0, 1, &turned, NULL), VIVA_OK);
  viva_compression_config config = viva_nvfp4_config();
  viva_compressed *c = compress(engine, turned, &config);
  back(engine, c, got, 6 * 32);
  for (size_t i = 0; i < 32; i++)
    for (size_t j = 0; j < 6; j++) expected[i * 6 + j] = values[j * 32 + i];
  viva_tensor *flat = kit_tensor(engine, expected, 32, 6);
  viva_compressed *d = compress(engine, flat, &config);
  assert_int_equal(viva_decompress(engine, d, &whole, NULL), VIVA_OK);
  assert_memory_equal(viva_tensor_elements(whole), got, sizeof got);
  viva_compressed_release(c), viva_compressed_release(d);
  viva_tensor_release(t), viva_tensor_release(turned), viva_tensor_release(flat), viva_tensor_release(whole);
  viva_engine_release(engine);
}

/* -- what is refused */

static void refused(viva_engine *engine, const viva_tensor *t, const viva_compression_config *config,
                    const char *field) {
  viva_compressed *c = (viva_compressed *)1;
  viva_error error = {0};
  assert_int_equal(viva_compress(engine, t, config, &c, &error), VIVA_E_ARGUMENT);
  assert_null(c);
  assert_string_equal(error.item, field);
}

/* Values that the CPU cannot read. */
static void tensors_on_a_device(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  far_device far;
  float values[64] = {1};
  viva_error error = {0};
  viva_compression_config config = viva_nvfp4_config();
  viva_distribution_stats stats = {.size = sizeof stats};
  viva_compressed *c;
  viva_tensor *here = kit_tensor(engine, values, 2, 32), *there;
  far_begin(&far, engine, 0);
  kit_good(viva_tensor_to_device(here, engine, &there, &error), error);
  assert_int_equal(viva_compress(engine, there, &config, &c, &error), VIVA_E_STATE);
  assert_non_null(strstr(error.message, "the tensor lies in the memory of the device"));
  assert_int_equal(viva_analyze_and_compress(engine, there, NULL, &c, &error), VIVA_E_STATE);
  assert_int_equal(viva_analyze(engine, there, &stats, &error), VIVA_E_STATE);
  viva_tensor_release(here), viva_tensor_release(there);
  far_end(&far);
  viva_engine_release(engine);
}

static void wrong_arguments(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  float values[64] = {1};
  viva_tensor *t = kit_tensor(engine, values, 2, 32), *other = kit_tensor(engine, values, 32, 2);
  viva_compression_config c;
#define REFUSED(base, name, value) c = base(), c.name = value, refused(engine, t, &c, #name)
  REFUSED(viva_nvfp4_config, block_size, 7);
  REFUSED(viva_nvfp4_config, block_size, 257);
  REFUSED(viva_nvfp4_config, bits_per_value, 1);
  REFUSED(viva_nvfp4_config, bits_per_value, 9);
  REFUSED(viva_nvfp4_e2m1_config, block_size, 32);
  REFUSED(viva_nvfp4_e2m1_config, bits_per_value, 5);
  REFUSED(viva_nvfp4_e2m1_config, symmetric, 1);
  REFUSED(viva_nvfp4_config, codec, (viva_codec)2);
  REFUSED(viva_nvfp4_config, max_error_pct, -1);
  REFUSED(viva_nvfp4_config, max_error_pct, (double)NAN);
  REFUSED(viva_nvfp4_config, error, (viva_error_measure)3);
  REFUSED(viva_nvfp4_config, bound, (viva_compress_bound)4);
  REFUSED(viva_nvfp4_config, search, (viva_scale_search)3);
  REFUSED(viva_nvfp4_config, global_scale, NAN);
  REFUSED(viva_nvfp4_config, global_scale, 1e-35f); /* 1 is more than 2^100 times that */
  REFUSED(viva_nvfp4_config, segment, 17);
#undef REFUSED
  viva_compressed *made = NULL;
  viva_error error = {0};
  assert_int_equal(viva_compress(NULL, t, NULL, &made, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_compress(engine, NULL, NULL, &made, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_compress(engine, t, NULL, NULL, &error), VIVA_E_ARGUMENT);
  c = viva_nvfp4_config();
  made = compress(engine, t, &c);
  float got[64];
  assert_int_equal(viva_decompress_into(engine, made, got, 63, &error), VIVA_E_SIZE);
  viva_compression_stats stats = {.size = sizeof stats};
  assert_int_equal(viva_compression_statistics(engine, other, made, &stats, &error), VIVA_E_SIZE);
  viva_compressed_release(made);
  viva_tensor_release(t), viva_tensor_release(other);
  viva_engine_release(engine);
}

/* A given scale: what is compressed with it does not depend on the rest. */
static void given_scale(void **state) {
  (void)state;
  viva_engine *engine = kit_engine(1);
  enum { COUNT = 640 };
  float values[COUNT], a[COUNT], b[COUNT];
  kit_values(0, 1, values, COUNT, 12);
  for (int codec = 0; codec < 2; codec++) {
    viva_compression_config config = codec ? viva_nvfp4_e2m1_config() : viva_nvfp4_config();
    config.global_scale = 2.5f;
    viva_tensor *all = kit_tensor(engine, values, 1, COUNT), *part = kit_tensor(engine, values + 320, 1, 320);
    viva_compressed *x = compress(engine, all, &config), *y = compress(engine, part, &config);
    back(engine, x, a, COUNT), back(engine, y, b, 320);
    assert_memory_equal(a + 320, b, 320 * sizeof *a);
    assert_true(describe(x).global_scale == 2.5f);
    viva_compressed_release(x), viva_compressed_release(y);
    viva_tensor_release(all), viva_tensor_release(part);
  }
  viva_engine_release(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(golden_sixteen),
      cmocka_unit_test(golden_megabyte),
      cmocka_unit_test(statistics_are_right),
      cmocka_unit_test(symmetric_mode_keeps_signs),
      cmocka_unit_test(any_shape),
      cmocka_unit_test(nvfp4_is_near_the_packed_weight),
      cmocka_unit_test(bounds_hold),
      cmocka_unit_test(bounds_hold_with_a_given_scale),
      cmocka_unit_test(segments_side_by_side),
      cmocka_unit_test(segments_shared),
      cmocka_unit_test(special_values),
      cmocka_unit_test(finite_stays_finite),
      cmocka_unit_test(other_types),
      cmocka_unit_test(tensors_on_a_device),
      cmocka_unit_test(wrong_arguments),
      cmocka_unit_test(given_scale),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
