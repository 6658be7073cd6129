/* quantize/quantize_plan.c: from the plan of a model to the list of tensors in the output's files. */
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "quantize/quantize.h"

#define DEFAULT_SHARD_BYTES ((uint64_t)5000000000) /* transformers' "5GB" */

/* ---- words */

static const struct {
  weight_format format;
  uint32_t block;
  const char *word;
  scale_type usual;
} words[] = {
    {WEIGHT_F32, 0, "f32", SCALE_F32},
    {WEIGHT_BF16, 0, "bf16", SCALE_F32},
    {WEIGHT_F16, 0, "f16", SCALE_F32},
    {WEIGHT_FP8, 0, "fp8", SCALE_F32},
    {WEIGHT_FP8, 16, "fp8-b16", SCALE_F32},
    {WEIGHT_FP8, 32, "fp8-b32", SCALE_F32},
    {WEIGHT_FP8, 64, "fp8-b64", SCALE_F32},
    {WEIGHT_FP8, 128, "fp8-b128", SCALE_F32},
    {WEIGHT_NVFP4, NVFP4_BLOCK, "nvfp4", SCALE_E4M3},
    {WEIGHT_INT8_24, 0, "int8-24", SCALE_F32},
    {WEIGHT_INT4_24, 128, "int4-24", SCALE_F16},
    {WEIGHT_INT4_24, 64, "int4-24-g64", SCALE_F16},
    {WEIGHT_INT4_24, 32, "int4-24-g32", SCALE_F16},
    {WEIGHT_INT4_24, 0, "int4-24-channel", SCALE_F16},
};

void quantize_word(const pack_spec *spec, int suffix, char *word, size_t size) {
  static const char *const scales[] = {
      [SCALE_F32] = ":f32", [SCALE_F16] = ":f16", [SCALE_E8M0] = ":e8m0", [SCALE_E4M3] = ""};
  size_t i = 0;
  while (i + 1 < sizeof words / sizeof *words && (words[i].format != spec->format || words[i].block != spec->block))
    i++;
  int usual = weight_dense(spec->format) || words[i].usual == spec->scale;
  snprintf(word, size, "%s%s%s", words[i].word, spec->pairs ? "-pairs" : "",
           suffix && !usual ? scales[spec->scale] : "");
}

int quantize_shared(const pack_spec *spec, size_t cols) {
  if (spec->format == WEIGHT_NVFP4) return cols % NVFP4_BLOCK == 0;
  return spec->format == WEIGHT_FP8 && spec->scale == SCALE_F32 && (!spec->block || cols % spec->block == 0);
}

/* ---- what each tensor becomes */

static weight_format dense_format(file_type type) {
  switch (type) {
  case TYPE_F16: return WEIGHT_F16;
  case TYPE_F32:
  case TYPE_F64: return WEIGHT_F32;
  default: return WEIGHT_BF16;
  }
}

static viva_status set_matrix(quantize_job *j, quantize_output *out, viva_error *error) {
  const plan_item *item = out->item;
  int from_packed = item->source.kind != QUANT_DENSE;
  names_module(item->slot, item->layer, out->name, sizeof out->name);
  const quant_matrix *m = &item->source;
  out->bytes_before = item->view->bytes + (m->scales ? m->scales->bytes : 0) + (m->mask ? m->mask->bytes : 0);
  out->spec = item->spec;
  out->copied = item->native;
  if (from_packed && j->dense) {
    out->spec = (pack_spec){.format = WEIGHT_BF16};
    out->copied = 0;
  }
  if (out->copied && out->spec.multiplier)
    return checkpoint_fail(
        j->ck, item->view, error, VIVA_E_UNSUPPORTED,
        "the matrix is stored in ModelOpt's form of NVFP4, which is not written; give a format for it");
  out->packed = !weight_dense(out->spec.format);
  return VIVA_OK;
}

static viva_status set_vector(const quantize_job *j, quantize_output *out, viva_error *error) {
  const plan_item *item = out->item;
  if (names_format(item->slot, CONTAINER_SAFETENSORS, item->layer, out->name, sizeof out->name))
    return checkpoint_fail(j->ck, item->view, error, VIVA_E_UNSUPPORTED,
                           "a folder has no name for this tensor; quantize the Hugging Face folder that the file was "
                           "made from");
  out->spec = (pack_spec){.format = dense_format(item->view->type)};
  out->bytes_before = item->view->bytes;
  return VIVA_OK;
}

viva_status quantize_list(quantize_job *j, viva_error *error) {
  j->outputs = mem_array(&j->engine->rt->mem, j->p.item_count + 1, sizeof *j->outputs);
  if (!j->outputs) return error_set(error, VIVA_E_MEMORY, "no memory for the list of tensors");
  for (size_t i = 0; i < j->p.item_count; i++) {
    if (&j->p.items[i] == j->p.rope_factors) continue; /* in config.json */
    quantize_output *out = &j->outputs[j->output_count++];
    out->item = &j->p.items[i];
    TRY(out->item->vector ? set_vector(j, out, error) : set_matrix(j, out, error));
    if (out->item == j->p.head && j->p.embedding) j->head = 1;
    out->surveyed = out->packed && !out->copied && pack_needs_survey(&out->spec);
    j->total += out->bytes_before * (out->surveyed ? 2 : 1);
  }
  return VIVA_OK;
}

/* ---- tensors */

static const file_type dense_types[] = {[WEIGHT_F32] = TYPE_F32, [WEIGHT_BF16] = TYPE_BF16, [WEIGHT_F16] = TYPE_F16};
static const file_type scale_types[] = {
    [SCALE_F32] = TYPE_F32, [SCALE_F16] = TYPE_F16, [SCALE_E8M0] = TYPE_F8_E8M0, [SCALE_E4M3] = TYPE_F8_E4M3};

static viva_status add_tensor(quantize_job *j, quantize_output *out, const char *part, file_type type, uint32_t rank,
                              uint64_t rows, uint64_t cols, viva_error *error) {
  stream_tensor *t = &j->tensors[j->tensor_count++];
  size_t size = strlen(out->name) + strlen(part) + 1;
  char *name = arena_alloc(j->arena, size);
  if (!name) return error_set(error, VIVA_E_MEMORY, "no memory for the list of tensors");
  snprintf(name, size, "%s%s", out->name, part);
  *t = (stream_tensor){.name = name, .type = type, .rank = rank, .shape = {rank == 2 ? rows : cols, cols}};
  uint64_t elements;
  if (ck_mul(rows, cols, &elements) || type_bytes(type, elements, &t->bytes))
    return error_set(error, VIVA_E_LIMIT, "a tensor has more bytes than a file can hold");
  out->bytes_after += t->bytes;
  return VIVA_OK;
}

/* Order of the parts: codes, scales, then the small ones, as quantize_rows.c writes them. */
static viva_status add_packed(quantize_job *j, quantize_output *out, viva_error *error) {
  size_t rows = out->item->rows, cols = out->item->cols;
  int nvfp4 = out->spec.format == WEIGHT_NVFP4;
  pack_sizes sizes;
  if (pack_measure(&out->spec, rows, cols, &sizes))
    return error_set(error, VIVA_E_LIMIT, "a packed matrix is too large");
  if (!j->own && !nvfp4)
    TRY(add_tensor(j, out, ".weight", TYPE_F8_E4M3, 2, rows, cols, error));
  else
    TRY(add_tensor(j, out, ".weight_packed", TYPE_U8, 2, rows, sizes.row_bytes, error));
  size_t blocks = sizes.scale_row_bytes / scale_bytes(out->spec.scale);
  TRY(add_tensor(j, out, ".weight_scale", scale_types[out->spec.scale], 2, rows, blocks, error));
  if (nvfp4) TRY(add_tensor(j, out, ".weight_global_scale", TYPE_F32, 1, 1, 1, error));
  return j->own ? add_tensor(j, out, ".weight_shape", TYPE_I64, 1, 1, 2, error) : VIVA_OK;
}

static viva_status add_dense(quantize_job *j, quantize_output *out, viva_error *error) {
  file_type type = dense_types[out->spec.format];
  const plan_item *item = out->item;
  if (item->vector) return add_tensor(j, out, "", type, 1, 1, item->view->elements, error);
  return add_tensor(j, out, ".weight", type, 2, item->rows, item->cols, error);
}

/* A matrix and its scales stay together; a new file begins before one would grow beyond the limit. */
static void cut_shards(quantize_job *j) {
  uint64_t limit = j->options->shard_bytes ? j->options->shard_bytes : DEFAULT_SHARD_BYTES, size = 0;
  uint32_t shard = 0;
  for (size_t i = 0; i < j->output_count; i++) {
    const quantize_output *out = &j->outputs[i];
    size_t end = i + 1 < j->output_count ? out[1].first_tensor : j->tensor_count;
    if (size > 0 && (out->bytes_after > limit || size > limit - out->bytes_after)) {
      shard++;
      size = 0;
    }
    size += out->bytes_after;
    for (size_t t = out->first_tensor; t < end; t++) j->tensors[t].shard = shard;
  }
}

viva_status quantize_layout(quantize_job *j, viva_error *error) {
  enum { MOST_PARTS = 4 };
  j->tensors = mem_array(&j->engine->rt->mem, (j->output_count + 1) * MOST_PARTS, sizeof *j->tensors);
  if (!j->tensors) return error_set(error, VIVA_E_MEMORY, "no memory for the list of tensors");
  for (size_t i = 0; i < j->output_count; i++)
    if (j->outputs[i].packed && !quantize_shared(&j->outputs[i].spec, j->outputs[i].item->cols)) j->own = 1;
  for (size_t i = 0; i < j->output_count; i++) {
    quantize_output *out = &j->outputs[i];
    out->first_tensor = j->tensor_count;
    TRY(out->packed ? add_packed(j, out, error) : add_dense(j, out, error));
  }
  cut_shards(j);
  return VIVA_OK;
}
