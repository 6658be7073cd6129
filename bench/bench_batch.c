/* bench/bench_batch.c: the linear layers of a model with few rows at once, held to what one row and prefill take.
 *
 *   bench_batch [-t THREADS] [-r ROUNDS] [-k TABLE] [-f FORMAT] [-m MODE]
 *
 * SmolLM2-135M's layers and head, random weights, as a step calls them: 1 to 32 rows, and 512 rows of every tenth of them,
 * which gives the time of a row of a long prefill that makes all logits. Each round measures all of these. A line for each
 * format and mode: milliseconds of one row and of a row of prefill, then for each number of rows n its milliseconds and the
 * ratio to the larger of (one row) and (n × a row of prefill), which is to be at most 1.25 (a star where it is not) and never
 * more than n × one row (an exclamation mark). Medians, of the ratios too.
 * One thread's times are the processor's, which waiting for other programs does not lengthen.
 * FORMAT is bf16, fp8 …, MODE float, e4m3, int8 or int4 (default: all but int4, whose kernels are int8's).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "bench_forms.h"

enum { HIDDEN = 576, FFN = 1536, KV = 192, VOCAB = 49152, LAYERS = 30 };
enum { PREFILL = 512, PART = 10, ROUNDS_MOST = 1000 };
#define ALLOWED 1.25

static const size_t counts[] = {1, 2, 3, 4, 5, 6, 8, 12, 16, 17, 24, 32};
enum { COUNTS = sizeof counts / sizeof counts[0] };

/* The matrices of a layer in the order of a step; those that read the same rows are one call. */
static const struct shape {
  size_t n, k, together;
} shapes[] = {{HIDDEN, HIDDEN, 3}, {KV, HIDDEN, 0},  {KV, HIDDEN, 0}, {HIDDEN, HIDDEN, 1},
              {FFN, HIDDEN, 2},    {FFN, HIDDEN, 0}, {HIDDEN, FFN, 1}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], MATRICES = LAYERS * SHAPES + 1 };

typedef struct model {
  const form *form;
  weight w[MATRICES]; /* the last is the head */
  char *memory;
  float *x, *y;
  void *xq;
} model;

static size_t place_all(const form *f, char *memory, model *m) {
  size_t bytes = 0;
  for (size_t i = 0; i < MATRICES; i++) {
    const struct shape s = i + 1 < MATRICES ? shapes[i % SHAPES] : (struct shape){VOCAB, HIDDEN, 1};
    bytes += bench_place(f, s.n, s.k, memory ? memory + bytes : NULL, &m->w[i]);
  }
  return bytes;
}

static void model_open(bench *t, const form *f, model *m) {
  m->form = f;
  m->memory = bench_take(t, place_all(f, NULL, m));
  place_all(f, m->memory, m);
  for (size_t i = 0; i < MATRICES; i++) bench_fill(t, f, (char *)(uintptr_t)m->w[i].data, &m->w[i]);
}

static double now(const bench *t) {
  return clock_seconds(t->threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC);
}

/* count rows times layers [0, layers) and the first rows of the head, each quantised as a step does. */
static double step_time(bench *t, model *m, input_mode mode, size_t count, size_t layers, size_t head_rows) {
  weight head = m->w[MATRICES - 1];
  head.rows = head_rows;
  const double begin = now(t);
  for (size_t i = 0; i <= layers * SHAPES;) {
    const size_t together = i < layers * SHAPES ? shapes[i % SHAPES].together : 1;
    linear_args args[3] = {0};
    float *y = m->y;
    for (size_t j = 0; j < together; j++) {
      const weight *w = i < layers * SHAPES ? &m->w[i + j] : &head;
      args[j] = (linear_args){
          .m = count, .x = m->x, .x_stride = w->cols, .input = mode, .xq = m->xq, .w = w, .y = y, .y_stride = w->rows};
      y += count * w->rows;
    }
    const size_t k = args[0].w->cols;
    if (mode != INPUT_FLOAT) t->ops->quantize_rows(t->b, mode, m->x, k, count, k, m->xq, NULL);
    t->ops->linear(t->b, args, together, NULL);
    i += together;
  }
  return now(t) - begin;
}

static double larger(double a, double b) { return a > b ? a : b; }

static void measure(bench *t, model *m, input_mode mode) {
  static double times[COUNTS][ROUNDS_MOST], ratios[COUNTS][ROUNDS_MOST], whole[COUNTS][ROUNDS_MOST], rows[ROUNDS_MOST];
  m->xq = mode == INPUT_FLOAT ? NULL : bench_take(t, t->ops->quantized_bytes(t->b, mode, PREFILL, FFN));
  const size_t rounds = (size_t)t->rounds;
  for (size_t r = 0; r < rounds; r++) {
    rows[r] = step_time(t, m, mode, PREFILL, LAYERS / PART, VOCAB / PART) * PART / PREFILL;
    for (size_t c = 0; c < COUNTS; c++) times[c][r] = step_time(t, m, mode, counts[c], LAYERS, VOCAB);
    for (size_t c = 0; c < COUNTS; c++) {
      const double n = (double)counts[c];
      ratios[c][r] = times[c][r] / larger(times[0][r], n * rows[r]);
      whole[c][r] = times[c][r] / (n * times[0][r]);
    }
  }
  printf("%-12s %-5s row %6.2f  prefill %6.3f |", m->form->name, bench_modes[mode], 1e3 * median(times[0], rounds),
         1e3 * median(rows, rounds));
  for (size_t c = 1; c < COUNTS; c++) {
    const double ratio = median(ratios[c], rounds);
    printf(" %zu: %.1f %.2f%s%s", counts[c], 1e3 * median(times[c], rounds), ratio, ratio > ALLOWED ? "*" : "",
           median(whole[c], rounds) > 1 ? "!" : "");
  }
  printf("\n");
  if (m->xq) t->ops->free(t->b, m->xq, NULL);
}

int main(int argc, char **argv) {
  bench t = {.ops = &backend_cpu, .threads = cpu_default_threads(), .rounds = 11, .random = 88172645463325252u};
  const char *only = NULL, *only_mode = NULL;
  for (int i = 1; i + 1 < argc; i += 2) {
    const char *value = argv[i + 1];
    if (strcmp(argv[i], "-t") == 0) t.threads = atoi(value);
    if (strcmp(argv[i], "-r") == 0) t.rounds = atoi(value);
    if (strcmp(argv[i], "-k") == 0) t.table = value;
    if (strcmp(argv[i], "-f") == 0) only = value;
    if (strcmp(argv[i], "-m") == 0) only_mode = value;
  }
  if (t.rounds < 1 || t.rounds > ROUNDS_MOST) bench_fail("ROUNDS is 1 to 1000");
  bench_open(&t);
  model *m = malloc(sizeof *m);
  if (!m) bench_fail("out of memory");
  m->x = bench_take(&t, PREFILL * FFN * sizeof(float));
  m->y = bench_take(&t, (size_t)PREFILL * VOCAB / PART * sizeof(float) + (size_t)32 * VOCAB * sizeof(float));
  bench_random(&t, m->x, (size_t)PREFILL * FFN);
  for (size_t f = 0; f < BENCH_FORMS; f++) {
    if (only && strcmp(only, bench_forms[f].name) != 0) continue;
    model_open(&t, &bench_forms[f], m);
    for (input_mode mode = INPUT_FLOAT; mode <= INPUT_INT4; mode++)
      if (only_mode ? strcmp(only_mode, bench_modes[mode]) == 0 : mode != INPUT_INT4) measure(&t, m, mode);
    t.ops->free(t.b, m->memory, NULL);
  }
  t.ops->free(t.b, m->x, NULL), t.ops->free(t.b, m->y, NULL);
  free(m);
  bench_close(&t);
  return 0;
}
