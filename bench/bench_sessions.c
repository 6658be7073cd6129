/* bench_sessions: what docs/sessions.md promises, on a real model. A client of the public headers.
 *
 * -t 1 before MODEL: one thread, and its processor's time, in which other programs' turns do not count.
 *
 *   bench_sessions MODEL copy [TOKENS]         a session of so many tokens (4096) and one of 4 more are copied
 *   bench_sessions MODEL together [N [NEW]]    N generators (16) of NEW tokens (64), one after the other and stepped together,
 *                                              FP8 weights and rows, in turn
 *   bench_sessions MODEL kv [DEPTH [LAYERS]]   decode behind so many tokens (8192), caches in F16 and FP8 in turn, FP8 weights;
 *                                              with few layers the filling takes less long
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <viva/viva.h>

#include "bench.h"

enum { MOST = 64, COPIES = 201, ROUNDS = 9, DECODED = 16 };

static viva_error error;
static clockid_t clock_used = CLOCK_MONOTONIC;

static double now(void) { return clock_seconds(clock_used); }

static void need(viva_status status) {
  char text[1200];
  if (status == VIVA_OK) return;
  viva_error_format(&error, text, sizeof text);
  fprintf(stderr, "bench_sessions: %s\n", text);
  exit(1);
}

static viva_model *load(viva_engine *engine, const char *path, const char *weights, viva_activation_mode act,
                        viva_dtype kv, uint64_t context, uint64_t layers) {
  viva_model *model;
  viva_model_options o = viva_model_options_default();
  o.num_layers = layers;
  o.weights = weights, o.act = act, o.kv = kv, o.context = context;
  need(viva_model_load(engine, path, &o, &model, &error));
  return model;
}

static viva_session *session(viva_model *model, uint64_t capacity, int reserve) {
  viva_session *s;
  viva_session_options o = viva_session_options_default();
  o.capacity = capacity, o.reserve = reserve;
  need(viva_session_create(model, &o, &s, &error));
  return s;
}

static uint64_t vocab_of(const viva_model *model) {
  viva_model_config c = {.size = sizeof c};
  need(viva_model_get_config(model, &c, &error));
  return c.vocab_size;
}

/* Tokens without a meaning: speed does not depend on them. */
static void fill(viva_session *s, size_t count, uint64_t vocab) {
  viva_token *tokens = malloc(count * sizeof *tokens);
  if (!tokens) exit(1);
  for (size_t i = 0; i < count; i++) tokens[i] = (viva_token)((i * 7919 + 13) % vocab);
  need(viva_session_prefill(s, tokens, count, NULL, &error));
  free(tokens);
}

static viva_cache_info cache_of(const viva_model *model) {
  viva_cache_info info = {.size = sizeof info};
  need(viva_model_cache_info(model, &info, &error));
  return info;
}

/* ---- copy */

static void copy_one(viva_model *model, size_t tokens) {
  viva_session *from = session(model, tokens + 64, 0), *to = session(model, tokens + 64, 0);
  double taken[COPIES];
  fill(from, tokens, vocab_of(model));
  const viva_cache_info before = cache_of(model);
  for (size_t i = 0; i < COPIES; i++) {
    need(viva_session_truncate(to, 0, &error));
    const double begin = now();
    need(viva_session_copy(to, from, &error));
    taken[i] = 1e6 * (now() - begin);
  }
  const viva_cache_info copied = cache_of(model);
  need(viva_session_decode(to, 1, &error));
  const viva_cache_info written = cache_of(model);
  printf("%zu tokens: %.1f µs (largest of %d: %.1f); pages in use %llu, after the copy %llu, after a token in the copy "
         "%llu\n",
         tokens, median(taken, COPIES), COPIES, taken[COPIES - 1], (unsigned long long)before.pages_in_use,
         (unsigned long long)copied.pages_in_use, (unsigned long long)written.pages_in_use);
  viva_session_free(from);
  viva_session_free(to);
}

static void run_copy(viva_engine *engine, const char *path, size_t tokens, const char *word) {
  (void)word;
  viva_model *model = load(engine, path, NULL, VIVA_ACT_AUTO, VIVA_F16, tokens + 100, 0);
  copy_one(model, tokens);
  copy_one(model, tokens + 4);
  viva_model_release(model);
}

/* ---- together */

/* Seconds until n generators, each with its own prompt, have ended; at_once of them at a time. */
static double generate(viva_model *model, size_t n, size_t at_once, size_t new_tokens, size_t *tokens) {
  static const char *const prompts[] = {"The capital of France is", "Once upon a time", "Water boils at",
                                        "In the year"};
  viva_session *sessions[MOST];
  viva_generator *generators[MOST];
  viva_generator_output out[MOST];
  viva_generate_options o = viva_generate_options_default();
  o.max_new_tokens = new_tokens, o.stop_on_eos = 0;
  for (size_t i = 0; i < n; i++) sessions[i] = session(model, 64 + new_tokens, 1);
  *tokens = 0;
  const double begin = now();
  for (size_t i = 0; i < n; i++) {
    const char *prompt = prompts[i % (sizeof prompts / sizeof *prompts)];
    o.sampling.seed = i;
    need(viva_generator_create(sessions[i], &o, &generators[i], &error));
    need(viva_generator_prompt(generators[i], prompt, strlen(prompt), &error));
  }
  for (size_t first = 0; first < n; first += at_once) {
    do { /* all of them have the same number of tokens to write: they end together */
      for (size_t i = 0; i < at_once; i++) out[i].size = sizeof *out;
      need(viva_generators_step(generators + first, at_once, out, &error));
      for (size_t i = 0; i < at_once; i++) *tokens += out[i].token >= 0;
    } while (out[0].state != VIVA_GENERATOR_DONE);
  }
  const double taken = now() - begin;
  for (size_t i = 0; i < n; i++) viva_generator_free(generators[i]), viva_session_free(sessions[i]);
  return taken;
}

static void run_together(viva_engine *engine, const char *path, size_t n, const char *new_tokens) {
  const size_t count = new_tokens ? (size_t)atol(new_tokens) : 64;
  double alone[ROUNDS], together[ROUNDS], ratio[ROUNDS];
  size_t tokens;
  viva_model *model = load(engine, path, "fp8", VIVA_ACT_FP8, VIVA_F16, 1024, 0);
  if (n < 1 || n > MOST) exit(1);
  generate(model, n, n, 4, &tokens);
  for (size_t r = 0; r < ROUNDS; r++) {
    alone[r] = (double)n * generate(model, 1, 1, count, &tokens); /* each takes the same time */
    together[r] = generate(model, n, n, count, &tokens);
    ratio[r] = alone[r] / together[r];
  }
  const double t = median(together, ROUNDS);
  const double middle = median(ratio, ROUNDS); /* puts them in order */
  printf("%zu generators of %zu tokens: one after the other %.0f tokens/s, together %.0f tokens/s, %.2f × (%.2f to "
         "%.2f)\n",
         n, count, (double)tokens / median(alone, ROUNDS), (double)tokens / t, middle, ratio[0], ratio[ROUNDS - 1]);
  viva_model_release(model);
}

/* ---- kv */

/* Milliseconds for a token behind those that the session holds. */
static double decode(viva_session *s) {
  const uint64_t position = viva_session_position(s);
  viva_token token = 1;
  const double begin = now();
  for (int i = 0; i < DECODED; i++) need(viva_session_decode_argmax(s, token, &token, &error));
  const double taken = 1e3 * (now() - begin) / DECODED;
  need(viva_session_truncate(s, position, &error));
  return taken;
}

static void run_kv(viva_engine *engine, const char *path, size_t depth, const char *layers) {
  static const viva_dtype types[] = {VIVA_F16, VIVA_E4M3};
  double taken[2][ROUNDS], ratio[ROUNDS];
  viva_session *s[2];
  viva_memory_plan plan[2];
  viva_model *model[2];
  for (int i = 0; i < 2; i++) {
    model[i] = load(engine, path, "fp8", VIVA_ACT_AUTO, types[i], depth + 64, layers ? strtoull(layers, NULL, 10) : 0);
    plan[i].size = sizeof plan[i];
    need(viva_model_get_plan(model[i], &plan[i], &error));
    s[i] = session(model[i], depth + 64, 1);
    fill(s[i], depth, vocab_of(model[i]));
  }
  for (size_t r = 0; r < ROUNDS; r++) {
    for (int i = 0; i < 2; i++) taken[i][r] = decode(s[i]);
    ratio[r] = taken[0][r] / taken[1][r];
  }
  for (int i = 0; i < 2; i++) qsort(taken[i], ROUNDS, sizeof(double), by_value);
  const double middle = median(ratio, ROUNDS); /* puts them in order */
  printf("behind %zu tokens: F16 %.3f ms, FP8 %.3f ms a token, %.2f × (%.2f to %.2f); the fastest of %d rounds %.3f "
         "and %.3f ms; bytes of the cache %.3f ×\n",
         depth, taken[0][ROUNDS / 2], taken[1][ROUNDS / 2], middle, ratio[0], ratio[ROUNDS - 1], ROUNDS, taken[0][0],
         taken[1][0], (double)plan[1].page_bytes / (double)plan[0].page_bytes);
  for (int i = 0; i < 2; i++) viva_session_free(s[i]), viva_model_release(model[i]);
}

/* ---- */

static const struct {
  const char *name;
  size_t number;
  void (*run)(viva_engine *engine, const char *path, size_t number, const char *text);
} parts[] = {{"copy", 4096, run_copy}, {"together", 16, run_together}, {"kv", 8192, run_kv}};

int main(int argc, char **argv) {
  viva_engine *engine;
  viva_engine_options o = viva_engine_options_default();
  if (argc > 2 && strcmp(argv[1], "-t") == 0) {
    o.threads = atoi(argv[2]);
    if (o.threads == 1) clock_used = CLOCK_PROCESS_CPUTIME_ID;
    argc -= 2, argv += 2;
  }
  if (argc < 3) return fprintf(stderr, "usage: bench_sessions [-t N] MODEL copy|together|kv [NUMBER [NUMBER]]\n"), 1;
  need(viva_engine_open(&o, &engine, &error));
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (strcmp(argv[2], parts[i].name) == 0)
      parts[i].run(engine, argv[1], argc > 3 ? (size_t)atol(argv[3]) : parts[i].number, argc > 4 ? argv[4] : NULL);
  viva_engine_release(engine);
  return 0;
}
