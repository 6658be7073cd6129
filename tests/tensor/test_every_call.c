/* tests/tensor/test_every_call.c: every operation of the table and every call that makes or fills a tensor, while the k-th
 * allocation fails, for each k; with one thread and with many, bit for bit; with results over their own operands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/cpu.h"
#include "base/pool.h"
#include "lib/fail_alloc.h"
#include "tensor/create.h"
#include "tensor/dlpack.h"
#include "tensor/gemm.h"
#include "tensor/tensor.h"
#include "viva/tensor_into.h"
#include "viva/tensor_text.h"

/* Operands of all calls. */
typedef struct inputs {
  viva_tensor *a, *b, *row, *column, *flags, *places, *image, *kernels;
} inputs;

/* The results of one call: at most two. */
typedef viva_status (*call_fn)(const inputs *in, int variant, viva_tensor **out, viva_error *error);

static double twice(void *user, uint64_t index, double x) {
  (void)user, (void)index;
  return 2 * x;
}

static double plus(void *user, uint64_t index, double x, double y) {
  (void)user, (void)index;
  return x + y;
}

static viva_status unary(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  return viva_tensor_unary((viva_unary)k, in->a, out, e);
}

static viva_status binary(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  return viva_tensor_binary((viva_binary)k, in->a, in->row, out, e);
}

static viva_status reduction(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  const int32_t axis = 1;
  return viva_tensor_reduce((viva_reduction)k, in->a, &axis, 1, 1, out, e);
}

static viva_status reduction_of_all(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  return viva_tensor_reduce((viva_reduction)k, in->b, NULL, 0, 0, out, e);
}

static viva_status along(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  return viva_tensor_along((viva_along)k, in->b, 0, out, e);
}

static viva_status similarity(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  return viva_tensor_similarity((viva_similarity)k, in->a, in->row, 1, out, e);
}

static viva_status pooling(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  const viva_window_options o = {
      .size = sizeof o, .kernel = {3, 2}, .padding = {1, 0}, .dilation = {1, 1}, .groups = 1};
  return viva_tensor_pool2d((viva_pooling)k, in->image, &o, out, e);
}

static viva_status scatter(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  return viva_tensor_scatter((viva_scatter_mode)k, in->a, in->places, in->places, 1, out, e);
}

static viva_status product(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  viva_tensor *turned;
  TRY(viva_tensor_transpose(in->b, 0, 1, &turned, e));
  const viva_tensor *both[2] = {in->a, in->b};
  viva_status s = VIVA_E_ARGUMENT;
  switch (k) {
  case 0: s = viva_tensor_matmul(in->a, turned, out, e); break;
  case 1: s = viva_tensor_einsum("ij,ij->i", both, 2, out, e); break;
  case 2: s = viva_tensor_einsum("ij,kj->", both, 2, out, e); break;
  case 3: s = viva_tensor_outer(in->row, in->row, out, e); break;
  case 4: s = viva_tensor_dot(in->row, in->row, out, e); break;
  case 5: s = viva_tensor_dense(in->a, in->b, NULL, 1, out, e); break;
  default: s = viva_tensor_dense(in->a, in->b, in->column, 0, out, e); /* with a bias for each row of b */
  }
  viva_tensor_release(turned);
  return s;
}
enum { PRODUCTS = 7 };

static viva_status choice(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  switch (k) {
  case 0: return viva_tensor_top_k(in->a, 3, 0, &out[0], &out[1], e);
  case 1: return viva_tensor_percentile(in->a, 30, 1, 1, out, e);
  case 2: return viva_tensor_median(in->b, VIVA_AXIS_ALL, 0, out, e);
  case 3: return viva_tensor_where(in->flags, in->a, in->row, out, e);
  case 4: return viva_tensor_clip(in->b, -1, 1, out, e);
  case 5: return viva_tensor_take(in->a, in->places, 1, out, e);
  case 6: return viva_tensor_gather(in->a, in->places, 1, out, e);
  case 7: return viva_tensor_nonzero(in->flags, out, e);
  case 8: return viva_tensor_masked_select(in->a, in->flags, out, e);
  case 9: return viva_tensor_one_hot(in->places, 8, VIVA_F16, out, e);
  case 10: return viva_tensor_is_close(in->a, in->row, 0.1, 0.1, out, e);
  case 11: return viva_tensor_layer_norm(in->b, -1, in->row, in->row, 1e-5, out, e);
  case 12: return viva_tensor_rms_norm(in->a, -1, in->row, 1e-5, out, e);
  case 13: return viva_tensor_clip_by_norm(in->b, 2, out, e);
  case 14: return viva_tensor_conv2d(in->image, in->kernels, NULL, NULL, out, e);
  case 15: return viva_tensor_map(in->b, twice, NULL, out, e);
  case 16: return viva_tensor_map2(in->a, in->row, plus, NULL, out, e);
  case 17: return viva_tensor_matrix_norm(in->b, 1, 1, out, e);
  default: return viva_tensor_norm(in->b, k - 19, NULL, 0, 1, out, e); /* of orders -1 to 3 */
  }
}
enum { CHOICES = 23 };

static viva_status shape(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  const viva_tensor *both[2] = {in->a, in->b};
  switch (k) {
  case 0: return viva_tensor_astype(in->b, VIVA_E4M3, out, e);
  case 1: return viva_tensor_copy(in->b, out, e);
  case 2: return viva_tensor_contiguous(in->b, out, e);
  case 3: return viva_tensor_flatten(in->b, out, e);
  case 4: return viva_tensor_concatenate(both, 2, 0, out, e);
  case 5: return viva_tensor_stack(both, 2, 1, out, e);
  case 6: return viva_tensor_roll(in->b, 3, 1, out, e);
  case 7: return viva_tensor_pad(in->b, (uint64_t[]){1, 2}, (uint64_t[]){0, 1}, 7, out, e);
  case 8: return viva_tensor_tile(in->b, (uint64_t[]){2, 3}, out, e);
  case 9: return viva_tensor_repeat(in->b, 2, 1, out, e);
  case 10: return viva_tensor_diag(in->b, 1, out, e);
  case 11: return viva_tensor_split(in->row, 0, 2, out, e);
  case 12: return viva_tensor_split_at(in->row, 0, (uint64_t[]){3}, 1, out, e);
  case 13: return viva_tensor_flip(in->b, NULL, 0, out, e);
  case 14: return viva_tensor_squeeze(in->b, NULL, 0, out, e);
  case 15: return viva_tensor_expand_dims(in->b, 0, out, e);
  case 16: return viva_tensor_select(in->b, 0, -1, out, e);
  case 17: return viva_tensor_slice_step(in->b, 1, VIVA_SLICE_NONE, VIVA_SLICE_NONE, -2, out, e);
  case 18: return viva_tensor_broadcast_to(in->row, 2, in->a->shape, out, e);
  default: return viva_tensor_permute(in->b, NULL, out, e);
  }
}
enum { SHAPES = 20 };

/* Results in a tensor that is there: a view of a larger one, so that all are moved. The commonest first. */
static viva_status into_call(const inputs *in, int k, viva_tensor *to, viva_error *e) {
  const viva_tensor *both[2] = {in->a, in->b};
  switch (k) {
  case 0: return viva_tensor_unary_into(VIVA_EXP, in->b, to, e);
  case 1: return viva_tensor_binary_into(VIVA_ADD, in->b, in->row, to, e);
  case 2: return viva_tensor_where_into(in->flags, in->a, in->row, to, e);
  case 3: return viva_tensor_along_into(VIVA_SOFTMAX, in->b, 0, to, e);
  case 4: return viva_tensor_matmul_into(in->a, in->b, to, e);
  case 5: return viva_tensor_dense_into(in->a, in->b, in->column, 1, to, e);
  case 6: return viva_tensor_take_into(in->a, in->places, 0, to, e);
  case 7: return viva_tensor_scatter_into(VIVA_SCATTER_ADD, to, in->places, in->places, 1, e);
  case 8: return viva_tensor_clip_into(in->b, -1, 1, to, e);
  case 9: return viva_tensor_copy_into(in->row, to, e);
  case 10: return viva_tensor_reduce_into(VIVA_STD, in->a, (int32_t[]){0}, 1, 1, to, e);
  case 11: return viva_tensor_outer_into(in->column, in->row, to, e);
  case 12: return viva_tensor_einsum_into("ij,jk->ki", both, 2, to, e);
  case 13: return viva_tensor_layer_norm_into(in->a, 1, in->row, in->row, 1e-5, to, e);
  case 14: return viva_tensor_rms_norm_into(in->b, 1, NULL, 1e-5, to, e);
  case 15: return viva_tensor_is_close_into(in->a, in->b, 1, 1, to, e);
  case 16: return viva_tensor_roll_into(in->a, 3, 0, to, e);
  case 17: return viva_tensor_concatenate_into(both, 1, 0, to, e);
  case 18: return viva_tensor_repeat_into(in->b, 1, 0, to, e);
  case 19: return viva_tensor_tile_into(in->b, (uint64_t[]){1, 1}, to, e);
  default: return viva_tensor_pad_into(in->b, (uint64_t[]){0, 0}, (uint64_t[]){0, 0}, 1, to, e);
  }
}
enum { INTOS = 21 };

static viva_status into(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  uint64_t shape[2] = {k == 10 ? 1 : in->a->shape[0], in->a->shape[1]}, wider[2] = {shape[0], 2 * shape[1]};
  viva_tensor *whole, *places = NULL, *taken = NULL;
  inputs these = *in;
  TRY(tensor_create(in->a->storage->rt, VIVA_F64, 2, wider, &whole, e));
  viva_status s = viva_tensor_slice_step(whole, 1, 1, VIVA_SLICE_NONE, 2, out, e);
  if (s == VIVA_OK && k == 6) { /* a place for each row */
    s = viva_tensor_broadcast_to(in->places, 2, (uint64_t[]){1, shape[0]}, &taken, e);
    if (s == VIVA_OK) s = viva_tensor_flatten(taken, &places, e);
    these.places = places;
  }
  if (s == VIVA_OK) s = into_call(&these, k, *out, e);
  viva_tensor_release(whole), viva_tensor_release(places), viva_tensor_release(taken);
  if (s != VIVA_OK) viva_tensor_release(*out), *out = NULL;
  return s;
}

/* What is no tensor: text, and DLPack there and back. */
static viva_status outside(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  char text[64];
  size_t needed;
  dlpack_managed *managed;
  if (k == 0) return viva_tensor_format(in->b, NULL, text, sizeof text, &needed, e);
  TRY(viva_tensor_to_dlpack(in->b, &managed, e));
  if (k == 2) managed->flags |= DLPACK_READ_ONLY; /* which is copied */
  const viva_status s = dlpack_import(in->b->storage->rt, NULL, managed, out, e);
  if (s != VIVA_OK) managed->deleter(managed);
  return s;
}

static void count_release(void *user, void *data) {
  (void)data;
  ++*(int *)user;
}

/* The caller's memory, given back exactly once: by the last reference, or by the caller where the call failed. */
static viva_status wrapped(const inputs *in, viva_tensor **out, viva_error *e) {
  static float memory[6] = {1, 2, 3, 4, 5, 6};
  viva_tensor *t = NULL, *turned = NULL;
  int released = 0;
  const viva_tensor_memory m = {
      .size = sizeof m, .data = memory, .bytes = sizeof memory, .release = count_release, .release_user = &released};
  viva_status s = tensor_wrap(in->a->storage->rt, NULL, &m, VIVA_F32, 2, (uint64_t[]){2, 3}, &t, e);
  const int shared = s == VIVA_OK;
  if (s == VIVA_OK) s = viva_tensor_transpose(t, 0, 1, &turned, e);
  if (s == VIVA_OK) s = viva_tensor_copy(turned, out, e);
  viva_tensor_release(t);
  assert_int_equal(released, shared && !turned);
  viva_tensor_release(turned);
  assert_int_equal(released, shared);
  return s;
}

static viva_status making(const inputs *in, int k, viva_tensor **out, viva_error *e) {
  runtime *rt = in->a->storage->rt;
  const uint64_t shape[2] = {in->a->shape[0], in->a->shape[1]};
  const viva_random_options uniform = {.distribution = VIVA_UNIFORM, .seed = 3, .high = 1};
  static const int16_t data[6] = {1, -2, 3, -4, 5, -6};
  switch (k) {
  case 0: return create_arange(rt, VIVA_F32, 0, (double)in->a->elements, 1, out, e);
  case 1: return create_linspace(rt, VIVA_BF16, 0, 1, in->a->elements, out, e);
  case 2: return create_logspace(rt, VIVA_F64, 0, 3, in->a->elements, 10, out, e);
  case 3: return create_eye(rt, VIVA_I8, shape[0], shape[1], 1, out, e);
  case 4: return create_random(rt, VIVA_F16, 2, shape, &uniform, out, e);
  case 5: return create_full(rt, VIVA_E4M3, 2, shape, 1.5, out, e);
  case 6: return create_from_data(rt, data, sizeof data, VIVA_I16, 1, (uint64_t[]){6}, out, e);
  case 7: return viva_tensor_check_domain(VIVA_EXP, in->b, e);
  default: return wrapped(in, out, e);
  }
}
enum { MAKINGS = 9 };

static const struct {
  const char *name;
  call_fn call;
  int variants;
} calls[] = {{"unary", unary, VIVA_UNARY_COUNT},
             {"binary", binary, VIVA_BINARY_COUNT},
             {"reduction", reduction, VIVA_REDUCTION_COUNT},
             {"reduction of all", reduction_of_all, VIVA_REDUCTION_COUNT},
             {"along", along, VIVA_ALONG_COUNT},
             {"similarity", similarity, VIVA_MANHATTAN_DISTANCE + 1},
             {"pooling", pooling, 2},
             {"scatter", scatter, 2},
             {"product", product, PRODUCTS},
             {"choice", choice, CHOICES},
             {"shape", shape, SHAPES},
             {"into", into, INTOS},
             {"outside", outside, 3},
             {"making", making, MAKINGS}};
enum { CALLS = sizeof calls / sizeof *calls };

static viva_status draw(runtime *rt, uint32_t rank, const uint64_t *sizes, uint64_t seed, viva_tensor **out) {
  const viva_random_options o = {.distribution = VIVA_NORMAL, .seed = seed, .deviation = 1};
  return create_random(rt, VIVA_F32, rank, sizes, &o, out, NULL);
}

/* [rows][cols] of a; b as large, the other way round; places: a column of indices. */
static viva_status fill(runtime *rt, uint64_t rows, uint64_t cols, inputs *in) {
  const uint64_t turned[2] = {cols, rows}, image[4] = {1, 2, rows, cols}, kernels[4] = {2, 2, 3, 3};
  viva_tensor *down = NULL, *ramp = NULL;
  memset(in, 0, sizeof *in);
  viva_status s = draw(rt, 2, (uint64_t[]){rows, cols}, 1, &in->a);
  if (s == VIVA_OK) s = draw(rt, 2, turned, 2, &down);
  if (s == VIVA_OK) s = viva_tensor_transpose(down, 0, 1, &in->b, NULL);
  if (s == VIVA_OK) s = draw(rt, 1, &cols, 3, &in->row);
  if (s == VIVA_OK) s = draw(rt, 1, &rows, 9, &in->column);
  if (s == VIVA_OK) s = viva_tensor_binary_scalar(VIVA_GREATER, in->a, 0.1, &in->flags, NULL);
  if (s == VIVA_OK) s = create_full(rt, VIVA_I32, 2, (uint64_t[]){1, 1}, 5, &ramp, NULL);
  if (s == VIVA_OK) s = viva_tensor_copy(ramp, &in->places, NULL);
  if (s == VIVA_OK) s = draw(rt, 4, image, 4, &in->image);
  if (s == VIVA_OK) s = draw(rt, 4, kernels, 5, &in->kernels);
  viva_tensor_release(down), viva_tensor_release(ramp);
  return s;
}

static void empty(inputs *in) {
  viva_tensor *all[] = {in->a, in->b, in->row, in->column, in->flags, in->places, in->image, in->kernels};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) viva_tensor_release(all[i]);
}

/* -- failing memory */

static void every_allocation_may_fail(void **state) {
  (void)state;
  fail_alloc fail;
  size_t failures = 0;
  for (int c = 0; c < 2 * CALLS; c++) /* 64 elements fit the stack, 256 do not */
    for (int v = 0; v < calls[c / 2].variants; v++)
      for (uint64_t k = 1;; k++) {
        const uint64_t side = c % 2 ? 16 : 8;
        inputs in;
        viva_tensor *out[2] = {NULL};
        viva_error error = {0};
        fail_alloc_init(&fail, 0, 0);
        runtime *rt = runtime_create(&fail.table, NULL, NULL, NULL, VIVA_LOG_WARN);
        assert_int_equal(fill(rt, side, side, &in), VIVA_OK);
        fail.fail_at = fail.calls + k;
        const viva_status status = calls[c / 2].call(&in, v, out, &error);
        const int failed = fail.failed;
        if (status != (failed ? VIVA_E_MEMORY : VIVA_OK))
          fail_msg("%s %d, allocation %d: %s", calls[c / 2].name, v, (int)k, error.message);
        if (failed) assert_true(!out[0] && !out[1]);
        viva_tensor_release(out[0]), viva_tensor_release(out[1]);
        empty(&in);
        runtime_release(rt);
        if (fail.live != 0) fail_msg("%s %d, allocation %d: a block is lost", calls[c / 2].name, v, (int)k);
        failures += (size_t)failed;
        if (!failed) break;
      }
  assert_true(failures > 300);
}

/* -- threads */

static void threads_do_not_matter(void **state) {
  (void)state;
  inputs in;
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  assert_int_equal(pool_create(rt, 3, &rt->pool, NULL), VIVA_OK);
  assert_int_equal(fill(rt, 512, 512, &in), VIVA_OK);
  pool *threads = rt->pool;
  for (int c = 0; c < CALLS; c++)
    for (int v = 0; v < calls[c].variants; v++) {
      viva_tensor *out[2][2] = {{NULL}};
      viva_error error = {0};
      for (int many = 0; many < 2; many++) {
        rt->pool = many ? threads : NULL;
        if (calls[c].call(&in, v, out[many], &error) != VIVA_OK) fail_msg("%s %d: %s", calls[c].name, v, error.message);
      }
      for (int r = 0; r < 2 && out[0][r]; r++) {
        viva_tensor *x, *y;
        assert_int_equal(viva_tensor_contiguous(out[0][r], &x, NULL), VIVA_OK);
        assert_int_equal(viva_tensor_contiguous(out[1][r], &y, NULL), VIVA_OK);
        if (memcmp(x->data, y->data, x->elements * tensor_element_bytes(x->dtype)) != 0)
          fail_msg("%s %d: bits depend on the threads", calls[c].name, v);
        viva_tensor_release(x), viva_tensor_release(y);
        viva_tensor_release(out[0][r]), viva_tensor_release(out[1][r]);
      }
    }
  empty(&in);
  runtime_release(rt);
}

/* -- results over their operands */

/* What call(copy of a) gives, and what it leaves in a itself, are the same. */
typedef viva_status (*into_fn)(const viva_tensor *a, const viva_tensor *b, viva_tensor *out, viva_error *error);

static viva_status into_matmul(const viva_tensor *a, const viva_tensor *b, viva_tensor *out, viva_error *e) {
  return viva_tensor_matmul_into(a, b, out, e);
}
static viva_status into_softmax(const viva_tensor *a, const viva_tensor *b, viva_tensor *out, viva_error *e) {
  (void)b;
  return viva_tensor_along_into(VIVA_SOFTMAX, a, 0, out, e);
}
static viva_status into_sort(const viva_tensor *a, const viva_tensor *b, viva_tensor *out, viva_error *e) {
  (void)b;
  return viva_tensor_along_into(VIVA_SORT, a, 1, out, e);
}
static viva_status into_take(const viva_tensor *a, const viva_tensor *b, viva_tensor *out, viva_error *e) {
  viva_tensor *places;
  TRY(viva_tensor_along(VIVA_ARGSORT, b, 0, &places, e));
  viva_tensor *first;
  TRY(viva_tensor_select(places, 1, 0, &first, e));
  const viva_status s = viva_tensor_take_into(a, first, 0, out, e);
  viva_tensor_release(places), viva_tensor_release(first);
  return s;
}
static viva_status into_clip(const viva_tensor *a, const viva_tensor *b, viva_tensor *out, viva_error *e) {
  (void)b;
  return viva_tensor_clip_into(a, -0.5, 0.5, out, e);
}
static viva_status into_dense(const viva_tensor *a, const viva_tensor *b, viva_tensor *out, viva_error *e) {
  viva_tensor *bias;
  TRY(viva_tensor_select(a, 0, 0, &bias, e));
  const viva_status s = viva_tensor_dense_into(a, b, bias, 0, out, e);
  viva_tensor_release(bias);
  return s;
}

static void results_may_overlap_operands(void **state) {
  (void)state;
  static const into_fn into[] = {into_matmul, into_softmax, into_sort, into_take, into_clip, into_dense};
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  for (size_t f = 0; f < sizeof into / sizeof *into; f++)
    for (int turned = 0; turned < 2; turned++) {
      viva_tensor *a, *b, *view, *apart, *copy;
      assert_int_equal(draw(rt, 2, (uint64_t[]){9, 9}, 6, &a), VIVA_OK);
      assert_int_equal(draw(rt, 2, (uint64_t[]){9, 9}, 7, &b), VIVA_OK);
      assert_int_equal(viva_tensor_transpose(a, 0, (uint32_t)turned, &view, NULL), VIVA_OK);
      assert_int_equal(viva_tensor_copy(view, &copy, NULL), VIVA_OK);
      assert_int_equal(tensor_create(rt, VIVA_F32, 2, a->shape, &apart, NULL), VIVA_OK);
      assert_int_equal(into[f](copy, b, apart, NULL), VIVA_OK);
      assert_int_equal(into[f](view, b, a, NULL), VIVA_OK); /* read one way, written the other */
      assert_memory_equal(a->data, apart->data, 81 * sizeof(float));
      viva_tensor_release(a), viva_tensor_release(b), viva_tensor_release(view);
      viva_tensor_release(apart), viva_tensor_release(copy);
    }
  runtime_release(rt);
}

/* memory[start], [start + step], … of n; a view of it. */
static viva_tensor *every(viva_tensor *memory, int64_t start, int64_t n, int64_t step) {
  viva_tensor *view;
  const int64_t stop = start + n * step;
  assert_int_equal(viva_tensor_slice_step(memory, 0, start, stop < 0 ? VIVA_SLICE_NONE : stop, step, &view, NULL),
                   VIVA_OK);
  assert_int_equal(view->elements, n);
  return view;
}

/* Elementwise into views with gaps and from behind, over their operands: those elements, and no others. */
static void results_may_lie_anyhow_over_operands(void **state) {
  (void)state;
  static const int64_t sizes[] = {3, 8, 40, 600}, steps[] = {1, 2, -1, -2};
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  for (size_t c = 0; c < sizeof sizes / sizeof *sizes * 8; c++) {
    const int64_t n = sizes[c / 8], step = steps[c % 4], last = 3 * n;
    const int64_t start = step < 0 ? n / 2 - (n - 1) * step : n / 2;
    const int binary = c / 4 % 2 == 1;
    viva_tensor *memory, *expected;
    assert_int_equal(draw(rt, 1, (uint64_t[]){(uint64_t)last}, (uint32_t)c, &memory), VIVA_OK);
    assert_int_equal(viva_tensor_copy(memory, &expected, NULL), VIVA_OK);
    viva_tensor *const a = every(memory, 0, n, 1), *const b = every(memory, n - 1, n, -1);
    viva_tensor *const out = every(memory, start, n, step);
    for (int64_t i = 0; i < n; i++) {
      const float *from = (const float *)(const void *)memory->data;
      const float v = binary ? from[i] + from[n - 1 - i] : -from[i];
      ((float *)(void *)expected->data)[start + i * step] = v;
    }
    if (binary)
      assert_int_equal(viva_tensor_binary_into(VIVA_ADD, a, b, out, NULL), VIVA_OK);
    else
      assert_int_equal(viva_tensor_unary_into(VIVA_NEGATIVE, a, out, NULL), VIVA_OK);
    assert_memory_equal(memory->data, expected->data, (size_t)last * sizeof(float));
    viva_tensor_release(a), viva_tensor_release(b), viva_tensor_release(out);
    viva_tensor_release(memory), viva_tensor_release(expected);
  }
  runtime_release(rt);
}

/* Rows of four F16 that begin at an odd element: 8 bytes at places that are not multiples of 8 (UBSan looks). */
static void rows_that_are_taken_need_no_alignment(void **state) {
  (void)state;
  static const int64_t places[] = {5, 0, 3};
  const viva_random_options o = {.distribution = VIVA_NORMAL, .seed = 9, .deviation = 1};
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_tensor *memory, *rows, *indices, *taken;
  assert_int_equal(create_random(rt, VIVA_F16, 1, (uint64_t[]){25}, &o, &memory, NULL), VIVA_OK);
  viva_tensor *const from_one = every(memory, 1, 24, 1);
  assert_int_equal(viva_tensor_reshape(from_one, 2, (uint64_t[]){6, 4}, &rows, NULL), VIVA_OK);
  assert_int_equal(tensor_create(rt, VIVA_I64, 1, (uint64_t[]){3}, &indices, NULL), VIVA_OK);
  memcpy(indices->data, places, sizeof places);
  assert_int_equal(viva_tensor_take(rows, indices, 0, &taken, NULL), VIVA_OK);
  for (size_t i = 0; i < 3; i++) assert_memory_equal(taken->data + 8 * i, memory->data + 2 + 8 * places[i], 8);
  viva_tensor_release(from_one), viva_tensor_release(rows), viva_tensor_release(memory);
  viva_tensor_release(indices), viva_tensor_release(taken);
  runtime_release(rt);
}

/* -- our own products, whatever library is installed */

static void both_gemms_give_the_same_bits(void **state) {
  (void)state;
  static const viva_dtype types[] = {VIVA_F32, VIVA_F64, VIVA_I64};
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  for (size_t t = 0; t < 3; t++) {
    const viva_dtype type = types[t];
    viva_tensor *wide[2], *x[2], *y[2];
    const uint64_t sizes[2][2] = {{37, 300}, {300, 45}}, result[2] = {37, 45};
    if (!cpu_get()->avx2 || !gemm_block_avx2(type)) skip();
    for (int i = 0; i < 2; i++) {
      assert_int_equal(draw(rt, 2, sizes[i], 8 + (uint64_t)i, &wide[i]), VIVA_OK);
      assert_int_equal(viva_tensor_binary_scalar_into(VIVA_MULTIPLY, wide[i], 100, wide[i], NULL), VIVA_OK);
      assert_int_equal(viva_tensor_astype(wide[i], type, &x[i], NULL), VIVA_OK);
      assert_int_equal(tensor_create(rt, type, 2, result, &y[i], NULL), VIVA_OK);
      viva_tensor_release(wide[i]);
    }
    const gemm_matrix a = {x[0]->data, 300, 1}, b = {x[1]->data, 45, 1};
    const gemm g = {.type = type, .m = 37, .n = 45, .k = 300, .batch = 1, .c_step = 45};
    gemm_block_plain(type)(&g, &a, &b, y[0]->data, 37, 45);
    gemm_block_avx2(type)(&g, &a, &b, y[1]->data, 37, 45);
    assert_memory_equal(y[0]->data, y[1]->data, 37 * 45 * tensor_element_bytes(type));
    viva_tensor *library, *near;
    assert_int_equal(viva_tensor_matmul(x[0], x[1], &library, NULL), VIVA_OK);
    int32_t close = 0; /* another order of 300 terms of some 10,000 */
    assert_int_equal(viva_tensor_all_close(library, y[0], 1e-4, type == VIVA_F32 ? 1 : 1e-6, &close, NULL), VIVA_OK);
    assert_int_equal(viva_tensor_is_close(library, y[0], 0, 0, &near, NULL), VIVA_OK);
    assert_true(close);
    for (int i = 0; i < 2; i++) viva_tensor_release(x[i]), viva_tensor_release(y[i]);
    viva_tensor_release(library), viva_tensor_release(near);
  }
  runtime_release(rt);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(threads_do_not_matter),
      cmocka_unit_test(results_may_overlap_operands),
      cmocka_unit_test(results_may_lie_anyhow_over_operands),
      cmocka_unit_test(rows_that_are_taken_need_no_alignment),
      cmocka_unit_test(both_gemms_give_the_same_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
