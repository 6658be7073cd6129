/* Steps of any tokens of any sessions, and the pages beneath them. */
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
#include "lib/schedule.h"
#include "model/session.h"

enum { VOCAB = 299 }; /* of /tiny.gguf */

static uint32_t random_state;

static uint8_t random_byte(void) {
  random_state = random_state * 1664525u + 1013904223u;
  return (uint8_t)(random_state >> 24);
}

/* Random schedules on the CPU and on the far device, with and without a limit that empties the pool. */
static void schedules(void **state) {
  const int slow = getenv("VIVA_SLOW") != NULL; /* 10,000 on each device, with a limit and without */
  const size_t runs = slow ? 10000 : 150, far_runs = slow ? runs : runs / 10;
  size_t operations = 0, refused = 0;
  kit k;
  far_device far;
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  for (int device = 0; device < 2; device++) {
    if (device) far_begin(&far, k.engine, FAR_PREPARE), far_add_decode(&far);
    for (int limited = 0; limited < 2; limited++) {
      viva_model_options o = viva_model_options_default();
      viva_memory_plan p = {.size = sizeof p};
      viva_error error = {0};
      viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
      kit_ok(viva_model_get_plan(model, &p, &error), &error);
      o.cache_bytes = limited ? 14 * p.page_bytes : 0; /* 4 are those of the session that is alone */
      viva_model_release(model);
      model = kit_load(&k, "/tiny.gguf", &o);
      for (size_t i = 0; i < (device ? far_runs : runs); i++) {
        uint8_t bytes[120];
        size_t here;
        random_state = (uint32_t)(i * 4 + (size_t)device * 2 + (size_t)limited);
        for (size_t j = 0; j < sizeof bytes; j++) bytes[j] = random_byte();
        operations += schedule_run(model, VOCAB, bytes, sizeof bytes, &here);
        if (!limited) assert_int_equal(here, 0);
        refused += here;
      }
      viva_model_release(model);
    }
    if (device) far_end(&far);
  }
  assert_true(operations > 10 * runs);
  assert_true(refused > runs / 10); /* the pool was really empty at times */
  kit_end(&k);
}

static viva_cache_info cache_of(const viva_model *model) {
  viva_cache_info info = {.size = sizeof info};
  viva_error error = {0};
  kit_ok(viva_model_cache_info(model, &info, &error), &error);
  return info;
}

static viva_session *session_without_pages(viva_model *model, uint64_t capacity) {
  viva_session_options o = viva_session_options_default();
  viva_session *s;
  viva_error error = {0};
  o.capacity = capacity;
  o.reserve = 0;
  kit_ok(viva_session_create(model, &o, &s, &error), &error);
  return s;
}

/* A page is taken when it is needed, shared by copies, and copied by the one that writes first. */
static void pages_are_counted(void **state) {
  kit k;
  viva_error error = {0};
  viva_token tokens[150];
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  kit_tokens(tokens, 150, VOCAB, 1);
  viva_session *a = session_without_pages(model, 256), *b = session_without_pages(model, 256);
  assert_int_equal(cache_of(model).pages, 0);
  kit_ok(viva_session_prefill(a, tokens, 64, NULL, &error), &error);
  assert_int_equal(cache_of(model).pages_in_use, 1);
  kit_ok(viva_session_decode(a, 5, &error), &error);
  assert_int_equal(cache_of(model).pages_in_use, 2);
  kit_ok(viva_session_copy(b, a, &error), &error);
  assert_int_equal(cache_of(model).pages_in_use, 2);
  assert_int_equal(cache_of(model).pages_shared, 2);
  assert_ptr_equal(a->logits, b->logits);
  kit_ok(viva_session_decode(b, 6, &error), &error); /* the second page is written: only that is copied */
  assert_int_equal(cache_of(model).pages_in_use, 3);
  assert_int_equal(cache_of(model).pages_shared, 1);
  kit_ok(viva_session_decode(a, 7, &error), &error); /* alone on its page again */
  assert_int_equal(cache_of(model).pages_in_use, 3);
  kit_ok(viva_session_truncate(b, 64, &error), &error);
  assert_int_equal(cache_of(model).pages_in_use, 2);
  viva_session_free(b);
  viva_session_free(a);
  assert_int_equal(cache_of(model).pages_in_use, 0);
  assert_int_equal(cache_of(model).pages, 3);
  viva_model_trim(model);
  assert_int_equal(cache_of(model).pages, 0);
  viva_model_release(model);
  kit_end(&k);
}

/* The largest logits, from 1 on: each is the row's value at its id. */
static void largest_logits(void **state) {
  enum { COUNT = 3 };
  kit k;
  viva_error error = {0};
  viva_token tokens[COUNT];
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  viva_session *s = session_without_pages(model, 64);
  for (uint32_t top_k = 1; top_k <= 3; top_k++)
    for (int all = 0; all < 2; all++) {
      float logits[COUNT * VOCAB];
      viva_top top[COUNT * 3];
      viva_step_part part = viva_step_part_default();
      const size_t rows = all ? COUNT : 1;
      memset(top, 0xff, sizeof top);
      kit_tokens(tokens, COUNT, VOCAB, 7 + top_k + 10 * (unsigned)all);
      part.session = s, part.tokens = tokens, part.count = COUNT, part.top = top, part.top_k = top_k;
      part.logits = all ? VIVA_STEP_ALL : VIVA_STEP_LAST;
      if (all) part.all_logits = logits;
      kit_ok(viva_step(&part, 1, NULL, &error), &error);
      const float *last;
      kit_ok(viva_session_logits(s, &last, NULL, &error), &error);
      for (size_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < top_k; i++) {
          const float *row = all ? logits + r * VOCAB : last;
          const viva_top *t = &top[r * top_k + i];
          assert_true(t->logit == row[t->id]);
          for (size_t v = 0; i == 0 && v < VOCAB; v++) assert_true(row[v] <= t->logit);
          if (i) assert_true(t->logit <= t[-1].logit && t->id != t[-1].id);
        }
      kit_ok(viva_session_truncate(s, 0, &error), &error);
    }
  viva_session_free(s);
  viva_model_release(model);
  kit_end(&k);
}

/* A session that reserves never lacks a page, whoever shares it and whatever others take. */
static void reserved_pages_are_there(void **state) {
  kit k;
  viva_error error = {0};
  viva_token tokens[190];
  viva_model_options o = viva_model_options_default();
  viva_memory_plan p = {.size = sizeof p};
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  kit_ok(viva_model_get_plan(model, &p, &error), &error);
  viva_model_release(model);
  o.cache_bytes = 7 * p.page_bytes + 5; /* 7 pages: two sessions that reserve 3 each, and one */
  model = kit_load(&k, "/tiny.gguf", &o);
  kit_tokens(tokens, 190, VOCAB, 1);
  viva_session *a = kit_session(model, 192, 0, VIVA_F16), *b = kit_session(model, 192, 0, VIVA_F16);
  viva_session *c = session_without_pages(model, 192);
  kit_ok(viva_session_prefill(a, tokens, 100, NULL, &error), &error);
  kit_ok(viva_session_copy(b, a, &error), &error);
  assert_int_equal(cache_of(model).pages_promised, 2);
  kit_ok(viva_session_prefill(c, tokens, 64, NULL, &error), &error);
  kit_error(viva_session_decode(c, 1, &error), VIVA_E_LIMIT, &error, "cache_bytes allows 7");
  assert_int_equal(viva_session_position(c), 64);
  kit_error(viva_session_copy(c, a, &error), VIVA_E_LIMIT, &error, "no page for the KV cache is left");
  assert_int_equal(viva_session_position(c), 64);
  kit_ok(viva_session_decode(b, 3, &error), &error);
  kit_ok(viva_session_truncate(a, 2, &error), &error);
  kit_ok(viva_session_prefill(a, tokens, 190, NULL, &error), &error);
  kit_ok(viva_session_truncate(b, 0, &error), &error);
  kit_ok(viva_session_prefill(b, tokens, 190, NULL, &error), &error);
  assert_int_equal(cache_of(model).pages_promised, 0);
  viva_session_free(a);
  viva_session_free(b);
  viva_session_free(c);
  viva_model_release(model);
  kit_end(&k);
}

/* Errors name the part and its token, and nothing has changed. */
static void refusals(void **state) {
  kit k;
  viva_error error = {0};
  viva_token tokens[4] = {1, 2, 3, 4}, wrong[4] = {1, 2, 999, 4};
  viva_top top;
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL), *other = kit_load(&k, "/tiny.gguf", NULL);
  viva_session *a = kit_session(model, 8, 0, VIVA_F16), *b = kit_session(model, 3, 0, VIVA_F16);
  viva_session *f32 = kit_session(model, 8, 0, VIVA_F32), *foreign = kit_session(other, 8, 0, VIVA_F16);
  const viva_step_part good = {
      .size = sizeof good, .session = a, .tokens = tokens, .count = 2, .logits = VIVA_STEP_LAST};
  viva_step_part parts[2] = {good, good};
  kit_ok(viva_step(NULL, 0, NULL, &error), &error);
  kit_error(viva_step(NULL, 1, NULL, &error), VIVA_E_ARGUMENT, &error, "parts is NULL");
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "parts[1]: the session is given twice");
  parts[1].session = NULL;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "parts[1]: session is NULL");
  parts[1].session = f32;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "parts[1]: the session's KV type");
  parts[1].session = foreign;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error,
            "parts[1]: the session belongs to another model");
  parts[1].session = b, parts[1].count = 4;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_LIMIT, &error, "parts[1]: the session is full");
  parts[1].session = a, parts[1].tokens = wrong, parts[0].session = b;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "parts[1]: tokens[2] is 999");
  parts[1].count = 0;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "parts[1]: no tokens");
  parts[1] = good, parts[1].top_k = 1;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "parts[1]: top is NULL");
  parts[1].top = &top, parts[1].top_k = VOCAB + 1;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "top_k is larger");
  parts[1].top_k = 1, parts[1].logits = VIVA_STEP_NONE;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "top_k is given, but");
  parts[1] = good, parts[1].size = 3;
  kit_error(viva_step(parts, 2, NULL, &error), VIVA_E_ARGUMENT, &error, "parts[1]");
  kit_error(viva_sessions_decode((viva_session *[]){a, b}, (viva_token[]){1, 500}, 2, &error), VIVA_E_ARGUMENT, &error,
            "sessions[1]: tokens[1] is 500");
  assert_int_equal(viva_session_position(a), 0);
  assert_int_equal(viva_session_position(b), 0);
  viva_session_free(a);
  viva_session_free(b);
  viva_session_free(f32);
  viva_session_free(foreign);
  viva_model_release(model);
  viva_model_release(other);
  kit_end(&k);
}

static int stop_at_30(void *user, uint64_t done, uint64_t total) {
  (void)user, (void)total;
  return done >= 30;
}

/* A step that is cancelled between two passes. */
static void cancelled(void **state) {
  kit k;
  viva_error error = {0};
  viva_token tokens[60];
  viva_step_options o = viva_step_options_default();
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  kit_tokens(tokens, 60, VOCAB, 1);
  viva_session *a = kit_session(model, 64, 10, VIVA_F16), *b = kit_session(model, 64, 10, VIVA_F16);
  kit_ok(viva_session_decode(b, 1, &error), &error);
  viva_step_part parts[2] = {viva_step_part_default(), viva_step_part_default()};
  parts[0].session = a, parts[0].tokens = tokens, parts[0].count = 60;
  parts[1].session = b, parts[1].tokens = tokens, parts[1].count = 1;
  o.progress = stop_at_30;
  kit_error(viva_step(parts, 2, &o, &error), VIVA_E_CANCELLED, &error, "after 30 of 61 tokens");
  assert_int_equal(viva_session_position(a), 0);
  assert_int_equal(viva_session_position(b), 1);
  kit_ok(viva_step(parts, 2, NULL, &error), &error);
  assert_int_equal(viva_session_position(a), 60);
  viva_session_free(a);
  viva_session_free(b);
  viva_model_release(model);
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(schedules),      cmocka_unit_test(pages_are_counted), cmocka_unit_test(reserved_pages_are_there),
      cmocka_unit_test(largest_logits), cmocka_unit_test(refusals),          cmocka_unit_test(cancelled)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
