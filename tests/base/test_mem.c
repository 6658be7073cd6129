/* Checked arithmetic, the counted allocator, arenas, and the runtime that holds them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/asan.h"
#include "base/ck.h"
#include "base/mem.h"
#include "base/runtime.h"
#include "lib/fail_alloc.h"

static const size_t huge = (size_t)2 << 20;

static void ck_edges(void **state) {
  (void)state;
  uint64_t v = 7;
  assert_int_equal(ck_add(UINT64_MAX - 1, 1, &v), 0);
  assert_true(v == UINT64_MAX);
  assert_int_equal(ck_add(UINT64_MAX, 1, &v), 1);
  assert_int_equal(ck_mul(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &v), 0);
  assert_true(v == UINT64_C(0xFFFFFFFF00000000));
  assert_int_equal(ck_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &v), 1);
  assert_int_equal(ck_mul(0, UINT64_MAX, &v), 0);
  assert_true(v == 0);

  assert_int_equal(ck_align(0, 32, &v), 0);
  assert_true(v == 0);
  assert_int_equal(ck_align(1, 32, &v), 0);
  assert_true(v == 32);
  assert_int_equal(ck_align(32, 32, &v), 0);
  assert_true(v == 32);
  assert_int_equal(ck_align(5, 1, &v), 0);
  assert_true(v == 5);
  assert_int_equal(ck_align(UINT64_MAX - 31, 32, &v), 0);
  assert_true(v == UINT64_MAX - 31);
  v = 7;
  assert_int_equal(ck_align(UINT64_MAX - 30, 32, &v), 1);
  assert_int_equal(ck_align(8, 0, &v), 1);
  assert_int_equal(ck_align(8, 24, &v), 1);
  assert_true(v == 7); /* left alone */

  assert_int_equal(ck_range(0, 0, 0), 1);
  assert_int_equal(ck_range(10, 0, 10), 1);
  assert_int_equal(ck_range(11, 0, 10), 0);
  assert_int_equal(ck_range(3, 7, 10), 1);
  assert_int_equal(ck_range(4, 7, 10), 0);
  assert_int_equal(ck_range(UINT64_MAX, 2, UINT64_MAX), 0);
  assert_int_equal(ck_range(2, UINT64_MAX, UINT64_MAX), 0);

  size_t size = 1;
  assert_int_equal(ck_size(SIZE_MAX, &size), 0);
  assert_true(size == SIZE_MAX);
}

static int aligned(const void *p, size_t alignment) { return (uintptr_t)p % alignment == 0; }

static void blocks_are_aligned_and_counted(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  const size_t sizes[] = {0, 1, 16, 63, 64, 65, 4096, huge - 1, huge, huge + 1, 5 * huge + 12345};
  void *blocks[sizeof sizes / sizeof sizes[0]];
  size_t sum = 0, n = sizeof sizes / sizeof sizes[0];
  for (size_t i = 0; i < n; i++) {
    blocks[i] = mem_alloc(&m, sizes[i]);
    assert_non_null(blocks[i]);
    assert_true(aligned(blocks[i], sizes[i] >= huge ? huge : MEM_ALIGN));
    assert_int_equal(mem_size(blocks[i]), sizes[i]);
    memset(blocks[i], 0x5A, sizes[i]);
    sum += sizes[i];
    assert_int_equal(m.current, sum);
  }
  assert_int_equal(m.peak, sum);
  assert_int_equal(m.allocations, n);
  for (size_t i = 0; i < n; i++) mem_free(&m, blocks[i]);
  mem_free(&m, NULL);
  assert_int_equal(m.current, 0);
  assert_int_equal(m.peak, sum);
}

static void overflowing_sizes_are_refused(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  assert_null(mem_alloc(&m, SIZE_MAX));
  assert_null(mem_alloc(&m, SIZE_MAX - 64));
  assert_null(mem_array(&m, SIZE_MAX / 2, 3));
  assert_null(mem_array(&m, 3, SIZE_MAX / 2));
  char *block = mem_alloc(&m, 8);
  memcpy(block, "1234567", 8);
  assert_null(mem_resize(&m, block, SIZE_MAX - 64));
  assert_string_equal(block, "1234567");
  mem_free(&m, block);
  assert_int_equal(m.current, 0);
}

static void arrays_are_zeroed(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  for (int turn = 0; turn < 3; turn++) { /* blocks that come back dirty */
    unsigned char *a = mem_array(&m, 1000, 3), *z = mem_zalloc(&m, 100);
    for (size_t i = 0; i < 3000; i++) assert_int_equal(a[i], 0);
    for (size_t i = 0; i < 100; i++) assert_int_equal(z[i], 0);
    memset(a, 0xFF, 3000);
    memset(z, 0xFF, 100);
    mem_free(&m, a);
    mem_free(&m, z);
  }
  void *none = mem_array(&m, 0, 8);
  assert_non_null(none);
  mem_free(&m, none);
}

/* An allocator whose pointers are as badly aligned as the contract allows, and different at each call. */
typedef struct crooked {
  size_t shift;
  size_t live;
} crooked;

static void *crooked_alloc(void *user, size_t bytes) {
  crooked *c = user;
  c->shift = (c->shift + 16) % 64;
  char *base = malloc(bytes + 80);
  if (base == NULL) return NULL;
  char *given = base + 16 + c->shift % 48;
  ((char **)(void *)given)[-1] = base;
  c->live++;
  return given;
}

static void crooked_free(void *user, void *memory) {
  crooked *c = user;
  if (memory == NULL) return;
  free(((char **)memory)[-1]);
  c->live--;
}

static void *crooked_realloc(void *user, void *memory, size_t bytes) {
  void *moved = crooked_alloc(user, bytes);
  if (moved == NULL || memory == NULL) return moved;
  size_t old = malloc_usable_size(((char **)memory)[-1]) - (size_t)((char *)memory - ((char **)memory)[-1]);
  memcpy(moved, memory, old < bytes ? old : bytes);
  crooked_free(user, memory);
  return moved;
}

static void fill(unsigned char *block, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) block[i] = (unsigned char)(i * 7 + i / 251);
}

static void check(const unsigned char *block, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    if (block[i] != (unsigned char)(i * 7 + i / 251)) fail_msg("byte %zu was lost", i);
}

static void resize_through(mem *m) {
  const size_t sizes[] = {1, 100, 64, 5000, 10, 0, 70000, huge - 1, huge + 5, 3 * huge, huge, 300, 1};
  unsigned char *block = NULL;
  size_t before = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    unsigned char *moved = mem_resize(m, block, sizes[i]);
    assert_non_null(moved);
    block = moved;
    assert_true(aligned(block, MEM_ALIGN));
    assert_int_equal(mem_size(block), sizes[i]);
    assert_int_equal(m->current, sizes[i]);
    check(block, before < sizes[i] ? before : sizes[i]);
    fill(block, sizes[i]);
    before = sizes[i];
  }
  mem_free(m, block);
  assert_int_equal(m->current, 0);
}

static void resize_keeps_the_bytes(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  resize_through(&m);
  crooked c = {0};
  const viva_allocator table = {crooked_alloc, crooked_realloc, crooked_free, &c};
  for (size_t turn = 0; turn < 4; turn++) {
    c.shift = turn * 16;
    mem_init(&m, &table);
    resize_through(&m);
  }
  assert_int_equal(c.live, 0);
}

static void a_failed_resize_keeps_the_block(void **state) {
  (void)state;
  fail_alloc f;
  for (size_t target = 10; target <= 3 * huge; target *= 3) {
    fail_alloc_init(&f, 2, 1);
    mem m;
    mem_init(&m, &f.table);
    unsigned char *block = mem_alloc(&m, 500);
    fill(block, 500);
    assert_null(mem_resize(&m, block, target));
    check(block, 500);
    assert_int_equal(mem_size(block), 500);
    assert_int_equal(m.current, 500);
    assert_null(mem_alloc(&m, 1));
    assert_null(mem_zalloc(&m, 1));
    mem_free(&m, block);
    assert_int_equal(f.live, 0);
  }
}

static void *count_thread(void *arg) {
  mem *m = arg;
  void *blocks[16] = {0};
  for (size_t i = 0; i < 4000; i++) {
    mem_free(m, blocks[i % 16]);
    blocks[i % 16] = mem_alloc(m, i % 100);
  }
  for (size_t i = 0; i < 16; i++) mem_free(m, blocks[i]);
  return NULL;
}

static void counts_hold_with_threads(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  pthread_t threads[4];
  for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, count_thread, &m), 0);
  for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  assert_int_equal(m.current, 0);
  assert_int_equal(m.allocations, 16000);
  const size_t one = (84 + 99) * 8; /* a thread holds the most with blocks of 84, 85, ... 99 bytes */
  assert_true(m.peak >= one && m.peak <= 4 * one);
}

/* -- small blocks that are kept */

enum { QUICK_ROUNDS = 20000, QUICK_HELD = 12 /* more than are kept */ };

static void *quick_thread(void *arg) {
  mem *m = arg;
  unsigned char *held[QUICK_HELD] = {NULL};
  for (int i = 0; i < QUICK_ROUNDS; i++) {
    unsigned char **at = &held[i * 7 % QUICK_HELD];
    if (*at) assert_int_equal((*at)[0], (*at)[MEM_SMALL - 1]);
    if (*at) mem_quick_free(m, *at);
    *at = mem_quick_alloc(m, MEM_SMALL);
    memset(*at, i & 0xff, MEM_SMALL);
  }
  for (int i = 0; i < QUICK_HELD; i++)
    if (held[i]) mem_quick_free(m, held[i]);
  return NULL;
}

static void small_blocks_are_kept(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  void *first = mem_quick_alloc(&m, 1);
  assert_int_equal(mem_size(first), MEM_SMALL);
  mem_quick_free(&m, first);
  assert_int_equal(atomic_load(&m.current), 0);
  assert_ptr_equal(mem_quick_alloc(&m, MEM_SMALL), first);
  assert_int_equal(atomic_load(&m.current), MEM_SMALL);
  assert_int_equal(atomic_load(&m.allocations), 2);
  mem_quick_free(&m, first);
  atomic_store(&m.limit, MEM_SMALL - 1);
  assert_null(mem_quick_alloc(&m, 1)); /* a kept one counts like any other */
  atomic_store(&m.limit, 0);
  void *large = mem_quick_alloc(&m, MEM_SMALL + 1);
  assert_int_equal(mem_size(large), MEM_SMALL + 1);
  mem_quick_free(&m, large);

  pthread_t other;
  assert_int_equal(pthread_create(&other, NULL, quick_thread, &m), 0);
  quick_thread(&m);
  pthread_join(other, NULL);
  assert_int_equal(atomic_load(&m.current), 0);
  mem_drop_spare(&m); /* what is left is a leak */

  fail_alloc fail; /* a caller's allocator sees each block come and go */
  fail_alloc_init(&fail, 0, 0);
  mem_init(&m, &fail.table);
  mem_quick_free(&m, mem_quick_alloc(&m, 1));
  assert_int_equal(fail.live, 0);
}

static void arena_objects_do_not_meet(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  arena *a = arena_create(&m, 0);
  unsigned char *objects[2000];
  for (size_t i = 0; i < 2000; i++) {
    size_t bytes = i * 37 % 300 + (i == 1000 ? 10 * huge : 0);
    objects[i] = arena_alloc(a, bytes);
    assert_non_null(objects[i]);
    assert_true(aligned(objects[i], 16));
    memset(objects[i], (int)(i & 0xFF), bytes);
  }
  for (size_t i = 0; i < 2000; i++)
    for (size_t k = 0; k < i * 37 % 300; k++) assert_int_equal(objects[i][k], i & 0xFF);
  void *empty = arena_alloc(a, 0), *other = arena_alloc(a, 0);
  assert_non_null(empty);
  assert_ptr_not_equal(empty, other);
  char *copy = arena_text(a, "ab\0c", 4);
  assert_memory_equal(copy, "ab\0c", 5);
  assert_string_equal(arena_text(a, NULL, 0), "");
  assert_null(arena_alloc(a, SIZE_MAX));
  assert_null(arena_alloc(a, SIZE_MAX - 20));
  assert_null(arena_text(a, "", SIZE_MAX));
  arena_free(a);
  arena_free(NULL);
  assert_int_equal(m.current, 0);
}

static void arena_wastes_little(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  arena *a = arena_create(&m, 4096);
  const size_t bytes = 48, count = 1000000;
  for (size_t i = 0; i < count; i++) assert_non_null(arena_alloc(a, bytes));
#ifndef BASE_ASAN                                             /* which adds red zones */
  assert_true(m.current < bytes * count + ((size_t)5 << 20)); /* the objects, one unfinished block, and headers */
#endif
  assert_true(m.allocations < 40); /* blocks double until 4 MiB, then 12 of these */
  arena_free(a);
  /* Large objects among small ones do not cut the small ones' blocks short. */
  a = arena_create(&m, 4096);
  size_t before = m.current, large = 1 << 20;
  for (size_t i = 0; i < 64; i++) {
    assert_non_null(arena_alloc(a, large));
    assert_non_null(arena_alloc(a, 16));
  }
  assert_true(m.current - before < 64 * (large + 64) + 4096);
  arena_free(a);
}

static void arena_without_memory(void **state) {
  (void)state;
  fail_alloc f;
  for (uint64_t k = 1;; k++) {
    fail_alloc_init(&f, k, 1);
    mem m;
    mem_init(&m, &f.table);
    arena *a = arena_create(&m, 1024);
    for (size_t i = 0; a != NULL && i < 100; i++) {
      char *object = arena_alloc(a, 100);
      if (object == NULL) break;
      memset(object, 1, 100);
    }
    arena_free(a);
    assert_int_equal(f.live, 0);
    if (!f.failed) break;
    assert_true(k < 10);
  }
}

#ifdef BASE_ASAN
static void sanitizer_guards_the_edges(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  char *block = mem_alloc(&m, 24);
  assert_true(__asan_address_is_poisoned(block - 1));
  assert_false(__asan_address_is_poisoned(block + 23));
  assert_true(__asan_address_is_poisoned(block + 24));
  block = mem_resize(&m, block, 40);
  assert_true(__asan_address_is_poisoned(block - 1));
  assert_false(__asan_address_is_poisoned(block + 39));
  assert_true(__asan_address_is_poisoned(block + 40));
  mem_free(&m, block);
  arena *a = arena_create(&m, 1024);
  char *object = arena_alloc(a, 32);
  assert_false(__asan_address_is_poisoned(object + 31));
  assert_true(__asan_address_is_poisoned(object + 32));
  assert_false(__asan_address_is_poisoned(arena_alloc(a, 1)));
  assert_true(__asan_address_is_poisoned(object + 32));
  arena_free(a);
}
#endif

typedef struct seen_log {
  int calls;
  viva_log_level level;
  char message[1100];
} seen_log;

static void remember(void *user, viva_log_level level, const char *message) {
  seen_log *seen = user;
  seen->calls++;
  seen->level = level;
  assert_true(strlen(message) < sizeof seen->message);
  memcpy(seen->message, message, strlen(message) + 1);
}

static void runtime_counts_and_logs(void **state) {
  (void)state;
  fail_alloc f;
  fail_alloc_init(&f, 0, 0);
  seen_log seen = {0};
  runtime *rt = runtime_create(&f.table, NULL, remember, &seen, VIVA_LOG_WARN);
  assert_non_null(rt);
  assert_ptr_equal(rt->io, &io_system);
  assert_int_equal(f.live, 1);
  assert_int_equal(rt->mem.current, sizeof *rt); /* its own block counts */
  assert_int_equal(rt->mem.allocations, 1);
  runtime_log(rt, VIVA_LOG_INFO, "too low");
  assert_int_equal(seen.calls, 0);
  runtime_log(rt, VIVA_LOG_WARN, "line %d\n", 2);
  assert_int_equal(seen.calls, 1);
  assert_int_equal(seen.level, VIVA_LOG_WARN);
  assert_string_equal(seen.message, "line 2\\x0a");
  char text[5000];
  memset(text, 'y', sizeof text - 1);
  text[sizeof text - 1] = 0;
  runtime_log(rt, VIVA_LOG_ERROR, "%s", text);
  assert_string_equal(seen.message + strlen(seen.message) - 4, "y...");
  assert_ptr_equal(runtime_retain(rt), rt);
  runtime_release(rt);
  assert_int_equal(f.live, 1);
  runtime_release(rt);
  assert_int_equal(f.live, 0);
  runtime_release(NULL);

  fail_alloc_init(&f, 1, 1);
  assert_null(runtime_create(&f.table, NULL, NULL, NULL, VIVA_LOG_WARN));
  rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_DEBUG);
  runtime_log(rt, VIVA_LOG_ERROR, "nobody listens");
  runtime_release(rt);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ck_edges),
      cmocka_unit_test(blocks_are_aligned_and_counted),
      cmocka_unit_test(overflowing_sizes_are_refused),
      cmocka_unit_test(arrays_are_zeroed),
      cmocka_unit_test(resize_keeps_the_bytes),
      cmocka_unit_test(a_failed_resize_keeps_the_block),
      cmocka_unit_test(counts_hold_with_threads),
      cmocka_unit_test(small_blocks_are_kept),
      cmocka_unit_test(arena_objects_do_not_meet),
      cmocka_unit_test(arena_wastes_little),
      cmocka_unit_test(arena_without_memory),
#ifdef BASE_ASAN
      cmocka_unit_test(sanitizer_guards_the_edges),
#endif
      cmocka_unit_test(runtime_counts_and_logs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
