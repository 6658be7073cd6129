/* viva/debug.h: the stages of a step, in order, on the CPU and on a device; what it leaves behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/far_device.h"
#include "lib/model_kit.h"
#include "viva/debug.h"

enum { LAYERS = 2, HIDDEN = 64, FFN = 96, HEADS = 4, KV_HEADS = 2, DIM = 16, VOCAB = 40, TOKENS = 7, IN_LAYER = 12 };

typedef struct seen {
  size_t count, stop_at; /* stop_at: stage at which the callback stops; 0: never */
  char names[64][32];
  size_t rows[64], cols[64];
  float *values[64];
} seen;

static int remember(void *user, const viva_debug_stage *s) {
  seen *all = user;
  const size_t i = all->count++, bytes = s->rows * s->cols * sizeof(float);
  assert_true(i < 64 && s->seconds >= 0);
  (void)snprintf(all->names[i], sizeof all->names[i], "%d.%s", (int)s->layer, s->name);
  all->rows[i] = s->rows;
  all->cols[i] = s->cols;
  all->values[i] = malloc(bytes);
  memcpy(all->values[i], s->values, bytes);
  return all->count == all->stop_at;
}

static void forget(seen *all) {
  for (size_t i = 0; i < all->count; i++) free(all->values[i]);
  *all = (seen){0};
}

static void put_model(kit *k) {
  small_model_put(k->io, "/m",
                  &(small_model){.model_type = "qwen3",
                                 .hidden = HIDDEN,
                                 .ffn = FFN,
                                 .layers = LAYERS,
                                 .heads = HEADS,
                                 .kv_heads = KV_HEADS,
                                 .head_dim = DIM,
                                 .vocab = VOCAB,
                                 .dtype = VIVA_BF16});
}

/* All but the last layer's attention and what follows see every token. */
static void check_order(const seen *all) {
  static const struct {
    const char *name;
    size_t cols;
  } of_layer[IN_LAYER] = {{"attention_norm", HIDDEN},
                          {"q", HEADS * DIM},
                          {"k", KV_HEADS * DIM},
                          {"v", KV_HEADS * DIM},
                          {"q_turned", HEADS * DIM},
                          {"attention", HEADS * DIM},
                          {"attention_sum", HIDDEN},
                          {"mlp_norm", HIDDEN},
                          {"gate", FFN},
                          {"up", FFN},
                          {"product", FFN},
                          {"mlp_sum", HIDDEN}};
  char name[32];
  assert_int_equal(all->count, 1 + LAYERS * IN_LAYER + 2);
  assert_string_equal(all->names[0], "-1.embedding");
  for (size_t i = 0; i < LAYERS * IN_LAYER; i++) {
    const size_t layer = i / IN_LAYER, stage = i % IN_LAYER;
    (void)snprintf(name, sizeof name, "%zu.%s", layer, of_layer[stage].name);
    assert_string_equal(all->names[1 + i], name);
    assert_int_equal(all->cols[1 + i], of_layer[stage].cols);
    assert_int_equal(all->rows[1 + i], layer + 1 == LAYERS && stage >= 5 ? 1 : TOKENS);
  }
  assert_string_equal(all->names[all->count - 2], "-1.output_norm");
  assert_string_equal(all->names[all->count - 1], "-1.logits");
}

static void run(kit *k, seen *all) {
  viva_error error = {0};
  viva_token tokens[TOKENS];
  const float *logits;
  viva_model *model = kit_load(k, "/m", NULL);
  viva_session *a = kit_session(model, 32, 16, VIVA_DTYPE_NONE), *b = kit_session(model, 32, 16, VIVA_DTYPE_NONE);
  kit_tokens(tokens, TOKENS, VOCAB, 5);
  kit_ok(viva_debug_step(a, tokens, TOKENS, remember, all, &error), &error);
  assert_int_equal(viva_session_position(a), TOKENS);
  kit_ok(viva_session_logits(a, &logits, NULL, &error), &error);
  assert_memory_equal(logits, all->values[all->count - 1], VOCAB * sizeof(float));
  kit_ok(viva_session_prefill(b, tokens, TOKENS, NULL, &error), &error);
  kit_ok(viva_session_logits(b, &logits, NULL, &error), &error);
  assert_memory_equal(logits, all->values[all->count - 1], VOCAB * sizeof(float));
  viva_session_free(a);
  viva_session_free(b);
  viva_model_release(model);
}

static void every_stage_on_every_device(void **state) {
  (void)state;
  kit k;
  far_device far;
  seen cpu = {0}, device = {0};
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  put_model(&k);
  run(&k, &cpu);
  check_order(&cpu);
  far_begin(&far, k.engine, FAR_PREPARE);
  far_add_decode(&far); /* which is not asked */
  run(&k, &device);
  far_end(&far);
  check_order(&device);
  for (size_t i = 0; i < cpu.count; i++)
    assert_memory_equal(cpu.values[i], device.values[i], cpu.rows[i] * cpu.cols[i] * sizeof(float));
  forget(&cpu);
  forget(&device);
  kit_end(&k);
}

/* More tokens than a chunk: two passes, of which the first ends with the last layer's cache; the same logits. */
static void chunks_are_passes(void **state) {
  enum { CHUNK = 4, FIRST = 1 + (LAYERS - 1) * IN_LAYER + 5 };
  (void)state;
  kit k;
  viva_error error = {0};
  viva_token tokens[TOKENS];
  seen all = {0}, whole = {0};
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  put_model(&k);
  run(&k, &whole);
  viva_model *model = kit_load(&k, "/m", NULL);
  viva_session *s = kit_session(model, 32, CHUNK, VIVA_DTYPE_NONE);
  kit_tokens(tokens, TOKENS, VOCAB, 5);
  kit_ok(viva_debug_step(s, tokens, TOKENS, remember, &all, &error), &error);
  assert_int_equal(all.count, FIRST + 1 + LAYERS * IN_LAYER + 2);
  assert_int_equal(all.rows[0], CHUNK);
  assert_string_equal(all.names[FIRST - 1], "1.q_turned");
  assert_string_equal(all.names[FIRST], "-1.embedding");
  assert_int_equal(all.rows[FIRST], TOKENS - CHUNK);
  assert_memory_equal(all.values[all.count - 1], whole.values[whole.count - 1], VOCAB * sizeof(float));
  viva_session_free(s);
  viva_model_release(model);
  forget(&all);
  forget(&whole);
  kit_end(&k);
}

static void a_stop_changes_nothing(void **state) {
  (void)state;
  kit k;
  viva_error error = {0};
  viva_token tokens[TOKENS];
  const float *logits;
  float before[VOCAB];
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  put_model(&k);
  viva_model *model = kit_load(&k, "/m", NULL);
  viva_session *s = kit_session(model, 32, 16, VIVA_DTYPE_NONE);
  kit_tokens(tokens, TOKENS, VOCAB, 5);
  kit_ok(viva_session_prefill(s, tokens, TOKENS, NULL, &error), &error);
  kit_ok(viva_session_logits(s, &logits, NULL, &error), &error);
  memcpy(before, logits, sizeof before);
  for (size_t stop = 1; stop <= 1 + LAYERS * IN_LAYER + 2; stop++) {
    seen all = {.stop_at = stop};
    kit_error(viva_debug_step(s, tokens, 2, remember, &all, &error), VIVA_E_CANCELLED, &error, "asked to stop");
    assert_int_equal(all.count, stop);
    forget(&all);
    assert_int_equal(viva_session_position(s), TOKENS);
    kit_ok(viva_session_logits(s, &logits, NULL, &error), &error);
    assert_memory_equal(logits, before, sizeof before);
  }
  seen none = {0};
  kit_error(viva_debug_step(NULL, tokens, 1, remember, &none, &error), VIVA_E_ARGUMENT, &error, "session is NULL");
  kit_error(viva_debug_step(s, tokens, 1, NULL, NULL, &error), VIVA_E_ARGUMENT, &error, "on_stage is NULL");
  kit_error(viva_debug_step(s, tokens, 0, remember, &none, &error), VIVA_E_ARGUMENT, &error, "no tokens are given");
  kit_error(viva_debug_step(s, &(viva_token){VOCAB}, 1, remember, &none, &error), VIVA_E_ARGUMENT, &error,
            "outside the vocabulary");
  assert_int_equal(none.count, 0);
  viva_session_free(s);
  viva_model_release(model);
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_stage_on_every_device),
      cmocka_unit_test(chunks_are_passes),
      cmocka_unit_test(a_stop_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
