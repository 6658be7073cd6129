/* Generators: many stepped together give what each gives alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/model_kit.h"

enum { VOCAB = 299, MANY = 32 };

typedef struct outcome {
  viva_token tokens[80];
  size_t count;
  char text[400];
  size_t bytes;
  viva_stop_reason reason;
  float logprob_sum;
} outcome;

static const char *const stops[] = {"a", "th", "qu", "e "};

/* Options, prompt and seed by number: greedy and sampled, penalties, stop strings, end tokens, limits, log probabilities. */
static viva_generate_options options_of(size_t i) {
  static const viva_token ends[] = {17, 40};
  viva_generate_options o = viva_generate_options_default();
  o.max_new_tokens = 5 + i % 7 * 8;
  o.sampling.temperature = i % 3 == 0 ? 0 : 0.9f;
  o.sampling.top_k = (int32_t)(i % 5 * 10);
  o.sampling.repetition_penalty = i % 4 == 1 ? 1.3f : 1;
  o.sampling.seed = 100 + i;
  o.sequence = i;
  o.stop_on_eos = i % 2 == 0 ? 1 : 0;
  if (i % 6 == 2) o.stop_strings = stops, o.stop_count = 4;
  if (i % 8 == 5) o.stop_tokens = ends, o.stop_token_count = 2;
  if (i % 9 == 4) o.logprobs = 2;
  o.keep_last = i % 10 == 7 ? 1 : 0;
  return o;
}

static size_t prompt_of(size_t i, char *prompt) {
  static const char words[] = "once upon a time there was the quick brown fox that jumped over a lazy dog ";
  const size_t bytes = 3 + i * 5 % 60;
  for (size_t k = 0; k < bytes; k++) prompt[k] = words[(i * 7 + k) % (sizeof words - 1)];
  return bytes;
}

static void add(outcome *to, const viva_generator_output *out) {
  if (out->token >= 0) to->tokens[to->count++] = out->token;
  memcpy(to->text + to->bytes, out->text, out->text_bytes);
  to->bytes += out->text_bytes;
  if (out->logprob) to->logprob_sum += out->logprob->logprob + out->top[1].logprob;
  if (out->state == VIVA_GENERATOR_DONE) to->reason = out->reason;
}

static viva_session *session_of(viva_model *model, size_t i) {
  viva_session_options o = viva_session_options_default();
  viva_session *s;
  viva_error error = {0};
  o.capacity = 160 + i;
  o.prefill_chunk = i % 3 ? 9 : 0; /* prompts are read in parts, beside others that write */
  o.reserve = (int32_t)(i % 2);
  kit_ok(viva_session_create(model, &o, &s, &error), &error);
  return s;
}

static viva_generator *generator_of(viva_session *s, size_t i) {
  char prompt[64];
  viva_error error = {0};
  viva_generator *g;
  const viva_generate_options o = options_of(i);
  const size_t bytes = prompt_of(i, prompt);
  kit_ok(viva_generator_create(s, &o, &g, &error), &error);
  kit_ok(viva_generator_prompt(g, prompt, bytes, &error), &error);
  return g;
}

static void alone(viva_model *model, size_t i, outcome *to) {
  viva_session *s = session_of(model, i);
  viva_generator *g = generator_of(s, i);
  viva_error error = {0};
  viva_generator_output out = {.size = sizeof out};
  do {
    kit_ok(viva_generators_step(&g, 1, &out, &error), &error);
    add(to, &out);
  } while (out.state != VIVA_GENERATOR_DONE);
  kit_error(viva_generators_step(&g, 1, &out, &error), VIVA_E_STATE, &error, "generators[0]: the generator has ended");
  viva_generate_result *result;
  kit_ok(viva_generator_result(g, &result, &error), &error);
  assert_int_equal(result->token_count, to->count);
  assert_memory_equal(result->tokens, to->tokens, to->count * sizeof(viva_token));
  assert_int_equal(result->text_bytes, to->bytes);
  assert_memory_equal(result->text, to->text, to->bytes);
  /* the session holds the prompt and all tokens but the last, or with keep_last all */
  const size_t all = result->prompt_count + result->token_count;
  assert_int_equal(viva_session_position(s), options_of(i).keep_last ? all : all - 1);
  viva_generate_result_free(result);
  viva_generator_free(g);
  viva_session_free(s);
}

/* The same as viva_generate, which the tests of generation hold to its promises. */
static void same_as_generate(viva_model *model, size_t i, const outcome *expected) {
  char prompt[64];
  viva_error error = {0};
  viva_generate_result *r;
  viva_generate_options o = options_of(i);
  const size_t bytes = prompt_of(i, prompt);
  kit_ok(viva_generate(model, prompt, bytes, &o, &r, &error), &error);
  assert_int_equal(r->token_count, expected->count);
  assert_memory_equal(r->tokens, expected->tokens, expected->count * sizeof(viva_token));
  assert_int_equal(r->text_bytes, expected->bytes);
  assert_memory_equal(r->text, expected->text, expected->bytes);
  assert_int_equal(r->stop_reason, expected->reason);
  viva_generate_result_free(r);
}

/* All at once; those that come later begin while others are in the middle. */
static void together(viva_model *model, outcome *all) {
  viva_session *sessions[MANY];
  viva_generator *generators[MANY], *active[MANY];
  size_t number[MANY];
  viva_error error = {0};
  for (size_t i = 0; i < MANY; i++) sessions[i] = session_of(model, i), generators[i] = generator_of(sessions[i], i);
  size_t begun = 0, running = 0;
  while (begun < MANY || running) {
    viva_generator_output out[MANY];
    for (size_t k = 0; k < 3 && begun < MANY; k++, begun++)
      active[running] = generators[begun], number[running++] = begun;
    for (size_t i = 0; i < running; i++) out[i].size = sizeof out[i];
    kit_ok(viva_generators_step(active, running, out, &error), &error);
    size_t left = 0;
    for (size_t i = 0; i < running; i++) {
      add(&all[number[i]], &out[i]);
      if (out[i].state == VIVA_GENERATOR_DONE) continue;
      active[left] = active[i], number[left++] = number[i];
    }
    running = left;
  }
  for (size_t i = 0; i < MANY; i++) viva_generator_free(generators[i]), viva_session_free(sessions[i]);
}

static void many_are_as_one(void **state) {
  static outcome one[MANY], many[MANY];
  static const viva_stop_reason reasons[] = {VIVA_STOP_LENGTH, VIVA_STOP_EOS, VIVA_STOP_STRING};
  kit k;
  (void)state;
  kit_begin(&k, 2, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  for (size_t i = 0; i < MANY; i++) alone(model, i, &one[i]), same_as_generate(model, i, &one[i]);
  together(model, many);
  size_t seen[4] = {0};
  for (size_t i = 0; i < MANY; i++) {
    assert_int_equal(one[i].count, many[i].count);
    assert_memory_equal(one[i].tokens, many[i].tokens, one[i].count * sizeof(viva_token));
    assert_int_equal(one[i].bytes, many[i].bytes);
    assert_memory_equal(one[i].text, many[i].text, one[i].bytes);
    assert_int_equal(one[i].reason, many[i].reason);
    assert_true(one[i].logprob_sum == many[i].logprob_sum);
    seen[one[i].reason]++;
  }
  for (size_t i = 0; i < 3; i++) assert_true(seen[reasons[i]] > 0); /* every way to end was taken */
  viva_model_release(model);
  kit_end(&k);
}

static void life_of_one(void **state) {
  kit k;
  viva_error error = {0};
  viva_generator *g, *other;
  viva_generator_output out = {.size = sizeof out}, two[2] = {{.size = sizeof out}, {.size = sizeof out}};
  viva_generate_options o = viva_generate_options_default();
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  viva_session *s = kit_session(model, 40, 0, VIVA_F16), *t = kit_session(model, 40, 0, VIVA_F16);
  kit_error(viva_generator_create(NULL, NULL, &g, &error), VIVA_E_ARGUMENT, &error, "session is NULL");
  kit_error(viva_generator_create(s, NULL, NULL, &error), VIVA_E_ARGUMENT, &error, "generator is NULL");
  o.session = t;
  kit_error(viva_generator_create(s, &o, &g, &error), VIVA_E_ARGUMENT, &error, "session: the options name another");
  o = viva_generate_options_default();
  o.stop_tokens = (viva_token[]){3, VOCAB}, o.stop_token_count = 2;
  kit_error(viva_generator_create(s, &o, &g, &error), VIVA_E_ARGUMENT, &error, "stop_tokens: stop token 1 is 299");
  o.stop_tokens = NULL;
  kit_error(viva_generator_create(s, &o, &g, &error), VIVA_E_ARGUMENT, &error, "stop_tokens is NULL");
  o.stop_token_count = 0, o.keep_last = 2;
  kit_error(viva_generator_create(s, &o, &g, &error), VIVA_E_ARGUMENT, &error, "keep_last can be 0 or 1");
  o.keep_last = 0, o.max_new_tokens = 8, o.stop_on_eos = 0;
  kit_ok(viva_generator_create(s, &o, &g, &error), &error);
  kit_ok(viva_generators_step(NULL, 0, NULL, &error), &error);
  kit_error(viva_generators_step(&g, 1, &out, &error), VIVA_E_STATE, &error,
            "generators[0]: the generator has no prompt");
  kit_error(viva_generator_prompt(g, "", 0, &error), VIVA_E_ARGUMENT, &error, "the prompt has no tokens");
  kit_error(viva_generator_prompt_tokens(g, (viva_token[40]){0}, 40, &error), VIVA_E_LIMIT, &error, "do not fit");
  kit_ok(viva_generator_prompt_tokens(g, (viva_token[]){5, 6}, 2, &error), &error);
  kit_error(viva_generator_prompt(g, "x", 1, &error), VIVA_E_STATE, &error, "has a prompt already");
  kit_ok(viva_generator_create(t, &o, &other, &error), &error);
  kit_ok(viva_generator_prompt_tokens(other, (viva_token[]){7, VOCAB}, 2, &error), &error);
  kit_error(viva_generators_step((viva_generator *[]){g, other}, 2, two, &error), VIVA_E_ARGUMENT, &error,
            "generators[1]: tokens[1] is 299");
  kit_error(viva_generators_step((viva_generator *[]){g, g}, 2, two, &error), VIVA_E_ARGUMENT, &error,
            "generators[1]: the session is given twice");
  assert_int_equal(viva_session_position(s), 0);
  kit_ok(viva_generators_step(&g, 1, &out, &error), &error);
  assert_int_equal(out.state, VIVA_GENERATOR_TOKEN);
  assert_int_equal(out.prompt_done, 2);
  viva_generator_cancel(g);
  kit_ok(viva_generators_step(&g, 1, &out, &error), &error);
  assert_int_equal(out.state, VIVA_GENERATOR_DONE);
  assert_int_equal(out.reason, VIVA_STOP_CANCELLED);
  assert_int_equal(viva_session_position(s), 2);
  viva_generator_free(g);
  /* going on from the session's logits */
  kit_ok(viva_generator_create(s, &o, &g, &error), &error);
  kit_ok(viva_generator_prompt_tokens(g, NULL, 0, &error), &error);
  kit_ok(viva_generators_step(&g, 1, &out, &error), &error);
  assert_int_equal(out.state, VIVA_GENERATOR_TOKEN);
  viva_generator_free(g);
  viva_generator_free(other);
  viva_generator_free(NULL);
  viva_session_free(s);
  viva_session_free(t);
  viva_model_release(model);
  kit_end(&k);
}

static void parts_for_loops_of_ones_own(void **state) {
  kit k;
  viva_error error = {0};
  viva_stop_matcher *m;
  size_t taken, matched, held;
  (void)state;
  kit_begin(&k, 1, VIVA_KERNELS_AUTO);
  viva_model *model = kit_load(&k, "/tiny.gguf", NULL);
  viva_model_config c = {.size = sizeof c};
  kit_ok(viva_model_get_config(model, &c, &error), &error);
  assert_true(c.num_eos > 0);
  assert_int_equal(viva_model_is_end_token(model, c.eos_tokens[0]), 1);
  assert_int_equal(viva_model_is_end_token(model, 5), 0);
  kit_error(viva_stop_matcher_create(k.engine, (const char *const[]){"a", ""}, 2, &m, &error), VIVA_E_ARGUMENT, &error,
            "stop string 1 is empty");
  kit_ok(viva_stop_matcher_create(k.engine, (const char *const[]){"END", "stop"}, 2, &m, &error), &error);
  kit_ok(viva_stop_matcher_feed(m, "we st", 5, &taken, &matched, &held, &error), &error);
  assert_true(taken == 5 && matched == 0 && held == 2);
  kit_ok(viva_stop_matcher_feed(m, "op here", 7, &taken, &matched, &held, &error), &error);
  assert_true(taken == 2 && matched == 4 && held == 0);
  viva_stop_matcher_free(m);
  viva_stop_matcher_free(NULL);
  viva_model_release(model);
  kit_end(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(many_are_as_one), cmocka_unit_test(life_of_one),
                                     cmocka_unit_test(parts_for_loops_of_ones_own)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
