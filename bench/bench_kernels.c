/* bench/bench_kernels.c: how fast the CPU kernels are, as shares of what the machine can do.
 *
 *   bench_kernels [-t THREADS] [-r ROUNDS] [-k TABLE]... [PART]...
 *
 * PART is gemv, gemm, decode or prefill (default: all); TABLE is reference, avx2 or avx512 (default: all this processor
 * runs). The shapes are SmolLM2-135M's; the weights are random. gemv and decode are measured in turn with plain reading
 * (the ceiling), so that noise hits both; their figures are the lower quartile of the times, those of gemm and prefill
 * the best.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/cpu.h"
#include "base/pool.h"
#include "bench.h"
#include "number/number.h"

enum { HIDDEN = 576, FFN = 1536, Q_HEADS = 9, KV_HEADS = 3, HEAD_DIM = 64, VOCAB = 49152, LAYERS = 30 };
enum { PREFILL = 512, CONTEXT = 1024, DECODE_POSITION = 64 };

/* For one kind of measurement, memory that no cache holds. */
#define COLD_BYTES ((size_t)512 << 20)
/* Read or multiplied between two looks at the clock. */
#define SLICE_BYTES ((size_t)16 << 20)

typedef struct bench {
  runtime *rt;
  pool *pool;
  backend *b;
  const backend_ops *ops;
  int threads, rounds;
  uint64_t random;
} bench;

static void fail(const char *what) {
  fprintf(stderr, "bench_kernels: %s\n", what);
  exit(1);
}

static float next_random(bench *t) { /* in (−1, 1); xorshift64 */
  t->random ^= t->random << 13, t->random ^= t->random >> 7, t->random ^= t->random << 17;
  return (float)(int32_t)(t->random >> 32) * 0x1p-31f;
}

/* Times of one kind of work. */
typedef struct times {
  double of[1024];
  size_t count;
} times;

static void add_time(times *all, double begin) {
  if (all->count < sizeof all->of / sizeof all->of[0]) all->of[all->count++] = seconds() - begin;
}

static void read_slice(bench *t, const void *from, size_t bytes, times *all) {
  const double begin = seconds();
  double taken;
  t->ops->read_pass(t->b, from, bytes, &taken, NULL);
  add_time(all, begin);
}

static double quartile(times *all) {
  qsort(all->of, all->count, sizeof all->of[0], by_value);
  return all->of[all->count / 4];
}

static void *take(bench *t, size_t bytes) {
  void *memory;
  if (t->ops->alloc(t->b, bytes, &memory, NULL) != VIVA_OK) memory = NULL;
  if (!memory) fail("out of memory");
  memset(memory, 0, bytes);
  return memory;
}

static float *take_floats(bench *t, size_t count) {
  float *values = take(t, count * sizeof *values);
  for (size_t i = 0; i < count; i++) values[i] = next_random(t);
  return values;
}

/* Random values that repeat: more of them would only make the start longer. */
#define DISTINCT 65536

static void fill_weight(bench *t, weight *w, void *data, weight_format format, size_t rows, size_t cols, float range) {
  const size_t size = weight_element_bytes(format), count = rows * cols;
  *w = (weight){.format = format, .rows = rows, .cols = cols, .row_bytes = cols * size, .data = data};
  for (size_t i = 0; i < count && i < DISTINCT; i++) {
    const float value = next_random(t) * range;
    if (format == WEIGHT_F32)
      ((float *)data)[i] = value;
    else
      ((uint16_t *)data)[i] = format == WEIGHT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
  }
  for (size_t i = DISTINCT; i < count; i += DISTINCT)
    memcpy((char *)data + i * size, data, (count - i < DISTINCT ? count - i : DISTINCT) * size);
}

static const char *const format_names[] = {"f32", "bf16", "f16"};

static void open_backend(bench *t, viva_cpu_kernels kernels) {
  if (t->ops->open(t->rt, t->pool, 0, kernels, &t->b, NULL) != VIVA_OK) fail("the backend does not open");
}

static void close_backend(bench *t) {
  t->ops->close(t->b);
  t->b = NULL;
}

/* -- gemv: one weight shape at a time, cold, against plain reading */

typedef struct shape {
  const char *name;
  size_t n, k;
} shape;

static const shape shapes[] = {
    {"q,k,v", (Q_HEADS + 2 * KV_HEADS) * HEAD_DIM, HIDDEN},
    {"o", HIDDEN, Q_HEADS *HEAD_DIM},
    {"gate,up", 2 * FFN, HIDDEN},
    {"down", HIDDEN, FFN},
    {"head", VOCAB, HIDDEN},
    {"4096x14336", 4096, 14336},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void gemv(bench *t, const char *table) {
  printf("\n%s, 1 row: GB/s of weights and share of plain reading\n", table);
  for (weight_format f = 0; f <= WEIGHT_F16; f++) {
    for (size_t s = 0; s < SHAPES; s++) {
      const size_t bytes = shapes[s].n * shapes[s].k * weight_element_bytes(f);
      const size_t copies = COLD_BYTES / bytes + 1;
      char *data = take(t, copies * bytes);
      float *x = take_floats(t, shapes[s].k), *y = take_floats(t, shapes[s].n);
      weight w;
      fill_weight(t, &w, data, f, shapes[s].n, shapes[s].k, 1);
      for (size_t c = 1; c < copies; c++) memcpy(data + c * bytes, data, bytes);
      const size_t slice = SLICE_BYTES / bytes + 1; /* copies */
      times multiplied = {.count = 0}, read = {.count = 0};
      for (int r = 0; r < t->rounds; r++) {
        for (size_t c = 0; c + 2 * slice <= copies; c += 2 * slice) {
          read_slice(t, data + c * bytes, slice * bytes, &read);
          const double begin = seconds();
          for (size_t i = 0; i < slice; i++) {
            w.data = data + (c + slice + i) * bytes;
            t->ops->linear(
                t->b, &(linear_args){.m = 1, .x = x, .x_stride = w.cols, .w = &w, .y = y, .y_stride = w.rows}, 1, NULL);
          }
          add_time(&multiplied, begin);
        }
      }
      const double took = quartile(&multiplied), least = quartile(&read), gigabytes = 1e-9 * (double)(slice * bytes);
      printf("  %-5s %-10s %6zu x %-5zu  %6.1f GB/s  %5.3f of %.1f\n", format_names[f], shapes[s].name, shapes[s].n,
             shapes[s].k, gigabytes / took, least / took, gigabytes / least);
      t->ops->free(t->b, y, NULL), t->ops->free(t->b, x, NULL), t->ops->free(t->b, data, NULL);
    }
  }
}

/* -- gemm */

static void gemm(bench *t, const char *table) {
  static const size_t rows[] = {2, 4, 8, 16, 64, PREFILL};
  printf("\n%s, m rows: GFLOP/s\n  %-16s", table, "");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) printf("  m=%-5zu", rows[i]);
  printf("\n");
  for (weight_format f = 0; f <= WEIGHT_F16; f++) {
    for (size_t s = 0; s < SHAPES; s++) {
      const size_t n = shapes[s].n, k = shapes[s].k;
      if (n * k > 8000000) continue;
      void *data = take(t, n * k * weight_element_bytes(f));
      float *x = take_floats(t, PREFILL * k), *y = take_floats(t, PREFILL * n);
      weight w;
      fill_weight(t, &w, data, f, n, k, 1);
      printf("  %-5s %-10s", format_names[f], shapes[s].name);
      for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const linear_args a = {.m = rows[i], .x = x, .x_stride = k, .w = &w, .y = y, .y_stride = n};
        double best = 1e9;
        for (int r = 0; r < 2 * t->rounds; r++) {
          const double begin = seconds();
          t->ops->linear(t->b, &a, 1, NULL);
          const double took = seconds() - begin;
          if (took < best) best = took;
        }
        printf("  %-7.1f", 2e-9 * (double)(rows[i] * n * k) / best);
      }
      printf("\n");
      t->ops->free(t->b, y, NULL), t->ops->free(t->b, x, NULL), t->ops->free(t->b, data, NULL);
    }
  }
}

/* -- a whole forward pass, as model/ makes it */

typedef struct layer {
  weight q, k, v, o, gate, up, down;
} layer;

typedef struct net {
  layer layers[LAYERS];
  weight head;
  char *data; /* all weights, one after the other */
  size_t bytes;
  void *pages[(CONTEXT + KV_PAGE - 1) / KV_PAGE];
  uint32_t positions[PREFILL], sequence[PREFILL];
  float *gain, *cos_sin;
  float *hidden, *normed, *q, *k, *v, *attended, *gate, *up, *logits;
} net;

static void place(bench *t, net *m, weight *w, weight_format f, size_t rows, size_t cols) {
  fill_weight(t, w, m->data + m->bytes, f, rows, cols, 0.05f);
  m->bytes += rows * w->row_bytes;
}

static void net_make(bench *t, net *m, weight_format f) {
  const size_t q = Q_HEADS * HEAD_DIM, kv = KV_HEADS * HEAD_DIM;
  const size_t count =
      LAYERS * (2 * (size_t)HIDDEN * q + 2 * HIDDEN * kv + 3 * (size_t)HIDDEN * FFN) + (size_t)VOCAB * HIDDEN;
  *m = (net){.data = take(t, count * weight_element_bytes(f))};
  for (layer *l = m->layers; l < m->layers + LAYERS; l++) {
    place(t, m, &l->q, f, q, HIDDEN), place(t, m, &l->k, f, kv, HIDDEN), place(t, m, &l->v, f, kv, HIDDEN);
    place(t, m, &l->o, f, HIDDEN, q), place(t, m, &l->gate, f, FFN, HIDDEN), place(t, m, &l->up, f, FFN, HIDDEN);
    place(t, m, &l->down, f, HIDDEN, FFN);
  }
  place(t, m, &m->head, f, VOCAB, HIDDEN);
  const kv_layout layout = kv_layout_of(KV_F16, (head_shape){Q_HEADS, KV_HEADS, HEAD_DIM});
  for (size_t i = 0; i < sizeof m->pages / sizeof *m->pages; i++) m->pages[i] = take(t, LAYERS * layout.layer_bytes);
  m->gain = take_floats(t, HIDDEN), m->cos_sin = take_floats(t, PREFILL * HEAD_DIM);
  m->hidden = take_floats(t, PREFILL * HIDDEN), m->normed = take_floats(t, PREFILL * HIDDEN);
  m->q = take_floats(t, PREFILL * q), m->k = take_floats(t, PREFILL * kv), m->v = take_floats(t, PREFILL * kv);
  m->attended = take_floats(t, PREFILL * q), m->gate = take_floats(t, PREFILL * FFN);
  m->up = take_floats(t, PREFILL * FFN), m->logits = take_floats(t, VOCAB);
}

static void net_free(bench *t, net *m) {
  void *const parts[] = {m->data, m->gain, m->cos_sin,  m->hidden, m->normed, m->q,
                         m->k,    m->v,    m->attended, m->gate,   m->up,     m->logits};
  for (size_t i = 0; i < sizeof m->pages / sizeof *m->pages; i++) t->ops->free(t->b, m->pages[i], NULL);
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) t->ops->free(t->b, parts[i], NULL);
}

static linear_args layer_of(size_t m, const float *x, const weight *w, const float *residual, float *y) {
  return (linear_args){.m = m, .x = x, .x_stride = w->cols, .w = w, .residual = residual, .y = y, .y_stride = w->rows};
}

/* Rows at positions [position, position + m), and logits of the last. */
static void net_step(bench *t, net *m, size_t position, size_t rows) {
  const head_shape h = {Q_HEADS, KV_HEADS, HEAD_DIM};
  const size_t q = Q_HEADS * HEAD_DIM, kv = KV_HEADS * HEAD_DIM;
  const batch_span span = {.rows = (uint32_t)rows, .position = (uint32_t)position};
  const batch step = {.rows = rows,
                      .span_count = 1,
                      .kv = kv_layout_of(KV_F16, h),
                      .positions = m->positions,
                      .sequence = m->sequence,
                      .cos_sin = m->cos_sin,
                      .spans = &span,
                      .pages = m->pages};
  for (size_t r = 0; r < rows; r++) m->positions[r] = (uint32_t)(position + r);
  for (size_t i = 0; i < LAYERS; i++) {
    const layer *l = &m->layers[i];
    t->ops->rmsnorm(t->b, m->hidden, m->normed, rows, HIDDEN, 1, HIDDEN, m->gain, 1e-5f, NULL);
    t->ops->linear(t->b,
                   (linear_args[]){layer_of(rows, m->normed, &l->q, NULL, m->q),
                                   layer_of(rows, m->normed, &l->k, NULL, m->k),
                                   layer_of(rows, m->normed, &l->v, NULL, m->v)},
                   3, NULL);
    t->ops->rope_append(t->b, &(rope_append_args){&step, i, h, HEAD_DIM, m->q, m->k, m->v, q, kv}, NULL);
    t->ops->attention(t->b, &(attention_args){&step, i, 0, h, 0.125f, 0, m->q, q, m->attended, q, NULL}, NULL);
    t->ops->linear(t->b, (linear_args[]){layer_of(rows, m->attended, &l->o, m->hidden, m->hidden)}, 1, NULL);
    t->ops->rmsnorm(t->b, m->hidden, m->normed, rows, HIDDEN, 1, HIDDEN, m->gain, 1e-5f, NULL);
    t->ops->linear(t->b,
                   (linear_args[]){layer_of(rows, m->normed, &l->gate, NULL, m->gate),
                                   layer_of(rows, m->normed, &l->up, NULL, m->up)},
                   2, NULL);
    t->ops->silu_mul(t->b, m->gate, m->up, m->gate, rows, FFN, FFN, NULL);
    t->ops->linear(t->b, (linear_args[]){layer_of(rows, m->gate, &l->down, m->hidden, m->hidden)}, 1, NULL);
  }
  const float *last = m->hidden + (rows - 1) * HIDDEN;
  viva_token id;
  uint8_t nan;
  t->ops->rmsnorm(t->b, last, m->normed, 1, HIDDEN, 1, HIDDEN, m->gain, 1e-5f, NULL);
  t->ops->linear(t->b, (linear_args[]){layer_of(1, m->normed, &m->head, NULL, m->logits)}, 1, NULL);
  t->ops->top(t->b, m->logits, 1, VOCAB, 1, &id, NULL, &nan, NULL);
}

static void decode(bench *t, const char *table) {
  printf("\n%s, whole decode step at position %d: share of plain reading\n", table, DECODE_POSITION);
  for (weight_format f = 0; f <= WEIGHT_F16; f++) {
    net m;
    net_make(t, &m, f);
    times steps = {.count = 0}, read = {.count = 0};
    for (int r = 0; r < 4 * t->rounds; r++) {
      read_slice(t, m.data, m.bytes, &read);
      const double begin = seconds();
      net_step(t, &m, DECODE_POSITION, 1);
      add_time(&steps, begin);
    }
    const double took = quartile(&steps), least = quartile(&read), gigabytes = 1e-9 * (double)m.bytes;
    printf("  %-5s  %6.1f tok/s  %6.1f GB/s  %5.3f of %.1f\n", format_names[f], 1 / took, gigabytes / took,
           least / took, gigabytes / least);
    net_free(t, &m);
  }
}

static void prefill(bench *t, const char *table) {
  printf("\n%s, prefill of %d tokens\n", table, PREFILL);
  for (weight_format f = 0; f <= WEIGHT_F16; f++) {
    net m;
    net_make(t, &m, f);
    double best = 1e9;
    for (int r = 0; r < t->rounds; r++) {
      const double begin = seconds();
      net_step(t, &m, 0, PREFILL);
      const double took = seconds() - begin;
      if (took < best) best = took;
    }
    const double flops = 2.0 * PREFILL * (double)((m.bytes - m.head.rows * m.head.row_bytes) / weight_element_bytes(f));
    printf("  %-5s  %7.1f tok/s  %6.1f GFLOP/s in the layers' products alone\n", format_names[f], PREFILL / best,
           flops / best * 1e-9);
    net_free(t, &m);
  }
}

/* -- command line */

typedef struct part {
  const char *name;
  void (*run)(bench *t, const char *table);
} part;

static const part parts[] = {{"gemv", gemv}, {"gemm", gemm}, {"decode", decode}, {"prefill", prefill}};
enum { PARTS = sizeof parts / sizeof parts[0] };

static const char *const tables[] = {"auto", "reference", "avx2", "avx512"};

static unsigned find(const char *name, const char *what, size_t count, const char *(*name_of)(size_t)) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(name, name_of(i)) == 0) return 1u << i;
  fprintf(stderr, "bench_kernels: no %s is called %s\n", what, name);
  exit(1);
}

static const char *part_name(size_t i) { return parts[i].name; }
static const char *table_name(size_t i) { return tables[i]; }

int main(int argc, char **argv) {
  bench t = {.ops = &backend_cpu, .threads = cpu_default_threads(), .rounds = 10, .random = 88172645463325252u};
  unsigned wanted_parts = 0, wanted_tables = 0;
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(argv[i], "-t") == 0)
      t.threads = atoi(value), i++;
    else if (strcmp(argv[i], "-r") == 0)
      t.rounds = atoi(value), i++;
    else if (strcmp(argv[i], "-k") == 0)
      wanted_tables |= find(value, "table", 4, table_name), i++;
    else
      wanted_parts |= find(argv[i], "part", PARTS, part_name);
  }
  t.rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_ERROR);
  if (!t.rt || pool_create(t.rt, t.threads, &t.pool, NULL) != VIVA_OK) fail("no threads");
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("%s, %d threads\n", cpu_get()->name, t.threads);
  for (viva_cpu_kernels k = VIVA_KERNELS_REFERENCE; k <= VIVA_KERNELS_AVX512; k++) {
    if (wanted_tables != 0 && !(wanted_tables & 1u << k)) continue;
    if ((k == VIVA_KERNELS_AVX2 && !cpu_get()->avx2) || (k == VIVA_KERNELS_AVX512 && !cpu_get()->avx512)) continue;
    open_backend(&t, k);
    for (size_t p = 0; p < PARTS; p++)
      if (wanted_parts == 0 || wanted_parts & 1u << p) parts[p].run(&t, tables[k]);
    close_backend(&t);
  }
  pool_free(t.pool);
  runtime_release(t.rt);
  return 0;
}
