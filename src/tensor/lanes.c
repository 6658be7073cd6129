/* tensor/lanes.c: rows out of lanes, and lanes out of rows. */
#include "tensor/lanes.h"

#include <string.h>

#include "base/ck.h"
#include "base/error.h"
#include "base/pool.h"
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
  char *out[2], *scratch;
  size_t in_row, n, out_row[2];
} job;

static void run_rows(void *arg, size_t begin, size_t end, size_t thread) {
  const job *j = arg;
  for (size_t r = begin; r < end; r++)
    j->l->fn(j->l->arg, j->in + r * j->in_row, j->n, j->out[0] + r * j->out_row[0],
             j->out[1] ? j->out[1] + r * j->out_row[1] : NULL, j->scratch + thread * j->l->scratch);
}

static viva_status run(const lanes *l, const viva_tensor *rows, viva_tensor *const *out, viva_error *error) {
  runtime *rt = rows->storage->rt;
  const size_t n = (size_t)rows->shape[rows->rank - 1];
  const size_t count = l->length ? out[0]->elements / (size_t)l->length : 0;
  const int large = count * (n + 1) >= PARALLEL_ELEMENTS && count > 1;
  pool *threads = large ? rt->pool : NULL;
  size_t bytes;
  if (__builtin_mul_overflow(l->scratch, (size_t)pool_threads(threads), &bytes))
    return error_set(error, VIVA_E_LIMIT, "the axis is too long");
  job j = {.l = l,
           .in = rows->data,
           .n = n,
           .in_row = n * tensor_element_bytes(l->type),
           .out = {out[0]->data, out[1] ? out[1]->data : NULL},
           .out_row = {(size_t)l->length * tensor_element_bytes(l->out_type), (size_t)l->length * sizeof(int64_t)}};
  j.scratch = mem_alloc(&rt->mem, bytes);
  if (!j.scratch) return error_set(error, VIVA_E_MEMORY, "no memory for %zu bytes beside the rows", bytes);
  pool_for(threads, count, 1 + PARALLEL_ELEMENTS / 4 / (n + 1), run_rows, &j);
  mem_free(&rt->mem, j.scratch);
  return VIVA_OK;
}

/* *t, whose rows stand last, as the caller wants it; the old one is released. */
static viva_status finish(viva_tensor **t, uint32_t axis, viva_dtype result, viva_error *error) {
  viva_tensor *rows = *t;
  const viva_tensor turned = moved(rows, rows->rank - 1, axis);
  *t = NULL;
  const viva_status status =
      axis + 1 == rows->rank ? operand_dense(rows, result, t, error) : operand_copy(&turned, result, t, error);
  viva_tensor_release(rows);
  return status;
}

viva_status lanes_new(const lanes *l, viva_tensor **out, viva_tensor **second, viva_error *error) {
  viva_tensor *rows, *made[2] = {NULL};
  uint32_t axis;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  TRY(operand_axis(l->a, l->axis, &axis, error));
  viva_tensor turned = moved(l->a, axis, l->a->rank - 1);
  if (turned.dtype == l->type && tensor_contiguous(&turned)) { /* as it lies there */
    rows = viva_tensor_retain((viva_tensor *)(uintptr_t)l->a);
  } else {
    TRY(operand_copy(&turned, l->type, &rows, error));
    turned = *rows;
  }
  memcpy(shape, turned.shape, sizeof shape);
  shape[turned.rank - 1] = l->length;
  runtime *rt = l->a->storage->rt;
  viva_status status = tensor_empty(rt, l->out_type, turned.rank, shape, &made[0], error);
  if (status == VIVA_OK && l->second) status = tensor_empty(rt, VIVA_I64, turned.rank, shape, &made[1], error);
  if (status == VIVA_OK) status = run(l, &turned, made, error);
  if (status == VIVA_OK) status = finish(&made[0], axis, l->result, error);
  if (status == VIVA_OK && l->second) status = finish(&made[1], axis, VIVA_I64, error);
  viva_tensor_release(rows);
  if (status == VIVA_OK) {
    if (out) *out = made[0], made[0] = NULL;
    if (second) *second = made[1], made[1] = NULL;
  }
  viva_tensor_release(made[0]), viva_tensor_release(made[1]);
  return status;
}
