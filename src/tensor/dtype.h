/* tensor/dtype.h: what the operations know of element types: sizes, kinds, and NumPy's promotion as one table. */
#ifndef TENSOR_DTYPE_H
#define TENSOR_DTYPE_H

#include "viva/types.h"

/* Types that are computed with: VIVA_F64 (1) to VIVA_BOOL (13). E4M3, E5M2, E2M1 and E8M0 are storage: they can be
 * converted, copied and moved, nothing else. */
#define DTYPE_COUNT   18 /* indices of tables: 0 is unused, 17 is VIVA_E2M1 */
#define DTYPE_COMPUTE 14 /* the first that is storage only */

/* Here, not behind calls: of a small operation's 100 ns they took 5. */
static inline int dtype_is_compute(viva_dtype t) { return t >= VIVA_F64 && t <= VIVA_BOOL; }
static inline int dtype_is_float(viva_dtype t) { return t >= VIVA_F64 && t <= VIVA_BF16; } /* F64, F32, F16, BF16 */
static inline int dtype_is_integer(viva_dtype t) { return t >= VIVA_I64 && t <= VIVA_U8; } /* not BOOL */
static inline int dtype_is_signed(viva_dtype t) { return t >= VIVA_I64 && t <= VIVA_I8; }
/* The type whose kernels do the work: F32 for F16 and BF16, else the type itself. */
static inline viva_dtype dtype_kernel(viva_dtype t) { return t == VIVA_F16 || t == VIVA_BF16 ? VIVA_F32 : t; }

/* The type in which products are summed that give this type. Integers and BOOL: I64, whose low bits are the result's. */
static inline viva_dtype dtype_product(viva_dtype t) { return dtype_is_float(t) ? dtype_kernel(t) : VIVA_I64; }

/* The type that holds both, as numpy.promote_types; BF16 as ml_dtypes has it, and with wider integers or F16 as F16
 * has it with them (F32 or F64), where NumPy refuses. VIVA_DTYPE_NONE when one is no compute type. */
viva_dtype dtype_promote(viva_dtype a, viva_dtype b);

/* The float type in which sqrt, exp … of this type are computed: integers by their size, as NumPy does. */
viva_dtype dtype_float_of(viva_dtype t);

/* What sum, prod, cumsum … accumulate in: integers of at most 64 bits widen to I64 or U64, BOOL to I64. */
viva_dtype dtype_sum_of(viva_dtype t);

#endif
