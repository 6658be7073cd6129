/* engine/ranks.c */
#include "engine/ranks.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/runtime.h"
#include "base/thread.h"
#include "engine/exchange_host.h"

/* Many times the longest step. CPUs that many share are slow, and seldom die alone. */
#define PATIENCE_MS     30000
#define PATIENCE_CPU_MS 600000

/* How long threads wait awake, before they sleep: for the next step, which mostly follows at once; for a step's end. Waking
 * a thread takes some 50 µs, twice in a step. */
#define AWAKE_NEXT_NS 200000
#define AWAKE_END_NS  5000000

/* ---- the threads */

/* Until another run has begun. Without the lock. */
static void await_next(const rank_set *r, uint64_t done) {
  const uint64_t end = clock_ns() + AWAKE_NEXT_NS;
  while (r->spins && r->begun_runs == done && clock_ns() < end) sched_yield();
}

static void await_end(const rank_set *r) {
  const uint64_t end = clock_ns() + AWAKE_END_NS;
  while (r->spins && r->running > 0 && clock_ns() < end) sched_yield();
}

static void *rank_thread(void *arg) {
  rank_one *own = arg;
  rank_set *r = own->all;
  pthread_mutex_lock(&r->lock);
  for (;;) {
    while (!r->stop && own->done == r->runs) pthread_cond_wait(&r->begun, &r->lock);
    if (r->stop) break;
    const rank_job job = r->job;
    void *given = r->arg;
    const int meets = r->meets;
    viva_error error = {0};
    pthread_mutex_unlock(&r->lock);
    const viva_status status = job(given, own->number, &error);
    if (status) own->failed = ++r->failures; /* before the others learn of it and fail too */
    if (status && meets) r->exchange->ops->give_up(r->exchange);
    pthread_mutex_lock(&r->lock);
    own->status = status;
    own->error = error;
    const uint64_t done = ++own->done;
    r->running--;
    pthread_cond_signal(&r->ended);
    pthread_mutex_unlock(&r->lock);
    await_next(r, done);
    pthread_mutex_lock(&r->lock);
  }
  pthread_mutex_unlock(&r->lock);
  return NULL;
}

static int all_ended(const rank_set *r) {
  for (size_t i = 0; i < r->count; i++)
    if (r->each[i].started && r->each[i].done != r->runs) return 0;
  return 1;
}

/* 1 when all have ended before patience did. With the lock held. */
static int wait_for_all(rank_set *r) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += r->patience_ms / 1000;
  until.tv_nsec += (long)(r->patience_ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  while (!all_ended(r))
    if (pthread_cond_timedwait(&r->ended, &r->lock, &until)) return all_ended(r);
  return 1;
}

/* ---- a run */

static viva_status lost(const rank_set *r, viva_error *error) {
  if (error) *error = r->loss;
  return VIVA_E_DEVICE;
}

/* The ranks end, by the words of one of them. With the lock held. */
static viva_status lose(rank_set *r, size_t number, const char *words, viva_error *error) {
  static const char advice[] = "; open another engine";
  viva_device_info info = {.size = sizeof info};
  r->lost = 1;
  r->each[number].b->ops->info(r->each[number].b, &info);
  error_set(&r->loss, VIVA_E_DEVICE, "rank %zu of the engine's %zu (%s %d) is lost: %s%s", number, r->count,
            r->each[number].b->ops->name, (int)info.index, words, strstr(words, advice) ? "" : advice);
  return lost(r, error);
}

/* 1: a is to be told rather than b: it failed by itself, not because another one did; or it failed earlier. */
static int tells_more(const rank_one *a, const rank_one *b) {
  const int by_itself = a->status != VIVA_E_CANCELLED;
  return by_itself != (b->status != VIVA_E_CANCELLED) ? by_itself : a->failed < b->failed;
}

/* The rank whose failure is told; count: none failed. */
static size_t first_failed(const rank_set *r) {
  size_t found = r->count;
  for (size_t i = 0; i < r->count; i++)
    if (r->each[i].status && (found == r->count || tells_more(&r->each[i], &r->each[found]))) found = i;
  return found;
}

static viva_status result(rank_set *r, int meets, viva_error *error) {
  const size_t failed = first_failed(r);
  if (failed == r->count) return VIVA_OK;
  if (meets || r->each[failed].status == VIVA_E_DEVICE) return lose(r, failed, r->each[failed].error.message, error);
  if (error) *error = r->each[failed].error;
  return r->each[failed].status;
}

static viva_status silent(rank_set *r, viva_error *error) {
  size_t i = 0;
  char words[80];
  r->silent = 1;
  while (i + 1 < r->count && r->each[i].done == r->runs) i++;
  snprintf(words, sizeof words, "it did not answer within %u ms", r->patience_ms);
  return lose(r, i, words, error);
}

/* With the lock held, which it gives back for a while: only one runs at a time. */
static viva_status run(rank_set *r, rank_job job, void *arg, int meets, viva_error *error) {
  if (r->lost) return lost(r, error);
  r->job = job;
  r->arg = arg;
  r->meets = meets;
  r->running = r->count;
  r->begun_runs = ++r->runs;
  pthread_cond_broadcast(&r->begun);
  pthread_mutex_unlock(&r->lock);
  await_end(r);
  pthread_mutex_lock(&r->lock);
  return wait_for_all(r) ? result(r, meets, error) : silent(r, error);
}

viva_status ranks_run(rank_set *r, rank_job job, void *arg, int meets, viva_error *error) {
  pthread_mutex_lock(&r->turn);
  pthread_mutex_lock(&r->lock);
  const viva_status status = run(r, job, arg, meets, error);
  const int over = r->lost;
  pthread_mutex_unlock(&r->lock);
  if (over) r->exchange->ops->give_up(r->exchange);
  pthread_mutex_unlock(&r->turn);
  return status;
}

viva_status ranks_met(rank_set *r, size_t number, viva_status status, viva_error *error) {
  char words[sizeof error->message];
  if (status != VIVA_E_DEVICE) return status;
  snprintf(words, sizeof words, "%s", error ? error->message : "its device failed");
  pthread_mutex_lock(&r->lock);
  const viva_status told = r->lost ? lost(r, error) : lose(r, number, words, error);
  pthread_mutex_unlock(&r->lock);
  r->exchange->ops->give_up(r->exchange);
  return told;
}

void ranks_info(const rank_set *r, viva_device_info *info) {
  char name[sizeof info->name];
  const backend *first = r->each[0].b;
  first->ops->info(r->each[0].b, info);
  snprintf(name, sizeof name, "%zu x %.100s", r->count, info->name);
  memcpy(info->name, name, sizeof name);
  if (first->host_memory) return; /* all have the same */
  for (size_t i = 1; i < r->count; i++) {
    viva_device_info other = {.size = sizeof other};
    r->each[i].b->ops->info(r->each[i].b, &other);
    info->memory_total += other.memory_total;
    info->memory_available += other.memory_available;
  }
}

viva_status ranks_check(rank_set *r, viva_error *error) {
  pthread_mutex_lock(&r->lock);
  const viva_status status = r->lost ? lost(r, error) : VIVA_OK;
  pthread_mutex_unlock(&r->lock);
  return status;
}

int ranks_idle(rank_set *r) {
  pthread_mutex_lock(&r->lock);
  const int idle = !r->silent || all_ended(r);
  pthread_mutex_unlock(&r->lock);
  return idle;
}

/* ---- lifetime */

static void begin_waiting(rank_set *r) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&r->turn, NULL);
  pthread_mutex_init(&r->lock, NULL);
  pthread_cond_init(&r->begun, NULL);
  pthread_cond_init(&r->ended, &monotonic);
  pthread_condattr_destroy(&monotonic);
}

/* Memory of a rank that never came back stays: it may still use it. */
void ranks_close(rank_set *r) {
  if (!r) return;
  runtime *rt = r->rt;
  if (!ranks_idle(r)) {
    runtime_log(rt, VIVA_LOG_ERROR, "a device of the engine still does not answer; what it holds is left behind");
    return;
  }
  pthread_mutex_lock(&r->lock);
  r->stop = 1;
  pthread_cond_broadcast(&r->begun);
  pthread_mutex_unlock(&r->lock);
  for (size_t i = 0; i < r->count; i++)
    if (r->each[i].started) pthread_join(r->each[i].thread, NULL);
  if (r->exchange) r->exchange->ops->close(r->exchange);
  for (size_t i = 0; i < r->count; i++)
    if (r->each[i].b) r->each[i].b->ops->close(r->each[i].b);
  pthread_cond_destroy(&r->ended);
  pthread_cond_destroy(&r->begun);
  pthread_mutex_destroy(&r->lock);
  pthread_mutex_destroy(&r->turn);
  mem_free(&rt->mem, r);
  runtime_release(rt);
}

/* Through the devices' own ways to each other, or the host's memory. */
static viva_status join(rank_set *r, const backend_ops *ops, viva_error *error) {
  backend *all[RANKS_MOST];
  viva_error why = {0};
  for (size_t i = 0; i < r->count; i++) all[i] = r->each[i].b;
  const viva_status status = ops->join ? ops->join(all, r->count, &r->exchange, &why) : VIVA_E_UNSUPPORTED;
  if (status == VIVA_OK) return VIVA_OK;
  if (status != VIVA_E_UNSUPPORTED) {
    if (error) *error = why;
    return status;
  }
  if (ops->join)
    runtime_log(r->rt, VIVA_LOG_WARN, "%s: the devices exchange through the host's memory, which is slow", why.message);
  return exchange_host_open(&r->rt->mem, r->count, r->patience_ms, &r->exchange, error);
}

static viva_status start(rank_set *r, pool *p, const backend_ops *ops, const int32_t *indices, viva_cpu_kernels kernels,
                         viva_error *error) {
  for (size_t i = 0; i < r->count; i++) {
    r->each[i].all = r;
    r->each[i].number = i;
    TRY(ops->open(r->rt, p, indices[i], kernels, &r->each[i].b, error));
  }
  TRY(join(r, ops, error));
  for (size_t i = 0; i < r->count; i++) {
    if (thread_start(&r->each[i].thread, rank_thread, &r->each[i]))
      return error_set(error, VIVA_E_LIMIT, "the system refused a thread for device %d", (int)indices[i]);
    r->each[i].started = 1;
  }
  return VIVA_OK;
}

viva_status ranks_open(runtime *rt, pool *p, const backend_ops *ops, const int32_t *indices, size_t count,
                       viva_cpu_kernels kernels, rank_set **out, viva_error *error) {
  rank_set *r = mem_zalloc(&rt->mem, sizeof *r);
  *out = NULL;
  if (!r) return error_set(error, VIVA_E_MEMORY, "no memory for %zu devices", count);
  r->rt = runtime_retain(rt);
  r->count = count;
  r->spins = ops->kind != VIVA_DEVICE_CPU;
  r->patience_ms = ops->kind == VIVA_DEVICE_CPU ? PATIENCE_CPU_MS : PATIENCE_MS;
  begin_waiting(r);
  const viva_status status = start(r, p, ops, indices, kernels, error);
  if (status) {
    ranks_close(r);
    return status;
  }
  *out = r;
  return VIVA_OK;
}
