/* bench_arithmetic.h: the arithmetic of small calls alone: the library's kernels on 8 values in the type that they compute in,
 * dense, in plain arrays: no tensors, no checks, no conversions, no results to be made.
 *
 * A library of its own, which has kernels of libviva inside: what libviva does not export is not there for a program.
 */
#ifndef BENCH_ARITHMETIC_H
#define BENCH_ARITHMETIC_H

#include "viva/viva.h"

enum { ARITHMETIC_CALLS = 100, ARITHMETIC_ROUNDS = 12 };

/* ns of the kernels of a row of bench_calls' tables: op of a table, or, op < 0, one of the other calls. 0: it has none (places
 * that are copied, views). */
VIVA_API double arithmetic_ns(const char *row, const char *table, int op, viva_dtype type);

#endif
