/* format/quant/quant_matrix.c: what one quantised matrix is made of, each part checked against the others.
 *
 *   dialect                 codes                scales               more
 *   compressed-tensors FP8  weight E4M3          weight_scale
 *   NVFP4                   weight_packed U8     weight_scale E4M3    weight_global_scale (divides)
 *   sparse-24-bitmask       compressed           weight_scale (FP8)   bitmask U8, shape I64[2]
 *   fp8 in blocks           weight E4M3          weight_scale_inv (multiplies, whatever its name says)
 *   fp8, fbgemm_fp8         weight E4M3          weight_scale
 *                                                (FP8 scales have more names: scale_names)
 *   modelopt FP8            weight E4M3          weight_scale
 *   modelopt NVFP4          weight U8            weight_scale E4M3    weight_scale_2 (multiplies)
 *   viva                    weight_packed U8     weight_scale         weight_shape I64[2], weight_global_scale
 */
#include <math.h>
#include <string.h>

#include "format/quant/quant_inner.h"
#include "number/layout.h"

const tensor_view *quant_part(const viva_checkpoint *ck, const char *module, size_t bytes, const char *suffix) {
  size_t low = 0, high = ck->tensor_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const char *name = ck->tensors[middle].name;
    int compared = strncmp(name, module, bytes);
    if (compared == 0) compared = strcmp(name + bytes, suffix);
    if (compared == 0) return &ck->tensors[middle];
    if (compared < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

static const tensor_view *take_part(quant_making *k, const char *suffix) {
  const tensor_view *view = quant_part(k->q->ck, k->module, k->module_bytes, suffix);
  if (view) k->q->roles[view - k->q->ck->tensors] = QUANT_ROLE_PART;
  return view;
}

static viva_status need_part(quant_making *k, const char *suffix, const tensor_view **view) {
  *view = take_part(k, suffix);
  if (*view) return VIVA_OK;
  return checkpoint_fail(k->q->ck, k->m.codes, k->error, VIVA_E_FORMAT,
                         "these codes mean nothing without the tensor %.200s%s, which the checkpoint does not have; "
                         "fetch or export it again",
                         k->module, suffix);
}

viva_status quant_fail(const quant_making *k, const tensor_view *view, const char *what) {
  return checkpoint_fail(k->q->ck, view, k->error, VIVA_E_FORMAT, "%s", what);
}

static uint64_t divide_up(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

/* Checks a matrix [rows][cols] of a type; a column vector may also have rank 1. */
static viva_status check_shape(const quant_making *k, const tensor_view *view, uint64_t rows, uint64_t cols) {
  int same = view->rank == 2 && view->shape[0] == rows && view->shape[1] == cols;
  same |= cols == 1 && view->rank == 1 && view->shape[0] == rows;
  same |= rows == 1 && cols == 1 && view->elements == 1;
  if (same) return VIVA_OK;
  return checkpoint_fail(k->q->ck, view, k->error, VIVA_E_FORMAT,
                         "has shape [%llu%s%llu%s] (rank %u), expected [%llu, %llu] for a matrix of [%llu, %llu]",
                         (unsigned long long)(view->rank > 0 ? view->shape[0] : 1), view->rank > 1 ? ", " : " ",
                         (unsigned long long)(view->rank > 1 ? view->shape[1] : view->elements),
                         view->rank > 2 ? ", ..." : "", view->rank, (unsigned long long)rows, (unsigned long long)cols,
                         (unsigned long long)k->m.rows, (unsigned long long)k->m.cols);
}

static viva_status check_type(const quant_making *k, const tensor_view *view, const file_type *types, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (view->type == types[i]) return VIVA_OK;
  return checkpoint_fail(k->q->ck, view, k->error, VIVA_E_FORMAT, "has type %s, expected %s%s%s%s%s",
                         type_name(view->type), type_name(types[0]), count > 1 ? ", " : "",
                         count > 1 ? type_name(types[1]) : "", count > 2 ? ", " : "",
                         count > 2 ? type_name(types[2]) : "");
}

/* Two integers in a tensor of their own: rows and columns. */
static viva_status read_sizes(quant_making *k, const char *suffix) {
  static const file_type types[] = {TYPE_I64};
  const tensor_view *view;
  uint8_t bytes[16];
  uint64_t sizes[2] = {0, 0};
  TRY(need_part(k, suffix, &view));
  TRY(check_type(k, view, types, 1));
  if (view->elements != 2) return quant_fail(k, view, "expected two numbers, rows and columns of the matrix");
  TRY(checkpoint_read_part(k->q->ck, view, 0, bytes, sizeof bytes, k->error));
  for (size_t i = 0; i < sizeof bytes; i++) sizes[i / 8] |= (uint64_t)bytes[i] << (8 * (i % 8));
  if (sizes[0] == 0 || sizes[1] == 0 || sizes[0] > INT64_MAX || sizes[1] > INT64_MAX)
    return quant_fail(k, view, "expected rows and columns of 1 or more");
  k->m.rows = sizes[0];
  k->m.cols = sizes[1];
  return VIVA_OK;
}

/* Zero points of a scheme that says it has none: some writers put zeros there. */
static viva_status check_zero_points(quant_making *k) {
  const tensor_view *view = take_part(k, ".weight_zero_point");
  uint8_t bytes[1024], any = 0;
  if (!view) return VIVA_OK;
  for (uint64_t at = 0; at < view->bytes; at += sizeof bytes) {
    size_t count = view->bytes - at < sizeof bytes ? (size_t)(view->bytes - at) : sizeof bytes;
    TRY(checkpoint_read_part(k->q->ck, view, at, bytes, count, k->error));
    for (size_t i = 0; i < count; i++) any |= bytes[i];
  }
  if (any == 0) return VIVA_OK;
  return checkpoint_fail(k->q->ck, view, k->error, VIVA_E_UNSUPPORTED, "weights with zero points are not read");
}

/* The grid of scales that the scheme asks for, and the tensor that holds it. */
static viva_status set_scales(quant_making *k, const tensor_view *view, const file_type *types, size_t count) {
  quant_matrix *m = &k->m;
  TRY(check_type(k, view, types, count));
  m->scales = view;
  m->scale_type = view->type;
  m->block_rows = k->args.strategy == STRATEGY_TENSOR ? m->rows : 1;
  m->block_cols = m->cols;
  if (k->args.strategy == STRATEGY_GROUP || k->args.strategy == STRATEGY_BLOCK) {
    m->block_rows = k->args.block_rows;
    m->block_cols = k->args.block_cols;
    m->grouped = 1;
  }
  m->scale_rows = divide_up(m->rows, m->block_rows);
  m->scale_cols = divide_up(m->cols, m->block_cols);
  int whole = k->q->method == METHOD_COMPRESSED_TENSORS && k->args.strategy == STRATEGY_GROUP;
  if (whole && m->cols % m->block_cols != 0)
    return checkpoint_fail(k->q->ck, m->codes, k->error, VIVA_E_FORMAT,
                           "has %llu columns, expected a multiple of the group_size %llu", (unsigned long long)m->cols,
                           (unsigned long long)m->block_cols);
  return check_shape(k, view, m->scale_rows, m->scale_cols);
}

/* What writers call the scale that FP8 codes are multiplied with, the usual name first: transformers' FP8Linear writes
 * weight_scale_inv for one number too, ComfyUI scale_weight, DeepSeek's own code scale, Mistral's qscale_weight, TensorRT-LLM
 * the last two. */
static const char *const scale_names[] = {
    ".weight_scale",  ".weight_scale_inv",       ".scale_weight",         ".scale",
    ".qscale_weight", ".weights_scaling_factor", ".weight_scaling_factor"};

static viva_status take_fp8_scale(quant_making *k, const char *usual, const tensor_view **view) {
  *view = take_part(k, usual);
  for (size_t i = 0; !*view && i < sizeof scale_names / sizeof *scale_names; i++) *view = take_part(k, scale_names[i]);
  return *view ? VIVA_OK : need_part(k, usual, view);
}

static viva_status fp8_scales(quant_making *k) {
  static const file_type types[] = {TYPE_F32, TYPE_BF16, TYPE_F16};
  static const file_type deepseek[] = {TYPE_F32, TYPE_BF16, TYPE_F8_E8M0};
  const tensor_view *view = NULL;
  int blocks = k->q->method == METHOD_FP8 && k->args.strategy == STRATEGY_BLOCK;
  TRY(take_fp8_scale(k, blocks ? ".weight_scale_inv" : ".weight_scale", &view));
  TRY(set_scales(k, view, blocks ? deepseek : types, 3));
  /* compressed-tensors multiplies in its scales' type; others are read as FP32 products */
  if (k->q->method == METHOD_COMPRESSED_TENSORS) k->m.value_type = view->type;
  return check_zero_points(k);
}

viva_status quant_make_fp8(quant_making *k) {
  k->m.kind = QUANT_FP8;
  k->m.rows = k->m.codes->shape[0];
  k->m.cols = k->m.codes->shape[1];
  return fp8_scales(k);
}

/* The one number of an NVFP4 matrix. compressed-tensors' is 2688 / absmax and divides, ModelOpt's is absmax / 2688 and
 * multiplies. Real weights reach some 100, which gives 26 and 0.04: so a number that is far on the wrong side of 1 is the
 * other dialect's, and quantize does not write one. */
int quant_nvfp4_clear(float global, int divides) { return divides ? global >= 0.01f : global <= 100; }

static viva_status nvfp4_global(quant_making *k, const char *suffix, int divides) {
  static const file_type types[] = {TYPE_F32};
  const tensor_view *view;
  const viva_checkpoint *ck = k->q->ck;
  float global;
  TRY(need_part(k, suffix, &view));
  TRY(check_type(k, view, types, 1));
  TRY(check_shape(k, view, 1, 1));
  TRY(checkpoint_read_part(ck, view, 0, &global, sizeof global, k->error));
  if (!isfinite(global) || global < 0 || (divides && global == 0))
    return checkpoint_fail(ck, view, k->error, VIVA_E_FORMAT, "expected a finite number above 0, found %s",
                           isnan(global)   ? "NaN"
                           : isinf(global) ? "an infinity"
                           : global == 0   ? "0"
                                           : "a negative one");
  if (!quant_nvfp4_clear(global, divides))
    return quant_fail(
        k, view,
        divides ? "divides in this dialect and must be above 0.01 (2688 / absmax), found one far below 1: it looks "
                  "like the multiplier of the other dialect (ModelOpt); export the model again"
                : "multiplies in this dialect and must be below 100 (absmax / 2688), found one far above 1: it "
                  "looks like the divisor of the other dialect (compressed-tensors); export the model again");
  if (divides ? global < 100 : global > 0.01f)
    runtime_log(ck->rt, VIVA_LOG_WARN, "%s: %s is unusually near to 1 for this dialect; is it the right way round?",
                ck->path, view->name);
  k->m.global = global;
  k->m.global_divides = divides;
  return VIVA_OK;
}

static viva_status nvfp4_scales(quant_making *k) {
  static const file_type types[] = {TYPE_F8_E4M3};
  const tensor_view *view;
  TRY(need_part(k, ".weight_scale", &view));
  return set_scales(k, view, types, 1);
}

viva_status quant_make_nvfp4(quant_making *k) {
  int modelopt = k->q->method == METHOD_MODELOPT;
  const tensor_view *codes = k->m.codes;
  k->m.kind = QUANT_NVFP4;
  if (codes->type != TYPE_U8) return quant_fail(k, codes, "expected bytes (U8), two codes in each");
  if (codes->shape[1] % 8 != 0)
    return quant_fail(k, codes, "expected rows of a multiple of 8 bytes: NVFP4 has blocks of 16 columns");
  k->m.rows = codes->shape[0];
  k->m.cols = codes->shape[1] * 2;            /* no overflow: as many bytes are in a file */
  if (!modelopt) k->m.value_type = TYPE_BF16; /* CT: unpack_fp4_from_uint8's default, to which it is dequantised */
  TRY(nvfp4_scales(k));
  return nvfp4_global(k, modelopt ? ".weight_scale_2" : ".weight_global_scale", !modelopt);
}

viva_status quant_make_sparse(quant_making *k) {
  static const file_type values[] = {TYPE_F32, TYPE_F16, TYPE_BF16};
  static const file_type bytes[] = {TYPE_U8};
  const tensor_view *codes = k->m.codes;
  k->m.kind = QUANT_SPARSE;
  TRY(read_sizes(k, ".shape"));
  TRY(need_part(k, ".bitmask", &k->m.mask));
  TRY(check_type(k, k->m.mask, bytes, 1));
  if (k->m.cols % 4 != 0) return quant_fail(k, codes, "expected a multiple of 4 columns for a 2:4 matrix");
  TRY(check_shape(k, codes, k->m.rows, k->m.cols / 2));
  TRY(check_shape(k, k->m.mask, k->m.rows, divide_up(k->m.cols, 8)));
  if (codes->type == TYPE_F8_E4M3) return fp8_scales(k);
  k->m.value_type = codes->type;
  return check_type(k, codes, values, 3);
}

viva_status quant_make_viva(quant_making *k) {
  static const file_type types[] = {TYPE_F32, TYPE_F16, TYPE_F8_E8M0};
  static const file_type bytes[] = {TYPE_U8};
  const tensor_view *view;
  quant_matrix *m = &k->m;
  uint64_t row_bytes = 0;
  size_t scale_types = 3;
  TRY(check_type(k, m->codes, bytes, 1));
  TRY(read_sizes(k, ".weight_shape"));
  const uint64_t sparse = divide_up(m->cols, SPARSE_24_COLUMNS);
  switch (k->args.layout) {
  case LAYOUT_FP8: m->kind = QUANT_FP8, row_bytes = m->cols; break;
  case LAYOUT_NVFP4: m->kind = QUANT_NVFP4, row_bytes = divide_up(m->cols, NVFP4_BLOCK) * NVFP4_BLOCK_BYTES; break;
  case LAYOUT_INT8_24: m->kind = QUANT_INT8_24, row_bytes = sparse * sizeof(int8_24_block), scale_types = 1; break;
  default: m->kind = QUANT_INT4_24, row_bytes = sparse * sizeof(int4_24_block), scale_types = 2; break;
  }
  m->pairs = k->args.pairs;
  TRY(check_shape(k, m->codes, m->rows, row_bytes));
  if (m->kind == QUANT_NVFP4) {
    TRY(nvfp4_scales(k));
    return nvfp4_global(k, ".weight_global_scale", 1);
  }
  TRY(need_part(k, ".weight_scale", &view));
  return set_scales(k, view, types, scale_types);
}
