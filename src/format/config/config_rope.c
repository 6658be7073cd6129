/* format/config/config_rope.c: rotary position embedding in config.json, in both spellings.
 *
 *   old: "rope_theta": 500000.0, "rope_scaling": {"rope_type" or "type": "llama3", "factor": 8.0, ...} or null
 *   new: "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, ...}
 *        or one such object for each kind of layer: {"full_attention": {...}, "sliding_attention": {...}}
 *
 * Names and defaults are those of transformers 5.23, modeling_rope_utils.py.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "format/config/config_values.h"

#define DEFAULT_THETA 10000.0

enum rope_key {
  ROPE_TYPE,
  ROPE_OLD_TYPE,
  ROPE_THETA,
  ROPE_PARTIAL,
  ROPE_FACTOR,
  ROPE_LOW,
  ROPE_HIGH,
  ROPE_ORIGINAL,
  ROPE_FAST,
  ROPE_SLOW,
  ROPE_ATTENTION,
  ROPE_MSCALE,
  ROPE_MSCALE_ALL,
  ROPE_TRUNCATE,
  ROPE_FULL,
  ROPE_SLIDING,
  ROPE_KEYS
};

static const char *const rope_keys[ROPE_KEYS] = {"rope_type",        "type",
                                                 "rope_theta",       "partial_rotary_factor",
                                                 "factor",           "low_freq_factor",
                                                 "high_freq_factor", "original_max_position_embeddings",
                                                 "beta_fast",        "beta_slow",
                                                 "attention_factor", "mscale",
                                                 "mscale_all_dim",   "truncate",
                                                 "full_attention",   "sliding_attention"};

static const struct {
  const char *name;
  viva_rope_type type;
} rope_types[] = {{"default", VIVA_ROPE_DEFAULT},
                  {"linear", VIVA_ROPE_LINEAR},
                  {"dynamic", VIVA_ROPE_DYNAMIC},
                  {"llama3", VIVA_ROPE_LLAMA3},
                  {"yarn", VIVA_ROPE_YARN}};

/* One object's meaning. */
typedef struct rope {
  viva_rope_type type;
  int32_t truncate;
  double theta, partial, factor, low, high, fast, slow, attention;
  uint64_t original;
} rope;

static int rope_equal(const rope *a, const rope *b) {
  return a->type == b->type && a->truncate == b->truncate && a->theta == b->theta && a->partial == b->partial &&
         a->factor == b->factor && a->low == b->low && a->high == b->high && a->fast == b->fast && a->slow == b->slow &&
         a->attention == b->attention && a->original == b->original;
}

static viva_status read_type(const config_file *file, const config_value *values, viva_rope_type *type) {
  const config_value *value = config_given(&values[ROPE_TYPE]) ? &values[ROPE_TYPE] : &values[ROPE_OLD_TYPE];
  json_string name = {"default", 7};
  char quoted[64];
  *type = VIVA_ROPE_DEFAULT;
  TRY(config_string(file, value, &name));
  if (!config_given(value) && config_given(&values[ROPE_FACTOR]))
    runtime_log(file->rt, VIVA_LOG_WARN,
                "%s: the RoPE scaling has a factor but no rope_type; it is read as default, "
                "which does not scale",
                file->path);
  for (size_t i = 0; i < sizeof rope_types / sizeof *rope_types; i++) {
    if (!json_string_is(name, rope_types[i].name)) continue;
    *type = rope_types[i].type;
    return VIVA_OK;
  }
  return config_fail(file, value, VIVA_E_UNSUPPORTED,
                     "viva does not run the RoPE type \"%s\"; it runs default, linear, dynamic, llama3 and yarn",
                     error_quote(quoted, sizeof quoted, name.text, name.bytes));
}

/* A key without which a type has no meaning. yarn's factor may be null: it then follows from the two lengths. */
static viva_status require(const config_file *file, const config_value *values, enum rope_key key, int may_derive) {
  if (config_given(&values[key]) || (key == ROPE_FACTOR && may_derive && values[key].kind == VALUE_NULL))
    return VIVA_OK;
  return config_fail(file, &values[key], VIVA_E_FORMAT, "this RoPE type needs the key \"%s\"", rope_keys[key]);
}

/* transformers' get_mscale: what yarn multiplies cos and sin with. */
static double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * log(factor) + 1.0; }

/* Reads a number of which 0 and null mean the default. */
static viva_status read_or_default(const config_file *file, const config_value *value, double *out) {
  double number = 0;
  TRY(config_double(file, value, &number));
  if (number != 0) *out = number;
  return VIVA_OK;
}

static viva_status read_yarn(const config_file *file, const config_value *values, const viva_model_config *config,
                             rope *r) {
  double mscale = 0, mscale_all = 0;
  if (!config_given(&values[ROPE_FACTOR]) && r->original > 0)
    r->factor = (double)config->max_position_embeddings / (double)r->original;
  TRY(read_or_default(file, &values[ROPE_FAST], &r->fast));
  TRY(read_or_default(file, &values[ROPE_SLOW], &r->slow));
  TRY(config_boolean(file, &values[ROPE_TRUNCATE], &r->truncate));
  TRY(config_double(file, &values[ROPE_MSCALE], &mscale));
  TRY(config_double(file, &values[ROPE_MSCALE_ALL], &mscale_all));
  r->attention = mscale != 0 && mscale_all != 0 ? yarn_scale(r->factor, mscale) / yarn_scale(r->factor, mscale_all)
                                                : yarn_scale(r->factor, 1);
  return config_double(file, &values[ROPE_ATTENTION], &r->attention);
}

static viva_status read_llama3(const config_file *file, const config_value *values, rope *r) {
  TRY(require(file, values, ROPE_LOW, 0));
  TRY(require(file, values, ROPE_HIGH, 0));
  TRY(config_double(file, &values[ROPE_LOW], &r->low));
  return config_double(file, &values[ROPE_HIGH], &r->high);
}

/* What the values of one object mean. */
static viva_status resolve(const config_file *file, const config_value *values, const rope_source *source,
                           const viva_model_config *config, rope *r) {
  *r = (rope){.truncate = 1,
              .theta = DEFAULT_THETA,
              .partial = 1,
              .factor = 1,
              .low = config->rope_low_freq_factor,
              .high = config->rope_high_freq_factor,
              .fast = config->rope_beta_fast,
              .slow = config->rope_beta_slow,
              .attention = 1,
              .original = config->max_position_embeddings};
  TRY(read_type(file, values, &r->type));
  TRY(config_double(file, source->theta, &r->theta));
  TRY(config_double(file, &values[ROPE_THETA], &r->theta));
  TRY(config_double(file, source->partial, &r->partial));
  TRY(config_double(file, &values[ROPE_PARTIAL], &r->partial));
  if (r->type == VIVA_ROPE_DEFAULT) return VIVA_OK;
  TRY(require(file, values, ROPE_FACTOR, r->type == VIVA_ROPE_YARN));
  TRY(config_double(file, &values[ROPE_FACTOR], &r->factor));
  if (r->type == VIVA_ROPE_LLAMA3 || r->type == VIVA_ROPE_YARN) {
    TRY(config_integer(file, &values[ROPE_ORIGINAL], &r->original));
    TRY(config_integer(file, source->original, &r->original));
  }
  if (r->type == VIVA_ROPE_LLAMA3) return read_llama3(file, values, r);
  return r->type == VIVA_ROPE_YARN ? read_yarn(file, values, config, r) : VIVA_OK;
}

/* Two kinds of layers, each with its object: they must say the same. */
static viva_status resolve_nested(const config_file *file, const config_value *values, const rope_source *source,
                                  const viva_model_config *config, rope *r) {
  rope each[2];
  size_t count = 0;
  for (enum rope_key key = ROPE_FULL; key <= ROPE_SLIDING; key++) {
    config_value inner[ROPE_KEYS];
    if (!config_given(&values[key])) continue;
    if (values[key].kind != VALUE_OBJECT) return config_wrong_kind(file, &values[key], "an object");
    TRY(config_read_object(file, values[key].text, rope_keys, ROPE_KEYS, inner, NULL));
    TRY(resolve(file, inner, source, config, &each[count++]));
  }
  if (count == 2 && !rope_equal(&each[0], &each[1]))
    return config_fail(file, &values[ROPE_SLIDING], VIVA_E_UNSUPPORTED,
                       "the RoPE parameters of full and sliding attention differ, which viva does not run");
  *r = each[0];
  return VIVA_OK;
}

static viva_status read_object(const config_file *file, const config_value *value, const rope_source *source,
                               const viva_model_config *config, rope *r) {
  config_value values[ROPE_KEYS];
  json_string raw = {"{}", 2};
  if (config_given(value)) {
    if (value->kind != VALUE_OBJECT) return config_wrong_kind(file, value, "an object");
    raw = value->text;
  }
  TRY(config_read_object(file, raw, rope_keys, ROPE_KEYS, values, NULL));
  int nested = config_given(&values[ROPE_FULL]) || config_given(&values[ROPE_SLIDING]);
  return nested ? resolve_nested(file, values, source, config, r) : resolve(file, values, source, config, r);
}

/* Both spellings at once: the new one counts; say so when they differ. */
static viva_status compare_spellings(const config_file *file, const rope_source *source,
                                     const viva_model_config *config, const rope *r) {
  rope old;
  double theta = r->theta;
  if (config_given(source->scaling)) {
    TRY(read_object(file, source->scaling, source, config, &old));
    old.theta = theta; /* told apart below */
    if (!rope_equal(&old, r))
      runtime_log(file->rt, VIVA_LOG_WARN, "%s: rope_scaling differs from rope_parameters and is ignored", file->path);
  }
  TRY(config_double(file, source->theta, &theta));
  if (theta != r->theta)
    runtime_log(file->rt, VIVA_LOG_WARN, "%s: rope_theta differs from rope_parameters and is ignored", file->path);
  return VIVA_OK;
}

viva_status config_rope(const config_file *file, const rope_source *source, viva_model_config *config) {
  rope r;
  int is_new = config_given(source->parameters);
  TRY(read_object(file, is_new ? source->parameters : source->scaling, source, config, &r));
  if (is_new) TRY(compare_spellings(file, source, config, &r));
  config->rope_type = r.type;
  config->rope_truncate = r.truncate;
  config->rope_theta = r.theta;
  config->rope_factor = r.factor;
  config->rope_low_freq_factor = r.low;
  config->rope_high_freq_factor = r.high;
  config->rope_beta_fast = r.fast;
  config->rope_beta_slow = r.slow;
  config->rope_attention_factor = r.attention;
  config->rope_original_context = r.original;
  /* As int(head_dim * partial_rotary_factor). Anything outside is caught by config_check. */
  int sane = isfinite(r.partial) && r.partial > 0 && r.partial <= 1 && config->head_dim <= UINT32_MAX;
  config->rotary_dim = sane ? (uint64_t)((double)config->head_dim * r.partial) : 0;
  return VIVA_OK;
}
