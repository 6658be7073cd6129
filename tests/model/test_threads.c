/* One model, many threads: each has its own sessions and generations, and gets what one thread alone gets. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"

enum { THREADS = 8, ROUNDS = 4, NEW_TOKENS = 24, STEPS = 30 };

typedef struct worker {
  viva_model *model;
  uint64_t seed;
  viva_token tokens[NEW_TOKENS];
  int failed;
} worker;

static void *work(void *arg) {
  worker *w = arg;
  for (int round = 0; round < ROUNDS; round++) {
    viva_generate_options o = viva_generate_options_default();
    viva_generate_result *r;
    o.max_new_tokens = NEW_TOKENS;
    o.stop_on_eos = 0;
    o.sampling.temperature = 0.9f;
    o.sampling.seed = w->seed;
    viva_model_retain(w->model);
    if (viva_generate(w->model, "Once upon a time", 16, &o, &r, NULL)) {
      w->failed = 1;
      return NULL;
    }
    if (round && memcmp(w->tokens, r->tokens, sizeof w->tokens) != 0) w->failed = 1;
    memcpy(w->tokens, r->tokens, sizeof w->tokens);
    viva_generate_result_free(r);
    viva_model_release(w->model);
  }
  return NULL;
}

static void many_threads(void **state) {
  (void)state;
  kit k;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  worker together[THREADS] = {0}, alone[THREADS] = {0};
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    together[i] = (worker){.model = model, .seed = i};
    alone[i] = together[i];
    assert_int_equal(pthread_create(&threads[i], NULL, work, &together[i]), 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(together[i].failed, 0);
    work(&alone[i]);
    assert_memory_equal(together[i].tokens, alone[i].tokens, sizeof alone[i].tokens);
  }
  viva_model_release(model);
  kit_end(&k);
}

/* ---- steps of several threads, on sessions that share pages across them */

typedef struct stepper {
  viva_model *model;
  const viva_session *beginning;
  viva_token seed;
  viva_token best[STEPS];
  int failed;
} stepper;

static viva_status take_steps(stepper *w, viva_session *a, viva_session *b) {
  viva_step_part parts[2] = {viva_step_part_default(), viva_step_part_default()};
  viva_token tokens[3] = {w->seed, 7, 9};
  viva_top top;
  viva_status status = viva_session_copy(a, w->beginning, NULL);
  if (!status) status = viva_session_copy(b, a, NULL);
  if (!status) status = viva_session_truncate(b, 40, NULL);
  parts[0].session = a, parts[0].tokens = tokens, parts[0].count = 1, parts[0].top = &top, parts[0].top_k = 1;
  parts[1].session = b, parts[1].tokens = tokens, parts[1].count = 3, parts[1].logits = VIVA_STEP_NONE;
  for (int i = 0; i < STEPS && !status; i++) {
    status = viva_step(parts, 2, NULL, NULL);
    tokens[0] = w->best[i] = top.id;
  }
  return status;
}

static void *step_on(void *arg) {
  stepper *w = arg;
  viva_session_options o = viva_session_options_default();
  viva_session *a = NULL, *b = NULL;
  o.capacity = 200;
  for (o.reserve = 0; o.reserve < 2 && !w->failed; o.reserve++) {
    viva_token before[STEPS];
    memcpy(before, w->best, sizeof before);
    w->failed = viva_session_create(w->model, &o, &a, NULL) || viva_session_create(w->model, &o, &b, NULL) ||
                take_steps(w, a, b);
    if (o.reserve && memcmp(before, w->best, sizeof before) != 0) w->failed = 1;
    viva_session_free(a), viva_session_free(b);
    a = b = NULL;
  }
  return NULL;
}

static void steps_of_many_threads(void **state) {
  (void)state;
  kit k;
  viva_error error = {0};
  viva_token tokens[70];
  stepper together[THREADS] = {{0}}, alone[THREADS] = {{0}};
  pthread_t threads[THREADS];
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  viva_session *beginning = kit_session(model, 100, 0, VIVA_F16);
  kit_tokens(tokens, 70, 299, 2);
  kit_ok(viva_session_prefill(beginning, tokens, 70, NULL, &error), &error);
  for (size_t i = 0; i < THREADS; i++) {
    alone[i] = together[i] = (stepper){.model = model, .beginning = beginning, .seed = (viva_token)(20 + i)};
    assert_int_equal(pthread_create(&threads[i], NULL, step_on, &together[i]), 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(together[i].failed, 0);
    step_on(&alone[i]);
    assert_memory_equal(together[i].best, alone[i].best, sizeof alone[i].best);
  }
  viva_session_free(beginning);
  viva_model_release(model);
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(many_threads), cmocka_unit_test(steps_of_many_threads)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
