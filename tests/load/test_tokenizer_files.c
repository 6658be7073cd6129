/* Tokenizers from files in memory: damage at every byte, no memory at any point. (What the files mean is compared with the
 * reference in tests/python/test_tokenizer_homes.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "lib/fail_alloc.h"
#include "viva/tokenizer.h"

enum { FILES_MOST = 4 };

typedef struct home {
  const char *names[FILES_MOST];
  const char *texts[FILES_MOST];
  size_t count;
  viva_token ids[4]; /* of "ab<s>" with special tokens matched */
  size_t id_count;
} home;

#define CONFIG                                                                                                         \
  "{\"tokenizer_class\":\"GPT2TokenizerFast\",\"bos_token\":\"<s>\",\"eos_token\":null,\"unk_token\":null,"            \
  "\"add_bos_token\":false,\"added_tokens_decoder\":{\"3\":{\"content\":\"<s>\",\"special\":true}}}"

static const home homes[] = {
    {{"vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"},
     {"{\"a\":0,\"b\":1,\"ab\":2}", "#version: 0.2\na b\n", CONFIG, "{\"pad_token\":{\"content\":\"<s>\"}}"},
     4,
     {2, 3},
     2},
    {{"tekken.json"},
     {"{\"config\":{\"pattern\":\"\\\\p{L}+\",\"default_vocab_size\":6,\"default_num_special_tokens\":3},"
      "\"vocab\":[{\"rank\":0,\"token_bytes\":\"YQ==\"},{\"rank\":1,\"token_bytes\":\"Yg==\"},"
      "{\"rank\":2,\"token_bytes\":\"YWI=\",\"token_str\":\"ab\"}],\"special_tokens\":[{\"rank\":0,\"token_str\":\"<u>"
      "\"},"
      "{\"rank\":1,\"token_str\":\"<s>\"}]}"},
     1,
     {5, 1},
     2},
};
enum { HOMES = sizeof homes / sizeof *homes };

static viva_status load(const home *h, const viva_allocator *allocator, size_t cut_file, size_t cut_at,
                        viva_tokenizer **t, viva_error *error) {
  viva_tokenizer_options o = viva_tokenizer_options_default();
  viva_tokenizer_file files[FILES_MOST];
  o.allocator = allocator;
  for (size_t i = 0; i < h->count; i++)
    files[i] = (viva_tokenizer_file){h->names[i], h->texts[i], i == cut_file ? cut_at : strlen(h->texts[i])};
  return viva_tokenizer_load_files(files, h->count, &o, t, error);
}

static viva_status check_ids(const home *h, const viva_tokenizer *t) {
  viva_token ids[8];
  size_t count;
  const viva_encode_options options = {sizeof options, 1, 0, NULL};
  viva_status status = viva_tokenizer_encode(t, "ab<s>", 5, &options, ids, 8, &count, NULL);
  if (status) return status;
  assert_int_equal(count, h->id_count);
  assert_memory_equal(ids, h->ids, count * sizeof *ids);
  return VIVA_OK;
}

static void test_read(void **state) {
  (void)state;
  for (size_t i = 0; i < HOMES; i++) {
    viva_tokenizer *t;
    viva_error error;
    if (load(&homes[i], NULL, SIZE_MAX, 0, &t, &error)) fail_msg("%s: %s", homes[i].names[0], error.message);
    assert_int_equal(check_ids(&homes[i], t), VIVA_OK);
    viva_tokenizer_release(t);
  }
}

/* Each file cut off at each byte: JSON is refused, with the file's name; merges.txt is the same as long as its one merge is
 * whole, and is none or refused before. */
static void test_cut(void **state) {
  (void)state;
  for (size_t i = 0; i < HOMES; i++)
    for (size_t f = 0; f < homes[i].count; f++)
      for (size_t at = 0; at < strlen(homes[i].texts[f]); at++) {
        viva_tokenizer *t;
        viva_error error;
        viva_status status = load(&homes[i], NULL, f, at, &t, &error);
        if (strcmp(homes[i].names[f], "merges.txt") == 0 && status == VIVA_OK) {
          viva_tokenizer_release(t);
          continue;
        }
        assert_int_equal(status, VIVA_E_FORMAT);
        assert_null(t);
        assert_true(strstr(error.file, homes[i].names[f]) || strstr(error.file, homes[i].names[0]));
      }
}

static void test_no_memory(void **state) {
  (void)state;
  for (size_t i = 0; i < HOMES; i++)
    for (int persistent = 0; persistent < 2; persistent++)
      for (uint64_t k = 1;; k++) {
        fail_alloc a;
        viva_tokenizer *t;
        fail_alloc_init(&a, k, persistent);
        viva_status status = load(&homes[i], &a.table, SIZE_MAX, 0, &t, NULL);
        if (status == VIVA_OK) status = check_ids(&homes[i], t);
        viva_tokenizer_release(t);
        assert_int_equal(a.live, 0);
        if (!a.failed) {
          assert_int_equal(status, VIVA_OK);
          assert_true(k > 10);
          break;
        }
        assert_int_equal(status, VIVA_E_MEMORY);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_read), cmocka_unit_test(test_cut),
                                     cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
