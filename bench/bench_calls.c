/* bench_calls.c: what one call on 8 elements takes: every operation of the tables and the other calls, into a new tensor
 * (released again) and into one that is there. */
#include "bench_calls.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "bench_arithmetic.h"

enum { CALLS = ARITHMETIC_CALLS, ROUNDS = ARITHMETIC_ROUNDS, N = 8, TYPES = 5, SLOW = 100 /* ns */ };

/* Operands of one type, of 8 elements each where nothing else is said. */
typedef struct operands {
  viva_engine *engine;
  viva_dtype type;
  uint64_t n;
  size_t bytes; /* of x */
  viva_tensor *x, *y, *matrix, *row, *turned, *square, *image,
      *kernel; /* [n]; [2, n/2], [n/2], [n/2, 2]; 2 × 2; 1 × 2 × n/2 */
  viva_tensor *truth, *places, *places_2d;
  const viva_tensor *pair[2];
} operands;

/* op: of the table, where the call has one. */
typedef viva_status (*new_fn)(const operands *o, int op, viva_tensor **out);
typedef viva_status (*into_fn)(const operands *o, int op, viva_tensor *out);

#define FRESH(label, ...)                                                                                              \
  static viva_status label##_new(const operands *o, int op, viva_tensor **out) {                                       \
    (void)o, (void)op;                                                                                                 \
    return viva_tensor_##__VA_ARGS__;                                                                                  \
  }
#define BOTH(label, name, ...)                                                                                         \
  FRESH(label, name(__VA_ARGS__, out, NULL))                                                                           \
  static viva_status label##_into(const operands *o, int op, viva_tensor *out) {                                       \
    (void)o, (void)op;                                                                                                 \
    return viva_tensor_##name##_into(__VA_ARGS__, out, NULL);                                                          \
  }

static const int32_t last[1] = {-1}, turned_axes[2] = {1, 0};
static const uint64_t two_by_four[2] = {2, UINT64_MAX}, one[1] = {1}, twice[1] = {2};

static double half_of(void *user, uint64_t index, double x) {
  (void)user, (void)index;
  return x * 0.5;
}

BOTH(unary, unary, (viva_unary)op, o->x)
BOTH(binary, binary, (viva_binary)op, o->x, o->y)
BOTH(scalar, binary_scalar, VIVA_MULTIPLY, o->x, 2)
BOTH(broadcast_row, binary, VIVA_ADD, o->matrix, o->row)
BOTH(reduce, reduce, (viva_reduction)op, o->x, NULL, 0, 0)
BOTH(reduce_axis, reduce, VIVA_SUM, o->matrix, last, 1, 0)
BOTH(reduce_first, reduce, VIVA_SUM, o->turned, turned_axes + 1, 1, 0)
BOTH(along, along, (viva_along)op, o->x, -1)
BOTH(along_axis, along, VIVA_SOFTMAX, o->matrix, -1)
BOTH(where, where, o->truth, o->x, o->y)
BOTH(clip, clip, o->x, 1, 3)
BOTH(map, map, o->x, half_of, NULL)
BOTH(copy, copy, o->x)
FRESH(to_f64, astype(o->x, VIVA_F64, out, NULL))
FRESH(to_f32, astype(o->x, VIVA_F32, out, NULL))
FRESH(to_f16, astype(o->x, VIVA_F16, out, NULL))
FRESH(to_bf16, astype(o->x, VIVA_BF16, out, NULL))
FRESH(to_i64, astype(o->x, VIVA_I64, out, NULL))
FRESH(to_i8, astype(o->x, VIVA_I8, out, NULL))
FRESH(to_e4m3, astype(o->x, VIVA_E4M3, out, NULL))
BOTH(matmul, matmul, o->matrix, o->turned)
BOTH(matvec, matmul, o->matrix, o->row)
BOTH(dot, dot, o->x, o->y)
BOTH(outer, outer, o->pair[0], o->pair[1])
BOTH(dense, dense, o->matrix, o->matrix, NULL, 1)
BOTH(einsum, einsum, "i,i->", o->pair, 2)
BOTH(norm, norm, o->x, 2, NULL, 0, 0)
BOTH(norm_1, norm, o->x, 1, NULL, 0, 0)
BOTH(matrix_norm, matrix_norm, o->matrix, 1, 0)
BOTH(clip_by_norm, clip_by_norm, o->x, 1)
BOTH(layer_norm, layer_norm, o->x, -1, NULL, NULL, 1e-5)
BOTH(rms_norm, rms_norm, o->x, -1, NULL, 1e-5)
BOTH(percentile, percentile, o->x, 30, -1, 0)
BOTH(median, median, o->x, -1, 0)
FRESH(top_k, top_k(o->x, 4, -1, out, NULL, NULL))
static viva_status top_k_into(const operands *o, int op, viva_tensor *out) {
  (void)op;
  return viva_tensor_top_k_into(o->x, 4, -1, out, NULL, NULL);
}
BOTH(conv2d, conv2d, o->image, o->kernel, NULL, NULL)
BOTH(pool2d, pool2d, VIVA_MAX_POOL, o->image, NULL)
BOTH(cosine, similarity, VIVA_COSINE_SIMILARITY, o->x, o->y, VIVA_AXIS_ALL)
BOTH(is_close, is_close, o->x, o->y, 1e-5, 1e-8)
BOTH(take, take, o->x, o->places, 0)
BOTH(take_rows, take, o->turned, o->places, 0)
BOTH(gather, gather, o->x, o->places, 0)
FRESH(scatter, scatter(VIVA_SCATTER_SET, o->x, o->places, o->y, 0, out, NULL))
static viva_status scatter_into(const operands *o, int op, viva_tensor *out) {
  (void)op;
  return viva_tensor_scatter_into(VIVA_SCATTER_SET, out, o->places, o->y, 0, NULL);
}
FRESH(nonzero, nonzero(o->x, out, NULL))
FRESH(masked_select, masked_select(o->x, o->truth, out, NULL))
FRESH(one_hot, one_hot(o->places, 2, o->type, out, NULL))
static viva_status one_hot_into(const operands *o, int op, viva_tensor *out) {
  (void)op;
  return viva_tensor_one_hot_into(o->places, out, NULL);
}
BOTH(concatenate, concatenate, o->pair, 2, 0)
BOTH(stack, stack, o->pair, 2, 0)
BOTH(roll, roll, o->x, 3, 0)
BOTH(pad, pad, o->x, one, one, 0)
BOTH(tile, tile, o->x, twice)
BOTH(repeat, repeat, o->x, 2, 0)
BOTH(diag, diag, o->square, 0)
FRESH(reshape, reshape(o->x, 2, two_by_four, out, NULL))
FRESH(flatten, flatten(o->matrix, out, NULL))
FRESH(permute, permute(o->matrix, turned_axes, out, NULL))
FRESH(transpose, transpose(o->matrix, 0, 1, out, NULL))
FRESH(squeeze, squeeze(o->image, NULL, 0, out, NULL))
FRESH(expand_dims, expand_dims(o->x, 0, out, NULL))
FRESH(flip, flip(o->x, NULL, 0, out, NULL))
FRESH(broadcast_to, broadcast_to(o->row, 2, (const uint64_t[]){2, o->n / 2}, out, NULL))
FRESH(slice_step, slice_step(o->x, 0, 0, VIVA_SLICE_NONE, 2, out, NULL))
FRESH(select, select(o->matrix, 0, 1, out, NULL))
FRESH(contiguous_turned, copy(o->turned, out, NULL))
FRESH(full, full(o->engine, o->type, 1, &o->n, 1, out, NULL))
static viva_status full_into(const operands *o, int op, viva_tensor *out) {
  (void)o, (void)op;
  return viva_tensor_fill(out, 1, NULL);
}
FRESH(arange, arange(o->engine, o->type, 0, (double)o->n, 1, out, NULL))
static viva_status arange_into(const operands *o, int op, viva_tensor *out) {
  (void)op;
  return viva_tensor_arange_into(0, (double)o->n, 1, out, NULL);
}
FRESH(linspace, linspace(o->engine, o->type, 0, 1, o->n, out, NULL))
static viva_status linspace_into(const operands *o, int op, viva_tensor *out) {
  (void)o, (void)op;
  return viva_tensor_linspace_into(0, 1, out, NULL);
}
FRESH(eye, eye(o->engine, o->type, 2, o->n / 2, 0, out, NULL))
static viva_status eye_into(const operands *o, int op, viva_tensor *out) {
  (void)o, (void)op;
  return viva_tensor_eye_into(0, out, NULL);
}
FRESH(random, random(o->engine, o->type, 1, &o->n, NULL, out, NULL))
static viva_status random_into(const operands *o, int op, viva_tensor *out) {
  (void)o, (void)op;
  return viva_tensor_random_into(NULL, out, NULL);
}
FRESH(from_data, from_data(o->engine, viva_tensor_elements(o->x), o->bytes, o->type, 1, &o->n, out, NULL))
FRESH(wrap, wrap(o->engine, viva_tensor_elements(o->x), o->bytes, o->type, 1, &o->n, out, NULL))

typedef struct call {
  const char *name;
  new_fn fresh;
  into_fn into; /* NULL: there is none */
} call;

#define PAIR(name)  #name, name##_new, name##_into
#define ALONE(name) #name, name##_new, NULL

static const call calls[] = {
    {"multiply by a number", scalar_new, scalar_into},
    {"add a row", broadcast_row_new, broadcast_row_into},
    {"sum of the last axis", reduce_axis_new, reduce_axis_into},
    {"sum of the first axis", reduce_first_new, reduce_first_into},
    {"softmax of two rows", along_axis_new, along_axis_into},
    {PAIR(where)},
    {PAIR(clip)},
    {PAIR(map)},
    {PAIR(copy)},
    {"copy, transposed", contiguous_turned_new, NULL},
    {"astype F64", to_f64_new, NULL},
    {"astype F32", to_f32_new, NULL},
    {"astype F16", to_f16_new, NULL},
    {"astype BF16", to_bf16_new, NULL},
    {"astype I64", to_i64_new, NULL},
    {"astype I8", to_i8_new, NULL},
    {"astype E4M3", to_e4m3_new, NULL},
    {"matmul 2 × 4 by 4 × 2", matmul_new, matmul_into},
    {"matmul 2 × 4 by 4", matvec_new, matvec_into},
    {PAIR(dot)},
    {PAIR(outer)},
    {PAIR(dense)},
    {PAIR(einsum)},
    {"norm, order 2", norm_new, norm_into},
    {"norm, order 1", norm_1_new, norm_1_into},
    {PAIR(matrix_norm)},
    {PAIR(clip_by_norm)},
    {PAIR(layer_norm)},
    {PAIR(rms_norm)},
    {PAIR(percentile)},
    {PAIR(median)},
    {PAIR(top_k)},
    {PAIR(conv2d)},
    {PAIR(pool2d)},
    {"cosine similarity", cosine_new, cosine_into},
    {PAIR(is_close)},
    {PAIR(take)},
    {"take rows", take_rows_new, take_rows_into},
    {PAIR(gather)},
    {PAIR(scatter)},
    {ALONE(nonzero)},
    {ALONE(masked_select)},
    {PAIR(one_hot)},
    {PAIR(concatenate)},
    {PAIR(stack)},
    {PAIR(roll)},
    {PAIR(pad)},
    {PAIR(tile)},
    {PAIR(repeat)},
    {PAIR(diag)},
    {ALONE(reshape)},
    {ALONE(flatten)},
    {ALONE(permute)},
    {ALONE(transpose)},
    {ALONE(squeeze)},
    {ALONE(expand_dims)},
    {ALONE(flip)},
    {ALONE(broadcast_to)},
    {ALONE(slice_step)},
    {ALONE(select)},
    {PAIR(full)},
    {PAIR(arange)},
    {PAIR(linspace)},
    {PAIR(eye)},
    {PAIR(random)},
    {ALONE(from_data)},
    {ALONE(wrap)},
};

/* -- operands */

static viva_tensor *filled(const operands *o, viva_dtype type, uint32_t rank, const uint64_t *shape, double from) {
  viva_tensor *line, *whole;
  uint64_t count = 1;
  for (uint32_t i = 0; i < rank; i++) count *= shape[i];
  viva_tensor_arange(o->engine, type, from, from + (double)count, 1, &line, NULL);
  viva_tensor_reshape(line, rank, shape, &whole, NULL);
  viva_tensor_release(line);
  return whole;
}

static operands make(viva_engine *engine, viva_dtype type) {
  const uint64_t n = N;
  operands o = {.engine = engine, .type = type, .n = n};
  const uint64_t whole[1] = {n}, wide[2] = {2, n / 2}, half[1] = {n / 2}, high[2] = {n / 2, 2}, square[2] = {2, 2};
  const uint64_t image[3] = {1, 2, n / 2}, kernel[4] = {1, 1, 2, 2};
  o.x = filled(&o, type, 1, whole, 1), o.y = filled(&o, type, 1, whole, 2);
  o.matrix = filled(&o, type, 2, wide, 1), o.row = filled(&o, type, 1, half, 1);
  o.turned = filled(&o, type, 2, high, 1), o.square = filled(&o, type, 2, square, 1);
  o.image = filled(&o, type, 3, image, 1), o.kernel = filled(&o, type, 4, kernel, 1);
  viva_tensor_full(engine, VIVA_I64, 1, whole, 1, &o.places, NULL);
  viva_tensor_binary_scalar(VIVA_GREATER, o.x, 4, &o.truth, NULL);
  o.pair[0] = o.row, o.pair[1] = o.row;
  viva_tensor_desc x = {.size = sizeof x};
  viva_tensor_info(o.x, &x, NULL);
  o.bytes = (size_t)x.bytes;
  return o;
}

static void drop(operands *o) {
  viva_tensor *all[] = {o->x, o->y, o->matrix, o->row, o->turned, o->square, o->image, o->kernel, o->truth, o->places};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) viva_tensor_release(all[i]);
}

/* -- times: the machine may be slow for seconds, so that all cells are timed in turns, and the best of each counts */

/* ns of a call; into: the tensor that is there, or NULL. */
static double time_of(const call *c, const operands *o, int op, viva_tensor *into) {
  double best = 1e9;
  for (int r = 0; r < ROUNDS; r++) {
    const double begin = seconds();
    for (int i = 0; i < CALLS; i++) {
      viva_tensor *made = NULL;
      if (into)
        c->into(o, op, into);
      else
        c->fresh(o, op, &made);
      viva_tensor_release(made);
    }
    const double took = (seconds() - begin) / CALLS * 1e9;
    best = took < best ? took : best;
  }
  return best;
}

typedef struct cell {
  int there;                 /* the call has this type */
  double fresh, into, alone; /* ns; into: NAN where there is none; alone: the arithmetic */
} cell;

typedef struct row {
  const char *name, *table; /* table: of operations, NULL for other calls */
  const call *call;
  int op;
  cell cells[TYPES];
} row;

static double least(double a, double b) { return b < a ? b : a; }

static void time_cell(const row *r, const operands *o, cell *c) {
  viva_tensor *made = NULL;
  if (r->call->fresh(o, r->op, &made) != VIVA_OK) return;
  if (!c->there) *c = (cell){1, 1e9, NAN, 1e9};
  c->fresh = least(c->fresh, time_of(r->call, o, r->op, NULL));
  if (r->call->into && r->call->into(o, r->op, made) == VIVA_OK)
    c->into = least(isnan(c->into) ? 1e9 : c->into, time_of(r->call, o, r->op, made));
  viva_tensor_release(made);
  c->alone = least(c->alone, arithmetic_ns(r->name, r->table, r->op, o->type));
}

/* What was found: cells, those above SLOW, and those whose overhead is. */
typedef struct tally {
  int cells, slow, over;
} tally;

static void print_cell(const cell *c, tally *t) {
  if (!c->there) {
    printf(" . |");
    return;
  }
  t->cells++;
  printf(" %.0f", c->fresh);
  if (!isnan(c->into)) printf(", %.0f", c->into);
  const double most = c->into > c->fresh ? c->into : c->fresh, rest = most - c->alone;
  t->slow += most > SLOW, t->over += rest > SLOW;
  if (most > SLOW) printf(rest > SLOW ? " (%.0f, **%.0f**)" : " (%.0f, %.0f)", c->alone, rest);
  printf(" |");
}

static const char *unary_name(int op) { return viva_unary_name((viva_unary)op); }
static const char *binary_name(int op) { return viva_binary_name((viva_binary)op); }
static const char *reduction_name(int op) { return viva_reduction_name((viva_reduction)op); }
static const char *along_name(int op) { return viva_along_name((viva_along)op); }

static const struct {
  const char *title;
  call call;
  const char *(*name)(int op);
  int count;
} tables[] = {{"One operand", {"unary", unary_new, unary_into}, unary_name, VIVA_UNARY_COUNT},
              {"Two operands", {"binary", binary_new, binary_into}, binary_name, VIVA_BINARY_COUNT},
              {"Reductions", {"reduce", reduce_new, reduce_into}, reduction_name, VIVA_REDUCTION_COUNT},
              {"Along an axis", {"along", along_new, along_into}, along_name, VIVA_ALONG_COUNT}};

enum {
  ROWS = VIVA_UNARY_COUNT + VIVA_BINARY_COUNT + VIVA_REDUCTION_COUNT + VIVA_ALONG_COUNT + sizeof calls / sizeof *calls
};

/* Those whose names have `only` in them. */
static size_t list_rows(const char *only, row *rows) {
  size_t n = 0;
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (int op = 0; op < tables[i].count; op++)
      if (!only || strstr(tables[i].name(op), only))
        rows[n++] = (row){tables[i].name(op), tables[i].call.name, &tables[i].call, op, {{0}}};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (!only || strstr(calls[i].name, only)) rows[n++] = (row){calls[i].name, NULL, &calls[i], 0, {{0}}};
  return n;
}

static void print_head(const row *r) {
  const char *title = "Other calls";
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    if (r->call == &tables[i].call) title = tables[i].title;
  printf("\n| %s | F64 | F32 | F16 | BF16 | I64 |\n|---|---|---|---|---|---|\n", title);
}

void bench_calls(viva_engine *engine, const char *only, int passes) {
  static const viva_dtype types[TYPES] = {VIVA_F64, VIVA_F32, VIVA_F16, VIVA_BF16, VIVA_I64};
  static row rows[ROWS];
  operands few[TYPES];
  tally found = {0, 0, 0};
  const size_t n = list_rows(only, rows);
  for (int t = 0; t < TYPES; t++) few[t] = make(engine, types[t]);
  for (int pass = 0; pass < passes; pass++)
    for (size_t i = 0; i < n; i++)
      for (int t = 0; t < TYPES; t++) time_cell(&rows[i], &few[t], &rows[i].cells[t]);
  for (size_t i = 0; i < n; i++) {
    if (i == 0 || (rows[i].table ? rows[i].table : "") != (rows[i - 1].table ? rows[i - 1].table : ""))
      print_head(&rows[i]);
    printf("| %s |", rows[i].name);
    for (int t = 0; t < TYPES; t++) print_cell(&rows[i].cells[t], &found);
    printf("\n");
  }
  printf("\n%d cells, %d of them above %d ns, %d with their arithmetic taken off.\n", found.cells, found.slow, SLOW,
         found.over);
  for (int t = 0; t < TYPES; t++) drop(&few[t]);
}
