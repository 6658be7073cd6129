/* Every allocation and every file call fails once, and from then on: a documented error, nothing lost, objects usable. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fail_alloc.h"
#include "lib/model_kit.h"

enum { MOST_VOCAB = 1000 };

typedef struct bench {
  memory_io *io;
  fail_alloc memory;
  const char *path;
  const char *weights; /* NULL: as stored */
  viva_activation_mode act;
  size_t vocab;
  viva_engine *engine;
  viva_model *model;
  viva_session *session, *other;
  viva_error error;
} bench;

static const viva_token prompt[] = {5, 6, 7, 100, 200, 3, 9, 250};
enum { PROMPT = sizeof prompt / sizeof *prompt };

/* ---- operations: each leaves its objects as they were when it fails, and gives the same answer each time it succeeds */

static viva_status op_engine(bench *b) {
  viva_engine_options o = viva_engine_options_default();
  o.threads = 2;
  o.allocator = &b->memory.table;
  return engine_open(&o, memory_io_table(b->io), &b->engine, &b->error);
}

static viva_status load(bench *b, viva_load_mode mode, viva_model **model) {
  viva_model_options o = viva_model_options_default();
  o.load = mode;
  o.weights = b->weights;
  o.act = b->act;
  return viva_model_load(b->engine, b->path, &o, model, &b->error);
}

static viva_status op_load(bench *b) { return load(b, VIVA_LOAD_READ, &b->model); }
static viva_status op_session(bench *b) { return viva_session_create(b->model, NULL, &b->session, &b->error); }
static viva_status op_other(bench *b) { return viva_session_create(b->model, NULL, &b->other, &b->error); }

static viva_status again(bench *b, viva_load_mode mode) {
  viva_model *model = (viva_model *)b;
  viva_status status = load(b, mode, &model);
  if (status) assert_null(model);
  viva_model_release(model);
  return status;
}

static viva_status op_read_again(bench *b) { return again(b, VIVA_LOAD_READ); }
static viva_status op_map_again(bench *b) { return again(b, VIVA_LOAD_MMAP); }

static viva_status op_plan(bench *b) {
  viva_memory_plan p = {.size = sizeof p};
  viva_status status = viva_model_plan(b->engine, b->path, NULL, &p, &b->error);
  if (!status) assert_true(p.weight_bytes > 10000);
  return status;
}

static viva_status op_session_again(bench *b) {
  viva_session *s = (viva_session *)b;
  viva_status status = viva_session_create(b->model, NULL, &s, &b->error);
  if (status) assert_null(s);
  viva_session_free(s);
  return status;
}

static uint64_t hash_logits(const bench *b, const float *logits) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < b->vocab * sizeof *logits; i++)
    hash = (hash ^ ((const unsigned char *)logits)[i]) * 1099511628211u;
  return hash;
}

static viva_status op_prefill(bench *b) {
  float all[PROMPT * MOST_VOCAB];
  viva_prefill_options o = viva_prefill_options_default();
  const float *logits;
  o.all_logits = all;
  o.all_logits_count = PROMPT * b->vocab;
  assert_int_equal(viva_session_truncate(b->session, 0, NULL), VIVA_OK);
  viva_status status = viva_session_prefill(b->session, prompt, PROMPT, &o, &b->error);
  assert_int_equal(viva_session_position(b->session), status ? 0 : PROMPT);
  if (!status) {
    assert_int_equal(viva_session_logits(b->session, &logits, NULL, NULL), VIVA_OK);
    assert_int_equal(hash_logits(b, logits), hash_logits(b, all + (PROMPT - 1) * b->vocab));
  }
  return status;
}

static viva_status op_decode(bench *b) {
  viva_token next;
  viva_session *both[2] = {b->session, b->other};
  assert_int_equal(viva_session_truncate(b->session, 0, NULL), VIVA_OK);
  assert_int_equal(viva_session_truncate(b->other, 0, NULL), VIVA_OK);
  viva_status status = viva_session_decode_argmax(b->session, 5, &next, &b->error);
  if (!status) status = viva_session_copy(b->other, b->session, &b->error);
  if (!status) status = viva_sessions_decode(both, prompt, 2, &b->error);
  return status;
}

static viva_status op_generate(bench *b) {
  static const char *const stops[] = {"never", "\xc3\xa9nd"};
  viva_generate_options o = viva_generate_options_default();
  viva_generate_result *r = (viva_generate_result *)b;
  o.stop_strings = stops;
  o.stop_count = 2;
  o.logprobs = 3;
  o.sampling.temperature = 0.7f;
  o.stop_on_eos = 0;
  viva_status status = viva_generate(b->model, "Once upon a time", 16, &o, &r, &b->error);
  if (status) assert_null(r);
  if (!status) assert_int_equal(r->token_count, 50);
  viva_generate_result_free(r);
  return status;
}

static viva_status op_generate_on(bench *b) {
  viva_generate_options o = viva_generate_options_default();
  viva_generate_result *r;
  o.session = b->session;
  assert_int_equal(viva_session_truncate(b->session, 0, NULL), VIVA_OK);
  viva_status status = viva_generate_tokens(b->model, prompt, PROMPT, &o, &r, &b->error);
  if (status) assert_int_equal(viva_session_position(b->session), 0);
  viva_generate_result_free(r);
  return status;
}

/* The folder is there whole or not at all, and nothing lies beside it; one that was there stays until then. Only when its name
 * may not have reached the disk is it there after an error, and the old one still beside it. A removal that fails itself is
 * the next run's. */
static viva_status quantize(bench *b, int overwrite) {
  viva_quantize_options o = viva_quantize_options_default();
  viva_quantize_result result = {.size = sizeof result};
  const char *marker = "/out/special_tokens_map.json"; /* neither model has one */
  o.weights = b->weights ? b->weights : "fp8";
  o.shard_bytes = 20000;
  o.overwrite = overwrite;
  if (overwrite) {
    memory_io_put_text(b->io, "/out/config.json", "{}");
    memory_io_put_text(b->io, marker, "{}");
  }
  size_t before = memory_io_file_count(b->io);
  viva_status status = viva_quantize(b->engine, b->path, "/out", &o, &result, &b->error);
  int old = memory_io_get(b->io, marker, NULL) != NULL;
  int in_place = status && strstr(b->error.message, "power cut") != NULL && strcmp(b->error.file, "/out") == 0;
  if (status && !in_place && memory_io_get(b->io, "/out.viva-0.lock", NULL) == NULL)
    assert_int_equal(memory_io_file_count(b->io), before);
  if (status) assert_int_equal(old, overwrite && !in_place);
  if (!status) assert_false(old);
  if (!status && !memory_io_failed(b->io)) { /* what was there may remain under another name when its removal fails */
    assert_true(result.files > 3);
    assert_int_equal(memory_io_file_count(b->io), before + result.files + 1 - (overwrite ? 2 : 0)); /* and the folder */
  }
  memory_io_drop(b->io, "/out");
  return status;
}

static viva_status op_quantize(bench *b) { return quantize(b, 0); }
static viva_status op_quantize_over(bench *b) { return quantize(b, 1); }

typedef viva_status (*operation)(bench *);

/* ---- the loops */

static void begin(bench *b, const char *path) {
  *b = (bench){.io = memory_io_create(), .path = path, .vocab = strcmp(path, "/m") == 0 ? MOST_VOCAB : 299};
  small_model_copy(b->io, "/tiny.gguf", "tests/golden/tiny.gguf");
  small_model_put(b->io, "/m", &(small_model){.vocab = MOST_VOCAB, .tied_head = 1, .layers = 1, .context = 128});
  small_model_copy(b->io, "/m/tokenizer.json", "tests/golden/tokenizer/small.json");
  fail_alloc_init(&b->memory, 0, 0);
}

static void end(bench *b) {
  viva_session_free(b->session);
  viva_session_free(b->other);
  viva_model_release(b->model);
  viva_engine_release(b->engine);
  assert_int_equal(b->memory.live, 0);
  assert_int_equal(memory_io_open_count(b->io), 0);
  memory_io_free(b->io);
}

static void arm(bench *b, uint64_t k, int persistent) {
  b->memory.persistent = persistent;
  b->memory.failed = 0;
  b->memory.fail_at = k ? b->memory.calls + k : 0;
}

/* Fails the k-th allocation of op for every k until it needs no more; op must then still do its work. */
static void sweep_allocations(bench *b, operation op) {
  for (int persistent = 0; persistent < 2; persistent++)
    for (uint64_t k = 1;; k++) {
      int64_t live = b->memory.live;
      arm(b, k, persistent);
      viva_status status = op(b);
      int failed = b->memory.failed;
      arm(b, 0, 0);
      if (!failed) {
        kit_ok(status, &b->error);
        break;
      }
      /* What an object keeps for later calls may have been made before the failure: it is counted by end(). */
      if (status) {
        assert_int_equal(status, VIVA_E_MEMORY);
        assert_int_equal(b->error.code, VIVA_E_MEMORY);
        assert_true(b->error.message[0] != 0);
      }
      assert_true(b->memory.live <= live + 2);
      kit_ok(op(b), &b->error);
      assert_true(k < 5000);
    }
}

/* Operations that make an object: it is made when they succeed at last. */
static void sweep_making(bench *b, operation op) {
  for (uint64_t k = 1;; k++) {
    int64_t live = b->memory.live;
    arm(b, k, k % 2 == 0);
    viva_status status = op(b);
    int failed = b->memory.failed;
    arm(b, 0, 0);
    if (!status) {
      assert_int_equal(failed, 0);
      return;
    }
    assert_int_equal(status, VIVA_E_MEMORY);
    assert_int_equal(b->memory.live, live);
    assert_int_equal(memory_io_open_count(b->io), 0);
  }
}

static void sweep_files(bench *b, operation op, int fault, int persistent) {
  for (uint64_t k = 1;; k++) {
    memory_io_fail(b->io, k, fault, persistent);
    viva_status status = op(b);
    int failed = memory_io_failed(b->io);
    memory_io_fail(b->io, 0, 0, 0);
    if (!failed) {
      kit_ok(status, &b->error);
      return;
    }
    if (status) { /* a close that fails after reading loses nothing */
      assert_int_equal(status, VIVA_E_IO);
      assert_true(b->error.message[0] != 0);
    }
    assert_true(k < 5000);
  }
}

static void allocations(const char *path, const char *weights, viva_activation_mode act) {
  bench b;
  begin(&b, path);
  b.weights = weights;
  b.act = act;
  sweep_making(&b, op_engine);
  sweep_making(&b, op_load);
  sweep_making(&b, op_session);
  sweep_making(&b, op_other);
  static const operation all[] = {op_plan,    op_read_again, op_map_again,   op_session_again, op_decode,
                                  op_prefill, op_generate,   op_generate_on, op_quantize,      op_quantize_over};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) sweep_allocations(&b, all[i]);
  end(&b);
}

static void allocations_gguf(void **state) {
  (void)state;
  allocations("/tiny.gguf", NULL, VIVA_ACT_AUTO);
}

static void allocations_folder(void **state) {
  (void)state;
  allocations("/m", NULL, VIVA_ACT_AUTO);
}

/* A survey, every packed format, quantised rows. */
static void allocations_packed(void **state) {
  (void)state;
  allocations("/tiny.gguf", "fp8-b16:f16,layers.0.mlp=nvfp4,layers.1.mlp=int4-24,q_proj=int8-24", VIVA_ACT_INT8);
}

/* From a quantised folder: codes copied as they are, and the way back. */
static void allocations_requantized(void **state) {
  (void)state;
  static const char *const rules[] = {"stored", "dense", "nvfp4"};
  bench b;
  begin(&b, "/m");
  kit_ok(op_engine(&b), &b.error);
  viva_quantize_options o = viva_quantize_options_default();
  o.weights = "fp8,mlp=int8-24";
  kit_ok(viva_quantize(b.engine, "/m", "/packed", &o, NULL, &b.error), &b.error);
  b.path = "/packed";
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    b.weights = rules[i];
    sweep_allocations(&b, op_quantize);
    sweep_files(&b, op_quantize, EIO, 0);
  }
  end(&b);
}

/* ---- a model of handles */

typedef struct parts {
  viva_model_config config;
  viva_packed_weight *w[9];
  viva_tensor *norm;
} parts;

static viva_status make(bench *b, const parts *p, viva_model **model) {
  viva_layer_parts one = {.size = sizeof one,
                          .q = p->w[VIVA_PROJ_Q],
                          .k = p->w[VIVA_PROJ_K],
                          .v = p->w[VIVA_PROJ_V],
                          .o = p->w[VIVA_PROJ_O],
                          .gate = p->w[VIVA_PROJ_GATE],
                          .up = p->w[VIVA_PROJ_UP],
                          .down = p->w[VIVA_PROJ_DOWN],
                          .attention_norm = p->norm,
                          .mlp_norm = p->norm};
  const viva_model_parts all = {.size = sizeof all,
                                .embedding = p->w[VIVA_PROJ_EMBEDDING],
                                .layers = &one,
                                .final_norm = p->norm,
                                .head = p->w[VIVA_PROJ_HEAD]};
  return viva_model_from_parts(b->engine, &p->config, &all, NULL, model, &b->error);
}

static void allocations_parts(void **state) {
  (void)state;
  bench b;
  parts p = {.config = {.size = sizeof p.config}};
  begin(&b, "/m");
  b.weights = "fp8";
  kit_ok(op_engine(&b), &b.error);
  kit_ok(op_load(&b), &b.error);
  kit_ok(viva_model_get_config(b.model, &p.config, &b.error), &b.error);
  kit_ok(viva_tensor_create(b.engine, VIVA_F32, 1, &p.config.hidden_size, &p.norm, &b.error), &b.error);
  for (uint64_t k = 1, failed = 1; failed; k++) { /* the handles */
    int64_t live = b.memory.live;
    viva_packed_weight *w = NULL;
    arm(&b, k, 0);
    viva_status status = viva_model_weight(b.model, 0, VIVA_PROJ_Q, &w, &b.error);
    failed = (uint64_t)b.memory.failed;
    arm(&b, 0, 0);
    assert_int_equal(status, failed ? VIVA_E_MEMORY : VIVA_OK);
    viva_packed_weight_release(w);
    assert_int_equal(b.memory.live, live);
  }
  for (int i = 0; i < 9; i++) kit_ok(viva_model_weight(b.model, 0, (viva_projection)i, &p.w[i], &b.error), &b.error);
  for (uint64_t k = 1, failed = 1; failed; k++) {
    int64_t live = b.memory.live;
    viva_model *model = (viva_model *)&p;
    arm(&b, k, k % 2 == 0);
    viva_status status = make(&b, &p, &model);
    failed = (uint64_t)b.memory.failed;
    arm(&b, 0, 0);
    assert_int_equal(status, failed ? VIVA_E_MEMORY : VIVA_OK);
    if (failed) assert_null(model);
    viva_model_release(model);
    assert_int_equal(b.memory.live, live);
  }
  for (int i = 0; i < 9; i++) viva_packed_weight_release(p.w[i]);
  viva_tensor_release(p.norm);
  end(&b);
}

static void files(void **state) {
  (void)state;
  static const char *const paths[] = {"/tiny.gguf", "/m"};
  static const operation all[] = {op_read_again, op_map_again, op_plan};
  for (size_t p = 0; p < 2; p++) {
    bench b;
    begin(&b, paths[p]);
    kit_ok(op_engine(&b), &b.error);
    for (size_t i = 0; i < 3; i++)
      for (int persistent = 0; persistent < 2; persistent++) {
        sweep_files(&b, all[i], EIO, persistent);
        sweep_files(&b, all[i], ENOMEM, persistent);
      }
    for (int own = 0; own < 2; own++) { /* one fault: what was written can be removed again */
      b.weights = own ? "int4-24" : NULL;
      sweep_files(&b, op_quantize, EIO, 0);
      sweep_files(&b, op_quantize_over, EIO, 0);
    }
    b.weights = NULL;
    memory_io_short(b.io, 3);
    kit_ok(op_load(&b), &b.error);
    memory_io_short(b.io, 0);
    kit_ok(op_session(&b), &b.error);
    kit_ok(op_prefill(&b), &b.error);
    end(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(allocations_gguf),        cmocka_unit_test(allocations_folder),
                                     cmocka_unit_test(allocations_packed),      cmocka_unit_test(allocations_parts),
                                     cmocka_unit_test(allocations_requantized), cmocka_unit_test(files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
