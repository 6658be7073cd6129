/* tensor/layout.c: bytes of low-bit layouts. */
#include "base/ck.h"
#include "base/options.h"
#include "tensor/tensor.h"
#include "viva/tensor_select.h"

static const struct {
  const char *name;
  uint32_t bits, block, scale, tensor;
} layouts[VIVA_LAYOUT_COUNT] = {
#define VIVA_LAYOUT_ROW(name, text, bits, block, scale, tensor)                                                        \
  [VIVA_LAYOUT_##name] = {text, bits, block, scale, tensor},
    VIVA_LAYOUT_MAP(VIVA_LAYOUT_ROW)
#undef VIVA_LAYOUT_ROW
};

const char *viva_layout_name(viva_layout layout) {
  return (unsigned)layout < VIVA_LAYOUT_COUNT ? layouts[layout].name : NULL;
}

/* ceil(n·multiplier / divisor) for each of `rows`; 1 on overflow. */
static int bytes_of(uint64_t rows, uint64_t n, uint64_t multiplier, uint64_t divisor, uint64_t *bytes) {
  uint64_t row;
  if (ck_mul(n, multiplier, &row) || ck_add(row, divisor - 1, &row)) return 1;
  return ck_mul(row / divisor, rows, bytes);
}

viva_status viva_layout_info(viva_layout layout, uint32_t rank, const uint64_t *shape, viva_dtype against,
                             viva_layout_desc *desc, viva_error *error) {
  uint64_t rows = 1, elements = 1, blocks, plain;
  int overflow = 0;
  if (!viva_layout_name(layout)) return error_set(error, VIVA_E_ARGUMENT, "there is no layout %d", (int)layout);
  if (rank > VIVA_TENSOR_MAX_RANK || (rank > 0 && !shape))
    return error_set(error, VIVA_E_ARGUMENT, "rank is %u; expected 0 to %d, and a shape", (unsigned)rank,
                     VIVA_TENSOR_MAX_RANK);
  const size_t element = tensor_element_bytes(against);
  if (element == 0)
    return error_set(error, VIVA_E_ARGUMENT, "against is %s; expected a type of tensors", viva_dtype_name(against));
  const uint64_t n = rank > 0 ? shape[rank - 1] : 1;
  for (uint32_t i = 0; i + 1 < rank; i++) overflow |= ck_mul(rows, shape[i], &rows);
  viva_layout_desc d = {.size = sizeof d, .bits = layouts[layout].bits, .block = layouts[layout].block};
  overflow |= ck_mul(rows, n, &elements) || ck_mul(elements, element, &plain);
  overflow = overflow || bytes_of(rows, n, d.bits, 8, &d.code_bytes) || bytes_of(rows, n, 1, d.block, &blocks);
  overflow = overflow || ck_mul(blocks, layouts[layout].scale, &d.scale_bytes);
  overflow = overflow || ck_add(d.code_bytes, d.scale_bytes, &d.bytes);
  overflow = overflow || ck_add(d.bytes, elements > 0 ? layouts[layout].tensor : 0, &d.bytes);
  if (overflow) return error_set(error, VIVA_E_LIMIT, "the size of this shape in the layout overflows");
  d.ratio = d.bytes > 0 ? (double)plain / (double)d.bytes : 0;
  d.whole_blocks = n % d.block == 0;
  return options_fill(desc, &d, "viva_layout_desc", error);
}
