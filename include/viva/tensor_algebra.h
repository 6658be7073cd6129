/* viva/tensor_algebra.h: products of tensors, work along one axis, images, distances. The rules of tensor_ops.h hold.
 *
 *   viva_tensor *scores, *weights, *mixed;                                        attention of one head, [n, d] each
 *   viva_tensor_einsum("qd,kd->qk", (const viva_tensor *[]){q, k}, 2, &scores, &error);
 *   viva_tensor_along(VIVA_SOFTMAX, scores, -1, &weights, &error);
 *   viva_tensor_matmul(weights, v, &mixed, &error);
 *
 * Products of F32 and F64 are OpenBLAS's where libopenblas.so.0 is found when the first one is computed, else this
 * library's own; both add in the operands' type. F16 and BF16 are multiplied in F32; integers wrap.
 */
#ifndef VIVA_TENSOR_ALGEBRA_H
#define VIVA_TENSOR_ALGEBRA_H

#include "viva/tensor_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- products */

/* numpy.matmul: [..., m, k] by [..., k, n] is [..., m, n]; the axes in front are broadcast, a vector is a row on the
 * left and a column on the right. Errors: E_SIZE. */
VIVA_API viva_status viva_tensor_matmul(const viva_tensor *a, const viva_tensor *b, viva_tensor **out,
                                        viva_error *error);
VIVA_API viva_status viva_tensor_matmul_into(const viva_tensor *a, const viva_tensor *b, viva_tensor *out,
                                             viva_error *error);
/* Of two vectors of one length: a tensor without axes. */
VIVA_API viva_status viva_tensor_dot(const viva_tensor *a, const viva_tensor *b, viva_tensor **out, viva_error *error);
/* Every element of a with every element of b: [elements of a, elements of b]. */
VIVA_API viva_status viva_tensor_outer(const viva_tensor *a, const viva_tensor *b, viva_tensor **out,
                                       viva_error *error);
/* relu(x·Wᵀ + b): x [..., inputs], weight [outputs, inputs], bias [outputs] or NULL; relu 0: without it. All three are
 * promoted first; F16 and BF16 are rounded once, integers wrap before relu, which BOOL does not have. For a model's own
 * layers, in low-bit formats and on a GPU, there is linear.h. */
VIVA_API viva_status viva_tensor_dense(const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias,
                                       int32_t relu, viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_dense_into(const viva_tensor *x, const viva_tensor *weight, const viva_tensor *bias,
                                            int32_t relu, viva_tensor *out, viva_error *error);
/* Einstein's sums, as numpy.einsum has them: "ij,jk->ik"; without "->" the result has the labels that occur once, in
 * alphabetic order; "..." stands for axes that are broadcast. Labels are letters. All operands are promoted first, then
 * joined two by two, from the left, by matrix products (F16 and BF16 in F32, rounded at the end). Errors: E_ARGUMENT (the
 * text, with the place in it), E_SIZE (sizes of a label differ: 1 is broadcast beside other operands, not in a diagonal).
 *
 * tensors, count: 1 to 16 operands */
VIVA_API viva_status viva_tensor_einsum(const char *text, const viva_tensor *const *tensors, uint32_t count,
                                        viva_tensor **out, viva_error *error);

/* -- along one axis: each lane of the result depends on the same lane of the operand */

/* name, NumPy's name (or the field's), what it is. Values are pinned: new ones come last. */
#define VIVA_ALONG_MAP(X)                                                                                              \
  X(CUMSUM, "cumsum", "running sum; integers widen as for sum")                                                        \
  X(CUMPROD, "cumprod", "running product; likewise")                                                                   \
  X(SORT, "sort", "from small to large; -0 before 0, NaN last")                                                        \
  X(ARGSORT, "argsort", "I64: the places of the sorted elements; equal ones in their order")                           \
  X(SOFTMAX, "softmax", "e^(x - max), divided by its sum")                                                             \
  X(LOG_SOFTMAX, "log_softmax", "x - max - log(sum of e^(x - max))")                                                   \
  X(NORMALIZE, "normalize", "x/norm; x itself where the norm is 1e-4 or less")                                         \
  X(STANDARDIZE, "standardize", "(x - mean)/std; 0 where std is 0 (zscore)")                                           \
  X(MINMAX_SCALE, "minmax_scale", "(x - min)/(max - min); 0 where they are equal")                                     \
  X(HADAMARD, "hadamard", "Walsh-Hadamard transform; the axis is a power of two")                                      \
  X(INVERSE_HADAMARD, "inverse_hadamard", "the same, divided by the length")                                           \
  X(NORMALIZED_HADAMARD, "normalized_hadamard", "the same, divided by the length's root: its own inverse")

typedef enum viva_along {
#define VIVA_ALONG_ENUM(name, text, about) VIVA_##name,
  VIVA_ALONG_MAP(VIVA_ALONG_ENUM)
#undef VIVA_ALONG_ENUM
      VIVA_ALONG_COUNT
} viva_along;

VIVA_API const char *viva_along_name(viva_along op); /* NULL for a value outside the list */
/* The type of the result; VIVA_DTYPE_NONE when the operation does not have the type. */
VIVA_API viva_dtype viva_along_type(viva_along op, viva_dtype a);

VIVA_API viva_status viva_tensor_along(viva_along op, const viva_tensor *a, int32_t axis, viva_tensor **out,
                                       viva_error *error);
VIVA_API viva_status viva_tensor_along_into(viva_along op, const viva_tensor *a, int32_t axis, viva_tensor *out,
                                            viva_error *error);

/* numpy.linalg.vector_norm: sum(|x|^order)^(1/order) over axes (NULL: all); order infinity: the largest |x|, −infinity: the
 * smallest, 0: how many are not 0. Order 2 over two axes is Frobenius's. Of integers as F64. Errors: E_ARGUMENT (NaN; axes, and
 * nothing to choose from, as for viva_tensor_reduce). */
VIVA_API viva_status viva_tensor_norm(const viva_tensor *a, double order, const int32_t *axes, uint32_t count,
                                      int32_t keepdims, viva_tensor **out, viva_error *error);
/* numpy.linalg.matrix_norm of the last two axes: the largest (order 1) or smallest (−1) sum of |x| of a column, the same of a
 * row (infinity, −infinity). Other orders, which take singular values (2, −2, nuclear), are not there. Errors: E_ARGUMENT. */
VIVA_API viva_status viva_tensor_matrix_norm(const viva_tensor *a, double order, int32_t keepdims, viva_tensor **out,
                                             viva_error *error);
/* (x − mean)/sqrt(var + epsilon)·weight + bias along an axis, and x/sqrt(mean of squares + epsilon)·weight. Float types
 * and integers, as for softmax; computed in F32 (F64 for F64).
 *
 * weight, bias: one axis, as long as that of a; NULL: 1, 0 */
VIVA_API viva_status viva_tensor_layer_norm(const viva_tensor *a, int32_t axis, const viva_tensor *weight,
                                            const viva_tensor *bias, double epsilon, viva_tensor **out,
                                            viva_error *error);
VIVA_API viva_status viva_tensor_rms_norm(const viva_tensor *a, int32_t axis, const viva_tensor *weight, double epsilon,
                                          viva_tensor **out, viva_error *error);
/* a, made shorter where its norm over all elements is longer than this: a·longest/norm. Errors: E_ARGUMENT. */
VIVA_API viva_status viva_tensor_clip_by_norm(const viva_tensor *a, double longest, viva_tensor **out,
                                              viva_error *error);

/* The k largest along an axis, from large to small, and where they are (I64); equal ones in their order, NaN first.
 * Either may be NULL. Errors: E_SIZE (k is above the axis). */
VIVA_API viva_status viva_tensor_top_k(const viva_tensor *a, uint64_t k, int32_t axis, viva_tensor **values,
                                       viva_tensor **indices, viva_error *error);
/* numpy.percentile with linear interpolation, for 0 ≤ percent ≤ 100; the median is that of 50. Of integers as F64; NaN
 * where there is one. Errors: E_ARGUMENT (nothing to choose from; percent).
 *
 * axis:     VIVA_AXIS_ALL: of all elements
 * keepdims: not 0: the axis stays, with size 1 */
#define VIVA_AXIS_ALL INT32_MIN
VIVA_API viva_status viva_tensor_percentile(const viva_tensor *a, double percent, int32_t axis, int32_t keepdims,
                                            viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_median(const viva_tensor *a, int32_t axis, int32_t keepdims, viva_tensor **out,
                                        viva_error *error);

/* -- images: [images, channels, height, width]; also without the first axis, or the first two */

typedef struct viva_window_options {
  size_t size;         /* sizeof(viva_window_options) */
  uint64_t kernel[2];  /* pooling alone: height and width; 0, 0: the whole plane */
  uint64_t stride[2];  /* 0: 1; of pooling: the kernel */
  uint64_t padding[2]; /* on both sides; 0, 0 */
  uint64_t dilation[2];
  uint64_t groups; /* conv2d alone: of channels that do not meet */
} viva_window_options;

VIVA_API viva_window_options viva_window_options_default(void);

/* Cross-correlation, as the field has it: out[n][o][y][x] is bias[o] and the sum over c, i, j of
 * a[n][c][y·stride + i·dilation − padding][…] · kernels[o][c][i][j]. The result has
 * floor((size + 2·padding − dilation·(kernel − 1) − 1)/stride) + 1 rows and columns. An a without channels goes with
 * kernels of two axes, one without images with kernels [channels, i, j] (one result) or of four axes.
 *
 * All three are promoted first; F16 and BF16 are rounded once, integers wrap.
 *
 * kernels: [outputs, channels/groups, height, width]
 * bias:    [outputs], or NULL
 * options: NULL for the defaults */
VIVA_API viva_status viva_tensor_conv2d(const viva_tensor *a, const viva_tensor *kernels, const viva_tensor *bias,
                                        const viva_window_options *options, viva_tensor **out, viva_error *error);

typedef enum viva_pooling {
  VIVA_MAX_POOL = 0, /* NaN where there is one; padding never wins */
  VIVA_AVG_POOL = 1  /* of the elements that are there: padding is not counted; of integers as F64 */
} viva_pooling;

/* Errors: also E_ARGUMENT (padding of more than half the kernel). */
VIVA_API viva_status viva_tensor_pool2d(viva_pooling op, const viva_tensor *a, const viva_window_options *options,
                                        viva_tensor **out, viva_error *error);

/* -- nearness */

typedef enum viva_similarity {
  VIVA_DOT_SIMILARITY = 0,    /* sum of a·b */
  VIVA_COSINE_SIMILARITY = 1, /* that, divided by both norms; 0 where one is 0 */
  VIVA_EUCLIDEAN_DISTANCE = 2,
  VIVA_MANHATTAN_DISTANCE = 3
} viva_similarity;

/* Along an axis (VIVA_AXIS_ALL: of all elements) of the broadcast operands, which goes. Of integers as F64. */
VIVA_API viva_status viva_tensor_similarity(viva_similarity op, const viva_tensor *a, const viva_tensor *b,
                                            int32_t axis, viva_tensor **out, viva_error *error);
/* BOOL: |a − b| ≤ absolute + relative·|b|, as numpy.isclose; infinities are close to themselves, NaN to nothing. */
VIVA_API viva_status viva_tensor_is_close(const viva_tensor *a, const viva_tensor *b, double relative, double absolute,
                                          viva_tensor **out, viva_error *error);
/* *close = 1 when all are. */
VIVA_API viva_status viva_tensor_all_close(const viva_tensor *a, const viva_tensor *b, double relative, double absolute,
                                           int32_t *close, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
