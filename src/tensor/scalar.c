/* tensor/scalar.c: numbers as operands. */
#include "tensor/scalar.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "number/number.h"
#include "tensor/cast.h"

static void scalar_place(scalar *s, viva_dtype dtype) {
  s->storage = (tensor_storage){.data = s->value, .bytes = sizeof s->value};
  s->tensor.rank = 0;                    /* its shape is read by nobody */
  atomic_init(&s->tensor.references, 1); /* what an operation retains it also releases: never the last */
  atomic_init(&s->storage.references, 1);
  s->tensor.storage = &s->storage;
  s->tensor.dtype = dtype;
  s->tensor.elements = 1;
  s->tensor.data = s->value;
}

void scalar_of(scalar *s, viva_dtype dtype, double value) {
  scalar_place(s, dtype);
  cast_line(dtype, s->value, 0, VIVA_F64, (const char *)&value, 0, 1);
}

void scalar_computed(scalar *s, viva_dtype dtype, double value) {
  if (dtype != VIVA_F16 && dtype != VIVA_BF16) {
    scalar_of(s, dtype, value);
    return;
  }
  const float odd = cast_odd(value);
  const float rounded = dtype == VIVA_F16 ? f16_to_f32(f16_from_f32(odd)) : bf16_to_f32(bf16_from_f32(odd));
  scalar_place(s, VIVA_F32);
  memcpy(s->value, &rounded, sizeof rounded);
}

/* The smallest value of an integer type, and one more than its largest: both exact. */
static void range_of(viva_dtype dtype, double *low, double *end) {
  const double half = (double)((uint64_t)1 << (tensor_element_bytes(dtype) * 8 - 1));
  *low = dtype_is_signed(dtype) ? -half : 0.0;
  *end = dtype_is_signed(dtype) ? half : 2 * half;
}

static viva_status refuse_value(double value, const viva_tensor *a, viva_dtype dtype, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_LIMIT, "the number %.17g does not fit the type %s of the tensor %s", value,
                   viva_dtype_name(dtype), tensor_shape_text(a, text));
}

viva_status scalar_beside(scalar *s, const viva_tensor *a, double value, viva_dtype *type, viva_error *error) {
  viva_dtype dtype = a->dtype;
  if (dtype == VIVA_BOOL) dtype = VIVA_I64; /* as Python's int */
  if (dtype_is_integer(dtype)) {
    double low, end;
    range_of(dtype, &low, &end);
    if (value != rint(value) || !isfinite(value))
      dtype = VIVA_F64;
    else if (value < low || value >= end)
      return refuse_value(value, a, dtype, error);
  }
  scalar_computed(s, dtype, value);
  s->storage.rt = a->storage->rt;
  *type = dtype;
  return VIVA_OK;
}
