/* Attention: against a softmax in double, and bit for bit against itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/paged_kit.h"

#define EPSILON 0x1p-24

typedef struct setup {
  head_shape h;
  size_t window;
  kv_type type;
  kit_range spans[KIT_SPANS];
  size_t span_count;
} setup;

/* Arguments in guarded memory. Pages hold values up to the last row's position and NaN in the rest. */
typedef struct inputs {
  setup s;
  paged_kit k;
  float *q, *out;
  size_t rows, q_bytes;
} inputs;

static inputs inputs_make(setup s, uint64_t seed) {
  inputs in = {.s = s, .k = paged_kit_make(s.h, s.type, 1, s.spans, s.span_count)};
  const size_t width = s.h.q_heads * s.h.head_dim;
  paged_kit_fill(&in.k, &seed);
  in.rows = in.k.b.rows;
  in.q_bytes = in.rows * width * sizeof(float);
  in.q = kit_guarded(in.q_bytes);
  in.out = kit_guarded(in.q_bytes);
  kit_fill(in.q, in.rows * width, &seed);
  return in;
}

static attention_args args_of(const inputs *in, const batch *step) {
  const size_t width = in->s.h.q_heads * in->s.h.head_dim;
  return (attention_args){.step = step,
                          .h = in->s.h,
                          .scale = 1.0f / sqrtf((float)in->s.h.head_dim),
                          .window = in->s.window,
                          .q = in->q,
                          .q_stride = width,
                          .out = in->out,
                          .out_stride = width};
}

/* The batch with these spans in place of its own. */
static batch with_spans(const inputs *in, const batch_span *spans, size_t count) {
  batch b = in->k.b;
  b.spans = spans;
  b.span_count = count;
  return b;
}

static void inputs_free(inputs *in) {
  paged_kit_free(&in->k);
  kit_guarded_free(in->q, in->q_bytes);
  kit_guarded_free(in->out, in->q_bytes);
}

static void attend(cpu_kit *kit, const inputs *in) {
  const batch step = with_spans(in, in->k.spans, in->s.span_count);
  const attention_args a = args_of(in, &step);
  assert_int_equal(kit->ops->attention(kit->b, &a, NULL), VIVA_OK);
}

/* One row and head in double. *bound: a score is off by at most (head_dim/8 + 6) roundings of Σ|q·k|·scale, which moves
 * a weight by that much of itself, in numerator and denominator; each exponential by 2 ulp; sums over n positions and
 * the block-wise scaling by n + n/64 + 8 roundings. Values are at most 1. */
static void attend_double(const inputs *in, size_t index, size_t row, size_t head, double *out, double *bound) {
  const head_shape h = in->s.h;
  const batch_span *span = &in->k.spans[index];
  const size_t dim = h.head_dim, kv = head / (h.q_heads / h.kv_heads), p = span->position + row;
  const size_t first = in->s.window != 0 && p + 1 > in->s.window ? p + 1 - in->s.window : 0;
  const float *q = in->q + (span->first_row + row) * h.q_heads * dim + head * dim;
  const double scale = (double)(1.0f / sqrtf((float)dim));
  double *score = malloc((p + 1) * sizeof *score), max = -INFINITY, total = 0, off = 0;
  for (size_t j = first; j <= p; j++) {
    double magnitude = 0;
    score[j] = 0;
    for (size_t d = 0; d < dim; d++) {
      const double term = (double)q[d] * paged_kit_get(&in->k, index, KIT_KEY, kv, j, d) * scale;
      score[j] += term, magnitude += fabs(term);
    }
    if (score[j] > max) max = score[j];
    if (magnitude > off) off = magnitude;
  }
  for (size_t d = 0; d < dim; d++) out[d] = 0;
  for (size_t j = first; j <= p; j++) {
    const double e = exp(score[j] - max);
    total += e;
    for (size_t d = 0; d < dim; d++) out[d] += e * paged_kit_get(&in->k, index, KIT_VALUE, kv, j, d);
  }
  for (size_t d = 0; d < dim; d++) out[d] /= total;
  const double n = (double)(p + 1 - first);
  *bound = (2 * ((double)dim / 8 + 6) * off + 2 * 4 + n + n / 64 + 8) * EPSILON;
  free(score);
}

static void check_against_double(const inputs *in, const char *table) {
  const head_shape h = in->s.h;
  double *expected = malloc(h.head_dim * sizeof *expected), bound;
  for (size_t i = 0; i < in->s.span_count; i++) {
    const batch_span *span = &in->k.spans[i];
    for (size_t row = 0; row < span->rows; row++) {
      for (size_t head = 0; head < h.q_heads; head++) {
        attend_double(in, i, row, head, expected, &bound);
        const float *out = in->out + ((span->first_row + row) * h.q_heads + head) * h.head_dim;
        for (size_t d = 0; d < h.head_dim; d++)
          if (!(fabs((double)out[d] - expected[d]) <= bound))
            fail_msg("%s, heads %zu/%zu of %zu, window %zu, position %zu row %zu head %zu [%zu]: %.9g, expected %.9g "
                     "within %.3g",
                     table, h.q_heads, h.kv_heads, h.head_dim, in->s.window, (size_t)span->position, row, head, d,
                     (double)out[d], expected[d], bound);
      }
    }
  }
  free(expected);
}

/* The last rows of each span alone, as a last layer wants them: they lie together in out. */
static void check_kept(cpu_kit *kit, const inputs *in) {
  const size_t width = in->s.h.q_heads * in->s.h.head_dim;
  batch_span kept[KIT_SPANS];
  batch step = with_spans(in, in->k.spans, in->s.span_count);
  float *out = malloc(in->q_bytes);
  step.kept_spans = kept;
  step.kept_span_count = in->s.span_count;
  for (size_t i = 0; i < in->s.span_count; i++) {
    const batch_span *span = &in->k.spans[i];
    const uint32_t rows = (span->rows + 1) / 2, skipped = span->rows - rows;
    kept[i] = (batch_span){.first_row = span->first_row + skipped,
                           .rows = rows,
                           .out_row = (uint32_t)step.kept,
                           .position = span->position + skipped,
                           .first_page = span->first_page};
    step.kept += rows;
  }
  attention_args a = args_of(in, &step);
  a.kept = 1, a.out = out;
  assert_int_equal(kit->ops->attention(kit->b, &a, NULL), VIVA_OK);
  for (size_t i = 0; i < in->s.span_count; i++)
    assert_true(kit_same(out + kept[i].out_row * width, in->out + kept[i].first_row * width, kept[i].rows * width));
  free(out);
}

/* Every row as a span of its own gives the same bits. */
static void check_rows_alone(cpu_kit *kit, const inputs *in) {
  const size_t width = in->s.h.q_heads * in->s.h.head_dim;
  float *out = malloc(in->q_bytes);
  for (const batch_span *span = in->k.spans; span < in->k.spans + in->s.span_count; span++) {
    for (uint32_t row = 0; row < span->rows; row++) {
      batch_span one = *span;
      one.position += row, one.first_row += row, one.out_row += row, one.rows = 1;
      const batch step = with_spans(in, &one, 1);
      attention_args a = args_of(in, &step);
      a.out = out;
      assert_int_equal(kit->ops->attention(kit->b, &a, NULL), VIVA_OK);
    }
  }
  if (!kit_same(out, in->out, in->rows * width))
    fail_msg("rows alone differ: heads %zu/%zu of %zu, window %zu", in->s.h.q_heads, in->s.h.kv_heads, in->s.h.head_dim,
             in->s.window);
  free(out);
}

static const char *const tables[] = {"auto", "reference", "avx2", "avx512", "avx512-bf16"};

static void check_setup(cpu_kit *kit, setup s, const char *table) {
  inputs in = inputs_make(s, s.h.head_dim * 31 + s.window);
  attend(kit, &in);
  check_against_double(&in, table);
  check_rows_alone(kit, &in);
  check_kept(kit, &in);
  inputs_free(&in);
}

static void every_shape_is_right(void **state) {
  static const size_t dims[] = {2, 4, 6, 8, 14, 16, 18, 30, 32, 34, 48, 64, 66, 80, 96, 128, 130, 256, 258};
  static const head_shape groups[] = {{1, 1, 20}, {2, 2, 16}, {4, 2, 64}, {9, 3, 64},
                                      {8, 1, 32}, {7, 1, 8},  {60, 1, 8}, {100, 2, 4}};
  static const size_t windows[] = {1, 2, 5, 63, 64, 65, 100, 1000};
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    for (kv_type type = KV_F16; type < KV_TYPES; type++) {
      for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        check_setup(&kit, (setup){{4, 2, dims[i]}, 0, type, {{0, 70}, {61, 5}, {130, 1}}, 3}, tables[table]);
      for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        check_setup(&kit, (setup){groups[i], 0, type, {{0, 1}, {5, 33}, {127, 3}}, 3}, tables[table]);
      for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
        check_setup(&kit, (setup){{3, 1, 16}, windows[i], type, {{0, 130}, {200, 1}, {190, 40}}, 3}, tables[table]);
    }
    kit_close(&kit);
  }
}

/* Contexts where a row has many chunks, and where their size changes (2048 positions); one row (cut over positions when
 * there are more threads than heads) and several. */
static void long_contexts_are_right(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 3)) continue;
    check_setup(&kit, (setup){{2, 1, 8}, 0, KV_F16, {{2043, 9}}, 1}, tables[table]);
    check_setup(&kit, (setup){{3, 1, 24}, 0, KV_F16, {{700, 1}}, 1}, tables[table]);
    check_setup(&kit, (setup){{9, 3, 10}, 0, KV_F32, {{4095, 1}, {1200, 1}}, 2}, tables[table]);
    check_setup(&kit, (setup){{4, 4, 16}, 777, KV_FP8, {{1500, 1}}, 1}, tables[table]);
    check_setup(&kit, (setup){{96, 2, 130}, 0, KV_F16, {{900, 1}, {512, 1}, {511, 1}}, 3}, tables[table]);
    kit_close(&kit);
  }
}

static void threads_do_not_change_bits(void **state) {
  static const int threads[] = {1, 2, 3, 7};
  static const setup setups[] = {
      {{9, 3, 64}, 0, KV_F16, {{0, 200}}, 1},
      {{9, 3, 64}, 0, KV_F16, {{1000, 1}}, 1},
      {{9, 3, 64}, 0, KV_FP8, {{1000, 1}}, 1},
      {{4, 2, 32}, 0, KV_F32, {{2500, 1}, {10, 1}, {600, 1}}, 3},
      {{4, 2, 32}, 300, KV_F16, {{400, 13}, {10, 1}, {600, 2}}, 3},
  };
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    for (size_t i = 0; i < sizeof setups / sizeof setups[0]; i++) {
      inputs in = inputs_make(setups[i], i);
      float *first = NULL;
      for (size_t j = 0; j < sizeof threads / sizeof threads[0]; j++) {
        cpu_kit kit;
        if (!kit_open(&kit, table, threads[j])) break;
        memset(in.out, 0, in.q_bytes);
        attend(&kit, &in);
        if (first)
          assert_true(memcmp(first, in.out, in.q_bytes) == 0);
        else
          first = memcpy(malloc(in.q_bytes), in.out, in.q_bytes);
        kit_close(&kit);
      }
      free(first);
      inputs_free(&in);
    }
  }
}

static void chunks_do_not_change_bits(void **state) {
  static const size_t chunks[] = {1, 7, 64};
  (void)state;
  for (size_t i = 0; i < 2 * (KIT_LAST_TABLE - KIT_FIRST_TABLE + 1); i++) {
    cpu_kit kit;
    if (!kit_open(&kit, (viva_cpu_kernels)(KIT_FIRST_TABLE + i / 2), 2)) continue;
    inputs in = inputs_make((setup){{6, 2, 64}, 0, i % 2 ? KV_FP8 : KV_F16, {{0, 333}}, 1}, 9);
    float *out = malloc(in.q_bytes);
    attend(&kit, &in);
    for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
      for (size_t row = 0; row < in.rows; row += chunks[c]) {
        batch_span part = in.k.spans[0];
        part.position = part.first_row = part.out_row = (uint32_t)row;
        part.rows = (uint32_t)(in.rows - row < chunks[c] ? in.rows - row : chunks[c]);
        const batch step = with_spans(&in, &part, 1);
        attention_args a = args_of(&in, &step);
        a.out = out;
        assert_int_equal(kit.ops->attention(kit.b, &a, NULL), VIVA_OK);
      }
      assert_true(memcmp(out, in.out, in.q_bytes) == 0);
    }
    free(out);
    inputs_free(&in);
    kit_close(&kit);
  }
}

/* A NaN in a query stays in its row and head; one in a value reaches the rows that see its position, and no others. */
static void nan_stays_where_it_belongs(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    const size_t dim = 24, q_heads = 4;
    inputs in = inputs_make((setup){{q_heads, 2, dim}, 50, KV_F32, {{10, 90}}, 1}, 4);
    in.q[(7 * q_heads + 1) * dim + 3] = NAN;
    paged_kit_set(&in.k, 0, KIT_VALUE, 1, 40, 5, NAN);
    attend(&kit, &in);
    for (size_t row = 0; row < 90; row++) {
      for (size_t head = 0; head < q_heads; head++) {
        const size_t p = 10 + row;
        for (size_t d = 0; d < dim; d++) {
          const int expected = (row == 7 && head == 1) || (head >= 2 && d == 5 && p >= 40 && p < 40 + 50);
          assert_int_equal(isnan(in.out[(row * q_heads + head) * dim + d]) != 0, expected);
        }
      }
    }
    inputs_free(&in);
    kit_close(&kit);
  }
}

/* Scores far apart, of huge size, and minus infinity. */
static void extreme_scores(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 1)) continue;
    enum { DIM = 2, ROWS = 200 };
    inputs in = inputs_make((setup){{1, 1, DIM}, 0, KV_F32, {{0, ROWS}}, 1}, 4);
    for (size_t p = 0; p < ROWS; p++) {
      paged_kit_set(&in.k, 0, KIT_KEY, 0, p, 0, p == 150 ? 1e30f : p < 64 ? -INFINITY : (float)p * -1e28f);
      paged_kit_set(&in.k, 0, KIT_KEY, 0, p, 1, 0);
      paged_kit_set(&in.k, 0, KIT_VALUE, 0, p, 0, (float)p);
      paged_kit_set(&in.k, 0, KIT_VALUE, 0, p, 1, 1);
      in.q[p * DIM] = 1, in.q[p * DIM + 1] = 0;
    }
    attend(&kit, &in);
    assert_true(in.out[64 * DIM] == 64 && in.out[64 * DIM + 1] == 1); /* all before are minus infinity: weight 0 */
    assert_true(in.out[149 * DIM] == 64);                             /* the largest of those so far */
    assert_true(in.out[150 * DIM] == 150 && in.out[199 * DIM] == 150);
    assert_true(isnan(in.out[10 * DIM])); /* nothing but minus infinity: 0/0, as in the definition */
    inputs_free(&in);
    kit_close(&kit);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_shape_is_right),       cmocka_unit_test(long_contexts_are_right),
      cmocka_unit_test(threads_do_not_change_bits), cmocka_unit_test(chunks_do_not_change_bits),
      cmocka_unit_test(nan_stays_where_it_belongs), cmocka_unit_test(extreme_scores),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
