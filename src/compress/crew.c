/* compress/crew.c: the workers of a stream, and their supervision. */
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "compress/stream_inner.h"

#define MS 1000000ull

/* -- slots */

static void slot_free(runtime *rt, slot *s) {
  if (!s) return;
  mem_free(&rt->mem, s->s.data);
  mem_free(&rt->mem, s->values);
  mem_free(&rt->mem, s);
}

static slot *slot_make(const crew *w) {
  slot *s = mem_zalloc(&w->c.rt->mem, sizeof *s);
  if (!s) return NULL;
  s->values = mem_alloc(&w->c.rt->mem, w->capacity * sizeof *s->values);
  if (s->values) return s;
  mem_free(&w->c.rt->mem, s);
  return NULL;
}

slot *crew_free_slot(crew *w) {
  slot *found = NULL;
  pthread_mutex_lock(&w->lock);
  for (size_t i = 0; i < w->slot_count && !found; i++) {
    if (!w->slots[i]) w->slots[i] = slot_make(w);
    if (w->slots[i] && w->slots[i]->state == SLOT_FREE) found = w->slots[i];
  }
  pthread_mutex_unlock(&w->lock);
  return found;
}

/* -- attempts */

/* More than max_failures within the window: the stream ends. Data that are no numbers are not the workers' fault. */
static void count_failure(crew *w, const slot *s) {
  w->failures++;
  if (s->error.code == VIVA_E_NUMERIC) return;
  const uint64_t now = clock_ns(), most = w->options.max_failures;
  w->failed_at[w->counted++ % MOST_FAILURES] = now;
  if (w->broken.code || w->counted <= most) return;
  const uint64_t oldest = w->failed_at[(w->counted - 1 - most) % MOST_FAILURES];
  if (now - oldest > w->options.failure_window_ms * MS) return;
  error_set(&w->broken, VIVA_E_LIMIT, "more than %llu failures within %u ms, the last one of chunk %llu: %s",
            (unsigned long long)most, (unsigned)w->options.failure_window_ms, (unsigned long long)s->id,
            s->error.message);
}

static void attempt(const crew *w, slot *s, const float *values) {
  s->error = (viva_error){.code = VIVA_OK};
  s->s.data = NULL;
  if (w->fault) {
    const viva_status status = w->fault(w->fault_user, s->id, s->attempts);
    if (status != VIVA_OK) {
      error_set(&s->error, status, "a fault was injected");
      return;
    }
  }
  (void)segment_encode(&w->c, values, s->count, s->first_value, NULL, &s->s, &s->error);
}

/* 1 when the slot is to be tried again. Locked. */
static int try_again(crew *w, slot *s) {
  if (s->error.code == VIVA_OK) return 0;
  s->s.data = NULL;
  count_failure(w, s);
  return ++s->attempts < 2;
}

void crew_run(crew *w, slot *s, const float *values) {
  int again;
  s->attempts = 0;
  do {
    attempt(w, s, values);
    pthread_mutex_lock(&w->lock);
    again = try_again(w, s) && !w->broken.code;
    pthread_mutex_unlock(&w->lock);
  } while (again);
  s->state = SLOT_DONE;
}

/* -- workers */

static void crew_release(crew *w) {
  if (atomic_fetch_sub_explicit(&w->references, 1, memory_order_acq_rel) != 1) return;
  runtime *rt = w->c.rt;
  for (size_t i = 0; i < w->slot_count; i++) slot_free(rt, w->slots[i]);
  pthread_cond_destroy(&w->work);
  pthread_cond_destroy(&w->done);
  pthread_mutex_destroy(&w->lock);
  mem_free(&rt->mem, w->slots);
  mem_free(&rt->mem, w->workers);
  mem_free(&rt->mem, w);
  runtime_release(rt);
}

/* The oldest chunk that waits. Locked. */
static slot *next_queued(const crew *w) {
  slot *oldest = NULL;
  for (size_t i = 0; i < w->slot_count; i++) {
    slot *s = w->slots[i];
    if (s && s->state == SLOT_QUEUED && (!oldest || s->id < oldest->id)) oldest = s;
  }
  return oldest;
}

/* Until the crew stops, or gives this worker up. */
static void *worker_main(void *arg) {
  crew_worker *self = arg;
  crew *w = self->crew;
  int lost = 0;
  pthread_mutex_lock(&w->lock);
  while (!w->stop && !lost) {
    slot *s = next_queued(w);
    if (!s) {
      pthread_cond_wait(&w->work, &w->lock);
      continue;
    }
    s->state = SLOT_RUNNING;
    if (s->attempts == 0) s->started_ns = clock_ns();
    s->worker = self->number;
    pthread_mutex_unlock(&w->lock);
    attempt(w, s, s->values);
    pthread_mutex_lock(&w->lock);
    lost = s->late;
    if (s->given_up)
      slot_free(w->c.rt, s);
    else
      s->state = !lost && try_again(w, s) ? SLOT_QUEUED : SLOT_DONE;
    pthread_cond_signal(&w->done);
  }
  pthread_mutex_unlock(&w->lock);
  runtime *rt = runtime_retain(w->c.rt);
  if (lost) mem_free(&rt->mem, self); /* it is detached; else who joins frees it */
  crew_release(w);
  runtime_release(rt);
  return NULL;
}

/* A worker with this number. 1 when there is no memory or the system refuses. */
static int start_worker(crew *w, size_t number) {
  crew_worker *self = mem_zalloc(&w->c.rt->mem, sizeof *self);
  w->workers[number] = NULL;
  if (!self) return 1;
  *self = (crew_worker){.crew = w, .number = number};
  atomic_fetch_add_explicit(&w->references, 1, memory_order_relaxed);
  if (thread_start(&self->thread, worker_main, self) == 0) {
    w->workers[number] = self;
    return 0;
  }
  atomic_fetch_sub_explicit(&w->references, 1, memory_order_relaxed);
  mem_free(&w->c.rt->mem, self);
  return 1;
}

/* -- the supervisor: the caller's thread */

void crew_submit(crew *w, slot *s) {
  pthread_mutex_lock(&w->lock);
  s->attempts = 0;
  s->state = SLOT_QUEUED;
  pthread_cond_signal(&w->work);
  pthread_mutex_unlock(&w->lock);
}

static slot *slot_of(const crew *w, uint64_t id) {
  for (size_t i = 0; i < w->slot_count; i++)
    if (w->slots[i] && w->slots[i]->state != SLOT_FREE && w->slots[i]->id == id) return w->slots[i];
  return NULL;
}

static int has_workers(const crew *w) {
  for (int32_t i = 0; i < w->options.workers; i++)
    if (w->workers[i]) return 1;
  return 0;
}

/* The worker that has s is not waited for any more; another takes its place. Locked. */
static void give_up(crew *w, slot *s) {
  s->late = 1;
  pthread_detach(w->workers[s->worker]->thread);
  (void)start_worker(w, s->worker);
}

/* Waits until something is done, or until `until` (0: for ever). Locked. */
static void wait_done(crew *w, uint64_t until) {
  if (until == 0) {
    pthread_cond_wait(&w->done, &w->lock);
    return;
  }
  const struct timespec when = {(time_t)(until / 1000000000), (long)(until % 1000000000)};
  pthread_cond_timedwait(&w->done, &w->lock, &when);
}

slot *crew_take(crew *w, uint64_t id, int wait) {
  slot *found = NULL;
  const uint64_t deadline = w->options.deadline_ms * MS;
  pthread_mutex_lock(&w->lock);
  for (;;) {
    slot *s = slot_of(w, id);
    if (!s || w->broken.code) break;
    const int running = s->state == SLOT_RUNNING;
    if (running && deadline && clock_ns() - s->started_ns >= deadline) give_up(w, s);
    if (s->state == SLOT_DONE || s->late) found = s;
    if (found || !wait) break;
    if (s->state == SLOT_QUEUED && !has_workers(w)) { /* nobody is left: do it here */
      s->state = SLOT_RUNNING;
      pthread_mutex_unlock(&w->lock);
      crew_run(w, s, s->values);
      pthread_mutex_lock(&w->lock);
      continue;
    }
    /* One that waits in the queue gets its time when a worker takes it: look again then. */
    wait_done(w, !deadline ? 0 : running ? s->started_ns + deadline : clock_ns() + deadline);
  }
  pthread_mutex_unlock(&w->lock);
  return found;
}

void crew_let_go(crew *w, slot *s) {
  pthread_mutex_lock(&w->lock);
  if (s->late && s->state == SLOT_RUNNING) {
    s->given_up = 1;
    for (size_t i = 0; i < w->slot_count; i++)
      if (w->slots[i] == s) w->slots[i] = NULL;
  } else {
    mem_free(&w->c.rt->mem, s->s.data);
    s->s.data = NULL;
    s->late = 0;
    s->state = SLOT_FREE;
  }
  pthread_mutex_unlock(&w->lock);
}

/* -- making and ending */

static int init_locks(crew *w) {
  pthread_condattr_t monotonic;
  if (pthread_condattr_init(&monotonic) != 0) return 1;
  int failed = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) != 0;
  failed = failed || pthread_mutex_init(&w->lock, NULL) != 0;
  failed = failed || pthread_cond_init(&w->work, NULL) != 0 || pthread_cond_init(&w->done, &monotonic) != 0;
  pthread_condattr_destroy(&monotonic);
  return failed;
}

viva_status crew_create(const coder *c, const viva_stream_options *options, size_t capacity, crew **out,
                        viva_error *error) {
  mem *m = &c->rt->mem;
  crew *w = mem_zalloc(m, sizeof *w);
  if (!w) return error_set(error, VIVA_E_MEMORY, "no memory for a stream");
  *w = (crew){.c = *c, .options = *options, .capacity = capacity};
  atomic_init(&w->references, 1);
  const size_t workers = (size_t)options->workers, slots = workers ? options->queue : 1;
  w->slots = mem_array(m, slots, sizeof(slot *));
  w->workers = mem_array(m, workers, sizeof(crew_worker *));
  if (!w->slots || !w->workers || init_locks(w)) {
    mem_free(m, w->slots), mem_free(m, w->workers), mem_free(m, w);
    return error_set(error, VIVA_E_MEMORY, "no memory for a stream of %zu workers", workers);
  }
  runtime_retain(c->rt);
  w->slot_count = slots;
  *out = w;
  for (size_t i = 0; i < slots; i++) {
    w->slots[i] = slot_make(w);
    if (!w->slots[i])
      return error_set(error, VIVA_E_MEMORY, "no memory for %zu chunks of %zu values under way", slots, capacity);
  }
  for (size_t i = 0; i < workers; i++)
    if (start_worker(w, i))
      return error_set(error, VIVA_E_LIMIT, "the system refused thread %zu of %zu; ask for fewer workers", i + 1,
                       workers);
  return VIVA_OK;
}

void crew_free(crew *w) {
  if (!w) return;
  pthread_mutex_lock(&w->lock);
  w->stop = 1;
  pthread_cond_broadcast(&w->work);
  pthread_mutex_unlock(&w->lock);
  for (int32_t i = 0; i < w->options.workers; i++) {
    if (!w->workers[i]) continue;
    pthread_join(w->workers[i]->thread, NULL);
    mem_free(&w->c.rt->mem, w->workers[i]);
    w->workers[i] = NULL;
  }
  crew_release(w);
}
