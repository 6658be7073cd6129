/* The operations on single rows: against double, and bit for bit over threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "lib/paged_kit.h"
#include "number/number.h"

#define EPSILON 0x1p-24

/* Runs test on every table this processor has. */
static void on_tables(void (*test)(cpu_kit *kit), int threads) {
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    cpu_kit kit;
    if (!kit_open(&kit, table, threads)) continue;
    test(&kit);
    kit_close(&kit);
  }
}

/* Distance in units of the last place of the exact value (a subnormal's: of the smallest). */
static double ulps(float value, double exact) {
  int exponent;
  frexp(exact, &exponent);
  const double ulp = ldexp(1, (exponent - 24 < -149 ? -149 : exponent - 24));
  return fabs((double)value - exact) / ulp;
}

static void exp_on(cpu_kit *kit) {
  const cpu_kernels *k = &((cpu_backend *)(void *)kit->b)->kernels;
  enum { COUNT = 4096 };
  static float from[COUNT], to[COUNT];
  double worst = 0;
  size_t count = 0;
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 2311) { /* 1.9 million floats, all exponents, both signs */
    from[count++] = f32_from_bits((uint32_t)bits);
    if (count < COUNT) continue;
    k->exp(from, to, count);
    for (size_t i = 0; i < count; i++) {
      const double exact = exp((double)from[i]);
      if (isnan(from[i]))
        assert_true(isnan(to[i]));
      else if (exact > 3.4028235677973366e38)
        assert_true(isinf(to[i])); /* what rounds to infinity */
      else if (ulps(to[i], exact) > worst)
        worst = ulps(to[i], exact);
    }
    count = 0;
  }
  assert_true(worst <= 2);
  const float special[] = {0, -0.0f, -INFINITY, INFINITY, -104, 1};
  k->exp(special, to, 6);
  assert_true(to[0] == 1 && to[1] == 1 && to[2] == 0 && isinf(to[3]) && to[4] == 0 && ulps(to[5], exp(1)) <= 1);
}

static void exp_is_within_2_ulp(void **state) {
  (void)state;
  on_tables(exp_on, 1);
}

static void silu_on(cpu_kit *kit) {
  uint64_t seed = 1;
  for (size_t n = 1; n <= 70; n++) {
    const size_t rows = n % 3 + 1, stride = n + 2, count = (rows - 1) * stride + n;
    float *gate = kit_guarded(count * sizeof *gate), *up = kit_guarded(count * sizeof *up);
    float *out = kit_guarded(count * sizeof *out);
    for (size_t r = 0; r < rows; r++) {
      kit_fill(up + r * stride, n, &seed);
      for (size_t i = 0; i < n; i++) gate[r * stride + i] = 30 * kit_uniform(&seed);
    }
    kit->ops->silu_mul(kit->b, gate, up, out, rows, n, stride, NULL);
    for (size_t r = 0; r < rows; r++) {
      for (size_t i = 0; i < n; i++) {
        const double g = (double)gate[r * stride + i], exact = g / (1 + exp(-g)) * (double)up[r * stride + i];
        /* exponential 2 ulp (4 EPSILON), sum, quotient, product */
        assert_true(fabs((double)out[r * stride + i] - exact) <= 8 * EPSILON * fabs(exact));
      }
    }
    kit->ops->silu_mul(kit->b, gate, up, gate, rows, n, stride, NULL); /* in place */
    for (size_t r = 0; r < rows; r++) assert_true(kit_same(gate + r * stride, out + r * stride, n));
    kit_guarded_free(gate, count * sizeof *gate);
    kit_guarded_free(up, count * sizeof *up);
    kit_guarded_free(out, count * sizeof *out);
  }
  const float gate[] = {INFINITY, -200, 200, NAN, 0}, up[] = {1, 1, 2, 1, 5};
  float out[5];
  kit->ops->silu_mul(kit->b, gate, up, out, 1, 5, 5, NULL);
  assert_true(isinf(out[0]) && out[1] == 0 && out[2] == 400 && isnan(out[3]) && out[4] == 0);
}

static void silu_is_right(void **state) {
  (void)state;
  on_tables(silu_on, 2);
}

static void rmsnorm_on(cpu_kit *kit) {
  static const size_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 80, 128, 576, 577, 2048};
  uint64_t seed = 1;
  for (size_t j = 0; j < sizeof lengths / sizeof lengths[0]; j++) {
    const size_t n = lengths[j], groups = j % 3 + 1, rows = 5, stride = groups * n + 1;
    const size_t count = (rows - 1) * stride + groups * n;
    float *x = kit_guarded(count * sizeof *x), *y = kit_guarded(count * sizeof *y),
          *gain = kit_guarded(n * sizeof *gain);
    for (size_t r = 0; r < rows; r++) kit_fill(x + r * stride, groups * n, &seed);
    kit_fill(gain, n, &seed);
    kit->ops->rmsnorm(kit->b, x, y, rows, stride, groups, n, gain, 1e-5f, NULL);
    for (size_t r = 0; r < rows; r++) {
      for (size_t g = 0; g < groups; g++) {
        const float *from = x + r * stride + g * n, *to = y + r * stride + g * n;
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += (double)from[i] * (double)from[i];
        const double scale = 1 / sqrt(sum / (double)n + (double)1e-5f);
        for (size_t i = 0; i < n; i++) {
          const double exact = (double)from[i] * scale * (double)gain[i];
          /* squares are all positive: half of (n/8 + 5) roundings through the root; mean, eps, root, quotient, 2
           * products */
          assert_true(fabs((double)to[i] - exact) <= ((double)n / 16 + 9) * EPSILON * fabs(exact));
        }
      }
    }
    kit->ops->rmsnorm(kit->b, x, x, rows, stride, groups, n, gain, 1e-5f, NULL); /* in place */
    for (size_t r = 0; r < rows; r++) assert_true(kit_same(x + r * stride, y + r * stride, groups * n));
    kit_guarded_free(x, count * sizeof *x);
    kit_guarded_free(y, count * sizeof *y);
    kit_guarded_free(gain, n * sizeof *gain);
  }
}

static void rmsnorm_is_right(void **state) {
  (void)state;
  on_tables(rmsnorm_on, 2);
}

static void embed_on(cpu_kit *kit) {
  static const viva_token tokens[] = {3, 0, 9, 9, 1};
  uint64_t seed = 1;
  for (weight_format f = 0; f < WEIGHT_FORMATS; f++) {
    for (size_t cols = 1; cols < 40; cols++) {
      weight w = kit_weight(f, 10, cols, cols % 2 * 4, &seed);
      float *out = kit_guarded(5 * cols * sizeof *out);
      kit->ops->embed(kit->b, &w, tokens, 5, out, NULL);
      for (size_t i = 0; i < 5 * cols; i++) { /* packed: a rounding for each of two scales */
        const double value = kit_weight_at(&w, (size_t)tokens[i / cols], i % cols);
        assert_true(fabs((double)out[i] - value) <= (weight_dense(f) ? 0 : 0x1p-23) * fabs(value));
      }
      kit_guarded_free(out, 5 * cols * sizeof *out);
      kit_weight_free(&w);
    }
  }
}

static void embed_is_exact(void **state) {
  (void)state;
  on_tables(embed_on, 2);
}

/* Every F16 rounding that append can meet: codes, halfway points and their neighbours. */
static void append_on(cpu_kit *kit) {
  enum { DIM = 62 };
  for (uint32_t code = 0; code < 0x7c00; code += DIM / 2) {
    float v[DIM], k[DIM], q[DIM];
    for (uint32_t i = 0; i < DIM / 2; i++) {
      const uint16_t low = (uint16_t)(code + i < 0x7bff ? code + i : 0x7bfe);
      const float middle = (f16_to_f32(low) + f16_to_f32((uint16_t)(low + 1))) / 2;
      v[2 * i] = middle, v[2 * i + 1] = -nextafterf(middle, i % 2 ? 0 : INFINITY);
    }
    memset(q, 0, sizeof q), memset(k, 0, sizeof k);
    paged_kit cache = paged_kit_make((head_shape){1, 1, DIM}, KV_F16, 1, &(kit_range){0, 1}, 1);
    cache.b.spans = cache.spans;
    const rope_append_args a = {
        .step = &cache.b, .h = cache.h, .q = q, .k = k, .v = v, .q_stride = DIM, .kv_stride = DIM};
    kit->ops->rope_append(kit->b, &a, NULL);
    for (size_t i = 0; i < DIM; i++)
      assert_true(paged_kit_get(&cache, 0, KIT_VALUE, 0, 0, i) == (double)f16_to_f32(f16_from_f32(v[i])));
    paged_kit_free(&cache);
  }
}

static void append_rounds_to_nearest_even(void **state) {
  (void)state;
  on_tables(append_on, 1);
}

static void rope_on(cpu_kit *kit) {
  static const size_t dims[] = {2, 6, 16, 20, 34, 64, 66, 128};
  uint64_t seed = 1;
  for (size_t j = 0; j < sizeof dims / sizeof dims[0]; j++) {
    const size_t dim = dims[j], rotary = j % 2 ? dim : dim / 4 * 2, q_heads = 4, kv_heads = 2, rows = 6;
    const size_t half = rotary / 2, q_count = rows * q_heads * dim;
    const size_t kv_count = rows * kv_heads * dim;
    float *q = kit_guarded(q_count * sizeof *q), *k = kit_guarded(kv_count * sizeof *k);
    float *v = kit_guarded(kv_count * sizeof *v), *cos_sin = kit_guarded(rows * rotary * sizeof(float));
    kit_fill(q, q_count, &seed), kit_fill(k, kv_count, &seed), kit_fill(v, kv_count, &seed);
    kit_fill(cos_sin, rows * rotary, &seed);
    float *q0 = memcpy(malloc(q_count * sizeof *q), q, q_count * sizeof *q);
    float *k0 = memcpy(malloc(kv_count * sizeof *k), k, kv_count * sizeof *k);
    /* two sessions, the second across the end of a page; layer 1 of 2 */
    const kit_range ranges[] = {{3, 4}, {KV_PAGE - 1, 2}};
    paged_kit cache = paged_kit_make((head_shape){q_heads, kv_heads, dim}, KV_F32, 2, ranges, 2);
    cache.b.spans = cache.spans;
    cache.b.cos_sin = cos_sin;
    const rope_append_args a = {.step = &cache.b,
                                .layer = 1,
                                .h = cache.h,
                                .rotary_dim = rotary,
                                .q = q,
                                .k = k,
                                .v = v,
                                .q_stride = q_heads * dim,
                                .kv_stride = kv_heads * dim};
    kit->ops->rope_append(kit->b, &a, NULL);
    for (size_t r = 0; r < rows; r++) {
      const size_t span = cache.sequence[r], position = cache.positions[r];
      const char *page =
          (const char *)cache.pages[cache.spans[span].first_page + position / KV_PAGE] + cache.b.kv.layer_bytes;
      for (size_t h = 0; h < q_heads + kv_heads; h++) {
        const float *from = h < q_heads ? q0 + (r * q_heads + h) * dim : k0 + (r * kv_heads + h - q_heads) * dim;
        const float *to = h < q_heads ? q + (r * q_heads + h) * dim : k + (r * kv_heads + h - q_heads) * dim;
        for (size_t i = 0; i < dim; i++) {
          if (i >= rotary) {
            assert_true(to[i] == from[i]);
            continue;
          }
          const size_t pair = i % half;
          const double c = (double)cos_sin[r * rotary + pair], s = (double)cos_sin[r * rotary + half + pair];
          const double x = (double)from[pair], y = (double)from[pair + half];
          const double exact = i < half ? x * c - y * s : y * c + x * s;
          assert_true(fabs((double)to[i] - exact) <= 2 * EPSILON * (fabs(x) + fabs(y))); /* |c|, |s| ≤ 1 */
        }
        if (h < q_heads) continue;
        const char *at = page + ((h - q_heads) * KV_PAGE + position % KV_PAGE) * dim * sizeof(float);
        assert_true(kit_same((const float *)(const void *)at, to, dim));
        assert_true(kit_same((const float *)(const void *)(at + cache.b.kv.values_at),
                             v + (r * kv_heads + h - q_heads) * dim, dim));
      }
    }
    /* places of no row stay as they were */
    for (size_t i = 0; i < dim; i++) {
      assert_true(isnan(paged_kit_get(&cache, 0, KIT_KEY, 0, 3, i))); /* layer 0 */
      assert_true(isnan(((const float *)(const void *)((const char *)cache.pages[0] + cache.b.kv.layer_bytes))[i]));
    }
    paged_kit_free(&cache);
    free(q0), free(k0);
    kit_guarded_free(q, q_count * sizeof *q);
    kit_guarded_free(k, kv_count * sizeof *k);
    kit_guarded_free(v, kv_count * sizeof *v);
    kit_guarded_free(cos_sin, rows * rotary * sizeof(float));
  }
}

static void rope_rotates_and_appends(void **state) {
  (void)state;
  on_tables(rope_on, 2);
}

/* FP8: codes are within half a step of E4M3 of value / scale; the scale is absmax / 448 as F16. */
static void append_fp8_on(cpu_kit *kit) {
  enum { DIM = 40, ROWS = 60 };
  uint64_t seed = 5;
  const head_shape h = {1, 2, DIM};
  float q[ROWS * DIM] = {0}, k[ROWS * 2 * DIM], v[ROWS * 2 * DIM];
  paged_kit cache = paged_kit_make(h, KV_FP8, 1, &(kit_range){40, ROWS}, 1);
  cache.b.spans = cache.spans;
  for (size_t r = 0; r < ROWS; r++)
    for (size_t i = 0; i < 2 * DIM; i++) {
      const float size = r == 0 ? 0 : ldexpf(1, (int)r - 30);
      k[r * 2 * DIM + i] = kit_uniform(&seed) * size;
      v[r * 2 * DIM + i] = kit_uniform(&seed) * size;
    }
  k[7 * 2 * DIM + 3] = INFINITY;
  const rope_append_args a = {.step = &cache.b, .h = h, .q = q, .k = k, .v = v, .q_stride = DIM, .kv_stride = 2 * DIM};
  kit->ops->rope_append(kit->b, &a, NULL);
  for (size_t r = 0; r < ROWS; r++)
    for (size_t head = 0; head < 2; head++)
      for (kit_side side = KIT_KEY; side <= KIT_VALUE; side++) {
        const float *from = (side == KIT_KEY ? k : v) + (r * 2 + head) * DIM;
        float absmax = 0;
        for (size_t i = 0; i < DIM; i++) absmax = fabsf(from[i]) > absmax ? fabsf(from[i]) : absmax;
        for (size_t i = 0; i < DIM; i++) {
          const double found = paged_kit_get(&cache, 0, side, head, 40 + r, i);
          if (absmax > 448 * 65504.0f) {
            assert_true(isnan(found));
            continue;
          }
          /* half of E4M3's last place (2^-4 of the value, or of its subnormals 2^-10 of a scale), which is at most 2^-10
           * or F16's smallest number above absmax / 448 */
          const double unit = (double)absmax / 448 * (1 + 0x1p-10) + 0x1p-24;
          assert_true(fabs(found - (double)from[i]) <= fmax(fabs((double)from[i]) / 16, unit / 1024));
        }
      }
  paged_kit_free(&cache);
}

static void append_fp8(void **state) {
  (void)state;
  on_tables(append_fp8_on, 2);
}

static viva_token argmax_of(cpu_kit *kit, const float *values, size_t n, int *nan) {
  viva_token id = -1;
  uint8_t found = 0;
  assert_int_equal(kit->ops->top(kit->b, values, 1, n, 1, &id, NULL, &found, NULL), VIVA_OK);
  *nan = found;
  return id;
}

static void argmax_on(cpu_kit *kit) {
  uint64_t seed = 1;
  int nan;
  for (size_t n = 1; n < 200; n++) {
    float *values = kit_guarded(n * sizeof *values);
    kit_fill(values, n, &seed);
    const size_t top = (size_t)(kit_random(&seed) % n), again = (size_t)(kit_random(&seed) % n);
    values[top] = values[again] = 2;
    assert_int_equal(argmax_of(kit, values, n, &nan), (viva_token)(top < again ? top : again));
    assert_int_equal(nan, 0);
    for (size_t i = 0; i < n; i++) values[i] = -INFINITY;
    assert_int_equal(argmax_of(kit, values, n, &nan), 0);
    assert_int_equal(nan, 0);
    values[top] = INFINITY;
    assert_int_equal(argmax_of(kit, values, n, &nan), (viva_token)top);
    assert_int_equal(nan, 0);
    for (size_t i = 0; i < n; i++) values[i] = i % 2 ? 0.0f : -0.0f; /* equal */
    assert_int_equal(argmax_of(kit, values, n, &nan), 0);
    values[again] = NAN;
    (void)argmax_of(kit, values, n, &nan);
    assert_int_equal(nan, 1);
    for (size_t i = 0; i < n; i++) values[i] = NAN;
    assert_int_equal(argmax_of(kit, values, n, &nan), 0);
    assert_int_equal(nan, 1);
    kit_guarded_free(values, n * sizeof *values);
  }
  viva_error error = {0};
  viva_token id;
  uint8_t flag;
  assert_int_equal(kit->ops->top(kit->b, NULL, 1, 0, 1, &id, NULL, &flag, &error), VIVA_E_ARGUMENT);
  assert_int_equal(kit->ops->top(kit->b, (float[]){1}, 1, 1, 2, &id, NULL, &flag, &error), VIVA_E_ARGUMENT);
}

/* Against sorting: values with many equal ones, every k that matters. */
static void top_on(cpu_kit *kit) {
  enum { N = 300, ROWS = 3 };
  static const size_t ks[] = {1, 2, 3, 17, N - 1, N};
  uint64_t seed = 8;
  float values[ROWS * N], best[ROWS * N];
  viva_token ids[ROWS * N];
  uint8_t nan[ROWS];
  for (size_t i = 0; i < ROWS * N; i++) values[i] = (float)(int)(kit_uniform(&seed) * 40);
  values[N + 5] = NAN;
  for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
    const size_t k = ks[i];
    assert_int_equal(kit->ops->top(kit->b, values, ROWS, N, k, ids, best, nan, NULL), VIVA_OK);
    for (size_t r = 0; r < ROWS; r++) {
      assert_int_equal(nan[r], r == 1);
      for (size_t j = 0; j < k && r != 1; j++) {
        const float v = values[r * N + (size_t)ids[r * k + j]];
        size_t before = 0; /* values that come before this one */
        for (size_t at = 0; at < N; at++)
          before += values[r * N + at] > v || (values[r * N + at] == v && at < (size_t)ids[r * k + j]);
        assert_true(best[r * k + j] == v && before == j);
      }
    }
  }
}

static void top_is_sorted(void **state) {
  (void)state;
  on_tables(top_on, 2);
}

static void take_on(cpu_kit *kit) {
  float from[5 * 8], to[3 * 8];
  uint64_t seed = 2;
  kit_fill(from, 40, &seed), kit_fill(to, 24, &seed);
  const float beyond = to[6];
  assert_int_equal(kit->ops->take_rows(kit->b, from, (uint32_t[]){0, 3, 4}, 3, 6, 8, to, NULL), VIVA_OK);
  for (size_t i = 0; i < 6; i++)
    assert_true(to[i] == from[i] && to[8 + i] == from[24 + i] && to[16 + i] == from[32 + i]);
  assert_true(to[6] == beyond);
}

static void rows_are_taken(void **state) {
  (void)state;
  on_tables(take_on, 2);
}

static void argmax_takes_the_first(void **state) {
  (void)state;
  on_tables(argmax_on, 1);
}

/* Enough rows that all threads take part. */
static void threads_do_not_change_bits(void **state) {
  enum { ROWS = 300, N = 100, COUNT = ROWS * N };
  static const int threads[] = {1, 2, 3, 7};
  static float x[COUNT], gain[N], first[2 * COUNT], now[2 * COUNT];
  (void)state;
  uint64_t seed = 1;
  kit_fill(x, COUNT, &seed), kit_fill(gain, N, &seed);
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    for (size_t i = 0; i < 4; i++) {
      cpu_kit kit;
      if (!kit_open(&kit, table, threads[i])) break;
      kit.ops->rmsnorm(kit.b, x, now, ROWS, N, 1, N, gain, 1e-6f, NULL);
      kit.ops->silu_mul(kit.b, x, now, now + COUNT, ROWS, N, N, NULL);
      if (i == 0) memcpy(first, now, sizeof now);
      assert_memory_equal(first, now, sizeof now);
      kit_close(&kit);
    }
  }
}

static void read_pass_reads(void **state) {
  (void)state;
  for (viva_cpu_kernels table = KIT_FIRST_TABLE; table <= KIT_LAST_TABLE; table++) {
    static const size_t sizes[] = {0, 1, 31, 4096, 4097, 1000003};
    cpu_kit kit;
    if (!kit_open(&kit, table, 2)) continue;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      char *memory = kit_guarded(sizes[i]);
      double seconds = -1;
      assert_int_equal(kit.ops->read_pass(kit.b, memory, sizes[i], &seconds, NULL), VIVA_OK);
      assert_true(seconds >= 0);
      kit_guarded_free(memory, sizes[i]);
    }
    kit_close(&kit);
  }
}

static void tables_and_memory(void **state) {
  cpu_kit kit;
  viva_error error = {0};
  viva_device_info info = {.size = sizeof info};
  (void)state;
  assert_true(kit_open(&kit, VIVA_KERNELS_REFERENCE, 2));
  backend *other = NULL;
  assert_int_equal(kit.ops->open(kit.rt, kit.pool, 1, VIVA_KERNELS_AUTO, &other, &error), VIVA_E_ARGUMENT);
  assert_int_equal(kit.ops->open(kit.rt, kit.pool, 0, (viva_cpu_kernels)9, &other, &error), VIVA_E_ARGUMENT);
  assert_null(other);
  kit.ops->info(kit.b, &info);
  assert_int_equal(info.kind, VIVA_DEVICE_CPU);
  assert_int_equal(info.threads, 2);
  assert_string_equal(info.kernels, "reference");
  assert_int_equal(kit.ops->device(0, &info), 1);
  assert_int_equal(kit.ops->device(1, &info), 0);

  const size_t before = kit.rt->mem.current;
  void *block;
  assert_int_equal(kit.ops->alloc(kit.b, 1000, &block, NULL), VIVA_OK);
  char *memory = block, text[] = "abc", back[4] = {0};
  assert_int_equal((uintptr_t)memory % 64, 0);
  assert_int_equal(kit.ops->upload(kit.b, memory, text, 4, NULL), VIVA_OK);
  assert_int_equal(kit.ops->copy(kit.b, memory + 2, memory, 4, NULL), VIVA_OK); /* overlapping */
  assert_int_equal(kit.ops->download(kit.b, back, memory + 2, 4, NULL), VIVA_OK);
  assert_string_equal(back, "abc");
  assert_int_equal(kit.ops->upload(kit.b, NULL, NULL, 0, NULL), VIVA_OK);
  kit.ops->free(kit.b, memory, NULL);
  kit.ops->free(kit.b, NULL, NULL);
  assert_int_equal(kit.rt->mem.current, before);
  /* the work space is there from the beginning, whatever the step */
  const size_t bytes = kit.ops->scratch_bytes(kit.b, 1, 1, 1);
  assert_int_equal(kit.ops->scratch_bytes(kit.b, 4096, 1 << 20, 1 << 16), bytes);
  assert_int_equal(kit.ops->reserve(kit.b, 4096, 1 << 20, 1 << 16, NULL), VIVA_OK);
  assert_int_equal(kit.rt->mem.current, before);
  kit_close(&kit);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exp_is_within_2_ulp),
      cmocka_unit_test(silu_is_right),
      cmocka_unit_test(rmsnorm_is_right),
      cmocka_unit_test(embed_is_exact),
      cmocka_unit_test(append_rounds_to_nearest_even),
      cmocka_unit_test(append_fp8),
      cmocka_unit_test(top_is_sorted),
      cmocka_unit_test(rows_are_taken),
      cmocka_unit_test(rope_rotates_and_appends),
      cmocka_unit_test(argmax_takes_the_first),
      cmocka_unit_test(threads_do_not_change_bits),
      cmocka_unit_test(read_pass_reads),
      cmocka_unit_test(tables_and_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
