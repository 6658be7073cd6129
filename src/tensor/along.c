/* tensor/along.c: the table of operations along one axis, and their public calls. */
#include "tensor/along.h"

#include <string.h>

#include "base/error.h"
#include "tensor/radix.h"

typedef enum rule {
  SUMS,  /* as for sum: integers widen */
  ANY,   /* every type, as it is */
  FLOATS /* integers as F64 */
} rule;

static void sort_row(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  (void)second;
  radix_sort(*(const viva_dtype *)arg, RADIX_ROUNDS, in, n, out, scratch);
}

static void argsort_row(const void *arg, const char *in, size_t n, char *out, char *second, void *scratch) {
  (void)second;
  radix_argsort(*(const viva_dtype *)arg, RADIX_ROUNDS, 0, in, n, (int64_t *)(void *)out, scratch);
}

static const struct {
  const char *name;
  rule types;
  lane_fn row;
} table[VIVA_ALONG_COUNT] = {[VIVA_CUMSUM] = {"cumsum", SUMS, along_cumsum},
                             [VIVA_CUMPROD] = {"cumprod", SUMS, along_cumprod},
                             [VIVA_SORT] = {"sort", ANY, sort_row},
                             [VIVA_ARGSORT] = {"argsort", ANY, argsort_row},
                             [VIVA_SOFTMAX] = {"softmax", FLOATS, along_softmax},
                             [VIVA_LOG_SOFTMAX] = {"log_softmax", FLOATS, along_log_softmax},
                             [VIVA_NORMALIZE] = {"normalize", FLOATS, along_normalize},
                             [VIVA_STANDARDIZE] = {"standardize", FLOATS, along_standardize},
                             [VIVA_MINMAX_SCALE] = {"minmax_scale", FLOATS, along_minmax_scale},
                             [VIVA_HADAMARD] = {"hadamard", FLOATS, along_hadamard},
                             [VIVA_INVERSE_HADAMARD] = {"inverse_hadamard", FLOATS, along_inverse_hadamard},
                             [VIVA_NORMALIZED_HADAMARD] = {"normalized_hadamard", FLOATS, along_normalized_hadamard}};

const char *viva_along_name(viva_along op) { return (unsigned)op < VIVA_ALONG_COUNT ? table[op].name : NULL; }

viva_dtype viva_along_type(viva_along op, viva_dtype a) {
  if ((unsigned)op >= VIVA_ALONG_COUNT || !dtype_is_compute(a)) return VIVA_DTYPE_NONE;
  if (op == VIVA_ARGSORT) return VIVA_I64;
  switch (table[op].types) {
  case SUMS: return dtype_sum_of(a);
  case ANY: return a;
  default: return dtype_is_float(a) ? a : VIVA_F64;
  }
}

static int is_hadamard(viva_along op) { return op >= VIVA_HADAMARD && op <= VIVA_NORMALIZED_HADAMARD; }

static viva_status refuse_length(viva_along op, const viva_tensor *a, uint32_t axis, const char *what, viva_status code,
                                 viva_error *error) {
  char text[128];
  return error_set(error, code, "%s: axis %u of the tensor %s is %s", table[op].name, (unsigned)axis,
                   tensor_shape_text(a, text), what);
}

/* The rows that the operation wants; type holds the rows' type as long as they are computed. */
static inline viva_status plan(viva_along op, const viva_tensor *a, int32_t axis, lanes *l, viva_dtype *type,
                               viva_error *error) {
  uint32_t at;
  if (!viva_along_name(op)) return error_set(error, VIVA_E_ARGUMENT, "there is no operation %d along an axis", (int)op);
  TRY(operand_need(a, "a", error));
  const viva_dtype result = viva_along_type(op, a->dtype);
  if (result == VIVA_DTYPE_NONE) return operand_refuse(table[op].name, a->dtype, VIVA_DTYPE_NONE, error);
  TRY(operand_axis(a, axis, &at, error));
  const uint64_t n = a->shape[at];
  if (is_hadamard(op) && (n == 0 || (n & (n - 1)) != 0))
    return refuse_length(op, a, at, "no power of two", VIVA_E_SIZE, error);
  *type = table[op].types == ANY ? a->dtype : dtype_kernel(result);
  *l = (lanes){.a = a,
               .axis = axis,
               .type = *type,
               .out_type = op == VIVA_ARGSORT ? VIVA_I64 : *type,
               .result = result,
               .length = n,
               .fn = table[op].row,
               .arg = type};
  if (op == VIVA_SORT) l->scratch = radix_sort_scratch(*type, (size_t)n);
  if (op == VIVA_ARGSORT) l->scratch = radix_argsort_scratch((size_t)n);
  return l->scratch != SIZE_MAX ? VIVA_OK : refuse_length(op, a, at, "too long", VIVA_E_LIMIT, error);
}

viva_status viva_tensor_along(viva_along op, const viva_tensor *a, int32_t axis, viva_tensor **out, viva_error *error) {
  lanes l;
  viva_dtype type;
  TRY(operand_place(out, error));
  TRY(plan(op, a, axis, &l, &type, error));
  return lanes_new(&l, out, NULL, error);
}

viva_status viva_tensor_along_into(viva_along op, const viva_tensor *a, int32_t axis, viva_tensor *out,
                                   viva_error *error) {
  lanes l;
  viva_dtype type;
  TRY(plan(op, a, axis, &l, &type, error));
  TRY(operand_out(out, a->rank, a->shape, error));
  return lanes_into(&l, out, NULL, error);
}
