/* engine/self_test.c: INT4 2:4 from packing to products, against plain integers.
 *
 * Every row and every group of weights, and every row of the input, holds a 7: then all scales are 1, the codes are the
 * integers themselves, and every sum is exact in FP32 (at most 65536 / 2 · 49 < 2^24). */
#include <math.h>

#include "base/ck.h"
#include "engine/engine.h"
#include "viva/linear.h"

#define LARGEST_SIZE  65536               /* viva/linear.h */
#define MOST_PRODUCTS ((uint64_t)1 << 36) /* the same: at 2.3e9/s, measured on one core with plain integers, 30 s */
#define GROUP         32                  /* a 7 in each: whatever the group of the scales is */

typedef struct self_test {
  viva_engine *engine;
  size_t m, n, k;
  float *weights; /* [n][k], later unpacked */
  float *input;   /* [m][k] */
  int8_t *kept;   /* [n][k]: what 2:4 must leave */
  viva_tensor *weight_tensor, *input_tensor, *output;
  viva_packed_weight *packed;
} self_test;

/* −7 … 7, the same on every run (a linear congruential generator with Knuth's MMIX constants). */
static int next_value(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (int)((*state >> 33) % 15) - 7;
}

static void fill(float *values, size_t rows, size_t cols, uint64_t *state) {
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++) {
      const int value = next_value(state);
      values[r * cols + c] = (float)(c % GROUP ? value : value < 0 ? -7 : 7);
    }
}

/* The 2 largest magnitudes of each 4 columns, ties to the lower index: by counting who is larger. */
static void prune(const float *from, int8_t *to, size_t cols) {
  for (size_t c = 0; c < cols; c++) {
    const size_t first = c / 4 * 4, end = first + 4 < cols ? first + 4 : cols;
    int larger = 0;
    for (size_t i = first; i < end; i++)
      larger += fabsf(from[i]) > fabsf(from[c]) || (i < c && fabsf(from[i]) == fabsf(from[c]));
    to[c] = larger < 2 ? (int8_t)from[c] : 0;
  }
}

static int dot(const int8_t *w, const float *x, size_t count) {
  int sum = 0;
  for (size_t i = 0; i < count; i++) sum += w[i] * (int)x[i];
  return sum;
}

static viva_status make_memory(self_test *s, viva_error *error) {
  mem *memory = &s->engine->rt->mem;
  uint64_t weights, inputs;
  if (ck_mul(s->n, s->k, &weights) || ck_mul(s->m, s->k, &inputs) || weights > SIZE_MAX / sizeof(float) ||
      inputs > SIZE_MAX / sizeof(float))
    return error_set(error, VIVA_E_MEMORY, "%zu x %zu x %zu do not fit into memory", s->m, s->n, s->k);
  s->weights = mem_alloc(memory, (size_t)weights * sizeof(float));
  s->input = mem_alloc(memory, (size_t)inputs * sizeof(float));
  s->kept = mem_alloc(memory, (size_t)weights);
  if (s->weights && s->input && s->kept) return VIVA_OK;
  return error_set(error, VIVA_E_MEMORY, "no memory to test %zu x %zu x %zu", s->m, s->n, s->k);
}

static viva_status multiply(self_test *s, viva_error *error) {
  const uint64_t weight_shape[2] = {s->n, s->k}, input_shape[2] = {s->m, s->k};
  viva_linear_options options = viva_linear_options_default();
  options.act = VIVA_ACT_INT4, options.output_dtype = VIVA_F32;
  TRY(viva_tensor_wrap(s->engine, s->weights, s->n * s->k * sizeof(float), VIVA_F32, 2, weight_shape, &s->weight_tensor,
                       error));
  TRY(viva_tensor_wrap(s->engine, s->input, s->m * s->k * sizeof(float), VIVA_F32, 2, input_shape, &s->input_tensor,
                       error));
  TRY(viva_prepack_int4_sparse_24_weight(s->engine, s->weight_tensor, NULL, &s->packed, error));
  TRY(viva_packed_weight_unpack(s->packed, s->weights, s->n * s->k, error));
  return viva_linear_int4_sparse(s->input_tensor, s->packed, NULL, &options, &s->output, error);
}

static double compare(const self_test *s) {
  const float *y = viva_tensor_elements(s->output);
  double worst = 0;
  for (size_t i = 0; i < s->n * s->k; i++) worst = fmax(worst, fabs((double)s->weights[i] - s->kept[i]));
  for (size_t r = 0; r < s->m; r++)
    for (size_t c = 0; c < s->n; c++)
      worst = fmax(worst, fabs((double)y[r * s->n + c] - dot(s->kept + c * s->k, s->input + r * s->k, s->k)));
  return worst;
}

static viva_status run(self_test *s, double *difference, viva_error *error) {
  uint64_t state = 1;
  TRY(make_memory(s, error));
  fill(s->weights, s->n, s->k, &state);
  fill(s->input, s->m, s->k, &state);
  for (size_t r = 0; r < s->n; r++) prune(s->weights + r * s->k, s->kept + r * s->k, s->k);
  TRY(multiply(s, error));
  *difference = compare(s);
  return VIVA_OK;
}

viva_status viva_int4_sparse_self_test(viva_engine *engine, uint64_t m, uint64_t n, uint64_t k, double *difference,
                                       viva_error *error) {
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  if (!difference) return error_set(error, VIVA_E_ARGUMENT, "difference is NULL; expected a place for the result");
  if (m == 0 || n == 0 || k == 0 || m > LARGEST_SIZE || n > LARGEST_SIZE || k > LARGEST_SIZE)
    return error_set(error, VIVA_E_ARGUMENT, "m, n and k are %llu, %llu and %llu; expected 1 to %d each",
                     (unsigned long long)m, (unsigned long long)n, (unsigned long long)k, LARGEST_SIZE);
  if (m * n > MOST_PRODUCTS / k)
    return error_set(
        error, VIVA_E_ARGUMENT,
        "%llu x %llu x %llu products would take minutes or days; expected at most 2^36, such as 4096 cubed",
        (unsigned long long)m, (unsigned long long)n, (unsigned long long)k);
  self_test s = {.engine = engine, .m = (size_t)m, .n = (size_t)n, .k = (size_t)k};
  const viva_status status = run(&s, difference, error);
  viva_tensor_release(s.output);
  viva_tensor_release(s.input_tensor);
  viva_tensor_release(s.weight_tensor);
  viva_packed_weight_release(s.packed);
  mem_free(&engine->rt->mem, s.kept);
  mem_free(&engine->rt->mem, s.input);
  mem_free(&engine->rt->mem, s.weights);
  return status;
}
