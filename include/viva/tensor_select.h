/* viva/tensor_select.h: elements by their places: take, gather, scatter, masks; one-hot; the sizes of low-bit layouts. The
 * rules of tensor_ops.h hold.
 *
 *   viva_tensor_take(embeddings, tokens, 0, &rows, &error);                       [tokens, width] of [vocabulary, width]
 *   viva_tensor_along(VIVA_ARGSORT, scores, -1, &order, &error);
 *   viva_tensor_gather(scores, order, -1, &sorted, &error);
 *
 * Indices are of an integer type; negative ones count from the end. Errors: E_SIZE for one outside, which is named.
 */
#ifndef VIVA_TENSOR_SELECT_H
#define VIVA_TENSOR_SELECT_H

#include "viva/tensor_algebra.h"

#ifdef __cplusplus
extern "C" {
#endif

/* numpy.take: the axis is replaced by the axes of indices. VIVA_AXIS_ALL: a is taken as one axis, counted row by row. All
 * types. */
VIVA_API viva_status viva_tensor_take(const viva_tensor *a, const viva_tensor *indices, int32_t axis, viva_tensor **out,
                                      viva_error *error);
VIVA_API viva_status viva_tensor_take_into(const viva_tensor *a, const viva_tensor *indices, int32_t axis,
                                           viva_tensor *out, viva_error *error);
/* numpy.take_along_axis: out[i][j] = a[i][indices[i][j]], for axis 1 of two. Both have as many axes; beside the axis
 * sizes are equal, or one of them 1. All types. */
VIVA_API viva_status viva_tensor_gather(const viva_tensor *a, const viva_tensor *indices, int32_t axis,
                                        viva_tensor **out, viva_error *error);

typedef enum viva_scatter_mode {
  VIVA_SCATTER_SET = 0, /* numpy.put_along_axis; of several values for one place the last stays */
  VIVA_SCATTER_ADD = 1  /* added up, in order, as VIVA_ADD adds; a type that is computed with */
} viva_scatter_mode;

/* A copy of a in which [i][indices[i][j]] is values[i][j], or has it added, for axis 1 of two; and the same in the
 * caller's tensor. Indices are as in gather, but beside the axis as wide as a, or 1: then they are repeated; values are
 * broadcast to as many and converted. */
VIVA_API viva_status viva_tensor_scatter(viva_scatter_mode mode, const viva_tensor *a, const viva_tensor *indices,
                                         const viva_tensor *values, int32_t axis, viva_tensor **out, viva_error *error);
VIVA_API viva_status viva_tensor_scatter_into(viva_scatter_mode mode, viva_tensor *out, const viva_tensor *indices,
                                              const viva_tensor *values, int32_t axis, viva_error *error);

/* numpy.argwhere: I64 [count, rank]: the indices of the elements that are not 0, row by row. */
VIVA_API viva_status viva_tensor_nonzero(const viva_tensor *a, viva_tensor **out, viva_error *error);
/* The elements of a where mask is not 0, as one axis, row by row; the two are broadcast. */
VIVA_API viva_status viva_tensor_masked_select(const viva_tensor *a, const viva_tensor *mask, viva_tensor **out,
                                               viva_error *error);
/* An axis of `classes` more, behind the others: 1 at the index, 0 elsewhere. */
VIVA_API viva_status viva_tensor_one_hot(const viva_tensor *indices, uint64_t classes, viva_dtype dtype,
                                         viva_tensor **out, viva_error *error);

/* numpy.clip into a tensor that is there. */
VIVA_API viva_status viva_tensor_clip_into(const viva_tensor *a, double low, double high, viva_tensor *out,
                                           viva_error *error);
/* The caller's function of the elements of two broadcast tensors, as F64, in order, from the calling thread; the promoted
 * type. */
VIVA_API viva_status viva_tensor_map2(const viva_tensor *a, const viva_tensor *b,
                                      double (*function)(void *user, uint64_t index, double x, double y), void *user,
                                      viva_tensor **out, viva_error *error);
/* The shape that all fit when broadcast. Errors: E_SIZE, naming two that do not.
 *
 * shape: receives *rank sizes; VIVA_TENSOR_MAX_RANK places */
VIVA_API viva_status viva_broadcast_shapes(const viva_tensor *const *tensors, uint32_t count, uint32_t *rank,
                                           uint64_t *shape, viva_error *error);
/* The parts between places of an axis, as views: numpy.split with indices: count + 1 of them, the first from 0, the last to
 * the end. Places rise and are cut to the axis. */
VIVA_API viva_status viva_tensor_split_at(const viva_tensor *a, int32_t axis, const uint64_t *places, uint32_t count,
                                          viva_tensor **views, viva_error *error);

/* -- low-bit layouts: how many bytes a tensor takes in them, scales included */

/* name, text, bits of an element, elements that share a scale (along the last axis), bytes of a scale, bytes for the
 * tensor. The progressive layouts, of which the seeds gave a name alone, have an FP16 scale for each 64. */
#define VIVA_LAYOUT_MAP(X)                                                                                             \
  X(NVFP4, "nvfp4", 4, 16, 1, 4)                                                                                       \
  X(MXFP4, "mxfp4", 4, 32, 1, 0)                                                                                       \
  X(FP8_BLOCK32, "fp8-block32", 8, 32, 1, 0)                                                                           \
  X(NF4, "nf4", 4, 64, 4, 0)                                                                                           \
  X(INT8_GROUP128, "int8-group128", 8, 128, 2, 0)                                                                      \
  X(INT4_GROUP128, "int4-group128", 4, 128, 2, 0)                                                                      \
  X(INT3_PROGRESSIVE, "int3-progressive", 3, 64, 2, 0)                                                                 \
  X(INT2_PROGRESSIVE, "int2-progressive", 2, 64, 2, 0)

typedef enum viva_layout {
#define VIVA_LAYOUT_ENUM(name, text, bits, block, scale, tensor) VIVA_LAYOUT_##name,
  VIVA_LAYOUT_MAP(VIVA_LAYOUT_ENUM)
#undef VIVA_LAYOUT_ENUM
      VIVA_LAYOUT_COUNT
} viva_layout;

typedef struct viva_layout_desc {
  size_t size; /* sizeof(viva_layout_desc), set by the caller before the call */
  uint32_t bits, block;
  uint64_t code_bytes;  /* rows begin at whole bytes */
  uint64_t scale_bytes; /* a short last block has a scale of its own */
  uint64_t bytes;       /* both, and what the tensor has once */
  double ratio;         /* bytes as `against`, divided by bytes; 0 for nothing */
  int32_t whole_blocks; /* 1: the last axis is a multiple of block, as hardware that knows the layout wants it */
  int32_t reserved;
} viva_layout_desc;

VIVA_API const char *viva_layout_name(viva_layout layout); /* NULL for a value outside the list */
/* Errors: E_ARGUMENT (against: no type of a tensor), E_LIMIT. */
VIVA_API viva_status viva_layout_info(viva_layout layout, uint32_t rank, const uint64_t *shape, viva_dtype against,
                                      viva_layout_desc *desc, viva_error *error);

#ifdef __cplusplus
}
#endif
#endif
