/* Any bytes as a program of tensor operations. Each step is done three times: with the operands as they lie (turned, flipped,
 * sliced, repeated), with row-major copies of them, and with an allocation that fails. The first two give the same bits, or the
 * same error; the third gives the result or E_MEMORY. Sums, extremes and their places are also found by walking the elements one
 * by one. Values are small whole numbers, so that sums are exact in any order; what rounds is only run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fail_alloc.h"
#include "tensor/create.h"
#include "tensor/operand.h"
#include "viva/tensor_into.h"

enum { SLOTS = 4, STEPS = 24, MOST = 600 /* elements of a tensor */ };

typedef struct input {
  const uint8_t *at, *end;
} input;

static void require(int condition) {
  if (!condition) abort();
}

static uint32_t next(input *in, uint32_t below) { return in->at < in->end ? *in->at++ % below : 0; }

/* The numbers of one step, read once so that each of its three runs has the same. */
typedef struct step {
  uint32_t op, kind;
  int32_t axis;
  int64_t a, b, c;
  viva_dtype type;
} step;

/* -- operations: of x, y and z; exact: the result's bits do not depend on how the operands lie */

typedef viva_status (*call_fn)(const step *s, const viva_tensor *x, const viva_tensor *y, const viva_tensor *z,
                               viva_tensor **out, viva_error *e);
#define CALL(name)                                                                                                     \
  static viva_status name(const step *s, const viva_tensor *x, const viva_tensor *y, const viva_tensor *z,             \
                          viva_tensor **out, viva_error *e)
#define UNUSED (void)s, (void)y, (void)z

/* 1: so many elements are not too many. */
static int fits(const viva_tensor *x, uint64_t times) { return x->elements == 0 || times <= MOST / x->elements; }

static viva_status too_large(viva_error *e) {
  if (e) e->code = VIVA_E_LIMIT;
  return VIVA_E_LIMIT;
}

static int broadcast_fits(const viva_tensor *const *list, uint32_t count) {
  uint32_t rank;
  uint64_t shape[VIVA_TENSOR_MAX_RANK], all = 1;
  if (viva_broadcast_shapes(list, count, &rank, shape, NULL) != VIVA_OK) return 1; /* is refused */
  for (uint32_t i = 0; i < rank; i++) all *= shape[i];                             /* of at most 3 × 600^3 */
  return all <= MOST;
}

CALL(unary) {
  UNUSED;
  return viva_tensor_unary((viva_unary)(s->kind % VIVA_UNARY_COUNT), x, out, e);
}
CALL(binary) {
  (void)z;
  if (!broadcast_fits((const viva_tensor *[]){x, y}, 2)) return too_large(e);
  return viva_tensor_binary((viva_binary)(s->kind % VIVA_BINARY_COUNT), x, y, out, e);
}
CALL(scalar) {
  UNUSED;
  return viva_tensor_binary_scalar((viva_binary)(s->kind % VIVA_BINARY_COUNT), x, (double)s->a, out, e);
}
CALL(where) {
  (void)s;
  if (!broadcast_fits((const viva_tensor *[]){x, y, z}, 3)) return too_large(e);
  return viva_tensor_where(x, y, z, out, e);
}
CALL(reduce) {
  UNUSED;
  const viva_reduction op = (viva_reduction)(s->kind % VIVA_REDUCTION_COUNT);
  return viva_tensor_reduce(op, x, s->a & 1 ? NULL : &s->axis, 1, (int32_t)(s->b & 1), out, e);
}
CALL(along) {
  UNUSED;
  return viva_tensor_along((viva_along)(s->kind % VIVA_ALONG_COUNT), x, s->axis, out, e);
}
CALL(astype) {
  UNUSED;
  return viva_tensor_astype(x, s->type, out, e);
}
CALL(reshape) {
  UNUSED;
  const uint64_t shape[3] = {s->a < 0 ? UINT64_MAX : (uint64_t)s->a, UINT64_MAX, (uint64_t)(s->c & 3)};
  return viva_tensor_reshape(x, s->kind % 4, shape, out, e);
}
CALL(permute) {
  UNUSED;
  if (x->rank < 2) return viva_tensor_permute(x, NULL, out, e);
  return viva_tensor_transpose(x, (uint32_t)(s->a & 3), (uint32_t)(s->b & 3), out, e);
}
CALL(flip) {
  UNUSED;
  return viva_tensor_flip(x, &s->axis, 1, out, e);
}
CALL(slice) {
  UNUSED;
  return viva_tensor_slice_step(x, s->axis, s->a, s->kind & 1 ? VIVA_SLICE_NONE : s->b, s->c, out, e);
}
CALL(select_one) {
  UNUSED;
  return viva_tensor_select(x, s->axis, s->a, out, e);
}
CALL(squeeze) {
  UNUSED;
  return s->kind & 1 ? viva_tensor_squeeze(x, NULL, 0, out, e) : viva_tensor_expand_dims(x, s->axis, out, e);
}
CALL(broadcast) {
  UNUSED;
  const uint64_t shape[4] = {2, (uint64_t)(s->a & 3), (uint64_t)(s->b & 3), (uint64_t)(s->c & 3)};
  return viva_tensor_broadcast_to(x, s->kind % 5, shape, out, e);
}
CALL(join) {
  (void)z;
  const viva_tensor *both[2] = {x, y};
  if (!fits(x, 2) || !fits(y, 2)) return too_large(e);
  return s->kind & 1 ? viva_tensor_concatenate(both, 2, s->axis, out, e) : viva_tensor_stack(both, 2, s->axis, out, e);
}
CALL(roll) {
  UNUSED;
  return viva_tensor_roll(x, s->a, s->axis, out, e);
}
CALL(pad) {
  UNUSED;
  const uint64_t before[8] = {(uint64_t)(s->a & 1), 0, 1, 0, 0, 0, 0, 0}, after[8] = {1, (uint64_t)(s->b & 1)};
  return x->rank > 3 || !fits(x, 8) ? too_large(e) : viva_tensor_pad(x, before, after, (double)s->c, out, e);
}
CALL(repeat) {
  UNUSED;
  const uint64_t times[8] = {1 + (uint64_t)(s->a & 1), 1, 2, 1, 1, 1, 1, 1};
  if (!fits(x, 4)) return too_large(e);
  return s->kind & 1 ? viva_tensor_tile(x, times, out, e)
                     : viva_tensor_repeat(x, (uint64_t)(s->a & 3), s->axis, out, e);
}
CALL(take) {
  (void)z;
  if (!fits(x, y->elements)) return too_large(e);
  return viva_tensor_take(x, y, s->kind & 1 ? VIVA_AXIS_ALL : s->axis, out, e);
}
CALL(gather) {
  (void)z;
  if (!broadcast_fits((const viva_tensor *[]){x, y}, 2)) return too_large(e);
  return viva_tensor_gather(x, y, s->axis, out, e);
}
CALL(scatter) { return viva_tensor_scatter((viva_scatter_mode)(s->kind & 1), x, y, z, s->axis, out, e); }
CALL(masks) {
  (void)z;
  if (!broadcast_fits((const viva_tensor *[]){x, y}, 2)) return too_large(e);
  return s->kind & 1 ? viva_tensor_nonzero(x, out, e) : viva_tensor_masked_select(x, y, out, e);
}
CALL(matmul) {
  (void)s, (void)z;
  if (x->elements > 64 || y->elements > 64) return too_large(e);
  return viva_tensor_matmul(x, y, out, e);
}
CALL(einsum) {
  static const char *const texts[] = {"ij,jk->ik", "ij,kj", "i,j->ji", "...i,...i->...", "ii", "ij->ji", "ij,ij->"};
  const viva_tensor *both[2] = {x, y};
  const char *text = texts[s->kind % 7];
  (void)z;
  if (x->elements > 64 || y->elements > 64) return too_large(e);
  return viva_tensor_einsum(text, both, strchr(text, ',') ? 2 : 1, out, e);
}
CALL(diag) {
  UNUSED;
  if (x->rank == 1 && x->elements > 16) return too_large(e);
  return viva_tensor_diag(x, s->c, out, e);
}
CALL(clip) {
  UNUSED;
  return viva_tensor_clip(x, (double)s->a, (double)s->b, out, e);
}
CALL(top) {
  UNUSED;
  return viva_tensor_top_k(x, (uint64_t)(s->a & 3), s->axis, s->kind & 1 ? out : NULL, s->kind & 1 ? NULL : out, e);
}
CALL(middle) {
  UNUSED;
  return viva_tensor_percentile(x, (double)(s->kind % 102), s->a & 1 ? VIVA_AXIS_ALL : s->axis, 0, out, e);
}

static const struct {
  call_fn call;
  int exact; /* 2: but along's and reduce's operations that round */
} calls[] = {{unary, 1},   {binary, 1},  {scalar, 1}, {where, 1},      {reduce, 2},  {along, 2},     {astype, 1},
             {reshape, 1}, {permute, 1}, {flip, 1},   {slice, 1},      {squeeze, 1}, {broadcast, 1}, {join, 1},
             {roll, 1},    {pad, 1},     {repeat, 1}, {take, 1},       {gather, 1},  {scatter, 1},   {masks, 1},
             {matmul, 1},  {einsum, 1},  {diag, 1},   {select_one, 1}, {clip, 1},    {top, 1},       {middle, 1}};
enum { CALLS = sizeof calls / sizeof *calls };

static int is_exact(const step *s) {
  const uint32_t reduction = s->kind % VIVA_REDUCTION_COUNT, op = s->kind % VIVA_ALONG_COUNT;
  if (calls[s->op].exact == 1) return 1;
  if (calls[s->op].call == along) return op <= VIVA_ARGSORT && op != VIVA_CUMPROD;
  return reduction != VIVA_MEAN && reduction != VIVA_VAR && reduction != VIVA_STD && reduction != VIVA_NORM &&
         reduction != VIVA_PROD;
}

/* -- values */

static int is_nan_at(const viva_tensor *t, size_t i) {
  double value = 0;
  int64_t index[VIVA_TENSOR_MAX_RANK];
  for (uint32_t k = t->rank; k-- > 0; i /= (size_t)t->shape[k]) index[k] = (int64_t)(i % t->shape[k]);
  require(viva_tensor_get(t, index, &value, NULL) == VIVA_OK);
  return isnan(value);
}

/* The same shape, type and bits; NaN of any bits. */
static void same(const viva_tensor *x, const viva_tensor *y) {
  viva_tensor *a, *b;
  require(x->dtype == y->dtype && x->rank == y->rank && x->elements == y->elements);
  for (uint32_t i = 0; i < x->rank; i++) require(x->shape[i] == y->shape[i]);
  require(viva_tensor_contiguous(x, &a, NULL) == VIVA_OK && viva_tensor_contiguous(y, &b, NULL) == VIVA_OK);
  const size_t element = tensor_element_bytes(a->dtype);
  for (size_t i = 0; i < a->elements; i++)
    require(memcmp(a->data + i * element, b->data + i * element, element) == 0 || (is_nan_at(a, i) && is_nan_at(b, i)));
  viva_tensor_release(a), viva_tensor_release(b);
}

/* Small whole numbers again: the remainder by 5, and 1 for what is no number. */
static viva_tensor *tamed(viva_tensor *t) {
  viva_tensor *finite, *rounded, *calm, *one, *out;
  if (t->dtype > VIVA_U8) return t;
  const double five = 5;
  require(create_full(t->storage->rt, t->dtype, 0, NULL, 1, &one, NULL) == VIVA_OK);
  require(viva_tensor_unary(VIVA_ISFINITE, t, &finite, NULL) == VIVA_OK);
  require(viva_tensor_where(finite, t, one, &calm, NULL) == VIVA_OK);
  require(viva_tensor_unary(VIVA_FLOOR, calm, &rounded, NULL) == VIVA_OK);
  require(viva_tensor_binary_scalar(VIVA_REMAINDER, rounded, five, &out, NULL) == VIVA_OK);
  viva_tensor_release(t), viva_tensor_release(finite), viva_tensor_release(rounded);
  viva_tensor_release(calm), viva_tensor_release(one);
  return out;
}

/* Sums, extremes and places of all elements, one by one. */
static void check_all(const viva_tensor *t) {
  viva_tensor *flat, *found;
  double sum = 0, most = 0, value;
  int64_t at = 0;
  if (t->elements == 0 || t->dtype > VIVA_BOOL) return;
  require(viva_tensor_flatten(t, &flat, NULL) == VIVA_OK);
  for (int64_t i = 0; i < (int64_t)flat->elements; i++) {
    require(viva_tensor_get(flat, &i, &value, NULL) == VIVA_OK);
    sum += value;
    if (i == 0 || value > most) most = value, at = i;
  }
  static const viva_reduction ops[3] = {VIVA_SUM, VIVA_MAX, VIVA_ARGMAX};
  const double wanted[3] = {sum, most, (double)at};
  for (int k = 0; k < 3; k++) {
    require(viva_tensor_reduce(ops[k], t, NULL, 0, 0, &found, NULL) == VIVA_OK);
    require(viva_tensor_get(found, NULL, &value, NULL) == VIVA_OK);
    if (k > 0 || (t->dtype != VIVA_F16 && t->dtype != VIVA_BF16)) require(value == wanted[k]);
    viva_tensor_release(found);
  }
  viva_tensor_release(flat);
}

/* -- programs */

static viva_tensor *first_tensor(runtime *rt, input *in) {
  const uint32_t rank = next(in, 4);
  const viva_dtype type = (viva_dtype)(VIVA_F64 + next(in, 13));
  uint64_t shape[3];
  viva_tensor *ramp, *out;
  for (uint32_t i = 0; i < rank; i++) shape[i] = next(in, 7);
  require(tensor_create(rt, VIVA_I64, rank, shape, &ramp, NULL) == VIVA_OK);
  int64_t *values = (int64_t *)(void *)ramp->data;
  for (size_t i = 0; i < ramp->elements; i++) values[i] = (int64_t)next(in, 7) - (type < VIVA_U64 ? 3 : 0);
  require(viva_tensor_astype(ramp, type, &out, NULL) == VIVA_OK);
  viva_tensor_release(ramp);
  return out;
}

static step read_step(input *in) {
  step s = {.op = next(in, CALLS), .kind = next(in, 255), .axis = (int32_t)next(in, 9) - 4};
  s.a = (int64_t)next(in, 15) - 7, s.b = (int64_t)next(in, 15) - 7, s.c = (int64_t)next(in, 7) - 3;
  s.type = (viva_dtype)(VIVA_F64 + next(in, 13));
  return s;
}

static viva_tensor *run_step(const step *s, viva_tensor *const *x, fail_alloc *fail, uint32_t failing) {
  viva_tensor *out = NULL, *again = NULL, *dense[3] = {NULL};
  viva_error e = {0}, f = {0};
  const viva_status status = calls[s->op].call(s, x[0], x[1], x[2], &out, &e);
  require(status == e.code && (status == VIVA_OK) == (out != NULL));
  for (int k = 0; k < 3; k++) require(viva_tensor_copy(x[k], &dense[k], NULL) == VIVA_OK);
  const viva_status plain = calls[s->op].call(s, dense[0], dense[1], dense[2], &again, &f);
  require(plain == status);
  if (out && is_exact(s)) same(out, again);
  viva_tensor_release(again);
  again = NULL;
  fail->failed = 0, fail->fail_at = fail->calls + failing;
  const viva_status short_of = calls[s->op].call(s, dense[0], dense[1], dense[2], &again, NULL);
  fail->fail_at = 0;
  require(short_of == status || (fail->failed && short_of == VIVA_E_MEMORY));
  require((short_of == VIVA_OK) == (again != NULL));
  viva_tensor_release(again);
  for (int k = 0; k < 3; k++) viva_tensor_release(dense[k]);
  return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input in = {data, data + size};
  fail_alloc fail;
  viva_tensor *slots[SLOTS];
  fail_alloc_init(&fail, 0, 0);
  runtime *rt = runtime_create(&fail.table, NULL, NULL, NULL, VIVA_LOG_WARN);
  for (int k = 0; k < SLOTS; k++) slots[k] = first_tensor(rt, &in);
  for (int i = 0; i < STEPS && in.at < in.end; i++) {
    const step s = read_step(&in);
    const uint32_t which = next(&in, 64), to = next(&in, SLOTS);
    viva_tensor *const operands[3] = {slots[which % 4], slots[which / 4 % 4], slots[which / 16]};
    viva_tensor *made = run_step(&s, operands, &fail, 1 + next(&in, 8));
    if (!made) continue;
    if (made->elements <= MOST) { /* views outlive what they are of */
      viva_tensor_release(slots[to]);
      const int view = calls[s.op].call != astype && !tensor_distinct(made);
      slots[to] = view || tensor_contiguous(made) == 0 ? made : tamed(made);
      check_all(slots[to]);
    } else {
      viva_tensor_release(made);
    }
  }
  for (int k = 0; k < SLOTS; k++) viva_tensor_release(slots[k]);
  runtime_release(rt);
  require(fail.live == 0);
  return 0;
}
