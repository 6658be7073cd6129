/* The JSON reader: the grammar, exact values, places of errors, and hostile input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/json_cases.h"
#include "lib/fail_alloc.h"

typedef struct reader {
  runtime *rt;
  arena *arena;
  json j;
  viva_error error;
} reader;

/* The text is copied into a block of its exact size, so that the sanitizers see a read beyond its end. */
static reader *start(const char *text, size_t bytes) {
  reader *r = calloc(1, sizeof *r);
  r->rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  r->arena = arena_create(&r->rt->mem, 0);
  char *copy = mem_alloc(&r->rt->mem, bytes);
  if (bytes > 0) memcpy(copy, text, bytes);
  json_begin(&r->j, r->rt, r->arena, "file.json", copy, bytes);
  return r;
}

static reader *start_text(const char *text) { return start(text, strlen(text)); }

static void stop(reader *r) {
  mem_free(&r->rt->mem, (char *)(uintptr_t)r->j.text);
  arena_free(r->arena);
  assert_int_equal(r->rt->mem.current, sizeof *r->rt);
  runtime_release(r->rt);
  free(r);
}

static viva_status skip_all(reader *r) {
  TRY(json_skip(&r->j, &r->error));
  return json_finish(&r->j, &r->error);
}

/* What Python's json reads beside RFC 8259, for files that it writes. */
static void python_words_and_keys(void **state) {
  (void)state;
  static const char *const taken[] = {"[NaN, Infinity, -Infinity, -1]", "{\"a\": NaN, \"a\": 2}", "Infinity"};
  static const char *const refused[] = {"[Nan]", "[Inf]", "[-Inf]", "[NaNs]", "[nan]", "[N", "[-"};
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
    reader *r = start_text(taken[i]);
    assert_int_equal(skip_all(r), VIVA_E_FORMAT); /* only when it is asked for */
    stop(r);
    r = start_text(taken[i]);
    json_as_python(&r->j);
    assert_int_equal(skip_all(r), VIVA_OK);
    stop(r);
  }
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    reader *r = start_text(refused[i]);
    json_as_python(&r->j);
    assert_int_equal(skip_all(r), VIVA_E_FORMAT);
    stop(r);
  }
  reader *r = start_text("-Infinity");
  double value = 0;
  json_as_python(&r->j);
  assert_int_equal(json_take_double(&r->j, &value, &r->error), VIVA_OK);
  assert_true(value < -1e308);
  stop(r);
}

static void every_case_has_its_verdict(void **state) {
  (void)state;
  assert_true(json_case_count >= 150);
  for (size_t i = 0; i < json_case_count; i++) {
    const json_case *c = &json_cases[i];
    reader *r = start(c->text, c->bytes);
    viva_status status = skip_all(r);
    if (status != (c->valid ? VIVA_OK : VIVA_E_FORMAT)) fail_msg("%s: %d, %s", c->text, status, r->error.message);
    if (!c->valid) {
      assert_string_equal(r->error.file, "file.json");
      assert_true(r->error.offset <= c->bytes);
      assert_int_equal(strncmp(r->error.message, "line ", 5), 0);
      viva_error again = {0}; /* the first error stays */
      assert_int_equal(json_skip(&r->j, &again), VIVA_E_FORMAT);
      assert_string_equal(again.message, r->error.message);
      assert_int_equal(json_peek(&r->j), JSON_INVALID);
      assert_int_equal(json_next_element(&r->j), 0);
    }
    stop(r);
  }
}

static void values_are_exact(void **state) {
  (void)state;
  reader *r = start_text("{\"a\": [0, -0, 9223372036854775807, -9223372036854775808, 9223372036854775808,"
                         " 18446744073709551615, 18446744073709551616, 0.1, 1e2, -0.0], \"b\": true, \"c\": false,"
                         " \"d\": null, \"e\": \"plain\", \"f\": \"\\u20AC \\uD83D\\uDE00\\u0000\\n\"}");
  static const json_number expected[] = {
      {JSON_INT, 0, 0, 0.0},
      {JSON_INT, 0, 0, -0.0},
      {JSON_INT, INT64_MAX, INT64_MAX, 9223372036854775807.0},
      {JSON_INT, INT64_MIN, 0, -9223372036854775808.0},
      {JSON_UINT, 0, (uint64_t)INT64_MAX + 1, 9223372036854775808.0},
      {JSON_UINT, 0, UINT64_MAX, 18446744073709551615.0},
      {JSON_DOUBLE, 0, 0, 18446744073709551616.0},
      {JSON_DOUBLE, 0, 0, 0.1},
      {JSON_DOUBLE, 0, 0, 100},
      {JSON_DOUBLE, 0, 0, -0.0},
  };
  json *j = &r->j;
  viva_error *e = &r->error;
  json_string key, s;
  json_number n;
  int b;
  assert_int_equal(json_peek(j), JSON_OBJECT);
  assert_int_equal(json_enter_object(j, e), VIVA_OK);
  assert_int_equal(json_next_key(j, &key), 1);
  assert_true(json_string_is(key, "a") && !json_string_is(key, "ab") && !json_string_is(key, ""));
  assert_int_equal(json_enter_array(j, e), VIVA_OK);
  for (size_t i = 0; i < 10; i++) {
    assert_int_equal(json_next_element(j), 1);
    assert_int_equal(json_peek(j), JSON_NUMBER);
    assert_int_equal(json_take_number(j, &n, e), VIVA_OK);
    assert_int_equal(n.kind, expected[i].kind);
    assert_true(n.i == expected[i].i && n.d == expected[i].d && !!signbit(n.d) == !!signbit(expected[i].d));
    if (n.kind != JSON_DOUBLE) assert_true(n.u == expected[i].u);
  }
  assert_int_equal(json_next_element(j), 0);
  assert_int_equal(json_leave(j, e), VIVA_OK);
  assert_int_equal(json_next_key(j, &key), 1);
  assert_int_equal(json_take_bool(j, &b, e), VIVA_OK);
  assert_int_equal(b, 1);
  assert_int_equal(json_next_key(j, &key), 1);
  assert_int_equal(json_peek(j), JSON_BOOL);
  assert_int_equal(json_take_bool(j, &b, e), VIVA_OK);
  assert_int_equal(b, 0);
  assert_int_equal(json_next_key(j, &key), 1);
  assert_int_equal(json_peek(j), JSON_NULL);
  assert_int_equal(json_take_null(j, e), VIVA_OK);
  assert_int_equal(json_next_key(j, &key), 1);
  assert_int_equal(json_take_string(j, &s, e), VIVA_OK);
  assert_true(json_string_is(s, "plain"));
  assert_true(s.text > j->text && s.text < j->text + j->bytes); /* not copied */
  assert_int_equal(json_next_key(j, &key), 1);
  assert_int_equal(json_take_string(j, &s, e), VIVA_OK);
  assert_int_equal(s.bytes, 10);
  assert_memory_equal(s.text, "\xE2\x82\xAC \xF0\x9F\x98\x80\0\n", 10);
  assert_int_equal(json_next_key(j, &key), 0);
  assert_int_equal(json_leave(j, e), VIVA_OK);
  assert_int_equal(json_finish(j, e), VIVA_OK);
  assert_int_equal(e->code, VIVA_OK); /* left as it was */
  stop(r);
}

static void all_escapes(void **state) {
  (void)state;
  reader *r = start_text("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\uFFFF\\uD800\\uDC00\\uDBFF\\uDFFFz\"");
  json_string s;
  assert_int_equal(json_take_string(&r->j, &s, &r->error), VIVA_OK);
  const char expected[] = "\"\\/\b\f\n\r\tA\xC3\xA9\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBFz";
  assert_int_equal(s.bytes, sizeof expected - 1);
  assert_memory_equal(s.text, expected, s.bytes);
  assert_int_equal(json_finish(&r->j, &r->error), VIVA_OK);
  stop(r);
}

/* What each taker says to each text. */
static void integers_are_asked_for(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int as_u64, as_i64;
  } cases[] = {
      {"0", 1, 1},
      {"-0", 1, 1},
      {"7", 1, 1},
      {"-1", 0, 1},
      {"9223372036854775807", 1, 1},
      {"9223372036854775808", 1, 0},
      {"18446744073709551615", 1, 0},
      {"18446744073709551616", 0, 0},
      {"-9223372036854775808", 0, 1},
      {"-9223372036854775809", 0, 0},
      {"1.0", 0, 0},
      {"1e3", 0, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint64_t u = 5;
    int64_t s = 5;
    double d = 5;
    reader *r = start_text(cases[i].text);
    assert_int_equal(json_take_u64(&r->j, &u, &r->error), cases[i].as_u64 ? VIVA_OK : VIVA_E_FORMAT);
    if (!cases[i].as_u64) {
      assert_true(u == 5);
      assert_non_null(strstr(r->error.message, "expected an integer from 0 to 18446744073709551615, found "));
      assert_non_null(strstr(r->error.message, cases[i].text));
    }
    stop(r);
    r = start_text(cases[i].text);
    assert_int_equal(json_take_i64(&r->j, &s, &r->error), cases[i].as_i64 ? VIVA_OK : VIVA_E_FORMAT);
    if (!cases[i].as_i64) assert_true(s == 5);
    stop(r);
    r = start_text(cases[i].text);
    assert_int_equal(json_take_double(&r->j, &d, &r->error), VIVA_OK);
    assert_true(d == strtod(cases[i].text, NULL));
    stop(r);
  }
}

static void other_types_are_named(void **state) {
  (void)state;
  static const char *const texts[] = {"null", "true", "1", "\"s\"", "[]", "{}"};
  static const char *const names[] = {"null", "true or false", "a number", "a string", "an array", "an object"};
  for (size_t have = 0; have < 6; have++) {
    for (size_t want = 0; want < 6; want++) {
      reader *r = start_text(texts[have]);
      json *j = &r->j;
      json_string s;
      double d;
      int b;
      viva_status status = want == 0   ? json_take_null(j, &r->error)
                           : want == 1 ? json_take_bool(j, &b, &r->error)
                           : want == 2 ? json_take_double(j, &d, &r->error)
                           : want == 3 ? json_take_string(j, &s, &r->error)
                           : want == 4 ? json_enter_array(j, &r->error)
                                       : json_enter_object(j, &r->error);
      if (have == want) {
        assert_int_equal(status, VIVA_OK);
      } else {
        char expected[128];
        snprintf(expected, sizeof expected, "line 1, column 1: expected %s, found %s", names[want], names[have]);
        assert_int_equal(status, VIVA_E_FORMAT);
        assert_string_equal(r->error.message, expected);
      }
      stop(r);
    }
  }
}

static void errors_have_their_place(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t offset;
    const char *item, *message;
  } cases[] = {
      {"", 0, "", "line 1, column 1: expected a value, found the end of the text"},
      {"{\"a\":1,\n \"b\": x}", 14, "b", "line 2, column 7: expected a value, found 'x'"},
      {"{\"a\":1\n\n\"b\":2}", 8, "a", "line 3, column 1: expected ',' or '}', found '\"'"},
      {"{\"a\":[1,\r\n2,\r\n\xE2\x82\xAC]}", 14, "a", "line 3, column 1: expected a value, found byte 0xe2"},
      {"[\"\xE2\x82\xAC\xE2\x82\xAC\" 1]", 10, "", "line 1, column 7: expected ',' or ']', found '1'"},
      {"{\"k\":{\"x\":1,\"x\":2}}", 12, "x", "line 1, column 13: this key was already there in the same object"},
      {"{\"k\":{\"x\":1}, \"y\" 2}", 18, "y", "line 1, column 19: expected ':' after the key, found '2'"},
      {"{\"k\":{\"x\":1} \"y\":2}", 13, "k", "line 1, column 14: expected ',' or '}', found '\"'"},
      {"{\"k\":1,}", 6, "k", "line 1, column 7: a comma must not stand before '}'"},
      {"[1,2,]", 4, "", "line 1, column 5: a comma must not stand before ']'"},
      {"{1:2}", 1, "", "line 1, column 2: expected a key in double quotes, found '1'"},
      {"[\"a\nb\"]", 3, "", "line 1, column 4: the control character 0x0a must be written as an escape in a string"},
      {"\"\xFF\"", 1, "", "line 1, column 2: byte 0xff is not valid UTF-8 here"},
      {"\"a\\x\"", 2, "", "line 1, column 3: expected one of \"\\/bfnrtu after a backslash, found 'x'"},
      {"\"\\u12G4\"", 1, "", "line 1, column 2: expected four hex digits after \\u"},
      {"\"\\uD800\"", 1, "", "line 1, column 2: \\ud800 is the first half of a surrogate pair without its second half"},
      {"\"\\uDC00\"", 1, "", "line 1, column 2: \\udc00 is the second half of a surrogate pair without its first half"},
      {"[\"abc", 5, "", "line 1, column 6: the text ends inside a string: it was cut off"},
      {"[1, 02]", 4, "", "line 1, column 5: a number must not begin with a zero that another digit follows"},
      {"-x", 1, "", "line 1, column 2: expected a digit after the minus sign, found 'x'"},
      {"1.", 2, "", "line 1, column 3: expected a digit after the decimal point, found the end of the text"},
      {"1e+,", 3, "", "line 1, column 4: expected a digit in the exponent, found ','"},
      {"1e999", 0, "", "line 1, column 1: the number is larger than a double can hold"},
      {"nul", 0, "", "line 1, column 1: expected a value; what begins here is not 'null'"},
      {"1 2", 2, "", "line 1, column 3: expected the end of the text after the value, found '2'"},
      {"\xEF\xBB\xBF{}", 0, "", "line 1, column 1: the text begins with a byte order mark; save it without one"},
      {"{\"a\\u0000\\n\": ?}", 14, "a\\x00\\x0a", "line 1, column 15: expected a value, found '?'"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    reader *r = start_text(cases[i].text);
    assert_int_equal(skip_all(r), VIVA_E_FORMAT);
    assert_string_equal(r->error.message, cases[i].message);
    assert_string_equal(r->error.item, cases[i].item);
    assert_int_equal(r->error.offset, cases[i].offset);
    stop(r);
  }
}

static void readers_report_their_own_errors(void **state) {
  (void)state;
  json_string key;
  uint64_t u;
  /* Before the value is taken: at the value. */
  reader *r = start_text("{\"x\":\n  17}");
  assert_int_equal(json_enter_object(&r->j, &r->error), VIVA_OK);
  assert_int_equal(json_next_key(&r->j, &key), 1);
  assert_int_equal(json_fail(&r->j, &r->error, "expected %d", 18), VIVA_E_FORMAT);
  assert_string_equal(r->error.message, "line 2, column 3: expected 18");
  assert_string_equal(r->error.item, "x");
  assert_int_equal(r->error.offset, 8);
  assert_int_equal(json_leave(&r->j, &r->error), VIVA_E_FORMAT);
  stop(r);
  /* After: at the value that was taken. */
  r = start_text("{\"x\":\n  17 , \"y\":{\"z\":[1]}}");
  assert_int_equal(json_enter_object(&r->j, &r->error), VIVA_OK);
  assert_int_equal(json_next_key(&r->j, &key), 1);
  assert_int_equal(json_take_u64(&r->j, &u, &r->error), VIVA_OK);
  assert_int_equal(json_fail(&r->j, NULL, "wrong"), VIVA_E_FORMAT);
  assert_int_equal(json_finish(&r->j, &r->error), VIVA_E_FORMAT);
  assert_string_equal(r->error.message, "line 2, column 3: wrong");
  assert_string_equal(r->error.item, "x");
  stop(r);
  /* A container that was left or skipped: at its bracket, with its own key. */
  for (int skip = 0; skip < 2; skip++) {
    r = start_text("{\"y\": {\"z\":[1]}}");
    assert_int_equal(json_enter_object(&r->j, &r->error), VIVA_OK);
    assert_int_equal(json_next_key(&r->j, &key), 1);
    if (skip) {
      assert_int_equal(json_skip(&r->j, &r->error), VIVA_OK);
    } else {
      assert_int_equal(json_enter_object(&r->j, &r->error), VIVA_OK);
      assert_int_equal(json_next_key(&r->j, &key), 1);
      assert_int_equal(json_skip(&r->j, &r->error), VIVA_OK);
      assert_int_equal(json_next_key(&r->j, &key), 0);
      assert_int_equal(json_leave(&r->j, &r->error), VIVA_OK);
    }
    json_fail(&r->j, &r->error, "wrong");
    assert_string_equal(r->error.item, "y");
    assert_int_equal(r->error.offset, 6);
    stop(r);
  }
}

static void sub_documents_can_be_kept(void **state) {
  (void)state;
  reader *r = start_text("[ {\"a\" : [1 , 2]}  , \"\\u0041\",3.50, null ]");
  const char *const expected[] = {"{\"a\" : [1 , 2]}", "\"\\u0041\"", "3.50", "null"};
  json_string raw;
  assert_int_equal(json_enter_array(&r->j, &r->error), VIVA_OK);
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(json_next_element(&r->j), 1);
    assert_int_equal(json_take_raw(&r->j, &raw, &r->error), VIVA_OK);
    assert_true(json_string_is(raw, expected[i]));
  }
  assert_int_equal(json_next_element(&r->j), 0);
  assert_int_equal(json_leave(&r->j, &r->error), VIVA_OK);
  stop(r);
  r = start_text("[{\"a\":1,\"a\":2}]"); /* all of it is checked */
  assert_int_equal(json_enter_array(&r->j, &r->error), VIVA_OK);
  assert_int_equal(json_next_element(&r->j), 1);
  assert_int_equal(json_take_raw(&r->j, &raw, &r->error), VIVA_E_FORMAT);
  stop(r);
}

/* Calls in an order that the header forbids: a fault of the caller's, reported, never worse. */
static void misuse_is_reported(void **state) {
  (void)state;
  json_string key;
  int64_t i;
  for (int way = 0; way < 8; way++) {
    reader *r = start_text("{\"a\":1,\"b\":[2]}");
    json *j = &r->j;
    viva_error *e = &r->error;
    if (way == 0) json_next_key(j, &key); /* not entered */
    if (way == 1) json_leave(j, e);
    if (way == 2) json_finish(j, e);
    if (way >= 3) {
      assert_int_equal(json_enter_object(j, e), VIVA_OK);
      if (way == 3) json_take_i64(j, &i, e); /* no key was asked for */
      if (way == 4) json_next_element(j);    /* an object, not an array */
    }
    if (way >= 5) {
      assert_int_equal(json_next_key(j, &key), 1);
      if (way == 5) json_next_key(j, &key); /* the value was not taken */
      if (way == 6) json_leave(j, e);
      if (way == 7) {
        assert_int_equal(json_skip(j, e), VIVA_OK);
        json_take_i64(j, &i, e); /* taken already */
      }
    }
    assert_int_equal(json_skip(j, e), VIVA_E_INTERNAL);
    assert_non_null(strstr(e->message, "used out of order"));
    stop(r);
  }
}

static char *nested(size_t depth, int objects, size_t *bytes) {
  char *text = malloc(depth * 7 + 2), *at = text;
  for (size_t i = 0; i < depth; i++) at = memcpy(at, objects ? "{\"a\":" : "[", objects ? 5 : 1), at += objects ? 5 : 1;
  *at++ = '1';
  for (size_t i = 0; i < depth; i++) *at++ = objects ? '}' : ']';
  *bytes = (size_t)(at - text);
  return text;
}

static void depth_is_limited(void **state) {
  (void)state;
  const size_t depths[] = {1, 63, 64, 65, 66, 1000000};
  for (size_t i = 0; i < 6; i++) {
    for (int objects = 0; objects < 2; objects++) {
      size_t bytes;
      char *text = nested(depths[i], objects, &bytes);
      reader *r = start(text, bytes);
      viva_status status = skip_all(r);
      assert_int_equal(status, depths[i] <= 64 ? VIVA_OK : VIVA_E_FORMAT);
      if (status != VIVA_OK) {
        assert_non_null(strstr(r->error.message, "nested deeper than 64 levels"));
        assert_int_equal(r->error.offset, 64 * (objects ? 5 : 1));
      }
      stop(r);
      free(text);
    }
  }
}

static const char sample[] =
    "{\"name\": \"Zo\xC3\xAB \\uD83D\\uDE00\", \"list\": [1, -2.5e3, true, false, null, \"\\\\\"],\n"
    " \"empty\": [{}, []], \"deep\": {\"a\": {\"b\": [[[0.125]]]}}, "
    "\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,\"k6\":6}";

static void every_truncation_is_refused(void **state) {
  (void)state;
  for (size_t bytes = 0; bytes < sizeof sample; bytes++) {
    reader *r = start(sample, bytes);
    assert_int_equal(skip_all(r), bytes == sizeof sample - 1 ? VIVA_OK : VIVA_E_FORMAT);
    if (bytes < sizeof sample - 1) assert_true(r->error.offset <= bytes);
    stop(r);
  }
}

static void every_changed_byte_is_survived(void **state) {
  (void)state;
  char text[sizeof sample];
  for (size_t at = 0; at + 1 < sizeof sample; at++) {
    for (int byte = 0; byte < 256; byte += at % 7 == 0 ? 1 : 17) {
      memcpy(text, sample, sizeof sample);
      text[at] = (char)byte;
      reader *r = start(text, sizeof sample - 1);
      viva_status status = skip_all(r);
      assert_true(status == VIVA_OK || status == VIVA_E_FORMAT);
      stop(r);
    }
  }
}

static void without_memory(void **state) {
  (void)state;
  for (uint64_t k = 1;; k++) {
    fail_alloc f;
    fail_alloc_init(&f, k, 1);
    mem m;
    mem_init(&m, &f.table);
    arena *a = arena_create(&m, 0);
    viva_error error = {0};
    viva_status status = VIVA_E_MEMORY;
    if (a != NULL) {
      /* 5000 keys with escapes: lists, tables and decoded texts all grow. */
      char *text = malloc(100000);
      size_t bytes = (size_t)snprintf(text, 100000, "{\"\\n%05000d\":0,", 0); /* larger than an arena's block */
      for (int i = 0; i < 5000; i++)
        bytes += (size_t)snprintf(text + bytes, 100000 - bytes, "%s\"\\n%d\":0", i ? "," : "", i);
      text[bytes++] = '}';
      json j;
      json_begin(&j, NULL, a, "f", text, bytes);
      status = json_skip(&j, &error);
      if (status == VIVA_OK) status = json_finish(&j, &error);
      free(text);
      if (status != VIVA_OK) {
        assert_int_equal(status, VIVA_E_MEMORY);
        assert_int_equal(error.code, VIVA_E_MEMORY);
      }
      arena_free(a);
    }
    assert_int_equal(f.live, 0);
    if (!f.failed) {
      assert_int_equal(status, VIVA_OK);
      break;
    }
    assert_true(k < 100);
  }
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Duplicates among many keys are found, and the time is linear in the keys. */
static void objects_with_many_keys(void **state) {
  (void)state;
  const size_t count = 262144, room = count * 20;
  char *text = malloc(room);
  for (int duplicate = 0; duplicate < 3; duplicate++) {
    size_t bytes = 1;
    text[0] = '{';
    for (size_t i = 0; i < count; i++)
      bytes += (size_t)snprintf(text + bytes, room - bytes, "%s\"key%zu\":%zu", i > 0 ? "," : "", i, i);
    if (duplicate > 0)
      bytes += (size_t)snprintf(text + bytes, room - bytes, ",\"key%zu\":0", duplicate == 1 ? 0 : count - 1);
    text[bytes++] = '}';
    reader *r = start(text, bytes);
    double begin = seconds();
    assert_int_equal(skip_all(r), duplicate ? VIVA_E_FORMAT : VIVA_OK);
    assert_true(seconds() - begin < 5); /* 0.03 s; a quadratic set would take a minute or more */
    if (duplicate) assert_string_equal(r->error.item, duplicate == 1 ? "key0" : "key262143");
    stop(r);
  }
  free(text);
}

/* A large object and then many small ones at the same depth: the large one's table must not cost them. */
static void small_objects_after_a_large_one(void **state) {
  (void)state;
  const size_t room = 8 << 20;
  char *text = malloc(room);
  size_t bytes = (size_t)snprintf(text, room, "[{");
  for (int i = 0; i < 100000; i++)
    bytes += (size_t)snprintf(text + bytes, room - bytes, "%s\"%d\":0", i > 0 ? "," : "", i);
  text[bytes++] = '}';
  for (int i = 0; i < 50000; i++)
    bytes += (size_t)snprintf(text + bytes, room - bytes,
                              ",{\"0\":0,\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0}");
  text[bytes++] = ']';
  reader *r = start(text, bytes);
  double begin = seconds();
  assert_int_equal(skip_all(r), VIVA_OK);
  assert_true(seconds() - begin < 5);                   /* 0.03 s; clearing the large table each time would take 20 s */
  assert_true(r->rt->mem.current < bytes + (16 << 20)); /* tables are kept and used again */
  stop(r);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_case_has_its_verdict),
      cmocka_unit_test(python_words_and_keys),
      cmocka_unit_test(values_are_exact),
      cmocka_unit_test(all_escapes),
      cmocka_unit_test(integers_are_asked_for),
      cmocka_unit_test(other_types_are_named),
      cmocka_unit_test(errors_have_their_place),
      cmocka_unit_test(readers_report_their_own_errors),
      cmocka_unit_test(sub_documents_can_be_kept),
      cmocka_unit_test(misuse_is_reported),
      cmocka_unit_test(depth_is_limited),
      cmocka_unit_test(every_truncation_is_refused),
      cmocka_unit_test(every_changed_byte_is_survived),
      cmocka_unit_test(without_memory),
      cmocka_unit_test(objects_with_many_keys),
      cmocka_unit_test(small_objects_after_a_large_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
