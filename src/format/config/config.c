/* format/config/config.c: config.json and generation_config.json of Hugging Face folders.
 *
 * The keys, their defaults and what each family does with them are those of transformers 5.23 (configuration_llama.py,
 * _mistral, _qwen2, _qwen3 and their modeling files). Where it has a default for a size that no real file leaves out
 * (hidden_size 4096 ...), the key is required here.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "format/config/config_values.h"

#define FIELD(name) offsetof(viva_model_config, name)

enum key {
  ARCHITECTURES,
  MODEL_TYPE,
  HIDDEN,
  INTERMEDIATE,
  LAYERS,
  HEADS,
  KV_HEADS,
  HEAD_DIM,
  VOCAB,
  POSITIONS,
  EPS,
  ACT,
  TIED,
  ATTENTION_BIAS,
  MLP_BIAS,
  WINDOW,
  USE_WINDOW,
  WINDOW_LAYERS,
  LAYER_TYPES,
  ROPE_PARAMETERS,
  ROPE_SCALING,
  ROPE_THETA,
  PARTIAL_ROTARY,
  ORIGINAL_POSITIONS,
  EOS,
  BOS,
  PER_LAYER,
  KEYS
};

static const char *const keys[KEYS] = {"architectures",
                                       "model_type",
                                       "hidden_size",
                                       "intermediate_size",
                                       "num_hidden_layers",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "head_dim",
                                       "vocab_size",
                                       "max_position_embeddings",
                                       "rms_norm_eps",
                                       "hidden_act",
                                       "tie_word_embeddings",
                                       "attention_bias",
                                       "mlp_bias",
                                       "sliding_window",
                                       "use_sliding_window",
                                       "max_window_layers",
                                       "layer_types",
                                       "rope_parameters",
                                       "rope_scaling",
                                       "rope_theta",
                                       "partial_rotary_factor",
                                       "original_max_position_embeddings",
                                       "eos_token_id",
                                       "bos_token_id",
                                       "per_layer_config"};

/* Integers that go straight into the configuration. */
static const struct {
  enum key key;
  size_t field;
  int required, may_be_unset; /* null, or -1 */
} integers[] = {
    {HIDDEN, FIELD(hidden_size), 1, 0}, {INTERMEDIATE, FIELD(intermediate_size), 1, 0},
    {LAYERS, FIELD(num_layers), 1, 0},  {HEADS, FIELD(num_heads), 1, 0},
    {VOCAB, FIELD(vocab_size), 1, 0},   {KV_HEADS, FIELD(num_kv_heads), 0, 1},
    {HEAD_DIM, FIELD(head_dim), 0, 1},  {POSITIONS, FIELD(max_position_embeddings), 0, 0},
};

typedef enum bias_rule { BIAS_NEVER, BIAS_ALWAYS, BIAS_KEY } bias_rule;

/* What a family adds to its keys, and what a key means that is not there. */
typedef struct family {
  const char *model_type, *architecture;
  uint64_t kv_heads; /* 0: as many as heads */
  uint64_t head_dim; /* 0: hidden_size / heads */
  uint64_t positions;
  viva_token bos, eos;
  bias_rule qkv_bias, o_bias, mlp_bias;
  int qk_norm;
  window_rule window;
} family;

#define DEFAULT_EPS 1e-6

static const family families[] = {
    {"llama", "LlamaForCausalLM", 0, 0, 2048, 1, 2, BIAS_KEY, BIAS_KEY, BIAS_KEY, 0, WINDOW_NEVER},
    {"mistral", "MistralForCausalLM", 8, 0, 4096 * 32, 1, 2, BIAS_NEVER, BIAS_NEVER, BIAS_NEVER, 0, WINDOW_ALL},
    {"qwen2", "Qwen2ForCausalLM", 32, 0, 32768, -1, -1, BIAS_ALWAYS, BIAS_NEVER, BIAS_NEVER, 0, WINDOW_SWITCHED},
    {"qwen3", "Qwen3ForCausalLM", 32, 128, 32768, -1, -1, BIAS_KEY, BIAS_KEY, BIAS_NEVER, 1, WINDOW_SWITCHED},
};

const char *config_supported(void) { return "llama, mistral, qwen2, qwen3"; }

int config_runs(const char *model_type) {
  for (size_t i = 0; i < sizeof families / sizeof *families; i++)
    if (strcmp(model_type, families[i].model_type) == 0) return 1;
  return 0;
}

typedef struct reader {
  config_file file;
  config_value values[KEYS];
  const family *family; /* NULL: not runnable. Then what fits is taken and nothing is refused */
  viva_model_config *config;
} reader;

void config_init(viva_model_config *config) {
  *config = (viva_model_config){
      .size = sizeof *config,
      .rope_truncate = 1,
      .rope_factor = 1,
      .rope_low_freq_factor = 1,
      .rope_high_freq_factor = 4,
      .rope_beta_fast = 32,
      .rope_beta_slow = 1,
      .rope_attention_factor = 1,
      .bos_token = -1,
  };
}

/* -- which model it is */

typedef struct first_string {
  const config_file *file;
  json_string text;
  int found;
} first_string;

static viva_status visit_architecture(void *arg, const config_value *element) {
  first_string *first = arg;
  if (first->found) return VIVA_OK;
  first->found = 1;
  return config_string(first->file, element, &first->text);
}

/* A model with another head than the one that gives the next token. */
static int is_classifier(json_string architecture) {
  static const char *const ends[] = {"Classification", "QuestionAnswering", "RewardModel"};
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    size_t bytes = strlen(ends[i]);
    if (architecture.bytes >= bytes && memcmp(architecture.text + architecture.bytes - bytes, ends[i], bytes) == 0)
      return 1;
  }
  return 0;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }

/* Old checkpoints write LLaMAForCausalLM. */
static int same_letters(json_string a, const char *b) {
  size_t i = 0;
  while (i < a.bytes && b[i] != 0 && lower(a.text[i]) == lower(b[i])) i++;
  return i == a.bytes && b[i] == 0;
}

/* The first of a list; a string alone is a list of one. */
static viva_status read_architecture(const config_file *file, const config_value *list, first_string *architecture) {
  if (!config_given(list)) return VIVA_OK;
  if (list->kind == VALUE_STRING) return config_string(file, list, &architecture->text);
  if (list->kind != VALUE_LIST) return config_wrong_kind(file, list, "a list of strings");
  return config_read_list(file, list, visit_architecture, architecture);
}

/* model_type decides, as transformers' AutoModelForCausalLM does; without it the architecture's name does. */
static viva_status find_family(reader *r) {
  const config_file *file = &r->file;
  first_string architecture = {.file = file};
  json_string type = {0};
  TRY(read_architecture(file, &r->values[ARCHITECTURES], &architecture));
  TRY(config_string(file, &r->values[MODEL_TYPE], &type));
  json_string name = architecture.text.bytes > 0 ? architecture.text : type;
  error_quote(r->config->architecture, sizeof r->config->architecture, name.text, name.bytes);
  if (is_classifier(architecture.text)) return VIVA_OK;
  for (size_t i = 0; name.bytes > 0 && i < sizeof families / sizeof *families; i++) {
    const family *f = &families[i];
    int fits = type.bytes > 0 ? json_string_is(type, f->model_type) : same_letters(name, f->architecture);
    if (!fits) continue;
    if (!same_letters(name, f->architecture) && architecture.text.bytes > 0)
      runtime_log(file->rt, VIVA_LOG_WARN, "%s: architectures says \"%s\"; it is run as %s, which model_type says",
                  file->path, r->config->architecture, f->architecture);
    r->family = f;
    snprintf(r->config->model_type, sizeof r->config->model_type, "%s", f->model_type);
    return VIVA_OK;
  }
  return VIVA_OK;
}

/* -- sizes */

static uint64_t *integer_field(reader *r, size_t i) {
  return (uint64_t *)(void *)((char *)r->config + integers[i].field);
}

/* A key that is null where no null is meant is read as missing, and told. */
static void tell_null(const reader *r, enum key key, const char *meaning) {
  if (r->values[key].kind == VALUE_NULL)
    runtime_log(r->file.rt, VIVA_LOG_WARN, "%s: %s is null; it is read as %s", r->file.path, keys[key], meaning);
}

static viva_status read_integers(reader *r) {
  viva_model_config *c = r->config;
  const family *f = r->family;
  c->max_position_embeddings = f->positions;
  for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
    const config_value *value = &r->values[integers[i].key];
    if (integers[i].required && value->kind == VALUE_ABSENT)
      return config_fail(&r->file, value, VIVA_E_FORMAT, "the key is missing, and a %s model needs it", f->model_type);
    if (value->kind == VALUE_NULL && integers[i].required) return config_wrong_kind(&r->file, value, "an integer");
    if (integers[i].may_be_unset && config_unset(value)) continue;
    TRY(config_integer(&r->file, value, integer_field(r, i)));
  }
  if (c->num_heads == 0) return config_wrong_kind(&r->file, &r->values[HEADS], "an integer of 1 or more");
  const config_value *kv_heads = &r->values[KV_HEADS], *head_dim = &r->values[HEAD_DIM];
  tell_null(r, POSITIONS, "the family's own default");
  if (config_unset(kv_heads))
    c->num_kv_heads = kv_heads->kind == VALUE_ABSENT && f->kv_heads ? f->kv_heads : c->num_heads;
  if (!config_unset(head_dim)) return VIVA_OK;
  if (head_dim->kind != VALUE_ABSENT || f->head_dim == 0) return config_derive_head_dim(c, r->file.path, r->file.error);
  c->head_dim = f->head_dim;
  return VIVA_OK;
}

/* -- biases, activation, ties */

static int32_t bias(bias_rule rule, int32_t key) { return rule == BIAS_ALWAYS || (rule == BIAS_KEY && key); }

static viva_status read_switches(reader *r) {
  viva_model_config *c = r->config;
  const family *f = r->family;
  int32_t attention_bias = 0, mlp_bias = 0;
  json_string act = {"silu", 4};
  char quoted[64];
  tell_null(r, TIED, "false");
  tell_null(r, EPS, "1e-6");
  TRY(config_boolean(&r->file, &r->values[TIED], &c->tie_word_embeddings));
  TRY(config_boolean(&r->file, &r->values[ATTENTION_BIAS], &attention_bias));
  TRY(config_boolean(&r->file, &r->values[MLP_BIAS], &mlp_bias));
  c->qkv_bias = bias(f->qkv_bias, attention_bias);
  c->o_bias = bias(f->o_bias, attention_bias);
  c->mlp_bias = bias(f->mlp_bias, mlp_bias);
  c->qk_norm = f->qk_norm;
  c->rms_norm_eps = DEFAULT_EPS;
  TRY(config_double(&r->file, &r->values[EPS], &c->rms_norm_eps));
  TRY(config_string(&r->file, &r->values[ACT], &act));
  if (json_string_is(act, "silu") || json_string_is(act, "swish")) return VIVA_OK; /* two names of one function */
  return config_fail(&r->file, &r->values[ACT], VIVA_E_UNSUPPORTED, "viva runs the activation silu, not \"%s\"",
                     error_quote(quoted, sizeof quoted, act.text, act.bytes));
}

/* -- tokens */

typedef struct token_visit {
  const config_file *file;
  viva_model_config *config;
  int full_told; /* more end tokens than viva keeps */
} token_visit;

/* An id, or -1 for none: null and -1 mean that, and one that no token can have is told and left out. */
static viva_status read_token(const config_file *file, const config_value *value, uint64_t vocab, viva_token *token) {
  uint64_t id = 0;
  *token = -1;
  if (vocab == 0) vocab = INT32_MAX; /* of a model that viva does not run */
  if (config_unset(value)) return VIVA_OK;
  TRY(config_integer(file, value, &id));
  if (id < vocab && id <= INT32_MAX)
    *token = (viva_token)id;
  else
    runtime_log(file->rt, VIVA_LOG_WARN, "%s: %s is %" PRIu64 ", outside the vocabulary of %" PRIu64 ": it is left out",
                file->path, value->key, id, vocab);
  return VIVA_OK;
}

/* Adds an end token, once. */
static viva_status visit_eos(void *arg, const config_value *element) {
  token_visit *v = arg;
  viva_model_config *c = v->config;
  const uint32_t room = sizeof c->eos_tokens / sizeof *c->eos_tokens;
  viva_token token = -1;
  if (element->kind == VALUE_NULL) return VIVA_OK; /* names none */
  if (element->kind != VALUE_NUMBER) return config_wrong_kind(v->file, element, "the id of a token");
  TRY(read_token(v->file, element, c->vocab_size, &token));
  if (token < 0) return VIVA_OK;
  for (uint32_t i = 0; i < c->num_eos; i++)
    if (c->eos_tokens[i] == token) return VIVA_OK;
  if (c->num_eos < room)
    c->eos_tokens[c->num_eos++] = token;
  else if (!v->full_told++)
    runtime_log(v->file->rt, VIVA_LOG_WARN, "%s: %s: there are more than %u end tokens: the first %u end a text",
                v->file->path, element->key, room, room);
  return VIVA_OK;
}

/* A number, a list or null. */
static viva_status read_eos(const config_file *file, const config_value *value, viva_model_config *config) {
  token_visit v = {file, config, 0};
  if (!config_given(value)) return VIVA_OK;
  return value->kind == VALUE_LIST ? config_read_list(file, value, visit_eos, &v) : visit_eos(&v, value);
}

/* A broken one is told and left out, as transformers does: config.json says what the model needs. */
static viva_status read_generation(const reader *r, const char *path, const char *text, size_t bytes) {
  static const char *const eos_key[] = {"eos_token_id"};
  const uint32_t ends = r->config->num_eos;
  viva_error reason = {0};
  config_file file = r->file;
  config_value value;
  file.path = path;
  file.text = text;
  file.bytes = bytes;
  file.error = &reason;
  viva_status status = config_read_object(&file, (json_string){text, bytes}, eos_key, 1, &value, NULL);
  if (status == VIVA_OK) status = read_eos(&file, &value, r->config);
  if (status == VIVA_OK) return VIVA_OK;
  r->config->num_eos = ends;
  if (status == VIVA_E_MEMORY) {
    if (r->file.error) *r->file.error = reason;
    return status;
  }
  runtime_log(file.rt, VIVA_LOG_WARN, "%s: %s%s%s; the file is left out", path, reason.item, reason.item[0] ? ": " : "",
              reason.message);
  return VIVA_OK;
}

static viva_status read_tokens(reader *r) {
  viva_model_config *c = r->config;
  const config_value *bos = &r->values[BOS], *eos = &r->values[EOS];
  c->bos_token = bos->kind == VALUE_ABSENT ? r->family->bos : -1;
  if (config_given(bos)) TRY(read_token(&r->file, bos, c->vocab_size, &c->bos_token));
  if (eos->kind != VALUE_ABSENT) return read_eos(&r->file, eos, c);
  if (r->family->eos >= 0 && c->num_eos == 0) c->eos_tokens[c->num_eos++] = r->family->eos;
  return VIVA_OK;
}

/* -- all of it */

/* Keys that change the computation in ways viva does not know. */
static viva_status refuse_unknown(const reader *r) {
  static const struct {
    enum key key;
    const char *what;
  } unknown[] = {{PER_LAYER, "layers of different shapes"}};
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
    const config_value *value = &r->values[unknown[i].key];
    if (config_given(value))
      return config_fail(&r->file, value, VIVA_E_UNSUPPORTED, "the model has %s of a kind that viva does not run",
                         unknown[i].what);
  }
  return VIVA_OK;
}

/* config_check knows a key but not where it stands. (A RoPE key may stand in rope_parameters as well: then nobody does.) */
static void place_error(const reader *r) {
  viva_error *error = r->file.error;
  if (!error) return;
  size_t count = config_given(&r->values[ROPE_PARAMETERS]) ? ROPE_PARAMETERS : KEYS;
  for (size_t i = 0; i < count; i++)
    if (config_given(&r->values[i]) && strcmp(keys[i], error->item) == 0)
      error_at(error, NULL, NULL, 0, r->values[i].offset);
}

static viva_status read_runnable(reader *r) {
  rope_source rope = {&r->values[ROPE_PARAMETERS], &r->values[ROPE_SCALING], &r->values[ROPE_THETA],
                      &r->values[PARTIAL_ROTARY], &r->values[ORIGINAL_POSITIONS]};
  window_source window = {r->family->window, &r->values[WINDOW], &r->values[USE_WINDOW], &r->values[WINDOW_LAYERS],
                          &r->values[LAYER_TYPES]};
  TRY(refuse_unknown(r));
  TRY(read_integers(r));
  TRY(read_switches(r));
  TRY(config_rope(&r->file, &rope, r->config));
  TRY(read_tokens(r));
  TRY(config_window(&r->file, &window, r->config));
  viva_status status = config_check(r->config, r->file.path, r->file.error);
  if (status != VIVA_OK) place_error(r);
  return status;
}

/* What fits of a model that viva does not run: nothing in it is an error. */
static void read_other(reader *r) {
  viva_model_config *c = r->config;
  config_file silent = r->file;
  silent.error = NULL;
  for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
    (void)config_integer(&silent, &r->values[integers[i].key], integer_field(r, i));
  if (c->num_kv_heads == 0) c->num_kv_heads = c->num_heads;
  if (c->head_dim == 0 && c->num_heads > 0) c->head_dim = c->hidden_size / c->num_heads;
  (void)config_double(&silent, &r->values[EPS], &c->rms_norm_eps);
  (void)config_double(&silent, &r->values[ROPE_THETA], &c->rope_theta);
  (void)config_boolean(&silent, &r->values[TIED], &c->tie_word_embeddings);
  (void)config_integer(&silent, &r->values[WINDOW], &c->sliding_window);
  if (config_given(&r->values[BOS])) (void)read_token(&silent, &r->values[BOS], c->vocab_size, &c->bos_token);
  (void)read_eos(&silent, &r->values[EOS], c);
}

viva_status config_parse(runtime *rt, const char *path, const char *text, size_t bytes, const char *generation_path,
                         const char *generation, size_t generation_bytes, viva_model_config *config,
                         viva_error *error) {
  reader r = {.file = {.rt = rt, .path = path, .text = text, .bytes = bytes, .error = error}, .config = config};
  config_init(config);
  r.file.arena = arena_create(&rt->mem, 4096);
  viva_status status = r.file.arena ? VIVA_OK : error_set(error, VIVA_E_MEMORY, "no memory for reading %s", path);
  if (status == VIVA_OK) status = config_read_object(&r.file, (json_string){text, bytes}, keys, KEYS, r.values, NULL);
  if (status == VIVA_OK) status = find_family(&r);
  /* Ids are held against it, also those of generation_config.json. A wrong one is refused with the other sizes. */
  if (status == VIVA_OK && r.values[VOCAB].kind == VALUE_NUMBER && r.values[VOCAB].number.kind == JSON_INT)
    config->vocab_size = r.values[VOCAB].number.u;
  if (status == VIVA_OK && generation) status = read_generation(&r, generation_path, generation, generation_bytes);
  if (status == VIVA_OK && r.family) status = read_runnable(&r);
  if (status == VIVA_OK && !r.family) read_other(&r);
  arena_free(r.file.arena);
  return status;
}
