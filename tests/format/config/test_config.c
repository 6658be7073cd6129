/* config.json: every field as transformers resolves it, every broken value refused at its key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <math.h>

#include "base/num.h"
#include "format/config/config.h"
#include "format/safetensors/st_open.h"
#include "lib/fail_alloc.h"

typedef struct field {
  const char *name;
  size_t offset;
  char kind; /* u: uint64_t, d: double, i: int32_t, s: text */
} field;

#define FIELD(name, kind)                                                                                              \
  { #name, offsetof(viva_model_config, name), kind }

static const field fields[] = {
    FIELD(architecture, 's'),
    FIELD(model_type, 's'),
    FIELD(hidden_size, 'u'),
    FIELD(intermediate_size, 'u'),
    FIELD(num_layers, 'u'),
    FIELD(num_heads, 'u'),
    FIELD(num_kv_heads, 'u'),
    FIELD(head_dim, 'u'),
    FIELD(rotary_dim, 'u'),
    FIELD(vocab_size, 'u'),
    FIELD(max_position_embeddings, 'u'),
    FIELD(sliding_window, 'u'),
    FIELD(sliding_from_layer, 'u'),
    FIELD(rms_norm_eps, 'd'),
    FIELD(rope_theta, 'd'),
    FIELD(rope_type, 'i'),
    FIELD(rope_truncate, 'i'),
    FIELD(rope_factor, 'd'),
    FIELD(rope_low_freq_factor, 'd'),
    FIELD(rope_high_freq_factor, 'd'),
    FIELD(rope_beta_fast, 'd'),
    FIELD(rope_beta_slow, 'd'),
    FIELD(rope_attention_factor, 'd'),
    FIELD(rope_original_context, 'u'),
    FIELD(tie_word_embeddings, 'i'),
    FIELD(qkv_bias, 'i'),
    FIELD(o_bias, 'i'),
    FIELD(mlp_bias, 'i'),
    FIELD(qk_norm, 'i'),
    FIELD(permuted_qk, 'i'),
    FIELD(bos_token, 'i'),
    FIELD(num_eos, 'i'),
    {"eos_tokens[0]", offsetof(viva_model_config, eos_tokens), 'i'},
    {"eos_tokens[1]", offsetof(viva_model_config, eos_tokens) + sizeof(viva_token), 'i'},
};

static viva_status parse(const char *text, viva_model_config *config, viva_error *error) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_status status = config_parse(rt, "config.json", text, strlen(text), NULL, NULL, 0, config, error);
  runtime_release(rt);
  return status;
}

/* "name value" of the golden file against the configuration. */
static void check_line(const char *file, const viva_model_config *config, const char *name, const char *value) {
  const field *f = fields;
  while (f < fields + sizeof fields / sizeof *fields && strcmp(f->name, name) != 0) f++;
  if (f == fields + sizeof fields / sizeof *fields) fail_msg("%s: no field %s", file, name);
  const char *place = (const char *)config + f->offset;
  double expected = 0, found = 0;
  uint64_t u;
  int32_t i;
  if (f->kind == 's') {
    assert_string_equal(place, value);
    return;
  }
  assert_int_equal(num_double(value, strlen(value), &expected), 0);
  if (f->kind == 'd') memcpy(&found, place, sizeof found);
  if (f->kind == 'u') memcpy(&u, place, sizeof u), found = (double)u;
  if (f->kind == 'i') memcpy(&i, place, sizeof i), found = (double)i;
  /* both sides compute in doubles; logarithms of two C libraries may differ in the last bit */
  if (fabs(found - expected) > 1e-15 * fabs(expected))
    fail_msg("%s: %s is %.17g, expected %s", file, name, found, value);
}

static void check_golden(const char *name) {
  char other[256];
  size_t bytes, expected_bytes, lines = 0;
  viva_model_config config;
  viva_error error = {0};
  char *text = (char *)source_file("tests/golden/config", name, &bytes);
  snprintf(other, sizeof other, "%.*s.txt", (int)(strlen(name) - 5), name);
  char *expected = (char *)source_file("tests/golden/config", other, &expected_bytes), *rest = expected, *line;
  assert_non_null(expected);
  text[bytes] = expected[expected_bytes] = 0;
  if (parse(text, &config, &error) != VIVA_OK) fail_msg("%s: %s: %s", name, error.item, error.message);
  for (; (line = strsep(&rest, "\n")) != NULL && *line != 0; lines++) {
    char *key = strsep(&line, " ");
    check_line(name, &config, key, line);
  }
  assert_true(lines >= 32);
  free(text);
  free(expected);
}

/* What transformers 5.23 makes of 41 configurations of the four families (tests/mk/mkgolden_hf.py). */
static void test_equals_transformers(void **state) {
  (void)state;
  char folder[1024];
  size_t count = 0;
  snprintf(folder, sizeof folder, "%s/tests/golden/config", getenv("VIVA_SOURCE_DIR"));
  DIR *names = opendir(folder);
  assert_non_null(names);
  for (struct dirent *entry; (entry = readdir(names)) != NULL;) {
    if (strstr(entry->d_name, ".json") == NULL) continue;
    check_golden(entry->d_name);
    count++;
  }
  closedir(names);
  assert_true(count >= 40);
}

#define SIZES                                                                                                          \
  "\"hidden_size\":64,\"intermediate_size\":128,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_"    \
  "heads\":2,"                                                                                                         \
  "\"vocab_size\":256"
#define LLAMA "\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\"," SIZES

static void check_hostile(const char *name, const char *status_name, const char *fragment) {
  size_t bytes;
  viva_error error = {0};
  viva_model_config config;
  uint8_t *data = source_file("tests/hostile/config", name, &bytes);
  assert_non_null(data);
  gguf_world w = world_open(NULL);
  double start = st_now_ms();
  viva_status status = config_parse(w.rt, name, (const char *)data, bytes, NULL, NULL, 0, &config, &error);
  st_check_refusal(&w, name, status, &error, status_name, fragment, st_now_ms() - start, bytes);
  world_close(&w);
  free(data);
}

static void test_every_hostile_file_is_refused(void **state) {
  (void)state;
  assert_true(st_each_hostile("config", check_hostile) >= 150);
}

/* Refused values are refused without anybody to tell, too. */
static void test_errors_are_optional(void **state) {
  (void)state;
  viva_model_config config;
  assert_int_equal(parse("{" LLAMA ",\"head_dim\":17}", &config, NULL), VIVA_E_FORMAT);
  assert_int_equal(parse("{" LLAMA ",\"head_dim\":\"x\"}", &config, NULL), VIVA_E_FORMAT);
  assert_int_equal(parse("{" LLAMA, &config, NULL), VIVA_E_FORMAT);
}

static void test_place_of_an_error(void **state) {
  (void)state;
  viva_model_config config;
  viva_error error = {0};
  const char *text = "{" LLAMA ",\"head_dim\":17}";
  assert_int_equal(parse(text, &config, &error), VIVA_E_FORMAT);
  assert_string_equal(error.file, "config.json");
  assert_string_equal(error.item, "head_dim");
  assert_int_equal(error.offset, strstr(text, "17") - text);
  text = "{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":[]}}";
  assert_int_equal(parse(text, &config, &error), VIVA_E_FORMAT);
  assert_string_equal(error.item, "factor");
  assert_int_equal(error.offset, strstr(text, "[]") - text);
}

/* A model that viva cannot run: what is there is filled in, what is odd is left out, nothing is refused. */
static void test_other_architectures(void **state) {
  (void)state;
  viva_model_config c;
  assert_int_equal(parse("{\"architectures\":[\"Gemma3ForCausalLM\"],\"model_type\":\"gemma3_text\"," SIZES
                         ",\"head_dim\":\"odd\",\"hidden_act\":\"gelu\",\"rms_norm_eps\":1e-6,\"eos_token_id\":[1,106],"
                         "\"bos_token_id\":2}",
                         &c, NULL),
                   VIVA_OK);
  assert_string_equal(c.architecture, "Gemma3ForCausalLM");
  assert_string_equal(c.model_type, "");
  assert_int_equal(c.hidden_size, 64);
  assert_int_equal(c.head_dim, 16);
  assert_int_equal(c.num_eos, 2);
  assert_int_equal(c.eos_tokens[1], 106);
  assert_int_equal(c.bos_token, 2);
  assert_int_equal(parse("{}", &c, NULL), VIVA_OK);
  assert_string_equal(c.architecture, "");
  assert_int_equal(c.hidden_size, 0);
  assert_int_equal(c.bos_token, -1);
  assert_int_equal(c.size, sizeof c);
  /* the task must be the model's, and the family one of ours */
  static const char *const others[] = {
      "{\"architectures\":[\"LlamaForSequenceClassification\"],\"model_type\":\"llama\"," SIZES "}",
      "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"mixtral\"," SIZES "}",
      "{\"architectures\":[\"MixtralForCausalLM\"]," SIZES "}",
      "{\"architectures\":[\"x\\u0001y\"]}",
      "{\"model_type\":\"Llama\"}",
      "{\"architectures\":[],\"model_type\":\"\"}",
  };
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    assert_int_equal(parse(others[i], &c, NULL), VIVA_OK);
    assert_string_equal(c.model_type, "");
  }
  char long_name[300] = "{\"architectures\":[\"";
  memset(long_name + strlen(long_name), 'L', 200);
  strcpy(long_name + strlen("{\"architectures\":[\"") + 200, "\"]}");
  assert_int_equal(parse(long_name, &c, NULL), VIVA_OK);
  assert_int_equal(strlen(c.architecture), sizeof c.architecture - 1);
  assert_non_null(strstr(config_supported(), "qwen3"));
}

/* model_type decides, whatever architectures says, as in transformers' AutoModelForCausalLM. */
static void test_family_by_model_type(void **state) {
  (void)state;
  static const char *const spellings[] = {"LLaMAForCausalLM", "LlamaModel", "MistralForCausalLM", "x"};
  viva_model_config c;
  for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
    char text[1024];
    snprintf(text, sizeof text, "{\"architectures\":[\"%s\"],\"model_type\":\"llama\"," SIZES "}", spellings[i]);
    assert_int_equal(parse(text, &c, NULL), VIVA_OK);
    assert_string_equal(c.model_type, "llama");
    assert_string_equal(c.architecture, spellings[i]);
  }
}

/* Missing, null and -1 are three spellings of "none", and an id that no token has is left out. */
static void test_unset_values(void **state) {
  (void)state;
#define WIDTHS                                                                                                         \
  "\"hidden_size\":64,\"intermediate_size\":128,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"vocab_size\":256"
  static const char *const none[] = {"null", "-1"};
  viva_model_config c;
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    char text[1024];
    snprintf(text, sizeof text,
             "{\"model_type\":\"llama\"," WIDTHS ",\"num_key_value_heads\":%s,\"head_dim\":%s,\"sliding_window\":%s,"
             "\"bos_token_id\":%s,\"eos_token_id\":%s}",
             none[i], none[i], none[i], none[i], none[i]);
    assert_int_equal(parse(text, &c, NULL), VIVA_OK);
    assert_int_equal(c.num_kv_heads, c.num_heads);
    assert_int_equal(c.head_dim, c.hidden_size / c.num_heads);
    assert_int_equal(c.bos_token, -1);
    assert_int_equal(c.num_eos, 0);
  }
  assert_int_equal(parse("{\"model_type\":\"llama\"," SIZES ",\"tie_word_embeddings\":null,\"rms_norm_eps\":null,"
                         "\"max_position_embeddings\":null,\"bos_token_id\":4294967295,\"eos_token_id\":[1,999999,-1]}",
                         &c, NULL),
                   VIVA_OK);
  assert_int_equal(c.tie_word_embeddings, 0);
  assert_true(c.rms_norm_eps == 1e-6);
  assert_int_equal(c.max_position_embeddings, 2048);
  assert_int_equal(c.bos_token, -1);
  assert_int_equal(c.num_eos, 1);
  assert_int_equal(c.eos_tokens[0], 1);
}

#define WIDTH28                                                                                                        \
  "{\"model_type\":\"llama\",\"hidden_size\":28,\"intermediate_size\":48,\"num_hidden_layers\":1,"                     \
  "\"num_attention_heads\":6,\"num_key_value_heads\":2,\"vocab_size\":8"

/* A head_dim of the file's own divides nothing; one that follows from the width must. */
static void test_head_dim(void **state) {
  (void)state;
  viva_model_config c;
  viva_error error = {0};
  assert_int_equal(parse(WIDTH28 ",\"head_dim\":8}", &c, NULL), VIVA_OK);
  assert_int_equal(c.head_dim, 8);
  assert_int_equal(parse(WIDTH28 "}", &c, &error), VIVA_E_FORMAT);
  assert_non_null(strstr(error.message, "not a multiple of num_attention_heads 6"));
}

/* Without architectures the model_type decides; a task list may have more entries. */
static void test_family_by_one_key(void **state) {
  (void)state;
  viva_model_config c;
  assert_int_equal(parse("{\"model_type\":\"qwen3\"," SIZES "}", &c, NULL), VIVA_OK);
  assert_string_equal(c.model_type, "qwen3");
  assert_string_equal(c.architecture, "qwen3");
  assert_int_equal(c.head_dim, 128);
  assert_int_equal(parse("{\"architectures\":[\"LlamaForCausalLM\",7]," SIZES "}", &c, NULL), VIVA_OK);
  assert_string_equal(c.model_type, "llama");
  assert_int_equal(parse("{\"architectures\":null,\"model_type\":\"llama\"," SIZES "}", &c, NULL), VIVA_OK);
}

static void test_partial_rotation(void **state) {
  (void)state;
  viva_model_config c;
  assert_int_equal(parse("{" LLAMA ",\"partial_rotary_factor\":0.5}", &c, NULL), VIVA_OK);
  assert_int_equal(c.rotary_dim, 8);
  assert_int_equal(
      parse("{" LLAMA ",\"partial_rotary_factor\":0.5,\"rope_parameters\":{\"partial_rotary_factor\":0.25}}", &c, NULL),
      VIVA_OK);
  assert_int_equal(c.rotary_dim, 4);
}

/* rope_parameters may be given for each kind of layer; equal ones are one. */
static void test_nested_rope(void **state) {
  (void)state;
  viva_model_config c;
#define INNER "{\"rope_type\":\"linear\",\"factor\":4.0,\"rope_theta\":5000.0}"
  assert_int_equal(
      parse("{" LLAMA ",\"rope_parameters\":{\"full_attention\":" INNER ",\"sliding_attention\":" INNER "}}", &c, NULL),
      VIVA_OK);
  assert_int_equal(c.rope_type, VIVA_ROPE_LINEAR);
  assert_true(c.rope_factor == 4.0 && c.rope_theta == 5000.0);
  assert_int_equal(
      parse("{" LLAMA ",\"rope_parameters\":{\"sliding_attention\":" INNER ",\"full_attention\":null}}", &c, NULL),
      VIVA_OK);
  assert_true(c.rope_theta == 5000.0);
  assert_int_equal(parse("{" LLAMA ",\"rope_theta\":7000,\"rope_parameters\":{}}", &c, NULL), VIVA_OK);
  assert_true(c.rope_theta == 7000.0 && c.rope_type == VIVA_ROPE_DEFAULT);
#undef INNER
}

static void count_warning(void *user, viva_log_level level, const char *message) {
  assert_int_equal(level, VIVA_LOG_WARN);
  assert_true(strstr(message, "ignored") != NULL || strstr(message, "left out") != NULL);
  ++*(int *)user;
}

/* Both spellings: the new one counts, and a contradiction is said. */
static void test_contradicting_spellings(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int warnings;
    double theta;
    viva_rope_type type;
  } cases[] = {
      {"\"rope_theta\":5000,\"rope_parameters\":{\"rope_theta\":6000.0}", 1, 6000, VIVA_ROPE_DEFAULT},
      {"\"rope_theta\":6000,\"rope_parameters\":{\"rope_theta\":6000.0}", 0, 6000, VIVA_ROPE_DEFAULT},
      {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0},\"rope_parameters\":{\"rope_type\":\"default\"}", 1,
       10000, VIVA_ROPE_DEFAULT},
      {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0},\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":"
       "2}",
       0, 10000, VIVA_ROPE_LINEAR},
      {"\"rope_scaling\":null,\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2}", 0, 10000, VIVA_ROPE_LINEAR},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[600];
    int warnings = 0;
    viva_model_config c;
    snprintf(text, sizeof text, "{%s,%s}", LLAMA, cases[i].text);
    runtime *rt = runtime_create(NULL, NULL, count_warning, &warnings, VIVA_LOG_WARN);
    assert_int_equal(config_parse(rt, "c", text, strlen(text), NULL, NULL, 0, &c, NULL), VIVA_OK);
    runtime_release(rt);
    assert_int_equal(warnings, cases[i].warnings);
    assert_true(c.rope_theta == cases[i].theta);
    assert_int_equal(c.rope_type, cases[i].type);
  }
}

/* generation_config.json's end tokens come first, each once. */
static void test_generation_config(void **state) {
  (void)state;
  static const struct {
    const char *generation;
    int count, tokens[3];
  } cases[] = {
      {"{\"eos_token_id\":[9,2],\"temperature\":0.6,\"eos\":3}", 2, {9, 2}},
      {"{\"eos_token_id\":7}", 2, {7, 2}},
      {"{\"eos_token_id\":null}", 1, {2}},
      {"{}", 1, {2}},
      {"{\"eos_token_id\":[5,6,5]}", 3, {5, 6, 2}},
  };
  const char *text = "{" LLAMA ",\"eos_token_id\":2}";
  viva_model_config c;
  viva_error error = {0};
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *g = cases[i].generation;
    assert_int_equal(config_parse(rt, "c", text, strlen(text), "g", g, strlen(g), &c, NULL), VIVA_OK);
    assert_int_equal(c.num_eos, cases[i].count);
    for (int t = 0; t < cases[i].count; t++) assert_int_equal(c.eos_tokens[t], cases[i].tokens[t]);
  }
  runtime_release(rt);
  /* A broken one is told and left out, whole. */
  static const char *const broken[] = {"{\"eos_token_id\":\"x\"}", "{\"eos_token_id\":[9,1.5]}",
                                       "{\"eos_token_id\":",       "[]",
                                       "{\"eos_token_id\":{}}",    ""};
  int warnings = 0;
  rt = runtime_create(NULL, NULL, count_warning, &warnings, VIVA_LOG_WARN);
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
    assert_int_equal(config_parse(rt, "c", text, strlen(text), "g", broken[i], strlen(broken[i]), &c, &error), VIVA_OK);
    assert_int_equal(warnings, i + 1);
    assert_int_equal(c.num_eos, 1);
    assert_int_equal(c.eos_tokens[0], 2);
  }
  runtime_release(rt);
}

static void test_beside_the_weights(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  viva_model_config c = {.size = sizeof c};
  st_put_golden(&w, "empty.safetensors", ST_PATH);
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(viva_checkpoint_config(ck, &c, &error), VIVA_E_NOT_FOUND);
  assert_string_equal(error.file, "/m/config.json");
  memory_io_put_text(w.io, "/m/config.json", "{" LLAMA ",\"eos_token_id\":2}");
  assert_int_equal(viva_checkpoint_config(ck, &c, &error), VIVA_OK);
  assert_int_equal(c.hidden_size, 64);
  assert_int_equal(c.num_eos, 1);
  memory_io_put_text(w.io, "/m/generation_config.json", "{\"eos_token_id\":3}");
  assert_int_equal(viva_checkpoint_config(ck, &c, &error), VIVA_OK);
  assert_int_equal(c.num_eos, 2);
  memory_io_put_text(w.io, "/m/generation_config.json", "{");
  assert_int_equal(viva_checkpoint_config(ck, &c, &error), VIVA_OK);
  assert_int_equal(c.num_eos, 1);
  assert_int_equal(viva_checkpoint_config(NULL, &c, &error), VIVA_E_ARGUMENT);
  memory_io_put_text(w.io, "/m/generation_config.json", "{}");
  assert_int_equal(viva_checkpoint_config(ck, NULL, &error), VIVA_E_ARGUMENT);
  c.size = 1;
  assert_int_equal(viva_checkpoint_config(ck, &c, &error), VIVA_E_ARGUMENT);
  viva_checkpoint_close(ck);
  world_close(&w);
}

/* A configuration is small: a file that is not is not read, and opening goes on without it. */
static void test_too_large(void **state) {
  (void)state;
  const size_t bytes = ((size_t)16 << 20) + 1;
  char *large = calloc(bytes, 1);
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_error error = {0};
  viva_model_config c = {.size = sizeof c};
  st_put_golden(&w, "empty.safetensors", ST_PATH);
  memory_io_put(w.io, "/m/config.json", large, bytes);
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(viva_checkpoint_metadata_count(ck), 0);
  assert_int_equal(viva_checkpoint_config(ck, &c, &error), VIVA_E_LIMIT);
  assert_string_equal(error.file, "/m/config.json");
  assert_true(w.rt->mem.peak < bytes);
  viva_checkpoint_close(ck);
  world_close(&w);
  free(large);
}

/* A client with a shorter struct gets what it knows. */
static void test_shorter_struct(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  viva_model_config c;
  memset(&c, 0x55, sizeof c);
  c.size = offsetof(viva_model_config, intermediate_size);
  st_put_golden(&w, "empty.safetensors", ST_PATH);
  memory_io_put_text(w.io, "/m/config.json", "{" LLAMA "}");
  assert_int_equal(checkpoint_open(w.rt, ST_PATH, VIVA_LOAD_READ, &ck, NULL), VIVA_OK);
  assert_int_equal(viva_checkpoint_config(ck, &c, NULL), VIVA_OK);
  assert_int_equal(c.hidden_size, 64);
  assert_int_equal(c.intermediate_size, 0x5555555555555555u);
  assert_int_equal(c.size, offsetof(viva_model_config, intermediate_size));
  viva_checkpoint_close(ck);
  world_close(&w);
}

/* Every truncation and every changed byte of a configuration: refused or read, nothing else. */
static void test_every_truncation_and_change(void **state) {
  (void)state;
  char text[] = "{" LLAMA ",\"eos_token_id\":[2,3],\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4.0,"
                "\"original_max_position_embeddings\":128},\"layer_types\":[\"full_attention\",\"full_attention\"]}";
  const size_t bytes = sizeof text - 1;
  static const char values[] = "0\"}[-\xff";
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_model_config c;
  for (size_t length = 0; length < bytes; length++)
    assert_int_equal(config_parse(rt, "c", text, length, NULL, NULL, 0, &c, NULL), VIVA_E_FORMAT);
  for (size_t at = 0; at < bytes; at++) {
    char kept = text[at];
    for (const char *v = values; *v; v++) {
      text[at] = *v;
      viva_status status = config_parse(rt, "c", text, bytes, NULL, NULL, 0, &c, NULL);
      assert_true(status == VIVA_OK || status == VIVA_E_FORMAT || status == VIVA_E_UNSUPPORTED);
    }
    text[at] = kept;
  }
  runtime_release(rt);
}

static viva_status use(gguf_world *w, viva_error *error) {
  viva_checkpoint *ck;
  viva_model_config c = {.size = sizeof c};
  viva_status status = checkpoint_open(w->rt, ST_PATH, VIVA_LOAD_READ, &ck, error);
  if (status == VIVA_OK) status = viva_checkpoint_config(ck, &c, error);
  viva_checkpoint_close(ck);
  return status;
}

static void put_model(gguf_world *w) {
  st_put_golden(w, "every_type.safetensors", ST_PATH);
  memory_io_put_text(w->io, "/m/config.json",
                     "{" LLAMA ",\"eos_token_id\":[2,3],\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}");
  memory_io_put_text(w->io, "/m/generation_config.json", "{\"eos_token_id\":[4]}");
}

static void test_allocation_failures(void **state) {
  (void)state;
  for (int persistent = 0; persistent < 2; persistent++) {
    for (uint64_t k = 1;; k++) {
      fail_alloc f;
      viva_error error = {0};
      fail_alloc_init(&f, k, persistent);
      gguf_world w = world_open(&f.table);
      put_model(&w);
      viva_status status = w.rt != NULL ? use(&w, &error) : VIVA_E_MEMORY;
      int failed = f.failed;
      assert_int_equal(status, failed ? VIVA_E_MEMORY : VIVA_OK);
      if (w.rt != NULL) assert_int_equal(error.code, status);
      f.fail_at = 0;
      if (w.rt != NULL) assert_int_equal(use(&w, NULL), VIVA_OK);
      assert_int_equal(memory_io_open_count(w.io), 0);
      world_close(&w);
      assert_int_equal(f.live, 0);
      if (!failed) break;
      assert_true(k < 1000);
    }
  }
}

static void test_io_failures(void **state) {
  (void)state;
  for (int persistent = 0; persistent < 2; persistent++) {
    for (uint64_t k = 1;; k++) {
      viva_error error = {0};
      gguf_world w = world_open(NULL);
      put_model(&w);
      memory_io_fail(w.io, k, EIO, persistent);
      viva_status status = use(&w, &error);
      int failed = memory_io_failed(w.io);
      memory_io_fail(w.io, 0, 0, 0);
      if (status != VIVA_OK) assert_int_equal(status, VIVA_E_IO);
      if (status != VIVA_OK) assert_true(strncmp(error.file, "/m/", 3) == 0);
      assert_int_equal(memory_io_open_count(w.io), 0);
      assert_int_equal(use(&w, NULL), VIVA_OK);
      world_close(&w);
      if (!failed) break;
      assert_true(k < 100);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_equals_transformers),
      cmocka_unit_test(test_every_hostile_file_is_refused),
      cmocka_unit_test(test_errors_are_optional),
      cmocka_unit_test(test_place_of_an_error),
      cmocka_unit_test(test_other_architectures),
      cmocka_unit_test(test_family_by_one_key),
      cmocka_unit_test(test_family_by_model_type),
      cmocka_unit_test(test_unset_values),
      cmocka_unit_test(test_head_dim),
      cmocka_unit_test(test_partial_rotation),
      cmocka_unit_test(test_nested_rope),
      cmocka_unit_test(test_contradicting_spellings),
      cmocka_unit_test(test_generation_config),
      cmocka_unit_test(test_beside_the_weights),
      cmocka_unit_test(test_too_large),
      cmocka_unit_test(test_shorter_struct),
      cmocka_unit_test(test_every_truncation_and_change),
      cmocka_unit_test(test_allocation_failures),
      cmocka_unit_test(test_io_failures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
