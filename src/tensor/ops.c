/* tensor/ops.c: the table of operations by type. */
#include "tensor/ops.h"

#include <stddef.h>

#include "base/cpu.h"

typedef enum rule {
  SAME,     /* of the operand's type */
  NUMBERS,  /* the same; not for BOOL */
  WIDE,     /* the same; BOOL as I8 */
  FLOATS,   /* integers as a float type by their size */
  DIVISION, /* integers as F64 */
  TEST      /* of the operand's type, the result is BOOL */
} rule;

static const struct {
  const char *name;
  rule rule;
} unary[VIVA_UNARY_COUNT] = {[VIVA_NEGATIVE] = {"negative", NUMBERS},
                             [VIVA_ABSOLUTE] = {"absolute", SAME},
                             [VIVA_SIGN] = {"sign", NUMBERS},
                             [VIVA_SQUARE] = {"square", WIDE},
                             [VIVA_SQRT] = {"sqrt", FLOATS},
                             [VIVA_RECIPROCAL] = {"reciprocal", WIDE},
                             [VIVA_EXP] = {"exp", FLOATS},
                             [VIVA_EXPM1] = {"expm1", FLOATS},
                             [VIVA_LOG] = {"log", FLOATS},
                             [VIVA_LOG1P] = {"log1p", FLOATS},
                             [VIVA_LOG2] = {"log2", FLOATS},
                             [VIVA_LOG10] = {"log10", FLOATS},
                             [VIVA_SIN] = {"sin", FLOATS},
                             [VIVA_COS] = {"cos", FLOATS},
                             [VIVA_TANH] = {"tanh", FLOATS},
                             [VIVA_FLOOR] = {"floor", SAME},
                             [VIVA_CEIL] = {"ceil", SAME},
                             [VIVA_TRUNC] = {"trunc", SAME},
                             [VIVA_RINT] = {"rint", FLOATS},
                             [VIVA_ISNAN] = {"isnan", TEST},
                             [VIVA_ISINF] = {"isinf", TEST},
                             [VIVA_ISFINITE] = {"isfinite", TEST},
                             [VIVA_LOGICAL_NOT] = {"logical_not", TEST},
                             [VIVA_RELU] = {"relu", NUMBERS},
                             [VIVA_SIGMOID] = {"sigmoid", FLOATS},
                             [VIVA_SILU] = {"silu", FLOATS},
                             [VIVA_GELU] = {"gelu", FLOATS}};

static const struct {
  const char *name;
  rule rule;
} binary[VIVA_BINARY_COUNT] = {
    [VIVA_ADD] = {"add", SAME},
    [VIVA_SUBTRACT] = {"subtract", NUMBERS},
    [VIVA_MULTIPLY] = {"multiply", SAME},
    [VIVA_DIVIDE] = {"divide", DIVISION},
    [VIVA_FLOOR_DIVIDE] = {"floor_divide", WIDE},
    [VIVA_REMAINDER] = {"remainder", WIDE},
    [VIVA_POWER] = {"power", WIDE},
    [VIVA_MAXIMUM] = {"maximum", SAME},
    [VIVA_MINIMUM] = {"minimum", SAME},
    [VIVA_EQUAL] = {"equal", TEST},
    [VIVA_NOT_EQUAL] = {"not_equal", TEST},
    [VIVA_GREATER] = {"greater", TEST},
    [VIVA_GREATER_EQUAL] = {"greater_equal", TEST},
    [VIVA_LESS] = {"less", TEST},
    [VIVA_LESS_EQUAL] = {"less_equal", TEST},
    [VIVA_LOGICAL_AND] = {"logical_and", TEST},
    [VIVA_LOGICAL_OR] = {"logical_or", TEST},
    [VIVA_LOGICAL_XOR] = {"logical_xor", TEST},
};

static op_types apply(rule r, viva_dtype t) {
  const op_types none = {VIVA_DTYPE_NONE, VIVA_DTYPE_NONE};
  if (!dtype_is_compute(t)) return none;
  switch (r) {
  case SAME: break;
  case NUMBERS:
    if (t == VIVA_BOOL) return none;
    break;
  case WIDE: t = t == VIVA_BOOL ? VIVA_I8 : t; break;
  case FLOATS: t = dtype_float_of(t); break;
  case DIVISION: t = dtype_is_float(t) ? t : VIVA_F64; break;
  case TEST: return (op_types){dtype_kernel(t), VIVA_BOOL};
  }
  return (op_types){dtype_kernel(t), t};
}

op_types unary_types(viva_unary op, viva_dtype a) {
  if ((unsigned)op >= VIVA_UNARY_COUNT) return (op_types){VIVA_DTYPE_NONE, VIVA_DTYPE_NONE};
  return apply(unary[op].rule, a);
}

op_types binary_types(viva_binary op, viva_dtype a, viva_dtype b) {
  if ((unsigned)op >= VIVA_BINARY_COUNT) return (op_types){VIVA_DTYPE_NONE, VIVA_DTYPE_NONE};
  return apply(binary[op].rule, dtype_promote(a, b));
}

const char *viva_unary_name(viva_unary op) { return (unsigned)op < VIVA_UNARY_COUNT ? unary[op].name : NULL; }
const char *viva_binary_name(viva_binary op) { return (unsigned)op < VIVA_BINARY_COUNT ? binary[op].name : NULL; }
viva_dtype viva_unary_type(viva_unary op, viva_dtype a) { return unary_types(op, a).result; }
viva_dtype viva_binary_type(viva_binary op, viva_dtype a, viva_dtype b) { return binary_types(op, a, b).result; }
viva_dtype viva_promote_types(viva_dtype a, viva_dtype b) { return dtype_promote(a, b); }

const loops *loops_get(void) {
  const cpu_features *c = cpu_get();
  const loops *fast = c->avx512 ? loops_avx512() : NULL;
  if (!fast && c->avx2) fast = loops_avx2();
  return fast ? fast : loops_plain();
}
