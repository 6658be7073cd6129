/* GGUF metadata as a configuration: what is read, what is derived, and what is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "format/gguf/gguf_build.h"
#include "format/gguf/gguf_open.h"

enum { F32_ID = 0 };

/* One way to write a value: its type and its bytes. */
typedef struct encoded {
  const char *what;
  uint32_t type;
  size_t bytes;
  uint8_t data[24];
} encoded;

/* A change of the base model: key is replaced (or added) by value, or left out when value is NULL. */
typedef struct change {
  const char *key;
  const encoded *value;
} change;

static encoded as_u32(uint32_t number) {
  encoded e = {"u32", GGUF_U32, 4, {0}};
  memcpy(e.data, &number, 4);
  return e;
}

static encoded as_f32(float number) {
  encoded e = {"f32", GGUF_F32, 4, {0}};
  memcpy(e.data, &number, 4);
  return e;
}

static encoded as_text(const char *text) {
  uint64_t length = strlen(text);
  encoded e = {"string", GGUF_STRING, 8 + strlen(text), {0}};
  memcpy(e.data, &length, 8);
  memcpy(e.data + 8, text, strlen(text));
  return e;
}

typedef struct base_integer {
  const char *key;
  uint32_t value;
} base_integer;

static const base_integer base_integers[] = {
    {"block_count", 2},           {"context_length", 512},     {"embedding_length", 64},
    {"feed_forward_length", 96},  {"attention.head_count", 4}, {"attention.head_count_kv", 2},
    {"rope.dimension_count", 16},
};

typedef struct model {
  const char *architecture;
  const change *changes;
  size_t change_count;
  const char *const *extra_tensors; /* one-dimensional, of 16 values */
  size_t extra_count;
} model;

/* Writes the key with its base value, unless it is changed. */
static void write_value(gguf_build *b, const model *m, const char *key, encoded base) {
  const encoded *value = &base;
  for (size_t i = 0; i < m->change_count; i++) {
    if (strcmp(m->changes[i].key, key) == 0) value = m->changes[i].value;
  }
  if (value == NULL) return;
  gb_key(b, key, value->type);
  gb_raw(b, value->data, value->bytes);
}

static int in_base(const char *key) {
  const char *suffix = strchr(key, '.') + 1;
  for (size_t i = 0; i < sizeof base_integers / sizeof *base_integers; i++) {
    if (strcmp(base_integers[i].key, suffix) == 0) return 1;
  }
  static const char *const others[] = {"general.architecture", "attention.layer_norm_rms_epsilon", "rope.freq_base",
                                       "tokenizer.ggml.eos_token_id"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (strcmp(others[i], key) == 0 || strcmp(others[i], suffix) == 0) return 1;
  }
  return 0;
}

static void write_model(gguf_build *b, const model *m) {
  char key[96];
  gb_begin(b);
  write_value(b, m, "general.architecture", as_text(m->architecture));
  for (size_t i = 0; i < sizeof base_integers / sizeof *base_integers; i++) {
    snprintf(key, sizeof key, "%s.%s", m->architecture, base_integers[i].key);
    write_value(b, m, key, as_u32(base_integers[i].value));
  }
  snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", m->architecture);
  write_value(b, m, key, as_f32(1e-5f));
  snprintf(key, sizeof key, "%s.rope.freq_base", m->architecture);
  write_value(b, m, key, as_f32(50000));
  write_value(b, m, "tokenizer.ggml.eos_token_id", as_u32(7));
  for (size_t i = 0; i < m->change_count; i++) {
    if (m->changes[i].value != NULL && !in_base(m->changes[i].key)) write_value(b, m, m->changes[i].key, as_u32(0));
  }
  static const uint64_t embedding[2] = {64, 10}, vector[1] = {16};
  gb_tensor(b, "token_embd.weight", 2, embedding, F32_ID, 0);
  for (size_t i = 0; i < m->extra_count; i++) {
    gb_tensor(b, m->extra_tensors[i], 1, vector, F32_ID, 64 * 10 * 4 + i * 64);
  }
  gb_end(b, 64 * 10 * 4 + m->extra_count * 64);
}

static viva_status configure(const model *m, viva_model_config *config, viva_error *error) {
  static gguf_build b;
  viva_checkpoint *ck;
  write_model(&b, m);
  gguf_world w = world_open(NULL);
  assert_int_equal(world_load(&w, b.bytes, b.at, &ck, error), VIVA_OK);
  viva_status status = gguf_config(ck, config, error);
  viva_checkpoint_close(ck);
  world_close(&w);
  return status;
}

static viva_status configure_one(const char *architecture, const char *key, const encoded *value,
                                 viva_model_config *config, viva_error *error) {
  change c = {key, value};
  model m = {.architecture = architecture, .changes = &c, .change_count = 1};
  *error = (viva_error){0};
  return configure(&m, config, error);
}

static void test_base_model(void **state) {
  (void)state;
  viva_model_config c;
  model m = {.architecture = "llama"};
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_string_equal(c.architecture, "llama");
  assert_string_equal(c.model_type, "llama");
  assert_true(c.hidden_size == 64 && c.intermediate_size == 96 && c.num_layers == 2 && c.num_heads == 4);
  assert_true(c.num_kv_heads == 2 && c.head_dim == 16 && c.rotary_dim == 16 && c.vocab_size == 10);
  assert_true(c.max_position_embeddings == 512 && c.sliding_window == 0);
  assert_true((float)c.rms_norm_eps == 1e-5f && c.rope_theta == 50000 && c.rope_type == VIVA_ROPE_DEFAULT);
  assert_true(c.tie_word_embeddings && !c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.qk_norm && c.permuted_qk);
  assert_true(c.bos_token == -1 && c.num_eos == 1 && c.eos_tokens[0] == 7);
}

static void test_what_the_tensors_say(void **state) {
  (void)state;
  static const char *const tensors[] = {"output.weight", "blk.0.attn_q.bias", "blk.0.attn_output.bias",
                                        "blk.0.ffn_gate.bias"};
  viva_model_config c;
  model m = {.architecture = "qwen2", .extra_tensors = tensors, .extra_count = 4};
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_string_equal(c.model_type, "qwen2");
  assert_true(!c.tie_word_embeddings && c.qkv_bias && c.o_bias && c.mlp_bias && !c.qk_norm && !c.permuted_qk);
  m = (model){.architecture = "qwen3"};
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_true(c.qk_norm && !c.permuted_qk);
  static const char *const norm[] = {"blk.0.attn_q_norm.weight"};
  viva_error error = {0};
  m = (model){.architecture = "llama", .extra_tensors = norm, .extra_count = 1};
  assert_int_equal(configure(&m, &c, &error), VIVA_E_UNSUPPORTED);
  assert_string_equal(error.item, "blk.0.attn_q_norm.weight");
}

static void test_optional_keys_and_their_defaults(void **state) {
  (void)state;
  viva_model_config c;
  viva_error error;
  encoded number = as_u32(32), text = as_text("tiny \xff");
  assert_int_equal(configure_one("llama", "llama.attention.head_count_kv", NULL, &c, &error), VIVA_OK);
  assert_int_equal(c.num_kv_heads, 4);
  assert_int_equal(configure_one("llama", "llama.rope.dimension_count", NULL, &c, &error), VIVA_OK);
  assert_int_equal(c.rotary_dim, 16);
  assert_int_equal(configure_one("llama", "llama.rope.freq_base", NULL, &c, &error), VIVA_OK);
  assert_true(c.rope_theta == 10000);
  assert_int_equal(configure_one("llama", "llama.attention.key_length", &number, &c, &error), VIVA_OK);
  assert_int_equal(c.head_dim, 32);
  assert_int_equal(configure_one("llama", "llama.attention.sliding_window", &number, &c, &error), VIVA_OK);
  assert_int_equal(c.sliding_window, 32);
  assert_int_equal(configure_one("llama", "llama.attention.value_length", &number, &c, &error), VIVA_E_UNSUPPORTED);
  assert_string_equal(error.item, "llama.attention.value_length");
  assert_int_equal(configure_one("llama", "general.name", &text, &c, &error), VIVA_OK);
  assert_string_equal(c.name, "tiny \\xff");
  assert_int_equal(configure_one("llama", "tokenizer.ggml.eos_token_id", NULL, &c, &error), VIVA_OK);
  assert_int_equal(c.num_eos, 0);
}

static void test_end_tokens_are_joined(void **state) {
  (void)state;
  encoded eot = as_u32(9), eom = as_u32(7), bos = as_u32(0);
  const change changes[] = {{"tokenizer.ggml.eot_token_id", &eot},
                            {"tokenizer.ggml.eom_token_id", &eom}, /* the end token again */
                            {"tokenizer.ggml.bos_token_id", &bos}};
  viva_model_config c;
  model m = {.architecture = "llama", .changes = changes, .change_count = 3};
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_true(c.num_eos == 2 && c.eos_tokens[0] == 7 && c.eos_tokens[1] == 9 && c.bos_token == 0);
}

static void test_scalings_of_positions(void **state) {
  (void)state;
  encoded linear = as_text("linear"), yarn = as_text("yarn"), none = as_text("none"), four = as_f32(4);
  encoded original = as_u32(128), fast = as_f32(16), half = as_f32(0.5f);
  viva_model_config c;
  viva_error error;
  change changes[5] = {{"llama.rope.scaling.type", &linear}, {"llama.rope.scaling.factor", &four}};
  model m = {.architecture = "llama", .changes = changes, .change_count = 2};
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_true(c.rope_type == VIVA_ROPE_LINEAR && c.rope_factor == 4);
  changes[0].value = &none;
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_int_equal(c.rope_type, VIVA_ROPE_DEFAULT);
  assert_int_equal(configure_one("llama", "llama.rope.scaling.factor", &four, &c, &error), VIVA_OK);
  assert_int_equal(c.rope_type, VIVA_ROPE_LINEAR);
  assert_int_equal(configure_one("llama", "llama.rope.scale_linear", &four, &c, &error), VIVA_OK);
  assert_true(c.rope_type == VIVA_ROPE_LINEAR && c.rope_factor == 4);
  changes[0].value = &yarn;
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_true(c.rope_type == VIVA_ROPE_YARN && c.rope_factor == 4 && c.rope_original_context == 512);
  assert_true(c.rope_beta_fast == 32 && c.rope_beta_slow == 1 && c.rope_truncate == 1);
  assert_true(c.rope_attention_factor == 0.1 * log(4) + 1);
  changes[2] = (change){"llama.rope.scaling.original_context_length", &original};
  changes[3] = (change){"llama.rope.scaling.yarn_beta_fast", &fast};
  changes[4] = (change){"llama.rope.scaling.attn_factor", &half};
  m.change_count = 5;
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_true(c.rope_original_context == 128 && c.rope_beta_fast == 16);
  assert_true(c.rope_attention_factor == 0.5 * (0.1 * log(4) + 1));
  assert_int_equal(configure_one("llama", "llama.rope.scaling.yarn_log_multiplier", &half, &c, &error),
                   VIVA_E_UNSUPPORTED);
}

/* Per-layer arrays: equal elements are one value. */
static void test_arrays_for_the_layers(void **state) {
  (void)state;
  encoded equal = {"array", GGUF_ARRAY, 20, {GGUF_U32, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}};
  encoded empty = {"array", GGUF_ARRAY, 12, {GGUF_U32}};
  viva_model_config c;
  viva_error error;
  assert_int_equal(configure_one("llama", "llama.attention.head_count_kv", &equal, &c, &error), VIVA_OK);
  assert_int_equal(c.num_kv_heads, 1);
  equal.data[16] = 2;
  assert_int_equal(configure_one("llama", "llama.attention.head_count_kv", &equal, &c, &error), VIVA_E_UNSUPPORTED);
  assert_string_equal(error.item, "llama.attention.head_count_kv");
  assert_int_equal(configure_one("llama", "llama.attention.head_count_kv", &empty, &c, &error), VIVA_E_FORMAT);
}

static const encoded odd_values[] = {
    {"u32 0", GGUF_U32, 4, {0}},
    {"i32 -1", GGUF_I32, 4, {0xff, 0xff, 0xff, 0xff}},
    {"u32 1", GGUF_U32, 4, {1}},
    {"u32 2^31-1", GGUF_U32, 4, {0xff, 0xff, 0xff, 0x7f}},
    {"u64 2^32", GGUF_U64, 8, {0, 0, 0, 0, 1}},
    {"u64 2^64-1", GGUF_U64, 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {"f64 1e308", GGUF_F64, 8, {0xa0, 0xc8, 0xeb, 0x85, 0xf3, 0xcc, 0xe1, 0x7f}},
    {"f32 NaN", GGUF_F32, 4, {0, 0, 0xc0, 0x7f}},
    {"bool", GGUF_BOOL, 1, {1}},
    {"string x", GGUF_STRING, 9, {1, 0, 0, 0, 0, 0, 0, 0, 'x'}},
    {"empty array", GGUF_ARRAY, 12, {GGUF_U32}},
};

/* reliability.md A19. Each value either gives a configuration that keeps every rule, or is refused at its key. */
static void test_matrix_of_odd_values(void **state) {
  (void)state;
  size_t refused = 0;
  for (size_t k = 0; k < sizeof base_integers / sizeof *base_integers; k++) {
    char key[64];
    snprintf(key, sizeof key, "llama.%s", base_integers[k].key);
    for (size_t v = 0; v < sizeof odd_values / sizeof *odd_values; v++) {
      viva_model_config c;
      viva_error error;
      viva_status status = configure_one("llama", key, &odd_values[v], &c, &error);
      if (status != VIVA_OK) {
        refused++;
        if (strncmp(error.item, "llama.", 6) != 0) print_message("%s = %s: %s\n", key, odd_values[v].what, error.item);
        assert_true(strncmp(error.item, "llama.", 6) == 0);
        assert_int_equal(status, VIVA_E_FORMAT);
        continue;
      }
      assert_true(c.num_heads > 0 && c.num_kv_heads > 0 && c.hidden_size % c.num_heads == 0);
      assert_true(c.num_heads % c.num_kv_heads == 0 && c.head_dim % 2 == 0 && c.rotary_dim <= c.head_dim);
      assert_true(c.num_layers > 0 && c.intermediate_size > 0 && c.max_position_embeddings > 0);
    }
  }
  assert_true(refused > 60);
}

static void test_required_keys(void **state) {
  (void)state;
  static const char *const required[] = {"llama.block_count",          "llama.context_length",
                                         "llama.embedding_length",     "llama.feed_forward_length",
                                         "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"};
  for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
    viva_model_config c;
    viva_error error;
    assert_int_equal(configure_one("llama", required[i], NULL, &c, &error), VIVA_E_FORMAT);
    assert_string_equal(error.item, required[i]);
    assert_non_null(strstr(error.message, "missing"));
  }
}

static void test_unknown_effects_are_refused_by_name(void **state) {
  (void)state;
  static const char *const keys[] = {"llama.expert_count", "llama.logit_scale", "llama.attention.scale",
                                     "llama.final_logit_softcapping"};
  encoded off = as_u32(0), on = as_f32(2);
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    viva_model_config c;
    viva_error error;
    assert_int_equal(configure_one("llama", keys[i], &off, &c, &error), VIVA_OK);
    assert_int_equal(configure_one("llama", keys[i], &on, &c, &error), VIVA_E_UNSUPPORTED);
    assert_string_equal(error.item, keys[i]);
  }
}

/* Another architecture: what is there is filled in, whatever its kind; nothing is refused. */
static void test_other_architectures_are_described(void **state) {
  (void)state;
  viva_model_config c;
  viva_error error;
  encoded text = as_text("x"), token = as_u32(99), longrope = as_text("longrope");
  model m = {.architecture = "gemma3"};
  assert_int_equal(configure(&m, &c, NULL), VIVA_OK);
  assert_string_equal(c.architecture, "gemma3");
  assert_string_equal(c.model_type, "");
  assert_true(c.hidden_size == 64 && c.num_layers == 2 && c.num_kv_heads == 2);
  assert_int_equal(configure_one("gemma3", "gemma3.embedding_length", &text, &c, &error), VIVA_OK);
  assert_int_equal(c.hidden_size, 0);
  assert_int_equal(configure_one("gemma3", "gemma3.block_count", NULL, &c, &error), VIVA_OK);
  assert_int_equal(configure_one("gemma3", "gemma3.rope.scaling.type", &longrope, &c, &error), VIVA_OK);
  assert_int_equal(configure_one("gemma3", "tokenizer.ggml.eos_token_id", &token, &c, &error), VIVA_OK);
  assert_int_equal(c.num_eos, 0);
  assert_int_equal(configure_one("llama", "general.architecture", NULL, &c, &error), VIVA_OK);
  assert_string_equal(c.architecture, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_base_model),
      cmocka_unit_test(test_what_the_tensors_say),
      cmocka_unit_test(test_optional_keys_and_their_defaults),
      cmocka_unit_test(test_end_tokens_are_joined),
      cmocka_unit_test(test_scalings_of_positions),
      cmocka_unit_test(test_arrays_for_the_layers),
      cmocka_unit_test(test_matrix_of_odd_values),
      cmocka_unit_test(test_required_keys),
      cmocka_unit_test(test_unknown_effects_are_refused_by_name),
      cmocka_unit_test(test_other_architectures_are_described),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
