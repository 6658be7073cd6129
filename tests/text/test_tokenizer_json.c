/* tokenizer.json: what is refused and how, what odd but legal files mean, damage at every byte, no memory at any point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden.h"
#include "lib/fail_alloc.h"

/* The sections of a small valid file; a case replaces one of them. */
enum { ADDED, NORMALIZER, PRE, POST, DECODER, MODEL, REST, SECTIONS };

#define SPECIAL "{\"id\":3,\"content\":\"<s>\",\"special\":true}"
#define VOCAB   "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3}"
#define BPE     "{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\"]"

static const char *const valid[SECTIONS] = {"[" SPECIAL "]",
                                            "null",
                                            "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
                                            "null",
                                            "{\"type\":\"ByteLevel\"}",
                                            BPE "}",
                                            ""};

static char *document(int section, const char *replacement) {
  const char *part[SECTIONS];
  size_t size = 256;
  for (int i = 0; i < SECTIONS; i++) {
    part[i] = i == section ? replacement : valid[i];
    size += strlen(part[i]);
  }
  char *text = malloc(size);
  snprintf(text, size,
           "{\"version\":\"1.0\",\"truncation\":null,\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,"
           "\"post_processor\":%s,\"decoder\":%s,\"model\":%s%s}",
           part[ADDED], part[NORMALIZER], part[PRE], part[POST], part[DECODER], part[MODEL], part[REST]);
  return text;
}

static char logged[1024];

static void remember(void *user, viva_log_level level, const char *message) {
  (void)user;
  (void)level;
  snprintf(logged, sizeof logged, "%s", message);
}

static viva_status load(const char *text, size_t bytes, const viva_allocator *allocator, viva_tokenizer **t,
                        viva_error *error) {
  runtime *rt = runtime_create(allocator, NULL, remember, NULL, VIVA_LOG_DEBUG);
  if (!rt) {
    *t = NULL;
    return VIVA_E_MEMORY;
  }
  logged[0] = 0;
  viva_status status = tokenizer_from_json(rt, "dir/tokenizer.json", text, bytes, t, error);
  runtime_release(rt);
  return status;
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    int section;
    const char *text;
    viva_status status;
    const char *message;
  } cases[] = {
      {NORMALIZER, "{\"type\":\"Precompiled\"}", VIVA_E_UNSUPPORTED, "normalizer type 'Precompiled' is not supported"},
      {NORMALIZER, "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Nmt\"}]}",
       VIVA_E_UNSUPPORTED, "'Nmt'"},
      {NORMALIZER, "{\"type\":\"Replace\",\"content\":\"x\"}", VIVA_E_FORMAT, "Replace without a pattern"},
      {NORMALIZER, "{\"type\":\"Replace\",\"content\":\"x\",\"pattern\":{\"String\":\"\"}}", VIVA_E_UNSUPPORTED,
       "an empty pattern"},
      {NORMALIZER, "{\"type\":\"Sequence\"}", VIVA_E_FORMAT, "without normalizers"},
      {NORMALIZER, "{}", VIVA_E_FORMAT, "has no type"},
      {NORMALIZER, "7", VIVA_E_FORMAT, "expected an object"},
      {PRE, "{\"type\":\"UnicodeScripts\"}", VIVA_E_UNSUPPORTED, "pre_tokenizer type 'UnicodeScripts'"},
      {PRE, "{\"type\":\"Sequence\",\"pretokenizers\":[{}]}", VIVA_E_FORMAT, "the pre_tokenizer has no type"},
      {PRE, "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", VIVA_E_FORMAT, "is not one character"},
      {PRE, "{\"type\":\"Metaspace\",\"prepend_scheme\":\"second\"}", VIVA_E_FORMAT, "not one of always, first, never"},
      {PRE, "{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\",\"add_prefix_space\":false}", VIVA_E_FORMAT,
       "does not agree"},
      {PRE, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a(?#x)\"},\"behavior\":\"Isolated\"}", VIVA_E_UNSUPPORTED,
       "this kind of group at byte 2"},
      {PRE, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a*)*\"},\"behavior\":\"Isolated\"}", VIVA_E_UNSUPPORTED,
       "an endless repetition of what can be empty"},
      {PRE, "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"Sideways\"}", VIVA_E_UNSUPPORTED,
       "behavior 'Sideways'"},
      {POST, "{\"type\":\"BertProcessing\",\"sep\":[\"</s>\",2],\"cls\":[\"<s>\",0]}", VIVA_E_UNSUPPORTED,
       "post_processor type 'BertProcessing'"},
      {POST, "{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",0]}", VIVA_E_FORMAT, "needs cls and sep"},
      {POST,
       "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{"
       "\"id\":\"A\"}}],\"special_tokens\":{}}",
       VIVA_E_FORMAT, "the template names '<s>'"},
      {POST,
       "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]"
       ",\"special_tokens\":{\"<s>\":{\"ids\":[4]}}}",
       VIVA_E_FORMAT, "names id 4"},
      {POST,
       "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]"
       ",\"special_tokens\":{\"<s>\":{\"ids\":[-1]}}}",
       VIVA_E_FORMAT, "names id -1"},
      {POST,
       "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{}},{\"Sequence\":{\"id\":\"A\"}}]"
       ",\"special_tokens\":{\"\":{\"ids\":[4]}}}",
       VIVA_E_FORMAT, "a SpecialToken of the template has no id"},
      {POST, "{\"type\":\"TemplateProcessing\",\"single\":[],\"special_tokens\":{}}", VIVA_E_UNSUPPORTED,
       "without the text"},
      {POST,
       "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},{\"Sequence\":{\"id\":\"A\"}}]}",
       VIVA_E_UNSUPPORTED, "in it once"},
      {POST, "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\"}}]}", VIVA_E_UNSUPPORTED,
       "in it once"},
      {POST, "{\"type\":\"TemplateProcessing\",\"single\":[{\"Other\":{}}]}", VIVA_E_FORMAT,
       "expected Sequence or SpecialToken"},
      {DECODER, "{\"type\":\"WordPiece\"}", VIVA_E_UNSUPPORTED, "decoder type 'WordPiece'"},
      {DECODER, "{\"type\":\"Strip\",\"start\":1,\"stop\":0}", VIVA_E_FORMAT, "is not one character"},
      {MODEL, "{\"type\":\"Unigram\",\"vocab\":[]}", VIVA_E_UNSUPPORTED, "model type 'Unigram'"},
      {MODEL, "{\"type\":\"BPE\"," VOCAB "}", VIVA_E_FORMAT, "needs vocab and merges"},
      {MODEL, "{\"type\":\"BPE\",\"merges\":[]}", VIVA_E_FORMAT, "needs vocab and merges"},
      {MODEL, BPE ",\"dropout\":0.1}", VIVA_E_UNSUPPORTED, "dropout 0.1"},
      {MODEL, BPE ",\"unk_token\":\"<unk>\"}", VIVA_E_FORMAT, "the unknown token '<unk>'"},
      {MODEL, "{" VOCAB ",\"merges\":[\"a c\"]}", VIVA_E_FORMAT, "merge 0 names the right part 'c'"},
      {MODEL, "{" VOCAB ",\"merges\":[\"a b\",\"b a\"]}", VIVA_E_FORMAT, "merge 1 names the result 'ba'"},
      {MODEL, "{" VOCAB ",\"merges\":[\"ab\"]}", VIVA_E_FORMAT, "merge 0 is not two tokens"},
      {MODEL, "{" VOCAB ",\"merges\":[\"a b c\"]}", VIVA_E_FORMAT, "merge 0 is not two tokens"},
      {MODEL, "{" VOCAB ",\"merges\":[[\"a\"]]}", VIVA_E_FORMAT, "has 1 parts"},
      {MODEL, "{" VOCAB ",\"merges\":[[\"a\",\"b\",\"c\"]]}", VIVA_E_FORMAT, "has 3 parts"},
      {MODEL, "{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}", VIVA_E_FORMAT, "two tokens have id 0: 'a' and 'b'"},
      {MODEL, "{\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}", VIVA_E_FORMAT, "a"},
      {MODEL, "{\"vocab\":{\"a\":4000000000},\"merges\":[]}", VIVA_E_FORMAT, "id 4000000000 does not fit"},
      {MODEL, "{\"vocab\":{\"a\":2000000000},\"merges\":[]}", VIVA_E_FORMAT,
       "token 'a' has id 2000000000, but there are only 1"},
      {MODEL, "{\"vocab\":{\"a\":-1},\"merges\":[]}", VIVA_E_FORMAT, ""},
      {MODEL, "{\"vocab\":{\"a\":0.5},\"merges\":[]}", VIVA_E_FORMAT, ""},
      {ADDED, "[{\"id\":4000000000,\"content\":\"x\"}]", VIVA_E_FORMAT, "id 4000000000 does not fit"},
      {ADDED, "[{\"content\":\"x\"}]", VIVA_E_FORMAT, "needs id and content"},
      {ADDED, "[{\"id\":4}]", VIVA_E_FORMAT, "needs id and content"},
      {ADDED, "[{\"id\":4,\"content\":\"x\"},{\"id\":4,\"content\":\"y\"}]", VIVA_E_FORMAT,
       "added token 'y' has id 4, which is that of 'x'"},
      {ADDED, "[{\"id\":2,\"content\":\"x\"}]", VIVA_E_FORMAT, "has id 2, which is that of 'ab'"},
      {REST, ",\"version\":\"1.0\"", VIVA_E_FORMAT, "this key was already there"},
      {REST, "} x", VIVA_E_FORMAT, ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *text = document(cases[i].section, cases[i].text);
    viva_tokenizer *t = (viva_tokenizer *)text;
    viva_error error = {0};
    viva_status status = load(text, strlen(text), NULL, &t, &error);
    if (status != cases[i].status || !strstr(error.message, cases[i].message))
      print_message("case %zu (%s): %s\n", i, cases[i].text, error.message);
    assert_int_equal(status, cases[i].status);
    assert_int_equal(error.code, status);
    assert_non_null(strstr(error.message, cases[i].message));
    assert_string_equal(error.file, "dir/tokenizer.json");
    assert_null(t);
    free(text);
  }
}

static viva_tokenizer *load_valid(int section, const char *replacement) {
  char *text = document(section, replacement);
  viva_tokenizer *t;
  viva_error error = {0};
  if (load(text, strlen(text), NULL, &t, &error)) fail_msg("%s: %s", replacement, error.message);
  free(text);
  return t;
}

static void expect_ids(viva_tokenizer *t, const char *text, const viva_token *ids, size_t count) {
  viva_token found[64];
  size_t n;
  const viva_encode_options options = {sizeof options, 1, 1, NULL};
  assert_int_equal(viva_tokenizer_encode(t, text, strlen(text), &options, found, 64, &n, NULL), VIVA_OK);
  assert_int_equal(n, count);
  assert_memory_equal(found, ids, count * sizeof *ids);
}

#define EXPECT(t, text, ...)                                                                                           \
  expect_ids(t, text, (const viva_token[]){__VA_ARGS__}, sizeof((viva_token[]){__VA_ARGS__}) / 4)

static void test_accepted(void **state) {
  (void)state;
  static const struct {
    int section;
    const char *text;
  } cases[] = {
      {NORMALIZER, "{\"type\":\"Sequence\",\"normalizers\":[]}"},
      {NORMALIZER, "{\"normalizers\":[{\"type\":\"NFC\"}],\"type\":\"Sequence\"}"},
      {POST, "{\"type\":\"ByteLevel\",\"trim_offsets\":true}"},
      {DECODER, "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"}]}"},
      {MODEL, "{" VOCAB ",\"merges\":[[\"a\",\"b\"]],\"dropout\":null,\"unk_token\":null,\"fuse_unk\":null}"},
      {MODEL, BPE ",\"dropout\":0.0,\"unk_token\":\"\",\"continuing_subword_prefix\":\"\",\"end_of_word_suffix\":null,"
                  "\"extra\":[{}]}"},
      {MODEL, BPE ",\"ignore_merges\":true}"},
      {NORMALIZER,
       "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKD\"}]}]}"},
      {PRE, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}"},
      {ADDED, "[" SPECIAL "," SPECIAL "]"},
      {ADDED, "[" SPECIAL ",{\"id\":4,\"content\":\"x\"},{\"id\":5,\"content\":\"x\",\"lstrip\":true}]"},
      /* Merges in front of what they are looked up in. */
      {MODEL, "{\"merges\":[\"a b\"]," VOCAB "}"},
      {MODEL, "{" VOCAB ",\"merges\":[[\"a\",\"b\"]],\"continuing_subword_prefix\":null}"},
      {REST, ",\"padding\":{\"pad_id\":0},\"other\":{\"a\":[1]}"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    viva_tokenizer *t = load_valid(cases[i].section, cases[i].text);
    EXPECT(t, "ab<s>ba", 2, 3, 1, 0);
    viva_tokenizer_release(t);
  }
}

static void test_meaning(void **state) {
  (void)state;
  /* An unknown token stands for each byte that the vocabulary lacks; fuse_unk joins a run. */
  viva_tokenizer *t = load_valid(MODEL, BPE ",\"unk_token\":\"<s>\"}");
  EXPECT(t, "xyab", 3, 3, 2);
  viva_tokenizer_release(t);
  t = load_valid(MODEL, BPE ",\"unk_token\":\"<s>\",\"fuse_unk\":true}");
  EXPECT(t, "xyab", 3, 2);
  viva_tokenizer_release(t);
  /* Of a pair given twice the later rank counts: "b c" comes first then. */
  t = load_valid(
      MODEL, "{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"<s>\":3,\"ab\":4,\"bc\":5},\"merges\":[\"a b\",\"b c\",\"a b\"]}");
  EXPECT(t, "abc", 0, 5);
  viva_tokenizer_release(t);
  /* A whole piece that is a token is taken without merges only under ignore_merges. */
  t = load_valid(MODEL, "{\"vocab\":{\"a\":0,\"b\":1,\"aba\":2,\"<s>\":3},\"merges\":[],\"ignore_merges\":true}");
  EXPECT(t, "aba", 2);
  EXPECT(t, "abab", 0, 1, 0, 1);
  viva_tokenizer_release(t);
  /* Ids with holes: their decoding is empty, and a new added token goes where the reference puts it. */
  t = load_valid(MODEL, "{\"vocab\":{\"a\":0,\"b\":1,\"<s>\":7},\"merges\":[]}");
  EXPECT(t, "a<s>", 0, 7);
  assert_int_equal(viva_tokenizer_vocab_size(t), 8);
  size_t bytes;
  char text[8];
  const char *token;
  assert_int_equal(viva_tokenizer_decode(t, (const viva_token[]){0, 5, 1}, 3, NULL, text, 8, &bytes, NULL), VIVA_OK);
  assert_int_equal(bytes, 2);
  assert_int_equal(viva_tokenizer_id_to_token(t, 5, &token, &bytes, NULL), VIVA_E_NOT_FOUND);
  viva_tokenizer_release(t);
  /* The file's id of a token that the vocabulary has does not count; a warning says so. */
  t = load_valid(
      ADDED,
      "[{\"id\":9,\"content\":\"<s>\",\"special\":true},{\"id\":4,\"content\":\"\"},{\"id\":11,\"content\":\"new\"}]");
  assert_non_null(strstr(logged, "added token 'new' has id 11 in the file; its place in the vocabulary is 4"));
  EXPECT(t, "<s>new", 3, 4);
  viva_tokenizer_release(t);
  t = load_valid(ADDED, "null");
  assert_int_equal(viva_tokenizer_is_special(t, 3), 0);
  viva_tokenizer_release(t);
  /* Digits in runs, then one prefix space before each piece (the space is not in this vocabulary). */
  t = load_valid(PRE, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":false},"
                      "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":false}]}");
  EXPECT(t, "ab12ab", 2, 2);
  viva_tokenizer_release(t);
  /* Templates in a row wrap each other. */
  t = load_valid(
      POST, "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
            "{\"id\":\"x\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"x\":{\"ids\":[0,1]}}},"
            "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},{\"Sequence\":{\"id\":"
            "\"A\"}},{\"SpecialToken\":{\"id\":\"x\"}}],\"special_tokens\":{\"x\":{\"ids\":[3]}}}]}");
  EXPECT(t, "ab", 3, 0, 1, 2, 3);
  assert_int_equal(viva_tokenizer_bos(t), 3);
  assert_int_equal(viva_tokenizer_eos(t), 3);
  viva_tokenizer_release(t);
}

static void test_not_one(void **state) {
  (void)state;
  static const struct {
    const char *text;
    viva_status status;
    const char *message;
  } cases[] = {{"{\"version\":\"2.0\"}", VIVA_E_UNSUPPORTED, "version '2.0' is not supported"},
               {"{\"model_type\":\"llama\"}", VIVA_E_FORMAT, "found no model in it"},
               {"[]", VIVA_E_FORMAT, "expected an object"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    viva_tokenizer *t;
    viva_error error;
    assert_int_equal(load(cases[i].text, strlen(cases[i].text), NULL, &t, &error), cases[i].status);
    assert_non_null(strstr(error.message, cases[i].message));
  }
}

/* Ids in any order, as files sorted by text have them. */
static void test_order(void **state) {
  (void)state;
  static const size_t counts[] = {1, 2, 3, 7, 64, 1000, 4097};
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    size_t count = counts[c], at = 0;
    char *model = malloc(count * 24 + 64);
    at += (size_t)sprintf(model, "{\"merges\":[],\"vocab\":{");
    for (size_t i = 0; i < count; i++) {
      size_t id = (i * 1009 + 500) % count; /* 1009 is prime and divides none of the counts */
      at += (size_t)sprintf(model + at, "%s\"t%zu\":%zu", i ? "," : "", id, id);
    }
    sprintf(model + at, ",\"<s>\":%zu}}", count);
    viva_tokenizer *t = load_valid(MODEL, model);
    for (size_t id = 0; id < count; id++) {
      char expected[32];
      const char *text;
      size_t bytes;
      assert_int_equal(viva_tokenizer_id_to_token(t, (viva_token)id, &text, &bytes, NULL), VIVA_OK);
      assert_int_equal(bytes, sprintf(expected, "t%zu", id));
      assert_memory_equal(text, expected, bytes);
    }
    viva_tokenizer_release(t);
    free(model);
  }
}

/* A token that is marked normalized is looked for, and decoded, as normalization leaves it. */
static void test_normalized_added(void **state) {
  (void)state;
  static const char text[] =
      "{\"added_tokens\":[{\"id\":1,\"content\":\"e\xcc\x81\",\"normalized\":true}],\"normalizer\":{\"type\":\"NFC\"},"
      "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"},"
      "\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}";
  viva_tokenizer *t;
  viva_error error;
  assert_int_equal(load(text, sizeof text - 1, NULL, &t, &error), VIVA_OK);
  EXPECT(t, "ae\xcc\x81\xc3\xa9", 0, 1, 1);
  viva_tokenizer_release(t);
}

static void test_truncated(void **state) {
  (void)state;
  static const char *const files[] = {"small.json", "small_nfc.json"};
  for (size_t f = 0; f < 2; f++) {
    size_t bytes;
    char *text = golden_read(files[f], &bytes);
    for (size_t cut = 0; cut < bytes; cut++) {
      char *part = malloc(cut + 1); /* + 1: malloc(0) may be NULL */
      memcpy(part, text, cut);
      part = realloc(part, cut ? cut : 1);
      viva_tokenizer *t;
      viva_error error = {0};
      if (load(part, cut, NULL, &t, &error) != VIVA_E_FORMAT) fail_msg("cut at %zu: %s", cut, error.message);
      free(part);
    }
    free(text);
  }
}

static viva_status use(const viva_allocator *allocator, const char *text, size_t bytes) {
  viva_tokenizer *t = NULL;
  viva_decoder *d = NULL;
  viva_token ids[400];
  size_t count;
  /* Everything that takes memory: NFC, invalid bytes, a long piece, a prefix space. */
  static const char input[] =
      "e\xcc\x81\xff hello12 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
  viva_error error = {0};
  viva_status status = load(text, bytes, allocator, &t, &error);
  if (!status) status = viva_tokenizer_encode(t, input, sizeof input - 1, NULL, ids, 400, &count, &error);
  if (!status) status = viva_decoder_create(t, NULL, &d, &error);
  assert_true(status == VIVA_OK || status == VIVA_E_MEMORY);
  viva_decoder_free(d);
  viva_tokenizer_release(t);
  return status;
}

static void test_no_memory(void **state) {
  (void)state;
  static const char *const files[] = {"small.json", "small_nfc.json"};
  for (size_t f = 0; f < 2; f++) {
    size_t bytes;
    char *text = golden_read(files[f], &bytes);
    for (int persistent = 0; persistent < 2; persistent++) {
      uint64_t k = 1;
      for (;; k++) {
        fail_alloc a;
        fail_alloc_init(&a, k, persistent);
        viva_status status = use(&a.table, text, bytes);
        assert_int_equal(a.live, 0);
        if (!a.failed) {
          assert_int_equal(status, VIVA_OK);
          break;
        }
        assert_int_equal(status, VIVA_E_MEMORY);
      }
      assert_true(k > 20);
    }
    free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refused),   cmocka_unit_test(test_accepted),  cmocka_unit_test(test_meaning),
      cmocka_unit_test(test_not_one),   cmocka_unit_test(test_order),     cmocka_unit_test(test_normalized_added),
      cmocka_unit_test(test_truncated), cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
