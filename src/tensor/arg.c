/* tensor/arg.c: argmax and argmin.
 *
 * Lines along the reduced axis are made dense first. A line is searched in blocks by the reducers' vectors: a block after the
 * first for its extreme alone, and for the place when that beats the best so far.
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
  red_piece extreme;
  red_arg arg;
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

static int64_t search_line(const search *s, const char *line) {
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
    red_value block = best;
    if (done > 0) s->extreme(x, part, 0, &block);
    if (done == 0 || beats(s, &block, &best)) found = done + s->arg(x, part, &best);
  }
  return (int64_t)found;
}

static void search_lines(void *arg, size_t begin, size_t end, size_t thread) {
  const search *s = arg;
  (void)thread;
  for (size_t i = begin; i < end; i++) s->to[i] = search_line(s, s->lines + i * s->length * s->element);
}

/* -- columns: the axis in front of the dense one is searched for all its columns at once */

enum { ROWS_AT_ONCE = 1 << 20 }; /* their numbers fit 32 bits */

typedef struct columns {
  const char *from; /* [planes][length][width] */
  size_t length, width, strips, element;
  reducer_type kind;
  int largest;
  int64_t *to; /* [planes][width] */
} columns;

static void search_columns(void *arg, size_t begin, size_t end, size_t thread) {
  const columns *c = arg;
  const red_arg_rows rows = reducers_get()->arg_rows[c->largest][c->kind];
  const int64_t step = (int64_t)(c->width * c->element);
  (void)thread;
  for (size_t s = begin; s < end; s++) {
    _Alignas(64) char best[RED_PIECE * 8];
    const size_t plane = s / c->strips, col = s % c->strips * RED_PIECE;
    const size_t n = c->width - col < RED_PIECE ? c->width - col : RED_PIECE;
    const char *from = c->from + plane * c->length * c->width * c->element + col * c->element;
    int64_t *to = c->to + plane * c->width + col;
    memcpy(best, from, n * c->element); /* row 0 */
    memset(to, 0, n * sizeof *to);
    for (size_t r = 1; r < c->length; r += ROWS_AT_ONCE) {
      const size_t part = c->length - r < ROWS_AT_ONCE ? c->length - r : ROWS_AT_ONCE;
      rows(from + (int64_t)r * step, step, part, n, (int64_t)r, best, to);
    }
  }
}

/* 1 when it was done so: a is dense, of a type that is searched as it is, and its searched axis is not the last. */
static int arg_columns(const viva_tensor *a, uint32_t axis, const search *s) {
  columns c = {.from = a->data, .length = (size_t)a->shape[axis], .width = 1, .element = s->element, .kind = s->kind};
  if (s->from != s->type || !tensor_contiguous(a)) return 0;
  for (uint32_t i = axis + 1; i < a->rank; i++) c.width *= (size_t)a->shape[i];
  if (c.width < 8) return 0;
  c.largest = s->largest, c.to = s->to;
  c.strips = (c.width + RED_PIECE - 1) / RED_PIECE;
  pool *threads = a->elements >= 2 * PARALLEL_ELEMENTS ? a->storage->rt->pool : NULL;
  pool_for(threads, a->elements / (c.length * c.width) * c.strips, 1, search_columns, &c);
  return 1;
}

/* A search among a's elements; where the lines are, and where the places go, is yet to be said. */
static void begin(search *s, const viva_tensor *a, size_t length, int largest) {
  s->length = length, s->element = tensor_element_bytes(a->dtype), s->largest = largest, s->from = a->dtype;
  s->type = dtype_is_float(a->dtype) ? dtype_kernel(a->dtype) : dtype_is_signed(a->dtype) ? VIVA_I64 : VIVA_U64;
  s->kind = kind_of(s->type);
  s->extreme = reducers_get()->piece[largest ? RED_MAX : RED_MIN][s->kind];
  s->arg = reducers_get()->arg[largest != 0][s->kind];
}

int64_t arg_line(const viva_tensor *a, const char *line, size_t n, int largest) {
  search s;
  begin(&s, a, n, largest);
  return search_line(&s, line);
}

static viva_status refuse_axes(const viva_tensor *a, int largest, viva_error *error) {
  char text[128];
  return error_set(error, VIVA_E_ARGUMENT, "%s takes one axis of the tensor %s, or all", largest ? "argmax" : "argmin",
                   tensor_shape_text(a, text));
}

viva_status arg_new(const viva_tensor *a, uint32_t mask, int largest, uint32_t rank, const uint64_t *shape,
                    tensor_local *room, viva_tensor **out, viva_error *error) {
  const uint32_t all = (1u << a->rank) - 1;
  if (mask != all && (mask == 0 || (mask & (mask - 1)) != 0)) return refuse_axes(a, largest, error);
  viva_tensor turned = *a, *dense = NULL; /* a view without a reference: the reduced axis last */
  uint64_t length = a->elements;
  uint32_t axis = 0;
  if (mask != all) {
    while (!(mask >> axis & 1)) axis++;
    length = a->shape[axis];
    for (uint32_t i = axis; i + 1 < a->rank; i++)
      turned.shape[i] = a->shape[i + 1], turned.strides[i] = a->strides[i + 1];
    turned.shape[a->rank - 1] = a->shape[axis], turned.strides[a->rank - 1] = a->strides[axis];
  }
  TRY(tensor_empty_in(room, a->storage->rt, VIVA_I64, rank, shape, out, error));
  if ((*out)->elements == 0) return VIVA_OK;
  search s;
  begin(&s, a, (size_t)length, largest);
  s.to = (int64_t *)(void *)(*out)->data;
  if (mask != all && arg_columns(a, axis, &s)) return VIVA_OK;
  viva_status status = VIVA_OK;
  if (!tensor_contiguous(&turned)) status = operand_copy(&turned, a->dtype, &dense, error);
  if (status != VIVA_OK) {
    viva_tensor_release(*out);
    *out = NULL;
    return status;
  }
  s.lines = dense ? dense->data : turned.data;
  pool *threads = a->elements >= 2 * PARALLEL_ELEMENTS ? a->storage->rt->pool : NULL;
  pool_for(threads, (*out)->elements, 1 + PARALLEL_ELEMENTS / s.length, search_lines, &s);
  viva_tensor_release(dense);
  return VIVA_OK;
}
