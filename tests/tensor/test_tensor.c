/* tests/tensor/test_tensor.c: shapes, views, and what they refuse; elements as FP32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "lib/fail_alloc.h"
#include "number/number.h"
#include "tensor/tensor.h"
#include "viva/tensor_ops.h"

static runtime *rt;

static int open_runtime(void **state) {
  (void)state;
  rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  return rt ? 0 : -1;
}

static int close_runtime(void **state) {
  (void)state;
  runtime_release(rt);
  return 0;
}

static viva_tensor *make(viva_dtype dtype, uint32_t rank, const uint64_t *shape) {
  viva_tensor *t;
  viva_error error = {0};
  if (tensor_create(rt, dtype, rank, shape, &t, &error) != VIVA_OK) fail_msg("%s", error.message);
  return t;
}

static viva_tensor_desc describe(const viva_tensor *t) {
  viva_tensor_desc d = {.size = sizeof d};
  assert_int_equal(viva_tensor_info(t, &d, NULL), VIVA_OK);
  return d;
}

/* status must be code, and the message must contain text. */
static void refused(viva_status status, viva_status code, const viva_error *error, const char *text) {
  assert_int_equal(status, code);
  assert_int_equal(error->code, code);
  if (!strstr(error->message, text)) fail_msg("\"%s\" lacks \"%s\"", error->message, text);
}

static void new_tensors_are_zero_and_row_major(void **state) {
  (void)state;
  viva_tensor *t = make(VIVA_BF16, 3, (uint64_t[]){2, 3, 4});
  const viva_tensor_desc d = describe(t);
  assert_int_equal(d.elements, 24);
  assert_int_equal(d.bytes, 48);
  assert_int_equal(d.rank, 3);
  assert_int_equal(d.dtype, VIVA_BF16);
  assert_true(d.strides[0] == 12 && d.strides[1] == 4 && d.strides[2] == 1);
  assert_int_equal(d.contiguous, 1);
  for (size_t i = 0; i < 48; i++) assert_int_equal(((const char *)viva_tensor_elements(t))[i], 0);
  viva_tensor_release(t);
  t = make(VIVA_F32, 0, NULL); /* one element */
  assert_int_equal(describe(t).elements, 1);
  viva_tensor_release(t);
  t = make(VIVA_U8, 2, (uint64_t[]){5, 0});
  assert_int_equal(describe(t).elements, 0);
  assert_int_equal(describe(t).contiguous, 1);
  viva_tensor_release(t);
  assert_null(viva_tensor_elements(NULL));
  assert_null(viva_tensor_retain(NULL));
  viva_tensor_release(NULL);
}

static void views_share(void **state) {
  (void)state;
  float values[6] = {0, 1, 2, 3, 4, 5}, out[6];
  viva_tensor *t, *turned, *part, *reversed;
  assert_int_equal(tensor_wrap(rt, NULL, &(viva_tensor_memory){.data = values, .bytes = sizeof values}, VIVA_F32, 2,
                               (uint64_t[]){2, 3}, &t, NULL),
                   VIVA_OK);
  assert_int_equal(viva_tensor_transpose(t, 0, 1, &turned, NULL), VIVA_OK);
  assert_int_equal(describe(turned).contiguous, 0);
  assert_ptr_equal(viva_tensor_elements(turned), values);
  viva_tensor_release(t); /* the view keeps the storage */
  assert_int_equal(viva_tensor_to_f32(turned, out, 6, NULL), VIVA_OK);
  assert_memory_equal(out, ((float[]){0, 3, 1, 4, 2, 5}), sizeof out);
  assert_int_equal(viva_tensor_slice(turned, 0, 1, 2, &part, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_to_f32(part, out, 4, NULL), VIVA_OK);
  assert_memory_equal(out, ((float[]){1, 4, 2, 5}), 4 * sizeof *out);
  /* backwards: element i is at 5 − i */
  assert_int_equal(viva_tensor_view(part, 1, (uint64_t[]){6}, (int64_t[]){-1}, 5, &reversed, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_to_f32(reversed, out, 6, NULL), VIVA_OK);
  assert_memory_equal(out, ((float[]){5, 4, 3, 2, 1, 0}), sizeof out);
  viva_tensor_release(turned), viva_tensor_release(part), viva_tensor_release(reversed);
}

static void slices(void **state) {
  (void)state;
  viva_error error = {0};
  viva_tensor *t = make(VIVA_F32, 2, (uint64_t[]){4, 5}), *v;
  assert_int_equal(viva_tensor_slice(t, 1, 5, 0, &v, NULL), VIVA_OK); /* empty, at the end */
  assert_int_equal(describe(v).elements, 0);
  viva_tensor_release(v);
  refused(viva_tensor_slice(t, 1, 3, 3, &v, &error), VIVA_E_SIZE, &error, "along axis 1 of the tensor [4, 5]");
  assert_null(v);
  refused(viva_tensor_slice(t, 1, UINT64_MAX, 2, &v, &error), VIVA_E_SIZE, &error, "along axis 1 of the tensor [4, 5]");
  refused(viva_tensor_slice(t, 2, 0, 1, &v, &error), VIVA_E_ARGUMENT, &error, "has 2 axes, counted from 0");
  refused(viva_tensor_transpose(t, 0, 2, &v, &error), VIVA_E_ARGUMENT, &error, "b is 2");
  refused(viva_tensor_transpose(NULL, 0, 1, &v, &error), VIVA_E_ARGUMENT, &error, "tensor is NULL");
  refused(viva_tensor_slice(t, 0, 0, 1, NULL, &error), VIVA_E_ARGUMENT, &error, "view is NULL");
  viva_tensor_release(t);
}

static void arithmetic_is_checked(void **state) {
  (void)state;
  const uint64_t big = (uint64_t)1 << 32;
  viva_error error = {0};
  viva_tensor *t, *v;
  char memory[64];
  refused(tensor_create(rt, VIVA_F32, 2, (uint64_t[]){big, big}, &t, &error), VIVA_E_LIMIT, &error, "overflows");
  refused(tensor_create(rt, VIVA_F32, 2, (uint64_t[]){big << 29, 1}, &t, &error), VIVA_E_LIMIT, &error, "overflows");
  refused(tensor_create(rt, VIVA_F32, 3, (uint64_t[]){0, big << 29, big}, &t, &error), VIVA_E_LIMIT, &error,
          "overflows");
  refused(tensor_create(rt, VIVA_F32, 9, (uint64_t[9]){1}, &t, &error), VIVA_E_ARGUMENT, &error, "rank is 9");
  refused(tensor_create(rt, VIVA_F32, 1, NULL, &t, &error), VIVA_E_ARGUMENT, &error, "shape is NULL");
  refused(tensor_create(rt, VIVA_E2M3, 1, (uint64_t[]){2}, &t, &error), VIVA_E_ARGUMENT, &error, "expected F64, F32,");
  refused(tensor_create(rt, VIVA_C64, 1, (uint64_t[]){2}, &t, &error), VIVA_E_ARGUMENT, &error, "expected F64, F32,");
  refused(tensor_create(rt, (viva_dtype)-1, 1, (uint64_t[]){2}, &t, &error), VIVA_E_ARGUMENT, &error,
          "expected F64, F32,");
  refused(tensor_wrap(rt, NULL, &(viva_tensor_memory){.data = memory, .bytes = 64}, VIVA_U8, 1, (uint64_t[]){65}, &t,
                      &error),
          VIVA_E_SIZE, &error, "reaches outside its memory of 64 bytes");
  refused(tensor_wrap(rt, NULL, &(viva_tensor_memory){.data = memory, .bytes = 64, .strides = (int64_t[]){-1}}, VIVA_U8,
                      1, (uint64_t[]){2}, &t, &error),
          VIVA_E_SIZE, &error, "reaches outside");
  refused(
      tensor_wrap(rt, NULL, &(viva_tensor_memory){.data = NULL, .bytes = 64}, VIVA_U8, 1, (uint64_t[]){2}, &t, &error),
      VIVA_E_ARGUMENT, &error, "data is NULL");
  uint64_t aligned[2];
  refused(tensor_wrap(rt, NULL, &(viva_tensor_memory){.data = (char *)aligned + 1, .bytes = 8}, VIVA_U16, 1,
                      (uint64_t[]){2}, &t, &error),
          VIVA_E_ARGUMENT, &error, "not aligned");
  assert_int_equal(tensor_wrap(rt, NULL,
                               &(viva_tensor_memory){.data = memory, .bytes = 64, .strides = (int64_t[]){INT64_MAX, 1}},
                               VIVA_U8, 2, (uint64_t[]){1, 64}, &t, NULL),
                   VIVA_OK); /* a step that is never taken */
  const struct {
    uint64_t shape;
    int64_t stride, offset;
    int fine;
  } views[] = {{64, 1, 0, 1},        {64, 1, 1, 0},         {64, -1, 63, 1},      {64, -1, 62, 0}, {2, INT64_MAX, 1, 0},
               {3, INT64_MAX, 0, 0}, {2, INT64_MIN, 0, 0},  {1, 0, INT64_MAX, 0}, {1, 0, 63, 1},   {1, 0, 64, 0},
               {1, 0, -1, 0},        {UINT64_MAX, 0, 0, 0}, {0, 5, 64, 1},        {0, 5, 65, 0},   {1000, 0, 3, 1}};
  for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
    const viva_status status = viva_tensor_view(t, 1, &views[i].shape, &views[i].stride, views[i].offset, &v, &error);
    if ((status == VIVA_OK) != views[i].fine) fail_msg("view %zu: %s", i, error.message);
    viva_tensor_release(v);
  }
  viva_tensor_release(t);
}

static void count_release(void *user, void *data) {
  int *count = user;
  assert_non_null(data);
  ++*count;
}

static void wrapped_memory_is_released_once(void **state) {
  (void)state;
  int released = 0;
  float values[4] = {0};
  viva_tensor *t, *v;
  assert_int_equal(
      tensor_wrap(rt, NULL,
                  &(viva_tensor_memory){
                      .data = values, .bytes = sizeof values, .release = count_release, .release_user = &released},
                  VIVA_F32, 1, (uint64_t[]){4}, &t, NULL),
      VIVA_OK);
  assert_int_equal(viva_tensor_slice(t, 0, 1, 2, &v, NULL), VIVA_OK);
  assert_ptr_equal(viva_tensor_retain(t), t);
  viva_tensor_release(t);
  viva_tensor_release(t);
  assert_int_equal(released, 0);
  viva_tensor_release(v);
  assert_int_equal(released, 1);
  /* What was refused stays the caller's. */
  assert_int_equal(
      tensor_wrap(rt, NULL,
                  &(viva_tensor_memory){
                      .data = values, .bytes = sizeof values, .release = count_release, .release_user = &released},
                  VIVA_F32, 1, (uint64_t[]){5}, &t, NULL),
      VIVA_E_SIZE);
  assert_int_equal(released, 1);
}

static void shared_memory_is_seen(void **state) {
  (void)state;
  viva_tensor *t = make(VIVA_F32, 2, (uint64_t[]){8, 8}), *a, *b;
  const struct {
    uint64_t shape[2];
    int64_t strides[2];
    int distinct;
  } cases[] = {{{8, 8}, {8, 1}, 1}, {{8, 8}, {1, 8}, 1},   {{8, 8}, {0, 1}, 0}, {{2, 3}, {2, 1}, 0},
               {{1, 3}, {0, 1}, 1}, {{2, 2}, {-1, -8}, 1}, {{1, 1}, {0, 0}, 1}, {{3, 3}, {4, 4}, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(viva_tensor_view(t, 2, cases[i].shape, cases[i].strides, 32, &a, NULL),
                     i == 0 || i == 1 ? VIVA_E_SIZE : VIVA_OK);
    if (!a) assert_int_equal(viva_tensor_view(t, 2, cases[i].shape, cases[i].strides, 0, &a, NULL), VIVA_OK);
    assert_int_equal(tensor_distinct(a), cases[i].distinct);
    viva_tensor_release(a);
  }
  assert_int_equal(viva_tensor_slice(t, 0, 0, 4, &a, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_slice(t, 0, 4, 4, &b, NULL), VIVA_OK);
  assert_false(tensor_overlap(a, b));
  assert_true(tensor_overlap(a, t));
  viva_tensor_release(b);
  assert_int_equal(viva_tensor_view(t, 1, (uint64_t[]){33}, (int64_t[]){-1}, 63, &b, NULL), VIVA_OK);
  assert_true(tensor_overlap(a, b));
  viva_tensor_release(a), viva_tensor_release(b), viva_tensor_release(t);
}

/* Every real type, with strides of every kind, against one element at a time. */
/* Against all pairs of elements: shapes and strides of up to four axes, drawn from small numbers. */
static void interleaved_strides_are_told_apart(void **state) {
  (void)state;
  uint32_t seed = 1, interleaved = 0;
  for (int round = 0; round < 20000; round++) {
    viva_tensor t = {.dtype = VIVA_U8, .rank = 1 + (uint32_t)round % 4, .elements = 1};
    for (uint32_t i = 0; i < t.rank; i++) {
      seed = seed * 1664525 + 1013904223;
      t.shape[i] = 1 + (seed >> 8) % 4;
      t.strides[i] = (int64_t)((seed >> 16) % 27) - 13;
      t.elements *= (size_t)t.shape[i];
    }
    uint8_t taken[512] = {0};
    int distinct = 1;
    for (size_t e = 0; e < t.elements; e++) {
      int64_t at = 256;
      size_t rest = e;
      for (uint32_t i = 0; i < t.rank; rest /= (size_t)t.shape[i++]) at += (int64_t)(rest % t.shape[i]) * t.strides[i];
      distinct &= !taken[at]++;
    }
    assert_int_equal(tensor_distinct(&t), distinct);
    interleaved += distinct && t.rank > 1;
  }
  assert_true(interleaved > 1000);
  const viva_tensor wild = {.dtype = VIVA_U8,
                            .rank = 4,
                            .elements = (size_t)1 << 40,
                            .shape = {1024, 1024, 1024, 1024},
                            .strides = {1000003, 1000033, 1000037, 1000039}};
  assert_int_equal(tensor_distinct(&wild), 0); /* nobody looks at all of them */
}

/* Every second column of one tensor between those of another. */
static void interleaved_results_are_written(void **state) {
  (void)state;
  viva_tensor *whole = make(VIVA_I32, 1, (uint64_t[]){8}), *a = make(VIVA_I32, 2, (uint64_t[]){3, 2}), *out;
  static const int32_t expected[8] = {1, 0, 3, 2, 5, 4, 0, 6};
  for (int i = 0; i < 6; i++) ((int32_t *)viva_tensor_elements(a))[i] = i + 1;
  assert_int_equal(viva_tensor_view(whole, 2, (uint64_t[]){3, 2}, (int64_t[]){2, 3}, 0, &out, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_copy_into(a, out, NULL), VIVA_OK);
  assert_memory_equal(viva_tensor_elements(whole), expected, sizeof expected);
  assert_int_equal(viva_tensor_binary_into(VIVA_ADD, a, a, out, NULL), VIVA_OK);
  assert_int_equal(((int32_t *)viva_tensor_elements(whole))[7], 12);
  viva_tensor_release(whole), viva_tensor_release(a), viva_tensor_release(out);
}

static void elements_become_f32(void **state) {
  (void)state;
  enum { A = 3, B = 70, C = 37, GAPPED = A * B + 40 };
  static const viva_dtype types[] = {VIVA_F32, VIVA_F16, VIVA_BF16, VIVA_F64};
  static float expected[A * B * C], out[A * B * C], gapped[C * GAPPED];
  for (size_t n = 0; n < 4; n++) {
    viva_tensor *t = make(types[n], 3, (uint64_t[]){A, B, C}), *v, *w;
    const size_t bytes = tensor_element_bytes(types[n]);
    for (size_t i = 0; i < A * B * C; i++) { /* integers that each type holds */
      const float value = (float)((int)(i * 37 % 255) - 127);
      const double wide = value;
      const uint16_t half = types[n] == VIVA_F16 ? f16_from_f32(value) : bf16_from_f32(value);
      const void *from = bytes == 2 ? (const void *)&half : bytes == 4 ? (const void *)&value : (const void *)&wide;
      memcpy((char *)viva_tensor_elements(t) + i * bytes, from, bytes);
      expected[i] = value;
    }
    assert_int_equal(viva_tensor_to_f32(t, out, A * B * C, NULL), VIVA_OK);
    assert_memory_equal(out, expected, sizeof out);
    assert_int_equal(viva_tensor_transpose(t, 0, 2, &v, NULL), VIVA_OK); /* [C][B][A] */
    assert_int_equal(viva_tensor_to_f32(v, out, A * B * C, NULL), VIVA_OK);
    for (size_t c = 0; c < C; c++)
      for (size_t b = 0; b < B; b++)
        for (size_t a = 0; a < A; a++) assert_true(out[(c * B + b) * A + a] == expected[(a * B + b) * C + c]);
    /* A matrix and its transpose, whole and from a row on, into rows with gaps. */
    assert_int_equal(viva_tensor_view(t, 2, (uint64_t[]){C, A * B}, (int64_t[]){1, C}, 0, &w, NULL), VIVA_OK);
    tensor_rows_f32(w, 2, C - 2, gapped, GAPPED);
    for (size_t c = 2; c < C; c++)
      for (size_t r = 0; r < A * B; r++) assert_true(gapped[(c - 2) * GAPPED + r] == expected[r * C + c]);
    tensor_row_f32(w, 5, 7, 11, out);
    for (size_t r = 0; r < 11; r++) assert_true(out[r] == expected[(r + 7) * C + 5]);
    viva_tensor_release(t), viva_tensor_release(v), viva_tensor_release(w);
  }
  viva_error error = {0};
  viva_tensor *t = make(VIVA_I32, 1, (uint64_t[]){4});
  refused(viva_tensor_to_f32(t, out, 4, &error), VIVA_E_DTYPE, &error, "holds I32");
  viva_tensor_release(t);
  t = make(VIVA_F32, 1, (uint64_t[]){4});
  refused(viva_tensor_to_f32(t, out, 5, &error), VIVA_E_SIZE, &error, "has 4 elements");
  refused(viva_tensor_to_f32(t, NULL, 4, &error), VIVA_E_ARGUMENT, &error, "values is NULL");
  refused(viva_tensor_to_f32(NULL, out, 4, &error), VIVA_E_ARGUMENT, &error, "tensor is NULL");
  refused(viva_tensor_info(NULL, NULL, &error), VIVA_E_ARGUMENT, &error, "tensor is NULL");
  refused(viva_tensor_info(t, NULL, &error), VIVA_E_ARGUMENT, &error, "viva_tensor_desc is NULL");
  viva_tensor_release(t);
}

static void a_shape_as_text(void **state) {
  (void)state;
  char text[128];
  viva_tensor *t = make(VIVA_U8, 2, (uint64_t[]){2, 576});
  assert_string_equal(tensor_shape_text(t, text), "[2, 576]");
  viva_tensor_release(t);
  viva_tensor wide = {.rank = 8};
  for (int i = 0; i < 8; i++) wide.shape[i] = UINT64_MAX - 1;
  assert_true(strlen(tensor_shape_text(&wide, text)) < sizeof text);
  assert_non_null(strstr(text, ", ...]"));
  const viva_tensor open = {.rank = 2, .shape = {4, UINT64_MAX}};
  assert_string_equal(tensor_shape_text(&open, text), "[4, open]");
}

static void no_memory_is_survived(void **state) {
  (void)state;
  for (uint64_t k = 1;; k++) {
    fail_alloc f;
    fail_alloc_init(&f, k, 0);
    runtime *own = runtime_create(&f.table, NULL, NULL, NULL, VIVA_LOG_WARN);
    viva_tensor *t = NULL, *v = NULL;
    viva_status status = own ? tensor_create(own, VIVA_F32, 1, (uint64_t[]){9}, &t, NULL) : VIVA_E_MEMORY;
    if (status == VIVA_OK) status = viva_tensor_slice(t, 0, 2, 3, &v, NULL);
    assert_int_equal(status, f.failed ? VIVA_E_MEMORY : VIVA_OK);
    runtime_release(own); /* tensors keep it */
    viva_tensor_release(t);
    viva_tensor_release(v);
    assert_int_equal(f.live, 0);
    if (!f.failed) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(new_tensors_are_zero_and_row_major),
      cmocka_unit_test(views_share),
      cmocka_unit_test(slices),
      cmocka_unit_test(arithmetic_is_checked),
      cmocka_unit_test(wrapped_memory_is_released_once),
      cmocka_unit_test(shared_memory_is_seen),
      cmocka_unit_test(interleaved_strides_are_told_apart),
      cmocka_unit_test(interleaved_results_are_written),
      cmocka_unit_test(elements_become_f32),
      cmocka_unit_test(a_shape_as_text),
      cmocka_unit_test(no_memory_is_survived),
  };
  return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
