/* The prepack calls: what they make of tensors of every kind, what they refuse, and what the handles say. */
#include "engine_kit.h"

#include <math.h>
#include <stdio.h>

#include "lib/fail_alloc.h"
#include "pack/pack.h"

#define ROWS 37
#define COLS 150 /* no multiple of any block */

static viva_engine *engine;
static size_t bytes_before;
static float values[ROWS * COLS];

static int begin(void **state) {
  uint64_t seed = 7;
  (void)state;
  engine = open_engine(VIVA_KERNELS_AUTO, 3);
  bytes_before = bytes_now(engine);
  fill_bell(values, ROWS * COLS, 0.02f, &seed);
  return 0;
}

static int end(void **state) {
  (void)state;
  assert_int_equal(bytes_now(engine), bytes_before);
  viva_engine_release(engine);
  return 0;
}

/* The bytes of a packed weight that mean something. */
static void same_packed(const viva_packed_weight *a, const viva_packed_weight *b) {
  const weight *u = packed_weight(a), *v = packed_weight(b);
  assert_int_equal(u->row_bytes, v->row_bytes);
  assert_memory_equal(u->data, v->data, packed_code_bytes(u));
  assert_int_equal(packed_scale_bytes(u), packed_scale_bytes(v));
  if (packed_scale_bytes(u) > 0) assert_memory_equal(u->scales, v->scales, packed_scale_bytes(u));
}

/* -- all formats */

static void handles_describe_themselves(void **state) {
  (void)state;
  viva_tensor *t = matrix_of(engine, VIVA_F32, ROWS, COLS, values);
  for (size_t i = 0; i < ALL_FORMATS; i++) {
    viva_packed_weight *p;
    fine(prepack_named(engine, all_formats[i], t, NULL, &p, &fault));
    const viva_packed_info info = describe_packed(p);
    assert_string_equal(info.name, all_formats[i]);
    assert_int_equal(info.out_features, ROWS);
    assert_int_equal(info.in_features, COLS);
    assert_int_equal(info.bytes, info.code_bytes + info.scale_bytes);
    assert_true(fabs(info.bits_per_weight - 8.0 * (double)info.bytes / (ROWS * COLS)) < 1e-9);
    assert_ptr_equal(viva_packed_weight_engine(p), engine);
    viva_packed_weight_release(p);
  }
  viva_tensor_release(t);
}

/* Bits a weight, as the header states them, where the blocks divide the columns. */
static void bits_are_those_stated(void **state) {
  (void)state;
  static const struct {
    const char *name;
    double bits;
  } stated[] = {{"f32", 32},
                {"bf16", 16},
                {"fp8-b16", 10},
                {"fp8-b16:f16", 9},
                {"fp8-b16:e8m0", 8.5},
                {"fp8-b32", 9},
                {"fp8-b32:f16", 8.5},
                {"fp8-b32:e8m0", 8.25},
                {"fp8-b64", 8.5},
                {"fp8-b64:f16", 8.25},
                {"fp8-b64:e8m0", 8.125},
                {"fp8-b128", 8.25},
                {"fp8-b128:f16", 8.125},
                {"fp8-b128:e8m0", 8.0625},
                {"nvfp4", 4.5},
                {"int4-24", 3.125},
                {"fp8", 8 + 32 / 256.0},
                {"int8-24", 5 + 32 / 256.0},
                {"int4-24-g32:f32", 4}};
  viva_tensor *t = matrix_of(engine, VIVA_F32, 4, 256, values);
  for (size_t i = 0; i < sizeof stated / sizeof *stated; i++) {
    viva_packed_weight *p;
    fine(prepack_named(engine, stated[i].name, t, NULL, &p, &fault));
    const viva_packed_info info = describe_packed(p);
    if (info.bits_per_weight != stated[i].bits)
      fail_msg("%s: %f bits, stated %f", stated[i].name, info.bits_per_weight, stated[i].bits);
    viva_packed_weight_release(p);
  }
  viva_tensor_release(t);
}

/* By its word: what the call by name makes. */
static void formats_by_word(void **state) {
  static const char *const searched[] = {"nvfp4:mse", "nvfp4:absmax", "nvfp4:four-over-six"};
  static const struct {
    const char *word, *text;
  } wrong[] = {{NULL, "format: format is NULL; expected a word such as"},
               {"", "format: \"\" is no format; expected f32, bf16,"},
               {"fp9", "format: \"fp9\" is no format; expected f32, bf16,"},
               {"stored", "format: \"stored\" is no format"},
               {"fp8-b16:", "format: in \"fp8-b16:\", expected behind the colon f32, f16 or e8m0"},
               {"int8-24:f16", "format: in \"int8-24:f16\", expected behind the colon nothing"}};
  viva_tensor *t = matrix_of(engine, VIVA_F32, ROWS, COLS, values);
  viva_packed_weight *p, *q;
  viva_error error = {0};
  viva_prepack_options o = viva_prepack_options_default();
  static float a[ROWS * COLS], b[ROWS * COLS];
  (void)state;
  for (size_t i = 0; i < ALL_FORMATS + 3; i++) {
    const char *word = i < ALL_FORMATS ? all_formats[i] : searched[i - ALL_FORMATS];
    o.search = i < ALL_FORMATS ? VIVA_SEARCH_MSE : (viva_scale_search)(i - ALL_FORMATS);
    fine(viva_prepack(engine, t, word, NULL, &p, &fault));
    fine(prepack_named(engine, i < ALL_FORMATS ? word : "nvfp4", t, &o, &q, &fault));
    if (i < ALL_FORMATS) assert_string_equal(describe_packed(p).name, word);
    fine(viva_packed_weight_unpack(p, a, ROWS * COLS, &fault));
    fine(viva_packed_weight_unpack(q, b, ROWS * COLS, &fault));
    assert_true(kit_same(a, b, ROWS * COLS));
    viva_packed_weight_release(p), viva_packed_weight_release(q);
  }
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    refused(viva_prepack(engine, t, wrong[i].word, NULL, &p, &error), VIVA_E_ARGUMENT, &error, wrong[i].text);
    assert_null(p);
  }
  o = viva_prepack_options_default(), o.block = 32;
  refused(viva_prepack(engine, t, "int4-24-g32", &o, &p, &error), VIVA_E_ARGUMENT, &error,
          "block: the format's word says the block; leave the option at its default");
  o = viva_prepack_options_default(), o.scale_dtype = VIVA_F32;
  refused(viva_prepack(engine, t, "fp8", &o, &p, &error), VIVA_E_ARGUMENT, &error,
          "scale_dtype: the format's word says");
  o = viva_prepack_options_default(), o.search = VIVA_SEARCH_ABSMAX;
  refused(viva_prepack(engine, t, "nvfp4", &o, &p, &error), VIVA_E_ARGUMENT, &error, "search: the format's word says");
  o = viva_prepack_options_default(), o.modelopt = 1;
  fine(viva_prepack(engine, t, "nvfp4:absmax", &o, &p, &fault)); /* what the word does not say */
  viva_packed_weight_release(p), viva_tensor_release(t);
}

/* A transposed view, rows with gaps, rows backwards: the same bytes; so do 1 thread and 3. */
static void strides_and_threads_make_no_difference(void **state) {
  static const viva_dtype types[] = {VIVA_F32, VIVA_F16, VIVA_BF16, VIVA_F64};
  static float gapped[ROWS * (COLS + 9)], backwards[ROWS * COLS];
  viva_engine *alone = open_engine(VIVA_KERNELS_AUTO, 1);
  (void)state;
  for (size_t r = 0; r < ROWS; r++) {
    memcpy(gapped + r * (COLS + 9), values + r * COLS, COLS * sizeof *values);
    memcpy(backwards + r * COLS, values + (ROWS - 1 - r) * COLS, COLS * sizeof *values);
  }
  for (size_t n = 0; n < 4; n++) {
    viva_tensor *whole = matrix_of(engine, types[n], ROWS, COLS, values), *v[3], *t;
    v[0] = turned_of(engine, types[n], ROWS, COLS, values);
    t = matrix_of(engine, types[n], ROWS, COLS + 9, gapped);
    fine(viva_tensor_slice(t, 1, 0, COLS, &v[1], &fault));
    viva_tensor_release(t);
    t = matrix_of(engine, types[n], ROWS, COLS, backwards);
    fine(viva_tensor_view(t, 2, (uint64_t[]){ROWS, COLS}, (int64_t[]){-COLS, 1}, (ROWS - 1) * COLS, &v[2], &fault));
    viva_tensor_release(t);
    for (size_t i = 0; i < ALL_FORMATS; i++) {
      viva_packed_weight *expected, *p;
      fine(prepack_named(alone, all_formats[i], whole, NULL, &expected, &fault));
      for (size_t s = 0; s < 3; s++) {
        fine(prepack_named(engine, all_formats[i], v[s], NULL, &p, &fault));
        same_packed(expected, p);
        viva_packed_weight_release(p);
      }
      viva_packed_weight_release(expected);
    }
    for (size_t s = 0; s < 3; s++) viva_tensor_release(v[s]);
    viva_tensor_release(whole);
  }
  viva_engine_release(alone);
}

/* Unpacking is pack/'s, cut over threads; dense values come back as they were. */
static void values_come_back(void **state) {
  static float back[ROWS * COLS], rows[ROWS * COLS];
  (void)state;
  viva_tensor *t = matrix_of(engine, VIVA_F32, ROWS, COLS, values);
  for (size_t i = 0; i < ALL_FORMATS; i++) {
    viva_packed_weight *p;
    viva_error error = {0};
    fine(prepack_named(engine, all_formats[i], t, NULL, &p, &fault));
    fine(viva_packed_weight_unpack(p, back, ROWS * COLS, &fault));
    unpack_rows(packed_weight(p), 0, ROWS, rows, COLS);
    assert_true(kit_same(back, rows, ROWS * COLS));
    if (i == 0) assert_true(kit_same(back, values, ROWS * COLS));
    refused(viva_packed_weight_unpack(p, back, ROWS * COLS - 1, &error), VIVA_E_SIZE, &error, "expected 37 x 150");
    refused(viva_packed_weight_unpack(p, NULL, ROWS * COLS, &error), VIVA_E_ARGUMENT, &error, "values is NULL");
    viva_packed_weight_release(p);
  }
  viva_tensor_release(t);
}

/* A backend whose memory the host cannot touch gets copies: the same bytes, up and down, and none left over. */
static void memory_may_be_elsewhere(void **state) {
  static float here[ROWS * COLS], elsewhere[ROWS * COLS];
  (void)state;
  viva_tensor *t = matrix_of(engine, VIVA_F32, ROWS, COLS, values);
  for (size_t i = 0; i < ALL_FORMATS; i++) {
    viva_packed_weight *p, *q;
    fine(prepack_named(engine, all_formats[i], t, NULL, &p, &fault));
    fine(viva_packed_weight_unpack(p, here, ROWS * COLS, &fault));
    engine->backend->host_memory = 0;
    fine(prepack_named(engine, all_formats[i], t, NULL, &q, &fault));
    fine(viva_packed_weight_unpack(q, elsewhere, ROWS * COLS, &fault));
    engine->backend->host_memory = 1;
    same_packed(p, q);
    assert_true(kit_same(here, elsewhere, ROWS * COLS));
    viva_packed_weight_release(p), viva_packed_weight_release(q);
  }
  viva_tensor_release(t);
}

/* -- refusals */

typedef viva_status (*prepack_fn)(viva_engine *, const viva_tensor *, const viva_prepack_options *,
                                  viva_packed_weight **, viva_error *);

static viva_status blocked_16(viva_engine *e, const viva_tensor *t, const viva_prepack_options *o,
                              viva_packed_weight **p, viva_error *error) {
  return viva_prepack_fp8_weight_blocked(e, t, 16, o, p, error);
}
static viva_status dense_bf16(viva_engine *e, const viva_tensor *t, const viva_prepack_options *o,
                              viva_packed_weight **p, viva_error *error) {
  return viva_prepack_dense(e, t, VIVA_BF16, o, p, error);
}

static const prepack_fn calls[] = {viva_prepack_fp8_weight,   blocked_16, viva_prepack_int8_sparse_24_weight,
                                   viva_prepack_nvfp4_weight, dense_bf16, viva_prepack_int4_sparse_24_weight};
#define CALLS (sizeof calls / sizeof *calls)

static void tensors_are_checked(void **state) {
  viva_error error = {0};
  (void)state;
  viva_tensor *t = matrix_of(engine, VIVA_F32, ROWS, COLS, values), *one, *empty, *whole;
  fine(viva_tensor_create(engine, VIVA_F32, 1, (uint64_t[]){8}, &one, &fault));
  fine(viva_tensor_create(engine, VIVA_F32, 2, (uint64_t[]){8, 0}, &empty, &fault));
  fine(viva_tensor_create(engine, VIVA_I8, 2, (uint64_t[]){8, 8}, &whole, &fault));
  for (size_t i = 0; i < CALLS; i++) {
    viva_packed_weight *p = (viva_packed_weight *)&error;
    refused(calls[i](NULL, t, NULL, &p, &error), VIVA_E_ARGUMENT, &error, "engine is NULL");
    assert_null(p);
    refused(calls[i](engine, t, NULL, NULL, &error), VIVA_E_ARGUMENT, &error, "packed is NULL");
    refused(calls[i](engine, NULL, NULL, &p, &error), VIVA_E_ARGUMENT, &error, "weight: weight is NULL");
    refused(calls[i](engine, one, NULL, &p, &error), VIVA_E_ARGUMENT, &error, "weight: weight has the shape [8]");
    refused(calls[i](engine, empty, NULL, &p, &error), VIVA_E_ARGUMENT, &error, "[8, 0]; both sizes");
    refused(calls[i](engine, whole, NULL, &p, &error), VIVA_E_DTYPE, &error, "weight: weight holds I8");
    viva_prepack_options o = {.size = 3};
    refused(calls[i](engine, t, &o, &p, &error), VIVA_E_ARGUMENT, &error, "viva_prepack_options");
  }
  viva_packed_weight *p;
  refused(viva_prepack_fp8_weight_blocked(engine, t, 48, NULL, &p, &error), VIVA_E_ARGUMENT, &error,
          "block: block is 48");
  refused(viva_prepack_dense(engine, t, VIVA_F64, NULL, &p, &error), VIVA_E_ARGUMENT, &error, "dtype: dtype is F64");
  viva_tensor_release(t), viva_tensor_release(one), viva_tensor_release(empty), viva_tensor_release(whole);
}

static void sizes_are_checked(void **state) {
  const float one = 1;
  viva_error error = {0};
  viva_tensor *t, *v;
  viva_packed_weight *p;
  (void)state;
  /* One value repeated. 2^61 - 1 rows of a block of 9 bytes and more are beyond what a size can say. */
  static const char *const names[] = {"nvfp4", "int8-24", "int4-24"};
  fine(viva_tensor_wrap(engine, (void *)(uintptr_t)&one, 4, VIVA_F32, 1, (uint64_t[]){1}, &t, &fault));
  fine(viva_tensor_view(t, 2, (uint64_t[]){((uint64_t)1 << 61) - 1, 1}, (int64_t[]){0, 0}, 0, &v, &fault));
  for (size_t i = 0; i < 3; i++) {
    refused(prepack_named(engine, names[i], v, NULL, &p, &error), VIVA_E_LIMIT, &error, "2305843009213693951 x 1 over");
    assert_null(p);
  }
  viva_tensor_release(t), viva_tensor_release(v);
}

/* Options that a format does not have are refused by name; those it has, out of range. */
static void options_are_checked(void **state) {
  enum { FP8 = 0, FP8_16, INT8, NVFP4, BF16, INT4 };
  static const struct {
    const char *option;
    unsigned has; /* bit i: calls[i] */
    const char *wrong;
  } options[] = {{"scale_dtype", 1 << FP8 | 1 << FP8_16 | 1 << INT4, "scale_dtype: scale_dtype is BF16"},
                 {"block", 1 << INT4, "block: block is 48"},
                 {"search", 1 << NVFP4, "search: search is 3"},
                 {"modelopt", 1 << NVFP4, "modelopt: modelopt is 3"},
                 {"selection", 1 << INT4, "selection: selection is 3"},
                 {"keep", 1 << INT4 | 1 << INT8, "keep: keep holds F32"},
                 {"allow_nonfinite", 63, "allow_nonfinite: allow_nonfinite is 3"}};
  (void)state;
  viva_tensor *t = matrix_of(engine, VIVA_F32, ROWS, COLS, values);
  for (size_t n = 0; n < sizeof options / sizeof *options; n++) {
    viva_prepack_options o = viva_prepack_options_default();
    if (n == 0) o.scale_dtype = VIVA_BF16;
    if (n == 1) o.block = 48;
    if (n == 2) o.search = (viva_scale_search)3;
    if (n == 3) o.modelopt = 3;
    if (n == 4) o.selection = (viva_sparse_24)3;
    if (n == 5) o.keep = t;
    if (n == 6) o.allow_nonfinite = 3;
    for (size_t i = 0; i < CALLS; i++) {
      viva_packed_weight *p;
      viva_error error = {0};
      char absent[80];
      snprintf(absent, sizeof absent, "weights have no option %s", options[n].option);
      const viva_status status = calls[i](engine, t, &o, &p, &error);
      assert_string_equal(error.item, options[n].option);
      refused(status, n == 5 && options[n].has >> i & 1 ? VIVA_E_DTYPE : VIVA_E_ARGUMENT, &error,
              options[n].has >> i & 1 ? options[n].wrong : absent);
    }
  }
  viva_prepack_options o = viva_prepack_options_default();
  viva_packed_weight *p;
  viva_error error = {0};
  o.scale_dtype = VIVA_E8M0;
  refused(viva_prepack_int4_sparse_24_weight(engine, t, &o, &p, &error), VIVA_E_ARGUMENT, &error,
          "INT4 2:4 weights can be F32, F16");
  viva_tensor_release(t);
}

static void nonfinite_weights_are_found(void **state) {
  static const struct {
    size_t row, col;
    float value;
    const char *word;
  } places[] = {{0, 0, NAN, "row 0, column 0 is NaN"},
                {ROWS - 1, COLS - 1, INFINITY, "row 36, column 149 is infinite"},
                {17, 3, -INFINITY, "row 17, column 3 is infinite"}};
  static float damaged[ROWS * COLS];
  (void)state;
  for (size_t n = 0; n < 3; n++) {
    memcpy(damaged, values, sizeof damaged);
    damaged[places[n].row * COLS + places[n].col] = places[n].value;
    if (places[n].row < ROWS - 1) damaged[(places[n].row + 1) * COLS] = NAN; /* a later one is not what is told */
    for (int turned = 0; turned <= 1; turned++) {
      viva_tensor *t =
          turned ? turned_of(engine, VIVA_F16, ROWS, COLS, damaged) : matrix_of(engine, VIVA_F32, ROWS, COLS, damaged);
      for (size_t i = 0; i < ALL_FORMATS; i++) {
        viva_packed_weight *p;
        viva_error error = {0};
        viva_prepack_options o = viva_prepack_options_default();
        refused(prepack_named(engine, all_formats[i], t, NULL, &p, &error), VIVA_E_NUMERIC, &error, places[n].word);
        assert_string_equal(error.item, "weight");
        assert_null(p);
        o.allow_nonfinite = 1;
        fine(prepack_named(engine, all_formats[i], t, &o, &p, &fault));
        viva_packed_weight_release(p);
      }
      viva_tensor_release(t);
    }
  }
}

static void too_large_for_dense(void **state) {
  const float f16[4] = {1, 65519.996f, 65520, NAN}, bf16[3] = {1, 0x1.fep127f, 0x1.ffp127f};
  const double f64[2] = {1, 1e300};
  viva_error error = {0};
  viva_packed_weight *p;
  viva_tensor *t;
  (void)state;
  t = matrix_of(engine, VIVA_F32, 1, 2, f16);
  fine(viva_prepack_dense(engine, t, VIVA_F16, NULL, &p, &fault));
  assert_int_equal(((const uint16_t *)packed_weight(p)->data)[1], 0x7bff);
  viva_packed_weight_release(p);
  viva_tensor_release(t);
  t = matrix_of(engine, VIVA_F32, 1, 4, f16);
  refused(viva_prepack_dense(engine, t, VIVA_F16, NULL, &p, &error), VIVA_E_NUMERIC, &error,
          "row 0, column 2 is beyond the largest value of F16");
  viva_tensor_release(t);
  t = matrix_of(engine, VIVA_F32, 3, 1, bf16);
  refused(viva_prepack_dense(engine, t, VIVA_BF16, NULL, &p, &error), VIVA_E_NUMERIC, &error,
          "row 2, column 0 is beyond the largest value of BF16");
  viva_tensor_release(t);
  fine(viva_tensor_wrap(engine, (void *)(uintptr_t)f64, sizeof f64, VIVA_F64, 2, (uint64_t[]){1, 2}, &t, &fault));
  refused(viva_prepack_fp8_weight(engine, t, NULL, &p, &error), VIVA_E_NUMERIC, &error,
          "row 0, column 1 is beyond the largest value of F32 (3.4e38), which every format is packed from; scale");
  refused(viva_prepack_dense(engine, t, VIVA_F16, NULL, &p, &error), VIVA_E_NUMERIC, &error, "value of F32 (3.4e38)");
  viva_tensor_release(t);
}

/* -- options that do something */

/* F16 scales below 2^-19 would lose bits: the whole matrix gets F32 ones. */
static void scales_fall_back(void **state) {
  static float small[ROWS * COLS];
  viva_prepack_options o = viva_prepack_options_default();
  viva_packed_weight *p;
  (void)state;
  memcpy(small, values, sizeof small);
  for (size_t c = 0; c < COLS; c++) small[20 * COLS + c] *= 1e-6f;
  viva_tensor *t = matrix_of(engine, VIVA_F32, ROWS, COLS, small);
  o.scale_dtype = VIVA_F16;
  fine(viva_prepack_fp8_weight_blocked(engine, t, 32, &o, &p, &fault));
  const viva_packed_info info = describe_packed(p);
  assert_int_equal(info.scale_dtype, VIVA_F32);
  assert_string_equal(info.name, "fp8-b32");
  viva_packed_weight_release(p);
  viva_tensor_release(t);
}

static void the_mask_decides(void **state) {
  static uint8_t keep[ROWS * COLS], turned[ROWS * COLS];
  static float back[ROWS * COLS];
  viva_prepack_options o = viva_prepack_options_default();
  viva_error error = {0};
  viva_packed_weight *p, *q;
  viva_tensor *mask, *flat, *mask_turned;
  (void)state;
  for (size_t r = 0; r < ROWS; r++)
    for (size_t c = 0; c < COLS; c++) /* columns 4g + (r mod 2) and 4g + 3 */
      turned[c * ROWS + r] = keep[r * COLS + c] = (uint8_t)(c % 4 == r % 2 || c % 4 == 3 ? 1 + r : 0);
  viva_tensor *t = matrix_of(engine, VIVA_F32, ROWS, COLS, values);
  fine(viva_tensor_wrap(engine, keep, sizeof keep, VIVA_U8, 2, (uint64_t[]){ROWS, COLS}, &mask, &fault));
  fine(viva_tensor_wrap(engine, turned, sizeof turned, VIVA_BOOL, 2, (uint64_t[]){COLS, ROWS}, &flat, &fault));
  fine(viva_tensor_transpose(flat, 0, 1, &mask_turned, &fault));
  static const char *const names[] = {"int8-24", "int4-24"};
  for (size_t n = 0; n < 2; n++) {
    o.keep = mask;
    fine(prepack_named(engine, names[n], t, &o, &p, &fault));
    o.keep = mask_turned;
    fine(prepack_named(engine, names[n], t, &o, &q, &fault));
    same_packed(p, q);
    fine(viva_packed_weight_unpack(p, back, ROWS * COLS, &fault));
    for (size_t i = 0; i < ROWS * COLS; i++)
      if (!keep[i]) assert_true(back[i] == 0);
    viva_packed_weight_release(p), viva_packed_weight_release(q);
    keep[21 * COLS + 43] = 0;
    o.keep = mask;
    refused(prepack_named(engine, names[n], t, &o, &p, &error), VIVA_E_ARGUMENT, &error,
            "keep: keep does not keep exactly 2 of the 4 weights at row 21, columns 40 to 43");
    keep[21 * COLS + 43] = 1;
  }
  o.selection = VIVA_SPARSE_24_PAIRS;
  refused(viva_prepack_int4_sparse_24_weight(engine, t, &o, &p, &error), VIVA_E_ARGUMENT, &error, "selection: keep");
  o = viva_prepack_options_default(), o.keep = flat;
  refused(viva_prepack_int4_sparse_24_weight(engine, t, &o, &p, &error), VIVA_E_ARGUMENT, &error,
          "keep: keep has the shape [150, 37]; expected that of the weight, [37, 150]");
  viva_tensor_release(t), viva_tensor_release(mask), viva_tensor_release(flat), viva_tensor_release(mask_turned);
}

static void nvfp4_dialects(void **state) {
  static float a[ROWS * COLS], b[ROWS * COLS];
  viva_prepack_options o = viva_prepack_options_default();
  viva_packed_weight *p;
  (void)state;
  viva_tensor *t = matrix_of(engine, VIVA_BF16, ROWS, COLS, values);
  fine(viva_prepack_nvfp4_weight(engine, t, &o, &p, &fault));
  viva_packed_info info = describe_packed(p);
  assert_int_equal(info.global_divides, 1);
  assert_true(info.global_scale > 2688 / 0.05f);
  fine(viva_packed_weight_unpack(p, a, ROWS * COLS, &fault));
  viva_packed_weight_release(p);
  o.modelopt = 1;
  fine(viva_prepack_nvfp4_weight(engine, t, &o, &p, &fault));
  info = describe_packed(p);
  assert_int_equal(info.global_divides, 0);
  assert_true(info.global_scale < 0.05f / 2688);
  fine(viva_packed_weight_unpack(p, b, ROWS * COLS, &fault));
  viva_packed_weight_release(p);
  double error2 = 0, sum = 0;
  for (size_t i = 0; i < ROWS * COLS; i++) error2 += pow(a[i] - b[i], 2), sum += pow(a[i], 2);
  assert_true(error2 < 1e-2 * sum); /* the two round a few blocks' scales apart, no more */
  viva_tensor_release(t);
}

/* -- progress */

typedef struct watch {
  uint64_t last, total, calls, stop_at;
} watch;

static int watch_rows(void *user, uint64_t done, uint64_t total) {
  watch *w = user;
  assert_true(done >= w->last && done <= total);
  w->last = done, w->total = total;
  return ++w->calls == w->stop_at;
}

static void progress_is_told_and_can_cancel(void **state) {
  enum { N = 600, K = 32768 }; /* several slabs */
  static const char *const names[] = {"fp8", "nvfp4", "int8-24"};
  float *wide = calloc((size_t)N * K, sizeof *wide);
  viva_error error = {0};
  (void)state;
  assert_non_null(wide);
  viva_tensor *t;
  fine(viva_tensor_wrap(engine, wide, (size_t)N * K * 4, VIVA_F32, 2, (uint64_t[]){N, K}, &t, &fault));
  const size_t before = bytes_now(engine);
  for (size_t n = 0; n < 3; n++) {
    viva_prepack_options o = viva_prepack_options_default();
    viva_packed_weight *p;
    watch w = {0};
    o.progress = watch_rows, o.progress_user = &w, o.search = n == 1 ? VIVA_SEARCH_ABSMAX : VIVA_SEARCH_MSE;
    fine(prepack_named(engine, names[n], t, &o, &p, &fault));
    viva_packed_weight_release(p);
    assert_int_equal(w.last, N);
    assert_int_equal(w.total, N);
    assert_true(w.calls >= 2);
    const uint64_t last = w.calls;
    for (uint64_t stop = 1; stop <= last; stop++) {
      w = (watch){.stop_at = stop};
      refused(prepack_named(engine, names[n], t, &o, &p, &error), VIVA_E_CANCELLED, &error, "cancelled by the caller");
      assert_null(p);
      assert_int_equal(bytes_now(engine), before);
    }
  }
  viva_tensor_release(t);
  free(wide);
}

/* -- handles */

static void count_one(void *keep) { ++*(int *)keep; }

/* What no machine has is refused before a row is read, also where a survey of all rows comes first. */
static void *small_alloc(void *user, size_t bytes) { return bytes > (size_t)user ? NULL : malloc(bytes); }
static void *small_realloc(void *user, void *old, size_t bytes) {
  return bytes > (size_t)user ? NULL : realloc(old, bytes);
}
static void small_free(void *user, void *memory) {
  (void)user;
  free(memory);
}

static void memory_comes_before_reading(void **state) {
  static const uint64_t shapes[][2] = {{(uint64_t)1 << 40, 16}, {1, (uint64_t)1 << 40}};
  const viva_allocator small = {small_alloc, small_realloc, small_free, (void *)((size_t)1 << 30)};
  viva_engine_options options = viva_engine_options_default();
  viva_prepack_options o = viva_prepack_options_default();
  viva_engine *own;
  (void)state;
  options.allocator = &small, options.threads = 2;
  fine(viva_engine_open(&options, &own, &fault));
  viva_tensor *one = matrix_of(own, VIVA_F32, 1, 1, (const float[]){1}), *endless;
  for (size_t s = 0; s < 2; s++) {
    fine(viva_tensor_view(one, 2, shapes[s], (const int64_t[]){0, 0}, 0, &endless, &fault));
    for (size_t i = 0; i < ALL_FORMATS; i++) {
      viva_packed_weight *p;
      viva_error error = {0};
      watch w = {.stop_at = 1}; /* and were they read, not for hours */
      o.progress = watch_rows, o.progress_user = &w;
      refused(prepack_named(own, all_formats[i], endless, &o, &p, &error), VIVA_E_MEMORY, &error, "no memory");
      assert_true(p == NULL && w.calls == 0);
    }
    viva_tensor_release(endless);
  }
  viva_tensor_release(one);
  viva_engine_release(own);
}

static void views_keep_what_they_show(void **state) {
  int kept = 0;
  viva_packed_weight *p;
  const float memory[2] = {1, 2};
  const weight w = {.format = WEIGHT_F32, .rows = 2, .cols = 1, .row_bytes = 4, .data = memory, .global = 1};
  (void)state;
  fine(packed_view(engine, &w, count_one, &kept, &p, &fault));
  assert_ptr_equal(packed_weight(p)->data, memory);
  assert_ptr_equal(viva_packed_weight_retain(p), p);
  viva_packed_weight_release(p);
  assert_int_equal(kept, 0);
  viva_packed_weight_release(p);
  assert_int_equal(kept, 1);
  fine(packed_view(engine, &w, NULL, NULL, &p, &fault));
  viva_packed_weight_release(p);
}

static void null_handles(void **state) {
  viva_error error = {0};
  viva_packed_info info = {.size = sizeof info};
  float value;
  (void)state;
  viva_packed_weight_release(NULL);
  assert_null(viva_packed_weight_retain(NULL));
  assert_null(viva_packed_weight_engine(NULL));
  refused(viva_packed_weight_info(NULL, &info, &error), VIVA_E_ARGUMENT, &error, "packed is NULL");
  refused(viva_packed_weight_unpack(NULL, &value, 1, &error), VIVA_E_ARGUMENT, &error, "packed is NULL");
}

/* The handle keeps the engine, which is released first. */
static void an_engine_may_go_first(void **state) {
  fail_alloc memory;
  viva_engine_options options = viva_engine_options_default();
  viva_engine *own;
  viva_packed_weight *p;
  static float back[ROWS * COLS];
  (void)state;
  fail_alloc_init(&memory, 0, 0);
  options.allocator = &memory.table, options.threads = 2;
  fine(viva_engine_open(&options, &own, &fault));
  viva_tensor *t = matrix_of(own, VIVA_F32, ROWS, COLS, values);
  fine(viva_prepack_fp8_weight(own, t, NULL, &p, &fault));
  viva_tensor_release(t);
  viva_engine_release(own);
  fine(viva_packed_weight_unpack(p, back, ROWS * COLS, &fault));
  viva_packed_weight_release(p);
  assert_int_equal(memory.live, 0);
}

static void no_memory_is_survived(void **state) {
  static uint8_t keep[8 * 8];
  (void)state;
  for (size_t i = 0; i < sizeof keep; i++) keep[i] = i / 8 % 4 < 2;
  for (size_t n = 0; n < ALL_FORMATS; n++) {
    for (uint64_t k = 1;; k++) {
      fail_alloc memory;
      viva_engine_options options = viva_engine_options_default();
      viva_prepack_options o = viva_prepack_options_default();
      viva_engine *own;
      viva_tensor *flat, *mask;
      viva_packed_weight *p;
      viva_error error = {0};
      fail_alloc_init(&memory, 0, 0);
      options.allocator = &memory.table, options.threads = 2;
      fine(viva_engine_open(&options, &own, &fault));
      viva_tensor *t = turned_of(own, VIVA_F16, 8, 8, values); /* converted, and a mask that is turned */
      fine(viva_tensor_wrap(own, keep, sizeof keep, VIVA_U8, 2, (uint64_t[]){8, 8}, &flat, &fault));
      fine(viva_tensor_transpose(flat, 0, 1, &mask, &fault));
      if (strstr(all_formats[n], "24")) o.keep = mask;
      memory.fail_at = memory.calls + k;
      const viva_status status = prepack_named(own, all_formats[n], t, &o, &p, &error);
      assert_int_equal(status, memory.failed ? VIVA_E_MEMORY : VIVA_OK);
      assert_true((p != NULL) == (status == VIVA_OK));
      viva_packed_weight_release(p);
      viva_tensor_release(t), viva_tensor_release(flat), viva_tensor_release(mask);
      viva_engine_release(own);
      assert_int_equal(memory.live, 0);
      if (!memory.failed) break;
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(handles_describe_themselves),
      cmocka_unit_test(bits_are_those_stated),
      cmocka_unit_test(formats_by_word),
      cmocka_unit_test(strides_and_threads_make_no_difference),
      cmocka_unit_test(values_come_back),
      cmocka_unit_test(memory_may_be_elsewhere),
      cmocka_unit_test(tensors_are_checked),
      cmocka_unit_test(sizes_are_checked),
      cmocka_unit_test(options_are_checked),
      cmocka_unit_test(nonfinite_weights_are_found),
      cmocka_unit_test(too_large_for_dense),
      cmocka_unit_test(scales_fall_back),
      cmocka_unit_test(the_mask_decides),
      cmocka_unit_test(nvfp4_dialects),
      cmocka_unit_test(progress_is_told_and_can_cancel),
      cmocka_unit_test(memory_comes_before_reading),
      cmocka_unit_test(views_keep_what_they_show),
      cmocka_unit_test(null_handles),
      cmocka_unit_test(an_engine_may_go_first),
      cmocka_unit_test(no_memory_is_survived),
  };
  return cmocka_run_group_tests(tests, begin, end);
}
