/* bench_calls.h: the times of small calls, as tables. */
#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

#include "viva/viva.h"

/* ns of each call on 8 elements, for each type: into a new tensor (released again), into one that is there; where one is above
 * 100, in brackets the arithmetic alone (bench_arithmetic.h) and what is left: the overhead, of the slower one. only: rows
 * whose name has this in it; NULL: all. passes: how often all is timed. */
void bench_calls(viva_engine *engine, const char *only, int passes);

#endif
