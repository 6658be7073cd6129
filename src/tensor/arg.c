/* tensor/arg.c: argmax and argmin.
 *
 * Lines along the reduced axis are made dense first. A line is searched in blocks: the block's extreme by the reducers'
 * vectors; only a block that beats the best so far is looked through for the place.
 */
#include "tensor/arg.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/pool.h"
#include "tensor/cast.h"
#include "tensor/reducers.h"
#include "tensor/walk.h"

typedef struct search {
  const char *lines;
  size_t length, element;
  viva_dtype from, type; /* type: of reducers.h */
  reducer_type kind;
  int largest;
  int64_t *to;
} search;

static reducer_type kind_of(viva_dtype t) {
  return t == VIVA_F64 ? RED_F64 : t == VIVA_F32 ? RED_F32 : t == VIVA_I64 ? RED_I64 : RED_U64;
}

#define BEATS(T, member)                                                                                               \
  {                                                                                                                    \
    const T x = block->member, y = best->member;                                                                       \
    return s->largest ? x > y : x < y;                                                                                 \
  }

/* For floats NaN beats all but NaN. */
static int beats(const search *s, const red_value *block, const red_value *best) {
  switch (s->kind) {
  case RED_F64:
    if (isnan(block->f64) || isnan(best->f64)) return isnan(block->f64) && !isnan(best->f64);
    BEATS(double, f64)
  case RED_F32:
    if (isnan(block->f32) || isnan(best->f32)) return isnan(block->f32) && !isnan(best->f32);
    BEATS(float, f32)
  case RED_I64: BEATS(int64_t, i64)
  default: BEATS(uint64_t, u64)
  }
}

#define PLACE(T, member)                                                                                               \
  {                                                                                                                    \
    const T *a = x, value = best->member;                                                                              \
    size_t i = 0;                                                                                                      \
    while (i < n && !(a[i] == value || (value != value && a[i] != a[i]))) i++;                                         \
    return i;                                                                                                          \
  }

static size_t place_of(const search *s, const void *x, size_t n, const red_value *best) {
  switch (s->kind) {
  case RED_F64: PLACE(double, f64)
  case RED_F32: PLACE(float, f32)
  case RED_I64: PLACE(int64_t, i64)
  default: PLACE(uint64_t, u64)
  }
}

static void start_at(const search *s, const void *x, red_value *value) {
  memcpy(value, x, s->kind == RED_F32 ? sizeof(float) : sizeof(double));
}

static int64_t search_line(const search *s, const char *line) {
  const red_piece piece = reducers_get()->piece[s->largest ? RED_MAX : RED_MIN][s->kind];
  char buffer[RED_PIECE * 8];
  red_value best = {.u64 = 0};
  size_t found = 0;
  for (size_t done = 0; done < s->length; done += RED_PIECE) {
    const size_t part = s->length - done < RED_PIECE ? s->length - done : RED_PIECE;
    const char *x = line + done * s->element;
    if (s->from != s->type) {
      cast_line(s->type, buffer, (int64_t)tensor_element_bytes(s->type), s->from, x, (int64_t)s->element, part);
      x = buffer;
    }
    red_value block = {.u64 = 0};
    start_at(s, x, &block);
    if (done == 0) best = block;
    piece(x, part, 0, &block);
    if (done > 0 && !beats(s, &block, &best)) continue;
    best = block;
    found = done + place_of(s, x, part, &best);
  }
  return (int64_t)found;
}

static void search_lines(void *arg, size_t begin, size_t end, size_t thread) {
  const search *s = arg;
  (void)thread;
  for (size_t i = begin; i < end; i++) s->to[i] = search_line(s, s->lines + i * s->length * s->element);
}

viva_status arg_new(const viva_tensor *a, uint32_t mask, int largest, uint32_t rank, const uint64_t *shape,
                    viva_tensor **out, viva_error *error) {
  const uint32_t all = (1u << a->rank) - 1;
  if (mask != all && (mask == 0 || (mask & (mask - 1)) != 0))
    return error_set(error, VIVA_E_ARGUMENT, "%s takes one axis, or all", largest ? "argmax" : "argmin");
  viva_tensor turned = *a, *dense; /* a view without a reference: the reduced axis last */
  uint64_t length = a->elements;
  if (mask != all) {
    uint32_t axis = 0;
    while (!(mask >> axis & 1)) axis++;
    length = a->shape[axis];
    for (uint32_t i = axis; i + 1 < a->rank; i++)
      turned.shape[i] = a->shape[i + 1], turned.strides[i] = a->strides[i + 1];
    turned.shape[a->rank - 1] = a->shape[axis], turned.strides[a->rank - 1] = a->strides[axis];
  }
  TRY(tensor_empty(a->storage->rt, VIVA_I64, rank, shape, out, error));
  if ((*out)->elements == 0) return VIVA_OK;
  viva_status status = VIVA_OK;
  dense = NULL;
  if (!operand_contiguous(&turned)) status = operand_copy(&turned, a->dtype, &dense, error);
  if (status != VIVA_OK) {
    viva_tensor_release(*out);
    *out = NULL;
    return status;
  }
  search s = {.lines = dense ? dense->data : turned.data,
              .length = (size_t)length,
              .element = tensor_element_bytes(a->dtype),
              .from = a->dtype,
              .type = dtype_is_float(a->dtype)    ? dtype_kernel(a->dtype)
                      : dtype_is_signed(a->dtype) ? VIVA_I64
                                                  : VIVA_U64,
              .largest = largest,
              .to = (int64_t *)(void *)(*out)->data};
  s.kind = kind_of(s.type);
  pool *threads = a->elements >= 2 * PARALLEL_ELEMENTS ? a->storage->rt->pool : NULL;
  pool_for(threads, (*out)->elements, 1 + PARALLEL_ELEMENTS / s.length, search_lines, &s);
  viva_tensor_release(dense);
  return VIVA_OK;
}
