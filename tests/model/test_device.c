/* On a device whose memory the host cannot touch (lib/far_device.h): what model/ computes there is what it computes on the
 * CPU, bit for bit, in every format and mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/far_device.h"
#include "lib/model_kit.h"

enum { COUNT = 50 };

typedef struct outcome {
  float *all; /* [COUNT][vocab] */
  viva_token next[8], batch[8];
  size_t vocab;
} outcome;

static void use(kit *k, const char *path, const char *weights, viva_activation_mode act, viva_dtype kv,
                viva_load_mode mode, outcome *out) {
  viva_error error = {0};
  viva_token tokens[COUNT];
  viva_model_options o = viva_model_options_default();
  viva_prefill_options p = viva_prefill_options_default();
  o.load = mode;
  o.weights = weights;
  o.act = act;
  o.kv = kv;
  viva_model *model = kit_load(k, path, &o);
  viva_session *a = kit_session(model, 64, 20, VIVA_DTYPE_NONE), *b = kit_session(model, 60, 20, VIVA_DTYPE_NONE);
  out->all = calloc(COUNT * out->vocab, sizeof(float));
  kit_tokens(tokens, COUNT, out->vocab, 3);
  p.all_logits = out->all;
  p.all_logits_count = COUNT * out->vocab;
  kit_ok(viva_session_prefill(a, tokens, COUNT, &p, &error), &error);
  kit_ok(viva_session_copy(b, a, &error), &error);
  viva_token next = 3;
  for (int i = 0; i < 4; i++) {
    const float *logits;
    viva_token best;
    kit_ok(viva_session_decode_argmax(a, next, &next, &error), &error);
    kit_ok(viva_session_logits(a, &logits, NULL, &error), &error);
    kit_ok(viva_argmax(logits, out->vocab, &best, NULL, &error), &error);
    assert_int_equal(best, next);
    out->next[i] = next;
    kit_ok(viva_session_decode(b, next, &error), &error);
    kit_ok(viva_sessions_decode((viva_session *[]){a, b}, (viva_token[]){next, 5}, 2, &error), &error);
    kit_ok(viva_session_logits(b, &logits, NULL, &error), &error);
    kit_ok(viva_argmax(logits, out->vocab, &out->batch[i], NULL, &error), &error);
  }
  viva_session_free(a);
  viva_session_free(b);
  viva_model_release(model);
}

static void compare(kit *k, const char *path, size_t vocab, const char *weights, viva_activation_mode act,
                    viva_dtype kv, viva_load_mode mode, int flags, int decode) {
  outcome cpu = {.vocab = vocab}, device = cpu;
  far_device far;
  use(k, path, weights, act, kv, mode, &cpu);
  far_begin(&far, k->engine, flags);
  if (decode) far_add_decode(&far);
  use(k, path, weights, act, kv, mode, &device);
  far_end(&far);
  assert_memory_equal(cpu.all, device.all, COUNT * cpu.vocab * sizeof(float));
  assert_memory_equal(cpu.next, device.next, sizeof cpu.next);
  assert_memory_equal(cpu.batch, device.batch, sizeof cpu.batch);
  free(cpu.all);
  free(device.all);
}

static void same_bits(void **state) {
  (void)state;
  static const struct {
    const char *path;
    size_t vocab;
  } models[] = {{"/tiny.gguf", 299}, {"/qwen3", 40}, {"/large", 3000}};
  kit k;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/qwen3", &(small_model){.model_type = "qwen3", .attention_bias = 1, .dtype = VIVA_BF16});
  /* 36 MB in pieces of 256 KB: its staging buffer is filled and uploaded more than once */
  small_model_put(k.io, "/large", &(small_model){.vocab = 3000, .hidden = 1500, .ffn = 900, .heads = 5, .kv_heads = 5});
  for (size_t i = 0; i < sizeof models / sizeof *models; i++)
    for (int mode = VIVA_LOAD_READ; mode <= VIVA_LOAD_MMAP; mode++)
      compare(&k, models[i].path, models[i].vocab, NULL, VIVA_ACT_16, VIVA_F16, (viva_load_mode)mode,
              mode == VIVA_LOAD_READ ? FAR_PREPARE : 0, mode == VIVA_LOAD_READ);
  kit_end(&k);
}

/* Every weight format, every mode of activations, every type of cache. */
static void formats_and_modes(void **state) {
  static const char *const weights[] = {"f32",
                                        "bf16",
                                        "f16",
                                        "fp8",
                                        "fp8-b16",
                                        "fp8-b32:f16",
                                        "fp8-b64:e8m0",
                                        "nvfp4",
                                        "int8-24",
                                        "int4-24",
                                        "int4-24-g32",
                                        "int4-24-channel",
                                        "nvfp4,mlp.down_proj=bf16,lm_head=fp8"};
  static const viva_activation_mode modes[] = {VIVA_ACT_16, VIVA_ACT_FP8, VIVA_ACT_INT8};
  static const viva_dtype kv[] = {VIVA_F16, VIVA_F32, VIVA_E4M3};
  kit k;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(
      k.io, "/m",
      &(small_model){
          .hidden = 128, .ffn = 192, .heads = 4, .kv_heads = 2, .head_dim = 32, .vocab = 96, .dtype = VIVA_BF16});
  for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
    for (size_t j = 0; j < sizeof modes / sizeof *modes; j++)
      compare(&k, "/m", 96, weights[i], modes[j], kv[(i + j) % 3], VIVA_LOAD_READ,
              ((i + j) % 2 ? FAR_PREPARE : FAR_PREPARE | FAR_PACK) | (i % 3 == 0 ? FAR_PIN : 0), i % 2 == 0);
  kit_end(&k);
}

/* A matrix of a model that is loaded now, as FP32. */
static float *loaded(kit *k, const char *path, const char *weights, viva_projection projection,
                     viva_packed_info *info) {
  viva_error error = {0};
  viva_packed_weight *w;
  viva_model_options o = viva_model_options_default();
  o.weights = weights;
  viva_model *model = kit_load(k, path, &o);
  kit_ok(viva_model_weight(model, 0, projection, &w, &error), &error);
  kit_ok(viva_packed_weight_info(w, info, &error), &error);
  const size_t count = (size_t)(info->out_features * info->in_features);
  float *values = calloc(count, sizeof *values);
  kit_ok(viva_packed_weight_unpack(w, values, count, &error), &error);
  viva_packed_weight_release(w);
  viva_model_release(model);
  return values;
}

/* Packed by the device, or by the host on the way there: interleaved heads of a GGUF file, and matrices of more than one batch
 * (16 MiB); with stages that the device reads late. */
static void packed_on_the_way(void **state) {
  static const struct {
    const char *path, *weights;
    viva_projection projection;
  } cases[] = {{"/tiny.gguf", "fp8-b32:f16", VIVA_PROJ_Q},
               {"/tiny.gguf", "nvfp4", VIVA_PROJ_K},
               {"/wide", "int4-24", VIVA_PROJ_EMBEDDING},
               {"/wide", "f32", VIVA_PROJ_EMBEDDING}};
  static const int flags[] = {FAR_PACK, FAR_PACK | FAR_PIN, FAR_PIN, 0};
  kit k;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/wide",
                  &(small_model){.vocab = 6000, .hidden = 1500, .ffn = 64, .heads = 5, .kv_heads = 5, .layers = 1});
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    viva_packed_info info = {.size = sizeof info};
    far_device far;
    float *expected = loaded(&k, cases[i].path, cases[i].weights, cases[i].projection, &info);
    for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
      far_begin(&far, k.engine, FAR_PREPARE | flags[f]);
      float *got = loaded(&k, cases[i].path, cases[i].weights, cases[i].projection, &info);
      if ((flags[f] & FAR_PACK) && strcmp(cases[i].weights, "f32") != 0) assert_true(far.packed >= info.out_features);
      far_end(&far);
      assert_memory_equal(got, expected, info.out_features * info.in_features * sizeof *got);
      free(got);
    }
    free(expected);
  }
  kit_end(&k);
}

/* The option decode: plain never asks for whole steps, graph needs a device that has them. */
static size_t whole_steps;

static viva_status counted_step(backend *b, const decoder *d, const batch *host, input_mode mode, float *const *logits,
                                viva_token *best, float *values, uint8_t *nan, viva_error *error) {
  (void)b, (void)d, (void)host, (void)mode, (void)logits, (void)best, (void)values, (void)nan, (void)error;
  whole_steps++;
  return VIVA_E_UNSUPPORTED; /* this step; the operations do it */
}

static size_t steps_of(kit *k, viva_decode_path path) {
  viva_error error = {0};
  viva_model_options o = viva_model_options_default();
  o.decode = path;
  viva_model *model = kit_load(k, "/tiny.gguf", &o);
  viva_session *s = kit_session(model, 20, 0, VIVA_F16);
  whole_steps = 0;
  for (viva_token t = 0; t < 3; t++) kit_ok(viva_session_decode(s, t, &error), &error);
  viva_session_free(s);
  viva_model_release(model);
  return whole_steps;
}

static void ways_of_decoding(void **state) {
  kit k;
  far_device far;
  viva_model_options o = viva_model_options_default();
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  assert_int_equal(steps_of(&k, VIVA_DECODE_AUTO), 0);
  o.decode = VIVA_DECODE_GRAPH;
  kit_refused(&k, "/tiny.gguf", &o, VIVA_E_UNSUPPORTED, "decode: this device (cpu) runs no captured steps");
  o.decode = (viva_decode_path)4;
  kit_refused(&k, "/tiny.gguf", &o, VIVA_E_ARGUMENT,
              "decode: decode can be VIVA_DECODE_AUTO, _PLAIN, _GRAPH or _PERSISTENT, not 4");
  far_begin(&far, k.engine, FAR_PREPARE);
  far_add_decode(&far);
  far.ops.decode_step = counted_step;
  assert_int_equal(steps_of(&k, VIVA_DECODE_AUTO), 3);
  assert_int_equal(steps_of(&k, VIVA_DECODE_GRAPH), 3);
  assert_int_equal(steps_of(&k, VIVA_DECODE_PERSISTENT), 3);
  assert_int_equal(steps_of(&k, VIVA_DECODE_PLAIN), 0);
  far_end(&far);
  kit_end(&k);
}

/* Lost in the middle of a step: one clear status from then on, every session as it was, everything freed. */
static void a_lost_device(void **state) {
  kit k;
  far_device far;
  viva_error error = {0};
  viva_token tokens[80];
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  kit_tokens(tokens, 80, 299, 1);
  for (long calls = 0;; calls += 5) {
    far_begin(&far, k.engine, FAR_PREPARE);
    viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
    viva_session *a = kit_session(model, 100, 30, VIVA_F16), *b = kit_session(model, 100, 0, VIVA_F16);
    kit_ok(viva_session_prefill(a, tokens, 7, NULL, &error), &error);
    far.calls_left = calls;
    const viva_step_part parts[] = {
        {.size = sizeof parts[0], .session = a, .tokens = tokens, .count = 70, .logits = VIVA_STEP_LAST},
        {.size = sizeof parts[0], .session = b, .tokens = tokens, .count = 3, .logits = VIVA_STEP_ALL}};
    const viva_status status = viva_step(parts, 2, NULL, &error);
    if (status) {
      kit_error(status, VIVA_E_DEVICE, &error, "the device fell off");
      kit_error(viva_session_decode(b, 1, &error), VIVA_E_DEVICE, &error, "the device fell off");
      assert_int_equal(viva_session_position(a), 7);
      assert_int_equal(viva_session_position(b), 0);
    }
    viva_session_free(a);
    viva_session_free(b);
    viva_model_release(model);
    far_end(&far);
    if (status == VIVA_OK) break;
  }
  kit_end(&k);
}

/* Lost at each call of loading in turn, and cancelled after each batch: everything is freed. */
static int cancel_later(void *left, uint64_t done, uint64_t total) {
  (void)done, (void)total;
  return (*(int *)left)-- == 0;
}

static void loading_that_ends_early(void **state) {
  static const int flags[] = {FAR_PREPARE, FAR_PREPARE | FAR_PIN, FAR_PREPARE | FAR_PIN | FAR_PACK};
  kit k;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/wide",
                  &(small_model){.vocab = 6000, .hidden = 1500, .ffn = 64, .heads = 5, .kv_heads = 5, .layers = 1});
  for (size_t f = 0; f < sizeof flags / sizeof *flags; f++)
    for (int cancels = 0; cancels < 2; cancels++)
      for (int calls = 0;; calls += 1 + calls / 8) {
        far_device far;
        viva_error error = {0};
        viva_model *model = NULL;
        viva_model_options o = viva_model_options_default();
        int left = calls;
        o.weights = "fp8";
        far_begin(&far, k.engine, flags[f]);
        if (cancels)
          o.progress = cancel_later, o.progress_user = &left;
        else
          far.calls_left = calls;
        const viva_status status = viva_model_load(k.engine, "/wide", &o, &model, &error);
        if (status)
          kit_error(status, cancels ? VIVA_E_CANCELLED : VIVA_E_DEVICE, &error, cancels ? "cancelled" : "device");
        viva_model_release(model);
        far_end(&far);
        if (status == VIVA_OK) break;
      }
  kit_end(&k);
}

/* A model of F32 on devices of several sizes: what fits, and what the refusal advises. */
static void small_devices(void **state) {
  (void)state;
  kit k;
  far_device far;
  viva_error error = {0};
  viva_memory_plan p = {.size = sizeof p}, smaller = {.size = sizeof smaller};
  char advice[128];
  viva_model_options o = viva_model_options_default();
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/m", &(small_model){.vocab = 20000, .hidden = 64, .context = 100000, .layers = 1});
  far_begin(&far, k.engine, 0);
  kit_ok(viva_model_plan(k.engine, "/m", NULL, &p, &error), &error);
  uint64_t table = 20000 * 64 * 4, per_token = 2 * 2 * 8 * 2;
  assert_int_equal(p.kv_bytes, 100032 * per_token); /* whole pages */
  far.available = p.needed_bytes;
  viva_model_release(kit_load(&k, "/m", NULL));
  far.available = p.needed_bytes - 1;
  kit_refused(&k, "/m", NULL, VIVA_E_LIMIT,
              "the largest context that fits is 99968 tokens; with weights bf16 all of it fits");
  o.context = 99968;
  viva_model_release(kit_load(&k, "/m", &o));
  far.available = p.needed_bytes - table; /* less than the weights in BF16 save */
  kit_refused(&k, "/m", NULL, VIVA_E_LIMIT, "the largest context that fits is ");
  o.context = 0;
  o.weights = "bf16";
  kit_refused(&k, "/m", &o, VIVA_E_LIMIT, "the largest context that fits is ");
  far.available = p.weight_bytes; /* no room beside F32; beside BF16 for less than all */
  kit_ok(viva_model_plan(k.engine, "/m", &o, &smaller, &error), &error);
  assert_true(smaller.largest_context > 0 && smaller.largest_context < 100000);
  snprintf(advice, sizeof advice, "no context fits; with weights bf16 a context of %llu tokens fits",
           (unsigned long long)smaller.largest_context);
  kit_refused(&k, "/m", NULL, VIVA_E_LIMIT, advice);
  o.context = smaller.largest_context;
  viva_model_release(kit_load(&k, "/m", &o));
  far.available = 900;
  kit_refused(&k, "/m", NULL, VIVA_E_LIMIT, "but 900 bytes are available; no context fits");
  far_end(&far);
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits),         cmocka_unit_test(formats_and_modes),
                                     cmocka_unit_test(packed_on_the_way), cmocka_unit_test(ways_of_decoding),
                                     cmocka_unit_test(a_lost_device),     cmocka_unit_test(loading_that_ends_early),
                                     cmocka_unit_test(small_devices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
