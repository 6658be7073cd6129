/* tensor/elementwise.c: operations that give each element from the elements at its place.
 *
 * An operation is a loop of the table. Operands of another type than it computes in are converted piece by piece into
 * small buffers beside it, so that no whole copy is made.
 */
#include "tensor/elementwise.h"

#include <string.h>

#include "base/error.h"
#include "tensor/cast.h"
#include "tensor/few.h"
#include "tensor/walk.h"

enum {
  PIECE = 256,                 /* elements of each operand: three of them stay in the first cache */
  PIECE_BYTES = 8 * PIECE + 64 /* two buffers are not 4 KiB apart: a load would wait for the store to the other */
};

typedef struct task {
  loop_fn loop;
  const viva_tensor *const *operands; /* the result first */
  const viva_dtype *wanted;           /* their types as the loop has them */
  int count;
  int converts; /* one has another */
} task;

static void run_pieces(const task *t, char *const *p, const int64_t *step, size_t n) {
  _Alignas(64) char buffer[WALK_OPERANDS][PIECE_BYTES];
  const viva_dtype result = t->operands[0]->dtype;
  for (size_t done = 0; done < n; done += PIECE) {
    const size_t part = n - done < PIECE ? n - done : PIECE;
    char *q[WALK_OPERANDS];
    int64_t q_step[WALK_OPERANDS];
    for (int k = 0; k < t->count; k++) {
      const viva_dtype type = t->operands[k]->dtype, wanted = t->wanted[k];
      q[k] = p[k] + (int64_t)done * step[k];
      q_step[k] = step[k];
      if (type == wanted) continue;
      q_step[k] = k > 0 && step[k] == 0 ? 0 : (int64_t)tensor_element_bytes(wanted);
      if (k > 0) cast_line(wanted, buffer[k], q_step[k], type, q[k], step[k], q_step[k] ? part : 1);
      q[k] = buffer[k];
    }
    t->loop(q, q_step, part);
    if (result != t->wanted[0])
      cast_line(result, p[0] + (int64_t)done * step[0], step[0], t->wanted[0], buffer[0], q_step[0], part);
  }
}

static inline void run_line(void *arg, char *const *p, const int64_t *step, size_t n) {
  const task *t = arg;
  if (t->converts)
    run_pieces(t, p, step, n);
  else
    t->loop(p, step, n);
}

/* t is row-major and has like's shape. */
static inline int lies_as(const viva_tensor *t, const viva_tensor *like) {
  int64_t step = 1;
  if (t->rank != like->rank) return 0;
  for (uint32_t i = t->rank; i-- > 0; step *= (int64_t)t->shape[i])
    if (t->shape[i] != like->shape[i] || (t->shape[i] != 1 && t->strides[i] != step)) return 0;
  return 1;
}

/* The n elements at p[k] are exactly those at p[0], or none of them is: what a loop wants. */
static inline int is_apart(char *const *p, const int64_t *step, int k, size_t n) {
  const uintptr_t to = (uintptr_t)p[0], from = (uintptr_t)p[k];
  const size_t bytes = step[k] ? n * (size_t)step[k] : sizeof(double);
  return (from == to && step[k] == step[0]) || from >= to + n * (size_t)step[0] || to >= from + bytes;
}

/* p[k], step[k]: t as one line; 1: it lies so, and is not in the way of `to`. */
static inline int is_line(const viva_tensor *t, const viva_tensor *to, char **p, int64_t *step, int k) {
  const int single = t->elements == 1;
  p[k] = t->data, step[k] = single ? 0 : (int64_t)tensor_element_bytes(t->dtype);
  return (single || lies_as(t, to)) && is_apart(p, step, k, to->elements);
}

/* Few elements: what does not lie as the result does, has another type, or is in the way, is copied; to: row-major. */
static void run_few(const task *t, char **p, int64_t *step) {
  few_room rooms[WALK_OPERANDS];
  const viva_tensor *to = t->operands[0];
  const int64_t size = (int64_t)tensor_element_bytes(t->wanted[0]);
  for (int k = 1; k < t->count; k++) {
    const viva_tensor *x = t->operands[k];
    const viva_dtype wanted = t->wanted[k];
    const int single = x->elements == 1, fits = is_line(x, to, p, step, k);
    if (fits && x->dtype == wanted) continue;
    if (fits) {
      cast_line(wanted, rooms[k].bytes, (int64_t)tensor_element_bytes(wanted), x->dtype, x->data,
                (int64_t)tensor_element_bytes(x->dtype), single ? 1 : to->elements);
      p[k] = rooms[k].bytes, step[k] = single ? 0 : (int64_t)tensor_element_bytes(wanted);
      continue;
    }
    const void *read =
        single ? few_hold(x, wanted, &rooms[k]) : few_lines(x, to->rank, to->shape, 0, wanted, &rooms[k]);
    step[k] = single ? 0 : (int64_t)tensor_element_bytes(wanted);
    if (read == x->data) { /* in the way */
      memcpy(rooms[k].bytes, read, (step[k] ? to->elements : 1) * tensor_element_bytes(wanted));
      read = rooms[k].bytes;
    }
    p[k] = (char *)(uintptr_t)read;
  }
  if (to->dtype != t->wanted[0]) p[0] = rooms[0].bytes, step[0] = size;
  t->loop(p, step, to->elements);
  if (to->dtype != t->wanted[0])
    cast_line(to->dtype, to->data, (int64_t)tensor_element_bytes(to->dtype), t->wanted[0], p[0], size, to->elements);
}

static void run_walk(task *t, const viva_tensor *const *operands) {
  walk w;
  walk_make(&w, operands[0]->rank, operands[0]->shape, operands, t->count);
  walk_run(&w, operands[0]->storage->rt->pool, run_line, t);
}

/* operands[0] = loop(operands[1 …]), which are broadcast to its shape, which is not empty; 0: they are in its way. */
static inline int run(loop_fn loop, const viva_dtype *wanted, const viva_tensor *const *operands, int count,
                      int fresh) {
  const viva_tensor *to = operands[0];
  char *p[WALK_OPERANDS];
  int64_t step[WALK_OPERANDS];
  task t = {loop, operands, wanted, count, 0};
  int k = 1;
  for (int i = 0; i < count; i++) t.converts |= operands[i]->dtype != wanted[i];
  p[0] = to->data, step[0] = (int64_t)tensor_element_bytes(to->dtype);
  const int lines = to->elements < 2 * PARALLEL_ELEMENTS && (fresh || tensor_contiguous(to));
  while (lines && k < count && is_line(operands[k], to, p, step, k)) k++;
  if (k == count && !t.converts)
    loop(p, step, to->elements);
  else if (lines && to->elements <= FEW)
    run_few(&t, p, step);
  else if (k == count)
    run_pieces(&t, p, step, to->elements);
  else {
    for (int i = 1; !fresh && i < count; i++)
      if (operand_clashes(to, operands[i])) return 0;
    run_walk(&t, operands);
  }
  return 1;
}

/* -- results */

/* t can be repeated to like's shape: its axes are the last of like's, or 1. */
static inline int fits_into(const viva_tensor *t, const viva_tensor *like) {
  if (t->rank > like->rank) return 0;
  const uint64_t *shape = like->shape + (like->rank - t->rank);
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->shape[i] != shape[i] && t->shape[i] != 1) return 0;
  return 1;
}

/* The shape of the result: that of the first where it holds the others, else put together in `room`. */
static inline viva_status result_shape(const viva_tensor *const *inputs, int count, uint64_t *room, uint32_t *rank,
                                       const uint64_t **shape, viva_error *error) {
  int fits = 1;
  for (int k = 1; k < count && fits; k++) fits = fits_into(inputs[k], inputs[0]);
  *rank = inputs[0]->rank, *shape = fits ? inputs[0]->shape : room;
  return fits ? VIVA_OK : broadcast_shape(inputs, count, rank, room, error);
}

/* The inputs that are in out's way, copied; out itself may lie anyhow. */
static viva_status run_over(loop_fn loop, const viva_dtype *wanted, const viva_tensor **operands, int count,
                            viva_error *error) {
  viva_tensor *held[WALK_OPERANDS] = {NULL};
  viva_status status = VIVA_OK;
  for (int k = 1; k < count && status == VIVA_OK; k++) {
    if (!operand_clashes(operands[0], operands[k])) continue;
    status = operand_copy(operands[k], operands[k]->dtype, &held[k], error);
    operands[k] = held[k];
  }
  if (status == VIVA_OK) run(loop, wanted, operands, count, 0);
  for (int k = 1; k < count; k++) viva_tensor_release(held[k]);
  return status;
}

viva_status elementwise_into(loop_fn loop, const viva_dtype *wanted, viva_tensor *out, const viva_tensor **operands,
                             int count, viva_error *error) {
  uint32_t rank;
  uint64_t room[VIVA_TENSOR_MAX_RANK];
  const uint64_t *shape;
  TRY(operand_need(out, "out", error));
  TRY(result_shape(operands + 1, count - 1, room, &rank, &shape, error));
  TRY(operand_target(out, "out", rank, shape, error));
  operands[0] = out;
  if (out->elements == 0 || run(loop, wanted, operands, count, 0)) return VIVA_OK;
  return run_over(loop, wanted, operands, count, error);
}

viva_status elementwise_new(loop_fn loop, const viva_dtype *wanted, viva_dtype result, viva_tensor **out,
                            const viva_tensor **operands, int count, viva_error *error) {
  uint32_t rank;
  uint64_t room[VIVA_TENSOR_MAX_RANK];
  const uint64_t *shape;
  TRY(result_shape(operands + 1, count - 1, room, &rank, &shape, error));
  TRY(tensor_empty(operands[1]->storage->rt, result, rank, shape, out, error));
  operands[0] = *out;
  if ((*out)->elements > 0) run(loop, wanted, operands, count, 1);
  return VIVA_OK;
}
