/* base/json.h against jansson: the same verdict and the same values.
 *
 *   test_json_oracle [FACTOR]    FACTOR times as many random texts
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_cases.h"
#include "base/oracle/dump.h"

static unsigned long factor = 1;
static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t n) { /* xorshift64: the same texts on every machine */
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state % n;
}

static void check(const char *text, size_t bytes) {
  const char *what = dump_disagreement(text, bytes);
  if (what != NULL) fail_msg("%.*s\n%s", (int)(bytes < 300 ? bytes : 300), text, what);
}

static void the_list_of_cases(void **state) {
  (void)state;
  for (size_t i = 0; i < json_case_count; i++) check(json_cases[i].text, json_cases[i].bytes);
}

static size_t add(char *text, size_t at, const char *more) {
  size_t length = strlen(more);
  memcpy(text + at, more, length);
  return at + length;
}

static size_t add_random_string(char *text, size_t at, int key) {
  static const char *const parts[] = {"a",
                                      "b",
                                      "key",
                                      " ",
                                      "\\n",
                                      "\\\"",
                                      "\\u0041",
                                      "\\uD83D\\uDE00",
                                      "\xE2\x82\xAC",
                                      "\xF0\x9F\x98\x80",
                                      "\\/",
                                      "\xC3\xBC",
                                      "long long text without anything special",
                                      "\\\\",
                                      "/",
                                      "\x7F",
                                      "\\u00e9",
                                      "1",
                                      "\\u0000"};
  at = add(text, at, "\"");
  for (uint64_t n = random_below(5); n > 0; n--)
    at = add(text, at, parts[random_below(sizeof parts / sizeof parts[0] - (size_t)key)]);
  return add(text, at, "\"");
}

static size_t add_random_number(char *text, size_t at) {
  long long digits = (long long)(random_below(2) ? random_below(1000) : random_below(1000000000000000000u));
  char number[64];
  switch (random_below(10)) {
  case 0: snprintf(number, sizeof number, "%lld", digits); break;
  case 1: snprintf(number, sizeof number, "-%lld", digits); break;
  case 2: snprintf(number, sizeof number, "%lld.5", digits); break;
  case 3: snprintf(number, sizeof number, "%llde3", digits); break;
  case 4: snprintf(number, sizeof number, "%lld.25E-7", digits); break;
  case 5: snprintf(number, sizeof number, "0.%lld", digits); break;
  case 6: snprintf(number, sizeof number, "%llde-300", digits); break;
  case 7: snprintf(number, sizeof number, "%llde280", digits); break;
  case 8: snprintf(number, sizeof number, "-0.0%lld", digits); break;
  default: snprintf(number, sizeof number, "%lld.%08lld", digits, digits % 100000000); break;
  }
  return add(text, at, number);
}

static size_t add_space(char *text, size_t at) {
  static const char *const spaces[] = {"", "", "", " ", "\n", "\t", "\r\n", "    "};
  return add(text, at, spaces[random_below(8)]);
}

/* A random value; small enough for a buffer of 64 KiB: at most 4^6 values of at most 16 bytes on average. */
static size_t add_random_value(char *text, size_t at, int depth) {
  static const char *const words[] = {"null", "true", "false"};
  if (at > 50000) return add(text, at, "0");
  at = add_space(text, at);
  uint64_t kind = random_below(depth > 0 ? 10 : 6);
  if (kind < 2) {
    at = add_random_string(text, at, 0);
  } else if (kind < 5) {
    at = add_random_number(text, at);
  } else if (kind < 6) {
    at = add(text, at, words[random_below(3)]);
  } else {
    int object = kind < 8;
    at = add(text, at, object ? "{" : "[");
    for (uint64_t n = random_below(14), i = 0; i < n; i++) {
      if (i > 0) at = add(text, at, ",");
      at = add_space(text, at);
      if (object) {
        at = add_random_string(text, at, 1);
        at = add_space(text, at);
        at = add(text, at, ":");
      }
      at = add_random_value(text, at, depth - 1);
      at = add_space(text, at);
    }
    at = add(text, at, object ? "}" : "]");
  }
  return add_space(text, at);
}

/* Random values are mostly valid; then one to three bytes are changed, which mostly breaks them. */
static void random_texts(void **state) {
  (void)state;
  static const char bytes[] = "{}[]\",:\\0123456789eE+-.tfnu aD8\n\xE2\x82\xAC\xF0\x00\xED\xA0";
  char *text = malloc(1 << 16);
  for (unsigned long turn = 0; turn < 20000 * factor; turn++) {
    size_t length = add_random_value(text, 0, 4);
    check(text, length);
    for (int change = 0; change < 6; change++) {
      size_t at = random_below(length);
      switch (random_below(3)) {
      case 0: text[at] = bytes[random_below(sizeof bytes)]; break;
      case 1:
        memmove(text + at, text + at + 1, length - at - 1);
        length -= length > 1;
        break;
      default:
        memmove(text + at + 1, text + at, length - at);
        text[at] = bytes[random_below(sizeof bytes)];
        length++;
      }
      check(text, length);
    }
  }
  free(text);
}

int main(int argc, char **argv) {
  if (argc > 1) factor = strtoul(argv[1], NULL, 10);
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_list_of_cases), cmocka_unit_test(random_texts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
