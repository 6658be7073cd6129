/* base/pool.h: threads that share out a loop.
 *
 * The range is cut statically: thread t of T gets one contiguous run of whole grains. Which thread computes an item
 * must never change its value. The caller takes part as thread 0. Calls from several threads are served one after
 * another; a body must not call the same pool.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/runtime.h"

typedef struct pool pool;

/* Items [begin, end), thread number t < pool_threads(): for indexing scratch memory. */
typedef void (*pool_body)(void *arg, size_t begin, size_t end, size_t t);

/* threads ≥ 1, the caller counted. rt must outlive the pool. Errors: E_MEMORY, E_LIMIT (the system refused a thread; none is left running). */
viva_status pool_create(runtime *rt, int threads, pool **out, viva_error *error);
void pool_free(pool *p); /* NULL is allowed */
int pool_threads(const pool *p);

/* Runs body over [0, count), cut at multiples of grain (≥ 1). Allocates nothing. Waiting threads spin for a short
 * while, then sleep. p may be NULL: the caller does it all. */
void pool_for(pool *p, size_t count, size_t grain, pool_body body, void *arg);

/* One item. thread < pool_threads(): for indexing scratch memory. */
typedef viva_status (*pool_item)(void *arg, size_t i, size_t thread, viva_error *error);

/* Does items 0 … count - 1; VIVA_OK, or status and error of the lowest one that fails, whichever thread meets it: every
 * item before that one was done, those behind it may not have been. Allocates nothing; p may be NULL. */
viva_status pool_try(pool *p, size_t count, pool_item item, void *arg, viva_error *error);

#endif
