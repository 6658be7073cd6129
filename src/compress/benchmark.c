/* compress/benchmark.c: the original's benchmark, measured here, and its hardware figures, marked as a model. */
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/options.h"
#include "compress/compress_inner.h"
#include "engine/engine.h"
#include "tensor/tensor.h"

#define SECONDS      0.2
#define SEED_ROWS    1024
#define SEED_COLS    512
#define LEAST_PASSES 2                  /* the first one brings the memory */
#define PLAIN_BYTES  ((size_t)64 << 20) /* copied and written, at least: beyond the caches of most machines */
#define NS           1e9

/* What is measured of each tensor; the last one chooses for itself. */
enum { CODECS = 5 };
static const char *const names[CODECS] = {"affine 4 bits / 16 (the original's NVFP4)", "affine 8 bits / 32 (INT8)",
                                          "nvfp4, absmax", "nvfp4, search", "adaptive"};

viva_bench_options viva_bench_options_default(void) {
  return (viva_bench_options){.size = sizeof(viva_bench_options), .tensor_name = "tensor"};
}

typedef struct bench {
  viva_engine *engine;
  viva_line_fn write;
  void *user;
  uint64_t ns; /* of each measurement */
  viva_bench_result result;
} bench;

__attribute__((format(printf, 2, 3))) static void line(const bench *b, const char *format, ...) {
  char text[256];
  va_list arguments;
  if (!b->write) return;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  b->write(b->user, text);
}

/* -- plain memory */

typedef struct plain_job {
  char *to;
  const char *from; /* NULL: write */
} plain_job;

static void plain_body(void *arg, size_t begin, size_t end, size_t t) {
  const plain_job *job = arg;
  (void)t;
  if (job->from)
    memcpy(job->to + begin, job->from + begin, end - begin);
  else
    memset(job->to + begin, 1, end - begin);
}

/* Best of the passes, in GB/s of bytes that are written. */
static double plain_rate(const bench *b, size_t bytes, char *to, const char *from) {
  plain_job job = {to, from};
  double best = 0;
  const uint64_t begin = clock_ns();
  int passes = 0;
  do {
    const uint64_t start = clock_ns();
    pool_for(b->engine->pool, bytes, 1 << 16, plain_body, &job);
    const double rate = (double)bytes / (double)(clock_ns() - start + 1);
    best = rate > best ? rate : best;
  } while (++passes < LEAST_PASSES || clock_ns() - begin < b->ns);
  return best;
}

/* As many bytes as the largest tensor has, so that both go to the same memory. */
static viva_status measure_plain(bench *b, const viva_tensor *largest, viva_error *error) {
  mem *m = &b->engine->rt->mem;
  const size_t wanted = largest ? largest->elements * sizeof(float) : 0;
  const size_t bytes = wanted > PLAIN_BYTES ? wanted : PLAIN_BYTES;
  char *from = mem_alloc(m, bytes), *to = mem_alloc(m, bytes);
  if (from && to) {
    memset(from, 1, bytes), memset(to, 1, bytes); /* the first pages are the system's to give */
    b->result.write_gb_per_s = plain_rate(b, bytes, to, NULL);
    b->result.copy_gb_per_s = plain_rate(b, bytes, to, from);
  }
  const int failed = !from || !to;
  mem_free(m, from);
  mem_free(m, to);
  return failed ? error_set(error, VIVA_E_MEMORY, "no memory for copying %zu bytes", bytes) : VIVA_OK;
}

/* -- one codec */

static viva_status compress_once(const bench *b, const viva_tensor *t, int codec, viva_compressed **c,
                                 viva_error *error) {
  viva_compression_config config = codec == 0   ? viva_nvfp4_config()
                                   : codec == 1 ? viva_int8_config()
                                                : viva_nvfp4_e2m1_config();
  if (codec == 2) config.search = VIVA_SEARCH_ABSMAX;
  if (codec == CODECS - 1) return viva_analyze_and_compress(b->engine, t, NULL, c, error);
  config.max_error_pct = 0; /* the speed of compressing alone; the table has the errors */
  return viva_compress(b->engine, t, &config, c, error);
}

static viva_status measure_compress(const bench *b, const viva_tensor *t, int codec, viva_bench_row *row,
                                    viva_error *error) {
  const double bytes = 4 * (double)t->elements;
  const uint64_t begin = clock_ns();
  int passes = 0;
  do {
    viva_compressed *c;
    const uint64_t start = clock_ns();
    TRY(compress_once(b, t, codec, &c, error));
    const double rate = bytes / (double)(clock_ns() - start + 1);
    row->compress_gb_per_s = rate > row->compress_gb_per_s ? rate : row->compress_gb_per_s;
    viva_compressed_release(c);
  } while (++passes < LEAST_PASSES || clock_ns() - begin < b->ns);
  return VIVA_OK;
}

static viva_status measure_decompress(const bench *b, const viva_tensor *t, const viva_compressed *c,
                                      viva_bench_row *row, viva_error *error) {
  float *values = mem_array(&b->engine->rt->mem, t->elements, sizeof *values);
  if (!values) return error_set(error, VIVA_E_MEMORY, "no memory for %zu values", t->elements);
  viva_status status = VIVA_OK;
  const uint64_t begin = clock_ns();
  int passes = 0;
  do {
    const uint64_t start = clock_ns();
    status = viva_decompress_into(b->engine, c, values, t->elements, error);
    const double rate = 4 * (double)t->elements / (double)(clock_ns() - start + 1);
    row->decompress_gb_per_s = rate > row->decompress_gb_per_s ? rate : row->decompress_gb_per_s;
  } while (status == VIVA_OK && (++passes < LEAST_PASSES || clock_ns() - begin < b->ns));
  mem_free(&b->engine->rt->mem, values);
  return status;
}

static viva_status measure_codec(bench *b, const viva_tensor *t, const char *data, int codec, viva_error *error) {
  viva_bench_row *row = &b->result.rows[b->result.count];
  viva_compressed *c;
  *row = (viva_bench_row){.data = data, .codec = names[codec], .stats = {.size = sizeof row->stats}};
  TRY(measure_compress(b, t, codec, row, error));
  TRY(compress_once(b, t, codec, &c, error));
  viva_status status = viva_compression_statistics(b->engine, t, c, &row->stats, error);
  if (status == VIVA_OK) status = measure_decompress(b, t, c, row, error);
  viva_compressed_release(c);
  if (status != VIVA_OK) return status;
  b->result.count++;
  line(b, "  %-42s %6.3f  %9.3e  %9.3e  %8.4f  %7.2f  %7.2f  %7.2f", row->codec, row->stats.compression_ratio,
       row->stats.mean_error, row->stats.max_error, row->stats.mean_error_pct, row->stats.sqnr_db,
       row->compress_gb_per_s, row->decompress_gb_per_s);
  return VIVA_OK;
}

static viva_status measure_tensor(bench *b, const viva_tensor *t, const char *data, viva_error *error) {
  line(b, "%s", data);
  line(b, "  %-42s %6s  %9s  %9s  %8s  %7s  %7s  %7s", "", "ratio", "mean err", "max err", "mean %", "SQNR dB",
       "in GB/s", "out GB/s");
  for (int codec = 0; codec < CODECS; codec++) TRY(measure_codec(b, t, data, codec, error));
  line(b, "%s", "");
  return VIVA_OK;
}

/* The original's data: uniform in [0, 1), the same on every machine. */
static viva_status measure_uniform(bench *b, viva_error *error) {
  static const uint64_t shape[2] = {SEED_ROWS, SEED_COLS};
  viva_tensor *t;
  uint64_t state = 42;
  TRY(tensor_create(b->engine->rt, VIVA_F32, 2, shape, &t, error));
  float *values = (float *)(void *)t->data;
  for (size_t i = 0; i < t->elements; i++) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    values[i] = (float)(state >> 40) * 0x1p-24f;
  }
  const viva_status status = measure_tensor(b, t, "uniform [1024, 512]", error);
  viva_tensor_release(t);
  return status;
}

/* -- what is not measured */

static void tell_model(const bench *b) {
  double us = 0;
  line(b, "%s", "A model, not a measurement: the original's memory hierarchy, and 2 MB through it");
  for (int i = 0; i < VIVA_MEMORY_LEVELS; i++) {
    const viva_memory_level level = (viva_memory_level)i;
    (void)viva_transfer_time_us(2, level, &us, NULL);
    line(b, "  %-12s %9.1f GB/s  %9.4f us  (%s)", viva_memory_level_name(level), viva_memory_bandwidth_gbps(level), us,
         viva_memory_level_label(level));
  }
  line(b, "%s", "");
  line(b, "%s", "A model, not a measurement: the original's silicon");
  line(b, "%s", "  area of a multiplier: 8 bits 64 units, 32 bits 576 units (9 times)");
  line(b, "%s", "  HBM4 2000 GB/s a chip, HBM3e of Blackwell 8000 GB/s, decompression in hardware 800 GB/s");
  double best = 0;
  for (size_t i = 0; i < b->result.count; i++)
    if (b->result.rows[i].decompress_gb_per_s > best) best = b->result.rows[i].decompress_gb_per_s;
  line(b, "  measured here: decompression %.1f GB/s", best);
}

viva_status viva_compression_benchmark(viva_engine *engine, const viva_bench_options *options, viva_line_fn write,
                                       void *user, viva_bench_result *result, viva_error *error) {
  viva_bench_options o = viva_bench_options_default();
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  TRY(options_read(&o, options, "viva_bench_options", error));
  if (!(o.seconds >= 0) || o.seconds > 1000)
    return error_set(error, VIVA_E_ARGUMENT, "seconds is %g; expected 0 to 1000", o.seconds);
  bench b = {.engine = engine, .write = write, .user = user, .result = {.size = sizeof b.result}};
  b.ns = (uint64_t)((o.seconds > 0 ? o.seconds : SECONDS) * NS);
  TRY(measure_plain(&b, o.tensor, error));
  line(&b, "%d threads: plain copying %.2f GB/s, plain writing %.2f GB/s", pool_threads(engine->pool),
       b.result.copy_gb_per_s, b.result.write_gb_per_s);
  line(&b, "%s", "");
  TRY(measure_uniform(&b, error));
  if (o.tensor) TRY(measure_tensor(&b, o.tensor, o.tensor_name ? o.tensor_name : "tensor", error));
  tell_model(&b);
  return result ? options_fill(result, &b.result, "viva_bench_result", error) : VIVA_OK;
}
