/* tensor/lanes.c: rows out of lanes, and lanes out of rows. */
#include "tensor/lanes.h"

#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "base/pool.h"
#include "tensor/cast.h"
#include "tensor/few.h"
#include "tensor/view.h"
#include "tensor/walk.h"

/* t with axis `from` moved to place `to`: an operand without a reference. */
static viva_tensor moved(const viva_tensor *t, uint32_t from, uint32_t to) {
  viva_tensor m = *t;
  const uint64_t size = t->shape[from];
  const int64_t stride = t->strides[from];
  for (; from < to; from++) m.shape[from] = m.shape[from + 1], m.strides[from] = m.strides[from + 1];
  for (; from > to; from--) m.shape[from] = m.shape[from - 1], m.strides[from] = m.strides[from - 1];
  m.shape[to] = size, m.strides[to] = stride;
  return m;
}

typedef struct job {
  const lanes *l;
  const char *in;
  viva_dtype from, to; /* as rows lie in memory; what is not computed with is converted row by row */
  char *out[2], *scratch;
  size_t in_row, n, out_row[2];     /* bytes, but n */
  size_t in_bytes, out_bytes, each; /* of the scratch of a thread: a converted row, a result's, all */
} job;

static inline void run_row(const job *j, const char *in, char *out, char *second, char *scratch) {
  const lanes *l = j->l;
  char *y = j->out_bytes ? scratch + j->in_bytes : out;
  const int64_t element = (int64_t)tensor_element_bytes(l->type), made = (int64_t)tensor_element_bytes(l->out_type);
  if (j->in_bytes) {
    cast_line(l->type, scratch, element, j->from, in, (int64_t)tensor_element_bytes(j->from), j->n);
    in = scratch;
  }
  l->fn(l->arg, in, j->n, y, second, scratch + j->in_bytes + j->out_bytes);
  if (j->out_bytes)
    cast_line(j->to, out, (int64_t)tensor_element_bytes(j->to), l->out_type, y, made, (size_t)l->length);
}

static void run_rows(void *arg, size_t begin, size_t end, size_t thread) {
  const job *j = arg;
  for (size_t r = begin; r < end; r++)
    run_row(j, j->in + r * j->in_row, j->out[0] + r * j->out_row[0], j->out[1] ? j->out[1] + r * j->out_row[1] : NULL,
            j->scratch + thread * j->each);
}

enum { FEW_BYTES = 2048 /* of scratch that lie on the stack */, ALIGN = 32 };

/* Bytes of scratch for n elements of a row that is converted, a multiple of ALIGN; 1: they overflow. */
static inline int row_bytes(size_t n, viva_dtype type, size_t *bytes) {
  if (__builtin_mul_overflow(n, tensor_element_bytes(type), bytes)) return 1;
  if (__builtin_add_overflow(*bytes, ALIGN - 1, bytes)) return 1;
  *bytes &= ~(size_t)(ALIGN - 1);
  return 0;
}

/* The scratch of a thread, and of all; 1: they overflow. */
static inline int plan_scratch(job *j, size_t threads, size_t *bytes) {
  const lanes *l = j->l;
  j->in_bytes = j->out_bytes = 0;
  if (j->from != l->type && row_bytes(j->n, l->type, &j->in_bytes)) return 1;
  if (j->to != l->out_type && row_bytes((size_t)l->length, l->out_type, &j->out_bytes)) return 1;
  if (__builtin_add_overflow(j->in_bytes, j->out_bytes, &j->each)) return 1;
  if (__builtin_add_overflow(j->each, l->scratch, &j->each) || __builtin_add_overflow(j->each, ALIGN - 1, &j->each))
    return 1;
  j->each &= ~(size_t)(ALIGN - 1);
  return __builtin_mul_overflow(j->each, threads, bytes);
}

/* Dense rows to dense rows. */
static inline viva_status run(const lanes *l, const viva_tensor *rows, viva_tensor *const *out, viva_error *error) {
  runtime *rt = rows->storage->rt;
  const size_t n = (size_t)rows->shape[rows->rank - 1];
  const size_t count = l->length ? out[0]->elements / (size_t)l->length : 0;
  const int large = count * (n + 1) >= PARALLEL_ELEMENTS && count > 1;
  pool *threads = large ? rt->pool : NULL;
  _Alignas(ALIGN) char few[FEW_BYTES];
  size_t bytes;
  char text[128];
  job j; /* not cleared */
  j.l = l, j.n = n, j.in = rows->data, j.from = rows->dtype, j.to = out[0]->dtype;
  j.in_row = n * tensor_element_bytes(j.from);
  j.out[0] = out[0]->data, j.out_row[0] = (size_t)l->length * tensor_element_bytes(j.to);
  j.out[1] = out[1] ? out[1]->data : NULL, j.out_row[1] = (size_t)l->length * sizeof(int64_t);
  if (plan_scratch(&j, (size_t)pool_threads(threads), &bytes))
    return error_set(error, VIVA_E_LIMIT, "axis %d of the tensor %s is too long", (int)l->axis,
                     tensor_shape_text(l->a, text));
  j.scratch = bytes <= FEW_BYTES ? few : mem_scratch_alloc(&rt->mem, bytes);
  if (!j.scratch) return error_set(error, VIVA_E_MEMORY, "no memory for %zu bytes beside the rows", bytes);
  pool_for(threads, count, 1 + PARALLEL_ELEMENTS / 4 / (n + 1), run_rows, &j);
  if (bytes > FEW_BYTES) mem_scratch_free(&rt->mem, j.scratch);
  return VIVA_OK;
}

typedef struct rooms {
  tensor_local rows, made[2];
} rooms;

/* The results, whose rows stand last. made[k]: the tensor to write, or NULL: one is
 * made, kept[k]: to stay. What was made is released after an error. */
static inline viva_status make(const lanes *l, uint32_t axis, const int *kept, rooms *room, viva_tensor **made,
                               viva_error *error) {
  const viva_tensor *rows = l->a;
  runtime *rt = rows->storage->rt;
  const uint32_t last = rows->rank - 1;
  viva_tensor turned, *held = NULL, *given = made[0];
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  if (axis != last) {
    turned = moved(rows, axis, last);
    rows = &turned;
  }
  if (!tensor_contiguous(rows)) {
    TRY(operand_copy_in(&room->rows, rows, l->type, &held, error));
    rows = held;
  }
  for (uint32_t i = 0; i < last; i++) shape[i] = rows->shape[i];
  shape[last] = l->length;
  viva_status status = VIVA_OK;
  if (!given)
    status = tensor_empty_in(kept[0] ? NULL : &room->made[0], rt, l->result, last + 1, shape, &made[0], error);
  if (status == VIVA_OK && l->second)
    status = tensor_empty_in(kept[1] ? NULL : &room->made[1], rt, VIVA_I64, last + 1, shape, &made[1], error);
  if (status == VIVA_OK) status = run(l, rows, made, error);
  viva_tensor_release(held);
  if (status == VIVA_OK) return VIVA_OK;
  if (!given) viva_tensor_release(made[0]);
  viva_tensor_release(made[1]);
  return status;
}

/* *out = t, whose rows stand last, as the caller wants it; t is released. */
static inline viva_status finish(viva_tensor *t, uint32_t axis, viva_tensor **out, viva_error *error) {
  if (axis + 1 == t->rank) {
    *out = t;
    return VIVA_OK;
  }
  const viva_tensor turned = moved(t, t->rank - 1, axis);
  const viva_status status = operand_copy(&turned, t->dtype, out, error);
  viva_tensor_release(t);
  return status;
}

/* -- few elements: rows on the stack */

static inline int are_few(const lanes *l, uint32_t axis) {
  const uint64_t n = l->a->shape[axis];
  if (!few_fits(l->a) || l->scratch > FEW_BYTES) return 0;
  return l->length <= n || l->a->elements / (size_t)n * l->length <= FEW;
}

/* made[k] = the rows of a result, where it is wanted: a new tensor, or into[k]. */
static viva_status run_few(const lanes *l, uint32_t axis, viva_tensor *const *into, const int *wanted,
                           viva_tensor **made, viva_error *error) {
  const viva_tensor *a = l->a;
  const uint32_t last = a->rank - 1;
  const size_t n = (size_t)a->shape[axis], size = tensor_element_bytes(l->type), m = (size_t)l->length;
  const viva_dtype types[2] = {l->out_type, VIVA_I64}, results[2] = {l->result, VIVA_I64};
  _Alignas(ALIGN) char scratch[FEW_BYTES];
  few_room room, values[2];
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  const char *in = few_lines(a, a->rank, a->shape, 1u << axis, l->type, &room);
  char *out = values[0].bytes, *second = values[1].bytes;
  for (size_t i = 0; i < a->elements; i += n, in += n * size) {
    l->fn(l->arg, in, n, out, second, scratch);
    out += m * tensor_element_bytes(l->out_type), second += m * sizeof(int64_t);
  }
  for (uint32_t i = 0; i <= last; i++) shape[i] = i == axis ? l->length : a->shape[i];
  for (int k = 0; k < 2; k++) {
    made[k] = into[k];
    if (!wanted[k] || into[k]) continue;
    const viva_status status = tensor_empty(a->storage->rt, results[k], last + 1, shape, &made[k], error);
    if (status == VIVA_OK) continue;
    if (k == 1 && !into[0]) viva_tensor_release(made[0]);
    return status;
  }
  for (int k = 0; k < 2; k++) {
    if (!made[k]) continue;
    if (axis == last) {
      few_put(made[k], results[k], types[k], values[k].bytes);
    } else {
      const viva_tensor turned = moved(made[k], axis, last);
      few_put(&turned, results[k], types[k], values[k].bytes);
    }
  }
  return VIVA_OK;
}

viva_status lanes_new(const lanes *l, viva_tensor **out, viva_tensor **second, viva_error *error) {
  viva_tensor *made[2] = {NULL}, *found = NULL;
  rooms room;
  uint32_t axis;
  TRY(operand_axis(l->a, l->axis, &axis, error));
  if (are_few(l, axis)) {
    static viva_tensor *const none[2] = {NULL, NULL};
    const int wanted[2] = {out != NULL, second != NULL};
    TRY(run_few(l, axis, none, wanted, made, error));
    if (out) *out = made[0];
    if (second) *second = made[1];
    return VIVA_OK;
  }
  const int last = axis + 1 == l->a->rank;
  const int kept[2] = {last && out, last && second};
  TRY(make(l, axis, kept, &room, made, error));
  viva_status status = VIVA_OK;
  if (out)
    status = finish(made[0], axis, &found, error);
  else
    viva_tensor_release(made[0]);
  if (second && status == VIVA_OK)
    status = finish(made[1], axis, second, error);
  else
    viva_tensor_release(made[1]);
  if (status == VIVA_OK && out)
    *out = found;
  else
    viva_tensor_release(found);
  return status;
}

/* to = t, whose rows stand last. */
static inline void put(const viva_tensor *to, const viva_tensor *t, uint32_t axis) {
  if (axis + 1 == t->rank) {
    operand_move(to, t);
    return;
  }
  const viva_tensor turned = moved(t, t->rank - 1, axis);
  operand_move(to, &turned);
}

/* Rows may be written where they belong. */
static inline int is_direct(const lanes *l, const viva_tensor *to, uint32_t axis) {
  if (axis + 1 != l->a->rank || to->dtype != l->result || !tensor_contiguous(to) || tensor_overlap(to, l->a)) return 0;
  for (int i = 0; i < 2; i++)
    if (l->beside[i] && tensor_overlap(to, l->beside[i])) return 0;
  return 1;
}

viva_status lanes_into(const lanes *l, viva_tensor *out, viva_tensor *second, viva_error *error) {
  static const int none[2] = {0, 0};
  viva_tensor *made[2] = {NULL};
  rooms room;
  uint32_t axis;
  TRY(operand_axis(l->a, l->axis, &axis, error));
  if (are_few(l, axis)) {
    viva_tensor *const into[2] = {out, second};
    return run_few(l, axis, into, none, made, error);
  }
  const int direct = out && !l->second && is_direct(l, out, axis);
  if (direct) made[0] = out;
  TRY(make(l, axis, none, &room, made, error));
  if (direct) return VIVA_OK;
  if (out) put(out, made[0], axis);
  if (second) put(second, made[1], axis);
  viva_tensor_release(made[0]), viva_tensor_release(made[1]);
  return VIVA_OK;
}
