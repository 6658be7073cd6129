/* The CUDA backend's operations on single rows, beside the CPU's plain reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "lib/cuda_kit.h"
#include "model/rope.h"
#include "number/number.h"

#define EPSILON 0x1p-24

static cuda_kit kit;

/* Uniform values; rows 1, 3 and 5 of a longer batch hold what is special: zeros, a NaN, an infinity. */
static float *rows_of(size_t rows, size_t stride, uint64_t *seed) {
  float *x = malloc(rows * stride * sizeof *x);
  kit_fill(x, rows * stride, seed);
  for (size_t c = 0; c < stride && rows > 1; c++) x[stride + c] = 0;
  if (rows > 3) x[3 * stride + stride / 2] = NAN;
  if (rows > 5) x[5 * stride + stride / 3] = -INFINITY;
  return x;
}

/* -- embed: each value is one or two products of FP32, so the bits are equal */

static void embed_of(const weight *table, const char *name) {
  enum { TOKENS = 5 };
  const viva_token tokens[TOKENS] = {0, (viva_token)table->rows - 1, 7, 7, 3};
  const size_t bytes = TOKENS * table->cols * sizeof(float);
  float *cpu = malloc(bytes), *gpu = malloc(bytes);
  const weight far = cuda_kit_weight(&kit, table);
  const viva_token *dev = cuda_kit_put(&kit, tokens, sizeof tokens);
  float *out = cuda_kit_put(&kit, NULL, bytes);
  assert_int_equal(kit.cpu.ops->embed(kit.cpu.b, table, tokens, TOKENS, cpu, NULL), VIVA_OK);
  assert_int_equal(kit.ops->embed(kit.b, &far, dev, TOKENS, out, NULL), VIVA_OK);
  cuda_kit_get(&kit, gpu, out, bytes);
  cuda_kit_same(name, cpu, gpu, TOKENS * table->cols);
  cuda_kit_drop(&kit);
  free(cpu), free(gpu);
}

static void embed_is_exact(void **state) {
  static const struct {
    weight_format format;
    uint32_t block;
    scale_type scale;
    const char *name;
  } tables[] = {{WEIGHT_F32, 0, SCALE_F32, "F32"},
                {WEIGHT_BF16, 0, SCALE_F32, "BF16"},
                {WEIGHT_F16, 0, SCALE_F32, "F16"},
                {WEIGHT_FP8, 0, SCALE_F32, "FP8"},
                {WEIGHT_FP8, 16, SCALE_F16, "FP8, F16"},
                {WEIGHT_FP8, 128, SCALE_E8M0, "FP8, E8M0"},
                {WEIGHT_NVFP4, 16, SCALE_E4M3, "NVFP4"},
                {WEIGHT_INT8_24, 0, SCALE_F32, "INT8 2:4"},
                {WEIGHT_INT4_24, 0, SCALE_F32, "INT4 2:4"},
                {WEIGHT_INT4_24, 32, SCALE_F16, "INT4 2:4, 32"},
                {WEIGHT_INT4_24, 128, SCALE_F32, "INT4 2:4, 128"}};
  static const size_t cols[] = {1, 8, 63, 64, 100, 576, 2048};
  uint64_t seed = 1;
  (void)state;
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
      weight table = kit_packed(tables[i].format, 300, cols[c], 0, tables[i].block, tables[i].scale, &seed);
      embed_of(&table, tables[i].name);
      if (table.format == WEIGHT_NVFP4) table.global_divides = 0, embed_of(&table, "NVFP4, multiplier");
      kit_weight_free(&table);
    }
}

/* -- rmsnorm: the sum of n squares is off by at most n/8 + 8 roundings of itself on either side (chains of an eighth), half
 * of which reach the scale; then the root, the quotient and two products */

typedef struct norm_case {
  size_t rows, groups, n, gap;
  const float *expected;
} norm_case;

static double norm_bound(const void *arg, size_t i) {
  const norm_case *c = arg;
  return ((double)c->n / 8 + 2 * 8) * EPSILON * fabs((double)c->expected[i]);
}

static void norm_of(norm_case c, int in_place) {
  uint64_t seed = c.n;
  const size_t stride = c.groups * c.n + c.gap, bytes = c.rows * stride * sizeof(float);
  float *x = rows_of(c.rows, stride, &seed), *gain = malloc(c.n * sizeof *gain);
  float *cpu = malloc(bytes), *gpu = malloc(bytes);
  kit_fill(gain, c.n, &seed);
  memcpy(cpu, x, bytes);
  float *dev = cuda_kit_put(&kit, x, bytes), *out = in_place ? dev : cuda_kit_put(&kit, x, bytes);
  const float *far_gain = cuda_kit_put(&kit, gain, c.n * sizeof *gain);
  kit.cpu.ops->rmsnorm(kit.cpu.b, x, cpu, c.rows, stride, c.groups, c.n, gain, 1e-5f, NULL);
  assert_int_equal(kit.ops->rmsnorm(kit.b, dev, out, c.rows, stride, c.groups, c.n, far_gain, 1e-5f, NULL), VIVA_OK);
  cuda_kit_get(&kit, gpu, out, bytes);
  c.expected = cpu;
  (void)cuda_kit_near("rmsnorm", cpu, gpu, c.rows * stride, norm_bound, &c);
  /* a row alone has the same bits */
  float *one = cuda_kit_put(&kit, x, stride * sizeof(float)), *alone = malloc(stride * sizeof(float));
  kit.ops->rmsnorm(kit.b, one, one, 1, stride, c.groups, c.n, far_gain, 1e-5f, NULL);
  cuda_kit_get(&kit, alone, one, stride * sizeof(float));
  cuda_kit_same("rmsnorm, alone", gpu, alone, c.groups * c.n);
  cuda_kit_drop(&kit);
  free(x), free(gain), free(cpu), free(gpu), free(alone);
}

static void rmsnorm_is_right(void **state) {
  static const norm_case cases[] = {{7, 1, 16, 0, NULL},     {3, 1, 17, 2, NULL},   {9, 1, 256, 0, NULL},
                                    {9, 1, 260, 4, NULL},    {40, 1, 576, 0, NULL}, {7, 1, 2048, 0, NULL},
                                    {300, 1, 4096, 0, NULL}, {2, 1, 8192, 0, NULL}, {7, 1, 16384, 0, NULL},
                                    {7, 1, 4095, 1, NULL},   {9, 9, 64, 0, NULL},   {33, 3, 80, 16, NULL},
                                    {7, 32, 128, 0, NULL},   {7, 2, 256, 8, NULL}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) norm_of(cases[i], 0), norm_of(cases[i], 1);
}

/* -- silu_mul: e^−v to 2 ulp on both sides, one sum, one quotient, one product */

static double silu_bound(const void *arg, size_t i) {
  return (2 * 4 + 3) * 2 * EPSILON * fabs((double)((const float *)arg)[i]) + 0x1p-148;
}

static void silu_is_right(void **state) {
  static const size_t widths[] = {1, 24, 1536, 5632, 14336, 28672, 4099};
  (void)state;
  for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
    enum { ROWS = 7 };
    uint64_t seed = w;
    const size_t n = widths[w], stride = n + w % 2 * 4, bytes = ROWS * stride * sizeof(float);
    float *gate = rows_of(ROWS, stride, &seed), *up = rows_of(ROWS, stride, &seed);
    float *cpu = malloc(bytes), *gpu = malloc(bytes);
    for (size_t i = 0; i < stride; i++) gate[i] *= 100;
    memcpy(cpu, gate, bytes);
    float *dev = cuda_kit_put(&kit, gate, bytes);
    const float *far_up = cuda_kit_put(&kit, up, bytes);
    kit.cpu.ops->silu_mul(kit.cpu.b, gate, up, cpu, ROWS, n, stride, NULL);
    assert_int_equal(kit.ops->silu_mul(kit.b, dev, far_up, dev, ROWS, n, stride, NULL), VIVA_OK);
    cuda_kit_get(&kit, gpu, dev, bytes);
    (void)cuda_kit_near("silu_mul", cpu, gpu, ROWS * stride, silu_bound, cpu);
    cuda_kit_drop(&kit);
    free(gate), free(up), free(cpu), free(gpu);
  }
}

/* -- rows as codes: the bytes of the operation and quantize_rows, one after the other */

enum { CODES_ROWS = 7 };

static const input_mode code_modes[] = {INPUT_E4M3, INPUT_INT8, INPUT_INT4, INPUT_F16};

/* The codes of rows that lie at `made`, and those at `at_once`. */
static void codes_are_same(const char *what, input_mode mode, const float *made, size_t n, const void *at_once) {
  const size_t bytes = kit.ops->quantized_bytes(kit.b, mode, CODES_ROWS, n),
               codes = CODES_ROWS * n * (mode == INPUT_F16 ? 2 : 1);
  const size_t scales = bytes - CODES_ROWS * sizeof(float); /* what lies between is nobody's */
  void *after = cuda_kit_put(&kit, NULL, bytes);
  uint8_t *got = malloc(bytes), *expected = malloc(bytes);
  assert_int_equal(kit.ops->quantize_rows(kit.b, mode, made, n, CODES_ROWS, n, after, NULL), VIVA_OK);
  cuda_kit_get(&kit, expected, after, bytes);
  cuda_kit_get(&kit, got, at_once, bytes);
  for (size_t i = 0; i < codes; i++)
    if (got[i] != expected[i])
      fail_msg("%s of %zu, mode %d: byte %zu of the codes is %d, not %d", what, n, (int)mode, i, got[i], expected[i]);
  float ours[CODES_ROWS], theirs[CODES_ROWS];
  memcpy(ours, got + scales, sizeof ours);
  memcpy(theirs, expected + scales, sizeof theirs);
  cuda_kit_same(what, theirs, ours, CODES_ROWS);
  free(got), free(expected);
}

static void codes_of(size_t n, input_mode mode) {
  uint64_t seed = n;
  const size_t bytes = CODES_ROWS * n * sizeof(float), room = kit.ops->quantized_bytes(kit.b, mode, CODES_ROWS, n);
  float *x = rows_of(CODES_ROWS, n, &seed), *y = rows_of(CODES_ROWS, n, &seed), *gain = malloc(n * sizeof *gain);
  kit_fill(gain, n, &seed);
  for (size_t c = 0; c < n; c++) x[2 * n + c] *= 0x1p-100f; /* a scale near FP32's end takes the plain division */
  const float *far_x = cuda_kit_put(&kit, x, bytes), *far_y = cuda_kit_put(&kit, y, bytes);
  const float *far_gain = cuda_kit_put(&kit, gain, n * sizeof *gain);
  float *made = cuda_kit_put(&kit, NULL, bytes);
  void *codes = cuda_kit_put(&kit, NULL, room);
  assert_int_equal(kit.ops->rmsnorm(kit.b, far_x, made, CODES_ROWS, n, 1, n, far_gain, 1e-5f, NULL), VIVA_OK);
  assert_int_equal(kit.ops->rmsnorm_codes(kit.b, far_x, CODES_ROWS, n, far_gain, 1e-5f, mode, codes, NULL), VIVA_OK);
  codes_are_same("a norm", mode, made, n, codes);
  void *gated = cuda_kit_put(&kit, NULL, room);
  assert_int_equal(kit.ops->silu_mul(kit.b, far_x, far_y, made, CODES_ROWS, n, n, NULL), VIVA_OK);
  assert_int_equal(kit.ops->silu_mul_codes(kit.b, far_x, far_y, CODES_ROWS, n, mode, gated, NULL), VIVA_OK);
  codes_are_same("a gated activation", mode, made, n, gated);
  cuda_kit_drop(&kit);
  free(x), free(y), free(gain);
}

/* Lengths of one warp, of blocks, beyond what registers hold, and ones that quads do not fit. */
static void codes_are_those_of_rows(void **state) {
  static const size_t widths[] = {16, 17, 256, 260, 576, 2048, 4095, 4096, 5632, 14336, 16384, 28672, 28676, 32771};
  (void)state;
  for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
    for (size_t m = 0; m < sizeof code_modes / sizeof *code_modes; m++) codes_of(widths[w], code_modes[m]);
}

/* -- sums of several GPUs' parts, which lie here already, and their norm in one pass: the bits of both, one after the other */

enum { SUM_RANKS = 3, SUM_OWN = 1, SUM_TICK = 7 };

/* x: dev, this rank's part. */
static step_exchange_sum_args sum_of(const float *parts, size_t count, float *x) {
  const uint32_t tick = SUM_TICK, failed = 0;
  step_exchange_sum_args a = {
      .rank = SUM_OWN, .ranks = SUM_RANKS, .x = x, .own = x, .count = count, .tick = SUM_TICK, .blocks = 64};
  a.failed = cuda_kit_put(&kit, &failed, sizeof failed);
  for (size_t r = 0; r < SUM_RANKS; r++) {
    if (r == SUM_OWN) continue;
    a.parts[r] = cuda_kit_put(&kit, parts + r * count, count * sizeof(float));
    a.words[r] = cuda_kit_put(&kit, &tick, sizeof tick);
  }
  return a;
}

static void sum_and_norm_of(size_t n, input_mode mode) {
  enum { ROWS = 3 };
  cuda_backend *c = cuda_of(kit.b);
  const step_queue q = {.stream = c->stream};
  const size_t count = ROWS * n, bytes = count * sizeof(float);
  const size_t room = mode == INPUT_FLOAT ? bytes : kit.ops->quantized_bytes(kit.b, mode, ROWS, n);
  uint64_t seed = n;
  float *parts = malloc(SUM_RANKS * bytes), *gain = malloc(n * sizeof *gain), *expected = malloc(bytes);
  uint8_t *at_once = malloc(room), *after = malloc(room);
  kit_fill(parts, SUM_RANKS * count, &seed);
  kit_fill(gain, n, &seed);
  for (size_t i = 0; i < count; i++) expected[i] = parts[i] + parts[count + i] + parts[2 * count + i];
  const float *far_gain = cuda_kit_put(&kit, gain, n * sizeof *gain);
  float *sum = cuda_kit_put(&kit, parts + SUM_OWN * count, bytes),
        *x = cuda_kit_put(&kit, parts + SUM_OWN * count, bytes);
  uint8_t *zeros = calloc(room, 1);
  void *to = cuda_kit_put(&kit, zeros, room), *then = cuda_kit_put(&kit, zeros, room); /* gaps are nobody's */
  const step_exchange_sum_args alone = sum_of(parts, count, sum), both = sum_of(parts, count, x);
  const exchange_norm norm = {.rows = ROWS, .n = n, .gain = far_gain, .eps = 1e-5f, .mode = mode, .to = to};
  assert_int_equal(c->kernels->exchange_sum(q, &alone), 0);
  assert_int_equal(c->kernels->exchange_norm(q, &both, &norm, 0), 0);
  if (mode == INPUT_FLOAT)
    assert_int_equal(kit.ops->rmsnorm(kit.b, sum, then, ROWS, n, 1, n, far_gain, 1e-5f, NULL), VIVA_OK);
  else
    assert_int_equal(kit.ops->rmsnorm_codes(kit.b, sum, ROWS, n, far_gain, 1e-5f, mode, then, NULL), VIVA_OK);
  cuda_kit_get(&kit, parts, sum, bytes);
  cuda_kit_same("a sum", expected, parts, count);
  cuda_kit_get(&kit, parts, x, bytes);
  cuda_kit_same("a sum beside its norm", expected, parts, count);
  cuda_kit_get(&kit, at_once, to, room);
  cuda_kit_get(&kit, after, then, room);
  for (size_t i = 0; i < room; i++)
    if (at_once[i] != after[i]) fail_msg("the norm of a sum of %zu, mode %d: byte %zu differs", n, (int)mode, i);
  cuda_kit_drop(&kit);
  free(parts), free(gain), free(expected), free(at_once), free(after), free(zeros);
}

/* A share of the rows, added to what x has there: the bits of the sum of all, one after the other, and its norm. */
static void share_of(size_t n, input_mode mode) {
  enum { ROWS = 5, FIRST = 2, SHARE = 2 };
  cuda_backend *c = cuda_of(kit.b);
  const step_queue q = {.stream = c->stream};
  const size_t count = SHARE * n, bytes = count * sizeof(float);
  const size_t room = mode == INPUT_FLOAT ? ROWS * n * sizeof(float) : kit.ops->quantized_bytes(kit.b, mode, ROWS, n);
  uint64_t seed = n + 1;
  float *parts = malloc(SUM_RANKS * bytes), *gain = malloc(n * sizeof *gain), *x = malloc(ROWS * n * sizeof *x);
  float *sums = malloc(ROWS * n * sizeof *x), *found = malloc(ROWS * n * sizeof *x);
  uint8_t *share = malloc(room), *all = malloc(room), *zeros = calloc(room, 1);
  kit_fill(parts, SUM_RANKS * count, &seed);
  kit_fill(gain, n, &seed);
  kit_fill(x, ROWS * n, &seed);
  memcpy(sums, x, ROWS * n * sizeof *x);
  for (size_t i = 0; i < count; i++)
    sums[FIRST * n + i] = x[FIRST * n + i] + parts[i] + parts[count + i] + parts[2 * count + i];
  const float *far_gain = cuda_kit_put(&kit, gain, n * sizeof *gain);
  float *far_x = cuda_kit_put(&kit, x, ROWS * n * sizeof *x),
        *far_sums = cuda_kit_put(&kit, sums, ROWS * n * sizeof *x);
  void *to = cuda_kit_put(&kit, zeros, room), *then = cuda_kit_put(&kit, zeros, room);
  step_exchange_sum_args a = sum_of(parts, count, far_x + FIRST * n);
  const uint32_t tick = SUM_TICK;
  a.own = cuda_kit_put(&kit, parts + SUM_OWN * count, bytes);
  a.words[SUM_OWN] = cuda_kit_put(&kit, &tick, sizeof tick);
  a.before = a.x;
  const exchange_norm norm = {.rows = ROWS, .n = n, .gain = far_gain, .eps = 1e-5f, .mode = mode, .to = to};
  assert_int_equal(c->kernels->exchange_wait(q, &a), 0);
  assert_int_equal(c->kernels->exchange_norm(q, &a, &norm, FIRST), 0);
  assert_int_not_equal(c->kernels->exchange_norm(q, &a, &norm, ROWS - 1), 0); /* rows that norm does not have */
  if (mode == INPUT_FLOAT)
    assert_int_equal(kit.ops->rmsnorm(kit.b, far_sums, then, ROWS, n, 1, n, far_gain, 1e-5f, NULL), VIVA_OK);
  else
    assert_int_equal(kit.ops->rmsnorm_codes(kit.b, far_sums, ROWS, n, far_gain, 1e-5f, mode, then, NULL), VIVA_OK);
  cuda_kit_get(&kit, found, far_x, ROWS * n * sizeof *x);
  cuda_kit_same("a share of a sum, and rows beside it", sums, found, ROWS * n);
  cuda_kit_get(&kit, share, to, room);
  cuda_kit_get(&kit, all, then, room);
  const size_t row = mode == INPUT_FLOAT ? n * sizeof(float) : mode == INPUT_F16 ? n * sizeof(uint16_t) : n;
  for (size_t i = 0; i < ROWS * row; i++) {
    const uint8_t expected = i / row >= FIRST && i / row < FIRST + SHARE ? all[i] : 0;
    if (share[i] != expected) fail_msg("the norm of a share of %zu, mode %d: byte %zu differs", n, (int)mode, i);
  }
  if (mode != INPUT_FLOAT) {
    const size_t scales = (size_t)((uint8_t *)step_quantized_scales(to, mode, ROWS, n) - (uint8_t *)to);
    assert_memory_equal(share + scales + FIRST * sizeof(float), all + scales + FIRST * sizeof(float),
                        SHARE * sizeof(float));
  }
  cuda_kit_drop(&kit);
  free(parts), free(gain), free(x), free(sums), free(found), free(share), free(all), free(zeros);
}

static void sums_with_their_norm(void **state) {
  static const size_t widths[] = {260, 576, 2048, 4096, 8192}; /* EXCHANGE_NORM_LEAST rounded up, to _MOST */
  (void)state;
  for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
    sum_and_norm_of(widths[w], INPUT_FLOAT);
    for (size_t m = 0; m < sizeof code_modes / sizeof *code_modes; m++) sum_and_norm_of(widths[w], code_modes[m]);
    share_of(widths[w], INPUT_FLOAT);
    for (size_t m = 0; m < sizeof code_modes / sizeof *code_modes; m++) share_of(widths[w], code_modes[m]);
  }
}

static void rows_are_taken(void **state) {
  static const size_t widths[] = {5, 64, 576, 4096};
  (void)state;
  for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
    enum { ROWS = 40, TAKEN = 4 };
    const uint32_t rows[TAKEN] = {0, 3, 17, ROWS - 1};
    const size_t n = widths[w], stride = n + w, bytes = ROWS * stride * sizeof(float);
    uint64_t seed = w;
    float *x = rows_of(ROWS, stride, &seed), gpu[TAKEN * 4100];
    const float *dev = cuda_kit_put(&kit, x, bytes);
    const uint32_t *far_rows = cuda_kit_put(&kit, rows, sizeof rows);
    float *to = cuda_kit_put(&kit, NULL, TAKEN * stride * sizeof(float));
    assert_int_equal(kit.ops->take_rows(kit.b, dev, far_rows, TAKEN, n, stride, to, NULL), VIVA_OK);
    cuda_kit_get(&kit, gpu, to, TAKEN * stride * sizeof(float));
    for (size_t i = 0; i < TAKEN; i++) cuda_kit_same("take_rows", x + rows[i] * stride, gpu + i * stride, n);
    cuda_kit_drop(&kit);
    free(x);
  }
}

/* -- load and store: conversions, which have one right answer */

static void outer_of(viva_dtype dtype, size_t cols, ptrdiff_t row_stride, ptrdiff_t col_stride) {
  enum { ROWS = 7 };
  uint64_t seed = cols;
  const size_t element = dtype == VIVA_F32 ? 4 : 2, count = ROWS * cols, bytes = count * sizeof(float);
  const size_t room = ((size_t)labs(row_stride) * (ROWS - 1) + (size_t)labs(col_stride) * (cols - 1) + 1) * element;
  const size_t begin = row_stride < 0 ? (size_t)-row_stride * (ROWS - 1) * element : 0;
  float *x = rows_of(ROWS, cols, &seed), *cpu = malloc(bytes), *gpu = malloc(bytes),
        *bias = malloc(cols * sizeof *bias);
  char *near = malloc(room), *back = malloc(room);
  uint8_t bad[ROWS] = {0}, marks[2][ROWS];
  uint64_t overflows[2] = {3, 3};
  kit_fill(bias, cols, &seed);
  for (size_t c = 0; c < cols; c++) x[2 * cols + c] *= 0x1p20f;  /* beyond F16 */
  for (size_t c = 0; c < cols; c++) x[4 * cols + c] *= 0x1p-18f; /* subnormal there */
  bad[6] = 1;
  memset(near, 0xff, room);
  char *far = cuda_kit_put(&kit, NULL, room);
  const float *far_x = cuda_kit_put(&kit, x, bytes), *far_bias = cuda_kit_put(&kit, bias, cols * sizeof *bias);
  const uint8_t *far_bad = cuda_kit_put(&kit, bad, sizeof bad);
  const outer_rows rows = {dtype, near + begin, row_stride, col_stride},
                   dev = {dtype, far + begin, row_stride, col_stride};
  kit.cpu.ops->store_rows(kit.cpu.b, x, cols, ROWS, cols, bias, bad, &rows, &overflows[0], NULL);
  assert_int_equal(kit.ops->store_rows(kit.b, far_x, cols, ROWS, cols, far_bias, far_bad, &dev, &overflows[1], NULL),
                   VIVA_OK);
  float *to = cuda_kit_put(&kit, NULL, bytes);
  uint8_t *far_marks = cuda_kit_put(&kit, NULL, ROWS);
  kit.cpu.ops->load_rows(kit.cpu.b, &rows, ROWS, cols, cpu, cols, marks[0], NULL);
  assert_int_equal(kit.ops->load_rows(kit.b, &dev, ROWS, cols, to, cols, far_marks, NULL), VIVA_OK);
  cuda_kit_get(&kit, gpu, to, bytes);
  cuda_kit_get(&kit, marks[1], far_marks, ROWS);
  cuda_kit_get(&kit, back, far, room);
  cuda_kit_same("store and load", cpu, gpu, count);
  assert_memory_equal(marks[0], marks[1], ROWS);
  assert_int_equal(overflows[0], overflows[1]);
  /* what lies between the elements stays */
  for (size_t i = 0; i < room && labs(col_stride) == 2; i++)
    if (i / element % 2 == 1 && labs(row_stride) % 2 == 0) assert_int_equal((uint8_t)back[i], 0xff);
  cuda_kit_drop(&kit);
  free(x), free(cpu), free(gpu), free(bias), free(near), free(back);
}

static void outer_rows_are_exact(void **state) {
  (void)state;
  for (viva_dtype dtype = VIVA_F32; dtype <= VIVA_BF16; dtype++) {
    outer_of(dtype, 1, 1, 1);
    outer_of(dtype, 576, 576, 1);
    outer_of(dtype, 100, 208, 2);
    outer_of(dtype, 33, 1, 9); /* columns along memory */
    outer_of(dtype, 257, -300, 1);
  }
}

/* -- top: exact */

static void top_of(const float *values, size_t rows, size_t n, size_t k) {
  const size_t count = rows * k, bytes = count * sizeof(float);
  viva_token *ids[2] = {malloc(count * sizeof(viva_token)), malloc(count * sizeof(viva_token))};
  float *best[2] = {malloc(bytes), malloc(bytes)};
  uint8_t nan[2][16];
  const float *dev = cuda_kit_put(&kit, values, rows * n * sizeof *values);
  kit.cpu.ops->top(kit.cpu.b, values, rows, n, k, ids[0], best[0], nan[0], NULL);
  assert_int_equal(kit.ops->top(kit.b, dev, rows, n, k, ids[1], best[1], nan[1], NULL), VIVA_OK);
  for (size_t r = 0; r < rows; r++) {
    assert_int_equal(nan[0][r], nan[1][r]);
    for (size_t i = r * k; i < (r + 1) * k && !nan[0][r]; i++)
      if (ids[0][i] != ids[1][i] || !kit_same(&best[0][i], &best[1][i], 1))
        fail_msg("top %zu of %zu, row %zu, place %zu: %d %.9g, the CPU has %d %.9g", k, n, r, i - r * k, (int)ids[1][i],
                 (double)best[1][i], (int)ids[0][i], (double)best[0][i]);
  }
  assert_int_equal(kit.ops->top(kit.b, dev, rows, n, k, ids[0], NULL, nan[0], NULL), VIVA_OK);
  for (size_t r = 0; r < rows; r++)
    if (!nan[1][r]) assert_memory_equal(ids[0] + r * k, ids[1] + r * k, k * sizeof(viva_token));
  cuda_kit_drop(&kit);
  free(ids[0]), free(ids[1]), free(best[0]), free(best[1]);
}

/* Rows: uniform; few different values, so that most are ties; one with a NaN; all equal; all minus infinity; zeros of both signs;
 * the largest at the end. */
static void top_is_exact(void **state) {
  enum { ROWS = 7 };
  static const size_t sizes[] = {1, 2, 31, 300, 2048, 2049, 49152, 128256}, ks[] = {1, 2, 5, 40, 300, 2048, 5000};
  (void)state;
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    const size_t n = sizes[s];
    uint64_t seed = n;
    float *v = malloc(ROWS * n * sizeof *v);
    kit_fill(v, ROWS * n, &seed);
    for (size_t i = 0; i < n; i++) {
      v[n + i] = (float)(int)(v[n + i] * 20);
      v[3 * n + i] = 0.25f;
      v[4 * n + i] = -INFINITY;
      v[5 * n + i] = i % 2 ? 0.0f : -0.0f;
    }
    v[2 * n + n / 2] = NAN;
    v[6 * n + n - 1] = INFINITY;
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
      if (ks[i] <= n) top_of(v, ROWS, n, ks[i]);
    if (n < 3000) top_of(v, ROWS, n, n);
    free(v);
  }
}

/* -- angles: a step that begins without them has the bits of rope_row */

static void angles_are_the_hosts(void **state) {
  enum { ROWS = 70, PAIRS = 48, FIRST = 33 };
  static struct {
    batch_span spans[2];
    _Alignas(64) float cos_sin[ROWS][2 * PAIRS];
  } block;
  float inv_freq[2][PAIRS], expected[ROWS][2 * PAIRS];
  batch_turn turns[2];
  (void)state;
  block.spans[0] = (batch_span){.rows = FIRST, .position = 5};
  block.spans[1] = (batch_span){.first_row = FIRST, .rows = ROWS - FIRST, .position = 131000};
  for (size_t i = 0; i < 2; i++) {
    const rope angles = {.pairs = PAIRS, .scaling = i ? 1.25f : 1, .inv_freq = inv_freq[i]};
    for (size_t j = 0; j < PAIRS; j++) inv_freq[i][j] = powf(i ? 500000.0f : 1e4f, -(float)j / PAIRS);
    turns[i] = (batch_turn){.inv_freq = inv_freq[i], .pairs = PAIRS, .scaling = angles.scaling};
    for (size_t j = 0; j < block.spans[i].rows; j++)
      rope_row(&angles, block.spans[i].position + j, expected[block.spans[i].first_row + j]);
  }
  const void *const none = &block; /* arrays that nobody looks at */
  const batch host = {.rows = ROWS,
                      .span_count = 2,
                      .tokens = none,
                      .positions = none,
                      .sequence = none,
                      .cos_sin = block.cos_sin[0],
                      .turns = turns,
                      .spans = block.spans,
                      .kept_spans = block.spans,
                      .kept_rows = none,
                      .pages = none,
                      .block = &block,
                      .block_bytes = (size_t)((const char *)block.cos_sin - (const char *)&block)};
  batch dev;
  float found[ROWS][2 * PAIRS];
  assert_true(ROWS > kit.ops->angle_rows);
  assert_int_equal(kit.ops->step_begin(kit.b, &host, cuda_kit_put(&kit, NULL, sizeof block), &dev, NULL), VIVA_OK);
  cuda_kit_get(&kit, found, dev.cos_sin, sizeof found);
  assert_int_equal(kit.ops->step_end(kit.b, NULL), VIVA_OK);
  cuda_kit_same("angles", expected[0], found[0], ROWS * 2 * PAIRS);
  cuda_kit_drop(&kit);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(angles_are_the_hosts), cmocka_unit_test(embed_is_exact),
      cmocka_unit_test(rmsnorm_is_right),     cmocka_unit_test(silu_is_right),
      cmocka_unit_test(rows_are_taken),       cmocka_unit_test(outer_rows_are_exact),
      cmocka_unit_test(top_is_exact),         cmocka_unit_test(codes_are_those_of_rows),
      cmocka_unit_test(sums_with_their_norm),
  };
  const int unavailable = cuda_kit_open(&kit, 300, 128, 128256);
  if (unavailable) return unavailable;
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  cuda_kit_close(&kit);
  return failed;
}
