/* tensor/take.c: elements by index. */
#include <stdatomic.h>
#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "base/pool.h"
#include "tensor/index.h"
#include "tensor/walk.h"

viva_status index_hold(const viva_tensor *indices, viva_tensor **held, viva_error *error) {
  *held = NULL;
  TRY(operand_need(indices, "indices", error));
  if (!dtype_is_integer(indices->dtype))
    return error_set(error, VIVA_E_DTYPE, "indices are %s; expected an integer type", viva_dtype_name(indices->dtype));
  TRY(operand_dense(indices, VIVA_I64, held, error));
  const int64_t *values = viva_tensor_elements(*held);
  for (uint64_t i = 0; indices->dtype == VIVA_U64 && i < (*held)->elements; i++)
    if (values[i] < 0) { /* above I64: not one from the end */
      const uint64_t index = (uint64_t)values[i];
      viva_tensor_release(*held), *held = NULL;
      return error_set(error, VIVA_E_SIZE, "index %llu is outside any axis", (unsigned long long)index);
    }
  return VIVA_OK;
}

viva_status index_refuse(int64_t index, uint64_t size, viva_error *error) {
  return error_set(error, VIVA_E_SIZE, "index %lld is outside an axis of %llu", (long long)index,
                   (unsigned long long)size);
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

/* Blocks of one element. */
#define TAKE_ELEMENTS(T)                                                                                               \
  for (; i < end; i++) {                                                                                               \
    const uint64_t at = index_place(t->indices[i % t->count], t->size);                                                \
    if (at >= t->size) break;                                                                                          \
    ((T *)(void *)t->to)[i] = ((const T *)(const void *)t->from)[i / t->count * t->size + at];                         \
  }
/* The same for one place before the axis, where nothing is divided. */
#define TAKE_LINE(T)                                                                                                   \
  for (; i < end; i++) {                                                                                               \
    const uint64_t at = index_place(t->indices[i], t->size);                                                           \
    if (at >= t->size) break;                                                                                          \
    ((T *)(void *)t->to)[i] = ((const T *)(const void *)t->from)[at];                                                  \
  }

static void take_part(void *arg, size_t begin, size_t end, size_t thread) {
  taking *t = arg;
  size_t i = begin;
  const int line = end <= t->count;
  (void)thread;
  if (line && t->block == 8) {
    TAKE_LINE(uint64_t)
  } else if (line && t->block == 4) {
    TAKE_LINE(uint32_t)
  } else if (t->block == 4) {
    TAKE_ELEMENTS(uint32_t)
  } else if (t->block == 8) {
    TAKE_ELEMENTS(uint64_t)
  } else {
    for (; i < end; i++) {
      const uint64_t at = index_place(t->indices[i % t->count], t->size);
      if (at >= t->size) break;
      memcpy(t->to + i * t->block, t->from + (i / t->count * t->size + at) * t->block, t->block);
    }
  }
  if (i < end) atomic_store_explicit(&t->bad, i + 1, memory_order_relaxed);
}

/* What take makes: its shape, and how much lies before and behind the axis. */
typedef struct taken {
  uint32_t rank;
  uint64_t shape[2 * VIVA_TENSOR_MAX_RANK];
  uint64_t before, size, behind;
} taken;

static viva_status describe(const viva_tensor *a, const viva_tensor *indices, int32_t axis, taken *t,
                            viva_error *error) {
  uint32_t at = 0;
  char text[128];
  const int all = axis == VIVA_AXIS_ALL;
  *t = (taken){.before = 1, .size = a->elements, .behind = 1};
  if (!all) TRY(operand_axis(a, axis, &at, error));
  for (uint32_t i = 0; !all && i < at; i++) t->before *= a->shape[i], t->shape[t->rank++] = a->shape[i];
  for (uint32_t i = 0; i < indices->rank; i++) t->shape[t->rank++] = indices->shape[i];
  for (uint32_t i = at + 1; !all && i < a->rank; i++) t->behind *= a->shape[i], t->shape[t->rank++] = a->shape[i];
  if (!all) t->size = a->shape[at];
  if (t->rank <= VIVA_TENSOR_MAX_RANK) return VIVA_OK;
  return error_set(error, VIVA_E_ARGUMENT, "take: indices with %u axes in one of %s give more than 8",
                   (unsigned)indices->rank, tensor_shape_text(a, text));
}

/* to: dense, of a's type. */
static viva_status take(const viva_tensor *a, const viva_tensor *indices, const taken *t, viva_tensor *to,
                        viva_error *error) {
  viva_tensor *dense = NULL, *places = NULL;
  if (to->elements == 0 && indices->elements == 0) return VIVA_OK;
  viva_status status = index_hold(indices, &places, error);
  if (status == VIVA_OK) status = operand_dense(a, a->dtype, &dense, error);
  if (status == VIVA_OK) {
    taking job = {.from = dense->data,
                  .indices = (const int64_t *)(const void *)places->data,
                  .to = to->data,
                  .count = places->elements,
                  .block = (size_t)t->behind * tensor_element_bytes(a->dtype),
                  .size = t->size};
    const size_t blocks = (size_t)t->before * places->elements;
    pool *threads = to->elements >= 2 * PARALLEL_ELEMENTS ? a->storage->rt->pool : NULL;
    pool_for(threads, blocks, 1 + PARALLEL_ELEMENTS / (size_t)(t->behind + 1), take_part, &job);
    const size_t bad = atomic_load_explicit(&job.bad, memory_order_relaxed);
    if (bad) status = index_refuse(job.indices[(bad - 1) % job.count], t->size, error);
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
  const viva_status status = take(a, indices, &t, made, error);
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
    return take(a, indices, &t, out, error);
  TRY(viva_tensor_take(a, indices, axis, &made, error));
  operand_move(out, made);
  viva_tensor_release(made);
  return VIVA_OK;
}
