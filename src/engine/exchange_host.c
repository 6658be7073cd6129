/* engine/exchange_host.c: each rank brings its part to the host, waits for the others, and adds up all parts by itself.
 *
 * A rank that has met the others for sum i may bring its part of sum i + 1 while they still read those of sum i; so parts
 * have two places, taken in turn. Nobody writes to a place again before all have met once more, which is after they read it. */
#include "engine/exchange_host.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "backend/backend.h"
#include "base/error.h"

enum { TURNS = 2 };

typedef struct numbers {
  float *at;
  size_t room;
} numbers;

typedef struct rank_parts {
  numbers parts[TURNS], sum;
  uint64_t turn; /* sums begun */
} rank_parts;

typedef struct host_exchange {
  exchange base;
  mem *m;
  unsigned patience_ms;
  rank_parts *ranks; /* [base.ranks]; each touched by its own rank, its parts read by all once they have met */
  pthread_mutex_t lock;
  pthread_cond_t met;
  /* The rest is the lock's. */
  size_t arrived;
  uint64_t meetings;
  int given_up;
} host_exchange;

static host_exchange *host_of(exchange *e) { return (host_exchange *)(void *)e; }

static viva_status grow(host_exchange *h, numbers *n, size_t count, viva_error *error) {
  if (n->room >= count) return VIVA_OK;
  float *larger = mem_resize(h->m, n->at, count * sizeof *larger);
  if (!larger) return error_set(error, VIVA_E_MEMORY, "no memory to exchange %zu numbers between devices", count);
  *n = (numbers){larger, count};
  return VIVA_OK;
}

static struct timespec deadline(unsigned patience_ms) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  at.tv_sec += patience_ms / 1000;
  at.tv_nsec += (long)(patience_ms % 1000) * 1000000;
  if (at.tv_nsec >= 1000000000) at.tv_sec++, at.tv_nsec -= 1000000000;
  return at;
}

/* Waits until every rank is here. */
static viva_status meet(host_exchange *h, viva_error *error) {
  const struct timespec until = deadline(h->patience_ms);
  pthread_mutex_lock(&h->lock);
  const uint64_t meeting = h->meetings;
  if (!h->given_up && ++h->arrived == h->base.ranks) {
    h->arrived = 0;
    h->meetings++;
    pthread_cond_broadcast(&h->met);
  }
  while (!h->given_up && h->meetings == meeting)
    if (pthread_cond_timedwait(&h->met, &h->lock, &until)) break;
  const int met = h->meetings != meeting, given_up = h->given_up;
  pthread_mutex_unlock(&h->lock);
  if (met) return VIVA_OK;
  if (given_up) return error_set(error, VIVA_E_CANCELLED, "another device of the engine gave up");
  return error_set(error, VIVA_E_CANCELLED, "another device of the engine did not come within %u ms", h->patience_ms);
}

static viva_status host_sum(exchange *e, size_t rank, backend *b, float *x, size_t count, viva_error *error) {
  host_exchange *h = host_of(e);
  rank_parts *own = &h->ranks[rank];
  const size_t turn = own->turn++ % TURNS;
  TRY(grow(h, &own->parts[turn], count, error));
  TRY(grow(h, &own->sum, count, error));
  TRY(b->ops->download(b, own->parts[turn].at, x, count * sizeof *x, error));
  TRY(meet(h, error));
  float *sum = own->sum.at;
  memcpy(sum, h->ranks[0].parts[turn].at, count * sizeof *sum);
  for (size_t r = 1; r < e->ranks; r++) {
    const float *part = h->ranks[r].parts[turn].at;
    for (size_t i = 0; i < count; i++) sum[i] += part[i];
  }
  return b->ops->upload(b, x, sum, count * sizeof *x, error);
}

static void host_give_up(exchange *e) {
  host_exchange *h = host_of(e);
  pthread_mutex_lock(&h->lock);
  h->given_up = 1;
  pthread_cond_broadcast(&h->met);
  pthread_mutex_unlock(&h->lock);
}

static void host_close(exchange *e) {
  host_exchange *h = host_of(e);
  for (size_t r = 0; r < e->ranks; r++) {
    for (size_t i = 0; i < TURNS; i++) mem_free(h->m, h->ranks[r].parts[i].at);
    mem_free(h->m, h->ranks[r].sum.at);
  }
  pthread_cond_destroy(&h->met);
  pthread_mutex_destroy(&h->lock);
  mem_free(h->m, h->ranks);
  mem_free(h->m, h);
}

static const exchange_ops host_ops = {.name = "host", .sum = host_sum, .give_up = host_give_up, .close = host_close};

viva_status exchange_host_open(mem *m, size_t ranks, unsigned patience_ms, exchange **out, viva_error *error) {
  host_exchange *h = mem_zalloc(m, sizeof *h);
  rank_parts *parts = mem_array(m, ranks, sizeof *parts);
  *out = NULL;
  if (!h || !parts) {
    mem_free(m, h);
    mem_free(m, parts);
    return error_set(error, VIVA_E_MEMORY, "no memory for an exchange between %zu devices", ranks);
  }
  *h = (host_exchange){.base = {.ops = &host_ops, .ranks = ranks}, .m = m, .patience_ms = patience_ms, .ranks = parts};
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&h->lock, NULL);
  pthread_cond_init(&h->met, &monotonic);
  pthread_condattr_destroy(&monotonic);
  *out = &h->base;
  return VIVA_OK;
}
