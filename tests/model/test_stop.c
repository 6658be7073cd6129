/* The stop automaton against a search that looks at the whole text after every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/stop.h"

static size_t longest_end(const char *text, size_t bytes, const char *const *stops, size_t count) {
  size_t longest = 0;
  for (size_t i = 0; i < count; i++) {
    size_t length = strlen(stops[i]);
    if (length <= bytes && memcmp(text + bytes - length, stops[i], length) == 0 && length > longest) longest = length;
  }
  return longest;
}

static size_t longest_beginning(const char *text, size_t bytes, const char *const *stops, size_t count) {
  size_t longest = 0;
  for (size_t i = 0; i < count; i++)
    for (size_t n = 1; n < strlen(stops[i]) && n <= bytes; n++)
      if (memcmp(text + bytes - n, stops[i], n) == 0 && n > longest) longest = n;
  return longest;
}

static void against_search(void **state) {
  (void)state;
  mem m;
  mem_init(&m, NULL);
  uint64_t random = 1;
  int matches = 0;
  for (int round = 0; round < 2000; round++) {
    char strings[3][8], text[64];
    const char *stops[3] = {strings[0], strings[1], strings[2]};
    for (size_t i = 0; i < 3; i++) { /* two letters: many borders */
      random = random * 6364136223846793005u + 1442695040888963407u;
      size_t length = 1 + (random >> 60) % 7;
      for (size_t c = 0; c < length; c++) strings[i][c] = (random >> (20 + c)) & 1 ? 'a' : 'b';
      strings[i][length] = 0;
    }
    stop_matcher *s = stop_create(&m, stops, 3);
    assert_non_null(s);
    for (size_t n = 0; n < sizeof text; n++) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      text[n] = (random >> 61) == 0 ? 'c' : (random >> 62) & 1 ? 'a' : 'b';
      size_t found = stop_feed(s, text[n]);
      assert_int_equal(found, longest_end(text, n + 1, stops, 3));
      matches += found != 0;
      if (!found) assert_int_equal(stop_held(s), longest_beginning(text, n + 1, stops, 3));
    }
    stop_free(&m, s);
  }
  assert_true(matches > 1000);
  stop_free(&m, NULL);
  assert_int_equal(atomic_load(&m.current), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(against_search)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
