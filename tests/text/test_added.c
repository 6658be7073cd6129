/* Added tokens: the automaton against looking at every token at every place, and its steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "golden.h"
#include "text/added.h"

enum { TOKENS = 24, TEXT = 300, ROUNDS = 400 };

static mem memory;

static added_set make(const char *const *texts, const size_t *sizes, size_t count) {
  added_set set = {.tokens = mem_array(&memory, count, sizeof *set.tokens)};
  for (size_t i = 0; i < count; i++)
    set.tokens[i] = (added_token){(const uint8_t *)texts[i], sizes[i], (viva_token)i, 0};
  assert_int_equal(added_create(&memory, &set, count, NULL), VIVA_OK);
  return set;
}

/* The longest of the texts that begins at text[at], or -1. */
static int longest(const char *const *texts, const size_t *sizes, size_t count, const char *text, size_t left) {
  int best = -1;
  for (size_t i = 0; i < count; i++)
    if (sizes[i] <= left && memcmp(texts[i], text, sizes[i]) == 0 && (best < 0 || sizes[i] > sizes[best]))
      best = (int)i;
  return best;
}

static void test_matches(void **state) {
  (void)state;
  uint64_t random = 5;
  for (int round = 0; round < ROUNDS; round++) {
    const uint64_t letters = round % 2 ? 3 : 2;
    char stored[TOKENS][9], text[TEXT];
    const char *texts[TOKENS];
    size_t sizes[TOKENS], count = 0;
    for (int tries = 0; tries < TOKENS; tries++) {
      size_t bytes = 1 + (random = golden_mix(random, 1)) % 8;
      for (size_t i = 0; i < bytes; i++) stored[count][i] = "abc"[(random = golden_mix(random, 2)) % letters];
      stored[count][bytes] = 0;
      int known = 0;
      for (size_t i = 0; i < count; i++) known |= strcmp(stored[i], stored[count]) == 0;
      if (known) continue;
      texts[count] = stored[count];
      sizes[count++] = bytes;
    }
    for (size_t i = 0; i < TEXT; i++) text[i] = "abc"[(random = golden_mix(random, 3)) % letters];
    added_set set = make(texts, sizes, count);
    added_memory places = {.mem = &memory};
    added_scan scan;
    added_match match;
    added_begin(&scan, &set, &places, (const uint8_t *)text, TEXT, 0);
    for (size_t at = 0; at < TEXT;) {
      int wanted = longest(texts, sizes, count, text + at, TEXT - at);
      if (wanted < 0) {
        at++;
        continue;
      }
      assert_int_equal(added_next(&scan, &match, NULL), VIVA_OK);
      assert_int_equal(match.id, wanted);
      assert_int_equal(match.token_begin, at);
      at += sizes[wanted];
    }
    assert_int_equal(added_next(&scan, &match, NULL), VIVA_OK);
    assert_int_equal(match.id, -1);
    added_memory_free(&places);
    added_destroy(&memory, &set);
  }
}

/* Steps over all of a text for tokens that make other methods go back: at most two for each byte of a stretch, and stretches
 * lie over each other by the longest token. */
static void count_steps(const char *const *texts, const size_t *sizes, size_t count, char letter, size_t matches) {
  enum { BYTES = 600000 };
  char *text = test_calloc(BYTES, 1);
  memset(text, letter, BYTES);
  added_set set = make(texts, sizes, count);
  added_memory places = {.mem = &memory};
  added_scan scan;
  added_match match;
  size_t found = 0;
  added_begin(&scan, &set, &places, (const uint8_t *)text, BYTES, 0);
  do {
    assert_int_equal(added_next(&scan, &match, NULL), VIVA_OK);
    found += match.id >= 0;
  } while (match.id >= 0);
  assert_int_equal(found, matches);
  assert_true(scan.steps <= 2 * 2 * (uint64_t)BYTES);
  added_memory_free(&places);
  added_destroy(&memory, &set);
  test_free(text);
}

static void test_steps(void **state) {
  (void)state;
  enum { LONG = 200001 };
  char *run = test_calloc(LONG, 1), *end = test_calloc(LONG, 1), *begin = test_calloc(LONG, 1);
  memset(run, 'a', LONG);
  memset(end, 'a', LONG);
  memset(begin, 'a', LONG);
  end[LONG - 1] = 'b';
  begin[0] = 'b';
  const char *texts[] = {"a", end, begin, run};
  size_t sizes[] = {1, LONG, LONG, LONG};
  count_steps(texts, sizes, 1, 'a', 600000);
  count_steps(texts, sizes, 2, 'a', 600000);
  count_steps(texts, sizes, 3, 'a', 600000);
  count_steps(texts + 1, sizes + 1, 2, 'a', 0);
  count_steps(texts + 3, sizes + 3, 1, 'a', 2);
  count_steps(texts, sizes, 4, 'a', 2 + 600000 - 2 * LONG);
  test_free(run);
  test_free(end);
  test_free(begin);
}

int main(void) {
  mem_init(&memory, NULL);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_matches), cmocka_unit_test(test_steps)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
