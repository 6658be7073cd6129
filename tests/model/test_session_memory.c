/* What sessions cost: pages in use and little else; copies cost nothing; a step of a size that was there allocates nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backend/kv.h"
#include "lib/model_kit.h"
#include "lib/sanitized.h"

#ifdef SANITIZED
enum { MANY = 8, COPIED_PAGES = 4 };
#else
enum { MANY = 64, COPIED_PAGES = 64 };
#endif
enum { PAGE = 64, HELD = 100, CAPACITY = 8192, KIB = 1024 };

static viva_session *session_of(viva_model *model, uint64_t capacity, int reserve) {
  viva_error error = {0};
  viva_session *s;
  viva_session_options o = viva_session_options_default();
  o.capacity = capacity;
  o.reserve = reserve;
  kit_ok(viva_session_create(model, &o, &s, &error), &error);
  return s;
}

static viva_cache_info cache_of(const viva_model *model) {
  viva_cache_info info = {.size = sizeof info};
  assert_int_equal(viva_model_cache_info(model, &info, NULL), VIVA_OK);
  return info;
}

static viva_memory_stats memory_of(viva_engine *engine) {
  viva_memory_stats stats = {.size = sizeof stats};
  assert_int_equal(viva_engine_memory(engine, &stats, NULL), VIVA_OK);
  return stats;
}

/* MANY sessions of capacity 8192 with 100 tokens each, in the shape of Llama 3.1 8B: its caches and logits; the other
 * sizes are nothing to a session. */
static void many_sessions(void **state) {
  enum { VOCAB = 128256 };
  kit k;
  viva_error error = {0};
  viva_session *s[MANY];
  viva_token tokens[HELD];
  viva_step_part parts[MANY];
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/m",
                  &(small_model){.hidden = 16,
                                 .ffn = 16,
                                 .layers = 32,
                                 .heads = 8,
                                 .kv_heads = 8,
                                 .head_dim = 128,
                                 .vocab = VOCAB,
                                 .context = CAPACITY,
                                 .dtype = VIVA_BF16});
  viva_model *model = kit_load(&k, "/m", NULL);
  kit_tokens(tokens, HELD, VOCAB, 3);
  const size_t before = memory_of(k.engine).current_bytes;
  for (size_t i = 0; i < MANY; i++) {
    s[i] = session_of(model, CAPACITY, 0);
    parts[i] = viva_step_part_default();
    parts[i].session = s[i], parts[i].tokens = tokens, parts[i].count = HELD;
  }
  kit_ok(viva_step(parts, MANY, NULL, &error), &error);
  viva_model_trim(model); /* the work space is the model's, and nobody relies on it */
  const viva_cache_info cache = cache_of(model);
  const size_t taken = memory_of(k.engine).current_bytes - before;
  assert_int_equal(cache.page_bytes, 32 * 2 * 8 * PAGE * 128 * 2);
  assert_int_equal(cache.pages_in_use, MANY * 2);
  assert_int_equal(cache.pages, cache.pages_in_use);
  assert_int_equal(cache.bytes, cache.pages_in_use * cache.page_bytes);
  const size_t others = taken - cache.bytes;
  assert_true(others <= MANY * (64 * KIB + VOCAB * sizeof(float)));
  assert_true(others >= MANY * VOCAB * sizeof(float)); /* each has its row of logits: what is counted is there */
  for (size_t i = 0; i < MANY; i++) viva_session_free(s[i]);
  viva_model_trim(model);
  assert_int_equal(memory_of(k.engine).current_bytes, before);
  viva_model_release(model);
  kit_end(&k);
}

/* A copy of `held` tokens takes no page, no row of logits and no memory; `copied` pages are when its next token is written. */
static void check_copy(kit *k, viva_model *model, size_t held, size_t copied) {
  viva_error error = {0};
  viva_session *from = session_of(model, 4200, 0), *to = session_of(model, 4200, 0), *alone;
  const float *logits[2];
  viva_token *tokens = malloc(held * sizeof *tokens);
  size_t vocab;
  kit_tokens(tokens, held, 299, 4);
  kit_ok(viva_session_prefill(from, tokens, held, NULL, &error), &error);
  const viva_cache_info before = cache_of(model);
  const uint64_t calls = memory_of(k->engine).allocations;
  kit_ok(viva_session_copy(to, from, &error), &error);
  assert_int_equal(memory_of(k->engine).allocations, calls);
  assert_int_equal(cache_of(model).pages_in_use, before.pages_in_use);
  assert_int_equal(cache_of(model).pages_shared, before.pages_in_use);
  kit_ok(viva_session_logits(from, &logits[0], &vocab, &error), &error);
  kit_ok(viva_session_logits(to, &logits[1], &vocab, &error), &error);
  assert_ptr_equal(logits[0], logits[1]);
  kit_ok(viva_session_decode(to, 5, &error), &error);
  assert_int_equal(cache_of(model).pages_in_use, before.pages_in_use + 1);
  assert_int_equal(cache_of(model).pages_shared, before.pages_in_use - copied);
  alone = session_of(model, 4200, 0);
  kit_ok(viva_session_prefill(alone, tokens, held, NULL, &error), &error);
  kit_ok(viva_session_decode(alone, 5, &error), &error);
  kit_ok(viva_session_logits(alone, &logits[0], &vocab, &error), &error);
  kit_ok(viva_session_logits(to, &logits[1], &vocab, &error), &error);
  assert_memory_equal(logits[0], logits[1], vocab * sizeof(float));
  free(tokens);
  viva_session_free(from);
  viva_session_free(to);
  viva_session_free(alone);
}

static void copies(void **state) {
  kit k;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  check_copy(&k, model, COPIED_PAGES * PAGE, 0);     /* the next token begins a page */
  check_copy(&k, model, COPIED_PAGES * PAGE + 4, 1); /* it goes into a shared one */
  viva_model_release(model);
  kit_end(&k);
}

/* Steps of mixed parts: after the first of a size, none allocates. */
static void steps_allocate_nothing(void **state) {
  enum { PARTS = 5, ROUNDS = 20 };
  kit k;
  viva_error error = {0};
  viva_session *s[PARTS];
  viva_step_part parts[PARTS];
  viva_token tokens[12];
  viva_top top[2 * 12];
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  kit_tokens(tokens, 12, 299, 8);
  for (size_t i = 0; i < PARTS; i++) {
    s[i] = session_of(model, 400, 1);
    parts[i] = viva_step_part_default();
    parts[i].session = s[i], parts[i].tokens = tokens, parts[i].count = i == 1 ? 12 : 1 + i;
  }
  parts[1].logits = VIVA_STEP_ALL, parts[1].top_k = 2, parts[1].top = top;
  parts[2].logits = VIVA_STEP_NONE;
  for (int round = 0; round < ROUNDS; round++) {
    const uint64_t calls = memory_of(k.engine).allocations;
    kit_ok(viva_step(parts, PARTS, NULL, &error), &error);
    if (round > 0) assert_int_equal(memory_of(k.engine).allocations, calls);
  }
  assert_int_equal(viva_session_position(s[1]), ROUNDS * 12);
  for (size_t i = 0; i < PARTS; i++) viva_session_free(s[i]);
  viva_model_release(model);
  kit_end(&k);
}

/* A position of a cache in FP8 is at most 0.53 of one in F16, with heads of 64 and more. */
static void bytes_of_fp8(void **state) {
  static const size_t dims[] = {64, 80, 96, 128, 256};
  (void)state;
  for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
    const head_shape h = {8, 2, dims[i]};
    const size_t fp8 = kv_layout_of(KV_FP8, h).layer_bytes, f16 = kv_layout_of(KV_F16, h).layer_bytes;
    assert_true(100 * fp8 <= 53 * f16);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_of_fp8), cmocka_unit_test(many_sessions),
                                     cmocka_unit_test(copies), cmocka_unit_test(steps_allocate_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
