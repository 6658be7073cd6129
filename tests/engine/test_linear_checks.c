/* The linear calls: what is refused and what it says, the longest integer sum, missing memory, and the self test of INT4 2:4. */
#include "linear_kit.h"

#include <math.h>

#include "lib/fail_alloc.h"

static void inputs_are_checked(void **state) {
  viva_error error = {0};
  viva_tensor *y = (viva_tensor *)&error, *wrong, *empty, *whole, *scalar, *long_bias, *whole_bias;
  viva_packed_weight *weights[CALLS];
  (void)state;
  fine(viva_tensor_create(engine, VIVA_F32, 2, (uint64_t[]){M, K + 1}, &wrong, &fault));
  fine(viva_tensor_create(engine, VIVA_F32, 2, (uint64_t[]){0, K}, &empty, &fault));
  fine(viva_tensor_create(engine, VIVA_F64, 2, (uint64_t[]){M, K}, &whole, &fault));
  fine(viva_tensor_create(engine, VIVA_F32, 0, NULL, &scalar, &fault));
  fine(viva_tensor_create(engine, VIVA_F32, 1, (uint64_t[]){N + 1}, &long_bias, &fault));
  fine(viva_tensor_create(engine, VIVA_I32, 1, (uint64_t[]){N}, &whole_bias, &fault));
  for (size_t c = 0; c < CALLS; c++) {
    const viva_packed_weight *p = weights[c] = pack(calls[c].format, w_values);
    const linear_fn call = calls[c].call;
    refused(call(NULL, p, NULL, NULL, &y, &error), VIVA_E_ARGUMENT, &error,
            "input: input is NULL; expected a tensor [..., in]");
    assert_null(y);
    refused(call(input, NULL, NULL, NULL, &y, &error), VIVA_E_ARGUMENT, &error,
            "weight: weight is NULL; expected a packed weight");
    refused(call(input, p, NULL, NULL, NULL, &error), VIVA_E_ARGUMENT, &error,
            "output: output is NULL; expected a place");
    refused(call(wrong, p, NULL, NULL, &y, &error), VIVA_E_SIZE, &error,
            "input: input has the shape [5, 131]; its last size must be the weight's in, 130");
    refused(call(scalar, p, NULL, NULL, &y, &error), VIVA_E_SIZE, &error, "input: input has the shape []");
    refused(call(empty, p, NULL, NULL, &y, &error), VIVA_E_ARGUMENT, &error, "no rows; give at least one");
    refused(call(whole, p, NULL, NULL, &y, &error), VIVA_E_DTYPE, &error, "input: input holds F64");
    refused(call(input, p, long_bias, NULL, &y, &error), VIVA_E_SIZE, &error,
            "bias: bias has the shape [25]; expected [24]");
    refused(call(input, p, scalar, NULL, &y, &error), VIVA_E_SIZE, &error, "bias: bias has the shape []");
    refused(call(input, p, whole_bias, NULL, &y, &error), VIVA_E_DTYPE, &error, "bias: bias holds I32");
    viva_linear_options o = viva_linear_options_default();
    o.act = (viva_activation_mode)5;
    refused(call(input, p, NULL, &o, &y, &error), VIVA_E_ARGUMENT, &error, "act: act is 5; expected 0 (auto) to 4");
    o = viva_linear_options_default(), o.output_dtype = VIVA_F64;
    refused(call(input, p, NULL, &o, &y, &error), VIVA_E_DTYPE, &error, "output_dtype: output_dtype is F64");
    o.size = 1;
    refused(call(input, p, NULL, &o, &y, &error), VIVA_E_ARGUMENT, &error, "viva_linear_options says");
  }
  viva_tensor *ends[] = {wrong, empty, whole, scalar, long_bias, whole_bias};
  for (size_t i = 0; i < 6; i++) viva_tensor_release(ends[i]);
  for (size_t c = 0; c < CALLS; c++) viva_packed_weight_release(weights[c]);
}

static void into_is_checked(void **state) {
  viva_error error = {0};
  viva_tensor *y, *wide, *line, *whole, *square, *shared, *part;
  viva_linear_options o = viva_linear_options_default();
  viva_packed_weight *p = pack("fp8", w_values);
  (void)state;
  fine(viva_tensor_create(engine, VIVA_F16, 2, (uint64_t[]){M, N + 1}, &wide, &fault));
  fine(viva_tensor_create(engine, VIVA_F16, 1, (uint64_t[]){M * N}, &line, &fault));
  fine(viva_tensor_create(engine, VIVA_F64, 2, (uint64_t[]){M, N}, &whole, &fault));
  fine(viva_tensor_create(engine, VIVA_F16, 2, (uint64_t[]){M, N}, &square, &fault));
  fine(viva_tensor_view(line, 2, (uint64_t[]){M, N}, (int64_t[]){0, 1}, 0, &shared, &fault));
  o.accumulate = (viva_accumulation)3;
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &error), VIVA_E_ARGUMENT, &error, "accumulate: accumulate can be");
  o.accumulate = VIVA_ACCUMULATE_FULL, o.reserved = 1;
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &error), VIVA_E_ARGUMENT, &error, "reserved");
  o.reserved = 0, o.accumulate = VIVA_ACCUMULATE_AUTO;
  o.into = wide;
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &error), VIVA_E_SIZE, &error,
          "into: into has the shape [5, 25]; expected [5, 24]");
  o.into = line;
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &error), VIVA_E_SIZE, &error, "into: into has the shape [120]");
  o.into = whole;
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &error), VIVA_E_DTYPE, &error, "into: into holds F64");
  o.into = square, o.output_dtype = VIVA_F32;
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &error), VIVA_E_DTYPE, &error,
          "into: into holds F16, but output_dtype is F32");
  o.into = shared, o.output_dtype = VIVA_DTYPE_NONE;
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &error), VIVA_E_ARGUMENT, &error, "elements of into share memory");
  fine(viva_tensor_slice(input, 1, 0, N, &part, &fault));
  o.into = part;
  refused(viva_linear_fp8(input, p, NULL, &o, &y, &error), VIVA_E_ARGUMENT, &error, "into: into overlaps the input");
  assert_null(y);
  viva_tensor *ends[] = {wide, line, whole, square, shared, part};
  for (size_t i = 0; i < 6; i++) viva_tensor_release(ends[i]);
  viva_packed_weight_release(p);
}

static void epilogues_are_checked(void **state) {
  viva_error error = {0};
  viva_tensor *y;
  viva_packed_weight *p = pack("nvfp4", w_values), *up = pack("fp8", u_values), *narrow, *foreign;
  viva_engine *other = open_engine(VIVA_KERNELS_AUTO, 1);
  viva_tensor *t = matrix_of(engine, VIVA_F32, N - 1, K, u_values),
              *whole = matrix_of(engine, VIVA_F32, N, K, u_values);
  (void)state;
  fine(viva_prepack_fp8_weight(engine, t, NULL, &narrow, &fault));
  fine(viva_prepack_fp8_weight(other, whole, NULL, &foreign, &fault));
  viva_epilogue e = viva_epilogue_default();
  e.kind = (viva_epilogue_kind)5;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_ARGUMENT, &error, "kind: the epilogue's kind is 5");
  e = viva_epilogue_default(), e.reserved = 5;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_ARGUMENT, &error,
          "reserved: the epilogue's reserved is 5; expected 0");
  e = viva_epilogue_default(), e.up = up;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_ARGUMENT, &error,
          "up: up belongs to the epilogue SWIGLU");
  e = viva_epilogue_default(), e.up_bias = bias, e.kind = VIVA_EPILOGUE_SILU;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_ARGUMENT, &error, "up_bias: up_bias belongs");
  e = viva_epilogue_default(), e.after_bias = bias;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_ARGUMENT, &error, "after_bias: after_bias belongs");
  e = viva_epilogue_default(), e.kind = VIVA_EPILOGUE_SWIGLU;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_ARGUMENT, &error,
          "up: up is NULL; expected a packed weight of gate's shape");
  e.up = narrow;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_SIZE, &error, "up: up is 23 x 130 [out, in]; gate is 24");
  e.up = foreign;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_ARGUMENT, &error, "up: gate and up live on different");
  e.up = up, e.up_bias = input;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_SIZE, &error, "up_bias: up_bias has the shape [5, 130]");
  e.up_bias = NULL, e.after_bias = input;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_SIZE, &error, "after_bias: after_bias has the shape");
  refused(viva_linear_swiglu_fp8(input, p, NULL, NULL, NULL, &y, &error), VIVA_E_ARGUMENT, &error, "up: up is NULL");
  refused(viva_linear_swiglu_fp8(input, NULL, up, NULL, NULL, &y, &error), VIVA_E_ARGUMENT, &error, "gate: gate is");
  refused(viva_linear_swiglu_fp8(input, p, up, input, NULL, &y, &error), VIVA_E_SIZE, &error, "bias: bias has");
  e.size = 4;
  refused(viva_linear(input, p, &e, NULL, &y, &error), VIVA_E_ARGUMENT, &error, "viva_epilogue says");
  viva_packed_weight *ends[] = {p, up, narrow, foreign};
  for (size_t i = 0; i < 4; i++) viva_packed_weight_release(ends[i]);
  viva_tensor_release(t), viva_tensor_release(whole);
  viva_engine_release(other);
}

/* Sums of integers are exact up to INPUT_INT8_MOST_K: one more is refused, other modes are not. */
static void the_longest_integer_sum(void **state) {
  const size_t k = INPUT_INT8_MOST_K;
  float *long_row = malloc((k + 1) * sizeof *long_row);
  (void)state;
  assert_non_null(long_row);
  for (size_t i = 0; i <= k; i++) long_row[i] = 127;
  for (size_t more = 0; more <= 1; more++) {
    viva_tensor *y, *t;
    viva_packed_weight *p;
    viva_error error = {0};
    viva_linear_options o = f32_output(VIVA_ACT_INT8);
    fine(viva_tensor_wrap(engine, long_row, (k + 1) * sizeof *long_row, VIVA_F32, 2, (uint64_t[]){1, k + more}, &t,
                          &fault));
    fine(viva_prepack_int8_sparse_24_weight(engine, t, NULL, &p, &fault));
    const viva_status status = viva_linear_int8_sparse(t, p, NULL, &o, &y, &error);
    if (!more) {
      assert_int_equal(status, VIVA_OK);
      /* 2 of 4 kept; of the last 3 columns 2 */
      const double kept = (double)(k / 4 * 2 + (k % 4 < 2 ? k % 4 : 2));
      assert_true(fabs(((const float *)viva_tensor_elements(y))[0] - kept * 127 * 127) <= 0x1p-23 * kept * 127 * 127);
      viva_tensor_release(y);
    } else {
      refused(status, VIVA_E_LIMIT, &error, "act: the weight's in is 266288; sums of integer inputs are exact up to");
    }
    viva_tensor_release(t);
    viva_packed_weight_release(p);
  }
  free(long_row);
}

static void no_memory_is_survived(void **state) {
  static const char *const formats[] = {"fp8", "int4-24", "nvfp4"};
  (void)state;
  for (size_t n = 0; n < 3; n++)
    for (uint64_t k = 1;; k++) {
      fail_alloc memory;
      viva_engine_options options = viva_engine_options_default();
      viva_epilogue e = viva_epilogue_default();
      viva_engine *own;
      viva_packed_weight *gate, *up;
      viva_tensor *y;
      viva_error error = {0};
      fail_alloc_init(&memory, 0, 0);
      options.allocator = &memory.table, options.threads = 2;
      fine(viva_engine_open(&options, &own, &fault));
      viva_tensor *t = matrix_of(own, VIVA_F32, N, K, w_values), *x = matrix_of(own, VIVA_F32, M, K, x_values);
      fine(prepack_named(own, formats[n], t, NULL, &gate, &fault));
      fine(prepack_named(own, "bf16", t, NULL, &up, &fault));
      e.kind = VIVA_EPILOGUE_SWIGLU, e.up = up, e.bias = e.after_bias = bias;
      const viva_linear_options o = f32_output(VIVA_ACT_FP8);
      memory.fail_at = memory.calls + k;
      const viva_status status = viva_linear(x, gate, &e, &o, &y, &error);
      assert_int_equal(status, memory.failed ? VIVA_E_MEMORY : VIVA_OK);
      assert_true((y != NULL) == (status == VIVA_OK));
      memory.fail_at = 0;
      if (status != VIVA_OK) fine(viva_linear(x, gate, &e, &o, &y, &fault)); /* all are usable */
      viva_tensor_release(t), viva_tensor_release(x), viva_tensor_release(y);
      viva_packed_weight_release(gate), viva_packed_weight_release(up);
      viva_engine_release(own);
      assert_int_equal(memory.live, 0);
      if (!memory.failed) break;
    }
}

static void self_test_finds_no_difference(void **state) {
  static const uint64_t sizes[][3] = {{128, 128, 128}, {256, 256, 256}, {17, 136, 384}, {512, 256, 4096}, {3, 5, 7}};
  viva_error error = {0};
  double difference;
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    difference = -1;
    fine(viva_int4_sparse_self_test(engine, sizes[i][0], sizes[i][1], sizes[i][2], &difference, &fault));
    assert_true(difference == 0);
  }
  refused(viva_int4_sparse_self_test(NULL, 1, 1, 1, &difference, &error), VIVA_E_ARGUMENT, &error, "engine is NULL");
  refused(viva_int4_sparse_self_test(engine, 1, 1, 1, NULL, &error), VIVA_E_ARGUMENT, &error, "difference is NULL");
  refused(viva_int4_sparse_self_test(engine, 0, 1, 1, &difference, &error), VIVA_E_ARGUMENT, &error, "0, 1 and 1");
  refused(viva_int4_sparse_self_test(engine, 1, 65537, 1, &difference, &error), VIVA_E_ARGUMENT, &error, "65537");
  static const uint64_t days[][3] = {{65536, 65536, 65536}, {4096, 4096, 4097}};
  for (size_t i = 0; i < 2; i++)
    refused(viva_int4_sparse_self_test(engine, days[i][0], days[i][1], days[i][2], &difference, &error),
            VIVA_E_ARGUMENT, &error, "products would take minutes or days; expected at most 2^36");
  for (uint64_t k = 1;; k++) {
    fail_alloc memory;
    viva_engine_options options = viva_engine_options_default();
    viva_engine *own;
    fail_alloc_init(&memory, 0, 0);
    options.allocator = &memory.table, options.threads = 1;
    fine(viva_engine_open(&options, &own, &fault));
    memory.fail_at = memory.calls + k;
    const viva_status status = viva_int4_sparse_self_test(own, 3, 5, 7, &difference, &error);
    assert_int_equal(status, memory.failed ? VIVA_E_MEMORY : VIVA_OK);
    viva_engine_release(own);
    assert_int_equal(memory.live, 0);
    if (!memory.failed) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(inputs_are_checked, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(into_is_checked, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(epilogues_are_checked, prepare_input, drop_input),
      cmocka_unit_test(the_longest_integer_sum),
      cmocka_unit_test_setup_teardown(no_memory_is_survived, prepare_input, drop_input),
      cmocka_unit_test(self_test_finds_no_difference),
  };
  return cmocka_run_group_tests(tests, begin, end);
}
