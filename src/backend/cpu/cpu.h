/* backend/cpu/cpu.h: the CPU backend inside. */
#ifndef BACKEND_CPU_CPU_H
#define BACKEND_CPU_CPU_H

#include <pthread.h>
#include <stdatomic.h>

#include "backend/cpu/kernels.h"
#include "base/pool.h"

/* Floats for the chunks of rows whose attention is cut over positions (decode of few rows with long contexts). */
#define CPU_PARTIAL_FLOATS ((size_t)1 << 18)

/* What is left of one thread's share of a loop: groups [next, end). A cache line each. */
typedef struct cpu_run {
  _Alignas(64) _Atomic size_t next;
  size_t end;
} cpu_run;

typedef struct cpu_backend {
  backend base;
  runtime *rt;
  pool *pool;
  size_t threads;
  cpu_kernels kernels;
  float *scratch; /* [threads][CPU_SCRATCH_FLOATS], of the pool's thread t while it runs a body */
  /* [CPU_PARTIAL_FLOATS] and one more scratch, under partial_lock: kept from a loop of the pool to what follows it. */
  float *partial;
  pthread_mutex_t partial_lock;
  cpu_run *runs; /* [threads], under runs_lock from their setting to the end of the loop */
  pthread_mutex_t runs_lock;
} cpu_backend;

static inline cpu_backend *cpu_of(backend *b) { return (cpu_backend *)(void *)b; }
static inline float *cpu_scratch(cpu_backend *cpu, size_t t) { return cpu->scratch + t * CPU_SCRATCH_FLOATS; }

/* Runs body over [0, count): on the calling thread alone (t = 0, scratch must not be used) when the whole is less than
 * waking the others costs. work: elements touched or multiplied for each item. */
void cpu_spread(cpu_backend *cpu, size_t count, size_t work, pool_body body, void *arg);

/* The slots of the table. */
viva_status cpu_embed(backend *b, const weight *table, const viva_token *tokens, size_t m, float *out,
                      viva_error *error);
viva_status cpu_rmsnorm(backend *b, const float *x, float *y, size_t rows, size_t stride, size_t groups, size_t n,
                        const float *gain, float eps, viva_error *error);
viva_status cpu_linear(backend *b, const linear_args *args, size_t count, viva_error *error);
size_t cpu_quantized_bytes(backend *b, input_mode mode, size_t m, size_t k);
viva_status cpu_quantize_rows(backend *b, input_mode mode, const float *x, size_t x_stride, size_t m, size_t k,
                              void *to, viva_error *error);
viva_status cpu_load_rows(backend *b, const outer_rows *from, size_t rows, size_t cols, float *to, size_t to_stride,
                          uint8_t *bad, viva_error *error);
viva_status cpu_store_rows(backend *b, const float *from, size_t from_stride, size_t rows, size_t cols,
                           const float *bias, const uint8_t *bad, const outer_rows *to, uint64_t *overflows,
                           viva_error *error);
viva_status cpu_rope_append(backend *b, const rope_append_args *args, viva_error *error);
viva_status cpu_attention(backend *b, const attention_args *args, viva_error *error);
viva_status cpu_silu_mul(backend *b, const float *gate, const float *up, float *out, size_t rows, size_t n,
                         size_t stride, viva_error *error);
viva_status cpu_take_rows(backend *b, const float *from, const uint32_t *rows, size_t count, size_t n, size_t stride,
                          float *to, viva_error *error);
viva_status cpu_top(backend *b, const float *logits, size_t rows, size_t n, size_t k, viva_token *ids, float *values,
                    uint8_t *nan, viva_error *error);
viva_status cpu_read_pass(backend *b, const void *dev, size_t bytes, double *seconds, viva_error *error);

#endif
