/* A model made of handles is the model that a weights rule gives, bit for bit; handles outlive models; refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"
#include "model/model.h"

enum { LAYERS = 6, COUNT = 24 };

static const small_model small = {.model_type = "qwen3",
                                  .hidden = 72,
                                  .ffn = 148,
                                  .layers = LAYERS,
                                  .heads = 4,
                                  .kv_heads = 2,
                                  .head_dim = 18,
                                  .vocab = 60,
                                  .untied = 1,
                                  .attention_bias = 1};
static const small_model biased = {.hidden = 72,
                                   .ffn = 148,
                                   .layers = LAYERS,
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .head_dim = 18,
                                   .vocab = 60,
                                   .untied = 1,
                                   .dtype = VIVA_BF16,
                                   .attention_bias = 1,
                                   .mlp_bias = 1};

/* One format for each layer. */
static const char rule[] = "fp8,layers.1=fp8-b32,layers.2=int8-24,layers.3=int4-24,layers.4=nvfp4,layers.5=bf16,"
                           "lm_head=fp8-b16";

/* Everything viva_model_from_parts takes, from a model loaded as F32. */
typedef struct parts {
  viva_model_config config;
  viva_packed_weight *embedding, *head;
  viva_layer_parts layers[LAYERS];
  viva_tensor *vectors[LAYERS * 11 + 1];
  size_t vector_count;
  viva_tensor *final_norm;
} parts;

static viva_packed_weight *weight_of(const viva_model *model, uint64_t number, int projection) {
  viva_packed_weight *w;
  viva_error error = {0};
  kit_ok(viva_model_weight(model, number, (viva_projection)projection, &w, &error), &error);
  return w;
}

/* The matrix as FP32, in a tensor of its own. */
static viva_tensor *values_of(const viva_model *model, uint64_t number, int projection) {
  viva_packed_weight *w = weight_of(model, number, projection);
  viva_packed_info info = {.size = sizeof info};
  viva_error error = {0};
  viva_tensor *t;
  kit_ok(viva_packed_weight_info(w, &info, &error), &error);
  uint64_t shape[2] = {info.out_features, info.in_features};
  kit_ok(viva_tensor_create(viva_packed_weight_engine(w), VIVA_F32, 2, shape, &t, &error), &error);
  kit_ok(viva_packed_weight_unpack(w, viva_tensor_elements(t), (size_t)(shape[0] * shape[1]), &error), &error);
  viva_packed_weight_release(w);
  return t;
}

static viva_packed_weight *pack(const viva_model *exact, uint64_t number, int projection, uint64_t format) {
  viva_tensor *t = values_of(exact, number, projection);
  viva_packed_weight *w = NULL;
  viva_error error = {0};
  viva_engine *e = exact->engine;
  viva_status status = VIVA_E_ARGUMENT;
  switch (format) {
  case 0: status = viva_prepack_fp8_weight(e, t, NULL, &w, &error); break;
  case 1: status = viva_prepack_fp8_weight_blocked(e, t, 32, NULL, &w, &error); break;
  case 2: status = viva_prepack_int8_sparse_24_weight(e, t, NULL, &w, &error); break;
  case 3: status = viva_prepack_int4_sparse_24_weight(e, t, NULL, &w, &error); break;
  case 4: status = viva_prepack_nvfp4_weight(e, t, NULL, &w, &error); break;
  case 5: status = viva_prepack_dense(e, t, VIVA_BF16, NULL, &w, &error); break;
  default: status = viva_prepack_fp8_weight_blocked(e, t, 16, NULL, &w, &error); break;
  }
  kit_ok(status, &error);
  viva_tensor_release(t);
  return w;
}

static viva_tensor *vector(parts *p, viva_engine *engine, const float *values, uint64_t n) {
  viva_tensor *t = NULL;
  viva_error error = {0};
  if (!values) return NULL;
  kit_ok(viva_tensor_create(engine, VIVA_F32, 1, &n, &t, &error), &error);
  memcpy(viva_tensor_elements(t), values, n * sizeof *values);
  return p->vectors[p->vector_count++] = t;
}

static void parts_begin(parts *p, const viva_model *exact) {
  viva_engine *e = exact->engine;
  *p = (parts){.config = exact->config};
  const viva_model_config *c = &p->config;
  uint64_t q = c->num_heads * c->head_dim, kv = c->num_kv_heads * c->head_dim;
  p->embedding = pack(exact, 0, VIVA_PROJ_EMBEDDING, 5);
  p->head = pack(exact, 0, VIVA_PROJ_HEAD, 6);
  p->final_norm = vector(p, e, exact->dec.output_norm, c->hidden_size);
  for (size_t l = 0; l < LAYERS; l++) {
    const decoder_layer *from = &exact->dec.layers[l];
    p->layers[l] = (viva_layer_parts){.size = sizeof *p->layers,
                                      .q = pack(exact, l, VIVA_PROJ_Q, l),
                                      .k = pack(exact, l, VIVA_PROJ_K, l),
                                      .v = pack(exact, l, VIVA_PROJ_V, l),
                                      .o = pack(exact, l, VIVA_PROJ_O, l),
                                      .gate = pack(exact, l, VIVA_PROJ_GATE, l),
                                      .up = pack(exact, l, VIVA_PROJ_UP, l),
                                      .down = pack(exact, l, VIVA_PROJ_DOWN, l),
                                      .attention_norm = vector(p, e, from->attention_norm, c->hidden_size),
                                      .mlp_norm = vector(p, e, from->mlp_norm, c->hidden_size),
                                      .q_bias = vector(p, e, from->q_bias, q),
                                      .k_bias = vector(p, e, from->k_bias, kv),
                                      .v_bias = vector(p, e, from->v_bias, kv),
                                      .o_bias = vector(p, e, from->o_bias, c->hidden_size),
                                      .gate_bias = vector(p, e, from->gate_bias, c->intermediate_size),
                                      .up_bias = vector(p, e, from->up_bias, c->intermediate_size),
                                      .down_bias = vector(p, e, from->down_bias, c->hidden_size),
                                      .q_norm = vector(p, e, from->q_norm, c->head_dim),
                                      .k_norm = vector(p, e, from->k_norm, c->head_dim)};
  }
}

static void parts_end(parts *p) {
  viva_packed_weight_release(p->embedding);
  viva_packed_weight_release(p->head);
  for (size_t l = 0; l < LAYERS; l++) {
    viva_layer_parts *x = &p->layers[l];
    viva_packed_weight *all[] = {x->q, x->k, x->v, x->o, x->gate, x->up, x->down};
    for (size_t i = 0; i < 7; i++) viva_packed_weight_release(all[i]);
  }
  for (size_t i = 0; i < p->vector_count; i++) viva_tensor_release(p->vectors[i]);
}

static viva_status make(viva_engine *engine, const parts *p, viva_activation_mode act, viva_model **model,
                        viva_error *error) {
  viva_parts_options o = viva_parts_options_default();
  o.act = act;
  const viva_model_parts all = {
      .size = sizeof all, .embedding = p->embedding, .layers = p->layers, .final_norm = p->final_norm, .head = p->head};
  return viva_model_from_parts(engine, &p->config, &all, &o, model, error);
}

static float *logits_of(viva_model *model) {
  viva_error error = {0};
  viva_token tokens[COUNT];
  size_t vocab = (size_t)model->config.vocab_size;
  float *out = calloc(COUNT * vocab, sizeof *out);
  kit_tokens(tokens, COUNT, vocab, 9);
  viva_session *session = kit_session(model, 0, 0, VIVA_DTYPE_NONE);
  viva_prefill_options o = viva_prefill_options_default();
  o.all_logits = out;
  o.all_logits_count = COUNT * vocab;
  kit_ok(viva_session_prefill(session, tokens, COUNT, &o, &error), &error);
  viva_session_free(session);
  return out;
}

typedef struct setup {
  kit k;
  parts p;
} setup;

static void begin(setup *s, const small_model *of) {
  kit_begin(&s->k, 2, VIVA_KERNELS_AUTO);
  small_model_put(s->k.io, "/m", of);
  viva_model_options o = viva_model_options_default();
  o.weights = "f32";
  viva_model *exact = kit_load(&s->k, "/m", &o);
  parts_begin(&s->p, exact);
  viva_model_release(exact);
}

static void end(setup *s) {
  parts_end(&s->p);
  kit_end(&s->k);
}

static void equals_the_rule_of(const small_model *of) {
  static const viva_activation_mode acts[] = {VIVA_ACT_16, VIVA_ACT_FP8, VIVA_ACT_INT8};
  setup s;
  begin(&s, of);
  for (size_t a = 0; a < 3; a++) {
    viva_model_options o = viva_model_options_default();
    viva_error error = {0};
    viva_model *made;
    o.weights = rule;
    o.act = acts[a];
    viva_model *loaded = kit_load(&s.k, "/m", &o);
    kit_ok(make(s.k.engine, &s.p, acts[a], &made, &error), &error);
    float *x = logits_of(loaded), *y = logits_of(made);
    assert_memory_equal(x, y, COUNT * small.vocab * sizeof *x);
    assert_int_equal(viva_model_act(made), acts[a]);
    assert_int_equal(made->plan.parameters, loaded->plan.parameters);
    assert_string_equal(viva_model_description(made), viva_model_description(loaded));
    free(x);
    free(y);
    viva_model_release(loaded);
    viva_model_release(made);
  }
  end(&s);
}

static void equals_the_rule(void **state) {
  (void)state;
  equals_the_rule_of(&small);
  equals_the_rule_of(&biased);
}

static void handles_outlive_their_model(void **state) {
  (void)state;
  setup s;
  begin(&s, &small);
  viva_error error = {0};
  viva_model_options o = viva_model_options_default();
  o.weights = rule;
  viva_model *loaded = kit_load(&s.k, "/m", &o), *made;
  kit_ok(make(s.k.engine, &s.p, VIVA_ACT_AUTO, &made, &error), &error);
  viva_packed_weight *a = weight_of(loaded, 4, VIVA_PROJ_DOWN), *b = weight_of(made, 4, VIVA_PROJ_DOWN);
  viva_model_release(loaded);
  viva_model_release(made);
  size_t count = small.hidden * small.ffn;
  float *x = calloc(count, sizeof *x), *y = calloc(count, sizeof *y);
  kit_ok(viva_packed_weight_unpack(a, x, count, &error), &error);
  kit_ok(viva_packed_weight_unpack(b, y, count, &error), &error);
  assert_memory_equal(x, y, count * sizeof *x);
  free(x);
  free(y);
  viva_packed_weight_release(a);
  viva_packed_weight_release(b);
  end(&s);
}

/* The model keeps its parts: the caller may give its handles back at once. */
static void parts_are_retained(void **state) {
  (void)state;
  setup s;
  begin(&s, &small);
  viva_error error = {0};
  viva_model *made;
  kit_ok(make(s.k.engine, &s.p, VIVA_ACT_AUTO, &made, &error), &error);
  float *x = logits_of(made);
  parts_end(&s.p);
  float *y = logits_of(made);
  assert_memory_equal(x, y, COUNT * small.vocab * sizeof *x);
  free(x);
  free(y);
  viva_model_release(made);
  kit_end(&s.k);
}

static void weight_refusals(void **state) {
  (void)state;
  kit k;
  viva_error error = {0};
  viva_packed_weight *w = (viva_packed_weight *)&k;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  kit_error(viva_model_weight(model, 99, VIVA_PROJ_Q, &w, &error), VIVA_E_ARGUMENT, &error,
            "layer: layer is 99, but the model has");
  assert_null(w);
  kit_error(viva_model_weight(model, 1, VIVA_PROJ_HEAD, &w, &error), VIVA_E_ARGUMENT, &error, "the head have layer 0");
  kit_error(viva_model_weight(model, 0, (viva_projection)9, &w, &error), VIVA_E_ARGUMENT, &error, "projection is 9");
  kit_error(viva_model_weight(model, 0, (viva_projection)-1, &w, &error), VIVA_E_ARGUMENT, &error, "projection is -1");
  kit_error(viva_model_weight(NULL, 0, VIVA_PROJ_Q, &w, &error), VIVA_E_ARGUMENT, &error, "model is NULL");
  kit_error(viva_model_weight(model, 0, VIVA_PROJ_Q, NULL, &error), VIVA_E_ARGUMENT, &error, "place for the handle");
  viva_model_release(model);
  kit_end(&k);
}

/* A copy of the parts with one change must be refused. */
#define REFUSED(change, code, text)                                                                                    \
  do {                                                                                                                 \
    parts p = s.p;                                                                                                     \
    viva_error error = {0};                                                                                            \
    viva_model *model = (viva_model *)&p;                                                                              \
    change;                                                                                                            \
    kit_error(make(s.k.engine, &p, act, &model, &error), code, &error, text);                                          \
    assert_null(model);                                                                                                \
  } while (0)

static void part_refusals(void **state) {
  (void)state;
  setup s;
  begin(&s, &small);
  viva_activation_mode act = VIVA_ACT_AUTO;
  kit other;
  kit_begin(&other, 1, VIVA_KERNELS_AUTO);
  small_model_put(other.io, "/m", &small);
  viva_model *elsewhere = kit_load(&other, "/m", NULL);
  viva_packed_weight *foreign = weight_of(elsewhere, 0, VIVA_PROJ_UP);

  REFUSED(p.layers[3].down = p.layers[3].up, VIVA_E_SIZE,
          "layers[3].down: layer 3, down is [148, 72], but the configuration gives [72, 148]");
  REFUSED(p.layers[2].k = p.layers[2].q, VIVA_E_SIZE, "layer 2, k is [72, 72], but the configuration gives [36, 72]");
  REFUSED(p.layers[5].o = NULL, VIVA_E_ARGUMENT, "layers[5].o: layer 5, o is NULL");
  REFUSED(p.layers[1].up = foreign, VIVA_E_ARGUMENT, "layers[1].up: layer 1, up belongs to another engine");
  REFUSED(p.layers[0].q_bias = NULL, VIVA_E_ARGUMENT, "layer 0, q_bias is NULL, but the configuration has it");
  REFUSED(p.config.qkv_bias = 0, VIVA_E_ARGUMENT, "q_bias is given, but the configuration has none");
  REFUSED(p.layers[4].mlp_norm = p.layers[4].q_norm, VIVA_E_SIZE,
          "layer 4, mlp_norm is [18], but the configuration gives [72]");
  REFUSED(p.layers[2].size = 8, VIVA_E_ARGUMENT, "layers[2].size: size is 8, but that of layers[0] is");
  REFUSED(p.layers[0].size = 0, VIVA_E_ARGUMENT, "size");
  REFUSED(p.final_norm = NULL, VIVA_E_ARGUMENT, "final_norm is NULL");
  REFUSED(p.embedding = p.head, VIVA_E_DTYPE, "embedding: the embedding is packed");
  REFUSED(p.embedding = NULL, VIVA_E_ARGUMENT, "embedding is NULL");
  REFUSED(p.head = NULL, VIVA_E_ARGUMENT, "head: head is NULL, but config says that it is not tied");
  REFUSED(p.head = p.layers[0].up, VIVA_E_SIZE, "head is [148, 72]");
  REFUSED(p.config.permuted_qk = 1, VIVA_E_ARGUMENT, "permuted_qk: permuted_qk must be 0");
  REFUSED(p.config.num_heads = 5, VIVA_E_ARGUMENT, "num_kv_heads: num_heads 5 is not a multiple of num_kv_heads 2");
  REFUSED(p.config.num_eos = 17, VIVA_E_ARGUMENT, "num_eos: num_eos is 17; expected 0 to 16");
  REFUSED(p.config.model_type[0] = 0, VIVA_E_ARGUMENT, "config names no family");
  REFUSED(memset(p.config.model_type, 'x', sizeof p.config.model_type), VIVA_E_ARGUMENT, "xxx\" cannot be run");
  REFUSED(strcpy(p.config.model_type, "gpt2"), VIVA_E_ARGUMENT,
          "model_type: \"gpt2\" cannot be run; the families that can are llama, mistral");
  REFUSED(p.config.rope_type = (viva_rope_type)77, VIVA_E_ARGUMENT, "rope_type: rope_type is 77; expected 0");
  REFUSED(p.config.rope_type = (viva_rope_type)-1, VIVA_E_ARGUMENT, "rope_type: rope_type is -1; expected 0");
  REFUSED((p.config.num_eos = 1, p.config.eos_tokens[0] = -5), VIVA_E_ARGUMENT,
          "eos_tokens[0]: eos_tokens[0] is -5; expected a token below vocab_size, 60");
  REFUSED((p.config.num_eos = 2, p.config.eos_tokens[0] = 59, p.config.eos_tokens[1] = 60), VIVA_E_ARGUMENT,
          "eos_tokens[1]: eos_tokens[1] is 60; expected");
  REFUSED(p.config.bos_token = 60, VIVA_E_ARGUMENT, "bos_token: bos_token is 60; expected -1 (none) or");
  REFUSED(p.config.bos_token = -2, VIVA_E_ARGUMENT, "bos_token: bos_token is -2; expected -1 (none) or");
  REFUSED(p.config.size = 8, VIVA_E_ARGUMENT, "config");
  act = VIVA_ACT_INT4;
  REFUSED((void)p, VIVA_E_ARGUMENT, "act: the activations of a model");
  viva_error error = {0};
  viva_model *model;
  viva_model_parts all = viva_model_parts_default();
  all.embedding = s.p.embedding, all.final_norm = s.p.final_norm;
  kit_error(viva_model_from_parts(s.k.engine, &s.p.config, NULL, NULL, &model, &error), VIVA_E_ARGUMENT, &error,
            "parts is NULL; begin with viva_model_parts_default");
  kit_error(viva_model_from_parts(s.k.engine, &s.p.config, &all, NULL, &model, &error), VIVA_E_ARGUMENT, &error,
            "layers is NULL; expected config->num_layers structs");
  kit_error(viva_model_from_parts(s.k.engine, NULL, &all, NULL, &model, &error), VIVA_E_ARGUMENT, &error,
            "config is NULL; begin with viva_model_config_default");
  kit_error(viva_model_from_parts(NULL, &s.p.config, &all, NULL, &model, &error), VIVA_E_ARGUMENT, &error,
            "engine is NULL; open one");

  viva_packed_weight_release(foreign);
  viva_model_release(elsewhere);
  kit_end(&other);
  end(&s);
}

/* What a caller who has no file writes: the defaults and the sizes. */
static viva_model_config by_hand(const small_model *of) {
  viva_model_config c = viva_model_config_default();
  c.hidden_size = of->hidden, c.intermediate_size = of->ffn, c.num_layers = of->layers;
  c.num_heads = of->heads, c.num_kv_heads = of->kv_heads, c.head_dim = c.rotary_dim = of->head_dim;
  c.vocab_size = of->vocab;
  c.qkv_bias = c.o_bias = of->attention_bias, c.mlp_bias = of->mlp_bias;
  return c;
}

static void config_from_the_header_alone(void **state) {
  (void)state;
  setup s;
  begin(&s, &biased);
  viva_error error = {0};
  viva_model *from_file, *from_hand;
  s.p.config.bos_token = -1, s.p.config.num_eos = 0;
  kit_ok(make(s.k.engine, &s.p, VIVA_ACT_AUTO, &from_file, &error), &error);
  const viva_model_config file = s.p.config, hand = s.p.config = by_hand(&biased);
  assert_true(hand.size == sizeof hand && hand.bos_token == -1 && hand.num_eos == 0);
  assert_string_equal(hand.model_type, "llama");
  assert_true(hand.rms_norm_eps == 1e-6 && hand.rope_theta == 10000 && hand.max_position_embeddings == 2048);
  s.p.config.rms_norm_eps = file.rms_norm_eps, s.p.config.rope_theta = file.rope_theta;
  kit_ok(make(s.k.engine, &s.p, VIVA_ACT_AUTO, &from_hand, &error), &error);
  float *x = logits_of(from_file), *y = logits_of(from_hand);
  assert_memory_equal(x, y, COUNT * biased.vocab * sizeof *x);
  free(x);
  free(y);
  viva_model_release(from_file);
  viva_model_release(from_hand);
  end(&s);
}

/* Members that a RoPE type uses are checked, the others may hold anything: here 0, which is out of every range. */
static void rope_members_are_checked_where_used(void **state) {
  static const struct {
    const char *member;
    size_t field;
    unsigned types; /* bits of those that use it */
  } members[] = {
#define ROPE(name, types) {#name, offsetof(viva_model_config, name), types}
      ROPE(rope_factor,
           1u << VIVA_ROPE_LINEAR | 1u << VIVA_ROPE_DYNAMIC | 1u << VIVA_ROPE_LLAMA3 | 1u << VIVA_ROPE_YARN),
      ROPE(rope_low_freq_factor, 1u << VIVA_ROPE_LLAMA3),
      ROPE(rope_high_freq_factor, 1u << VIVA_ROPE_LLAMA3),
      ROPE(rope_beta_fast, 1u << VIVA_ROPE_YARN),
      ROPE(rope_beta_slow, 1u << VIVA_ROPE_YARN),
      ROPE(rope_attention_factor, 1u << VIVA_ROPE_YARN),
#undef ROPE
  };
  (void)state;
  setup s;
  begin(&s, &biased);
  for (int type = VIVA_ROPE_DEFAULT; type <= VIVA_ROPE_YARN; type++) {
    const int scaled = type == VIVA_ROPE_LLAMA3 || type == VIVA_ROPE_YARN;
    for (size_t i = 0; i <= sizeof members / sizeof *members; i++) { /* the last: the original context */
      viva_error error = {0};
      viva_model *model;
      viva_model_config *c = &s.p.config;
      *c = by_hand(&biased);
      c->rope_type = (viva_rope_type)type;
      c->rope_original_context = scaled ? 512 : 0;
      const int last = i == sizeof members / sizeof *members,
                used = last ? scaled : (int)(members[i].types >> type & 1);
      const char *member = last ? "rope_original_context" : members[i].member;
      memset((char *)c + (last ? offsetof(viva_model_config, rope_original_context) : members[i].field), 0, 8);
      const viva_status status = make(s.k.engine, &s.p, VIVA_ACT_AUTO, &model, &error);
      if (status != (used ? VIVA_E_ARGUMENT : VIVA_OK)) fail_msg("type %d, %s: %s", type, member, error.message);
      if (used) assert_string_equal(error.item, member);
      viva_model_release(model);
    }
  }
  end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_the_rule),
                                     cmocka_unit_test(handles_outlive_their_model),
                                     cmocka_unit_test(parts_are_retained),
                                     cmocka_unit_test(weight_refusals),
                                     cmocka_unit_test(part_refusals),
                                     cmocka_unit_test(config_from_the_header_alone),
                                     cmocka_unit_test(rope_members_are_checked_where_used)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
