/* bench_tensor.c: what a call on 8 elements costs, and a product beside the same call of OpenBLAS itself, in turns.
 *
 *   bench_tensor [SIZE [ROUNDS]]      SIZE: of the square matrices; 2048. The ratio is the median of so many pairs (5 to 99)
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "viva/viva.h"

typedef void (*sgemm_fn)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *,
                         int);
enum { ROW_MAJOR = 101, PLAIN = 111, CALLS = 200000, ROUNDS = 5, MOST_ROUNDS = 99 };

static void small_calls(viva_engine *engine) {
  const uint64_t shape[1] = {8};
  viva_tensor *a, *b, *out, *fresh;
  viva_tensor_full(engine, VIVA_F32, 1, shape, 1, &a, NULL);
  viva_tensor_full(engine, VIVA_F32, 1, shape, 2, &b, NULL);
  viva_tensor_create(engine, VIVA_F32, 1, shape, &out, NULL);
  double into = 1, made = 1;
  for (int r = 0; r < ROUNDS; r++) {
    double begin = seconds();
    for (int i = 0; i < CALLS; i++) viva_tensor_binary_into(VIVA_ADD, a, b, out, NULL);
    double took = (seconds() - begin) / CALLS;
    into = took < into ? took : into;
    begin = seconds();
    for (int i = 0; i < CALLS; i++) {
      viva_tensor_binary(VIVA_ADD, a, b, &fresh, NULL);
      viva_tensor_release(fresh);
    }
    took = (seconds() - begin) / CALLS;
    made = took < made ? took : made;
  }
  printf("add of 8 elements: %.0f ns into a tensor, %.0f ns into a new one\n", into * 1e9, made * 1e9);
  viva_tensor_release(a), viva_tensor_release(b), viva_tensor_release(out);
}

static void product(viva_engine *engine, uint64_t n, int rounds) {
  const uint64_t shape[2] = {n, n};
  viva_tensor *a, *b, *out;
  sgemm_fn sgemm = NULL;
  viva_tensor_random(engine, VIVA_F32, 2, shape, NULL, &a, NULL);
  viva_tensor_random(engine, VIVA_F32, 2, shape, NULL, &b, NULL);
  viva_tensor_create(engine, VIVA_F32, 2, shape, &out, NULL);
  viva_tensor_matmul_into(a, b, out, NULL); /* opens the library */
  void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_NOLOAD);
  void *symbol = library ? dlsym(library, "cblas_sgemm") : NULL;
  if (symbol) memcpy(&sgemm, &symbol, sizeof sgemm);
  double direct = 1e9, ours = 1e9, ratios[MOST_ROUNDS];
  for (int r = 0; r < rounds; r++) {
    double took[2] = {1, 1};
    for (int k = 0; k < 2; k++) { /* each goes first in every second pair */
      const int own = (k + r) % 2;
      const double begin = seconds();
      if (own)
        viva_tensor_matmul_into(a, b, out, NULL);
      else if (sgemm)
        sgemm(ROW_MAJOR, PLAIN, PLAIN, (int)n, (int)n, (int)n, 1, viva_tensor_elements(a), (int)n,
              viva_tensor_elements(b), (int)n, 0, viva_tensor_elements(out), (int)n);
      took[own] = seconds() - begin;
    }
    ours = took[1] < ours ? took[1] : ours;
    direct = took[0] < direct ? took[0] : direct;
    ratios[r] = took[0] / took[1];
  }
  const double flops = 2.0 * (double)n * (double)n * (double)n;
  printf("product of %llu: viva %.1f GFLOP/s", (unsigned long long)n, flops / ours / 1e9);
  if (sgemm)
    printf(", OpenBLAS itself %.1f: ratio of the best %.3f, median %.3f", flops / direct / 1e9, direct / ours,
           median(ratios, (size_t)rounds));
  printf("\n");
  viva_tensor_release(a), viva_tensor_release(b), viva_tensor_release(out);
}

int main(int argc, char **argv) {
  viva_engine *engine;
  viva_engine_options options = viva_engine_options_default();
  options.threads = 1;
  if (viva_engine_open(&options, &engine, NULL) != VIVA_OK) return 1;
  const int rounds = argc > 2 ? atoi(argv[2]) : ROUNDS;
  small_calls(engine);
  product(engine, argc > 1 ? strtoull(argv[1], NULL, 10) : 2048,
          rounds < ROUNDS        ? ROUNDS
          : rounds > MOST_ROUNDS ? MOST_ROUNDS
                                 : rounds);
  viva_engine_release(engine);
  return 0;
}
