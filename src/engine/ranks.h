/* engine/ranks.h: the devices of an engine on several of them: a rank is a device and its thread.
 *
 * The engine's own backend is then the CPU's: there models are loaded, and the weights' first form stays there. model/ cuts
 * the decoder (load/cut.h), gives each rank its share, and runs steps on all ranks at once (ranks_run); inside a step the
 * ranks meet in the exchange.
 *
 * A rank whose call fails in the middle of a step, or does not answer in time, ends the engine's ranks: the others are told, and
 * every later call gets E_DEVICE and the words of the one that failed first. Thread-safe: runs happen one after another.
 */
#ifndef ENGINE_RANKS_H
#define ENGINE_RANKS_H

#include <pthread.h>

#include "backend/backend.h"
#include "backend/exchange.h"
#include "base/mem.h"

#define RANKS_MOST 16

/* What a rank does; arg lives as long as the model that it belongs to: a rank that did not answer in time may still run. */
typedef viva_status (*rank_job)(void *arg, size_t rank, viva_error *error);

typedef struct rank_set rank_set;

typedef struct rank_one {
  rank_set *all;
  size_t number;
  backend *b;
  pthread_t thread;
  int started;
  uint64_t failed; /* which of all failures its last one is; its own thread's during a run */
  /* The lock's of all ranks: */
  uint64_t done; /* runs it has ended */
  viva_status status;
  viva_error error;
} rank_one;

struct rank_set {
  runtime *rt;
  size_t count;
  rank_one each[RANKS_MOST];
  exchange *exchange;
  unsigned patience_ms; /* for a whole run */

  int spins; /* devices of their own compute: threads of the host may wait awake for a while */

  _Atomic uint64_t begun_runs; /* as runs, for those who wait awake */
  _Atomic size_t running;      /* ranks that have not ended the run */
  _Atomic uint64_t failures;   /* so far */
  pthread_mutex_t turn;        /* held during a run */
  pthread_mutex_t lock;
  pthread_cond_t begun, ended;
  /* The rest is lock's. */
  rank_job job;
  void *arg;
  int meets;
  uint64_t runs;
  int stop;
  int lost, silent; /* silent: because one did not answer */
  viva_error loss;
};

/* Opens the devices of one kind with these indices, count of them; the same one may be given twice. Errors: those of the
 * backend's open, E_MEMORY, E_LIMIT. */
viva_status ranks_open(runtime *rt, pool *p, const backend_ops *ops, const int32_t *indices, size_t count,
                       viva_cpu_kernels kernels, rank_set **out, viva_error *error);
void ranks_close(rank_set *r); /* NULL is allowed */

/* Runs the job on every rank, each on its own thread, and waits. meets: the jobs meet in the exchange, so that one that fails
 * ends the ranks; others' failures are only told, the one that came first. */
viva_status ranks_run(rank_set *r, rank_job job, void *arg, int meets, viva_error *error);

/* What a call on a rank's backend gave that was made beside runs: E_DEVICE ends the ranks. Returns what the caller is to. */
viva_status ranks_met(rank_set *r, size_t number, viva_status status, viva_error *error);

/* The first one's, with the memory of all. */
void ranks_info(const rank_set *r, viva_device_info *info);

/* E_DEVICE once the ranks have ended. */
viva_status ranks_check(rank_set *r, viva_error *error);

/* 0: a rank that did not answer in time still runs, and what jobs use must stay. */
int ranks_idle(rank_set *r);

#endif
