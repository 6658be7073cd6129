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

#include "lib/cpu_kit.h"
#include "number/number.h"

#define EPSILON   0x1p-24
#define MAX_SPANS 4

typedef struct setup {
  head_shape h;
  size_t window;
  kv_type type;
  struct {
    size_t position, rows;
  } spans[MAX_SPANS];
  size_t span_count;
} setup;

/* Arguments in guarded memory. The caches hold values up to the last row's position and NaN in the rest. */
typedef struct inputs {
  setup s;
  attention_args a;
  kv_span spans[MAX_SPANS];
  float *q, *out;
  size_t rows, cache_bytes[MAX_SPANS], q_bytes;
} inputs;

#define SPARE 3 /* places of a cache that are not in use yet */

static void fill_cache(const inputs *in, void *cache, size_t capacity, size_t used, uint64_t *state) {
  const head_shape h = in->s.h;
  for (size_t head = 0; head < h.kv_heads; head++) {
    for (size_t i = 0; i < used * h.head_dim; i++) {
      const size_t at = head * capacity * h.head_dim + i;
      const float value = kit_uniform(state);
      if (in->s.type == KV_F16)
        ((uint16_t *)cache)[at] = f16_from_f32(value);
      else
        ((float *)cache)[at] = value;
    }
  }
}

static inputs inputs_make(setup s, uint64_t seed) {
  inputs in = {.s = s};
  const size_t width = s.h.q_heads * s.h.head_dim;
  for (size_t i = 0; i < s.span_count; i++) {
    const size_t used = s.spans[i].position + s.spans[i].rows, spare = i % 2 == 0 ? SPARE : 0;
    const size_t count = s.h.kv_heads * (used + spare) * s.h.head_dim;
    in.cache_bytes[i] = count * (s.type == KV_F16 ? 2 : 4);
    in.spans[i] = (kv_span){kit_guarded(in.cache_bytes[i]),
                            kit_guarded(in.cache_bytes[i]),
                            used + spare,
                            s.spans[i].position,
                            in.rows,
                            s.spans[i].rows};
    fill_cache(&in, in.spans[i].k, used + spare, used, &seed);
    fill_cache(&in, in.spans[i].v, used + spare, used, &seed);
    in.rows += s.spans[i].rows;
  }
  in.q_bytes = in.rows * width * sizeof(float);
  in.q = kit_guarded(in.q_bytes);
  in.out = kit_guarded(in.q_bytes);
  kit_fill(in.q, in.rows * width, &seed);
  return in;
}

static attention_args args_of(const inputs *in) {
  const size_t width = in->s.h.q_heads * in->s.h.head_dim;
  return (attention_args){in->s.h,
                          1.0f / sqrtf((float)in->s.h.head_dim),
                          in->s.window,
                          in->q,
                          width,
                          in->out,
                          width,
                          in->spans,
                          in->s.span_count,
                          in->s.type};
}

static void inputs_free(inputs *in) {
  for (size_t i = 0; i < in->s.span_count; i++) {
    kit_guarded_free(in->spans[i].k, in->cache_bytes[i]);
    kit_guarded_free(in->spans[i].v, in->cache_bytes[i]);
  }
  kit_guarded_free(in->q, in->q_bytes);
  kit_guarded_free(in->out, in->q_bytes);
}

static double cache_at(const inputs *in, const void *cache, size_t at) {
  return in->s.type == KV_F16 ? (double)f16_to_f32(((const uint16_t *)cache)[at]) : (double)((const float *)cache)[at];
}

static void attend(cpu_kit *kit, const inputs *in) {
  const attention_args a = args_of(in);
  assert_int_equal(kit->ops->attention(kit->b, &a, NULL), VIVA_OK);
}

/* One row and head in double. *bound: a score is off by at most (head_dim/8 + 6) roundings of Σ|q·k|·scale, which moves
 * a weight by that much of itself, in numerator and denominator; each exponential by 2 ulp; sums over n positions and
 * the block-wise scaling by n + n/64 + 8 roundings. Values are at most 1. */
static void attend_double(const inputs *in, const kv_span *span, size_t row, size_t head, double *out, double *bound) {
  const head_shape h = in->s.h;
  const size_t dim = h.head_dim, kv = head / (h.q_heads / h.kv_heads), p = span->position + row;
  const size_t first = in->s.window != 0 && p + 1 > in->s.window ? p + 1 - in->s.window : 0;
  const float *q = in->q + (span->first_row + row) * h.q_heads * dim + head * dim;
  const double scale = (double)(1.0f / sqrtf((float)dim));
  double *score = malloc((p + 1) * sizeof *score), max = -INFINITY, total = 0, off = 0;
  for (size_t j = first; j <= p; j++) {
    double magnitude = 0;
    score[j] = 0;
    for (size_t d = 0; d < dim; d++) {
      const double term = (double)q[d] * cache_at(in, span->k, (kv * span->capacity + j) * dim + d) * scale;
      score[j] += term, magnitude += fabs(term);
    }
    if (score[j] > max) max = score[j];
    if (magnitude > off) off = magnitude;
  }
  for (size_t d = 0; d < dim; d++) out[d] = 0;
  for (size_t j = first; j <= p; j++) {
    const double e = exp(score[j] - max);
    total += e;
    for (size_t d = 0; d < dim; d++) out[d] += e * cache_at(in, span->v, (kv * span->capacity + j) * dim + d);
  }
  for (size_t d = 0; d < dim; d++) out[d] /= total;
  const double n = (double)(p + 1 - first);
  *bound = (2 * ((double)dim / 8 + 6) * off + 2 * 4 + n + n / 64 + 8) * EPSILON;
  free(score);
}

static void check_against_double(const inputs *in, const char *table) {
  const head_shape h = in->s.h;
  double *expected = malloc(h.head_dim * sizeof *expected), bound;
  for (const kv_span *span = in->spans; span < in->spans + in->s.span_count; span++) {
    for (size_t row = 0; row < span->rows; row++) {
      for (size_t head = 0; head < h.q_heads; head++) {
        attend_double(in, span, row, head, expected, &bound);
        const float *out = in->out + ((span->first_row + row) * h.q_heads + head) * h.head_dim;
        for (size_t d = 0; d < h.head_dim; d++)
          if (!(fabs((double)out[d] - expected[d]) <= bound))
            fail_msg("%s, heads %zu/%zu of %zu, window %zu, position %zu row %zu head %zu [%zu]: %.9g, expected %.9g "
                     "within %.3g",
                     table, h.q_heads, h.kv_heads, h.head_dim, in->s.window, span->position, row, head, d,
                     (double)out[d], expected[d], bound);
      }
    }
  }
  free(expected);
}

/* Every row as a span of its own gives the same bits. */
static void check_rows_alone(cpu_kit *kit, const inputs *in) {
  const size_t width = in->s.h.q_heads * in->s.h.head_dim;
  float *out = malloc(in->q_bytes);
  for (const kv_span *span = in->spans; span < in->spans + in->s.span_count; span++) {
    for (size_t row = 0; row < span->rows; row++) {
      kv_span one = *span;
      one.position += row, one.first_row += row, one.rows = 1;
      attention_args a = args_of(in);
      a.spans = &one, a.span_count = 1, a.out = out;
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
    for (kv_type type = KV_F16; type <= KV_F32; type++) {
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
    check_setup(&kit, (setup){{4, 4, 16}, 777, KV_F16, {{1500, 1}}, 1}, tables[table]);
    check_setup(&kit, (setup){{96, 2, 130}, 0, KV_F16, {{900, 1}, {512, 1}, {511, 1}}, 3}, tables[table]);
    kit_close(&kit);
  }
}

static void threads_do_not_change_bits(void **state) {
  static const int threads[] = {1, 2, 3, 7};
  static const setup setups[] = {
      {{9, 3, 64}, 0, KV_F16, {{0, 200}}, 1},
      {{9, 3, 64}, 0, KV_F16, {{1000, 1}}, 1},
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
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    inputs in = inputs_make((setup){{6, 2, 64}, 0, KV_F16, {{0, 333}}, 1}, 9);
    float *out = malloc(in.q_bytes);
    attend(&kit, &in);
    for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
      for (size_t row = 0; row < in.rows; row += chunks[c]) {
        kv_span part = in.spans[0];
        part.position = part.first_row = row, part.rows = in.rows - row < chunks[c] ? in.rows - row : chunks[c];
        attention_args a = args_of(&in);
        a.spans = &part, a.out = out;
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
    ((float *)in.spans[0].v)[(1 * in.spans[0].capacity + 40) * dim + 5] = NAN; /* kv head 1, position 40 */
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
    float *k = in.spans[0].k, *v = in.spans[0].v;
    for (size_t p = 0; p < ROWS; p++) {
      k[p * DIM] = p == 150 ? 1e30f : p < 64 ? -INFINITY : (float)p * -1e28f, k[p * DIM + 1] = 0;
      v[p * DIM] = (float)p, v[p * DIM + 1] = 1;
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
