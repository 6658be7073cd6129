/* bench/bench_layers.c: large products and whole linear layers on an NVIDIA GPU, from rows of 16 bits to rows of 16 bits,
 * beside the libraries' bare products in turn in one run.
 *
 *   bench_layers [-r ROUNDS] [M N K]      default: the shapes of docs/benchmarks.md
 *
 * Medians of ROUNDS (21) by events on the stream; weights take turns so that none is in L2; before each that is timed the same
 * runs once, so that clocks are its own. A peer is the fastest of what its library proposes, found here. Ratios are to the peer
 * named in the line, T/s 2·M·N·K / time. cuSPARSELt is a peer only; LD_LIBRARY_PATH names where both libraries are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "backend/cuda/lt_table.h"
#include "backend/cuda/sparse_product.h"
#include "bench_forms.h"
#include "number/number.h"

extern const backend_ops backend_cuda;

enum { ROUNDS_MOST = 101, SEARCH_ROUNDS = 5, ENTRIES_MOST = 40, COPIES_MOST = 8, PROPOSALS = 24 };
#define COLD_BYTES      ((size_t)160 << 20) /* of one weight's copies: more than twice the L2 */
#define WORKSPACE_BYTES ((size_t)64 << 20)

typedef struct shape {
  int m, n, k;
} shape;

/* What all entries of a shape share; device memory. */
typedef struct floor_space {
  bench t;
  cuda_backend *c;
  lt_library lt;
  sparse_library sparse;
  shape s;
  uint16_t *x;    /* F16 [m][k] */
  uint16_t *bias; /* F16 [n] */
  uint8_t *codes; /* [m][k] */
  float *scales;  /* [m] */
  void *y;        /* [m][n], of four bytes at most */
  void *workspace;
} floor_space;

/* One weight in several places. */
typedef struct rotating {
  weight w[COPIES_MOST];
  void *memory;
  size_t count;
} rotating;

typedef struct entry entry;
struct entry {
  char name[96];
  void (*run)(floor_space *f, const entry *e, int i);
  int peer; /* the entry it is compared with; its own number: none */
  rotating *weights, *ups;
  linear_outer_args layer;
  lt_problem problem;
  lt_product product;
  sparse_product sparse;
  const void *compressed;
  double times[ROUNDS_MOST];
};

static void must(int right, const char *what, const viva_error *error) {
  if (right) return;
  fprintf(stderr, "%s: %s\n", what, error ? error->message : "");
  exit(1);
}

/* -- weights: random codes, of which none is a NaN */

static uint32_t random_bits(bench *t) {
  t->random ^= t->random << 13, t->random ^= t->random >> 7, t->random ^= t->random << 17;
  return (uint32_t)(t->random >> 32);
}

static void fill_random(bench *t, weight_format format, uint8_t *to, size_t bytes) {
  static const uint8_t nibbles[6] = {4, 8, 9, 12, 13, 14}; /* two of four places */
  const size_t block = format == WEIGHT_INT8_24   ? sizeof(int8_24_block)
                       : format == WEIGHT_INT4_24 ? sizeof(int4_24_block)
                                                  : bytes;
  const size_t kept = format == WEIGHT_INT8_24 || format == WEIGHT_INT4_24 ? block - SPARSE_24_GROUPS / 2 : block;
  for (size_t i = 0; i < bytes; i++) {
    const uint32_t r = random_bits(t);
    if (i % block >= kept)
      to[i] = (uint8_t)(nibbles[r % 6] | nibbles[(r >> 8) % 6] << 4);
    else if (format == WEIGHT_FP8 && (r & 0x7f) == 0x7f)
      to[i] = 0;
    else
      to[i] = (uint8_t)(format == WEIGHT_F16 && i % 2 ? r & 0xbb : r); /* F16 below 1 */
  }
}

static rotating make_weights(floor_space *f, const form *of, size_t n, size_t k) {
  rotating r = {.count = 1};
  const size_t bytes = bench_place(of, n, k, NULL, &r.w[0]);
  while (r.count < COPIES_MOST && r.count * bytes < COLD_BYTES) r.count++;
  r.memory = bench_take(&f->t, r.count * bytes);
  char *host = malloc(bytes);
  must(host != NULL, "no memory", NULL);
  bench_place(of, n, k, host, &r.w[0]);
  fill_random(&f->t, of->format, (uint8_t *)host, n * r.w[0].row_bytes);
  uint8_t *const scales = (uint8_t *)(uintptr_t)r.w[0].scales;
  for (size_t i = 0; i < n * r.w[0].scale_row_bytes; i += scale_bytes(of->scales)) switch (of->scales) {
    case SCALE_F32: memcpy(scales + i, &(float){0x1p-7f}, sizeof(float)); break;
    case SCALE_F16: memcpy(scales + i, &(uint16_t){0x2000}, sizeof(uint16_t)); break; /* 2^-7 */
    default: scales[i] = (uint8_t)(0x30 + random_bits(&f->t) % 16); break;            /* E4M3: 0.5 to 1.9 */
    }
  for (size_t i = 0; i < r.count; i++) {
    char *const at = (char *)r.memory + i * bytes;
    must(f->t.ops->upload(f->t.b, at, host, bytes, NULL) == VIVA_OK, "an upload", NULL);
    bench_place(of, n, k, at, &r.w[i]);
  }
  must(f->t.ops->upload_wait(f->t.b, NULL) == VIVA_OK, "an upload", NULL);
  free(host);
  return r;
}

/* -- what is timed */

static void run_layer(floor_space *f, const entry *e, int i) {
  linear_outer_args a = e->layer;
  viva_error error = {0};
  a.w = &e->weights->w[(size_t)i % e->weights->count];
  if (e->ups) a.up = &e->ups->w[(size_t)i % e->ups->count];
  must(f->t.ops->linear_outer(f->t.b, &a, &error) == VIVA_OK, e->name, &error);
}

static lt_operands operands_of(const floor_space *f, const entry *e, int i) {
  const weight *w = &e->weights->w[(size_t)i % e->weights->count];
  return (lt_operands){.x = e->problem.input == LT_E4M3 ? (const void *)f->codes : f->x,
                       .w = w->data,
                       .channel_scale = e->problem.scales ? w->scales : NULL,
                       .row_scale = e->problem.scales ? f->scales : NULL,
                       .bias = e->problem.bias ? f->bias : NULL,
                       .y = f->y,
                       .workspace = f->workspace,
                       .workspace_bytes = WORKSPACE_BYTES};
}

static void run_lt(floor_space *f, const entry *e, int i) {
  const lt_operands o = operands_of(f, e, i);
  viva_error error = {0};
  lt_product product = e->product;
  must(lt_product_run(&f->lt, &product, &o, f->c->stream, &error) == VIVA_OK, e->name, &error);
}

/* The same by the table's algorithm, as a layer runs it. */
static void run_table(floor_space *f, const entry *e, int i) {
  const lt_operands o = operands_of(f, e, i);
  viva_error error = {0};
  must(cuda_lt_multiply(f->c, &e->problem, &o, &error) == VIVA_OK, e->name, &error);
}

/* The product by our own kernel. */
static void run_product(floor_space *f, const entry *e, int i) {
  const weight *w = &e->weights->w[(size_t)i % e->weights->count];
  const gemm_problem p = {.kind = e->problem.full ? GEMM_FP8_FULL : GEMM_FP8_FAST,
                          .output = GEMM_F16,
                          .m = f->s.m,
                          .n = f->s.n,
                          .k = f->s.k};
  const gemm_operands o = {.x = f->codes,
                           .w = w->data,
                           .channel_scale = w->scales,
                           .row_scale = f->scales,
                           .bias = w->scales, /* FP32 [n] */
                           .scale = 1,
                           .y = f->y};
  must(f->c->kernels->gemm(&p, &o, 1, f->c->stream) == 0, e->name, NULL);
}

static void run_sparse(floor_space *f, const entry *e, int i) {
  viva_error error = {0};
  (void)i;
  must(sparse_product_run(&f->sparse, &e->sparse, e->compressed, f->codes, f->y, f->workspace, f->c->stream, &error) ==
           VIVA_OK,
       e->name, &error);
}

static void run_rows(floor_space *f, const entry *e, int i) {
  (void)e, (void)i;
  must(f->c->kernels->rows(ROWS_F16, f->x, (size_t)f->s.k, f->s.m, f->s.k, ROWS_TO_E4M3, f->codes, f->scales,
                           f->c->stream) == 0,
       "rows", NULL);
}

/* As many bytes as quantising reads and writes: 3 a value. */
static void run_copy(floor_space *f, const entry *e, int i) {
  const size_t bytes = (size_t)f->s.m * (size_t)f->s.k * 3 / 2;
  (void)e, (void)i;
  must(f->t.ops->copy(f->t.b, f->y, f->x, bytes, NULL) == VIVA_OK, "a copy", NULL);
}

static double time_once(floor_space *f, const entry *e, int i) {
  float milliseconds = 0;
  const cuda_api *api = f->c->api;
  e->run(f, e, 2 * i);
  api->EventRecord(f->c->begin, f->c->stream);
  e->run(f, e, 2 * i + 1);
  api->EventRecord(f->c->end, f->c->stream);
  must(api->EventSynchronize(f->c->end) == cudaSuccess, e->name, NULL);
  api->EventElapsedTime(&milliseconds, f->c->begin, f->c->end);
  return (double)milliseconds * 1e3;
}

static double quick(floor_space *f, entry *e) {
  double times[SEARCH_ROUNDS];
  for (int i = 0; i < SEARCH_ROUNDS; i++) times[i] = time_once(f, e, i);
  return median(times, SEARCH_ROUNDS);
}

/* -- peers */

/* Leaves the fastest of the library's proposals in e. 0: it has none. */
static int find_lt(floor_space *f, entry *e) {
  lt_algorithm proposals[PROPOSALS];
  double best = 0;
  int found = -1;
  if (lt_product_make(&f->lt, &e->problem, NULL, WORKSPACE_BYTES, &e->product, NULL) != VIVA_OK) return 0;
  const int count = lt_product_proposals(&f->lt, &e->product, WORKSPACE_BYTES, PROPOSALS, proposals);
  for (int i = 0; i <= count; i++) { /* the last time around: the best again */
    lt_product_end(&f->lt, &e->product);
    const lt_algorithm *wanted = i < count ? &proposals[i] : found < 0 ? NULL : &proposals[found];
    if (lt_product_make(&f->lt, &e->problem, wanted, WORKSPACE_BYTES, &e->product, NULL) != VIVA_OK) continue;
    if (i == count) break;
    const double took = quick(f, e);
    if (found < 0 || took < best) found = i, best = took;
  }
  return found >= 0;
}

static int try_sparse(floor_space *f, entry *e, const sparse_algorithm *a, double *best) {
  sparse_product made;
  if (sparse_product_make(&f->sparse, f->s.m, f->s.n, f->s.k, a, &made, NULL) != VIVA_OK) return 0;
  entry test = *e;
  test.sparse = made;
  double took = 0;
  if (made.workspace_bytes <= WORKSPACE_BYTES &&
      sparse_product_run(&f->sparse, &made, e->compressed, f->codes, f->y, f->workspace, f->c->stream, NULL) == VIVA_OK)
    took = quick(f, &test);
  sparse_product_end(&f->sparse, &made);
  if (took == 0 || (*best > 0 && took >= *best)) return 0;
  *best = took;
  return 1;
}

/* The fastest algorithm and split for a matrix of zeros beside random rows: the library's form of it. */
static int find_sparse(floor_space *f, entry *e) {
  const size_t dense_bytes = (size_t)f->s.n * (size_t)f->s.k;
  if (!f->sparse.file || sparse_product_make(&f->sparse, f->s.m, f->s.n, f->s.k, NULL, &e->sparse, NULL) != VIVA_OK)
    return 0;
  int8_t *host = malloc(dense_bytes), *dense = bench_take(&f->t, dense_bytes);
  must(host != NULL, "no memory", NULL);
  for (size_t i = 0; i < dense_bytes; i += 4) {
    const uint32_t r = random_bits(&f->t);
    const int8_t group[2][4] = {{(int8_t)r, 0, (int8_t)(r >> 8), 0}, {0, (int8_t)r, 0, (int8_t)(r >> 8)}};
    memcpy(host + i, group[r >> 31], 4);
  }
  must(f->t.ops->upload(f->t.b, dense, host, dense_bytes, NULL) == VIVA_OK, "an upload", NULL);
  void *const compressed = bench_take(&f->t, e->sparse.compressed_bytes);
  void *const buffer = bench_take(&f->t, e->sparse.buffer_bytes + 16);
  viva_error error = {0};
  must(sparse_product_compress(&f->sparse, &e->sparse, dense, compressed, buffer, f->c->stream, &error) == VIVA_OK,
       "compressing", &error);
  e->compressed = compressed;
  const int most = sparse_product_algorithms(&f->sparse, &e->sparse);
  sparse_algorithm best = {-1, 1, 0, 0};
  double best_time = 0;
  for (int id = 0; id < most; id++)
    for (int split = 1; split <= 2; split++) {
      const sparse_algorithm a = {id, split, split > 1, split - 1};
      if (try_sparse(f, e, &a, &best_time)) best = a;
    }
  sparse_product_end(&f->sparse, &e->sparse);
  f->t.ops->free(f->t.b, dense, NULL), f->t.ops->free(f->t.b, buffer, NULL);
  free(host);
  return sparse_product_make(&f->sparse, f->s.m, f->s.n, f->s.k, &best, &e->sparse, NULL) == VIVA_OK;
}

/* -- a shape's table */

typedef struct table {
  floor_space *f;
  entry entries[ENTRIES_MOST];
  int count;
} table;

static entry *add(table *t, const char *name, void (*run)(floor_space *f, const entry *e, int i), int peer,
                  rotating *weights) {
  must(t->count < ENTRIES_MOST, "too many entries", NULL);
  entry *const e = &t->entries[t->count++];
  memset(e, 0, sizeof *e);
  snprintf(e->name, sizeof e->name, "%s", name);
  e->run = run, e->peer = peer < 0 ? t->count - 1 : peer, e->weights = weights;
  return e;
}

/* A peer's number; −1 where there is none, and nothing is added. */
static int add_lt(table *t, const char *name, lt_problem p, rotating *weights) {
  entry *const e = add(t, name, run_lt, -1, weights);
  p.m = t->f->s.m, p.n = t->f->s.n, p.k = t->f->s.k;
  e->problem = p;
  if (find_lt(t->f, e)) return t->count - 1;
  t->count--;
  return -1;
}

static int add_layer(table *t, const char *name, int peer, rotating *weights, rotating *ups, input_mode mode,
                     accumulation accumulate, activation act, const outer_rows *bias) {
  const shape s = t->f->s;
  entry *const e = add(t, name, run_layer, peer, weights);
  e->ups = ups;
  e->layer = (linear_outer_args){.rows = (size_t)s.m,
                                 .x = {VIVA_F16, t->f->x, s.k, 1},
                                 .y = {VIVA_F16, t->f->y, (ptrdiff_t)weights->w[0].rows, 1},
                                 .mode = mode,
                                 .accumulate = accumulate,
                                 .act = act,
                                 .bias = bias};
  return t->count - 1;
}

/* The product of a whole layer by cuBLASLt: the fastest that it proposes, by its numbers (lt_table.c's), and the table's. */
static void add_whole_lt(table *t, const char *name, int peer, rotating *weights, int gelu) {
  const lt_problem p = {LT_E4M3, LT_F16, LT_SCALES_OUTER, 0, 1, gelu, t->f->s.m, t->f->s.n, t->f->s.k};
  const lt_gpu gpu = {t->f->c->gpu.major, t->f->c->gpu.minor, t->f->c->gpu.multiprocessors};
  const int found = add_lt(t, name, p, weights);
  if (found < 0) return;
  entry *const best = &t->entries[found];
  const lt_algorithm a = lt_product_algorithm(&t->f->lt, &best->product);
  snprintf(best->name, sizeof best->name, "%s: {%d, %u, %u, %u, %u, %u, %u, %u, %u}", name, a.id, a.tile, a.stages,
           a.split_k, a.reduction, a.swizzle, a.custom, a.inner, a.cluster);
  best->peer = peer < 0 ? found : peer;
  if (!lt_table_find(&gpu, &p)) return;
  entry *const e = add(t, name, run_table, peer, weights);
  snprintf(e->name, sizeof e->name, "%s, lt_table's", name);
  e->problem = p;
}

static void add_product(table *t, const char *name, int peer, rotating *weights, int full) {
  add(t, name, run_product, peer, weights)->problem.full = full;
}

static void time_table(table *t) {
  for (int r = 0; r < t->f->t.rounds; r++)
    for (int i = 0; i < t->count; i++) t->entries[i].times[r] = time_once(t->f, &t->entries[i], r);
  double medians[ENTRIES_MOST];
  const shape s = t->f->s;
  const double operations = 2e-6 * s.m * s.n * s.k; /* T/s by µs */
  for (int i = 0; i < t->count; i++) medians[i] = median(t->entries[i].times, (size_t)t->f->t.rounds);
  printf("| M %d, N %d, K %d | µs | T/s | of |\n|---|---|---|---|\n", s.m, s.n, s.k);
  for (int i = 0; i < t->count; i++) {
    const entry *const e = &t->entries[i];
    char ratio[128] = "";
    if (e->peer != i)
      snprintf(ratio, sizeof ratio, "%.3f × %s", medians[e->peer] / medians[i], t->entries[e->peer].name);
    printf("| %s | %.1f | %.0f | %s |\n", e->name, medians[i], operations / medians[i], ratio);
  }
}

static void add_fp8(table *t, rotating *fp8, rotating *halves, const outer_rows *bias) {
  const int fast =
      add_lt(t, "cuBLASLt FP8 bare, fast", (lt_problem){LT_E4M3, LT_BF16, LT_SCALES_NONE, 0, 0, 0, 0, 0, 0}, fp8);
  const int full =
      add_lt(t, "cuBLASLt FP8 bare, full", (lt_problem){LT_E4M3, LT_BF16, LT_SCALES_NONE, 1, 0, 0, 0, 0, 0}, fp8);
  add_product(t, "fp8 product, scales, bias", fast, fp8, 0);
  add_whole_lt(t, "cuBLASLt FP8, scales, bias", fast, fp8, 0);
  add_whole_lt(t, "cuBLASLt FP8, scales, bias, GELU", fast, fp8, 1);
  add_product(t, "fp8 product, full", full, fp8, 1);
  const int plain = add_layer(t, "linear_fp8", fast, fp8, NULL, INPUT_E4M3, ACCUMULATE_FAST, ACTIVATION_NONE, bias);
  add_layer(t, "linear_fp8, full", full, fp8, NULL, INPUT_E4M3, ACCUMULATE_FULL, ACTIVATION_NONE, bias);
  add_layer(t, "linear_gelu_fp8", plain, fp8, NULL, INPUT_E4M3, ACCUMULATE_FAST, ACTIVATION_GELU_TANH, bias);
  add_layer(t, "linear_swiglu_fp8, N/2", plain, &halves[0], &halves[1], INPUT_E4M3, ACCUMULATE_FAST, ACTIVATION_NONE,
            NULL);
  add_layer(t, "linear_swiglu_fp8, N/2, full", full, &halves[0], &halves[1], INPUT_E4M3, ACCUMULATE_FULL,
            ACTIVATION_NONE, NULL);
}

static void time_shape(floor_space *f, shape s) {
  static const form forms[] = {{"fp8", WEIGHT_FP8, 0, SCALE_F32},       {"b16", WEIGHT_FP8, 16, SCALE_F32},
                               {"nvfp4", WEIGHT_NVFP4, 16, SCALE_E4M3}, {"int8", WEIGHT_INT8_24, 0, SCALE_F32},
                               {"int4", WEIGHT_INT4_24, 0, SCALE_F32},  {"f16", WEIGHT_F16, 0, SCALE_F32}};
  enum { FORMS = sizeof forms / sizeof *forms };
  const size_t m = (size_t)s.m, n = (size_t)s.n, k = (size_t)s.k;
  static table t;
  memset(&t, 0, sizeof t);
  t.f = f;
  f->s = s;
  rotating all[FORMS], halves[2];
  for (size_t i = 0; i < FORMS; i++) all[i] = make_weights(f, &forms[i], n, k);
  for (size_t i = 0; i < 2; i++) halves[i] = all[0];
  for (size_t i = 0; i < all[0].count; i++) { /* the upper and the lower half of the same matrix */
    halves[0].w[i].rows = halves[1].w[i].rows = n / 2;
    halves[1].w[i].data = (const char *)all[0].w[i].data + n / 2 * k;
    halves[1].w[i].scales = (const char *)all[0].w[i].scales + n / 2 * sizeof(float);
  }
  f->x = bench_take(&f->t, m * k * 4), f->codes = bench_take(&f->t, m * k),
  f->scales = bench_take(&f->t, m * sizeof(float));
  f->y = bench_take(&f->t, m * (n > k ? n : k) * sizeof(float)), f->bias = bench_take(&f->t, n * sizeof(uint16_t));
  uint16_t *host = malloc(m * k * sizeof *host);
  must(host != NULL, "no memory", NULL);
  for (size_t i = 0; i < m * k; i++) host[i] = f16_from_f32((float)(int32_t)random_bits(&f->t) * 0x1p-31f);
  must(f->t.ops->upload(f->t.b, f->x, host, m * k * sizeof *host, NULL) == VIVA_OK, "an upload", NULL);
  must(f->t.ops->upload(f->t.b, f->bias, host, n * sizeof *host, NULL) == VIVA_OK, "an upload", NULL);
  run_rows(f, NULL, 0);
  const outer_rows bias = {VIVA_F16, f->bias, 0, 1};
  add_fp8(&t, &all[0], halves, &bias);
  const int f16 = add_lt(&t, "cuBLASLt F16", (lt_problem){LT_F16, LT_F16, LT_SCALES_NONE, 0, 0, 0, 0, 0, 0}, &all[5]);
  add_layer(&t, "linear_fp8_w8a16", f16, &all[0], NULL, INPUT_FLOAT, ACCUMULATE_FAST, ACTIVATION_NONE, NULL);
  add_layer(&t, "linear_fp8_w8a16, blocks of 16", f16, &all[1], NULL, INPUT_FLOAT, ACCUMULATE_FAST, ACTIVATION_NONE,
            NULL);
  add_layer(&t, "linear_nvfp4, 16 bits", f16, &all[2], NULL, INPUT_FLOAT, ACCUMULATE_FAST, ACTIVATION_NONE, NULL);
  entry *const e = add(&t, "cuSPARSELt INT8 2:4, int32", run_sparse, -1, NULL);
  int sparse = t.count - 1;
  if (!find_sparse(f, e)) t.count--, sparse = -1;
  add_layer(&t, "linear_int8_sparse", sparse, &all[3], NULL, INPUT_INT8, ACCUMULATE_FAST, ACTIVATION_NONE, &bias);
  add_layer(&t, "linear_int4_sparse", sparse, &all[4], NULL, INPUT_INT8, ACCUMULATE_FAST, ACTIVATION_NONE, &bias);
  const int copy = t.count;
  add(&t, "copy of 3 bytes a value", run_copy, -1, NULL);
  add(&t, "rows of F16 to E4M3", run_rows, copy, NULL);
  time_table(&t);
  for (int i = 0; i < t.count; i++) lt_product_end(&f->lt, &t.entries[i].product);
  if (sparse >= 0) sparse_product_end(&f->sparse, &t.entries[sparse].sparse);
  if (sparse >= 0) f->t.ops->free(f->t.b, (void *)(uintptr_t)t.entries[sparse].compressed, NULL);
  void *const taken[] = {f->x, f->codes, f->scales, f->y, f->bias};
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) f->t.ops->free(f->t.b, taken[i], NULL);
  for (size_t i = 0; i < FORMS; i++) f->t.ops->free(f->t.b, all[i].memory, NULL);
  free(host);
}

int main(int argc, char **argv) {
  static const shape shapes[] = {{8192, 8192, 8192},  {2048, 6144, 4096},  {2048, 4096, 4096},
                                 {2048, 28672, 4096}, {2048, 4096, 14336}, {2048, 10240, 8192},
                                 {2048, 8192, 8192},  {2048, 57344, 8192}, {2048, 8192, 28672}};
  floor_space f = {.t = {.ops = &backend_cuda, .threads = 1, .rounds = 21, .random = 88172645463325252u}};
  int numbers[3], count = 0;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "-r") == 0 && i + 1 < argc)
      f.t.rounds = atoi(argv[++i]);
    else if (count < 3)
      numbers[count++] = atoi(argv[i]);
  }
  must(f.t.rounds >= 1 && f.t.rounds <= ROUNDS_MOST && (count == 0 || count == 3), "bench_layers [-r ROUNDS] [M N K]",
       NULL);
  bench_open(&f.t);
  f.c = cuda_of(f.t.b);
  viva_error error = {0};
  must(lt_library_open(&library_loader_system, &f.lt, &error) == VIVA_OK, "no peer", &error);
  if (sparse_library_open(&library_loader_system, &f.sparse, &error) != VIVA_OK) printf("%s\n", error.message);
  printf("cuBLASLt %zu, cuSPARSELt %d\n", f.lt.version, f.sparse.version);
  f.workspace = bench_take(&f.t, WORKSPACE_BYTES);
  if (count)
    time_shape(&f, (shape){numbers[0], numbers[1], numbers[2]});
  else
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) time_shape(&f, shapes[i]);
  f.t.ops->free(f.t.b, f.workspace, NULL);
  lt_library_close(&f.lt);
  sparse_library_close(&f.sparse);
  bench_close(&f.t);
  return 0;
}
