/* Each member of each public struct of options, and of a configuration, with values that nobody means: NaN, infinities, the ends of
 * the types. A call says what it refuses, in words; what it accepts it does; a NaN and what stands in a reserved member are never
 * accepted. Nothing is left behind. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"
#include "viva/compress.h"
#include "viva/file.h"
#include "viva/npy.h"
#include "viva/quantize.h"
#include "viva/tensor_algebra.h"
#include "viva/tensor_ops.h"
#include "viva/tensor_text.h"

enum { ROWS = 4, COLS = 64, MOST_OPTIONS = 512 };

typedef struct world {
  kit k;
  viva_model *model;
  viva_tensor *matrix, *picture, *kernels, *input; /* [ROWS][COLS], [1][1][8][8], [1][1][2][2], [1][COLS] */
  viva_packed_weight *weight;
  viva_model_parts parts;
  viva_layer_parts layer;
  viva_tensor *norm;
} world;

typedef enum kind { I32, U32, U64, F32, F64 } kind;

typedef struct field {
  const char *name;
  size_t offset;
  kind kind;
} field;

typedef viva_status (*attempt)(world *w, const void *options, viva_error *error);

/* ---- calls, each with one struct; what they make is freed */

static viva_status try_engine(world *w, const void *options, viva_error *error) {
  viva_engine *e = NULL;
  (void)w;
  viva_status status = viva_engine_open(options, &e, error);
  viva_engine_release(e);
  return status;
}

static viva_status try_model(world *w, const void *options, viva_error *error) {
  viva_model *m = NULL;
  viva_memory_plan plan = {.size = sizeof plan};
  viva_status planned = viva_model_plan(w->k.engine, "/tiny.gguf", options, &plan, error);
  viva_status status = viva_model_load(w->k.engine, "/tiny.gguf", options, &m, error);
  assert_true(!planned || status);
  viva_model_release(m);
  return status;
}

static viva_status try_session(world *w, const void *options, viva_error *error) {
  viva_session *s = NULL;
  viva_status status = viva_session_create(w->model, options, &s, error);
  if (!status) status = viva_session_prefill(s, (viva_token[]){1, 2, 3}, 3, NULL, error);
  viva_session_free(s);
  return status;
}

static viva_status try_prefill(world *w, const void *options, viva_error *error) {
  viva_session *s = kit_session(w->model, 0, 0, VIVA_DTYPE_NONE);
  viva_status status = viva_session_prefill(s, (viva_token[]){1, 2, 3}, 3, options, error);
  viva_session_free(s);
  return status;
}

static viva_status try_generate(world *w, const void *options, viva_error *error) {
  viva_generate_result *result = NULL;
  viva_status status = viva_generate(w->model, "ab", 2, options, &result, error);
  viva_generate_result_free(result);
  return status;
}

static viva_status try_sample(world *w, const void *options, viva_error *error) {
  static const float logits[] = {1, 2, 3, 2, 1, 0, -1, -2};
  static const viva_token history[] = {1, 2};
  double scratch[256];
  viva_sample_input input = viva_sample_input_default();
  viva_token id = -1;
  (void)w;
  input.logits = logits;
  input.n = sizeof logits / sizeof *logits;
  input.history = history;
  input.history_count = 2;
  input.scratch = scratch;
  input.scratch_bytes = sizeof scratch;
  assert_true(viva_sample_scratch(input.n) <= sizeof scratch);
  viva_status status = viva_sample(&input, options, &id, error);
  assert_true(status || (id >= 0 && (size_t)id < input.n));
  return status;
}

static viva_status try_quantize(world *w, const void *options, viva_error *error) {
  viva_status status = viva_quantize(w->k.engine, "/tiny.gguf", "/out", options, NULL, error);
  memory_io_drop(w->k.io, "/out");
  return status;
}

static viva_status try_prepack(world *w, const void *options, viva_error *error) {
  viva_packed_weight *p = NULL;
  viva_status status = viva_prepack_fp8_weight(w->k.engine, w->matrix, options, &p, error), other;
  viva_packed_weight_release(p);
  other = viva_prepack_int4_sparse_24_weight(w->k.engine, w->matrix, options, &p, error);
  viva_packed_weight_release(p);
  if (status || !other) return status;
  return other;
}

static viva_status try_linear(world *w, const void *options, viva_error *error) {
  viva_tensor *out = NULL;
  viva_status status = viva_linear_fp8(w->input, w->weight, NULL, options, &out, error);
  viva_tensor_release(out);
  return status;
}

static int ignore_chunk(void *user, const viva_stream_chunk *chunk) {
  (void)user;
  (void)chunk;
  return 0;
}

static viva_status try_stream(world *w, const void *options, viva_error *error) {
  viva_stream *s = NULL;
  viva_stream_options o;
  memcpy(&o, options, sizeof o);
  o.on_chunk = ignore_chunk;
  viva_status status = viva_stream_create(w->k.engine, NULL, &o, &s, error);
  viva_stream_free(s);
  return status;
}

static viva_status try_analyze(world *w, const void *options, viva_error *error) {
  viva_compressed *c = NULL;
  viva_status status = viva_analyze_and_compress(w->k.engine, w->matrix, options, &c, error);
  viva_compressed_release(c);
  return status;
}

static viva_status try_random(world *w, const void *options, viva_error *error) {
  viva_tensor *t = NULL;
  viva_status status = viva_tensor_random(w->k.engine, VIVA_F32, 1, (uint64_t[]){5}, options, &t, error);
  viva_tensor_release(t);
  return status;
}

static viva_status try_format(world *w, const void *options, viva_error *error) {
  char text[8192];
  size_t length;
  return viva_tensor_format(w->matrix, options, text, sizeof text, &length, error);
}

static viva_status try_window(world *w, const void *options, viva_error *error) {
  viva_tensor *t = NULL;
  viva_window_options o;
  memcpy(&o, options, sizeof o);
  o.kernel[0] = o.kernel[1] = 0;
  viva_status conv = viva_tensor_conv2d(w->picture, w->kernels, NULL, &o, &t, error), pooled;
  viva_tensor_release(t);
  t = NULL;
  memcpy(&o, options, sizeof o);
  o.groups = 1;
  pooled = viva_tensor_pool2d(VIVA_MAX_POOL, w->picture, &o, &t, error);
  viva_tensor_release(t);
  return pooled ? pooled : conv;
}

static viva_status try_checkpoint(world *w, const void *options, viva_error *error) {
  viva_npy *npy = NULL;
  (void)w;
  viva_status status = viva_npy_open("/no/such/file", options, &npy, error);
  viva_npy_close(npy);
  return status;
}

static viva_status try_file(world *w, const void *options, viva_error *error) {
  viva_file *file = NULL;
  (void)w;
  viva_status status = viva_file_open("/no/such/folder/file", options, &file, error);
  viva_file_abort(file);
  return status;
}

static viva_status try_parts(world *w, const void *options, viva_error *error) {
  viva_model *m = NULL;
  viva_model_config config = {.size = sizeof config};
  kit_ok(viva_model_get_config(w->model, &config, error), error);
  config.num_layers = 1;
  config.permuted_qk = 0;
  viva_status status = viva_model_from_parts(w->k.engine, &config, &w->parts, options, &m, error);
  viva_model_release(m);
  return status;
}

static viva_status try_config(world *w, const void *config, viva_error *error) {
  viva_model *m = NULL;
  viva_status status = viva_model_from_parts(w->k.engine, config, &w->parts, NULL, &m, error);
  viva_session *s = NULL;
  if (!status) status = viva_session_create(m, NULL, &s, error); /* where RoPE's table is made */
  if (!status) {
    viva_status ran = viva_session_prefill(s, (viva_token[]){1, 2, 3}, 3, NULL, error);
    assert_true(ran == VIVA_OK || ran == VIVA_E_LIMIT || ran == VIVA_E_NUMERIC);
  }
  viva_session_free(s);
  viva_model_release(m);
  return status;
}

/* ---- values */

static const double reals[] = {(double)NAN, -(double)NAN, (double)INFINITY, -(double)INFINITY, -0.0,   -1,   0,
                               2,           DBL_MAX,      -DBL_MAX,         DBL_MIN,           1e-320, 1e38, 1e-45};
static const uint64_t wholes[] = {0,
                                  1,
                                  2,
                                  7,
                                  65,
                                  255,
                                  65536,
                                  1u << 20,
                                  INT_MAX,
                                  0x80000000u,
                                  UINT32_MAX,
                                  (uint64_t)1 << 32,
                                  INT64_MAX,
                                  (uint64_t)1 << 63,
                                  UINT64_MAX - 1,
                                  UINT64_MAX};
enum { REALS = sizeof reals / sizeof *reals, WHOLES = sizeof wholes / sizeof *wholes };

static size_t value_count(kind k) { return k == F32 || k == F64 ? REALS : WHOLES; }

static void put_value(void *at, kind k, size_t i) {
  float narrow = k == F32 ? (float)reals[i] : 0;
  uint32_t half = k == I32 || k == U32 ? (uint32_t)wholes[i] : 0;
  if (k == F64) memcpy(at, &reals[i], sizeof reals[i]);
  if (k == F32) memcpy(at, &narrow, sizeof narrow);
  if (k == U64) memcpy(at, &wholes[i], sizeof wholes[i]);
  if (k == I32 || k == U32) memcpy(at, &half, sizeof half);
}

static void try_fields(world *w, const char *name, const void *defaults, size_t size, const field *fields, size_t count,
                       attempt try_one) {
  char options[MOST_OPTIONS];
  size_t refused = 0;
  assert_true(size <= sizeof options);
  for (size_t f = 0; f < count; f++)
    for (size_t i = 0; i < value_count(fields[f].kind); i++) {
      viva_error error = {0};
      memcpy(options, defaults, size);
      put_value(options + fields[f].offset, fields[f].kind, i);
      viva_status status = try_one(w, options, &error);
      refused += status != VIVA_OK;
      if (status && (error.code != status || !error.message[0] || status == VIVA_E_INTERNAL))
        fail_msg("%s.%s, value %zu: %d and \"%s\"", name, fields[f].name, i, (int)status, error.message);
      if (!status && (fields[f].kind == F32 || fields[f].kind == F64) && isnan(reals[i]))
        fail_msg("%s.%s: a NaN is accepted", name, fields[f].name);
      if (!status && strncmp(fields[f].name, "reserved", 8) == 0 && (uint32_t)wholes[i] != 0)
        fail_msg("%s.%s: %llu is accepted", name, fields[f].name, (unsigned long long)wholes[i]);
      if (memory_io_open_count(w->k.io)) fail_msg("%s.%s, value %zu: a file stays open", name, fields[f].name, i);
    }
  assert_true(refused > 0);
}

#define FIELD(type, member, kind)                                                                                      \
  { #member, offsetof(type, member), kind }
#define TRY_ALL(w, type, defaults, call, ...)                                                                          \
  do {                                                                                                                 \
    const field fields[] = {__VA_ARGS__};                                                                              \
    const type begin = defaults;                                                                                       \
    try_fields(w, #type, &begin, sizeof begin, fields, sizeof fields / sizeof *fields, call);                          \
  } while (0)

/* ---- the world */

static viva_tensor *tensor_of(world *w, uint32_t rank, const uint64_t *shape) {
  viva_tensor *t;
  viva_error error = {0};
  viva_random_options o = viva_random_options_default();
  o.low = -1;
  kit_ok(viva_tensor_random(w->k.engine, VIVA_F32, rank, shape, &o, &t, &error), &error);
  return t;
}

static viva_packed_weight *matrix_of(world *w, viva_projection projection) {
  viva_packed_weight *p;
  viva_error error = {0};
  kit_ok(viva_model_weight(w->model, 0, projection, &p, &error), &error);
  return p;
}

static int begin(void **state) {
  world *w = calloc(1, sizeof *w);
  viva_error error = {0};
  viva_model_options o = viva_model_options_default();
  viva_model_config config = {.size = sizeof config};
  kit_begin(&w->k, 1, VIVA_KERNELS_AUTO);
  o.weights = "f32";
  w->model = kit_load(&w->k, "/tiny.gguf", &o);
  kit_ok(viva_model_get_config(w->model, &config, &error), &error);
  w->matrix = tensor_of(w, 2, (uint64_t[]){ROWS, COLS});
  w->input = tensor_of(w, 2, (uint64_t[]){1, COLS});
  w->picture = tensor_of(w, 4, (uint64_t[]){1, 1, 8, 8});
  w->kernels = tensor_of(w, 4, (uint64_t[]){1, 1, 2, 2});
  w->norm = tensor_of(w, 1, &config.hidden_size);
  kit_ok(viva_prepack_fp8_weight(w->k.engine, w->matrix, NULL, &w->weight, &error), &error);
  w->layer = (viva_layer_parts){.size = sizeof w->layer,
                                .q = matrix_of(w, VIVA_PROJ_Q),
                                .k = matrix_of(w, VIVA_PROJ_K),
                                .v = matrix_of(w, VIVA_PROJ_V),
                                .o = matrix_of(w, VIVA_PROJ_O),
                                .gate = matrix_of(w, VIVA_PROJ_GATE),
                                .up = matrix_of(w, VIVA_PROJ_UP),
                                .down = matrix_of(w, VIVA_PROJ_DOWN),
                                .attention_norm = w->norm,
                                .mlp_norm = w->norm};
  w->parts = viva_model_parts_default();
  w->parts.embedding = matrix_of(w, VIVA_PROJ_EMBEDDING);
  w->parts.head = config.tie_word_embeddings ? NULL : matrix_of(w, VIVA_PROJ_HEAD);
  w->parts.layers = &w->layer;
  w->parts.final_norm = w->norm;
  *state = w;
  return 0;
}

static int end(void **state) {
  world *w = *state;
  viva_packed_weight *all[] = {w->layer.q,  w->layer.k,    w->layer.v,         w->layer.o,    w->layer.gate,
                               w->layer.up, w->layer.down, w->parts.embedding, w->parts.head, w->weight};
  viva_tensor *tensors[] = {w->matrix, w->input, w->picture, w->kernels, w->norm};
  for (size_t i = 0; i < sizeof all / sizeof(viva_packed_weight *); i++) viva_packed_weight_release(all[i]);
  for (size_t i = 0; i < sizeof tensors / sizeof(viva_tensor *); i++) viva_tensor_release(tensors[i]);
  viva_model_release(w->model);
  kit_end(&w->k);
  free(w);
  return 0;
}

/* ---- the structs */

static void of_engine_and_models(void **state) {
  world *w = *state;
  TRY_ALL(w, viva_engine_options, viva_engine_options_default(), try_engine, FIELD(viva_engine_options, size, U64),
          FIELD(viva_engine_options, device, I32), FIELD(viva_engine_options, device_index, I32),
          FIELD(viva_engine_options, threads, I32), FIELD(viva_engine_options, kernels, I32),
          FIELD(viva_engine_options, log_level, I32));
  TRY_ALL(w, viva_model_options, viva_model_options_default(), try_model, FIELD(viva_model_options, size, U64),
          FIELD(viva_model_options, context, U64), FIELD(viva_model_options, num_layers, U64),
          FIELD(viva_model_options, kv, I32), FIELD(viva_model_options, load, I32), FIELD(viva_model_options, act, I32),
          FIELD(viva_model_options, decode, I32), FIELD(viva_model_options, cache_bytes, U64),
          FIELD(viva_model_options, accumulate, I32), FIELD(viva_model_options, reserved, I32));
  TRY_ALL(w, viva_parts_options, viva_parts_options_default(), try_parts, FIELD(viva_parts_options, size, U64),
          FIELD(viva_parts_options, act, I32), FIELD(viva_parts_options, kv, I32),
          FIELD(viva_parts_options, context, U64), FIELD(viva_parts_options, cache_bytes, U64),
          FIELD(viva_parts_options, decode, I32), FIELD(viva_parts_options, accumulate, I32));
  TRY_ALL(w, viva_quantize_options, ((viva_quantize_options){.size = sizeof(viva_quantize_options), .weights = "fp8"}),
          try_quantize, FIELD(viva_quantize_options, size, U64), FIELD(viva_quantize_options, shard_bytes, U64),
          FIELD(viva_quantize_options, overwrite, I32), FIELD(viva_quantize_options, reserved, I32));
}

static void of_sessions_and_texts(void **state) {
  world *w = *state;
  TRY_ALL(w, viva_session_options, viva_session_options_default(), try_session, FIELD(viva_session_options, size, U64),
          FIELD(viva_session_options, capacity, U64), FIELD(viva_session_options, kv, I32),
          FIELD(viva_session_options, prefill_chunk, U32), FIELD(viva_session_options, reserve, I32),
          FIELD(viva_session_options, reserved, I32));
  TRY_ALL(w, viva_prefill_options, viva_prefill_options_default(), try_prefill, FIELD(viva_prefill_options, size, U64),
          FIELD(viva_prefill_options, all_logits_count, U64));
  TRY_ALL(w, viva_generate_options, viva_generate_options_default(), try_generate,
          FIELD(viva_generate_options, size, U64), FIELD(viva_generate_options, max_new_tokens, U64),
          FIELD(viva_generate_options, sampling.size, U64), FIELD(viva_generate_options, sampling.temperature, F32),
          FIELD(viva_generate_options, sampling.top_p, F32), FIELD(viva_generate_options, sampling.min_p, F32),
          FIELD(viva_generate_options, sampling.repetition_penalty, F32),
          FIELD(viva_generate_options, sampling.top_k, I32), FIELD(viva_generate_options, stop_on_eos, I32),
          FIELD(viva_generate_options, match_special, I32), FIELD(viva_generate_options, add_bos, I32),
          FIELD(viva_generate_options, logprobs, U32), FIELD(viva_generate_options, stop_count, U64),
          FIELD(viva_generate_options, stop_token_count, U64), FIELD(viva_generate_options, sequence, U64),
          FIELD(viva_generate_options, keep_last, I32), FIELD(viva_generate_options, reserved, I32));
  TRY_ALL(w, viva_sampling_options, viva_sampling_options_default(), try_sample,
          FIELD(viva_sampling_options, size, U64), FIELD(viva_sampling_options, temperature, F32),
          FIELD(viva_sampling_options, top_p, F32), FIELD(viva_sampling_options, min_p, F32),
          FIELD(viva_sampling_options, repetition_penalty, F32), FIELD(viva_sampling_options, top_k, I32),
          FIELD(viva_sampling_options, seed, U64), FIELD(viva_sampling_options, reserved[2], U64));
}

static void of_tensors(void **state) {
  world *w = *state;
  TRY_ALL(w, viva_prepack_options, viva_prepack_options_default(), try_prepack, FIELD(viva_prepack_options, size, U64),
          FIELD(viva_prepack_options, scale_dtype, I32), FIELD(viva_prepack_options, block, U32),
          FIELD(viva_prepack_options, search, I32), FIELD(viva_prepack_options, modelopt, I32),
          FIELD(viva_prepack_options, selection, I32), FIELD(viva_prepack_options, allow_nonfinite, I32));
  TRY_ALL(w, viva_linear_options, viva_linear_options_default(), try_linear, FIELD(viva_linear_options, size, U64),
          FIELD(viva_linear_options, act, I32), FIELD(viva_linear_options, output_dtype, I32),
          FIELD(viva_linear_options, accumulate, I32), FIELD(viva_linear_options, reserved, I32));
  TRY_ALL(w, viva_stream_options, viva_stream_options_default(), try_stream, FIELD(viva_stream_options, size, U64),
          FIELD(viva_stream_options, workers, I32), FIELD(viva_stream_options, queue, U32),
          FIELD(viva_stream_options, row_length, U64), FIELD(viva_stream_options, deadline_ms, U32),
          FIELD(viva_stream_options, max_failures, U32), FIELD(viva_stream_options, failure_window_ms, U32),
          FIELD(viva_stream_options, reserved, I32));
  TRY_ALL(w, viva_analyze_options, viva_analyze_options_default(), try_analyze, FIELD(viva_analyze_options, size, U64),
          FIELD(viva_analyze_options, rule, I32), FIELD(viva_analyze_options, error, I32),
          FIELD(viva_analyze_options, max_error_pct, F64), FIELD(viva_analyze_options, sample, U64));
  TRY_ALL(w, viva_random_options, viva_random_options_default(), try_random, FIELD(viva_random_options, size, U64),
          FIELD(viva_random_options, distribution, I32), FIELD(viva_random_options, reserved, I32),
          FIELD(viva_random_options, low, F64), FIELD(viva_random_options, high, F64));
  TRY_ALL(w, viva_format_options, viva_format_options_default(), try_format, FIELD(viva_format_options, size, U64),
          FIELD(viva_format_options, threshold, U64), FIELD(viva_format_options, edge_items, U32),
          FIELD(viva_format_options, line_width, U32), FIELD(viva_format_options, precision, U32),
          FIELD(viva_format_options, reserved, U32));
  TRY_ALL(w, viva_window_options, viva_window_options_default(), try_window, FIELD(viva_window_options, size, U64),
          FIELD(viva_window_options, kernel[0], U64), FIELD(viva_window_options, kernel[1], U64),
          FIELD(viva_window_options, stride[0], U64), FIELD(viva_window_options, padding[0], U64),
          FIELD(viva_window_options, dilation[1], U64), FIELD(viva_window_options, groups, U64));
  TRY_ALL(w, viva_checkpoint_options, viva_checkpoint_options_default(), try_checkpoint,
          FIELD(viva_checkpoint_options, size, U64), FIELD(viva_checkpoint_options, load, I32),
          FIELD(viva_checkpoint_options, reserved, I32));
  TRY_ALL(w, viva_file_options, viva_file_options_default(), try_file, FIELD(viva_file_options, size, U64),
          FIELD(viva_file_options, replace, I32), FIELD(viva_file_options, reserved, I32));
}

/* A configuration of the caller's, for handles that fit another. The members of RoPE count by its kind: each is of the kind yarn,
 * which reads most. */
static void of_configuration(void **state) {
  world *w = *state;
  viva_model_config config = {.size = sizeof config};
  viva_error error = {0};
  kit_ok(viva_model_get_config(w->model, &config, &error), &error);
  config.num_layers = 1;
  config.permuted_qk = 0;
  viva_model *m;
  kit_ok(viva_model_from_parts(w->k.engine, &config, &w->parts, NULL, &m, &error), &error);
  viva_model_release(m);
  TRY_ALL(w, viva_model_config, config, try_config, FIELD(viva_model_config, size, U64),
          FIELD(viva_model_config, hidden_size, U64), FIELD(viva_model_config, intermediate_size, U64),
          FIELD(viva_model_config, num_layers, U64), FIELD(viva_model_config, num_heads, U64),
          FIELD(viva_model_config, num_kv_heads, U64), FIELD(viva_model_config, head_dim, U64),
          FIELD(viva_model_config, rotary_dim, U64), FIELD(viva_model_config, vocab_size, U64),
          FIELD(viva_model_config, max_position_embeddings, U64), FIELD(viva_model_config, sliding_window, U64),
          FIELD(viva_model_config, sliding_from_layer, U64), FIELD(viva_model_config, rms_norm_eps, F64),
          FIELD(viva_model_config, rope_theta, F64), FIELD(viva_model_config, rope_type, I32),
          FIELD(viva_model_config, tie_word_embeddings, I32), FIELD(viva_model_config, qkv_bias, I32),
          FIELD(viva_model_config, o_bias, I32), FIELD(viva_model_config, mlp_bias, I32),
          FIELD(viva_model_config, qk_norm, I32), FIELD(viva_model_config, permuted_qk, I32),
          FIELD(viva_model_config, bos_token, I32), FIELD(viva_model_config, num_eos, U32),
          FIELD(viva_model_config, eos_tokens[0], I32));
  config.rope_type = VIVA_ROPE_YARN;
  config.rope_factor = 4;
  config.rope_original_context = 16;
  config.rope_beta_fast = 32;
  config.rope_beta_slow = 1;
  config.rope_attention_factor = 1;
  TRY_ALL(w, viva_model_config, config, try_config, FIELD(viva_model_config, rope_factor, F64),
          FIELD(viva_model_config, rope_beta_fast, F64), FIELD(viva_model_config, rope_beta_slow, F64),
          FIELD(viva_model_config, rope_attention_factor, F64), FIELD(viva_model_config, rope_truncate, I32),
          FIELD(viva_model_config, rope_original_context, U64));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(of_engine_and_models), cmocka_unit_test(of_sessions_and_texts),
                                     cmocka_unit_test(of_tensors), cmocka_unit_test(of_configuration)};
  return cmocka_run_group_tests(tests, begin, end);
}
