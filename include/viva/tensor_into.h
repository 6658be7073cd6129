/* viva/tensor_into.h: results of calls of tensor_ops.h, tensor_algebra.h and tensor_select.h in tensors that are there: a
 * buffer of the caller's, a view of a larger tensor, another type.
 *
 *   viva_tensor_slice(cache, 0, position, 1, &row, &error);
 *   viva_tensor_concatenate_into((const viva_tensor *[]){key, value}, 2, 1, row, &error);
 *
 * As the call without _into, and then converted, for any number of elements: the sum of F16 into F32 is rounded to F16 first,
 * and integers wrap in the result's type. (Only unary, binary and binary_scalar round once, from what they compute in to out's
 * type: tanh of U8 into U8 comes from F32, where the call without _into gives F16.) out has the shape of the result; it may
 * overlap operands, but no two of its elements may share memory. Errors: also E_SIZE and E_ARGUMENT for out; out is as it was
 * then. Those of single calls (unary, binary, where, reduce, copy, matmul, dense, along, take, scatter, clip) stand beside them.
 */
#ifndef VIVA_TENSOR_INTO_H
#define VIVA_TENSOR_INTO_H

#include "viva/tensor_select.h"

#ifdef __cplusplus
extern "C" {
#endif

VIVA_API viva_status viva_tensor_dot_into(const viva_tensor *a, const viva_tensor *b, viva_tensor *out,
                                          viva_error *error);
VIVA_API viva_status viva_tensor_outer_into(const viva_tensor *a, const viva_tensor *b, viva_tensor *out,
                                            viva_error *error);
VIVA_API viva_status viva_tensor_einsum_into(const char *text, const viva_tensor *const *tensors, uint32_t count,
                                             viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_norm_into(const viva_tensor *a, double order, const int32_t *axes, uint32_t count,
                                           int32_t keepdims, viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_matrix_norm_into(const viva_tensor *a, double order, int32_t keepdims,
                                                  viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_clip_by_norm_into(const viva_tensor *a, double longest, viva_tensor *out,
                                                   viva_error *error);
VIVA_API viva_status viva_tensor_layer_norm_into(const viva_tensor *a, int32_t axis, const viva_tensor *weight,
                                                 const viva_tensor *bias, double epsilon, viva_tensor *out,
                                                 viva_error *error);
VIVA_API viva_status viva_tensor_rms_norm_into(const viva_tensor *a, int32_t axis, const viva_tensor *weight,
                                               double epsilon, viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_percentile_into(const viva_tensor *a, double percent, int32_t axis, int32_t keepdims,
                                                 viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_median_into(const viva_tensor *a, int32_t axis, int32_t keepdims, viva_tensor *out,
                                             viva_error *error);
VIVA_API viva_status viva_tensor_conv2d_into(const viva_tensor *a, const viva_tensor *kernels, const viva_tensor *bias,
                                             const viva_window_options *options, viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_pool2d_into(viva_pooling op, const viva_tensor *a, const viva_window_options *options,
                                             viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_similarity_into(viva_similarity op, const viva_tensor *a, const viva_tensor *b,
                                                 int32_t axis, viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_is_close_into(const viva_tensor *a, const viva_tensor *b, double relative,
                                               double absolute, viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_gather_into(const viva_tensor *a, const viva_tensor *indices, int32_t axis,
                                             viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_concatenate_into(const viva_tensor *const *tensors, uint32_t count, int32_t axis,
                                                  viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_stack_into(const viva_tensor *const *tensors, uint32_t count, int32_t axis,
                                            viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_roll_into(const viva_tensor *a, int64_t shift, int32_t axis, viva_tensor *out,
                                           viva_error *error);
VIVA_API viva_status viva_tensor_pad_into(const viva_tensor *a, const uint64_t *before, const uint64_t *after,
                                          double value, viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_tile_into(const viva_tensor *a, const uint64_t *times, viva_tensor *out,
                                           viva_error *error);
VIVA_API viva_status viva_tensor_repeat_into(const viva_tensor *a, uint64_t times, int32_t axis, viva_tensor *out,
                                             viva_error *error);
VIVA_API viva_status viva_tensor_diag_into(const viva_tensor *a, int64_t k, viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_map_into(const viva_tensor *a,
                                          double (*function)(void *user, uint64_t index, double x), void *user,
                                          viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_map2_into(const viva_tensor *a, const viva_tensor *b,
                                           double (*function)(void *user, uint64_t index, double x, double y),
                                           void *user, viva_tensor *out, viva_error *error);
/* As many classes as out's last axis has places. */
VIVA_API viva_status viva_tensor_one_hot_into(const viva_tensor *indices, viva_tensor *out, viva_error *error);
/* Either may be NULL; they may not share memory. Both are written or, after an error, neither. */
VIVA_API viva_status viva_tensor_top_k_into(const viva_tensor *a, uint64_t k, int32_t axis, viva_tensor *values,
                                            viva_tensor *indices, viva_error *error);

/* Given values (viva_tensor_fill has constants): what the calls with an engine make in out's type; sizes that are not named are
 * out's. */
VIVA_API viva_status viva_tensor_arange_into(double start, double stop, double step, viva_tensor *out,
                                             viva_error *error);
VIVA_API viva_status viva_tensor_linspace_into(double start, double stop, viva_tensor *out, viva_error *error);
VIVA_API viva_status viva_tensor_logspace_into(double start, double stop, double base, viva_tensor *out,
                                               viva_error *error);
VIVA_API viva_status viva_tensor_eye_into(int64_t k, viva_tensor *out, viva_error *error);
/* options: NULL for the defaults; Xavier's and He's numbers are random ones of these limits. */
VIVA_API viva_status viva_tensor_random_into(const viva_random_options *options, viva_tensor *out, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
