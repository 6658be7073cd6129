/* bench_shape.c: models of a known shape with random weights. */
#include "bench_shape.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "messages.h"
#include "progress.h"

typedef struct shape {
  const char *name;
  uint64_t hidden, ffn, layers, heads, kv_heads, head_dim, vocab;
} shape;

static const shape shapes[] = {
    {"none", 0, 0, 0, 0, 0, 0, 0},
    {"tinyllama", 2048, 5632, 22, 32, 4, 64, 32000},
    {"llama3.2-1b", 2048, 8192, 16, 32, 8, 64, 128256},
    {"llama3-8b", 4096, 14336, 32, 32, 8, 128, 128256},
    {"llama3-70b", 8192, 28672, 80, 64, 8, 128, 128256},
    {"llama3-70b-layer", 8192, 28672, 1, 64, 8, 128, 1024},
};

/* ---- random values: one run of them serves every matrix, each from another place */

#define SPARE 65536 /* floats behind the largest matrix */

typedef struct maker {
  const model_args *args;
  viva_engine *engine;
  float *values;
  size_t count; /* of the largest matrix */
  size_t next;
  viva_tensor *norm; /* ones [hidden] */
} maker;

static int fill(maker *m) {
  uint64_t state = 88172645463325252u;
  m->values = malloc((m->count + SPARE) * sizeof *m->values);
  if (m->values == NULL) return 0;
  for (size_t i = 0; i < m->count + SPARE; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    m->values[i] = ((float)(state >> 40) * 0x1p-23f - 1) * 0.03f;
  }
  return 1;
}

static viva_status pack(maker *m, const char *format, uint64_t rows, uint64_t cols, viva_packed_weight **packed,
                        viva_error *error) {
  const uint64_t both[2] = {rows, cols};
  viva_tensor *t = NULL;
  m->next = (m->next + 7919 * 16) % SPARE;
  viva_status status =
      viva_tensor_wrap(m->engine, m->values + m->next, m->count * sizeof(float), VIVA_F32, 2, both, &t, error);
  if (status == VIVA_OK) status = viva_prepack(m->engine, t, format, NULL, packed, error);
  viva_tensor_release(t);
  return status;
}

/* ---- the model */

static viva_model_config config_of(const shape *s, const model_args *args) {
  viva_model_config c = viva_model_config_default();
  c.hidden_size = s->hidden;
  c.intermediate_size = s->ffn;
  c.num_layers = args->num_layers && args->num_layers < s->layers ? args->num_layers : s->layers;
  c.num_heads = s->heads;
  c.num_kv_heads = s->kv_heads;
  c.head_dim = c.rotary_dim = s->head_dim;
  c.vocab_size = s->vocab;
  c.max_position_embeddings = 131072;
  return c;
}

static viva_status make_layer(maker *m, const viva_model_config *c, const char *format, viva_layer_parts *l,
                              viva_error *error) {
  const uint64_t q = c->num_heads * c->head_dim, kv = c->num_kv_heads * c->head_dim;
  const struct {
    viva_packed_weight **part;
    uint64_t rows, cols;
  } parts[] = {{&l->q, q, c->hidden_size},
               {&l->k, kv, c->hidden_size},
               {&l->v, kv, c->hidden_size},
               {&l->o, c->hidden_size, q},
               {&l->gate, c->intermediate_size, c->hidden_size},
               {&l->up, c->intermediate_size, c->hidden_size},
               {&l->down, c->hidden_size, c->intermediate_size}};
  l->size = sizeof *l;
  l->attention_norm = l->mlp_norm = m->norm;
  viva_status status = VIVA_OK;
  for (size_t i = 0; i < sizeof parts / sizeof *parts && status == VIVA_OK; i++)
    status = pack(m, format, parts[i].rows, parts[i].cols, parts[i].part, error);
  return status;
}

static void release_layer(viva_layer_parts *l) {
  enum { PARTS = 7 };
  viva_packed_weight *parts[PARTS] = {l->q, l->k, l->v, l->o, l->gate, l->up, l->down};
  for (size_t i = 0; i < PARTS; i++) viva_packed_weight_release(parts[i]);
}

static viva_status make_norm(maker *m, uint64_t hidden, viva_error *error) {
  viva_status status = viva_tensor_create(m->engine, VIVA_F32, 1, &hidden, &m->norm, error);
  if (status != VIVA_OK) return status;
  float *ones = viva_tensor_elements(m->norm);
  for (uint64_t i = 0; i < hidden; i++) ones[i] = 1;
  return VIVA_OK;
}

static viva_status make_model(maker *m, const viva_model_config *c, viva_layer_parts *layers, viva_model **model,
                              viva_error *error) {
  static const viva_activation_mode act[] = {VIVA_ACT_AUTO, VIVA_ACT_16, VIVA_ACT_FP8, VIVA_ACT_INT8};
  static const viva_dtype kv[] = {VIVA_F16, VIVA_F32, VIVA_E4M3};
  const char *format = m->args->weights ? m->args->weights : "bf16";
  viva_packed_weight *embedding = NULL, *head = NULL;
  viva_parts_options options = viva_parts_options_default();
  progress bar;
  options.act = act[m->args->act];
  options.kv = kv[m->args->kv];
  options.decode = (viva_decode_path)m->args->decode; /* the words are in the order of the enum */
  options.context = m->args->context;
  progress_start(&bar, "making", m->args->quiet);
  viva_status status = make_norm(m, c->hidden_size, error);
  if (status == VIVA_OK) status = pack(m, "bf16", c->vocab_size, c->hidden_size, &embedding, error);
  if (status == VIVA_OK) status = pack(m, format, c->vocab_size, c->hidden_size, &head, error);
  for (uint64_t i = 0; i < c->num_layers && status == VIVA_OK; i++) {
    status = make_layer(m, c, format, &layers[i], error);
    progress_update(&bar, i + 1, c->num_layers, "");
  }
  viva_model_parts parts = viva_model_parts_default();
  parts.embedding = embedding;
  parts.layers = layers;
  parts.final_norm = m->norm;
  parts.head = head;
  if (status == VIVA_OK) status = viva_model_from_parts(m->engine, c, &parts, &options, model, error);
  progress_end(&bar);
  for (uint64_t i = 0; i < c->num_layers; i++) release_layer(&layers[i]);
  viva_packed_weight_release(embedding);
  viva_packed_weight_release(head);
  viva_tensor_release(m->norm);
  return status;
}

static viva_status make(const model_args *args, const shape *s, loaded *what, viva_error *error) {
  const viva_model_config c = config_of(s, args);
  const uint64_t widest = s->ffn > s->vocab ? s->ffn : s->vocab;
  maker m = {.args = args, .engine = what->engine, .count = (size_t)(widest * s->hidden)};
  viva_layer_parts *layers = calloc(c.num_layers, sizeof *layers);
  viva_status status = VIVA_E_MEMORY;
  *error = (viva_error){.code = VIVA_E_MEMORY, .offset = VIVA_NO_OFFSET, .message = "no memory for random weights"};
  if (layers != NULL && fill(&m)) status = make_model(&m, &c, layers, &what->model, error);
  free(m.values);
  free(layers);
  return status;
}

int bench_shape_open(const model_args *args, int number, loaded *what) {
  viva_error error = {0};
  memset(what, 0, sizeof *what);
  int32_t devices[COUNT_LIST_MAX];
  viva_engine_options engine_options = model_args_engine(args, devices);
  double start = progress_clock();
  what->device.size = sizeof what->device;
  what->plan.size = sizeof what->plan;
  viva_status status = viva_engine_open(&engine_options, &what->engine, &error);
  if (status == VIVA_OK) status = viva_engine_info(what->engine, &what->device, &error);
  if (status == VIVA_OK) status = make(args, &shapes[number], what, &error);
  if (status == VIVA_OK) status = viva_model_get_plan(what->model, &what->plan, &error);
  what->seconds = progress_clock() - start;
  if (status != VIVA_OK) {
    model_close(what);
    message_rename(&error, "format", "--weights");
    return message_error(&error);
  }
  what->weights = args->weights ? args->weights : "bf16";
  what->act = args->act == 2 ? "fp8" : args->act == 3 ? "int8" : "16";
  return 0;
}
