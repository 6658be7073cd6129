/* Chat templates: where each byte comes from, limits of time and memory, failures of allocation. What is rendered is
 * compared with Jinja's own in tests/python/test_chat_template.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fail_alloc.h"
#include "text/chat_template.h"

static const char *const names[] = {"bos_token", "<s>", "eos_token", "</s>"};

static chat_template_input input(const char *template, const char *messages) {
  return (chat_template_input){.text = template,
                               .bytes = strlen(template),
                               .messages = messages,
                               .tokens = names,
                               .token_count = 2,
                               .add_generation_prompt = 1};
}

static viva_status render(const chat_template_input *in, chat_text *out, viva_error *error) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  viva_status status = chat_template_render(rt, in, out, error);
  runtime_release(rt);
  return status;
}

static void free_text(chat_text *text) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  chat_text_free(rt, text);
  runtime_release(rt);
}

/* marks: a digit for each byte of the text. */
static void expect(const char *template, const char *messages, const char *text, const char *marks) {
  chat_template_input in = input(template, messages);
  chat_text out;
  viva_error error = {0};
  if (render(&in, &out, &error)) fail_msg("%s: %s", template, error.message);
  assert_string_equal(out.text, text);
  assert_int_equal(out.bytes, strlen(text));
  for (size_t i = 0; i < out.bytes; i++)
    if (out.marks[i] != marks[i] - '0') fail_msg("%s: byte %zu of '%s' is marked %d", template, i, text, out.marks[i]);
  free_text(&out);
}

#define USER(content) "[{\"role\":\"user\",\"content\":\"" content "\"}]"
#define CONTENT       "messages[0].content"

/* A mark goes along with its byte through every operation. */
static void test_marks(void **state) {
  (void)state;
  expect("<a>{{ " CONTENT " }}{{ eos_token }}", USER("<b>"), "<a><b></s>", "0001110000");
  expect("{{ '<' + " CONTENT " + '>' }}", USER("x"), "<x>", "010");
  expect("{{ " CONTENT "|trim }}", USER("  x "), "x", "1");
  expect("{{ " CONTENT "|upper }}", USER("x\xc3\xa9"), "X\xc3\x89", "111");
  expect("{{ " CONTENT ".split(',')|join('-') }}", USER("a,b"), "a-b", "101");
  expect("{{ " CONTENT ".replace('b', '<|x|>') }}", USER("abc"), "a<|x|>c", "1000001");
  expect("{{ 'xyx'.replace('x', " CONTENT ") }}", USER("ab"), "abyab", "11011");
  expect("{{ " CONTENT "|tojson }}", USER("a\\nb"), "\"a\\nb\"", "011110");
  expect("{{ [" CONTENT "] }}", USER("a"), "['a']", "00100");
  expect("{{ messages[0]|tojson }}", USER("a"), "{\"role\": \"user\", \"content\": \"a\"}",
         "00111100000000000011111110000100");
  expect("{{ " CONTENT "[::-1] }}{{ " CONTENT "[1] }}", USER("ab"), "bab", "111");
  expect("{% set x %}<{{ " CONTENT " }}>{% endset %}{{ x|replace('<', '[') }}", USER("a"), "[a>", "010");
  expect("{% macro m(t) %}<{{ t }}>{% endmacro %}{{ m(" CONTENT ") * 2 }}", USER("a"), "<a><a>", "010010");
  expect("{% for c in " CONTENT " %}{{ c }};{% endfor %}", USER("ab"), "a;b;", "1010");
  expect("{{ '%s!'|format(" CONTENT ") }}{{ '{}?'.format(" CONTENT ") }}", USER("a"), "a!a?", "1010");
  expect("{{ '<|' + messages[0].role + '|>' }}", USER("a"), "<|user|>", "00000000"); /* a plain word */
  expect("{{ messages[0].role }}", "[{\"role\":\"<|x|>\",\"content\":\"\"}]", "<|x|>", "11111");
}

static void expect_refused(const char *template, const char *messages, viva_status status, const char *fragment) {
  chat_template_input in = input(template, messages);
  chat_text out = {0};
  viva_error error = {0};
  viva_status found = render(&in, &out, &error);
  if (found != status || !strstr(error.message, fragment))
    fail_msg("%s: expected %d \"%s\", got %d: %s", template, status, fragment, found, error.message);
  assert_null(out.text);
}

static void test_refusals(void **state) {
  (void)state;
  expect_refused("a\nb {{ raise_exception('no roles') }}", "[]", VIVA_E_ARGUMENT,
                 "line 2 of the chat template: the template refuses these messages: no roles");
  expect_refused("\n\n\n{{ x|unknown }}", "[]", VIVA_E_UNSUPPORTED,
                 "line 4 of the chat template: the filter 'unknown'");
  expect_refused("{% block x %}", "[]", VIVA_E_UNSUPPORTED, "the tag 'block' is not known here");
  expect_refused("{{ x", "[]", VIVA_E_FORMAT, "the tag has no end");
  expect_refused("{{ 'x }}", "[]", VIVA_E_FORMAT, "a string has no end");
  expect_refused("{# x", "[]", VIVA_E_FORMAT, "the comment has no #}");
  expect_refused("{% raw %}x", "[]", VIVA_E_FORMAT, "raw has no endraw");
  expect_refused("{% if x %}", "[]", VIVA_E_FORMAT, "expected {%");
  expect_refused("{{ strftime_now('%Y') }}", "[]", VIVA_E_ARGUMENT, "asks for the date");
  expect_refused("x", "{}", VIVA_E_FORMAT, "expected a JSON array");
  expect_refused("x", "[", VIVA_E_FORMAT, "");
  expect_refused("x", "[18446744073709551615]", VIVA_E_FORMAT, "beyond 64 bits");
  expect_refused("x\xff", "[]", VIVA_E_FORMAT, "not UTF-8");
  expect_refused("{{ 9223372036854775807 + 1 }}", "[]", VIVA_E_UNSUPPORTED, "beyond 64 bits");
}

/* Text of n copies. */
static char *repeat(const char *what, size_t n, const char *end) {
  size_t bytes = strlen(what);
  char *text = malloc(n * bytes + strlen(end) + 1);
  assert_non_null(text);
  for (size_t i = 0; i < n; i++) memcpy(text + i * bytes, what, bytes);
  strcpy(text + n * bytes, end);
  return text;
}

#define MOST_MEMORY ((size_t)16 << 20)

static void expect_bounded(const char *template) {
  runtime *rt = runtime_create(NULL, NULL, NULL, NULL, VIVA_LOG_WARN);
  chat_template_input in = input(template, "[]");
  chat_text out = {0};
  viva_error error = {0};
  viva_status status = chat_template_render(rt, &in, &out, &error);
  if (status != VIVA_E_LIMIT) fail_msg("%.60s: expected E_LIMIT, got %d: %s", template, status, error.message);
  if (rt->mem.peak > MOST_MEMORY) fail_msg("%.60s: %zu bytes", template, rt->mem.peak);
  runtime_release(rt);
}

/* Whatever a template does, it ends soon and takes little. (The time is measured in test_chat_template.py.) */
static void test_limits(void **state) {
  (void)state;
  static const char *const templates[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{{ 'x' * 99999999999 }}",
      "{{ [[1]]|tojson(indent=9999999999) }}",
      "{% set s = 'a' * 3000 %}{{ s.replace('a', s).replace('a', s) }}"};
  for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) expect_bounded(templates[i]);
  char *deep = repeat("(", 50000, ""), *many = repeat("{{ a }}", 150000, ""), *blocks = repeat("{% if 1 %}", 9000, "");
  char *nested = repeat("", 0, "{{ ");
  nested = realloc(nested, 50100);
  strcat(nested, deep);
  expect_bounded(nested);
  expect_bounded(many); /* 1 MB */
  expect_bounded(blocks);
  free(deep), free(many), free(blocks), free(nested);
}

static void test_allocation_failures(void **state) {
  (void)state;
  static const char template[] = "{% macro m(x, y=1) %}{{ x|tojson(indent=2) }}{% endmacro %}{% for a in messages %}{{ "
                                 "m(a) ~ a.content.split(' ')|join('\\n') }}"
                                 "{% set b %}{{ a.role|upper }}{% endset %}{{ b.replace('U', 'V') }}{% endfor %}";
  chat_template_input in = input(template, USER("hello world"));
  for (uint64_t k = 1;; k++) {
    fail_alloc a;
    fail_alloc_init(&a, k, 0);
    chat_text out = {0};
    viva_error error = {0};
    runtime *rt = runtime_create(&a.table, NULL, NULL, NULL, VIVA_LOG_WARN);
    viva_status status = rt ? chat_template_render(rt, &in, &out, &error) : VIVA_E_MEMORY;
    if (rt) chat_text_free(rt, &out);
    runtime_release(rt);
    assert_int_equal(a.live, 0);
    assert_int_equal(status, a.failed ? VIVA_E_MEMORY : VIVA_OK);
    if (!a.failed) break;
  }
}

/* The C list of messages means what the JSON list means. */
static void test_plain_messages(void **state) {
  (void)state;
  const chat_message list[] = {{"system", "a <|x|>", 6, 7}, {"user", "b", 4, 1}};
  chat_template_input in =
      input("{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}{{ tools is none }}", NULL);
  chat_text out;
  in.list = list;
  in.count = 2;
  assert_int_equal(render(&in, &out, NULL), VIVA_OK);
  assert_string_equal(out.text, "system:a <|x|>;user:b;True");
  assert_memory_equal(out.marks, "\0\0\0\0\0\0\0\1\1\1\1\1\1\1\0\0\0\0\0\0\1\0", 22);
  free_text(&out);
  in.now = 951826154; /* 29 February 2000 12:09:14 */
  in.text = "{{ strftime_now('%d %B %Y %a %H:%M:%S %j') }}";
  in.bytes = strlen(in.text);
  assert_int_equal(render(&in, &out, NULL), VIVA_OK);
  assert_string_equal(out.text, "29 February 2000 Tue 12:09:14 060");
  free_text(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_marks),          cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_limits),         cmocka_unit_test(test_allocation_failures),
      cmocka_unit_test(test_plain_messages),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
