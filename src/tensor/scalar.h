/* tensor/scalar.h: a number as a tensor without axes, on the stack. */
#ifndef TENSOR_SCALAR_H
#define TENSOR_SCALAR_H

#include "tensor/operand.h"

typedef struct scalar {
  viva_tensor tensor; /* an operand while the struct stays where it is; not to be kept */
  tensor_storage storage;
  _Alignas(8) char value[8];
} scalar;

/* value converted to a type as viva_tensor_astype does. */
void scalar_of(scalar *s, viva_dtype dtype, double value);

/* The same in the type that is computed in: what F16 and BF16 make of a value, as F32. */
void scalar_computed(scalar *s, viva_dtype dtype, double value);

/* A Python number beside a: see viva_tensor_binary_scalar; as scalar_computed has it. type: what it counts as. E_LIMIT. */
viva_status scalar_beside(scalar *s, const viva_tensor *a, double value, viva_dtype *type, viva_error *error);

#endif
