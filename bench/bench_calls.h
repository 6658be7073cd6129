/* bench_calls.h: the times of small calls, as tables. */
#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

#include "viva/viva.h"

/* ns of each call on 8 elements, for each type: into a new tensor (released again), into one that is there; where one is above
 * 100, in brackets what 8 elements more (of calls along an axis: one row more) take: the arithmetic without the call. only: rows whose name has this in it; NULL: all. */
void bench_calls(viva_engine *engine, const char *only);

#endif
