/* Encoding, decoding and streaming against the reference's answers, and what the calls promise about sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/num.h"
#include "golden.h"
#include "text/compile.h"

static viva_tokenizer *small, *small_nfc;

static int start(void **state) {
  (void)state;
  small = golden_tokenizer("small.json");
  small_nfc = golden_tokenizer("small_nfc.json");
  return 0;
}

static int stop(void **state) {
  (void)state;
  viva_tokenizer_release(small);
  viva_tokenizer_release(small_nfc);
  return 0;
}

/* Encodes into a block of exactly the needed size; to be freed. */
static viva_token *encode(const viva_tokenizer *t, const char *text, size_t bytes, int match_special, int add_special,
                          size_t *count) {
  viva_encode_options options = viva_encode_options_default();
  options.match_special = match_special;
  options.add_special = add_special;
  viva_status status = viva_tokenizer_encode(t, text, bytes, &options, NULL, 0, count, NULL);
  assert_int_equal(status, *count ? VIVA_E_SIZE : VIVA_OK);
  viva_token *ids = malloc((*count + 1) * sizeof *ids);
  size_t again;
  assert_int_equal(viva_tokenizer_encode(t, text, bytes, &options, ids, *count, &again, NULL), VIVA_OK);
  assert_int_equal(again, *count);
  return ids;
}

static char *decode(const viva_tokenizer *t, const viva_token *ids, size_t count, int skip_special, size_t *bytes) {
  viva_decode_options options = viva_decode_options_default();
  options.skip_special = skip_special;
  viva_status status = viva_tokenizer_decode(t, ids, count, &options, NULL, 0, bytes, NULL);
  assert_int_equal(status, *bytes ? VIVA_E_SIZE : VIVA_OK);
  char *text = malloc(*bytes + 1);
  size_t again;
  assert_int_equal(viva_tokenizer_decode(t, ids, count, &options, text, *bytes, &again, NULL), VIVA_OK);
  assert_int_equal(again, *bytes);
  return text;
}

/* The pieces of a stream are whole characters and join to the same text. */
static void check_stream(viva_tokenizer *t, const viva_token *ids, size_t count, int skip_special, const char *expected,
                         size_t expected_bytes) {
  viva_decode_options options = viva_decode_options_default();
  options.skip_special = skip_special;
  viva_decoder *d;
  assert_int_equal(viva_decoder_create(t, &options, &d, NULL), VIVA_OK);
  for (int round = 0; round < 2; round++) { /* twice: finish makes the decoder new */
    size_t at = 0;
    for (size_t i = 0; i <= count; i++) {
      const char *piece;
      size_t bytes;
      if (i < count)
        assert_int_equal(viva_decoder_push(d, ids[i], &piece, &bytes, NULL), VIVA_OK);
      else
        assert_int_equal(viva_decoder_finish(d, &piece, &bytes, NULL), VIVA_OK);
      assert_true(utf8_valid(piece, bytes));
      assert_true(bytes <= expected_bytes - at);
      assert_memory_equal(piece, expected + at, bytes);
      at += bytes;
    }
    assert_int_equal(at, expected_bytes);
  }
  viva_decoder_free(d);
}

static void test_vectors(void **state) {
  (void)state;
  size_t file_bytes, lines = 0;
  char *file = golden_read("vectors.txt", &file_bytes), *at = file, *columns[6];
  for (; golden_line(&at, columns, 6); lines++) {
    viva_tokenizer *t = strcmp(columns[0], "small.json") == 0 ? small : small_nfc;
    size_t bytes = golden_hex(columns[2]), expected_count, count;
    int32_t *expected = golden_numbers(columns[3], &expected_count);
    viva_token *ids = encode(t, columns[2], bytes, columns[1][0] == '1', 0, &count);
    assert_int_equal(count, expected_count);
    assert_memory_equal(ids, expected, count * sizeof *ids);
    for (int skip = 0; skip < 2; skip++) {
      int same = strcmp(columns[4 + skip], "=") == 0;
      const char *text = same ? columns[2] : columns[4 + skip];
      size_t text_bytes = same ? bytes : golden_hex(columns[4 + skip]), got_bytes;
      char *got = decode(t, ids, count, skip, &got_bytes);
      assert_int_equal(got_bytes, text_bytes);
      assert_memory_equal(got, text, got_bytes);
      check_stream(t, ids, count, skip, got, got_bytes);
      free(got);
    }
    free(ids);
    free(expected);
  }
  assert_int_equal(lines, 280);
  free(file);
}

/* Any ids at all: broken characters become U+FFFD at the same places in both ways of decoding. */
static void test_stream_random(void **state) {
  (void)state;
  uint64_t random = 1;
  for (int round = 0; round < 3000; round++) {
    viva_token ids[24];
    for (size_t i = 0; i < 24; i++) {
      random = golden_mix(random, 1);
      ids[i] = (viva_token)(random % viva_tokenizer_vocab_size(small));
    }
    size_t bytes;
    char *text = decode(small, ids, 24, round & 1, &bytes);
    assert_true(utf8_valid(text, bytes));
    check_stream(small, ids, 24, round & 1, text, bytes);
    free(text);
  }
}

/* Each maximal invalid part is one U+FFFD (WHATWG), when decoding and when encoding. */
static void test_invalid_utf8(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t replaced; /* number of U+FFFD */
  } cases[] = {
      {"\xff", 1},         {"\xc0\x80", 2},     {"\xe0\x80\x80", 3},     {"\xed\xa0\x80", 3}, {"\xf4\x90\x80\x80", 4},
      {"\xe2\x82", 1},     {"\xf0\x9f\x98", 1}, {"\xf0\x9f\x98\xf0", 2}, {"\xc3\xc3", 2},     {"\xe2\x82\xe2\x82", 2},
      {"\xf0\x90\x90", 1}, {"\x80\x80", 2}};
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    char expected[64] = "";
    for (size_t i = 0; i < cases[c].replaced; i++) strcat(expected, "\xef\xbf\xbd");
    size_t count, expected_count, n = strlen(cases[c].bytes);
    viva_token *ids = encode(small, cases[c].bytes, n, 0, 0, &count);
    viva_token *wanted = encode(small, expected, strlen(expected), 0, 0, &expected_count);
    assert_int_equal(count, expected_count);
    assert_memory_equal(ids, wanted, count * sizeof *ids);
    free(ids);
    free(wanted);
    viva_token byte_ids[8];
    for (size_t i = 0; i < n; i++) {
      char token[4];
      /* every byte here is written as 256 + n, or as itself in Latin-1 */
      uint8_t b = (uint8_t)cases[c].bytes[i];
      size_t written = utf8_encode(b >= 0xa1 && b != 0xad ? b : 0x100u + 33u + (b - 127u), token);
      assert_int_equal(viva_tokenizer_token_to_id(small, token, written, &byte_ids[i], NULL), VIVA_OK);
    }
    size_t bytes;
    char *text = decode(small, byte_ids, n, 0, &bytes);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(text, expected, bytes);
    check_stream(small, byte_ids, n, 0, text, bytes);
    free(text);
  }
}

static void test_add_special(void **state) {
  (void)state;
  size_t count, plain_count;
  viva_token *ids = encode(small, "hello", 5, 0, 1, &count), *plain = encode(small, "hello", 5, 0, 0, &plain_count);
  assert_int_equal(count, plain_count + 2);
  assert_int_equal(ids[0], viva_tokenizer_bos(small));
  assert_int_equal(ids[count - 1], viva_tokenizer_eos(small));
  assert_memory_equal(ids + 1, plain, plain_count * sizeof *plain);
  assert_int_equal(viva_tokenizer_add_bos(small), 1);
  free(ids);
  ids = encode(small, NULL, 0, 0, 1, &count);
  assert_int_equal(count, 2);
  free(ids);
  free(plain);
  assert_int_equal(viva_tokenizer_bos(small_nfc), -1);
  assert_int_equal(viva_tokenizer_eos(small_nfc), -1);
  assert_int_equal(viva_tokenizer_add_bos(small_nfc), 0);
  ids = encode(small_nfc, "", 0, 0, 1, &count);
  assert_int_equal(count, 0);
  free(ids);
}

static void test_vocabulary(void **state) {
  (void)state;
  size_t size = viva_tokenizer_vocab_size(small);
  for (viva_token id = 0; (size_t)id < size; id++) {
    const char *text;
    size_t bytes;
    viva_token back;
    assert_int_equal(viva_tokenizer_id_to_token(small, id, &text, &bytes, NULL), VIVA_OK);
    assert_int_equal(viva_tokenizer_token_to_id(small, text, bytes, &back, NULL), VIVA_OK);
    assert_int_equal(back, id);
  }
  viva_token id;
  assert_int_equal(viva_tokenizer_token_to_id(small, "<|lr|>", 6, &id, NULL), VIVA_OK);
  assert_int_equal(viva_tokenizer_is_special(small, id), 1);
  assert_int_equal(viva_tokenizer_token_to_id(small, "<|l|>", 5, &id, NULL), VIVA_OK);
  assert_int_equal(viva_tokenizer_is_special(small, id), 0);
  assert_int_equal(viva_tokenizer_is_special(small, -1), 0);
  assert_int_equal(viva_tokenizer_is_special(small, INT32_MAX), 0);
  const char *text;
  size_t bytes;
  viva_error error;
  assert_int_equal(viva_tokenizer_id_to_token(small, -1, &text, &bytes, &error), VIVA_E_NOT_FOUND);
  assert_int_equal(viva_tokenizer_id_to_token(small, (viva_token)size, &text, &bytes, &error), VIVA_E_NOT_FOUND);
  assert_int_equal(viva_tokenizer_token_to_id(small, "no such", 7, &id, &error), VIVA_E_NOT_FOUND);
  assert_non_null(strstr(error.message, "'no such'"));
  assert_int_equal(viva_tokenizer_token_to_id(small, NULL, 0, &id, &error), VIVA_E_NOT_FOUND);
}

static void test_arguments(void **state) {
  (void)state;
  size_t count = 7, bytes;
  viva_token ids[4] = {0}, outside;
  char text[4];
  viva_error error;
  viva_encode_options options = {.size = 1};
  viva_decode_options decode_options = {.size = 1};
  assert_int_equal(viva_tokenizer_encode(NULL, "a", 1, NULL, ids, 4, &count, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_encode(small, NULL, 1, NULL, ids, 4, &count, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_encode(small, "a", 1, NULL, NULL, 4, &count, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_encode(small, "a", 1, NULL, ids, 4, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_encode(small, "a", 1, &options, ids, 4, &count, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_decode(NULL, ids, 1, NULL, text, 4, &bytes, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_decode(small, NULL, 1, NULL, text, 4, &bytes, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_decode(small, ids, 1, NULL, NULL, 4, &bytes, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_decode(small, ids, 1, &decode_options, text, 4, &bytes, &error), VIVA_E_ARGUMENT);
  viva_decoder *d = (viva_decoder *)&error;
  assert_int_equal(viva_decoder_create(NULL, NULL, &d, &error), VIVA_E_ARGUMENT);
  assert_null(d);
  assert_int_equal(viva_decoder_create(small, &decode_options, &d, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_decoder_create(small, NULL, NULL, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_decoder_create(small, NULL, &d, &error), VIVA_OK);
  const char *piece;
  static const viva_token bad[] = {-1, INT32_MAX, INT32_MIN};
  for (size_t i = 0; i < 3; i++) {
    outside = bad[i];
    assert_int_equal(viva_tokenizer_decode(small, &outside, 1, NULL, text, 4, &bytes, &error), VIVA_E_ARGUMENT);
    assert_int_equal(viva_decoder_push(d, outside, &piece, &bytes, &error), VIVA_E_ARGUMENT);
  }
  assert_int_equal(viva_decoder_push(d, 0, NULL, &bytes, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_decoder_push(NULL, 0, &piece, &bytes, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_decoder_finish(d, &piece, NULL, &error), VIVA_E_ARGUMENT);
  viva_decoder_free(d);
  viva_decoder_free(NULL);
  viva_tokenizer_release(NULL);
  assert_null(viva_tokenizer_retain(NULL));
  assert_int_equal(viva_tokenizer_vocab_size(NULL), 0);
  assert_int_equal(viva_tokenizer_bos(NULL), -1);
  assert_int_equal(viva_tokenizer_eos(NULL), -1);
  assert_int_equal(viva_tokenizer_add_bos(NULL), 0);
  assert_int_equal(viva_tokenizer_is_special(NULL, 0), 0);
  assert_int_equal(viva_tokenizer_id_to_token(NULL, 0, &piece, &bytes, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_token_to_id(NULL, "a", 1, &outside, &error), VIVA_E_ARGUMENT);
  assert_int_equal(viva_tokenizer_options_default().size, sizeof(viva_tokenizer_options));
}

/* A buffer one short: the number needed, and nothing written behind the end. */
static void test_capacity(void **state) {
  (void)state;
  size_t count, needed, bytes;
  viva_token *ids = encode(small, "hello there", 11, 0, 0, &needed);
  viva_token *room = malloc((needed - 1) * sizeof *room);
  viva_error error;
  assert_int_equal(viva_tokenizer_encode(small, "hello there", 11, NULL, room, needed - 1, &count, &error),
                   VIVA_E_SIZE);
  assert_int_equal(count, needed);
  char *text = malloc(11);
  assert_int_equal(viva_tokenizer_decode(small, ids, needed, NULL, text, 11, &bytes, &error), VIVA_E_SIZE);
  assert_int_equal(bytes, 13); /* the space is a token of its own, and both words get one in front */
  free(text);
  free(room);
  free(ids);
}

enum { WARM_BYTES = 20000, WARM_MOST = 2 /* allocations of a call */ };

/* A document like one before costs hardly an allocation, whatever is in it. */
static void test_warm_allocations(void **state) {
  (void)state;
  static const char *const parts[] = {"hello there ", "a", "e\xcc\x81 ", "\xc3 \xff", "\xcc\x81", "thethe", " \n\t"};
  viva_tokenizer *const tokenizers[] = {small, small_nfc};
  static char text[WARM_BYTES + 16];
  static viva_token ids[4 * WARM_BYTES];
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    for (size_t at = 0, n = strlen(parts[i]); at < WARM_BYTES; at += n) memcpy(text + at, parts[i], n);
    for (int t = 0; t < 2; t++) {
      size_t count;
      uint64_t before = 0;
      for (int round = 0; round < 3; round++) {
        before = atomic_load(&tokenizers[t]->rt->mem.allocations);
        assert_int_equal(
            viva_tokenizer_encode(tokenizers[t], text, WARM_BYTES, NULL, ids, sizeof ids / sizeof *ids, &count, NULL),
            VIVA_OK);
      }
      assert_true(atomic_load(&tokenizers[t]->rt->mem.allocations) - before <= WARM_MOST);
    }
  }
}

/* The decoder keeps the tokenizer alive. */
static void test_references(void **state) {
  (void)state;
  viva_tokenizer *t = golden_tokenizer("small.json");
  assert_ptr_equal(viva_tokenizer_retain(t), t);
  viva_tokenizer_release(t);
  viva_decoder *d;
  assert_int_equal(viva_decoder_create(t, NULL, &d, NULL), VIVA_OK);
  viva_tokenizer_release(t);
  const char *piece;
  size_t bytes;
  assert_int_equal(viva_decoder_push(d, 40, &piece, &bytes, NULL), VIVA_OK);
  viva_decoder_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_vectors),     cmocka_unit_test(test_stream_random), cmocka_unit_test(test_invalid_utf8),
      cmocka_unit_test(test_add_special), cmocka_unit_test(test_vocabulary),    cmocka_unit_test(test_arguments),
      cmocka_unit_test(test_capacity),    cmocka_unit_test(test_references),    cmocka_unit_test(test_warm_allocations),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
