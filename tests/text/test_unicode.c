/* Character classes and NFC against what the reference's wheel answered for every code point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/num.h"
#include "base/runtime.h"
#include "golden.h"
#include "text/normal_form.h"
#include "text/unicode.h"
#include "text/vocab.h"

static int is_surrogate(uint32_t code) { return code >= 0xd800 && code < 0xe000; }

static int in_class(const char *name, uint32_t code) {
  uint8_t class = unicode_class(code);
  if (strcmp(name, "letter") == 0) return class_is_letter(class);
  if (strcmp(name, "number") == 0) return class_is_number(class);
  if (strcmp(name, "space") == 0) return (class & UNICODE_SPACE) != 0;
  if (strcmp(name, "numeric") == 0) return (class & UNICODE_NUMERIC) != 0;
  assert_string_equal(name, "word");
  return (class & UNICODE_WORD) != 0;
}

static void test_classes(void **state) {
  (void)state;
  size_t bytes, lines = 0;
  char *file = golden_read("classes.txt", &bytes);
  for (char *line = strtok(file, "\n"); line; line = strtok(NULL, "\n"), lines++) {
    char name[32];
    unsigned long long count, hash;
    assert_int_equal(sscanf(line, "%31s %llu %llx", name, &count, &hash), 3);
    uint64_t found = 0, total = 0;
    for (uint32_t code = 0; code < 0x110000; code++)
      if (!is_surrogate(code) && in_class(name, code)) {
        found++;
        total = golden_mix(total, code + 1);
      }
    assert_int_equal(found, count);
    assert_true(total == hash);
  }
  assert_int_equal(lines, 5);
  free(file);
}

static runtime *rt;

static int start(void **state) {
  (void)state;
  rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  return rt == NULL;
}

static int stop(void **state) {
  (void)state;
  runtime_release(rt);
  return 0;
}

static uint64_t marks[NORMAL_FORM_WORDS];

/* text in that form, in a new block that lives in *out. */
static text_view form_of(normal_form form, const char *text, size_t bytes, mapped *out) {
  *out = (mapped){.mem = &rt->mem};
  normal_form_mark(form, marks);
  assert_int_equal(normal_form_write(&rt->mem, form, marks, (text_view){(const uint8_t *)text, NULL, bytes}, out), 0);
  return mapped_view(out);
}

static void nfc_equals(const char *text, size_t bytes, const char *expected, size_t expected_bytes) {
  mapped out;
  text_view found = form_of(FORM_NFC, text, bytes, &out);
  assert_int_equal(found.count, expected_bytes);
  assert_memory_equal(found.bytes, expected, expected_bytes);
  mapped_free(&out);
}

static void test_nfc(void **state) {
  (void)state;
  size_t bytes, lines = 0;
  char *file = golden_read("nfc.txt", &bytes), *at = file, *columns[2] = {NULL};
  assert_int_equal(golden_line(&at, columns, 1), 1);
  unsigned long long count, hash;
  assert_int_equal(sscanf(columns[0], "%llu %llx", &count, &hash), 2);
  uint64_t asked = 0, total = 0;
  mapped out = {.mem = &rt->mem};
  normal_form_mark(FORM_NFC, marks);
  for (uint32_t code = 0; code < 0x110000; code++) {
    if (is_surrogate(code)) continue;
    char text[4];
    size_t n = utf8_encode(code, text);
    out.count = 0;
    assert_int_equal(normal_form_write(&rt->mem, FORM_NFC, marks, (text_view){(const uint8_t *)text, NULL, n}, &out),
                     0);
    for (size_t i = 0; i < out.count;) {
      uint32_t c;
      i += unicode_read(out.bytes + i, &c);
      total = golden_mix(total, c + 1);
    }
    asked++;
  }
  mapped_free(&out);
  assert_int_equal(asked, count);
  assert_true(total == hash);
  for (; golden_line(&at, columns, 2); lines++) {
    size_t a = golden_hex(columns[0]), b = golden_hex(columns[1]);
    nfc_equals(columns[0], a, columns[1], b);
  }
  assert_int_equal(lines, 200);
  free(file);
}

/* A run of a million marks in falling order of class: sorted by counting, not by moving. */
static void test_nfc_long_run(void **state) {
  (void)state;
  enum { PAIRS = 250000 };
  char *text = malloc(PAIRS * 4), *expected = malloc(PAIRS * 4);
  for (size_t i = 0; i < PAIRS; i++) {
    memcpy(text + 4 * i, "\xcc\x81\xcc\xa3", 4); /* U+0301 (class 230), U+0323 (220) */
    memcpy(expected + 2 * i, "\xcc\xa3", 2);
    memcpy(expected + 2 * PAIRS + 2 * i, "\xcc\x81", 2);
  }
  nfc_equals(text, PAIRS * 4, expected, PAIRS * 4);
  free(text);
  free(expected);
}

static void test_byte_alphabet(void **state) {
  (void)state;
  int seen[256] = {0};
  for (uint32_t code = 0; code < 0x400; code++) {
    int byte = byte_alphabet_byte(code);
    if (byte < 0) continue;
    assert_int_equal(byte_alphabet_char((uint8_t)byte), code);
    seen[byte]++;
  }
  for (int i = 0; i < 256; i++) assert_int_equal(seen[i], 1);
  assert_int_equal(byte_alphabet_char(' '), 0x120);
  assert_int_equal(byte_alphabet_char('\n'), 0x10a);
  assert_int_equal(byte_alphabet_char(173), 0x143);
}

/* The first vectors of the SipHash paper's reference are of SipHash-2-4; this one is 1-3, so only its properties count. */
static void test_hash(void **state) {
  (void)state;
  const uint64_t key[2] = {1, 2}, other[2] = {1, 3};
  uint8_t data[64] = {0};
  for (size_t n = 0; n < sizeof data; n++) {
    assert_true(hash_bytes(key, data, n) != hash_bytes(key, data, n + 1));
    assert_true(hash_bytes(key, data, n) != hash_bytes(other, data, n));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_classes),       cmocka_unit_test(test_nfc),  cmocka_unit_test(test_nfc_long_run),
      cmocka_unit_test(test_byte_alphabet), cmocka_unit_test(test_hash),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
