/* model/plan_format.c: the format each tensor is held in, and its size there. */
#include "base/ck.h"
#include "model/budget.h"
#include "model/plan.h"

/* Values converted at once: their FP32 form stays in the second-level cache. */
#define PIECE_VALUES ((size_t)64 << 10)

static weight_format stored_format(const type_info *type) {
  if (type->dtype == VIVA_F16) return WEIGHT_F16;
  return type->dtype == VIVA_F32 || type->dtype == VIVA_F64 ? WEIGHT_F32 : WEIGHT_BF16;
}

/* The table in which tokens are looked up is never packed: 16 bits under a packed format, and BF16, whose range F16 has
 * not, never becomes F16. */
static weight_format table_format(const rule *r, const type_info *type) {
  pack_spec spec;
  if (!rule_default(r, &spec)) return stored_format(type);
  if (spec.format == WEIGHT_F32 || spec.format == WEIGHT_BF16) return spec.format;
  if (type->dtype == VIVA_F16) return WEIGHT_F16;
  return spec.format == WEIGHT_F16 && type->dtype != VIVA_BF16 ? WEIGHT_F16 : WEIGHT_BF16;
}

static pack_spec choose(const rule *r, const plan_item *item, const type_info *type) {
  char name[96];
  pack_spec spec;
  if (item->vector) return (pack_spec){.format = WEIGHT_F32};
  if (item->slot == &names_global[NAMES_EMBEDDING]) return (pack_spec){.format = table_format(r, type)};
  names_module(item->slot, item->layer, name, sizeof name);
  if (rule_format(r, name, &spec)) return spec;
  return (pack_spec){.format = stored_format(type)};
}

viva_status plan_choose(const plan *p, plan_item *item, viva_error *error) {
  const type_info *type = type_get(item->view->type);
  int block = type->block_elements > 1;
  int plain_float =
      type->dtype == VIVA_F64 || type->dtype == VIVA_F32 || type->dtype == VIVA_BF16 || type->dtype == VIVA_F16;
  if (!type->dequant || (!plain_float && !block) || (block && item->vector))
    return checkpoint_fail(p->ck, item->view, error, VIVA_E_UNSUPPORTED,
                           "the tensor is stored as %s, which cannot be run here; %s", type_name(item->view->type),
                           item->vector ? "norms and biases can be F64, F32, BF16 or F16"
                                        : "weights can be F64, F32, BF16, F16 or a GGUF block type that viva decodes");
  item->spec = choose(&p->rule, item, type);
  return VIVA_OK;
}

int plan_same_format(const plan_item *a, const plan_item *b) {
  return weight_dense(a->spec.format) && a->spec.format == b->spec.format;
}

int plan_as_stored(const plan_item *item) {
  static const viva_dtype dtypes[] = {[WEIGHT_F32] = VIVA_F32, [WEIGHT_BF16] = VIVA_BF16, [WEIGHT_F16] = VIVA_F16};
  weight_format format = item->spec.format;
  return weight_dense(format) && type_get(item->view->type)->dtype == dtypes[format];
}

uint64_t plan_file_row_bytes(const plan_item *item) { return item->view->bytes / item->rows; }

size_t plan_piece_rows(const plan_item *item) {
  size_t rows = PIECE_VALUES / item->cols;
  if (rows == 0) rows = 1;
  if (item->head_rows) rows = (rows + item->head_rows - 1) / item->head_rows * item->head_rows;
  return rows < item->rows ? rows : item->rows;
}

static int usable_in_place(const plan *p, const plan_item *item) {
  if (!p->engine->backend->ops->host_memory || item->head_rows || !plan_as_stored(item)) return 0;
  const void *data = checkpoint_mapped(p->ck, item->view);
  return data && (uintptr_t)data % weight_element_bytes(item->spec.format) == 0;
}

void plan_size(const plan *p, plan_item *item) {
  pack_sizes sizes;
  item->in_place = usable_in_place(p, item);
  item->bytes = UINT64_MAX;
  if (weight_dense(item->spec.format))
    item->bytes = budget_mul(item->view->elements, weight_element_bytes(item->spec.format));
  else if (pack_measure(&item->spec, item->rows, item->cols, &sizes) == 0)
    item->bytes = sizes.bytes;
}

plan_item plan_item_under(const plan *p, const plan_item *item, const rule *r) {
  plan_item other = *item;
  other.spec = choose(r, item, type_get(item->view->type));
  plan_size(p, &other);
  return other;
}
