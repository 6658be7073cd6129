/* base/pool.c: threads that share out a loop, with a dispatch of about a microsecond.
 *
 * One dispatch:
 *   caller   writes the job, sets pending = helpers, stores the new ticket        works, waits until pending is 0
 *   worker   sees a new ticket; when it takes part: reads the job                 works, pending -= 1
 *
 * A ticket is (dispatch number << 16 | threads that take part). A worker that takes no part never looks at the job, so
 * the caller need not wait for it and may already be writing the next one.
 *
 * Waiting is spinning for SPIN_NS, then sleeping on a condition. A sleeper announces itself (sleepers, caller_sleeps)
 * before it looks a last time; who changes the state looks at the announcement afterwards. All four are sequentially
 * consistent, so one of the two sees the other, and no wake-up is lost.
 */
#include "base/pool.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "base/clock.h"
#include "base/thread.h"

#define MAX_THREADS 4096 /* what the ticket's low half can hold, and more than any machine's cores */
#define TICKET_BITS 16
#define SPIN_NS     80000 /* longer than the sampler's work between two tokens, shorter than a scheduler's slice */
#define PAUSES      64    /* between two looks at the clock: about 2 us */
#define CACHE_LINE  64

typedef struct worker {
  pool *pool;
  pthread_t thread;
  size_t t;
} worker;

struct pool {
  runtime *rt;
  size_t threads;
  uint64_t spin_ns; /* 0 when there are more threads than processors: spinning would only take time from the others */
  worker *workers;  /* threads - 1; workers[i] is thread i + 1 */

  pthread_mutex_t users; /* held during a dispatch */
  pthread_mutex_t sleep; /* guards nothing but the two conditions' sleep */
  pthread_cond_t work, done;

  /* The job. Written by the caller between two dispatches. */
  pool_body body;
  void *arg;
  size_t count, grain;

  _Alignas(CACHE_LINE) _Atomic uint64_t ticket;
  _Atomic uint32_t sleepers;
  _Atomic uint32_t stop;
  _Alignas(CACHE_LINE) _Atomic uint32_t pending;
  _Atomic uint32_t caller_sleeps;
};

static void cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

/* Is what a thread waits for there? */
typedef int (*pool_ready)(pool *p, uint64_t seen);

static int ready_for_work(pool *p, uint64_t seen) {
  return atomic_load(&p->ticket) != seen || atomic_load(&p->stop) != 0;
}

static int ready_for_end(pool *p, uint64_t unused) {
  (void)unused;
  return atomic_load(&p->pending) == 0;
}

/* 1 when it is there before the time is up. */
static int spin_until(pool *p, pool_ready ready, uint64_t seen) {
  if (ready(p, seen)) return 1;
  if (p->spin_ns == 0) {
    sched_yield();
    return ready(p, seen);
  }
  uint64_t end = clock_ns() + p->spin_ns;
  do {
    for (int i = 0; i < PAUSES; i++) {
      if (ready(p, seen)) return 1;
      cpu_pause();
    }
    sched_yield(); /* nothing when the processor is ours alone; else perhaps the very thread we wait for needs it */
  } while (clock_ns() < end);
  return 0;
}

static void wait_until(pool *p, pool_ready ready, uint64_t seen, _Atomic uint32_t *announce,
                       pthread_cond_t *condition) {
  if (spin_until(p, ready, seen)) return;
  pthread_mutex_lock(&p->sleep);
  atomic_fetch_add(announce, 1);
  while (!ready(p, seen)) pthread_cond_wait(condition, &p->sleep);
  atomic_fetch_sub(announce, 1);
  pthread_mutex_unlock(&p->sleep);
}

static void wake(pool *p, _Atomic uint32_t *announce, pthread_cond_t *condition) {
  if (atomic_load(announce) == 0) return;
  pthread_mutex_lock(&p->sleep);
  pthread_cond_broadcast(condition);
  pthread_mutex_unlock(&p->sleep);
}

/* floor(a · b / c) for a ≤ any size_t and b ≤ c ≤ MAX_THREADS, without overflow. */
static size_t share(size_t a, size_t b, size_t c) { return a / c * b + a % c * b / c; }

/* Thread t of `active` does the grains [t·G/active, (t+1)·G/active). */
static void do_share(const pool *p, size_t t, size_t active) {
  size_t grains = p->count / p->grain + (p->count % p->grain != 0);
  size_t first = share(grains, t, active), last = share(grains, t + 1, active);
  if (first >= last) return;
  size_t end = last == grains ? p->count : last * p->grain;
  p->body(p->arg, first * p->grain, end, t);
}

static void *worker_main(void *arg) {
  worker *w = arg;
  pool *p = w->pool;
  for (uint64_t seen = 0;;) {
    wait_until(p, ready_for_work, seen, &p->sleepers, &p->work);
    if (atomic_load(&p->stop) != 0) return NULL;
    seen = atomic_load(&p->ticket);
    size_t active = (size_t)(seen & ((1u << TICKET_BITS) - 1));
    if (w->t >= active) continue;
    do_share(p, w->t, active);
    if (atomic_fetch_sub(&p->pending, 1) == 1) wake(p, &p->caller_sleeps, &p->done);
  }
}

void pool_for(pool *p, size_t count, size_t grain, pool_body body, void *arg) {
  if (count == 0) return;
  if (!p) {
    body(arg, 0, count, 0);
    return;
  }
  pthread_mutex_lock(&p->users);
  size_t grains = count / grain + (count % grain != 0);
  size_t active = grains < p->threads ? grains : p->threads;
  if (active == 1) {
    body(arg, 0, count, 0);
  } else {
    p->body = body;
    p->arg = arg;
    p->count = count;
    p->grain = grain;
    atomic_store(&p->pending, (uint32_t)(active - 1));
    uint64_t number = (atomic_load(&p->ticket) >> TICKET_BITS) + 1;
    atomic_store(&p->ticket, number << TICKET_BITS | active);
    wake(p, &p->sleepers, &p->work);
    do_share(p, 0, active);
    wait_until(p, ready_for_end, 0, &p->caller_sleeps, &p->done);
  }
  pthread_mutex_unlock(&p->users);
}

int pool_threads(const pool *p) { return p ? (int)p->threads : 1; }

/* Stops and joins the first `started` workers and frees everything. */
static void pool_end(pool *p, size_t started) {
  atomic_store(&p->stop, 1);
  wake(p, &p->sleepers, &p->work);
  for (size_t i = 0; i < started; i++) pthread_join(p->workers[i].thread, NULL);
  pthread_cond_destroy(&p->done);
  pthread_cond_destroy(&p->work);
  pthread_mutex_destroy(&p->sleep);
  pthread_mutex_destroy(&p->users);
  mem *m = &p->rt->mem;
  mem_free(m, p->workers);
  mem_free(m, p);
}

/* Starts the workers. Returns how many were started. */
static size_t start_workers(pool *p) {
  size_t started = 0;
  for (; started + 1 < p->threads; started++) {
    worker *w = &p->workers[started];
    *w = (worker){.pool = p, .t = started + 1};
    if (thread_start(&w->thread, worker_main, w) != 0) break;
  }
  return started;
}

/* Processors that this process may run on; a large number when unknown. */
static size_t usable_processors(void) {
  cpu_set_t sets[8]; /* 8192 processors */
  memset(sets, 0, sizeof sets);
  if (sched_getaffinity(0, sizeof sets, sets) != 0) return MAX_THREADS;
  return (size_t)CPU_COUNT_S(sizeof sets, sets);
}

viva_status pool_create(runtime *rt, int threads, pool **out, viva_error *error) {
  *out = NULL;
  if (threads < 1 || threads > MAX_THREADS)
    return error_set(error, VIVA_E_LIMIT, "expected 1 to %d threads, found %d", MAX_THREADS, threads);
  pool *p = mem_zalloc(&rt->mem, sizeof *p);
  if (!p) return error_set(error, VIVA_E_MEMORY, "no memory for a thread pool");
  p->workers = mem_array(&rt->mem, (size_t)threads, sizeof *p->workers);
  if (!p->workers) {
    mem_free(&rt->mem, p);
    return error_set(error, VIVA_E_MEMORY, "no memory for %d threads", threads);
  }
  p->rt = rt;
  p->threads = (size_t)threads;
  p->spin_ns = p->threads <= usable_processors() ? SPIN_NS : 0;
  pthread_mutex_init(&p->users, NULL);
  pthread_mutex_init(&p->sleep, NULL);
  pthread_cond_init(&p->work, NULL);
  pthread_cond_init(&p->done, NULL);
  size_t started = start_workers(p);
  if (started + 1 < p->threads) {
    pool_end(p, started);
    return error_set(error, VIVA_E_LIMIT, "the system refused thread %zu of %d; ask for fewer threads", started + 1,
                     threads);
  }
  *out = p;
  return VIVA_OK;
}

void pool_free(pool *p) {
  if (p) pool_end(p, p->threads - 1);
}

/* -- items that can fail */

typedef struct trial {
  pool_item item;
  void *arg;
  pthread_mutex_t lock;  /* guards status and error */
  _Atomic size_t lowest; /* item that failed; count: none */
  viva_status status;
  viva_error error;
} trial;

static void note_failure(trial *all, size_t i, viva_status status, const viva_error *error) {
  pthread_mutex_lock(&all->lock);
  if (i < atomic_load(&all->lowest)) {
    atomic_store(&all->lowest, i);
    all->status = status;
    all->error = *error;
  }
  pthread_mutex_unlock(&all->lock);
}

/* A thread goes on while an item before the lowest failure is left to it. */
static void try_items(void *arg, size_t begin, size_t end, size_t thread) {
  trial *all = arg;
  for (size_t i = begin; i < end && i < atomic_load_explicit(&all->lowest, memory_order_relaxed); i++) {
    viva_error error = {0};
    const viva_status status = all->item(all->arg, i, thread, &error);
    if (status) note_failure(all, i, status, &error);
  }
}

viva_status pool_try(pool *p, size_t count, pool_item item, void *arg, viva_error *error) {
  trial all = {.item = item, .arg = arg, .lowest = count};
  pthread_mutex_init(&all.lock, NULL);
  pool_for(p, count, 1, try_items, &all);
  pthread_mutex_destroy(&all.lock);
  if (all.status && error) *error = all.error;
  return all.status;
}
