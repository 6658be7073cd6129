/* Where the pre-tokenizers cut, against the reference's own pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden.h"
#include "text/regex.h"
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
  assert_ptr_equal(split_pattern_find("[\r\n]", 4), split_newline);
  assert_ptr_equal(split_pattern_find("[\\r\\n]", 6), split_newline);
  assert_null(split_pattern_find("[\r\n", 3));
}

/* Characters of all kinds that patterns tell apart, those of two kinds among them. */
static const char *const mixed[] = {" ",
                                    " ",
                                    "\t",
                                    "\n",
                                    "\r",
                                    "\xc2\xa0",
                                    "\xe2\x80\xa8",
                                    "'",
                                    "'s",
                                    "'LL",
                                    "'\xc5\xbf",
                                    "a",
                                    "b",
                                    "ss",
                                    "A",
                                    "Z",
                                    "\xc7\x85" /* Lt */,
                                    "\xca\xb0" /* Lm */,
                                    "\xe6\x97\xa5",
                                    "\xe3\x81\x82",
                                    "\xea\xb0\x80",
                                    "\xd7\x90" /* Lo */,
                                    "\xcc\x81" /* Mn */,
                                    "\xe0\xa4\xbe" /* Mc */,
                                    "\xe2\x83\x9d" /* Me */,
                                    "1",
                                    "234",
                                    "\xd9\xa0",
                                    "\xc2\xbd",
                                    "\xe2\x85\xa0",
                                    ".",
                                    "!",
                                    "/",
                                    "$",
                                    "-",
                                    "\xe3\x80\x82",
                                    "\xe2\x82\xac",
                                    "\xf0\x9f\x98\x80",
                                    "\x01",
                                    "\xe2\x80\x8d" /* Cf */,
                                    "\xee\x80\x80" /* Co */,
                                    "\xcd\xb8" /* Cn */};

/* Where the pieces of a pattern end that isolates its matches. */
static size_t isolated(const regex *r, regex_memory *memory, const uint8_t *text, size_t at, size_t end) {
  size_t begin = at, to;
  for (int found = 0;; at++) {
    if (at == end) return end;
    if (at > begin && (text[at] & 0xc0) == 0x80) continue;
    assert_int_equal(regex_match_at(r, memory, text, at, end, &found, &to, NULL), VIVA_OK);
    if (found) return at == begin ? to : at;
  }
}

/* Each scanner against its pattern, matched by regex.h, whose rules are tested against the reference. */
static void test_patterns(void **state) {
  (void)state;
  static const split_scanner all[] = {split_gpt2,
                                      split_llama3,
                                      split_qwen2,
                                      split_qwen35,
                                      split_o200k,
                                      split_o200k_digits,
                                      split_tekken,
                                      split_numbers,
                                      split_cjk,
                                      split_cjk_wide,
                                      split_deepseek,
                                      split_newline,
                                      split_spaced_letters,
                                      split_spaced_punctuation};
  enum { MIXED = sizeof mixed / sizeof *mixed, BYTES = 60, TEXTS = 4000 };
  mem m;
  mem_init(&m, NULL);
  arena *a = arena_create(&m, 0);
  regex_memory memory = {.mem = &m};
  uint64_t random = 5;
  for (size_t s = 0; s < sizeof all / sizeof *all; s++) {
    const regex *r;
    const char *pattern = split_pattern_of(all[s]);
    assert_non_null(pattern);
    assert_int_equal(regex_compile(a, pattern, strlen(pattern), &r, NULL), VIVA_OK);
    for (int round = 0; round < TEXTS; round++) {
      size_t bytes = 0, few = 2 + (random = golden_mix(random, 1)) % (MIXED - 2), first = (random >> 20) % MIXED;
      char *text = malloc(BYTES + 8);
      while (bytes < random % BYTES + 1) {
        const char *part = mixed[(first + (random = golden_mix(random, 2)) % few) % MIXED];
        memcpy(text + bytes, part, strlen(part));
        bytes += strlen(part);
        random = golden_mix(random, 3);
      }
      text = realloc(text, bytes); /* so that the sanitizers see a look behind the end */
      const uint8_t *at = (const uint8_t *)text;
      regex_allow(&memory, bytes * 10);
      for (size_t begin = 0; begin < bytes;) {
        size_t end = all[s](at, begin, bytes);
        assert_int_equal(end, isolated(r, &memory, at, begin, bytes));
        begin = end;
      }
      free(text);
    }
  }
  regex_memory_free(&memory);
  arena_free(a);
}

/* Bits of blocks against the scanners: the pieces from each piece's begin on, none left out. */
static void test_blocks(void **state) {
  (void)state;
  static const struct {
    split_scanner scanner;
    split_block block;
  } rules[] = {{split_gpt2, split_block_gpt2},
               {split_llama3, split_block_llama3},
               {split_qwen2, split_block_qwen2},
               {split_qwen35, split_block_qwen2}};
  static const char *const parts[] = {" ",  " ",  " ",  "\t", "\n", "\r",   "\n", "'",        "'",       "s", "t",
                                      "re", "VE", "ll", "D",  "m",  "x",    "y",  "A",        "0",       "1", "9",
                                      ".",  ",",  "--", "!",  "\f", "\x1f", "e",  "\xc3\xa9", "\xcc\x81"};
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
      cmocka_unit_test(test_no_stages), cmocka_unit_test(test_tables), cmocka_unit_test(test_patterns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
