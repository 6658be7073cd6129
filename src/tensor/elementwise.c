/* tensor/elementwise.c: operations that give each element from the elements at its place.
 *
 * An operation is a loop of the table. Operands of another type than it computes in are converted piece by piece into
 * small buffers beside it, so that no whole copy is made.
 */
#include "tensor/elementwise.h"

#include <string.h>

#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/walk.h"

enum { PIECE_BYTES = 2048 }; /* of each operand: three of them stay in the first cache */

typedef struct task {
  loop_fn loop;
  int operands;                     /* with the result */
  viva_dtype types[WALK_OPERANDS];  /* as stored */
  viva_dtype wanted[WALK_OPERANDS]; /* as the loop has them */
  size_t piece;                     /* elements; 0: nothing is converted */
} task;

static void run_pieces(const task *t, char *const *p, const int64_t *step, size_t n) {
  _Alignas(64) char buffer[WALK_OPERANDS][PIECE_BYTES];
  for (size_t done = 0; done < n; done += t->piece) {
    const size_t part = n - done < t->piece ? n - done : t->piece;
    char *q[WALK_OPERANDS];
    int64_t q_step[WALK_OPERANDS];
    for (int k = 0; k < t->operands; k++) {
      q[k] = p[k] + (int64_t)done * step[k];
      q_step[k] = step[k];
      if (t->types[k] == t->wanted[k]) continue;
      q_step[k] = k > 0 && step[k] == 0 ? 0 : (int64_t)tensor_element_bytes(t->wanted[k]);
      if (k > 0) cast_line(t->wanted[k], buffer[k], q_step[k], t->types[k], q[k], step[k], q_step[k] ? part : 1);
      q[k] = buffer[k];
    }
    t->loop(q, q_step, part);
    if (t->types[0] != t->wanted[0])
      cast_line(t->types[0], p[0] + (int64_t)done * step[0], step[0], t->wanted[0], buffer[0], q_step[0], part);
  }
}

static void run_line(void *arg, char *const *p, const int64_t *step, size_t n) {
  const task *t = arg;
  if (t->piece == 0)
    t->loop(p, step, n);
  else
    run_pieces(t, p, step, n);
}

/* t is row-major and has like's shape. */
static int lies_as(const viva_tensor *t, const viva_tensor *like) {
  int64_t step = 1;
  if (t->rank != like->rank) return 0;
  for (uint32_t i = t->rank; i-- > 0; step *= (int64_t)t->shape[i])
    if (t->shape[i] != like->shape[i] || (t->shape[i] != 1 && t->strides[i] != step)) return 0;
  return 1;
}

/* Small dense inputs of the loop's own types, and single elements: the walk costs more than the work. like: has the
 * result's shape; p, step: what the loop gets; 0: not so. */
static int are_dense(const viva_dtype *wanted, const viva_tensor *like, const viva_tensor *const *inputs, int count,
                     char **p, int64_t *step) {
  if (like->elements >= 2 * PARALLEL_ELEMENTS) return 0;
  for (int k = 0; k < count; k++) {
    const viva_tensor *t = inputs[k];
    const int single = t->elements == 1;
    if (t->dtype != wanted[k] || (single ? t->rank > like->rank : !lies_as(t, like))) return 0;
    p[k] = t->data;
    step[k] = single ? 0 : (int64_t)tensor_element_bytes(t->dtype);
  }
  return 1;
}

/* Of dense operands: one has the result's shape, and the result is exactly an operand, or none of its bytes is one's. */
static int fit_apart(const viva_tensor *const *operands, int count, char *const *p, const int64_t *step) {
  const size_t n = operands[0]->elements;
  const uintptr_t to = (uintptr_t)p[0], end = to + n * (size_t)step[0];
  int fits = 0;
  for (int k = 1; k < count; k++) {
    const uintptr_t from = (uintptr_t)p[k];
    fits |= step[k] != 0;
    if (from == to && step[k] == step[0]) continue;
    if (from < end && to < from + (step[k] ? n * (size_t)step[k] : sizeof(double))) return 0;
  }
  return fits;
}

/* operands[0] = loop(operands[1 …]), which are broadcast to its shape. Nothing is checked. */
static void run(loop_fn loop, const viva_dtype *wanted, const viva_tensor *const *operands, int count) {
  task t = {.loop = loop, .operands = count};
  walk w;
  size_t widest = 1;
  for (int k = 0; k < count; k++) {
    t.types[k] = operands[k]->dtype;
    t.wanted[k] = wanted[k];
    const size_t bytes = tensor_element_bytes(wanted[k]);
    if (t.types[k] != t.wanted[k]) t.piece = 1;
    widest = bytes > widest ? bytes : widest;
  }
  if (t.piece) t.piece = PIECE_BYTES / widest;
  walk_make(&w, operands[0]->rank, operands[0]->shape, operands, count);
  walk_run(&w, operands[0]->storage->rt->pool, run_line, &t);
}

/* -- results */

viva_status elementwise_into(loop_fn loop, const viva_dtype *wanted, viva_tensor *out, const viva_tensor *const *inputs,
                             int count, viva_error *error) {
  const viva_tensor *operands[WALK_OPERANDS] = {out};
  viva_tensor *copies[WALK_OPERANDS] = {NULL};
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  char *p[WALK_OPERANDS];
  int64_t step[WALK_OPERANDS];
  TRY(operand_need(out, "out", error));
  for (int k = 0; k < count; k++) operands[k + 1] = inputs[k];
  p[0] = out->data;
  step[0] = (int64_t)tensor_element_bytes(out->dtype);
  if (out->dtype == wanted[0] && out->elements > 0 && lies_as(out, out) &&
      are_dense(wanted + 1, out, inputs, count, p + 1, step + 1) && fit_apart(operands, count + 1, p, step)) {
    loop(p, step, out->elements);
    return VIVA_OK;
  }
  TRY(broadcast_shape(inputs, count, &rank, shape, error));
  TRY(operand_target(out, "out", rank, shape, error));
  viva_status status = VIVA_OK;
  for (int k = 0; k < count && status == VIVA_OK; k++) {
    if (!operand_clashes(out, inputs[k])) continue;
    status = operand_copy(inputs[k], inputs[k]->dtype, &copies[k], error);
    operands[k + 1] = copies[k];
  }
  if (status == VIVA_OK) run(loop, wanted, operands, count + 1);
  for (int k = 0; k < count; k++) viva_tensor_release(copies[k]);
  return status;
}

/* The input that has the result's shape, if one has. */
static const viva_tensor *largest(const viva_tensor *const *inputs, int count) {
  const viva_tensor *found = inputs[0];
  for (int k = 1; k < count; k++) {
    const viva_tensor *t = inputs[k];
    if (t->rank > found->rank || (t->rank == found->rank && t->elements > found->elements)) found = t;
  }
  return found;
}

viva_status elementwise_new(loop_fn loop, const viva_dtype *wanted, viva_dtype result, viva_tensor **out,
                            const viva_tensor *const *inputs, int count, viva_error *error) {
  const viva_tensor *operands[WALK_OPERANDS], *like = largest(inputs, count);
  runtime *rt = inputs[0]->storage->rt;
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK];
  char *p[WALK_OPERANDS];
  int64_t step[WALK_OPERANDS];
  if (result == wanted[0] && are_dense(wanted + 1, like, inputs, count, p + 1, step + 1)) {
    TRY(tensor_empty(rt, result, like->rank, like->shape, out, error));
    p[0] = (*out)->data;
    step[0] = (int64_t)tensor_element_bytes(result);
    if (like->elements > 0) loop(p, step, like->elements);
    return VIVA_OK;
  }
  TRY(broadcast_shape(inputs, count, &rank, shape, error));
  TRY(tensor_empty(rt, result, rank, shape, out, error));
  operands[0] = *out;
  for (int k = 0; k < count; k++) operands[k + 1] = inputs[k];
  run(loop, wanted, operands, count + 1);
  return VIVA_OK;
}
