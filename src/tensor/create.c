/* tensor/create.c: constant tensors, sequences, the identity. */
#include "tensor/create.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/few.h"
#include "viva/tensor_ops.h"

viva_status create_full(runtime *rt, viva_dtype dtype, uint32_t rank, const uint64_t *shape, double value,
                        viva_tensor **out, viva_error *error) {
  TRY(tensor_empty(rt, dtype, rank, shape, out, error));
  const viva_status status = viva_tensor_fill(*out, value, error);
  if (status != VIVA_OK) viva_tensor_release(*out), *out = NULL;
  return status;
}

viva_status create_from_data(runtime *rt, const void *data, size_t bytes, viva_dtype dtype, uint32_t rank,
                             const uint64_t *shape, viva_tensor **out, viva_error *error) {
  TRY(tensor_empty(rt, dtype, rank, shape, out, error));
  const size_t need = (*out)->elements * tensor_element_bytes(dtype);
  if (bytes == need && (data || need == 0)) {
    if (need > 0) memcpy((*out)->data, data, need);
    return VIVA_OK;
  }
  char text[128];
  const viva_status status = error_set(error, VIVA_E_SIZE, "data has %zu bytes; a tensor %s of %s needs %zu",
                                       data ? bytes : 0, tensor_shape_text(*out, text), viva_dtype_name(dtype), need);
  viva_tensor_release(*out);
  *out = NULL;
  return status;
}

#define MAX_COUNT 9007199254740992.0 /* 2^53: beyond, counting in doubles skips numbers */

viva_status create_range(runtime *rt, viva_dtype dtype, double start, double stop, double step, goal *g,
                         viva_error *error) {
  const double steps = (stop - start) / step;
  /* a step that is infinite, or too large for the quotient, still has its start */
  const double count = steps == 0 && stop != start && !signbit(steps) ? 1 : ceil(steps);
  if (step == 0 || !isfinite(count))
    return error_set(error, VIVA_E_ARGUMENT, "arange from %g to %g in steps of %g does not end", start, stop, step);
  if (count > MAX_COUNT) return error_set(error, VIVA_E_LIMIT, "arange would have %g elements", count);
  const uint64_t shape[1] = {count > 0 ? (uint64_t)count : 0};
  viva_tensor *wide = NULL;
  few_room few;
  if (shape[0] > FEW) TRY(tensor_empty(rt, VIVA_F64, 1, shape, &wide, error));
  double *values = (double *)(void *)(wide ? wide->data : few.bytes);
  for (uint64_t i = 0; i < shape[0]; i++) values[i] = i == 0 ? start : start + (double)i * step;
  if (wide) return goal_give(g, wide, dtype, error);
  return few_give(g, rt, dtype, 1, shape, VIVA_F64, values, error);
}

viva_status create_spaced(runtime *rt, viva_dtype dtype, double start, double stop, uint64_t count, double base,
                          goal *g, viva_error *error) {
  viva_tensor *wide = NULL;
  few_room few;
  const uint64_t shape[1] = {count};
  if (count > FEW) TRY(tensor_empty(rt, VIVA_F64, 1, shape, &wide, error));
  double *values = (double *)(void *)(wide ? wide->data : few.bytes);
  const double step = count > 1 ? (stop - start) / (double)(count - 1) : 0;
  for (uint64_t i = 0; i < count; i++) values[i] = (double)i * step + start;
  if (count > 1) values[count - 1] = stop;
  const int whole = base == 0 && dtype_is_integer(dtype); /* NumPy rounds these down, and powers towards 0 */
  for (uint64_t i = 0; whole && i < count; i++) values[i] = floor(values[i]);
  for (uint64_t i = 0; base != 0 && i < count; i++) values[i] = pow(base, values[i]);
  if (wide) return goal_give(g, wide, dtype, error);
  return few_give(g, rt, dtype, 1, shape, VIVA_F64, values, error);
}

viva_status create_arange(runtime *rt, viva_dtype dtype, double start, double stop, double step, viva_tensor **out,
                          viva_error *error) {
  goal g;
  g.fresh = out, *out = NULL;
  return create_range(rt, dtype, start, stop, step, &g, error);
}

viva_status create_linspace(runtime *rt, viva_dtype dtype, double start, double stop, uint64_t count, viva_tensor **out,
                            viva_error *error) {
  goal g;
  g.fresh = out, *out = NULL;
  return create_spaced(rt, dtype, start, stop, count, 0, &g, error);
}

static viva_status refuse_base(double base, viva_error *error) {
  return error_set(error, VIVA_E_ARGUMENT, "base is %g; expected a number above 0", base);
}

viva_status create_logspace(runtime *rt, viva_dtype dtype, double start, double stop, uint64_t count, double base,
                            viva_tensor **out, viva_error *error) {
  goal g;
  g.fresh = out, *out = NULL;
  return base > 0 ? create_spaced(rt, dtype, start, stop, count, base, &g, error) : refuse_base(base, error);
}

viva_status create_logspace_to(runtime *rt, viva_dtype dtype, double start, double stop, uint64_t count, double base,
                               goal *g, viva_error *error) {
  return base > 0 ? create_spaced(rt, dtype, start, stop, count, base, g, error) : refuse_base(base, error);
}

viva_status create_eye(runtime *rt, viva_dtype dtype, uint64_t rows, uint64_t columns, int64_t k, viva_tensor **out,
                       viva_error *error) {
  const uint64_t shape[2] = {rows, columns};
  const double one = 1;
  const uint64_t down = k < 0 ? 0 - (uint64_t)k : 0, right = k > 0 ? (uint64_t)k : 0;
  TRY(tensor_create(rt, dtype, 2, shape, out, error));
  if (down >= rows || right >= columns) return VIVA_OK;
  const uint64_t high = rows - down, wide = columns - right;
  const int64_t element = (int64_t)tensor_element_bytes(dtype);
  char *first = (*out)->data + (int64_t)(down * columns + right) * element;
  cast_line(dtype, first, ((int64_t)columns + 1) * element, VIVA_F64, (const char *)&one, 0, high < wide ? high : wide);
  return VIVA_OK;
}
