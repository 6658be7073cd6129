/* bench_load: how long a model takes to be ready, its file cached. A client of the public headers.
 *
 *   bench_load MODEL DEVICE [WEIGHTS [ROUNDS]]   DEVICE: cpu or cuda. WEIGHTS: as stored without it. ROUNDS: 5
 *
 * GB/s are of the bytes that are held. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <viva/viva.h>

#include "bench.h"

enum { MOST = 100 };

static viva_error error;

static void need(viva_status status) {
  char text[1200];
  if (status == VIVA_OK) return;
  viva_error_format(&error, text, sizeof text);
  fprintf(stderr, "bench_load: %s\n", text);
  exit(1);
}

int main(int argc, char **argv) {
  const int rounds = argc > 4 ? atoi(argv[4]) : 5;
  double took[MOST];
  viva_engine *engine;
  viva_engine_options e = viva_engine_options_default();
  viva_model_options o = viva_model_options_default();
  viva_memory_plan plan = {.size = sizeof plan};
  if (argc < 3 || rounds < 1 || rounds > MOST) {
    fprintf(stderr, "bench_load MODEL cpu|cuda [WEIGHTS [ROUNDS]]\n");
    return 2;
  }
  e.device = strcmp(argv[2], "cuda") == 0 ? VIVA_DEVICE_CUDA : VIVA_DEVICE_CPU;
  if (argc > 3) o.weights = argv[3];
  o.context = 512;
  need(viva_engine_open(&e, &engine, &error));
  need(viva_model_plan(engine, argv[1], &o, &plan, &error));
  for (int i = 0; i <= rounds; i++) { /* the first reads the file */
    viva_model *model;
    const double begin = seconds();
    need(viva_model_load(engine, argv[1], &o, &model, &error));
    if (i > 0) took[i - 1] = seconds() - begin;
    viva_model_release(model);
  }
  const double ms = median(took, (size_t)rounds) * 1e3, least = took[0] * 1e3;
  printf("%s, %s: %.1f ms (least %.1f), %.2f GB held, %.2f GB/s\n", argv[2], argc > 3 ? argv[3] : "stored", ms, least,
         (double)plan.weight_bytes * 1e-9, (double)plan.weight_bytes * 1e-6 / ms);
  viva_engine_release(engine);
  return 0;
}
