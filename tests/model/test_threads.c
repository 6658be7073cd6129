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

enum { THREADS = 6, ROUNDS = 4, NEW_TOKENS = 24 };

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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(many_threads)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
