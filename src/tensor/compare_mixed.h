/* tensor/compare_mixed.h: I64 compared with U64, which no type holds both. */
#ifndef TENSOR_COMPARE_MIXED_H
#define TENSOR_COMPARE_MIXED_H

#include "tensor/ops.h"

/* The loop for EQUAL … LESS_EQUAL with the operands I64, U64. turned: the caller's operands were U64, I64, and are
 * given the other way round. */
loop_fn compare_mixed(viva_binary op, int turned);

#endif
