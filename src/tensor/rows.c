/* tensor/rows.c: elements as FP32, whatever their type and strides. */
#include <string.h>

#include "base/error.h"
#include "number/number.h"
#include "tensor/tensor.h"

int tensor_is_real(viva_dtype dtype) {
  return dtype == VIVA_F32 || dtype == VIVA_F16 || dtype == VIVA_BF16 || dtype == VIVA_F64;
}

static float f16_at(const char *at) {
  uint16_t code;
  memcpy(&code, at, sizeof code);
  return f16_to_f32(code);
}

static float bf16_at(const char *at) {
  uint16_t code;
  memcpy(&code, at, sizeof code);
  return bf16_to_f32(code);
}

static float f32_at(const char *at) {
  float value;
  memcpy(&value, at, sizeof value);
  return value;
}

static float f64_at(const char *at) {
  double value;
  memcpy(&value, at, sizeof value);
  return (float)value;
}

/* to[0 … count) = the elements at `at`, step bytes apart. */
static void line_f32(viva_dtype dtype, const char *at, int64_t step, size_t count, float *to) {
  const int dense = step == (int64_t)tensor_element_bytes(dtype);
  if (dense && dtype == VIVA_F32)
    memcpy(to, at, count * sizeof *to);
  else if (dense && dtype == VIVA_F16)
    f16_to_f32_n(at, to, count);
  else if (dense && dtype == VIVA_BF16)
    bf16_to_f32_n(at, to, count);
  else if (dtype == VIVA_F32)
    for (size_t i = 0; i < count; i++) to[i] = f32_at(at + (int64_t)i * step);
  else if (dtype == VIVA_F16)
    for (size_t i = 0; i < count; i++) to[i] = f16_at(at + (int64_t)i * step);
  else if (dtype == VIVA_BF16)
    for (size_t i = 0; i < count; i++) to[i] = bf16_at(at + (int64_t)i * step);
  else
    for (size_t i = 0; i < count; i++) to[i] = f64_at(at + (int64_t)i * step);
}

static const char *at_2d(const viva_tensor *t, uint64_t row, uint64_t col) {
  return t->data +
         ((int64_t)row * t->strides[0] + (int64_t)col * t->strides[1]) * (int64_t)tensor_element_bytes(t->dtype);
}

void tensor_row_f32(const viva_tensor *t, uint64_t row, uint64_t first, uint64_t count, float *to) {
  line_f32(t->dtype, at_2d(t, row, first), t->strides[1] * (int64_t)tensor_element_bytes(t->dtype), (size_t)count, to);
}

/* A tile is read along its columns, which lie together, and written along its rows: a line of cache (16 floats) of a row at
 * once, since rows that are a power of two apart share their place in the cache. */
enum { TILE_ROWS = 64, TILE_COLS = 16 };

static void turn_tile(const viva_tensor *t, uint64_t row, size_t rows, uint64_t col, size_t cols, float *to,
                      size_t stride) {
  float tile[TILE_COLS][TILE_ROWS];
  const int64_t step = t->strides[0] * (int64_t)tensor_element_bytes(t->dtype);
  for (size_t c = 0; c < cols; c++) line_f32(t->dtype, at_2d(t, row, col + c), step, rows, tile[c]);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++) to[r * stride + c] = tile[c][r];
}

void tensor_rows_f32(const viva_tensor *t, uint64_t row, uint64_t rows, float *to, size_t stride) {
  const uint64_t cols = t->shape[1];
  if (t->strides[0] != 1 || t->strides[1] == 1) {
    for (uint64_t r = 0; r < rows; r++) tensor_row_f32(t, row + r, 0, cols, to + r * stride);
    return;
  }
  for (uint64_t r = 0; r < rows; r += TILE_ROWS) {
    const size_t high = (size_t)(rows - r < TILE_ROWS ? rows - r : TILE_ROWS);
    for (uint64_t c = 0; c < cols; c += TILE_COLS) {
      const size_t wide = (size_t)(cols - c < TILE_COLS ? cols - c : TILE_COLS);
      turn_tile(t, row + r, high, c, wide, to + r * stride + c, stride);
    }
  }
}

/* -- any rank */

/* The next index of all axes but the last, counted like a clock; 0 when there is none. at is kept beside it. */
static int next_line(const viva_tensor *t, uint64_t index[VIVA_TENSOR_MAX_RANK], int64_t *at) {
  for (uint32_t i = t->rank - 1; i-- > 0;) {
    *at += t->strides[i];
    if (++index[i] < t->shape[i]) return 1;
    *at -= (int64_t)t->shape[i] * t->strides[i];
    index[i] = 0;
  }
  return 0;
}

viva_status viva_tensor_to_f32(const viva_tensor *tensor, float *values, size_t count, viva_error *error) {
  if (!tensor) return error_set(error, VIVA_E_ARGUMENT, "tensor is NULL");
  if (tensor->storage->device) return device_refuse(tensor, "the tensor", error);
  if (!tensor_is_real(tensor->dtype))
    return error_set(error, VIVA_E_DTYPE, "the tensor holds %s; expected F64, F32, F16 or BF16",
                     viva_dtype_name(tensor->dtype));
  if (count != tensor->elements)
    return error_set(error, VIVA_E_SIZE, "count is %zu; the tensor has %zu elements", count, tensor->elements);
  if (count == 0) return VIVA_OK;
  if (!values) return error_set(error, VIVA_E_ARGUMENT, "values is NULL; expected a place for %zu floats", count);
  const int64_t element = (int64_t)tensor_element_bytes(tensor->dtype);
  const size_t line = tensor->rank ? (size_t)tensor->shape[tensor->rank - 1] : 1;
  const int64_t step = tensor->rank ? tensor->strides[tensor->rank - 1] * element : element;
  uint64_t index[VIVA_TENSOR_MAX_RANK] = {0};
  int64_t at = 0;
  do {
    line_f32(tensor->dtype, tensor->data + at * element, step, line, values);
    values += line;
  } while (tensor->rank > 1 && next_line(tensor, index, &at));
  return VIVA_OK;
}
