/* The CUDA backend's products beside the CPU's plain reference: every format, every kind of rows, activations, residual, for
 * numbers of rows that take the kernels for few rows, for many, and what lies between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/gemm.h"
#include "lib/cuda_kit.h"

static cuda_kit kit;

typedef struct product {
  const char *name;
  const weight *w, *far; /* the host's; the device's, with its second form */
  const float *values;   /* of w */
  size_t m;
  input_mode input;
  activation act;
  int residual;
  const float *sizes; /* [m][n]: Σ |x · w| of each output */
} product;

/* FP32 rows enter as FP16: 2^-11 of each value. Codes enter exactly; sums are FP32 with 2^-20 Σ|x·w| on either side, but
 * those of many E4M3 rows with FP8 weights, for which the tensor cores cut each of 32 products and the sum before them at 13
 * bits below the largest. More than 16 rows meet weights in blocks whose scale is no power of two as FP16: 2^-11 of each
 * weight. No activation is steeper than 1.2. */
static double product_bound(const void *arg, size_t i) {
  const product *p = arg;
  const int short_sums = p->input == INPUT_E4M3 && p->w->format == WEIGHT_FP8 && p->w->block == 0 && p->m > 16;
  const int expanded = p->w->block > 0 && p->w->format != WEIGHT_NVFP4 && p->w->scales_type != SCALE_E8M0 && p->m > 16;
  const double rows = p->input == INPUT_FLOAT ? 0x1p-11 : short_sums ? 33 * 0x1p-13 : 0;
  return 1.2 * (rows + (expanded ? 0x1p-11 : 0) + 0x1p-18) * (double)p->sizes[i] + 1e-30;
}

/* Row 1 is zeros; row 2, of FP32, beyond what FP16 holds; row 4 has a NaN where rows are quantised (of FP32 ones a NaN may
 * meet a pruned weight, which the CPU does not read). */
static void fill_rows(float *x, size_t m, size_t k, int quantised, uint64_t *seed) {
  kit_fill(x, m * k, seed);
  for (size_t c = 0; c < k && m > 1; c++) x[k + c] = 0;
  for (size_t c = 0; c < k && m > 2; c++) x[2 * k + c] *= 1e7f;
  if (m > 4 && quantised) x[4 * k + k / 2] = NAN;
}

static void sizes_of(const product *p, const float *x, float *sizes) {
  const size_t n = p->w->rows, k = p->w->cols;
  for (size_t i = 0; i < p->m; i++)
    for (size_t j = 0; j < n; j++) {
      double sum = 0;
      for (size_t c = 0; c < k; c++) sum += fabs((double)x[i * k + c] * (double)p->values[j * k + c]);
      sizes[i * n + j] = (float)(sum + 1); /* the bias, the residual */
    }
}

static void check_product(product p) {
  const size_t n = p.w->rows, k = p.w->cols, m = p.m, bytes = m * n * sizeof(float);
  uint64_t seed = m * 31 + (size_t)p.input;
  float *x = malloc(m * k * sizeof *x), *bias = malloc(n * sizeof *bias), *sizes = malloc(bytes);
  float *cpu = malloc(bytes), *gpu = malloc(bytes);
  char what[96];
  fill_rows(x, m, k, p.input != INPUT_FLOAT, &seed);
  kit_fill(bias, n, &seed);
  kit_fill(cpu, m * n, &seed); /* y is the residual too */
  p.sizes = sizes;
  sizes_of(&p, x, sizes);
  float *far_x = cuda_kit_put(&kit, x, m * k * sizeof *x), *y = cuda_kit_put(&kit, cpu, bytes);
  linear_args a = {
      .m = m, .x = x, .x_stride = k, .input = p.input, .w = p.w, .bias = bias, .act = p.act, .y = cpu, .y_stride = n};
  linear_args b = a;
  void *codes = NULL;
  b.x = far_x, b.w = p.far, b.y = y, b.bias = cuda_kit_put(&kit, bias, n * sizeof *bias);
  if (p.residual) a.residual = cpu, b.residual = y;
  if (p.input != INPUT_FLOAT) {
    codes = kit_guarded(kit.cpu.ops->quantized_bytes(kit.cpu.b, p.input, m, k));
    void *far_codes = cuda_kit_put(&kit, NULL, kit.ops->quantized_bytes(kit.b, p.input, m, k));
    assert_int_equal(kit.cpu.ops->quantize_rows(kit.cpu.b, p.input, x, k, m, k, codes, NULL), VIVA_OK);
    assert_int_equal(kit.ops->quantize_rows(kit.b, p.input, far_x, k, m, k, far_codes, NULL), VIVA_OK);
    a.xq = codes, b.xq = far_codes, a.x = b.x = NULL;
  }
  assert_int_equal(kit.cpu.ops->linear(kit.cpu.b, &a, 1, NULL), VIVA_OK);
  assert_int_equal(kit.ops->linear(kit.b, &b, 1, NULL), VIVA_OK);
  cuda_kit_get(&kit, gpu, y, bytes);
  snprintf(what, sizeof what, "%s [%zu][%zu], %zu rows of kind %d, activation %d", p.name, n, k, m, (int)p.input,
           (int)p.act);
  (void)cuda_kit_near(what, cpu, gpu, m * n, product_bound, &p);
  if (codes) kit_guarded_free(codes, kit.cpu.ops->quantized_bytes(kit.cpu.b, p.input, m, k));
  free(x), free(bias), free(sizes), free(cpu), free(gpu);
}

static void check_weight(const weight *w, const char *name) {
  static const size_t rows[] = {1, 2, 3, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 130, 258};
  float *values = malloc(w->rows * w->cols * sizeof *values);
  for (size_t i = 0; i < w->rows * w->cols; i++) values[i] = (float)kit_weight_at(w, i / w->cols, i % w->cols);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (input_mode input = INPUT_FLOAT; input <= INPUT_INT4; input++) {
      weight far = cuda_kit_weight(&kit, w);
      const size_t second = kit.ops->weight_bytes(kit.b, &far, 1);
      if (second)
        assert_int_equal(kit.ops->weight_prepare(kit.b, &far, 1, cuda_kit_put(&kit, NULL, second), NULL), VIVA_OK);
      const activation act = (activation)(i % 4);
      check_product((product){.name = name,
                              .w = w,
                              .far = &far,
                              .values = values,
                              .m = rows[i],
                              .input = input,
                              .act = act,
                              .residual = act == ACTIVATION_NONE});
      cuda_kit_drop(&kit);
    }
  free(values);
}

/* Tall tiles that are not cut: more than half of a round's clusters have one. */
static void tall_tiles_are_right(void **state) {
  enum { M = 520, N = 4416, K = 128 };
  (void)state;
  for (int f = 0; f < 2; f++) {
    uint64_t seed = 3;
    weight w = f ? kit_packed(WEIGHT_NVFP4, N, K, 0, 16, SCALE_E4M3, &seed)
                 : kit_packed(WEIGHT_FP8, N, K, 0, 0, SCALE_F32, &seed);
    weight far = cuda_kit_weight(&kit, &w);
    float *values = malloc((size_t)N * K * sizeof *values);
    for (size_t i = 0; i < (size_t)N * K; i++) values[i] = (float)kit_weight_at(&w, i / K, i % K);
    check_product((product){.name = "tall tiles", .w = &w, .far = &far, .values = values, .m = M, .residual = 1});
    cuda_kit_drop(&kit);
    kit_weight_free(&w);
    free(values);
  }
}

static void products_are_right(void **state) {
  static const struct {
    weight_format format;
    uint32_t block;
    scale_type scale;
    const char *name;
  } formats[] = {{WEIGHT_F32, 0, SCALE_F32, "F32"},
                 {WEIGHT_BF16, 0, SCALE_F32, "BF16"},
                 {WEIGHT_F16, 0, SCALE_F32, "F16"},
                 {WEIGHT_FP8, 0, SCALE_F32, "FP8"},
                 {WEIGHT_FP8, 0, SCALE_F16, "FP8, F16 scales"},
                 {WEIGHT_FP8, 16, SCALE_F32, "FP8 in 16"},
                 {WEIGHT_FP8, 128, SCALE_E8M0, "FP8 in 128, E8M0"},
                 {WEIGHT_NVFP4, 16, SCALE_E4M3, "NVFP4"},
                 {WEIGHT_INT8_24, 0, SCALE_F32, "INT8 2:4"},
                 {WEIGHT_INT4_24, 0, SCALE_F32, "INT4 2:4"},
                 {WEIGHT_INT4_24, 64, SCALE_F16, "INT4 2:4 in 64"}};
  static const size_t shapes[][2] = {{136, 256}, {72, 640}, {33, 200}, {16, 36}};
  (void)state;
  for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
      uint64_t seed = f + 100 * s;
      weight w = formats[f].format <= WEIGHT_F16 ? kit_weight(formats[f].format, shapes[s][0], shapes[s][1], 0, &seed)
                                                 : kit_packed(formats[f].format, shapes[s][0], shapes[s][1], 0,
                                                              formats[f].block, formats[f].scale, &seed);
      check_weight(&w, formats[f].name);
      kit_weight_free(&w);
    }
}

/* -- residuals: one addition of FP32 to what the product alone gives, whether the residual is y or lies elsewhere */

enum { RESIDUAL_ROWS = 520, RESIDUAL_GAP = 8 }; /* at most; of y's rows, when they do not follow each other */

static void residual_is(const linear_args *a, const float *plain, const float *residual, float *far_residual, float *y,
                        size_t stride, const char *name) {
  const size_t n = a->w->rows, count = a->m * stride;
  float *got = malloc(count * sizeof *got), *expected = malloc(count * sizeof *expected);
  linear_args with = *a;
  with.residual = far_residual, with.y = y, with.y_stride = stride;
  assert_int_equal(kit.ops->linear(kit.b, &with, 1, NULL), VIVA_OK);
  cuda_kit_get(&kit, got, y, count * sizeof *got);
  for (size_t i = 0; i < count; i++)
    expected[i] = i % stride < n ? residual[i] + plain[i / stride * n + i % stride] : got[i];
  cuda_kit_same(name, expected, got, count);
  if (far_residual == y) /* nothing is written between the rows */
    for (size_t i = 0; i < count; i++)
      if (i % stride >= n) assert_true(kit_same(&got[i], &residual[i], 1));
  free(got), free(expected);
}

static void residual_of(const weight *w, input_mode input, size_t M, const char *name) {
  const size_t n = w->rows, k = w->cols, wide = n + RESIDUAL_GAP;
  uint64_t seed = n + (size_t)input;
  float *x = malloc(M * k * sizeof *x), *residual = malloc(M * wide * sizeof *residual);
  float *bias = malloc(n * sizeof *bias), *plain = malloc(M * n * sizeof *plain);
  fill_rows(x, M, k, input != INPUT_FLOAT, &seed);
  kit_fill(residual, M * wide, &seed);
  kit_fill(bias, n, &seed);
  weight far = cuda_kit_weight(&kit, w);
  linear_args a = {.m = M,
                   .x = cuda_kit_put(&kit, x, M * k * sizeof *x),
                   .x_stride = k,
                   .input = input,
                   .w = &far,
                   .bias = cuda_kit_put(&kit, bias, n * sizeof *bias),
                   .y = cuda_kit_put(&kit, NULL, M * n * sizeof *plain),
                   .y_stride = n};
  if (input != INPUT_FLOAT) {
    void *codes = cuda_kit_put(&kit, NULL, kit.ops->quantized_bytes(kit.b, input, M, k));
    assert_int_equal(kit.ops->quantize_rows(kit.b, input, a.x, k, M, k, codes, NULL), VIVA_OK);
    a.xq = codes;
  }
  assert_int_equal(kit.ops->linear(kit.b, &a, 1, NULL), VIVA_OK);
  cuda_kit_get(&kit, plain, a.y, M * n * sizeof *plain);
  for (size_t stride = n; stride <= wide; stride += RESIDUAL_GAP) {
    const size_t bytes = M * stride * sizeof *residual;
    float *same = cuda_kit_put(&kit, residual, bytes), *apart = cuda_kit_put(&kit, residual, bytes);
    residual_is(&a, plain, residual, same, same, stride, name);
    residual_is(&a, plain, residual, apart, cuda_kit_put(&kit, NULL, bytes), stride, name);
  }
  cuda_kit_drop(&kit);
  free(x), free(residual), free(bias), free(plain);
}

static void residuals_are_one_addition(void **state) {
  static const size_t shapes[][2] = {{136, 256},
                                     {520, 384}};    /* a part of a tile of channels; two pairs of tiles and more */
  static const size_t rows[] = {300, RESIDUAL_ROWS}; /* two tiles of rows; two tall ones */
  (void)state;
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    uint64_t seed = s;
    weight fp8 = kit_packed(WEIGHT_FP8, shapes[s][0], shapes[s][1], 0, 0, SCALE_F32, &seed);
    weight sparse = kit_packed(WEIGHT_INT8_24, shapes[s][0], shapes[s][1], 0, 0, SCALE_F32, &seed);
    weight nvfp4 = kit_packed(WEIGHT_NVFP4, shapes[s][0], shapes[s][1], 0, 16, SCALE_E4M3, &seed);
    weight half = kit_weight(WEIGHT_F16, shapes[s][0], shapes[s][1], 0, &seed);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      residual_of(&fp8, INPUT_E4M3, rows[i], "FP8, codes, a residual");
      residual_of(&fp8, INPUT_FLOAT, rows[i], "FP8, a residual");
      residual_of(&sparse, INPUT_INT8, rows[i], "INT8 2:4, codes, a residual");
      residual_of(&nvfp4, INPUT_FLOAT, rows[i], "NVFP4, a residual");
      residual_of(&half, INPUT_FLOAT, rows[i], "F16, a residual");
    }
    kit_weight_free(&fp8), kit_weight_free(&sparse), kit_weight_free(&nvfp4), kit_weight_free(&half);
  }
}

/* -- several matrices at once have the bits of each alone: q, k and v; two of them joined, one of another format */

/* Of up to 128 rows the clusters share the steps of K of all matrices of a launch, so the order of a sum depends on what stands
 * beside it: then they are equal within what two orders may differ by. */
enum { SHARED_ROWS = 128 };

typedef struct two_orders {
  const float *sizes; /* Σ |x · w| */
  double relative;
} two_orders;

static double two_orders_bound(const void *arg, size_t i) {
  const two_orders *o = arg;
  return o->relative * (double)o->sizes[i] + 1e-30;
}

/* E4M3 in the tensor cores: product_bound's. */
static double relative_of(const weight *w, input_mode input) {
  return input == INPUT_E4M3 && w->format == WEIGHT_FP8 ? 33 * 0x1p-13 : 0x1p-19;
}

static float *sizes_of_weight(const weight *w, const float *x, size_t m) {
  float *values = malloc(w->rows * w->cols * sizeof *values), *sizes = malloc(m * w->rows * sizeof *sizes);
  for (size_t i = 0; i < w->rows * w->cols; i++) values[i] = (float)kit_weight_at(w, i / w->cols, i % w->cols);
  const product p = {.w = w, .values = values, .m = m};
  sizes_of(&p, x, sizes);
  free(values);
  return sizes;
}

static void together_of(const weight *const w[3], input_mode input, size_t m, const char *name) {
  enum { PARTS = 3 };
  const size_t k = w[0]->cols;
  uint64_t seed = m;
  float *x = malloc(m * k * sizeof *x);
  fill_rows(x, m, k, input != INPUT_FLOAT, &seed);
  linear_args args[PARTS];
  weight far[PARTS];
  const float *far_x = cuda_kit_put(&kit, x, m * k * sizeof *x);
  void *codes = NULL;
  if (input != INPUT_FLOAT) {
    codes = cuda_kit_put(&kit, NULL, kit.ops->quantized_bytes(kit.b, input, m, k));
    assert_int_equal(kit.ops->quantize_rows(kit.b, input, far_x, k, m, k, codes, NULL), VIVA_OK);
  }
  for (size_t i = 0; i < PARTS; i++) {
    const size_t n = w[i]->rows;
    float *bias = malloc(n * sizeof *bias), *start = malloc(m * n * sizeof *start);
    kit_fill(bias, n, &seed);
    kit_fill(start, m * n, &seed);
    far[i] = cuda_kit_weight(&kit, w[i]);
    args[i] = (linear_args){.m = m,
                            .x = far_x,
                            .x_stride = k,
                            .input = input,
                            .xq = codes,
                            .w = &far[i],
                            .bias = i == 1 ? NULL : cuda_kit_put(&kit, bias, n * sizeof *bias),
                            .y = cuda_kit_put(&kit, start, m * n * sizeof *start),
                            .y_stride = n};
    if (i == 2) args[i].residual = args[i].y; /* added to where the others are written */
    free(bias), free(start);
  }
  float *together[PARTS], *alone = NULL;
  float *const residual = malloc(m * w[2]->rows * sizeof *residual);
  cuda_kit_get(&kit, residual, args[2].y, m * w[2]->rows * sizeof *residual);
  assert_int_equal(kit.ops->linear(kit.b, args, PARTS, NULL), VIVA_OK);
  for (size_t i = 0; i < PARTS; i++) {
    const size_t count = m * w[i]->rows;
    together[i] = malloc(count * sizeof *alone);
    cuda_kit_get(&kit, together[i], args[i].y, count * sizeof *alone);
    args[i].y = cuda_kit_put(&kit, i == 2 ? residual : NULL, count * sizeof *alone);
    if (i == 2) args[i].residual = args[i].y;
    assert_int_equal(kit.ops->linear(kit.b, &args[i], 1, NULL), VIVA_OK);
    alone = malloc(count * sizeof *alone);
    cuda_kit_get(&kit, alone, args[i].y, count * sizeof *alone);
    if (m <= SHARED_ROWS) {
      float *const sizes = sizes_of_weight(w[i], x, m);
      const two_orders orders = {sizes, relative_of(w[i], input)};
      (void)cuda_kit_near(name, alone, together[i], count, two_orders_bound, &orders);
      free(sizes);
    } else {
      cuda_kit_same(name, alone, together[i], count);
    }
    free(together[i]), free(alone);
  }
  cuda_kit_drop(&kit);
  free(x), free(residual);
}

static void products_together_are_those_alone(void **state) {
  static const size_t n[] = {520, 136, 264}; /* tiles of channels begin anew with each matrix */
  enum { K = 384 };
  uint64_t seed = 1;
  (void)state;
  weight fp8[3], half[3], nvfp4[3];
  for (size_t i = 0; i < 3; i++) {
    fp8[i] = kit_packed(WEIGHT_FP8, n[i], K, 0, 0, SCALE_F32, &seed);
    half[i] = kit_weight(WEIGHT_F16, n[i], K, 0, &seed);
    nvfp4[i] = kit_packed(WEIGHT_NVFP4, n[i], K, 0, 16, SCALE_E4M3, &seed);
  }
  for (size_t m = 40; m <= RESIDUAL_ROWS; m += 260) {
    together_of((const weight *const[3]){&fp8[0], &fp8[1], &fp8[2]}, INPUT_E4M3, m, "three of FP8, codes");
    together_of((const weight *const[3]){&fp8[0], &fp8[1], &fp8[2]}, INPUT_FLOAT, m, "three of FP8");
    together_of((const weight *const[3]){&half[0], &half[1], &half[2]}, INPUT_FLOAT, m, "three of F16");
    together_of((const weight *const[3]){&nvfp4[0], &nvfp4[1], &nvfp4[2]}, INPUT_FLOAT, m, "three of NVFP4");
    together_of((const weight *const[3]){&fp8[0], &half[1], &fp8[2]}, INPUT_FLOAT, m, "FP8, F16, FP8");
    together_of((const weight *const[3]){&nvfp4[0], &fp8[1], &fp8[2]}, INPUT_FLOAT, m, "NVFP4, FP8, FP8");
  }
  for (size_t i = 0; i < 3; i++) kit_weight_free(&fp8[i]), kit_weight_free(&half[i]), kit_weight_free(&nvfp4[i]);
}

/* -- rows so long that blocks share them, over more tiles than there are blocks: each has the bits that it has alone */

static void long_rows_are_those_alone(void **state) {
  enum { M = 32, N = 2600, K = 14336, SHORT = 4096 };
  static const struct {
    weight_format format;
    uint32_t block;
    scale_type scale;
    size_t rows, cols;
    size_t same; /* rows, at most; of more it is another product, whose sums every_shape_is_right looks at */
    const char *name;
  } formats[] = {{WEIGHT_FP8, 0, SCALE_F32, N, K, 24, "FP8, long rows"},
                 {WEIGHT_NVFP4, 16, SCALE_E4M3, N, K, 24, "NVFP4, long rows"},
                 {WEIGHT_FP8, 0, SCALE_F32, N, SHORT, 24, "FP8"},
                 {WEIGHT_FP8, 16, SCALE_F32, N, SHORT, M, "FP8 in 16"},
                 {WEIGHT_FP8, 32, SCALE_E8M0, N, SHORT, M, "FP8 in 32, E8M0"},
                 {WEIGHT_NVFP4, 16, SCALE_E4M3, N, SHORT, 24, "NVFP4"},
                 {WEIGHT_INT8_24, 0, SCALE_F32, N, SHORT, M, "INT8 2:4"},
                 {WEIGHT_INT4_24, 0, SCALE_F32, N, SHORT, M, "INT4 2:4"},
                 {WEIGHT_INT4_24, 64, SCALE_F16, N, SHORT, M, "INT4 2:4 in 64"},
                 {WEIGHT_BF16, 0, SCALE_F32, N, SHORT, M, "BF16"},
                 {WEIGHT_F16, 0, SCALE_F32, N, SHORT, M, "F16"}};
  static const size_t counts[] = {5, 8, 9, 13, 16, 17, 24, 25, M};
  uint64_t seed = 7;
  float *x = malloc(M * K * sizeof *x), *alone = malloc(M * N * sizeof *alone), *got = malloc(M * N * sizeof *got);
  (void)state;
  kit_fill(x, M * K, &seed);
  for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
    const size_t n = formats[f].rows, k = formats[f].cols;
    weight w = formats[f].format <= WEIGHT_F16
                   ? kit_weight(formats[f].format, n, k, 0, &seed)
                   : kit_packed(formats[f].format, n, k, 0, formats[f].block, formats[f].scale, &seed);
    weight far = cuda_kit_weight(&kit, &w);
    assert_int_equal(
        kit.ops->weight_prepare(kit.b, &far, 1, cuda_kit_put(&kit, NULL, kit.ops->weight_bytes(kit.b, &far, 1)), NULL),
        VIVA_OK);
    linear_args a = {.m = 1, .x = cuda_kit_put(&kit, x, M * k * sizeof *x), .x_stride = k, .w = &far, .y_stride = n};
    const float *const first = a.x;
    float *const y = cuda_kit_put(&kit, NULL, M * n * sizeof *y);
    for (size_t i = 0; i < M; i++) {
      a.x = first + i * k;
      a.y = y + i * n;
      assert_int_equal(kit.ops->linear(kit.b, &a, 1, NULL), VIVA_OK);
    }
    cuda_kit_get(&kit, alone, y, M * n * sizeof *y);
    a.x = first;
    for (size_t i = 0; i < sizeof counts / sizeof *counts && counts[i] <= formats[f].same; i++) {
      a.m = counts[i];
      a.y = cuda_kit_put(&kit, NULL, a.m * n * sizeof *y);
      assert_int_equal(kit.ops->linear(kit.b, &a, 1, NULL), VIVA_OK);
      cuda_kit_get(&kit, got, a.y, a.m * n * sizeof *y);
      cuda_kit_same(formats[f].name, alone, got, a.m * n);
    }
    cuda_kit_drop(&kit);
    kit_weight_free(&w);
  }
  free(x), free(alone), free(got);
}

/* -- silu(gate) · up as one product: of the same sums, with silu as exact as backend.h says */

typedef struct gated {
  const float *gate, *up; /* what linear makes */
  two_orders orders[2];   /* by how much theirs may differ from those of the two together; sizes NULL: by nothing */
} gated;

static double gated_bound(const void *arg, size_t i) {
  const gated *g = arg;
  const double v = g->gate[i], u = fabs((double)g->up[i]), silu = fabs(v / (1 + exp(-v)));
  const double off_gate = g->orders[0].sizes ? two_orders_bound(&g->orders[0], i) : 0;
  const double off_up = g->orders[1].sizes ? two_orders_bound(&g->orders[1], i) : 0;
  return (0x1p-20 * (1 + fabs(v)) * silu + 0x1p-118) * u + 1.1 * off_gate * (u + off_up) + silu * off_up;
}

/* gate and up of one form, behind each other in the device's memory. taken: 0 when this is to be refused. */
static void gated_of(const weight *gate, const weight *up, int prepared, input_mode input, size_t m, int taken,
                     const char *name) {
  const size_t n = gate->rows, k = gate->cols, count = m * n, bytes = count * sizeof(float);
  uint64_t seed = m;
  float *x = malloc(m * k * sizeof *x), *bias = malloc(2 * n * sizeof *bias), *made[4];
  fill_rows(x, m, k, input != INPUT_FLOAT, &seed);
  kit_fill(bias, 2 * n, &seed);
  for (size_t i = 0; i < 4; i++) made[i] = malloc(bytes);
  const float *far_x = cuda_kit_put(&kit, x, m * k * sizeof *x),
              *far_bias = cuda_kit_put(&kit, bias, 2 * n * sizeof *bias);
  weight far[2] = {cuda_kit_weight(&kit, gate), cuda_kit_weight(&kit, up)};
  for (size_t i = 0; prepared && i < 2; i++)
    assert_int_equal(kit.ops->weight_prepare(kit.b, &far[i], 1,
                                             cuda_kit_put(&kit, NULL, kit.ops->weight_bytes(kit.b, &far[i], 1)), NULL),
                     VIVA_OK);
  void *codes = NULL;
  if (input != INPUT_FLOAT) {
    codes = cuda_kit_put(&kit, NULL, kit.ops->quantized_bytes(kit.b, input, m, k));
    assert_int_equal(kit.ops->quantize_rows(kit.b, input, far_x, k, m, k, codes, NULL), VIVA_OK);
  }
  linear_args args[2];
  const int behind = (uintptr_t)far[0].data < (uintptr_t)far[1].data; /* the allocator may have it the other way */
  for (size_t i = 0; i < 2; i++)
    args[i] = (linear_args){.m = m,
                            .x = far_x,
                            .x_stride = k,
                            .input = input,
                            .xq = codes,
                            .w = &far[behind ? i : 1 - i],
                            .bias = i == 0 ? far_bias : far_bias + n,
                            .y = cuda_kit_put(&kit, NULL, bytes),
                            .y_stride = n};
  float *const out = cuda_kit_put(&kit, NULL, bytes);
  assert_int_equal(kit.ops->linear(kit.b, args, 2, NULL), VIVA_OK);
  assert_int_equal(kit.ops->silu_mul(kit.b, args[0].y, args[1].y, out, m, n, n, NULL), VIVA_OK);
  cuda_kit_get(&kit, made[0], args[0].y, bytes), cuda_kit_get(&kit, made[1], args[1].y, bytes);
  cuda_kit_get(&kit, made[2], out, bytes);
  const viva_status status = kit.ops->linear_gated(kit.b, args, NULL);
  assert_int_equal(status, taken ? VIVA_OK : VIVA_E_UNSUPPORTED);
  cuda_kit_get(&kit, made[3], args[0].y, bytes);
  gated both = {.gate = made[0], .up = made[1]};
  float *sizes[2] = {NULL, NULL};
  for (size_t i = 0; m <= SHARED_ROWS && i < 2; i++) {
    sizes[i] = sizes_of_weight((i == 0) == behind ? gate : up, x, m);
    both.orders[i] = (two_orders){sizes[i], relative_of(gate, input)};
  }
  if (taken)
    (void)cuda_kit_near(name, made[2], made[3], count, gated_bound, &both);
  else
    cuda_kit_same(name, made[0], made[3], count); /* nothing was done */
  cuda_kit_drop(&kit);
  free(x), free(bias), free(sizes[0]), free(sizes[1]);
  for (size_t i = 0; i < 4; i++) free(made[i]);
}

static void gated_products_are_right(void **state) {
  static const size_t shapes[][2] = {{136, 256}, {520, 384}};
  (void)state;
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    uint64_t seed = s + 7;
    weight fp8[2], half[2], f32[2], nvfp4[2];
    for (size_t i = 0; i < 2; i++) {
      fp8[i] = kit_packed(WEIGHT_FP8, shapes[s][0], shapes[s][1], 0, 0, SCALE_F32, &seed);
      half[i] = kit_weight(WEIGHT_F16, shapes[s][0], shapes[s][1], 0, &seed);
      f32[i] = kit_weight(WEIGHT_F32, shapes[s][0], shapes[s][1], 0, &seed);
      nvfp4[i] = kit_packed(WEIGHT_NVFP4, shapes[s][0], shapes[s][1], 0, 16, SCALE_E4M3, &seed);
    }
    const int one_scale = weight_row_scale(&nvfp4[0], 0) == weight_row_scale(&nvfp4[1], 0);
    static const size_t rows[] = {40, 100, 300, 515};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
      for (int prepared = 0; prepared < 2; prepared++) {
        gated_of(&fp8[0], &fp8[1], prepared, INPUT_E4M3, rows[i], 1, "gated, FP8, codes");
        gated_of(&fp8[0], &fp8[1], prepared, INPUT_FLOAT, rows[i], 1, "gated, FP8");
        gated_of(&half[0], &half[1], prepared, INPUT_FLOAT, rows[i], 1, "gated, F16");
        gated_of(&nvfp4[0], &nvfp4[1], prepared, INPUT_FLOAT, rows[i], one_scale, "gated, NVFP4");
      }
    gated_of(&fp8[0], &fp8[1], 0, INPUT_E4M3, 16, 0, "gated, few rows");
    gated_of(&f32[0], &f32[1], 0, INPUT_FLOAT, 40, 0, "gated, F32");
    for (size_t i = 0; i < 2; i++) kit_weight_free(&nvfp4[i]);
    for (size_t i = 0; i < 2; i++) kit_weight_free(&fp8[i]), kit_weight_free(&half[i]), kit_weight_free(&f32[i]);
  }
}

/* -- whole layers, from rows of the outside to rows of the outside, beside the operations one after the other */

typedef struct layer {
  const char *name;
  const weight *w, *up;
  input_mode mode;
  viva_dtype from, to, bias;
  activation act;
  size_t m;
  accumulation accumulate;
} layer;

/* Columns between x's rows: 16-byte loads fit all rows, or the first alone. */
static size_t layer_gap(viva_dtype from) { return from == VIVA_BF16 ? 7 : 8; }

static void *in_type(const float *values, size_t count, viva_dtype dtype) {
  uint16_t *const to = malloc(count * sizeof *values);
  if (dtype == VIVA_F32)
    memcpy(to, values, count * sizeof *values);
  else
    for (size_t i = 0; i < count; i++) to[i] = dtype == VIVA_F16 ? f16_from_f32(values[i]) : bf16_from_f32(values[i]);
  return to;
}

static float of_type(const void *from, size_t i, viva_dtype dtype) {
  if (dtype == VIVA_F32) return ((const float *)from)[i];
  const uint16_t bits = ((const uint16_t *)from)[i];
  return dtype == VIVA_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

static size_t type_bytes(viva_dtype dtype) { return dtype == VIVA_F32 ? sizeof(float) : sizeof(uint16_t); }

/* Two roundings to the results' type, and of the sums what two orders may differ by, through an activation of slope 1.2 at
 * most. */
typedef struct layer_bound {
  const float *expected, *gate, *up; /* gate, up: NULL, or as gated's */
  two_orders orders[2];
  double rounding;
} layer_bound;

static double layer_bound_at(const void *arg, size_t i) {
  const layer_bound *b = arg;
  const double rounded = 2 * b->rounding * fabs((double)b->expected[i]) + 0x1p-23;
  const gated both = {b->gate, b->up, {b->orders[0], b->orders[1]}};
  return rounded + (b->gate ? gated_bound(&both, i) : 1.2 * two_orders_bound(&b->orders[0], i));
}

static void put_bias(const float *values, size_t n, viva_dtype dtype, outer_rows *rows) {
  void *const bytes = in_type(values, n, dtype);
  *rows = (outer_rows){.dtype = dtype, .data = cuda_kit_put(&kit, bytes, n * type_bytes(dtype)), .col_stride = 1};
  free(bytes);
}

/* The layer by load_rows, quantize_rows, linear, silu_mul and store_rows; gate and up: its sums. Returns the overflows. */
static uint64_t one_after_the_other(const layer *l, const linear_outer_args *a, float *gate, float *up, void *y) {
  const size_t m = l->m, n = l->w->rows, k = l->w->cols, bytes = m * n * sizeof(float);
  float *const x = cuda_kit_put(&kit, NULL, m * k * sizeof *x), *const sums = cuda_kit_put(&kit, NULL, 2 * bytes);
  float *const biases = cuda_kit_put(&kit, NULL, 3 * n * sizeof *biases);
  uint8_t *const bad = cuda_kit_put(&kit, NULL, m);
  const outer_rows *const all[3] = {a->bias, a->up_bias, a->after_bias};
  uint64_t overflows = 0;
  for (size_t i = 0; i < 3; i++)
    if (all[i]) assert_int_equal(kit.ops->load_rows(kit.b, all[i], 1, n, biases + i * n, n, bad, NULL), VIVA_OK);
  assert_int_equal(kit.ops->load_rows(kit.b, &a->x, m, k, x, k, bad, NULL), VIVA_OK);
  linear_args args[2] = {{.m = m,
                          .x = x,
                          .x_stride = k,
                          .input = l->mode,
                          .w = a->w,
                          .accumulate = l->accumulate,
                          .bias = a->bias ? biases : NULL,
                          .act = l->act,
                          .y = sums,
                          .y_stride = n}};
  if (l->mode != INPUT_FLOAT) {
    void *const codes = cuda_kit_put(&kit, NULL, kit.ops->quantized_bytes(kit.b, l->mode, m, k));
    assert_int_equal(kit.ops->quantize_rows(kit.b, l->mode, x, k, m, k, codes, NULL), VIVA_OK);
    args[0].xq = codes;
  }
  args[1] = args[0];
  args[1].w = a->up, args[1].bias = a->up_bias ? biases + n : NULL, args[1].y = sums + m * n;
  assert_int_equal(kit.ops->linear(kit.b, args, a->up ? 2 : 1, NULL), VIVA_OK);
  if (a->up) {
    cuda_kit_get(&kit, gate, sums, bytes), cuda_kit_get(&kit, up, sums + m * n, bytes);
    assert_int_equal(kit.ops->silu_mul(kit.b, sums, sums + m * n, sums, m, n, n, NULL), VIVA_OK);
  }
  outer_rows to = a->y;
  to.data = cuda_kit_put(&kit, NULL, m * n * type_bytes(l->to));
  assert_int_equal(
      kit.ops->store_rows(kit.b, sums, n, m, n, a->after_bias ? biases + 2 * n : NULL, bad, &to, &overflows, NULL),
      VIVA_OK);
  cuda_kit_get(&kit, y, to.data, m * n * type_bytes(l->to));
  return overflows;
}

static void check_layer(const layer *l) {
  const size_t m = l->m, n = l->w->rows, k = l->w->cols, wide = k + layer_gap(l->from), count = m * n;
  uint64_t seed = m + n + (size_t)l->mode, overflows = 0;
  float *x = malloc(m * k * sizeof *x), *rows = malloc(m * wide * sizeof *rows), *bias = malloc(3 * n * sizeof *bias);
  float *gate = malloc(count * sizeof *gate), *up = malloc(count * sizeof *up);
  float *expected = malloc(count * sizeof *expected), *got = malloc(count * sizeof *got);
  void *there = malloc(count * sizeof(float)), *alone = malloc(count * sizeof(float));
  outer_rows biases[3];
  fill_rows(x, m, k, 1, &seed);
  kit_fill(bias, 3 * n, &seed);
  for (size_t i = 0; i < m; i++) memcpy(rows + i * wide, x + i * k, k * sizeof *x);
  if (l->from != VIVA_F32)
    for (size_t c = 0; c < k; c++) x[2 * k + c] *= 1e-4f, rows[2 * wide + c] *= 1e-4f; /* what F16 holds */
  void *typed = in_type(rows, m * wide, l->from);
  weight far = cuda_kit_weight(&kit, l->w), far_up = {0};
  if (l->up) far_up = cuda_kit_weight(&kit, l->up);
  const int behind =
      !l->up || (uintptr_t)far.data < (uintptr_t)far_up.data; /* the allocator may have it the other way */
  for (size_t i = 0; i < 3; i++) put_bias(bias + i * n, n, l->bias, &biases[i]);
  const linear_outer_args a = {
      .rows = m,
      .x = {l->from, cuda_kit_put(&kit, typed, m * wide * type_bytes(l->from)), (ptrdiff_t)wide, 1},
      .y = {l->to, cuda_kit_put(&kit, NULL, count * type_bytes(l->to)), (ptrdiff_t)n, 1},
      .mode = l->mode,
      .accumulate = l->accumulate,
      .w = behind ? &far : &far_up,
      .up = !l->up   ? NULL
            : behind ? &far_up
                     : &far,
      .act = l->act,
      .bias = &biases[0],
      .up_bias = l->up ? &biases[1] : NULL,
      .after_bias = l->up ? &biases[2] : NULL,
      .overflows = &overflows};
  const uint64_t expected_overflows = one_after_the_other(l, &a, gate, up, alone);
  assert_int_equal(kit.ops->linear_outer(kit.b, &a, NULL), VIVA_OK);
  cuda_kit_get(&kit, there, a.y.data, count * type_bytes(l->to));
  for (size_t i = 0; i < count; i++) expected[i] = of_type(alone, i, l->to), got[i] = of_type(there, i, l->to);
  layer_bound bound = {.expected = expected,
                       .rounding = l->to == VIVA_F16    ? 0x1p-11
                                   : l->to == VIVA_BF16 ? 0x1p-8
                                                        : 0x1p-22};
  float *sizes[2] = {NULL, NULL};
  if (l->up) bound.gate = gate, bound.up = up;
  for (size_t i = 0; i < (l->up ? 2 : 1); i++) {
    const weight *const of = l->up && (i == 0) != behind ? l->up : l->w;
    sizes[i] = sizes_of_weight(of, x, m);
    bound.orders[i] = (two_orders){sizes[i], relative_of(of, l->mode)};
  }
  (void)cuda_kit_near(l->name, expected, got, count, layer_bound_at, &bound);
  assert_int_equal(overflows, expected_overflows);
  for (int i = 0; i < 3; i++) { /* equal calls, equal bits */
    assert_int_equal(kit.ops->linear_outer(kit.b, &a, NULL), VIVA_OK);
    cuda_kit_get(&kit, alone, a.y.data, count * type_bytes(l->to));
    assert_memory_equal(alone, there, count * type_bytes(l->to));
  }
  cuda_kit_drop(&kit);
  free(x), free(rows), free(bias), free(gate), free(up), free(expected), free(got), free(there), free(alone),
      free(typed);
  free(sizes[0]), free(sizes[1]);
}

static void whole_layers_are_right(void **state) {
  static const struct {
    weight_format format;
    uint32_t block;
    scale_type scale;
    input_mode mode;
    const char *name;
  } forms[] = {{WEIGHT_FP8, 0, SCALE_F32, INPUT_E4M3, "a layer, FP8, codes"},
               {WEIGHT_FP8, 0, SCALE_F32, INPUT_FLOAT, "a layer, FP8"},
               {WEIGHT_FP8, 16, SCALE_F32, INPUT_FLOAT, "a layer, FP8 in 16"},
               {WEIGHT_NVFP4, 16, SCALE_E4M3, INPUT_FLOAT, "a layer, NVFP4"},
               {WEIGHT_INT8_24, 0, SCALE_F32, INPUT_INT8, "a layer, INT8 2:4, codes"},
               {WEIGHT_INT4_24, 0, SCALE_F32, INPUT_INT8, "a layer, INT4 2:4, codes"},
               {WEIGHT_BF16, 0, SCALE_F32, INPUT_FLOAT, "a layer, BF16"}};
  static const struct {
    size_t m; /* a part of a third tile; whole tiles and halves */
    viva_dtype from, to, bias;
  } types[] = {{300, VIVA_F16, VIVA_F16, VIVA_F16},
               {700, VIVA_BF16, VIVA_BF16, VIVA_BF16},
               {640, VIVA_F32, VIVA_F16, VIVA_F16},
               {640, VIVA_F16, VIVA_F32, VIVA_F32}};
  enum { N = 136, K = 256 };
  (void)state;
  for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
    uint64_t seed = f + 50;
    const int dense = forms[f].format <= WEIGHT_F16;
    weight w[2];
    for (size_t i = 0; i < 2; i++)
      w[i] = dense ? kit_weight(forms[f].format, N, K, 0, &seed)
                   : kit_packed(forms[f].format, N, K, 0, forms[f].block, forms[f].scale, &seed);
    const int up_fits = forms[f].format != WEIGHT_NVFP4 || weight_row_scale(&w[0], 0) == weight_row_scale(&w[1], 0);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
      layer l = {.name = forms[f].name,
                 .w = &w[0],
                 .mode = forms[f].mode,
                 .from = types[t].from,
                 .to = types[t].to,
                 .bias = types[t].bias,
                 .m = types[t].m,
                 .accumulate = t % 2 ? ACCUMULATE_FULL : ACCUMULATE_FAST};
      check_layer(&l);
      if (l.to != VIVA_F32) l.act = ACTIVATION_GELU_TANH, check_layer(&l);
      l.act = ACTIVATION_NONE, l.up = &w[1];
      if (up_fits) check_layer(&l);
    }
    if (f == 0) /* one row more than are taken at a time */
      check_layer(&(layer){.name = "a layer of many rows",
                           .w = &w[0],
                           .mode = forms[f].mode,
                           .from = VIVA_F16,
                           .to = VIVA_F16,
                           .bias = VIVA_F16,
                           .m = 8193});
    kit_weight_free(&w[0]), kit_weight_free(&w[1]);
  }
}

/* -- E4M3 rows times FP8 weights, summed in FP32 every so many columns or in the tensor cores' own sums: what the kernels came
 * to at K 4096 is 2^-15.4 of Σ|x · w| and an RMS of 1.5e-4 of the results (full), 2^-13.2 and 4.9e-4 (fast, 64 rows, whose sums
 * are of a part of K each), 2^-10.6 and 1.1e-3 (fast, more than 128 rows: all of K). What docs/gpu.md promises for it stands
 * here. Whole layers' results are rounded to F16, which at most adds 2^-11 of each and is taken off. */
enum { EXACT_M = 512, EXACT_N = 128, EXACT_K = 4096 };

static void sums_are_near(const char *name, accumulation how, const weight *w, const float *x, size_t m,
                          const float *got, double rounding) {
  const double most = how == ACCUMULATE_FULL ? 0x1p-15 : m <= GEMM_FEW_TOKENS ? 0x1p-12 : 0x1p-10;
  static const double rms[] = {[ACCUMULATE_FULL] = 2e-4, [ACCUMULATE_FAST] = 2e-3};
  double largest = 0, errors = 0, values = 0;
  double *weights = malloc((size_t)EXACT_N * EXACT_K * sizeof *weights), row[EXACT_K];
  for (size_t i = 0; i < (size_t)EXACT_N * EXACT_K; i++) weights[i] = kit_weight_at(w, i / EXACT_K, i % EXACT_K);
  for (size_t i = 0; i < m; i++) {
    float row_most = 0;
    for (size_t c = 0; c < EXACT_K; c++) row_most = fmaxf(row_most, fabsf(x[i * EXACT_K + c]));
    const float scale = row_most / 448;
    for (size_t c = 0; c < EXACT_K; c++)
      row[c] = (double)e4m3_to_f32(e4m3_from_f32(x[i * EXACT_K + c] / scale)) * (double)scale;
    for (size_t j = 0; j < EXACT_N; j++) {
      double sum = 0, size = 0;
      for (size_t c = 0; c < EXACT_K; c++) {
        const double v = row[c] * weights[j * EXACT_K + c];
        sum += v, size += fabs(v);
      }
      const double off = fmax(fabs((double)got[i * EXACT_N + j] - sum) - rounding * fabs(sum), 0);
      largest = fmax(largest, off / size);
      errors += off * off, values += sum * sum;
    }
  }
  print_message("FP8 times FP8, K %d, %s, %s: largest error 2^%.1f of the terms, RMS %.2g of the results\n", EXACT_K,
                name, how == ACCUMULATE_FAST ? "fast" : "full", log2(largest), sqrt(errors / values));
  assert_true(largest <= most);
  assert_true(sqrt(errors / values) <= rms[how]);
  free(weights);
}

static void sums_are_as_exact_as_asked(void **state) {
  enum { M = 64, N = EXACT_N, K = EXACT_K };
  uint64_t seed = 3;
  weight w = kit_packed(WEIGHT_FP8, N, K, 0, 0, SCALE_F32, &seed);
  weight far = cuda_kit_weight(&kit, &w);
  float *x = malloc(EXACT_M * K * sizeof *x), *got = malloc(EXACT_M * N * sizeof *got);
  uint16_t *halves = malloc(EXACT_M * N * sizeof *halves);
  const size_t far_bytes = kit.ops->quantized_bytes(kit.b, INPUT_E4M3, M, K);
  (void)state;
  kit_fill(x, (size_t)EXACT_M * K, &seed);
  float *const far_x = cuda_kit_put(&kit, x, EXACT_M * K * sizeof *x);
  void *far_codes = cuda_kit_put(&kit, NULL, far_bytes);
  float *y = cuda_kit_put(&kit, NULL, EXACT_M * N * sizeof *got);
  assert_int_equal(kit.ops->quantize_rows(kit.b, INPUT_E4M3, far_x, K, M, K, far_codes, NULL), VIVA_OK);
  for (accumulation how = ACCUMULATE_FULL; how <= ACCUMULATE_FAST; how++) {
    const linear_args a = {
        .m = M, .input = INPUT_E4M3, .xq = far_codes, .w = &far, .accumulate = how, .y = y, .y_stride = N};
    assert_int_equal(kit.ops->linear(kit.b, &a, 1, NULL), VIVA_OK);
    cuda_kit_get(&kit, got, y, M * N * sizeof *got);
    sums_are_near("64 rows", how, &w, x, M, got, 0);
    const linear_outer_args whole = {.rows = EXACT_M,
                                     .x = {VIVA_F32, far_x, K, 1},
                                     .y = {VIVA_F16, y, N, 1},
                                     .mode = INPUT_E4M3,
                                     .accumulate = how,
                                     .w = &far};
    assert_int_equal(kit.ops->linear_outer(kit.b, &whole, NULL), VIVA_OK);
    cuda_kit_get(&kit, halves, y, EXACT_M * N * sizeof *halves);
    for (size_t i = 0; i < (size_t)EXACT_M * N; i++) got[i] = f16_to_f32(halves[i]);
    sums_are_near("a whole layer", how, &w, x, EXACT_M, got, 0x1p-11);
  }
  cuda_kit_drop(&kit);
  kit_weight_free(&w);
  free(x), free(got), free(halves);
}

/* test_cuda_linear [PATTERN]: only the cases that it fits. */
int main(int argc, char **argv) {
  const int missing = cuda_kit_open(&kit, RESIDUAL_ROWS, 64, 1024);
  if (missing) return missing;
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tall_tiles_are_right),       cmocka_unit_test(products_are_right),
      cmocka_unit_test(residuals_are_one_addition), cmocka_unit_test(products_together_are_those_alone),
      cmocka_unit_test(long_rows_are_those_alone),  cmocka_unit_test(gated_products_are_right),
      cmocka_unit_test(whole_layers_are_right),     cmocka_unit_test(sums_are_as_exact_as_asked)};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  cuda_kit_close(&kit);
  return failed;
}
