/* tensor/element.c: single elements. */
#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/operand.h"
#include "viva/tensor_ops.h"

static viva_status find(const viva_tensor *a, const int64_t *index, char **at, viva_error *error) {
  char text[128];
  TRY(operand_need(a, "a", error));
  if (a->rank > 0 && !index) return error_set(error, VIVA_E_ARGUMENT, "index is NULL");
  int64_t moved = 0;
  for (uint32_t i = 0; i < a->rank; i++) {
    const int64_t size = (int64_t)a->shape[i], place = index[i] < 0 ? index[i] + size : index[i];
    if (place < 0 || place >= size)
      return error_set(error, VIVA_E_SIZE, "index %lld is outside axis %u of the tensor %s", (long long)index[i],
                       (unsigned)i, tensor_shape_text(a, text));
    moved += place * a->strides[i];
  }
  *at = a->data + moved * (int64_t)tensor_element_bytes(a->dtype);
  return VIVA_OK;
}

static viva_status get(const viva_tensor *a, const int64_t *index, viva_dtype type, void *value, viva_error *error) {
  char *at;
  if (!value) return error_set(error, VIVA_E_ARGUMENT, "value is NULL");
  TRY(find(a, index, &at, error));
  cast_line(type, value, 0, a->dtype, at, 0, 1);
  return VIVA_OK;
}

static viva_status set(viva_tensor *a, const int64_t *index, viva_dtype type, const void *value, viva_error *error) {
  char *at;
  TRY(find(a, index, &at, error));
  cast_line(a->dtype, at, 0, type, value, 0, 1);
  return VIVA_OK;
}

viva_status viva_tensor_get(const viva_tensor *a, const int64_t *index, double *value, viva_error *error) {
  return get(a, index, VIVA_F64, value, error);
}

viva_status viva_tensor_set(viva_tensor *a, const int64_t *index, double value, viva_error *error) {
  return set(a, index, VIVA_F64, &value, error);
}

viva_status viva_tensor_get_i64(const viva_tensor *a, const int64_t *index, int64_t *value, viva_error *error) {
  return get(a, index, VIVA_I64, value, error);
}

viva_status viva_tensor_set_i64(viva_tensor *a, const int64_t *index, int64_t value, viva_error *error) {
  return set(a, index, VIVA_I64, &value, error);
}
