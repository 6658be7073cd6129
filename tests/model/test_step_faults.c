/* Whatever fails in a step, at whatever place, leaves every session as it was: those of the step, those that share pages with
 * them, and those beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fail_alloc.h"
#include "lib/far_device.h"
#include "lib/model_kit.h"

enum { VOCAB = 299, SESSIONS = 4, PARTS = 3, BEGINNING = 70, AFTER = 5, BYSTANDER = 3 };

/* 0 and 1 share two pages, the second half full; 2 reserves; 3 is not in the step. */
typedef struct scene {
  viva_model *model;
  viva_session *s[SESSIONS];
  viva_token tokens[128];
  viva_top top[4];
} scene;

/* What a session is: its position, its logits, and those after one token more, which its whole cache makes. */
typedef struct face {
  uint64_t position, logits, next;
} face;

static uint64_t hash_of(viva_session *s) {
  const float *logits;
  size_t vocab;
  uint64_t hash = 14695981039346656037u;
  if (viva_session_logits(s, &logits, &vocab, NULL)) return 0; /* it has none */
  for (size_t i = 0; i < vocab * sizeof *logits; i++)
    hash = (hash ^ ((const unsigned char *)logits)[i]) * 1099511628211u;
  return hash;
}

static viva_session *make_session(viva_model *model, int reserve) {
  viva_error error = {0};
  viva_session *s;
  viva_session_options o = viva_session_options_default();
  o.capacity = 256, o.prefill_chunk = 30, o.reserve = reserve;
  kit_ok(viva_session_create(model, &o, &s, &error), &error);
  return s;
}

static void scene_begin(scene *t, viva_model *model) {
  viva_error error = {0};
  *t = (scene){.model = model};
  kit_tokens(t->tokens, 128, VOCAB, 5);
  for (size_t i = 0; i < SESSIONS; i++) t->s[i] = make_session(model, i == 2);
  kit_ok(viva_session_prefill(t->s[0], t->tokens, BEGINNING, NULL, &error), &error);
  kit_ok(viva_session_copy(t->s[1], t->s[0], &error), &error);
  kit_ok(viva_session_prefill(t->s[2], t->tokens + 9, 3, NULL, &error), &error);
  kit_ok(viva_session_prefill(t->s[BYSTANDER], t->tokens + 20, 100, NULL, &error), &error);
}

static void scene_end(scene *t) {
  for (size_t i = 0; i < SESSIONS; i++) viva_session_free(t->s[i]);
  viva_model_trim(t->model);
}

/* Several passes; new pages, a copied page, all kinds of logits. */
static viva_status step(scene *t, const viva_step_options *o, viva_error *error) {
  viva_step_part parts[PARTS];
  for (size_t i = 0; i < PARTS; i++) {
    parts[i] = viva_step_part_default();
    parts[i].session = t->s[i], parts[i].tokens = t->tokens + 40 + i;
  }
  parts[0].count = 65;
  parts[1].count = 2, parts[1].logits = VIVA_STEP_ALL, parts[1].top_k = 2, parts[1].top = t->top;
  parts[2].count = 7, parts[2].logits = VIVA_STEP_NONE;
  return viva_step(parts, PARTS, o, error);
}

/* The faces; the sessions are of no further use. */
static void look(scene *t, face *faces) {
  viva_error error = {0};
  for (size_t i = 0; i < SESSIONS; i++) {
    faces[i].position = viva_session_position(t->s[i]);
    faces[i].logits = hash_of(t->s[i]);
  }
  for (size_t i = 0; i < SESSIONS; i++) {
    kit_ok(viva_session_decode(t->s[i], AFTER, &error), &error);
    faces[i].next = hash_of(t->s[i]);
  }
}

/* What they are without the step, and with it. */
typedef struct expectation {
  face before[SESSIONS], after[SESSIONS];
} expectation;

static expectation expect(viva_model *model) {
  expectation e;
  scene t;
  viva_error error = {0};
  scene_begin(&t, model);
  look(&t, e.before);
  scene_end(&t);
  scene_begin(&t, model);
  kit_ok(step(&t, NULL, &error), &error);
  look(&t, e.after);
  scene_end(&t);
  for (size_t i = 0; i < PARTS; i++) assert_true(e.before[i].next != e.after[i].next);
  assert_memory_equal(&e.before[BYSTANDER], &e.after[BYSTANDER], sizeof(face));
  return e;
}

static void check(scene *t, const expectation *e, viva_status status) {
  face found[SESSIONS];
  look(t, found);
  assert_memory_equal(found, status ? e->before : e->after, sizeof found);
}

/* ---- memory: a failure at every site */

static void memory(void **state) {
  fail_alloc f;
  viva_error error = {0};
  viva_engine *engine;
  viva_model *model;
  scene t;
  memory_io *io = memory_io_create();
  (void)state;
  small_model_copy(io, "/tiny.gguf", "tests/golden/tiny.gguf");
  fail_alloc_init(&f, 0, 0);
  viva_engine_options o = viva_engine_options_default();
  o.threads = 1;
  o.allocator = &f.table;
  kit_ok(engine_open(&o, memory_io_table(io), &engine, &error), &error);
  kit_ok(viva_model_load(engine, "/tiny.gguf", NULL, &model, &error), &error);
  const expectation e = expect(model);
  size_t sites = 0;
  for (int persistent = 0; persistent < 2; persistent++) {
    for (uint64_t k = 1;; k++) {
      scene_begin(&t, model);
      viva_model_trim(model); /* so that the step needs all that a first one needs */
      f.failed = 0;
      f.persistent = persistent;
      f.fail_at = f.calls + k;
      const viva_status status = step(&t, NULL, &error);
      const int failed = f.failed;
      f.fail_at = 0;
      if (failed) kit_error(status, VIVA_E_MEMORY, &error, "no memory");
      check(&t, &e, status);
      scene_end(&t);
      if (!failed) {
        kit_ok(status, &error);
        break;
      }
      sites++;
    }
  }
  assert_true(sites >= 2 * 8); /* three pages, each with its entry; rows of logits; top */
  viva_model_release(model);
  viva_engine_release(engine);
  assert_int_equal(f.live, 0);
  memory_io_free(io);
}

/* ---- a page that cannot be had */

static void pages(void **state) {
  kit k;
  viva_error error = {0};
  scene t;
  size_t refused = 0;
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *plain = kit_load(&k, "/tiny.gguf", NULL);
  const expectation e = expect(plain);
  viva_cache_info info = {.size = sizeof info};
  scene_begin(&t, plain);
  kit_ok(viva_model_cache_info(plain, &info, &error), &error);
  const uint64_t at_first = info.pages_in_use;
  scene_end(&t);
  for (uint64_t allowed = at_first;; allowed++) {
    viva_model_options o = viva_model_options_default();
    o.cache_bytes = allowed * info.page_bytes;
    viva_model *model = kit_load(&k, "/tiny.gguf", &o);
    scene_begin(&t, model);
    const viva_status status = step(&t, NULL, &error);
    if (status) {
      kit_error(status, VIVA_E_LIMIT, &error, "no page for the KV cache is left");
      assert_memory_equal(error.item, "parts[", 6);
      viva_cache_info now = {.size = sizeof now};
      kit_ok(viva_model_cache_info(model, &now, &error), &error);
      assert_int_equal(now.pages_in_use, at_first);
      /* One page more than the budget has is needed to look: at the shared page. So the copy goes first. */
      face found = {viva_session_position(t.s[0]), hash_of(t.s[0]), e.before[0].next};
      assert_memory_equal(&found, &e.before[0], sizeof found);
      viva_session_free(t.s[1]), t.s[1] = make_session(model, 0);
      kit_ok(viva_session_decode(t.s[0], AFTER, &error), &error);
      assert_int_equal(hash_of(t.s[0]), e.before[0].next);
      kit_ok(viva_session_decode(t.s[BYSTANDER], AFTER, &error), &error);
      assert_int_equal(hash_of(t.s[BYSTANDER]), e.before[BYSTANDER].next);
      refused++;
    } else {
      check(&t, &e, status);
    }
    scene_end(&t);
    viva_model_release(model);
    if (!status) break;
  }
  assert_int_equal(refused, 2); /* session 0 needs a third page, and one of the two a copy of the shared one */
  viva_model_release(plain);
  kit_end(&k);
}

/* ---- cancelled */

static int stop_at(void *user, uint64_t done, uint64_t total) {
  (void)done, (void)total;
  return --*(int *)user == 0;
}

static void cancelled(void **state) {
  kit k;
  viva_error error = {0};
  scene t;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  const expectation e = expect(model);
  viva_status status = VIVA_E_CANCELLED;
  int passes = 0;
  while (status) {
    int left = ++passes;
    viva_step_options o = viva_step_options_default();
    o.progress = stop_at, o.progress_user = &left;
    scene_begin(&t, model);
    status = step(&t, &o, &error);
    if (status) kit_error(status, VIVA_E_CANCELLED, &error, "the step was cancelled after");
    check(&t, &e, status);
    scene_end(&t);
  }
  assert_int_equal(passes, 4); /* 74 tokens, 30 at once */
  viva_model_release(model);
  kit_end(&k);
}

/* ---- a device that is lost in the middle: nothing can be computed any more, but what the host has stays */

static void lost(void **state) {
  kit k;
  far_device far;
  viva_error error = {0};
  face before[SESSIONS];
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_status status = VIVA_E_DEVICE;
  for (long calls = 0; status; calls += 3) {
    scene t;
    far_begin(&far, k.engine, FAR_PREPARE);
    viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
    scene_begin(&t, model);
    for (size_t i = 0; i < SESSIONS; i++) before[i] = (face){viva_session_position(t.s[i]), hash_of(t.s[i]), 0};
    far.calls_left = calls;
    status = step(&t, NULL, &error);
    if (status) {
      kit_error(status, VIVA_E_DEVICE, &error, "the device fell off");
      for (size_t i = 0; i < SESSIONS; i++) {
        const face now = {viva_session_position(t.s[i]), hash_of(t.s[i]), 0};
        assert_memory_equal(&now, &before[i], sizeof now);
        assert_int_equal(viva_session_decode(t.s[i], AFTER, NULL), VIVA_E_DEVICE);
      }
    }
    scene_end(&t);
    viva_model_release(model);
    far_end(&far);
  }
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(memory), cmocka_unit_test(pages), cmocka_unit_test(cancelled),
                                     cmocka_unit_test(lost)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
