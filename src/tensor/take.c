/* tensor/take.c: elements by index. */
#include <stdatomic.h>
#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "base/pool.h"
#include "tensor/index.h"
#include "tensor/walk.h"

/* Above I64: not one from the end. */
static viva_status check_unsigned(const viva_tensor *held, const viva_tensor *a, viva_error *error) {
  const int64_t *values = (const int64_t *)(const void *)held->data;
  char text[128];
  for (size_t i = 0; i < held->elements; i++)
    if (values[i] < 0)
      return error_set(error, VIVA_E_SIZE, "index %llu is outside any axis of the tensor %s",
                       (unsigned long long)(uint64_t)values[i], tensor_shape_text(a, text));
  return VIVA_OK;
}

static viva_status refuse_type(const viva_tensor *indices, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_DTYPE, "indices are %s, in a tensor %s; expected an integer type",
                   viva_dtype_name(indices->dtype), tensor_shape_text(indices, text));
}

viva_status index_hold(const viva_tensor *indices, const viva_tensor *a, tensor_local *room, viva_tensor **held,
                       viva_error *error) {
  *held = NULL;
  TRY(operand_need(indices, "indices", error));
  if (!dtype_is_integer(indices->dtype)) return refuse_type(indices, error);
  TRY(operand_dense_in(room, indices, VIVA_I64, held, error));
  const viva_status status = indices->dtype == VIVA_U64 ? check_unsigned(*held, a, error) : VIVA_OK;
  if (status != VIVA_OK) viva_tensor_release(*held), *held = NULL;
  return status;
}

viva_status index_check(const viva_tensor *held, const viva_tensor *a, uint32_t axis, viva_error *error) {
  const int64_t *values = (const int64_t *)(const void *)held->data;
  const uint64_t size = axis < a->rank ? a->shape[axis] : a->elements;
  for (size_t i = 0; i < held->elements; i++)
    if (index_place(values[i], size) >= size) return index_refuse(values[i], a, axis, error);
  return VIVA_OK;
}

viva_status index_refuse(int64_t index, const viva_tensor *a, uint32_t axis, viva_error *error) {
  char text[128];
  if (axis == a->rank)
    return error_set(error, VIVA_E_SIZE, "index %lld is outside the %zu elements of the tensor %s", (long long)index,
                     a->elements, tensor_shape_text(a, text));
  return error_set(error, VIVA_E_SIZE, "index %lld is outside axis %u of the tensor %s", (long long)index,
                   (unsigned)axis, tensor_shape_text(a, text));
}

/* -- take: blocks of what lies behind the axis, for each index, for each place before it */

typedef struct taking {
  const char *from;
  const int64_t *indices;
  char *to;
  size_t count, block; /* indices; bytes */
  uint64_t size;       /* of the axis */
  _Atomic size_t bad;  /* 1 + the number of an index that is outside */
} taking;

/* Blocks of so many bytes, which lie anyhow: rows of a view need not be aligned to their size. */
#define TAKE_ELEMENTS(BYTES)                                                                                           \
  for (; i < end; i++) {                                                                                               \
    const uint64_t at = index_place(indices[i % count], size);                                                         \
    if (at >= size) break;                                                                                             \
    memcpy(to + i * BYTES, from + (i / count * size + at) * BYTES, BYTES);                                             \
  }
/* The same for one place before the axis, where nothing is divided. */
#define TAKE_LINE(BYTES)                                                                                               \
  for (; i < end; i++) {                                                                                               \
    const uint64_t at = index_place(indices[i], size);                                                                 \
    if (at >= size) break;                                                                                             \
    memcpy(to + i * BYTES, from + at * BYTES, BYTES);                                                                  \
  }

static void take_part(void *arg, size_t begin, size_t end, size_t thread) {
  taking *t = arg;
  /* The bytes that are written could be t's for all that a compiler knows: so it is read once. */
  const int64_t *const indices = t->indices;
  const char *const from = t->from;
  char *const to = t->to;
  const uint64_t size = t->size;
  const size_t count = t->count, block = t->block;
  size_t i = begin;
  const int line = end <= count;
  (void)thread;
  if (line && block == 8) {
    TAKE_LINE(8)
  } else if (line && block == 4) {
    TAKE_LINE(4)
  } else if (line && block == 2) {
    TAKE_LINE(2)
  } else if (block == 4) {
    TAKE_ELEMENTS(4)
  } else if (block == 8) {
    TAKE_ELEMENTS(8)
  } else {
    for (; i < end; i++) {
      const uint64_t at = index_place(indices[i % count], size);
      if (at >= size) break;
      memcpy(to + i * block, from + (i / count * size + at) * block, block);
    }
  }
  if (i < end) atomic_store_explicit(&t->bad, i + 1, memory_order_relaxed);
}

/* What take makes: its shape, and how much lies before and behind the axis. */
typedef struct taken {
  uint32_t rank;
  uint64_t shape[2 * VIVA_TENSOR_MAX_RANK];
  uint64_t before, size, behind;
  uint32_t axis; /* a's rank: all */
} taken;

static viva_status refuse_axes(const viva_tensor *a, const viva_tensor *indices, viva_error *error) {
  char first[128], second[128];
  return error_set(error, VIVA_E_ARGUMENT, "take: indices %s in an axis of %s give more than 8 axes",
                   tensor_shape_text(indices, second), tensor_shape_text(a, first));
}

static viva_status describe(const viva_tensor *a, const viva_tensor *indices, int32_t axis, taken *t,
                            viva_error *error) {
  uint32_t at = 0;
  const int all = axis == VIVA_AXIS_ALL;
  t->rank = 0, t->before = 1, t->size = a->elements, t->behind = 1, t->axis = a->rank;
  if (!all) TRY(operand_axis(a, axis, &at, error));
  for (uint32_t i = 0; !all && i < at; i++) t->before *= a->shape[i], t->shape[t->rank++] = a->shape[i];
  for (uint32_t i = 0; i < indices->rank; i++) t->shape[t->rank++] = indices->shape[i];
  for (uint32_t i = at + 1; !all && i < a->rank; i++) t->behind *= a->shape[i], t->shape[t->rank++] = a->shape[i];
  if (!all) t->size = a->shape[at], t->axis = at;
  return t->rank <= VIVA_TENSOR_MAX_RANK ? VIVA_OK : refuse_axes(a, indices, error);
}

/* to: dense, of a's type. whole: nothing is written when an index is outside. */
static viva_status take(const viva_tensor *a, const viva_tensor *indices, const taken *t, int whole, viva_tensor *to,
                        viva_error *error) {
  tensor_local room[2];
  viva_tensor *dense = NULL, *places = NULL;
  if (to->elements == 0 && indices->elements == 0) return VIVA_OK;
  viva_status status = index_hold(indices, a, &room[0], &places, error);
  if (status == VIVA_OK && whole && t->before > 0) status = index_check(places, a, t->axis, error);
  if (status == VIVA_OK) status = operand_dense_in(&room[1], a, a->dtype, &dense, error);
  if (status == VIVA_OK) {
    taking job = {.from = dense->data,
                  .indices = (const int64_t *)(const void *)places->data,
                  .to = to->data,
                  .count = places->elements,
                  .block = (size_t)t->behind * tensor_element_bytes(a->dtype),
                  .size = t->size};
    const size_t blocks = (size_t)t->before * places->elements;
    if (to->elements < 2 * PARALLEL_ELEMENTS)
      take_part(&job, 0, blocks, 0);
    else
      pool_for(a->storage->rt->pool, blocks, 1 + PARALLEL_ELEMENTS / (size_t)(t->behind + 1), take_part, &job);
    const size_t bad = atomic_load_explicit(&job.bad, memory_order_relaxed);
    if (bad) status = index_refuse(job.indices[(bad - 1) % job.count], a, t->axis, error);
  }
  viva_tensor_release(dense), viva_tensor_release(places);
  return status;
}

viva_status viva_tensor_take(const viva_tensor *a, const viva_tensor *indices, int32_t axis, viva_tensor **out,
                             viva_error *error) {
  taken t;
  viva_tensor *made;
  TRY(operand_place(out, error));
  TRY(operand_need(a, "a", error));
  TRY(operand_need(indices, "indices", error));
  TRY(describe(a, indices, axis, &t, error));
  TRY(tensor_empty(a->storage->rt, a->dtype, t.rank, t.shape, &made, error));
  const viva_status status = take(a, indices, &t, 0, made, error);
  if (status == VIVA_OK)
    *out = made;
  else
    viva_tensor_release(made);
  return status;
}

viva_status viva_tensor_take_into(const viva_tensor *a, const viva_tensor *indices, int32_t axis, viva_tensor *out,
                                  viva_error *error) {
  taken t;
  viva_tensor *made;
  TRY(operand_need(a, "a", error));
  TRY(operand_need(indices, "indices", error));
  TRY(describe(a, indices, axis, &t, error));
  TRY(operand_out(out, t.rank, t.shape, error));
  if (out->dtype == a->dtype && tensor_contiguous(out) && !tensor_overlap(out, a) && !tensor_overlap(out, indices))
    return take(a, indices, &t, 1, out, error);
  TRY(viva_tensor_take(a, indices, axis, &made, error));
  operand_move(out, made);
  viva_tensor_release(made);
  return VIVA_OK;
}
