/* Valid GGUF files: every value and tensor is found as it was written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/ck.h"
#include "format/gguf/gguf_build.h"
#include "format/gguf/gguf_open.h"

static viva_checkpoint *load_golden(gguf_world *w, const char *name) {
  size_t bytes;
  viva_checkpoint *ck;
  viva_error error = {0};
  uint8_t *data = source_file("tests/golden/gguf", name, &bytes);
  assert_non_null(data);
  viva_status status = world_load(w, data, bytes, &ck, &error);
  if (status != VIVA_OK) print_message("%s: %s: %s\n", name, error.item, error.message);
  assert_int_equal(status, VIVA_OK);
  free(data);
  return ck;
}

static const gguf_value *get(const viva_checkpoint *ck, const char *key) {
  const gguf_value *value = gguf_find(ck->gguf, key);
  assert_non_null(value);
  return value;
}

/* every_type.gguf holds each type's extreme: unsigned all ones, signed the lowest. */
static const struct {
  const char *type;
  int is_signed;
  uint64_t bits;
} integers[] = {
    {"u8", 0, 255},
    {"u16", 0, 65535},
    {"u32", 0, UINT32_MAX},
    {"u64", 0, UINT64_MAX},
    {"i8", 1, (uint64_t)INT8_MIN},
    {"i16", 1, (uint64_t)INT16_MIN},
    {"i32", 1, (uint64_t)INT32_MIN},
    {"i64", 1, (uint64_t)INT64_MIN},
};

static void test_integers_of_every_width(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = load_golden(&w, "every_type.gguf");
  for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
    char key[32];
    uint64_t u;
    int64_t s;
    double d;
    int b;
    snprintf(key, sizeof key, "one.%s", integers[i].type);
    const gguf_value *one = get(ck, key);
    int fits = integers[i].is_signed || integers[i].bits <= INT64_MAX;
    assert_int_equal(gguf_u64(one, &u), integers[i].is_signed);
    if (!integers[i].is_signed) assert_true(u == integers[i].bits);
    assert_int_equal(gguf_i64(one, &s), !fits);
    if (fits) assert_true(s == (int64_t)integers[i].bits);
    assert_int_equal(gguf_f64(one, &d), 0);
    assert_true(d == (integers[i].is_signed ? (double)(int64_t)integers[i].bits : (double)integers[i].bits));
    assert_int_equal(gguf_bool(one, &b), 1);
    snprintf(key, sizeof key, "many.%s", integers[i].type);
    const gguf_value *many = get(ck, key);
    assert_true(many->is_array && many->count == 3);
    assert_int_equal(gguf_u64(many, &u), 1);
    assert_int_equal(gguf_i64(many, &s), 1);
    assert_int_equal(gguf_element_i64(many, 0, &s), !fits);
    assert_int_equal(gguf_element_i64(many, 2, &s), 0);
    assert_int_equal(s, 1);
    assert_int_equal(gguf_element_i64(many, 3, &s), 1);
    assert_int_equal(gguf_element_f64(many, 0, &d), 0);
    assert_int_equal(gguf_element_f64(many, 3, &d), 1);
  }
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_floats_bools_and_strings(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = load_golden(&w, "every_type.gguf");
  double d;
  int64_t s;
  int b;
  const char *text;
  size_t bytes, at = 0;
  assert_int_equal(gguf_f64(get(ck, "one.f32"), &d), 0);
  assert_true(d == 0.5);
  assert_int_equal(gguf_f64(get(ck, "one.f64"), &d), 0);
  assert_true(d == 0.1);
  assert_int_equal(gguf_i64(get(ck, "one.f32"), &s), 1);
  assert_int_equal(gguf_bool(get(ck, "one.bool"), &b), 0);
  assert_int_equal(b, 1);
  assert_int_equal(gguf_i64(get(ck, "one.bool"), &s), 1);
  assert_int_equal(gguf_f64(get(ck, "one.bool"), &d), 1);
  assert_int_equal(gguf_bool(get(ck, "many.bool"), &b), 1);
  assert_int_equal(gguf_string(get(ck, "one.string"), &text, &bytes), 0);
  assert_int_equal(bytes, 7);
  assert_memory_equal(text, "h\xc3\xa9llo\n", 7);
  assert_int_equal(gguf_string(get(ck, "many.string"), &text, &bytes), 1);
  assert_int_equal(gguf_string(get(ck, "one.u8"), &text, &bytes), 1);
  assert_int_equal(gguf_f64(get(ck, "one.string"), &d), 1);
  static const char *const strings[] = {"", "a", "\xe4\xb8\xad"};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(gguf_next_string(get(ck, "many.string"), &at, &text, &bytes), 1);
    assert_int_equal(bytes, strlen(strings[i]));
    assert_memory_equal(text, strings[i], bytes);
  }
  assert_int_equal(gguf_next_string(get(ck, "many.string"), &at, &text, &bytes), 0);
  at = 0;
  assert_int_equal(gguf_next_string(get(ck, "none.string"), &at, &text, &bytes), 0);
  assert_int_equal(gguf_next_string(get(ck, "many.u32"), &at, &text, &bytes), 0);
  assert_null(gguf_find(ck->gguf, "one"));
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_metadata_as_text(void **state) {
  (void)state;
  static const struct {
    const char *key, *type, *text;
    uint64_t count;
  } expected[] = {
      {"one.u64", "u64", "18446744073709551615", 1},
      {"one.i64", "i64", "-9223372036854775808", 1},
      {"one.bool", "bool", "true", 1},
      {"one.f32", "f32", "0.5", 1},
      {"one.f64", "f64", "0.1", 1},
      {"one.string", "string", "h\xc3\xa9llo\\x0a", 1},
      {"many.i8", "array of i8", "[-128, 0, 1]", 3},
      {"many.bool", "array of bool", "[true, false, true]", 3},
      {"many.string", "array of string", "[\"\", \"a\", \"\xe4\xb8\xad\"]", 3},
      {"none.string", "array of string", "[]", 0},
  };
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = load_golden(&w, "every_type.gguf");
  assert_int_equal(viva_checkpoint_metadata_count(ck), ck->gguf->value_count);
  size_t found = 0;
  for (size_t i = 0; i < viva_checkpoint_metadata_count(ck); i++) {
    viva_metadata m = {.size = sizeof m};
    assert_int_equal(viva_checkpoint_metadata(ck, i, &m, NULL), VIVA_OK);
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
      if (strcmp(m.key, expected[k].key) != 0) continue;
      assert_string_equal(m.type_name, expected[k].type);
      assert_string_equal(m.text, expected[k].text);
      assert_int_equal(m.count, expected[k].count);
      found++;
    }
  }
  assert_int_equal(found, sizeof expected / sizeof *expected);
  viva_checkpoint_close(ck);
  world_close(&w);
}

/* An array of nine strings of 300 bytes: eight are shown, each cut. */
static void test_long_arrays_are_cut(void **state) {
  (void)state;
  static gguf_build b;
  char longest[301];
  memset(longest, 'x', 300);
  longest[300] = 0;
  gb_begin(&b);
  gb_key(&b, "k", GGUF_ARRAY);
  gb_u32(&b, GGUF_STRING);
  gb_u64(&b, 9);
  for (int i = 0; i < 9; i++) gb_string(&b, longest);
  gb_end(&b, 0);
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck;
  assert_int_equal(world_load(&w, b.bytes, b.at, &ck, NULL), VIVA_OK);
  viva_metadata m = {.size = sizeof m};
  assert_int_equal(viva_checkpoint_metadata(ck, 0, &m, NULL), VIVA_OK);
  assert_int_equal(m.count, 9);
  assert_in_range(strlen(m.text), 8 * 60, 8 * 68);
  assert_string_equal(m.text + strlen(m.text) - 6, ", ...]");
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_tensors_of_every_type(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = load_golden(&w, "every_type.gguf");
  size_t gguf_types = 0;
  for (int t = 0; t < TYPE_COUNT; t++) gguf_types += type_get((file_type)t)->gguf_id >= 0;
  assert_int_equal(ck->tensor_count, gguf_types + 1);
  for (size_t i = 0; i < ck->tensor_count; i++) {
    const tensor_view *view = &ck->tensors[i];
    uint64_t bytes;
    if (i > 0) assert_true(strcmp(ck->tensors[i - 1].name, view->name) < 0);
    assert_int_equal(type_bytes(view->type, view->elements, &bytes), 0);
    assert_int_equal(bytes, view->bytes);
    assert_int_equal(view->offset % ck->gguf->alignment, 0);
    assert_true(ck_range(view->offset, view->bytes, ck->files[0].io.stat.bytes));
    assert_ptr_equal(checkpoint_find(ck, view->name), view);
  }
  const tensor_view *f32 = checkpoint_find(ck, "t.f32"), *scalar = checkpoint_find(ck, "t.scalar");
  static const uint64_t turned[4] = {5, 1, 2, 3}; /* the file says 3, 2, 1, 5 */
  assert_true(f32->rank == 4 && f32->elements == 30 && memcmp(f32->shape, turned, sizeof turned) == 0);
  assert_true(scalar->rank == 0 && scalar->elements == 1 && scalar->bytes == 4);
  viva_checkpoint_close(ck);
  world_close(&w);
}

static void test_alignments_and_versions(void **state) {
  (void)state;
  static const struct {
    const char *file;
    uint32_t version, alignment;
    size_t tensors;
  } expected[] = {{"tiny_llama.gguf", 3, 32, 2},
                  {"version_2.gguf", 2, 32, 2},
                  {"alignment_8.gguf", 3, 8, 2},
                  {"alignment_64.gguf", 3, 64, 2},
                  {"empty.gguf", 3, 32, 0}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    gguf_world w = world_open(NULL);
    viva_checkpoint *ck = load_golden(&w, expected[i].file);
    assert_int_equal(ck->gguf->version, expected[i].version);
    assert_int_equal(ck->gguf->alignment, expected[i].alignment);
    assert_int_equal(ck->gguf->data_offset % expected[i].alignment, 0);
    assert_int_equal(ck->tensor_count, expected[i].tensors);
    viva_checkpoint_close(ck);
    world_close(&w);
  }
}

/* The header is private: what happens to the file afterwards does not reach the values. */
static void test_header_is_read_once(void **state) {
  (void)state;
  gguf_world w = world_open(NULL);
  viva_checkpoint *ck = load_golden(&w, "tiny_llama.gguf");
  memory_io_truncate(w.io, GGUF_TEST_PATH, 0);
  const char *text;
  size_t bytes;
  assert_int_equal(gguf_string(get(ck, "general.architecture"), &text, &bytes), 0);
  assert_memory_equal(text, "llama", 5);
  viva_checkpoint_close(ck);
  world_close(&w);
}

/* Headers that take several doublings of the private copy: 3 MiB of strings. */
static void test_large_header(void **state) {
  (void)state;
  enum { COUNT = 100000 };
  size_t capacity = 64 + COUNT * 32 + 64, at = 24;
  uint8_t *data = calloc(capacity, 1);
  uint64_t pairs = 1, count = COUNT, length = 1;
  uint32_t version = 3, array = GGUF_ARRAY, string = GGUF_STRING;
  memcpy(data, "GGUF", 4);
  memcpy(data + 4, &version, 4);
  memcpy(data + 16, &pairs, 8);
  memcpy(data + at, &length, 8);
  data[at + 8] = 'k';
  memcpy(data + at + 9, &array, 4);
  memcpy(data + at + 13, &string, 4);
  memcpy(data + at + 17, &count, 8);
  at += 25;
  for (int i = 0; i < COUNT; i++) {
    length = (uint64_t)snprintf((char *)data + at + 8, 24, "token %016d", i);
    memcpy(data + at, &length, 8);
    at += 8 + length;
  }
  gguf_world w = world_open(NULL);
  memory_io_short(w.io, 65537); /* reads come in pieces */
  viva_checkpoint *ck;
  assert_int_equal(world_load(&w, data, at, &ck, NULL), VIVA_OK);
  size_t walk = 0, bytes, strings = 0;
  const char *text;
  while (gguf_next_string(get(ck, "k"), &walk, &text, &bytes)) {
    char expected[32];
    snprintf(expected, sizeof expected, "token %016zu", strings++);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(text, expected, bytes);
  }
  assert_int_equal(strings, COUNT);
  viva_checkpoint_close(ck);
  world_close(&w);
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_integers_of_every_width), cmocka_unit_test(test_floats_bools_and_strings),
      cmocka_unit_test(test_metadata_as_text),        cmocka_unit_test(test_long_arrays_are_cut),
      cmocka_unit_test(test_tensors_of_every_type),   cmocka_unit_test(test_alignments_and_versions),
      cmocka_unit_test(test_header_is_read_once),     cmocka_unit_test(test_large_header),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
