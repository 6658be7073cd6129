/* format/config/config_check.c: what must hold for every model that is to run, whatever file its configuration came from. */
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/num.h"
#include "format/config/config.h"

/* Bounds far beyond every real model: they keep products of a few of these numbers within 64 bits, so that a damaged
 * file is named here and not as a lack of memory later. */
#define MAX_WIDTH     ((uint64_t)1 << 24)
#define MAX_LAYERS    ((uint64_t)1 << 12)
#define MAX_HEADS     ((uint64_t)1 << 14)
#define MAX_VOCAB     ((uint64_t)1 << 27)
#define MAX_POSITIONS ((uint64_t)1 << 30)

#define MEMBER(name) offsetof(viva_model_config, name), #name

/* Items of errors are config.json's keys; for a struct of a caller's (no path) its members. */
typedef struct integer_rule {
  size_t field;
  const char *member, *key;
  uint64_t least, most;
} integer_rule;

static const integer_rule integer_rules[] = {
    {MEMBER(hidden_size), "hidden_size", 1, MAX_WIDTH},
    {MEMBER(intermediate_size), "intermediate_size", 1, MAX_WIDTH},
    {MEMBER(num_layers), "num_hidden_layers", 1, MAX_LAYERS},
    {MEMBER(num_heads), "num_attention_heads", 1, MAX_HEADS},
    {MEMBER(num_kv_heads), "num_key_value_heads", 1, MAX_HEADS},
    {MEMBER(head_dim), "head_dim", 1, MAX_HEADS},
    {MEMBER(vocab_size), "vocab_size", 1, MAX_VOCAB},
    {MEMBER(max_position_embeddings), "max_position_embeddings", 1, MAX_POSITIONS},
    {MEMBER(sliding_window), "sliding_window", 0, MAX_POSITIONS},
    {MEMBER(rope_original_context), "original_max_position_embeddings", 0, MAX_POSITIONS},
};

#define TYPE(name) (1u << VIVA_ROPE_##name)
#define SCALED     (TYPE(LINEAR) | TYPE(DYNAMIC) | TYPE(LLAMA3) | TYPE(YARN))
#define ALL        (TYPE(DEFAULT) | SCALED)

typedef struct double_rule {
  size_t field;
  const char *member, *key;
  unsigned types; /* of RoPE that use it: model/rope.c */
  int least;      /* itself refused */
  double most;
} double_rule;

static const double_rule double_rules[] = {
    {MEMBER(rms_norm_eps), "rms_norm_eps", ALL, 0, 1},
    {MEMBER(rope_theta), "rope_theta", ALL, 1, 1e18},
    {MEMBER(rope_factor), "factor", SCALED, 0, 1e6},
    {MEMBER(rope_low_freq_factor), "low_freq_factor", TYPE(LLAMA3), 0, 1e6},
    {MEMBER(rope_high_freq_factor), "high_freq_factor", TYPE(LLAMA3), 0, 1e6},
    {MEMBER(rope_beta_fast), "beta_fast", TYPE(YARN), 0, 1e6},
    {MEMBER(rope_beta_slow), "beta_slow", TYPE(YARN), 0, 1e6},
    {MEMBER(rope_attention_factor), "attention_factor", TYPE(YARN), 0, 1e6},
};

static const char *item(const char *path, const char *key, const char *member) { return path ? key : member; }

static viva_status fail(const char *path, const char *key, viva_error *error) {
  error_at(error, path, key, -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

static viva_status check_integers(const viva_model_config *config, const char *path, viva_error *error) {
  for (size_t i = 0; i < sizeof integer_rules / sizeof *integer_rules; i++) {
    const integer_rule *rule = &integer_rules[i];
    uint64_t value;
    memcpy(&value, (const char *)config + rule->field, sizeof value);
    if (value >= rule->least && value <= rule->most) continue;
    error_set(error, VIVA_E_FORMAT, "expected a number from %" PRIu64 " to %" PRIu64 ", found %" PRIu64, rule->least,
              rule->most, value);
    return fail(path, item(path, rule->key, rule->member), error);
  }
  return VIVA_OK;
}

static viva_status check_doubles(const viva_model_config *config, const char *path, viva_error *error) {
  for (size_t i = 0; i < sizeof double_rules / sizeof *double_rules; i++) {
    const double_rule *rule = &double_rules[i];
    double value;
    char found[32], most[32];
    if (!(rule->types & 1u << config->rope_type)) continue;
    memcpy(&value, (const char *)config + rule->field, sizeof value);
    if (isfinite(value) && value > rule->least && value <= rule->most) continue;
    num_format_double(found, value);
    num_format_double(most, rule->most);
    error_set(error, VIVA_E_FORMAT, "expected a number above %d and not above %s, found %s", rule->least, most, found);
    return fail(path, item(path, rule->key, rule->member), error);
  }
  return VIVA_OK;
}

/* Rules between two values. */
static viva_status check_heads(const viva_model_config *c, const char *path, viva_error *error) {
  const char *heads = item(path, "num_attention_heads", "num_heads");
  const char *kv_heads = item(path, "num_key_value_heads", "num_kv_heads");
  if (c->num_heads % c->num_kv_heads != 0) {
    error_set(error, VIVA_E_FORMAT, "%s %" PRIu64 " is not a multiple of %s %" PRIu64, heads, c->num_heads, kv_heads,
              c->num_kv_heads);
    return fail(path, kv_heads, error);
  }
  if (c->head_dim % 2 != 0) {
    error_set(error, VIVA_E_FORMAT, "head_dim is %" PRIu64 "; rotary position embedding needs an even one",
              c->head_dim);
    return fail(path, "head_dim", error);
  }
  if (c->rotary_dim == 0 || c->rotary_dim % 2 != 0 || c->rotary_dim > c->head_dim) {
    error_set(error, VIVA_E_FORMAT,
              "%" PRIu64 " of %" PRIu64 " dimensions are to be rotated; expected an even number, from 2 to all of them",
              c->rotary_dim, c->head_dim);
    return fail(path, item(path, "partial_rotary_factor", "rotary_dim"), error);
  }
  return VIVA_OK;
}

static viva_status check_rope(const viva_model_config *c, const char *path, viva_error *error) {
  if ((c->rope_type == VIVA_ROPE_LLAMA3 || c->rope_type == VIVA_ROPE_YARN) && c->rope_original_context == 0) {
    error_set(error, VIVA_E_FORMAT, "the scaling needs the context length of the original model");
    return fail(path, item(path, "original_max_position_embeddings", "rope_original_context"), error);
  }
  if (c->rope_type == VIVA_ROPE_LLAMA3 && c->rope_high_freq_factor <= c->rope_low_freq_factor) {
    error_set(error, VIVA_E_FORMAT, "high_freq_factor must be above low_freq_factor");
    return fail(path, item(path, "high_freq_factor", "rope_high_freq_factor"), error);
  }
  if (c->rope_type == VIVA_ROPE_YARN && c->rope_beta_fast < c->rope_beta_slow) {
    error_set(error, VIVA_E_FORMAT, "beta_fast must not be below beta_slow");
    return fail(path, item(path, "beta_fast", "rope_beta_fast"), error);
  }
  if (c->rope_type == VIVA_ROPE_DYNAMIC && c->rotary_dim <= 2) { /* its exponent is d / (d − 2) */
    error_set(error, VIVA_E_FORMAT, "dynamic scaling needs more than 2 rotated dimensions");
    return fail(path, item(path, "head_dim", "rotary_dim"), error);
  }
  return VIVA_OK;
}

viva_status config_derive_head_dim(viva_model_config *c, const char *path, viva_error *error) {
  c->head_dim = c->num_heads > 0 ? c->hidden_size / c->num_heads : 0;
  if (c->num_heads == 0 || c->hidden_size % c->num_heads == 0) return VIVA_OK;
  error_set(error, VIVA_E_FORMAT,
            "hidden_size %" PRIu64 " is not a multiple of %s %" PRIu64 ", and there is no head_dim", c->hidden_size,
            item(path, "num_attention_heads", "num_heads"), c->num_heads);
  return fail(path, "hidden_size", error);
}

viva_status config_check(const viva_model_config *config, const char *path, viva_error *error) {
  TRY(check_integers(config, path, error));
  TRY(check_doubles(config, path, error));
  TRY(check_heads(config, path, error));
  return check_rope(config, path, error);
}
