/* tests/tensor/test_ops.c: the operations in C: the two sets of loops give the same bits, results into the caller's
 * tensors, overlap, refusals, failing memory. Values are compared with NumPy's in tests/python/test_tensor_walk.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/pool.h"
#include "lib/fail_alloc.h"
#include "tensor/cast.h"
#include "tensor/create.h"
#include "tensor/ops.h"
#include "tensor/reducers.h"
#include "tensor/tensor.h"

static runtime *rt;

static int open_runtime(void **state) {
  (void)state;
  rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  return rt && pool_create(rt, 3, &rt->pool, NULL) == VIVA_OK ? 0 : -1;
}

static int close_runtime(void **state) {
  (void)state;
  runtime_release(rt);
  return 0;
}

static viva_tensor *values_of(viva_dtype dtype, uint32_t rank, const uint64_t *shape, uint64_t seed) {
  viva_tensor *wide, *out;
  assert_int_equal(create_random(rt, VIVA_F64, rank, shape,
                                 &(viva_random_options){.distribution = VIVA_NORMAL, .seed = seed, .deviation = 3},
                                 &wide, NULL),
                   VIVA_OK);
  assert_int_equal(viva_tensor_astype(wide, dtype, &out, NULL), VIVA_OK);
  viva_tensor_release(wide);
  return out;
}

static void same_bits(const viva_tensor *a, const viva_tensor *b) {
  assert_int_equal(a->elements, b->elements);
  if (memcmp(a->data, b->data, a->elements * tensor_element_bytes(a->dtype)) != 0) fail_msg("bits differ");
}

/* -- loops */

enum { N = 203 };

static void fill(char *bytes, size_t count, viva_dtype t, uint64_t seed) {
  const uint64_t shape[1] = {count};
  viva_tensor *v = values_of(t, 1, shape, seed);
  memcpy(bytes, v->data, count * tensor_element_bytes(t));
  viva_tensor_release(v);
}

/* From -3 to 3 (unsigned: 0 to 6), and for floats sometimes NaN. */
static void fill_whole(char *bytes, size_t count, viva_dtype t, uint64_t seed) {
  for (size_t i = 0; i < count; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const int whole = (int)(seed >> 40) % 7, none = seed >> 60 == 0 && count % 3 == 0;
    const double f64 = none ? (double)NAN : whole - 3;
    const float f32 = (float)f64;
    const int64_t i64 = t == VIVA_U64 ? whole : whole - 3;
    if (t == VIVA_F64) memcpy(bytes + i * 8, &f64, 8);
    if (t == VIVA_F32) memcpy(bytes + i * 4, &f32, 4);
    if (t == VIVA_I64 || t == VIVA_U64) memcpy(bytes + i * 8, &i64, 8);
  }
}

/* written: the type of the result. */
static void compare_loop(loop_fn plain, loop_fn fast, viva_dtype t, viva_dtype written) {
  static _Alignas(64) char in[2][8 * 2 * N], out[2][8 * 2 * N];
  if (!plain || !fast) {
    assert_true(!plain && !fast);
    return;
  }
  const int64_t size = (int64_t)tensor_element_bytes(t), to = (int64_t)tensor_element_bytes(written);
  const int64_t forms[][3] = {
      {to, size, size}, {to, size, 0}, {to, 0, size}, {to, 2 * size, size}, {2 * to, size, size}};
  for (int k = 0; k < 2; k++) fill(in[k], 2 * N, t, 7 + (uint64_t)k);
  for (size_t form = 0; form < sizeof forms / sizeof *forms; form++) {
    memset(out, 0, sizeof out);
    for (int k = 0; k < 2; k++) {
      char *p[3] = {out[k], in[0], in[1]};
      (k == 0 ? plain : fast)(p, forms[form], N);
    }
    if (memcmp(out[0], out[1], sizeof out[0]) != 0) fail_msg("%s, form %zu: bits differ", viva_dtype_name(t), form);
  }
}

static void compare_loops(const loops *fast) {
  const loops *plain = loops_plain();
  for (int t = VIVA_F64; t < DTYPE_COMPUTE; t++) {
    for (int op = 0; op < VIVA_UNARY_COUNT; op++)
      compare_loop(plain->unary[op][t], fast->unary[op][t], (viva_dtype)t,
                   viva_unary_type((viva_unary)op, (viva_dtype)t));
    for (int op = 0; op < VIVA_BINARY_COUNT; op++)
      if (op != VIVA_POWER || t <= VIVA_F32)
        compare_loop(plain->binary[op][t], fast->binary[op][t], (viva_dtype)t,
                     viva_binary_type((viva_binary)op, (viva_dtype)t, (viva_dtype)t));
  }
}

static uint64_t any_bits(uint64_t *seed) {
  *seed ^= *seed << 13, *seed ^= *seed >> 7, *seed ^= *seed << 17;
  return *seed;
}

/* Any numbers, subnormal ones, those around 1 and the special ones. */
static void any_numbers(double *wide, float *narrow, size_t n, uint64_t *seed) {
  static const double special[] = {0.0,  -0.0, INFINITY, -INFINITY, NAN,   1.0,    -1.0,   0.75, 1.5, 0x1p-1074,
                                   -1.0, 2.0,  0x1p-149, 0x1p-1022, 709.8, -745.2, -708.5, 88.8, 9.1, 0x1p-126};
  for (size_t i = 0; i < n; i++) {
    const uint64_t bits = any_bits(seed), kind = any_bits(seed) % 5,
                   few = bits >> 12 | (kind == 1 ? 0 : 0x3ffull << 52);
    const uint32_t few_32 = (uint32_t)(bits >> 41) | (kind == 1 ? 0 : 0x7fu << 23);
    memcpy(&wide[i], kind == 0 ? &bits : &few, 8), memcpy(&narrow[i], kind == 0 ? (const void *)&bits : &few_32, 4);
    if (kind == 2) wide[i] = special[bits % 20], narrow[i] = (float)wide[i];
    if (kind == 3) wide[i] = (double)(int64_t)bits * 0x1p-53, narrow[i] = (float)(wide[i] / 8);
    if (kind == 4) wide[i] = wide[i] * 0.75, narrow[i] = narrow[i] * 0.75f;
  }
}

/* But which NaN comes out is the compiler's choice. */
static void compare_elementary(const loops *fast) {
  static const viva_unary ops[] = {VIVA_EXP, VIVA_LOG, VIVA_TANH, VIVA_SIGMOID, VIVA_SILU, VIVA_SIN, VIVA_COS};
  double wide[N], wide_out[2][N];
  float narrow[N], narrow_out[2][N];
  uint64_t seed = 88172645463325252u;
  for (size_t round = 0; round < 4 * N; round++) {
    const size_t n = round % N + 1; /* every rest of a vector */
    any_numbers(wide, narrow, n, &seed);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
      const viva_unary op = ops[k];
      for (int set = 0; set < 2; set++) {
        const loops *l = set == 0 ? loops_plain() : fast;
        l->unary[op][VIVA_F64]((char *[]){(char *)wide_out[set], (char *)wide}, (int64_t[]){8, 8}, n);
        l->unary[op][VIVA_F32]((char *[]){(char *)narrow_out[set], (char *)narrow}, (int64_t[]){4, 4}, n);
      }
      for (size_t i = 0; i < n; i++) {
        if (memcmp(&wide_out[0][i], &wide_out[1][i], 8) != 0 && !(isnan(wide_out[0][i]) && isnan(wide_out[1][i])))
          fail_msg("%s of F64 %a: %a and %a", viva_unary_name(op), wide[i], wide_out[0][i], wide_out[1][i]);
        if (memcmp(&narrow_out[0][i], &narrow_out[1][i], 4) != 0 &&
            !(isnan(narrow_out[0][i]) && isnan(narrow_out[1][i])))
          fail_msg("%s of F32 %a: %a and %a", viva_unary_name(op), (double)narrow[i], (double)narrow_out[0][i],
                   (double)narrow_out[1][i]);
      }
    }
  }
}

static void all_sets_give_the_same_bits(void **state) {
  (void)state;
  if (!cpu_get()->avx2 || !loops_avx2()) skip();
  compare_loops(loops_avx2()), compare_elementary(loops_avx2());
  if (cpu_get()->avx512) compare_loops(loops_avx512()), compare_elementary(loops_avx512());
  static _Alignas(64) char x[RED_PIECE * 8];
  static const viva_dtype types[RED_TYPES] = {VIVA_F64, VIVA_F32, VIVA_I64, VIVA_U64};
  static const size_t bytes[RED_TYPES] = {8, 4, 8, 8};
  for (int t = 0; t < RED_TYPES; t++)
    for (int op = 0; op < RED_COUNT; op++)
      for (size_t n = 1; n <= RED_PIECE; n = n * 2 + 5) {
        if (!reducers_plain()->piece[op][t]) continue;
        red_value a = {.u64 = 0}, b = {.u64 = 0};
        fill(x, RED_PIECE, types[t], 3);
        reducers_plain()->piece[op][t](x, n, 0.25, &a);
        reducers_avx2()->piece[op][t](x, n, 0.25, &b);
        assert_memory_equal(&a, &b, sizeof a);
      }
  for (int t = 0; t < RED_TYPES; t++)
    for (int largest = 0; largest < 2; largest++)
      for (size_t n = 1; n <= RED_PIECE; n += n < 140 ? 1 : 37) { /* whole numbers and NaN: many are the same */
        red_value a = {.u64 = 0}, b = {.u64 = 0};
        fill_whole(x, n, types[t], n);
        const size_t plain_at = reducers_plain()->arg[largest][t](x, n, &a);
        assert_int_equal(plain_at, reducers_avx2()->arg[largest][t](x, n, &b));
        assert_memory_equal(&a, &b, sizeof a);
        assert_true(plain_at < n);
        for (size_t i = 0; i < plain_at; i++)
          assert_memory_not_equal(x + i * bytes[t], x + plain_at * bytes[t], bytes[t]);
      }
}

/* exp, log, tanh, sin and cos in F32 over every 971st float: at most 2 units of the last place. */
static double worst_of(viva_unary op, double (*exact)(double)) {
  double worst = 0;
  for (uint64_t bits = 0; bits < UINT32_MAX; bits += 971) {
    const uint32_t code = (uint32_t)bits;
    float x, y;
    memcpy(&x, &code, sizeof x);
    char *p[2] = {(char *)&y, (char *)&x};
    const int64_t step[2] = {4, 4};
    loops_get()->unary[op][VIVA_F32](p, step, 1);
    const double want = exact((double)x);
    if (isnan(want) || isinf((float)want)) {
      assert_true(isnan(want) ? isnan(y) : y == (float)want);
      continue;
    }
    int e;
    (void)frexp(want, &e);
    const double unit = ldexp(1.0, e - 24 < -149 ? -149 : e - 24), error = fabs((double)y - want) / unit;
    worst = error > worst ? error : worst;
  }
  return worst;
}

/* The same in F64, beside the C library's long double, which has 11 bits more. */
static double worst_of_wide(viva_unary op, long double (*exact)(long double)) {
  double worst = 0, x[N], y[N];
  float unused[N];
  uint64_t seed = 88172645463325252u;
  for (int round = 0; round < 5000; round++) {
    any_numbers(x, unused, N, &seed);
    loops_get()->unary[op][VIVA_F64]((char *[]){(char *)y, (char *)x}, (int64_t[]){8, 8}, N);
    for (size_t i = 0; i < N; i++) {
      const long double want = exact((long double)x[i]);
      if (isnan(want) || isinf((double)want)) {
        assert_true(isnan(want) ? isnan(y[i]) : y[i] == (double)want);
        continue;
      }
      int e;
      (void)frexpl(want, &e);
      const double unit = ldexp(1.0, e - 53 < -1074 ? -1074 : e - 53),
                   error = (double)fabsl((long double)y[i] - want) / unit;
      worst = error > worst ? error : worst;
    }
  }
  return worst;
}

static void elementary_functions(void **state) {
  (void)state;
  assert_true(worst_of_wide(VIVA_EXP, expl) <= 2);
  assert_true(worst_of_wide(VIVA_LOG, logl) <= 2);
  assert_true(worst_of_wide(VIVA_TANH, tanhl) <= 2);
  assert_true(worst_of(VIVA_EXP, exp) <= 2);
  assert_true(worst_of(VIVA_LOG, log) <= 2);
  assert_true(worst_of(VIVA_TANH, tanh) <= 2);
  assert_true(worst_of(VIVA_SIN, sin) <= 2);
  assert_true(worst_of(VIVA_COS, cos) <= 2);
}

/* -- results in the caller's tensors */

static void into(void **state) {
  (void)state;
  const uint64_t shape[2] = {5, 5};
  viva_error error = {0};
  viva_tensor *a = values_of(VIVA_F32, 2, shape, 1), *b = values_of(VIVA_F32, 2, shape, 2), *fresh, *turned, *copy;
  assert_int_equal(viva_tensor_transpose(a, 0, 1, &turned, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_binary(VIVA_ADD, turned, b, &fresh, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_copy(a, &copy, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_binary_into(VIVA_ADD, turned, b, a, &error),
                   VIVA_OK); /* a is read the other way round */
  same_bits(a, fresh);
  assert_int_equal(viva_tensor_binary_into(VIVA_SUBTRACT, fresh, b, fresh, &error), VIVA_OK); /* in place */
  viva_tensor_release(turned), viva_tensor_release(fresh);
  viva_tensor *repeated;
  assert_int_equal(viva_tensor_broadcast_to(a, 3, (uint64_t[]){2, 5, 5}, &repeated, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_binary_into(VIVA_ADD, a, b, repeated, &error), VIVA_E_SIZE);
  assert_non_null(strstr(error.message, "[2, 5, 5]"));
  assert_int_equal(viva_tensor_fill(repeated, 1, &error), VIVA_E_ARGUMENT);
  assert_non_null(strstr(error.message, "share one place"));
  viva_tensor_release(repeated);
  viva_tensor *half = values_of(VIVA_F16, 2, shape, 3);
  /* single elements do not fill a result by themselves */
  viva_tensor *one, *eight;
  assert_int_equal(tensor_create(rt, VIVA_F32, 1, (uint64_t[]){1}, &one, &error), VIVA_OK);
  assert_int_equal(tensor_create(rt, VIVA_F32, 1, (uint64_t[]){8}, &eight, &error), VIVA_OK);
  assert_int_equal(viva_tensor_binary_into(VIVA_ADD, one, one, eight, &error), VIVA_E_SIZE);
  assert_int_equal(viva_tensor_binary_into(VIVA_ADD, one, eight, eight, &error), VIVA_OK);
  assert_int_equal(viva_tensor_binary_into(VIVA_ADD, eight, one, one, &error), VIVA_E_SIZE);
  viva_tensor_release(one), viva_tensor_release(eight);
  assert_int_equal(viva_tensor_binary_into(VIVA_MULTIPLY, copy, b, half, &error), VIVA_OK); /* another type */
  assert_int_equal(viva_tensor_reduce_into(VIVA_SUM, copy, (int32_t[]){0}, 1, 1, half, &error), VIVA_E_SIZE);
  viva_tensor_release(a), viva_tensor_release(b), viva_tensor_release(copy), viva_tensor_release(half);
}

static void refused(viva_status status, viva_status code, const viva_error *error, const char *text) {
  assert_int_equal(status, code);
  if (!strstr(error->message, text)) fail_msg("\"%s\" lacks \"%s\"", error->message, text);
}

static void refusals(void **state) {
  (void)state;
  viva_error e = {0};
  viva_tensor *a = values_of(VIVA_F32, 2, (uint64_t[]){2, 3}, 1), *b = values_of(VIVA_I8, 1, (uint64_t[]){4}, 2), *out;
  viva_tensor *flags = values_of(VIVA_BOOL, 1, (uint64_t[]){4}, 2),
              *codes = values_of(VIVA_E4M3, 1, (uint64_t[]){4}, 2);
  refused(viva_tensor_binary(VIVA_ADD, a, b, &out, &e), VIVA_E_SIZE, &e, "[2, 3] and [4] do not fit");
  assert_null(out);
  refused(viva_tensor_binary(VIVA_SUBTRACT, flags, flags, &out, &e), VIVA_E_DTYPE, &e, "not defined for BOOL and BOOL");
  refused(viva_tensor_unary(VIVA_EXP, codes, &out, &e), VIVA_E_DTYPE, &e, "viva_tensor_astype");
  refused(viva_tensor_unary((viva_unary)99, a, &out, &e), VIVA_E_ARGUMENT, &e, "no unary operation 99");
  refused(viva_tensor_unary(VIVA_EXP, NULL, &out, &e), VIVA_E_ARGUMENT, &e, "a is NULL");
  refused(viva_tensor_unary(VIVA_EXP, a, NULL, &e), VIVA_E_ARGUMENT, &e, "out is NULL");
  refused(viva_tensor_binary_scalar(VIVA_ADD, b, 300, &out, &e), VIVA_E_LIMIT, &e,
          "300 does not fit the type I8 of the tensor");
  refused(viva_tensor_reduce(VIVA_SUM, a, (int32_t[]){2}, 1, 0, &out, &e), VIVA_E_ARGUMENT, &e,
          "axis is 2; the tensor [2, 3]");
  refused(viva_tensor_reduce(VIVA_SUM, a, (int32_t[]){1, -1}, 2, 0, &out, &e), VIVA_E_ARGUMENT, &e, "named twice");
  refused(viva_tensor_reshape(a, 1, (uint64_t[]){5}, &out, &e), VIVA_E_SIZE, &e, "[2, 3] has 6 elements");
  refused(viva_tensor_reshape(a, 2, (uint64_t[]){UINT64_MAX, UINT64_MAX}, &out, &e), VIVA_E_ARGUMENT, &e, "left open");
  refused(viva_tensor_reshape(a, 2, (uint64_t[]){4, UINT64_MAX}, &out, &e), VIVA_E_SIZE, &e, "do not fill [4, open]");
  refused(viva_tensor_broadcast_to(a, 2, (uint64_t[]){2, 1}, &out, &e), VIVA_E_SIZE, &e, "does not fill");
  refused(viva_tensor_get(a, (int64_t[]){0, 3}, &(double){0}, &e), VIVA_E_SIZE, &e, "index 3 is outside axis 1");
  refused(viva_tensor_clip(a, 2, 1, &out, &e), VIVA_E_ARGUMENT, &e, "low <= high");
  assert_int_equal(viva_tensor_fill(a, -1, NULL), VIVA_OK);
  refused(viva_tensor_check_domain(VIVA_SQRT, a, &e), VIVA_E_NUMERIC, &e, "sqrt of -1: element 0");
  assert_int_equal(viva_tensor_check_domain(VIVA_EXP, a, &e), VIVA_OK);
  viva_tensor_release(a), viva_tensor_release(b), viva_tensor_release(flags), viva_tensor_release(codes);
}

/* Results do not depend on the number of threads. */
static void threads_do_not_matter(void **state) {
  (void)state;
  viva_tensor *a = values_of(VIVA_F32, 2, (uint64_t[]){700, 901}, 4), *one[6], *many[6];
  pool *threads = rt->pool;
  for (int k = 0; k < 2; k++) {
    viva_tensor **r = k ? many : one;
    rt->pool = k ? threads : NULL;
    assert_int_equal(viva_tensor_reduce(VIVA_SUM, a, NULL, 0, 0, &r[0], NULL), VIVA_OK);
    assert_int_equal(viva_tensor_reduce(VIVA_STD, a, (int32_t[]){0}, 1, 0, &r[1], NULL), VIVA_OK);
    assert_int_equal(viva_tensor_reduce(VIVA_MEAN, a, (int32_t[]){1}, 1, 0, &r[2], NULL), VIVA_OK);
    assert_int_equal(viva_tensor_unary(VIVA_EXP, a, &r[3], NULL), VIVA_OK);
    assert_int_equal(viva_tensor_reduce(VIVA_ARGMAX, a, (int32_t[]){0}, 1, 0, &r[4], NULL), VIVA_OK);
    assert_int_equal(create_random(rt, VIVA_F32, 1, (uint64_t[]){100001},
                                   &(viva_random_options){.distribution = VIVA_NORMAL, .seed = 5, .deviation = 1},
                                   &r[5], NULL),
                     VIVA_OK);
  }
  for (int i = 0; i < 6; i++) same_bits(one[i], many[i]), viva_tensor_release(one[i]), viva_tensor_release(many[i]);
  viva_tensor_release(a);
}

/* -- failing memory */

/* A call of every kind; the first failure ends it. */
static viva_status everything(runtime *r) {
  viva_tensor *t[16] = {NULL};
  viva_status s =
      create_random(r, VIVA_F32, 2, (uint64_t[]){3, 4}, &(viva_random_options){.seed = 1, .high = 1}, &t[0], NULL);
  if (s == VIVA_OK) s = create_full(r, VIVA_I32, 1, (uint64_t[]){4}, 2, &t[1], NULL);
  if (s == VIVA_OK) s = viva_tensor_binary(VIVA_MULTIPLY, t[0], t[1], &t[2], NULL);
  if (s == VIVA_OK) s = viva_tensor_binary(VIVA_POWER, t[1], t[1], &t[3], NULL);
  if (s == VIVA_OK) s = viva_tensor_transpose(t[2], 0, 1, &t[4], NULL);
  if (s == VIVA_OK) s = viva_tensor_flatten(t[4], &t[5], NULL);
  if (s == VIVA_OK) s = viva_tensor_reduce(VIVA_STD, t[4], (int32_t[]){1}, 1, 0, &t[6], NULL);
  if (s == VIVA_OK) s = viva_tensor_reduce(VIVA_ARGMIN, t[4], (int32_t[]){0}, 1, 0, &t[7], NULL);
  if (s == VIVA_OK) s = viva_tensor_reduce(VIVA_ALL, t[4], NULL, 0, 0, &t[8], NULL);
  if (s == VIVA_OK) s = viva_tensor_clip(t[4], 0.1, 0.5, &t[9], NULL);
  if (s == VIVA_OK) s = viva_tensor_split(t[5], 0, 3, &t[10], NULL);
  if (s == VIVA_OK) s = viva_tensor_stack((const viva_tensor *const *)&t[10], 3, 0, &t[13], NULL);
  if (s == VIVA_OK) s = viva_tensor_pad(t[13], (uint64_t[]){1, 0}, (uint64_t[]){0, 2}, 1, &t[14], NULL);
  if (s == VIVA_OK) s = create_arange(r, VIVA_F16, 0, 5, 1, &t[15], NULL);
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) viva_tensor_release(t[i]);
  return s;
}

static void failing_memory(void **state) {
  (void)state;
  fail_alloc fail;
  for (uint64_t k = 1;; k++) {
    fail_alloc_init(&fail, k, 0);
    runtime *r = runtime_create(&fail.table, NULL, NULL, NULL, VIVA_LOG_WARN);
    const viva_status status = r ? everything(r) : VIVA_E_MEMORY;
    runtime_release(r);
    assert_int_equal(fail.live, 0);
    assert_int_equal(status, fail.failed ? VIVA_E_MEMORY : VIVA_OK);
    if (!fail.failed) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_sets_give_the_same_bits),
      cmocka_unit_test(elementary_functions),
      cmocka_unit_test(into),
      cmocka_unit_test(refusals),
      cmocka_unit_test(threads_do_not_matter),
      cmocka_unit_test(failing_memory),
  };
  return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
