/* tests/tensor/test_turn.c: transposing copies move each element to its place, for every pair of sides and width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/pool.h"
#include "tensor/tensor.h"
#include "viva/tensor_ops.h"

enum { LONGEST = 37, PLANES = 2, SPARE = 3 };

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

/* A tensor whose elements differ: bytes that count with a period of 251. */
static viva_tensor *counted(viva_dtype type, const uint64_t *shape) {
  viva_tensor *t;
  assert_int_equal(tensor_empty(rt, type, 3, shape, &t, NULL), VIVA_OK);
  unsigned char *bytes = (unsigned char *)t->data;
  for (size_t i = 0; i < t->elements * tensor_element_bytes(type); i++) bytes[i] = (unsigned char)(i * 7 % 251);
  return t;
}

/* copy[i][j][k] is view[i][j][k], byte for byte. */
static void check_copy(const viva_tensor *view) {
  const size_t size = tensor_element_bytes(view->dtype);
  viva_tensor *copy;
  assert_int_equal(viva_tensor_copy(view, &copy, NULL), VIVA_OK);
  const char *at = copy->data;
  for (int64_t i = 0; i < (int64_t)view->shape[0]; i++)
    for (int64_t j = 0; j < (int64_t)view->shape[1]; j++)
      for (int64_t k = 0; k < (int64_t)view->shape[2]; k++, at += size) {
        const int64_t moved = i * view->strides[0] + j * view->strides[1] + k * view->strides[2];
        if (memcmp(at, view->data + moved * (int64_t)size, size) != 0) {
          char text[128];
          fail_msg("%s %s: [%d, %d, %d]", viva_dtype_name(view->dtype), tensor_shape_text(view, text), (int)i, (int)j,
                   (int)k);
        }
      }
  viva_tensor_release(copy);
}

/* [planes][rows][cols], each plane transposed, lines with and without a gap behind them. */
static void check_planes(viva_dtype type, uint64_t rows, uint64_t cols) {
  const int32_t swapped[3] = {0, 2, 1}, last[3] = {1, 2, 0};
  for (uint64_t gap = 0; gap <= SPARE; gap += SPARE) {
    const uint64_t shape[3] = {PLANES, rows, cols + gap};
    viva_tensor *whole = counted(type, shape), *cut, *turned;
    assert_int_equal(viva_tensor_slice_step(whole, 2, 0, (int64_t)cols, 1, &cut, NULL), VIVA_OK);
    assert_int_equal(viva_tensor_permute(cut, swapped, &turned, NULL), VIVA_OK);
    check_copy(turned);
    viva_tensor_release(turned);
    assert_int_equal(viva_tensor_permute(cut, last, &turned, NULL), VIVA_OK);
    check_copy(turned);
    viva_tensor_release(turned), viva_tensor_release(cut), viva_tensor_release(whole);
  }
}

static const viva_dtype types[] = {VIVA_I8, VIVA_F16, VIVA_F32, VIVA_F64};

static void every_side(void **state) {
  (void)state;
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (uint64_t rows = 1; rows <= LONGEST; rows++)
      for (uint64_t cols = 1; cols <= LONGEST; cols++) check_planes(types[t], rows, cols);
}

/* Several bands for one index and, above 131,072 elements, several threads. */
static void long_sides(void **state) {
  (void)state;
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    check_planes(types[t], 301, 257);
    check_planes(types[t], 70001, 3);
    check_planes(types[t], 3, 70001);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_side), cmocka_unit_test(long_sides)};
  return cmocka_run_group_tests(tests, open_runtime, close_runtime);
}
