/* tensor/walk.c: broadcasting, joining of axes, and the pass over what is left. */
#include "tensor/walk.h"

#include <string.h>

#include "base/error.h"

/* -- shapes */

static viva_status refuse(const viva_tensor *first, const viva_tensor *other, viva_error *error) {
  char a[128], b[128];
  return error_set(error, VIVA_E_SIZE,
                   "shapes %s and %s do not fit: sizes must be equal, or one of them 1, from the last axis on",
                   tensor_shape_text(first, a), tensor_shape_text(other, b));
}

viva_status broadcast_shape(const viva_tensor *const *operands, int count, uint32_t *rank, uint64_t *shape,
                            viva_error *error) {
  uint32_t most = 0;
  int same = 1; /* the commonest case */
  for (int k = 1; k < count && same; k++) {
    same = operands[k]->rank == operands[0]->rank;
    for (uint32_t i = 0; same && i < operands[0]->rank; i++) same = operands[k]->shape[i] == operands[0]->shape[i];
  }
  if (same) {
    *rank = operands[0]->rank;
    for (uint32_t i = 0; i < *rank; i++) shape[i] = operands[0]->shape[i];
    return VIVA_OK;
  }
  for (int k = 0; k < count; k++) most = operands[k]->rank > most ? operands[k]->rank : most;
  for (uint32_t i = 0; i < most; i++) { /* from the last axis on */
    uint64_t size = 1;
    for (int k = 0; k < count; k++) {
      const uint32_t r = operands[k]->rank;
      const uint64_t here = i < r ? operands[k]->shape[r - 1 - i] : 1;
      if (here == size || here == 1) continue;
      if (size != 1) return refuse(operands[0], operands[k], error);
      size = here;
    }
    shape[most - 1 - i] = size;
  }
  *rank = most;
  return VIVA_OK;
}

static uint64_t magnitude(int64_t step) { return step < 0 ? 0 - (uint64_t)step : (uint64_t)step; }

/* Axis i of w is moved to place `to`, to ≤ i. */
static void move_axis(walk *w, uint32_t i, uint32_t to) {
  const uint64_t size = w->shape[i];
  memmove(&w->shape[to + 1], &w->shape[to], (i - to) * sizeof size);
  w->shape[to] = size;
  for (int k = 0; k < w->operands; k++) {
    const int64_t step = w->step[k][i];
    memmove(&w->step[k][to + 1], &w->step[k][to], (i - to) * sizeof step);
    w->step[k][to] = step;
  }
}

/* 1 when axis a should be outside axis b: the first operand for which their steps differ says so. */
static int is_outer(const walk *w, uint32_t a, uint32_t b) {
  for (int k = 0; k < w->operands; k++) {
    const uint64_t x = magnitude(w->step[k][a]), y = magnitude(w->step[k][b]);
    if (x != y && (k == 0 || (x != 0 && y != 0))) return x > y;
  }
  return 0;
}

static void sort_axes(walk *w) {
  for (uint32_t i = 1; i < w->rank; i++)
    for (uint32_t j = 0; j < i; j++)
      if (is_outer(w, i, j)) {
        move_axis(w, i, j);
        break;
      }
}

/* Axis i goes on where axis i + 1 ends, in every operand. */
static int continues(const walk *w, uint32_t i) {
  for (int k = 0; k < w->operands; k++)
    if (w->step[k][i] != (int64_t)w->shape[i + 1] * w->step[k][i + 1]) return 0;
  return 1;
}

static void join_axes(walk *w) {
  uint32_t last = 0;
  for (uint32_t i = 1; i < w->rank; i++) {
    w->shape[last + 1] = w->shape[i];
    for (int k = 0; k < w->operands; k++) w->step[k][last + 1] = w->step[k][i];
    if (!continues(w, last)) {
      last++;
      continue;
    }
    w->shape[last] *= w->shape[last + 1];
    for (int k = 0; k < w->operands; k++) w->step[k][last] = w->step[k][last + 1];
  }
  if (w->rank > 0) w->rank = last + 1;
}

void walk_make(walk *w, uint32_t rank, const uint64_t *shape, const viva_tensor *const *operands, int count) {
  uint32_t kept[VIVA_TENSOR_MAX_RANK], axes = 0; /* axes with more than one index */
  w->operands = count;
  w->elements = 1;
  for (uint32_t i = 0; i < rank; i++) {
    w->elements *= (size_t)shape[i];
    if (shape[i] != 1) w->shape[axes] = shape[i], kept[axes++] = i;
  }
  w->rank = axes;
  for (int k = 0; k < count; k++) {
    const viva_tensor *t = operands[k];
    const uint32_t missing = rank - t->rank;
    const int64_t element = (int64_t)tensor_element_bytes(t->dtype);
    w->base[k] = t->data;
    for (uint32_t j = 0; j < axes; j++) {
      const int repeats = kept[j] < missing || t->shape[kept[j] - missing] == 1;
      w->step[k][j] = repeats ? 0 : t->strides[kept[j] - missing] * element;
    }
  }
  if (w->elements == 0 || axes < 2) return;
  sort_axes(w);
  join_axes(w);
}

/* -- the pass */

typedef struct pass {
  const walk *w;
  walk_body body;
  void *arg;
} pass;

/* Elements [begin, end) in the walk's order. */
static void run_part(void *arg, size_t begin, size_t end, size_t thread) {
  const pass *job = arg;
  const walk *w = job->w;
  const uint32_t inner = w->rank - 1;
  const size_t line = (size_t)w->shape[inner];
  uint64_t index[VIVA_TENSOR_MAX_RANK];
  char *at[WALK_OPERANDS];
  int64_t step[WALK_OPERANDS];
  size_t outer = begin / line, skip = begin % line;
  (void)thread;
  for (int k = 0; k < w->operands; k++) at[k] = w->base[k], step[k] = w->step[k][inner];
  for (uint32_t i = inner; i-- > 0; outer /= (size_t)w->shape[i]) {
    index[i] = outer % w->shape[i];
    for (int k = 0; k < w->operands; k++) at[k] += (int64_t)index[i] * w->step[k][i];
  }
  for (int k = 0; k < w->operands; k++) at[k] += (int64_t)skip * step[k];
  while (begin < end) {
    const size_t n = line - skip < end - begin ? line - skip : end - begin;
    job->body(job->arg, at, step, n);
    for (int k = 0; skip > 0 && k < w->operands; k++) at[k] -= (int64_t)skip * step[k];
    begin += n, skip = 0;
    for (uint32_t i = inner; i-- > 0;) {
      for (int k = 0; k < w->operands; k++) at[k] += w->step[k][i];
      if (++index[i] < w->shape[i]) break;
      for (int k = 0; k < w->operands; k++) at[k] -= (int64_t)w->shape[i] * w->step[k][i];
      index[i] = 0;
    }
  }
}

/* One line, or a few side by side. */
static void run_lines(const walk *w, walk_body body, void *arg) {
  const uint32_t inner = w->rank - 1;
  const uint64_t lines = inner ? w->shape[0] : 1;
  char *at[WALK_OPERANDS];
  int64_t step[WALK_OPERANDS];
  for (int k = 0; k < w->operands; k++) at[k] = w->base[k], step[k] = w->step[k][inner];
  for (uint64_t i = 0; i < lines; i++) {
    body(arg, at, step, (size_t)w->shape[inner]);
    for (int k = 0; k < w->operands; k++) at[k] += w->step[k][0];
  }
}

void walk_run(const walk *w, pool *threads, walk_body body, void *arg) {
  static const int64_t none[WALK_OPERANDS] = {0};
  if (w->elements == 0) return;
  if (w->rank == 0) {
    body(arg, w->base, none, 1);
    return;
  }
  pass job = {w, body, arg};
  if (w->elements < 2 * PARALLEL_ELEMENTS && w->rank <= 2)
    run_lines(w, body, arg);
  else if (w->elements < 2 * PARALLEL_ELEMENTS)
    run_part(&job, 0, w->elements, 0);
  else
    pool_for(threads, w->elements, PARALLEL_ELEMENTS, run_part, &job);
}
