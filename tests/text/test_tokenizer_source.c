/* Vocabularies as GGUF gives them: rules, kinds, hostile ids; and SmolLM2's real one when its file is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "format/gguf/gguf.h"
#include "golden.h"
#include "lib/fail_alloc.h"

#define TEXT(s)                                                                                                        \
  { s, sizeof(s) - 1 }

static const token_text tokens[] = {TEXT("a"),      TEXT("b"), TEXT("ab"),  TEXT("<s>"),
                                    TEXT("<user>"), TEXT("1"), TEXT("<?>"), TEXT("aab")};
static const int32_t kinds[] = {TOKEN_NORMAL, TOKEN_NORMAL, TOKEN_NORMAL,  TOKEN_CONTROL,
                                TOKEN_USER,   TOKEN_UNUSED, TOKEN_UNKNOWN, TOKEN_NORMAL};
static const token_text merges[] = {TEXT("a b")};
enum { TOKENS = sizeof tokens / sizeof *tokens };

static token_source small_source(void) {
  return (token_source){.path = "m.gguf",
                        .model = "gpt2",
                        .pre = "smollm",
                        .tokens = tokens,
                        .kinds = kinds,
                        .token_count = TOKENS,
                        .merges = merges,
                        .merge_count = 1,
                        .bos = -1,
                        .eos = -1,
                        .unk = -1};
}

static viva_status make(const token_source *s, viva_tokenizer **t, viva_error *error) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_status status = tokenizer_from_source(rt, s, t, error);
  runtime_release(rt);
  return status;
}

static void expect(const viva_tokenizer *t, const char *text, int match_special, int add_special, const viva_token *ids,
                   size_t n) {
  viva_token found[32];
  size_t count;
  const viva_encode_options options = {sizeof options, match_special, add_special, NULL};
  assert_int_equal(viva_tokenizer_encode(t, text, strlen(text), &options, found, 32, &count, NULL), VIVA_OK);
  assert_int_equal(count, n);
  assert_memory_equal(found, ids, n * sizeof *ids);
}

#define EXPECT(t, text, match, add, ...)                                                                               \
  expect(t, text, match, add, (const viva_token[]){__VA_ARGS__},                                                       \
         sizeof((viva_token[]){__VA_ARGS__}) / sizeof(viva_token))

static void test_kinds(void **state) {
  (void)state;
  token_source s = small_source();
  s.bos = 3;
  s.eos = 6;
  s.add_bos = s.add_eos = 1;
  viva_tokenizer *t;
  assert_int_equal(make(&s, &t, NULL), VIVA_OK);
  EXPECT(t, "ab<s>a<user>1", 0, 0, 2, 0, 4,
         5); /* a control token in the text is text: < s > are not in the vocabulary */
  EXPECT(t, "ab<s>a<user>1", 1, 0, 2, 3, 0, 4, 5);
  EXPECT(t, "<?>", 1, 1, 3, 6, 6);
  assert_int_equal(viva_tokenizer_is_special(t, 3), 1);
  assert_int_equal(viva_tokenizer_is_special(t, 4), 0);
  assert_int_equal(viva_tokenizer_is_special(t, 6), 1);
  assert_int_equal(viva_tokenizer_bos(t), 3);
  assert_int_equal(viva_tokenizer_eos(t), 6);
  assert_int_equal(viva_tokenizer_add_bos(t), 1);
  viva_tokenizer_release(t);
  s = small_source();
  s.kinds = NULL;
  assert_int_equal(make(&s, &t, NULL), VIVA_OK);
  EXPECT(t, "<user>ba", 1, 1, 1, 0); /* the characters of <user> are not in the vocabulary, and are left out */
  viva_tokenizer_release(t);
}

static void test_rules(void **state) {
  (void)state;
  token_source s = small_source();
  viva_tokenizer *t;
  s.pre = "llama-bpe"; /* takes whole pieces */
  assert_int_equal(make(&s, &t, NULL), VIVA_OK);
  EXPECT(t, "aab", 0, 0, 7);
  viva_tokenizer_release(t);
  s.pre = "gpt-2";
  assert_int_equal(make(&s, &t, NULL), VIVA_OK);
  EXPECT(t, "aab", 0, 0, 0, 2);
  viva_tokenizer_release(t);
}

static void test_refused(void **state) {
  (void)state;
  static const token_text bad_utf8[] = {TEXT("\xff")}, twice[] = {TEXT("a"), TEXT("a")}, one[] = {TEXT("a")};
  static const token_text bad_merge[] = {TEXT("ab")}, absent[] = {TEXT("a z")}, empty[] = {{NULL, 0}},
                          two_spaces[] = {TEXT("a b ")};
  token_source s[24];
  for (size_t i = 0; i < 24; i++) s[i] = small_source();
  struct {
    viva_status status;
    const char *message;
  } expected[24];
  size_t n = 0;
#define REFUSED(change, code, text) (s[n].change, expected[n].status = code, expected[n++].message = text)
  REFUSED(model = "t5", VIVA_E_UNSUPPORTED, "tokenizer model 't5' is not supported; known: gpt2, llama, gemma4");
  REFUSED(model = NULL, VIVA_E_UNSUPPORTED, "tokenizer model ''");
  REFUSED(pre = "teken", VIVA_E_UNSUPPORTED, "pre-tokenizer 'teken' is not supported; known: gpt-2 default smollm");
  REFUSED(pre = NULL, VIVA_E_UNSUPPORTED, "pre-tokenizer ''");
  REFUSED(token_count = (size_t)INT32_MAX + 2, VIVA_E_FORMAT, "2147483649 tokens"); /* row B2: nothing is read */
  REFUSED(bos = TOKENS, VIVA_E_FORMAT, "the bos token is id 8");                    /* row B3 */
  REFUSED(bos = UINT32_MAX, VIVA_E_FORMAT, "the bos token is id 4294967295");
  REFUSED(bos = -2, VIVA_E_FORMAT, "the bos token is id -2");
  REFUSED(eos = TOKENS, VIVA_E_FORMAT, "the eos token is id 8");
  REFUSED(eos = UINT32_MAX, VIVA_E_FORMAT, "the eos token is id 4294967295");
  REFUSED(eos = INT64_MAX, VIVA_E_FORMAT, "the eos token is id 9223372036854775807");
  REFUSED(unk = TOKENS, VIVA_E_FORMAT, "the unknown token is id 8");
  REFUSED(unk = INT64_MIN, VIVA_E_FORMAT, "the unknown token is id -9223372036854775808");
  REFUSED(add_bos = 1, VIVA_E_FORMAT, "asks for a bos token");
  REFUSED(add_eos = 1, VIVA_E_FORMAT, "asks for a eos token");
  REFUSED(tokens = bad_utf8, VIVA_E_FORMAT, "token 0 is not UTF-8: '\\xff'");
  s[n - 1].token_count = 1;
  REFUSED(tokens = twice, VIVA_E_FORMAT, "two tokens have the text 'a': ids 0 and 1");
  s[n - 1].token_count = 2;
  REFUSED(tokens = one, VIVA_E_FORMAT, "merge 0 names the right part 'b'");
  s[n - 1].token_count = 1;
  REFUSED(merges = bad_merge, VIVA_E_FORMAT, "merge 0 is not two tokens with one space between them: 'ab'");
  REFUSED(merges = absent, VIVA_E_FORMAT, "merge 0 names the right part 'z'");
  REFUSED(merges = empty, VIVA_E_FORMAT, "merge 0 is not two tokens");
  REFUSED(merges = two_spaces, VIVA_E_FORMAT, "merge 0 is not two tokens");
#undef REFUSED
  for (size_t i = 0; i < n; i++) {
    viva_tokenizer *t = (viva_tokenizer *)s;
    viva_error error = {0};
    viva_status status = make(&s[i], &t, &error);
    if (!strstr(error.message, expected[i].message)) print_message("case %zu: %s\n", i, error.message);
    assert_int_equal(status, expected[i].status);
    assert_non_null(strstr(error.message, expected[i].message));
    assert_string_equal(error.file, "m.gguf");
    assert_null(t);
  }
}

/* Row B3: one token and no ids named at all. Row B4: byte tokens of other kinds of tokenizer are ordinary text here. */
static void test_odd(void **state) {
  (void)state;
  static const token_text odd[] = {TEXT("<0x-1>"), TEXT("<0xZZ>"), TEXT("<0x100>"), TEXT("<0x1>"), TEXT("")};
  static const int32_t bytes_kind[] = {TOKEN_BYTE, TOKEN_BYTE, TOKEN_BYTE, TOKEN_BYTE, TOKEN_CONTROL};
  token_source s = small_source();
  viva_tokenizer *t;
  s.merges = NULL;
  s.merge_count = 0;
  s.token_count = 1;
  assert_int_equal(make(&s, &t, NULL), VIVA_OK);
  assert_int_equal(viva_tokenizer_bos(t), -1);
  assert_int_equal(viva_tokenizer_eos(t), -1);
  viva_tokenizer_release(t);
  s.tokens = odd;
  s.kinds = bytes_kind;
  s.token_count = 5;
  assert_int_equal(make(&s, &t, NULL), VIVA_OK);
  char text[16];
  size_t bytes;
  assert_int_equal(viva_tokenizer_decode(t, (const viva_token[]){0, 4}, 2, NULL, text, sizeof text, &bytes, NULL),
                   VIVA_OK);
  assert_int_equal(bytes, 6);
  assert_memory_equal(text, "<0x-1>", 6);
  viva_tokenizer_release(t);
  s.token_count = 0;
  assert_int_equal(make(&s, &t, NULL), VIVA_OK);
  assert_int_equal(viva_tokenizer_vocab_size(t), 0);
  size_t count;
  assert_int_equal(viva_tokenizer_encode(t, "abc", 3, NULL, NULL, 0, &count, NULL), VIVA_OK);
  assert_int_equal(count, 0);
  viva_tokenizer_release(t);
}

static void test_no_memory(void **state) {
  (void)state;
  token_source s = small_source();
  for (uint64_t k = 1;; k++) {
    fail_alloc a;
    fail_alloc_init(&a, k, 0);
    viva_tokenizer *t = NULL;
    runtime *rt = runtime_create(&a.table, NULL, NULL, NULL, VIVA_LOG_WARN);
    viva_status status = rt ? tokenizer_from_source(rt, &s, &t, NULL) : VIVA_E_MEMORY;
    runtime_release(rt);
    viva_tokenizer_release(t);
    assert_int_equal(a.live, 0);
    assert_int_equal(status, a.failed ? VIVA_E_MEMORY : VIVA_OK);
    if (!a.failed) break;
  }
}

/* ---- SmolLM2 ---- */

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t strings_of(const gguf *g, const char *key, token_text **out) {
  const gguf_value *value = gguf_find(g, key);
  assert_non_null(value);
  size_t at = 0, n = 0;
  *out = calloc(value->count, sizeof **out);
  while (gguf_next_string(value, &at, &(*out)[n].text, &(*out)[n].bytes)) n++;
  return n;
}

/* The tokenizer of a GGUF file, and the CPU time of making it from the file's arrays. */
static viva_tokenizer *open_gguf(const char *path, double *load_seconds) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_checkpoint *ck;
  if (checkpoint_open(rt, path, VIVA_LOAD_READ, &ck, NULL)) {
    runtime_release(rt);
    return NULL;
  }
  token_text *texts, *pairs;
  token_source s = {.path = path, .model = "gpt2", .pre = "smollm", .bos = -1, .eos = -1, .unk = -1};
  s.token_count = strings_of(ck->gguf, "tokenizer.ggml.tokens", &texts);
  s.merge_count = strings_of(ck->gguf, "tokenizer.ggml.merges", &pairs);
  int32_t *types = calloc(s.token_count, sizeof *types);
  for (size_t i = 0; i < s.token_count; i++) {
    int64_t kind;
    assert_int_equal(gguf_element_i64(gguf_find(ck->gguf, "tokenizer.ggml.token_type"), i, &kind), 0);
    types[i] = (int32_t)kind;
  }
  s.tokens = texts;
  s.merges = pairs;
  s.kinds = types;
  viva_tokenizer *t;
  double begin = seconds();
  assert_int_equal(tokenizer_from_source(rt, &s, &t, NULL), VIVA_OK);
  *load_seconds = seconds() - begin;
  free(texts);
  free(pairs);
  free(types);
  viva_checkpoint_close(ck);
  runtime_release(rt);
  return t;
}

static void test_smollm2(void **state) {
  (void)state;
  char path[4096];
  const char *models = getenv("VIVA_MODELS"), *home = getenv("HOME");
  snprintf(path, sizeof path, "%s%s/SmolLM2-135M-Instruct-Q4_1.gguf", models ? models : home,
           models ? "" : "/.cache/viva/models");
  double load_seconds = 0;
  viva_tokenizer *t = open_gguf(path, &load_seconds);
  if (!t) {
    print_message("%s is not there: run tools/fetch_models\n", path);
    skip();
  }
  size_t file_bytes, lines = 0;
  char *file = golden_read("smollm2.txt", &file_bytes), *at = file, *columns[6];
  for (; golden_line(&at, columns, 6); lines++) {
    size_t bytes = golden_hex(columns[2]), expected_count, count;
    int32_t *expected = golden_numbers(columns[3], &expected_count);
    viva_token *ids = malloc((bytes + 1) * sizeof *ids);
    const viva_encode_options options = {sizeof options, columns[1][0] == '1', 0, NULL};
    assert_int_equal(viva_tokenizer_encode(t, columns[2], bytes, &options, ids, bytes, &count, NULL), VIVA_OK);
    assert_int_equal(count, expected_count);
    assert_memory_equal(ids, expected, count * sizeof *ids);
    for (int skip_special = 0; skip_special < 2; skip_special++) {
      int same = strcmp(columns[4 + skip_special], "=") == 0;
      const char *text = same ? columns[2] : columns[4 + skip_special];
      size_t text_bytes = same ? bytes : golden_hex(columns[4 + skip_special]), got_bytes;
      const viva_decode_options decode_options = {sizeof decode_options, skip_special};
      char *got = malloc(text_bytes + 1);
      assert_int_equal(viva_tokenizer_decode(t, ids, count, &decode_options, got, text_bytes + 1, &got_bytes, NULL),
                       VIVA_OK);
      assert_int_equal(got_bytes, text_bytes);
      assert_memory_equal(got, text, got_bytes);
      free(got);
    }
    free(ids);
    free(expected);
  }
  assert_int_equal(lines, 170);
  print_message("vocabulary of %zu compiled in %.1f ms\n", viva_tokenizer_vocab_size(t), 1e3 * load_seconds);
  free(file);
  /* Row B1: every token into a buffer of one byte. */
  for (viva_token id = 0; (size_t)id < viva_tokenizer_vocab_size(t); id++) {
    char one[1];
    size_t bytes;
    viva_status status = viva_tokenizer_decode(t, &id, 1, NULL, one, 1, &bytes, NULL);
    assert_int_equal(status, bytes > 1 ? VIVA_E_SIZE : VIVA_OK);
  }
  viva_tokenizer_release(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kinds), cmocka_unit_test(test_rules),     cmocka_unit_test(test_refused),
      cmocka_unit_test(test_odd),   cmocka_unit_test(test_no_memory), cmocka_unit_test(test_smollm2),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
