#include "lib/small_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "number/number.h"

typedef struct text {
  char *data;
  size_t bytes, room;
} text;

typedef struct writer {
  const small_model *s;
  text header, data;
  uint64_t random;
} writer;

static void add(text *t, const void *data, size_t bytes) {
  if (t->room - t->bytes < bytes) {
    t->room = (t->bytes + bytes) * 2;
    t->data = realloc(t->data, t->room);
    if (!t->data) abort();
  }
  memcpy(t->data + t->bytes, data, bytes);
  t->bytes += bytes;
}

/* Uniform in (−1.7, 1.7): variance about 1. */
static float next_value(writer *w) {
  w->random = w->random * 6364136223846793005u + 1442695040888963407u;
  return ((float)(w->random >> 40) / (float)(1 << 23) - 1.0f) * 1.7f;
}

static int is(const char *name, const char *other) { return other && strcmp(name, other) == 0; }

static void add_value(text *data, float value, viva_dtype dtype) {
  uint16_t code = dtype == VIVA_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
  if (dtype == VIVA_BF16 || dtype == VIVA_F16)
    add(data, &code, sizeof code);
  else
    add(data, &value, sizeof value);
}

/* A vector has rows 0. */
static void tensor(writer *w, const char *name, size_t rows, size_t cols, float mean, float spread) {
  const small_model *s = w->s;
  viva_dtype dtype = rows && s->dtype ? s->dtype : VIVA_F32;
  size_t begin = w->data.bytes, count = (rows ? rows : 1) * cols;
  char row[256], shape[64];
  if (is(name, s->turned)) {
    size_t swap = rows;
    rows = cols;
    cols = swap;
  }
  for (size_t i = 0; i < count; i++) {
    float value = mean + spread * next_value(w);
    add_value(&w->data, i == 0 && is(name, s->poked) ? s->poke : value, dtype);
  }
  if (is(name, s->leave_out)) { /* after its values were drawn: the other tensors stay the same */
    w->data.bytes = begin;
    return;
  }
  if (rows)
    snprintf(shape, sizeof shape, "%zu,%zu", rows, cols);
  else
    snprintf(shape, sizeof shape, "%zu", cols);
  int length = snprintf(row, sizeof row, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                        w->header.bytes > 1 ? "," : "", name, viva_dtype_name(dtype), shape, begin, w->data.bytes);
  add(&w->header, row, (size_t)length);
}

static void layer(writer *w, const small_model *d, size_t number) {
  char name[96];
  int prefix = snprintf(name, sizeof name, "model.layers.%zu.", number);
  size_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim;
  int qwen2 = is("qwen2", d->model_type), qwen3 = is("qwen3", d->model_type);
#define T(suffix, rows, cols, mean, spread)                                                                            \
  snprintf(name + prefix, sizeof name - (size_t)prefix, suffix), tensor(w, name, rows, cols, mean, spread)
  T("input_layernorm.weight", 0, d->hidden, 1, 0.1f);
  T("self_attn.q_proj.weight", q, d->hidden, 0, 0.5f);
  T("self_attn.k_proj.weight", kv, d->hidden, 0, 0.5f);
  T("self_attn.v_proj.weight", kv, d->hidden, 0, 0.5f);
  T("self_attn.o_proj.weight", d->hidden, q, 0, 0.4f);
  T("post_attention_layernorm.weight", 0, d->hidden, 1, 0.1f);
  T("mlp.gate_proj.weight", d->ffn, d->hidden, 0, 0.5f);
  T("mlp.up_proj.weight", d->ffn, d->hidden, 0, 0.5f);
  T("mlp.down_proj.weight", d->hidden, d->ffn, 0, 0.4f);
  if (d->attention_bias || qwen2) {
    T("self_attn.q_proj.bias", 0, q, 0, 0.3f);
    T("self_attn.k_proj.bias", 0, kv, 0, 0.3f);
    T("self_attn.v_proj.bias", 0, kv, 0, 0.3f);
  }
  if (d->attention_bias) T("self_attn.o_proj.bias", 0, d->hidden, 0, 0.3f);
  if (d->mlp_bias) {
    T("mlp.gate_proj.bias", 0, d->ffn, 0, 0.3f);
    T("mlp.up_proj.bias", 0, d->ffn, 0, 0.3f);
    T("mlp.down_proj.bias", 0, d->hidden, 0, 0.3f);
  }
  if (qwen3) {
    T("self_attn.q_norm.weight", 0, d->head_dim, 1, 0.1f);
    T("self_attn.k_norm.weight", 0, d->head_dim, 1, 0.1f);
  }
#undef T
}

static void put_config(memory_io *m, const char *path, const small_model *d) {
  static const struct {
    const char *type, *architecture;
  } families[] = {{"llama", "LlamaForCausalLM"},
                  {"mistral", "MistralForCausalLM"},
                  {"qwen2", "Qwen2ForCausalLM"},
                  {"qwen3", "Qwen3ForCausalLM"}};
  const char *architecture = "StrangeForCausalLM";
  char config[2048];
  for (size_t i = 0; i < sizeof families / sizeof *families; i++)
    if (is(d->model_type, families[i].type)) architecture = families[i].architecture;
  snprintf(
      config, sizeof config,
      "{\"architectures\":[\"%s\"],\"model_type\":\"%s\",\"hidden_size\":%zu,\"intermediate_size\":%zu,"
      "\"num_hidden_layers\":%zu,\"num_attention_heads\":%zu,\"num_key_value_heads\":%zu,\"head_dim\":%zu,"
      "\"vocab_size\":%zu,\"max_position_embeddings\":%zu,\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\","
      "\"attention_bias\":%s,\"mlp_bias\":%s,\"tie_word_embeddings\":%s,%s\"eos_token_id\":2}", /* of a key that stands twice the later counts */
      architecture, d->model_type, d->hidden, d->ffn, d->layers, d->heads, d->kv_heads, d->head_dim, d->vocab,
      d->context, d->attention_bias ? "true" : "false", d->mlp_bias ? "true" : "false", d->untied ? "false" : "true",
      d->config ? d->config : "");
  memory_io_put_text(m, path, config);
}

static void complete(small_model *d) {
  if (!d->model_type) d->model_type = "llama";
  if (!d->hidden) d->hidden = 16;
  if (!d->ffn) d->ffn = 24;
  if (!d->layers) d->layers = 2;
  if (!d->heads) d->heads = 4;
  if (!d->kv_heads) d->kv_heads = 2;
  if (!d->head_dim) d->head_dim = 8;
  if (!d->vocab) d->vocab = 40;
  if (!d->context) d->context = 64;
}

void small_model_put(memory_io *m, const char *folder, const small_model *s) {
  small_model d = *s;
  complete(&d);
  writer w = {.s = &d, .random = d.seed * 77 + 1};
  char path[256];
  add(&w.header, "{", 1);
  tensor(&w, "model.embed_tokens.weight", d.vocab, d.hidden, 0, 1);
  uint64_t after = w.random;
  if (d.tied_head == 1) w.random = d.seed * 77 + 1; /* the embedding's values again */
  if (d.untied || d.tied_head) tensor(&w, "lm_head.weight", d.vocab, d.hidden, 0, 1);
  w.random = after;
  for (size_t l = 0; l < d.layers; l++) layer(&w, &d, l);
  tensor(&w, "model.norm.weight", 0, d.hidden, 1, 0.1f);
  if (d.extra) tensor(&w, d.extra, 0, 1, 1, 0);
  add(&w.header, "}", 1);
  while (w.header.bytes % 8) add(&w.header, " ", 1);
  text file = {0};
  uint64_t length = w.header.bytes;
  add(&file, &length, sizeof length);
  add(&file, w.header.data, w.header.bytes);
  add(&file, w.data.data, w.data.bytes);
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  memory_io_put(m, path, file.data, file.bytes);
  snprintf(path, sizeof path, "%s/config.json", folder);
  put_config(m, path, &d);
  free(file.data);
  free(w.header.data);
  free(w.data.data);
}

void small_model_copy(memory_io *m, const char *path, const char *from) {
  const char *root = getenv("VIVA_SOURCE_DIR");
  char source[1024];
  snprintf(source, sizeof source, "%s/%s", root ? root : ".", from);
  FILE *file = fopen(source, "rb");
  if (!file) abort();
  text t = {0};
  char part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;) add(&t, part, n);
  fclose(file);
  memory_io_put(m, path, t.data, t.bytes);
  free(t.data);
}
