/* The same logits, bit for bit, however the work is cut: threads, chunks, batches, capacities, ways of loading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"

enum { COUNT = 100, TINY_VOCAB = 299, SMALL_VOCAB = 40, SMALL_COUNT = 60 };

typedef struct subject {
  const char *path;
  size_t vocab, count;
} subject;

static const subject subjects[] = {{"/tiny.gguf", TINY_VOCAB, COUNT},
                                   {"/biased", SMALL_VOCAB, SMALL_COUNT},
                                   {"/qwen3", SMALL_VOCAB, SMALL_COUNT},
                                   {"/window", SMALL_VOCAB, SMALL_COUNT},
                                   {"/odd", SMALL_VOCAB, SMALL_COUNT}};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

static void begin(kit *k, int threads) {
  kit_begin(k, threads, VIVA_KERNELS_AUTO);
  small_model_put(k->io, "/biased", &(small_model){.attention_bias = 1, .mlp_bias = 1, .untied = 1, .dtype = VIVA_F16});
  small_model_put(k->io, "/qwen3", &(small_model){.model_type = "qwen3", .layers = 3, .dtype = VIVA_BF16});
  small_model_put(k->io, "/window", &(small_model){.model_type = "mistral", .config = "\"sliding_window\":5,"});
  /* no size is a multiple of a vector */
  small_model_put(k->io, "/odd", &(small_model){.hidden = 21, .ffn = 37, .heads = 3, .kv_heads = 1, .head_dim = 10});
}

/* Logits of every position, then of four decoded tokens. */
static float *run(viva_model *model, const subject *s, uint64_t capacity, uint32_t chunk) {
  viva_error error = {0};
  viva_token tokens[COUNT];
  kit_tokens(tokens, s->count, s->vocab, 5);
  float *out = calloc(s->count * s->vocab, sizeof *out);
  viva_session *session = kit_session(model, capacity, chunk, VIVA_DTYPE_NONE);
  viva_prefill_options p = viva_prefill_options_default();
  size_t first = s->count - 4;
  p.all_logits = out;
  p.all_logits_count = first * s->vocab;
  kit_ok(viva_session_prefill(session, tokens, first, &p, &error), &error);
  for (size_t i = first; i < s->count; i++) {
    const float *logits;
    kit_ok(viva_session_decode(session, tokens[i], &error), &error);
    kit_ok(viva_session_logits(session, &logits, NULL, &error), &error);
    memcpy(out + i * s->vocab, logits, s->vocab * sizeof *out);
  }
  viva_session_free(session);
  return out;
}

static void check(viva_model *model, const subject *s, const float *expected, uint64_t capacity, uint32_t chunk) {
  float *found = run(model, s, capacity, chunk);
  assert_memory_equal(found, expected, s->count * s->vocab * sizeof *found);
  free(found);
}

static void threads_and_chunks(void **state) {
  (void)state;
  static const int threads[] = {1, 2, 3, 7};
  static const uint32_t chunks[] = {1, 7, 64, 0};
  float *expected[SUBJECTS] = {0};
  for (size_t t = 0; t < 4; t++) {
    kit k;
    begin(&k, threads[t]);
    for (size_t i = 0; i < SUBJECTS; i++) {
      viva_model *model = kit_load(&k, subjects[i].path, NULL);
      if (!expected[i]) expected[i] = run(model, &subjects[i], 0, 0);
      for (size_t c = 0; c < 4; c++) check(model, &subjects[i], expected[i], 0, chunks[c]);
      check(model, &subjects[i], expected[i], subjects[i].count, 3); /* another capacity */
      viva_model_release(model);
    }
    kit_end(&k);
  }
  for (size_t i = 0; i < SUBJECTS; i++) free(expected[i]);
}

/* A mapped model: tensors that are held as stored lie where the file is mapped. */
static void mapped(void **state) {
  (void)state;
  kit k;
  begin(&k, 2);
  for (size_t i = 0; i < SUBJECTS; i++) {
    viva_model_options o = viva_model_options_default();
    viva_model *model = kit_load(&k, subjects[i].path, &o);
    float *expected = run(model, &subjects[i], 0, 0);
    viva_model_release(model);
    o.load = VIVA_LOAD_MMAP;
    model = kit_load(&k, subjects[i].path, &o);
    assert_true(memory_io_open_count(k.io) > 0); /* the mapping stays */
    check(model, &subjects[i], expected, 0, 0);
    viva_model_release(model);
    assert_int_equal(memory_io_open_count(k.io), 0);
    free(expected);
  }
  kit_end(&k);
}

/* The last logits of a plain prefill are those of the row among all. */
static void last_of_all(void **state) {
  (void)state;
  kit k;
  viva_error error = {0};
  begin(&k, 2);
  for (size_t i = 0; i < SUBJECTS; i++) {
    const subject *s = &subjects[i];
    viva_model *model = kit_load(&k, s->path, NULL);
    float *all = run(model, s, 0, 0);
    viva_session *session = kit_session(model, 0, 9, VIVA_DTYPE_NONE);
    viva_token tokens[COUNT];
    const float *logits;
    kit_tokens(tokens, s->count, s->vocab, 5);
    for (size_t n = 1; n <= s->count; n += 11) {
      kit_ok(viva_session_truncate(session, 0, &error), &error);
      kit_ok(viva_session_prefill(session, tokens, n, NULL, &error), &error);
      kit_ok(viva_session_logits(session, &logits, NULL, &error), &error);
      assert_memory_equal(logits, all + (n - 1) * s->vocab, s->vocab * sizeof *logits);
    }
    free(all);
    viva_session_free(session);
    viva_model_release(model);
  }
  kit_end(&k);
}

/* More sessions than rows of logits at once (32), and with a chunk of 7 more than one step holds. */
enum { SESSIONS = 37 };

static void many_sessions(const subject *s, viva_dtype kv, uint32_t chunk) {
  kit k;
  viva_error error = {0};
  begin(&k, 2);
  viva_model *model = kit_load(&k, s->path, NULL);
  viva_session *sessions[SESSIONS], *alone[SESSIONS];
  viva_token tokens[COUNT], next[SESSIONS];
  kit_tokens(tokens, s->count, s->vocab, 9);
  for (size_t i = 0; i < SESSIONS; i++) {
    sessions[i] = kit_session(model, 45 + i % 3, chunk, kv); /* capacities may differ */
    alone[i] = kit_session(model, 50, 0, kv);
    size_t prompt = 1 + i; /* positions differ */
    kit_ok(viva_session_prefill(sessions[i], tokens, prompt, NULL, &error), &error);
    kit_ok(viva_session_prefill(alone[i], tokens, prompt, NULL, &error), &error);
  }
  for (int step = 0; step < 3; step++) {
    for (size_t i = 0; i < SESSIONS; i++) next[i] = (viva_token)((i * 7 + (size_t)step) % s->vocab);
    kit_ok(viva_sessions_decode(sessions, next, SESSIONS, &error), &error);
    for (size_t i = 0; i < SESSIONS; i++) {
      const float *one, *many;
      kit_ok(viva_session_decode(alone[i], next[i], &error), &error);
      kit_ok(viva_session_logits(alone[i], &one, NULL, &error), &error);
      kit_ok(viva_session_logits(sessions[i], &many, NULL, &error), &error);
      assert_memory_equal(one, many, s->vocab * sizeof *one);
      assert_int_equal(viva_session_position(sessions[i]), i + 2 + (size_t)step);
    }
  }
  for (size_t i = 0; i < SESSIONS; i++) {
    viva_session_free(sessions[i]);
    viva_session_free(alone[i]);
  }
  viva_model_release(model);
  kit_end(&k);
}

static void batches(void **state) {
  (void)state;
  for (size_t i = 0; i < SUBJECTS; i++) many_sessions(&subjects[i], i % 2 ? VIVA_F32 : VIVA_F16, i % 3 ? 7 : 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(threads_and_chunks), cmocka_unit_test(mapped),
                                     cmocka_unit_test(last_of_all), cmocka_unit_test(batches)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
