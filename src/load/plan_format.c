/* load/plan_format.c: the format each tensor is held in, and its size there. */
#include "base/ck.h"
#include "load/budget.h"
#include "load/plan.h"

#include <string.h>

/* Values converted at once: their FP32 form stays in the second-level cache. */
#define SLICE_VALUES ((size_t)64 << 10)

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

static scale_type stored_scale(const quant_matrix *m) {
  if (m->block_rows != 1) return SCALE_F32; /* repeated for each row */
  if (m->scale_type == TYPE_F16) return SCALE_F16;
  return m->scale_type == TYPE_F8_E8M0 ? SCALE_E8M0 : SCALE_F32;
}

/* The quantised form of the file, where the kernels have it. */
static int native_spec(const quant_matrix *m, pack_spec *spec) {
  int fits = m->block_cols == 32 || m->block_cols == 64 || m->block_cols == 128;
  if (m->kind != QUANT_INT4_24) fits |= m->block_cols == 16; /* pack.h: 2:4 has no blocks of 16 */
  int whole =
      m->scale_cols <= 1 && !(fits && m->grouped); /* scales of groups go in before the sum, even a single one */
  uint32_t block = whole ? 0 : (uint32_t)m->block_cols;
  switch (m->kind) {
  case QUANT_SPARSE: /* with scales: E4M3 under a mask, which is spread */
  case QUANT_FP8:
    if (!m->scales) return 0;
    *spec = (pack_spec){.format = WEIGHT_FP8, .block = block, .scale = stored_scale(m)};
    return whole || fits;
  case QUANT_NVFP4:
    *spec = (pack_spec){.format = WEIGHT_NVFP4,
                        .block = NVFP4_BLOCK,
                        .scale = SCALE_E4M3,
                        .multiplier = !m->global_divides,
                        .global = m->global};
    return 1;
  case QUANT_INT8_24: *spec = (pack_spec){.format = WEIGHT_INT8_24, .scale = SCALE_F32}; return whole;
  case QUANT_INT4_24:
    *spec = (pack_spec){.format = WEIGHT_INT4_24, .block = block, .scale = stored_scale(m), .pairs = m->pairs};
    return whole || fits;
  case QUANT_DENSE: break;
  }
  return 0;
}

/* *native: the codes of the file are kept. */
static pack_spec choose(const rule *r, const plan_item *item, const type_info *type, int *native) {
  char name[96];
  pack_spec spec;
  *native = 0;
  if (item->vector) return (pack_spec){.format = WEIGHT_F32};
  if (item->slot == &names_global[NAMES_EMBEDDING]) return (pack_spec){.format = table_format(r, type)};
  names_module(item->slot, item->layer, name, sizeof name);
  if (rule_format(r, name, &spec)) return spec;
  if (item->source.kind != QUANT_DENSE && native_spec(&item->source, &spec)) {
    *native = 1;
    return spec;
  }
  return (pack_spec){.format = stored_format(type)};
}

int plan_native(const plan_item *item, pack_spec *spec) { return native_spec(&item->source, spec); }

viva_status plan_choose(const plan *p, plan_item *item, viva_error *error) {
  const type_info *type = type_get(item->view->type);
  int block = type->block_elements > 1;
  int plain_float =
      type->dtype == VIVA_F64 || type->dtype == VIVA_F32 || type->dtype == VIVA_BF16 || type->dtype == VIVA_F16;
  if (item->source.kind == QUANT_DENSE && (!type->dequant || (!plain_float && !block) || (block && item->vector)))
    return checkpoint_fail(p->ck, item->view, error, VIVA_E_UNSUPPORTED,
                           "the tensor is stored as %s, which cannot be run here; %s", type_name(item->view->type),
                           item->vector ? "norms and biases can be F64, F32, BF16 or F16"
                                        : "weights can be F64, F32, BF16, F16 or a GGUF block type that viva decodes");
  item->spec = choose(&p->rule, item, type, &item->native);
  return VIVA_OK;
}

int plan_same_format(const plan_item *a, const plan_item *b) {
  return weight_dense(a->spec.format) && a->spec.format == b->spec.format;
}

int plan_as_stored(const plan_item *item) {
  static const viva_dtype dtypes[] = {[WEIGHT_F32] = VIVA_F32, [WEIGHT_BF16] = VIVA_BF16, [WEIGHT_F16] = VIVA_F16};
  weight_format format = item->spec.format;
  return item->source.kind == QUANT_DENSE && weight_dense(format) &&
         type_get(item->view->type)->dtype == dtypes[format];
}

uint64_t plan_file_row_bytes(const plan_item *item) { return item->view->bytes / item->rows; }

size_t plan_slice_rows(const plan_item *item) {
  size_t rows = SLICE_VALUES / item->cols;
  if (rows == 0) rows = 1;
  if (item->head_rows) rows = (rows + item->head_rows - 1) / item->head_rows * item->head_rows;
  return rows < item->rows ? rows : item->rows;
}

size_t plan_raw_bytes(const plan_item *item, size_t rows) {
  pack_spec spec;
  pack_sizes sizes = {0};
  const quant_matrix *m = &item->source;
  if (m->kind == QUANT_DENSE) return (size_t)budget_mul(plan_file_row_bytes(item), rows);
  int blocks = m->kind == QUANT_INT8_24 || m->kind == QUANT_INT4_24; /* are unpacked from a copy */
  if (blocks && native_spec(m, &spec) && pack_measure(&spec, rows, item->cols, &sizes)) return SIZE_MAX;
  return (size_t)budget_add(budget_add(quant_scratch_bytes(m, rows), sizes.bytes), PLAN_ALIGN);
}

static int aligned(const void *data, size_t to) { return data && (uintptr_t)data % to == 0; }

/* Codes and scales of a mapped file are our layout when nothing is to be spread, repeated or converted. 2:4 blocks are
 * copied, for their alignment. */
static int native_in_place(const plan *p, const plan_item *item) {
  const quant_matrix *m = &item->source;
  int per_row = m->block_rows == 1, per_tensor = m->scale_rows == 1 && m->scale_cols == 1;
  int type_held = m->scale_type == TYPE_F32 || m->scale_type == TYPE_F16 || m->scale_type == TYPE_F8_E8M0;
  if (!checkpoint_mapped(p->ck, m->codes)) return 0;
  if (m->kind == QUANT_NVFP4) return checkpoint_mapped(p->ck, m->scales) != NULL;
  if (m->kind != QUANT_FP8 || !type_held || !(per_row || (per_tensor && m->scale_type == TYPE_F32))) return 0;
  return aligned(checkpoint_mapped(p->ck, m->scales), scale_bytes(item->spec.scale));
}

static int usable_in_place(const plan *p, const plan_item *item) {
  if (!p->engine->backend->host_memory || item->head_rows) return 0;
  if (item->native) return native_in_place(p, item);
  return plan_as_stored(item) && aligned(checkpoint_mapped(p->ck, item->view), weight_element_bytes(item->spec.format));
}

weight plan_view(const plan *p, const plan_item *item, const void *data) {
  weight w = pack_view(&item->spec, item->rows, item->cols, data);
  if (!item->native || !item->in_place) return w;
  w.scales = checkpoint_mapped(p->ck, item->source.scales);
  if (item->source.scale_rows == 1 && item->rows > 1) w.scale_row_bytes = 0; /* one for all */
  return w;
}

void plan_size(const plan *p, plan_item *item) {
  pack_sizes sizes;
  item->in_place = usable_in_place(p, item);
  item->bytes = UINT64_MAX;
  if (weight_dense(item->spec.format))
    item->bytes = budget_mul(budget_mul(item->rows, item->cols), weight_element_bytes(item->spec.format));
  else if (pack_measure(&item->spec, item->rows, item->cols, &sizes) == 0)
    item->bytes = sizes.bytes;
}

plan_item plan_item_under(const plan *p, const plan_item *item, const rule *r) {
  plan_item other = *item;
  other.spec = choose(r, item, type_get(item->view->type), &other.native);
  plan_size(p, &other);
  return other;
}

void plan_set(const plan *p, const plan_item *item, const void *data, decoder *d) {
  char *owner = item->layer == PLAN_GLOBAL ? (char *)d : (char *)&d->layers[item->layer];
  if (item == p->rope_factors) return;
  if (item->vector) {
    const float *vector = data;
    memcpy(owner + item->slot->field, &vector, sizeof vector);
    return;
  }
  const weight w = plan_view(p, item, data);
  memcpy(owner + item->slot->field, &w, sizeof w);
}
