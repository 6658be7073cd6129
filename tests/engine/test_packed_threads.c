/* Handles used by many threads at once: prepack, retain, linear, release, with nothing left at the end; and the engine
 * released before its handles. */
#include "engine_kit.h"

#include <pthread.h>

#include "lib/fail_alloc.h"
#include "lib/sanitized.h"

#define THREADS 8
#ifdef SANITIZED
#define ROUNDS 500 /* a round costs twenty times as much there */
#else
#define ROUNDS 10000
#endif

#define M 2
#define K 24
#define N 16

static const char *const formats[] = {"fp8", "fp8-b16:f16", "nvfp4", "int8-24", "int4-24", "bf16"};
#define FORMATS (sizeof formats / sizeof *formats)

/* What all threads have in common. */
typedef struct common {
  viva_engine *engine;
  viva_tensor *weight, *input;
  viva_packed_weight *shared; /* used by all, released by each */
  float expected[FORMATS][M * N];
  float expected_shared[M * N];
} common;

typedef struct worker {
  const common *common;
  unsigned number;
  int failures; /* cmocka's asserts belong to the main thread */
} worker;

static int same(const viva_tensor *y, const float *expected) {
  return memcmp(viva_tensor_elements(y), expected, M * N * sizeof(float)) == 0;
}

static int one_round(const common *c, size_t format) {
  viva_linear_options o = viva_linear_options_default();
  viva_packed_weight *p = NULL, *again;
  viva_tensor *y = NULL, *z = NULL;
  viva_error error;
  o.output_dtype = VIVA_F32;
  int wrong = prepack_named(c->engine, formats[format], c->weight, NULL, &p, &error) != VIVA_OK;
  again = viva_packed_weight_retain(p);
  viva_packed_weight_release(p);
  wrong = wrong || viva_linear(c->input, again, NULL, &o, &y, &error) != VIVA_OK || !same(y, c->expected[format]);
  viva_packed_weight_release(again);
  viva_packed_weight *mine = viva_packed_weight_retain(c->shared);
  o.act = VIVA_ACT_INT8;
  wrong = wrong || viva_linear(c->input, mine, NULL, &o, &z, &error) != VIVA_OK || !same(z, c->expected_shared);
  viva_packed_weight_release(mine);
  viva_tensor_release(y), viva_tensor_release(z);
  return wrong;
}

static void *work(void *arg) {
  worker *w = arg;
  for (size_t i = 0; i < ROUNDS; i++) w->failures += one_round(w->common, (i + w->number) % FORMATS);
  return NULL;
}

static void run_threads(const common *c) {
  pthread_t threads[THREADS];
  worker workers[THREADS];
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (worker){.common = c, .number = i};
    assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(workers[i].failures, 0);
  }
}

static void make_common(common *c, viva_engine *engine) {
  uint64_t seed = 9;
  float values[N * K], rows[M * K];
  viva_linear_options o = viva_linear_options_default();
  viva_packed_weight *p;
  viva_tensor *y;
  fill_bell(values, N * K, 0.1f, &seed);
  fill_bell(rows, M * K, 1, &seed);
  c->engine = engine;
  c->weight = matrix_of(engine, VIVA_F16, N, K, values);
  c->input = matrix_of(engine, VIVA_F32, M, K, rows);
  o.output_dtype = VIVA_F32;
  for (size_t i = 0; i < FORMATS; i++) {
    fine(prepack_named(engine, formats[i], c->weight, NULL, &p, &fault));
    fine(viva_linear(c->input, p, NULL, &o, &y, &fault));
    memcpy(c->expected[i], viva_tensor_elements(y), sizeof c->expected[i]);
    viva_packed_weight_release(p);
    viva_tensor_release(y);
  }
  fine(prepack_named(engine, "int4-24-g32", c->weight, NULL, &c->shared, &fault));
  o.act = VIVA_ACT_INT8;
  fine(viva_linear(c->input, c->shared, NULL, &o, &y, &fault));
  memcpy(c->expected_shared, viva_tensor_elements(y), sizeof c->expected_shared);
  viva_tensor_release(y);
}

static void rounds_leave_nothing(void **state) {
  static common c;
  viva_engine *engine = open_engine(VIVA_KERNELS_AUTO, 2);
  (void)state;
  const size_t before = bytes_now(engine);
  make_common(&c, engine);
  const size_t with_common = bytes_now(engine);
  run_threads(&c);
  assert_int_equal(bytes_now(engine), with_common);
  viva_packed_weight_release(c.shared);
  viva_tensor_release(c.weight), viva_tensor_release(c.input);
  assert_int_equal(bytes_now(engine), before);
  viva_engine_release(engine);
}

/* Each thread owns one reference of a handle whose engine is gone already: the last to finish ends both. */
typedef struct heir {
  viva_packed_weight *packed;
  const viva_tensor *input;
  int failures;
} heir;

static void *use_and_release(void *arg) {
  heir *h = arg;
  viva_tensor *y = NULL;
  viva_error error;
  h->failures += viva_linear(h->input, h->packed, NULL, NULL, &y, &error) != VIVA_OK;
  viva_tensor_release(y);
  viva_packed_weight_release(h->packed);
  return NULL;
}

static void the_engine_goes_first(void **state) {
  (void)state;
  for (size_t round = 0; round < 50; round++) {
    static common c;
    fail_alloc memory;
    viva_engine_options options = viva_engine_options_default();
    pthread_t threads[THREADS];
    heir heirs[THREADS];
    viva_engine *engine;
    fail_alloc_init(&memory, 0, 0);
    options.allocator = &memory.table, options.threads = 2;
    fine(viva_engine_open(&options, &engine, &fault));
    make_common(&c, engine);
    for (size_t i = 0; i < THREADS; i++)
      heirs[i] = (heir){.packed = viva_packed_weight_retain(c.shared), .input = c.input};
    viva_packed_weight_release(c.shared);
    viva_engine_release(engine);
    for (size_t i = 0; i < THREADS; i++)
      assert_int_equal(pthread_create(&threads[i], NULL, use_and_release, &heirs[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
      assert_int_equal(pthread_join(threads[i], NULL), 0);
      assert_int_equal(heirs[i].failures, 0);
    }
    viva_tensor_release(c.weight), viva_tensor_release(c.input); /* outlive even the engine's end */
    assert_int_equal(memory.live, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rounds_leave_nothing),
      cmocka_unit_test(the_engine_goes_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
