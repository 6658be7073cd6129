/* RoPE against transformers (tests/mk/mkgolden_rope.py), and the elementary functions against the C library. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "model/rope.h"
#include "number/math_f64.h"
#include "number/number.h"

/* Distance in units of the last place; floats of one sign. */
static int64_t ulps(float a, float b) {
  int64_t x = f32_bits(a) & 0x7fffffff, y = f32_bits(b) & 0x7fffffff;
  if (signbit(a)) x = -x;
  if (signbit(b)) y = -y;
  return llabs(x - y);
}

static viva_rope_type type_of(const char *name) {
  static const char *const names[] = {"default", "linear", "dynamic", "llama3", "yarn"};
  for (int i = 0; i < 5; i++)
    if (strcmp(name, names[i]) == 0) return (viva_rope_type)i;
  fail();
  return VIVA_ROPE_DEFAULT;
}

static float next_float(FILE *file) {
  uint32_t bits;
  assert_int_equal(fscanf(file, "%x", &bits), 1);
  return f32_from_bits(bits);
}

static int read_case(FILE *file, viva_model_config *c, uint64_t *context) {
  char name[16];
  unsigned long dim, original, trained, capacity;
  *c = (viva_model_config){.size = sizeof *c};
  if (fscanf(file, "%15s %lu %lf %lf %lf %lf %lf %lf %d %lf %lu %lu %lu", name, &dim, &c->rope_theta, &c->rope_factor,
             &c->rope_low_freq_factor, &c->rope_high_freq_factor, &c->rope_beta_fast, &c->rope_beta_slow,
             &c->rope_truncate, &c->rope_attention_factor, &original, &trained, &capacity) != 13)
    return 0;
  c->rope_type = type_of(name);
  c->rotary_dim = c->head_dim = dim;
  c->rope_original_context = original;
  c->max_position_embeddings = trained;
  *context = capacity;
  return 1;
}

static void transformers(void **state) {
  (void)state;
  char path[1024];
  const char *root = getenv("VIVA_SOURCE_DIR");
  snprintf(path, sizeof path, "%s/tests/golden/rope_angles.txt", root ? root : ".");
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  viva_model_config c;
  uint64_t context;
  int cases = 0;
  for (; read_case(file, &c, &context); cases++) {
    float inv[128], theirs[128], row[256];
    rope r;
    viva_error error = {0};
    assert_int_equal(rope_init(&r, &c, context, NULL, inv, &error), VIVA_OK);
    for (size_t i = 0; i < r.pairs; i++) {
      theirs[i] = next_float(file);
      /* Their pow is right to one unit; a division, and for llama3 and yarn some sums, follow in FP32. In dynamic the new
       * base itself is rounded to FP32 there, and its error is raised to a power below one. */
      int64_t bound = c.rope_type == VIVA_ROPE_LLAMA3 || c.rope_type == VIVA_ROPE_YARN ? 4 : 2;
      if (ulps(inv[i], theirs[i]) > bound)
        fail_msg("case %d, pair %zu: %a, expected %a", cases, i, (double)inv[i], (double)theirs[i]);
    }
    r.inv_freq = theirs; /* the rest from their frequencies: an angle of 10^6 would show each last bit */
    for (int p = 0; p < 3; p++) {
      unsigned long position;
      assert_int_equal(fscanf(file, "%lu", &position), 1);
      rope_row(&r, position, row);
      for (size_t i = 0; i < 2 * r.pairs; i++) {
        float expected = next_float(file);
        /* Their sine and cosine are right to one unit, scaling costs another half. */
        if (ulps(row[i], expected) > 2)
          fail_msg("case %d, position %lu, value %zu: %a, expected %a", cases, position, i, (double)row[i],
                   (double)expected);
      }
    }
  }
  fclose(file);
  assert_int_equal(cases, 14);
}

static void elementary_functions(void **state) {
  (void)state;
  uint64_t random = 99;
  for (int i = 0; i < 200000; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    double unit = (double)(random >> 11) * 0x1p-53, sine, cosine;
    double x = (unit - 0.5) * 2e7 * pow(10, -(double)(i % 80) / 8);
    math_sin_cos(x, &sine, &cosine);
    assert_true(fabs(sine - sin(x)) < 0x1p-48 && fabs(cosine - cos(x)) < 0x1p-48);
    double base = exp((unit - 0.5) * 80);
    assert_true(fabs(math_log(base) - log(base)) <= 0x1p-48 * fmax(1, fabs(log(base))));
    double exponent = ((double)(random & 0xffff) / 65536 - 0.5) * 2;
    double error = fabs(math_pow(base, exponent) / pow(base, exponent) - 1);
    assert_true(error < 0x1p-46); /* the logarithm's error, times up to 40 */
  }
  assert_true(math_pow(10000, 0) == 1 && math_log(1) == 0);
}

/* Parameters that a file may hold although no model does. */
static void refused(void **state) {
  (void)state;
  float inv[4], factors[4] = {1, 1, 1, 1e-9f};
  rope r;
  viva_error error = {0};
  viva_model_config c = {.size = sizeof c,
                         .rotary_dim = 8,
                         .rope_theta = 10000,
                         .rope_factor = 1e-6,
                         .max_position_embeddings = 10,
                         .rope_type = VIVA_ROPE_LINEAR};
  assert_int_equal(rope_init(&r, &c, 10, NULL, inv, &error), VIVA_E_FORMAT);
  assert_non_null(strstr(error.message, "check rope_theta"));
  c.rope_type = VIVA_ROPE_DEFAULT;
  assert_int_equal(rope_init(&r, &c, 10, NULL, inv, &error), VIVA_OK);
  assert_int_equal(rope_init(&r, &c, 10, factors, inv, &error), VIVA_E_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(transformers), cmocka_unit_test(elementary_functions),
                                     cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
