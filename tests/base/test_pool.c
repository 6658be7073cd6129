/* The thread pool: who gets what, whatever the number of threads, and from several callers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/asan.h"
#include "base/error.h"
#include "base/pool.h"
#include "lib/fail_alloc.h"

static runtime *new_runtime(void) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  assert_non_null(rt);
  return rt;
}

static pool *new_pool(runtime *rt, int threads) {
  pool *p;
  assert_int_equal(pool_create(rt, threads, &p, NULL), VIVA_OK);
  assert_int_equal(pool_threads(p), threads);
  return p;
}

enum { MOST = 10000, MOST_THREADS = 7 };

typedef struct visit_log {
  _Atomic uint8_t visits[MOST];
  uint8_t thread[MOST];
  _Atomic uint32_t calls[MOST_THREADS];
  size_t count, grain, threads;
} visit_log;

static void visit(void *arg, size_t begin, size_t end, size_t t) {
  visit_log *log = arg;
  /* cmocka's assertions belong to the main thread: count what is wrong as a second visit. */
  int wrong = begin >= end || end > log->count || t >= log->threads || begin % log->grain != 0 ||
              (end % log->grain != 0 && end != log->count);
  if (t < MOST_THREADS) log->calls[t]++;
  for (size_t i = begin; i < end && i < MOST; i++) {
    log->visits[i] = (uint8_t)(log->visits[i] + 1 + wrong);
    log->thread[i] = (uint8_t)t;
  }
}

static visit_log *run_visits(pool *p, size_t count, size_t grain) {
  visit_log *log = calloc(1, sizeof *log);
  log->count = count;
  log->grain = grain;
  log->threads = (size_t)pool_threads(p);
  pool_for(p, count, grain, visit, log);
  for (size_t i = 0; i < count; i++) {
    assert_int_equal(log->visits[i], 1);
    if (i > 0) assert_true(log->thread[i] >= log->thread[i - 1]); /* runs in the order of the threads */
  }
  for (size_t t = 0; t < MOST_THREADS; t++) assert_true(log->calls[t] <= 1);
  return log;
}

static void every_item_once(void **state) {
  (void)state;
  runtime *rt = new_runtime();
  const size_t counts[] = {0, 1, 2, 3, 6, 7, 8, 31, 64, 100, 9999, MOST};
  const size_t grains[] = {1, 2, 3, 8, 64, 100000, SIZE_MAX};
  for (int threads = 1; threads <= MOST_THREADS; threads++) {
    pool *p = new_pool(rt, threads);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
      for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) free(run_visits(p, counts[c], grains[g]));
    pool_free(p);
  }
  assert_int_equal(rt->mem.current, sizeof *rt);
  runtime_release(rt);
}

static void the_partition_is_static_and_even(void **state) {
  (void)state;
  runtime *rt = new_runtime();
  pool *p = new_pool(rt, 3);
  for (int turn = 0; turn < 50; turn++) {
    visit_log *log = run_visits(p, 100, 8); /* 13 grains: 4, 4 and 5 of them */
    for (size_t i = 0; i < 100; i++) assert_int_equal(log->thread[i], i < 32 ? 0 : i < 64 ? 1 : 2);
    free(log);
    log = run_visits(p, 2, 1); /* fewer grains than threads: the first threads get one each */
    assert_int_equal(log->thread[0], 0);
    assert_int_equal(log->thread[1], 1);
    free(log);
  }
  pool_free(p);
  runtime_release(rt);
}

static void no_pool_means_the_caller(void **state) {
  (void)state;
  assert_int_equal(pool_threads(NULL), 1);
  free(run_visits(NULL, 100, 7));
  pool_for(NULL, 0, 1, visit, NULL);
  pool_free(NULL);
}

/* Very large counts: only the arithmetic is under test. */
static void remember_end(void *arg, size_t begin, size_t end, size_t t) {
  size_t *spans = arg;
  spans[2 * t] = begin;
  spans[2 * t + 1] = end;
}

static void counts_near_the_end_of_size_t(void **state) {
  (void)state;
  runtime *rt = new_runtime();
  pool *p = new_pool(rt, 7);
  const size_t counts[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 3};
  const size_t grains[] = {1, 2, 64, SIZE_MAX / 3};
  for (size_t c = 0; c < 3; c++) {
    for (size_t g = 0; g < 4; g++) {
      size_t spans[14] = {0}, at = 0;
      pool_for(p, counts[c], grains[g], remember_end, spans);
      for (size_t t = 0; t < 7; t++) {
        if (spans[2 * t] == spans[2 * t + 1]) continue;
        assert_true(spans[2 * t] == at);
        at = spans[2 * t + 1];
      }
      assert_true(at == counts[c]);
    }
  }
  pool_free(p);
  runtime_release(rt);
}

static void add_one(void *arg, size_t begin, size_t end, size_t t) {
  uint32_t *cells = arg;
  (void)t;
  for (size_t i = begin; i < end; i++) cells[i]++;
}

/* Plain memory written by different threads in turn: under TSan this shows that a dispatch orders what came before it.
 */
static void many_small_dispatches(void **state) {
  (void)state;
  runtime *rt = new_runtime();
  for (int threads = 2; threads <= 5; threads++) {
    pool *p = new_pool(rt, threads);
    uint32_t cells[64] = {0};
    const uint32_t turns = 5000;
    for (uint32_t i = 0; i < turns; i++) {
      size_t grain = 1 + i % 40; /* the number of threads that take part changes all the time */
      pool_for(p, 64, grain, add_one, cells);
      if (i % 1000 == 999) usleep(1000); /* long enough for all to fall asleep */
    }
    for (size_t i = 0; i < 64; i++) assert_int_equal(cells[i], turns);
    assert_int_equal(rt->mem.allocations, 1 + 2 * (uint64_t)(threads - 1)); /* a dispatch allocates nothing */
    pool_free(p);
  }
  runtime_release(rt);
}

typedef struct caller {
  pool *pool;
  uint32_t *cells;
  pthread_t thread;
} caller;

static void *call_often(void *arg) {
  caller *c = arg;
  for (int i = 0; i < 2000; i++) pool_for(c->pool, 64, 1 + (size_t)i % 64, add_one, c->cells);
  return NULL;
}

static void several_callers_are_served_in_turn(void **state) {
  (void)state;
  runtime *rt = new_runtime();
  pool *p = new_pool(rt, 3);
  uint32_t cells[64] = {0}; /* shared and not atomic: the pool serves one caller at a time */
  caller callers[4];
  for (size_t i = 0; i < 4; i++) {
    callers[i] = (caller){.pool = p, .cells = cells};
    assert_int_equal(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
  }
  for (size_t i = 0; i < 4; i++) pthread_join(callers[i].thread, NULL);
  for (size_t i = 0; i < 64; i++) assert_int_equal(cells[i], 8000);
  pool_free(p);
  runtime_release(rt);
}

static void read_mask(void *arg, size_t begin, size_t end, size_t t) {
  sigset_t *masks = arg;
  (void)begin, (void)end;
  pthread_sigmask(SIG_SETMASK, NULL, &masks[t]);
}

static void signals_stay_with_the_program(void **state) {
  (void)state;
  sigset_t before, after, masks[4];
  pthread_sigmask(SIG_SETMASK, NULL, &before);
  runtime *rt = new_runtime();
  pool *p = new_pool(rt, 4);
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  pool_for(p, 4, 1, read_mask, masks);
  const int signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGPIPE, SIGALRM, SIGCHLD};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
    assert_int_equal(sigismember(&before, signals[i]), sigismember(&after, signals[i]));
    for (size_t t = 1; t < 4; t++) assert_int_equal(sigismember(&masks[t], signals[i]), 1);
  }
  const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL}; /* raised by an instruction: blocked they would kill */
  for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
    for (size_t t = 0; t < 4; t++) assert_int_equal(sigismember(&masks[t], own[i]), 0);
  pool_free(p);
  runtime_release(rt);
}

/* Items that fail where told to. */
typedef struct trial {
  const size_t *failing;
  size_t failing_count;
  _Atomic unsigned char done[2000];
} trial;

static viva_status fail_some(void *arg, size_t i, size_t thread, viva_error *error) {
  trial *t = arg;
  (void)thread;
  for (size_t f = 0; f < t->failing_count; f++)
    if (t->failing[f] == i) return error_set(error, VIVA_E_NUMERIC, "item %zu", i);
  atomic_fetch_add(&t->done[i], 1);
  return VIVA_OK;
}

/* Whatever the number of threads and their order: the lowest item that fails is reported, and all before it were done. */
static void the_lowest_failure_is_reported(void **state) {
  (void)state;
  static const size_t failing[] = {1999, 700, 1100, 701, 1500};
  enum { COUNT = 2000 };
  runtime *rt = new_runtime();
  for (int threads = 0; threads <= 7; threads++) { /* 0: no pool */
    pool *p = threads ? new_pool(rt, threads) : NULL;
    for (size_t failures = 0; failures <= sizeof failing / sizeof *failing; failures++) {
      trial t = {failing, failures, {0}};
      size_t lowest = COUNT;
      for (size_t f = 0; f < failures; f++) lowest = failing[f] < lowest ? failing[f] : lowest;
      char expected[32] = "";
      if (failures) (void)snprintf(expected, sizeof expected, "item %zu", lowest);
      viva_error error = {0};
      assert_int_equal(pool_try(p, COUNT, fail_some, &t, &error), failures ? VIVA_E_NUMERIC : VIVA_OK);
      assert_string_equal(error.message, expected);
      assert_int_equal(pool_try(p, COUNT, fail_some, &(trial){failing, failures, {0}}, NULL),
                       failures ? VIVA_E_NUMERIC : VIVA_OK);
      for (size_t i = 0; i < COUNT; i++) assert_true(i < lowest ? t.done[i] == 1 : t.done[i] <= 1);
    }
    assert_int_equal(pool_try(p, 0, fail_some, &(trial){0}, NULL), VIVA_OK);
    pool_free(p);
  }
  runtime_release(rt);
}

static void wrong_numbers_of_threads(void **state) {
  (void)state;
  runtime *rt = new_runtime();
  const int wrong[] = {0, -1, 4097, INT32_MAX};
  for (size_t i = 0; i < 4; i++) {
    pool *p = (pool *)(void *)rt;
    viva_error e = {0};
    assert_int_equal(pool_create(rt, wrong[i], &p, &e), VIVA_E_LIMIT);
    assert_null(p);
    assert_non_null(strstr(e.message, "expected 1 to 4096 threads"));
  }
  assert_int_equal(rt->mem.current, sizeof *rt);
  runtime_release(rt);
}

static void without_memory_there_is_no_pool(void **state) {
  (void)state;
  for (uint64_t k = 2; k <= 3; k++) {
    fail_alloc f;
    fail_alloc_init(&f, k, 0); /* the first is the runtime's */
    runtime *rt = runtime_create(&f.table, NULL, NULL, NULL, VIVA_LOG_WARN);
    pool *p;
    assert_int_equal(pool_create(rt, 3, &p, NULL), VIVA_E_MEMORY);
    assert_null(p);
    runtime_release(rt);
    assert_int_equal(f.live, 0);
  }
}

#if !defined(BASE_ASAN) && !defined(__SANITIZE_THREAD__) /* these reserve terabytes of addresses */
static int refused_in_child(void) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  struct rlimit limit = {(rlim_t)256 << 20, (rlim_t)256 << 20}; /* a thread's stack takes 8 MiB of addresses */
  if (rt == NULL || setrlimit(RLIMIT_AS, &limit) != 0) return 1;
  pool *p;
  viva_error e = {0};
  if (pool_create(rt, 1000, &p, &e) != VIVA_E_LIMIT || p != NULL) return 2;
  if (strstr(e.message, "ask for fewer threads") == NULL) return 3;
  if (rt->mem.current != sizeof *rt) return 4;
  if (pool_create(rt, 2, &p, &e) != VIVA_OK) return 5; /* none of the others is left running */
  pool_free(p);
  runtime_release(rt);
  return 0;
}

static void a_refused_thread_is_reported(void **state) {
  (void)state;
  pid_t child = fork();
  if (child == 0) _exit(refused_in_child());
  int how;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFEXITED(how));
  assert_int_equal(WEXITSTATUS(how), 0);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_item_once),
    cmocka_unit_test(the_partition_is_static_and_even),
    cmocka_unit_test(no_pool_means_the_caller),
    cmocka_unit_test(counts_near_the_end_of_size_t),
    cmocka_unit_test(many_small_dispatches),
    cmocka_unit_test(several_callers_are_served_in_turn),
    cmocka_unit_test(signals_stay_with_the_program),
    cmocka_unit_test(the_lowest_failure_is_reported),
    cmocka_unit_test(wrong_numbers_of_threads),
    cmocka_unit_test(without_memory_there_is_no_pool),
#if !defined(BASE_ASAN) && !defined(__SANITIZE_THREAD__)
    cmocka_unit_test(a_refused_thread_is_reported),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
