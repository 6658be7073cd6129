/* tensor/einsum.c: Einstein's sums.
 *
 * The text becomes labels for the axes of each operand and of the result; "..." becomes labels of its own, numbered from
 * the last. A label that occurs twice in one operand is a diagonal, one of size 1 where another operand has more is
 * dropped, one that nobody else needs is summed at once. Then two operands at a time become one by a batched matrix
 * product: [shared and kept][left alone][shared and summed] by [shared and kept][shared and summed][right alone].
 */
#include <string.h>

#include "base/error.h"
#include "tensor/view.h"
#include "viva/tensor_algebra.h"

enum { MAX_OPERANDS = 16, LETTERS = 52, LABELS = LETTERS + VIVA_TENSOR_MAX_RANK /* 60: bits of a set */ };

/* Labels of the axes of a tensor, in order. */
typedef struct labels {
  uint32_t count;
  uint8_t of[2 * VIVA_TENSOR_MAX_RANK]; /* a result's text may name too many, which is then refused */
} labels;

typedef struct term {
  viva_tensor *t; /* one reference */
  labels axes;
} term;

typedef struct sum {
  uint32_t count;
  term terms[MAX_OPERANDS];
  labels result;
  uint64_t sizes[LABELS];
  uint32_t dots; /* labels that "..." stands for */
} sum;

static int label_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  return -1;
}

static uint64_t bit(uint8_t label) { return (uint64_t)1 << label; }

static uint64_t set_of(const labels *l) {
  uint64_t set = 0;
  for (uint32_t i = 0; i < l->count; i++) set |= bit(l->of[i]);
  return set;
}

/* -- the text */

static viva_status refuse_text(const char *text, const char *at, const char *why, viva_error *error) {
  error_set(error, VIVA_E_ARGUMENT, "einsum: %s, at \"%.20s\"", why, at);
  error_at(error, NULL, text, -1, (uint64_t)(at - text));
  return VIVA_E_ARGUMENT;
}

static const char *skip(const char *at) {
  while (*at == ' ') at++;
  return at;
}

static viva_status add(labels *l, uint8_t label, const char *text, const char *at, viva_error *error) {
  if (l->count == VIVA_TENSOR_MAX_RANK) return refuse_text(text, at, "more than 8 labels in one place", error);
  l->of[l->count++] = label;
  return VIVA_OK;
}

/* Reads labels up to the next comma, arrow or end. dots: how many axes "..." stands for; < 0: rank less the letters. */
static viva_status read_labels(const char *text, const char **cursor, int dots, uint32_t rank, labels *l,
                               viva_error *error) {
  const char *at = skip(*cursor);
  int letters = 0, seen = 0;
  for (const char *p = at; label_of(*p) >= 0 || *p == '.' || *p == ' '; p++) letters += label_of(*p) >= 0;
  if (dots < 0) dots = (int)rank - letters > 0 ? (int)rank - letters : 0;
  for (; *at && *at != ',' && *at != '-'; at = skip(at)) {
    const int label = label_of(*at);
    if (label >= 0) {
      TRY(add(l, (uint8_t)label, text, at, error));
      at++;
      continue;
    }
    if (strncmp(at, "...", 3) != 0 || seen) return refuse_text(text, at, "expected a letter or one \"...\"", error);
    for (int i = dots; i-- > 0;) TRY(add(l, (uint8_t)(LETTERS + i), text, at, error));
    seen = 1, at += 3;
  }
  *cursor = at;
  return VIVA_OK;
}

/* The result that the text leaves out: "...", then labels that occur once, in alphabetic order. */
static void implied(sum *s, const uint32_t seen[LABELS]) {
  for (uint32_t i = s->dots; i-- > 0;) s->result.of[s->result.count++] = (uint8_t)(LETTERS + i);
  for (uint32_t label = 0; label < LETTERS; label++)
    if (seen[label] == 1 && s->result.count < VIVA_TENSOR_MAX_RANK) s->result.of[s->result.count++] = (uint8_t)label;
}

static viva_status take_sizes(sum *s, uint32_t k, uint32_t seen[LABELS], viva_error *error) {
  const term *m = &s->terms[k];
  char text[128];
  if (m->axes.count != m->t->rank)
    return error_set(error, VIVA_E_SIZE, "einsum: operand %u is %s and has %u labels", (unsigned)k,
                     tensor_shape_text(m->t, text), (unsigned)m->axes.count);
  for (uint32_t i = 0; i < m->axes.count; i++) {
    const uint8_t label = m->axes.of[i];
    uint64_t *size = &s->sizes[label];
    const uint64_t here = m->t->shape[i];
    if (seen[label]++ == 0 || *size == 1) {
      *size = here;
      continue;
    }
    if (here != *size && here != 1)
      return error_set(error, VIVA_E_SIZE, "einsum: axis %u of operand %u, %s, must have the size %llu", (unsigned)i,
                       (unsigned)k, tensor_shape_text(m->t, text), (unsigned long long)*size);
  }
  for (uint32_t i = 0; i < m->axes.count; i++)
    if (m->axes.of[i] >= LETTERS && (uint32_t)(m->axes.of[i] - LETTERS) >= s->dots)
      s->dots = (uint32_t)(m->axes.of[i] - LETTERS) + 1;
  return VIVA_OK;
}

static viva_status read_text(const char *text, sum *s, viva_error *error) {
  uint32_t seen[LABELS] = {0};
  const char *at = text;
  for (uint32_t k = 0; k < s->count; k++) {
    TRY(read_labels(text, &at, -1, s->terms[k].t->rank, &s->terms[k].axes, error));
    if (k + 1 < s->count && *at != ',') return refuse_text(text, at, "there are more operands", error);
    if (k + 1 < s->count) at++;
  }
  for (uint32_t k = 0; k < s->count; k++) TRY(take_sizes(s, k, seen, error));
  if (*at == '\0') {
    implied(s, seen);
    return VIVA_OK;
  }
  if (strncmp(at, "->", 2) != 0) return refuse_text(text, at, "expected \"->\" or the end", error);
  at += 2;
  TRY(read_labels(text, &at, (int)s->dots, 0, &s->result, error));
  if (*at) return refuse_text(text, at, "expected the end", error);
  uint64_t found = 0;
  for (uint32_t i = 0; i < s->result.count; i++) {
    if (!seen[s->result.of[i]]) return refuse_text(text, at, "the result has a label that no operand has", error);
    if (found & bit(s->result.of[i])) return refuse_text(text, at, "the result names a label twice", error);
    found |= bit(s->result.of[i]);
  }
  return VIVA_OK;
}

/* -- operands: to be replaced by views and sums */

static void replace(term *m, viva_tensor *t) {
  viva_tensor_release(m->t);
  m->t = t;
}

/* Axes with one label become their diagonal; those of size 1 whose label is longer elsewhere go. */
static viva_status simplify(const sum *s, term *m, viva_error *error) {
  view v = {.rank = 0};
  labels kept = {0};
  for (uint32_t i = 0; i < m->axes.count; i++) {
    const uint8_t label = m->axes.of[i];
    uint32_t at = 0;
    if (m->t->shape[i] == 1 && s->sizes[label] != 1) continue;
    while (at < kept.count && kept.of[at] != label) at++;
    if (at == kept.count) {
      kept.of[kept.count++] = label;
      v.shape[v.rank++] = m->t->shape[i];
    }
    v.strides[at] += m->t->strides[i];
  }
  viva_tensor *out;
  TRY(view_make(m->t, &v, &out, error));
  replace(m, out);
  m->axes = kept;
  return VIVA_OK;
}

/* Sums over the labels that are not needed. */
static viva_status drop(term *m, uint64_t needed, viva_dtype type, viva_error *error) {
  int32_t axes[VIVA_TENSOR_MAX_RANK];
  uint32_t count = 0;
  labels kept = {0};
  viva_tensor *out, *narrow;
  for (uint32_t i = 0; i < m->axes.count; i++)
    if (needed & bit(m->axes.of[i]))
      kept.of[kept.count++] = m->axes.of[i];
    else
      axes[count++] = (int32_t)i;
  if (count == 0) return VIVA_OK;
  TRY(viva_tensor_reduce(type == VIVA_BOOL ? VIVA_ANY : VIVA_SUM, m->t, axes, count, 0, &out, error));
  const viva_status status = operand_dense(out, type, &narrow, error);
  viva_tensor_release(out);
  if (status != VIVA_OK) return status;
  replace(m, narrow);
  m->axes = kept;
  return VIVA_OK;
}

/* The axes of m whose labels are in the set, in the order of `order` (a label for each), at the end of axes. */
static uint32_t pick(const term *m, uint64_t set, const labels *order, int32_t *axes, uint64_t *product) {
  uint32_t count = 0;
  *product = 1;
  for (uint32_t i = 0; i < order->count; i++) {
    if (!(set & bit(order->of[i]))) continue;
    for (uint32_t k = 0; k < m->axes.count; k++)
      if (m->axes.of[k] == order->of[i]) {
        axes[count++] = (int32_t)k;
        *product *= m->t->shape[k];
      }
  }
  return count;
}

/* *out = m as [batch][rows][columns], each the product of the axes of one set. */
static viva_status as_matrices(const term *m, const uint64_t sets[3], const labels *order, uint64_t shape[3],
                               viva_tensor **out, viva_error *error) {
  int32_t axes[VIVA_TENSOR_MAX_RANK];
  uint32_t count = 0;
  viva_tensor *turned;
  for (int i = 0; i < 3; i++) count += pick(m, sets[i], order, axes + count, &shape[i]);
  TRY(viva_tensor_permute(m->t, axes, &turned, error));
  const viva_status status = view_reshape(turned, 3, shape, out, error);
  viva_tensor_release(turned);
  return status;
}

static void put(const labels *order, uint64_t set, const sum *s, labels *to, uint64_t *shape) {
  for (uint32_t i = 0; i < order->count; i++)
    if (set & bit(order->of[i])) {
      shape[to->count] = s->sizes[order->of[i]];
      to->of[to->count++] = order->of[i];
    }
}

/* a = a joined with b. needed: labels that the rest wants. */
static viva_status join(const sum *s, term *a, const term *b, uint64_t needed, viva_error *error) {
  const uint64_t in_a = set_of(&a->axes), in_b = set_of(&b->axes), both = in_a & in_b;
  const uint64_t batch = both & needed, summed = both & ~needed, left = in_a & ~both, right = in_b & ~both;
  const uint64_t sets_a[3] = {batch, left, summed}, sets_b[3] = {batch, summed, right};
  uint64_t shape_a[3], shape_b[3], shape[2 * VIVA_TENSOR_MAX_RANK];
  viva_tensor *x = NULL, *y = NULL, *product = NULL, *out = NULL;
  labels made = {0};
  put(&a->axes, batch, s, &made, shape);
  put(&a->axes, left, s, &made, shape);
  put(&b->axes, right, s, &made, shape);
  if (made.count > VIVA_TENSOR_MAX_RANK)
    return error_set(error, VIVA_E_LIMIT, "einsum: joining two operands needs %u axes; 8 is the most",
                     (unsigned)made.count);
  viva_status status = as_matrices(a, sets_a, &a->axes, shape_a, &x, error);
  if (status == VIVA_OK) { /* summed labels in the order of a */
    labels order = a->axes;
    for (uint32_t i = 0; i < b->axes.count; i++)
      if (right & bit(b->axes.of[i])) order.of[order.count++] = b->axes.of[i];
    status = as_matrices(b, sets_b, &order, shape_b, &y, error);
  }
  if (status == VIVA_OK) status = viva_tensor_matmul(x, y, &product, error);
  if (status == VIVA_OK) status = view_reshape(product, made.count, shape, &out, error);
  viva_tensor_release(x), viva_tensor_release(y), viva_tensor_release(product);
  if (status != VIVA_OK) return status;
  replace(a, out);
  a->axes = made;
  return VIVA_OK;
}

/* The axes in the order of the result; those that "..." or a size of 1 lost come again. */
static viva_status finish(const sum *s, const term *m, viva_dtype type, viva_tensor **out, viva_error *error) {
  view v = {.rank = s->result.count};
  for (uint32_t i = 0; i < s->result.count; i++) {
    v.shape[i] = 1, v.strides[i] = 1;
    for (uint32_t k = 0; k < m->axes.count; k++)
      if (m->axes.of[k] == s->result.of[i]) v.shape[i] = m->t->shape[k], v.strides[i] = m->t->strides[k];
  }
  viva_tensor *turned;
  TRY(view_make(m->t, &v, &turned, error));
  const viva_status status = operand_copy(turned, type, out, error); /* a new tensor, not a view of an operand */
  viva_tensor_release(turned);
  return status;
}

static viva_status run(sum *s, viva_dtype type, viva_tensor **out, viva_error *error) {
  uint64_t later[MAX_OPERANDS + 1]; /* labels of the result and of the operands from here on */
  for (uint32_t k = 0; k < s->count; k++) TRY(simplify(s, &s->terms[k], error));
  later[s->count] = set_of(&s->result);
  for (uint32_t k = s->count; k-- > 0;) later[k] = later[k + 1] | set_of(&s->terms[k].axes);
  term *first = &s->terms[0];
  TRY(drop(first, later[1], type, error));
  for (uint32_t k = 1; k < s->count; k++) {
    TRY(drop(&s->terms[k], later[k + 1] | set_of(&first->axes), type, error));
    TRY(drop(first, later[k], type, error));
    TRY(join(s, first, &s->terms[k], later[k + 1], error));
  }
  return finish(s, first, type, out, error);
}

viva_status viva_tensor_einsum(const char *text, const viva_tensor *const *tensors, uint32_t count, viva_tensor **out,
                               viva_error *error) {
  sum s = {.count = count};
  TRY(operand_place(out, error));
  if (!text || !tensors || count == 0 || count > MAX_OPERANDS)
    return error_set(error, VIVA_E_ARGUMENT, "einsum takes a text and 1 to %d tensors, not %u", MAX_OPERANDS,
                     (unsigned)count);
  viva_dtype type = VIVA_DTYPE_NONE;
  for (uint32_t k = 0; k < count; k++) {
    TRY(operand_need(tensors[k], "a tensor of the list", error));
    if (!dtype_is_compute(tensors[k]->dtype))
      return operand_refuse("einsum", tensors[k]->dtype, VIVA_DTYPE_NONE, error);
    type = k == 0 ? tensors[0]->dtype : dtype_promote(type, tensors[k]->dtype);
  }
  for (uint32_t k = 0; k < count; k++) s.terms[k].t = viva_tensor_retain((viva_tensor *)(uintptr_t)tensors[k]);
  viva_status status = read_text(text, &s, error);
  if (status == VIVA_OK) status = run(&s, type, out, error);
  for (uint32_t k = 0; k < count; k++) viva_tensor_release(s.terms[k].t);
  return status;
}
