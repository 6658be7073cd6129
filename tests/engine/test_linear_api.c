/* The linear calls against sums in double of the same codes: every format, activation mode, shape, type and stride; the order
 * of the epilogue; rounding, overflow, NaN rows. (What is refused: test_linear_checks.c.) All of it on the CPU, on a device
 * whose memory the host cannot touch with tensors of the host's, and there with tensors of the device's. */
#include "linear_kit.h"

#include <math.h>

/* Before the output's rounding: 2^-20 of the sum of magnitudes (viva/linear.h). */
#define SUM_BOUND 0x1p-20
/* One rounding to FP32 each for scales, bias and activation, and GELU's and SiLU's own error (rows_simd.h: some ulps). */
#define STEP_BOUND 0x1p-20

static const viva_activation_mode modes[] = {VIVA_ACT_16, VIVA_ACT_FP8, VIVA_ACT_INT8, VIVA_ACT_INT4};
#define MODES 4

/* -- what is right */

/* The row as it enters the products: codes · *scale. */
static void quantise(viva_activation_mode mode, const float *x, size_t k, double *codes, double *scale) {
  const float most = mode == VIVA_ACT_FP8 ? 448.0f : mode == VIVA_ACT_INT8 ? 127.0f : 7.0f;
  float largest = 0;
  for (size_t i = 0; i < k; i++) largest = fmaxf(largest, fabsf(x[i]));
  const float s = mode == VIVA_ACT_16 || largest == 0 ? 1 : largest / most;
  for (size_t i = 0; i < k; i++) {
    if (mode == VIVA_ACT_16)
      codes[i] = x[i];
    else if (mode == VIVA_ACT_FP8)
      codes[i] = e4m3_to_f32(e4m3_from_f32(x[i] / s));
    else
      codes[i] = rint(fmin(fmax(x[i] / s, -most), most)); /* nearest even */
  }
  *scale = s;
}

typedef struct product {
  double value, bound; /* bound: what the result may be away */
} product;

static product multiply(viva_activation_mode mode, const float *x, const float *w, size_t k) {
  double codes[4096], scale, sum = 0, magnitudes = 0;
  assert_true(k <= 4096);
  quantise(mode, x, k, codes, &scale);
  for (size_t i = 0; i < k; i++) sum += codes[i] * w[i], magnitudes += fabs(codes[i] * w[i]);
  return (product){sum * scale, magnitudes * scale * SUM_BOUND};
}

static double silu(double v) { return v / (1 + exp(-v)); }

static double apply(viva_epilogue_kind kind, double v) {
  switch (kind) {
  case VIVA_EPILOGUE_GELU_TANH: return v / 2 * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
  case VIVA_EPILOGUE_GELU_ERF: return v / 2 * (1 + erf(v / sqrt(2)));
  case VIVA_EPILOGUE_SILU: return silu(v);
  default: return v;
  }
}

static float *unpacked(const viva_packed_weight *p) {
  const size_t count = p->w.rows * p->w.cols;
  float *w = calloc(count, sizeof *w);
  assert_non_null(w);
  fine(viva_packed_weight_unpack(p, w, count, &fault));
  return w;
}

/* -- inputs of every kind */

enum { FLAT, LEADING, TURNED, GAPPED, BACKWARDS, LAYOUTS };

/* m rows of k values in a tensor of the layout; values are rounded to dtype first. */
static viva_tensor *input_of(int layout, viva_dtype dtype, size_t m, size_t k, float *values) {
  viva_tensor *t, *v;
  for (size_t i = 0; i < m * k; i++) {
    if (dtype == VIVA_F16) values[i] = f16_to_f32(f16_from_f32(values[i]));
    if (dtype == VIVA_BF16) values[i] = bf16_to_f32(bf16_from_f32(values[i]));
  }
  if (layout == TURNED) return turned_of(engine, dtype, m, k, values);
  if (layout == LEADING) /* [m][1][1][k] */
    return tensor_of(engine, dtype, 4, (uint64_t[]){m, 1, 1, k}, values);
  if (layout == GAPPED) { /* [m / 2][2][k] of [m / 2][3][k + 1]: two steps */
    const size_t half = m / 2;
    if (m % 2) return matrix_of(engine, dtype, m, k, values);
    fine(viva_tensor_create(engine, dtype, 3, (uint64_t[]){half, 3, k + 1}, &t, &fault));
    for (size_t r = 0; r < m; r++)
      for (size_t c = 0; c < k; c++)
        put(dtype, viva_tensor_elements(t), (r / 2 * 3 + r % 2) * (k + 1) + c, values[r * k + c]);
    t = placed(engine, t);
    fine(viva_tensor_view(t, 3, (uint64_t[]){half, 2, k}, (int64_t[]){(int64_t)(3 * (k + 1)), (int64_t)k + 1, 1}, 0, &v,
                          &fault));
    viva_tensor_release(t);
    return v;
  }
  if (layout == BACKWARDS) { /* rows and columns from the end */
    fine(viva_tensor_create(engine, dtype, 2, (uint64_t[]){m, k}, &t, &fault));
    for (size_t i = 0; i < m * k; i++) put(dtype, viva_tensor_elements(t), m * k - 1 - i, values[i]);
    t = placed(engine, t);
    fine(viva_tensor_view(t, 2, (uint64_t[]){m, k}, (int64_t[]){-(int64_t)k, -1}, (int64_t)(m * k - 1), &v, &fault));
    viva_tensor_release(t);
    return v;
  }
  return matrix_of(engine, dtype, m, k, values);
}

/* -- products */

static const struct {
  size_t m, k, n;
} shapes[] = {{1, 16, 8}, {2, 33, 17}, {4, 64, 40}, {17, 130, 19}, {3, 1, 1}, {1, 515, 33}, {6, 256, 64}, {520, 20, 5}};
#define SHAPES (sizeof shapes / sizeof *shapes)

static void check_products(const viva_tensor *y, viva_activation_mode mode, const float *x, const float *w,
                           const float *added, viva_epilogue_kind kind, size_t m, size_t k, size_t n,
                           const char *format) {
  const float *got = viva_tensor_elements(y);
  for (size_t r = 0; r < m; r++)
    for (size_t c = 0; c < n; c++) {
      const product p = multiply(mode, x + r * k, w + c * k, k);
      const double before = p.value + (added ? (double)added[c] : 0), expected = apply(kind, before);
      /* GELU's and SiLU's slope is at most 1.13. */
      const double bound = 1.13 * (p.bound + STEP_BOUND * (fabs(p.value) + fabs(before)) * (added || kind)) +
                           STEP_BOUND * (fabs(expected) + (kind ? fabs(before) : 0)) * (kind != 0) + 1e-37;
      if (!(fabs((double)got[r * n + c] - expected) <= bound))
        fail_msg("%s, mode %d, %zu x %zu x %zu, [%zu, %zu]: %.9g, expected %.9g within %.3g", format, (int)mode, m, k,
                 n, r, c, (double)got[r * n + c], expected, bound);
    }
}

/* Every format × mode × shape; types and layouts of the input take turns. */
static void products_are_right(void **state) {
  static const viva_dtype types[] = {VIVA_F32, VIVA_F16, VIVA_BF16};
  uint64_t seed = 3;
  size_t turn = 0;
  (void)state;
  for (size_t s = 0; s < SHAPES; s++) {
    const size_t m = shapes[s].m, k = shapes[s].k, n = shapes[s].n;
    float *x = calloc(m * k, sizeof *x), *w = calloc(n * k, sizeof *w);
    fill_bell(w, n * k, 0.05f, &seed);
    viva_tensor *t = matrix_of(engine, VIVA_F32, n, k, w);
    for (size_t i = 0; i < ALL_FORMATS; i++) {
      viva_packed_weight *p;
      fine(prepack_named(engine, all_formats[i], t, NULL, &p, &fault));
      float *values = unpacked(p);
      for (size_t a = 0; a < MODES; a++, turn++) {
        const viva_linear_options o = f32_output(modes[a]);
        viva_tensor *y;
        fill_bell(x, m * k, 3, &seed);
        viva_tensor *rows = input_of((int)(turn % LAYOUTS), types[turn / LAYOUTS % 3], m, k, x);
        fine(viva_linear(rows, p, NULL, &o, &y, &fault));
        y = fetched(y);
        assert_int_equal(y->rank, rows->rank);
        assert_int_equal(y->shape[y->rank - 1], n);
        assert_int_equal(y->elements, m * n);
        check_products(y, modes[a], x, values, NULL, VIVA_EPILOGUE_NONE, m, k, n, all_formats[i]);
        viva_tensor_release(y), viva_tensor_release(rows);
      }
      free(values);
      viva_packed_weight_release(p);
    }
    viva_tensor_release(t);
    free(x), free(w);
  }
}

static int format_fits(const char *format, const char *wanted) { return strncmp(format, wanted, strlen(wanted)) == 0; }

/* Each call by name takes all handles of its format, per channel and blocked alike, and refuses all others. */
static void calls_by_name(void **state) {
  (void)state;
  for (size_t i = 0; i < ALL_FORMATS; i++) {
    viva_packed_weight *p = pack(all_formats[i], w_values);
    float *w = unpacked(p);
    for (size_t c = 0; c < CALLS; c++) {
      viva_linear_options o = f32_output(VIVA_ACT_AUTO);
      viva_tensor *y;
      viva_error error = {0};
      const viva_status status = calls[c].call(input, p, bias, &o, &y, &error);
      if (format_fits(all_formats[i], calls[c].format)) {
        assert_int_equal(status, VIVA_OK);
        y = fetched(y);
        check_products(y, calls[c].automatic, x_values, w, bias_values, calls[c].kind, M, K, N, all_formats[i]);
        viva_tensor_release(y);
      } else {
        char text[64];
        snprintf(text, sizeof text, "weight: viva_linear_%s takes weights of %s; this one is %s", calls[c].name,
                 calls[c].format, all_formats[i]);
        refused(status, VIVA_E_ARGUMENT, &error, text);
        assert_null(y);
      }
    }
    free(w);
    viva_packed_weight_release(p);
  }
}

/* The options: another mode than AUTO's. */
static void modes_can_be_chosen(void **state) {
  (void)state;
  for (size_t c = 0; c < CALLS; c++) {
    viva_packed_weight *p = pack(calls[c].format, w_values);
    float *w = unpacked(p);
    for (size_t a = 0; a < MODES; a++) {
      const viva_linear_options o = f32_output(modes[a]);
      viva_tensor *y;
      viva_error error = {0};
      const viva_status status = calls[c].call(input, p, NULL, &o, &y, &error);
      if (calls[c].call == viva_linear_fp8_w8a16 && modes[a] != VIVA_ACT_16) {
        refused(status, VIVA_E_ARGUMENT, &error, "act: viva_linear_fp8_w8a16 takes the input as it is");
        continue;
      }
      assert_int_equal(status, VIVA_OK);
      y = fetched(y);
      check_products(y, modes[a], x_values, w, NULL, calls[c].kind, M, K, N, calls[c].name);
      viva_tensor_release(y);
    }
    free(w);
    viva_packed_weight_release(p);
  }
}

static void every_epilogue(void **state) {
  static const char *const formats[] = {"f32", "bf16", "fp8-b32", "nvfp4", "int8-24", "int4-24"};
  (void)state;
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    viva_packed_weight *p = pack(formats[i], w_values);
    float *w = unpacked(p);
    for (int kind = VIVA_EPILOGUE_NONE; kind <= VIVA_EPILOGUE_SILU; kind++)
      for (size_t a = 0; a < MODES; a++) {
        const viva_linear_options o = f32_output(modes[a]);
        viva_epilogue e = viva_epilogue_default();
        viva_tensor *y;
        e.kind = (viva_epilogue_kind)kind, e.bias = bias;
        fine(viva_linear(input, p, &e, &o, &y, &fault));
        y = fetched(y);
        check_products(y, modes[a], x_values, w, bias_values, e.kind, M, K, N, formats[i]);
        viva_tensor_release(y);
      }
    free(w);
    viva_packed_weight_release(p);
  }
}

/* silu(gate + bias) · (up + up_bias) + after, for every pair of formats. */
static void swiglu_of_mixed_formats(void **state) {
  static const char *const formats[] = {"bf16", "fp8", "fp8-b16", "nvfp4", "int8-24", "int4-24"};
  enum { F = sizeof formats / sizeof *formats };
  float after_values[N], up_values[N];
  (void)state;
  for (size_t i = 0; i < N; i++) after_values[i] = bias_values[N - 1 - i], up_values[i] = -bias_values[i];
  viva_tensor *after = tensor_of(engine, VIVA_F32, 1, (uint64_t[]){N}, after_values);
  viva_tensor *up_bias = tensor_of(engine, VIVA_F32, 1, (uint64_t[]){N}, up_values);
  for (size_t i = 0; i < F * F; i++) {
    viva_packed_weight *gate = pack(formats[i / F], w_values), *up = pack(formats[i % F], u_values);
    float *g = unpacked(gate), *u = unpacked(up);
    for (size_t a = 0; a < MODES; a++) {
      viva_linear_options o = f32_output(modes[a]);
      viva_epilogue e = viva_epilogue_default();
      viva_tensor *y;
      e.kind = VIVA_EPILOGUE_SWIGLU, e.up = up, e.bias = bias, e.up_bias = up_bias, e.after_bias = after;
      fine(viva_linear(input, gate, &e, &o, &y, &fault));
      y = fetched(y);
      const float *got = viva_tensor_elements(y);
      for (size_t r = 0; r < M; r++)
        for (size_t c = 0; c < N; c++) {
          const product pg = multiply(modes[a], x_values + r * K, g + c * K, K);
          const product pu = multiply(modes[a], x_values + r * K, u + c * K, K);
          const double vg = pg.value + bias_values[c], vu = pu.value + up_values[c];
          const double expected = silu(vg) * vu + after_values[c];
          const double wrong_gate =
              1.13 * (pg.bound + STEP_BOUND * (fabs(pg.value) + fabs(vg))) + STEP_BOUND * fabs(vg);
          const double wrong_up = pu.bound + STEP_BOUND * (fabs(pu.value) + fabs(vu));
          const double bound = wrong_gate * fabs(vu) + wrong_up * fabs(silu(vg)) + wrong_gate * wrong_up +
                               STEP_BOUND * (fabs(expected) + fabs(silu(vg) * vu));
          if (!(fabs((double)got[r * N + c] - expected) <= bound))
            fail_msg("%s and %s, mode %d, [%zu, %zu]: %.9g, expected %.9g within %.3g", formats[i / F], formats[i % F],
                     (int)modes[a], r, c, (double)got[r * N + c], expected, bound);
        }
      viva_tensor_release(y);
    }
    /* The call by name: no biases before, one after; one of the two at least is FP8. */
    viva_linear_options o = f32_output(VIVA_ACT_AUTO);
    viva_epilogue e = viva_epilogue_default();
    viva_tensor *y, *same;
    viva_error error = {0};
    const viva_status status = viva_linear_swiglu_fp8(input, gate, up, after, &o, &y, &error);
    if (!format_fits(formats[i / F], "fp8") && !format_fits(formats[i % F], "fp8")) {
      refused(status, VIVA_E_ARGUMENT, &error, "gate: viva_linear_swiglu_fp8 needs a weight of fp8; gate is");
    } else {
      assert_int_equal(status, VIVA_OK);
      o.act = VIVA_ACT_FP8, e.kind = VIVA_EPILOGUE_SWIGLU, e.up = up, e.after_bias = after;
      fine(viva_linear(input, gate, &e, &o, &same, &fault));
      y = fetched(y), same = fetched(same);
      assert_true(kit_same(viva_tensor_elements(y), viva_tensor_elements(same), M * N));
      viva_tensor_release(y), viva_tensor_release(same);
    }
    free(g), free(u);
    viva_packed_weight_release(gate), viva_packed_weight_release(up);
  }
  viva_tensor_release(after), viva_tensor_release(up_bias);
}

/* The lines of docs/api.md: weights [in][out] of the caller's, a SwiGLU pair in two formats. */
static void the_example_of_the_docs(void **state) {
  enum { in = 64, out = 24, count = 3 };
  static uint16_t gate_data[in * out], up_data[in * out];
  static float x_data[count * in];
  uint64_t shape[2] = {in, out}, rows[2] = {count, in}, seed = 1;
  const uint16_t *data[2] = {gate_data, up_data};
  viva_tensor *flat, *turned, *x, *y;
  viva_packed_weight *pair[2];
  viva_epilogue epilogue = viva_epilogue_default();
  (void)state;
  for (size_t i = 0; i < in * out; i++)
    gate_data[i] = bf16_from_f32(bell(&seed)), up_data[i] = bf16_from_f32(bell(&seed));
  fill_bell(x_data, count * in, 1, &seed);
  for (size_t i = 0; i < 2; i++) {
    fine(viva_tensor_wrap(engine, (void *)(uintptr_t)data[i], sizeof gate_data, VIVA_BF16, 2, shape, &flat, &fault));
    fine(viva_tensor_transpose(flat, 0, 1, &turned, &fault));
    if (i == 0) fine(viva_prepack_nvfp4_weight(engine, turned, NULL, &pair[i], &fault));
    if (i == 1) fine(viva_prepack_fp8_weight_blocked(engine, turned, 32, NULL, &pair[i], &fault));
    viva_tensor_release(turned), viva_tensor_release(flat);
  }
  fine(viva_tensor_wrap(engine, x_data, sizeof x_data, VIVA_F32, 2, rows, &x, &fault));
  epilogue.kind = VIVA_EPILOGUE_SWIGLU, epilogue.up = pair[1];
  fine(viva_linear(x, pair[0], &epilogue, NULL, &y, &fault));
  assert_int_equal(y->dtype, VIVA_F16);
  float *g = unpacked(pair[0]), *u = unpacked(pair[1]);
  for (size_t r = 0; r < count; r++)
    for (size_t c = 0; c < out; c++) {
      const double expected = silu(multiply(VIVA_ACT_16, x_data + r * in, g + c * in, in).value) *
                              multiply(VIVA_ACT_16, x_data + r * in, u + c * in, in).value;
      const double got = f16_to_f32(((const uint16_t *)viva_tensor_elements(y))[r * out + c]);
      assert_true(fabs(got - expected) <= 0x1p-10 * fabs(expected) + 1e-5); /* F16's rounding */
    }
  free(g), free(u);
  viva_tensor_release(x), viva_tensor_release(y);
  viva_packed_weight_release(pair[0]), viva_packed_weight_release(pair[1]);
}

static void biases_of_every_type(void **state) {
  static const viva_dtype types[] = {VIVA_F32, VIVA_F16, VIVA_BF16};
  viva_packed_weight *p = pack("fp8", w_values);
  float *w = unpacked(p), rounded[N], twice[2 * N];
  (void)state;
  for (size_t n = 0; n < 3; n++) {
    for (size_t i = 0; i < N; i++) {
      rounded[i] = types[n] == VIVA_F16    ? f16_to_f32(f16_from_f32(bias_values[i]))
                   : types[n] == VIVA_BF16 ? bf16_to_f32(bf16_from_f32(bias_values[i]))
                                           : bias_values[i];
      twice[2 * (N - 1 - i) + 1] = rounded[i], twice[2 * i] = NAN;
    }
    viva_tensor *t = tensor_of(engine, types[n], 1, (uint64_t[]){2 * N}, twice), *v, *y; /* every second, backwards */
    fine(viva_tensor_view(t, 1, (uint64_t[]){N}, (int64_t[]){-2}, 2 * N - 1, &v, &fault));
    const viva_linear_options o = f32_output(VIVA_ACT_AUTO);
    fine(viva_linear_fp8(input, p, v, &o, &y, &fault));
    y = fetched(y);
    check_products(y, VIVA_ACT_FP8, x_values, w, rounded, VIVA_EPILOGUE_NONE, M, K, N, "fp8");
    viva_tensor_release(t), viva_tensor_release(v), viva_tensor_release(y);
  }
  free(w);
  viva_packed_weight_release(p);
}

/* -- outputs */

/* F32 rows pass unchanged through a weight of ones: what comes out is the output's rounding alone. */
static void rounding_and_overflow(void **state) {
  static const struct {
    float value;
    uint16_t f16, bf16;
  } cases[] = {{1, 0x3c00, 0x3f80},
               {1 + 0x1p-11f, 0x3c00, 0x3f80},            /* a tie, to even */
               {1 + 3 * 0x1p-11f, 0x3c02, 0x3f80},        /* a tie, up to even */
               {1 + 0x1p-11f + 0x1p-23f, 0x3c01, 0x3f80}, /* just above it */
               {1 + 0x1p-8f, 0x3c04, 0x3f80},             /* BF16's ties */
               {1 + 3 * 0x1p-8f, 0x3c0c, 0x3f82},
               {0x1p-25f, 0x0000, 0x3300}, /* half of the smallest subnormal */
               {0x1p-25f + 0x1p-48f, 0x0001, 0x3300},
               {3 * 0x1p-25f, 0x0002, 0x33c0},
               {65504, 0x7bff, 0x4780},
               {65519.996f, 0x7bff, 0x4780},
               {65520, 0x7c00, 0x4780}, /* overflows of F16 from here on */
               {-65520, 0xfc00, 0xc780},
               {1e30f, 0x7c00, 0x714a},
               {0x1.fep127f, 0x7c00, 0x7f7f},
               {-0x1.ffp127f, 0xfc00, 0xff80}}; /* and of BF16 */
  enum { C = sizeof cases / sizeof *cases };
  float values[C], one = 1;
  uint64_t overflows = 100;
  viva_packed_weight *p;
  viva_tensor *y, *t = matrix_of(engine, VIVA_F32, 1, 1, &one);
  viva_linear_options o = viva_linear_options_default();
  (void)state;
  for (size_t i = 0; i < C; i++) values[i] = cases[i].value;
  fine(viva_prepack_dense(engine, t, VIVA_F32, NULL, &p, &fault));
  viva_tensor *rows = matrix_of(engine, VIVA_F32, C, 1, values);
  o.overflows = &overflows;
  fine(viva_linear(rows, p, NULL, &o, &y, &fault));
  assert_int_equal(y->dtype, VIVA_F16); /* the default */
  y = fetched(y);
  for (size_t i = 0; i < C; i++) assert_int_equal(((const uint16_t *)viva_tensor_elements(y))[i], cases[i].f16);
  assert_int_equal(overflows, 105);
  viva_tensor_release(y);
  o.output_dtype = VIVA_BF16;
  fine(viva_linear(rows, p, NULL, &o, &y, &fault));
  y = fetched(y);
  for (size_t i = 0; i < C; i++) assert_int_equal(((const uint16_t *)viva_tensor_elements(y))[i], cases[i].bf16);
  assert_int_equal(overflows, 106);
  viva_tensor_release(y);
  o.output_dtype = VIVA_F32;
  fine(viva_linear(rows, p, NULL, &o, &y, &fault));
  y = fetched(y);
  assert_true(kit_same(viva_tensor_elements(y), values, C));
  assert_int_equal(overflows, 106);
  viva_tensor_release(y), viva_tensor_release(rows), viva_tensor_release(t);
  viva_packed_weight_release(p);
}

/* Sums that FP32 has no room for are infinite before any rounding: counted for every type, but not in rows that are NaN. */
static void sums_beyond_fp32(void **state) {
  static const viva_dtype types[] = {VIVA_F16, VIVA_BF16, VIVA_F32};
  float ones[N * K], rows[3 * K];
  (void)state;
  for (size_t i = 0; i < N * K; i++) ones[i] = 1;
  for (size_t i = 0; i < K; i++) rows[i] = 3e38f, rows[K + i] = i ? 1 : NAN, rows[2 * K + i] = -3e38f;
  viva_packed_weight *p = pack("f32", ones);
  viva_tensor *t = matrix_of(engine, VIVA_F32, 3, K, rows), *y;
  for (size_t n = 0; n < 3; n++) {
    viva_linear_options o = viva_linear_options_default();
    uint64_t overflows = 0;
    float got[3 * N];
    o.output_dtype = types[n], o.overflows = &overflows;
    fine(viva_linear(t, p, NULL, &o, &y, &fault));
    y = fetched(y);
    fine(viva_tensor_to_f32(y, got, 3 * N, &fault));
    for (size_t i = 0; i < N; i++) assert_true(got[i] == INFINITY && isnan(got[N + i]) && got[2 * N + i] == -INFINITY);
    assert_int_equal(overflows, 2 * N);
    viva_tensor_release(y);
  }
  viva_tensor_release(t);
  viva_packed_weight_release(p);
}

/* The elements of a tensor that stays. */
static void values_of(const viva_tensor *t, float *values, size_t count) {
  viva_tensor *here;
  fine(viva_tensor_to_host(t, &here, &fault));
  fine(viva_tensor_to_f32(here, values, count, &fault));
  viva_tensor_release(here);
}

/* Into the caller's memory: transposed, with gaps, of each type; with and without an output handle. */
static void into_memory_of_the_callers(void **state) {
  static const viva_dtype types[] = {VIVA_F32, VIVA_F16, VIVA_BF16};
  viva_packed_weight *p = pack("fp8-b16", w_values);
  (void)state;
  for (size_t n = 0; n < 3; n++) {
    viva_linear_options o = viva_linear_options_default();
    viva_tensor *plain, *t, *v, *y;
    float expected[M * N], got[M * N];
    o.output_dtype = types[n];
    fine(viva_linear_fp8(input, p, bias, &o, &plain, &fault));
    values_of(plain, expected, M * N);
    fine(viva_tensor_create(engine, types[n], 2, (uint64_t[]){N, 3 * M}, &t, &fault));
    t = placed(engine, t);
    fine(viva_tensor_view(t, 2, (uint64_t[]){M, N}, (int64_t[]){-3, 3 * M}, 3 * (M - 1), &v, &fault));
    o.output_dtype = n ? VIVA_DTYPE_NONE : VIVA_F32;
    o.into = v;
    fine(viva_linear_fp8(input, p, bias, &o, &y, &fault));
    assert_ptr_equal(y, v);
    viva_tensor_release(v); /* y is one more reference */
    values_of(y, got, M * N);
    assert_true(kit_same(got, expected, M * N));
    viva_tensor *whole;
    fine(viva_tensor_to_host(t, &whole, &fault));
    for (size_t r = 0; r < N; r++) /* what lies between is untouched */
      for (size_t c = 0; c < 3 * M; c++)
        if (c % 3) {
          const char *at = (const char *)whole->data + (r * 3 * M + c) * tensor_element_bytes(types[n]);
          for (size_t i = 0; i < tensor_element_bytes(types[n]); i++) assert_int_equal(at[i], 0);
        }
    viva_tensor_release(y), viva_tensor_release(whole);
    o.into = plain;
    fine(viva_linear_fp8(input, p, NULL, &o, NULL, &fault)); /* no handle asked for */
    viva_tensor_release(plain), viva_tensor_release(t);
  }
  viva_packed_weight_release(p);
}

/* Runs of rows that no one step leads through: which rows are NaN goes with each run. */
static void damaged_rows_into_runs(void **state) {
  enum { OUTER = 3, INNER = 2 };
  float rows[OUTER * INNER * K];
  uint64_t seed = 5;
  (void)state;
  fill_bell(rows, OUTER * INNER * K, 1, &seed);
  rows[1 * K + 9] = NAN, rows[4 * K + 2] = INFINITY; /* the second row of the first run, the first of the last */
  viva_packed_weight *p = pack("fp8", w_values);
  viva_tensor *x = tensor_of(engine, VIVA_F32, 3, (uint64_t[]){OUTER, INNER, K}, rows), *t, *v;
  fine(viva_tensor_create(engine, VIVA_F32, 1, (uint64_t[]){OUTER * (INNER + 1) * N}, &t, &fault));
  t = placed(engine, t);
  fine(viva_tensor_view(t, 3, (uint64_t[]){OUTER, INNER, N}, (int64_t[]){(INNER + 1) * N, N, 1}, 0, &v, &fault));
  viva_linear_options o = viva_linear_options_default();
  o.into = v;
  fine(viva_linear_fp8(x, p, NULL, &o, NULL, &fault));
  float got[OUTER * INNER * N];
  values_of(v, got, OUTER * INNER * N);
  for (size_t i = 0; i < OUTER * INNER * N; i++) assert_int_equal(isnan(got[i]) != 0, i / N == 1 || i / N == 4);
  viva_tensor_release(x), viva_tensor_release(t), viva_tensor_release(v);
  viva_packed_weight_release(p);
}

/* A NaN or an infinity makes its row NaN, and leaves every other row's bits alone: every format and mode, with epilogues. */
static void damaged_rows_are_nan(void **state) {
  float damaged[M * K];
  (void)state;
  memcpy(damaged, x_values, sizeof damaged);
  damaged[1 * K + 7] = NAN, damaged[3 * K + K - 1] = -INFINITY;
  viva_tensor *t = matrix_of(engine, VIVA_F32, M, K, damaged);
  for (size_t i = 0; i < ALL_FORMATS; i++) {
    viva_packed_weight *p = pack(all_formats[i], w_values), *up = pack("fp8", u_values);
    for (size_t a = 0; a < MODES; a++)
      for (int kind = VIVA_EPILOGUE_NONE; kind <= VIVA_EPILOGUE_SWIGLU; kind++) {
        viva_linear_options o = f32_output(modes[a]);
        viva_epilogue e = viva_epilogue_default();
        viva_tensor *y, *whole;
        uint64_t overflows = 0;
        e.kind = (viva_epilogue_kind)kind, e.bias = bias, e.up = kind == VIVA_EPILOGUE_SWIGLU ? up : NULL;
        o.overflows = &overflows;
        fine(viva_linear(t, p, &e, &o, &y, &fault));
        fine(viva_linear(input, p, &e, &o, &whole, &fault));
        assert_int_equal(overflows, 0);
        y = fetched(y), whole = fetched(whole);
        const float *got = viva_tensor_elements(y), *expected = viva_tensor_elements(whole);
        for (size_t r = 0; r < M; r++)
          for (size_t c = 0; c < N; c++) {
            if (r == 1 || r == 3)
              assert_true(isnan(got[r * N + c]));
            else
              assert_true(kit_same(got + r * N + c, expected + r * N + c, 1));
          }
        viva_tensor_release(y), viva_tensor_release(whole);
      }
    viva_packed_weight_release(p), viva_packed_weight_release(up);
  }
  viva_tensor_release(t);
}

/* A row's bits do not depend on its neighbours, on threads or on how it lies in memory. */
static void rows_stand_alone(void **state) {
  enum { R = 70 };
  static float rows[R * K];
  uint64_t seed = 5;
  viva_engine *alone = open_engine(VIVA_KERNELS_AUTO, 1);
  far_device far_alone;
  (void)state;
  go_far(&far_alone, alone);
  fill_bell(rows, R * K, 1, &seed);
  viva_tensor *all = matrix_of(engine, VIVA_F32, R, K, rows), *turned = turned_of(alone, VIVA_F32, R, K, rows);
  viva_tensor *w = matrix_of(engine, VIVA_F32, N, K, w_values);
  for (size_t i = 0; i < ALL_FORMATS; i++) {
    viva_packed_weight *p = pack(all_formats[i], w_values), *q;
    fine(prepack_named(alone, all_formats[i], w, NULL, &q, &fault));
    for (size_t a = 0; a < MODES; a++) {
      const viva_linear_options o = f32_output(modes[a]);
      viva_tensor *y, *z, *v;
      fine(viva_linear(all, p, NULL, &o, &y, &fault));
      fine(viva_linear(turned, q, NULL, &o, &z, &fault));
      y = fetched(y), z = fetched(z);
      assert_true(kit_same(viva_tensor_elements(y), viva_tensor_elements(z), R * N));
      viva_tensor_release(z);
      for (uint64_t r = 0; r < R; r += 23) {
        fine(viva_tensor_slice(all, 0, r, 1, &v, &fault));
        fine(viva_linear(v, p, NULL, &o, &z, &fault));
        z = fetched(z);
        assert_true(kit_same((const float *)viva_tensor_elements(y) + r * N, viva_tensor_elements(z), N));
        viva_tensor_release(v), viva_tensor_release(z);
      }
      viva_tensor_release(y);
    }
    viva_packed_weight_release(p), viva_packed_weight_release(q);
  }
  viva_tensor_release(all), viva_tensor_release(turned), viva_tensor_release(w);
  come_back(&far_alone);
  viva_engine_release(alone);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_are_right),
      cmocka_unit_test_setup_teardown(calls_by_name, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(modes_can_be_chosen, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(every_epilogue, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(swiglu_of_mixed_formats, prepare_input, drop_input),
      cmocka_unit_test(the_example_of_the_docs),
      cmocka_unit_test_setup_teardown(biases_of_every_type, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(rounding_and_overflow, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(sums_beyond_fp32, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(damaged_rows_into_runs, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(into_memory_of_the_callers, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(damaged_rows_are_nan, prepare_input, drop_input),
      cmocka_unit_test_setup_teardown(rows_stand_alone, prepare_input, drop_input),
  };
  static const char *const places[] = {"on the CPU", "on a device, from the host", "on a device, all there"};
  int failed = 0;
  for (where = ON_CPU; where <= FAR_ON_DEVICE; where++)
    failed += cmocka_run_group_tests_name(places[where], tests, begin, end);
  return failed;
}
