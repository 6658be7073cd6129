/* tests/tensor/test_every_into.c: every call that writes into a tensor that is there, beside the call that makes one: the same
 * elements, in strided memory, and none of its own bytes changed while the k-th allocation fails, for each k. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "lib/fail_alloc.h"
#include "tensor/create.h"
#include "tensor/tensor.h"
#include "viva/tensor_into.h"

enum { MARK = 5 };

/* Tensors of 30 elements are held on the stack, and lie behind their headers; those of 357 do neither. */
static const uint64_t sides[][2] = {{5, 6}, {17, 21}};

typedef struct operands {
  runtime *rt;
  viva_tensor *a, *b, *square, *row, *column, *flags, *places, *image, *kernels;
} operands;

static double twice(void *user, uint64_t index, double x) {
  (void)user, (void)index;
  return 2 * x;
}

static double plus(void *user, uint64_t index, double x, double y) {
  (void)user, (void)index;
  return x + y;
}

static const int32_t last[1] = {1};
static const viva_window_options pool = {.size = sizeof pool, .kernel = {2, 2}, .dilation = {1, 1}, .groups = 1};

/* Makes a tensor, or writes it to one. */
typedef viva_status (*call_fn)(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e);

/* name: of the case; call: viva_tensor_CALL and viva_tensor_CALL_into, whose arguments follow. */
#define CASE(name, call, ...)                                                                                          \
  static viva_status name(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {                     \
    return to ? viva_tensor_##call##_into(__VA_ARGS__, to, e) : viva_tensor_##call(__VA_ARGS__, made, e);              \
  }
#define BOTH ((const viva_tensor *[]){o->a, o->b})
CASE(exp_of, unary, VIVA_EXP, o->a)
CASE(sum_of, binary, VIVA_ADD, o->a, o->row)
CASE(power_of, binary_scalar, VIVA_POWER, o->a, 2)
CASE(where, where, o->flags, o->a, o->row)
CASE(clip, clip, o->a, -0.5, 0.5)
CASE(mean, reduce, VIVA_MEAN, o->a, last, 1, 0)
CASE(largest_at, reduce, VIVA_ARGMAX, o->a, last, 1, 1)
CASE(softmax, along, VIVA_SOFTMAX, o->a, 0)
CASE(matmul, matmul, o->a, o->square)
CASE(dense, dense, o->a, o->square, o->row, 1)
CASE(dot, dot, o->row, o->row)
CASE(outer, outer, o->column, o->row)
CASE(einsum, einsum, "ij,kj->ik", BOTH, 2)
CASE(norm, norm, o->a, 3, last, 1, 1)
CASE(matrix_norm, matrix_norm, o->a, 1, 0)
CASE(clip_by_norm, clip_by_norm, o->a, 2)
CASE(layer_norm, layer_norm, o->a, 1, o->row, o->row, 1e-5)
CASE(rms_norm, rms_norm, o->a, 1, o->row, 1e-5)
CASE(percentile, percentile, o->a, 30, 1, 0)
CASE(median, median, o->a, VIVA_AXIS_ALL, 0)
CASE(conv2d, conv2d, o->image, o->kernels, NULL, NULL)
CASE(pool2d, pool2d, VIVA_AVG_POOL, o->image, &pool)
CASE(similarity, similarity, VIVA_COSINE_SIMILARITY, o->a, o->b, 1)
CASE(is_close, is_close, o->a, o->b, 0.5, 0.5)
CASE(take, take, o->a, o->places, 1)
CASE(gather, gather, o->a, o->places, 1)
CASE(concatenate, concatenate, BOTH, 2, 0)
CASE(stack, stack, BOTH, 2, 1)
CASE(roll, roll, o->a, 2, 1)
CASE(pad, pad, o->a, (const uint64_t[]){1, 0}, (const uint64_t[]){0, 2}, 7)
CASE(tile, tile, o->a, (const uint64_t[]){2, 2})
CASE(repeat, repeat, o->a, 2, 1)
CASE(diag, diag, o->a, 1)
CASE(map, map, o->a, twice, NULL)
CASE(map2, map2, o->a, o->row, plus, NULL)

static viva_status one_hot(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  return to ? viva_tensor_one_hot_into(o->places, to, e) : viva_tensor_one_hot(o->places, 7, VIVA_F16, made, e);
}
static viva_status top_k_values(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  return to ? viva_tensor_top_k_into(o->a, 3, 1, to, NULL, e) : viva_tensor_top_k(o->a, 3, 1, made, NULL, e);
}
static viva_status top_k_places(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  return to ? viva_tensor_top_k_into(o->a, 2, 0, NULL, to, e) : viva_tensor_top_k(o->a, 2, 0, NULL, made, e);
}
static viva_status copy(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  return to ? viva_tensor_copy_into(o->b, to, e) : viva_tensor_copy(o->b, made, e);
}
static viva_status arange(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  return to ? viva_tensor_arange_into(1, 9, 2, to, e) : create_arange(o->rt, VIVA_I16, 1, 9, 2, made, e);
}
static viva_status linspace(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  return to ? viva_tensor_linspace_into(0, 1, to, e) : create_linspace(o->rt, VIVA_F32, 0, 1, 7, made, e);
}
static viva_status logspace(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  return to ? viva_tensor_logspace_into(0, 3, 2, to, e) : create_logspace(o->rt, VIVA_F16, 0, 3, 7, 2, made, e);
}
static viva_status eye(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  return to ? viva_tensor_eye_into(-1, to, e) : create_eye(o->rt, VIVA_U8, 4, 3, -1, made, e);
}
static viva_status random_numbers(const operands *o, viva_tensor **made, viva_tensor *to, viva_error *e) {
  viva_random_options given = viva_random_options_default();
  given.seed = 3;
  return to ? viva_tensor_random_into(&given, to, e)
            : create_random(o->rt, VIVA_F32, 1, o->row->shape, &given, made, e);
}

static const struct {
  const char *name;
  call_fn call;
} calls[] = {{"unary", exp_of},
             {"binary", sum_of},
             {"binary_scalar", power_of},
             {"where", where},
             {"clip", clip},
             {"reduce", mean},
             {"argmax", largest_at},
             {"along", softmax},
             {"matmul", matmul},
             {"dense", dense},
             {"dot", dot},
             {"outer", outer},
             {"einsum", einsum},
             {"norm", norm},
             {"matrix_norm", matrix_norm},
             {"clip_by_norm", clip_by_norm},
             {"layer_norm", layer_norm},
             {"rms_norm", rms_norm},
             {"percentile", percentile},
             {"median", median},
             {"conv2d", conv2d},
             {"pool2d", pool2d},
             {"similarity", similarity},
             {"is_close", is_close},
             {"take", take},
             {"gather", gather},
             {"concatenate", concatenate},
             {"stack", stack},
             {"roll", roll},
             {"pad", pad},
             {"tile", tile},
             {"repeat", repeat},
             {"diag", diag},
             {"map", map},
             {"map2", map2},
             {"one_hot", one_hot},
             {"top_k", top_k_values},
             {"top_k's places", top_k_places},
             {"copy", copy},
             {"arange", arange},
             {"linspace", linspace},
             {"logspace", logspace},
             {"eye", eye},
             {"random", random_numbers}};

static viva_tensor *draw(runtime *rt, uint32_t rank, const uint64_t *sizes, uint64_t seed) {
  const viva_random_options given = {.distribution = VIVA_NORMAL, .seed = seed, .deviation = 1};
  viva_tensor *out;
  assert_int_equal(create_random(rt, VIVA_F32, rank, sizes, &given, &out, NULL), VIVA_OK);
  return out;
}

static void fill(runtime *rt, uint64_t rows, uint64_t cols, operands *o) {
  const uint64_t flat[2] = {rows, cols}, equal[2] = {cols, cols}, image[4] = {1, 2, 6, 5}, kernels[4] = {2, 2, 3, 3};
  *o = (operands){.rt = rt,
                  .a = draw(rt, 2, flat, 1),
                  .b = draw(rt, 2, flat, 2),
                  .square = draw(rt, 2, equal, 3),
                  .row = draw(rt, 1, &cols, 4),
                  .column = draw(rt, 1, &rows, 5),
                  .image = draw(rt, 4, image, 6),
                  .kernels = draw(rt, 4, kernels, 7)};
  assert_int_equal(viva_tensor_binary_scalar(VIVA_GREATER, o->a, 0.1, &o->flags, NULL), VIVA_OK);
  assert_int_equal(create_full(rt, VIVA_I32, 2, (const uint64_t[]){1, 1}, 5, &o->places, NULL), VIVA_OK);
}

static void empty(operands *o) {
  viva_tensor *all[] = {o->a, o->b, o->square, o->row, o->column, o->flags, o->places, o->image, o->kernels};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) viva_tensor_release(all[i]);
}

/* Every second element of a tensor of MARK; whole: the tensor. */
static viva_tensor *marked_like(const viva_tensor *made, viva_tensor **whole) {
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  viva_tensor *to;
  memcpy(shape, made->shape, sizeof shape);
  shape[made->rank] = 2;
  assert_int_equal(create_full(made->storage->rt, made->dtype, made->rank + 1, shape, MARK, whole, NULL), VIVA_OK);
  assert_int_equal(viva_tensor_select(*whole, -1, 1, &to, NULL), VIVA_OK);
  return to;
}

/* The elements of whole are MARK, but every second one is made's, if there is such. */
static void check(const char *name, const viva_tensor *whole, const viva_tensor *made) {
  const size_t size = tensor_element_bytes(whole->dtype);
  viva_tensor *mark;
  assert_int_equal(create_full(whole->storage->rt, whole->dtype, 0, NULL, MARK, &mark, NULL), VIVA_OK);
  for (size_t i = 0; i < whole->elements; i++) {
    const char *expected = made && i % 2 == 1 ? made->data + i / 2 * size : mark->data;
    if (memcmp(whole->data + i * size, expected, size) != 0) fail_msg("%s: element %zu", name, i);
  }
  viva_tensor_release(mark);
}

static void every_call(void **state) {
  (void)state;
  fail_alloc fail;
  size_t failures = 0;
  for (size_t c = 0; c < 2 * sizeof calls / sizeof *calls; c++)
    for (uint64_t k = 1, failed = 1; failed; k++) {
      const uint64_t *side = sides[c % 2];
      operands o;
      viva_tensor *made, *dense_made, *whole;
      viva_error error = {0};
      fail_alloc_init(&fail, 0, 0);
      runtime *rt = runtime_create(&fail.table, NULL, NULL, NULL, VIVA_LOG_WARN);
      fill(rt, side[0], side[1], &o);
      if (calls[c / 2].call(&o, &made, NULL, &error) != VIVA_OK) fail_msg("%s: %s", calls[c / 2].name, error.message);
      assert_int_equal(viva_tensor_contiguous(made, &dense_made, NULL), VIVA_OK);
      viva_tensor *to = marked_like(dense_made, &whole);
      fail.fail_at = fail.calls + k;
      const viva_status status = calls[c / 2].call(&o, NULL, to, &error);
      fail.fail_at = 0;
      failed = (uint64_t)fail.failed;
      if (status != (failed ? VIVA_E_MEMORY : VIVA_OK))
        fail_msg("%s, allocation %d: %s", calls[c / 2].name, (int)k, error.message);
      check(calls[c / 2].name, whole, failed ? NULL : dense_made);
      viva_tensor_release(to), viva_tensor_release(whole), viva_tensor_release(made), viva_tensor_release(dense_made);
      empty(&o);
      runtime_release(rt);
      assert_int_equal(fail.live, 0);
      failures += failed;
    }
  assert_true(failures > 80);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_call)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
