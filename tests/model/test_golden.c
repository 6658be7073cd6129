/* The 40 KB model against transformers (tests/mk/mkmodel.py), on every table of kernels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"

/* Both sides sum rows of at most 64 products of about 1 in FP32, in different orders: logits of up to 60 come out
 * 2e-5 apart. A row in the wrong place changes them by whole units. */
#define LOGITS 1e-4

typedef struct golden {
  uint32_t prompt, vocab, greedy;
  viva_token ids[64], next[64];
  float logits[64 * 512];
} golden;

static golden *read_golden(const char *name) {
  memory_io *io = memory_io_create();
  golden *g = calloc(1, sizeof *g);
  size_t bytes;
  small_model_copy(io, "/golden", name);
  const char *data = memory_io_get(io, "/golden", &bytes);
  memcpy(g, data, 12);
  assert_true(g->prompt <= 64 && g->greedy <= 64 && g->vocab <= 512);
  assert_int_equal(bytes, 12 + 4 * (g->prompt + g->prompt * g->vocab + g->greedy));
  memcpy(g->ids, data + 12, g->prompt * 4);
  memcpy(g->logits, data + 12 + g->prompt * 4, g->prompt * g->vocab * 4);
  memcpy(g->next, data + 12 + g->prompt * 4 * (1 + g->vocab), g->greedy * 4);
  memory_io_free(io);
  return g;
}

static void compare(const char *model_path, const char *golden_path, viva_cpu_kernels kernels, const char *weights) {
  kit k;
  viva_error error = {0};
  kit_begin(&k, 2, kernels);
  small_model_copy(k.io, "/model.gguf", model_path);
  golden *g = read_golden(golden_path);
  viva_model_options o = viva_model_options_default();
  o.weights = weights;
  viva_model *model = kit_load(&k, "/model.gguf", &o);
  viva_session *session = kit_session(model, 0, 0, VIVA_F32);
  float *logits = calloc(g->prompt * g->vocab, sizeof *logits);
  viva_prefill_options p = viva_prefill_options_default();
  p.all_logits = logits;
  p.all_logits_count = g->prompt * g->vocab;
  kit_ok(viva_session_prefill(session, g->ids, g->prompt, &p, &error), &error);
  for (size_t i = 0; i < g->prompt * g->vocab; i++)
    if (!(fabsf(logits[i] - g->logits[i]) <= LOGITS))
      fail_msg("position %zu, id %zu: %f, expected %f", i / g->vocab, i % g->vocab, (double)logits[i],
               (double)g->logits[i]);
  viva_token next;
  const float *last;
  kit_ok(viva_session_logits(session, &last, NULL, &error), &error);
  kit_ok(viva_argmax(last, g->vocab, &next, NULL, &error), &error);
  for (size_t i = 0; i < g->greedy; i++) {
    assert_int_equal(next, g->next[i]);
    kit_ok(viva_session_decode_argmax(session, next, &next, &error), &error);
  }
  free(logits);
  free(g);
  viva_session_free(session);
  viva_model_release(model);
  kit_end(&k);
}

#define TINY "tests/golden/tiny.gguf", "tests/golden/tiny.bin"
static void tiny_reference(void **state) { (void)state, compare(TINY, VIVA_KERNELS_REFERENCE, "f32"); }
static void tiny_avx2(void **state) { (void)state, compare(TINY, VIVA_KERNELS_AVX2, "f32"); }
static void tiny_avx512(void **state) { (void)state, compare(TINY, VIVA_KERNELS_AVX512, "f32"); }

/* A file that brings its own RoPE factors, an untied head, a partial table of types; no tokenizer. */
static void rope_factors(void **state) {
  (void)state;
  compare("tests/golden/rope.gguf", "tests/golden/rope.bin", VIVA_KERNELS_AUTO, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(tiny_reference), cmocka_unit_test(tiny_avx2),
                                     cmocka_unit_test(tiny_avx512), cmocka_unit_test(rope_factors)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
