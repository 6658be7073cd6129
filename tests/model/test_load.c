/* Loading: what is refused and with what words, what is tied, what is planned, what is shown on the way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/model_kit.h"

static int set_up(void **state) {
  kit *k = calloc(1, sizeof *k);
  kit_begin(k, 2, VIVA_KERNELS_AUTO);
  *state = k;
  return 0;
}

static int tear_down(void **state) {
  kit_end(*state);
  free(*state);
  return 0;
}

static void put(kit *k, const small_model *s) { small_model_put(k->io, "/m", s); }

static void refuse(kit *k, const small_model *s, viva_status code, const char *text) {
  put(k, s);
  kit_refused(k, "/m", NULL, code, text);
}

static void damaged_models(void **state) {
  kit *k = *state;
  refuse(k, &(small_model){.leave_out = "model.layers.1.mlp.up_proj.weight"}, VIVA_E_FORMAT,
         "/m: model.layers.1.mlp.up_proj.weight: a model of type llama with 2 layers needs this tensor");
  refuse(k, &(small_model){.leave_out = "model.norm.weight"}, VIVA_E_FORMAT, "model.norm.weight");
  refuse(k, &(small_model){.leave_out = "model.embed_tokens.weight"}, VIVA_E_FORMAT, "model.embed_tokens.weight");
  refuse(k, &(small_model){.turned = "model.layers.0.mlp.down_proj.weight"}, VIVA_E_FORMAT,
         "model.layers.0.mlp.down_proj.weight: ");
  refuse(k, &(small_model){.turned = "model.layers.0.mlp.down_proj.weight"}, VIVA_E_FORMAT,
         "the tensor has shape [24, 16], but the configuration gives [16, 24] (hidden_size, intermediate_size)");
  refuse(k, &(small_model){.extra = "model.layers.0.self_attn.q_proj.weight_scale"}, VIVA_E_UNSUPPORTED,
         "belongs to quantised weights, but there is no quantization_config");
  /* The configuration may claim any number of layers: the tensors decide. */
  refuse(k, &(small_model){.layers = 1, .config = "\"vocab_size\":41,"}, VIVA_E_FORMAT, "vocab_size");
  put(k, &(small_model){0});
  small_model_put(k->io, "/more", &(small_model){.layers = 3});
  size_t bytes;
  const char *config = memory_io_get(k->io, "/more/config.json", &bytes);
  memory_io_put(k->io, "/m/config.json", config, bytes);
  kit_refused(k, "/m", NULL, VIVA_E_FORMAT, "model.layers.2.input_layernorm.weight");
}

/* Types that are no weights, values that are no numbers, keys that are no tokenizer's. */
static void damaged_values(void **state) {
  kit *k = *state;
  size_t bytes;
  refuse(k, &(small_model){.dtype = VIVA_I32}, VIVA_E_UNSUPPORTED,
         "the tensor is stored as I32, which cannot be run here");
  small_model_copy(k->io, "/rope.gguf", "tests/golden/rope.gguf");
  char *file = malloc(1 << 20);
  const void *data = memory_io_get(k->io, "/rope.gguf", &bytes);
  memcpy(file, data, bytes);
  static const float factors[4] = {1, 1.5f, 4, 8}; /* as tests/mk/mkmodel.py writes them */
  float *found = memmem(file, bytes, factors, sizeof factors);
  assert_non_null(found);
  for (int i = 0; i < 3; i++) {
    static const float bad[3] = {0, -1, INFINITY};
    memcpy(found + 2, &bad[i], sizeof bad[i]);
    memory_io_put(k->io, "/bad.gguf", file, bytes);
    kit_refused(k, "/bad.gguf", NULL, VIVA_E_NUMERIC, "rope_freqs.weight: ");
  }
  data = memory_io_get(k->io, "/tiny.gguf", &bytes);
  memcpy(file, data, bytes);
  char *key = memmem(file, bytes, "tokenizer.ggml.token_type", 25);
  assert_non_null(key);
  key[25 + 16] = 99; /* behind the value's type, its elements' type and its count: the first element */
  memory_io_put(k->io, "/bad.gguf", file, bytes);
  viva_model_release(kit_load(k, "/bad.gguf", NULL)); /* a kind that is not known is an ordinary token's */
  assert_non_null(strstr(k->log, "1 tokens have a type that is not known"));
  free(file);
}

static void strange_models(void **state) {
  kit *k = *state;
  refuse(k, &(small_model){.model_type = "strange"}, VIVA_E_UNSUPPORTED, "\"StrangeForCausalLM\" cannot be run");
  refuse(k, &(small_model){.model_type = "strange"}, VIVA_E_UNSUPPORTED, "llama, mistral, qwen2, qwen3");
  kit_refused(k, "/nowhere", NULL, VIVA_E_IO, "/nowhere");
}

static void options(void **state) {
  kit *k = *state;
  viva_model_options o = viva_model_options_default();
  viva_error error = {0};
  viva_model *model = NULL;
  o.weights = "q4_0";
  kit_refused(k, "/tiny.gguf", &o, VIVA_E_ARGUMENT, "weights: \"q4_0\" is no format; expected f32, bf16, f16, fp8");
  o = viva_model_options_default();
  o.kv = VIVA_BF16;
  kit_refused(k, "/tiny.gguf", &o, VIVA_E_ARGUMENT, "kv: ");
  o = viva_model_options_default();
  o.num_layers = 3;
  kit_refused(k, "/tiny.gguf", &o, VIVA_E_ARGUMENT, "num_layers: 3 layers are asked for, but the model has 2");
  o = viva_model_options_default();
  o.context = UINT64_MAX;
  kit_refused(k, "/tiny.gguf", &o, VIVA_E_ARGUMENT, "context: ");
  o = viva_model_options_default();
  o.load = (viva_load_mode)7;
  kit_refused(k, "/tiny.gguf", &o, VIVA_E_ARGUMENT, "load: ");
  o = viva_model_options_default();
  o.tokenizer_path = "/nothing.json";
  kit_refused(k, "/tiny.gguf", &o, VIVA_E_IO, "/nothing.json");
  o.size = 1;
  kit_refused(k, "/tiny.gguf", &o, VIVA_E_ARGUMENT, "viva_model_options");
  kit_error(viva_model_load(NULL, "/tiny.gguf", NULL, &model, &error), VIVA_E_ARGUMENT, &error, "engine is NULL");
  kit_error(viva_model_load(k->engine, NULL, NULL, &model, &error), VIVA_E_ARGUMENT, &error, "path is NULL");
  kit_error(viva_model_load(k->engine, "/tiny.gguf", NULL, NULL, &error), VIVA_E_ARGUMENT, &error, "model is NULL");
}

static float *first_logits(viva_model *model, size_t vocab) {
  viva_error error = {0};
  viva_token tokens[20];
  const float *logits;
  kit_tokens(tokens, 20, vocab, 1);
  viva_session *s = kit_session(model, 30, 0, VIVA_F32);
  kit_ok(viva_session_prefill(s, tokens, 20, NULL, &error), &error);
  kit_ok(viva_session_logits(s, &logits, NULL, &error), &error);
  float *copy = malloc(vocab * sizeof *copy);
  memcpy(copy, logits, vocab * sizeof *copy);
  viva_session_free(s);
  return copy;
}

static float *logits_of(kit *k, const small_model *s, viva_memory_plan *plan) {
  viva_error error = {0};
  put(k, s);
  viva_model *model = kit_load(k, "/m", NULL);
  plan->size = sizeof *plan;
  kit_ok(viva_model_get_plan(model, plan, &error), &error);
  float *logits = first_logits(model, 40);
  viva_model_release(model);
  return logits;
}

/* Embedding and head: one of them, both alike, both different, with the flag and without. */
static void tied_or_not(void **state) {
  kit *k = *state;
  viva_memory_plan one, other;
  const size_t bytes = 40 * sizeof(float), table = 40 * 16 * 4;
  float *tied = logits_of(k, &(small_model){0}, &one);
  float *equal = logits_of(k, &(small_model){.tied_head = 1}, &other);
  assert_memory_equal(tied, equal, bytes);
  assert_int_equal(one.weight_bytes, other.weight_bytes);
  assert_int_equal(one.parameters, other.parameters);
  assert_string_equal(k->log, "");
  float *different = logits_of(k, &(small_model){.tied_head = 2}, &other);
  assert_memory_not_equal(tied, different, bytes);
  assert_int_equal(other.weight_bytes, one.weight_bytes + table);
  assert_int_equal(other.bytes_per_token, one.bytes_per_token + 16 * 4); /* one row of the table is read */
  assert_non_null(strstr(k->log, "both are there and differ"));
  k->log[0] = 0;
  float *head_only = logits_of(k, &(small_model){.tied_head = 1, .leave_out = "model.embed_tokens.weight"}, &other);
  assert_memory_equal(tied, head_only, bytes);
  assert_string_equal(k->log, "");
  float *flag_false = logits_of(k, &(small_model){.untied = 1, .leave_out = "lm_head.weight"}, &other);
  assert_int_equal(other.weight_bytes, one.weight_bytes);
  assert_non_null(strstr(k->log, "says that it is not tied"));
  free(tied);
  free(equal);
  free(different);
  free(head_only);
  free(flag_false);
}

static void unused_tensors(void **state) {
  kit *k = *state;
  put(k, &(small_model){.extra = "model.layers.0.self_attn.rotary_emb.inv_freq"});
  viva_model_release(kit_load(k, "/m", NULL));
  assert_string_equal(k->log, "");
  put(k, &(small_model){.extra = "model.vision.weight"});
  viva_model_release(kit_load(k, "/m", NULL));
  assert_non_null(strstr(k->log, "1 tensor is not used by a llama model, first \"model.vision.weight\""));
  viva_model_options o = viva_model_options_default();
  o.num_layers = 1; /* the others are left out on purpose */
  k->log[0] = 0;
  put(k, &(small_model){0});
  viva_model *model = kit_load(k, "/m", &o);
  assert_string_equal(k->log, "");
  viva_model_config config = {.size = sizeof config};
  viva_error error = {0};
  kit_ok(viva_model_get_config(model, &config, &error), &error);
  assert_int_equal(config.num_layers, 1);
  free(first_logits(model, 40));
  viva_model_release(model);
}

/* Every type of weights gives nearly the logits of F32: BF16 keeps 8 bits of a weight, F16 11. */
static void weight_types(void **state) {
  kit *k = *state;
  static const char *const types[] = {"f32", "bf16", "f16"};
  static const char *const words[] = {"llama 28K F32", "llama 28K BF16", "llama 28K F16"};
  static const double bounds[] = {0, 0.6, 0.08}; /* logits are up to 60, after two layers of random weights */
  float *exact = NULL;
  for (size_t i = 0; i < 3; i++) {
    viva_model_options o = viva_model_options_default();
    o.weights = types[i];
    viva_model *model = kit_load(k, "/tiny.gguf", &o);
    assert_string_equal(viva_model_description(model), words[i]);
    float *logits = first_logits(model, 299);
    if (!exact) exact = logits;
    double worst = 0;
    for (size_t v = 0; v < 299; v++) worst = fmax(worst, fabs((double)logits[v] - (double)exact[v]));
    if (worst > bounds[i]) fail_msg("%s: logits differ by %g", types[i], worst);
    if (logits != exact) free(logits);
    viva_model_release(model);
  }
  free(exact);
}

static void beyond_the_type(void **state) {
  kit *k = *state;
  viva_model_options o = viva_model_options_default();
  put(k, &(small_model){.poked = "model.layers.1.self_attn.o_proj.weight", .poke = 65520});
  o.weights = "f16";
  kit_refused(k, "/m", &o, VIVA_E_NUMERIC, "model.layers.1.self_attn.o_proj.weight: ");
  kit_refused(k, "/m", &o, VIVA_E_NUMERIC, "beyond the range of F16 (65504); load it with weights bf16");
  o.weights = "bf16";
  viva_model_release(kit_load(k, "/m", &o));
  put(k, &(small_model){.poked = "model.layers.1.self_attn.o_proj.weight", .poke = 65519.996f}); /* rounds to 65504 */
  o.weights = "f16";
  viva_model_release(kit_load(k, "/m", &o));
  put(k,
      &(small_model){.poked = "model.layers.1.self_attn.o_proj.weight", .poke = 3.4e38f, .hidden = 20, .head_dim = 6});
  o.weights = "bf16";
  kit_refused(k, "/m", &o, VIVA_E_NUMERIC, "beyond the range of BF16; load it with weights f32");
  put(k,
      &(small_model){.poked = "model.layers.1.self_attn.o_proj.weight", .poke = INFINITY, .hidden = 20, .head_dim = 6});
  viva_model_release(kit_load(k, "/m", &o)); /* an infinity of the file itself is kept: its use will be E_NUMERIC */
}

static void plans(void **state) {
  kit *k = *state;
  viva_error error = {0};
  viva_model_options o = viva_model_options_default();
  viva_memory_plan p = {.size = sizeof p}, loaded = {.size = sizeof loaded};
  put(k, &(small_model){.untied = 1, .dtype = VIVA_BF16});
  kit_ok(viva_model_plan(k->engine, "/m", NULL, &p, &error), &error);
  /* 2 layers of q 32·16, k and v 16·16, o 16·32, three of 16·24, two norms; two tables of 40·16; one norm */
  const uint64_t matrices = 2 * (512 + 2 * 256 + 512 + 3 * 384), norms = 5 * 16, table = 40 * 16;
  assert_int_equal(p.parameters, matrices + norms + 2 * table);
  assert_int_equal(p.weight_bytes, 2 * (matrices + 2 * table) + 4 * norms);
  assert_int_equal(p.bytes_per_token, p.weight_bytes - 2 * table + 2 * 16);
  assert_int_equal(p.context, 64);
  assert_int_equal(p.kv_bytes, 2 * 2 * 2 * 8 * 64 * 2);
  assert_int_equal(p.needed_bytes, p.weight_bytes + p.kv_bytes + p.work_bytes);
  assert_int_equal(p.largest_context, 64);
  assert_true(p.available_bytes > p.needed_bytes);
  o.kv = VIVA_F32;
  o.context = 256;
  o.weights = "f32";
  o.num_layers = 1;
  kit_ok(viva_model_plan(k->engine, "/m", &o, &p, &error), &error);
  assert_int_equal(p.parameters, matrices / 2 + 3 * 16 + 2 * table);
  assert_int_equal(p.weight_bytes, 4 * p.parameters);
  assert_int_equal(p.kv_bytes, 2 * 2 * 8 * 256 * 4);
  assert_int_equal(p.context, 256);
  viva_model *model = kit_load(k, "/m", &o);
  kit_ok(viva_model_get_plan(model, &loaded, &error), &error);
  assert_int_equal(loaded.weight_bytes, p.weight_bytes);
  assert_int_equal(loaded.needed_bytes, p.needed_bytes);
  viva_session *s = kit_session(model, 0, 0, VIVA_DTYPE_NONE);
  assert_int_equal(viva_session_capacity(s), 256);
  viva_session_free(s);
  viva_model_release(model);
  kit_error(viva_model_plan(k->engine, "/m", NULL, NULL, &error), VIVA_E_ARGUMENT, &error, "viva_memory_plan");
}

/* 2^31 tokens of 256 bytes fit into no machine that runs this test. */
static void plans_that_do_not_fit(void **state) {
  kit *k = *state;
  viva_error error = {0};
  viva_model_options o = viva_model_options_default();
  viva_memory_plan p = {.size = sizeof p};
  put(k, &(small_model){.context = 1 << 30});
  o.context = (uint64_t)1 << 31;
  kit_ok(viva_model_plan(k->engine, "/m", &o, &p, &error), &error);
  assert_int_equal(p.kv_bytes, (uint64_t)256 << 30);
  assert_true(p.needed_bytes > p.available_bytes);
  assert_true(p.largest_context > 1000000 && p.largest_context < (1 << 30));
  kit_refused(k, "/m", &o, VIVA_E_LIMIT, "KV cache of 2147483648 tokens 256.0 GiB");
  kit_refused(k, "/m", &o, VIVA_E_LIMIT, "the largest context that fits is ");
  o.context = 1000;
  viva_model_release(kit_load(k, "/m", &o));
  /* Beyond the model's own limit, which is not the machine's. */
  put(k, &(small_model){.context = 1000});
  o.context = (uint64_t)1 << 31;
  kit_ok(viva_model_plan(k->engine, "/m", &o, &p, &error), &error);
  assert_true(p.largest_context > 1000000 && p.largest_context < o.context);
  o.context = 2000;
  kit_ok(viva_model_plan(k->engine, "/m", &o, &p, &error), &error);
  assert_int_equal(p.largest_context, 2000);
}

typedef struct progress {
  uint64_t last, total;
  int calls, stop;
} progress;

static int on_progress(void *user, uint64_t done, uint64_t total) {
  progress *p = user;
  assert_true(done > p->last && done <= total);
  p->last = done;
  p->total = total;
  p->calls++;
  return p->stop;
}

static void progress_and_cancel(void **state) {
  kit *k = *state;
  progress p = {0};
  viva_model_options o = viva_model_options_default();
  o.progress = on_progress;
  o.progress_user = &p;
  put(k, &(small_model){.vocab = 40000, .hidden = 600, .heads = 4}); /* 96 MB: several batches */
  viva_model_release(kit_load(k, "/m", &o));
  assert_true(p.calls > 2);
  assert_int_equal(p.last, p.total);
  p = (progress){.stop = 1};
  kit_refused(k, "/m", &o, VIVA_E_CANCELLED, "loading was cancelled");
  assert_int_equal(p.calls, 1);
}

static int cut_file(void *user, uint64_t done, uint64_t total) {
  (void)done;
  (void)total;
  memory_io_truncate(user, "/m/model.safetensors", 5000000);
  return 0;
}

static void cut_while_loading(void **state) {
  kit *k = *state;
  viva_model_options o = viva_model_options_default();
  o.progress = cut_file;
  o.progress_user = k->io;
  put(k, &(small_model){.vocab = 40000, .hidden = 600, .heads = 4});
  kit_refused(k, "/m", &o, VIVA_E_IO, "/m/model.safetensors");
}

static void tokenizers(void **state) {
  kit *k = *state;
  viva_error error = {0};
  viva_token id;
  viva_model *model = kit_load(k, "/tiny.gguf", NULL);
  viva_tokenizer *tokenizer = viva_model_tokenizer(model);
  assert_int_equal(viva_tokenizer_vocab_size(tokenizer), 299);
  kit_ok(viva_tokenizer_token_to_id(tokenizer, "<|im_end|>", 10, &id, &error), &error);
  assert_int_equal(id, 2);
  viva_tokenizer_retain(tokenizer);
  viva_model_release(model);
  assert_int_equal(viva_tokenizer_eos(tokenizer), 2);
  viva_tokenizer_release(tokenizer);
  put(k, &(small_model){0});
  model = kit_load(k, "/m", NULL); /* a folder without one: works with ids */
  assert_null(viva_model_tokenizer(model));
  viva_model_release(model);
  viva_model_options o = viva_model_options_default();
  o.tokenizer_path = "/tiny.gguf";
  model = kit_load(k, "/m", &o);
  assert_non_null(viva_model_tokenizer(model));
  viva_model_release(model);
  memory_io_put_text(k->io, "/m/tokenizer.json", "{\"model\":{\"type\":\"Unigram\"}}");
  k->log[0] = 0;
  model = kit_load(k, "/m", NULL); /* one of a kind that viva does not know: said once, then again when it is needed */
  assert_non_null(strstr(k->log, "loaded without its tokenizer"));
  viva_generate_result *result;
  kit_error(viva_generate(model, "a", 1, NULL, &result, &error), VIVA_E_STATE, &error, "Unigram");
  viva_model_release(model);
  memory_io_put_text(k->io, "/m/tokenizer.json", "{\"model\":");
  kit_refused(k, "/m", NULL, VIVA_E_FORMAT, "/m/tokenizer.json");
}

static void tokenizer_files(void **state) {
  (void)state;
  viva_error error = {0};
  viva_tokenizer *tokenizer = NULL;
  char path[1024];
  const char *root = getenv("VIVA_SOURCE_DIR");
  snprintf(path, sizeof path, "%s/tests/golden/tiny.gguf", root ? root : ".");
  kit_ok(viva_tokenizer_load(path, NULL, &tokenizer, &error), &error);
  assert_int_equal(viva_tokenizer_vocab_size(tokenizer), 299);
  viva_tokenizer_release(tokenizer);
  snprintf(path, sizeof path, "%s/tests/golden/tokenizer/small.json", root ? root : ".");
  kit_ok(viva_tokenizer_load(path, NULL, &tokenizer, &error), &error);
  viva_tokenizer_release(tokenizer);
  snprintf(path, sizeof path, "%s/tests/model", root ? root : ".");
  kit_error(viva_tokenizer_load(path, NULL, &tokenizer, &error), VIVA_E_NOT_FOUND, &error, "tests/model");
  assert_null(tokenizer);
  snprintf(path, sizeof path, "%s/tests/golden/safetensors/every_type.safetensors", root ? root : ".");
  kit_error(viva_tokenizer_load(path, NULL, &tokenizer, &error), VIVA_E_NOT_FOUND, &error, "tests/golden/safetensors");
  kit_error(viva_tokenizer_load("/no/such/file", NULL, &tokenizer, &error), VIVA_E_IO, &error, "/no/such/file");
  kit_error(viva_tokenizer_load(NULL, NULL, &tokenizer, &error), VIVA_E_ARGUMENT, &error, "path is NULL");
  kit_error(viva_tokenizer_load(path, NULL, NULL, &error), VIVA_E_ARGUMENT, &error, "tokenizer is NULL");
  snprintf(path, sizeof path, "%s/tests/golden/rope.gguf", root ? root : ".");
  kit_error(viva_tokenizer_load(path, NULL, &tokenizer, &error), VIVA_E_NOT_FOUND, &error, "holds no tokenizer");
}

/* A template, with and without room for it; a model that has none. */
static void templates(void **state) {
  (void)state;
  static const char template[] = "{{ messages[0].content }}";
  char folder[] = "/tmp/viva-template-XXXXXX", path[64], text[64];
  viva_error error;
  viva_checkpoint *ck;
  size_t bytes;
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(template, file);
  fclose(file);
  const char *root = getenv("VIVA_SOURCE_DIR");
  char model[512], link[64];
  snprintf(model, sizeof model, "%s/tests/golden/safetensors/every_type.safetensors", root ? root : ".");
  snprintf(link, sizeof link, "%s/model.safetensors", folder);
  char *whole = realpath(model, NULL);
  assert_non_null(whole);
  assert_int_equal(symlink(whole, link), 0);
  free(whole);
  kit_ok(viva_checkpoint_open(folder, NULL, &ck, &error), &error);
  kit_error(viva_checkpoint_chat_template(ck, NULL, 0, &bytes, &error), VIVA_E_SIZE, &error, "25 bytes and a zero");
  assert_int_equal(bytes, sizeof template - 1);
  kit_error(viva_checkpoint_chat_template(ck, text, bytes, &bytes, &error), VIVA_E_SIZE, &error, "room for 25");
  kit_ok(viva_checkpoint_chat_template(ck, text, sizeof text, &bytes, &error), &error);
  assert_string_equal(text, template);
  kit_error(viva_checkpoint_chat_template(NULL, text, 9, &bytes, &error), VIVA_E_ARGUMENT, &error, "NULL");
  kit_error(viva_checkpoint_chat_template(ck, NULL, 9, &bytes, &error), VIVA_E_ARGUMENT, &error, "NULL");
  kit_error(viva_checkpoint_chat_template(ck, text, 9, NULL, &error), VIVA_E_ARGUMENT, &error, "NULL");
  unlink(path);
  kit_error(viva_checkpoint_chat_template(ck, text, 9, &bytes, &error), VIVA_E_NOT_FOUND, &error, "no chat template");
  viva_checkpoint_close(ck);
  unlink(link);
  rmdir(folder);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
  const struct CMUnitTest tests[] = {T(damaged_models),
                                     T(damaged_values),
                                     T(strange_models),
                                     T(options),
                                     T(tied_or_not),
                                     T(unused_tensors),
                                     T(weight_types),
                                     T(beyond_the_type),
                                     T(plans),
                                     T(plans_that_do_not_fit),
                                     T(progress_and_cancel),
                                     T(cut_while_loading),
                                     T(tokenizers),
                                     cmocka_unit_test(tokenizer_files),
                                     cmocka_unit_test(templates)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
