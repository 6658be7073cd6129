/* viva_generate: its loop against one made of sessions and samplers, its text, its stops, its words. */
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

enum { VOCAB = 299, CONTEXT = 128 };
#define PROMPT "Once upon a time"

typedef struct fixture {
  kit k;
  viva_model *model;
  viva_generate_options o;
  viva_error error;
  /* what on_text has received */
  char text[4096];
  size_t bytes;
  int calls, stop_at;
} fixture;

static int on_text(void *user, const char *text, size_t bytes) {
  fixture *f = user;
  assert_true(text != NULL && f->bytes + bytes < sizeof f->text);
  memcpy(f->text + f->bytes, text, bytes);
  f->bytes += bytes;
  for (size_t at = 0; at < bytes;) { /* whole characters */
    unsigned char lead = (unsigned char)text[at];
    size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    assert_true((lead & 0xc0) != 0x80 && at + length <= bytes);
    at += length;
  }
  return ++f->calls == f->stop_at;
}

static int set_up(void **state) {
  fixture *f = calloc(1, sizeof *f);
  viva_model_options o = viva_model_options_default();
  o.weights = "f32";
  kit_begin(&f->k, 2, VIVA_KERNELS_AUTO);
  f->model = kit_load(&f->k, "/tiny.gguf", &o);
  f->o = viva_generate_options_default();
  f->o.on_text = on_text;
  f->o.on_text_user = f;
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  fixture *f = *state;
  viva_model_release(f->model);
  kit_end(&f->k);
  free(f);
  return 0;
}

static viva_generate_result *generate(fixture *f, const char *prompt) {
  viva_generate_result *result;
  f->bytes = 0;
  f->calls = 0;
  kit_ok(viva_generate(f->model, prompt, strlen(prompt), &f->o, &result, &f->error), &f->error);
  assert_int_equal(strlen(result->text) <= result->text_bytes, 1);
  assert_int_equal(result->text[result->text_bytes], 0);
  assert_int_equal(result->total_tokens, result->prompt_count + result->token_count);
  if (result->stop_reason != VIVA_STOP_CANCELLED) {
    assert_int_equal(f->bytes, result->text_bytes);
    assert_memory_equal(f->text, result->text, f->bytes);
    /* once for each token that does not end the text, and perhaps once more at the end */
    size_t ends = result->stop_reason == VIVA_STOP_EOS || result->stop_reason == VIVA_STOP_STRING;
    assert_in_range(f->calls, result->token_count - ends, result->token_count + 1);
  }
  return result;
}

static void refused(fixture *f, viva_status code, const char *text) {
  viva_generate_result *result = (viva_generate_result *)f;
  viva_status status = viva_generate(f->model, PROMPT, strlen(PROMPT), &f->o, &result, &f->error);
  kit_error(status, code, &f->error, text);
  assert_null(result);
}

/* As refused, for a prompt of no ids. */
static void refused_ids(fixture *f, viva_status code, const char *text) {
  viva_generate_result *result = (viva_generate_result *)f;
  kit_error(viva_generate_tokens(f->model, NULL, 0, &f->o, &result, &f->error), code, &f->error, text);
  assert_null(result);
}

/* The text that the tokenizer gives for ids. */
static size_t decoded(fixture *f, const viva_token *ids, size_t count, char *text, size_t room) {
  size_t bytes;
  kit_ok(viva_tokenizer_decode(viva_model_tokenizer(f->model), ids, count, NULL, text, room, &bytes, &f->error),
         &f->error);
  return bytes;
}

static void defaults(void **state) {
  (void)state;
  viva_generate_options o = viva_generate_options_default();
  assert_int_equal(o.max_new_tokens, 50);
  assert_true(o.sampling.temperature == 0 && o.sampling.top_p == 1 && o.sampling.min_p == 0);
  assert_true(o.sampling.repetition_penalty == 1 && o.sampling.top_k == 0 && o.sampling.seed == 42);
  assert_int_equal(o.stop_on_eos, 1);
  assert_int_equal(o.match_special, 1);
  assert_int_equal(o.add_bos, -1);
  assert_string_equal(viva_stop_reason_name(VIVA_STOP_LENGTH), "length");
  assert_string_equal(viva_stop_reason_name(VIVA_STOP_EOS), "eos");
  assert_string_equal(viva_stop_reason_name(VIVA_STOP_STRING), "stop");
  assert_string_equal(viva_stop_reason_name(VIVA_STOP_CANCELLED), "cancelled");
  assert_string_equal(viva_stop_reason_name((viva_stop_reason)9), "unknown");
}

/* Greedy and sampled tokens are those of a loop over the session's logits. */
static void same_as_a_loop(fixture *f) {
  viva_generate_result *r = generate(f, PROMPT);
  viva_session *s = kit_session(f->model, 0, 0, VIVA_DTYPE_NONE);
  size_t scratch_bytes = viva_sample_scratch(VOCAB), count = r->prompt_count;
  void *scratch = malloc(scratch_bytes);
  viva_token history[CONTEXT];
  memcpy(history, r->prompt_tokens, count * sizeof *history);
  kit_ok(viva_session_prefill(s, history, count, NULL, &f->error), &f->error);
  for (size_t i = 0; i < r->token_count; i++) {
    const float *logits;
    viva_token id;
    kit_ok(viva_session_logits(s, &logits, NULL, &f->error), &f->error);
    const viva_sample_input input = {sizeof input,  logits, VOCAB,   history,      count,
                                     f->o.sequence, count,  scratch, scratch_bytes};
    kit_ok(viva_sample(&input, &f->o.sampling, &id, &f->error), &f->error);
    assert_int_equal(id, r->tokens[i]);
    history[count++] = id;
    kit_ok(viva_session_decode(s, id, &f->error), &f->error);
  }
  free(scratch);
  viva_session_free(s);
  viva_generate_result_free(r);
}

static void tokens(void **state) {
  fixture *f = *state;
  f->o.max_new_tokens = 40;
  f->o.stop_on_eos = 0;
  same_as_a_loop(f);
  f->o.sampling.repetition_penalty = 1.5f;
  same_as_a_loop(f);
  f->o.sampling.temperature = 0.9f;
  same_as_a_loop(f);
  f->o.sequence = 3;
  f->o.sampling.top_k = 20;
  f->o.sampling.min_p = 0.01f;
  same_as_a_loop(f);
}

static void text_is_decoded_tokens(void **state) {
  fixture *f = *state;
  f->o.stop_on_eos = 0;
  f->o.sampling.temperature = 1.5f;
  for (uint64_t seed = 0; seed < 60; seed++) { /* nearly all of them cut characters: most tokens are single bytes */
    char text[2048];
    f->o.sampling.seed = seed;
    viva_generate_result *r = generate(f, PROMPT);
    assert_int_equal(r->token_count, 50);
    assert_int_equal(r->stop_reason, VIVA_STOP_LENGTH);
    size_t bytes = decoded(f, r->tokens, r->token_count, text, sizeof text);
    assert_int_equal(bytes, r->text_bytes);
    assert_memory_equal(text, r->text, bytes);
    viva_generate_result_free(r);
  }
}

static void prompts(void **state) {
  fixture *f = *state;
  f->o.max_new_tokens = 0;
  viva_generate_result *r = generate(f, "a<|im_end|>");
  assert_int_equal(r->prompt_count, 2);
  assert_int_equal(r->prompt_tokens[1], 2);
  assert_int_equal(r->token_count, 0);
  assert_string_equal(r->text, "");
  assert_int_equal(r->stop_reason, VIVA_STOP_LENGTH);
  assert_true(r->ms_per_token == 0 && r->decode_seconds == 0 && r->prefill_seconds > 0);
  viva_generate_result_free(r);
  f->o.match_special = 0;
  f->o.add_bos = 1;
  r = generate(f, "<|im_end|>");
  assert_int_equal(r->prompt_count, 10); /* BOS, then ten letters of which two are one token */
  assert_int_equal(r->prompt_tokens[0], 1);
  viva_generate_result_free(r);
  r = generate(f, ""); /* BOS alone */
  assert_int_equal(r->prompt_count, 1);
  viva_generate_result_free(r);
  f->o.add_bos = -1;
  viva_generate_result *none;
  kit_error(viva_generate(f->model, "", 0, &f->o, &none, &f->error), VIVA_E_ARGUMENT, &f->error,
            "the prompt has no tokens");
  kit_error(viva_generate_tokens(f->model, NULL, 0, &f->o, &none, &f->error), VIVA_E_ARGUMENT, &f->error, "no tokens");
  kit_error(viva_generate(f->model, NULL, 3, &f->o, &none, &f->error), VIVA_E_ARGUMENT, &f->error, "prompt is NULL");
  kit_error(viva_generate_tokens(f->model, NULL, 3, &f->o, &none, &f->error), VIVA_E_ARGUMENT, &f->error,
            "prompt is NULL");
  kit_error(viva_generate_tokens(f->model, (viva_token[]){5, 300}, 2, &f->o, &none, &f->error), VIVA_E_ARGUMENT,
            &f->error, "tokens[1] is 300");
  kit_error(viva_generate(NULL, "a", 1, &f->o, &none, &f->error), VIVA_E_ARGUMENT, &f->error, "model is NULL");
  kit_error(viva_generate_tokens(NULL, NULL, 0, &f->o, &none, &f->error), VIVA_E_ARGUMENT, &f->error, "model is NULL");
  kit_error(viva_generate(f->model, "a", 1, &f->o, NULL, &f->error), VIVA_E_ARGUMENT, &f->error, "result is NULL");
  kit_error(viva_generate_tokens(f->model, NULL, 0, &f->o, NULL, &f->error), VIVA_E_ARGUMENT, &f->error,
            "result is NULL");
  viva_generate_result_free(NULL);
}

/* A seed whose text has an end token: it is in tokens, not in text, and nothing follows. */
static void end_token(void **state) {
  fixture *f = *state;
  int ended = 0;
  f->o.sampling.temperature = 1.2f;
  for (uint64_t seed = 0; seed < 200 && !ended; seed++) {
    f->o.sampling.seed = seed;
    f->o.stop_on_eos = 0;
    viva_generate_result *all = generate(f, PROMPT);
    size_t at = 0;
    while (at < all->token_count && all->tokens[at] != 2) at++;
    if (at > 3 && at + 1 < all->token_count) {
      char text[2048];
      f->o.stop_on_eos = 1;
      viva_generate_result *r = generate(f, PROMPT);
      assert_int_equal(r->stop_reason, VIVA_STOP_EOS);
      assert_int_equal(r->token_count, at + 1);
      assert_int_equal(r->tokens[at], 2);
      assert_int_equal(decoded(f, r->tokens, at, text, sizeof text), r->text_bytes);
      assert_memory_equal(text, r->text, r->text_bytes);
      viva_generate_result_free(r);
      ended = 1;
    }
    viva_generate_result_free(all);
  }
  assert_true(ended);
}

/* Every part of a generated text as the stop string, wherever tokens cut it. */
static void stop_strings(void **state) {
  fixture *f = *state;
  f->o.max_new_tokens = 24;
  f->o.stop_on_eos = 0;
  viva_generate_result *whole = generate(f, PROMPT);
  char stop[64];
  const char *stops[2] = {"never to be found \xf0\x9f\xa6\x84", stop};
  f->o.stop_strings = stops;
  f->o.stop_count = 2;
  size_t tried = 0;
  for (size_t begin = 0; begin < whole->text_bytes; begin++)
    for (size_t bytes = 1; bytes <= 7 && begin + bytes <= whole->text_bytes; bytes++) {
      const char *from = whole->text + begin;
      /* whole characters without zero bytes */
      if ((from[0] & 0xc0) == 0x80 || (from[bytes] & 0xc0) == 0x80 || memchr(from, 0, bytes)) continue;
      memcpy(stop, from, bytes);
      stop[bytes] = 0;
      const char *first = memmem(whole->text, whole->text_bytes, stop, bytes);
      viva_generate_result *r = generate(f, PROMPT);
      assert_int_equal(r->stop_reason, VIVA_STOP_STRING);
      assert_int_equal(r->text_bytes, first - whole->text);
      assert_memory_equal(r->text, whole->text, r->text_bytes);
      assert_true(r->token_count <= whole->token_count);
      assert_memory_equal(r->tokens, whole->tokens, r->token_count * sizeof *r->tokens);
      viva_generate_result_free(r);
      tried++;
    }
  assert_true(tried > 50);
  /* What was held back for a stop string that never came is shown at the end. */
  size_t last = whole->text_bytes - 1;
  while ((whole->text[last] & 0xc0) == 0x80) last--;
  snprintf(stop, sizeof stop, "%s and more", whole->text + last);
  viva_generate_result *r = generate(f, PROMPT);
  assert_int_equal(r->stop_reason, VIVA_STOP_LENGTH);
  assert_int_equal(r->text_bytes, whole->text_bytes);
  viva_generate_result_free(r);
  viva_generate_result_free(whole);
}

static void stop_string_errors(void **state) {
  fixture *f = *state;
  const char *stops[2] = {"a", ""};
  f->o.stop_count = 2;
  refused(f, VIVA_E_ARGUMENT, "stop_strings: stop_strings is NULL, but stop_count is 2");
  f->o.stop_strings = stops;
  refused(f, VIVA_E_ARGUMENT, "stop string 1 is empty");
  stops[1] = NULL;
  refused(f, VIVA_E_ARGUMENT, "stop string 1 is NULL");
  stops[1] = "\xff";
  refused(f, VIVA_E_ARGUMENT, "stop string 1 is not valid UTF-8");
  small_model_put(f->k.io, "/ids", &(small_model){0});
  viva_model *model = kit_load(&f->k, "/ids", NULL);
  viva_generate_result *r;
  f->o.stop_count = 1;
  kit_error(viva_generate_tokens(model, (viva_token[]){4}, 1, &f->o, &r, &f->error), VIVA_E_STATE, &f->error,
            "no tokenizer");
  kit_error(viva_generate(model, "a", 1, NULL, &r, &f->error), VIVA_E_STATE, &f->error, "no tokenizer");
  f->o.stop_count = 0;
  f->o.logprobs = 2;
  kit_ok(viva_generate_tokens(model, (viva_token[]){4}, 1, &f->o, &r, &f->error), &f->error); /* with ids it works */
  assert_string_equal(r->text, "");
  assert_true(r->token_count > 0);
  viva_generate_result_free(r);
  viva_model_release(model);
}

static void cancelling(void **state) {
  fixture *f = *state;
  f->o.stop_on_eos = 0;
  viva_generate_result *whole = generate(f, PROMPT);
  size_t calls = (size_t)f->calls;
  assert_true(calls > 10);
  for (int stop = 1; stop <= (int)calls; stop += 5) {
    f->stop_at = stop;
    viva_generate_result *r = generate(f, PROMPT);
    assert_int_equal(f->calls, stop);
    assert_int_equal(r->stop_reason, VIVA_STOP_CANCELLED);
    assert_true(r->text_bytes >= f->bytes && f->bytes > 0);
    assert_memory_equal(r->text, f->text, f->bytes);
    assert_memory_equal(r->tokens, whole->tokens, r->token_count * sizeof *r->tokens);
    viva_generate_result_free(r);
  }
  viva_generate_result_free(whole);
}

static int cancel_prefill(void *user, uint64_t done, uint64_t total) {
  (void)done;
  (void)total;
  ++*(int *)user;
  return 1;
}

static void cancelled_prefill(void **state) {
  fixture *f = *state;
  int calls = 0;
  viva_session *s = kit_session(f->model, 0, 4, VIVA_DTYPE_NONE);
  f->o.session = s;
  f->o.progress = cancel_prefill;
  f->o.progress_user = &calls;
  refused(f, VIVA_E_CANCELLED, "cancelled after 4 of 13 tokens");
  assert_int_equal(calls, 1);
  assert_int_equal(viva_session_position(s), 0);
  viva_session_free(s);
}

/* A text in two calls on one session is the text in one: the prompt of the second is what the first did not decode. */
static void continued(void **state) {
  fixture *f = *state;
  f->o.stop_on_eos = 0;
  f->o.sampling.temperature = 0.8f;
  f->o.max_new_tokens = 30;
  viva_generate_result *whole = generate(f, PROMPT), *second;
  viva_session *s = kit_session(f->model, 0, 0, VIVA_DTYPE_NONE);
  f->o.session = s;
  f->o.max_new_tokens = 12;
  viva_generate_result *first = generate(f, PROMPT);
  assert_int_equal(viva_session_position(s), first->prompt_count + 11); /* every token but the last */
  f->o.max_new_tokens = 18;
  kit_ok(viva_generate_tokens(f->model, &first->tokens[11], 1, &f->o, &second, &f->error), &f->error);
  assert_memory_equal(first->tokens, whole->tokens, 12 * sizeof(viva_token));
  assert_memory_equal(second->tokens, whole->tokens + 12, 18 * sizeof(viva_token));
  viva_generate_result_free(second);

  /* an empty prompt goes on from the session's logits */
  kit_ok(viva_session_truncate(s, 0, &f->error), &f->error);
  f->o.max_new_tokens = 30;
  refused_ids(f, VIVA_E_ARGUMENT, "nothing to continue");
  kit_ok(viva_session_prefill(s, whole->prompt_tokens, whole->prompt_count, NULL, &f->error), &f->error);
  kit_ok(viva_generate_tokens(f->model, NULL, 0, &f->o, &second, &f->error), &f->error);
  assert_int_equal(second->prompt_count, 0);
  assert_int_equal(second->token_count, 30);
  assert_memory_equal(second->tokens, whole->tokens, 30 * sizeof(viva_token));
  viva_generate_result_free(whole);
  viva_generate_result_free(first);
  viva_generate_result_free(second);
  viva_session_free(s);
}

static void limits(void **state) {
  fixture *f = *state;
  viva_session *s = kit_session(f->model, 30, 0, VIVA_DTYPE_NONE);
  viva_model *other = kit_load(&f->k, "/tiny.gguf", NULL);
  viva_session *foreign = kit_session(other, 30, 0, VIVA_DTYPE_NONE);
  f->o.max_new_tokens = CONTEXT - 12;
  refused(f, VIVA_E_LIMIT, "max_new_tokens: 13 prompt tokens and 116 new ones do not fit into a context of 128 tokens");
  f->o.max_new_tokens = UINT64_MAX;
  refused(f, VIVA_E_LIMIT, "13 prompt tokens and 18446744073709551615 new ones");
  f->o.session = s;
  f->o.max_new_tokens = 4;
  viva_generate_result *r = generate(f, PROMPT);
  refused(f, VIVA_E_LIMIT, "13 prompt tokens and 4 new ones do not fit: the session holds 16 of 30 tokens");
  assert_int_equal(viva_session_position(s), 16);
  f->o.session = foreign;
  refused(f, VIVA_E_ARGUMENT, "session: the session belongs to another model");
  f->o.session = NULL;
  f->o.add_bos = 2;
  refused(f, VIVA_E_ARGUMENT, "add_bos: add_bos can be -1, 0 or 1, not 2");
  f->o.add_bos = -1;
  f->o.stop_on_eos = 2;
  refused(f, VIVA_E_ARGUMENT, "stop_on_eos: stop_on_eos can be 0 or 1, not 2");
  f->o.stop_on_eos = 1;
  f->o.logprobs = VOCAB + 1;
  refused(f, VIVA_E_ARGUMENT, "logprobs: 300 log probabilities are asked for, but the vocabulary has 299 tokens");
  f->o.logprobs = 0;
  f->o.sampling.temperature = NAN;
  refused(f, VIVA_E_ARGUMENT, "temperature");
  f->o.sampling.temperature = 0;
  f->o.sampling.top_p = 2;
  refused(f, VIVA_E_ARGUMENT, "top_p");
  viva_generate_result_free(r);
  viva_session_free(s);
  viva_session_free(foreign);
  viva_model_release(other);
}

static void log_probabilities(void **state) {
  fixture *f = *state;
  enum { TOP = 5 };
  f->o.logprobs = TOP;
  f->o.max_new_tokens = 20;
  f->o.sampling.temperature = 1.1f;
  f->o.sampling.repetition_penalty = 1.2f;
  f->o.stop_on_eos = 0;
  viva_generate_result *r = generate(f, PROMPT);
  viva_session *s = kit_session(f->model, 0, 0, VIVA_DTYPE_NONE);
  kit_ok(viva_session_prefill(s, r->prompt_tokens, r->prompt_count, NULL, &f->error), &f->error);
  assert_int_equal(r->logprobs, TOP);
  for (size_t i = 0; i < r->token_count; i++) {
    const float *logits;
    float p[VOCAB];
    kit_ok(viva_session_logits(s, &logits, NULL, &f->error), &f->error);
    kit_ok(viva_softmax(logits, VOCAB, p, &f->error), &f->error);
    assert_int_equal(r->token_logprobs[i].id, r->tokens[i]);
    /* both from the same exp; log and exp cost an ulp of FP32 */
    assert_true(fabs(exp((double)r->token_logprobs[i].logprob) - (double)p[r->tokens[i]]) < 1e-6);
    for (size_t t = 0; t < TOP; t++) {
      const viva_logprob *top = &r->top_logprobs[i * TOP + t];
      assert_true(fabs(exp((double)top->logprob) - (double)p[top->id]) < 1e-6);
      size_t better = 0;
      for (size_t v = 0; v < VOCAB; v++)
        better += logits[v] > logits[top->id] || (logits[v] == logits[top->id] && (viva_token)v < top->id);
      assert_int_equal(better, t);
    }
    kit_ok(viva_session_decode(s, r->tokens[i], &f->error), &f->error);
  }
  viva_generate_result_free(r);
  viva_session_free(s);
  f->o.logprobs = 0;
  r = generate(f, PROMPT);
  assert_null(r->token_logprobs);
  assert_null(r->top_logprobs);
  viva_generate_result_free(r);
}

/* A head with an infinite weight gives its token an infinite logit of either sign, of which there is no logarithm. */
static void infinite_logits(void **state) {
  fixture *f = *state;
  viva_generate_result *r;
  int infinite = 0, finite = 0;
  small_model_put(f->k.io, "/inf", &(small_model){.poked = "lm_head.weight", .poke = INFINITY, .untied = 1});
  viva_model *model = kit_load(&f->k, "/inf", NULL);
  f->o.logprobs = 1;
  f->o.max_new_tokens = 1;
  for (viva_token id = 1; id < 30; id++) {
    viva_status status = viva_generate_tokens(model, &id, 1, &f->o, &r, &f->error);
    if (status) kit_error(status, VIVA_E_NUMERIC, &f->error, "the largest logit is infinite");
    infinite += status != VIVA_OK;
    finite += status == VIVA_OK;
    viva_generate_result_free(r);
  }
  assert_true(infinite > 0 && finite > 0);
  viva_model_release(model);
}

static void no_bos(void **state) {
  fixture *f = *state;
  viva_generate_result *r;
  small_model_put(f->k.io, "/plain", &(small_model){.vocab = 1000, .config = "\"bos_token_id\":null,"});
  memory_io_put_text(f->k.io, "/plain/tokenizer.json",
                     "{\"added_tokens\":[],\"normalizer\":null,\"post_processor\":null,"
                     "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
                     "\"decoder\":{\"type\":\"ByteLevel\"},"
                     "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}");
  viva_model *model = kit_load(&f->k, "/plain", NULL);
  assert_int_equal(viva_tokenizer_bos(viva_model_tokenizer(model)), -1);
  f->o.add_bos = 1;
  kit_error(viva_generate(model, "a", 1, &f->o, &r, &f->error), VIVA_E_ARGUMENT, &f->error,
            "add_bos: a BOS token is asked for, but neither the tokenizer nor the model has one");
  viva_model_release(model);
}

/* An error in the middle: NaN for one token. The caller's session is where it was. */
static void failure_in_the_middle(void **state) {
  fixture *f = *state;
  viva_session *s;
  viva_generate_result *r;
  /* only id 0 reaches the NaN, and of an untied head with one large row id 0 is what is chosen */
  small_model_put(f->k.io, "/nan", &(small_model){.poked = "model.embed_tokens.weight", .poke = NAN, .untied = 1});
  viva_model *model = kit_load(&f->k, "/nan", NULL);
  s = kit_session(model, 0, 0, VIVA_F16);
  f->o.session = s;
  f->o.stop_on_eos = 0;
  f->o.sampling.temperature = 100; /* nearly uniform: soon it is 0's turn */
  viva_status status = VIVA_OK;
  for (uint64_t seed = 0; seed < 20 && !status; seed++) {
    kit_ok(viva_session_truncate(s, 0, &f->error), &f->error);
    kit_ok(viva_session_prefill(s, (viva_token[]){3, 4}, 2, NULL, &f->error), &f->error);
    f->o.sampling.seed = seed;
    status = viva_generate_tokens(model, (viva_token[]){5}, 1, &f->o, &r, &f->error);
    if (!status) viva_generate_result_free(r);
  }
  assert_int_equal(status, VIVA_E_NUMERIC);
  assert_null(r);
  assert_int_equal(viva_session_position(s), 2);
  viva_session_free(s);
  viva_model_release(model);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(defaults),
                                     T(tokens),
                                     T(text_is_decoded_tokens),
                                     T(prompts),
                                     T(end_token),
                                     T(stop_strings),
                                     T(stop_string_errors),
                                     T(cancelling),
                                     T(cancelled_prefill),
                                     T(continued),
                                     T(limits),
                                     T(log_probabilities),
                                     T(infinite_logits),
                                     T(no_bos),
                                     T(failure_in_the_middle)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
