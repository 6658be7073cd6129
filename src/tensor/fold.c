/* tensor/fold.c: reductions over any axes.
 *
 * Two ways: lines: when the axis whose elements lie together is reduced, each result is the sum of lines along it;
 * columns: when it is kept, a strip of neighbouring results is carried through the rows.
 */
#include "tensor/fold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "tensor/cast.h"
#include "tensor/walk.h"

enum {
  SEGMENT = 32 * RED_PIECE, /* of a long line: what one thread adds up by itself */
  MAX_SEGMENTS = 1024,      /* whose sums lie on the stack */
  GROUP = 8,                /* strips that are read side by side */
  ROWS_TOGETHER = 4,        /* as many as the loops add at once: that sums are the same however many strips there are */
  FEW_RESULTS = 16          /* fewer are not worth sharing out: their lines are */
};

typedef struct axes {
  uint32_t count;
  uint64_t size[VIVA_TENSOR_MAX_RANK];
  int64_t in[VIVA_TENSOR_MAX_RANK], out[VIVA_TENSOR_MAX_RANK]; /* bytes; out: of the result, 0 for reduced axes */
} axes;

typedef struct job {
  const fold *f;
  reducer_type kind;
  red_piece piece;
  red_rows rows;
  size_t element; /* bytes of an input element */
  viva_dtype out_type;
  axes kept, gone;
  size_t results;
  char *to;
  size_t segment; /* of the line that is shared out */
  red_value *partial;
  const char *line;
} job;

static inline reducer_type kind_of(viva_dtype t) {
  return t == VIVA_F64 ? RED_F64 : t == VIVA_F32 ? RED_F32 : t == VIVA_I64 ? RED_I64 : RED_U64;
}

viva_dtype fold_result(reducer_op op, viva_dtype type) {
  return type == VIVA_F32 && op != RED_MAX && op != RED_MIN ? VIVA_F64 : type;
}

static inline red_value start_of(reducer_op op, reducer_type kind) {
  red_value v = {.u64 = 0};
  const int low = op == RED_MAX;
  if (op == RED_PROD) {
    if (kind == RED_F64 || kind == RED_F32)
      v.f64 = 1;
    else
      v.u64 = 1;
  }
  if (op != RED_MAX && op != RED_MIN) return v;
  if (kind == RED_F64) v.f64 = low ? -INFINITY : INFINITY;
  if (kind == RED_F32) v.f32 = low ? -INFINITY : INFINITY;
  if (kind == RED_I64) v.i64 = low ? INT64_MIN : INT64_MAX;
  if (kind == RED_U64) v.u64 = low ? 0 : UINT64_MAX;
  return v;
}

static inline red_value start_value(const job *j) { return start_of(j->f->op, j->kind); }

/* Axes stand from the longest step of the input to the shortest. */
static void add_axis(axes *a, uint64_t size, int64_t in, int64_t out) {
  if (size == 1) return;
  uint32_t at = a->count++;
  for (; at > 0 && llabs(a->in[at - 1]) < llabs(in); at--)
    a->size[at] = a->size[at - 1], a->in[at] = a->in[at - 1], a->out[at] = a->out[at - 1];
  a->size[at] = size, a->in[at] = in, a->out[at] = out;
}

/* Joins axes that go on in both. */
static void join(axes *a) {
  uint32_t last = 0;
  for (uint32_t i = 1; i < a->count; i++) {
    if (a->in[last] == (int64_t)a->size[i] * a->in[i] && a->out[last] == (int64_t)a->size[i] * a->out[i]) {
      a->size[last] *= a->size[i];
    } else {
      last++;
      a->size[last] = a->size[i];
    }
    a->in[last] = a->in[i], a->out[last] = a->out[i];
  }
  if (a->count > 0) a->count = last + 1;
}

/* The next index of the first `count` axes; 0 when there is none. */
static int next(const axes *a, uint32_t count, uint64_t *index, const char **in) {
  for (uint32_t i = count; i-- > 0;) {
    *in += a->in[i];
    if (++index[i] < a->size[i]) return 1;
    *in -= (int64_t)a->size[i] * a->in[i];
    index[i] = 0;
  }
  return 0;
}

/* Index `number` of the first `count` axes. */
static void place(const axes *a, uint32_t count, size_t number, const char **in, char **out) {
  for (uint32_t i = count; i-- > 0; number /= (size_t)a->size[i]) {
    const int64_t k = (int64_t)(number % a->size[i]);
    *in += k * a->in[i];
    *out += k * a->out[i];
  }
}

/* -- lines */

/* Sums of F64 are added in pairs of equal size, like a binary counter: the error grows with the logarithm of the
 * length. Sums of F32 need none of this: they are kept in F64. */
typedef struct tree {
  double sums[64]; /* of 2^k pieces each, largest first */
  size_t depth, pieces;
} tree;

static void tree_add(tree *t, double sum) {
  for (size_t n = t->pieces++; n & 1; n >>= 1) sum = t->sums[--t->depth] + sum;
  t->sums[t->depth++] = sum;
}

static double tree_end(const tree *t) {
  double sum = 0;
  for (size_t k = t->depth; k-- > 0;) sum = t->sums[k] + sum;
  return sum;
}

static int needs_tree(const job *j) { return j->kind == RED_F64 && (j->f->op == RED_SUM || j->f->op == RED_SQUARES); }

static inline void add_line(const job *j, const char *at, int64_t step, size_t n, double shift, red_value *value,
                            tree *t) {
  char buffer[RED_PIECE * 8];
  const viva_dtype from = j->f->in->dtype;
  const int direct = from == j->f->type && step == (int64_t)j->element;
  for (size_t done = 0; done < n; done += RED_PIECE) {
    const size_t part = n - done < RED_PIECE ? n - done : RED_PIECE;
    const char *x = at + (int64_t)done * step;
    if (!direct) {
      cast_line(j->f->type, buffer, (int64_t)tensor_element_bytes(j->f->type), from, x, step, part);
      x = buffer;
    }
    j->piece(x, part, shift, value);
    if (t) tree_add(t, value->f64), value->f64 = 0;
  }
}

/* The offset of a result in `to`, in elements, also finds its shift. */
static double shift_at(const job *j, const char *to) {
  if (!j->f->shifts) return 0;
  const size_t number = (size_t)(to - j->to) / tensor_element_bytes(j->out_type);
  double shift;
  memcpy(&shift, j->f->shifts->data + number * sizeof shift, sizeof shift);
  return shift;
}

static void run_results(void *arg, size_t begin, size_t end, size_t thread) {
  const job *j = arg;
  const axes *gone = &j->gone;
  const uint32_t outer = gone->count ? gone->count - 1 : 0;
  const int64_t step = gone->count ? gone->in[outer] : 0;
  const size_t line = gone->count ? (size_t)gone->size[outer] : 1;
  (void)thread;
  for (size_t r = begin; r < end; r++) {
    const char *in = j->f->in->data;
    char *out = j->to;
    uint64_t index[VIVA_TENSOR_MAX_RANK] = {0};
    red_value value = start_value(j);
    tree sums;
    sums.depth = sums.pieces = 0;
    place(&j->kept, j->kept.count, r, &in, &out);
    const double shift = shift_at(j, out);
    do {
      add_line(j, in, step, line, shift, &value, needs_tree(j) ? &sums : NULL);
    } while (next(gone, outer, index, &in));
    if (needs_tree(j)) value.f64 = tree_end(&sums);
    memcpy(out, &value, tensor_element_bytes(j->out_type));
  }
}

static void run_segments(void *arg, size_t begin, size_t end, size_t thread) {
  const job *j = arg;
  const size_t line = (size_t)j->gone.size[0];
  (void)thread;
  for (size_t s = begin; s < end; s++) {
    const size_t first = s * j->segment, rest = line - first;
    tree sums;
    sums.depth = sums.pieces = 0;
    j->partial[s] = start_value(j);
    add_line(j, j->line + (int64_t)first * j->gone.in[0], j->gone.in[0], rest < j->segment ? rest : j->segment,
             shift_at(j, j->to), &j->partial[s], needs_tree(j) ? &sums : NULL);
    if (needs_tree(j)) j->partial[s].f64 = tree_end(&sums);
  }
}

/* Folds the values of segments as elements of their own type. */
static void join_segments(const job *j, size_t count, char *out) {
  red_value value = start_value(j);
  const reducer_op op = j->f->op == RED_SQUARES ? RED_SUM : j->f->op;
  const reducer_type kind = kind_of(j->out_type);
  const size_t element = tensor_element_bytes(j->out_type);
  char dense[RED_PIECE * 8];
  for (size_t done = 0; done < count; done += RED_PIECE) {
    const size_t part = count - done < RED_PIECE ? count - done : RED_PIECE;
    for (size_t i = 0; i < part; i++) memcpy(dense + i * element, &j->partial[done + i], element);
    reducers_get()->piece[op][kind](dense, part, 0, &value);
  }
  memcpy(out, &value, element);
}

/* Few results of one long line each. */
static void run_long_lines(job *j, pool *threads) {
  red_value partial[MAX_SEGMENTS];
  const size_t line = (size_t)j->gone.size[0];
  const size_t even = (line + MAX_SEGMENTS - 1) / MAX_SEGMENTS;
  j->segment = even <= SEGMENT ? SEGMENT : (even + RED_PIECE - 1) / RED_PIECE * RED_PIECE;
  const size_t count = (line + j->segment - 1) / j->segment;
  char *const first = j->to;
  for (size_t r = 0; r < j->results; r++) {
    const char *in = j->f->in->data;
    char *out = first;
    place(&j->kept, j->kept.count, r, &in, &out);
    job part = *j;
    part.partial = partial;
    part.line = in;
    part.to = first;
    fold shifted = *j->f;
    viva_tensor shift;
    if (shifted.shifts) { /* shift_at looks at the first */
      shift = *shifted.shifts;
      shift.data += (size_t)(out - first);
      shifted.shifts = &shift;
      part.f = &shifted;
    }
    pool_for(threads, count, 1, run_segments, &part);
    join_segments(&part, count, out);
  }
}

/* -- columns: the last kept axis is dense; strips of it are carried through the rows */

static void add_rows(const job *j, const char *at, int64_t step, size_t rows, size_t n, const double *shifts,
                     void *values) {
  const viva_dtype from = j->f->in->dtype;
  if (from == j->f->type) {
    j->rows(at, step, rows, n, shifts, values);
    return;
  }
  char buffer[RED_PIECE * 8];
  const int64_t element = (int64_t)tensor_element_bytes(j->f->type);
  for (size_t r = 0; r < rows; r++) {
    cast_line(j->f->type, buffer, element, from, at + (int64_t)r * step, (int64_t)j->element, n);
    j->rows(buffer, 0, 1, n, shifts, values);
  }
}

/* Some strips that lie side by side, from column col on, at one place of the outer kept axes; n: columns. A few rows of all of
 * them are read before the next ones: memory is read in long runs. */
static void run_group(const job *j, size_t outer_place, size_t col, size_t n) {
  const axes *kept = &j->kept, *gone = &j->gone;
  const uint32_t inner = kept->count - 1, outer = gone->count ? gone->count - 1 : 0;
  const size_t element = tensor_element_bytes(j->out_type), rows = gone->count ? (size_t)gone->size[outer] : 1;
  const int64_t row_step = gone->count ? gone->in[outer] : 0;
  const size_t together = n > RED_PIECE ? ROWS_TOGETHER : rows;
  _Alignas(64) char values[GROUP * RED_PIECE * 8];
  double shifts[GROUP * RED_PIECE];
  const char *in = j->f->in->data + (int64_t)col * kept->in[inner];
  char *out = j->to + (int64_t)col * kept->out[inner];
  uint64_t index[VIVA_TENSOR_MAX_RANK] = {0};
  const red_value first = start_value(j);
  place(kept, inner, outer_place, &in, &out);
  for (size_t i = 0; i < n; i++) {
    memcpy(values + i * element, &first, element);
    shifts[i] = shift_at(j, out + (int64_t)i * kept->out[inner]);
  }
  do {
    for (size_t r = 0; r < rows; r += together)
      for (size_t i = 0; i < n; i += RED_PIECE)
        add_rows(j, in + (int64_t)r * row_step + (int64_t)(i * j->element), row_step,
                 rows - r < together ? rows - r : together, n - i < RED_PIECE ? n - i : RED_PIECE, shifts + i,
                 values + i * element);
  } while (next(gone, outer, index, &in));
  for (size_t i = 0; i < n; i++) memcpy(out + (int64_t)i * kept->out[inner], values + i * element, element);
}

static void run_strips(void *arg, size_t begin, size_t end, size_t thread) {
  const job *j = arg;
  const size_t width = (size_t)j->kept.size[j->kept.count - 1], strips = (width + RED_PIECE - 1) / RED_PIECE;
  (void)thread;
  for (size_t s = begin, many; s < end; s += many) {
    const size_t at = s % strips, col = at * RED_PIECE;
    many = strips - at < end - s ? strips - at : end - s;
    if (many > GROUP) many = GROUP;
    run_group(j, s / strips, col, width - col < many * RED_PIECE ? width - col : many * RED_PIECE);
  }
}

/* -- which way */

void fold_line(reducer_op op, viva_dtype type, const void *line, size_t n, double shift, red_value *value) {
  const reducer_type kind = kind_of(type);
  *value = start_of(op, kind);
  reducers_get()->piece[op][kind](line, n, shift, value);
}

void fold_columns(reducer_op op, viva_dtype type, const void *rows, size_t count, size_t columns, void *values) {
  const int64_t step = (int64_t)(columns * tensor_element_bytes(type));
  reducers_get()->rows[op][kind_of(type)](rows, step, count, columns, NULL, values);
}

void fold_run(const fold *f, viva_tensor *to) {
  job j; /* not cleared: its axes are long */
  j.f = f, j.kind = kind_of(f->type), j.element = tensor_element_bytes(f->in->dtype), j.results = to->elements;
  j.kept.count = j.gone.count = 0;
  pool *threads = f->in->storage->rt->pool;
  j.piece = reducers_get()->piece[f->op][j.kind];
  j.rows = reducers_get()->rows[f->op][j.kind];
  j.out_type = to->dtype;
  j.to = to->data;
  if (to->elements == 0) return;
  int64_t out = (int64_t)tensor_element_bytes(to->dtype);
  size_t per_result = 1;
  for (uint32_t i = f->in->rank; i-- > 0;) {
    const int goes = f->reduced >> i & 1;
    add_axis(goes ? &j.gone : &j.kept, f->in->shape[i], f->in->strides[i] * (int64_t)j.element, goes ? 0 : out);
    if (goes)
      per_result *= (size_t)f->in->shape[i];
    else
      out *= (int64_t)f->in->shape[i];
  }
  if (per_result == 0) {
    const red_value nothing = start_value(&j);
    for (size_t i = 0; i < to->elements; i++)
      memcpy(to->data + i * tensor_element_bytes(to->dtype), &nothing, tensor_element_bytes(to->dtype));
    return;
  }
  join(&j.gone);
  join(&j.kept);
  const int large = f->in->elements >= 2 * PARALLEL_ELEMENTS;
  pool *helpers = large ? threads : NULL;
  const uint32_t inner = j.kept.count ? j.kept.count - 1 : 0;
  if (j.kept.count && j.gone.count && j.kept.in[inner] == (int64_t)j.element && j.kept.size[inner] >= 8) {
    const size_t strips = (size_t)((j.kept.size[inner] + RED_PIECE - 1) / RED_PIECE);
    const size_t count = j.results / (size_t)j.kept.size[inner] * strips;
    const size_t each = helpers ? count / (size_t)pool_threads(helpers) : count;
    pool_for(helpers, count, each > GROUP ? GROUP : each > 0 ? each : 1, run_strips, &j);
  } else if (large && j.gone.count == 1 && j.results < FEW_RESULTS) {
    run_long_lines(&j, threads);
  } else {
    pool_for(helpers, j.results, 1 + PARALLEL_ELEMENTS / per_result, run_results, &j);
  }
}
