/* model/model_from_parts.c: a model made of packed weights and vectors that the caller has. */
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "engine/linear.h"
#include "engine/packed.h"
#include "format/config/config.h"
#include "load/budget.h"
#include "load/names.h"
#include "load/plan.h"
#include "model/model.h"
#include "tensor/tensor.h"

#define VECTOR_ALIGN 16 /* floats: 64 bytes */

viva_parts_options viva_parts_options_default(void) {
  return (viva_parts_options){.size = sizeof(viva_parts_options), .kv = VIVA_F16};
}

viva_model_config viva_model_config_default(void) {
  viva_model_config config;
  config_init(&config);
  memcpy(config.model_type, "llama", sizeof "llama");
  memcpy(config.architecture, "LlamaForCausalLM", sizeof "LlamaForCausalLM");
  config.max_position_embeddings = 2048;
  config.rms_norm_eps = 1e-6;
  config.rope_theta = 10000;
  return config;
}

/* Which part fills which field of a layer: both are a matrix or both a vector. */
static const struct {
  size_t field, part;
  const char *name;
} layer_parts[] = {
#define PART(name)                                                                                                     \
  { offsetof(decoder_layer, name), offsetof(viva_layer_parts, name), #name }
    PART(q),       PART(k),         PART(v),      PART(o),      PART(gate),           PART(up),
    PART(down),    PART(q_bias),    PART(k_bias), PART(v_bias), PART(o_bias),         PART(gate_bias),
    PART(up_bias), PART(down_bias), PART(q_norm), PART(k_norm), PART(attention_norm), PART(mlp_norm),
#undef PART
};

/* What is being made. */
typedef struct maker {
  viva_model *model;
  viva_engine *engine;
  const void *layers; /* the caller's, layer_bytes apart */
  size_t layer_bytes;
  float *vectors;  /* host: all norms and biases as they will lie in the model's block; NULL while they are counted */
  size_t floats;   /* of them, with the gaps */
  size_t elements; /* without */
  size_t part_count;
} maker;

/* Names the part in the error. */
static viva_status at_part(viva_error *error, viva_status status, size_t number, const char *name) {
  char item[48];
  if (number == SIZE_MAX)
    snprintf(item, sizeof item, "%s", name);
  else
    snprintf(item, sizeof item, "layers[%zu].%s", number, name);
  error_at(error, NULL, item, -1, VIVA_NO_OFFSET);
  return status;
}

/* "layer 3, down" */
static const char *place(char text[48], size_t number, const char *name) {
  if (number == SIZE_MAX)
    snprintf(text, 48, "%s", name);
  else
    snprintf(text, 48, "layer %zu, %s", number, name);
  return text;
}

static viva_status presence(const void *part, int needed, size_t number, const char *name, viva_error *error) {
  char text[48];
  if ((part != NULL) == needed) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT,
            needed ? "%s is NULL, but the configuration has it" : "%s is given, but the configuration has none",
            place(text, number, name));
  return at_part(error, VIVA_E_ARGUMENT, number, name);
}

/* ---- matrices */

static viva_status take_matrix(maker *k, viva_packed_weight *part, const slot *s, size_t number, const char *name,
                               weight *to, viva_error *error) {
  const viva_model *model = k->model;
  char text[48];
  TRY(presence(part, 1, number, name, error));
  if (part->engine != k->engine) {
    error_set(error, VIVA_E_ARGUMENT, "%s belongs to another engine; pack it on the engine of this model",
              place(text, number, name));
    return at_part(error, VIVA_E_ARGUMENT, number, name);
  }
  const weight *w = packed_weight(part);
  uint64_t rows = names_dim(s->rows, &model->config), cols = names_dim(s->cols, &model->config);
  if (w->rows != rows || w->cols != cols) {
    error_set(error, VIVA_E_SIZE, "%s is [%zu, %zu], but the configuration gives [%llu, %llu]",
              place(text, number, name), w->rows, w->cols, (unsigned long long)rows, (unsigned long long)cols);
    return at_part(error, VIVA_E_SIZE, number, name);
  }
  if (model->act == INPUT_INT8 && !weight_dense(w->format) && cols > INPUT_INT8_MOST_K) {
    error_set(error, VIVA_E_LIMIT, "%s has %llu inputs; with INT8 activations at most %zu are possible",
              place(text, number, name), (unsigned long long)cols, INPUT_INT8_MOST_K);
    return at_part(error, VIVA_E_LIMIT, number, name);
  }
  *to = *w;
  k->model->parts[k->part_count++] = viva_packed_weight_retain(part);
  return VIVA_OK;
}

/* ---- vectors */

/* Counts the vector's floats; once there is memory, puts them there and *to where they will be on the device. */
static viva_status take_vector(maker *k, const viva_tensor *part, const slot *s, size_t number, const char *name,
                               const float **to, viva_error *error) {
  char text[48], shape[128];
  size_t n = (size_t)names_dim(s->cols, &k->model->config), at = k->floats;
  if (part->rank != 1 || part->elements != n) {
    error_set(error, VIVA_E_SIZE, "%s is %s, but the configuration gives [%zu]", place(text, number, name),
              tensor_shape_text(part, shape), n);
    return at_part(error, VIVA_E_SIZE, number, name);
  }
  k->elements += n;
  k->floats += (n + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
  if (!k->vectors) return VIVA_OK;
  *to = (const float *)k->model->block + at;
  viva_status status = viva_tensor_to_f32(part, k->vectors + at, n, error);
  return status ? at_part(error, status, number, name) : VIVA_OK;
}

/* ---- layers */

static const slot *slot_of(size_t field) {
  size_t i = 0;
  while (names_layer[i].field != field) i++;
  return &names_layer[i];
}

/* Every part of one layer that is a matrix, or that is a vector. */
static viva_status take_layer(maker *k, size_t number, int vectors, viva_error *error) {
  viva_layer_parts parts = {.size = sizeof parts};
  char *to = (char *)&k->model->dec.layers[number];
  const char *given = (const char *)k->layers + number * k->layer_bytes;
  size_t bytes;
  memcpy(&bytes, given, sizeof bytes);
  if (bytes != k->layer_bytes) {
    error_set(error, VIVA_E_ARGUMENT, "size is %zu, but that of layers[0] is %zu; set it in every layer", bytes,
              k->layer_bytes);
    return at_part(error, VIVA_E_ARGUMENT, number, "size");
  }
  TRY(options_read(&parts, given, "viva_layer_parts", error));
  for (size_t i = 0; i < sizeof layer_parts / sizeof *layer_parts; i++) {
    const slot *s = slot_of(layer_parts[i].field);
    const char *name = layer_parts[i].name;
    void *part;
    memcpy(&part, (const char *)&parts + layer_parts[i].part, sizeof part);
    if ((s->rows == DIM_NONE) != vectors) continue;
    TRY(presence(part, names_needed(s, &k->model->config), number, name, error));
    if (!part) continue;
    if (vectors)
      TRY(take_vector(k, part, s, number, name, (const float **)(void *)(to + s->field), error));
    else
      TRY(take_matrix(k, part, s, number, name, (weight *)(void *)(to + s->field), error));
  }
  return VIVA_OK;
}

static viva_status take_vectors(maker *k, const viva_tensor *final_norm, viva_error *error) {
  k->floats = k->elements = 0;
  TRY(presence(final_norm, 1, SIZE_MAX, "final_norm", error));
  TRY(take_vector(k, final_norm, &names_global[NAMES_OUTPUT_NORM], SIZE_MAX, "final_norm", &k->model->dec.output_norm,
                  error));
  for (size_t l = 0; l < k->model->dec.layer_count; l++) TRY(take_layer(k, l, 1, error));
  return VIVA_OK;
}

/* ---- the model */

static viva_status refuse_config(viva_error *error, const char *member) {
  error_at(error, NULL, member, -1, VIVA_NO_OFFSET);
  return VIVA_E_ARGUMENT;
}

static viva_status check_family(const viva_model_config *c, viva_error *error) {
  const char *end = memchr(c->model_type, 0, sizeof c->model_type);
  char quoted[96];
  if (end && config_runs(c->model_type)) return VIVA_OK;
  if (end == c->model_type)
    error_set(error, VIVA_E_ARGUMENT, "config names no family; the families that can be run are %s",
              config_supported());
  else
    error_set(
        error, VIVA_E_ARGUMENT, "\"%s\" cannot be run; the families that can are %s",
        error_quote(quoted, sizeof quoted, c->model_type, end ? (size_t)(end - c->model_type) : sizeof c->model_type),
        config_supported());
  return refuse_config(error, "model_type");
}

/* The tokens that begin and end a text are ids of the vocabulary; bos may be -1: none. */
static viva_status check_tokens(const viva_model_config *c, viva_error *error) {
  const uint32_t most = sizeof c->eos_tokens / sizeof *c->eos_tokens;
  char member[24];
  if (c->num_eos > most) {
    error_set(error, VIVA_E_ARGUMENT, "num_eos is %u; expected 0 to %u", (unsigned)c->num_eos, (unsigned)most);
    return refuse_config(error, "num_eos");
  }
  if (c->bos_token < -1 || (c->bos_token >= 0 && (uint64_t)c->bos_token >= c->vocab_size)) {
    error_set(error, VIVA_E_ARGUMENT, "bos_token is %d; expected -1 (none) or a token below vocab_size, %llu",
              (int)c->bos_token, (unsigned long long)c->vocab_size);
    return refuse_config(error, "bos_token");
  }
  for (uint32_t i = 0; i < c->num_eos; i++) {
    if (c->eos_tokens[i] >= 0 && (uint64_t)c->eos_tokens[i] < c->vocab_size) continue;
    snprintf(member, sizeof member, "eos_tokens[%u]", (unsigned)i);
    error_set(error, VIVA_E_ARGUMENT, "%s is %d; expected a token below vocab_size, %llu (num_eos says how many)",
              member, (int)c->eos_tokens[i], (unsigned long long)c->vocab_size);
    return refuse_config(error, member);
  }
  return VIVA_OK;
}

static viva_status check_config(const viva_model_config *c, viva_error *error) {
  viva_error found = {0};
  TRY(check_family(c, error));
  if (c->permuted_qk) {
    error_set(error, VIVA_E_ARGUMENT,
              "permuted_qk must be 0: the rows of q and k in half-split order, as Hugging Face and loaded models have "
              "them");
    return refuse_config(error, "permuted_qk");
  }
  if (c->rope_type < VIVA_ROPE_DEFAULT || c->rope_type > VIVA_ROPE_YARN) {
    error_set(error, VIVA_E_ARGUMENT, "rope_type is %d; expected %d (default) to %d (yarn)", (int)c->rope_type,
              (int)VIVA_ROPE_DEFAULT, (int)VIVA_ROPE_YARN);
    return refuse_config(error, "rope_type");
  }
  if (config_check(c, NULL, &found) == VIVA_OK) return check_tokens(c, error);
  if (error) *error = found;
  if (error) error->code = VIVA_E_ARGUMENT;
  return VIVA_E_ARGUMENT;
}

static uint64_t held_bytes(const weight *w) { return packed_code_bytes(w) + packed_scale_bytes(w); }

static void fill_plan(viva_model *m, const maker *k) {
  const uint64_t limit =
      m->context > m->config.max_position_embeddings ? m->context : m->config.max_position_embeddings;
  const budget_case c = {
      .backend = m->engine->backend, .config = &m->config, .layers = m->dec.layer_count, .kv = m->kv, .act = m->act};
  viva_memory_plan *n = &m->plan;
  int tied = m->dec.head.data == m->dec.embedding.data;
  *n = (viva_memory_plan){.size = sizeof *n, .context = m->context};
  n->weight_bytes = n->bytes_per_token = k->elements * sizeof(float);
  n->parameters = k->elements;
  for (size_t i = 0; i < k->part_count; i++) {
    const weight *w = packed_weight(m->parts[i]);
    int table_only = i == 0 && !tied;                        /* of an untied embedding a token reads one row */
    if (i > 0 && w->data == m->dec.embedding.data) continue; /* the same handle as head */
    n->parameters = budget_add(n->parameters, budget_mul(w->rows, w->cols));
    n->weight_bytes = budget_add(n->weight_bytes, held_bytes(w));
    n->bytes_per_token = budget_add(n->bytes_per_token, table_only ? w->row_bytes : held_bytes(w));
  }
  n->weight_bytes = budget_add(n->weight_bytes, decoder_prepared_bytes(c.backend, &m->dec));
  n->page_bytes = m->pages[m->kv].page_bytes;
  n->kv_bytes = budget_kv(&m->config, m->dec.layer_count, m->context, m->kv);
  n->work_bytes = budget_work(&c, m->context, budget_chunk(&m->config, c.backend, m->context, 0));
  n->needed_bytes = budget_add(n->weight_bytes, budget_add(n->kv_bytes, n->work_bytes));
  n->available_bytes = budget_available(c.backend);
  n->largest_context = budget_context(&c, 0, n->available_bytes, limit);
  plan_shares(m->engine, &m->dec, &c, limit, n);
}

static viva_status read_options(viva_model *m, const viva_parts_options *given, viva_error *error) {
  viva_parts_options o = viva_parts_options_default();
  TRY(options_read(&o, given, "viva_parts_options", error));
  TRY(decoder_act_option(o.act, &m->act, error));
  TRY(decoder_kv_option(o.kv, &m->kv, error));
  TRY(model_decode_option(m->engine, o.decode, &m->decode, error));
  TRY(linear_accumulation(o.accumulate, &m->accumulate, error));
  m->context = o.context ? o.context : m->config.max_position_embeddings;
  if (m->context > BUDGET_CONTEXT_MOST) {
    error_set(error, VIVA_E_ARGUMENT, "a context of %llu tokens is asked for; the most is %llu",
              (unsigned long long)m->context, (unsigned long long)BUDGET_CONTEXT_MOST);
    return error_option(error, VIVA_E_ARGUMENT, "context");
  }
  m->tokenizer = viva_tokenizer_retain(o.tokenizer);
  m->cache_bytes = o.cache_bytes;
  return VIVA_OK;
}

static viva_status take_ends(maker *k, const viva_model_parts *parts, viva_error *error) {
  viva_model *m = k->model;
  viva_packed_weight *head = parts->head;
  TRY(take_matrix(k, parts->embedding, &names_global[NAMES_EMBEDDING], SIZE_MAX, "embedding", &m->dec.embedding,
                  error));
  if (!weight_dense(m->dec.embedding.format)) {
    error_set(error, VIVA_E_DTYPE,
              "the embedding is packed; tokens are looked up in F32, BF16 or F16 (viva_prepack_dense)");
    return at_part(error, VIVA_E_DTYPE, SIZE_MAX, "embedding");
  }
  m->dec.head = m->dec.embedding;
  if (head) return take_matrix(k, head, &names_global[NAMES_HEAD], SIZE_MAX, "head", &m->dec.head, error);
  if (m->config.tie_word_embeddings) return VIVA_OK;
  error_set(error, VIVA_E_ARGUMENT, "head is NULL, but config says that it is not tied to the embedding");
  return at_part(error, VIVA_E_ARGUMENT, SIZE_MAX, "head");
}

static viva_status fill(maker *k, const viva_model_parts *parts, const viva_parts_options *options, viva_error *error) {
  viva_model *m = k->model;
  mem *memory = &k->engine->rt->mem;
  backend *b = k->engine->backend;
  TRY(check_config(&m->config, error));
  TRY(read_options(m, options, error));
  TRY(decoder_make(&m->dec, &m->config, memory, error));
  m->dec.layers_as = model_layers_as(m->decode);
  m->dec.accumulate = m->accumulate;
  model_begin_pools(m, m->cache_bytes);
  m->parts = mem_array(memory, 2 + 7 * m->dec.layer_count, sizeof(void *));
  if (!m->parts) return error_set(error, VIVA_E_MEMORY, "no memory for %zu layers", m->dec.layer_count);
  TRY(take_ends(k, parts, error));
  for (size_t l = 0; l < m->dec.layer_count; l++) TRY(take_layer(k, l, 0, error));
  TRY(take_vectors(k, parts->final_norm, error));
  TRY(b->ops->alloc(b, k->floats * sizeof(float), &m->block, error));
  k->vectors = mem_array(memory, k->floats, sizeof(float));
  if (!k->vectors) return error_set(error, VIVA_E_MEMORY, "no memory for norms and biases");
  TRY(take_vectors(k, parts->final_norm, error));
  TRY(b->ops->upload(b, m->block, k->vectors, k->floats * sizeof(float), error));
  TRY(model_place(m, error));
  fill_plan(m, k);
  model_describe(m);
  return VIVA_OK;
}

viva_model_parts viva_model_parts_default(void) { return (viva_model_parts){.size = sizeof(viva_model_parts)}; }

viva_status viva_model_from_parts(viva_engine *engine, const viva_model_config *config, const viva_model_parts *given,
                                  const viva_parts_options *options, viva_model **model, viva_error *error) {
  viva_model_parts parts = viva_model_parts_default();
  if (!model) return error_set(error, VIVA_E_ARGUMENT, "model is NULL; give a place for the handle");
  *model = NULL;
  if (!engine) return error_set(error, VIVA_E_ARGUMENT, "engine is NULL; open one with viva_engine_open");
  if (!config)
    return error_set(error, VIVA_E_ARGUMENT, "config is NULL; begin with viva_model_config_default or a file's");
  if (!given) return error_set(error, VIVA_E_ARGUMENT, "parts is NULL; begin with viva_model_parts_default");
  TRY(options_read(&parts, given, "viva_model_parts", error));
  if (!parts.layers)
    return error_set(error, VIVA_E_ARGUMENT, "layers is NULL; expected config->num_layers structs, each with its size");
  viva_model *m = mem_zalloc(&engine->rt->mem, sizeof *m);
  if (!m) return error_set(error, VIVA_E_MEMORY, "no memory for a model");
  m->references = 1;
  m->engine = viva_engine_retain(engine);
  m->config = viva_model_config_default();
  maker k = {.model = m, .engine = engine, .layers = parts.layers, .layer_bytes = parts.layers->size};
  viva_status status = options_read(&m->config, config, "viva_model_config", error);
  if (!status) status = fill(&k, &parts, options, error);
  m->part_count = k.part_count;
  mem_free(&engine->rt->mem, k.vectors);
  if (status)
    viva_model_release(m);
  else
    *model = m;
  return status;
}
