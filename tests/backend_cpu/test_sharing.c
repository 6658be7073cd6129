/* Several threads call one backend at once, as sessions of one engine do; each must get what it gets alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>

#include "lib/paged_kit.h"

enum { USERS = 4, REPEATS = 8, ROWS = 20, HIDDEN = 96, DIM = 32, Q_HEADS = 3, CAPACITY = 800, WIDTH = Q_HEADS * DIM };

/* What one session works on. */
typedef struct user {
  cpu_kit *kit;
  const weight *w;
  float x[ROWS * HIDDEN], y[ROWS * HIDDEN], q[WIDTH], out[WIDTH], normed[ROWS * HIDDEN];
  paged_kit cache;
  int wrong;
} user;

static user users[USERS], expected[USERS];

/* Few rows, many rows, attention cut over positions and alone, and row operations. */
static void work(user *u) {
  const backend_ops *ops = u->kit->ops;
  const linear_args many = {.m = ROWS, .x = u->x, .x_stride = HIDDEN, .w = u->w, .y = u->y, .y_stride = HIDDEN};
  linear_args few = many;
  few.m = 3;
  few.residual = u->y;
  ops->rmsnorm(u->kit->b, u->x, u->normed, ROWS, HIDDEN, 1, HIDDEN, u->x, 1e-5f, NULL);
  ops->linear(u->kit->b, &many, 1, NULL);
  ops->linear(u->kit->b, &few, 1, NULL);
  for (size_t position = 20; position < CAPACITY; position += 700) {
    const batch_span span = {.rows = 1, .position = (uint32_t)position};
    batch step = u->cache.b;
    step.spans = &span;
    const attention_args a = {.step = &step,
                              .h = u->cache.h,
                              .scale = 0.2f,
                              .q = u->q,
                              .q_stride = WIDTH,
                              .out = u->out,
                              .out_stride = WIDTH};
    ops->attention(u->kit->b, &a, NULL);
  }
}

static void *run_user(void *arg) {
  user *u = arg;
  for (int i = 0; i < REPEATS; i++) {
    memset(u->y, 0, sizeof u->y);
    work(u);
    const user *right = &expected[u - users];
    if (!kit_same(u->y, right->y, ROWS * HIDDEN) || !kit_same(u->out, right->out, WIDTH) ||
        !kit_same(u->normed, right->normed, ROWS * HIDDEN))
      u->wrong = 1;
  }
  return NULL;
}

static void users_do_not_disturb_each_other(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    uint64_t seed = 3;
    if (!kit_open(&kit, table, 3)) continue;
    weight w = kit_weight(WEIGHT_BF16, HIDDEN, HIDDEN, 0, &seed);
    pthread_t threads[USERS];
    for (size_t i = 0; i < USERS; i++) {
      user *u = &users[i];
      *u = (user){.kit = &kit, .w = &w};
      kit_fill(u->x, ROWS * HIDDEN, &seed), kit_fill(u->q, WIDTH, &seed);
      u->cache = paged_kit_make((head_shape){Q_HEADS, 1, DIM}, KV_F16, 1, &(kit_range){0, CAPACITY}, 1);
      paged_kit_fill(&u->cache, &seed);
      expected[i] = *u;
      work(&expected[i]);
    }
    for (size_t i = 0; i < USERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, run_user, &users[i]), 0);
    for (size_t i = 0; i < USERS; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < USERS; i++) assert_int_equal(users[i].wrong, 0);
    for (size_t i = 0; i < USERS; i++) paged_kit_free(&users[i].cache);
    kit_weight_free(&w);
    kit_close(&kit);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(users_do_not_disturb_each_other)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
