/* Models on two GPUs beside one (needs two; what one GPU can show, it shows with two ranks on it, which meet in the host's
 * memory): sums of every size, captured steps and operations in every format, a rank that does not come, and a GPU that is
 * lost. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "lib/model_kit.h"

enum { COUNT = 24, MOST = 16, VOCAB = 320, RANKS = 2, STEPS = 12 };

static viva_engine *one, *twice, *pair; /* GPU 0; GPU 0 as two ranks; GPUs 0 and 1, or NULL */

static viva_engine *open_on(const int32_t *devices, size_t count) {
  viva_engine_options o = viva_engine_options_default();
  viva_engine *engine;
  viva_error error = {0};
  o.device = VIVA_DEVICE_CUDA;
  o.devices = devices;
  o.device_count = count;
  if (viva_engine_open(&o, &engine, &error) == VIVA_OK) return engine;
  print_message("%zu devices: %s\n", count, error.message);
  return NULL;
}

static int open_all(void **state) {
  (void)state;
  one = open_on((const int32_t[]){0}, 1);
  twice = open_on((const int32_t[]){0, 0}, 2);
  pair = open_on((const int32_t[]){0, 1}, 2);
  return one && twice ? 0 : -1;
}

static int close_all(void **state) {
  (void)state;
  viva_engine_release(one);
  viva_engine_release(twice);
  viva_engine_release(pair);
  return 0;
}

/* ---- sums */

typedef struct summing {
  rank_set *ranks;
  size_t count, times;
  float *parts[RANKS], *sums[RANKS]; /* host */
  void *dev[RANKS];
  double seconds;
} summing;

static viva_status sum_job(void *arg, size_t rank, viva_error *error) {
  summing *s = arg;
  backend *b = s->ranks->each[rank].b;
  exchange *e = s->ranks->exchange;
  const size_t bytes = s->count * sizeof(float);
  float *x = s->dev[rank];
  for (size_t i = 0; i < s->times; i++) {
    TRY(b->ops->upload(b, x, s->parts[rank], bytes, error));
    TRY(e->ops->sum(e, rank, b, x, s->count, error));
  }
  TRY(b->ops->download(b, s->sums[rank], x, bytes, error));
  return e->ops->check ? e->ops->check(e, rank, error) : VIVA_OK;
}

/* Sums of sums: without uploads between them, for their time. */
static viva_status timed_job(void *arg, size_t rank, viva_error *error) {
  summing *s = arg;
  backend *b = s->ranks->each[rank].b;
  exchange *e = s->ranks->exchange;
  float end;
  const uint64_t began = clock_ns();
  for (size_t i = 0; i < s->times; i++) TRY(e->ops->sum(e, rank, b, s->dev[rank], s->count, error));
  TRY(b->ops->download(b, &end, s->dev[rank], sizeof end, error));
  if (rank == 0) s->seconds = (double)(clock_ns() - began) * 1e-9 / (double)s->times;
  return VIVA_OK;
}

static void sum_on(viva_engine *engine, size_t count, size_t times) {
  summing s = {.ranks = engine->ranks, .count = count, .times = times};
  viva_error error = {0};
  for (size_t r = 0; r < RANKS; r++) {
    backend *b = s.ranks->each[r].b;
    s.parts[r] = malloc(count * sizeof(float));
    s.sums[r] = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++) s.parts[r][i] = (float)((i * 37 + r * 11) % 1001) / 7 - 60;
    kit_ok(b->ops->alloc(b, count * sizeof(float), &s.dev[r], &error), &error);
  }
  kit_ok(ranks_run(s.ranks, sum_job, &s, 1, &error), &error);
  for (size_t i = 0; i < count; i++) {
    const float sum = s.parts[0][i] + s.parts[1][i];
    for (size_t r = 0; r < RANKS; r++)
      if (memcmp(&sum, &s.sums[r][i], sizeof sum))
        fail_msg("%zu numbers: rank %zu, number %zu is %g, not %g", count, r, i, (double)s.sums[r][i], (double)sum);
  }
  s.times = 200;
  for (size_t r = 0; r < RANKS; r++) {
    backend *b = s.ranks->each[r].b;
    memset(s.parts[r], 0, count * sizeof(float));
    kit_ok(b->ops->upload(b, s.dev[r], s.parts[r], count * sizeof(float), &error), &error);
  }
  kit_ok(ranks_run(s.ranks, timed_job, &s, 1, &error), &error);
  print_message("%s: %8zu numbers: %.1f us\n", s.ranks->exchange->ops->name, count, s.seconds * 1e6);
  for (size_t r = 0; r < RANKS; r++) {
    s.ranks->each[r].b->ops->free(s.ranks->each[r].b, s.dev[r], NULL);
    free(s.parts[r]), free(s.sums[r]);
  }
}

/* Of a row, of 16, of what one exchange holds and one more, of a chunk of a prefill. */
static void sums(void **state) {
  static const size_t counts[] = {1, 2, 3, 511, 4096, 16 * 4096, 1 << 18, (1 << 18) + 1, 512 * 4096};
  (void)state;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    sum_on(twice, counts[i], 3);
    if (pair) sum_on(pair, counts[i], 50);
  }
}

/* Two sums at a time, each sent before the other is asked for. */
enum { WAYS = 2 };

typedef struct travelling {
  rank_set *ranks;
  size_t count, room, times;
  float *host[RANKS][WAYS], *dev[RANKS][WAYS];
  double seconds;
} travelling;

static viva_status travel_reserve(void *arg, size_t rank, viva_error *error) {
  travelling *t = arg;
  exchange *e = t->ranks->exchange;
  return e->ops->reserve(e, rank, t->ranks->each[rank].b, t->room, error);
}

static viva_status travel_job(void *arg, size_t rank, viva_error *error) {
  travelling *t = arg;
  exchange *e = t->ranks->exchange;
  backend *b = t->ranks->each[rank].b;
  float end;
  for (size_t w = 0; w < WAYS; w++)
    TRY(b->ops->upload(b, t->dev[rank][w], t->host[rank][w], t->count * sizeof(float), error));
  TRY(b->ops->download(b, &end, t->dev[rank][0], sizeof end, error));
  const uint64_t began = clock_ns();
  TRY(e->ops->send(e, rank, b, t->dev[rank][0], t->count, error));
  for (size_t i = 0; i < WAYS * t->times; i++) {
    if (i + 1 < WAYS * t->times) TRY(e->ops->send(e, rank, b, t->dev[rank][(i + 1) % WAYS], t->count, error));
    TRY(e->ops->sum(e, rank, b, t->dev[rank][i % WAYS], t->count, error));
  }
  TRY(b->ops->download(b, &end, t->dev[rank][0], sizeof end, error));
  if (rank == 0) t->seconds = (double)(clock_ns() - began) * 1e-9 / (double)(WAYS * t->times);
  for (size_t w = 0; w < WAYS; w++)
    TRY(b->ops->download(b, t->host[rank][w], t->dev[rank][w], t->count * sizeof(float), error));
  return e->ops->check(e, rank, error);
}

static void travel(size_t count, size_t room, size_t times) {
  travelling t = {.ranks = pair->ranks, .count = count, .room = room, .times = times};
  viva_error error = {0};
  for (size_t r = 0; r < RANKS; r++)
    for (size_t w = 0; w < WAYS; w++) {
      backend *b = t.ranks->each[r].b;
      void *dev;
      t.host[r][w] = malloc(count * sizeof(float));
      for (size_t i = 0; i < count; i++) t.host[r][w][i] = (float)((i * 37 + r * 11 + w * 5) % 1001) / 7 - 60;
      kit_ok(b->ops->alloc(b, count * sizeof(float), &dev, &error), &error);
      t.dev[r][w] = dev;
    }
  float *expected = malloc(WAYS * count * sizeof(float));
  for (size_t w = 0; w < WAYS; w++)
    for (size_t i = 0; i < count; i++) {
      float sum = t.host[0][w][i] + t.host[1][w][i]; /* then it is what both have, and doubles each time */
      for (size_t k = 1; k < times; k++) sum += sum;
      expected[w * count + i] = sum;
    }
  kit_ok(ranks_run(t.ranks, travel_reserve, &t, 0, &error), &error);
  kit_ok(ranks_run(t.ranks, travel_job, &t, 1, &error), &error);
  print_message("sent ahead: %8zu numbers: %.1f us\n", count, t.seconds * 1e6);
  for (size_t r = 0; r < RANKS; r++)
    for (size_t w = 0; w < WAYS; w++) {
      assert_memory_equal(t.host[r][w], expected + w * count, count * sizeof(float));
      t.ranks->each[r].b->ops->free(t.ranks->each[r].b, t.dev[r][w], NULL);
      free(t.host[r][w]);
    }
  free(expected);
}

static void sums_sent_ahead(void **state) {
  (void)state;
  if (!pair || !pair->ranks->exchange->ops->send) skip();
  travel((1 << 18) + 3, (1 << 18) + 3, 50);
  travel(1024 * 4096, 1024 * 4096, 20);
}

/* ---- models */

/* Of the largest logit. Both sides have FP16 rows; what differs is the order of the sums of o and down, by which values fall to
 * their neighbours in FP16, and in an FP8 cache: 2^-10.8 and 2^-9.8 with two ranks on one GPU. */
#define BOUND 0x1p-7f
/* Of 2,100 positions, whose products are of other kernels: FP16 rows are off by up to 2^-11 of a value, and these random models
 * have scores of some 40 (test_cuda_decode.c). */
#define LONG_BOUND 0x1p-4f
/* Rows of E4M3 have 3 bits after the first: one in some hundred values falls to its neighbour, 2^-4 of it away. Rows of another
 * prompt, or of another share, are off by as much as the largest logit. */
#define LONG_BOUND_FP8 0x1p-2f

typedef struct outcome {
  float prefill[VOCAB], steps[4][VOCAB];
  viva_token next[STEPS];
} outcome;

static size_t best_of(const float *logits) {
  size_t best = 0;
  for (size_t i = 1; i < VOCAB; i++)
    if (logits[i] > logits[best]) best = i;
  return best;
}

static void near_to(const float *a, const float *b, float bound, const char *what) {
  float most = 0, off = 0;
  for (size_t i = 0; i < VOCAB; i++) {
    most = fmaxf(most, fabsf(b[i]));
    off = fmaxf(off, fabsf(a[i] - b[i]));
  }
  if (!(off <= bound * most)) fail_msg("%s: off by %g of %g", what, (double)off, (double)most);
  if (best_of(a) != best_of(b) && b[best_of(b)] - b[best_of(a)] > 2 * off)
    fail_msg("%s: another token is the best", what);
}

static void put_model(memory_io *io, size_t hidden, size_t ffn, size_t layers) {
  small_model_put(io, "/m",
                  &(small_model){.hidden = hidden,
                                 .ffn = ffn,
                                 .layers = layers,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 64,
                                 .vocab = VOCAB,
                                 .context = 4096,
                                 .dtype = VIVA_BF16});
}

/* Logits after COUNT tokens: of a prefill, and of steps of 1, 2, 5 and 16 sessions for the last token; and what follows. */
static void logits_of(kit *k, const char *weights, viva_activation_mode act, viva_dtype kv, viva_decode_path decode,
                      outcome *out) {
  static const size_t together[] = {1, 2, 5, 16};
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
    last[i] = i ? (viva_token)(i * 7) : tokens[COUNT - 1];
  }
  kit_ok(viva_session_prefill(sessions[0], tokens, COUNT, NULL, &error), &error);
  kit_ok(viva_session_logits(sessions[0], &logits, NULL, &error), &error);
  memcpy(out->prefill, logits, sizeof out->prefill);
  for (size_t j = 0; j < sizeof together / sizeof *together; j++) {
    for (size_t i = 0; i < together[j]; i++) {
      kit_ok(viva_session_truncate(sessions[i], 0, &error), &error);
      kit_ok(viva_session_prefill(sessions[i], tokens, COUNT - 1, NULL, &error), &error);
    }
    kit_ok(viva_sessions_decode(sessions, last, together[j], &error), &error);
    kit_ok(viva_session_logits(sessions[0], &logits, NULL, &error), &error);
    memcpy(out->steps[j], logits, sizeof out->steps[j]);
  }
  viva_token next = tokens[0];
  for (size_t i = 0; i < STEPS; i++) {
    kit_ok(viva_session_decode_argmax(sessions[0], next, &next, &error), &error);
    out->next[i] = next;
  }
  for (size_t i = 0; i < MOST; i++) viva_session_free(sessions[i]);
  viva_model_release(model);
}

static void beside(kit *k, viva_engine *engine, const char *weights, viva_activation_mode act, viva_dtype kv,
                   viva_decode_path decode, const outcome *expected, outcome *out) {
  char what[96];
  k->engine->ranks = engine->ranks;
  logits_of(k, weights, act, kv, decode, out);
  k->engine->ranks = NULL;
  snprintf(what, sizeof what, "%s, %s, act %d, kv %d, decode %d", engine == pair ? "two GPUs" : "one GPU twice",
           weights, (int)act, (int)kv, (int)decode);
  near_to(out->prefill, expected->prefill, BOUND, what);
  for (size_t j = 0; j < 4; j++) near_to(out->steps[j], expected->steps[j], BOUND, what);
  size_t equal = 0;
  while (equal < STEPS && out->next[equal] == expected->next[equal]) equal++;
  if (act == VIVA_ACT_16 && equal < STEPS)
    print_message("%s: tokens equal up to number %zu of %d\n", what, equal, STEPS);
}

static void compare(kit *k, const char *weights, viva_activation_mode act, viva_dtype kv) {
  static outcome expected, found, graph;
  backend *cpu = k->engine->backend;
  k->engine->backend = one->backend; /* the files are the kit's */
  logits_of(k, weights, act, kv, VIVA_DECODE_GRAPH, &expected);
  k->engine->backend = cpu;
  beside(k, twice, weights, act, kv, VIVA_DECODE_AUTO, &expected, &found);
  if (!pair) return;
  beside(k, pair, weights, act, kv, VIVA_DECODE_PLAIN, &expected, &found);
  beside(k, pair, weights, act, kv, VIVA_DECODE_GRAPH, &expected, &graph);
  for (size_t j = 1; j < 4; j++) /* a row alone, summed and normed by kernels of their own, and beside others */
    assert_memory_equal(graph.steps[0], graph.steps[j], sizeof graph.steps[0]);
  beside(k, pair, weights, act, kv, VIVA_DECODE_AUTO, &expected, &found);
  assert_memory_equal(&graph, &found, sizeof found); /* as on one GPU: all layers as one kernel, the same bits */
}

/* A prompt that two GPUs run as two halves, and its next tokens. */
static void long_prompt_of(kit *k, const char *weights, viva_activation_mode act, outcome *out) {
  enum { LONG = 2100, AGAIN = 3 };
  viva_model_options o = viva_model_options_default();
  viva_error error = {0};
  viva_token *tokens = malloc(LONG * sizeof *tokens), next;
  const float *logits;
  o.weights = weights;
  o.act = act;
  viva_model *model = kit_load(k, "/m", &o);
  viva_session *session = kit_session(model, LONG + STEPS, LONG, VIVA_DTYPE_NONE);
  kit_tokens(tokens, LONG, VOCAB, 5);
  for (size_t i = 0; i < AGAIN; i++) {
    kit_ok(viva_session_truncate(session, 0, &error), &error);
    kit_ok(viva_session_prefill(session, tokens, LONG, NULL, &error), &error);
    kit_ok(viva_session_logits(session, &logits, NULL, &error), &error);
    if (i) assert_memory_equal(out->prefill, logits, sizeof out->prefill);
    memcpy(out->prefill, logits, sizeof out->prefill);
  }
  next = (viva_token)best_of(out->prefill);
  for (size_t i = 0; i < STEPS; i++) {
    kit_ok(viva_session_decode_argmax(session, next, &next, &error), &error);
    out->next[i] = next;
  }
  viva_session_free(session);
  viva_model_release(model);
  free(tokens);
}

static void long_prompts(void **state) {
  static outcome expected, found;
  static const viva_activation_mode act[] = {VIVA_ACT_16, VIVA_ACT_FP8};
  kit k;
  (void)state;
  if (!pair || !pair->ranks->exchange->ops->send) skip();
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  put_model(k.io, 512, 512, 3); /* rows of more than 256 are summed and normed by one kernel */
  for (size_t i = 0; i < 2; i++) {
    backend *cpu = k.engine->backend;
    k.engine->backend = one->backend;
    long_prompt_of(&k, "fp8", act[i], &expected);
    k.engine->backend = cpu;
    k.engine->ranks = pair->ranks;
    long_prompt_of(&k, "fp8", act[i], &found);
    k.engine->ranks = NULL;
    near_to(found.prefill, expected.prefill, act[i] == VIVA_ACT_16 ? LONG_BOUND : LONG_BOUND_FP8,
            "a long prompt on two GPUs");
  }
  viva_engine_release(k.engine);
  memory_io_free(k.io);
}

static void models(void **state) {
  static const char *const weights[] = {
      "bf16",  "f16",     "fp8",         "fp8-b32:f16",     "fp8-b128",
      "nvfp4", "int8-24", "int4-24-g32", "int4-24-channel", "nvfp4,mlp.down_proj=bf16"};
  static const viva_dtype kv[] = {VIVA_F16, VIVA_E4M3};
  kit k;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  put_model(k.io, 256, 512, 3);
  for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) compare(&k, weights[i], VIVA_ACT_16, kv[i % 2]);
  put_model(k.io, 256, 4352,
            5); /* a tile of each layer for every block, so that one kernel has the head too; blocks of 128 */
  for (size_t i = 0; i < sizeof weights / sizeof *weights; i += 2) compare(&k, weights[i], VIVA_ACT_16, VIVA_F16);
  viva_engine_release(k.engine);
  memory_io_free(k.io);
}

/* ---- a rank that does not come */

static viva_status lonely_job(void *arg, size_t rank, viva_error *error) {
  return rank ? VIVA_OK : sum_job(arg, rank, error);
}

static void lonely(viva_engine *engine, const char *name) {
  summing s = {.ranks = engine->ranks, .count = 4096, .times = 1};
  backend *b = s.ranks->each[0].b;
  viva_error error = {0};
  s.parts[0] = calloc(s.count, sizeof(float));
  s.sums[0] = calloc(s.count, sizeof(float));
  kit_ok(b->ops->alloc(b, s.count * sizeof(float), &s.dev[0], &error), &error);
  const uint64_t began = clock_ns();
  kit_error(ranks_run(s.ranks, lonely_job, &s, 1, &error), VIVA_E_DEVICE, &error, "open another engine");
  print_message("%s: %.1f s: %s\n", name, (double)(clock_ns() - began) * 1e-9, error.message);
  assert_true(clock_ns() - began < 40000000000ull);
  kit_error(ranks_run(s.ranks, sum_job, &s, 1, &error), VIVA_E_DEVICE, &error, "open another engine");
  b->ops->free(b, s.dev[0], NULL);
  free(s.parts[0]), free(s.sums[0]);
}

/* Last: the engine is of no use after it, the others are. */
static void a_rank_that_stays_away(void **state) {
  kit k;
  (void)state;
  if (pair) lonely(pair, "two GPUs");
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  small_model_put(k.io, "/m",
                  &(small_model){.hidden = 256, .ffn = 512, .heads = 4, .kv_heads = 2, .head_dim = 64, .vocab = VOCAB});
  static outcome alive;
  backend *cpu = k.engine->backend;
  k.engine->backend = one->backend;
  logits_of(&k, "fp8", VIVA_ACT_16, VIVA_F16, VIVA_DECODE_AUTO, &alive);
  k.engine->backend = cpu;
  kit_end(&k);
}

/* ---- a GPU that is lost: in a process of its own, where the GPU stays lost */

typedef struct loss {
  const char *in;            /* the call of rank 1 in which its GPU is lost */
  int after;                 /* calls before it */
  const backend_ops *before; /* rank 1's own */
} loss;

static loss lost;

/* A kernel of the GPU reads where nothing is; calls fail from then on, sooner or later. */
static void lose_gpu(backend *b, const char *in) {
  float *const nowhere = (float *)(uintptr_t)256;
  if (strcmp(in, lost.in) || lost.after-- != 0) return;
  (void)lost.before->silu_mul(b, nowhere, nowhere, nowhere, 1, 64, 64, NULL);
}

static viva_status linear_lost(backend *b, const linear_args *args, size_t count, viva_error *error) {
  lose_gpu(b, "linear");
  return lost.before->linear(b, args, count, error);
}
static viva_status step_lost(backend *b, const decoder *d, const batch *host, input_mode mode, float *const *logits,
                             viva_token *best, float *values, uint8_t *nan, viva_error *error) {
  lose_gpu(b, "decode_step");
  return lost.before->decode_step(b, d, host, mode, logits, best, values, nan, error);
}
static viva_status top_lost(backend *b, const float *logits, size_t rows, size_t n, size_t k, viva_token *ids,
                            float *values, uint8_t *nan, viva_error *error) {
  lose_gpu(b, "top");
  return lost.before->top(b, logits, rows, n, k, ids, values, nan, error);
}
static viva_status download_lost(backend *b, void *to, const void *dev, size_t bytes, viva_error *error) {
  lose_gpu(b, "download");
  return lost.before->download(b, to, dev, bytes, error);
}

enum { LONG_PROMPT = 2100 };

/* A prefill in halves, steps, the best of a step, logits on the host: until one of them fails. */
static viva_status talk_until(viva_session *s, viva_token *next, viva_error *error) {
  static viva_token tokens[LONG_PROMPT];
  viva_step_part part = viva_step_part_default();
  viva_top top[3];
  const float *logits;
  kit_tokens(tokens, LONG_PROMPT, VOCAB, 5);
  TRY(viva_session_truncate(s, 0, error));
  TRY(viva_session_prefill(s, tokens, LONG_PROMPT, NULL, error));
  next[0] = tokens[0];
  for (int i = 1; i < STEPS; i++) TRY(viva_session_decode_argmax(s, next[i - 1], &next[i], error));
  part.session = s;
  part.tokens = next;
  part.count = 1;
  part.logits = VIVA_STEP_LAST;
  part.top_k = 3;
  part.top = top;
  TRY(viva_step(&part, 1, NULL, error));
  return viva_session_logits(s, &logits, NULL, error);
}

#define LOSS_MOST_NS 10000000000ull /* twice EXCHANGE_PATIENCE_NS, which the ranks' is far beyond */

/* The same by a model of another engine in the same process: the kit's, with this backend and these ranks. */
static viva_status talk_beside(kit *k, backend *b, rank_set *ranks, viva_error *error) {
  backend *own = k->engine->backend;
  viva_session_options o = viva_session_options_default();
  viva_token next[STEPS];
  viva_model *model = NULL;
  viva_session *s = NULL;
  k->engine->backend = b;
  k->engine->ranks = ranks;
  o.capacity = LONG_PROMPT + 2 * STEPS;
  viva_status status = viva_model_load(k->engine, "/m", NULL, &model, error);
  if (!status) status = viva_session_create(model, &o, &s, error);
  if (!status) status = talk_until(s, next, error);
  viva_session_free(s);
  viva_model_release(model);
  k->engine->backend = own;
  k->engine->ranks = NULL;
  return status;
}

/* What the process does. */
static void lose_in(void **state) {
  kit k;
  viva_error error = {0}, later = {0};
  viva_token next[STEPS];
  const float *logits;
  backend *b = pair->ranks->each[1].b;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  put_model(k.io, 512, 512, 3);
  viva_model_options o = viva_model_options_default();
  o.weights = "fp8";
  k.engine->ranks = pair->ranks;
  viva_model *model = kit_load(&k, "/m", &o);
  viva_session *s = kit_session(model, LONG_PROMPT + 2 * STEPS, LONG_PROMPT, VIVA_DTYPE_NONE);
  kit_ok(talk_until(s, next, &error), &error);
  backend_ops ops = *b->ops;
  lost.before = b->ops;
  ops.linear = linear_lost;
  ops.decode_step = step_lost;
  ops.top = top_lost;
  ops.download = download_lost;
  b->ops = &ops;
  const uint64_t began = clock_ns();
  const viva_status status = talk_until(s, next, &error);
  const uint64_t took = clock_ns() - began;
  print_message("lost in %s: %.2f s: %s\n", lost.in, (double)took * 1e-9, error.message);
  for (size_t r = 0; r < RANKS; r++)
    print_message("  rank %zu, failure %llu: status %d: %s\n", r, (unsigned long long)pair->ranks->each[r].failed,
                  (int)pair->ranks->each[r].status, pair->ranks->each[r].error.message);
  kit_error(status, VIVA_E_DEVICE, &error, "is lost"); /* GPU 0, which reaches into it, may notice first */
  assert_true(took < LOSS_MOST_NS);
  kit_error(viva_session_decode(s, 1, &later), VIVA_E_DEVICE, &later, "is lost");
  kit_error(viva_session_prefill(s, next, 1, NULL, &later), VIVA_E_DEVICE, &later, "is lost");
  kit_error(viva_session_decode_argmax(s, 1, next, &later), VIVA_E_DEVICE, &later, "is lost");
  assert_int_not_equal(viva_session_logits(s, &logits, NULL, &later), VIVA_OK);
  viva_session_free(s);
  viva_model_release(model);
  b->ops = lost.before;
  /* CUDA may end for the whole process: with both H200 it did, when a kernel of one read where nothing is. */
  const viva_status beside = talk_beside(&k, one->backend, NULL, &later);
  if (beside) kit_error(beside, VIVA_E_DEVICE, &later, "is lost");
  print_message("  an engine on GPU 0: %s\n", beside ? later.message : "goes on");
  kit_ok(talk_beside(&k, k.engine->backend, NULL, &later), &later);
  viva_engine_release(k.engine);
  memory_io_free(k.io);
}

static int run_lost(const char *in, const char *after) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lose_in)};
  lost.in = in;
  lost.after = atoi(after);
  return cmocka_run_group_tests(tests, open_all, close_all);
}

/* In a prefill, a step, the choice of the best, what brings logits. Engines of another process go on, on both GPUs. */
static void gpus_that_are_lost(void **state) {
  static const char *const losses[][2] = {{"linear", "9"}, {"decode_step", "3"}, {"top", "0"}, {"download", "0"}};
  size_t failed = 0;
  (void)state;
  if (!pair) skip();
  for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
    int status = -1;
    const pid_t child = fork();
    if (child == 0) {
      execl("/proc/self/exe", "test_cuda_ranks", "lose", losses[i][0], losses[i][1], (char *)NULL);
      _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && !WEXITSTATUS(status)) continue;
    print_error("a GPU lost in %s: status %#x\n", losses[i][0], status);
    failed++;
  }
  assert_int_equal(failed, 0);
  kit k;
  viva_error error = {0};
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  put_model(k.io, 512, 512, 3);
  kit_ok(talk_beside(&k, one->backend, NULL, &error), &error);
  kit_ok(talk_beside(&k, k.engine->backend, pair->ranks, &error), &error);
  viva_engine_release(k.engine);
  memory_io_free(k.io);
}

int main(int argc, char **argv) {
  if (argc == 4 && !strcmp(argv[1], "lose")) return run_lost(argv[2], argv[3]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums),         cmocka_unit_test(sums_sent_ahead),    cmocka_unit_test(models),
      cmocka_unit_test(long_prompts), cmocka_unit_test(gpus_that_are_lost), cmocka_unit_test(a_rank_that_stays_away)};
  viva_device_info info = {.size = sizeof info};
  size_t i = 0;
  while (viva_device_list(i, &info, NULL) == VIVA_OK && info.kind != VIVA_DEVICE_CUDA) i++;
  if (viva_device_list(i, &info, NULL) != VIVA_OK) {
    fprintf(stderr, "no GPU\n");
    return 77;
  }
  return cmocka_run_group_tests(tests, open_all, close_all);
}
