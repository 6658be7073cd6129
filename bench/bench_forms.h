/* bench/bench_forms.h: what the benchmarks of matrix products share: a backend, the formats, weights of random codes that
 * are valid (scales of 1), and rows to multiply them with. */
#ifndef BENCH_BENCH_FORMS_H
#define BENCH_BENCH_FORMS_H

#include "backend/backend.h"
#include "bench.h"

typedef struct form {
  const char *name;
  weight_format format;
  uint32_t block;
  scale_type scales;
} form;

#define BENCH_FORMS 9
extern const form bench_forms[BENCH_FORMS];
extern const char *const bench_modes[INPUT_INT4 + 1]; /* names of input_mode */

typedef struct bench {
  runtime *rt;
  pool *pool, *one_thread;
  backend *b, *alone; /* alone: on one thread */
  const backend_ops *ops;
  int threads, rounds;
  const char *table; /* of kernels: -k */
  uint64_t random;
} bench;

/* Ends the program. */
void bench_fail(const char *what);

/* threads, rounds and table are set, the table by name, NULL: the best. Ends the program when it cannot be had; says on
 * stdout what it runs on. */
void bench_open(bench *t);
void bench_close(bench *t);

void *bench_take(bench *t, size_t bytes); /* to be freed with ops->free */

void bench_random(bench *t, float *values, size_t count); /* in [−1, 1) */

size_t bench_code_bytes(weight_format format, size_t cols); /* of a row */
/* A matrix at `memory`: its codes, then its scales. Returns its bytes. */
size_t bench_place(const form *f, size_t n, size_t k, char *memory, weight *w);
void bench_fill(bench *t, const form *f, char *memory, const weight *w);

typedef struct inputs {
  float *x, *y;
  void *xq;
  linear_args args;
} inputs;

/* m random rows for w and their product's place. */
inputs bench_inputs(bench *t, input_mode mode, const weight *w, size_t m);
void bench_inputs_free(bench *t, inputs *in);

#endif
