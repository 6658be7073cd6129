/* Names, regular expressions and wildcards of quantised modules, as Python's re.match and fnmatch judge them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "format/quant/quant_inner.h"
#include "format/safetensors/st_open.h"

#define Q    "model.layers.10.self_attn.q_proj"
#define DOWN "model.layers.0.mlp.down_proj"

typedef struct world {
  viva_checkpoint ck;
  quant q;
  name_list list;
} world;

static void world_begin(world *w) {
  *w = (world){.ck.rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN)};
  w->q.ck = &w->ck;
  w->q.arena = arena_create(&w->ck.rt->mem, 4096);
}

static void world_end(world *w) {
  names_free(&w->ck.rt->mem, &w->list);
  arena_free(w->q.arena);
  assert_int_equal(w->ck.rt->mem.current, sizeof *w->ck.rt);
  runtime_release(w->ck.rt);
}

static viva_status add(world *w, name_syntax syntax, const char *text, viva_error *error) {
  viva_status status = names_add(&w->q, &w->list, syntax, (json_string){text, strlen(text)}, error);
  names_seal(&w->list);
  return status;
}

static name_match match_one(world *w, const char *module) {
  name_match found;
  assert_int_equal(names_match(&w->q, &w->list, module, &found, NULL), VIVA_OK);
  return found;
}

typedef struct match {
  const char *text, *module;
  name_match expected;
} match;

static void check_all(name_syntax syntax, const match *cases, size_t count) {
  for (size_t i = 0; i < count; i++) {
    world w;
    viva_error error = {0};
    world_begin(&w);
    assert_int_equal(add(&w, syntax, cases[i].text, &error), VIVA_OK);
    if (match_one(&w, cases[i].module) != cases[i].expected)
      fail_msg("\"%s\" and \"%s\": %d", cases[i].text, cases[i].module, match_one(&w, cases[i].module));
    world_end(&w);
  }
}

static void test_regex(void **state) {
  (void)state;
  static const match cases[] = {
      {"re:.*lm_head", "lm_head", MATCH_PATTERN},
      {"re:.*lm_head", "model.lm_head.x", MATCH_PATTERN}, /* re.match: no need to reach the end */
      {"re:lm_head", "model.lm_head", MATCH_NONE},        /* but to begin at the beginning */
      {"re:.*down_proj$", DOWN, MATCH_PATTERN},
      {"re:.*down_proj$", DOWN "s", MATCH_NONE},
      {"re:.*(q|k|v)_proj$", Q, MATCH_PATTERN},
      {"re:.*(?:gate|up)_proj", DOWN, MATCH_NONE},
      {"re:model\\.layers\\.\\d+\\.mlp\\..*", DOWN, MATCH_PATTERN},
      {"re:model\\.layers\\.\\d+\\.mlp\\..*", Q, MATCH_NONE},
      {"re:model.layers.[0-9]+.self_attn.[qkv]_proj", Q, MATCH_PATTERN},
      {"re:model.layers.[^0-9]+.self_attn", Q, MATCH_NONE},
      {"re:^model.layers.(1|10|11).self", Q, MATCH_PATTERN},
      {"re:^model.layers.(1|11).self", Q, MATCH_NONE},
      {"re:.*mlp.*?proj", DOWN, MATCH_PATTERN},
      {"re:(a|b|)+$", "", MATCH_PATTERN},
      {"re:(a|b|)+$", "abba", MATCH_PATTERN},
      {"re:(a|b|)+$", "abca", MATCH_NONE},
      {"re:(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", MATCH_NONE},
      {"re:a?a?a?aaa$", "aaa", MATCH_PATTERN},
      {"re:[]a-c\\-]+$", "]-cab", MATCH_PATTERN},
      {"re:\\w+\\.\\w+$", "model.norm_2", MATCH_PATTERN},
      {"re:visual.*", Q, MATCH_NONE},
      {"re:x|.*q_proj", Q, MATCH_PATTERN},
      {"Linear", Q, MATCH_CLASS},
      {"Linear", "model.embed_tokens", MATCH_NONE},
      {"Embedding", "model.embed_tokens", MATCH_CLASS},
      {"Embedding", Q, MATCH_NONE},
      {Q, Q, MATCH_EXACT},
      {Q, DOWN, MATCH_NONE},
      {"model.layers.10.self_attn", Q, MATCH_NONE},
  };
  check_all(NAMES_COMPRESSED_TENSORS, cases, sizeof cases / sizeof *cases);
}

static void test_wildcards(void **state) {
  (void)state;
  static const match cases[] = {
      {"lm_head", "lm_head", MATCH_EXACT},
      {"lm_head*", "lm_head", MATCH_PATTERN},
      {"lm_head*", "xlm_head", MATCH_NONE},
      {"*.q_proj", Q, MATCH_PATTERN},
      {"*.q_pro", Q, MATCH_NONE},
      {"model.layers.1?.*", Q, MATCH_PATTERN},
      {"model.layers.?.*", Q, MATCH_NONE},
      {"*[kq]_proj", Q, MATCH_PATTERN},
      {"*[!kq]_proj", Q, MATCH_NONE},
      {"*", "", MATCH_PATTERN},
      {"model*mlp*proj", DOWN, MATCH_PATTERN},
      {"(a|b)", "a", MATCH_NONE},
      {"Linear", Q, MATCH_NONE},
      {"re:.*", Q, MATCH_NONE},
      {"model.layers.10*self_attn*", Q, MATCH_PATTERN},
  };
  check_all(NAMES_WILDCARDS, cases, sizeof cases / sizeof *cases);
}

static void test_parts(void **state) {
  (void)state;
  static const match cases[] = {
      {"lm_head", "lm_head", MATCH_EXACT},
      {"lm_head", "model.lm_head", MATCH_EXACT},
      {"mlp", DOWN, MATCH_EXACT},
      {"0.mlp", DOWN, MATCH_EXACT},
      {"mlp.down", DOWN, MATCH_NONE},
      {"down_proj", DOWN, MATCH_EXACT},
      {"model.layers.1", Q, MATCH_NONE},
      {"model.layers.10", Q, MATCH_EXACT},
      {"gate", "mlp.gate_proj", MATCH_NONE},
      {"a..b", "x.a..b.y", MATCH_EXACT},
  };
  check_all(NAMES_PARTS, cases, sizeof cases / sizeof *cases);
}

/* What is not understood is refused with its text, not taken for something else. */
static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *fragment;
  } cases[] = {
      {"re:(?!.*mlp).*", "(?"},
      {"re:(?i)x", "(?"},
      {"re:a{2}", "repetitions"},
      {"re:*a", "repetitions"},
      {"re:a**", "repetitions"},
      {"re:(a", "has no )"},
      {"re:a)", "has no ("},
      {"re:[a", "has no ]"},
      {"re:\\bq", "escapes"},
      {"re:a\\", "escapes"},
      {"re:[z-a]", "range"},
      {"re:[\\", "escapes"},
      {"re:((((((((((((((((((a))))))))))))))))))", "deep"},
      {"re:[", "has no ]"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    world w;
    viva_error error = {0};
    world_begin(&w);
    assert_int_equal(add(&w, NAMES_COMPRESSED_TENSORS, cases[i].text, &error), VIVA_E_UNSUPPORTED);
    if (strstr(error.message, cases[i].fragment) == NULL) fail_msg("%s: %s", cases[i].text, error.message);
    world_end(&w);
  }
  world w;
  viva_error error = {0};
  char large[300];
  world_begin(&w);
  memset(large, 'a', sizeof large - 1);
  memcpy(large, "re:", 3);
  large[sizeof large - 1] = 0;
  assert_int_equal(add(&w, NAMES_COMPRESSED_TENSORS, large, &error), VIVA_E_UNSUPPORTED);
  assert_non_null(strstr(error.message, "too long"));
  world_end(&w);
}

/* The worst pattern over a long name: all states at a time, so no blow-up. */
static void test_time(void **state) {
  (void)state;
  world w;
  viva_error error = {0};
  char name[4097];
  world_begin(&w);
  memset(name, 'a', sizeof name - 1);
  name[sizeof name - 1] = 0;
  assert_int_equal(add(&w, NAMES_COMPRESSED_TENSORS, "re:(.*)*(.*)*(.*)*(a|aa|aaa)*(((a*)*)*)*b", &error), VIVA_OK);
  double before = st_now_ms();
  assert_int_equal(match_one(&w, name), MATCH_NONE);
  assert_true(st_now_ms() - before < 500); /* some 4096 × 100 steps */
  world_end(&w);
}

static void test_many(void **state) {
  (void)state;
  world w;
  viva_error error = {0};
  viva_status status = VIVA_OK;
  size_t count = 0;
  world_begin(&w);
  for (; status == VIVA_OK && count < 10000; count++) status = add(&w, NAMES_WILDCARDS, "a*", &error);
  assert_int_equal(status, VIVA_E_LIMIT);
  assert_int_equal(count, 4097);
  world_end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_regex),   cmocka_unit_test(test_wildcards), cmocka_unit_test(test_parts),
      cmocka_unit_test(test_refused), cmocka_unit_test(test_time),      cmocka_unit_test(test_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
