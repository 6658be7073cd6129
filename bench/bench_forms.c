/* bench/bench_forms.c: see the header. */
#include "bench_forms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/runtime.h"
#include "number/number.h"

const form bench_forms[BENCH_FORMS] = {
    {"bf16", WEIGHT_BF16, 0, SCALE_F32},           {"fp8", WEIGHT_FP8, 0, SCALE_F32},
    {"fp8-b16:f16", WEIGHT_FP8, 16, SCALE_F16},    {"fp8-b32:f16", WEIGHT_FP8, 32, SCALE_F16},
    {"fp8-b128:f32", WEIGHT_FP8, 128, SCALE_F32},  {"nvfp4", WEIGHT_NVFP4, 16, SCALE_E4M3},
    {"int8-24", WEIGHT_INT8_24, 0, SCALE_F32},     {"int4-24", WEIGHT_INT4_24, 128, SCALE_F16},
    {"int4-24-g32", WEIGHT_INT4_24, 32, SCALE_F16}};

const char *const bench_modes[] = {"float", "e4m3", "int8", "int4"};

void bench_fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static uint32_t next_random(bench *t) { /* xorshift64 */
  t->random ^= t->random << 13, t->random ^= t->random >> 7, t->random ^= t->random << 17;
  return (uint32_t)(t->random >> 32);
}

void *bench_take(bench *t, size_t bytes) {
  void *memory = NULL;
  if (t->ops->alloc(t->b, bytes, &memory, NULL) != VIVA_OK) bench_fail("out of memory");
  return memory;
}

void bench_random(bench *t, float *values, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] = (float)(int32_t)next_random(t) * 0x1p-31f;
}

static const char *const tables[] = {"auto", "reference", "avx2", "avx512", "avx512-bf16"};
enum { TABLES = sizeof tables / sizeof tables[0] };

void bench_open(bench *t) {
  int wanted = VIVA_KERNELS_AUTO;
  while (t->table && wanted < TABLES && strcmp(t->table, tables[wanted]) != 0) wanted++;
  const viva_cpu_kernels table = (viva_cpu_kernels)wanted;
  t->rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_ERROR);
  if (!t->rt || pool_create(t->rt, t->threads, &t->pool, NULL) != VIVA_OK ||
      pool_create(t->rt, 1, &t->one_thread, NULL) != VIVA_OK)
    bench_fail("no threads");
  if (t->ops->open(t->rt, t->pool, 0, table, &t->b, NULL) != VIVA_OK ||
      t->ops->open(t->rt, t->one_thread, 0, table, &t->alone, NULL) != VIVA_OK)
    bench_fail("no such kernels here");
  viva_device_info info = {.size = sizeof info};
  t->ops->info(t->b, &info);
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("%s, %s, %d threads, medians of %d\n", info.name, info.kernels, t->threads, t->rounds);
}

void bench_close(bench *t) {
  t->ops->close(t->b), t->ops->close(t->alone);
  pool_free(t->pool), pool_free(t->one_thread);
  runtime_release(t->rt);
}

/* -- weights: random codes that are valid, scales of 1 */

size_t bench_code_bytes(weight_format format, size_t cols) { /* of a row */
  switch (format) {
  case WEIGHT_FP8: return cols;
  case WEIGHT_NVFP4: return (cols + NVFP4_BLOCK - 1) / NVFP4_BLOCK * NVFP4_BLOCK_BYTES;
  case WEIGHT_INT8_24: return (cols + SPARSE_24_COLUMNS - 1) / SPARSE_24_COLUMNS * sizeof(int8_24_block);
  case WEIGHT_INT4_24: return (cols + SPARSE_24_COLUMNS - 1) / SPARSE_24_COLUMNS * sizeof(int4_24_block);
  default: return cols * weight_element_bytes(format);
  }
}

static void fill_sparse(bench *t, uint8_t *to, size_t block_bytes) {
  static const uint8_t nibbles[6] = {4, 8, 9, 12, 13, 14};
  const size_t kept = block_bytes - SPARSE_24_GROUPS / 2;
  for (size_t i = 0; i < kept; i++) to[i] = (uint8_t)(next_random(t) & 0x77);
  for (size_t i = kept; i < block_bytes; i++)
    to[i] = (uint8_t)(nibbles[next_random(t) % 6] | nibbles[next_random(t) % 6] << 4);
}

/* BF16 of ±0.5 … ±1: products with numbers that are not normal are slow on some processors, and no model has them. */
static void fill_bf16(bench *t, uint8_t *to, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 2) {
    const uint32_t random = next_random(t), bits = (random & 0x8000) | 0x3f00 | (random & 0x7f);
    to[i] = (uint8_t)(bits & 0xff);
    to[i + 1] = (uint8_t)(bits >> 8);
  }
}

static void fill_codes(bench *t, weight_format format, uint8_t *to, size_t bytes) {
  if (format == WEIGHT_BF16) {
    fill_bf16(t, to, bytes);
    return;
  }
  if (format == WEIGHT_INT8_24 || format == WEIGHT_INT4_24) {
    const size_t block = format == WEIGHT_INT8_24 ? sizeof(int8_24_block) : sizeof(int4_24_block);
    for (size_t i = 0; i + block <= bytes; i += block) fill_sparse(t, to + i, block);
    return;
  }
  for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)(next_random(t) & 0xbb); /* no NaN */
}

static const uint8_t one[4][4] = {{0, 0, 0x80, 0x3f}, {0, 0x3c}, {127}, {0x38}}; /* 1 of each scale_type */

/* A matrix at `memory`: its codes, then its scales. Returns its bytes. */
size_t bench_place(const form *f, size_t n, size_t k, char *memory, weight *w) {
  *w = (weight){.format = f->format,
                .rows = n,
                .cols = k,
                .row_bytes = bench_code_bytes(f->format, k),
                .data = memory,
                .scales_type = f->scales,
                .block = f->block,
                .global = 1};
  if (weight_dense(f->format)) return n * w->row_bytes;
  w->scale_row_bytes = weight_blocks(w) * scale_bytes(f->scales);
  const size_t codes = (n * w->row_bytes + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN;
  w->scales = memory + codes;
  return codes + (n * w->scale_row_bytes + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN;
}

void bench_fill(bench *t, const form *f, char *memory, const weight *w) {
  fill_codes(t, f->format, (uint8_t *)memory, w->row_bytes);
  for (size_t r = 1; r < w->rows; r++) memcpy(memory + r * w->row_bytes, memory, w->row_bytes);
  if (weight_dense(f->format)) return;
  char *scales = memory + ((const char *)w->scales - memory);
  for (size_t i = 0; i < w->rows * w->scale_row_bytes; i++)
    scales[i] = (char)one[f->scales][i % scale_bytes(f->scales)];
}

/* -- inputs */

inputs bench_inputs(bench *t, input_mode mode, const weight *w, size_t m) {
  inputs in = {.x = bench_take(t, m * w->cols * sizeof(float)), .y = bench_take(t, m * w->rows * sizeof(float))};
  bench_random(t, in.x, m * w->cols);
  if (mode != INPUT_FLOAT) {
    in.xq = bench_take(t, t->ops->quantized_bytes(t->b, mode, m, w->cols));
    t->ops->quantize_rows(t->b, mode, in.x, w->cols, m, w->cols, in.xq, NULL);
  }
  in.args = (linear_args){
      .m = m, .x = in.x, .x_stride = w->cols, .input = mode, .xq = in.xq, .w = w, .y = in.y, .y_stride = w->rows};
  return in;
}

void bench_inputs_free(bench *t, inputs *in) {
  t->ops->free(t->b, in->x, NULL), t->ops->free(t->b, in->y, NULL);
  if (in->xq) t->ops->free(t->b, in->xq, NULL);
}
