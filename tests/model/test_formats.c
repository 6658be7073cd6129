/* Models held in packed formats: the bytes are those of the prepack calls, the bits do not depend on how the work is cut,
 * and the plan, the head, the table and the refusals are what the weights rule says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"

enum { TINY_VOCAB = 299, COUNT = 40 };

static const char *const rules[] = {"fp8",
                                    "fp8:e8m0",
                                    "fp8-b16:f16",
                                    "fp8-b32",
                                    "fp8-b128:e8m0",
                                    "nvfp4",
                                    "nvfp4:absmax",
                                    "int8-24",
                                    "int4-24",
                                    "int4-24-g32:f32",
                                    "int4-24-channel",
                                    "bf16,mlp.down_proj=fp8,layers.0.self_attn=int8-24,lm_head=nvfp4:four-over-six"};
enum { RULES = sizeof rules / sizeof *rules };

/* No size is a multiple of a block. */
static const small_model odd = {.hidden = 84, .ffn = 150, .heads = 3, .kv_heads = 1, .head_dim = 22, .vocab = 70};

static void begin(kit *k, int threads) {
  kit_begin(k, threads, VIVA_KERNELS_AUTO);
  small_model_put(k->io, "/odd", &odd);
}

static viva_model *load(kit *k, const char *path, const char *weights, viva_activation_mode act) {
  viva_model_options o = viva_model_options_default();
  o.weights = weights;
  o.act = act;
  return kit_load(k, path, &o);
}

/* Logits of every position, the last four decoded. */
static float *run(viva_model *model, size_t vocab, uint32_t chunk) {
  viva_error error = {0};
  viva_token tokens[COUNT];
  kit_tokens(tokens, COUNT, vocab, 5);
  float *out = calloc(COUNT * vocab, sizeof *out);
  viva_session *session = kit_session(model, 64, chunk, VIVA_DTYPE_NONE);
  viva_prefill_options p = viva_prefill_options_default();
  size_t first = COUNT - 4;
  p.all_logits = out;
  p.all_logits_count = first * vocab;
  kit_ok(viva_session_prefill(session, tokens, first, &p, &error), &error);
  for (size_t i = first; i < COUNT; i++) {
    const float *logits;
    kit_ok(viva_session_decode(session, tokens[i], &error), &error);
    kit_ok(viva_session_logits(session, &logits, NULL, &error), &error);
    memcpy(out + i * vocab, logits, vocab * sizeof *out);
  }
  viva_session_free(session);
  return out;
}

static void check(viva_model *model, size_t vocab, uint32_t chunk, const float *expected, const char *rule) {
  float *found = run(model, vocab, chunk);
  if (memcmp(found, expected, COUNT * vocab * sizeof *found))
    fail_msg("%s, activations %d, chunk %u: other bits", rule, (int)viva_model_act(model), chunk);
  free(found);
}

static void bits(void **state) {
  (void)state;
  static const viva_activation_mode acts[] = {VIVA_ACT_AUTO, VIVA_ACT_FP8, VIVA_ACT_INT8};
  kit one, three;
  begin(&one, 1);
  begin(&three, 3);
  for (size_t i = 0; i < RULES; i++) {
    for (size_t a = 0; a < 3; a++) {
      viva_model *model = load(&one, "/odd", rules[i], acts[a]), *other = load(&three, "/odd", rules[i], acts[a]);
      assert_int_equal(viva_model_act(model), a ? acts[a] : VIVA_ACT_16);
      float *expected = run(model, odd.vocab, 0);
      for (size_t j = 0; j < COUNT * odd.vocab; j++) assert_true(isfinite(expected[j]));
      check(model, odd.vocab, 1, expected, rules[i]);
      check(model, odd.vocab, 7, expected, rules[i]);
      check(other, odd.vocab, 0, expected, rules[i]);
      check(other, odd.vocab, 5, expected, rules[i]);
      free(expected);
      viva_model_release(other);
      viva_model_release(model);
    }
  }
  kit_end(&three);
  kit_end(&one);
}

/* Activations of 8 bits change the logits where a packed layer reads them, and nothing in a dense model. */
static void act_reaches_packed_layers_only(void **state) {
  (void)state;
  kit k;
  begin(&k, 2);
  for (int dense = 0; dense < 2; dense++) {
    const char *rule = dense ? "bf16" : "bf16,mlp.down_proj=fp8";
    viva_model *plain = load(&k, "/odd", rule, VIVA_ACT_16), *eight = load(&k, "/odd", rule, VIVA_ACT_FP8);
    float *a = run(plain, odd.vocab, 0), *b = run(eight, odd.vocab, 0);
    assert_int_equal(memcmp(a, b, COUNT * odd.vocab * sizeof *a) == 0, dense);
    free(a);
    free(b);
    viva_model_release(plain);
    viva_model_release(eight);
  }
  kit_end(&k);
}

/* ---- bytes */

static viva_packed_weight *weight_of(viva_model *model, uint64_t layer, viva_projection projection) {
  viva_packed_weight *w;
  viva_error error = {0};
  kit_ok(viva_model_weight(model, layer, projection, &w, &error), &error);
  return w;
}

static viva_packed_info info_of(viva_packed_weight *w) {
  viva_packed_info info = {.size = sizeof info};
  kit_ok(viva_packed_weight_info(w, &info, NULL), &(viva_error){0});
  return info;
}

static float *unpacked(viva_packed_weight *w, size_t *count) {
  viva_packed_info info = info_of(w);
  viva_error error = {0};
  *count = (size_t)(info.out_features * info.in_features);
  float *values = calloc(*count, sizeof *values);
  kit_ok(viva_packed_weight_unpack(w, values, *count, &error), &error);
  return values;
}

/* The prepack call for a format, given FP32 values. */
static viva_packed_weight *prepack(viva_engine *engine, float *values, const viva_packed_info *as) {
  viva_error error = {0};
  viva_tensor *t;
  viva_packed_weight *w = NULL;
  uint64_t shape[2] = {as->out_features, as->in_features};
  size_t bytes = (size_t)(shape[0] * shape[1]) * sizeof *values;
  viva_prepack_options o = viva_prepack_options_default();
  kit_ok(viva_tensor_wrap(engine, values, bytes, VIVA_F32, 2, shape, &t, &error), &error);
  viva_status status = VIVA_E_ARGUMENT;
  switch (as->format) {
  case VIVA_WEIGHT_F32: status = viva_prepack_dense(engine, t, VIVA_F32, NULL, &w, &error); break;
  case VIVA_WEIGHT_BF16: status = viva_prepack_dense(engine, t, VIVA_BF16, NULL, &w, &error); break;
  case VIVA_WEIGHT_F16: status = viva_prepack_dense(engine, t, VIVA_F16, NULL, &w, &error); break;
  case VIVA_WEIGHT_FP8:
    o.scale_dtype = as->scale_dtype;
    status = as->block ? viva_prepack_fp8_weight_blocked(engine, t, as->block, &o, &w, &error)
                       : viva_prepack_fp8_weight(engine, t, &o, &w, &error);
    break;
  case VIVA_WEIGHT_NVFP4:
    if (strstr(as->name, ":")) o.search = strstr(as->name, "absmax") ? VIVA_SEARCH_ABSMAX : VIVA_SEARCH_FOUR_OVER_SIX;
    status = viva_prepack_nvfp4_weight(engine, t, &o, &w, &error);
    break;
  case VIVA_WEIGHT_INT8_24: status = viva_prepack_int8_sparse_24_weight(engine, t, NULL, &w, &error); break;
  case VIVA_WEIGHT_INT4_24:
    o.scale_dtype = as->scale_dtype;
    o.block = as->block ? as->block : VIVA_BLOCK_CHANNEL;
    status = viva_prepack_int4_sparse_24_weight(engine, t, &o, &w, &error);
    break;
  }
  kit_ok(status, &error);
  viva_tensor_release(t);
  return w;
}

static void same_as_prepacked(viva_model *model, viva_model *exact, uint64_t layer, viva_projection projection,
                              const char *rule) {
  viva_packed_weight *found = weight_of(model, layer, projection), *source = weight_of(exact, layer, projection);
  viva_packed_info info = info_of(found);
  if (strstr(rule, "absmax")) strcpy(info.name, "nvfp4:absmax"); /* the search leaves no trace in a handle */
  if (strstr(rule, "four-over-six")) strcpy(info.name, "nvfp4:four-over-six");
  size_t count, again;
  float *values = unpacked(source, &count);
  viva_packed_weight *packed = prepack(viva_packed_weight_engine(found), values, &info);
  float *a = unpacked(found, &again), *b = unpacked(packed, &again);
  assert_int_equal(count, again);
  if (memcmp(a, b, count * sizeof *a)) fail_msg("%s: layer %d, projection %d differs", rule, (int)layer, projection);
  viva_packed_info second = info_of(packed);
  assert_int_equal(info.bytes, second.bytes);
  free(a);
  free(b);
  free(values);
  viva_packed_weight_release(packed);
  viva_packed_weight_release(source);
  viva_packed_weight_release(found);
}

/* What is packed while loading is what the prepack calls make of the FP32 values, permuted rows of GGUF included. */
static void loaded_is_prepacked(void **state) {
  (void)state;
  static const char *const paths[] = {"/odd", "/tiny.gguf"};
  kit k;
  begin(&k, 2);
  for (size_t p = 0; p < 2; p++) {
    viva_model *exact = load(&k, paths[p], "f32", VIVA_ACT_AUTO);
    viva_model_config config = {.size = sizeof config};
    kit_ok(viva_model_get_config(exact, &config, NULL), &(viva_error){0});
    for (size_t i = 0; i < RULES; i++) {
      viva_model *model = load(&k, paths[p], rules[i], VIVA_ACT_AUTO);
      for (uint64_t l = 0; l < config.num_layers; l++)
        for (int j = VIVA_PROJ_Q; j <= VIVA_PROJ_DOWN; j++)
          same_as_prepacked(model, exact, l, (viva_projection)j, rules[i]);
      same_as_prepacked(model, exact, 0, VIVA_PROJ_HEAD, rules[i]);
      viva_model_release(model);
    }
    viva_model_release(exact);
  }
  kit_end(&k);
}

/* ---- both ends of the model */

static void expect_ends(kit *k, const char *path, const char *rule, viva_weight_format table, viva_weight_format head) {
  viva_model *model = load(k, path, rule, VIVA_ACT_AUTO);
  viva_packed_weight *a = weight_of(model, 0, VIVA_PROJ_EMBEDDING), *b = weight_of(model, 0, VIVA_PROJ_HEAD);
  viva_packed_info in = info_of(a), out = info_of(b);
  if (in.format != table || out.format != head)
    fail_msg("%s, %s: table %s, head %s", path, rule ? rule : "stored", in.name, out.name);
  viva_packed_weight_release(a);
  viva_packed_weight_release(b);
  viva_model_release(model);
}

static void tables_and_heads(void **state) {
  (void)state;
  kit k;
  begin(&k, 1);
  small_model_put(k.io, "/bf16", &(small_model){.dtype = VIVA_BF16});
  small_model_put(k.io, "/f16", &(small_model){.dtype = VIVA_F16});
  small_model_put(k.io, "/untied", &(small_model){.dtype = VIVA_BF16, .untied = 1});
  expect_ends(&k, "/odd", NULL, VIVA_WEIGHT_F32, VIVA_WEIGHT_F32);
  expect_ends(&k, "/odd", "fp8", VIVA_WEIGHT_BF16, VIVA_WEIGHT_FP8);
  expect_ends(&k, "/odd", "f32", VIVA_WEIGHT_F32, VIVA_WEIGHT_F32);
  expect_ends(&k, "/odd", "f16", VIVA_WEIGHT_F16, VIVA_WEIGHT_F16);
  expect_ends(&k, "/odd", "fp8,lm_head=stored", VIVA_WEIGHT_BF16, VIVA_WEIGHT_BF16); /* the table */
  expect_ends(&k, "/odd", "lm_head=fp8", VIVA_WEIGHT_F32, VIVA_WEIGHT_FP8);
  expect_ends(&k, "/bf16", "f16", VIVA_WEIGHT_BF16, VIVA_WEIGHT_F16); /* BF16 is not narrowed to F16 */
  expect_ends(&k, "/bf16", "nvfp4", VIVA_WEIGHT_BF16, VIVA_WEIGHT_NVFP4);
  expect_ends(&k, "/f16", "int8-24,lm_head=bf16", VIVA_WEIGHT_F16, VIVA_WEIGHT_BF16);
  expect_ends(&k, "/f16", "int4-24", VIVA_WEIGHT_F16, VIVA_WEIGHT_INT4_24);
  expect_ends(&k, "/untied", "fp8,lm_head=stored", VIVA_WEIGHT_BF16, VIVA_WEIGHT_BF16);
  expect_ends(&k, "/untied", "fp8", VIVA_WEIGHT_BF16, VIVA_WEIGHT_FP8);
  kit_end(&k);
}

static void plan_counts_packed_bytes(void **state) {
  (void)state;
  kit k;
  begin(&k, 1);
  for (size_t i = 0; i < RULES; i++) {
    viva_model_options o = viva_model_options_default();
    viva_memory_plan before = {.size = sizeof before}, plan = {.size = sizeof plan};
    viva_error error = {0};
    o.weights = rules[i];
    kit_ok(viva_model_plan(k.engine, "/odd", &o, &before, &error), &error);
    viva_model *model = load(&k, "/odd", rules[i], VIVA_ACT_AUTO);
    kit_ok(viva_model_get_plan(model, &plan, &error), &error);
    uint64_t read = 5 * odd.hidden * sizeof(float), table = 0; /* two norms in each of two layers, and the last */
    for (int j = VIVA_PROJ_Q; j <= VIVA_PROJ_HEAD; j++)
      for (uint64_t l = 0; l < (j < VIVA_PROJ_EMBEDDING ? 2 : 1); l++) {
        viva_packed_weight *w = weight_of(model, l, (viva_projection)j);
        viva_packed_info info = info_of(w);
        if (j == VIVA_PROJ_EMBEDDING) table = info.bytes;
        /* with a head of its own a token reads one row of the table */
        read += j == VIVA_PROJ_EMBEDDING ? info.bytes / odd.vocab : info.code_bytes + info.scale_bytes;
        viva_packed_weight_release(w);
      }
    /* codes and scales begin at multiples of 64 bytes */
    if (plan.bytes_per_token < read || plan.bytes_per_token > read + 15 * 64)
      fail_msg("%s: a token reads %llu bytes, the weights are %llu", rules[i], (unsigned long long)plan.bytes_per_token,
               (unsigned long long)read);
    assert_true(plan.weight_bytes > plan.bytes_per_token && plan.weight_bytes <= plan.bytes_per_token + table);
    assert_int_equal(plan.weight_bytes, before.weight_bytes);
    assert_int_equal(plan.parameters, before.parameters);
    viva_model_release(model);
  }
  kit_end(&k);
}

static void scales_that_do_not_fit(void **state) {
  (void)state;
  kit k;
  begin(&k, 2);
  small_model large = odd;
  large.poked = "model.layers.1.mlp.up_proj.weight";
  large.poke = 1e9f; /* / 448 is beyond F16 */
  small_model_put(k.io, "/large", &large);
  viva_model *model = load(&k, "/large", "fp8:f16", VIVA_ACT_AUTO);
  viva_packed_weight *w = weight_of(model, 1, VIVA_PROJ_UP), *v = weight_of(model, 1, VIVA_PROJ_GATE);
  assert_int_equal(info_of(w).scale_dtype, VIVA_F32); /* the whole matrix, and only this one */
  assert_int_equal(info_of(v).scale_dtype, VIVA_F16);
  size_t count;
  float *values = unpacked(w, &count);
  assert_true(fabsf(values[0] - 1e9f) <= 1e9f * 0x1p-22f); /* scale and product are rounded */
  free(values);
  viva_packed_weight_release(w);
  viva_packed_weight_release(v);
  viva_model_release(model);
  kit_end(&k);
}

static void description(void **state) {
  (void)state;
  kit k;
  begin(&k, 1);
  static const struct {
    const char *rule, *text;
  } cases[] = {{"fp8", " FP8"},
               {"fp8-b16", " FP8 b16"},
               {"fp8-b128:e8m0", " FP8 b128:e8m0"},
               {"nvfp4", " NVFP4"},
               {"int8-24", " INT8 2:4"},
               {"int4-24-channel:f32", " INT4 2:4 channel:f32"},
               {"int4-24,layers.0.self_attn=bf16", " INT4 2:4 + BF16 in 4 matrices"},
               {"int4-24,layers.0.mlp.down_proj=bf16,lm_head=f32", " INT4 2:4 + BF16 in 1 matrix, head F32"},
               {"fp8,q_proj=fp8-b16,k_proj=fp8-b32,v_proj=fp8-b64,o_proj=nvfp4", " + others"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    viva_model *model = load(&k, "/odd", cases[i].rule, VIVA_ACT_AUTO);
    const char *text = viva_model_description(model);
    assert_string_equal(text + strlen(text) - strlen(cases[i].text), cases[i].text);
    viva_model_release(model);
  }
  kit_end(&k);
}

static void refusals(void **state) {
  (void)state;
  kit k;
  begin(&k, 2);
  viva_model_options o = viva_model_options_default();
  o.weights = "fp8,mlp.dwon_proj=bf16";
  kit_refused(&k, "/odd", &o, VIVA_E_ARGUMENT, "weights: \"mlp.dwon_proj\" fits no matrix of this model");
  o.weights = "fp8,layers.2=bf16";
  kit_refused(&k, "/odd", &o, VIVA_E_ARGUMENT,
              "\"layers.2\" fits no matrix of this model, which has model.layers.0-1.");
  o.weights = "fp8,embed_tokens=fp8"; /* the table is never packed */
  kit_refused(&k, "/odd", &o, VIVA_E_ARGUMENT, "\"embed_tokens\" fits no matrix");
  o.weights = "fp8";
  o.act = VIVA_ACT_INT4;
  kit_refused(&k, "/odd", &o, VIVA_E_ARGUMENT, "act: the activations of a model can be");
  o.act = (viva_activation_mode)99;
  kit_refused(&k, "/odd", &o, VIVA_E_ARGUMENT, "not 99");
  o.act = VIVA_ACT_AUTO;
  small_model bad = odd;
  bad.poked = "model.layers.0.mlp.gate_proj.weight";
  bad.poke = NAN;
  small_model_put(k.io, "/nan", &bad);
  for (size_t i = 0; i + 1 < RULES; i++) {
    o.weights = rules[i];
    kit_refused(&k, "/nan", &o, VIVA_E_NUMERIC, "the value in row 0, column 0 is NaN or infinite");
  }
  o.weights = "fp8,mlp.gate_proj=bf16"; /* what the message advises */
  viva_model_release(kit_load(&k, "/nan", &o));
  kit_end(&k);
}

/* Spliced layers give the bits of a model that was loaded so, and the models stay with it. */
static void spliced(void **state) {
  (void)state;
  static const struct {
    uint64_t first, count;
    const char *rule;
  } cases[] = {{0, 0, "bf16"},
               {1, 1, "bf16,layers.1=fp8"},
               {0, 1, "bf16,layers.0=fp8"},
               {0, 2, "fp8,lm_head=bf16"},
               {2, 0, "bf16"}};
  viva_error error = {0};
  kit k;
  begin(&k, 2);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    viva_model *base = load(&k, "/tiny.gguf", "bf16", VIVA_ACT_AUTO),
               *other = load(&k, "/tiny.gguf", "fp8", VIVA_ACT_FP8);
    viva_model *whole = load(&k, "/tiny.gguf", cases[i].rule, VIVA_ACT_FP8), *mixed;
    float *expected = run(whole, TINY_VOCAB, 0);
    kit_ok(viva_model_splice(base, other, cases[i].first, cases[i].count, &mixed, &error), &error);
    viva_model_release(base);
    viva_model_release(other);
    check(mixed, TINY_VOCAB, 0, expected, cases[i].rule);
    viva_model_release(mixed);
    viva_model_release(whole);
    free(expected);
  }
  kit_end(&k);
}

static void splice_refusals(void **state) {
  (void)state;
  viva_error error = {0};
  kit k, strange;
  begin(&k, 1);
  begin(&strange, 1);
  viva_model *base = load(&k, "/tiny.gguf", "bf16", VIVA_ACT_AUTO), *other = load(&k, "/odd", "bf16", VIVA_ACT_AUTO);
  viva_model *far = load(&strange, "/tiny.gguf", "bf16", VIVA_ACT_AUTO), *mixed;
  viva_model *fp8 = load(&k, "/tiny.gguf", "fp8", VIVA_ACT_FP8), *int8 = load(&k, "/tiny.gguf", "fp8", VIVA_ACT_INT8);
  const viva_status argument = VIVA_E_ARGUMENT;
  kit_error(viva_model_splice(base, other, 0, 1, &mixed, &error), VIVA_E_SIZE, &error, "differ in hidden_size");
  kit_error(viva_model_splice(base, far, 0, 1, &mixed, &error), argument, &error, "two engines");
  kit_error(viva_model_splice(base, base, 1, 2, &mixed, &error), argument, &error, "the models have 2");
  kit_error(viva_model_splice(base, base, UINT64_MAX, 1, &mixed, &error), argument, &error, "the models have 2");
  kit_error(viva_model_splice(base, base, 1, UINT64_MAX, &mixed, &error), argument, &error, "the models have 2");
  kit_error(viva_model_splice(fp8, int8, 0, 1, &mixed, &error), argument, &error, "different activations");
  kit_error(viva_model_splice(base, NULL, 0, 1, &mixed, &error), argument, &error, "other is NULL");
  kit_error(viva_model_splice(NULL, base, 0, 1, &mixed, &error), argument, &error, "base is NULL");
  kit_error(viva_model_splice(base, base, 0, 1, NULL, &error), argument, &error, "model is NULL");
  viva_model *all[] = {base, other, far, fp8, int8};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) viva_model_release(all[i]);
  kit_end(&k);
  kit_end(&strange);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bits),
                                     cmocka_unit_test(spliced),
                                     cmocka_unit_test(splice_refusals),
                                     cmocka_unit_test(act_reaches_packed_layers_only),
                                     cmocka_unit_test(loaded_is_prepacked),
                                     cmocka_unit_test(tables_and_heads),
                                     cmocka_unit_test(plan_counts_packed_bytes),
                                     cmocka_unit_test(scales_that_do_not_fit),
                                     cmocka_unit_test(description),
                                     cmocka_unit_test(refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
