/* A device whose memory the host cannot touch: the CPU backend behind pointers that are no addresses. What model/ computes
 * on it is what it computes on the CPU, bit for bit; a pointer used on the wrong side would be a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"

#define FAR ((uintptr_t)1 << 60) /* added to a device pointer: no address of a process */

typedef struct far_backend {
  backend base;
  backend_ops ops;
  backend *cpu;
  int copies_left;    /* copies until one fails; −1: none does */
  uint64_t available; /* bytes of memory that it says it has; 0: as the CPU */
} far_backend;

static backend *cpu_of_far(backend *b) { return ((far_backend *)b)->cpu; }

static void *near(const void *dev) {
  if (dev && (uintptr_t)dev < FAR) fail_msg("a host pointer where the device's memory is meant");
  return dev ? (void *)((uintptr_t)dev - FAR) : NULL;
}

static weight near_weight(const weight *w) {
  weight copy = *w;
  copy.data = near(w->data);
  return copy;
}

static void *far_alloc(backend *b, size_t bytes) {
  void *memory = backend_cpu.alloc(cpu_of_far(b), bytes);
  return memory ? (void *)((uintptr_t)memory + FAR) : NULL;
}

static void far_free(backend *b, void *dev) { backend_cpu.free(cpu_of_far(b), near(dev)); }

static void far_info(backend *b, viva_device_info *info) {
  backend_cpu.info(cpu_of_far(b), info);
  if (((far_backend *)b)->available) info->memory_available = ((far_backend *)b)->available;
}

static viva_status far_upload(backend *b, void *dev, const void *host, size_t bytes, viva_error *error) {
  return backend_cpu.upload(cpu_of_far(b), near(dev), host, bytes, error);
}

static viva_status far_download(backend *b, void *host, const void *dev, size_t bytes, viva_error *error) {
  return backend_cpu.download(cpu_of_far(b), host, near(dev), bytes, error);
}

static viva_status far_copy(backend *b, void *to, const void *from, size_t bytes, viva_error *error) {
  far_backend *far = (far_backend *)b;
  if (far->copies_left >= 0 && far->copies_left-- == 0) return error_set(error, VIVA_E_INTERNAL, "the device fell off");
  return backend_cpu.copy(far->cpu, near(to), near(from), bytes, error);
}

static viva_status far_embed(backend *b, const weight *table, const viva_token *tokens, size_t m, float *out,
                             viva_error *error) {
  weight w = near_weight(table);
  return backend_cpu.embed(cpu_of_far(b), &w, tokens, m, near(out), error);
}

static viva_status far_rmsnorm(backend *b, const float *x, float *y, size_t rows, size_t stride, size_t groups,
                               size_t n, const float *gain, float eps, viva_error *error) {
  return backend_cpu.rmsnorm(cpu_of_far(b), near(x), near(y), rows, stride, groups, n, near(gain), eps, error);
}

static viva_status far_linear(backend *b, const linear_args *args, size_t count, viva_error *error) {
  linear_args copy[3];
  weight weights[3];
  assert_true(count <= 3);
  for (size_t i = 0; i < count; i++) {
    weights[i] = near_weight(args[i].w);
    copy[i] = args[i];
    copy[i].w = &weights[i];
    copy[i].x = near(args[i].x);
    copy[i].y = near(args[i].y);
    copy[i].bias = near(args[i].bias);
    copy[i].residual = near(args[i].residual);
  }
  return backend_cpu.linear(cpu_of_far(b), copy, count, error);
}

/* The spans are the host's, what they point to is the device's. */
static void near_spans(const kv_span *spans, size_t count, kv_span *copy) {
  assert_true(count <= 64);
  for (size_t i = 0; i < count; i++) {
    copy[i] = spans[i];
    copy[i].k = near(spans[i].k);
    copy[i].v = near(spans[i].v);
  }
}

static viva_status far_rope_append(backend *b, const rope_append_args *args, viva_error *error) {
  kv_span spans[64];
  rope_append_args copy = *args;
  near_spans(args->spans, args->span_count, spans);
  copy.spans = spans;
  copy.cos_sin = near(args->cos_sin);
  copy.q = near(args->q);
  copy.k = near(args->k);
  copy.v = near(args->v);
  return backend_cpu.rope_append(cpu_of_far(b), &copy, error);
}

static viva_status far_attention(backend *b, const attention_args *args, viva_error *error) {
  kv_span spans[64];
  attention_args copy = *args;
  near_spans(args->spans, args->span_count, spans);
  copy.spans = spans;
  copy.q = near(args->q);
  copy.out = near(args->out);
  return backend_cpu.attention(cpu_of_far(b), &copy, error);
}

static viva_status far_silu_mul(backend *b, const float *gate, const float *up, float *out, size_t rows, size_t n,
                                size_t stride, viva_error *error) {
  return backend_cpu.silu_mul(cpu_of_far(b), near(gate), near(up), near(out), rows, n, stride, error);
}

static viva_status far_argmax(backend *b, const float *values, size_t n, viva_token *id, int *nan, viva_error *error) {
  return backend_cpu.argmax(cpu_of_far(b), near(values), n, id, nan, error);
}

static size_t far_scratch_bytes(backend *b, size_t m, size_t context, size_t width) {
  return backend_cpu.scratch_bytes(cpu_of_far(b), m, context, width);
}

static viva_status far_reserve(backend *b, size_t m, size_t context, size_t width, viva_error *error) {
  return backend_cpu.reserve(cpu_of_far(b), m, context, width, error);
}

static void far_begin(far_backend *far, kit *k) {
  far->ops = (backend_ops){.name = "far",
                           .info = far_info,
                           .alloc = far_alloc,
                           .free = far_free,
                           .upload = far_upload,
                           .download = far_download,
                           .copy = far_copy,
                           .embed = far_embed,
                           .rmsnorm = far_rmsnorm,
                           .linear = far_linear,
                           .rope_append = far_rope_append,
                           .attention = far_attention,
                           .silu_mul = far_silu_mul,
                           .argmax = far_argmax,
                           .scratch_bytes = far_scratch_bytes,
                           .reserve = far_reserve};
  far->base.ops = &far->ops;
  far->cpu = k->engine->backend;
  far->copies_left = -1;
  far->available = 0;
  k->engine->backend = &far->base;
}

static void far_end(far_backend *far, kit *k) { k->engine->backend = far->cpu; }

/* ---- */

enum { COUNT = 50 };

typedef struct outcome {
  float *all; /* [COUNT][vocab] */
  viva_token next[8], batch[8];
  size_t vocab;
} outcome;

static void use(kit *k, const char *path, viva_load_mode mode, outcome *out) {
  viva_error error = {0};
  viva_token tokens[COUNT];
  viva_model_options o = viva_model_options_default();
  viva_prefill_options p = viva_prefill_options_default();
  o.load = mode;
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

static void same_bits(void **state) {
  (void)state;
  static const struct {
    const char *path;
    size_t vocab;
  } models[] = {{"/tiny.gguf", 299}, {"/qwen3", 40}, {"/large", 3000}};
  kit k;
  far_backend far;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/qwen3", &(small_model){.model_type = "qwen3", .attention_bias = 1, .dtype = VIVA_BF16});
  /* 36 MB in pieces of 256 KB: its staging buffer is filled and uploaded more than once */
  small_model_put(k.io, "/large", &(small_model){.vocab = 3000, .hidden = 1500, .ffn = 900, .heads = 5, .kv_heads = 5});
  for (size_t i = 0; i < sizeof models / sizeof *models; i++)
    for (int mode = VIVA_LOAD_READ; mode <= VIVA_LOAD_MMAP; mode++) {
      outcome cpu = {.vocab = models[i].vocab}, device = cpu;
      use(&k, models[i].path, (viva_load_mode)mode, &cpu);
      far_begin(&far, &k);
      use(&k, models[i].path, (viva_load_mode)mode, &device);
      far_end(&far, &k);
      assert_memory_equal(cpu.all, device.all, COUNT * cpu.vocab * sizeof(float));
      assert_memory_equal(cpu.next, device.next, sizeof cpu.next);
      assert_memory_equal(cpu.batch, device.batch, sizeof cpu.batch);
      free(cpu.all);
      free(device.all);
    }
  kit_end(&k);
}

/* A copy that breaks off leaves the target empty, and it says so until it is cleared or copied into again. */
static void failed_copy(void **state) {
  (void)state;
  kit k;
  far_backend far;
  viva_error error = {0};
  viva_token tokens[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  const float *logits;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  far_begin(&far, &k);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  viva_session *a = kit_session(model, 0, 0, VIVA_F16), *b = kit_session(model, 0, 0, VIVA_F16);
  kit_ok(viva_session_prefill(a, tokens, 8, NULL, &error), &error);
  kit_ok(viva_session_prefill(b, tokens, 3, NULL, &error), &error);
  far.copies_left = 0; /* before anything of b is lost */
  kit_error(viva_session_copy(b, a, &error), VIVA_E_INTERNAL, &error, "fell off");
  assert_int_equal(viva_session_position(b), 3);
  kit_ok(viva_session_decode(b, 4, &error), &error);
  for (int way = 0; way < 2; way++) {
    far.copies_left = 3;
    kit_error(viva_session_copy(b, a, &error), VIVA_E_INTERNAL, &error, "fell off");
    far.copies_left = -1;
    assert_int_equal(viva_session_position(b), 0);
    kit_error(viva_session_decode(b, 4, &error), VIVA_E_STATE, &error, "truncate it to 0 or copy into it again");
    kit_error(viva_session_prefill(b, tokens, 8, NULL, &error), VIVA_E_STATE, &error, "truncate it to 0");
    kit_error(viva_session_logits(b, &logits, NULL, &error), VIVA_E_STATE, &error, "no logits");
    kit_error(viva_session_copy(a, b, &error), VIVA_E_STATE, &error, "holds nothing");
    if (way == 0)
      kit_ok(viva_session_truncate(b, 0, &error), &error);
    else
      kit_ok(viva_session_copy(b, a, &error), &error);
    kit_ok(viva_session_decode(b, 4, &error), &error);
  }
  assert_int_equal(viva_session_position(a), 8);
  viva_session_free(a);
  viva_session_free(b);
  viva_model_release(model);
  far_end(&far, &k);
  kit_end(&k);
}

/* A model of F32 on devices of several sizes: what fits, and what the refusal advises. */
static void small_devices(void **state) {
  (void)state;
  kit k;
  far_backend far;
  viva_error error = {0};
  viva_memory_plan p = {.size = sizeof p}, smaller = {.size = sizeof smaller};
  char advice[128];
  viva_model_options o = viva_model_options_default();
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/m", &(small_model){.vocab = 20000, .hidden = 64, .context = 100000, .layers = 1});
  far_begin(&far, &k);
  kit_ok(viva_model_plan(k.engine, "/m", NULL, &p, &error), &error);
  uint64_t table = 20000 * 64 * 4, per_token = 2 * 2 * 8 * 2;
  assert_int_equal(p.kv_bytes, 100000 * per_token);
  far.available = p.needed_bytes;
  viva_model_release(kit_load(&k, "/m", NULL));
  far.available = p.needed_bytes - 1;
  kit_refused(&k, "/m", NULL, VIVA_E_LIMIT,
              "the largest context that fits is 99999 tokens; with weights bf16 all of it fits");
  o.context = 99999;
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
  far_end(&far, &k);
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(failed_copy),
                                     cmocka_unit_test(small_devices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
