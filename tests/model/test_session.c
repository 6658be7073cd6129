/* What a session promises: positions, rewinding, copies, errors that change nothing, steps that allocate nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"

enum { VOCAB = 299, CONTEXT = 128 };

typedef struct fixture {
  kit k;
  viva_model *model;
  viva_session *session;
  viva_error error;
  viva_token tokens[CONTEXT + 1];
} fixture;

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  kit_begin(&f->k, 2, VIVA_KERNELS_AUTO);
  f->model = kit_load(&f->k, "/tiny.gguf", NULL);
  f->session = kit_session(f->model, 0, 16, VIVA_DTYPE_NONE);
  kit_tokens(f->tokens, CONTEXT + 1, VOCAB, 3);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  viva_session_free(f->session);
  viva_model_release(f->model);
  kit_end(&f->k);
  free(f);
  return 0;
}

static void prefill(fixture *f, viva_session *s, size_t first, size_t count) {
  kit_ok(viva_session_prefill(s, f->tokens + first, count, NULL, &f->error), &f->error);
}

static const float *logits_of(fixture *f, viva_session *s) {
  const float *logits;
  size_t vocab;
  kit_ok(viva_session_logits(s, &logits, &vocab, &f->error), &f->error);
  assert_int_equal(vocab, VOCAB);
  return logits;
}

/* Copies of the logits, to compare with later. */
static float *kept_logits(fixture *f, viva_session *s) {
  float *copy = malloc(VOCAB * sizeof *copy);
  memcpy(copy, logits_of(f, s), VOCAB * sizeof *copy);
  return copy;
}

static void positions(void **state) {
  fixture *f = *state;
  const float *logits = (const float *)f;
  assert_int_equal(viva_session_capacity(f->session), CONTEXT);
  assert_int_equal(viva_session_position(f->session), 0);
  kit_error(viva_session_logits(f->session, &logits, NULL, &f->error), VIVA_E_STATE, &f->error,
            "prefill or decode first");
  assert_null(logits);
  prefill(f, f->session, 0, 20);
  assert_int_equal(viva_session_position(f->session), 20);
  kit_ok(viva_session_decode(f->session, 4, &f->error), &f->error);
  assert_int_equal(viva_session_position(f->session), 21);
}

static void handles_keep_what_they_need(void **state) {
  fixture *f = *state;
  kit k;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  viva_session *session = kit_session(model, 0, 0, VIVA_F32);
  viva_engine *engine = viva_engine_retain(k.engine);
  viva_engine_release(k.engine);
  assert_ptr_equal(viva_model_retain(model), model);
  viva_model_release(model);
  viva_model_release(model);
  kit_ok(viva_session_prefill(session, f->tokens, 5, NULL, &f->error), &f->error);
  viva_session_free(session);
  viva_session_free(NULL);
  viva_model_release(NULL);
  k.engine = engine;
  kit_end(&k);
}

static void truncating(void **state) {
  fixture *f = *state;
  const float *logits;
  prefill(f, f->session, 0, 40);
  float *expected = kept_logits(f, f->session);
  kit_ok(viva_session_truncate(f->session, 40, &f->error), &f->error); /* nothing is forgotten */
  assert_memory_equal(logits_of(f, f->session), expected, VOCAB * sizeof(float));
  kit_ok(viva_session_truncate(f->session, 13, &f->error), &f->error);
  assert_int_equal(viva_session_position(f->session), 13);
  kit_error(viva_session_logits(f->session, &logits, NULL, &f->error), VIVA_E_STATE, &f->error, "truncated since");
  prefill(f, f->session, 13, 27);
  assert_memory_equal(logits_of(f, f->session), expected, VOCAB * sizeof(float));
  kit_error(viva_session_truncate(f->session, 41, &f->error), VIVA_E_ARGUMENT, &f->error,
            "cannot truncate to 41 tokens: the session holds 40");
  kit_error(viva_session_truncate(NULL, 0, &f->error), VIVA_E_ARGUMENT, &f->error, "session is NULL");
  free(expected);
}

static void copying(void **state) {
  fixture *f = *state;
  prefill(f, f->session, 0, 30);
  viva_session *other = kit_session(f->model, 50, 0, VIVA_DTYPE_NONE), *empty = kit_session(f->model, 9, 0, VIVA_F16);
  kit_ok(viva_session_copy(other, f->session, &f->error), &f->error);
  assert_int_equal(viva_session_position(other), 30);
  assert_memory_equal(logits_of(f, other), logits_of(f, f->session), VOCAB * sizeof(float));
  prefill(f, other, 30, 10);
  prefill(f, f->session, 30, 10);
  assert_memory_equal(logits_of(f, other), logits_of(f, f->session), VOCAB * sizeof(float));
  kit_error(viva_session_copy(empty, other, &f->error), VIVA_E_LIMIT, &f->error,
            "a session of 40 tokens does not fit into a capacity of 9");
  kit_ok(viva_session_copy(other, empty, &f->error), &f->error); /* an empty one has no logits */
  assert_int_equal(viva_session_position(other), 0);
  const float *logits;
  kit_error(viva_session_logits(other, &logits, NULL, &f->error), VIVA_E_STATE, &f->error, "no logits");
  kit_ok(viva_session_copy(f->session, f->session, &f->error), &f->error);
  viva_session_free(other);
  viva_session_free(empty);
}

static void copies_that_are_refused(void **state) {
  fixture *f = *state;
  viva_model *model = kit_load(&f->k, "/tiny.gguf", NULL);
  viva_session *foreign = kit_session(model, 0, 0, VIVA_DTYPE_NONE), *f32 = kit_session(f->model, 0, 0, VIVA_F32);
  kit_error(viva_session_copy(foreign, f->session, &f->error), VIVA_E_ARGUMENT, &f->error, "different models");
  kit_error(viva_session_copy(f32, f->session, &f->error), VIVA_E_ARGUMENT, &f->error, "different KV types");
  kit_error(viva_session_copy(NULL, f->session, &f->error), VIVA_E_ARGUMENT, &f->error, "must not be NULL");
  viva_session_free(foreign);
  viva_session_free(f32);
  viva_model_release(model);
  /* The rotation of a model with dynamic RoPE depends on the capacity. */
  small_model_put(f->k.io, "/dynamic",
                  &(small_model){.config = "\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2.0},"});
  model = kit_load(&f->k, "/dynamic", NULL);
  viva_session *a = kit_session(model, 64, 0, VIVA_F16), *b = kit_session(model, 100, 0, VIVA_F16);
  kit_error(viva_session_copy(a, b, &f->error), VIVA_E_ARGUMENT, &f->error,
            "both sessions need one capacity, not 64 and 100");
  viva_session_free(a);
  viva_session_free(b);
  viva_model_release(model);
}

static void session_options(void **state) {
  fixture *f = *state;
  viva_session *s = NULL;
  viva_session_options o = viva_session_options_default();
  o.kv = VIVA_BF16;
  kit_error(viva_session_create(f->model, &o, &s, &f->error), VIVA_E_ARGUMENT, &f->error,
            "kv: the KV cache can be F16, F32 or E4M3 (FP8), not BF16");
  o.kv = VIVA_DTYPE_NONE;
  o.capacity = (uint64_t)1 << 40;
  kit_error(viva_session_create(f->model, &o, &s, &f->error), VIVA_E_LIMIT, &f->error, "the most is 2147483648");
  o.capacity = (uint64_t)1 << 31; /* 128 bytes for a token of this model */
  kit_error(viva_session_create(f->model, &o, &s, &f->error), VIVA_E_LIMIT, &f->error,
            "the largest capacity that fits is");
  assert_null(s);
  o.capacity = 7;
  o.size = 3;
  kit_error(viva_session_create(f->model, &o, &s, &f->error), VIVA_E_ARGUMENT, &f->error, "viva_session_options");
  kit_error(viva_session_create(NULL, NULL, &s, &f->error), VIVA_E_ARGUMENT, &f->error, "model is NULL");
  kit_error(viva_session_create(f->model, NULL, NULL, &f->error), VIVA_E_ARGUMENT, &f->error, "session is NULL");
}

/* After each refusal the session goes on as if nothing had been asked. */
static void refusals_change_nothing(void **state) {
  fixture *f = *state;
  viva_token bad[3] = {1, 2, VOCAB}, next;
  float room[1];
  viva_prefill_options p = viva_prefill_options_default();
  prefill(f, f->session, 0, 120);
  float *before = kept_logits(f, f->session);
  kit_error(viva_session_prefill(f->session, f->tokens, 0, NULL, &f->error), VIVA_E_ARGUMENT, &f->error,
            "at least one");
  kit_error(viva_session_prefill(f->session, bad, 3, NULL, &f->error), VIVA_E_ARGUMENT, &f->error,
            "tokens[2] is 299, outside the vocabulary of 299 tokens (0 to 298)");
  bad[2] = -1;
  kit_error(viva_session_prefill(f->session, bad, 3, NULL, &f->error), VIVA_E_ARGUMENT, &f->error, "tokens[2] is -1");
  kit_error(viva_session_decode(f->session, INT32_MIN, &f->error), VIVA_E_ARGUMENT, &f->error,
            "tokens[0] is -2147483648");
  kit_error(viva_session_prefill(f->session, f->tokens, 9, NULL, &f->error), VIVA_E_LIMIT, &f->error,
            "it holds 120 tokens, 9 more are given, its capacity is 128");
  /* a wrong count is found before anything behind the array is read */
  kit_error(viva_session_prefill(f->session, bad, SIZE_MAX, NULL, &f->error), VIVA_E_LIMIT, &f->error, "is full");
  p.all_logits = room;
  p.all_logits_count = 1;
  kit_error(viva_session_prefill(f->session, f->tokens, 2, &p, &f->error), VIVA_E_SIZE, &f->error,
            "all_logits_count: all_logits has room for 1 values, but 2 tokens give 2 x 299");
  kit_error(viva_session_decode_argmax(f->session, 1, NULL, &f->error), VIVA_E_ARGUMENT, &f->error, "next is NULL");
  kit_error(viva_session_decode_argmax(NULL, 1, &next, &f->error), VIVA_E_ARGUMENT, &f->error, "session is NULL");
  kit_error(viva_session_prefill(NULL, f->tokens, 1, NULL, &f->error), VIVA_E_ARGUMENT, &f->error, "session is NULL");
  assert_int_equal(viva_session_position(f->session), 120);
  assert_memory_equal(logits_of(f, f->session), before, VOCAB * sizeof(float));
  free(before);
  prefill(f, f->session, 120, 8); /* full to the last place */
  kit_error(viva_session_decode(f->session, 1, &f->error), VIVA_E_LIMIT, &f->error, "the session is full");
}

typedef struct listener {
  int calls, stop_at;
  uint64_t last;
  const float *expected;
} listener;

static int on_progress(void *user, uint64_t done, uint64_t total) {
  listener *l = user;
  assert_true(done > l->last && done <= total);
  l->last = done;
  return ++l->calls == l->stop_at;
}

static int on_logits(void *user, uint64_t position, const float *logits, size_t vocab) {
  listener *l = user;
  assert_int_equal(position, 5 + (uint64_t)l->calls);
  assert_memory_equal(logits, l->expected + (size_t)l->calls * vocab, vocab * sizeof *logits);
  return ++l->calls == l->stop_at;
}

static void callbacks_and_cancel(void **state) {
  fixture *f = *state;
  float *all = calloc(60 * VOCAB, sizeof *all);
  viva_prefill_options p = viva_prefill_options_default();
  prefill(f, f->session, 0, 5);
  float *before = kept_logits(f, f->session);
  listener l = {.stop_at = 2};
  p.progress = on_progress;
  p.progress_user = &l;
  kit_error(viva_session_prefill(f->session, f->tokens + 5, 60, &p, &f->error), VIVA_E_CANCELLED, &f->error,
            "cancelled after 32 of 60 tokens");
  assert_int_equal(viva_session_position(f->session), 5);
  assert_memory_equal(logits_of(f, f->session), before, VOCAB * sizeof(float));
  l = (listener){0};
  p.all_logits = all;
  p.all_logits_count = 60 * VOCAB;
  kit_ok(viva_session_prefill(f->session, f->tokens + 5, 60, &p, &f->error), &f->error);
  assert_int_equal(l.calls, 4); /* chunks of 16 */
  assert_int_equal(l.last, 60);
  assert_memory_equal(logits_of(f, f->session), all + 59 * VOCAB, VOCAB * sizeof(float));
  p = viva_prefill_options_default();
  p.on_logits = on_logits;
  p.on_logits_user = &l;
  for (int stop = 0; stop < 60; stop += 29) {
    kit_ok(viva_session_truncate(f->session, 5, &f->error), &f->error);
    l = (listener){.stop_at = stop, .expected = all};
    viva_status status = viva_session_prefill(f->session, f->tokens + 5, 60, &p, &f->error);
    if (stop)
      kit_error(status, VIVA_E_CANCELLED, &f->error, "asked to stop");
    else
      kit_ok(status, &f->error);
    assert_int_equal(l.calls, stop ? stop : 60);
    assert_int_equal(viva_session_position(f->session), stop ? 5 : 65);
  }
  free(before);
  free(all);
}

static uint64_t allocations(fixture *f) {
  viva_memory_stats stats = {.size = sizeof stats};
  kit_ok(viva_engine_memory(f->k.engine, &stats, &f->error), &f->error);
  return stats.allocations;
}

static void steps_allocate_nothing(void **state) {
  fixture *f = *state;
  viva_token next = 7;
  viva_session *other = kit_session(f->model, 0, 0, VIVA_DTYPE_NONE), *both[2] = {f->session, other};
  viva_token two[2] = {3, 4};
  kit_ok(viva_sessions_decode(both, two, 2, &f->error), &f->error); /* the first batch makes its rows of logits */
  uint64_t before = allocations(f);
  for (int i = 0; i < 20; i++) {
    kit_ok(viva_session_decode_argmax(f->session, next, &next, &f->error), &f->error);
    kit_ok(viva_session_decode(other, next, &f->error), &f->error);
    kit_ok(viva_sessions_decode(both, two, 2, &f->error), &f->error);
    logits_of(f, other);
  }
  prefill(f, f->session, 0, 30);
  assert_int_equal(allocations(f), before);
  viva_session_free(other);
}

static void batch_errors(void **state) {
  fixture *f = *state;
  viva_session *a = f->session, *b = kit_session(f->model, 20, 0, VIVA_DTYPE_NONE),
               *f32 = kit_session(f->model, 20, 0, VIVA_F32);
  viva_model *model = kit_load(&f->k, "/tiny.gguf", NULL);
  viva_session *foreign = kit_session(model, 20, 0, VIVA_DTYPE_NONE);
  viva_token tokens[3] = {1, 2, 3};
  prefill(f, a, 0, 4);
  prefill(f, b, 0, 20);
  float *before = kept_logits(f, a);
  kit_error(viva_sessions_decode((viva_session *[]){a, f32, a}, tokens, 3, &f->error), VIVA_E_ARGUMENT, &f->error,
            "sessions[1]: the session's KV type");
  kit_error(viva_sessions_decode((viva_session *[]){a, foreign}, tokens, 2, &f->error), VIVA_E_ARGUMENT, &f->error,
            "sessions[1]: the session belongs to another model");
  kit_error(viva_sessions_decode((viva_session *[]){a, a}, tokens, 2, &f->error), VIVA_E_ARGUMENT, &f->error,
            "sessions[1]: the session is given twice");
  kit_error(viva_sessions_decode((viva_session *[]){a, NULL}, tokens, 2, &f->error), VIVA_E_ARGUMENT, &f->error,
            "sessions[1]: the session is NULL");
  kit_error(viva_sessions_decode((viva_session *[]){a, b}, tokens, 2, &f->error), VIVA_E_LIMIT, &f->error,
            "sessions[1]: the session is full: it holds 20 tokens, 1 more are given");
  tokens[0] = 9999;
  kit_error(viva_sessions_decode((viva_session *[]){a, b}, tokens, 2, &f->error), VIVA_E_ARGUMENT, &f->error,
            "sessions[0]: tokens[0] is 9999");
  kit_error(viva_sessions_decode(NULL, tokens, 1, &f->error), VIVA_E_ARGUMENT, &f->error, "must not be NULL");
  kit_error(viva_sessions_decode((viva_session *[]){a}, tokens, 0, &f->error), VIVA_E_ARGUMENT, &f->error,
            "at least one");
  assert_int_equal(viva_session_position(a), 4);
  assert_memory_equal(logits_of(f, a), before, VOCAB * sizeof(float));
  free(before);
  viva_session_free(b);
  viva_session_free(f32);
  viva_session_free(foreign);
  viva_model_release(model);
}

/* A weight that is no number reaches only the token that uses it, 0. */
static void not_a_number(void **state) {
  fixture *f = *state;
  viva_token good[2] = {4, 5}, bad[3] = {4, 0, 5}, next;
  small_model_put(f->k.io, "/nan", &(small_model){.poked = "model.embed_tokens.weight", .poke = NAN, .untied = 1});
  viva_model *model = kit_load(&f->k, "/nan", NULL);
  viva_session *s = kit_session(model, 0, 0, VIVA_F16), *t = kit_session(model, 0, 0, VIVA_F16);
  kit_ok(viva_session_prefill(s, good, 2, NULL, &f->error), &f->error);
  kit_ok(viva_session_prefill(t, good, 2, NULL, &f->error), &f->error);
  kit_error(viva_session_prefill(s, bad, 3, NULL, &f->error), VIVA_E_NUMERIC, &f->error,
            "follows the token at position 4 is not a number");
  kit_error(viva_session_decode_argmax(s, 0, &next, &f->error), VIVA_E_NUMERIC, &f->error, "position 2");
  kit_error(viva_sessions_decode((viva_session *[]){s, t}, (viva_token[]){3, 0}, 2, &f->error), VIVA_E_NUMERIC,
            &f->error, "sessions[1]");
  assert_int_equal(viva_session_position(s), 2);
  assert_int_equal(viva_session_position(t), 2);
  kit_ok(viva_sessions_decode((viva_session *[]){s, t}, (viva_token[]){3, 3}, 2, &f->error), &f->error);
  viva_session_free(s);
  viva_session_free(t);
  viva_model_release(model);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
  const struct CMUnitTest tests[] = {T(positions),
                                     T(handles_keep_what_they_need),
                                     T(truncating),
                                     T(copying),
                                     T(copies_that_are_refused),
                                     T(session_options),
                                     T(refusals_change_nothing),
                                     T(callbacks_and_cancel),
                                     T(steps_allocate_nothing),
                                     T(batch_errors),
                                     T(not_a_number)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
