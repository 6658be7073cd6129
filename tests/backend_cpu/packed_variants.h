/* tests/backend_cpu/packed_variants.h: the forms of NVFP4 and 2:4 weights, and their product held to one in doubles. */
#ifndef TESTS_PACKED_VARIANTS_H
#define TESTS_PACKED_VARIANTS_H

#include <math.h>

#include "lib/cpu_kit.h"

#define BOUND 0x1p-20 /* of Σ|x·w|: what backend.h promises */

typedef struct variant {
  weight_format format;
  uint32_t block;
  scale_type scales;
} variant;

static const variant variants[] = {
    {WEIGHT_NVFP4, 16, SCALE_E4M3},   {WEIGHT_INT8_24, 0, SCALE_F32},  {WEIGHT_INT4_24, 0, SCALE_F32},
    {WEIGHT_INT4_24, 0, SCALE_F16},   {WEIGHT_INT4_24, 32, SCALE_F16}, {WEIGHT_INT4_24, 32, SCALE_F32},
    {WEIGHT_INT4_24, 64, SCALE_F16},  {WEIGHT_INT4_24, 64, SCALE_F32}, {WEIGHT_INT4_24, 128, SCALE_F16},
    {WEIGHT_INT4_24, 128, SCALE_F32},
};
enum { VARIANTS = sizeof variants / sizeof variants[0], N = 6, LONGEST_K = 14336 };

static void multiply(cpu_kit *kit, const weight *w, input_mode mode, const float *x, size_t m, float *y) {
  linear_args a = {.m = m, .x = x, .x_stride = w->cols, .input = mode, .w = w, .y = y, .y_stride = w->rows};
  void *xq = NULL;
  if (mode != INPUT_FLOAT) {
    assert_int_equal(kit->ops->alloc(kit->b, kit->ops->quantized_bytes(kit->b, mode, m, w->cols), &xq, NULL), VIVA_OK);
    assert_non_null(xq);
    assert_int_equal(kit->ops->quantize_rows(kit->b, mode, x, w->cols, m, w->cols, xq, NULL), VIVA_OK);
    a.xq = xq;
  }
  assert_int_equal(kit->ops->linear(kit->b, &a, 1, NULL), VIVA_OK);
  kit->ops->free(kit->b, xq, NULL);
}

/* bound: of Σ|x·w| */
static void check_within(double bound, const weight *w, const float *x, size_t m, const float *y) {
  double row[LONGEST_K];
  assert_true(w->cols <= LONGEST_K);
  for (size_t n = 0; n < w->rows; n++) {
    for (size_t c = 0; c < w->cols; c++) row[c] = kit_weight_at(w, n, c);
    for (size_t i = 0; i < m; i++) {
      double sum = 0, magnitude = 0;
      for (size_t c = 0; c < w->cols; c++) {
        const double term = (double)x[i * w->cols + c] * row[c];
        sum += term, magnitude += fabs(term);
      }
      const double error = fabs((double)y[i * w->rows + n] - sum);
      if (!(error <= bound * magnitude))
        fail_msg("format %d block %u scales %d k %zu m %zu: y[%zu][%zu] = %.9g, expected %.9g", (int)w->format,
                 w->block, (int)w->scales_type, w->cols, m, i, n, (double)y[i * w->rows + n], sum);
    }
  }
}

static void check_values(const weight *w, const float *x, size_t m, const float *y) { check_within(BOUND, w, x, m, y); }

#endif
