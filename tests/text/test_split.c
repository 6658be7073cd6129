/* Where the pre-tokenizers cut, against the reference's own pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden.h"
#include "text/split.h"

static const split_scanner scanners[] = {split_gpt2, split_llama3, split_qwen2, split_each_digit, split_digit_runs};
enum { SCANNERS = sizeof scanners / sizeof *scanners };

static void test_pieces(void **state) {
  (void)state;
  size_t bytes, lines = 0;
  char *file = golden_read("pieces.txt", &bytes), *at = file, *columns[1 + SCANNERS];
  for (; golden_line(&at, columns, 1 + SCANNERS); lines++) {
    size_t length = golden_hex(columns[0]);
    /* A copy of the exact size, so that the sanitizers see a look behind the end. */
    uint8_t *text = malloc(length);
    memcpy(text, columns[0], length);
    for (size_t s = 0; s < SCANNERS; s++) {
      size_t count, piece = 0;
      int32_t *ends = golden_numbers(columns[1 + s], &count);
      for (size_t i = 0; i < length; piece++) {
        size_t end = scanners[s](text, i, length);
        assert_true(end > i && piece < count);
        assert_int_equal(end, ends[piece]);
        i = end;
      }
      assert_int_equal(piece, count);
      free(ends);
    }
    free(text);
  }
  assert_int_equal(lines, 150);
  free(file);
}

/* Stages cut within the pieces of the stage before: a digit ends the word, and the space before it stays alone. */
static void test_stages(void **state) {
  (void)state;
  const split_rule rule = {.stages = {split_each_digit, split_gpt2}, .stage_count = 2};
  static const char text[] = "it's 12  apples";
  static const size_t expected[] = {2, 4, 5, 6, 7, 8, 15};
  split_pieces pieces;
  size_t begin, end, count = 0, last = 0;
  split_begin(&pieces, &rule, (const uint8_t *)text, strlen(text));
  while (split_next(&pieces, &begin, &end)) {
    assert_int_equal(begin, last);
    assert_true(count < sizeof expected / sizeof *expected);
    assert_int_equal(end, expected[count++]);
    last = end;
  }
  assert_int_equal(last, strlen(text));
  split_begin(&pieces, &rule, NULL, 0);
  assert_int_equal(split_next(&pieces, &begin, &end), 0);
}

static void test_no_stages(void **state) {
  (void)state;
  const split_rule rule = {.stage_count = 0};
  split_pieces pieces;
  size_t begin, end;
  split_begin(&pieces, &rule, (const uint8_t *)"a b", 3);
  assert_int_equal(split_next(&pieces, &begin, &end), 1);
  assert_int_equal(begin, 0);
  assert_int_equal(end, 3);
  assert_int_equal(split_next(&pieces, &begin, &end), 0);
}

static void test_tables(void **state) {
  (void)state;
  static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
  assert_ptr_equal(split_pattern_find(gpt2, strlen(gpt2)), split_gpt2);
  assert_null(split_pattern_find(gpt2, strlen(gpt2) - 1));
  assert_null(split_pattern_find("(a+)+$", 6));
}

/* Bits of blocks against the scanners: the pieces from each piece's begin on, none left out. */
static void test_blocks(void **state) {
  (void)state;
  static const struct {
    split_scanner scanner;
    split_block block;
  } rules[] = {{split_gpt2, split_block_gpt2}, {split_llama3, split_block_llama3}, {split_qwen2, split_block_qwen2}};
  static const char *const parts[] = {" ", " ",  " ",  "\t", "\n", "\r", "\n", "'",    "'", "s",
                                      "t", "re", "VE", "ll", "D",  "m",  "x",  "y",    "A", "0",
                                      "1", "9",  ".",  ",",  "--", "!",  "\f", "\x1f", "e", "\xc3\xa9"};
  enum { PARTS = sizeof parts / sizeof *parts, BYTES = 400, TEXTS = 1500 };
  uint64_t random = 11, found = 0;
  for (int round = 0; round < TEXTS; round++) {
    char text[BYTES + 4];
    size_t bytes = 0, few = 2 + (random = golden_mix(random, 1)) % (PARTS - 2), first = (random >> 20) % PARTS;
    while (bytes < BYTES) {
      random = golden_mix(random, 2);
      const char *part = parts[(first + random % few) % PARTS];
      size_t length = strlen(part);
      memcpy(text + bytes, part, length);
      bytes += length;
    }
    const uint8_t *at = (const uint8_t *)text;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
      for (size_t begin = 0; begin + SPLIT_BLOCK <= bytes; begin = rules[r].scanner(at, begin, bytes)) {
        if (at[begin] >= 0x80) continue;
        uint64_t starts = rules[r].block(at + begin);
        for (size_t piece = begin; starts; starts &= starts - 1, found++) {
          piece = rules[r].scanner(at, piece, bytes);
          assert_int_equal(piece - begin, __builtin_ctzll(starts));
        }
      }
  }
  assert_true(found > 2000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pieces),    cmocka_unit_test(test_stages), cmocka_unit_test(test_blocks),
      cmocka_unit_test(test_no_stages), cmocka_unit_test(test_tables),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
