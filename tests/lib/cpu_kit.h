/* tests/lib/cpu_kit.h: CPU backends to compare, random data, and memory that ends at a page nobody may touch. */
#ifndef TESTS_CPU_KIT_H
#define TESTS_CPU_KIT_H

#include "backend/backend.h"
#include "base/pool.h"

/* The tables in viva_cpu_kernels, without AUTO. */
#define KIT_FIRST_TABLE VIVA_KERNELS_REFERENCE
#define KIT_LAST_TABLE  VIVA_KERNELS_AVX512_BF16

typedef struct cpu_kit {
  runtime *rt;
  pool *pool;
  backend *b;
  const backend_ops *ops;
} cpu_kit;

/* 1 when open; 0 when this processor cannot run the table. Fails the test on any other error. */
int kit_open(cpu_kit *kit, viva_cpu_kernels table, int threads);
void kit_close(cpu_kit *kit); /* also checks that all memory came back */

/* bytes of memory followed at once by a page that may not be touched, so that reading one byte too far ends the test.
 * Aligned to `align` only when bytes is a multiple of it. Filled with 0xff: NaN in every format. */
void *kit_guarded(size_t bytes);
void kit_guarded_free(void *memory, size_t bytes);

/* The same sequence on every run. */
uint64_t kit_random(uint64_t *state);
float kit_uniform(uint64_t *state); /* in [−1, 1), 24 bits */
void kit_fill(float *values, size_t count, uint64_t *state);

/* A guarded weight of uniform values, rounded to the format, rows `gap` bytes (a multiple of the element) apart more
 * than needed. */
weight kit_weight(weight_format format, size_t rows, size_t cols, size_t gap, uint64_t *state);
/* The same with the scales chosen; block 0: per row. Packed formats hold random codes and scales, no NaN. */
weight kit_packed(weight_format format, size_t rows, size_t cols, size_t gap, uint32_t block, scale_type scales,
                  uint64_t *state);
void kit_weight_free(weight *w);
size_t kit_weight_bytes(const weight *w); /* of its data */
/* The value, scales and all. */
double kit_weight_at(const weight *w, size_t row, size_t col);

/* 1 when the bits of all values are equal. */
int kit_same(const float *a, const float *b, size_t count);

#endif
