/* Numbers and UTF-8, against the C library's exact strtod and printf.
 *
 *   test_num [FACTOR]    FACTOR times as many random cases (1: about two million)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static unsigned long factor = 1;

/* xorshift64*: the same cases on every machine. */
static uint64_t random_state = 0x9E3779B97F4A7C15u;

static uint64_t random_bits(void) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return random_state * 0x2545F4914F6CDD1Du;
}

static uint64_t random_below(uint64_t n) { return random_bits() % n; }

static double from_bits(uint64_t bits) {
  double d;
  memcpy(&d, &bits, sizeof d);
  return d;
}

static uint64_t to_bits(double d) {
  uint64_t bits;
  memcpy(&bits, &d, sizeof bits);
  return bits;
}

/* A finite double: any bits, or near the edges of the range, or a plain number. */
static double random_double(void) {
  for (;;) {
    uint64_t bits = random_bits();
    switch (random_below(6)) {
    case 0: bits &= UINT64_C(0x800FFFFFFFFFFFFF); break;                                        /* subnormal */
    case 1: bits = (bits & UINT64_C(0x800FFFFFFFFFFFFF)) | UINT64_C(0x7FE0000000000000); break; /* near the largest */
    case 2: bits &= UINT64_C(0xFFF0000000000000); break;                                        /* a power of two */
    case 3: bits = (bits & UINT64_C(0x800FFFFFFFFFFFFF)) | (1023 - 30 + random_below(60)) << 52; break;
    default: break;
    }
    double d = from_bits(bits);
    if (isfinite(d)) return d;
  }
}

static void check_against_strtod(const char *text) {
  double expected = strtod(text, NULL), found = 12345;
  size_t bytes = strlen(text);
  char *exact = malloc(bytes); /* without the zero byte: the sanitizers see a read beyond the end */
  memcpy(exact, text, bytes);
  int refused = num_double(exact, bytes, &found);
  free(exact);
  if (isinf(expected)) {
    if (!refused) fail_msg("%.100s: overflow was not noticed", text);
  } else if (refused || to_bits(found) != to_bits(expected)) {
    fail_msg("%.100s: expected %a, found %a (%d)", text, expected, found, refused);
  }
}

static void integers(void **state) {
  (void)state;
  uint64_t u = 7;
  int64_t i = 7;
  assert_int_equal(num_u64("0", 1, &u), 0);
  assert_true(u == 0);
  assert_int_equal(num_u64("18446744073709551615", 20, &u), 0);
  assert_true(u == UINT64_MAX);
  assert_int_equal(num_u64("007", 3, &u), 0);
  assert_true(u == 7);
  const char *const wrong[] = {"",
                               "-1",
                               "+1",
                               " 1",
                               "1 ",
                               "1.0",
                               "x",
                               "18446744073709551616",
                               "99999999999999999999",
                               "184467440737095516150",
                               "1\0",
                               "/",
                               ":"};
  for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
    size_t bytes = strlen(wrong[k]) + (strcmp(wrong[k], "1") == 0);
    assert_int_equal(num_u64(wrong[k], bytes, &u), 1);
    assert_true(u == 7);
  }
  assert_int_equal(num_i64("-9223372036854775808", 20, &i), 0);
  assert_true(i == INT64_MIN);
  assert_int_equal(num_i64("9223372036854775807", 19, &i), 0);
  assert_true(i == INT64_MAX);
  assert_int_equal(num_i64("-0", 2, &i), 0);
  assert_true(i == 0);
  assert_int_equal(num_i64("-12", 3, &i), 0);
  assert_true(i == -12);
  const char *const wrong_i[] = {"", "-", "--1", "9223372036854775808", "-9223372036854775809", "+1", "- 1"};
  for (size_t k = 0; k < sizeof wrong_i / sizeof wrong_i[0]; k++) {
    assert_int_equal(num_i64(wrong_i[k], strlen(wrong_i[k]), &i), 1);
    assert_true(i == -12);
  }
}

static void hex_bytes(void **state) {
  (void)state;
  for (int byte = 0; byte < 256; byte++) {
    char text[4];
    uint8_t value;
    snprintf(text, sizeof text, "%02x", (unsigned)byte);
    assert_int_equal(num_hex_byte(text, &value), 0);
    assert_int_equal(value, byte);
    snprintf(text, sizeof text, "%02X", (unsigned)byte);
    assert_int_equal(num_hex_byte(text, &value), 0);
    assert_int_equal(value, byte);
  }
  uint8_t value = 7;
  const char *const wrong[] = {"g0", "0g", "", "0", " 1", "1 ", "/0", ":0", "@0", "G0", "`0", "x1"};
  for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) assert_int_equal(num_hex_byte(wrong[k], &value), 1);
  assert_int_equal(value, 7);
}

static void the_grammar_is_json(void **state) {
  (void)state;
  const char *const right[] = {"0",    "-0",   "1",      "-1",       "10",
                               "0.5",  "-0.0", "1e5",    "1E5",      "1e+5",
                               "1e-5", "0e0",  "0.0e-0", "1.25e002", "123456789012345678901234567890"};
  const char *const wrong[] = {"",     "-",   "+1",   "01",    "-01", "00", ".5",   "1.",  "1.e5",
                               "1e",   "1e+", "1e-",  "1e1.5", "1 ",  " 1", "0x10", "nan", "inf",
                               "-inf", "1,5", "1e5x", "1.5.5", "--1", "1-", "e5",   "1f",  "١"};
  double d;
  for (size_t k = 0; k < sizeof right / sizeof right[0]; k++) check_against_strtod(right[k]);
  for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
    d = 7;
    assert_int_equal(num_double(wrong[k], strlen(wrong[k]), &d), 1);
    assert_true(d == 7);
  }
  assert_int_equal(num_double("1\0", 2, &d), 1);
  assert_int_equal(num_double("-0", 2, &d), 0);
  assert_true(signbit(d));
  assert_int_equal(num_double("15", 1, &d), 0); /* the length counts, not a zero byte */
  assert_true(d == 1);
}

static void known_hard_cases(void **state) {
  (void)state;
  const char *const cases[] = {
      "9007199254740993",
      "9007199254740992.999999999999999999999",
      "9007199254740993.00000000000000000000000001",
      "2.2250738585072011e-308",
      "2.2250738585072012e-308",
      "2.2250738585072014e-308",
      "4.9406564584124654e-324",
      "2.4703282292062327e-324",
      "2.4703282292062328e-324",
      "2.47032822920623272e-324",
      "1e-324",
      "1e-323",
      "1e-325",
      "1e-326",
      "1e-400",
      "1e-99999999999999999999",
      "0e99999999999999999999",
      "1.7976931348623157e308",
      "1.7976931348623158e308",
      "1.7976931348623159e308",
      "179769313486231580793e289",
      "1e308",
      "1e309",
      "1e310",
      "1e311",
      "1e99999999999999999999",
      "1e22",
      "1e23",
      "8.5e22",
      "1e27",
      "1e28",
      "1e-27",
      "1e-28",
      "0.1",
      "0.2",
      "0.3",
      "18446744073709551615",
      "18446744073709551616",
      "18446744073709551617",
      "9223372036854775807e-27",
      "9999999999999999999e27",
      "9999999999999999999e28",
      "9999999999999999999e-28",
      "6.02214076e23",
      "1.1754943508e-38",
      "3.4028234663852886e38",
      "123456789012345678901234567890e-10",
      "0.000000000000000000000000000000000000001e39",
      "10000000000000000000000000000000000000000e-40",
      "-1e-1",
      "-2.5e-324",
      "5e-324",
      "3e-324",
      "7.4109846876186981e-324",
      "8.98846567431158e307",
      "4.4501477170144023e-308",
      "144115188075855873",
      "144115188075855874.5",
      "36028797018963969e-1",
      "5708990770823839524233143877797980545530986496",
  };
  for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) check_against_strtod(cases[k]);
}

/* Numbers with so many digits that only some can be kept. */
static void very_long_numbers(void **state) {
  (void)state;
  char *text = malloc(20100);
  for (int turn = 0; turn < 200; turn++) {
    size_t digits = 1 + random_below(turn < 190 ? 2000 : 20000), at = 0, point = random_below(digits);
    for (size_t i = 0; i < digits; i++) {
      if (i == point && i > 0) text[at++] = '.';
      text[at++] = (char)('0' + (i == 0 ? 1 + random_below(9) : random_below(3) == 0 ? random_below(10) : 0));
    }
    snprintf(text + at, 32, "e%d", (int)random_below(700) - 350 - (int)point);
    check_against_strtod(text);
  }
  /* 10^20000 and its inverse, written out; and 1 with a digit far behind. */
  memset(text, '0', 20050);
  text[0] = '1';
  strcpy(text + 20001, "e-20000");
  check_against_strtod(text);
  memset(text, '0', 20050);
  text[1] = '.';
  text[20002] = '1';
  strcpy(text + 20003, "e20001");
  check_against_strtod(text);
  memset(text, '0', 20050);
  strcpy(text, "9007199254740993");
  text[16] = '.';
  memset(text + 17, '0', 900);
  strcpy(text + 917, "1");
  check_against_strtod(text); /* just above a middle, told by digit 917 */
  text[917] = '0';
  check_against_strtod(text); /* the middle itself: to even */
  free(text);
}

static void random_strings(void **state) {
  (void)state;
  char text[128];
  for (unsigned long turn = 0; turn < 1000000 * factor; turn++) {
    size_t digits = 1 + random_below(turn % 4 == 0 ? 40 : 20), at = 0;
    size_t point = random_below(digits + 1);
    if (turn & 1) text[at++] = '-';
    for (size_t i = 0; i < digits; i++) {
      if (i == point && i > 0) text[at++] = '.';
      text[at++] = (char)('0' + (i == 0 && point != 1 ? 1 + random_below(9) : random_below(10)));
    }
    text[at] = 0;
    int range = turn % 3 == 0 ? 700 : turn % 3 == 1 ? 60 : 20;
    if (turn % 8 != 0) snprintf(text + at, 16, "e%d", (int)random_below((uint64_t)range) - range / 2);
    check_against_strtod(text);
  }
}

/* The middle of two neighbouring doubles, exactly; then a little less and a little more. */
static void halfway_cases(void **state) {
  (void)state;
  static char text[1400];
  for (unsigned long turn = 0; turn < 60000 * factor; turn++) {
    double low = fabs(random_double()), high = nextafter(low, INFINITY);
    if (isinf(high)) continue;
    /* Both long double formats in use (80 and 128 bits) hold the sum's half exactly. */
    long double middle = ((long double)low + (long double)high) / 2;
    snprintf(text, sizeof text, "%.1100Le", middle);
    char *e = strchr(text, 'e'), exponent[16];
    snprintf(exponent, sizeof exponent, "%s", e);
    char *end = e;
    while (end[-1] == '0') end--;
    if (end[-1] == '.') end--;
    strcpy(end, exponent);
    check_against_strtod(text);
    char last = end[-1];
    if (last >= '1' && last <= '9') {
      end[-1] = (char)(last - 1);
      check_against_strtod(text);
      end[-1] = last == '9' ? '9' : (char)(last + 1);
      check_against_strtod(text);
      end[-1] = last;
    }
    if (memchr(text, '.', (size_t)(end - text)) == NULL) continue;
    snprintf(end, 40, "000000000000000000001%s", exponent);
    check_against_strtod(text);
  }
}

static void check_format(double value) {
  char text[32], expected[64];
  size_t length = num_format_double(text, value);
  assert_int_equal(length, strlen(text));
  assert_true(length < 32);
  double back;
  if (num_double(text, length, &back) || to_bits(back) != to_bits(value)) fail_msg("%a became %s", value, text);
  /* The digits: no more than the shortest of printf's that reads back, and those when there are as many (printf gives
   * the nearest decimal of that length). */
  char digits[32];
  size_t count = 0;
  for (const char *c = text; *c != 0 && *c != 'e'; c++)
    if (*c >= '0' && *c <= '9' && (count > 0 || *c != '0')) digits[count++] = *c;
  while (count > 1 && digits[count - 1] == '0') count--;
  int precision = 0;
  do snprintf(expected, sizeof expected, "%.*e", precision, value);
  while (strtod(expected, NULL) != value && ++precision < 17);
  char wanted[32];
  size_t wanted_count = 0;
  for (const char *c = expected; *c != 'e'; c++)
    if (*c >= '0' && *c <= '9') wanted[wanted_count++] = *c;
  while (wanted_count > 1 && wanted[wanted_count - 1] == '0') wanted_count--;
  if (value == 0) return;
  if (count > wanted_count) fail_msg("%s is longer than %s", text, expected);
  if (count == wanted_count && memcmp(digits, wanted, count) != 0) fail_msg("%s is farther than %s", text, expected);
}

static void formatting_is_shortest(void **state) {
  (void)state;
  for (unsigned long turn = 0; turn < 150000 * factor; turn++) check_format(random_double());
  for (int e = -1074; e <= 1023; e++) check_format(ldexp(1, e)); /* the double below is nearer than the one above */
  for (int e = -323; e <= 308; e++) {
    char text[16];
    snprintf(text, sizeof text, "1e%d", e);
    check_format(strtod(text, NULL));
  }
  for (unsigned i = 0; i < 100000; i++) check_format(i / 1000.0);
}

static void formatting_layout(void **state) {
  (void)state;
  static const struct {
    double value;
    const char *text;
  } cases[] = {
      {0.0, "0"},
      {-0.0, "-0"},
      {1, "1"},
      {-1.5, "-1.5"},
      {100, "100"},
      {0.1, "0.1"},
      {1e20, "100000000000000000000"},
      {1e21, "1e+21"},
      {123456789012345680000.0, "123456789012345680000"},
      {1e-6, "0.000001"},
      {1e-7, "1e-7"},
      {1.5e-10, "1.5e-10"},
      {5e-324, "5e-324"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {0.30000000000000004, "0.30000000000000004"},
      {1e100, "1e+100"},
      {-2.2250738585072014e-308, "-2.2250738585072014e-308"},
      {9007199254740993.0, "9007199254740992"},
      {INFINITY, "inf"},
      {-INFINITY, "-inf"},
      {0.000123, "0.000123"},
      {5.684341886080802e-14, "5.684341886080802e-14"},
      {9.5367431640625e-7, "9.5367431640625e-7"},
  };
  char text[32];
  for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
    memset(text, '#', sizeof text);
    assert_int_equal(num_format_double(text, cases[k].value), strlen(cases[k].text));
    assert_string_equal(text, cases[k].text);
  }
  num_format_double(text, NAN);
  assert_string_equal(text, "nan");
}

/* Every code point there and back; every invalid one refused. */
static void utf8_round_trip(void **state) {
  (void)state;
  for (uint32_t code = 0; code < 0x110000; code++) {
    if (code >= 0xD800 && code < 0xE000) continue;
    char text[4];
    size_t length = utf8_encode(code, text), invalid = 0;
    uint32_t back;
    size_t expected = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (length != expected || utf8_decode(text, length, &back, &invalid) != length || back != code)
      fail_msg("U+%04" PRIX32, code);
    for (size_t cut = 1; cut < length; cut++) { /* cut short: all that is there is one invalid part */
      if (utf8_decode(text, cut, &back, &invalid) != 0 || invalid != cut || back != 0xFFFD)
        fail_msg("U+%04" PRIX32 " cut at %zu", code, cut);
    }
  }
}

/* Unicode's table 3-7 once more, written as ranges: the judge for all strings of up to four bytes. */
static size_t valid_length(const uint8_t *s, size_t n) {
  static const uint8_t rows[][9] = {
      {1, 0x00, 0x7F, 0, 0, 0, 0, 0, 0},
      {2, 0xC2, 0xDF, 0x80, 0xBF, 0, 0, 0, 0},
      {3, 0xE0, 0xE0, 0xA0, 0xBF, 0x80, 0xBF, 0, 0},
      {3, 0xE1, 0xEC, 0x80, 0xBF, 0x80, 0xBF, 0, 0},
      {3, 0xED, 0xED, 0x80, 0x9F, 0x80, 0xBF, 0, 0},
      {3, 0xEE, 0xEF, 0x80, 0xBF, 0x80, 0xBF, 0, 0},
      {4, 0xF0, 0xF0, 0x90, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
      {4, 0xF1, 0xF3, 0x80, 0xBF, 0x80, 0xBF, 0x80, 0xBF},
      {4, 0xF4, 0xF4, 0x80, 0x8F, 0x80, 0xBF, 0x80, 0xBF},
  };
  for (size_t r = 0; r < 9; r++) {
    size_t i = 0;
    while (i < rows[r][0] && i < n && s[i] >= rows[r][1 + 2 * i] && s[i] <= rows[r][2 + 2 * i]) i++;
    if (i == rows[r][0]) return i;
  }
  return 0;
}

/* The length of the maximal part: the longest beginning that some valid sequence begins with, at least 1. */
static size_t maximal_part(const uint8_t *s, size_t n) {
  uint8_t try[4];
  for (size_t keep = n < 3 ? n : 3; keep > 1; keep--) {
    memcpy(try, s, keep);
    for (unsigned fill = 0x80; fill <= 0xBF; fill++) {
      memset(try + keep, (int)fill, 4 - keep);
      if (valid_length(try, 4) > keep) return keep;
    }
  }
  return 1;
}

/* utf8_replace gives what utf8_decode tells part by part. */
static void check_replaced(const uint8_t *s, size_t bytes) {
  char expected[3 * 64], found[3 * 64 + 1];
  size_t count = 0;
  for (size_t at = 0; at < bytes;) {
    uint32_t code;
    size_t invalid = 0, length = utf8_decode((const char *)s + at, bytes - at, &code, &invalid);
    count += utf8_encode(code, expected + count);
    at += length ? length : invalid;
  }
  assert_int_equal(utf8_replace((const char *)s, bytes, found), count);
  assert_memory_equal(found, expected, count);
}

static void utf8_maximal_parts(void **state) {
  (void)state;
  const uint8_t bytes[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                           0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
  const size_t n = sizeof bytes;
  for (size_t length = 1; length <= 4; length++) {
    for (size_t k = 0; k < n * n * n * n; k++) {
      const uint8_t s[4] = {bytes[k % n], bytes[k / n % n], bytes[k / n / n % n], bytes[k / n / n / n]};
      uint32_t code;
      size_t invalid = 99, expected = valid_length(s, length);
      size_t found = utf8_decode((const char *)s, length, &code, &invalid);
      if (found != expected) fail_msg("%02x %02x %02x %02x (%zu): %zu", s[0], s[1], s[2], s[3], length, found);
      if (found == 0 && (code != 0xFFFD || invalid != maximal_part(s, length)))
        fail_msg("%02x %02x %02x %02x (%zu): part %zu", s[0], s[1], s[2], s[3], length, invalid);
      if (utf8_valid((const char *)s, length) !=
          (expected == length || (expected > 0 && utf8_valid((const char *)s + expected, length - expected))))
        fail_msg("%02x %02x %02x %02x (%zu): utf8_valid", s[0], s[1], s[2], s[3], length);
      check_replaced(s, length);
    }
  }
}

static void utf8_valid_in_long_texts(void **state) {
  (void)state;
  char text[64] = "";
  assert_int_equal(utf8_valid(text, 0), 1);
  for (size_t at = 0; at < 40; at++) { /* a fault at every place of the eight-byte steps */
    memset(text, 'a', sizeof text);
    assert_int_equal(utf8_valid(text, 40), 1);
    text[at] = (char)0xFF;
    assert_int_equal(utf8_valid(text, 40), 0);
    memcpy(text + at, "\xF0\x9F\x98\x80", 4);
    assert_int_equal(utf8_valid(text, 44), 1);
    assert_int_equal(utf8_valid(text, at + 3), 0);
    check_replaced((const uint8_t *)text, 44);
    check_replaced((const uint8_t *)text, at + 3);
  }
}

int main(int argc, char **argv) {
  if (argc > 1) factor = strtoul(argv[1], NULL, 10);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(integers),
      cmocka_unit_test(hex_bytes),
      cmocka_unit_test(the_grammar_is_json),
      cmocka_unit_test(known_hard_cases),
      cmocka_unit_test(very_long_numbers),
      cmocka_unit_test(random_strings),
      cmocka_unit_test(halfway_cases),
      cmocka_unit_test(formatting_is_shortest),
      cmocka_unit_test(formatting_layout),
      cmocka_unit_test(utf8_round_trip),
      cmocka_unit_test(utf8_maximal_parts),
      cmocka_unit_test(utf8_valid_in_long_texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
