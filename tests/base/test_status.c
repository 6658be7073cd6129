/* Statuses, element types, and the texts of errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "viva/types.h"

static const viva_status all[] = {
#define STATUS(name, value, text) VIVA_##name,
    VIVA_STATUS_MAP(STATUS)
#undef STATUS
};
static const size_t all_count = sizeof all / sizeof all[0];

static void every_status_has_its_own_name_and_text(void **state) {
  (void)state;
  for (size_t i = 0; i < all_count; i++) {
    assert_int_equal(strncmp(viva_status_name(all[i]), "VIVA_", 5), 0);
    assert_true(strlen(viva_status_text(all[i])) > 5);
    assert_int_equal(all[i], -(int)i); /* pinned: 0, -1, -2 ... without holes */
    for (size_t k = 0; k < i; k++) {
      assert_string_not_equal(viva_status_name(all[i]), viva_status_name(all[k]));
      assert_string_not_equal(viva_status_text(all[i]), viva_status_text(all[k]));
    }
  }
  assert_string_equal(viva_status_name(VIVA_E_FORMAT), "VIVA_E_FORMAT");
  assert_int_equal(VIVA_E_INTERNAL, -14);
  assert_int_equal(VIVA_E_DEVICE, -15);
}

static void unknown_values_have_a_text(void **state) {
  (void)state;
  assert_string_equal(viva_status_name((viva_status)1), "unknown status");
  assert_string_equal(viva_status_text((viva_status)-16), "unknown status");
  assert_string_equal(viva_dtype_name((viva_dtype)23), "unknown type");
  assert_string_equal(viva_dtype_name((viva_dtype)-1), "unknown type");
}

static void every_type_has_a_name(void **state) {
  (void)state;
  for (int t = VIVA_DTYPE_NONE; t <= VIVA_C64; t++) {
    assert_string_not_equal(viva_dtype_name((viva_dtype)t), "unknown type");
    for (int k = 0; k < t; k++) assert_string_not_equal(viva_dtype_name((viva_dtype)t), viva_dtype_name((viva_dtype)k));
  }
  assert_string_equal(viva_dtype_name(VIVA_BF16), "BF16");
  assert_string_equal(viva_dtype_name(VIVA_E4M3), "F8_E4M3");
  assert_string_equal(viva_dtype_name(VIVA_E2M1), "F4");
}

static void set_fills_everything(void **state) {
  (void)state;
  viva_error e;
  memset(&e, 0x55, sizeof e);
  assert_int_equal(error_set(&e, VIVA_E_SIZE, "expected %d, found %s", 3, "four"), VIVA_E_SIZE);
  assert_int_equal(e.code, VIVA_E_SIZE);
  assert_string_equal(e.message, "expected 3, found four");
  assert_string_equal(e.file, "");
  assert_string_equal(e.item, "");
  assert_true(e.offset == VIVA_NO_OFFSET);
  assert_int_equal(e.reserved, 0);
  assert_int_equal(error_set(NULL, VIVA_E_IO, "nobody listens"), VIVA_E_IO);
  error_at(NULL, "file", "item", -1, 3);
}

static void place_is_added_in_parts(void **state) {
  (void)state;
  viva_error e;
  error_set(&e, VIVA_E_FORMAT, "m");
  error_at(&e, "a.gguf", NULL, 0, VIVA_NO_OFFSET);
  error_at(&e, NULL, "tensor\0x", 8, VIVA_NO_OFFSET);
  error_at(&e, NULL, NULL, 0, 0);
  assert_string_equal(e.file, "a.gguf");
  assert_string_equal(e.item, "tensor\\x00x");
  assert_true(e.offset == 0);
  error_at(&e, NULL, "item", -1, VIVA_NO_OFFSET);
  assert_string_equal(e.item, "item");
  assert_true(e.offset == 0);
}

static void quote_escapes_what_cannot_be_shown(void **state) {
  (void)state;
  char b[64];
  assert_string_equal(error_quote(b, sizeof b, "a\x1b[2Jb\n\x7f", 8), "a\\x1b[2Jb\\x0a\\x7f");
  assert_string_equal(error_quote(b, sizeof b, "\xff\xc3(", 3), "\\xff\\xc3(");
  assert_string_equal(error_quote(b, sizeof b, "gr\xc3\xbc\xc3\x9f", 6), "gr\xc3\xbc\xc3\x9f");
  assert_string_equal(error_quote(b, sizeof b, "\xc2\x85", 2), "\\xc2\\x85");          /* a C1 control */
  assert_string_equal(error_quote(b, sizeof b, "\xe2\x80\xae", 3), "\\xe2\\x80\\xae"); /* right-to-left */
  assert_string_equal(error_quote(b, sizeof b, "\xe2\x80", 2), "\\xe2\\x80");          /* cut */
  assert_string_equal(error_quote(b, sizeof b, "\xf0\x9f\x98\x80", 4), "\xf0\x9f\x98\x80");
  assert_string_equal(error_quote(b, sizeof b, "", 0), "");
}

static void quote_cuts_between_characters(void **state) {
  (void)state;
  char b[16];
  assert_string_equal(error_quote(b, 4, "abc", 3), "abc");
  assert_string_equal(error_quote(b, 4, "abcd", 4), "...");
  assert_string_equal(error_quote(b, 6, "abcdef", 6), "ab...");
  assert_string_equal(error_quote(b, 3, "abcdef", 6), "..");
  assert_string_equal(error_quote(b, 1, "abcdef", 6), "");
  assert_string_equal(error_quote(b, 8, "a\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 10), "a\xe2\x82\xac...");
  assert_string_equal(error_quote(b, 8, "ab\nc\xff", 5), "ab...");
  b[0] = 'x';
  error_quote(b, 0, "abc", 3);
  assert_int_equal(b[0], 'x');
  /* Every size: ended, valid, and never longer than allowed. */
  const char text[] = "\xc3\xa4\n\xe2\x82\xac\xff\xf0\x9f\x98\x80z";
  for (size_t size = 1; size <= sizeof b; size++) {
    memset(b, 'x', sizeof b);
    error_quote(b, size, text, sizeof text - 1);
    assert_true(strlen(b) < size);
    assert_true(utf8_valid(b, strlen(b)));
  }
}

static void long_messages_are_cut(void **state) {
  (void)state;
  viva_error e;
  char text[3000];
  for (size_t shift = 0; shift < 3; shift++) {
    memset(text, 'x', shift);
    for (size_t i = shift; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 4);
    error_set(&e, VIVA_E_FORMAT, "%s", text);
    error_at(&e, text, text, -1, 7);
    assert_true(strlen(e.message) > sizeof e.message - 7 && strlen(e.message) < sizeof e.message);
    assert_string_equal(e.message + strlen(e.message) - 3, "...");
    assert_true(utf8_valid(e.message, strlen(e.message)));
    assert_true(utf8_valid(e.file, strlen(e.file)) && strlen(e.file) < sizeof e.file);
    assert_true(utf8_valid(e.item, strlen(e.item)) && strlen(e.item) < sizeof e.item);
  }
}

static void format_joins_the_parts(void **state) {
  (void)state;
  char b[128];
  viva_error e;
  error_set(&e, VIVA_E_FORMAT, "wrong");
  assert_int_equal(viva_error_format(&e, b, sizeof b), 5);
  assert_string_equal(b, "wrong");
  error_at(&e, "f", "t", -1, 12345);
  const char whole[] = "f: t: at byte 12345: wrong";
  assert_int_equal(viva_error_format(&e, b, sizeof b), sizeof whole - 1);
  assert_string_equal(b, whole);
  /* Cut at every size; the returned length stays the whole one. */
  for (size_t size = 0; size < sizeof whole; size++) {
    memset(b, '#', sizeof b);
    assert_int_equal(viva_error_format(&e, b, size), sizeof whole - 1);
    assert_int_equal(b[size], '#');
    if (size == 0) continue;
    assert_int_equal(strlen(b), size - 1);
    assert_memory_equal(b, whole, size - 1);
  }
}

static void format_cuts_between_characters(void **state) {
  (void)state;
  char b[32];
  viva_error e;
  error_set(&e, VIVA_E_FORMAT, "%s", "\xf0\x9f\x98\x80\xc3\xa4\xe2\x82\xacz\xe2\x82\xac");
  const size_t ends[] = {0, 0, 0, 0, 4, 4, 6, 6, 6, 9, 10, 10, 10, 13};
  for (size_t room = 0; room < sizeof ends / sizeof ends[0]; room++) {
    assert_int_equal(viva_error_format(&e, b, room + 1), 13);
    assert_int_equal(strlen(b), ends[room]);
    assert_true(utf8_valid(b, strlen(b)));
  }
}

static void format_survives_a_foreign_struct(void **state) {
  (void)state;
  viva_error e;
  memset(&e, 'x', sizeof e); /* no zero byte anywhere */
  e.offset = VIVA_NO_OFFSET;
  char b[16];
  assert_int_equal(viva_error_format(&e, b, sizeof b), sizeof e.file + 2 + sizeof e.item + 2 + sizeof e.message);
}

static void what_can_forge_a_line_is_not_visible(void **state) {
  (void)state;
  const char *const hidden[] = {"\n",           "\x1b",         "\x7f",         "\xc2\x9b", "\xd8\x9c", "\xe2\x80\x8e",
                                "\xe2\x80\xa8", "\xe2\x80\xae", "\xe2\x81\xa9", "\xff",     "\xc2"};
  for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
    assert_int_equal(viva_visible(hidden[i], strlen(hidden[i])), 0);
  assert_int_equal(viva_visible("", 0), 0);
  assert_int_equal(viva_visible("a", 1), 1);
  assert_int_equal(viva_visible("\xc2\xa0", 2), 2);
  assert_int_equal(viva_visible("\xe2\x80\x90", 3), 3);
  assert_int_equal(viva_visible("\xf0\x9f\x98\x80", 4), 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_status_has_its_own_name_and_text),
      cmocka_unit_test(unknown_values_have_a_text),
      cmocka_unit_test(every_type_has_a_name),
      cmocka_unit_test(set_fills_everything),
      cmocka_unit_test(place_is_added_in_parts),
      cmocka_unit_test(quote_escapes_what_cannot_be_shown),
      cmocka_unit_test(quote_cuts_between_characters),
      cmocka_unit_test(long_messages_are_cut),
      cmocka_unit_test(what_can_forge_a_line_is_not_visible),
      cmocka_unit_test(format_joins_the_parts),
      cmocka_unit_test(format_cuts_between_characters),
      cmocka_unit_test(format_survives_a_foreign_struct),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
