/* A quantised folder, loaded as stored, is the model that the same weights rule makes of the original, bit for bit; so it
 * is from a mapping, where FP8 and NVFP4 stay in the file; and another rule packs it anew. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/model_kit.h"
#include "model/model.h"
#include "viva/quantize.h"

enum { COUNT = 12, VOCAB = 48 };

/* Sizes that the shared layouts can have, and sizes that only viva's own can. */
static const small_model even = {.hidden = 64, .ffn = 128, .heads = 4, .kv_heads = 2, .head_dim = 16, .vocab = VOCAB};
/* One block of 16, or of 32, is a whole row: its scale goes into each product all the same, as the rule has it. */
static const small_model narrow = {
    .hidden = 16, .ffn = 32, .heads = 2, .kv_heads = 1, .head_dim = 8, .vocab = VOCAB, .dtype = VIVA_BF16};
static const small_model odd = {
    .hidden = 84, .ffn = 150, .heads = 3, .kv_heads = 1, .head_dim = 22, .vocab = VOCAB, .dtype = VIVA_BF16};

typedef struct world {
  char root[64];
  viva_engine *engine;
} world;

static void path_of(const world *w, const char *name, char path[128]) { snprintf(path, 128, "%s/%s", w->root, name); }

static void copy_out(const world *w, memory_io *io, const char *folder, const char *name) {
  char from[64], to[192], path[128];
  size_t bytes;
  path_of(w, folder, path);
  snprintf(from, sizeof from, "/m/%s", name);
  snprintf(to, sizeof to, "%s/%s", path, name);
  const void *data = memory_io_get(io, from, &bytes);
  FILE *f = fopen(to, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, bytes, f), bytes);
  fclose(f);
}

static void put_model(const world *w, const char *folder, const small_model *model) {
  memory_io *io = memory_io_create();
  char path[128];
  path_of(w, folder, path);
  assert_int_equal(mkdir(path, 0700), 0);
  small_model_put(io, "/m", model);
  copy_out(w, io, folder, "model.safetensors");
  copy_out(w, io, folder, "config.json");
  memory_io_free(io);
}

static void remove_folder(const char *path) {
  DIR *d = opendir(path);
  struct dirent *e;
  char name[512];
  while (d && (e = readdir(d)) != NULL) {
    snprintf(name, sizeof name, "%s/%s", path, e->d_name);
    if (e->d_name[0] != '.' && unlink(name) != 0) remove_folder(name);
  }
  if (d) closedir(d);
  rmdir(path);
}

static void begin(world *w) {
  const char *temporary = getenv("TMPDIR");
  viva_engine_options o = viva_engine_options_default();
  viva_error error = {0};
  snprintf(w->root, sizeof w->root, "%.40s/viva-XXXXXX", temporary ? temporary : "/tmp");
  assert_non_null(mkdtemp(w->root));
  o.threads = 2;
  o.log_level = VIVA_LOG_ERROR;
  kit_ok(viva_engine_open(&o, &w->engine, &error), &error);
  put_model(w, "even", &even);
  put_model(w, "odd", &odd);
  put_model(w, "narrow", &narrow);
}

static void end(world *w) {
  viva_engine_release(w->engine);
  remove_folder(w->root);
}

static viva_model *load(const world *w, const char *folder, const char *weights, viva_load_mode mode) {
  viva_model_options o = viva_model_options_default();
  viva_error error = {0};
  viva_model *model;
  char path[128];
  path_of(w, folder, path);
  o.weights = weights;
  o.load = mode;
  kit_ok(viva_model_load(w->engine, path, &o, &model, &error), &error);
  return model;
}

static void logits_of(viva_model *model, float out[COUNT * VOCAB]) {
  viva_error error = {0};
  viva_token tokens[COUNT];
  kit_tokens(tokens, COUNT, VOCAB, 3);
  viva_session *session = kit_session(model, 0, 0, VIVA_DTYPE_NONE);
  viva_prefill_options o = viva_prefill_options_default();
  o.all_logits = out;
  o.all_logits_count = COUNT * VOCAB;
  kit_ok(viva_session_prefill(session, tokens, COUNT, &o, &error), &error);
  viva_session_free(session);
}

static void compare(const world *w, const float *expected, const char *weights, viva_load_mode mode, const char *what) {
  float found[COUNT * VOCAB];
  viva_model *model = load(w, "packed", weights, mode);
  logits_of(model, found);
  if (memcmp(found, expected, sizeof found)) fail_msg("%s, load %d: other bits", what, (int)mode);
  viva_model_release(model);
}

static void stored_is_the_rule(void **state) {
  (void)state;
  static const char *const rules[] = {"fp8",
                                      "fp8-b16",
                                      "fp8-b32",
                                      "fp8-b64",
                                      "fp8-b128",
                                      "fp8-b16:f16",
                                      "nvfp4",
                                      "int8-24",
                                      "int4-24",
                                      "fp8-b128:e8m0",
                                      "bf16,mlp=nvfp4,layers.0.self_attn=fp8"};
  static const char *const models[] = {"even", "odd", "narrow"};
  world w;
  begin(&w);
  for (size_t m = 0; m < 3; m++) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
      float expected[COUNT * VOCAB], again[COUNT * VOCAB];
      char from[128], to[128];
      viva_error error = {0};
      viva_quantize_options o = viva_quantize_options_default();
      o.weights = rules[i];
      path_of(&w, models[m], from);
      path_of(&w, "packed", to);
      kit_ok(viva_quantize(w.engine, from, to, &o, NULL, &error), &error);
      viva_model *model = load(&w, models[m], rules[i], VIVA_LOAD_READ);
      logits_of(model, expected);
      viva_model_release(model);
      compare(&w, expected, NULL, VIVA_LOAD_READ, rules[i]);
      compare(&w, expected, "stored", VIVA_LOAD_MMAP, rules[i]);
      /* the values that the codes stand for, packed in another format: the same whether F32 lies between or not */
      model = load(&w, "packed", "f32", VIVA_LOAD_READ);
      logits_of(model, expected);
      viva_model_release(model);
      model = load(&w, "packed", "f32", VIVA_LOAD_MMAP);
      logits_of(model, again);
      viva_model_release(model);
      assert_memory_equal(again, expected, sizeof again);
      model = load(&w, "packed", "int8-24,mlp.up_proj=fp8-b64", VIVA_LOAD_READ);
      logits_of(model, again);
      viva_model_release(model);
      remove_folder(to);
    }
  }
  end(&w);
}

/* Inside the mapping of one of the files. */
static int lies_mapped(const viva_checkpoint *ck, const void *at) {
  for (size_t i = 0; i < ck->file_count; i++) {
    const uintptr_t map = (uintptr_t)ck->files[i].map;
    if (map && (uintptr_t)at >= map && (uintptr_t)at - map < ck->files[i].io.stat.bytes) return 1;
  }
  return 0;
}

/* Codes that lie in the file as the kernels want them are not copied. */
static void mapped_codes_stay(void **state) {
  (void)state;
  static const char *const rules[] = {"fp8", "fp8-b32", "nvfp4"};
  world w;
  begin(&w);
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    char from[128], to[128];
    viva_error error = {0};
    viva_quantize_options o = viva_quantize_options_default();
    o.weights = rules[i];
    path_of(&w, "even", from);
    path_of(&w, "packed", to);
    kit_ok(viva_quantize(w.engine, from, to, &o, NULL, &error), &error);
    viva_model *model = load(&w, "packed", NULL, VIVA_LOAD_MMAP);
    assert_non_null(model->checkpoint);
    assert_true(lies_mapped(model->checkpoint, model->dec.layers[1].down.data));
    const size_t held = model->block ? mem_size(model->block) : 0;
    assert_true(held < even.hidden * even.ffn); /* less than one matrix was copied */
    viva_packed_weight *down;
    kit_ok(viva_model_weight(model, 1, VIVA_PROJ_DOWN, &down, &error), &error);
    viva_model_release(model); /* the handle keeps the mapping */
    float *values = calloc(even.hidden * even.ffn, sizeof *values);
    kit_ok(viva_packed_weight_unpack(down, values, even.hidden * even.ffn, &error), &error);
    free(values);
    viva_packed_weight_release(down);
    remove_folder(to);
  }
  end(&w);
}

/* Sets a byte of a tensor in the folder's model.safetensors. */
static void damage(const char *folder, const char *tensor, size_t at, unsigned char byte) {
  char path[256];
  viva_checkpoint *ck;
  viva_error error = {0};
  viva_stored_tensor info = {.size = sizeof info};
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  kit_ok(viva_checkpoint_open(path, NULL, &ck, &error), &error);
  kit_ok(viva_checkpoint_find(ck, tensor, &info, &error), &error);
  assert_true(at < info.bytes);
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  assert_int_equal(fseek(f, (long)(info.offset + at), SEEK_SET), 0);
  assert_int_equal(fputc(byte, f), byte);
  assert_int_equal(fclose(f), 0);
  viva_checkpoint_close(ck);
}

/* A byte of a folder that is changed, and what is said of it. */
typedef struct changed_byte {
  const char *format, *tensor;
  size_t at;
  unsigned char byte;
  const char *where, *said; /* both are parts of every message */
} changed_byte;

/* Whether the matrix is kept, unpacked or packed anew; by loading (up to `mode`) and by quantizing, which writes nothing. */
static void refused_everywhere(const changed_byte *c, viva_load_mode mode) {
  static const char *const loaded[] = {NULL, "f32", "fp8", "nvfp4"}, *const again[] = {"stored", "dense", "fp8", "f32"};
  char from[128], to[128], out[128];
  viva_error error = {0};
  viva_model *model;
  viva_quantize_options q = viva_quantize_options_default();
  world w;
  begin(&w);
  q.weights = c->format;
  path_of(&w, "even", from);
  path_of(&w, "packed", to);
  path_of(&w, "out", out);
  kit_ok(viva_quantize(w.engine, from, to, &q, NULL, &error), &error);
  damage(to, c->tensor, c->at, c->byte);
  for (size_t way = 0; way < sizeof loaded / sizeof *loaded; way++) {
    viva_model_options o = viva_model_options_default();
    o.weights = loaded[way];
    for (o.load = VIVA_LOAD_READ; o.load <= mode; o.load++) {
      kit_error(viva_model_load(w.engine, to, &o, &model, &error), VIVA_E_FORMAT, &error, c->where);
      assert_non_null(strstr(error.message, c->said));
      assert_string_equal(error.item, c->tensor);
      assert_null(model);
    }
  }
  for (size_t way = 0; way < sizeof again / sizeof *again; way++) {
    q.weights = again[way];
    kit_error(viva_quantize(w.engine, to, out, &q, NULL, &error), VIVA_E_FORMAT, &error, c->where);
    assert_non_null(strstr(error.message, c->said));
    assert_int_not_equal(access(out, F_OK), 0);
  }
  end(&w);
}

#define Q_PROJ "model.layers.1.self_attn.q_proj.weight"

/* hidden 64: a row of q is one block, whose index follows its codes. 0x45: the first group names place 1 twice, the second is
 * right. */
static void damaged_index_is_refused(void **state) {
  (void)state;
  static const changed_byte cases[] = {
      {"int8-24", Q_PROJ "_packed", 3 * 40 + 32, 0x45, "at byte", "columns from 0 on in row 3"},
      {"int4-24", Q_PROJ "_packed", 3 * 24 + 16, 0x45, "at byte", "columns from 0 on in row 3"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused_everywhere(&cases[i], VIVA_LOAD_READ);
}

/* −128 and −8 have no magnitude in as many bits: kernels would differ. The second row of q's second head, its fourth code. */
static void least_codes_are_refused(void **state) {
  (void)state;
  static const changed_byte cases[] = {
      {"int8-24", Q_PROJ "_packed", 17 * 40 + 3, 0x80, "the code in row 17, column ", "is -128, expected -127 to 127"},
      {"int4-24", Q_PROJ "_packed", 17 * 24 + 1, 0x80, "the code in row 17, column ", "is -8, expected -7 to 7"},
      {"int4-24-g32", Q_PROJ "_packed", 17 * 24 + 1, 0x88, "the code in row 17, column ", "is -8, expected -7 to 7"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused_everywhere(&cases[i], VIVA_LOAD_MMAP);
}

/* 0x7f and 0xff are E4M3's NaN. hidden 64: row 17 of q, column 5, whether the codes are kept or unpacked. */
static void nan_codes_are_refused(void **state) {
  (void)state;
  static const changed_byte cases[] = {
      {"fp8", Q_PROJ, 17 * 64 + 5, 0x7f, "the code in row 17, column 5", "is NaN"},
      {"fp8-b16", Q_PROJ, 17 * 64 + 5, 0xff, "the code in row 17, column 5", "is NaN"},
      {"fp8,mlp=int4-24", Q_PROJ "_packed", 17 * 64 + 5, 0xff, "the code in row 17, column 5", "is NaN"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused_everywhere(&cases[i], VIVA_LOAD_READ);
}

/* A rule that rounds would have no error to tell: 0 %, or none. */
static void quantize_refuses_what_is_not_finite(void **state) {
  (void)state;
  static const struct {
    const char *tensor, *rule, *said;
    float value;
  } cases[] = {
      {"model.layers.1.mlp.up_proj.weight", "bf16", "row 0, column 0 is NaN or infinite; the file", NAN},
      {"model.layers.1.mlp.up_proj.weight", "f16", "or leave this matrix as it is", INFINITY},
      {"model.layers.1.mlp.up_proj.weight", "fp8", "infinite, which a packed format cannot hold", -INFINITY},
      {"model.embed_tokens.weight", "fp8", "row 0, column 0 is NaN or infinite: the file is damaged", NAN},
  };
  world w;
  begin(&w);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char from[128], out[128];
    viva_error error = {0};
    viva_quantize_options q = viva_quantize_options_default();
    viva_quantize_result result = {.size = sizeof result};
    small_model bad = even;
    bad.poked = cases[i].tensor;
    bad.poke = cases[i].value;
    put_model(&w, "bad", &bad);
    path_of(&w, "bad", from);
    path_of(&w, "out", out);
    q.weights = cases[i].rule;
    kit_error(viva_quantize(w.engine, from, out, &q, &result, &error), VIVA_E_NUMERIC, &error, cases[i].said);
    assert_string_equal(error.item, cases[i].tensor);
    assert_int_not_equal(access(out, F_OK), 0);
    q.weights = "fp8,layers.1.mlp.up_proj=stored"; /* what the message advises */
    if (strstr(cases[i].tensor, "up_proj")) {
      kit_ok(viva_quantize(w.engine, from, out, &q, &result, &error), &error);
      assert_true(result.error > 0 && result.error < 0.1);
      remove_folder(out);
    }
    remove_folder(from);
  }
  end(&w);
}

/* 1 when the folder's config.json has this text. */
static int config_has(const char *folder, const char *text) {
  char path[256], config[4096];
  snprintf(path, sizeof path, "%s/config.json", folder);
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  size_t bytes = fread(config, 1, sizeof config - 1, f);
  fclose(f);
  config[bytes] = 0;
  return strstr(config, text) != NULL;
}

/* transformers computes in the type that config.json names, and fails where NVFP4, which it unpacks to BF16, meets another. */
static void config_names_the_type_that_is_written(void **state) {
  (void)state;
  static const struct {
    const char *input, *rule, *written;
    viva_dtype dtype;
  } cases[] = {
      {"\"torch_dtype\":\"float32\",", "nvfp4", "\"torch_dtype\": \"bfloat16\"", VIVA_F32},
      {"\"dtype\":\"float32\",", "fp8", "\"dtype\": \"bfloat16\"", VIVA_F32},
      {"\"torch_dtype\":\"float16\",", "bf16,mlp=nvfp4", "\"torch_dtype\": \"bfloat16\"", VIVA_F16},
      {"\"torch_dtype\":\"float16\",", "fp8", "\"torch_dtype\": \"float16\"", VIVA_F16},
      {"\"torch_dtype\":\"bfloat16\",", "f32", "\"torch_dtype\": \"float32\"", VIVA_BF16},
      {NULL, "bf16", "\"torch_dtype\": \"bfloat16\"", VIVA_F32},
  };
  world w;
  begin(&w);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char from[128], to[128];
    viva_error error = {0};
    viva_quantize_options q = viva_quantize_options_default();
    small_model model = even;
    model.config = cases[i].input;
    model.dtype = cases[i].dtype;
    put_model(&w, "typed", &model);
    path_of(&w, "typed", from);
    path_of(&w, "packed", to);
    q.weights = cases[i].rule;
    kit_ok(viva_quantize(w.engine, from, to, &q, NULL, &error), &error);
    assert_true(config_has(to, cases[i].written));
    remove_folder(to);
    remove_folder(from);
  }
  end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(stored_is_the_rule),
                                     cmocka_unit_test(mapped_codes_stay),
                                     cmocka_unit_test(damaged_index_is_refused),
                                     cmocka_unit_test(least_codes_are_refused),
                                     cmocka_unit_test(nan_codes_are_refused),
                                     cmocka_unit_test(quantize_refuses_what_is_not_finite),
                                     cmocka_unit_test(config_names_the_type_that_is_written)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
