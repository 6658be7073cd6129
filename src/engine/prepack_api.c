/* engine/prepack_api.c: the viva_prepack calls: what each format takes, and its defaults. */
#include <string.h>

#include "base/options.h"
#include "engine/prepack.h"
#include "pack/word.h"

viva_prepack_options viva_prepack_options_default(void) {
  return (viva_prepack_options){.size = sizeof(viva_prepack_options)};
}

/* -- what a format has */

enum { HAS_SCALE = 1, HAS_BLOCK = 2, HAS_SEARCH = 4, HAS_MODELOPT = 8, HAS_PAIRS = 16, HAS_KEEP = 32 };

typedef struct format_options {
  const char *name;
  unsigned has;
  viva_dtype scales[3]; /* that scale_dtype may ask for, the default first; NONE ends */
} format_options;

static const format_options formats[WEIGHT_FORMATS] = {
    [WEIGHT_F32] = {"F32", 0, {0}},
    [WEIGHT_BF16] = {"BF16", 0, {0}},
    [WEIGHT_F16] = {"F16", 0, {0}},
    [WEIGHT_FP8] = {"FP8", HAS_SCALE, {VIVA_F32, VIVA_F16, VIVA_E8M0}},
    [WEIGHT_NVFP4] = {"NVFP4", HAS_SEARCH | HAS_MODELOPT, {0}},
    [WEIGHT_INT8_24] = {"INT8 2:4", HAS_KEEP, {0}},
    [WEIGHT_INT4_24] = {"INT4 2:4", HAS_SCALE | HAS_BLOCK | HAS_PAIRS | HAS_KEEP, {VIVA_F16, VIVA_F32}},
};

/* An option that the format does not have was set. */
static viva_status check_absent(const format_options *f, const viva_prepack_options *o, viva_error *error) {
  const struct {
    const char *name;
    unsigned bit;
    int set;
  } options[] = {
      {"scale_dtype", HAS_SCALE, o->scale_dtype != VIVA_DTYPE_NONE},
      {"block", HAS_BLOCK, o->block != 0},
      {"search", HAS_SEARCH, o->search != VIVA_SEARCH_MSE},
      {"modelopt", HAS_MODELOPT, o->modelopt != 0},
      {"selection", HAS_PAIRS, o->selection != VIVA_SPARSE_24_ELEMENTS},
      {"keep", HAS_KEEP, o->keep != NULL},
  };
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    if (!options[i].set || f->has & options[i].bit) continue;
    error_set(error, VIVA_E_ARGUMENT, "%s weights have no option %s; leave it at its default", f->name,
              options[i].name);
    return error_option(error, VIVA_E_ARGUMENT, options[i].name);
  }
  return VIVA_OK;
}

/* A switch or a choice among the numbers 0 … most. */
static viva_status check_choice(const char *name, int value, int most, viva_error *error) {
  if (value >= 0 && value <= most) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "%s is %d; expected 0 to %d", name, value, most);
  return error_option(error, VIVA_E_ARGUMENT, name);
}

static viva_status choose_scale(const format_options *f, viva_dtype wanted, scale_type *scale, viva_error *error) {
  const viva_dtype dtype = wanted == VIVA_DTYPE_NONE ? f->scales[0] : wanted;
  for (size_t i = 0; i < 3 && f->scales[i] != VIVA_DTYPE_NONE; i++) {
    if (f->scales[i] != dtype) continue;
    *scale = dtype == VIVA_F32 ? SCALE_F32 : dtype == VIVA_F16 ? SCALE_F16 : SCALE_E8M0;
    return VIVA_OK;
  }
  error_set(error, VIVA_E_ARGUMENT, "scale_dtype is %s; the scales of %s weights can be F32, F16%s",
            viva_dtype_name(dtype), f->name, f->scales[2] ? " or F8_E8M0" : "");
  return error_option(error, VIVA_E_ARGUMENT, "scale_dtype");
}

static viva_status choose_block(uint32_t wanted, uint32_t *block, viva_error *error) {
  *block = wanted == 0 ? 128 : wanted == VIVA_BLOCK_CHANNEL ? 0 : wanted;
  if (*block == 0 || *block == 32 || *block == 64 || *block == 128) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "block is %u; expected 32, 64, 128 or VIVA_BLOCK_CHANNEL", (unsigned)wanted);
  return error_option(error, VIVA_E_ARGUMENT, "block");
}

/* The format's part of the options, with format and (for FP8) block set. */
static viva_status read_spec(const viva_prepack_options *o, pack_spec *spec, viva_error *error) {
  const format_options *f = &formats[spec->format];
  TRY(check_absent(f, o, error));
  TRY(check_choice("search", (int)o->search, VIVA_SEARCH_FOUR_OVER_SIX, error));
  TRY(check_choice("modelopt", o->modelopt, 1, error));
  TRY(check_choice("selection", (int)o->selection, VIVA_SPARSE_24_PAIRS, error));
  TRY(check_choice("allow_nonfinite", o->allow_nonfinite, 1, error));
  spec->scale = spec->format == WEIGHT_NVFP4 ? SCALE_E4M3 : SCALE_F32;
  if (f->has & HAS_SCALE) TRY(choose_scale(f, o->scale_dtype, &spec->scale, error));
  if (f->has & HAS_BLOCK) TRY(choose_block(o->block, &spec->block, error));
  spec->search = (nvfp4_search)o->search;
  spec->multiplier = o->modelopt;
  spec->pairs = o->selection == VIVA_SPARSE_24_PAIRS;
  spec->allow_nonfinite = o->allow_nonfinite;
  if (!spec->pairs || !o->keep) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "keep chooses the weights itself; leave selection at its default");
  return error_option(error, VIVA_E_ARGUMENT, "selection");
}

/* -- tensors */

static viva_status check_matrix(const viva_tensor *matrix, viva_error *error) {
  char text[128];
  if (!matrix) {
    error_set(error, VIVA_E_ARGUMENT, "weight is NULL; expected a tensor [out][in]");
    return error_option(error, VIVA_E_ARGUMENT, "weight");
  }
  if (matrix->rank != 2) {
    error_set(error, VIVA_E_ARGUMENT, "weight has the shape %s; expected two sizes, [out, in]",
              tensor_shape_text(matrix, text));
    return error_option(error, VIVA_E_ARGUMENT, "weight");
  }
  if (!tensor_is_real(matrix->dtype)) {
    error_set(error, VIVA_E_DTYPE, "weight holds %s; expected F32, F16, BF16 or F64", viva_dtype_name(matrix->dtype));
    return error_option(error, VIVA_E_DTYPE, "weight");
  }
  if (matrix->elements == 0) {
    error_set(error, VIVA_E_ARGUMENT, "weight has the shape %s; both sizes must be at least 1",
              tensor_shape_text(matrix, text));
    return error_option(error, VIVA_E_ARGUMENT, "weight");
  }
  return VIVA_OK;
}

static viva_status check_keep(const viva_tensor *matrix, const viva_tensor *keep, viva_error *error) {
  char text[128], expected[128];
  if (!keep) return VIVA_OK;
  if (keep->dtype != VIVA_BOOL && keep->dtype != VIVA_U8) {
    error_set(error, VIVA_E_DTYPE, "keep holds %s; expected BOOL or U8", viva_dtype_name(keep->dtype));
    return error_option(error, VIVA_E_DTYPE, "keep");
  }
  if (keep->rank == 2 && keep->shape[0] == matrix->shape[0] && keep->shape[1] == matrix->shape[1]) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "keep has the shape %s; expected that of the weight, %s",
            tensor_shape_text(keep, text), tensor_shape_text(matrix, expected));
  return error_option(error, VIVA_E_ARGUMENT, "keep");
}

static viva_status prepack(viva_engine *engine, const viva_tensor *matrix, pack_spec spec,
                           const viva_prepack_options *options, viva_packed_weight **packed, viva_error *error) {
  viva_prepack_options o = viva_prepack_options_default();
  if (!packed) return error_set(error, VIVA_E_ARGUMENT, "packed is NULL; expected a place for the handle");
  *packed = NULL;
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  TRY(options_read(&o, options, "viva_prepack_options", error));
  TRY(check_matrix(matrix, error));
  TRY(read_spec(&o, &spec, error));
  TRY(check_keep(matrix, o.keep, error));
  const prepack_plan plan = {
      .source = matrix, .keep = o.keep, .spec = spec, .progress = o.progress, .progress_user = o.progress_user};
  return prepack_run(engine, &plan, packed, error);
}

/* -- any format, by its word */

static viva_status read_word(const char *word, pack_spec *spec, viva_error *error) {
  char quoted[64];
  if (!word) {
    error_set(error, VIVA_E_ARGUMENT, "format is NULL; expected a word such as \"fp8-b16:f16\"");
    return error_option(error, VIVA_E_ARGUMENT, "format");
  }
  const pack_word found = pack_word_read(word, strlen(word), spec);
  if (found == PACK_WORD_OK) return VIVA_OK;
  error_quote(quoted, sizeof quoted, word, strlen(word));
  const char *suffixes = found == PACK_WORD_SUFFIX ? pack_word_suffixes(spec->format) : NULL;
  if (found == PACK_WORD_UNKNOWN)
    error_set(error, VIVA_E_ARGUMENT, "\"%s\" is no format; expected " PACK_WORDS, quoted);
  else
    error_set(error, VIVA_E_ARGUMENT, "in \"%s\", expected behind the colon %s", quoted,
              suffixes ? suffixes : "nothing");
  return error_option(error, VIVA_E_ARGUMENT, "format");
}

/* What the word says is not said by the options too. */
static viva_status say_once(const viva_prepack_options *o, viva_error *error) {
  const char *twice = o->scale_dtype != VIVA_DTYPE_NONE ? "scale_dtype"
                      : o->block != 0                   ? "block"
                      : o->search != VIVA_SEARCH_MSE    ? "search"
                                                        : NULL;
  if (!twice) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "the format's word says the %s; leave the option at its default", twice);
  return error_option(error, VIVA_E_ARGUMENT, twice);
}

viva_status viva_prepack(viva_engine *engine, const viva_tensor *matrix, const char *format,
                         const viva_prepack_options *options, viva_packed_weight **packed, viva_error *error) {
  static const viva_dtype types[] = {[SCALE_F32] = VIVA_F32, [SCALE_F16] = VIVA_F16, [SCALE_E8M0] = VIVA_E8M0};
  viva_prepack_options o = viva_prepack_options_default();
  pack_spec spec = {0};
  if (packed) *packed = NULL;
  TRY(options_read(&o, options, "viva_prepack_options", error));
  TRY(read_word(format, &spec, error));
  TRY(say_once(&o, error));
  if (formats[spec.format].has & HAS_SCALE) o.scale_dtype = types[spec.scale];
  if (formats[spec.format].has & HAS_BLOCK) o.block = spec.block ? spec.block : VIVA_BLOCK_CHANNEL;
  o.search = (viva_scale_search)spec.search;
  return prepack(engine, matrix, (pack_spec){.format = spec.format, .block = spec.block}, &o, packed, error);
}

/* -- the calls */

viva_status viva_prepack_fp8_weight(viva_engine *engine, const viva_tensor *matrix, const viva_prepack_options *options,
                                    viva_packed_weight **packed, viva_error *error) {
  return prepack(engine, matrix, (pack_spec){.format = WEIGHT_FP8}, options, packed, error);
}

viva_status viva_prepack_fp8_weight_blocked(viva_engine *engine, const viva_tensor *matrix, uint32_t block,
                                            const viva_prepack_options *options, viva_packed_weight **packed,
                                            viva_error *error) {
  if (packed) *packed = NULL;
  if (block != 16 && block != 32 && block != 64 && block != 128) {
    error_set(error, VIVA_E_ARGUMENT, "block is %u; expected 16, 32, 64 or 128 weights to a scale", (unsigned)block);
    return error_option(error, VIVA_E_ARGUMENT, "block");
  }
  return prepack(engine, matrix, (pack_spec){.format = WEIGHT_FP8, .block = block}, options, packed, error);
}

viva_status viva_prepack_int8_sparse_24_weight(viva_engine *engine, const viva_tensor *matrix,
                                               const viva_prepack_options *options, viva_packed_weight **packed,
                                               viva_error *error) {
  return prepack(engine, matrix, (pack_spec){.format = WEIGHT_INT8_24}, options, packed, error);
}

viva_status viva_prepack_int4_sparse_24_weight(viva_engine *engine, const viva_tensor *matrix,
                                               const viva_prepack_options *options, viva_packed_weight **packed,
                                               viva_error *error) {
  return prepack(engine, matrix, (pack_spec){.format = WEIGHT_INT4_24}, options, packed, error);
}

viva_status viva_prepack_nvfp4_weight(viva_engine *engine, const viva_tensor *matrix,
                                      const viva_prepack_options *options, viva_packed_weight **packed,
                                      viva_error *error) {
  return prepack(engine, matrix, (pack_spec){.format = WEIGHT_NVFP4, .block = NVFP4_BLOCK}, options, packed, error);
}

viva_status viva_prepack_dense(viva_engine *engine, const viva_tensor *matrix, viva_dtype dtype,
                               const viva_prepack_options *options, viva_packed_weight **packed, viva_error *error) {
  if (packed) *packed = NULL;
  if (dtype != VIVA_F32 && dtype != VIVA_BF16 && dtype != VIVA_F16) {
    error_set(error, VIVA_E_ARGUMENT, "dtype is %s; expected F32, BF16 or F16", viva_dtype_name(dtype));
    return error_option(error, VIVA_E_ARGUMENT, "dtype");
  }
  const weight_format format = dtype == VIVA_F32 ? WEIGHT_F32 : dtype == VIVA_BF16 ? WEIGHT_BF16 : WEIGHT_F16;
  return prepack(engine, matrix, (pack_spec){.format = format}, options, packed, error);
}
