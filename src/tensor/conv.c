/* tensor/conv.c: conv2d as products of matrices.
 *
 * The elements under the windows of some rows of the result become the columns of a matrix [channels · kernel][places];
 * the kernels of a group, as [outputs][channels · kernel], times this matrix are these rows for all outputs. A band of
 * rows is as large as memory of BAND_BYTES allows.
 */
#include "tensor/conv.h"

#include <string.h>

#include "base/ck.h"
#include "base/options.h"
#include "base/pool.h"
#include "tensor/few.h"
#include "tensor/gemm.h"
#include "tensor/walk.h"
#include "viva/tensor_into.h"

enum { BAND_BYTES = 1 << 22 };

typedef struct band {
  const conv *c;
  const char *planes; /* of this image and group */
  uint64_t first, rows;
} band;

/* Elements of a line of the plane under column j of the kernel, for all places of a row of the result; 0 in the padding. */
#define FILL_LINE(name, T)                                                                                             \
  static void name(const window *w, uint64_t j, const char *line, char *to) {                                          \
    const uint64_t wide = w->a.shape[3];                                                                               \
    int64_t at = window_place(w, 1, 0, j);                                                                             \
    for (uint64_t x = 0; x < w->out[1]; x++, at += (int64_t)w->stride[1])                                              \
      ((T *)(void *)to)[x] = (uint64_t)at < wide ? ((const T *)(const void *)line)[at] : 0;                            \
  }
FILL_LINE(fill_4, uint32_t)
FILL_LINE(fill_8, uint64_t)

/* One row of the matrix: one channel under place (i, j) of the kernel. */
static void fill_row(const conv *c, const band *b, uint64_t channel, uint64_t i, uint64_t j, char *to) {
  const window *w = &c->w;
  const uint64_t high = w->a.shape[2], wide = w->a.shape[3];
  const char *plane = b->planes + channel * high * wide * c->element;
  for (uint64_t y = b->first; y < b->first + b->rows; y++, to += w->out[1] * c->element) {
    const int64_t from = window_place(w, 0, y, i);
    if (from < 0 || from >= (int64_t)high)
      memset(to, 0, w->out[1] * c->element);
    else
      (c->element == 4 ? fill_4 : fill_8)(w, j, plane + (uint64_t)from * wide * c->element, to);
  }
}

static void fill_rows(void *arg, size_t begin, size_t end, size_t thread) {
  const band *b = arg;
  const uint64_t *kernel = b->c->w.kernel;
  const size_t length = (size_t)(b->rows * b->c->w.out[1]) * b->c->element;
  uint64_t channel = 0, i = 0, j = 0; /* of row `begin` */
  (void)thread;
  if (begin > 0) channel = begin / (kernel[0] * kernel[1]), i = begin / kernel[1] % kernel[0], j = begin % kernel[1];
  for (size_t r = begin; r < end; r++) {
    fill_row(b->c, b, channel, i, j, b->c->columns + r * length);
    if (++j < kernel[1]) continue;
    j = 0;
    if (++i < kernel[0]) continue;
    i = 0, channel++;
  }
}

static void run_band(const conv *c, uint64_t image, uint64_t group, uint64_t first, uint64_t rows, pool *threads) {
  const window *w = &c->w;
  const uint64_t depth = c->channels * w->kernel[0] * w->kernel[1], places = w->out[0] * w->out[1];
  const size_t n = (size_t)(rows * w->out[1]);
  band b = {.c = c, .first = first, .rows = rows};
  b.planes = c->a + (image * c->groups + group) * c->channels * w->a.shape[2] * w->a.shape[3] * c->element;
  if (depth * n < PARALLEL_ELEMENTS)
    fill_rows(&b, 0, (size_t)depth, 0);
  else
    pool_for(threads, (size_t)depth, 1 + PARALLEL_ELEMENTS / 4 / (n + 1), fill_rows, &b);
  char *to = c->to + ((image * c->groups + group) * c->outputs * places + first * w->out[1]) * c->element;
  const gemm_matrix kernels = {c->kernels + group * c->outputs * depth * c->element, (int64_t)depth, 1};
  const gemm_matrix columns = {c->columns, (int64_t)n, 1};
  const gemm g = {.type = c->type,
                  .m = (size_t)c->outputs,
                  .n = n,
                  .k = (size_t)depth,
                  .batch = 1,
                  .a = &kernels,
                  .b = &columns,
                  .c = &to,
                  .c_step = (int64_t)places};
  gemm_run(&g, threads);
}

static viva_status run(conv *c, viva_tensor *to, viva_error *error) {
  runtime *rt = to->storage->rt;
  uint64_t line, bytes;
  char text[128];
  if (to->elements == 0) return VIVA_OK;
  const uint64_t depth = c->channels * c->w.kernel[0] * c->w.kernel[1];
  if (ck_mul(depth, c->w.out[1], &line) || ck_mul(line, c->element, &line) || line > PTRDIFF_MAX)
    return error_set(error, VIVA_E_LIMIT, "conv2d: the windows of one row of the result %s overflow",
                     tensor_shape_text(to, text));
  c->rows = line > 0 && line < BAND_BYTES ? BAND_BYTES / line : 1;
  if (c->rows > c->w.out[0]) c->rows = c->w.out[0];
  if (ck_mul(c->rows, line, &bytes))
    return error_set(error, VIVA_E_LIMIT, "conv2d: the windows of the result %s overflow", tensor_shape_text(to, text));
  c->columns = mem_alloc(&rt->mem, (size_t)bytes);
  if (!c->columns)
    return error_set(error, VIVA_E_MEMORY, "no memory for %llu bytes of windows", (unsigned long long)bytes);
  c->to = to->data;
  for (uint64_t image = 0; image < c->w.a.shape[0]; image++)
    for (uint64_t group = 0; group < c->groups; group++)
      for (uint64_t y = 0; y < c->w.out[0]; y += c->rows)
        run_band(c, image, group, y, c->w.out[0] - y < c->rows ? c->w.out[0] - y : c->rows, rt->pool);
  mem_free(&rt->mem, c->columns);
  return VIVA_OK;
}

/* Kernels of 2 and 3 axes have one output (and one channel). */
static viva_status take_kernels(const viva_tensor *a, const viva_tensor *kernels, const viva_window_options *o, conv *c,
                                viva_error *error) {
  char first[128], second[128];
  const uint32_t r = kernels->rank;
  if (r < 2 || r > 4 || (r == 2) != (a->rank == 2) || (r == 3 && a->rank != 3))
    return error_set(error, VIVA_E_SIZE, "conv2d: kernels %s do not go with %s", tensor_shape_text(kernels, first),
                     tensor_shape_text(a, second));
  const uint64_t outputs = r == 4 ? kernels->shape[0] : 1, channels = r >= 3 ? kernels->shape[r - 3] : 1;
  c->groups = o->groups, c->channels = channels;
  c->w.kernel[0] = kernels->shape[r - 2], c->w.kernel[1] = kernels->shape[r - 1];
  if (c->groups != 1 && (c->groups == 0 || outputs % c->groups != 0))
    return error_set(error, VIVA_E_SIZE, "conv2d: the outputs of kernels %s are no multiple of %llu groups",
                     tensor_shape_text(kernels, first), (unsigned long long)c->groups);
  c->outputs = c->groups == 1 ? outputs : outputs / c->groups;
  TRY(window_make(a, o, &c->w, error));
  uint64_t all;
  if (ck_mul(channels, c->groups, &all) || all != c->w.a.shape[1])
    return error_set(error, VIVA_E_SIZE, "conv2d: kernels %s in %llu groups do not go with the channels of %s",
                     tensor_shape_text(kernels, first), (unsigned long long)c->groups, tensor_shape_text(a, second));
  return VIVA_OK;
}

static viva_status check_bias(const viva_tensor *bias, uint64_t outputs, viva_error *error) {
  char text[128];
  if (bias->rank == 1 && bias->shape[0] == outputs) return VIVA_OK;
  return error_set(error, VIVA_E_SIZE, "bias has the shape %s; expected one axis of %llu elements",
                   tensor_shape_text(bias, text), (unsigned long long)outputs);
}

/* to += bias, both of one type, along the axis of outputs. */
static viva_status add_bias(viva_tensor *to, const viva_tensor *bias, viva_error *error) {
  viva_tensor column = *bias;
  if (to->rank >= 3) {
    column.rank = 3;
    column.shape[1] = column.shape[2] = 1;
    column.strides[1] = column.strides[2] = 1;
  }
  return viva_tensor_binary_into(VIVA_ADD, to, &column, to, error);
}

/* The shape that the caller sees: a plane and one kernel give a plane, without an axis of outputs. */
static uint32_t result_shape(const viva_tensor *a, const viva_tensor *kernels, const conv *c, uint64_t shape[4]) {
  const uint32_t rank = window_shape(&c->w, c->outputs * c->groups, shape);
  if (a->rank != 3 || kernels->rank != 3) return rank;
  shape[0] = shape[1], shape[1] = shape[2];
  return 2;
}

/* -- few elements: each result by itself */

static int are_few(const viva_tensor *a, const viva_tensor *kernels, const viva_tensor *bias, const conv *c) {
  const window *w = &c->w;
  if (!few_fits(a) || !few_fits(kernels) || (bias && !few_fits(bias))) return 0;
  if (w->out[0] > FEW || w->out[1] > FEW) return 0;
  return w->a.shape[0] * c->outputs * c->groups * w->out[0] * w->out[1] <= FEW;
}

/* Rows of the planes of one group under one kernel; sums in the order of run_band's. */
#define FEW_PLANE(name, T)                                                                                             \
  static void name(const conv *c, const void *planes, const void *kernel, const void *bias, void *out) {               \
    const window *w = &c->w;                                                                                           \
    const uint64_t high = w->a.shape[2], wide = w->a.shape[3];                                                         \
    T *to = out;                                                                                                       \
    for (uint64_t y = 0; y < w->out[0]; y++)                                                                           \
      for (uint64_t x = 0; x < w->out[1]; x++) {                                                                       \
        const T *plane = planes, *k = kernel;                                                                          \
        T sum = 0;                                                                                                     \
        for (uint64_t channel = 0; channel < c->channels; channel++, plane += high * wide)                             \
          for (uint64_t i = 0; i < w->kernel[0]; i++) {                                                                \
            const uint64_t row = (uint64_t)window_place(w, 0, y, i);                                                   \
            for (uint64_t j = 0; j < w->kernel[1]; j++, k++) {                                                         \
              const uint64_t col = (uint64_t)window_place(w, 1, x, j);                                                 \
              sum += *k * (row < high && col < wide ? plane[row * wide + col] : 0);                                    \
            }                                                                                                          \
          }                                                                                                            \
        *to++ = bias ? sum + *(const T *)bias : sum;                                                                   \
      }                                                                                                                \
  }
FEW_PLANE(few_f64, double)
FEW_PLANE(few_f32, float)
FEW_PLANE(few_u64, uint64_t) /* wraps: also I64 */

void conv_few(const conv *c, const void *planes, const void *kernel, const void *bias, void *to) {
  (c->type == VIVA_F64 ? few_f64 : c->type == VIVA_F32 ? few_f32 : few_u64)(c, planes, kernel, bias, to);
}

static viva_status run_few(const conv *c, const viva_tensor *a, const viva_tensor *kernels, const viva_tensor *bias,
                           viva_dtype result, goal *g, viva_error *error) {
  const window *w = &c->w;
  const size_t size = c->element, plane = (size_t)(w->a.shape[2] * w->a.shape[3]) * size;
  const size_t kernel = (size_t)(c->channels * w->kernel[0] * w->kernel[1]) * size;
  few_room room[3], values;
  uint64_t shape[4];
  const char *from = few_hold(a, c->type, &room[0]), *weights = few_hold(kernels, c->type, &room[1]);
  const char *each = bias ? few_hold(bias, c->type, &room[2]) : NULL;
  char *to = values.bytes;
  for (uint64_t image = 0; image < w->a.shape[0]; image++)
    for (uint64_t group = 0; group < c->groups; group++, from += c->channels * plane)
      for (uint64_t o = 0; o < c->outputs; o++, to += w->out[0] * w->out[1] * size) {
        const uint64_t number = group * c->outputs + o;
        conv_few(c, from, weights + number * kernel, each ? each + number * size : NULL, to);
      }
  const uint32_t rank = result_shape(a, kernels, c, shape);
  return few_give(g, a->storage->rt, result, rank, shape, c->type, values.bytes, error);
}

/* -- */

static viva_status conv2d(const viva_tensor *a, const viva_tensor *kernels, const viva_tensor *bias,
                          const viva_window_options *options, goal *g, viva_error *error) {
  viva_window_options o = viva_window_options_default();
  conv c; /* not cleared */
  uint64_t shape[4];
  viva_tensor *held[3] = {NULL}, *wide = NULL;
  c.w.name = "conv2d";
  TRY(operand_need(a, "a", error));
  TRY(operand_need(kernels, "kernels", error));
  if (bias) TRY(operand_need(bias, "bias", error));
  if (options) TRY(options_read(&o, options, "viva_window_options", error));
  for (int i = 0; i < 2; i++) o.stride[i] = o.stride[i] == 0 ? 1 : o.stride[i];
  viva_dtype result = dtype_promote(a->dtype, kernels->dtype);
  if (result == VIVA_DTYPE_NONE) return operand_refuse("conv2d", a->dtype, kernels->dtype, error);
  if (bias) result = dtype_promote(result, bias->dtype);
  if (result == VIVA_DTYPE_NONE || result == VIVA_BOOL) return operand_refuse("conv2d", a->dtype, result, error);
  TRY(take_kernels(a, kernels, &o, &c, error));
  c.type = dtype_product(result);
  c.element = tensor_element_bytes(c.type);
  const uint64_t outputs = c.outputs * c.groups;
  if (bias) TRY(check_bias(bias, outputs, error));
  if (are_few(a, kernels, bias, &c)) return run_few(&c, a, kernels, bias, result, g, error);
  const uint32_t rank = window_shape(&c.w, outputs, shape);
  viva_status status = operand_dense(a, c.type, &held[0], error);
  if (status == VIVA_OK) status = operand_dense(kernels, c.type, &held[1], error);
  if (status == VIVA_OK && bias) status = operand_dense(bias, c.type, &held[2], error);
  if (status == VIVA_OK) status = tensor_empty(a->storage->rt, c.type, rank, shape, &wide, error);
  if (status == VIVA_OK) {
    c.a = held[0]->data, c.kernels = held[1]->data;
    status = run(&c, wide, error);
  }
  if (status == VIVA_OK && bias) status = add_bias(wide, held[2], error);
  for (int i = 0; i < 3; i++) viva_tensor_release(held[i]);
  if (status != VIVA_OK) {
    viva_tensor_release(wide);
    return status;
  }
  const uint32_t seen = result_shape(a, kernels, &c, shape);
  if (seen != wide->rank) { /* nobody else knows it: the same elements in fewer axes */
    wide->rank = seen;
    for (uint32_t i = 0; i < seen; i++) wide->shape[i] = wide->shape[i + 1], wide->strides[i] = wide->strides[i + 1];
  }
  return goal_give(g, wide, result, error);
}
GOAL_CALLS(conv2d,
           LIST(const viva_tensor *a, const viva_tensor *kernels, const viva_tensor *bias,
                const viva_window_options *options),
           a, kernels, bias, options)
