/* tensor/window.c: the checks of conv2d and pooling, and pooling itself. */
#include "tensor/window.h"

#include <math.h>
#include <string.h>

#include "base/ck.h"
#include "base/options.h"
#include "base/pool.h"
#include "tensor/few.h"
#include "tensor/walk.h"
#include "viva/tensor_into.h"

viva_window_options viva_window_options_default(void) {
  return (viva_window_options){.size = sizeof(viva_window_options), .stride = {0, 0}, .dilation = {1, 1}, .groups = 1};
}

/* a: the operand, for messages. */
static viva_status place(window *w, const viva_tensor *a, int axis, viva_error *error) {
  uint64_t padded, reach;
  char text[128];
  const uint32_t number = a->rank - 2 + (uint32_t)axis;
  const uint64_t size = w->a.shape[2 + axis];
  const int overflow = ck_mul(w->padding[axis], 2, &padded) || ck_add(padded, size, &padded) ||
                       ck_mul(w->dilation[axis], w->kernel[axis] - 1, &reach) || ck_add(reach, 1, &reach) ||
                       padded > INT64_MAX / 2 || w->stride[axis] > INT64_MAX / 2;
  if (overflow)
    return error_set(error, VIVA_E_SIZE, "%s: padding, stride or dilation of axis %u of %s is too large", w->name,
                     number, tensor_shape_text(a, text));
  if (reach > padded)
    return error_set(error, VIVA_E_SIZE, "%s: a window of %llu elements does not fit axis %u of %s with its padding",
                     w->name, (unsigned long long)reach, number, tensor_shape_text(a, text));
  w->out[axis] = (w->stride[axis] == 1 ? padded - reach : (padded - reach) / w->stride[axis]) + 1;
  return VIVA_OK;
}

viva_status window_make(const viva_tensor *a, const viva_window_options *o, window *w, viva_error *error) {
  char text[128];
  if (!dtype_is_compute(a->dtype)) return operand_refuse(w->name, a->dtype, VIVA_DTYPE_NONE, error);
  if (a->rank < 2 || a->rank > 4)
    return error_set(error, VIVA_E_SIZE, "%s takes 2 to 4 axes; the tensor is %s", w->name, tensor_shape_text(a, text));
  w->a = *a;
  w->rank = a->rank;
  w->a.rank = 4;
  for (uint32_t i = 0; i < 4; i++) {
    const int absent = i < 4 - a->rank;
    w->a.shape[i] = absent ? 1 : a->shape[i - (4 - a->rank)];
    w->a.strides[i] = absent ? 1 : a->strides[i - (4 - a->rank)];
  }
  for (int axis = 0; axis < 2; axis++) {
    w->stride[axis] = o->stride[axis], w->padding[axis] = o->padding[axis], w->dilation[axis] = o->dilation[axis];
    if (w->kernel[axis] == 0 || w->stride[axis] == 0 || w->dilation[axis] == 0)
      return error_set(
          error, VIVA_E_ARGUMENT,
          "%s: kernel, stride and dilation must not be 0; along axis %u of %s they are %llu, %llu and %llu", w->name,
          (unsigned)(a->rank - 2 + (uint32_t)axis), tensor_shape_text(a, text), (unsigned long long)w->kernel[axis],
          (unsigned long long)w->stride[axis], (unsigned long long)w->dilation[axis]);
    TRY(place(w, a, axis, error));
  }
  return VIVA_OK;
}

uint32_t window_shape(const window *w, uint64_t channels, uint64_t shape[4]) {
  const uint64_t all[4] = {w->a.shape[0], channels, w->out[0], w->out[1]};
  for (uint32_t i = 0; i < w->rank; i++) shape[i] = all[4 - w->rank + i];
  return w->rank;
}

/* -- pooling, in F64 (integers' extremes: in I64 or U64) */

typedef struct pooling {
  const window *w;
  viva_pooling op;
  viva_dtype type;  /* of the dense planes: F64, F32, I64 or U64 */
  const char *from; /* [planes][height][width] */
  char *to;         /* [planes][rows][columns] */
} pooling;

#define POOL(name, T, is_nan)                                                                                          \
  static T name(const pooling *p, const T *plane, uint64_t row, uint64_t col) {                                        \
    const window *w = p->w;                                                                                            \
    const int64_t high = (int64_t)w->a.shape[2], wide = (int64_t)w->a.shape[3];                                        \
    T best = 0;                                                                                                        \
    double sum = 0;                                                                                                    \
    uint64_t count = 0;                                                                                                \
    for (uint64_t i = 0; i < w->kernel[0]; i++) {                                                                      \
      const int64_t y = window_place(w, 0, row, i);                                                                    \
      if (y < 0 || y >= high) continue;                                                                                \
      for (uint64_t j = 0; j < w->kernel[1]; j++) {                                                                    \
        const int64_t x = window_place(w, 1, col, j);                                                                  \
        if (x < 0 || x >= wide) continue;                                                                              \
        const T value = plane[y * wide + x];                                                                           \
        if (count++ == 0 || value > best || (is_nan)) best = value;                                                    \
        sum += (double)value;                                                                                          \
      }                                                                                                                \
    }                                                                                                                  \
    return p->op == VIVA_MAX_POOL ? best : (T)(sum / (double)count);                                                   \
  }
POOL(pool_f64, double, value != value)
POOL(pool_f32, float, value != value)
POOL(pool_i64, int64_t, 0)
POOL(pool_u64, uint64_t, 0)

#define POOL_PLANE(T, f)                                                                                               \
  for (uint64_t row = 0, k = 0; row < p->w->out[0]; row++)                                                             \
    for (uint64_t col = 0; col < p->w->out[1]; col++, k++)                                                             \
      ((T *)(void *)to)[k] = f(p, (const T *)(const void *)from, row, col);

static void pool_planes(void *arg, size_t begin, size_t end, size_t thread) {
  const pooling *p = arg;
  const size_t in = (size_t)(p->w->a.shape[2] * p->w->a.shape[3]), out = (size_t)(p->w->out[0] * p->w->out[1]);
  const size_t element = tensor_element_bytes(p->type);
  (void)thread;
  for (size_t i = begin; i < end; i++) {
    const char *from = p->from + i * in * element;
    char *to = p->to + i * out * element;
    switch (p->type) {
    case VIVA_F64: POOL_PLANE(double, pool_f64) break;
    case VIVA_F32: POOL_PLANE(float, pool_f32) break;
    case VIVA_I64: POOL_PLANE(int64_t, pool_i64) break;
    default: POOL_PLANE(uint64_t, pool_u64)
    }
  }
}

/* What the options leave open: the whole plane, strides like the kernel. */
static viva_status complete(const viva_tensor *a, viva_window_options *o, window *w, viva_error *error) {
  const int whole = o->kernel[0] == 0 && o->kernel[1] == 0 && a->rank >= 2;
  char text[128];
  if (o->groups != 1) return error_set(error, VIVA_E_ARGUMENT, "%s: groups are of conv2d; expected 1", w->name);
  for (uint32_t i = 0; i < 2; i++) {
    w->kernel[i] = whole ? a->shape[a->rank - 2 + i] : o->kernel[i];
    if (whole && w->kernel[i] == 0) return operand_nothing(w->name, a, a->rank - 2 + i, error);
    if (o->stride[i] == 0) o->stride[i] = w->kernel[i];
    if (o->padding[i] > w->kernel[i] / 2)
      return error_set(error, VIVA_E_ARGUMENT,
                       "%s: padding of axis %d of %s is %llu, more than half the kernel of %llu", w->name, (int)i - 2,
                       tensor_shape_text(a, text), (unsigned long long)o->padding[i], (unsigned long long)w->kernel[i]);
  }
  return VIVA_OK;
}

static void pool_all(pooling *p, size_t results, pool *threads) {
  const window *w = p->w;
  const size_t work = (size_t)(w->out[0] * w->out[1] * w->kernel[0] * w->kernel[1]);
  if (results == 0) return;
  pool_for(results >= PARALLEL_ELEMENTS / 4 ? threads : NULL, (size_t)(w->a.shape[0] * w->a.shape[1]),
           1 + PARALLEL_ELEMENTS / (work + 1), pool_planes, p);
}

static viva_status pool2d(viva_pooling op, const viva_tensor *a, const viva_window_options *options, goal *g,
                          viva_error *error) {
  viva_window_options o = viva_window_options_default();
  window w; /* not cleared */
  uint64_t shape[4], results = 1;
  viva_tensor *dense = NULL, *wide = NULL;
  w.name = op == VIVA_MAX_POOL ? "max_pool2d" : "avg_pool2d";
  TRY(operand_need(a, "a", error));
  if (options) TRY(options_read(&o, options, "viva_window_options", error));
  if (op != VIVA_MAX_POOL && op != VIVA_AVG_POOL)
    return error_set(error, VIVA_E_ARGUMENT, "there is no pooling %d", (int)op);
  TRY(complete(a, &o, &w, error));
  TRY(window_make(a, &o, &w, error));
  const int real = dtype_is_float(a->dtype), average = op == VIVA_AVG_POOL;
  const viva_dtype result = average && !real ? VIVA_F64 : a->dtype;
  const viva_dtype whole = dtype_is_signed(a->dtype) ? VIVA_I64 : VIVA_U64;
  const viva_dtype type = real || average ? dtype_kernel(result) : whole;
  const uint32_t rank = window_shape(&w, w.a.shape[1], shape);
  pooling p = {.w = &w, .op = op, .type = type};
  for (uint32_t i = 0; i < rank; i++) results *= few_fits(a) && shape[i] <= FEW ? shape[i] : FEW + 1;
  if (results <= FEW) {
    few_room room, values;
    p.from = few_hold(a, type, &room), p.to = values.bytes;
    pool_all(&p, (size_t)results, NULL);
    return few_give(g, a->storage->rt, result, rank, shape, type, values.bytes, error);
  }
  viva_status status = operand_dense(a, type, &dense, error);
  if (status == VIVA_OK) status = tensor_empty(a->storage->rt, type, rank, shape, &wide, error);
  if (status == VIVA_OK) {
    p.from = dense->data, p.to = wide->data;
    pool_all(&p, wide->elements, a->storage->rt->pool);
  }
  viva_tensor_release(dense);
  return status == VIVA_OK ? goal_give(g, wide, result, error) : status;
}
GOAL_CALLS(pool2d, LIST(viva_pooling op, const viva_tensor *a, const viva_window_options *options), op, a, options)
