/* The pool's slabs: how many pages one has, when pages and slabs are taken and given back, what a limit and a want of memory
 * do to them. What pages hold for sessions is test_step.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fail_alloc.h"
#include "lib/far_device.h"
#include "lib/model_kit.h"
#include "lib/schedule.h"
#include "model/kv_pool.h"

enum { MOST = 16, KIB = 1024 };

/* Pages of 512 KiB: a slab is four. */
enum { LAYERS = 8, GRAIN = 4, PAGE_BYTES = 512 * KIB };
static const head_shape heads_512 = {.q_heads = 4, .kv_heads = 4, .head_dim = 64};

/* ---- a slab's pages */

static size_t grain_of(viva_engine *e, kv_type type, size_t kv_heads, size_t head_dim, size_t layers) {
  kv_pool p;
  kv_pool_begin(&p, e,
                kv_layout_of(type, (head_shape){.q_heads = kv_heads, .kv_heads = kv_heads, .head_dim = head_dim}),
                layers, 0);
  const size_t grain = p.grain;
  kv_pool_end(&p);
  return grain;
}

/* In 2 MiB of a large page; more than 7/8 of a slab lie in some. */
static void grains(void **state) {
  kit k;
  far_device far;
  fail_alloc f;
  viva_engine *own;
  viva_error error = {0};
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  assert_int_equal(grain_of(k.engine, KV_F16, 3, 64, 30), 3);    /* SmolLM2: 1.41 MiB, so 4 of 4.22 MiB */
  assert_int_equal(grain_of(k.engine, KV_F32, 3, 64, 30), 3);    /* 2.81 MiB: 8 of 8.44 */
  assert_int_equal(grain_of(k.engine, KV_FP8, 3, 64, 30), 3);    /* 0.73 MiB: 2 of 2.18 */
  assert_int_equal(grain_of(k.engine, KV_F16, 8, 128, 32), 1);   /* Llama 3.1 8B: 8 MiB */
  assert_int_equal(grain_of(k.engine, KV_FP8, 8, 128, 32), 1);   /* 4.06 MiB */
  assert_int_equal(grain_of(k.engine, KV_F16, 4, 64, 8), GRAIN); /* 0.5 MiB */
  assert_int_equal(grain_of(k.engine, KV_F16, 4, 64, 4), 8);     /* 0.25 MiB */
  assert_int_equal(grain_of(k.engine, KV_F16, 2, 8, 2), 1);      /* 8 KiB: too many would be needed */
  far_begin(&far, k.engine, 0);
  assert_int_equal(grain_of(k.engine, KV_F16, 3, 64, 30), 1); /* a device has its own way to give memory */
  far_end(&far);
  kit_end(&k);
  fail_alloc_init(&f, 0, 0);
  viva_engine_options o = viva_engine_options_default();
  o.threads = 1;
  o.allocator = &f.table;
  kit_ok(engine_open(&o, NULL, &own, &error), &error);
  assert_int_equal(grain_of(own, KV_F16, 3, 64, 30), 1); /* of a caller's allocator nothing is known */
  viva_engine_release(own);
}

/* ---- counting */

typedef struct scene {
  kit k;
  kv_pool pool;
  size_t before; /* the engine's bytes without the pool's pages */
  kv_page *pages[MOST][MOST];
  kv_table tables[MOST];
} scene;

static size_t bytes_of(const scene *s) { return atomic_load(&s->k.engine->rt->mem.current) - s->before; }

static void begin(scene *s, size_t most_pages) {
  kit_begin(&s->k, 1, VIVA_KERNELS_AUTO);
  kv_pool_begin(&s->pool, s->k.engine, kv_layout_of(KV_F16, heads_512), LAYERS, (uint64_t)most_pages * PAGE_BYTES);
  assert_int_equal(s->pool.page_bytes, PAGE_BYTES);
  assert_int_equal(s->pool.grain, GRAIN);
  s->before = atomic_load(&s->k.engine->rt->mem.current);
  for (size_t i = 0; i < MOST; i++) s->tables[i] = (kv_table){.pool = &s->pool, .pages = s->pages[i], .most = MOST};
}

static void end(scene *s) {
  for (size_t i = 0; i < MOST; i++) kv_release(&s->tables[i]);
  assert_int_equal(s->pool.free_count, s->pool.total);
  assert_int_equal(s->pool.promised, 0);
  kv_pool_trim(&s->pool);
  assert_int_equal(s->pool.total, 0);
  assert_int_equal(bytes_of(s), 0);
  kv_pool_end(&s->pool);
  kit_end(&s->k);
}

/* Table i holds so many pages; as many exist and are free. */
static void hold(scene *s, size_t i, size_t pages, size_t total, size_t free) {
  viva_error error = {0};
  kit_ok(kv_hold(&s->tables[i], pages * KV_PAGE, &error), &error);
  assert_int_equal(s->tables[i].count, pages);
  assert_int_equal(s->pool.total, total);
  assert_int_equal(s->pool.free_count, free);
  assert_true(bytes_of(s) >= total * PAGE_BYTES);
  assert_true(bytes_of(s) < total * PAGE_BYTES + 4 * KIB);
}

/* All pages that are held are different, and can be written. */
static void check_pages(const scene *s) {
  for (size_t i = 0; i < MOST; i++)
    for (size_t j = 0; j < s->tables[i].count; j++)
      memset(s->pages[i][j]->dev, (int)(i * MOST + j), s->pool.page_bytes);
  for (size_t i = 0; i < MOST; i++)
    for (size_t j = 0; j < s->tables[i].count; j++) {
      const uint8_t *bytes = s->pages[i][j]->dev;
      assert_int_equal((uintptr_t)bytes % MEM_ALIGN, 0);
      assert_int_equal(bytes[0], (uint8_t)(i * MOST + j));
      assert_int_equal(bytes[s->pool.page_bytes - 1], (uint8_t)(i * MOST + j));
    }
}

/* Tables that do not reserve share slabs; one goes back when nobody holds any of it. */
static void on_demand(void **state) {
  scene s;
  (void)state;
  begin(&s, 0);
  hold(&s, 0, 1, GRAIN, GRAIN - 1);
  hold(&s, 1, 1, GRAIN, GRAIN - 2);
  hold(&s, 2, 2, GRAIN, 0);
  hold(&s, 3, 2 * GRAIN + 1, 4 * GRAIN, GRAIN - 1);
  check_pages(&s);
  kv_release(&s.tables[1]);
  kv_release(&s.tables[3]);
  assert_int_equal(s.pool.free_count, 3 * GRAIN + 1);
  hold(&s, 4, 1, 4 * GRAIN, 3 * GRAIN); /* of the slab that is in use */
  assert_ptr_equal(s.pages[4][0]->slab, s.pages[0][0]->slab);
  kv_release(&s.tables[4]);
  kv_pool_trim(&s.pool);
  assert_int_equal(s.pool.total, GRAIN);
  assert_int_equal(s.pool.free_count, 1);
  assert_int_equal(kv_pool_free_bytes(&s.pool), PAGE_BYTES);
  check_pages(&s);
  end(&s);
}

/* A table that reserves takes what it needs and no more. */
static void reserving(void **state) {
  scene s;
  (void)state;
  begin(&s, 0);
  for (size_t i = 0; i < 3; i++) s.tables[i].reserves = 1;
  hold(&s, 0, 1, 1, 0);
  hold(&s, 1, GRAIN + 1, GRAIN + 2, 0);
  assert_int_equal(s.pages[1][0]->slab->count, GRAIN + 1);
  hold(&s, 2, 3 * GRAIN - 1, 4 * GRAIN + 1, 0);
  assert_int_equal(s.pages[2][0]->slab->count, GRAIN);
  assert_int_equal(s.pages[2][GRAIN]->slab->count, 2 * GRAIN - 1);
  check_pages(&s);
  kv_release(&s.tables[2]);
  hold(&s, 3, 2, 4 * GRAIN + 1, 3 * GRAIN - 3);
  end(&s);
}

/* Pages that are promised stay, and so does their slab. */
static void promises(void **state) {
  scene s;
  viva_error error = {0};
  const kv_write *failed;
  (void)state;
  begin(&s, 0);
  s.tables[1].reserves = 1;
  hold(&s, 0, 2, GRAIN, GRAIN - 2);
  kit_ok(kv_share(&s.tables[1], &s.tables[0], 2 * KV_PAGE, &error), &error);
  assert_int_equal(s.pool.promised, 2);
  assert_int_equal(s.pool.total, GRAIN);
  assert_int_equal(kv_pool_free_bytes(&s.pool), 0);
  hold(&s, 2, 1, 2 * GRAIN, GRAIN + 1);
  kv_release(&s.tables[2]);
  kv_pool_trim(&s.pool); /* the second slab has nothing that anybody needs */
  assert_int_equal(s.pool.total, GRAIN);
  memset(s.pages[0][1]->dev, 7, s.pool.page_bytes);
  kit_ok(kv_writable(&(kv_write){.table = &s.tables[1], .begin = KV_PAGE + 1, .end = KV_PAGE + 2}, &failed, &error),
         &error);
  assert_ptr_not_equal(s.pages[1][1], s.pages[0][1]);
  assert_memory_equal(s.pages[1][1]->dev, s.pages[0][1]->dev, s.pool.page_bytes);
  assert_int_equal(s.pool.promised, 1);
  assert_int_equal(s.pool.total, GRAIN);
  end(&s);
}

/* The limit is one of pages: it cuts the last slab. */
static void limited(void **state) {
  scene s;
  viva_error error = {0};
  (void)state;
  begin(&s, GRAIN + 1);
  hold(&s, 0, GRAIN, GRAIN, 0);
  hold(&s, 1, 1, GRAIN + 1, 0);
  kit_error(kv_hold(&s.tables[2], 1, &error), VIVA_E_LIMIT, &error, "no page for the KV cache is left: 5 pages");
  assert_int_equal(s.tables[2].count, 0);
  kv_release(&s.tables[0]);
  hold(&s, 2, 3, GRAIN + 1, 1);
  kit_error(kv_hold(&s.tables[2], 5 * KV_PAGE, &error), VIVA_E_LIMIT, &error, "5 pages of 64 tokens exist, 1 of them");
  hold(&s, 2, 3, GRAIN + 1, 1);
  end(&s);
}

/* Where a slab is too much, a page may still be there. */
static void little_memory(void **state) {
  scene s;
  viva_error error = {0};
  (void)state;
  begin(&s, 0);
  mem *m = &s.k.engine->rt->mem;
  atomic_store(&m->limit, s.before + 2 * PAGE_BYTES + 4 * KIB);
  kit_ok(kv_hold(&s.tables[0], 2 * KV_PAGE, &error), &error);
  assert_int_equal(error.code, 0); /* a piece that was refused before smaller ones came is nobody's error */
  hold(&s, 0, 2, 2, 0);
  kit_error(kv_hold(&s.tables[1], 1, &error), VIVA_E_MEMORY, &error, "no memory for a page of the KV cache (524288");
  assert_int_equal(s.tables[1].count, 0);
  atomic_store(&m->limit, 0);
  hold(&s, 1, 1, 2 + GRAIN, GRAIN - 1);
  end(&s);
}

/* ---- sessions on slabs: random schedules, against each session alone */

static void schedules(void **state) {
  enum { VOCAB = 299, RUNS = 60, BYTES = 120, PAGES = 14 };
  kit k;
  size_t operations = 0, refused = 0;
  uint32_t random = 5;
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/m",
                  &(small_model){.hidden = 16,
                                 .ffn = 16,
                                 .layers = LAYERS,
                                 .heads = heads_512.q_heads,
                                 .kv_heads = heads_512.kv_heads,
                                 .head_dim = heads_512.head_dim,
                                 .vocab = VOCAB,
                                 .context = SCHEDULE_CAPACITY});
  for (int few = 0; few < 2; few++) {
    viva_model_options o = viva_model_options_default();
    o.cache_bytes = few ? PAGES * (uint64_t)PAGE_BYTES : 0;
    viva_model *model = kit_load(&k, "/m", &o);
    for (size_t i = 0; i < RUNS; i++) {
      uint8_t bytes[BYTES];
      size_t here;
      for (size_t j = 0; j < BYTES; j++) bytes[j] = (uint8_t)((random = random * 1664525u + 1013904223u) >> 24);
      operations += schedule_run(model, VOCAB, bytes, BYTES, &here);
      if (!few) assert_int_equal(here, 0);
      refused += here;
    }
    viva_model_release(model);
  }
  assert_true(operations > 10 * RUNS);
  assert_true(refused > 0);
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(grains),    cmocka_unit_test(on_demand), cmocka_unit_test(reserving),
      cmocka_unit_test(promises),  cmocka_unit_test(limited),   cmocka_unit_test(little_memory),
      cmocka_unit_test(schedules),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
