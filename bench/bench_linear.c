/* bench/bench_linear.c: matrix products of every weight format and input mode, as shares of what the machine can do.
 *
 *   bench_linear [-t THREADS] [-r ROUNDS] [-k TABLE] [-f FORMAT] [gemv|gemm]...
 *
 * gemv: 1 row times 4096 × 14336 weights that no cache holds, in turn with plain reading of as many bytes, and with one
 *       thread on rows of the same length that stay in its L2, times the threads: what the kernel computes at most. Medians, of
 *       the shares too. Every round takes another copy of the weights.
 * gemm: 512 rows times 1536 × 1536 (SmolLM2's widths), in turn with BF16: the ratio of the medians.
 * FORMAT is a name of the first column; TABLE is reference, avx2, avx512 or avx512-bf16 (default: the best).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "bench_forms.h"

enum { GEMV_N = 4096, GEMV_K = 14336, GEMM_M = 512, GEMM_N = 1536, GEMM_K = 1536 };
#define L2_BYTES    ((size_t)384 << 10) /* of weights: cores of today have 512 KiB and more */
#define L2_REPEAT   8
#define COLD_BYTES  ((size_t)256 << 20) /* several times the last-level cache */
#define ROUNDS_MOST 1000

static double multiply_time(bench *t, backend *b, const linear_args *args) {
  const double begin = seconds();
  t->ops->linear(b, args, 1, NULL);
  return seconds() - begin;
}

/* -- the two measurements */

/* Copies of a matrix. */
typedef struct copies {
  weight w;
  char *memory;
  size_t bytes, count;
} copies;

static copies copies_make(bench *t, const form *f, size_t n, size_t at_least) {
  copies c = {0};
  c.bytes = bench_place(f, n, GEMV_K, NULL, &c.w);
  c.count = at_least / c.bytes + 1;
  c.memory = bench_take(t, c.count * c.bytes);
  bench_place(f, n, GEMV_K, c.memory, &c.w);
  bench_fill(t, f, c.memory, &c.w);
  for (size_t i = 1; i < c.count; i++) memcpy(c.memory + i * c.bytes, c.memory, c.bytes);
  return c;
}

static void gemv(bench *t, const form *f, input_mode mode) {
  copies cold = copies_make(t, f, GEMV_N, COLD_BYTES + (size_t)GEMV_N * GEMV_K);
  copies near = copies_make(t, f, L2_BYTES / bench_code_bytes(f->format, GEMV_K) / 4 * 4, 0);
  inputs in = bench_inputs(t, mode, &cold.w, 1), in_near = bench_inputs(t, mode, &near.w, 1);
  double multiplied[ROUNDS_MOST], read[ROUNDS_MOST], alone[ROUNDS_MOST];
  for (int r = 0; r < t->rounds; r++) {
    const size_t c = (size_t)r * 2 % cold.count;
    t->ops->read_pass(t->b, cold.memory + c * cold.bytes, cold.bytes, &read[r], NULL);
    bench_place(f, GEMV_N, GEMV_K, cold.memory + (c + 1) % cold.count * cold.bytes, &cold.w);
    multiplied[r] = multiply_time(t, t->b, &in.args);
    multiply_time(t, t->alone, &in_near.args); /* into L2 */
    alone[r] = 0;
    for (int i = 0; i < L2_REPEAT; i++) alone[r] += multiply_time(t, t->alone, &in_near.args) / L2_REPEAT;
  }
  const double gigabytes = 1e-9 * (double)cold.bytes, near_gigabytes = 1e-9 * (double)near.bytes * t->threads;
  double share[ROUNDS_MOST], of_l2[ROUNDS_MOST]; /* of what was measured beside it: the memory's speed drifts */
  for (int r = 0; r < t->rounds; r++) {
    share[r] = read[r] / multiplied[r];
    of_l2[r] = gigabytes / multiplied[r] / (near_gigabytes / alone[r]);
  }
  const size_t rounds = (size_t)t->rounds;
  const double took = median(multiplied, rounds);
  printf("gemv  %-13s %-6s %6.2f GB/s  %6.2f Gweight/s  %5.3f of %.2f GB/s  %5.3f of L2's %.2f GB/s\n", f->name,
         bench_modes[mode], gigabytes / took, 1e-9 * GEMV_N * GEMV_K / took, median(share, rounds),
         gigabytes / median(read, rounds), median(of_l2, rounds), near_gigabytes / median(alone, rounds));
  bench_inputs_free(t, &in), bench_inputs_free(t, &in_near);
  t->ops->free(t->b, cold.memory, NULL), t->ops->free(t->b, near.memory, NULL);
}

static void gemm(bench *t, const form *f, input_mode mode) {
  weight w, dense;
  char *memory = bench_take(t, bench_place(f, GEMM_N, GEMM_K, NULL, &w));
  char *beside = bench_take(t, bench_place(&bench_forms[0], GEMM_N, GEMM_K, NULL, &dense));
  bench_place(f, GEMM_N, GEMM_K, memory, &w);
  bench_place(&bench_forms[0], GEMM_N, GEMM_K, beside, &dense);
  bench_fill(t, f, memory, &w);
  bench_fill(t, &bench_forms[0], beside, &dense);
  inputs in = bench_inputs(t, mode, &w, GEMM_M), plain = bench_inputs(t, INPUT_FLOAT, &dense, GEMM_M);
  double times[ROUNDS_MOST], bf16[ROUNDS_MOST];
  for (int r = 0; r < t->rounds; r++) {
    times[r] = multiply_time(t, t->b, &in.args);
    bf16[r] = multiply_time(t, t->b, &plain.args);
  }
  const double took = median(times, (size_t)t->rounds), other = median(bf16, (size_t)t->rounds);
  printf("gemm  %-13s %-6s %7.1f GFLOP/s  %5.2f x bf16's %.1f\n", f->name, bench_modes[mode],
         2e-9 * GEMM_M * GEMM_N * GEMM_K / took, other / took, 2e-9 * GEMM_M * GEMM_N * GEMM_K / other);
  bench_inputs_free(t, &in), bench_inputs_free(t, &plain);
  t->ops->free(t->b, memory, NULL), t->ops->free(t->b, beside, NULL);
}

static const struct part {
  const char *name;
  void (*run)(bench *t, const form *f, input_mode mode);
} parts[] = {{"gemv", gemv}, {"gemm", gemm}};
enum { PARTS = sizeof parts / sizeof parts[0] };

int main(int argc, char **argv) {
  bench t = {.ops = &backend_cpu, .threads = cpu_default_threads(), .rounds = 21, .random = 88172645463325252u};
  unsigned wanted = 0;
  const char *only = NULL;
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(argv[i], "-t") == 0)
      t.threads = atoi(value), i++;
    else if (strcmp(argv[i], "-r") == 0)
      t.rounds = atoi(value), i++;
    else if (strcmp(argv[i], "-f") == 0)
      only = value, i++;
    else if (strcmp(argv[i], "-k") == 0)
      t.table = value, i++;
    else {
      for (unsigned p = 0; p < PARTS; p++)
        if (strcmp(argv[i], parts[p].name) == 0) wanted |= 1u << p;
    }
  }
  if (t.rounds < 1 || t.rounds > ROUNDS_MOST) bench_fail("ROUNDS is 1 to 1000");
  bench_open(&t);
  for (unsigned p = 0; p < PARTS; p++)
    for (size_t f = 0; f < BENCH_FORMS && (wanted == 0 || wanted >> p & 1); f++)
      for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++)
        if (!only || strcmp(only, bench_forms[f].name) == 0) parts[p].run(&t, &bench_forms[f], mode);
  bench_close(&t);
  return 0;
}
