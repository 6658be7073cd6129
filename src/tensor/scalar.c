/* tensor/scalar.c: numbers as operands. */
#include "tensor/scalar.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
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

/* The smallest value of an integer type, and one more than its largest: both exact. */
static void range_of(viva_dtype dtype, double *low, double *end) {
  const int bits = (int)tensor_element_bytes(dtype) * 8;
  *low = dtype_is_signed(dtype) ? -ldexp(1.0, bits - 1) : 0.0;
  *end = ldexp(1.0, dtype_is_signed(dtype) ? bits - 1 : bits);
}

viva_status scalar_beside(scalar *s, const viva_tensor *a, double value, viva_error *error) {
  viva_dtype dtype = a->dtype;
  if (dtype == VIVA_BOOL) dtype = VIVA_I64; /* as Python's int */
  if (dtype_is_integer(dtype)) {
    double low, end;
    range_of(dtype, &low, &end);
    if (value != rint(value) || !isfinite(value))
      dtype = VIVA_F64;
    else if (value < low || value >= end)
      return error_set(error, VIVA_E_LIMIT, "the number %.17g does not fit the tensor's type %s", value,
                       viva_dtype_name(dtype));
  }
  scalar_of(s, dtype, value);
  s->storage.rt = a->storage->rt;
  return VIVA_OK;
}
