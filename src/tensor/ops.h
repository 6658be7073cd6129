/* tensor/ops.h: the table of operations: dtype × operation → result type and kernel.
 *
 * The public enums (viva_unary, viva_binary, viva_reduction) index it; docs/tensor.md's matrix and the tests walk it
 * through viva_unary_type and its kin.
 */
#ifndef TENSOR_OPS_H
#define TENSOR_OPS_H

#include "tensor/dtype.h"
#include "viva/tensor_ops.h"

/* A loop over n elements of one line: p[0] is the result, p[1 …] the operands; step: bytes from one element to the
 * next. The result may be exactly an operand, but not overlap it in any other way. */
typedef void (*loop_fn)(char *const *p, const int64_t *step, size_t n);

/* The loops for one set of instructions. NULL: not defined for that type. The rows of F16 and BF16 are empty: they
 * are computed in F32 (dtype_kernel). */
typedef struct loops {
  loop_fn unary[VIVA_UNARY_COUNT][DTYPE_COMPUTE];
  loop_fn binary[VIVA_BINARY_COUNT][DTYPE_COMPUTE]; /* comparisons write BOOL */
  loop_fn cast[DTYPE_COUNT][DTYPE_COUNT];           /* [to][from] */
  loop_fn where[9];                                 /* by the size of an element; operands: BOOL, a, b */
  loop_fn clip[DTYPE_COMPUTE];                      /* operands: a, the least, the largest: steps 0 */
} loops;

/* The best for this processor; never NULL. */
const loops *loops_get(void);
/* For tests: one by name; NULL when this processor or this build lacks it. */
const loops *loops_plain(void);
const loops *loops_avx2(void);
const loops *loops_avx512(void);

/* How an operation computes with operands of a type. */
typedef struct op_types {
  viva_dtype compute; /* operands are converted to it; VIVA_DTYPE_NONE: not defined */
  viva_dtype result;
} op_types;

op_types unary_types(viva_unary op, viva_dtype a);
op_types binary_types(viva_binary op, viva_dtype a, viva_dtype b);

#endif
