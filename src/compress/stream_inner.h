/* compress/stream_inner.h: chunks on their way through workers, and who watches over them.
 *
 *   the caller's thread                       workers
 *   fills a slot ── submit ──► QUEUED ──► RUNNING ──► DONE ──► taken in order by the caller's thread
 *                                 ▲          │ failed once
 *                                 └──────────┘
 *
 * The crew (slots, threads, failures) is counted: a thread that was given up keeps it alive with its slot until it returns.
 */
#ifndef COMPRESS_STREAM_INNER_H
#define COMPRESS_STREAM_INNER_H

#include <pthread.h>

#include "compress/compress_inner.h"

#define MOST_FAILURES 64 /* of which the times are remembered */

typedef enum slot_state { SLOT_FREE, SLOT_QUEUED, SLOT_RUNNING, SLOT_DONE } slot_state;

typedef struct slot {
  slot_state state;
  int late;      /* its worker was given up, and ends when it comes back */
  int given_up;  /* and the slot with it: the worker frees it */
  size_t worker; /* RUNNING: who has it */
  int attempts;  /* that failed */
  uint64_t id, first_value;
  uint64_t started_ns; /* when a worker took it */
  float *values;       /* [crew.capacity] */
  size_t count;
  segment s; /* DONE: its data are owned by the slot, or NULL: failed, error says why */
  viva_error error;
} slot;

/* For tests: called before each attempt; a status other than OK makes it fail. May take its time. */
typedef viva_status (*stream_fault_fn)(void *user, uint64_t id, int attempt);

typedef struct crew crew;

typedef struct crew_worker {
  pthread_t thread;
  crew *crew;
  size_t number; /* in crew.workers */
} crew_worker;

struct crew {
  _Atomic uint32_t references;
  coder c; /* rt: one reference; pool NULL when there are workers */
  viva_stream_options options;
  size_t capacity; /* values of a slot */
  stream_fault_fn fault;
  void *fault_user;

  pthread_mutex_t lock; /* of all below, and of the slots' state */
  pthread_cond_t work, done;
  slot **slots;
  size_t slot_count;
  crew_worker **workers; /* [options.workers]; NULL: could not be started again */
  int stop;
  uint64_t failures;
  uint64_t failed_at[MOST_FAILURES]; /* a ring */
  uint64_t counted;                  /* failures that count */
  viva_error broken;                 /* too many: code 0 while not */
};

viva_status crew_create(const coder *c, const viva_stream_options *options, size_t capacity, crew **out,
                        viva_error *error);
/* Stops the workers and waits for those that were not given up. */
void crew_free(crew *w);

/* A slot that is free, or NULL. Makes up for one that a lost worker has kept, when there is memory. */
slot *crew_free_slot(crew *w);
/* Hands a filled slot to the workers. */
void crew_submit(crew *w, slot *s);
/* Compresses values (not the slot's own, perhaps) in the calling thread, twice if need be. */
void crew_run(crew *w, slot *s, const float *values);

/* The slot with this id when it is DONE, or past its deadline (s->late; its values may be read, nothing else). NULL: it is not
 * there yet and wait is 0, there is no such slot, or the stream broke. */
slot *crew_take(crew *w, uint64_t id, int wait);
/* After a slot was handed out: it is free again, or the lost worker's. */
void crew_let_go(crew *w, slot *s);

/* For tests, before the first value. */
void stream_set_fault(viva_stream *stream, stream_fault_fn fault, void *user);

#endif
