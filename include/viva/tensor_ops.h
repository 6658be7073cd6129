/* viva/tensor_ops.h: what can be computed with tensors: NumPy's operations by NumPy's rules, on the CPU.
 *
 *   viva_tensor *x, *centred, *mean, *scaled;
 *   viva_random_options normal = viva_random_options_default();
 *   normal.distribution = VIVA_NORMAL, normal.seed = 7;
 *   viva_tensor_random(engine, VIVA_F32, 2, (uint64_t[]){64, 512}, &normal, &x, &error);
 *   viva_tensor_reduce(VIVA_MEAN, x, (int32_t[]){1}, 1, 1, &mean, &error);            one mean for each row: [64, 1]
 *   viva_tensor_binary(VIVA_SUBTRACT, x, mean, &centred, &error);                     broadcast: [64, 512]
 *   viva_tensor_binary_scalar(VIVA_MULTIPLY, centred, 0.5, &scaled, &error);
 *
 * Rules that hold for all calls:
 * - Operands may have any strides, also 0 and negative ones. Results are new, row-major, and have a reference to be
 *   released. A call named ..._into writes into the caller's tensor instead, whose shape must be the result's and whose
 *   type it is converted to; out may overlap operands (the result is as if it did not), but no two of its elements may
 *   share memory. After an error out is as it was.
 * - Types are promoted as by NumPy 2 (BF16 as by ml_dtypes; with F16 and wider integers it gives F32 or F64, where
 *   NumPy refuses). F16 and BF16 are computed in F32 and rounded once. Integers wrap. E4M3, E5M2, E2M1 and E8M0 are
 *   storage: they are converted (viva_tensor_astype), copied and moved, nothing else.
 * - Axes may be negative: −1 is the last.
 * - Large tensors are shared out to the engine's threads; no result depends on their number.
 * - Errors: E_ARGUMENT (a NULL, an axis or option out of range, an empty reduction that has no value), E_SIZE (shapes
 *   that do not fit each other), E_DTYPE (an operation that the type does not have), E_LIMIT, E_MEMORY, E_STATE (a
 *   tensor on a device: copy it to the host first; views of it can be made). The message names the shapes, the axis
 *   and the types. Division by zero, the logarithm of a negative number and the like give infinity or NaN as IEEE 754
 *   says (integers: 0); viva_tensor_check_domain finds them.
 * - Calls may run at once on shared operands; a tensor must not be written while another call uses it.
 */
#ifndef VIVA_TENSOR_OPS_H
#define VIVA_TENSOR_OPS_H

#include "viva/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- elementwise */

/* name, NumPy's name (or the field's), what it is. Values are pinned: new ones come last. */
#define VIVA_UNARY_MAP(X)                                                                                              \
  X(NEGATIVE, "negative", "-x")                                                                                        \
  X(ABSOLUTE, "absolute", "|x|")                                                                                       \
  X(SIGN, "sign", "-1, 0, 1; NaN for NaN")                                                                             \
  X(SQUARE, "square", "x*x")                                                                                           \
  X(SQRT, "sqrt", "square root")                                                                                       \
  X(RECIPROCAL, "reciprocal", "1/x")                                                                                   \
  X(EXP, "exp", "e^x")                                                                                                 \
  X(EXPM1, "expm1", "e^x - 1")                                                                                         \
  X(LOG, "log", "natural logarithm")                                                                                   \
  X(LOG1P, "log1p", "log(1 + x)")                                                                                      \
  X(LOG2, "log2", "logarithm to base 2")                                                                               \
  X(LOG10, "log10", "logarithm to base 10")                                                                            \
  X(SIN, "sin", "sine")                                                                                                \
  X(COS, "cos", "cosine")                                                                                              \
  X(TANH, "tanh", "hyperbolic tangent")                                                                                \
  X(FLOOR, "floor", "down to an integer")                                                                              \
  X(CEIL, "ceil", "up to an integer")                                                                                  \
  X(TRUNC, "trunc", "towards 0 to an integer")                                                                         \
  X(RINT, "rint", "to the nearest integer, ties to even")                                                              \
  X(ISNAN, "isnan", "BOOL")                                                                                            \
  X(ISINF, "isinf", "BOOL")                                                                                            \
  X(ISFINITE, "isfinite", "BOOL")                                                                                      \
  X(LOGICAL_NOT, "logical_not", "BOOL: x == 0")                                                                        \
  X(RELU, "relu", "x where x > 0, else 0; NaN for NaN")                                                                \
  X(SIGMOID, "sigmoid", "1/(1 + e^-x)")                                                                                \
  X(SILU, "silu", "x*sigmoid(x)")                                                                                      \
  X(GELU, "gelu", "x*(1 + erf(x/sqrt 2))/2")

#define VIVA_BINARY_MAP(X)                                                                                             \
  X(ADD, "add", "a + b; BOOL: or")                                                                                     \
  X(SUBTRACT, "subtract", "a - b")                                                                                     \
  X(MULTIPLY, "multiply", "a*b; BOOL: and")                                                                            \
  X(DIVIDE, "divide", "a/b, of integers as F64")                                                                       \
  X(FLOOR_DIVIDE, "floor_divide", "floor(a/b)")                                                                        \
  X(REMAINDER, "remainder", "a - b*floor(a/b): has the sign of b")                                                     \
  X(POWER, "power", "a^b; of integers b must not be negative")                                                         \
  X(MAXIMUM, "maximum", "the larger; NaN when one is")                                                                 \
  X(MINIMUM, "minimum", "the smaller; NaN when one is")                                                                \
  X(EQUAL, "equal", "BOOL: a == b")                                                                                    \
  X(NOT_EQUAL, "not_equal", "BOOL: a != b")                                                                            \
  X(GREATER, "greater", "BOOL: a > b")                                                                                 \
  X(GREATER_EQUAL, "greater_equal", "BOOL: a >= b")                                                                    \
  X(LESS, "less", "BOOL: a < b")                                                                                       \
  X(LESS_EQUAL, "less_equal", "BOOL: a <= b")                                                                          \
  X(LOGICAL_AND, "logical_and", "BOOL: a != 0 and b != 0")                                                             \
  X(LOGICAL_OR, "logical_or", "BOOL: a != 0 or b != 0")                                                                \
  X(LOGICAL_XOR, "logical_xor", "BOOL: (a != 0) != (b != 0)")

typedef enum viva_unary {
#define VIVA_UNARY_ENUM(name, text, about) VIVA_##name,
  VIVA_UNARY_MAP(VIVA_UNARY_ENUM)
#undef VIVA_UNARY_ENUM
      VIVA_UNARY_COUNT
} viva_unary;

typedef enum viva_binary {
#define VIVA_BINARY_ENUM(name, text, about) VIVA_##name,
  VIVA_BINARY_MAP(VIVA_BINARY_ENUM)
#undef VIVA_BINARY_ENUM
      VIVA_BINARY_COUNT
} viva_binary;

/* NumPy's name of an operation; NULL for a value outside the list. Static strings. */
VIVA_API const char *viva_unary_name(viva_unary op);
VIVA_API const char *viva_binary_name(viva_binary op);
/* The type of the result for operands of these types; VIVA_DTYPE_NONE when the operation does not have them. */
VIVA_API viva_dtype viva_unary_type(viva_unary op, viva_dtype a);
VIVA_API viva_dtype viva_binary_type(viva_binary op, viva_dtype a, viva_dtype b);
/* numpy.promote_types; VIVA_DTYPE_NONE for storage types. */
VIVA_API viva_dtype viva_promote_types(viva_dtype a, viva_dtype b);

VIVA_API viva_status viva_tensor_unary(viva_unary op, const viva_tensor *a, viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_unary_into(viva_unary op, const viva_tensor *a, viva_tensor *out, viva_error *error);

/* Operands are broadcast: sizes are matched from the last axis on, and an axis of size 1 (or a missing one) is
 * repeated. Errors: also E_NUMERIC (an integer to a negative power). */
VIVA_API viva_status viva_tensor_binary(viva_binary op, const viva_tensor *a, const viva_tensor *b, viva_tensor **out,
                                        viva_error *error);
VIVA_API viva_status viva_tensor_binary_into(viva_binary op, const viva_tensor *a, const viva_tensor *b,
                                             viva_tensor *out, viva_error *error);
/* b as Python's number in NumPy: it takes a's type when it can: a float type always, an integer type for whole
 * numbers (E_LIMIT when it does not fit); an integer or BOOL tensor with a fraction is computed in F64. */
VIVA_API viva_status viva_tensor_binary_scalar(viva_binary op, const viva_tensor *a, double b, viva_tensor **out,
                                               viva_error *error);
VIVA_API viva_status viva_tensor_binary_scalar_into(viva_binary op, const viva_tensor *a, double b, viva_tensor *out,
                                                    viva_error *error);

/* a where condition is not 0, else b; all three are broadcast. */
VIVA_API viva_status viva_tensor_where(const viva_tensor *condition, const viva_tensor *a, const viva_tensor *b,
                                       viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_where_into(const viva_tensor *condition, const viva_tensor *a, const viva_tensor *b,
                                            viva_tensor *out, viva_error *error);
/* min(max(a, low), high); a's type, so that integers become the least and the largest one between low and high; NaN stays. Errors:
 * E_ARGUMENT (low is not ≤ high, where NumPy takes high; no integer lies between them). */
VIVA_API viva_status viva_tensor_clip(const viva_tensor *a, double low, double high, viva_tensor **out,
                                      viva_error *error);

/* The caller's function of each element, as F64, in order, from the calling thread; a's type. */
VIVA_API viva_status viva_tensor_map(const viva_tensor *a, double (*function)(void *user, uint64_t index, double x),
                                     void *user, viva_tensor **out, viva_error *error);

/* Another type. Floats become integers by cutting the fraction (what does not fit becomes the nearest value of the
 * type, and NaN 0); integers wrap; narrower floats round to nearest, ties to even. E4M3, E5M2 and E2M1 saturate: infinity
 * and what is beyond the largest value become that, with its sign; NaN becomes the format's NaN with its sign, in E2M1,
 * which has none, 0. E8M0 gives the nearest power of two, the middle going up: 2^-127 of 0 and of what is below, 2^127 of
 * what is above and of infinity, and NaN of NaN and of negative numbers. Always a copy. */
VIVA_API viva_status viva_tensor_astype(const viva_tensor *a, viva_dtype dtype, viva_tensor **out, viva_error *error);
/* A row-major copy. */
VIVA_API viva_status viva_tensor_copy(const viva_tensor *a, viva_tensor **out, viva_error *error);
/* a itself (one more reference) when it is row-major, else a copy. */
VIVA_API viva_status viva_tensor_contiguous(const viva_tensor *a, viva_tensor **out, viva_error *error);
/* out[…] = a, broadcast and converted: numpy.copyto. */
VIVA_API viva_status viva_tensor_copy_into(const viva_tensor *a, viva_tensor *out, viva_error *error);
/* Every element = value, converted. */
VIVA_API viva_status viva_tensor_fill(viva_tensor *out, double value, viva_error *error);

/* E_NUMERIC, naming the first element, when sqrt, log, log1p, log2, log10 or reciprocal of an element is not a
 * finite number though the element is; other operations have no such elements. For those who want an error where
 * IEEE 754 has NaN. */
VIVA_API viva_status viva_tensor_check_domain(viva_unary op, const viva_tensor *a, viva_error *error);

/* -- reductions */

/* As above. F32, F16 and BF16 are summed in F32 blocks whose sums are added in F64; F64 in blocks. */
#define VIVA_REDUCTION_MAP(X)                                                                                          \
  X(SUM, "sum", "integers widen to I64 or U64; 0 of nothing")                                                          \
  X(PROD, "prod", "likewise; 1 of nothing")                                                                            \
  X(MEAN, "mean", "of integers as F64")                                                                                \
  X(MAX, "max", "NaN when there is one")                                                                               \
  X(MIN, "min", "NaN when there is one")                                                                               \
  X(VAR, "var", "of the population: sum of (x - mean)^2, divided by the count")                                        \
  X(STD, "std", "sqrt(var)")                                                                                           \
  X(NORM, "norm", "sqrt(sum of squares); of integers as F64; 0 of nothing")                                            \
  X(ANY, "any", "BOOL: an element is not 0")                                                                           \
  X(ALL, "all", "BOOL: no element is 0")                                                                               \
  X(COUNT_NONZERO, "count_nonzero", "I64")                                                                             \
  X(ARGMAX, "argmax", "I64: index of the first maximum, or NaN, along the axis (of all: counted row by row)")          \
  X(ARGMIN, "argmin", "I64: of the first minimum, or NaN")

typedef enum viva_reduction {
#define VIVA_REDUCTION_ENUM(name, text, about) VIVA_##name,
  VIVA_REDUCTION_MAP(VIVA_REDUCTION_ENUM)
#undef VIVA_REDUCTION_ENUM
      VIVA_REDUCTION_COUNT
} viva_reduction;

VIVA_API const char *viva_reduction_name(viva_reduction op);
VIVA_API viva_dtype viva_reduction_type(viva_reduction op, viva_dtype a);

/* Errors: also E_ARGUMENT for an axis named twice, for several axes (not all) with ARGMAX and ARGMIN, for nothing to
 * reduce where that has no value (all but SUM, PROD, NORM, ANY, ALL, COUNT_NONZERO).
 *
 * axes, count: the axes that go; NULL: all
 * keepdims:    not 0: they stay, with size 1 */
VIVA_API viva_status viva_tensor_reduce(viva_reduction op, const viva_tensor *a, const int32_t *axes, uint32_t count,
                                        int32_t keepdims, viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_reduce_into(viva_reduction op, const viva_tensor *a, const int32_t *axes,
                                             uint32_t count, int32_t keepdims, viva_tensor *out, viva_error *error);

/* -- shapes: views share the storage and copy nothing; the others are new tensors */

/* The same elements, row by row, in another shape, one of whose sizes may be UINT64_MAX: what is left. A view where
 * the strides allow it, else a copy. Errors: E_SIZE. */
VIVA_API viva_status viva_tensor_reshape(const viva_tensor *a, uint32_t rank, const uint64_t *shape, viva_tensor **out,
                                         viva_error *error);
/* One axis. A view or a copy, as above. */
VIVA_API viva_status viva_tensor_flatten(const viva_tensor *a, viva_tensor **out, viva_error *error);
/* Views: the axes in another order (axes: rank of them; NULL: reversed); without axes of size 1 (axes NULL: all of
 * them); with an axis of size 1 at this place of the result; backwards along axes (NULL: all). */
VIVA_API viva_status viva_tensor_permute(const viva_tensor *a, const int32_t *axes, viva_tensor **view,
                                         viva_error *error);
VIVA_API viva_status viva_tensor_squeeze(const viva_tensor *a, const int32_t *axes, uint32_t count, viva_tensor **view,
                                         viva_error *error);
VIVA_API viva_status viva_tensor_expand_dims(const viva_tensor *a, int32_t axis, viva_tensor **view, viva_error *error);
VIVA_API viva_status viva_tensor_flip(const viva_tensor *a, const int32_t *axes, uint32_t count, viva_tensor **view,
                                      viva_error *error);
/* A view with repeated axes (stride 0): not to be written. Errors: E_SIZE. */
VIVA_API viva_status viva_tensor_broadcast_to(const viva_tensor *a, uint32_t rank, const uint64_t *shape,
                                              viva_tensor **view, viva_error *error);

/* A view of every step-th index of one axis from start up to (step < 0: down to) stop, as Python's
 * a[start:stop:step]: negative places count from the end, and are cut to the axis. VIVA_SLICE_NONE: Python's absent
 * bound. Errors: E_ARGUMENT (step 0). */
#define VIVA_SLICE_NONE INT64_MIN
VIVA_API viva_status viva_tensor_slice_step(const viva_tensor *a, int32_t axis, int64_t start, int64_t stop,
                                            int64_t step, viva_tensor **view, viva_error *error);
/* A view of one index of one axis, which goes. Errors: E_SIZE. */
VIVA_API viva_status viva_tensor_select(const viva_tensor *a, int32_t axis, int64_t index, viva_tensor **view,
                                        viva_error *error);
/* Equal parts along an axis, as views, written to views[parts]. Errors: E_SIZE (the axis cannot be cut evenly). */
VIVA_API viva_status viva_tensor_split(const viva_tensor *a, int32_t axis, uint32_t parts, viva_tensor **views,
                                       viva_error *error);

/* Joined along an axis that exists, or along a new one. Types are promoted. */
VIVA_API viva_status viva_tensor_concatenate(const viva_tensor *const *tensors, uint32_t count, int32_t axis,
                                             viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_stack(const viva_tensor *const *tensors, uint32_t count, int32_t axis,
                                       viva_tensor **out, viva_error *error);
/* Elements moved along an axis; those that leave come in at the other end. */
VIVA_API viva_status viva_tensor_roll(const viva_tensor *a, int64_t shift, int32_t axis, viva_tensor **out,
                                      viva_error *error);
/* before[i] and after[i] elements of value around axis i. */
VIVA_API viva_status viva_tensor_pad(const viva_tensor *a, const uint64_t *before, const uint64_t *after, double value,
                                     viva_tensor **out, viva_error *error);
/* The whole repeated times[i] times along axis i; each element times in a row along an axis. */
VIVA_API viva_status viva_tensor_tile(const viva_tensor *a, const uint64_t *times, viva_tensor **out,
                                      viva_error *error);
VIVA_API viva_status viva_tensor_repeat(const viva_tensor *a, uint64_t times, int32_t axis, viva_tensor **out,
                                        viva_error *error);
/* The k-th diagonal of a matrix; or a square matrix with this k-th diagonal, and zeros, from one axis. */
VIVA_API viva_status viva_tensor_diag(const viva_tensor *a, int64_t k, viva_tensor **out, viva_error *error);

/* -- making tensors (viva_tensor_create makes zeros) */

VIVA_API viva_status viva_tensor_full(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                                      double value, viva_tensor **out, viva_error *error);
/* dtype VIVA_DTYPE_NONE: a's. */
VIVA_API viva_status viva_tensor_full_like(const viva_tensor *a, viva_dtype dtype, double value, viva_tensor **out,
                                           viva_error *error);
/* A copy of row-major elements. Errors: E_SIZE (bytes is not what the shape needs). */
VIVA_API viva_status viva_tensor_from_data(viva_engine *engine, const void *data, size_t bytes, viva_dtype dtype,
                                           uint32_t rank, const uint64_t *shape, viva_tensor **out, viva_error *error);
/* start, start + step, … below (step < 0: above) stop: ceil((stop − start)/step) elements; of an infinite step towards stop
 * start alone. Errors: E_ARGUMENT (step 0, or what does not end). */
VIVA_API viva_status viva_tensor_arange(viva_engine *engine, viva_dtype dtype, double start, double stop, double step,
                                        viva_tensor **out, viva_error *error);
/* count numbers from start to stop, both included (integer types: rounded down); as powers of base in the second. */
VIVA_API viva_status viva_tensor_linspace(viva_engine *engine, viva_dtype dtype, double start, double stop,
                                          uint64_t count, viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_logspace(viva_engine *engine, viva_dtype dtype, double start, double stop,
                                          uint64_t count, double base, viva_tensor **out, viva_error *error);
/* Ones on the k-th diagonal, zeros elsewhere. */
VIVA_API viva_status viva_tensor_eye(viva_engine *engine, viva_dtype dtype, uint64_t rows, uint64_t columns, int64_t k,
                                     viva_tensor **out, viva_error *error);

typedef enum viva_distribution {
  VIVA_UNIFORM = 0, /* in [low, high): 53 bits, which F32, F16, BF16 may round to high */
  VIVA_NORMAL = 1   /* of this mean and deviation: Box–Muller */
} viva_distribution;

typedef struct viva_random_options {
  size_t size; /* sizeof(viva_random_options) */
  viva_distribution distribution;
  int32_t reserved; /* 0 */
  uint64_t seed, stream;
  double low, high;       /* UNIFORM: 0 and 1 */
  double mean, deviation; /* NORMAL: 0 and 1 */
} viva_random_options;

VIVA_API viva_random_options viva_random_options_default(void);

/* Random numbers: element i depends on (seed, stream, i) alone: Philox 4×32-10, counter i/2 (two elements for each
 * block), key seed, so that any part can be made anew anywhere. Float types.
 *
 * options: NULL for the defaults: uniform in [0, 1), seed 0. Errors: E_ARGUMENT (a bound, mean or deviation that is not
 * finite, low > high, a deviation below 0, numbers or a difference high - low that overflow), E_DTYPE, E_MEMORY */
VIVA_API viva_status viva_tensor_random(viva_engine *engine, viva_dtype dtype, uint32_t rank, const uint64_t *shape,
                                        const viva_random_options *options, viva_tensor **out, viva_error *error);
/* Weights [outputs][inputs]: Xavier: uniform within ±sqrt(6/(inputs + outputs)); He: normal with deviation
 * sqrt(2/inputs). */
VIVA_API viva_status viva_tensor_xavier(viva_engine *engine, viva_dtype dtype, uint64_t inputs, uint64_t outputs,
                                        uint64_t seed, viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_he(viva_engine *engine, viva_dtype dtype, uint64_t inputs, uint64_t outputs,
                                    uint64_t seed, viva_tensor **out, viva_error *error);

/* -- single elements */

/* index: one for each axis, negative ones from the end. As F64 (I64: integers exactly). Errors: E_SIZE. */
VIVA_API viva_status viva_tensor_get(const viva_tensor *a, const int64_t *index, double *value, viva_error *error);
VIVA_API viva_status viva_tensor_set(viva_tensor *a, const int64_t *index, double value, viva_error *error);
VIVA_API viva_status viva_tensor_get_i64(const viva_tensor *a, const int64_t *index, int64_t *value, viva_error *error);
VIVA_API viva_status viva_tensor_set_i64(viva_tensor *a, const int64_t *index, int64_t value, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
