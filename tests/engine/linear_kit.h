/* tests/engine/linear_kit.h: what the tests of the linear calls share: one engine, the calls by name, an input of M rows, and
 * weights. */
#ifndef TESTS_LINEAR_KIT_H
#define TESTS_LINEAR_KIT_H

#include "engine_kit.h"
#include "lib/far_device.h"

static viva_engine *engine;
static size_t bytes_before;

/* Where the tests compute, and where their tensors lie. */
typedef enum place { ON_CPU, FAR_FROM_HOST, FAR_ON_DEVICE } place;
static place where;
static far_device far;

static inline void go_far(far_device *device, viva_engine *e) {
  if (where != ON_CPU) far_begin(device, e, where == FAR_ON_DEVICE ? FAR_PREPARE | FAR_PACK : FAR_PREPARE);
}

static inline void come_back(far_device *device) {
  if (where != ON_CPU) far_end(device);
}

static inline int begin(void **state) {
  (void)state;
  engine = open_engine(VIVA_KERNELS_AUTO, 2);
  go_far(&far, engine);
  on_device = where == FAR_ON_DEVICE;
  bytes_before = bytes_now(engine);
  return 0;
}

static inline int end(void **state) {
  (void)state;
  if (where == FAR_ON_DEVICE) assert_true(far.packed > 0);
  come_back(&far);
  assert_int_equal(bytes_now(engine), bytes_before);
  viva_engine_release(engine);
  return 0;
}

static inline viva_linear_options f32_output(viva_activation_mode mode) {
  viva_linear_options o = viva_linear_options_default();
  o.act = mode, o.output_dtype = VIVA_F32;
  return o;
}

typedef viva_status (*linear_fn)(const viva_tensor *, const viva_packed_weight *, const viva_tensor *,
                                 const viva_linear_options *, viva_tensor **, viva_error *);

/* What each call by name is: the formats it takes, what AUTO means there. */
static const struct {
  const char *name;
  linear_fn call;
  const char *format;
  viva_activation_mode automatic;
  viva_epilogue_kind kind;
} calls[] = {{"fp8", viva_linear_fp8, "fp8", VIVA_ACT_FP8, VIVA_EPILOGUE_NONE},
             {"fp8_w8a16", viva_linear_fp8_w8a16, "fp8", VIVA_ACT_16, VIVA_EPILOGUE_NONE},
             {"gelu_fp8", viva_linear_gelu_fp8, "fp8", VIVA_ACT_FP8, VIVA_EPILOGUE_GELU_TANH},
             {"int8_sparse", viva_linear_int8_sparse, "int8-24", VIVA_ACT_INT8, VIVA_EPILOGUE_NONE},
             {"int4_sparse", viva_linear_int4_sparse, "int4-24", VIVA_ACT_INT8, VIVA_EPILOGUE_NONE},
             {"nvfp4", viva_linear_nvfp4, "nvfp4", VIVA_ACT_16, VIVA_EPILOGUE_NONE}};
#define CALLS (sizeof calls / sizeof *calls)

#define M 5
#define K 130
#define N 24

static float x_values[M * K], w_values[N * K], u_values[N * K], bias_values[N];
static viva_tensor *input, *bias;

static inline void prepare(void) {
  uint64_t seed = 11;
  fill_bell(x_values, M * K, 2, &seed);
  fill_bell(w_values, N * K, 0.1f, &seed);
  fill_bell(u_values, N * K, 0.1f, &seed);
  fill_bell(bias_values, N, 1, &seed);
  input = matrix_of(engine, VIVA_F32, M, K, x_values);
  bias = tensor_of(engine, VIVA_F32, 1, (uint64_t[]){N}, bias_values);
}

static inline int prepare_input(void **state) {
  (void)state;
  prepare();
  return 0;
}

static inline int drop_input(void **state) {
  (void)state;
  viva_tensor_release(input), viva_tensor_release(bias);
  assert_int_equal(bytes_now(engine), bytes_before); /* each test gives all back */
  return 0;
}

static inline viva_packed_weight *pack(const char *name, const float *values) {
  viva_packed_weight *p;
  viva_tensor *t = matrix_of(engine, VIVA_F32, N, K, values);
  fine(prepack_named(engine, name, t, NULL, &p, &fault));
  viva_tensor_release(t);
  return p;
}

#endif
