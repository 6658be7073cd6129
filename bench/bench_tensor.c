/* bench_tensor.c: what calls on 8 elements take, and a product beside the same call of OpenBLAS itself, in turns.
 *
 *   bench_tensor calls [PASSES [NAME]]  a table of all calls, or of those with NAME in their names, timed so often (30)
 *   bench_tensor [SIZE [ROUNDS]]      SIZE: of the square matrices; 2048. The ratio is the median of so many pairs (5 to 99)
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "bench_calls.h"

typedef void (*sgemm_fn)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *,
                         int);
enum { ROW_MAJOR = 101, PLAIN = 111, ROUNDS = 5, MOST_ROUNDS = 99, PASSES = 30 };

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
  if (argc > 1 && strcmp(argv[1], "calls") == 0)
    bench_calls(engine, argc > 3 ? argv[3] : NULL, argc > 2 ? atoi(argv[2]) : PASSES);
  else
    product(engine, argc > 1 ? strtoull(argv[1], NULL, 10) : 2048,
            rounds < ROUNDS        ? ROUNDS
            : rounds > MOST_ROUNDS ? MOST_ROUNDS
                                   : rounds);
  viva_engine_release(engine);
  return 0;
}
