/* Models on a GPU: captured steps beside the operations and beside the CPU, in every format, for 1 to 64 sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/model_kit.h"

enum { TOGETHER = 8, COUNT = 24, ALONE = 16, MOST = 64, VOCAB = 320 };

/* Sessions of a step. Up to ALONE a row is what it is alone. */
static const size_t together[TOGETHER] = {1, 2, 5, 16, 17, 32, 33, 64};

static viva_engine *gpu;

static int open_gpu(void **state) {
  viva_engine_options o = viva_engine_options_default();
  (void)state;
  o.device = VIVA_DEVICE_CUDA;
  return viva_engine_open(&o, &gpu, NULL) == VIVA_OK ? 0 : -1;
}

/* FP16 rows are off by up to 2^-11 of a value. These random models have scores of some 40, so that both factors of a
 * score move it by 40 · 2^-10 and with it a weight of attention by 4 %. Of two layers: */
#define BOUND 0x1p-4f

static void near_within(float bound, const float *a, const float *b, size_t n, const char *what) {
  float most = 0, off = 0;
  for (size_t i = 0; i < n; i++) {
    most = fmaxf(most, fabsf(b[i]));
    off = fmaxf(off, fabsf(a[i] - b[i]));
  }
  if (!(off <= bound * most)) fail_msg("%s: off by %g of %g", what, (double)off, (double)most);
}

static void near_to(const float *a, const float *b, const char *what) { near_within(BOUND, a, b, VOCAB, what); }

/* Logits after COUNT tokens: of a prefill, and of steps of several sessions for the last token. */
static void logits_of(kit *k, const char *weights, viva_activation_mode act, viva_dtype kv, viva_decode_path decode,
                      float *prefill, float (*steps)[VOCAB]) {
  viva_model_options o = viva_model_options_default();
  viva_error error = {0};
  viva_token tokens[COUNT], last[MOST];
  viva_session *sessions[MOST];
  const float *logits;
  o.weights = weights;
  o.act = act;
  o.kv = kv;
  o.decode = decode;
  viva_model *model = kit_load(k, "/m", &o);
  kit_tokens(tokens, COUNT, VOCAB, 5);
  for (size_t i = 0; i < MOST; i++) {
    sessions[i] = kit_session(model, 64, 20, VIVA_DTYPE_NONE);
    last[i] = i ? (viva_token)(i * 5) : tokens[COUNT - 1];
  }
  kit_ok(viva_session_prefill(sessions[0], tokens, COUNT, NULL, &error), &error);
  kit_ok(viva_session_logits(sessions[0], &logits, NULL, &error), &error);
  memcpy(prefill, logits, VOCAB * sizeof(float));
  kit_ok(viva_session_truncate(sessions[0], 0, &error), &error);
  for (size_t i = 0; i < MOST; i++) kit_ok(viva_session_prefill(sessions[i], tokens, COUNT - 1, NULL, &error), &error);
  for (size_t j = 0; j < TOGETHER; j++) {
    for (size_t i = 0; i < together[j]; i++) kit_ok(viva_session_truncate(sessions[i], COUNT - 1, &error), &error);
    kit_ok(viva_sessions_decode(sessions, last, together[j], &error), &error);
    kit_ok(viva_session_logits(sessions[0], &logits, NULL, &error), &error);
    memcpy(steps[j], logits, VOCAB * sizeof(float));
  }
  for (size_t i = 0; i < MOST; i++) viva_session_free(sessions[i]);
  viva_model_release(model);
}

static void compare(kit *k, const char *weights, viva_activation_mode act, viva_dtype kv) {
  static float cpu[VOCAB], device[VOCAB], cpu_steps[TOGETHER][VOCAB], steps[TOGETHER][VOCAB], stays[TOGETHER][VOCAB];
  char what[64];
  viva_engine *own = k->engine;
  logits_of(k, weights, act, kv, VIVA_DECODE_AUTO, cpu, cpu_steps);
  backend *b = own->backend;
  own->backend = gpu->backend; /* the files are the kit's */
  logits_of(k, weights, act, kv, VIVA_DECODE_GRAPH, device, steps);
  logits_of(k, weights, act, kv, VIVA_DECODE_PERSISTENT, device, stays);
  own->backend = b;
  snprintf(what, sizeof what, "%s, activations %d, KV %d", weights, (int)act, (int)kv);
  near_to(device, cpu, what);
  near_to(steps[0], device, what);
  for (int j = 0; j < TOGETHER; j++) {
    if (together[j] > ALONE)
      near_to(steps[j], device, what);
    else if (memcmp(steps[0], steps[j], sizeof steps[0]))
      fail_msg("%s: among %zu rows one is not what it is alone", what, together[j]);
    if (memcmp(steps[j], stays[j], sizeof steps[j])) fail_msg("%s: row %d, the layers as one kernel differ", what, j);
  }
}

static void models_decode_as_on_the_cpu(void **state) {
  static const char *const formats[] = {"f32",         "bf16",  "f16",     "fp8",    "fp8-b16",
                                        "fp8-b32:f16", "nvfp4", "int8-24", "int4-24"};
  static const small_model models[] = {
      {.hidden = 64, .ffn = 96, .heads = 4, .kv_heads = 2, .head_dim = 16, .vocab = VOCAB},
      {.model_type = "qwen3",
       .hidden = 128,
       .ffn = 256,
       .heads = 6,
       .kv_heads = 2,
       .head_dim = 64,
       .vocab = VOCAB,
       .untied = 1},
      {.model_type = "qwen2", .hidden = 128, .ffn = 192, .heads = 7, .kv_heads = 1, .head_dim = 32, .vocab = VOCAB},
      {.hidden = 256,
       .ffn = 320,
       .heads = 2,
       .kv_heads = 2,
       .head_dim = 128,
       .vocab = VOCAB,
       .attention_bias = 1,
       .mlp_bias = 1},
  };
  (void)state;
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    kit k;
    kit_begin(&k, 2, VIVA_KERNELS_AUTO);
    small_model_put(k.io, "/m", &models[m]);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) compare(&k, formats[f], VIVA_ACT_16, VIVA_F16);
    compare(&k, "fp8", VIVA_ACT_16, VIVA_F32);
    kit_end(&k);
  }
}

/* Rows of 300 positions and fewer: of many together a block attends to more than one share of a row (step_cluster.cu), and
 * products share their tiles among blocks. Logits of session 0. */
static void long_rows_are_what_they_are_alone(void **state) {
  enum { POSITIONS = 300, BESIDE = 33 };
  static const size_t beside[] = {1, 3, 8, 9, 16, 17, 32, 33};
  static viva_token tokens[POSITIONS], last[BESIDE];
  static float alone[VOCAB];
  viva_model_options o = viva_model_options_default();
  viva_session *sessions[BESIDE];
  viva_error error = {0};
  kit k;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(
      k.io, "/m",
      &(small_model){
          .hidden = 1280, .ffn = 1536, .heads = 32, .kv_heads = 16, .head_dim = 64, .vocab = VOCAB, .context = 512});
  backend *b = k.engine->backend;
  k.engine->backend = gpu->backend;
  o.weights = "fp8";
  o.decode = VIVA_DECODE_GRAPH;
  viva_model *model = kit_load(&k, "/m", &o);
  kit_tokens(tokens, POSITIONS, VOCAB, 7);
  for (size_t i = 0; i < BESIDE; i++) {
    sessions[i] = kit_session(model, POSITIONS + 8, POSITIONS, VIVA_DTYPE_NONE);
    last[i] = (viva_token)(i * 7 + 1);
  }
  for (size_t j = 0; j < sizeof beside / sizeof *beside; j++) {
    const float *logits;
    for (size_t i = 0; i < beside[j]; i++) {
      kit_ok(viva_session_truncate(sessions[i], 0, &error), &error);
      kit_ok(viva_session_prefill(sessions[i], tokens, POSITIONS - 9 * i, NULL, &error), &error);
    }
    kit_ok(viva_sessions_decode(sessions, last, beside[j], &error), &error);
    kit_ok(viva_session_logits(sessions[0], &logits, NULL, &error), &error);
    if (j == 0)
      memcpy(alone, logits, sizeof alone);
    else if (beside[j] > ALONE)
      near_to(logits, alone, "among many rows");
    else if (memcmp(alone, logits, sizeof alone))
      fail_msg("a row of %d positions among %zu rows is not what it is alone", POSITIONS, beside[j]);
  }
  for (size_t i = 0; i < BESIDE; i++) viva_session_free(sessions[i]);
  viva_model_release(model);
  k.engine->backend = b;
  kit_end(&k);
}

/* Steps one after the other, of more layers than there are copies of the words between blocks (persist_words.cuh). WIDE: a tile
 * of the head for each of 132 blocks. */
enum { STEPS = 12, WIDE = 2112 };

static void steps_of(kit *k, const char *weights, viva_decode_path decode, float (*steps)[WIDE]) {
  viva_model_options o = viva_model_options_default();
  viva_error error = {0};
  viva_token tokens[COUNT + STEPS];
  const float *logits;
  o.weights = weights;
  o.decode = decode;
  viva_model *model = kit_load(k, "/m", &o);
  viva_session *session = kit_session(model, COUNT + STEPS, COUNT, VIVA_DTYPE_NONE);
  kit_tokens(tokens, COUNT + STEPS, WIDE, 3);
  kit_ok(viva_session_prefill(session, tokens, COUNT, NULL, &error), &error);
  for (size_t i = 0; i < STEPS; i++) {
    kit_ok(viva_sessions_decode(&session, &tokens[COUNT + i], 1, &error), &error);
    kit_ok(viva_session_logits(session, &logits, NULL, &error), &error);
    memcpy(steps[i], logits, sizeof steps[i]);
  }
  viva_session_free(session);
  viva_model_release(model);
}

static void compare_steps(kit *k, const char *weights, size_t layers) {
  static float cpu[STEPS][WIDE], plain[STEPS][WIDE], graph[STEPS][WIDE], stays[STEPS][WIDE];
  const float bound = BOUND * (float)layers / 2;
  char what[64];
  backend *own = k->engine->backend;
  steps_of(k, weights, VIVA_DECODE_AUTO, cpu);
  k->engine->backend = gpu->backend;
  steps_of(k, weights, VIVA_DECODE_PLAIN, plain);
  steps_of(k, weights, VIVA_DECODE_GRAPH, graph);
  steps_of(k, weights, VIVA_DECODE_PERSISTENT, stays);
  k->engine->backend = own;
  for (size_t i = 0; i < STEPS; i++) {
    snprintf(what, sizeof what, "%s, step %zu", weights, i);
    near_within(bound, plain[i], cpu[i], WIDE, what);
    near_within(bound, graph[i], cpu[i], WIDE, what);
    if (memcmp(graph[i], stays[i], sizeof graph[i])) fail_msg("%s: the layers as one kernel differ", what);
  }
}

/* Of the first model's layers some blocks have no tile; of the second's each has one, so that the head is in their kernel. Of
 * the third's the last ones look back 7 positions, which are fewer than there are. */
static void steps_of_many_layers(void **state) {
  static const char *const formats[] = {"bf16", "fp8", "fp8-b16", "nvfp4", "int8-24", "int4-24"};
  static const small_model models[] = {
      {.hidden = 576, .ffn = 1536, .layers = 6, .heads = 9, .kv_heads = 3, .head_dim = 64, .vocab = WIDE},
      {.hidden = 256, .ffn = 2112, .layers = 7, .heads = 4, .kv_heads = 2, .head_dim = 64, .vocab = WIDE},
      {.model_type = "qwen2",
       .config = "\"use_sliding_window\":true,\"max_window_layers\":2,\"sliding_window\":7,",
       .hidden = 256,
       .ffn = 2112,
       .layers = 4,
       .heads = 4,
       .kv_heads = 2,
       .head_dim = 64,
       .vocab = WIDE},
  };
  (void)state;
  for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
    kit k;
    kit_begin(&k, 2, VIVA_KERNELS_AUTO);
    small_model_put(k.io, "/m", &models[m]);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) compare_steps(&k, formats[f], models[m].layers);
    kit_end(&k);
  }
}

static void repeats_are_equal(void **state) {
  static float first[VOCAB], again[VOCAB], steps[TOGETHER][VOCAB], steps_again[TOGETHER][VOCAB];
  kit k;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/m",
                  &(small_model){.hidden = 128, .ffn = 256, .heads = 8, .kv_heads = 2, .head_dim = 64, .vocab = VOCAB});
  backend *b = k.engine->backend;
  k.engine->backend = gpu->backend;
  logits_of(&k, "nvfp4", VIVA_ACT_16, VIVA_F16, VIVA_DECODE_PERSISTENT, first, steps);
  for (int i = 0; i < 50; i++) {
    logits_of(&k, "nvfp4", VIVA_ACT_16, VIVA_F16, VIVA_DECODE_PERSISTENT, again, steps_again);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_equal(steps, steps_again, sizeof steps);
  }
  k.engine->backend = b;
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(models_decode_as_on_the_cpu),
                                     cmocka_unit_test(long_rows_are_what_they_are_alone),
                                     cmocka_unit_test(steps_of_many_layers), cmocka_unit_test(repeats_are_equal)};
  if (open_gpu(NULL)) {
    fprintf(stderr, "skipped: no CUDA device\n");
    return 77;
  }
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  viva_engine_release(gpu);
  return failed;
}
