/* format/gguf/gguf_config.c: GGUF metadata as a viva_model_config. Keys are named as ggml's docs/gguf.md and the gguf Python
 * package's constants.py name them.
 */
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/token_text.h"
#include "format/config/config.h"
#include "format/gguf/gguf_rope.h"

/* The architectures that run. llama.cpp's converter writes Mistral as llama too, and permutes llama's q and k rows. */
static const struct {
  const char *architecture, *model_type;
  int permuted_qk, qk_norm;
} families[] = {{"llama", "llama", 1, 0}, {"qwen2", "qwen2", 0, 0}, {"qwen3", "qwen3", 0, 1}};

#define KIND_CONTROL 3 /* of tokenizer.ggml.token_type */

#define KEY_BYTES 128 /* an architecture is at most 63 bytes, the longest key 40 */

#define FIELD(name) offsetof(viva_model_config, name)

static const struct {
  const char *key; /* after "ARCH." */
  size_t field;
  int required;
  const char *checked_as; /* config.json's name, by which config_check knows it */
} integers[] = {
    {"block_count", FIELD(num_layers), 1, "num_hidden_layers"},
    {"embedding_length", FIELD(hidden_size), 1, "hidden_size"},
    {"feed_forward_length", FIELD(intermediate_size), 1, "intermediate_size"},
    {"context_length", FIELD(max_position_embeddings), 1, "max_position_embeddings"},
    {"attention.head_count", FIELD(num_heads), 1, "num_attention_heads"},
    {"attention.head_count_kv", FIELD(num_kv_heads), 0, "num_key_value_heads"},
    {"attention.key_length", FIELD(head_dim), 0, "head_dim"},
    {"attention.sliding_window", FIELD(sliding_window), 0, "sliding_window"},
    {"rope.dimension_count", FIELD(rotary_dim), 0, "partial_rotary_factor"},
    {"vocab_size", FIELD(vocab_size), 0, "vocab_size"},
};

/* Keys that change the computation in a way that viva does not know. 0 switches each off, and what changes nothing is no
 * reason to refuse. */
enum { NO_NEUTRAL, NEUTRAL_ONE, NEUTRAL_HEAD /* 1/sqrt(head_dim) */ };
static const struct {
  const char *key, *what;
  int neutral;
} unknown_effects[] = {
    {"expert_count", "a mixture of experts", NO_NEUTRAL},
    {"logit_scale", "scaled logits", NEUTRAL_ONE},
    {"embedding_scale", "scaled embeddings", NEUTRAL_ONE},
    {"residual_scale", "scaled residuals", NEUTRAL_ONE},
    {"attention.scale", "its own attention scale", NEUTRAL_HEAD},
    {"attention.clamp_kqv", "clamped q, k and v", NO_NEUTRAL},
    {"attention.max_alibi_bias", "ALiBi", NO_NEUTRAL},
    {"attn_logit_softcapping", "soft-capped attention", NO_NEUTRAL},
    {"final_logit_softcapping", "soft-capped logits", NO_NEUTRAL},
    {"attention.sliding_window_pattern", "a pattern of sliding windows", NO_NEUTRAL},
};

/* "ARCH.key" */
static void name_key(const gguf_config_reader *r, const char *key, char name[KEY_BYTES]) {
  snprintf(name, KEY_BYTES, "%s.%s", r->config->architecture, key);
}

const gguf_value *gguf_config_find(const gguf_config_reader *r, const char *key) {
  char name[KEY_BYTES];
  name_key(r, key, name);
  return gguf_find(r->g, name);
}

viva_status gguf_config_fail(const gguf_config_reader *r, viva_status code, const gguf_value *value,
                             const char *problem) {
  error_set(r->error, code, "%s", problem);
  error_at(r->error, r->ck->files[0].path, value->key, -1, (uint64_t)(value->data - r->g->header));
  return code;
}

/* A value of another kind than the key's. Only runnable models are held to the rules. */
static viva_status wrong_kind(const gguf_config_reader *r, const gguf_value *value, const char *expected) {
  char problem[128];
  if (!r->runnable) return VIVA_OK;
  snprintf(problem, sizeof problem, "expected %s, found %s", expected, gguf_type_name(value->type, value->is_array));
  return gguf_config_fail(r, VIVA_E_FORMAT, value, problem);
}

static viva_status missing(const gguf_config_reader *r, const char *key) {
  char name[KEY_BYTES];
  if (!r->runnable) return VIVA_OK;
  name_key(r, key, name);
  error_set(r->error, VIVA_E_FORMAT, "the key is missing, and a %s model needs it", r->config->architecture);
  error_at(r->error, r->ck->files[0].path, name, -1, VIVA_NO_OFFSET);
  return VIVA_E_FORMAT;
}

/* One integer ≥ 0, or an array for the layers whose elements are all equal. */
static viva_status read_integer(const gguf_config_reader *r, const gguf_value *value, uint64_t *out) {
  if (!value->is_array) {
    if (gguf_u64(value, out) == 0) return VIVA_OK;
    return wrong_kind(r, value, "an integer of 0 or more");
  }
  int64_t first, other;
  if (gguf_element_i64(value, 0, &first) || first < 0) return wrong_kind(r, value, "an integer of 0 or more");
  for (uint64_t i = 1; i < value->count; i++) {
    if (gguf_element_i64(value, i, &other) == 0 && other == first) continue;
    if (!r->runnable) return VIVA_OK;
    return gguf_config_fail(r, VIVA_E_UNSUPPORTED, value, "differs from layer to layer, which viva does not run");
  }
  *out = (uint64_t)first;
  return VIVA_OK;
}

viva_status gguf_config_double(const gguf_config_reader *r, const char *key, double *out) {
  const gguf_value *value = gguf_config_find(r, key);
  if (!value || gguf_f64(value, out) == 0) return VIVA_OK;
  return wrong_kind(r, value, "a number");
}

viva_status gguf_config_integer(const gguf_config_reader *r, const char *key, uint64_t *out) {
  const gguf_value *value = gguf_config_find(r, key);
  return value ? read_integer(r, value, out) : VIVA_OK;
}

static viva_status read_integers(const gguf_config_reader *r) {
  for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
    uint64_t number = 0;
    const gguf_value *value = gguf_config_find(r, integers[i].key);
    if (!value && integers[i].required) TRY(missing(r, integers[i].key));
    if (!value) continue;
    TRY(read_integer(r, value, &number));
    memcpy((char *)r->config + integers[i].field, &number, sizeof number);
  }
  return VIVA_OK;
}

static int is_neutral(const gguf_config_reader *r, int neutral, double number) {
  const double own = neutral == NEUTRAL_HEAD ? 1 / sqrt((double)r->config->head_dim) : 1;
  return number == 0 || (neutral != NO_NEUTRAL && fabs(number - own) <= 1e-6 * own); /* written as F32 */
}

/* A model whose positions see what comes after them is an encoder. */
static viva_status refuse_encoder(const gguf_config_reader *r) {
  const gguf_value *value = gguf_config_find(r, "attention.causal");
  int causal = 1;
  if (!value || gguf_bool(value, &causal) != 0 || causal) return VIVA_OK;
  return gguf_config_fail(r, VIVA_E_UNSUPPORTED, value,
                          "the model is an encoder (its attention is not causal): it writes no text");
}

static viva_status refuse_unknown_effects(const gguf_config_reader *r) {
  TRY(refuse_encoder(r));
  for (size_t i = 0; i < sizeof unknown_effects / sizeof *unknown_effects; i++) {
    const gguf_value *value = gguf_config_find(r, unknown_effects[i].key);
    double number = 0;
    if (!value || (gguf_f64(value, &number) == 0 && is_neutral(r, unknown_effects[i].neutral, number))) continue;
    char problem[128];
    snprintf(problem, sizeof problem, "the model uses %s, which viva does not run", unknown_effects[i].what);
    return gguf_config_fail(r, VIVA_E_UNSUPPORTED, value, problem);
  }
  return VIVA_OK;
}

/* config_check names the keys as config.json does. */
static void rename_item(const gguf_config_reader *r) {
  for (size_t i = 0; r->error && i < sizeof integers / sizeof *integers; i++) {
    if (strcmp(r->error->item, integers[i].checked_as) != 0) continue;
    char name[KEY_BYTES];
    name_key(r, integers[i].key, name);
    error_at(r->error, NULL, name, -1, VIVA_NO_OFFSET);
    return;
  }
}

/* What follows from other values when the file does not say. */
static viva_status read_heads(const gguf_config_reader *r) {
  viva_model_config *c = r->config;
  if (c->num_kv_heads == 0 && !gguf_config_find(r, "attention.head_count_kv")) c->num_kv_heads = c->num_heads;
  if (c->head_dim == 0 && !gguf_config_find(r, "attention.key_length")) {
    viva_status status = config_derive_head_dim(c, r->ck->files[0].path, r->runnable ? r->error : NULL);
    if (status != VIVA_OK && r->runnable) {
      rename_item(r);
      return status;
    }
  }
  if (c->rotary_dim == 0 && !gguf_config_find(r, "rope.dimension_count")) c->rotary_dim = c->head_dim;
  const gguf_value *value_length = gguf_config_find(r, "attention.value_length");
  uint64_t length;
  if (!r->runnable || !value_length) return VIVA_OK;
  TRY(read_integer(r, value_length, &length));
  if (length == c->head_dim) return VIVA_OK;
  char problem[128];
  snprintf(problem, sizeof problem, "values of %" PRIu64 " with keys of %" PRIu64 " per head, which viva does not run",
           length, c->head_dim);
  return gguf_config_fail(r, VIVA_E_UNSUPPORTED, value_length, problem);
}

/* The embedding has one row for each token. */
static viva_status read_vocabulary(const gguf_config_reader *r) {
  const tensor_view *embedding = checkpoint_find(r->ck, "token_embd.weight");
  const gguf_value *tokens = gguf_find(r->g, "tokenizer.ggml.tokens");
  uint64_t rows = embedding && embedding->rank == 2 ? embedding->shape[0] : 0;
  if (rows == 0) {
    if (tokens && tokens->is_array) r->config->vocab_size = tokens->count;
    return VIVA_OK;
  }
  r->config->vocab_size = rows;
  if (!r->runnable || !tokens || tokens->count == rows) return VIVA_OK;
  if (tokens->count < rows) { /* padded rows, which no text reaches */
    runtime_log(r->ck->rt, VIVA_LOG_WARN, "%s: token_embd.weight has %" PRIu64 " rows for %" PRIu64 " tokens",
                r->ck->path, rows, tokens->count);
    return VIVA_OK;
  }
  char problem[128];
  snprintf(problem, sizeof problem, "%" PRIu64 " tokens, but token_embd.weight has %" PRIu64 " rows", tokens->count,
           rows);
  return gguf_config_fail(r, VIVA_E_FORMAT, tokens, problem);
}

/* The id that the key holds, or -1. Files with ids outside their vocabulary (4294967295 for "none") are about: as
 * llama.cpp does, such a key is told and left out. */
static viva_status read_token(const gguf_config_reader *r, const char *key, viva_token *id) {
  const gguf_value *value = gguf_find(r->g, key);
  int64_t number;
  *id = -1;
  if (!value) return VIVA_OK;
  if (gguf_i64(value, &number)) return wrong_kind(r, value, "a token's number");
  uint64_t limit = r->config->vocab_size < INT32_MAX ? r->config->vocab_size : INT32_MAX;
  if (number >= 0 && (uint64_t)number < limit)
    *id = (viva_token)number;
  else if (number != -1 && r->runnable)
    runtime_log(r->ck->rt, VIVA_LOG_WARN,
                "%s: %s is %" PRId64 ", outside the vocabulary of %" PRIu64 ": the key is left out", r->ck->path, key,
                number, r->config->vocab_size);
  return VIVA_OK;
}

static void add_end(viva_model_config *c, viva_token id) {
  if (id < 0 || c->num_eos == sizeof c->eos_tokens / sizeof *c->eos_tokens) return;
  for (uint32_t i = 0; i < c->num_eos; i++)
    if (c->eos_tokens[i] == id) return;
  c->eos_tokens[c->num_eos++] = id;
}

static int is_control(const gguf *g, uint64_t id) {
  const gguf_value *kinds = gguf_find(g, "tokenizer.ggml.token_type");
  int64_t kind;
  return !kinds || !kinds->is_array || gguf_element_i64(kinds, id, &kind) != 0 || kind == KIND_CONTROL;
}

/* Tokens that end a text, a turn or a message whatever the keys say. */
static void find_ends(const gguf_config_reader *r) {
  const gguf_value *tokens = gguf_find(r->g, "tokenizer.ggml.tokens");
  const char *text;
  unsigned all = 0;
  if (!tokens || !tokens->is_array || tokens->type != GGUF_STRING) return;
  for (size_t at = 0, bytes; gguf_next_string(tokens, &at, &text, &bytes);) all |= token_text_find(text, bytes);
  size_t at = 0, bytes;
  for (uint64_t id = 0; id < r->config->vocab_size && gguf_next_string(tokens, &at, &text, &bytes); id++) {
    unsigned found = token_text_find(text, bytes);
    if (!token_text_ends(found, all) || (found & TOKEN_TEXT_STRIKE && !is_control(r->g, id))) continue;
    add_end(r->config, (viva_token)id);
  }
}

/* End of text, of turn, of message: generation stops at each. */
static viva_status read_special_tokens(const gguf_config_reader *r) {
  static const char *const end_keys[] = {"tokenizer.ggml.eos_token_id",     "tokenizer.ggml.eot_token_id",
                                         "tokenizer.ggml.eom_token_id",     "tokenizer.ggml.fim_pad_token_id",
                                         "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id"};
  viva_model_config *c = r->config;
  TRY(read_token(r, "tokenizer.ggml.bos_token_id", &c->bos_token));
  c->num_eos = 0;
  for (size_t i = 0; i < sizeof end_keys / sizeof *end_keys; i++) {
    viva_token id;
    TRY(read_token(r, end_keys[i], &id));
    add_end(c, id);
  }
  find_ends(r);
  return VIVA_OK;
}

static int has(const gguf_config_reader *r, const char *tensor) { return checkpoint_find(r->ck, tensor) != NULL; }

static void read_tensors(const gguf_config_reader *r) {
  viva_model_config *c = r->config;
  c->tie_word_embeddings = !has(r, "output.weight");
  c->qkv_bias = has(r, "blk.0.attn_q.bias");
  c->o_bias = has(r, "blk.0.attn_output.bias");
  c->mlp_bias = has(r, "blk.0.ffn_gate.bias");
  c->qk_norm = has(r, "blk.0.attn_q_norm.weight");
}

/* Copies a string's printable form, cut to size. */
static void copy_text(const gguf *g, const char *key, char *buffer, size_t size) {
  const gguf_value *value = gguf_find(g, key);
  const char *text;
  size_t bytes;
  if (value && gguf_string(value, &text, &bytes) == 0) error_quote(buffer, size, text, bytes);
}

static void find_family(gguf_config_reader *r) {
  viva_model_config *c = r->config;
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    if (strcmp(c->architecture, families[i].architecture) != 0) continue;
    r->runnable = 1;
    snprintf(c->model_type, sizeof c->model_type, "%s", families[i].model_type);
    c->permuted_qk = families[i].permuted_qk;
    r->qk_norm = families[i].qk_norm;
  }
}

static viva_status check_family(const gguf_config_reader *r) {
  viva_model_config *c = r->config;
  if (!r->runnable) return VIVA_OK;
  TRY(refuse_unknown_effects(r));
  if (c->qk_norm && !r->qk_norm) {
    error_set(r->error, VIVA_E_UNSUPPORTED, "q and k norms in a %s model, which viva does not run", c->architecture);
    error_at(r->error, r->ck->files[0].path, "blk.0.attn_q_norm.weight", -1, VIVA_NO_OFFSET);
    return VIVA_E_UNSUPPORTED;
  }
  c->qk_norm = r->qk_norm;
  viva_status status = config_check(c, r->ck->files[0].path, r->error);
  if (status != VIVA_OK) rename_item(r);
  return status;
}

viva_status gguf_config(const viva_checkpoint *ck, viva_model_config *config, viva_error *error) {
  gguf_config_reader r = {.ck = ck, .g = ck->gguf, .config = config, .error = error};
  config_init(config);
  copy_text(r.g, "general.architecture", config->architecture, sizeof config->architecture);
  copy_text(r.g, "general.name", config->name, sizeof config->name);
  find_family(&r);
  TRY(read_integers(&r));
  if (!gguf_config_find(&r, "attention.layer_norm_rms_epsilon")) {
    TRY(missing(&r, "attention.layer_norm_rms_epsilon"));
  }
  TRY(gguf_config_double(&r, "attention.layer_norm_rms_epsilon", &config->rms_norm_eps));
  TRY(read_heads(&r));
  TRY(read_vocabulary(&r));
  TRY(gguf_rope(&r));
  TRY(read_special_tokens(&r));
  read_tensors(&r);
  return check_family(&r);
}
