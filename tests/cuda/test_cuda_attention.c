/* The CUDA backend's cache and attention, beside the CPU's plain reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cuda_kit.h"

#define EPSILON 0x1p-24

static cuda_kit kit;

typedef struct setup {
  head_shape h;
  kv_type type;
  size_t window;
  kit_range spans[KIT_SPANS];
  size_t span_count;
} setup;

/* -- rope_append: each value is two products and a sum, rounded one by one, so the bits are equal */

static void compare_pages(const cuda_step *s) {
  const size_t bytes = cuda_step_page_bytes(s), pages = s->cpu.page_count;
  char *far = malloc(bytes);
  for (size_t i = 0; i < pages; i++) {
    cuda_kit_get(&kit, far, s->far + (pages - 1 - i) * bytes, bytes);
    for (size_t b = 0; b < bytes; b++)
      if (far[b] != ((const char *)s->cpu.pages[i])[b])
        fail_msg("rope_append, type %d: page %zu differs at byte %zu of %zu", (int)s->cpu.kv.type, i, b, bytes);
  }
  free(far);
}

/* gap: values between the rows, which stay. */
static void append_of(setup t, size_t rotary, size_t gap) {
  const size_t layers = 2, wide = t.h.q_heads * t.h.head_dim + gap, narrow = t.h.kv_heads * t.h.head_dim + gap;
  cuda_step s = cuda_kit_step_begin(&kit, t.h, t.type, layers, rotary, t.spans, t.span_count, 0);
  const size_t rows = s.cpu.rows, q_bytes = rows * wide * sizeof(float), kv_bytes = rows * narrow * sizeof(float);
  float *q = malloc(q_bytes), *k = malloc(kv_bytes), *v = malloc(kv_bytes), *gpu = malloc(q_bytes);
  uint64_t seed = rotary;
  kit_fill(q, rows * wide, &seed), kit_fill(k, rows * narrow, &seed), kit_fill(v, rows * narrow, &seed);
  for (size_t i = 0; i < narrow; i++) { /* sizes for the scales of FP8, and what F16 cannot hold */
    v[i] = 0;
    if (rows > 1) v[narrow + i] *= 1e5f;
    if (rows > 2) v[2 * narrow + i] *= 1e-6f;
    if (rows > 3) v[3 * narrow + i] *= 1e9f;
  }
  if (rows > 4) v[4 * narrow] = INFINITY;
  float *far_q = cuda_kit_put(&kit, q, q_bytes), *far_k = cuda_kit_put(&kit, k, kv_bytes);
  float *far_v = cuda_kit_put(&kit, v, kv_bytes);
  rope_append_args a = {.step = &s.cpu,
                        .layer = 1,
                        .h = t.h,
                        .rotary_dim = rotary,
                        .q = q,
                        .k = k,
                        .v = v,
                        .q_stride = wide,
                        .kv_stride = narrow};
  kit.cpu.ops->rope_append(kit.cpu.b, &a, NULL);
  a.step = &s.gpu, a.q = far_q, a.k = far_k, a.v = far_v;
  assert_int_equal(kit.ops->rope_append(kit.b, &a, NULL), VIVA_OK);
  cuda_kit_get(&kit, gpu, far_q, q_bytes);
  cuda_kit_same("rope_append, q", q, gpu, rows * wide);
  cuda_kit_get(&kit, gpu, far_k, kv_bytes);
  cuda_kit_same("rope_append, k", k, gpu, rows * narrow);
  compare_pages(&s);
  cuda_kit_step_end(&kit, &s);
  cuda_kit_drop(&kit);
  free(q), free(k), free(v), free(gpu);
}

static void rope_rotates_and_appends(void **state) {
  static const size_t dims[] = {8, 24, 64, 80, 96, 128, 256};
  (void)state;
  for (kv_type type = KV_F16; type < KV_TYPES; type++)
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
      for (size_t part = 1; part <= 2; part++)
        for (size_t gap = 0; gap <= 4; gap += 2) /* with 2, most rows begin at no multiple of 16 bytes */
          append_of((setup){{6, 2, dims[d]}, type, 0, {{0, 5}, {61, 9}, {200, 1}}, 3}, dims[d] / part, gap);
}

/* -- attention */

/* Bounds of one output: twice that of tests/backend_cpu/test_attention.c, as either side is off by it; and where rows are
 * many, what FP16 queries, weights and values add: 2^-11 of each term of a score, of each weight, of each value, in numerator
 * and denominator. Values are at most 1. */
typedef struct attention_bound {
  double each;
} attention_bound;

static double bound_of(const void *arg, size_t i) {
  (void)i;
  return ((const attention_bound *)arg)->each;
}

/* The largest Σ|q · k| · scale of any row and position: of all dimensions' largest products it is at most their sum. */
static double largest_score(const setup *t, const float *q, size_t rows) {
  double most = 0;
  for (size_t r = 0; r < rows * t->h.q_heads; r++) {
    double sum = 0;
    for (size_t d = 0; d < t->h.head_dim; d++) sum += fabs((double)q[r * t->h.head_dim + d]);
    most = fmax(most, sum);
  }
  return most / sqrt((double)t->h.head_dim);
}

enum { FEW = 32 }; /* rows of a step whose arithmetic is FP32 */

static attention_bound bounds(const setup *t, const batch *b, const float *q) {
  const double off = largest_score(t, q, b->rows), n = (double)b->longest;
  attention_bound bound = {2 * (2 * ((double)t->h.head_dim / 8 + 6) * off + 2 * 4 + n + n / 64 + 8) * EPSILON};
  if (b->rows > FEW && t->type != KV_F32) bound.each += 2 * (off + 2) * 0x1p-11;
  return bound;
}

typedef struct attention_io {
  attention_args cpu, gpu;
  float *q, *expected, *found, *again;
  size_t rows, kept, width;
} attention_io;

static attention_io io_begin(const setup *t, const cuda_step *s) {
  attention_io io = {.rows = s->cpu.rows, .kept = s->cpu.kept, .width = t->h.q_heads * t->h.head_dim};
  const size_t bytes = io.rows * io.width * sizeof(float);
  uint64_t seed = io.width + t->window;
  io.q = malloc(bytes), io.expected = malloc(bytes), io.found = malloc(bytes), io.again = malloc(bytes);
  kit_fill(io.q, io.rows * io.width, &seed);
  io.cpu = (attention_args){.step = &s->cpu,
                            .h = t->h,
                            .scale = 1.0f / sqrtf((float)t->h.head_dim),
                            .window = t->window,
                            .q = io.q,
                            .q_stride = io.width,
                            .out = io.expected,
                            .out_stride = io.width};
  io.gpu = io.cpu;
  io.gpu.step = &s->gpu;
  io.gpu.q = cuda_kit_put(&kit, io.q, bytes);
  io.gpu.out = cuda_kit_put(&kit, NULL, bytes);
  return io;
}

static void io_end(attention_io *io) { free(io->q), free(io->expected), free(io->found), free(io->again); }

static void attend(attention_io *io, int kept, float *found) {
  io->gpu.kept = kept;
  assert_int_equal(kit.ops->attention(kit.b, &io->gpu, NULL), VIVA_OK);
  cuda_kit_get(&kit, found, io->gpu.out, (kept ? io->kept : io->rows) * io->width * sizeof(float));
}

/* The kept rows alone: the bits they have in company, as long as all are few. */
static void check_kept(attention_io *io, const attention_bound *bound) {
  io->cpu.kept = 1;
  kit.cpu.ops->attention(kit.cpu.b, &io->cpu, NULL);
  attend(io, 1, io->again);
  (void)cuda_kit_near("attention, kept", io->expected, io->again, io->kept * io->width, bound_of, bound);
  const batch *b = io->cpu.step;
  for (size_t i = 0; i < io->kept && io->rows <= FEW; i++)
    cuda_kit_same("attention, kept or not", io->found + b->kept_rows[i] * io->width, io->again + i * io->width,
                  io->width);
}

static double attention_of(setup t) {
  cuda_step s = cuda_kit_step_begin(&kit, t.h, t.type, 1, 2, t.spans, t.span_count, 1);
  attention_io io = io_begin(&t, &s);
  const attention_bound bound = bounds(&t, &s.cpu, io.q);
  kit.cpu.ops->attention(kit.cpu.b, &io.cpu, NULL);
  attend(&io, 0, io.found);
  char what[128];
  snprintf(what, sizeof what, "attention, type %d, heads %zu/%zu of %zu, window %zu, first span %zu + %zu", (int)t.type,
           t.h.q_heads, t.h.kv_heads, t.h.head_dim, t.window, t.spans[0].position, t.spans[0].rows);
  const double share = cuda_kit_near(what, io.expected, io.found, io.rows * io.width, bound_of, &bound);
  attend(&io, 0, io.again);
  cuda_kit_same("attention, again", io.found, io.again, io.rows * io.width);
  check_kept(&io, &bound);
  io_end(&io);
  cuda_kit_step_end(&kit, &s);
  cuda_kit_drop(&kit);
  return share;
}

static void every_shape_is_right(void **state) {
  static const size_t dims[] = {8, 16, 40, 64, 72, 80, 96, 128, 136, 256};
  static const head_shape groups[] = {{1, 1, 64}, {2, 2, 64},   {3, 1, 64},  {9, 3, 64}, {32, 8, 128}, {32, 4, 64},
                                      {8, 1, 32}, {16, 2, 256}, {7, 1, 128}, {60, 1, 8}, {40, 40, 128}};
  static const size_t windows[] = {1, 5, 16, 63, 64, 65, 100, 1000};
  double most[2] = {0, 0};
  (void)state;
  for (kv_type type = KV_F16; type < KV_TYPES; type++) {
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
      const setup few = {{8, 2, dims[i]}, type, 0, {{0, 3}, {61, 5}, {130, 1}, {1000, 1}}, 4};
      const setup many = {{8, 2, dims[i]}, type, 0, {{0, 70}, {61, 65}, {130, 1}, {300, 129}}, 4};
      most[0] = fmax(most[0], attention_of(few)), most[1] = fmax(most[1], attention_of(many));
    }
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
      const setup few = {groups[i], type, 0, {{0, 1}, {15, 2}, {16, 1}, {299, 3}}, 4};
      const setup many = {groups[i], type, 0, {{0, 1}, {5, 33}, {127, 3}, {63, 64}}, 4};
      most[0] = fmax(most[0], attention_of(few)), most[1] = fmax(most[1], attention_of(many));
    }
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
      const setup few = {{6, 2, 64}, type, windows[i], {{0, 7}, {200, 1}, {63, 3}, {4000, 1}}, 4};
      const setup many = {{6, 2, 64}, type, windows[i], {{0, 130}, {200, 1}, {190, 40}}, 3};
      most[0] = fmax(most[0], attention_of(few)), most[1] = fmax(most[1], attention_of(many));
    }
  }
  printf("attention: at most %.3f of the bound with few rows, %.3f with many\n", most[0], most[1]);
}

/* Blocks of positions that all rows of a tile see whole, before and behind those that only some do; more tiles than a GPU has
 * multiprocessors. */
static void many_rows_are_right(void **state) {
  static const size_t windows[] = {0, 129, 400};
  (void)state;
  for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
    attention_of((setup){{8, 2, 128}, KV_F16, windows[i], {{0, 300}}, 1});
    attention_of((setup){{8, 2, 128}, KV_F16, windows[i], {{1001, 33}, {385, 97}, {700, 130}}, 3});
    attention_of((setup){{9, 3, 64}, KV_F16, windows[i], {{640, 127}, {3, 129}}, 2});
    attention_of((setup){{5, 1, 80}, KV_F16, windows[i], {{511, 41}}, 1});
    attention_of((setup){{4, 2, 96}, KV_F16, windows[i], {{512, 300}}, 1});
  }
  attention_of((setup){{72, 18, 64}, KV_F16, 0, {{130, 300}}, 1});
  attention_of((setup){{32, 8, 128}, KV_F16, 0, {{250, 290}}, 1});
}

/* Rotation, cache and attention at once have the bits of one after the other. */
static void turned_of(setup t, size_t rotary, int taken) {
  const size_t wide = t.h.q_heads * t.h.head_dim, narrow = t.h.kv_heads * t.h.head_dim;
  cuda_step s = cuda_kit_step_begin(&kit, t.h, t.type, 1, rotary, t.spans, t.span_count, 1);
  attention_io io = io_begin(&t, &s);
  const size_t rows = io.rows, bytes = rows * wide * sizeof(float), kv_bytes = rows * narrow * sizeof(float);
  float *k = malloc(kv_bytes), *v = malloc(kv_bytes);
  uint64_t seed = rotary;
  kit_fill(k, rows * narrow, &seed), kit_fill(v, rows * narrow, &seed);
  rope_append_args turn = {.step = &s.gpu,
                           .h = t.h,
                           .rotary_dim = rotary,
                           .q = (float *)(uintptr_t)io.gpu.q,
                           .q_stride = wide,
                           .kv_stride = narrow};
  turn.k = cuda_kit_put(&kit, k, kv_bytes), turn.v = cuda_kit_put(&kit, v, kv_bytes);
  assert_int_equal(kit.ops->turn_attention(kit.b, &turn, &io.gpu, NULL), taken ? VIVA_OK : VIVA_E_UNSUPPORTED);
  if (taken) cuda_kit_get(&kit, io.found, io.gpu.out, bytes);
  turn.k = cuda_kit_put(&kit, k, kv_bytes); /* turned where it lay */
  assert_int_equal(kit.ops->upload(kit.b, turn.q, io.q, bytes, NULL), VIVA_OK);
  assert_int_equal(kit.ops->rope_append(kit.b, &turn, NULL), VIVA_OK);
  attend(&io, 0, io.again);
  if (taken) cuda_kit_same("attention, turned on the way", io.again, io.found, rows * wide);
  io_end(&io);
  cuda_kit_step_end(&kit, &s);
  cuda_kit_drop(&kit);
  free(k), free(v);
}

static void queries_turn_on_their_way(void **state) {
  (void)state;
  turned_of((setup){{8, 2, 128}, KV_F16, 0, {{100, 150}}, 1}, 128, 1);
  turned_of((setup){{6, 2, 64}, KV_F16, 70, {{0, 290}}, 1}, 32, 1);
  turned_of((setup){{5, 1, 80}, KV_F16, 0, {{3, 77}}, 1}, 80, 1);
  turned_of((setup){{6, 2, 64}, KV_F16, 0, {{0, 290}}, 1}, 24, 0); /* halves of a piece and a half */
  turned_of((setup){{6, 2, 64}, KV_F16, 0, {{0, 90}, {5, 60}}, 2}, 64, 1);
  turned_of((setup){{8, 2, 128}, KV_F16, 0, {{100, 150}, {300, 1}, {7, 1}, {130, 1}}, 4}, 128, 1);
  turned_of((setup){{6, 2, 64}, KV_F16, 70, {{2100, 1}, {0, 290}, {63, 1}, {64, 5}}, 4}, 32, 1);
  turned_of((setup){{6, 2, 64}, KV_F16, 0, {{0, 90}, {5, 4}}, 2}, 64, 0);
  turned_of((setup){{6, 2, 64}, KV_FP8, 0, {{0, 90}}, 1}, 64, 0);
  turned_of((setup){{6, 2, 256}, KV_F16, 0, {{0, 90}}, 1}, 64, 0);
}

static void long_contexts_are_right(void **state) {
  (void)state;
  for (kv_type type = KV_F16; type < KV_TYPES; type++) {
    attention_of((setup){{32, 8, 128}, type, 0, {{4095, 1}}, 1});
    attention_of((setup){{32, 4, 64}, type, 0, {{2043, 9}, {4096, 1}, {4000, 2}, {0, 1}}, 4});
    attention_of((setup){{9, 3, 64}, type, 777, {{4000, 40}}, 1});
  }
}

/* Each row of a step of up to 16 alone has the same bits. */
static void neighbours_do_not_change_bits(void **state) {
  const setup t = {{32, 8, 128}, KV_F16, 0, {{5, 3}, {300, 1}, {1023, 4}, {2000, 8}}, 4};
  (void)state;
  cuda_step s = cuda_kit_step_begin(&kit, t.h, t.type, 1, 2, t.spans, t.span_count, 1);
  attention_io io = io_begin(&t, &s);
  attend(&io, 0, io.found);
  attention_args a = io.gpu;
  batch one = s.gpu;
  a.step = &one;
  one.rows = 1;
  for (size_t row = 0; row < io.rows; row++) {
    one.positions = s.gpu.positions + row;
    one.sequence = s.gpu.sequence + row;
    a.q = io.gpu.q + row * io.width;
    assert_int_equal(kit.ops->attention(kit.b, &a, NULL), VIVA_OK);
    cuda_kit_get(&kit, io.again, a.out, io.width * sizeof(float));
    cuda_kit_same("attention, alone", io.found + row * io.width, io.again, io.width);
  }
  io_end(&io);
  cuda_kit_step_end(&kit, &s);
  cuda_kit_drop(&kit);
}

/* A NaN in a query stays in its row and head; one in a value reaches the rows that see it and no others. */
static void nan_of(kv_type type, size_t dim, size_t position, size_t rows) {
  const setup t = {{4, 2, dim}, type, 50, {{position, rows}}, 1};
  cuda_step s = cuda_kit_step_begin(&kit, t.h, t.type, 1, 2, t.spans, 1, 1);
  attention_io io = io_begin(&t, &s);
  const attention_bound bound = bounds(&t, &s.cpu, io.q);
  const size_t bytes = cuda_step_page_bytes(&s);
  paged_kit_set(&s.pages, 0, KIT_VALUE, 1, position - 1, 5, NAN);
  io.q[1 * io.width + dim + 3] = NAN;
  for (size_t i = 0; i < s.cpu.page_count; i++)
    kit.ops->upload(kit.b, s.far + (s.cpu.page_count - 1 - i) * bytes, s.pages.pages[i], bytes, NULL);
  kit.ops->upload(kit.b, (void *)(uintptr_t)io.gpu.q, io.q, rows * io.width * sizeof(float), NULL);
  kit.cpu.ops->attention(kit.cpu.b, &io.cpu, NULL);
  attend(&io, 0, io.found);
  (void)cuda_kit_near("attention, NaN", io.expected, io.found, rows * io.width, bound_of, &bound);
  io_end(&io);
  cuda_kit_step_end(&kit, &s);
  cuda_kit_drop(&kit);
}

static void nan_stays_where_it_belongs(void **state) {
  (void)state;
  nan_of(KV_F32, 64, 10, 20);
  nan_of(KV_F32, 64, 10, 90);
  static const size_t dims[] = {64, 128, 256}; /* by tensor cores: on the first page, on one that comes later */
  for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
    nan_of(KV_F16, dims[d], 10, 90);
    nan_of(KV_F16, dims[d], 100, 150);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rope_rotates_and_appends),   cmocka_unit_test(every_shape_is_right),
      cmocka_unit_test(long_contexts_are_right),    cmocka_unit_test(neighbours_do_not_change_bits),
      cmocka_unit_test(nan_stays_where_it_belongs), cmocka_unit_test(many_rows_are_right),
      cmocka_unit_test(queries_turn_on_their_way),
  };
  const int unavailable = cuda_kit_open(&kit, 300, 8192, 128 * 128);
  if (unavailable) return unavailable;
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  cuda_kit_close(&kit);
  return failed;
}
